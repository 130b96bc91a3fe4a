"""How certain a decision is: margins and what came of similar ones in training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from skroute import DummyRouter, PointwiseRouter, RankingRouter
from skroute.datasets import make_routing

DATA = make_routing(3000, n_models=4, random_state=0)
TRAIN, TEST = slice(0, 1500), slice(1500, None)
BUDGET = float(DATA.costs.mean())


def fit(y=None, router=None, n=1500):
    router = router or RankingRouter(n_estimators=0, random_state=0)
    y = DATA.quality[:n] if y is None else y
    return router.fit(DATA.data[:n], y, costs=DATA.costs[:n])


def replay(why: pd.DataFrame, router) -> np.ndarray:
    """What the choices of held-out queries won by."""
    rows, models = np.arange(len(why)), list(router.models_)
    pair = [[models.index(m) for m in why[c]] for c in ("chosen", "runner_up")]
    y, costs = DATA.quality[TEST], DATA.costs[TEST]
    gain = y[rows, pair[0]] - y[rows, pair[1]]
    return gain + why["price"] * (costs[rows, pair[1]] - costs[rows, pair[0]])


@pytest.mark.parametrize("limit", [{"budget": BUDGET}, {"min_quality": "98%"}])
def test_chances_are_how_often_the_choice_is_right(limit):
    router = fit()
    why = router.explain(DATA.data[TEST], **limit)
    assert why["chance"][why["margin"] < 0].isna().all()
    told = why["margin"] >= 0
    assert told.mean() > 0.8
    right, why = (replay(why, router) >= 0)[told], why[told]
    assert why["chance"].between(0, 1, inclusive="neither").all()
    parts = np.array_split(np.argsort(why["chance"].to_numpy()), 5)
    for part in parts:
        told, found = why["chance"].iloc[part].mean(), right.iloc[part].mean()
        assert found == pytest.approx(told, abs=0.09)
    assert why["chance"].iloc[parts[-1]].mean() > why["chance"].iloc[parts[0]].mean()


def test_the_error_is_that_of_a_mean_of_a_hundred():
    router = fit()
    why = router.explain(DATA.data[TEST], budget=BUDGET)
    near = np.argsort(why["margin"].to_numpy())[700:800]
    spread = replay(why, router).iloc[near].std(ddof=1) / 10
    told = why["margin_error"].iloc[near].mean()
    assert told == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_holes_leave_chances_of_what_is_known(share):
    y = DATA.quality[TRAIN].copy()
    y[np.random.default_rng(0).random(y.shape) < share] = np.nan
    why = fit(y).explain(DATA.data[TEST], budget=BUDGET)
    whole = fit().explain(DATA.data[TEST], budget=BUDGET)
    assert why["chance"].mean() == pytest.approx(whole["chance"].mean(), abs=0.08)
    assert (why["margin_error"] > 0).all()


@pytest.mark.parametrize(
    "router",
    [
        DummyRouter("random", random_state=0),
        PointwiseRouter(Ridge(), random_state=0),
    ],
)
def test_other_routers_say_it_too(router):
    why = fit(router=router).explain(DATA.data[TEST], price=10.0)
    assert np.isfinite(why[["margin_error", "chance"]]).all(axis=None)


def test_too_little_tells_nothing():
    few = fit(n=40).explain(DATA.data[TEST], price=1.0)
    assert few[["margin_error", "chance"]].isna().all(axis=None)
    router = fit()
    assert len(router.explain(DATA.data[:0], price=1.0)) == 0
    alone = np.array([True, False, False, False])
    why = router.explain(DATA.data[:3], available=alone, price=1.0)
    assert why[["margin_error", "chance"]].isna().all(axis=None)
    # At an infinite price only money counts.
    low = DATA.costs.min(axis=1).mean()
    cheapest = router.explain(DATA.data[:3], budget=low * 1.001)
    assert cheapest["chance"].isna().all() or (cheapest["price"] < np.inf).all()

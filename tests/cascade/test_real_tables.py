"""Real tables whose answers are checked, by tests that err: what that saves."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.utils import Bunch

from skroute import CascadeDecider, PointwiseRouter
from skroute.datasets import read_table
from skroute.metrics import (
    normalized_auc,
    peak_quality,
    quality_neutral_cost,
    routing_curve,
)

pytestmark = pytest.mark.slow

N_TRAIN, N_TEST = 400, 1000


@pytest.fixture(scope="module", params=["pool9", "routerbench3"])
def routed(request: pytest.FixtureRequest, shared_data: Any) -> Bunch:
    """Cross-fitted estimates of a part of a table, and those of new queries."""
    name = request.param
    prices = shared_data / f"{name}_prices.json"
    data = read_table(
        shared_data / f"{name}.csv.gz",
        embeddings=shared_data / f"{name}_minilm.npy",
        **({"prices": prices} if prices.exists() else {}),
    )
    y = np.asarray(data.quality)
    # Prices of pool9 are the same for all queries.
    costs = np.broadcast_to(data.costs, y.shape)
    complete = np.isfinite(y).all(axis=1) & np.isfinite(costs).all(axis=1)
    rows = np.random.RandomState(0).permutation(np.flatnonzero(complete))
    train, test = rows[:N_TRAIN], rows[N_TRAIN : N_TRAIN + N_TEST]
    X = data.data
    router = PointwiseRouter(Ridge(10.0), random_state=0)
    Z_train = router.fit_transform(X[train], y[train], costs=costs[train])
    Z_test = router.transform(X[test])
    curve = routing_curve(y[test], costs[test], *np.hsplit(Z_test, 2))
    return Bunch(
        train=(Z_train, y[train], costs[train]),
        test=(Z_test, y[test], costs[test]),
        curve=curve,
    )


def check_answers(y: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    """Tell right from wrong answers, in some of the cases."""
    is_told = np.random.RandomState(seed).random_sample(y.shape) < accuracy
    return np.where(is_told, y > 0.5, y <= 0.5) * 1.0


@pytest.fixture(scope="module")
def cascade(routed: Bunch) -> CascadeDecider:
    """A cascade that learned what a check is worth that is right in 80%."""
    Z, y, costs = routed.train
    decider = CascadeDecider(random_state=0)
    return decider.fit(Z, y, costs=costs, checks=check_answers(y, 0.8, 1))


def replay(routed: Bunch, decider: CascadeDecider, accuracy: float) -> Any:
    Z, y, costs = routed.test
    return decider.replay(Z, y, costs, check_answers(y, accuracy, 2))


def test_a_check_that_errs_saves_most_of_the_cost(routed, cascade):
    curve, alone = replay(routed, cascade, 0.8).curve(), routed.curve
    assert quality_neutral_cost(curve) < 0.7 * quality_neutral_cost(alone)
    assert normalized_auc(curve) > normalized_auc(alone) + 0.01
    assert peak_quality(curve) > peak_quality(alone)


def test_a_useless_check_does_no_harm(routed):
    Z, y, costs = routed.train
    decider = CascadeDecider(max_calls=2, random_state=0)
    decider.fit(Z, y, costs=costs, checks=check_answers(y, 0.5, 1))
    curve, alone = replay(routed, decider, 0.5).curve(), routed.curve
    assert normalized_auc(curve) > normalized_auc(alone) - 0.01
    assert peak_quality(curve) > peak_quality(alone) - 0.01
    # As fine a curve: no saving is lost between its points.
    ours, parity = (min(quality_neutral_cost(c), 1.0) for c in (curve, alone))
    assert ours < 1.02 * parity


def test_a_budget_buys_more_than_without_a_check(routed, cascade):
    costs = routed.test[2].mean(axis=0)
    budget = float(np.sqrt(costs.min() * costs.max()))
    replayed = replay(routed, clone_with(cascade, budget=budget), 0.8)
    assert replayed.mean_spend < 1.15 * budget
    alone = np.interp(budget, routed.curve.cost, routed.curve.quality)
    assert replayed.mean_quality > alone + 0.01


def clone_with(decider: CascadeDecider, **parameters: Any) -> CascadeDecider:
    """A fitted copy with other parameters."""
    return copy.copy(decider).set_params(**parameters)

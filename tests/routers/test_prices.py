"""A router at other prices answers as one that was fitted at them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor

import skroute
from skroute import DummyRouter, PointwiseRouter, RankingRouter
from skroute.crossfit import CrossFittedRouter
from skroute.datasets import make_routing
from skroute.metrics import make_routing_scorer
from skroute.text import TextRouter

MODELS = ["small", "medium", "large"]
DATA = make_routing(500, n_models=3, random_state=0)
# A block of one embedding, and holes: what is judged is not what decides.
DATA.data[:60] = DATA.data[0]
Y = pd.DataFrame(DATA.quality, columns=MODELS)
Y.iloc[::9, 1] = np.nan
COSTS = pd.DataFrame(DATA.costs / DATA.costs.mean(), columns=MODELS)
COSTS.iloc[::7, 2] = np.nan
PRICES = {"small": 0.2, "medium": 1.0, "large": 3.0}
OTHER = {"small": 0.9, "medium": 0.4, "large": 2.0}
SCALE = {"small": 1.5, "large": 0.25}
X = DATA.data[300:]
ROUTERS: dict[str, Any] = {
    "ranking": RankingRouter(
        n_estimators=0, n_landmarks=16, caution=0.5, random_state=0
    ),
    "ranked": RankingRouter(n_estimators=20, n_landmarks=16, caution=0, random_state=0),
    "ridge": PointwiseRouter(Ridge(), random_state=0),
    "neighbours": PointwiseRouter(
        KNeighborsRegressor(15, algorithm="brute"), random_state=0
    ),
    "dummy": DummyRouter(),
}
RULES: list[dict[str, Any]] = [
    {},
    {"budget": 0.8},
    {"budget": 0.8, "confidence": 0.5},
    {"min_quality": "85%"},
    {"min_quality": "70%", "confidence": 0.5},
    {"price": 0.3},
    {"budget": 1.2, "scope": "query", "on_infeasible": "cheapest"},
    {"budget": 200.0, "scope": "batch", "on_infeasible": "cheapest"},
    {"budget": 0.9, "tolerance": 0.2, "on_infeasible": "cheapest"},
]
every_router = pytest.mark.parametrize("name", ROUTERS)


def fitted(name: str, prices: Any = None, costs: Any = None) -> Any:
    router = clone(ROUTERS[name]).set_params(costs=prices)
    return router.fit(DATA.data, Y, costs=costs)


def assert_answers_alike(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one.transform(X), other.transform(X), rtol=1e-7)
    np.testing.assert_allclose(one.costs_, other.costs_)
    for field in ("cost", "quality", "single_cost", "single_quality"):
        np.testing.assert_allclose(
            getattr(one.price_path_, field), getattr(other.price_path_, field)
        )
    assert one.best_single_ == other.best_single_
    for rule in RULES:
        answers = []
        for router in (one, other):
            try:
                answers.append(router.route(X, **rule, top_k=2).tolist())
            except skroute.InfeasibleBudgetError as error:
                answers.append(error.smallest_budget and error.args[0][:40])
        assert answers[0] == answers[1]
    why, other_why = (router.explain(X[:50], budget=1.2) for router in (one, other))
    pd.testing.assert_frame_equal(why, other_why, rtol=1e-6)


@every_router
def test_prices_are_those_of_a_refit(name: str) -> None:
    router = fitted(name, PRICES)
    before = router.transform(X)
    found = router.with_prices(OTHER)
    assert_answers_alike(found, fitted(name, OTHER))
    assert found.costs == OTHER
    # Prices by position, in parts, and by what they are multiplied by.
    assert_answers_alike(router.with_prices(list(OTHER.values())), found)
    half = router.with_prices({"small": 0.9})
    assert_answers_alike(half.with_prices([np.nan, 0.4, 2.0]), found)
    ratio = {name: OTHER[name] / PRICES[name] for name in MODELS}
    assert_answers_alike(router.with_prices(scale=pd.Series(ratio)), found)
    np.testing.assert_array_equal(router.transform(X), before)
    assert router.costs == PRICES


@every_router
def test_scaled_costs_are_those_of_a_refit(name: str) -> None:
    scaled = COSTS * [1.5, 1.0, 0.25]
    router = fitted(name, costs=COSTS)
    found = router.with_prices(scale=SCALE)
    assert_answers_alike(found, fitted(name, costs=scaled))
    assert found.costs is None
    # Prices of the constructor, which stand in for unknown costs, follow.
    router = fitted(name, PRICES, COSTS)
    refit = fitted(name, [0.3, 1.0, 0.75], scaled)
    assert_answers_alike(router.with_prices(scale=SCALE), refit)


@every_router
def test_another_currency_changes_no_decision(name: str) -> None:
    router = fitted(name, costs=COSTS)
    found = router.with_prices(scale=[100.0] * 3)
    np.testing.assert_allclose(found.price_path_.cost, router.price_path_.cost * 100.0)
    assert (found.route(X, budget=80.0) == router.route(X, budget=0.8)).all()
    assert (found.route(X, min_quality=0.5) == router.route(X, min_quality=0.5)).all()


@every_router
def test_a_router_without_costs_gets_prices(name: str) -> None:
    with pytest.warns(skroute.exceptions.NoCostWarning):
        router = fitted(name)
    found = router.with_prices(OTHER)
    assert_answers_alike(found, fitted(name, OTHER))
    assert_answers_alike(router.with_prices(scale=OTHER), found)


@every_router
def test_it_is_saved_and_fitted_again(name: str, tmp_path: Path) -> None:
    found = fitted(name, PRICES, COSTS).with_prices(scale=SCALE)
    skroute.save(found, tmp_path / "r.skroute")
    for made in (
        skroute.load(tmp_path / "r.skroute"),
        pickle.loads(pickle.dumps(found)),
        found.with_prices(scale={}),
    ):
        assert_answers_alike(made, found)
    again = clone(found).fit(DATA.data, Y)
    np.testing.assert_allclose(again.costs_, [0.3, 1.0, 0.75])
    assert found.fit(DATA.data, Y, costs=COSTS).predict_cost(X).max() > 1.0
    np.testing.assert_allclose(
        found.predict_cost(X), fitted(name, again.costs, COSTS).predict_cost(X)
    )


def test_pools_that_changed_follow() -> None:
    router = fitted("ranking", PRICES)
    larger = router.add_model("new", DATA.quality[:, 0], X=DATA.data, costs=5.0)
    found = larger.with_prices(OTHER | {"new": 1.0})
    np.testing.assert_allclose(found.predict_cost(X[:1])[0], [0.9, 0.4, 2.0, 1.0])
    back = found.remove_model("new")
    expected = router.with_prices(OTHER)
    for rule in RULES[1:4]:
        assert (back.route(X, **rule) == expected.route(X, **rule)).all()
    # A pool with costs per call of some models and prices of others.
    mixed = fitted("ranking", costs=COSTS)
    mixed = mixed.add_model("new", DATA.quality[:, 0], X=DATA.data, costs=5.0)
    cost = mixed.predict_cost(X)
    np.testing.assert_allclose(
        mixed.with_prices(scale={"new": 0.5, "small": 2.0}).predict_cost(X),
        cost * [2.0, 1.0, 1.0, 0.5],
    )
    assert (mixed.with_prices(scale={"new": 0.0}).predict_cost(X)[:, 3] == 0).all()


def test_routers_of_prompts_follow() -> None:
    prompts = [f"{'prove' if i % 2 else 'add'} {i % 7}" for i in range(500)]
    router = TextRouter(PointwiseRouter(Ridge(), costs=PRICES, random_state=0))
    router.fit(prompts, Y)
    found = router.with_prices(OTHER)
    assert found.predict_cost(prompts[:1]).tolist() == [[0.9, 0.4, 2.0]]
    assert found.router.costs == OTHER
    assert router.predict_cost(prompts[:1]).tolist() == [[0.2, 1.0, 3.0]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give one of prices and scale; got none"),
        ({"prices": OTHER, "scale": SCALE}, "got both"),
        ({"prices": {"huge": 1.0}}, "prices names huge"),
        ({"scale": {"huge": 1.0}}, "scale names huge"),
        ({"prices": [1.0, 2.0]}, r"prices must be one number per model.*got \(2,\)"),
        ({"prices": np.ones((3, 3))}, r"got \(3, 3\)"),
        ({"scale": 0.5}, r"got \(\)"),
        ({"prices": [1.0, -2.0, 3.0]}, "prices must not be negative"),
        ({"scale": {"large": -1.0}}, "scale must not be negative"),
        ({"prices": {"large": np.inf}}, "prices"),
        ({"scale": {"large": "half"}}, "scale"),
    ],
)
def test_what_is_no_price_is_refused(given: dict[str, Any], message: str) -> None:
    router = fitted("dummy", PRICES)
    with pytest.raises(ValueError, match=message):
        router.with_prices(**given)
    assert router.costs_.tolist() == list(PRICES.values())


def test_prices_would_forget_costs_per_query() -> None:
    with pytest.raises(ValueError, match=r"would forget what each query costs.*scale="):
        fitted("ridge", PRICES, COSTS).with_prices(OTHER)
    with pytest.raises(NotFittedError):
        DummyRouter().with_prices(OTHER)


def test_a_router_that_learns_costs_says_how_they_change() -> None:
    class Learning(CrossFittedRouter):
        def __init__(self, costs: Any = None) -> None:
            self.costs = costs

        def _fit_table(self, table: Any) -> Any:
            return np.hstack([table.quality * 0 + 0.5, table.quality * 0 + 1.0])

        def predict_quality(self, X: Any) -> Any:
            return np.full((len(X), 3), 0.5)

        def predict_cost(self, X: Any) -> Any:
            return np.tile(self.costs_, (len(X), 1))

    y = Y.to_numpy()[~Y.isna().any(axis=1)]
    features, costs = DATA.data[: len(y)], DATA.costs[: len(y)]
    router = Learning(list(PRICES.values())).fit(features, y)
    assert router.with_prices([1.0, 2.0, 3.0]).predict_cost(X[:1]).tolist() == [
        [1, 2, 3]
    ]
    with pytest.raises(NotImplementedError, match="override _change_costs"):
        Learning().fit(features, y, costs=costs).with_prices(scale={"model_0": 2.0})


def test_a_fitted_router_refuses_other_prices() -> None:
    router = fitted("dummy", PRICES)
    with pytest.raises(ValueError, match=r"router\.with_prices"):
        router.set_params(strategy="cheapest", costs=OTHER)
    assert router.strategy == "best_single"
    assert router.set_params(costs=dict(PRICES)).route(X[:1]).shape == (1,)
    # Clones and searches are not fitted when their parameters are set.
    search = GridSearchCV(
        router,
        {"costs": [PRICES, OTHER]},
        scoring=make_routing_scorer("net_utility", price=0.1),
        cv=2,
        error_score="raise",
    )
    whole = ~Y.isna().any(axis=1)
    assert search.fit(DATA.data[whole], Y[whole]).best_params_["costs"] in (
        PRICES,
        OTHER,
    )

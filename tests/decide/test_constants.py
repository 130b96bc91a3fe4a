"""One model for all queries: decisions do at least as well as that."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor

from skroute import (
    BudgetDecider,
    DummyRouter,
    InfeasibleBudgetError,
    PointwiseRouter,
    RankingRouter,
)
from skroute._decide.price_path import PricePath

PRICES = np.array([1.0, 3.0, 10.0])


def noise(n_queries: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Queries that tell nothing of the outcomes."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_queries, 8))
    return X, (rng.random((n_queries, 3)) < [0.4, 0.6, 0.7]).astype(float)


def follower_of_noise() -> PointwiseRouter:
    return PointwiseRouter(
        DecisionTreeRegressor(random_state=0), costs=PRICES, random_state=0
    )


def test_the_path_holds_what_each_model_gives_and_costs_by_itself() -> None:
    rng = np.random.default_rng(0)
    quality, cost = rng.random((50, 3)), rng.random((50, 3))
    truth, paid = rng.random((50, 3)), rng.random((50, 3))
    path = PricePath.from_estimates(quality, cost, true_quality=truth, true_cost=paid)
    np.testing.assert_allclose(path.single_quality, truth.mean(axis=0))
    np.testing.assert_allclose(path.single_cost, paid.mean(axis=0))
    allowed = np.array([True, False, True])[None]
    path = PricePath.from_estimates(quality, cost, allowed=allowed)
    assert path.single_quality[1] == -np.inf


def test_no_target_is_refused_that_one_model_reaches() -> None:
    X, y = noise()
    best = y.mean(axis=0).argmax()
    router = follower_of_noise().fit(X, y)
    # Routing by noise gives less than the best model for all queries.
    assert router.price_path_.quality[-1] < y.mean(axis=0).max()
    names = router.route(X, min_quality="100%")
    assert set(names) == {router.models_[best]}
    with pytest.raises(InfeasibleBudgetError, match="largest expected mean") as error:
        router.route(X, min_quality=y.mean(axis=0).max() + 0.01)
    assert error.value.largest_quality == pytest.approx(y.mean(axis=0).max())


def test_a_target_is_met_by_one_model_where_that_is_cheaper() -> None:
    rng = np.random.default_rng(0)
    # Estimates tell nothing: on the way to the best model half the calls go to the
    # most expensive one, which is bad.
    quality = rng.random((200, 3))
    truth = np.tile([0.5, 0.7, 0.1], (200, 1))
    cost = np.tile(PRICES, (200, 1))
    path = PricePath.from_estimates(quality, cost, true_quality=truth)
    assert path.price_for_quality(0.69).single == 1
    assert path.price_for_budget(20.0).single == 1
    assert path.price_for_budget(2.9).single != 1
    by_routing = path.without_singles()
    assert by_routing.price_for_budget(20.0).single is None


def test_predict_is_not_below_the_best_model_by_its_own_cross_fitting() -> None:
    X, y = noise()
    best = y.mean(axis=0).argmax()
    router = follower_of_noise().fit(X, y)
    assert (router.predict(X) == best).all()
    assert set(router.route(X)) == {router.models_[best]}
    pipeline = make_pipeline(follower_of_noise(), BudgetDecider()).fit(X, y)
    assert (pipeline.predict(X) == best).all()


@pytest.mark.slow
def test_routing_that_pays_is_followed() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4))
    y = np.column_stack([X[:, 0] > 0, X[:, 0] <= 0]).astype(float)
    router = RankingRouter([1.0, 2.0], random_state=0).fit(X, y)
    predicted = router.predict(X)
    assert y[np.arange(400), predicted].mean() > 0.95


def test_a_budget_that_pays_for_the_best_model_gives_at_least_its_quality() -> None:
    X, y = noise()
    router = follower_of_noise().fit(X, y)
    assert set(router.route(X, budget=10.0)) == {"model_2"}
    names = router.route(X, budget=3.0)
    index = {name: i for i, name in enumerate(router.models_)}
    chosen = [index[name] for name in names]
    assert PRICES[chosen].mean() <= 3.0 * 1.05


def test_a_single_model_that_may_not_be_called_is_replaced() -> None:
    X, y = noise()
    router = follower_of_noise().fit(X, y)
    names = router.route(X, available=["model_0", "model_1"])
    assert set(names) <= {"model_0", "model_1"}
    ranked = router.route(X, top_k=3)
    assert set(ranked[:, 0]) == {"model_2"}
    assert all(len(set(row)) == 3 for row in ranked)
    why = router.explain(X[:5])
    assert list(why["chosen"]) == ["model_2"] * 5


def test_what_others_are_compared_with_stays_as_it_is() -> None:
    X, y = noise()
    cheapest = DummyRouter("cheapest", costs=PRICES).fit(X, y)
    assert (cheapest.predict(X) == 0).all()
    drawn = DummyRouter("random", costs=PRICES, random_state=0).fit(X, y)
    assert len(set(drawn.predict(X))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1.5, 2.0, 4.0, 8.0])
def test_a_batch_far_from_training_spends_the_budget(budget) -> None:
    X, y = noise()
    router = RankingRouter(PRICES, random_state=0).fit(X, y)

    def spent(n_queries: int) -> float:
        far = 1e4 + np.random.default_rng(1).standard_normal((n_queries, 8))
        names = router.route(far, budget=budget)
        if n_queries <= 1000:
            why = router.explain(far, budget=budget)
            np.testing.assert_array_equal(why["chosen"].to_numpy(), names)
        return float(PRICES[[int(name[-1]) for name in names]].mean())

    assert spent(1000) == pytest.approx(budget, rel=0.01)
    assert budget * 0.8 <= spent(30) <= budget * 1.001
    # One request cannot be split: it gets the model with the larger part.
    assert spent(1) in PRICES
    # More queries than are decided at once.
    assert spent(20_000) == pytest.approx(budget, rel=0.01)


@pytest.mark.slow
def test_far_queries_of_a_long_call_are_split_alike_however_they_are_given() -> None:
    # A long array is estimated and decided in parts, and a DataFrame at once.
    X, y = np.random.default_rng(0).standard_normal((400, 8)), np.zeros((400, 3))
    y[:, 1] = np.arange(400) % 2
    y[:, 2] = np.arange(400) % 4 > 0
    router = RankingRouter(PRICES, n_estimators=0, random_state=0).fit(X, y)
    many = np.resize(X, (20_000, 8))
    many[5_000::3] += 1e4
    for asked in ({"budget": 2.0}, {"budget": 2.0, "top_k": 2}, {"min_quality": 0.5}):
        together = router.route(pd.DataFrame(many), **asked)
        np.testing.assert_array_equal(router.route(many, **asked), together)
    names = router.route(many, budget=2.0)[5_000::3]
    spent = PRICES[[int(name[-1]) for name in names]].mean()
    assert 1.99 < spent <= 2.0 * (1 + 1e-6)


def test_far_from_training_the_cheapest_model_that_reaches_a_target_is_called() -> None:
    X = np.random.default_rng(0).standard_normal((200, 4))
    # The second model lies under the hull of the others: no price of money calls it.
    y = np.zeros((200, 3))
    for model, share in enumerate((0.5, 0.6, 0.9)):
        y[: int(200 * share), model] = 1.0
    router = RankingRouter([1.0, 5.0, 6.0], random_state=0).fit(X, y)
    far = np.full((3, 4), 1e5)
    assert set(router.route(far, min_quality=0.55)) == {"model_1"}
    assert set(router.route(far, min_quality=0.45)) == {"model_0"}
    assert set(router.route(far, min_quality=0.7)) == {"model_2"}
    names = router.route(far, min_quality=0.55, available=["model_0", "model_2"])
    assert set(names) <= {"model_0", "model_2"}


def test_a_budget_of_a_price_buys_that_model_whatever_rounding_says() -> None:
    X, y = noise(1000)
    router = PointwiseRouter(
        DecisionTreeRegressor(random_state=0), costs=[0.1, 0.2, 0.3], random_state=0
    ).fit(X, y)
    assert set(router.route(X, budget=0.3)) == {"model_2"}


@pytest.mark.slow
@pytest.mark.parametrize("tie_gain", [0.001, 0.2])
def test_whether_a_router_yields_outlives_changes_of_its_pool(tie_gain) -> None:
    X, y = noise()
    router = RankingRouter(PRICES, tie_gain=tie_gain, random_state=0).fit(X, y)
    for changed in (
        router.remove_model("model_1"),
        router.add_model("new", y[:, 1], X=X, costs=3.0),
    ):
        path = changed.price_path_
        routed = changed.predict(X)
        if tie_gain > 0.01:
            expected = np.hsplit(changed.transform(X), 2)[0].argmax(axis=1)
            assert (routed == expected).mean() > 0.99
        else:
            assert path.single_quality is not None
    cheapest = DummyRouter("cheapest", costs=PRICES).fit(X, y)
    names = cheapest.route(X, scope="query", budget=5.0, min_quality=0.2)
    assert set(names) == {"model_0"}

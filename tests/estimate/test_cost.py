"""Expected costs: positive, right on average, and never next to nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skroute import RankingRouter
from skroute._estimate.cost import CostModel
from skroute.datasets import read_routerbench


def draw(n=600, seed=0, n_features=8):
    """Costs that are products of a length and a price, of two verbose models."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features))
    length = np.exp(1.2 * X[:, 0] + 0.5 * rng.normal(size=n))
    prices = np.array([1e-5, 4e-4, 1e-2])
    verbose = np.exp(0.3 * rng.normal(size=(n, 3)) * [0, 1, 1])
    return X, length[:, None] * prices * verbose


def regress(X, costs, weight=None):
    fold, prices = np.arange(len(X)) % 5, np.nanmean(costs, axis=0)
    return CostModel.regress(X, costs, prices, fold, lambda Z: [Z], weight)[:2]


def test_a_dear_model_is_not_thought_to_cost_next_to_nothing():
    """A linear regression said so of short queries, and sent them there."""
    X, costs = draw(1200)
    model, held_out = regress(X[:600], costs[:600])
    for expected, true in (
        (held_out, costs[:600]),
        (model.predict(X[600:]), costs[600:]),
    ):
        assert (expected.argmin(axis=1) == 0).all()
        ratio = np.log(expected / true)
        assert np.sqrt((ratio**2).mean()) < 0.8


def test_means_are_right():
    X, costs = draw(2000)
    model, held_out = regress(X[:1000], costs[:1000])
    known = costs[:1000].mean(axis=0)
    np.testing.assert_allclose(held_out.mean(axis=0), known, rtol=0.02)
    served = model.predict(X[1000:]).mean(axis=0)
    np.testing.assert_allclose(served, costs[1000:].mean(axis=0), rtol=0.15)


@settings(max_examples=20, deadline=None)
@given(power=st.integers(-60, 60), seed=st.integers(0, 5))
def test_the_unit_of_money_changes_nothing(power, seed):
    X, costs = draw(200, seed)
    unit = 2.0**power
    plain, scaled = (regress(X, costs * u)[0].predict(X) for u in (1.0, unit))
    np.testing.assert_allclose(scaled, plain * unit, rtol=1e-9)


def test_free_and_constant_models_and_calls():
    X, costs = draw(300)
    costs[:, 0], costs[:, 1] = 0.0, 2e-4
    costs[::3, 2] = 0.0
    model, held_out = regress(X, costs)
    for expected in (model.predict(X), held_out):
        assert (expected[:, 0] == 0).all()
        np.testing.assert_allclose(expected[:, 1], 2e-4)
        assert (expected[:, 2] >= 0).all()
    np.testing.assert_allclose(held_out[:, 2].mean(), costs[:, 2].mean(), rtol=0.1)


def test_unknown_costs_and_weights():
    X, costs = draw(900)
    holes = np.random.default_rng(1).random(costs.shape) < 0.4
    model, held_out = regress(X, np.where(holes, np.nan, costs))
    np.testing.assert_allclose(held_out.mean(axis=0), costs.mean(axis=0), rtol=0.15)
    weight = np.where(holes, 0.0, 1.0)
    weighed, _ = regress(X, costs, weight)
    known = np.nanmean(np.where(holes, np.nan, costs), axis=0)
    prices = CostModel.regress(
        X, costs, known, np.arange(900) % 5, lambda Z: [Z], weight
    )[0]
    np.testing.assert_allclose(prices.predict(X), model.predict(X), rtol=0.05)
    assert np.isfinite(weighed.predict(X)).all()


def test_queries_far_away_stay_in_the_range_that_was_seen():
    X, costs = draw(300)
    model, _ = regress(X, costs)
    far = model.predict(np.array([[1e6], [-1e6]]) * np.ones((1, X.shape[1])))
    assert (far >= costs.min(axis=0)).all()
    assert (far <= costs.max(axis=0)).all()


def test_prices_and_regressions_in_one_pool():
    X, costs = draw(300)
    fold = np.arange(300) % 5
    model, _ = regress(X, costs[:, :2])
    priced, column, _ = model.with_model(X, 3e-3, 3e-3, fold)
    assert (priced.predict(X)[:, 2] == 3e-3).all()
    assert (column[:, 2] == 3e-3).all()
    grown, *_ = priced.with_model(X, costs[:, 2], costs[:, 2].mean(), fold)
    np.testing.assert_array_equal(grown.predict(X)[:, :2], model.predict(X))
    alone, _ = regress(X, costs[:, 2:])
    np.testing.assert_allclose(grown.predict(X)[:, 3], alone.predict(X)[:, 0])
    back = grown.without_model(2).without_model(2)
    np.testing.assert_array_equal(back.predict(X), model.predict(X))
    fixed, *_ = CostModel.from_prices(np.array([1.0])).with_model(
        X, costs[:, 2], costs[:, 2].mean(), fold
    )
    np.testing.assert_allclose(fixed.predict(X)[:, 1], alone.predict(X)[:, 0])
    assert (fixed.predict(X)[:, 0] == 1.0).all()


@pytest.mark.slow
def test_on_a_real_table_hardly_any_query_is_cheapest_elsewhere(shared_data):
    """Of 4 models one is the cheapest on every query; 6% were thought cheaper."""
    data = read_routerbench(
        shared_data / "paretobandit.csv.gz",
        embeddings=shared_data / "paretobandit_minilm.npy",
    )
    train, test = np.arange(1200), np.arange(1200, len(data.data))
    router = RankingRouter(n_estimators=0, random_state=0)
    router.fit(data.data[train], data.quality[train], costs=data.costs[train])
    cheapest = data.costs.mean(axis=0).argmin()
    expected = router.predict_cost(data.data[test])
    assert (expected.argmin(axis=1) == cheapest).mean() > 0.99
    mean, true = expected.mean(axis=0), data.costs[test].mean(axis=0)
    np.testing.assert_allclose(mean, true, rtol=0.25)

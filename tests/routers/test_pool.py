"""Pools that change, tables with holes, and weights of outcomes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skroute import RankingRouter
from skroute._estimate.ridge import fit_ridge
from skroute._estimate.stacking import find_weights
from skroute.datasets import make_routing, read_routerbench
from skroute.metrics import normalized_auc


def _bytes(router: Any) -> bytes:
    # The first pickle of an object notes which strings it shares with others.
    return pickle.dumps(pickle.loads(pickle.dumps(router)))


@pytest.fixture(scope="module")
def data() -> Any:
    return make_routing(400, n_models=4, random_state=0)


def _small(**changes: Any) -> RankingRouter:
    return RankingRouter(
        **{"n_estimators": 20, "n_landmarks": 64, "random_state": 0, **changes}
    )


@pytest.fixture(scope="module")
def router(data: Any) -> RankingRouter:
    fitted = _small()
    return fitted.fit(data.data, data.quality[:, :3], costs=data.costs[:, :3])


@pytest.fixture(scope="module")
def larger(data: Any, router: RankingRouter) -> RankingRouter:
    return router.add_model(
        "new", data.quality[:, 3], X=data.data, costs=data.costs[:, 3]
    )


# Adding.


@pytest.mark.parametrize("n_outcomes", [2, 5, 20])
@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_a_few_equal_outcomes_do_not_make_a_model_sure(
    n_outcomes: int, outcome: float, data: Any, router: RankingRouter
) -> None:
    """Two lucky answers have no variance, and are no proof all the same."""
    X = data.data[:n_outcomes]
    y = np.full(n_outcomes, outcome)
    late = router.add_model("new", y, X=X, costs=1.0)
    expected = late.predict_quality(data.data)[:, -1].mean()
    centre = np.delete(late._fitted.quality.means, -1).mean()
    moved = (expected - centre) / (outcome - centre)
    low, high = {2: (0.0, 0.4), 5: (0.1, 0.6), 20: (0.5, 0.95)}[n_outcomes]
    assert low < moved < high


@pytest.mark.slow
@pytest.mark.parametrize("table", ["pool9", "routerbench3"])
def test_a_model_added_late_loses_little_to_a_refit(
    table: str, shared_data: Any
) -> None:
    prices = shared_data / f"{table}_prices.json"
    real = read_routerbench(
        shared_data / f"{table}.csv.gz",
        prices=prices if prices.exists() else None,
        embeddings=shared_data / f"{table}_minilm.npy",
    )
    rows = np.random.RandomState(0).permutation(len(real.data))
    train, test = rows[:2000], rows[2000:]
    per_query = np.ndim(real.costs) == 2
    costs = np.broadcast_to(real.costs, real.quality.shape)
    best = int(np.nanmean(real.quality[train], axis=0).argmax())
    others = np.delete(np.arange(real.quality.shape[1]), best)
    scores = []
    for columns in (np.append(others, best), others):
        fitted = RankingRouter(
            None if per_query else real.costs[columns], n_estimators=0, random_state=0
        )
        fitted.fit(
            real.data[train],
            real.quality[np.ix_(train, columns)],
            costs=costs[np.ix_(train, columns)] if per_query else None,
        )
        if len(columns) == len(others):
            fitted = fitted.add_model(
                "late",
                real.quality[train, best],
                X=real.data[train],
                costs=costs[train, best] if per_query else float(real.costs[best]),
            )
        cut = np.ix_(test, np.append(others, best))
        scores.append(
            fitted.score(real.data[test], real.quality[cut], costs=costs[cut])
        )
    assert scores[1] > scores[0] - 0.005


@pytest.mark.slow
def test_the_router_stays_as_it_was(data: Any) -> None:
    fitted = _small()
    fitted.fit(data.data, data.quality[:, :3], costs=data.costs[:, :3])
    before = _bytes(fitted)
    grown = fitted.add_model("new", data.quality[:, 3], X=data.data, costs=0.5)
    less = grown.remove_model("model_1")
    for changed in (grown, less):
        changed.predict(data.data)
        changed.costs_ += 1.0
    assert _bytes(fitted) == before
    grown.fit(data.data[:50], data.quality[:50], costs=data.costs[:50])
    assert _bytes(fitted) == before


@pytest.mark.slow
def test_the_others_are_estimated_as_before(
    data: Any, router: RankingRouter, larger: RankingRouter
) -> None:
    assert larger.models_.tolist() == ["model_0", "model_1", "model_2", "new"]
    before, after = (
        router._fitted.quality.predict(data.data)[0],
        larger._fitted.quality.predict(data.data)[0],
    )
    np.testing.assert_allclose(after.quality[:, :3], before.quality, atol=1e-10)
    np.testing.assert_allclose(
        larger.predict_cost(data.data)[:, :3], router.predict_cost(data.data)
    )
    assert larger.transform(data.data).shape == (400, 8)
    assert larger.get_feature_names_out()[[3, 7]].tolist() == [
        "quality__new",
        "cost__new",
    ]


def test_what_is_added_and_removed_leaves_the_decisions(
    data: Any, router: RankingRouter, larger: RankingRouter
) -> None:
    back = larger.remove_model("new")
    budget = float(np.median(data.costs[:, :3]))
    for settings in ({}, {"budget": budget}, {"min_quality": "95%"}, {"price": 0.1}):
        np.testing.assert_array_equal(
            back.route(data.data, **settings), router.route(data.data, **settings)
        )
    np.testing.assert_allclose(back.transform(data.data), router.transform(data.data))
    np.testing.assert_array_equal(back.price_path_.cost, router.price_path_.cost)


def test_another_model_under_a_removed_name_is_not_the_old_one() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((120, 5))
    y = (rng.random((120, 3)) < [0.62, 0.55, 0.3]).astype(float)
    router = RankingRouter(costs=[3.0, 2.0, 1.0], random_state=0).fit(X, y)
    without = router.remove_model("model_0")
    # Now it always fails, and what it did before must not count.
    useless = without.add_model("model_0", 0 * y[:, 0], X=X, costs=3.0)
    assert set(useless.remove_model("model_2").route(X)) == {"model_1"}
    assert useless.remove_model("model_2").remove_model("model_0").route(X)[0] == (
        "model_1"
    )


@pytest.mark.slow
def test_a_pool_in_another_order_keeps_its_trade_off() -> None:
    data = make_routing(300, n_models=4, random_state=0)
    X, y, costs = data.data, data.quality, data.costs.mean(axis=0)
    router = RankingRouter(costs=costs, random_state=0).fit(X, y)
    turned = router.remove_model("model_0")
    turned = turned.add_model("model_0", y[:, 0], X=X, costs=costs[0])
    turned = turned.add_model("x", y[:, 1], X=X, costs=5.0).remove_model("x")
    assert turned.models_.tolist() == ["model_1", "model_2", "model_3", "model_0"]
    best = turned.models_[int(turned.predict_quality(X).mean(axis=0).argmax())]
    saved = turned.explain(X)
    to_best = saved["chosen"] == best
    assert to_best.any()
    np.testing.assert_allclose(saved["saved"][to_best], 0.0, atol=1e-12)


def test_parameters_are_checked_before_a_model_is_added(
    data: Any, router: RankingRouter
) -> None:
    other = copy.deepcopy(router).set_params(cv=1)
    with pytest.raises(ValueError, match="cv must be at least 2"):
        other.add_model("new", data.quality[:, 3], X=data.data, costs=0.5)
    with pytest.raises(ValueError, match="tie_gain must be a number"):
        other.set_params(tie_gain="x").route(data.data)


@pytest.mark.parametrize("scope", ["mean", "query", "batch"])
def test_budgets_hold_after_a_change(
    data: Any, larger: RankingRouter, scope: Any
) -> None:
    for fitted in (larger, larger.remove_model("model_0")):
        cheapest, highest = fitted.price_path_.cost[[0, -1]]
        budget = float((cheapest + highest) / 2)
        total = budget * len(data.data) if scope == "batch" else budget
        names = fitted.route(
            data.data, budget=total, scope=scope, on_infeasible="cheapest"
        )
        assert set(names) <= set(fitted.models_)
        if scope != "query":
            cost = fitted.predict_cost(data.data)
            choice = [list(fitted.models_).index(name) for name in names]
            spent = cost[np.arange(len(cost)), choice].mean()
            assert spent == pytest.approx(budget, rel=0.1)


def test_a_new_model_without_equal_is_called(data: Any, router: RankingRouter) -> None:
    better = router.add_model("best", np.ones(100), X=data.data[:100], costs=0.0)
    assert (better.route(data.data) == "best").mean() > 0.9
    assert (better.route(data.data, min_quality="90%") == "best").mean() > 0.9


def test_few_outcomes_are_not_trusted_far(data: Any, router: RankingRouter) -> None:
    y = np.full(400, np.nan)
    y[:2] = 1.0
    y[2:50] = data.quality[2:50, 3]
    few = router.add_model("new", y, X=data.data, costs=0.5).predict_quality(data.data)
    assert few[:, 3].mean() == pytest.approx(data.quality[:, 3].mean(), abs=0.2)
    assert few[:, 3].std() < 2 * few[:, :3].std(axis=0).max()


def test_many_outcomes_are_trusted_against_a_pool_of_twins(data: Any) -> None:
    y = np.repeat(data.quality[:, :1], 2, axis=1)
    twins = _small(costs=[1.0, 2.0]).fit(data.data, y)
    better = twins.add_model("best", np.ones(400), X=data.data, costs=3.0)
    # It varies as the pool does; what would lie above all that was seen is cut off.
    assert better.predict_quality(data.data)[:, 2].mean() == pytest.approx(1, abs=0.1)
    assert (better.predict(data.data) == 2).mean() > 0.95
    alone = twins.remove_model("model_1").add_model(
        "best", np.ones(400), X=data.data, costs=3.0
    )
    assert (alone.predict(data.data) == 1).mean() > 0.95


def test_unknown_outcomes_teach_nothing_but_budgets(
    data: Any, router: RankingRouter
) -> None:
    y = np.where(np.arange(400) < 200, data.quality[:, 3], np.nan)
    all_rows = router.add_model("new", y, X=data.data, costs=0.5)
    assert np.isfinite(all_rows.transform(data.data)).all()
    assert len(all_rows._training.kept[0]) == 400


@pytest.mark.slow
def test_the_order_of_the_models_changes_nothing(data: Any) -> None:
    turn = np.array([2, 0, 1])
    changed = []
    for order in (np.arange(3), turn):
        fitted = _small()
        y = pd.DataFrame(data.quality[:, order], columns=[f"m{k}" for k in order])
        fitted.fit(data.data, y, costs=data.costs[:, order])
        grown = fitted.add_model("new", data.quality[:, 3], X=data.data, costs=0.5)
        changed.append(grown.remove_model("m1"))
    one, other = changed
    budget = float(one.price_path_.cost.mean())
    np.testing.assert_array_equal(one.route(data.data), other.route(data.data))
    np.testing.assert_array_equal(
        one.route(data.data, budget=budget), other.route(data.data, budget=budget)
    )


@pytest.mark.slow
def test_prices_follow_the_pool(data: Any) -> None:
    for prices in ([1.0, 2.0], {"model_0": 1.0, "model_1": 2.0}):
        fitted = _small(costs=prices).fit(data.data, data.quality[:, :2])
        grown = fitted.add_model("new", data.quality[:, 2], X=data.data, costs=3.0)
        np.testing.assert_allclose(grown.predict_cost(data.data[:1]), [[1.0, 2.0, 3.0]])
        y = pd.DataFrame(data.quality[:, :3], columns=grown.models_)
        again = clone(grown).fit(data.data, y)
        np.testing.assert_allclose(again.costs_, [1.0, 2.0, 3.0])
        less = grown.remove_model("model_0")
        np.testing.assert_allclose(less.costs_, [2.0, 3.0])
        clone(less).fit(data.data, y[["model_1", "new"]])
        measured = fitted.add_model(
            "new", data.quality[:, 2], X=data.data, costs=data.costs[:, 2]
        )
        cost = measured.predict_cost(data.data)
        np.testing.assert_allclose(cost[:, :2], np.tile([1.0, 2.0], (400, 1)))
        assert cost[:, 2].min() >= data.costs[:, 2].min()


def test_what_cannot_be_added_is_named(data: Any, router: RankingRouter) -> None:
    before = _bytes(router)
    X, y = data.data, data.quality[:, 3]
    bad: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("is a model of this router already", ("model_0", y), {"X": X, "costs": 1.0}),
        ("name must be the name", (3.0, y), {"X": X, "costs": 1.0}),
        ("y must have one value per query", ("n", y[:9]), {"X": X, "costs": 1.0}),
        ("y must have one value per query", ("n", None), {"X": X, "costs": 1.0}),
        ("at least 2 outcomes", ("n", np.full(400, np.nan)), {"X": X, "costs": 1.0}),
        ("infinity", ("n", np.where(y > 0, np.inf, y)), {"X": X, "costs": 1.0}),
        ("features", ("n", y), {"X": X[:, :3], "costs": 1.0}),
        ("costs must be given", ("n", y), {"X": X}),
        ("costs must be at least 0", ("n", y), {"X": X, "costs": -1.0}),
        ("costs must not be negative", ("n", y), {"X": X, "costs": -data.costs[:, 3]}),
        ("costs must have one value", ("n", y), {"X": X, "costs": data.costs}),
        ("no known cost", ("n", y), {"X": X, "costs": np.full(400, np.nan)}),
    ]
    for message, given, named in bad:
        with pytest.raises(ValueError, match=message):
            router.add_model(*given, **named)
    with pytest.raises(
        ValueError, match="is no model of this router; it knows model_0"
    ):
        router.remove_model("gone")
    last = router.remove_model("model_0").remove_model("model_1")
    assert (last.route(X) == "model_2").all()
    with pytest.raises(ValueError, match="only model"):
        last.remove_model("model_2")
    assert _bytes(router) == before


# Weights and holes.


@pytest.mark.slow
def test_a_weight_of_zero_is_an_unknown_outcome(data: Any) -> None:
    hidden = np.random.RandomState(0).uniform(size=data.quality.shape) < 0.3
    y, costs = (np.where(hidden, np.nan, t) for t in (data.quality, data.costs))
    holes = _small().fit(data.data, y, costs=costs)
    zeros = _small().fit(
        data.data,
        data.quality,
        costs=data.costs,
        outcome_weight=np.where(hidden, 0.0, 3.0),
    )
    np.testing.assert_allclose(
        zeros.transform(data.data), holes.transform(data.data), atol=1e-6
    )


@pytest.mark.slow
def test_only_the_relation_of_the_weights_counts(data: Any) -> None:
    weight = np.random.RandomState(0).uniform(0.5, 2.0, data.quality.shape)
    one, two = (
        _small().fit(data.data, data.quality, costs=data.costs, outcome_weight=w)
        for w in (weight, 2.0**20 * weight)
    )
    np.testing.assert_array_equal(one.transform(data.data), two.transform(data.data))
    table = pd.DataFrame(weight, columns=["a", "b", "c", "d"])
    y = pd.DataFrame(data.quality, columns=table.columns)
    named = _small().fit(
        data.data, y, costs=data.costs, outcome_weight=table[["d", "b", "a", "c"]]
    )
    np.testing.assert_array_equal(one.transform(data.data), named.transform(data.data))


@pytest.mark.slow
def test_equal_weights_are_none(data: Any) -> None:
    plain = _small().fit(data.data, data.quality, costs=data.costs)
    equal = _small().fit(
        data.data, data.quality, costs=data.costs, outcome_weight=np.ones((400, 4))
    )
    np.testing.assert_allclose(
        equal.transform(data.data), plain.transform(data.data), atol=1e-6
    )


def test_an_integer_weight_is_a_repeated_row_to_the_regressions() -> None:
    rng = np.random.RandomState(0)
    X, Y = rng.normal(size=(90, 5)), rng.normal(size=(90, 2))
    Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    weight = np.repeat(rng.randint(1, 4, size=(90, 1)), 2, axis=1)
    fold, again = np.arange(90) % 3, np.repeat(np.arange(90), weight[:, 0])
    one, _, strength = fit_ridge(
        X, Y, fold, scale=np.ones(2), weight=weight, differences=True
    )
    two, _, other = fit_ridge(
        X[again], Y[again], fold[again], scale=np.ones(2), differences=True
    )
    assert strength == other
    np.testing.assert_allclose(one.coef, two.coef, atol=1e-10)
    np.testing.assert_allclose(one.intercept, two.intercept, atol=1e-10)
    deviation = rng.normal(size=(90, 2, 3))
    np.testing.assert_allclose(
        find_weights([deviation], Y, np.zeros(2), weight.astype(float)),
        find_weights([deviation[again]], Y[again], np.zeros(2)),
        atol=0.02,  # how much a query's outcomes share is told without weights
    )


@pytest.mark.slow
def test_one_outcome_per_query_is_enough_to_route() -> None:
    data = make_routing(2000, n_models=5, per_query_costs=False, random_state=0)
    rng = np.random.RandomState(0)
    y = np.full(data.quality.shape, np.nan)
    chosen = rng.randint(y.shape[1], size=len(y))
    rows = np.arange(len(y))
    y[rows, chosen] = data.quality[rows, chosen]
    train, test = rows[:1500], rows[1500:]
    costs = np.broadcast_to(data.costs, y.shape)
    fitted = RankingRouter(random_state=0)
    fitted.fit(data.data[train], y[train], costs=costs[train])
    quality, cost = np.hsplit(fitted.transform(data.data[test]), 2)
    static = np.tile(np.nanmean(y[train], axis=0), (len(test), 1))
    routed = normalized_auc(data.quality[test], costs[test], quality, cost)
    assert routed > normalized_auc(data.quality[test], costs[test], static, cost) + 0.02


@pytest.mark.slow
def test_propensities_make_up_for_a_biased_log() -> None:
    gains, errors = [], []
    for seed in range(3):
        data = make_routing(3000, n_models=4, per_query_costs=False, random_state=seed)
        rng = np.random.RandomState(seed)
        # An earlier policy saw more than the embedding: it called cheap models where
        # they succeed, and expensive ones where nothing helps.
        likes = data.quality * np.where(data.costs > np.median(data.costs), -2.0, 2.0)
        propensity = np.exp(likes) / np.exp(likes).sum(axis=1, keepdims=True)
        drawn = propensity.cumsum(axis=1) > rng.uniform(size=(3000, 1))
        ran = np.eye(4, dtype=bool)[drawn.argmax(axis=1)]
        y = np.where(ran, data.quality, np.nan)
        train, test = slice(0, 2000), slice(2000, 3000)
        scores = []
        for weight in (None, 1.0 / propensity):
            fitted = _small(costs=data.costs).fit(
                data.data[train],
                y[train],
                outcome_weight=None if weight is None else weight[train],
            )
            scores.append(fitted.score(data.data[test], data.quality[test]))
            bias = fitted.predict_quality(data.data[test]) - data.quality[test]
            errors.append(np.abs(bias.mean(axis=0)).max())
        gains.append(scores[1] - scores[0])
    assert min(gains) > 0.0
    assert max(errors[1::2]) < min(errors[::2]) / 1.5


@pytest.mark.slow
def test_weights_are_checked(data: Any, router: RankingRouter) -> None:
    fitted = clone(router).fit(data.data, data.quality, costs=data.costs)
    before = _bytes(fitted)
    ones = np.ones((400, 4))
    for message, weight in (
        ("outcome_weight must have one weight per outcome", ones[:, :2]),
        ("outcome_weight must have one weight per outcome", ones[:, 0]),
        ("outcome_weight must be finite and not negative", -ones),
        ("outcome_weight must be finite and not negative", np.inf * ones),
        ("outcome_weight must be finite and not negative", np.nan * ones),
        ("leaves no outcome of the models model_0", ones * [0.0, 1.0, 1.0, 1.0]),
    ):
        with pytest.raises(ValueError, match=message):
            fitted.fit(data.data, data.quality, costs=data.costs, outcome_weight=weight)
    assert _bytes(fitted) == before


@pytest.mark.slow
def test_weights_travel_through_a_pipeline(data: Any, metadata_routing: None) -> None:
    weight = np.random.RandomState(0).uniform(0.5, 2.0, data.quality.shape)
    pipeline = make_pipeline(StandardScaler(), _small())
    pipeline.fit(data.data, data.quality, costs=data.costs, outcome_weight=weight)
    X = StandardScaler().fit_transform(data.data)
    direct = _small().fit(X, data.quality, costs=data.costs, outcome_weight=weight)
    np.testing.assert_array_equal(pipeline.transform(data.data), direct.transform(X))

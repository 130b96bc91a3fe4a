"""Names of models and rows, prices of odd kinds, and calls without queries."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from third_party import MeanRouter

from skroute import (
    BudgetDecider,
    DummyRouter,
    PointwiseRouter,
    RankingRouter,
    evaluation,
    metrics,
)
from skroute._table.names import check_rows
from skroute.datasets import make_routing
from skroute.metrics import make_routing_scorer

MODELS = ["small", "medium", "large"]
N = 120
ROWS = pd.Index([f"q{i}" for i in range(N)])
rng = np.random.default_rng(0)
X = make_routing(N, n_features=6, n_models=3, random_state=3).data
# Models that every one of the tables tells apart.
QUALITY = rng.uniform(size=(N, 3)) * [0.6, 0.8, 1.0]
SPENT = rng.uniform(0.5, 1.5, (N, 3)) * [1.0, 3.0, 9.0]
EXPECTED = QUALITY + rng.normal(0, 0.3, (N, 3))
NAMED = pd.DataFrame(QUALITY, columns=MODELS)
LABELLED = NAMED.set_axis(ROWS, axis=0)


@cache
def router() -> RankingRouter:
    made = RankingRouter(n_estimators=0, n_landmarks=8, random_state=0)
    return made.fit(X, NAMED, costs=SPENT)


def same_curve(found: Any, right: Any) -> None:
    for part in ("models", "budget", "cost", "quality", "call_share", "model_cost"):
        one, other = getattr(found, part), getattr(right, part)
        if part == "models":
            assert one.tolist() == other.tolist()
        else:
            np.testing.assert_allclose(one, other)


# Names of models


def test_names_may_be_whole_numbers() -> None:
    y = pd.DataFrame(QUALITY, columns=[30, 10, 20])
    prices = pd.Series([3.0, 1.0, 2.0], index=[30, 10, 20])
    fitted = DummyRouter(costs=prices[::-1]).fit(X, y)
    assert fitted.models_.tolist() == ["30", "10", "20"]
    assert fitted.costs_.tolist() == [3.0, 1.0, 2.0]
    for only_10 in (
        [10],
        {10},
        {30: False, 10: True, 20: False},
        pd.Series([False, False, True], index=[20, 30, 10]),
        pd.DataFrame({20: [False] * 2, 30: [False] * 2, 10: [True] * 2}),
    ):
        assert fitted.route(X[:2], available=only_10).tolist() == ["10", "10"]
    smaller = router().remove_model("small").add_model(7, QUALITY[:, 0], X=X, costs=1.0)
    assert smaller.models_.tolist() == ["medium", "large", "7"]
    assert smaller.remove_model(7).models_.tolist() == ["medium", "large"]


def test_numbers_that_may_be_a_mask_are_no_names() -> None:
    fitted = DummyRouter(costs=[1, 2]).fit(X, pd.DataFrame(QUALITY[:, :2]))
    assert fitted.models_.tolist() == ["0", "1"]
    with pytest.raises(ValueError, match="available must be bool"):
        fitted.route(X, available=[0, 1])
    assert fitted.route(X[:1], available=[0]).tolist() == ["0"]


def test_prices_are_matched_by_name_where_pandas_numbered_the_models() -> None:
    y = pd.DataFrame(QUALITY)[[2, 0, 1]]
    assert DummyRouter(costs=pd.Series([5.0, 6.0, 7.0])).fit(X, y).costs_.tolist() == [
        *(7.0, 5.0, 6.0)
    ]
    with pytest.raises(ValueError, match="more than one row is called 0"):
        DummyRouter(costs=pd.Series([5.0, 6.0, 7.0], index=[0, 0, 1])).fit(X, y)


def test_levels_of_columns_are_refused_and_the_way_out_works() -> None:
    calls = NAMED.rename_axis("query").reset_index()
    calls = calls.melt("query", var_name="model", value_name="quality").assign(cost=1.0)
    table = calls.pivot(index="query", columns="model")
    with pytest.raises(ValueError, match=r"levels.*\('quality', .*y\['quality'\]"):
        DummyRouter().fit(X, table)
    fitted = DummyRouter().fit(X, table["quality"], costs=table["cost"])
    assert sorted(fitted.models_) == sorted(MODELS)


@pytest.mark.parametrize(
    "costs",
    [
        {"small": {"input_cost_per_token": 1e-6}, "medium": 2.0, "large": 3.0},
        {"small": "$1", "medium": 2.0, "large": 3.0},
        [1.0, "$1", 3.0],
        [[1.0], [2.0, 3.0], 4.0],
    ],
)
def test_a_price_that_is_no_number_is_shown(costs) -> None:
    words = r"costs must be one number per model, .*; got [{'\[].*1.*tokens of a call"
    with pytest.raises(ValueError, match=words):
        DummyRouter(costs=costs).fit(X, NAMED)
    with pytest.raises(ValueError, match="costs must"):
        metrics.best_single(NAMED, costs)


def test_exact_prices_are_read_and_exact_budgets_are_refused() -> None:
    prices = {model: Decimal(i + 1) for i, model in enumerate(MODELS)}
    fitted = DummyRouter(costs=prices).fit(X, NAMED)
    assert fitted.costs_.tolist() == [1.0, 2.0, 3.0]
    for budget in (Decimal("2.5"), "2.5"):
        with pytest.raises(ValueError, match=r"budget must be a number.*Give a float"):
            fitted.route(X, budget=budget)
    with pytest.raises(ValueError, match="budget as an array must hold numbers"):
        fitted.route(X[:1], budget=[Decimal("2.5")], scope="query")


def test_words_in_a_table_are_shown_with_its_name() -> None:
    with pytest.raises(ValueError, match=r"costs must hold numbers.*'\$1'"):
        metrics.best_single(QUALITY[:2], [["$1", "2", "3"], ["1", "2", "3"]])


def test_each_query_may_name_its_models() -> None:
    fitted = DummyRouter(costs=dict(zip(MODELS, [3, 2, 1], strict=True)))
    fitted.fit(X, NAMED)
    ragged = [["small"], ["small", "medium"], {"medium"}]
    assert fitted.route(X[:3], available=ragged).tolist() == [
        *("small", "medium", "medium")
    ]
    square = [["small", "medium"], ["large", "small"]]
    assert fitted.route(X[:2], available=square).tolist() == ["medium", "large"]
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        fitted.route(X[:3], available=square)
    with pytest.raises(ValueError, match="unknown models huge"):
        fitted.route(X[:2], available=[["small"], ["small", "huge"]])
    with pytest.raises(ValueError, match="no model for the queries 1"):
        fitted.route(X[:2], available=[["small"], []])


# The values that were seen


def test_costs_without_names_belong_to_the_columns_of_y_where_a_router_is_judged():
    order = [2, 1, 0]
    right = router().score(X, NAMED, costs=SPENT)
    turned = NAMED.iloc[:, order]
    found = router().score(X, turned, costs=SPENT[:, order])
    assert found == pytest.approx(right)
    assert router().score(X, turned, costs=SPENT) != pytest.approx(right)
    scorer = make_routing_scorer("normalized_auc", costs=[9.0, 3.0, 1.0])
    known = make_routing_scorer("normalized_auc", costs=[1.0, 3.0, 9.0])
    assert scorer(router(), X, turned) == pytest.approx(known(router(), X, NAMED))


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_estimates_are_matched_by_the_names_that_transform_gives(kind) -> None:
    def table(values: Any, prefix: str = "") -> Any:
        return kind({f"{prefix}{m}": values[:, i] for i, m in enumerate(MODELS)})

    def turned(values: Any, prefix: str = "") -> Any:
        return kind({f"{prefix}{MODELS[i]}": values[:, i] for i in (1, 2, 0)})

    quality, cost = EXPECTED, SPENT * 1.1
    right = metrics.normalized_auc(QUALITY, SPENT, quality, cost)
    for prefixes in (("", ""), ("quality__", "cost__")):
        found = metrics.normalized_auc(
            table(QUALITY),
            SPENT,
            turned(quality, prefixes[0]),
            turned(cost, prefixes[1]),
        )
        assert found == pytest.approx(right)
    with pytest.raises(ValueError, match=r"quality must name the same models.*huge"):
        metrics.normalized_auc(
            table(QUALITY), SPENT, table(quality, "huge_"), table(cost)
        )


def test_names_beside_a_y_without_names_must_agree() -> None:
    costs = pd.DataFrame(SPENT, columns=MODELS)
    quality = pd.DataFrame(EXPECTED, columns=[f"quality__{m}" for m in MODELS])
    right = metrics.routing_curve(NAMED, SPENT, EXPECTED, SPENT)
    same_curve(metrics.routing_curve(QUALITY, costs, quality, SPENT), right)
    turned = costs.iloc[:, ::-1]
    with pytest.raises(ValueError, match=r"costs and quality .* another order"):
        metrics.routing_curve(QUALITY, turned, quality, SPENT)
    found = metrics.routing_curve(QUALITY, turned, quality, SPENT, models=MODELS)
    same_curve(found, right)
    with pytest.raises(ValueError, match=r"y must name the same models.*huge"):
        metrics.routing_curve(
            NAMED, costs, quality, SPENT, models=["small", "medium", "huge"]
        )


def test_regret_takes_names_which_mean_the_same_in_any_order() -> None:
    names = router().route(X)
    right = metrics.regret(QUALITY, router().predict(X))
    assert metrics.regret(NAMED.iloc[:, ::-1], names) == pytest.approx(right)
    assert metrics.regret(QUALITY, [f"model_{i}" for i in range(3)] * (N // 3)) > 0
    with pytest.raises(ValueError, match=r"choice must name the models .*; got huge"):
        metrics.regret(NAMED, ["huge"] * N)


def test_shuffled_numbers_are_noticed_beside_those_that_pandas_gives() -> None:
    y = pd.DataFrame(QUALITY, columns=MODELS)
    shuffled = y.sample(frac=1.0, random_state=0)
    fit = DummyRouter(costs=[1.0, 3.0, 9.0]).fit
    with pytest.raises(ValueError, match="another order"):
        fit(pd.DataFrame(X), shuffled)
    fit(X, shuffled)  # an array has no labels to contradict
    fit(pd.DataFrame(X[:50]), shuffled[:50])  # numbers of another table
    names = pd.Index([f"t{i % 3}" for i in range(N)])
    fit(
        pd.DataFrame(X, index=ROWS), y.set_axis(names, axis=0)
    )  # labels that repeat name no rows


def test_labels_that_repeat_name_no_rows_in_any_order() -> None:
    tasks, turned = pd.Index(["m", "c", "m"]), pd.Index(["c", "m", "m"])
    y = pd.DataFrame(QUALITY[:3], index=tasks)
    costs = pd.DataFrame(SPENT[:3], index=turned)
    check_rows(y=y, costs=costs)
    with pytest.raises(ValueError, match="another order"):
        check_rows(y=y.set_axis(["a", "b", "c"]), costs=costs.set_axis(["b", "a", "c"]))


def test_labels_of_partitions_go_together_where_those_of_tables_do() -> None:
    dask = pytest.importorskip("skroute.dask._input")
    y = pd.DataFrame(QUALITY[:3])

    def check(known: list[Any], found: list[Any]) -> None:
        frames = y.set_axis(known), y.set_axis(found)
        dask._check_outcomes(y, 3, ["0", "1", "2"], ["y", "X"], *frames)

    check(["m", "c", "m"], ["c", "m", "m"])
    check(["a", "b", "c"], [0, 1, 2])
    check([1, 2, 3], [11, 12, 13])
    for known, found in [
        (["a", "b", "c"], ["b", "a", "c"]),
        (["a", "b", "c"], ["d", "e", "f"]),
        ([1, 2, 3], [2, 1, 3]),
        ([1, 2, 3], [7, 3, 8]),  # a part of a frame that was shuffled
    ]:
        with pytest.raises(ValueError, match="X and y must have the same row labels"):
            check(known, found)


def test_a_search_takes_tables_of_which_one_has_names_of_rows() -> None:
    plain = pd.DataFrame(X).add_prefix("f")
    model = PointwiseRouter(Ridge(), costs=[1.0, 3.0, 9.0], random_state=0)
    search = GridSearchCV(model, {"cv": [2, 3]}, cv=2, error_score="raise")
    assert np.isfinite(search.fit(plain, LABELLED).best_score_)


def test_a_decider_reads_costs_in_the_order_of_y() -> None:
    order = [2, 0, 1]
    names = [f"{kind}__{m}" for kind in ("quality", "cost") for m in MODELS]
    Z = pd.DataFrame(np.hstack([EXPECTED, SPENT]), columns=names)
    turned = NAMED.iloc[:, order]
    found = BudgetDecider(budget=4.0).fit(Z, turned, costs=SPENT[:, order])
    right = BudgetDecider(budget=4.0).fit(Z, NAMED, costs=SPENT)
    np.testing.assert_allclose(found.price_path_.cost, right.price_path_.cost)


def test_compared_routers_are_fitted_on_costs_of_their_own_models() -> None:
    routers = {"static": DummyRouter()}
    right = evaluation.compare_routers(
        X, QUALITY, SPENT, routers, models=MODELS, seeds=1
    )
    found = evaluation.compare_routers(
        X,
        QUALITY,
        pd.DataFrame(SPENT, columns=MODELS).iloc[:, ::-1],
        routers,
        models=MODELS,
        seeds=1,
    )
    assert found.models.tolist() == MODELS
    np.testing.assert_allclose(
        found.results["static"].spent, right.results["static"].spent
    )
    prices = {"large": 9.0, "medium": 3.0, "small": 1.0}
    named = evaluation.compare_routers(
        X, QUALITY, prices, routers, models=MODELS, seeds=1
    )
    plain = evaluation.compare_routers(X, QUALITY, [1.0, 3.0, 9.0], routers, seeds=1)
    np.testing.assert_allclose(
        named.results["static"].spent, plain.results["static"].spent
    )


# No rows


@pytest.mark.parametrize(
    "made",
    [
        RankingRouter(n_estimators=0, random_state=0),
        PointwiseRouter(Ridge(), random_state=0),
        DummyRouter(),
        DummyRouter("random", random_state=0),
    ],
    ids=["ranking", "pointwise", "dummy", "random"],
)
def test_no_queries_get_no_decisions(made) -> None:
    fitted = clone(made).fit(X, QUALITY, costs=SPENT)
    none, budget = X[:0], float(SPENT.mean())
    for use in (fitted.predict, fitted.route):
        assert use(none).shape == (0,)
    for use in (fitted.predict_quality, fitted.predict_cost, fitted.decision_function):
        assert use(none).shape == (0, 3)
    assert fitted.transform(none).shape == (0, 6)
    for rule in (
        {"budget": budget},
        {"budget": budget, "scope": "batch"},
        {"budget": budget, "scope": "query"},
        {"budget": np.empty(0), "scope": "query"},
        {"min_quality": "50%"},
        {"min_quality": "50%", "scope": "batch"},
        {"tolerance": 0.1},
        {"available": np.empty((0, 3), dtype=bool)},
    ):
        assert fitted.route(none, **rule).shape == (0,)
        assert fitted.route(none, **rule, top_k=2).shape == (0, 2)
        assert fitted.explain(none, **rule).shape == (0, 11)
    with pytest.raises(ValueError, match="features"):
        fitted.route(X[:0, :2])
    with pytest.raises(ValueError, match="sample"):
        fitted.fit(none, QUALITY[:0])


def test_no_queries_get_no_decisions_of_a_router_without_training_estimates() -> None:
    fitted = MeanRouter([1.0, 3.0, 9.0]).fit(X, QUALITY)
    assert fitted.route(X[:0], budget=4.0).shape == (0,)
    assert fitted.route(X[:0], min_quality="90%", top_k=2).shape == (0, 2)
    assert fitted.explain(X[:0], budget=4.0).shape == (0, 11)


@pytest.mark.parametrize(
    ("costs", "says"),
    [
        (NAMED.abs().assign(huge=1.0), "Not in y: huge; missing from costs: none"),
        (NAMED.abs()[["small", "large"]], "Not in y: none; missing from costs: medium"),
    ],
)
def test_costs_of_more_or_fewer_models_name_them(costs, says) -> None:
    with pytest.raises(ValueError, match=says):
        DummyRouter().fit(X, NAMED, costs=costs)

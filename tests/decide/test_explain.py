"""Why a model was chosen: the row of every decision against its alternatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import Ridge

from skroute import DummyRouter, InfeasibleBudgetError, PointwiseRouter
from skroute.base import BaseRouter
from skroute.datasets import make_routing
from skroute.metrics import best_single
from skroute.validation import check_queries, check_routing_table

DATA = make_routing(240, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
NAMES = ["small", "medium", "large"]
FRAME = pd.DataFrame(Y, columns=NAMES)
COLUMNS = [
    "chosen",
    "runner_up",
    "expected_quality",
    "expected_cost",
    "runner_up_quality",
    "runner_up_cost",
    "margin",
    "margin_error",
    "chance",
    "price",
    "saved",
]
BUDGET = float(C.mean())
CAPS = np.random.default_rng(0).uniform(0.5, 2, 240) * BUDGET


class TableRouter(BaseRouter):
    """A third party's: X holds the qualities themselves, prices are known."""

    def __init__(self, costs: Any = None) -> None:
        self.costs = costs

    def fit(self, X: Any, y: Any, *, costs: Any = None) -> TableRouter:
        check_routing_table(self, X, y, costs)
        self.fitted_ = True
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        return self.predict_quality(X)

    def predict_quality(self, X: Any) -> np.ndarray:
        return check_queries(self, X)

    def predict_cost(self, X: Any) -> np.ndarray:
        return np.tile(self.costs_, (len(check_queries(self, X)), 1))


QUALITY = np.array([[0.5, 0.75, 1.0], [1.0, 0.0, 1.0], [0.0, 0.25, 0.25]])


@pytest.fixture(scope="module")
def router() -> Any:
    return PointwiseRouter(Ridge(), random_state=0).fit(X, FRAME, costs=C)


@pytest.fixture
def table() -> TableRouter:
    return TableRouter(costs=[1.0, 2.0, 8.0]).fit(QUALITY, QUALITY)


def test_a_row_says_why(table: TableRouter) -> None:
    why = table.explain(QUALITY, price=0.125)
    assert why.columns.tolist() == COLUMNS
    assert why.index.name == "query"
    # Row 0: 0.375, 0.5, 0; row 1: 0.875, -0.25, 0; row 2: -0.125, 0, -0.75. On average
    # the last model is best, 0.75, and costs 8.
    assert why["chosen"].tolist() == ["model_1", "model_0", "model_1"]
    assert why["runner_up"].tolist() == ["model_0", "model_2", "model_0"]
    assert why["expected_quality"].tolist() == [0.75, 1.0, 0.25]
    assert why["expected_cost"].tolist() == [2.0, 1.0, 2.0]
    assert why["runner_up_quality"].tolist() == [0.5, 1.0, 0.0]
    assert why["runner_up_cost"].tolist() == [1.0, 8.0, 1.0]
    assert why["margin"].tolist() == [0.125, 0.875, 0.125]
    assert why["price"].tolist() == [0.125] * 3
    assert why["saved"].tolist() == [6.0, 7.0, 6.0]


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"budget": BUDGET},
        {"budget": 240 * BUDGET, "scope": "batch"},
        {"budget": BUDGET, "scope": "query", "on_infeasible": "cheapest"},
        {"budget": CAPS, "scope": "query", "on_infeasible": "cheapest"},
        {"min_quality": "90%", "on_infeasible": "cheapest"},
        {"min_quality": 0.5, "scope": "batch", "on_infeasible": "cheapest"},
        {"price": 5.0, "available": ["small", "large"]},
        {"tolerance": 0.1},
    ],
    ids=[
        "nothing",
        "mean budget",
        "batch budget",
        "one cap",
        "caps",
        "share of quality",
        "quality of a batch",
        "price and mask",
        "tolerance",
    ],
)
def test_what_is_explained_is_what_is_routed(
    router: Any, limits: dict[str, Any]
) -> None:
    why = router.explain(X, **limits)
    ranked = router.route(X, top_k=2, **limits)
    assert why["chosen"].tolist() == ranked[:, 0].tolist()
    assert why["runner_up"].tolist() == ranked[:, 1].tolist()
    rows = np.arange(240)
    chosen = [NAMES.index(name) for name in why["chosen"]]
    cost = router.predict_cost(X)
    # One number for all: what estimates of the models called are too high by, but where
    # they would leave what was seen.
    excess = router.predict_quality(X)[rows, chosen] - why["expected_quality"]
    usual = np.median(excess)
    assert np.isclose(excess, usual, atol=1e-12).mean() > 0.6
    assert np.abs(excess).max() <= abs(usual) + 1e-12 < 0.1
    np.testing.assert_array_equal(why["expected_cost"], cost[rows, chosen])
    single = best_single(Y, C)
    np.testing.assert_array_equal(
        why["saved"], cost[:, single] - why["expected_cost"].to_numpy()
    )
    if not {"tolerance", "scope"} & set(limits):
        assert (why["margin"].dropna() >= -1e-12).all()


def test_the_price_of_a_mean_budget_is_that_of_training(router: Any) -> None:
    price = router.explain(X, budget=BUDGET)["price"].unique()
    assert len(price) == 1
    assert price[0] == router.price_path_.price_for_budget(BUDGET).high
    again = router.route(X, price=float(price[0]))
    np.testing.assert_array_equal(again, router.route(X, budget=BUDGET))


def test_the_price_of_a_batch_is_what_its_total_implies(router: Any) -> None:
    why = router.explain(X, budget=240 * BUDGET, scope="batch")
    assert why["price"].nunique() == 1
    assert why["price"].iloc[0] > 0
    # At most one query is decided otherwise than by the price: by what was left over.
    priced = router.route(X, price=float(why["price"].iloc[0]))
    assert (priced != why["chosen"]).sum() <= 1
    rich = router.explain(X, budget=240 * float(C.max()), scope="batch")
    assert (rich["price"] == 0).all()


def test_rows_of_a_split_block_have_prices_of_their_own() -> None:
    blocks = np.repeat([[0.0], [1.0]], 120, axis=0)
    quality = np.repeat([[0.2, 0.9], [0.5, 0.6]], 120, axis=0)
    twins = PointwiseRouter(Ridge(1e-6), costs=[1.0, 3.0], random_state=0)
    why = twins.fit(blocks, quality).explain(blocks, budget=1.5)
    high = why.loc[why["chosen"] == "model_0", "price"]
    low = why.loc[why["chosen"] == "model_1", "price"]
    assert high.max() > low.max()
    # Money is worth more where the cheaper model was kept.
    assert set(low.index) < set(range(120))


def test_an_infinite_price_has_an_infinite_margin(table: TableRouter) -> None:
    rows = np.tile(QUALITY, (40, 1))
    why = table.explain(rows, budget=1.0)
    assert np.isinf(why["price"]).all()
    assert (why["margin"] == np.inf).all()
    equal = TableRouter(costs=[1.0, 1.0, 1.0]).fit(QUALITY, QUALITY)
    why = equal.explain(rows, budget=1.0)
    assert why["margin"].tolist() == [0.25, 0.0, 0.0] * 40


def test_without_a_runner_up_there_are_no_numbers(table: TableRouter) -> None:
    why = table.explain(QUALITY, budget=[1.0, 2.0, 1.0], scope="query")
    assert [name is None for name in why["runner_up"]] == [True, False, True]
    empty = why[["runner_up_quality", "runner_up_cost", "margin"]].isna()
    assert empty.all(axis=1).tolist() == [True, False, True]
    assert np.isfinite(why[["expected_quality", "saved"]]).all(axis=None)


def test_one_model_has_no_runner_up() -> None:
    alone = DummyRouter(costs=[2.0]).fit(X, Y[:, 0])
    why = alone.explain(X[:3])
    assert why["chosen"].tolist() == ["model_0"] * 3
    assert why["runner_up"].tolist() == [None] * 3
    assert why["margin"].isna().all()
    assert why["saved"].tolist() == [0.0] * 3


def test_saved_is_against_the_best_single_model_even_if_it_is_away(
    table: TableRouter,
) -> None:
    why = table.explain(QUALITY, available=["model_0", "model_1"])
    assert why["saved"].tolist() == [8.0 - cost for cost in why["expected_cost"]]


def test_equal_single_models_are_resolved_to_the_cheaper() -> None:
    even = DummyRouter(costs=[5.0, 1.0, 3.0]).fit(X, np.ones_like(Y))
    assert (even.explain(X)["saved"] == 0).all()


def test_rows_keep_the_names_of_the_queries(router: Any) -> None:
    index = pd.Index([f"q{i}" for i in range(5)], name="ticket")
    named = PointwiseRouter(Ridge(), random_state=0)
    columns = [f"x{i}" for i in range(X.shape[1])]
    named.fit(pd.DataFrame(X, columns=columns), FRAME, costs=C)
    why = named.explain(pd.DataFrame(X[:5], columns=columns, index=index))
    pd.testing.assert_index_equal(why.index, index)
    assert why.reset_index(drop=True).equals(router.explain(X[:5]))
    other = named.explain(pl.DataFrame(X[:5], schema=columns))
    assert other.index.tolist() == [0, 1, 2, 3, 4]


def test_estimates_that_are_explained_as_routed_do_not_come_from_the_container(
    router: Any,
) -> None:
    before = router.explain(X[:5])
    pandas = PointwiseRouter(Ridge(), random_state=0).fit(X, FRAME, costs=C)
    assert pandas.set_output(transform="pandas").explain(X[:5]).equals(before)


def test_what_cannot_be_afforded_is_not_explained(router: Any) -> None:
    with pytest.raises(InfeasibleBudgetError):
        router.explain(X, budget=1e-12)


@pytest.mark.slow
def test_without_pandas_a_bunch_says_the_same(
    run_strictly: Callable[[str], str],
) -> None:
    printed = run_strictly(
        """
        import sys

        class NoPandas:
            def find_spec(self, name, path=None, target=None):
                if name == "pandas":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, NoPandas())
        from skroute import DummyRouter
        from skroute.datasets import make_routing
        data = make_routing(50, n_models=3, random_state=0)
        router = DummyRouter().fit(data.data, data.quality, costs=data.costs)
        why = router.explain(data.data[:4])
        print(type(why).__name__, *why, why.query.tolist(), why.margin.shape)
        """
    )
    expected = " ".join(["Bunch", "query", *COLUMNS, "[0, 1, 2, 3]", "(4,)"])
    assert printed.strip() == expected

"""Budgets that equal a price but for rounding, and the budgets that errors name."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skroute
from skroute import BudgetDecider, DummyRouter, InfeasibleBudgetError
from skroute._table.costs import round_up

X = np.arange(12.0).reshape(6, 2)
Y = np.tile([0.2, 0.9], (6, 1))
SINGLE = np.float32([0.1, 0.7])  # 0.10000000149, 0.69999998808
ROUTER = DummyRouter(costs=SINGLE).fit(X, Y)


@pytest.mark.parametrize(
    ("budget", "scope"),
    [
        (0.1, "mean"),
        (0.1, "query"),
        (np.full(6, 0.1), "query"),
        (0.6, "batch"),
    ],
)
def test_a_budget_may_equal_the_cheapest_price_in_single_precision(budget, scope):
    assert (ROUTER.route(X, budget=budget, scope=scope) == "model_0").all()
    decider = BudgetDecider(budget, scope=scope).fit(ROUTER.transform(X))
    assert (decider.predict(ROUTER.transform(X)) == 0).all()


@pytest.mark.parametrize("scope", ["mean", "query", "batch"])
def test_a_budget_may_equal_the_highest_price_in_single_precision(scope):
    router = DummyRouter(costs=np.float32([0.1, 0.3])).fit(X, Y)  # 0.30000001192
    budget = 1.8 if scope == "batch" else 0.3
    assert (router.route(X, budget=budget, scope=scope) == "model_1").all()


@pytest.mark.parametrize("scope", ["mean", "query", "batch"])
def test_a_budget_below_the_cheapest_is_still_refused(scope):
    budget = 0.6 if scope == "batch" else 0.1
    with pytest.raises(InfeasibleBudgetError):
        ROUTER.route(X, budget=budget * (1 - 2e-6), scope=scope)


@pytest.mark.slow
@given(
    st.floats(1e-12, 1e12),
    st.sampled_from(["mean", "query", "caps", "batch"]),
    st.booleans(),
)
def test_the_budget_that_an_error_shows_is_enough(price, scope, single):
    if single:
        price = float(np.float32(price))
    router = DummyRouter(costs=[price, 3 * price]).fit(X, Y)

    def route(budget: float) -> None:
        if scope == "caps":
            router.route(X, budget=np.full(6, budget), scope="query")
        else:
            router.route(X, budget=budget, scope=scope)

    with pytest.raises(InfeasibleBudgetError) as caught:
        route(price / 2)
    shown = re.search(r"smallest feasible budget is ([\d.e+-]+\d)", str(caught.value))
    route(float(shown[1]))
    assert len(shown[1].replace(".", "").lstrip("0")) <= 16
    route(caught.value.smallest_budget)


@pytest.mark.parametrize(
    ("money", "shown"),
    [
        (float(np.float32(0.1)), 0.1),
        (0.12345678, 0.123457),
        (0.1234561, 0.123457),
        (3.0, 3.0),
        (0.0, 0.0),
        (1.0000005, 1.00001),
    ],
)
def test_money_is_rounded_up(money, shown):
    assert round_up(money) == shown


# Zero


FREE = np.tile([0.0, 0.7], (6, 1))


@pytest.mark.parametrize(
    "costs",
    [FREE, np.where(np.arange(12).reshape(6, 2) < 4, np.nan, FREE)],
    ids=["all known", "some unknown"],
)
def test_costs_that_are_all_zero_are_warned_of_by_name(costs):
    for fit in (DummyRouter().fit, DummyRouter().fit_transform):
        with pytest.warns(skroute.NoCostWarning, match="model_0: 0 .*NaN") as told:
            fit(X, Y, costs=costs)
        assert len(told) == 1


@pytest.mark.parametrize(
    ("prices", "costs"),
    [
        ([0.0, 0.7], FREE),
        ({"model_0": 0.0, "model_1": 0.7}, FREE),
        ([0.0, 0.7], None),
        (None, np.where(np.arange(6)[:, None] == 3, 0.1, FREE)),
        ([0.2, 0.7], np.where(FREE == 0, np.nan, FREE)),
    ],
    ids=["declared", "by name", "prices", "once paid", "unknown"],
)
def test_models_that_are_free_are_not_warned_of(prices, costs):
    router = DummyRouter(costs=prices).fit(X, Y, costs=costs)
    assert router.costs_[0] < router.costs_[1]

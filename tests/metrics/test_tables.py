"""What a table of outcomes says by itself, or about given decisions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skroute.metrics import best_single, oracle_choice, regret, top2_margin

quick = settings(max_examples=50, deadline=None)
NAN = np.nan


def quarters(rows=5, models=3):
    return arrays(
        np.int64, (rows, models), elements=st.integers(0, 8), fill=st.nothing()
    ).map(lambda table: table / 4)


# best_single


@pytest.mark.parametrize(
    ("y", "costs", "expected"),
    [
        ([[0, 1, 0], [1, 1, 0]], None, 1),
        ([[1, 1], [1, 1]], None, 0),  # the first where nothing tells them apart
        ([[1, 1], [1, 1]], [2.0, 1.0], 1),
        ([[1, 1], [1, 1]], [[1.0, 2.0], [4.0, 2.0]], 1),  # means 2.5 and 2
        ([[1, 1, 0], [1, 1, 0]], [2.0, 1.0, 0.0], 1),  # cheap is no help to the worse
        ([[NAN, 0.5], [0.75, 0.5]], None, 0),  # means of what is known
        ([[NAN, 0.5], [NAN, 0.5]], None, 1),
        ([[NAN, -0.5], [NAN, -0.5]], None, 1),
        ([[1, 1], [1, 1]], [[NAN, 2.0], [1.0, NAN]], 0),
        ([[0.5], [1]], [3.0], 0),
        ([1, 0, 1], None, 0),  # a vector is the column of one model
    ],
)
def test_best_single_has_the_highest_mean_ties_to_the_cheaper(y, costs, expected):
    assert best_single(y, costs) == expected


# oracle_choice


@pytest.mark.parametrize(
    ("y", "costs", "expected"),
    [
        ([[0, 1, 1], [0, 0, 0], [3, 2, 1]], None, [1, 0, 0]),
        ([[0, 1, 1], [0, 0, 0], [3, 2, 1]], [3.0, 2.0, 1.0], [2, 2, 0]),
        ([[1, 1], [1, 1]], [[1.0, 2.0], [2.0, 1.0]], [0, 1]),
        ([[NAN, -1.0], [0.0, NAN]], [1.0, 2.0], [1, 0]),  # not run, not chosen
        ([[1, 1]], [[NAN, 9.0]], [1]),  # an unknown cost is the most expensive
        ([[1, 1]], [[NAN, NAN]], [0]),
    ],
)
def test_the_oracle_takes_the_cheapest_of_the_best(y, costs, expected):
    assert oracle_choice(y, costs).tolist() == expected


@quick
@given(quarters(), quarters())
def test_no_decision_is_better_or_as_good_and_cheaper_than_the_oracle(y, costs):
    choice = oracle_choice(y, costs)
    rows = np.arange(len(y))
    best = y == y.max(axis=1, keepdims=True)
    np.testing.assert_array_equal(y[rows, choice], y.max(axis=1))
    np.testing.assert_array_equal(
        costs[rows, choice], np.where(best, costs, np.inf).min(axis=1)
    )


# top2_margin


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.5, 0.75, 0.0], 0.25),
        ([1.0, 1.0, 0.0], 0.0),
        ([-3.0, -1.0, -1.5], 0.5),
        ([NAN, 0.25, 1.0], 0.75),
        ([NAN, NAN, 1.0], NAN),
        ([NAN, NAN, NAN], NAN),
    ],
)
def test_margin_is_best_minus_second_best_of_the_known(row, expected):
    np.testing.assert_array_equal(top2_margin([row, [0, 0, 8]]), [expected, 8])


def test_one_model_has_no_margin():
    with pytest.raises(ValueError, match="at least two models"):
        top2_margin([[1.0], [0.0]])


# regret


def test_regret_is_the_mean_loss_against_the_best():
    # Losses 1 - 0, 1 - 1, 3 - 2.
    assert regret([[0, 1], [1, 0], [3, 2]], [0, 0, 1]) == pytest.approx(2 / 3)


def test_regret_prices_the_costs():
    # At price 0.5 and costs 1, 4: values -0.5, -1 and 0.5, -2. Losses 0.5 and 0.
    y, costs = [[0, 1], [1, 0]], [1.0, 4.0]
    assert regret(y, [1, 0], costs=costs, price=0.5) == pytest.approx(0.25)
    per_query = [[1.0, 4.0], [1.0, 4.0]]
    assert regret(y, [1, 0], costs=per_query, price=0.5) == pytest.approx(0.25)


def test_regret_leaves_out_queries_with_an_unknown_value():
    y = [[0, 1], [NAN, 1], [1, 0]]
    assert regret(y, [0, 0, 0]) == 0.5
    costs = [[1.0, 1.0], [1.0, 1.0], [1.0, NAN]]
    assert regret(y, [0, 0, 0], costs=costs, price=1.0) == 1.0
    assert regret(y, [0, 0, 0], costs=costs) == 0.5  # costs do not count unpriced


@quick
@given(quarters(), quarters(), st.integers(0, 8))
def test_the_oracle_has_no_regret_and_nobody_has_less(y, costs, price):
    value = y - price / 4 * costs
    choice = value.argmax(axis=1)
    assert regret(y, choice, costs=costs, price=price / 4) == 0
    assert regret(y, oracle_choice(y, costs)) == 0
    assert regret(y, costs.argmin(axis=1), costs=costs, price=price / 4) >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(choice=[0]), "choice"),
        (dict(choice=[0, 2]), "choice"),
        (dict(choice=[0, -1]), "choice"),
        (dict(choice=[0.0, 1.0]), "choice"),
        (dict(choice=[[0, 1]]), "choice"),
        (dict(choice=["a", "b"]), "choice"),
        (dict(choice=[0, 1], price=1.0), "costs"),
        (dict(choice=[0, 1], price=-1.0), "price"),
        (dict(choice=[0, 1], price=NAN), "price"),
        (dict(choice=[0, 1], price=1.0, costs=[1.0]), "costs"),
        (dict(choice=[0, 1], y=[[NAN, 1], [1, NAN]]), "y"),
    ],
)
def test_regret_names_nonsense(arguments, message):
    with pytest.raises(ValueError, match=message):
        regret(**(dict(y=[[0, 1], [1, 0]]) | arguments))


# All


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_costs_are_matched_to_outcomes_by_name(frame):
    y = frame({"small": [1, 1], "large": [1, 1]})
    costs = frame({"large": [2.0, 2.0], "small": [1.0, 1.0]})
    assert best_single(y, costs) == 0
    assert oracle_choice(y, costs).tolist() == [0, 0]
    assert regret(y, [1, 1], costs=costs, price=1.0) == 1


@pytest.mark.parametrize(
    "measure",
    [
        best_single,
        oracle_choice,
        top2_margin,
        lambda y: regret(y, [0, 0]),
    ],
)
@pytest.mark.parametrize("table", [None, [[np.inf, 1], [0, 1]], "no table"])
def test_nonsense_tables_are_refused(measure, table):
    with pytest.raises(ValueError, match=r".+"):
        measure(table)


def test_a_model_that_was_never_run_is_not_the_best():
    assert best_single([[NAN, -1.0], [NAN, -2.0]]) == 1
    # Of equally good models one without a known cost counts as the most expensive.
    assert best_single([[1, 1], [1, 1]], [[NAN, 5.0], [NAN, 5.0]]) == 1
    with pytest.raises(ValueError, match="y has no observed quality"):
        best_single([[NAN, NAN]])


def test_a_margin_needs_two_models_and_takes_two():
    assert top2_margin([[0.25, 1.0]]).tolist() == [0.75]
    with pytest.raises(ValueError, match=r"^quality must have at least two models"):
        top2_margin([[1.0]])
    with pytest.raises(ValueError, match="Input quality contains infinity"):
        top2_margin([[np.inf, 1.0]])

"""BudgetDecider: every budget, target and mask, and its manners as an estimator."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skroute import BudgetDecider, InfeasibleBudgetError
from skroute._decide.hull import climb_hulls

quick = settings(max_examples=60, deadline=None)

QUALITY = np.array([[0.5, 0.75, 1.0], [1.0, 0.0, 1.0], [0.0, 0.25, 0.25]])
COST = np.array([[1.0, 2.0, 8.0], [1.0, 2.0, 8.0], [1.0, 2.0, 8.0]])
Z = np.hstack([QUALITY, COST])
# Two models, one block: no single price spends a budget between 1 and 3.
BLOCK = np.tile([0.0, 1.0, 1.0, 3.0], (60, 1))


@st.composite
def tables(draw, max_rows=6, max_models=4):
    """Qualities and costs in quarters: sums and differences are exact."""
    shape = draw(st.integers(1, max_rows)), draw(st.integers(1, max_models))
    quality = draw(
        arrays(np.int64, shape, elements=st.integers(0, 8), fill=st.nothing())
    )
    cost = draw(arrays(np.int64, shape, elements=st.integers(0, 8), fill=st.nothing()))
    return quality / 4, cost / 4


def decided(quality, cost, **params):
    """Decisions of a decider fitted on the rows it decides."""
    both = np.hstack([quality, cost])
    return BudgetDecider(**params).fit(both).predict(both)


def total(values, choice):
    return values[np.arange(len(choice)), choice].sum()


def mean(values, choice):
    return total(values, choice) / len(choice)


def every_decision(quality, cost):
    """Total quality and cost of all n_models ** n_queries decisions."""
    n_queries, n_models = quality.shape
    choices = np.array(list(itertools.product(range(n_models), repeat=n_queries)))
    rows = np.arange(n_queries)
    return quality[rows, choices].sum(axis=1), cost[rows, choices].sum(axis=1)


# No parameter, price, tolerance


def test_without_parameters_the_best_model_is_called_ties_to_the_cheaper():
    assert BudgetDecider().fit(Z).predict(Z).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (0, [2, 0, 1]),
        # Row 0: 0.5 - 0.125, 0.75 - 0.25, 1 - 1; row 2: -0.125, 0, -0.75.
        (0.125, [1, 0, 1]),
        # At 0.25 models 0 and 1 tie in rows 0 and 2: the cheaper.
        (0.25, [0, 0, 0]),
    ],
)
def test_a_price_weighs_quality_against_money(price, expected):
    decider = BudgetDecider(price=price).fit(Z)
    assert decider.predict(Z).tolist() == expected
    assert decider.price_ == price


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 8))
def test_tolerance_takes_the_cheapest_model_that_is_good_enough(table, quarters):
    quality, cost = table
    tolerance = quarters / 4
    expected = [
        min(
            np.flatnonzero(q >= q.max() - tolerance),
            key=lambda m, q=q, c=c: (c[m], -q[m], m),
        )
        for q, c in zip(quality, cost, strict=True)
    ]
    if tolerance == 0:
        assert decided(quality, cost).tolist() == expected
    assert decided(quality, cost, tolerance=tolerance).tolist() == expected


def test_tolerance_leaves_cheaper_models_in_play_for_a_price():
    # Within 0.25 of 1.0 the cheapest costs 2; at price 1 the model that costs 1 wins.
    both = np.array([[0.5, 0.75, 1.0, 1.0, 2.0, 8.0]])
    assert BudgetDecider(tolerance=0.25).fit(both).predict(both).tolist() == [1]
    priced = BudgetDecider(tolerance=0.25, price=1.0).fit(both)
    assert priced.predict(both).tolist() == [0]


def test_tolerance_looks_at_affordable_models_only():
    # Under the cap of 4 the best is 0.75, so 0.5 is within 0.25.
    decider = BudgetDecider(4.0, scope="query", tolerance=0.25).fit(Z)
    assert decider.predict(Z).tolist() == [0, 0, 0]


# scope="mean"


@pytest.mark.parametrize(
    ("budget", "spent", "gained"),
    [
        (1.0, 3, 1.5),
        (1.2, 3, 1.5),
        # Rows 0 and 2 climb at slope 1/4: a block of two, of which one is paid for.
        (4 / 3, 4, 1.75),
        (5 / 3, 5, 2.0),
        (3.0, 5, 2.0),  # row 0 would climb on for 6 more
        (11 / 3, 11, 2.25),
        (100, 11, 2.25),
    ],
)
def test_a_mean_budget_buys_the_steepest_steps_first(budget, spent, gained):
    choice = decided(QUALITY, COST, budget=budget)
    assert total(COST, choice) == spent
    assert total(QUALITY, choice) == gained


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 40))
def test_training_rows_never_spend_more_than_a_mean_budget(table, twentieths):
    quality, cost = table
    budget = cost.min(axis=1).mean() + twentieths / 20
    assert mean(cost, decided(quality, cost, budget=budget)) <= budget + 1e-9


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 40), st.integers(0, 40))
@example((np.array([[0.0, 1], [0, 4]]), np.array([[0.0, 1], [0, 4]])), 20, 25)
def test_a_larger_mean_budget_never_gives_or_spends_less(table, less, more):
    quality, cost = table
    less, more = sorted([less, more])
    floor = cost.min(axis=1).mean()
    first = decided(quality, cost, budget=floor + less / 20)
    second = decided(quality, cost, budget=floor + more / 20)
    assert total(quality, second) >= total(quality, first)
    assert total(cost, second) >= total(cost, first)


def test_a_mean_budget_is_decided_for_each_query_on_its_own():
    quality, cost = np.random.default_rng(0).random((2, 200, 3))
    both = np.hstack([quality, cost])
    decider = BudgetDecider(cost.mean()).fit(both)
    alone = [decider.predict(row[None])[0] for row in both]
    assert decider.predict(both).tolist() == alone
    assert len(set(alone)) == 3


def test_observed_outcomes_count_when_a_mean_budget_is_settled():
    # By the estimates everything fits into 2; really the second model costs 9, and only
    # the row that gains most, or none, is worth its money.
    quality, cost = np.array([[0.0, 1.0], [0, 0.5]]), np.array([[1.0, 2.0], [1, 2]])
    both = np.hstack([quality, cost])
    assert BudgetDecider(2.0).fit(both).predict(both).tolist() == [1, 1]
    observed = np.array([[1.0, 9.0], [1.0, 9.0]])
    decider = BudgetDecider(5.0).fit(both, costs=observed)
    assert decider.predict(both).tolist() == [1, 0]
    assert decider.price_path_.cost.tolist() == [1, 5, 9]


@pytest.mark.parametrize("budget", [1.0, 1.5, 2.0, 2.9, 3.0])
def test_a_block_of_identical_queries_is_split_to_spend_a_mean_budget(budget):
    choice = BudgetDecider(budget).fit(BLOCK).predict(BLOCK)
    assert abs(total(BLOCK[:, 2:], choice) - budget * len(BLOCK)) <= 2


# scope="query"


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 8))
def test_no_row_exceeds_a_query_cap_and_each_gets_the_best_under_it(table, quarters):
    quality, cost = table
    cap = max(quarters / 4, cost.min(axis=1).max())
    choice = decided(quality, cost, budget=cap, scope="query")
    rows = np.arange(len(choice))
    assert (cost[rows, choice] <= cap).all()
    best = np.where(cost <= cap, quality, -1).max(axis=1)
    np.testing.assert_array_equal(quality[rows, choice], best)


def test_a_query_cap_goes_together_with_a_price():
    decider = BudgetDecider(2.0, scope="query", price=0.125).fit(Z)
    assert decider.predict(Z).tolist() == [1, 0, 1]


def test_a_query_cap_goes_together_with_a_quality_target():
    # Under the cap: row 0 up to 0.75, row 1 up to 1, row 2 up to 0.25.
    decider = BudgetDecider(2.0, scope="query", min_quality=2 / 3).fit(Z)
    assert decider.predict(Z).tolist() == [1, 0, 1]
    with pytest.raises(InfeasibleBudgetError) as caught:
        BudgetDecider(2.0, scope="query", min_quality=0.7).fit(Z)
    assert caught.value.largest_quality == pytest.approx(2 / 3)


# scope="batch"


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 40))
def test_a_batch_never_exceeds_its_total(table, quarters):
    quality, cost = table
    budget = cost.min(axis=1).sum() + quarters / 4
    choice = decided(quality, cost, budget=budget, scope="batch")
    assert total(cost, choice) <= budget


@pytest.mark.slow
@quick
@given(st.integers(0, 10_000))
def test_a_batch_of_arbitrary_floats_never_exceeds_its_total(seed):
    rng = np.random.default_rng(seed)
    quality, cost = rng.random((2, 12, 3))
    steps = climb_hulls(quality, cost)
    # What the decisions after some steps cost, and a hair less.
    paid = total(cost, steps.choose_after(rng.integers(1, len(steps.price) + 1)))
    for budget in (paid, paid * (1 - 2e-6)):
        choice = decided(quality, cost, budget=budget, scope="batch")
        # A millionth more counts as equal.
        assert total(cost, choice) <= budget * (1 + 1e-6)


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 40), st.integers(0, 40))
def test_a_larger_batch_budget_never_gives_less_quality(table, less, more):
    quality, cost = table
    less, more = sorted([less, more])
    floor = cost.min(axis=1).sum()
    first = decided(quality, cost, budget=floor + less / 4, scope="batch")
    second = decided(quality, cost, budget=floor + more / 4, scope="batch")
    assert total(quality, second) >= total(quality, first)


@pytest.mark.slow
@quick
@given(tables(max_rows=5, max_models=3), st.integers(0, 40))
def test_a_batch_is_within_one_step_of_the_best_decisions(table, quarters):
    quality, cost = table
    budget = cost.min(axis=1).sum() + quarters / 4
    gained, spent = every_decision(quality, cost)
    optimum = gained[spent <= budget].max()
    reached = total(quality, decided(quality, cost, budget=budget, scope="batch"))
    one_step = np.diff(climb_hulls(quality, cost).walk(quality)).max(initial=0)
    assert optimum - one_step <= reached <= optimum


def test_a_batch_budget_is_for_the_rows_of_the_call_not_of_fit():
    decider = BudgetDecider(4.0, scope="batch").fit(np.vstack([Z, Z, Z]))
    # Three rows cost at least 3; the leftover 1 pays one step of 0.25.
    choice = decider.predict(Z)
    assert total(COST, choice) == 4
    # One row alone may spend all 4: the model that costs 2.
    assert decider.predict(Z[:1]).tolist() == [1]


@pytest.mark.parametrize("budget", [3.0, 5.0])
def test_what_is_left_of_a_batch_buys_a_model_under_the_hull(budget):
    # Cheapest 1; the hull goes straight to (10, 1); (3, 0.125) lies under it.
    both = np.array([[0.0, 0.125, 1.0, 1.0, 3.0, 10.0]])
    decider = BudgetDecider(budget, scope="batch").fit(both)
    assert decider.predict(both).tolist() == [1]


# min_quality


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 20))
def test_training_rows_reach_the_quality_target(table, twentieths):
    quality, cost = table
    low = mean(quality, decided(quality, cost, price=1e6))
    high = quality.max(axis=1).mean()
    target = min(low + twentieths / 20 * (high - low), high - 1e-12)
    choice = decided(quality, cost, min_quality=target)
    assert mean(quality, choice) >= target - 1e-9


@pytest.mark.slow
@quick
@given(tables(max_rows=5, max_models=3), st.integers(0, 20))
def test_a_batch_reaches_its_quality_target_at_nearly_the_least_cost(table, twentieths):
    quality, cost = table
    target = twentieths / 20 * quality.max(axis=1).mean() - 1e-12
    choice = decided(quality, cost, min_quality=target, scope="batch")
    assert mean(quality, choice) >= target - 1e-9
    gained, spent = every_decision(quality, cost)
    optimum = spent[gained >= target * len(quality)].min()
    one_step = np.diff(climb_hulls(quality, cost).walk(cost)).max(initial=0)
    assert total(cost, choice) <= optimum + one_step


def test_a_batch_quality_target_is_solved_for_the_rows_of_each_call():
    decider = BudgetDecider(min_quality=0.75, scope="batch").fit(Z)
    assert decider.predict(Z[:2]).tolist() == [0, 0]  # (0.5 + 1) / 2
    assert decider.predict(Z[1:2]).tolist() == [0]
    assert decider.predict(Z[:1]).tolist() == [1]
    with pytest.raises(InfeasibleBudgetError) as caught:
        decider.predict(Z[2:])
    assert caught.value.largest_quality == 0.25


@pytest.mark.parametrize("target", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_a_block_of_identical_queries_is_split_to_reach_a_quality(target):
    choice = BudgetDecider(min_quality=target).fit(BLOCK).predict(BLOCK)
    assert abs(choice.sum() - target * len(BLOCK)) <= 1


def test_a_percentage_is_of_the_best_single_model_by_the_estimates():
    # Means: 0.5, 1/3, 0.75.
    decider = BudgetDecider(min_quality="80%").fit(Z)
    assert decider.quality_target_ == pytest.approx(0.8 * 0.75)


def test_a_percentage_is_of_the_best_single_model_by_the_outcomes_where_given():
    y = np.array([[0.0, 1.0, 0.5], [0.0, np.nan, 0.5], [0.25, 1.0, 0.5]])
    decider = BudgetDecider(min_quality="50%").fit(Z, y)
    # Its estimates miss 1/4 and 3/4 of the two outcomes that are known.
    best_single = QUALITY[:, 1].mean() + 0.5
    assert decider.quality_target_ == pytest.approx(0.5 * best_single)


@pytest.mark.parametrize("text", ["95%", "100%", "12.5%"])
def test_percentages_are_read(text):
    decider = BudgetDecider(min_quality=text, on_infeasible="cheapest").fit(Z)
    assert decider.quality_target_ == pytest.approx(float(text[:-1]) / 100 * 0.75)


def test_a_share_is_refused_where_no_fit_told_the_best_single_model():
    decider = BudgetDecider(budget=3.0).partial_fit(Z)
    decider.set_params(budget=None, min_quality="95%")
    with pytest.raises(ValueError, match="known only after fit: call fit, or give"):
        decider.predict(Z)


def test_a_number_is_the_quality_target_itself():
    assert BudgetDecider(min_quality=0.5).fit(Z).quality_target_ == 0.5
    assert BudgetDecider().fit(Z).quality_target_ is None


def test_a_percentage_of_a_negative_quality_is_refused():
    with pytest.raises(ValueError, match=r"min_quality.*positive"):
        BudgetDecider(min_quality="95%").fit(np.hstack([QUALITY - 2, COST]))


# available


@pytest.mark.parametrize(
    "available",
    [
        ["model_0", "model_1"],
        ("model_1", "model_0"),
        [True, True, False],
        np.array([True, True, False]),
        np.tile([True, True, False], (3, 1)),
    ],
)
def test_only_available_models_are_called(available):
    names = BudgetDecider().fit(Z).route(Z, available=available)
    assert names.tolist() == ["model_1", "model_0", "model_1"]


def test_availability_may_differ_from_query_to_query():
    mask = np.array([[True, False, False], [False, True, True], [True, True, True]])
    names = BudgetDecider().fit(Z).route(Z, available=mask)
    assert names.tolist() == ["model_0", "model_2", "model_1"]


@pytest.mark.parametrize(
    ("available", "message"),
    [
        (["gpt-9"], "gpt-9"),
        ([False, False, False], "no model"),
        (np.array([[True] * 3, [False] * 3, [True] * 3]), "no model"),
        ([True, False], "shape"),
        ([1.0, 0.0, 1.0], "bool"),
        ([], "available"),
    ],
)
def test_nonsense_availability_is_refused(available, message):
    decider = BudgetDecider().fit(Z)
    with pytest.raises(ValueError, match=message) as caught:
        decider.route(Z, available=available)
    assert "available" in str(caught.value)


def test_availability_holds_for_a_batch():
    decider = BudgetDecider(100.0, scope="batch").fit(Z)
    names = decider.route(Z, available=["model_0", "model_1"])
    assert names.tolist() == ["model_1", "model_0", "model_1"]
    with pytest.raises(InfeasibleBudgetError) as caught:
        BudgetDecider(4.0, scope="batch").fit(Z).route(Z, available=["model_1"])
    assert caught.value.smallest_budget == 6.0


def test_an_outage_does_not_move_the_price():
    decider = BudgetDecider(5 / 3).fit(Z)
    before = decider.price_
    decider.route(Z, available=["model_0", "model_2"])
    assert decider.price_ == before


# What cannot be afforded

CANNOT = [
    (dict(budget=0.5), "smallest_budget", 1.0),
    (dict(budget=0.5, scope="query"), "smallest_budget", 1.0),
    (dict(budget=0.5, scope="batch"), "smallest_budget", 3.0),
    (dict(min_quality=0.9), "largest_quality", 0.75),
    (dict(min_quality=0.9, scope="batch"), "largest_quality", 0.75),
]


@pytest.mark.parametrize(("params", "attribute", "nearest"), CANNOT)
def test_the_error_names_the_nearest_feasible_number(params, attribute, nearest):
    with pytest.raises(InfeasibleBudgetError, match=str(nearest)) as caught:
        BudgetDecider(**params).fit(Z).predict(Z)
    assert getattr(caught.value, attribute) == nearest
    assert isinstance(caught.value, ValueError)
    name = "min_quality" if "min_quality" in params else "budget"
    assert name in str(caught.value)
    params = {**params, name: nearest}
    assert BudgetDecider(**params).fit(Z).predict(Z).shape == (3,)


@pytest.mark.parametrize("scope", ["mean", "query", "batch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_smallest_budget_named_is_feasible_and_hardly_less_is_not(scope, dtype):
    both = np.random.default_rng(0).random((9, 6)).astype(dtype)
    with pytest.raises(InfeasibleBudgetError) as caught:
        BudgetDecider(1e-9, scope=scope).fit(both).predict(both)
    smallest = caught.value.smallest_budget
    choice = BudgetDecider(smallest, scope=scope).fit(both).predict(both)
    if scope != "query":
        assert choice.tolist() == both[:, 3:].argmin(axis=1).tolist()
    below = BudgetDecider(smallest * (1 - 2e-6), scope=scope)
    with pytest.raises(InfeasibleBudgetError):
        below.fit(both).predict(both)


@pytest.mark.parametrize(("params", "attribute", "nearest"), CANNOT)
def test_on_infeasible_cheapest_decides_all_the_same(params, attribute, nearest):
    decider = BudgetDecider(**params, on_infeasible="cheapest").fit(Z)
    # A budget falls to the cheapest models, a quality target to the best.
    expected = [0, 0, 0] if attribute == "smallest_budget" else [2, 0, 1]
    assert decider.predict(Z).tolist() == expected


def test_on_infeasible_cheapest_only_concerns_the_queries_above_the_cap():
    both = np.array([[0.5, 1.0, 1.0, 2.0], [0.5, 1.0, 5.0, 6.0]])
    decider = BudgetDecider(2.0, scope="query", on_infeasible="cheapest").fit(both)
    assert decider.predict(both).tolist() == [1, 0]


def test_a_query_cap_can_become_infeasible_after_fit():
    decider = BudgetDecider(2.0, scope="query").fit(Z)
    costly = np.hstack([QUALITY, COST * 4])
    with pytest.raises(InfeasibleBudgetError, match="3 queries") as caught:
        decider.predict(costly)
    assert caught.value.smallest_budget == 4.0


@pytest.mark.parametrize("copied", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_the_error_keeps_its_attributes_when_it_is_copied(copied):
    error = InfeasibleBudgetError("no", smallest_budget=1.5, largest_quality=0.25)
    again = copied(error)
    assert type(again) is InfeasibleBudgetError
    assert str(again) == "no"
    assert (again.smallest_budget, again.largest_quality) == (1.5, 0.25)


# Nonsense


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(["budget", "price"], [-1, np.nan, np.inf, "5", True, [1.0]]),
        *itertools.product(["tolerance"], [-0.1, np.nan, np.inf, "5", None, False]),
        *itertools.product(["scope"], ["week", None, 1]),
        *itertools.product(["on_infeasible"], ["ignore", None, True]),
        *itertools.product(
            ["min_quality"],
            ["95", "0%", "-5%", "much%", "%", "nan%", "inf%", "", np.nan, True, [0.9]],
        ),
    ],
)
def test_nonsense_parameters_are_named(name, value):
    with pytest.raises(ValueError, match=name):
        BudgetDecider(**{name: value}).fit(Z)


@pytest.mark.parametrize(
    ("params", "names"),
    [
        (dict(budget=2.0, price=1.0), ["budget", "price"]),
        (dict(budget=2.0, min_quality=0.5), ["budget", "min_quality"]),
        (dict(price=2.0, min_quality=0.5), ["price", "min_quality"]),
        (dict(budget=2.0, price=1.0, scope="batch"), ["budget", "price"]),
        (dict(budget=2.0, min_quality="5%", scope="batch"), ["budget", "min_quality"]),
        (
            dict(budget=9.0, price=1.0, min_quality=0.5, scope="query"),
            ["price", "min_quality"],
        ),
    ],
)
def test_parameters_that_contradict_each_other_are_named(params, names):
    with pytest.raises(ValueError, match=" and ") as caught:
        BudgetDecider(**params).fit(Z)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize(
    ("estimates", "message"),
    [
        (Z[:, :5], "even number of columns"),
        (np.hstack([QUALITY, -COST]), "not negative"),
        (np.where(Z == 8, np.nan, Z), "NaN"),
        (np.where(Z == 8, np.inf, Z), "infinity"),
        (Z[0], "2D"),
    ],
)
def test_nonsense_estimates_are_refused(estimates, message):
    with pytest.raises(ValueError, match=message):
        BudgetDecider().fit(estimates)
    fitted = BudgetDecider().fit(Z)
    with pytest.raises(ValueError, match=r".+"):
        fitted.predict(estimates)


def test_no_estimates_are_decided_and_not_learned_from():
    with pytest.raises(ValueError, match="0 sample"):
        BudgetDecider().fit(Z[:0])
    decider = BudgetDecider(budget=float(COST.mean())).fit(Z)
    assert decider.predict(Z[:0]).shape == (0,)
    assert decider.transform(Z[:0]).shape == (0, len(NAMES))
    assert decider.route(Z[:0]).shape == (0,)
    assert decider.route(Z[:0], top_k=2).shape == (0, 2)
    with pytest.raises(ValueError, match="0 sample"):
        decider.partial_fit(Z[:0])


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        (dict(y=QUALITY[:2]), "y"),
        (dict(y=QUALITY[:, :2]), "y"),
        (dict(y=np.where(QUALITY == 0, np.inf, QUALITY)), "y"),
        (dict(costs=COST[:2]), "costs"),
        (dict(costs=COST[0]), "costs"),
        (dict(costs=-COST), "costs"),
    ],
)
def test_nonsense_outcomes_are_refused(outcomes, message):
    with pytest.raises(ValueError, match=message):
        BudgetDecider().fit(Z, **outcomes)


@pytest.mark.parametrize(
    "use",
    [
        lambda decider: decider.predict(Z),
        lambda decider: decider.transform(Z),
        lambda decider: decider.route(Z),
        lambda decider: decider.get_feature_names_out(),
    ],
)
def test_an_unfitted_decider_says_so(use):
    with pytest.raises(NotFittedError):
        use(BudgetDecider(2.0))


# Names

NAMES = ["small", "medium", "large"]


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("argument", ["y", "costs"])
def test_models_are_named_by_the_columns_of_outcomes(frame, argument):
    table = {"y": QUALITY, "costs": COST}[argument]
    outcomes = {argument: frame(dict(zip(NAMES, table.T, strict=True)))}
    decider = BudgetDecider().fit(Z, **outcomes)
    assert decider.models_.tolist() == NAMES
    assert decider.route(Z).tolist() == ["large", "small", "medium"]


def test_models_are_named_by_the_columns_of_estimates():
    columns = [f"{kind}__{name}" for kind in ("quality", "cost") for name in NAMES]
    frame = pd.DataFrame(Z, columns=columns)
    decider = BudgetDecider().fit(frame)
    assert decider.models_.tolist() == NAMES
    assert decider.feature_names_in_.tolist() == columns
    assert decider.predict(frame).tolist() == [2, 0, 1]


def test_models_without_names_are_numbered():
    expected = ["model_0", "model_1", "model_2"]
    assert BudgetDecider().fit(Z).models_.tolist() == expected
    unnamed = pd.DataFrame(Z, columns=list("abcdef"))
    assert BudgetDecider().fit(unnamed).models_.tolist() == expected


def test_observed_costs_are_matched_to_the_qualities_by_name():
    y = pd.DataFrame(QUALITY, columns=NAMES)
    costs = pd.DataFrame(COST * 2, columns=NAMES)
    straight = BudgetDecider(4.0).fit(Z, y, costs=costs)
    turned = BudgetDecider(4.0).fit(Z, y, costs=costs[NAMES[::-1]])
    assert straight.price_path_.cost.tolist() == turned.price_path_.cost.tolist()
    with pytest.raises(ValueError, match=r"costs.*huge"):
        BudgetDecider().fit(Z, y, costs=costs.rename(columns={"large": "huge"}))


def test_outcomes_are_matched_to_named_estimates_by_name():
    columns = [f"{kind}__{name}" for kind in ("quality", "cost") for name in NAMES]
    frame = pd.DataFrame(Z, columns=columns)
    turned = pd.DataFrame(QUALITY, columns=NAMES)[NAMES[::-1]]
    decider = BudgetDecider(5 / 3).fit(frame, turned)
    assert decider.route(frame).tolist() == ["medium", "small", "medium"]
    assert decider.models_.tolist() == NAMES
    assert decider.price_path_.quality.tolist() == pytest.approx([0.5, 2 / 3, 0.75])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize(
    "order", [[3, 4, 5, 0, 1, 2], [0, 3, 1, 4, 2, 5], [5, 1, 0, 3, 4, 2]]
)
def test_columns_of_estimates_are_matched_by_name(frame, order):
    columns = [f"{kind}__{name}" for kind in ("quality", "cost") for name in NAMES]
    straight = frame(dict(zip(columns, Z.T, strict=True)))
    turned = straight[[columns[i] for i in order]]
    right = BudgetDecider(4.0).fit(straight)
    route = right.route(straight)
    assert right.route(turned).tolist() == route.tolist()
    decider = BudgetDecider(4.0).fit(turned)
    assert decider.route(straight).tolist() == route.tolist()
    assert decider.price_ == right.price_
    begun = BudgetDecider(4.0).partial_fit(turned)
    assert begun.price_ == BudgetDecider(4.0).partial_fit(straight).price_
    assert right.partial_fit(turned).price_ == decider.partial_fit(straight).price_


def test_a_target_that_is_a_vector_is_ignored():
    plain, with_vector = BudgetDecider(2.0).fit(Z), BudgetDecider(2.0).fit(Z, [0, 1, 0])
    assert with_vector.price_ == plain.price_
    assert with_vector.models_.tolist() == plain.models_.tolist()


# As a transformer


def test_transform_is_one_hot_of_predict():
    decider = BudgetDecider(2.0).fit(Z)
    decisions = decider.transform(Z)
    assert decisions.shape == (3, 3)
    assert set(decisions.ravel()) == {0.0, 1.0}
    assert decisions.sum(axis=1).tolist() == [1, 1, 1]
    assert decisions.argmax(axis=1).tolist() == decider.predict(Z).tolist()


def test_columns_of_transform_are_the_models():
    y = pd.DataFrame(QUALITY, columns=NAMES)
    decider = BudgetDecider().fit(Z, y)
    assert decider.get_feature_names_out().tolist() == NAMES
    assert decider.get_feature_names_out(list("abcdef")).tolist() == NAMES
    with pytest.raises(ValueError, match="6"):
        decider.get_feature_names_out(["a"])
    frame = decider.set_output(transform="pandas").transform(Z)
    assert frame.columns.tolist() == NAMES
    assert frame.to_numpy().argmax(axis=1).tolist() == [2, 0, 1]


def test_names_handed_out_cannot_change_the_decider():
    decider = BudgetDecider().fit(Z)
    decider.get_feature_names_out()[:] = "gone"
    assert decider.models_.tolist() == ["model_0", "model_1", "model_2"]


PARAMS = [
    dict(budget=2.0),
    dict(budget=2.0, scope="query", tolerance=0.25),
    dict(budget=5.0, scope="batch"),
    dict(min_quality="80%"),
    dict(price=0.125, on_infeasible="cheapest"),
]


@pytest.mark.parametrize("params", PARAMS)
def test_a_clone_has_the_parameters_and_is_not_fitted(params):
    cloned = clone(BudgetDecider(**params).fit(Z))
    assert {name: cloned.get_params()[name] for name in params} == params
    with pytest.raises(NotFittedError):
        cloned.predict(Z)


@pytest.mark.parametrize("params", PARAMS)
def test_a_pickled_decider_decides_the_same(params):
    decider = BudgetDecider(**params).fit(Z)
    again = pickle.loads(pickle.dumps(decider))
    assert again.predict(Z).tolist() == decider.predict(Z).tolist()
    assert again.route(Z).tolist() == decider.route(Z).tolist()


def test_a_split_survives_pickling():
    decider = BudgetDecider(2.0).fit(BLOCK)
    again = pickle.loads(pickle.dumps(decider))
    assert 0 < decider.predict(BLOCK).sum() < len(BLOCK)
    assert again.predict(BLOCK).tolist() == decider.predict(BLOCK).tolist()


@pytest.mark.parametrize(
    ("params", "arguments"),
    [
        (dict(budget=0.1), dict(Z=Z)),
        (dict(min_quality=9), dict(Z=Z)),
        (dict(budget=-1), dict(Z=Z)),
        (dict(), dict(Z=Z[:, :5])),
        (dict(), dict(Z=np.hstack([Z, Z]), y=QUALITY)),
        (dict(), dict(Z=pd.DataFrame(Z, columns=list("abcdef")), costs=-COST)),
    ],
)
def test_a_fit_that_fails_leaves_the_fitted_decider_as_it_was(params, arguments):
    decider = BudgetDecider().fit(Z).set_params(**params)
    before = dict(vars(decider))
    with pytest.raises(ValueError, match=r".+"):
        decider.fit(**arguments)
    assert vars(decider).keys() == before.keys()
    assert all(vars(decider)[name] is before[name] for name in before)


def test_a_fit_that_fails_leaves_an_unfitted_decider_unfitted():
    decider = BudgetDecider(0.1)
    with pytest.raises(InfeasibleBudgetError):
        decider.fit(Z)
    assert vars(decider) == vars(BudgetDecider(0.1))


def test_fit_does_not_write_to_its_arguments():
    arguments = Z.copy(), QUALITY.copy(), COST.copy()
    estimates, y, costs = arguments
    decider = BudgetDecider(4.0, scope="batch", tolerance=0.25)
    decider.fit(estimates, y, costs=costs).predict(estimates)
    for argument, original in zip(arguments, (Z, QUALITY, COST), strict=True):
        np.testing.assert_array_equal(argument, original)


def test_a_cap_holds_for_single_precision_estimates():
    estimates = np.array([[0.5, 0.6, 0.1, 0.9295293]], dtype=np.float32)
    for cap, choice in ((0.9295293, 1), (0.9295293 * (1 - 2e-6), 0)):
        decider = BudgetDecider(cap, scope="query").fit(estimates)
        assert decider.predict(estimates).tolist() == [choice]


def test_costs_of_other_models_than_the_qualities_are_refused():
    frame = pd.DataFrame(
        np.ones((3, 4)), columns=["quality__a", "quality__b", "cost__b", "cost__c"]
    )
    with pytest.raises(ValueError, match=r"Missing: cost__a, quality__c\."):
        BudgetDecider().fit(frame)
    with pytest.raises(ValueError, match=r"Missing: cost__a, quality__c\."):
        BudgetDecider(4.0).partial_fit(frame)
    with pytest.raises(ValueError, match=r"Missing: cost__a\."):
        BudgetDecider().fit(frame.drop(columns="cost__c"))


# Streams that begin without a fit


def test_a_stream_without_a_fit_begins_at_no_price_with_named_models():
    columns = [f"{kind}__{name}" for kind in ("quality", "cost") for name in NAMES]
    frame = pd.DataFrame(Z, columns=columns)
    decider = BudgetDecider(2.0).partial_fit(frame)
    assert decider.models_.tolist() == NAMES
    assert decider.feature_names_in_.tolist() == columns
    assert decider.quality_target_ is None
    # At no price the best models were called, for 11; that is above the budget of 6.
    assert decider.price_ > 0
    assert decider.price_path_.cost.max() == pytest.approx(11 / 3)
    assert decider.partial_fit(frame) is decider
    with pytest.raises(ValueError, match="feature names"):
        decider.partial_fit(frame.rename(columns={columns[0]: "quality__huge"}))


def test_a_stream_takes_integers_as_numbers():
    whole = np.array([[0, 1, 1, 3], [1, 0, 1, 3]])
    one, other = BudgetDecider(2.0), BudgetDecider(2.0)
    one.partial_fit(whole), other.partial_fit(whole.astype(float))
    assert one.price_ == other.price_


def test_a_stream_is_charged_for_the_best_models_before_it_has_a_price():
    quality = np.random.default_rng(0).uniform(size=(60, 3))
    cost = np.tile([1.0, 2.0, 8.0], (60, 1))
    seen = np.hstack([quality, cost])
    best = cost[np.arange(60), quality.argmax(axis=1)]
    # The first call tells nothing of what was spent, and stands for the best models.
    one, other = BudgetDecider(2.5).partial_fit(seen), BudgetDecider(2.5)
    other.partial_fit(seen, costs=best)
    assert one.price_ == other.price_ > 0
    thrifty = BudgetDecider(2.5).partial_fit(seen, costs=np.ones(60))
    assert thrifty.price_ < one.price_


def test_a_stream_goes_on_from_the_traffic_of_its_fit():
    rng = np.random.default_rng(0)
    quality = rng.uniform(size=(400, 3))
    seen = np.hstack([quality, np.tile([1.0, 2.0, 8.0], (400, 1))])
    decider = BudgetDecider(2.5).fit(seen)
    fitted = decider.price_
    # One query, of which the most expensive model is worth nothing, is not all traffic.
    decider.partial_fit([[0.5, 0.9, 0.1, 1.0, 2.0, 8.0]])
    assert decider.price_ == pytest.approx(fitted, rel=0.2)
    alone = BudgetDecider(2.5).partial_fit([[0.5, 0.9, 0.1, 1.0, 2.0, 8.0]])
    assert alone.price_ != pytest.approx(fitted, rel=0.2)


# Targets that belong to the call, and targets that do not


def test_a_quality_target_of_traffic_is_not_solved_for_the_rows_of_a_call():
    rng = np.random.default_rng(0)
    seen = np.hstack([rng.uniform(size=(300, 3)), np.tile([1.0, 2.0, 8.0], (300, 1))])
    decider = BudgetDecider(min_quality=0.6).fit(seen)
    together = decider.predict(seen)
    assert len(set(together)) == 2
    alone = [decider.predict(row[None])[0] for row in seen]
    np.testing.assert_array_equal(alone, together)


def test_a_batch_target_need_not_be_reached_by_the_rows_of_fit():
    bad, good = Z.copy(), Z.copy()
    bad[:, :3] = 0.0
    decider = BudgetDecider(min_quality=0.5, scope="batch").fit(bad)
    choice = decider.predict(good)
    assert mean(QUALITY, choice) >= 0.5
    with pytest.raises(InfeasibleBudgetError, match="largest expected mean quality"):
        decider.predict(bad)


def test_a_batch_target_is_reached_by_the_available_models():
    rng = np.random.default_rng(0)
    quality = np.sort(rng.uniform(size=(50, 3)), axis=1)
    cost = np.tile([1.0, 2.0, 3.0], (50, 1))
    both = np.hstack([quality, cost])
    decider = BudgetDecider(min_quality=0.45, scope="batch").fit(both)
    names = decider.route(both, available=[True, True, False])
    called = names[:, None] == decider.models_
    assert not called[:, 2].any()
    assert quality[called].mean() >= 0.45
    everyone = decider.route(both)[:, None] == decider.models_
    assert everyone[:, 2].any()


def test_a_model_without_an_outcome_is_not_the_best_single():
    y = QUALITY.copy()
    y[:, 2] = np.nan
    decider = BudgetDecider(min_quality="100%").fit(Z, y)
    assert decider.quality_target_ == pytest.approx(QUALITY[:, 0].mean())


def test_caps_that_were_set_after_fit_are_checked_with_the_target():
    decider = BudgetDecider(8.0, scope="query", min_quality=0.5).fit(Z)
    decider.set_params(budget=[8.0, 8.0, 8.0])
    with pytest.raises(ValueError, match="min_quality"):
        decider.predict(Z)

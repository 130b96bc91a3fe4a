"""The shadow price: single decisions, hull walks, price paths and mixtures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skroute._decide.hull import choose, climb_hulls
from skroute._decide.price_path import (
    PricePath,
    ShadowPrice,
    assign_shadow_prices,
    choose_each,
)
from skroute._decide.rule import Rule
from skroute._decide.trade_off import TrainingTradeOff
from skroute.exceptions import InfeasibleBudgetError

quick = settings(max_examples=60, deadline=None)
ALL = np.array([[True]])
# Slopes of the tables below are ratios of small integers: none of these is one.
PRICES = np.sqrt(2) * np.arange(1, 60) / 7


def decide(quality, cost, price, allowed):
    """Decide every query at a price or a mixture of two."""
    prices = assign_shadow_prices(quality, cost, price, allowed)
    return choose_each(quality, cost, prices, allowed)


@st.composite
def tables(draw, max_rows=6, max_models=4, least_cost=0):
    """Qualities and costs in quarters: sums, differences and products are exact."""
    shape = draw(st.integers(1, max_rows)), draw(st.integers(1, max_models))
    quality = draw(
        arrays(np.int64, shape, elements=st.integers(0, 8), fill=st.nothing())
    )
    cost = draw(
        arrays(np.int64, shape, elements=st.integers(least_cost, 8), fill=st.nothing())
    )
    return quality / 4, cost / 4


@st.composite
def masked_tables(draw):
    quality, cost = draw(tables())
    allowed = draw(arrays(np.bool_, quality.shape, fill=st.nothing()))
    keep = draw(st.integers(0, quality.shape[1] - 1))
    allowed[:, keep] |= ~allowed.any(axis=1)
    return quality, cost, allowed


def total(values, choice):
    """Sum of a table over decisions."""
    return values[np.arange(len(choice)), choice].sum()


def mean(values, choice):
    return total(values, choice) / len(choice)


# choose


@pytest.mark.parametrize(
    ("quality", "cost", "price", "expected"),
    [
        ([1, 1], [2, 1], 0.0, 1),  # as good: the cheaper
        ([2, 1], [1, 0], 1.0, 1),  # gains 1 and 1: the cheaper
        ([0, 1], [1, 1], np.inf, 1),  # as cheap: the better
        ([1, 1, 1], [1, 1, 1], 0.5, 0),  # the same in all: the first
        ([0, 9], [1, 2], np.inf, 0),  # money is all that counts
        ([0, 9], [1, 2], 0.0, 1),  # money does not count
        ([1, 3, 2], [0, 0, 0], np.inf, 1),  # all free: the best
        ([1, 3, 2], [0, 0, 0], 1e300, 1),
        ([1, 3], [1, 2], 1.0, 1),  # gains 0 and 1
        ([1, 3], [1, 2], 3.0, 0),  # gains -2 and -3
    ],
)
def test_choose_takes_largest_gain_then_cheaper_then_better_then_first(
    quality, cost, price, expected
):
    choice = choose(np.array([quality], float), np.array([cost], float), price, ALL)
    assert choice.tolist() == [expected]


@pytest.mark.slow
@quick
@given(masked_tables(), st.integers(0, 12))
def test_choose_is_the_best_allowed_model_of_every_row(table, quarters):
    quality, cost, allowed = table
    price = quarters / 4
    expected = [
        max(
            np.flatnonzero(may),
            key=lambda m, q=q, c=c: (q[m] - price * c[m], -c[m], q[m], -m),
        )
        for q, c, may in zip(quality, cost, allowed, strict=True)
    ]
    assert choose(quality, cost, price, allowed).tolist() == expected


# climb_hulls


@pytest.mark.slow
@quick
@given(masked_tables())
def test_steps_above_a_price_give_the_decisions_at_that_price(table):
    quality, cost, allowed = table
    steps = climb_hulls(quality, cost, allowed)
    for price in PRICES:
        taken = np.count_nonzero(steps.price > price)
        np.testing.assert_array_equal(
            steps.choose_after(taken), choose(quality, cost, price, allowed)
        )


@pytest.mark.slow
@quick
@given(masked_tables())
def test_walk_starts_at_the_cheapest_models_and_ends_at_the_best(table):
    quality, cost, allowed = table
    steps = climb_hulls(quality, cost, allowed)
    np.testing.assert_array_equal(steps.start, choose(quality, cost, np.inf, allowed))
    np.testing.assert_array_equal(
        steps.choose_after(len(steps.price)), choose(quality, cost, 0.0, allowed)
    )


@quick
@given(tables())
def test_walk_sums_any_table_over_the_decisions_after_each_step(table):
    quality, cost = table
    steps = climb_hulls(quality, cost)
    values = np.arange(quality.size, dtype=float).reshape(quality.shape) ** 2
    expected = [
        total(values, steps.choose_after(n)) for n in range(len(steps.price) + 1)
    ]
    np.testing.assert_array_equal(steps.walk(values), expected)


@quick
@given(tables())
def test_every_step_costs_more_and_gives_more_at_falling_prices(table):
    steps = climb_hulls(*table)
    assert (np.diff(steps.walk(table[0])) > 0).all()
    assert (np.diff(steps.walk(table[1])) > 0).all()
    assert (np.diff(steps.price) <= 0).all()


@pytest.mark.slow
@quick
@given(tables())
def test_the_price_of_a_level_stops_the_walk_there(table):
    quality, cost = table
    steps = climb_hulls(quality, cost)
    n_steps, price = steps.find_levels()
    assert n_steps[0] == 0
    assert n_steps[-1] == len(steps.price)
    assert price[0] == np.inf
    assert (np.diff(price) < 0).all()
    for n, p in zip(n_steps, price, strict=True):
        np.testing.assert_array_equal(
            steps.choose_after(n), choose(quality, cost, p, ALL)
        )


def test_steps_at_the_same_price_share_a_level():
    # Both rows climb at slope 3, but 0.3 / 0.1 falls short of it by rounding.
    quality, cost = np.array([[0, 3], [0, 0.3]]), np.array([[0, 1], [0, 0.1]])
    steps = climb_hulls(quality, cost)
    assert steps.price[0] > steps.price[1]
    n_steps, price = steps.find_levels()
    assert n_steps.tolist() == [0, 2]
    assert price.tolist() == [np.inf, 0.0]


def test_without_a_climb_one_level_is_left():
    n_steps, price = climb_hulls(
        np.array([[1.0, 0.5]]), np.array([[1.0, 2.0]])
    ).find_levels()
    assert n_steps.tolist() == [0]
    assert price.tolist() == [np.inf]


def test_models_under_the_hull_are_skipped():
    # (1, 0) -> (3, 4) has slope 2; (2, 1) lies under it, (5, 5) follows at slope 1/2.
    steps = climb_hulls(
        np.array([[0.0, 1.0, 4.0, 5.0]]), np.array([[1.0, 2.0, 3.0, 5]])
    )
    assert steps.old.tolist() == [0, 2]
    assert steps.new.tolist() == [2, 3]
    assert steps.price.tolist() == [2.0, 0.5]


# PricePath


@pytest.mark.slow
@quick
@given(masked_tables(), st.data())
def test_path_is_monotone_also_on_true_outcomes(table, data):
    quality, cost, allowed = table
    truth = (
        data.draw(
            arrays(
                np.int64, quality.shape, elements=st.integers(0, 8), fill=st.nothing()
            )
        )
        / 4
    )
    truth[0, 0] = np.nan
    path = PricePath.from_estimates(
        quality, cost, allowed=allowed, true_quality=truth, true_cost=truth[:, ::-1]
    )
    assert (np.diff(path.price) < 0).all()
    assert (np.diff(path.cost) >= 0).all()
    assert (np.diff(path.quality) >= 0).all()


@pytest.mark.slow
@quick
@given(tables())
def test_path_holds_the_means_of_the_decisions_at_its_prices(table):
    quality, cost = table
    path = PricePath.from_estimates(quality, cost)
    for price, spent, gained in zip(path.price, path.cost, path.quality, strict=True):
        choice = choose(quality, cost, price, ALL)
        assert spent == pytest.approx(mean(cost, choice), abs=1e-12)
        assert gained == pytest.approx(mean(quality, choice), abs=1e-12)


def test_true_outcomes_count_for_what_is_like_them():
    quality, cost = np.array([[0.0, 1.0], [0, 2]]), np.array([[1.0, 2.0], [1, 2]])
    # At slopes 2 and 1 row 1 climbs first. Truth knows only row 1, which is half of the
    # rows: quality 0 -> 8, and what 2 missed once more; cost 1 -> 5 in place of 1 -> 2.
    path = PricePath.from_estimates(
        quality,
        cost,
        true_quality=np.array([[np.nan, np.nan], [0, 8]]),
        true_cost=np.array([[np.nan, np.nan], [1, 5]]),
    )
    assert path.quality.tolist() == [0, (0 + 8 + 6) / 2, (1 + 8 + 6) / 2]
    assert path.cost.tolist() == [1, (1 + 5) / 2, (2 + 5) / 2]


def test_a_target_that_chance_reached_once_is_not_reached():
    # Every step costs 1, in this order; the truth of the second is a stroke of luck.
    quality = np.cumsum([[0.0, 1, 0.9, 0.8, 0.7]], axis=1)
    cost = np.arange(5.0)[None]
    truth = np.array([[0.0, 1, 3, 1, 2]])
    path = PricePath.from_estimates(quality, cost, true_quality=truth)
    path = path.without_singles()
    assert path.quality.tolist() == [0, 1, 2, 2, 2]
    with pytest.raises(InfeasibleBudgetError, match="largest expected mean quality"):
        path.price_for_quality(2.5)


@pytest.mark.parametrize("weighed", [False, True])
def test_the_best_of_many_estimates_is_not_promised_where_most_is_hidden(weighed):
    rng = np.random.default_rng(0)
    shape = 4000, 8
    # All models are right half of the time, and estimates know nothing.
    truth = rng.integers(2, size=shape).astype(float)
    estimate = 0.5 + 0.2 * rng.standard_normal(shape)
    cost = np.tile(1.0 + np.arange(8), (4000, 1))
    # Right answers are kept twice as often; the weights say so.
    kept = np.where(truth == 1, 0.3, 0.15) if weighed else np.full(shape, 0.2)
    weight = 1 / kept if weighed else None
    known = np.where(rng.random(shape) < kept, truth, np.nan)
    best = estimate.max(axis=1).mean()
    assert best > 0.75
    training = TrainingTradeOff.from_columns(
        np.hstack([estimate, cost]), known, cost, weight
    )
    assert training.path.quality[-1] == pytest.approx(0.5, abs=0.03)
    among = training.settle(Rule(budget=9.0, tolerance=1e-12)).path
    assert among.quality[-1] == pytest.approx(0.5, abs=0.03)
    # What is known of no model at all is as it is estimated.
    unknown = TrainingTradeOff.from_estimates(
        estimate, cost, np.full(shape, np.nan), cost
    )
    assert unknown.path.quality[-1] == pytest.approx(best)


def test_a_single_known_outcome_does_not_speak_for_a_thousand():
    estimate, cost = np.full((1000, 2), [0.4, 0.5]), np.tile([1.0, 2.0], (1000, 1))
    known = np.full((1000, 2), np.nan)
    known[0] = 1.0
    training = TrainingTradeOff.from_estimates(estimate, cost, known, cost)
    assert training.path.quality[-1] == pytest.approx(0.5 + 10 * 0.5 / 1000)


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 40))
def test_price_for_budget_is_the_lowest_level_within_the_budget(table, twentieths):
    quality, cost = table
    path = PricePath.from_estimates(quality, cost)
    budget = path.cost[0] + twentieths / 20
    price = path.price_for_budget(budget)
    assert mean(cost, choose(quality, cost, price.high, ALL)) <= budget + 1e-12
    lower = path.price[path.price < price.high]
    if lower.size:
        assert mean(cost, choose(quality, cost, lower[0], ALL)) > budget
    if price.low is not None:
        assert price.low == lower[0]


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 20))
def test_price_for_quality_reaches_the_target_at_the_highest_level(table, twentieths):
    quality, cost = table
    path = PricePath.from_estimates(quality, cost)
    target = path.quality[0] + twentieths / 20 * (path.quality[-1] - path.quality[0])
    target = min(target, path.quality[-1])
    price = path.price_for_quality(target)
    reaches = price.high if price.low is None else price.low
    assert mean(quality, choose(quality, cost, reaches, ALL)) >= target - 1e-12
    higher = path.price[path.price > reaches]
    if higher.size:
        assert mean(quality, choose(quality, cost, higher[-1], ALL)) < target


@pytest.mark.parametrize("seed", range(5))
def test_infeasible_budget_names_the_smallest_feasible_one_exactly(seed):
    quality, cost = np.random.default_rng(seed).random((2, 7, 3))
    path = PricePath.from_estimates(quality, cost)
    with pytest.raises(InfeasibleBudgetError) as caught:
        path.price_for_budget(cost.min() / 2)
    smallest = caught.value.smallest_budget
    assert caught.value.largest_quality is None
    shown = float(str(caught.value).rstrip(".").split()[-1])
    assert shown < smallest * (1 + 1e-5)
    path.price_for_budget(shown)
    assert smallest == pytest.approx(cost.min(axis=1).mean(), rel=1e-12)
    assert path.price_for_budget(smallest).high == np.inf
    with pytest.raises(InfeasibleBudgetError):
        path.price_for_budget(smallest * (1 - 2e-6))


@pytest.mark.parametrize("seed", range(5))
def test_infeasible_quality_names_the_largest_feasible_one_exactly(seed):
    quality, cost = np.random.default_rng(seed).random((2, 7, 3))
    path = PricePath.from_estimates(quality, cost)
    with pytest.raises(InfeasibleBudgetError) as caught:
        path.price_for_quality(2.0)
    largest = caught.value.largest_quality
    assert caught.value.smallest_budget is None
    assert repr(largest) in str(caught.value)
    assert largest == pytest.approx(quality.max(axis=1).mean(), rel=1e-12)
    assert path.price_for_quality(largest).high == 0.0
    with pytest.raises(InfeasibleBudgetError):
        path.price_for_quality(np.nextafter(largest, 2))


def test_a_long_path_is_thinned_and_still_meets_budgets():
    quality, cost = np.random.default_rng(0).random((2, 4000, 3))
    path = PricePath.from_estimates(quality, cost)
    assert len(path.price) <= 2048
    assert path.price[[0, -1]].tolist() == [np.inf, 0.0]
    for budget in np.linspace(path.cost[0], path.cost[-1], 7):
        choice = decide(quality, cost, path.price_for_budget(budget), ALL)
        assert mean(cost, choice) == pytest.approx(budget, rel=0.006)


def test_single_precision_estimates_give_the_same_path():
    quality, cost = np.random.default_rng(0).random((2, 20_000, 2), dtype=np.float32)
    path = PricePath.from_estimates(quality, cost)
    exact = PricePath.from_estimates(quality.astype(float), cost.astype(float))
    np.testing.assert_allclose(path.cost, exact.cost, rtol=1e-5)
    np.testing.assert_allclose(path.quality, exact.quality, rtol=1e-5)


# Blocks of identical rows, and mixtures of two prices


@quick
@given(tables(max_rows=3, least_cost=1), st.integers(0, 40), st.integers(20, 90))
def test_a_block_of_identical_rows_spends_the_budget_to_one_query(
    table, fortieths, copies
):
    quality, cost = (np.repeat(half, copies, axis=0) for half in table)
    path = PricePath.from_estimates(quality, cost)
    budget = path.cost[0] + fortieths / 40 * (path.cost[-1] - path.cost[0])
    choice = decide(quality, cost, path.price_for_budget(budget), ALL)
    one_query = np.ptp(cost, axis=1).max()
    # 0.5% of a budget may stay unspent before a block is split.
    slack = max(one_query, 0.005 * budget * len(cost))
    assert abs(total(cost, choice) - budget * len(cost)) <= slack + 1e-9


@pytest.mark.slow
@quick
@given(tables(max_rows=3, least_cost=1), st.integers(0, 40), st.integers(20, 90))
def test_a_block_of_identical_rows_reaches_a_quality_to_one_query(
    table, fortieths, copies
):
    quality, cost = (np.repeat(half, copies, axis=0) for half in table)
    path = PricePath.from_estimates(quality, cost)
    rise = path.quality[-1] - path.quality[0]
    target = min(path.quality[0] + fortieths / 40 * rise, path.quality[-1])
    choice = decide(quality, cost, path.price_for_quality(target), ALL)
    one_query = np.ptp(quality, axis=1).max()
    assert total(quality, choice) >= target * len(quality) - one_query - 1e-9


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("n_rows", [2, 7, 100])
def test_a_mixture_decides_its_share_of_the_rows_at_the_lower_price(n_rows, share):
    quality, cost = np.tile([0.0, 1.0], (n_rows, 1)), np.tile([1.0, 2.0], (n_rows, 1))
    choice = decide(quality, cost, ShadowPrice(2.0, 0.5, share), ALL)
    assert abs(choice.sum() - n_rows * share) < 1


@pytest.mark.parametrize(("share", "expected"), [(0.4, 0), (0.6, 1)])
def test_a_query_alone_goes_with_the_larger_share(share, expected):
    quality, cost = np.array([[0.0, 1.0]]), np.array([[1.0, 2.0]])
    assert decide(quality, cost, ShadowPrice(2.0, 0.5, share), ALL).tolist() == [
        expected
    ]


def test_a_mixture_leaves_rows_alone_on_which_its_prices_agree():
    quality = np.array([[0.0, 1.0], [0.0, 9.0], [0.0, 0.1]])
    cost = np.tile([1.0, 2.0], (3, 1))
    for share in (0.0, 0.3, 1.0):
        choice = decide(quality, cost, ShadowPrice(2.0, 0.5, share), ALL)
        assert choice[[1, 2]].tolist() == [1, 0]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_mixture_is_deterministic_and_does_not_depend_on_the_order_of_rows(share):
    rng = np.random.default_rng(0)
    quality = np.column_stack([np.zeros(40), 1 + rng.permutation(40) / 64])
    cost = np.tile([1.0, 2.0], (40, 1))
    price = ShadowPrice(2.0, 0.5, share)
    choice = decide(quality, cost, price, ALL)
    assert 0 < choice.sum() < 40
    np.testing.assert_array_equal(decide(quality, cost, price, ALL), choice)
    order = rng.permutation(40)
    np.testing.assert_array_equal(
        decide(quality[order], cost[order], price, ALL), choice[order]
    )


def test_a_price_that_is_not_mixed_is_just_that_price():
    quality, cost = np.random.default_rng(1).random((2, 30, 4))
    np.testing.assert_array_equal(
        decide(quality, cost, ShadowPrice(0.7), ALL), choose(quality, cost, 0.7, ALL)
    )


@pytest.mark.parametrize("place", [1000, 1001, 1002, 1003, 1004])
def test_a_block_in_a_path_that_was_thinned_is_still_split(place):
    # Slopes 1, 2, .. 5000 of as many rows, and a block of 2000 rows with one of them.
    gain = np.r_[np.arange(1, 5001), np.full(2000, place)].astype(float)
    quality = np.column_stack([np.zeros(7000), gain])
    cost = np.tile([0.0, 1.0], (7000, 1))
    path = PricePath.from_estimates(quality, cost)
    above, below = np.mean(gain > place), np.mean(gain >= place)
    budget = (above + below) / 2
    choice = decide(quality, cost, path.price_for_budget(budget), ALL)
    assert mean(cost, choice) == pytest.approx(budget, rel=0.006)

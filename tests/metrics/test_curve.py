"""The quality-cost curve: both sweeps, its envelope and what it counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skroute import metrics
from skroute.metrics import oracle_curve, routing_curve
from skroute.metrics._curve import concave_hull

quick = settings(max_examples=50, deadline=None)

Y = np.array([[0, 1], [1, 1]])
PRICES = np.array([1.0, 3.0])
ESTIMATED_COST = np.tile(PRICES, (2, 1))


@st.composite
def tables(draw, max_rows=6, max_models=4):
    """Outcomes, costs and estimates of both in quarters: sums are exact."""
    shape = draw(st.integers(1, max_rows)), draw(st.integers(1, max_models))
    quarters = arrays(np.int64, shape, elements=st.integers(0, 8), fill=st.nothing())
    return tuple(draw(quarters) / 4 for _ in range(4))


def pick(candidates, quality, cost):
    """The best candidate of one row: ties to the cheaper, then the first."""
    return max(candidates, key=lambda m: (quality[m], -cost[m], -m))


def summary(choice, y, costs):
    """Cost, quality and call shares of decisions, rounded to compare as sets."""
    rows = np.arange(len(y))
    share = np.bincount(choice, minlength=y.shape[1]) / len(y)
    values = [costs[rows, choice].mean(), y[rows, choice].mean(), *share]
    return tuple(np.round(values, 9) + 0.0)


def points(curve):
    """The same of every point of a curve."""
    table = np.column_stack([curve.cost, curve.quality, curve.call_share])
    return [tuple(row) for row in np.round(table, 9) + 0.0]


# scope="mean"


def test_prices_from_infinity_to_zero_by_hand():
    # Slopes: row 0 climbs at (1 - 0) / (3 - 1), row 1 (0.5 to 0.75) at 1/8.
    y = np.array([[0.0, 1.0], [1.0, 0.0]])
    costs = np.array([[2.0, 4.0], [1.0, 5.0]])
    curve = routing_curve(y, costs, [[0, 1], [0.5, 0.75]], ESTIMATED_COST)
    assert curve.budget.tolist() == [1, 2, 3]  # the expected costs 1 and 3
    assert curve.cost.tolist() == [(2 + 1) / 2, (4 + 1) / 2, (4 + 5) / 2]
    assert curve.quality.tolist() == [(0 + 1) / 2, (1 + 1) / 2, (1 + 0) / 2]
    assert curve.call_share.tolist() == [[1, 0], [0.5, 0.5], [0, 1]]
    # Well chosen: among the best, and model 1 (the strongest, 4.5) only where alone.
    assert curve.collapse.tolist() == [0.5, 0, 0.5]
    assert curve.model_quality.tolist() == [0.5, 0.5]
    assert curve.model_cost.tolist() == [1.5, 4.5]
    assert curve.floor == (1.5, 0.5)
    assert curve.ceiling == 4.5
    assert curve.strongest == 1
    assert curve.best_single == 0
    assert curve.n_queries == 2
    assert curve.scope == "mean"


@pytest.mark.slow
@quick
@given(tables())
def test_every_price_of_a_brute_force_is_a_point_of_the_curve_and_no_other(table):
    y, costs, quality, cost = table
    gain = quality[:, :, None] - quality[:, None]
    extra = cost[:, :, None] - cost[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.unique(np.round((gain / extra)[extra > 0], 9))
    slopes = np.r_[0, slopes[slopes > 0], 1e6]
    expected = []
    for price in (slopes[:-1] + slopes[1:]) / 2:
        gains = quality - price * cost
        choice = [
            pick(range(y.shape[1]), g, c) for g, c in zip(gains, cost, strict=True)
        ]
        expected.append(summary(np.array(choice), y, costs))
    assert set(points(routing_curve(y, costs, quality, cost))) == set(expected)


def test_many_levels_are_thinned_and_keep_both_ends():
    rng = np.random.default_rng(0)
    y, costs, quality, cost = rng.random((4, 3000, 3))
    curve = routing_curve(y, costs, quality, cost)
    assert len(curve.budget) == 1000
    rows = np.arange(3000)
    for end, choice in ((0, cost.argmin(axis=1)), (-1, quality.argmax(axis=1))):
        assert curve.cost[end] == pytest.approx(costs[rows, choice].mean())
        assert curve.quality[end] == pytest.approx(y[rows, choice].mean())


# scope="query"


def test_caps_by_hand():
    # Caps 1, 2, 3. Row 1 has nothing under 1: its cheapest.
    cost = np.array([[1.0, 3.0], [2.0, 3.0]])
    quality = np.array([[0.0, 1.0], [0.75, 0.5]])
    curve = routing_curve(Y, PRICES, quality, cost, scope="query")
    assert curve.budget.tolist() == [1, 2, 3]
    assert curve.cost.tolist() == [1, 1, 2]
    assert curve.quality.tolist() == [0.5, 0.5, 1]
    assert curve.call_share.tolist() == [[1, 0], [1, 0], [0.5, 0.5]]


@pytest.mark.slow
@quick
@given(tables())
def test_caps_take_the_best_model_under_the_cap_else_the_cheapest(table):
    y, costs, quality, cost = table
    curve = routing_curve(y, costs, quality, cost, scope="query")
    expected = []
    for cap in sorted(set(cost.ravel())):
        choice = []
        for q, c in zip(quality, cost, strict=True):
            under = np.flatnonzero(c <= max(cap, c.min()))
            choice.append(pick(under, q, c))
        expected.append(summary(np.array(choice), y, costs))
    assert points(curve) == expected


def test_more_than_a_hundred_distinct_costs_give_a_hundred_caps():
    y, costs, quality, cost = np.random.default_rng(0).random((4, 60, 3))
    curve = routing_curve(y, costs, quality, cost, scope="query")
    assert len(curve.budget) == 100
    assert (np.diff(curve.budget) > 0).all()
    assert curve.budget[[0, -1]].tolist() == [cost.min(), cost.max()]
    best = y[np.arange(60), quality.argmax(axis=1)]
    assert curve.quality[-1] == pytest.approx(best.mean())


# Both


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["mean", "query"])
@quick
@given(table=tables())
def test_points_of_any_curve_hold_together(scope, table):
    y, costs, quality, cost = table
    curve = routing_curve(y, costs, quality, cost, scope=scope)
    assert (np.diff(curve.budget) > 0).all()
    np.testing.assert_allclose(curve.call_share.sum(axis=1), 1, rtol=1e-12)
    assert (curve.call_share >= 0).all()
    assert ((curve.collapse >= -1e-12) & (curve.collapse <= 1 + 1e-12)).all()
    assert (curve.cost >= curve.floor[0] - 1e-12).all()
    assert (curve.cost <= curve.ceiling + 1e-12).all()
    spent, gained = curve.envelope()
    assert (np.diff(spent) > 0).all()
    assert (np.diff(gained) > 0).all()
    assert spent[0] == curve.floor[0]
    # No point lies above the envelope.
    for c, q in zip(curve.cost, curve.quality, strict=True):
        assert gained[spent <= c].max() >= q


def test_one_model_is_one_point():
    curve = routing_curve([[0.5], [1.0]], [2.0], [[0.1], [0.2]], [[2.0], [2.0]])
    assert curve.cost.tolist() == [2]
    assert curve.quality.tolist() == [0.75]
    assert curve.call_share.tolist() == [[1]]
    assert curve.floor == (2, 0.75)


@pytest.mark.parametrize("scope", ["mean", "query"])
def test_models_of_the_same_cost_are_one_point_of_the_best(scope):
    cost = np.full((2, 2), 3.0)
    curve = routing_curve([[0, 1], [1, 0]], [3, 3], [[0, 1], [1, 0]], cost, scope=scope)
    assert curve.cost.tolist() == [3]
    assert curve.quality.tolist() == [1]


def test_rows_with_an_unknown_outcome_or_cost_are_left_out():
    y = np.vstack([Y, [[1.0, np.nan]], [[0.0, 0.0]]])
    costs = np.vstack([ESTIMATED_COST, [[1.0, 1.0]], [[np.nan, 9.0]]])
    quality = np.vstack([Y, [[5, 6]], [[7, 9]]])
    cost = np.vstack([ESTIMATED_COST, [[7.0, 8.0]], [[1.0, 9.0]]])
    curve = routing_curve(y, costs, quality, cost)
    complete = routing_curve(Y, PRICES, Y, ESTIMATED_COST)
    assert curve.n_queries == 2
    assert points(curve) == points(complete)
    assert curve.ceiling == complete.ceiling


@pytest.mark.parametrize(
    ("y", "costs"),
    [
        ([[np.nan, 1.0], [0.0, np.nan]], PRICES),
        (Y, [1.0, np.nan]),
        ([[np.nan, 1.0], [0.0, 1.0]], [[1.0, 2.0], [np.nan, 2.0]]),
    ],
)
def test_without_a_complete_row_there_is_no_curve(y, costs):
    with pytest.raises(ValueError, match="complete rows"):
        routing_curve(y, costs, Y, ESTIMATED_COST)


def test_prices_per_model_hold_for_every_query():
    by_price = routing_curve(Y, PRICES, Y, ESTIMATED_COST)
    by_query = routing_curve(Y, ESTIMATED_COST, Y, ESTIMATED_COST)
    assert points(by_price) == points(by_query)


@pytest.mark.slow
@quick
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_queries_does_not_matter(table, random):
    order = random.sample(range(len(table[0])), len(table[0]))
    for scope in ("mean", "query"):
        curve = routing_curve(*table, scope=scope)
        turned = routing_curve(*(part[order] for part in table), scope=scope)
        assert points(curve) == points(turned)
        np.testing.assert_allclose(turned.collapse, curve.collapse, atol=1e-12)
        np.testing.assert_allclose(turned.floor, curve.floor)


# Names


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_costs_are_matched_to_outcomes_by_name(frame):
    y = frame({"small": [0, 1], "large": [1, 1]})
    costs = frame({"large": [3.0, 3.0], "small": [1.0, 1.0]})
    curve = routing_curve(y, costs, Y, ESTIMATED_COST)
    assert curve.models.tolist() == ["small", "large"]
    assert curve.model_cost.tolist() == [1, 3]
    assert points(curve) == points(routing_curve(Y, PRICES, Y, ESTIMATED_COST))


def test_costs_of_other_models_are_refused():
    y = pd.DataFrame(Y, columns=["small", "large"])
    costs = pd.DataFrame(ESTIMATED_COST, columns=["small", "huge"])
    with pytest.raises(ValueError, match="huge, large"):
        routing_curve(y, costs, Y, ESTIMATED_COST)


def test_outcomes_without_names_are_named_by_models_or_numbered():
    plain = routing_curve(Y, PRICES, Y, ESTIMATED_COST)
    assert plain.models.tolist() == ["model_0", "model_1"]
    named = routing_curve(Y, PRICES, Y, ESTIMATED_COST, models=["a", "b"])
    assert named.models.tolist() == ["a", "b"]


def test_costs_are_matched_to_the_names_given_as_models():
    costs = pd.DataFrame({"large": [3.0, 3.0], "small": [1.0, 1.0]})
    curve = routing_curve(Y, costs, Y, ESTIMATED_COST, models=["small", "large"])
    assert curve.model_cost.tolist() == [1, 3]


# Nonsense


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(scope="batch"), "scope"),
        (dict(scope=None), "scope"),
        (dict(y=None), "y"),
        (dict(y=[[0, np.inf], [1, 1]]), "y"),
        (dict(costs=None), "costs"),
        (dict(costs=[1.0]), "costs"),
        (dict(costs=[1.0, -3.0]), "costs must not be negative"),
        (dict(costs=[[1.0, 3.0]] * 3), "costs"),
        (dict(quality=[[0.5, np.nan], [1, 1]]), "quality"),
        (dict(quality=[[0.5], [1]]), "quality"),
        (dict(cost=[[1.0, -3.0], [1.0, 3.0]]), "cost must not be negative"),
        (dict(cost=[[1.0, np.nan], [1.0, 3.0]]), "cost"),
        (dict(quality=[[0, 1]], cost=[[1, 3]]), "quality must have the shape"),
        (dict(models=["a"]), "models"),
        (dict(models=["a", "a"]), "models must be unique model names.*called a"),
    ],
)
def test_nonsense_is_named(change, message):
    arguments = dict(y=Y, costs=PRICES, quality=Y, cost=ESTIMATED_COST) | change
    with pytest.raises(ValueError, match=message):
        routing_curve(**arguments)


def test_every_point_says_at_which_price_it_is_decided():
    curve = routing_curve(Y, PRICES, [[0, 1], [0.5, 0.75]], ESTIMATED_COST)
    # Half way between the slopes at which the queries step, 1/2 and 1/8.
    assert curve.price.tolist() == [np.inf, 0.3125, 0.0]
    caps = routing_curve(
        Y, PRICES, [[0, 1], [0.5, 0.75]], ESTIMATED_COST, scope="query"
    )
    # A cap is no price.
    assert caps.price.dtype == np.float64
    assert np.isnan(caps.price).all()


def test_exactly_a_hundred_distinct_costs_are_a_hundred_caps():
    cost = np.concatenate([np.arange(1.0, 100), [1000.0]]).reshape(50, 2)
    y = np.random.default_rng(0).random((50, 2))
    curve = routing_curve(y, cost, y, cost, scope="query")
    assert curve.budget.tolist() == np.sort(cost, axis=None).tolist()


@quick
@given(arrays(np.int64, (9, 2), elements=st.integers(0, 12), fill=st.nothing()))
def test_the_hull_is_what_no_line_between_two_points_is_above(points):
    cost, quality = points.T / 4 + 1.0
    spent, gained = concave_hull(cost, quality)
    # Brute force: the highest of all chords, left of the highest point.
    highest = cost[quality == quality.max()].min()
    chords = []
    for x in cost[cost <= highest]:
        best = quality[cost == x].max()
        for i in np.flatnonzero(cost < x):
            for j in np.flatnonzero((cost > x) & (cost <= highest)):
                share = (x - cost[i]) / (cost[j] - cost[i])
                best = max(best, quality[i] + share * (quality[j] - quality[i]))
        chords.append(best)
    np.testing.assert_allclose(np.interp(cost[cost <= highest], spent, gained), chords)
    # Its points are of the table, and none lies on a line between its neighbours.
    table = set(zip(cost, quality, strict=True))
    assert set(zip(spent, gained, strict=True)) <= table
    slopes = np.diff(gained) / np.diff(spent)
    assert (np.diff(slopes) < 0).all()


# Weights of queries


@pytest.mark.slow
@quick
@given(tables(), st.data(), st.sampled_from(["mean", "query"]))
def test_a_weight_repeats_a_query_and_zero_leaves_it_out(table, data, scope):
    n_queries = len(table[0])
    counts = st.lists(st.integers(0, 3), min_size=n_queries, max_size=n_queries)
    weight = np.array(data.draw(counts.filter(any)))
    again = np.repeat(np.arange(n_queries), weight)
    expected = routing_curve(*(part[again] for part in table), scope=scope)
    found = routing_curve(*table, scope=scope, sample_weight=weight * 0.3)
    for name in (
        *("budget", "cost", "quality", "call_share", "collapse", "price"),
        *("model_quality", "model_cost", "floor", "ceiling"),
    ):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-12
        )
    assert found.n_queries == np.count_nonzero(weight)
    y, costs = table[:2]
    oracle = oracle_curve(y, costs, scope=scope, sample_weight=weight * 0.3)
    repeated = oracle_curve(y[again], costs[again], scope=scope)
    np.testing.assert_allclose(oracle.quality, repeated.quality, rtol=1e-12)


@pytest.mark.parametrize("scope", ["mean", "query"])
def test_equal_weights_change_no_digit(scope):
    rng = np.random.default_rng(0)
    tables = [rng.random((40, 3)) for _ in range(4)]
    plain = routing_curve(*tables, scope=scope)
    for weight in (np.full(40, 0.3), [7] * 40, np.full(40, 1e308)):
        found = routing_curve(*tables, scope=scope, sample_weight=weight)
        for name in ("budget", "cost", "quality", "call_share", "collapse"):
            np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))


CURVE_METRICS = (
    *("normalized_auc", "quality_neutral_cost", "peak_quality"),
    *("routing_collapse_index", "strongest_call_share", "apgr"),
    *("average_improvement_in_quality", "call_performance_threshold"),
)


@pytest.mark.parametrize("name", CURVE_METRICS)
def test_weights_count_in_every_metric_of_a_curve(name):
    metric = getattr(metrics, name)
    rng = np.random.default_rng(0)
    y = np.column_stack([rng.random(60) < 0.5, rng.random(60) < 0.8]) * 1.0
    weight = rng.integers(0, 4, 60)
    tables = y, np.array([1.0, 3.0]), y / 2 + rng.random((60, 2)), rng.random((60, 2))
    again = np.repeat(np.arange(60), weight)
    expected = metric(*(part[again] if part.ndim == 2 else part for part in tables))
    assert metric(*tables, sample_weight=weight) == pytest.approx(expected)
    curve = routing_curve(*tables, sample_weight=weight)
    assert metric(curve) == pytest.approx(expected)
    with pytest.raises(ValueError, match="already holds sample_weight: give it alone"):
        metric(curve, sample_weight=weight)


def test_weights_that_leave_nothing_to_count_are_named():
    y = np.array([[0.0, 1.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="every model's outcome is known; it is 0"):
        routing_curve(y, PRICES, Y, ESTIMATED_COST, sample_weight=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"sample_weight.*shape \(2,\); got \(3,\)"):
        routing_curve(Y, PRICES, Y, ESTIMATED_COST, sample_weight=[1.0, 1.0, 1.0])


# Tables with almost nothing in them


@pytest.mark.parametrize("name", CURVE_METRICS)
@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ((np.empty((0, 2)), [1, 3], np.empty((0, 2)), np.empty((0, 2))), "y .*0 samp"),
        (([], [1, 3], [], []), "y .*0 sample"),
        ((np.empty((2, 0)),) * 4, "y .*0 feature"),
        ((Y, PRICES, [0.1, 0.9], [1.0, 2.0]), r"quality must have .*got \(2,\)"),
        ((Y, PRICES, Y, [1.0, 2.0]), r"cost must have shape .*got \(2,\)"),
        ((Y, PRICES), "quality must be given"),
        ((Y,), "costs must be given"),
        ((Y * np.nan, PRICES, Y, Y), "At most 0 of the 2 models"),
    ],
)
def test_tables_without_queries_models_or_estimates_are_named(name, tables, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, name)(*tables)


def test_one_query_and_one_model_have_their_values():
    one_query = ([[0.0, 1.0]], [1.0, 2.0], [[0.1, 0.9]], [[1.0, 2.0]])
    expected = dict(zip(CURVE_METRICS, (0.5, 1, 1, 0, 1, 0.5, 0.25, 0.5), strict=True))
    for name, value in expected.items():
        assert getattr(metrics, name)(*one_query) == value
    one_model = ([[0.0], [1.0]], [1.0], [[0.1], [0.9]], [[1.0], [1.0]])
    expected = dict(zip(CURVE_METRICS[:5], (0.5, 1, 0.5, 0, 1), strict=True))
    for name, value in expected.items():
        assert getattr(metrics, name)(*one_model) == value
        assert getattr(metrics, name)([0.0, 1.0], *one_model[1:]) == value
    for name in ("apgr", "call_performance_threshold"):
        with pytest.raises(ValueError, match="exactly two models"):
            getattr(metrics, name)(*one_model)

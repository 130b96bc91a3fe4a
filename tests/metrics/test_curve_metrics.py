"""Numbers read off a quality-cost curve, against cases worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import Ridge

from skroute import PointwiseRouter
from skroute.metrics import (
    apgr,
    average_improvement_in_quality,
    call_performance_threshold,
    normalized_auc,
    peak_quality,
    quality_neutral_cost,
    routing_collapse_index,
    routing_curve,
    strongest_call_share,
)

quick = settings(max_examples=50, deadline=None)

FOR_ANY_MODELS = (
    normalized_auc,
    quality_neutral_cost,
    peak_quality,
    routing_collapse_index,
    strongest_call_share,
    average_improvement_in_quality,
)
FOR_TWO_MODELS = (apgr, call_performance_threshold)

# Four queries: only the strongest model is right; the two strongest; none; all.
Y = np.array([[0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 1]])
PRICES = np.array([1.0, 2.0, 4.0])
# Two models, a weak and a strong one: of the three queries that the strong one gets
# right one needs no strong call.
Y2 = np.array([[1, 1], [0, 1], [0, 1], [0, 0]])
PRICES2 = np.array([1.0, 2.0])
# Expected gains of a strong call: row 1, 2, 0, 3 is the order of the calls.
QUALITY2 = np.array([[0, 0.3], [0, 0.9], [0, 0.5], [0, 0.1]])


def tiled(prices, n_queries):
    return np.tile(prices, (n_queries, 1))


def scores(*arguments, **keywords):
    return np.array([metric(*arguments, **keywords) for metric in FOR_ANY_MODELS])


def with_points(cost, quality):
    """A curve of one model through given points, for what reads only the points."""
    curve = routing_curve([[0.0]], [0.0], [[0.0]], [[0.0]])
    return dataclasses.replace(
        curve, cost=np.array(cost, float), quality=np.array(quality, float)
    )


# The five scores by hand; in the order of FOR_ANY_MODELS, less the last.

CASES = {
    # Points (1, .25), (1.25, .5), (2, .75), carried to 4: the areas are .09375, .46875
    # and 1.5 over a range of 3. Best single .75 at 4. One in four is the strongest.
    "oracle": (Y, PRICES, Y, None, [0.6875, 2 / 4, 0.75, 0, 0.25]),
    # Points (1, .4), (1.2, .6), (1.4, .8), (1.6, 1): areas .1, .14, .18 and, carried to
    # 2, .4. Best single .6 at 2, reached at 1.2.
    "better than any single model": (
        [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]],
        [1, 2],
        [[1, 0], [1, 0], [0, 3], [0, 2], [0, 1]],
        None,
        [0.82, 1.2 / 2, 1, 0, 0.6],
    ),
    # All climb at once: (1, .25), (4, .75). At the end only row 0 needed the strongest.
    "collapsed": (Y, PRICES, [[0, 1, 3]] * 4, None, [0.5, 1, 0.75, 0.75, 1]),
    # (5, 0) is dominated by (1, 1): the envelope is the first point alone.
    "dominated points": ([[1, 0]], [1, 5], [[0, 1]], None, [1, 1, 1, 1, 1]),
    "all wrong, the cheap called": (
        [[0, 0], [0, 0]],
        [1, 2],
        [[0, 0], [0, 0]],
        None,
        [0, 1, 0, 0, 0],
    ),
    "all wrong, the expensive called": (
        [[0, 0], [0, 0]],
        [1, 2],
        [[0, 1], [0, 1]],
        None,
        [0, 1, 0, 1, 1],
    ),
    # The best model, in the middle, is never called: points (1, 0) and (3, 0).
    "unreached quality": (
        [[0, 1, 0]],
        [1, 2, 3],
        [[0, 0, 1]],
        None,
        [0, np.inf, 0, 1, 1],
    ),
    # Two of three cost the same; the better of them at once gives (1, 1). The best
    # single model has quality 1 too, at 3.
    "duplicate costs": (
        [[0, 1, 1], [1, 0, 1]],
        [1, 1, 3],
        [[0.5, 1, 1], [1, 0.5, 1]],
        None,
        [1, 1 / 3, 1, 0, 0],
    ),
    # One point, (2, 1); the range of spend is empty.
    "all costs the same": (
        [[0, 1], [1, 0]],
        [2, 2],
        [[0, 1], [1, 0]],
        None,
        [1, 1, 1, 0, 0.5],
    ),
    "one model": ([[0.5], [1]], [2], [[0], [1]], None, [0.75, 1, 0.75, 0, 1]),
    "everything free": ([[1, 0], [1, 0]], [0, 0], [[1, 0]] * 2, None, [1, 1, 1, 0, 1]),
    # Points (0, 1), (2, .5); the best single model is free, and so is its quality.
    "best single free": (
        [[1, 0], [1, 1]],
        [0, 2],
        [[0, 1], [0, 1]],
        None,
        [1, 1, 1, 1, 1],
    ),
    # Expected costs are the wrong way round: (2, 0). The cheapest of each row in truth
    # gives (1, 1), over a best single model that costs 1.5; the strongest is the first.
    "floor above the curve": (
        [[1, 0], [0, 1]],
        [[1, 2], [2, 1]],
        [[0, 0], [0, 0]],
        [[2, 1], [1, 2]],
        [1, 2 / 3, 1, 1, 0.5],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_scores_by_hand(case):
    y, costs, quality, cost, expected = case
    if cost is None:
        cost = tiled(costs, len(y))
    np.testing.assert_allclose(scores(y, costs, quality, cost)[:5], expected)


def test_scores_by_hand_under_caps():
    # Caps 1, 2, 4: points (1, .25), (2, .5), (4, .75); areas .375 and 1.25 over 3.
    found = scores(Y, PRICES, [[0, 1, 3]] * 4, tiled(PRICES, 4), scope="query")
    np.testing.assert_allclose(found[:5], [1.625 / 3, 1, 0.75, 0.75, 1])


def test_an_oracle_does_not_collapse_where_a_cheaper_model_is_as_good():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (200, 4))
    prices = np.array([8.0, 1.0, 4.0, 2.0])
    curve = routing_curve(y, prices, y, tiled(prices, 200))
    assert routing_collapse_index(curve) == pytest.approx(0)
    alone = (y.argmax(axis=1) == 0) & (y.sum(axis=1) == 1)
    assert strongest_call_share(curve) == pytest.approx(alone.mean())


def test_what_a_cascade_spends_beyond_any_single_model_adds_no_area():
    """A cascade adds calls up, so that its points lie beyond the most expensive one."""
    curve = dataclasses.replace(
        with_points([1, 3, 5], [0.5, 0.7, 0.9]), floor=(1.0, 0.5), ceiling=4.0
    )
    # From 1 to 3 .6 on average, from 3 to 4 .75: 1.2 and .75 over 3.
    assert normalized_auc(curve) == pytest.approx(1.95 / 3)
    below = dataclasses.replace(curve, ceiling=2.0)
    assert normalized_auc(below) == pytest.approx(0.55)


# AIQ


@pytest.mark.parametrize(
    ("cost", "quality", "max_cost", "expected"),
    [
        # (2, .2) lies under the line from (1, 0) to (3, 1): 1 over 3.
        ([1, 2, 3], [0, 0.2, 1], None, 1 / 3),
        # The hull does not fall again: 1 is carried from 3 to 4.
        ([1, 2, 3, 4], [0, 0.2, 1, 0.5], None, (1 + 1) / 4),
        # A point above the line is on the hull: .45 + .95 over 3.
        ([1, 2, 3], [0, 0.9, 1], None, 1.4 / 3),
        # The better of two points of the same cost: (.5 + 1) / 2 over 2.
        ([1, 1, 2], [0, 0.5, 1], None, 0.75 / 2),
        # Carried on to 8: 1 + 5 over 8.
        ([1, 2, 3], [0, 0.2, 1], 8.0, 6 / 8),
        ([2], [0.75], 4.0, 1.5 / 4),
        ([0], [0.75], None, 0.75),
        ([0], [0.75], 0.0, 0.75),
    ],
)
def test_aiq_is_the_area_under_the_rising_hull(cost, quality, max_cost, expected):
    curve = with_points(cost, quality)
    found = average_improvement_in_quality(curve, max_cost=max_cost)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("max_cost", [2.5, -1.0, np.nan, "4"])
def test_aiq_refuses_a_largest_cost_that_is_none(max_cost):
    with pytest.raises(ValueError, match="max_cost"):
        average_improvement_in_quality(with_points([1, 3], [0, 1]), max_cost=max_cost)


# APGR and CPT


def test_apgr_by_hand():
    # Strong calls 0, 1/4 .. 1 give .25, .5, .75, .75, .75: of the gap of .5 recovered
    # are 0, .5, 1, 1, 1, and the area is (.25 + .75 + 1 + 1) / 4.
    cost = tiled(PRICES2, 4)
    assert apgr(Y2, PRICES2, QUALITY2, cost) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("recovered", "share"),
    [(0, 0), (0.25, 0.125), (0.5, 0.25), (0.75, 0.375), (1, 0.5)],
)
def test_cpt_by_hand(recovered, share):
    found = call_performance_threshold(
        Y2, PRICES2, QUALITY2, tiled(PRICES2, 4), recovered=recovered
    )
    assert found == pytest.approx(share)


def test_two_model_scores_do_not_depend_on_which_column_is_strong():
    turned = Y2[:, ::-1], PRICES2[::-1], QUALITY2[:, ::-1], tiled(PRICES2[::-1], 4)
    assert apgr(*turned) == pytest.approx(0.75)
    assert call_performance_threshold(*turned) == pytest.approx(0.25)


@pytest.mark.parametrize("scope", ["mean", "query"])
def test_a_router_that_never_tells_queries_apart_recovers_half_the_gap(scope):
    found = apgr(Y2, PRICES2, [[0, 1]] * 4, tiled(PRICES2, 4), scope=scope)
    assert found == pytest.approx(0.5)


@pytest.mark.parametrize("metric", FOR_TWO_MODELS)
def test_two_model_scores_refuse_three_models(metric):
    with pytest.raises(ValueError, match="exactly two models"):
        metric(Y, PRICES, Y, tiled(PRICES, 4))


@pytest.mark.parametrize("metric", FOR_TWO_MODELS)
@pytest.mark.parametrize("prices", [[2.0, 1.0], [0.0, 0.0]])
def test_two_model_scores_refuse_a_dearer_model_that_is_not_better(metric, prices):
    y = Y2 if prices[0] > prices[1] else np.ones((4, 2))
    with pytest.raises(ValueError, match="better"):
        metric(y, prices, y, tiled(prices, 4))


@pytest.mark.parametrize("recovered", [-0.1, 1.1, np.nan, "50%"])
def test_cpt_refuses_a_part_that_is_none(recovered):
    with pytest.raises(ValueError, match="recovered"):
        call_performance_threshold(
            Y2, PRICES2, QUALITY2, tiled(PRICES2, 4), recovered=recovered
        )


# A curve in place of arrays


@pytest.mark.parametrize("scope", ["mean", "query"])
@pytest.mark.parametrize("metric", FOR_ANY_MODELS + FOR_TWO_MODELS)
def test_a_curve_and_its_arrays_score_the_same(metric, scope):
    arrays_ = Y2, PRICES2, QUALITY2, tiled(PRICES2, 4)
    curve = routing_curve(*arrays_, scope=scope)
    assert metric(curve) == metric(*arrays_, scope=scope)


@pytest.mark.parametrize("extra", ["costs", "quality", "cost"])
@pytest.mark.parametrize("metric", FOR_ANY_MODELS + FOR_TWO_MODELS)
def test_a_curve_together_with_arrays_is_refused(metric, extra):
    curve = routing_curve(Y2, PRICES2, QUALITY2, tiled(PRICES2, 4))
    with pytest.raises(ValueError, match="RoutingCurve"):
        metric(curve, **{extra: QUALITY2})


@pytest.mark.parametrize("metric", FOR_ANY_MODELS + FOR_TWO_MODELS)
def test_no_score_without_costs(metric):
    with pytest.raises(ValueError, match="costs"):
        metric(Y2, None, QUALITY2, tiled(PRICES2, 4))


def test_scores_match_costs_to_outcomes_by_name():
    names = ["small", "medium", "large"]
    y = pd.DataFrame(Y, columns=names)
    costs = pd.DataFrame(tiled(PRICES, 4), columns=names)[names[::-1]]
    np.testing.assert_array_equal(
        scores(y, costs, Y, tiled(PRICES, 4)), scores(Y, PRICES, Y, tiled(PRICES, 4))
    )


# Invariants


@st.composite
def priced_tables(draw, max_rows=6, max_models=4):
    """Outcomes and estimates in quarters, under a different price for every model."""
    shape = draw(st.integers(1, max_rows)), draw(st.integers(2, max_models))
    quarters = arrays(np.int64, shape, elements=st.integers(0, 8), fill=st.nothing())
    prices = draw(st.permutations(range(shape[1])))
    return draw(quarters) / 4, np.array(prices) / 4, draw(quarters) / 4


SCOPES = pytest.mark.parametrize("scope", ["mean", "query"])


@pytest.mark.slow
@SCOPES
@quick
@given(table=priced_tables(), random=st.randoms(use_true_random=False))
def test_the_order_of_models_does_not_matter(scope, table, random):
    y, prices, quality = table
    order = random.sample(range(len(prices)), len(prices))
    curve = routing_curve(y, prices, quality, tiled(prices, len(y)), scope=scope)
    turned = routing_curve(
        y[:, order],
        prices[order],
        quality[:, order],
        tiled(prices[order], len(y)),
        scope=scope,
    )
    np.testing.assert_allclose(turned.call_share, curve.call_share[:, order])
    np.testing.assert_allclose(scores(turned), scores(curve), atol=1e-12)


@pytest.mark.slow
@SCOPES
@quick
@given(table=priced_tables(), random=st.randoms(use_true_random=False))
def test_the_order_of_queries_does_not_matter(scope, table, random):
    y, prices, quality = table
    order = random.sample(range(len(y)), len(y))
    cost = tiled(prices, len(y))
    np.testing.assert_allclose(
        scores(y[order], prices, quality[order], cost, scope=scope),
        scores(y, prices, quality, cost, scope=scope),
        atol=1e-12,
    )


@pytest.mark.slow
@SCOPES
@quick
@given(table=priced_tables(), power=st.integers(-20, 20))
def test_the_unit_of_money_does_not_matter(scope, table, power):
    y, prices, quality = table
    cost, factor = tiled(prices, len(y)), 2.0**power
    curve = routing_curve(y, prices, quality, cost, scope=scope)
    scaled = routing_curve(y, prices * factor, quality, cost * factor, scope=scope)
    np.testing.assert_array_equal(scaled.budget, curve.budget * factor)
    np.testing.assert_array_equal(scaled.cost, curve.cost * factor)
    np.testing.assert_array_equal(scaled.call_share, curve.call_share)
    np.testing.assert_allclose(scores(scaled), scores(curve), rtol=1e-12)


@pytest.mark.slow
@SCOPES
@quick
@given(table=priced_tables(), quarters=st.integers(-20, 20))
def test_a_constant_added_to_the_outcomes_shifts_qualities_alone(
    scope, table, quarters
):
    y, prices, quality = table
    cost, constant = tiled(prices, len(y)), quarters / 4
    before = scores(y, prices, quality, cost, scope=scope)[:5]
    after = scores(y + constant, prices, quality, cost, scope=scope)[:5]
    shift = constant * np.array([1, 0, 1, 0, 0])
    np.testing.assert_allclose(after, before + shift, atol=1e-9)


@pytest.mark.slow
@SCOPES
@quick
@given(table=priced_tables())
def test_scores_lie_where_they_must(scope, table):
    y, prices, quality = table
    curve = routing_curve(y, prices, quality, tiled(prices, len(y)), scope=scope)
    auc, neutral, peak, collapse, strongest, _ = scores(curve)
    slack = 1e-12
    assert curve.floor[1] - slack <= auc <= peak + slack
    assert peak <= y.max(axis=1).mean() + slack
    assert neutral >= 0
    assert -slack <= collapse <= 1 + slack
    assert 0 <= strongest <= 1


# A real table


@pytest.fixture(scope="module")
def routerbench(shared_data):
    """Embeddings, outcomes and costs of 11 models, tasks, and a mask of train rows."""
    table = pd.read_csv(shared_data / "routerbench3.csv.gz")
    bills = [column for column in table if column.endswith("|total_cost")]
    models = [column.removesuffix("|total_cost") for column in bills]
    y = table[models]
    costs = table[bills].set_axis(models, axis=1)
    X = np.load(shared_data / "routerbench3_minilm.npy")
    train = np.random.default_rng(0).random(len(table)) < 0.5
    return X, y, costs, table["eval_name"], train


@pytest.fixture(scope="module")
def real_curves(routerbench):
    """Curves on the test rows: of an oracle, of ridge, of the means of each task."""
    X, y, costs, task, train = routerbench
    router = PointwiseRouter(Ridge(), random_state=0)
    router.fit(X[train], y[train], costs=costs[train])
    estimates = {
        "oracle": (y[~train].fillna(0), costs[~train].fillna(0)),
        "ridge": np.hsplit(router.transform(X[~train]), 2),
        "task means": tuple(
            table[train].groupby(task[train]).mean().loc[task[~train]]
            for table in (y, costs)
        ),
    }
    return {
        name: routing_curve(y[~train], costs[~train], *pair)
        for name, pair in estimates.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["oracle", "ridge", "task means"])
def test_real_curves_are_sane(routerbench, real_curves, name):
    _, y, costs, _, train = routerbench
    curve = real_curves[name]
    complete = (y.notna().all(axis=1) & costs.notna().all(axis=1))[~train]
    assert curve.n_queries == complete.sum()
    assert curve.n_queries < len(complete)
    assert curve.models[curve.strongest] == "gpt-4-1106-preview"
    np.testing.assert_allclose(curve.call_share.sum(axis=1), 1)
    auc, neutral, peak, collapse, strongest, improvement = scores(curve)
    assert curve.floor[1] < auc < peak
    assert neutral > 0
    assert np.isfinite(neutral) == (peak >= curve.model_quality.max())
    assert 0 <= collapse <= 1
    assert 0 <= strongest <= 1
    assert 0 < improvement < peak


@pytest.mark.slow
def test_on_a_real_table_the_oracle_dominates(real_curves):
    oracle = real_curves["oracle"]
    assert quality_neutral_cost(oracle) < 0.5
    for name in ("ridge", "task means"):
        other = real_curves[name]
        assert normalized_auc(oracle) > normalized_auc(other)
        assert peak_quality(oracle) > peak_quality(other)
        assert quality_neutral_cost(oracle) < quality_neutral_cost(other)
        assert routing_collapse_index(oracle) < 0.1 < routing_collapse_index(other)
        assert strongest_call_share(oracle) < strongest_call_share(other)


def test_on_a_real_table_what_is_learned_beats_the_cheapest_model(real_curves):
    ridge, means = real_curves["ridge"], real_curves["task means"]
    assert normalized_auc(ridge) > ridge.floor[1] + 0.1
    assert normalized_auc(ridge) == pytest.approx(0.85, abs=0.03)
    assert normalized_auc(means) == pytest.approx(0.85, abs=0.03)


# What a hull is, away from the origin


def test_aiq_of_points_away_from_the_origin_is_that_of_their_hull():
    # From (1, 2) to (5, 4) goes a line; (2, 2.25) lies under it, (3, 3.5) above.
    curve = with_points([1, 2, 3, 5], [2, 2.25, 3.5, 4])
    # 2 * (2 + 3.5) / 2 + 2 * (3.5 + 4) / 2, over the largest cost.
    assert average_improvement_in_quality(curve) == pytest.approx(13 / 5)


def test_a_mixture_of_single_models_skips_those_under_the_line():
    y, prices = [[0.25, 0.3, 0.9, 1.0]], np.array([1.0, 2.0, 3.0, 7.0])
    curve = routing_curve(y, prices, y, [prices])
    spent, gained = curve.mixture()
    assert spent.tolist() == [1, 3, 7]
    assert gained.tolist() == [0.25, 0.9, 1.0]


def test_aiq_names_the_smallest_cost_that_will_do():
    with pytest.raises(ValueError, match=r"cost 3\.0; got 2"):
        average_improvement_in_quality(with_points([1, 2, 3], [0, 0.7, 1]), max_cost=2)
    with pytest.raises(ValueError, match=r"max_cost must be .*-1"):
        average_improvement_in_quality(with_points([1, 3], [0, 1]), max_cost=-1)


def test_a_quality_that_is_free_alone_has_no_neutral_cost():
    # The best single model is free on average; the router pays for as much.
    free = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0.0, 1.0])
    # It calls the free model where it expects most of it: 0/0 counts as 1.
    assert quality_neutral_cost(*free, free[0], tiled(free[1], 2)) == 1
    curve = routing_curve(*free, free[0], tiled(free[1], 2))
    costly = dataclasses.replace(curve, floor=(1.0, 0.5), cost=curve.cost + 1)
    assert quality_neutral_cost(costly) == np.inf


def test_cpt_is_no_call_where_none_is_needed():
    # The weak model alone recovers nothing; the first step already recovers it all.
    y, prices = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 3.0])
    cost = tiled(prices, 2)
    assert call_performance_threshold(y, prices, y, cost, recovered=0.5) == 0.25
    assert call_performance_threshold(y, prices, y, cost, recovered=0) == 0
    # Estimates that rank the queries backwards pay for every call but recover late.
    backwards = np.array([[0.0, 0.2], [0.0, 0.8]])
    late = call_performance_threshold(y, prices, backwards, cost, recovered=0.5)
    assert late == pytest.approx(0.75)

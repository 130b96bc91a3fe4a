"""What holds for every router, rule, table and seed; elsewhere are the hand-made cases.

Decisions are exact, and so are these tests of them. Fits are not: sums of floats depend
on their order, and folds on the order of the queries. Each test of a fit says how far.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.linear_model import Ridge

from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute.datasets import make_routing
from skroute.metrics import (
    best_single,
    normalized_auc,
    oracle_choice,
    oracle_curve,
    peak_quality,
    quality_neutral_cost,
    regret,
    routing_curve,
)

pytestmark = pytest.mark.slow

quick = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 10_000)
SHARES = st.integers(0, 20).map(lambda twentieths: twentieths / 20)


def between(low, high, share):
    """A number inside of an interval, off every round one."""
    return float(low + (0.001 + 0.998 * share) * (high - low))


# Every rule, at a share of what it can ask for: from nearly nothing to nearly all.
RULES = {
    "best": lambda q, c, share: {},
    "mean": lambda q, c, share: {
        "budget": between(c.min(axis=1).mean(), c.max(axis=1).mean(), share)
    },
    "mean, tolerance": lambda q, c, share: {
        "budget": between(c.min(axis=1).mean(), c.max(axis=1).mean(), share),
        "tolerance": 0.05,
    },
    "cap": lambda q, c, share: {
        "budget": between(c.min(axis=1).max(), c.max(), share),
        "scope": "query",
    },
    "caps": lambda q, c, share: {
        "budget": c.min(axis=1) + 0.001 + share * np.ptp(c, axis=1),
        "scope": "query",
    },
    "cap, price, tolerance": lambda q, c, share: {
        "budget": between(c.min(axis=1).max(), c.max(), share),
        "scope": "query",
        "price": 0.2,
        "tolerance": 0.1,
    },
    "cap, quality": lambda q, c, share: {
        "budget": between(c.min(axis=1).max(), c.max(), 0.5),
        "scope": "query",
        "min_quality": between(q.min(), q.max(axis=1).mean(), share),
    },
    "batch": lambda q, c, share: {
        "budget": between(c.min(axis=1).sum(), c.max(axis=1).sum(), share),
        "scope": "batch",
    },
    "quality": lambda q, c, share: {
        "min_quality": between(q.min(), q.max(axis=1).mean(), share)
    },
    "share of quality": lambda q, c, share: {"min_quality": f"{50 + 50 * share}%"},
    "batch quality": lambda q, c, share: {
        "min_quality": between(q.min(), q.max(axis=1).mean(), share),
        "scope": "batch",
    },
    "price": lambda q, c, share: {"price": 2 * share},
    "tolerance": lambda q, c, share: {"tolerance": share / 2},
}
ANY_RULE = pytest.mark.parametrize("rule", RULES)


def table(seed, n_queries=9, n_models=4):
    """Qualities and costs without ties, the costs of very different models."""
    rng = np.random.default_rng(seed)
    quality, cost = rng.random((2, n_queries, n_models))
    return quality, cost * 2.0 ** rng.integers(0, 4, n_models)


def params(rule, quality, cost, share):
    return {**RULES[rule](quality, cost, share), "on_infeasible": "cheapest"}


def fitted(quality, cost, settings):
    both = np.hstack([quality, cost])
    return BudgetDecider(**settings).fit(both), both


def decided(quality, cost, settings):
    decider, both = fitted(quality, cost, settings)
    return decider.predict(both)


def chosen(values, choice):
    return values[np.arange(len(choice)), choice]


def some_models(rng, shape):
    """A mask that leaves each query a model."""
    mask = rng.random(shape) < 0.5
    mask[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] = True
    return mask


# Limits


@pytest.mark.parametrize("rule", ["cap", "caps", "cap, price, tolerance", "batch"])
@quick
@given(SEEDS, SHARES, st.booleans())
def test_no_call_of_any_kind_exceeds_a_hard_limit(rule, seed, share, masked):
    quality, cost = table(seed)
    mask = np.ones(cost.shape, dtype=bool)
    if masked:
        mask = some_models(np.random.default_rng(seed + 1), cost.shape)
    # What is asked for can be had with the models that are left.
    left = np.where(mask, cost, cost.min(axis=1, initial=np.inf, where=mask)[:, None])
    decider, both = fitted(quality, cost, RULES[rule](quality, left, share))
    rows, names = np.arange(len(cost)), decider.models_.tolist()
    ways = [[names.index(name) for name in decider.route(both, mask)]]
    if not masked:
        ways += [decider.predict(both), decider.transform(both).argmax(axis=1)]
    ranked = decider.route(both, mask, top_k=len(names))
    ways.append([names.index(name) for name in ranked[:, 0]])
    for choice in ways:
        spent = cost[rows, choice]
        if rule == "batch":
            assert spent.sum() <= decider.budget
        else:
            assert (spent <= decider.budget).all()
    if rule != "batch":
        caps = np.broadcast_to(decider.budget, len(cost))
        for row, cap in enumerate(caps):
            places = [names.index(name) for name in ranked[row] if name is not None]
            assert (cost[row, places] <= cap).all()


@pytest.mark.parametrize("rule", ["mean", "mean, tolerance", "cap", "caps", "batch"])
@quick
@given(SEEDS, SHARES, SHARES)
def test_more_money_is_never_worse(rule, seed, less, more):
    quality, cost = table(seed)
    less, more = sorted([less, more])
    poor, rich = (
        chosen(quality, decided(quality, cost, params(rule, quality, cost, share)))
        for share in (less, more)
    )
    assert rich.sum() >= poor.sum() - 1e-12
    if rule != "batch":
        # What a batch has left over goes to one query; elsewhere none has to give.
        assert (rich >= poor).all()


@pytest.mark.parametrize("rule", ["quality", "batch quality", "share of quality"])
@quick
@given(SEEDS, SHARES, SHARES)
def test_more_quality_is_never_cheaper(rule, seed, less, more):
    quality, cost = table(seed)
    less, more = sorted([less, more])
    low, high = (
        decided(quality, cost, params(rule, quality, cost, share))
        for share in (less, more)
    )
    assert chosen(quality, high).sum() >= chosen(quality, low).sum()
    assert chosen(cost, high).sum() >= chosen(cost, low).sum()


@pytest.mark.parametrize("rule", ["price", "tolerance"])
@quick
@given(SEEDS, SHARES, SHARES)
def test_a_higher_price_and_more_tolerance_never_spend_more(rule, seed, less, more):
    quality, cost = table(seed)
    less, more = sorted([less, more])
    low, high = (
        decided(quality, cost, params(rule, quality, cost, share))
        for share in (less, more)
    )
    assert (chosen(cost, high) <= chosen(cost, low)).all()
    assert (chosen(quality, high) <= chosen(quality, low)).all()


# Order and unit


@ANY_RULE
@quick
@given(SEEDS, SHARES)
def test_permuted_models_and_queries_permute_the_decisions(rule, seed, share):
    quality, cost = table(seed)
    rng = np.random.default_rng(seed)
    rows, models = rng.permutation(len(cost)), rng.permutation(cost.shape[1])
    asked = params(rule, quality, cost, share)
    turned = dict(asked)
    if rule == "caps":
        turned["budget"] = asked["budget"][rows]
    choice = decided(quality, cost, asked)
    at = np.ix_(rows, models)
    again = decided(quality[at], cost[at], turned)
    np.testing.assert_array_equal(models[again], choice[rows])


@ANY_RULE
@quick
@given(SEEDS, SHARES, st.one_of(st.integers(-30, 30).map(lambda p: 2.0**p), st.just(3)))
def test_the_unit_of_money_changes_no_decision(rule, seed, share, unit):
    quality, cost = table(seed)
    asked = params(rule, quality, cost, share)
    scaled = dict(asked)
    if "budget" in asked:
        scaled["budget"] = asked["budget"] * unit
    if "price" in asked:
        scaled["price"] = asked["price"] / unit
    np.testing.assert_array_equal(
        decided(quality, cost * unit, scaled), decided(quality, cost, asked)
    )


# Masks, and models that are worth nothing


@ANY_RULE
@quick
@given(SEEDS, SHARES)
def test_masked_models_are_never_called(rule, seed, share):
    quality, cost = table(seed)
    mask = some_models(np.random.default_rng(seed + 1), cost.shape)
    decider, both = fitted(quality, cost, params(rule, quality, cost, share))
    names = decider.models_.tolist()
    ranked = decider.route(both, mask, top_k=len(names))
    for row, called in enumerate(ranked):
        places = [names.index(name) for name in called if name is not None]
        assert mask[row, places].all()
        assert len(places) == mask[row].sum()
    assert decider.route(both, mask).tolist() == ranked[:, 0].tolist()


@st.composite
def dominated(draw):
    """Outcomes, and the same with a model that another always beats or equals."""
    quality, cost = table(draw(SEEDS))
    rng = np.random.default_rng(draw(SEEDS))
    if draw(st.booleans()):
        quality = np.round(quality)  # right or wrong: the best are tied
    above = rng.integers(cost.shape[1])
    worse = quality[:, above] - np.round(rng.random(len(cost)), 1)
    place = draw(st.integers(0, cost.shape[1]))
    costlier = cost[:, above] + 0.01 + rng.random(len(cost))
    return (
        (quality, cost),
        (np.insert(quality, place, worse, 1), np.insert(cost, place, costlier, 1)),
        np.delete(np.arange(cost.shape[1] + 1), place),
    )


@quick
@given(dominated())
def test_the_oracle_has_no_use_for_a_dominated_model(tables):
    before, after, places = tables
    choice = oracle_choice(*before)
    np.testing.assert_array_equal(oracle_choice(*after), places[choice])
    assert regret(after[0], places[choice]) == 0
    assert best_single(*after) == places[best_single(*before)]


@pytest.mark.parametrize("scope", ["mean", "query"])
@quick
@given(dominated())
def test_the_oracle_curve_has_no_use_for_a_dominated_model(scope, tables):
    before, after, _ = tables
    curve, other = (oracle_curve(*both, scope=scope) for both in (before, after))
    for part, same in zip(curve.envelope(), other.envelope(), strict=True):
        np.testing.assert_array_equal(part, same)
    assert peak_quality(curve) == peak_quality(other)
    assert quality_neutral_cost(curve) == quality_neutral_cost(other)
    # The area reaches to the strongest model, which may be the new one.
    assert normalized_auc(other) >= normalized_auc(curve) - 1e-12


@ANY_RULE
@quick
@given(dominated(), SHARES)
def test_no_rule_calls_a_dominated_model(rule, tables, share):
    (quality, cost), after, places = tables
    asked = params(rule, quality, cost, share)
    np.testing.assert_array_equal(
        decided(*after, asked), places[decided(quality, cost, asked)]
    )


# Fitted routers


def small_routers():
    return [
        RankingRouter(n_estimators=8, n_landmarks=32, random_state=0),
        PointwiseRouter(Ridge(), random_state=0),
        DummyRouter(),
        DummyRouter("cheapest"),
        DummyRouter("random", random_state=0),
    ]


DATA = make_routing(300, n_features=8, n_models=4, per_query_costs=True, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
FRESH = make_routing(60, n_features=8, n_models=4, random_state=1).data
FITTED = [router.fit(X, Y, costs=C) for router in small_routers()]
EVERY_ROUTER = pytest.mark.parametrize("router", FITTED, ids=repr)


@EVERY_ROUTER
@ANY_RULE
@settings(max_examples=6, deadline=None)
@given(SEEDS, SHARES)
def test_routers_keep_limits_and_masks_on_queries_to_come(router, rule, seed, share):
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(FRESH), rng.integers(1, 20), replace=False)
    queries = FRESH[rows]
    mask = some_models(rng, (len(rows), 4))
    expected = router.predict_cost(queries)
    left = np.where(
        mask, expected, expected.min(axis=1, initial=np.inf, where=mask)[:, None]
    )
    asked = RULES[rule](router.predict_quality(queries), left, share)
    asked["on_infeasible"] = "cheapest"
    names = router.models_.tolist()
    called = router.route(queries, available=mask, **asked)
    choice = np.array([names.index(name) for name in called])
    assert chosen(mask, choice).all()
    spent = chosen(expected, choice)
    if asked.get("scope") == "query" and rule != "cap, quality":
        assert (spent <= asked["budget"]).all()
    if rule == "batch":
        assert spent.sum() <= asked["budget"]


@EVERY_ROUTER
@quick
@given(SHARES, SHARES)
def test_more_money_never_lowers_what_a_router_expects(router, less, more):
    less, more = sorted([less, more])
    quality, cost = router.predict_quality(FRESH), router.predict_cost(FRESH)
    names = router.models_.tolist()
    for scope, low, high in (
        ("mean", C.min(), C.max(axis=1).mean()),
        ("query", cost.min(axis=1).max(), cost.max()),
        ("batch", cost.min(axis=1).sum(), cost.max(axis=1).sum()),
    ):
        poor, rich = (
            chosen(
                quality,
                [
                    names.index(name)
                    for name in router.route(
                        FRESH,
                        budget=between(low, high, share) if high > low else low + 1,
                        scope=scope,
                        on_infeasible="cheapest",
                    )
                ],
            ).sum()
            for share in (less, more)
        )
        assert rich >= poor - 1e-9


# Random calls are drawn by position, and stay out.
@pytest.mark.parametrize("router", FITTED[:-1], ids=repr)
@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_permuted_queries_permute_the_estimates(router, seed):
    # Products of matrices round by the place of a row in its block: not to the bit.
    turn = np.random.default_rng(seed).permutation(len(FRESH))
    np.testing.assert_allclose(
        router.transform(FRESH[turn]), router.transform(FRESH)[turn], rtol=1e-9
    )


LAYOUTS = {
    "by columns": np.asfortranarray,
    "strided": lambda table: np.repeat(np.repeat(table, 2, axis=0), 2, axis=1)[
        ::2, ::2
    ],
    "backwards": lambda table: table[::-1, ::-1].copy()[::-1, ::-1],
    "DataFrame": lambda table: pd.DataFrame(table).rename(columns=str),
    "list": np.ndarray.tolist,
}


@pytest.mark.parametrize("router", small_routers(), ids=repr)
@pytest.mark.parametrize("laid", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_of_a_table_changes_no_bit(router, laid):
    plain = clone(router).fit(X, Y, costs=C)
    other = clone(router).fit(laid(X), laid(Y), costs=laid(C))
    estimates = plain.transform(FRESH)
    assert other.transform(laid(FRESH)).tobytes() == estimates.tobytes()
    decider = BudgetDecider(budget=float(C.mean()))
    calls = decider.fit(estimates).predict(estimates)
    assert (decider.fit(laid(estimates)).predict(laid(estimates)) == calls).all()


@pytest.mark.parametrize("router", small_routers(), ids=repr)
@pytest.mark.parametrize("power", [-20, 20])
def test_the_unit_of_money_scales_the_costs_of_a_fit_alone(router, power):
    unit = 2.0**power
    one = clone(router).fit(X, Y, costs=C)
    other = clone(router).fit(X, Y, costs=C * unit)
    np.testing.assert_allclose(
        other.predict_quality(FRESH), one.predict_quality(FRESH), rtol=1e-9
    )
    np.testing.assert_allclose(
        other.predict_cost(FRESH), unit * one.predict_cost(FRESH), rtol=1e-9
    )
    budget = float(C.mean())
    assert (
        other.route(FRESH, budget=budget * unit).tolist()
        == one.route(FRESH, budget=budget).tolist()
    )


# Unknown outcomes


@st.composite
def tables_with_holes(draw):
    """A table of which any part is unknown; every model has some outcomes."""
    n_queries = 40
    quality, cost = Y[:n_queries].copy(), C[:n_queries].copy()
    rng = np.random.default_rng(draw(SEEDS))
    holes = draw(st.sampled_from([0.1, 0.5, 0.8]))
    for part in (quality, cost):
        part[rng.random(part.shape) < holes] = np.nan
        part[draw(st.integers(0, n_queries - 5))] = np.nan  # nothing of a query
    known = draw(st.permutations(range(n_queries)))[:4]
    for model, row in enumerate(known):
        quality[row, model], cost[row, model] = Y[row, model], C[row, model]
    return X[:n_queries], quality, cost


@pytest.mark.parametrize("router", small_routers(), ids=repr)
@settings(max_examples=8, deadline=None)
@given(tables_with_holes())
def test_what_is_unknown_never_gets_into_an_estimate(router, tables):
    queries, quality, cost = tables
    router = clone(router)
    assert np.isfinite(router.fit_transform(queries, quality, costs=cost)).all()
    for estimates in (
        router.transform(FRESH),
        router.predict_quality(FRESH),
        router.predict_cost(FRESH),
        router.decision_function(FRESH),
    ):
        assert np.isfinite(estimates).all()
    assert (router.predict_cost(FRESH) >= 0).all()


@pytest.mark.filterwarnings("ignore:budget=.* is below what the cheapest models cost")
@quick
@given(
    SEEDS,
    SHARES,
    arrays(np.bool_, (9, 4)),
    arrays(np.bool_, (9, 4)),
)
def test_what_is_unknown_never_gets_into_a_price_or_a_curve(seed, share, hidden, paid):
    quality, cost = table(seed)
    y, costs = np.where(hidden, np.nan, quality), np.where(paid, np.nan, cost)
    both = np.hstack([quality, cost])
    budget = RULES["mean"](quality, cost, share)["budget"]
    decider = BudgetDecider(budget, on_infeasible="cheapest").fit(both, y, costs=costs)
    assert not np.isnan(decider.price_)
    assert np.isfinite(decider.price_path_.cost).all()
    assert np.isfinite(decider.price_path_.quality).all()
    decider.partial_fit(both, costs=costs[:, 0])
    assert not np.isnan(decider.price_)
    known = ~(hidden | paid).any(axis=1)
    assume(known.any())
    curve = routing_curve(y, costs, quality, cost)
    assert curve.n_queries == known.sum()
    for part in (curve.cost, curve.quality, curve.call_share, curve.collapse):
        assert np.isfinite(part).all()


# Seeds

_FIT = """
    import hashlib, sys, tempfile
    from pathlib import Path
    from sklearn.linear_model import Ridge
    import skroute
    from skroute import DummyRouter, PointwiseRouter, RankingRouter
    from skroute.datasets import make_routing

    data = make_routing(300, n_features=8, n_models=4, random_state=0)
    for router in (
        RankingRouter(n_estimators=8, random_state=7, n_jobs=int(sys.argv[1])),
        PointwiseRouter(Ridge(), random_state=7),
        DummyRouter("random", random_state=7),
    ):
        router.fit(data.data, data.quality, costs=data.costs)
        if "n_jobs" in router.get_params():
            router.set_params(n_jobs=None)  # the only thing that may differ
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "router.skroute")
            skroute.save(router, file)
            print(hashlib.sha256(file.read_bytes()).hexdigest())
"""


def test_the_same_seed_gives_the_same_bytes_in_any_process_and_with_any_threads():
    def digests(n_jobs: int, hash_seed: str) -> list[str]:
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_FIT), str(n_jobs)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            timeout=240,
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.split()

    one, two = digests(1, "1"), digests(2, "2")
    assert len(one) == 3
    assert one == two

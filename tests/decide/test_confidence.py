"""Promises: kept as often as they say, on any table, or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from third_party import MeanRouter

import skroute
from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute._decide.hull import choose
from skroute._decide.promise import list_decisions
from skroute.datasets import make_routing, read_routerbench
from skroute.exceptions import InfeasibleBudgetError
from skroute.text import TextRouter

FORMAT_5 = Path(__file__).parents[1] / "data" / "routers" / "format_5"
PRICES = np.array([1.0, 3.0, 10.0])


def draw_table(n_queries, seed=0):
    """Estimates that are right, outcomes of 0 and 1, and costs that vary by call."""
    rng = np.random.default_rng(seed)
    hard = rng.random((n_queries, 1))
    chance = np.clip(np.array([0.5, 0.7, 0.9]) + 0.6 * (0.5 - hard), 0.02, 0.98)
    cost = np.tile(PRICES, (n_queries, 1))
    y = (rng.random(chance.shape) < chance) * 1.0
    return np.hstack([chance, cost]), y, cost * rng.exponential(1, chance.shape)


Z, Y, COSTS = draw_table(1000)
# What decisions give is judged by their chances, which are known.
EVERYTHING = draw_table(20_000, seed=1)[0]


def judge(decider, Z=EVERYTHING):
    """Quality over that of the best model, and money, of decisions on all queries."""
    chance, cost = np.hsplit(Z, 2)
    choice = decider.predict(Z)
    rows = np.arange(len(Z))
    return chance[rows, choice].mean() / chance[:, 2].mean(), cost[rows, choice].mean()


def hide(y, share, seed):
    hidden = np.random.default_rng(seed).random(y.shape) < share
    return np.where(hidden, np.nan, y)


@pytest.fixture(scope="module")
def data():
    return make_routing(800, n_models=3, random_state=0)


@pytest.fixture(scope="module")
def router(data):
    router = RankingRouter(n_estimators=0, random_state=0)
    return router.fit(data.data, data.quality, costs=data.costs)


# --- how often they are kept ---------------------------------------------------------


def count_broken(goal, confidence, n_draws=100, n_queries=300, repeat=1, hidden=0.0):
    broken = 0
    for seed in range(n_draws):
        estimates, y, costs = draw_table(n_queries, seed + 100)
        groups = None
        if repeat > 1:
            groups = np.repeat(np.arange(n_queries), repeat)
            estimates, y, costs = (
                np.repeat(table, repeat, axis=0) for table in (estimates, y, costs)
            )
        if hidden:
            y = hide(y, hidden, seed)
        decider = BudgetDecider(**goal, confidence=confidence)
        decider.set_params(on_infeasible="cheapest")
        decider.fit(estimates, y, costs=costs, groups=groups)
        quality, cost = judge(decider)
        if decider.guarantee_ is None:
            continue
        target = decider.guarantee_.share
        if target is None and decider.min_quality is not None:
            target = decider.min_quality / EVERYTHING[:, 2].mean()
        if target is not None:
            broken += quality < target
        else:
            broken += cost > goal["budget"]
    return broken / n_draws


SHARE, NUMBER, BUDGET = {"min_quality": "92%"}, {"min_quality": 0.82}, {"budget": 5.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("goal", "table"),
    [
        (SHARE, {}),
        (NUMBER, {}),
        (BUDGET, {}),
        (SHARE, {"repeat": 4}),
        (SHARE, {"hidden": 0.5}),
        (NUMBER, {"hidden": 0.5}),
    ],
)
def test_a_promise_is_broken_as_rarely_as_it_says(goal, table):
    error = np.sqrt(0.1 * 0.9 / 100)
    assert count_broken(goal, 0.9, **table) <= 0.1 + 2 * error


def test_without_a_confidence_half_of_the_targets_are_missed():
    broken = 0
    for seed in range(60):
        estimates, y, costs = draw_table(300, seed + 100)
        decider = BudgetDecider(min_quality="92%").fit(estimates, y, costs=costs)
        broken += judge(decider)[0] < 0.92
    assert 0.25 <= broken / 60 <= 0.75


def test_repeats_that_nobody_names_promise_too_much():
    table = (np.repeat(table, 10, axis=0) for table in (Z[:100], Y[:100], COSTS[:100]))
    estimates, y, costs = table
    groups = np.repeat(np.arange(100), 10)
    asked = {"min_quality": "92%", "confidence": 0.95}
    unnamed = BudgetDecider(**asked).fit(estimates, y, costs=costs)
    named = BudgetDecider(**asked).fit(estimates, y, costs=costs, groups=groups)
    once = BudgetDecider(**asked).fit(Z[:100], Y[:100], costs=COSTS[:100])
    assert unnamed.guarantee_.n_queries == 1000
    assert named.guarantee_ == once.guarantee_
    assert named.price_ == once.price_
    assert judge(unnamed)[1] < judge(named)[1]


PRICES_OF_ALL = [0.0, *2.0 ** (np.arange(-128, 128) / 8), np.inf]
TABLE = st.integers(2, 4).flatmap(
    lambda n_models: arrays(
        float,
        (6, 2, n_models),
        elements=st.integers(0, 8).map(lambda i: i / 8)
        | st.floats(0, 1).map(lambda x: round(x, 4)),
    )
)


@settings(max_examples=40, deadline=None)
@given(TABLE, st.booleans())
def test_the_prices_are_those_that_anybody_would_test(table, cheapest_first):
    """Of prices that decide alike, the first on the way."""
    quality, cost = table[:, 0], table[:, 1]
    allowed = np.ones((1, quality.shape[1]), dtype=bool)
    walk, before = [], None
    for price in PRICES_OF_ALL[::-1] if cheapest_first else PRICES_OF_ALL:
        choice = choose(quality, cost, price, allowed)
        if before is None or (choice != before).any():
            walk.append((price, choice))
        before = choice
    found = list(list_decisions(quality, cost, allowed, cheapest_first=cheapest_first))
    assert [price for price, _ in found] == [price for price, _ in walk]
    for (_, ours), (_, theirs) in zip(found, walk, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- what they say -------------------------------------------------------------------


def test_a_guarantee_is_a_sentence(router):
    share = router.guarantee(min_quality="95%", confidence=0.9)
    assert str(share) == (
        f"at least 95% of {share.baseline}'s quality, with 90% confidence, from 800 "
        "queries"
    )
    assert share.baseline in router.models_
    assert share.min_quality == pytest.approx(0.95 * share.mean, rel=0.1)
    assert share.bound == "betting"
    assert share.outcome_range == (0.0, 1.0)
    number = router.guarantee(min_quality=0.55)
    assert str(number).startswith("at least 0.55 of mean quality, with 95% confidence")
    money = router.guarantee(budget=float(router.costs_.mean()), confidence=0.8)
    assert str(money).startswith("at most ")
    assert money.mean < money.budget


def test_routes_keep_what_guarantee_says(router, data):
    asked = {"min_quality": "95%", "confidence": 0.95}
    usual = router.route(data.data, min_quality="95%")
    names = router.route(data.data, **asked)
    cost = pd.Series(router.costs_, router.models_)
    assert cost[names].sum() > cost[usual].sum()
    # The rows of `explain` are decided at the same price.
    told = router.explain(data.data, **asked)
    assert list(told["chosen"]) == list(names)


def test_more_confidence_costs_more(router):
    quality = [
        router.guarantee(min_quality="93%", confidence=level).mean
        for level in (0.5, 0.8, 0.95, 0.99)
    ]
    assert quality == sorted(quality)


def test_the_best_single_model_is_the_last_resort(data):
    router = RankingRouter(n_estimators=0, random_state=0)
    few = slice(60)
    router.fit(data.data[few], data.quality[few], costs=data.costs[few])
    guarantee = router.guarantee(min_quality="100%", confidence=0.999)
    assert guarantee.bound == "range"
    assert str(guarantee) == (
        f"at least 100% of {guarantee.baseline}'s quality, whatever the queries are"
    )
    names = router.route(data.data, min_quality="100%", confidence=0.999)
    assert set(names) == {guarantee.baseline}


def test_a_quality_below_0_makes_a_share_no_matter_of_course():
    # A share of 50% of a quality of -1 is more than that quality.
    asked = {"min_quality": "99%", "confidence": 0.9}
    decider = BudgetDecider(**asked).fit(Z[:30], Y[:30], costs=COSTS[:30])
    assert decider.guarantee_.bound == "range"
    shifted = Z[:30] - np.repeat([0.5, 0.0], 3)
    with pytest.raises(InfeasibleBudgetError, match="the largest that can is"):
        BudgetDecider(**asked).fit(shifted, Y[:30] - 0.5, costs=COSTS[:30])


def test_its_own_quality_is_promised_of_any_model():
    asked = {"min_quality": "100%", "confidence": 0.9}
    shifted = Z[:30] - np.repeat([0.5, 0.0], 3)
    decider = BudgetDecider(**asked).fit(shifted, Y[:30] - 0.5, costs=COSTS[:30])
    assert decider.guarantee_.bound == "range"
    assert set(decider.route(shifted)) == {decider.guarantee_.baseline}


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_estimates_of_any_size(scale):
    """Slopes between 1e-300 and 1e300, and equal estimates, whose slope is 0."""
    mixed = Z[:200] * np.repeat([scale, 1.0], 3)
    mixed[::2, 3:] *= 1e-150
    mixed[::5, :3] = mixed[::5, :1]
    decider = BudgetDecider(min_quality="50%", confidence=0.9)
    decider.fit(mixed, Y[:200] * scale, costs=COSTS[:200])
    assert decider.guarantee_.share == 0.5


@pytest.mark.parametrize("unit", [2.0**-8, 2.0**10])
def test_units_do_not_matter(unit):
    asked = {"min_quality": "92%", "confidence": 0.9}
    plain = BudgetDecider(**asked).fit(Z, Y, costs=COSTS)
    quality = BudgetDecider(**asked).fit(
        Z * np.repeat([unit, 1.0], 3), Y * unit, costs=COSTS
    )
    money = BudgetDecider(**asked).fit(
        Z * np.repeat([1.0, unit], 3), Y, costs=COSTS * unit
    )
    assert (quality.predict(Z * np.repeat([unit, 1.0], 3)) == plain.predict(Z)).all()
    assert (money.predict(Z * np.repeat([1.0, unit], 3)) == plain.predict(Z)).all()
    assert quality.guarantee_.outcome_range == (0.0, unit)


def test_prices_in_the_estimates_are_known_costs():
    decider = BudgetDecider(4.0, confidence=0.95).fit(Z, Y)
    assert decider.guarantee_.mean <= 4.0
    # No call costs more than 10, so there is nothing to test.
    free = BudgetDecider(10.0, confidence=0.95).fit(Z, Y).guarantee_
    assert free.bound == "range"
    assert (
        str(free)
        == "at most 10 of money per query on average, if no query costs more than "
        "10, which none of 1,000 queries did"
    )


def test_a_cap_and_a_tolerance_are_kept_beside_it(router, data):
    cap = float(np.quantile(router.predict_cost(data.data), 0.8))
    asked = {"min_quality": 0.4, "confidence": 0.9, "tolerance": 0.01}
    names = router.route(
        data.data, budget=cap, scope="query", on_infeasible="cheapest", **asked
    )
    index = pd.Index(router.models_).get_indexer(names)
    cost = router.predict_cost(data.data)
    paid = cost[np.arange(len(names)), index]
    assert (paid <= np.maximum(cap, cost.min(axis=1)) * (1 + 1e-6)).all()


def test_far_queries_get_the_best_single_model(router):
    far = np.full((3, router.n_features_in_), 1e3)
    guarantee = router.guarantee(min_quality="90%")
    assert set(router.route(far, min_quality="90%", confidence=0.95)) == {
        guarantee.baseline
    }


def test_repeated_prompts_count_once(data):
    X, y, costs = (
        np.tile(t[:200], (3, 1)) for t in (data.data, data.quality, data.costs)
    )
    router = PointwiseRouter(Ridge(), random_state=0).fit(X, y, costs=costs)
    assert router.guarantee(min_quality="80%").n_queries == 200
    grouped = PointwiseRouter(Ridge(), random_state=0)
    grouped.fit(data.data, data.quality, costs=data.costs, groups=np.arange(800) // 4)
    assert grouped.guarantee(min_quality="80%").n_queries == 200


# --- what cannot be promised ---------------------------------------------------------


@pytest.mark.parametrize("explained", [False, True])
def test_models_that_are_left_out_end_a_promise(router, data, explained):
    route = router.explain if explained else router.route
    asked = {"min_quality": "90%", "confidence": 0.9}
    baseline = router.guarantee(**asked).baseline
    others = [model for model in router.models_ if model != baseline]
    with pytest.warns(UserWarning, match=f"{baseline} is the model that the target is"):
        route(data.data[:3], **asked, available=others)
    with pytest.warns(UserWarning, match=f"leaves out {others[0]}, and what conf") as w:
        route(data.data[:3], **asked, available=[baseline, others[1]])
    assert "target" not in str(w[0].message)
    # All may be called, or nothing is promised.
    route(data.data[:3], **asked, available=list(router.models_))
    route(data.data[:3], min_quality="90%", available=others)


def test_a_decider_tells_of_models_that_are_left_out():
    decider = BudgetDecider(5.0, confidence=0.9).fit(Z, Y, costs=COSTS)
    mask = np.ones((4, 3), dtype=bool)
    decider.route(Z[:4], mask)
    mask[1, 0] = False
    with pytest.warns(UserWarning, match="nothing is promised"):
        decider.route(Z[:4], mask)


def test_a_target_out_of_reach_names_the_largest(router):
    with pytest.raises(InfeasibleBudgetError, match="the largest that can is") as error:
        router.guarantee(min_quality=0.99)
    largest = error.value.largest_quality
    assert str(router.guarantee(min_quality=largest))
    with pytest.raises(InfeasibleBudgetError):
        router.guarantee(min_quality=largest * 1.05)
    with pytest.raises(
        InfeasibleBudgetError, match="cannot be promised with 95%"
    ) as error:
        router.guarantee(min_quality="130%")
    named = str(error.value).split("'")[3]
    assert float(named.rstrip("%")) >= 100
    assert str(router.guarantee(min_quality=named))


def test_a_budget_out_of_reach_names_the_smallest():
    with pytest.raises(InfeasibleBudgetError, match="the smallest that can") as error:
        BudgetDecider(1.01, confidence=0.95).fit(Z, Y, costs=COSTS)
    smallest = error.value.smallest_budget
    assert smallest > 1.01
    decider = BudgetDecider(smallest, confidence=0.95).fit(Z, Y, costs=COSTS)
    assert (decider.predict(Z) == 0).all()


def test_on_infeasible_promises_nothing():
    decider = BudgetDecider(1.01, confidence=0.95, on_infeasible="cheapest")
    decider.fit(Z, Y, costs=COSTS)
    assert decider.guarantee_ is None
    assert (decider.predict(Z) == 0).all()


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, -0.5, "95%", True, np.nan])
def test_a_confidence_is_between_0_and_1(router, data, confidence):
    with pytest.raises((ValueError, TypeError), match="confidence"):
        router.route(data.data, min_quality="95%", confidence=confidence)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"price": 0.1},
        {"budget": 9.0, "scope": "query"},
        {"budget": 9.0, "scope": "batch"},
        {"min_quality": "90%", "scope": "batch"},
    ],
)
def test_only_averages_can_be_promised(router, data, asked):
    with pytest.raises(ValueError, match=r"confidence=0\.9 promises an average"):
        router.route(data.data, **asked, confidence=0.9)
    with pytest.raises(ValueError, match="promises an average"):
        BudgetDecider(**asked, confidence=0.9).fit(Z, Y, costs=COSTS)


def test_outcomes_are_needed():
    with pytest.raises(ValueError, match="y must be given"):
        BudgetDecider(min_quality=0.5, confidence=0.9).fit(Z)
    estimated = Z + np.random.default_rng(0).random(Z.shape)
    with pytest.raises(ValueError, match="costs must be given"):
        BudgetDecider(5.0, confidence=0.9).fit(estimated, Y)
    logged = np.where(np.random.default_rng(0).random(Y.shape) < 0.05, Y, np.nan)
    with pytest.raises(ValueError, match="on at least a tenth of the"):
        BudgetDecider(min_quality=0.5, confidence=0.9).fit(Z, logged)
    never = Y.copy()
    never[:, 1] = np.nan
    with pytest.raises(ValueError, match="in column 1 on none"):
        BudgetDecider(min_quality=0.5, confidence=0.9).fit(Z, never)


def test_one_outcome_per_query_is_promised_less():
    """A log of three models that were called by chance."""
    called = np.random.default_rng(0).integers(3, size=len(Y))
    logged = np.where(np.arange(3) == called[:, None], Y, np.nan)
    asked = {"min_quality": "85%", "confidence": 0.9}
    full = BudgetDecider(**asked).fit(Z, Y, costs=COSTS)
    part = BudgetDecider(**asked).fit(Z, logged, costs=COSTS)
    assert judge(part)[0] >= judge(full)[0]
    assert judge(part)[0] >= 0.85


def test_a_router_of_one_outcome_per_query(data):
    called = np.random.default_rng(0).integers(3, size=len(data.quality))
    hidden = np.arange(3) != called[:, None]
    y, costs = (np.where(hidden, np.nan, t) for t in (data.quality, data.costs))
    router = RankingRouter(n_estimators=0, random_state=0).fit(
        data.data, y, costs=costs
    )
    assert router.guarantee(min_quality="70%").confidence == 0.95
    assert router.guarantee(budget=float(router.costs_.max())).confidence == 0.95


def test_parameters_that_are_set_later_need_another_fit():
    decider = BudgetDecider(min_quality="90%").fit(Z, Y, costs=COSTS)
    decider.set_params(confidence=0.9)
    with pytest.raises(ValueError, match="Fit again"):
        decider.predict(Z)
    assert decider.fit(Z, Y, costs=COSTS).guarantee_.confidence == 0.9
    decider.set_params(confidence=None)
    assert decider.guarantee_ is None
    assert decider.predict(Z).shape == (1000,)


def test_a_stream_leaves_the_promise():
    decider = BudgetDecider(5.0, confidence=0.9).fit(Z, Y, costs=COSTS)
    assert decider.guarantee_ is not None
    decider.partial_fit(Z[:100], costs=COSTS[:100, 0])
    assert decider.guarantee_ is None


def test_a_bad_call_leaves_the_decider_as_it_was():
    decider = BudgetDecider(min_quality="90%", confidence=0.9).fit(Z, Y, costs=COSTS)
    before = decider.guarantee_, decider.price_
    with pytest.raises(ValueError, match="groups must hold"):
        decider.fit(Z, Y, costs=COSTS, groups=[1, 2])
    assert (decider.guarantee_, decider.price_) == before


# --- where it goes -------------------------------------------------------------------


def test_rows_that_the_router_never_saw(data, metadata_routing):
    X, y, costs = data.data, data.quality, data.costs
    router = PointwiseRouter(Ridge(), random_state=0)
    router.fit(X[:300], y[:300], costs=costs[:300])
    decider = BudgetDecider(min_quality="90%", confidence=0.9)
    pipeline = make_pipeline(FrozenEstimator(router), decider)
    pipeline[-1].set_fit_request(costs=True, groups=True)
    pipeline.fit(X[300:], y[300:], costs=costs[300:])
    alone = decider.fit(router.transform(X[300:]), y[300:], costs=costs[300:])
    promised = pipeline[-1].guarantee_
    # A pipeline of arrays does not name the models.
    assert promised.n_queries == alone.guarantee_.n_queries == 500
    assert promised.mean == alone.guarantee_.mean


def test_a_pipeline_settles_on_cross_fitted_rows(data, metadata_routing):
    pipeline = make_pipeline(
        PointwiseRouter(Ridge(), random_state=0),
        BudgetDecider(min_quality="90%", confidence=0.9),
    ).fit(data.data, data.quality, costs=data.costs)
    router = PointwiseRouter(Ridge(), random_state=0)
    router.fit(data.data, data.quality, costs=data.costs)
    alone = router.guarantee(min_quality="90%", confidence=0.9)
    assert pipeline[-1].guarantee_.mean == pytest.approx(alone.mean)


def test_prompts(data):
    words = np.random.default_rng(0).choice(["add", "sum", "poem", "law"], (800, 12))
    prompts = [" ".join(row) for row in words]
    router = TextRouter(PointwiseRouter(Ridge(), random_state=0))
    router.fit(prompts, data.quality, costs=data.costs)
    guarantee = router.guarantee(min_quality="95%")
    assert guarantee.baseline in router.models_
    names = router.route(prompts, min_quality="95%", confidence=0.95)
    assert set(names) <= set(router.models_)


def test_files_keep_it(router, data, tmp_path):
    skroute.save(router, tmp_path / "r.skroute")
    loaded = skroute.load(tmp_path / "r.skroute")
    asked = {"min_quality": "95%", "confidence": 0.9}
    assert loaded.guarantee(**asked) == router.guarantee(**asked)
    decider = BudgetDecider(**asked).fit(Z, Y, costs=COSTS)
    skroute.save(decider, tmp_path / "d.skroute")
    assert skroute.load(tmp_path / "d.skroute").guarantee_ == decider.guarantee_


@pytest.mark.filterwarnings("ignore::skroute.exceptions.VersionWarning")
def test_routers_of_older_files_say_that_they_kept_nothing():
    router = skroute.load(FORMAT_5 / "ranking.skroute")
    with pytest.raises(ValueError, match="an older version saved"):
        router.guarantee(min_quality="95%")
    with sklearn.config_context(enable_metadata_routing=True):
        stream = skroute.load(FORMAT_5 / "stream.skroute")
    assert stream.confidence is None
    assert stream.guarantee_ is None


def test_pools_that_change(router, data):
    smaller = router.remove_model(router.models_[0])
    assert smaller.guarantee(min_quality="90%").n_queries == 800
    larger = router.add_model(
        "new", data.quality[:, 0], X=data.data, costs=data.costs[:, 0]
    )
    with pytest.raises(ValueError, match="to which a model was added"):
        larger.guarantee(min_quality="90%")
    assert larger.remove_model("new").guarantee(min_quality="90%").n_queries == 800


def test_routers_of_third_parties(data):
    router = MeanRouter(costs=PRICES).fit(data.data, data.quality)
    with pytest.raises(ValueError, match="fit_transform"):
        router.guarantee(min_quality="90%")
    with pytest.raises(ValueError, match="fit_transform"):
        router.route(data.data, min_quality="90%", confidence=0.9)
    router.fit_transform(data.data, data.quality)
    assert router.guarantee(min_quality="90%").n_queries == 800


def test_dummies_follow_their_strategy(data):
    router = DummyRouter(costs=PRICES).fit(data.data, data.quality)
    assert router.guarantee(min_quality="90%").share == 0.9
    cheapest = DummyRouter("cheapest", costs=PRICES).fit(data.data, data.quality)
    with pytest.raises(InfeasibleBudgetError):
        cheapest.guarantee(min_quality="100%")


def test_many_models_on_a_real_table(shared_data):
    table = read_routerbench(
        shared_data / "bfcl.csv.gz", embeddings=shared_data / "bfcl_minilm.npy"
    )
    rows = np.isfinite(table.quality).all(axis=1)
    router = PointwiseRouter(Ridge(10.0), random_state=0)
    router.fit(table.data[rows], table.quality[rows], costs=table.costs[rows])
    guarantee = router.guarantee(min_quality="95%", confidence=0.9)
    # With 71 models, 923 of the training queries are kept.
    assert guarantee.n_queries <= 923
    usual = router.route(table.data[rows], min_quality="95%")
    careful = router.route(table.data[rows], min_quality="95%", confidence=0.9)
    cost = pd.Series(router.costs_, router.models_)
    assert cost[careful].sum() >= cost[usual].sum()


def test_that_no_failure_was_seen_yet_proves_nothing():
    """Of 60 answers of a model that is right in 98%, none may be wrong."""
    broken = 0
    for seed in range(60):
        y = (np.random.default_rng(seed).random((60, 2)) < 0.98).astype(float)
        estimates = np.column_stack(
            [np.full((60, 2), 0.98), np.tile([1.0, 2.0], (60, 1))]
        )
        decider = BudgetDecider(min_quality=0.995, confidence=0.95)
        try:
            decider.fit(estimates, y, costs=np.tile([1.0, 2.0], (60, 1)))
            broken += 1
        except InfeasibleBudgetError:
            pass
    assert broken == 0

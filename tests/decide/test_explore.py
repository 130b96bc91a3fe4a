"""Exploring: calls are drawn with exact chances, and constraints hold."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

import skroute
from skroute import (
    BudgetDecider,
    DummyRouter,
    InfeasibleBudgetError,
    PointwiseRouter,
    RankingRouter,
)
from skroute._decide.explore import draw_models, find_chances, measure_gaps
from skroute._decide.rule import Rule
from skroute.datasets import make_routing, read_routerbench, read_table
from skroute.evaluation import policy_value
from skroute.text import TextRouter

MODELS = ["small", "medium", "large"]
N = 300
DATA = make_routing(3 * N, n_models=3, random_state=0)
Y = pd.DataFrame(DATA.quality, columns=MODELS)
ROUTER = PointwiseRouter(Ridge(), random_state=0)
Z = ROUTER.fit_transform(DATA.data[:N], Y[:N], costs=DATA.costs[:N])
X = DATA.data[N:]
QUALITY, COST = np.hsplit(ROUTER.transform(X), 2)
BUDGET = float(np.quantile(COST, 0.6))
RULES: dict[str, dict[str, Any]] = {
    "quality": {},
    "price": {"price": 0.3 / BUDGET},
    "mean": {"budget": BUDGET},
    "target": {"min_quality": "85%"},
    "cap": {"budget": BUDGET, "scope": "query"},
    "tolerance": {"tolerance": 0.3},
    "mean, tolerance": {"budget": BUDGET, "tolerance": 0.4},
}
every_rule = pytest.mark.parametrize("rule", RULES)


def index(names: Any) -> np.ndarray:
    return pd.Index(MODELS).get_indexer(names)


def chances_of(rule: dict[str, Any], share: float) -> np.ndarray:
    """Chances of all models, of the router's own rule."""
    settled = ROUTER._settle(Rule(**rule, explore=share), ROUTER._training)
    return settled.find_chances(QUALITY, COST)


# Chances.


@every_rule
def test_without_a_share_nothing_is_drawn(rule: str) -> None:
    names, chances = ROUTER.route(
        X, **RULES[rule], explore=0, random_state=3, return_propensity=True
    )
    np.testing.assert_array_equal(names, ROUTER.route(X, **RULES[rule]))
    np.testing.assert_array_equal(chances, np.ones(len(X)))
    decider = BudgetDecider(**RULES[rule]).fit(Z)
    live = np.hstack([QUALITY, COST])
    names, chances = decider.route(live, explore=0.0, return_propensity=True)
    np.testing.assert_array_equal(names, decider.route(live))
    np.testing.assert_array_equal(chances, np.ones(len(X)))


@every_rule
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_chances_are_those_of_the_draws(rule: str, share: float) -> None:
    told = chances_of(RULES[rule], share)
    np.testing.assert_allclose(told.sum(axis=1), 1.0)
    assert (told >= 0).all()
    counts = np.zeros(told.shape)
    n_draws, rows = 100, np.arange(len(X))
    draws = np.random.RandomState(0)
    for _ in range(n_draws):
        names, chances = ROUTER.route(
            X,
            **RULES[rule],
            explore=share,
            random_state=draws,
            return_propensity=True,
        )
        drawn = index(names)
        np.testing.assert_array_equal(chances, told[rows, drawn])
        counts[rows, drawn] += 1
    error = (counts - n_draws * told) / np.sqrt(n_draws * told * (1 - told) + 1e-9)
    assert (counts[told == 0] == 0).all()
    assert np.abs(error[told > 0.05]).max() < 5.5
    assert np.abs(error[told > 0.05].mean()) < 0.1


@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.0, 1.0),
    price=st.sampled_from([0.0, 0.3, 1e300, np.inf]),
    unit=st.sampled_from([None, 0.0, 1e-300, 0.2, 1e300]),
)
@settings(deadline=None)
def test_chances_add_up_whatever_the_numbers(
    seed: int, share: float, price: float, unit: float | None
) -> None:
    rng = np.random.default_rng(seed)
    quality = rng.choice([0.0, 1.0, rng.random(), 1e200, -5.0], (20, 4))
    cost = rng.choice([0.0, 1.0, rng.random(), 1e-200], (20, 4))
    allowed = rng.random((20, 4)) < 0.6
    allowed[np.arange(20), rng.integers(4, size=20)] = True
    choice = np.array([rng.choice(np.flatnonzero(row)) for row in allowed])
    with np.errstate(over="ignore"):
        gap = measure_gaps(quality, cost, allowed, np.full(20, price))
        chances = find_chances(choice, gap, allowed, share, unit)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    assert (chances[~allowed] == 0).all()
    assert (chances[np.arange(20), choice] >= 1 - share - 1e-12).all()
    for uniform in (0.0, 0.5, np.nextafter(1.0, 0.0)):
        drawn, chance = draw_models(chances, choice, np.full(20, uniform), cost)
        assert allowed[np.arange(20), drawn].all()
        assert (chance > 0).all()


def test_better_models_are_drawn_more_often() -> None:
    price = RULES["price"]["price"]
    worth = QUALITY - price * COST
    order = worth.argsort(axis=1)
    chances = np.take_along_axis(chances_of({"price": price}, 1.0), order, axis=1)
    assert (np.diff(chances, axis=1) >= 0).all()
    # One whose gap is the mean one, half as often as the best.
    gap = worth.max(axis=1, keepdims=True) - worth
    weights = chances_of({"price": price}, 1.0)
    ratio = weights.max(axis=1, keepdims=True) / weights
    slope = (ratio - 1)[gap > 0] / gap[gap > 0]
    np.testing.assert_allclose(slope, slope[0], rtol=1e-6)


def test_a_larger_share_draws_more_and_leaves_the_others() -> None:
    rule = RULES["price"]
    plain = ROUTER.route(X, **rule)
    few, many = (
        ROUTER.route(X, **rule, explore=share, random_state=0) for share in (0.1, 0.6)
    )
    assert 0 < (few != plain).sum() < (many != plain).sum()
    assert ((few != plain) <= (many != plain)).all()


# Constraints.


def test_caps_and_masks_bind_draws() -> None:
    rng = np.random.default_rng(0)
    caps = np.quantile(COST, 0.4, axis=1) + rng.random(len(X)) * COST.max()
    available = rng.random(COST.shape) < 0.6
    available[:, 0] = True
    for seed in range(5):
        names = ROUTER.route(
            X,
            budget=caps,
            scope="query",
            available=available,
            on_infeasible="cheapest",
            explore=1.0,
            random_state=seed,
            top_k=3,
        )
        drawn = index(names[:, 0])
        rows = np.arange(len(X))
        assert available[rows, drawn].all()
        cheapest = np.where(available, COST, np.inf).min(axis=1)
        limit = np.maximum(caps, cheapest) * (1 + 1e-6)
        assert (COST[rows, drawn] <= limit).all()
        assert all(
            len(set(row) - {None}) == sum(n is not None for n in row) for row in names
        )
    names, chances = ROUTER.route(
        X, available=["medium"], explore=1.0, return_propensity=True
    )
    assert set(names) == {"medium"}
    assert (chances == 1).all()


def test_known_costs_bind_draws() -> None:
    dear = {"large": 100 * BUDGET}
    names = ROUTER.route(
        X, budget=BUDGET, scope="query", costs=dear, explore=1.0, random_state=0
    )
    assert "large" not in set(names)


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_mean_budget_is_kept_with_draws(share: float, place: float) -> None:
    low, high = ROUTER.price_path_.cost[[0, -1]]
    budget = low + place * (high - low)
    q, cost, _, bill = ROUTER._training.kept
    for settled in (
        ROUTER._settle(Rule(budget=budget, explore=share), ROUTER._training),
        BudgetDecider(budget)
        .fit(Z, Y[:N].to_numpy(), costs=DATA.costs[:N])
        .settle_with(None, share),
    ):
        spend = (settled.find_chances(q, cost) * bill).sum(axis=1).mean()
        assert spend <= budget * (1 + 1e-6)
        if place < 0.8:  # less than what the best models cost without
            assert spend >= 0.97 * budget


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_target_is_reached_with_draws(share: float) -> None:
    target = 0.85 * ROUTER._training.best_single_quality
    settled = ROUTER._settle(Rule(min_quality="85%", explore=share), ROUTER._training)
    q, cost, gained, _ = ROUTER._training.kept
    chances = settled.find_chances(q, cost)
    assert (chances * gained).sum(axis=1).mean() >= target - 1e-9
    plain = ROUTER._settle(Rule(min_quality="85%"), ROUTER._training)
    assert settled.price.high < plain.price.high


def test_what_draws_leave_no_room_for_is_refused() -> None:
    cheapest = ROUTER.price_path_.cost[0] * 1.001
    with pytest.raises(InfeasibleBudgetError, match="are explored; the smallest") as e:
        ROUTER.route(X, budget=cheapest, explore=0.5)
    assert e.value.smallest_budget > cheapest
    ROUTER.route(X, budget=e.value.smallest_budget * 1.001, explore=0.5)
    ROUTER.route(X, budget=cheapest, explore=0.5, on_infeasible="cheapest")
    with pytest.raises(InfeasibleBudgetError, match="are explored; the largest") as e:
        ROUTER.route(X, min_quality="100%", explore=0.5)
    ROUTER.route(X, min_quality=e.value.largest_quality * 0.999, explore=0.5)
    ROUTER.route(X, min_quality="100%", explore=0.5, on_infeasible="cheapest")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"explore": 1.5}, "explore must be a share"),
        ({"explore": -0.1}, "explore must be at least 0"),
        ({"explore": float("nan")}, "explore must be finite"),
        ({"explore": "some"}, "explore must be a number"),
        ({"explore": 0.1, "budget": 1.0, "scope": "batch"}, "scope='batch'"),
        (
            {"explore": 0.1, "min_quality": "90%", "confidence": 0.9},
            "confidence cannot be given together",
        ),
        ({"explore": 0.1, "random_state": "now"}, "now"),
        ({"explore": 0.1, "random_state": -1}, "Seed|seed"),
    ],
)
def test_bad_shares_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ROUTER.route(X, **asked)


# The same draws again.


def test_a_seed_draws_for_a_query_whatever_comes_with_it() -> None:
    asked = {**RULES["mean"], "explore": 0.5, "return_propensity": True}
    names, chances = ROUTER.route(X, **asked, random_state=7)
    again, _ = ROUTER.route(X, **asked, random_state=7)
    np.testing.assert_array_equal(names, again)
    back, _ = ROUTER.route(X[::-1], **asked, random_state=7)
    np.testing.assert_array_equal(names, back[::-1])
    alone = [ROUTER.route(x[None], **asked, random_state=7) for x in X[:40]]
    assert [n[0] for n, _ in alone] == names[:40].tolist()
    np.testing.assert_allclose([c[0] for _, c in alone], chances[:40])
    frame = pd.DataFrame(X)
    np.testing.assert_array_equal(
        ROUTER.route(frame.to_numpy(), **asked, random_state=7)[0], names
    )
    other, _ = ROUTER.route(X, **asked, random_state=8)
    assert 0.1 < (other != names).mean() < 0.6


@pytest.mark.parametrize("turned", [[1, 0, 2], [2, 0, 1], [2, 1, 0]])
def test_the_order_of_the_models_changes_no_draw(turned: list[int]) -> None:
    other = PointwiseRouter(Ridge(), random_state=0)
    other.fit(DATA.data[:N], Y.iloc[:N, turned], costs=DATA.costs[:N, turned])
    how = {"explore": 0.7, "random_state": 0, "return_propensity": True}
    (names, chances), (again, same) = (r.route(X, **how) for r in (ROUTER, other))
    assert len(set(names)) == 3
    np.testing.assert_array_equal(names, again)
    np.testing.assert_allclose(chances, same)


def test_an_instance_draws_in_the_order_of_the_rows() -> None:
    asked = {**RULES["mean"], "explore": 0.5}
    names = ROUTER.route(X, **asked, random_state=np.random.RandomState(0))
    one = np.random.RandomState(0)
    alone = [ROUTER.route(x[None], **asked, random_state=one)[0] for x in X]
    assert alone == names.tolist()
    # Without any, draws are new in every call.
    assert (ROUTER.route(X, **asked) != ROUTER.route(X, **asked)).any()


def test_prompts_are_drawn_for_by_their_text() -> None:
    prompts = [f"{'prove' if i % 2 else 'add'} number {i}" for i in range(N)]
    router = TextRouter(PointwiseRouter(Ridge(), random_state=0))
    router.fit(prompts, Y[:N], costs=DATA.costs[:N])
    asked = {"price": 0.3 / BUDGET, "explore": 0.6, "random_state": 0}
    names = router.route(prompts, **asked)
    alone = [router.route([prompt], **asked)[0] for prompt in prompts[:30]]
    assert names[:30].tolist() == alone
    assert (names != router.route(prompts, price=0.3 / BUDGET)).any()
    table = pd.DataFrame({"prompt": prompts})
    assert router.route(table, **asked).shape == (N,)


def test_a_saved_decider_explores_as_before(tmp_path: Path) -> None:
    decider = BudgetDecider(BUDGET).fit(Z)
    live = np.hstack([QUALITY, COST])
    asked = {"explore": 0.3, "random_state": 0, "return_propensity": True}
    names, chances = decider.route(live, **asked)
    skroute.save(decider, tmp_path / "d.skroute")
    again, others = skroute.load(tmp_path / "d.skroute").route(live, **asked)
    np.testing.assert_array_equal(names, again)
    np.testing.assert_array_equal(chances, others)
    # Exploring is asked of a call: the next one does not.
    assert decider.price_ == BudgetDecider(BUDGET).fit(Z).price_
    decider._trade_off = None  # as of files of before
    with pytest.raises(ValueError, match="fit it again"):
        decider.route(live, **asked)


def test_a_stream_that_explores_keeps_to_its_budget() -> None:
    rng = np.random.default_rng(0)
    decider = BudgetDecider(BUDGET).fit(Z, Y[:N].to_numpy(), costs=DATA.costs[:N])
    live, bills = np.hstack([QUALITY, COST]), DATA.costs[N:]
    spent = []
    for _ in range(160):
        rows = rng.integers(len(X), size=50)
        names, chances = decider.route(
            live[rows],
            explore=0.3,
            random_state=np.random.RandomState(rng.integers(2**31)),
            return_propensity=True,
        )
        assert ((chances > 0) & (chances <= 1)).all()
        paid = bills[rows, [decider.models_.tolist().index(n) for n in names]]
        decider.partial_fit(live[rows], costs=paid)
        spent.append(paid.mean())
    assert np.mean(spent[20:]) == pytest.approx(BUDGET, rel=0.03)


def test_a_dummy_is_explored_too() -> None:
    router = DummyRouter(costs=[1.0, 2.0, 3.0]).fit(DATA.data[:N], Y[:N])
    names, chances = router.route(
        X, explore=0.5, random_state=0, return_propensity=True
    )
    assert len(set(names)) == 3
    assert (chances < 1).all()


# On real tables.


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_spend_and_loss_are_as_predicted_on_a_real_table(
    share: float, shared_data: Path
) -> None:
    table = read_routerbench(
        shared_data / "niagara.csv.gz", embeddings=shared_data / "niagara_minilm.npy"
    )
    X, y, costs = table.data, table.quality, table.costs
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:1400], order[1400:]
    router = RankingRouter(n_estimators=0, random_state=0)
    router.fit(X[train], y[train], costs=costs[train])
    low, high = router.price_path_.cost[[0, -1]]
    budget = float(low + share * (high - low))
    rows, models = np.arange(len(test)), router.models_.tolist()
    spent, gained = [], []
    for seed in range(20):
        names = router.route(X[test], budget=budget, explore=0.2, random_state=seed)
        called = [models.index(name) for name in names]
        spent.append(costs[test][rows, called].mean())
        gained.append(y[test][rows, called].mean())
    plain = [models.index(name) for name in router.route(X[test], budget=budget)]
    usual = costs[test][rows, plain].mean()
    # What the test part costs more than the training part is not of the draws.
    assert np.mean(spent) == pytest.approx(usual, rel=0.03)
    # The loss that the training queries predict.
    q, cost, value, _ = router._training.kept
    means = []
    for explore in (0.0, 0.2):
        rule = Rule(budget=budget, explore=explore)
        settled = router._settle(rule, router._training)
        means.append((settled.find_chances(q, cost) * value).sum(axis=1).mean())
    lost = y[test][rows, plain].mean() - np.mean(gained)
    assert lost == pytest.approx(means[0] - means[1], abs=0.012)


@pytest.mark.slow
def test_a_log_of_explored_calls_tells_of_another_policy(
    shared_data: Path, tmp_path: Path
) -> None:
    table = read_routerbench(
        shared_data / "niagara.csv.gz", embeddings=shared_data / "niagara_minilm.npy"
    )
    X, y, costs = table.data, table.quality, table.costs
    order = np.random.default_rng(1).permutation(len(X))
    train, live = order[:1000], order[1000:]
    router = RankingRouter(n_estimators=0, random_state=0)
    router.fit(
        X[train], pd.DataFrame(y[train], columns=table.models), costs=costs[train]
    )
    low, high = router.price_path_.cost[[0, -1]]
    budgets = [float(low + place * (high - low)) for place in (0.3, 0.45)]
    # Another policy: with a half more money.
    other = router.route(X[live], budget=budgets[1])
    rows, index = np.arange(len(live)), pd.Index(router.models_)
    chosen = index.get_indexer(other)
    truth, paid = y[live][rows, chosen].mean(), costs[live][rows, chosen].mean()
    quality, cost = (
        pd.DataFrame(estimate(X[live]), columns=router.models_)
        for estimate in (router.predict_quality, router.predict_cost)
    )
    found = []
    for seed in range(8):
        names, chances = router.route(
            X[live],
            budget=budgets[0],
            explore=0.5,
            random_state=seed,
            return_propensity=True,
        )
        called = live, index.get_indexer(names)
        pd.DataFrame(
            {
                "query": [f"request {i}" for i in rows],
                "model": names,
                "quality": y[called],
                "cost": costs[called],
                "propensity": chances,
            }
        ).to_json(tmp_path / "log.jsonl", orient="records", lines=True)
        log = read_table(tmp_path / "log.jsonl")
        assert log.queries.tolist() == [f"request {i}" for i in rows]
        place = np.isfinite(log.quality)
        assert (place.sum(axis=1) == 1).all()
        told = pd.read_json(tmp_path / "log.jsonl", lines=True)
        with warnings.catch_warnings():
            # A tenth of the other policy's calls is rare in the log.
            warnings.filterwarnings("ignore", "the log tells little of this policy")
            value = policy_value(
                other,
                called=log.models[place.argmax(axis=1)],
                propensity=told["propensity"],
                quality=log.quality[place],
                cost=log.costs[place],
                expected_quality=quality,
                expected_cost=cost,
            )
        found.append([value.quality, *value.quality_interval, *value.cost_interval])
    estimate, low, high, least, most = np.transpose(found)
    assert estimate.mean() == pytest.approx(truth, abs=0.012)
    assert ((low <= truth) & (truth <= high)).sum() >= 7
    assert ((least <= paid) & (paid <= most)).sum() >= 7
    assert (high - low).mean() < 0.13

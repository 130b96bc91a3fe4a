"""Promises of cascades: kept as often as they say, in any unit, or refused."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import simulate_table
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.utils import Bunch

import skroute
from skroute import CascadeDecider, PointwiseRouter
from skroute._cascade.evidence import Outcomes
from skroute._cascade.path import replay_held_out
from skroute._cascade.policy import Terms
from skroute._cascade.promise import promise_place
from skroute._cascade.tested import KnownReplays, list_prices
from skroute._decide.rule import Rule
from skroute.datasets import read_table
from skroute.exceptions import InfeasibleBudgetError

FORMAT_6 = Path(__file__).parents[1] / "data" / "routers" / "format_6"
TABLE = simulate_table(300, 3, random_state=0)


def fit(table: Bunch = TABLE, checked: bool = False, **parameters: Any) -> Any:
    known = {"checks": table.checks} if checked else {}
    decider = CascadeDecider(random_state=0, **parameters)
    return decider.fit(table.Z, table.y, costs=table.costs, **known)


@pytest.fixture(scope="module")
def kept() -> CascadeDecider:
    """A cascade that keeps what any confidence is tested on."""
    return fit(min_quality="95%", confidence=0.9)


def ask(decider: CascadeDecider, **asked: Any) -> CascadeDecider:
    """The same cascade, asked for something else."""
    rule = {"budget": None, "min_quality": None, "confidence": 0.9, **asked}
    vars(made := clone(decider)).update(vars(decider))
    return made.set_params(**rule)


def observe(decider: CascadeDecider, table: Bunch) -> Outcomes:
    """Queries of a table with exact checks, as `fit` sees them."""
    quality, cost = np.hsplit(table.Z, 2)
    evidence = decider._fitted.evidence(quality, cost, table.y[..., None], None)
    return Outcomes(evidence, table.y, table.costs, np.zeros(len(table.y), dtype=int))


# --- how often they are kept ---------------------------------------------------------


@pytest.mark.slow
def test_promises_are_broken_as_rarely_as_they_say():
    """By a policy that saw none of the queries on which its price is settled."""
    two, n_draws = fit(simulate_table(120, 2, random_state=0), price=0.02), 30
    policy, many = two._fitted.policy, simulate_table(4000, 2, random_state=99)
    everything, best = observe(two, many), many.y.mean(axis=0).max()

    @cache
    def judge(price: float) -> tuple[float, float]:
        terms = Terms(price, 2, escalates=np.isfinite(price))
        replay = replay_held_out([policy], everything, terms)
        return replay.quality.mean(), replay.spend.mean()

    asked = {"min_quality": "103%"}, {"min_quality": 0.75}, {"budget": 4.0}
    broken = dict.fromkeys(product(range(len(asked)), (0.9, 0.5)), 0)
    for seed in range(n_draws):
        drawn = observe(two, simulate_table(150, 2, random_state=seed + 100))
        tested = KnownReplays.replay([policy], drawn, Terms(0.0, 2), np.arange(150))
        for goal, confidence in broken:
            rule = Rule(confidence=confidence, **asked[goal])
            try:
                place, guarantee = promise_place(rule, tested, 0.0, 1.0)
            except InfeasibleBudgetError:
                continue
            quality, spend = judge(place.price)
            share = guarantee.share
            target = guarantee.min_quality if share is None else share * best
            is_missed = target is not None and quality < target
            broken[goal, confidence] += is_missed or spend > (
                guarantee.budget or np.inf
            )
    for (_, confidence), count in broken.items():
        error = np.sqrt(confidence * (1 - confidence) / n_draws)
        assert count / n_draws <= 1 - confidence + 2 * error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pool9", "mmlu_pro"])
def test_promises_hold_on_real_tables(name, shared_data):
    """On queries that neither router nor cascade saw, with a check that errs."""
    prices = shared_data / f"{name}_prices.json"
    data = read_table(
        shared_data / f"{name}.csv.gz",
        embeddings=shared_data / f"{name}_minilm.npy",
        **({"prices": prices} if prices.exists() else {}),
    )
    y = np.asarray(data.quality)
    costs = np.broadcast_to(data.costs, y.shape)
    complete = np.isfinite(y).all(axis=1) & np.isfinite(costs).all(axis=1)
    rows = np.random.RandomState(0).permutation(np.flatnonzero(complete))
    train, test = rows[:600], rows[600:2600]
    is_told = np.random.RandomState(1).random_sample(y.shape) < 0.8
    checks = np.where(is_told, y > 0.5, y <= 0.5) * 1.0
    router = PointwiseRouter(Ridge(10.0), random_state=0)
    Z = router.fit_transform(data.data[train], y[train], costs=costs[train])
    decider = CascadeDecider(min_quality="95%", confidence=0.95, random_state=0)
    decider.fit(Z, y[train], costs=costs[train], checks=checks[train])
    best = y[train].mean(axis=0).argmax()
    known = y[test], costs[test], checks[test]
    replayed = decider.replay(router.transform(data.data[test]), *known)
    assert replayed.mean_quality >= 0.95 * y[test, best].mean()
    assert replayed.mean_spend < costs[test, best].mean()
    budget = 0.3 * costs[train, best].mean()
    frugal = ask(decider, budget=budget, confidence=0.95)
    replayed = frugal.replay(router.transform(data.data[test]), *known)
    assert replayed.mean_spend <= budget


# --- what they say -------------------------------------------------------------------


def test_a_guarantee_is_a_sentence(kept):
    share = kept.guarantee_
    assert str(share) == (
        "at least 95% of model_2's quality, with 90% confidence, from 292 queries"
    )
    assert share.mean > share.min_quality
    assert share.outcome_range == (0.0, 1.0)
    number = ask(kept, min_quality=0.7).guarantee_
    assert str(number).startswith("at least 0.7 of mean quality, with 90% confidence")
    money = ask(kept, budget=4.0).guarantee_
    assert str(money).startswith("at most 4 of money per query on average, with 90%")
    assert money.mean < 4.0
    # Three calls of the most expensive models seen.
    most = np.sort(TABLE.costs.max(axis=0)).sum()
    rich = ask(kept, budget=100.0).guarantee_
    assert rich.outcome_range[1] <= most * (1 + 1e-9)
    assert "if no query costs more than" in str(rich)
    assert ask(kept, min_quality="95%", confidence=None).guarantee_ is None


def test_more_confidence_costs_more(kept):
    levels = (0.5, 0.8, 0.95, 0.99)
    asked = [ask(kept, min_quality=0.75, confidence=level) for level in levels]
    means = [decider.guarantee_.mean for decider in asked]
    assert means == sorted(means)
    assert [d.price_ for d in asked] == sorted([d.price_ for d in asked], reverse=True)


def test_the_price_is_lower_than_where_a_target_is_just_reached(kept):
    point = ask(kept, min_quality=0.75, confidence=None)
    assert ask(kept, min_quality=0.75).price_ < point.price_
    spent = ask(kept, budget=4.0)
    assert spent.price_ > ask(kept, budget=4.0, confidence=None).price_


def test_a_sure_loss_is_met_by_the_best_single_model():
    """A check that says nothing, and few queries."""
    few = simulate_table(40, 3, random_state=1, accuracy=0.5)
    decider = fit(few, checked=True, min_quality="100%", confidence=0.999)
    assert str(decider.guarantee_) == (
        f"at least 100% of {decider.guarantee_.baseline}'s quality, whatever the "
        "queries are"
    )
    assert not decider.escalates_
    assert set(decider.next(few.Z)) == {decider.guarantee_.baseline}


def test_the_order_of_models_changes_no_promise(kept):
    order = [2, 0, 1]
    turned = Bunch(
        Z=TABLE.Z[:, order + [i + 3 for i in order]],
        y=TABLE.y[:, order],
        costs=TABLE.costs[:, order],
    )
    other = fit(turned, min_quality="95%", confidence=0.9)
    assert other.guarantee_.baseline == "model_0"
    assert other.price_ == kept.price_
    assert other.guarantee_.mean == kept.guarantee_.mean


@pytest.mark.parametrize("scale", [100.0, 2.0**-7])
def test_the_unit_of_quality_changes_no_promise(scale, kept):
    scaled = Bunch(
        Z=TABLE.Z * np.repeat([scale, 1.0], 3), y=TABLE.y * scale, costs=TABLE.costs
    )
    other = fit(scaled, min_quality="95%", confidence=0.9)
    assert other.guarantee_.outcome_range == (0.0, scale)
    assert other.price_ == pytest.approx(kept.price_ * scale)
    assert other.guarantee_.mean == pytest.approx(kept.guarantee_.mean * scale)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_unit_of_money_changes_no_promise(scale, kept):
    n_models = TABLE.y.shape[1]
    Z = np.hstack([TABLE.Z[:, :n_models], TABLE.Z[:, n_models:] * scale])
    other = fit(
        Bunch(Z=Z, y=TABLE.y, costs=TABLE.costs * scale),
        min_quality="95%",
        confidence=0.9,
    )
    assert str(other.guarantee_) == str(kept.guarantee_)


def test_queries_of_one_group_count_once():
    groups = np.arange(300) // 3
    decider = CascadeDecider(min_quality=0.5, confidence=0.9, random_state=0)
    decider.fit(TABLE.Z, TABLE.y, costs=TABLE.costs, groups=groups)
    # Some of their estimates are equal by chance, which joins their groups.
    assert 80 <= decider.guarantee_.n_queries <= 100
    with pytest.raises(ValueError, match="groups must hold one label"):
        decider.fit(TABLE.Z, TABLE.y, costs=TABLE.costs, groups=groups[:-1])


def test_prices_do_not_depend_on_what_is_tested():
    """Any two tables share the prices that both of them need."""
    one = list_prices(TABLE.Z[:, 3:], 0.0)
    other = list_prices(3.7 * TABLE.Z[:50, 3:], 0.1)
    assert one == sorted(one)
    assert one[0] == 0
    assert one[-1] == np.inf
    low, high = max(one[1], other[1]), min(one[-2], other[-2])
    assert [p for p in one if low <= p <= high] == [
        p for p in other if low <= p <= high
    ]
    # Costs that hardly differ need a wide range of prices, in as many steps.
    assert len(list_prices(1 + 1e-6 * TABLE.Z[:, 3:], 0.0)) < 100


def test_a_check_that_says_nothing_is_no_obstacle(tmp_path):
    """One call at all prices, and at the highest the cheapest model."""
    blind = simulate_table(100, 3, random_state=1, accuracy=0.5)
    blind.checks = np.zeros_like(blind.y)
    asked = {"budget": 3.0, "confidence": 0.8, "check_cost": 5.0}
    decider = fit(blind, checked=True, **asked)
    assert not decider.escalates_
    assert decider.guarantee_.mean <= 3.0
    with pytest.raises(InfeasibleBudgetError) as error:
        ask(decider, budget=0.9).next(blind.Z)
    dear = ask(decider, budget=error.value.smallest_budget)
    assert set(dear.next(blind.Z)) == {"model_0"}
    assert dear.price_ == np.inf
    skroute.save(dear, tmp_path / "cascade")
    assert skroute.load(tmp_path / "cascade").guarantee_ == dear.guarantee_


# --- what is kept --------------------------------------------------------------------


def test_what_is_tested_is_what_was_replayed(kept):
    tested = kept._fitted.tested
    quality, spend = tested.tabulate()
    assert quality.shape == spend.shape == (len(tested.price), 300)
    assert len(tested.quality) < quality.size / 3
    # At infinity the cheapest is called, and at 0 all that may help.
    np.testing.assert_allclose(spend[-1], TABLE.costs[:, 0], rtol=1e-6)
    assert spend[0].mean() > spend[-1].mean()
    assert quality[0].mean() > quality[-1].mean()


def test_a_file_keeps_what_is_tested(kept, tmp_path):
    skroute.save(kept, tmp_path / "cascade")
    loaded = skroute.load(tmp_path / "cascade")
    assert loaded.guarantee_ == kept.guarantee_
    assert ask(loaded, budget=4.0).guarantee_ == ask(kept, budget=4.0).guarantee_
    with_tests = (tmp_path / "cascade").stat().st_size
    skroute.save(fit(min_quality="95%"), tmp_path / "plain")
    assert with_tests - (tmp_path / "plain").stat().st_size < 100 * 300


@pytest.mark.parametrize("old", [False, True], ids=["fitted without", "format 6"])
def test_a_confidence_is_set_before_fit(old):
    decider = fit(price=0.02)
    if old:
        decider = skroute.load(FORMAT_6 / "cascade.skroute")
    assert decider.guarantee_ is None
    decider.set_params(price=None, min_quality="90%", confidence=0.9)
    with pytest.raises(ValueError, match="fit the decider again, with the confidence"):
        decider.guarantee_  # noqa: B018
    assert decider.set_params(confidence=None).guarantee_ is None


# --- what cannot be promised ---------------------------------------------------------


def test_a_target_out_of_reach_names_the_largest(kept):
    with pytest.raises(InfeasibleBudgetError, match="the largest that can is") as error:
        ask(kept, min_quality=0.99).next(TABLE.Z)
    largest = error.value.largest_quality
    assert ask(kept, min_quality=largest).guarantee_.min_quality == largest
    with pytest.raises(InfeasibleBudgetError, match="the largest that can is '1"):
        ask(kept, min_quality="140%").next(TABLE.Z)


def test_a_budget_out_of_reach_names_the_smallest(kept):
    with pytest.raises(InfeasibleBudgetError, match="the smallest that can") as error:
        ask(kept, budget=0.9).next(TABLE.Z)
    smallest = error.value.smallest_budget
    assert set(ask(kept, budget=smallest).next(TABLE.Z)) == {"model_0"}


@pytest.mark.parametrize("asked", [{"budget": 0.9}, {"min_quality": 0.99}], ids=str)
def test_on_infeasible_promises_nothing(asked, kept):
    decider = ask(kept, **asked).set_params(on_infeasible="cheapest")
    assert decider.guarantee_ is None
    assert set(decider.next(TABLE.Z)) <= {*decider.models_}


@pytest.mark.parametrize(
    "asked", [{}, {"price": 0.1}, {"budget": 9.0, "scope": "query"}], ids=str
)
def test_only_averages_can_be_promised(asked):
    with pytest.raises(ValueError, match="promises an average"):
        fit(**asked, confidence=0.9)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, "95%"])
def test_a_confidence_is_between_0_and_1(confidence):
    with pytest.raises((ValueError, TypeError), match="confidence"):
        fit(min_quality="95%", confidence=confidence)


def test_a_cap_is_kept_beside_a_promise():
    cap = {"budget": 7.0, "scope": "query", "on_infeasible": "cheapest"}
    decider = fit(min_quality=0.5, confidence=0.9, **cap)
    assert decider.guarantee_.bound == "betting"
    spent = decider.replay(TABLE.Z, TABLE.y, TABLE.Z[:, 3:]).spend
    assert (spent <= 7.0 * (1 + 1e-6)).all()


def test_models_that_are_left_out_end_a_promise(kept):
    with pytest.warns(UserWarning, match="leaves out model_1, and what confidence"):
        kept.next(TABLE.Z[:2], available=["model_0", "model_2"])
    with pytest.warns(UserWarning, match="model_2 is the model that the target is a"):
        kept.next(TABLE.Z[:2], available=["model_0", "model_1"])
    # Without a promise there is nothing to say, nor of a model that was called.
    ask(kept, min_quality="95%", confidence=None).next(
        TABLE.Z[:2], available=[True] * 3
    )
    kept.next(TABLE.Z[:1], [["model_0"]], [[0.0]], available=["model_1", "model_2"])

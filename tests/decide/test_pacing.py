"""Budgets that hold while the traffic drifts: BudgetDecider.partial_fit."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline

from skroute import BudgetDecider, DummyRouter
from skroute._decide.hull import choose
from skroute._decide.price_path import PricePath, assign_shadow_prices, choose_each
from skroute.datasets import make_routing

quick = settings(max_examples=25, deadline=None)
# Two models, one block: no single price spends a budget between 1 and 3.
BLOCK = np.tile([0.0, 1.0, 1.0, 3.0], (60, 1))
ANY = np.ones((1, 1), dtype=bool)


def traffic(n_queries, *, hard=0.0, seed=0, n_models=4):
    """Estimates of queries whose expensive models gain more where they are hard."""
    rng = np.random.default_rng(seed)
    cost = np.geomspace(1, 20, n_models) * rng.lognormal(0, 0.4, (n_queries, 1))
    skill = np.linspace(0, 1.5, n_models)
    difficulty = rng.normal(hard, 1, (n_queries, 1))
    noise = rng.normal(0, 0.4, (n_queries, n_models))
    quality = 1 / (1 + np.exp(difficulty - skill - noise))
    return np.hstack([quality, cost])


def stream(decider, Z, real, chunk):
    """Decide and update in turn; the decisions."""
    choice = []
    for start in range(0, len(Z), chunk):
        rows = slice(start, start + chunk)
        chosen = decider.predict(Z[rows])
        spent = real[rows][np.arange(len(chosen)), chosen]
        decider.partial_fit(Z[rows], costs=spent)
        choice.append(chosen)
    return np.concatenate(choice)


def paid(real, choice):
    return real[np.arange(len(choice)), choice]


def window_means(spent, width):
    total = np.r_[0.0, np.cumsum(spent)]
    return (total[width:] - total[:-width]) / width


# The promise


def drifting(kind, n_queries=20_000):
    """Estimates and realised costs under one kind of drift."""
    time = np.arange(n_queries) / n_queries
    hard, factor = np.zeros(n_queries), np.ones((n_queries, 4))
    if kind == "abrupt difficulty":
        hard = np.where((time > 0.4) & (time < 0.7), 1.5, -0.5)
    elif kind == "slow difficulty":
        hard = 1.5 * np.sin(4 * np.pi * time)
    elif kind == "abrupt prices":
        factor[time > 0.5, 2:] = 1.5
    elif kind == "slow prices":
        factor[:, 1:] = (1 + time)[:, None]
    Z = traffic(n_queries, hard=hard[:, None])
    return Z, Z[:, 4:] * factor


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["none", "abrupt difficulty", "slow difficulty", "abrupt prices", "slow prices"],
)
@pytest.mark.parametrize("budget", [2.5, 5.0])
def test_spend_tracks_the_budget_and_quality_the_price_of_hindsight(kind, budget):
    Z, real = drifting(kind)
    decider = BudgetDecider(budget).fit(traffic(2000, seed=1))
    choice = stream(decider, Z, real, 100)
    windows = window_means(paid(real, choice)[5000:], 5000)
    assert np.abs(windows / budget - 1).max() < 0.05
    quality, cost = np.hsplit(Z, 2)
    for rows in np.arange(len(Z))[5000:].reshape(-1, 5000):
        path = PricePath.from_estimates(quality[rows], cost[rows], true_cost=real[rows])
        spent = paid(real, choice)[rows].mean()
        table = quality[rows], cost[rows]
        prices = assign_shadow_prices(*table, path.price_for_budget(spent), ANY)
        best = choose_each(*table, prices, ANY)
        lost = paid(quality[rows], best) - paid(quality[rows], choice[rows])
        assert lost.mean() < 0.01


def test_a_price_that_is_not_moved_does_not_keep_to_the_budget():
    Z, real = drifting("abrupt prices")
    decider = BudgetDecider(5.0).fit(traffic(2000, seed=1))
    windows = window_means(paid(real, decider.predict(Z))[5000:], 5000)
    assert np.abs(windows / 5 - 1).max() > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 7, 250, 500])
def test_every_size_of_update_keeps_to_the_budget(chunk):
    Z = traffic(8000)
    decider = BudgetDecider(4.0).fit(traffic(2000, hard=1.0, seed=1))
    choice = stream(decider, Z, Z[:, 4:], chunk)
    windows = window_means(paid(Z[:, 4:], choice)[2000:], 3000)
    assert np.abs(windows / 4 - 1).max() < 0.05


@pytest.mark.slow
def test_a_stream_can_begin_without_a_fit():
    Z = traffic(6000)
    decider = BudgetDecider(4.0).partial_fit(Z[:1])
    assert decider.models_.tolist() == [f"model_{k}" for k in range(4)]
    choice = stream(decider, Z[1:], Z[1:, 4:], 50)
    assert paid(Z[1:, 4:], choice)[1000:].mean() == pytest.approx(4, rel=0.03)


def test_expected_costs_count_where_none_are_given():
    Z = traffic(300)
    decider = BudgetDecider(4.0).fit(Z)
    spent = paid(Z[:, 4:], decider.predict(Z))
    given, without, unknown = (copy.deepcopy(decider) for _ in range(3))
    given.partial_fit(Z, costs=spent)
    without.partial_fit(Z)
    unknown.partial_fit(Z, costs=np.where(np.arange(300) % 2, spent, np.nan))
    assert without.price_ == given.price_ == unknown.price_


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1.2, 2.0, 2.9])
def test_queries_of_a_block_are_split_over_time_when_they_come_alone(budget):
    decider = BudgetDecider(budget).fit(BLOCK)
    # Without updates they all go with the larger share.
    assert len({int(decider.predict(BLOCK[:1])[0]) for _ in range(9)}) == 1
    Z = np.tile(BLOCK[:1], (4000, 1))
    # The account takes its time to reach the step of the block.
    spent = paid(Z[:, 2:], stream(decider, Z, Z[:, 2:], 1))[2500:]
    windows = window_means(spent, 500)
    assert np.abs(windows / budget - 1).max() < 0.01


# Budgets that cannot be spent, or kept


@pytest.mark.slow
def test_a_budget_that_cannot_be_spent_is_not_saved_up():
    cheap, costly = traffic(6000), traffic(4000, seed=2)
    cheap[:, 4:] /= 20
    decider = BudgetDecider(4.0).fit(traffic(2000, seed=1))
    stream(decider, cheap, cheap[:, 4:], 50)
    assert decider.price_ == 0
    best = choose(*np.hsplit(cheap, 2), 0.0, ANY)
    assert decider.predict(cheap).tolist() == best.tolist()
    spent = paid(costly[:, 4:], stream(decider, costly, costly[:, 4:], 50))
    # The first update finds out, later ones pay it back; nothing is made up for.
    assert spent.mean() == pytest.approx(4, rel=0.02)
    assert spent[1000:].mean() == pytest.approx(4, rel=0.03)


@pytest.mark.slow
def test_a_budget_that_cannot_be_kept_is_not_held_against_later_queries():
    costly, back = traffic(3000), traffic(4000, seed=2)
    decider = BudgetDecider(4.0).fit(traffic(2000, seed=1))
    with pytest.warns(UserWarning, match="below what the cheapest models cost"):
        stream(decider, costly, 10 * costly[:, 4:], 50)
    assert decider.price_ == np.inf
    assert (decider.predict(costly) == 0).all()
    spent = paid(back[:, 4:], stream(decider, back, back[:, 4:], 50))
    assert spent[1500:].mean() == pytest.approx(4, rel=0.03)


@pytest.mark.slow
def test_one_absurd_bill_is_got_over():
    Z = traffic(4000)
    decider = BudgetDecider(4.0).fit(Z)
    with pytest.warns(UserWarning, match=r"costs holds 1 .* 250 times.*1e\+12.*counts"):
        decider.partial_fit(Z[:1], costs=[1e12])
    choice = stream(decider, Z, Z[:, 4:], 50)
    assert paid(Z[:, 4:], choice)[2000:].mean() == pytest.approx(4, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("free", [True, False])
def test_many_absurd_bills_are_got_over(free):
    Z = traffic(6000)
    if free:
        # No bill comes any more while only this one is called.
        Z[:, 4] = 0.0
    decider = BudgetDecider(4.0).fit(Z)
    for _ in range(10):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decider.partial_fit(Z[:100], costs=np.full(100, 1e12))
    assert decider.price_ == np.inf
    stream(decider, Z, Z[:, 4:], 50)
    choice = stream(decider, Z, Z[:, 4:], 50)
    assert paid(Z[:, 4:], choice).mean() == pytest.approx(4, rel=0.03)


def test_a_budget_of_nothing_calls_what_is_free():
    Z = traffic(1000)
    Z[:, 4] = 0
    decider = BudgetDecider(0.0).fit(Z)
    assert (stream(decider, Z, Z[:, 4:], 100) == 0).all()
    assert (stream(decider, Z, Z[:, 4:] + 1.0, 100) == 0).all()


def test_a_new_budget_holds_from_the_next_update_on():
    Z = traffic(6000)
    decider = BudgetDecider(4.0).fit(Z)
    stream(decider, Z[:2000], Z[:2000, 4:], 100)
    decider.set_params(budget=2.5)
    choice = stream(decider, Z[2000:], Z[2000:, 4:], 100)
    assert paid(Z[2000:, 4:], choice)[500:].mean() == pytest.approx(2.5, rel=0.03)


@pytest.mark.parametrize("chunk", [1, 25])
def test_each_model_has_its_own_ratio_of_bills(chunk):
    Z = traffic(1500)
    # One model bills twice what is expected of it, another half of that.
    real = Z[:, 4:] * [1.0, 2.0, 0.5, 1.0]
    decider = BudgetDecider(4.0).fit(Z)
    choice = stream(decider, Z, real, chunk)
    assert paid(real, choice)[700:].mean() == pytest.approx(4.0, rel=0.05)
    factor = decider.settled_.cost_factor
    assert factor[1] == pytest.approx(2.0, rel=0.35)
    assert factor[2] == pytest.approx(0.5, rel=0.35)
    assert factor[[0, 3]] == pytest.approx(1.0, abs=1e-9)
    # So models are called as if their costs had been known.
    knowing = BudgetDecider(4.0).fit(np.hstack([Z[:, :4], real]))
    other = knowing.predict(np.hstack([Z[:, :4], real]))
    assert (choice[700:] == other[700:]).mean() > 0.8


# Invariants


@pytest.mark.slow
@quick
@given(st.integers(0, 10_000), st.integers(-20, 20), st.sampled_from([1, 30, 400]))
def test_the_unit_of_money_does_not_matter(seed, power, chunk):
    Z, unit = traffic(400, seed=seed), 2.0**power
    scaled = np.hstack([Z[:, :4], unit * Z[:, 4:]])
    one, other = BudgetDecider(4.0).fit(Z), BudgetDecider(4.0 * unit).fit(scaled)
    real = Z[:, 4:] * 1.3
    choice = stream(one, Z, real, chunk)
    assert stream(other, scaled, unit * real, chunk).tolist() == choice.tolist()
    assert other.price_ * unit == one.price_


@pytest.mark.slow
@quick
@given(st.integers(0, 10_000), st.permutations(range(4)), st.sampled_from([1, 30, 150]))
def test_permuted_models_permute_the_answers(seed, turn, chunk):
    Z, turn = traffic(150, seed=seed), np.array(turn)
    turned = Z[:, np.r_[turn, 4 + turn]]
    one, other = BudgetDecider(4.0).fit(Z), BudgetDecider(4.0).fit(turned)
    choice = stream(one, Z, Z[:, 4:] * 1.3, chunk)
    answers = stream(other, turned, turned[:, 4:] * 1.3, chunk)
    assert turn[answers].tolist() == choice.tolist()
    assert other.price_ == pytest.approx(one.price_, rel=1e-9)


@pytest.mark.slow
@quick
@given(st.integers(0, 10_000), st.integers(1, 900))
def test_a_copy_in_mid_stream_goes_on_alike(seed, place):
    Z = traffic(1000, seed=seed)
    decider = BudgetDecider(4.0).fit(Z[:100])
    stream(decider, Z[:place], Z[:place, 4:], 50)
    again = pickle.loads(pickle.dumps(decider))
    for start in range(place, 1000, 50):
        rows = slice(start, start + 50)
        prices = [d.partial_fit(Z[rows]).price_ for d in (decider, again)]
        assert prices[0] == prices[1]


@pytest.mark.slow
@quick
@given(st.integers(0, 10_000))
def test_one_by_one_the_account_and_the_recent_queries_are_those_of_a_chunk(seed):
    # The prices in between differ, and with them which calls were expected.
    Z = traffic(200, seed=seed)
    spent = 4 * np.random.default_rng(seed).lognormal(0, 0.2, 200)
    whole, single = (BudgetDecider(4.0).fit(Z) for _ in range(2))
    whole.partial_fit(Z, costs=spent)
    for row, money in zip(Z, spent, strict=True):
        single.partial_fit(row[None], costs=[money])
    assert single._pace.account == pytest.approx(whole._pace.account)
    np.testing.assert_array_equal(single._pace.quality, whole._pace.quality)
    np.testing.assert_array_equal(single._pace.cost, whole._pace.cost)


@pytest.mark.slow
def test_the_state_does_not_grow_with_the_stream():
    Z = traffic(3000)
    decider = BudgetDecider(4.0).fit(Z)
    sizes = []
    for _ in range(4):
        stream(decider, Z, Z[:, 4:], 100)
        sizes.append(len(pickle.dumps(decider)))
    assert max(sizes) < 1.1 * min(sizes)


def test_a_new_fit_ends_the_stream():
    Z = traffic(1000)
    fresh, used = BudgetDecider(4.0).fit(Z), BudgetDecider(4.0).fit(Z[:50])
    stream(used, Z, 3 * Z[:, 4:], 100)
    used.fit(Z)
    assert vars(used).keys() == vars(fresh).keys()
    one, other = (d.partial_fit(Z[:30]).price_ for d in (fresh, used))
    assert one == other


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_a_tolerance_holds_in_a_stream(tolerance):
    Z = traffic(3000)
    decider = BudgetDecider(2.0, tolerance=tolerance).fit(Z)
    choice = stream(decider, Z, Z[:, 4:], 100)
    assert paid(Z[:, 4:], choice)[1000:].mean() == pytest.approx(2, rel=0.03)


def test_names_and_costs_of_a_pipeline_reach_the_decider(metadata_routing):
    data = make_routing(300, random_state=0)
    names = ["a", "b", "c", "d", "e"]
    y = pd.DataFrame(data.quality, columns=names)
    budget = float(data.costs.mean())
    pipeline = make_pipeline(DummyRouter(), BudgetDecider(budget))
    pipeline.fit(data.data, y, costs=data.costs)
    choice = pipeline.predict(data.data)
    spent = paid(data.costs, choice)
    pipeline[-1].partial_fit(pipeline[:-1].transform(data.data), costs=spent)
    requests = pipeline[-1].get_metadata_routing().partial_fit.requests
    assert requests["costs"] is True
    assert pipeline[-1].models_.tolist() == names


# Nonsense


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(Z=np.ones((3, 7))), "features"),
        (dict(Z=np.full((3, 8), np.nan)), "NaN"),
        (dict(Z=np.ones((0, 8))), "0 sample"),
        (dict(Z=-np.ones((3, 8))), "not negative"),
        (dict(Z=np.ones((3, 8)), costs=[1.0, 2.0]), r"costs.*\(3,\).*\(2,\)"),
        (dict(Z=np.ones((3, 8)), costs=np.ones((3, 4))), r"np\.arange"),
        (dict(Z=np.ones((3, 8)), costs=[1.0, -2.0, 1.0]), "costs.*negative.*-2"),
        (dict(Z=np.ones((3, 8)), costs=[1.0, np.inf, 1.0]), "costs.*infinity"),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(arguments, message):
    decider = BudgetDecider(4.0).fit(traffic(100)).partial_fit(traffic(10))
    before = pickle.dumps(decider)
    with pytest.raises(ValueError, match=message):
        decider.partial_fit(**arguments)
    assert pickle.dumps(decider) == before


@pytest.mark.parametrize(
    "params",
    [
        dict(),
        dict(price=1.0),
        dict(min_quality="90%"),
        dict(budget=9.0, scope="batch"),
        dict(budget=9.0, scope="query"),
    ],
)
def test_only_a_mean_budget_can_be_kept_to(params):
    decider = BudgetDecider(**params)
    with pytest.raises(ValueError, match=r"partial_fit.*mean budget"):
        decider.partial_fit(traffic(10))
    assert vars(decider) == vars(BudgetDecider(**params))


def test_a_budget_below_the_cheapest_models_is_no_error_in_a_stream():
    with pytest.warns(UserWarning, match="Raise the budget"):
        decider = BudgetDecider(0.1).partial_fit(traffic(10))
    assert decider.price_ == np.inf
    # It is said once, and again only after it was enough.
    assert decider.partial_fit(traffic(10)).price_ == np.inf
    decider.set_params(budget=50.0).partial_fit(traffic(10))
    with pytest.warns(UserWarning, match="Raise the budget"):
        decider.set_params(budget=0.1).partial_fit(traffic(10))


def test_bills_are_booked_on_the_models_that_were_called():
    """Of explored calls, or such as followed another that failed."""
    Z = traffic(600)
    decider = BudgetDecider(4.0).fit(Z)
    called = np.random.default_rng(0).integers(4, size=600)
    for rows in np.split(np.arange(600), 20):
        decider.partial_fit(
            Z[rows], costs=paid(Z[rows, 4:], called[rows]), called=called[rows]
        )
    # Each cost what was expected of it.
    np.testing.assert_allclose(decider._pace.ratio, 1.0)
    with pytest.raises(ValueError, match="called must name the models"):
        decider.partial_fit(Z[:1], called=["huge"])


def test_a_stream_begins_with_the_decisions_of_known_costs():
    rng = np.random.default_rng(0)
    real = [1.0, 4.0, 15.0] * rng.lognormal(0, 0.8, size=(300, 3))
    quality = rng.uniform(size=(300, 3))
    Z = np.hstack([quality, np.tile([1.3, 5.2, 19.5], (300, 1))])
    decider = BudgetDecider(2.0).fit(Z, costs=real)
    spent = paid(real, decider.predict(Z, costs=real))
    decider.partial_fit(Z, costs=spent, known_costs=real)
    np.testing.assert_allclose(decider._pace.ratio, 1.0)

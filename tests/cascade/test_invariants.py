"""What holds for every table, limit and seed of a cascade."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import add_up, simulate_table, walk_by_hand
from sklearn.base import clone

from skroute import CascadeDecider

pytestmark = pytest.mark.slow

quick = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)
SHARES = st.integers(0, 20).map(lambda twentieths: twentieths / 20)


def new_queries(fitted, seed, n_queries=12):
    """Estimates of other queries, and what is known of their answers."""
    n_models = len(fitted.decider.models_)
    table = simulate_table(n_queries, n_models, random_state=seed)
    known = {name: table[name] for name in fitted.known}
    if not fitted.decider._fitted.has_answers:
        known = {"checks": table.y}
    return table, known


def some_models(rng, shape):
    """A mask that leaves each query a model."""
    mask = rng.random(shape) < 0.5
    mask[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] = True
    return mask


def with_rule(decider, **rule):
    changed = copy.copy(decider)
    return changed.set_params(**{"price": None, **rule})


# Limits


@quick
@given(SEEDS, SHARES, st.booleans(), st.booleans())
def test_no_cap_over_all_calls_is_exceeded(fitted, seed, share, is_known, masked):
    table, known = new_queries(fitted, seed)
    rng = np.random.default_rng(seed)
    costs = np.hsplit(table.Z, 2)[1]
    limits = {}
    if is_known:
        limits["costs"] = costs = costs * rng.uniform(0.2, 5.0, costs.shape)
    mask = np.ones(costs.shape, dtype=bool)
    if masked:
        limits["available"] = mask = some_models(rng, costs.shape)
    money = costs + fitted.decider.check_cost
    cheapest = np.where(mask, money, np.inf).min(axis=1)
    cap = cheapest + share * (money.sum(axis=1) - cheapest)
    for budget in (cap, float(cap.max())):
        decider = with_rule(fitted.decider, scope="query", budget=budget)
        calls, _ = walk_by_hand(decider, table.Z, known, **limits)
        spent = add_up(decider, calls, money)
        assert (spent <= budget * (1 + 1e-9)).all()


@quick
@given(SEEDS, SHARES)
def test_a_replay_keeps_a_cap(fitted, seed, share):
    table, known = new_queries(fitted, seed)
    costs = np.hsplit(table.Z, 2)[1]
    low, high = costs.min(), costs.sum(axis=1).max()
    decider = with_rule(
        *(fitted.decider,),
        scope="query",
        budget=float(low + decider_margin(fitted) + share * (high - low)),
    )
    replayed = decider.replay(table.Z, table.y, costs, **known)
    assert replayed.spend.max() <= decider.budget * (1 + 1e-9)


def decider_margin(fitted):
    """Money for one check, and for rounding."""
    return fitted.decider.check_cost + 1e-9


@quick
@given(SEEDS)
def test_a_masked_model_is_never_called(fitted, seed):
    table, known = new_queries(fitted, seed)
    mask = some_models(np.random.default_rng(seed), table.y.shape)
    calls, _ = walk_by_hand(fitted.decider, table.Z, known, available=mask)
    replayed = fitted.decider.replay(table.Z, table.y, **known, available=mask)
    for made in (calls, replayed.calls):
        assert (add_up(fitted.decider, made, ~mask * 1.0) == 0).all()
        assert (made[:, 0] != None).all()  # noqa: E711


@quick
@given(SEEDS, st.sampled_from([0.0, 0.005, 0.05, 1.0]))
def test_each_model_is_called_once_and_few_are(fitted, seed, price):
    table, known = new_queries(fitted, seed)
    decider = with_rule(fitted.decider, price=price)
    replayed = decider.replay(table.Z, table.y, **known)
    assert replayed.calls.shape[1] <= decider.max_calls
    for calls, answer, n_calls in zip(
        *(replayed.calls, replayed.answer, replayed.n_calls), strict=True
    ):
        made = [name for name in calls if name is not None]
        assert 1 <= len(made) == len(set(made)) == n_calls
        assert answer in made


# The same, asked otherwise


@quick
@given(SEEDS, st.sampled_from([0.0, 0.01, 0.05]))
def test_a_replay_is_what_next_would_have_done(fitted, seed, price):
    table, known = new_queries(fitted, seed)
    decider = with_rule(fitted.decider, price=price)
    replayed = decider.replay(table.Z, table.y, table.costs, **known)
    calls, said = walk_by_hand(decider, table.Z, known)
    n_calls = calls.shape[1]
    assert replayed.calls[:, :n_calls].tolist() == calls.tolist()
    assert not replayed.calls[:, n_calls:].any()
    answer = decider.answer(table.Z, calls, **said)
    assert replayed.answer.tolist() == answer.tolist()
    checked = replayed.n_checks * decider.check_cost
    spent = add_up(decider, calls, table.costs) + checked
    np.testing.assert_allclose(replayed.spend, spent)
    at = [decider.models_.tolist().index(name) for name in answer]
    np.testing.assert_array_equal(replayed.quality, table.y[np.arange(len(at)), at])


@quick
@given(SEEDS)
def test_one_query_at_a_time_is_decided_as_in_a_batch(fitted, seed):
    table, known = new_queries(fitted, seed, 4)
    decider = fitted.decider
    calls, said = walk_by_hand(decider, table.Z, known)
    for n_calls in range(calls.shape[1] + 1):
        given_ = {name: values[:, :n_calls] for name, values in said.items()}
        some = table.Z, calls[:, :n_calls]
        for ask in (decider.next, decider.answer):
            together = ask(*some, **given_)
            alone = [
                ask(
                    *(part[[row]] for part in some),
                    **{name: values[[row]] for name, values in given_.items()},
                )[0]
                for row in range(len(table.Z))
            ]
            assert together.tolist() == alone


@quick
@given(SEEDS)
def test_the_order_of_the_queries_is_no_matter(fitted, seed):
    table, known = new_queries(fitted, seed)
    turn = np.random.default_rng(seed).permutation(len(table.Z))
    calls, _ = walk_by_hand(fitted.decider, table.Z, known)
    turned, _ = walk_by_hand(
        *(fitted.decider, table.Z[turn]),
        {name: values[turn] for name, values in known.items()},
    )
    assert turned.tolist() == calls[turn].tolist()


@quick
@given(SEEDS)
def test_a_check_that_is_not_known_is_no_news(exact, seed):
    table, _ = new_queries(exact, seed)
    first = exact.decider.next(table.Z)[:, None]
    nothing = np.full(first.shape, np.nan)
    for ask in (exact.decider.next, exact.decider.answer):
        assert ask(table.Z, first, nothing).tolist() == ask(table.Z, first).tolist()


@quick
@given(SEEDS)
def test_an_explanation_is_what_happens(fitted, seed):
    table, known = new_queries(fitted, seed)
    decider = fitted.decider
    calls, said = walk_by_hand(decider, table.Z, known)
    for n_calls in range(calls.shape[1] + 1):
        given_ = {name: values[:, :n_calls] for name, values in said.items()}
        some = table.Z, calls[:, :n_calls]
        told = decider.explain(*some, **given_)
        going_on = decider.next(*some, **given_)
        assert list(told["next"]) == going_on.tolist()
        assert list(told["answer"]) == decider.answer(*some, **given_).tolist()
        worth = np.asarray(told["worth"], dtype=float)
        np.testing.assert_allclose(worth, told["gain"] - told["charge"], atol=1e-12)
        if n_calls:
            goes_on = going_on != None  # noqa: E711
            assert (worth[goes_on] > 0).all()
            assert not (worth[~goes_on] > 1e-6).any()


# Budgets


@quick
@given(SEEDS)
def test_more_budget_is_never_less_expected_quality(fitted, seed):
    path = fitted.decider.path_
    budgets = np.random.default_rng(seed).uniform(path.spend.min(), path.spend.max(), 9)
    expected = []
    for budget in np.sort(budgets):
        decider = with_rule(fitted.decider, budget=float(budget))
        price, escalates = decider.price_, decider.escalates_
        if price == 0 and not escalates:
            # The best single model, or a place before it.
            expected.append(path.quality[-1])
            continue
        # Between two places of the path, at the first of them at least.
        place = np.flatnonzero(path.price[:-1] >= price * (1 - 1e-12))[-1]
        assert path.spend[place] <= budget * (1 + 1e-9)
        expected.append(path.quality[place])
    assert (np.diff(expected) >= 0).all()


@quick
@given(SHARES)
def test_a_target_is_reached_by_the_cheapest_place(fitted, share):
    path = fitted.decider.path_
    low, high = path.quality[0], path.quality.max()
    target = float(low + share * (high - low))
    decider = with_rule(fitted.decider, min_quality=target)
    assert decider.quality_target_ == target
    enough = path.spend[path.quality >= target - 1e-9].min()
    at = np.flatnonzero(path.spend == enough)
    assert decider.price_ >= path.price[at].min()


# Fits


@pytest.mark.parametrize("names", [(), ("checks", "answers")], ids=["exact", "learned"])
def test_permuted_models_are_called_alike(names):
    table = simulate_table(60, 4)
    turn = np.array([2, 0, 3, 1])
    both = np.r_[turn, 4 + turn]
    known = {name: table[name] for name in names}
    moved = {name: values[:, turn] for name, values in known.items()}
    decider = CascadeDecider(min_quality="95%", max_calls=2, random_state=0)
    one, two = decider, clone(decider)
    one.fit(table.Z, table.y, costs=table.costs, **known)
    costs = table.costs[:, turn]
    two.fit(table.Z[:, both], table.y[:, turn], costs=costs, **moved)
    assert one.price_ == two.price_
    first, second = one.predict(table.Z), two.predict(table.Z[:, both])
    assert first.tolist() == turn[second].tolist()
    expected = one.replay(table.Z, table.y, table.costs, **known)
    found = two.replay(table.Z[:, both], table.y[:, turn], costs, **moved)
    name = dict(zip(two.models_, one.models_[turn], strict=True)) | {None: None}
    assert [[name[call] for call in calls] for calls in found.calls] == (
        expected.calls.tolist()
    )
    np.testing.assert_array_equal(found.spend, expected.spend)
    one_curve, two_curve = expected.curve(), found.curve()
    np.testing.assert_array_equal(two_curve.quality, one_curve.quality)
    np.testing.assert_allclose(two_curve.call_share, one_curve.call_share[:, turn])
    assert one.path_.best_single == turn[two.path_.best_single]


def test_permuted_models_keep_their_chances():
    table = simulate_table(60, 3)
    turn = np.array([2, 0, 1])
    chances = np.array([0.95, 0.6, 0.8])
    prices = []
    for order in (np.arange(3), turn):
        decider = CascadeDecider(
            min_quality="95%",
            max_calls=2,
            sensitivity=chances[order],
            specificity=chances[order].tolist(),
            random_state=0,
        )
        both = np.r_[order, 3 + order]
        decider.fit(table.Z[:, both], table.y[:, order], costs=table.costs[:, order])
        prices.append(decider.price_)
        called = decider.models_[np.flatnonzero(order == 0)]
        passed = decider.explain(table.Z[:5, both], [called] * 5, np.ones((5, 1)))
        prices.append(passed["expected_quality"].tolist())
    assert prices[:2] == prices[2:]


def test_the_same_seed_gives_the_same_bytes():
    table = simulate_table(60, 3)
    known = {"checks": table.checks, "answers": table.answers}

    def fitted_bytes(state):
        decider = CascadeDecider(max_calls=2, random_state=state)
        decider.fit(table.Z, table.y, costs=table.costs, **known)
        decider.set_params(random_state=0)
        # The first pickle of an object notes which strings it shares with others.
        return pickle.dumps(pickle.loads(pickle.dumps(decider)))

    one = fitted_bytes(0)
    assert fitted_bytes(0) == one
    assert fitted_bytes(np.random.RandomState(0)) == one
    assert fitted_bytes(1) != one

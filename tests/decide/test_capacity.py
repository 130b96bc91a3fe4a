"""A batch in which each model takes only so many calls."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import Ridge

import skroute
from skroute import BudgetDecider, InfeasibleBudgetError, PointwiseRouter
from skroute._decide.capacity import count_possible, solve_capacities
from skroute.datasets import make_routing

DATA = make_routing(300, n_models=3, random_state=0)
ROUTER = PointwiseRouter(Ridge(), random_state=0)
Z = ROUTER.fit_transform(DATA.data[:200], DATA.quality[:200], costs=DATA.costs[:200])
X = DATA.data[200:]
LIVE = ROUTER.transform(X)
QUALITY, COST = np.hsplit(LIVE, 2)
MODELS = ROUTER.models_
ROWS = np.arange(len(X))
FULL = [30, 50, 40]


def index(names: np.ndarray) -> np.ndarray:
    return np.array([MODELS.tolist().index(name) for name in names])


def count(names: np.ndarray) -> np.ndarray:
    return np.bincount(index(names), minlength=3)


def test_it_is_the_best_assignment() -> None:
    names = ROUTER.route(X, scope="batch", capacity=FULL)
    assert (count(names) <= FULL).all()
    seats = np.repeat(QUALITY, FULL, axis=1)
    best = seats[linear_sum_assignment(-seats)].sum()
    found = QUALITY[ROWS, index(names)].sum()
    assert found == pytest.approx(best, abs=1e-6 * len(X) * np.ptp(QUALITY))
    # A price is counted before.
    priced = ROUTER.route(X, scope="batch", capacity=FULL, price=0.05)
    seats = np.repeat(QUALITY - 0.05 * COST, FULL, axis=1)
    worth = (QUALITY - 0.05 * COST)[ROWS, index(priced)].sum()
    assert worth == pytest.approx(seats[linear_sum_assignment(-seats)].sum(), abs=1e-4)


def test_a_total_and_a_target_are_kept_beside_it() -> None:
    seats = np.repeat(COST, FULL, axis=1)
    least = seats[linear_sum_assignment(seats)].sum()
    gained = []
    for total in (1.1 * least, 1.5 * least):
        asked = {"scope": "batch", "capacity": FULL, "budget": total}
        chosen = index(ROUTER.route(X, **asked))
        assert (np.bincount(chosen, minlength=3) <= FULL).all()
        assert COST[ROWS, chosen].sum() <= total * (1 + 1e-6)
        gained.append(QUALITY[ROWS, chosen].mean())
    assert gained[0] < gained[1]
    with pytest.raises(InfeasibleBudgetError, match="smallest feasible") as found:
        ROUTER.route(X, scope="batch", capacity=FULL, budget=0.9 * least)
    assert found.value.smallest_budget == pytest.approx(least)
    cheapest = ROUTER.route(
        X,
        scope="batch",
        capacity=FULL,
        budget=0.9 * least,
        on_infeasible="cheapest",
    )
    assert COST[ROWS, index(cheapest)].sum() == pytest.approx(least)
    target = gained[1]
    chosen = index(ROUTER.route(X, scope="batch", capacity=FULL, min_quality=target))
    assert QUALITY[ROWS, chosen].mean() >= target - 1e-9
    assert COST[ROWS, chosen].sum() <= 1.5 * least * 1.01
    with pytest.raises(InfeasibleBudgetError, match="within capacity"):
        ROUTER.route(X, scope="batch", capacity=FULL, min_quality=2.0)


def test_too_few_calls_say_how_many_there_are() -> None:
    with pytest.raises(InfeasibleBudgetError, match="90 calls, and there are 100") as e:
        ROUTER.route(X, scope="batch", capacity=[30, 20, 40])
    assert e.value.possible_calls == 90
    # Those that a mask leaves count.
    mask = np.ones((len(X), 3), dtype=bool)
    mask[:60] = [True, False, False]
    with pytest.raises(InfeasibleBudgetError, match="70 calls") as e:
        ROUTER.route(
            X, scope="batch", capacity={MODELS[0]: 30}, available=mask, top_k=2
        )
    assert e.value.possible_calls == 70


def test_names_numbers_and_deciders_are_alike(tmp_path: Any) -> None:
    names = ROUTER.route(X, scope="batch", capacity={MODELS[2]: 10})
    assert count(names)[2] <= 10
    for capacity in ([np.inf, np.inf, 10], np.array([100.0, 1e9, 10.0])):
        other = ROUTER.route(X, scope="batch", capacity=capacity)
        np.testing.assert_array_equal(names, other)
    decider = BudgetDecider(scope="batch", capacity={MODELS[2]: 10})
    decider.fit(Z, DATA.quality[:200], costs=DATA.costs[:200])
    np.testing.assert_array_equal(decider.route(LIVE), names)
    skroute.save(decider, tmp_path / "d")
    np.testing.assert_array_equal(skroute.load(tmp_path / "d").route(LIVE), names)
    decider.set_params(capacity=None)
    free = ROUTER.route(X, scope="batch")
    assert count(decider.route(LIVE))[2] >= count(names)[2]
    told = ROUTER.explain(X, scope="batch", capacity={MODELS[2]: 10})
    np.testing.assert_array_equal(told["chosen"], names)
    assert len(free) == len(names)
    assert ROUTER.route(X[:0], scope="batch", capacity=FULL).shape == (0,)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"capacity": FULL}, "needs scope='batch'"),
        ({"capacity": FULL, "budget": 1.0}, "needs scope='batch'"),
        ({"capacity": [1, 2], "scope": "batch"}, "of shape"),
        ({"capacity": 5, "scope": "batch"}, "of shape"),
        ({"capacity": {"tiny": 5}, "scope": "batch"}, "are no models"),
        ({"capacity": [1, 2, -1], "scope": "batch"}, "at least 0"),
        ({"capacity": [1, 2, 1.5], "scope": "batch"}, "an integer"),
        ({"capacity": [1, 2, np.nan], "scope": "batch"}, "an integer"),
        (
            {
                "capacity": FULL,
                "scope": "batch",
                "extra_costs": {"s": ([1, 2, 3], {"query": 3})},
            },
            "capacity cannot be given together",
        ),
    ],
    ids=str,
)
def test_what_is_no_capacity_is_refused(asked: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ROUTER.route(X, **asked)


tables = st.tuples(
    st.integers(1, 6), st.integers(2, 3), st.integers(0, 2**20), st.booleans()
)


@settings(deadline=None, max_examples=60)
@given(tables, st.data())
def test_nothing_is_better_than_what_is_found(table: Any, data: Any) -> None:
    n_queries, n_models, seed, has_ties = table
    rng = np.random.default_rng(seed)
    quality, cost = rng.random((2, n_queries, n_models)).round(1 if has_ties else 9)
    allowed = rng.random(quality.shape) < 0.8
    allowed[np.arange(n_queries), rng.integers(n_models, size=n_queries)] = True
    capacity = tuple(
        float(data.draw(st.integers(0, n_queries + 1))) for _ in range(n_models)
    )
    rows = np.arange(n_queries)
    every = [
        np.array(choice)
        for choice in product(range(n_models), repeat=n_queries)
        if allowed[rows, list(choice)].all()
        and (np.bincount(choice, minlength=n_models) <= capacity).all()
    ]
    possible = count_possible(allowed, np.array(capacity))
    assert (possible == n_queries) == bool(every)
    if not every:
        with pytest.raises(InfeasibleBudgetError, match="capacity allows") as found:
            solve_capacities(quality, cost, allowed, capacity)
        assert found.value.possible_calls == possible
        return
    spends = [cost[rows, choice].sum() for choice in every]
    budget = data.draw(st.sampled_from([None, min(spends), float(np.median(spends))]))
    choice, _ = solve_capacities(quality, cost, allowed, capacity, budget=budget)
    assert (np.bincount(choice, minlength=n_models) <= capacity).all()
    assert allowed[rows, choice].all()
    most = np.inf if budget is None else budget
    assert cost[rows, choice].sum() <= most * (1 + 1e-6)
    best = (
        max(
            quality[rows, other].sum()
            for other, spend in zip(every, spends, strict=True)
            if spend <= most * (1 - 1e-6)
        )
        if most > min(spends)
        else 0.0
    )
    assert quality[rows, choice].sum() >= best - 2e-4 * n_queries


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([{}, {"budget": 700.0}, {"min_quality": 0.55}, {"price": 0.1}]),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_enough_capacity_is_none(asked: Any, one: int, other: int) -> None:
    asked = {**asked, "scope": "batch", "on_infeasible": "cheapest"}
    plenty = [len(X) + one, len(X) + other, np.inf]
    names = ROUTER.route(X, **asked, capacity=plenty)
    np.testing.assert_array_equal(names, ROUTER.route(X, **asked))

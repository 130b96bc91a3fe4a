"""Requests on real tables: caps per row, fallbacks, reasons, budgets under drift."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split

from skroute import BudgetDecider, PointwiseRouter
from skroute.datasets import load_digits_pool, read_routerbench


class Served(NamedTuple):
    """A fitted router, its cross-fitted estimates, and queries it has not seen."""

    router: Any
    estimates: np.ndarray
    X: np.ndarray
    quality: np.ndarray
    costs: np.ndarray
    task: np.ndarray


@pytest.fixture(scope="module", params=["digits", "routerbench3"])
def served(request: pytest.FixtureRequest) -> Served:
    if request.param == "digits":
        table = load_digits_pool()
    else:
        folder = request.getfixturevalue("shared_data")
        table = read_routerbench(
            folder / "routerbench3.csv.gz",
            embeddings=folder / "routerbench3_minilm.npy",
        )
    complete = np.isfinite(table.quality).all(axis=1)
    train, test = train_test_split(
        np.flatnonzero(complete), test_size=0.4, random_state=0
    )
    router = PointwiseRouter(RidgeCV(np.logspace(-2, 2, 5)), random_state=0)
    estimates = router.fit_transform(
        table.data[train], table.quality[train], costs=table.costs[train]
    )
    held_out = (table.data, table.quality, table.costs, np.asarray(table.task))
    return Served(router, estimates, *(part[test] for part in held_out))


@pytest.mark.slow
def test_a_failed_call_falls_back_to_what_masking_it_gives(served: Served) -> None:
    price = 0.2 / np.median(served.costs.max(axis=1))
    names = served.router.route(served.X, price=price, top_k=3)
    np.testing.assert_array_equal(
        names[:, 0], served.router.route(served.X, price=price)
    )
    up = names[:, :1] != served.router.models_
    np.testing.assert_array_equal(
        names[:, 1], served.router.route(served.X, price=price, available=up)
    )


@pytest.mark.slow
def test_caps_of_requests_are_kept(served: Served) -> None:
    _, cost = np.hsplit(served.router.transform(served.X), 2)
    rng = np.random.default_rng(0)
    caps = cost.min(axis=1) + rng.random(len(cost)) * np.ptp(cost, axis=1)
    names = served.router.route(served.X, budget=caps, scope="query", top_k=2)
    for column in names.T:
        called = column[:, None] == served.router.models_
        assert (cost.max(axis=1, where=called, initial=0.0) <= caps).all()


@pytest.mark.slow
def test_reasons_add_up(served: Served) -> None:
    # Between the poles, where no single model is the decision for all queries.
    low, high = (served.costs.mean(axis=0).min(), served.costs.mean(axis=0).max())
    budget = 0.7 * low + 0.3 * high
    why = served.router.explain(served.X, budget=budget)
    np.testing.assert_array_equal(
        why.chosen, served.router.route(served.X, budget=budget)
    )
    worth = why.expected_quality - why.price * why.expected_cost
    rival = why.runner_up_quality - why.price * why.runner_up_cost
    np.testing.assert_allclose(worth - rival, why.margin, atol=1e-9)
    assert (why.margin >= -1e-9).all()
    best = served.router.transform(served.X)[:, : len(served.router.models_)].max(
        axis=1
    )
    assert (why.expected_quality <= best + 1e-12).all()


@pytest.mark.slow
def test_a_budget_holds_while_tasks_and_prices_shift(served: Served) -> None:
    rng = np.random.default_rng(0)
    tasks = np.unique(served.task)
    first = np.isin(served.task, tasks[: len(tasks) // 2])
    weight = [np.where(first, 4.0, 1.0), np.where(first, 1.0, 4.0)]
    drawn = np.concatenate(
        [rng.choice(len(first), 8000, p=w / w.sum()) for w in weight]
    )
    Z, bills = served.router.transform(served.X)[drawn], served.costs[drawn].copy()
    bills[12_000:] *= 1.3
    low, high = bills.min(axis=1).mean(), bills.max(axis=1).mean()
    # Between the poles, where a wrong price shows.
    decider = BudgetDecider(0.7 * low + 0.3 * high).fit(served.estimates)
    spent = np.empty(len(Z))
    for start in range(0, len(Z), 100):
        rows = slice(start, start + 100)
        choice = decider.predict(Z[rows])
        spent[rows] = bills[rows][np.arange(len(choice)), choice]
        decider.partial_fit(Z[rows], costs=spent[rows])
    total = np.r_[0.0, np.cumsum(spent)][5000:]
    windows = (total[5000:] - total[:-5000]) / 5000
    assert np.abs(windows / decider.budget - 1).max() < 0.05

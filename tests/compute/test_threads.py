"""Fits, updates and answers side by side: nothing is lost, and nothing is mixed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from third_party import MeanRouter

from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute.datasets import make_routing

DATA = make_routing(120, n_features=4, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
# What is fitted in turns: other models, other orders of them, with names and without.
NAMED = pd.DataFrame(Y, columns=["small", "medium", "large"])
TABLES = [(X, NAMED, C), (X[::-1], NAMED.iloc[:, :2], C[::-1, :2])]
Z = np.hstack([Y, C])
# Estimates with names of columns, and fewer models without.
ESTIMATES = [Z, np.hstack([Y[:, :2], C[:, :2]])]


@pytest.fixture(autouse=True)
def often_switched() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def side_by_side(*calls: Callable[[], Any]) -> list[Any]:
    """Call all at once; what they return, or the first error."""
    ready = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        ready.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.result() for done in [pool.submit(run, c) for c in calls]]


def read_while(work: Callable[[], Any], *reads: Callable[[], Any]) -> list[list[Any]]:
    """Read again and again until the work is done; the answers of every reader."""
    done = threading.Event()

    def finally_done() -> None:
        try:
            work()
        finally:
            done.set()

    def reading(read: Callable[[], Any]) -> list[Any]:
        answers = [read()]
        while not done.is_set():
            answers.append(read())
        return answers

    readers = [lambda read=read: reading(read) for read in reads]
    return side_by_side(finally_done, *readers)[1:]


ROUTERS = [
    RankingRouter(n_estimators=2, n_landmarks=8, min_child_samples=9, random_state=0),
    PointwiseRouter(Ridge(), cv=2, random_state=0),
    DummyRouter(),
    MeanRouter(),
]


@pytest.mark.slow
@pytest.mark.parametrize("router", ROUTERS, ids=lambda r: type(r).__name__)
def test_a_router_that_is_fitted_again_answers_as_before_or_after(router):
    questions = [
        lambda r: r.route(X[:3], price=2.0).tolist(),
        lambda r: r.transform(X[:3]).tolist(),
        lambda r: r.explain(X[:3], price=2.0).fillna(-1.0).to_dict(),
        lambda r: r.get_feature_names_out().tolist(),
        lambda r: r.predict_quality(X[:1]).tolist(),
    ]
    valid: list[list[Any]] = [[] for _ in questions]
    for queries, y, costs in TABLES[::-1]:
        router.fit(queries, y, costs=costs)
        for answers, ask in zip(valid, questions, strict=True):
            answers.append(ask(router))

    def fit_in_turns() -> None:
        for (queries, y, costs), _ in zip(cycle(TABLES), range(12)):
            router.fit(queries, y, costs=costs)

    read = read_while(fit_in_turns, *[lambda a=a: a(router) for a in questions])
    for answers, known in zip(read, valid, strict=True):
        assert all(answer in known for answer in answers)


@pytest.mark.slow
def test_a_decider_that_is_fitted_again_answers_as_before_or_after():
    budget = float(C.mean())
    decider, valid = BudgetDecider(budget), []
    for estimates in ESTIMATES:
        decider.fit(estimates)
        valid.append((len(decider.models_), decider.price_))

    def fit_in_turns() -> None:
        for estimates, _ in zip(cycle(ESTIMATES), range(200)):
            decider.fit(estimates)

    def route() -> Any:
        try:
            return decider.route(Z[:5]).tolist()
        except ValueError as error:
            return str(error)

    decided = [BudgetDecider(budget).fit(Z).route(Z[:5]).tolist()]
    (answers,) = read_while(fit_in_turns, route)
    refused = [answer for answer in answers if answer not in decided]
    assert all("expecting 4 features" in answer for answer in refused)


@pytest.mark.slow
def test_names_that_are_gone_are_never_seen_beside_new_numbers():
    named = pd.DataFrame(X, columns=list("abcd"))
    router = DummyRouter(costs=[1.0, 2.0, 3.0]).fit(named, Y)

    def fit_in_turns() -> None:
        for i in range(200):
            router.fit(X[:, :2] if i % 2 else named, Y)

    def seen() -> tuple[int, bool]:
        state = vars(router).copy()
        return state["n_features_in_"], "feature_names_in_" in state

    (answers,) = read_while(fit_in_turns, seen)
    assert set(answers) <= {(4, True), (2, False)}


# Updates


def updates(decider: BudgetDecider, n_updates: int) -> None:
    for i in range(n_updates):
        decider.partial_fit(Z[i : i + 1], costs=[1.0])


def test_no_update_of_a_stream_is_lost():
    decider = BudgetDecider(2.0).fit(Z)
    side_by_side(*[lambda: updates(decider, 50)] * 4)
    assert len(decider._pace.quality) == 200


def test_a_refused_update_undoes_nobody_elses():
    decider = BudgetDecider(2.0).fit(Z)

    def refused() -> None:
        for _ in range(50):
            with pytest.raises(ValueError, match="costs"):
                decider.partial_fit(Z[:1], costs=[-1.0])

    side_by_side(*[lambda: updates(decider, 50)] * 3, refused)
    assert len(decider._pace.quality) == 150


def test_an_update_of_the_old_stream_does_not_undo_a_new_fit():
    decider = BudgetDecider(2.0).fit(Z)
    cheap = Z * np.repeat([1.0, 0.01], 3)
    free = BudgetDecider(2.0).fit(cheap).price_

    def fit() -> None:
        for _ in range(40):
            # An update that began before must not bring its stream back.
            assert decider.fit(cheap) is decider
            assert decider._pace is None or len(decider._pace.quality) <= 20

    side_by_side(fit, lambda: updates(decider, 20))
    assert decider.fit(cheap).price_ == free


def test_a_parameter_that_is_set_beside_updates_stays_set():
    decider = BudgetDecider(2.0).fit(Z)

    def change() -> None:
        for i in range(300):
            decider.set_params(budget=2.0 + i)
            assert decider.budget == 2.0 + i

    side_by_side(change, lambda: updates(decider, 100))


# Forks

FORKED = """
import os, sys, threading, warnings
import numpy as np
from skroute import BudgetDecider, DummyRouter
from skroute._rank.lambdarank import LambdaRankTrainer
from skroute._compute.locks import get_lock
from skroute.metrics import CollapseMonitor
from skroute._compute.threads import single_threaded

warnings.simplefilter("ignore", DeprecationWarning)
Z = np.array([[0.0, 1.0, 1.0, 3.0]] * 20)
decider = BudgetDecider(2.0).fit(Z)
monitor = CollapseMonitor(["a", "b"], [1.0, 2.0])
held, go = threading.Event(), threading.Event()

def hold():
    with single_threaded(), get_lock(single_threaded), get_lock(LambdaRankTrainer):
        with get_lock(decider), get_lock(monitor):
            held.set()
            go.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    decider.partial_fit(Z).predict(Z)
    monitor.update([0, 1])
    with single_threaded(), get_lock(LambdaRankTrainer):
        os._exit(7)
go.set()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked")
def test_a_child_forked_beside_fits_waits_for_no_thread_of_its_parent():
    done = subprocess.run([sys.executable, "-c", FORKED], timeout=120, check=False)
    assert done.returncode == 7

"""Measure routing under load: many threads and processes on one fitted router.

Sixteen threads of one process share a router, and four more processes load it from one
file; all make calls of many kinds for a minute, and compare every answer with the one
that the router gave alone. Memory is read off the operating system once a second::

    OMP_NUM_THREADS=1 python benchmarks/load.py --seconds 60

It fails if an answer is wrong, or if the memory of a process grows by more than 2% from
the first third of the run to the last.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from outputs import RESULTS, save

import skroute
from skroute import RankingRouter
from skroute.datasets import make_routing

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
GROWTH = 0.02
Call = tuple[slice, dict[str, Any]]


def calls(C: np.ndarray, n_queries: int) -> list[Call]:
    """Calls of every kind, on batches from one query to a few hundred."""
    draw = np.random.RandomState(0)
    mean, models = float(C.mean()), C.shape[1]
    made = []
    for i in range(240):
        size = int(draw.choice([1, 1, 1, 2, 8, 64, 300]))
        start = int(draw.randint(n_queries - size))
        kinds: list[dict[str, Any]] = [
            {},
            {"budget": mean},
            {"min_quality": "95%"},
            {"price": 1.0 / mean},
            {"budget": mean, "scope": "query", "on_infeasible": "cheapest"},
            {"budget": size * mean, "scope": "batch", "on_infeasible": "cheapest"},
            {"tolerance": 0.05, "available": draw.permutation(models) < models - 1},
            {"top_k": 3},
        ]
        made.append((slice(start, start + size), kinds[i % len(kinds)]))
    return made


class Load:
    """Threads that call a router and check what it answers."""

    def __init__(self, router: Any, X: np.ndarray, work: list[Call]) -> None:
        self.router, self.X, self.work = router, X, work
        self.answers = [self.answer(call) for call in work]
        self.n_calls = self.n_queries = self.n_wrong = 0
        self.errors: list[str] = []
        self._lock = threading.Lock()

    def answer(self, call: Call) -> np.ndarray:
        """Route one batch."""
        rows, options = call
        return self.router.route(self.X[rows], **options)

    def run(self, until: float, seed: int) -> None:
        """Call in a random order until it is time."""
        draw = np.random.RandomState(seed)
        n_calls = n_queries = n_wrong = 0
        while time.monotonic() < until:
            i = draw.randint(len(self.work))
            try:
                answer = self.answer(self.work[i])
            except Exception as error:
                with self._lock:
                    self.errors.append(repr(error))
                break
            n_wrong += not np.array_equal(answer, self.answers[i])
            n_calls, n_queries = n_calls + 1, n_queries + len(answer)
        with self._lock:
            self.n_calls += n_calls
            self.n_queries += n_queries
            self.n_wrong += n_wrong

    def measure(self, threads: int, seconds: float, seed: int) -> dict[str, Any]:
        """Run threads for a while, and watch the memory."""
        until = time.monotonic() + seconds
        workers = [
            threading.Thread(target=self.run, args=(until, seed + k))
            for k in range(threads)
        ]
        memory = []
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            time.sleep(min(1.0, seconds / 20))
            memory.append(resident())
        for worker in workers:
            worker.join()
        third = max(len(memory) // 3, 1)
        first, last = np.median(memory[:third]), np.median(memory[-third:])
        return {
            "threads": threads,
            "calls": self.n_calls,
            "queries": self.n_queries,
            "wrong": self.n_wrong,
            "errors": self.errors[:5],
            "megabytes": [round(first / 1e6, 1), round(last / 1e6, 1)],
            "growth": round(float(last / first - 1), 4),
        }


def resident() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def process(file: str, X: np.ndarray, seconds: float, seed: int, tell: Any) -> None:
    """Route in a process of its own, on the router from the file."""
    C = skroute.load(file).predict_cost(X)
    load = Load(skroute.load(file), X, calls(C, len(X)))
    tell.put([load.measure(1, seconds, seed), digest(load.answers)])


def digest(answers: list[np.ndarray]) -> list[list[Any]]:
    """Answers as plain lists, to be compared between processes."""
    return [answer.tolist() for answer in answers]


def report(results: list[dict[str, Any]], agree: bool, seconds: float) -> Iterator[str]:
    """Lines of the report."""
    yield "# Under load"
    yield ""
    yield (
        f"One fitted router for {seconds:g} seconds: threads of one process share it, "
        "other processes load it from a file. Every answer is compared with the one "
        "that the router gave alone."
    )
    yield ""
    yield "| process | threads | calls | queries | wrong | MB at first, at last |"
    yield "|---|---|---|---|---|---|"
    for number, row in enumerate(results):
        first, last = row["megabytes"]
        yield (
            f"| {number} | {row['threads']} | {row['calls']:,} | {row['queries']:,} | "
            f"{row['wrong']} | {first}, {last} |"
        )
    yield ""
    yield f"All processes give the same answers: {'yes' if agree else 'no'}."


def well(row: dict[str, Any]) -> bool:
    """Whether a process answered rightly, and did not grow."""
    return not (row["wrong"] or row["errors"]) and row["growth"] <= GROWTH


def main() -> None:
    """Fit, load, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS / "load")
    options = parser.parse_args()
    data = make_routing(4000, n_features=64, n_models=8, random_state=0)
    X, test = data.data[:3000], data.data[3000:]
    router = RankingRouter(random_state=0)
    router.fit(X, data.quality[:3000], costs=data.costs[:3000])
    load = Load(router, test, calls(router.predict_cost(test), len(test)))
    context = multiprocessing.get_context("spawn")
    tell = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "router.skroute"))
        skroute.save(router, file)
        others = [
            context.Process(
                target=process, args=(file, test, options.seconds, 100 + k, tell)
            )
            for k in range(options.processes)
        ]
        for other in others:
            other.start()
        results = [load.measure(options.threads, options.seconds, 0)]
        told = [tell.get() for _ in others]
        for other in others:
            other.join()
    alone = digest(load.answers)
    agree = all(answers == alone for _, answers in told)
    results += [result for result, _ in told]
    lines = list(report(results, agree, options.seconds))
    print(*lines, sep="\n")
    save(options.out, {"agree": agree, "processes": results}, lines)
    sys.exit(not (agree and all(well(row) for row in results)))


if __name__ == "__main__":
    main()

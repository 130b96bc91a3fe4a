"""Measure how fast the router answers and learns, and what memory and disk it takes.

A made table of 36,000 queries and 11 models, the router beside nearest neighbours,
ridge, an MLP and EquiRouter, each in a process of its own; then the router alone on
wider embeddings, more models, and prompts. Writes a report in Markdown and the numbers
as JSON::

    python benchmarks/speed.py
    python benchmarks/speed.py --shapes
    python benchmarks/speed.py --million

The second measures the widths and pools alone. The third fits a million queries, which
takes long. Both keep the other numbers, and the first keeps that of the million.
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor
from machine import described, fresh, one_core, peak_memory
from numpy.lib.format import open_memmap
from outputs import RESULTS, save
from peers import PEERS, why_not
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from speed_report import report

from skroute import RankingRouter
from skroute import load as load_router
from skroute import save as save_router
from skroute._decide.trade_off import TrainingTradeOff
from skroute._table.tables import check_queries, check_routing_table
from skroute.base import BaseRouter
from skroute.text import TextRouter

OURS = "RankingRouter"
BESIDE = ("kNN", "ridge", "MLP", "EquiRouter")
# Parts of the table on which a peer is fitted; its time to fit is multiplied. How long
# it takes to answer does not depend on it.
PARTS = {"EquiRouter": 8}
WHOLE = {"n_queries": 36_000, "n_models": 11, "n_features": 384}
QUICK = {"n_queries": 4_000, "n_models": 5, "n_features": 64}
MILLION = {"n_queries": 1_000_000, "n_models": 20, "n_features": 256}
# Widths of embeddings, and numbers of models: of small, middling and large encoders of
# today, and of the largest pools.
SHAPES = ((384, 11), (1536, 11), (3072, 11), (384, 70))
QUICK_SHAPES = ((64, 5), (1536, 5), (64, 30))
# Different words in made prompts.
_N_WORDS = 50_000
_CHUNK = 8192


def make(folder: Path, n_queries: int, n_models: int, n_features: int) -> Path:
    """Write a table: unit embeddings, right or wrong answers, costs per query."""
    rng = np.random.default_rng(0)
    shape = {"X": n_features, "y": n_models, "costs": n_models}
    files = {
        name: open_memmap(
            folder / f"{name}.npy",
            mode="w+",
            dtype=np.float32 if name == "X" else np.float64,
            shape=(n_queries, width),
        )
        for name, width in shape.items()
    }
    spread = np.linspace(2.0, 0.2, n_features)
    slopes, level = 3.0 * rng.normal(size=(n_features, n_models)), rng.normal(size=11)
    level = np.resize(level, n_models)
    prices = np.geomspace(1.0, 30.0, n_models)
    for start in range(0, n_queries, _CHUNK):
        rows = slice(start, min(start + _CHUNK, n_queries))
        X = rng.normal(size=(rows.stop - start, n_features)) * spread
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        chance = 1.0 / (1.0 + np.exp(-(X @ slopes + level)))
        files["X"][rows] = X
        files["y"][rows] = rng.random(chance.shape) < chance
        files["costs"][rows] = prices * rng.lognormal(0.0, 0.5, size=chance.shape)
    for file in files.values():
        file.flush()
    return folder


def load(folder: Path, rows: int, models: int, mapped: bool = False) -> list[Any]:
    """Read embeddings, qualities and costs of the first queries and models."""
    mode = "r" if mapped else None
    X, y, costs = (
        np.load(folder / f"{name}.npy", mmap_mode=mode) for name in ("X", "y", "costs")
    )
    return [X[:rows], y[:rows, :models], costs[:rows, :models]]


class Untuned(BaseRouter):
    """A peer's table models as they are: neither tuned nor cross-fitted.

    What is timed is the model, and the decision that all routers share.
    """

    def __init__(self, model: Any, cost_model: Any) -> None:
        self.model = model
        self.cost_model = cost_model

    def fit(self, X: Any, y: Any, *, costs: Any = None) -> Untuned:
        """Fit both models, and settle budgets on a few training queries."""
        table = check_routing_table(self, X, y, costs)
        X = table.X.astype(np.float64)
        self.model_ = clone(self.model).fit(X, table.quality)
        self.cost_model_ = clone(self.cost_model).fit(X, table.costs)
        self._training = TrainingTradeOff.from_estimates(*self._estimate(table.X[:500]))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Rank by expected quality."""
        return self.predict_quality(X)

    def predict_quality(self, X: Any) -> np.ndarray:
        """Expected quality."""
        return self.model_.predict(check_queries(self, X).astype(np.float64))

    def predict_cost(self, X: Any) -> np.ndarray:
        """Expected cost."""
        X = check_queries(self, X).astype(np.float64)
        return np.maximum(self.cost_model_.predict(X), 0.0)

    def _estimate(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        return self.predict_quality(X), self.predict_cost(X)


def served(folder: Path, who: str, size: dict[str, int], calls: int) -> dict[str, Any]:
    """Fit one router on one core, and time single queries and batches."""
    one_core()
    part = PARTS.get(who, 1)
    X, y, costs = load(folder, size["n_queries"] // part, size["n_models"])
    router: Any = RankingRouter(random_state=0)
    if who != OURS:
        candidates, cost_candidates, _ = PEERS[who]
        models = candidates()
        router = Untuned(models[len(models) // 2], cost_candidates()[0])
    before, started = peak_memory(), perf_counter()
    router.fit(X, y, costs=costs)
    record = {
        "fit_seconds": part * (perf_counter() - started),
        "fit_mib": peak_memory() - before,
    }
    if who == OURS:
        (folder / f"{who}.pickle").write_bytes(pickle.dumps(router))
    budget = float(np.median(router._training.path.cost))
    X = np.random.default_rng(1).permutation(X)
    single = np.array(_latencies(router, X, budget, calls))
    record |= {
        "median_us": float(np.median(single) * 1e6),
        "p99_us": float(np.quantile(single, 0.99) * 1e6),
        "per_second": _throughput(router, X, budget),
    }
    if who == OURS:
        double = np.array(_latencies(router, X.astype(np.float64), budget, calls))
        record["median_us_float64"] = float(np.median(double) * 1e6)
    return record


def _latencies(router: Any, X: np.ndarray, budget: float, calls: int) -> list[float]:
    """Seconds of single queries, after some to warm up; at most 20 seconds in all."""
    seconds: list[float] = []
    begun = perf_counter()
    for call in range(calls + 50):
        row = call % len(X)
        started = perf_counter()
        router.route(X[row : row + 1], budget=budget)
        seconds.append(perf_counter() - started)
        if perf_counter() - begun > 20 and call > 100:
            break
    return seconds[50:]


def _throughput(router: Any, X: np.ndarray, budget: float) -> float:
    """Queries per second in a batch: the best of three, of what takes a while."""

    def call() -> Any:
        return router.route(many, budget=budget)

    many = X[:500]
    while (seconds := min(_timed(call) for _ in range(3))) < 0.3 and len(many) < 36_000:
        many = np.concatenate([many] * 3)
    return len(many) / seconds


def _timed(call: Callable[[], Any]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


def batches(folder: Path, n_queries: int, n_jobs: int) -> dict[str, Any]:
    """Throughput on all cores, by precision, and memory beyond queries and answers."""
    router = pickle.loads((folder / f"{OURS}.pickle").read_bytes())
    router.set_params(n_jobs=n_jobs)
    X = np.load(folder / "X.npy")[:n_queries]
    budget = float(np.median(router.price_path_.cost))
    record: dict[str, Any] = {"n_jobs": n_jobs}
    for dtype in ("float32", "float64"):
        many = X.astype(dtype)
        seconds = [_timed(lambda: router.route(many, budget=budget)) for _ in range(5)]  # noqa: B023
        record[f"per_second_{dtype}"] = n_queries / float(np.median(seconds))
    record["memory_mib"] = {}
    for times in (1, 2, 4):
        many = np.tile(X, (times, 1))
        tracemalloc.start()
        names = router.route(many, budget=budget)
        peak = tracemalloc.get_traced_memory()[1] - names.nbytes
        tracemalloc.stop()
        record["memory_mib"][str(len(many))] = peak / 2**20
    return record


def fit(
    folder: Path, rows: int, models: int, n_jobs: int, mapped: bool = False
) -> dict[str, Any]:
    """Time and memory of a fit, above the data."""
    table = load(folder, rows, models, mapped)
    router = RankingRouter(n_jobs=n_jobs, random_state=0)
    before, cpu, started = peak_memory(), process_time(), perf_counter()
    router.fit(table[0], table[1], costs=table[2])
    return {
        "n_queries": rows,
        "n_models": models,
        "n_jobs": n_jobs,
        "seconds": perf_counter() - started,
        "cpu_seconds": process_time() - cpu,
        "mib": peak_memory() - before,
        "pickle_mib": len(pickle.dumps(router)) / 2**20,
    }


def shapes(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Measure the router on each width of embeddings and number of models."""
    records = []
    n_queries = (QUICK if quick else WHOLE)["n_queries"]
    for n_features, n_models in QUICK_SHAPES if quick else SHAPES:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            part = make(Path(name), n_queries, n_models, n_features)
            record = fresh(shape, part, 500 if quick else 5000, threads=1)
            rate = fresh(batch_rate, part, 2, threads=2)
            size = {"n_queries": n_queries, "n_features": n_features}
            records.append(size | {"n_models": n_models} | record | rate)
        print(records[-1], flush=True)
    return records


def shape(folder: Path, calls: int) -> dict[str, Any]:
    """Fit and save the router on one core; time single queries of the file's router."""
    one_core()
    X, y, costs = (np.load(folder / f"{name}.npy") for name in ("X", "y", "costs"))
    started = perf_counter()
    router = RankingRouter(random_state=0).fit(X, y, costs=costs)
    seconds = perf_counter() - started
    file = folder / "shape.skroute"
    save_router(router, file)
    router = load_router(file)
    budget = float(np.median(router.price_path_.cost))
    single = np.array(
        _latencies(router, np.random.default_rng(1).permutation(X), budget, calls)
    )
    return {
        "fit_seconds": seconds,
        "file_mib": file.stat().st_size / 2**20,
        "median_us": float(np.median(single) * 1e6),
        "p99_us": float(np.quantile(single, 0.99) * 1e6),
    }


def batch_rate(folder: Path, n_jobs: int) -> dict[str, float]:
    """Queries per second of the saved router, all queries in one call."""
    router = load_router(folder / "shape.skroute").set_params(n_jobs=n_jobs)
    X = np.load(folder / "X.npy")
    budget = float(np.median(router.price_path_.cost))
    seconds = [_timed(lambda: router.route(X, budget=budget)) for _ in range(5)]
    return {"per_second": len(X) / float(np.median(seconds))}


def prompts(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Measure routers that read prompts beside embeddings of each shape.

    Neither their files nor their answers depend on the number of queries, of which
    there are fewer here.
    """
    records = []
    n_queries = (QUICK if quick else WHOLE)["n_queries"] // 4
    for n_features, n_models in QUICK_SHAPES if quick else SHAPES:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            part = make(Path(name), n_queries, n_models, n_features)
            record = fresh(text_router, part, 200 if quick else 2000, threads=1)
            rate = fresh(prompt_rate, part, 2, threads=2)
            size = {"n_queries": n_queries, "n_features": n_features}
            records.append(size | {"n_models": n_models} | record | rate)
        print(records[-1], flush=True)
    return records


def text_router(folder: Path, calls: int) -> dict[str, float]:
    """Fit, save and time a router on one core, with embeddings of an encoder.

    Single queries: already as a vector, as a prompt whose embedding is ready, and as a
    row of a table, for which another router is fitted.
    """
    one_core()
    table, embed = _made_prompts(folder)
    y, costs = (np.load(folder / f"{name}.npy") for name in ("y", "costs"))
    texts = table["prompt"].tolist()
    started = perf_counter()
    router = TextRouter(RankingRouter(random_state=0), encoder=embed)
    router.fit(texts, y, costs=costs)
    seconds = perf_counter() - started
    file = folder / "text.skroute"
    save_router(router, file)
    router = load_router(file).set_params(encoder=embed)
    beside = TextRouter(RankingRouter(random_state=0)).fit(table, y, costs=costs)
    budget = float(np.median(router.price_path_.cost))
    ways: dict[str, tuple[Any, Any]] = {
        "vector": (router.router_, router.embed(texts[:calls])),
        "prompt": (router, texts),
        "row": (beside, table),
    }
    record = {"fit_seconds": seconds, "file_mib": file.stat().st_size / 2**20}
    for name, (routes, X) in ways.items():
        single = np.array(_latencies(routes, X, budget, calls))
        record[f"{name}_us"] = float(np.median(single) * 1e6)
    return record


def prompt_rate(folder: Path, n_jobs: int) -> dict[str, float]:
    """Prompts per second of the saved router, all in one call."""
    table, embed = _made_prompts(folder)
    texts = table["prompt"].tolist()
    router = load_router(folder / "text.skroute").set_params(encoder=embed)
    router.router_.set_params(n_jobs=n_jobs)
    budget = float(np.median(router.price_path_.cost))
    seconds = [_timed(lambda: router.route(texts, budget=budget)) for _ in range(3)]
    return {"per_second": len(texts) / float(np.median(seconds))}


def _made_prompts(folder: Path) -> tuple[pd.DataFrame, Callable[[list[str]], Any]]:
    """Prompts of which some words are rare, before their embeddings; and an encoder."""
    X = np.load(folder / "X.npy")
    ranks = np.random.default_rng(0).zipf(1.3, size=(len(X), 60))
    table = pd.DataFrame(X).rename(columns=str)
    words = np.minimum(ranks, _N_WORDS).tolist()
    texts = [" ".join(f"word{i}" for i in row) for row in words]
    table.insert(0, "prompt", texts)
    ready = dict(zip(texts, X, strict=True))
    return table, lambda some: np.stack([ready[text] for text in some])


def growth(folder: Path, size: dict[str, int]) -> dict[str, Any]:
    """Fits of parts of the table; exponents of their time in queries and in models."""
    n_queries, n_models = size["n_queries"], size["n_models"]
    curves: dict[str, Any] = {
        "queries": [
            fresh(fit, folder, n_queries // part, n_models, 1, threads=1)
            for part in (8, 4, 2, 1)
        ],
        "models": [
            fresh(fit, folder, n_queries // 4, count, 1, threads=1)
            for count in sorted({2, n_models // 4, n_models // 2, n_models} - {0, 1})
        ],
    }
    curves["exponents"] = {
        what: _exponent(curves[what], f"n_{what}") for what in ("queries", "models")
    }
    return curves


def _exponent(curve: list[dict[str, Any]], size: str) -> float:
    """Slope of the logarithm of processor time over that of a size."""
    sizes = np.log([point[size] for point in curve])
    seconds = np.log([point["cpu_seconds"] for point in curve])
    return float(np.polyfit(sizes, seconds, 1)[0])


def imports(runs: int) -> dict[str, float]:
    """Seconds to import scikit-learn, and skroute; the least of runs in turn."""
    code = {
        "scikit-learn": "import sklearn",
        "skroute": "import sklearn, skroute",
    }
    seconds: dict[str, list[float]] = {name: [] for name in code}
    for _ in range(runs):
        for name, statement in code.items():
            command = [sys.executable, "-c", statement]
            seconds[name].append(
                _timed(lambda: subprocess.run(command, check=True))  # noqa: B023
            )
    return {name: min(values) for name, values in seconds.items()}


def threads(folder: Path, n_queries: int) -> dict[str, Any]:
    """Throughput of threads that share one router, and whether they agree."""
    router = pickle.loads((folder / f"{OURS}.pickle").read_bytes())
    X = np.load(folder / "X.npy")[:n_queries]
    budget = float(np.median(router.price_path_.cost))
    parts = [X[start : start + 256] for start in range(0, len(X), 256)]
    expected = np.concatenate([router.route(part, budget=budget) for part in parts])
    record: dict[str, Any] = {"per_second": {}, "agree": True}
    for count in (1, 2, 4, 16):
        with ThreadPoolExecutor(count) as pool:
            started = perf_counter()
            names = list(
                pool.map(lambda part: router.route(part, budget=budget), parts)
            )
            record["per_second"][str(count)] = len(X) / (perf_counter() - started)
        record["agree"] &= bool((np.concatenate(names) == expected).all())
    return record


def searches(folder: Path, n_queries: int) -> list[dict[str, Any]]:
    """Grid searches, one after the other and two at once."""
    X, y, costs = load(folder, n_queries, 4)
    records = []
    for n_jobs, inner in ((1, None), (2, None), (2, -1)):
        # The workers are started, and have imported what they need.
        Parallel(n_jobs=n_jobs)(delayed(clone)(RankingRouter()) for _ in range(8))
        search = GridSearchCV(
            RankingRouter(costs.mean(axis=0), n_jobs=inner, random_state=0),
            {"tie_gain": [0.0, 0.001], "learning_rate": [0.05, 0.1]},
            n_jobs=n_jobs,
            cv=2,
        )
        started = perf_counter()
        search.fit(X, y)
        records.append(
            {
                "n_jobs": n_jobs,
                "router_n_jobs": inner,
                "seconds": perf_counter() - started - search.refit_time_,
                "fit_seconds": float(search.cv_results_["mean_fit_time"].mean()),
            }
        )
    # A process that was spawned waits for the workers, and they for work.
    get_reusable_executor().shutdown()
    return records


def measured(folder: Path, quick: bool) -> dict[str, Any]:
    """Measure everything but the million."""
    size, n_cores = QUICK if quick else WHOLE, cpu_count()
    n_queries, n_models = size["n_queries"], size["n_models"]
    make(folder, **size)
    records: dict[str, Any] = {
        "machine": described(),
        "quick": quick,
        "table": size,
        "serving": {},
    }
    for who in (OURS, *BESIDE):
        reason = why_not(who, n_queries)
        if reason is not None:
            print(f"{who}: left out, {reason}")
            continue
        records["serving"][who] = fresh(
            served, folder, who, size, 500 if quick else 5000, threads=1
        )
        print(who, records["serving"][who], flush=True)
    steps: dict[str, Callable[[], Any]] = {
        "batches": lambda: [
            fresh(batches, folder, n_queries, n_jobs, threads=n_cores)
            for n_jobs in (1, 2)
        ],
        "fits": lambda: [
            fresh(fit, folder, n_queries, n_models, n_jobs, threads=n_jobs)
            for n_jobs in (1, 2)
        ],
        "shapes": lambda: shapes(folder, quick),
        "prompts": lambda: prompts(folder, quick),
        "growth": lambda: growth(folder, size),
        "imports": lambda: imports(3 if quick else 11),
        "threads": lambda: fresh(threads, folder, n_queries, threads=1),
        "searches": lambda: fresh(searches, folder, n_queries // 12),
    }
    for name, step in steps.items():
        records[name] = step()
        print(name, records[name], flush=True)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small table")
    parser.add_argument(
        "--million", action="store_true", help="a million queries alone"
    )
    parser.add_argument(
        "--shapes", action="store_true", help="wide embeddings and large pools alone"
    )
    parser.add_argument(
        "--rows", type=int, help="with --million, so many queries instead"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "speed")
    parser.add_argument("--folder", type=Path, help="for the tables; else a temporary")
    arguments = parser.parse_args()
    file = arguments.out.with_suffix(".json")
    records = json.loads(file.read_text()) if file.exists() else {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.million:
            size = MILLION | ({"n_queries": arguments.rows} if arguments.rows else {})
            make(folder, **size)
            fitted = fresh(
                fit, folder, size["n_queries"], size["n_models"], 2, True, threads=2
            )
            records["million"] = fitted | size | {"machine": described()}
        elif arguments.shapes:
            records["shapes"] = shapes(folder, arguments.quick)
            records["prompts"] = prompts(folder, arguments.quick)
        else:
            kept = {"million": records["million"]} if "million" in records else {}
            records = measured(folder, arguments.quick) | kept
    print(save(arguments.out, records, report(records)))


if __name__ == "__main__":
    main()

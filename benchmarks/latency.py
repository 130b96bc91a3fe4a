"""Measure what a limit on mean latency costs, and how well it is held on test rows.

On llmdrift, where the seconds of each request are real: a router learns them in `fit`,
and limits of the mean lie between the fastest decisions and those without a limit, on
training queries. What the calls of test rows took is compared with the limit, and
quality with the best pair of prices in hindsight, for the same estimates, of which the
true money and seconds of the test rows are within what was asked. Then batches in which
models take only so many calls, against the order of arrival. Writes a table in Markdown
and the numbers as JSON::

    python benchmarks/latency.py --data FOLDER --seeds 10
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from intervals import interval
from outputs import RESULTS, save
from tables import splits, tables, training_part

from skroute import RankingRouter
from skroute._decide.hull import climb_hulls

TABLE = "llmdrift"
#: Where between the fastest decisions and those without a limit it is.
LIMITS = (0.75, 0.5, 0.25)
#: Where between the cheapest and the best decisions the money is; None is no budget.
SPENDS = (None, 0.5)
#: Most calls of the model that is called most, as a share of a batch.
CAPACITIES = (0.5, 0.25, 0.1)
_BATCH = 100
_GRID = 300


def learn(table: Any, seconds: np.ndarray, seed: int) -> tuple[Any, np.ndarray]:
    """Fit a router on a split; returns it, and the test rows."""
    split = next(splits(table, "70/30", seed))
    part = training_part(table, split)
    router = RankingRouter(part.prices, n_estimators=0, random_state=seed)
    known = {"latency_s": seconds[split.train]}
    router.fit(part.X, part.y, costs=part.costs, extra_costs=known)
    return router, split.test


def place(router: Any, names: Any) -> np.ndarray:
    """Columns of models."""
    return pd.Index(router.models_).get_indexer(list(names))


def measure_limits(
    table: Any, seconds: np.ndarray, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield what each limit gives on the test rows, with and without a budget."""
    router, test = learn(table, seconds, seed)
    X, rows = table.data[test], np.arange(len(test))
    truth = table.quality[test], table.costs[test], seconds[test]
    train = np.setdiff1d(np.arange(len(table.data)), test)
    path = router.price_path_
    expected = estimate(router, X)

    def outcome(chosen: np.ndarray) -> dict[str, float]:
        names = "quality", "money", "seconds"
        means = (float(t[rows, chosen].mean()) for t in truth)
        return dict(zip(names, means, strict=True))

    for share in SPENDS:
        budget = None
        if share is not None:
            budget = float(path.cost[0] + share * (path.cost[-1] - path.cost[0]))
        free = place(router, router.route(X, budget=budget))
        # Limits are set by what training queries took.
        called = place(router, router.route(table.data[train], budget=budget))
        most = seconds[train][np.arange(len(train)), called].mean()
        least = find_least(router, X, budget)
        for part in LIMITS:
            limit = float(least + part * (most - least))
            asked = {"latency_s": (None, {"mean": limit})}
            chosen = place(router, router.route(X, budget=budget, extra_costs=asked))
            best = search(expected, truth, budget, limit)
            yield {
                "kind": "limit",
                "spend": share,
                "part": part,
                "limit": limit,
                "budget": budget,
                "free": outcome(free),
                "limited": outcome(chosen),
                "hindsight": best,
            }


def estimate(router: Any, X: np.ndarray) -> tuple[np.ndarray, ...]:
    """Qualities, costs and seconds as they are expected, (n_queries, n_models)."""
    told = []
    for model in router.models_:
        # One model is left, so that what is expected of it is told.
        asked = {"latency_s": (None, {"query": 1e9})}
        told.append(router.explain(X, available=[model], extra_costs=asked))
    names = "expected_quality", "expected_cost", "expected_latency_s"
    return tuple(np.column_stack([t[name] for t in told]) for name in names)


def find_least(router: Any, X: np.ndarray, budget: float | None) -> float:
    """Find the smallest feasible limit, as the error names it."""
    try:
        asked = {"latency_s": (None, {"mean": 0.0})}
        router.route(X[:1], budget=budget, extra_costs=asked)
    except ValueError as error:
        return float(error.smallest_limit)
    return 0.0


def search(
    expected: tuple[np.ndarray, ...],
    truth: tuple[np.ndarray, ...],
    budget: float | None,
    limit: float,
) -> dict[str, float] | None:
    """Search the best pair of prices within budget and limit, by true outcomes.

    Of seconds all prices at which decisions change are tried, of money those of a grid.
    """
    quality, cost, taken = expected
    best = None
    worth = np.r_[0.0, np.geomspace(1e-3, 1e3, _GRID)] / cost.mean()
    for price in worth if budget is not None else [0.0]:
        steps = climb_hulls(quality - price * cost, taken)
        gained, spent, took = (steps.walk(table) / len(quality) for table in truth)
        within = took <= limit
        if budget is not None:
            within &= spent <= budget
        if within.any():
            at = int(np.where(within, gained, -np.inf).argmax())
            if best is None or gained[at] > best["quality"]:
                found = (float(values[at]) for values in (gained, spent, took))
                best = dict(zip(("quality", "money", "seconds"), found, strict=True))
    return best


def measure_capacity(
    table: Any, seconds: np.ndarray, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield what batches give of which the model called most takes only so many."""
    router, test = learn(table, seconds, seed)
    test = np.random.default_rng(seed).permutation(test)
    batches = [test[i : i + _BATCH] for i in range(0, len(test) - _BATCH + 1, _BATCH)]
    free = place(router, router.route(table.data[test]))
    busiest = int(np.bincount(free).argmax())
    for share in CAPACITIES:
        capacity = {router.models_[busiest]: round(share * _BATCH)}
        found: dict[str, list[float]] = {"solved": [], "arrival": [], "free": []}
        expected: dict[str, list[float]] = {"solved": [], "arrival": []}
        for batch in batches:
            X, rows = table.data[batch], np.arange(len(batch))
            names = router.route(X, scope="batch", capacity=capacity)
            order = router.route(X, top_k=2)
            arrival = place(router, order[:, 0])
            late = np.cumsum(arrival == busiest) > round(share * _BATCH)
            full = late & (arrival == busiest)
            arrival[full] = place(router, order[full, 1])
            ways = {
                "solved": place(router, names),
                "arrival": arrival,
                "free": place(router, order[:, 0]),
            }
            quality = router.transform(X)[:, : len(router.models_)]
            for way, chosen in ways.items():
                found[way].append(float(table.quality[batch][rows, chosen].mean()))
                if way in expected:
                    expected[way].append(float(quality[rows, chosen].mean()))
        yield {
            "kind": "capacity",
            "share": share,
            **{way: float(np.mean(values)) for way, values in found.items()},
            "expected_gain": float(
                np.mean(expected["solved"]) - np.mean(expected["arrival"])
            ),
        }


def write(values: Any, form: str = "+.3f") -> str:
    """Write a mean, and its interval over splits."""
    values = np.array(values, dtype=float)
    low, high = interval(values) if len(values) > 1 else (np.nan, np.nan)
    return f"{values.mean():{form}} ({low:{form}} to {high:{form}})"


def spend(record: dict[str, Any], unit: float) -> float:
    """Money of the calls with a limit, in this unit."""
    return record["limited"]["money"] / unit


def lines(records: list[dict[str, Any]]) -> Iterator[str]:
    """Write a row for each budget and limit."""
    for share in SPENDS:
        for part in LIMITS:
            runs = [
                r
                for r in records
                if r["kind"] == "limit" and (r["spend"], r["part"]) == (share, part)
            ]
            known = [r for r in runs if r["hindsight"] is not None]

            def change(key: str, runs: Any = runs) -> list[float]:
                return [r["limited"][key] - r["free"][key] for r in runs]

            cells = [
                "none" if share is None else f"{share:.0%}",
                f"{np.mean([r['limit'] for r in runs]):.1f} s ({part:.0%})",
                f"{np.mean([r['free']['seconds'] for r in runs]):.1f} s",
                write([r["limited"]["seconds"] / r["limit"] for r in runs], ".2f"),
                write(change("quality")),
                f"{np.mean([spend(r, r['free']['money']) for r in runs]):.2f}",
                write(
                    [r["limited"]["quality"] - r["hindsight"]["quality"] for r in known]
                )
                + ("" if len(known) == len(runs) else f", {len(known)} splits"),
            ]
            if share is not None:
                ratio = np.mean([spend(r, r["budget"]) for r in runs])
                cells[5] += f", {ratio:.2f} of the budget"
            yield "| " + " | ".join(cells) + " |"


def report(records: list[dict[str, Any]]) -> list[str]:
    """Write the page."""
    seeds = len({record["seed"] for record in records})
    page = [
        "# Limits of latency, and capacities",
        "",
        f"On llmdrift, 1,500 queries and 4 models; {seeds} splits of 70/30. "
        "`RankingRouter` learns the seconds of calls in `fit`; a limit of the mean is "
        "this far from the fastest decisions to those without a limit, by what the "
        "training queries took.",
        "",
        "- held: mean seconds of the calls of test rows, over the limit.",
        "- quality, money: against the same request without a limit.",
        "- hindsight: quality against the best of all pairs of two prices for the same "
        "estimates, chosen by the true outcomes of the test rows so that money and "
        "seconds are within what was asked. Above 0 is possible: on a split, decisions "
        "may take a little more than what is held on average.",
        "",
        "| budget | limit | without | held | quality | money | hindsight |",
        "|---|---|---|---|---|---|---|",
        *lines(records),
        "",
        "## Capacities",
        "",
        f"Batches of {_BATCH} test rows, without a budget. The model that is called "
        "most takes this share of a batch. Arrival: queries come one by one, and those "
        "that find it full go to their second choice.",
        "",
        "| capacity | quality without | solved | solved less arrival | as expected |",
        "|---|---|---|---|---|",
    ]
    for share in CAPACITIES:
        runs = [r for r in records if r["kind"] == "capacity" and r["share"] == share]
        cells = [
            f"{share:.0%}",
            f"{np.mean([r['free'] for r in runs]):.3f}",
            f"{np.mean([r['solved'] for r in runs]):.3f}",
            write([r["solved"] - r["arrival"] for r in runs]),
            write([r["expected_gain"] for r in runs]),
        ]
        page.append("| " + " | ".join(cells) + " |")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS / "latency")
    arguments = parser.parse_args()
    records: list[dict[str, Any]] = []
    for _, table in tables(arguments.data, [TABLE]):
        taken = pd.read_csv(arguments.data / "llmdrift_latency_s.csv.gz")
        seconds = taken[list(table.models)].to_numpy()
        for seed in range(arguments.seeds):
            for measure in (measure_limits, measure_capacity):
                for record in measure(table, seconds, seed):
                    records.append({"seed": seed, **record})
                    print(records[-1], flush=True)
    save(arguments.out, records, report(records))


if __name__ == "__main__":
    main()

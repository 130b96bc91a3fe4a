"""Measure whether repeated prompts change what a router spends, and how well it routes.

A router is fitted on a training table; on every prompt of it several times, exactly or
with the noise of a hosted encoder; and on several answers per prompt, against their
averages. Writes a table in Markdown and the numbers as JSON::

    python benchmarks/repeats.py --data FOLDER --seeds 5
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from outputs import RESULTS, save
from sklearn.utils import Bunch
from tables import splits, tables, training_part

from skroute import RankingRouter
from skroute.metrics import normalized_auc, routing_curve

TABLES = ("digits", "pool9")
# Mean budgets, as shares of the mean cost of the most expensive model.
BUDGETS = (0.02, 0.05, 0.2, 0.4)
NOISES = (0.0, 1e-7, 1e-5, 1e-4)
COPIES = (2, 5)
ANSWERS = (1, 3, 5)
N_TRAINING = 400


def measure(router: RankingRouter, table: Bunch, test: np.ndarray) -> dict[str, Any]:
    """What a router spends of each budget on held-out rows, and its nAUC."""
    X, y = table.data[test], table.quality[test]
    costs = np.broadcast_to(table.costs, table.quality.shape)[test]
    index = {name: i for i, name in enumerate(router.models_)}
    budgets = feasible(costs)
    spent = [
        costs[
            np.arange(len(X)),
            [
                index[name]
                for name in router.route(X, budget=budget, on_infeasible="cheapest")
            ],
        ].mean()
        / budget
        for budget in budgets
    ]
    curve = routing_curve(y, costs, router.predict_quality(X), router.predict_cost(X))
    return {"spent": spent, "nauc": normalized_auc(curve)}


def feasible(costs: np.ndarray) -> np.ndarray:
    """Budgets at shares of the most expensive model, where the cheapest costs less."""
    means = costs.mean(axis=0)
    return np.array([s for s in BUDGETS if s * means.max() > means.min()]) * means.max()


def copied(train: Any, seed: int) -> Iterator[tuple[str, Any, Any, Any, Any]]:
    """Yield names, rows and embeddings of copies, and of the first copy of each row."""
    rng = np.random.default_rng(seed)
    n_queries = len(train.X)
    for n_copies in COPIES:
        for noise in NOISES:
            which = rng.permutation(np.tile(np.arange(n_queries), n_copies))
            X = train.X[which]
            X = X + (noise * rng.standard_normal(X.shape)).astype(X.dtype)
            first = np.sort(np.unique(which, return_index=True)[1])
            yield (
                f"{n_copies} copies, noise {noise:g}",
                which,
                X,
                which[first],
                X[first],
            )


def fitted(train: Any, seed: int, X: Any, y: Any, costs: Any) -> RankingRouter:
    """Fit a router on rows of a training part."""
    router = RankingRouter(train.prices, random_state=seed)
    return router.fit(X, y, costs=costs)


def answers(train: Any, k: int, rng: Any) -> np.ndarray:
    """Draw k answers per prompt: right with the chance that a smooth truth gives."""
    chance = np.clip(0.15 + 0.7 * train.y, 0.0, 1.0)
    return (rng.random((k, *chance.shape)) < chance).astype(float)


def records(folder: Path | None, seeds: int) -> Iterator[dict[str, Any]]:
    """Measure every table, seed and kind of repeats."""
    for name, table in tables(folder, TABLES):
        for seed in range(seeds):
            split = next(splits(table, "70/30", seed))
            split = replace(split, train=split.train[:N_TRAINING])
            train = training_part(table, split)
            costs = train.costs

            def part(rows: np.ndarray, costs: Any = costs) -> Any:
                return None if costs is None else costs[rows]

            for kind, which, X, first, X_first in copied(train, seed):
                for variant, rows, queries in (
                    ("repeated", which, X),
                    ("distinct", first, X_first),
                ):
                    router = fitted(train, seed, queries, train.y[rows], part(rows))
                    found = measure(router, table, split.test)
                    yield {"table": name, "seed": seed, "kind": kind} | {
                        "variant": variant,
                        **found,
                    }
            rng = np.random.default_rng(seed)
            for k in ANSWERS:
                y = answers(train, k, rng)
                rows = np.tile(np.arange(len(train.X)), k)
                for variant, queries, outcomes, paid in (
                    ("repeated", train.X[rows], np.concatenate(y), part(rows)),
                    ("distinct", train.X, y.mean(axis=0), costs),
                ):
                    router = fitted(train, seed, queries, outcomes, paid)
                    found = measure(router, table, split.test)
                    yield {"table": name, "seed": seed, "kind": f"{k} answers"} | {
                        "variant": variant,
                        **found,
                    }


def report(found: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of the page."""
    seeds = 1 + max(record["seed"] for record in found)
    yield "# Repeated prompts"
    yield ""
    yield (
        f"{N_TRAINING} training prompts, {seeds} seeds; the test queries are others. "
        "Spend is that of the table with repeats over that of the table of distinct "
        "prompts (of averages, where there are several answers), at mean budgets of "
        f"{', '.join(f'{b:.0%}' for b in BUDGETS)} of the most expensive model, where "
        "the cheapest costs less; mean and range over seeds and budgets. nAUC is the "
        "difference, mean and largest. Run: `python benchmarks/repeats.py`."
    )
    for table in dict.fromkeys(record["table"] for record in found):
        yield ""
        yield f"## {table}"
        yield ""
        yield "| repeats | spend / distinct | least, most | nAUC - distinct | largest |"
        yield "|---|---|---|---|---|"
        for kind in dict.fromkeys(record["kind"] for record in found):
            rows = {
                variant: [
                    record
                    for record in found
                    if (record["table"], record["kind"], record["variant"])
                    == (table, kind, variant)
                ]
                for variant in ("repeated", "distinct")
            }
            ratio = np.array([r["spent"] for r in rows["repeated"]]) / np.array(
                [r["spent"] for r in rows["distinct"]]
            )
            apart = np.array([r["nauc"] for r in rows["repeated"]]) - np.array(
                [r["nauc"] for r in rows["distinct"]]
            )
            yield (
                f"| {kind} | {ratio.mean():.3f} | {ratio.min():.3f}, {ratio.max():.3f} "
                f"| {apart.mean():+.4f} | {np.abs(apart).max():.4f} |"
            )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "repeats")
    options = parser.parse_args()
    found = []
    for record in records(options.data, options.seeds):
        found.append(record)
        print(record["table"], record["seed"], record["kind"], record["variant"])
    print(save(options.out, found, report(found)))


if __name__ == "__main__":
    main()

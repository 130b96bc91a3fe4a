"""Measure the default router against tuned kNN and ridge under the same decisions.

Paired 70/30 splits of real tables, the digits pool and a synthetic table; every router
is priced by the same decision layer. Writes a table in Markdown and scores as JSON::

    python benchmarks/core.py --data FOLDER --seeds 10

Without FOLDER only the tables that ship with the package, or are made, are measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from intervals import interval
from outputs import RESULTS, save
from tables import tables

from skroute.evaluation import BUDGET_SHARES, Comparison, compare_routers

REAL = ("pool9", "routerbench3")
BUNDLED = ("digits", "synthetic")
OURS = "RankingRouter"
PEERS = ("kNN", "ridge")
METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normalized_auc": lambda values: values,
    # A quality that is never reached can still be had from the best single model.
    "quality_neutral_cost": lambda values: np.minimum(values, 1.0),
    "routing_collapse_index": lambda values: values,
}


def rows(name: str, comparison: Comparison) -> Iterator[str]:
    """Write the rows of one table in Markdown."""
    ours = comparison.results[OURS]
    for router, result in comparison.results.items():
        if router not in (OURS, *PEERS):
            continue
        cells = [name, router]
        for metric, bounded in METRICS.items():
            values = bounded(result.scores[metric])
            cell = f"{values.mean():.4f}"
            if router != OURS:
                difference = bounded(ours.scores[metric]) - values
                low, high = interval(difference)
                cell += f" ({difference.mean():+.4f} [{low:+.4f}, {high:+.4f}])"
            cells.append(cell)
        reached = np.isfinite(result.scores["quality_neutral_cost"]).mean()
        spent = (result.spent / comparison.budgets).mean(axis=0)
        cells += [
            f"{reached:.0%}",
            " / ".join(f"{share:.0%}" for share in spent),
            f"{result.mean('fit_seconds'):.1f}",
        ]
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS / "core")
    arguments = parser.parse_args()
    budgets = "/".join(f"{share:.0%}" for share in BUDGET_SHARES)
    lines = [
        "# RankingRouter against tuned kNN and ridge",
        "",
        f"{arguments.seeds} paired 70/30 splits, default settings, one thread. In "
        "brackets: RankingRouter's lead over the peer, with its 95% bootstrap interval "
        "over the splits (they share queries, so it says how far the splits drawn "
        "matter). QNC counts 1 where a split did not reach the best single model's "
        f"quality. Spent: share of mean budgets at {budgets} of the range that the "
        "test queries really cost.",
        "",
        "| table | router | nAUC | QNC | RCI | reached | spent | fit s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    scores = {}
    for name, table in tables(
        arguments.data, BUNDLED if arguments.data is None else REAL + BUNDLED
    ):
        comparison = compare_routers(
            table.data,
            table.quality,
            table.costs,
            models=table.models,
            seeds=arguments.seeds,
        )
        scores[name] = comparison.to_dict()
        lines += rows(name, comparison)
        print(*lines[-3:], sep="\n", flush=True)
    save(arguments.out, scores, lines)


if __name__ == "__main__":
    main()

"""Measure how often `routability` is wrong, and how often it finds a gain.

Null tables are real outcomes and costs with the embeddings of other queries; some are
changed first, to be harder: one model is best and cheapest, all models are equally good
on average, or two models are left. Writes a page and the verdicts as JSON after each
cell::

    python benchmarks/routability.py --data FOLDER --draws 500
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from outputs import RESULTS, load, save
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.utils import Bunch
from tables import tables

from skroute import PointwiseRouter, RankingRouter
from skroute.datasets import make_routing
from skroute.evaluation import Routability, routability

# Directions of embeddings that the fast router reads.
N_DIRECTIONS = 32
VERDICTS = ("route", "do not route", "not enough data")


@dataclass(frozen=True)
class Cell:
    """One kind of table: how it is made, and what routability is asked."""

    part: str
    table: str
    queries: int = 1000
    change: str = "as they are"
    router: str = "ridge"
    #: Draws, as a share of those asked for: of slow routers there are fewer.
    share: float = 1.0
    quick: bool = True

    @property
    def key(self) -> str:
        """Name of the cell in the records."""
        return (
            f"{self.part}: {self.table}, {self.queries}, {self.change}, {self.router}"
        )


NULL, POWER, BOTH = "null", "power", "verdicts"
CELLS = (
    Cell(NULL, "pool9"),
    Cell(NULL, "routerbench3"),
    Cell(NULL, "mmlu_pro"),
    Cell(NULL, "made"),
    Cell(NULL, "pool9", change="equal on average"),
    Cell(NULL, "routerbench3", change="one dominates"),
    Cell(NULL, "pool9", change="two models"),
    Cell(NULL, "pool9", queries=300),
    Cell(NULL, "pool9", router="RankingRouter", share=0.1),
    Cell(POWER, "pool9", router="RankingRouter", share=0.2),
    Cell(POWER, "made", router="RankingRouter", share=0.2),
    Cell(POWER, "mmlu_pro", router="RankingRouter", share=0.1),
    Cell(POWER, "mmlu_pro", 3000, router="RankingRouter", share=0.04),
    Cell(BOTH, "pool9", 300, router="ridge", share=0.1, quick=False),
    Cell(BOTH, "made", 300, router="ridge", share=0.1, quick=False),
    Cell(BOTH, "pool9", 2000, "shuffled", router="ridge", share=0.1, quick=False),
)


def dominate(y: np.ndarray, costs: np.ndarray, rng: Any) -> tuple[Any, Any]:
    """Swap the costs of the best model and of the cheapest one."""
    best, cheapest = y.mean(axis=0).argmax(), costs.mean(axis=0).argmin()
    costs = costs.copy()
    costs[:, [best, cheapest]] = costs[:, [cheapest, best]]
    return y, costs


def equalize(y: np.ndarray, costs: np.ndarray, rng: Any) -> tuple[Any, Any]:
    """Deal the outcomes of each query out among its models."""
    return rng.permuted(y, axis=1), costs


def keep_two(y: np.ndarray, costs: np.ndarray, rng: Any) -> tuple[Any, Any]:
    """Keep the cheapest model and the best one: mixtures of them are the hull."""
    kept = [costs.mean(axis=0).argmin(), y.mean(axis=0).argmax()]
    return y[:, kept], costs[:, kept]


CHANGES: dict[str, Callable[..., tuple[Any, Any]]] = {
    "one dominates": dominate,
    "equal on average": equalize,
    "two models": keep_two,
}


def make_table() -> Bunch:
    """Make a table of eight models and twelve tasks, of which each is good at some."""
    return make_routing(
        *(6000, 32, 8), n_tasks=12, specialization=0.6, noise=1.0, cost_spread=60.0,
        random_state=0,
    )  # fmt: skip


def make_router(name: str, prices: Any, seed: int) -> Any:
    """Make a fast setting of a router."""
    if name == "ridge":
        ridge = RidgeCV(np.logspace(-1, 3, 5))
        return PointwiseRouter(ridge, costs=prices, cv=2, random_state=seed)
    return RankingRouter(
        prices, n_estimators=0, n_landmarks=64, cv=3, random_state=seed
    )


def ask(cell: Cell, table: Bunch, seed: int) -> Routability:
    """Draw a table of a cell, and ask whether routing is worth it."""
    rng = np.random.default_rng(seed)
    costs = np.broadcast_to(table.costs, table.quality.shape).astype(np.float64)
    known = np.isfinite(table.quality).all(axis=1) & np.isfinite(costs).all(axis=1)
    rows = rng.permutation(np.flatnonzero(known))[: cell.queries]
    X, y, costs = table.data[rows], table.quality[rows], costs[rows]
    if cell.change in CHANGES:
        y, costs = CHANGES[cell.change](y, costs, rng)
    if cell.part == NULL or cell.change == "shuffled":
        X = rng.permutation(X)
    fixed = (costs == costs[0]).all()
    if cell.router == "ridge":
        n_directions = min(N_DIRECTIONS, X.shape[1])
        X = PCA(n_directions, random_state=0).fit_transform(X)
    return routability(
        X,
        y,
        costs[0] if fixed else costs,
        router=make_router(cell.router, costs[0] if fixed else None, seed),
        quick=cell.quick,
        random_state=seed,
    )


def measure(cell: Cell, table: Bunch, n_draws: int) -> dict[str, Any]:
    """Ask for every draw of a cell, and count the verdicts."""
    found = [ask(cell, table, seed) for seed in range(n_draws)]
    gain = np.array([one.gain.value for one in found])
    verdicts = Counter(one.verdict for one in found)
    return {
        **{name: getattr(cell, name) for name in ("part", "table", "queries")},
        **{name: getattr(cell, name) for name in ("change", "router", "key")},
        "draws": n_draws,
        "verdicts": {verdict: verdicts[verdict] for verdict in VERDICTS},
        "gain": float(gain.mean()),
        "gain_deviation": float(gain.std()),
        "lower_bound_above_0": sum(one.gain.low > 0 for one in found),
        "luck_excluded": sum(one.luck <= 0.05 for one in found),
        "lead": float(np.mean([one.lead for one in found])),
    }


def write_page(records: list[dict[str, Any]]) -> Iterator[str]:
    """Write the page."""
    yield "# Is the verdict of `routability` right?"
    yield ""
    yield (
        "Shares of draws of tables, with their standard errors. Null: embeddings of "
        'other queries, so that "route" is wrong; at most 5% are meant to say it. '
        "Bound: the lower bound of the gain alone is above 0. Luck: random policies "
        "with the router's call shares alone are excluded. Gain and oracle: quality at "
        'equal spend. "ridge" is tuned ridge regression on 32 principal components; '
        "RankingRouter has no ranker and 64 landmarks. `benchmarks/routability.py`."
    )
    titles = {
        NULL: "Queries that tell nothing",
        POWER: "Queries that tell something",
        BOTH: "All verdicts, with learning curves",
    }
    for part, title in titles.items():
        rows = [record for record in records if record["part"] == part]
        if not rows:
            continue
        yield from ("", f"## {title}", "")
        yield (
            "| table | queries | outcomes | router | draws | route | do not route "
            "| bound | luck | gain | oracle |"
        )
        yield "|" + "---|" * 11
        for row in rows:
            n = row["draws"]
            share = row["verdicts"]["route"] / n
            error = np.sqrt(share * (1 - share) / n)
            never = row["verdicts"]["do not route"] / n
            yield (
                f"| {row['table']} | {row['queries']:,} | {row['change']} "
                f"| {row['router']} | {n} | {share:.1%} ({error:.1%}) | {never:.0%} "
                f"| {row['lower_bound_above_0'] / n:.1%} "
                f"| {row['luck_excluded'] / n:.1%} | {row['gain']:+.4f} "
                f"| {row['lead']:.3f} |"
            )
        if part == NULL:
            yield from ("", sum_up(rows))


def sum_up(rows: list[dict[str, Any]]) -> str:
    """Say how often all cells of null tables together are taken to be worth routing."""
    wrong = sum(row["verdicts"]["route"] for row in rows)
    n_draws = sum(row["draws"] for row in rows)
    return f'Together: "route" in {wrong} of {n_draws:,} draws, {wrong / n_draws:.1%}.'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--parts", nargs="+", default=(NULL, POWER, BOTH))
    parser.add_argument("--missing", action="store_true", help="keep what was measured")
    parser.add_argument("--out", type=Path, default=RESULTS / "routability")
    arguments = parser.parse_args()
    kept = {}
    if arguments.missing:
        kept = {record["key"]: record for record in load(arguments.out) or ()}
    for cell in CELLS:
        n_draws = max(1, round(arguments.draws * cell.share))
        known = kept.get(cell.key, {"draws": 0})["draws"] >= n_draws
        if cell.part not in arguments.parts or known:
            continue
        read = {"made": make_table}.get(cell.table)
        table = read() if read else dict(tables(arguments.data, [cell.table]))
        if not read:
            table = table.get(cell.table)
        if table is None:
            continue
        kept[cell.key] = measure(cell, table, n_draws)
        print(kept[cell.key], flush=True)
        order = [kept[one.key] for one in CELLS if one.key in kept]
        save(arguments.out, order, write_page(order))


if __name__ == "__main__":
    main()

"""Measure whether a mean budget holds while difficulty, prices and tasks shift.

A router is fitted on 70% of a table; 100,000 queries are drawn from its other rows,
with a mix and with prices that change on the way. `BudgetDecider.partial_fit` sees what
each chunk of calls cost. Writes a table in Markdown and the numbers as JSON::

    python benchmarks/drift.py --data FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from outputs import RESULTS, save
from sklearn.cluster import KMeans
from sklearn.utils import Bunch
from tables import splits, tables, training_part

from skroute import BudgetDecider, RankingRouter
from skroute._decide.hull import choose
from skroute._decide.price_path import PricePath, assign_shadow_prices, choose_each

TABLES = ("pool9", "routerbench3", "digits")
SHARES = (0.25, 0.5, 0.75)
CHUNKS = (100, 1000)
WINDOW = 5000
# Of plain dual ascent on the logarithm of the price; the best of 0.003, 0.01, 0.03.
PLAIN_STEP = 0.01
ANY = np.ones((1, 1), dtype=bool)


@dataclass(frozen=True)
class Held:
    """What a router says of held-out rows, and what is true of them."""

    training: tuple[np.ndarray, np.ndarray, np.ndarray | None]
    estimates: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    hard: np.ndarray
    task: np.ndarray


def held_out(table: Bunch, seed: int) -> Held:
    """Fit a router, and estimate the rows it has not seen."""
    split = next(splits(table, "70/30", seed))
    train = training_part(table, split)
    router = RankingRouter(train.prices, random_state=seed)
    fitted = router.fit_transform(train.X, train.y, costs=train.costs)
    quality = table.quality[split.test]
    if table.task is None:
        clusters = KMeans(3, n_init=1, random_state=seed)
        task = clusters.fit_predict(table.data[split.test])
    else:
        task = np.unique(table.task[split.test], return_inverse=True)[1]
    return Held(
        (fitted, train.y, train.costs),
        router.transform(table.data[split.test]),
        quality,
        np.broadcast_to(table.costs, table.quality.shape)[split.test],
        (quality.mean(axis=1) < np.median(quality.mean(axis=1))).astype(int),
        task,
    )


def scenarios(
    held: Held, n_queries: int, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield names, the rows that are asked for, and factors on the prices."""
    rng = np.random.default_rng(seed)
    time = np.arange(n_queries) / n_queries
    n_tasks, n_models = held.task.max() + 1, held.cost.shape[1]
    tasks = np.arange(n_tasks)
    costly = np.argsort(held.cost.mean(axis=0))[n_models // 2 :]
    same = np.ones((n_queries, n_models))
    ramp = np.clip((time - 0.2) / 0.6, 0, 1)

    def mixed(group: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Rows whose groups are drawn with weights that change over time."""
        edges = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
        drawn = (rng.random(n_queries)[:, None] > edges[:, :-1]).sum(axis=1)
        rows = np.empty(n_queries, dtype=int)
        for g in range(weight.shape[1]):
            place = np.flatnonzero(drawn == g)
            rows[place] = rng.choice(np.flatnonzero(group == g), len(place))
        return rows

    def harder(share: np.ndarray) -> np.ndarray:
        return mixed(held.hard, np.column_stack([1 - share, share]))

    every = rng.integers(len(held.cost), size=n_queries)
    yield "none", every, same
    yield (
        "difficulty, abrupt",
        harder(np.where((time > 0.3) & (time < 0.65), 0.8, 0.2)),
        same,
    )
    yield "difficulty, slow", harder(0.2 + 0.6 * ramp), same
    factor = same.copy()
    factor[np.ix_((time > 0.3) & (time < 0.7), costly)] = 1.5
    yield "prices, abrupt", every, factor
    factor = same.copy()
    factor[:, costly] += ramp[:, None]
    yield "prices, slow", every, factor
    ruling = (time * 5).astype(int) % n_tasks
    yield (
        "tasks, abrupt",
        mixed(held.task, 0.3 / n_tasks + 0.7 * (tasks == ruling[:, None])),
        same,
    )
    phase = 2.5 * time[:, None] + tasks / n_tasks
    yield "tasks, slow", mixed(held.task, 1 + 0.9 * np.sin(2 * np.pi * phase)), same


def paced(
    held: Held, rows: np.ndarray, real: np.ndarray, budget: float, chunk: int
) -> np.ndarray:
    """Decide the stream, updating after every chunk."""
    fitted, y, costs = held.training
    decider = BudgetDecider(budget).fit(fitted, y, costs=costs)
    choice = np.empty(len(rows), dtype=int)
    for start in range(0, len(rows), chunk):
        now = slice(start, start + chunk)
        estimates = held.estimates[rows[now]]
        choice[now] = decider.predict(estimates)
        decider.partial_fit(estimates, costs=paid(real[now], choice[now]))
    return choice


def plain(
    held: Held, rows: np.ndarray, real: np.ndarray, budget: float, chunk: int
) -> np.ndarray:
    """Decide the stream by plain dual ascent on the logarithm of the price."""
    fitted, y, costs = held.training
    price = BudgetDecider(budget).fit(fitted, y, costs=costs).price_
    quality, cost = np.hsplit(held.estimates, 2)
    choice = np.empty(len(rows), dtype=int)
    for start in range(0, len(rows), chunk):
        now = slice(start, start + chunk)
        choice[now] = choose(quality[rows[now]], cost[rows[now]], price, ANY)
        over = paid(real[now], choice[now]) / budget - 1
        price *= np.exp(PLAIN_STEP * over.sum())
    return choice


def paid(values: np.ndarray, choice: np.ndarray) -> np.ndarray:
    return values[np.arange(len(choice)), choice]


def window_means(spent: np.ndarray) -> np.ndarray:
    """Mean spend of every window that begins after as many queries of settling."""
    total = np.r_[0.0, np.cumsum(spent)]
    return ((total[WINDOW:] - total[:-WINDOW]) / WINDOW)[WINDOW:]


def judged(
    held: Held, rows: np.ndarray, real: np.ndarray, choice: np.ndarray, budget: float
) -> dict[str, float]:
    """Worst window, and quality against a price for each 5,000 tuned in hindsight."""
    quality, cost = (half[rows] for half in np.hsplit(held.estimates, 2))
    spent, gained = paid(real, choice), held.quality[rows]
    best = []
    for part in np.arange(len(rows))[WINDOW:].reshape(-1, WINDOW):
        path = PricePath.from_estimates(quality[part], cost[part], true_cost=real[part])
        money = max(spent[part].mean(), path.cost[0])
        table = quality[part], cost[part]
        prices = assign_shadow_prices(*table, path.price_for_budget(money), ANY)
        chosen = choose_each(*table, prices, ANY)
        best.append(paid(gained[part], chosen).mean())
    most = window_means(paid(real, choose(quality, cost, 0.0, ANY)))
    return {
        "worst_window": float(np.abs(window_means(spent) / budget - 1).max()),
        "quality_gap": float(paid(gained, choice)[WINDOW:].mean() - np.mean(best)),
        "spend": float(spent.mean() / budget),
        "unspendable": float((most < budget).mean()),
    }


def measured(held: Held, arguments: argparse.Namespace, seed: int) -> Iterator[Any]:
    """Yield one record per scenario, budget and size of update."""
    fitted, y, costs = held.training
    path = BudgetDecider().fit(fitted, y, costs=costs).price_path_
    for name, rows, factor in scenarios(held, arguments.queries, seed):
        real = held.cost[rows] * factor
        for share in arguments.budgets:
            budget = path.cost[0] + share * (path.cost[-1] - path.cost[0])
            fixed = BudgetDecider(budget).fit(fitted, y, costs=costs)
            still = paid(real, fixed.predict(held.estimates)[rows])
            for chunk in arguments.chunks:
                task = (held, rows, real, budget, chunk)
                yield {
                    "scenario": name,
                    "budget": share,
                    "chunk": chunk,
                    "seed": seed,
                    **judged(held, rows, real, paced(*task), budget),
                    "plain": judged(held, rows, real, plain(*task), budget),
                    "fixed": float(np.abs(window_means(still) / budget - 1).max()),
                }


def lines(records: list[dict[str, Any]]) -> Iterator[str]:
    """Write one row per table, scenario and size of update: the worst of its runs."""
    keys = dict.fromkeys((r["table"], r["scenario"], r["chunk"]) for r in records)
    for key in keys:
        runs = [r for r in records if (r["table"], r["scenario"], r["chunk"]) == key]
        cells = [*map(str, key)]
        for rule in (runs, [r["plain"] for r in runs]):
            cells += [
                f"{max(r['worst_window'] for r in rule):.1%}",
                f"{min(r['quality_gap'] for r in rule):+.4f}",
            ]
        cells.append(f"{max(r['fixed'] for r in runs):.0%}")
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--budgets", nargs="+", type=float, default=SHARES)
    parser.add_argument("--chunks", nargs="+", type=int, default=CHUNKS)
    parser.add_argument("--queries", type=int, default=100_000, help="by 5,000")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "drift")
    arguments = parser.parse_args()
    records = []
    for name, table in tables(arguments.data, arguments.tables):
        for seed in range(arguments.seeds):
            held = held_out(table, seed)
            for record in measured(held, arguments, seed):
                records.append({"table": name, **record})
                print(records[-1], flush=True)
    shares = "/".join(f"{share:.0%}" for share in arguments.budgets)
    text = [
        "# A mean budget under drift",
        "",
        f"{arguments.queries:,} queries resampled from held-out rows, "
        f"{arguments.seeds} seed(s), budgets at {shares} of the range from cheapest to "
        "best models; each row shows the worst of them. Window: the largest distance "
        "of spend from budget over any 5,000 queries after the first 5,000. Quality: "
        "minus that of a price for each 5,000 queries tuned in hindsight to the same "
        "spend. Plain: dual ascent on the logarithm of the price, step "
        f"{PLAIN_STEP}, chosen for updates every 100 queries. Fixed: window of the "
        "price as fitted.",
        "",
        "| table | drift | update | window | quality | plain window | plain quality "
        "| fixed |",
        "|---|---|---|---|---|---|---|---|",
        *lines(records),
    ]
    save(arguments.out, records, text)


if __name__ == "__main__":
    main()

"""Measure what it is worth that the prefix of the model called last is cached.

Sessions of two turns are made of pairs of test rows of one task. The second request
carries the first turn along, which costs every model a share of what the first turn
cost, and the model that was called then a tenth of that. The second turn is decided
with these costs, without them, or by staying with the model; all are billed as they
fell out. Writes a table in Markdown and the numbers as JSON::

    python benchmarks/sessions.py --data FOLDER --seeds 5
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from intervals import interval
from outputs import RESULTS, save
from tables import splits, tables, training_part

from skroute import RankingRouter

TABLES = ("routerbench3-question", "niagara", "llmdrift", "paretobandit", "bfcl")
#: Where between the cheapest and the best decisions the money is.
SPENDS = (0.25, 0.5)
# Of what the first turn cost is its text, read again, at which price if it is cached.
_HISTORY, _CACHED = 0.5, 0.1


class Turn(NamedTuple):
    """Requests of one turn: what is expected of the models, and what is true."""

    expected: np.ndarray
    cost: np.ndarray
    quality: np.ndarray
    bill: np.ndarray
    X: np.ndarray


def carry(cost: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Money that the history of a first turn adds to the second, (n, M)."""
    cached = called[:, None] == np.arange(cost.shape[1])
    return _HISTORY * cost * np.where(cached, _CACHED, 1.0)


def pair_turns(task: Any, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Pair rows of one task at random, (n_sessions, 2)."""
    task = np.zeros(n_rows, int) if task is None else task
    pairs = []
    for name in np.unique(task):
        rows = rng.permutation(np.flatnonzero(task == name))
        pairs.append(rows[: len(rows) // 2 * 2].reshape(-1, 2))
    return np.concatenate(pairs)


def measure(table: Any, seed: int) -> Iterator[dict[str, Any]]:
    """Yield what each way to decide the second turn gives, at each spend."""
    split = next(splits(table, "70/30", seed))
    part = training_part(table, split)
    router = RankingRouter(part.prices, random_state=seed)
    router.fit(part.X, part.y, costs=part.costs)
    bills = np.broadcast_to(table.costs, table.quality.shape)
    whole = np.isfinite(table.quality[split.test]) & np.isfinite(bills[split.test])
    test = split.test[whole.all(axis=1)]
    task = None if table.task is None else np.asarray(table.task)[test]
    pairs = test[pair_turns(task, len(test), np.random.default_rng(seed))]
    first, second = (
        Turn(
            *np.hsplit(router.transform(table.data[rows]), 2),
            table.quality[rows],
            bills[rows],
            table.data[rows],
        )
        for rows in pairs.T
    )
    path, rows = router.price_path_, np.arange(len(pairs))
    index = {name: i for i, name in enumerate(router.models_)}

    def route(turn: Turn, price: float, costs: Any = None) -> np.ndarray:
        names = router.route(turn.X, price=price, costs=costs)
        return np.array([index[name] for name in names])

    for share in SPENDS:
        budget = path.cost[0] + share * (path.cost[-1] - path.cost[0])
        price = path.price_for_budget(budget).high
        called = route(first, price)
        # What is known at the second request: the first turn, and who answered it.
        known = second.cost + carry(first.cost, called)
        ways = {
            "costs=": (called, route(second, price, known)),
            "as if new": (called, route(second, price)),
            "stay": (called, called),
            "replay": (called, (second.expected - price * known).argmax(axis=1)),
            "both turns": search(first, second, price),
        }
        found = {}
        for way, (one, two) in ways.items():
            bill = second.bill + carry(first.bill, one)
            spent = first.bill[rows, one] + bill[rows, two]
            gained = first.quality[rows, one] + second.quality[rows, two]
            found[way] = {
                "quality": float(gained.mean() / 2),
                "spend": float(spent.mean() / 2),
                "switched": float((one != two).mean()),
                "utility": float((gained - price * spent).mean() / 2),
            }
        one, two = ways["costs="]
        bill = second.bill + carry(first.bill, one)
        # What it gained to leave, in quality, less what it cost at this price.
        left = one != two
        won = second.quality[rows, two] - second.quality[rows, one]
        won = (won - price * (bill[rows, two] - bill[rows, one]))[left]
        worth = second.expected[rows, two] - second.expected[rows, one]
        worth = (worth - price * (known[rows, two] - known[rows, one]))[left]
        yield {
            "spend": share,
            "ways": found,
            "won": float(won.mean()) if left.any() else None,
            "least_expected": float(worth.min()) if left.any() else None,
        }


def search(first: Turn, second: Turn, price: float) -> tuple[np.ndarray, np.ndarray]:
    """Choose both turns at once, the best of all pairs of models."""
    n_sessions, n_models = first.cost.shape
    value = np.empty((n_sessions, n_models, n_models))
    for model in range(n_models):
        called = np.full(n_sessions, model)
        cost = first.cost[:, [model]] + second.cost + carry(first.cost, called)
        value[:, model] = first.expected[:, [model]] + second.expected - price * cost
    best = value.reshape(n_sessions, -1).argmax(axis=1)
    return np.divmod(best, n_models)


def lines(records: list[dict[str, Any]]) -> Iterator[str]:
    """Write a row per table and spend."""
    for name, share in dict.fromkeys((r["table"], r["spend"]) for r in records):
        runs = [r for r in records if (r["table"], r["spend"]) == (name, share)]

        def mean(way: str, key: str, runs: Any = runs) -> float:
            return float(np.mean([run["ways"][way][key] for run in runs]))

        cells = [name, f"{share:.0%}"]
        for way in ("costs=", "as if new", "stay"):
            spend = mean(way, "spend") / mean("costs=", "spend")
            cells += [f"{mean(way, 'quality'):.3f}", f"{spend:.2f}"]
        ratio = mean("costs=", "spend") / mean("both turns", "spend") - 1
        lost = mean("both turns", "utility") - mean("costs=", "utility")
        cells += [f"{ratio:+.1%}", f"{lost:+.4f}"]
        cells += [f"{mean(way, 'switched'):.0%}" for way in ("costs=", "as if new")]
        won = [run["won"] for run in runs if run["won"] is not None]
        low, high = interval(np.array(won)) if len(won) > 1 else (np.nan, np.nan)
        cells.append(f"{np.mean(won):+.3f} ({low:+.3f} to {high:+.3f})" if won else "-")
        yield "| " + " | ".join(cells) + " |"


def report(records: list[dict[str, Any]]) -> list[str]:
    """Write the page."""
    n_seeds = len({record["seed"] for record in records})
    replayed = [
        r["ways"]["costs="]["spend"] / r["ways"]["replay"]["spend"] - 1 for r in records
    ]
    least = [r["least_expected"] for r in records if r["least_expected"] is not None]
    return [
        "# Sessions of two turns",
        "",
        "Two test rows of one task are the turns of a session; "
        f"{n_seeds} split(s). The second request carries the first turn along, which "
        f"costs {_HISTORY:.0%} of what that turn cost, and {_HISTORY * _CACHED:.0%} at "
        "the model that was called then, whose cache holds it. Both turns are decided "
        "at the shadow price that spends this share of the way from the cheapest to "
        "the best models.",
        "",
        "- costs=: the second turn is decided with what is known of its costs; mean "
        "quality of both turns, and their spend as 1.",
        "- as if new: without; stay: the second turn goes to the model of the first.",
        "- spend, utility lost: of costs= against the best of all pairs of models for "
        "both turns, by the same estimates (quality less price times money, per turn). "
        "Against trying all models for the second turn, costs= spends "
        f"{max(replayed):+.1%} at most.",
        "- switched: sessions in which the model changes, with and without costs=.",
        "- switching won: true quality that a switch with costs= gained, less what it "
        "cost at this price; mean per switch, and its interval over splits. By the "
        f"estimates no switch loses: the least expected gain is {min(least):.2g}.",
        "",
        "| table | spend | costs= | | as if new | | stay | | spend | utility lost "
        "| switched | as if new | switching won |",
        "|---|---|" + "---|" * 11,
        *lines(records),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--tables", nargs="*", default=TABLES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "sessions")
    arguments = parser.parse_args()
    records = []
    for name, table in tables(arguments.data, arguments.tables):
        for seed in range(arguments.seeds):
            for record in measure(table, seed):
                records.append({"table": name, "seed": seed, **record})
                print(records[-1], flush=True)
        save(arguments.out, records, report(records))


if __name__ == "__main__":
    main()

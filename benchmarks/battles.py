"""Measure what votes between two models are worth to a router.

Battles are drawn from the training rows of a table: a query, two models, and a voter
who prefers the better answer. A router is fitted on their win rates, or on wins and
losses with holes, and judged by the outcomes of the test rows. Writes a
table in Markdown and the numbers as JSON::

    python benchmarks/battles.py --data FOLDER --seeds 5 --jobs 2
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from outputs import RESULTS, save
from scipy import special
from sklearn.utils import Bunch
from tables import splits, tables, training_part

from skroute import RankingRouter
from skroute.preferences import win_rates

TABLES = ("pool9", "routerbench3", "niagara", "paretobandit", "confidence")
MADE = "Bradley-Terry"
MATCHES = ("uniform", "neighbours")
TIES = 0.2
# Difference of quality at which a voter prefers the better answer in 73% of the votes.
_INDIFFERENT = 0.25
# Of the made table: queries, features, models, and the spread of the strengths.
_SIZE, _SPREAD = (6000, 32, 5), 1.4

Votes = dict[str, np.ndarray]


def make_table(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, strengths that are linear in them, and the qualities these are."""
    n_queries, n_features, n_models = _SIZE
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_queries, n_features))
    weights = rng.normal(0, _SPREAD / np.sqrt(n_features), (n_features, n_models))
    return X, X @ weights, special.expit(X @ weights)


def draw_battles(
    odds: np.ndarray, n_battles: int, match: str, rng: np.random.Generator
) -> Votes:
    """Draw battles; the differences of `odds` are the log-odds of a vote."""
    n_queries, n_models = odds.shape
    query = rng.integers(n_queries, size=n_battles)
    if match == "uniform":
        first = rng.integers(n_models, size=n_battles)
        second = (first + rng.integers(1, n_models, size=n_battles)) % n_models
    else:
        order = odds.mean(axis=0).argsort()
        lower = rng.integers(n_models - 1, size=n_battles)
        pair = np.stack([order[lower], order[lower + 1]], axis=1)
        first, second = rng.permuted(pair, axis=1).T
    lead = odds[query, first] - odds[query, second]
    score = (rng.random(n_battles) < special.expit(lead)).astype(float)
    # A vote is a tie the more often, the less the answers differ.
    near = np.exp(-np.abs(lead))
    low, high = 0.0, 1.0 / near.min()
    for _ in range(60):
        middle = (low + high) / 2
        too_few = np.minimum(1.0, middle * near).mean() < TIES
        low, high = (middle, high) if too_few else (low, middle)
    score[rng.random(n_battles) < np.minimum(1.0, high * near)] = 0.5
    return {"query": query, "model_a": first, "model_b": second, "score": score}


def fill_holes(votes: Votes, shape: tuple[int, int]) -> np.ndarray:
    """Wins as 1, losses as 0, ties as 0.5, means of several, and holes elsewhere."""
    total, count = np.zeros(shape), np.zeros(shape)
    for side, score in (
        ("model_a", votes["score"]),
        ("model_b", 1.0 - votes["score"]),
    ):
        np.add.at(total, (votes["query"], votes[side]), score)
        np.add.at(count, (votes["query"], votes[side]), 1.0)
    return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)


def find_regret(quality: np.ndarray, choice: Any) -> np.ndarray:
    """Quality lost on each query, to the best decision in hindsight."""
    chosen = quality[np.arange(len(quality)), np.broadcast_to(choice, len(quality))]
    lost: np.ndarray = quality.max(axis=1) - chosen
    return lost


def decide(X: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int) -> np.ndarray:
    """Fit a router, and decide new queries without a budget."""
    router = RankingRouter(np.ones(y.shape[1]), n_estimators=0, random_state=seed)
    choice: np.ndarray = router.fit(X, y).predict(new)
    return choice


def measure(name: str, seed: int, part: Bunch, n_battles: int) -> list[dict[str, Any]]:
    """Measure on one split, whose training rows are complete, for each matchmaking."""
    records = []
    shape = part.y.shape
    best = int(part.y.mean(axis=0).argmax())
    full = decide(part.X, part.y, part.new, seed)
    for match in MATCHES:
        rng = np.random.default_rng(seed)
        votes = draw_battles(part.odds, n_battles, match, rng)
        named = {
            key: np.char.zfill(values.astype(str), 3) if "model" in key else values
            for key, values in votes.items()
        }
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rates = np.asarray(win_rates(part.X, named, random_state=seed))
        warned = any("do not show clearly" in str(w.message) for w in caught)
        choices = {
            "full outcomes": full,
            "win rates": decide(part.X, rates, part.new, seed),
            "wins with holes": decide(part.X, fill_holes(votes, shape), part.new, seed),
            "best single": best,
            "best single by votes": int(rates.mean(axis=0).argmax()),
        }
        lost = {name: find_regret(part.quality, c) for name, c in choices.items()}
        extra = lost["win rates"] - lost["best single by votes"]
        record = {
            "table": name,
            "seed": seed,
            "match": match,
            **{policy: float(values.mean()) for policy, values in lost.items()},
            "ties": float((votes["score"] == 0.5).mean()),
            "extra": float(extra.mean()),
            "extra_error": float(extra.std() / np.sqrt(len(extra))),
            "warned": warned,
        }
        print(record, flush=True)
        records.append(record)
    return records


def parts(
    arguments: argparse.Namespace,
) -> Iterator[tuple[str, int, Bunch]]:
    """Yield training and test parts of all tables, seed by seed."""
    real = list(tables(arguments.data, arguments.tables))
    for seed in range(arguments.seeds):
        X, odds, quality = make_table(seed)
        half = len(X) // 2
        made = Bunch(
            X=X[:half],
            y=quality[:half],
            odds=odds[:half],
            new=X[half:],
            quality=quality[half:],
        )
        yield MADE, seed, made
        for name, table in real:
            split = next(splits(table, "70/30", seed))
            train = training_part(table, split)
            known = np.isfinite(train.y).all(axis=1)
            part = Bunch(
                X=np.asarray(train.X)[known],
                y=train.y[known],
                odds=train.y[known] / _INDIFFERENT,
                new=np.asarray(table.data)[split.test],
                quality=table.quality[split.test],
            )
            yield name, seed, part


COLUMNS = (
    "full outcomes",
    "win rates",
    "wins with holes",
    "best single by votes",
    "best single",
)


def lines(records: list[dict[str, Any]]) -> Iterator[str]:
    """Write one row for each table and matchmaking: means over seeds."""
    for key in dict.fromkeys((r["table"], r["match"]) for r in records):
        runs = [r for r in records if (r["table"], r["match"]) == key]
        cells = [*key, *(f"{np.mean([r[c] for r in runs]):.3f}" for c in COLUMNS)]
        worst = max(runs, key=lambda r: r["extra"])
        cells.append(f"{worst['extra']:+.3f} ({worst['extra_error']:.3f})")
        cells.append(f"{sum(r['warned'] for r in runs)} of {len(runs)}")
        yield "| " + " | ".join(cells) + " |"


def report(records: list[dict[str, Any]], n_battles: int) -> list[str]:
    """Write the page."""
    n_seeds = len({record["seed"] for record in records})
    return [
        "# Votes between two models",
        "",
        f"Regret on test rows: quality lost to the best decision in hindsight, by "
        f"decisions without a budget after {n_battles:,} battles of which {TIES:.0%} "
        f"are ties; means over {n_seeds} split(s). A vote is for the better answer "
        "with log-odds of four times the difference of their qualities, so equal "
        "answers are ties or coins.",
        "",
        "- neighbours: only models adjacent in mean quality meet.",
        "- full outcomes: the router on all outcomes of the training rows. On real "
        "tables its regret is mostly luck, which no router knows.",
        "- win rates: the router on `win_rates`.",
        "- wins with holes: the router on 1, 0 and 0.5 of the two models, else `NaN`.",
        "- best single by votes: the model of the highest mean win rate; best single: "
        "that of the highest mean of all outcomes.",
        "- worst: the largest regret of the win rates' router beyond that of the best "
        "single by votes, in any split, and its standard error over queries.",
        "- warned: `win_rates` said that the votes do not show clearly that the better "
        "model depends on the query.",
        "",
        "The first table is made: 5 models whose strengths are linear in the query.",
        "",
        "| table | who meets | " + " | ".join(COLUMNS) + " | worst | warned |",
        "|---|---|" + "---|" * (len(COLUMNS) + 2),
        *lines(records),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--tables", nargs="*", default=TABLES)
    parser.add_argument("--battles", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "battles")
    arguments = parser.parse_args()
    parallel = Parallel(arguments.jobs, return_as="generator_unordered")
    done = parallel(
        delayed(measure)(*part, arguments.battles) for part in parts(arguments)
    )
    records = [record for some in done for record in some]
    order = (MADE, *TABLES)
    records.sort(key=lambda r: (r["seed"], order.index(r["table"])))
    save(arguments.out, records, report(records, arguments.battles))


if __name__ == "__main__":
    main()

"""Measure what calls of a new model are worth, chosen by `probes` or drawn.

Models are left out in turn; the router is fitted on the others, and the model is added
from 50 queries that `probes` chose, from 50 that it would choose by estimates alone,
from 50 in strata of how hard the pool finds them, and from 50, 100 and 200 drawn ones.
On other queries: how much larger the squared error of what is expected of it is than
with all outcomes of it, and how much utility is lost at five prices of money::

    python benchmarks/probes.py --data FOLDER --seeds 3 --models 6 --jobs 16
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from intervals import interval
from joblib import Parallel, delayed
from outputs import RESULTS, save
from sklearn.utils import Bunch
from tables import tables

from skroute import RankingRouter

TABLES = (
    *("pool9", "mmlu_pro", "bfcl", "livecodebench", "mistral7", "zeroeval"),
    *("niagara", "confidence", "routerbench3", "mathvista21"),
)
N_PROBES = 50
DRAWN = (50, 100, 200)
#: What is added from, and how it is called on the page.
DESIGNS = {
    "outcomes": "50 by `probes(X=X, y=y)`",
    "estimates": "50 by the same, from estimates alone",
    "strata": "50, one in each of 50 strata of the pool's mean outcome",
    "draw 50": "50 drawn",
    "draw 100": "100 drawn",
    "draw 200": "200 drawn",
}
#: In what all qualities differ by, over what the mean model costs.
PRICES = np.array([0.0, 0.01, 0.03, 0.1, 0.3])
_MOST_TRAINING, _MOST_JUDGED = 1200, 1500

Record = dict[str, Any]


def choose(
    router: RankingRouter, X: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Choose rows by each design; those that are drawn three times."""
    yield "outcomes", router.probes(N_PROBES, X=X, y=y)
    yield "estimates", router.probes(N_PROBES, X=X, y=np.full_like(y, np.nan))
    for _ in range(3):
        # Ties in any order.
        hard = y.mean(axis=1) + 1e-6 * rng.random(len(y))
        strata = np.array_split(np.argsort(hard), N_PROBES)
        yield "strata", np.array([rng.choice(stratum) for stratum in strata])
        for size in DRAWN:
            yield f"draw {size}", rng.permutation(len(X))[:size]


def measure(name: str, table: Bunch, seed: int, n_models: int) -> list[Record]:
    """Leave out some models of a table, one after the other."""
    costs = np.broadcast_to(table.costs, table.quality.shape)
    known = np.isfinite(table.quality).all(axis=1) & np.isfinite(costs).all(axis=1)
    X, y, prices = table.data[known], table.quality[known], costs[known].mean(axis=0)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(X))
    n_training = min(_MOST_TRAINING, int(0.7 * len(X)))
    train, test = rows[:n_training], rows[n_training:][:_MOST_JUDGED]
    records = []
    for new in rng.permutation(y.shape[1])[:n_models]:
        others = np.delete(np.arange(y.shape[1]), new)
        order = np.append(others, new)
        router = RankingRouter(
            costs=prices[others], n_estimators=0, n_landmarks=256, random_state=seed
        ).fit(X[train], y[np.ix_(train, others)])

        def judge(
            some: np.ndarray,
            router: RankingRouter = router,
            new: int = new,
            order: np.ndarray = order,
        ) -> np.ndarray:
            """Squared error of its estimates, of their mean, and utility."""
            outcomes, truth = y[train[some], new], y[test][:, order]
            larger = router.add_model(
                "new", outcomes, X=X[train[some]], costs=float(prices[new])
            )
            expected = larger.predict_quality(X[test])
            error = expected[:, -1] - truth[:, -1]
            utility = []
            for price in PRICES * np.ptp(y) / prices.mean():
                cost = price * prices[order]
                called = (expected - cost).argmax(axis=1)
                given = truth[np.arange(len(test)), called]
                utility.append(float((given - cost[called]).mean()))
            return np.array(
                [(error**2).mean(), error.mean() ** 2, np.mean(utility)]
            ) / [np.ptp(y) ** 2, np.ptp(y) ** 2, np.ptp(y)]

        best = judge(np.arange(len(train)))
        measured: dict[str, list[np.ndarray]] = {}
        designs = choose(router, X[train], y[np.ix_(train, others)], rng)
        for design, some in designs:
            measured.setdefault(design, []).append(judge(some))
        for design, values in measured.items():
            error, off, utility = np.mean(values, axis=0)
            records.append(
                {
                    "table": name,
                    "seed": seed,
                    "model": str(table.models[new]),
                    "design": design,
                    "error": error - best[0],
                    "off": off,
                    "loss": best[2] - utility,
                }
            )
    return records


def report(records: list[Record]) -> Iterator[str]:
    """Lines of the page."""
    names = list(dict.fromkeys(r["table"] for r in records))
    n_left_out = len({(r["table"], r["seed"], r["model"]) for r in records})

    def collect(design: str, what: str, name: str | None = None) -> np.ndarray:
        return np.array(
            [
                r[what]
                for r in records
                if r["design"] == design and name in (None, r["table"])
            ]
        )

    yield from [
        "# Which queries to call a new model on",
        "",
        f"Each of {n_left_out} models of {len(names)} tables was left out of a router "
        "that was fitted on at most 1,200 queries, and added to it from the outcomes "
        "named. On other queries: the mean squared error of what is expected of it, "
        "less that with all outcomes; the root mean square of the error of its mean; "
        "and the utility lost to a router with all outcomes, on average over five "
        "prices of money. In the range of qualities, with 95% intervals over models; "
        "what is drawn is drawn three times.",
        "",
        "| the new model was run on | error, 1e-4 | its mean, rms | utility lost, 1e-4 "
        "|",
        "|---|---|---|---|",
    ]
    for design, says in DESIGNS.items():
        error, loss = (1e4 * collect(design, what) for what in ("error", "loss"))
        low, high = interval(error)
        least, most = interval(loss)
        yield (
            f"| {says} | {error.mean():.0f} [{low:.0f}, {high:.0f}] "
            f"| {np.sqrt(collect(design, 'off').mean()):.3f} "
            f"| {loss.mean():.1f} [{least:.1f}, {most:.1f}] |"
        )
    yield from [
        "",
        "Error (1e-4) by table:",
        "",
        "| table | " + " | ".join(DESIGNS) + " |",
        "|---" * (len(DESIGNS) + 1) + "|",
    ]
    for name in names:
        cells = [f"{1e4 * collect(d, 'error', name).mean():.0f}" for d in DESIGNS]
        yield f"| {name} | " + " | ".join(cells) + " |"
    chosen = collect("outcomes", "error")
    parts = []
    for size in DRAWN:
        less = 1e4 * (chosen - collect(f"draw {size}", "error"))
        low, high = interval(less)
        parts.append(f"{less.mean():+.0f} [{low:+.0f}, {high:+.0f}] to {size} drawn")
    yield from [
        "",
        "Error of 50 chosen by the outcomes of the pool, against the same models from "
        f"drawn ones: {', '.join(parts)}.",
    ]
    if low > 0:
        yield (
            "\nWhere it loses: 50 chosen queries do not replace 200 drawn ones. On "
            "which queries a new model is better than others takes outcomes to find, "
            "whichever they are of."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", type=int, default=6, help="left out of each table")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "probes")
    arguments = parser.parse_args()
    results = Parallel(n_jobs=arguments.jobs, verbose=5)(
        delayed(measure)(name, table, seed, arguments.models)
        for name, table in tables(arguments.data, arguments.tables)
        for seed in range(arguments.seeds)
    )
    records = [record for result in results for record in result]
    print(save(arguments.out, records, report(records)).read_text())


if __name__ == "__main__":
    main()

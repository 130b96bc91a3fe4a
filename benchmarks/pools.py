"""Measure pools that change or shrink, tables with holes, and logs of a policy.

(a) Each model in turn is left out, and added late from all, 1,000, 200 and 50 outcomes.
(b) Outcomes are hidden at random. (c) One model per query was run, as a policy chose,
and its known propensities are given as weights, or not. (d) Fewer models are run, as
`smaller_pool` chooses them. Writes Markdown and JSON, in which parts that are not
measured again stay as they were::

    python benchmarks/pools.py --data FOLDER --seeds 3 --jobs 2
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from intervals import interval
from joblib import Parallel, delayed
from outputs import RESULTS, load, save
from sklearn.linear_model import RidgeCV
from sklearn.utils import Bunch
from tables import Training, splits, tables, training_part
from threadpoolctl import threadpool_limits

from skroute import PointwiseRouter, RankingRouter
from skroute._estimate.ridge import ALPHAS
from skroute.evaluation import smaller_pool

TABLES = ("pool9", "routerbench3", "digits")
#: A table of many models, of which few may do.
LARGE = ("bfcl",)
OUTCOMES = (None, 1000, 200, 50)
SIZES = (2, 4, 8, 12)
HOLES = ("70/30", "hidden 50%", "hidden 80%")
PARTS = ("late", "holes", "log", "smaller")
# What the policy of the log went by: the estimates of a router of its own, or how hard
# the query really was, as one that escalates failures does.
POLICIES = ("estimates", "escalation")
_TEMPERATURE, _STEP, _EXPLORED = 0.2, 0.35, 0.2

Record = dict[str, Any]


def _score(router: Any, table: Bunch, test: np.ndarray, order: Any = None) -> float:
    """Normalised area under the curve, on the test rows."""
    order = np.arange(table.quality.shape[1]) if order is None else order
    costs = np.broadcast_to(table.costs, table.quality.shape)
    cut = np.ix_(test, order)
    return float(router.score(table.data[test], table.quality[cut], costs=costs[cut]))


def _fitted(part: Training, seed: int, columns: Any = slice(None)) -> RankingRouter:
    prices = None if part.prices is None else part.prices[columns]
    costs = None if part.costs is None else part.costs[:, columns]
    router = RankingRouter(costs=prices, random_state=seed)
    return router.fit(part.X, part.y[:, columns], costs=costs)


def late(name: str, table: Bunch, seed: int) -> Iterator[Record]:
    """Add every model late."""
    split = next(splits(table, "70/30", seed))
    part = training_part(table, split)
    full = _score(_fitted(part, seed), table, split.test)
    n_queries, n_models = part.y.shape
    drawn = np.random.default_rng(seed).permutation(n_queries)
    for model in range(n_models):
        others = np.delete(np.arange(n_models), model)
        router = _fitted(part, seed, others)
        costs = part.prices[model] if part.costs is None else part.costs[:, model]
        for size in OUTCOMES:
            if size is not None and size >= n_queries:
                continue
            y = np.full(n_queries, np.nan)
            y[drawn[:size]] = part.y[drawn[:size], model]
            paid = costs if np.ndim(costs) == 0 else np.where(np.isnan(y), y, costs)
            larger = router.add_model("late", y, X=part.X, costs=paid)
            score = _score(larger, table, split.test, np.append(others, model))
            yield {
                "part": "late",
                "table": name,
                "seed": seed,
                "case": "all" if size is None else str(size),
                "model": str(table.models[model]),
                "difference": score - full,
            }


def holes(name: str, table: Bunch, seed: int) -> Iterator[Record]:
    """Hide outcomes at random."""
    for protocol in HOLES:
        split = next(splits(table, protocol, seed))
        part = training_part(table, split)
        ridge = PointwiseRouter(
            RidgeCV(ALPHAS), costs=part.prices, random_state=seed
        ).fit(part.X, part.y, costs=part.costs)
        ours = _score(_fitted(part, seed), table, split.test)
        peer = _score(ridge, table, split.test)
        yield {
            "part": "holes",
            "table": name,
            "seed": seed,
            "case": f"{1 - split.hidden:.0%}",
            "ours": ours,
            "ridge": peer,
            "difference": ours - peer,
        }


def log(name: str, table: Bunch, seed: int) -> Iterator[Record]:
    """Run only what a policy chose, one model per query."""
    split = next(splits(table, "70/30", seed))
    part = training_part(table, split)
    for policy in POLICIES:
        rng = np.random.default_rng(seed)
        propensity = _propensity(part, policy, rng, seed)
        drawn = propensity.cumsum(axis=1) > rng.random((len(part.X), 1))
        ran = np.zeros(part.y.shape, dtype=bool)
        ran[np.arange(len(ran)), drawn.argmax(axis=1)] = True
        y = np.where(ran, part.y, np.nan)
        costs = None if part.costs is None else np.where(ran, part.costs, np.nan)
        scores = []
        for weight in (None, 1.0 / propensity):
            router = RankingRouter(costs=part.prices, random_state=seed)
            router.fit(part.X, y, costs=costs, outcome_weight=weight)
            scores.append(_score(router, table, split.test))
        yield {
            "part": "log",
            "table": name,
            "seed": seed,
            "case": policy,
            "unweighted": scores[0],
            "weighted": scores[1],
            "difference": scores[1] - scores[0],
        }


def smaller(name: str, table: Bunch, seed: int) -> Iterator[Record]:
    """Choose ever larger pools out of many models."""
    # Without a ranker, whose training takes most of the time.
    router = RankingRouter(n_estimators=0, random_state=0)
    pool = smaller_pool(
        table.data,
        table.quality,
        table.costs,
        router,
        models=table.models,
        seeds=[seed],
    )
    for size, (model, kept) in enumerate(zip(pool.models, pool.kept[0], strict=True)):
        yield {
            "part": "smaller",
            "table": name,
            "seed": seed,
            "case": str(size + 1),
            "of": len(table.models),
            "model": str(model),
            "kept": float(kept),
        }


def _propensity(
    part: Training, policy: str, rng: np.random.Generator, seed: int
) -> np.ndarray:
    """Chance of every model on every query, under the policy that made the log."""
    if policy == "escalation":
        price = part.prices if part.costs is None else np.nanmean(part.costs, axis=0)
        rung = price.argsort().argsort() / (len(price) - 1)
        hard = 1.0 - np.nanmean(part.y, axis=1, keepdims=True)
        value = -(((rung - np.nan_to_num(hard, nan=0.5)) / _STEP) ** 2) / 2
    else:
        some = rng.choice(len(part.X), 200, replace=False)
        noisy = RankingRouter(costs=part.prices, n_estimators=0, random_state=seed)
        costs = None if part.costs is None else part.costs[some]
        noisy.fit(part.X[some], part.y[some], costs=costs)
        value = noisy.predict_quality(part.X) / _TEMPERATURE
    odds = np.exp(value - value.max(axis=1, keepdims=True))
    chosen = odds / odds.sum(axis=1, keepdims=True)
    return (1.0 - _EXPLORED) * chosen + _EXPLORED / value.shape[1]


def measure(part: str, name: str, table: Bunch, seed: int) -> list[Record]:
    with threadpool_limits(1):
        measured = {"late": late, "holes": holes, "log": log, "smaller": smaller}
        return list(measured[part](name, table, seed))


def _tables(records: list[Record]) -> Iterator[str]:
    """Write a table of every part."""
    headings = {
        "late": ("A model added late, less a refit of all", "outcomes"),
        "holes": ("Outcomes hidden at random, less ridge on the same", "observed"),
        "log": ("One outcome per query: weighted, less unweighted", "policy"),
    }
    for part, (heading, case) in headings.items():
        found = [record for record in records if record["part"] == part]
        if not found:
            continue
        absolute = [key for key in ("ours", "ridge", "unweighted") if key in found[0]]
        named = ["table", case, *absolute, "difference", "95% interval"]
        named += ["splits", "worst"]
        yield f"\n## {heading}\n"
        yield "| " + " | ".join(named) + " |"
        yield "|---" * len(named) + "|"
        for name, shown in dict.fromkeys((r["table"], r["case"]) for r in found):
            rows = [r for r in found if (r["table"], r["case"]) == (name, shown)]
            # Models of one split share its queries: the seeds are what is resampled.
            seeds = sorted({r["seed"] for r in rows})
            means = np.array(
                [
                    np.mean([r["difference"] for r in rows if r["seed"] == seed])
                    for seed in seeds
                ]
            )
            low, high = interval(means) if len(means) > 1 else (np.nan, np.nan)
            cells = [name, shown]
            cells += [f"{np.mean([r[key] for r in rows]):.4f}" for key in absolute]
            worst = _worst(rows)
            cells += [f"{means.mean():+.4f}", f"[{low:+.4f}, {high:+.4f}]"]
            cells += [str(len(seeds)), worst]
            yield "| " + " | ".join(cells) + " |"


def _pools(records: list[Record]) -> Iterator[str]:
    """Write how much of the gain pools of each size keep."""
    found = [record for record in records if record["part"] == "smaller"]
    if not found:
        return
    yield "\n## Fewer models: share of the gain over one that they keep\n"
    yield "| table | of | " + " | ".join(f"{k} models" for k in SIZES) + " | first |"
    yield "|---" * (len(SIZES) + 3) + "|"
    for name in dict.fromkeys(record["table"] for record in found):
        rows = [record for record in found if record["table"] == name]
        cells = [name, str(rows[0]["of"])]
        for size in SIZES:
            kept = np.array([r["kept"] for r in rows if r["case"] == str(size)])
            low, high = interval(kept) if len(kept) > 1 else (np.nan, np.nan)
            cells.append(f"{kept.mean():.0%} [{low:.0%}, {high:.0%}]")
        first = [r["model"] for r in rows if r["seed"] == rows[0]["seed"]][:4]
        yield "| " + " | ".join([*cells, ", ".join(first)]) + " |"


def _worst(rows: list[Record]) -> str:
    """Least mean difference of any model, or of any seed where none is named."""
    key = "model" if "model" in rows[0] else "seed"
    groups = dict.fromkeys(row[key] for row in rows)
    means = [
        (float(np.mean([r["difference"] for r in rows if r[key] == group])), group)
        for group in groups
    ]
    value, group = min(means)
    return f"{value:+.4f} ({key} {group})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--tables", nargs="+", help="default: those of each part")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "pools")
    arguments = parser.parse_args()
    results = Parallel(n_jobs=arguments.jobs, verbose=5)(
        delayed(measure)(part, name, table, seed)
        for part in arguments.parts
        for name, table in tables(
            arguments.data, arguments.tables or (LARGE if part == "smaller" else TABLES)
        )
        for seed in range(arguments.seeds)
    )
    records = [
        record
        for record in load(arguments.out) or []
        if record["part"] not in arguments.parts
    ]
    records += [record for result in results for record in result]
    print(save(arguments.out, records, report(records)).read_text())


def report(records: list[Record]) -> Iterator[str]:
    """Write all that was measured in Markdown."""
    yield from [
        "# Pools that change or shrink, tables with holes, logs of an earlier policy",
        "",
        "nAUC on the test rows of 70/30 splits. Intervals are bootstrapped over the "
        "splits: two say little. Of a log, one policy is a softmax, at "
        f"temperature {_TEMPERATURE}, over the estimates of a router fitted on 200 "
        "queries: it knows no more than the embedding. The other calls more expensive "
        "models the more models fail on the query, which the embedding does not tell. "
        f"Both explore on {_EXPLORED:.0%} of the queries. Fewer models are chosen on "
        "the training queries and judged on the others, by quality at an equal price: "
        "more than 100% is more than all models together gain.",
        *_tables(records),
        *_pools(records),
    ]


if __name__ == "__main__":
    main()

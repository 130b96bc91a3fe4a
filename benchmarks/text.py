"""Measure what prompts tell beside their embedding, and what blocks of columns add.

The same splits for all: RankingRouter on the embedding alone, on embedding, words and
surface as one block of columns, and TextRouter, which sees them as two::

    python benchmarks/text.py --data FOLDER --seeds 5 --jobs 2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from intervals import interval
from joblib import Parallel, delayed
from outputs import RESULTS, save
from sklearn.utils import Bunch
from tables import join_prompts, splits, tables, training_part
from threadpoolctl import threadpool_limits

import skroute
from skroute import RankingRouter
from skroute.metrics import normalized_auc, quality_neutral_cost, routing_curve
from skroute.text import TextRouter
from skroute.text.vectors import TextVectors

TABLES = (
    "pool9",
    "bfcl",
    "livecodebench",
    "mmlu_pro",
    "paretobandit",
    "routerbench3-question",
    "zeroeval",
    "mistral7",
)
ALONE, JOINED, BLOCKS = "embedding alone", "one block", "TextRouter"
VARIANTS = (ALONE, JOINED, BLOCKS)
# Budgets at which it is asked whether decisions give what they promise.
N_BUDGETS = 8

Record = dict[str, Any]


def measure_optimism(router: Any, X: Any, y: np.ndarray, quality: np.ndarray) -> float:
    """Mean quality that decisions promise, less what they give, over budgets.

    Budgets are equally spaced between the spends of the cheapest and the best decisions
    on the training queries; `quality` are the expected qualities of all models.
    """
    low, high = (float(end) for end in router.price_path_.cost[[0, -1]])
    place = {model: i for i, model in enumerate(router.models_)}
    found = []
    for budget in np.linspace(low, high, N_BUDGETS + 1)[1:]:
        chosen = [place[model] for model in router.route(X, budget=budget)]
        rows = np.arange(len(y)), chosen
        found.append(float((quality[rows] - y[rows]).mean()))
    return float(np.mean(found))


def measure(name: str, table: Bunch, seed: int, variant: str) -> Record:
    """Fit one variant on one split."""
    split = next(splits(table, "70/30", seed))
    part = training_part(table, split)
    router: Any = RankingRouter(part.prices, random_state=seed)
    X, X_test = part.X, table.data[split.test]
    if variant != ALONE:
        whole = join_prompts(table)
        X, X_test = whole.iloc[split.train], whole.iloc[split.test]
        if variant == JOINED:
            vectors = TextVectors.fit(X, random_state=seed)[1]
            router.set_params(blocks=(vectors.shape[1],))
        router = TextRouter(router)
    with threadpool_limits(1):
        start = time.perf_counter()
        router.fit(X, part.y, costs=part.costs)
        seconds = time.perf_counter() - start
        quality, cost = np.hsplit(router.transform(X_test), 2)
        inside = router.router_ if variant != ALONE else router
        V = router.embed(X_test) if variant != ALONE else X_test.astype(np.float32)
        took = []
        for i in range(200):
            start = time.perf_counter()
            inside.predict(V[[i % len(V)]])
            took.append(time.perf_counter() - start)
    with TemporaryDirectory() as folder:
        skroute.save(router, Path(folder, "r.skroute"))
        size = Path(folder, "r.skroute").stat().st_size
    costs = np.broadcast_to(table.costs, table.quality.shape)[split.test]
    y = table.quality[split.test]
    curve = routing_curve(y, costs, quality, cost)
    return {
        "table": name,
        "models": y.shape[1],
        "seed": seed,
        "variant": variant,
        "nauc": normalized_auc(curve),
        "qnc": min(quality_neutral_cost(curve), 1.0),
        "error": float(((quality - y) ** 2).mean()),
        "cost_error": float(np.abs(cost - costs).mean() / costs.mean()),
        "ranker": float(inside.rank_weight_),
        "caution": float(inside.caution_),
        "optimism": measure_optimism(router, X_test, y, router.predict_quality(X_test)),
        "fit_s": seconds,
        "query_us": 1e6 * float(np.median(took)),
        "mib": size / 2**20,
    }


def report(records: list[Record]) -> Iterator[str]:
    """Write all that was measured in Markdown."""
    found = list(dict.fromkeys(r["table"] for r in records))
    seeds = sorted({r["seed"] for r in records})
    variants = [v for v in VARIANTS if v in {r["variant"] for r in records}]

    def take(table: str, variant: str, what: str) -> np.ndarray:
        return np.array(
            [
                r[what]
                for seed in seeds
                for r in records
                if (r["table"], r["variant"], r["seed"]) == (table, variant, seed)
            ]
        )

    yield "# What prompts tell beside their embedding\n"
    joined = (
        f"`{JOINED}` takes embedding, words and surface of a prompt as one vector; "
        "`TextRouter` also sees each of the two by itself. "
    )
    yield (
        f"{len(seeds)} splits, 70/30. Embeddings are of all-MiniLM-L6-v2. "
        f"{joined if JOINED in variants else ''}Differences are to the embedding "
        "alone: of nAUC in 1e-4 with 95% bootstrap intervals over the splits, and the "
        "cost at parity (QNC) as means.\n"
    )
    yield (
        "| table | models | nAUC | "
        + " | ".join(f"{v}: nAUC" for v in variants[1:])
        + " | QNC | "
        + " | ".join(f"{v}: QNC" for v in variants[1:])
        + " |"
    )
    yield "|---" * (4 + 2 * (len(variants) - 1)) + "|"
    for table in found:
        base = take(table, ALONE, "nauc")
        cells = [table, str(int(take(table, ALONE, "models")[0])), f"{base.mean():.4f}"]
        for variant in variants[1:]:
            change = 1e4 * (take(table, variant, "nauc") - base)
            low, high = interval(change) if len(change) > 1 else (np.nan, np.nan)
            cells.append(f"{change.mean():+.0f} [{low:+.0f}, {high:+.0f}]")
        cells += [f"{take(table, v, 'qnc').mean():.3f}" for v in variants]
        yield "| " + " | ".join(cells) + " |"
    yield "\n## All tables\n"
    yield (
        "Intervals by bootstrap over the tables. Errors, times and sizes are means; a "
        "query is one alone, already a vector. Optimism: quality that the called "
        "models were expected to have, less what they had, in the mean over tables and "
        f"{N_BUDGETS} budgets, and in brackets that of the table where it is largest, "
        "the luck of its test queries included.\n"
    )
    yield (
        "| | change of nAUC | QNC, as a part | error of quality, change | error of "
        "cost | optimism | ranker followed | fit | one query | file, at most |"
    )
    yield "|---" * 10 + "|"
    for variant in variants:
        changes, ratios, errors, paid = [], [], [], []
        for table in found:
            means = {
                what: [take(table, v, what).mean() for v in (variant, ALONE)]
                for what in ("nauc", "qnc", "error", "cost_error")
            }
            changes.append(means["nauc"][0] - means["nauc"][1])
            ratios.append(np.log(means["qnc"][0] / means["qnc"][1]))
            errors.append(means["error"][0] - means["error"][1])
            if means["cost_error"][1] > 1e-9:
                paid.append(means["cost_error"][0])
        low, high = interval(np.array(changes))
        least, most = np.exp(interval(np.array(ratios)))
        own = [r for r in records if r["variant"] == variant]
        optimism = [take(table, variant, "optimism").mean() for table in found]
        followed = np.mean([r["ranker"] > 0 for r in own])
        cells = [
            variant,
            f"{np.mean(changes):+.4f} [{low:+.4f}, {high:+.4f}]",
            f"{np.exp(np.mean(ratios)):.3f} [{least:.3f}, {most:.3f}]",
            f"{np.mean(errors):+.4f}",
            f"{np.mean(paid):.3f}" if paid else "-",
            f"{np.mean(optimism):+.4f} ({max(optimism):+.3f})",
            f"{followed:.0%}",
            f"{np.mean([r['fit_s'] for r in own]):.1f} s",
            f"{np.median([r['query_us'] for r in own]):.0f} us",
            f"{max(r['mib'] for r in own):.1f} MiB",
        ]
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the tables")
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "text")
    arguments = parser.parse_args()
    found = list(tables(arguments.data, arguments.tables))
    records = Parallel(arguments.jobs)(
        delayed(measure)(name, table, seed, variant)
        for seed in range(arguments.seeds)
        for name, table in found
        for variant in arguments.variants
    )
    print(save(arguments.out, records, report(records)).read_text())


if __name__ == "__main__":
    main()

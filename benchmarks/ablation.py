"""Take one part out of the router at a time, and see what it was worth.

Same splits and scores as ``quality.py``. Where nAUC falls, or QNC or the error of the
expected quality rises, the part had earned its place::

    python benchmarks/ablation.py --data FOLDER --seeds 10

Of many tables it also writes a summary. The page of twelve tables is made by this, with
``--protocols 70/30 --seeds 5`` and the variants that it lists::

    python benchmarks/ablation.py --data FOLDER --tables bfcl confidence livecodebench
    llmdrift mathvista21 mistral7 mmlu_pro niagara paretobandit pool9 routerbench3
    zeroeval --out benchmarks/results/ablation_tables
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from intervals import interval
from joblib import Parallel, delayed
from outputs import RESULTS, save
from sklearn.utils import Bunch
from tables import PROTOCOLS, Split, splits, tables, training_part
from threadpoolctl import threadpool_limits

from skroute import RankingRouter
from skroute._estimate.options import OPTIONS, Options
from skroute.metrics import normalized_auc, quality_neutral_cost, routing_curve

WHOLE = "everything"
CREDULOUS = "a ranker is believed at once"
NO_BLOCKS = "no blocks of duplicates"
#: What is taken out on a protocol; elsewhere everything is, in turn.
VARIANTS = {
    "out of domain": (WHOLE, "no fallback far from training"),
    "learning curve": (WHOLE, "no ranker", CREDULOUS),
}
Setting = tuple[dict[str, Any], Options]


# From so many tables on, a summary over them says something.
_MANY_TABLES = 6
# Cost at parity, as a part of the best single model's, that is as good as none.
_NEGLIGIBLE = 0.01


def settings() -> dict[str, Setting]:
    """Parameters of the router, and options of what is in it."""
    kernels, profiles = {"gammas": ()}, {"profiles": ()}
    options = {
        WHOLE: {},
        # From 25 queries that tell the models apart, and at its best guess.
        CREDULOUS: {"doubt": 0.0, "min_ranked": 25},
        "a second kernel": {"gammas": (1.0, 2.0)},
        "no kernels": kernels,
        "no cluster profiles": profiles,
        "linear regression only": kernels | profiles,
        "one strength per regression": {"offsets": (0,), "n_hidden": 0},
        "level and differences weighed alike": {"two_weights": False},
        "no fallback far from training": {"trust": False},
        NO_BLOCKS: {},
    }
    variants: dict[str, Setting] = {
        name: ({}, replace(OPTIONS, **changed)) for name, changed in options.items()
    }
    variants["no ranker"] = ({"n_estimators": 0}, OPTIONS)
    variants["no caution"] = ({"caution": 0.0}, OPTIONS)
    variants["a tie gain of 0.001"] = ({"tie_gain": 0.001}, OPTIONS)
    return variants


def router_with(options: Options, has_blocks: bool = True) -> type[RankingRouter]:
    """Make a router of other options than the usual ones."""
    return type(
        "Variant",
        (RankingRouter,),
        {"_options": options, "_has_blocks": has_blocks},
    )


def measure(name: str, table: Bunch, split: Split, variant: str) -> dict[str, Any]:
    """Fit one variant on one split."""
    part = training_part(table, split)
    parameters, options = settings()[variant]
    with threadpool_limits(1):
        kind = router_with(options, has_blocks=variant != NO_BLOCKS)
        router = kind(part.prices, random_state=split.seed, **parameters)
        router.fit(part.X, part.y, costs=part.costs)
        quality, cost = np.hsplit(router.transform(table.data[split.test]), 2)
    costs = np.broadcast_to(table.costs, table.quality.shape)[split.test]
    y = table.quality[split.test]
    curve = routing_curve(y, costs, quality, cost)
    return {
        "table": name,
        "protocol": split.protocol,
        "part": split.part,
        "seed": split.seed,
        "variant": variant,
        "nauc": normalized_auc(curve),
        "qnc": min(quality_neutral_cost(curve), 1.0),
        "error": float(((quality - y) ** 2).mean()),
    }


def summary(records: list[dict[str, Any]]) -> Iterator[str]:
    """One line a variant: changes over all tables of the 70/30 splits."""
    means: dict[str, dict[str, list[list[float]]]] = {}
    for r in records:
        if r["protocol"] == "70/30":
            of_table = means.setdefault(r["variant"], {}).setdefault(r["table"], [])
            of_table.append([r["nauc"], r["qnc"], r["error"]])
    if len(means.get(WHOLE, {})) < _MANY_TABLES:
        return
    whole = {table: np.mean(some, axis=0) for table, some in means.pop(WHOLE).items()}
    yield f"## All {len(whole)} tables, 70/30\n"
    yield (
        "Mean change of nAUC and of the error, and geometric mean of QNC as a part of "
        "the whole router's; intervals by bootstrap over the tables.\n"
    )
    yield "| taken out | change of nAUC | QNC | change of the error |"
    yield "|---|---|---|---|"
    for variant in [name for name in settings() if name in means]:
        scores = {t: np.mean(some, axis=0) for t, some in means[variant].items()}
        change = np.array([scores[table] - whole[table] for table in whole])
        # A table on which quality comes free has a cost near 0 either way.
        ratio = np.log(
            [(scores[t][1] + _NEGLIGIBLE) / (whole[t][1] + _NEGLIGIBLE) for t in whole]
        )
        cells = []
        for column, sign, turn in (
            (change[:, 0], "+", float),
            (ratio, "", np.exp),
            (change[:, 2], "+", float),
        ):
            ends = (column.mean(), *interval(column))
            mean, low, high = (f"{turn(end):{sign}.4f}" for end in ends)
            cells.append(f"{mean} [{low}, {high}]")
        yield f"| {variant} | " + " | ".join(cells) + " |"
    yield ""


def report(records: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of the Markdown report."""
    n_tables = len({r["table"] for r in records})
    on = f", on {n_tables} tables" if n_tables >= _MANY_TABLES else ""
    yield f"# What each part of RankingRouter is worth{on}\n"
    yield (
        "Change of the scores when a part is taken out, with a 95% bootstrap interval "
        "over paired splits. The part earned its place where nAUC falls, or where QNC "
        "or the error rises (squared, of the expected quality). Out of domain each "
        "task is left out in turn, and scores are means over the tasks.\n"
    )
    yield from summary(records)
    for table, protocol in dict.fromkeys((r["table"], r["protocol"]) for r in records):
        parts: dict[str, dict[int, list[list[float]]]] = {}
        for r in records:
            if (r["table"], r["protocol"]) == (table, protocol):
                seeds = parts.setdefault(r["variant"], {})
                scored = [r["nauc"], r["qnc"], r["error"]]
                seeds.setdefault(r["seed"], []).append(scored)
        scores = {
            variant: np.array([np.mean(seeds[seed], axis=0) for seed in sorted(seeds)])
            for variant, seeds in parts.items()
        }
        whole = scores.pop(WHOLE)
        nauc, qnc, error = whole.mean(axis=0)
        yield (
            f"## {table}, {protocol}, {len(whole)} seeds: nAUC {nauc:.4f}, "
            f"QNC {qnc:.4f}, error {error:.4f}\n"
        )
        yield "| taken out | change of nAUC | change of QNC | change of the error |"
        yield "|---|---|---|---|"
        for variant in [name for name in settings() if name in scores]:
            change = scores[variant] - whole
            cells = []
            for column in change.T:
                low, high = interval(column)
                cells.append(f"{column.mean():+.4f} [{low:+.4f}, {high:+.4f}]")
            yield f"| {variant} | " + " | ".join(cells) + " |"
        yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument(
        "--tables", nargs="+", default=["pool9", "routerbench3", "digits"]
    )
    parser.add_argument(
        "--protocols",
        nargs="+",
        default=["70/30", "learning curve", "out of domain"],
        choices=PROTOCOLS,
    )
    parser.add_argument("--variants", nargs="+", choices=[*settings()])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "ablation")
    arguments = parser.parse_args()
    found = list(tables(arguments.data, arguments.tables))
    records = Parallel(arguments.jobs)(
        delayed(measure)(name, table, split, variant)
        for seed in range(arguments.seeds)
        for name, table in found
        for protocol in arguments.protocols
        for split in splits(table, protocol, seed)
        for variant in arguments.variants or VARIANTS.get(protocol, settings())
    )
    print(save(arguments.out, records, report(records)).read_text())


if __name__ == "__main__":
    main()

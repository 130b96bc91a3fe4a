"""Take one part out of the router at a time, and see what it was worth.

Same splits and scores as ``quality.py``. Where nAUC falls, or QNC or the error of the
expected quality rises, the part had earned its place::

    python benchmarks/ablation.py --data FOLDER --seeds 10
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from intervals import interval
from joblib import Parallel, delayed
from outputs import RESULTS, save
from sklearn.utils import Bunch
from tables import PROTOCOLS, Split, splits, tables, training_part
from threadpoolctl import threadpool_limits

from skroute import RankingRouter
from skroute._estimate.stacking import stacking_weights
from skroute.metrics import normalized_auc, quality_neutral_cost, routing_curve

WHOLE = "everything"
CREDULOUS = "a ranker is believed at once"
#: What is taken out on a protocol; elsewhere everything is, in turn.
VARIANTS = {
    "out of domain": (WHOLE, "no fallback far from training"),
    "learning curve": (WHOLE, "no ranker", CREDULOUS),
}
Setting = tuple[dict[str, Any], dict[str, Any]]


def _one_set_of_weights(combine: Callable) -> Callable:
    """Weigh level and differences alike: by the differences, which decide."""

    def weigh(*table: Any) -> np.ndarray:
        return np.repeat(combine(*table)[1:], 2, axis=0)

    return weigh


def _trusting(_: Any, distance: np.ndarray) -> np.ndarray:
    """Believe estimates wherever the query is."""
    return np.ones(len(distance))


def settings() -> dict[str, Setting]:
    """Parameters of the router, and parts of the package that are replaced."""
    return {
        WHOLE: ({}, {}),
        "no ranker": ({"n_estimators": 0}, {}),
        # From 25 queries that tell the models apart, and at its best guess.
        CREDULOUS: (
            {},
            {
                "skroute._rank.ranker._DOUBT": 0.0,
                "skroute._rank.ranker._MIN_RANKED": 25,
            },
        ),
        "no kernels": ({}, {"skroute._estimate.feature_maps._GAMMAS": ()}),
        "no cluster profiles": ({}, {"skroute._estimate.feature_maps._PROFILES": ()}),
        "linear regression only": (
            {},
            {
                "skroute._estimate.feature_maps._GAMMAS": (),
                "skroute._estimate.feature_maps._PROFILES": (),
            },
        ),
        "one strength per regression": (
            {},
            {
                "skroute._estimate.quality._WEIGHED": (0,),
                "skroute._estimate.quality._FEATURES": slice(0, 1),
            },
        ),
        "level and differences weighed alike": (
            {},
            {
                "skroute._estimate.quality.stacking_weights": _one_set_of_weights(
                    stacking_weights
                )
            },
        ),
        "no tie gain": ({"tie_gain": 0.0}, {}),
        "no fallback far from training": (
            {},
            {"skroute._estimate.feature_maps.QueryViews._trust_at": _trusting},
        ),
    }


def measure(name: str, table: Bunch, split: Split, variant: str) -> dict[str, Any]:
    """Fit one variant on one split."""
    part = training_part(table, split)
    parameters, replaced = settings()[variant]
    with threadpool_limits(1), ExitStack() as stack:
        for target, value in replaced.items():
            stack.enter_context(patch(target, value))
        router = RankingRouter(part.prices, random_state=split.seed, **parameters)
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


def report(records: list[dict[str, Any]]) -> Iterator[str]:
    """Lines of the Markdown report."""
    yield "# What each part of RankingRouter is worth\n"
    yield (
        "Change of the scores when a part is taken out, with a 95% bootstrap interval "
        "over paired splits. The part earned its place where nAUC falls, or where QNC "
        "or the error rises (squared, of the expected quality). Out of domain each "
        "task is left out in turn, and scores are means over the tasks.\n"
    )
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
        for variant in VARIANTS.get(protocol, settings())
    )
    print(save(arguments.out, records, report(records)).read_text())


if __name__ == "__main__":
    main()

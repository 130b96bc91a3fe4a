"""Measure the quality of routing: skroute's routers against tuned peers.

Every router learns from the same training rows, is priced by the same decisions, and is
judged on the same test rows, by a shadow price ("price") and by a cap on each query
("cap"). Writes a page, all columns as CSV, and all scores as JSON::

    python benchmarks/quality.py --data FOLDER --jobs 2
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Container, Iterator
from itertools import product
from operator import itemgetter
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from outputs import RESULTS, load, save
from peers import FAST, FASTEST, PEERS, WORDED, make_peer, why_not
from quality_report import (
    OURS,
    POLICIES,
    SHOWN_PROTOCOL,
    STATIC,
    TEXT,
    Record,
    group,
    report,
    rows,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch, _safe_indexing
from tables import (
    BUNDLED,
    PROTOCOLS,
    REAL,
    Split,
    join_prompts,
    splits,
    tables,
    training_part,
)
from threadpoolctl import threadpool_limits

from skroute import DummyRouter, RankingRouter
from skroute.base import BaseRouter
from skroute.evaluation import BUDGET_SHARES
from skroute.metrics import (
    RoutingCurve,
    best_single,
    normalized_auc,
    peak_quality,
    quality_neutral_cost,
    routing_curve,
)
from skroute.text import TextRouter

#: Tables on which all protocols are measured; on the others, 70/30 is.
VARIED = ("pool9", "routerbench3", "mistral7", "digits")
#: Peers of each protocol: the slow ones only where a fit takes no minutes.
MEASURED = {
    "70/30": (*PEERS, *WORDED),
    "20/80": (*PEERS,),
    "learning curve": (*FAST, "logistic"),
    "out of domain": (*FAST, "logistic"),
    "hidden 50%": FASTEST,
    "hidden 80%": FASTEST,
}
# A quality to reach at the least cost, as a share of the best single model's.
TARGET, PARITY = "95%", "100%"
_N_BINS = 10
# Seconds between two writings of what there is so far.
_WRITE_EVERY = 120

IDENTITY = ("table", "protocol", "part", "seed", "router")
_key = itemgetter(*IDENTITY)


def make_router(name: str, costs: Any, seed: int) -> BaseRouter:
    if name == OURS:
        return RankingRouter(costs=costs, random_state=seed)
    if name == TEXT:
        return TextRouter(RankingRouter(costs=costs, random_state=seed))
    if name == STATIC:
        return DummyRouter(costs=costs)
    return make_peer(name, costs=costs, random_state=seed)


def measure(name: str, table: Bunch, split: Split, router: str) -> Record:
    """Fit one router on one split, and measure all there is to measure."""
    if reads_prompts(router):
        table = Bunch(**{**table, "data": join_prompts(table)})
    part = training_part(table, split)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # LightGBM's wrapper invents feature names, and misses them when it predicts.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        started = perf_counter()
        fitted = make_router(router, part.prices, split.seed)
        fitted.fit(part.X, part.y, costs=part.costs)
        fit_seconds = perf_counter() - started
        scores = _scores(fitted, table, split, part.y)
    identity = (name, split.protocol, split.part, split.seed, router)
    return {
        **dict(zip(IDENTITY, identity, strict=True)),
        "n_train": len(split.train),
        "n_test": len(split.test),
        "n_models": table.quality.shape[1],
        "fit_seconds": fit_seconds,
        "final_fit_seconds": getattr(fitted, "final_fit_seconds_", fit_seconds),
        **scores,
    }


def reads_prompts(router: str) -> bool:
    return router == TEXT or router in WORDED


def _scores(router: BaseRouter, table: Bunch, split: Split, y_train: Any) -> Record:
    X, y = _safe_indexing(table.data, split.test), table.quality[split.test]
    costs = np.broadcast_to(table.costs, table.quality.shape)
    train_costs, costs = costs[split.train], costs[split.test]
    started = perf_counter()
    quality, cost = np.hsplit(router.transform(X), 2)
    predict_seconds = perf_counter() - started
    rows = np.arange(len(y))
    # Unlike the curve's, this single model had to be chosen on the training rows.
    best = best_single(y_train, train_costs)
    single, single_cost = y[:, best], costs[:, best].mean()
    gain = y[rows, router.predict(X)] - single
    called = {
        target: router.route(X, min_quality=target, on_infeasible="cheapest")
        for target in (TARGET, PARITY)
    }
    calls = {t: names[:, None] == router.models_ for t, names in called.items()}
    got = y[calls[TARGET]]
    share = float(TARGET.rstrip("%")) / 100
    above = got - share * single
    curves = {
        policy: routing_curve(y, costs, quality, cost, scope=scope)
        for policy, scope in POLICIES.items()
    }
    fallback = routing_curve(
        y,
        costs,
        np.tile(np.eye(y.shape[1])[curves["price"].best_single], (len(y), 1)),
        costs,
    )
    return {
        "predict_seconds": predict_seconds,
        "calibration_error": calibration_error(y, quality),
        "gain": float(gain.mean()),
        "gain_error": float(gain.std(ddof=1) / np.sqrt(len(gain))),
        "target": float(got.mean() - share * np.nanmean(y_train, axis=0).max()),
        "target_error": float(got.std(ddof=1) / np.sqrt(len(got))),
        "target_here": float(above.mean()),
        "target_here_error": float(above.std(ddof=1) / np.sqrt(len(above))),
        # Of what was settled on the training rows: money as a share of the best single
        # model's, and quality beyond its share of that model's.
        "settled_cost": {
            t: float(costs[chosen].mean() / single_cost) for t, chosen in calls.items()
        },
        "settled_gain": {
            t: float((y[chosen] - float(t.rstrip("%")) / 100 * single).mean())
            for t, chosen in calls.items()
        },
        "spent": _spent(router, X, costs, train_costs),
        "policies": {
            policy: read_curve(curve, fallback) for policy, curve in curves.items()
        },
    }


def calibration_error(y: np.ndarray, quality: np.ndarray) -> float:
    """Mean distance of expected from observed quality, in bins of equal size."""
    order = np.argsort(quality, axis=None, kind="stable")
    bins = np.array_split(order, _N_BINS)
    off = [abs(y.flat[rows].mean() - quality.flat[rows].mean()) for rows in bins]
    return float(np.average(off, weights=[len(rows) for rows in bins]))


def _spent(
    router: BaseRouter, X: np.ndarray, costs: np.ndarray, train_costs: np.ndarray
) -> list[float]:
    """Money actually spent over the mean budget that was asked for."""
    known = train_costs[np.isfinite(train_costs).all(axis=1)]
    low, high = known.min(axis=1).mean(), known.max(axis=1).mean()
    spent = []
    for budget in low + np.array(BUDGET_SHARES) * (high - low):
        names = router.route(X, budget=budget, on_infeasible="cheapest")
        called = names[:, None] == router.models_
        spent.append(float(costs[called].mean() / budget))
    return spent


def read_curve(curve: RoutingCurve, fallback: RoutingCurve) -> Record:
    """Numbers of one curve; where parity is not reached, the best single is called."""
    neutral = quality_neutral_cost(curve)
    spent, gained = curve.envelope()
    target = curve.model_quality[curve.best_single] - 1e-12
    reached = np.flatnonzero(curve.quality >= target)
    parity, point = fallback, -1
    if len(reached):
        parity, point = curve, reached[curve.cost[reached].argmin()]
    low, high = curve.floor[0], curve.ceiling
    marks = low + np.array(BUDGET_SHARES) * (high - low)
    return {
        "nauc": normalized_auc(curve),
        # Calling the best single model for every query is always possible.
        "qnc": min(neutral, 1.0),
        "reached": float(np.isfinite(neutral)),
        "peak": peak_quality(curve),
        "rci": float(curve.collapse[-1]),
        "strongest": float(curve.call_share[-1, curve.strongest]),
        "rci_parity": float(parity.collapse[point]),
        "strongest_parity": float(parity.call_share[point, curve.strongest]),
        "quality_at": np.interp(marks, spent, gained).tolist(),
    }


def write(records: list[Record], out: Path) -> None:
    """Write the records, the page and the CSV of all columns."""
    records.sort(key=lambda record: (record["table"], record["protocol"]))
    measured = group(records)
    save(out, records, report(measured), rows(measured))


def jobs(arguments: argparse.Namespace, known: Container[tuple]) -> Iterator[Any]:
    """One job per (table, split, router): seeds first, so that a part is a result.

    Peers whose records are known are not measured again.
    """
    found = list(tables(arguments.data, arguments.tables))
    ours = () if arguments.peers_only else (OURS, TEXT)
    for seed, (name, table), protocol in product(
        range(arguments.seeds), found, arguments.protocols
    ):
        if protocol != SHOWN_PROTOCOL and name not in VARIED:
            continue
        peers = MEASURED[protocol] if arguments.peers is None else arguments.peers
        for split in splits(table, protocol, seed):
            for router in (*ours, STATIC, *peers):
                identity = (name, split.protocol, split.part, seed, router)
                if router not in ours and identity in known:
                    continue
                # Prompts of digits number the pictures, and nothing else.
                if reads_prompts(router) and (
                    name not in REAL or protocol != SHOWN_PROTOCOL
                ):
                    continue
                reason = why_not(router, len(split.train), table.quality.shape[1])
                if reason is None:
                    yield delayed(measure)(name, table, split, router)
                elif seed == 0:
                    print(f"{name}, {split.protocol}: no {router}, {reason}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--tables", nargs="+", default=[*REAL, *BUNDLED])
    parser.add_argument("--protocols", nargs="+", default=PROTOCOLS, choices=PROTOCOLS)
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=[*PEERS, *WORDED],
        help="default: all, less the slow ones where these would take hours",
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="under 3 minutes")
    parser.add_argument(
        "--update",
        action="store_true",
        help="keep the peers' records of an earlier --out, measure ours and the rest",
    )
    parser.add_argument(
        "--peers-only", action="store_true", help="measure none of our routers"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "quality")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tables = ["pool9", "routerbench3", "digits"]
        arguments.protocols, arguments.seeds = ["70/30"], 2
        arguments.peers = [*FAST]
    return arguments


def main() -> None:
    arguments = parse()
    records: dict[tuple, Record] = {}
    if arguments.update:
        records = {_key(record): record for record in load(arguments.out) or ()}
    started = written = perf_counter()
    parallel = Parallel(arguments.jobs, return_as="generator_unordered")
    for record in parallel(jobs(arguments, set(records))):
        records[_key(record)] = record
        price = record["policies"]["price"]
        print(
            f"{perf_counter() - started:6.0f} s  {' '.join(map(str, _key(record)))}: "
            f"nAUC {price['nauc']:.4f} QNC {price['qnc']:.4f} "
            f"fit {record['fit_seconds']:.1f} s",
            flush=True,
        )
        if perf_counter() - written > _WRITE_EVERY:
            write(list(records.values()), arguments.out)
            written = perf_counter()
    write(list(records.values()), arguments.out)


if __name__ == "__main__":
    main()

"""Measure the quality of routing: the ranking router against tuned peers.

Every router learns from the same training rows, is priced by the same decisions, and is
judged on the same test rows, by a shadow price ("price") and by a cap on each query
("cap"). Writes a page with one table per (table, protocol), all columns as CSV, and all
scores as JSON::

    python benchmarks/quality.py --data FOLDER --seeds 10 --jobs 2
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Container, Iterable, Iterator
from itertools import product
from operator import itemgetter
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from outputs import RESULTS, load, save
from peers import FAST, FASTEST, PEERS, make_peer, why_not
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from tables import BUNDLED, PROTOCOLS, REAL, Split, splits, tables, training_part
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

OURS, STATIC = "RankingRouter", "best single"
POLICIES = {"price": "mean", "cap": "query"}
#: Peers of each protocol: the slow ones only where a fit takes no minutes.
MEASURED = {
    "70/30": (*PEERS,),
    "20/80": (*PEERS,),
    "learning curve": (*FAST, "logistic"),
    "out of domain": (*FAST, "logistic"),
    "hidden 50%": FASTEST,
    "hidden 80%": FASTEST,
}
# A quality to reach at the least cost, as a share of the best single model's.
TARGET = "95%"
_N_BINS = 10
# Seconds between two writings of what there is so far.
_WRITE_EVERY = 120
_N_RESAMPLES = 10_000

Record = dict[str, Any]
Row = dict[str, str]
IDENTITY = ("table", "protocol", "part", "seed", "router")
_key = itemgetter(*IDENTITY)


def make_router(name: str, costs: Any, seed: int) -> BaseRouter:
    if name == OURS:
        return RankingRouter(costs=costs, random_state=seed)
    if name == STATIC:
        return DummyRouter(costs=costs)
    return make_peer(name, costs=costs, random_state=seed)


def measure(name: str, table: Bunch, split: Split, router: str) -> Record:
    """Fit one router on one split, and measure all there is to measure."""
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
        "fit_seconds": fit_seconds,
        "final_fit_seconds": getattr(fitted, "final_fit_seconds_", fit_seconds),
        **scores,
    }


def _scores(router: BaseRouter, table: Bunch, split: Split, y_train: Any) -> Record:
    X, y = table.data[split.test], table.quality[split.test]
    costs = np.broadcast_to(table.costs, table.quality.shape)
    train_costs, costs = costs[split.train], costs[split.test]
    started = perf_counter()
    quality, cost = np.hsplit(router.transform(X), 2)
    predict_seconds = perf_counter() - started
    rows = np.arange(len(y))
    # Unlike the curve's, this single model had to be chosen on the training rows.
    single = y[:, best_single(y_train, train_costs)]
    gain = y[rows, router.predict(X)] - single
    called = router.route(X, min_quality=TARGET, on_infeasible="cheapest")
    got = y[called[:, None] == router.models_]
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


def _mean(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    if isinstance(values[0], str):
        return values[0]
    return np.mean(values, axis=0)


class Figures:
    """Scores of the routers on one (table, protocol), over paired seeds."""

    def __init__(self, records: Iterable[Record]) -> None:
        parts: dict[str, dict[int, list[Record]]] = {}
        for record in records:
            by_seed = parts.setdefault(record["router"], {})
            by_seed.setdefault(record["seed"], []).append(record)
        self.seeds = {
            router: {seed: _mean(some) for seed, some in sorted(by_seed.items())}
            for router, by_seed in parts.items()
        }

    def routers(self) -> list[str]:
        """Routers by rising QNC, ours first."""
        rest = [name for name in self.seeds if name != OURS]
        rest.sort(key=lambda name: self.values(name, "qnc").mean())
        return [OURS] * (OURS in self.seeds) + rest

    def policy(self, router: str, metric: str) -> str:
        """Ours is priced, as by default; a peer's policy is its best."""
        if router == OURS:
            return "price"
        metric, sign = ("nauc", -1) if metric == "nauc" else ("qnc", 1)
        return min(POLICIES, key=lambda p: sign * self.values(router, metric, p).mean())

    def values(
        self, router: str, metric: str, policy: str | None = None, seeds: Any = None
    ) -> np.ndarray:
        """One value a seed (or one row, where a metric has several numbers)."""
        seeds = self.seeds[router] if seeds is None else seeds
        records = [self.seeds[router][seed] for seed in seeds]
        if metric in records[0]:
            return np.array([record[metric] for record in records])
        policy = policy or self.policy(router, metric)
        return np.array([record["policies"][policy][metric] for record in records])

    def versus(self, router: str, metric: str, *, ratio: bool = False) -> str:
        """Difference of ours to a peer (or ratio of means), with its 95% interval."""
        both = [s for s in self.seeds.get(OURS, ()) if s in self.seeds[router]]
        if router == OURS or not both:
            return ""
        # The policy is chosen on all of the peer's seeds.
        policy = self.policy(router, metric)
        ours = self.values(OURS, metric, seeds=both)
        peer = self.values(router, metric, policy, seeds=both)
        rows = np.random.default_rng(0).integers(
            len(ours), size=(_N_RESAMPLES, len(ours))
        )
        a, b = ours[rows].mean(axis=1), peer[rows].mean(axis=1)
        drawn = a / b if ratio else a - b
        low, high = np.quantile(drawn, [0.025, 0.975])
        if ratio:
            return f"{ours.mean() / peer.mean():.3f} [{low:.3f}, {high:.3f}]"
        return f"{ours.mean() - peer.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


#: Columns of the CSV, in the order of `row`.
COLUMNS = (
    "router",
    "QNC policy",
    "nAUC",
    "nAUC, ours - peer",
    "QNC",
    "QNC, ours / peer",
    "reached",
    "peak",
    "RCI top / parity",
    "strongest top / parity",
    "quality at 25/50/75%",
    "calibration",
    "spent",
    "gain (s.e.)",
    "95% of training (s.e.)",
    "95% on the same rows (s.e.)",
    "fit s (final)",
    "predict s",
    "seeds",
)
#: Protocol and columns that are on the page.
SHOWN_PROTOCOL = "70/30"
SHOWN = ("router", "nAUC", "nAUC, ours - peer", "QNC", "QNC, ours / peer", "reached")


def row(figures: Figures, router: str) -> list[str]:
    def mean(metric: str) -> Any:
        return figures.values(router, metric).mean(axis=0)

    def target(metric: str) -> str:
        # Of peers that were fitted before it was measured there is none.
        if not all(metric in record for record in figures.seeds[router].values()):
            return ""
        return f"{mean(metric):+.4f} ({mean(metric + '_error'):.4f})"

    return [
        router,
        figures.policy(router, "qnc"),
        f"{mean('nauc'):.4f}",
        figures.versus(router, "nauc"),
        f"{mean('qnc'):.4f}",
        figures.versus(router, "qnc", ratio=True),
        f"{mean('reached'):.0%}",
        f"{mean('peak'):.4f}",
        f"{mean('rci'):.3f} / {mean('rci_parity'):.3f}",
        f"{mean('strongest'):.1%} / {mean('strongest_parity'):.1%}",
        " / ".join(f"{value:.3f}" for value in mean("quality_at")),
        f"{mean('calibration_error'):.4f}",
        " / ".join(f"{value:.0%}" for value in mean("spent")),
        f"{mean('gain'):+.4f} ({mean('gain_error'):.4f})",
        target("target"),
        target("target_here"),
        f"{mean('fit_seconds'):.1f} ({mean('final_fit_seconds'):.1f})",
        f"{mean('predict_seconds'):.2f}",
        str(len(figures.seeds[router])),
    ]


def summary(measured: dict[tuple[str, str], Figures]) -> Iterator[str]:
    """One line a (table, protocol): ours against the strongest peer of each metric."""
    yield "## In short\n"
    yield (
        "| table | protocol | nAUC, ours - strongest peer | QNC, ours / strongest peer "
        "| QNC, ours / EquiRouter | gain over the best single (s.e.) "
        "| 95% on the same rows (s.e.) | seeds |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for (table, protocol), figures in measured.items():
        peers = [name for name in figures.routers() if name not in (OURS, STATIC)]
        if OURS not in figures.seeds or not peers:
            continue

        def mean(name: str, metric: str, figures: Figures = figures) -> float:
            return float(figures.values(name, metric).mean())

        by_area = max(peers, key=lambda name: mean(name, "nauc"))
        by_cost = min(peers, key=lambda name: mean(name, "qnc"))
        equi = "EquiRouter"
        cells = [
            table,
            protocol,
            f"{figures.versus(by_area, 'nauc')} ({by_area})",
            f"{figures.versus(by_cost, 'qnc', ratio=True)} ({by_cost})",
            figures.versus(equi, "qnc", ratio=True) if equi in peers else "",
            f"{mean(OURS, 'gain'):+.4f} ({mean(OURS, 'gain_error'):.4f})",
            f"{mean(OURS, 'target_here'):+.4f} ({mean(OURS, 'target_here_error'):.4f})",
            str(len(figures.seeds[OURS])),
        ]
        yield "| " + " | ".join(cells) + " |"
    yield ""


def report(measured: dict[tuple[str, str], Figures], rows: list[Row]) -> Iterator[str]:
    """Lines of the Markdown report: a summary, and short tables of one protocol."""
    yield "# Routing quality: RankingRouter against tuned peers\n"
    yield (
        "All columns and protocols are in [quality.csv](quality.csv). QNC, RCI, shares "
        "and peak are those of the policy named (a peer's best by QNC, ours always "
        "priced); nAUC likewise is a peer's best. QNC counts 1 where the best single "
        "model's quality is not reached, or only at a higher cost. In brackets: 95% "
        "bootstrap over seeds, whose splits share queries. Fit s includes tuning and "
        "cross-fitting; (final) is the last fit alone. Gain: quality "
        "of the calls without a budget less that of the best single model in training. "
        "95%: quality of the calls with min_quality='95%' less 0.95 of that model's "
        "mean, in training and on the rows of the test.\n"
    )
    yield from summary(measured)
    for table, protocol in measured:
        if protocol != SHOWN_PROTOCOL:
            continue
        yield f"## {table}, {protocol}\n"
        yield "| " + " | ".join(SHOWN) + " |"
        yield "|" + "---|" * len(SHOWN)
        for row in rows:
            if (row["table"], row["protocol"]) == (table, protocol):
                yield "| " + " | ".join(row[name] for name in SHOWN) + " |"
        yield ""


def write(records: list[Record], out: Path) -> None:
    """Write the records, the page and the CSV of all columns."""
    records.sort(key=lambda record: (record["table"], record["protocol"]))
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record["table"], record["protocol"]), []).append(record)
    measured = {key: Figures(some) for key, some in found.items()}
    header = ("table", "protocol", *COLUMNS)
    rows = [
        dict(zip(header, (*key, *row(figures, router)), strict=True))
        for key, figures in measured.items()
        for router in figures.routers()
    ]
    table = [header, *(list(cells.values()) for cells in rows)]
    save(out, records, report(measured, rows), table)


def jobs(arguments: argparse.Namespace, known: Container[tuple]) -> Iterator[Any]:
    """One job per (table, split, router): seeds first, so that a part is a result.

    Peers whose records are known are not measured again.
    """
    found = list(tables(arguments.data, arguments.tables))
    for seed, (name, table), protocol in product(
        range(arguments.seeds), found, arguments.protocols
    ):
        peers = MEASURED[protocol] if arguments.peers is None else arguments.peers
        for split in splits(table, protocol, seed):
            for router in (OURS, STATIC, *peers):
                identity = (name, split.protocol, split.part, seed, router)
                if router != OURS and identity in known:
                    continue
                reason = why_not(router, len(split.train))
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
        choices=[*PEERS],
        help="default: all, less the slow ones where these would take hours",
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="under 3 minutes")
    parser.add_argument(
        "--update",
        action="store_true",
        help="keep the peers' records of an earlier --out, measure ours and the rest",
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

"""Measure what it is worth to check answers, and to escalate where they fail.

All policies decide on the same cross-fitted estimates of a RankingRouter, and are
judged on the same test rows: routing alone, a fixed cascade tuned on the training rows,
the textbook's rule with independent models, CascadeDecider, and an oracle. Checks are
simulated, or real where a table has them. Writes a page, all columns as CSV, and the
records as JSON::

    python benchmarks/cascade.py --data FOLDER --cache FOLDER --jobs 2
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from operator import itemgetter
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from cascade_checks import REAL_CHECKS, SIMULATED, Checked, list_checks, look
from cascade_peers import FixedCascade, Played, Textbook, gather
from cascade_report import (
    FIXED,
    IDENTITY,
    ORACLE,
    OURS,
    ROUTING,
    TEXTBOOK,
    report,
    rows,
)
from joblib import Parallel, delayed
from outputs import RESULTS, load, save
from sklearn.utils import Bunch
from tables import Split, splits, tables, training_part
from threadpoolctl import threadpool_limits

from skroute import BudgetDecider, CascadeDecider, RankingRouter
from skroute.metrics import (
    RoutingCurve,
    best_single,
    normalized_auc,
    oracle_curve,
    peak_quality,
    quality_neutral_cost,
    routing_curve,
)

PROTOCOL = "70/30"
#: Tables whose answers could be checked.
TABLES = (
    "routerbench3",
    "bfcl",
    "zeroeval",
    "livecodebench",
    "pool9",
    "niagara",
    "confidence",
    "mmlu_pro",
    "mistral7",
    "llmdrift",
    "paretobandit",
    "mathvista21",
)
MAX_CALLS = 4
#: Mean budgets, as shares of what the best single model costs.
BUDGETS = (0.2, 0.4, 0.6)
TARGET = "100%"
# Prices at which utilities are compared: 0, and from one at which money matters little
# to one at which little is bought, times the spread of the costs.
_N_PRICES, _LOWEST, _HIGHEST = 20, 0.003, 30.0
# Seconds between two writings of what there is so far.
_WRITE_EVERY = 120

Record = dict[str, Any]
_key = itemgetter(*IDENTITY)


@dataclass(frozen=True)
class Part:
    """Training or test queries, with complete outcomes in the test."""

    Z: np.ndarray
    y: np.ndarray
    costs: np.ndarray
    checked: Checked

    def keep_known(self) -> Part:
        """Leave out queries of which the check is not known."""
        rows = np.flatnonzero(self.checked.known)
        return Part(
            self.Z[rows], self.y[rows], self.costs[rows], self.checked.take(rows)
        )


# Estimates


def estimate(table: Bunch, split: Split, file: Path) -> Path:
    """Write a router's estimates of both parts of a split, if they are not there."""
    if file.exists():
        with np.load(file, allow_pickle=True) as found:
            same = np.array_equal(found["train"], split.train)
            if same and np.array_equal(found["test"], split.test):
                return file
    part = training_part(table, split)
    with threadpool_limits(1):
        router = RankingRouter(part.prices, random_state=split.seed)
        Z = router.fit_transform(part.X, part.y, costs=part.costs)
        V = router.transform(table.data[split.test])
    np.savez(file, Z=Z, V=V, train=split.train, test=split.test)
    return file


def make_parts(
    table: Bunch, split: Split, file: Path, checked: Checked
) -> tuple[Part, Part]:
    """Make the training and the test part of a split."""
    costs = np.broadcast_to(table.costs, table.quality.shape)
    with np.load(file, allow_pickle=True) as found:
        train, test = (
            Part(Z, table.quality[rows], costs[rows], checked.take(rows))
            for Z, rows in ((found["Z"], split.train), (found["V"], split.test))
        )
    return train.keep_known(), test.keep_known()


# One measurement


def measure(
    name: str,
    table: Bunch,
    split: Split,
    check: str,
    file: Path,
    folder: Path,
    max_calls: int,
) -> Record:
    """Fit all policies on one split with one check, and measure them."""
    checked = look(folder, name, table, check, split.seed)
    train, test = make_parts(table, split, file, checked)
    with threadpool_limits(1):
        policies = _measure_policies(train, test, max_calls, split.seed)
    return {
        **dict(zip(IDENTITY, (name, check, split.seed), strict=True)),
        "max_calls": max_calls,
        "n_train": len(train.y),
        "n_test": len(test.y),
        "policies": policies,
    }


def _measure_policies(
    train: Part, test: Part, max_calls: int, seed: int
) -> dict[str, Record]:
    started = perf_counter()
    decider = _fit(train, max_calls, seed)
    fit_seconds = perf_counter() - started
    prices = decider.path_.price[:-1]
    grid = _make_prices(train)
    quality, cost = np.hsplit(test.Z, 2)
    routed = routing_curve(test.y, test.costs, quality, cost)
    seen_train, seen = (
        gather(part.Z, part.y, part.costs, part.checked) for part in (train, test)
    )
    started = perf_counter()
    textbook = Textbook(seen_train, train.checked, max_calls, seed)
    textbook_seconds = perf_counter() - started
    fixed = FixedCascade(seen_train, textbook.held_out, prices)
    fixed_seconds = perf_counter() - started
    logits = textbook.logits(seen.evidence)

    def route(price: float) -> Played:
        return _call_one(test, (quality - price * cost).argmax(axis=1))

    def foresee(price: float) -> Played:
        return _call_one(test, (test.y - price * test.costs).argmax(axis=1))

    def follow_chain(price: float) -> Played:
        return fixed.play(seen, logits, fixed.settle(price))

    def follow_textbook(price: float) -> Played:
        return textbook.play(seen, price)

    def decide(price: float) -> Played:
        return _replay(decider, test, price=price)

    curves = {
        ROUTING: routed,
        FIXED: _trace(follow_chain, prices, routed),
        TEXTBOOK: _trace(follow_textbook, prices, routed),
        OURS: _trace_decider(decider, test),
        ORACLE: oracle_curve(test.y, test.costs),
    }
    plays = {
        ROUTING: route,
        FIXED: follow_chain,
        TEXTBOOK: follow_textbook,
        OURS: decide,
        ORACLE: foresee,
    }
    utility = {policy: _rate(play, grid) for policy, play in plays.items()}
    found = {
        policy: {
            **read_curve(curve),
            **_compare("over_routing", utility[policy], utility[ROUTING]),
            **_compare("under_ours", utility[OURS], utility[policy]),
        }
        for policy, curve in curves.items()
    }
    single = best_single(train.y, train.costs)
    found[ROUTING] |= _settle_routing(train, test, single)
    target = float(np.nanmean(train.y, axis=0)[single])
    reached = fixed.play(seen, logits, fixed.settle_for_quality(_reach(fixed, target)))
    found[FIXED] |= _settled(reached, test, single) | {"fit_seconds": fixed_seconds}
    found[TEXTBOOK]["fit_seconds"] = textbook_seconds
    found[OURS] |= _settle(decider, train, test, single) | {"fit_seconds": fit_seconds}
    return found


def _fit(train: Part, max_calls: int, seed: int) -> CascadeDecider:
    """Fit the decider with all that it may know of the check."""
    checked = train.checked
    decider = CascadeDecider(
        max_calls=max_calls,
        sensitivity=checked.rate,
        specificity=checked.rate,
        on_infeasible="cheapest",
        random_state=seed,
    )
    checks = checked.checks if checked.is_learned else None
    return decider.fit(
        train.Z, train.y, costs=train.costs, checks=checks, answers=checked.answers
    )


def _replay_test(decider: CascadeDecider, test: Part) -> Any:
    checked = test.checked
    return decider.replay(test.Z, test.y, test.costs, checked.checks, checked.answers)


def _replay(decider: CascadeDecider, test: Part, **asked: Any) -> Played:
    """Replay test queries by what is asked of the decider: a price, a budget, ..."""
    nothing = {"price": None, "budget": None, "min_quality": None}
    found = _replay_test(decider.set_params(**nothing | asked), test)
    return Played(found.spend, found.quality, found.n_calls)


def _trace_decider(decider: CascadeDecider, test: Part) -> RoutingCurve:
    return _replay_test(decider, test).curve()


def _make_prices(train: Part) -> np.ndarray:
    """Make a grid of prices from 0, by the spread of the expected costs."""
    cost = np.hsplit(train.Z, 2)[1]
    spread = np.median(cost.max(axis=1) - cost.min(axis=1)) or 1.0
    return np.r_[0.0, np.geomspace(_LOWEST, _HIGHEST, _N_PRICES - 1) / spread]


def _call_one(test: Part, choice: np.ndarray) -> Played:
    rows = np.arange(len(choice))
    return Played(test.costs[rows, choice], test.y[rows, choice], np.ones(len(rows)))


def _trace(
    play: Callable[[float], Played], prices: np.ndarray, routed: RoutingCurve
) -> RoutingCurve:
    """Make the curve of a policy, of which only cost and quality are read."""
    played = [play(price) for price in prices]
    cost = np.array([p.spend.mean() for p in played])
    quality = np.array([p.quality.mean() for p in played])
    return replace(routed, budget=cost, cost=cost, quality=quality, price=prices)


def _rate(play: Callable[[float], Played], prices: np.ndarray) -> np.ndarray:
    """Mean over prices of quality less price times spend, of each query, (n,)."""
    total = 0.0
    for price in prices:
        played = play(price)
        total = total + played.quality - price * played.spend
    return total / len(prices)


def _compare(name: str, ours: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Mean difference of utilities, and its standard error over the queries."""
    gain = ours - other
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return {name: float(gain.mean()), f"{name}_error": float(error)}


def read_curve(curve: RoutingCurve) -> Record:
    """Numbers of one curve."""
    neutral = quality_neutral_cost(curve)
    single = curve.model_quality[curve.best_single]
    return {
        # Calling the best single model for every query is always possible.
        "qnc": min(neutral, 1.0),
        "reached": float(np.isfinite(neutral)),
        "nauc": normalized_auc(curve),
        "peak": float(peak_quality(curve) - single),
    }


def _reach(fixed: FixedCascade, target: float) -> float:
    """Lower a target to what a fixed cascade reached in training, if it has to be."""
    return min(target, max(c.quality.max() for c in fixed.chains if len(c.models)))


def _settled(played: Played, test: Part, single: int) -> Record:
    """What a policy gave that was settled beforehand, beside the best single model."""
    y, costs = test.y[:, single], test.costs[:, single]
    return {
        "settled_cost": float(played.spend.mean() / costs.mean()),
        "settled_quality": float((played.quality - y).mean()),
        "settled_calls": _count(played),
    }


def _count(played: Played) -> list[float]:
    """Mean and 95th percentile of the number of calls."""
    calls = np.asarray(played.n_calls)
    return [float(calls.mean()), float(np.quantile(calls, 0.95, method="higher"))]


def _settle_routing(train: Part, test: Part, single: int) -> Record:
    decider = BudgetDecider(min_quality=TARGET, on_infeasible="cheapest")
    decider.fit(train.Z, train.y, costs=train.costs)
    found = _settled(_call_one(test, decider.predict(test.Z)), test, single)
    spent = []
    for budget in _make_budgets(train, single):
        decider.set_params(budget=budget, min_quality=None)
        played = _call_one(test, decider.predict(test.Z))
        spent.append(float(played.spend.mean() / budget))
    return {**found, "spent": spent}


def _make_budgets(train: Part, single: int) -> list[float]:
    return [share * float(np.nanmean(train.costs[:, single])) for share in BUDGETS]


def _settle(decider: CascadeDecider, train: Part, test: Part, single: int) -> Record:
    found = _settled(_replay(decider, test, min_quality=TARGET), test, single)
    found["escalates"] = decider.escalates_
    spent, promised, calls = [], [], []
    for budget in _make_budgets(train, single):
        played = _replay(decider, test, budget=budget)
        spent.append(float(played.spend.mean() / budget))
        promised.append(_promise(decider) / budget)
        calls.append(_count(played))
    return {**found, "spent": spent, "promised": promised, "budget_calls": calls}


def _promise(decider: CascadeDecider) -> float:
    """Find what the decider means to spend: less, where more buys nothing."""
    path, price = decider.path_, decider.price_
    if np.isinf(price):
        return float(path.spend[0])
    if price == 0:
        is_same = decider.escalates_ == path.escalates[-2]
        return float(path.spend[-2 if is_same else -1])
    # The last place is the best single model, to which no price leads.
    rising = slice(len(path.price) - 3, 0, -1)
    log_price = np.log(path.price[rising])
    return float(np.interp(np.log(price), log_price, path.spend[rising]))


# All of them


def jobs(
    arguments: argparse.Namespace, cache: Path, known: set[tuple]
) -> Iterator[Any]:
    """One job per (table, seed, check): seeds first, so that a part is a result."""
    found = list(tables(arguments.data, arguments.tables))
    for seed, (name, table) in product(range(arguments.seeds), found):
        checks = [
            check
            for check in list_checks(name)
            if arguments.checks is None or check in arguments.checks
        ]
        checks = [check for check in checks if (name, check, seed) not in known]
        if not checks:
            continue
        split = next(splits(table, PROTOCOL, seed))
        file = estimate(table, split, cache / f"{name}_{seed}.npz")
        for check in checks:
            yield delayed(measure)(
                *(name, table, split, check, file),
                *(arguments.data, arguments.max_calls),
            )


def write(records: list[Record], out: Path) -> None:
    """Write the records, the page and the CSV of all columns."""
    checks = [*SIMULATED, *REAL_CHECKS]
    records.sort(key=lambda r: (r["table"], checks.index(r["check"]), r["seed"]))
    save(out, records, report(records, set(REAL_CHECKS)), rows(records))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(), help="folder of the real tables"
    )
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument(
        "--checks",
        nargs="+",
        choices=[*SIMULATED, *REAL_CHECKS],
        help="default: all that a table has",
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--max-calls", type=int, default=MAX_CALLS)
    parser.add_argument(
        "--cache",
        type=Path,
        help="folder where estimates are kept; empty it when the router changes",
    )
    parser.add_argument("--quick", action="store_true", help="under 2 minutes")
    parser.add_argument(
        "--missing",
        action="store_true",
        help="keep the records of an earlier --out, measure what is missing",
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "cascade")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tables, arguments.seeds = ["digits", "niagara"], 1
        arguments.checks = ["80%", "self-confidence, agreement"]
    return arguments


def main() -> None:
    arguments = parse()
    records: dict[tuple, Record] = {}
    if arguments.missing:
        records = {_key(record): record for record in load(arguments.out) or ()}
    started = written = perf_counter()
    parallel = Parallel(arguments.jobs, return_as="generator_unordered")
    with tempfile.TemporaryDirectory() as temporary:
        cache = arguments.cache or Path(temporary)
        cache.mkdir(parents=True, exist_ok=True)
        for record in parallel(jobs(arguments, cache, set(records))):
            records[_key(record)] = record
            ours = record["policies"][OURS]
            print(
                f"{perf_counter() - started:6.0f} s  "
                f"{', '.join(map(str, _key(record)))}: QNC {ours['qnc']:.3f} "
                f"({FIXED} {record['policies'][FIXED]['qnc']:.3f}), "
                f"utility {ours['over_routing']:+.4f} over routing, "
                f"fit {ours['fit_seconds']:.1f} s",
                flush=True,
            )
            if perf_counter() - written > _WRITE_EVERY:
                write(list(records.values()), arguments.out)
                written = perf_counter()
    write(list(records.values()), arguments.out)


if __name__ == "__main__":
    main()

"""Measure how often promises are broken, and what they cost.

Two kinds of draws. *Settling rows*: a router is fitted once, and rows that it never saw
are drawn, with replacement, to settle a decider on; what its decisions give is known
exactly, as the mean over all rows that are drawn from. *Refits*: training queries are
drawn, a router is fitted on them and settles on its own cross-fitted estimates; what
its decisions give is the mean over all other rows of the table, which has noise of its
own. A promise is broken if quality is below, or spend above, what was promised. Beside
it: the price at which the settling rows themselves reach the target (point estimate),
and the same walk with a normal bound. Writes a page, a table and the numbers::

    python benchmarks/promises.py --data FOLDER --parts settling
    python benchmarks/promises.py --data FOLDER --parts refit --missing
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from outputs import RESULTS, load, save
from scipy.stats import norm
from sklearn.linear_model import Ridge
from sklearn.utils import Bunch
from tables import tables

from skroute import PointwiseRouter, RankingRouter
from skroute._decide.hull import choose
from skroute._decide.known import KnownQueries
from skroute._decide.promise import list_decisions, promise
from skroute._decide.rule import Rule
from skroute.datasets import make_routing
from skroute.exceptions import InfeasibleBudgetError

REAL = (
    "bfcl",
    "pool9",
    "routerbench3",
    "mmlu_pro",
    "livecodebench",
    "zeroeval",
    "paretobandit",
    "niagara",
    "confidence",
)
MADE = {
    "made": {"n_models": 6, "random_state": 0},
    "made-noisy": {
        "n_models": 6,
        "noise": 2.0,
        "specialization": 0.3,
        "random_state": 1,
    },
    "made-graded": {
        "n_models": 10,
        "graded": True,
        "per_query_costs": False,
        "random_state": 2,
    },
}
PARTS = ("settling", "refit")
GOALS = ("95%", "number", "budget")
RULES = ("promise", "normal", "point")
SIZES = (300, 1000, 3000)
CONFIDENCES = (0.8, 0.9, 0.95)
# The confidence at which the other rules are measured.
USUAL = 0.9
N_MADE = 12_000
# Rows of draws that are settled together: their tables fit the cache.
AT_ONCE = 30_000
# Queries that the fixed router is fitted on, at most, and of a table.
N_TRAINING, SHARE_TRAINING = 1500, 0.3
# A budget lies here between the spends of the cheapest and of the best decisions.
BUDGET_SHARE = 0.5
# Rows of a refit that are left to judge it, at least.
LEAST_FRESH = 400


@dataclass(frozen=True)
class Goal:
    """What is asked for, and what breaks it."""

    name: str
    asked: dict[str, Any]

    @classmethod
    def of(cls, name: str, quality: np.ndarray, low: float, high: float) -> Goal:
        """Ask for a share, the same as a number, or a budget between two spends."""
        if name == "budget":
            return cls(name, {"budget": low + BUDGET_SHARE * (high - low)})
        target = "95%" if name == "95%" else 0.95 * float(quality.mean(axis=0).max())
        return cls(name, {"min_quality": target})

    def is_broken(self, quality: float, cost: float, reference: float) -> bool:
        """Whether means break the promise; `reference` is the best single model's."""
        if self.name == "budget":
            return bool(cost > self.asked["budget"] * (1 + 1e-9))
        target = self.asked["min_quality"]
        target = 0.95 * reference if isinstance(target, str) else target
        return bool(quality < target - 1e-12)


def complete_rows(table: Bunch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings, qualities and costs of the rows that are known completely."""
    costs = np.broadcast_to(table.costs, table.quality.shape)
    known = np.isfinite(table.quality).all(axis=1) & np.isfinite(costs).all(axis=1)
    return table.data[known], table.quality[known], costs[known]


def take(table: np.ndarray, choice: np.ndarray) -> np.ndarray:
    return table[np.arange(len(choice)), choice]


class Draws:
    """Settling rows of several draws, and the walks over the prices on them.

    The same as `skroute._decide.promise`, for all draws at once; `check` compares them.
    """

    def __init__(self, held: Held, n: int, draws: range) -> None:
        self.held, self.n = held, n
        size = len(held.quality)
        self.rows = np.array(
            [np.random.default_rng((draw, n)).integers(size, size=n) for draw in draws]
        )
        # The order in which the package bets on its rows.
        order = np.random.default_rng(0).permutation(n)
        self.bet = self.rows[:, order]
        counts = np.array([np.bincount(row, minlength=size) for row in self.rows])
        self.quality = counts @ held.quality / n
        self.best = self.quality.argmax(axis=1)
        self.target = 0.95 * held.quality[self.bet, self.best[:, None]]
        self.lowest = held.quality.min(axis=1)[self.rows].min(axis=1)
        self.highest = held.quality.max(axis=1)[self.rows].max(axis=1)
        self.most_paid = np.array([held.cost[row].max(axis=0) for row in self.rows])

    def values(self, goal: Goal, price: int, some: np.ndarray) -> tuple[Any, ...]:
        """Margins (n_some, n) at a price, their bound, and the models called."""
        held, rows = self.held, self.bet[some]
        called = held.choice[price][rows]
        if goal.name == "budget":
            budget = goal.asked["budget"]
            n_models = held.quality.shape[1]
            place = called + n_models * np.arange(len(rows))[:, None]
            is_called = np.bincount(place.ravel(), minlength=len(rows) * n_models) > 0
            most = np.where(
                is_called.reshape(-1, n_models), self.most_paid[some], -np.inf
            ).max(axis=1)
            return budget - held.spent[price][rows], budget - most, called
        target, highest = goal.asked["min_quality"], goal.asked["min_quality"]
        if goal.name == "95%":
            target, highest = self.target[some], 0.95 * self.highest[some]
        margin = held.gained[price][rows] - target
        return margin, self.lowest[some] - highest, called

    def walk(self, goal: Goal, asked: list[tuple[str, float]]) -> list[np.ndarray]:
        """Index of the last price before the first failure; -1 where none passes.

        For each of several rules and confidences, on all draws.
        """
        shape = len(asked), len(self.rows)
        last, active = np.full(shape, -1), np.ones(shape, dtype=bool)
        prices = list(range(len(self.held.prices)))
        before = np.full(self.bet.shape, -1)
        for price in prices[::-1] if goal.name == "budget" else prices:
            some = np.flatnonzero(active.any(axis=0))
            if not len(some):
                break
            values, low, called = self.values(goal, price, some)
            # Decisions that are those of the price before are not tested again.
            moved = (called != before[some]).any(axis=1)
            before[some] = called
            for number, (rule, confidence) in enumerate(asked):
                tested = moved & active[number, some]
                if not tested.any():
                    continue
                passes = hold(values[tested], low[tested], rule, confidence)
                draws = some[tested]
                active[number, draws] = passes
                last[number, draws[passes]] = price
        return list(last)

    def choose_single(self, goal: Goal, rule: str, last: np.ndarray) -> np.ndarray:
        """Model that is called for all queries after a walk; -1 is none."""
        held = self.held
        single = np.full(len(last), -1)
        rows = np.arange(len(last))
        if goal.name == "95%":
            expense = np.array(
                [
                    held.expense[row, held.choice[price][row]].mean()
                    for row, price in zip(self.rows, last, strict=True)
                ]
            )
            alone = np.array(
                [
                    held.expense[row, model].mean()
                    for row, model in zip(self.rows, self.best, strict=True)
                ]
            )
            is_single = (last < 0) | (alone <= expense)
            single = np.where(is_single, self.best, single)
        elif goal.name == "budget" and rule == "promise":
            within = self.most_paid <= goal.asked["budget"] * (1 + 1e-6)
            quality = np.where(within, self.quality, -np.inf)
            best = quality.argmax(axis=1)
            routed = np.array(
                [
                    held.gained[p][row].mean()
                    for p, row in zip(last, self.rows, strict=True)
                ]
            )
            better = (last >= 0) & (quality[rows, best] > routed + 1e-9)
            single = np.where(better, best, single)
        return single

    def check(self, goal: Goal, confidence: float) -> None:
        """Compare the first draw with what the package does."""
        held, row = self.held, self.rows[0]
        known = KnownQueries(
            held.expected[row],
            held.expense[row],
            held.quality[row],
            held.cost[row],
            np.arange(self.n),
            np.ones(held.quality.shape[1]),
            (float(self.lowest[0]), float(self.highest[0])),
            int(self.best[0]),
        )
        (last,) = self.walk(goal, [("promise", confidence)])
        single = self.choose_single(goal, "promise", last)
        try:
            price, _ = promise(
                Rule(**goal.asked, confidence=confidence), known, self.quality[0]
            )
        except InfeasibleBudgetError:
            assert last[0] < 0
        else:
            assert price.single == (None if single[0] < 0 else single[0])
            if price.single is None:
                # Prices that decide alike on all rows are the same.
                every = np.ones((1, held.quality.shape[1]), dtype=bool)
                choice = choose(held.expected, held.expense, price.high, every)
                assert np.array_equal(choice, held.choice[last[0]])


def hold(
    values: np.ndarray, low: np.ndarray, rule: str, confidence: float
) -> np.ndarray:
    """Whether each row of margins proves a mean of at least 0."""
    n = values.shape[1]
    if rule == "point":
        return values.mean(axis=1) >= 0
    if rule == "normal":
        error = values.std(axis=1, ddof=1) / np.sqrt(n)
        return values.mean(axis=1) - norm.ppf(confidence) * error >= 0
    doubt, free = np.log(1 / (1 - confidence)), low >= -1e-12
    low = np.where(free, -1.0, low)[:, None]
    before = np.hstack([low**2 / 4, values[:, :-1] ** 2]).cumsum(axis=1)
    before /= np.arange(1, n + 1)
    stake = np.minimum(np.sqrt(2 * doubt / (n * before)), 0.5 / -low)
    with np.errstate(over="ignore"):
        capital = (1 + stake * values).cumprod(axis=1).max(axis=1)
    return free | (capital >= 1 / (1 - confidence))


@dataclass(frozen=True)
class Held:
    """A fixed router, and the rows that settling rows are drawn from."""

    expected: np.ndarray
    expense: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    #: Prices, the decisions on all rows at each, and what these give and cost.
    prices: list[float]
    choice: np.ndarray
    gained: np.ndarray
    spent: np.ndarray

    @classmethod
    def out(cls, table: Bunch) -> Held:
        """Fit a router on a part of a table, and decide the other rows."""
        X, quality, cost = complete_rows(table)
        rows = np.random.default_rng(0).permutation(len(X))
        n_training = min(N_TRAINING, int(SHARE_TRAINING * len(X)))
        train, rest = np.split(rows, [n_training])
        router = RankingRouter(n_estimators=0, random_state=0)
        router.fit(X[train], quality[train], costs=cost[train])
        estimates = np.hsplit(router.transform(X[rest]), 2)
        quality, cost = quality[rest], cost[rest]
        every = np.ones((1, quality.shape[1]), dtype=bool)
        prices, choice = zip(*list_decisions(*estimates, every), strict=True)
        given = [np.array([take(t, c) for c in choice]) for t in (quality, cost)]
        return cls(*estimates, quality, cost, list(prices), np.array(choice), *given)


def measure_settling(held: Held, n: int, n_draws: int) -> Iterator[dict[str, Any]]:
    """Draw rows to settle on, for one router."""
    quality, cost = held.quality.mean(axis=0), held.cost.mean(axis=0)
    gained, spent = held.gained.mean(axis=1), held.spent.mean(axis=1)
    goals = [Goal.of(name, held.quality, spent.min(), spent.max()) for name in GOALS]
    outcomes: dict[tuple[int, float, str], list[tuple[bool, float, float, str]]] = {}
    asked = [("promise", level) for level in CONFIDENCES]
    asked += [("normal", USUAL), ("point", USUAL)]
    at_once = AT_ONCE // n
    for start in range(0, n_draws, at_once):
        draws = Draws(held, n, range(start, min(start + at_once, n_draws)))
        for number, goal in enumerate(goals):
            if start == 0:
                draws.check(goal, USUAL)
            walked = draws.walk(goal, asked)
            for (rule, level), last in zip(asked, walked, strict=True):
                alone = draws.choose_single(goal, rule, last)
                for price, single, best in zip(last, alone, draws.best, strict=True):
                    if single >= 0:
                        given, kind = (quality[single], cost[single]), "single"
                    elif price >= 0:
                        given, kind = (gained[price], spent[price]), "routed"
                    else:
                        given, kind = (np.nan, np.nan), "refused"
                    broken = kind != "refused" and goal.is_broken(*given, quality[best])
                    outcomes.setdefault((number, level, rule), []).append(
                        (broken, *given, kind)
                    )
    best = int(quality.argmax())
    reference = float(quality[best]), float(cost[best])
    for (number, level, rule), drawn in outcomes.items():
        yield summarise("settling", goals[number], n, level, rule, drawn, reference)


def measure_refits(table: Bunch, n: int, n_draws: int) -> Iterator[dict[str, Any]]:
    """Draw training queries, and fit a router on each draw."""
    X, quality, cost = complete_rows(table)
    if len(X) < n + LEAST_FRESH:
        return
    prices = None if (cost != cost[0]).any() else cost[0]
    best = int(quality.mean(axis=0).argmax())
    outcomes: dict[tuple[str, float, str], list[tuple[bool, float, float, str]]] = {}
    low, high = spends_of(X, quality, cost, prices)
    for draw in range(n_draws):
        rows = np.random.default_rng((draw, n)).permutation(len(X))
        train, fresh = rows[:n], rows[n:]
        router = PointwiseRouter(Ridge(10.0), costs=prices, random_state=draw)
        known = {} if prices is not None else {"costs": cost[train]}
        router.fit(X[train], quality[train], **known)
        index = {name: i for i, name in enumerate(router.models_)}
        for name in GOALS:
            goal = Goal.of(name, quality, low, high)
            for confidence in (None, *CONFIDENCES):
                rule = "point" if confidence is None else "promise"
                level = USUAL if confidence is None else confidence
                reference = float(quality[fresh, router._training.best_single].mean())
                try:
                    names = router.route(X[fresh], **goal.asked, confidence=confidence)
                except InfeasibleBudgetError:
                    result = False, np.nan, np.nan, "refused"
                else:
                    choice = np.array([index[model] for model in names])
                    gained = float(take(quality[fresh], choice).mean())
                    spent = float(take(cost[fresh], choice).mean())
                    kind = "single" if (choice == choice[0]).all() else "routed"
                    broken = goal.is_broken(gained, spent, reference)
                    result = broken, gained, spent, kind
                outcomes.setdefault((name, level, rule), []).append(result)
    reference = float(quality[:, best].mean()), float(cost[:, best].mean())
    for (name, level, rule), drawn in outcomes.items():
        goal = Goal.of(name, quality, low, high)
        yield summarise("refit", goal, n, level, rule, drawn, reference)


def spends_of(
    X: np.ndarray, quality: np.ndarray, cost: np.ndarray, prices: np.ndarray | None
) -> tuple[float, float]:
    """Spend of the cheapest and of the best decisions of a router on some rows."""
    rows = np.random.default_rng(1).permutation(len(X))[:1000]
    router = PointwiseRouter(Ridge(10.0), costs=prices, random_state=0)
    known = {} if prices is not None else {"costs": cost[rows]}
    path = router.fit(X[rows], quality[rows], **known).price_path_
    return float(path.cost[0]), float(path.cost[-1])


def summarise(
    part: str,
    goal: Goal,
    n: int,
    confidence: float,
    rule: str,
    outcomes: list[tuple[bool, float, float, str]],
    reference: tuple[float, float],
) -> dict[str, Any]:
    """One record: how often it was broken, and what the decisions gave and cost."""
    broken, gained, spent, kind = map(np.array, zip(*outcomes, strict=True))
    # Where no target can be promised, the best single model is called.
    refused = kind == "refused"
    if goal.name != "budget":
        spent, gained = (
            np.where(refused, alone, values)
            for alone, values in zip(reference[::-1], (spent, gained), strict=True)
        )
    unit = goal.asked["budget"] if goal.name == "budget" else reference[1]
    return {
        "part": part,
        "goal": goal.name,
        "n": n,
        "confidence": confidence,
        "rule": rule,
        "draws": len(broken),
        "broken": int(broken.sum()),
        "refused": int(refused.sum()),
        "single": int((kind == "single").sum()),
        "cost": float(np.nanmean(spent) / unit) if not refused.all() else None,
        "quality": (
            float(np.nanmean(gained) / reference[0]) if not refused.all() else None
        ),
    }


def is_kept(record: dict[str, Any]) -> bool:
    """Whether a promise is broken as seldom as it says, up to two standard errors."""
    doubt, draws = 1 - record["confidence"], record["draws"]
    most = doubt + 2 * np.sqrt(doubt * (1 - doubt) / draws)
    return bool(record["broken"] <= most * draws)


def write_page(records: list[dict[str, Any]]) -> Iterator[str]:
    """Write the page: per kind of draws, goal and confidence, over tables and sizes."""
    yield "# What a promise keeps and costs"
    yield ""
    yield (
        "`confidence` on real and made tables ("
        + ", ".join(dict.fromkeys(r["table"] for r in records))
        + "). Settling rows: draws of rows that a fixed router never saw, judged "
        "exactly. Refits: draws of training queries, a ridge router fitted on each, "
        "which settles on its own cross-fitted estimates; judged on the other rows of "
        "the table, whose noise breaks promises, too. Both of "
        + ", ".join(f"{n:,}" for n in sorted({r["n"] for r in records}))
        + " queries. "
        "Target: 95% of the best single model, or the same as a number; budget: "
        "halfway between the cheapest and the best decisions. Made tables are of "
        "`make_routing`, 12,000 queries. A cell is a table and a size; its limit is 1 "
        "- confidence plus two standard errors. Point: the price at which the rows "
        "themselves reach the target, without a confidence. Normal: the walk of a "
        "promise with a normal bound. Cost: in shares of the best single model's, "
        "which is called where no target can be promised; of a budget, in shares of it."
    )
    for part, title in zip(PARTS, ("Settling rows", "Refits"), strict=True):
        mine = [r for r in records if r["part"] == part]
        if not mine:
            continue
        yield from ("", f"## {title}", "")
        yield (
            "| goal | confidence | rule | draws | cells | broken | in the worst cell "
            "| cells above the limit | refused | cost |"
        )
        yield "|---|---|---|---|---|---|---|---|---|---|"
        keys = dict.fromkeys((r["goal"], r["confidence"], r["rule"]) for r in mine)
        for goal, confidence, rule in sorted(
            keys, key=lambda k: (GOALS.index(k[0]), k[1], RULES.index(k[2]))
        ):
            cells = [
                r
                for r in mine
                if (r["goal"], r["confidence"], r["rule"]) == (goal, confidence, rule)
            ]
            share = [r["broken"] / r["draws"] for r in cells]
            costs = [r["cost"] for r in cells if r["cost"] is not None]
            draws = sorted({r["draws"] for r in cells})
            above = sum(not is_kept(r) for r in cells)
            yield (
                f"| {goal} | {'' if rule == 'point' else f'{confidence:.0%}'} | {rule} "
                f"| {'-'.join(f'{d:,}' for d in dict.fromkeys((draws[0], draws[-1])))} "
                f"| {len(cells)} | {np.mean(share):.1%} | {max(share):.1%} "
                f"| {'' if rule == 'point' else above} "
                f"| {np.mean([r['refused'] / r['draws'] for r in cells]):.0%} "
                f"| {np.mean(costs):.2f} |"
            )
    yield from write_prices([r for r in records if r["part"] == "settling"])
    worst = [r for r in records if r["rule"] == "promise" and not is_kept(r)]
    yield ""
    yield (
        "No promise is above its limit, 1 - confidence plus two standard errors."
        if not worst
        else "Promises above their limit, 1 - confidence plus two standard errors: "
        + "; ".join(
            f"{r['table']}, {r['part']}, {r['goal']}, {r['confidence']:.0%}, "
            f"{r['n']:,} queries: {r['broken'] / r['draws']:.1%}"
            for r in worst
        )
        + "."
    )


def write_prices(records: list[dict[str, Any]]) -> Iterator[str]:
    """Write what rules cost, and how often they are broken, by the number of rows."""
    if not records:
        return
    rules = [("point", USUAL), ("normal", USUAL)]
    rules += [("promise", level) for level in CONFIDENCES]
    names = [r if r == "point" else f"{r}, {c:.0%}" for r, c in rules]
    yield from ("", "## The price of a promise", "")
    yield "Settling rows: cost, and in brackets how often it was broken."
    yield from ("", "| goal | rows | tables | " + " | ".join(names) + " |")
    yield "|---|---|---|" + "---|" * len(names)
    for goal in GOALS:
        for n in SIZES:
            mine = [r for r in records if (r["goal"], r["n"]) == (goal, n)]
            if not mine:
                continue
            cells = []
            for rule, level in rules:
                some = [
                    r for r in mine if (r["rule"], r["confidence"]) == (rule, level)
                ]
                costs = [r["cost"] for r in some if r["cost"] is not None]
                broken = [r["broken"] / r["draws"] for r in some]
                cells.append(
                    f"{np.mean(costs):.2f} ({np.mean(broken):.1%})" if some else ""
                )
            n_tables = len({r["table"] for r in mine})
            yield f"| {goal} | {n:,} | {n_tables} | " + " | ".join(cells) + " |"


def list_cells(records: list[dict[str, Any]]) -> Iterator[list[str]]:
    names = ("table", "part", "goal", "n", "confidence", "rule", "draws", "broken")
    names += ("refused", "single", "cost", "quality")
    yield list(names)
    for record in records:
        yield [
            f"{record[name]:.4g}"
            if isinstance(record[name], float)
            else str(record[name])
            for name in names
        ]


def read_tables(folder: Path | None, names: list[str]) -> Iterator[tuple[str, Bunch]]:
    for name in names:
        if name in MADE:
            yield name, make_routing(N_MADE, **MADE[name])
        else:
            yield from tables(folder, [name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--tables", nargs="+", default=[*MADE, *REAL])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--draws", type=int, help="default: 1,000 and 200")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument(
        "--missing",
        action="store_true",
        help="keep the records of an earlier --out, measure what is missing",
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "promises")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    records = (load(arguments.out) or []) if arguments.missing else []

    def keep(name: str, measured: Iterator[dict[str, Any]]) -> None:
        records.extend({"table": name, **record} for record in measured)
        save(arguments.out, records, write_page(records), list_cells(records))
        print(name, len(records), flush=True)

    for name, table in read_tables(arguments.data, arguments.tables):
        done = {(r["part"], r["n"]) for r in records if r["table"] == name}
        held = Held.out(table) if "settling" in arguments.parts else None
        for n in arguments.sizes:
            if held is not None and ("settling", n) not in done:
                keep(name, measure_settling(held, n, arguments.draws or 1000))
            if "refit" in arguments.parts and ("refit", n) not in done:
                keep(name, measure_refits(table, n, arguments.draws or 200))


if __name__ == "__main__":
    main()

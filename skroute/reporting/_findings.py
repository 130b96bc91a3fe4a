"""Numbers of a report; those of a curve are computed by skroute.metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import sem
from sklearn.utils import check_random_state

from skroute._decide.hull import choose
from skroute._judged import Judged
from skroute.metrics import (
    OracleLuck,
    RoutingCurve,
    oracle_curve,
    oracle_luck,
    quality_neutral_cost,
)

_LEVEL = 0.95
_N_BINS = 10
_N_EXAMPLES = 6
_MAX_TASKS = 40


class Interval(NamedTuple):
    """A number and its interval over resampled queries; infinity: not reached."""

    value: float
    low: float
    high: float


class Means(NamedTuple):
    """Mean quality and cost of decisions, expected and observed."""

    expected_quality: float
    quality: float
    expected_cost: float
    cost: float


class Promise(NamedTuple):
    """Decisions that were settled in training to keep the best single model's quality.

    `single` is the index of the model that was the best in training, and `choice`,
    (n_queries,), is ``None`` where training saw no way to keep its quality.
    """

    single: int
    choice: np.ndarray | None


class Kept(NamedTuple):
    """What those decisions gave, as shares of the quality and cost of that model.

    Shares are ``NaN`` where it has none, with 95% intervals over resampled queries.
    """

    at: Means
    quality: Interval
    cost: Interval


class Collapse(NamedTuple):
    """Decisions as shares of the queries.

    The strongest model is called for `strongest` of them, is the only best one on
    `needed`, and is called `in_vain` though another one is as good or better; `worse`
    are sent to another model that is not among the best.
    """

    strongest: float
    needed: float
    in_vain: float
    worse: float


class Bin(NamedTuple):
    """Mean qualities of calls with about the same expected quality."""

    expected: float
    observed: float
    n_calls: int


@dataclass(frozen=True)
class TaskRow:
    """One task at the operating point, against the best single model."""

    name: str
    n_queries: int
    quality: float
    #: Mean difference in quality to the best single model, and its standard error.
    gain: float
    error: float
    #: Cost as a share of the best single model's; ``NaN`` where that is free.
    cost_share: float
    #: Index of the model that is called most.
    most_called: int


@dataclass(frozen=True)
class Example:
    """One query at the operating point, against the best single model."""

    row: int
    prompt: str | None
    task: str | None
    model: str
    quality: float
    cost: float
    best_quality: float
    best_cost: float


@dataclass(frozen=True)
class Checked:
    """A cascade behind the router: its curve, and its means as it was set."""

    curve: RoutingCurve
    quality: float
    cost: float
    n_calls: float
    #: Calls that 95% of the queries stay within.
    most_calls: int


@dataclass(frozen=True)
class Findings:
    """All numbers of a report."""

    judged: Judged
    n_left_out: int
    curve: RoutingCurve
    oracle: RoutingCurve
    luck: OracleLuck
    peers: dict[str, RoutingCurve]
    neutral: Interval
    #: Whether any budget reaches the best single model's quality, in hindsight.
    reached: bool
    #: What was settled in training, if a router knows that, and what it then gave, if
    #: it was in reach.
    promise: Promise | None
    kept: Kept | None
    #: Operating point, an index into the curve: the point of those decisions, or
    #: without them the cheapest of the best single model's quality, or where no point
    #: has it, the point of the best quality.
    point: int
    #: Of the decisions at the operating point: share of the queries that each model is
    #: called for, (n_models,), and means.
    calls: np.ndarray
    at_point: Means
    #: Of these decisions, and of those without a budget.
    collapse: Collapse
    collapse_at_most: Collapse
    bins: list[Bin]
    calibration_error: float
    tasks: list[TaskRow]
    #: Queries on which money was saved without losing quality, and on which quality was
    #: lost: those of the largest amounts, and the shares of all of them.
    saved: list[Example]
    lost: list[Example]
    saved_share: float
    lost_share: float
    #: What checks and further calls make of it, if they are known.
    checked: Checked | None


def compute_findings(
    judged: Judged,
    peers: Mapping[str, Judged],
    *,
    tasks: np.ndarray | None,
    prompts: np.ndarray | None,
    promise: Promise | None,
    replay: Any = None,
    n_bootstrap: int,
    random_state: Any,
) -> Findings:
    """Compute the numbers of a report on held-out queries.

    `replay` is a CascadeReplay of the queries with every outcome.
    """
    curve = judged.compute_curve()  # raises where no query has complete outcomes
    kept = judged.complete
    rows, n_left_out = np.flatnonzero(kept), int((~kept).sum())
    known = judged.take(kept)
    tasks, prompts, promised = (
        None if values is None else values[kept]
        for values in (tasks, prompts, promise and promise.choice)
    )
    neutral = quality_neutral_cost(curve)
    if promised is None:
        point = _find_operating_point(curve, neutral)
        choice = _decide_at(known, curve.price[point])
    else:
        choice = promised
        point = int(
            np.abs(curve.budget - _average(known, choice).expected_cost).argmin()
        )
    bins = _bin_calls(known)
    gaps = [abs(part.expected - part.observed) for part in bins]
    n_calls = [part.n_calls for part in bins]
    best, random = curve.best_single, (n_bootstrap, random_state)
    chosen, single = _look_up(known, choice), _look_up(known, best)
    no_worse = chosen[0] >= single[0]
    saves, loses = no_worse & (chosen[1] < single[1]), ~no_worse

    def pick_examples(which: np.ndarray, amount: np.ndarray) -> list[Example]:
        order = np.lexsort((-chosen[0][which], -amount[which]))
        return [
            Example(
                int(rows[i]),
                None if prompts is None else prompts[i],
                None if tasks is None else tasks[i],
                str(known.models[choice[i]]),
                *(float(values[i]) for values in (*chosen, *single)),
            )
            for i in np.flatnonzero(which)[order[:_N_EXAMPLES]]
        ]

    return Findings(
        judged=known,
        n_left_out=n_left_out,
        curve=curve,
        oracle=oracle_curve(known.y, known.costs, models=known.models),
        luck=oracle_luck(known.y, quality=known.quality),
        peers={name: peer.compute_curve() for name, peer in peers.items()},
        neutral=_resample(known, neutral, prompts, *random),
        reached=bool(np.isfinite(neutral)),
        promise=promise,
        kept=None
        if promise is None or promised is None
        else _compare_with_single(known, promised, promise.single, prompts, *random),
        point=point,
        calls=np.bincount(choice, minlength=len(known.models)) / len(choice),
        at_point=_average(known, choice),
        collapse=_measure_collapse(known, curve, choice),
        collapse_at_most=_measure_collapse(
            known, curve, _decide_at(known, curve.price[-1])
        ),
        bins=bins,
        calibration_error=float(np.average(gaps, weights=n_calls)),
        tasks=[] if tasks is None else _compare_tasks(known, tasks, choice, best),
        saved=pick_examples(saves, single[1] - chosen[1]),
        lost=pick_examples(loses, single[0] - chosen[0]),
        saved_share=float(saves.mean()),
        lost_share=float(loses.mean()),
        checked=None if replay is None else _describe_cascade(replay),
    )


def _describe_cascade(replay: Any) -> Checked:
    most = np.percentile(replay.n_calls, 100 * _LEVEL, method="inverted_cdf")
    means = replay.mean_quality, replay.mean_spend, replay.mean_calls
    return Checked(replay.curve(), *means, most_calls=int(most))


def _find_operating_point(curve: RoutingCurve, neutral: float) -> int:
    """Find the point of the curve that has the quality-neutral cost."""
    if not np.isfinite(neutral):
        return int(curve.quality.argmax())
    paid = neutral * curve.model_cost[curve.best_single]
    # The best of the points of this cost, because the envelope keeps only that one.
    near = np.isclose(curve.cost, paid, rtol=1e-9, atol=0.0)
    if near.any():
        return int(np.where(near, curve.quality, -np.inf).argmax())
    return int(np.abs(curve.cost - paid).argmin())


def _decide_at(judged: Judged, price: float) -> np.ndarray:
    """Decide at a shadow price."""
    every = np.ones((1, len(judged.models)), dtype=bool)
    return choose(judged.quality, judged.cost, price, every)


def _look_up(judged: Judged, choice: Any) -> tuple[np.ndarray, np.ndarray]:
    """Look up the quality and cost of every query's decision."""
    rows = np.arange(len(judged.y))
    return judged.y[rows, choice], judged.costs[rows, choice]


def _average(judged: Judged, choice: np.ndarray) -> Means:
    rows = np.arange(len(choice))
    tables = judged.quality, judged.y, judged.cost, judged.costs
    return Means(*(float(table[rows, choice].mean()) for table in tables))


def _resample(
    judged: Judged,
    value: float,
    prompts: np.ndarray | None,
    n_bootstrap: int,
    random_state: Any,
) -> Interval:
    """Estimate a percentile interval of the quality-neutral cost by the bootstrap."""
    if n_bootstrap == 0:
        return Interval(value, np.nan, np.nan)
    groups = _group_by_prompt(prompts, len(judged.y))
    random = check_random_state(random_state)
    drawn = []
    for _ in range(n_bootstrap):
        some = random.randint(len(groups), size=len(groups))
        rows = np.concatenate([groups[group] for group in some])
        drawn.append(quality_neutral_cost(judged.take(rows).compute_curve()))
    tail = (1 - _LEVEL) / 2
    # No interpolation between two values, of which one may be infinite.
    low = np.quantile(drawn, tail, method="lower")
    high = np.quantile(drawn, 1 - tail, method="higher")
    return Interval(value, float(low), float(high))


def _compare_with_single(
    judged: Judged,
    choice: np.ndarray,
    single: int,
    prompts: np.ndarray | None,
    n_bootstrap: int,
    random_state: Any,
) -> Kept:
    """Compare decisions with a single model, with intervals by the bootstrap."""
    groups = _group_by_prompt(prompts, len(judged.y))
    columns = np.array([*_look_up(judged, choice), *_look_up(judged, single)])
    sums = np.array([columns[:, rows].sum(axis=1) for rows in groups])
    random, chances = check_random_state(random_state), np.full(len(groups), 1.0)
    times = random.multinomial(len(groups), chances / len(groups), size=n_bootstrap)
    totals = np.vstack([sums.sum(axis=0), times @ sums])
    tails = (1 - _LEVEL) / 2, (1 + _LEVEL) / 2
    shares = []
    for part, whole in zip(totals.T[:2], totals.T[2:], strict=True):
        value, *drawn = part / np.where(whole > 0, whole, np.nan)
        known = np.array(drawn)[np.isfinite(drawn)]
        low, high = np.quantile(known, tails) if len(known) else (np.nan, np.nan)
        shares.append(Interval(float(value), float(low), float(high)))
    return Kept(_average(judged, choice), *shares)


def _group_by_prompt(prompts: np.ndarray | None, n_queries: int) -> list[np.ndarray]:
    """Group the rows of equal prompts, which are drawn together."""
    if prompts is None:
        return list(np.arange(n_queries)[:, None])
    first: dict[Any, int] = {}
    label = [first.setdefault(p or row, row) for row, p in enumerate(prompts)]
    order = np.argsort(label, kind="stable")
    _, starts = np.unique(np.asarray(label)[order], return_index=True)
    return np.split(order, starts[1:])


def _measure_collapse(
    judged: Judged, curve: RoutingCurve, choice: np.ndarray
) -> Collapse:
    best = judged.y == judged.y.max(axis=1, keepdims=True)
    to_strongest = choice == curve.strongest
    needed = best[:, curve.strongest] & (best.sum(axis=1) == 1)
    right = best[np.arange(len(choice)), choice]
    return Collapse(
        strongest=float(to_strongest.mean()),
        needed=float(needed.mean()),
        in_vain=float((to_strongest & ~needed).mean()),
        worse=float((~to_strongest & ~right).mean()),
    )


def _bin_calls(judged: Judged) -> list[Bin]:
    """Average expected and observed quality of all calls in bins of equal size."""
    expected, observed = judged.quality.ravel(), judged.y.ravel()
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, _N_BINS + 1)))
    which = np.searchsorted(edges[1:-1], expected, side="right")
    parts = [which == k for k in np.unique(which)]
    return [
        Bin(float(expected[p].mean()), float(observed[p].mean()), int(p.sum()))
        for p in parts
    ]


def _compare_tasks(
    judged: Judged, tasks: np.ndarray, choice: np.ndarray, best: int
) -> list[TaskRow]:
    """Make a row for each task, largest first; the smallest of many share one row."""
    names, which, counts = np.unique(
        tasks.astype(str), return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    shown = order[:_MAX_TASKS]
    parts = [(names[task] or "(no task)", which == task) for task in shown]
    rest = ~np.isin(which, shown)
    if rest.any():
        parts.append((f"{len(names) - len(shown)} smaller tasks", rest))
    quality, cost = _look_up(judged, choice)
    best_quality, best_cost = _look_up(judged, best)
    rows = []
    for name, part in parts:
        gain, single = (quality - best_quality)[part], best_cost[part].mean()
        error = sem(gain) if len(gain) > 1 else np.nan
        share = cost[part].mean() / single if single > 0 else np.nan
        rows.append(
            TaskRow(
                name=str(name),
                n_queries=len(gain),
                quality=float(quality[part].mean()),
                gain=float(gain.mean()),
                error=float(error),
                cost_share=float(share),
                most_called=int(np.bincount(choice[part]).argmax()),
            )
        )
    return rows

"""What a report tells, as numbers; those of a curve are the metrics' own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skroute._decide.hull import choose
from skroute._judged import Judged
from skroute.metrics import (
    RoutingCurve,
    oracle_curve,
    quality_neutral_cost,
    routing_collapse_index,
    strongest_call_share,
)

__all__ = [
    "Bin",
    "Collapse",
    "Example",
    "Findings",
    "Interval",
    "Means",
    "TaskRow",
    "find",
]

_LEVEL = 0.95
_N_BINS = 10
_N_EXAMPLES = 6
_MAX_TASKS = 40


@dataclass(frozen=True)
class Interval:
    """A number with what resampling the queries makes of it; infinity: not reached."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Means:
    """What decisions give and cost on average, expected and observed."""

    expected_quality: float
    quality: float
    expected_cost: float
    cost: float


@dataclass(frozen=True)
class Collapse:
    """Decisions where money is no object, as shares of the queries.

    Attributes
    ----------
    index : float
        Routing collapse index.
    dearest : float
        Sent to the dearest model.
    needed : float
        The dearest model is the only best one.
    in_vain : float
        Sent to the dearest model though another one is as good or better.
    worse : float
        Sent to another model that is not among the best.
    """

    index: float
    dearest: float
    needed: float
    in_vain: float
    worse: float


@dataclass(frozen=True)
class Bin:
    """Calls of about the same expected quality."""

    expected: float
    observed: float
    n_calls: int


@dataclass(frozen=True)
class TaskRow:
    """One task at the operating point, against the best single model.

    Attributes
    ----------
    gain, error : float
        Mean difference in quality, and its standard error over the queries.
    cost_share : float
        Router's cost over the best single model's; ``NaN`` where that is free.
    most_called : int
        Index of the model that is called most.
    """

    name: str
    n_queries: int
    quality: float
    best_quality: float
    gain: float
    error: float
    cost_share: float
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
class Findings:
    """All of a report's numbers.

    Attributes
    ----------
    point : int
        The operating point: where on the curve the report opens, the cheapest place of
        the best single model's quality, or the best quality if that is not reached.
    reached : bool
        Whether it is reached.
    kept : Means or None
        What decisions give that were set in training to reach it.
    out_of_reach : bool
        Whether it was out of reach on the training queries.
    saved, lost : list of Example
        Queries on which money was saved and no quality lost, and on which quality was;
        those of the largest amounts.
    saved_share, lost_share : float
        How many of the queries there are of either kind.
    """

    judged: Judged
    n_left_out: int
    curve: RoutingCurve
    oracle: RoutingCurve
    peers: dict[str, RoutingCurve]
    neutral: Interval
    point: int
    reached: bool
    at_point: Means
    kept: Means | None
    out_of_reach: bool
    collapse: Collapse
    bins: list[Bin]
    calibration_error: float
    tasks: list[TaskRow]
    saved: list[Example]
    lost: list[Example]
    saved_share: float
    lost_share: float


def find(
    judged: Judged,
    peers: Mapping[str, Judged],
    *,
    tasks: np.ndarray | None,
    prompts: np.ndarray | None,
    promised: np.ndarray | None,
    out_of_reach: bool,
    n_bootstrap: int,
    random_state: Any,
) -> Findings:
    """Work out what a report tells.

    Parameters
    ----------
    judged : Judged
        The router, on held-out queries.
    peers : dict of str to Judged
        Other routers on the same queries.
    tasks, prompts : ndarray of str of shape (n_queries,) or None
        Of the queries.
    promised : ndarray of int of shape (n_queries,) or None
        Decisions that were set in training to reach the best single model's quality.
    out_of_reach : bool
        Whether it was out of reach on the training queries.
    n_bootstrap : int
        Resamples of the queries.
    random_state : int, RandomState instance or None
        Draws them.

    Returns
    -------
    Findings
        The numbers.
    """
    curve = judged.curve()  # says what is wrong where no query is complete
    kept = judged.complete
    rows, n_left_out = np.flatnonzero(kept), int((~kept).sum())
    known = judged.take(kept)
    tasks, prompts, promised = (
        None if values is None else values[kept]
        for values in (tasks, prompts, promised)
    )
    neutral = quality_neutral_cost(curve)
    point = _operating_point(curve, neutral)
    choice = _decided(known, curve.price[point])
    bins = _calibration(known)
    weights = np.array([part.n_calls for part in bins])
    gaps = np.array([abs(part.expected - part.observed) for part in bins])
    best = curve.best_single
    chosen, single = _outcomes(known, choice), _outcomes(known, best)
    no_worse = chosen[0] >= single[0]
    saves, loses = no_worse & (chosen[1] < single[1]), ~no_worse

    def examples(which: np.ndarray, amount: np.ndarray) -> list[Example]:
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
        peers={name: peer.curve() for name, peer in peers.items()},
        neutral=_interval(known, neutral, prompts, n_bootstrap, random_state),
        point=point,
        reached=bool(np.isfinite(neutral)),
        at_point=_means(known, choice),
        kept=None if promised is None else _means(known, promised),
        out_of_reach=out_of_reach,
        collapse=_collapse(known, curve),
        bins=bins,
        calibration_error=float(np.average(gaps, weights=weights)),
        tasks=[] if tasks is None else _by_task(known, tasks, choice, best),
        saved=examples(saves, single[1] - chosen[1]),
        lost=examples(loses, single[0] - chosen[0]),
        saved_share=float(saves.mean()),
        lost_share=float(loses.mean()),
    )


def _operating_point(curve: RoutingCurve, neutral: float) -> int:
    """Point of the curve from which a quality-neutral cost was read."""
    if not np.isfinite(neutral):
        return int(curve.quality.argmax())
    paid = neutral * curve.model_cost[curve.best_single]
    # Of points of about this cost, the best: the envelope kept no other.
    near = np.isclose(curve.cost, paid, rtol=1e-9, atol=0.0)
    if near.any():
        return int(np.where(near, curve.quality, -np.inf).argmax())
    return int(np.abs(curve.cost - paid).argmin())


def _decided(judged: Judged, price: float) -> np.ndarray:
    """Decisions at a price of money."""
    every = np.ones((1, len(judged.models)), dtype=bool)
    return choose(judged.quality, judged.cost, price, every)


def _outcomes(judged: Judged, choice: Any) -> tuple[np.ndarray, np.ndarray]:
    """Quality and cost of every query's decision."""
    rows = np.arange(len(judged.y))
    return judged.y[rows, choice], judged.costs[rows, choice]


def _means(judged: Judged, choice: np.ndarray) -> Means:
    rows = np.arange(len(choice))
    return Means(
        *(
            float(table[rows, choice].mean())
            for table in (judged.quality, judged.y, judged.cost, judged.costs)
        )
    )


def _interval(
    judged: Judged,
    value: float,
    prompts: np.ndarray | None,
    n_bootstrap: int,
    random_state: Any,
) -> Interval:
    """Percentile interval of the quality-neutral cost over resampled queries."""
    if n_bootstrap == 0:
        return Interval(value, np.nan, np.nan)
    groups = _groups(prompts, len(judged.y))
    random = check_random_state(random_state)
    drawn = []
    for _ in range(n_bootstrap):
        some = random.randint(len(groups), size=len(groups))
        rows = np.concatenate([groups[group] for group in some])
        drawn.append(quality_neutral_cost(judged.take(rows).curve()))
    tail = (1 - _LEVEL) / 2
    # No averaging of two of them: one may be infinite.
    low = np.quantile(drawn, tail, method="lower")
    high = np.quantile(drawn, 1 - tail, method="higher")
    return Interval(value, float(low), float(high))


def _groups(prompts: np.ndarray | None, n_queries: int) -> list[np.ndarray]:
    """Rows that are drawn together: those of equal prompts."""
    if prompts is None:
        return list(np.arange(n_queries)[:, None])
    first: dict[Any, int] = {}
    label = [first.setdefault(p or row, row) for row, p in enumerate(prompts)]
    order = np.argsort(label, kind="stable")
    _, starts = np.unique(np.asarray(label)[order], return_index=True)
    return np.split(order, starts[1:])


def _collapse(judged: Judged, curve: RoutingCurve) -> Collapse:
    choice = _decided(judged, curve.price[-1])
    best = judged.y == judged.y.max(axis=1, keepdims=True)
    to_dearest = choice == curve.strongest
    needed = best[:, curve.strongest] & (best.sum(axis=1) == 1)
    right = best[np.arange(len(choice)), choice]
    return Collapse(
        index=routing_collapse_index(curve),
        dearest=strongest_call_share(curve),
        needed=float(needed.mean()),
        in_vain=float((to_dearest & ~needed).mean()),
        worse=float((~to_dearest & ~right).mean()),
    )


def _calibration(judged: Judged) -> list[Bin]:
    """Expected and observed quality of all calls, in bins of about equal size."""
    expected, observed = judged.quality.ravel(), judged.y.ravel()
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, _N_BINS + 1)))
    which = np.searchsorted(edges[1:-1], expected, side="right")
    return [
        Bin(
            float(expected[which == k].mean()),
            float(observed[which == k].mean()),
            int((which == k).sum()),
        )
        for k in np.unique(which)
    ]


def _by_task(
    judged: Judged, tasks: np.ndarray, choice: np.ndarray, best: int
) -> list[TaskRow]:
    """A row for each task, the largest first; the smallest of many are one row."""
    names, which, counts = np.unique(
        tasks.astype(str), return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    shown = order[:_MAX_TASKS]
    parts = [(names[task] or "(no task)", which == task) for task in shown]
    rest = ~np.isin(which, shown)
    if rest.any():
        parts.append((f"{len(names) - len(shown)} smaller tasks", rest))
    quality, cost = _outcomes(judged, choice)
    best_quality, best_cost = _outcomes(judged, best)
    rows = []
    for name, part in parts:
        gain, single = (quality - best_quality)[part], best_cost[part].mean()
        n_queries = int(part.sum())
        rows.append(
            TaskRow(
                name=str(name),
                n_queries=n_queries,
                quality=float(quality[part].mean()),
                best_quality=float(best_quality[part].mean()),
                gain=float(gain.mean()),
                error=float(gain.std(ddof=1) / np.sqrt(n_queries))
                if n_queries > 1
                else float("nan"),
                cost_share=float(cost[part].mean() / single)
                if single > 0
                else float("nan"),
                most_called=int(np.bincount(choice[part]).argmax()),
            )
        )
    return rows

"""What routing by the query adds on queries that a router never saw, one by one.

A gain is measured at equal spend, over what could be done without looking at the query:
at each of several prices of money, the utility of the router's decision (quality less
price times cost) is compared with that of the model with the highest mean utility on
the training queries. At its price, that model does as well as any random mixture of
models, so a gain over it is one over the hull of all of them. The prices are those at
which the router spends equally spaced budgets on its training queries, and the gain is
the mean over them: nothing is chosen on the queries that are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t

from skroute._decide.caution import space_prices
from skroute._decide.hull import choose
from skroute._table.averages import best_on_average
from skroute.base import BaseRouter
from skroute.evaluation.splits import Split
from skroute.exceptions import InfeasibleBudgetError

#: Random policies with the router's call shares that it is compared with.
N_RANDOM = 999
# The best model of a task is chosen as if so many average queries were added to it.
_AVERAGE_QUERIES = 10
_ANY = np.ones((1, 1), dtype=bool)


class Estimate(NamedTuple):
    """A mean over queries, and one-sided bounds at the same confidence each."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gains:
    """Utilities of decisions on judged queries, means over prices, (n_judged,) each.

    `routed`, of the router; `single`, of the best single model, and `by_task`, of the
    best one for the task of each query (``None`` without tasks), by training queries;
    `mixed`, of a random policy with the router's call shares; `oracle`, in hindsight.
    `randomized`, (`N_RANDOM`,), are sums over the queries of random such policies, or
    empty.
    """

    routed: np.ndarray
    single: np.ndarray
    by_task: np.ndarray | None
    mixed: np.ndarray
    oracle: np.ndarray
    randomized: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[Gains]) -> Gains:
        """Join the gains on different queries."""
        tasks = [part.by_task for part in parts if part.by_task is not None]
        return cls(
            routed=np.concatenate([part.routed for part in parts]),
            single=np.concatenate([part.single for part in parts]),
            by_task=np.concatenate(tasks) if tasks else None,
            mixed=np.concatenate([part.mixed for part in parts]),
            oracle=np.concatenate([part.oracle for part in parts]),
            randomized=np.sum([part.randomized for part in parts], axis=0),
        )

    def measure_luck(self) -> float:
        """Chance that a router does this well, or better, where queries tell nothing.

        By random policies that call each model as often as the router. With queries
        that tell nothing, a pair of queries in two folds is seen twice, once from
        either side, and by the same outcomes. The variance of the sum is then twice
        that of folds which have nothing to do with each other.
        """
        expected = self.mixed.sum()
        observed = (self.routed.sum() - expected) / np.sqrt(2.0)
        # The last bit of a sum is no gain.
        slack = 1e-9 * max(float(np.abs(self.routed).sum()), 1e-300)
        as_good = self.randomized - expected >= observed - slack
        return float((1 + np.count_nonzero(as_good)) / (1 + len(as_good)))


def measure_gains(
    split: Split,
    router: BaseRouter,
    estimates: np.ndarray,
    outcomes: tuple[np.ndarray, np.ndarray],
    tasks: np.ndarray | None,
    unit: np.ndarray,
    rng: np.random.RandomState | None = None,
) -> Gains:
    """Measure what a fitted router gains on the test part of a split.

    `estimates` are the cross-fitted ones of its training queries. `outcomes` are the
    rows of the table that its training and its test queries have the outcomes of:
    their own, or those of others, where it is measured what luck does. `tasks` and
    `unit`, numbers of tasks and of queries that belong together, are of all rows. No
    random policies are drawn without `rng`.
    """
    table = split.table
    train, test = outcomes
    scale = float(np.nanmax(np.abs(table.quality))) or 1.0
    known = table.complete[train]
    expected, cost = np.hsplit(np.asarray(estimates)[known], 2)
    quality = table.quality[train[known]] / scale
    spend = table.spend[train[known]]
    prices = space_prices(expected / scale, cost, spend)
    expected, cost = np.hsplit(np.asarray(router.transform(split.X_test)), 2)
    y, paid = table.quality[test] / scale, table.spend[test]
    rows, n_models = np.arange(len(test)), y.shape[1]
    sums = np.zeros((5, len(test)))
    choices = []
    for price in prices:
        choice = choose(expected / scale, cost, price, _ANY)
        choices.append(choice)
        utility, past = y - price * paid, quality - price * spend
        mean = past.mean(axis=0)
        share = np.bincount(choice, minlength=n_models) / max(len(test), 1)
        sums[0] += utility[rows, choice]
        sums[1] += utility[:, mean.argmax()]
        if tasks is not None:
            best = _choose_for_tasks(past, mean, tasks[train[known]], tasks[test])
            sums[2] += utility[rows, best]
        sums[3] += utility @ share
        sums[4] += utility.max(axis=1)
    routed, single, by_task, mixed, oracle = sums * (scale / len(prices))
    randomized = np.zeros(0)
    if rng is not None:
        randomized = _randomize(y, paid, prices, np.array(choices), unit[test], rng)
    return Gains(
        routed=routed,
        single=single,
        by_task=None if tasks is None else by_task,
        mixed=mixed,
        oracle=oracle,
        randomized=randomized * (scale / len(prices)),
    )


def _choose_for_tasks(
    past: np.ndarray, mean: np.ndarray, task: np.ndarray, asked: np.ndarray
) -> np.ndarray:
    """Choose the best model of the task of each query, by past utilities.

    Those of a task are shrunk to the `mean` of all: a few queries do not tell.
    """
    n_tasks = int(max(task.max(initial=0), asked.max(initial=0))) + 1
    total = np.zeros((n_tasks, past.shape[1]))
    np.add.at(total, task, past)
    count = np.bincount(task, minlength=n_tasks)[:, None]
    shrunk = (total + _AVERAGE_QUERIES * mean) / (count + _AVERAGE_QUERIES)
    best: np.ndarray = shrunk.argmax(axis=1)[asked]
    return best


def _randomize(
    y: np.ndarray,
    paid: np.ndarray,
    prices: np.ndarray,
    choices: np.ndarray,
    unit: np.ndarray,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Sum the utilities of random policies with the same call shares, (N_RANDOM,).

    Each deals the decisions (n_prices, n_queries) out anew. Queries that belong
    together are dealt decisions together.
    """
    # How often each query calls each model, and the sum of the prices at which it does.
    calls, prices_paid = np.zeros(y.shape), np.zeros(y.shape)
    rows = np.arange(len(y))
    for price, choice in zip(prices, choices, strict=True):
        calls[rows, choice] += 1.0
        prices_paid[rows, choice] += price
    order = np.argsort(unit, kind="stable")
    outcomes = np.hstack([y, -paid])[order]
    decisions = np.hstack([calls, prices_paid])[order]
    blocks = np.split(rows, np.flatnonzero(np.diff(unit[order])) + 1)
    alone, sums = len(blocks) == len(rows), np.empty(N_RANDOM)
    for draw in range(N_RANDOM):
        dealt = rng.permutation(len(blocks))
        if not alone:
            dealt = np.concatenate([blocks[block] for block in dealt])
        sums[draw] = np.vdot(outcomes, decisions[dealt])
    return sums


class Parity(NamedTuple):
    """Decisions meant to keep the best single model's quality, and that model's.

    All are (n_judged,); they were settled on training queries.
    """

    quality: np.ndarray
    spend: np.ndarray
    single_quality: np.ndarray
    single_spend: np.ndarray

    @classmethod
    def measure(cls, split: Split, router: BaseRouter) -> Parity:
        """Measure the decisions of ``route(min_quality=...)`` on a test part."""
        table, test = split.table, split.test
        known = split.train[table.complete[split.train]]
        mean = table.quality[known].mean(axis=0)
        paid = table.spend[known].mean(axis=0)
        best = best_on_average(mean, paid)
        try:
            # As a number: "100%" of a quality below 0 would be refused.
            names = router.route(split.X_test, min_quality=float(mean[best]))
            index = {model: i for i, model in enumerate(router.models_)}
            choice: Any = [index[name] for name in names]
        except InfeasibleBudgetError:
            choice = best  # no decisions are expected to keep it
        return cls(
            table.quality[test, choice],
            table.spend[test, choice],
            table.quality[test, best],
            table.spend[test, best],
        )


def estimate_mean(values: np.ndarray, unit: np.ndarray, confidence: float) -> Estimate:
    """Estimate a mean, with bounds by Student's t over units of queries."""
    mean = float(values.mean())
    error = _find_error(values - mean, unit)
    return _bound(mean, error, len(np.unique(unit)), confidence)


def estimate_saving(
    spend: np.ndarray, reference: np.ndarray, unit: np.ndarray, confidence: float
) -> Estimate:
    """Estimate the share of a reference's spend that is saved (delta method)."""
    whole = float(reference.mean())
    if whole <= 0:
        return Estimate(np.nan, np.nan, np.nan)
    ratio = float(spend.mean()) / whole
    error = _find_error((spend - ratio * reference) / whole, unit)
    return _bound(1 - ratio, error, len(np.unique(unit)), confidence)


def _find_error(deviations: np.ndarray, unit: np.ndarray) -> float:
    """Standard error of a mean, by the sums of deviations over units of queries."""
    sums = np.bincount(np.unique(unit, return_inverse=True)[1], weights=deviations)
    if len(sums) < 2:
        return float("inf")
    inflation = len(sums) / (len(sums) - 1)
    return float(np.sqrt(inflation * (sums**2).sum()) / len(deviations))


def _bound(value: float, error: float, n_units: int, confidence: float) -> Estimate:
    doubt = float(error * t.ppf(confidence, max(n_units - 1, 1)))
    return Estimate(value, value - doubt, value + doubt)

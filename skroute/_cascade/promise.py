"""What a cascade promises: the cheapest price that keeps a target with a confidence.

The replays of training queries are walked from the safest price to the riskiest: for a
quality from 0 on, for a budget from infinity. The walk stops at the first price at
which the queries do not prove the mean (see `skroute._decide.promise`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from skroute._cascade.path import Place
from skroute._cascade.tested import KnownReplays
from skroute._decide.bounds import find_last, is_mean_above_zero
from skroute._decide.guarantee import Guarantee
from skroute._decide.known import Units
from skroute._decide.promise import refuse_budget, refuse_quality
from skroute._decide.rule import Rule
from skroute._table.costs import add_slack

# Qualities this far apart are equal, in the unit of the replays.
_ROUNDING = 1e-6


def promise_place(
    rule: Rule, tested: KnownReplays, worst: float, extent: float
) -> tuple[Place, Guarantee]:
    """Find the price at which a rule can be promised, and what that promises.

    Qualities in the caller's unit are `worst` plus `extent` times those of the
    replays. Raises an ``InfeasibleBudgetError`` if nothing can be promised.
    """
    quality, spend = tested.tabulate()
    quality -= tested.less[:, None]
    spend += tested.more[:, None]
    if rule.has_mean_budget:
        return _promise_budget(rule, tested, quality, spend)
    quality = worst + extent * quality
    return _promise_quality(rule, tested, quality, spend, (worst, worst + extent))


def _promise_quality(
    rule: Rule,
    tested: KnownReplays,
    quality: np.ndarray,
    spend: np.ndarray,
    quality_range: tuple[float, float],
) -> tuple[Place, Guarantee]:
    """Walk from the best decisions to cheaper ones, while they reach a target.

    Quality and money are (n_prices, n).
    """
    units, share, confidence = Units.of(tested.number), rule.share, rule.confidence
    asked = float(rule.min_quality) if share is None else share
    low, high = quality_range
    # The target of a query is a share of what the best single model gave on it.
    reference = low + (high - low) * tested.single_quality.astype(np.float64)

    def reaches(at: int, asked: float) -> bool:
        target = asked if share is None else asked * reference
        highest = asked if share is None else asked * high
        least = low - (high - low) * tested.less[at] - highest
        summed = units.add_up(quality[at] - target, least)
        return is_mean_above_zero(*summed, confidence)

    last = _find_last_kept(range(len(quality)), reaches, asked)
    # The best single model reaches its own quality, and a share of it if none is below
    # 0.
    may_be_alone = share is not None and tested.may_be_alone
    is_free = may_be_alone and (asked == 1 or (asked < 1 and low >= 0))
    mean, n_units = float(reference.mean()), len(units.order)
    if last is None and not is_free:
        largest = find_last(partial(reaches, 0), low if share is None else 0.0, asked)
        if may_be_alone and asked > 1:
            largest = max(largest, 1.0)
        raise refuse_quality(rule, n_units, largest, mean)
    spent = np.inf if last is None else spend[last].mean()
    is_alone = is_free and tested.single_spend.mean() <= spent
    if last is None or is_alone:
        place, gained = Place(0.0, False, tested.best_single), mean
    else:
        place = Place(float(tested.price[last]), bool(tested.escalates[last]))
        gained = float(quality[last].mean())
    return place, Guarantee(
        confidence,
        asked if share is None else share * mean,
        share,
        None if share is None else tested.best_single,
        None,
        n_units,
        gained,
        quality_range,
        "range" if is_alone else "betting",
    )


def _promise_budget(
    rule: Rule, tested: KnownReplays, quality: np.ndarray, spend: np.ndarray
) -> tuple[Place, Guarantee]:
    """Walk from the cheapest decisions to better ones, while the budget is kept."""
    units, confidence = Units.of(tested.number), rule.confidence
    budget, highest = float(rule.budget), tested.most + tested.more

    def keeps(at: int, budget: float) -> bool:
        most = float(highest[at])
        if most <= add_slack(budget):
            return True
        summed = units.add_up(budget - spend[at], budget - most)
        return is_mean_above_zero(*summed, confidence)

    cheapest = len(spend) - 1
    last = _find_last_kept(range(cheapest, -1, -1), keeps, budget)
    if last is None:
        smallest = find_last(partial(keeps, cheapest), highest[cheapest], budget)
        raise refuse_budget(rule, len(units.order), float(smallest))
    # Of prices that replay alike, the one that is safer for queries that are not here.
    place = Place(float(tested.highest[last]), bool(tested.escalates[last]))
    spent, most = spend[last], float(highest[last])
    # A model that never cost more than the budget may be called alone.
    if (
        tested.may_be_alone
        and tested.single_most <= add_slack(budget)
        and tested.single_quality.mean() > quality[last].mean() + _ROUNDING
    ):
        place = Place(0.0, False, tested.best_single)
        spent, most = tested.single_spend, tested.single_most
    return place, Guarantee(
        confidence,
        None,
        None,
        None,
        budget,
        len(units.order),
        float(spent.mean()),
        (0.0, most),
        "range" if most <= add_slack(budget) else "betting",
    )


def _find_last_kept(
    order: Iterable[int], test: Callable[[int, float], bool], asked: float
) -> int | None:
    """Find the last of the prices before one fails; None if already the first does."""
    last = None
    for at in order:
        if not test(at, asked):
            break
        last = at
    return last

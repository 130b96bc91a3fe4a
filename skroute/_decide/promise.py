"""A promise: the cheapest decisions that keep a target with a stated confidence.

The prices are walked from the safest decisions to the riskiest, and each is tested on
queries whose outcomes are known: for a quality, from the best models to the cheapest,
for a budget the other way round. The walk stops at the first price that fails. As the
order is fixed beforehand, the chance that any price on the way is passed wrongly is
that of a single test, however many there are (fixed-sequence testing, [1]_).

References
----------
.. [1] A. N. Angelopoulos, S. Bates, E. J. Candes, M. I. Jordan and L. Lei, "Learn then
   test: calibrating predictive algorithms to achieve risk control", Annals of Applied
   Statistics 19, 2025, arXiv:2110.01052.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from skroute._decide.bounds import find_last, is_mean_above_zero
from skroute._decide.guarantee import Guarantee
from skroute._decide.hull import choose, climb_hulls
from skroute._decide.known import KnownQueries
from skroute._decide.price_path import ShadowPrice
from skroute._decide.rule import Rule
from skroute._table.averages import best_on_average
from skroute._table.costs import add_slack, round_up
from skroute.exceptions import InfeasibleBudgetError

# Prices that are tested, to each doubling. They are the same whatever the queries are:
# prices taken from the queries would be chosen by what they are tested on.
_PER_DOUBLING = 8
# Logarithm of the highest price below infinity.
_HIGHEST = 1023


class Decision(NamedTuple):
    """A price, and the models that are called at it, (n_queries,)."""

    price: float
    choice: np.ndarray


#: Whether decisions (n_queries,) are proven to keep to what is asked.
Test = Callable[[np.ndarray, float], bool]


def promise(
    rule: Rule, known: KnownQueries, singles: np.ndarray | None = None
) -> tuple[ShadowPrice, Guarantee]:
    """Find the price at which a rule can be promised, and what that promises.

    `singles` are the mean qualities of the models that may be called for all queries,
    minus infinity for others; ``None`` if decisions only follow the estimates. Raises
    an ``InfeasibleBudgetError`` if nothing can be promised that was asked for.
    """
    if singles is None:
        singles = np.full(known.quality.shape[1], -np.inf)
    allowed = rule.find_candidates(known.quality, known.cost)
    decisions = list_decisions(
        known.quality, known.cost, allowed, cheapest_first=rule.has_mean_budget
    )
    if rule.has_mean_budget:
        return _promise_budget(rule, known, singles, decisions)
    return _promise_quality(rule, known, singles, decisions)


def _promise_quality(
    rule: Rule,
    known: KnownQueries,
    singles: np.ndarray,
    decisions: Iterator[Decision],
) -> tuple[ShadowPrice, Guarantee]:
    """Walk from the best decisions to cheaper ones, while they reach a target."""
    gained, (low, high) = known.true_quality, known.bound_quality()
    share, confidence = rule.share, float(rule.confidence)
    asked = float(rule.min_quality) if share is None else share
    # With a share, the target of a query is what the best single model gave on it. That
    # it is chosen on these queries does no harm: it is rather too good on them, which
    # makes the target too high.
    best_single = known.best_single
    reference = gained[:, best_single]

    def reaches(choice: np.ndarray, asked: float) -> bool:
        target: Any = asked
        highest = asked
        if share is not None:
            target, highest = asked * reference, asked * high
        values = _take(gained, choice) - target
        return is_mean_above_zero(
            *known.units.add_up(values, low - highest), confidence
        )

    first = next(decisions)
    last = _find_last_kept(first, decisions, reaches, asked)
    # The best single model reaches its own quality whatever the queries, and a share of
    # it if no quality is below 0.
    may_be_alone = share is not None and np.isfinite(singles[best_single])
    is_free = may_be_alone and (
        asked == 1 or (asked < 1 and known.quality_range[0] >= 0)
    )
    if last is None and not is_free:
        safe = low if share is None else 0.0
        largest = find_last(partial(reaches, first.choice), safe, asked)
        if may_be_alone and asked > 1:
            largest = max(largest, 1.0)
        mean = float(reference.mean())
        raise refuse_quality(rule, known.n_units, largest, mean)
    single, always = None, Decision(0.0, np.full(len(gained), best_single))
    if is_free:
        # Decisions of a price may cost more than that model.
        spent = np.inf if last is None else _take(known.cost, last.choice).mean()
        alone = _take(known.cost, always.choice).mean()
        single = best_single if alone <= spent else None
    price, choice = always if last is None or single is not None else last
    return ShadowPrice(price, single=single), Guarantee(
        confidence,
        asked if share is None else share * float(reference.mean()),
        share,
        None if share is None else best_single,
        None,
        known.n_units,
        float(_take(gained, choice).mean()),
        known.quality_range,
        "betting" if single is None else "range",
    )


def _promise_budget(
    rule: Rule,
    known: KnownQueries,
    singles: np.ndarray,
    decisions: Iterator[Decision],
) -> tuple[ShadowPrice, Guarantee]:
    """Walk from the cheapest decisions to better ones, while the budget is kept."""
    spent, highest = known.measure_cost()
    budget, confidence = float(rule.budget), float(rule.confidence)

    def keeps(choice: np.ndarray, budget: float) -> bool:
        most = highest[np.unique(choice)].max()
        if most <= add_slack(budget):
            # No call that was ever seen of these models cost more.
            return True
        values = known.units.add_up(budget - _take(spent, choice), budget - float(most))
        return is_mean_above_zero(*values, confidence)

    first = next(decisions)
    last = _find_last_kept(first, decisions, keeps, budget)
    if last is None:
        smallest = find_last(partial(keeps, first.choice), float(highest.max()), budget)
        raise refuse_budget(rule, known.n_units, smallest)
    price, choice = last
    single, quality = None, float(_take(known.true_quality, choice).mean())
    # A model that never cost more than the budget may be called alone.
    within = np.where(highest <= add_slack(budget), singles, -np.inf)
    best = best_on_average(within, known.cost.mean(axis=0))
    if within[best] > quality + 1e-9 * abs(quality):
        single, choice = best, np.full(len(choice), best)
    is_free = highest[np.unique(choice)].max() <= add_slack(budget)
    return ShadowPrice(price, single=single), Guarantee(
        confidence,
        None,
        None,
        None,
        budget,
        known.n_units,
        float(_take(spent, choice).mean()),
        (0.0, float(highest[np.unique(choice)].max())),
        "range" if is_free else "betting",
    )


def list_decisions(
    quality: np.ndarray,
    cost: np.ndarray,
    allowed: np.ndarray,
    *,
    cheapest_first: bool = False,
) -> Iterator[Decision]:
    """List the prices and decisions to test, from a price of 0 to infinity, or back.

    Prices at which nothing changes are left out: their test would be that of the price
    before, which is the safer one for queries that are not here.
    """
    slopes = climb_hulls(quality, cost, allowed).price
    slopes = slopes[np.isfinite(slopes) & (slopes > 0)]
    # The fixed prices on either side of each slope: between others no query changes its
    # model.
    above = np.ceil(np.log2(slopes) * _PER_DOUBLING)
    places = np.unique(np.r_[above - 1, above]) / _PER_DOUBLING
    between = np.exp2(places[places < _HIGHEST])
    prices = [0.0, *between.tolist(), np.inf]
    before = None
    for price in prices[::-1] if cheapest_first else prices:
        choice = choose(quality, cost, price, allowed)
        if before is None or not np.array_equal(choice, before):
            yield Decision(price, choice)
        before = choice


def _find_last_kept(
    first: Decision, others: Iterable[Decision], test: Test, asked: float
) -> Decision | None:
    """Find the last of decisions before one fails; None if already the first does."""
    last = None
    for decision in chain([first], others):
        if not test(decision.choice, asked):
            break
        last = decision
    return last


def refuse_quality(
    rule: Rule, n_units: int, largest: float, reference: float
) -> InfeasibleBudgetError:
    """Name the largest target that can be promised.

    It is a share of `reference` where the rule asks for a share.
    """
    named = f"{largest:.6g}"
    if rule.share is not None:
        # Rounded down to what is written.
        largest = np.floor(1000 * largest) / 1000
        named = f"'{100 * largest:g}%'" if largest > 0 else "none"
        largest = largest * reference
    return InfeasibleBudgetError(
        f"min_quality={rule.min_quality!r} cannot be promised with "
        f"{100 * float(rule.confidence):g}% confidence from {n_units:,} queries; "
        f"the largest that can is {named}. Ask for less, for less confidence, or give "
        "more queries.",
        largest_quality=float(largest),
    )


def refuse_budget(rule: Rule, n_units: int, smallest: float) -> InfeasibleBudgetError:
    """Name the smallest mean budget that can be promised."""
    return InfeasibleBudgetError(
        f"budget={float(rule.budget):g} cannot be promised with "
        f"{100 * float(rule.confidence):g}% confidence from {n_units:,} queries; the "
        f"smallest that can is {round_up(smallest)}. Raise it, ask for less "
        "confidence, or give more queries.",
        smallest_budget=smallest,
    )


def _take(table: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Take what decisions (n_queries,) give of a table (n_queries, n_models)."""
    taken: np.ndarray = table[np.arange(len(choice)), choice]
    return taken

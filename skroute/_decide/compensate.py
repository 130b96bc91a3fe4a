"""The price of a budget or a target where some calls are drawn.

Draws cost money and lose quality. What they do so on the training queries that are
kept is taken off what is asked for, so that the mean over all calls is what was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from skroute._decide.engine import Settled
from skroute._decide.price_path import PricePath
from skroute._decide.rule import Rule
from skroute._table.costs import add_slack, round_up
from skroute.exceptions import InfeasibleBudgetError

# Halvings of the interval in which a budget or target is found: a thousandth of it.
_N_HALVINGS = 10


@dataclass(frozen=True)
class Kept:
    """Training queries on which draws are measured, tables (n_queries, n_models)."""

    #: What decisions rest on.
    quality: np.ndarray
    cost: np.ndarray
    #: What calls are worth, and what they cost.
    gained: np.ndarray
    spent: np.ndarray

    def weigh(self, settled: Settled) -> Settled:
        """Give decisions the unit of gaps, as it is on these queries."""
        unit = settled.measure_gap_unit(self.quality, self.cost)
        return replace(settled, gap_unit=unit)

    def measure_draws(self, settled: Settled) -> tuple[float, float]:
        """Measure what draws add to the mean quality and to the mean money."""
        # These queries are near the training queries: averages do not matter.
        plain = replace(settled, averages=None)
        chances = plain.find_chances(self.quality, self.cost)
        chosen = plain.decide(self.quality, self.cost).choice
        gained, spent = (
            (chances * table).sum(axis=1) - np.take_along_axis(table, chosen, 1)[:, 0]
            for table in (self.gained, self.spent)
        )
        return float(gained.mean()), float(spent.mean())


def settle_with_draws(
    rule: Rule,
    find: Callable[[Rule], Settled],
    path: PricePath,
    kept: Kept,
    best_single_quality: float,
) -> Settled:
    """Settle a rule that explores; `find` settles one of the same candidates.

    Raises an ``InfeasibleBudgetError`` if what is asked cannot be kept with draws, or,
    if the rule says so, takes the cheapest decisions (for a target the best).
    """
    if not rule.is_met_on_average:
        return kept.weigh(find(rule))
    if rule.has_mean_budget:
        return _keep_budget(rule, find, path, kept)
    target = rule.quality_target(best_single_quality)
    assert target is not None
    return _reach_target(rule, find, path, kept, target)


def _keep_budget(
    rule: Rule, find: Callable[[Rule], Settled], path: PricePath, kept: Kept
) -> Settled:
    """Find the budget without draws that spends what is asked with them."""

    def settle_at(budget: float) -> Settled:
        return kept.weigh(find(replace(rule, budget=budget)))

    def measure(budget: float) -> float:
        settled = settle_at(budget)
        return path.measure(settled.price)[1] + kept.measure_draws(settled)[1]

    low, high = map(float, path.cost[[0, -1]])
    budget = find_compensated(measure, add_slack(float(rule.budget)), low, high)
    if budget is None and rule.on_infeasible == "raise":
        smallest = measure(low)
        raise InfeasibleBudgetError(
            f"budget={rule.budget:g} per query is below what the cheapest models cost "
            f"where {100 * rule.explore:.3g}% of the queries are explored; the "
            f"smallest feasible budget is {round_up(smallest)}.",
            smallest_budget=smallest,
        )
    return settle_at(low if budget is None else budget)


def _reach_target(
    rule: Rule,
    find: Callable[[Rule], Settled],
    path: PricePath,
    kept: Kept,
    target: float,
) -> Settled:
    """Find the target without draws that is reached as asked with them."""

    def settle_at(target: float) -> Settled:
        return kept.weigh(find(replace(rule, min_quality=target)))

    def measure(target: float) -> float:
        settled = settle_at(target)
        return path.measure(settled.price)[0] + kept.measure_draws(settled)[0]

    low, high = map(float, path.quality[[0, -1]])
    if path.single_quality is not None:
        high = max(high, float(path.single_quality.max()))
    # Targets fall as the numbers that are searched rise.
    negative = find_compensated(lambda t: -measure(-t), -target, -high, -low)
    if negative is None and rule.on_infeasible == "raise":
        largest = measure(high)
        raise InfeasibleBudgetError(
            f"min_quality={rule.min_quality!r} cannot be reached where "
            f"{100 * rule.explore:.3g}% of the queries are explored; the largest "
            f"expected mean quality is {largest!r}.",
            largest_quality=largest,
        )
    return settle_at(high if negative is None else -negative)


def find_compensated(
    measure: Callable[[float], float], asked: float, low: float, high: float
) -> float | None:
    """Find the largest value in [low, high] whose measure is at most what is asked.

    The measure rises with the value; ``None`` if it is above already at `low`.
    """
    if measure(low) > asked:
        return None
    if measure(high) <= asked:
        return high
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        if measure(middle) <= asked:
            low = middle
        else:
            high = middle
    return low

"""Queries far from all training queries: only the averages are known.

Their estimates are identical. A price that was found on queries of different estimates
would send all of them to one model, so they are decided by the averages alone.
"""

from __future__ import annotations

import numpy as np

from skroute._decide.price_path import PricePath, ShadowPrice, assign_shadow_prices
from skroute._decide.rule import Rule
from skroute.exceptions import InfeasibleBudgetError

__all__ = ["Averages", "choose_far_model", "price_far_queries"]

#: Mean quality and cost of each model, two ndarray of shape (n_models,).
Averages = tuple[np.ndarray, np.ndarray]


def choose_far_model(averages: Averages, rule: Rule, target: float) -> int:
    """Find the cheapest model whose mean quality reaches a target, else the best."""
    quality, cost = averages
    allowed = rule.candidates(quality[None], cost[None])[0]
    reach = allowed & (quality >= target)
    if not reach.any():
        return int(np.where(allowed, quality, -np.inf).argmax())
    return int(np.where(reach, cost, np.inf).argmin())


def price_far_queries(
    averages: Averages,
    rule: Rule,
    quality: np.ndarray,
    cost: np.ndarray,
    allowed: np.ndarray,
) -> np.ndarray:
    """Find the prices, (n_queries,), at which far queries spend the mean budget.

    Estimates and allowed models are those of the far queries, (n_queries, n_models).
    Where no single model costs the budget, two neighbouring prices are mixed.
    """
    # A path splits only steps that several queries take together, hence two rows.
    means, costs = (np.tile(average, (2, 1)) for average in averages)
    path = PricePath.from_estimates(means, costs, allowed=rule.candidates(means, costs))
    try:
        price = path.without_singles().price_for_budget(float(rule.budget))
    except InfeasibleBudgetError:
        price = ShadowPrice(np.inf)
    return assign_shadow_prices(quality, cost, price, allowed)

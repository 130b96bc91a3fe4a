"""Queries far from training: all that is known of them are averages.

The price of money is found where routing works, by telling queries apart. Queries far
from all training queries have the same estimates, so at that price they would all go to
one model, which is too cheap or too expensive. They are decided by the averages alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skroute._decide.price_path import Price, PricePath, row_prices
from skroute.exceptions import InfeasibleBudgetError

__all__ = ["find_single", "price_within"]

Averages = tuple[np.ndarray, np.ndarray]


def find_single(averages: Averages, allowed: np.ndarray, target: float) -> int:
    """Find the cheapest model whose mean quality reaches a target.

    Parameters
    ----------
    averages : tuple of two ndarray of shape (n_models,)
        Mean quality and cost of each model.
    allowed : ndarray of bool of shape (n_models,)
        Models that may be called.
    target : float
        The mean quality that is asked for.

    Returns
    -------
    int
        The model; where none reaches the target, the best one.
    """
    quality, cost = averages
    reach = allowed & (quality >= target)
    if not reach.any():
        return int(np.where(allowed, quality, -np.inf).argmax())
    return int(np.where(reach, cost, np.inf).argmin())


def price_within(
    averages: Averages,
    in_play: Callable[..., np.ndarray],
    budget: float,
    quality: np.ndarray,
    cost: np.ndarray,
    allowed: np.ndarray,
) -> np.ndarray:
    """Price queries far from training, so that they spend a mean budget together.

    Parameters
    ----------
    averages : tuple of two ndarray of shape (n_models,)
        Mean quality and cost of each model.
    in_play : callable
        ``in_play(quality, cost, mask)`` gives the models that the rule allows.
    budget : float
        Money per query.
    quality, cost : ndarray of shape (n_queries, n_models)
        Estimates of the queries.
    allowed : ndarray of bool of shape (n_queries, n_models)
        Models that may be chosen.

    Returns
    -------
    ndarray of shape (n_queries,)
        Prices of money: two neighbouring ones, where no model costs the budget.
    """
    # Two rows step at once, so the path knows that it has to split them.
    means, costs = (np.tile(average, (2, 1)) for average in averages)
    every = np.ones((1, len(averages[0])), dtype=bool)
    path = PricePath.from_estimates(means, costs, allowed=in_play(means, costs, every))
    try:
        price = path.without_singles().price_for_budget(budget)
    except InfeasibleBudgetError:
        price = Price(np.inf)
    return row_prices(quality, cost, price, allowed)

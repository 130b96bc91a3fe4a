"""What decisions are worth: quality less price times spend, at several prices."""

from __future__ import annotations

import numpy as np

from skroute._decide.hull import choose

__all__ = ["measure_utility", "value_money"]


def measure_utility(
    quality: np.ndarray,
    cost: np.ndarray,
    gained: np.ndarray,
    spent: np.ndarray,
    prices: np.ndarray,
    allowed: np.ndarray | None = None,
) -> np.ndarray:
    """Mean over prices of what decisions gain less price times spend, (n_queries,).

    Decisions are made on estimates of quality and cost, (n_queries, n_models), among
    the models that a mask allows, by default all; what they gain and spend is in the
    two tables after these.
    """
    if allowed is None:
        allowed = np.ones((1, 1), dtype=bool)
    rows, total = np.arange(len(quality)), np.zeros(len(quality))
    for price in prices:
        choice = choose(quality, cost, price, allowed)
        total += gained[rows, choice] - price * spent[rows, choice]
    return total / len(prices)


def value_money(money: np.ndarray, shadow_price: np.ndarray) -> np.ndarray:
    """Turn money into quality; no money is worth nothing at an infinite price."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(money == 0, 0.0, shadow_price * money)

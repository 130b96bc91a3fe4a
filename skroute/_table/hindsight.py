"""What turns out to be good in hindsight, once outcomes are known."""

from __future__ import annotations

import numpy as np


def mark_good_calls(y: np.ndarray, strongest: int) -> np.ndarray:
    """Mark good calls (1.0), (n_queries, n_models), as routing_collapse_index counts.

    A good call is to one of the best models, but to the strongest only if no other
    model is as good.
    """
    best = y == y.max(axis=1, keepdims=True)
    needed = best.sum(axis=1) == 1
    best[:, strongest] &= needed
    return best.astype(np.float64)


def find_floor(y: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find what the cheapest model of each query costs, (n_queries,), and gives.

    Where several are cheapest, it gives their mean quality.
    """
    lowest = costs.min(axis=1)
    cheapest = costs == lowest[:, None]
    return lowest, np.where(cheapest, y, 0.0).sum(axis=1) / cheapest.sum(axis=1)

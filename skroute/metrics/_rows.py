"""Which queries a metric can count, and how much each of them counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._table.numbers import check_sample_weight
from skroute._table.outcomes import check_complete

__all__ = ["find_judged"]


def find_judged(
    y: np.ndarray, costs: np.ndarray | None, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Find the queries whose outcomes are all known, and that have a weight.

    Parameters
    ----------
    y : ndarray of shape (n_queries, n_models)
        Observed qualities.
    costs : ndarray of shape (n_queries, n_models) or None
        Observed costs, where they count.
    sample_weight : array-like of shape (n_queries,) or None
        How much each query counts; ``None`` weighs all alike.

    Returns
    -------
    judged : ndarray of bool of shape (n_queries,)
        The queries that are counted.
    weight : ndarray of shape (n_judged,)
        Their weights, above 0.

    Raises
    ------
    ValueError
        If there is no such query, or a weight is wrong.
    """
    weight = check_sample_weight(sample_weight, len(y))
    complete = check_complete(y, costs)
    judged = complete & (weight > 0)
    if not judged.any():
        raise ValueError(
            "sample_weight must be above 0 for a query on which every model's outcome "
            f"is known; it is 0 for all {int(complete.sum())} of these."
        )
    return judged, weight[judged]

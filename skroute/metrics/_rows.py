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
    """Find queries with complete outcomes and a weight above 0: a mask, and weights.

    Costs count where they are given. A ValueError tells that there is no such query.
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

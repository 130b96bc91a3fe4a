"""Averages over what was observed, and which model is best by them."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Cap on the rows that one value stands for: beyond it, its noise dominates the mean.
MOST_ROWS = 10.0


def weigh_outcomes(Y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Weigh every value: 0 where it is unknown, 1 elsewhere if no weight is given."""
    known = np.isfinite(Y)
    return known.astype(np.float64) if weight is None else np.where(known, weight, 0.0)


def centre_rows(values: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Take the weighted mean of each row off it; both are (n_rows, n_columns).

    What has no mass, such as an unknown value, counts as 0 before.
    """
    values = np.where(mass > 0, values, 0.0)
    total = mass.sum(axis=1, keepdims=True)
    total[total == 0] = 1.0
    return values - (mass * values).sum(axis=1, keepdims=True) / total


def average_known(
    Y: np.ndarray, weight: np.ndarray | None = None, *, empty: float = np.nan
) -> np.ndarray:
    """Average every column over its known values; `empty` where it has none.

    `Y` and the weight of every value are (n_rows, n_columns).
    """
    return divide_sums(sum_known(Y, weight), empty=empty)


def sum_known(Y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Sum every column over its known values, and their mass: (2, n_columns)."""
    mass = weigh_outcomes(Y, weight)
    total = (mass * np.where(np.isfinite(Y), Y, 0.0)).sum(axis=0)
    return np.stack([total, mass.sum(axis=0)])


def divide_sums(sums: np.ndarray, *, empty: float = np.nan) -> np.ndarray:
    """Divide the sums of `sum_known`, which add up over parts of a table: the means."""
    return divide_known(*sums, empty=empty)


def divide_known(total: Any, mass: np.ndarray, *, empty: float = np.nan) -> np.ndarray:
    """Divide by the mass of what is known; `empty` where that is 0."""
    return np.divide(total, mass, out=np.full(mass.shape, empty), where=mass > 0)


def doubly_robust(
    truth: np.ndarray,
    estimate: np.ndarray,
    weight: np.ndarray | None = None,
    per_mass: np.ndarray | None = None,
) -> np.ndarray:
    """Correct estimates so that their means are unbiased where most truth is hidden.

    Where the truth is known, the error of the estimate counts for all the rows that
    the known one stands for [1]_. Estimates alone promise too much of the decisions
    they lead to: the largest of several estimates is often one that is too large.

    All tables are (n_rows, n_columns), the truth ``NaN`` where unknown; `per_mass`, if
    known, is what `count_rows_per_mass` counts. A column that is known in every row, at
    equal weights, is returned as the truth.

    References
    ----------
    .. [1] J. M. Robins, A. Rotnitzky and L. P. Zhao, "Estimation of regression
       coefficients when some regressors are not always observed", Journal of the
       American Statistical Association 89, 1994.
    """
    mass = weigh_outcomes(truth, weight)
    if per_mass is None:
        per_mass = count_rows_per_mass(mass.sum(axis=0), len(truth))
    # An outcome counts for the hidden ones beside it.
    stands_for = np.minimum(mass * per_mass, MOST_ROWS)
    missed = np.where(mass > 0, truth, estimate) - estimate
    corrected: np.ndarray = estimate + stands_for * missed
    # Exactly the truth, which a sum of differences would round.
    return np.where(stands_for == 1, truth, corrected)


def keep_in_range(estimates: np.ndarray, low: float, high: float) -> np.ndarray:
    """Keep the estimates of each row in a range without changing its decision.

    Cutting at the upper end would make good models equal, and decide the query by cost.
    So a row whose best is outside moves as a whole; what is then still too low is cut.
    """
    best = np.maximum.reduce(estimates, axis=1, keepdims=True)
    inside = np.minimum(np.maximum(best, low), high)
    # Clip again: rounding of the difference can leave the range.
    return np.minimum(np.maximum(estimates + (inside - best), low), high)


def count_rows_per_mass(mass: np.ndarray, n_rows: int) -> np.ndarray:
    """Count the rows that an outcome of weight 1 stands for; 0 without outcomes."""
    return divide_known(n_rows, mass, empty=0.0)


def best_on_average(quality: np.ndarray, cost: np.ndarray) -> int:
    """Index of the model of the highest mean quality, ties to the cheaper."""
    return int(np.lexsort((cost, -quality))[0])

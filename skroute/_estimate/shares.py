"""How far a correction of the estimates is followed: by its error out of fold."""

from __future__ import annotations

import numpy as np

from skroute._table.averages import centre_rows, weigh_outcomes

__all__ = ["find_share", "sum_gains"]


def find_share(sums: np.ndarray, doubt: float) -> float:
    """Find the share that a correction gets in the differences between models.

    It is the share of the least squared error, less `doubt` standard errors, so that
    what may be chance does not change the estimates. The sums are those of `sum_gains`.
    """
    size, gain, size2, both, gain2 = sums
    if size == 0:
        return 0.0
    share = gain / size
    # The sum over queries of (gain - share * size) ** 2, multiplied out.
    missed = gain2 - 2 * share * both + share**2 * size2
    error = np.sqrt(max(missed, 0.0)) / size
    return float(np.clip(share - doubt * error, 0.0, 1.0))


def sum_gains(
    before: np.ndarray,
    after: np.ndarray,
    quality: np.ndarray,
    weight: np.ndarray | None,
) -> np.ndarray:
    """Sum what is needed to find the share of a correction, and its standard error.

    Estimates are out of fold, and (n_queries, n_models), as the outcomes are. With the
    squared size of what is changed on a query, and its product with the error before
    (the gain): the sums of sizes and of gains, then of sizes squared, sizes times
    gains, and gains squared.
    """
    mass = weigh_outcomes(quality, weight)
    estimated = centre_rows(before, mass)
    change = centre_rows(after, mass) - estimated
    error = centre_rows(quality, mass) - estimated
    size = (mass * change**2).sum(axis=1)
    gain = (mass * change * error).sum(axis=1)
    return np.array([size.sum(), gain.sum(), size @ size, size @ gain, gain @ gain])

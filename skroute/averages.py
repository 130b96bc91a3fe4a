"""Averages over what was observed, and which model is best by them."""

from __future__ import annotations

import numpy as np

__all__ = [
    "best_on_average",
    "means_of",
    "outcome_mass",
    "weighted_means",
    "weighted_sums",
]


def outcome_mass(Y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Weight of every value: 0 where it is unknown, 1 elsewhere if none is given."""
    known = np.isfinite(Y)
    return known.astype(np.float64) if weight is None else np.where(known, weight, 0.0)


def weighted_means(
    Y: np.ndarray, weight: np.ndarray | None = None, *, empty: float = np.nan
) -> np.ndarray:
    """Mean of every column over its known values.

    Parameters
    ----------
    Y : ndarray of shape (n_rows, n_columns)
        Values, ``NaN`` where unknown.
    weight : ndarray of shape (n_rows, n_columns), default=None
        Weight of every value.
    empty : float, default=nan
        Mean of a column without any.

    Returns
    -------
    ndarray of shape (n_columns,)
        The means.
    """
    return means_of(weighted_sums(Y, weight), empty=empty)


def weighted_sums(Y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Sum of every column over its known values, and their mass: (2, n_columns)."""
    mass = outcome_mass(Y, weight)
    total = (mass * np.where(np.isfinite(Y), Y, 0.0)).sum(axis=0)
    return np.stack([total, mass.sum(axis=0)])


def means_of(sums: np.ndarray, *, empty: float = np.nan) -> np.ndarray:
    """Means from the sums of `weighted_sums`, which add up over parts of a table."""
    total, mass = sums
    return np.divide(total, mass, out=np.full(len(total), empty), where=mass > 0)


def best_on_average(quality: np.ndarray, cost: np.ndarray) -> int:
    """Index of the model of the highest mean quality, ties to the cheaper.

    Parameters
    ----------
    quality, cost : ndarray of shape (n_models,)
        Mean quality and cost of each model.
    """
    return int(np.lexsort((cost, -quality))[0])

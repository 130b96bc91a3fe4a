"""From qualities and costs to the graded labels and gains that LambdaRank learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Grades", "graded_relevance", "rows_with_winner"]

# Real-valued qualities with more distinct values are rounded to so many equal steps.
_MAX_LEVELS = 31


@dataclass(frozen=True)
class Grades:
    """The distinct qualities of some rows; adds up over parts of a table.

    Attributes
    ----------
    values : ndarray of shape (n_values,)
        In ascending order; of too many only the first and the last.
    crowded : bool
        Whether they are too many to be grades of their own.
    """

    values: np.ndarray
    crowded: bool = False

    @classmethod
    def of(cls, quality: np.ndarray) -> Grades:
        """Grades of a table of qualities, ``NaN`` where unknown."""
        return cls(np.unique(quality[np.isfinite(quality)]))._bounded()

    def __add__(self, other: Grades) -> Grades:
        both = np.union1d(self.values, other.values)
        return Grades(both, self.crowded or other.crowded)._bounded()

    def levels(self) -> np.ndarray:
        """The grades that qualities are rounded to, in ascending order."""
        if self.crowded:
            return np.linspace(self.values[0], self.values[-1], _MAX_LEVELS)
        return self.values

    def _bounded(self) -> Grades:
        if self.crowded or len(self.values) > _MAX_LEVELS:
            return Grades(self.values[[0, -1]], True)
        return self


def graded_relevance(
    quality: np.ndarray,
    costs: np.ndarray,
    *,
    tie_gain: float,
    grades: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Grade every (query, model) pair by quality, ties by cheapness.

    LambdaRank takes integer labels with a gain each. The gain is the quality, scaled to
    [0, 1], plus ``tie_gain`` times how cheap the model is among all models (1 the
    cheapest, 0 the most expensive), so that of two equally good models the cheaper
    ranks higher, by a dial and not by a switch: with the tie broken at full gain a
    router collapses to the cheapest model.

    Qualities (n_queries, n_models) are rounded to `grades`, in ascending order; by
    default their own, or 31 equal steps where they have more distinct values. Labels of
    ``NaN`` are 0, and to be left out by the caller. Costs are of shape (n_models,).

    Returns
    -------
    labels : ndarray of int32 of shape (n_queries, n_models)
        Positions in `gains`.
    gains : ndarray of shape (n_labels,)
        Increasing in quality and in cheapness.
    """
    known = np.isfinite(quality)
    if grades is None:
        grades = Grades.of(quality).levels()
    middle = (grades[1:] + grades[:-1]) / 2
    level = np.searchsorted(middle, np.where(known, quality, grades[0]))
    value = grades - grades[0]
    if value[-1] > 0:
        value = value / value[-1]
    if tie_gain == 0:
        return level.astype(np.int32), value
    prices, rank = np.unique(costs, return_inverse=True)
    cheapness = 1.0 - np.arange(len(prices)) / max(len(prices) - 1, 1)
    by_gain = (value[:, None] + tie_gain * cheapness[::-1]).ravel()
    label = level * len(prices) + (len(prices) - 1 - rank)
    # A large tie gain may lift a cheap model above the next grade: labels are ordered
    # by gain, which is what LightGBM compares.
    gains, position = np.unique(by_gain, return_inverse=True)
    return position[label].astype(np.int32), gains


def rows_with_winner(quality: np.ndarray) -> np.ndarray:
    """Queries on which the models are known to differ, as bool (n_queries,)."""
    known = np.isfinite(quality)
    best = np.where(known, quality, -np.inf).max(axis=1)
    return best > np.where(known, quality, np.inf).min(axis=1)

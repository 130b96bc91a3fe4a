"""From qualities and costs to the graded labels and gains that LambdaRank learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Grades", "find_differing_rows", "label_grades", "label_pairs"]

# Qualities with more distinct values than this are rounded to this many equal steps.
_MAX_LEVELS = 31


@dataclass(frozen=True)
class Grades:
    """The distinct qualities of some rows, ascending; adds up over parts of a table.

    If there are more than 31 they are `crowded`, and only the first and last are kept.
    """

    values: np.ndarray
    crowded: bool = False

    @classmethod
    def from_quality(cls, quality: np.ndarray) -> Grades:
        """Grades of a table of qualities, ``NaN`` where unknown."""
        return cls(np.unique(quality[np.isfinite(quality)]))._bound()

    def __add__(self, other: Grades) -> Grades:
        both = np.union1d(self.values, other.values)
        return Grades(both, self.crowded or other.crowded)._bound()

    def list_levels(self) -> np.ndarray:
        """The grades that qualities are rounded to, in ascending order."""
        if self.crowded:
            return np.linspace(self.values[0], self.values[-1], _MAX_LEVELS)
        return self.values

    def _bound(self) -> Grades:
        if self.crowded or len(self.values) > _MAX_LEVELS:
            return Grades(self.values[[0, -1]], True)
        return self


def label_grades(
    grades: np.ndarray, costs: np.ndarray, tie_gain: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find the label of each grade of each model, and the gains of the labels.

    LambdaRank takes integer labels with a gain each. The gain is the quality, scaled to
    [0, 1], plus ``tie_gain`` times how cheap the model is among all models (1 the
    cheapest, 0 the most expensive). A small `tie_gain` ranks the cheaper of two equally
    good models higher; with a gain of 1 a router collapses to the cheapest model.

    Returns two arrays: the label of each grade of each model, (n_grades, n_models), an
    index into the second, the ascending gains (n_labels,).
    """
    value = grades - grades[0]
    if value[-1] > 0:
        value = value / value[-1]
    level = np.arange(len(grades))[:, None]
    if tie_gain == 0:
        return np.tile(level.astype(np.int32), len(costs)), value
    prices, rank = np.unique(costs, return_inverse=True)
    cheapness = 1.0 - np.arange(len(prices)) / max(len(prices) - 1, 1)
    by_gain = (value[:, None] + tie_gain * cheapness[::-1]).ravel()
    label = level * len(prices) + (len(prices) - 1 - rank)
    # A large tie gain may lift a cheap model above the next grade: labels are ordered
    # by gain, which is what LightGBM compares.
    gains, position = np.unique(by_gain, return_inverse=True)
    return position[label].astype(np.int32), gains


def label_pairs(
    quality: np.ndarray, grades: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Label every (query, model) pair, (n_queries, n_models).

    Qualities are rounded to the nearest grade. Unknown ones are labelled as the lowest
    grade, and are to be left out by the caller.
    """
    middle = (grades[1:] + grades[:-1]) / 2
    known = np.where(np.isfinite(quality), quality, grades[0])
    return labels[np.searchsorted(middle, known), np.arange(quality.shape[1])]


def find_differing_rows(quality: np.ndarray) -> np.ndarray:
    """Queries on which the models are known to differ, as bool (n_queries,)."""
    known = np.isfinite(quality)
    best = np.where(known, quality, -np.inf).max(axis=1)
    return best > np.where(known, quality, np.inf).min(axis=1)

"""The canonical order and unit: what is estimated inside, whatever the caller's table.

Models are put in an order of their own, so that the order of the columns of y changes
no decision, and qualities are scaled to [0, 1], the range seen in training. Tables are
converted once before a fit, and estimates back before they are returned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skroute._compute.executor import IN_MEMORY, Executor
from skroute._table.averages import divide_sums, keep_in_range, sum_known

__all__ = ["Canonical", "take_columns"]


@dataclass(frozen=True)
class Canonical:
    """Order of the models and unit of the qualities."""

    place: np.ndarray  # of each model of ``models_`` in the canonical order
    worst: float  # quality that is 0 inside: the worst in training
    extent: float  # difference from the best, which is 1
    # Range of the qualities seen, in this unit; an added model may widen it.
    seen: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def fit(
        cls, quality: Any, costs: np.ndarray, executor: Executor = IN_MEMORY
    ) -> Canonical:
        """Find order and unit for a table of qualities, and mean costs of its models.

        The order is by mean quality, then by cost. Models that are equal in both are
        ordered by the rows on which they did well.
        """
        fingerprint = executor.total(
            _fingerprint_models, quality, executor.number_rows(quality)
        )
        sums = executor.get(fingerprint)
        # The last key of lexsort is the first to sort by.
        order = np.lexsort((sums[2], costs, divide_sums(sums[:2])))
        ends = executor.get(
            executor.total(_find_quality_range, quality, combine=np.fmax)
        )
        worst = -float(ends[0])
        return cls(np.argsort(order), worst, float(ends[1]) - worst or 1.0)

    @property
    def order(self) -> np.ndarray:
        """Columns of the caller's tables in the canonical order."""
        return np.argsort(self.place)

    def to_canonical(self, quality: np.ndarray) -> np.ndarray:
        """Scale a table of qualities, and put its models in order."""
        return self.to_unit(quality[:, self.order])

    def to_unit(self, quality: np.ndarray) -> np.ndarray:
        """Scale qualities."""
        return (quality - self.worst) / self.extent

    def from_canonical(
        self, quality: np.ndarray, cost: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Estimates in the caller's order and unit, and in double precision.

        Regressions may leave the range of what was seen; estimates do not.
        """
        inside = keep_in_range(quality, *self.seen).take(self.place, axis=1)
        inside *= self.extent
        inside += self.worst
        cost = cost.take(self.place, axis=1)
        # Queries in single precision are decided in double, few as well as many.
        double = np.float64
        return inside.astype(double, copy=False), cost.astype(double, copy=False)

    def with_model(self, quality: np.ndarray) -> Canonical:
        """Add a model of these scaled outcomes, as the last one."""
        place = np.append(self.place, len(self.place))
        return replace(self.widen(quality), place=place)

    def widen(self, quality: np.ndarray) -> Canonical:
        """Widen the range of qualities seen to that of other scaled ones."""
        low, high = self.seen
        lowest = np.fmin.reduce(quality, axis=None, initial=low)
        highest = np.fmax.reduce(quality, axis=None, initial=high)
        return replace(self, seen=(float(lowest), float(highest)))

    def without_model(self, position: int) -> Canonical:
        """Leave out a model, given by its position in ``models_``."""
        # Later places move up by one.
        place = np.delete(self.place, position)
        return replace(self, place=place - (place > self.place[position]))


def take_columns(table: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Columns of a table in another order."""
    return table[:, order]


def _fingerprint_models(quality: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Sum qualities, outcomes, and qualities times row numbers, to sort models by."""
    known = np.where(np.isnan(quality), -1.0, quality)
    return np.vstack([sum_known(quality), (numbers + 1.0) @ known])


def _find_quality_range(quality: np.ndarray) -> np.ndarray:
    """The worst quality, negative, and the best: so that both are maxima over parts."""
    return np.array(
        [-np.fmin.reduce(quality, axis=None), np.fmax.reduce(quality, axis=None)]
    )

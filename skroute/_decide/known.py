"""Queries with known outcomes, on which decisions are tested before a promise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from skroute._table.averages import MOST_ROWS, count_rows_per_mass, doubly_robust


class Units(NamedTuple):
    """Queries that are independent, and those that count as one."""

    #: Number of each query's unit, from 0, (n_queries,).
    number: np.ndarray
    #: Queries of the largest.
    most: int
    #: An order of the units that has nothing to do with the outcomes; tables come
    #: sorted.
    order: np.ndarray

    @classmethod
    def of(cls, unit: np.ndarray) -> Self:
        """Number the units of queries, (n_queries,)."""
        _, number, size = np.unique(unit, return_inverse=True, return_counts=True)
        order = np.random.default_rng(0).permutation(len(size))
        return cls(number, int(size.max()), order)

    def add_up(self, values: np.ndarray, low: float) -> tuple[np.ndarray, float]:
        """Sum values (n_queries,), none below `low`, over those not independent.

        A mean over queries is below 0 exactly if the mean of these sums is; the number
        of queries in the largest sum bounds it.
        """
        sums = np.bincount(self.number, weights=values)
        return sums[self.order], low * self.most


@dataclass(frozen=True)
class KnownQueries:
    """Queries to test decisions on: their estimates, and what is known of the truth."""

    #: Estimates that decisions rest on, (n_queries, n_models).
    quality: np.ndarray
    cost: np.ndarray
    #: Doubly robust quality, and money, ``NaN`` where unknown, (n_queries, n_models).
    true_quality: np.ndarray
    true_cost: np.ndarray
    #: Queries of one number are not independent, (n_queries,).
    unit: np.ndarray
    #: Queries that one known quality of a model stands for, at most, (n_models,); 0
    #: where none is known.
    stands_for: np.ndarray
    #: Lowest and highest quality of any call.
    quality_range: tuple[float, float]
    #: The model that a share of quality refers to.
    best_single: int

    @classmethod
    def from_outcomes(
        cls,
        quality: np.ndarray,
        cost: np.ndarray,
        true_quality: np.ndarray,
        true_cost: np.ndarray,
        unit: np.ndarray,
        best_single: int,
    ) -> KnownQueries:
        """Take outcomes as they were observed, ``NaN`` where unknown."""
        known = np.isfinite(true_quality)
        return cls(
            quality,
            cost,
            doubly_robust(true_quality, quality),
            true_cost,
            unit,
            count_rows_per_mass(known.sum(axis=0), len(known)),
            (
                float(np.where(known, true_quality, np.inf).min()),
                float(np.where(known, true_quality, -np.inf).max()),
            ),
            best_single,
        )

    def bound_quality(self) -> tuple[float, float]:
        """Bound the doubly robust quality of a call, given the range of outcomes."""
        _check_enough_known(self.stands_for, "quality")
        low, high = self.quality_range
        if low > 0 and high <= 1:
            # Few queries may have shown no failure yet, which there will be.
            low = 0.0
        return _bound_corrected((low, high), self.quality, float(self.stands_for.max()))

    def measure_cost(self) -> tuple[np.ndarray, np.ndarray]:
        """Doubly robust money of each call, and the most that one of a model can be."""
        known = np.isfinite(self.true_cost)
        if known.all():
            return self.true_cost, self.true_cost.max(axis=0)
        stands_for = count_rows_per_mass(known.sum(axis=0), len(known))
        _check_enough_known(stands_for, "cost")
        highest = np.where(known, self.true_cost, -np.inf).max(axis=0)
        for model, (top, weight) in enumerate(zip(highest, stands_for, strict=True)):
            expected = self.cost[:, model]
            highest[model] = _bound_corrected((0.0, top), expected, weight)[1]
        return doubly_robust(self.true_cost, self.cost), highest

    @cached_property
    def units(self) -> Units:
        """The independent queries."""
        return Units.of(self.unit)

    @property
    def n_units(self) -> int:
        """Number of independent queries."""
        return len(self.units.order)


def _check_enough_known(stands_for: np.ndarray, what: str) -> None:
    """Refuse outcomes of which too few are known to say anything of the others."""
    few = np.flatnonzero(~((stands_for > 0) & (stands_for <= MOST_ROWS)))
    if len(few):
        weight = float(stands_for[few[0]])
        share = f"on {1 / weight:.1%} of them" if weight else "on none"
        raise ValueError(
            f"confidence needs the {what} of every model on at least a tenth of the "
            f"queries, or as much by weight: of {len(few)} of the {len(stands_for)} "
            f"models it is known on fewer, of the one in column {few[0]} {share}. Run "
            "these models on more queries, or leave them out."
        )


def _bound_corrected(
    outcomes: tuple[float, float], estimates: np.ndarray, weight: float
) -> tuple[float, float]:
    """Bound what `doubly_robust` makes of outcomes in a range, given their weight.

    It is ``estimate + weight * (outcome - estimate)`` where the outcome is known, and
    the estimate elsewhere.
    """
    low, high = outcomes
    if weight == 1:
        return low, high
    least, most = float(estimates.min()), float(estimates.max())
    below = (weight - 1) * np.array([least, most])
    return (
        min(weight * low - below.max(), least),
        max(weight * high - below.min(), most),
    )

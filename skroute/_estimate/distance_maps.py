"""Kernels and profiles: what is made of a query's distances from centres.

All of them are computed at once, those of every block of columns among them: for a
single query, each call of numpy takes longer than its arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

__all__ = ["DistanceMaps"]


@dataclass(frozen=True)
class DistanceMaps:
    """Turns squared distances into kernels and profiles, a segment of columns each."""

    sizes: tuple[int, ...]  # columns of each segment
    # How fast each falls with the distance: the width of a kernel, or the reciprocal of
    # how softly queries belong to the clusters of a profile.
    rates: tuple[float, ...]
    is_profile: tuple[bool, ...]

    def __add__(self, other: DistanceMaps) -> DistanceMaps:
        return DistanceMaps(
            self.sizes + other.sizes,
            self.rates + other.rates,
            self.is_profile + other.is_profile,
        )

    @cached_property
    def segments(self) -> list[slice]:
        """Columns of each segment."""
        return [slice(*pair) for pair in pairwise(accumulate(self.sizes, initial=0))]

    @cached_property
    def _n_leading(self) -> int:
        """Number of kernels before the first profile."""
        return [*self.is_profile, True].index(True)

    @cached_property
    def _layout(self) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """Where profiles begin; from there, starts and kernels, and each column's."""
        first = self._n_leading
        sizes = np.array(self.sizes[first:], dtype=np.intp)
        kernels = np.flatnonzero(~np.array(self.is_profile[first:], dtype=bool))
        starts = np.cumsum(sizes) - sizes
        begin = sum(self.sizes[:first])
        return begin, starts, kernels, np.repeat(np.arange(len(sizes)), sizes)

    @cached_property
    def _rates(self) -> dict[Any, np.ndarray]:
        """Negative rate of each column, by the type of the distances."""
        rates = -np.repeat(self.rates, self.sizes)
        return {np.dtype(kind): rates.astype(kind) for kind in (np.float32, np.float64)}

    def apply(self, distance: np.ndarray) -> list[np.ndarray]:
        """Make the views of distances (n_queries, n_columns), which are overwritten."""
        begin, starts, kernels, segment = self._layout
        rest = distance[:, begin:]
        if len(starts):
            # A query belongs to clusters by how much farther they are than the nearest.
            least = np.minimum.reduceat(rest, starts, axis=1)
            least[:, kernels] = 0.0
            rest -= least.take(segment, axis=1)
        distance *= self._rates[distance.dtype]
        np.exp(distance, out=distance)
        if len(starts):
            total = np.add.reduceat(rest, starts, axis=1)
            total[:, kernels] = 1.0
            rest /= total.take(segment, axis=1)
        return [distance[:, part] for part in self.segments]

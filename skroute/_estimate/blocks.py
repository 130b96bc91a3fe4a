"""Views of blocks of columns: of an embedding, and of what stands beside it.

An embedding and the words of a prompt tell different things, and a distance over both
hides either. Where the columns of X come in blocks, the regressions see views of all
columns and those of each block, and the stack weighs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from itertools import accumulate, islice, pairwise
from operator import add
from typing import Any

import numpy as np

from skroute._compute.executor import IN_MEMORY, Executor
from skroute._estimate.distance_maps import DistanceMaps
from skroute._estimate.feature_maps import (
    KeepsBases,
    QueryViews,
    TrainingViews,
    fit_views,
)
from skroute._estimate.options import OPTIONS, Options
from skroute._table.duplicates import Duplicates

__all__ = ["BlockViews", "fit_block_views"]

# Squared distances from the nearest landmark at which the trust in blocks but the first
# begins to fall, and ends, as multiples of where it would end by itself. The length of
# a prompt has long tails, and a tenth of all queries would be distrusted for it.
_LENIENCE = (2.0, 4.0)
# The same for the first block, at least, in its mean squared length: where few
# different embeddings come again and again, all are landmarks, and rounding is far.
_LEAST = (0.1, 0.2)

ComputeViews = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class BlockViews(KeepsBases):
    """What the regressions see of a query whose columns come in blocks.

    It does what `QueryViews` does. Scaled queries are those of all columns, followed by
    those of each block.
    """

    widths: tuple[int, ...]  # of the blocks, in the order of the columns of X
    # Views of all columns, then those of each block.
    parts: tuple[QueryViews, ...]

    @cached_property
    def _columns(self) -> list[slice]:
        """Columns of X that each part sees."""
        return [slice(None), *_find_columns(self.widths)]

    @cached_property
    def _scaled_columns(self) -> list[slice]:
        """Columns of scaled queries that are of each part."""
        return _find_columns([part.centres.shape[1] for part in self.parts])

    def scale_queries(self, X: np.ndarray) -> np.ndarray:
        """Scale embeddings as a whole, then each block by itself."""
        return np.concatenate(
            [
                part.scale_queries(X[:, columns])
                for part, columns in zip(self.parts, self._columns, strict=True)
            ],
            axis=1,
        )

    @cached_property
    def _maps(self) -> DistanceMaps:
        """What is made of the distances of all parts."""
        return reduce(add, [part.maps for part in self.parts])

    def transform(self, scaled: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Trust (n_queries,) in what is known of scaled queries, and all views."""
        # Products need rows that lie next to each other.
        own = [np.ascontiguousarray(scaled[:, some]) for some in self._scaled_columns]
        distances = list(map(QueryViews.measure_distances, self.parts, own))
        # Every block is to be near; all of them together may not be.
        trusts = map(QueryViews.judge_trust, self.parts[1:], distances[1:])
        trust = reduce(np.minimum, trusts)
        maps = iter(self._maps.apply(np.concatenate(distances, axis=1)))
        views = [
            view
            for part, rows in zip(self.parts, own, strict=True)
            for view in (rows, *islice(maps, len(part.maps.sizes)))
        ]
        return trust, views

    def take_first_view(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled queries as a whole, of the scaled queries and their blocks."""
        return scaled[:, self._scaled_columns[0]]

    def compute_bases(self) -> list[np.ndarray | None]:
        """Map of each view, as in `QueryViews`."""
        return [basis for part in self.parts for basis in part.compute_bases()]

    def cast_to(self, dtype: Any) -> BlockViews:
        """Return views that are computed in another floating-point type."""
        return replace(self, parts=tuple(part.cast_to(dtype) for part in self.parts))


def fit_block_views(
    X: Any,
    widths: Sequence[int],
    n_landmarks: int,
    rng: np.random.RandomState,
    duplicates: Duplicates,
    options: Options = OPTIONS,
    executor: Executor = IN_MEMORY,
) -> tuple[BlockViews, TrainingViews, Any]:
    """Learn views of all columns, and of blocks of these `widths`.

    The rest, and what is returned, is as in `fit_views`.
    """
    fitted = [
        fit_views(
            X if columns is None else executor.map(_take_block, X, columns),
            # So many kernels need no more centres than one has.
            max(1, n_landmarks // 2),
            rng,
            duplicates,
            options,
            executor,
        )
        for columns in (None, *_find_columns(widths))
    ]
    (whole, first, *others), seen, trusts = zip(*fitted, strict=True)
    near, far = first.limits
    first = replace(first, limits=(max(near, _LEAST[0]), max(far, _LEAST[1])))
    lenient = [
        replace(part, limits=tuple(many * part.limits[1] for many in _LENIENCE))
        for part in others
    ]
    views = BlockViews(tuple(widths), (whole, first, *lenient))
    rows = executor.map(_join_rows, *(some.rows for some in seen))
    columns = views._scaled_columns
    training = TrainingViews(
        rows,
        partial(_compute_training_views, columns, [some.compute for some in seen]),
        partial(_compute_training_views, columns[:1], [seen[0].compute_first]),
    )
    # That of training queries is of the first block: all but a few are near by others.
    return views, training, trusts[1]


def _find_columns(widths: Sequence[int]) -> list[slice]:
    """Where blocks that stand side by side begin and end."""
    return [slice(*pair) for pair in pairwise(accumulate(widths, initial=0))]


def _take_block(X: np.ndarray, columns: slice) -> np.ndarray:
    return np.ascontiguousarray(X[:, columns])


def _join_rows(*parts: np.ndarray) -> np.ndarray:
    return np.hstack(parts)


def _compute_training_views(
    columns: list[slice], computes: Sequence[ComputeViews], rows: np.ndarray
) -> list[np.ndarray]:
    """Compute the views of each part from its columns of the rows."""
    return [
        view
        for some, compute in zip(columns, computes, strict=True)
        for view in compute(_take_block(rows, some))
    ]

"""Duplicate prompts: find the rows of a table that ask the same thing.

Logs hold a prompt many times, evaluations draw several answers per prompt, and hosted
encoders return the same prompt with differences of up to 1e-4 in every feature. Rows
of one prompt must be held out together, and count as one query in a fit.

Two rows are one prompt if their distance is below 2% of the spread of the queries, the
root mean squared distance from their centre. Copies with noise of 1e-4 in each of 3,072
features lie within 1% of each other; of the different prompts of thirteen real tables
at most two in a thousand lie within 2% (``docs/guide/tables.md``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from skroute._compute.chunks import chunks, sample_evenly
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._table.averages import divide_known, weigh_outcomes

# Number of rows from which a prompt is a block. In small tables it is a tenth of the
# rows, but at least `_SMALLEST_BLOCK`.
BLOCK = 50
_SMALLEST_BLOCK = 10
# Largest distance of two rows of one prompt, in units of the spread of the queries.
_NEAR = 0.02
# Number of random directions that queries are projected on. Distances are compared in
# these few numbers, whatever the width of the embeddings.
_N_DIRECTIONS = 8
# In few dimensions different queries are near each other by chance. The limit is
# lowered until this is expected for one query in a hundred.
_BY_CHANCE = 0.01
# Width of the grid cells in which rows are compared, in units of the limit. A pair
# that a border separates shares a cell of another, shifted, grid.
_CELL = 5.0
_N_GRIDS = 8
# Most prompts that are distinguished in one cell, which keeps the cost linear.
_N_IN_CELL = 32
# Rows on which the spread is measured.
_N_SAMPLED = 2048
# Quantiles to which the values of a feature are clipped before its spread is taken.
_INNER = (0.05, 0.95)

# What `average_duplicates` does with a row: keep it, leave it out, or put there the
# average whose number is the place less 2. Never negative: clusters send it unsigned.
_KEPT, _LEFT_OUT, _AVERAGED = 0, 1, 2


@dataclass(frozen=True)
class Duplicates:
    """Which rows are duplicates of one prompt."""

    #: A row that stands for the prompt of each row, (n_queries,), and its number of
    #: rows.
    first: np.ndarray
    count: np.ndarray
    #: Groups that the user wants to be held out together, (n_queries,).
    group: np.ndarray | None = None
    #: Whether prompts of very many rows are blocks.
    has_blocks: bool = True

    @property
    def block(self) -> np.ndarray:
        """Whether rows are of a prompt that is a large part of the table.

        An encoder that truncates long prompts makes such blocks. Their rows are
        different prompts, so each counts by itself.
        """
        n_rows = len(self.count)
        large = self.count >= min(BLOCK, max(_SMALLEST_BLOCK, n_rows // 10))
        return large & self.has_blocks

    @property
    def counted(self) -> np.ndarray:
        """Rows that count as evidence: the first of each prompt, and all of blocks."""
        return self.block | (self.first == np.arange(len(self.first)))

    @property
    def n_prompts(self) -> int:
        """Number of different prompts."""
        return len(np.unique(self.first))

    def number_units(self) -> np.ndarray:
        """Number the sets of rows that folds must not separate, (n_queries,).

        Rows of one prompt, or of one group, share a number. Rows of a block each have
        their own: in one fold they would be unknown to the router that is tested on
        them, although the served router knows them.
        """
        rows = np.arange(len(self.first))
        unit = np.where(self.block, rows, self.first)
        if self.group is not None:
            # Rows that share a prompt or a group, directly or through other rows.
            first_of_group = np.unique(self.group, return_index=True)[1]
            # Older versions of SciPy search only graphs with 32-bit indices.
            starts = np.r_[rows, rows].astype(np.int32)
            ends = np.r_[unit, first_of_group[self.group]].astype(np.int32)
            links = coo_array(
                (np.ones(len(ends), dtype=bool), (starts, ends)),
                shape=(len(rows), len(rows)),
            )
            unit = connected_components(links, directed=False)[1]
        return np.unique(unit, return_inverse=True)[1]


def find_duplicates(
    X: Any, groups: Any = None, executor: Executor = IN_MEMORY
) -> Duplicates:
    """Find the rows of embeddings (n_queries, n_features) that ask the same thing.

    Rows of one of the `groups` (n_queries,) are to be held out together too. On a
    cluster (`executor`) X is the handle of a column.

    Rows are projected on eight directions and compared within the cells of eight
    shifted grids, so the cost is linear in their number. In a cell each row is compared
    with the first of its prompt: a chain of near rows does not become one prompt.
    """
    n_queries = executor.count(X)
    sample = executor.take(X, sample_evenly(n_queries, _N_SAMPLED))
    centre, scale = _find_centre_and_scale(np.asarray(sample, dtype=np.float64))
    n_features = sample.shape[1]
    directions = None
    # Random projections keep distances on average.
    if n_features > _N_DIRECTIONS:
        normal = np.random.default_rng(0).standard_normal((n_features, _N_DIRECTIONS))
        directions = normal / np.sqrt(_N_DIRECTIONS)
    points = executor.gather(executor.map(_project, X, centre, scale, directions))
    # All points are compared in one place: few numbers for each query.
    first = _match_points(points)
    group = None if groups is None else np.unique(groups, return_inverse=True)[1]
    return Duplicates(first, np.bincount(first, minlength=n_queries)[first], group)


def _find_centre_and_scale(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre of the queries, and a scale for each feature that makes the spread 1.

    Neither a few stray rows nor a feature on a larger scale (a length, a task's number)
    makes all queries look alike: values beyond the inner 90% count as at its ends, and
    features that vary more than most count as much as these.
    """
    # Scale by the largest number: squares of tiny or huge ones would be lost.
    unit = float(np.abs(sample).max()) or 1.0
    sample = sample / unit
    centre = np.median(sample, axis=0)
    low, high = np.quantile(sample, _INNER, axis=0)
    spread = np.clip(sample, low, high).std(axis=0)
    # Spreads that rounding explains count as 0.
    rounding = float(np.finfo(np.float64).eps) * np.maximum(1.0, np.abs(sample).max())
    if np.median(spread) <= rounding:
        # Most features are constant in most rows: clipping would hide the others.
        spread = sample.std(axis=0)
    varied = spread > rounding
    if not varied.any():
        return centre * unit, np.full(len(spread), unit)
    scale = np.maximum(spread, np.median(spread[varied]))
    total = float(np.sqrt(((spread / scale) ** 2).sum()))
    return centre * unit, scale * total * unit


def _project(
    X: np.ndarray,
    centre: np.ndarray,
    scale: np.ndarray,
    directions: np.ndarray | None,
) -> np.ndarray:
    """Find the coordinates of queries in which distances are compared."""
    width = X.shape[1] if directions is None else directions.shape[1]
    points = np.empty((len(X), width))
    for part in chunks(len(X)):
        scaled = (X[part] - centre) / scale
        points[part] = scaled if directions is None else scaled @ directions
    return points


def _match_points(points: np.ndarray) -> np.ndarray:
    """For each point the first of the points that are near each other."""
    n_points, n_dimensions = points.shape
    near = min(_NEAR, (_BY_CHANCE / n_points) ** (1.0 / n_dimensions))
    rng = np.random.default_rng(0)
    # Cells are hashed: an odd factor for each dimension, summed modulo 2**64.
    odd = 2 * rng.integers(2**62, size=n_dimensions, dtype=np.int64) + 1
    first = np.arange(n_points)
    roots = first
    for _ in range(_N_GRIDS):
        shift = rng.random(n_dimensions)
        # Overflow of cell numbers is harmless: distances are compared in the end.
        cell = np.floor(points[roots] / (_CELL * near) + shift)
        code = np.clip(cell, -(2.0**62), 2.0**62).astype(np.int64) @ odd
        _join_in_cells(points, roots, code, near, first)
        roots = roots[first[roots] == roots]
    # A row that stands for others may have been joined to another in a later grid.
    while (first[first] != first).any():
        first = first[first]
    return first


def _join_in_cells(
    points: np.ndarray,
    roots: np.ndarray,
    code: np.ndarray,
    near: float,
    first: np.ndarray,
) -> None:
    """Join the points of each cell to the first one that they are near to."""
    left = roots
    for _ in range(_N_IN_CELL):
        _, at, which, sizes = np.unique(
            code, return_index=True, return_inverse=True, return_counts=True
        )
        shared = sizes[which] > 1
        leader = left[at[which]][shared]
        left, code = left[shared], code[shared]
        if not len(left):
            return
        apart = ((points[left] - points[leader]) ** 2).sum(axis=1)
        joins = apart <= near**2
        first[left[joins]] = leader[joins]
        # The others may be near each other: they take the next leader of their cell.
        left, code = left[~joins], code[~joins]


def average_duplicates(
    quality: Any,
    costs: Any,
    weight: Any,
    duplicates: Duplicates,
    executor: Executor = IN_MEMORY,
) -> tuple[Any, Any, Any]:
    """Let each prompt count once, by the averages of its rows.

    In the tables, all (n_queries, n_models), the first row of each prompt gets the
    averages of its known outcomes, its other rows nothing. Rows of blocks stay. Costs
    and weight may be ``None``.
    """
    several = np.flatnonzero((duplicates.count > 1) & ~duplicates.block)
    if not len(several):
        return quality, costs, weight
    # The row that stands for each prompt, and the prompt of each row.
    prompts, which = np.unique(duplicates.first[several], return_inverse=True)
    place = np.full(len(duplicates.first), _KEPT)
    place[several] = _LEFT_OUT
    place[prompts] = _AVERAGED + np.arange(len(prompts))
    place = executor.split(place, quality)
    # Sums over the rows of each prompt, as a sparse product.
    of_prompt = csr_array(
        (np.ones(len(several)), (which, np.arange(len(several)))),
        shape=(len(prompts), len(several)),
    )
    mass = None if weight is None else executor.take(weight, several)

    def average(table: Any) -> Any:
        values = np.asarray(executor.take(table, several))
        known = weigh_outcomes(values, mass)
        total, count = of_prompt @ (known * np.nan_to_num(values)), of_prompt @ known
        means = divide_known(total, count)
        return executor.map(_replace_rows, table, place, executor.share(means), np.nan)

    if mass is not None:
        # Average over all rows, also those without an outcome: inverse-propensity
        # weights then count a prompt once, however often it was tried.
        means = (of_prompt @ mass) / of_prompt.sum(axis=1)[:, None]
        weight = executor.map(_replace_rows, weight, place, executor.share(means), 0.0)
    return average(quality), None if costs is None else average(costs), weight


def _replace_rows(
    table: np.ndarray, place: np.ndarray, averages: np.ndarray, left_out: float
) -> np.ndarray:
    """Replace the first row of each prompt by its averages, and empty its others."""
    table = np.array(table)
    table[place == _LEFT_OUT] = left_out
    averaged = place >= _AVERAGED
    table[averaged] = averages[place[averaged] - _AVERAGED]
    return table


def number_equal(values: Iterable[Hashable]) -> np.ndarray:
    """Number values in the order of their first appearance, equal ones alike."""
    first: dict[Hashable, int] = {}
    return np.array([first.setdefault(v, len(first)) for v in values], dtype=int)


def count_duplicate_prompts(prompts: np.ndarray | None) -> int:
    """Count the queries whose prompt, if it is not empty, an earlier query has too."""
    texts = [] if prompts is None else [prompt for prompt in prompts if prompt]
    return len(texts) - len(set(texts))

"""Probes: the queries that tell most about a new model, for the fewest calls.

What fifty calls say of a model depends on which queries they are: by chance these are
easier than the others, or miss what the models differ in. The probes are chosen so that
the outcomes of the models of the pool, and what is expected of them, are spread among
them as among all queries. Whatever the outcomes of the new model have in common with
these is then measured nearly without error.

References
----------
Y. Chen, M. Welling and A. Smola, "Super-samples from kernel herding", UAI, 2010.
F. M. Polo et al., "tinyBenchmarks: evaluating LLMs with fewer examples", ICML, 2024.
"""

from __future__ import annotations

import numpy as np

from skroute._compute.chunks import chunks, sample_evenly

__all__ = ["choose_probes"]

# Queries that stand for all, where there are more.
_MOST_COMPARED = 4096
# Queries that are compared with these at once.
_AT_ONCE = 1024
# Rounds in which each probe may be replaced; most choices settle in three.
_MOST_ROUNDS = 5


def choose_probes(tables: list[np.ndarray], n_probes: int) -> np.ndarray:
    """Choose rows whose values are spread as those of all rows are, in their order.

    Each of the `tables` (n_queries, n_columns) counts as much as the others. What is
    made small is the maximum mean discrepancy between the probes and all rows, under a
    Gaussian kernel: row after row is added, and then exchanged while that helps.
    """
    values = np.hstack([_scale(table) for table in tables])
    n_queries = len(values)
    compared = values[sample_evenly(n_queries, _MOST_COMPARED)]
    width = _find_width(compared)
    typical = np.concatenate(
        [
            _compare(values[part], compared, width).mean(axis=1)
            for part in chunks(n_queries, _AT_ONCE)
        ]
    )
    likeness = np.empty((n_probes, n_queries))
    chosen = np.empty(n_probes, dtype=int)
    free = np.ones(n_queries, dtype=bool)
    total = np.zeros(n_queries)

    def choose(place: int, n_chosen: int) -> None:
        """Choose the row that is best beside those that were chosen."""
        # The kernel of a row with itself is 1, for all rows.
        loss = np.where(free, total / n_chosen - typical, np.inf)
        chosen[place] = row = int(loss.argmin())
        free[row] = False
        likeness[place] = _compare(values[row : row + 1], values, width)[0]
        np.add(total, likeness[place], out=total)

    for place in range(n_probes):
        choose(place, place + 1)
    for _ in range(_MOST_ROUNDS):
        before = chosen.copy()
        for place in range(n_probes):
            free[chosen[place]] = True
            np.subtract(total, likeness[place], out=total)
            choose(place, n_probes)
        if np.array_equal(before, chosen):
            break
    return np.sort(chosen)


def _scale(table: np.ndarray) -> np.ndarray:
    """Centre the columns of a table, and give it a mean square distance of 1."""
    centred = table - table.mean(axis=0)
    # The largest value as a unit keeps the squares of extreme ones finite.
    centred /= np.abs(centred).max() or 1.0
    size = float(np.sqrt((centred**2).sum(axis=1).mean()))
    return centred / (size or 1.0)


def _measure_distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared distances (n_some, n_others)."""
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    return np.maximum(squares - 2.0 * some @ others.T, 0.0)


def _find_width(values: np.ndarray) -> float:
    """Give the median squared distance between different rows; 1 if all are equal."""
    some = values[sample_evenly(len(values), 512)]
    squares = _measure_distances(some, values)
    apart = squares[squares > 1e-9]
    return float(np.median(apart)) if len(apart) else 1.0


def _compare(some: np.ndarray, others: np.ndarray, width: float) -> np.ndarray:
    likeness = _measure_distances(some, others)
    likeness /= -width
    return np.exp(likeness, out=likeness)

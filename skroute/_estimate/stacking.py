"""Stacking: combine the regressions, by weights that their out-of-fold errors tell.

The combination is linear, as the regressions are. So the part of each regression in it
is one more output of that regression (`append_weighted_part`), and an estimate is the
sum of these parts over the regressions (`add_weighted_parts`).

References
----------
L. Breiman, "Stacked regressions", Machine Learning 24, 1996.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import nnls

from skroute._compute.chunks import chunks
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._table.averages import weigh_outcomes

__all__ = [
    "add_weighted_parts",
    "append_newcomer_part",
    "append_weighted_part",
    "find_weights",
]

# Part of the largest square that is taken for rounding.
_NEGLIGIBLE = 1e-12


def find_weights(
    estimates: Any,
    quality: Any,
    means: np.ndarray,
    weight: Any = None,
    executor: Executor = IN_MEMORY,
) -> np.ndarray:
    """Find the weights of least squared error on out-of-fold estimates.

    The level of a query (what its models have in common: its difficulty) and the
    differences between its models get weights of their own, because the regression that
    predicts levels best need not predict differences best, and only differences decide.
    Where all outcomes of a query are known, the two do not mix. Where few are known,
    their common error is subtracted only in part, and not at all where one is known.

    Estimates are of some regressions each, (n_queries, n_models, n_regressions) in a
    list, `means` those of the models, from which all deviate. On a cluster the tables
    are handles of columns. Returns non-negative weights (2, n_regressions), for the
    level of a query and for the differences.
    """
    moments = executor.get(executor.total(_sum_moments, quality, means))
    taken_off = _find_part_taken_off(moments, len(means))
    squares = executor.get(
        executor.total(
            _sum_cross_products, quality, weight, means, taken_off, estimates
        )
    )
    return _solve_nnls(squares).reshape(2, -1)


def append_weighted_part(
    outputs: np.ndarray,
    weights: np.ndarray,
    shown: slice,
    means: np.ndarray | float = 0.0,
    sharing: np.ndarray | None = None,
) -> np.ndarray:
    """Keep the `shown` strengths of a regression, and add its part in the estimate.

    Outputs (..., n_models, n_strengths) are estimates or coefficients, which combine
    alike; the `weights` (2, n_strengths) are for level and differences. Estimates are
    combined as deviations from `means`, which models then share (`find_sharing`). The
    part of the regression comes last: (..., n_models, n_shown + 1).
    """
    deviation = outputs - np.asarray(means)[..., None]
    level = deviation.mean(axis=-2, keepdims=True)
    on_level, on_differences = weights
    part = level @ on_level + (deviation - level) @ on_differences
    if sharing is not None:
        part = part @ sharing
    return np.concatenate([outputs[..., shown], part[..., None]], axis=-1)


def append_newcomer_part(
    apart: np.ndarray,
    common: np.ndarray,
    weights: np.ndarray,
    shown: slice,
    mean: float = 0.0,
) -> np.ndarray:
    """Do what `append_weighted_part` does for one model that joins a pool.

    `common` is what the pool has in common, `apart` what the model does besides; both
    are estimates (..., n_strengths), or coefficients.
    """
    on_level, on_differences = weights
    part = common @ on_level + apart @ on_differences
    return np.concatenate(
        [mean + (common + apart)[..., shown], part[..., None]], axis=-1
    )


def add_weighted_parts(outputs: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Combine all regressions: sum their parts, (n_queries, n_models)."""
    quality: np.ndarray = means + np.add.reduce(outputs[..., -1], axis=0)
    return quality


def _sum_cross_products(
    quality: np.ndarray,
    weight: np.ndarray | None,
    means: np.ndarray,
    taken_off: np.ndarray,
    estimates: Sequence[np.ndarray],
) -> np.ndarray:
    """Cross products of the columns that are weighed, and of their target, the last."""
    n_columns = 2 * sum(estimate.shape[2] for estimate in estimates) + 1
    squares = np.zeros((n_columns, n_columns))
    for part in chunks(len(quality)):
        deviation = np.concatenate([estimate[part] for estimate in estimates], axis=2)
        deviation -= means[:, None]
        target = quality[part] - means
        # A regression at one strength makes two columns: its level and its differences.
        common = deviation.mean(axis=1, keepdims=True)
        common = np.broadcast_to(common, deviation.shape)
        table = np.concatenate([common, deviation - common, target[:, :, None]], axis=2)
        known = np.isfinite(target)
        mass = weigh_outcomes(target, None if weight is None else weight[part])
        table = np.where(known[:, :, None], table, 0.0)
        total = mass.sum(axis=1)
        mean = np.einsum("nm,nmr->nr", mass, table) / np.where(total, total, 1)[:, None]
        # Outcomes of one query share an error; see `_find_part_taken_off`.
        table -= (taken_off[known.sum(axis=1)][:, None] * mean)[:, None]
        # Weighted least squares: products then count each outcome by its weight.
        table *= np.sqrt(mass)[:, :, None]
        table = table.reshape(-1, n_columns)
        squares += table.T @ table
    return squares


def _sum_moments(quality: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Count outcomes and pairs of outcomes of a query; sum squares and products."""
    target = quality - means
    known = np.isfinite(target)
    values = np.where(known, target, 0.0)
    count = known.sum(axis=1)
    squares = (values**2).sum()
    # Products of different outcomes of a query: the square of the sum less the squares.
    products = (values.sum(axis=1) ** 2).sum() - squares
    return np.array([count.sum(), (count * (count - 1)).sum(), squares, products])


def _find_part_taken_off(moments: np.ndarray, n_models: int) -> np.ndarray:
    """Part of a query's mean to take off, by the number of its known outcomes.

    Outcomes of one query share an error, of a part r of the variance; this turns them
    into independent ones (generalised least squares of random effects).
    """
    n_outcomes, pairs, squares, products = moments
    shared = 0.0
    if pairs and squares:
        # At most 0.99: with all error shared, nothing but differences would count.
        shared = float(np.clip(products / pairs / (squares / n_outcomes), 0.0, 0.99))
    counts = np.arange(n_models + 1)
    return 1.0 - np.sqrt((1.0 - shared) / (1.0 - shared + counts * shared))


def _solve_nnls(squares: np.ndarray) -> np.ndarray:
    """Non-negative least squares, from the cross products of columns and target."""
    weights = np.zeros(len(squares) - 1)
    # A column of rounding errors (the differences between two equal models) explains
    # nothing, and would get a weight as large as it is small.
    sizes = squares.diagonal()[:-1]
    kept_columns = np.flatnonzero(sizes > sizes.max() * _NEGLIGIBLE)
    if not len(kept_columns):
        return weights
    # nnls needs a matrix, not cross products: their root is one with these products.
    values, vectors = eigh(squares[np.ix_(kept_columns, kept_columns)])
    kept = values > values[-1] * _NEGLIGIBLE
    root = np.sqrt(values[kept])
    vectors = vectors[:, kept]
    weights[kept_columns], _ = nnls(
        root[:, None] * vectors.T, vectors.T @ squares[kept_columns, -1] / root
    )
    return weights

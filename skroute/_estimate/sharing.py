"""Sharing among models: those that succeed on the same queries are expected alike.

The outcomes of many models vary in few directions: which family a model is of, how
large it is, whether it was asked to call functions. The regressions estimate every
model from its own outcomes. What they expect of the differences between models is
therefore smoothed over the pool: directions in which the outcomes vary much keep what
is expected, the others are shrunk towards no difference. How far is set by out-of-fold
error, less what may be chance; where each model has outcomes enough, little is left to
gain. The smoothing is linear, so it is folded into the coefficients.

References
----------
L. Breiman and J. H. Friedman, "Predicting multivariate responses in multiple linear
regression", Journal of the Royal Statistical Society B 59, 1997.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import eigh

from skroute._compute.chunks import chunks
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._estimate.shares import find_share, sum_gains
from skroute._estimate.stacking import append_weighted_part, find_weights
from skroute._table.averages import centre_rows, weigh_outcomes

__all__ = ["find_sharing"]

# Variance, in that of an average direction, of which half is kept: with twice as much,
# or half, nothing measurable changed.
_HALF_KEPT = 1.0
# Two models differ in one direction only.
_LEAST_MODELS = 3


def find_sharing(
    predictions: Any,
    weights: np.ndarray,
    quality: Any,
    means: np.ndarray,
    weight: Any = None,
    *,
    doubt: float,
    executor: Executor = IN_MEMORY,
) -> np.ndarray:
    """Find the matrix that what is expected of the models is multiplied by.

    Out-of-fold `predictions` and their `weights` are as in `find_weights` and
    `append_weighted_part`, outcomes and `means` too; `doubt` is that of `find_share`.
    Returns a symmetric matrix (n_models, n_models) that leaves the level of a query as
    it is.
    """
    identity = np.eye(len(means))
    if len(means) < _LEAST_MODELS:
        return identity
    sums = executor.get(executor.total(_sum_products, quality, weight, means))
    smoother = _make_smoother(sums)
    # The stack as it is, and smoothed, are stacked once more.
    both = executor.map(_smooth_stack, predictions, weights, means, smoother)
    parts = find_weights(both, quality, means, weight, executor)[1]
    gains = executor.total(_sum_smoothing_gains, both, parts, means, quality, weight)
    share = find_share(executor.get(gains), doubt)
    own, shared = parts
    level = np.full(identity.shape, 1.0 / len(means))
    smoothed = level + own * (identity - level) + shared * smoother
    return (1.0 - share) * identity + share * smoothed


def _sum_products(
    quality: np.ndarray, weight: np.ndarray | None, means: np.ndarray
) -> np.ndarray:
    """Cross products of how models differ on a query, and their masses, the last."""
    sums = np.zeros((len(means) + 1, len(means)))
    for part in chunks(len(quality)):
        target = quality[part] - means
        mass = weigh_outcomes(target, None if weight is None else weight[part])
        apart = np.sqrt(mass) * centre_rows(target, mass)
        sums[:-1] += apart.T @ apart
        sums[-1] += mass.sum(axis=0)
    return sums


def _make_smoother(sums: np.ndarray) -> np.ndarray:
    """Make the matrix that keeps the directions in which outcomes vary most."""
    products, mass = sums[:-1], sums[-1]
    # Models that were seldom run on the same queries correlate the less.
    scale = np.sqrt(np.where(mass > 0, mass, 1.0))
    covariance = products / np.outer(scale, scale)
    # The level of a query is no difference between models.
    covariance = covariance - covariance.mean(axis=0)
    covariance -= covariance.mean(axis=1, keepdims=True)
    values, vectors = eigh(covariance)
    average = values.sum() / (len(values) - 1)
    if average <= 0:
        return np.zeros_like(products)
    values = np.maximum(values, 0.0)
    kept = values / (values + _HALF_KEPT * average)
    smoother: np.ndarray = (vectors * kept) @ vectors.T
    return smoother


def _smooth_stack(
    predictions: list[np.ndarray],
    weights: np.ndarray,
    means: np.ndarray,
    smoother: np.ndarray,
) -> list[np.ndarray]:
    """Combine the regressions, and smooth that: (n_queries, n_models, 2), in a list."""
    both = np.empty((*predictions[0].shape[:2], 2))
    for part in chunks(len(both)):
        expected = np.zeros(both[part].shape[:2])
        for view, prediction in enumerate(predictions):
            outputs = append_weighted_part(
                prediction[part], weights[:, view], slice(0), means
            )
            expected += outputs[..., -1]
        both[part, :, 0] = means + expected
        both[part, :, 1] = means + expected @ smoother
    return [both]


def _sum_smoothing_gains(
    both: list[np.ndarray],
    parts: np.ndarray,
    means: np.ndarray,
    quality: np.ndarray,
    weight: np.ndarray | None,
) -> np.ndarray:
    """Sum what smoothing gains over the stack as it is, for `find_share`."""
    deviation = both[0] - means[:, None]
    return sum_gains(both[0][..., 0], means + deviation @ parts, quality, weight)

"""Trust in the estimates of a query, by its distance from the training queries.

It is 1 up to the distance from the nearest landmark within which most training queries
lie. It is 0 beyond nearly all of them: regressions only extrapolate there, so the means
of the models are served.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._compute.chunks import chunks
from skroute._compute.executor import Executor
from skroute._table.duplicates import Duplicates

__all__ = [
    "EVERYWHERE",
    "find_pull_factors",
    "fit_trust_by_distance",
    "shrink_to_mean",
    "trust_by_distance",
]

#: Limits of trust that no query is beyond.
EVERYWHERE = (np.inf, np.inf)
# Shares of the training queries within full trust, and within any.
_KNOWN = (0.9, 0.99)
# Lower bounds of these limits, as multiples of the median squared distance: in noise
# all distances are similar, and the largest is not an outlier.
_LEAST = (1.5, 2.0)
_EPSILON = float(np.finfo(np.float64).eps)


def trust_by_distance(distance: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Trust, from 1 to 0, at squared distances from the nearest landmark."""
    near, far = limits
    if np.maximum.reduce(distance, initial=0.0) <= near:
        return np.ones_like(distance)
    beyond = (distance - near) / (far - near if far > near else _EPSILON)
    return 1.0 - np.minimum(np.maximum(beyond, 0.0), 1.0)


def shrink_to_mean(
    means: np.ndarray, estimates: np.ndarray, trust: np.ndarray
) -> np.ndarray:
    """Estimates (n_queries, n_models) where trusted, means of the models elsewhere."""
    if np.minimum.reduce(trust, initial=1.0) == 1.0:
        return estimates
    # Exactly the one or the other at either end.
    share = trust[:, None]
    return share * estimates + (1.0 - share) * means


def find_pull_factors(sizes: np.ndarray) -> np.ndarray:
    """Find by what factor squared distances grow if a query leaves its cluster.

    Each query of a cluster of this size has pulled the centre towards itself (J. A.
    Hartigan, "Clustering Algorithms", 1975).
    """
    return (sizes / np.maximum(sizes - 1, 1)) ** 2


def fit_trust_by_distance(
    to_landmarks: Any, X: Any, duplicates: Duplicates, pulled: bool, executor: Executor
) -> tuple[tuple[float, float], Any]:
    """Find the limits of trust, and the trust in the training queries (a column).

    Training queries are judged as new queries will be. Where they `pulled` the centres
    that are the landmarks, their distance is what it would be without the pull; a query
    that is a landmark by itself is judged by the next landmark. Rows of a block keep
    their distance, because their embedding will come again.
    """
    column = executor.map(_find_nearest, to_landmarks, X, pulled)
    own, *rest = executor.gather(column).T
    # Each prompt counts once in the quantiles.
    different = duplicates.first == np.arange(len(own))
    if pulled:
        second, nearest = rest[0], rest[1].astype(int)
        size = np.bincount(nearest[different], minlength=nearest.max() + 1)[nearest]
        # A cluster of one query has no centre without it.
        off = np.where(size > 1, own * find_pull_factors(size), second)
        own = np.where(duplicates.block, own, np.minimum(off, second))
    # The limits never lie within the noise of the distances; see `_LEAST`.
    median, *limits = np.quantile(own[different], (0.5, *_KNOWN))
    near, far = np.maximum(limits, median * np.array(_LEAST))
    limits = float(near), float(far)
    return limits, executor.split(trust_by_distance(own, limits), X)


def _find_nearest(to_landmarks: Any, X: np.ndarray, pulled: bool) -> np.ndarray:
    """Distance of the nearest landmark; if `pulled`, also of the next, and which."""
    found = np.empty((len(X), 3 if pulled else 1))
    for part in chunks(len(X)):
        distance = to_landmarks(X[part])
        if pulled:
            found[part, 2] = distance.argmin(axis=1)
            found[part, :2] = np.partition(distance, 1, axis=1)[:, :2]
        else:
            found[part, 0] = distance.min(axis=1)
    return found

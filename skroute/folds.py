"""Folds for cross-fitting, in which a query and its twin are held out together."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["BLOCK", "draw_folds", "in_blocks", "repeats"]

# So many queries of one embedding are a block, that is decided as one; in small tables
# a tenth of the queries, but not fewer than a handful.
BLOCK = 50
_SMALLEST_BLOCK = 10


def repeats(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows that are the same, bit by bit.

    Parameters
    ----------
    X : ndarray of shape (n_queries, n_features)
        Embeddings.

    Returns
    -------
    first : ndarray of int of shape (n_queries,)
        Where each row stands for the first time.
    count : ndarray of int of shape (n_queries,)
        How often it occurs.
    """
    X = np.ascontiguousarray(X)
    rows = X.view(np.dtype((np.void, X.itemsize * X.shape[1]))).ravel()
    _, first, which, counts = np.unique(
        rows, return_index=True, return_inverse=True, return_counts=True
    )
    return first[which], counts[which]


def in_blocks(X: np.ndarray) -> np.ndarray:
    """Tell which rows belong to a block of equal ones.

    Parameters
    ----------
    X : ndarray of shape (n_queries, n_features)
        Embeddings.

    Returns
    -------
    ndarray of bool of shape (n_queries,)
        Whether at least 50 rows, or a tenth of them (but at least 10), are the same.
    """
    return _are_blocks(repeats(X)[1])


def draw_folds(X: np.ndarray, n_folds: int, random_state: Any = None) -> np.ndarray:
    """Draw the fold of each query; repeated queries stay together.

    A query whose twin is in the training folds is not held out. Only blocks (see
    `in_blocks`; an encoder that truncates long prompts makes them) are spread over the
    folds: kept together they would be all of what a fold knows, or none of it.

    Parameters
    ----------
    X : ndarray of shape (n_queries, n_features)
        Embeddings.
    n_folds : int
        Number of folds, at most; never more than there are rows.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    ndarray of int of shape (n_queries,)
        Folds, numbered from 0.
    """
    rng = check_random_state(random_state)
    first, count = repeats(X)
    # Distinct rows and members of blocks are dealt one by one, twins as one.
    dealt = np.where(_are_blocks(count), np.arange(len(X)), first)
    _, unit = np.unique(dealt, return_inverse=True)
    n_units = int(unit.max()) + 1
    return (rng.permutation(n_units) % min(n_folds, n_units))[unit]


def _are_blocks(count: np.ndarray) -> np.ndarray:
    """Whether rows that occur so often belong to blocks."""
    return count >= min(BLOCK, max(_SMALLEST_BLOCK, len(count) // 10))

"""Folds for cross-fitting, in which a query and its twin are held out together."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["BLOCK", "draw_folds", "repeats"]

# So many queries of one embedding are a block, that is decided as one.
BLOCK = 50


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


def draw_folds(X: np.ndarray, n_folds: int, random_state: Any = None) -> np.ndarray:
    """Draw the fold of each query; repeated queries stay together.

    A query whose twin is in the training folds is not held out. Only blocks of 50 and
    more (an encoder that truncates long prompts) are spread over the folds: kept
    together they would be all of what a fold knows, or none of it.

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
    dealt = np.where(count >= BLOCK, np.arange(len(X)), first)
    _, unit = np.unique(dealt, return_inverse=True)
    n_units = int(unit.max()) + 1
    return (rng.permutation(n_units) % min(n_folds, n_units))[unit]

"""Folds for cross-fitting, in which a query and its twin are held out together."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skroute.chunks import chunks

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
    codes = _codes(X)
    _, first, which, counts = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    repeated = np.flatnonzero(counts[which] > 1)
    for part in chunks(len(repeated)):
        rows = repeated[part]
        if (_words(X[rows]) != _words(X[first[which[rows]]])).any():
            break
    else:
        return first[which], counts[which]
    # Two different rows of one code: compare the rows themselves.
    _, first, which, counts = np.unique(
        _words(X), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    which = which.ravel()
    return first[which], counts[which]


def _words(X: np.ndarray) -> np.ndarray:
    """Bits of the rows, as unsigned integers."""
    X = np.ascontiguousarray(X)
    return X.view(np.dtype(f"u{X.itemsize}"))


def _codes(X: np.ndarray) -> np.ndarray:
    """A number for each row, the same for the same bits: no copy of X is sorted."""
    odd = 2 * np.random.default_rng(0).integers(2**62, size=X.shape[1]) + 1
    codes = np.empty(len(X), dtype=np.uint64)
    for part in chunks(len(X)):
        words = _words(X[part]).astype(np.uint64)
        # Low bits of floats are often 0, and stay so when multiplied: mix the high in.
        words ^= words >> np.uint64(4 * X.itemsize)
        codes[part] = words @ odd.astype(np.uint64)
    return codes


def in_blocks(X: np.ndarray, *, at_least: int = 1) -> np.ndarray:
    """Tell which rows belong to a block of equal ones.

    Parameters
    ----------
    X : ndarray of shape (n_queries, n_features)
        Embeddings.
    at_least : int, default=1
        Rows of the smallest block that counts.

    Returns
    -------
    ndarray of bool of shape (n_queries,)
        Whether at least 50 rows, or a tenth of them (but at least 10), are the same.
    """
    count = repeats(X)[1]
    return _are_blocks(count) & (count >= at_least)


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

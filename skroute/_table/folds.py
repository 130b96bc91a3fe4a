"""Folds for cross-fitting, in which the rows of one prompt are held out together."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skroute._table.duplicates import Repeats, find_repeats

__all__ = ["check_groups", "draw_folds"]


def draw_folds(
    queries: np.ndarray | Repeats, n_folds: int, random_state: Any = None
) -> np.ndarray:
    """Draw the fold of each query; repeated and nearly repeated queries stay together.

    A query whose copy is in the training folds is not held out. Only the rows of blocks
    (see `Repeats.block`) are spread over the folds: kept together they would be all of
    what a fold knows, or none of it.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, n_features) or Repeats
        Embeddings, or what is known of their repeats.
    n_folds : int
        Number of folds, at most; never more than there are prompts or groups.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    ndarray of int of shape (n_queries,)
        Folds, numbered from 0.
    """
    rng = check_random_state(random_state)
    repeats = queries if isinstance(queries, Repeats) else find_repeats(queries)
    unit = repeats.units()
    n_units = int(unit.max()) + 1
    return (rng.permutation(n_units) % min(n_folds, n_units))[unit]


def check_groups(groups: Any, n_queries: int) -> np.ndarray | None:
    """Check labels of queries that are to be held out together.

    Parameters
    ----------
    groups : array-like of shape (n_queries,) or None
        Labels, numbers or strings.
    n_queries : int
        Number of queries.

    Returns
    -------
    ndarray of int of shape (n_queries,) or None
        Numbers of the groups.

    Raises
    ------
    ValueError
        If the shape is another, a label is missing, or there is one group only.
    """
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (n_queries,):
        raise ValueError(
            "groups must hold one label for each query, of shape "
            f"({n_queries},); got {labels.shape}."
        )
    missing = [i for i, label in enumerate(labels) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"groups must name a group for each query; the label of row {missing[0]} "
            "is missing. Give queries without a group a label of their own."
        )
    if labels.dtype.kind == "O":
        labels = labels.astype(str)
    names, numbers = np.unique(labels, return_inverse=True)
    if len(names) == 1:
        raise ValueError(
            "groups must name at least two groups, each is held out from the others; "
            f"all {n_queries} queries are of the group {names[0]!r}."
        )
    return numbers


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas' NA is neither equal nor unequal
        return True

"""Folds for cross-fitting, in which the rows of one prompt are held out together."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skroute._table.duplicates import Duplicates, find_duplicates
from skroute._table.texts import is_missing


def draw_folds(
    queries: np.ndarray | Duplicates, n_folds: int, random_state: Any = None
) -> np.ndarray:
    """Draw the fold (n_queries,) of each query; duplicates stay together.

    A query whose duplicate is in the training folds is not held out. Rows of blocks
    (see `Duplicates.block`) are spread over the folds: in one fold they would be
    unknown to the router that is tested on them, although the served router knows them.
    There are never more folds than prompts.
    """
    rng = check_random_state(random_state)
    duplicates = (
        queries if isinstance(queries, Duplicates) else find_duplicates(queries)
    )
    unit = duplicates.number_units()
    n_units = int(unit.max()) + 1
    # Folds of equal numbers of units, in a random order.
    return (rng.permutation(n_units) % min(n_folds, n_units))[unit]


def check_groups(groups: Any, n_queries: int) -> np.ndarray | None:
    """Number the groups (n_queries,) that are to be held out together."""
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (n_queries,):
        raise ValueError(
            "groups must hold one label for each query, of shape "
            f"({n_queries},); got {labels.shape}."
        )
    missing = [i for i, label in enumerate(labels) if is_missing(label)]
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

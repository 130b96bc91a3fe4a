"""Which models may be called: by name or by position, for all queries or for each."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from skroute.names import by_model, by_name, listed, model_names

__all__ = ["check_available"]


def check_available(available: Any, models: np.ndarray, n_queries: int) -> np.ndarray:
    """Turn `available` into a mask of shape (1 or n_queries, n_models).

    Parameters
    ----------
    available : None, array-like of bool, or list of str
        Models that may be called: (n_models,) or (n_queries, n_models) bool, or names.
    models : ndarray of shape (n_models,)
        Names of the models.
    n_queries : int
        Number of rows that are decided.

    Returns
    -------
    ndarray of bool
        The mask; no row is empty.

    Raises
    ------
    ValueError
        If a name is unknown, the shape is wrong or a row has no model left.
    """
    n_models = len(models)
    if available is None:
        return np.ones((1, n_models), dtype=bool)
    mask = by_name(
        np.asarray(_plain_mask(available, models)),
        model_names(available, "available"),
        models,
        "available",
    )
    if mask.shape == (0,):
        raise ValueError("available leaves no model for every query: it is empty.")
    if mask.dtype.kind in "OUS" and mask.ndim <= 1:
        names = [str(name) for name in np.atleast_1d(mask)]
        unknown = [name for name in names if name not in set(models)]
        if unknown:
            raise ValueError(
                f"available names unknown models {listed(unknown)}; the router knows "
                f"{listed(models)}."
            )
        mask = np.isin(models.astype(str), np.asarray(names, dtype=str))
    elif mask.dtype != bool:
        raise ValueError(
            "available must be bool of shape (n_models,) or (n_queries, n_models), or "
            f"a list of model names; got dtype {mask.dtype}."
        )
    if mask.shape not in ((n_models,), (n_queries, n_models)):
        raise ValueError(
            f"available must have shape ({n_models},) or ({n_queries}, {n_models}); "
            f"got {mask.shape}."
        )
    mask = np.atleast_2d(mask)
    empty = np.flatnonzero(~mask.any(axis=1))
    if len(empty):
        rows = "every query" if len(mask) == 1 else f"the queries {listed(empty)}"
        raise ValueError(f"available leaves no model for {rows}; allow at least one.")
    return mask


def _plain_mask(available: Any, models: np.ndarray) -> Any:
    """Turn sets into lists of names, and masks by name into masks by position."""
    if isinstance(available, Set):
        return sorted(available, key=str)
    named = by_model(available)
    if not isinstance(named, Mapping):
        return available
    if set(map(str, named)) != set(models):
        raise ValueError(
            "available by name must say of every model whether it may be called; it "
            f"names {listed(named)}, the router knows {listed(models)}."
        )
    return [named[model] for model in models]

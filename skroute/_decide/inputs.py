"""What a BudgetDecider is given: a router's estimates, and tables beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from skroute._table.alignment import align
from skroute._table.costs import check_costs
from skroute._table.names import (
    check_rows,
    default_names,
    estimate_names,
    format_names,
    model_names,
)
from skroute._table.numbers import refuse_masked

__all__ = ["infer_model_names", "observed_beside", "read_estimates", "split_estimates"]


def read_estimates(
    decider: BaseEstimator, Z: Any, *, reset: bool, least: int = 1
) -> np.ndarray:
    """Check the table that a decider is given, of at least so many queries.

    Columns that are named as a router's transform names them are put in its order.
    """
    refuse_masked(Z, "Z")
    table: np.ndarray = validate_data(
        decider,
        _in_order(Z, None if reset else getattr(decider, "models_", None)),
        dtype=np.float64,
        order="C",
        ensure_min_samples=least,
        reset=reset,
    )
    if reset:
        _models_of(getattr(decider, "feature_names_in_", None))
    return table


def _in_order(Z: Any, models: np.ndarray | None) -> Any:
    """Put named columns in the order of a router's transform, if all are there."""
    columns = list(getattr(Z, "columns", ()))
    if not all(isinstance(column, str) for column in columns):
        return Z
    if models is None:
        models = _with_prefix("quality__", columns)
    expected = list(estimate_names(models))
    is_turned = columns != expected and sorted(columns) == sorted(expected)
    return Z[expected] if is_turned and len(set(columns)) == len(columns) else Z


def _with_prefix(prefix: str, columns: Any) -> np.ndarray:
    """Names of the models that have a column of this kind."""
    found = [c.removeprefix(prefix) for c in columns if c.startswith(prefix)]
    return np.array(found, dtype=object)


def _models_of(columns: np.ndarray | None) -> np.ndarray | None:
    """Models that the columns of Z name, checked; ``None`` if they name none."""
    if columns is None:
        return None
    models, priced = (_with_prefix(kind, columns) for kind in ("quality__", "cost__"))
    if not len(models) + len(priced):
        return None
    expected = estimate_names(models)
    if len(set(models)) < len(models) or list(columns) != list(expected):
        missing = set(estimate_names(np.union1d(models, priced))) - set(columns)
        raise ValueError(
            "Z must have one column quality__<model> and one cost__<model> for each "
            "model, as a router's transform names them, and no other; got "
            f"{format_names(columns, 10)}. Missing: {format_names(sorted(missing))}."
        )
    return models


def split_estimates(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halves of the estimates: qualities and costs."""
    if Z.shape[1] % 2:
        raise ValueError(
            "Z must hold the qualities and then the costs of the same models, an "
            f"even number of columns; got {Z.shape[1]} feature(s). Give it what a "
            "router's transform returns."
        )
    quality, cost = np.hsplit(Z, 2)
    if (cost < 0).any():
        raise ValueError(
            "Z must hold costs, which are not negative, in the second half of its "
            f"columns; the smallest there is {cost.min():g}."
        )
    return quality, cost


def infer_model_names(
    columns: np.ndarray | None, y: Any, costs: Any, n_models: int
) -> np.ndarray:
    """Names from the columns of Z, else from y, else costs, else numbered ones."""
    models = _models_of(columns)
    if models is not None:
        return models
    for table, name in ((y, "y"), (costs, "costs")):
        names = model_names(table, name)
        if names is not None and len(names) == n_models:
            return names
    return default_names(n_models)


def observed_beside(
    Z: Any, y: Any, costs: Any, shape: tuple[int, int], models: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Qualities and costs that were observed, in the order of the models of Z.

    Parameters
    ----------
    Z : array-like of shape (n_queries, 2 * n_models)
        The estimates.
    y, costs : array-like of shape (n_queries, n_models), or None
        What was observed; a `y` that is only a vector says nothing about models.
    shape : tuple of int
        Numbers of queries and of models.
    models : ndarray of shape (n_models,)
        Names of the models.

    Returns
    -------
    y, costs : ndarray of shape (n_queries, n_models), or None
        The tables.

    Raises
    ------
    ValueError
        If a table is not as described, or contradicts the others.
    """
    given = None if y is None else np.asarray(y).shape
    if given is None or len(given) < 2:
        y = None
    check_rows(Z=Z, y=y, costs=costs)
    if y is None:
        return None, None if costs is None else check_costs(costs, shape, models)
    if given != shape:
        raise ValueError(
            f"y must have shape {shape}, one quality per query and model of Z; got "
            f"{given}."
        )
    return align(y, costs, models=models, per_query=True)[:2]

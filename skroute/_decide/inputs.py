"""What a BudgetDecider is given: a router's estimates, and tables beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from skroute._table.alignment import align
from skroute._table.costs import align_costs
from skroute._table.names import (
    check_rows,
    format_names,
    make_default_names,
    model_names,
    name_estimates,
)
from skroute._table.numbers import has_plain_numbers, refuse_masked


def read_estimates(
    decider: BaseEstimator, Z: Any, *, reset: bool, least: int = 1
) -> np.ndarray:
    """Check the table that a decider is given, of `least` or more queries.

    Columns that are named as a router's transform names them are put in its order.
    """
    if not reset and _is_plain(decider, Z):
        return Z
    # scikit-learn would read what is under the mask.
    refuse_masked(Z, "Z")
    table: np.ndarray = validate_data(
        decider,
        # Before the check of feature names, which refuses another order.
        _reorder_columns(Z, None if reset else getattr(decider, "models_", None)),
        dtype=np.float64,
        order="C",
        ensure_min_samples=least,
        reset=reset,
    )
    if reset:
        _list_models(getattr(decider, "feature_names_in_", None))
    return table


def _is_plain(decider: BaseEstimator, Z: Any) -> bool:
    """Tell whether Z would pass scikit-learn's checks unchanged.

    These take longer than to decide a query.
    """
    known = vars(decider)
    return (
        has_plain_numbers(Z)
        and Z.dtype == np.float64
        and Z.shape[1] == known.get("n_features_in_")
        # scikit-learn warns if only the fit had names of columns.
        and "feature_names_in_" not in known
    )


def _reorder_columns(Z: Any, models: np.ndarray | None) -> Any:
    """Put named columns in the order of a router's transform, if all are there."""
    columns = list(getattr(Z, "columns", ()))
    if not all(isinstance(column, str) for column in columns):
        return Z
    if models is None:
        models = _strip_prefix("quality__", columns)
    expected = list(name_estimates(models))
    is_turned = columns != expected and sorted(columns) == sorted(expected)
    return Z[expected] if is_turned and len(set(columns)) == len(columns) else Z


def _strip_prefix(prefix: str, columns: Any) -> np.ndarray:
    """List the models that have a column of this kind."""
    found = [c.removeprefix(prefix) for c in columns if c.startswith(prefix)]
    return np.array(found, dtype=object)


def _list_models(columns: np.ndarray | None) -> np.ndarray | None:
    """Check and list the models that the columns name; ``None`` if they name none."""
    if columns is None:
        return None
    models, priced = (_strip_prefix(kind, columns) for kind in ("quality__", "cost__"))
    if not len(models) + len(priced):
        return None
    # Qualities of all models, then their costs, in the same order.
    expected = name_estimates(models)
    if len(set(models)) < len(models) or list(columns) != list(expected):
        missing = set(name_estimates(np.union1d(models, priced))) - set(columns)
        raise ValueError(
            "Z must have one column quality__<model> and one cost__<model> for each "
            "model, as a router's transform names them, and no other; got "
            f"{format_names(columns, 10)}. Missing: {format_names(sorted(missing))}."
        )
    return models


def split_estimates(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split the estimates into qualities and costs."""
    if Z.shape[1] % 2:
        raise ValueError(
            "Z must hold the qualities and then the costs of the same models, an "
            f"even number of columns; got {Z.shape[1]} feature(s). Give it what a "
            "router's transform returns."
        )
    half = Z.shape[1] // 2
    quality, cost = Z[:, :half], Z[:, half:]
    if (cost < 0).any():
        raise ValueError(
            "Z must hold costs, which are not negative, in the second half of its "
            f"columns; the smallest there is {cost.min():g}."
        )
    return quality, cost


def infer_model_names(
    decider: BaseEstimator, n_models: int, y: Any = None, costs: Any = None
) -> np.ndarray:
    """Take names from the columns of Z, else y, else costs, else number the models."""
    models = _list_models(getattr(decider, "feature_names_in_", None))
    if models is not None:
        return models
    for table, name in ((y, "y"), (costs, "costs")):
        names = model_names(table, name)
        if names is not None and len(names) == n_models:
            return names
    return make_default_names(n_models)


def check_observed(
    Z: Any, y: Any, costs: Any, shape: tuple[int, int], models: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Check observed qualities and costs, and put them in the order of the models.

    Both are (n_queries, n_models), or ``None``; a `y` that is only a vector says
    nothing about models and is left out.
    """
    given = None if y is None else np.asarray(y).shape
    if given is None or len(given) < 2:
        y = None
    check_rows(Z=Z, y=y, costs=costs)
    if y is None:
        return None, None if costs is None else align_costs(costs, shape, models)
    if given != shape:
        raise ValueError(
            f"y must have shape {shape}, one quality per query and model of Z; got "
            f"{given}."
        )
    return align(y, costs, models=models, per_query=True)[:2]

"""Names of models: where they come from, and how they match tables and errors."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "by_model",
    "by_name",
    "default_names",
    "estimate_names",
    "listed",
    "model_names",
]


def model_names(table: Any, name: str = "y") -> np.ndarray | None:
    """Column names of a DataFrame as an object array; ``None`` for anything else."""
    columns = getattr(table, "columns", None)
    if columns is None:
        return None
    names = np.array([str(column) for column in columns], dtype=object)
    if "Unnamed: 0" in names:
        raise ValueError(
            f"{name} has a column 'Unnamed: 0', which is a row index that was saved "
            "with the table, and no model: read it with index_col=0, or drop it."
        )
    values, counts = np.unique(names.astype(str), return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"the columns of {name} must be unique model names; more than one is "
            f"called {listed(values[counts > 1])}."
        )
    return names


def default_names(n_models: int) -> np.ndarray:
    """Names of models that came without any: model_0, model_1, ..."""
    return np.array([f"model_{i}" for i in range(n_models)], dtype=object)


def estimate_names(models: np.ndarray) -> np.ndarray:
    """Column names of a router's estimates: qualities first, then costs."""
    return np.array(
        [f"{kind}__{model}" for kind in ("quality", "cost") for model in models],
        dtype=object,
    )


def by_model(prices: Any) -> Any:
    """Turn a Series that is indexed by names into a dict; leave the rest alone."""
    index = getattr(prices, "index", None)
    if index is None or callable(index) or getattr(prices, "ndim", 0) != 1:
        return prices
    return prices.to_dict() if all(isinstance(name, str) for name in index) else prices


def by_name(
    table: np.ndarray,
    columns: np.ndarray | None,
    models: np.ndarray | None,
    name: str,
) -> np.ndarray:
    """Put the named columns of a table in the order of the models."""
    if columns is None or models is None:
        return table
    if set(columns) != set(models):
        raise ValueError(
            f"{name} must name the same models as the rest of the table; only one of "
            f"them has {listed(sorted(set(columns) ^ set(models)))}."
        )
    where = {column: i for i, column in enumerate(columns)}
    return np.ascontiguousarray(table[:, [where[model] for model in models]])


def listed(names: Any, most: int = 5) -> str:
    """Write names out in an error, the first few of them.

    What a terminal would not show, or act upon, is escaped.
    """
    names = [str(name) for name in names]
    names = [name if name.isprintable() else ascii(name) for name in names]
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""What a BudgetDecider is given: a router's estimates, and tables beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute.names import default_names, estimate_names, listed, model_names
from skroute.validation import check_quality

__all__ = ["named_by", "split_estimates", "table_or_none"]


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


def named_by(
    columns: np.ndarray | None, y: Any, costs: Any, n_models: int
) -> np.ndarray:
    """Names from the columns of Z, else from y, else costs, else numbered ones."""
    if columns is not None and columns[0].startswith("quality__"):
        prefix = len("quality__")
        models = np.array([c[prefix:] for c in columns[:n_models]], dtype=object)
        expected = estimate_names(models)
        if (columns != expected).any():
            raise ValueError(
                "Z must have the columns of a router's transform, "
                f"{listed(expected, 2 * n_models)}; got "
                f"{listed(columns, 2 * n_models)}."
            )
        return models
    for table, name in ((y, "y"), (costs, "costs")):
        names = model_names(table, name)
        if names is not None and len(names) == n_models:
            return names
    return default_names(n_models)


def table_or_none(y: Any, models: np.ndarray) -> np.ndarray | None:
    """Qualities, or nothing where y is absent or only a vector."""
    if y is None or np.asarray(y).ndim < 2:
        return None
    names = model_names(y)
    named_alike = names is not None and len(names) == len(models)
    return check_quality(y, models=models if named_alike else None)

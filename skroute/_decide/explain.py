"""Why a model was chosen: a row of numbers for every decision."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skroute._decide.fallbacks import Decisions, named

__all__ = ["explanation"]


def explanation(
    models: np.ndarray,
    quality: np.ndarray,
    cost: np.ndarray,
    decisions: Decisions,
    best_single: int,
    X: Any = None,
) -> Any:
    """Tabulate decisions against their runners-up and the best single model.

    Parameters
    ----------
    models : ndarray of str of shape (n_models,)
        Names of the models.
    quality, cost : ndarray of shape (n_queries, n_models)
        Estimates.
    decisions : Decisions
        Chosen models and, where there are two models, runners-up.
    best_single : int
        Index of the best single model.
    X : array-like of shape (n_queries, n_features), default=None
        The queries; a pandas DataFrame names the rows.

    Returns
    -------
    DataFrame or Bunch
        A row for each query; a Bunch of columns where pandas is not installed.
    """
    rows = np.arange(len(quality))
    chosen = decisions.choice[:, 0]
    second = decisions.choice[:, 1] if len(models) > 1 else np.full(len(rows), -1)
    rivalled = second >= 0
    expected_quality, expected_cost = quality[rows, chosen], cost[rows, chosen]
    second_quality = np.where(rivalled, quality[rows, second], np.nan)
    second_cost = np.where(rivalled, cost[rows, second], np.nan)
    columns = {
        "chosen": named(models, chosen),
        "runner_up": named(models, second),
        "expected_quality": expected_quality,
        "expected_cost": expected_cost,
        "runner_up_quality": second_quality,
        "runner_up_cost": second_cost,
        "margin": (expected_quality - second_quality)
        + _worth(second_cost - expected_cost, decisions.price),
        "price": decisions.price,
        "saved": cost[:, best_single] - expected_cost,
    }
    try:
        import pandas as pd
    except ImportError:
        return Bunch(query=rows, **columns)
    if isinstance(X, pd.DataFrame):
        index = X.index
    else:
        index = pd.RangeIndex(len(rows), name="query")
    # Names stay objects, as `route` gives them: None is no model in every version.
    return pd.DataFrame(
        {
            name: pd.Series(column, index=index, dtype=column.dtype)
            for name, column in columns.items()
        }
    )


def _worth(money: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Quality that money is worth; no money is worth nothing at an infinite price."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(money == 0, 0.0, price * money)

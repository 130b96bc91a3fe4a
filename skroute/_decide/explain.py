"""Why a model was chosen: a row of numbers for every decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skroute._decide.fallbacks import Decisions, names_of_choices
from skroute._decide.utility import value_money


def measure_margin(
    quality: np.ndarray, cost: np.ndarray, shadow_price: np.ndarray
) -> np.ndarray:
    """Measure by how much the first of two calls wins, (n, 2) each, at prices (n,)."""
    gained: np.ndarray = quality[:, 0] - quality[:, 1]
    return gained + value_money(cost[:, 1] - cost[:, 0], shadow_price)


def tabulate_reasons(
    models: np.ndarray,
    quality: np.ndarray,
    cost: np.ndarray,
    decisions: Decisions,
    best_single: int,
    judge: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    X: Any = None,
    value: np.ndarray | None = None,
    extras: dict[str, np.ndarray] | None = None,
) -> Any:
    """Tabulate decisions against their runners-up and the best single model.

    `best_single` is the index of that model; `judge` gives errors and chances of
    margins. These are differences of `value` (n_queries, n_models), by default of
    quality less money at the price. `extras` are other tables by name, of which the two
    models get columns. Where `X` is a pandas DataFrame it names the rows; without
    pandas, the result is a Bunch of columns.
    """
    rows = np.arange(len(quality))
    chosen = decisions.choice[:, 0]
    second = decisions.choice[:, 1] if len(models) > 1 else np.full(len(rows), -1)
    has_second = second >= 0
    expected_quality, expected_cost = quality[rows, chosen], cost[rows, chosen]
    second_quality = np.where(has_second, quality[rows, second], np.nan)
    second_cost = np.where(has_second, cost[rows, second], np.nan)
    margin = measure_margin(
        np.column_stack([expected_quality, second_quality]),
        np.column_stack([expected_cost, second_cost]),
        decisions.shadow_price,
    )
    if value is not None:
        margin = value[rows, chosen] - value[rows, second]
        margin[~has_second] = np.nan
    error, chance = judge(margin)
    columns = {
        "chosen": names_of_choices(models, chosen),
        "runner_up": names_of_choices(models, second),
        "expected_quality": expected_quality,
        "expected_cost": expected_cost,
        "runner_up_quality": second_quality,
        "runner_up_cost": second_cost,
        "margin": margin,
        "margin_error": error,
        "chance": chance,
        "price": decisions.shadow_price,
        "saved": cost[:, best_single] - expected_cost,
    }
    for name, table in (extras or {}).items():
        columns[f"expected_{name}"] = table[rows, chosen]
        columns[f"runner_up_{name}"] = np.where(has_second, table[rows, second], np.nan)
    return as_frame(columns, X)


def as_frame(columns: dict[str, np.ndarray], X: Any = None) -> Any:
    """Make a DataFrame of columns, or without pandas a Bunch.

    Where `X` is a DataFrame, too, it names the rows.
    """
    rows = np.arange(len(next(iter(columns.values()))))
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

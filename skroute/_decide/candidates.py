"""Candidate models: available, under a cap, within a tolerance of the best."""

from __future__ import annotations

from collections.abc import Mapping, Set
from numbers import Real
from typing import Any

import numpy as np

from skroute._table.costs import add_slack, round_up
from skroute._table.names import as_mapping, format_names, model_names, reorder_columns
from skroute._table.numbers import check_number, refuse_masked
from skroute.exceptions import InfeasibleBudgetError


def check_available(available: Any, models: np.ndarray, n_queries: int) -> np.ndarray:
    """Turn `available` into a mask of shape (1 or n_queries, n_models).

    It is as in `BudgetDecider.route`; a DataFrame, a Series of bool, or a dict of bool
    or of columns, is matched by name.
    """
    n_models = len(models)
    if available is None:
        return np.ones((1, n_models), dtype=bool)
    refuse_masked(available, "available")
    # Names of columns of a DataFrame, which may be in another order.
    columns = model_names(available, "available")
    mask = _match_by_name(available, models)
    if mask.shape == (0,):
        raise ValueError("available leaves no model for every query: it is empty.")
    # One list of names for all queries, then a list for each query.
    if mask.ndim <= 1 and _holds_names(mask, n_models):
        mask = _mark_named(mask, models)
    elif mask.dtype.kind in "OUS" and columns is None:
        mask = np.array([_mark_named(row, models) for row in mask])
    mask = reorder_columns(mask, columns, models, "available")
    if mask.dtype != bool:
        raise ValueError(
            "available must be bool of shape (n_models,) or (n_queries, n_models), or "
            f"a list of model names, or a list of these for each query; got dtype "
            f"{mask.dtype}."
        )
    if mask.shape not in ((n_models,), (n_queries, n_models)):
        raise ValueError(
            f"available must have shape ({n_models},) or ({n_queries}, {n_models}); "
            f"got {mask.shape}."
        )
    mask = np.atleast_2d(mask)
    empty = np.flatnonzero(~mask.any(axis=1))
    if len(empty):
        rows = "every query" if len(mask) == 1 else f"the queries {format_names(empty)}"
        raise ValueError(f"available leaves no model for {rows}; allow at least one.")
    return mask


def _match_by_name(available: Any, models: np.ndarray) -> np.ndarray:
    """Turn sets into lists of names, and masks by name into masks by position."""
    if isinstance(available, Set):
        # numpy makes a set one object.
        available = sorted(available, key=str)
    named = available
    if getattr(getattr(available, "dtype", None), "kind", "b") == "b":
        named = as_mapping(available, models)  # no Series of names
    if isinstance(named, Mapping):
        columns = {str(name): column for name, column in named.items()}
        if set(columns) != set(models):
            raise ValueError(
                "available by name must say of every model whether it may be called; "
                f"it names {format_names(columns)}, the router knows "
                f"{format_names(models)}."
            )
        # Of a vector for each model, the models are the columns.
        return np.array([columns[model] for model in models]).T
    try:
        return np.asarray(available)
    except ValueError:  # lists of names, of unequal lengths
        return np.array([*available, None], dtype=object)[:-1]


def _holds_names(mask: np.ndarray, n_models: int) -> bool:
    """Whether a vector names models: whole numbers do, unless they look like a mask."""
    if mask.dtype.kind in "iu":
        return not (mask.size == n_models and np.isin(mask, (0, 1)).all())
    lists = [value for value in mask.flat if isinstance(value, list | tuple | Set)]
    return mask.dtype.kind in "OUS" and not lists


def _mark_named(names: Any, models: np.ndarray) -> np.ndarray:
    """Mark the models that are named in a mask."""
    if not np.iterable(names) or isinstance(names, str):
        names = [names]
    names = [str(name) for name in names]
    unknown = [name for name in names if name not in set(models)]
    if unknown:
        raise ValueError(
            f"available names unknown models {format_names(unknown)}; the router knows "
            f"{format_names(models)}."
        )
    return np.isin(models.astype(str), names)


def check_caps(budget: Any, n_queries: int | None = None) -> np.ndarray:
    """Turn hard caps into float64 of shape (1, 1), or (n_queries, 1) of an array.

    Infinity in an array is no cap. `n_queries` is not checked while it is not known.
    """
    if not is_per_query(budget):
        return np.array([[check_number(budget, "budget", low=0.0)]])
    refuse_masked(budget, "budget")
    try:
        caps = np.asarray(budget)
    except ValueError:  # lists of unequal lengths
        caps = np.asarray(budget, dtype=object)
    # An array of objects may hold numbers, such as fractions.
    if caps.dtype.kind == "O" and all(
        isinstance(cap, Real) and not isinstance(cap, bool) for cap in caps.flat
    ):
        caps = caps.astype(np.float64)
    if caps.dtype.kind not in "iuf":
        raise ValueError(
            "budget as an array must hold numbers, one cap per query; got dtype "
            f"{caps.dtype}. Infinity stands for no cap."
        )
    if caps.ndim != 1 or (n_queries is not None and len(caps) != n_queries):
        length = "n_queries" if n_queries is None else n_queries
        raise ValueError(
            f"budget as an array must hold one cap per query, of shape ({length},); "
            f"got {caps.shape}."
        )
    bad = np.flatnonzero(~(caps >= 0))
    if len(bad):
        raise ValueError(
            f"budget must be at least 0 for every query; got {float(caps[bad[0]])} for "
            f"the queries {format_names(bad)}. Infinity stands for no cap."
        )
    return caps.astype(np.float64)[:, None]


def under_cap(
    cost: np.ndarray, candidates: np.ndarray, budget: Any, on_stuck: str
) -> np.ndarray:
    """Find the models whose expected cost is within the cap of the query.

    `on_stuck` says what becomes of a query that has no model under its cap: ``"raise"``
    an error, take its ``"cheapest"`` model, or ``"leave"`` it without any.
    """
    caps = check_caps(budget, len(cost))
    affordable = candidates & (cost <= add_slack(caps))
    stuck = np.logical_not(affordable.any(axis=1))
    if on_stuck == "leave" or not stuck.any():
        return affordable
    # The cheapest candidate of each query.
    floor = np.where(candidates, cost, np.inf).min(axis=1)
    if on_stuck == "raise":
        raise _describe_stuck(budget, floor, np.flatnonzero(stuck))
    return affordable | (stuck[:, None] & candidates & (cost == floor[:, None]))


def apply_tolerance(
    quality: np.ndarray, cost: np.ndarray, candidates: np.ndarray, tolerance: float
) -> np.ndarray:
    """Find those that cost no more than the cheapest within `tolerance` of the best."""
    best = np.where(candidates, quality, -np.inf).max(axis=1, keepdims=True)
    enough = candidates & (quality >= best - tolerance)
    # All that cost no more stay candidates, so a price can still choose among them.
    limit = np.where(enough, cost, np.inf).min(axis=1, keepdims=True)
    return candidates & (cost <= limit)


def _describe_stuck(
    budget: Any, floor: np.ndarray, stuck: np.ndarray
) -> InfeasibleBudgetError:
    """Say which queries are stuck, and what would be enough for all."""
    if is_per_query(budget):
        worst = stuck[floor[stuck].argmax()]
        smallest = float(floor[worst])
        what = (
            f"budget as an array is below the cheapest model of {len(stuck)} queries, "
            f"{format_names(stuck)}; the smallest feasible budget is "
            f"{round_up(smallest)} for query {worst}, and not more for the others."
        )
    else:
        smallest = float(floor.max())
        what = (
            f"budget={budget:g} is below the cheapest model of {len(stuck)} queries; "
            f"the smallest feasible budget is {round_up(smallest)}."
        )
    return InfeasibleBudgetError(
        f"{what} Raise it, or set on_infeasible='cheapest'.", smallest_budget=smallest
    )


def is_per_query(budget: Any) -> bool:
    """Whether there is a cap for each query, not one for all."""
    if not hasattr(budget, "__len__"):
        return False
    named = isinstance(budget, str | bytes | Mapping | Set)
    scalar = getattr(budget, "ndim", 1) == 0
    return not (named or scalar)

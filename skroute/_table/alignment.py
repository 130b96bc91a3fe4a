"""Alignment: put the tables that come with `y` in one order of models and rows.

Scores, metrics, reports and deciders read their tables here. Columns with names are
matched by name, others are in the order of the columns of `y`; rows are matched by
position, where their labels must agree (`check_rows`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skroute._table.costs import align_costs, check_spend
from skroute._table.names import (
    check_rows,
    check_unique,
    format_names,
    make_default_names,
    model_names,
    reorder_columns,
)
from skroute._table.numbers import LARGEST_OUTCOME, check_magnitude
from skroute._table.outcomes import read_weight
from skroute._table.tables import check_estimate, check_quality


class Aligned(NamedTuple):
    """Tables of shape (n_queries, n_models) in one order, and its models' names.

    `y` and `costs` are what was observed, ``NaN`` where unknown, `quality` and `cost`
    estimates; what was not given, or is not known, is ``None``.
    """

    y: np.ndarray
    costs: Any
    quality: Any
    cost: Any
    models: np.ndarray | None


def align(
    y: Any,
    costs: Any = None,
    *,
    models: Any = None,
    quality: Any = None,
    cost: Any = None,
    per_query: bool = False,
    **beside: Any,
) -> Aligned:
    """Check the tables that describe the same queries, and align them.

    They are returned in the order of `models`, if given, in which a `y` without names
    is taken to be already; else in that of the columns of `y`. Columns of estimates may
    be named as ``router.transform`` names them. Costs may be per model, also by name,
    unless `per_query`. Of `beside` only the row labels are checked.
    """
    check_rows(  # y comes first, so errors ask to reorder the others
        y=y,
        costs=costs if getattr(costs, "ndim", 0) == 2 else None,
        quality=quality,
        cost=cost,
        **beside,
    )
    # `own` names the columns of y, `wanted` the models in the order of the result.
    own = model_names(y)
    observed = check_quality(y)
    wanted = _check_wanted(models, observed.shape[1])
    # All are put in the order of y first, where checks and errors refer to it.
    names = own if own is not None else wanted
    if names is None:
        names = _find_agreed_names(costs=costs, quality=quality, cost=cost)
    if costs is not None:
        if per_query:
            known = make_default_names(observed.shape[1]) if names is None else names
            costs = align_costs(costs, observed.shape, known)
        else:
            costs = check_spend(costs, observed.shape, names)
    aligned = Aligned(
        observed,
        costs,
        _read_estimate(quality, "quality", observed.shape, names),
        _read_estimate(cost, "cost", observed.shape, names),
        names if wanted is None else wanted,
    )
    if own is None or wanted is None:
        return aligned
    # So far all are in the order of y, which has names, and `models` asks for another.
    turned = {
        field: reorder_columns(table, own, wanted, "y")
        for field, table in aligned._asdict().items()
        if field != "models" and table is not None
    }
    return aligned._replace(**turned)


def align_outcomes(
    y: Any, costs: Any, outcome_weight: Any, *, models: np.ndarray, X: Any
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Align new outcomes with the models of a fitted router.

    Qualities, costs and weights, in the order of `models`; what was not given is
    ``None``. Models without a column in a `y` with names have no outcome, nor have
    those of weight 0.
    """
    check_rows(X=X, outcome_weight=outcome_weight)
    own = model_names(y)
    own = models if own is None else own
    unknown = [str(name) for name in own if name not in set(models)]
    if unknown:
        raise ValueError(
            f"y has a column {unknown[0]!r}, and the router no such model; it knows "
            f"{format_names(models)}. Leave the column out, or add the model."
        )
    aligned = align(y, costs, models=own, per_query=True, X=X)
    check_magnitude(aligned.y, "y", LARGEST_OUTCOME)
    if costs is not None:
        check_magnitude(aligned.costs, "costs", LARGEST_OUTCOME)
    place = [list(models).index(name) for name in own]

    def spread(table: np.ndarray) -> np.ndarray:
        """Put columns among those of all models."""
        every = np.full((len(table), len(models)), np.nan)
        every[:, place] = table
        return every

    quality = spread(aligned.y)
    money = None if aligned.costs is None else spread(aligned.costs)
    if outcome_weight is None:
        return quality, money, None
    told = read_weight(outcome_weight, check_quality(y), own)
    weight = np.nan_to_num(spread(told))
    quality[weight == 0] = np.nan
    if money is not None:
        money[weight == 0] = np.nan
    return quality, money, weight


def _read_estimate(
    table: Any, name: str, shape: tuple[int, ...], models: np.ndarray | None
) -> np.ndarray | None:
    """Check estimates, and put their columns in the order of the models."""
    if table is None:
        return None
    columns = _name_columns(table, name, models)
    table = check_estimate(table, name)
    if table.shape != shape:
        raise ValueError(
            f"{name} must have the shape of y, {shape}; got {table.shape}."
        )
    return reorder_columns(table, columns, models, name)


def _check_wanted(models: Any, n_models: int) -> np.ndarray | None:
    """Check the names that the models are known by."""
    if models is None:
        return None
    names = np.array([str(name) for name in models], dtype=object)
    if len(names) != n_models:
        raise ValueError(
            f"models must name the {n_models} columns of y; got {len(names)} names."
        )
    check_unique(names, "models")
    return names


def _name_columns(
    table: Any, name: str, models: np.ndarray | None
) -> np.ndarray | None:
    """Name the columns of estimates, without the prefix quality__ of `transform`."""
    columns, prefix = model_names(table, name), f"{name}__"
    if columns is None or (models is not None and set(columns) == set(models)):
        return columns
    if all(column.startswith(prefix) for column in columns):
        return np.array([column[len(prefix) :] for column in columns], dtype=object)
    return columns


def _find_agreed_names(**tables: Any) -> np.ndarray | None:
    """Find the names that the tables beside a `y` without names agree on."""
    found = {name: _name_columns(table, name, None) for name, table in tables.items()}
    known = {name: names for name, names in found.items() if names is not None}
    if not known:
        return None
    first, *others = known
    for other in others:
        if known[other].tolist() != known[first].tolist():
            raise ValueError(
                f"{first} and {other} have other columns, or the same in another "
                f"order, {format_names(known[first])} against "
                f"{format_names(known[other])}, and y has no names that tell which "
                "order is its own: give y as a DataFrame whose columns are the models."
            )
    return known[first]


def check_given(**tables: Any) -> None:
    """Raise a ``ValueError`` if one of these tables is ``None``."""
    for name, table in tables.items():
        if table is None:
            raise ValueError(
                f"{name} must be given, of shape (n_queries, n_models): nothing is "
                "judged without."
            )

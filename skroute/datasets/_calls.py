"""Logs of a router: the one call of each query, and the chance that it had."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from skroute._table.duplicates import number_equal
from skroute.datasets._columns import is_missing, make_object_array, to_numbers
from skroute.datasets._raw import RawTable
from skroute.datasets._schemas import COLUMNS, find_first, normalize
from skroute.exceptions import find_caller_level

_HINT = (
    "Write the chance that the logging policy gave to the call as a number, or name "
    "another column by propensity=."
)
# `skroute route --explain` writes a `chance` beside this: how likely the call is to be
# right, which is not how likely it was.
_EXPLAINED = "runner_up"
# Sums of chances in single precision may be a little above 1.
_SLACK = 1e-6


def drop_followers(
    table: RawTable, name: str | None, query: str, called: list[Any]
) -> list[Any]:
    """Leave out calls that followed another of their query, as a service logs them.

    These are calls without a chance beside the one call of their query that has one,
    or after the first where none has: what was called because an answer failed its
    check, or a call itself. Returns `called` without them.
    """
    column = name or find_first(COLUMNS["propensity"], list(table.found))
    if column is None or column not in table.found:
        return called
    cells = table.found[query].tolist()
    has_chance = np.array([not is_missing(v) for v in table.found[column].tolist()])
    try:
        row = number_equal(cells)
    except TypeError:  # which is refused where queries are read
        return called
    n_calls, n_chances = np.bincount(row), np.bincount(row, weights=has_chance)
    several = n_calls > 1
    if not (several.any() and has_chance.any()) or (n_chances[several] > 1).any():
        return called
    is_kept = has_chance.copy()
    first = np.unique(row, return_index=True)[1]
    is_kept[first[n_chances == 0]] = True
    left_out = ~is_kept
    warnings.warn(
        f"{int(left_out.sum()):,} calls of {table.source} followed another of their "
        f"query and have no chance in column {column!r}: they are left out, as what "
        "was decided is the first call. Costs are those of first calls, too, and if "
        "only answers that were returned have a quality, models that fail look better "
        "than they are: rate the first answers, too. Without that column all calls "
        "are read.",
        UserWarning,
        stacklevel=find_caller_level(),
    )
    table.found = {n: values[~left_out] for n, values in table.found.items()}
    return [model for model, out in zip(called, left_out, strict=True) if not out]


def find_propensity(
    table: RawTable, name: str | None, model: str, n_queries: int
) -> str | None:
    """Find the column of chances, where the table has one call for each query.

    `name` is the column that the caller says it is, if any.
    """
    found = table.found
    if name is not None:
        if len(found[model]) == n_queries:
            return name
        raise ValueError(
            f"propensity={name!r} is the chance of the one call that a log has for "
            f"each query, but {table.source} has {len(found[model]):,} calls on "
            f"{n_queries:,} queries. Name by query= a column that tells requests "
            "apart, such as an id, or leave propensity out."
        )
    known = list(found)
    if _EXPLAINED in map(normalize, known):
        known = [n for n in known if normalize(n) != "chance"]
    column = find_first(COLUMNS["propensity"], known)
    if column is None or all(map(is_missing, found[column].tolist())):
        return None
    if len(found[model]) != n_queries:
        warnings.warn(
            f"chances in column {column!r} are left: they are of the one call that a "
            f"log has for each query, and {table.source} has {len(found[model]):,} "
            f"calls on {n_queries:,} queries. Name by query= a column that tells "
            "requests apart, such as an id, or keep one call of each.",
            UserWarning,
            stacklevel=find_caller_level(),
        )
        return None
    return column


def read_propensity(table: RawTable, column: str) -> np.ndarray:
    """Read the chance of each call, above 0 and at most 1; ``NaN`` where empty."""
    chances = to_numbers(column, table.found[column], _HINT)
    bad = ~(np.isnan(chances) | ((chances > 0) & (chances <= 1 + _SLACK)))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"column {column!r} must hold the chance that each call had, above 0 and "
            f"at most 1; it holds {chances[row]:g} in row {row}, and is wrong in "
            f"{int(bad.sum()):,} rows. Drop these rows, or give the column another "
            "name if it is something else."
        )
    return np.minimum(chances, 1.0)


def list_called(models: list[Any], n_queries: int) -> np.ndarray | None:
    """List the model that each query of a log called; ``None`` where it is no log."""
    is_log = len(models) == n_queries and len(set(models)) > 1
    return make_object_array(models) if is_log else None

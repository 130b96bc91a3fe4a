"""What a CascadeDecider is given: checks, answers, and the models that were called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skroute._table.names import as_mapping, format_names, model_names, reorder_columns
from skroute._table.numbers import check_number, read_numbers
from skroute._table.tables import check_quality
from skroute._table.texts import is_missing


@dataclass(frozen=True)
class TrainingTable:
    """What fit is given: estimates, outcomes, and what was said of each answer."""

    quality: np.ndarray  # (n, M) expected
    cost: np.ndarray  # (n, M) expected
    y: np.ndarray  # (n, M) observed; NaN where unknown
    costs: np.ndarray  # (n, M) observed
    checks: np.ndarray | None  # (n, M, k)
    answers: np.ndarray | None  # (n, M) numbers

    def reorder(self, order: np.ndarray) -> TrainingTable:
        """Give the tables with their models in another order."""
        given = {name: table for name, table in vars(self).items() if table is not None}
        return replace(
            self, **{name: table.take(order, axis=1) for name, table in given.items()}
        )


def order_models(*tables: np.ndarray) -> np.ndarray:
    """Find an order of the models that does not depend on that of the columns.

    Models are ordered by their means in the first table (n, M), then in the next, and
    by the rows in which they are high where these are equal.
    """
    rows = np.arange(1.0, len(tables[0]) + 1)[:, None]
    keys = [np.nanmean(table, axis=0) for table in tables]
    keys += [np.nansum(rows * table, axis=0) for table in tables]
    # The last key of lexsort is the first to sort by.
    return np.lexsort(keys[::-1])


def read_checks(
    checks: Any,
    shape: tuple[int, int],
    models: np.ndarray,
    n_checks: int | None = None,
    columns: np.ndarray | None = None,
) -> np.ndarray | None:
    """Check what was said of each answer, (n, M) or (n, M, k); returns (n, M, k).

    `n_checks` is the number of checks of an answer that is expected, if known, and
    `order` names the columns of an array, which are those of `y`.
    """
    if checks is None:
        return None
    named = model_names(checks, "checks")
    table = _read_said(checks)
    if table.ndim not in (2, 3) or table.shape[:2] != shape:
        raise ValueError(
            f"checks must have shape {shape}, or {shape} and the number of checks of "
            f"an answer; got {table.shape}."
        )
    table = reorder_columns(
        table, columns if named is None else named, models, "checks"
    )
    return _count_checks(table, n_checks)


def _read_said(checks: Any) -> np.ndarray:
    """Read checks as numbers, in two dimensions or three, of no query too."""
    try:
        n_dimensions, size = np.ndim(checks), np.size(checks)
    except ValueError:
        raise ValueError(
            "checks must hold as many numbers for each query, NaN where one is not "
            "known; got lists of different lengths."
        ) from None
    if isinstance(checks, list | tuple):
        # A request's: what is needed of the checks below takes a tenth of their time.
        table = np.asarray(checks)
        if table.dtype == np.float64 and not np.isinf(table).any():
            return table
    if n_dimensions <= 2 and size:
        return read_numbers(checks, "checks")
    table = np.asanyarray(checks)
    if not size:
        return np.empty(table.shape)
    return read_numbers(table.ravel(), "checks").reshape(table.shape)


def _count_checks(table: np.ndarray, n_checks: int | None) -> np.ndarray:
    """Refuse another number of checks of an answer; returns (n, M, k)."""
    if table.ndim == 2:
        table = table[:, :, None]
    if n_checks is not None and table.shape[2] != n_checks:
        raise ValueError(
            f"checks must hold {n_checks} for each answer, as in fit; got "
            f"{table.shape[2]}."
        )
    if not table.shape[2]:
        raise ValueError("checks must hold one check of each answer at least; got 0.")
    return table


def check_passed(checks: np.ndarray) -> None:
    """Refuse other values than 1 and 0 where only their chances are known."""
    other = np.isfinite(checks) & (checks != 0) & (checks != 1)
    if other.any():
        raise ValueError(
            "checks must be 1 (passed), 0 (failed) or NaN (not known), since "
            f"sensitivity and specificity are stated; got {checks[other][0]:g}. What "
            "other values mean is learned where fit is given checks."
        )


def number_answers(
    answers: Any,
    shape: tuple[int, int],
    models: np.ndarray,
    columns: np.ndarray | None = None,
) -> np.ndarray | None:
    """Number answers (n, M): equal where they are equal, -1 where there is none.

    `columns` is as in `read_checks`.
    """
    if answers is None:
        return None
    named = model_names(answers, "answers")
    table = np.asarray(answers, dtype=object)
    if table.shape != shape:
        raise ValueError(f"answers must have shape {shape}; got {table.shape}.")
    table = reorder_columns(
        table, columns if named is None else named, models, "answers"
    )
    return _number(table)


def _number(table: np.ndarray) -> np.ndarray:
    numbers: dict[Any, int] = {}
    try:
        flat = [
            -1 if _is_empty(answer) else numbers.setdefault(answer, len(numbers))
            for answer in table.ravel().tolist()
        ]
    except (TypeError, ValueError):  # an array is neither equal nor unequal
        raise ValueError(
            "answers must be labels or strings, which are compared as they are; got "
            "some that cannot be compared, such as a list or a dict. Write them as "
            "text, in one form for equal answers: json.dumps(answer, sort_keys=True)."
        ) from None
    return np.array(flat, dtype=np.intp).reshape(table.shape)


def _is_empty(answer: Any) -> bool:
    """Whether there is no answer: None, NaN, pandas' NA, or a blank string."""
    return not answer.strip() if isinstance(answer, str) else is_missing(answer)


def read_called(called: Any, models: np.ndarray, n_queries: int) -> np.ndarray:
    """Check the calls so far, names (n, k); returns model numbers, -1 for ``None``."""
    if called is None:
        return np.full((n_queries, 0), -1)
    table = np.asarray(called, dtype=object)
    if table.ndim == 1 and len(table) == n_queries:
        table = table[:, None]
    if table.ndim != 2 or len(table) != n_queries:
        raise ValueError(
            "called must hold the names of the models called so far, of shape "
            f"({n_queries}, n_calls), None where there were fewer calls; got shape "
            f"{table.shape}."
        )
    number = {name: place for place, name in enumerate(models)}
    names = table.ravel().tolist()
    if any(isinstance(name, list | tuple | np.ndarray) for name in names):
        raise ValueError(
            "called must hold as many places for each query, None where there were "
            "fewer calls; got lists of different lengths."
        )
    unknown = {
        str(name) for name in names if not (_is_empty(name) or str(name) in number)
    }
    if unknown:
        raise ValueError(
            f"called names {format_names(sorted(unknown))}, which the "
            f"decider does not know; it was fitted on {format_names(models)}."
        )
    flat = [-1 if _is_empty(name) else number[str(name)] for name in names]
    calls = np.array(flat, dtype=np.intp).reshape(table.shape)
    made = calls >= 0
    if (made[:, 1:] & ~made[:, :-1]).any():
        raise ValueError(
            "called must hold the calls of each query in their order, with None after "
            "the last one only."
        )
    places = -1 - np.arange(made.shape[1])
    ordered = np.sort(np.where(made, calls, places), axis=1)
    twice = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if len(twice):
        raise ValueError(
            f"called names a model twice for the queries {format_names(twice)}: a "
            "model is called once at most."
        )
    return calls


def place_checks(
    checks: Any, calls: np.ndarray, models: np.ndarray, n_checks: int
) -> np.ndarray:
    """Put checks (n, k) or (n, k, c) of the calls (n, k) in place, (n, M, c)."""
    placed = np.full((len(calls), len(models), n_checks), np.nan)
    if checks is None or not (calls.shape[1] or np.size(checks)):
        return placed
    _refuse_columns_of_models(checks, "checks", models)
    table = _read_said(checks)
    if table.ndim == 1 and calls.shape[1] == 1:
        table = table[:, None]
    if table.ndim not in (2, 3) or table.shape[:2] != calls.shape:
        raise ValueError(
            "checks must hold what was said of each call, of the shape of called, "
            f"{calls.shape}, or that and the number of checks; got {table.shape}."
        )
    if table.ndim == 2 and np.isnan(table).all():
        return placed  # nothing is known of any call, whatever the number of checks
    table = _count_checks(table, n_checks)
    _check_of_calls(np.isfinite(table).any(axis=2), calls, "checks", "NaN")
    rows, place = np.nonzero(calls >= 0)
    placed[rows, calls[rows, place]] = table[rows, place]
    return placed


def place_answers(answers: Any, calls: np.ndarray, models: np.ndarray) -> np.ndarray:
    """Put the answers (n, k) of the calls (n, k) in place, as numbers (n, M)."""
    placed = np.full((len(calls), len(models)), -1)
    if answers is None:
        return placed
    _refuse_columns_of_models(answers, "answers", models)
    table = np.asarray(answers, dtype=object)
    if table.ndim == 1 and calls.shape[1] == 1:
        table = table[:, None]
    if table.shape != calls.shape:
        raise ValueError(
            "answers must hold the answer of each call, of the shape of called, "
            f"{calls.shape}; got {table.shape}."
        )
    numbers = _number(table)
    _check_of_calls(numbers >= 0, calls, "answers", "None")
    rows, place = np.nonzero(calls >= 0)
    placed[rows, calls[rows, place]] = numbers[rows, place]
    return placed


def _refuse_columns_of_models(table: Any, name: str, models: np.ndarray) -> None:
    """Refuse a column per model where there is one per call, in the order of calls."""
    named = model_names(table, name)
    if named is not None and set(named) & set(models):
        raise ValueError(
            f"{name} must have a column per call, in the order of called; got the "
            f"columns {format_names(named)}, which are models. Give an array whose "
            "columns are those of called."
        )


def _check_of_calls(
    known: np.ndarray, calls: np.ndarray, name: str, blank: str
) -> None:
    """Refuse what is said of calls that were not made."""
    extra = np.flatnonzero((known & (calls < 0)).any(axis=1))
    if len(extra):
        raise ValueError(
            f"{name} says something of a model that was not called, for the queries "
            f"{format_names(extra)}: write {blank} where called is None."
        )


def read_outcomes(y: Any) -> None:
    """Refuse a `y` that is no table of qualities."""
    what = (
        "the quality of every answer, of shape (n_queries, n_models): what a check is "
        "worth is learned from it"
    )
    if y is None:
        raise ValueError(
            "CascadeDecider requires y to be passed, but the target y is None. It is "
            f"{what}."
        )
    if np.ndim(y) < 2:
        raise ValueError(f"y must be {what}; got shape {np.shape(y)}.")
    check_quality(y)


def _order_by_name(values: Any, models: np.ndarray, name: str) -> Any:
    """Put values that have the models' names, as a dict or a Series, in their order."""
    named = as_mapping(values, models)
    if not isinstance(named, Mapping):
        return values
    by_name = {str(model): value for model, value in named.items()}
    if set(by_name) != set(models):
        raise ValueError(
            f"{name} must name all models, {format_names(models)}; got "
            f"{format_names(by_name)}."
        )
    return [by_name[model] for model in models]


def read_rates(
    sensitivity: Any, specificity: Any, models: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Check the stated chances of a check, numbers or one per model; (M,) each."""
    if sensitivity is None and specificity is None:
        return None
    rates, n_models = [], len(models)
    for name, value in (("sensitivity", sensitivity), ("specificity", specificity)):
        if value is None:
            raise ValueError(
                "sensitivity and specificity belong together: how often the check "
                f"passes a right answer, and fails a wrong one; {name} is None."
            )
        value = _order_by_name(value, models, name)
        if np.ndim(value) == 0:
            value = [check_number(value, name, low=0.0)]
        rate = read_numbers(value, name, finite=True)
        if (
            rate.shape not in ((1,), (n_models,))
            or (rate < 0).any()
            or (rate > 1).any()
        ):
            raise ValueError(
                f"{name} must be a chance between 0 and 1, or one for each of the "
                f"{n_models} models; got {value!r}."
            )
        rates.append(np.broadcast_to(rate, n_models).astype(np.float64))
    sensitive, specific = rates
    if (sensitive < 1 - specific).any():
        raise ValueError(
            "sensitivity must be at least 1 - specificity: a check that passes wrong "
            "answers more often than right ones is turned round; got "
            f"sensitivity={sensitivity!r}, specificity={specificity!r}."
        )
    return sensitive, specific

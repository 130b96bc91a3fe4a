"""The Bunch that every reader of a routing table gives, and the checks it shares."""

from __future__ import annotations

import json
import os
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skroute._table.costs import check_prices
from skroute._table.duplicates import count_duplicate_prompts
from skroute._table.names import format_names
from skroute._table.texts import read_text
from skroute.datasets._formats import as_path

__all__ = [
    "average_by_pair",
    "describe_columns",
    "is_missing",
    "make_bunch",
    "read_json_mapping",
    "refuse_negative_costs",
    "to_numbers",
    "to_texts",
]

_DESCR = """\
Routing table read from {source}
{n_queries} queries, {n_models} models, {n_incomplete} queries without the quality of
every model. Costs: {costs}.
{n_zero} calls cost exactly 0.
{n_repeats} rows were averaged with an earlier row of the same call or prompt, and
{n_again} queries repeat the prompt of an earlier query. Columns left out: {left_out}.
"""
_N_LISTED = 12
_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")


def make_bunch(
    *,
    source: str,
    quality: np.ndarray,
    costs: np.ndarray | None,
    cost_column: str | None,
    models: Sequence[str],
    queries: np.ndarray | None,
    prompts: np.ndarray | None,
    task: np.ndarray | None,
    prices: Any,
    data: np.ndarray | None,
    n_repeats: int,
    left_out: Sequence[str] = (),
) -> Bunch:
    """Put a table together, as :func:`skroute.datasets.read_routerbench` documents it.

    `quality` and `costs` are (n_queries, n_models), `queries`, `prompts` and `task`
    (n_queries,). Costs by `prices`, as users give them, are for tables without costs:
    `cost_column` names one in the error, and is ``None`` where they come from tokens.
    `n_repeats` rows were averaged, and the columns `left_out` are in the description.
    """
    names = np.empty(len(models), dtype=object)
    names[:] = list(models)
    unit = "unknown"
    if costs is not None:
        how = "computed from tokens" if cost_column is None else "as measured"
        unit = f"per call, {how}"
        if prices is not None:
            raise ValueError(
                "prices is for tables without costs, but this one has a column such "
                f"as {cost_column!r}. Leave prices out, or delete the cost columns."
            )
    elif prices is not None:
        costs, unit = _read_prices(prices, names), "one list price per model"
    return Bunch(
        data=data,
        quality=quality,
        costs=costs,
        models=names,
        queries=queries,
        task=task,
        prompts=prompts,
        DESCR=_DESCR.format(
            source=source,
            n_queries=len(quality),
            n_models=len(names),
            n_incomplete=int(np.isnan(quality).any(axis=1).sum()),
            costs=unit,
            n_zero=0 if costs is None else int((costs == 0).sum()),
            n_repeats=n_repeats,
            n_again=count_duplicate_prompts(prompts),
            left_out=format_names(left_out),
        ),
        n_repeats=n_repeats,
    )


def is_missing(value: Any) -> bool:
    """Tell whether a cell is empty: ``None``, ``NaN`` or an empty text."""
    if isinstance(value, str):
        return not value
    return value is None or (isinstance(value, Real) and value != value)


def to_numbers(name: str, values: np.ndarray, hint: str) -> np.ndarray:
    """Turn a column into float64, ``NaN`` where a value is missing.

    Booleans count as 1 and 0. Where the column holds text, the error gives the `hint`.
    """
    if values.dtype.kind in "biuf":
        numbers = values.astype(np.float64)
    else:
        numbers = np.full(len(values), np.nan)
        for i, value in enumerate(values.tolist()):
            if is_missing(value):
                continue
            if not isinstance(value, Real | Decimal | np.bool_):
                raise ValueError(
                    f"column {name!r} must hold a model's numbers; row {i} has "
                    f"{reprlib.repr(value)}. {_explain_cell(name, value) or hint}"
                )
            try:
                numbers[i] = value
            except OverflowError:  # a whole number of hundreds of digits
                numbers[i] = np.inf
    if np.isinf(numbers).any():
        raise ValueError(
            f"column {name!r} has an infinite value in row "
            f"{int(np.isinf(numbers).argmax())}; leave it empty if it is not known."
        )
    return numbers


def _explain_cell(name: str, value: Any) -> str:
    """Say how a column of objects or of vectors is read, where a value is one."""
    if isinstance(value, Mapping) and value:
        return f"Name what lies in these objects, such as '{name}.{next(iter(value))}'."
    is_vector = isinstance(value, list | tuple | np.ndarray)
    if is_vector or (isinstance(value, str) and value.startswith("[")):
        return f"If these are embeddings, read them by embeddings={name!r}."
    if isinstance(value, str) and _POINT.fullmatch(value.strip()):
        return (
            "It is a text. In a CSV file that semicolons part, a number such as 0,5 in "
            "another column makes the comma the decimal sign of all: write all numbers "
            "with a point, or all with a comma. In JSON, write numbers without quotes."
        )
    return ""


def average_by_pair(
    pair: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Put the mean of the known values of each pair into its cell of a table.

    Pairs are numbered row by row; where nothing is known, the table has ``NaN``.
    """
    known = ~np.isnan(values)
    size = shape[0] * shape[1]
    total = np.bincount(pair[known], values[known], minlength=size)
    count = np.bincount(pair[known], minlength=size)
    mean = np.full(size, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.reshape(shape)


def refuse_negative_costs(name: str, costs: np.ndarray) -> np.ndarray:
    """Check that money was spent, not earned."""
    if (costs < 0).any():
        raise ValueError(
            f"column {name!r} has a negative cost in row {int((costs < 0).argmax())}; "
            "costs are money spent."
        )
    return costs


def to_texts(
    values: np.ndarray | None, read: Callable[[Any], str] = read_text
) -> np.ndarray | None:
    """Make every cell of a text column a string, empty where missing."""
    if values is None:
        return None
    texts = ["" if is_missing(cell) else read(cell) for cell in values.tolist()]
    return np.array(texts, dtype=object)


def describe_columns(columns: Sequence[tuple[str, np.ndarray]]) -> str:
    """Write out which columns a table has, for an error."""
    kinds = [
        f"{format_names([name])} "
        f"({'numbers' if values.dtype.kind in 'biuf' else 'text'})"
        for name, values in columns[:_N_LISTED]
    ]
    more = len(columns) - len(kinds)
    return ", ".join(kinds) + (f" and {more} more" if more else "") or "none"


def read_json_mapping(given: Any, name: str) -> Mapping[Any, Any]:
    """Check that an argument is a mapping, or read it from a JSON file."""
    if isinstance(given, str | os.PathLike):
        file = as_path(given, name)
        if not file.is_file():
            raise FileNotFoundError(f"{name} {str(file)!r} is not a file.")
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} {file.name!r} is not JSON: {error}") from error
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{name} must map the name of each model to its price, or be the path of a "
            f"JSON file that does; got {type(given).__name__}."
        )
    return given


def _read_prices(prices: Any, models: np.ndarray) -> np.ndarray:
    """Check prices by model, or read them from a JSON file."""
    prices = read_json_mapping(prices, "prices")
    for name, price in prices.items():
        if isinstance(price, Mapping):
            raise ValueError(
                f"prices[{name!r}] must be money per call; got an object. Prices per "
                "token go to token_prices."
            )
        if isinstance(price, bool) or not isinstance(price, Real):
            raise ValueError(f"prices[{name!r}] must be a number; got {price!r}.")
    return check_prices(prices, models, "prices")

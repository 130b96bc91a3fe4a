"""The Bunch that every reader of a routing table gives, and the checks it shares."""

from __future__ import annotations

import json
import os
import re
import reprlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skroute._table.costs import check_prices
from skroute._table.names import format_names
from skroute._table.texts import read_text

__all__ = [
    "as_path",
    "check_costs",
    "columns_found",
    "count_repeats",
    "count_zeros",
    "is_missing",
    "mean_by_pair",
    "number_equal",
    "read_json_mapping",
    "routing_bunch",
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


def routing_bunch(
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
    """Put a table together, with prices from outside of it.

    Parameters
    ----------
    source : str
        What it was read from, for its description.
    quality, costs : ndarray of shape (n_queries, n_models)
        What was measured; `costs` may be ``None``.
    cost_column : str or None
        A column that costs came from, for the error about prices beside it; ``None``
        where they were computed from tokens.
    models : sequence of str
        Names of the columns.
    queries, prompts, task : ndarray of shape (n_queries,) or None
        What is known of each query.
    prices : object
        As users give them; see :func:`skroute.datasets.read_routerbench`.
    data : ndarray of shape (n_queries, n_features) or None
        Embeddings.
    n_repeats : int
        Rows that were averaged with earlier ones.
    left_out : sequence of str, default=()
        Columns that nothing was read from.

    Returns
    -------
    Bunch
        As :func:`skroute.datasets.read_routerbench` documents it.

    Raises
    ------
    ValueError
        If prices are given beside costs, or do not fit.
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
        costs, unit = _listed_costs(prices, names), "one list price per model"
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
            n_again=count_repeats(prompts),
            left_out=format_names(left_out),
        ),
        n_repeats=n_repeats,
    )


def count_repeats(prompts: np.ndarray | None) -> int:
    """Count the queries whose prompt an earlier query has too."""
    texts = [] if prompts is None else [prompt for prompt in prompts if prompt]
    return len(texts) - len(set(texts))


def count_zeros(costs: np.ndarray) -> int:
    """Count the calls that cost exactly 0, of models whose other calls cost money.

    Logs write 0 for a cost that was not recorded, and for an answer from a cache.
    """
    free = (costs == 0).sum(axis=0)
    return int(free[(costs > 0).any(axis=0)].sum())


def number_equal(values: Iterable[Hashable]) -> np.ndarray:
    """Number values in the order of their first appearance, equal ones alike."""
    first: dict[Hashable, int] = {}
    return np.array([first.setdefault(v, len(first)) for v in values], dtype=int)


def as_path(path: Any, name: str) -> Path:
    """Check that an argument is a path."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"{name} must be the path of a file; got {type(path).__name__}."
        )
    return Path(path).expanduser()


def is_missing(value: Any) -> bool:
    """Tell whether a cell is empty: ``None``, ``NaN`` or an empty text."""
    if isinstance(value, str):
        return not value
    return value is None or (isinstance(value, Real) and value != value)


def to_numbers(name: str, values: np.ndarray, hint: str) -> np.ndarray:
    """Turn a column into float64, ``NaN`` where a value is missing.

    Parameters
    ----------
    name : str
        Name of the column.
    values : ndarray of shape (n_rows,)
        Its values.
    hint : str
        The way out, where it holds text.

    Returns
    -------
    ndarray of shape (n_rows,)
        The numbers; booleans count as 1 and 0.

    Raises
    ------
    ValueError
        If a value is no number, or is infinite.
    """
    if values.dtype.kind in "biuf":
        numbers = values.astype(np.float64)
    else:
        numbers = np.full(len(values), np.nan)
        for i, value in enumerate(values.tolist()):
            if is_missing(value):
                continue
            if not isinstance(value, Real | Decimal):
                raise ValueError(
                    f"column {name!r} must hold a model's numbers; row {i} has "
                    f"{reprlib.repr(value)}. {_cell_hint(name, value) or hint}"
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


def _cell_hint(name: str, value: Any) -> str:
    """Say how a column of objects or of vectors is read, where a value is one."""
    if isinstance(value, Mapping) and value:
        return f"Name what lies in these objects, such as '{name}.{next(iter(value))}'."
    listed = isinstance(value, list | tuple | np.ndarray)
    if listed or (isinstance(value, str) and value.startswith("[")):
        return f"If these are embeddings, read them by embeddings={name!r}."
    if isinstance(value, str) and _POINT.fullmatch(value.strip()):
        return (
            "It is a text. In a CSV file that semicolons part, a number such as 0,5 in "
            "another column makes the comma the decimal sign of all: write all numbers "
            "with a point, or all with a comma. In JSON, write numbers without quotes."
        )
    return ""


def mean_by_pair(
    pair: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Put the mean of the known values of each pair into its cell.

    Parameters
    ----------
    pair, values : ndarray of shape (n_values,)
        Where each value belongs, numbered row by row, and the values.
    shape : tuple of int
        Rows and columns of the result.

    Returns
    -------
    ndarray of shape `shape`
        The means, ``NaN`` where nothing is known.
    """
    known = ~np.isnan(values)
    size = shape[0] * shape[1]
    total = np.bincount(pair[known], values[known], minlength=size)
    count = np.bincount(pair[known], minlength=size)
    mean = np.full(size, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.reshape(shape)


def check_costs(name: str, costs: np.ndarray) -> np.ndarray:
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


def columns_found(columns: Sequence[tuple[str, np.ndarray]]) -> str:
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


def _listed_costs(prices: Any, models: np.ndarray) -> np.ndarray:
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

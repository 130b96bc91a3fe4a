"""The Bunch that every reader of a routing table gives, and the checks it shares."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skroute.arrays import read_npy
from skroute.money import check_prices

__all__ = [
    "as_path",
    "check_costs",
    "columns_found",
    "is_missing",
    "routing_bunch",
    "to_numbers",
    "to_texts",
]

_DESCR = """\
Routing table read from {source}
{n_queries} queries, {n_models} models, {n_incomplete} queries without the quality of
every model. Costs: {costs}.
"""
_N_LISTED = 12


def routing_bunch(
    *,
    source: str,
    quality: np.ndarray,
    costs: np.ndarray | None,
    cost_column: str,
    models: Sequence[str],
    queries: np.ndarray | None,
    prompts: np.ndarray | None,
    task: np.ndarray | None,
    prices: Any,
    embeddings: Any,
) -> Bunch:
    """Put a table together, with prices and embeddings from outside of it.

    Parameters
    ----------
    source : str
        What it was read from, for its description.
    quality, costs : ndarray of shape (n_queries, n_models)
        What was measured; `costs` may be ``None``.
    cost_column : str
        A column that costs came from, for the error about prices beside it.
    models : sequence of str
        Names of the columns.
    queries, prompts, task : ndarray of shape (n_queries,) or None
        What is known of each query.
    prices, embeddings : object
        As users give them; see :func:`skroute.datasets.read_routerbench`.

    Returns
    -------
    Bunch
        As :func:`skroute.datasets.read_routerbench` documents it.

    Raises
    ------
    ValueError
        If prices are given beside costs, or prices or embeddings do not fit.
    """
    names = np.empty(len(models), dtype=object)
    names[:] = list(models)
    unit = "unknown"
    if costs is not None:
        unit = "per call, as measured"
        if prices is not None:
            raise ValueError(
                "prices is for tables without costs, but this one has a column such "
                f"as {cost_column!r}. Leave prices out, or delete the cost columns."
            )
    elif prices is not None:
        costs, unit = _listed_costs(prices, names), "one list price per model"
    n_queries = len(quality)
    return Bunch(
        data=None if embeddings is None else _check_embeddings(embeddings, n_queries),
        quality=quality,
        costs=costs,
        models=names,
        queries=queries,
        task=task,
        prompts=prompts,
        DESCR=_DESCR.format(
            source=source,
            n_queries=n_queries,
            n_models=len(names),
            n_incomplete=int(np.isnan(quality).any(axis=1).sum()),
            costs=unit,
        ),
    )


def as_path(path: Any, name: str) -> Path:
    """Check that an argument is a path."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"{name} must be the path of a file; got {type(path).__name__}."
        )
    return Path(path).expanduser()


def is_missing(value: Any) -> bool:
    """Tell whether a cell is empty: ``None``, ``NaN`` or a text without a letter."""
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
            if value is None:
                continue
            if not isinstance(value, Real):
                raise ValueError(
                    f"column {name!r} must hold a model's numbers; row {i} has "
                    f"{reprlib.repr(value)}. {hint}"
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


def check_costs(name: str, costs: np.ndarray) -> np.ndarray:
    """Check that money was spent, not earned."""
    if (costs < 0).any():
        raise ValueError(
            f"column {name!r} has a negative cost in row {int((costs < 0).argmax())}; "
            "costs are money spent."
        )
    return costs


def to_texts(values: np.ndarray | None) -> np.ndarray | None:
    """Make every cell of a text column a string, empty where missing."""
    if values is None:
        return None
    texts = ["" if is_missing(cell) else str(cell) for cell in values.tolist()]
    return np.array(texts, dtype=object)


def columns_found(columns: Sequence[tuple[str, np.ndarray]]) -> str:
    """Write out which columns a table has, for an error."""
    kinds = [
        f"{name} ({'numbers' if values.dtype.kind in 'biuf' else 'text'})"
        for name, values in columns[:_N_LISTED]
    ]
    more = len(columns) - len(kinds)
    return ", ".join(kinds) + (f" and {more} more" if more else "") or "none"


def _listed_costs(prices: Any, models: np.ndarray) -> np.ndarray:
    """Check prices by model, or read them from a JSON file."""
    if isinstance(prices, str | os.PathLike):
        file = as_path(prices, "prices")
        if not file.is_file():
            raise FileNotFoundError(f"prices {str(file)!r} is not a file.")
        try:
            prices = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"prices {file.name!r} is not JSON: {error}") from error
    if not isinstance(prices, Mapping):
        raise TypeError(
            "prices must map the name of each model to its price, or be the path of a "
            f"JSON file that does; got {type(prices).__name__}."
        )
    for name, price in prices.items():
        if isinstance(price, bool) or not isinstance(price, Real):
            raise ValueError(f"prices[{name!r}] must be a number; got {price!r}.")
    return check_prices(prices, models, "prices")


def _check_embeddings(embeddings: Any, n_queries: int) -> np.ndarray:
    """Check embeddings, or read them from a file; at least float32."""
    if isinstance(embeddings, str | os.PathLike):
        file = as_path(embeddings, "embeddings")
        if not file.is_file():
            raise FileNotFoundError(f"embeddings {str(file)!r} is not a file.")
        try:
            embeddings = read_npy(file)
        except ValueError as error:
            raise ValueError(
                f"embeddings {file.name!r} is not an array of numbers as numpy.save "
                f"writes it: {error}"
            ) from error
    table = np.asarray(embeddings)
    if table.ndim != 2 or len(table) != n_queries:
        raise ValueError(
            f"embeddings must have one row for each of the {n_queries} queries and two "
            f"axes; got shape {table.shape}."
        )
    if table.dtype.kind not in "biuf":
        raise ValueError(f"embeddings must be numbers; got dtype {table.dtype}.")
    single = table.dtype.kind == "f" and table.dtype.itemsize <= 4
    table = table.astype(np.float32 if single else np.float64, copy=False)
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"embeddings must be finite; row {int(finite.argmin())} is not."
        )
    return table

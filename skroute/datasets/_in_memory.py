"""Columns of tables in memory: DataFrames, dicts of columns, lists of records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skroute._optional import require
from skroute.datasets._schemas import (
    MODEL_COLUMNS,
    TEXT_COLUMNS,
    find_first,
    normalize,
)

__all__ = [
    "MAX_BYTES",
    "Columns",
    "check_unique",
    "is_nested",
    "object_array",
    "pandas_columns",
    "record_columns",
    "table_in_memory",
]

#: Names and values, in the order of the table. Numbers are float64 or as stored; all
#: other columns are object arrays with None or NaN where a value is missing.
Columns = list[tuple[str, np.ndarray]]

#: Default limit of the size of a table, unpacked.
MAX_BYTES = 1 << 30

# Bytes of a value in a column of records, also of a missing one.
_BYTES = 8
# The key of LLMRouter's and RouterDC's records under which each model has its quality.
_SCORES = "scores"
# If a record has one of these, its `scores` are by metric, not by model.
_MODEL_KEYS = (*MODEL_COLUMNS, "model_id", "llm", "engine", "deployment", "provider")


def table_in_memory(table: Any, name: str, max_bytes: int = MAX_BYTES) -> Columns:
    """Take the columns out of a table that is not a file; `name` is for errors.

    Records must not become columns that take more than `max_bytes`.
    """
    if hasattr(table, "iloc"):
        columns = pandas_columns(table)
    elif hasattr(table, "get_columns"):
        columns = [(series.name, _read_polars(series)) for series in table]
    elif isinstance(table, Mapping):
        columns = [(str(key), _as_array(values)) for key, values in table.items()]
    elif isinstance(table, Sequence) and not isinstance(table, str | bytes):
        columns = record_columns(table, max_bytes)
    else:
        raise TypeError(
            f"{name} must be a pandas or polars DataFrame (collect a LazyFrame first), "
            "a dict of columns, a list of records, or the path of a file; got "
            f"{type(table).__name__}."
        )
    check_unique([column for column, _ in columns])
    for column, values in columns:
        if values.ndim != 1 or len(values) != len(columns[0][1]):
            raise ValueError(
                f"column {column!r} of {name} has shape {values.shape}, but "
                f"{columns[0][0]!r} has {columns[0][1].shape}; every column needs one "
                "value for each row."
            )
    return columns


def pandas_columns(frame: Any) -> Columns:
    """Take the columns out of a pandas DataFrame; its index is ignored."""
    types = require("pandas", "a DataFrame").api.types
    columns = []
    for i, name in enumerate(frame.columns):
        if isinstance(name, tuple):
            raise ValueError(
                f"the table has names of several levels, such as {name}, as pivot "
                "makes them; a row for each call (from_long) needs no pivot, and one "
                "level is taken by table[level]."
            )
        column = frame.iloc[:, i]
        if types.is_integer_dtype(column.dtype) and not column.hasnans:
            # As a float, a long number that names a query would lose its last digits.
            values = column.to_numpy(dtype=column.dtype.type)
        elif types.is_numeric_dtype(column.dtype):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            values = column.to_numpy(dtype=object, na_value=None)
        columns.append((str(name), values))
    return columns


def record_columns(records: Sequence[Any], max_bytes: int = MAX_BYTES) -> Columns:
    """Turn records, such as the lines of a JSON file, into columns.

    What a record lacks is missing there. Records with a mapping ``scores`` from model
    to quality, as LLMRouter and RouterDC write them, give a column for each model,
    sorted by name, and beside these their columns of texts, lists and objects. Where
    records name a model, their ``scores`` go by metric and stay as they are.
    """
    names: dict[str, None] = {}
    for row, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise ValueError(
                f"record {row} is a {type(record).__name__}; every record must be an "
                "object with a value for each column."
            )
        names.update(dict.fromkeys(record))
    scores = [record.get(_SCORES) for record in records]
    by_model = any(isinstance(score, Mapping) for score in scores)
    if not by_model or find_first(_MODEL_KEYS, [str(name) for name in names]):
        _check_room(len(records), len(names), max_bytes)
        return [(str(n), object_array([r.get(n) for r in records])) for n in names]
    models: dict[str, None] = {}
    for row, score in enumerate(scores):
        if not isinstance(score, Mapping):
            raise ValueError(
                f"record {row} has no object {_SCORES!r} with the quality of each "
                "model, but other records have."
            )
        models.update(dict.fromkeys(score))
    _check_room(len(records), len(models), max_bytes)
    others = {n: object_array([r.get(n) for r in records]) for n in names}
    del others[_SCORES]
    kept = [
        (str(name), cells)
        for name, cells in others.items()
        if normalize(str(name)) in TEXT_COLUMNS or is_nested(cells)
    ]
    return [
        *kept,
        *((m, object_array([s.get(m) for s in scores])) for m in sorted(models)),
    ]


def _check_room(n_rows: int, n_columns: int, max_bytes: int) -> None:
    """Refuse records that share few names: as columns they would fill the memory."""
    size = n_rows * n_columns * _BYTES
    if size > max_bytes:
        raise ValueError(
            f"its {n_rows:,} records have {n_columns:,} different names, a table of "
            f"{size:,} bytes, more than max_bytes={max_bytes:,}. Records of one table "
            "share their names; if these should not, give a larger max_bytes."
        )


def is_nested(cells: np.ndarray) -> bool:
    """Tell whether a column holds lists, arrays or objects, by its first value."""
    if cells.dtype != object:
        return False
    first = next((cell for cell in cells.tolist() if cell is not None), None)
    return isinstance(first, Mapping | list | tuple | np.ndarray)


def check_unique(names: Sequence[str]) -> None:
    """Check that no two columns share a name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f"column {name!r} occurs more than once in the table; every model "
                "needs a name of its own, so rename or delete one."
            )
        seen.add(name)


def object_array(values: Sequence[Any]) -> np.ndarray:
    """Put values of any kind, sequences too, into an array with one axis."""
    cells = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        cells[i] = value
    return cells


def _as_array(values: Any) -> np.ndarray:
    array = values if isinstance(values, np.ndarray) else object_array(list(values))
    return array if array.dtype.kind in "biufO" else array.astype(object)


def _read_polars(series: Any) -> np.ndarray:
    if series.dtype.is_integer() and not series.null_count():
        return np.asarray(series.to_numpy())
    if series.dtype.is_numeric():
        return np.asarray(series.to_numpy(), dtype=np.float64)
    return object_array(series.to_list())

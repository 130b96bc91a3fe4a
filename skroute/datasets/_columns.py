"""Columns of tables in memory, and the values that lie in their cells."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from skroute._optional import require
from skroute._table.texts import clean_text, parse_json, read_text
from skroute.datasets._schemas import COLUMNS, TEXT_COLUMNS, find_first, normalize

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
_MODEL_KEYS = (*COLUMNS["model"], "model_id", "llm", "engine", "deployment", "provider")
_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")


def read_in_memory(table: Any, max_bytes: int = MAX_BYTES) -> Columns:
    """Take the columns out of a table that is not a file."""
    if hasattr(table, "iloc"):
        columns = read_pandas(table)
    elif hasattr(table, "get_columns"):
        columns = [(series.name, _read_polars(series)) for series in table]
    elif isinstance(table, Mapping):
        columns = [(str(key), _as_array(values)) for key, values in table.items()]
    elif isinstance(table, Sequence) and not isinstance(table, str | bytes):
        columns = read_records(table, max_bytes)
    else:
        raise TypeError(
            "table must be a pandas or polars DataFrame (collect a LazyFrame first), "
            "a dict of columns, a list of records, or the path of a file; got "
            f"{type(table).__name__}."
        )
    check_unique([column for column, _ in columns])
    for column, values in columns:
        if values.ndim != 1 or len(values) != len(columns[0][1]):
            raise ValueError(
                f"column {column!r} of table has shape {values.shape}, but "
                f"{columns[0][0]!r} has {columns[0][1].shape}; every column needs one "
                "value for each row."
            )
    return columns


def read_pandas(frame: Any) -> Columns:
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


def read_records(records: Sequence[Any], max_bytes: int = MAX_BYTES) -> Columns:
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
        return _gather(records, names)
    models: dict[str, None] = {}
    for row, score in enumerate(scores):
        if not isinstance(score, Mapping):
            raise ValueError(
                f"record {row} has no object {_SCORES!r} with the quality of each "
                "model, but other records have."
            )
        models.update(dict.fromkeys(score))
    _check_room(len(records), len(models), max_bytes)
    del names[_SCORES]
    kept = [
        (name, cells)
        for name, cells in _gather(records, names)
        if normalize(name) in TEXT_COLUMNS or is_nested(cells)
    ]
    return kept + _gather(scores, sorted(models))


def _gather(records: Sequence[Any], names: Iterable[str]) -> Columns:
    return [(str(n), make_object_array([r.get(n) for r in records])) for n in names]


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


def make_object_array(values: Sequence[Any]) -> np.ndarray:
    """Put values of any kind, sequences too, into an array with one axis."""
    cells = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        cells[i] = value
    return cells


def _as_array(values: Any) -> np.ndarray:
    array = (
        values if isinstance(values, np.ndarray) else make_object_array(list(values))
    )
    return array if array.dtype.kind in "biufO" else array.astype(object)


def _read_polars(series: Any) -> np.ndarray:
    if series.dtype.is_integer() and not series.null_count():
        return np.asarray(series.to_numpy())
    if series.dtype.is_numeric():
        return np.asarray(series.to_numpy(), dtype=np.float64)
    return make_object_array(series.to_list())


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


def to_texts(values: np.ndarray, read: Callable[[Any], str] = read_text) -> np.ndarray:
    """Make every cell of a text column a string, empty where missing."""
    texts = ["" if is_missing(cell) else read(cell) for cell in values.tolist()]
    return np.array(texts, dtype=object)


def to_answers(values: np.ndarray) -> np.ndarray:
    """Write answers as texts, ``None`` where there is none.

    A number is written alike in a column of numbers and in one of texts, in which it
    stands beside words.
    """
    return make_object_array([_write_answer(cell) for cell in values.tolist()])


def _write_answer(cell: Any) -> str | None:
    if is_missing(cell) or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    elif isinstance(cell, Mapping | list | tuple):
        cell = json.dumps(cell, sort_keys=True, ensure_ascii=False, default=str)
    return clean_text(str(cell))


def find_values(found: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Find a column, or what lies in the cells of one; ``None`` if no row has it.

    The keys of nested objects, and positions in lists, follow the name of the column
    after dots, as in ``usage.prompt_tokens``. Rows that lack it have ``None``.
    """
    if name in found:
        return found[name]
    parts = name.split(".")
    for n_outer in range(len(parts) - 1, 0, -1):
        outer = ".".join(parts[:n_outer])
        column = found.get(outer)
        if column is None:
            column = next((found[n] for n in found if normalize(n) == outer), None)
        if column is None or column.dtype != object:
            continue
        cells = [_follow(cell, parts[n_outer:]) for cell in column.tolist()]
        if any(cell is not None for cell in cells):
            return make_object_array(cells)
    return None


def list_paths(found: Mapping[str, np.ndarray], most: int = 50) -> list[str]:
    """Name what lies in the objects of the first row that has any, for errors."""
    paths: list[str] = []
    for name, column in found.items():
        if column.dtype != object or len(paths) >= most:
            continue
        inside = next((c for c in column.tolist() if isinstance(c, Mapping)), {})
        paths.extend(f"{name}.{key}" for key in inside)
    return paths[:most]


def _follow(cell: Any, parts: Sequence[str]) -> Any:
    """Follow keys and positions into a cell; ``None`` where they lead nowhere."""
    for part in parts:
        inside = parse_json(cell)
        if isinstance(inside, Mapping):
            if part in inside:
                cell = inside[part]
                continue
            cell = next((inside[k] for k in inside if normalize(str(k)) == part), None)
        elif isinstance(inside, Sequence | np.ndarray) and not isinstance(inside, str):
            reached = part.isdecimal() and int(part) < len(inside)
            cell = inside[int(part)] if reached else None
        else:
            return None
    return cell

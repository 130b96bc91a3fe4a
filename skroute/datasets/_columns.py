"""Columns of a table file, whatever its format."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection
from pathlib import Path

from skroute.datasets._dataframes import (
    Columns,
    check_unique,
    pandas_columns,
    record_columns,
)
from skroute.datasets._extras import require
from skroute.datasets._frames import frame_columns
from skroute.datasets._layouts import ROW_INDEX, TEXT_COLUMNS, is_dropped
from skroute.datasets._unpickle import restricted_load

__all__ = ["read_columns", "table_format"]

# A prompt that reads "NA" is a prompt, so these count in columns of numbers only.
_MISSING = ["", "NA", "N/A", "<NA>", "NaN", "nan", "None", "null", "NULL"]
_FORMATS = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".json.gz": "json",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".pkl": "pickle",
    ".pickle": "pickle",
}


def read_columns(path: Path, text: Collection[str] = TEXT_COLUMNS) -> Columns:
    """Read the columns of a CSV, parquet, JSON or pickle file.

    Parameters
    ----------
    path : Path
        The file; its ending tells the format.
    text : collection of str, default=TEXT_COLUMNS
        Columns of a CSV file that hold text, whatever it looks like.

    Returns
    -------
    list of (str, ndarray of shape (n_rows,))
        Names and values of the columns, in their order, without those that
        :func:`~skroute.datasets._layouts.is_dropped` names. Numbers are float64 or as
        stored, all else are object arrays with ``None`` or ``NaN`` where a value is
        missing.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the format is unknown, the file is damaged, or columns share a name.
    UnsafePickleError
        If a pickle asks for anything that no table needs.
    ImportError
        If pandas, or for parquet pyarrow, is needed and not installed.
    """
    kind = table_format(path)
    if kind is None:
        raise ValueError(
            f"path must end in {', '.join(_FORMATS)}; got {path.name!r}. Save the "
            "table in one of these formats."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"path {str(path)!r} is not a file. Give the path of a routing table, or "
            "use fetch_routerbench to download the published one."
        )
    readers = {"json": _read_json, "jsonl": _read_jsonl, "pickle": _read_pickle}
    try:
        if kind == "csv":
            columns = _read_csv(path, text)
        elif kind == "parquet":
            columns = _read_parquet(path)
        else:
            columns = readers[kind](path)
        names = [name for name, _ in columns]
        check_unique(names)
    except (ValueError, EOFError, RecursionError, OverflowError) as error:
        raise ValueError(f"cannot read {path.name}: {error}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"cannot read {path.name}: {error}") from error
    return [(n, values) for n, values in columns if not is_dropped(n, names)]


def table_format(path: Path) -> str | None:
    """Tell the format of a table file by its ending; ``None`` for other files."""
    return next((kind for end, kind in _FORMATS.items() if _ends(path, end)), None)


def _ends(path: Path, ending: str) -> bool:
    return path.name.lower().endswith(ending)


def _read_csv(path: Path, text: Collection[str]) -> Columns:
    pandas = require("pandas", "reading a CSV file")
    options = {"encoding": "utf-8-sig", "keep_default_na": False}
    try:
        header = pandas.read_csv(path, header=None, nrows=1, dtype=str, **options)
    except pandas.errors.EmptyDataError:
        raise ValueError("it is empty; a table needs a header.") from None
    names = header.iloc[0].tolist()
    if names[0] == "":
        names[0] = ROW_INDEX
    if "" in names:
        raise ValueError(
            f"column {names.index('')} has no name in the header; name or delete it."
        )
    # pandas would rename the second of two columns instead of complaining.
    check_unique(names)
    numbers = [name for name in names if name not in text]
    frame = pandas.read_csv(
        path,
        dtype=dict.fromkeys(text, str),
        na_values=dict.fromkeys(numbers, _MISSING),
        low_memory=False,
        **options,
    )
    if not isinstance(frame.index, pandas.RangeIndex):
        raise ValueError(
            "its rows have more fields than the header; quote the fields that hold a "
            "comma."
        )
    frame.columns = names
    return pandas_columns(frame)


def _read_parquet(path: Path) -> Columns:
    user = "reading a parquet file"
    require("pyarrow", user)
    return pandas_columns(require("pandas", user).read_parquet(path))


def _read_json(path: Path) -> Columns:
    records = json.loads(_text(path))
    if not isinstance(records, list):
        raise ValueError(
            f"it holds a {type(records).__name__}; a JSON table is a list of records. "
            "With pandas, write it by to_json(orient='records')."
        )
    return record_columns(records)


def _read_jsonl(path: Path) -> Columns:
    records = []
    # Not splitlines: a text may hold other line ends than this one.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"line {number} is not a JSON record: {error}") from None
    return record_columns(records)


def _read_pickle(path: Path) -> Columns:
    with path.open("rb") as file:
        return frame_columns(restricted_load(file))


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if _ends(path, ".gz") else data).decode("utf-8-sig")

"""Columns of a table file, whatever its format."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from skroute.datasets._extras import require
from skroute.datasets._frames import frame_columns
from skroute.datasets._unpickle import restricted_load

__all__ = ["TEXT_COLUMNS", "is_dropped", "read_columns"]

# The only columns of the published format that hold text, and those of no use here.
TEXT_COLUMNS = ("sample_id", "prompt", "eval_name")
# How pandas calls the first column of a CSV file that DataFrame.to_csv wrote with its
# index, which has no name.
_ROW_INDEX = "Unnamed: 0"
_DROPPED = ("oracle_model_to_route_to", _ROW_INDEX)
_DROPPED_ENDING = "|model_response"
# A prompt that reads "NA" is a prompt, so these count in columns of numbers only.
_MISSING = ["", "NA", "N/A", "<NA>", "NaN", "nan", "None", "null", "NULL"]
_FORMATS = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
    ".pkl": "pickle",
    ".pickle": "pickle",
}


def is_dropped(name: str) -> bool:
    """Tell whether a column is left out: answers, the published oracle, row numbers.

    Parameters
    ----------
    name : str
        Name of the column.

    Returns
    -------
    bool
        Whether nothing reads it.
    """
    return name in _DROPPED or name.endswith(_DROPPED_ENDING)


def read_columns(path: Path) -> list[tuple[str, np.ndarray]]:
    """Read the columns of a CSV, parquet or pickle file.

    Parameters
    ----------
    path : Path
        The file; its ending tells the format.

    Returns
    -------
    list of (str, ndarray of shape (n_rows,))
        Names and values of the columns, in their order, without those that
        :func:`is_dropped` names. Numbers are float64 or as stored in a pickle, all
        else are object arrays with ``None`` or ``NaN`` where a value is missing.

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
    kind = next(
        (kind for ending, kind in _FORMATS.items() if _ends(path, ending)), None
    )
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
    reader = {"csv": _read_csv, "parquet": _read_parquet, "pickle": _read_pickle}[kind]
    try:
        columns = reader(path)
        _check_unique([name for name, _ in columns])
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"cannot read {path.name}: {error}") from error
    return [(name, values) for name, values in columns if not is_dropped(name)]


def _ends(path: Path, ending: str) -> bool:
    return path.name.lower().endswith(ending)


def _read_csv(path: Path) -> list[tuple[str, np.ndarray]]:
    pandas = require("pandas", "read_routerbench on a CSV file")
    options = {"encoding": "utf-8-sig", "keep_default_na": False}
    try:
        header = pandas.read_csv(path, header=None, nrows=1, dtype=str, **options)
    except pandas.errors.EmptyDataError:
        raise ValueError("it is empty; a table needs a header.") from None
    names = header.iloc[0].tolist()
    if names[0] == "":
        names[0] = _ROW_INDEX
    if "" in names:
        raise ValueError(
            f"column {names.index('')} has no name in the header; name or delete it."
        )
    # pandas would rename the second of two columns instead of complaining.
    _check_unique(names)
    numbers = [name for name in names if name not in TEXT_COLUMNS]
    frame = pandas.read_csv(
        path,
        dtype=dict.fromkeys(TEXT_COLUMNS, str),
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
    return _arrays(frame)


def _read_parquet(path: Path) -> list[tuple[str, np.ndarray]]:
    user = "read_routerbench on a parquet file"
    require("pyarrow", user)
    return _arrays(require("pandas", user).read_parquet(path))


def _read_pickle(path: Path) -> list[tuple[str, np.ndarray]]:
    with path.open("rb") as file:
        return frame_columns(restricted_load(file))


def _arrays(frame: Any) -> list[tuple[str, np.ndarray]]:
    """Take the columns out of a DataFrame."""
    is_number = require("pandas", "read_routerbench").api.types.is_numeric_dtype
    columns = []
    for i, name in enumerate(frame.columns):
        column = frame.iloc[:, i]
        if is_number(column.dtype):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            values = column.to_numpy(dtype=object, na_value=None)
        columns.append((str(name), values))
    return columns


def _check_unique(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f"column {name!r} occurs more than once in the table; every model "
                "needs a name of its own, so rename or delete one."
            )
        seen.add(name)

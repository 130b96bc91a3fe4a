"""Columns of a table file, whatever its format."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from skroute._optional import require
from skroute._table.texts import MISSING_WORDS
from skroute.datasets._columns import (
    MAX_BYTES,
    Columns,
    check_unique,
    read_pandas,
    read_records,
)
from skroute.datasets._published import read_pinned_pickle
from skroute.datasets._schemas import (
    ANSWER_ENDING,
    ROW_INDEX,
    TEXT_COLUMNS,
    is_dropped,
    normalize,
)
from skroute.exceptions import UnsafePickleError

# Missing values in columns of numbers only: a prompt may read "NA".
_MISSING = ["", *MISSING_WORDS]
_SEPARATORS = (",", ";", "\t")
# Where semicolons separate fields, a comma is often the decimal sign.
_DECIMAL_COMMA = re.compile(rb'(?:^|;)"?-?\d+,\d+"?(?=;|\r?$)', re.MULTILINE)
# Bytes that are unpacked at once, and that tell the dialect of a CSV file.
_SAMPLE = 1 << 16
# Rows of a parquet file that are unpacked at once.
_ROWS = 256
_FORMATS = {
    **dict.fromkeys((".csv", ".csv.gz", ".tsv", ".tsv.gz"), "csv"),
    ".parquet": "parquet",
    **dict.fromkeys((".json", ".json.gz"), "json"),
    **dict.fromkeys((".jsonl", ".jsonl.gz", ".ndjson"), "jsonl"),
    **dict.fromkeys((".pkl", ".pickle"), "pickle"),
}


def as_path(path: Any, name: str) -> Path:
    """Check that an argument is a path."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"{name} must be the path of a file; got {type(path).__name__}."
        )
    return Path(path).expanduser()


def read_columns(
    path: Path, text: Collection[str] = TEXT_COLUMNS, max_bytes: int = MAX_BYTES
) -> Columns:
    """Read the columns of a CSV, parquet, JSON or pickle file, told by its ending.

    Columns of a CSV file that `text` names, and ``<model>|answer``, hold text, whatever
    it looks like. Those that `is_dropped` names are left out. A file that is damaged,
    of another format, or unpacked larger than `max_bytes` is a ``ValueError``.
    """
    kind = find_format(path)
    if kind is None:
        raise ValueError(
            f"path must end in {', '.join(_FORMATS)}; got {path.name!r}. Save the "
            "table in one of these formats."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"path {str(path)!r} is not a file. Give the path of a routing table."
        )
    try:
        _check_size(path.stat().st_size, max_bytes)
        if kind == "pickle":
            columns = read_pandas(read_pinned_pickle(path))
        elif kind == "parquet":
            columns = _read_parquet(path, max_bytes)
        elif kind == "csv":
            columns = _read_csv(_unpack(path, max_bytes), text)
        else:
            content = _unpack(path, max_bytes).getvalue().decode("utf-8-sig")
            records = _read_json(content) if kind == "json" else _read_jsonl(content)
            columns = read_records(records, max_bytes)
        names = [name for name, _ in columns]
        check_unique(names)
    except UnsafePickleError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(
            f"cannot read {path.name}: it is no text in UTF-8 ({error}). "
            "Save it again in UTF-8, which Excel calls 'CSV UTF-8'."
        ) from error
    except (
        *(ValueError, EOFError, RecursionError, OverflowError),
        *(gzip.BadGzipFile, zlib.error),
    ) as error:
        raise ValueError(f"cannot read {path.name}: {error}") from error
    return [(n, values) for n, values in columns if not is_dropped(n, names)]


def find_format(path: Path) -> str | None:
    """Tell the format of a table file by its ending; ``None`` for other files."""
    name = path.name.lower()
    return next((kind for end, kind in _FORMATS.items() if name.endswith(end)), None)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ValueError(
            f"it holds more than max_bytes={max_bytes:,}; if you trust where it comes "
            "from, give a larger max_bytes."
        )


def _unpack(path: Path, max_bytes: int) -> io.BytesIO:
    """Read a file, packed or not, and stop once it is larger than expected."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    content = io.BytesIO()
    with opener(path, "rb") as stream:
        while chunk := stream.read(_SAMPLE):
            content.write(chunk)
            _check_size(content.tell(), max_bytes)
    content.seek(0)
    return content


def _read_csv(content: io.BytesIO, text: Collection[str]) -> Columns:
    pandas = require("pandas", "reading a CSV file")
    options = {"encoding": "utf-8-sig", "keep_default_na": False}
    options |= _find_dialect(content.read(_SAMPLE))
    content.seek(0)
    try:
        header = pandas.read_csv(content, header=None, nrows=1, dtype=str, **options)
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
    texts = [
        name
        for name in names
        if name in text or normalize(name) in text or name.endswith(ANSWER_ENDING)
    ]
    numbers = [name for name in names if name not in texts]
    content.seek(0)
    frame = pandas.read_csv(
        content,
        dtype=dict.fromkeys(texts, str),
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
    return read_pandas(frame)


def _find_dialect(sample: bytes) -> dict[str, str]:
    """Tell what separates the fields of a CSV file, by its header."""
    header = re.sub(rb'"[^"]*"', b"", sample.split(b"\n", 1)[0])
    found = max(_SEPARATORS, key=lambda separator: header.count(separator.encode()))
    comma = found == ";" and _DECIMAL_COMMA.search(sample) is not None
    return {"sep": found, "decimal": "," if comma else "."}


def _read_parquet(path: Path, max_bytes: int) -> Columns:
    user = "reading a parquet file"
    pyarrow, parquet = require("pyarrow", user), require("pyarrow.parquet", user)
    require("pandas", user)
    try:
        with parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
            _check_size(sum(group.total_byte_size for group in groups), max_bytes)
            # Repeated values are stored once, so only unpacking tells the true size.
            batches, size = [], 0
            for batch in file.iter_batches(_ROWS):
                size += batch.nbytes
                _check_size(size, max_bytes)
                batches.append(batch)
            table = pyarrow.Table.from_batches(batches, file.schema_arrow)
        return read_pandas(table.to_pandas())
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        # pyarrow raises errors of many kinds for a damaged file.
        raise ValueError(f"pyarrow cannot read it ({error})") from error


def _read_json(content: str) -> list[Any]:
    records = json.loads(content)
    if not isinstance(records, list):
        raise ValueError(
            f"it holds a {type(records).__name__}; a JSON table is a list of records. "
            "With pandas, write it by to_json(orient='records')."
        )
    return records


def _read_jsonl(content: str) -> list[Any]:
    records = []
    # Not splitlines: a text may hold other line ends than this one.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is not a JSON record: {error}") from None
    return records

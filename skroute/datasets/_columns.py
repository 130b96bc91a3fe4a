"""Columns of a table file, whatever its format."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from skroute._optional import require
from skroute.datasets._dataframes import (
    MAX_BYTES,
    Columns,
    check_unique,
    pandas_columns,
    record_columns,
)
from skroute.datasets._frames import frame_columns
from skroute.datasets._layouts import (
    ROW_INDEX,
    TEXT_COLUMNS,
    is_dropped,
    normalize,
)
from skroute.datasets._unpickle import restricted_load

__all__ = ["MAX_BYTES", "read_columns", "table_format"]

# A prompt that reads "NA" is a prompt, so these count in columns of numbers only.
_MISSING = ["", "NA", "N/A", "<NA>", "NaN", "nan", "None", "null", "NULL"]
_SEPARATORS = (",", ";", "\t")
# Where fields are parted by semicolons, a comma is often that of a fraction.
_DECIMAL_COMMA = re.compile(rb'(?:^|;)"?-?\d+,\d+"?(?=;|\r?$)', re.MULTILINE)
_SAMPLE = 1 << 16
# Rows of a parquet file that are unpacked at once.
_ROWS = 256
_FORMATS = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".tsv.gz": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".json.gz": "json",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".pkl": "pickle",
    ".pickle": "pickle",
}


def read_columns(
    path: Path, text: Collection[str] = TEXT_COLUMNS, max_bytes: int = MAX_BYTES
) -> Columns:
    """Read the columns of a CSV, parquet, JSON or pickle file.

    Parameters
    ----------
    path : Path
        The file; its ending tells the format.
    text : collection of str, default=TEXT_COLUMNS
        Columns of a CSV file that hold text, whatever it looks like.
    max_bytes : int, default=MAX_BYTES
        Largest size of the table, unpacked.

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
        If the format is unknown, the file is damaged or too large, in memory too, or
        columns share a name.
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
        _check_size(path.stat().st_size, max_bytes)
        if kind == "csv":
            columns = _read_csv(path, text, max_bytes)
        elif kind == "parquet":
            columns = _read_parquet(path, max_bytes)
        else:
            columns = readers[kind](path, max_bytes)
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


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ValueError(
            f"it holds more than max_bytes={max_bytes:,}; if you trust where it comes "
            "from, give a larger max_bytes."
        )


class _Bounded(io.RawIOBase):
    """Bytes of a stream, which must not be more than expected.

    Parameters
    ----------
    stream : binary file
        Where they come from; it may unpack them.
    max_bytes : int
        Their largest number.
    """

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._taken = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes."""
        content = self._stream.read(len(buffer))
        self._taken += len(content)
        _check_size(self._taken, self._max_bytes)
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[IO[bytes]]:
    """Open a file, packed or not."""
    opener = gzip.open if _ends(path, ".gz") else open
    with opener(path, "rb") as stream:
        yield io.BufferedReader(_Bounded(cast(IO[bytes], stream), max_bytes))


def _read_csv(path: Path, text: Collection[str], max_bytes: int) -> Columns:
    pandas = require("pandas", "reading a CSV file")
    options = {"encoding": "utf-8-sig", "keep_default_na": False}
    with _opened(path, max_bytes) as stream:
        options |= _dialect(stream.read(_SAMPLE))
    try:
        with _opened(path, max_bytes) as stream:
            header = pandas.read_csv(stream, header=None, nrows=1, dtype=str, **options)
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
    texts = [name for name in names if name in text or normalize(name) in text]
    numbers = [name for name in names if name not in texts]
    with _opened(path, max_bytes) as stream:
        frame = pandas.read_csv(
            stream,
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
    return pandas_columns(frame)


def _dialect(sample: bytes) -> dict[str, str]:
    """Tell what parts the fields of a CSV file, by its header."""
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
            # Repeated values are stored once: only what is unpacked tells its size.
            batches, size = [], 0
            for batch in file.iter_batches(_ROWS):
                size += batch.nbytes
                _check_size(size, max_bytes)
                batches.append(batch)
            table = pyarrow.Table.from_batches(batches, file.schema_arrow)
        return pandas_columns(table.to_pandas())
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        # A damaged file fails in all of pyarrow's ways; some are no ValueError.
        raise ValueError(f"pyarrow cannot read it ({error})") from error


def _read_json(path: Path, max_bytes: int) -> Columns:
    records = json.loads(_text(path, max_bytes))
    if not isinstance(records, list):
        raise ValueError(
            f"it holds a {type(records).__name__}; a JSON table is a list of records. "
            "With pandas, write it by to_json(orient='records')."
        )
    return record_columns(records, max_bytes)


def _read_jsonl(path: Path, max_bytes: int) -> Columns:
    records = []
    # Not splitlines: a text may hold other line ends than this one.
    for number, line in enumerate(_text(path, max_bytes).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is not a JSON record: {error}") from None
    return record_columns(records, max_bytes)


def _read_pickle(path: Path, max_bytes: int) -> Columns:
    # In memory, where no opcode can ask for more bytes than there are.
    content = path.read_bytes()
    return frame_columns(restricted_load(io.BytesIO(content)), len(content))


def _text(path: Path, max_bytes: int) -> str:
    with _opened(path, max_bytes) as stream:
        return stream.read().decode("utf-8-sig")

"""A pandas DataFrame read off the inert notes of a pickle, without pandas."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from skroute.datasets._unpickle import Node

__all__ = ["frame_columns"]

# Boolean, integer, floating point, object and text; nothing structured or dated.
_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|O8?|U\d{1,6}")
_PLAIN = ("raw array", "buffer array")
_ARROW_OFFSETS = {"string": "<i4", "large_string": "<i8"}


class _NotATableError(ValueError):
    """The notes are not those of a DataFrame of text and numbers."""


# Parts of a pickle can be named many times, so that little unfolds into much. Tables
# that pandas wrote name each once.
_UNFOLDED = 4


class _Budget:
    """Bytes and cells that may still be taken out of a pickle."""

    def __init__(self, size: int) -> None:
        self.left = _UNFOLDED * size + 65536

    def take(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise _NotATableError("it unfolds into far more than the file holds")


def frame_columns(tree: Any, size: int) -> list[tuple[str, np.ndarray]]:
    """Read the columns of a pickled DataFrame; its row index is ignored.

    Parameters
    ----------
    tree : object
        What :func:`skroute.datasets._unpickle.restricted_load` gave.
    size : int
        Bytes of the pickle. The columns take no more than some 40 times as much.

    Returns
    -------
    list of (str, ndarray of shape (n_rows,))
        Names and values of the columns, in their order. Values are numeric arrays or
        object arrays of plain Python values, ``None`` where missing.

    Raises
    ------
    ValueError
        If `tree` is not a DataFrame, has columns of other types than text and numbers,
        or contradicts itself.
    """
    try:
        return _columns(tree, _Budget(size))
    except _NotATableError as error:
        raise ValueError(
            f"the pickle holds no readable DataFrame: {error}. Save the table with "
            "to_csv or to_parquet instead."
        ) from None
    except Exception as error:
        # Anything may stand where a shape, a buffer or a name is expected.
        raise ValueError(
            f"the pickled DataFrame contradicts itself ({error}); the file is damaged "
            "or was tampered with."
        ) from error


def _columns(tree: Any, budget: _Budget) -> list[tuple[str, np.ndarray]]:
    manager = _expect(_expect(tree, "frame").state["_mgr"], "manager")
    blocks, axes = manager.args
    names = _names(axes[0], budget)
    columns: dict[int, np.ndarray] = {}
    for block in blocks:
        values, placement = _expect(block, "block").args[:2]
        table = _values(values, budget)
        # Extension arrays hold one column and have one axis.
        table = table.reshape(1, -1) if table.ndim == 1 else table
        for where, column in zip(_positions(placement, budget), table, strict=True):
            if where in columns or not 0 <= where < len(names):
                raise _NotATableError(f"column {where} is stored twice or has no name")
            columns[where] = column
    if len(columns) < len(names):
        raise _NotATableError("a column has a name but no values")
    if len({column.shape for column in columns.values()}) > 1:
        raise _NotATableError("its columns differ in length")
    return [(name, columns[where]) for where, name in enumerate(names)]


def _expect(value: Any, *roles: str) -> Node:
    """Check what a note is about."""
    if not isinstance(value, Node):
        found = type(value).__name__
    elif value.role not in roles:
        found = value.role
    else:
        return value
    raise _NotATableError(f"it has a {found} where a {' or '.join(roles)} belongs")


def _names(index: Any, budget: _Budget) -> list[str]:
    _, fields = _expect(index, "index").args
    if "data" not in fields:
        raise _NotATableError("its columns are numbered, not named")
    return [str(name) for name in _values(fields["data"], budget)]


def _positions(placement: Any, budget: _Budget) -> Sequence[int]:
    """Read which columns a block holds."""
    if isinstance(placement, Node) and placement.role == "slice":
        start, stop, step = placement.args
        return range(start, stop, 1 if step is None else step)
    return [int(where) for where in _values(placement, budget)]


def _values(node: Any, budget: _Budget) -> np.ndarray:
    """Read an array of any kind that a column may have."""
    node = _expect(node, *_PLAIN, "masked array", "backed array", "arrow strings")
    if node.role == "masked array":
        numbers = _ndarray(node.state["_data"], budget).astype(np.float64)
        numbers[_ndarray(node.state["_mask"], budget).astype(bool)] = np.nan
        return numbers
    if node.role == "backed array":
        # The order of dtype and values in the state changed between versions.
        _, values = sorted(node.state[:2], key=lambda part: part.role != "pandas dtype")
        return _ndarray(values, budget)
    if node.role == "arrow strings":
        return _strings(node.state["_pa_array"], budget)
    return _ndarray(node, budget)


def _ndarray(node: Any, budget: _Budget) -> np.ndarray:
    """Read a numpy array; every size is checked before memory is asked for."""
    node = _expect(node, *_PLAIN)
    if node.role == "buffer array":
        data, dtype, shape, order = node.args
    else:
        _, shape, dtype, fortran, data = node.state
        order = "F" if fortran else "C"
    if len(shape) > 2 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise _NotATableError("it has an array of no shape")
    dtype, size = _dtype(dtype), math.prod(shape)
    if size == 0:
        return np.empty(shape, dtype)
    if dtype.kind != "O":
        numbers = np.frombuffer(_bytes(data, budget), dtype)
        return numbers.reshape(shape, order=order)
    if not isinstance(data, list) or len(data) != size:
        raise _NotATableError(f"an array of shape {shape} has other contents")
    budget.take(size)
    cells = np.empty(size, dtype=object)
    for i, cell in enumerate(data):
        cells[i] = _cell(cell, budget)
    return cells.reshape(shape, order=order)


def _dtype(node: Any) -> np.dtype:
    node = _expect(node, "dtype")
    code, order = node.args[0], node.state[1]
    if not _DTYPE.fullmatch(code) or order not in ("<", ">", "|", "="):
        raise _NotATableError(f"it has a column of type {code!r}, not text or numbers")
    return np.dtype("O" if code[0] == "O" else order + code)


def _cell(cell: Any, budget: _Budget) -> Any:
    """Read one value of an object array."""
    if cell is None or isinstance(cell, str | bool | int | float):
        return cell
    # pandas.NA is a name, not a call, so it arrives as the class of its notes.
    if isinstance(cell, type) and cell.role == "missing":  # type: ignore[attr-defined]
        return None
    if isinstance(cell, list) and all(isinstance(part, str) for part in cell):
        budget.take(sum(len(part) + 4 for part in cell))
        return str(cell)  # a prompt of several turns, as to_csv writes it
    dtype, data = _expect(cell, "scalar").args
    return np.frombuffer(_bytes(data, budget), _dtype(dtype))[0].item()


def _bytes(data: Any, budget: _Budget) -> bytes:
    if isinstance(data, bytes | bytearray):
        budget.take(len(data))
        return bytes(data)
    node = _expect(data, "encode", "bytes", "bytearray", "arrow buffer")
    if node.role == "encode":
        text, encoding = node.args
        if encoding != "latin1":
            raise _NotATableError(f"its bytes are encoded as {encoding!r}")
        budget.take(len(text))
        return text.encode("latin1")
    return _bytes(node.args[0], budget) if node.args else b""


def _strings(node: Any, budget: _Budget) -> np.ndarray:
    """Read a text column kept in Arrow's layout: offsets into one run of UTF-8."""
    node = _expect(node, "arrow array", "arrow chunks")
    if node.role == "arrow chunks":
        chunks = [
            _strings(_expect(chunk, "arrow array"), budget) for chunk in node.args[0]
        ]
        return np.concatenate([np.empty(0, dtype=object), *chunks])
    kind, length, _, start, buffers, _, _ = node.args[0]
    alias = _expect(kind, "arrow type").args[0]
    if alias not in _ARROW_OFFSETS:
        raise _NotATableError(f"it has a column of type {alias!r}, not text or numbers")
    present, ends, text = (
        b"" if part is None else _bytes(part, budget) for part in buffers
    )
    if length == 0:
        return np.empty(0, dtype=object)
    stop = start + length
    offsets = np.frombuffer(ends, _ARROW_OFFSETS[alias], count=stop + 1)[start:]
    if offsets[0] < 0 or (np.diff(offsets) < 0).any() or offsets[-1] > len(text):
        raise _NotATableError("its text lies outside of its buffer")
    cells = np.full(length, None, dtype=object)
    shown = np.ones(length, dtype=bool)
    if present:
        bits = np.unpackbits(np.frombuffer(present, np.uint8), bitorder="little")
        shown = bits[start:stop].astype(bool)
    for i in np.flatnonzero(shown):
        cells[i] = text[offsets[i] : offsets[i + 1]].decode("utf-8")
    return cells

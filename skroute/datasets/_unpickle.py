"""Reading a pickle without running it.

A pickle is a program: it names functions and classes, and has the reader call them.
Letting it call only numpy's and pandas' own is not enough, because these trust their
arguments. A crafted ``numpy.dtype`` state can pass bytes off as object pointers, and
``pyarrow`` follows whatever offsets it is given. So nothing that a pickle names is ever
called here. Every allowed name is replaced by a class of inert notes, :class:`Node`,
which writes down with what it was called; names outside the list are refused.
:mod:`skroute.datasets._frames` then reads a table off the notes, checking each.

What that leaves to a hostile file:

- REDUCE, NEWOBJ, OBJ and INST call a Node class, which stores the arguments;
- BUILD finds ``Node.__setstate__``, which stores the state; other things on the stack
  (numbers, text, lists, dicts) have neither a ``__setstate__`` nor attributes to set;
- opcodes that reach for something outside of the pickle (extension codes, persistent
  ids, out-of-band buffers) are refused before anything is loaded;
- so are memo numbers without as many values, for which the unpickler would make room,
  and dicts and sets of very many items: keys can be chosen so that each is compared
  with all before it, and no table needs them.

So a file takes time and memory in proportion to its size, and cannot act. What the
notes are turned into is bounded in :mod:`skroute.datasets._frames`.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import IO, Any

from skroute.exceptions import UnsafePickleError

__all__ = ["Node", "restricted_load"]


class Node:
    """A call that a pickle asks for, written down instead of carried out.

    Parameters
    ----------
    *args : object
        Arguments of the call.

    Attributes
    ----------
    role : str
        What was called, in the vocabulary of this module.
    args : tuple
        Arguments of the call.
    state : object
        What the result was told to be (``__setstate__``), ``None`` if nothing.
    """

    role = ""

    args: tuple
    state: Any

    def __new__(cls, *args: Any) -> Node:
        node = object.__new__(cls)
        node.args = args
        node.state = None
        return node

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _scalar_types(kinds: list[str], modules: list[str]) -> list[str]:
    return [f"{module}.{kind}Dtype" for module in modules for kind in kinds]


_SIZES = ["8", "16", "32", "64"]
# What DataFrames are made of, by role: numpy 1 (numpy.core) and 2 (numpy._core), and
# pandas 1.3 to 3, which moved its public classes.
_NAMES = {
    "frame": ["pandas.core.frame.DataFrame", "pandas.DataFrame"],
    "manager": ["pandas.core.internals.managers.BlockManager"],
    "block": ["pandas._libs.internals._unpickle_block"],
    "index": ["pandas.core.indexes.base._new_Index"],
    "index class": [
        "pandas.core.indexes.base.Index",
        "pandas.Index",
        "pandas.core.indexes.numeric.Int64Index",
        "pandas.core.indexes.numeric.UInt64Index",
        "pandas.core.indexes.numeric.Float64Index",
        "pandas.core.indexes.range.RangeIndex",
        "pandas.RangeIndex",
    ],
    "masked array": [
        "pandas.core.arrays.boolean.BooleanArray",
        "pandas.core.arrays.floating.FloatingArray",
        "pandas.core.arrays.integer.IntegerArray",
        "pandas.arrays.BooleanArray",
        "pandas.arrays.FloatingArray",
        "pandas.arrays.IntegerArray",
    ],
    "backed array": ["pandas._libs.arrays.__pyx_unpickle_NDArrayBacked"],
    "string array": [
        "pandas.core.arrays.string_.StringArray",
        "pandas.core.arrays.string_.StringArrayNumpySemantics",
        "pandas.arrays.StringArray",
    ],
    "arrow strings": [
        "pandas.core.arrays.string_arrow.ArrowStringArray",
        "pandas.core.arrays.string_arrow.ArrowStringArrayNumpySemantics",
        "pandas.arrays.ArrowStringArray",
    ],
    "arrow array": ["pyarrow.lib._restore_array"],
    "arrow chunks": ["pyarrow.lib.chunked_array"],
    "arrow type": ["pyarrow.lib.type_for_alias"],
    "arrow buffer": ["pyarrow.lib.py_buffer"],
    "missing": ["pandas._libs.missing.NA", "pandas.NA"],
    "pandas dtype": [
        *_scalar_types(["Boolean"], ["pandas.core.arrays.boolean", "pandas"]),
        *_scalar_types(["String"], ["pandas.core.arrays.string_", "pandas"]),
        *_scalar_types(
            [f"Float{size}" for size in _SIZES[2:]],
            ["pandas.core.arrays.floating", "pandas"],
        ),
        *_scalar_types(
            [f"{sign}{size}" for sign in ("Int", "UInt") for size in _SIZES],
            ["pandas.core.arrays.integer", "pandas"],
        ),
    ],
    "ndarray": ["numpy.ndarray"],
    "dtype": ["numpy.dtype"],
    "raw array": [
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
    ],
    "buffer array": [
        "numpy.core.numeric._frombuffer",
        "numpy._core.numeric._frombuffer",
    ],
    "scalar": ["numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"],
    # Protocols below 3 write bytes as encoded text, and know Python 2's builtins.
    "encode": ["_codecs.encode"],
    "bytes": ["builtins.bytes", "__builtin__.bytes"],
    "bytearray": ["builtins.bytearray", "__builtin__.bytearray"],
    "slice": ["builtins.slice", "__builtin__.slice"],
}

_ALLOWED = {
    tuple(name.rsplit(".", 1)): type(role, (Node,), {"role": role})
    for role, names in _NAMES.items()
    for name in names
}


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that turns allowed names into Nodes and refuses all others."""

    def find_class(self, module: str, name: str) -> type[Node]:
        """Look a name up in the allow-list only; nothing is imported."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UnsafePickleError(
                f"the pickle asks for '{module}.{name}', which no routing table needs, "
                "so it was not read. If you trust where it comes from, open it with "
                "pandas.read_pickle, keep text and number columns only, and save it "
                "with to_parquet."
            ) from None


# Extension codes may be resolved without asking find_class; the others need hooks.
_OUTWARD = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"}
_MOST_ITEMS = 10_000


def _effect(opcode: pickletools.OpcodeInfo) -> tuple[bool, int, int, int]:
    """What an opcode does to the stack.

    Whether it takes all down to a mark, how many values (below that), how many it
    leaves, and of a dict or a set, halves of an item per value.
    """
    before = opcode.stack_before
    marked = pickletools.markobject in before
    taken = before.index(pickletools.markobject) if marked else len(before)
    items = {"SETITEMS": 1, "DICT": 1, "ADDITEMS": 2, "FROZENSET": 2, "SETITEM": 1}
    return marked, taken, len(opcode.stack_after), items.get(opcode.name, 0)


_EFFECTS = {opcode.name: _effect(opcode) for opcode in pickletools.opcodes}


def _check_opcodes(file: IO[bytes]) -> None:
    """Read a pickle's opcodes without loading it, and refuse the odd ones."""
    depth, n_memo, halves = 0, 0, 0
    marks: list[int] = []
    for opcode, argument, position in pickletools.genops(file):
        name = opcode.name
        if name in _OUTWARD:
            raise UnsafePickleError(
                f"the pickle has the opcode {name} at byte {position}, which "
                "reaches outside of the file, so it was not read. Save the table with "
                "to_pickle, to_csv or to_parquet."
            )
        if name.endswith("PUT"):
            # Memo numbers are given in turn, each by an opcode of its own.
            if int(argument or 0) > n_memo:
                raise ValueError(
                    f"memo number {argument} at byte {position} is too large"
                )
            n_memo += 1
        elif name == "MEMOIZE":
            n_memo += 1
        elif name == "MARK":
            marks.append(depth)
            continue
        elif name == "POP" and marks and marks[-1] == depth:
            marks.pop()
            continue
        marked, taken, left, items = _EFFECTS[name]
        if marked:
            if not marks:
                raise ValueError(f"the opcode {name} at byte {position} has no mark")
            start = marks.pop()
            halves += items * (depth - start)
            depth = start
        else:
            halves += 2 * items
        depth += left - taken
        if halves > 2 * _MOST_ITEMS:
            raise UnsafePickleError(
                f"the pickle has dicts or sets of more than {_MOST_ITEMS} items, which "
                "no routing table needs, so it was not read. Keep text and number "
                "columns only, and save the table with to_parquet."
            )


def restricted_load(file: IO[bytes]) -> Any:
    """Read a pickle as inert notes.

    Parameters
    ----------
    file : seekable binary file
        Where to read from; nothing of it is executed.

    Returns
    -------
    object
        Plain Python values, and a :class:`Node` for each call the pickle asks for.

    Raises
    ------
    UnsafePickleError
        If the pickle names anything outside the allow-list, or reaches outside of
        the file in another way.
    ValueError
        If it is damaged, or is not a pickle.
    """
    try:
        start = file.tell()
        _check_opcodes(file)
        file.seek(start)
        return _RestrictedUnpickler(file).load()
    except UnsafePickleError:
        raise
    except Exception as error:
        # Damaged bytes make the unpickler raise nearly any kind of exception.
        raise ValueError(
            f"not a readable pickle ({type(error).__name__}: {error})"
        ) from error

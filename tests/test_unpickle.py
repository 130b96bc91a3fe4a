"""Pickles are read without running them."""

from __future__ import annotations

import functools
import io
import operator
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas._libs.internals import _unpickle_block
from pandas.core.internals.managers import BlockManager

from skroute.datasets._frames import frame_columns
from skroute.datasets._unpickle import restricted_load
from skroute.exceptions import UnsafePickleError

try:
    from numpy._core.multiarray import _reconstruct
except ImportError:  # numpy 1
    from numpy.core.multiarray import _reconstruct

OLD_FRAME = Path(__file__).parent / "data" / "frame_pandas_1.pkl"


class Call:
    """Pickles as a call of a function, and optionally of its result's __setstate__."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced


def load(content: bytes):
    return restricted_load(io.BytesIO(content))


def table(content: bytes) -> dict[str, np.ndarray]:
    return dict(frame_columns(load(content), len(content)))


def columns(frame: pd.DataFrame, protocol: int = 5) -> dict[str, np.ndarray]:
    return table(pickle.dumps(frame, protocol=protocol))


@pytest.mark.parametrize(
    "call",
    [
        Call(os.system, "true"),
        Call(eval, "1"),
        Call(exec, "pass"),
        Call(getattr, (), "count"),
        Call(open, "x"),
        Call(__import__, "os"),
        Call(functools.partial, print),
        Call(operator.attrgetter, "x"),
        Call(np.load, "x"),
        Call(np.asarray, [1]),
        Call(pd.read_pickle, "x"),
        Call(pickle.loads, b"N."),
        Call(Path, "x"),
    ],
    ids=lambda call: getattr(call.reduced[0], "__name__", ""),
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_functions_outside_the_list_are_refused_by_name(call, protocol):
    name = call.reduced[0].__name__
    with pytest.raises(UnsafePickleError, match=rf"\.{name}'.*not read"):
        load(pickle.dumps(call, protocol=protocol))


def test_nothing_runs_wherever_the_call_hides(tmp_path):
    mark = tmp_path / "mark"
    call = Call(os.mkdir, str(mark))
    frame = pd.DataFrame({"prompt": ["a", "b"]}, dtype=object)
    frame.loc[0, "prompt"] = call
    for hiding in (call, [call], {"key": call}, (1, {"a": [call]}), frame):
        with pytest.raises(UnsafePickleError, match=r"mkdir"):
            load(pickle.dumps(hiding))
    assert not mark.exists()


def test_dotted_names_do_not_reach_past_the_list():
    # STACK_GLOBAL with 'numpy' and 'ndarray.tofile' walks attributes in a usual load.
    content = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    assert pickle.loads(content) is np.ndarray.tofile
    with pytest.raises(UnsafePickleError, match=r"numpy\.ndarray\.tofile"):
        load(content)


def test_allowed_names_are_not_the_real_ones():
    content = pickle.dumps([np.ndarray, np.dtype, pd.DataFrame, slice, bytearray])
    inert = load(content)
    assert not set(inert) & {np.ndarray, np.dtype, pd.DataFrame, slice, bytearray}


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02\x82\x01.",
        b"\x80\x02\x83\x01\x00.",
        b"\x80\x02\x84\x01\x00\x00\x00.",
        b"Pid\n.",
        b"\x80\x02U\x02idQ.",
        b"\x80\x05\x97.",
    ],
    ids=["EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"],
)
def test_opcodes_that_reach_outside_are_refused(content, request):
    with pytest.raises(UnsafePickleError, match=request.node.callspec.id):
        load(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1, 2])[:-1],
        pickle.dumps("text" * 100)[:50],
        # LONG_BINPUT of a memo number that would need gigabytes.
        b"\x80\x02Nr\x00\x00\x00\x40.",
        # BINBYTES8 that promises an exabyte.
        b"\x80\x04\x8e" + (2**60).to_bytes(8, "little") + b"x.",
        # BUILD and APPEND on an allowed class instead of on its object.
        b"\x80\x02cnumpy\nndarray\nNb.",
        b"\x80\x02cnumpy\nndarray\nNa.",
    ],
)
def test_damaged_pickles_are_value_errors(content):
    with pytest.raises(ValueError, match="not a readable pickle"):
        load(content)


def _tampered_dtype() -> Call:
    """Give a dtype of objects whose flags deny that it holds references."""
    return Call(
        np.dtype, "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0)
    )


def _array(shape, dtype, content) -> Call:
    state = (1, shape, dtype, False, content)
    return Call(_reconstruct, np.ndarray, (0,), b"b", state=state)


class _Frame:
    """Pickles as a DataFrame of one column whose values are put in by force."""

    def __init__(self, values):
        frame = pd.DataFrame({"model": [1.0, 0.0]})
        block = Call(_unpickle_block, values, slice(0, 1, 1), 2)
        self.manager = Call(BlockManager, (block,), [frame.columns, frame.index])

    def __reduce__(self):
        return pd.DataFrame, (), {"_mgr": self.manager, "_typ": "dataframe"}


def test_crafted_frame_is_otherwise_well_formed():
    content = pickle.dumps(_Frame(np.array([[1.0, 0.0]])))
    [(name, values)] = table(content).items()
    assert name == "model"
    assert values.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "values",
    [
        _array((1, 2), _tampered_dtype(), b"\x41" * 16),
        _array((1, 10**12), np.dtype("O"), []),
        _array((1, 10**12), np.dtype("f8"), b"\x00" * 16),
        _array((1, -2), np.dtype("O"), [1, 2]),
        _array((1, 2), np.dtype("O"), [{}, set()]),
        _array((1, 2), np.dtype("M8[ns]"), b"\x00" * 16),
        _array((1, 2), np.dtype([("a", "f8")]), b"\x00" * 16),
        _array(None, None, None),
        _array((2, 2), np.dtype("f8"), b"\x00" * 32),
        [1.0, 0.0],
        None,
    ],
    ids=[
        "objects from bytes",
        "huge object array",
        "huge number array",
        "negative shape",
        "odd cells",
        "dates",
        "structured",
        "no state",
        "two columns for one place",
        "list",
        "nothing",
    ],
)
def test_crafted_values_do_no_harm(values):
    notes = load(pickle.dumps(_Frame(values)))
    with pytest.raises(ValueError, match="pickle"):
        frame_columns(notes, 10**6)


def test_arrow_offsets_outside_of_the_text_are_refused():
    pytest.importorskip("pyarrow")
    texts = pd.array(["abc", "de"], dtype="string[pyarrow]")
    frame = pd.DataFrame({"prompt": texts})
    content = pickle.dumps(frame)
    assert columns(frame)["prompt"].tolist() == ["abc", "de"]
    offsets = np.array([0, 3, 5], dtype="<i8").tobytes()
    assert content.count(offsets) == 1
    beyond = np.array([0, 3, 10**9], dtype="<i8").tobytes()
    with pytest.raises(ValueError, match="outside of its buffer"):
        table(content.replace(offsets, beyond))


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        {"a": [1]},
        np.arange(3),
        pd.Series([1, 2]),
    ],
    ids=["None", "int", "dict", "array", "Series"],
)
def test_other_objects_are_not_tables(value):
    with pytest.raises((ValueError, UnsafePickleError), match=r"to_csv|to_parquet"):
        table(pickle.dumps(value))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_columns_of_every_supported_type_survive(protocol):
    frame = pd.DataFrame(
        {
            "text": ["a", "", "ü € 漢"],
            "missing text": ["a", None, "c"],
            "float": [0.1, np.nan, -2.5],
            "single": np.array([1, 2, 3], dtype=np.float32),
            "int": [1, 2, -3],
            "byte": np.array([1, 2, 3], dtype=np.uint8),
            "bool": [True, False, True],
            "object": pd.Series([1.0, None, True], dtype=object),
            "scalar": pd.Series([np.float64(0.5), np.bool_(True), pd.NA], dtype=object),
            "turns": pd.Series([["a"], ["b", "c"], []], dtype=object),
            "string": pd.array(["x", None, "z"], dtype="string"),
            "Float64": pd.array([0.5, None, 1.0], dtype="Float64"),
            "Int8": pd.array([1, None, 3], dtype="Int8"),
            "boolean": pd.array([True, None, False], dtype="boolean"),
        }
    )
    frame.index = ["r0", "r1", "r2"]
    read = columns(frame, protocol)
    assert list(read) == frame.columns.tolist()
    for name in ("float", "single", "int", "byte", "bool"):
        np.testing.assert_array_equal(read[name], frame[name].to_numpy())
    assert read["text"].tolist() == ["a", "", "ü € 漢"]
    assert read["missing text"][[0, 2]].tolist() == ["a", "c"]
    assert pd.isna(read["missing text"][1])
    assert read["object"].tolist() == [1.0, None, True]
    assert read["scalar"].tolist() == [0.5, True, None]
    assert read["turns"].tolist() == ["['a']", "['b', 'c']", "[]"]
    assert read["string"][[0, 2]].tolist() == ["x", "z"]
    for name in ("Float64", "Int8", "boolean"):
        expected = frame[name].to_numpy(dtype=float, na_value=np.nan)
        np.testing.assert_array_equal(read[name], expected)


def test_slices_keep_their_own_rows_and_columns():
    frame = pd.DataFrame({"a": range(6), "t": list("uvwxyz"), "b": np.arange(6) / 2})
    part = frame.loc[[4, 1], ["b", "t", "a"]]
    read = columns(part)
    assert list(read) == ["b", "t", "a"]
    assert read["b"].tolist() == [2.0, 0.5]
    assert read["t"].tolist() == ["y", "v"]
    assert read["a"].tolist() == [4, 1]


def test_big_endian_and_fortran_order():
    values = np.asfortranarray(np.arange(6, dtype=">f8").reshape(3, 2))
    read = columns(pd.DataFrame(values, columns=["a", "b"]))
    assert read["a"].tolist() == [0.0, 2.0, 4.0]
    assert read["b"].tolist() == [1.0, 3.0, 5.0]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1.0, 2.0]]),
        pd.DataFrame({"when": pd.to_datetime(["2024-01-01"])}),
        pd.DataFrame({"kind": pd.Categorical(["a"])}),
    ],
    ids=["numbered columns", "dates", "categories"],
)
def test_unsupported_frames_say_how_to_save_them(frame):
    with pytest.raises((ValueError, UnsafePickleError), match=r"to_parquet"):
        columns(frame)


def test_frame_written_by_pandas_1_5_and_numpy_1_24():
    read = table(OLD_FRAME.read_bytes())
    assert list(read)[:6] == [
        "sample_id",
        "prompt",
        "eval_name",
        "org/small",
        "org/big",
        "org/flag",
    ]
    assert read["prompt"][0] == "['Question 0?']"
    np.testing.assert_array_equal(read["org/small"], [1.0, 0.0, 1.0, np.nan, 0.25, 1.0])
    assert read["org/flag"].tolist() == [True, False, True, True, False, True]
    np.testing.assert_allclose(read["org/big|total_cost"], np.arange(1, 7) * 1e-3)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_mutated_pickles_give_columns_or_a_clear_error(data):
    content = bytearray(OLD_FRAME.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(content) - 1))
        content[where] = data.draw(st.integers(0, 255))
    try:
        read = table(bytes(content))
    except (ValueError, UnsafePickleError):
        return
    assert all(values.ndim == 1 for values in read.values())


# Bombs: small files that would unfold into much memory, or take for ever.


class _Shared:
    """Pickles as a DataFrame whose columns all have the same values."""

    def __init__(self, n_columns: int, values: Any):
        names = pd.Index([f"c{i}" for i in range(n_columns)], dtype=object)
        blocks = [
            Call(_unpickle_block, values, slice(i, i + 1, 1), 2)
            for i in range(n_columns)
        ]
        axes = [names, pd.RangeIndex(2)]
        self.manager = Call(BlockManager, tuple(blocks), axes)

    def __reduce__(self):
        return pd.DataFrame, (), {"_mgr": self.manager, "_typ": "dataframe"}


def shared(n_columns: int, values: Any) -> bytes:
    return pickle.dumps(_Shared(n_columns, values))


@pytest.mark.slow
def test_one_array_named_many_times_is_refused():
    block = np.zeros((1, 20_000), dtype=np.int8)
    assert len(table(shared(2, block))) == 2
    content = shared(2000, block)
    assert len(content) < 250_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="unfolds into far more"):
        table(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_one_cell_named_many_times_is_refused():
    turns = ["a" * 10_000] * 100
    cells = np.empty((1, 1000), dtype=object)
    cells[0] = [turns] * 1000
    with pytest.raises(ValueError, match="unfolds into far more"):
        table(shared(1, cells))


def test_masks_of_masks_are_refused():
    inner: Any = np.ones(2, dtype=np.int8)
    for _ in range(60):
        inner = _Masked(inner)
    with pytest.raises(ValueError, match="masked array where"):
        table(shared(1, inner))


class _Masked:
    """Pickles as a masked array whose numbers and mask are the same thing."""

    def __init__(self, inner: Any):
        self.inner = inner

    def __reduce__(self):
        kind = type(pd.array([1], dtype="Int8"))
        return kind, (), {"_data": self.inner, "_mask": self.inner}


def test_shapes_of_huge_numbers_are_refused():
    values = _array((10**4000,) * 100, np.dtype("f8"), b"")
    with pytest.raises(ValueError, match="array of no shape"):
        table(shared(1, values))


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("kind", [dict.fromkeys, set, frozenset])
def test_dicts_and_sets_of_very_many_items_are_refused(kind, protocol):
    """Keys that collide would be compared each with all before."""
    with pytest.raises(UnsafePickleError, match=r"dicts or sets|not read"):
        load(pickle.dumps([kind(range(20_000))], protocol=protocol))
    assert load(pickle.dumps(dict.fromkeys(range(5_000)), protocol=protocol))


def test_a_memo_of_nothing_is_refused():
    with pytest.raises(ValueError, match="too large"):
        load(pickle.PROTO + b"\x02N" + b"r" + (10**6).to_bytes(4, "little") + b".")

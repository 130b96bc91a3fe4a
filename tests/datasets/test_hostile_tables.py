"""Tables of strangers: damage, nonsense and bombs end in a clear error, or a table."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skroute.datasets import read_routerbench

pytestmark = pytest.mark.hostile

TEXT = b'prompt,a,b,a|total_cost,b|total_cost\n"x, y",1,0.5,1e-3,\nz,,1,2,3\n'
FRAME = pd.read_csv(io.BytesIO(TEXT))
KINDS = {
    "t.csv": TEXT,
    "t.csv.gz": gzip.compress(TEXT),
    "t.parquet": FRAME.to_parquet(),
}
WORDS = [b"\0", b"\xff", b'"', b",", b"\n", b"inf", b"1e999", b"9" * 400, b"-1", b"\r"]


def read(folder: Path, name: str, content: bytes, **options: Any) -> Any:
    file = folder / name
    file.write_bytes(content)
    return read_routerbench(file, **options)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_damaged_tables_give_a_table_or_a_clear_error(name, tmp_path_factory, data):
    content = bytearray(KINDS[name])
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, len(content)))
        with_ = data.draw(st.sampled_from(WORDS) | st.binary(max_size=3))
        content[where : where + data.draw(st.integers(0, 2))] = with_
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    try:
        table = read(folder, name, bytes(content))
    except ValueError:
        return
    assert table.quality.ndim == 2
    assert table.quality.dtype == np.float64


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_embeddings_give_an_array_or_a_clear_error(tmp_path_factory, data):
    made = io.BytesIO()
    np.save(made, np.eye(2))
    content = bytearray(made.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, len(content) - 1))
        content[where] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) or len(content) :]
    file = tmp_path_factory.getbasetemp() / "e.npy"
    file.write_bytes(content)
    try:
        table = read(file.parent, "t.csv", TEXT, embeddings=file)
    except ValueError:
        return
    assert table.data.shape[0] == 2


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999,), }\n",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n",
        "(" * 5000 + "\n",
        "__import__('os')\n",
    ],
)
def test_crafted_headers_of_embeddings_are_refused(tmp_path, text):
    header = text.encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "e.npy").write_bytes(content + b"\x80\x04N." + bytes(8))
    with pytest.raises(ValueError, match=r"embeddings 'e\.npy' is not an array"):
        read(tmp_path, "t.csv", TEXT, embeddings=tmp_path / "e.npy")


def bomb(name: str) -> bytes:
    """Some kilobytes that unfold into far more than two megabytes."""
    if name == "t.csv.gz":
        return gzip.compress(TEXT + b"a" * 10_000_000)
    texts = np.full(2_000, "a" * 10_000, dtype=object)
    return pd.DataFrame({"prompt": texts, "m": 1.0}).to_parquet()


@pytest.mark.parametrize("name", ["t.csv.gz", "t.parquet"])
def test_bombs_are_refused_before_they_unfold(tmp_path, name):
    content = bomb(name)
    assert len(content) < 200_000
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"more than max_bytes=2,000,000"):
        read(tmp_path, name, content, max_bytes=2_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize("name", KINDS)
def test_the_size_of_a_table_is_bounded(tmp_path, name):
    size = len(KINDS[name])
    with pytest.raises(ValueError, match=f"cannot read {name}.*max_bytes={size - 1:,}"):
        read(tmp_path, name, KINDS[name], max_bytes=size - 1)
    assert read(tmp_path, name, KINDS[name], max_bytes=20 * size).quality.shape[1] >= 2
    with pytest.raises(ValueError, match="max_bytes must be"):
        read(tmp_path, name, KINDS[name], max_bytes=0)


def test_prices_that_nest_without_end_are_refused(tmp_path):
    (tmp_path / "p.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"prices 'p\.json' is not JSON"):
        read(tmp_path, "t.csv", b"a,b\n1,2\n", prices=tmp_path / "p.json")
    (tmp_path / "p.json").write_text(json.dumps({"a": 10**400, "b": 1}))
    with pytest.raises(ValueError, match="finite"):
        read(tmp_path, "t.csv", b"a,b\n1,2\n", prices=tmp_path / "p.json")

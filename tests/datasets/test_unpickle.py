"""No pickle is opened but the published file, which is pinned by its hash."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skroute.datasets import _published as published
from skroute.datasets import from_long, from_wide, read_routerbench, read_table
from skroute.exceptions import UnsafePickleError

pytestmark = pytest.mark.hostile

#: A table in the published layout, pickled by pandas 1.5 as the published file was.
OLD_FRAME = Path(__file__).parents[1] / "data" / "frame_pandas_1.pkl"


class Mkdir:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a file that stands for the published one."""
    digest = hashlib.sha256(OLD_FRAME.read_bytes()).hexdigest()
    remote = replace(published.ROUTERBENCH, sha256=digest)
    monkeypatch.setattr(published, "ROUTERBENCH", remote)
    return OLD_FRAME


@pytest.mark.parametrize(
    "read",
    [read_routerbench, read_table, from_long, from_wide],
    ids=lambda f: f.__name__,
)
def test_nothing_runs_wherever_the_call_hides(tmp_path, read):
    mark, path = tmp_path / "mark", tmp_path / "t.pkl"
    call = Mkdir(mark)
    frame = pd.DataFrame({"prompt": ["a", "b"]}, dtype=object)
    frame.loc[0, "prompt"] = call
    for hiding in (call, [call], {"key": call}, (1, {"a": [call]}), frame):
        path.write_bytes(pickle.dumps(hiding))
        with pytest.raises(UnsafePickleError, match=r"t\.pkl was not read"):
            read(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps(pd.DataFrame({"m": [1.0, 0.0]})),
        OLD_FRAME.read_bytes(),
    ],
    ids=["empty", "text", "frame", "old frame"],
)
@pytest.mark.parametrize("name", ["t.pkl", "t.pickle", "T.PKL"])
def test_other_pickles_are_refused_with_the_way_out(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    way_out = rf"pandas\.read_pickle\('{path.name}'\)\.to_parquet\('{path.stem}\.parqu"
    with pytest.raises(UnsafePickleError, match=way_out):
        read_routerbench(path)


def test_the_way_out_works(tmp_path):
    pd.read_pickle(OLD_FRAME).to_parquet(tmp_path / "t.parquet")
    table = read_routerbench(tmp_path / "t.parquet")
    assert table.models.tolist() == ["org/small", "org/big", "org/flag"]


def test_the_pinned_file_is_read(pinned):
    table = read_routerbench(pinned)
    assert table.models.tolist() == ["org/small", "org/big", "org/flag"]
    np.testing.assert_array_equal(table.quality[:, 0], [1, 0, 1, np.nan, 0.25, 1])
    np.testing.assert_array_equal(table.quality[:, 2], [1, 0, 1, 1, 0, 1])
    np.testing.assert_allclose(table.costs[:, 1], np.arange(1, 7) * 1e-3)
    assert table.costs[0].tolist() == [1e-4, 1e-3, 1e-4]
    assert table.task.tolist() == ["toy-a", "toy-b"] * 3
    assert table.prompts[0] == "['Question 0?']"


def test_any_change_of_the_pinned_file_is_noticed(pinned, tmp_path):
    content = bytearray(pinned.read_bytes())
    for where in np.random.default_rng(0).integers(len(content), size=20):
        content[where] ^= 1
        (tmp_path / "t.pkl").write_bytes(content)
        with pytest.raises(UnsafePickleError, match="SHA-256 differs"):
            read_routerbench(tmp_path / "t.pkl")
        content[where] ^= 1


def test_the_size_of_the_pinned_file_is_bounded(pinned):
    size = len(pinned.read_bytes())
    with pytest.raises(ValueError, match=f"max_bytes={size - 1:,}"):
        read_routerbench(pinned, max_bytes=size - 1)


def test_pickles_need_pandas(pinned, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"needs pandas.*scikit-route\[data\]"):
        read_routerbench(pinned)

"""Router files: what is kept, what is refused, and that nothing in them is run."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import pickle
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

import skroute
from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute._io import versions
from skroute.base import BaseRouter
from skroute.datasets import make_routing
from skroute.exceptions import VersionWarning
from skroute.persistence import FORMAT

HERE = Path(__file__).parents[1]
KEPT = sorted((HERE / "data" / "routers").glob("format_*/*.skroute"))
DATA = make_routing(60, n_features=6, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs


def keeper() -> Any:
    """The script that writes the kept files."""
    spec = importlib.util.spec_from_file_location(
        "keep_routers", HERE / "data" / "keep_routers.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fresh() -> dict[str, tuple[Any, Any]]:
    """One router of every kind, fitted now."""
    return keeper().routers()


# What is kept


@pytest.mark.slow
@pytest.mark.parametrize("name", [f.stem for f in KEPT if f"format_{FORMAT}" in str(f)])
def test_a_loaded_router_is_the_one_that_was_saved(fresh, name, tmp_path):
    router, queries = fresh[name]
    skroute.save(router, tmp_path / "r")
    loaded = skroute.load(tmp_path / "r")
    assert type(loaded) is type(router)
    if name != "ranking_state":  # its parameter has a place in memory as its name
        assert repr(loaded) == repr(router)
    found, expected = (keeper().outputs(one, queries) for one in (loaded, router))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    skroute.save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "r").read_bytes()


@pytest.mark.parametrize("file", KEPT, ids=lambda f: f"{f.parent.name}-{f.stem}")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
@pytest.mark.filterwarnings("ignore::skroute.exceptions.VersionWarning")
def test_files_of_every_release_load(file):
    router = skroute.load(file)
    with np.load(file.with_suffix(".npz")) as kept:
        expected = {name: kept[name] for name in kept.files}
    queries = expected.pop("queries")
    queries = queries.tolist() if queries.dtype.kind == "U" else queries
    for name, values in keeper().outputs(router, queries).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=1e-9)


def layout(value: Any) -> set[tuple[str, ...]]:
    """Classes in the JSON of a file, and the attributes of each."""
    found: set[tuple[str, ...]] = set()
    if isinstance(value, dict) and value.get("$") == "object":
        names = set(value["state"]) - {"feature_names_in_", "_sklearn_version"}
        if not value["class"].startswith("sklearn."):
            found.add((value["class"], *sorted(names)))
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        found.update(*(layout(part) for part in parts))
    return found


@pytest.mark.slow
def test_the_layout_is_that_of_the_kept_files(fresh, tmp_path):
    def layouts(files: list[Path]) -> set[tuple[str, ...]]:
        return set().union(*(layout(json_of(file)) for file in files))

    for name, (router, _) in fresh.items():
        skroute.save(router, tmp_path / f"{name}.skroute")
    now = layouts(sorted(tmp_path.glob("*.skroute")))
    kept = layouts([file for file in KEPT if file.parent.name == f"format_{FORMAT}"])
    assert now == kept, "the layout of fitted routers changed: see tests/data/README.md"


def json_of(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.read("router.json"))


def test_an_unfitted_router_is_saved_too(tmp_path):
    skroute.save(RankingRouter(n_estimators=7, costs=[1, 2]), tmp_path / "r")
    loaded = skroute.load(tmp_path / "r")
    assert (
        loaded.get_params() == RankingRouter(n_estimators=7, costs=[1, 2]).get_params()
    )
    assert loaded.fit(X, Y[:, :2]).models_.tolist() == ["model_0", "model_1"]


def test_parameters_keep_their_values(tmp_path):
    for costs in (
        [1.0, 2.0],
        (1, 2),
        {"a": 1.0, "b": 2},
        np.array([1.0, np.inf]),
        None,
    ):
        router = RankingRouter(costs=costs, random_state=np.int64(3))
        skroute.save(router, tmp_path / "r")
        loaded = skroute.load(tmp_path / "r")
        assert type(loaded.costs) is type(costs)
        assert repr(loaded.costs) == repr(costs)
        assert type(loaded.random_state) is np.int64
    skroute.save(DummyRouter(costs=pd.Series({"a": 1.0})), tmp_path / "r")
    assert skroute.load(tmp_path / "r").costs == {"a": 1.0}
    skroute.save(BudgetDecider(budget=np.array([1.0, np.inf])), tmp_path / "r")
    assert skroute.load(tmp_path / "r").budget.tolist() == [1.0, np.inf]


def test_odd_names_of_models_are_kept(tmp_path):
    names = ["a b", "ü 漢", "", 'quote"', "$"]
    quality = pd.DataFrame(np.tile(Y, 2)[:, :5], columns=names)
    skroute.save(DummyRouter(costs=[1.0] * 5).fit(X, quality), tmp_path / "r")
    loaded = skroute.load(tmp_path / "r")
    assert loaded.models_.tolist() == names
    assert loaded.models_.dtype == object


def test_metadata_requests_are_kept(tmp_path, metadata_routing):
    router = DummyRouter().set_score_request(costs="paid").fit(X, Y, costs=C)
    skroute.save(router, tmp_path / "r")
    loaded = skroute.load(tmp_path / "r")
    expected, found = router.get_metadata_routing(), loaded.get_metadata_routing()
    assert found.score.requests == expected.score.requests
    assert found.score.requests["costs"] == "paid"
    assert found.fit.requests == dict.fromkeys(("costs", "groups", "extra_costs"), True)


@pytest.mark.slow
def test_a_running_stream_goes_on(fresh, tmp_path):
    stream, estimates = copy.deepcopy(fresh["stream"])
    skroute.save(stream, tmp_path / "r")
    loaded = skroute.load(tmp_path / "r")
    for decider in (stream, loaded):
        decider.partial_fit(estimates, costs=estimates[:, -1])
    assert loaded.price_ == stream.price_


# What is refused on saving


def test_other_things_are_not_saved(tmp_path):
    grid = GridSearchCV(DummyRouter(), {"strategy": ["cheapest"]})
    for thing in ([1, 2], Ridge(), grid, None):
        with pytest.raises(TypeError, match="router must be"):
            skroute.save(thing, tmp_path / "r")
    assert not list(tmp_path.iterdir())


class Foreign(DummyRouter):
    """A router of a third party."""


@pytest.mark.parametrize(
    ("router", "message"),
    [
        (Foreign(), "Foreign.*joblib"),
        (
            PointwiseRouter(RandomForestRegressor(2)),
            r"the router\.estimator is a.*Forest",
        ),
        (
            PointwiseRouter(KNeighborsRegressor(algorithm="kd_tree")),
            "search tree.*algorithm='brute'.*joblib",
        ),
        (
            PointwiseRouter(KNeighborsRegressor(weights=np.sqrt)),
            "no function as weights",
        ),
        (make_pipeline(DummyRouter(), memory="cache"), "memory must be None"),
        (
            make_pipeline(TfidfVectorizer(tokenizer=str.split), DummyRouter()),
            "tokenizer",
        ),
        (make_pipeline(TfidfVectorizer(token_pattern="a+"), DummyRouter()), "default"),
        (
            make_pipeline(TfidfVectorizer(ngram_range=(1, 50)), DummyRouter()),
            "ngram_range must be",
        ),
        (RankingRouter(n_jobs=5000), "n_jobs must be at most"),
        (DummyRouter(costs={(1, 2): 1.0}), r"the key \(1, 2\)"),
        (DummyRouter(costs=np.array([{}], dtype=object)), "array of object"),
        (DummyRouter(costs=np.array([1j])), "array of complex128"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_parts_that_no_file_holds_are_named(router, message, tmp_path):
    file = tmp_path / "r"
    file.write_text("old")
    if isinstance(router, PointwiseRouter) and "tree" in message:
        router.fit(X, Y, costs=C)
    with pytest.raises(ValueError, match=message):
        skroute.save(router, file)
    assert file.read_text() == "old"


def test_a_router_that_holds_itself_is_refused(tmp_path):
    router = DummyRouter()
    router.costs = [router]
    with pytest.raises(ValueError, match="nested too deeply"):
        skroute.save(router, tmp_path / "r")


def test_paths_that_cannot_be_written(tmp_path):
    router = DummyRouter()
    with pytest.raises(FileNotFoundError, match="folder"):
        skroute.save(router, tmp_path / "no" / "r")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        skroute.save(router, tmp_path)
    with pytest.raises(OSError, match="device or a pipe"):
        skroute.save(router, os.devnull)
    assert not list(tmp_path.iterdir())


# Writing


def test_a_link_is_followed_and_permissions_are_kept(tmp_path):
    file, link = tmp_path / "r", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    skroute.save(DummyRouter(), link)
    assert link.is_symlink()
    assert isinstance(skroute.load(file), DummyRouter)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link", "r"]


_KILLED = """
import os, signal, sys
from pathlib import Path
import skroute
from skroute import DummyRouter

file = Path(sys.argv[1])
old, new = DummyRouter("cheapest"), DummyRouter("random")
skroute.save(old, file)
modules = {name: sys.modules["skroute." + name].__file__ for name in
           ("_io.archive", "_io.atomic", "persistence")}
left = {b"old": file.read_bytes()}
skroute.save(new, file)
left[b"new"] = file.read_bytes()
outcomes = []
moment = 0
while True:
    file.write_bytes(left[b"old"])
    child = os.fork()
    if child == 0:
        events = 0
        def trace(frame, event, argument):
            global events
            if frame.f_code.co_filename not in modules.values():
                return None
            events += event == "line"
            if events > moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace
        sys.settrace(trace)
        skroute.save(new, file)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    content = file.read_bytes()
    if content not in left.values():
        sys.exit(f"half a file was left at moment {moment}")
    outcomes.append(content == left[b"new"])
    type(skroute.load(file))
    for beside in file.parent.glob(".*.tmp"):
        beside.unlink()
    if status == 0:
        break
    moment += 1
print(len(outcomes), outcomes.count(False), outcomes == sorted(outcomes))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need a fork")
def test_a_kill_at_any_line_leaves_the_old_file_or_the_new_one(tmp_path):
    result = run(_KILLED, tmp_path / "r.skroute")
    assert result.returncode == 0, result.stderr
    moments, old, in_order = result.stdout.split()
    assert int(moments) > 40
    assert 20 < int(old) < int(moments)
    assert in_order == "True"


_FULL = """
import resource, signal, sys
import skroute
from skroute import DummyRouter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
big = DummyRouter(costs=list(range(3000)))
try:
    skroute.save(big, sys.argv[1])
except OSError as error:
    print("refused", error.errno)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    file = tmp_path / "r.skroute"
    skroute.save(DummyRouter(), file)
    before = file.read_bytes()
    result = run(_FULL, file)
    assert result.stdout.startswith("refused"), result.stderr
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["r.skroute"]


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of one thread, with this package."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(skroute.__file__).parents[1]),
        },
    )


# Pickles


@pytest.mark.parametrize(
    "estimator",
    [DummyRouter().fit(X, Y, costs=C), BudgetDecider().fit(np.hstack([Y, C]))],
    ids=["router", "decider"],
)
@pytest.mark.parametrize("how", [joblib, pickle])
def test_pickles_warn_under_another_version(estimator, how, tmp_path, monkeypatch):
    with (tmp_path / "p").open("wb") as stream:
        how.dump(estimator, stream)
    with (tmp_path / "p").open("rb") as stream:
        same = how.load(stream)
    assert vars(same).keys() == vars(estimator).keys()
    monkeypatch.setattr(versions, "__version__", "99.0")
    message = f"pickled by skroute {re.escape(skroute._io.versions._STAMP and '0')}"
    with (
        (tmp_path / "p").open("rb") as stream,
        pytest.warns(VersionWarning, match=message),
    ):
        other = how.load(stream)
    assert other.models_.tolist() == estimator.models_.tolist()


def test_copies_and_clones_do_not_warn():
    router = RankingRouter(costs=[1.0, 2.0, 3.0], n_estimators=0).fit(X, Y)
    for again in (copy.copy(router), copy.deepcopy(router)):
        np.testing.assert_array_equal(again.transform(X), router.transform(X))
    assert isinstance(clone(router), BaseRouter)

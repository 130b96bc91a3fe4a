"""Router files: what is kept, what is refused, and that nothing in them is run."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.util
import io
import json
import os
import pickle
import re
import stat
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

import skroute
from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute.base import BaseRouter
from skroute.datasets import make_routing
from skroute.exceptions import VersionWarning
from skroute.persistence import FORMAT

HERE = Path(__file__).parent
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


@pytest.fixture(scope="module")
def contents(fresh, tmp_path_factory) -> dict[str, bytes]:
    """Files of all of them."""
    folder = tmp_path_factory.mktemp("contents")
    for name, (router, _) in fresh.items():
        skroute.save(router, folder / name)
    return {name: (folder / name).read_bytes() for name in fresh}


@pytest.fixture(scope="module")
def ranking(contents) -> bytes:
    """Content of a file with a ranking router in it."""
    return contents["ranking"]


def signed(content: bytes) -> bytes:
    """A file with the digest that it needs, as anyone can compute it."""
    return content[:-64] + hashlib.sha256(content[:-71]).hexdigest().encode()


def forged(
    content: bytes,
    change: Callable[[dict[str, bytes]], Any] = lambda members: None,
    deflated: str = "",
) -> bytes:
    """A file whose members were changed, with a right digest."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member, 8 if name == deflated else 0)
        archive.comment = b"sha256:" + b"0" * 64
    return signed(made.getvalue())


def forged_main(content: bytes, change: Callable[[Any], Any]) -> bytes:
    """A file whose JSON was changed, in place or by returning another."""

    def changed(members: dict[str, bytes]) -> None:
        main = json.loads(members["router.json"])
        main = change(main) or main
        members["router.json"] = json.dumps(main).encode()

    return forged(content, changed)


def load(folder: Path, content: bytes, **options: Any) -> Any:
    file = folder / "r.skroute"
    file.write_bytes(content)
    return skroute.load(file, **options)


def refused(folder: Path, content: bytes, message: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load(folder, content, **options)
    assert str(folder / "r.skroute") in str(caught.value)


def state_of(main: Any) -> dict[str, Any]:
    """Attributes of the router in the JSON of a file."""
    return main["router"]["state"]


# What is kept


@pytest.mark.parametrize("name", [f.stem for f in KEPT if f"format_{FORMAT}" in str(f)])
def test_a_loaded_router_is_the_one_that_was_saved(fresh, name, tmp_path):
    router, queries = fresh[name]
    skroute.save(router, tmp_path / "r")
    loaded = skroute.load(tmp_path / "r")
    assert type(loaded) is type(router)
    if name != "ranking_state":  # its parameter has a place in memory as its name
        assert repr(loaded) == repr(router)
    np.testing.assert_array_equal(loaded.transform(queries), router.transform(queries))
    np.testing.assert_array_equal(loaded.predict(queries), router.predict(queries))
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
    names = ["a b", "ü 漢", "", 'quote"\n', "$"]
    quality = pd.DataFrame(np.tile(Y, 2)[:, :5], columns=names)
    skroute.save(DummyRouter(costs=[1.0] * 5).fit(X, quality), tmp_path / "r")
    loaded = skroute.load(tmp_path / "r")
    assert loaded.models_.tolist() == names
    assert loaded.models_.dtype == object


def test_metadata_requests_are_kept(tmp_path, metadata_routing):
    router = DummyRouter().set_score_request(costs="paid").fit(X, Y, costs=C)
    skroute.save(router, tmp_path / "r")
    loaded = skroute.load(tmp_path / "r")
    assert loaded.get_metadata_routing().score.requests == {"costs": "paid"}
    assert loaded.get_metadata_routing().fit.requests == {"costs": True}


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


def of_text(**parameters: Any) -> Any:
    return make_pipeline(TfidfVectorizer(**parameters), DummyRouter())


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
           ("archive", "atomic", "persistence")}
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


# Damaged and foreign files


def test_files_that_are_no_routers(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a file"):
        skroute.load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        skroute.load(tmp_path)
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("a", "b")
    for content in (b"", b"junk", pickle.dumps(DummyRouter()), empty.getvalue()):
        refused(tmp_path, content, r"cannot be loaded: .*joblib\.load")


def test_a_pickle_is_not_run(tmp_path):
    class Boom:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    refused(tmp_path, pickle.dumps(Boom()), "something else")
    assert not (tmp_path / "ran").exists()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_change_is_noticed(ranking, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("changed")
    where = data.draw(st.integers(0, len(ranking) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "drop", "insert"]))
    content = bytearray(ranking)
    if kind == "flip":
        content[where] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del content[where:]
    elif kind == "drop":
        del content[where]
    else:
        content.insert(where, data.draw(st.integers(0, 255)))
    if bytes(content) != ranking:
        refused(folder, bytes(content), "cannot be loaded")


def test_sizes_are_bounded(ranking, tmp_path):
    assert load(tmp_path, ranking, max_bytes=len(ranking) * 40).n_features_in_ == 6
    refused(tmp_path, ranking, "more than max_bytes=999", max_bytes=999)
    refused(tmp_path, ranking, "max_bytes / 32", max_bytes=len(ranking))
    with pytest.raises(ValueError, match="max_bytes must be"):
        skroute.load(tmp_path / "r.skroute", max_bytes=0)


def test_a_newer_format_says_what_to_install(ranking, tmp_path):
    def newer(main: Any) -> None:
        main.update(format=FORMAT + 1, skroute="99.1", router={"$": "quantum"})

    refused(
        tmp_path, forged_main(ranking, newer), r"format, 2, is newer.*skroute 99\.1"
    )


def test_a_newer_version_of_the_same_format_warns(ranking, tmp_path):
    content = forged_main(ranking, lambda main: main.update(skroute="99.1"))
    with pytest.warns(VersionWarning, match=r"saved by skroute 99\.1, newer than"):
        assert load(tmp_path, content).n_features_in_ == 6


def test_newer_libraries_warn(ranking, tmp_path):
    def newer(main: Any) -> None:
        main["libraries"].update(lightgbm="99.0", numpy="0.1", scipy=[1])

    with pytest.warns(VersionWarning, match=r"saved by lightgbm 99\.0, newer than"):
        assert load(tmp_path, forged_main(ranking, newer)).n_features_in_ == 6


# Files that were made to do harm: their digest is right


def test_a_bomb_is_refused_before_it_unfolds(ranking, tmp_path):
    def bomb(members: dict[str, bytes]) -> None:
        members["arrays/0.npy"] = b"\0" * 50_000_000

    content = forged(ranking, bomb, "arrays/0.npy")
    assert len(content) < 200_000
    tracemalloc.start()
    refused(tmp_path, content, "larger than the file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_compressed_member_is_refused(ranking, tmp_path):
    noise = os.urandom(len(ranking))
    content = forged(
        ranking, lambda m: m.update({"arrays/0.npy": noise}), "arrays/0.npy"
    )
    refused(tmp_path, content, "compressed; nothing in it should")


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "array",
    [
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 999999999), }\n"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n") + b"N.",
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }\n"),
        header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (0,), }\n"),
        header("__import__('os').mkdir('ran')\n"),
        header("(" * 4000),
        b"\x93NUMPY\x02\x00",
        b"",
    ],
)
def test_crafted_arrays_are_refused(ranking, tmp_path, array):
    content = forged(ranking, lambda members: members.update({"arrays/0.npy": array}))
    tracemalloc.start()
    refused(tmp_path, content, "array")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {**m, "router": {"$": "object", "class": "os.system"}}, "os.system"),
        (lambda m: {**m, "router": {"$": "import", "name": "os"}}, "'import'"),
        (lambda m: {**m, "router": {"$": ["object"]}}, "which nothing here reads"),
        (lambda m: {**m, "router": 1}, "holds no router"),
        (lambda m: {**m, "router": nested(500)}, "nested too deeply"),
        (lambda m: {**m, "format": "1"}, "does not say its format"),
        (lambda m: [m], "no object"),
        (lambda m: state_of(m).update({"a.b": 1}), "attribute that is no name"),
        (lambda m: state_of(m).update(n_jobs=10**9), "n_jobs must be at most"),
        (lambda m: state_of(m).update(x={"$": "array", "member": 10**6}), "no member"),
        (lambda m: state_of(m).update(x={"$": "array", "member": "0"}), "is none"),
        (lambda m: state_of(m).update(x={"$": "scalar", "dtype": "object"}), "object"),
        (
            lambda m: state_of(m).update(
                x={"$": "dict", "items": [[i * (2**61 - 1), 0] for i in range(10_002)]}
            ),
            "too many numbers",
        ),
        (
            lambda m: state_of(m).update(
                x={"$": "names", "shape": [10**9], "items": ["a"]}
            ),
            "reshape",
        ),
    ],
)
def test_crafted_json_is_refused(ranking, tmp_path, change, message):
    refused(tmp_path, forged_main(ranking, change), message)


def test_json_that_nests_without_end_is_refused(ranking, tmp_path):
    deep = b"[" * 200_000
    content = forged(ranking, lambda members: members.update({"router.json": deep}))
    refused(tmp_path, content, "RecursionError|JSONDecodeError|nested")
    infinite = b'{"format": 1, "router": Infinity}'
    content = forged(ranking, lambda members: members.update({"router.json": infinite}))
    refused(tmp_path, content, "the number Infinity")


def test_a_crafted_random_state_is_refused(contents, tmp_path):
    def reach_out(main: Any) -> None:
        items = state_of(main)["random_state"]["state"]["items"]
        inner = dict(items)["state"]["items"]
        inner[[key for key, _ in inner].index("pos")][1] = 10**6

    refused(tmp_path, forged_main(contents["ranking_state"], reach_out), "random state")


def test_a_crafted_vocabulary_is_refused(contents, tmp_path):
    def reach_out(main: Any) -> None:
        steps = state_of(main)["steps"]
        vectorizer = steps[0]["items"][1]["state"]
        vectorizer["vocabulary_"]["items"][0][1] = 10**9

    content = forged_main(contents["prompts"], reach_out)
    refused(tmp_path, content, "number its words from 0")


def test_crafted_neighbours_are_refused(contents, tmp_path):
    def reach_out(main: Any) -> None:
        fitted = state_of(main)["estimators_"][0]["items"][1]["state"]
        fitted["n_features_in_"] = 5000

    content = forged_main(contents["pointwise_neighbors"], reach_out)
    refused(tmp_path, content, "training rows do not fit")


@pytest.mark.parametrize(
    ("pattern", "by"),
    [
        (r"left_child=\d+", "left_child=1000000"),
        (r"(left_child=)\S+ \S+", r"\g<1>0 0"),
        (r"split_feature=\d+", "split_feature=100000000"),
        (r"num_leaves=\d+", "num_leaves=2000000000"),
        (r"threshold=\S+", "threshold=1 1 1"),
        (r"num_cat=0", "num_cat=1"),
        (r"decision_type=\d+", "decision_type=1"),
        (r"is_linear=0", "is_linear=1"),
        (r"max_feature_idx=\d+", "max_feature_idx=999999"),
        (r"num_tree_per_iteration=1", "num_tree_per_iteration=0"),
        (r"tree_sizes=\d+", "tree_sizes=1"),
        (r"objective=lambdarank", "objective=custom"),
        (r"end of trees", "end of tree"),
        (r"parameters:", "parameters:\n!ls"),
        (r"version=v4\n", ""),
    ],
)
def test_crafted_trees_never_reach_lightgbm(ranking, tmp_path, pattern, by):
    def craft(members: dict[str, bytes]) -> None:
        (name,) = (name for name in members if name.startswith("texts/"))
        text = members[name].decode()
        crafted = re.sub(pattern, by, text, count=1)
        assert crafted != text
        members[name] = crafted.encode()

    refused(tmp_path, forged(ranking, craft), "it|its")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(-1e9, 1e9)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$", "items", "member", "class"]), inner)
    ),
    max_leaves=5,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Containers in a JSON value, each with one of its keys."""
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    found = [(value, key) for key in keys]
    for key in keys:
        found += places(value[key])
    return found


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_crafted_files_give_a_router_or_a_clear_error(ranking, tmp_path_factory, data):
    """Any JSON with a right digest loads, or is refused; its use can only raise."""

    def craft(main: Any) -> None:
        spots = places(main)
        for _ in range(data.draw(st.integers(1, 3))):
            container, key = spots[data.draw(st.integers(0, len(spots) - 1))]
            other = spots[data.draw(st.integers(0, len(spots) - 1))]
            swapped = copy.deepcopy(other[0][other[1]])
            container[key] = data.draw(VALUES | st.just(swapped))

    folder = tmp_path_factory.mktemp("crafted")
    try:
        router = load(folder, forged_main(ranking, craft))
    except ValueError as error:
        assert "cannot be loaded" in str(error)  # noqa: PT017
        return
    with contextlib.suppress(Exception):
        router.route(X[:3])


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
    monkeypatch.setattr(skroute, "__version__", "99.0")
    message = f"pickled by skroute {re.escape(skroute.versions._STAMP and '0')}"
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

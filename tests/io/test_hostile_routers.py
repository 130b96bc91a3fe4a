"""Router files that are damaged, foreign, or made to do harm."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forging import forged, forged_main, load, refused
from hypothesis import given, settings
from hypothesis import strategies as st

import skroute
from skroute import DummyRouter
from skroute.datasets import make_routing
from skroute.exceptions import VersionWarning
from skroute.persistence import FORMAT

pytestmark = pytest.mark.hostile

HERE = Path(__file__).parents[1]
# As LightGBM wrote it.
KEPT_MODEL = (HERE / "data" / "ranker_lightgbm_4.txt").read_text("ascii")
DATA = make_routing(60, n_features=6, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs


def script(file: Path) -> Any:
    """A script beside the tests."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict[str, bytes]:
    """Files with one router of every kind, fitted now."""
    fresh = script(HERE / "data" / "keep_routers.py").routers()
    folder = tmp_path_factory.mktemp("contents")
    for name, (router, _) in fresh.items():
        skroute.save(router, folder / name)
    return {name: (folder / name).read_bytes() for name in fresh}


@pytest.fixture(scope="module")
def ranking(contents) -> bytes:
    """Content of a file with a ranking router in it."""
    return contents["ranking"]


def state_of(main: Any) -> dict[str, Any]:
    """Attributes of the router in the JSON of a file."""
    return main["router"]["state"]


def in_process(
    code: str, *arguments: object, timeout: float = 250
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which may crash."""
    root = str(Path(skroute.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
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
    long = forged_main(ranking, lambda main: main.update(skroute="1" * len(ranking)))
    refused(tmp_path, long, "max_bytes / 32", max_bytes=2 * len(long))
    with pytest.raises(ValueError, match="max_bytes must be"):
        skroute.load(tmp_path / "r.skroute", max_bytes=0)


def test_a_newer_format_says_what_to_install(ranking, tmp_path):
    def newer(main: Any) -> None:
        main.update(format=FORMAT + 1, skroute="99.1", router={"$": "quantum"})

    message = rf"format, {FORMAT + 1}, is newer.*skroute 99\.1"
    refused(tmp_path, forged_main(ranking, newer), message)


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
        (lambda m: state_of(m).update(x={"$": "array", "member": "0"}), "not a number"),
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
            "names of a shape",
        ),
        (
            lambda m: state_of(m).update(
                models_={"$": "names", "shape": [10**9, 0], "items": []}
            ),
            "names of a shape",
        ),
        (lambda m: m.update(skroute="0.1\x1b[2J"), "does not say its format"),
    ],
)
def test_crafted_json_is_refused(ranking, tmp_path, change, message):
    refused(tmp_path, forged_main(ranking, change), message)


def test_json_that_nests_without_end_is_refused(ranking, tmp_path):
    deep = b"[" * 200_000
    content = forged(ranking, lambda members: members.update({"router.json": deep}))
    refused(tmp_path, content, "too many values")
    deep = deep[:20_000]
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


def test_terms_of_very_many_words_are_refused(contents, tmp_path):
    def lengthen(main: Any) -> None:
        steps = state_of(main)["steps"]
        steps[0]["items"][1]["state"]["ngram_range"]["items"][1] = 10**6

    content = forged_main(contents["prompts"], lengthen)
    refused(tmp_path, content, "ngram_range must be two numbers of words up to 10")


def test_a_version_cannot_write_to_the_terminal(contents, tmp_path):
    def colour(main: Any) -> None:
        state_of(main)["estimator"]["state"]["_sklearn_version"] = "0.1\x1b[2J"

    content = forged_main(contents["pointwise_ridge"], colour)
    refused(tmp_path, content, "its version must be one")


def test_views_cannot_ask_for_room_by_a_slice(ranking, tmp_path):
    def widen(main: Any) -> None:
        quality = state_of(main)["_fitted"]["state"]["quality"]
        quality["state"]["views"]["state"]["sizes"]["items"][-1] = 10**10

    refused(tmp_path, forged_main(ranking, widen), "parts of its centres")


@pytest.mark.parametrize("items", [[0.0], [-1.0], [1], [0.1] * 9])
def test_profiles_have_a_positive_softness_each(ranking, tmp_path, items):
    def soften(main: Any) -> None:
        quality = state_of(main)["_fitted"]["state"]["quality"]
        softness = quality["state"]["views"]["state"]["softness"]["items"]
        softness[:] = items + softness[1:] if len(items) == 1 else items

    refused(tmp_path, forged_main(ranking, soften), "a positive softness each")


@pytest.mark.parametrize(
    "change",
    [
        lambda views: views["widths"].update(items=[4, 3]),
        lambda views: views["widths"].update(items=[6]),
        lambda views: views["widths"].update(items=[4, 10**12]),
        lambda views: views["widths"].update(items=[4.0, 2.0]),
        lambda views: views["parts"]["items"].pop(),
        lambda views: views["parts"]["items"].reverse(),
        lambda views: views["parts"]["items"].append(None),
        lambda views: views.update(parts=views["parts"]["items"]),
        lambda views: views.update(widths=None),
    ],
)
def test_views_of_blocks_are_of_all_columns_and_of_each(contents, tmp_path, change):
    def tamper(main: Any) -> None:
        quality = state_of(main)["_fitted"]["state"]["quality"]["state"]
        change(quality["views"]["state"])

    content = forged_main(contents["ranking_blocks"], tamper)
    refused(tmp_path, content, "its parts must be views of all columns|it")


def test_estimates_that_are_no_numbers_are_refused(ranking, tmp_path):
    def blind(members: dict[str, bytes]) -> None:
        main = json.loads(members["router.json"])
        quality = state_of(main)["_fitted"]["state"]["quality"]["state"]
        number = quality["fits"][0]["state"]["coef"]["member"]
        coef = members[f"arrays/{number}.npy"]
        members[f"arrays/{number}.npy"] = coef[:-8] + np.float64(np.nan).tobytes()

    refused(tmp_path, forged(ranking, blind), "coef must hold finite numbers")


@pytest.mark.parametrize("place", ["rank_weight", "extent"])
def test_single_numbers_that_are_none_are_refused(ranking, tmp_path, place):
    def blind(main: Any) -> None:
        fitted = state_of(main)["_fitted"]["state"]
        held = fitted if place in fitted else fitted["canonical"]["state"]
        held[place] = {"$": "float", "value": "nan"}

    refused(tmp_path, forged_main(ranking, blind), f"{place} must hold finite numbers")


def with_text(text: str) -> bytes:
    """A file of format 1, whose ranker is a model in LightGBM's text format."""
    content = (HERE / "data" / "routers" / "format_1" / "ranking.skroute").read_bytes()
    return forged(content, lambda others: others.update({"texts/0.txt": text.encode()}))


def test_crafted_trees_of_older_files_are_refused(tmp_path):
    for crafted in (
        KEPT_MODEL.replace("left_child=1", "left_child=\u0661", 1),
        KEPT_MODEL.replace("\nthreshold=", "\nthreshold=1 ", 1),
        KEPT_MODEL.replace("leaf_value=-0.0154", "leaf_value=inf 1", 1),
    ):
        assert crafted != KEPT_MODEL
        refused(tmp_path, with_text(crafted), "it|its")


def test_crafted_trees_are_refused(ranking, tmp_path):
    def loop(members: dict[str, bytes]) -> None:
        ranker = state_of(json.loads(members["router.json"]))["_fitted"]["state"][
            "ranker"
        ]
        number = ranker["state"]["left"]["member"]
        left = members[f"arrays/{number}.npy"]
        members[f"arrays/{number}.npy"] = left[:-4] + np.int32(0).tobytes()

    refused(tmp_path, forged(ranking, loop), "before its parent")


def test_nothing_of_a_text_is_kept_but_its_numbers(tmp_path):
    crafted = KEPT_MODEL.replace("parameters:", "parameters:\n!run", 1)
    crafted = crafted.replace("Column_0", "evil", 1).replace("count=", "count=x")
    router = load(tmp_path, with_text(crafted))
    plain = load(tmp_path, with_text(KEPT_MODEL))
    np.testing.assert_array_equal(router.ranker_.value, plain.ranker_.value)
    assert not re.search("!run|evil", str(router.ranker_.__getstate__()))


# Memory and time


def bomb(content: bytes, value: Any, members: dict[str, bytes]) -> bytes:
    """A file with one more attribute of its router, and more members."""

    def add(main: Any) -> None:
        state_of(main).update(x=value)
        if isinstance(value, dict) and value.get("class") == "PairRanker":
            main.update(format=2)  # the last one whose rankers are text

    content = forged_main(content, add)
    return forged(content, lambda others: others.update(members))


def an_object(kind: str, **more: Any) -> dict[str, Any]:
    return {"$": "object", "class": kind, "state": {}, **more}


def a_random_state(number: int) -> dict[str, Any]:
    key = {"$": "array", "member": number}
    inner = {"$": "dict", "items": [["key", key], ["pos", 0]]}
    items = [["bit_generator", "MT19937"], ["state", inner], ["has_gauss", 0]]
    state = {"$": "dict", "items": [*items, ["gauss", 0.0]]}
    return {"$": "RandomState", "state": state}


def array_of(n_numbers: int) -> bytes:
    made = io.BytesIO()
    np.save(made, np.zeros(n_numbers, dtype=np.uint32))
    return made.getvalue()


LEAF = "num_leaves=1\nnum_cat=0\nleaf_value=0\n"


def a_ranker(*trees: str, n_features: int = 1) -> tuple[Any, dict[str, bytes]]:
    lines = [
        *("tree", "version=v4", "num_class=1", "num_tree_per_iteration=1"),
        *("label_index=0", f"max_feature_idx={n_features - 1}", "objective=lambdarank"),
        f"feature_names={' '.join('a' * n_features)}",
        f"feature_infos={' '.join('a' * n_features)}",
        *("tree_sizes=", *trees, "", "end of trees", ""),
    ]
    state = {"text": {"$": "text", "member": 0}}
    return an_object("PairRanker", state=state), {
        "texts/0.txt": "\n".join(lines).encode()
    }


def a_chain(n_leaves: int) -> str:
    """A tree of which every node has one leaf."""
    n_nodes = n_leaves - 1
    zeros = " ".join(["0"] * n_nodes)
    left = " ".join(str(~i) for i in range(n_nodes))
    right = " ".join(str(i) for i in [*range(1, n_nodes), ~n_nodes])
    lines = {"split_feature": zeros, "threshold": zeros, "decision_type": zeros}
    lines |= {"left_child": left, "right_child": right, "leaf_value": f"0 {zeros}"}
    start = f"\nTree=0\nnum_leaves={n_leaves}\nnum_cat=0\n"
    return start + "\n".join(f"{name}={line}" for name, line in lines.items()) + "\n"


def words(number: int) -> dict[str, Any]:
    return {"$": "dict", "items": [[f"w{i}", i] for i in range(number)]}


@pytest.mark.parametrize(
    ("value", "members", "message"),
    [
        ([[]] * 100_000, {}, "too many values"),
        ([{}] * 100_000, {}, "too many values"),
        ([{"": 0}] * 50_000, {}, "too many values"),
        ([{"$": "tuple", "items": []}] * 50_000, {}, "too many values"),
        ([an_object("Price")] * 50_000, {}, "too many values"),
        ([an_object("DummyRouter", requests={})] * 10_000, {}, "too many"),
        ([an_object("Price", requests={})] * 100, {}, "asks for metadata"),
        (
            [a_random_state(900)] * 400,
            {"arrays/900.npy": array_of(624)},
            "too many objects",
        ),
        (
            [{"$": "array", "member": 900}] * 1_500,
            {"arrays/900.npy": array_of(25_000)},
            "too many objects",
        ),
        (
            [{"$": "text", "member": 900}] * 1_500,
            {"texts/900.txt": b"a" * 100_000},
            "text 900 twice",
        ),
        (
            [{"$": "text", "member": 900}] * 1_500,
            {"texts/900.txt": "\U0001f600".encode() + b"a" * 100_000},
            "text 900 twice",
        ),
        (*a_ranker(n_features=100_000), "not a ranker's"),
    ],
)
def test_little_does_not_become_much(contents, tmp_path, value, members, message):
    content = bomb(contents["dummy"], value, members)
    assert peak_of(lambda: refused(tmp_path, content, message)) < bound(content)


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (words(100_000), {}),
        ([1.5] * 100_000, {}),
        (["ab"] * 100_000, {}),
        a_ranker(*(f"\nTree={i}\n{LEAF}" for i in range(9000))),
        a_ranker(a_chain(50_000)),
        a_ranker(f"\nTree=0\n{LEAF}leaf_count={'1' * 10**6}\n"),
        ([], {f"{i}": b"" for i in range(20_000)}),
        ({"$": "array", "member": 900}, {"arrays/900.npy": array_of(10**6)}),
        (
            {"$": "text", "member": 900},
            {"texts/900.txt": "\U0001f600".encode() + b"a" * 10**6},
        ),
    ],
)
def test_memory_stays_within_what_is_promised(contents, tmp_path, value, members):
    content = bomb(contents["dummy"], value, members)
    assert len(content) > 300_000
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        least = max(len(content), 32 * archive.getinfo("router.json").file_size)
    peak = peak_of(lambda: load(tmp_path, content, max_bytes=least))
    assert peak < min(bound(content), 8 * least + 2**21)


def peak_of(action: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bound(content: bytes) -> int:
    """What SECURITY.md promises, and a little for what does not depend on the file."""
    return 20 * len(content) + 2**21


@pytest.mark.parametrize("shape", ["1" * 60, "1," * 60, "1, " * 60, "1 " * 60])
def test_a_header_is_read_in_one_go(ranking, tmp_path, shape):
    """A parser that goes back and forth would take longer than the universe is old."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}x), }}\n"
    content = forged(ranking, lambda m: m.update({"arrays/0.npy": header(text)}))
    (tmp_path / "r").write_bytes(content)
    code = "import sys, skroute\nskroute.load(sys.argv[1])"
    done = in_process(code, tmp_path / "r", timeout=100)
    assert "arrays/0.npy is no array" in done.stderr


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

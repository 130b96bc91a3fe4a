"""Files of cascades: kept to the last bit, and refused where parts do not fit."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forging import forged, forged_main, refused
from simulated import simulate_table, walk_by_hand

import skroute
from skroute.persistence import FORMAT

FITTED = "_fitted"
POLICY = f"{FITTED}.policy"


def content_of(decider: Any, folder: Any) -> bytes:
    skroute.save(decider, folder / "cascade")
    content: bytes = (folder / "cascade").read_bytes()
    return content


@pytest.fixture(scope="module")
def saved() -> bytes:
    """The kept file of a cascade, which has every part."""
    folder = Path(__file__).parents[1] / "data" / "routers" / f"format_{FORMAT}"
    content = (folder / "cascade.skroute").read_bytes()
    policy = skroute.load(folder / "cascade.skroute")._fitted.policy
    parts = policy.check, policy.belief.trees, policy.belief.weights, policy.gain
    assert all(part is not None for part in parts)
    return content


def state_at(main: Any, path: str) -> Any:
    """Attributes of a part of the decider in the JSON of a file."""
    names = path.split(".") if path else []
    return reduce(
        lambda state, name: state[name]["state"], names, main["router"]["state"]
    )


def with_value(content: bytes, path: str, value: Any) -> bytes:
    """A file in which one attribute has another value."""
    owner, name = path.rsplit(".", 1) if "." in path else ("", path)
    return forged_main(
        content, lambda main: state_at(main, owner).update({name: value})
    )


def with_array(content: bytes, path: str, change: Any) -> bytes:
    """A file in which one array is another."""

    def forge(members: dict[str, bytes]) -> None:
        main = json.loads(members["router.json"])
        owner, name = path.rsplit(".", 1) if "." in path else ("", path)
        place = state_at(main, owner)[name]
        old = np.load(io.BytesIO(members[f"arrays/{place['member']}.npy"]))
        made = io.BytesIO()
        np.save(made, change(old))
        place["member"] = 900
        members["arrays/900.npy"] = made.getvalue()
        members["router.json"] = json.dumps(main, separators=(",", ":")).encode()

    return forged(content, forge)


@pytest.mark.parametrize("kind", ["exact", "learned"])
def test_a_loaded_cascade_answers_to_the_last_bit(kind, request, tmp_path):
    fitted = request.getfixturevalue(kind)
    content = content_of(fitted.decider, tmp_path)
    loaded = skroute.load(tmp_path / "cascade")
    assert repr(loaded) == repr(fitted.decider)
    assert loaded.price_ == fitted.decider.price_
    table = simulate_table(40, len(loaded.models_), random_state=5)
    known = {name: table[name] for name in fitted.known}
    calls, said = walk_by_hand(fitted.decider, table.Z, known)
    again, _ = walk_by_hand(loaded, table.Z, known)
    assert again.tolist() == calls.tolist()
    mine, theirs = (
        decider.explain(table.Z, calls[:, :1], **{k: v[:, :1] for k, v in said.items()})
        for decider in (loaded, fitted.decider)
    )
    for name in ("expected_quality", "gain", "cost", "worth"):
        np.testing.assert_array_equal(mine[name], theirs[name])
    for name in ("price", "spend", "quality", "n_calls", "escalates"):
        np.testing.assert_array_equal(
            getattr(loaded.path_, name), getattr(fitted.decider.path_, name)
        )
    assert content_of(loaded, tmp_path) == content


def arrays_at(content: bytes, path: str) -> list[str]:
    """Paths of the arrays of a part, but for those of its trees."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        state = state_at(json.loads(archive.read("router.json")), path)
    found = []
    for name, value in state.items():
        kind = value.get("$") if isinstance(value, dict) else None
        if kind == "array":
            found.append(f"{path}.{name}")
        elif kind == "object" and value["class"] != "PairRanker":
            found += arrays_at(content, f"{path}.{name}")
    return found


@pytest.mark.hostile
def test_numbers_that_are_none_are_refused(saved, tmp_path):
    def blind(array: np.ndarray) -> np.ndarray:
        array.flat[-1] = np.nan
        return array

    arrays = arrays_at(saved, POLICY)
    assert len(arrays) > 9
    for path in [*arrays, f"{FITTED}.path.spend", f"{FITTED}.path.price"]:
        refused(tmp_path, with_array(saved, path, blind), "finite|by numbers")


@pytest.mark.hostile
@pytest.mark.parametrize(
    "change",
    [
        lambda array: array[:-1],
        lambda array: np.concatenate([array, array[-1:]]),
        lambda array: array[..., None],
        lambda array: array.ravel()[0],
        lambda array: array.astype(np.float32),
        lambda array: array.astype(np.int64),
    ],
    ids=["short", "long", "deep", "number", "single", "whole"],
)
def test_arrays_that_do_not_fit_are_refused(saved, change, tmp_path):
    message = "(row|column) for each|fit each other|finite numbers|no models"
    for path in arrays_at(saved, POLICY):
        refused(tmp_path, with_array(saved, path, change), message)


@pytest.mark.hostile
@pytest.mark.parametrize(
    "path",
    [
        f"{POLICY}.belief.trees",
        f"{POLICY}.check.trees",
        f"{POLICY}.gain.others",
        f"{POLICY}.gain.gains",
    ],
)
@pytest.mark.parametrize("n_features", [99, 10**9])
def test_trees_of_other_features_are_refused(saved, path, n_features, tmp_path):
    content = with_value(saved, f"{path}.n_features", n_features)
    refused(tmp_path, content, "fit each other: the ranker knows")
    refused(tmp_path, with_value(saved, path, 1.5), f"{path.split('.')[-1]} is a float")


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{FITTED}.path.best_single", 4, "best single model is not"),
        (f"{FITTED}.path.best_single", -1, "best single model is not"),
        (f"{FITTED}.path.best_single", 0.5, "best single model is not"),
        (f"{FITTED}.path", None, "path is of another class"),
        (f"{FITTED}.tested", 1, "replays are of another class"),
        (f"{FITTED}.tested.best_single", 4, "what the best single model is"),
        (f"{FITTED}.tested.single_most", None, "what the best single model is"),
        (f"{FITTED}.tested.may_be_alone", 1, "what the best single model is"),
        (f"{FITTED}.unit.extent", 0.0, "unit is not one"),
        (f"{FITTED}.unit", None, "unit is not one"),
        (f"{FITTED}.n_checks", 0, "compared by"),
        (f"{FITTED}.n_checks", 2, "fit each other"),
        (f"{FITTED}.n_checks", 10**9, "compared by"),
        (f"{FITTED}.n_checks", True, "compared by"),
        (f"{FITTED}.has_answers", 1, "compared by"),
        (f"{FITTED}.more", 1, "more"),
        (POLICY, None, "policy is of another class"),
        (f"{POLICY}.check", None, "compared by"),
        (f"{POLICY}.belief", None, "belief is a NoneType"),
        (f"{POLICY}.outlook", None, "outlook is a NoneType"),
        (f"{POLICY}.gain", "much", "gain is a str"),
        (f"{POLICY}.belief.accuracy", "high", "no models"),
        (FITTED, None, "what its models are"),
        ("n_features_in_", 8, "what its models are"),
        ("models_", {"$": "names", "shape": [1], "items": ["a"]}, "what its models"),
        ("_settled", None, "settled for|TypeError"),
        ("_replayed", [], "settled for"),
        ("_order", None, "in an order"),
    ],
)
def test_parts_that_do_not_fit_are_refused(saved, path, value, message, tmp_path):
    refused(tmp_path, with_value(saved, path, value), message)


@pytest.mark.hostile
@pytest.mark.parametrize("order", [[0, 0, 1], [0, 1], [0, 1, 3], [-1, 0, 1]])
def test_an_order_that_is_none_is_refused(saved, order, tmp_path):
    content = with_array(saved, "_order", lambda old: np.array(order, dtype=old.dtype))
    refused(tmp_path, content, "models in an order")


@pytest.mark.hostile
@pytest.mark.parametrize(
    "change",
    [
        {"single": 4},
        {"single": -1},
        {"single": 0.5},
        {"price": {"$": "float", "value": "nan"}},
        {"price": -1.0},
        {"escalates": 1},
    ],
    ids=str,
)
def test_a_place_that_is_none_is_refused(saved, change, tmp_path):
    def move(main: Any) -> None:
        main["router"]["state"]["_settled"]["items"][1]["state"].update(change)

    refused(tmp_path, forged_main(saved, move), "no place on a path|best single model")


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("price", lambda price: price[::-1].copy()),
        ("price", lambda price: price + 1),
        ("spend", lambda spend: spend[:-1]),
        ("quality", lambda quality: quality[:, None]),
        ("escalates", lambda escalates: escalates * 1.0),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(saved, name, change, tmp_path):
    content = with_array(saved, f"{FITTED}.path.{name}", change)
    refused(tmp_path, content, "path does not")


def blind(array: np.ndarray) -> np.ndarray:
    """The same array, whose last number is none."""
    return np.append(array[:-1], np.nan).astype(array.dtype)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("price", lambda price: price[::-1].copy()),
        ("price", lambda price: np.append(price, np.inf)),
        ("highest", lambda highest: highest[::-1].copy()),
        ("highest", lambda highest: np.minimum(highest, 1e9)),
        ("escalates", lambda escalates: escalates * 1.0),
        ("at", lambda at: at[::-1].copy()),
        ("at", lambda at: np.append(at[:-1], 10**9)),
        ("at", lambda at: at[1:]),
        ("quality", lambda quality: quality[:-1]),
        ("spend", blind),
        ("most", blind),
        ("number", lambda number: number - 1),
        ("number", lambda number: np.append(number, 0)),
        ("single_quality", blind),
    ],
)
def test_replays_that_are_none_are_refused(saved, name, change, tmp_path):
    content = with_array(saved, f"{FITTED}.tested.{name}", change)
    refused(tmp_path, content, "its replays do not")


@pytest.mark.hostile
def test_what_is_promised_is_of_the_models(saved, tmp_path):
    def move(main: Any) -> None:
        main["router"]["state"]["_settled"]["items"][3]["state"]["baseline"] = 4

    refused(tmp_path, forged_main(saved, move), "not of its models")


@pytest.mark.hostile
@pytest.mark.parametrize("kind", ["CascadePolicy", "FittedCascade", "LearnedGain"])
def test_parts_that_lack_a_field_are_refused(saved, kind, tmp_path):
    def lose(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("class") == kind:
                del value["state"][next(iter(value["state"]))]
            for part in value.values():
                lose(part)
        elif isinstance(value, list):
            for part in value:
                lose(part)

    refused(tmp_path, forged_main(saved, lose), "has no|missing")


def test_what_cannot_be_loaded_is_not_saved(learned, tmp_path):
    decider = copy.copy(learned.decider)
    fitted = decider._fitted
    belief = replace(fitted.policy.belief, accuracy=np.full(4, np.nan))
    decider._fitted = replace(fitted, policy=replace(fitted.policy, belief=belief))
    with pytest.raises(ValueError, match=r"cannot be saved.*finite numbers.*joblib"):
        skroute.save(decider, tmp_path / "cascade")
    assert not list(tmp_path.iterdir())

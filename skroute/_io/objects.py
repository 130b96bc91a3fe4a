"""Routers as plain JSON beside arrays and texts, and back, without running anything.

`encode` walks the attributes of a router. Numbers, text, lists and ``None`` stay what
they are in JSON; everything else becomes an object with the key ``"$"``, which says
what it is. Arrays and long texts are handed out, to be members of an archive. `decode`
goes the other way, and knows nothing but these kinds and the classes of `registry`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRequest

from skroute._io.registry import TRANSIENT, check_object_state, find_class, find_tag
from skroute._io.upgrades import name_current_class, upgrade
from skroute._table.names import as_mapping

_DEEPEST = 40
# Longer texts, such as models, become members of their own.
_LONG = 1000
# Bytes in memory of these, however short they are in a file.
_SIZES = {"object": 1000, "requests": 3000, "RandomState": 10_000}
# Prices by model may have numbers as keys; very many could be chosen to collide.
_MOST_NUMBER_KEYS = 10_000
_REQUESTS = "_metadata_request"
_JOBLIB = "Save it with joblib.dump instead"
_JOBLIB_TRUSTED = f"{_JOBLIB}, and load that only where you trust the file."
_DTYPES = {
    np.dtype(code).name: np.dtype(code)
    for code in ("?", *(f"{kind}{size}" for kind in "iu" for size in "1248"))
} | {f"float{size}": np.dtype(f"f{size // 8}") for size in (16, 32, 64)}


class Encoder:
    """Turns a router into JSON values, and collects what JSON does not hold."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.texts: list[str] = []
        self._numbers: dict[int, int] = {}

    def encode(self, value: Any, where: str, depth: int = 0) -> Any:
        """Encode one value for `json`; `where` is how errors call it."""
        if depth > _DEEPEST:
            raise ValueError(f"{where} is nested too deeply to be saved.")
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._encode_text(str(value))
        if isinstance(value, np.generic):
            return self._encode_scalar(value, where)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            finite = math.isfinite(value)
            return float(value) if finite else {"$": "float", "value": repr(value)}
        if isinstance(value, np.ndarray):
            return self._encode_array(value, where)
        if type(value) in (list, tuple):
            items = [
                self.encode(item, f"{where}[{i}]", depth + 1)
                for i, item in enumerate(value)
            ]
            return items if type(value) is list else {"$": "tuple", "items": items}
        if type(value) is dict:
            return self._encode_dict(value, where, depth)
        if isinstance(value, type) and issubclass(value, np.generic):
            return {"$": "type", "name": np.dtype(value).name}
        if isinstance(value, slice):
            ends = (value.start, value.stop, value.step)
            return {"$": "slice", "ends": self.encode(list(ends), where, depth + 1)}
        if isinstance(value, np.random.RandomState):
            state = self._encode_dict(value.get_state(legacy=False), where, depth)
            return {"$": "RandomState", "state": state}
        if type(value).__module__.split(".")[0] in ("pandas", "polars"):
            # A Series of prices goes by names of models, one of caps by position.
            prices = value if where.endswith(".budget") else as_mapping(value)
            plain = prices if isinstance(prices, dict) else np.asarray(value)
            return self.encode(plain, where, depth + 1)
        return self._encode_object(value, where, depth)

    def _encode_text(self, text: str) -> Any:
        if len(text) <= _LONG:
            return text
        self.texts.append(text)
        return {"$": "text", "member": len(self.texts) - 1}

    def _encode_scalar(self, value: np.generic, where: str) -> Any:
        name = value.dtype.name
        if name not in _DTYPES:
            raise ValueError(f"{where} is a {name}, which no router file holds.")
        return {"$": "scalar", "dtype": name, "value": self.encode(value.item(), where)}

    def _encode_array(self, array: np.ndarray, where: str) -> Any:
        """Encode an array of names as a list; hand one of numbers out as a member."""
        if array.dtype.kind in "OU":
            items = array.ravel().tolist()
            if all(item is None or isinstance(item, str) for item in items):
                return {"$": "names", "shape": list(array.shape), "items": items}
        if array.dtype.newbyteorder("=").name not in _DTYPES:
            raise ValueError(
                f"{where} is an array of {array.dtype}, and no router file holds other "
                f"arrays than of numbers or names. {_JOBLIB}."
            )
        # An array that is shared is written once, and shared again when it is read.
        if id(array) not in self._numbers:
            self._numbers[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return {"$": "array", "member": self._numbers[id(array)]}

    def _encode_dict(self, value: dict, where: str, depth: int) -> Any:
        """Encode a dict as a list of pairs, because JSON turns keys into text."""
        numbers, items = 0, []
        for key, item in value.items():
            # JSON has no numpy numbers.
            key = key.item() if isinstance(key, np.generic) else key
            if not isinstance(key, str | int):
                raise ValueError(
                    f"{where} is a dict with the key {key!r}, and a router file holds "
                    f"names and whole numbers only. {_JOBLIB}."
                )
            numbers += not isinstance(key, str)
            kept = str(key) if isinstance(key, str) else key
            items.append([kept, self.encode(item, f"{where}[{key!r}]", depth + 1)])
        if numbers > _MOST_NUMBER_KEYS:
            raise ValueError(f"{where} has more than {_MOST_NUMBER_KEYS} number keys.")
        return {"$": "dict", "items": items}

    def _encode_object(self, value: Any, where: str, depth: int) -> Any:
        """Encode an object of a class in the registry: its tag and its attributes."""
        # An object may replace what no file can hold, such as a function.
        value = getattr(value, "_for_file", lambda: value)()
        kind = type(value)
        tag = find_tag(kind)
        if tag is None:
            what = f"{where} is a {kind.__module__}.{kind.__qualname__}"
            if hasattr(value, "to_local"):
                raise ValueError(
                    f"{what}, which a cluster fits: save the plain router that its "
                    "to_local() gives, skroute.save(router.to_local(), path)."
                )
            raise ValueError(
                f"{what}, which no router file holds: files hold routers and deciders "
                "of skroute, and few plain estimators of scikit-learn around them "
                f"(docs/guide/trust.md lists them). {_JOBLIB_TRUSTED}"
            )
        state = dict(value.__getstate__() or {})
        for name in TRANSIENT & state.keys():
            del state[name]
        requests = state.pop(_REQUESTS, None)
        try:
            check_object_state(tag, state)
        except ValueError as error:
            raise ValueError(
                f"{where}, a {kind.__name__}, cannot be saved: {error}. "
                f"{_JOBLIB_TRUSTED}"
            ) from None
        parts = {
            name: self.encode(item, f"{where}.{name}", depth + 1)
            for name, item in state.items()
        }
        encoded = {"$": "object", "class": tag, "state": parts}
        if requests is not None:
            encoded["requests"] = {
                method: dict(asked.requests)
                for method, asked in vars(requests).items()
                if hasattr(asked, "requests")
            }
        return encoded


class Decoder:
    """Makes a router of what :class:`Encoder` made of one."""

    def __init__(
        self,
        array: Callable[[int], np.ndarray],
        text: Callable[[int], str],
        room: int,
        written: int,
    ) -> None:
        self._member_array, self._member_text = array, text
        self._room, self._written = room, written
        self._arrays: dict[int, np.ndarray] = {}
        self._texts: set[int] = set()

    def decode(self, value: Any, depth: int = 0) -> Any:
        """Decode one JSON value."""
        # An object, a list and what is in them count as one level each.
        if depth > 3 * _DEEPEST:
            raise ValueError("it is nested too deeply")
        if value is None or isinstance(value, str | bool | int | float):
            return value
        if isinstance(value, list):
            for i, item in enumerate(value):
                value[i] = self.decode(item, depth + 1)
            return value
        kind = value.get("$")
        reader = getattr(self, f"_read_{kind}", None) if type(kind) is str else None
        if reader is None:
            raise ValueError(f"it holds a {str(kind)[:40]!r}, which nothing here reads")
        return reader(value, depth + 1)

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise ValueError("it has too many objects for its size")

    def _read_float(self, value: dict, depth: int) -> float:
        if value["value"] not in ("inf", "-inf", "nan"):
            raise ValueError("it has a value that is not a number")
        return float(value["value"])

    def _read_tuple(self, value: dict, depth: int) -> tuple:
        return tuple(self.decode(_check_list(value["items"]), depth))

    def _read_slice(self, value: dict, depth: int) -> slice:
        ends = _check_list(self.decode(value["ends"], depth))
        whole = all(end is None or isinstance(end, int | np.integer) for end in ends)
        if len(ends) != 3 or not whole:
            raise ValueError("it has a slice that is not one")
        return slice(*ends)

    def _read_dict(self, value: dict, depth: int) -> dict:
        """Read a dict of names, or of whole numbers, each key once."""
        items: dict[str | int, Any] = {}
        numbers, left = 0, _check_list(value["items"])
        # Items are dropped as they are read, so that both forms do not coexist.
        left.reverse()
        while left:
            key, item = left.pop()
            if not isinstance(key, str | int) or key in items:
                raise ValueError("it has a dict with a key that is not one, or twice")
            numbers += not isinstance(key, str)
            if numbers > _MOST_NUMBER_KEYS:
                raise ValueError("it has a dict of too many numbers")
            items[key] = self.decode(item, depth)
        return items

    def _read_scalar(self, value: dict, depth: int) -> np.generic:
        dtype = _DTYPES[value["dtype"]]
        number = self.decode(value["value"], depth)
        if not isinstance(number, bool | int | float):
            raise ValueError("it has a value that is not a number")
        return dtype.type(number)

    def _read_type(self, value: dict, depth: int) -> type:
        return _DTYPES[value["name"]].type

    def _read_text(self, value: dict, depth: int) -> str:
        number = _check_index(value["member"])
        # Else a small file could unfold into many copies.
        if number in self._texts:
            raise ValueError(f"it uses the text {number} twice")
        self._texts.add(number)
        return self._member_text(number)

    def _read_array(self, value: dict, depth: int) -> np.ndarray:
        number = _check_index(value["member"])
        if number not in self._arrays:
            self._arrays[number] = self._member_array(number)
        else:
            # Count it again: float32 copies that are made later are not shared.
            self._take(self._arrays[number].nbytes)
        return self._arrays[number]

    def _read_names(self, value: dict, depth: int) -> np.ndarray:
        items, shape = _check_list(value["items"]), _check_list(value["shape"])
        if not all(item is None or isinstance(item, str) for item in items):
            raise ValueError("it has something else among names")
        if any(type(size) is not int or not 0 <= size <= len(items) for size in shape):
            raise ValueError("it has names of a shape that does not hold them")
        array = np.empty(len(items), dtype=object)
        array[:] = items
        return array.reshape(shape)

    def _read_RandomState(self, value: dict, depth: int) -> np.random.RandomState:
        """Read a random generator whose state is one that numpy can have."""
        state = self.decode(value["state"], depth)
        inner = state["state"]
        key, place = inner["key"], inner["pos"]
        # Compiled code reads the key from this position without checking it.
        if (
            state["bit_generator"] != "MT19937"
            or not (isinstance(key, np.ndarray) and key.shape == (624,))
            or key.dtype != np.uint32
            or not (type(place) is int and 0 <= place <= 624)
        ):
            raise ValueError("it has a random state that is not one")
        self._take(_SIZES["RandomState"])
        random = np.random.RandomState(0)
        random.set_state(state)
        return random

    def _read_object(self, value: dict, depth: int) -> Any:
        """Make an object of a class in the registry, after checks of its attributes."""
        tag, kind = value["class"], None
        if isinstance(tag, str):
            # Older formats call some classes otherwise.
            tag = name_current_class(tag, self._written)
            kind = find_class(tag)
        if kind is None:
            raise ValueError(f"it holds a {str(tag)[:40]!r}, which this version lacks")
        self._take(_SIZES["object"] + ("requests" in value) * _SIZES["requests"])
        parts = dict(value["state"]).items()
        state = {name: self.decode(item, depth) for name, item in parts}
        if not all(name.isidentifier() for name in state):
            raise ValueError("it has an attribute that is no name")
        # Checked after it is upgraded: the checks know today's attributes.
        state = upgrade(tag, state, self._written)
        check_object_state(tag, state)
        estimates = issubclass(kind, BaseEstimator)
        # No constructor runs: it might compute, or open a file.
        made = kind.__new__(kind)
        # Our estimators would ask for the version that pickled them.
        ours = estimates and kind.__module__.startswith("skroute.")
        if hasattr(kind, "__setstate__") and not ours:
            made.__setstate__(state)
        else:
            vars(made).update(state)
        if "requests" in value:
            if not estimates:
                raise ValueError(f"it has a {tag} that asks for metadata")
            vars(made)[_REQUESTS] = _read_requests(made, dict(value["requests"]))
        return made


def _read_requests(owner: Any, requests: dict[str, Any]) -> MetadataRequest:
    """What an estimator asks for by `set_fit_request` and its like."""
    made = MetadataRequest(owner=owner)
    for method, asked in requests.items():
        of_method = vars(made).get(method)
        if not hasattr(of_method, "add_request") or not isinstance(asked, dict):
            raise ValueError("it asks for metadata of an unknown method")
        for name, alias in asked.items():
            if not (alias is None or isinstance(alias, str | bool)):
                raise ValueError("it asks for metadata by no name")
            of_method.add_request(param=name, alias=alias)
    return made


def _check_list(value: Any) -> list:
    if not isinstance(value, list):
        raise ValueError("it has something else where a list belongs")
    return value


def _check_index(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("it names a member by what is not a number")
    return value

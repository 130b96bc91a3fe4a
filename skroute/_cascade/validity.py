"""Whether the parts of a cascade fit each other, as those from a file may not.

Arrays are counted against the models. Trees and what is left are tried on two of the
models, which takes neither time nor memory for the others.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from skroute._cascade.beliefs import AnswerBelief
from skroute._cascade.checks import ExactCheck, LearnedCheck, StatedCheck
from skroute._cascade.evidence import Evidence
from skroute._cascade.gains import LearnedGain
from skroute._cascade.outlook import Outlook
from skroute._cascade.path import CascadePath
from skroute._cascade.policy import CascadePolicy, Terms, choose_calls
from skroute._cascade.tested import KnownReplays
from skroute._rank.forest import PairRanker

_MOST_TRIED = 2
# Prices at which a confidence is tested, far above what is ever made.
_MOST_PRICES = 1000
_KINDS: dict[str, tuple[type, ...]] = {
    "check": (ExactCheck, StatedCheck, LearnedCheck, type(None)),
    "belief": (AnswerBelief,),
    "outlook": (Outlook,),
    "gain": (LearnedGain, type(None)),
    "trees": (PairRanker, type(None)),
    "others": (PairRanker,),
    "gains": (PairRanker,),
}


def check_policy(policy: Any, n_checks: Any, has_answers: Any) -> int:
    """Check that a policy decides queries with so many checks of an answer.

    Returns the number of its models; raises a ``ValueError`` if it does not.
    """
    _require(isinstance(policy, CascadePolicy), "its policy is of another class")
    _check_kinds(policy)
    accuracy = policy.belief.accuracy
    _require(
        isinstance(accuracy, np.ndarray) and accuracy.ndim == 1 and accuracy.size > 0,
        "it has no models",
    )
    n_models = len(accuracy)
    some = _take_models(policy, n_models)
    arrays = [] if policy.check is None else list(_arrays(policy.check).values())
    _require(
        type(has_answers) is bool
        and type(n_checks) is int
        and (n_checks > 0) == (policy.check is not None)
        and n_checks <= max([1, *(array.size for array in arrays)]),
        "it does not say what answers are compared by",
    )
    try:
        with np.errstate(all="ignore"):
            _try_out(some, n_checks, has_answers)
    except (
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"its parts do not fit each other: {error}") from None
    return n_models


def check_path(path: Any, n_models: int) -> None:
    """Check that a path leads from an infinite price to 0, by numbers."""
    _require(isinstance(path, CascadePath), "its path is of another class")
    columns = _arrays(path)
    price, escalates = path.price, path.escalates
    _require(
        all(column.ndim == 1 for column in columns.values())
        and len({len(column) for column in columns.values()}) == 1
        and isinstance(price, np.ndarray)
        and len(price) > 1
        and isinstance(escalates, np.ndarray)
        and escalates.dtype == bool,
        "its path does not have a row for each price",
    )
    rest = [column for column in columns.values() if column is not price]
    _require(
        all(np.isfinite(column).all() for column in rest)
        and price[0] == np.inf
        and bool((price[:-1] >= price[1:]).all())
        and bool((price[-2:] == 0).all()),
        "its path does not fall to the price 0 by numbers",
    )
    best = path.best_single
    _require(
        type(best) is int and 0 <= best < n_models,
        "its best single model is not one of its models",
    )


def check_tested(tested: Any, n_models: int) -> None:
    """Check what a confidence is tested on: numbers for each price and query."""
    if tested is None:
        return
    _require(isinstance(tested, KnownReplays), "its replays are of another class")
    columns = _arrays(tested)
    prices, queries = np.shape(tested.price), np.shape(tested.number)
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        **dict.fromkeys(("price", "highest", "less", "more", "most"), (prices, "f")),
        "escalates": (prices, "b"),
        **dict.fromkeys(("quality", "spend"), (np.shape(tested.at), "f")),
        "at": (np.shape(tested.at), "i"),
        **dict.fromkeys(("single_quality", "single_spend"), (queries, "f")),
        "number": (queries, "i"),
    }
    _require(
        len(prices) == len(queries) == np.ndim(tested.at) == 1
        and 0 < prices[0] <= _MOST_PRICES
        and queries[0] > 0
        and columns.keys() == expected.keys()
        and all(
            (column.shape, column.dtype.kind) == expected[name]
            for name, column in columns.items()
        ),
        "its replays do not have a row for each price",
    )
    # A table of prices and queries is made of what changes in it.
    starts = np.arange(queries[0]) * prices[0]
    _require(
        bool((np.diff(tested.at) > 0).all())
        and bool(np.isin(starts, tested.at).all())
        and 0 <= tested.at[0] <= tested.at[-1] < queries[0] * prices[0],
        "its replays do not have a row for each query",
    )
    rest = [columns[k] for k in columns if k not in ("price", "highest")]
    _require(
        all(np.isfinite(column).all() for column in rest)
        and tested.price[0] == 0
        and tested.highest[-1] == np.inf
        and bool((tested.price <= tested.highest).all())
        and bool((tested.highest[:-1] < tested.price[1:]).all())
        and tested.number.min() >= 0,
        "its replays do not rise from the price 0 to infinity by numbers",
    )
    best, most = tested.best_single, tested.single_most
    _require(
        type(best) is int
        and 0 <= best < n_models
        and isinstance(most, float)
        and np.isfinite(most)
        and type(tested.may_be_alone) is bool,
        "its replays do not say what the best single model is",
    )


def _check_kinds(part: Any) -> None:
    """Check that parts are of the classes that belong there, with all their fields."""
    for field in fields(part):
        _require(hasattr(part, field.name), f"it has no {field.name}")
        value = getattr(part, field.name)
        if field.name in _KINDS:
            allowed = isinstance(value, _KINDS[field.name])
            _require(allowed, f"its {field.name} is a {type(value).__name__}")
        if is_dataclass(value) and not isinstance(value, PairRanker):
            _check_kinds(value)


def _arrays(part: Any) -> dict[str, np.ndarray]:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {k: value for k, value in values.items() if isinstance(value, np.ndarray)}


def _take_models(part: Any, n_models: int) -> Any:
    """Take the first models of a part, whose arrays have a row for each model."""
    changed: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, np.ndarray):
            _require(
                value.dtype == np.float64 and bool(np.isfinite(value).all()),
                f"its {field.name} must hold finite numbers",
            )
            # The weights of a comparison are of no model.
            if not (isinstance(part, AnswerBelief) and field.name == "weights"):
                _require(
                    value.ndim > 0 and len(value) == n_models,
                    f"its {field.name} does not have a row for each model",
                )
                value = value[:_MOST_TRIED]
            if field.name == "rescue":
                _require(
                    value.shape[1:] == (n_models,),
                    "its rescue does not have a column for each model",
                )
                value = value[:, :_MOST_TRIED]
            changed[field.name] = value
        elif is_dataclass(value) and not isinstance(value, PairRanker):
            changed[field.name] = _take_models(value, n_models)
    return replace(part, **changed)


def _try_out(policy: CascadePolicy, n_checks: int, has_answers: bool) -> None:
    """Decide on a first call and a second; raises an error if that cannot be done."""
    n_models = len(policy.belief.accuracy)
    shape = 1, n_models
    evidence = Evidence(
        np.full(shape, 0.5),
        np.ones(shape),
        np.zeros((*shape, n_checks)) if n_checks else None,
        np.zeros(shape, dtype=np.intp) if has_answers else None,
    )
    terms = Terms(1.0, 2)
    allowed, called = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for _ in range(2):
        _, worth, belief = choose_calls(policy, terms, evidence, called, allowed)
        _require(worth.shape == shape, "the worth of a call is not a number")
        left = worth[allowed & ~called]
        _require(bool(np.isfinite(left).all()), "the worth of a call is not a number")
        if belief is not None:
            _require(
                belief.logits.shape == shape and bool(np.isfinite(belief.value).all()),
                "the worth of an answer is not a number",
            )
        called[0, 0] = True


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)

"""Tables of all kinds, on which a cascade works without complaint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from simulated import simulate_table
from sklearn.utils import Bunch

from skroute import CascadeDecider

pytestmark = pytest.mark.slow

NAN = float("nan")


def take(table: Bunch, rows: Any) -> Bunch:
    return Bunch(**{name: values[rows] for name, values in table.items()})


def with_quality(table: Bunch, y: np.ndarray, scale: Any = None) -> Bunch:
    """The table with other outcomes, and estimates of its qualities in their unit."""
    expected, costs = np.hsplit(table.Z, 2)
    if scale is not None:
        expected = scale(expected)
    return Bunch(**{**table, "y": y, "Z": np.hstack([expected, costs])})


def with_costs(table: Bunch, factor: float) -> Bunch:
    expected, costs = np.hsplit(table.Z, 2)
    Z = np.hstack([expected, factor * costs])
    return Bunch(**{**table, "Z": Z, "costs": factor * table.costs})


def with_holes(values: np.ndarray, share: float, blank: Any = NAN) -> np.ndarray:
    is_hole = np.random.RandomState(3).random_sample(values.shape) < share
    return np.where(is_hole, blank, values)


TABLE = simulate_table(40)
GRADED = np.clip(
    0.6 * TABLE.y + 0.4 * np.random.RandomState(4).random_sample(TABLE.y.shape), 0, 1
)
BOTH, CHECKS, EXACT = ("checks", "answers"), ("checks",), ()
CASES: dict[str, tuple[Bunch, tuple[str, ...]]] = {
    "25 rows": (take(TABLE, slice(25)), BOTH),
    "one prompt": (
        Bunch(**{**TABLE, "Z": np.repeat(TABLE.Z[:1], 40, axis=0)}),
        BOTH,
    ),
    "two prompts": (
        Bunch(**{**TABLE, "Z": np.repeat(TABLE.Z[:2], 20, axis=0)}),
        CHECKS,
    ),
    "each row twice": (take(TABLE, np.repeat(np.arange(40), 2)), BOTH),
    "all wrong": (with_quality(TABLE, 0 * TABLE.y), BOTH),
    "all wrong, exact": (with_quality(TABLE, 0 * TABLE.y), EXACT),
    "all right": (with_quality(TABLE, 0 * TABLE.y + 1), BOTH),
    "all right, exact": (with_quality(TABLE, 0 * TABLE.y + 1), EXACT),
    "free": (with_costs(TABLE, 0.0), CHECKS),
    "cents": (with_costs(TABLE, 1e-9), CHECKS),
    "millions": (with_costs(TABLE, 1e9), EXACT),
    "checks not known": (Bunch(**{**TABLE, "checks": NAN * TABLE.checks}), CHECKS),
    "checks of one model not known": (
        Bunch(**{**TABLE, "checks": TABLE.checks * [1, 1, NAN]}),
        BOTH,
    ),
    "checks all alike": (Bunch(**{**TABLE, "checks": 0 * TABLE.checks + 7}), CHECKS),
    "checks of huge numbers": (Bunch(**{**TABLE, "checks": TABLE.checks * 1e12}), BOTH),
    "no answers": (Bunch(**{**TABLE, "answers": np.full((40, 3), "")}), ("answers",)),
    "answers all alike": (
        Bunch(**{**TABLE, "answers": np.full((40, 3), "a", dtype=object)}),
        BOTH,
    ),
    "holes": (
        Bunch(
            **{
                **TABLE,
                "y": with_holes(TABLE.y, 0.1),
                "costs": with_holes(TABLE.costs, 0.2),
                "checks": with_holes(TABLE.checks, 0.3),
                "answers": with_holes(TABLE.answers, 0.3, None),
            }
        ),
        BOTH,
    ),
    "holes, exact": (with_quality(TABLE, with_holes(TABLE.y, 0.1)), EXACT),
    "graded": (with_quality(TABLE, GRADED), BOTH),
    "graded, exact": (with_quality(TABLE, GRADED), EXACT),
    "two checks": (
        Bunch(
            **{**TABLE, "checks": np.stack([TABLE.checks, with_holes(GRADED, 0.2)], 2)}
        ),
        BOTH,
    ),
    "one model": (
        Bunch(
            **{
                **{k: values[:, :1] for k, values in TABLE.items()},
                "Z": TABLE.Z[:, [0, 3]],
            }
        ),
        BOTH,
    ),
    "70 models": (simulate_table(25, 70), CHECKS),
}


def fit(table: Bunch, names: tuple[str, ...], **parameters: Any) -> Bunch:
    known = {name: table[name] for name in names}
    decider = CascadeDecider(**{"max_calls": 2, "random_state": 0, **parameters})
    decider.fit(table.Z, table.y, costs=table.costs, **known)
    return Bunch(decider=decider, known=known)


@pytest.mark.parametrize("case", CASES)
def test_any_table_is_learned_and_replayed(case):
    table, names = CASES[case]
    fitted = fit(table, names)
    decider, known = fitted.decider, fitted.known
    replayed = decider.replay(table.Z, table.y, table.costs, **known)
    low, high = np.nanmin(table.y), np.nanmax(table.y)
    assert low - 1e-9 <= replayed.mean_quality <= high + 1e-9
    assert np.isfinite(replayed.spend).all()
    assert np.isfinite(replayed.curve().quality).all()
    score = decider.score(table.Z, table.y, costs=table.costs, **known)
    assert low - 1e-9 <= score <= high + 1e-9
    assert decider.price_ >= 0
    # The second call, of what was and was not checked.
    first = decider.next(table.Z)
    rows, place = np.arange(len(first)), decider.predict(table.Z)
    said = {name: values[rows, place][:, None] for name, values in known.items()}
    blank = {name: None for name in said if name == "checks"}
    for told in (said, {**said, **blank}):
        second = decider.next(table.Z, first, **told)
        assert set(second) <= {*decider.models_, None}
        assert not (second == first).any()
        assert decider.answer(table.Z, first, **told).tolist() == first.tolist()
        shown = decider.explain(table.Z, first, **told)
        expected = np.asarray(shown["expected_quality"])
        assert ((expected >= 0) & (expected <= 1)).all()


@pytest.mark.parametrize("case", ["all wrong", "all right", "one model"])
def test_where_nothing_is_gained_one_model_is_called(case):
    table, names = CASES[case]
    fitted = fit(table, names)
    replayed = fitted.decider.replay(table.Z, table.y, table.costs, **fitted.known)
    assert replayed.mean_calls == 1
    assert set(replayed.answer) == {"model_0"}
    assert not fitted.decider.escalates_


@pytest.fixture(scope="module", params=[EXACT, BOTH], ids=["exact", "learned"])
def plain(request):
    """Cascades of qualities between 0 and 1, and the names of what they were given."""
    return Bunch(**fit(TABLE, request.param), names=request.param)


@pytest.mark.parametrize(
    "scale",
    [lambda y: 100 * y, lambda y: 2 * y - 3, lambda y: y / 8 - 0.125],
    ids=["0 to 100", "below 0", "just below 0"],
)
def test_the_unit_of_the_qualities_changes_no_call(plain, scale):
    table = with_quality(TABLE, scale(TABLE.y), scale)
    scaled = fit(table, plain.names)
    expected = plain.decider.replay(TABLE.Z, TABLE.y, TABLE.costs, **plain.known)
    found = scaled.decider.replay(table.Z, table.y, table.costs, **scaled.known)
    assert (found.calls == expected.calls).mean() > 0.95
    assert found.mean_quality == pytest.approx(scale(expected.mean_quality), rel=0.05)
    ratio = scale(1.0) - scale(0.0)
    assert scaled.decider.price_ == pytest.approx(ratio * plain.decider.price_, rel=0.2)


@pytest.mark.parametrize(
    "chances",
    [
        (1.0, 1.0),
        (0.5, 0.5),
        (1.0, 0.0),
        (0.0, 1.0),
        (0.9, [0.2, 0.5, 1.0]),
    ],
    ids=str,
)
def test_any_chances_may_be_stated(chances):
    sensitivity, specificity = chances
    fitted = fit(TABLE, (), sensitivity=sensitivity, specificity=specificity)
    decider = fitted.decider
    replayed = decider.replay(TABLE.Z, TABLE.y, TABLE.costs)
    assert 0 < replayed.mean_quality <= 1
    first = decider.next(TABLE.Z)
    passed = decider.explain(TABLE.Z, first, np.ones((40, 1)))["expected_quality"]
    failed = decider.explain(TABLE.Z, first, np.zeros((40, 1)))["expected_quality"]
    assert (np.asarray(passed) >= np.asarray(failed) - 0.05).all()
    if sensitivity == specificity == 1:
        assert (np.asarray(passed) - np.asarray(failed) > 0.9).all()

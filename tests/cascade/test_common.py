"""scikit-learn's estimator checks and its tools, over cascades."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from simulated import simulate_table
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_validate
from sklearn.utils.estimator_checks import parametrize_with_checks

from skroute import CascadeDecider
from skroute.exceptions import VersionWarning


def widen(Z: Any, y: Any) -> Any:
    """Take the outcome of a query as that of every model."""
    is_column = np.ndim(y) == 2 and np.shape(y)[1] == 1 and np.ndim(Z) == 2
    return np.repeat(y, np.shape(Z)[1], axis=1) if is_column else y


class AnyWidthDecider(CascadeDecider):
    """A decider of any table: the common checks feed any width, and one outcome."""

    def fit(self, Z: Any, y: Any, **known: Any) -> AnyWidthDecider:
        super().fit(Z, widen(Z, y), **known)
        return self

    def score(self, Z: Any, y: Any, **known: Any) -> float:
        return super().score(Z, widen(Z, y), **known)

    def _split(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return Z, Z**2


_FEW = "it feeds fewer queries than the 20 on which a cascade can be replayed"


@pytest.mark.slow
@parametrize_with_checks(
    [AnyWidthDecider(max_calls=2)],
    expected_failed_checks=lambda estimator: dict.fromkeys(
        (
            "check_estimators_nan_inf",
            "check_fit2d_1feature",
            "check_n_features_in_after_fitting",
        ),
        _FEW,
    ),
)
def test_scikit_learn_checks(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(estimator)


def test_parameters_are_those_of_the_constructor():
    decider = CascadeDecider(0.5, max_calls=2, check_cost=0.1, random_state=3)
    again = clone(decider)
    assert again.get_params() == decider.get_params()
    assert again.get_params()["budget"] == 0.5
    assert repr(again) == repr(decider)


@pytest.mark.parametrize("name", ["next", "answer", "predict", "replay", "explain"])
def test_nothing_is_asked_before_fit(name):
    Z = simulate_table(5).Z
    given = {"answer": (Z, None), "replay": (Z, Z[:, :3])}.get(name, (Z,))
    with pytest.raises(NotFittedError):
        getattr(CascadeDecider(), name)(*given)
    with pytest.raises(NotFittedError):
        _ = CascadeDecider().price_


def decide(fitted: Any, decider: Any, rows: slice = slice(None)) -> list[Any]:
    """First calls, second calls and answers of the training queries."""
    Z, known = fitted.Z[rows], {k: table[rows] for k, table in fitted.known.items()}
    first = decider.next(Z)
    place = np.array([decider.models_.tolist().index(name) for name in first])
    at = np.arange(len(Z)), place
    said = {name: table[at][:, None] for name, table in known.items()}
    second, answer = (ask(Z, first, **said) for ask in (decider.next, decider.answer))
    return [first.tolist(), second.tolist(), answer.tolist()]


@pytest.mark.parametrize("how", [pickle, joblib])
def test_copies_decide_alike(fitted, how):
    file = io.BytesIO()
    how.dump(fitted.decider, file)
    file.seek(0)
    copy = how.load(file)
    assert decide(fitted, copy) == decide(fitted, fitted.decider)
    assert copy.price_ == fitted.decider.price_


def test_a_pickle_warns_under_another_version(exact, monkeypatch):
    content = pickle.dumps(exact.decider)
    monkeypatch.setattr("skroute._io.versions.__version__", "99.0")
    with pytest.warns(VersionWarning, match="CascadeDecider was pickled by skroute"):
        pickle.loads(content)


def test_a_frozen_cascade_is_not_fitted_again(exact):
    frozen = FrozenEstimator(exact.decider).fit(exact.Z[:30], exact.y[:30])
    assert frozen.predict(exact.Z).tolist() == exact.decider.predict(exact.Z).tolist()


@pytest.mark.slow
def test_cross_validation_replays_what_was_held_out(metadata_routing):
    table = simulate_table(120)
    given = {"costs": table.costs, "checks": table.checks}
    decider = CascadeDecider(max_calls=2, random_state=0)
    found = cross_validate(
        *(decider, table.Z, table.y),
        params=given,
        cv=2,
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )
    test, one = found["indices"]["test"][0], found["estimator"][0]
    held_out = {name: values[test] for name, values in given.items()}
    replayed = one.score(table.Z[test], table.y[test], **held_out)
    assert found["test_score"][0] == replayed


# Parameters that are set after fit


STEPS = [
    ({"price": 0.02}, {"price": 0.1}),
    ({"price": 0.02}, {"price": None, "budget": 2.0}),
    ({"price": 0.02}, {"price": None, "budget": 3.0, "scope": "query"}),
    ({"price": 0.02}, {"price": None, "min_quality": "90%"}),
    ({"price": 0.02}, {"price": None}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), STEPS, ids=str)
def test_what_is_set_after_fit_holds_from_the_next_call(exact, before, after):
    decider = pickle.loads(pickle.dumps(exact.decider))
    old = decide(exact, decider)
    decider.set_params(**after)
    # Caps of a query move the path; the rules on average do not.
    if "scope" not in after:
        expected = clone(decider).fit(exact.Z, exact.y, costs=exact.costs)
        assert decider.price_ == expected.price_
        assert decider.escalates_ == expected.escalates_
        assert decider.quality_target_ == expected.quality_target_
        assert decide(exact, decider) == decide(exact, expected)
    else:
        spent = decider.replay(exact.Z, exact.y, exact.Z[:, 3:]).spend
        assert spent.max() <= after["budget"] * (1 + 1e-9)
    decider.set_params(budget=None, min_quality=None, scope="mean", **before)
    assert decide(exact, decider) == old


@pytest.mark.parametrize(
    "change",
    [
        {"max_calls": 2},
        {"check_cost": 0.1},
        {"sensitivity": 0.9, "specificity": 0.8},
        {"sensitivity": [0.9, 0.8, 0.7]},
    ],
    ids=str,
)
def test_what_the_replay_rests_on_needs_another_fit(exact, change):
    decider = pickle.loads(pickle.dumps(exact.decider)).set_params(**change)
    names = " and ".join(change)
    for ask in (decider.next, decider.predict, decider.explain):
        with pytest.raises(ValueError, match=f"{names} changed since fit"):
            ask(exact.Z)
    with pytest.raises(ValueError, match="fit the decider again"):
        _ = decider.price_
    decider.set_params(**exact.decider.get_params())
    assert decider.price_ == exact.decider.price_


def test_a_rule_that_cannot_be_met_is_refused_at_the_next_call(exact):
    decider = pickle.loads(pickle.dumps(exact.decider)).set_params(budget=2.0)
    with pytest.raises(ValueError, match="budget and price each fix the shadow price"):
        decider.next(exact.Z)
    decider.set_params(price=None, budget=0.01)
    with pytest.raises(ValueError, match=r"budget=0\.01 is below"):
        decider.next(exact.Z)
    decider.set_params(on_infeasible="cheapest")
    assert set(decider.next(exact.Z)) == {decider.models_[0]}


# What tables may look like


def named(values: np.ndarray, models: list[str], kind: Any, prefix: str = "") -> Any:
    columns = [f"{prefix}{model}" for model in models]
    return kind({name: values[:, i].tolist() for i, name in enumerate(columns)})


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_tables_are_matched_by_name(learned, kind):
    models = ["tiny", "small", "large", "huge"]
    turn = [2, 0, 3, 1]
    turned = [models[i] for i in turn]
    estimates = np.hsplit(learned.Z, 2)
    both = [
        named(part[:, order], names, pd.DataFrame, prefix)
        for part, prefix, order, names in (
            (estimates[0], "quality__", range(4), models),
            (estimates[1], "cost__", range(4), models),
        )
    ]
    Z = pd.concat(both, axis=1)
    given = {
        name: named(table[:, turn], turned, kind)
        for name, table in {**learned.known, "costs": learned.costs}.items()
    }
    y = named(learned.y[:, turn], turned, kind)
    decider = clone(learned.decider).fit(Z, y, **given)
    assert decider.models_.tolist() == models
    assert decider.n_features_in_ == 8
    assert decider.feature_names_in_.tolist() == list(Z.columns)
    assert decider.price_ == learned.decider.price_
    # Columns of Z in another order, too.
    again = decider.replay(Z[Z.columns[::-1]], y, **given)
    expected = learned.decider.replay(
        learned.Z, learned.y, learned.costs, **learned.known
    )
    renamed = dict(zip([*learned.decider.models_, None], [*models, None], strict=True))
    assert again.calls.tolist() == [
        [renamed[name] for name in row] for row in expected.calls
    ]
    np.testing.assert_array_equal(again.spend, expected.spend)


@pytest.mark.slow
def test_single_precision_and_arrays_that_cannot_be_written(exact):
    table = {name: exact[name].astype(np.float32) for name in ("Z", "y", "costs")}
    for values in table.values():
        values.flags.writeable = False
    Z, decider = table["Z"], clone(exact.decider)
    decider.fit(Z, table["y"], costs=table["costs"])
    assert decider.price_ == pytest.approx(exact.decider.price_, rel=1e-4)
    first = decider.next(Z)
    assert (first == exact.decider.next(exact.Z)).mean() > 0.97
    checks = np.zeros((len(first), 1), dtype=np.float32)
    checks.flags.writeable = first.flags.writeable = False
    assert decider.next(Z, first[:, None], checks).shape == first.shape


@pytest.mark.parametrize("n_calls", [0, 1, 2])
def test_no_query_at_all(fitted, n_calls):
    decider, Z = fitted.decider, fitted.Z[:0]
    called = np.empty((0, n_calls), dtype=object)
    said = {
        name: np.empty((0, n_calls), table.dtype)
        for name, table in fitted.known.items()
    }
    for ask in (decider.next, decider.answer):
        found = ask(Z, called, **said)
        assert found.shape == (0,)
        assert found.dtype == object
    assert decider.next(Z).shape == decider.predict(Z).shape == (0,)
    costs = np.empty((0, len(decider.models_)))
    assert decider.next(Z, called, **said, costs=costs).shape == (0,)
    assert len(decider.explain(Z, called, **said)) == 0


def test_lists_are_read_as_arrays(exact):
    model = exact.decider.models_[0]
    Z = exact.Z[:3]
    expected = exact.decider.next(Z, np.full((3, 1), model), np.zeros((3, 1)))
    for called, checks in (
        ([[model]] * 3, [[0], [False], [0.0]]),
        ([model] * 3, [0, 0, 0]),
        ([[model, None]] * 3, [[0, None], [0, np.nan], [0, np.nan]]),
        (pd.DataFrame({"first": [model] * 3}), pd.DataFrame({"first": [0.0] * 3})),
    ):
        assert exact.decider.next(Z, called, checks).tolist() == expected.tolist()

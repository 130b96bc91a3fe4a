"""Parameters that are set after `fit`: they take effect, or are refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import skroute
from skroute import BudgetDecider, DummyRouter, InfeasibleBudgetError, RankingRouter
from skroute._decide.rule import Rule
from skroute.datasets import make_routing

ROUTERS = Path(__file__).parents[1] / "data" / "routers"
DATA = make_routing(200, n_features=5, n_models=4, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
RNG = np.random.default_rng(0)
QUALITY = np.clip(Y + RNG.normal(0, 0.3, Y.shape), 0, 1)
Z = np.hstack([QUALITY, C])
LOW, HIGH = np.quantile(C.mean(axis=0), [0.3, 0.8])
BUDGET = dict(budget=LOW)
STEPS = [
    (dict(), BUDGET),
    (BUDGET, dict(budget=HIGH)),
    (BUDGET, dict(budget=None)),
    (BUDGET, dict(budget=None, price=3.0)),
    (BUDGET, dict(budget=None, min_quality="90%")),
    (BUDGET, dict(scope="query", budget=np.full(len(Z), C.max()))),
    (BUDGET, dict(scope="batch", budget=LOW * len(Z))),
    (BUDGET, dict(budget=C.min() / 2, on_infeasible="cheapest")),
    (dict(price=1.0), dict(price=9.0)),
    (dict(price=1.0), dict(price=None, tolerance=0.2)),
    (dict(min_quality="95%"), dict(min_quality="80%")),
    (dict(min_quality="95%"), dict(min_quality=0.5, scope="batch")),
    (dict(budget=HIGH, scope="query", on_infeasible="cheapest"), dict(scope="mean")),
    (dict(min_quality="90%", tolerance=0.1), dict(min_quality=None, price=2.0)),
]


def ids(value: Any) -> str:
    return "+".join(value) or "default"


@pytest.mark.parametrize(("before", "after"), STEPS, ids=ids)
def test_what_is_set_after_fit_decides_as_if_it_had_been_fitted(before, after):
    changed = BudgetDecider(**before).fit(Z, Y, costs=C)
    old = changed.predict(Z)
    expected = BudgetDecider(**(before | after)).fit(Z, Y, costs=C)
    changed.set_params(**after)
    assert changed.predict(Z).tolist() == expected.predict(Z).tolist()
    assert changed.route(Z, top_k=2).tolist() == expected.route(Z, top_k=2).tolist()
    assert changed.price_ == expected.price_
    assert changed.quality_target_ == expected.quality_target_
    # And back.
    changed.set_params(**BudgetDecider(**before).get_params())
    assert changed.predict(Z).tolist() == old.tolist()


def test_an_attribute_that_is_set_takes_effect_too():
    decider = BudgetDecider(LOW).fit(Z)
    decider.budget = HIGH
    assert decider.price_ == BudgetDecider(HIGH).fit(Z).price_


@pytest.mark.parametrize("way", ["pickle", "save"])
def test_a_decider_that_was_stored_takes_new_parameters(way, tmp_path):
    decider = BudgetDecider(min_quality="95%").fit(Z, Y)
    if way == "pickle":
        decider = pickle.loads(pickle.dumps(decider))
    else:
        skroute.save(decider, tmp_path / "d.skroute")
        decider = skroute.load(tmp_path / "d.skroute")
    decider.set_params(min_quality="80%")
    expected = BudgetDecider(min_quality="80%").fit(Z, Y)
    assert decider.price_ == expected.price_
    assert decider.predict(Z).tolist() == expected.predict(Z).tolist()


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.filterwarnings("ignore::skroute.exceptions.VersionWarning")
def test_a_decider_of_an_older_file_knows_what_it_was_settled_for(number):
    file = ROUTERS / f"format_{number}" / "stream.skroute"
    decider = skroute.load(file)
    assert decider.settled_.rule == Rule(budget=decider.budget)
    assert decider.price_ == 0.0
    decider.set_params(budget=decider.price_path_.cost[0] / 2)
    assert decider.price_ > 0.0  # an error, were it no stream
    with pytest.raises(ValueError, match="changed since fit"):
        decider.set_params(tolerance=0.1).predict(np.ones((1, 6)))


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (BUDGET, dict(tolerance=0.1), "tolerance=0.1.*tolerance=0 "),
        (dict(budget=LOW, tolerance=0.1), dict(tolerance=0.0), "tolerance=0.1"),
        (dict(price=1.0, tolerance=0.1), dict(price=None, budget=LOW), "tolerance=0.1"),
        (
            dict(min_quality=0.1),
            dict(budget=C.max(), scope="query"),
            "cap of",
        ),
        (
            dict(min_quality=0.1, budget=C.max(), scope="query"),
            dict(budget=C.max() / 2, on_infeasible="cheapest"),
            "cap of",
        ),
    ],
)
def test_what_the_stored_path_cannot_answer_is_refused(before, after, named):
    decider = BudgetDecider(**before).fit(Z)
    decider.set_params(**after)
    for ask in (decider.predict, decider.route, decider.transform):
        with pytest.raises(ValueError, match=rf"changed since fit.*{named}.*again"):
            ask(Z)
    again = decider.fit(Z).predict(Z)
    expected = BudgetDecider(**(before | after)).fit(Z).predict(Z)
    assert again.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (dict(budget=-1.0), "budget must be at least 0"),
        (dict(budget="much"), "budget"),
        (dict(scope="month"), "scope must be one of"),
        (dict(price=-1.0), "price"),
        (dict(budget=None, min_quality="95"), "min_quality"),
        (dict(tolerance=np.nan), "tolerance"),
        (dict(on_infeasible="cry"), "on_infeasible"),
        (dict(price=1.0), "budget and price each fix"),
        (dict(budget=[LOW] * 3), "scope='query'"),
    ],
)
def test_nonsense_that_is_set_is_refused_as_in_fit(params, message):
    decider = BudgetDecider(LOW).fit(Z).set_params(**params)
    for ask in (decider.predict, decider.route, lambda Z: decider.price_):
        with pytest.raises(ValueError, match=message):
            ask(Z)
    with pytest.raises(ValueError, match=message):
        decider.fit(Z)


def test_a_budget_that_is_set_and_cannot_be_kept_is_refused():
    decider = BudgetDecider(LOW).fit(Z).set_params(budget=C.min() / 2)
    with pytest.raises(InfeasibleBudgetError, match="smallest feasible"):
        decider.predict(Z)


# Streams


def test_a_budget_that_is_set_in_a_stream_holds_at_once():
    decider = BudgetDecider(LOW).fit(Z).partial_fit(Z)
    before, account = decider.price_, decider._pace.account
    decider.set_params(budget=HIGH)
    assert decider.price_ < before
    assert decider._pace.account == account
    rich = decider.price_
    decider.partial_fit(Z[:1])
    assert decider.price_ == pytest.approx(rich, rel=0.2)
    # What a stream knows answers other questions, too.
    decider.set_params(budget=None, price=7.0)
    assert decider.price_ == 7.0


def test_a_budget_below_the_cheapest_is_no_error_in_a_stream():
    decider = BudgetDecider(LOW).fit(Z).set_params(budget=C.min() / 2)
    with pytest.warns(UserWarning, match="Raise the budget"):
        decider.partial_fit(Z)
    assert decider.price_ == np.inf
    decider.set_params(budget=C.min() / 3)
    assert (decider.predict(Z) == C.argmin(axis=1)).all()


def test_a_stream_refuses_a_tolerance_that_its_path_does_not_know():
    decider = BudgetDecider(LOW).partial_fit(Z).set_params(tolerance=0.1)
    before = pickle.dumps(decider)
    with pytest.raises(ValueError, match="changed since fit"):
        decider.partial_fit(Z)
    assert pickle.dumps(decider) == before


def test_a_share_of_the_best_model_needs_a_fit():
    decider = BudgetDecider(LOW).partial_fit(Z)
    decider.set_params(budget=None, min_quality="90%")
    with pytest.raises(ValueError, match="call fit, or give min_quality as a number"):
        decider.predict(Z)


# Prices of routers

PRICES = [1.0, 2.0, 3.0, 4.0]
NAMES = ["a", "b", "c", "d"]
BY_NAME = dict(zip(NAMES, PRICES, strict=True))
RANKING = RankingRouter(
    n_estimators=2, n_landmarks=12, min_child_samples=10, random_state=0
)


@pytest.mark.parametrize("router", [RANKING, DummyRouter()], ids=["ranking", "dummy"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (PRICES, PRICES[::-1]),
        (np.array(PRICES), np.array(PRICES) + 1),
        (BY_NAME, BY_NAME | {"a": 9.0}),
        (pd.Series(BY_NAME), pd.Series(BY_NAME) * 2),
        (PRICES, None),
        (PRICES, {"a": 1.0}),
        (PRICES, "cheap"),
    ],
)
def test_prices_that_are_set_after_fit_are_refused_until_the_next(router, old, new):
    y = pd.DataFrame(Y, columns=NAMES)
    router = clone(router).set_params(costs=old).fit(X, y)
    before = router.route(X[:5]).tolist()
    with pytest.raises(ValueError, match=r"costs are not those.*router\.with_prices"):
        router.set_params(costs=new)
    assert router.route(X[:5]).tolist() == before
    router.costs = new
    for ask in (
        lambda: router.route(X[:5]),
        lambda: router.predict(X[:5]),
        lambda: router.transform(X[:5]),
        lambda: router.explain(X[:5]),
        lambda: router.score(X, y),
    ):
        with pytest.raises(ValueError, match=r"costs are not those.*fitted at them"):
            ask()
    router.set_params(costs=old)
    assert router.route(X[:5]).tolist() == before


def test_prices_that_are_set_for_a_new_fit_are_those_of_it():
    router = clone(DummyRouter(costs=PRICES).fit(X, Y))
    router.set_params(costs=[5.0, 6.0, 7.0, 8.0]).fit(X, Y)
    assert router.costs_.tolist() == [5.0, 6.0, 7.0, 8.0]
    assert router.route(X[:1]).shape == (1,)


@pytest.mark.parametrize(
    "prices",
    [PRICES, tuple(PRICES), np.array([1, np.nan, 3, 4]), BY_NAME, pd.Series(BY_NAME)],
    ids=["list", "tuple", "array", "dict", "Series"],
)
def test_equal_prices_are_no_change(prices, tmp_path):
    y = pd.DataFrame(Y, columns=NAMES)
    router = clone(RANKING).set_params(costs=prices).fit(X, y, costs=C)
    answers = router.transform(X[:5])
    skroute.save(router, tmp_path / "r.skroute")
    same = [
        pickle.loads(pickle.dumps(router)),
        skroute.load(tmp_path / "r.skroute"),
        router.set_params(costs=clone(router).costs),
    ]
    for other in same:
        np.testing.assert_array_equal(other.transform(X[:5]), answers)


def test_a_pool_that_changed_keeps_its_prices():
    router = clone(RANKING).set_params(costs=BY_NAME)
    router.fit(X, pd.DataFrame(Y, columns=NAMES))
    larger = router.add_model("e", Y[:, 0], X=X, costs=2.0)
    assert larger.remove_model("a").route(X[:2]).shape == (2,)

"""Costs that are known with the request take the place of the estimates."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skroute import (
    BudgetDecider,
    InfeasibleBudgetError,
    PointwiseRouter,
    RankingRouter,
    base,
)
from skroute.datasets import make_routing, read_routerbench
from skroute.text import TextRouter

MODELS = ["small", "medium", "large"]
N = 240
DATA = make_routing(2 * N, n_models=3, random_state=0)
Y = pd.DataFrame(DATA.quality, columns=MODELS)
ROUTER = PointwiseRouter(Ridge(), random_state=0)
Z = ROUTER.fit_transform(DATA.data[:N], Y[:N], costs=DATA.costs[:N])
NAMES = [f"{kind}__{model}" for kind in ("quality", "cost") for model in MODELS]
X = DATA.data[N:]
LIVE = ROUTER.transform(X)
QUALITY, COST = np.hsplit(LIVE, 2)
rng = np.random.default_rng(0)
# Costs of these requests: a fifth is known, and far from what is expected.
KNOWN = np.where(rng.random(COST.shape) < 0.2, COST * rng.uniform(0, 4, COST.shape), 0)
KNOWN[KNOWN == 0] = np.nan
PAID = np.where(np.isnan(KNOWN), COST, KNOWN)
BUDGET = float(COST.mean())
PRICE = 0.5 / BUDGET
RULES: dict[str, dict[str, Any]] = {
    "quality": {},
    "mean": {"budget": BUDGET},
    "query": {"budget": float(COST.max()), "scope": "query"},
    "caps": {
        "budget": np.maximum(PAID.min(axis=1), COST.min(axis=1)) * 1.5,
        "scope": "query",
        "price": PRICE,
    },
    "batch": {"budget": BUDGET * N, "scope": "batch"},
    "target": {"min_quality": "90%"},
    "price": {"price": PRICE},
    "tolerance": {"tolerance": 0.3},
}


def deciding(**rule: Any) -> BudgetDecider:
    return BudgetDecider(**rule).fit(pd.DataFrame(Z, columns=NAMES))


@pytest.mark.parametrize("rule", RULES)
def test_they_take_the_place_of_estimates(rule: str) -> None:
    given = RULES[rule]
    decider = BudgetDecider(**given)
    if rule == "caps":
        decider.set_params(budget=np.full(N, np.inf))
    decider.fit(Z).set_params(**given)
    expected = decider.route(np.hstack([QUALITY, PAID]), top_k=3)
    # Without a price of money, costs matter among equals only.
    changed = (expected != decider.route(LIVE, top_k=3)).any()
    assert changed == (rule != "quality")
    np.testing.assert_array_equal(decider.route(LIVE, top_k=3, costs=KNOWN), expected)
    chosen = decider.predict(LIVE, costs=KNOWN)
    np.testing.assert_array_equal(decider.models_[chosen], expected[:, 0])
    one_hot = decider.transform(LIVE, costs=KNOWN)
    np.testing.assert_array_equal(one_hot.argmax(axis=1), chosen)


@pytest.mark.parametrize("rule", RULES)
def test_a_router_decides_and_explains_by_them(rule: str) -> None:
    names = ROUTER.route(X, **RULES[rule], costs=KNOWN, top_k=2)
    why = ROUTER.explain(X, **RULES[rule], costs=KNOWN)
    np.testing.assert_array_equal(why["chosen"], names[:, 0])
    np.testing.assert_array_equal(why["runner_up"], names[:, 1])
    chosen = pd.Index(MODELS).get_indexer(names[:, 0])
    np.testing.assert_array_equal(why["expected_cost"], PAID[np.arange(N), chosen])
    best = ROUTER.models_.tolist().index(ROUTER.best_single_)
    np.testing.assert_allclose(why["saved"], PAID[:, best] - why["expected_cost"])


def test_caps_and_totals_are_of_known_costs() -> None:
    cap = float(np.quantile(PAID.min(axis=1), 1.0))
    names = ROUTER.route(X, budget=cap, scope="query", costs=KNOWN, top_k=3)
    for column in names.T:
        called = pd.Index(MODELS).get_indexer(column)
        rows = np.flatnonzero(called >= 0)
        assert (PAID[rows, called[rows]] <= cap * (1 + 1e-6)).all()
    names = ROUTER.route(X, budget=BUDGET * N, scope="batch", costs=KNOWN)
    spent = PAID[np.arange(N), pd.Index(MODELS).get_indexer(names)].sum()
    assert 0.98 * BUDGET * N <= spent <= BUDGET * N * (1 + 1e-6)
    with pytest.raises(InfeasibleBudgetError):
        ROUTER.route(X, budget=cap, scope="query", costs=dict.fromkeys(MODELS, 2 * cap))


# Names and shapes.


def test_they_are_matched_by_name() -> None:
    expected = ROUTER.route(X, price=PRICE, costs=KNOWN).tolist()
    table = pd.DataFrame(KNOWN, columns=MODELS)
    assert ROUTER.route(X, price=PRICE, costs=table[MODELS[::-1]]).tolist() == expected
    one = {"large": 0.3 * BUDGET}
    by_model = [np.nan, np.nan, 0.3 * BUDGET]
    expected = ROUTER.route(X, price=PRICE, costs=by_model).tolist()
    assert expected != ROUTER.route(X, price=PRICE).tolist()
    decider = deciding(price=PRICE)
    for costs in (
        one,
        pd.Series(one),
        pd.DataFrame(one, index=range(N)),
        np.tile(by_model, (N, 1)),
        np.ma.masked_invalid(np.tile(by_model, (N, 1))),
    ):
        assert ROUTER.route(X, price=PRICE, costs=costs).tolist() == expected
        assert (
            ROUTER.explain(X, price=PRICE, costs=costs)["chosen"].tolist() == expected
        )
        live = pd.DataFrame(LIVE, columns=NAMES)
        assert decider.route(live, costs=costs).tolist() == expected


@pytest.mark.parametrize("nothing", [None, {}, [np.nan] * 3, np.full((N, 3), np.nan)])
def test_what_is_not_known_is_estimated(nothing: Any) -> None:
    expected = ROUTER.route(X, budget=BUDGET)
    np.testing.assert_array_equal(
        ROUTER.route(X, budget=BUDGET, costs=nothing), expected
    )


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ([1.0, 2.0], r"costs must be money per call .*got \(2,\)"),
        (np.ones((2, 3)), r"got \(2, 3\)"),
        (np.ones((N, 2)), rf"got \({N}, 2\)"),
        (np.ones(N), rf"got \({N},\)"),
        ({"huge": 1.0}, "costs names huge, which are no models"),
        ({"large": np.ones(N)}, "a dict of columns"),
        (pd.DataFrame(np.ones((N, 2)), columns=["large", "huge"]), "costs names huge"),
        (pd.DataFrame(np.ones((N, 2)), columns=["large", "large"]), "unique"),
        ([1.0, -1.0, 1.0], "costs must not be negative"),
        ({"large": np.inf}, "costs"),
        ("cheap", "costs"),
    ],
)
def test_what_cannot_be_matched_is_refused(costs: Any, message: str) -> None:
    for ask in (
        lambda: ROUTER.route(X, costs=costs),
        lambda: ROUTER.explain(X, costs=costs),
        lambda: deciding().route(pd.DataFrame(LIVE, columns=NAMES), costs=costs),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


def test_as_many_queries_as_models_are_ambiguous_without_names() -> None:
    money = [0.1 * BUDGET, 5.0 * BUDGET, 5.0 * BUDGET]
    with pytest.raises(ValueError, match="3 numbers without names for 3 queries"):
        ROUTER.route(X[:3], price=PRICE, costs=money)
    with pytest.raises(ValueError, match="3 numbers without names"):
        ROUTER.route(X[:3], price=PRICE, costs=pd.Series(money))
    names = ROUTER.route(X, price=PRICE, costs=money)[:3].tolist()
    for costs in (
        dict(zip(MODELS, money, strict=True)),
        pd.Series(money, index=MODELS),
        np.tile(money, (3, 1)),
        pd.DataFrame(np.tile(money, (3, 1))[:, ::-1], columns=MODELS[::-1]),
    ):
        assert ROUTER.route(X[:3], price=PRICE, costs=costs).tolist() == names


def test_rows_in_another_order_are_refused() -> None:
    rows = [f"q{i}" for i in range(N)]
    queries = pd.DataFrame(X, index=rows)
    costs = pd.DataFrame(KNOWN, index=rows[::-1], columns=MODELS)
    with pytest.raises(ValueError, match="another order"):
        ROUTER.route(queries, costs=costs)
    with pytest.raises(ValueError, match="another order"):
        deciding().predict(pd.DataFrame(LIVE, index=rows, columns=NAMES), costs=costs)


def test_no_queries_have_no_costs() -> None:
    assert ROUTER.route(X[:0], costs={"large": 1.0}).shape == (0,)
    assert deciding().route(
        pd.DataFrame(LIVE[:0], columns=NAMES), costs=np.empty((0, 3))
    ).shape == (0,)


# What was settled.


@pytest.mark.parametrize("rule", ["mean", "target", "price", "quality"])
def test_long_calls_are_decided_alike(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = RankingRouter(n_estimators=0, n_landmarks=8, random_state=0)
    router.fit(DATA.data[:N], Y[:N], costs=DATA.costs[:N])
    queries = np.vstack([X, X + 50.0])  # some far from what it was fitted on
    known = np.vstack([KNOWN, KNOWN])
    whole = router.route(queries, **RULES[rule], costs=known)
    monkeypatch.setattr(base, "_DECIDED_AT_ONCE", 7)
    np.testing.assert_array_equal(
        router.route(queries, **RULES[rule], costs=known), whole
    )


def test_far_queries_get_the_cheapest_model_that_reaches_the_target() -> None:
    router = RankingRouter(n_estimators=0, n_landmarks=8, random_state=0)
    router.fit(DATA.data[:N], Y[:N], costs=DATA.costs[:N])
    far = np.full((2, X.shape[1]), 50.0)
    assert set(router.route(far, min_quality=0.01)) == {"small"}
    quality = router.predict_quality(far)[0]
    costs = {"small": 9.0 * BUDGET, "medium": 0.0}
    assert (quality > 0.01).all()
    assert set(router.route(far, min_quality=0.01, costs=costs)) == {"medium"}


@cache
def promising(**rule: Any) -> BudgetDecider:
    decider = BudgetDecider(**rule, confidence=0.5)
    return decider.fit(Z, Y[:N].to_numpy(), costs=DATA.costs[:N])


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.0, 1.0))
def test_promises_are_left_on_the_safe_side_only(seed: int, share: float) -> None:
    draw = np.random.default_rng(seed)
    known = COST * draw.lognormal(0, 1, COST.shape)
    known[draw.random(COST.shape) < share] = np.nan
    paid = np.where(np.isnan(known), COST, known)
    rows = np.arange(N)
    target = promising(min_quality="50%")
    tested, now = target.predict(LIVE), target.predict(LIVE, costs=known)
    assert (QUALITY[rows, now] >= QUALITY[rows, tested]).all()
    limit = promising(budget=1.5 * BUDGET)
    tested, now = limit.predict(LIVE), limit.predict(LIVE, costs=known)
    assert (paid[rows, now] <= paid[rows, tested]).all()


def test_one_model_for_all_is_left_where_it_became_too_dear() -> None:
    # Estimates that say the opposite of the outcomes: one model does better by itself.
    quality = 0.5 + 0.2 * np.random.default_rng(1).uniform(size=(400, 2))
    cost = np.tile([1.0, 2.0], (400, 1))
    outcome = np.where(quality < quality.max(axis=1, keepdims=True), [0.6, 0.7], 0.0)
    outcome[:, 1] += 0.5
    estimates = np.hstack([quality, cost])
    decider = BudgetDecider(budget=1.4).fit(estimates, outcome, costs=cost)
    assert decider.settled_.price.single == 0
    assert decider.price_ > 0
    # What was expected changes nothing, nor does a little more.
    for known in (cost, cost * 1.0001, {"model_0": 1.001}):
        assert set(decider.predict(estimates, costs=known)) == {0}
    known = cost.copy()
    known[:50, 0] = 1000.0
    np.testing.assert_array_equal(
        decider.predict(estimates, costs=known), np.arange(400) < 50
    )


def test_a_stream_keeps_to_its_budget_by_known_costs() -> None:
    draw = np.random.default_rng(0)
    decider = BudgetDecider(BUDGET, on_infeasible="cheapest").fit(Z)
    spent = []
    for _ in range(120):
        rows = draw.integers(N, size=50)
        # All calls cost half as much again as was expected when the router was fitted.
        known = 1.5 * COST[rows]
        choice = decider.predict(LIVE[rows], costs=known)
        spent.append(known[np.arange(50), choice])
        decider.partial_fit(LIVE[rows], known_costs=known)
    assert np.mean(spent[40:]) == pytest.approx(BUDGET, rel=0.03)
    with pytest.raises(ValueError, match="costs names huge"):
        decider.partial_fit(LIVE[:5], known_costs={"huge": 1.0})


def test_pipelines_pass_them_on() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            PointwiseRouter(Ridge(), random_state=0), BudgetDecider(budget=BUDGET)
        )
        pipeline.fit(DATA.data[:N], Y[:N], costs=DATA.costs[:N])
        chosen = pipeline.predict(X, costs=KNOWN)
        decided = pipeline[-1].predict(LIVE, costs=KNOWN)
        np.testing.assert_array_equal(chosen, decided)
        # As a step before others, a decider is fitted on what calls have cost.
        hot = BudgetDecider().fit_transform(LIVE, Y[N:], costs=DATA.costs[N:])
        assert hot.shape == (N, 3)


def test_prompts_have_known_costs() -> None:
    prompts = [f"{'prove' if i % 2 else 'add'} {i % 7}" for i in range(N)]
    router = TextRouter(PointwiseRouter(Ridge(), random_state=0))
    router.fit(prompts, Y[:N], costs=DATA.costs[:N])
    names = router.route(prompts, price=PRICE, costs=KNOWN)
    vectors = router.embed(prompts)
    expected = router.router_.route(vectors, price=PRICE, costs=KNOWN)
    np.testing.assert_array_equal(names, expected)
    assert (names != router.route(prompts, price=PRICE)).any()
    with pytest.raises(ValueError, match="another order"):
        router.route(
            pd.Series(prompts, index=[f"q{i}" for i in range(N)]),
            costs=pd.DataFrame(
                KNOWN, index=[f"q{N - 1 - i}" for i in range(N)], columns=MODELS
            ),
        )


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_on_a_real_table_they_keep_the_budget_and_buy_more(
    share: float, shared_data: Any
) -> None:
    table = read_routerbench(
        shared_data / "llmdrift.csv.gz", embeddings=shared_data / "llmdrift_minilm.npy"
    )
    X, y, costs = table.data, table.quality, table.costs
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:1000], order[1000:]
    router = RankingRouter(n_estimators=0, random_state=0)
    Z = router.fit_transform(X[train], y[train], costs=costs[train])
    low, high = router.price_path_.cost[[0, -1]]
    budget = float(low + share * (high - low))
    decider = BudgetDecider(budget).fit(Z, y[train], costs=costs[train])

    def measure(chosen: np.ndarray) -> tuple[float, float]:
        rows = np.arange(len(test))
        return y[test][rows, chosen].mean(), costs[test][rows, chosen].mean() / budget

    gained, _ = measure(decider.predict(router.transform(X[test])))
    names = router.route(X[test], budget=budget, costs=costs[test])
    more, spend = measure(pd.Index(router.models_).get_indexer(names))
    assert more > gained + 0.02
    # At the price for estimates, decisions by true costs spend up to a fifth too much.
    assert spend == pytest.approx(1.0, abs=0.06)
    chosen = decider.predict(router.transform(X[test]), costs=costs[test])
    more, spend = measure(chosen)
    assert more > gained + 0.02
    assert spend == pytest.approx(1.0, abs=0.06)

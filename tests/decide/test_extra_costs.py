"""Second prices: a weight, a mean limit and a cap on what calls take beside money."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import skroute
from skroute import (
    BudgetDecider,
    CascadeDecider,
    InfeasibleBudgetError,
    PointwiseRouter,
    RankingRouter,
)
from skroute._decide.extra import TrainingExtras, settle_extras
from skroute._decide.rule import Rule
from skroute.base import BaseRouter
from skroute.datasets import make_routing, read_routerbench
from skroute.text import TextRouter
from skroute.validation import check_queries, check_routing_table

MODELS = ["small", "medium", "large"]
N = 300
DATA = make_routing(2 * N, n_models=3, random_state=0)
Y = pd.DataFrame(DATA.quality, columns=MODELS)
rng = np.random.default_rng(0)
# Seconds: longer for hard queries, and of models that are not the expensive ones.
HARD = np.abs(DATA.data[:, :1])
SECONDS = (1 + HARD) * [2.0, 1.0, 6.0] * rng.lognormal(sigma=0.3, size=Y.shape)
ROUTER = PointwiseRouter(Ridge(), random_state=0)
Z = ROUTER.fit_transform(
    DATA.data[:N],
    Y[:N],
    costs=DATA.costs[:N],
    extra_costs={"latency_s": pd.DataFrame(SECONDS[:N], columns=MODELS)[MODELS[::-1]]},
)
X = DATA.data[N:]
LIVE = ROUTER.transform(X)
BUDGET = float(np.mean(ROUTER.price_path_.cost[[0, -1]]))
ROWS = np.arange(N)


def ask(**ways: float) -> dict[str, Any]:
    return {"latency_s": (None, ways)}


def index(names: Any) -> np.ndarray:
    return pd.Index(MODELS).get_indexer(list(names))


def measure(names: Any) -> tuple[float, float]:
    """Mean seconds and money of calls, as they fell out."""
    chosen = index(names)
    return SECONDS[N:][ROWS, chosen].mean(), DATA.costs[N:][ROWS, chosen].mean()


def learn(**asked: Any) -> BudgetDecider:
    decider = BudgetDecider(**asked)
    known = {"latency_s": SECONDS[:N]}
    return decider.fit(Z, Y[:N], costs=DATA.costs[:N], extra_costs=known)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"budget": BUDGET},
        {"price": 0.05},
        {"min_quality": "90%"},
        {"budget": 2 * BUDGET, "scope": "query"},
    ],
    ids=str,
)
def test_a_mean_is_held_on_fresh_rows(asked: dict[str, Any]) -> None:
    free, _ = measure(ROUTER.route(X, **asked))
    with pytest.raises(InfeasibleBudgetError, match="smallest feasible limit") as found:
        ROUTER.route(X, **asked, extra_costs=ask(mean=0.1))
    least = found.value.smallest_limit
    assert least is not None
    limit = (free + least) / 2
    took, spent = measure(ROUTER.route(X, **asked, extra_costs=ask(mean=limit)))
    assert took == pytest.approx(limit, rel=0.15)
    assert took < free
    if asked == {"budget": BUDGET}:
        assert spent < 1.1 * BUDGET
    # The limit that the error names is one that can be had.
    ROUTER.route(X, **asked, extra_costs=ask(mean=least * (1 + 1e-5)))
    # One that does not bind changes nothing.
    names = ROUTER.route(X, **asked, extra_costs=ask(mean=1e6))
    if asked.get("scope") != "query":
        np.testing.assert_array_equal(names, ROUTER.route(X, **asked))


def test_a_weight_steers_and_the_budget_counts_money() -> None:
    seconds, money = zip(
        *(
            measure(ROUTER.route(X, budget=BUDGET, extra_costs=ask(weight=weight)))
            for weight in (0.0, 0.3, 3.0)
        ),
        strict=True,
    )
    assert seconds[0] > seconds[1] > seconds[2]
    assert max(money) < 1.1 * BUDGET
    # A weight beside which money is nothing takes the fastest, whatever they cost.
    asked = {"latency_s": ([9.0, 9.0, 1.0], {"weight": 1e6})}
    with pytest.raises(InfeasibleBudgetError, match="also weigh latency_s") as found:
        ROUTER.route(X, budget=BUDGET, extra_costs=asked)
    assert found.value.smallest_budget > BUDGET
    # At a price, the best of quality - price * (cost + weight * extra).
    quality, cost = np.hsplit(LIVE, 2)
    taken = np.full(cost.shape, [2.0, 1.0, 6.0])
    worth = quality - 0.05 * (cost + 0.3 * taken)
    asked = {"latency_s": (taken, {"weight": 0.3})}
    names = ROUTER.route(X, price=0.05, extra_costs=asked)
    np.testing.assert_array_equal(index(names), worth.argmax(axis=1))


def test_a_cap_leaves_models_out_of_each_query() -> None:
    taken = SECONDS[N:]
    asked = {"latency_s": (taken, {"query": 4.0})}
    fits = taken <= 4.0
    stuck = ~fits.any(axis=1)
    assert stuck.any()
    with pytest.raises(InfeasibleBudgetError, match="no model that takes so") as found:
        ROUTER.route(X, extra_costs=asked)
    assert found.value.smallest_limit == taken.min(axis=1).max()
    names = ROUTER.route(X, extra_costs=asked, on_infeasible="cheapest", top_k=3)
    chosen = index(names[:, 0])
    assert fits[ROWS, chosen][~stuck].all()
    assert (chosen == taken.argmin(axis=1))[stuck].all()
    # No fallback is above the cap.
    for place in (1, 2):
        there = names[:, place] != None  # noqa: E711 (of an array)
        assert fits[ROWS[there], index(names[there, place])].all()


def test_deciders_decide_as_routers() -> None:
    for ways in ({"mean": 3.0}, {"weight": 0.5}, {"query": 12.0}):
        decider = learn(budget=BUDGET, extra_costs={"latency_s": ways})
        names = ROUTER.route(X, budget=BUDGET, extra_costs=ask(**ways))
        np.testing.assert_array_equal(decider.models_[decider.predict(LIVE)], names)
        np.testing.assert_array_equal(decider.route(LIVE), names)
        assert decider.transform(LIVE).argmax(axis=1).tolist() == index(names).tolist()
    decider = learn(budget=BUDGET, extra_costs={"latency_s": {"mean": 3.0}})
    price = decider.second_prices_["latency_s"]
    assert price > 0
    decider.set_params(extra_costs={"latency_s": {"mean": 2.5}})
    assert decider.second_prices_["latency_s"] > price
    decider.set_params(extra_costs=None)
    assert decider.second_prices_ == {}
    plain = BudgetDecider(BUDGET).fit(Z, Y[:N], costs=DATA.costs[:N])
    assert decider.price_ == plain.price_


def test_values_of_models_need_nothing_learned() -> None:
    router = PointwiseRouter(Ridge(), random_state=0)
    router.fit(DATA.data[:N], Y[:N], costs=DATA.costs[:N])
    by_name = {"large": 6.0, "small": 2.0, "medium": 1.0}
    names = [
        router.route(X, budget=BUDGET, extra_costs={"s": (values, {"mean": 2.5})})
        for values in (by_name, [2.0, 1.0, 6.0], pd.Series(by_name))
    ]
    for other in names[1:]:
        np.testing.assert_array_equal(names[0], other)
    taken = np.array([2.0, 1.0, 6.0])[index(names[0])].mean()
    assert taken == pytest.approx(2.5, rel=0.1)
    with pytest.raises(ValueError, match="settled on training queries"):
        router.route(X, extra_costs={"s": (SECONDS[N:], {"mean": 2.5})})
    with pytest.raises(ValueError, match="not known of the models in the columns 2"):
        router.route(X, extra_costs={"s": ({"small": 2, "medium": 1}, {"query": 3.0})})
    # One request at a time, too.
    asked = {"s": (by_name, {"mean": 2.5})}
    one = [router.route(x[None], budget=BUDGET, extra_costs=asked)[0] for x in X[:9]]
    assert one == names[0][:9].tolist()


def test_a_limit_that_is_changed_in_place_counts() -> None:
    limit = {"mean": 5.0}

    def took(ways: dict[str, float]) -> float:
        return measure(ROUTER.route(X, extra_costs={"latency_s": (None, ways)}))[0]

    loose = took(limit)
    limit["mean"] = 2.5
    tight = took(limit)
    assert tight < loose - 1
    # Nor does a fresh dict get what was found for other numbers.
    limit["mean"] = 5.0
    assert took({"mean": 2.5}) == tight
    assert took({"mean": 5.0}) == loose

    asked = {"latency_s": {"mean": 5.0}}
    decider = learn(extra_costs=asked)
    price = decider.second_prices_["latency_s"]
    asked["latency_s"]["mean"] = 2.5
    assert decider.second_prices_["latency_s"] > price
    expected = learn(extra_costs={"latency_s": {"mean": 2.5}})
    np.testing.assert_array_equal(decider.predict(LIVE), expected.predict(LIVE))
    decider.set_params(extra_costs={"latency_s": {"mean": 2.5}})
    assert decider.second_prices_ == expected.second_prices_


def test_a_capacity_that_is_changed_in_place_counts() -> None:
    capacity = {"small": N, "medium": N, "large": 20}
    decider = BudgetDecider(scope="batch", capacity=capacity)
    decider.fit(Z, Y[:N], costs=DATA.costs[:N])
    for most in (20, 10):
        capacity["large"] = most
        assert (decider.route(LIVE) == "large").sum() == most
        names = ROUTER.route(X, scope="batch", capacity=capacity)
        assert (names == "large").sum() == most


class Means(BaseRouter):
    """A router of a third party."""

    def fit(self, X: Any, y: Any, *, costs: Any = None) -> Means:
        table = check_routing_table(self, X, y, costs)
        self.slope_ = np.nanmean(table.quality, axis=0)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        return self.predict_quality(X)

    def predict_quality(self, X: Any) -> np.ndarray:
        return self.slope_ * check_queries(self, X)[:, :1]

    def predict_cost(self, X: Any) -> np.ndarray:
        return np.tile(self.costs_, (len(check_queries(self, X)), 1))


def test_rows_of_a_call_stand_for_the_traffic_of_a_third_party() -> None:
    router = Means().fit(DATA.data[:N], Y[:N], costs=DATA.costs[:N])
    asked = {"s": (SECONDS[N:], {"mean": 4.0})}
    chosen = index(router.route(X, extra_costs=asked))
    assert SECONDS[N:][ROWS, chosen].mean() <= 4.0 * (1 + 1e-6)
    with pytest.raises(ValueError, match="100 rows"):
        router.route(X[:9], extra_costs={"s": (SECONDS[N : N + 9], {"mean": 4.0})})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"extra_costs": {"s": 2.0}}, "must be a pair"),
        ({"extra_costs": {"s": ([1, 2, 3], 2.0)}}, "a dict that says what is meant"),
        ({"extra_costs": {"s": ([1, 2, 3], {"limit": 2.0})}}, "asks for limit"),
        ({"extra_costs": {"s": ([1, 2, 3], {"mean": -1.0})}}, "at least 0"),
        ({"extra_costs": {"s": ([1, 2, 3], {"weight": 1.0})}}, "money does not count"),
        ({"extra_costs": {"s": ([1, 2], {"query": 2.0})}}, "must be numbers per call"),
        ({"extra_costs": {"s": ({"tiny": 1}, {"query": 2.0})}}, "no models"),
        ({"extra_costs": {"s": ([-1, 2, 3], {"query": 2.0})}}, "not be negative"),
        ({"extra_costs": {"cost": ([1, 2, 3], {"query": 2.0})}}, "names such as"),
        ({"extra_costs": [("s", 1)]}, "a dict by name"),
        (
            {"extra_costs": ask(mean=3.0), "budget": np.ones(N), "scope": "query"},
            "budget as an array",
        ),
        (
            {"extra_costs": {n: ([1, 2, 3], {"mean": 2.0}) for n in "st"}},
            "limit the mean of one",
        ),
        ({"extra_costs": ask(mean=3.0), "explore": 0.1}, "explore=0.1"),
        (
            {"extra_costs": ask(mean=3.0), "confidence": 0.9, "budget": BUDGET},
            "confidence=0.9",
        ),
        ({"extra_costs": ask(mean=3.0), "tolerance": 0.1}, "tolerance=0.1"),
        ({"extra_costs": ask(mean=3.0), "scope": "batch"}, "scope='batch'"),
        (
            {"extra_costs": ask(weight=3.0), "scope": "batch", "budget": 900.0},
            "a batch budget",
        ),
    ],
    ids=str,
)
def test_what_is_ambiguous_or_not_kept_is_refused(asked: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ROUTER.route(X, **asked)


def test_refused_by_name_elsewhere() -> None:
    with pytest.raises(TypeError, match="extra_costs"):
        CascadeDecider(budget=1.0, extra_costs={"s": {"mean": 2.0}})
    decider = learn(budget=BUDGET, extra_costs={"latency_s": {"mean": 3.0}})
    with pytest.raises(ValueError, match="does not know extra_costs"):
        decider.partial_fit(LIVE)
    with pytest.raises(ValueError, match="asks nothing"):
        decider.route(LIVE, extra_costs={"s": [1.0, 2.0, 3.0]})
    holes = {"s": np.where([True, False, False], np.nan, SECONDS[:N])}
    with pytest.raises(ValueError, match="says nothing of small"):
        BudgetDecider().fit(Z, Y[:N], extra_costs=holes)
    with pytest.raises(ValueError, match="a dict by name"):
        BudgetDecider().fit(Z, Y[:N], extra_costs=SECONDS[:N])
    router = RankingRouter(n_estimators=0, forget_after=500, random_state=0)
    router.fit(
        DATA.data[:N],
        Y[:N],
        costs=DATA.costs[:N],
        extra_costs={"latency_s": SECONDS[:N]},
    )
    router.route(X, extra_costs=ask(mean=3.0))
    router.update(X[:50], Y[N : N + 50], costs=DATA.costs[N : N + 50])
    for made in (router, router.remove_model("small")):
        with pytest.raises(ValueError, match="is not known"):
            made.route(X, extra_costs=ask(mean=3.0))


def test_dask_refuses_them_by_name() -> None:
    pytest.importorskip("dask")
    from skroute.dask import DaskRankingRouter

    for fit in (DaskRankingRouter().fit, DaskRankingRouter().fit_transform):
        with pytest.raises(ValueError, match="extra_costs are counted in memory"):
            fit(X, Y[N:], extra_costs={"s": SECONDS[N:]})


def test_rows_in_another_order_are_refused() -> None:
    frame = pd.DataFrame(X, index=[f"q{i}" for i in ROWS])
    turned = pd.DataFrame(SECONDS[N:], index=frame.index[::-1], columns=MODELS)
    ROUTER.fit(pd.DataFrame(DATA.data[:N]), Y[:N], costs=DATA.costs[:N])
    try:
        with pytest.raises(ValueError, match="another order"):
            ROUTER.route(frame, extra_costs={"s": (turned, {"query": 9.0})})
    finally:
        ROUTER.fit(
            DATA.data[:N],
            Y[:N],
            costs=DATA.costs[:N],
            extra_costs={"latency_s": SECONDS[:N]},
        )


def test_explain_counts_them() -> None:
    asked = {"budget": BUDGET, "extra_costs": ask(mean=2.5)}
    told = ROUTER.explain(X, **asked)
    names = ROUTER.route(X, **asked, top_k=2)
    np.testing.assert_array_equal(told["chosen"], names[:, 0])
    np.testing.assert_array_equal(told["runner_up"], names[:, 1])
    assert (told["margin"] >= -1e-9).all()
    assert (told["expected_latency_s"] > 0).all()
    # Money and seconds are worth the same in every query.
    change = {
        kind: told[f"expected_{kind}"] - told[f"runner_up_{kind}"]
        for kind in ("quality", "cost", "latency_s")
    }
    left = change["quality"] - told["price"] * change["cost"] - told["margin"]
    decider = learn(budget=BUDGET, extra_costs={"latency_s": {"mean": 2.5}})
    second = decider.second_prices_["latency_s"]
    np.testing.assert_allclose(left, second * change["latency_s"], atol=1e-8)


def test_pipelines_pass_them_on() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        decider = BudgetDecider(BUDGET, extra_costs={"latency_s": {"mean": 3.0}})
        pipeline = make_pipeline(PointwiseRouter(Ridge(), random_state=0), decider)
        known = {"latency_s": SECONDS[:N]}
        pipeline.fit(DATA.data[:N], Y[:N], costs=DATA.costs[:N], extra_costs=known)
        expected = ROUTER.route(X, budget=BUDGET, extra_costs=ask(mean=3.0))
        np.testing.assert_array_equal(index(expected), pipeline.predict(X))
        now = {"latency_s": {"small": 9.0}}
        slow = pipeline.predict(X, extra_costs=now)
        assert (slow == 0).mean() < (pipeline.predict(X) == 0).mean()


def test_known_money_is_counted_beside_them() -> None:
    # Decided by the bills themselves, better decisions keep both limits.
    bills = DATA.costs[N:]
    asked = {"budget": BUDGET, "extra_costs": ask(mean=3.0)}
    took, spent = measure(ROUTER.route(X, **asked, costs=bills))
    assert took == pytest.approx(3.0, rel=0.15)
    assert spent < 1.1 * BUDGET
    gained = [
        DATA.quality[N:][ROWS, index(names)].mean()
        for names in (ROUTER.route(X, **asked, costs=bills), ROUTER.route(X, **asked))
    ]
    assert gained[0] > gained[1] - 0.02
    assert ROUTER.route(X[:0], **asked).shape == (0,)


def test_prompts_have_them() -> None:
    prompts = [f"{'prove' if i % 2 else 'add'} {i % 7}" for i in range(N)]
    router = TextRouter(PointwiseRouter(Ridge(), random_state=0))
    router.fit(
        prompts,
        Y[:N],
        costs=DATA.costs[:N],
        extra_costs={"latency_s": SECONDS[:N]},
    )
    names = router.route(prompts, extra_costs=ask(mean=3.0))
    vectors = router.embed(prompts)
    expected = router.router_.route(vectors, extra_costs=ask(mean=3.0))
    np.testing.assert_array_equal(names, expected)
    assert len(router.explain(prompts, extra_costs=ask(mean=3.0))) == N


def test_files_and_pickles_keep_them(tmp_path: Any) -> None:
    decider = learn(budget=BUDGET, extra_costs={"latency_s": {"mean": 3.0}})
    expected = decider.route(LIVE), ROUTER.route(X, extra_costs=ask(mean=3.0))
    for made, router in (
        (_resave(decider, tmp_path / "d"), _resave(ROUTER, tmp_path / "r")),
        (pickle.loads(pickle.dumps(decider)), copy.deepcopy(ROUTER)),
    ):
        np.testing.assert_array_equal(made.route(LIVE), expected[0])
        names = router.route(X, extra_costs=ask(mean=3.0))
        np.testing.assert_array_equal(names, expected[1])
        made.set_params(extra_costs={"latency_s": {"mean": 2.5}})
        assert made.second_prices_["latency_s"] > decider.second_prices_["latency_s"]


def _resave(made: Any, path: Any) -> Any:
    skroute.save(made, path)
    return skroute.load(path)


def test_other_prices_do_not_change_what_is_learned() -> None:
    scaled = ROUTER.with_prices(scale={"small": 3.0, "large": 0.5})
    asked = {"latency_s": (None, {"query": 6.0})}
    kind = {"extra_costs": asked, "on_infeasible": "cheapest", "price": 0.0}
    one, other = (made.explain(X, **kind) for made in (ROUTER, scaled))
    np.testing.assert_allclose(one["expected_latency_s"], other["expected_latency_s"])


tables = st.tuples(
    st.integers(2, 30), st.integers(2, 4), st.integers(0, 2**20), st.booleans()
)


@settings(deadline=None, max_examples=40)
@given(
    tables,
    st.floats(0.0, 1.0),
    st.sampled_from(["none", "budget", "target"]),
    st.sampled_from([0.0, 0.5]),
)
def test_limits_are_held_on_the_rows_they_were_settled_on(
    table: Any, share: float, kind: str, weight: float
) -> None:
    n_queries, n_models, seed, has_ties = table
    rng = np.random.default_rng(seed)
    quality, cost, taken = rng.random((3, n_queries, n_models)).round(
        1 if has_ties else 9
    )
    gained, spent = rng.random((2, n_queries, n_models))
    most = np.clip(taken + rng.normal(scale=0.1, size=taken.shape), 0, None)
    training = TrainingExtras(quality, cost, gained, spent, taken[None], most[None])
    floor = taken.min(axis=1).mean()
    limit = floor + share * (taken.max(axis=1).mean() - floor)
    rule: dict[str, Any] = {
        "none": {},
        "budget": {"budget": float(spent.min(axis=1).mean())},
        "target": {"min_quality": float(gained.mean())},
    }[kind]
    weight = 0.0 if kind == "none" else weight
    for _ in range(4):
        asked = Rule(**rule, extra_costs={"s": {"mean": limit, "weight": weight}})
        try:
            settled = settle_extras(asked, training, None, 1.0)
            break
        except InfeasibleBudgetError as error:
            # What it names is feasible.
            limit = error.smallest_limit or limit
            if error.smallest_budget is not None:
                rule["budget"] = error.smallest_budget
            if error.largest_quality is not None:
                rule["min_quality"] = error.largest_quality
    choice, rows = _decide(settled, training), np.arange(n_queries)
    assert most[rows, choice].mean() <= limit * (1 + 2e-6) + 1e-12
    # A step that is split between equal queries keeps a budget by what is expected.
    if kind == "budget" and settled.inner.price.low is None:
        assert spent[rows, choice].mean() <= rule["budget"] * (1 + 2e-6)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**20), st.floats(0.1, 0.9), st.floats(0.2, 0.9))
def test_no_pair_of_prices_is_better_by_more_than_two_queries(
    seed: int, share: float, rest: float
) -> None:
    rng = np.random.default_rng(seed)
    quality, cost, taken = rng.random((3, 60, 4))
    rows = np.arange(60)
    least, free = taken.min(axis=1).mean(), taken[rows, quality.argmax(axis=1)].mean()
    limit = least + share * (free - least)
    fastest = cost[rows, taken.argmin(axis=1)].mean()
    budget = rest * fastest + (1 - rest) * cost.mean()
    training = TrainingExtras(quality, cost, quality, cost, taken[None], taken[None])
    rule = Rule(budget, extra_costs={"s": {"mean": limit}})
    try:
        settled = settle_extras(rule, training, None, 1.0, may_call_single=False)
    except InfeasibleBudgetError as error:
        assert "smallest feasible" in str(error)  # noqa: PT017
        return
    choice = _decide(settled, training)
    best = 0.0
    for money in np.r_[0.0, np.geomspace(0.01, 50, 40)]:
        for second in np.r_[0.0, np.geomspace(0.01, 50, 40)]:
            tried = (quality - money * cost - second * taken).argmax(axis=1)
            if (
                cost[rows, tried].mean() <= budget
                and taken[rows, tried].mean() <= limit
            ):
                best = max(best, quality[rows, tried].mean())
    assert quality[rows, choice].mean() >= best - 2 / 60


@pytest.mark.parametrize(
    ("money", "seconds", "target", "limit"),
    [
        ([1.0, 2.0], [3.0, 1.0], 0.5, 2.0),
        ([0.53, 0.89], [1.45, 0.44], 0.58, 1.0),
        ([0.53, 0.89], [1.45, 0.44], 0.64, 0.9),
        ([0.0001, 0.00055, 0.003], [6.0, 4.0, 1.0], 0.6, 3.0),
        ([0.0001, 0.00055, 0.003], [6.0, 4.0, 1.0], 0.65, 2.5),
    ],
    ids=str,
)
@pytest.mark.parametrize("varies", ["nothing", "money", "seconds", "both"])
def test_a_target_and_a_limit_take_about_the_least_money(
    money: Any, seconds: Any, target: float, limit: float, varies: str
) -> None:
    rng = np.random.default_rng(0)
    quality = rng.random((200, len(money)))
    cost, taken = np.tile(money, (200, 1)), np.tile(seconds, (200, 1))
    if varies in ("money", "both"):
        cost = cost * rng.lognormal(sigma=0.5, size=cost.shape)
    if varies in ("seconds", "both"):
        taken = taken * rng.lognormal(sigma=0.5, size=taken.shape)
    least = solve_relaxed(quality, cost, taken, target, limit)
    training = TrainingExtras(quality, cost, quality, cost, taken[None], taken[None])
    rule = Rule(min_quality=target, extra_costs={"s": {"mean": limit}})
    settled = settle_extras(rule, training, None, 1.0)
    choice, rows = _decide(settled, training), np.arange(200)
    assert quality[rows, choice].mean() >= target - 1e-9
    assert taken[rows, choice].mean() <= limit * (1 + 2e-6)
    assert cost[rows, choice].mean() <= 1.05 * least
    # Quality is worth something beside them.
    assert 0 < settled.price.high < np.inf
    assert 0 < settled.second_prices["s"] < np.inf


def solve_relaxed(
    quality: np.ndarray,
    cost: np.ndarray,
    taken: np.ndarray,
    target: float,
    limit: float,
) -> float:
    """Find the least mean money where a query may be split between models."""
    n_queries, n_models = quality.shape
    found = linprog(
        cost.ravel() / n_queries,
        A_ub=np.stack([-quality.ravel(), taken.ravel()]) / n_queries,
        b_ub=[-target, limit],
        A_eq=np.kron(np.eye(n_queries), np.ones(n_models)),
        b_eq=np.ones(n_queries),
    )
    return float(found.fun)


def test_values_of_models_leave_a_target_its_choice() -> None:
    now = dict(zip(MODELS, [6.0, 4.0, 1.0], strict=True))
    prices = np.array([0.0001, 0.00055, 0.003])
    router = PointwiseRouter(Ridge(), random_state=0)
    router.fit(DATA.data[:N], Y[:N], costs=np.tile(prices, (N, 1)))
    asked = {"s": (now, {"mean": 3.0})}
    chosen = index(router.route(X, min_quality="90%", extra_costs=asked))
    assert np.array([6.0, 4.0, 1.0])[chosen].mean() == pytest.approx(3.0, rel=0.1)
    assert prices[chosen].mean() < 0.0016
    best = DATA.quality.mean(axis=0).max()
    assert DATA.quality[N:][ROWS, chosen].mean() > 0.9 * best
    # Below what the fastest take, the error names a limit that can be had.
    asked = {"s": (now, {"mean": 0.9})}
    with pytest.raises(InfeasibleBudgetError, match="smallest feasible limit") as found:
        router.route(X, min_quality="90%", extra_costs=asked)
    asked = {"s": (now, {"mean": found.value.smallest_limit})}
    router.route(X, min_quality="90%", extra_costs=asked)


def _decide(settled: Any, training: TrainingExtras) -> np.ndarray:
    """Decide the training rows by what was expected of them."""
    tables = settled.scales.apply(training.quality, training.cost, training.expected)
    return settled.inner.decide(*tables).choice[:, 0]


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([{}, {"budget": BUDGET}, {"min_quality": "95%"}, {"price": 0.1}]),
    st.sampled_from(["mean", "batch", "query"]),
)
def test_a_weight_of_0_changes_nothing(asked: dict[str, Any], scope: Any) -> None:
    if "budget" in asked and scope == "batch":
        asked = {"budget": BUDGET * N}
    asked = {**asked, "scope": scope, "on_infeasible": "cheapest"}
    names = ROUTER.route(X, **asked, extra_costs=ask(weight=0.0))
    np.testing.assert_array_equal(names, ROUTER.route(X, **asked))


@settings(deadline=None, max_examples=3)
@given(st.floats(1.8, 6.0), st.floats(1.8, 6.0))
def test_a_tighter_limit_has_a_higher_price_and_takes_less(
    one: float, other: float
) -> None:
    loose, tight = max(one, other), min(one, other)
    decider = learn()
    found = []
    for limit in (loose, tight):
        decider.set_params(
            extra_costs={"latency_s": {"mean": limit}}, on_infeasible="cheapest"
        )
        chosen = decider.predict(LIVE)
        found.append((-decider.second_prices_["latency_s"], chosen))
    assert found[0][0] >= found[1][0]


def test_learned_estimates_beat_the_mean_of_the_model() -> None:
    # Columns: what is expected of fresh rows is nearer than the means are.
    extra = ROUTER._training.extra
    expected = extra.predict("latency_s", *np.hsplit(LIVE, 2))
    error = ((SECONDS[N:] - expected) ** 2).mean()
    assert error < ((SECONDS[N:] - SECONDS[:N].mean(axis=0)) ** 2).mean()
    np.testing.assert_allclose(
        expected.mean(axis=0), SECONDS[N:].mean(axis=0), rtol=0.15
    )


@pytest.mark.slow
def test_on_a_real_table_limits_are_held_and_nearly_the_best(shared_data: Any) -> None:
    table = read_routerbench(
        shared_data / "llmdrift.csv.gz", embeddings=shared_data / "llmdrift_minilm.npy"
    )
    taken = pd.read_csv(shared_data / "llmdrift_latency_s.csv.gz")
    seconds = taken[list(table.models)].to_numpy()
    order = np.random.default_rng(0).permutation(len(seconds))
    train, test = order[:1000], order[1000:]
    router = RankingRouter(n_estimators=0, random_state=0)
    router.fit(
        table.data[train],
        pd.DataFrame(table.quality[train], columns=table.models),
        costs=table.costs[train],
        extra_costs={"latency_s": seconds[train]},
    )
    budget = float(np.mean(router.price_path_.cost[[0, -1]]))
    rows, places = np.arange(len(test)), pd.Index(router.models_)
    quality, took = [], []
    for limit in (14.0, 10.0):
        asked = {"latency_s": (None, {"mean": limit})}
        names = router.route(table.data[test], budget=budget, extra_costs=asked)
        chosen = places.get_indexer(list(names))
        quality.append(table.quality[test][rows, chosen].mean())
        took.append(seconds[test][rows, chosen].mean() / limit)
        assert table.costs[test][rows, chosen].mean() < 1.1 * budget
    np.testing.assert_allclose(took, 1.0, atol=0.15)
    # The fastest models of each query give .47.
    assert quality[0] > quality[1] > 0.6


def test_what_calls_of_weight_0_took_is_not_learned() -> None:
    data = make_routing(300, n_models=3, random_state=0)
    seconds = np.tile([2.0, 1.0, 6.0], (300, 1))
    weight = np.ones((300, 3))
    weight[200:] = 0.0
    seconds[200:] *= 100.0
    router = RankingRouter(n_estimators=0, n_landmarks=16, random_state=0).fit(
        data.data,
        data.quality,
        costs=data.costs,
        outcome_weight=weight,
        extra_costs={"s": seconds},
    )
    limit = {"s": (None, {"query": 7.0})}
    why = router.explain(data.data, price=0.0, extra_costs=limit)
    assert why["expected_s"].max() < 7.0

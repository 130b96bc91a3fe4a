"""Everything that can be given wrongly, and everything odd that has to work.

One table each: what is done, the error it must raise, and what the error must say (the
argument, what came, what was expected or the way out).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from skroute import (
    BudgetDecider,
    DummyRouter,
    InfeasibleBudgetError,
    NoCostWarning,
    PointwiseRouter,
    RankingRouter,
)
from skroute.datasets import make_routing
from skroute.metrics import normalized_auc, regret, top2_margin

ROUTERS = [
    RankingRouter(n_estimators=10, random_state=0),
    PointwiseRouter(Ridge(), random_state=0),
    DummyRouter(),
]
DATA = make_routing(n_queries=60, n_features=6, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
PRICES = [1.0, 2.0, 5.0]
NAMED = pd.DataFrame(Y, columns=["small", "medium", "large"])


def changed(table: np.ndarray, value: float, where: Any = (3, 1)) -> np.ndarray:
    """Return a copy with one place set."""
    table = table.copy()
    table[where] = value
    return table


Case = tuple[str, Callable[[Any], Any], type[Exception], list[str]]

FIT_ERRORS: list[Case] = [
    ("X one-dimensional", lambda r: r.fit(X[0], Y), ValueError, ["2D array", "1D"]),
    ("X of three dimensions", lambda r: r.fit(X[None], Y), ValueError, ["X|dim 3"]),
    ("X empty", lambda r: r.fit(X[:0], Y[:0]), ValueError, ["0 sample"]),
    ("X without columns", lambda r: r.fit(X[:, :0], Y), ValueError, ["0 feature"]),
    ("X with NaN", lambda r: r.fit(changed(X, np.nan), Y), ValueError, ["X", "NaN"]),
    ("X with inf", lambda r: r.fit(changed(X, np.inf), Y), ValueError, ["X", "inf"]),
    ("X of words", lambda r: r.fit([["a"], ["b"]], Y[:2]), ValueError, ["a"]),
    (
        "X complex",
        lambda r: r.fit(X.astype(complex), Y),
        ValueError,
        ["Complex data not supported"],
    ),
    ("y absent", lambda r: r.fit(X, None), ValueError, ["requires y", "None"]),
    ("y a scalar", lambda r: r.fit(X, 1.0), ValueError, ["y", "scalar"]),
    ("y of three dimensions", lambda r: r.fit(X, Y[None]), ValueError, ["dim 3"]),
    ("y without models", lambda r: r.fit(X, Y[:, :0]), ValueError, ["0 feature|y"]),
    ("y shorter than X", lambda r: r.fit(X, Y[:-1]), ValueError, ["60", "59"]),
    ("y with inf", lambda r: r.fit(X, changed(Y, np.inf)), ValueError, ["y", "inf"]),
    ("y of words", lambda r: r.fit(X[:2], [["a"], ["b"]]), ValueError, ["'a'|y"]),
    (
        "model never run",
        lambda r: r.fit(X, changed(Y, np.nan, (slice(None), 1))),
        ValueError,
        ["y", "model_1", "all NaN", "drop it"],
    ),
    (
        "nothing ever run",
        lambda r: r.fit(X, np.full_like(Y, np.nan)),
        ValueError,
        ["y", "model_0, model_1, model_2"],
    ),
    (
        "two models of one name",
        lambda r: r.fit(X, NAMED.set_axis(["a", "b", "a"], axis=1)),
        ValueError,
        ["columns of y", "unique", "a"],
    ),
    (
        "prices to fit",
        lambda r: r.fit(X, Y, costs=PRICES),
        ValueError,
        ["costs", r"\(60, 3\)", r"\(3,\)", "constructor"],
    ),
    (
        "a saved row index",
        lambda r: r.fit(X, NAMED.rename(columns={"small": "Unnamed: 0"})),
        ValueError,
        ["y", "Unnamed: 0", "index_col=0"],
    ),
    (
        "costs as a dict of prices",
        lambda r: r.fit(X, NAMED, costs=dict(zip(NAMED, PRICES, strict=True))),
        ValueError,
        ["costs must be per query", r"\(60, 3\)", "a dict", "constructor"],
    ),
    (
        "costs as a dict of columns",
        lambda r: r.fit(X, NAMED, costs={m: NAMED[m] for m in NAMED}),
        ValueError,
        ["costs must be per query", "a dict", r"pandas\.DataFrame"],
    ),
    (
        "costs of another shape",
        lambda r: r.fit(X, Y, costs=C[:, :2]),
        ValueError,
        ["costs", r"\(60, 3\)", r"\(60, 2\)"],
    ),
    (
        "costs negative",
        lambda r: r.fit(X, Y, costs=changed(C, -1.0)),
        ValueError,
        ["costs", "negative", "model_1"],
    ),
    (
        "costs infinite",
        lambda r: r.fit(X, Y, costs=changed(C, np.inf)),
        ValueError,
        ["costs", "inf"],
    ),
    (
        "costs of other models",
        lambda r: r.fit(X, NAMED, costs=NAMED.rename(columns={"large": "xl"})),
        ValueError,
        ["costs", "large, xl"],
    ),
    (
        "a model's costs all unknown",
        lambda r: r.fit(X, Y, costs=changed(C, np.nan, (slice(None), 2))),
        ValueError,
        ["costs", "model_2", "constructor"],
    ),
    (
        "prices too few",
        lambda r: priced(r, [1.0, 2.0]).fit(X, Y),
        ValueError,
        ["costs", r"\(3,\)", r"\(2,\)", "fit"],
    ),
    (
        "prices per query",
        lambda r: priced(r, C).fit(X, Y),
        ValueError,
        ["costs", r"\(60, 3\)", "fit"],
    ),
    (
        "price negative",
        lambda r: priced(r, [1.0, -2.0, 3.0]).fit(X, Y),
        ValueError,
        ["costs", "-2.0", "model_1"],
    ),
    (
        "price infinite",
        lambda r: priced(r, [1.0, np.inf, 3.0]).fit(X, Y),
        ValueError,
        ["costs", "inf", "model_1"],
    ),
    (
        "price unknown and no costs",
        lambda r: priced(r, [1.0, np.nan, 3.0]).fit(X, Y),
        ValueError,
        ["costs", "no price", "model_1"],
    ),
    (
        "price of an unknown model",
        lambda r: priced(r, {"small": 1, "medium": 2, "xl": 3}).fit(X, NAMED),
        ValueError,
        ["costs", "unknown: xl", "without a price: large"],
    ),
]

USE_ERRORS: list[Case] = [
    ("width", lambda r: r.predict(X[:, :4]), ValueError, ["4 features", "6"]),
    ("NaN", lambda r: r.predict(changed(X, np.nan)), ValueError, ["X", "NaN"]),
    ("one row as a vector", lambda r: r.route(X[0]), ValueError, ["2D array", "1D"]),
    (
        "budget negative",
        lambda r: r.route(X, budget=-1.0),
        ValueError,
        ["budget", "at least 0", "-1.0"],
    ),
    ("budget NaN", lambda r: r.route(X, budget=np.nan), ValueError, ["budget", "nan"]),
    ("budget a word", lambda r: r.route(X, budget="9"), ValueError, ["budget", "'9'"]),
    ("budget a bool", lambda r: r.route(X, budget=True), ValueError, ["budget"]),
    (
        "budget below the cheapest",
        lambda r: r.route(X, budget=1e-9),
        InfeasibleBudgetError,
        ["budget", "smallest feasible budget is"],
    ),
    (
        "budget an array of averages",
        lambda r: r.route(X, budget=np.ones(60)),
        ValueError,
        ["budget", "scope='mean'", "array of 60", "scope='query'"],
    ),
    (
        "caps too few",
        lambda r: r.route(X, budget=np.ones(59), scope="query"),
        ValueError,
        ["budget", r"\(60,\)", r"\(59,\)"],
    ),
    (
        "caps for each model too",
        lambda r: r.route(X, budget=np.ones((60, 3)), scope="query"),
        ValueError,
        ["budget", "one cap per query", r"\(60, 3\)"],
    ),
    (
        "a cap NaN",
        lambda r: r.route(X, budget=changed(np.ones(60), np.nan, 4), scope="query"),
        ValueError,
        ["budget", "at least 0", "nan for the queries 4"],
    ),
    (
        "a cap negative",
        lambda r: r.route(X, budget=changed(np.ones(60), -2.0, 5), scope="query"),
        ValueError,
        ["budget", "at least 0", "-2.0 for the queries 5"],
    ),
    (
        "caps of words",
        lambda r: r.route(X, budget=["1"] * 60, scope="query"),
        ValueError,
        ["budget", "numbers", "dtype"],
    ),
    (
        "caps and a quality to reach",
        lambda r: r.route(X, budget=np.ones(60), scope="query", min_quality=0.1),
        ValueError,
        ["budget as an array and min_quality", "price"],
    ),
    (
        "caps below the cheapest",
        lambda r: r.route(X, budget=changed(C.sum(1), 0.0, 7), scope="query"),
        InfeasibleBudgetError,
        ["budget", "1 queries, 7", "smallest feasible budget is", "on_infeasible"],
    ),
    (
        "no alternatives",
        lambda r: r.route(X, top_k=0),
        ValueError,
        ["top_k", "at least 1", "0"],
    ),
    (
        "more alternatives than models",
        lambda r: r.route(X, top_k=4),
        ValueError,
        ["top_k", "number of models, 3", "4"],
    ),
    (
        "half an alternative",
        lambda r: r.route(X, top_k=1.5),
        ValueError,
        ["top_k", "integer", "1.5"],
    ),
    (
        "a budget to explain that is negative",
        lambda r: r.explain(X, budget=-1.0),
        ValueError,
        ["budget", "at least 0", "-1.0"],
    ),
    (
        "a mask to explain that leaves nothing",
        lambda r: r.explain(X, available=[False] * 3),
        ValueError,
        ["available", "no model"],
    ),
    (
        "cap below the cheapest",
        lambda r: r.route(X, budget=1e-9, scope="query"),
        InfeasibleBudgetError,
        ["budget", "smallest feasible budget is", "on_infeasible"],
    ),
    (
        "batch total below the cheapest",
        lambda r: r.route(X, budget=1e-9, scope="batch"),
        InfeasibleBudgetError,
        ["budget", "batch", "smallest feasible budget is"],
    ),
    (
        "quality out of reach",
        lambda r: r.route(X, min_quality=1e9),
        InfeasibleBudgetError,
        ["min_quality", "largest expected mean quality is"],
    ),
    (
        "quality not a share",
        lambda r: r.route(X, min_quality="most"),
        ValueError,
        ["min_quality", "'95%'", "'most'"],
    ),
    (
        "scope unknown",
        lambda r: r.route(X, budget=1.0, scope="day"),
        ValueError,
        ["scope", "'mean', 'query', 'batch'", "'day'"],
    ),
    (
        "budget and price",
        lambda r: r.route(X, budget=1.0, price=1.0),
        ValueError,
        ["budget and price", "one of them"],
    ),
    ("price negative", lambda r: r.route(X, price=-1), ValueError, ["price", "-1"]),
    (
        "tolerance negative",
        lambda r: r.route(X, tolerance=-0.1),
        ValueError,
        ["tolerance", "-0.1"],
    ),
    (
        "on_infeasible unknown",
        lambda r: r.route(X, on_infeasible="ignore"),
        ValueError,
        ["on_infeasible", "'raise' or 'cheapest'", "'ignore'"],
    ),
    (
        "available names an unknown model",
        lambda r: r.route(X, available=["model_0", "gpt-9"]),
        ValueError,
        ["available", "gpt-9", "model_0, model_1, model_2"],
    ),
    (
        "available of another width",
        lambda r: r.route(X, available=[True, False]),
        ValueError,
        ["available", r"\(3,\)", r"\(2,\)"],
    ),
    (
        "available of numbers",
        lambda r: r.route(X, available=[1, 0, 1]),
        ValueError,
        ["available", "bool", "int"],
    ),
    (
        "available is empty",
        lambda r: r.route(X, available=[]),
        ValueError,
        ["available", "no model"],
    ),
    (
        "available says nothing of a model",
        lambda r: r.route(X, available={"model_0": True, "model_1": False}),
        ValueError,
        ["available", "names model_0, model_1", "model_0, model_1, model_2"],
    ),
    (
        "no model available",
        lambda r: r.route(X, available=[False] * 3),
        ValueError,
        ["available", "no model", "every query"],
    ),
    (
        "no model available for a query",
        lambda r: r.route(X, available=changed(np.ones(Y.shape, bool), False, 7)),
        ValueError,
        ["available", "no model", "7"],
    ),
    (
        "score without costs",
        lambda r: r.score(X, Y),
        ValueError,
        ["score needs costs", "per-query"],
    ),
    (
        "score of other models",
        lambda r: r.score(X, NAMED, costs=C),
        ValueError,
        ["y", "same models"],
    ),
    (
        "names of other features",
        lambda r: r.get_feature_names_out(["a"]),
        ValueError,
        ["input_features", "6", "1"],
    ),
]

UNFITTED = [
    "predict",
    "route",
    "explain",
    "transform",
    "predict_quality",
    "predict_cost",
]

PARAMETER_ERRORS = [
    ("n_estimators", -1),
    ("n_estimators", 1.5),
    ("n_estimators", "many"),
    ("n_estimators", None),
    ("num_leaves", 1),
    ("min_child_samples", 0),
    ("n_landmarks", 0),
    ("n_landmarks", True),
    ("cv", 1),
    ("learning_rate", 0.0),
    ("learning_rate", "fast"),
    ("colsample_bytree", 1.5),
    ("tie_gain", -0.1),
    ("caution", -0.5),
    ("caution", "careful"),
    ("verbose", -1),
]


def raises(act: Callable[[], Any], error: type[Exception], words: list[str]) -> None:
    """Check that the error comes, and says all that it should."""
    with pytest.raises(error) as caught:
        act()
    for word in words:
        assert re.search(word, str(caught.value)), f"{word!r} not in {caught.value}"


def rows(cases: list[Case]) -> Any:
    return pytest.mark.parametrize(
        ("act", "error", "words"),
        [case[1:] for case in cases],
        ids=[case[0] for case in cases],
    )


def fitted(router: Any) -> Any:
    return clone(router).fit(X, Y, costs=C)


@pytest.mark.filterwarnings("ignore::skroute.exceptions.NoCostWarning")
@rows(FIT_ERRORS)
@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: type(router).__name__)
def test_fit_names_what_is_wrong_and_changes_nothing(
    router: Any, act: Any, error: Any, words: Any
) -> None:
    fresh = clone(router)
    raises(lambda: act(fresh), error, words)
    assert not [name for name in vars(fresh) if name.endswith("_")]
    used = fitted(router)
    before = pickle.dumps({k: v for k, v in vars(used).items() if k != "costs"})
    raises(lambda: act(used), error, words)
    assert before == pickle.dumps({k: v for k, v in vars(used).items() if k != "costs"})


@rows(USE_ERRORS)
@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: type(router).__name__)
def test_use_names_what_is_wrong_and_changes_nothing(
    router: Any, act: Any, error: Any, words: Any
) -> None:
    used = fitted(router)
    before = pickle.dumps(used)
    raises(lambda: act(used), error, words)
    assert pickle.dumps(used) == before


@pytest.mark.parametrize("method", UNFITTED)
@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: type(router).__name__)
def test_unfitted_routers_say_so(router: Any, method: str) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(clone(router), method)(X)


def test_unfitted_decider_says_so() -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        BudgetDecider().predict(np.ones((2, 4)))


@pytest.mark.parametrize(("name", "value"), PARAMETER_ERRORS)
def test_parameters_out_of_range_are_named(name: str, value: Any) -> None:
    router = RankingRouter(costs=PRICES).set_params(**{name: value})
    raises(lambda: router.fit(X, Y), ValueError, [name, re.escape(repr(value))])


@pytest.mark.parametrize("cv", [0, 1, 2.5, "5"])
def test_folds_out_of_range_are_named(cv: Any) -> None:
    router = PointwiseRouter(Ridge(), costs=PRICES, cv=cv)
    raises(lambda: router.fit(X, Y), ValueError, ["cv", re.escape(repr(cv))])


def test_an_unknown_strategy_is_named() -> None:
    router = DummyRouter("wisest", costs=PRICES)
    raises(lambda: router.fit(X, Y), ValueError, ["strategy", "'wisest'", "cheapest"])


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: normalized_auc(Y, None, Y, C), ["costs must be given"]),
        (lambda: normalized_auc(Y, C[:, :2], Y, C), ["costs", r"\(60, 2\)"]),
        (lambda: normalized_auc(Y, C, Y[:, :2], C[:, :2]), ["quality", r"\(60, 2\)"]),
        (lambda: normalized_auc(Y, C, Y, C[:5]), ["cost", r"\(60, 3\)", r"\(5, 3\)"]),
        (lambda: normalized_auc(Y, C, changed(Y, np.nan), C), ["quality", "NaN"]),
        (lambda: normalized_auc(Y, C, Y, -C), ["cost must not be negative"]),
        (lambda: normalized_auc(Y, C, Y, C, scope="batch"), ["scope", "'batch'"]),
        (lambda: regret(Y, np.zeros(5, int)), ["choice", r"\(60,\)", r"\(5,\)"]),
        (lambda: regret(Y, np.full(60, 3)), ["choice", "0..2", "3"]),
        (lambda: regret(Y, np.zeros(60)), ["choice", "integer", "float64"]),
        (lambda: regret(Y, np.zeros(60, int), price=1.0), ["costs must be given"]),
        (lambda: top2_margin(Y[:, :1]), ["quality", "two models", "1"]),
    ],
)
def test_metrics_name_what_is_wrong(act: Any, words: Any) -> None:
    raises(act, ValueError, words)


# What is odd and has to work, with what comes of it.


@pytest.fixture(params=ROUTERS, ids=lambda router: type(router).__name__)
def router(request: pytest.FixtureRequest) -> Any:
    return clone(request.param)


def priced(router: Any, prices: Any) -> Any:
    """Give a router other prices, fitted or not, where `set_params` may refuse."""
    router.costs = prices
    return router


def answers(router: Any, queries: np.ndarray) -> np.ndarray:
    """Check that estimates are finite, and return the choices."""
    estimates = router.transform(queries)
    assert np.isfinite(estimates).all()
    assert (router.predict_cost(queries) >= 0).all()
    return router.predict(queries)


def test_no_costs_count_as_one_each_and_warn_once(router: Any) -> None:
    with pytest.warns(NoCostWarning, match=r"costs=\.\.\. in the constructor") as told:
        router.fit(X, Y)
    assert len(told) == 1
    assert (router.predict_cost(X) == 1.0).all()
    assert router.score(X, Y) == router.score(X, Y, costs=np.ones_like(Y))


def test_all_ties_go_to_the_cheapest(router: Any) -> None:
    router.set_params(costs=[3.0, 1.0, 2.0]).fit(X, np.ones_like(Y))
    assert (answers(router, X) == 1).all()


def test_one_model_is_always_called(router: Any) -> None:
    router.fit(X, Y[:, 0], costs=C[:, :1])
    assert router.models_.tolist() == ["model_0"]
    assert (answers(router, X) == 0).all()
    assert router.score(X, Y[:, :1], costs=C[:, :1]) == pytest.approx(Y[:, 0].mean())


def test_zero_costs_leave_the_best_model(router: Any) -> None:
    router.set_params(costs=[0.0] * 3).fit(X, Y)
    # At a price of 0 the estimates decide; without one, a single model may do better.
    at_no_price = router.route(X, price=0.0)
    best = router.predict_quality(X).argmax(axis=1)
    np.testing.assert_array_equal(at_no_price, router.models_[best])
    chosen = answers(router, X)
    assert (chosen == best).all() or (chosen == Y.mean(axis=0).argmax()).all()
    free = router.route(X, budget=0.0)
    np.testing.assert_array_equal(free, router.models_[router.predict(X)])


def test_constant_queries_go_to_one_model(router: Any) -> None:
    router.fit(np.ones_like(X), Y, costs=C)
    choice = answers(router, np.ones_like(X))
    assert len(np.unique(choice)) == 1
    np.testing.assert_allclose(
        router.predict_quality(np.ones((1, 6)))[0], Y.mean(axis=0), atol=0.05
    )


@pytest.mark.parametrize("n_queries", [2, 3, 6])
def test_a_handful_of_rows_is_enough(router: Any, n_queries: int) -> None:
    router.fit(X[:n_queries], Y[:n_queries], costs=C[:n_queries])
    assert answers(router, X).shape == (60,)


def test_a_single_row_gives_its_own_table(router: Any) -> None:
    router.fit(X[:1], Y[:1], costs=C[:1])
    np.testing.assert_allclose(router.predict_quality(X[:1]), Y[:1])
    np.testing.assert_allclose(router.predict_cost(X[:1]), C[:1])


def test_duplicate_rows_share_an_answer(router: Any) -> None:
    router.fit(
        np.repeat(X, 3, axis=0), np.repeat(Y, 3, axis=0), costs=np.repeat(C, 3, 0)
    )
    choice = answers(router, np.repeat(X, 2, axis=0))
    np.testing.assert_array_equal(choice[::2], choice[1::2])


def test_a_fifth_of_the_costs_may_be_missing(router: Any) -> None:
    holes = np.random.RandomState(0).uniform(size=C.shape) < 0.2
    router.fit(X, Y, costs=np.where(holes, np.nan, C))
    answers(router, X)
    np.testing.assert_allclose(
        router.costs_, np.nanmean(np.where(holes, np.nan, C), axis=0)
    )


def test_prices_stand_in_for_missing_costs(router: Any) -> None:
    costs = changed(C, np.nan, (slice(None), 2))
    router.set_params(costs=[9.0, 9.0, 7.0]).fit(X, Y, costs=costs)
    np.testing.assert_allclose(router.predict_cost(X)[:, 2], 7.0)
    np.testing.assert_allclose(router.costs_[:2], C[:, :2].mean(axis=0))


def test_two_million_dollars_a_call_and_nothing_at_all(router: Any) -> None:
    scale = np.array([1e-300, 1.0, 1e300])
    router.set_params(costs=scale).fit(X, Y)
    assert answers(router, X).shape == (60,)
    assert (router.route(X, budget=1e-300) == "model_0").all()

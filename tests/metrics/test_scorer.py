"""Routing scorers in scikit-learn's cross-validation and searches."""

from __future__ import annotations

import functools
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skroute import BudgetDecider, PointwiseRouter, metrics
from skroute._judged import extract_router, find_models
from skroute.exceptions import IgnoredDeciderWarning
from skroute.metrics import (
    apgr,
    average_improvement_in_quality,
    call_performance_threshold,
    make_routing_scorer,
    normalized_auc,
    peak_quality,
    quality_neutral_cost,
    regret,
    routing_curve,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3))
# Model 0 is cheap and good where the first feature is positive, model 1 everywhere.
NOISE = RNG.normal(size=90)
Y = np.column_stack([X[:, 0] + NOISE > 0, RNG.random(90) < 0.75]).astype(float)
COSTS = np.array([1.0, 5.0]) * RNG.uniform(0.5, 1.5, size=(90, 1))
PRICES = [1.0, 5.0]
SPLITS = KFold(3)

LOWER_IS_BETTER = [
    "quality_neutral_cost",
    "routing_collapse_index",
    "strongest_call_share",
    "call_performance_threshold",
    "regret",
]
HIGHER_IS_BETTER = [
    "normalized_auc",
    "peak_quality",
    "average_improvement_in_quality",
    "apgr",
]


def ridge_router():
    return PointwiseRouter(Ridge(), random_state=0)


@pytest.fixture(scope="module")
def fitted():
    return ridge_router().fit(X[:60], Y[:60], costs=COSTS[:60])


def curve_of(router, rows=slice(60, None), costs=COSTS, **keywords):
    """The curve of a router on some rows, without a scorer."""
    estimates = np.hsplit(router.transform(X[rows]), 2)
    costs = costs[rows] if costs is COSTS else costs
    return routing_curve(Y[rows], costs, *estimates, **keywords)


def score(scorer, estimator, **keywords):
    return scorer(estimator, X[60:], Y[60:], **keywords)


# A single call


@pytest.mark.parametrize("metric", HIGHER_IS_BETTER + LOWER_IS_BETTER)
def test_a_named_metric_is_negated_where_lower_is_better(fitted, metric):
    function = getattr(metrics, metric)
    if metric == "regret":
        value = regret(Y[60:], fitted.predict(X[60:]))
    else:
        value = function(curve_of(fitted))
    if metric == "quality_neutral_cost":
        assert value > 1
        value = 1.0  # the best single model alone costs no more
    sign = -1 if metric in LOWER_IS_BETTER else 1
    assert value != 0
    by_name = score(make_routing_scorer(metric), fitted, costs=COSTS[60:])
    by_function = score(make_routing_scorer(function), fitted, costs=COSTS[60:])
    assert by_name == by_function == pytest.approx(sign * value)


def test_the_default_metric_is_the_score_of_a_router(fitted):
    expected = fitted.score(X[60:], Y[60:], costs=COSTS[60:])
    assert score(make_routing_scorer(), fitted, costs=COSTS[60:]) == expected


def test_scope_and_keywords_reach_the_metric(fitted):
    metric = average_improvement_in_quality
    scorer = make_routing_scorer(metric, scope="query", max_cost=20.0)
    expected = metric(curve_of(fitted, scope="query"), max_cost=20.0)
    assert score(scorer, fitted, costs=COSTS[60:]) == expected
    assert expected != metric(curve_of(fitted, scope="query"))
    assert expected != metric(curve_of(fitted), max_cost=20.0)


def test_prices_of_the_scorer_stand_in_for_costs(fitted):
    scorer = make_routing_scorer("normalized_auc", costs=PRICES)
    expected = normalized_auc(curve_of(fitted, costs=PRICES))
    assert score(scorer, fitted) == pytest.approx(expected)
    # Costs that come with the queries come first.
    routed = normalized_auc(curve_of(fitted))
    assert score(scorer, fitted, costs=COSTS[60:]) == pytest.approx(routed)


def test_a_pipeline_is_scored_by_its_router(fitted):
    decided = make_pipeline(fitted, BudgetDecider(2.0))
    decided[-1].fit(fitted.transform(X[:60]))
    scorer = make_routing_scorer()
    expected = score(scorer, fitted, costs=COSTS[60:])
    with pytest.warns(IgnoredDeciderWarning, match="normalized_auc judges the router"):
        assert score(scorer, decided, costs=COSTS[60:]) == expected
    with pytest.warns(IgnoredDeciderWarning) as caught:
        cross_val_score(
            make_pipeline(PointwiseRouter(Ridge(), costs=PRICES), BudgetDecider(2.0)),
            *(X, Y),
            scoring=scorer,
            cv=2,
        )
    assert {warning.filename for warning in caught} == {__file__}
    # A decider that does nothing of its own is not told of.
    plain = make_pipeline(fitted, BudgetDecider())
    plain[-1].fit(fitted.transform(X[:60]))
    assert score(scorer, plain, costs=COSTS[60:]) == expected
    assert score(scorer, make_pipeline(fitted), costs=COSTS[60:]) == expected


def test_regret_is_that_of_the_decisions_under_the_budget(fitted):
    thrifty = make_pipeline(fitted, BudgetDecider(price=10.0))
    thrifty[-1].fit(fitted.transform(X[:60]))
    choice = thrifty.predict(X[60:])
    assert set(choice) == {0}
    plain = make_routing_scorer("regret")
    assert score(plain, thrifty) == -regret(Y[60:], choice)
    assert score(plain, thrifty) < score(plain, fitted)
    priced = make_routing_scorer("regret", price=0.1)
    expected = regret(Y[60:], choice, costs=COSTS[60:], price=0.1)
    assert score(priced, thrifty, costs=COSTS[60:]) == -expected


def test_a_function_of_a_curve_is_a_metric(fitted):
    def cheapest_point(curve, factor):
        return factor * curve.cost[0]

    expected = 2 * curve_of(fitted).cost[0]
    scorer = make_routing_scorer(cheapest_point, factor=2)
    assert score(scorer, fitted, costs=COSTS[60:]) == expected
    lower = make_routing_scorer(cheapest_point, greater_is_better=False, factor=2)
    assert score(lower, fitted, costs=COSTS[60:]) == -expected


def test_a_partial_metric_keeps_the_direction_of_its_function(fitted):
    partial = functools.partial(call_performance_threshold, recovered=0.8)
    plain = make_routing_scorer("call_performance_threshold", recovered=0.8)
    expected = score(plain, fitted, costs=COSTS[60:])
    assert expected < 0
    assert score(make_routing_scorer(partial), fitted, costs=COSTS[60:]) == expected


def test_a_function_of_decisions_is_a_metric(fitted):
    def spent(y, choice, *, costs):
        assert y.shape == costs.shape
        return costs[np.arange(len(choice)), choice].mean()

    scorer = make_routing_scorer(spent, response="decisions", greater_is_better=False)
    choice = fitted.predict(X[60:])
    expected = COSTS[60:][np.arange(30), choice].mean()
    assert score(scorer, fitted, costs=COSTS[60:]) == -expected


def test_outcomes_are_matched_to_the_models_of_the_router_by_name():
    y = pd.DataFrame(Y, columns=["small", "large"])
    costs = pd.DataFrame(COSTS, columns=["small", "large"])
    router = ridge_router().fit(X[:60], y[:60], costs=costs[:60])
    for metric in ("normalized_auc", "regret"):
        scorer = make_routing_scorer(metric)
        straight = scorer(router, X[60:], y[60:], costs=costs[60:])
        turned = scorer(router, X[60:], y[["large", "small"]][60:], costs=costs[60:])
        assert turned == straight


def test_scores_are_plain_floats(fitted):
    assert type(score(make_routing_scorer(), fitted, costs=COSTS[60:])) is float


# Without costs


@pytest.mark.parametrize(
    "metric",
    [
        *HIGHER_IS_BETTER,
        "quality_neutral_cost",
        lambda curve: 1.0,
        functools.partial(call_performance_threshold, recovered=0.8),
    ],
)
def test_no_curve_is_scored_without_costs(fitted, metric):
    with pytest.raises(ValueError, match="costs"):
        score(make_routing_scorer(metric), fitted)


def test_no_priced_regret_without_costs(fitted):
    with pytest.raises(ValueError, match="costs"):
        score(make_routing_scorer("regret", price=1.0), fitted)


def test_cross_validation_without_routing_never_scores_silently():
    # With metadata routing off, params reach fit alone.
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        cross_validate(
            ridge_router(),
            X,
            Y,
            scoring=make_routing_scorer(),
            params={"costs": COSTS},
            error_score="raise",
        )


@pytest.mark.usefixtures("metadata_routing")
def test_cross_validation_without_costs_never_scores_silently():
    with pytest.raises(ValueError, match="normalized_auc needs costs"):
        cross_validate(
            KnowsCosts(Ridge(), random_state=0),
            X,
            Y,
            scoring=make_routing_scorer(),
            error_score="raise",
        )


class KnowsCosts(PointwiseRouter):
    """A router that has per-query costs of its own to be fitted on."""

    def fit(self, X, y):
        return super().fit(X, y, costs=np.ones_like(y))


def test_prices_of_the_router_count_as_in_its_score():
    router = PointwiseRouter(Ridge(), costs=PRICES, random_state=0).fit(X[:60], Y[:60])
    assert score(make_routing_scorer(), router) == router.score(X[60:], Y[60:])
    own = make_pipeline(StandardScaler(), PointwiseRouter(Ridge(), costs=PRICES))
    scores = [
        cross_val_score(own, X, Y, cv=SPLITS, scoring=scoring, error_score="raise")
        for scoring in (None, make_routing_scorer())
    ]
    np.testing.assert_array_equal(*scores)
    # Prices of the scorer come first, and costs that come with the queries before them.
    other = make_routing_scorer(costs=[5.0, 1.0])
    assert score(other, router) != router.score(X[60:], Y[60:])
    priced = make_routing_scorer("regret", price=0.1)
    assert score(priced, router) == score(
        priced, router, costs=np.tile(PRICES, (30, 1))
    )


# In cross-validation and searches


def by_hand(estimator, metric):
    """The score of every split, without scikit-learn's tools."""
    found = []
    for train, test in SPLITS.split(X):
        router = clone(estimator).fit(X[train], Y[train], costs=COSTS[train])
        found.append(metric(curve_of(router, test)))
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("metadata_routing")
def test_cross_validate_routes_costs_to_fit_and_scorers():
    found = cross_validate(
        ridge_router(),
        X,
        Y,
        cv=SPLITS,
        scoring={
            "auc": make_routing_scorer(),
            "neutral": make_routing_scorer("quality_neutral_cost"),
        },
        params={"costs": COSTS},
        error_score="raise",
    )
    np.testing.assert_allclose(
        found["test_auc"], by_hand(ridge_router(), normalized_auc)
    )
    neutral = np.minimum(by_hand(ridge_router(), quality_neutral_cost), 1.0)
    np.testing.assert_allclose(found["test_neutral"], np.negative(neutral))


def test_prices_of_router_and_scorer_need_no_routing():
    router = PointwiseRouter(Ridge(), costs=PRICES, random_state=0)
    found = cross_val_score(
        router,
        X,
        Y,
        cv=SPLITS,
        scoring=make_routing_scorer("peak_quality", costs=PRICES),
        error_score="raise",
    )
    expected = []
    for train, test in SPLITS.split(X):
        fitted_ = clone(router).fit(X[train], Y[train])
        expected.append(peak_quality(curve_of(fitted_, test, costs=PRICES)))
    np.testing.assert_allclose(found, expected)


@pytest.mark.slow
@pytest.mark.usefixtures("metadata_routing")
def test_grid_search_over_a_router():
    alphas = [1e-2, 1e4]
    search = GridSearchCV(
        ridge_router(),
        {"estimator__alpha": alphas},
        cv=SPLITS,
        scoring=make_routing_scorer(),
        error_score="raise",
    ).fit(X, Y, costs=COSTS)
    expected = [
        np.mean(by_hand(ridge_router().set_params(estimator__alpha=a), normalized_auc))
        for a in alphas
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)
    assert search.best_params_ == {"estimator__alpha": alphas[np.argmax(expected)]}
    best = curve_of(search.best_estimator_, slice(None))
    assert search.score(X, Y, costs=COSTS) == pytest.approx(normalized_auc(best))
    assert make_routing_scorer()(search, X, Y, costs=COSTS) == search.score(
        X, Y, costs=COSTS
    )


@pytest.mark.slow
@pytest.mark.usefixtures("metadata_routing")
@pytest.mark.filterwarnings("ignore::skroute.exceptions.IgnoredDeciderWarning")
def test_grid_search_over_a_router_and_its_decider():
    chain = make_pipeline(ridge_router(), BudgetDecider())
    prices = [0.0, 0.1, 10.0]
    search = GridSearchCV(
        chain,
        {"budgetdecider__price": prices},
        cv=SPLITS,
        scoring={
            "regret": make_routing_scorer("regret", price=0.1),
            "auc": make_routing_scorer(),
        },
        refit="regret",
        error_score="raise",
    ).fit(X, Y, costs=COSTS)
    expected = []
    for price in prices:
        lost = []
        for train, test in SPLITS.split(X):
            router = ridge_router().fit(X[train], Y[train], costs=COSTS[train])
            choice = BudgetDecider(price=price).fit(router.transform(X[train]))
            choice = choice.predict(router.transform(X[test]))
            lost.append(regret(Y[test], choice, costs=COSTS[test], price=0.1))
        expected.append(-np.mean(lost))
    np.testing.assert_allclose(search.cv_results_["mean_test_regret"], expected)
    assert search.best_params_ == {"budgetdecider__price": 0.1}
    # The curve is the router's: what the decider does is no matter.
    np.testing.assert_allclose(
        search.cv_results_["mean_test_auc"],
        np.mean(by_hand(ridge_router(), normalized_auc)),
    )


@pytest.mark.usefixtures("metadata_routing")
def test_cross_validate_over_a_router_and_its_decider():
    chain = make_pipeline(StandardScaler(), ridge_router(), BudgetDecider(2.0))
    with pytest.warns(IgnoredDeciderWarning) as told:
        found = cross_validate(
            chain,
            X,
            Y,
            cv=SPLITS,
            scoring=make_routing_scorer(),
            params={"costs": COSTS},
            error_score="raise",
        )["test_score"]
    # The same words from the same line, which Python's default filter shows once.
    assert len({(str(w.message), w.filename, w.lineno) for w in told}) == 1
    assert found.shape == (3,)
    assert ((found > 0.5) & (found <= 1)).all()


# The scorer as an object


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(metric="auc"), "metric.*normalized_auc"),
        (dict(metric=None), "metric"),
        (dict(metric=3), "metric"),
        (dict(response="proba"), "response"),
        (dict(scope="batch"), "scope must be 'mean' or 'query'"),
        (dict(metric="net_utility"), "net_utility cannot be called .*'price'"),
        (dict(metric="quality_within_budget"), "quality_within_budget .*'budget'"),
        (dict(metric="normalized_auc", price=1.0), "normalized_auc .*'price'"),
        (dict(metric=lambda: 1.0), "lambda.* cannot be called"),
    ],
)
def test_nonsense_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_routing_scorer(**arguments)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("normalized_auc", "make_routing_scorer(normalized_auc)"),
        (apgr, "make_routing_scorer(apgr)"),
        ("regret", "make_routing_scorer(regret, greater_is_better=False)"),
    ],
)
def test_repr_tells_the_metric_and_its_direction(metric, expected):
    assert repr(make_routing_scorer(metric)) == expected


def test_repr_of_a_partial_metric_tells_the_function():
    metric = functools.partial(call_performance_threshold, recovered=0.8)
    assert "call_performance_threshold" in repr(make_routing_scorer(metric))


@pytest.mark.parametrize(
    "copied",
    [
        lambda scorer: clone(scorer, safe=False),
        lambda scorer: pickle.loads(pickle.dumps(scorer)),
    ],
)
@pytest.mark.parametrize("metric", ["quality_neutral_cost", "regret"])
def test_a_copied_scorer_scores_the_same(fitted, copied, metric):
    scorer = make_routing_scorer(metric, costs=PRICES)
    assert score(copied(scorer), fitted) == score(scorer, fitted)


def test_costs_reach_the_scorer_by_name():
    y = pd.DataFrame(Y, columns=["small", "large"])
    costs = pd.DataFrame(COSTS, columns=["small", "large"])
    router = ridge_router().fit(X[:60], y[:60], costs=costs[:60])
    for metric in ("normalized_auc", "regret"):
        keywords = {"price": 0.1} if metric == "regret" else {}
        scorer = make_routing_scorer(metric, **keywords)
        straight = scorer(router, X[60:], y[60:], costs=costs[60:])
        turned = costs[["large", "small"]][60:]
        assert scorer(router, X[60:], y[60:], costs=turned) == straight
        assert scorer(router, X[60:], Y[60:], costs=turned) == straight


def test_a_search_is_known_by_its_best_estimator():
    y = pd.DataFrame(Y[:60], columns=["b", "a"])
    router = PointwiseRouter(Ridge(), costs={"a": 5.0, "b": 1.0}, random_state=0)
    decides = make_pipeline(clone(router), BudgetDecider())
    for found in (router, make_pipeline(StandardScaler(), clone(router)), decides):
        search = SimpleNamespace(best_estimator_=found.fit(X[:60], y))
        assert find_models(search).tolist() == find_models(found).tolist()
        assert extract_router(search).transform(X[:2]).shape == (2, 4)
        inside = make_pipeline(StandardScaler(), search)
        assert find_models(inside).tolist() == find_models(found).tolist()
        frozen = FrozenEstimator(found)
        assert find_models(frozen).tolist() == find_models(found).tolist()
        assert extract_router(frozen).transform(X[:2]).shape == (2, 4)
        inside = make_pipeline(make_pipeline("passthrough", frozen), "passthrough")
        assert find_models(inside).tolist() == find_models(found).tolist()
        assert extract_router(inside).transform(X[:2]).shape == (2, 4)
    assert find_models(router).tolist() == ["b", "a"]
    assert find_models(SimpleNamespace()) is None
    for nothing in (Ridge(), BudgetDecider(), make_pipeline(StandardScaler(), Ridge())):
        with pytest.raises(ValueError, match="estimator must be a fitted router"):
            extract_router(nothing)


@pytest.mark.parametrize(
    "unfitted",
    [
        PointwiseRouter(Ridge(), costs=PRICES),
        make_pipeline(PointwiseRouter(Ridge(), costs=PRICES), BudgetDecider()),
        GridSearchCV(PointwiseRouter(Ridge(), costs=PRICES), {}),
    ],
)
@pytest.mark.parametrize("costs", [None, PRICES])
def test_what_is_not_fitted_is_named(unfitted, costs):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        score(make_routing_scorer(costs=costs), unfitted)


def test_without_outcomes_nothing_is_scored(fitted):
    for costs in (PRICES, COSTS[60:]):
        with pytest.raises(ValueError, match="the target y is None"):
            make_routing_scorer(costs=costs)(fitted, X[60:], None)

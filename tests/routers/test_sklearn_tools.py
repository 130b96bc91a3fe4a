"""scikit-learn's own tools over routers: they work, or say why they cannot."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skroute
from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute.datasets import make_routing
from skroute.evaluation import compare_routers
from skroute.metrics import make_routing_scorer, normalized_auc
from skroute.plotting import RoutingCurveDisplay

DATA = make_routing(150, n_features=6, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
PRICES = [1.0, 5.0, 20.0]
HOLES = np.where(np.arange(150)[:, None] % 7 == [0, 9, 3], np.nan, Y)
SPLITS = KFold(3)
ROUTERS = {
    "ranking": RankingRouter(n_estimators=2, n_landmarks=5, cv=2, random_state=0),
    "pointwise": PointwiseRouter(Ridge(), random_state=0),
    "dummy": DummyRouter(),
}
GRIDS = {
    "ranking": {"tie_gain": [0.0, 0.1]},
    "pointwise": {"estimator__alpha": [1.0, 1e4]},
    "dummy": {"strategy": ["best_single", "cheapest"]},
}
WEIGHT = np.random.default_rng(0).integers(0, 4, len(X)).astype(float)


@pytest.fixture
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


def priced(name: str):
    return clone(ROUTERS[name]).set_params(costs=PRICES)


# What a query weighs


@pytest.mark.parametrize("name", ROUTERS)
def test_weights_repeat_queries_in_scores(name):
    router = clone(ROUTERS[name]).fit(X[:100], Y[:100], costs=C[:100])
    again = np.repeat(np.arange(100, 150), WEIGHT[100:].astype(int))
    expected = router.score(X[again], Y[again], costs=C[again])
    test = {"costs": C[100:], "sample_weight": WEIGHT[100:] * 2.5}
    assert router.score(X[100:], Y[100:], **test) == pytest.approx(expected)
    scorer = make_routing_scorer()
    assert scorer(router, X[100:], Y[100:], **test) == pytest.approx(expected)
    assert router.score(X[100:], Y[100:], costs=C[100:]) != pytest.approx(expected)


@pytest.mark.usefixtures("metadata_routing")
@pytest.mark.parametrize("name", ROUTERS)
def test_a_pipeline_scores_with_routing_on(name):
    """scikit-learn hands every last step a sample_weight, None or not."""
    router = clone(ROUTERS[name]).fit(X, Y, costs=C)
    pipeline = make_pipeline("passthrough", clone(router)).fit(X, Y, costs=C)
    expected = router.score(X, Y, costs=C)
    assert pipeline.score(X, Y, costs=C) == expected
    weighed = pipeline.score(X, Y, costs=C, sample_weight=WEIGHT)
    assert weighed == router.score(X, Y, costs=C, sample_weight=WEIGHT) != expected


@pytest.mark.slow
@pytest.mark.usefixtures("metadata_routing")
@pytest.mark.parametrize("scoring", [None, make_routing_scorer()])
def test_weights_reach_the_scores_of_a_search(scoring):
    search = GridSearchCV(
        make_pipeline("passthrough", ROUTERS["pointwise"]),
        {"pointwiserouter__estimator__alpha": [1.0, 1e4]},
        cv=SPLITS,
        scoring=scoring,
        error_score="raise",
    ).fit(X, Y, costs=C, sample_weight=WEIGHT)
    found = search.cv_results_["split0_test_score"][0]
    train, test = next(SPLITS.split(X))
    router = clone(ROUTERS["pointwise"]).fit(X[train], Y[train], costs=C[train])
    rest = {"costs": C[test], "sample_weight": WEIGHT[test]}
    assert found == router.score(X[test], Y[test], **rest)


# Tools, with holes and without, with routing of metadata on and off


@pytest.mark.slow
@pytest.mark.parametrize(
    ("routing", "y"),
    [(False, HOLES), (True, Y)],
    indirect=["routing"],
    ids=["holes", "complete, with metadata routing"],
)
@pytest.mark.parametrize("name", ROUTERS)
def test_searches_and_curves_of_priced_routers(name, y, routing):
    router = priced(name)
    grid, (parameter, values) = GRIDS[name], *GRIDS[name].items()
    keywords = {"cv": SPLITS, "error_score": "raise"}
    scores = cross_validate(router, X, y, **keywords)["test_score"]
    assert ((scores > 0) & (scores < 1)).all()
    chain = make_pipeline(
        make_column_transformer((StandardScaler(), [0, 1, 2]), remainder="passthrough"),
        router,
    )
    assert np.isfinite(cross_val_score(chain, X, y, **keywords)).all()
    search = GridSearchCV(router, grid, **keywords).fit(X, y)
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(scores.mean())
    drawn = RandomizedSearchCV(router, grid, n_iter=2, random_state=0, **keywords)
    np.testing.assert_array_equal(
        np.sort(drawn.fit(X, y).cv_results_["mean_test_score"]),
        np.sort(search.cv_results_["mean_test_score"]),
    )
    halved = HalvingGridSearchCV(router, grid, min_resources=75, **keywords)
    assert np.isfinite(halved.fit(X, y).cv_results_["mean_test_score"]).all()
    _, seen = validation_curve(
        router, X, y, param_name=parameter, param_range=values, **keywords
    )
    np.testing.assert_allclose(seen[0], scores)
    _, _, grown = learning_curve(router, X, y, train_sizes=[0.5, 1.0], **keywords)
    np.testing.assert_allclose(grown[1], scores)
    own, chance, _ = permutation_test_score(router, X, y, cv=SPLITS, n_permutations=2)
    assert own == pytest.approx(scores.mean())
    assert np.isfinite(chance).all()
    choice = cross_val_predict(make_pipeline(router, BudgetDecider()), X, y, cv=SPLITS)
    assert set(choice) <= {0, 1, 2}


@pytest.mark.slow
@pytest.mark.usefixtures("metadata_routing")
@pytest.mark.parametrize("y", [Y, HOLES], ids=["complete", "holes"])
@pytest.mark.parametrize("name", ROUTERS)
def test_tools_with_per_query_costs(name, y):
    router, params = ROUTERS[name], {"costs": C}
    keywords = {"cv": SPLITS, "error_score": "raise"}
    scores = cross_val_score(router, X, y, params=params, **keywords)
    scaled = make_pipeline("passthrough", router)
    again = cross_val_score(scaled, X, y, params=params, **keywords)
    np.testing.assert_array_equal(again, scores)
    search = GridSearchCV(scaled, {"passthrough": [None]}, **keywords)
    search.fit(X, y, costs=C)
    assert search.best_score_ == pytest.approx(scores.mean())
    assert search.score(X, y, costs=C) == scaled.fit(X, y, costs=C).score(X, y, costs=C)
    parity = make_routing_scorer("quality_neutral_cost")
    shares = cross_val_score(router, X, y, params=params, scoring=parity, **keywords)
    assert ((shares >= -1) & (shares <= 0)).all()


def test_parity_that_is_never_reached_counts_as_no_gain():
    """A router that always calls a bad model was -inf, and so was the mean of folds."""
    y = np.tile([0.0, 1.0, 0.0], (30, 1))
    y[0] = [1.0, 0.0, 0.0]
    wrong = PointwiseRouter(Ridge(), costs=[2.0, 1.0, 3.0]).fit(X[:30], 1 - y)
    parity = make_routing_scorer("quality_neutral_cost")
    assert parity(wrong, X[:30], y) == -1.0


# Feature importance


def test_permutation_importance_of_priced_routers():
    router = priced("pointwise").fit(X, Y)
    found = permutation_importance(router, X, Y, n_repeats=3, random_state=0)
    named = permutation_importance(
        router, X, Y, n_repeats=3, random_state=0, scoring=make_routing_scorer()
    )
    assert found.importances.shape == (6, 3)
    assert found.importances_mean.max() > 0.02
    np.testing.assert_array_equal(found.importances, named.importances)
    weighed = permutation_importance(
        router, X, Y, n_repeats=3, random_state=0, sample_weight=WEIGHT
    )
    assert (weighed.importances != found.importances).any()


def test_permutation_importance_with_per_query_costs():
    router = clone(ROUTERS["pointwise"]).fit(X, Y, costs=C)
    with pytest.raises(ValueError, match=r"scoring=make_routing_scorer\(costs=costs\)"):
        permutation_importance(router, X, Y)
    scorer = make_routing_scorer(costs=C)
    found = permutation_importance(
        router, X, Y, n_repeats=3, scoring=scorer, random_state=0
    )
    assert found.importances_mean.max() > 0.0
    assert scorer(router, X, Y) == router.score(X, Y, costs=C)
    message = "those of 150 queries, and 75 are scored.*metadata"
    with pytest.raises(ValueError, match=message):
        permutation_importance(router, X, Y, scoring=scorer, max_samples=75)


# Frozen routers, containers


def test_frozen_routers_are_judged_as_their_own():
    y = pd.DataFrame(Y, columns=["a", "b", "c"])
    router = priced("pointwise").fit(X, y)
    expected = router.score(X, y)
    scorer = make_routing_scorer()
    behind = make_pipeline(FrozenEstimator(router), BudgetDecider()).fit(X, Y)
    search = GridSearchCV(router, GRIDS["pointwise"], cv=2).fit(X, y)
    chain = make_pipeline("passthrough", FrozenEstimator(search))
    shuffled = y[["c", "a", "b"]]
    for frozen in (
        FrozenEstimator(router),
        FrozenEstimator(behind),
        behind,
        make_pipeline("passthrough", FrozenEstimator(make_pipeline(router))),
    ):
        assert scorer(frozen, X, shuffled) == expected
    assert scorer(chain, X, shuffled) == search.score(X, y)
    assert cross_val_score(
        FrozenEstimator(router), X, Y, cv=SPLITS, error_score="raise"
    ).mean() == pytest.approx(
        np.mean([router.score(X[test], Y[test]) for _, test in SPLITS.split(X)])
    )


@pytest.mark.parametrize("container", ["pandas", "polars", "default"])
def test_the_container_of_estimates_changes_no_score(container):
    plain = priced("pointwise").fit(X, Y)
    router = clone(plain).set_output(transform=container).fit(X, Y)
    chain = make_pipeline(StandardScaler(), clone(router), BudgetDecider(price=0.1))
    chain.set_output(transform=container).fit(X, Y)
    for scorer in (
        make_routing_scorer(),
        make_routing_scorer("net_utility", price=0.02),
    ):
        assert scorer(router, X, Y) == scorer(plain, X, Y)
    straight = make_pipeline(StandardScaler(), clone(plain), BudgetDecider(price=0.1))
    assert (chain.predict(X) == straight.fit(X, Y).predict(X)).all()


# Logs with one answer per query


def one_answer_each(y: np.ndarray) -> np.ndarray:
    log, rows = np.full(y.shape, np.nan), np.arange(len(y))
    log[rows, rows % 3] = y[rows, rows % 3]
    return log


NOT_JUDGED = "needs complete rows.*At most 1 of the 3 models.*run every model"


@pytest.mark.parametrize("name", ROUTERS)
def test_a_log_of_one_answer_per_query_fits_and_says_why_it_cannot_judge(name):
    log = one_answer_each(Y)
    router = priced(name).fit(X, log)
    for judge in (
        router.score,
        lambda X, y: make_routing_scorer()(router, X, y),
        lambda X, y: make_routing_scorer("regret")(router, X, y),
        lambda X, y: make_routing_scorer("net_utility", price=0.1)(router, X, y),
        lambda X, y: normalized_auc(y, C, C, C),
        lambda X, y: skroute.report(router, X, y),
        lambda X, y: RoutingCurveDisplay.from_estimator(router, X, y),
        lambda X, y: compare_routers(X, y, PRICES, {"a": router}, seeds=1),
        lambda X, y: permutation_test_score(router, X, y),
        lambda X, y: cross_validate(router, X, y, error_score="raise"),
        lambda X, y: GridSearchCV(router, GRIDS[name], error_score="raise").fit(X, y),
    ):
        with pytest.raises(ValueError, match=NOT_JUDGED):
            judge(X, log)
    assert 0 < router.score(X, Y) < 1

"""PointwiseRouter: which regressors it takes, and tables with holes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest, StackingRegressor
from sklearn.linear_model import LogisticRegression, MultiTaskLasso, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skroute import PointwiseRouter
from skroute._table.averages import keep_in_range
from skroute.datasets import make_routing

DATA = make_routing(120, n_features=4, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
PRICES = [1.0, 2.0, 5.0]
ONE_HOLE = Y.copy()
ONE_HOLE[3, 1] = np.nan
ONE_EACH = np.where(np.arange(3) == np.arange(120)[:, None] % 3, Y, np.nan)
SEARCHED = GridSearchCV(MultiOutputRegressor(Ridge()), {"estimator__alpha": [1.0]})


def fit(estimator, y, **keywords):
    return PointwiseRouter(estimator, cv=2, random_state=0, **keywords).fit(X, y)


@pytest.mark.slow
@pytest.mark.parametrize("y", [Y, ONE_HOLE, ONE_EACH], ids=["0", "1", "many"])
@pytest.mark.parametrize(
    "estimator",
    [
        MultiOutputRegressor(Ridge()),
        make_pipeline(StandardScaler(with_std=False), MultiOutputRegressor(Ridge())),
        SEARCHED,
        make_pipeline(SEARCHED),
    ],
    ids=["multi-output", "pipeline", "search", "searched in a pipeline"],
)
def test_each_model_is_learned_from_the_queries_on_which_it_was_run(estimator, y):
    """One hole was an error of regressors that only take tables of targets."""
    found = fit(estimator, y, costs=PRICES).predict_quality(X)
    alone = np.empty((len(X), 3))
    for model in range(3):
        known = np.isfinite(y[:, model])
        alone[:, model] = Ridge().fit(X[known], y[known, model]).predict(X)
    right = keep_in_range(alone, np.nanmin(y), np.nanmax(y))
    np.testing.assert_allclose(found, right, atol=1e-9)


@pytest.mark.parametrize("estimator", [RegressorChain(Ridge()), MultiTaskLasso(1e-3)])
def test_holes_in_costs_are_no_worse_than_in_qualities(estimator):
    costs = C.copy()
    costs[5, 0] = np.nan
    router = PointwiseRouter(estimator, cv=2).fit(X, ONE_HOLE, costs=costs)
    for estimates in (router.predict_quality(X), router.predict_cost(X)):
        assert estimates.shape == (120, 3)
        assert np.isfinite(estimates).all()


@pytest.mark.parametrize("name", ["estimator", "cost_estimator"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("ridge", "got 'ridge'"),
        (3, "got 3"),
        (Ridge, r"got the class Ridge: give an instance of it, Ridge\(\)"),
        (StandardScaler(), r"StandardScaler\(\), which has no predict"),
        (make_pipeline(StandardScaler()), "which has no predict"),
        (LogisticRegression(), "got the classifier LogisticRegression.*chance of 1"),
        (make_pipeline(LogisticRegression()), "got the classifier Pipeline"),
        (GridSearchCV(LogisticRegression(), {}), "got the classifier GridSearchCV"),
        (KMeans(2), "got the clusterer KMeans"),
        (IsolationForest(), "got the outlier_detector IsolationForest"),
    ],
)
def test_what_is_no_regressor_is_named(name, wrong, message):
    router = PointwiseRouter(Ridge()).set_params(**{name: wrong})
    message = f"^{name} must be a scikit-learn regressor, such as Ridge.*{message}"
    with pytest.raises(ValueError, match=message):
        router.fit(X, Y, costs=C)


def test_without_an_estimator_there_is_nothing_to_fit():
    with pytest.raises(ValueError, match=r"must be a scikit-learn regressor.*got None"):
        fit(None, Y, costs=PRICES)


def test_a_regressor_that_predicts_only_once_it_is_fitted_is_one():
    stacked = StackingRegressor([("ridge", Ridge())], cv=2)
    assert not hasattr(stacked, "predict")
    assert np.isfinite(fit(stacked, ONE_HOLE, costs=PRICES).predict_quality(X)).all()

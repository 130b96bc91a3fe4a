"""PointwiseRouter: any regressor, trained on scores; the objective that collapses."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from skroute._table.averages import keep_in_range
from skroute._table.folds import draw_folds
from skroute._table.numbers import check_integer
from skroute._table.tables import RoutingTable, check_queries
from skroute.crossfit import CrossFittedRouter

__all__ = ["PointwiseRouter"]


class PointwiseRouter(CrossFittedRouter):
    """Route by the scores of a regressor, the usual baseline.

    One scikit-learn regressor learns the quality of every model from the embedding. Its
    objective is the error of a score, while the decision is a comparison of scores;
    that mismatch is what makes routers collapse [1]_. Priced by the same
    :class:`~skroute.BudgetDecider` as everything else, a tuned ridge or k-nearest
    neighbours is a strong baseline all the same.

    Parameters
    ----------
    estimator : regressor
        Any scikit-learn regressor; one with several outputs is fitted once for all
        models that were run on the same queries, others once per model. A model is
        learned from the queries on which it was run: ``NaN`` never reaches a regressor.
    cost_estimator : regressor, default=None
        Learns per-query costs. ``None`` clones `estimator`. Not used with per-model
        prices.
    costs : array-like of shape (n_models,) or dict, default=None
        Prices per model, by position or by name. Also fill in for unknown per-query
        costs.
    cv : int, default=5
        Folds of the cross-fitted estimates on which mean budgets and quality targets
        are tuned; `estimator` is fitted ``cv + 1`` times.
    random_state : int, RandomState instance or None, default=None
        Shuffles the folds.

    Attributes
    ----------
    estimators_ : list of (ndarray of int, regressor)
        Columns of `y`, and the regressor fitted on them.
    cost_estimators_ : list of (ndarray of int, regressor)
        The same for costs; empty where prices are fixed.

    Notes
    -----
    Outcomes all weigh alike: `fit` takes no ``outcome_weight``, as that of
    :class:`~skroute.RankingRouter` does.

    References
    ----------
    .. [1] G. Lai and H.-J. Ye, "When Routing Collapses: On the Degenerate Convergence
       of LLM Routers", arXiv:2602.03478, 2026.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> from skroute import PointwiseRouter
    >>> from skroute.datasets import make_routing
    >>> data = make_routing(n_queries=200, random_state=0)
    >>> router = PointwiseRouter(KNeighborsRegressor(20), random_state=0)
    >>> router.fit(data.data, data.quality, costs=data.costs).predict(data.data).shape
    (200,)
    """

    _cost_range: tuple[np.ndarray, np.ndarray]
    #: What the learned costs are multiplied by, (n_models,) or for all.
    _cost_scale: np.ndarray | float = 1.0
    # The default of files of format 1, which do not hold the range.
    _quality_range: tuple[float, float] = (-np.inf, np.inf)

    def __init__(
        self,
        estimator: BaseEstimator,
        cost_estimator: BaseEstimator | None = None,
        *,
        costs: Any = None,
        cv: int = 5,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.cost_estimator = cost_estimator
        self.costs = costs
        self.cv = cv
        self.random_state = random_state

    def predict_quality(self, X: Any) -> np.ndarray:
        """Quality of every model as the regressor expects it.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            In the unit of `y`, within the range seen in training.
        """
        X = check_queries(self, X)
        quality = _predict_columns(self.estimators_, X, self._mean_quality)
        return keep_in_range(quality, *self._quality_range)

    def predict_cost(self, X: Any) -> np.ndarray:
        """Cost of every model as the regressor expects it, or its price.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            In the unit of `costs`, within the range seen in training.
        """
        X = check_queries(self, X)
        cost = _predict_columns(self.cost_estimators_, X, self.costs_)
        low, high = self._cost_range
        # What is learned is in the money of the fit.
        scale = np.where(self._has_cost_estimator, self._cost_scale, 1.0)
        return np.clip(cost * scale, low, high)

    @property
    def _has_cost_estimator(self) -> np.ndarray:
        """Mark the models whose costs are learned, (n_models,)."""
        learned = np.zeros(len(self.models_), dtype=bool)
        for columns, _ in self.cost_estimators_:
            learned[columns] = True
        return learned

    def _change_costs(self, factor: np.ndarray, prices: np.ndarray | None) -> None:
        if prices is None:
            self._cost_scale = self._cost_scale * factor
            low, high = self._cost_range
            self._cost_range = low * factor, high * factor
        else:
            self._cost_range = prices, prices

    def _fit_table(self, table: RoutingTable) -> np.ndarray:
        """Fit on each fold's complement, then on all; returns estimates out of fold."""
        check_integer(self.cv, "cv", low=2)
        X, quality, costs, per_query = table[:4]
        _check_regressor(self.estimator, "estimator")
        cost_estimator = self.estimator
        if self.cost_estimator is not None:
            cost_estimator = self.cost_estimator
            _check_regressor(cost_estimator, "cost_estimator")
        # For models without an outcome in the folds that are fitted.
        self._mean_quality = np.nanmean(quality, axis=0)
        self._quality_range = float(np.nanmin(quality)), float(np.nanmax(quality))
        self._cost_range = np.nanmin(costs, axis=0), np.nanmax(costs, axis=0)
        self._cost_scale = 1.0
        assert table.duplicates is not None
        expected, held_out_cost = np.empty(quality.shape), np.empty(quality.shape)
        fold = draw_folds(table.duplicates, self.cv, self.random_state)
        for k in range(fold.max() + 1):
            train, test = fold != k, fold == k
            fitted = _fit_columns(self.estimator, X[train], quality[train])
            expected[test] = _predict_columns(fitted, X[test], self._mean_quality)
            fitted = []
            if per_query:
                fitted = _fit_columns(cost_estimator, X[train], costs[train])
            held_out_cost[test] = _predict_columns(fitted, X[test], self.costs_)
        self.estimators_ = _fit_columns(self.estimator, X, quality)
        self.cost_estimators_ = (
            _fit_columns(cost_estimator, X, costs) if per_query else []
        )
        return np.hstack(
            [
                keep_in_range(expected, *self._quality_range),
                np.clip(held_out_cost, *self._cost_range),
            ]
        )


def _check_regressor(estimator: Any, name: str) -> None:
    """Refuse what is no regressor: some classifiers would fit without an error."""
    wrong = f"{name} must be a scikit-learn regressor, such as Ridge(); got "
    if isinstance(estimator, type):
        raise ValueError(
            f"{wrong}the class {estimator.__name__}: give an instance of it, "
            f"{estimator.__name__}()."
        )
    if not hasattr(estimator, "fit"):
        raise ValueError(f"{wrong}{estimator!r}.")
    kind = get_tags(estimator).estimator_type
    # A regressor may have no predict before it is fitted, as a StackingRegressor.
    if kind is None and not hasattr(estimator, "predict"):
        raise ValueError(f"{wrong}{estimator!r}, which has no predict.")
    if kind not in (None, "regressor"):
        raise ValueError(
            f"{wrong}the {kind} {estimator!r}, whose predictions are not expected "
            "qualities. On qualities of 0 and 1 a regressor estimates the chance of 1."
        )


Columns = list[tuple[np.ndarray, BaseEstimator]]


def _fit_columns(estimator: BaseEstimator, X: np.ndarray, table: np.ndarray) -> Columns:
    """Fit clones of `estimator` to the columns of a table with holes.

    Models that were run on the same queries share a clone, if it has several outputs.
    """
    known = np.isfinite(table)
    patterns, group = np.unique(known, axis=1, return_inverse=True)
    group = group.ravel()
    # A regressor of one output is fitted for each model by itself.
    only_tables = _needs_table(estimator)
    if not (only_tables or get_tags(estimator).target_tags.multi_output):
        patterns, group = known, np.arange(table.shape[1])
    fitted = []
    # One fit for each set of models that were run on the same queries.
    for i, rows in enumerate(patterns.T):
        columns = np.flatnonzero(group == i)
        if rows.any():
            target = table[np.ix_(rows, columns)]
            if len(columns) == 1 and not only_tables:
                target = target.ravel()
            fitted.append((columns, clone(estimator).fit(X[rows], target)))
    return fitted


def _needs_table(estimator: BaseEstimator) -> bool:
    """Whether a regressor refuses a vector of targets, of one model as of several."""
    # Searches and pipelines do not pass this tag on.
    while isinstance(estimator, GridSearchCV | RandomizedSearchCV | Pipeline):
        inner = estimator[-1] if isinstance(estimator, Pipeline) else None
        estimator = estimator.estimator if inner is None else inner
    return not get_tags(estimator).target_tags.single_output


def _predict_columns(fitted: Columns, X: np.ndarray, default: np.ndarray) -> np.ndarray:
    """Predict a table; a column without a regressor keeps its default."""
    table = np.tile(default, (len(X), 1))
    for columns, estimator in fitted if len(X) else []:
        table[:, columns] = estimator.predict(X).reshape(len(X), len(columns))
    return table

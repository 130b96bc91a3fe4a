"""Scorers for GridSearchCV and cross_validate, with costs routed as metadata."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from sklearn.utils.metadata_routing import MetadataRequest

from skroute.metrics import _scores, _two_models
from skroute.metrics._curve import RoutingCurve, routing_curve
from skroute.metrics._estimator import models_of, router_of
from skroute.metrics._tables import regret
from skroute.money import check_spend
from skroute.validation import check_quality

# Each named metric, and whether higher is better.
_CURVE_METRICS: dict[Callable[..., float], bool] = {
    _scores.normalized_auc: True,
    _scores.peak_quality: True,
    _scores.average_improvement_in_quality: True,
    _two_models.apgr: True,
    _scores.quality_neutral_cost: False,
    _scores.routing_collapse_index: False,
    _scores.strongest_call_share: False,
    _two_models.call_performance_threshold: False,
}
_NAMED: dict[str, Callable[..., float]] = {
    metric.__name__: metric for metric in (*_CURVE_METRICS, regret)
}


def make_routing_scorer(
    metric: str | Callable[..., float] = "normalized_auc",
    *,
    costs: Any = None,
    scope: Literal["mean", "query"] = "mean",
    response: Literal["curve", "decisions"] | None = None,
    greater_is_better: bool | None = None,
    **kwargs: Any,
) -> RoutingScorer:
    """Make a scorer of routers, or of pipelines of a router and a decider.

    Parameters
    ----------
    metric : str or callable, default="normalized_auc"
        A metric of :mod:`skroute.metrics` or its name, or a function of your own: of a
        :class:`~skroute.metrics.RoutingCurve`, or (``response="decisions"``) of
        ``(y, choice, costs=...)``.
    costs : array-like of shape (n_models,), default=None
        Prices per model that hold for every query. ``None``: the costs come with the
        queries, as metadata, ``cross_validate(..., params={"costs": costs})`` with
        ``sklearn.set_config(enable_metadata_routing=True)``.
    scope : {"mean", "query"}, default="mean"
        How the budget of the curve is swept.
    response : {"curve", "decisions"}, default=None
        What the metric is given. ``None``: a curve, and for ``regret`` the decisions.
    greater_is_better : bool, default=None
        ``None``: as is known of skroute's metrics, else True. Where False the score is
        negated, as scikit-learn does.
    **kwargs : dict
        Passed on to the metric.

    Returns
    -------
    RoutingScorer
        A callable ``scorer(estimator, X, y, *, costs=None)``. It raises where costs
        are needed and not given; it never scores without.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.model_selection import cross_val_score
    >>> from skroute import PointwiseRouter
    >>> from skroute.datasets import make_routing
    >>> from skroute.metrics import make_routing_scorer
    >>> data = make_routing(n_queries=200, n_models=3, random_state=0)
    >>> prices = [1.0, 5.0, 20.0]
    >>> cross_val_score(
    ...     PointwiseRouter(Ridge(), costs=prices),
    ...     data.data,
    ...     data.quality,
    ...     scoring=make_routing_scorer("normalized_auc", costs=prices),
    ... ).shape
    (5,)
    """
    if isinstance(metric, str):
        if metric not in _NAMED:
            raise ValueError(
                f"metric must be one of {sorted(_NAMED)} or a function; got {metric!r}."
            )
        metric = _NAMED[metric]
    if not callable(metric):
        raise ValueError(f"metric must be a name or a function; got {metric!r}.")
    if response is None:
        response = "decisions" if _function(metric) is regret else "curve"
    if response not in ("curve", "decisions"):
        raise ValueError(
            f"response must be 'curve', 'decisions' or None; got {response!r}."
        )
    if greater_is_better is None:
        known = _function(metric)
        greater_is_better = known is not regret and _CURVE_METRICS.get(known, True)
    return RoutingScorer(metric, costs, scope, response, greater_is_better, kwargs)


class RoutingScorer:
    """What :func:`make_routing_scorer` returns; make it there."""

    def __init__(
        self,
        metric: Callable[..., float],
        costs: Any,
        scope: Literal["mean", "query"],
        response: str,
        greater_is_better: bool,
        kwargs: dict[str, Any],
    ) -> None:
        self.metric = metric
        self.costs = costs
        self.scope = scope
        self.response = response
        self.greater_is_better = greater_is_better
        self.kwargs = kwargs

    def __call__(
        self, estimator: Any, X: Any, y_true: Any, *, costs: Any = None
    ) -> float:
        """Score a fitted router, or a pipeline of one, on queries it did not see.

        Parameters
        ----------
        estimator : estimator
            A router, a pipeline that ends in one, or one that ends in a
            :class:`~skroute.BudgetDecider`; also a fitted search over any of them.
        X : array-like of shape (n_queries, n_features)
            What the estimator takes.
        y_true : array-like of shape (n_queries, n_models)
            Observed qualities.
        costs : array-like of shape (n_queries, n_models), default=None
            Observed costs.

        Returns
        -------
        float
            The metric; negated where lower is better.
        """
        costs = self.costs if costs is None else costs
        models = models_of(estimator)
        y_true = check_quality(y_true, models=models)
        if costs is not None:
            costs = check_spend(costs, y_true.shape, models)
        if self.response == "decisions":
            choice = estimator.predict(X)
            value = self.metric(y_true, choice, costs=costs, **self.kwargs)
        else:
            value = self.metric(self._curve(estimator, X, y_true, costs), **self.kwargs)
        return float(value if self.greater_is_better else -value)

    def _curve(self, estimator: Any, X: Any, y: Any, costs: Any) -> RoutingCurve:
        if costs is None:
            raise ValueError(
                f"{_name(self.metric)} needs costs, and none reached the scorer: "
                "give prices to make_routing_scorer(costs=...), or pass per-query "
                "costs as metadata, params={'costs': costs}, with "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        estimates = np.asarray(router_of(estimator).transform(X))
        return routing_curve(y, costs, *np.hsplit(estimates, 2), scope=self.scope)

    def get_metadata_routing(self) -> MetadataRequest:
        """Request `costs` along with the queries to score.

        Returns
        -------
        MetadataRequest
            The request.
        """
        request = MetadataRequest(owner=self.__class__.__name__)
        request.score.add_request(param="costs", alias=True)
        return request

    def __repr__(self) -> str:
        sign = "" if self.greater_is_better else ", greater_is_better=False"
        return f"make_routing_scorer({_name(self.metric)}{sign})"


def _function(metric: Any) -> Any:
    """The function of a partial."""
    while isinstance(metric, partial):
        metric = metric.func
    return metric


def _name(metric: Any) -> str:
    return getattr(_function(metric), "__name__", repr(metric))

"""Scorers for GridSearchCV and cross_validate, with costs routed as metadata."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from sklearn.utils.metadata_routing import MetadataRequest

from skroute._judged import extract_router, find_decider, judge, observe, refuse_cascade
from skroute._table.names import check_rows
from skroute.exceptions import IgnoredDeciderWarning, find_caller_level
from skroute.metrics import _choices, _curve_metrics, _settled

# Each named metric, and whether higher is better.
_CURVE_METRICS: dict[Callable[..., float], bool] = {
    _curve_metrics.normalized_auc: True,
    _curve_metrics.peak_quality: True,
    _curve_metrics.average_improvement_in_quality: True,
    _curve_metrics.apgr: True,
    _curve_metrics.quality_neutral_cost: False,
    _curve_metrics.routing_collapse_index: False,
    _curve_metrics.strongest_call_share: False,
    _curve_metrics.call_performance_threshold: False,
}
_DECISION_METRICS: dict[Callable[..., float], bool] = {
    _choices.regret: False,
    _choices.net_utility: True,
    _settled.quality_within_budget: True,
    _settled.settled_cost: False,
}
_KNOWN = {**_CURVE_METRICS, **_DECISION_METRICS}
_NAMED: dict[str, Callable[..., float]] = {metric.__name__: metric for metric in _KNOWN}


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
        ``(y, choice, costs=...)``. Metrics of a curve judge a router at every budget;
        ``"regret"``, ``"net_utility"`` (with ``price=...``),
        ``"quality_within_budget"`` (with ``budget=...``) and ``"settled_cost"`` (with
        ``min_quality=...``) judge what ``predict`` decides, and so the parameters of a
        :class:`~skroute.BudgetDecider`.
    costs : array-like of shape (n_models,) or (n_queries, n_models), default=None
        Prices that hold for every query; or the costs of the very queries that are
        scored, for tools that know no metadata, such as
        :func:`sklearn.inspection.permutation_importance`. ``None``: costs that come as
        metadata, ``cross_validate(..., params={"costs": costs})`` with
        ``sklearn.set_config(enable_metadata_routing=True)``; without these, the prices
        that the router was fitted on.
    scope : {"mean", "query"}, default="mean"
        How the budget of the curve is swept.
    response : {"curve", "decisions"}, default=None
        What the metric is given; ``None``: a curve, unless skroute knows better.
    greater_is_better : bool, default=None
        Where False the score is negated. ``None``: as skroute knows it, else True.
    **kwargs : dict
        Passed on to the metric.

    Returns
    -------
    RoutingScorer
        A callable ``scorer(estimator, X, y, *, costs=None, sample_weight=None)``. It
        raises where costs are needed and neither given nor known.

    Notes
    -----
    scikit-learn turns an error of a scorer into ``nan`` and a warning, and a search
    then takes its first candidate: give ``error_score="raise"`` to see the error.

    Where the best single model's quality is never reached, or only at a higher cost,
    ``"quality_neutral_cost"`` counts as 1: that model can always be called instead.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.model_selection import cross_val_score
    >>> from skroute import PointwiseRouter
    >>> from skroute.datasets import make_routing
    >>> from skroute.metrics import make_routing_scorer
    >>> data = make_routing(n_queries=200, n_models=3, random_state=0)
    >>> router = PointwiseRouter(Ridge(), costs=[1.0, 5.0, 20.0])
    >>> scorer = make_routing_scorer("normalized_auc")
    >>> cross_val_score(router, data.data, data.quality, scoring=scorer).shape
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
    known = _unwrap_partial(metric)
    if response is None:
        response = "decisions" if known in _DECISION_METRICS else "curve"
    if response not in ("curve", "decisions"):
        raise ValueError(
            f"response must be 'curve', 'decisions' or None; got {response!r}."
        )
    if scope not in ("mean", "query"):
        raise ValueError(f"scope must be 'mean' or 'query'; got {scope!r}.")
    if greater_is_better is None:
        greater_is_better = _KNOWN.get(known, True)
    _check_arguments(metric, response, kwargs)
    return RoutingScorer(metric, costs, scope, response, greater_is_better, kwargs)


@dataclass(repr=False, eq=False)
class RoutingScorer:
    """Result of :func:`make_routing_scorer`, which documents it."""

    metric: Callable[..., float]
    costs: Any
    scope: Literal["mean", "query"]
    response: str
    greater_is_better: bool
    kwargs: dict[str, Any]

    def __call__(
        self,
        estimator: Any,
        X: Any,
        y_true: Any,
        *,
        costs: Any = None,
        sample_weight: Any = None,
    ) -> float:
        """Score a fitted router, or a pipeline of one, on queries it did not see.

        The estimator may be whatever `extract_router` finds a router in. The score is
        the metric, negated where lower is better.
        """
        refuse_cascade(estimator)
        check_rows(X=X, y_true=y_true, sample_weight=sample_weight)
        if costs is None:
            costs = self._check_own_costs(y_true)
        judge_them = (
            self._judge_decisions if self.response == "decisions" else self._judge_curve
        )
        value = judge_them(estimator, X, y_true, costs, sample_weight)
        return float(value if self.greater_is_better else -value)

    def _check_own_costs(self, y: Any) -> Any:
        """Return the costs that the scorer was made with."""
        counted = np.ndim(self.costs) == 2 and y is not None
        if counted and len(self.costs) != len(y):
            raise ValueError(
                f"costs of make_routing_scorer are those of {len(self.costs)} queries, "
                f"and {len(y)} are scored. Where queries are split, give per-query "
                "costs as metadata, params={'costs': costs}, with "
                "sklearn.set_config(enable_metadata_routing=True); or give the scorer "
                "one price per model."
            )
        return self.costs

    def _judge_curve(
        self, estimator: Any, X: Any, y: Any, costs: Any, sample_weight: Any
    ) -> float:
        """Judge a router at every budget."""
        rule = find_decider(estimator)
        limits = () if rule is None else (rule.budget, rule.min_quality, rule.price)
        ruled = any(limit is not None for limit in limits)
        if rule is not None and (ruled or rule.tolerance != 0):
            warnings.warn(
                f"{_find_name(self.metric)} judges the router at every budget, so the "
                "parameters of the BudgetDecider behind it do not change the score. "
                "To judge its decisions, use make_routing_scorer('net_utility', "
                "price=...), ('quality_within_budget', budget=...), "
                "('settled_cost') or ('regret').",
                IgnoredDeciderWarning,
                stacklevel=find_caller_level(),
            )
        judged = judge(estimator, X, y, costs, _find_name(self.metric))
        curve = judged.compute_curve(self.scope, sample_weight)
        value = self.metric(curve, **self.kwargs)
        if _unwrap_partial(self.metric) is _curve_metrics.quality_neutral_cost:
            # Calling the best single model for every query is always possible.
            return min(value, 1.0)
        return value

    def _judge_decisions(
        self, estimator: Any, X: Any, y: Any, costs: Any, sample_weight: Any
    ) -> float:
        """Judge what an estimator decides."""
        metric = _unwrap_partial(self.metric)
        # Regret needs costs at a shadow price only; metrics of users may not need them.
        needed = metric in _KNOWN
        if metric is _choices.regret:
            needed = bool(self.kwargs.get("price"))
        user = _find_name(metric) if needed else None
        y, costs, _ = observe(estimator, y, costs, user)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if not hasattr(estimator, "predict"):  # a pipeline whose decider is left out
            estimator = extract_router(estimator)
        choice = estimator.predict(X)
        return self.metric(y, choice, costs=costs, **weights, **self.kwargs)

    def get_metadata_routing(self) -> MetadataRequest:
        """Request `costs` and `sample_weight` along with the queries to score."""
        request = MetadataRequest(owner=self.__class__.__name__)
        request.score.add_request(param="costs", alias=True)
        request.score.add_request(param="sample_weight", alias=True)
        return request

    def __repr__(self) -> str:
        sign = "" if self.greater_is_better else ", greater_is_better=False"
        return f"make_routing_scorer({_find_name(self.metric)}{sign})"


def _unwrap_partial(metric: Any) -> Any:
    """Return the function of a partial, or the function itself."""
    while isinstance(metric, partial):
        metric = metric.func
    return metric


def _find_name(metric: Any) -> str:
    return getattr(_unwrap_partial(metric), "__name__", repr(metric))


def _check_arguments(metric: Any, response: str, kwargs: dict[str, Any]) -> None:
    """Check that a metric can be called so, before anything is fitted."""
    try:
        signature = inspect.signature(metric)
    except (TypeError, ValueError):  # some builtins have no signature
        return
    given: tuple[Any, ...] = (None,)
    if response == "decisions":
        given, kwargs = (None, None), {"costs": None, **kwargs}
    try:
        signature.bind(*given, **kwargs)
    except TypeError as error:
        raise ValueError(
            f"{_find_name(metric)} cannot be called with the arguments of "
            f"make_routing_scorer, {sorted(kwargs)}: {error}."
        ) from None

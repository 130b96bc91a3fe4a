"""Reading estimates off a fitted router, or off a pipeline or search that holds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.pipeline import Pipeline

from skroute.decision import BudgetDecider
from skroute.metrics._curve import RoutingCurve, routing_curve
from skroute.money import check_spend
from skroute.names import default_names
from skroute.validation import check_quality

__all__ = ["Judged", "judge", "models_of", "router_of"]


@dataclass(frozen=True)
class Judged:
    """A router's estimates beside what was observed on the same queries.

    Attributes
    ----------
    y, costs : ndarray of shape (n_queries, n_models)
        Observed qualities and costs, ``NaN`` where unknown.
    quality, cost : ndarray of shape (n_queries, n_models)
        Estimates.
    models : ndarray of str of shape (n_models,)
        Names of the models, in the order of the columns.
    """

    y: np.ndarray
    costs: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    models: np.ndarray

    @property
    def complete(self) -> np.ndarray:
        """Whether every quality and cost of a query is known, (n_queries,)."""
        return np.isfinite(self.y).all(axis=1) & np.isfinite(self.costs).all(axis=1)

    def take(self, rows: np.ndarray) -> Judged:
        """Keep some of the queries.

        Parameters
        ----------
        rows : ndarray
            Their indices, or a mask.

        Returns
        -------
        Judged
            These queries only.
        """
        y, costs, quality, cost = (
            table[rows] for table in (self.y, self.costs, self.quality, self.cost)
        )
        return Judged(y, costs, quality, cost, self.models)

    def curve(self, scope: Literal["mean", "query"] = "mean") -> RoutingCurve:
        """Sweep the budget over the estimates.

        Parameters
        ----------
        scope : {"mean", "query"}, default="mean"
            As in :func:`~skroute.metrics.routing_curve`.

        Returns
        -------
        RoutingCurve
            The curve.
        """
        return routing_curve(
            self.y,
            self.costs,
            self.quality,
            self.cost,
            scope=scope,
            models=self.models,
        )


def judge(estimator: Any, X: Any, y: Any, costs: Any, user: str) -> Judged:
    """Let a fitted router estimate queries whose outcomes are known.

    Parameters
    ----------
    estimator : estimator
        A router, a pipeline that ends in one, or one that ends in a
        :class:`~skroute.BudgetDecider`; also a fitted search over any of them.
    X : array-like of shape (n_queries, n_features)
        What the estimator takes.
    y : array-like of shape (n_queries, n_models)
        Observed qualities; columns of a DataFrame are matched by name.
    costs : array-like of shape (n_models,) or (n_queries, n_models), or None
        Observed costs. ``None``: the prices that the router was fitted on.
    user : str
        What needs the costs, as the error calls it.

    Returns
    -------
    Judged
        Both, in the order of the router's models.

    Raises
    ------
    ValueError
        If a shape or a value is wrong, or costs are needed and not known.
    """
    router = router_of(estimator)
    models = models_of(router)
    y = check_quality(y, models=models)
    if models is None:
        models = default_names(y.shape[1])
    if costs is None:
        last = router[-1] if isinstance(router, Pipeline) else router
        if hasattr(last, "_known_prices"):
            costs = last._known_prices(user)
    costs = check_spend(costs, y.shape, models)
    quality, cost = np.hsplit(np.asarray(router.transform(X)), 2)
    if quality.shape != y.shape:
        raise ValueError(
            f"X and y must describe the same queries and the router's models: it "
            f"estimates {quality.shape[0]} queries x {quality.shape[1]} models; y has "
            f"shape {y.shape}."
        )
    return Judged(y, costs, quality, cost, models)


def router_of(estimator: Any) -> Any:
    """The part of a pipeline or search whose `transform` gives estimates."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, Pipeline) and isinstance(estimator[-1], BudgetDecider):
        return estimator[:-1]
    return estimator


def models_of(estimator: Any) -> Any:
    """Names of the models in the order of the decisions, if they are known."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return getattr(estimator, "models_", None)

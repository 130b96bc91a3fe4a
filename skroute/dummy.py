"""DummyRouter: what a router must beat."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.utils import check_random_state

from skroute._table.tables import RoutingTable, check_queries
from skroute.crossfit import CrossFittedRouter

__all__ = ["DummyRouter"]

_STRATEGIES = ("best_single", "cheapest", "random")


class DummyRouter(CrossFittedRouter):
    """Route without looking at the query.

    Parameters
    ----------
    strategy : {"best_single", "cheapest", "random"}, default="best_single"
        What is believed about the models, and so who is called:

        - ``"best_single"``: each model is as good as its mean on the training queries;
          without a budget all calls go to the best one.
        - ``"cheapest"``: all models are equally good; all calls go to the cheapest.
        - ``"random"``: drawn anew for every query and model; calls are spread evenly.
    costs : array-like of shape (n_models,) or dict, default=None
        Prices per model, by position or by name.
    random_state : int, RandomState instance or None, default=None
        Seed of ``strategy="random"``; an int gives the same draws in every call, so a
        query on its own always the first of them.

    Attributes
    ----------
    mean_quality_ : ndarray of shape (n_models,)
        Mean observed quality of each model.

    Examples
    --------
    >>> from skroute import DummyRouter
    >>> router = DummyRouter(costs=[1.0, 30.0])
    >>> router.fit([[0.0], [1.0]], [[0.0, 1.0], [1.0, 1.0]]).route([[0.5]])
    array(['model_1'], dtype=object)
    """

    def __init__(
        self,
        strategy: Literal["best_single", "cheapest", "random"] = "best_single",
        *,
        costs: Any = None,
        random_state: Any = None,
    ) -> None:
        self.strategy = strategy
        self.costs = costs
        self.random_state = random_state

    def predict_quality(self, X: Any) -> np.ndarray:
        """Quality as the strategy believes it.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings; only their number counts.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            In the unit of `y`; right on average over all models.
        """
        return self._believe(len(check_queries(self, X)))

    def predict_cost(self, X: Any) -> np.ndarray:
        """Mean cost of every model, whatever the query.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings; only their number counts.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            In the unit of `costs`.
        """
        X = check_queries(self, X)
        return np.tile(self.costs_, (len(X), 1))

    def _fit_table(self, table: RoutingTable) -> np.ndarray:
        """Learn the means of the models; returns estimates, which are constants."""
        if self.strategy not in _STRATEGIES:
            raise ValueError(
                f"strategy must be one of {_STRATEGIES}; got {self.strategy!r}."
            )
        self.mean_quality_ = np.nanmean(table.quality, axis=0)
        # Constants have nothing to cross-fit.
        n_queries = len(table.X)
        cost = np.tile(self.costs_, (n_queries, 1))
        return np.hstack([self._believe(n_queries), cost])

    def _change_costs(self, factor: np.ndarray, prices: np.ndarray | None) -> None:
        # What it expects is `costs_`, the means.
        return

    @property
    def _may_call_single_model(self) -> bool:
        # Other routers are compared with these strategies, so they are not improved on.
        return False

    def _believe(self, n_queries: int) -> np.ndarray:
        """Return the qualities that the strategy assumes, (n_queries, n_models)."""
        means = self.mean_quality_
        if self.strategy == "best_single":
            return np.tile(means, (n_queries, 1))
        if self.strategy == "cheapest":
            # Equal qualities leave the decision to the costs.
            return np.full((n_queries, len(means)), means.mean())
        draws = check_random_state(self.random_state)
        spread = max(np.ptp(means), np.finfo(float).eps)
        noise = draws.uniform(-spread, spread, size=(n_queries, len(means)))
        return means.mean() + noise / 2

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # A draw belongs to a position in the call, not to a query.
        tags.non_deterministic = self.strategy == "random"
        return tags

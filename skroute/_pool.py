"""Pools that change: add a model to a fitted router, or remove one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skroute._compute.threads import single_threaded
from skroute._decide.memory import TrainingDecisions
from skroute._estimate.quality import PairEstimates, PairFeatures
from skroute._estimate.ridge import RidgeFit, fit_costs
from skroute._table.costs import check_call_costs
from skroute._table.duplicates import average_duplicates, find_duplicates
from skroute._table.folds import draw_folds
from skroute._table.names import (
    as_mapping,
    as_name,
    check_printable,
    check_rows,
    format_names,
)
from skroute._table.tables import check_outcomes, check_queries
from skroute.crossfit import CrossFittedRouter

__all__ = ["ChangeablePool"]


class ChangeablePool(CrossFittedRouter):
    """Adds :meth:`add_model` and :meth:`remove_model` to the ranking router.

    A router keeps one column of coefficients per model, and its ranker knows a model
    only by what the regressions say of it. So a column more or less is all it takes:
    the ranker, its share and the columns of the other models stay as they are.
    """

    costs: Any
    cv: int
    _pairs: PairFeatures
    _place: np.ndarray
    _worst: float
    _range: float
    # The range of the qualities seen, in their own scale; a new model may widen it.
    _seen: tuple[float, float] = (0.0, 1.0)
    _cost_fit: RidgeFit | None
    _cost_range: tuple[np.ndarray, np.ndarray]
    # Models and decisions as they were fitted, while the pool is another one.
    _fitted: tuple[np.ndarray, TrainingDecisions] | None

    def add_model(self, name: str, y: Any, *, X: Any, costs: Any = None) -> Self:
        """Return a router of a larger pool; this one stays as it is.

        The model is estimated by the regressions of this router, at their strengths;
        nothing is fitted again for the others. With few outcomes it is expected to be
        about as good as the pool is, and as good on the same queries [1]_: each outcome
        more tells it apart. Fifty outcomes place it roughly, a thousand leave little to
        a refit on the whole table.

        Parameters
        ----------
        name : str
            Name of the model, none of ``models_``.
        y : array-like of shape (n_queries,)
            Quality of the model on every query, in the unit of the other models'
            qualities; ``NaN`` where it was not run. Two outcomes at least.
        X : array-like of shape (n_queries, n_features)
            Embeddings of the queries, by the same encoder. Those the router was fitted
            on, or others. Add queries with a ``NaN`` outcome to settle budgets well
            (see Notes).
        costs : float or array-like of shape (n_queries,), default=None
            Price of a call, or what every call cost, ``NaN`` where unknown. ``None``
            only where the router was fitted without costs: every model then costs 1.

        Returns
        -------
        RankingRouter
            A fitted router; the new model is the last of its ``models_``. Where this
            router was given prices in the constructor, the new one has one more.

        Raises
        ------
        NotFittedError
            If the router is not fitted.
        ValueError
            If the name is taken, or a shape or a value is not as described.

        Notes
        -----
        Mean budgets and quality targets are settled on the queries `X`, as they are
        estimated by the new router: of the training queries it keeps no embeddings.
        Give many, with or without an outcome of the new model: a mean over few queries
        is rough. On a real table of 2,000 queries that the router was fitted on, spends
        were within 1% to 4% of the budget. The ranker, its share and the
        weights of the regressions are not chosen anew: refit when much of the pool has
        changed.

        References
        ----------
        .. [1] B. Efron and C. Morris, "Data analysis using Stein's estimator and its
           generalizations", Journal of the American Statistical Association 70, 1975.

        Examples
        --------
        >>> from skroute import RankingRouter
        >>> from skroute.datasets import make_routing
        >>> data = make_routing(300, n_models=3, per_query_costs=False, random_state=0)
        >>> router = RankingRouter(costs=data.costs[:2], random_state=0)
        >>> router = router.fit(data.data, data.quality[:, :2])
        >>> y = data.quality[:100, 2]
        >>> larger = router.add_model("new", y, X=data.data[:100], costs=0.5)
        >>> larger.models_.tolist()
        ['model_0', 'model_1', 'new']
        >>> router.models_.tolist()
        ['model_0', 'model_1']
        """
        check_is_fitted(self)
        check_rows(X=X, y=y, costs=costs)
        name = as_name(name)
        if not isinstance(name, str) or not name:
            raise ValueError(f"name must be the name of a model; got {name!r}.")
        check_printable([name], "the new model")
        if name in self.models_:
            raise ValueError(
                f"name={name!r} is a model of this router already; remove it first, "
                "or give another name."
            )
        X = check_queries(self, X)
        y = check_outcomes(y, len(X))
        costs = self._check_new_costs(costs, len(X))
        with single_threaded():
            return self._with_model(name, X, y, costs)

    def remove_model(self, name: str) -> Self:
        """Return a router of a smaller pool; this one stays as it is.

        Quality and cost of the remaining models are estimated as before, but for the
        ranker's part, which compares a model to the average of the pool. Removing what
        was added gives back the decisions that were fitted.

        Parameters
        ----------
        name : str
            One of ``models_``.

        Returns
        -------
        RankingRouter
            A fitted router without that model. Where this router was given prices in
            the constructor, the new one has one less.

        Raises
        ------
        NotFittedError
            If the router is not fitted.
        ValueError
            If there is no such model, or no other.
        """
        check_is_fitted(self)
        name = as_name(name)
        if name not in self.models_:
            raise ValueError(
                f"name={name!r} is no model of this router; it knows "
                f"{format_names(self.models_)}."
            )
        if len(self.models_) == 1:
            raise ValueError(
                f"name={name!r} is the only model of this router; add another first."
            )
        gone = int(np.flatnonzero(self.models_ == name)[0])
        router = self._copy_with(_without(self._own_prices(), gone, name))
        inner = self._place[gone]
        place = np.delete(self._place, gone)
        router._place = place - (place > inner)
        router.models_ = np.delete(self.models_, gone)
        router.costs_ = np.delete(self.costs_, gone)
        router._pairs = self._pairs.without_model(inner)
        if self._cost_fit is not None:
            low, high = self._cost_range
            router._cost_range = np.delete(low, gone), np.delete(high, gone)
            router._cost_fit = RidgeFit(
                np.delete(self._cost_fit.coef, inner, axis=1),
                np.delete(self._cost_fit.intercept, inner, axis=0),
            )
        models, training = self.models_, self._training
        if self._fitted is not None and set(router.models_) <= set(self._fitted[0]):
            models, training = self._fitted
        if len(models) > len(router.models_):
            router._fitted = self._fitted or (self.models_, self._training)
            left = [int(np.flatnonzero(models == m)[0]) for m in router.models_]
            training = TrainingDecisions.of(
                *(table[:, left] for table in training.kept)
            )
        router._training = training
        return router

    def _with_model(
        self, name: str, X: np.ndarray, y: np.ndarray, costs: np.ndarray | float
    ) -> Self:
        price = float(np.nanmean(costs))
        router = self._copy_with(_with(self._own_prices(), name, price))
        router.models_ = np.append(self.models_, name)
        router.costs_ = np.append(self.costs_, price)
        router._place = np.append(self._place, len(self._place))
        duplicates = find_duplicates(X)
        fold = draw_folds(duplicates, self.cv, random_state=0)
        quality = (y - self._worst) / self._range
        low, high = float(np.nanmin(quality)), float(np.nanmax(quality))
        if low < self._seen[0] or high > self._seen[1]:
            router._seen = min(low, self._seen[0]), max(high, self._seen[1])
        paid = None if np.ndim(costs) == 0 else np.asarray(costs)[:, None]
        once, paid, _ = average_duplicates(quality[:, None], paid, None, duplicates)
        router._pairs, pairs = self._pairs.with_model(X, once[:, 0], fold)
        expense = router._add_costs(
            self, X, costs if paid is None else paid[:, 0], fold
        )
        true_quality = np.full(expense.shape, np.nan)
        true_quality[:, -1] = y
        router._training = TrainingDecisions.of(
            router._expected(pairs), expense, true_quality
        )
        router._fitted = self._fitted or (self.models_, self._training)
        return router

    def _add_costs(
        self, before: Self, X: np.ndarray, costs: np.ndarray | float, fold: np.ndarray
    ) -> np.ndarray:
        """Add the costs of the last model; returns honest estimates of all, on X."""
        if before._cost_fit is None and np.ndim(costs) == 0:
            return np.tile(self.costs_, (len(X), 1))
        n_models, width = len(before.models_), self._pairs.scaled(X[:1]).shape[1]
        fit = before._cost_fit
        if fit is None:
            # Prices are regressions without a slope.
            inner = before.costs_[np.argsort(before._place)]
            fit = RidgeFit(np.zeros((width, n_models, 1)), inner[:, None])
            before_range = before.costs_, before.costs_
        else:
            before_range = before._cost_range
        column = RidgeFit(np.zeros((width, 1, 1)), np.full((1, 1), np.mean(costs)))
        own, low, high = np.full(len(X), np.mean(costs)), np.mean(costs), np.mean(costs)
        if np.ndim(costs) == 1:
            paid = np.asarray(costs)[:, None]
            column, out_of_fold = fit_costs(
                X, paid, np.nanmax(paid, axis=0), fold, self._pairs.scaled
            )
            low, high = np.nanmin(costs), np.nanmax(costs)
            own = np.clip(out_of_fold[:, 0, 0], low, high)
        self._cost_range = (
            np.append(before_range[0], low),
            np.append(before_range[1], high),
        )
        self._cost_fit = RidgeFit(
            np.concatenate([fit.coef, column.coef], axis=1),
            np.concatenate([fit.intercept, column.intercept], axis=0),
        )
        self._per_query_costs = True
        expense = self._cost(X, self._pairs.trust(X))
        expense[:, -1] = own
        return expense

    def _check_new_costs(self, costs: Any, n_queries: int) -> np.ndarray | float:
        if costs is None:
            if self.costs is not None or self._per_query_costs:
                raise ValueError(
                    "costs must be given for a new model, a price or one cost per "
                    "query: this router was fitted on costs."
                )
            return 1.0
        return check_call_costs(costs, n_queries)

    def _own_prices(self) -> Any:
        """Prices of the constructor, by name where they have names."""
        return as_mapping(self.costs, self.models_)

    def _copy_with(self, costs: Any) -> Self:
        """Return a copy whose fitted attributes are to be replaced, not written to."""
        router = clone(self).set_params(costs=costs)
        fitted = {k: v for k, v in vars(self).items() if k not in self.get_params()}
        vars(router).update(fitted)
        router._fitted_costs = costs
        return router

    @abstractmethod
    def _expected(self, pairs: PairEstimates) -> np.ndarray:
        """Calibrated quality of every model, from the features of pairs."""

    @abstractmethod
    def _cost(self, X: np.ndarray, trust: np.ndarray) -> np.ndarray:
        """Expected cost of every model, as far as it is trusted."""


def _with(prices: Any, name: str, price: float) -> Any:
    """Prices of the constructor, with one more."""
    if prices is None:
        return None
    if isinstance(prices, Mapping):
        return {**prices, name: price}
    return np.append(np.asarray(prices, dtype=np.float64), price)


def _without(prices: Any, position: int, name: str) -> Any:
    """Prices of the constructor, with one less."""
    if prices is None:
        return None
    if isinstance(prices, Mapping):
        return {key: price for key, price in prices.items() if str(key) != name}
    return np.delete(np.asarray(prices, dtype=np.float64), position)

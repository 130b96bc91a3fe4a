"""CrossFittedRouter: base of the routers whose own `fit` cross-fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skroute._compute.executor import IN_MEMORY, Executor
from skroute._decide.extra_estimates import GivenExtras
from skroute._decide.price_path import PricePath
from skroute._decide.trade_off import TrainingTradeOff
from skroute._table.costs import change_prices, check_changes, check_prices
from skroute._table.duplicates import find_duplicates
from skroute._table.folds import check_groups
from skroute._table.names import check_rows
from skroute._table.tables import RoutingTable, check_routing_table
from skroute.base import BaseRouter

__all__ = ["CrossFittedRouter"]

# Rows of a block are served by a fit that saw their outcomes. In a smaller block that
# makes estimates look better than they are, so its quality is judged out of fold.
_JUDGED_AS_SERVED = 200


class CrossFittedRouter(BaseRouter):
    """Base of the routers of this package: `fit` itself cross-fits.

    A subclass gives ``_fit_table(table)``, which fits it on a checked
    :class:`~skroute.validation.RoutingTable` and returns out-of-fold estimates.

    Attributes
    ----------
    price_path_ : PricePath
        Mean spend and quality of the cross-fitted decisions at every shadow price.
    best_single_ : str
        Name of the model of the highest mean quality in training, ties to the cheaper:
        that of which ``min_quality="95%"`` is a share.
    """

    __metadata_request__fit = {  # noqa: RUF012
        "costs": True,
        "groups": True,
        "extra_costs": True,
    }
    #: Whether prompts of very many rows are blocks; changed by benchmarks only.
    _has_blocks = True

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        groups: Any = None,
        extra_costs: Any = None,
    ) -> Self:
        """Fit the router on a table of outcomes.

        Parameters
        ----------
        X, y, costs, groups, extra_costs
            As in `RankingRouter.fit`.

        Returns
        -------
        self : estimator
            The fitted router.

        Raises
        ------
        ValueError
            If a shape, a name or a value is not as described; the router is then left
            as it was.
        """
        self._fit(X, y, costs, groups=groups, extra_costs=extra_costs)
        return self

    def fit_transform(
        self,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        groups: Any = None,
        extra_costs: Any = None,
    ) -> np.ndarray:
        """Fit, and estimate the training queries by cross-fitting.

        As :meth:`BaseRouter.fit_transform`, but for blocks of at least 50 queries of
        one embedding (a tenth of the table where it has fewer than 500, and at least
        10), as an encoder that truncates long prompts makes them. Their rows are
        estimated as they will be served, because a budget must know the block; the
        outcome of a single row weighs little in that.

        Parameters
        ----------
        X, y, costs, groups, extra_costs
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_queries, 2 * n_models)
            Cross-fitted qualities, then costs.
        """
        return self._fit(X, y, costs, groups=groups, extra_costs=extra_costs)

    def _fit(
        self,
        X: Any,
        y: Any,
        costs: Any,
        outcome_weight: Any = None,
        groups: Any = None,
        extra_costs: Any = None,
    ) -> np.ndarray:
        """Check the table, fit on it, and return estimates as `fit_transform`."""
        table = check_routing_table(self, X, y, costs, outcome_weight)
        check_rows(X=X, y=y, groups=groups)
        # Before the fit, which takes longer.
        given = GivenExtras.read(extra_costs, len(table.X), self.models_, X=X, y=y)
        if outcome_weight is not None:
            # Outcomes of weight 0 are not in the table.
            given = given.leave_out(np.isnan(table.quality))
        found = find_duplicates(table.X, check_groups(groups, len(table.X)))
        duplicates = replace(found, has_blocks=self._has_blocks)
        table = table._replace(duplicates=duplicates)
        served = self._keep_trade_off(table, self._fit_table(table))
        self._training = self._training.learn_extra(served, given, self.models_)
        return served

    def _keep_trade_off(
        self, table: RoutingTable, estimates: Any, executor: Executor = IN_MEMORY
    ) -> Any:
        """Keep the trade-off of the training queries, for the rules of later calls.

        Returns the out-of-fold `estimates`, with rows of blocks replaced by what the
        fitted router serves.
        """

        def replace_blocks(block: np.ndarray) -> Any:
            if not block.any():
                return estimates
            block = executor.split(block, table.X)
            return executor.map(
                _replace_by_served, estimates, table.X, block, executor.share(self)
            )

        assert table.duplicates is not None
        block, count = table.duplicates.block, table.duplicates.count
        large = block & (count >= _JUDGED_AS_SERVED)
        served = replace_blocks(block)
        judged = None if (block == large).all() else replace_blocks(large)
        known = table.quality, table.costs, table.weight
        self._training = TrainingTradeOff.from_columns(
            served, *known, executor, judged, table.duplicates.number_units()
        )
        return served

    def decision_function(self, X: Any) -> np.ndarray:
        """Rank scores; here the expected quality itself.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            Scores; their order within a row is the ranking.
        """
        return self.predict_quality(X)

    def with_prices(self, prices: Any = None, *, scale: Any = None) -> Self:
        """Return the same router at other prices; this one stays as it is.

        Nothing is fitted again: what was learned of qualities does not depend on money,
        and costs, the trade-off of the training queries and what can be promised
        follow.

        Parameters
        ----------
        prices : array-like of shape (n_models,) or dict, default=None
            Money per call of the models, of a router that was fitted on prices per
            model, or without any. ``NaN``, or a name that is missing: as before.
        scale : array-like of shape (n_models,) or dict, default=None
            What the costs of the models are multiplied by, such as
            ``{"large": 0.5}``; ``NaN``, or a name that is missing: 1.

        Returns
        -------
        router
            A fitted router. Prices that this one was given in the constructor are
            changed in the new one's, so that a clone of it is fitted at them.

        Raises
        ------
        NotFittedError
            If the router is not fitted.
        ValueError
            If both or none are given, an argument is not as described, or `prices` are
            given where costs were learned per query.

        Notes
        -----
        Answers are those of a router that is fitted anew at these prices (to rounding),
        with these exceptions. The trade-off, on which budgets and targets are settled,
        is that of the training queries that are kept, up to 4,096 of them (65,536 pairs
        of query and model), unless all models are multiplied alike. A `RankingRouter`
        keeps its `caution_`, which a fit chooses by utility, and with a `tie_gain` its
        ranker. A `PointwiseRouter` multiplies what its `cost_estimator` expects, which
        is what linear models and neighbours would learn, and not what trees would.

        Examples
        --------
        >>> from skroute import RankingRouter
        >>> from skroute.datasets import make_routing
        >>> data = make_routing(300, n_models=3, per_query_costs=False, random_state=0)
        >>> router = RankingRouter(costs=[1.0, 5.0, 20.0], random_state=0)
        >>> router = router.fit(data.data, data.quality)
        >>> router.with_prices({"model_2": 12.0}).costs_.tolist()
        [1.0, 5.0, 12.0]
        >>> router.with_prices(scale={"model_2": 0.5}).costs_.tolist()
        [1.0, 5.0, 10.0]
        """
        check_is_fitted(self)
        factor, changed = self._read_change(prices, scale)
        costs_ = self.costs_ * factor if changed is None else changed
        given = self.costs
        if not self._per_query_costs:
            given = change_prices(given, self.models_, costs_)
        elif given is not None:
            before = check_prices(given, self.models_)
            given = change_prices(given, self.models_, before * factor)
        training = self._training.change_costs(factor, changed)
        router = self._copy_at(given, costs_=costs_, _training=training)
        router._change_costs(factor, changed)
        return router

    def _copy_at(self, costs: Any, **changed: Any) -> Self:
        """Copy the fitted router, at other `costs` of the constructor."""
        router = clone(self).set_params(costs=costs)
        state = {k: v for k, v in vars(self).items() if k not in self.get_params()}
        vars(router).update(state, _fitted_costs=costs, **changed)
        return router

    def _read_change(
        self, prices: Any, scale: Any
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Read factors of all models' costs, and new prices if these are given."""
        if (prices is None) == (scale is None):
            raise ValueError(
                "give one of prices and scale; got "
                f"{'none' if prices is None else 'both'}."
            )
        if prices is None:
            factor = check_changes(scale, self.models_, "scale")
            return np.where(np.isnan(factor), 1.0, factor), None
        changed = check_changes(prices, self.models_, "prices")
        if self._per_query_costs:
            raise ValueError(
                "prices cannot be given to a router that was fitted on per-query "
                "costs: one price per model would forget what each query costs. Give "
                "scale=..., such as the new price of a token divided by the old one."
            )
        return np.ones(len(changed)), np.where(np.isnan(changed), self.costs_, changed)

    def _change_costs(self, factor: np.ndarray, prices: np.ndarray | None) -> None:
        """Multiply what the router, a copy, expects calls to cost.

        `prices` are those that `costs_` has already, or ``None`` if the costs of each
        model, (n_models,), are multiplied. A subclass that learns costs overrides it.
        """
        if self._per_query_costs:
            raise NotImplementedError(
                f"{type(self).__name__} learns costs, and does not say how they are "
                "multiplied: override _change_costs."
            )

    @property
    def price_path_(self) -> PricePath:
        """Mean spend and quality of the training queries at every shadow price."""
        check_is_fitted(self)
        return self._training.path

    @property
    def best_single_(self) -> str:
        """Name of the model of the highest mean quality in training."""
        check_is_fitted(self)
        return str(self.models_[self._training.best_single])


def _replace_by_served(
    estimates: np.ndarray, X: np.ndarray, block: np.ndarray, router: CrossFittedRouter
) -> np.ndarray:
    """Replace out-of-fold estimates by those as served, where the mask is True."""
    if block.any():
        estimates = estimates.copy()
        estimates[block] = router.transform(X[block])
    return estimates

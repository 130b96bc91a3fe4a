"""CrossFittedRouter: base of the routers whose own `fit` cross-fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skroute._compute.executor import IN_MEMORY, Executor
from skroute._decide.price_path import PricePath
from skroute._decide.trade_off import TrainingTradeOff
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

    __metadata_request__fit = {"costs": True, "groups": True}  # noqa: RUF012
    #: Whether prompts of very many rows are blocks; changed by benchmarks only.
    _has_blocks = True

    def fit(self, X: Any, y: Any, *, costs: Any = None, groups: Any = None) -> Self:
        """Fit the router on a table of outcomes.

        Parameters
        ----------
        X, y, costs, groups
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
        self._fit(X, y, costs, groups=groups)
        return self

    def fit_transform(
        self, X: Any, y: Any, *, costs: Any = None, groups: Any = None
    ) -> np.ndarray:
        """Fit, and estimate the training queries by cross-fitting.

        As :meth:`BaseRouter.fit_transform`, but for blocks of at least 50 queries of
        one embedding (a tenth of the table where it has fewer than 500, and at least
        10), as an encoder that truncates long prompts makes them. Their rows are
        estimated as they will be served, because a budget must know the block; the
        outcome of a single row weighs little in that.

        Parameters
        ----------
        X, y, costs, groups
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_queries, 2 * n_models)
            Cross-fitted qualities, then costs.
        """
        return self._fit(X, y, costs, groups=groups)

    def _fit(
        self, X: Any, y: Any, costs: Any, outcome_weight: Any = None, groups: Any = None
    ) -> np.ndarray:
        """Check the table, fit on it, and return estimates as `fit_transform`."""
        table = check_routing_table(self, X, y, costs, outcome_weight)
        check_rows(X=X, y=y, groups=groups)
        found = find_duplicates(table.X, check_groups(groups, len(table.X)))
        duplicates = replace(found, has_blocks=self._has_blocks)
        table = table._replace(duplicates=duplicates)
        return self._keep_trade_off(table, self._fit_table(table))

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

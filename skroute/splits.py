"""Splits of a table of outcomes: one part to fit on, the other to judge on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils import _safe_indexing

from skroute.base import BaseRouter
from skroute.money import check_prices, check_spend
from skroute.names import default_names, model_names
from skroute.outcomes import check_complete
from skroute.validation import check_quality

__all__ = ["OutcomeTable", "Split"]


@dataclass(frozen=True)
class OutcomeTable:
    """The table as it was given, which is what routers are fitted on, and checked."""

    X: Any
    y: Any
    costs: Any
    quality: np.ndarray
    spend: np.ndarray
    complete: np.ndarray
    models: np.ndarray

    @classmethod
    def checked(cls, X: Any, y: Any, costs: Any, models: Any = None) -> OutcomeTable:
        """Check a table as :func:`skroute.evaluation.compare_routers` describes it."""
        named = model_names(y)
        quality = check_quality(y)
        if named is not None:
            models = named
        elif models is None:
            models = default_names(quality.shape[1])
        models = np.asarray(models, dtype=object)
        if isinstance(costs, Mapping):
            costs = check_prices(costs, models)
        spend = check_spend(costs, quality.shape, named)
        complete = np.isfinite(quality).all(axis=1) & np.isfinite(spend).all(axis=1)
        return cls(X, y, costs, quality, spend, complete, models)

    def fit(self, router: BaseRouter, X: Any, rows: np.ndarray) -> BaseRouter:
        """Fit a clone: the one place where prices and costs per query part."""
        router = clone(router)
        y = _safe_indexing(self.y, rows)
        if np.ndim(self.costs) == 2:
            return router.fit(X, y, costs=_safe_indexing(self.costs, rows))
        if router.get_params().get("costs") is None:
            router.set_params(costs=self.costs)
        return router.fit(X, y)


@dataclass(frozen=True)
class Split:
    """One training and one test part."""

    table: OutcomeTable
    train: np.ndarray
    test: np.ndarray
    X_train: Any
    X_test: Any

    @classmethod
    def drawn(
        cls,
        table: OutcomeTable,
        seed: int,
        test_size: float,
        groups: Any = None,
        encoder: Callable[[Any], Any] | None = None,
    ) -> Split:
        """Draw a split as :func:`skroute.evaluation.compare_routers` describes it."""
        check_complete(table.quality, table.spend)
        rows = np.arange(len(table.quality))
        splitter = GroupShuffleSplit(1, test_size=test_size, random_state=seed)
        groups = rows if groups is None else groups
        train, test = next(splitter.split(rows, groups=groups))
        test = test[table.complete[test]]
        if len(test) == 0:
            raise ValueError(
                f"the test part of seed {seed} has no query on which every model's "
                "quality and cost is known; routers are judged on complete rows. Only "
                f"{int(table.complete.sum())} of {len(rows)} queries are: run every "
                "model on more of them, or raise test_size."
            )
        X_train, X_test = (_safe_indexing(table.X, part) for part in (train, test))
        if encoder is not None:
            fitted = encoder(X_train)
            X_train, X_test = fitted.transform(X_train), fitted.transform(X_test)
        return cls(table, train, test, X_train, X_test)

    def fit(self, router: BaseRouter) -> BaseRouter:
        """Fit a clone of a router on the training part."""
        return self.table.fit(router, self.X_train, self.train)

"""Splits of a table of outcomes: one part to fit on, one part to test on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_array, has_fit_parameter

from skroute._table.alignment import align, check_given
from skroute._table.duplicates import Duplicates, find_duplicates
from skroute._table.folds import check_groups
from skroute._table.names import make_default_names, model_names
from skroute._table.outcomes import check_complete
from skroute._table.tables import is_text
from skroute.base import BaseRouter
from skroute.ranking import RankingRouter
from skroute.text import TextRouter


@dataclass(frozen=True)
class OutcomeTable:
    """A table of outcomes, checked.

    Routers are fitted on `X` and `y` as they were given, with their names, and on
    `costs`: per query, or one price per model, in the order of the columns of `y`.
    """

    X: Any
    y: Any
    costs: np.ndarray
    quality: np.ndarray
    spend: np.ndarray
    complete: np.ndarray
    models: np.ndarray
    groups: np.ndarray | None
    duplicates: Duplicates

    @classmethod
    def check(
        cls,
        X: Any,
        y: Any,
        costs: Any,
        models: Any = None,
        groups: Any = None,
        encoded: bool = True,
    ) -> OutcomeTable:
        """Check a table as :func:`skroute.evaluation.compare_routers` describes it.

        Duplicates are found by embeddings, or by equality if X is not `encoded`.
        """
        own = model_names(y)
        if own is not None:
            align(y, models=models)  # other names are refused; the order is that of y
            models = own
        check_given(costs=costs)
        quality, spend, _, _, named = align(y, costs, models=models, X=X)
        if named is None:
            named = make_default_names(quality.shape[1])
        costs = spend if np.ndim(costs) == 2 else spend[0]
        complete = np.isfinite(quality).all(axis=1) & np.isfinite(spend).all(axis=1)
        groups = check_groups(groups, len(quality))
        if encoded and is_text(X):
            raise ValueError(
                "X holds texts, but the routers that are compared need vectors: give "
                "routers that read prompts, such as skroute.text.TextRouter(), or an "
                "encoder."
            )
        if encoded:
            queries = check_array(X, dtype=(np.float64, np.float32), input_name="X")
        else:
            queries = _number_equal_rows(X)
        duplicates = find_duplicates(queries, groups)
        return cls(X, y, costs, quality, spend, complete, named, groups, duplicates)

    def fit(
        self,
        router: BaseRouter,
        X: Any,
        rows: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> BaseRouter:
        """Fit a clone of a router on some rows, with their costs, prices and groups.

        The `weight` of each outcome of the table is given to routers that take one.
        """
        router, known = self._prepare(router, rows)
        # A TextRouter passes on what the router inside takes.
        inner = getattr(router, "router", None) or router
        if weight is not None and has_fit_parameter(inner, "outcome_weight"):
            known["outcome_weight"] = weight[rows]
        return router.fit(X, **known)

    def fit_transform(
        self,
        router: BaseRouter,
        X: Any,
        rows: np.ndarray,
        queries: np.ndarray | None = None,
    ) -> tuple[BaseRouter, np.ndarray]:
        """Fit as `fit` does; returns the router and its cross-fitted estimates.

        `queries` are the rows that X is of, if these get the outcomes of other rows.
        """
        router, known = self._prepare(router, rows)
        if queries is not None:
            if self.groups is not None and "groups" in known:
                known["groups"] = self.groups[queries]
            if hasattr(known["y"], "set_axis") and hasattr(X, "iloc"):
                known["y"] = known["y"].set_axis(X.index)
        estimates = router.fit_transform(X, **known)
        return router, estimates

    def _prepare(
        self, router: BaseRouter, rows: np.ndarray
    ) -> tuple[BaseRouter, dict[str, Any]]:
        """Clone a router, and collect what it is fitted on beside the queries."""
        router = clone(router)
        known: dict[str, Any] = {"y": _safe_indexing(self.y, rows)}
        if self.groups is not None and has_fit_parameter(router, "groups"):
            known["groups"] = self.groups[rows]
        if self.costs.ndim == 2:
            known["costs"] = self.costs[rows]
        else:
            _give_prices(router, self.costs)
        return router, known


def are_embeddings(encoder: Any, routers: Iterable[BaseRouter]) -> bool:
    """Whether X has to be embeddings: nobody reads anything else."""
    return encoder is None and not any(isinstance(r, TextRouter) for r in routers)


def _give_prices(router: Any, prices: np.ndarray) -> None:
    """Set the prices of a router that has none; a TextRouter has them inside."""
    if isinstance(router, TextRouter):
        if router.router is None:
            router.set_params(router=RankingRouter())
        router = router.router
    if router.get_params().get("costs") is None:
        router.set_params(costs=prices)


def _number_equal_rows(X: Any) -> np.ndarray:
    """Number queries that are not embedded yet, equal ones alike: (n_queries, 1)."""
    first: dict[Any, int] = {}
    numbers = [first.setdefault(key, len(first)) for key in _list_row_keys(X)]
    return np.array(numbers, dtype=np.float64)[:, None]


def _list_row_keys(X: Any) -> list[Any]:
    """Return keys that are equal for equal rows, and for these only."""
    if issparse(X):
        X = X.tocsr()
        return [
            (part.indices.tobytes(), part.data.tobytes())
            for part in (X[[row]] for row in range(X.shape[0]))
        ]
    if hasattr(X, "columns"):
        columns = [np.asarray(X[name]) for name in X.columns]
        # Bytes are much faster to compare than the text of hundreds of numbers.
        numbers = [column for column in columns if column.dtype.kind == "f"]
        rest = [column for column in columns if column.dtype.kind != "f"]
        packed = np.column_stack(numbers) if numbers else np.empty((len(X), 0))
        return [
            (row.tobytes(), repr(others))
            for row, *others in zip(packed, *rest, strict=True)
        ]
    if isinstance(X, np.ndarray) and X.dtype.kind != "O":
        return [row.tobytes() for row in X]
    return [row if isinstance(row, str) else repr(row) for row in X]


def read_seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """Read a number of splits, or their seeds."""
    seeds = tuple(range(seeds) if isinstance(seeds, int | np.integer) else seeds)
    if not seeds:
        raise ValueError("seeds must be at least 1 split; got none.")
    return seeds


@dataclass(frozen=True)
class Split:
    """One training and one test part."""

    table: OutcomeTable
    train: np.ndarray
    test: np.ndarray
    X_train: Any
    X_test: Any

    @classmethod
    def draw(
        cls,
        table: OutcomeTable,
        seed: int,
        test_size: float,
        encoder: Callable[[Any], Any] | None = None,
    ) -> Split:
        """Draw a split as :func:`skroute.evaluation.compare_routers` describes it."""
        check_complete(table.quality, table.spend)
        rows = np.arange(len(table.quality))
        splitter = GroupShuffleSplit(1, test_size=test_size, random_state=seed)
        train, test = next(splitter.split(rows, groups=table.duplicates.number_units()))
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

    def fit_transform(self, router: BaseRouter) -> tuple[BaseRouter, np.ndarray]:
        """Fit a clone of a router; returns it and its cross-fitted estimates."""
        return self.table.fit_transform(router, self.X_train, self.train)

"""DaskRankingRouter: the ranking router, fitted where the table is."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skroute._decide.rule import Rule, check_top_k
from skroute._table.duplicates import find_duplicates
from skroute._table.folds import check_groups
from skroute.dask._input import check_partitioned_table, find_client, is_collection
from skroute.dask._partitions import Column, Partitions, fetch
from skroute.dask._serving import call_lazily, route_lazily
from skroute.ranking import RankingRouter


def _make_lazy(lazy: Callable[..., Any]) -> Any:
    """Make a method that answers Dask collections, and tables in memory as its parent.

    The name, the signature and the docstring are those of the parent's method.
    """
    in_memory: Callable[..., Any] = getattr(RankingRouter, lazy.__name__)

    @wraps(in_memory)
    def method(self: DaskRankingRouter, X: Any, **asked: Any) -> Any:
        if not is_collection(X):
            return in_memory(self, X, **asked)
        check_is_fitted(self)
        # Say at once what would be an error in each partition.
        if X.ndim != 2 or X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X must have the {self.n_features_in_} features that the router was "
                f"fitted on; got shape {X.shape}."
            )
        return lazy(self, X, **asked)

    return method


def _make_lazy_numbers(
    name: str, n_columns: int | None = 1, dtype: Any = np.float64
) -> Any:
    """Make a lazy method of `n_columns` for each model; ``None`` makes a vector."""

    def lazy(self: DaskRankingRouter, X: Any) -> Any:
        width = None if n_columns is None else n_columns * len(self.models_)
        return call_lazily(self.to_local(), name, X, width, dtype)

    lazy.__name__ = name
    return _make_lazy(lazy)


class DaskRankingRouter(RankingRouter):
    """A :class:`~skroute.RankingRouter` that is fitted by a Dask cluster.

    The table stays in its partitions: the regressions, the costs and the price path are
    solved from sums over them. The LambdaRank model learns from at most 131,072 pairs,
    which are gathered where the client is. The fit is that of
    :class:`~skroute.RankingRouter` but for rounding, and :meth:`to_local` gives the
    plain router, which pickles and serves without Dask.

    Parameters
    ----------
    costs, n_estimators, learning_rate, num_leaves, min_child_samples, \
colsample_bytree, tie_gain, caution, n_landmarks, blocks, cv
        As in :class:`~skroute.RankingRouter`.
    n_jobs : int or None, default=None
        Threads of LightGBM where the client is, and of the router that serves; the fit
        does not depend on it.
    random_state, verbose
        As in :class:`~skroute.RankingRouter`.
    client : distributed.Client, default=None
        The cluster; ``None`` takes the current one. It is not copied with the
        estimator, nor pickled.

    Attributes
    ----------
    price_path_ : PricePath
        Mean spend and quality of the cross-fitted decisions, over all training queries,
        at the prices where a sample of them steps.
    models_, costs_, ranker_, rank_weight_, caution_, n_features_in_, \
feature_names_in_
        As in :class:`~skroute.RankingRouter`.

    Notes
    -----
    Every method that takes `X` answers a Dask collection lazily, with a dask array in
    its partitions. For :meth:`route`, what is of one value or row per query can be a
    dask array in these partitions, too; a batch cannot be solved, and caps of single
    queries that cannot be kept raise when the result is computed.

    Whatever the size of the table, the client holds some 10,000 queries (for spread,
    directions and landmarks), 131,072 pairs (for the ranker, about 13 MB) and some
    thousand queries on which budgets are settled; of every query, about 100 bytes, and
    the outcomes of duplicates, which are averaged.

    Estimates are those of a local fit to about eight digits, however the table is
    partitioned; in single precision, to its rounding, 1e-7.

    A fit runs some 70 tasks for each partition. Partitions of some thousand to a
    hundred thousand queries are right; above 2,000 of them there is a warning. What a
    lost worker held is computed again by the others. If it cannot be, or no worker is
    left for 45 seconds, a ``RuntimeError`` says so.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> from distributed import Client  # doctest: +SKIP
    >>> from skroute.dask import DaskRankingRouter
    >>> from skroute.datasets import make_routing
    >>> data = make_routing(n_queries=300, n_models=3, random_state=0)
    >>> X, y, costs = (
    ...     da.from_array(table, chunks=(100, -1))
    ...     for table in (data.data, data.quality, data.costs)
    ... )  # doctest: +SKIP
    >>> with Client():  # doctest: +SKIP
    ...     router = DaskRankingRouter(random_state=0).fit(X, y, costs=costs)
    ...     names = router.route(X, min_quality="95%").compute()
    >>> router.to_local().route(data.data[:2]).shape  # doctest: +SKIP
    (2,)
    """

    def __init__(
        self,
        costs: Any = None,
        *,
        n_estimators: int | Literal["auto"] = "auto",
        learning_rate: float = 0.05,
        num_leaves: int = 7,
        min_child_samples: int = 100,
        colsample_bytree: float = 0.6,
        tie_gain: float = 0.0,
        caution: float | Literal["auto"] = "auto",
        n_landmarks: int = 512,
        blocks: Any = None,
        forget_after: float | None = None,
        cv: int = 5,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        client: Any = None,
    ) -> None:
        super().__init__(
            costs,
            n_estimators=n_estimators,
            learning_rate=learning_rate,
            num_leaves=num_leaves,
            min_child_samples=min_child_samples,
            colsample_bytree=colsample_bytree,
            tie_gain=tie_gain,
            caution=caution,
            n_landmarks=n_landmarks,
            blocks=blocks,
            forget_after=forget_after,
            cv=cv,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )
        self.client = client

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        outcome_weight: Any = None,
        groups: Any = None,
        extra_costs: Any = None,
    ) -> Self:
        """Fit the router on a table in partitions.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_queries, n_features)
            Embeddings, float32 or float64; of an array, all columns in one chunk.
        y : dask array or DataFrame of shape (n_queries, n_models)
            Qualities, in the partitions of `X`, as in :meth:`RankingRouter.fit`.
        costs, outcome_weight : dask array or DataFrame of that shape, default=None
            Likewise. Prices per model are given in the constructor instead.
        groups : dask array or Series, or array-like of shape (n_queries,), default=None
            As in :meth:`RankingRouter.fit`; they are gathered.

        Returns
        -------
        self : DaskRankingRouter
            The fitted router.

        Raises
        ------
        TypeError
            If a table is in memory, and no Dask collection.
        ValueError
            If sizes of chunks are unknown, tables are not partitioned alike, or a
            shape, a name or a value is not as described; the router is then left as it
            was.
        RuntimeError
            If the cluster loses workers in a way that the fit cannot recover from.
        """
        _refuse_extra(extra_costs)
        self._fit_partitions(X, y, costs, outcome_weight, groups)
        return self

    def fit_transform(
        self,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        outcome_weight: Any = None,
        groups: Any = None,
        extra_costs: Any = None,
    ) -> Any:
        """Fit, and estimate the training queries by cross-fitting.

        Parameters
        ----------
        X, y, costs, outcome_weight, groups
            As in :meth:`fit`.

        Returns
        -------
        dask array of shape (n_queries, 2 * n_models)
            Cross-fitted qualities, then costs; in the memory of the workers.
        """
        _refuse_extra(extra_costs)
        estimates, rows = self._fit_partitions(X, y, costs, outcome_weight, groups)
        return rows.as_array(estimates, 2 * len(self.models_))

    def to_local(self) -> RankingRouter:
        """Make a plain router of what was fitted; it knows nothing of Dask.

        Returns
        -------
        RankingRouter
            A fitted router.

        Raises
        ------
        NotFittedError
            If the router is not fitted.
        """
        check_is_fitted(self)
        router = RankingRouter()
        state = {k: v for k, v in vars(self).items() if k != "client"}
        router.__dict__.update(state)
        return router

    decision_function = _make_lazy_numbers("decision_function")
    predict_quality = _make_lazy_numbers("predict_quality")
    predict_cost = _make_lazy_numbers("predict_cost")
    transform = _make_lazy_numbers("transform", 2)
    predict = _make_lazy_numbers("predict", None, np.intp)

    @_make_lazy
    def route(
        self,
        X: Any,
        *,
        budget: Any = None,
        available: Any = None,
        top_k: int | None = None,
        costs: Any = None,
        **asked: Any,
    ) -> Any:
        if asked.get("scope") == "batch":
            raise ValueError(
                "scope='batch' is solved over all rows of a call at once, and not on a "
                "Dask collection. Route parts with a batch budget each, or the batch "
                "in memory: route(X.compute(), ...)."
            )
        if asked.pop("explore", 0.0) or asked.pop("return_propensity", False):
            raise ValueError(
                "explore draws calls of requests as they come, and not on a Dask "
                "collection: route in memory, route(X.compute(), ...)."
            )
        _refuse_extra(asked.pop("extra_costs", None))
        asked.pop("random_state", None)
        n_places = check_top_k(top_k, len(self.models_))
        # An array stands for caps that are not computed yet.
        caps = np.zeros(1) if is_collection(budget) else budget
        self._settle(Rule(caps, **asked).check(), self._training)
        rule = {
            "budget": budget,
            "available": available,
            "top_k": top_k,
            "costs": costs,
            **asked,
        }
        places = None if top_k is None else n_places
        return route_lazily(self.to_local(), X, rule, places)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "client": None}

    def __sklearn_clone__(self) -> DaskRankingRouter:
        params = self.get_params(deep=False)
        client = params.pop("client")
        params = {name: clone(value, safe=False) for name, value in params.items()}
        return type(self)(**params, client=client)

    def _fit_partitions(
        self, X: Any, y: Any, costs: Any, outcome_weight: Any, groups: Any
    ) -> tuple[Column, Partitions]:
        client = find_client(self.client, f"{type(self).__name__}.fit")
        for name in set(vars(self)) - set(self.get_params(deep=False)):
            delattr(self, name)
        table, rows = check_partitioned_table(self, client, X, y, costs, outcome_weight)
        if is_collection(groups):
            groups = fetch(client, [client.compute(groups)])[0]
        groups = check_groups(groups, int(rows.ends[-1]))
        table = table._replace(duplicates=find_duplicates(table.X, groups, rows))
        estimates = self._keep_trade_off(table, self._fit_table(table, rows), rows)
        return estimates, rows

    def _estimate(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        # What the methods that are not lazy have in common.
        if is_collection(X):
            raise TypeError(
                "this method works on arrays in memory; got a Dask collection. Give it "
                "some rows of it, X.compute()."
            )
        return super()._estimate(X)


def _refuse_extra(extra_costs: Any) -> None:
    if extra_costs is not None:
        raise ValueError(
            "extra_costs are counted in memory, and not on a Dask collection: fit a "
            "RankingRouter with them, and route(X.compute(), ...)."
        )

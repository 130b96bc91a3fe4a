"""Peer routers: what others do, tuned on training rows, under the same decisions.

A table model has ``fit(X, Y)`` and ``predict(X)``; Y is a table of one column per model
with ``NaN`` where unknown. :class:`TunedRouter` chooses among table models out of fold,
and turns the choice into a router whose estimates are priced like any other's.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np
from lightgbm import LGBMRegressor
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.cluster import KMeans
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils import get_tags
from torch_peers import cost_networks, equi, factors

from skroute._table.folds import draw_folds
from skroute._table.tables import RoutingTable, check_queries
from skroute.base import BaseRouter
from skroute.crossfit import CrossFittedRouter
from skroute.metrics import normalized_auc
from skroute.text import PromptFeatures, TextRouter

__all__ = [
    "FAST",
    "FASTEST",
    "PEERS",
    "WORDED",
    "TunedRouter",
    "make_peer",
    "why_not",
]

_MARGINS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
# Beyond so many training queries a fit takes minutes, and others stand in for it.
_MAX_QUERIES = {
    "SVR": (3000, "kernel ridge stands in"),
    "kernel ridge": (4400, "kNN and ridge stand in"),
}
# Beyond so many models, those that fit each, or each pair of them, take minutes.
_MAX_MODELS = 12
_BY_MODEL = ("logistic", "MLP", "LightGBM", "matrix factors", "SVR")


class TunedRouter(CrossFittedRouter):
    """The candidate with the least squared error out of fold, as a router.

    Parameters
    ----------
    candidates, cost_candidates : list of table models
        Models of quality, and of per-query costs.
    costs : array-like of shape (n_models,), default=None
        Prices per model.
    cv : int, default=5
        Folds. Their estimates also set the prices of budgets.
    random_state : int, default=None
        Draws the folds.
    """

    def __init__(
        self,
        candidates: list[Any],
        cost_candidates: list[Any],
        *,
        costs: Any = None,
        cv: int = 5,
        random_state: int | None = None,
    ) -> None:
        self.candidates = candidates
        self.cost_candidates = cost_candidates
        self.costs = costs
        self.cv = cv
        self.random_state = random_state

    def decision_function(self, X: Any) -> np.ndarray:
        """Rank by expected quality."""
        return self.predict_quality(X)

    def predict_quality(self, X: Any) -> np.ndarray:
        """Expected quality by the chosen candidate."""
        return self.model_.predict(check_queries(self, X).astype(np.float64))

    def predict_cost(self, X: Any) -> np.ndarray:
        """Expected cost by the chosen candidate, or the price."""
        X = check_queries(self, X).astype(np.float64)
        if self.cost_model_ is None:
            return np.tile(self.costs_, (len(X), 1))
        return np.clip(self.cost_model_.predict(X), *self._cost_range)

    def _fit_table(self, table: RoutingTable) -> np.ndarray:
        quality, costs, per_query = table.quality, table.costs, table.per_query
        # A ridge this weak is ill-conditioned in single precision.
        X = table.X.astype(np.float64)
        fold = draw_folds(X, self.cv, self.random_state)
        self.cost_model_, self.final_fit_seconds_ = None, 0.0
        self.model_, expected = self._tuned(self.candidates, X, quality, fold)
        expense = np.tile(self.costs_, (len(X), 1))
        if per_query:
            self._cost_range = np.nanmin(costs, axis=0), np.nanmax(costs, axis=0)
            unit = np.nanstd(costs, axis=0)
            unit[unit == 0] = 1.0
            self.cost_model_, expense = self._tuned(
                self.cost_candidates, X, costs, fold, unit
            )
            expense = np.clip(expense, *self._cost_range)
        return np.hstack([expected, expense])

    def _tuned(
        self, candidates: list, X: np.ndarray, Y: np.ndarray, fold: Any, unit: Any = 1.0
    ) -> tuple[Any, np.ndarray]:
        """Fit the best candidate on all rows; also give its out-of-fold estimates."""
        best, least = None, np.inf
        for candidate in candidates:
            estimates = np.empty(Y.shape)
            for k in range(fold.max() + 1):
                held_out, rest = fold == k, fold != k
                model = clone(candidate).fit(X[rest], Y[rest])
                estimates[held_out] = model.predict(X[held_out])
            error = np.nanmean(((estimates - Y) / unit) ** 2)
            if error < least:
                best, least = (candidate, estimates), error
        started = perf_counter()
        model = clone(best[0]).fit(X, Y)
        self.final_fit_seconds_ += perf_counter() - started
        return model, best[1]


class MarginRouter(TunedRouter):
    """Models within a margin of the best count as equal, so the cheapest is called.

    The margin is tuned under caps; under a price it has nothing to add.
    """

    def predict_quality(self, X: Any) -> np.ndarray:
        """Expected quality, levelled within the margin."""
        return _levelled(super().predict_quality(X), self.margin_)

    def _fit_table(self, table: RoutingTable) -> np.ndarray:
        expected, expense = np.hsplit(super()._fit_table(table), 2)
        y = np.where(np.isnan(table.quality), expected, table.quality)
        costs = np.where(np.isnan(table.costs), expense, table.costs)
        areas = [
            normalized_auc(
                y, costs, _levelled(expected, margin), expense, scope="query"
            )
            for margin in _MARGINS
        ]
        self.margin_ = _MARGINS[int(np.argmax(areas))]
        return np.hstack([_levelled(expected, self.margin_), expense])


def _levelled(quality: np.ndarray, margin: float) -> np.ndarray:
    best = quality.max(axis=1, keepdims=True)
    return np.where(quality >= best - margin, best, quality)


class Columns(BaseEstimator):
    """A scikit-learn regressor as a table model.

    Columns that are known on the same rows share a fit, if it has several outputs.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: np.ndarray, Y: np.ndarray) -> Columns:
        """Fit a clone to every group of columns."""
        known = np.isfinite(Y)
        patterns, group = np.unique(known, axis=1, return_inverse=True)
        group = group.ravel()
        if not get_tags(self.estimator).target_tags.multi_output:
            patterns, group = known, np.arange(Y.shape[1])
        self.fits_, self.means_ = [], np.nanmean(Y, axis=0)
        for i, rows in enumerate(patterns.T):
            columns = np.flatnonzero(group == i)
            target = Y[np.ix_(rows, columns)]
            target = target.ravel() if len(columns) == 1 else target
            self.fits_.append((columns, clone(self.estimator).fit(X[rows], target)))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict the table."""
        table = np.tile(self.means_, (len(X), 1))
        for columns, fit in self.fits_:
            table[:, columns] = fit.predict(X).reshape(len(X), -1)
        return table


class Neighbors(KNeighborsRegressor):
    """Takes all the rows there are where k is larger."""

    def fit(self, X: Any, y: Any) -> Neighbors:
        """Keep the rows."""
        self.n_neighbors = min(self.n_neighbors, len(X))
        return super().fit(X, y)


class CentredKernelRidge(RegressorMixin, BaseEstimator):
    """RBF kernel ridge around the mean, on inputs of unit mean squared distance."""

    def __init__(self, gamma: float = 1.0, alpha: float = 1.0) -> None:
        self.gamma = gamma
        self.alpha = alpha

    def fit(self, X: np.ndarray, y: np.ndarray) -> CentredKernelRidge:
        """Fit the residuals from the mean."""
        spread = X.var(axis=0).sum()
        self.mean_ = y.mean(axis=0)
        kernel = KernelRidge(kernel="rbf", gamma=self.gamma / spread, alpha=self.alpha)
        self.fit_ = kernel.fit(X, y - self.mean_)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Add the mean again."""
        return self.fit_.predict(X) + self.mean_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class FractionalLogistic(RegressorMixin, BaseEstimator):
    """Logistic regression of a share: each row counts as a right and a wrong part."""

    def __init__(self, C: float = 1.0) -> None:
        self.C = C

    def fit(self, X: np.ndarray, y: np.ndarray) -> FractionalLogistic:
        """Fit the shares of the range of y."""
        self.low_, self.range_ = y.min(), np.ptp(y)
        if self.range_ > 0:
            share = (y - self.low_) / self.range_
            right, weight = np.repeat([1, 0], len(y)), np.r_[share, 1 - share]
            some = weight > 0
            self.fit_ = LogisticRegression(C=self.C, max_iter=300).fit(
                np.vstack([X, X])[some], right[some], sample_weight=weight[some]
            )
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Expected value."""
        if self.range_ == 0:
            return np.full(len(X), self.low_)
        return self.low_ + self.range_ * self.fit_.predict_proba(X)[:, 1]


class ClusterProfiles(BaseEstimator):
    """Mean outcome of each model in the clusters nearest to a query (Avengers-Pro)."""

    def __init__(self, n_clusters: int = 32, n_nearest: int = 1) -> None:
        self.n_clusters = n_clusters
        self.n_nearest = n_nearest

    def fit(self, X: np.ndarray, Y: np.ndarray) -> ClusterProfiles:
        """Cluster the queries, and profile the models."""
        n_clusters = min(self.n_clusters, len(X))
        self.fit_ = KMeans(n_clusters, n_init=1, random_state=0).fit(X)
        member = np.eye(n_clusters)[self.fit_.labels_]
        known = np.isfinite(Y)
        count = member.T @ known
        self.profiles_ = np.tile(np.nanmean(Y, axis=0), (n_clusters, 1))
        total = member.T @ np.where(known, Y, 0.0)
        np.divide(total, count, out=self.profiles_, where=count > 0)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Average the profiles of the nearest clusters."""
        near = np.argsort(self.fit_.transform(X), axis=1)[:, : self.n_nearest]
        return self.profiles_[near].mean(axis=1)


def _columns(estimators: list[Any]) -> list[Columns]:
    return [Columns(estimator) for estimator in estimators]


def _knn(ks: tuple[int, ...] = (5, 10, 20, 40, 80, 160)) -> list[Columns]:
    return _columns([Neighbors(k) for k in ks])


def _ridge(low: int = -3, high: int = 3, steps: int = 13) -> list[Columns]:
    return _columns([Ridge(alpha) for alpha in np.logspace(low, high, steps)])


def _mlp() -> list[Columns]:
    shared = {"early_stopping": True, "max_iter": 50, "random_state": 0}
    return _columns(
        [
            make_pipeline(
                StandardScaler(),
                MLPRegressor(hidden_layer_sizes=size, alpha=alpha, **shared),
            )
            for size in ((64,), (64, 64))
            for alpha in (0.1, 3.0)
        ]
    )


def _lightgbm() -> list[Columns]:
    shared = {"num_leaves": 7, "colsample_bytree": 0.2, "min_child_samples": 20}
    shared |= {"learning_rate": 0.05, "n_jobs": 1, "verbose": -1, "random_state": 0}
    return _columns([LGBMRegressor(n_estimators=n, **shared) for n in (40, 120)])


def _clusters() -> list[ClusterProfiles]:
    sizes = ((8, 1), (16, 1), (32, 1), (32, 4), (64, 4), (128, 4))
    return [ClusterProfiles(*size) for size in sizes]


def _costs() -> list[Columns]:
    return [*_ridge(-1, 2, 4), *_knn((5, 20, 80))]


def _kernel() -> list[Columns]:
    grid = [(gamma, alpha) for gamma in (1.0, 2.0) for alpha in (0.1, 0.5, 2, 8)]
    return _columns([CentredKernelRidge(*pair) for pair in grid])


def _logistic() -> list[Columns]:
    return _columns([FractionalLogistic(C) for C in (0.1, 1.0, 10.0)])


def _svr() -> list[Columns]:
    return _columns([SVR(C=C) for C in (0.1, 1.0)])


#: Name of a peer: its candidates, those of its costs, and its folds.
PEERS: dict[str, tuple[Callable, Callable, int]] = {
    "kNN": (_knn, _costs, 5),
    "ridge": (_ridge, _costs, 5),
    "ridge + margin": (_ridge, _costs, 5),
    "clusters": (_clusters, _costs, 5),
    "kernel ridge": (_kernel, _costs, 3),
    "logistic": (_logistic, _costs, 3),
    "MLP": (_mlp, _costs, 2),
    "LightGBM": (_lightgbm, _costs, 3),
    "matrix factors": (factors, _costs, 3),
    "SVR": (_svr, _costs, 2),
    "EquiRouter": (equi, cost_networks, 2),
}
#: Those that are fitted in seconds.
FAST = ("kNN", "ridge", "ridge + margin", "clusters", "kernel ridge")
#: Peers that read the words and the surface of prompts beside embeddings.
WORDED = {"kNN, words": "kNN", "ridge, words": "ridge"}
#: Those that are still, where every model was run on other queries.
FASTEST = ("kNN", "ridge", "clusters", "logistic")


def make_peer(name: str, *, costs: Any = None, random_state: int = 0) -> BaseRouter:
    """Make a peer that is not fitted yet."""
    if name in WORDED:
        peer = make_peer(WORDED[name], costs=costs, random_state=random_state)
        return TextRouter(
            peer, prompt_features=PromptFeatures(random_state=random_state)
        )
    candidates, cost_candidates, cv = PEERS[name]
    router = MarginRouter if name == "ridge + margin" else TunedRouter
    return router(
        candidates(), cost_candidates(), costs=costs, cv=cv, random_state=random_state
    )


def why_not(name: str, n_train: int = 0, n_models: int = 0) -> str | None:
    """Why a peer cannot be measured; ``None`` if it can."""
    if name in ("matrix factors", "EquiRouter") and find_spec("torch") is None:
        return "torch is not installed (pip install torch)"
    limit, instead = _MAX_QUERIES.get(name, (n_train, ""))
    if n_train > limit:
        return f"more than {limit:,} training queries; {instead}"
    if name in _BY_MODEL and n_models > _MAX_MODELS:
        return f"more than {_MAX_MODELS} models; ridge, kNN and EquiRouter stand in"
    return None

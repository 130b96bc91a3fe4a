"""Defaults of a comparison: its routers, and an encoder of prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor

from skroute.base import BaseRouter
from skroute.dummy import DummyRouter
from skroute.pointwise import PointwiseRouter
from skroute.ranking import RankingRouter
from skroute.text.vectors import TextVectors

#: What commands print where routers read prompts, alone or beside embeddings.
ON_TEXT = (
    "No embeddings given: routers read the words of prompts (TF-IDF, reduced) and "
    "their surface, fitted on the training queries only. The vectors of a sentence "
    "encoder (--embeddings) beside them usually route better."
)
ON_BOTH = (
    "Routers read embeddings, and the words and the surface of prompts beside them, "
    "fitted on the training queries only."
)


def default_routers(
    costs: Any = None, *, random_state: int | None = None
) -> dict[str, BaseRouter]:
    """Create the ranking router and the routers that it has to beat.

    Parameters
    ----------
    costs : array-like of shape (n_models,) or dict, default=None
        Prices per model; ``None`` where costs are known per query.
    random_state : int or None, default=None
        Seed of every router.

    Returns
    -------
    dict of str to router
        Not fitted: ``"RankingRouter"``; two tuned regressors of quality, ``"kNN"`` and
        ``"ridge"``; and three that ignore the query, ``"best single"``, ``"cheapest"``
        and ``"random"``.
    """
    shared = {"costs": costs, "random_state": random_state}
    neighbors = _MultiOutputSearch(
        _CappedNeighbors(),
        {"n_neighbors": [5, 10, 20, 40, 80, 160]},
        scoring="neg_mean_squared_error",
    )
    return {
        "RankingRouter": RankingRouter(**shared),
        "kNN": PointwiseRouter(neighbors, **shared),
        "ridge": PointwiseRouter(RidgeCV(np.logspace(-3, 3, 13)), **shared),
        "best single": DummyRouter("best_single", **shared),
        "cheapest": DummyRouter("cheapest", **shared),
        "random": DummyRouter("random", **shared),
    }


def fit_encoder(X: Any, seed: int) -> TextVectors:
    """Fit on prompts, and embeddings beside them, what a `TextRouter` reads."""
    return TextVectors.fit(X, random_state=seed)[0]


class _CappedNeighbors(KNeighborsRegressor):
    """Neighbours that are at most the rows of the table, where scikit-learn raises."""

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        wanted = self.n_neighbors if n_neighbors is None else n_neighbors
        return super().kneighbors(X, min(wanted, self.n_samples_fit_), *args, **kwargs)


class _MultiOutputSearch(GridSearchCV):
    """A search that declares the multi-output tag of its regressor.

    GridSearchCV does not pass on that tag.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

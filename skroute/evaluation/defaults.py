"""Defaults of a comparison: its routers, and an encoder of prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer

from skroute.base import BaseRouter
from skroute.dummy import DummyRouter
from skroute.pointwise import PointwiseRouter
from skroute.ranking import RankingRouter

#: Components of the embedding of prompts, at most.
N_COMPONENTS = 256
#: What commands print where prompts are embedded so.
ON_TEXT = (
    "No embeddings given: prompts are embedded by TF-IDF and a truncated SVD of at "
    f"most {N_COMPONENTS} components, fitted on the training queries only. The vectors "
    "of a sentence encoder (--embeddings) usually route better."
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


def fit_encoder(prompts: Any, seed: int) -> Pipeline:
    """Fit TF-IDF and a truncated SVD on prompts."""
    words = TfidfVectorizer(sublinear_tf=True)
    counts = words.fit_transform(prompts)
    svd = TruncatedSVD(min(N_COMPONENTS, *counts.shape), random_state=seed)
    unit = Normalizer()
    unit.fit(svd.fit_transform(counts))
    return Pipeline([("tfidf", words), ("svd", svd), ("unit", unit)])


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

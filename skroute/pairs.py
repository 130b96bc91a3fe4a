"""Features of a (query, model) pair: cross-fitted quality estimates and the query.

LambdaRank learns from a few dozen numbers per pair, not from the raw embedding: what
a linear and two kernel regressions expect of this model on this query, at three
strengths of smoothing each, what they expect of the pool as a whole, the leading
principal components of the embedding, and which model it is. Nothing stored grows with
the number of training queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import nnls
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from skroute.linear import RidgeFit, chunks, fit_ridge

__all__ = ["PairEstimates", "PairFeatures"]

# Widths of the two kernels, for embeddings scaled to unit mean squared distance from
# their centre: one about as wide as the cloud of queries, one narrower.
_GAMMAS = (1.0, 2.0)
# Strengths used as features: the best one, and two grid steps to either side.
_AROUND = (-2, 0, 2)
_BEST = _AROUND.index(0)
# Queries on which directions and landmarks are found, at most.
_N_SAMPLED = 8192
# Wider embeddings are projected on so many of their leading directions.
_MAX_WIDTH = 512
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class PairEstimates:
    """Estimates and features of some queries.

    Attributes
    ----------
    quality : ndarray of shape (n_queries, n_models)
        Expected quality by the regressions alone, scaled to [0, 1].
    features : ndarray of shape (n_queries, n_models, n_features)
        Features of pairs, the model's index last.
    """

    quality: np.ndarray
    features: np.ndarray


class PairFeatures:
    """Learns the regressions, and turns queries into features of pairs.

    Parameters
    ----------
    n_components : int
        Principal components of the embedding among the features.
    n_landmarks : int
        Queries that span the kernel regressions, at most.
    """

    def __init__(self, n_components: int, n_landmarks: int) -> None:
        self.n_components = n_components
        self.n_landmarks = n_landmarks

    def fit_transform(
        self,
        X: np.ndarray,
        quality: np.ndarray,
        fold: np.ndarray,
        rng: np.random.RandomState,
    ) -> PairEstimates:
        """Fit on all queries, and estimate each without its fold.

        Parameters
        ----------
        X : ndarray of shape (n_queries, n_features)
            Embeddings.
        quality : ndarray of shape (n_queries, n_models)
            Qualities, scaled to [0, 1]; ``NaN`` where unknown, no model without any.
        fold : ndarray of int of shape (n_queries,)
            Fold of each query.
        rng : RandomState
            Draws the landmarks.

        Returns
        -------
        PairEstimates
            Out-of-fold estimates of the training queries.
        """
        self.means_ = np.nanmean(quality, axis=0)
        sample = self._fit_scaling(X, rng)
        self.landmarks_ = self._draw_landmarks(sample, rng)
        self._squares = (self.landmarks_**2).sum(axis=1)
        between = self._distances(self.landmarks_)
        # The linear regression first, then one for each kernel.
        roots = [None, *(_inverse_root(np.exp(-gamma * between)) for gamma in _GAMMAS)]

        spread = np.full(quality.shape[1], np.nanstd(quality) or 1.0)
        self.fits_ = []
        estimates = np.empty((*quality.shape, len(roots), len(_AROUND)))
        for f, root in enumerate(roots):

            def features(rows: np.ndarray, f: int = f, root: Any = root) -> np.ndarray:
                scaled = self.scaled(rows)
                if root is None:
                    return scaled
                return np.exp(-_GAMMAS[f - 1] * self._distances(scaled)) @ root

            fit, estimates[:, :, f] = fit_ridge(
                X,
                quality,
                fold,
                features,
                scale=spread,
                differences=True,
                around=_AROUND,
            )
            if root is not None:
                fit = RidgeFit(np.tensordot(root, fit.coef, 1), fit.intercept)
            self.fits_.append(fit)
        self.weights_ = _combine(
            estimates[..., _BEST] - self.means_[:, None], quality - self.means_
        )
        return self._assemble(self.scaled(X), estimates)

    def transform(self, X: np.ndarray) -> PairEstimates:
        """Estimate queries that were not trained on.

        Parameters
        ----------
        X : ndarray of shape (n_queries, n_features)
            Embeddings.

        Returns
        -------
        PairEstimates
            Estimates and features.
        """
        scaled = self.scaled(X)
        distance = self._distances(scaled)
        maps = [scaled, *(np.exp(-gamma * distance) for gamma in _GAMMAS)]
        estimates = np.stack(
            [fit.predict(Phi) for fit, Phi in zip(self.fits_, maps, strict=True)],
            axis=2,
        )
        return self._assemble(scaled, estimates)

    def _fit_scaling(self, X: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """Learn centre, scale and leading directions; returns some scaled queries."""
        n_queries, width = X.shape
        self.centre_ = X.mean(axis=0, dtype=np.float64)
        total = sum(
            float(((X[part] - self.centre_) ** 2).sum()) for part in chunks(n_queries)
        )
        rounding = n_queries * float(np.sum((_EPSILON * self.centre_) ** 2))
        varied = total > rounding
        self.scale_ = np.sqrt(total / n_queries) if varied else 1.0
        self.basis_: np.ndarray | None = None
        sample = self.scaled(X[rng.permutation(n_queries)[:_N_SAMPLED]])
        if width > _MAX_WIDTH:
            # The time to solve a regression grows with the cube of the width.
            pca = PCA(
                min(_MAX_WIDTH, len(sample)),
                svd_solver="randomized",
                random_state=rng.randint(2**31 - 1),
            )
            self.basis_ = pca.fit(sample).components_.T
            sample = sample @ self.basis_
        n_components = min(self.n_components, *sample.shape)
        self.components_ = np.zeros((sample.shape[1], 0))
        if n_components and varied:
            pca = PCA(n_components, svd_solver="covariance_eigh").fit(sample)
            self.components_ = pca.components_.T
        return sample

    def _draw_landmarks(
        self, sample: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Centres of clusters of the queries.

        Drawing queries instead routes a little worse, and budgets are missed: a
        training query that is its own landmark is estimated unlike any to come.
        """
        # A block of identical queries is worth one landmark.
        distinct = np.unique(sample, axis=0)
        if len(distinct) <= self.n_landmarks:
            return distinct
        clusters = KMeans(
            self.n_landmarks,
            init="random",
            n_init=1,
            max_iter=10,
            random_state=rng.randint(2**31 - 1),
        )
        return clusters.fit(distinct).cluster_centers_

    def _assemble(self, scaled: np.ndarray, estimates: np.ndarray) -> PairEstimates:
        """Features of pairs, from scaled queries and the regressions' estimates."""
        deviation = estimates[..., _BEST] - self.means_[:, None]
        common = deviation.mean(axis=1, keepdims=True)
        on_level, on_differences = self.weights_
        quality = self.means_ + common @ on_level
        quality += (deviation - common) @ on_differences
        n_queries, n_models = quality.shape
        level = quality.mean(axis=1, keepdims=True)
        query = scaled @ self.components_
        model = np.arange(n_models, dtype=np.float64)
        columns = [
            estimates.reshape(n_queries, n_models, -1),
            quality[:, :, None],
            (quality - level)[:, :, None],
            np.broadcast_to(level[:, :, None], (n_queries, n_models, 1)),
            np.broadcast_to(query[:, None, :], (n_queries, n_models, query.shape[1])),
            np.broadcast_to(
                np.stack([self.means_, model], axis=1), (n_queries, n_models, 2)
            ),
        ]
        return PairEstimates(quality, np.concatenate(columns, axis=2))

    def scaled(self, X: np.ndarray) -> np.ndarray:
        """Embeddings centred, and scaled to unit mean squared length."""
        scaled = (X - self.centre_) / self.scale_
        return scaled if self.basis_ is None else scaled @ self.basis_

    def _distances(self, scaled: np.ndarray) -> np.ndarray:
        """Squared distances to the landmarks."""
        squares = (scaled**2).sum(axis=1)[:, None]
        product = scaled @ self.landmarks_.T
        return np.maximum(squares - 2.0 * product + self._squares, 0.0)


def _inverse_root(kernel: np.ndarray) -> np.ndarray:
    """Map under which a ridge on landmarks is a ridge in the kernel's own space."""
    values, vectors = eigh(kernel)
    return vectors / np.sqrt(np.maximum(values, 1e-6))


def _combine(deviation: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weigh the regressions, by out-of-fold squared error.

    What a query's models have in common (its difficulty) and what tells them apart are
    weighed by themselves: the regression that knows the one best need not know the
    other best, and only the other decides.

    Parameters
    ----------
    deviation : ndarray of shape (n_queries, n_models, n_regressions)
        Estimates, less the mean of each model.
    target : ndarray of shape (n_queries, n_models)
        Qualities, less the mean of each model; ``NaN`` where unknown.

    Returns
    -------
    ndarray of shape (2, n_regressions)
        Non-negative weights for the level of a query, and for the differences.
    """
    known = np.isfinite(target)
    some = known.any(axis=1)
    count = np.maximum(known.sum(axis=1), 1)[:, None]
    estimated = np.where(known[:, :, None], deviation, 0.0)
    observed = np.where(known, target, 0.0)
    level = estimated.sum(axis=1) / count
    target_level = observed.sum(axis=1, keepdims=True) / count
    on_level, _ = nnls(level[some], target_level[some, 0])
    on_differences, _ = nnls(
        (estimated - level[:, None])[known], (observed - target_level)[known]
    )
    return np.stack([on_level, on_differences])

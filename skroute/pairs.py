"""Features of a (query, model) pair: cross-fitted quality estimates and the query.

LambdaRank learns from a few dozen numbers per pair, not from the raw embedding: what
regressions on several views of the query expect of this model, at several strengths of
smoothing, what they expect of the pool as a whole, the leading principal components of
the embedding, and which model it is. Nothing stored grows with the number of training
queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import nnls

from skroute.linear import RidgeFit, chunks, fit_ridge
from skroute.views import QueryViews

__all__ = ["PairEstimates", "PairFeatures"]

# Strengths of each regression that are weighed, as steps on the grid around the best:
# a factor of 16 to either side. The smoother ones earn weight where the best strength
# for most queries is too faint for some.
_WEIGHED = (-4, -2, 0, 2, 4)
# Of these, the strengths that the ranker sees.
_FEATURES = slice(1, 4)


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
        Centres of clusters that span the kernel regressions, at most.
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
            Draws the views.

        Returns
        -------
        PairEstimates
            Out-of-fold estimates of the training queries.
        """
        self.means_ = np.nanmean(quality, axis=0)
        self.views_ = QueryViews(X, self.n_components, self.n_landmarks, rng)
        spread = np.full(quality.shape[1], np.nanstd(quality) or 1.0)
        fits = []
        estimates = np.empty((*quality.shape, len(self.views_), len(_WEIGHED)))
        for view in range(len(self.views_)):

            def features(rows: np.ndarray, view: int = view) -> np.ndarray:
                return self.views_.of(self.scaled(rows), view)

            fit, estimates[:, :, view] = fit_ridge(
                X,
                quality,
                fold,
                features,
                scale=spread,
                differences=True,
                around=_WEIGHED,
            )
            fits.append(self.views_.served(view, fit))
        self.views_.forget_maps()
        weights = _combine(
            (estimates - self.means_[:, None, None]).reshape(*quality.shape, -1),
            quality - self.means_,
        ).reshape(2, len(fits), len(_WEIGHED))
        # Regressions are linear: their weighted sum is one more output of each.
        self.fits_ = [
            RidgeFit(
                _with_share(fit.coef, weights[:, view]),
                _with_share(fit.intercept, weights[:, view], self.means_),
            )
            for view, fit in enumerate(fits)
        ]
        return self._assemble(
            self.scaled(X),
            [
                _with_share(estimates[:, :, view], weights[:, view], self.means_)
                for view in range(len(fits))
            ],
        )

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
        views = self.views_.all_of(scaled)
        return self._assemble(
            scaled,
            [fit.predict(view) for fit, view in zip(self.fits_, views, strict=True)],
        )

    def scaled(self, X: np.ndarray) -> np.ndarray:
        """Embeddings centred, and scaled to unit mean squared length."""
        return self.views_.scaled(X)

    def _assemble(self, scaled: np.ndarray, outputs: list[np.ndarray]) -> PairEstimates:
        """Features of pairs, from scaled queries and the outputs of `_with_share`."""
        quality = self.means_ + sum(output[..., -1] for output in outputs)
        n_queries, n_models = quality.shape
        level = quality.mean(axis=1, keepdims=True)
        query = scaled @ self.views_.components
        model = np.arange(n_models, dtype=np.float64)
        columns = [
            *(output[..., :-1] for output in outputs),
            quality[:, :, None],
            (quality - level)[:, :, None],
            np.broadcast_to(level[:, :, None], (n_queries, n_models, 1)),
            np.broadcast_to(query[:, None, :], (n_queries, n_models, query.shape[1])),
            np.broadcast_to(
                np.stack([self.means_, model], axis=1), (n_queries, n_models, 2)
            ),
        ]
        return PairEstimates(quality, np.concatenate(columns, axis=2))


def _with_share(
    outputs: np.ndarray, weights: np.ndarray, means: np.ndarray | float = 0.0
) -> np.ndarray:
    """Strengths that are features, and a regression's share in the expected quality.

    Parameters
    ----------
    outputs : ndarray of shape (..., n_models, n_strengths)
        Estimates, or coefficients, which are transformed alike.
    weights : ndarray of shape (2, n_strengths)
        Weights for the level of a query, and for the differences.
    means : ndarray of shape (n_models,) or 0
        What the estimates deviate from.

    Returns
    -------
    ndarray of shape (..., n_models, n_features + 1)
        The share is last.
    """
    deviation = outputs - np.asarray(means)[..., None]
    common = deviation.mean(axis=-2, keepdims=True)
    on_level, on_differences = weights
    share = common @ on_level + (deviation - common) @ on_differences
    return np.concatenate([outputs[..., _FEATURES], share[..., None]], axis=-1)


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
    n_regressions = deviation.shape[2]
    squares = np.zeros((2, n_regressions + 1, n_regressions + 1))
    for part in chunks(len(target)):
        table = np.concatenate([deviation[part], target[part][:, :, None]], axis=2)
        known = np.isfinite(target[part])
        count = np.maximum(known.sum(axis=1), 1)[:, None]
        table = np.where(known[:, :, None], table, 0.0)
        level = table.sum(axis=1) / count
        differences = np.where(known[:, :, None], table - level[:, None], 0.0)
        differences = differences.reshape(-1, n_regressions + 1)
        squares += np.stack([level.T @ level, differences.T @ differences])
    return np.stack([_nnls_of(square) for square in squares])


def _nnls_of(squares: np.ndarray) -> np.ndarray:
    """Non-negative least squares, from the cross products of columns and target."""
    values, vectors = eigh(squares[:-1, :-1])
    kept = values > values[-1] * 1e-12
    if not kept.any():
        return np.zeros(len(vectors))
    root = np.sqrt(values[kept])
    vectors = vectors[:, kept]
    weights, _ = nnls(root[:, None] * vectors.T, vectors.T @ squares[:-1, -1] / root)
    return weights

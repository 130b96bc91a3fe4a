"""Features of a (query, model) pair: cross-fitted quality estimates.

LambdaRank learns from a few dozen numbers per pair, not from the raw embedding: what
regressions on several views of the query expect of this model, at several strengths of
smoothing, what they expect of the pool as a whole, and how good the model is on
average. Which model it is, is none of them: so a model can join the pool that the
ranker never saw. Nothing stored grows with the number of training queries.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from skroute._compute.chunks import chunks
from skroute._compute.executor import IN_MEMORY, Rows
from skroute._compute.threads import in_threads
from skroute._estimate.feature_maps import QueryViews
from skroute._estimate.one_query import SingleQuery
from skroute._estimate.ridge import RidgeFit, fit_ridge
from skroute._estimate.stacking import stacking_weights
from skroute._table.averages import means_from_sums, weighted_sums
from skroute._table.duplicates import Duplicates, find_duplicates

__all__ = ["HeldOutPairs", "PairEstimates", "PairFeatures"]

# Strengths of each regression that are weighed, as steps on the grid around the best:
# a factor of 16 to either side. The smoother ones earn weight where the best strength
# for most queries is too faint for some.
_WEIGHED = (-4, -2, 0, 2, 4)
# Of these, the strengths that the ranker sees.
_FEATURES = slice(1, 4)

# A newcomer may differ from a pool of like models by so much, on the scale of quality.
_LEAST_SPREAD = 0.1


@dataclass(frozen=True)
class PairEstimates:
    """Estimates and features of some queries.

    Attributes
    ----------
    quality : ndarray of shape (n_queries, n_models)
        Expected quality by the regressions alone, scaled to [0, 1].
    features : ndarray of shape (n_queries, n_models, n_features)
        Features of pairs.
    trust : ndarray of shape (n_queries,)
        How far they are to be believed: 1 near the training queries, 0 far from all.
    """

    quality: np.ndarray
    features: np.ndarray
    trust: np.ndarray


@dataclass(frozen=True)
class HeldOutPairs:
    """Estimates of training queries, each by a fit that did not see it.

    Attributes
    ----------
    quality : ndarray of shape (n_queries, n_models)
        Expected quality by the regressions alone, scaled to [0, 1].
    trust : ndarray of shape (n_queries,)
        How far they are to be believed.
    """

    quality: np.ndarray
    trust: np.ndarray
    _fitted: PairFeatures
    _estimates: tuple[np.ndarray, ...]

    @classmethod
    def of(
        cls,
        fitted: PairFeatures,
        trust: np.ndarray,
        *estimates: np.ndarray,
    ) -> HeldOutPairs:
        """Weigh the estimates by the regressions of all views."""
        expected = np.empty(estimates[0].shape[:2])
        pairs = cls(expected, trust, fitted, estimates)
        for part in chunks(len(expected)):
            expected[part] = pairs.at(part).quality
        return pairs

    def at(self, rows: np.ndarray | slice) -> PairEstimates:
        """Estimates and features of some: of all they would be the largest table."""
        fitted = self._fitted
        outputs = [
            _with_share(estimate[rows], fitted._weights[:, view], fitted.means_)
            for view, estimate in enumerate(self._estimates)
        ]
        return fitted._assemble(outputs, self.trust[rows])


class PairFeatures:
    """Learns the regressions, and turns queries into features of pairs.

    Parameters
    ----------
    n_landmarks : int
        Centres of clusters that span the kernel regressions, at most.
    """

    def __init__(self, n_landmarks: int) -> None:
        self.n_landmarks = n_landmarks

    def fit_transform(
        self,
        X: Any,
        quality: Any,
        fold: Any,
        rng: np.random.RandomState,
        weight: Any = None,
        n_jobs: int | None = None,
        rows: Rows = IN_MEMORY,
        duplicates: Duplicates | None = None,
    ) -> Any:
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
        weight : ndarray of shape (n_queries, n_models), default=None
            Weight of every outcome, positive where it is known.
        n_jobs : int, default=None
            Threads, each of which fits one view at a time.
        rows : Rows, default=IN_MEMORY
            Where the queries are. Elsewhere X, `quality`, `fold`, `weight` and the
            result are handles of columns.
        duplicates : Duplicates, default=None
            Which queries are of one prompt; ``None`` looks for them.

        Returns
        -------
        HeldOutPairs
            Out-of-fold estimates of the training queries.
        """
        self.means_ = means_from_sums(
            rows.get(rows.total(weighted_sums, quality, weight))
        )
        if duplicates is None:
            duplicates = find_duplicates(X, rows=rows)
        self.views_ = QueryViews(X, self.n_landmarks, rng, duplicates, rows)
        trusted, self.views_.trusted = self.views_.trusted, np.ones(0)
        views = rows.share(copy(self.views_))

        def regress(view: int) -> tuple[RidgeFit, Any, int]:
            return fit_ridge(
                X,
                quality,
                fold,
                rows.apply(_feature_map, views, view),
                scale=np.ones(len(self.means_)),
                differences=True,
                around=_WEIGHED,
                weight=weight,
                basis=self.views_.basis(view),
                rows=rows,
            )

        fits, estimates, self._strengths = zip(
            *in_threads(regress, range(len(self.views_)), rows.threads(n_jobs)),
            strict=True,
        )
        self.views_.forget_maps()
        self._weights = weights = stacking_weights(
            estimates, quality, self.means_, weight, rows
        ).reshape(2, len(fits), len(_WEIGHED))
        self._common = [_pool_average(fit, self.means_) for fit in fits]
        # Regressions are linear: their weighted sum is one more output of each.
        self.fits_ = [
            RidgeFit(
                _with_share(fit.coef, weights[:, view]),
                _with_share(fit.intercept, weights[:, view], self.means_),
            )
            for view, fit in enumerate(fits)
        ]

        fitted = rows.share(copy(self))
        return rows.map(HeldOutPairs.of, fitted, trusted, *estimates)

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
        pairs = self._as_precise_as(X)
        scaled = pairs.scaled(X)
        if len(X) == 1:
            return PairEstimates(*pairs._one(scaled))
        trust, views = pairs.views_.all_of(scaled)
        return pairs._assemble(
            [fit.predict(view) for fit, view in zip(pairs.fits_, views, strict=True)],
            trust,
        )

    def _as_precise_as(self, X: np.ndarray) -> PairFeatures:
        return self._single if X.dtype == np.float32 else self

    @cached_property
    def _single(self) -> PairFeatures:
        """The same in single precision, for queries that have no more."""
        single = copy(self)
        single.views_ = self.views_.in_precision(np.float32)
        single.fits_ = [fit.in_precision(np.float32) for fit in self.fits_]
        single.means_ = self.means_.astype(np.float32)
        return single

    @cached_property
    def _one(self) -> SingleQuery:
        """The same for one query."""
        return SingleQuery(self.views_, self.fits_, self.means_)

    def __getstate__(self) -> dict[str, Any]:
        # What is made from the rest is not kept in pickles, nor in copies, which are
        # changed.
        made = "_single", "_one"
        return {k: v for k, v in vars(self).items() if k not in made}

    def with_model(
        self, X: np.ndarray, quality: np.ndarray, fold: np.ndarray
    ) -> tuple[PairFeatures, PairEstimates]:
        """Add a model: the same regressions, on the same views, for it alone.

        What the pool has in common is expected of a newcomer too; regressed is what it
        does besides. So few outcomes leave it a model like the average, better or worse
        by about as much on every query.

        Parameters
        ----------
        X : ndarray of shape (n_queries, n_features)
            Embeddings.
        quality : ndarray of shape (n_queries,)
            Qualities of the model in the scale of the others; ``NaN`` where unknown.
        fold : ndarray of int of shape (n_queries,)
            Fold of each query.

        Returns
        -------
        grown : PairFeatures
            The model is last in it; this one stays as it is.
        estimates : PairEstimates
            Of these queries, and for the new model out of fold.
        """
        scaled = self.scaled(X)
        expected, outputs = [], []
        trust, seen = self.views_.all_of(scaled)
        for Phi, old, common in zip(seen, self.fits_, self._common, strict=True):
            expected.append(Phi @ common.coef + common.intercept)
            outputs.append(old.predict(Phi))
        on_level, on_differences = self._weights
        level = sum(e @ w for e, w in zip(expected, on_level, strict=True))
        centre, mean = _newcomer_mean(quality - level, self.means_)
        grown = copy(self)
        grown.means_ = np.append(self.means_, mean)
        grown.fits_ = []
        views = self.views_.with_maps()
        kept = np.arange(len(_WEIGHED))
        for view, common in enumerate(self._common):

            def features(rows: np.ndarray, view: int = view) -> np.ndarray:
                return views.of(self.scaled(rows), view)

            # One target per strength: what the pool's regression at it leaves over.
            fit, apart, _ = fit_ridge(
                X,
                (quality - centre)[:, None] - expected[view],
                fold,
                features,
                scale=np.ones(len(_WEIGHED)),
                around=_WEIGHED,
                strength=self._strengths[view],
                basis=views.basis(view),
            )
            weights = on_level[view], on_differences[view]
            coef = _newcomer(fit.coef[:, kept, kept], common.coef, *weights)
            intercept = _newcomer(
                fit.intercept[kept, kept], common.intercept, *weights, mean
            )
            column = _newcomer(apart[:, kept, kept], expected[view], *weights, mean)
            old = self.fits_[view]
            grown.fits_.append(
                RidgeFit(
                    np.concatenate([old.coef, coef[:, None]], axis=1),
                    np.concatenate([old.intercept, intercept[None]]),
                )
            )
            outputs[view] = np.concatenate([outputs[view], column[:, None]], axis=1)
        return grown, grown._assemble(outputs, trust)

    def without_model(self, model: int) -> PairFeatures:
        """Leave a model out; this one stays as it is.

        Parameters
        ----------
        model : int
            Its position.

        Returns
        -------
        PairFeatures
            The same estimates of the other models.
        """
        shrunk = copy(self)
        shrunk.means_ = np.delete(self.means_, model)
        shrunk.fits_ = [
            RidgeFit(
                np.delete(fit.coef, model, axis=1),
                np.delete(fit.intercept, model, axis=0),
            )
            for fit in self.fits_
        ]
        return shrunk

    def scaled(self, X: np.ndarray) -> np.ndarray:
        """Embeddings centred, and scaled to unit mean squared length."""
        return self.views_.scaled(X)

    def trust(self, X: np.ndarray) -> np.ndarray:
        """How far estimates of queries are to be believed, from 1 to 0."""
        pairs = self._as_precise_as(X)
        return pairs.views_.trust(pairs.scaled(X))

    def _assemble(self, outputs: list[np.ndarray], trust: np.ndarray) -> PairEstimates:
        """Features of pairs, from the outputs of `_with_share`."""
        quality = self.means_ + sum(output[..., -1] for output in outputs)
        level = np.add.reduce(quality, axis=1, keepdims=True) / quality.shape[1]
        n_seen = outputs[0].shape[2] - 1
        first = n_seen * len(outputs)
        features = np.empty((*quality.shape, first + 4), quality.dtype)
        for view, output in enumerate(outputs):
            features[:, :, view * n_seen : (view + 1) * n_seen] = output[:, :, :-1]
        features[:, :, first] = quality
        features[:, :, first + 1] = quality - level
        features[:, :, first + 2] = level
        features[:, :, first + 3] = self.means_
        return PairEstimates(quality, features, trust)


def _feature_map(views: QueryViews, view: int) -> Callable[[np.ndarray], np.ndarray]:
    """From training queries to what a regression on one view sees of them."""
    return partial(_seen, views, view)


def _seen(views: QueryViews, view: int, X: np.ndarray) -> np.ndarray:
    return views.of(views.scaled(X), view)


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


def _pool_average(fit: RidgeFit, means: np.ndarray) -> RidgeFit:
    """What the models of a pool have in common, as deviation from their means."""
    return RidgeFit(
        fit.coef.mean(axis=1), (fit.intercept - means[:, None]).mean(axis=0)
    )


def _newcomer(
    apart: np.ndarray,
    common: np.ndarray,
    on_level: np.ndarray,
    on_differences: np.ndarray,
    mean: float = 0.0,
) -> np.ndarray:
    """What `_with_share` gives, for one model apart from what the pool has in common.

    Parameters
    ----------
    apart, common : ndarray of shape (..., n_strengths)
        Estimates of the two parts, or coefficients, which are transformed alike.
    on_level, on_differences : ndarray of shape (n_strengths,)
        Weights of the two parts in the expected quality.
    mean : float, default=0.0
        Mean quality of the model.

    Returns
    -------
    ndarray of shape (..., n_features + 1)
        The share is last.
    """
    share = common @ on_level + apart @ on_differences
    seen = mean + (common + apart)[..., _FEATURES]
    return np.concatenate([seen, share[..., None]], axis=-1)


def _newcomer_mean(apart: np.ndarray, means: np.ndarray) -> tuple[float, float]:
    """Mean of a new model, as observed, and drawn to that of the pool.

    Parameters
    ----------
    apart : ndarray of shape (n_queries,)
        Qualities of the model less the level of the query; ``NaN`` where unknown.
    means : ndarray of shape (n_models,)
        Means of the pool.

    Returns
    -------
    observed, expected : float
        They differ by more the fewer outcomes there are, and the more alike the models
        of the pool are.
    """
    apart = apart[np.isfinite(apart)]
    observed, centre = float(apart.mean()), float(means.mean())
    noise = float(apart.var()) / len(apart)
    between = max(float(means.var()), _LEAST_SPREAD**2)
    reliable = between / (between + noise)
    return observed, centre + reliable * (observed - centre)

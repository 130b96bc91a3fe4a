"""The quality model: regressions on all views, weighed, and features of pairs.

LambdaRank learns from a few dozen numbers per (query, model) pair, not from the raw
embedding: what regressions on several views of the query expect of this model, at
several strengths of smoothing, what they expect of the pool as a whole, and how good
the model is on average. The model's identity is not a feature, so new models can be
added without retraining the ranker. Nothing stored grows with the training queries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from skroute._compute.cached import SavesFields
from skroute._compute.chunks import chunks, multiply
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._estimate.blocks import BlockViews, fit_block_views
from skroute._estimate.feature_maps import QueryViews, TrainingViews, fit_views
from skroute._estimate.learning import LearnedQuality
from skroute._estimate.options import OPTIONS, Options
from skroute._estimate.ridge import ALPHAS, RidgeFit, fit_ridge, fit_ridges
from skroute._estimate.sharing import find_sharing
from skroute._estimate.stacking import (
    add_weighted_parts,
    append_newcomer_part,
    append_weighted_part,
    find_weights,
)
from skroute._table.averages import divide_sums, sum_known
from skroute._table.duplicates import Duplicates

__all__ = ["HeldOutPairs", "PairEstimates", "QualityModel"]

# Least standard deviation between models that is assumed of a newcomer: the models of a
# pool may be more alike than the next one.
_LEAST_SPREAD = 0.1
# Outcomes of a newcomer that are taken to be as widely spread as those of the pool can
# be, beside its own.
_FIRST = 5


@dataclass(frozen=True)
class PairEstimates:
    """Estimates of some queries, and what they were made of."""

    # By the regressions alone, scaled to [0, 1], (n_queries, n_models).
    quality: np.ndarray
    # How far they are to be believed: 1 near the training queries, 0 far from all.
    trust: np.ndarray
    means: np.ndarray  # of the models
    # Of all regressions, (n_views, n_queries, n_models, n_shown + 1), each at the
    # strengths that are shown; ``None`` where neither a ranker nor caution needs them.
    outputs: np.ndarray | None = None

    def build_features(self) -> np.ndarray:
        """Build features of pairs for a ranker, (n_queries, n_models, n_features)."""
        assert self.outputs is not None
        quality, outputs = self.quality, self.outputs
        level = np.add.reduce(quality, axis=1, keepdims=True) / quality.shape[1]
        n_views, n_shown = len(outputs), outputs.shape[3] - 1
        first = n_shown * n_views
        features = np.empty((*quality.shape, first + 4), quality.dtype)
        shown = features[:, :, :first].reshape(*quality.shape, n_views, n_shown)
        shown[:] = outputs[..., :-1].transpose(1, 2, 0, 3)
        features[:, :, first] = quality
        features[:, :, first + 1] = quality - level
        features[:, :, first + 2] = level
        features[:, :, first + 3] = self.means
        return features

    def measure_disagreement(self, reference: int) -> np.ndarray:
        """How far the regressions disagree about each model, (n_queries, n_models).

        It is the standard deviation, over the regressions, of how much better the model
        is than the one of reference.
        """
        assert self.outputs is not None
        # The strengths that are shown lie evenly around the best one.
        best = (self.outputs.shape[3] - 1) // 2
        return _measure_spread(self.outputs[..., best], reference)


@dataclass(frozen=True)
class HeldOutPairs:
    """Estimates of training queries, each by a fit that did not see it."""

    # By the regressions alone, and how far to believe it, as in `PairEstimates`.
    quality: np.ndarray
    trust: np.ndarray
    # It weighs the predictions of each regression, (n_queries, n_models, n_strengths).
    model: QualityModel
    predictions: list[np.ndarray]
    sharing: np.ndarray  # among the models, (n_models, n_models)
    options: Options

    @classmethod
    def combine(
        cls,
        model: QualityModel,
        trust: np.ndarray,
        predictions: list[np.ndarray],
        sharing: np.ndarray,
        options: Options,
    ) -> HeldOutPairs:
        """Combine the out-of-fold predictions of all regressions."""
        expected = np.empty(predictions[0].shape[:2])
        pairs = cls(expected, trust, model, predictions, sharing, options)
        for part in chunks(len(expected)):
            expected[part] = pairs.select_rows(part).quality
        return pairs

    def select_rows(self, rows: np.ndarray | slice) -> PairEstimates:
        """Combine the predictions of some queries.

        Those of all queries at once would be the largest table of a fit.
        """
        outputs = [
            append_weighted_part(
                prediction[rows],
                self.model.weights[:, view],
                self.options.shown,
                self.model.means,
                self.sharing,
            )
            for view, prediction in enumerate(self.predictions)
        ]
        return self.model.combine_outputs(np.stack(outputs), self.trust[rows])

    def measure_disagreement(self, reference: int) -> np.ndarray:
        """How far the regressions disagree, as in `PairEstimates`."""
        best = len(self.options.offsets) // 2
        spread = np.empty_like(self.quality)
        for part in chunks(len(spread)):
            opinions = [prediction[part, :, best] for prediction in self.predictions]
            spread[part] = _measure_spread(np.stack(opinions), reference)
        return spread


@dataclass(frozen=True)
class QualityModel(SavesFields):
    """Expected quality of every model, in the canonical order and unit."""

    views: QueryViews | BlockViews
    means: np.ndarray  # quality of each model, (n_models,)
    # The regression on each view, at the strengths that the ranker sees; without one,
    # at the best. Behind these outputs stands one more, its part in the expected
    # quality: `append_weighted_part`.
    fits: list[RidgeFit]
    # Of the regressions, for the level of a query and for the differences between its
    # models, (2, n_views, n_strengths), before models share.
    weights: np.ndarray
    # What the fitted models have in common, as deviation from their means, by view.
    common: list[RidgeFit]
    # Position on the grid of the best strength of each regression.
    strengths: list[int]

    @classmethod
    def fit(
        cls,
        X: Any,
        quality: Any,
        fold: Any,
        rng: np.random.RandomState,
        duplicates: Duplicates,
        *,
        n_landmarks: int = 512,
        blocks: tuple[int, ...] = (),
        weight: Any = None,
        learns_on: bool = False,
        n_jobs: int | None = None,
        options: Options = OPTIONS,
        executor: Executor = IN_MEMORY,
    ) -> tuple[QualityModel, Any, TrainingViews, LearnedQuality | None]:
        """Fit on all queries, and estimate each without its fold; also their views.

        Qualities (n_queries, n_models) are scaled to [0, 1], ``NaN`` where unknown, and
        no model is without any; `weight` is that of every outcome. `rng` draws the
        views, whose kernels are spanned by at most `n_landmarks` centres; each of the
        `blocks` of columns, of these widths, has views of its own, too. Unless the
        `executor` is in memory, X, `quality`, `fold` (n_queries,), `weight` and the
        second result, a `HeldOutPairs`, are handles of columns. The last result is what
        other outcomes join, if the model `learns_on`.
        """
        means = divide_sums(executor.get(executor.total(sum_known, quality, weight)))
        # Views of training queries correct for the pull of each query on its centres.
        views: QueryViews | BlockViews
        how = n_landmarks, rng, duplicates, options, executor
        if blocks:
            views, seen, trust = fit_block_views(X, blocks, *how)
        else:
            views, seen, trust = fit_views(X, *how)
        # Every view, fold and strength at once; `bases` keep the kernels' own penalty.
        fits, predictions, positions, moments = fit_ridges(
            seen.rows,
            quality,
            fold,
            executor.share(seen.compute),
            scale=np.ones(len(means)),
            bases=views.compute_bases(),
            differences=True,
            offsets=options.offsets,
            weight=weight,
            keep_moments=learns_on,
            n_jobs=n_jobs,
            executor=executor,
        )
        weights = find_weights(predictions, quality, means, weight, executor)
        if not options.two_weights:
            # Those of the differences, which decide.
            weights = np.repeat(weights[1:], 2, axis=0)
        weights = weights.reshape(2, len(fits), len(options.offsets))
        sharing = find_sharing(
            predictions,
            weights,
            quality,
            means,
            weight,
            doubt=options.doubt,
            executor=executor,
        )
        combined = _combine_fits(fits, weights, options.shown, means, sharing)
        common = [_average_pool(fit, means) for fit in fits]
        model = cls(views, means, combined, weights, common, positions)
        held_out = executor.map(
            HeldOutPairs.combine,
            executor.share(model),
            trust,
            predictions,
            sharing,
            options,
        )
        learned = LearnedQuality(moments, fits, sharing, []) if learns_on else None
        return model, held_out, seen, learned

    def predict(self, X: np.ndarray) -> tuple[PairEstimates, np.ndarray]:
        """Estimate queries that were not trained on; also their first view.

        Queries in single precision are estimated in single precision.
        """
        model = self._float32 if X.dtype == np.float32 else self
        scaled = model.views.scale_queries(X)
        trust, views = model.views.transform(scaled)
        first = model.views.take_first_view(scaled)
        if not model._n_shown:
            # One product adds up the parts of all regressions.
            rows, intercept = model._joined
            quality = multiply(np.concatenate(views, axis=1), rows)
            quality += intercept
            return PairEstimates(quality, trust, model.means), first
        outputs = np.empty(
            (len(views), len(X), *model._intercepts.shape[2:]), scaled.dtype
        )
        for fit, view, output in zip(model.fits, views, outputs, strict=True):
            multiply(view, fit.rows, output.reshape(len(X), len(fit.rows)))
        outputs += model._intercepts
        return model.combine_outputs(outputs, trust), first

    @cached_property
    def _intercepts(self) -> np.ndarray:
        """Those of the regressions, (n_views, 1, n_models, n_shown + 1)."""
        return np.stack([fit.intercept[None] for fit in self.fits])

    @cached_property
    def _joined(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (n_models, n_features) of all views as one, and intercepts."""
        rows = np.concatenate([fit.rows for fit in self.fits], axis=1)
        return rows, add_weighted_parts(self._intercepts, self.means)[0]

    @property
    def _n_shown(self) -> int:
        """Strengths that are kept: for a ranker, the best for caution, or none."""
        return self.fits[0].intercept.shape[1] - 1

    def cast_to(self, dtype: Any) -> QualityModel:
        """Return a model that is computed in another floating-point type."""
        return replace(
            self,
            views=self.views.cast_to(dtype),
            fits=[fit.cast_to(dtype) for fit in self.fits],
            common=[fit.cast_to(dtype) for fit in self.common],
        )

    @property
    def dtype(self) -> Any:
        """Floating-point type of what queries are estimated with."""
        return self.fits[0].coef.dtype

    @cached_property
    def _float32(self) -> QualityModel:
        """The same model in single precision."""
        return replace(self.cast_to(np.float32), means=self.means.astype(np.float32))

    def combine_outputs(self, outputs: np.ndarray, trust: np.ndarray) -> PairEstimates:
        """Combine the outputs of all regressions, as in `PairEstimates`."""
        quality = add_weighted_parts(outputs, self.means)
        return PairEstimates(quality, trust, self.means, outputs)

    def with_model(
        self,
        scaled: np.ndarray,
        quality: np.ndarray,
        fold: np.ndarray,
        options: Options = OPTIONS,
    ) -> tuple[QualityModel, PairEstimates]:
        """Add a model, as the last one, from its outcomes on scaled queries.

        It gets the same regressions, on the same views. What the pool has in common is
        expected of the new model too, and only its difference from that is regressed.
        With few outcomes it is therefore like the average model, better or worse by
        about as much on every query. The estimates are of these queries, for the new
        model out of fold.
        """
        trust, seen = self.views.transform(scaled)
        expected = [
            Phi @ common.coef + common.intercept
            for Phi, common in zip(seen, self.common, strict=True)
        ]
        # The level of each query, as the regressions of the pool expect it.
        level = sum(e @ w for e, w in zip(expected, self.weights[0], strict=True))
        apart = quality - level
        apart = apart[np.isfinite(apart)]
        sums = np.array([len(apart), apart.sum(), apart @ apart])
        centre, mean = _estimate_newcomer_mean(sums, self.means)
        bases, n_strengths = self.views.compute_bases(), len(options.offsets)
        # Output s has the target of strength s, so of its fits only that at s counts.
        own = np.arange(n_strengths)
        shown = self._find_shown(options)
        fits, outputs = [], []
        for view, (Phi, old, common) in enumerate(
            zip(seen, self.fits, self.common, strict=True)
        ):
            # One target per strength: what the pool's regression at it leaves over.
            fit, apart, _ = fit_ridge(
                Phi,
                (quality - centre)[:, None] - expected[view],
                fold,
                scale=np.ones(n_strengths),
                offsets=options.offsets,
                position=self.strengths[view],
                basis=bases[view],
            )
            how = self.weights[:, view], shown
            coef = append_newcomer_part(fit.coef[:, own, own], common.coef, *how)
            intercept = append_newcomer_part(
                fit.intercept[own, own], common.intercept, *how, mean
            )
            column = append_newcomer_part(
                apart[:, own, own], expected[view], *how, mean
            )
            fits.append(old.with_outputs(RidgeFit(coef[:, None], intercept[None])))
            outputs.append(np.concatenate([old.predict(Phi), column[:, None]], axis=1))
        grown = replace(self, means=np.append(self.means, mean), fits=fits)
        return grown, grown.combine_outputs(np.stack(outputs), trust)

    def learn(
        self,
        learned: LearnedQuality,
        columns: np.ndarray,
        options: Options = OPTIONS,
    ) -> QualityModel:
        """Return the model of what was learned since, of those in these `columns`.

        The views, the strengths and the weights of the regressions stay.
        """
        shown = self._find_shown(options)
        n_fitted, every = len(learned.sharing), learned.means
        means = every[:n_fitted]
        fitted = [path.take_outputs(np.arange(n_fitted)) for path in learned.paths]
        fits = _combine_fits(fitted, self.weights, shown, means, learned.sharing)
        for model, newcomer in enumerate(learned.newcomers, n_fitted):
            centre, mean = _estimate_newcomer_mean(newcomer.apart, means)
            every[model] = mean
            for view, (fit, path, prior) in enumerate(
                zip(fits, learned.paths, newcomer.priors, strict=True)
            ):
                how = self.weights[:, view], shown
                own = path.coef[:, model] - prior.coef
                coef = append_newcomer_part(own, prior.coef, *how)
                level = path.intercept[model] - centre - prior.intercept
                level = append_newcomer_part(level, prior.intercept, *how, mean)
                fits[view] = fit.with_outputs(RidgeFit(coef[:, None], level[None]))
        return replace(
            self,
            means=every[columns],
            fits=[fit.take_outputs(columns).cast_to(self.dtype) for fit in fits],
            common=[_average_pool(fit, means).cast_to(self.dtype) for fit in fitted],
        )

    def find_strengths(self, options: Options = OPTIONS) -> list[np.ndarray]:
        """Penalties (n_strengths,) of the regression on each view."""
        return [
            ALPHAS[np.clip(best + np.array(options.offsets), 0, len(ALPHAS) - 1)]
            for best in self.strengths
        ]

    def _find_shown(self, options: Options) -> slice:
        """Strengths that are kept beside the weighted part."""
        return {0: slice(0), 1: options.best}.get(self._n_shown, options.shown)

    def without_features(self, *, opinions: bool) -> QualityModel:
        """Drop what only a ranker sees, and `opinions` unless they are asked for.

        The estimates stay.
        """
        kept = [self._n_shown // 2, -1] if opinions else [-1]
        return replace(self, fits=[fit.keep_strengths(kept) for fit in self.fits])

    def without_model(self, position: int) -> QualityModel:
        """Leave a model out; the estimates of the others stay."""
        return replace(
            self,
            means=np.delete(self.means, position),
            fits=[fit.without_output(position) for fit in self.fits],
        )


def _measure_spread(opinions: np.ndarray, reference: int) -> np.ndarray:
    """Standard deviation over the first axis of the lead over one model."""
    lead = opinions - opinions[..., reference, None]
    # np.std takes several times as long on the few numbers of a query.
    apart = lead - np.add.reduce(lead, axis=0) / len(lead)
    apart *= apart
    variance: np.ndarray = np.add.reduce(apart, axis=0) / len(opinions)
    return np.sqrt(variance, out=variance)


def _average_pool(fit: RidgeFit, means: np.ndarray) -> RidgeFit:
    """What the models of a pool have in common, as deviation from their means."""
    return RidgeFit(
        fit.coef.mean(axis=1), (fit.intercept - means[:, None]).mean(axis=0)
    )


def _combine_fits(
    fits: list[RidgeFit],
    weights: np.ndarray,
    shown: slice,
    means: np.ndarray,
    sharing: np.ndarray,
) -> list[RidgeFit]:
    """Give each regression one more output, behind those of its strengths.

    It is their weighted sum, shared among models, so serving need not weigh anything.
    """
    return [
        RidgeFit(
            append_weighted_part(fit.coef, weights[:, view], shown, sharing=sharing),
            append_weighted_part(
                fit.intercept, weights[:, view], shown, means, sharing
            ),
        )
        for view, fit in enumerate(fits)
    ]


def _estimate_newcomer_mean(sums: np.ndarray, means: np.ndarray) -> tuple[float, float]:
    """Mean of a new model, as observed, and shrunk to that of the pool.

    The sums are of its qualities less the level of the query, as in `Newcomer`. The two
    means differ by more the fewer outcomes there are, and the more alike the models of
    the pool are.
    """
    mass, total, squares = (float(value) for value in sums)
    observed, centre = total / mass, float(means.mean())
    # Of a few outcomes, which may all be alike, the variance is not known: the largest
    # that the means of the pool allow counts as that of some more.
    widest = float((means * (1.0 - means)).mean())
    spread = max(squares - mass * observed**2, 0.0) + _FIRST * widest
    noise = spread / (mass + _FIRST) / mass
    between = max(float(means.var()), _LEAST_SPREAD**2)
    # The classical shrinkage of one mean among many.
    reliable = between / (between + noise)
    return observed, centre + reliable * (observed - centre)

"""The fitted router: one frozen object, from embeddings to expected quality and cost.

Inside, models stand in a canonical order and qualities between 0 and 1. Whatever a
ranking router serves, and whatever it learns from its training queries, goes through
`FittedRouter.compose`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from skroute._compute.cached import SavesFields
from skroute._estimate.blending import blend_rank_scores, log_odds
from skroute._estimate.canonical import Canonical
from skroute._estimate.cost import CostModel
from skroute._estimate.options import OPTIONS, Options
from skroute._estimate.quality import HeldOutPairs, PairEstimates, QualityModel
from skroute._estimate.trust import shrink_to_mean
from skroute._estimate.updating import Learned, NewOutcomes, Seen, Shifts
from skroute._table.duplicates import average_duplicates, find_duplicates
from skroute._table.folds import draw_folds

__all__ = ["FittedRouter", "compose_out_of_fold"]

Estimates = tuple[np.ndarray, np.ndarray]
#: What `FittedRouter.compose` puts together.
Parts = tuple[PairEstimates, np.ndarray | None, np.ndarray]


class ScoresPairs(Protocol):
    """A ranker: corrections (n_queries, n_models) from features of pairs."""

    def predict(self, features: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class FittedRouter(SavesFields):
    """All that a ranking router estimates with; it is swapped in as a whole."""

    canonical: Canonical
    quality: QualityModel
    cost: CostModel
    # Corrects the order of the models; ``None`` where it has not shown to help. It
    # knows a model only by its estimates, so it serves any pool.
    ranker: ScoresPairs | None = None
    rank_weight: float = 0.0  # its share in the differences between models
    # How many standard deviations over the regressions are taken off what a model is
    # better than the best on average.
    caution: float = 0.0
    # What other outcomes join; ``None`` where the router does not learn on.
    learned: Learned | None = None

    def estimate(self, X: np.ndarray) -> Estimates:
        """Expected quality and cost of every model, (n_queries, n_models) each."""
        pairs, view = self.quality.predict(X)
        return self.compose(pairs, self._score_pairs(pairs), self.cost.predict(view))

    def compose(
        self,
        pairs: PairEstimates | HeldOutPairs,
        scores: np.ndarray | None,
        cost: np.ndarray,
    ) -> Estimates:
        """Put estimates together, in the caller's order and unit.

        `scores` are the ranker's, ``None`` without one, and `cost` is in the canonical
        order. Far from the training queries, the means of the models count.
        """
        quality = pairs.quality
        if scores is not None:
            # The level stays that of the regressions; the ranker changes differences
            # only.
            quality = blend_rank_scores(quality, scores, self.rank_weight)
        quality, cost = self.canonical.from_canonical(
            shrink_to_mean(self.quality.means, quality, pairs.trust),
            shrink_to_mean(self.cost.prices, cost, pairs.trust),
        )
        if self.caution:
            quality -= self.caution * self.measure_doubt(pairs)
        return quality, cost

    def measure_doubt(self, pairs: PairEstimates | HeldOutPairs) -> np.ndarray:
        """Measure how far the regressions disagree, in the caller's order and unit.

        What they disagree about is how much better a model is than the best on average,
        which is what would be called without estimates. Where means count, far from the
        training queries, there is no doubt in them.
        """
        best = int(self.quality.means.argmax())
        doubt = pairs.measure_disagreement(best).take(self.canonical.place, axis=1)
        return self.canonical.extent * pairs.trust[:, None] * doubt

    @property
    def calibrated(self) -> FittedRouter:
        """The same router without caution: its qualities are right on average."""
        return replace(self, caution=0.0) if self.caution else self

    @cached_property
    def averages(self) -> Estimates:
        """Estimates (n_models,) of a query far from all training queries."""
        quality, cost = self.canonical.from_canonical(
            self.quality.means[None], self.cost.prices[None]
        )
        return quality[0], cost[0]

    def with_model(
        self,
        X: np.ndarray,
        y: np.ndarray,
        costs: np.ndarray | float,
        n_folds: int,
        options: Options = OPTIONS,
    ) -> tuple[FittedRouter, Parts]:
        """Add a model, as the last one; also the parts of all estimates on X.

        Those of the new model are out of fold.

        `y` are its outcomes (n_queries,), ``NaN`` where unknown, and `costs` its price,
        or what its calls have cost.
        """
        price = float(np.nanmean(costs))
        # The folds are drawn anew: these need not be the training queries.
        duplicates = find_duplicates(X)
        fold = draw_folds(duplicates, n_folds, random_state=0)
        scaled_y = self.canonical.to_unit(y)
        # One price is not a cost per call, and needs no regression.
        paid = None if np.ndim(costs) == 0 else np.asarray(costs)[:, None]
        once, paid, _ = average_duplicates(scaled_y[:, None], paid, None, duplicates)
        # Sums are taken in double precision, whatever queries are estimated in.
        quality = self.quality.cast_to(np.float64)
        common = quality.common
        scaled = quality.views.scale_queries(X)
        first = quality.views.take_first_view(scaled)
        quality, pairs = quality.with_model(scaled, once[:, 0], fold, options)
        quality = quality.cast_to(self.quality.dtype)
        cost, held_out_cost, learned_cost = self.cost.with_model(
            first,
            price if paid is None else paid[:, 0],
            price,
            fold,
        )
        learned = self.learned
        if learned is not None:
            seen, _ = self._see(X, options)
            learned = learned.join(seen, once[:, 0], common, learned_cost)
        # The range of qualities may widen, but the unit stays: others need no new fit.
        canonical = self.canonical.with_model(scaled_y)
        grown = replace(
            self, canonical=canonical, quality=quality, cost=cost, learned=learned
        )
        return grown, (pairs, grown._score_pairs(pairs), held_out_cost)

    def with_prices(self, prices: np.ndarray) -> FittedRouter:
        """Take other prices, (n_models,) in the caller's order, for any query."""
        cost = CostModel.from_prices(prices[self.canonical.order])
        return replace(self, cost=cost)

    def rescale_costs(self, factor: np.ndarray) -> FittedRouter:
        """Multiply the costs of each model, (n_models,) in the caller's order."""
        factor = factor[self.canonical.order]
        learned = self.learned and self.learned.rescale_costs(factor)
        return replace(self, cost=self.cost.rescale(factor), learned=learned)

    def without_model(self, position: int) -> FittedRouter:
        """Leave out a model, given by its position in ``models_``."""
        # Models are removed by their place in the canonical order.
        inside = int(self.canonical.place[position])
        return replace(
            self,
            canonical=self.canonical.without_model(position),
            quality=self.quality.without_model(inside),
            cost=self.cost.without_model(inside),
            learned=self.learned and self.learned.drop(inside),
        )

    def update(
        self,
        X: np.ndarray,
        y: np.ndarray,
        costs: np.ndarray | None,
        weight: np.ndarray | None,
        forget_after: float,
        options: Options = OPTIONS,
    ) -> tuple[FittedRouter, Shifts]:
        """Learn new outcomes (n_queries, n_models), ``NaN`` where unknown.

        Also gives the models that are not what they were, in the caller's order and
        unit. Views, strengths, weights of the regressions, ranker and caution stay.
        """
        assert self.learned is not None
        order = self.canonical.order
        quality = self.canonical.to_canonical(y)
        seen, trust = self._see(X, options)
        expected, _ = self.calibrated.estimate(X)
        new = NewOutcomes(
            quality,
            None if costs is None else costs[:, order],
            None if weight is None else weight[:, order],
            self.canonical.to_canonical(expected),
            trust == 1.0,
        )
        learned, shifts = self.learned.update(seen, new, forget_after)
        cost = self.cost
        if learned.cost is not None and costs is not None:
            cost = CostModel.from_learned(learned.cost, learned.columns)
        updated = replace(
            self,
            canonical=self.canonical.widen(quality),
            quality=self.quality.learn(learned.quality, learned.columns, options),
            cost=cost,
            learned=learned,
        )
        place, extent = self.canonical.place, self.canonical.extent
        return updated, Shifts(shifts.quality[place] * extent, shifts.cost[place])

    def _see(self, X: np.ndarray, options: Options) -> tuple[Seen, np.ndarray]:
        """What the regressions see of queries, in double precision; also the trust."""
        views, bases = self.quality.views.in_double
        scaled = views.scale_queries(X)
        trust, seen = views.transform(scaled)
        first = views.take_first_view(scaled)
        weights, strengths = self.quality.weights, self.quality.find_strengths(options)
        return Seen(seen, first, weights, strengths, bases), trust

    def _score_pairs(self, pairs: PairEstimates) -> np.ndarray | None:
        """Rank scores: those of the regressions, corrected by the ranker."""
        if self.ranker is None:
            return None
        return log_odds(pairs.quality) + self.ranker.predict(pairs.build_features())


def compose_out_of_fold(
    fitted: FittedRouter,
    pairs: HeldOutPairs,
    held_out_scores: np.ndarray | None,
    held_out_cost: np.ndarray | None,
) -> np.ndarray:
    """Put out-of-fold qualities together, then costs; without any, fixed prices."""
    if held_out_cost is None:
        held_out_cost = np.tile(fitted.cost.prices, (len(pairs.quality), 1))
    return np.hstack(fitted.compose(pairs, held_out_scores, held_out_cost))

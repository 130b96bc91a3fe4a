"""What a router remembers of its training queries: the trade-off they offer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from skroute._compute.cached import SavesFields
from skroute._compute.chunks import sample_evenly
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._decide.compensate import Kept, settle_with_draws
from skroute._decide.engine import Averages, Settled, settle
from skroute._decide.extra import SettledExtras, gather_training, settle_extras
from skroute._decide.extra_estimates import ExtraEstimates, GivenExtras
from skroute._decide.fallbacks import Decisions
from skroute._decide.known import KnownQueries
from skroute._decide.price_path import PricePath, ShadowPrice
from skroute._decide.rule import Rule
from skroute._table.averages import (
    count_rows_per_mass,
    doubly_robust,
    sum_known,
    weigh_outcomes,
)

# Training queries that are kept, for rules that leave some models out. With many models
# they would be most of a router's file, so there are fewer of them.
_N_KEPT = 4096
_LEAST_KEPT = 512
_MOST_PAIRS = 2**16
# Paths that are kept, one for each set of models whose costs are known.
_MOST_PATHS = 32
# Queries whose steps make the levels of a path, where the table is on a cluster.
_N_WALKED = 16384


@dataclass(frozen=True)
class TrainingTradeOff(SavesFields):
    """Mean spend and quality of the training queries, to find prices on."""

    #: Mean spend and quality at every price, of all training queries.
    path: PricePath
    #: Model of the highest mean quality, ties to the cheaper, and that quality.
    best_single: int
    best_single_quality: float
    #: For at most 4,096 queries at even distances, fewer with more than 16 models:
    #: estimated quality and cost, doubly robust quality, and true cost. Where a cap or
    #: a tolerance leaves models out, the path is computed again on these.
    kept: tuple[np.ndarray, ...]
    #: Which of these are not independent, (n_kept,): duplicates and groups have one
    #: number. None in files that do not say it; then nothing can be promised.
    unit: np.ndarray | None = None
    #: Queries that one quality of a model stands for, at most, (n_models,).
    stands_for: np.ndarray | None = None
    #: Lowest and highest observed quality.
    quality_range: tuple[float, float] = (-np.inf, np.inf)
    #: As `kept`, with the estimates on which quality is judged; None if they are equal.
    judged: tuple[np.ndarray, ...] | None = None
    #: What was learned of extra costs; None where it was nothing. What is learned on,
    #: and other pools, know nothing of them.
    extra: ExtraEstimates | None = None

    @classmethod
    def from_estimates(
        cls,
        quality: np.ndarray,
        cost: np.ndarray,
        true_quality: np.ndarray | None = None,
        true_cost: np.ndarray | None = None,
        unit: np.ndarray | None = None,
    ) -> TrainingTradeOff:
        """Remember estimates, and the outcomes as far as they are known.

        `unit` (n_queries,) numbers the queries, those alike that are not independent;
        without it nothing can be promised.
        """
        return cls.from_columns(
            np.hstack([quality, cost]),
            quality if true_quality is None else true_quality,
            cost if true_cost is None else true_cost,
            unit=unit,
        )

    @classmethod
    def from_columns(
        cls,
        estimates: Any,
        true_quality: Any,
        true_cost: Any,
        weight: Any = None,
        executor: Executor = IN_MEMORY,
        estimates_for_quality: Any = None,
        unit: np.ndarray | None = None,
    ) -> TrainingTradeOff:
        """Remember estimates, and the outcomes as far as they are known.

        `estimates`, (n_queries, 2 * n_models), are qualities, then costs; the truth,
        (n_queries, n_models), is ``NaN`` where unknown. The quality at a price is
        judged on `estimates_for_quality`, if given, and the spend on `estimates`. On a
        cluster (`executor`) all are handles of columns, and the path has the prices at
        which a sample of the queries steps.
        """
        n_queries = executor.count(estimates)
        sums = executor.get(executor.total(sum_known, true_quality, weight))
        # How many queries one observed outcome stands for.
        per_mass = count_rows_per_mass(sums[1], n_queries)

        def correct(estimates: Any) -> Any:
            return executor.map(_correct, true_quality, estimates, weight, per_mass)

        known = estimates, correct(estimates), true_cost

        def sample_known(
            most: int, known: tuple[Any, ...] = known
        ) -> tuple[np.ndarray, ...]:
            kept = sample_evenly(n_queries, most)
            some, *truth = (executor.take(column, kept) for column in known)
            return (*np.hsplit(some, 2), *truth)

        # On a cluster the levels come from a sample, and their sums from all queries.
        everything = executor is IN_MEMORY
        some = sample_known(n_queries if everything else _N_WALKED)
        path = PricePath.from_estimates(*some)
        if not everything:
            path = path.sum_over(*known, executor)
        n_kept = max(_LEAST_KEPT, min(_N_KEPT, _MOST_PAIRS // len(sums[0])))
        kept_judged = None
        if (judged := estimates_for_quality) is not None:
            judgement = path.sum_over(judged, correct(judged), true_cost, executor)
            path = replace(path, quality=judgement.quality)
            kept_judged = sample_known(n_kept, (judged, correct(judged), true_cost))
        # The last two are the ends of the range of qualities, the lower one negative.
        most = executor.get(
            executor.total(
                _find_most, true_quality, weight, per_mass, combine=np.maximum
            )
        )
        return cls(
            path,
            *path.best_single(),
            sample_known(n_kept),
            None
            if unit is None
            else unit[sample_evenly(n_queries, n_kept)].astype(np.int32),
            most[:-2],
            (-float(most[-2]), float(most[-1])),
            kept_judged,
        )

    def take_models(self, models: list[int]) -> TrainingTradeOff:
        """Leave out all models but these; the path is that of the kept queries."""
        kept = tuple(table[:, models] for table in self.kept)
        made = TrainingTradeOff.from_estimates(*kept)
        return replace(
            made,
            unit=self.unit,
            stands_for=None if self.stands_for is None else self.stands_for[models],
            quality_range=self.quality_range,
            judged=self.judged and tuple(table[:, models] for table in self.judged),
        )

    def follow(
        self,
        expected: tuple[np.ndarray, np.ndarray],
        shifts: tuple[np.ndarray, np.ndarray],
        true_quality: np.ndarray,
        true_cost: np.ndarray | None,
    ) -> TrainingTradeOff:
        """Follow the traffic: recent queries take the place of the oldest.

        `expected` are their estimates (n_queries, n_models), quality and cost, from
        before their outcomes were learned, so they are not tuned on known answers.
        Where a model is not what it was, `shifts` are what is added to its quality and
        what its cost is multiplied by, (n_models,), for all queries. Outcomes count
        where they are known, and nothing is promised any longer.
        """
        level, factor = shifts
        quality, cost = expected[0] + level, expected[1] * factor
        truth = np.where(np.isfinite(true_quality), true_quality, quality)
        paid = cost
        if true_cost is not None:
            paid = np.where(np.isfinite(true_cost), true_cost, cost)
        # What the calls of long ago cost is not known where it was not observed.
        moved = (
            self.kept[0] + level,
            self.kept[1] * factor,
            self.kept[2] + level,
            self.kept[3] * factor,
        )
        n_kept = max(_LEAST_KEPT, min(_N_KEPT, _MOST_PAIRS // len(level)))
        kept = tuple(
            np.concatenate([old, new])[-n_kept:]
            for old, new in zip(moved, (quality, cost, truth, paid), strict=True)
        )
        path = PricePath.from_estimates(*kept)
        return TrainingTradeOff(
            path, *path.best_single(), kept, quality_range=self.quality_range
        )

    def change_costs(
        self, factor: np.ndarray, prices: np.ndarray | None = None
    ) -> TrainingTradeOff:
        """Multiply the costs of each model, (n_models,), or take these `prices`.

        Unless all are multiplied alike, the path is that of the kept queries.
        """

        def change(table: np.ndarray) -> np.ndarray:
            if prices is None:
                return table * factor
            # A price that is NaN does not change.
            return np.where(np.isnan(prices), table, prices)

        def change_all(tables: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            return tables[0], change(tables[1]), tables[2], change(tables[3])

        kept, judged = change_all(self.kept), None
        path = PricePath.from_estimates(*kept)
        if self.judged is not None:
            judged = change_all(self.judged)
            estimates, (gained, spent) = np.hstack(judged[:2]), judged[2:]
            judgement = path.sum_over(estimates, gained, spent, IN_MEMORY)
            path = replace(path, quality=judgement.quality)
        if prices is None and (factor == factor[0]).all() and factor[0] > 0:
            unit, singles = factor[0], self.path.single_cost
            path = replace(
                self.path,
                price=self.path.price / unit,
                cost=self.path.cost * unit,
                single_cost=None if singles is None else singles * unit,
            )
        best, quality = path.best_single()
        return replace(
            self,
            path=path,
            best_single=best,
            best_single_quality=quality,
            kept=kept,
            judged=judged,
            extra=self.extra and self.extra.change_costs(factor, prices),
        )

    def learn_extra(
        self, Z: np.ndarray, given: GivenExtras, models: np.ndarray
    ) -> TrainingTradeOff:
        """Learn extra costs of the queries, from their estimates held out."""
        if not given.tables:
            return self
        extra = ExtraEstimates.learn(Z, given, models, len(self.kept[0]))
        return replace(self, extra=extra)

    def settle_extras(
        self,
        rule: Rule,
        *,
        may_call_single: bool = True,
        known: np.ndarray | None = None,
        given: GivenExtras | None = None,
        is_call: bool = False,
    ) -> SettledExtras:
        """Find the prices of a rule with extra costs, given what a call says of them.

        Where `is_call`, the queries of this trade-off are those of the call.
        """
        if rule.confidence is not None or rule.explore:
            rule.check()
        asked = (
            may_call_single,
            None if known is None else known.tobytes(),
            given and given.describe(),
        )
        last: tuple[SettledExtras, Any, Rule] | None = vars(self).get("_last_extras")
        if not is_call and last and last[1] == asked and last[2].is_same(rule):
            return replace(last[0], given=given)
        training = gather_training(
            rule, self.kept, self._find_costs(known), self.extra, given, is_call
        )
        settled = settle_extras(
            rule, training, self.extra, self.best_single_quality, may_call_single
        )
        vars(self)["_last_extras"] = settled, asked, rule
        return replace(settled, given=given)

    def settle(
        self,
        rule: Rule,
        *,
        may_call_single: bool = True,
        averages: Averages | None = None,
        known: np.ndarray | None = None,
    ) -> Settled:
        """Find the price of a rule.

        `may_call_single` lets a single model answer all queries where that is better
        than routing. `known` (n_models,) are the models whose costs are known when
        queries are decided. Most requests ask what the last one asked, so its answer is
        kept.
        """
        asked = may_call_single, None if known is None else known.tobytes()
        last: tuple[Settled, Any, Rule] | None = vars(self).get("_last")
        if (
            last is not None
            and last[1] == asked
            and last[0].averages is averages
            and last[2].is_same(rule)
        ):
            return last[0]
        path = self._find_path(rule, known)
        if not may_call_single:
            path = path.without_singles()
        tested = None if rule.confidence is None else self._find_tested()
        find = partial(
            settle,
            path=path,
            best_single_quality=self.best_single_quality,
            averages=averages,
            known=tested,
        )
        if rule.explore:
            kept = self._find_kept(known)
            best = self.best_single_quality
            settled = settle_with_draws(rule, find, path, kept, best)
        else:
            settled = find(rule)
        # One step of the interpreter: no thread sees a half of it.
        vars(self)["_last"] = settled, asked, rule
        return settled

    def correct_optimism(
        self, quality: np.ndarray, settled: Settled, decisions: Decisions
    ) -> np.ndarray:
        """Correct estimates by what those of the models called are wrong by on average.

        The largest of several estimates is often too large, the more so the more models
        there are, and a cautious one is too low. The means of the models, which queries
        far from the training data get, are neither.
        """
        if not len(quality):
            return quality
        price = float(np.median(decisions.shadow_price))
        excess = self._measure_excess(ShadowPrice(price, single=settled.price.single))
        near = np.ones((len(quality), 1))
        near[settled.find_far_rows(quality)] = 0.0
        # Estimates are within what was seen: those of the models decided on stay there,
        # together, so that what parts them stays as it is.
        shown = np.take_along_axis(quality, decisions.choice, axis=1)
        shown = np.where(decisions.choice < 0, shown[:, :1], shown)
        both = quality, self.kept[0]
        low, high = min(q.min() for q in both), max(q.max() for q in both)
        most = shown.min(axis=1, keepdims=True) - low
        least = shown.max(axis=1, keepdims=True) - high
        corrected: np.ndarray = quality - np.clip(excess * near, least, most)
        return corrected

    def _measure_excess(self, price: ShadowPrice) -> float:
        """Mean estimate of the models called at a price, less what they were worth.

        It is that of the training queries that are kept, shrunk by its own noise, as
        James and Stein do with means: all of it within one standard error, a ninth of
        it at three.
        """
        quality, cost, true_quality, _ = self.kept
        settled = Settled(Rule(), price, None, self.path, self.best_single_quality)
        choice = settled.decide(quality, cost).choice
        excess = np.take_along_axis(quality - true_quality, choice, axis=1)
        # Squares of the largest qualities would overflow.
        unit = float(np.abs(excess).max()) or 1.0
        excess = excess / unit
        mean, error = float(excess.mean()), float(excess.std()) / np.sqrt(len(excess))
        kept = 1.0 - (error / mean) ** 2 if abs(mean) > error else 0.0
        return mean * kept * unit

    def _find_tested(self) -> KnownQueries | None:
        """Give the kept queries, to test decisions on."""
        if self.unit is None or self.stands_for is None:
            return None
        estimates, cost, quality, spent = self.judged or self.kept
        return KnownQueries(
            estimates.astype(np.float64),
            cost.astype(np.float64),
            quality,
            spent,
            self.unit,
            self.stands_for,
            self.quality_range,
            self.best_single,
        )

    def _find_path(self, rule: Rule, known: np.ndarray | None) -> PricePath:
        """Give the path of all models, or another if the rule leaves some out.

        Where costs are known, decisions follow them, and so spend and gain otherwise at
        the same price.
        """
        # What is promised was tested without.
        follows = known is not None and rule.confidence is None and self._has_bills
        if not rule.is_met_on_average or not (follows or rule.restricts_candidates):
            return self.path
        if not follows or known is None:
            return self._walk(self.kept[1], rule)
        paths: dict[Any, PricePath] = vars(self).setdefault("_paths", {})
        key = known.tobytes()
        path = None if rule.restricts_candidates else paths.get(key)
        if path is None:
            path = self._walk(self._find_costs(known), rule)
            if not rule.restricts_candidates and len(paths) < _MOST_PATHS:
                paths[key] = path
        return path

    def _find_kept(self, known: np.ndarray | None) -> Kept:
        """Give the kept queries, to measure draws on."""
        quality, expected, gained, bill = self.kept
        spent = np.where(np.isnan(bill), expected, bill)
        return Kept(quality, self._find_costs(known), gained, spent)

    def _find_costs(self, known: np.ndarray | None) -> np.ndarray:
        """Find the costs by which the kept queries are decided."""
        cost, bill = self.kept[1], self.kept[3]
        if known is None:
            return cost
        return np.where(known & np.isfinite(bill), bill, cost)

    def _walk(self, cost: np.ndarray, rule: Rule) -> PricePath:
        """Walk the price on the kept queries, with these costs of their models."""
        quality, _, *truth = self.kept
        allowed = None
        if rule.restricts_candidates:
            allowed = rule.find_candidates(quality, cost)
        path = PricePath.from_estimates(quality, cost, *truth, allowed=allowed)
        if self.path.single_quality is None:
            return path.without_singles()
        return path.without_singles(np.isneginf(self.path.single_quality))

    @cached_property
    def _has_bills(self) -> bool:
        """Whether any bill of the kept queries is not what was expected."""
        _, cost, _, bill = self.kept
        return not np.array_equal(np.where(np.isnan(bill), cost, bill), cost)


def _find_most(
    truth: np.ndarray, weight: np.ndarray | None, per_mass: np.ndarray
) -> np.ndarray:
    """Find how many rows an outcome stands for, and the range of outcomes.

    Returns the largest number of each model, then the lowest outcome times -1, and the
    highest.
    """
    mass = weigh_outcomes(truth, weight)
    ends = [np.where(mass > 0, sign * truth, -np.inf).max() for sign in (-1, 1)]
    return np.r_[(mass * per_mass).max(axis=0), ends]


def _correct(
    truth: np.ndarray,
    estimates: np.ndarray,
    weight: np.ndarray | None,
    per_mass: np.ndarray,
) -> np.ndarray:
    """Find the doubly robust quality of each call, (n_queries, n_models)."""
    return doubly_robust(truth, np.hsplit(estimates, 2)[0], weight, per_mass)

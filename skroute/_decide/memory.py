"""What a router remembers of its training queries: the trade-off they offer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skroute._compute.cached import SavesFields
from skroute._compute.chunks import sample_evenly
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._decide.engine import Settled, settle
from skroute._decide.far import Averages
from skroute._decide.price_path import PricePath
from skroute._decide.rule import Rule
from skroute._table.averages import doubly_robust, rows_per_mass, weighted_sums

__all__ = ["TrainingTradeOff"]

# Training queries that are kept, for rules that leave some models out.
_N_KEPT = 4096
# Queries whose steps make the levels of a path, where the table is on a cluster.
_N_WALKED = 16384


@dataclass(frozen=True)
class TrainingTradeOff(SavesFields):
    """Mean spend and quality of the training queries, to find prices on.

    Attributes
    ----------
    path : PricePath
        Mean spend and quality at every price, of all training queries.
    best_single : int
        Index of the model of the highest mean quality, ties to the cheaper.
    best_single_quality : float
        Its mean quality.
    kept : tuple of ndarray
        For at most 4,096 queries at even distances: estimated quality and cost, doubly
        robust quality, and true cost. Where a cap or a tolerance leaves models out, the
        path is computed again on these.
    """

    path: PricePath
    best_single: int
    best_single_quality: float
    kept: tuple[np.ndarray, ...]

    @classmethod
    def from_estimates(
        cls,
        quality: np.ndarray,
        cost: np.ndarray,
        true_quality: np.ndarray | None = None,
        true_cost: np.ndarray | None = None,
        weight: np.ndarray | None = None,
    ) -> TrainingTradeOff:
        """Remember estimates, and the outcomes as far as they are known."""
        true_quality = quality if true_quality is None else true_quality
        true_cost = cost if true_cost is None else true_cost
        return cls.from_columns(
            np.hstack([quality, cost]), true_quality, true_cost, weight
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
    ) -> TrainingTradeOff:
        """Remember estimates, and the outcomes as far as they are known.

        Parameters
        ----------
        estimates : ndarray of shape (n_queries, 2 * n_models)
            Estimated qualities, then costs.
        true_quality, true_cost : ndarray of shape (n_queries, n_models)
            What is known of the truth, ``NaN`` elsewhere.
        weight : ndarray of shape (n_queries, n_models), default=None
            Weight of every outcome.
        executor : Executor, default=IN_MEMORY
            Where the queries are. On a cluster the arrays are handles of columns, and
            the path has the prices at which a sample of the queries steps.
        estimates_for_quality : ndarray of shape (n_queries, 2 * n_models), default=None
            Estimates on which the quality at a price is judged; by default `estimates`,
            on which the spend is.
        """
        n_queries = executor.count(estimates)
        sums = executor.get(executor.total(weighted_sums, true_quality, weight))
        # How many queries one observed outcome stands for.
        per_mass = rows_per_mass(sums[1], n_queries)
        counted = executor.map(_correct, true_quality, estimates, weight, per_mass)
        known = estimates, counted, true_cost

        def at_even_distances(most: int) -> tuple[np.ndarray, ...]:
            kept = sample_evenly(n_queries, most)
            some, *truth = (executor.take(column, kept) for column in known)
            return (*np.hsplit(some, 2), *truth)

        # On a cluster the levels come from a sample, and their sums from all queries.
        everything = executor is IN_MEMORY
        some = at_even_distances(n_queries if everything else _N_WALKED)
        path = PricePath.from_estimates(
            some[0], some[1], true_quality=some[2], true_cost=some[3]
        )
        if not everything:
            path = path.sum_over(*known, executor)
        if estimates_for_quality is not None:
            counted = executor.map(
                _correct, true_quality, estimates_for_quality, weight, per_mass
            )
            judgement = path.sum_over(
                estimates_for_quality, counted, true_cost, executor
            )
            path = replace(path, quality=judgement.quality)
        return cls(path, *path.best_single(), at_even_distances(_N_KEPT))

    def settle(
        self,
        rule: Rule,
        *,
        yields_to_single: bool = True,
        averages: Averages | None = None,
    ) -> Settled:
        """Find the price of a rule.

        `yields_to_single` lets a single model answer all queries where that is better
        than routing. Most requests ask what the last one asked, so its answer is kept.
        """
        last: tuple[Settled, bool] | None = vars(self).get("_last")
        if (
            last is not None
            and last[1] == yields_to_single
            and last[0].averages is averages
            and last[0].rule.is_same(rule)
        ):
            return last[0]
        settled = self._find_settled(rule, yields_to_single, averages)
        # One step of the interpreter: no thread sees a half of it.
        vars(self)["_last"] = settled, yields_to_single
        return settled

    def _find_settled(
        self, rule: Rule, yields_to_single: bool, averages: Averages | None
    ) -> Settled:
        path = self.path
        # The path is that of all models; among fewer it is another one.
        if rule.narrows and rule.needs_training_path:
            quality, cost, true_quality, true_cost = self.kept
            path = PricePath.from_estimates(
                quality,
                cost,
                allowed=rule.candidates(quality, cost),
                true_quality=true_quality,
                true_cost=true_cost,
            )
        if not yields_to_single:
            path = path.without_singles()
        return settle(rule, path, self.best_single_quality, averages)


def _correct(
    truth: np.ndarray,
    estimates: np.ndarray,
    weight: np.ndarray | None,
    per_mass: np.ndarray,
) -> np.ndarray:
    """Find the doubly robust quality of each call, (n_queries, n_models)."""
    return doubly_robust(truth, np.hsplit(estimates, 2)[0], weight, per_mass)

"""What a router remembers of its training queries, to settle rules on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skroute._compute.chunks import sample_evenly
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._decide.engine import Settled, settle
from skroute._decide.far import Averages
from skroute._decide.price_path import PricePath
from skroute._decide.rule import Rule
from skroute._table.averages import doubly_robust, rows_per_mass, weighted_sums

__all__ = ["TrainingTradeOff"]

# Training queries kept to settle a budget among fewer models than all.
_N_KEPT = 4096
# Queries at whose steps a path is drawn, where not all are in one place.
_N_WALKED = 16384


@dataclass(frozen=True)
class TrainingTradeOff:
    """What a router remembers of its training queries.

    Attributes
    ----------
    path : PricePath
        Mean spend and quality at every price, of all training queries.
    best_single : int
        Index of the model of the highest mean quality, ties to the cheaper.
    best_single_quality : float
        Its mean quality.
    kept : tuple of ndarray
        Estimated quality and cost, what calls count for in a mean quality, and true
        cost, of at most 4,096 queries at even distances; enough where a cap or a
        tolerance changes the path.
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
            Where the queries are. Elsewhere the arrays are handles of columns, and the
            prices of the path are those at which a sample of the queries steps.
        estimates_for_quality : ndarray of shape (n_queries, 2 * n_models), default=None
            Estimates whose decisions tell the quality at a price; ``None`` is
            `estimates`, whose decisions tell what is spent.
        """
        n_queries = executor.count(estimates)
        sums = executor.get(executor.total(weighted_sums, true_quality, weight))
        per_mass = rows_per_mass(sums[1], n_queries)
        counted = executor.map(_correct, true_quality, estimates, weight, per_mass)
        known = estimates, counted, true_cost

        def at_even_distances(most: int) -> tuple[np.ndarray, ...]:
            kept = sample_evenly(n_queries, most)
            some, *truth = (executor.take(column, kept) for column in known)
            return (*np.hsplit(some, 2), *truth)

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
        """Settle a rule; `yields_to_single` lets one model win over routing."""
        path = self.path
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
    """Count each call in a mean of qualities, (n_queries, n_models)."""
    return doubly_robust(truth, np.hsplit(estimates, 2)[0], weight, per_mass)

"""How a rule is met: find its shadow price, then decide queries at that price.

`settle` finds the price of a :class:`~skroute._decide.rule.Rule` once, on the trade-off
of training queries, and returns both as a :class:`Settled`. `Settled.decide` then
decides queries from their estimates. A decider does the first in `fit`, a router in
every call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from skroute._decide.fallbacks import Decisions, rank_fallbacks
from skroute._decide.far import Averages, choose_far_model, price_far_queries
from skroute._decide.knapsack import solve_batch
from skroute._decide.price_path import (
    PricePath,
    ShadowPrice,
    assign_shadow_prices,
    choose_each,
)
from skroute._decide.rule import Rule
from skroute.exceptions import InfeasibleBudgetError

__all__ = ["Settled", "settle"]


@dataclass(frozen=True)
class Settled:
    """A rule and the shadow price that meets it; decides queries.

    Attributes
    ----------
    rule : Rule
        What is asked.
    price : ShadowPrice
        The shadow price, or a mixture of two.
    target : float or None
        `min_quality` as a number.
    path : PricePath
        The trade-off on which the price was found.
    best_single_quality : float
        Mean quality of the best single model; ``NaN`` where unknown.
    averages : tuple of two ndarray of shape (n_models,), or None
        Estimates of quality and cost of all queries far from the training data.
    """

    rule: Rule
    price: ShadowPrice
    target: float | None
    path: PricePath
    best_single_quality: float
    averages: Averages | None = None

    def settle_again(self, rule: Rule) -> Settled:
        """Find the price of another rule on the same path, if that can answer it."""
        rule.check().check_same_candidates(self.rule)
        return settle(rule, self.path, self.best_single_quality, self.averages)

    @property
    def can_decide_in_parts(self) -> bool:
        """Whether `decide_in_parts` decides as `decide` does on all queries at once.

        Queries depend on each other where a batch is solved, or where a mixture of two
        prices is spread over all queries on which they disagree.
        """
        return self.rule.scope == "mean" and self.price.low is None

    def decide(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        available: np.ndarray | None = None,
        top_k: int = 1,
    ) -> Decisions:
        """Decide every query, and its fallbacks.

        Estimates are (n_queries, n_models); `available` is a mask of models, of
        shape (1 or n_queries, n_models).
        """
        if len(quality) == 0:
            return Decisions(np.empty((0, top_k), dtype=np.intp), np.empty(0))
        if available is None:
            available = np.ones((1, quality.shape[1]), dtype=bool)
        allowed = self.rule.candidates(quality, cost, available)
        price, choice = self.price, None
        if self.rule.scope == "batch":
            price, choice = self._solve_batch(quality, cost, allowed)
        shadow_prices = assign_shadow_prices(quality, cost, price, allowed)
        preferred = None
        if price.single is not None:
            # One model does better than routing, so it is called for all.
            preferred = np.full(len(quality), price.single)
        elif self.averages is not None and self.rule.needs_training_path:
            shadow_prices, preferred = self._decide_far_queries(
                self.averages, quality, cost, shadow_prices, allowed
            )
        if choice is None:
            choice = choose_each(quality, cost, shadow_prices, allowed)
        if preferred is not None:
            # A preferred model that is not allowed for a query is passed over.
            every = np.broadcast_to(allowed, quality.shape)
            may_be = (preferred >= 0) & every[np.arange(len(quality)), preferred]
            choice = np.where(may_be, preferred, choice)
        return rank_fallbacks(
            choice, shadow_prices, quality, cost, available, self.rule, top_k
        )

    def decide_in_parts(
        self, estimates: Iterable[tuple[np.ndarray, np.ndarray]], top_k: int
    ) -> np.ndarray:
        """Decide queries whose estimates come in parts; returns (n_queries, top_k).

        Far queries share a mean budget, so those of all parts are decided together at
        the end.
        """
        choices: list[np.ndarray] = []
        far_rows: list[np.ndarray] = []
        far_estimates: list[tuple[np.ndarray, np.ndarray]] = []
        start = 0
        for quality, cost in estimates:
            # Far queries are decided here too, and again below with those of other
            # parts.
            choices.append(self.decide(quality, cost, top_k=top_k).choice)
            if self.rule.has_mean_budget:
                far = self._find_far(quality)
                far_rows.append(start + far)
                far_estimates.append((quality[far], cost[far]))
            start += len(quality)
        choice = np.concatenate(choices)
        if sum(map(len, far_rows)):
            quality, cost = map(np.concatenate, zip(*far_estimates, strict=True))
            decided = self.decide(quality, cost, top_k=top_k)
            choice[np.concatenate(far_rows)] = decided.choice
        return choice

    def _find_far(self, quality: np.ndarray) -> np.ndarray:
        """Find the rows that are far from all training queries.

        A trust of 0 gives exactly the averages, and no other query has them all.
        """
        if self.averages is None:
            return np.empty(0, dtype=np.intp)
        average = self.averages[0]
        far = np.flatnonzero(quality[:, 0] == average[0])
        # Mostly no query has even the first of them.
        return far[(quality[far] == average).all(axis=1)] if len(far) else far

    def _solve_batch(
        self, quality: np.ndarray, cost: np.ndarray, allowed: np.ndarray
    ) -> tuple[ShadowPrice, np.ndarray | None]:
        """Find the price on the rows of the call.

        A total budget also gives the choices. Two queries may step at the same price
        where the total pays for only one, and a price cannot say which.
        """
        try:
            if self.rule.has_batch_budget:
                total = float(self.rule.budget)
                choice, implied = solve_batch(quality, cost, allowed, total)
                return ShadowPrice(implied), choice
            if self.target is not None:
                path = PricePath.from_estimates(quality, cost, allowed=allowed)
                return path.price_for_quality(self.target), None
        except InfeasibleBudgetError:
            if self.rule.on_infeasible == "raise":
                raise
            # The cheapest models, or for a target the best.
            return ShadowPrice(np.inf if self.rule.has_batch_budget else 0.0), None
        return self.price, None

    def _decide_far_queries(
        self,
        averages: Averages,
        quality: np.ndarray,
        cost: np.ndarray,
        shadow_prices: np.ndarray,
        allowed: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Price far queries, or name the models to prefer for them.

        Returns the prices and the preferred models (-1: none) of all queries. Far
        queries have identical estimates, so the price of all the others would send them
        to one model, which may be too cheap or too expensive.
        """
        far = self._find_far(quality)
        if not len(far):
            return shadow_prices, None
        if self.target is not None:
            preferred = np.full(len(shadow_prices), -1)
            preferred[far] = choose_far_model(averages, self.rule, self.target)
            return shadow_prices, preferred
        may_be = np.broadcast_to(allowed, quality.shape)[far]
        shadow_prices = shadow_prices.copy()
        shadow_prices[far] = price_far_queries(
            averages, self.rule, quality[far], cost[far], may_be
        )
        return shadow_prices, None


def settle(
    rule: Rule,
    path: PricePath,
    best_single_quality: float,
    averages: Averages | None = None,
) -> Settled:
    """Find the price on a path that meets a rule.

    If none does, raises an ``InfeasibleBudgetError`` or, if the rule says so, takes the
    price of the cheapest decisions (for a quality target: of the best).
    """
    target = rule.quality_target(best_single_quality)
    # Without a price, a mean budget or a target, only quality counts.
    price = ShadowPrice(0.0 if rule.price is None else float(rule.price))
    try:
        if target is not None and rule.scope != "batch":
            price = path.price_for_quality(target)
        elif rule.has_mean_budget:
            price = path.price_for_budget(rule.budget)
        # With a cap or a tolerance, one model for all may not be a candidate.
        elif rule.price is None and rule.budget is None and not rule.tolerance:
            price = path.price_for_best()
    except InfeasibleBudgetError:
        if rule.on_infeasible == "raise":
            raise
        price = ShadowPrice(0.0 if target is not None else np.inf)
    return Settled(rule, price, target, path, best_single_quality, averages)

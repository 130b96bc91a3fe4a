"""How a rule is met: the shadow price that it leads to, and decisions at that price.

`settle` turns a :class:`~skroute._decide.rule.Rule` into a :class:`Settled`, once, on
the trade-off of training queries. `Settled.decide` then decides queries from their
estimates. A decider settles its rule in `fit`, a router settles one for every call.
"""

from __future__ import annotations

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
    """A rule, and how it is met.

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
        """Settle another rule on the same path, if the path can answer it."""
        rule.check().check_same_candidates(self.rule)
        return settle(rule, self.path, self.best_single_quality, self.averages)

    @property
    def decides_each_alone(self) -> bool:
        """Whether no decision depends on the other queries of its call."""
        return self.rule.scope == "mean" and self.price.low is None

    def decide(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        mask: np.ndarray | None = None,
        top_k: int = 1,
    ) -> Decisions:
        """Decide every query, and its fallbacks.

        Estimates are (n_queries, n_models); `mask` holds the available models, of shape
        (1 or n_queries, n_models).
        """
        if len(quality) == 0:
            return Decisions(np.empty((0, top_k), dtype=np.intp), np.empty(0))
        if mask is None:
            mask = np.ones((1, quality.shape[1]), dtype=bool)
        allowed = self.rule.candidates(quality, cost, mask)
        price, choice = self.price, None
        if self.rule.scope == "batch":
            price, choice = self._solve_batch(quality, cost, allowed)
        prices = assign_shadow_prices(quality, cost, price, allowed)
        preferred = None
        if price.single is not None:
            preferred = np.full(len(quality), price.single)
        elif self.averages is not None and self.rule.needs_training_path:
            prices, preferred = self._price_far_queries(
                self.averages, quality, cost, prices, allowed
            )
        if choice is None:
            choice = choose_each(quality, cost, prices, allowed)
        if preferred is not None:
            every = np.broadcast_to(allowed, quality.shape)
            may_be = (preferred >= 0) & every[np.arange(len(quality)), preferred]
            choice = np.where(may_be, preferred, choice)
        return rank_fallbacks(choice, prices, quality, cost, mask, self.rule, top_k)

    def _solve_batch(
        self, quality: np.ndarray, cost: np.ndarray, allowed: np.ndarray
    ) -> tuple[ShadowPrice, np.ndarray | None]:
        """Find the price on the rows of the call; a total also gives the choices."""
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
            return ShadowPrice(np.inf if self.rule.has_batch_budget else 0.0), None
        return self.price, None

    def _price_far_queries(
        self,
        averages: Averages,
        quality: np.ndarray,
        cost: np.ndarray,
        prices: np.ndarray,
        allowed: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Prices, and models to prefer (-1: none), once far queries are looked at.

        Such queries have identical estimates, so the price of all the others would send
        them to the same, too cheap or too expensive, model.
        """
        far = np.flatnonzero((quality == averages[0]).all(axis=1))
        if not len(far):
            return prices, None
        if self.target is not None:
            preferred = np.full(len(prices), -1)
            preferred[far] = choose_far_model(averages, self.rule, self.target)
            return prices, preferred
        may_be = np.broadcast_to(allowed, quality.shape)[far]
        prices = prices.copy()
        prices[far] = price_far_queries(
            averages, self.rule, quality[far], cost[far], may_be
        )
        return prices, None


def settle(
    rule: Rule,
    path: PricePath,
    best_single_quality: float,
    averages: Averages | None = None,
) -> Settled:
    """Find the price on a path that meets a rule.

    Raises an ``InfeasibleBudgetError`` if none does, and the rule says so.
    """
    target = rule.quality_target(best_single_quality)
    price = ShadowPrice(0.0 if rule.price is None else float(rule.price))
    try:
        if target is not None and rule.scope != "batch":
            price = path.price_for_quality(target)
        elif rule.has_mean_budget:
            price = path.price_for_budget(rule.budget)
        elif rule.price is None and rule.budget is None and not rule.tolerance:
            price = path.price_for_best()
    except InfeasibleBudgetError:
        if rule.on_infeasible == "raise":
            raise
        price = ShadowPrice(0.0 if target is not None else np.inf)
    return Settled(rule, price, target, path, best_single_quality, averages)

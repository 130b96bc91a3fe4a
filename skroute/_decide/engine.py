"""How a rule is met: find its shadow price, then decide queries at that price.

`settle` finds the price of a :class:`~skroute._decide.rule.Rule` once, on the trade-off
of training queries; `Settled.decide` then decides queries from their estimates. A
decider does the first in `fit`, a router in every call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from skroute._decide.capacity import solve_capacities
from skroute._decide.explore import (
    average_gaps,
    draw_models,
    find_chances,
    measure_gaps,
)
from skroute._decide.fallbacks import Decisions, rank_fallbacks
from skroute._decide.guarantee import Guarantee
from skroute._decide.knapsack import solve_batch
from skroute._decide.known import KnownQueries
from skroute._decide.price_path import (
    PricePath,
    ShadowPrice,
    assign_shadow_prices,
    choose_each,
)
from skroute._decide.promise import promise
from skroute._decide.rule import Rule
from skroute._table.costs import replace_known_costs
from skroute.exceptions import InfeasibleBudgetError

#: Mean quality and cost of each model, two ndarray of shape (n_models,).
Averages = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Settled:
    """A rule and the shadow price that meets it; decides queries."""

    rule: Rule
    price: ShadowPrice
    #: `min_quality` as a number.
    target: float | None
    #: The trade-off on which the price was found.
    path: PricePath
    #: Mean quality of the best single model; NaN where unknown.
    best_single_quality: float
    #: Estimates of all queries far from the training data.
    averages: Averages | None = None
    #: What is promised; None where nothing is.
    guarantee: Guarantee | None = None
    #: By what expected costs are multiplied, (n_models,); None where they are right.
    cost_factor: np.ndarray | None = None
    #: Mean gap of training queries, by which draws are weighed; None where unknown.
    gap_unit: float | None = None

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
        if self.rule.explore:
            return False
        return self.rule.scope == "mean" and self.price.low is None

    def decide(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        available: np.ndarray | None = None,
        top_k: int = 1,
        known: np.ndarray | None = None,
        uniform: np.ndarray | None = None,
    ) -> Decisions:
        """Decide every query, and its fallbacks, from estimates (n_queries, n_models).

        `available` is a mask of models, of shape (1 or n_queries, n_models), and
        `known` holds costs that are known before the calls, ``NaN`` where they are not:
        they take the place of the estimates. Where the rule explores, `uniform` are
        numbers in [0, 1) to draw by, (n_queries,).
        """
        if len(quality) == 0:
            return Decisions(np.empty((0, top_k), dtype=np.intp), np.empty(0))
        if self.cost_factor is not None:
            cost = cost * self.cost_factor
        if available is None:
            available = np.ones((1, quality.shape[1]), dtype=bool)
        paid = replace_known_costs(cost, known)
        allowed = self.rule.find_candidates(quality, paid, available)
        if known is not None and self.guarantee is not None:
            allowed = self._keep_promise(quality, cost, paid, available, allowed)
        choice, shadow_prices = self._choose(quality, paid, allowed, expected=cost)
        chance = None
        if self.rule.explore and uniform is not None:
            chances = self._find_chances(quality, paid, allowed, choice, shadow_prices)
            choice, chance = draw_models(chances, choice, uniform, paid)
        return rank_fallbacks(
            choice, shadow_prices, quality, paid, available, self.rule, top_k
        )._replace(chance=chance)

    def find_chances(self, quality: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Find the chance of each model of each query, (n_queries, n_models)."""
        allowed = self.rule.find_candidates(quality, cost)
        choice, shadow_prices = self._choose(quality, cost, allowed, cost)
        return self._find_chances(quality, cost, allowed, choice, shadow_prices)

    def _find_chances(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        allowed: np.ndarray,
        choice: np.ndarray,
        shadow_prices: np.ndarray,
    ) -> np.ndarray:
        """Find chances where it is known what would be called without exploring."""
        gap = measure_gaps(quality, cost, allowed, shadow_prices)
        share = float(self.rule.explore)
        return find_chances(choice, gap, allowed, share, self.gap_unit)

    def measure_gap_unit(self, quality: np.ndarray, cost: np.ndarray) -> float | None:
        """Average the gaps of some queries at the price; None at an infinite one."""
        if not (np.isfinite(self.price.high) and len(quality)):
            return None
        prices = np.full(len(quality), self.price.high)
        allowed = np.ones((1, quality.shape[1]), dtype=bool)
        gap = measure_gaps(quality, cost, allowed, prices)
        return float(average_gaps(gap, allowed).mean())

    def _choose(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        allowed: np.ndarray,
        expected: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose among candidates; returns choices and shadow prices, (n_queries,).

        `expected` are the estimates of costs, which `cost` is unless some are known.
        """
        price, choice = self.price, None
        if self.rule.scope == "batch":
            price, choice = self._solve_batch(quality, cost, allowed)
        shadow_prices = assign_shadow_prices(quality, cost, price, allowed)
        preferred = None
        if price.single is not None:
            # On the training queries, one model did better by itself than routing.
            preferred = np.full(len(quality), price.single)
        elif self.averages is not None and self.rule.is_met_on_average:
            # Queries far from training have identical estimates, the averages. The
            # price of all the others would send them to one model, too cheap or too
            # expensive. So a target gives them the model that meets it on average, and
            # a mean budget is spread over them.
            far = self.find_far_rows(quality)
            # A promise holds for the price at which it was tested. Far queries leave it
            # on the safe side, for the model that is best on average, or not at all.
            if len(far) and self.target is not None:
                target = self.target if self.guarantee is None else np.inf
                preferred = np.full(len(quality), -1)
                may_be = self.rule.find_candidates(quality[far], cost[far])
                preferred[far] = _choose_on_average(
                    quality[far], cost[far], may_be, target
                )
            elif len(far) and self.guarantee is None:
                mean_price = _find_mean_price(self.averages, self.rule)
                may_be = np.broadcast_to(allowed, quality.shape)[far]
                shadow_prices[far] = assign_shadow_prices(
                    quality[far], cost[far], mean_price, may_be
                )
        if choice is None:
            choice = choose_each(quality, cost, shadow_prices, allowed)
        if price.single is not None and cost is not expected and not self.guarantee:
            preferred = self._leave_single(price.single, choice, cost - expected)
        if preferred is not None:
            # A preferred model that is not allowed for a query is passed over.
            every = np.broadcast_to(allowed, quality.shape)
            # Where none is preferred, -1 reads the last column, which then counts for
            # nothing.
            is_called = (preferred >= 0) & every[np.arange(len(quality)), preferred]
            choice = np.where(is_called, preferred, choice)
        return choice, shadow_prices

    def _leave_single(
        self, single: int, choice: np.ndarray, change: np.ndarray
    ) -> np.ndarray:
        """Prefer a single model but where known costs change more than its lead.

        `change` is what known costs add to their estimates, (n_queries, n_models), and
        `choice` what would be called in place of the single model.
        """
        price = self.price.high
        dearer = change[:, single] - change[np.arange(len(choice)), choice]
        # At an infinite price only money counts.
        worth = dearer if np.isinf(price) else price * dearer
        return np.where(worth > self.path.measure_lead(single, price), -1, single)

    def _keep_promise(
        self,
        quality: np.ndarray,
        expected: np.ndarray,
        paid: np.ndarray,
        available: np.ndarray,
        allowed: np.ndarray,
    ) -> np.ndarray:
        """Leave candidates that keep what was promised, whatever their costs.

        What was tested are choices by the estimates. Known costs may replace them on
        the safe side: for a target by models that are expected to be as good, for a
        budget by models that cost no more.
        """
        tested_among = allowed
        if not self.rule.has_cap:
            tested_among = self.rule.find_candidates(quality, expected, available)
        tested, _ = self._choose(quality, expected, tested_among, expected)
        rows = np.arange(len(quality))
        if self.target is not None:
            safe = quality >= quality[rows, tested][:, None]
        else:
            safe = paid <= paid[rows, tested][:, None]
        safe = allowed & safe
        safe[rows, tested] = True
        return safe

    def decide_in_parts(
        self,
        estimates: Iterable[tuple[np.ndarray, np.ndarray]],
        top_k: int,
        known: np.ndarray | None = None,
    ) -> np.ndarray:
        """Decide queries whose estimates come in parts; returns (n_queries, top_k).

        `known` are costs of all queries, as in `decide`. Far queries share a mean
        budget, so those of all parts are decided together at the end.
        """
        choices: list[np.ndarray] = []
        far_rows: list[np.ndarray] = []
        far_estimates: list[tuple[np.ndarray, np.ndarray]] = []
        start = 0
        for quality, cost in estimates:
            # Far queries are decided here too, and again below with those of other
            # parts.
            part = None if known is None else known[start : start + len(quality)]
            decisions = self.decide(quality, cost, top_k=top_k, known=part)
            choices.append(decisions.choice)
            if self.rule.has_mean_budget and self.guarantee is None:
                far = self.find_far_rows(quality)
                far_rows.append(start + far)
                far_estimates.append((quality[far], cost[far]))
            start += len(quality)
        choice = np.concatenate(choices)
        if sum(map(len, far_rows)):
            quality, cost = map(np.concatenate, zip(*far_estimates, strict=True))
            far = np.concatenate(far_rows)
            part = None if known is None else known[far]
            together = self.decide(quality, cost, top_k=top_k, known=part)
            choice[far] = together.choice
        return choice

    def find_far_rows(self, quality: np.ndarray) -> np.ndarray:
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
        where the total pays for only one, and a price cannot say which. So do
        capacities, unless each model may be called for all rows.
        """
        capacity = self.rule.capacity
        if capacity is not None and min(capacity) < len(quality):
            choice, price = solve_capacities(
                *(quality, cost, allowed, capacity),
                budget=float(self.rule.budget) if self.rule.has_batch_budget else None,
                target=self.target,
                price=self.price.high,
                on_infeasible=self.rule.on_infeasible,
            )
            return ShadowPrice(price), choice
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


def settle(
    rule: Rule,
    path: PricePath,
    best_single_quality: float,
    averages: Averages | None = None,
    known: KnownQueries | None = None,
) -> Settled:
    """Find the price on a path that meets a rule, or on queries that prove it.

    A rule with a confidence is tested on `known` queries.

    If none does, raises an ``InfeasibleBudgetError`` or, if the rule says so, takes the
    price of the cheapest decisions (for a quality target: of the best).
    """
    tested = None if rule.confidence is None else _check_known(known)
    target = rule.quality_target(best_single_quality)
    # Without a price, a mean budget or a target, only quality counts.
    price = ShadowPrice(0.0 if rule.price is None else float(rule.price))
    guarantee = None
    try:
        if tested is not None:
            price, guarantee = promise(rule, tested, path.single_quality)
        elif target is not None and rule.scope != "batch":
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
    return Settled(rule, price, target, path, best_single_quality, averages, guarantee)


def _check_known(known: KnownQueries | None) -> KnownQueries:
    """Refuse a confidence where no outcomes are kept that could be tested."""
    if known is None:
        raise ValueError(
            "confidence is tested on queries whose outcomes are known, and none are "
            "kept here. Fit again: a decider keeps none after fit, nor do routers "
            "that an older version saved, that were updated, or to which a model was "
            "added. A router of your own keeps them in fit_transform, or by "
            "CrossFittedRouter as its base."
        )
    return known


def _choose_on_average(
    quality: np.ndarray, cost: np.ndarray, allowed: np.ndarray, target: float
) -> np.ndarray:
    """Find the cheapest model whose mean quality reaches a target, else the best."""
    reach = allowed & (quality >= target)
    best = np.where(allowed, quality, -np.inf).argmax(axis=1)
    cheapest: np.ndarray = np.where(reach, cost, np.inf).argmin(axis=1)
    return np.where(reach.any(axis=1), cheapest, best)


def _find_mean_price(averages: Averages, rule: Rule) -> ShadowPrice:
    """Find the price at which far queries spend the mean budget.

    Where no single model costs the budget, two neighbouring prices are mixed.
    """
    # A path splits only steps that several queries take together, hence two rows.
    means, costs = (np.tile(average, (2, 1)) for average in averages)
    path = PricePath.from_estimates(
        means, costs, allowed=rule.find_candidates(means, costs)
    )
    try:
        return path.without_singles().price_for_budget(float(rule.budget))
    except InfeasibleBudgetError:
        return ShadowPrice(np.inf)

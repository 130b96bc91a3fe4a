r"""The shadow price of a budget: its Lagrange multiplier, and where it is found.

Maximising the mean quality under a mean budget separates, for a given shadow price
:math:`\lambda \ge 0`, into one decision per query: the model with the largest
``quality - price * cost``. As the price falls, queries climb their hulls (`hull`). The
climbs of all, sorted by slope, are the whole trade-off: a budget or a quality target is
a place on that walk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.isotonic import isotonic_regression

from skroute._compute.chunks import sample_evenly
from skroute._compute.executor import Executor
from skroute._decide.hull import choose, climb_hulls
from skroute._table.averages import best_on_average, doubly_robust
from skroute._table.costs import add_slack, round_up
from skroute.exceptions import InfeasibleBudgetError

# Steps kept of a price path: enough that a budget is met to 0.1% of the range.
_MAX_LEVELS = 2048
# Part of a budget that may stay unspent before a shared step is split.
_NEGLIGIBLE = 0.005
# Relative rounding of mean qualities, which are sums in any order.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ShadowPrice:
    """A shadow price, or a mixture of two neighbouring ones.

    Queries with the same estimates step at the same price. Where many share a step (an
    encoder that truncates long prompts makes them alike), no single price spends the
    budget: a part of these queries has to step.
    """

    #: The price at which queries are decided.
    high: float
    #: The next lower price; None where nothing is mixed.
    low: float | None = None
    #: Share of the extra money, over the queries on which the two disagree, that is
    #: spent by deciding some of them at `low`.
    share: float = 0.0
    #: Whether that share is to be reached (a quality target), or kept to (a budget).
    reach: bool = False
    #: Model that is called for every query where it may be, because it does better by
    #: itself than routing at any price; None where routing does.
    single: int | None = None


def assign_shadow_prices(
    quality: np.ndarray, cost: np.ndarray, price: ShadowPrice, allowed: np.ndarray
) -> np.ndarray:
    """Find the price at which each query is decided, (n_queries,).

    Where the two prices of a mixture disagree, the queries are put in one evenly spread
    order, and the first of them, up to the share, are decided at the lower one: a
    systematic sample, to which a larger share only adds queries. A single query is
    decided at the price with the larger share. `allowed` leaves each query one model at
    least.
    """
    shadow_prices = np.full(len(quality), price.high)
    if price.low is None:
        return shadow_prices
    choice = choose(quality, cost, price.high, allowed)
    other = choose(quality, cost, price.low, allowed)
    rows = np.flatnonzero(choice != other)
    gain = quality[rows, other[rows]] - quality[rows, choice[rows]]
    # What deciding at the lower price adds for each of these queries.
    extra = cost[rows, other[rows]] - cost[rows, choice[rows]]
    if len(rows) == 1:
        sampled = rows[: int(price.share >= 0.5)]
    else:
        # First by cost, so that an even spread over places is one over costs.
        order = np.lexsort((gain, extra))
        order = order[np.argsort(_spread_evenly(len(order)), kind="stable")]
        weight = np.r_[0.0, np.cumsum(extra[order], dtype=np.float64)]
        if price.reach:
            # The smallest number that reaches the share; the margin is for rounding.
            count = np.searchsorted(weight, price.share * weight[-1] * (1 - 1e-12))
        else:
            most = price.share * weight[-1] * (1 + 1e-12)
            count = np.searchsorted(weight, most, side="right") - 1
        sampled = rows[order[:count]]
    shadow_prices[sampled] = price.low
    return shadow_prices


def choose_each(
    quality: np.ndarray,
    cost: np.ndarray,
    shadow_prices: np.ndarray,
    allowed: np.ndarray,
) -> np.ndarray:
    """Decide every query at a price of its own; -1 where no model is allowed.

    `shadow_prices`, (n_queries,), hold few different values, and all queries of a value
    are decided at once.
    """
    if len(shadow_prices) == 1 or (
        len(shadow_prices) and (shadow_prices == shadow_prices[0]).all()
    ):
        # With one price for all, nothing need be copied.
        choice = choose(quality, cost, shadow_prices[0], allowed)
    else:
        choice = np.full(len(quality), -1)
        every = np.broadcast_to(allowed, quality.shape)
        for price in np.unique(shadow_prices):
            rows = shadow_prices == price
            choice[rows] = choose(quality[rows], cost[rows], price, every[rows])
    if not allowed.all():
        choice[~np.broadcast_to(allowed, quality.shape).any(axis=1)] = -1
    return choice


def _spread_evenly(n: int) -> np.ndarray:
    """Number 0 to n - 1 so that any prefix of their order is even (van der Corput)."""
    index, value, base = np.arange(n), np.zeros(n), 0.5
    while index.any():
        value += base * (index & 1)
        index, base = index >> 1, base / 2
    return value


@dataclass(frozen=True)
class PricePath:
    """Mean spend and quality of the decisions at every shadow price.

    Built once from (preferably cross-fitted) estimates; it then answers which price
    meets a budget or a quality target, in a size that does not grow with the traffic.

    Attributes
    ----------
    price : ndarray of shape (n_levels,)
        Decreasing, from infinity (every query to its cheapest model), or the highest
        price that may be, to 0 (every query to its best model).
    cost, quality : ndarray of shape (n_levels,)
        Mean money and quality per query at that price, non-decreasing.
    block : ndarray of int of shape (n_levels,)
        Number of queries that step to this level together, at one price.
    single_quality, single_cost : ndarray of shape (n_models,) or None
        Mean quality and money of each model, were it always called; a quality of minus
        infinity where it may not be called for every query. ``None`` leaves them out.
    """

    price: np.ndarray
    cost: np.ndarray
    quality: np.ndarray
    block: np.ndarray
    single_quality: np.ndarray | None = None
    single_cost: np.ndarray | None = None

    @classmethod
    def from_estimates(
        cls,
        quality: np.ndarray,
        cost: np.ndarray,
        true_quality: np.ndarray | None = None,
        true_cost: np.ndarray | None = None,
        *,
        allowed: np.ndarray | None = None,
        highest: float = np.inf,
    ) -> PricePath:
        """Walk the price from infinity, or the `highest` that may be, to 0.

        Decisions rest on the estimates, (n_queries, n_models), among the models that
        are `allowed` (all by default). True outcomes, ``NaN`` where unknown, say what
        the calls really gave and cost: costs are counted in place of their estimates,
        qualities also correct the estimates of other queries (see
        :func:`~skroute._table.averages.doubly_robust`).
        """
        # Sums over many queries need more digits than single estimates do.
        quality = np.asarray(quality, dtype=np.float64)
        cost = np.asarray(cost, dtype=np.float64)
        steps = climb_hulls(quality, cost, allowed)
        cost = _fill_in(true_cost, cost)
        spent = steps.walk(cost)
        if true_quality is not None:
            quality = doubly_robust(true_quality, quality)
        gained = steps.walk(quality)
        # A level for each price at which decisions differ.
        levels, price = steps.find_levels()
        if highest < np.inf:
            # The first level is what is decided at the highest price.
            first = np.searchsorted(-steps.price, -highest, side="left")
            later = levels > first
            levels = np.r_[first, levels[later]]
            price = np.r_[highest, price[later]]
        sums = np.stack([spent[levels], gained[levels], levels])
        singles = np.stack([quality.sum(axis=0), cost.sum(axis=0)])
        if allowed is not None:
            # A model that is no candidate of some query cannot answer all of them.
            singles[0, ~allowed.all(axis=0)] = -np.inf
        path = cls._from_sums(price, sums, singles, len(quality))
        if len(price) <= _MAX_LEVELS:
            return path
        kept = sample_evenly(len(price), _MAX_LEVELS)
        ends = price[kept], path.cost[kept], path.quality[kept]
        block = np.diff(levels[kept], prepend=0)
        return cls(*ends, block, path.single_quality, path.single_cost)

    @classmethod
    def _from_sums(
        cls,
        price: np.ndarray,
        sums: np.ndarray,
        singles: np.ndarray,
        n_queries: int,
    ) -> PricePath:
        """Make a path of sums at every price, and of each model if always called."""
        # True outcomes can fall where estimates rise. A budget is left at the first
        # level that spends more; a target that chance reached once is not yet reached.
        spent, gained, taken = sums
        cost = np.maximum.accumulate(spent / n_queries)
        quality = isotonic_regression(gained / n_queries)
        block = np.diff(taken.astype(int), prepend=0)
        return cls(price, cost, quality, block, *singles / n_queries)

    def sum_over(
        self, estimates: Any, true_quality: Any, true_cost: Any, executor: Executor
    ) -> PricePath:
        """Take mean spend and quality at these prices over the queries of `executor`.

        Handles of columns: estimated qualities, then costs, (n_queries, 2 * n_models),
        and what is known of the truth, (n_queries, n_models).
        """
        known = estimates, true_quality, true_cost
        sums = executor.get(executor.total(_sum_decisions, *known, self.price))
        singles = executor.get(executor.total(_sum_singles, *known))
        return self._from_sums(self.price, sums, singles, executor.count(estimates))

    def best_single(self) -> tuple[int, float]:
        """Find the model of the highest mean quality, ties to the cheaper, and that."""
        if self.single_quality is None or self.single_cost is None:
            raise ValueError("this path leaves single models out.")
        best = best_on_average(self.single_quality, self.single_cost)
        return best, float(self.single_quality[best])

    def without_singles(self, models: np.ndarray | None = None) -> PricePath:
        """Leave some single models out, or all: decisions only follow the estimates."""
        if models is None or self.single_quality is None:
            return replace(self, single_quality=None, single_cost=None)
        quality = np.where(models, -np.inf, self.single_quality)
        return replace(self, single_quality=quality)

    def measure(self, price: ShadowPrice) -> tuple[float, float]:
        """Mean quality and money of the decisions at a price of this path."""
        if price.single is not None and self.single_quality is not None:
            assert self.single_cost is not None
            single = price.single
            return float(self.single_quality[single]), float(self.single_cost[single])
        level = min(int(np.searchsorted(-self.price, -price.high)), len(self.price) - 1)
        lower = min(level + 1, len(self.price) - 1)
        share = price.share if price.low is not None else 0.0
        quality, cost = (
            float(values[level] + share * (values[lower] - values[level]))
            for values in (self.quality, self.cost)
        )
        return quality, cost

    def measure_lead(self, model: int, price: float) -> float:
        """Measure what one model for all is worth above decisions at a price, or 0.

        At an infinite price it is the money that the model saves.
        """
        if self.single_quality is None or self.single_cost is None:
            return 0.0
        level = min(int(np.searchsorted(-self.price, -price)), len(self.price) - 1)
        saved = self.cost[level] - self.single_cost[model]
        if np.isinf(price):
            return max(float(saved), 0.0)
        gained = self.single_quality[model] - self.quality[level]
        return max(float(gained + price * saved), 0.0)

    def price_for_best(self) -> ShadowPrice:
        """Find the price without a budget: 0, and which model to call alone, if any.

        If one model called for every query does better than routing, the price names
        that model (`single`).
        """
        return self._prefer_single(ShadowPrice(0.0), np.inf, float(self.quality[-1]))

    def price_for_budget(self, budget: float) -> ShadowPrice:
        """Find the lowest price at which the mean spend stays within a budget.

        A step that several queries share is split where it would leave much of the
        budget unspent. Raises an ``InfeasibleBudgetError`` if no price spends so
        little.
        """
        level = int(self.cost.searchsorted(add_slack(budget), side="right")) - 1
        if level < 0:
            raise InfeasibleBudgetError(
                f"budget={budget:g} per query is below what the cheapest models cost; "
                f"the smallest feasible budget is {round_up(self.cost[0])}.",
                smallest_budget=float(self.cost[0]),
            )
        price, quality = ShadowPrice(float(self.price[level])), self.quality[level]
        unspent = max(budget - self.cost[level], 0.0)
        part = unspent / budget if budget else 0.0
        if level + 1 < len(self.cost) and self._is_worth_splitting(level + 1, part):
            # The share of the step that the rest of the budget pays for.
            share = unspent / (self.cost[level + 1] - self.cost[level])
            price = self._mix_levels(level, share)
            quality += share * (self.quality[level + 1] - quality)
        return self._prefer_single(price, budget, float(quality))

    def price_for_quality(self, target: float) -> ShadowPrice:
        """Find the highest price at which the mean quality reaches a target.

        A step that several queries share is split where it would overshoot the target
        at a cost. Raises an ``InfeasibleBudgetError`` if no price reaches it.
        """
        single = self._find_cheapest_single(target)
        level = int(np.searchsorted(self.quality, target, side="left"))
        if level == len(self.quality):
            if single is not None:
                return ShadowPrice(0.0, single=single[0])
            largest = float(self.quality[-1])
            if self.single_quality is not None:
                largest = max(largest, float(self.single_quality.max()))
            raise InfeasibleBudgetError(
                f"min_quality={target:g} cannot be promised; the largest expected mean "
                f"quality is {largest!r}.",
                largest_quality=largest,
            )
        price, cost = ShadowPrice(float(self.price[level])), float(self.cost[level])
        if level:
            jump = self.quality[level] - self.quality[level - 1]
            share = (target - self.quality[level - 1]) / jump
            # What is saved by not taking all of these queries to the better level.
            saved = (1 - share) * (self.cost[level] - self.cost[level - 1])
            if self._is_worth_splitting(level, saved / (self.cost[level] or 1.0)):
                price = self._mix_levels(level - 1, share, reach=True)
                cost -= saved
        if single is not None and single[1] < cost:
            return replace(price, single=single[0])
        return price

    def _find_cheapest_single(self, target: float) -> tuple[int, float] | None:
        """Find the cheapest model that reaches a quality by itself, and its cost."""
        if self.single_quality is None or self.single_cost is None:
            return None
        reach = self.single_quality >= target - _ROUNDING * abs(target)
        if not reach.any():
            return None
        model = int(np.where(reach, self.single_cost, np.inf).argmin())
        return model, float(self.single_cost[model])

    def _prefer_single(
        self, price: ShadowPrice, budget: float, quality: float
    ) -> ShadowPrice:
        """Call one model for all where that is affordable, and better than routing."""
        if self.single_quality is None or self.single_cost is None:
            return price
        better = quality + _ROUNDING * abs(quality)
        # Usually routing is better; this returns before the slower search.
        if self.single_quality.max() <= better:
            return price
        affordable = self.single_cost <= add_slack(budget)
        values = np.where(affordable, self.single_quality, -np.inf)
        model = best_on_average(values, self.single_cost)
        return price if values[model] <= better else replace(price, single=model)

    def _is_worth_splitting(self, level: int, part: float) -> bool:
        """Whether several queries step to this level, and it matters for the budget."""
        return bool(self.block[level] > 1 and part > _NEGLIGIBLE)

    def _mix_levels(self, level: int, share: float, reach: bool = False) -> ShadowPrice:
        """Mix the price of a level with the next lower one."""
        high, low = self.price[level : level + 2]
        return ShadowPrice(float(high), float(low), float(share), reach)


def _fill_in(truth: np.ndarray | None, estimate: np.ndarray) -> np.ndarray:
    """Give the truth where it is known, the estimate elsewhere."""
    if truth is None:
        return estimate
    return np.where(np.isnan(truth), estimate, truth)


def _sum_decisions(
    estimates: np.ndarray,
    true_quality: np.ndarray,
    true_cost: np.ndarray,
    prices: np.ndarray,
) -> np.ndarray:
    """Sum money, quality and steps taken over some queries, at falling prices."""
    quality, cost = np.hsplit(estimates, 2)
    steps = climb_hulls(quality, cost)
    # At a price of 0 every step is taken, however small its gain.
    n_steps = np.where(
        prices > 0,
        np.searchsorted(-steps.price, -prices, side="left"),
        len(steps.price),
    )
    spent = steps.walk(_fill_in(true_cost, cost))
    gained = steps.walk(true_quality)
    return np.stack([spent[n_steps], gained[n_steps], n_steps])


def _sum_singles(
    estimates: np.ndarray, true_quality: np.ndarray, true_cost: np.ndarray
) -> np.ndarray:
    """Sum quality and money of each model, were it called for all of some queries."""
    cost = _fill_in(true_cost, np.hsplit(estimates, 2)[1])
    return np.stack([true_quality.sum(axis=0), cost.sum(axis=0)])

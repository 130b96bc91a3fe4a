r"""The price of money: what the Lagrange relaxation of a budget says.

Maximising the mean quality under a mean budget separates, for a given price of money
:math:`\lambda \ge 0`, into one decision per query: the model with the largest
``quality - price * cost``. As the price falls, each query climbs the upper concave hull
of its (cost, quality) points, from its cheapest model to its best. All such climbs of
all queries, sorted by slope, are the whole trade-off: every budget, quality target or
batch is a place on that walk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.isotonic import isotonic_regression

from skroute.averages import doubly_robust
from skroute.chunks import evenly
from skroute.exceptions import InfeasibleBudgetError
from skroute.hull import choose, hull_steps
from skroute.money import rounded_up, with_slack
from skroute.rows import Rows

__all__ = [
    "Price",
    "PricePath",
    "choose_each",
    "decide",
    "row_prices",
    "with_truth",
]

# Steps kept of a price path: enough that a budget is met to 0.1% of the range.
_MAX_LEVELS = 2048
# Part of a budget that may stay unspent before a block of queries is split.
_NEGLIGIBLE = 0.005


@dataclass(frozen=True)
class Price:
    """A price of money, or a mixture of two neighbouring ones.

    Queries with the same estimates step at the same price. Where such a block is large
    (an encoder that truncates long prompts makes them), no single price spends the
    budget: a share of the block has to step.

    Attributes
    ----------
    high : float
        The price at which queries are decided.
    low : float or None
        The next lower price; ``None`` where nothing is mixed.
    share : float
        Share of the extra money, over the queries on which the two disagree, that is
        spent by deciding some of them at `low`.
    reach : bool
        Whether that share is to be reached (a quality target), or kept to (a budget).
    """

    high: float
    low: float | None = None
    share: float = 0.0
    reach: bool = False


def decide(
    quality: np.ndarray, cost: np.ndarray, price: Price, allowed: np.ndarray
) -> np.ndarray:
    """Decide every query at a price or a mixture of two.

    Parameters
    ----------
    quality, cost : ndarray of shape (n_queries, n_models)
        Estimates.
    price : Price
        The price in force.
    allowed : ndarray of bool, broadcastable to (n_queries, n_models)
        Models that may be chosen; at least one per query.

    Returns
    -------
    ndarray of int of shape (n_queries,)
        Model indices.
    """
    prices = row_prices(quality, cost, price, allowed)
    return choose_each(quality, cost, prices, allowed)


def row_prices(
    quality: np.ndarray, cost: np.ndarray, price: Price, allowed: np.ndarray
) -> np.ndarray:
    """Say at which price each query is decided: all at one, or at one of a mixture.

    Where the two prices of a mixture disagree, the queries are put in one evenly spread
    order, and as many of the first as the share allows are decided at the lower one: a
    systematic sample without chance, and a larger share only adds to it. A query alone
    goes with the larger share.

    Parameters
    ----------
    quality, cost : ndarray of shape (n_queries, n_models)
        Estimates.
    price : Price
        The price in force.
    allowed : ndarray of bool, broadcastable to (n_queries, n_models)
        Models that may be chosen; at least one per query.

    Returns
    -------
    ndarray of shape (n_queries,)
        Prices of money.
    """
    prices = np.full(len(quality), price.high)
    if price.low is None:
        return prices
    choice = choose(quality, cost, price.high, allowed)
    other = choose(quality, cost, price.low, allowed)
    rows = np.flatnonzero(choice != other)
    gain = quality[rows, other[rows]] - quality[rows, choice[rows]]
    extra = cost[rows, other[rows]] - cost[rows, choice[rows]]
    if len(rows) == 1:
        sampled = rows[: int(price.share >= 0.5)]
    else:
        order = np.lexsort((gain, extra))
        order = order[np.argsort(_spread(len(order)), kind="stable")]
        weight = np.r_[0.0, np.cumsum(extra[order], dtype=np.float64)]
        if price.reach:
            count = np.searchsorted(weight, price.share * weight[-1] * (1 - 1e-12))
        else:
            most = price.share * weight[-1] * (1 + 1e-12)
            count = np.searchsorted(weight, most, side="right") - 1
        sampled = rows[order[:count]]
    prices[sampled] = price.low
    return prices


def choose_each(
    quality: np.ndarray, cost: np.ndarray, prices: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """Decide every query at a price of its own; -1 where no model is allowed.

    Parameters
    ----------
    quality, cost : ndarray of shape (n_queries, n_models)
        Estimates.
    prices : ndarray of shape (n_queries,)
        Prices of money; few different ones, each is decided in one go.
    allowed : ndarray of bool, broadcastable to (n_queries, n_models)
        Models that may be chosen.

    Returns
    -------
    ndarray of int of shape (n_queries,)
        Model indices.
    """
    if len(prices) == 1 or (len(prices) and (prices == prices[0]).all()):
        # Nothing is copied where there is only one price.
        choice = choose(quality, cost, prices[0], allowed)
    else:
        choice = np.full(len(quality), -1)
        every = np.broadcast_to(allowed, quality.shape)
        for price in np.unique(prices):
            rows = prices == price
            choice[rows] = choose(quality[rows], cost[rows], price, every[rows])
    if not allowed.all():
        choice[~np.broadcast_to(allowed, quality.shape).any(axis=1)] = -1
    return choice


def _spread(n: int) -> np.ndarray:
    """Van der Corput numbers: any prefix of their order is spread evenly."""
    index, value, base = np.arange(n), np.zeros(n), 0.5
    while index.any():
        value += base * (index & 1)
        index, base = index >> 1, base / 2
    return value


@dataclass(frozen=True)
class PricePath:
    """Mean spend and quality of the decisions at every price of money.

    Built once from (preferably cross-fitted) estimates; it then answers which price
    meets a budget or a quality target, in a size that does not grow with the traffic.

    Attributes
    ----------
    price : ndarray of shape (n_levels,)
        Decreasing, from infinity (every query to its cheapest model) to 0 (every query
        to its best model).
    cost : ndarray of shape (n_levels,)
        Mean money per query at that price, non-decreasing.
    quality : ndarray of shape (n_levels,)
        Mean quality per query at that price, non-decreasing.
    block : ndarray of int of shape (n_levels,)
        Number of queries that step to this level together, at one price.
    """

    price: np.ndarray
    cost: np.ndarray
    quality: np.ndarray
    block: np.ndarray

    @classmethod
    def from_estimates(
        cls,
        quality: np.ndarray,
        cost: np.ndarray,
        *,
        allowed: np.ndarray | None = None,
        true_quality: np.ndarray | None = None,
        true_cost: np.ndarray | None = None,
    ) -> PricePath:
        """Walk the price from infinity to 0.

        Parameters
        ----------
        quality, cost : ndarray of shape (n_queries, n_models)
            Estimates, on which the decisions rest.
        allowed : ndarray of bool, broadcastable to (n_queries, n_models), default=None
            Models that may be chosen.
        true_quality, true_cost : ndarray of shape (n_queries, n_models), default=None
            What the calls really gave and cost, ``NaN`` where unknown. Costs are
            counted in place of their estimates; qualities correct the estimates of
            other queries, too (see :func:`~skroute.averages.doubly_robust`).

        Returns
        -------
        PricePath
            The trade-off.
        """
        # Sums over many queries need more digits than single estimates do.
        quality = np.asarray(quality, dtype=np.float64)
        cost = np.asarray(cost, dtype=np.float64)
        steps = hull_steps(quality, cost, allowed)
        spent = steps.walk(with_truth(true_cost, cost))
        if true_quality is not None:
            quality = doubly_robust(true_quality, quality)
        gained = steps.walk(quality)
        levels, price = steps.levels()
        sums = np.stack([spent[levels], gained[levels], levels])
        path = cls._from_sums(price, sums, len(quality))
        if len(price) <= _MAX_LEVELS:
            return path
        kept = evenly(len(price), _MAX_LEVELS)
        return cls(
            price[kept],
            path.cost[kept],
            path.quality[kept],
            np.diff(levels[kept], prepend=0),
        )

    @classmethod
    def _from_sums(
        cls, price: np.ndarray, sums: np.ndarray, n_queries: int
    ) -> PricePath:
        """Path from sums at every price: money, quality and steps taken."""
        # True outcomes can fall where estimates rise. A budget is left at the first
        # level that spends more; a target that chance reached once is not yet reached.
        spent, gained, taken = sums
        cost = np.maximum.accumulate(spent / n_queries)
        quality = isotonic_regression(gained / n_queries)
        return cls(price, cost, quality, np.diff(taken.astype(int), prepend=0))

    def over(
        self, estimates: Any, true_quality: Any, true_cost: Any, rows: Rows
    ) -> PricePath:
        """Mean spend and quality at the prices of this path, over more queries.

        Parameters
        ----------
        estimates : handle of a column of shape (n_queries, 2 * n_models)
            Estimated qualities, then costs.
        true_quality, true_cost : handles of columns of shape (n_queries, n_models)
            What is known of the truth.
        rows : Rows
            Where the queries are.

        Returns
        -------
        PricePath
            The trade-off of all the queries, at as many prices.
        """
        sums = rows.total(_sums_at, estimates, true_quality, true_cost, self.price)
        return self._from_sums(self.price, rows.get(sums), rows.count(estimates))

    def price_for_budget(self, budget: float) -> Price:
        """Price at which the mean spend is `budget`.

        Parameters
        ----------
        budget : float
            Money per query.

        Returns
        -------
        Price
            The lowest price that stays within the budget; where a block of queries that
            all step at once would leave much of it unspent, the block is split.

        Raises
        ------
        InfeasibleBudgetError
            If even the cheapest decisions spend more.
        """
        level = int(self.cost.searchsorted(with_slack(budget), side="right")) - 1
        if level < 0:
            raise InfeasibleBudgetError(
                f"budget={budget:g} per query is below what the cheapest models cost; "
                f"the smallest feasible budget is {rounded_up(self.cost[0])}.",
                smallest_budget=float(self.cost[0]),
            )
        unspent = max(budget - self.cost[level], 0.0)
        if level == len(self.cost) - 1 or not self._worth_splitting(
            level + 1, unspent / budget if budget else 0.0
        ):
            return Price(float(self.price[level]))
        share = unspent / (self.cost[level + 1] - self.cost[level])
        return self._between(level, share)

    def price_for_quality(self, target: float) -> Price:
        """Price of the cheapest decisions whose mean quality is `target`.

        Parameters
        ----------
        target : float
            Mean quality.

        Returns
        -------
        Price
            The highest price that reaches the target; where a block of queries that all
            step at once would overshoot it at a cost, the block is split.

        Raises
        ------
        InfeasibleBudgetError
            If no price reaches it.
        """
        level = int(np.searchsorted(self.quality, target, side="left"))
        if level == len(self.quality):
            raise InfeasibleBudgetError(
                f"min_quality={target:g} cannot be promised; the largest expected mean "
                f"quality is {float(self.quality[-1])!r}.",
                largest_quality=float(self.quality[-1]),
            )
        if level == 0:
            return Price(float(self.price[0]))
        jump = self.quality[level] - self.quality[level - 1]
        share = (target - self.quality[level - 1]) / jump
        saved = (1 - share) * (self.cost[level] - self.cost[level - 1])
        if self._worth_splitting(level, saved / (self.cost[level] or 1.0)):
            return self._between(level - 1, share, reach=True)
        return Price(float(self.price[level]))

    def _worth_splitting(self, level: int, part: float) -> bool:
        """Whether a block steps to this level, and it matters for the budget."""
        return bool(self.block[level] > 1 and part > _NEGLIGIBLE)

    def _between(self, level: int, share: float, reach: bool = False) -> Price:
        high, low = self.price[level : level + 2]
        return Price(float(high), float(low), float(share), reach)


def with_truth(truth: np.ndarray | None, estimate: np.ndarray) -> np.ndarray:
    """The truth where it is known, the estimate elsewhere."""
    if truth is None:
        return estimate
    return np.where(np.isnan(truth), estimate, truth)


def _sums_at(
    estimates: np.ndarray,
    true_quality: np.ndarray,
    true_cost: np.ndarray,
    prices: np.ndarray,
) -> np.ndarray:
    """Money, quality and steps taken at falling prices, summed over some queries."""
    quality, cost = np.hsplit(estimates, 2)
    steps = hull_steps(quality, cost)
    # At no price at all every step is taken, however flat it is.
    n_steps = np.where(
        prices > 0,
        np.searchsorted(-steps.price, -prices, side="left"),
        len(steps.price),
    )
    spent = steps.walk(with_truth(true_cost, cost))
    gained = steps.walk(true_quality)
    return np.stack([spent[n_steps], gained[n_steps], n_steps])

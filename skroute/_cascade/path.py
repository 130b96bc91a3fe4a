"""What a cascade gives and costs at every price, replayed on training queries.

No formula tells what a cascade spends: how often it goes on depends on the answers. So
each query is replayed at every price by a policy that was learned without it. A budget
or a quality target is then a place on the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skroute._cascade.evidence import Evidence
from skroute._cascade.policy import CascadePolicy, Terms, Walk, walk
from skroute._compute.cached import SavesFields
from skroute._table.averages import best_on_average
from skroute._table.costs import add_slack, round_up
from skroute.exceptions import InfeasibleBudgetError

# Prices of a path between infinity and 0.
_N_PRICES = 30
# Of the range of the prices: from money that buys next to nothing to money that is next
# to nothing.
_LOWEST, _HIGHEST = 0.003, 3.0
# Standard errors by which routing must be better than the cascade to replace it.
_DOUBT = 1.0


@dataclass(frozen=True)
class Replay:
    """Walks of some queries, and what they gave and cost."""

    walk: Walk
    quality: np.ndarray  # (n,)
    spend: np.ndarray  # (n,) of all calls and checks

    @classmethod
    def of(
        cls, made: Walk, terms: Terms, quality: np.ndarray, cost: np.ndarray
    ) -> Replay:
        """Count what a walk gave and cost, given outcomes (n, M)."""
        checks = made.n_calls * terms.check_cost if terms.escalates else 0.0
        answered = quality[np.arange(len(quality)), made.answer]
        return cls(made, answered, made.add_up(cost) + checks)


def replay_held_out(
    policies: Sequence[CascadePolicy],
    fold: np.ndarray,
    terms: Terms,
    evidence: Evidence,
    quality: np.ndarray,
    cost: np.ndarray,
) -> Replay:
    """Replay each query by the policy that was learned without its fold, (n,)."""
    n_queries, n_models = quality.shape
    calls = np.full((n_queries, min(terms.most_calls, n_models)), -1)
    answer = np.zeros(n_queries, dtype=np.intp)
    for number in np.unique(fold):
        rows = np.flatnonzero(fold == number)
        made = walk(policies[number], terms.take(rows), evidence.take(rows))
        calls[rows], answer[rows] = made.calls, made.answer
    return Replay.of(Walk(calls, answer), terms, quality, cost)


def find_prices(cost: np.ndarray, check_cost: float, n_prices: int) -> np.ndarray:
    """Find prices from high to low at which decisions differ, given costs (n, M)."""
    dearest = np.median(cost.max(axis=1) - cost.min(axis=1)) + check_cost
    cheapest = np.median(cost.min(axis=1)) + check_cost
    # Second calls of a cheap model are still bought where an expensive one is not.
    if dearest <= 0:
        dearest = cheapest if cheapest > 0 else 1.0
    cheapest = min(cheapest, dearest) if cheapest > 0 else dearest
    highest = max(_HIGHEST / max(cheapest, dearest * 1e-4), 30 / dearest)
    return np.geomspace(highest, _LOWEST / dearest, n_prices)


@dataclass(frozen=True)
class CascadePath(SavesFields):
    """Mean spend, quality and number of calls at prices that fall from infinity to 0.

    The last entry is the best single model, called for every query and not checked.
    """

    price: np.ndarray  # in units of the evidence's quality per money
    escalates: np.ndarray  # whether answers are checked at this price
    spend: np.ndarray
    quality: np.ndarray
    n_calls: np.ndarray
    best_single: int

    @classmethod
    def replay(
        cls,
        policies: Sequence[CascadePolicy],
        fold: np.ndarray,
        terms: Terms,
        evidence: Evidence,
        quality: np.ndarray,
        cost: np.ndarray,
    ) -> CascadePath:
        """Replay training queries at every price; outcomes (n, M) are complete."""
        prices = find_prices(evidence.cost, terms.check_cost, _N_PRICES)
        points = []
        for price in (np.inf, *prices, 0.0):
            escalate, route = (
                replay_held_out(
                    policies,
                    fold,
                    replace(terms, price=price, escalates=escalates),
                    *(evidence, quality, cost),
                )
                for escalates in (True, False)
            )
            # At the cheapest there is nothing to check.
            better = np.isinf(price) or _is_better(route, escalate, price)
            kept = route if better else escalate
            points.append(
                [
                    *(price, not better, kept.spend.mean(), kept.quality.mean()),
                    kept.walk.n_calls.mean(),
                ]
            )
        single = best_on_average(quality.mean(axis=0), cost.mean(axis=0))
        means = cost[:, single].mean(), quality[:, single].mean()
        points.append([0.0, False, *means, 1.0])
        price, escalates, spend, gained, n_calls = np.array(points, dtype=float).T
        return cls(price, escalates.astype(bool), spend, gained, n_calls, single)

    def place_for_budget(self, budget: float) -> Place:
        """Find the place of the highest mean quality within a mean budget."""
        within = self.spend <= add_slack(budget)
        if not within.any():
            raise InfeasibleBudgetError(
                f"budget={budget:g} is below what the cheapest model costs, "
                f"{round_up(self.spend.min()):g} per query on average.",
                smallest_budget=round_up(self.spend.min()),
            )
        at = int(np.where(within, self.quality, -np.inf).argmax())
        return self._between(at, at + 1, self.spend, budget)

    def place_for_quality(self, target: float) -> Place:
        """Find the cheapest place whose mean quality reaches a target."""
        reached = self.quality >= target - 1e-9
        if not reached.any():
            raise InfeasibleBudgetError(
                f"min_quality={target:g} is out of reach; the highest mean quality "
                f"of the replayed queries is {self.quality.max():g}.",
                largest_quality=float(self.quality.max()),
            )
        at = int(np.where(reached, self.spend, np.inf).argmin())
        return self._between(at - 1, at, self.quality, target, reach=True)

    def place_for_price(self, price: float) -> Place:
        """Find the place of a price."""
        # The best single model has no price of its own.
        later = np.flatnonzero(self.price[:-1] <= price)
        return Place(price, bool(self.escalates[later[0]]))

    def place_for_best(self) -> Place:
        """Find the cheapest place of the highest mean quality."""
        return self.place_for_quality(float(self.quality.max()))

    def _between(
        self,
        low: int,
        high: int,
        values: np.ndarray,
        wanted: float,
        reach: bool = False,
    ) -> Place:
        """Find the price between two neighbours at which a mean has a value."""
        here, last = (high if reach else low), len(self.price) - 1
        if here == last:
            return Place(0.0, False, self.best_single)
        place = Place(float(self.price[here]), bool(self.escalates[here]))
        if low < 0 or high >= last or self.escalates[low] != self.escalates[high]:
            return place
        if not np.isfinite(self.price[low]) or self.price[high] == 0:
            return place
        rise = values[high] - values[low]
        if rise <= 0 or not self.quality[high] > self.quality[low]:
            return place
        share = float(np.clip((wanted - values[low]) / rise, 0, 1))
        ratio = float(self.price[high] / self.price[low])
        return replace(place, price=float(self.price[low]) * ratio**share)


@dataclass(frozen=True)
class Place:
    """Where on a path a cascade works."""

    price: float
    escalates: bool
    single: int | None = None  # model that is called for every query


def _is_better(route: Replay, escalate: Replay, price: float) -> bool:
    """Whether plain routing is better, by more than chance, than the cascade."""
    gain = route.quality - escalate.quality - price * (route.spend - escalate.spend)
    return bool(gain.mean() > _DOUBT * gain.std() / len(gain) ** 0.5)

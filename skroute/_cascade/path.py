"""What a cascade gives and costs at every price, replayed on training queries.

No formula tells what a cascade spends: how often it goes on depends on the answers. So
each query is replayed at every price by a policy that was learned without it. A budget
or a quality target is then a place on the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from sklearn.isotonic import isotonic_regression

from skroute._cascade.evidence import Outcomes
from skroute._cascade.policy import CascadePolicy, Terms, Walk, walk
from skroute._compute.cached import SavesFields
from skroute._compute.chunks import sample_evenly
from skroute._table.averages import best_on_average
from skroute._table.costs import add_slack, round_up
from skroute.exceptions import InfeasibleBudgetError

# Prices of a path between infinity and 0, and those that are looked at first.
_N_PRICES, _N_FIRST = 32, 10
# Prices, of one over the range of the costs: from money that buys next to nothing to
# money that is next to nothing.
_LOWEST, _HIGHEST = 0.003, 30.0
# A range of costs counts down to this part of what a call of the cheapest model costs.
_LEAST_RANGE = 0.1
# Training queries on which what is served is compared with the replay, and the standard
# errors by which both are far apart.
_MOST_SEEN, _FAR = 500, 3.0
# Neighbours on the path whose spends are further apart than this are not alike.
_JUMP = 1.5
# Where a curve has points between those of a path, as shares of the spend; and, where
# one call is made, which takes no time to replay, of the logarithm of the price.
_BETWEEN = (0.25, 0.5, 0.75)
_BETWEEN_ROUTED = tuple(np.arange(1, 8) / 8)
# Spends below this part of the largest are alike, and prices whose logarithms are this
# close.
_LEAST_SPEND, _SAME_PRICE = 3e-3, 0.02
# Qualities this far apart are equal.
_ROUNDING = 1e-9
# Standard errors by which something must be better than what is usual to replace it.
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
    policies: Sequence[CascadePolicy], known: Outcomes, terms: Terms
) -> Replay:
    """Replay each query by the policy that was learned without its fold."""
    n_queries, n_models = known.quality.shape
    calls = np.full((n_queries, min(terms.most_calls, n_models)), -1)
    answer = np.zeros(n_queries, dtype=np.intp)
    for number in np.unique(known.fold):
        rows = np.flatnonzero(known.fold == number)
        made = walk(policies[number], terms.take(rows), known.evidence.take(rows))
        calls[rows], answer[rows] = made.calls, made.answer
    return Replay.of(Walk(calls, answer), terms, known.quality, known.cost)


def find_prices(cost: np.ndarray, check_cost: float, n_prices: int) -> np.ndarray:
    """Find prices from high to low at which decisions differ, given costs (n, M)."""
    cheapest, range_ = _find_cost_scales(cost, check_cost)
    range_ = max(range_, _LEAST_RANGE * cheapest)
    return np.geomspace(_HIGHEST, _LOWEST, n_prices) / range_


def _find_cost_scales(cost: np.ndarray, check_cost: float) -> tuple[float, float]:
    """Find what a call of the cheapest model costs, and how far costs are apart."""
    cheapest = float(np.median(cost.min(axis=1))) + check_cost
    range_ = float(np.median(np.ptp(cost, axis=1))) + check_cost
    # Smaller differences are rounding.
    return cheapest, max(range_, 1e-4 * cheapest) or 1.0


def find_price_range(cost: np.ndarray, check_cost: float) -> tuple[float, float]:
    """Find the prices beyond which no decision changes, given expected costs (n, M)."""
    cheapest, range_ = _find_cost_scales(cost, check_cost)
    # Second calls of a cheap model are still bought where no other one is.
    highest = max(_HIGHEST, 3 * range_ / max(cheapest, range_ * 1e-4)) / range_
    return _LOWEST / max(range_, cheapest), highest


@dataclass(frozen=True)
class Place:
    """Where on a path a cascade works."""

    price: float
    escalates: bool
    single: int | None = None  # model that is called for every query


class Point(NamedTuple):
    """Means of the replayed queries at a price."""

    price: float
    escalates: bool
    spend: float
    quality: float
    n_calls: float

    @classmethod
    def of(cls, price: float, escalates: bool, replay: Replay) -> Point:
        """Average a replay."""
        spend, quality = float(replay.spend.mean()), float(replay.quality.mean())
        return cls(price, escalates, spend, quality, float(replay.walk.n_calls.mean()))

    def correct(self, spend: np.ndarray, quality: np.ndarray) -> Point:
        """Count what is served where it costs more, or gives less, than was replayed.

        Both are differences (n,) of what is served from what was replayed, and count
        where they are far more than chance.
        """
        more, less = find_excess(spend), find_excess(-quality)
        return self._replace(spend=self.spend + more, quality=self.quality - less)


def _find_widest(points: list[Point]) -> int:
    """Find the price between which and the next the spend rises most, relatively."""
    spend = np.array([point.spend for point in points])
    # Next to nothing, where the cheapest model is free, no rise is large.
    spend = np.maximum(spend, _LEAST_SPEND * spend.max())
    rise = np.diff(np.log(np.maximum(spend, 1e-300)))
    # Between infinity and the highest price, and before 0, there is no mean of prices.
    rise[[0, -1]] = -np.inf
    price = np.array([point.price for point in points[1:-1]])
    fall = -np.diff(np.log(price))
    # A jump, in the midst of which there is nothing.
    rise[1:-1][fall < _SAME_PRICE] = -np.inf
    if rise.max() > 0:
        return int(rise.argmax())
    return 1 + int(fall.argmax()) if len(price) > 1 else 0


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
        known: Outcomes,
        terms: Terms,
    ) -> CascadePath:
        """Replay training queries at prices whose spends are close to each other.

        Every quality is known. Answers are checked where `terms` say so, but for prices
        at which routing is better by more than chance.
        """
        quality, cost = known.quality, known.cost
        some = sample_evenly(len(quality), _MOST_SEEN)
        seen = known.take(some)

        def replay_at(price: float) -> Point:
            routing = replace(terms, price=price, escalates=False)
            route = replay_held_out(policies, known, routing)
            # At the cheapest there is nothing to check.
            if np.isinf(price) or not terms.escalates:
                return Point.of(price, False, route)
            escalating = replace(routing, escalates=True)
            escalate = replay_held_out(policies, known, escalating)
            gain = route.quality - escalate.quality
            if is_better(gain - price * (route.spend - escalate.spend)):
                return Point.of(price, False, route)
            # What is served was learned from all folds: where many queries are alike,
            # it may decide for all of them as no fold did.
            made = walk(policies[-1], escalating, seen.evidence)
            served = Replay.of(made, escalating, seen.quality, seen.cost)
            return Point.of(price, True, escalate).correct(
                served.spend - escalate.spend[some],
                served.quality - escalate.quality[some],
            )

        lowest, highest = find_price_range(known.evidence.cost, terms.check_cost)
        few = np.geomspace(highest, lowest, _N_FIRST)
        points = [replay_at(price) for price in (np.inf, *few, 0.0)]
        for _ in range(_N_PRICES - _N_FIRST):
            at = _find_widest(points)
            between = (points[at].price * points[at + 1].price) ** 0.5
            points.insert(at + 1, replay_at(between))
        single = best_on_average(quality.mean(axis=0), cost.mean(axis=0))
        price, escalates, spend, gained, n_calls = np.array(points, dtype=float).T
        # A lower price never buys less: what looks like it is noise.
        spend, gained = isotonic_regression(spend), isotonic_regression(gained)
        return cls(
            price=np.append(price, 0.0),
            escalates=np.append(escalates, 0).astype(bool),
            spend=np.append(spend, cost[:, single].mean()),
            quality=np.append(gained, quality[:, single].mean()),
            n_calls=np.append(n_calls, 1.0),
            best_single=single,
        )

    def refine(self) -> list[tuple[Place, float]]:
        """List places from infinity to 0, with some between, and what they spend."""
        places: list[tuple[Place, float]] = []
        for low in range(len(self.price) - 1):
            place = Place(float(self.price[low]), bool(self.escalates[low]))
            places.append((place, float(self.spend[low])))
            if low == len(self.price) - 2:
                continue
            if self._is_routed(low):
                places += self._route_between(low)
                continue
            if self.spend[low + 1] <= self.spend[low]:
                continue
            for share in _BETWEEN:
                spend = (1 - share) * self.spend[low] + share * self.spend[low + 1]
                between = self._between(low, low + 1, self.spend, float(spend))
                if between.price != place.price:
                    places.append((between, float(spend)))
        return places

    def _is_routed(self, low: int) -> bool:
        """Whether one call is made at all prices between an entry and the next."""
        finite = np.isfinite(self.price[low]) and self.price[low + 1] > 0
        return bool(finite and not self.escalates[low : low + 2].any())

    def _route_between(self, low: int) -> list[tuple[Place, float]]:
        """List prices between two entries at which one call is made."""
        price, spend = (values[low : low + 2] for values in (self.price, self.spend))
        return [
            (
                Place(float(price[0] * (price[1] / price[0]) ** share), False),
                float((1 - share) * spend[0] + share * spend[1]),
            )
            for share in _BETWEEN_ROUTED
        ]

    def place_for_budget(self, budget: float) -> Place:
        """Find the place of the highest mean quality within a mean budget."""
        within = self.spend <= add_slack(budget)
        if not within.any():
            raise InfeasibleBudgetError(
                f"budget={budget:g} is below what the cheapest model costs, "
                f"{round_up(self.spend.min()):g} per query on average.",
                smallest_budget=round_up(self.spend.min()),
            )
        # Of places of the same quality the cheapest: more money buys nothing there.
        at = int(np.where(within, self.quality, -np.inf).argmax())
        return self._between(at, at + 1, self.spend, budget)

    def reaches(self, target: float) -> bool:
        """Whether the mean quality reaches a target at any place."""
        return bool(self.quality.max() >= target - _ROUNDING)

    def place_for_quality(self, target: float) -> Place:
        """Find the cheapest place whose mean quality reaches a target in reach."""
        reached = self.quality >= target - _ROUNDING
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
        if rise <= 0 or self.quality[high] <= self.quality[low]:
            return place
        # A jump, in the midst of which there is nothing.
        if self.spend[high] > _JUMP * self.spend[low]:
            return place
        share = float(np.clip((wanted - values[low]) / rise, 0, 1))
        ratio = float(self.price[high] / self.price[low])
        return replace(place, price=float(self.price[low]) * ratio**share)


def find_excess(difference: np.ndarray) -> float:
    """Find the mean of differences (n,), or 0 where it is not far above chance."""
    mean, error = difference.mean(), difference.std() / len(difference) ** 0.5
    return float(mean) if mean > _FAR * error + _ROUNDING else 0.0


def is_better(gain: np.ndarray) -> bool:
    """Whether gains (n,) over what is usual are more than chance."""
    return bool(gain.mean() > _DOUBT * gain.std() / len(gain) ** 0.5)

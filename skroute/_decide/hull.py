"""Decisions at a shadow price, and how they change as the price falls.

As the price falls, each query climbs the upper concave hull of its (cost, quality)
points, from its cheapest model to its best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def choose(
    quality: np.ndarray, cost: np.ndarray, price: float, allowed: np.ndarray
) -> np.ndarray:
    """Decide every query at one shadow price; returns indices, (n_queries,).

    The model with the largest ``quality - price * cost`` is chosen, among those of
    `allowed` (broadcast to the (n_queries, n_models) of the estimates). Ties go to the
    cheaper model, then to the better one, then to the first. An infinite price chooses
    the cheapest model.
    """
    if np.isinf(price):
        gain = -cost
    elif price == 0:
        gain = quality
    else:
        gain = quality - price * cost
    if allowed.all():
        top = np.maximum.reduce(gain, axis=1, keepdims=True)
        # Ties are rare: usually each query has one best model.
        if np.count_nonzero(gain == top) == len(gain):
            return gain.argmax(axis=1)
    gain = np.where(allowed, gain, -np.inf)
    # Where a price overflows, all allowed models have a gain of minus infinity.
    ties = allowed & (gain == np.maximum.reduce(gain, axis=1, keepdims=True))
    spend = np.where(ties, cost, np.inf)
    ties &= spend == np.minimum.reduce(spend, axis=1, keepdims=True)
    return np.where(ties, quality, -np.inf).argmax(axis=1)


@dataclass(frozen=True)
class HullSteps:
    """Every climb of every query, from the highest price to the lowest."""

    #: The cheapest model of each query, (n_queries,): decisions at an infinite price.
    start: np.ndarray
    #: At a step, (n_steps,), query `row` leaves model `old` for model `new`.
    row: np.ndarray
    old: np.ndarray
    new: np.ndarray
    #: The price below which each step is taken, (n_steps,), non-increasing.
    price: np.ndarray

    def walk(self, values: np.ndarray) -> np.ndarray:
        """Sum values over the decisions, before any step and after each.

        `values`, (n_queries, n_models), are anything that adds up over queries: costs,
        qualities, indicators. The result is of shape (n_steps + 1,).
        """
        first = values[np.arange(len(self.start)), self.start].sum()
        change = values[self.row, self.new] - values[self.row, self.old]
        return first + np.r_[0.0, np.cumsum(change)]

    def find_levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Find the levels at which a price can stop: equal prices step together.

        Returns the number of steps taken at each level, from 0 to all, and a price that
        stops there: infinity, then halfway between the steps on either side (no
        rounding moves a decision), and 0 after the last one.
        """
        if self.price.size == 0:
            return np.array([0]), np.array([np.inf])
        falls = self.price[:-1] > self.price[1:] * (1 + 1e-9)
        ends = np.r_[np.flatnonzero(falls) + 1, len(self.price)]
        between = (self.price[ends[:-1] - 1] + self.price[ends[:-1]]) / 2
        return np.r_[0, ends], np.r_[np.inf, between, 0.0]

    def choose_after(self, n_steps: int) -> np.ndarray:
        """Give the decisions, (n_queries,), after the first `n_steps` steps."""
        choice = self.start.copy()
        # Later steps of a query overwrite earlier ones: they come in order.
        choice[self.row[:n_steps]] = self.new[:n_steps]
        return choice


def climb_hulls(
    quality: np.ndarray, cost: np.ndarray, allowed: np.ndarray | None = None
) -> HullSteps:
    """Climb the upper concave hull of every query's (cost, quality) points.

    Estimates are (n_queries, n_models); `allowed` leaves each query one model at least.
    """
    if allowed is None:
        allowed = np.ones((1, quality.shape[1]), dtype=bool)
    allowed = np.broadcast_to(allowed, quality.shape)
    start = choose(quality, cost, np.inf, allowed)
    rows = np.arange(len(start))
    here = start.copy()
    ceiling = np.full(len(start), np.inf)
    taken: list[tuple[np.ndarray, ...]] = []
    while len(rows):
        gain = quality[rows] - quality[rows, here][:, None]
        extra = cost[rows] - cost[rows, here][:, None]
        better = allowed[rows] & (gain > 0) & (extra > 0)
        climbs = better.any(axis=1)
        rows, here, ceiling = rows[climbs], here[climbs], ceiling[climbs]
        gain, extra, better = gain[climbs], extra[climbs], better[climbs]
        slope = np.full(gain.shape, -np.inf)
        # A step that costs next to nothing is infinitely steep.
        with np.errstate(over="ignore"):
            np.divide(gain, extra, out=slope, where=better)
        steepest = slope.max(axis=1, keepdims=True)
        # On a straight stretch of the hull take its far end at once.
        there = np.where(slope == steepest, gain, -np.inf).argmax(axis=1)
        # Slopes fall along a hull; rounding may lift one by an ulp, and the steps of a
        # query must stay in order.
        ceiling = np.minimum(ceiling, steepest[:, 0])
        taken.append((rows, here, there, ceiling))
        here = there
    if not taken:
        nothing = np.empty(0, dtype=np.intp)
        return HullSteps(start, nothing, nothing, nothing, np.empty(0))
    row, old, new, price = (np.concatenate(parts) for parts in zip(*taken, strict=True))
    turn = np.repeat(np.arange(len(taken)), [len(part[0]) for part in taken])
    order = np.lexsort((row, turn, -price))
    return HullSteps(start, row[order], old[order], new[order], price[order])

"""Replays of a cascade at fixed prices, on which a confidence is tested.

Each query is replayed by the policy that was learned without it, as for a path. But the
prices are the same whatever the outcomes are, and answers are checked at all finite
prices or at none: decisions that were chosen by the outcomes would be tested on what
they were chosen by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from skroute._cascade.evidence import Outcomes
from skroute._cascade.path import (
    Replay,
    find_excess,
    find_price_range,
    replay_held_out,
)
from skroute._cascade.policy import CascadePolicy, Terms, walk
from skroute._compute.cached import SavesFields
from skroute._compute.chunks import sample_evenly
from skroute._table.averages import best_on_average
from skroute._table.costs import add_slack

# Prices to each doubling, and about the most of them; all are powers of 2 or lie at the
# same places between these.
_PER_DOUBLING, _MOST_PRICES = 5, 80
# Queries on which what is served is compared with the replay.
_MOST_SEEN = 500


@dataclass(frozen=True)
class KnownReplays(SavesFields):
    """What a cascade gives and costs at prices that rise from 0 to infinity.

    Prices between which nothing changes are one row. Qualities are in the unit of the
    evidence, in single precision, as money is. Few queries change from a price to the
    next, so only these are kept.
    """

    price: np.ndarray  # (n_prices,) the lowest of a row
    highest: np.ndarray  # (n_prices,)
    escalates: np.ndarray  # (n_prices,)
    #: Where something changes, (n_changes,), as places in a table (n, n_prices) whose
    #: first column always does; and what each query gives and costs from there on.
    at: np.ndarray
    quality: np.ndarray
    spend: np.ndarray
    #: What is served gives less, and costs more, than was replayed, (n_prices,).
    less: np.ndarray
    more: np.ndarray
    #: Most money that all calls and checks of a query can cost, (n_prices,), if none
    #: costs more than the most expensive one seen.
    most: np.ndarray
    #: Queries of one number are not independent, (n,).
    number: np.ndarray
    #: The best single model; what it gives and costs, (n,), the most that its calls
    #: cost, and whether it may be called for every query.
    best_single: int
    single_quality: np.ndarray
    single_spend: np.ndarray
    single_most: float
    may_be_alone: bool

    @classmethod
    def replay(
        cls,
        policies: Sequence[CascadePolicy],
        known: Outcomes,
        terms: Terms,
        unit: np.ndarray,
    ) -> KnownReplays:
        """Replay queries whose every quality is known, at fixed prices.

        `unit`, (n,), numbers those that are not independent.
        """
        quality, cost = known.quality, known.cost
        seen = sample_evenly(len(quality), _MOST_SEEN)
        rows: list[_Row] = []
        for price in list_prices(known.evidence.cost, terms.check_cost):
            # At the cheapest there is nothing to check.
            escalates = terms.escalates and np.isfinite(price)
            at = replace(terms, price=price, escalates=escalates)
            row = _Row.of(at, policies, known, seen)
            if rows and row.is_same(rows[-1]):
                rows[-1] = rows[-1]._replace(highest=price)
            else:
                rows.append(row)
        single = best_on_average(quality.mean(axis=0), cost.mean(axis=0))
        within = known.evidence.cost[:, single] <= add_slack(np.asarray(terms.cap))
        parts = [row._asdict() for row in rows]
        columns: Any = {k: np.array([part[k] for part in parts]).T for k in parts[0]}
        changes = np.ones(columns["quality"].shape, dtype=bool)
        changes[:, 1:] = False
        for name in ("quality", "spend"):
            changes[:, 1:] |= np.diff(columns[name], axis=1) != 0
        for name in ("quality", "spend"):
            columns[name] = columns[name][changes]
        return cls(
            **columns,
            at=np.flatnonzero(changes),
            number=np.unique(unit, return_inverse=True)[1],
            best_single=single,
            single_quality=quality[:, single].astype(np.float32),
            single_spend=cost[:, single].astype(np.float32),
            single_most=float(cost[:, single].max()),
            may_be_alone=bool(within.all()),
        )

    def tabulate(self) -> tuple[np.ndarray, np.ndarray]:
        """Tabulate quality and money of each query at each price, (n_prices, n)."""
        shape = len(self.number), len(self.price)
        changes = np.zeros(shape[0] * shape[1], dtype=np.intp)
        changes[self.at] = 1
        latest = changes.cumsum() - 1
        quality, spend = (
            values[latest].reshape(shape).T.astype(np.float64)
            for values in (self.quality, self.spend)
        )
        return quality, spend


class _Row(NamedTuple):
    """The replay at a price, as `KnownReplays` names its parts."""

    price: float
    highest: float
    escalates: bool
    quality: np.ndarray
    spend: np.ndarray
    less: float
    more: float
    most: float

    @classmethod
    def of(
        cls,
        terms: Terms,
        policies: Sequence[CascadePolicy],
        known: Outcomes,
        seen: np.ndarray,
    ) -> _Row:
        """Replay queries on some terms, and those `seen` by what is served, too."""
        held_out = replay_held_out(policies, known, terms)
        less = more = 0.0
        if terms.escalates:
            # As on a path: what is served may decide as no fold did.
            part = known.take(seen)
            made = walk(policies[-1], terms.take(seen), part.evidence)
            served = Replay.of(made, terms, part.quality, part.cost)
            less = find_excess(held_out.quality[seen] - served.quality)
            more = find_excess(served.spend - held_out.spend[seen])
        calls = held_out.walk.calls
        n_calls = int(held_out.walk.n_calls.max())
        highest = known.cost.max(axis=0) + terms.check_cost * terms.escalates
        called = np.unique(calls[calls >= 0])
        most = np.sort(highest[called])[-n_calls:].sum()
        return cls(
            terms.price,
            terms.price,
            terms.escalates,
            held_out.quality.astype(np.float32),
            held_out.spend.astype(np.float32),
            less,
            more,
            float(most),
        )

    def is_same(self, other: _Row) -> bool:
        """Whether decisions are as at another price, by all that they gave and cost."""
        return (
            self.escalates == other.escalates
            and (self.less, self.more, self.most)
            == (other.less, other.more, other.most)
            and np.array_equal(self.quality, other.quality)
            and np.array_equal(self.spend, other.spend)
        )


def list_prices(cost: np.ndarray, check_cost: float) -> list[float]:
    """List the prices that are tested, from 0 to infinity, given expected costs (n, M).

    The costs say only which part of the fixed prices is needed.
    """
    low, high = np.log2(find_price_range(cost, check_cost)) * _PER_DOUBLING
    places = np.arange(np.floor(low), np.ceil(high) + 1)
    # A wide range needs no more prices: at most of them nothing changes.
    step = -(-len(places) // _MOST_PRICES)
    places = places[places % step == 0]
    return [0.0, *np.exp2(places / _PER_DOUBLING).tolist(), np.inf]

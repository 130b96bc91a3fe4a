"""What a cascade would have done on queries whose outcomes are known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skroute._cascade.evidence import Evidence
from skroute._cascade.fitted import FittedCascade
from skroute._cascade.path import Replay
from skroute._cascade.policy import Terms, walk
from skroute._decide.fallbacks import names_of_choices
from skroute._table.hindsight import find_floor, mark_good_calls
from skroute._table.numbers import check_sample_weight
from skroute.metrics import RoutingCurve


@dataclass(frozen=True)
class ReplayedTable:
    """Queries to replay, with complete outcomes (n, M) in the unit of the evidence."""

    fitted: FittedCascade
    evidence: Evidence
    quality: np.ndarray
    cost: np.ndarray
    available: np.ndarray
    models: np.ndarray  # names in the caller's order
    order: np.ndarray  # of the columns, as positions in `models`

    def replay(self, terms: Terms) -> Replay:
        """Replay the queries on some terms."""
        made = walk(self.fitted.policy, terms, self.evidence, self.available)
        return Replay.of(made, terms, self.quality, self.cost)

    def name(self, terms: Terms, rows: np.ndarray) -> CascadeReplay:
        """Replay the queries, and name what was called, in the caller's unit."""
        replayed = self.replay(terms)
        n_calls, names = replayed.walk.n_calls, self.models[self.order]
        return CascadeReplay(
            calls=names_of_choices(names, replayed.walk.calls),
            answer=names_of_choices(names, replayed.walk.answer),
            n_calls=n_calls,
            n_checks=n_calls * terms.escalates,
            spend=replayed.spend,
            quality=self.fitted.unit.restore(replayed.quality),
            rows=rows,
            _table=self,
            _terms=terms,
        )


@dataclass(frozen=True)
class CascadeReplay:
    """Calls, spend and quality of a cascade on known outcomes.

    Attributes
    ----------
    calls : ndarray of str of shape (n_queries, n_calls)
        Models in the order of their calls; ``None`` after the last one. As wide as the
        most calls that a query may take.
    answer : ndarray of str of shape (n_queries,)
        Model whose answer was returned.
    n_calls : ndarray of int of shape (n_queries,)
        Number of calls.
    n_checks : ndarray of int of shape (n_queries,)
        Number of answers that were checked.
    spend : ndarray of shape (n_queries,)
        Money for all calls and checks.
    quality : ndarray of shape (n_queries,)
        Quality of the answer that was returned.
    rows : ndarray of int of shape (n_queries,)
        Rows that were replayed: those of which every quality is known.
    """

    calls: np.ndarray
    answer: np.ndarray
    n_calls: np.ndarray
    n_checks: np.ndarray
    spend: np.ndarray
    quality: np.ndarray
    rows: np.ndarray
    _table: ReplayedTable = field(repr=False)
    _terms: Terms = field(repr=False)

    @property
    def mean_spend(self) -> float:
        """Money per query."""
        return float(self.spend.mean())

    @property
    def mean_quality(self) -> float:
        """Mean quality of the answers that were returned."""
        return float(self.quality.mean())

    @property
    def mean_calls(self) -> float:
        """Number of calls per query."""
        return float(self.n_calls.mean())

    def curve(self, sample_weight: Any = None) -> RoutingCurve:
        """Sweep the price, and replay the queries at each.

        Parameters
        ----------
        sample_weight : array-like of shape (n_queries,), default=None
            How much each replayed query counts; ``None``: all alike.

        Returns
        -------
        RoutingCurve
            As :func:`skroute.metrics.routing_curve` gives it, for the metrics and
            displays. `cost` counts all calls and checks, `call_share` the answers that
            are returned; the shares of calls may add up to more.
        """
        table, path = self._table, self._table.fitted.path
        unit = table.fitted.unit
        quality, cost = unit.restore(table.quality), table.cost
        weight = check_sample_weight(sample_weight, len(quality))
        counted = int((weight > 0).sum())
        weight /= weight.sum()
        good = mark_good_calls(quality, int((weight @ cost).argmax()))
        rows, models = np.arange(len(quality)), np.arange(quality.shape[1])
        places, points = path.refine(), []  # from the smallest spend on
        for place, _ in places:
            terms = replace(
                self._terms, price=place.price, escalates=place.escalates, single=None
            )
            replayed = table.replay(terms)
            answer = replayed.walk.answer
            points.append(
                [
                    weight @ replayed.spend,
                    weight @ quality[rows, answer],
                    weight @ (answer[:, None] == models),
                    1.0 - weight @ good[rows, answer],
                ]
            )
        spend, gained, share, collapse = map(np.array, zip(*points, strict=True))
        budget = np.array([spend for _, spend in places])
        price = np.array([place.price for place, _ in places])
        by_budget, column = np.argsort(budget, kind="stable"), np.argsort(table.order)
        floor_cost, floor_quality = find_floor(quality, cost)
        return RoutingCurve(
            budget=budget[by_budget],
            cost=spend[by_budget],
            quality=gained[by_budget],
            call_share=share[by_budget][:, column],
            collapse=collapse[by_budget],
            model_quality=(weight @ quality)[column],
            model_cost=(weight @ cost)[column],
            floor=(float(weight @ floor_cost), float(weight @ floor_quality)),
            ceiling=float(weight @ cost.max(axis=1)),
            models=table.models,
            price=price[by_budget] * unit.extent,
            scope="mean",
            n_queries=counted,
        )

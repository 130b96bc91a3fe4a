"""Keeping what calls really cost to the mean budget, by moving the shadow price."""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from skroute.base import make_decider
from skroute.decision import BudgetDecider
from skroute.serve.decisions import Decision
from skroute.serve.meters import Meters
from skroute.serve.saved import SavedRouter, merge_rule

logger = logging.getLogger("skroute.serve")

# Decided queries that are remembered until their outcome is told.
_MOST_OPEN = 10_000
# Bills after which their sum is compared with what was expected, and by how many times
# it may be off before it is probably in another unit.
_FEW_BILLS, _OTHER_UNIT = 50, 20.0


class Pacer:
    """Moves the shadow price of a service's decider with what its calls cost.

    The queries that count are those that were decided by the rule of the service and
    whose bill is known to it: a request with a rule of its own is not among them. The
    account of overspending outlives the router's file: another router goes on with it.

    Parameters
    ----------
    meters : Meters
        Shows budget, price, queries and spend.
    """

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._decider: BudgetDecider | None = None
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Decision] = OrderedDict()
        self._n_bills, self._billed, self._expected = 0, 0.0, 0.0

    def take(self, saved: SavedRouter, rule: Mapping[str, Any]) -> SavedRouter:
        """Put a decider behind a router whose price moves; raises ``ValueError``."""
        decider = saved.decider
        if rule or decider is None:
            decider = make_decider(saved.router, merge_rule(saved, dict(rule)))
        if decider.budget is None or decider.scope != "mean":
            raise ValueError(
                "there is no mean budget to pace: give --budget, or save the router "
                "with a BudgetDecider(budget=...) behind it."
            )
        if decider.confidence is not None:
            raise ValueError(
                "confidence promises something of a shadow price that stays, and "
                "pacing moves it: leave one of them out."
            )
        return saved._replace(decider=decider)

    def use(self, saved: SavedRouter) -> None:
        """Go on with another router, which `take` gave a decider."""
        decider = saved.decider
        assert decider is not None
        with self._lock:
            if self._decider is not None:
                decider.continue_stream(self._decider)
            self._decider = decider
            # `take` saw that it is a number.
            budget: Any = decider.budget
            self._meters.show_pace(float(budget), decider.price_)

    def remember(self, queries: list[str], decisions: list[Decision]) -> None:
        """Remember queries until their outcomes are told, the oldest not for ever."""
        with self._lock:
            self._open |= zip(queries, decisions, strict=True)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)

    def tell(self, outcomes: list[tuple[str, float, str | None]]) -> list[str]:
        """Count outcomes: query, cost (NaN: unknown) and the model that was called.

        ``None`` is the first model of the decision. Returns the queries that are not
        counted, because they are not known or were told of before. Raises
        ``ValueError`` where a model is none, and then counts nothing.
        """
        known, others = list[tuple[Decision, float, str]](), list[str]()
        with self._lock:
            for query, _, model in outcomes:
                decision = self._open.get(query)
                if decision is None or model is None or model in decision.quality:
                    continue
                raise ValueError(
                    f"the model {model[:80]!r} of query {query!r} is none of "
                    f"{', '.join(decision.quality)}."
                )
            for query, cost, model in outcomes:
                decision = self._open.pop(query, None)
                if decision is None:
                    others.append(query)
                else:
                    known.append((decision, cost, model or decision.order[0]))
        for decision, cost, model in known:
            self.count(decision, model, cost)
        return others

    def count(self, decision: Decision, called: str, cost: float) -> None:
        """Count the bill of a query, NaN where it is unknown; all its calls together.

        Never fails: a request was answered already.
        """
        with self._lock:
            decider = self._decider
            assert decider is not None
            models = [str(name) for name in decider.models_]
            if models != list(decision.quality):
                # Another router serves meanwhile, with other models.
                logger.warning("a bill of a query that an older router decided is lost")
                return
            Z = np.array([[*decision.quality.values(), *decision.cost.values()]])
            place = models.index(called)
            try:
                decider.partial_fit(Z, costs=[cost], called=[place])
            except Exception as error:
                logger.error("a bill of %s cannot be counted: %s", called, repr(error))
                return
            expected = decision.cost[called]
            spent = expected if math.isnan(cost) else cost
            self._meters.count_paced(spent, decider.price_)
            if not math.isnan(cost):
                self._compare(cost, expected)

    def _compare(self, cost: float, expected: float) -> None:
        """Say once if bills seem to be in another unit than the router's costs."""
        self._n_bills += 1
        self._billed += cost
        self._expected += expected
        if self._n_bills != _FEW_BILLS or self._expected <= 0:
            return
        ratio = self._billed / self._expected
        if not 1 / _OTHER_UNIT <= ratio <= _OTHER_UNIT:
            logger.warning(
                "the first %d bills are %.3g times what the router expects of them: "
                "are its costs, and the budget, in the unit of the bills?",
                self._n_bills,
                ratio,
            )

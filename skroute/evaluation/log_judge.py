"""Judge decisions on held-out calls of a log, and say what weakens the result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from skroute.evaluation.log_input import Log
from skroute.evaluation.log_verdict import ESTIMATED
from skroute.evaluation.logs import PolicyValue, judge_log, tells_little
from skroute.evaluation.splits import OutcomeTable


class Decided(NamedTuple):
    """Decisions on held-out queries, and the estimates of the first router."""

    choice: dict[str, dict[str, np.ndarray]]
    single: np.ndarray
    quality: np.ndarray
    cost: np.ndarray


class HeldOutCalls:
    """Judges decisions on all held-out calls."""

    def __init__(
        self,
        table: OutcomeTable,
        called: np.ndarray,
        chances: np.ndarray,
        decided: Decided,
        logged: np.ndarray,
        level: float,
    ) -> None:
        self.rows, self.level = logged, level
        self.called = called[logged]
        at = logged, self.called
        unit = np.unique(table.duplicates.number_units()[logged], return_inverse=True)[
            1
        ]
        self.log = {
            "called": self.called,
            "quality": table.quality[at],
            "cost": table.spend[at],
            # Where all are different queries, each is one draw.
            "groups": unit if unit.max() + 1 < len(unit) else None,
        }
        self.chances = {
            "propensity": chances[logged],
            "expected_quality": decided.quality[logged],
            "expected_cost": decided.cost[logged],
        }
        self.misfit: str | None = None

    def judge(self, choice: np.ndarray) -> PolicyValue:
        """Judge decisions (n_queries,) on the logged queries."""
        log = Log.check(choice[self.rows], **self.log, **self.chances)
        value, misfit = judge_log(log, self.level)
        self.misfit = self.misfit or misfit
        return value

    def judge_log_itself(self) -> PolicyValue:
        """Average what was logged: with certainty, the calls are its own decisions."""
        always = {"propensity": np.ones(len(self.called))}
        estimates = {"expected_quality": None, "expected_cost": None}
        log = Log.check(self.called, **self.log, **always, **estimates)
        return judge_log(log, self.level)[0]


def list_doubts(
    values: dict[str, dict[str, PolicyValue]],
    single: PolicyValue,
    misfit: str | None,
    estimated: bool,
    n_queries: int,
) -> Iterator[str]:
    """Say what weakens the values."""
    if estimated:
        yield ESTIMATED
    if misfit is not None:
        yield misfit
    thin = [
        f"{name} ({rule})"
        for name, by_rule in values.items()
        for rule, value in by_rule.items()
        if tells_little(value)
    ]
    thin += ["the best single model"] if tells_little(single) else []
    if thin:
        yield (
            f"The log tells little of {', '.join(thin)}: it is worth few of its "
            f"{n_queries:,} queries for them, or covers less than 90% of their calls, "
            "and the rest is what estimates say. Log more exploration, or more calls."
        )

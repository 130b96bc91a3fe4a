"""What to call next, and whose answer to return: by order, or by a cascade."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from skroute.cascade import CascadeDecider
from skroute.exceptions import InfeasibleBudgetError
from skroute.serve.checks import fails

logger = logging.getLogger("skroute.serve")


@dataclass
class Call:
    """An answer of a model."""

    model: str
    response: Any = None
    seconds: float = 0.0
    cost: float = math.nan
    #: What each check said.
    said: dict[str, float] = field(default_factory=dict)
    #: What the answer comes down to, where answers are compared.
    label: str | None = None
    #: Counts of tokens, where the provider tells them.
    tokens: dict[str, int] = field(default_factory=dict)


class Plan(Protocol):
    """Decides from call to call."""

    def choose(self, answers: list[Call], failed: Sequence[str]) -> str | None:
        """Choose the model to call; None is to stop. Those of `failed` gave nothing."""

    def take(self, answers: list[Call]) -> Call:
        """Take the answer to return; there is at least one."""


@dataclass
class OrderedPlan:
    """Models in an order, until an answer passes its checks.

    After one that fails, models that are expected to be at least as good come first.
    """

    order: list[str]
    quality: Mapping[str, float]

    def choose(self, answers: list[Call], failed: Sequence[str]) -> str | None:
        """Choose the model to call; see `Plan`."""
        if answers and not fails(answers[-1].said):
            return None
        tried = {*failed, *(call.model for call in answers)}
        left = [model for model in self.order if model not in tried]
        for call in answers:
            level = self.quality.get(call.model, math.nan)
            left.sort(key=lambda other, level=level: self.quality[other] < level)  # type: ignore[misc]
        return left[0] if left else None

    def take(self, answers: list[Call]) -> Call:
        """Take the one that passed, the last; else that of the best model."""
        if not fails(answers[-1].said):
            return answers[-1]
        return _take_of_best(answers, self.quality)


@dataclass
class CascadePlan:
    """A cascade weighs what the checks said against the price of another call.

    An answer that fails a check which the cascade does not know, such as the schema of
    a request, is none to it.
    """

    cascade: CascadeDecider
    quality: Mapping[str, float]
    cost: Mapping[str, float]
    #: Checks in the order in which the cascade learned them.
    checks: Sequence[str]

    def choose(self, answers: list[Call], failed: Sequence[str]) -> str | None:
        """Choose the model to call; see `Plan`."""
        usable = self._find_usable(answers)
        called = {call.model for call in usable}
        out = {*failed, *(call.model for call in answers)} - called
        left = [name for name in self.quality if name not in out]
        if not set(left) - called:
            return None
        may = left if out else None
        try:
            chosen = self.cascade.next(self._Z, *self._tell(usable), available=may)[0]
        except InfeasibleBudgetError:
            if not (answers or failed):
                raise
            return None
        except ValueError as error:
            if not answers:
                raise
            logger.error("a cascade stops, since %s", error)
            return None
        return None if chosen is None else str(chosen)

    def take(self, answers: list[Call]) -> Call:
        """Take the one that is most likely right."""
        usable = self._find_usable(answers)
        if not usable:
            return _take_of_best(answers, self.quality)
        try:
            name = self.cascade.answer(self._Z, *self._tell(usable))[0]
        except ValueError as error:
            logger.error("the answer of the best model is returned, since %s", error)
            return _take_of_best(usable, self.quality)
        return next(call for call in usable if call.model == str(name))

    @property
    def _Z(self) -> np.ndarray:
        return np.array([[*self.quality.values(), *self.cost.values()]])

    def _find_usable(self, answers: list[Call]) -> list[Call]:
        known = set(self.checks)
        return [
            call
            for call in answers
            if not fails({n: v for n, v in call.said.items() if n not in known})
        ]

    def _tell(self, usable: list[Call]) -> tuple[Any, Any, Any]:
        """Tell the cascade of calls, their checks and answers, for one query."""
        if not usable:
            return None, None, None
        called = [[call.model for call in usable]]
        checks = labels = None
        if self.checks:
            said = [[c.said.get(n, math.nan) for n in self.checks] for c in usable]
            checks = np.array([said])
            if len(self.checks) == 1:
                checks = checks[:, :, 0]
        if self.cascade.reads_answers_:
            labels = np.array([[call.label for call in usable]], dtype=object)
        return called, checks, labels


def _take_of_best(answers: list[Call], quality: Mapping[str, float]) -> Call:
    return max(answers, key=lambda call: quality.get(call.model, math.nan))

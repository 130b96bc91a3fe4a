"""Settling a rule: the price of money at which its parameters are met.

A decider settles its rule on a path in `fit`, and again when it is asked under other
parameters. A router settles the rule of one call on the path that it keeps.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from skroute._compute.drafts import FitsOnDraft, snapshot
from skroute._decide.candidates import good_enough, under_cap
from skroute._decide.pacing import Pace
from skroute._decide.price_path import Price, PricePath
from skroute._decide.rule import (
    check_rule,
    check_same_path,
    is_same_rule,
    needs_path,
    quality_target,
)
from skroute.exceptions import InfeasibleBudgetError

__all__ = ["SettlesRule"]


class SettlesRule(FitsOnDraft):
    """What a :class:`~skroute.BudgetDecider` keeps of `fit`: a settled rule.

    The parameters are those of the decider. What is settled holds the parameters that
    it was settled for, so that a change is seen by whoever decides.
    """

    budget: Any
    scope: Any
    min_quality: Any
    price: Any
    tolerance: Any
    on_infeasible: Any
    models_: np.ndarray
    price_path_: PricePath
    # The parameters that were settled, and what answers them.
    _rule: tuple[Any, ...]
    _price: Price
    _target: float | None
    _best_single: float
    # Where a running stream stands; None outside one.
    _pace: Pace | None

    def _check_parameters(self) -> None:
        check_rule(*self._asked())

    def _asked(self) -> tuple[Any, ...]:
        return (
            self.budget,
            self.scope,
            self.min_quality,
            self.price,
            self.tolerance,
            self.on_infeasible,
        )

    def _settle(self, models: np.ndarray, path: PricePath, best_single: float) -> Self:
        """Find the price on a path; what `fit` learns is set here, or nothing."""
        target = quality_target(self.min_quality, best_single)
        price = Price(0.0 if self.price is None else float(self.price))
        try:
            if target is not None and self.scope != "batch":
                price = path.price_for_quality(target)
            elif self.budget is not None and self.scope == "mean":
                price = path.price_for_budget(self.budget)
            elif self.price is None and self.budget is None and not self.tolerance:
                price = path.price_for_best()
        except InfeasibleBudgetError:
            if self.on_infeasible == "raise":
                raise
            price = Price(0.0 if target is not None else np.inf)
        self.models_ = models
        self.price_path_ = path
        self._best_single = best_single
        self._target = target
        self._price = price
        self._rule = self._asked()
        # A stream that was running ends with a new fit.
        self._pace = None
        return self

    def _snapshot(self) -> Self:
        state = snapshot(self)
        if "_rule" in vars(state):
            state._settle_again()
        return state

    def _settle_again(self) -> None:
        """Find the price of parameters that changed since it was found."""
        if is_same_rule(self._rule, self._asked()):
            return
        self._check_parameters()
        check_same_path(self._rule, self._asked())
        if self._pace is not None and self.budget is not None and self.scope == "mean":
            self._price, self._target = self._pace.price(float(self.budget)), None
            self._rule = self._asked()
        else:
            self._settle(self.models_, self.price_path_, self._best_single)

    def _narrows(self) -> bool:
        """Whether a cap or a tolerance takes models out of play."""
        capped = self.scope == "query" and self.budget is not None
        return capped or self.tolerance > 0

    def _decides_rows(self) -> bool:
        """Whether no query's decision depends on others of its call; once settled."""
        return self.scope == "mean" and self._price.low is None

    def _needs_path(self) -> bool:
        """Whether the price is to be found on training traffic."""
        return needs_path(*self._asked())

    def _allowed(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        mask: np.ndarray,
        *,
        again: bool = False,
    ) -> np.ndarray:
        """Models in play: available, under the cap, no more expensive than good enough.

        Looked at `again` for alternatives, a query may be left without any.
        """
        if self.budget is not None and self.scope == "query":
            leaves = again and self.on_infeasible == "raise"
            on_stuck = "leave" if leaves else self.on_infeasible
            mask = under_cap(cost, mask, self.budget, on_stuck)
        if self.tolerance > 0:
            mask = good_enough(quality, cost, mask, self.tolerance)
        return mask

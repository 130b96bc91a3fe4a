"""What a CascadeDecider learned, and how its parts work together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from skroute._cascade.checks import Check, ExactCheck, StatedCheck
from skroute._cascade.evidence import Evidence, Outcomes
from skroute._cascade.path import (
    CascadePath,
    Place,
    find_prices,
    is_better,
    replay_held_out,
)
from skroute._cascade.policy import CascadePolicy, Terms, choose_calls
from skroute._cascade.promise import promise_place
from skroute._cascade.tested import KnownReplays
from skroute._cascade.training import CascadeTraining
from skroute._cascade.validity import check_path, check_policy, check_tested
from skroute._compute.cached import SavesFields
from skroute._compute.chunks import sample_evenly
from skroute._decide.guarantee import Guarantee
from skroute._decide.rule import Rule
from skroute.exceptions import InfeasibleBudgetError

# Queries that are replayed to compare policies, and to make a path; and prices at which
# policies are compared.
_MOST_COMPARED, _N_COMPARED, _MOST_REPLAYED = 1000, 6, 2000
# Queries on which a confidence is tested, which are kept.
_MOST_TESTED = 4000
# Prices at which a router is looked at while situations are simulated.
_N_SIMULATED = 16
# The highest quality of a table whose unit is 0 to 1 is above this.
_USUAL = 0.5
# Least queries with every outcome known, on which a cascade can be replayed.
LEAST_COMPLETE = 20


@dataclass(frozen=True)
class Unit:
    """The unit of qualities in which the worst is 0 and the best 1."""

    worst: float
    extent: float

    @classmethod
    def of(cls, quality: np.ndarray) -> Unit:
        """Find the unit of qualities; those between 0 and 1 are left as they are.

        But not where all are far below 1: they would be taken for wrong answers.
        """
        low, high = float(np.nanmin(quality)), float(np.nanmax(quality))
        if low >= 0 and high <= 1:
            return cls(0.0, 1.0 if high > _USUAL or high == 0 else high)
        return cls(low, (high - low) or 1.0)

    def check(self, quality: np.ndarray) -> None:
        """Refuse what can be no quality; beyond those of fit there may be others."""
        room = 0.0 if (self.worst, self.extent) == (0.0, 1.0) else self.extent / 2
        low, high = self.worst - room, self.worst + self.extent + room
        outside = (quality < low) | (quality > high)
        if outside.any():
            raise ValueError(
                "checks of an exact check must be the qualities of the answers, which "
                f"are between {low:g} and {high:g}; got {quality[outside][0]:g}. What "
                "other checks mean is learned where fit is given them."
            )

    def scale(self, quality: Any) -> Any:
        """Scale qualities."""
        return (quality - self.worst) / self.extent

    def restore(self, quality: Any) -> Any:
        """Bring scaled qualities back to the caller's unit."""
        return quality * self.extent + self.worst


class State(NamedTuple):
    """Where some queries stand: the next call, and the best answer so far; -1: none."""

    chosen: np.ndarray  # (n,)
    best: np.ndarray  # (n,)
    value: np.ndarray  # (n,) expected quality of the best answer; NaN without one
    worth: np.ndarray  # (n, M) gain of each call less its charge; -inf: may not be
    money: np.ndarray  # (n, M) cost of each call with its check


@dataclass(frozen=True)
class FittedCascade(SavesFields):
    """A policy, and the path on which prices are found."""

    policy: CascadePolicy
    path: CascadePath
    unit: Unit
    n_checks: int  # of an answer; 0 where only answers are compared
    has_answers: bool
    #: What a confidence is tested on; None where none was asked for in fit.
    tested: KnownReplays | None = None

    def check(self) -> int:
        """Check what may come from a file; returns the number of models.

        Raises a ``ValueError`` if parts do not fit each other.
        """
        n_models = check_policy(self.policy, self.n_checks, self.has_answers)
        check_path(self.path, n_models)
        check_tested(self.tested, n_models)
        unit = self.unit
        if not (
            isinstance(unit, Unit)
            and 0 < unit.extent < np.inf
            and np.isfinite(unit.worst)
        ):
            raise ValueError("its unit is not one")
        return n_models

    def choose(
        self, terms: Terms, evidence: Evidence, called: np.ndarray, allowed: np.ndarray
    ) -> State:
        """Choose the next call of each query, and find the best answer so far."""
        n_queries = len(called)
        n_called = called.sum(axis=1)
        state = State(
            chosen=np.full(n_queries, -1),
            best=np.full(n_queries, -1),
            value=np.full(n_queries, np.nan),
            worth=np.full(called.shape, -np.inf),
            money=terms.add_check(evidence.cost),
        )
        for number in np.unique(n_called):
            rows = np.flatnonzero(n_called == number)
            chosen, worth, belief = choose_calls(
                *(self.policy, terms.take(rows), evidence.take(rows)),
                *(called[rows], allowed[rows]),
            )
            state.chosen[rows], state.worth[rows] = chosen, worth
            if belief is not None:
                state.best[rows], state.value[rows] = belief.best, belief.value
        return state

    def find_best(self, evidence: Evidence, called: np.ndarray) -> np.ndarray:
        """Find whose answer is the best (n,) of those called; -1 where none was."""
        best = np.full(len(called), -1)
        n_called = called.sum(axis=1)
        for number in np.unique(n_called[n_called > 0]):
            rows = np.flatnonzero(n_called == number)
            best[rows] = self.policy.judge(evidence.take(rows), called[rows]).best
        return best

    def evidence(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        checks: np.ndarray | None,
        answers: np.ndarray | None,
    ) -> Evidence:
        """Put together what is known of queries, in the unit of the policy."""
        unit = self.unit
        # An exact check is a quality, too.
        if checks is not None and isinstance(self.policy.check, ExactCheck):
            checks = unit.scale(checks).clip(0, 1)
        return Evidence(unit.scale(quality).clip(0, 1), cost, checks, answers)

    def settle(self, rule: Rule) -> tuple[Place, float | None, Guarantee | None]:
        """Find the place that meets a rule, the quality target, and what is promised.

        It is a place on the path or, with a confidence, one that was tested.
        """
        if rule.confidence is None:
            return *self._find_place(rule), None
        if self.tested is None:
            raise ValueError(
                "confidence is tested on replays of the training queries, and none "
                "are kept here: fit the decider again, with the confidence set "
                "before. One that an older version saved has none either."
            )
        target = self._find_target(rule)
        try:
            place, guarantee = promise_place(
                rule, self.tested, self.unit.worst, self.unit.extent
            )
        except InfeasibleBudgetError:
            if rule.on_infeasible == "raise":
                raise
            if target is None:
                return Place(np.inf, False), None, None
            return self.path.place_for_best(), target, None
        return place, target, guarantee

    def _find_target(self, rule: Rule) -> float | None:
        """Give the quality target of a rule as a number."""
        return rule.quality_target(self.unit.restore(float(self.path.quality[-1])))

    def _find_place(self, rule: Rule) -> tuple[Place, float | None]:
        """Find the place on the path that meets a rule, and the quality target."""
        path, unit = self.path, self.unit
        target = self._find_target(rule)
        if target is not None:
            if path.reaches(unit.scale(target)):
                return path.place_for_quality(unit.scale(target)), target
            if rule.on_infeasible == "raise":
                highest = float(unit.restore(path.quality.max()))
                raise InfeasibleBudgetError(
                    f"min_quality={rule.min_quality!r} asks for a mean quality of "
                    f"{target:g}, which is out of reach; the highest of the replayed "
                    f"queries is {highest:g}.",
                    largest_quality=highest,
                )
            return path.place_for_best(), target
        if rule.has_mean_budget:
            try:
                return path.place_for_budget(float(rule.budget)), None
            except InfeasibleBudgetError:
                if rule.on_infeasible == "raise":
                    raise
                return Place(np.inf, False), None
        if rule.price is not None:
            return path.place_for_price(rule.price / self.unit.extent), None
        if rule.budget is not None:
            return path.place_for_price(0.0), None
        return path.place_for_best(), None


def simulate_checks(
    check: Check | None, quality: np.ndarray, rng: np.random.RandomState
) -> np.ndarray | None:
    """Draw what a check would say of scaled outcomes (n, M), (n, M, 1)."""
    if isinstance(check, ExactCheck):
        return quality[..., None]
    if isinstance(check, StatedCheck):
        passes = quality * check.sensitivity + (1 - quality) * (1 - check.specificity)
        passed = rng.random_sample(quality.shape) < passes
        return np.where(np.isfinite(quality), passed, np.nan)[..., None]
    return None


def fit_cascade(
    known: Outcomes,
    terms: Terms,
    unit: Unit,
    check: Check | None,
    seed: int,
    units: np.ndarray | None = None,
) -> FittedCascade:
    """Fit policies, choose one by replay, and replay it at all prices.

    With `units`, (n,), numbers of queries that are not independent, replays are kept
    on which a confidence can be tested.
    """
    evidence = known.evidence
    prices = find_prices(evidence.cost, terms.check_cost, _N_SIMULATED)
    training = CascadeTraining(known, prices, terms.max_calls, seed, check)
    independent, learned = training.fit()
    # The same without a discount on what may follow a first call.
    undiscounted = [
        replace(policy, outlook=replace(policy.outlook, share=1.0))
        for policy in learned
    ]
    candidates = [learned, undiscounted, independent]
    # What may follow is known better where it is known how often a check is right.
    if check is not None and evidence.answers is None:
        candidates = [undiscounted, independent]
    complete = np.flatnonzero(np.isfinite(known.quality).all(axis=1))
    tested_rows = complete[sample_evenly(len(complete), _MOST_TESTED)]
    complete = complete[sample_evenly(len(complete), _MOST_REPLAYED)]
    policies, pays = _choose_policies(candidates, known.take(complete), terms, prices)
    # In doubt, no answer is checked: checks take money and time.
    terms = replace(terms, escalates=pays)
    path = CascadePath.replay(policies, known.take(complete), terms)
    tested = None
    if units is not None:
        tested = KnownReplays.replay(
            policies, known.take(tested_rows), terms, units[tested_rows]
        )
    n_checks = 0 if evidence.checks is None else evidence.checks.shape[2]
    has_answers = evidence.answers is not None
    return FittedCascade(policies[-1], path, unit, n_checks, has_answers, tested)


def _choose_policies(
    candidates: list[list[CascadePolicy]],
    known: Outcomes,
    terms: Terms,
    prices: np.ndarray,
) -> tuple[list[CascadePolicy], bool]:
    """Choose the policies that replay best, the first ones if in doubt.

    Says also whether they are better than routing, which checks nothing.
    """
    known = known.take(sample_evenly(len(known.quality), _MOST_COMPARED))
    prices = prices[sample_evenly(len(prices), _N_COMPARED)]
    best, *others = candidates
    usual = _rate_policies(best, known, terms, prices)
    for policies in others:
        utility = _rate_policies(policies, known, terms, prices)
        if is_better((utility - usual).mean(axis=0)):
            best, usual = policies, utility
    routing = _rate_policies(best, known, replace(terms, escalates=False), prices)
    # The path checks nothing at prices at which routing is better.
    gains = [np.zeros_like(g) if is_better(-g) else g for g in usual - routing]
    return best, is_better(np.mean(gains, axis=0))


def _rate_policies(
    policies: list[CascadePolicy], known: Outcomes, terms: Terms, prices: np.ndarray
) -> np.ndarray:
    """Quality less price times spend of queries, (n_prices, n)."""
    utility = []
    for price in prices:
        replay = replay_held_out(policies, known, replace(terms, price=price))
        utility.append(replay.quality - price * replay.spend)
    return np.array(utility)

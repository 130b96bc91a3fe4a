"""The rule of a cascade: which model is called next, and whose answer is returned.

After each call, the answers are judged; another model is called while what it is
expected to gain exceeds the price of its call. All but the last look ahead: a cheap
model goes first where a check tells when it failed, and a better one may follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from skroute._cascade.beliefs import AnswerBelief, Belief, Situation, own_logits
from skroute._cascade.checks import Check
from skroute._cascade.evidence import Evidence
from skroute._cascade.gains import LearnedGain
from skroute._cascade.outlook import Outlook, find_largest
from skroute._decide.candidates import under_cap
from skroute._table.costs import add_slack

# Models that are looked at as the next call.
_MOST_NEXT = 12
# A gain below this is rounding.
_NEGLIGIBLE = 1e-6
# Charges stay below this.
_LARGEST = 1e300


@dataclass(frozen=True)
class Terms:
    """At which price, and within which limits, a cascade calls."""

    price: float  # in quality per unit of money; infinity: the cheapest model
    max_calls: int
    check_cost: float = 0.0
    #: Most money for all calls of a query, (n,) or a number; and what happens where it
    #: is below the cost of any model.
    cap: np.ndarray | float = np.inf
    on_infeasible: Literal["raise", "cheapest"] = "cheapest"
    #: Whether answers are checked, and may be followed by another call.
    escalates: bool = True
    #: Model that is called first wherever it may be.
    single: int | None = None

    @property
    def most_calls(self) -> int:
        """Most calls of a query."""
        return self.max_calls if self.escalates else 1

    def take(self, rows: np.ndarray) -> Terms:
        """Give the terms of some of the queries."""
        cap = self.cap if np.ndim(self.cap) == 0 else np.asarray(self.cap)[rows]
        return replace(self, cap=cap)

    def check_cap(
        self, cost: np.ndarray, allowed: np.ndarray, called: np.ndarray | None = None
    ) -> None:
        """Raise where no first call is within the cap, numbering all the queries.

        Queries of which a model was `called`, (n, M), may stop.
        """
        if self.on_infeasible == "raise" and np.isfinite(self.cap).any():
            money = self.add_check(cost)
            if called is not None:
                money = np.where(called.any(axis=1, keepdims=True), 0.0, money)
            under_cap(money, allowed, self.cap, "raise")

    def charge(self, money: np.ndarray) -> np.ndarray:
        """Money in units of quality, at a price that is finite."""
        # At the largest prices qualities count no longer, but the money still does.
        price = min(self.price, _LARGEST / max(1.0, float(money.max(initial=0.0))))
        return price * money

    def add_check(self, cost: np.ndarray) -> np.ndarray:
        """Cost of a call with its check."""
        return cost + self.check_cost if self.escalates else cost


@dataclass(frozen=True)
class Walk:
    """What a cascade did with some queries."""

    calls: np.ndarray  # (n, max_calls) models in the order of their calls; -1: none
    answer: np.ndarray  # (n,) model whose answer is returned

    @property
    def n_calls(self) -> np.ndarray:
        """Number of calls of each query."""
        count: np.ndarray = (self.calls >= 0).sum(axis=1)
        return count

    def add_up(self, table: np.ndarray) -> np.ndarray:
        """Sum a table (n, M) over the models that were called, (n,)."""
        taken = np.take_along_axis(table, self.calls.clip(0), axis=1)
        total: np.ndarray = np.where(self.calls >= 0, taken, 0.0).sum(axis=1)
        return total


class Rating(NamedTuple):
    """How models (n, M) are rated as the next call; -infinity: may not be called."""

    worth: np.ndarray  # gain of the call beyond its charge
    priority: np.ndarray  # of the models worth their charge, the highest goes first

    def choose(self) -> np.ndarray:
        """Choose a model (n,) for each query; -1 where none is worth its charge."""
        priority = np.where(self.worth > _NEGLIGIBLE, self.priority, -np.inf)
        choice = priority.argmax(axis=1)
        found = priority[np.arange(len(choice)), choice] > -np.inf
        return np.where(found, choice, -1)


@dataclass(frozen=True)
class CascadePolicy:
    """Judges answers, and decides on the next call, at any price."""

    check: Check | None
    belief: AnswerBelief
    outlook: Outlook
    gain: LearnedGain | None = None

    def judge(self, evidence: Evidence, called: np.ndarray) -> Belief:
        """Judge the called answers of queries of which one was called at least."""
        return self.belief.judge(evidence, own_logits(self.check, evidence), called)

    def rate_next(
        self,
        situation: Situation,
        charge: np.ndarray,
        allowed: np.ndarray,
        *,
        is_last: bool,
    ) -> Rating:
        """Rate each model as the next call.

        Only the models that promise most before their checks are looked at.
        """
        evidence, value = situation.evidence, situation.belief.value
        promise = evidence.quality * (1 - value[:, None]) - charge
        models = find_largest(np.where(allowed, promise, -np.inf), _MOST_NEXT)
        rows = np.arange(len(models))[:, None]
        prior = evidence.prior[rows, models]
        if self.gain is not None:
            prior = self.gain.estimates(situation, models)
        gain = hint = self.outlook.gain(value, prior, models)
        if self.gain is not None:
            gain = self.gain.gain(situation, models, hint)
        its_charge = np.where(allowed[rows, models], charge[rows, models], np.inf)
        worth = np.full(charge.shape, -np.inf)
        worth[rows, models] = gain - its_charge
        priority = worth
        if not is_last:
            # A gain that is half of the outlook's is as that one at twice the charge.
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                its_charge = np.where(gain > 0, its_charge * (hint / gain), np.inf)
            priority = np.full(charge.shape, -np.inf)
            priority[rows, models] = self.outlook.find_reach(prior, models, its_charge)
        return Rating(worth, priority)

    def rate_first(
        self, evidence: Evidence, terms: Terms, money: np.ndarray, allowed: np.ndarray
    ) -> np.ndarray:
        """Worth (n, M) of each model as the first call, in quality."""
        if np.isinf(terms.price):
            return np.where(allowed, -money, -np.inf)
        charge, n_calls = terms.charge(money), terms.most_calls
        if n_calls == 1:
            return np.where(allowed, evidence.quality - charge, -np.inf)
        may_follow = None
        if np.isfinite(terms.cap).any():
            cap = add_slack(np.asarray(terms.cap)).reshape(-1, 1, 1)
            may_follow = money[:, :, None] + money[:, None, :] <= cap
        return self.outlook.look_ahead(
            evidence.quality, charge, allowed, n_calls, may_follow
        )


def choose_calls(
    policy: CascadePolicy,
    terms: Terms,
    evidence: Evidence,
    called: np.ndarray,
    available: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Belief | None]:
    """Choose the next call (n,) of queries that have had the same number of calls.

    Returns -1 where the cascade stops, what each call is worth beyond its charge,
    (n, M), and the belief in the answers so far.
    """
    money = terms.add_check(evidence.cost)
    n_called = int(called[0].sum()) if len(called) else 0
    if n_called == 0:
        allowed = available
        if np.isfinite(terms.cap).any():
            allowed = under_cap(money, available, terms.cap, terms.on_infeasible)
        worth = policy.rate_first(evidence, terms, money, allowed)
        chosen = np.where((worth > -np.inf).any(axis=1), worth.argmax(axis=1), -1)
        if terms.single is not None:
            chosen = np.where(allowed[:, terms.single], terms.single, chosen)
        return chosen, worth, None
    belief = policy.judge(evidence, called)
    nothing = np.full(called.shape, -np.inf)
    rating = Rating(nothing, nothing)
    if n_called < terms.most_calls and np.isfinite(terms.price):
        left = add_slack(np.asarray(terms.cap)) - np.where(called, money, 0.0).sum(
            axis=1
        )
        allowed = available & ~called & (money <= left[:, None])
        situation = Situation(evidence, called, belief)
        charge, is_last = terms.charge(money), n_called + 1 == terms.most_calls
        rating = policy.rate_next(situation, charge, allowed, is_last=is_last)
    return rating.choose(), rating.worth, belief


def walk(
    policy: CascadePolicy,
    terms: Terms,
    evidence: Evidence,
    available: np.ndarray | None = None,
) -> Walk:
    """Let a cascade call, and read checks and answers of what it called."""
    n_queries, n_models = evidence.quality.shape
    most = min(terms.most_calls, n_models)
    calls = np.full((n_queries, most), -1)
    answer = np.full(n_queries, -1)
    called = np.zeros((n_queries, n_models), dtype=bool)
    if available is None:
        available = np.ones((1, n_models), dtype=bool)
    available = np.broadcast_to(available, called.shape)
    rows = np.arange(n_queries)
    for place in range(most + 1):
        chosen, _, belief = choose_calls(
            *(policy, terms.take(rows), evidence.take(rows)),
            *(called[rows], available[rows]),
        )
        if belief is not None:
            answer[rows] = belief.best
        rows, chosen = rows[chosen >= 0], chosen[chosen >= 0]
        if not len(rows):
            break
        calls[rows, place] = chosen
        called[rows, chosen] = True
        if not terms.escalates:
            answer[rows] = chosen
            break
    return Walk(calls, answer)

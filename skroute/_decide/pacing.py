r"""Pacing: moving the shadow price while the traffic drifts.

A price that was tuned on training queries spends a mean budget as long as the traffic
looks like them. :class:`Pace` keeps the bill of a running stream and says at which
price the next queries are to be decided.

With budget :math:`B`, realised costs :math:`c_i`, horizon :math:`H` and the recent
queries :math:`W`, one update is

.. math::

    a &\leftarrow a + \sum_i (c_i - B) \\
    \lambda &\leftarrow \arg\min_{\lambda \ge 0}\; \lambda\,(B - a / H)
        + \frac{1}{|W|} \sum_{i \in W} \max_m (\hat q_{im} - \lambda r_m \hat c_{im})

The first line is dual ascent with the constant step :math:`1 / H`: :math:`c_i - B` is
the subgradient of the dual at query :math:`i`, and the account :math:`a` sums them. The
second maps that sum to a price through the spend of the recent queries, so that a step
is a step in money, whatever its unit and however steep the trade-off; :math:`r_m` is
the recent ratio of realised to expected cost of model :math:`m`, by which decisions
correct what they expect, too. As long as nothing is written off, the mean
spend over *any* :math:`w` queries is off the budget by the change of :math:`a` over
them, divided by :math:`w`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from math import exp

import numpy as np

from skroute._decide.price_path import PricePath, ShadowPrice
from skroute._decide.rule import Rule
from skroute._table.costs import add_slack
from skroute._table.names import format_names
from skroute.exceptions import InfeasibleBudgetError, find_caller_level

# Recent queries whose estimates are kept, the trade-off is theirs: the size of the
# last update, within these bounds.
_WINDOW = 500, 2000
# Queries over which overspending is paid back: the inverse of the step. Below 150 the
# noise of the bills moves the price at a loss of quality, above 500 abrupt shifts of
# the traffic are followed too late (benchmarks/drift.py).
_HORIZON = 250
# Calls over which a model's ratio of realised to expected cost is averaged, at least
# those of an update; and queries after which the ratio of a model that is not called is
# forgotten.
_CALLS, _MEMORY = 50, 500
# Calls of each model for which the expected costs always count as right, and how many
# times as much as expected a single call may say that they are wrong.
_PRIOR, _MOST_WRONG = 20, 10.0
# New queries after which the trade-off is computed again.
_STALE = 100


@dataclass(frozen=True)
class Pace:
    """What a stream has spent, and the trade-off of its recent queries.

    Never changed: an update makes a new one.
    """

    #: The trade-off in force.
    path: PricePath
    #: Estimates of recent queries, (n_recent, n_models).
    quality: np.ndarray
    cost: np.ndarray
    #: Money spent above the budget, as far as it is to be paid back.
    account: float
    #: Realised money, expected money and number of the recent calls of each model,
    #: older ones fading, (3, n_models).
    bills: np.ndarray
    #: Realised by expected cost of each model, as these bills say, (n_models,).
    ratio: np.ndarray
    #: Queries since `path` was computed.
    fresh: int = 0
    #: Whether `path` is that of the recent queries, and no longer that of `fit`.
    own: bool = False
    #: Queries of the last update: the next is expected after as many.
    last: int = 0

    @classmethod
    def begin(cls, path: PricePath | None, n_models: int) -> Pace:
        """Begin a stream on the path of `fit`, or on none."""
        none = np.empty((0, n_models))
        # Without a path of fit, one that spends nothing until there are estimates.
        own = path is None
        if path is None:
            zero = np.zeros(1)
            path = PricePath(np.array([np.inf]), zero, zero, zero.astype(int))
        bills, ratio = np.zeros((3, n_models)), np.ones(n_models)
        return cls(path, none, none, 0.0, bills, ratio, own=own)

    def record(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        choice: np.ndarray,
        spent: np.ndarray,
        rule: Rule,
    ) -> Pace:
        """Account for queries that were decided, in the order of the stream.

        Estimates are (n_queries, n_models), of which `choice` was called; `spent` holds
        the realised money of each call (see `count_bills`).
        """
        budget = float(rule.budget)
        n_queries = len(spent)
        n_kept = min(max(_WINDOW[0], n_queries), _WINDOW[1])
        account = self.account + float(spent.sum()) - n_queries * budget
        bills = self.bills.copy()
        # One after the other, as if the stream had been recorded query by query.
        fading, own = exp(-1.0 / _MEMORY), exp(-1.0 / max(_CALLS, n_queries))
        for row, model in enumerate(choice.tolist()):
            bills *= fading
            # Single numbers, because most updates are of one query, for which arrays
            # take several times as long.
            money, expected, calls = bills[:, model].tolist()
            known = float(cost[row, model])
            bills[0, model] = money * own + min(float(spent[row]), _MOST_WRONG * known)
            bills[1, model] = expected * own + known
            bills[2, model] = calls * own + 1.0
        recorded = Pace(
            self.path,
            np.concatenate([self.quality, quality])[-n_kept:],
            np.concatenate([self.cost, cost])[-n_kept:],
            account,
            bills,
            _compute_ratio(bills),
            self.fresh + n_queries,
            self.own,
            n_queries,
        )
        return recorded._refresh(rule)._write_off(budget, n_queries)

    @property
    def cost_factor(self) -> np.ndarray | None:
        """By what to multiply the expected costs of each model, (n_models,).

        They are right on the path of `fit`, whose queries are not known.
        """
        return self.ratio if self.own else None

    def find_shadow_price(self, budget: float) -> ShadowPrice:
        """Find the price of the next queries, to spend `budget` per query.

        It is a mixture where many recent queries step at once, and infinite while even
        the cheapest models are too expensive.
        """
        # The account is paid back over the horizon; at worst nothing is spent.
        target = max(budget - self.account / max(_HORIZON, self.last), 0.0)
        ratio = self._compute_cost_ratio()
        try:
            return self.path.price_for_budget(target / ratio if ratio else np.inf)
        except InfeasibleBudgetError:
            return ShadowPrice(np.inf)

    def _refresh(self, rule: Rule) -> Pace:
        """Compute the trade-off of the recent queries, if it is time."""
        # The queries of fit say more about the traffic than a few recent ones.
        growing = len(self.quality) < _WINDOW[0]
        if (growing and not self.own) or not (growing or self.fresh >= _STALE):
            return self
        cost = self.cost * self.ratio
        allowed = rule.find_candidates(self.quality, cost)
        path = PricePath.from_estimates(self.quality, cost, allowed=allowed)
        return replace(self, path=path, fresh=0, own=True)

    def _write_off(self, budget: float, n_queries: int) -> Pace:
        """Forget money that the recent queries could not spend, or had to.

        Savings that even the best models do not use up change no price now, and would
        later be spent at once. Overspending is kept up to what the cheapest models pay
        back in two horizons, which is nothing where these are too expensive.
        """
        horizon = max(_HORIZON, n_queries)
        ratio, spend = self._compute_cost_ratio(), self.path.cost
        low = min(horizon * (budget - ratio * float(spend[-1])), 0.0)
        high = max(2 * horizon * (budget - ratio * float(spend[0])), 0.0)
        if low <= self.account <= high:
            return self
        return replace(self, account=min(max(self.account, low), high))

    def estimate_cheapest_spend(self) -> float:
        """Estimate what the cheapest models cost per query, by the recent bills."""
        return float(self._compute_cost_ratio() * self.path.cost[0])

    def is_too_little(self, budget: float) -> bool:
        """Whether the cheapest models cost more than a budget."""
        return self.estimate_cheapest_spend() > add_slack(budget)

    def _compute_cost_ratio(self) -> float:
        """Divide realised by expected cost of all calls, on a path that knows no bills.

        A path of recent queries is of costs that are corrected for each model.
        """
        if self.own:
            return 1.0
        expected = self.bills[1]
        total = float(expected.sum())
        return float(self.ratio @ expected) / total if total else 1.0


def _compute_ratio(bills: np.ndarray) -> np.ndarray:
    """Divide realised by expected cost of each model, (n_models,).

    Costs count as expected for some calls of each model beside those that were billed.
    """
    spent, expected, calls = bills
    ratio = np.divide(spent, expected, out=np.ones(len(spent)), where=expected > 0)
    ratio *= calls
    ratio += _PRIOR
    ratio /= calls + _PRIOR
    return ratio


def count_bills(
    costs: np.ndarray | None, expected: np.ndarray, budget: float
) -> np.ndarray:
    """Count the money of each call, (n_queries,), as far as it matters.

    `costs` is ``NaN`` where unknown, and the expected cost counts. A bill counts as 250
    budgets at most: one absurd bill must not stop the stream for longer than
    overspending is paid back.
    """
    limit = _HORIZON * budget
    if costs is None:
        return np.minimum(expected, limit)
    if costs.max() <= limit:  # not so where one is NaN
        return costs
    above = np.flatnonzero(costs > limit)
    # A budget of nothing cannot pay anything back.
    if len(above) and budget > 0:
        warnings.warn(
            f"costs holds {len(above)} of more than {_HORIZON} times the budget, the "
            f"largest {costs[above].max():g} for the queries {format_names(above)}: "
            f"each counts as {limit:g}. Give costs in the unit of the budget, "
            f"{budget:g}.",
            stacklevel=find_caller_level(),
        )
    return np.minimum(np.where(np.isnan(costs), expected, costs), limit)


def warn_of_too_little(pace: Pace, budget: float) -> None:
    """Warn of a budget that the cheapest models exceed."""
    spend = pace.estimate_cheapest_spend()
    warnings.warn(
        f"budget={budget:g} per query is below what the cheapest models cost by the "
        f"last bills, about {spend:.3g}: they are called until it is enough again. "
        "Raise the budget, or look at the unit of costs.",
        stacklevel=find_caller_level(),
    )

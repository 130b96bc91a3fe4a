r"""Pacing: moving the shadow price while the traffic drifts.

A price that was tuned on training queries spends a mean budget as long as the traffic
looks like them. :class:`Pace` keeps the bill of a running stream and says at which
price the next queries are to be decided.

With budget :math:`B`, realised costs :math:`c_i`, horizon :math:`H` and the recent
queries :math:`W`, one update is

.. math::

    a &\leftarrow a + \sum_i (c_i - B) \\
    \lambda &\leftarrow \arg\min_{\lambda \ge 0}\; \lambda\,(B - a / H)
        + \frac{1}{|W|} \sum_{i \in W} \max_m (\hat q_{im} - \lambda r \hat c_{im})

The first line is dual ascent with the constant step :math:`1 / H`: :math:`c_i - B` is
the subgradient of the dual at query :math:`i`, and the account :math:`a` sums them. The
second maps that sum to a price through the spend of the recent queries, so that a step
is a step in money, whatever its unit and however steep the trade-off; :math:`r` is the
recent ratio of realised to expected cost. As long as nothing is written off, the mean
spend over *any* :math:`w` queries is off the budget by the change of :math:`a` over
them, divided by :math:`w`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

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
# Queries over which the ratio of realised to expected cost is averaged; at least two
# updates, or it swings with the models that each of them called.
_MEMORY = 500
# The expected costs count as right for the spend of this many queries at the start.
_PRIOR = 100
# New queries after which the trade-off is computed again.
_STALE = 50


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
    #: Realised and expected money of the recent calls, older ones fading.
    spent: float
    expected: float
    #: Queries since `path` was computed.
    fresh: int = 0
    #: Whether `path` is that of the recent queries, and no longer that of `fit`.
    own: bool = False
    #: Queries of the last update: the next is expected after as many.
    last: int = 0

    @classmethod
    def begin(cls, path: PricePath | None, n_models: int, budget: float) -> Pace:
        """Begin a stream on the path of `fit`, or on none."""
        none = np.empty((0, n_models))
        # Without a path of fit, one that spends nothing until there are estimates.
        own = path is None
        if path is None:
            zero = np.zeros(1)
            path = PricePath(np.array([np.inf]), zero, zero, zero.astype(int))
        return cls(path, none, none, 0.0, _PRIOR * budget, _PRIOR * budget, own=own)

    def record(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        spent: np.ndarray,
        expected: np.ndarray,
        rule: Rule,
    ) -> Pace:
        """Account for queries that were decided, in the order of the stream.

        Estimates are (n_queries, n_models); `spent` and `expected` hold the realised
        (see `count_bills`) and the expected money of each call.
        """
        budget = float(rule.budget)
        n_queries = len(spent)
        n_kept = min(max(_WINDOW[0], n_queries), _WINDOW[1])
        account = self.account + float(spent.sum() - n_queries * budget)
        # Weights that fall by a factor of e over the memory; the newest counts 1.
        memory = max(_MEMORY, 2 * n_queries)
        fading = np.exp(-np.arange(n_queries, -1, -1) / memory)
        old, weight = fading[0], fading[1:]
        recorded = replace(
            self,
            quality=np.concatenate([self.quality, quality])[-n_kept:],
            cost=np.concatenate([self.cost, cost])[-n_kept:],
            account=account,
            spent=float(old * self.spent + weight @ spent),
            expected=float(old * self.expected + weight @ expected),
            fresh=self.fresh + n_queries,
            last=n_queries,
        )
        return recorded._refresh(rule)._write_off(budget, n_queries)

    def find_shadow_price(self, budget: float) -> ShadowPrice:
        """Find the price of the next queries, to spend `budget` per query.

        It is a mixture where many recent queries step at once, and infinite while even
        the cheapest models are too expensive.
        """
        # The account is paid back over the horizon; at worst nothing is spent.
        target = max(budget - self.account / max(_HORIZON, self.last), 0.0)
        ratio = self._compute_cost_ratio(budget)
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
        allowed = rule.find_candidates(self.quality, self.cost)
        path = PricePath.from_estimates(self.quality, self.cost, allowed=allowed)
        return replace(self, path=path, fresh=0, own=True)

    def _write_off(self, budget: float, n_queries: int) -> Pace:
        """Forget money that the recent queries could not spend, or had to.

        Savings that even the best models do not use up change no price now, and would
        later be spent at once. Overspending is kept up to what the cheapest models pay
        back in two horizons, which is nothing where these are too expensive.
        """
        horizon = max(_HORIZON, n_queries)
        cheapest, best = self._compute_cost_ratio(budget) * self.path.cost[[0, -1]]
        low = min(horizon * (budget - best), 0.0)
        high = max(2 * horizon * (budget - cheapest), 0.0)
        return replace(self, account=float(np.clip(self.account, low, high)))

    def estimate_cheapest_spend(self, budget: float) -> float:
        """Estimate what the cheapest models cost per query, by the recent bills."""
        return float(self._compute_cost_ratio(budget) * self.path.cost[0])

    def is_too_little(self, budget: float) -> bool:
        """Whether the cheapest models cost more than a budget."""
        return self.estimate_cheapest_spend(budget) > add_slack(budget)

    def _compute_cost_ratio(self, budget: float) -> float:
        """Divide realised by expected cost; 1 where nothing was expected.

        One budget, as it was expected, never fades: where only free models are called
        there are no new bills, and old ones would count for ever.
        """
        expected = self.expected + budget
        return (self.spent + budget) / expected if expected > 0 else 1.0


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
    spend = pace.estimate_cheapest_spend(budget)
    warnings.warn(
        f"budget={budget:g} per query is below what the cheapest models cost by the "
        f"last bills, about {spend:.3g}: they are called until it is enough again. "
        "Raise the budget, or look at the unit of costs.",
        stacklevel=find_caller_level(),
    )

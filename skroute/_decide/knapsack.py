"""A total budget for one batch of queries: a multiple-choice knapsack."""

from __future__ import annotations

import numpy as np

from skroute._decide.hull import climb_hulls
from skroute._table.costs import add_slack, round_up
from skroute.exceptions import InfeasibleBudgetError


def solve_batch(
    quality: np.ndarray, cost: np.ndarray, allowed: np.ndarray, budget: float
) -> tuple[np.ndarray, float]:
    """Best decisions of one batch whose total expected cost stays within `budget`.

    Lagrange relaxation of a multiple-choice knapsack [1]_: the steps of all queries up
    their concave hulls are taken from the steepest on while the total allows it, then
    what is left over buys the largest single improvement that still fits. The result is
    at most one step short of the relaxed optimum, and more budget never gives less
    expected quality: the leftover can never buy more than the step that did not fit.

    Estimates are (n_queries, n_models). Returns the choices, (n_queries,), and the
    shadow price that the total implies: what the first step that it does not pay for
    would gain per unit of money; 0 where it pays for all.

    References
    ----------
    .. [1] P. Sinha and A. A. Zoltners, "The multiple-choice knapsack problem",
       Operations Research 27(3), 1979.
    """
    quality = np.asarray(quality, dtype=np.float64)
    cost = np.asarray(cost, dtype=np.float64)
    steps = climb_hulls(quality, cost, allowed)
    rows = np.arange(len(quality))
    cheapest = cost[rows, steps.start].sum()
    if cheapest > add_slack(budget):
        raise InfeasibleBudgetError(
            f"budget={budget:g} for this batch is below what its cheapest models cost; "
            f"the smallest feasible budget is {round_up(cheapest)}.",
            smallest_budget=float(cheapest),
        )
    budget = add_slack(budget)
    n_steps = int(np.searchsorted(steps.walk(cost), budget, side="right")) - 1
    # The running sum rounds differently from a plain one: what counts is the latter.
    n_steps = max(n_steps, 0)
    choice = steps.choose_after(n_steps)
    while n_steps and cost[rows, choice].sum() > budget:
        n_steps -= 1
        choice = steps.choose_after(n_steps)
    # A hair above the step that is not taken: rounding does not take it either.
    unpaid = steps.price[n_steps : n_steps + 1]
    price = float(unpaid[0]) * (1 + 1e-9) if len(unpaid) else 0.0
    left = budget - cost[rows, choice].sum()
    # What changing one query to any of its models would cost and gain.
    extra = cost - cost[rows, choice][:, None]
    gain = quality - quality[rows, choice][:, None]
    fits = allowed & (extra <= left) & (gain > 0)
    if fits.any():
        row, model = np.unravel_index(np.where(fits, gain, 0).argmax(), gain.shape)
        improved = choice.copy()
        improved[row] = model
        if cost[rows, improved].sum() <= budget:
            choice = improved
    return choice, price

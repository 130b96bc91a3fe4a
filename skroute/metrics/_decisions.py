"""What decisions are worth in money's terms: metrics of choices, not of a curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._table.alignment import align, check_given
from skroute._table.costs import add_slack, round_up
from skroute._table.numbers import check_number
from skroute._table.tables import check_choice
from skroute.exceptions import InfeasibleBudgetError
from skroute.metrics._rows import find_judged


def net_utility(
    y: Any, choice: Any, *, costs: Any, price: float, sample_weight: Any = None
) -> float:
    """Mean quality of decisions, less what they cost at a price of money.

    Parameters
    ----------
    y : array-like of shape (n_queries, n_models)
        Qualities. Queries with an unknown quality or cost are left out.
    choice : array-like of int or str of shape (n_queries,)
        Indices of columns of `y`, or names of models.
    costs : array-like of shape (n_models,) or (n_queries, n_models)
        Money per call.
    price : float
        Quality that one unit of money is worth.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts.

    Returns
    -------
    float
        Mean of ``quality - price * cost``; higher is better.

    Raises
    ------
    ValueError
        If an argument is not as described, or no query has every outcome.

    Examples
    --------
    >>> from skroute.metrics import net_utility
    >>> net_utility([[0.0, 1.0], [1.0, 1.0]], [1, 0], costs=[1.0, 3.0], price=0.25)
    0.5
    """
    price = check_number(price, "price", low=0.0)
    y, costs, chosen, weight = _find_outcomes(y, choice, costs, sample_weight)
    return float(np.average(y[chosen] - price * costs[chosen], weights=weight))


def quality_within_budget(
    y: Any, choice: Any, *, costs: Any, budget: float, sample_weight: Any = None
) -> float:
    """Mean quality of decisions that keep to a mean budget.

    Decisions that spend more are cut back until they keep to it: so large a share of
    the queries, drawn by chance, is sent to the cheapest model (by mean cost) instead.
    The quality that is then left falls steadily with the overspending.

    Parameters
    ----------
    y : array-like of shape (n_queries, n_models)
        Qualities. Queries with an unknown quality or cost are left out.
    choice : array-like of int or str of shape (n_queries,)
        Indices of columns of `y`, or names of models.
    costs : array-like of shape (n_models,) or (n_queries, n_models)
        Money per call.
    budget : float
        Mean money per query.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts.

    Returns
    -------
    float
        In the unit of the quality; higher is better.

    Raises
    ------
    InfeasibleBudgetError
        If the decisions spend more than the budget, and so does the cheapest model.
    ValueError
        If an argument is not as described, or no query has every outcome.

    Examples
    --------
    Two calls of the second model spend 3 per query. For a budget of 2, one of them in
    two goes to the first model:

    >>> from skroute.metrics import quality_within_budget
    >>> y, costs = [[0.0, 1.0], [0.0, 1.0]], [1.0, 3.0]
    >>> quality_within_budget(y, [1, 1], costs=costs, budget=3.0)
    1.0
    >>> quality_within_budget(y, [1, 1], costs=costs, budget=2.0)
    0.5
    """
    budget = check_number(budget, "budget", low=0.0)
    y, costs, chosen, weight = _find_outcomes(y, choice, costs, sample_weight)
    spent = float(np.average(costs[chosen], weights=weight))
    quality = float(np.average(y[chosen], weights=weight))
    if spent <= add_slack(budget):
        return quality
    model_cost = np.average(costs, axis=0, weights=weight)
    model_quality = np.average(y, axis=0, weights=weight)
    cheapest = int(np.lexsort((-model_quality, model_cost))[0])
    least = float(model_cost[cheapest])
    if least > add_slack(budget):
        raise InfeasibleBudgetError(
            f"budget must be at least {round_up(least):g}, which the cheapest model "
            f"costs per query; got {budget:g}.",
            smallest_budget=least,
        )
    kept = max(budget - least, 0.0) / (spent - least)
    # What is cut back is no better for it.
    return min(quality, kept * quality + (1 - kept) * float(model_quality[cheapest]))


def _find_outcomes(
    y: Any, choice: Any, costs: Any, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Check the tables; complete rows, the cells that are chosen in them, weights."""
    check_given(costs=costs)
    quality, spend, _, _, models = align(
        y, costs, choice=choice, sample_weight=sample_weight
    )
    choice = check_choice(choice, quality.shape, models)
    judged, weight = find_judged(quality, spend, sample_weight)
    chosen = np.arange(len(weight)), choice[judged]
    return quality[judged], spend[judged], chosen, weight

"""Metrics of decisions that were settled beforehand, for a budget or for a target."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._decide.rule import Rule
from skroute._table.averages import best_on_average
from skroute._table.costs import add_slack, round_up
from skroute._table.numbers import check_number
from skroute.exceptions import InfeasibleBudgetError
from skroute.metrics._choices import find_outcomes


def quality_within_budget(
    y: Any, choice: Any, *, costs: Any, budget: float, sample_weight: Any = None
) -> float:
    """Mean quality of decisions that keep to a mean budget.

    Decisions that spend more are cut back: a random share of the queries, just large
    enough to keep the budget, is sent to the cheapest model (by mean cost) instead. The
    remaining quality falls steadily with the overspending.

    Parameters
    ----------
    y, choice, costs : array-like
        As in :func:`net_utility`.
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
        As :func:`net_utility`.

    Examples
    --------
    Two calls of the second model spend 3 per query. For a budget of 2, one of them in
    two goes to the first model:

    >>> from skroute.metrics import quality_within_budget
    >>> y, costs = [[0.0, 1.0], [0.0, 1.0]], [1.0, 3.0]
    >>> quality_within_budget(y, [1, 1], costs=costs, budget=2.0)
    0.5
    """
    budget = check_number(budget, "budget", low=0.0)
    y, costs, chosen, weight = find_outcomes(y, choice, costs, sample_weight)
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
    # Cutting back never earns quality, even if the cheapest model is the better one.
    return min(quality, kept * quality + (1 - kept) * float(model_quality[cheapest]))


def settled_cost(
    y: Any,
    choice: Any,
    *,
    costs: Any,
    min_quality: float | str = "100%",
    sample_weight: Any = None,
) -> float:
    """Cost of decisions that reach a quality, as a share of the best single model's.

    Decisions that fall short of the target are topped up: a random share of the
    queries, just large enough to reach it, is sent to the best single model instead. So
    a price or a target that was settled beforehand on other queries is judged by what
    it then cost, where :func:`quality_neutral_cost` reads the best point off the curve
    of these very queries, in hindsight.

    Parameters
    ----------
    y, choice, costs : array-like
        As in :func:`net_utility`.
    min_quality : float or str, default="100%"
        Mean quality to reach: a number, or a share of the best single model's mean
        quality on these queries.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts.

    Returns
    -------
    float
        Mean money per query over that of the best single model, 1 is what the model
        itself costs; lower is better.

    Raises
    ------
    ValueError
        As :func:`net_utility`; if `min_quality` is above the quality of the best single
        model, so that decisions below it cannot be topped up; or if that model is free.

    Examples
    --------
    The first model answers both queries, one of them right. For "75%" of the second
    model's quality, every other query goes to that one instead:

    >>> from skroute.metrics import settled_cost
    >>> y, costs = [[0.0, 1.0], [1.0, 1.0]], [1.0, 5.0]
    >>> settled_cost(y, [0, 0], costs=costs, min_quality="75%")
    0.6
    """
    rule = Rule(min_quality=min_quality).check()
    y, costs, chosen, weight = find_outcomes(y, choice, costs, sample_weight)
    model_cost = np.average(costs, axis=0, weights=weight)
    model_quality = np.average(y, axis=0, weights=weight)
    single = best_on_average(model_quality, model_cost)
    best, price = float(model_quality[single]), float(model_cost[single])
    target = rule.quality_target(best)
    if target is None:
        raise ValueError("min_quality must be a number or a share; got None.")
    # Sums in another order differ in their last bits.
    slack = 1e-12 * max(abs(best), abs(target))
    if target > best + slack:
        raise ValueError(
            f"min_quality must be at most {best:g}, the best single model's mean "
            f"quality on these queries, with which decisions below it are topped up; "
            f"got {min_quality!r}, which is {target:g}."
        )
    if price <= 0:
        raise ValueError(
            "costs must be above 0 for the best single model, whose cost is the unit; "
            f"column {single} is free. Compare money by net_utility."
        )
    spent = float(np.average(costs[chosen], weights=weight))
    quality = float(np.average(y[chosen], weights=weight))
    if quality >= target - slack:
        return spent / price
    share = (target - quality) / (best - quality)
    # Topping up never saves money, even if the best single model is the cheaper one.
    return max(spent, (1 - share) * spent + share * price) / price

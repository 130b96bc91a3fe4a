"""Metrics of decisions, and the decisions that are best in hindsight."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._table.alignment import align, check_given
from skroute._table.averages import average_known, best_on_average
from skroute._table.numbers import check_number, check_sample_weight
from skroute._table.outcomes import check_complete
from skroute._table.tables import check_choice, check_quality


def best_single(y: Any, costs: Any = None) -> int:
    """Find the model with the highest mean quality.

    Parameters
    ----------
    y : array-like of shape (n_queries, n_models)
        Qualities; ``NaN`` where a model was not run.
    costs : array-like of shape (n_models,) or (n_queries, n_models), default=None
        Money per call; equal means are resolved to the cheaper model.

    Returns
    -------
    int
        Index of the model.

    Examples
    --------
    >>> from skroute.metrics import best_single
    >>> best_single([[0, 1, 1], [1, 1, 1]], costs=[1.0, 5.0, 2.0])
    2
    """
    quality, spend, *_ = align(y, costs)
    means = average_known(quality, empty=-np.inf)
    if np.isneginf(means).all():
        raise ValueError("y has no observed quality: every value is NaN.")
    if spend is None:
        return int(means.argmax())
    return best_on_average(means, average_known(spend, empty=np.inf))


def oracle_choice(y: Any, costs: Any = None) -> np.ndarray:
    """Decide with hindsight: the cheapest of the best models of every query.

    Parameters
    ----------
    y : array-like of shape (n_queries, n_models)
        Qualities; a model that was not run (``NaN``) is not chosen while another was.
    costs : array-like of shape (n_models,) or (n_queries, n_models), default=None
        Money per call; ``NaN`` counts as most expensive.

    Returns
    -------
    ndarray of int of shape (n_queries,)
        Model indices.

    Examples
    --------
    >>> from skroute.metrics import oracle_choice
    >>> oracle_choice([[0, 1, 1], [0, 0, 0]], costs=[1.0, 5.0, 2.0])
    array([2, 0])
    """
    quality, spend, *_ = align(y, costs)
    quality = np.where(np.isnan(quality), -np.inf, quality)
    ties = quality == quality.max(axis=1, keepdims=True)
    if spend is None:
        return ties.argmax(axis=1)
    spend = np.where(np.isnan(spend), np.finfo(np.float64).max, spend)
    return np.where(ties, spend, np.inf).argmin(axis=1)


def top2_margin(quality: Any) -> np.ndarray:
    """Distance of the best model from the second best, for every query.

    Small margins are where a small error of a score flips a decision.

    Parameters
    ----------
    quality : array-like of shape (n_queries, n_models)
        Qualities of at least two models, observed or expected.

    Returns
    -------
    ndarray of shape (n_queries,)
        Best minus second best; ``NaN`` for a row with fewer than two known qualities.

    Examples
    --------
    >>> from skroute.metrics import top2_margin
    >>> top2_margin([[0.5, 0.75, 0.0], [1.0, 1.0, 0.0]])
    array([0.25, 0.  ])
    """
    quality = check_quality(quality, "quality")
    if quality.shape[1] < 2:
        raise ValueError(
            "quality must have at least two models (columns) for a margin; got "
            f"{quality.shape[1]}."
        )
    known = np.isfinite(quality).sum(axis=1) >= 2
    margin = np.full(len(quality), np.nan)
    top = np.sort(np.where(np.isnan(quality), -np.inf, quality)[known], axis=1)[:, -2:]
    margin[known] = top[:, 1] - top[:, 0]
    return margin


def regret(
    y: Any,
    choice: Any,
    *,
    costs: Any = None,
    price: float = 0.0,
    sample_weight: Any = None,
) -> float:
    """Mean quality lost against the best decision in hindsight.

    Parameters
    ----------
    y, choice : array-like
        As in :func:`net_utility`.
    costs : array-like of shape (n_models,) or (n_queries, n_models), default=None
        Money per call; needed where `price` is not 0.
    price : float, default=0.0
        Shadow price: the regret is that of ``quality - price * cost``.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts.

    Returns
    -------
    float
        At least 0; lower is better.

    Examples
    --------
    >>> from skroute.metrics import regret
    >>> regret([[0.0, 1.0], [1.0, 1.0]], [0, 0])
    0.5
    """
    price = check_number(price, "price", low=0.0)
    if price > 0 and costs is None:
        raise ValueError(f"costs must be given to price them at price={price:g}.")
    y, costs, chosen, weight = find_outcomes(
        y, choice, costs, sample_weight, priced=price > 0
    )
    value = y - price * costs if price > 0 else y
    return float(np.average(value.max(axis=1) - value[chosen], weights=weight))


def net_utility(
    y: Any, choice: Any, *, costs: Any, price: float, sample_weight: Any = None
) -> float:
    """Mean quality of decisions, less their cost at a shadow price.

    Parameters
    ----------
    y : array-like of shape (n_queries, n_models)
        Qualities. Queries with an unknown outcome are left out.
    choice : array-like of int or str of shape (n_queries,)
        Indices of columns of `y`, or names of models as ``router.route`` gives them,
        which mean the same whatever the order of the columns is.
    costs : array-like of shape (n_models,) or (n_queries, n_models)
        Money per call.
    price : float
        Shadow price: the quality that one unit of money is worth.
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
    y, costs, chosen, weight = find_outcomes(y, choice, costs, sample_weight)
    return float(np.average(y[chosen] - price * costs[chosen], weights=weight))


def find_judged(
    y: np.ndarray, costs: np.ndarray | None, sample_weight: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Find queries with complete outcomes and a weight above 0: a mask, and weights.

    Costs count where they are given. A ValueError tells that there is no such query.
    """
    weight = check_sample_weight(sample_weight, len(y))
    complete = check_complete(y, costs)
    judged = complete & (weight > 0)
    if not judged.any():
        raise ValueError(
            "sample_weight must be above 0 for a query on which every model's outcome "
            f"is known; it is 0 for all {int(complete.sum())} of these."
        )
    return judged, weight[judged]


def find_outcomes(
    y: Any, choice: Any, costs: Any, sample_weight: Any, *, priced: bool = True
) -> tuple[np.ndarray, Any, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Check the tables; return complete rows, their chosen cells and weights.

    Costs that are not `priced` are checked, but may be unknown; ``None`` is returned.
    """
    if priced:
        check_given(costs=costs)
    quality, spend, _, _, models = align(
        y, costs, choice=choice, sample_weight=sample_weight
    )
    choice = check_choice(choice, quality.shape, models)
    spend = spend if priced else None
    judged, weight = find_judged(quality, spend, sample_weight)
    chosen = np.arange(len(weight)), choice[judged]
    return quality[judged], spend if spend is None else spend[judged], chosen, weight

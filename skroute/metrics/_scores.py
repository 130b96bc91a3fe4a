"""Numbers read off a quality-cost curve.

Every function takes a :class:`~skroute.metrics.RoutingCurve`, or the arrays from which
:func:`~skroute.metrics.routing_curve` draws one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.integrate import trapezoid

from skroute._table.numbers import check_number
from skroute.metrics._curve import as_curve, concave_hull

Scope = Literal["mean", "query"]


def normalized_auc(
    y: Any,
    costs: Any = None,
    quality: Any = None,
    cost: Any = None,
    *,
    scope: Scope = "mean",
    sample_weight: Any = None,
) -> float:
    """Mean quality of the Pareto envelope between the smallest and the largest spend.

    The area under the envelope, from the mean cost of each query's cheapest model to
    that of its dearest, the last quality carried to the end, over that range [1]_.

    Parameters
    ----------
    y : RoutingCurve, or array-like of shape (n_queries, n_models)
        A curve, or the observed qualities.
    costs, quality, cost : array-like, default=None
        Observed costs, expected qualities and expected costs, as in
        :func:`~skroute.metrics.routing_curve`; not with a curve.
    scope : {"mean", "query"}, default="mean"
        How the budget is swept; not with a curve.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts; not with a curve.

    Returns
    -------
    float
        In the unit of the quality; higher is better. Where every model costs the same,
        the best quality reached.

    References
    ----------
    .. [1] G. Lai and H.-J. Ye, "When Routing Collapses: On the Degenerate Convergence
       of LLM Routers", arXiv:2602.03478, 2026.

    Examples
    --------
    >>> from skroute.metrics import normalized_auc
    >>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]
    >>> normalized_auc(y, costs, y, [costs, costs])
    0.875
    """
    curve = as_curve(y, costs, quality, cost, scope, sample_weight)
    spent, gained = curve.envelope()
    low, high = curve.floor[0], curve.ceiling
    if high <= low:
        return float(gained[-1])
    area = trapezoid(np.r_[gained, gained[-1]], np.r_[spent, max(high, spent[-1])])
    return float(area / (high - low))


def quality_neutral_cost(
    y: Any,
    costs: Any = None,
    quality: Any = None,
    cost: Any = None,
    *,
    scope: Scope = "mean",
    sample_weight: Any = None,
) -> float:
    """Cost of the best single model's quality, as a share of that model's cost.

    The cheapest point of the envelope whose quality is at least that of the best single
    model, over that model's mean cost [1]_.

    Parameters
    ----------
    y : RoutingCurve, or array-like of shape (n_queries, n_models)
        A curve, or the observed qualities.
    costs, quality, cost : array-like, default=None
        Observed costs, expected qualities and expected costs, as in
        :func:`~skroute.metrics.routing_curve`; not with a curve.
    scope : {"mean", "query"}, default="mean"
        How the budget is swept; not with a curve.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts; not with a curve.

    Returns
    -------
    float
        Lower is better, 1 is no gain. Infinity where the quality is never reached; 0/0
        (the best single model and the router are both free) counts as 1.

    References
    ----------
    .. [1] G. Lai and H.-J. Ye, "When Routing Collapses: On the Degenerate Convergence
       of LLM Routers", arXiv:2602.03478, 2026.

    Examples
    --------
    >>> from skroute.metrics import quality_neutral_cost
    >>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]
    >>> round(quality_neutral_cost(y, costs, y, [costs, costs]), 3)
    0.667
    """
    curve = as_curve(y, costs, quality, cost, scope, sample_weight)
    spent, gained = curve.envelope()
    target = curve.model_quality[curve.best_single]
    # Means of the same numbers in another order differ in the last digits.
    reached = np.flatnonzero(gained >= target - 1e-12 * max(1.0, abs(target)))
    if len(reached) == 0:
        return float("inf")
    paid, reference = spent[reached[0]], curve.model_cost[curve.best_single]
    if reference == 0:
        return 1.0 if paid == 0 else float("inf")
    return float(paid / reference)


def peak_quality(
    y: Any,
    costs: Any = None,
    quality: Any = None,
    cost: Any = None,
    *,
    scope: Scope = "mean",
    sample_weight: Any = None,
) -> float:
    """Highest mean quality on the envelope, at any budget.

    Parameters
    ----------
    y : RoutingCurve, or array-like of shape (n_queries, n_models)
        A curve, or the observed qualities.
    costs, quality, cost : array-like, default=None
        Observed costs, expected qualities and expected costs, as in
        :func:`~skroute.metrics.routing_curve`; not with a curve.
    scope : {"mean", "query"}, default="mean"
        How the budget is swept; not with a curve.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts; not with a curve.

    Returns
    -------
    float
        In the unit of the quality; higher is better.

    Examples
    --------
    >>> from skroute.metrics import peak_quality
    >>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]
    >>> peak_quality(y, costs, y, [costs, costs])
    1.0
    """
    _, gained = as_curve(y, costs, quality, cost, scope, sample_weight).envelope()
    return float(gained[-1])


def routing_collapse_index(
    y: Any,
    costs: Any = None,
    quality: Any = None,
    cost: Any = None,
    *,
    scope: Scope = "mean",
    sample_weight: Any = None,
) -> float:
    """Share of the queries on which the largest budget is spent badly.

    A query is well decided if the chosen model is among the best for it, and is not the
    dearest model unless only that one is best [1]_. The dearest model is that of the
    largest mean cost.

    Parameters
    ----------
    y : RoutingCurve, or array-like of shape (n_queries, n_models)
        A curve, or the observed qualities.
    costs, quality, cost : array-like, default=None
        Observed costs, expected qualities and expected costs, as in
        :func:`~skroute.metrics.routing_curve`; not with a curve.
    scope : {"mean", "query"}, default="mean"
        How the budget is swept; not with a curve.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts; not with a curve.

    Returns
    -------
    float
        Between 0 and 1; lower is better, 1 is a router that collapsed.

    References
    ----------
    .. [1] G. Lai and H.-J. Ye, "When Routing Collapses: On the Degenerate Convergence
       of LLM Routers", arXiv:2602.03478, 2026.

    Examples
    --------
    >>> from skroute.metrics import routing_collapse_index
    >>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]
    >>> routing_collapse_index(y, costs, [[0, 1], [0, 1]], [costs, costs])
    0.5
    """
    curve = as_curve(y, costs, quality, cost, scope, sample_weight)
    return float(curve.collapse[-1])


def strongest_call_share(
    y: Any,
    costs: Any = None,
    quality: Any = None,
    cost: Any = None,
    *,
    scope: Scope = "mean",
    sample_weight: Any = None,
) -> float:
    """Share of the calls that go to the dearest model at the largest budget.

    Parameters
    ----------
    y : RoutingCurve, or array-like of shape (n_queries, n_models)
        A curve, or the observed qualities.
    costs, quality, cost : array-like, default=None
        Observed costs, expected qualities and expected costs, as in
        :func:`~skroute.metrics.routing_curve`; not with a curve.
    scope : {"mean", "query"}, default="mean"
        How the budget is swept; not with a curve.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts; not with a curve.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> from skroute.metrics import strongest_call_share
    >>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]
    >>> strongest_call_share(y, costs, [[0, 1], [0, 1]], [costs, costs])
    1.0
    """
    curve = as_curve(y, costs, quality, cost, scope, sample_weight)
    return float(curve.call_share[-1, curve.strongest])


def average_improvement_in_quality(
    y: Any,
    costs: Any = None,
    quality: Any = None,
    cost: Any = None,
    *,
    scope: Scope = "mean",
    sample_weight: Any = None,
    max_cost: float | None = None,
) -> float:
    """AIQ of RouterBench: area under the non-decreasing hull over the largest cost.

    Parameters
    ----------
    y : RoutingCurve, or array-like of shape (n_queries, n_models)
        A curve, or the observed qualities.
    costs, quality, cost : array-like, default=None
        Observed costs, expected qualities and expected costs, as in
        :func:`~skroute.metrics.routing_curve`; not with a curve.
    scope : {"mean", "query"}, default="mean"
        How the budget is swept; not with a curve.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts; not with a curve.
    max_cost : float, default=None
        The largest cost over all the routers that are compared, to which the last
        quality is carried. ``None``: the largest cost of this curve.

    Returns
    -------
    float
        In the unit of the quality; higher is better. The quality at the only point
        where `max_cost` is 0; a single point that costs money spans no area, and gives
        0 unless `max_cost` is larger.

    References
    ----------
    .. [1] Q. J. Hu et al., "RouterBench: A Benchmark for Multi-LLM Routing System",
       arXiv:2403.12031, 2024.

    Examples
    --------
    >>> from skroute.metrics import average_improvement_in_quality
    >>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]
    >>> average_improvement_in_quality(y, costs, y, [costs, costs], max_cost=4.0)
    0.6875
    """
    curve = as_curve(y, costs, quality, cost, scope, sample_weight)
    spent, gained = concave_hull(curve.cost, curve.quality)
    if max_cost is None:
        max_cost = float(curve.cost.max())
    elif check_number(max_cost, "max_cost", low=0.0) < spent[-1]:
        raise ValueError(
            f"max_cost must be at least the curve's own largest useful cost "
            f"{float(spent[-1])!r}; got {max_cost!r}."
        )
    if max_cost == 0:
        return float(gained[-1])
    area = trapezoid(np.r_[gained, gained[-1]], np.r_[spent, max_cost])
    return float(area / max_cost)

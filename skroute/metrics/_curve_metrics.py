"""Numbers read off a quality-cost curve.

Every metric takes a :class:`~skroute.metrics.RoutingCurve`, or the arrays from which
:func:`~skroute.metrics.routing_curve` computes one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, Protocol

import numpy as np
from scipy.integrate import trapezoid

from skroute._table.numbers import check_number
from skroute.metrics._curve import RoutingCurve, concave_hull, routing_curve

# What the docstrings share: each metric adds its own parameters and its own example.
_SHARED = {
    "{parameters}": """\
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
    How much each query counts; not with a curve.""",
    "{example}": """\
Examples
--------
>>> from skroute.metrics import {name}
>>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]""",
}


class CurveMetric(Protocol):
    """A metric that takes a curve, or the arrays of one."""

    __name__: str

    def __call__(
        self,
        y: Any,
        costs: Any = None,
        quality: Any = None,
        cost: Any = None,
        *,
        scope: Literal["mean", "query"] = "mean",
        sample_weight: Any = None,
        **options: Any,
    ) -> float: ...


def _take_arrays(metric: Callable[..., Any]) -> CurveMetric:
    """Let a metric of a curve also take the arrays of one, and document them."""

    @wraps(metric)
    def of_arrays(
        y: Any,
        costs: Any = None,
        quality: Any = None,
        cost: Any = None,
        *,
        scope: Literal["mean", "query"] = "mean",
        sample_weight: Any = None,
        **options: Any,
    ) -> float:
        arrays = {"costs": costs, "quality": quality, "cost": cost}
        arrays["sample_weight"] = sample_weight
        if not isinstance(y, RoutingCurve):
            return float(metric(routing_curve(y, scope=scope, **arrays), **options))
        extra = [name for name, value in arrays.items() if value is not None]
        if extra:
            raise ValueError(
                f"a RoutingCurve already holds {', '.join(extra)}: give it alone."
            )
        return float(metric(y, **options))

    # Tools that read signatures and docstrings see the arrays and the metric's options.
    own = list(inspect.signature(metric).parameters.values())[1:]
    shared = inspect.signature(of_arrays, follow_wrapped=False)
    *arrays, _ = shared.parameters.values()
    of_arrays.__signature__ = shared.replace(  # type: ignore[attr-defined]
        parameters=[*arrays, *own], return_annotation=float
    )
    if metric.__doc__:  # none with python -OO
        doc = inspect.cleandoc(metric.__doc__)
        for place, text in _SHARED.items():
            doc = doc.replace(place, text)
        of_arrays.__doc__ = doc.replace("{name}", metric.__name__)
    return of_arrays


@_take_arrays
def normalized_auc(curve: RoutingCurve) -> float:
    """Mean quality of the Pareto envelope between the smallest and the largest spend.

    The area under the envelope, from the mean cost of each query's cheapest model to
    that of its most expensive one, divided by that range (Lai and Ye,
    arXiv:2602.03478). The last quality is carried to the end.

    {parameters}

    Returns
    -------
    float
        In the unit of the quality; higher is better. Where every model costs the same,
        the best quality reached.

    {example}
    >>> normalized_auc(y, costs, y, [costs, costs])
    0.875
    """
    spent, gained = curve.envelope()
    low, high = curve.floor[0], curve.ceiling
    if high <= low:
        return float(gained[-1])
    # A cascade can spend more than any single model; what that buys is left out.
    last = np.interp(high, spent, gained)
    inside = spent < high
    area = trapezoid(np.r_[gained[inside], last], np.r_[spent[inside], high])
    return float(area / (high - low))


@_take_arrays
def quality_neutral_cost(curve: RoutingCurve) -> float:
    """Cost of the best single model's quality, as a share of that model's cost.

    The cheapest point of the envelope whose quality is at least that of the best single
    model, over that model's mean cost (Lai and Ye, arXiv:2602.03478).

    {parameters}

    Returns
    -------
    float
        Lower is better, 1 is no gain. Infinity where the quality is never reached; 0/0
        (the best single model and the router are both free) counts as 1.

    {example}
    >>> round(quality_neutral_cost(y, costs, y, [costs, costs]), 3)
    0.667
    """
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


@_take_arrays
def peak_quality(curve: RoutingCurve) -> float:
    """Highest mean quality on the envelope, at any budget.

    {parameters}

    Returns
    -------
    float
        In the unit of the quality; higher is better.

    {example}
    >>> peak_quality(y, costs, y, [costs, costs])
    1.0
    """
    _, gained = curve.envelope()
    return float(gained[-1])


@_take_arrays
def routing_collapse_index(curve: RoutingCurve) -> float:
    """Share of the queries that are decided badly at the largest budget.

    A query is well decided if the chosen model is among the best for it, and is not the
    strongest model unless only that one is best [1]_. The strongest model is the most
    expensive one by mean cost.

    {parameters}

    Returns
    -------
    float
        Between 0 and 1; lower is better, 1 is a router that collapsed.

    References
    ----------
    .. [1] G. Lai and H.-J. Ye, "When Routing Collapses: On the Degenerate Convergence
       of LLM Routers", arXiv:2602.03478, 2026.

    {example}
    >>> routing_collapse_index(y, costs, [[0, 1], [0, 1]], [costs, costs])
    0.5
    """
    return float(curve.collapse[-1])


@_take_arrays
def strongest_call_share(curve: RoutingCurve) -> float:
    """Share of the calls that go to the strongest model at the largest budget.

    The strongest model is the most expensive one by mean cost.

    {parameters}

    Returns
    -------
    float
        Between 0 and 1.

    {example}
    >>> strongest_call_share(y, costs, [[0, 1], [0, 1]], [costs, costs])
    1.0
    """
    return float(curve.call_share[-1, curve.strongest])


@_take_arrays
def average_improvement_in_quality(
    curve: RoutingCurve, *, max_cost: float | None = None
) -> float:
    """AIQ of RouterBench: area under the non-decreasing hull over the largest cost.

    Defined by Hu et al., arXiv:2403.12031.

    {parameters}
    max_cost : float, default=None
        The largest cost over all the routers that are compared, to which the last
        quality is carried. ``None``: the largest cost of this curve.

    Returns
    -------
    float
        In the unit of the quality; higher is better. The quality at the only point
        where `max_cost` is 0; a single point that costs money spans no area, and gives
        0 unless `max_cost` is larger.

    {example}
    >>> average_improvement_in_quality(y, costs, y, [costs, costs], max_cost=4.0)
    0.6875
    """
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


@_take_arrays
def apgr(curve: RoutingCurve) -> float:
    """Average performance gap recovered, of RouteLLM: for a weak and a strong model.

    The area under the quality over the share of calls to the strong (more expensive)
    model, less the weak model's quality, divided by the gap between the two (Ong et
    al., arXiv:2406.18665).

    {parameters}

    Returns
    -------
    float
        0.5 for a random router, higher is better.

    Raises
    ------
    ValueError
        If there are not two models, or the more expensive one is not the better one.

    {example}
    >>> apgr(y, costs, y, [costs, costs])
    0.75
    """
    share, recovered = _measure_recovery(curve)
    return float(trapezoid(recovered, share))


@_take_arrays
def call_performance_threshold(curve: RoutingCurve, *, recovered: float = 0.5) -> float:
    """CPT of RouteLLM: share of strong calls that recovers part of the quality gap.

    Defined by Ong et al., arXiv:2406.18665.

    {parameters}
    recovered : float, default=0.5
        The part of the gap, between 0 and 1.

    Returns
    -------
    float
        Between 0 and 1; lower is better.

    Raises
    ------
    ValueError
        As :func:`apgr`, or if `recovered` is out of range.

    {example}
    >>> call_performance_threshold(y, costs, y, [costs, costs], recovered=0.5)
    0.25
    """
    if not 0 <= check_number(recovered, "recovered") <= 1:
        raise ValueError(f"recovered must be between 0 and 1; got {recovered!r}.")
    share, gap = _measure_recovery(curve)
    after = int(np.argmax(gap >= recovered))
    if after == 0:
        return float(share[0])
    rise = (recovered - gap[after - 1]) / (gap[after] - gap[after - 1])
    return float(share[after - 1] + rise * (share[after] - share[after - 1]))


def _measure_recovery(curve: RoutingCurve) -> tuple[np.ndarray, np.ndarray]:
    """Measure the shares of strong calls, and the part of the gap each recovers."""
    if len(curve.models) != 2:
        raise ValueError(
            "y must have exactly two models, a weak and a strong one; got "
            f"{len(curve.models)}."
        )
    strong = curve.strongest
    weak_quality, strong_quality = curve.model_quality[[1 - strong, strong]]
    gap = strong_quality - weak_quality
    if gap <= 0:
        raise ValueError(
            f"the more expensive model ({curve.models[strong]}) must be the better "
            f"one: mean quality {strong_quality:g} against {weak_quality:g} leaves no "
            "gap to recover."
        )
    # Calling only the weak or only the strong model is always possible.
    share = np.r_[0.0, curve.call_share[:, strong], 1.0]
    quality = np.r_[weak_quality, curve.quality, strong_quality]
    order = np.argsort(share, kind="stable")
    return share[order], (quality[order] - weak_quality) / gap

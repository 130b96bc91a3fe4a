"""RouteLLM's metrics of a router between a weak and a strong model."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.integrate import trapezoid

from skroute._table.numbers import check_number
from skroute.metrics._curve import RoutingCurve, as_curve

Scope = Literal["mean", "query"]


def apgr(
    y: Any,
    costs: Any = None,
    quality: Any = None,
    cost: Any = None,
    *,
    scope: Scope = "mean",
    sample_weight: Any = None,
) -> float:
    """Average performance gap recovered, of RouteLLM: for a weak and a strong model.

    The area under the quality over the share of calls to the strong (dearer) model,
    less the weak model's quality, over the gap between the two.

    Parameters
    ----------
    y : RoutingCurve, or array-like of shape (n_queries, 2)
        A curve, or the observed qualities, of exactly two models.
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
        0.5 for a random router, higher is better.

    Raises
    ------
    ValueError
        If there are not two models, or the dearer one is not the better one.

    References
    ----------
    .. [1] I. Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data",
       arXiv:2406.18665, 2024.

    Examples
    --------
    >>> from skroute.metrics import apgr
    >>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]
    >>> apgr(y, costs, y, [costs, costs])
    0.75
    """
    share, recovered = _gap_recovered(
        as_curve(y, costs, quality, cost, scope, sample_weight)
    )
    return float(trapezoid(recovered, share))


def call_performance_threshold(
    y: Any,
    costs: Any = None,
    quality: Any = None,
    cost: Any = None,
    *,
    scope: Scope = "mean",
    sample_weight: Any = None,
    recovered: float = 0.5,
) -> float:
    """CPT of RouteLLM: share of strong calls that recovers part of the quality gap.

    Parameters
    ----------
    y : RoutingCurve, or array-like of shape (n_queries, 2)
        A curve, or the observed qualities, of exactly two models.
    costs, quality, cost : array-like, default=None
        Observed costs, expected qualities and expected costs, as in
        :func:`~skroute.metrics.routing_curve`; not with a curve.
    scope : {"mean", "query"}, default="mean"
        How the budget is swept; not with a curve.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts; not with a curve.
    recovered : float, default=0.5
        The part of the gap, between 0 and 1.

    Returns
    -------
    float
        Between 0 and 1; lower is better.

    Raises
    ------
    ValueError
        If there are not two models, the dearer one is not the better one, or
        `recovered` is out of range.

    References
    ----------
    .. [1] I. Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data",
       arXiv:2406.18665, 2024.

    Examples
    --------
    >>> from skroute.metrics import call_performance_threshold
    >>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]
    >>> call_performance_threshold(y, costs, y, [costs, costs], recovered=0.5)
    0.25
    """
    if not 0 <= check_number(recovered, "recovered") <= 1:
        raise ValueError(f"recovered must be between 0 and 1; got {recovered!r}.")
    share, gap = _gap_recovered(as_curve(y, costs, quality, cost, scope, sample_weight))
    after = int(np.argmax(gap >= recovered))
    if after == 0:
        return float(share[0])
    rise = (recovered - gap[after - 1]) / (gap[after] - gap[after - 1])
    return float(share[after - 1] + rise * (share[after] - share[after - 1]))


def _gap_recovered(curve: RoutingCurve) -> tuple[np.ndarray, np.ndarray]:
    """Share of strong calls, and the part of the quality gap it recovers."""
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
            f"the dearer model ({curve.models[strong]}) must be the better one: mean "
            f"quality {strong_quality:g} against {weak_quality:g} leaves no gap to "
            "recover."
        )
    # All weak and all strong calls can always be had.
    share = np.r_[0.0, curve.call_share[:, strong], 1.0]
    quality = np.r_[weak_quality, curve.quality, strong_quality]
    order = np.argsort(share, kind="stable")
    return share[order], (quality[order] - weak_quality) / gap

"""Bands of a stack of call shares: which models have one of their own, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skroute.metrics import RoutingCurve
from skroute.plotting._style import MUTED, literal, shades

__all__ = ["Band", "model_colors", "stack", "to_the_ceiling"]

# A model that is called less often at every budget shares a band with its like.
_RARE = 0.01


@dataclass(frozen=True)
class Band:
    """One model of the stack, or several that are hardly called.

    Attributes
    ----------
    label : str
        Its name.
    color : tuple or str
        Its colour.
    share : ndarray of shape (n_points,)
        Share of the queries at each budget.
    bottom : ndarray of shape (n_points,)
        Share of the queries that go to the bands below.
    oracle : float
        Share of the queries in the oracle's decisions.
    """

    label: str
    color: Any
    share: np.ndarray
    bottom: np.ndarray
    oracle: float


def to_the_ceiling(curve: RoutingCurve) -> tuple[np.ndarray, np.ndarray]:
    """Budgets and call shares, the last ones kept where more money changes nothing.

    Parameters
    ----------
    curve : RoutingCurve
        The curve.

    Returns
    -------
    budget : ndarray of shape (n_points,)
        At least two different ones.
    share : ndarray of shape (n_points, n_models)
        Call shares.
    """
    last = curve.budget[-1]
    end = max(last, curve.ceiling)
    if end <= curve.budget[0]:  # every call costs the same
        end = last * 1.1 if last > 0 else 1.0
    if end == last:
        return curve.budget, curve.call_share
    share = np.vstack([curve.call_share, curve.call_share[-1]])
    return np.r_[curve.budget, end], share


def model_colors(curve: RoutingCurve) -> np.ndarray:
    """Colours of the models, pale for cheap ones.

    Parameters
    ----------
    curve : RoutingCurve
        The curve.

    Returns
    -------
    ndarray of shape (n_models, 4)
        RGBA, in the order of the models.
    """
    order = _cheapest_first(curve)
    colors = np.empty((len(order), 4))
    colors[order] = shades(len(order))
    return colors


def stack(
    curve: RoutingCurve, share: np.ndarray, oracle: np.ndarray | None
) -> list[Band]:
    """Stack the models from the cheapest to the dearest.

    Parameters
    ----------
    curve : RoutingCurve
        The curve.
    share : ndarray of shape (n_points, n_models)
        Call shares.
    oracle : ndarray of shape (n_models,) or None
        Call shares of the oracle.

    Returns
    -------
    list of Band
        From the bottom to the top; models that are hardly called are the first.
    """
    if oracle is None:
        oracle = np.zeros(len(curve.models))
    order, colors = _cheapest_first(curve), model_colors(curve)
    rare = (np.maximum(share.max(axis=0), oracle) < _RARE)[order]
    rare[-1] = False  # whether the dearest is called is what the picture is about
    groups = [order[rare]] if rare.sum() > 1 else []
    alone = order[~rare] if groups else order
    groups += [np.array([model]) for model in alone]
    bands, bottom = [], np.zeros(len(share))
    for group in groups:
        several = len(group) > 1
        bands.append(
            Band(
                f"{len(group)} others, < 1% each"
                if several
                else literal(curve.models[group[0]]),
                MUTED if several else tuple(colors[group[0]]),
                share[:, group].sum(axis=1),
                bottom,
                float(oracle[group].sum()),
            )
        )
        bottom = bottom + bands[-1].share
    return bands


def _cheapest_first(curve: RoutingCurve) -> np.ndarray:
    """Order of the models; of equally dear ones, that of the collapse index is last."""
    dearest = np.arange(len(curve.models)) == curve.strongest
    return np.lexsort((dearest, curve.model_cost))

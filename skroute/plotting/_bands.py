"""Bands of a stack of call shares: which models share one, and where each lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skroute.metrics import RoutingCurve
from skroute.plotting.style import MUTED, escape_label, model_colors, order_by_cost

__all__ = ["Band", "extend_to_ceiling", "stack"]

# Models that are called less often than this at every budget share one band.
_RARE = 0.01


@dataclass(frozen=True)
class Band:
    """One model of the stack, or several that are rarely called.

    `share` is its share of the queries at each budget, `bottom` that of the bands
    below, both (n_points,); `oracle` is its share in the oracle's decisions.
    """

    label: str
    color: Any
    share: np.ndarray
    bottom: np.ndarray
    oracle: float


def extend_to_ceiling(curve: RoutingCurve) -> tuple[np.ndarray, np.ndarray]:
    """Return budgets and call shares, with the last share kept up to the ceiling.

    There are at least two different budgets.
    """
    last = curve.budget[-1]
    end = max(last, curve.ceiling)
    if end <= curve.budget[0]:  # every call costs the same
        end = last * 1.1 if last > 0 else 1.0
    if end == last:
        return curve.budget, curve.call_share
    share = np.vstack([curve.call_share, curve.call_share[-1]])
    return np.r_[curve.budget, end], share


def stack(
    curve: RoutingCurve, share: np.ndarray, oracle: np.ndarray | None
) -> list[Band]:
    """Stack the call shares, (n_points, n_models), cheapest model at the bottom.

    Models that are rarely called, also by the `oracle`, share the first band.
    """
    if oracle is None:
        oracle = np.zeros(len(curve.models))
    order, colors = order_by_cost(curve), model_colors(curve)
    rare = (np.maximum(share.max(axis=0), oracle) < _RARE)[order]
    rare[-1] = False  # The picture is about the strongest model: it has its own band.
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
                else escape_label(curve.models[group[0]]),
                MUTED if several else tuple(colors[group[0]]),
                share[:, group].sum(axis=1),
                bottom,
                float(oracle[group].sum()),
            )
        )
        bottom = bottom + bands[-1].share
    return bands

"""Cascades in service: which model is called first, and by which rule."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from skroute.cascade import CascadeDecider
from skroute.exceptions import InfeasibleBudgetError
from skroute.serve.saved import override_rule

_OPTIONS = ("budget", "scope", "min_quality", "price", "on_infeasible")


def change_rule(cascade: CascadeDecider, rule: Mapping[str, Any]) -> CascadeDecider:
    """Return a cascade that keeps another rule; raises ``ValueError`` if it cannot."""
    unknown = sorted(set(rule) - set(_OPTIONS))
    if unknown:
        raise ValueError(
            f"the router's file holds a cascade, which takes no {unknown[0]} here: "
            f"give {', '.join(_OPTIONS)}, or set it before fit (confidence)."
        )
    if not rule:
        return cascade
    told = override_rule(cascade.get_params(deep=False), dict(rule))
    # What was left out of these is replaced by what is given.
    absent = {**dict.fromkeys(_OPTIONS), "scope": "mean", "confidence": None}
    changed = copy.copy(cascade)
    changed.set_params(**{name: told.get(name, absent[name]) for name in absent})
    return changed


def order_models(
    cascade: CascadeDecider, Z: Any, available: Any, top_k: int, costs: Any
) -> np.ndarray:
    """Name the first call of every query, then what is called if it is out of reach.

    Returns (n_queries, top_k) names; ``None`` where no other model may be called.
    """
    models = cascade.models_
    top_k = min(top_k, len(models))
    names = np.full((len(Z), top_k), None, dtype=object)
    if not len(Z):
        return names
    names[:, 0] = cascade.next(Z, available=available, costs=costs)
    may = list(models) if available is None else list(available)
    for row in range(len(Z) if top_k > 1 else 0):
        known = costs if getattr(costs, "ndim", 0) < 2 else costs.iloc[[row]]
        for place in range(1, top_k):
            left = [name for name in may if name not in names[row, :place]]
            if not left:
                break
            try:
                names[row, place] = cascade.next(Z[[row]], available=left, costs=known)[
                    0
                ]
            except InfeasibleBudgetError:  # nothing else fits the cap
                break
    return names

"""Logistic regression that begins at given log-odds and is shrunk to given weights."""

from __future__ import annotations

import numpy as np

from skroute._cascade.evidence import to_probability

_MOST_STEPS = 25
_MOST_HALVINGS = 20


def fit_logistic(
    features: np.ndarray,
    target: np.ndarray,
    start: np.ndarray,
    prior: np.ndarray,
    strength: float,
) -> np.ndarray:
    """Fit weights (n_features,) of log-odds ``start + features @ weights``.

    `target` (n_rows,) may be graded, between 0 and 1. The penalty is
    ``strength / 2 * |weights - prior| ** 2``; without rows the prior is returned.
    scikit-learn's regression knows neither a start nor a prior.
    """

    def loss(weights: np.ndarray) -> float:
        log_odds = start + features @ weights
        misfit = (np.logaddexp(0, log_odds) - target * log_odds).sum()
        return float(misfit + strength / 2 * ((weights - prior) ** 2).sum())

    weights = prior.copy()
    reached = loss(weights)
    for _ in range(_MOST_STEPS):
        expected = to_probability(start + features @ weights)
        slope = features.T @ (target - expected) - strength * (weights - prior)
        curvature = (features * (expected * (1 - expected))[:, None]).T @ features
        step = np.linalg.solve(curvature + strength * np.eye(len(prior)), slope)
        # A full step may go too far where classes are nearly separated.
        for _ in range(_MOST_HALVINGS):
            after = loss(weights + step)
            if after <= reached:
                break
            step = step / 2
        else:
            break
        weights, reached = weights + step, after
        if np.abs(step).max(initial=0) < 1e-7:
            break
    return weights

"""Contextual Bradley-Terry: the strength of each model, as it depends on the query.

The chance that model i beats model j on a query is the logistic function of the
difference of their strengths, which are linear in the features of the query [1]_. Ties
count as half a win of each.

References
----------
.. [1] R. A. Bradley and M. E. Terry, "Rank Analysis of Incomplete Block Designs: I. The
   Method of Paired Comparisons", Biometrika 39, 1952.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from skroute._compute.chunks import chunks
from skroute.preferences._battles import Battles

# Penalties of a model's mean strength, and of the common advantage of the first
# position, in units of log-odds: a standard deviation of 1.4 and of 0.3. Where one
# model is always first, what is seen is then ascribed to the model.
_LEVEL_PENALTY = 0.5
_POSITION_PENALTY = 10.0
_MAX_STEPS = 200
# Numbers of a table (queries, models, models) at a time.
_CELLS = 1 << 22


class Strengths(NamedTuple):
    """Strengths of the models: `features @ weights + level`, in log-odds."""

    weights: np.ndarray
    level: np.ndarray
    #: What the first position adds to the log-odds of any model.
    position: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Strengths (n_queries, n_models)."""
        strengths: np.ndarray = features @ self.weights + self.level
        return strengths


def fit_strengths(
    features: np.ndarray,
    battles: Battles,
    penalty: float,
    start: Strengths | None = None,
) -> Strengths:
    """Fit strengths by penalised maximum likelihood.

    `features` are those of the queries, (n_queries, n_features), and `penalty` is that
    of the weights; if it is infinite, strengths are the same for all queries.
    """
    n_models = len(battles.models)
    used = features[battles.row]
    if np.isinf(penalty):
        used = used[:, :0]
    n_features = used.shape[1]
    rows = np.arange(len(used))
    first, second, score = battles.first, battles.second, battles.score
    penalties = np.full((n_features + 1, n_models), penalty)
    penalties[-1] = _LEVEL_PENALTY

    def find_loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        table, position = flat[:-1].reshape(penalties.shape), flat[-1]
        strength = used @ table[:-1] + table[-1]
        odds = strength[rows, first] - strength[rows, second] + position
        loss = (np.logaddexp(0.0, odds) - score * odds).sum()
        loss += 0.5 * (penalties * table**2).sum()
        loss += 0.5 * _POSITION_PENALTY * position**2
        missed = expit(odds) - score
        # How much more often a model should have won each battle.
        pull = np.zeros_like(strength)
        pull[rows, first] = missed
        pull[rows, second] = -missed
        slope = penalties * table
        slope[:-1] += used.T @ pull
        slope[-1] += pull.sum(axis=0)
        of_position = missed.sum() + _POSITION_PENALTY * position
        return float(loss), np.r_[slope.ravel(), of_position]

    guess = np.zeros(penalties.size + 1)
    if start is not None and len(start.weights) == n_features:
        guess = np.r_[start.weights.ravel(), start.level, start.position]
    found = minimize(
        find_loss,
        guess,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_STEPS, "ftol": 1e-10, "gtol": 1e-4},
    ).x
    table = found[:-1].reshape(penalties.shape)
    weights = np.zeros((features.shape[1], n_models))
    weights[:n_features] = table[:-1]
    return Strengths(weights, table[-1], float(found[-1]))


def measure_loss(
    fitted: Strengths, features: np.ndarray, battles: Battles
) -> np.ndarray:
    """Log-loss of each battle, in nats."""
    strength = fitted.predict(features[battles.row])
    rows = np.arange(len(strength))
    odds = strength[rows, battles.first] - strength[rows, battles.second]
    odds += fitted.position
    loss: np.ndarray = np.logaddexp(0.0, odds) - battles.score * odds
    return loss


def expect_wins(strength: np.ndarray) -> np.ndarray:
    """Mean chance to beat another model of the pool, of strengths (n, n_models)."""
    n_models = strength.shape[1]
    rates = np.empty_like(strength)
    for part in chunks(len(strength), max(1, _CELLS // n_models**2)):
        lead = strength[part, :, None] - strength[part, None, :]
        # Without the battle of a model against itself, which is even.
        rates[part] = (expit(lead).sum(axis=2) - 0.5) / (n_models - 1)
    return rates

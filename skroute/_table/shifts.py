"""Shifts: whether the last outcomes of a model are other than was expected of it.

A model that is changed behind its name, or whose price is, does so at once, on all
queries. What was learned of how queries differ still holds; the level does not.

References
----------
S. Bernstein, "On a modification of Chebyshev's inequality and of the error formula of
Laplace", 1924, in the form of G. Bennett, "Probability inequalities for the sum of
independent random variables", Journal of the American Statistical Association 57, 1962.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "LEAST_QUALITY",
    "N_RESIDUALS",
    "find_shift",
    "is_still_off",
    "push_residuals",
]

#: Least shift of the quality that counts, in the range of all qualities.
LEAST_QUALITY = 0.05
#: Residuals that are kept of each model.
N_RESIDUALS = 100
# The last outcomes that are averaged: a change has come at one of these places.
_SPANS = (20, 30, 50, 100)
# Residual that is counted as seen once: half of the range of qualities.
_FAR = 0.5
# Outcomes that are taken to vary as if nothing had changed, beside those that are
# known.
_PRIOR = 30
# Chance that the mean of such a span is as far away from 0 without a change.
_CHANCE = 1e-7


def push_residuals(kept: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Put new residuals (n_queries, n_models), ``NaN`` where unknown, behind the last.

    Those `kept` are (n_models, 100), the newest last, ``NaN`` before the first.
    """
    kept = kept.copy()
    for model, column in enumerate(residuals.T):
        known = column[np.isfinite(column)]
        if len(known):
            kept[model] = np.append(kept[model], known)[-N_RESIDUALS:]
    return kept


def find_shift(
    residuals: np.ndarray, least: float, n_known: float = float("inf")
) -> float:
    """Find by how much the last residuals of a model are off; 0 if that may be chance.

    The mean over a span of the last outcomes is held against Bernstein's bound, which
    also holds for outcomes that are nearly always alike, and sometimes far away. Of the
    spans that exceed it, the one that does by most is taken. A shift below `least` is
    none: the estimates of models that are called are a little too high on average.
    What was expected was learned from `n_known` outcomes of the model: after a few it
    is as uncertain as a mean of a few.
    """
    if not n_known:
        return 0.0
    known = residuals[np.isfinite(residuals)]
    most, found = 1.0, 0.0
    for span in _SPANS:
        if span > len(known):
            break
        before, last = known[:-span], known[-span:]
        mean = float(last.mean())
        if abs(mean) < least:
            continue
        excess = abs(mean) / _bound_mean(last, before, n_known)
        if excess > most:
            most, found = excess, mean
    return found


def is_still_off(residuals: np.ndarray, shift: float) -> bool:
    """Whether the last residuals of a model that was off by `shift` still are.

    It is back when each of the means makes up for half of it.
    """
    known = residuals[np.isfinite(residuals)]
    means = [known[-span:].mean() for span in _SPANS if span <= len(known)]
    return any(mean / shift > 0.5 for mean in means)


def _bound_mean(residuals: np.ndarray, before: np.ndarray, n_known: float) -> float:
    """Bound the mean of so many residuals, if none is expected."""
    doubt = float(np.log(2.0 / _CHANCE))
    # Of a difference between two means, that of these and what was known.
    span = 1.0 / (1.0 / len(residuals) + 1.0 / n_known)
    # A run of right answers varies as little as those of a model that became better.
    # What tells them apart is how much the outcomes before them varied: half of that,
    # because a model that changed may vary less than before.
    own, earlier = _sum_squares(residuals), _sum_squares(before)
    some = _PRIOR * float((residuals**2).mean())
    usual = (own + earlier + some) / (len(residuals) + len(before) + _PRIOR)
    # Of a model that never failed yet, all residuals are alike: one may be far off.
    variance = max(own / len(residuals), usual / 2) + _FAR**2 / N_RESIDUALS
    largest = max(float(np.abs(residuals).max()), _FAR)
    return float(np.sqrt(2.0 * doubt * variance / span) + doubt * largest / (3 * span))


def _sum_squares(values: np.ndarray) -> float:
    """Sum the squared distances from the mean; 0 without values."""
    return float(values.var() * len(values)) if len(values) else 0.0

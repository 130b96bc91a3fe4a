"""How cautious decisions should be where the regressions disagree about a model.

The model that is called is the one with the largest of several estimates, and the more
models there are, the more often that is one whose estimate is too large. Where
regressions on several views of a query disagree about how much better a model is than
the best one on average, that lead is the less certain. Decisions therefore rest on
estimates less `caution` standard deviations of the lead over the regressions, if that
has shown to make them better out of fold.
"""

from __future__ import annotations

import numpy as np

from skroute._decide.price_path import PricePath
from skroute._decide.utility import measure_utility
from skroute._table.averages import doubly_robust

__all__ = ["choose_caution", "space_prices"]

# Queries without which nothing is compared: a standard error of fewer is a guess.
_LEAST_QUERIES = 100
# What is tried, in standard deviations.
_CANDIDATES = (0.25, 0.5, 1.0, 2.0)
# Prices at which decisions are compared.
_N_PRICES = 16
# Standard errors by which the gain must exceed 0. With one, some tables lose.
_DOUBT = 2.0


def choose_caution(
    quality: np.ndarray,
    cost: np.ndarray,
    doubt: np.ndarray,
    true_quality: np.ndarray,
    true_cost: np.ndarray,
    weight: np.ndarray | None = None,
) -> float:
    """Choose the caution whose decisions have the highest utility out of fold.

    The utility of a decision is quality - price * cost, in the mean over prices at
    which the spend is equally spaced. Estimates, the standard deviations over the
    regressions (`doubt`), and the truth are (n_queries, n_models), the truth ``NaN``
    where unknown. Returns 0 unless the gain is beyond what may be chance, and where
    fewer than 100 queries have an outcome.
    """
    # Other rows are repeats of a prompt, whose first row has its averages.
    told = np.isfinite(true_quality).any(axis=1)
    if np.count_nonzero(told) < _LEAST_QUERIES:
        return 0.0
    quality, cost, doubt = quality[told], cost[told], doubt[told]
    true_quality, true_cost = true_quality[told], true_cost[told]
    weight = None if weight is None else weight[told]
    gained = doubly_robust(true_quality, quality, weight)
    # Squares of the largest qualities would overflow.
    unit = max(float(np.abs(table).max()) for table in (quality, gained)) or 1.0
    quality, doubt, gained = quality / unit, doubt / unit, gained / unit
    spent = np.where(np.isnan(true_cost), cost, true_cost)
    prices = space_prices(quality, cost, spent)

    def rate(caution: float) -> np.ndarray:
        careful = quality - caution * doubt
        return measure_utility(careful, cost, gained, spent, prices)

    # Where costs are at the limits of what numbers are, nothing is known of the gains.
    with np.errstate(over="ignore", invalid="ignore"):
        plain = rate(0.0)
        gains = [rate(caution) - plain for caution in _CANDIDATES]
        best = int(np.argmax([gain.mean() for gain in gains]))
        error = gains[best].std() / np.sqrt(len(plain))
        return _CANDIDATES[best] if gains[best].mean() > _DOUBT * error else 0.0


def space_prices(
    quality: np.ndarray, cost: np.ndarray, spent: np.ndarray
) -> np.ndarray:
    """Find prices at which the mean spend is equally spaced, down to a price of 0."""
    path = PricePath.from_estimates(quality, cost, None, spent)
    spend = np.linspace(path.cost[0], path.cost[-1], _N_PRICES + 1)[1:]
    level = np.searchsorted(path.cost, spend * (1 + 1e-12), side="right") - 1
    prices = path.price[np.maximum(level, 0)]
    # An infinite price calls the cheapest model, however cautious; where it is the only
    # one, the models cost the same, or the cheapest is the best.
    prices = prices[np.isfinite(prices)]
    return prices if len(prices) else np.zeros(1)

"""How cautious decisions should be where the regressions disagree about a model.

The model that is called is the one with the largest of several estimates, and the more
models there are, the more often that is one whose estimate is too large. Where
regressions on several views of a query disagree about how much better a model is than
the best one on average, that lead is the less certain. Decisions therefore rest on
estimates less `caution` standard deviations of the lead over the regressions: by so
many the models that were called had been overestimated, out of fold.
"""

from __future__ import annotations

import numpy as np

from skroute._decide.hull import choose
from skroute._decide.price_path import PricePath
from skroute._decide.utility import measure_utility
from skroute._table.averages import doubly_robust

__all__ = ["choose_caution", "space_prices"]

# Queries without which nothing is compared: a standard error of fewer is a guess.
_LEAST_QUERIES = 100
# The most that is taken off, in standard deviations.
_MOST = 2.0
# Prices at which decisions are made.
_N_PRICES = 16
# Standard errors that are taken off the caution, as off other corrections.
_DOUBT = 2.0


def choose_caution(
    quality: np.ndarray,
    cost: np.ndarray,
    doubt: np.ndarray,
    true_quality: np.ndarray,
    true_cost: np.ndarray,
    weight: np.ndarray | None = None,
) -> float:
    """Choose the caution by what the models that are called were overestimated by.

    It is the multiple of the `doubt` that explains this best, less what may be chance,
    and at most 2; and 0 where decisions do not get better. How much better they get is
    told less surely than by how far estimates are too large.

    Estimates, the standard deviations over the regressions (`doubt`), and the truth are
    (n_queries, n_models), the truth ``NaN`` where unknown. Decisions count equally at
    prices at which the spend is equally spaced. Fewer than 100 queries with an outcome
    tell nothing.
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

    # Where costs are at the limits of what numbers are, nothing is known of the gains.
    with np.errstate(over="ignore", invalid="ignore"):
        caution = _explain_excess(quality, cost, doubt, quality - gained, prices)
        if not caution:
            return 0.0
        plain, careful = (
            measure_utility(estimates, cost, gained, spent, prices).mean()
            for estimates in (quality, quality - caution * doubt)
        )
        return caution if careful > plain else 0.0


def _explain_excess(
    quality: np.ndarray,
    cost: np.ndarray,
    doubt: np.ndarray,
    excess: np.ndarray,
    prices: np.ndarray,
) -> float:
    """Explain by doubt how far the estimates of called models are too large.

    This is the slope of a regression through the origin of the excess on the doubt,
    over the models that are called at each of the prices, less two standard errors over
    the queries.
    """
    rows, every = np.arange(len(quality)), np.ones((1, 1), dtype=bool)
    size, product = np.zeros(len(quality)), np.zeros(len(quality))
    for price in prices:
        called = rows, choose(quality, cost, price, every)
        size += doubt[called] ** 2
        product += doubt[called] * excess[called]
    total = size.sum()
    if total == 0:
        return 0.0
    slope = product.sum() / total
    error = np.sqrt(((product - slope * size) ** 2).sum()) / total
    # More digits say nothing, and differ with the order of the sums.
    return round(float(np.clip(slope - _DOUBT * error, 0.0, _MOST)), 2)


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

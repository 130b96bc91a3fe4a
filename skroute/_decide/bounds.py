"""Bounds on means that hold in finite samples, for values in a known range.

A bettor who starts with 1 and stakes a share of the capital on every value, chosen
before the value is seen, does not grow rich if the mean is at most 0: by Ville's
inequality the capital ever exceeds ``1 / error`` with a chance of at most ``error``
[1]_. So a capital that does proves that the mean is above 0. Nothing is assumed of the
distribution but its range.

References
----------
.. [1] I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by
   betting", Journal of the Royal Statistical Society B 86, 2024, arXiv:2010.09686.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Share of the capital that may be lost on a single value.
_MOST_STAKED = 0.5
# Values that are looked at together; most of what is proven is so by the first.
_AT_ONCE = 512
# Steps of a search by halving: a millionth of the interval.
_N_HALVINGS = 20


def is_mean_above_zero(values: np.ndarray, low: float, confidence: float) -> bool:
    """Whether values prove, with this confidence, that their mean is not below 0.

    `values`, (n,), are independent, of one distribution that never falls below `low`,
    and come in an order that does not depend on them.
    """
    if low >= 0:
        return True
    if not len(values):
        return False
    n_values, doubt = len(values), -np.log1p(-confidence)
    # Values of half the range count as seen before the first, as a guess of the spread.
    squares, capital = low**2 / 4, 0.0
    for start in range(0, n_values, _AT_ONCE):
        part = values[start : start + _AT_ONCE]
        seen = (part**2).cumsum()
        # The mean of the squares before each value, never including its own.
        before = np.empty(len(part))
        before[0], before[1:] = squares, squares + seen[:-1]
        before /= np.arange(start + 1, start + 1 + len(part))
        # The stake by which the smallest mean is proven that all values together can.
        stake = np.sqrt(2 * doubt / (n_values * before)).clip(max=_MOST_STAKED / -low)
        growth = np.log1p(stake * part).cumsum()
        if capital + growth.max() >= doubt:
            return True
        squares, capital = squares + seen[-1], capital + growth[-1]
    return False


def find_last(holds: Callable[[float], bool], safe: float, asked: float) -> float:
    """Find the number nearest to `asked` that holds, coming from `safe`, which does."""
    for _ in range(_N_HALVINGS):
        middle = (safe + asked) / 2
        if holds(middle):
            safe = middle
        else:
            asked = middle
    return safe

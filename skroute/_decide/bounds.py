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
    squares = np.r_[low**2 / 4, values[:-1] ** 2].cumsum() / np.arange(1, n_values + 1)
    # The stake by which the smallest mean is proven, that all values together can.
    stake = np.sqrt(2 * doubt / (n_values * squares)).clip(max=_MOST_STAKED / -low)
    return bool(np.log1p(stake * values).cumsum().max() >= doubt)


def find_last(holds: Callable[[float], bool], safe: float, asked: float) -> float:
    """Find the number nearest to `asked` that holds, coming from `safe`, which does."""
    for _ in range(_N_HALVINGS):
        middle = (safe + asked) / 2
        if holds(middle):
            safe = middle
        else:
            asked = middle
    return safe

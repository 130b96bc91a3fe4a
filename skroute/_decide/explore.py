r"""Exploring: some calls are drawn, so that a log tells of models that are not chosen.

With a share :math:`e` of the queries the model is drawn among the candidates, and the
chance of each is

.. math::

    p_m = (1 - e) [m = m^*] + e\, w_m / \sum_k w_k, \qquad w_m = 1 / (u + g_m)

where :math:`m^*` is what would be called without, and :math:`g_m` how much less than
the best candidate a model is worth at the shadow price (inverse-gap weights [1]_). The
unit :math:`u` is the mean gap of training queries: such a model is drawn half as often
as the best one.

References
----------
.. [1] D. Foster and A. Rakhlin, "Beyond UCB: Optimal and efficient contextual bandits
   with regression oracles", ICML, 2020, arXiv:2002.04926.
"""

from __future__ import annotations

from hashlib import blake2b
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

# Sums of as many gaps as there are models are still numbers.
_LARGEST = 1e300


def find_chances(
    choice: np.ndarray,
    gap: np.ndarray,
    allowed: np.ndarray,
    share: float,
    unit: float | None,
) -> np.ndarray:
    """Find the chance of each model, (n_queries, n_models), of which all add up to 1.

    `choice` is what is called without, (n_queries,), and `gap` of `measure_gaps`.
    """
    rows = np.arange(len(choice))
    every = np.broadcast_to(allowed, gap.shape)
    # Where nothing is known of other queries, the mean gap of the query is the unit.
    units = average_gaps(gap, every)[:, None] if unit is None else np.array([[unit]])
    units = np.where(units > 0, units, 1.0)
    weight = np.where(every, 1.0 / (1.0 + gap / units), 0.0)
    chances = share * weight / weight.sum(axis=1, keepdims=True)
    chances[rows, choice] += 1.0 - share
    return chances


def measure_gaps(
    quality: np.ndarray,
    cost: np.ndarray,
    allowed: np.ndarray,
    shadow_prices: np.ndarray,
) -> np.ndarray:
    """Measure how much less than the best candidate each model is worth, from 0 on.

    It is quality less price times money, and at an infinite price money alone.
    """
    price = shadow_prices[:, None]
    is_finite = np.isfinite(price)
    worth = np.where(is_finite, quality - np.where(is_finite, price, 0) * cost, -cost)
    # Money beyond all numbers: the gap is as large as any, and no difference of two.
    worth = np.maximum(worth, -_LARGEST)
    best = np.where(allowed, worth, -np.inf).max(axis=1, keepdims=True)
    return np.where(allowed, best - worth, 0.0)


def average_gaps(gap: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Average the gaps of the candidates beside the best one, (n_queries,)."""
    others = np.broadcast_to(allowed, gap.shape).sum(axis=1) - 1
    mean: np.ndarray = gap.sum(axis=1) / np.maximum(others, 1)
    return mean


def draw_models(
    chances: np.ndarray, choice: np.ndarray, uniform: np.ndarray, cost: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a model for each query by a number in [0, 1); also the chance it had.

    The first part of [0, 1) belongs to what is called without, so with a smaller share
    fewer queries are drawn, and no others.
    """
    rows = np.arange(len(choice))
    parts = chances.copy()
    first = parts[rows, choice].copy()
    parts[rows, choice] = 0.0
    # By chance and cost, so that the order of the models in a table changes no draw.
    order = np.lexsort((cost, -parts), axis=1)
    ends = first[:, None] + np.take_along_axis(parts, order, axis=1).cumsum(axis=1)
    # The last end is 1 but for rounding, which must not leave a number outside.
    place = uniform * ends[:, -1]
    others = order[rows, (place[:, None] < ends).argmax(axis=1)]
    drawn = np.where(place < first, choice, others)
    return drawn, chances[rows, drawn]


def draw_uniform(X: Any, n_queries: int, random_state: Any) -> np.ndarray:
    """Draw a number in [0, 1) for each query, (n_queries,).

    A whole number as `random_state` gives each query a number of its own, whatever
    comes with it in a call: that of its content.
    """
    if isinstance(random_state, Integral):
        check_random_state(random_state)
        key = int(random_state).to_bytes(8, "little")
        digests = [
            blake2b(content, digest_size=8, key=key).digest() for content in _list(X)
        ]
        # 53 bits, as many as a float64 has.
        whole = [int.from_bytes(digest, "little") >> 11 for digest in digests]
        return np.array(whole, dtype=np.float64) * 2.0**-53
    drawn: np.ndarray = check_random_state(random_state).random_sample(n_queries)
    return drawn


def _list(X: Any) -> list[bytes]:
    """List the contents of the queries: numbers, or texts."""
    rows = X.to_numpy() if hasattr(X, "to_numpy") else X
    if not isinstance(rows, np.ndarray):
        rows = np.array([*rows, None], dtype=object)[:-1] if _is_text(rows) else rows
        rows = np.asarray(rows)
    if rows.ndim == 2 and rows.dtype.kind in "fiub":
        # Zeros of both signs are one number.
        numbers = np.ascontiguousarray(rows, dtype=np.float64) + 0.0
        return [row.tobytes() for row in numbers]
    # Texts of numpy are written in another way than those of Python.
    texts = [str(row) if isinstance(row, str) else repr(row) for row in rows.tolist()]
    return [text.encode(errors="surrogatepass") for text in texts]


def _is_text(rows: Any) -> bool:
    return any(isinstance(row, str) for row in rows)

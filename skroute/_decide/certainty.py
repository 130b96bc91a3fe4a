"""How certain a decision is: what similar decisions turned out to be in training."""

from __future__ import annotations

import numpy as np

from skroute._decide.engine import Settled
from skroute._decide.explain import measure_margin
from skroute._decide.price_path import ShadowPrice
from skroute._decide.rule import Rule
from skroute._decide.trade_off import TrainingTradeOff

# Training decisions that a margin is compared with, and without which nothing is said.
_N_ALIKE = 100
_LEAST = 50


def judge_margins(
    margin: np.ndarray, price: ShadowPrice, trade_off: TrainingTradeOff
) -> tuple[np.ndarray, np.ndarray]:
    """Judge margins (n,) at a price: standard errors, and chances to be right.

    Those are the standard error of the mean of what the training decisions of the 100
    nearest margins turned out to win by, and how often these turned out to be at least
    as good as their runners-up; ``NaN`` where too few outcomes are known.
    """
    unknown = np.full(len(margin), np.nan)
    stands_for = trade_off.stands_for
    if trade_off.unit is None or stands_for is None or not np.isfinite(price.high):
        return unknown, unknown
    expected, *outcomes = _replay(trade_off, price, stands_for)
    found = []
    for won in outcomes:
        rows = np.flatnonzero(np.isfinite(won))
        order = rows[np.argsort(expected[rows], kind="stable")]
        if len(order) < _LEAST:
            found.append((unknown, unknown))
            continue
        size = min(_N_ALIKE, len(order))
        place = np.searchsorted(expected[order], margin) - size // 2
        start = np.clip(place, 0, len(order) - size)
        found.append(_describe_windows(won[order], start, size))
    (error, _), (_, chance) = found
    # Below 0 more than the price decided, of which these decisions know nothing.
    there = np.isfinite(margin) & (margin >= 0)
    return np.where(there, error, np.nan), np.where(there, chance, np.nan)


def judge_nothing(margin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say that nothing is known of margins (n,)."""
    return np.full(len(margin), np.nan), np.full(len(margin), np.nan)


def _replay(
    trade_off: TrainingTradeOff, price: ShadowPrice, stands_for: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decide the training queries that are kept at a price.

    Returns the expected margins, and what the choices won by: doubly robust, and as
    observed, ``NaN`` where it is not known; each (n_kept,).
    """
    # Repeats of a prompt tell it once.
    _, once = np.unique(np.asarray(trade_off.unit), return_index=True)
    quality, cost, true_quality, true_cost = (
        table[np.sort(once)].astype(np.float64) for table in trade_off.kept
    )
    settled = Settled(Rule(), price, None, trade_off.path, np.nan)
    decisions = settled.decide(quality, cost, top_k=min(2, quality.shape[1]))
    pair = decisions.choice
    if pair.shape[1] < 2:
        return np.empty(0), np.empty(0), np.empty(0)
    kept = (pair >= 0).all(axis=1)
    pair, prices = pair[kept], np.full(kept.sum(), price.high)

    def take(table: np.ndarray) -> np.ndarray:
        return np.take_along_axis(table[kept], pair, axis=1)

    paid = take(np.where(np.isnan(true_cost), cost, true_cost))
    expected = measure_margin(take(quality), take(cost), prices)
    won = measure_margin(take(true_quality), paid, prices)
    # A doubly robust quality that is the estimate has no outcome behind it, and one
    # that stands for others is larger than the outcome.
    is_known = (stands_for == 1) | (true_quality != quality)
    both = take(is_known).all(axis=1)
    outcome = quality + (true_quality - quality) / np.maximum(stands_for, 1)
    told = measure_margin(take(outcome), paid, prices)
    return expected, won, np.where(both, told, np.nan)


def _describe_windows(
    won: np.ndarray, start: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Describe windows of a size: errors of their means, shares not below 0."""
    unit = float(np.abs(won).max()) or 1.0
    sums = [
        np.r_[0.0, values.cumsum()]
        for values in (won / unit, (won / unit) ** 2, won >= -1e-12 * unit)
    ]
    mean, square, right = ((s[start + size] - s[start]) / size for s in sums)
    spread = np.sqrt(np.maximum(square - mean**2, 0.0) * size / (size - 1))
    # One right and one wrong more: never certain.
    return unit * spread / np.sqrt(size), (right * size + 1) / (size + 2)

"""What the stages of the ranking router's fit compute on some rows: values, or sums.

Values are of each query by itself, and sums add up over parts of a table: so it does
not matter where the parts are (see ``skroute._compute.executor``).
"""

from __future__ import annotations

import numpy as np

from skroute._compute.chunks import chunks
from skroute._compute.threads import in_threads
from skroute._estimate.quality import HeldOutPairs
from skroute._rank.calibration import log_odds, rank_utility
from skroute._rank.labels import graded_relevance
from skroute._rank.lambdarank import PairRanker, RankTable
from skroute._table.averages import (
    keep_in_range,
    means_from_sums,
    outcome_mass,
    weighted_sums,
)

__all__ = [
    "at_prices",
    "blend",
    "changes",
    "clipped",
    "drawn_to",
    "ends",
    "estimates_of",
    "in_order",
    "in_own_scale",
    "own_order",
    "profile",
    "rank_table",
    "scaled_back",
    "starting_scores",
    "telling",
    "with_rankers",
]

# Steps of an estimate that a ranker tells apart: a power of two, so that single
# precision holds them exactly.
_STEPS = 2.0**17


def profile(quality: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Sums that tell the models apart: of qualities, of outcomes, and a fingerprint."""
    known = np.where(np.isnan(quality), -1.0, quality)
    return np.vstack([weighted_sums(quality), (numbers + 1.0) @ known])


def own_order(profile: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Order the models by what they are, not by where they stand."""
    return np.lexsort((profile[2], costs, means_from_sums(profile[:2])))


def ends(quality: np.ndarray) -> np.ndarray:
    """The worst quality, negative, and the best: the larger is the farther."""
    return np.array(
        [-np.fmin.reduce(quality, axis=None), np.fmax.reduce(quality, axis=None)]
    )


def in_order(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Put the columns of the models in their own order."""
    return values[:, order]


def in_own_scale(
    quality: np.ndarray, order: np.ndarray, unit: tuple[float, float]
) -> np.ndarray:
    """Scale qualities, and put the models in their own order."""
    worst, extent = unit
    return (quality[:, order] - worst) / extent


def starting_scores(pairs: HeldOutPairs) -> np.ndarray:
    """Scores that say what the regressions say."""
    return log_odds(pairs.quality)


def telling(quality: np.ndarray) -> np.ndarray:
    """Queries on which the models are known to differ."""
    known = np.isfinite(quality)
    best = np.where(known, quality, -np.inf).max(axis=1)
    return best > np.where(known, quality, np.inf).min(axis=1)


def rank_table(
    shown: np.ndarray,
    pairs: HeldOutPairs,
    scores: np.ndarray,
    quality: np.ndarray,
    fold: np.ndarray,
    costs: np.ndarray,
    tie_gain: float,
    grades: np.ndarray,
) -> RankTable:
    """What rankers are trained on: the queries that are shown to them.

    Features and scores are rounded. Estimates that were summed in another order differ
    in their last digits, and trees would split where they differ: repeated queries into
    bins of their own, and equally good features by chance.
    """
    rows = np.flatnonzero(shown)
    labels, _ = graded_relevance(quality[rows], costs, tie_gain=tie_gain, grades=grades)
    known = np.isfinite(quality[rows])
    features, start = (
        (np.rint(values * _STEPS) / _STEPS).astype(np.float32)
        for values in (pairs.at(rows).features, scores[rows])
    )
    return RankTable(features, labels, known, start, fold[rows])


def with_rankers(
    scores: np.ndarray,
    pairs: HeldOutPairs,
    fold: np.ndarray,
    rankers: dict[int, PairRanker],
    n_jobs: int | None,
) -> np.ndarray:
    """Scores, with those of each fold from a ranker that was trained without it."""
    scores = scores.copy()

    def rank_held_out(part: slice) -> None:
        for k, ranker in rankers.items():
            held_out = part.start + np.flatnonzero(fold[part] == k)
            if len(held_out):
                scores[held_out] += ranker.predict(pairs.at(held_out).features)

    in_threads(rank_held_out, chunks(len(fold)), n_jobs)
    return scores


def at_prices(X: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Costs where every call of a model costs the same."""
    return np.tile(prices, (len(X), 1))


def clipped(
    expense: np.ndarray, place: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Costs in the order of `models_`, within what each model showed."""
    return np.clip(expense[:, place, 0], low, high)


def estimates_of(
    pairs: HeldOutPairs,
    scores: np.ndarray,
    expense: np.ndarray,
    rank_weight: float,
    means: np.ndarray,
    unit: tuple[float, float],
    place: np.ndarray,
    costs: np.ndarray,
) -> np.ndarray:
    """Qualities and costs, in their units and the order of `models_`."""
    expected = blend(pairs.quality, scores, rank_weight)
    expected = scaled_back(expected, pairs.trust, means, unit, place)
    return np.hstack([expected, drawn_to(costs, expense, pairs.trust)])


def scaled_back(
    quality: np.ndarray,
    trust: np.ndarray,
    means: np.ndarray,
    unit: tuple[float, float],
    place: np.ndarray,
    seen: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:
    """What is trusted of qualities, in their unit and the order of `models_`.

    Regressions may leave the range of what was seen; estimates do not.
    """
    worst, extent = unit
    trusted = drawn_to(means, quality, trust)[:, place]
    return worst + extent * keep_in_range(trusted, *seen)


def drawn_to(means: np.ndarray, estimates: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Estimates as far as they are trusted; for the rest, the means of the models."""
    return means + trust[:, None] * (estimates - means)


def blend(regressed: np.ndarray, scores: np.ndarray, weight: float) -> np.ndarray:
    """Level of the regressions, differences of ranker and regressions."""
    level = np.add.reduce(regressed, axis=1, keepdims=True) / regressed.shape[1]
    ranked = level + rank_utility(scores, regressed)
    return weight * ranked + (1.0 - weight) * regressed


def changes(
    pairs: HeldOutPairs,
    scores: np.ndarray,
    quality: np.ndarray,
    weight: np.ndarray | None,
) -> np.ndarray:
    """Squares of what the ranker changes, and its products with what is amiss.

    Of each query, summed; then the sums of squares of the first, of products of both,
    and of squares of the second, which tell how far chance may have made them.
    """
    known, mass = np.isfinite(quality), outcome_mass(quality, weight)
    total = mass.sum(axis=1, keepdims=True)
    total[total == 0] = 1.0

    def centred(values: np.ndarray) -> np.ndarray:
        values = np.where(known, values, 0.0)
        return values - (mass * values).sum(axis=1, keepdims=True) / total

    regressed = centred(pairs.quality)
    change = centred(blend(pairs.quality, scores, 1.0)) - regressed
    error = centred(quality) - regressed
    size = (mass * change**2).sum(axis=1)
    gain = (mass * change * error).sum(axis=1)
    return np.array([size.sum(), gain.sum(), size @ size, size @ gain, gain @ gain])

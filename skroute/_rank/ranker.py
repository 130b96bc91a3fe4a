"""The ranker that corrects the order of estimates, and how far it is followed."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._compute.chunks import chunks, sample_evenly
from skroute._compute.executor import IN_MEMORY, Rows
from skroute._compute.threads import in_threads
from skroute._estimate.options import OPTIONS, Options
from skroute._estimate.quality import HeldOutPairs
from skroute._estimate.utility import blend, log_odds
from skroute._rank.forest import PairRanker
from skroute._rank.labels import Grades, graded_relevance, rows_with_winner
from skroute._rank.lambdarank import RankingPairs, RankTable
from skroute._table.averages import outcome_mass

__all__ = ["fit_ranker", "rank_weight"]

# A ranker is a few hundred numbers, and learns them from so many pairs: longer tables
# show it queries at even distances.
_MAX_RANKED = 2**17
# From so many pairs a half is enough to rank the other: two folds, and so two rankers
# besides the one that is kept.
_MANY_RANKED = 2**16
# Steps of an estimate that a ranker tells apart: a power of two, so that single
# precision holds them exactly.
_STEPS = 2.0**17


def fit_ranker(
    pairs: Any,
    quality: Any,
    costs: np.ndarray,
    folds: np.ndarray,
    fold: Any,
    weight: Any = None,
    *,
    tie_gain: float,
    n_estimators: int,
    seed: int,
    n_threads: int,
    n_jobs: int | None,
    params: dict[str, Any],
    options: Options = OPTIONS,
    rows: Rows = IN_MEMORY,
) -> tuple[Any, PairRanker | None, float]:
    """Train a ranker without each fold, and one on all queries if these have helped.

    Parameters
    ----------
    pairs : HeldOutPairs
        Estimates and features of pairs, from fits without the query's fold.
    quality : ndarray of shape (n_queries, n_models)
        Qualities between 0 and 1, ``NaN`` where unknown.
    costs : ndarray of shape (n_models,)
        Mean money per call.
    folds : ndarray of int of shape (n_queries,)
        Fold of each query.
    fold : handle of a column
        The same, where the queries are.
    weight : ndarray of shape (n_queries, n_models), default=None
        Weight of every outcome.
    tie_gain : float
        Gain of the cheapest model over the most expensive where two are equally good.
    n_estimators : int
        Boosting rounds; 0 trains none.
    seed : int
        Seed of the column sampling.
    n_threads, n_jobs : int
        Threads of the training, and of the estimates.
    params : dict
        Further LightGBM parameters.
    options : Options
        When a ranker is trained, and followed.
    rows : Rows, default=IN_MEMORY
        Where the queries are.

    Returns
    -------
    scores : ndarray of shape (n_queries, n_models) or None
        Rank scores, out of fold.
    ranker : PairRanker or None
        The ranker; ``None`` where too few queries tell the models apart, or where it
        has not shown to help.
    rank_weight : float
        Its share in the differences between models.
    """
    # Where all models tie there is nothing to rank, and the smallest gain for the
    # cheaper one would weigh as much as a right answer elsewhere.
    telling = np.flatnonzero(rows.gather(rows.map(rows_with_winner, quality)))
    if n_estimators == 0 or len(telling) < options.min_ranked:
        return None, None, 0.0
    grades = rows.get(rows.total(Grades.of, quality)).levels()
    no_query = np.empty((0, len(costs)))
    _, gains = graded_relevance(no_query, costs, tie_gain=tie_gain, grades=grades)
    telling = telling[sample_evenly(len(telling), _MAX_RANKED // len(costs))]
    if len(telling) * len(costs) > _MANY_RANKED:
        folds = folds % 2
        fold = rows.split(folds, fold)
    shown = np.zeros(len(folds), dtype=bool)
    shown[telling] = True
    scores = rows.map(_starting_scores, pairs)
    table = rows.map(
        _rank_table,
        rows.split(shown, fold),
        pairs,
        scores,
        quality,
        fold,
        costs,
        tie_gain,
        grades,
    )
    # What is shown is bounded, so it is gathered and trained on in one place.
    trained_on = RankingPairs(
        rows.gather(table, RankTable.joined),
        gains,
        n_estimators=n_estimators,
        seed=seed,
        n_threads=n_threads,
        params=params,
    )
    held_out = [k for k in range(folds.max() + 1) if (folds[telling] != k).any()]
    by_fold = rows.share({k: trained_on.train(k) for k in held_out})
    scores = rows.map(_add_held_out_scores, scores, pairs, fold, by_fold, n_jobs)
    share = rank_weight(pairs, scores, quality, weight, options.doubt, rows)
    # The rankers of the folds tell whether one of all queries is worth its training.
    return (scores, trained_on.train(-1), share) if share > 0 else (None, None, 0.0)


def rank_weight(
    pairs: Any,
    scores: Any,
    quality: Any,
    weight: Any,
    doubt: float = OPTIONS.doubt,
    rows: Rows = IN_MEMORY,
) -> float:
    """Find the share that a ranker gets in the differences between models.

    It is the share of the least squared error, less `doubt` standard errors: what may
    as well be chance does not change the estimates. Scores are out of fold; the rest is
    as in `fit_ranker`.
    """
    size, gain, size2, both, gain2 = rows.get(
        rows.total(_ranker_gain_sums, pairs, scores, quality, weight)
    )
    if size == 0:
        return 0.0
    share = gain / size
    missed = gain2 - 2 * share * both + share**2 * size2
    error = np.sqrt(max(missed, 0.0)) / size
    return float(np.clip(share - doubt * error, 0.0, 1.0))


def _starting_scores(pairs: HeldOutPairs) -> np.ndarray:
    """Scores that say what the regressions say."""
    return log_odds(pairs.quality)


def _rank_table(
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


def _add_held_out_scores(
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


def _ranker_gain_sums(
    pairs: HeldOutPairs,
    scores: np.ndarray,
    quality: np.ndarray,
    weight: np.ndarray | None,
) -> np.ndarray:
    """Squares of what the ranker changes, and its products with what is missed.

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

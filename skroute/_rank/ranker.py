"""Train the rankers that correct the order of estimates, and weigh what they say."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._compute.chunks import sample_evenly
from skroute._compute.executor import IN_MEMORY, Rows
from skroute._rank import stages
from skroute._rank.labels import Grades, graded_relevance
from skroute._rank.lambdarank import PairRanker, RankingPairs, RankTable

__all__ = ["fit_ranker", "rank_weight"]

# Fewer queries on which models differ than this teach a ranker nothing but noise.
_MIN_RANKED = 100
# A ranker is a few hundred numbers, and learns them from so many pairs: longer tables
# show it queries at even distances.
_MAX_RANKED = 2**17
# From so many pairs a half is enough to rank the other: two folds, and so two rankers
# besides the one that is kept.
_MANY_RANKED = 2**16
# Standard errors by which a ranker has to help.
_DOUBT = 2.0


def fit_ranker(
    pairs: Any,
    quality: Any,
    costs: np.ndarray,
    folds: np.ndarray,
    fold: Any,
    *,
    tie_gain: float,
    n_estimators: int,
    seed: int,
    n_threads: int,
    n_jobs: int | None,
    params: dict[str, Any],
    rows: Rows = IN_MEMORY,
) -> tuple[Any, PairRanker | None]:
    """Train a ranker on all queries, and one without each fold.

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
    tie_gain : float
        Gain of the cheapest model over the dearest where two are equally good.
    n_estimators : int
        Boosting rounds; 0 trains none.
    seed : int
        Seed of the column sampling.
    n_threads : int
        Threads of the training.
    n_jobs : int or None
        Threads of the estimates.
    params : dict
        Further LightGBM parameters.
    rows : Rows, default=IN_MEMORY
        Where the queries are.

    Returns
    -------
    scores : ndarray of shape (n_queries, n_models)
        Rank scores, out of fold; without a ranker those of the estimates.
    ranker : PairRanker or None
        The ranker; ``None`` where too few queries tell the models apart.
    """
    scores = rows.map(stages.starting_scores, pairs)
    # Where all models tie there is nothing to rank, and the smallest gain for the
    # cheaper one would weigh as much as a right answer elsewhere.
    telling = np.flatnonzero(rows.gather(rows.map(stages.telling, quality)))
    if n_estimators == 0 or len(telling) < _MIN_RANKED:
        return scores, None
    grades = rows.get(rows.total(Grades.of, quality)).levels()
    no_query = np.empty((0, len(costs)))
    _, gains = graded_relevance(no_query, costs, tie_gain=tie_gain, grades=grades)
    telling = telling[sample_evenly(len(telling), _MAX_RANKED // len(costs))]
    if len(telling) * len(costs) > _MANY_RANKED:
        folds = folds % 2
        fold = rows.split(folds, fold)
    shown = np.zeros(len(folds), dtype=bool)
    shown[telling] = True
    table = rows.map(
        stages.rank_table,
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
    scores = rows.map(stages.with_rankers, scores, pairs, fold, by_fold, n_jobs)
    return scores, trained_on.train(-1)


def rank_weight(
    pairs: Any, scores: Any, quality: Any, weight: Any, rows: Rows = IN_MEMORY
) -> float:
    """Say what share of the differences between models a ranker is to be trusted with.

    Parameters
    ----------
    pairs, quality, rows
        As in :func:`fit_ranker`.
    scores : ndarray of shape (n_queries, n_models)
        Rank scores, out of fold.
    weight : ndarray of shape (n_queries, n_models) or None
        Weight of every outcome.

    Returns
    -------
    float
        The share of the least squared error, less two standard errors: what may as well
        be chance does not change the estimates.
    """
    size, gain, size2, both, gain2 = rows.get(
        rows.total(stages.changes, pairs, scores, quality, weight)
    )
    if size == 0:
        return 0.0
    share = gain / size
    missed = gain2 - 2 * share * both + share**2 * size2
    error = np.sqrt(max(missed, 0.0)) / size
    return float(np.clip(share - _DOUBT * error, 0.0, 1.0))

"""The ranker that corrects the order of estimates, and how far it is followed."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._compute.chunks import chunks, sample_evenly
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._compute.threads import run_in_threads
from skroute._estimate.blending import blend_rank_scores, log_odds
from skroute._estimate.options import OPTIONS, Options
from skroute._estimate.quality import HeldOutPairs
from skroute._estimate.shares import find_share, sum_gains
from skroute._rank.forest import PairRanker
from skroute._rank.labels import Grades, find_differing_rows, label_grades
from skroute._rank.lambdarank import LambdaRankData, LambdaRankTrainer

__all__ = ["find_rank_weight", "fit_ranker"]

# Pairs that a ranker learns from. It is a few hundred numbers, so a longer table shows
# it queries at even distances.
_MAX_RANKED = 2**17
# From this many pairs on, half of them are enough to rank the other half: two folds
# save the training of further rankers.
_MANY_RANKED = 2**16


def fit_ranker(
    pairs: Any,
    quality: Any,
    costs: np.ndarray,
    fold_array: np.ndarray,
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
    executor: Executor = IN_MEMORY,
) -> tuple[Any, PairRanker | None, float]:
    """Train one ranker per held-out fold and, if these help, one on all queries.

    They help if they improve the out-of-fold estimates; the one on all queries serves.

    `pairs` and qualities (n_queries, n_models), between 0 and 1, are those of training;
    `costs` are means (n_models,). `fold_array` and `fold` are the same numbers, as an
    array and as a column of the executor. `params` go to LightGBM.

    Returns rank scores out of fold, the ranker, and its share in the differences
    between models: ``(None, None, 0.0)`` where the models differ on too few queries, or
    where it has not shown to help.
    """
    # Where all models tie there is nothing to rank, and the smallest gain for the
    # cheaper one would weigh as much as a right answer elsewhere.
    differing = np.flatnonzero(
        executor.gather(executor.map(find_differing_rows, quality))
    )
    if n_estimators == 0 or len(differing) < options.min_ranked:
        return None, None, 0.0
    grades = executor.get(executor.total(Grades.from_quality, quality)).list_levels()
    labels, gains = label_grades(grades, costs, tie_gain)
    differing = differing[sample_evenly(len(differing), _MAX_RANKED // len(costs))]
    if len(differing) * len(costs) > _MANY_RANKED:
        fold_array = fold_array % 2
        fold = executor.split(fold_array, fold)
    # As a mask, which is split like any column.
    shown = np.zeros(len(fold_array), dtype=bool)
    shown[differing] = True
    start = executor.map(_compute_starting_scores, pairs)
    table = executor.map(
        LambdaRankData.build,
        pairs,
        quality,
        start,
        fold,
        executor.split(shown, fold),
        grades,
        labels,
    )
    # What is shown is bounded, so it is gathered and trained on in one place.
    trainer = LambdaRankTrainer(
        executor.gather(table, LambdaRankData.join),
        gains,
        n_estimators=n_estimators,
        seed=seed,
        n_threads=n_threads,
        params=params,
    )
    held_out = [
        k for k in range(fold_array.max() + 1) if (fold_array[differing] != k).any()
    ]
    by_fold = executor.share({k: trainer.train(k) for k in held_out})
    held_out_scores = executor.map(
        _add_held_out_scores, start, pairs, fold, by_fold, n_jobs
    )
    share = find_rank_weight(
        pairs, held_out_scores, quality, weight, options.doubt, executor
    )
    # The rankers of the folds tell whether one of all queries is worth its training.
    if share > 0:
        return held_out_scores, trainer.train(-1), share
    return None, None, 0.0


def find_rank_weight(
    pairs: Any,
    scores: Any,
    quality: Any,
    weight: Any,
    doubt: float = OPTIONS.doubt,
    executor: Executor = IN_MEMORY,
) -> float:
    """Find the share that a ranker gets in the differences between models.

    It is the share of the least squared error, less `doubt` standard errors, so that
    what may be chance does not change the estimates. Scores are out of fold; the rest
    is as in `fit_ranker`.
    """
    sums = executor.total(_sum_ranker_gains, pairs, scores, quality, weight)
    return find_share(executor.get(sums), doubt)


def _compute_starting_scores(pairs: HeldOutPairs) -> np.ndarray:
    """Scores from which boosting starts: those of the regressions."""
    return log_odds(pairs.quality)


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
                scores[held_out] += ranker.predict(pairs.select_rows(held_out).features)

    run_in_threads(rank_held_out, chunks(len(fold)), n_jobs)
    return scores


def _sum_ranker_gains(
    pairs: HeldOutPairs,
    scores: np.ndarray,
    quality: np.ndarray,
    weight: np.ndarray | None,
) -> np.ndarray:
    """Sum what the ranker gains over the regressions, for `find_share`."""
    ranked = blend_rank_scores(pairs.quality, scores, 1.0)
    return sum_gains(pairs.quality, ranked, quality, weight)

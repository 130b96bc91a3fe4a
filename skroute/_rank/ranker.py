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
# A look: pairs and rounds from which two rankers learn, to tell by their order of all
# queries whether rankers of all pairs may help. It takes a tenth of their time.
_MAX_LOOKED_AT = 2**14
_LOOK_ROUNDS = 30
# A smaller share in the differences changes few decisions, and is not worth what a
# ranker takes of a file and of the time of a query.
_LEAST_SHARE = 0.05
# Rounds of a ranker whose number is left to the look.
_N_ROUNDS = 100


def fit_ranker(
    pairs: Any,
    quality: Any,
    costs: np.ndarray,
    fold_array: np.ndarray,
    fold: Any,
    weight: Any = None,
    *,
    tie_gain: float,
    n_estimators: int | None,
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
    array and as a column of the executor. `n_estimators` rounds are trained; ``None``
    trains only if small rankers on some queries help. `params` go to LightGBM.

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
    start = executor.map(_compute_starting_scores, pairs)

    def train(
        n_pairs: int, n_rounds: int, fold_array: np.ndarray, **changed: Any
    ) -> tuple[LambdaRankTrainer, Any]:
        """Train a ranker without each fold; returns also the scores of all queries."""
        n_rows = max(n_pairs // len(costs), options.min_ranked)
        rows = differing[sample_evenly(len(differing), n_rows)]
        column = executor.split(fold_array, fold)
        # As a mask, which is split like any column.
        shown = np.zeros(len(fold_array), dtype=bool)
        shown[rows] = True
        table = executor.map(
            LambdaRankData.build,
            pairs,
            quality,
            start,
            column,
            executor.split(shown, fold),
            grades,
            labels,
        )
        # What is shown is bounded, so it is gathered and trained on in one place.
        trainer = LambdaRankTrainer(
            executor.gather(table, LambdaRankData.join),
            gains,
            n_estimators=n_rounds,
            seed=seed,
            n_threads=n_threads,
            params={**params, **changed},
        )
        held_out = [
            k for k in range(fold_array.max() + 1) if (fold_array[rows] != k).any()
        ]
        by_fold = executor.share({k: trainer.train(k) for k in held_out})
        return trainer, executor.map(
            _add_held_out_scores, start, pairs, column, by_fold, n_jobs
        )

    def weigh(scores: Any, doubt: float) -> float:
        return find_rank_weight(pairs, scores, quality, weight, doubt, executor)

    if n_estimators is None:
        n_estimators = _N_ROUNDS
        # Fewer and longer steps come as far.
        step = min(1.0, params["learning_rate"] * n_estimators / _LOOK_ROUNDS)
        _, seen = train(
            _MAX_LOOKED_AT, _LOOK_ROUNDS, fold_array % 2, learning_rate=step
        )
        # With more pairs they will do better, so half of the doubt is enough.
        if weigh(seen, options.doubt / 2) == 0.0:
            return None, None, 0.0
    if min(len(differing) * len(costs), _MAX_RANKED) > _MANY_RANKED:
        fold_array = fold_array % 2
    trainer, held_out_scores = train(_MAX_RANKED, n_estimators, fold_array)
    share = weigh(held_out_scores, options.doubt)
    # The rankers of the folds tell whether one of all queries is worth its training.
    if share >= _LEAST_SHARE:
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
                features = pairs.select_rows(held_out).build_features()
                scores[held_out] += ranker.predict(features)

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

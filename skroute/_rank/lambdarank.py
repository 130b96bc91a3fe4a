"""What LightGBM sees, and the call of LightGBM.

The features of pairs are made in `QualityModel.build_pair_features`.
`LambdaRankData.build` puts them together with labels and starting scores, `as_lightgbm`
lays them out as LightGBM wants them, and `LambdaRankTrainer` trains on them;
`train_trees` fits a number to each row instead. This is the only module that imports
lightgbm, and it does so when it trains, so that a service need not wait for the import.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from skroute._compute.locks import get_lock
from skroute._estimate.quality import HeldOutPairs
from skroute._rank.forest import PairRanker
from skroute._rank.labels import label_pairs

__all__ = ["LambdaRankData", "LambdaRankTrainer", "train_trees"]

# Steps to which estimates are rounded, of their range: a power of two, so that single
# precision holds them exactly.
_STEPS = 2.0**17


@dataclass(frozen=True)
class LambdaRankData:
    """Pairs of queries and models that LambdaRank is trained on.

    Tables are (n_queries, n_models); features have one dimension more.
    """

    features: np.ndarray
    labels: np.ndarray  # graded relevance: positions in the gains
    observed: np.ndarray  # pairs that were run; the others are left out
    start: np.ndarray  # scores from which boosting starts; no part of a model
    fold: np.ndarray  # (n_queries,)

    @classmethod
    def build(
        cls,
        pairs: HeldOutPairs,
        quality: np.ndarray,
        start: np.ndarray,
        fold: np.ndarray,
        shown: np.ndarray,
        grades: np.ndarray,
        labels: np.ndarray,
    ) -> LambdaRankData:
        """Put together features, labels and starting scores of the queries `shown`.

        Features and scores are rounded. Estimates that were summed in another order
        differ in their last digits, and trees would split where they differ: duplicate
        queries into bins of their own, and equally good features by chance. `grades`
        and `labels` are those of `label_grades`.
        """
        rows = np.flatnonzero(shown)
        features, scores = (
            (np.rint(values * _STEPS) / _STEPS).astype(np.float32)
            for values in (pairs.select_rows(rows).build_features(), start[rows])
        )
        observed = np.isfinite(quality[rows])
        label = label_pairs(quality[rows], grades, labels)
        return cls(features, label, observed, scores, fold[rows])

    @classmethod
    def join(cls, tables: list[LambdaRankData]) -> LambdaRankData:
        """Join the queries of several tables."""
        return cls(
            *(
                np.concatenate([getattr(table, field.name) for table in tables])
                for field in fields(cls)
            )
        )

    def as_lightgbm(self) -> dict[str, np.ndarray]:
        """Arguments of ``lightgbm.Dataset``: the pairs that were run, a row each."""
        group = self.observed.sum(axis=1)
        return {
            "data": _take_observed(self.features, self.observed),
            "label": self.labels[self.observed],
            # A query without an observed pair is no group.
            "group": group[group > 0],
            "init_score": self.start[self.observed],
        }


class LambdaRankTrainer:
    """Calls LightGBM; the pairs are binned once for all rankers.

    `gains` (n_labels,) are those of the labels; `params` further LightGBM parameters.
    """

    def __init__(
        self,
        table: LambdaRankData,
        gains: np.ndarray,
        *,
        n_estimators: int,
        seed: int,
        n_threads: int,
        params: dict[str, Any],
    ) -> None:
        import lightgbm as lgb

        self._fold = table.fold
        self._count = table.observed.sum(axis=1)
        self._n_estimators = n_estimators
        settings = {**params, **_reproducible(seed, n_threads)}
        self._data = lgb.Dataset(
            **table.as_lightgbm(),
            params=settings,
            free_raw_data=True,
        ).construct()
        self._settings = {
            **settings,
            "objective": "lambdarank",
            "label_gain": gains.tolist(),
        }

    def train(self, without: int) -> PairRanker:
        """Train on all queries but those of one fold; -1 is none."""
        import lightgbm as lgb

        data, rows = self._data, self._fold != without
        if not rows.all():
            # The bins of all pairs are kept, so binning is done once.
            data = data.subset(np.flatnonzero(np.repeat(rows, self._count)))
        # LightGBM keeps the gains of the labels in a global table while it trains.
        with get_lock(LambdaRankTrainer):
            booster = lgb.train(self._settings, data, self._n_estimators)
        return PairRanker.from_text(booster.model_to_string())


def train_trees(
    features: np.ndarray,
    target: np.ndarray,
    *,
    objective: Literal["cross_entropy", "regression"],
    start: np.ndarray | None = None,
    monotone: Sequence[int] = (),
    n_estimators: int,
    min_in_leaf: int,
    seed: int,
    n_threads: int = 1,
) -> PairRanker:
    """Fit small trees to a target (n_rows,) by features (n_rows, n_features).

    Boosting begins at `start`, (n_rows,), which is no part of the model: log-odds where
    the target is a probability. `monotone` says of the first features whether the
    target may only rise (1) or fall (-1) with them. Without rows there are no trees.
    """
    import lightgbm as lgb

    if not len(target):
        return PairRanker.without_trees(features.shape[1])
    signs = [*monotone, *[0] * (features.shape[1] - len(monotone))]
    settings = {
        "objective": objective,
        "learning_rate": 0.06,
        "num_leaves": 7,
        "min_child_samples": min_in_leaf,
        "reg_lambda": 5.0,
        "subsample": 0.7,
        "subsample_freq": 1,
        "monotone_constraints": signs,
        **_reproducible(seed, n_threads),
    }
    # LightGBM warns of slices, which it would copy anyway.
    begin = None if start is None else np.array(start)
    data = lgb.Dataset(features, target, init_score=begin, params=settings)
    booster = lgb.train(settings, data, n_estimators)
    return PairRanker.from_text(booster.model_to_string())


def _reproducible(seed: int, n_threads: int) -> dict[str, Any]:
    """LightGBM parameters for the same fit at any number of threads."""
    return {
        "seed": seed,
        "num_threads": n_threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }


def _take_observed(features: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Features of the observed pairs, which are not copied if they all are."""
    if observed.all():
        return features.reshape(-1, features.shape[2])
    return features[observed]

"""LightGBM's LambdaRank over pair features; the only module that imports lightgbm.

It does so when it trains: what only serves routers need not wait for the import.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from skroute._compute.locks import lock_of
from skroute._rank.forest import PairRanker

__all__ = ["RankTable", "RankingPairs"]


@dataclass(frozen=True)
class RankTable:
    """Queries to train rankers on.

    Attributes
    ----------
    features : ndarray of shape (n_queries, n_models, n_features)
        Features of pairs.
    labels : ndarray of int of shape (n_queries, n_models)
        Graded relevance: positions in the gains.
    observed : ndarray of bool of shape (n_queries, n_models)
        Pairs that were run; the others are left out.
    start : ndarray of shape (n_queries, n_models)
        Scores from which boosting starts; they are not part of a model.
    fold : ndarray of int of shape (n_queries,)
        Fold of each query.
    """

    features: np.ndarray
    labels: np.ndarray
    observed: np.ndarray
    start: np.ndarray
    fold: np.ndarray

    @classmethod
    def joined(cls, tables: list[RankTable]) -> RankTable:
        """One table of the queries of several."""
        return cls(
            *(
                np.concatenate([getattr(table, field.name) for table in tables])
                for field in fields(cls)
            )
        )

    def pairs(self) -> dict[str, np.ndarray]:
        """The pairs that were run, a row each, and how many there are of each query."""
        group = self.observed.sum(axis=1)
        return {
            "data": _take_observed(self.features, self.observed),
            "label": self.labels[self.observed],
            "group": group[group > 0],
            "init_score": self.start[self.observed],
        }


class RankingPairs:
    """Pairs to train rankers on, binned once for all of them.

    `gains` (n_labels,) are those of the labels; `params` further LightGBM parameters.
    """

    def __init__(
        self,
        table: RankTable,
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
        settings = {
            **params,
            "seed": seed,
            "num_threads": n_threads,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        self._data = lgb.Dataset(
            **table.pairs(),
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
            data = data.subset(np.flatnonzero(np.repeat(rows, self._count)))
        # LightGBM keeps the gains of the labels in a global table while it trains.
        with lock_of(RankingPairs):
            booster = lgb.train(self._settings, data, self._n_estimators)
        return PairRanker.from_text(booster.model_to_string())


def _take_observed(features: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Features of the observed pairs, which are not copied if they all are."""
    if observed.all():
        return features.reshape(-1, features.shape[2])
    return features[observed]

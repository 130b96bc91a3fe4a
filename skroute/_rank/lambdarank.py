"""LightGBM's LambdaRank over pair features; the only module that imports lightgbm.

It does so when it trains: what only serves routers need not wait for the import.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from skroute._compute.locks import lock_of
from skroute._rank.forest import SmallForest
from skroute._rank.trees import read_trees, write_trees

if TYPE_CHECKING:
    import lightgbm as lgb

__all__ = ["PairRanker", "RankTable", "RankingPairs"]


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
            "data": _taken(self.features, self.observed),
            "label": self.labels[self.observed],
            "group": group[group > 0],
            "init_score": self.start[self.observed],
        }


class RankingPairs:
    """Pairs to train rankers on, binned once for all of them.

    Parameters
    ----------
    table : RankTable
        The queries.
    gains : ndarray of shape (n_labels,)
        Gain of each label.
    n_estimators : int
        Boosting rounds.
    seed : int
        Seed of the column sampling.
    n_threads : int
        Threads.
    params : dict
        Further LightGBM parameters.
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
        """Train on the queries.

        Parameters
        ----------
        without : int
            Fold that is left out; -1 is none.

        Returns
        -------
        PairRanker
            The trained model.
        """
        import lightgbm as lgb

        data, rows = self._data, self._fold != without
        if not rows.all():
            data = data.subset(np.flatnonzero(np.repeat(rows, self._count)))
        # LightGBM keeps the gains of the labels in a global table while it trains.
        with lock_of(RankingPairs):
            booster = lgb.train(self._settings, data, self._n_estimators)
        return PairRanker(booster.model_to_string())


class PairRanker:
    """A trained LambdaRank model: from features of pairs to rank scores.

    Only the numbers of its trees are kept, in a text that is the same wherever it was
    trained and that LightGBM can read; what predicts is made from it when it is first
    needed. Small trees become a forest of our own, which is faster on few pairs: a call
    of LightGBM takes as long as all else that is done for a query.

    Parameters
    ----------
    text : str
        The model in LightGBM's text format. It is checked, and written anew from its
        numbers.

    Raises
    ------
    ValueError
        If it is anything but a forest of plain numeric trees.
    """

    def __init__(self, text: str) -> None:
        self.text = write_trees(read_trees(text))
        self._forest: SmallForest | lgb.Booster | None = None

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Rank scores of pairs, on top of the scores from which training started.

        Parameters
        ----------
        features : ndarray of shape (n_queries, n_models, n_features)
            Features of pairs.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            Scores.
        """
        forest = self._forest
        if forest is None:
            forest = self._forest = self._made()
        n_queries, n_models, n_features = features.shape
        rows = features.reshape(n_queries * n_models, n_features)
        if isinstance(forest, SmallForest):
            return forest.predict(rows).reshape(n_queries, n_models)
        # Chunks of queries are what runs side by side.
        scores = forest.predict(rows, num_threads=1)
        return np.asarray(scores).reshape(n_queries, n_models)

    def _made(self) -> SmallForest | lgb.Booster:
        forest = SmallForest.of(self.text)
        if forest is not None:
            return forest
        import lightgbm as lgb

        return lgb.Booster(model_str=self.text)

    def __getstate__(self) -> dict[str, Any]:
        return {"text": self.text}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _taken(features: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Features of the observed pairs, which are not copied if they all are."""
    if observed.all():
        return features.reshape(-1, features.shape[2])
    return features[observed]

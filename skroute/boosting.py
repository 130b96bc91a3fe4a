"""LightGBM's LambdaRank over pair features; the only module that imports lightgbm."""

from __future__ import annotations

import threading
from typing import Any

import lightgbm as lgb
import numpy as np

__all__ = ["PairRanker"]

# LightGBM keeps the gains of the labels in a global table while it trains.
_TRAINING = threading.Lock()


class PairRanker:
    """A trained LambdaRank model: from features of pairs to rank scores.

    Kept as LightGBM's own text, which is exact and the same for the same training; the
    booster is made from it when it is first needed.

    Parameters
    ----------
    text : str
        The model in LightGBM's text format.
    n_threads : int
        Threads for prediction.
    """

    def __init__(self, text: str, n_threads: int = 1) -> None:
        self.text = text
        self.n_threads = n_threads
        self._booster: lgb.Booster | None = None

    @classmethod
    def train(
        cls,
        features: np.ndarray,
        labels: np.ndarray,
        gains: np.ndarray,
        observed: np.ndarray,
        start: np.ndarray,
        *,
        n_estimators: int,
        seed: int,
        n_threads: int,
        params: dict[str, Any],
    ) -> PairRanker:
        """Train on the observed pairs of every query.

        Parameters
        ----------
        features : ndarray of shape (n_queries, n_models, n_features)
            Features of pairs.
        labels : ndarray of int of shape (n_queries, n_models)
            Graded relevance: positions in `gains`.
        gains : ndarray of shape (n_labels,)
            Gain of each label.
        observed : ndarray of bool of shape (n_queries, n_models)
            Pairs that were run; the others are left out.
        start : ndarray of shape (n_queries, n_models)
            Scores from which boosting starts; they are not part of the model.
        n_estimators : int
            Boosting rounds.
        seed : int
            Seed of the column sampling.
        n_threads : int
            Threads.
        params : dict
            Further LightGBM parameters.

        Returns
        -------
        PairRanker
            The trained model.
        """
        group = observed.sum(axis=1)
        data = lgb.Dataset(
            features[observed],
            label=labels[observed],
            group=group[group > 0],
            init_score=start[observed],
            free_raw_data=True,
        )
        settings = {
            **params,
            "objective": "lambdarank",
            "label_gain": gains.tolist(),
            "seed": seed,
            "num_threads": n_threads,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }
        with _TRAINING:
            booster = lgb.train(settings, data, num_boost_round=n_estimators)
        # The number of threads is no part of the model.
        text = booster.model_to_string().replace(
            f"[num_threads: {n_threads}]", "[num_threads: 0]"
        )
        return cls(text, n_threads)

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
        if self._booster is None:
            self._booster = lgb.Booster(model_str=self.text)
        n_queries, n_models, n_features = features.shape
        scores = self._booster.predict(
            features.reshape(n_queries * n_models, n_features),
            # Waking threads for a handful of rows takes longer than the rows.
            num_threads=self.n_threads if len(features) > 100 else 1,
        )
        return np.asarray(scores).reshape(n_queries, n_models)

    def __getstate__(self) -> dict[str, Any]:
        return {"text": self.text, "n_threads": self.n_threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

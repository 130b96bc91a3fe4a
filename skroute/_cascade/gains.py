"""What one more call is worth, before its cost.

Three ways, each of which begins at the one before: as if models failed independently
(`Outlook.gain`, what a textbook says); with estimates of the models not yet called
moved by what the called ones showed; and learned from gains that were realised in the
table, with the two others as hints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skroute._cascade.beliefs import (
    DISSENT,
    LOGIT,
    N_AGREE,
    N_CALLED,
    N_DISSENT,
    NOBODY,
    SURPRISE,
    Situation,
)
from skroute._cascade.evidence import to_probability
from skroute._rank.forest import PairRanker
from skroute._rank.lambdarank import train_trees


@dataclass(frozen=True)
class LearnedGain:
    """Estimates of the other models, and gains, from what the called ones showed."""

    accuracy: np.ndarray  # (M,) log-odds of the mean quality
    rescue: np.ndarray  # (M, M) mean quality of a model where another one is wrong
    others: PairRanker  # log-odds added to those of the models not yet called
    gains: PairRanker
    share: float = 1.0  # of these gains, what is really gained

    def estimates(self, situation: Situation, models: np.ndarray) -> np.ndarray:
        """Log-odds (n, k) of some models that were not called, (n, k)."""
        features = describe_others(self.accuracy, situation, models)
        rows = np.arange(len(models))[:, None]
        prior = situation.evidence.prior[rows, models]
        return prior + self.others.predict(features)

    def gain(
        self, situation: Situation, models: np.ndarray, hint: np.ndarray
    ) -> np.ndarray:
        """Expected gain (n, k) of calling one of some models, (n, k), next.

        `hint` (n, k) is the gain that the outlook expects at these `estimates`.
        """
        value = situation.belief.value
        features = describe_calls(self.accuracy, self.rescue, situation, models, hint)
        # No answer is better than right, and nobody has to take a worse one.
        gains = self.share * self.gains.predict(features)
        return np.minimum(gains.clip(0), 1 - value[:, None])


def find_rescues(quality: np.ndarray) -> np.ndarray:
    """Mean quality of each model where another one is wrong: [wrong, other]."""
    known = np.isfinite(quality)
    filled, wrong = np.where(known, quality, 0.0), np.where(known, 1 - quality, 0.0)
    mean = filled.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return (wrong.T @ filled + 5 * mean) / (wrong.T @ known + 5)


def describe_others(
    accuracy: np.ndarray, situation: Situation, models: np.ndarray
) -> np.ndarray:
    """Features (n, k, n_features) of models (n, k) that were not called."""
    evidence, called = situation.evidence, situation.called
    belief = situation.belief
    rows, of_best = np.arange(len(called)), belief.of_best
    news = np.where(called, to_probability(belief.logits) - evidence.quality, 0.0)
    n_called = called.sum(axis=1)
    of_models = [evidence.prior[rows[:, None], models], accuracy[models]]
    of_queries = [
        evidence.prior.mean(axis=1),
        news[rows, belief.best],
        news.sum(axis=1) / n_called,
        news.min(axis=1),
        n_called,
        belief.logits[rows, belief.best],
        evidence.prior[rows, belief.best],
        of_best[:, N_AGREE],
        of_best[:, N_DISSENT],
    ]
    return _stack(models.shape, of_models, of_queries)


def describe_calls(
    accuracy: np.ndarray,
    rescue: np.ndarray,
    situation: Situation,
    models: np.ndarray,
    hint: np.ndarray,
) -> np.ndarray:
    """Features (n, k, n_features) of calling models (n, k) next.

    `hint` (n, k) is the gain as the outlook expects it.
    """
    evidence, belief = situation.evidence, situation.belief
    rows, of_best = np.arange(len(models)), belief.of_best
    others = np.where(situation.called, belief.logits, NOBODY)
    others[rows, belief.best] = NOBODY
    best_quality = np.where(situation.called, evidence.quality, 0.0).max(axis=1)
    each = rows[:, None]
    logit = belief.logits[rows, belief.best]
    of_models = [
        logit[:, None],
        evidence.prior[each, models],
        hint,
        evidence.quality[each, models] - best_quality[:, None],
        accuracy[models],
        rescue[belief.best[:, None], models],
    ]
    of_queries = [
        of_best[:, N_AGREE],
        of_best[:, N_CALLED],
        of_best[:, DISSENT],
        of_best[:, N_DISSENT],
        others.max(axis=1),
        of_best[:, SURPRISE],
        of_best[:, LOGIT],
        belief.lead.clip(0, 5),
        evidence.prior.mean(axis=1),
        evidence.prior[rows, belief.best],
    ]
    return _stack(models.shape, of_models, of_queries)


def _stack(
    shape: tuple[int, ...], of_models: list[np.ndarray], of_queries: list[np.ndarray]
) -> np.ndarray:
    """Stack columns (n, k), and (n,) repeated for each model, as (n, k, n_features)."""
    n_each = len(of_models)
    features = np.empty((*shape, n_each + len(of_queries)))
    for place, column in enumerate(of_models):
        features[..., place] = column
    for place, column in enumerate(of_queries, n_each):
        features[..., place] = column[:, None]
    return features


def train_others(features: np.ndarray, quality: np.ndarray, seed: int) -> PairRanker:
    """Learn the estimates of models not yet called, from rows of `describe_others`."""
    return train_trees(
        features,
        quality,
        start=features[:, 0],
        objective="cross_entropy",
        n_estimators=60,
        min_in_leaf=200,
        seed=seed,
    )


def train_gains(features: np.ndarray, gained: np.ndarray, seed: int) -> PairRanker:
    """Learn realised gains from rows of `describe_calls`.

    The surer the best answer, the less there is to gain.
    """
    return train_trees(
        features,
        gained,
        objective="regression",
        monotone=[-1, 1, 1],
        n_estimators=80,
        min_in_leaf=200,
        seed=seed,
    )

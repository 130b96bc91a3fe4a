r"""From rank scores to expected quality, without losing what the ranker learned.

LambdaRank learns from pairs of models that differ on a query, so the difference of two
of its scores is the log-odds of who wins *if* one wins; it says nothing on how often
they differ. With :math:`p` the expected qualities scaled to [0, 1], two models differ
with probability :math:`d_{ij} = p_i (1 - p_j) + p_j (1 - p_i)`, and model :math:`i` is
expected to be better than the average model by the mean over :math:`j` of
:math:`d_{ij} \tanh((s_i - s_j) / 2)`. For scores that are just the log-odds of
:math:`p` this is exactly :math:`p_i` less the mean: a ranker that starts there, and
learns nothing, changes nothing.
"""

from __future__ import annotations

import numpy as np

from skroute._compute.chunks import chunks

__all__ = ["blend_rank_scores", "find_rank_utility", "log_odds"]

# Keeps the log-odds of an estimate at or beyond the ends of the scale finite.
_MARGIN = 0.02
# Pairs of models that are compared at once.
_MAX_PAIRS = 500_000


def log_odds(p: np.ndarray) -> np.ndarray:
    """Log-odds of probabilities, kept away from certainty."""
    p = _keep_uncertain(p)
    return np.log(p / (1.0 - p))


def find_rank_utility(scores: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Expected advantage of each model over the average model of the pool.

    From rank scores and expected qualities `p`, scaled to [0, 1], of shape
    (n_queries, n_models); in the scale of `p`, and sums to 0 over the models.
    """
    n_queries, n_models = p.shape
    p = _keep_uncertain(p)
    if n_queries * n_models**2 <= _MAX_PAIRS:
        return _average_advantage(
            scores[:, :, None], scores[:, None], p[:, :, None], p[:, None]
        )
    utility = np.empty_like(p)
    for part in chunks(n_queries, max(1, _MAX_PAIRS // n_models**2)):
        # With very many models, even the pairs of one query are too many at once.
        for some in chunks(n_models, max(1, _MAX_PAIRS // n_models)):
            utility[part, some] = _average_advantage(
                scores[part, some, None],
                scores[part, None, :],
                p[part, some, None],
                p[part, None, :],
            )
    return utility


def blend_rank_scores(p: np.ndarray, scores: np.ndarray, weight: float) -> np.ndarray:
    """Keep the level of the regressions; mix their differences with the ranker's."""
    level = np.add.reduce(p, axis=1, keepdims=True) / p.shape[1]
    return weight * (level + find_rank_utility(scores, p)) + (1.0 - weight) * p


def _average_advantage(
    my_score: np.ndarray, score: np.ndarray, mine: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """Average the advantage of some models over the others."""
    lead = np.tanh((my_score - score) / 2.0)
    # The probability to differ is (1 - (2 p_i - 1) (2 p_j - 1)) / 2.
    mine, other = 2.0 * mine - 1.0, 2.0 * other - 1.0
    leads = np.add.reduce(lead, axis=2)
    lead *= other
    weighed = np.add.reduce(lead, axis=2)
    return (leads - mine[:, :, 0] * weighed) / (2.0 * score.shape[2])


def _keep_uncertain(p: np.ndarray) -> np.ndarray:
    """Keep probabilities away from 0 and 1."""
    # np.clip takes several times as long on the few numbers of a query.
    return np.minimum(np.maximum(p, _MARGIN), 1.0 - _MARGIN)

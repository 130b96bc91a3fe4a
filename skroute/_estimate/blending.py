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
# Scores so far behind the best are as good as lost to all; exponentials of lower ones
# would vanish.
_FAR_BEHIND = -300.0
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
    # The hyperbolic tangent of half a difference is (a - b) / (a + b) of exponentials:
    # one of each score, and not one of each pair.
    ahead = scores - np.maximum.reduce(scores, axis=1, keepdims=True)
    odds = np.exp(np.maximum(ahead, _FAR_BEHIND))
    # The probability to differ is (1 - sign_i * sign_j) / 2.
    sign = 2.0 * _keep_uncertain(p) - 1.0
    if n_queries * n_models**2 <= _MAX_PAIRS:
        return _average_advantage(odds, odds, sign, sign)
    utility = np.empty_like(p)
    for part in chunks(n_queries, max(1, _MAX_PAIRS // n_models**2)):
        # With very many models, even the pairs of one query are too many at once.
        for some in chunks(n_models, max(1, _MAX_PAIRS // n_models)):
            utility[part, some] = _average_advantage(
                odds[part, some], odds[part], sign[part, some], sign[part]
            )
    return utility


def blend_rank_scores(p: np.ndarray, scores: np.ndarray, weight: float) -> np.ndarray:
    """Keep the level of the regressions; mix their differences with the ranker's."""
    level = np.add.reduce(p, axis=1, keepdims=True) / p.shape[1]
    return weight * (level + find_rank_utility(scores, p)) + (1.0 - weight) * p


def _average_advantage(
    my_odds: np.ndarray, odds: np.ndarray, my_sign: np.ndarray, sign: np.ndarray
) -> np.ndarray:
    """Average the advantage of some models over all, (n_queries, n_some)."""
    mine, other = my_odds[:, :, None], odds[:, None]
    lead = mine - other
    lead /= mine + other
    # One product sums the leads, as they are and by the signs.
    weights = np.ones((*sign.shape, 2))
    weights[..., 1] = sign
    sums = lead @ weights
    advantage: np.ndarray = sums[..., 0] - my_sign * sums[..., 1]
    advantage /= 2.0 * sign.shape[1]
    return advantage


def _keep_uncertain(p: np.ndarray) -> np.ndarray:
    """Keep probabilities away from 0 and 1."""
    # np.clip takes several times as long on the few numbers of a query.
    return np.minimum(np.maximum(p, _MARGIN), 1.0 - _MARGIN)

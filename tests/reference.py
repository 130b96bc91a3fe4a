"""The estimates of a ranking router, written as they are defined: a query at a time."""

from __future__ import annotations

import numpy as np
from scipy.special import logit

from skroute._estimate.fitted import FittedRouter
from skroute._rank.forest import PairRanker


def estimates(fitted: FittedRouter, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected quality and cost of every model, by what is fitted."""
    both = [_estimates_of_one(fitted, x) for x in X.astype(np.float64)]
    quality, cost = zip(*both, strict=True)
    return np.array(quality), np.array(cost)


def scores(ranker: PairRanker, features: np.ndarray) -> np.ndarray:
    """Sum the leaves that pairs (n_pairs, n_features) reach, from tree to tree."""
    total = np.zeros(len(features))
    for nodes, leaves in ranker.iterate_trees():
        left, right = ranker.left[nodes], ranker.right[nodes]
        for i, pair in enumerate(features):
            node = 0 if len(left) else ~0
            while node >= 0:
                at_most = ranker.threshold[nodes][node]
                goes_left = pair[ranker.feature[nodes][node]] <= at_most
                node = left[node] if goes_left else right[node]
            total[i] += ranker.value[leaves][~node]
    return total


def _estimates_of_one(
    fitted: FittedRouter, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    views, means = fitted.quality.views, fitted.quality.means
    z = (x - views.centre) / views.scale
    if views.basis is not None:
        z = z @ views.basis
    distance = ((views.centres - z) ** 2).sum(axis=1)
    landmarks, *profiles = np.split(distance, np.cumsum(views.sizes)[:-1])
    seen = [z, *(np.exp(-gamma * landmarks) for gamma in views.gammas)]
    for near, softness in zip(profiles, views.softness, strict=True):
        belongs = np.exp(-(near - near.min()) / softness)
        seen.append(belongs / belongs.sum())
    outputs = [
        np.einsum("f,fms->ms", phi, fit.coef) + fit.intercept
        for phi, fit in zip(seen, fitted.quality.fits, strict=True)
    ]
    p = means + sum(output[:, -1] for output in outputs)
    quality = p
    if fitted.ranker is not None:
        quality = _ranked(fitted, p, outputs)
    near, far = views.limits
    trust = 1.0
    if np.isfinite(near):
        trust = np.clip((far - landmarks.min()) / (far - near), 0, 1)
    quality = means + trust * (quality - means)
    # A query whose best estimate is out of range is moved as a whole.
    low, high = fitted.canonical.seen
    best = quality.max()
    quality = np.clip(quality + np.clip(best, low, high) - best, low, high)
    cost = fitted.cost.prices
    if fitted.cost.fit is not None:
        paid = np.einsum("f,fm->m", z, fitted.cost.fit.coef[:, :, 0])
        paid = paid + fitted.cost.fit.intercept[:, 0]
        paid = fitted.cost.unit * (np.exp(paid) - 1)
        cost = cost + trust * (np.clip(paid, fitted.cost.low, fitted.cost.high) - cost)
    canonical = fitted.canonical
    quality = canonical.worst + canonical.extent * quality
    return quality[canonical.place], cost[canonical.place]


def _ranked(
    fitted: FittedRouter, p: np.ndarray, outputs: list[np.ndarray]
) -> np.ndarray:
    """Mix the differences of the regressions with those of the ranker."""
    level, means = p.mean(), fitted.quality.means
    features = np.array(
        [
            np.append(
                np.concatenate([output[m, :-1] for output in outputs]),
                (p[m], p[m] - level, level, means[m]),
            )
            for m in range(len(p))
        ]
    )
    bounded = np.clip(p, 0.02, 0.98)
    score = logit(bounded) + scores(fitted.ranker, features)
    differ = bounded[:, None] + bounded - 2.0 * np.outer(bounded, bounded)
    lead = np.tanh((score[:, None] - score) / 2.0)
    ranked = level + (differ * lead).mean(axis=1)
    return fitted.rank_weight * ranked + (1 - fitted.rank_weight) * p

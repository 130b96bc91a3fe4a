"""Fallback order: apply the rule again after removing the models already named."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skroute._decide.price_path import choose_each
from skroute._decide.rule import Rule


class Decisions(NamedTuple):
    """What was decided for the rows of one call, and at which shadow prices."""

    #: The model that is called, then its fallbacks, (n_queries, top_k); -1 is none.
    choice: np.ndarray
    #: The shadow price at which each query was decided, (n_queries,).
    shadow_price: np.ndarray
    #: The chance that the first of them had, (n_queries,); None is 1.
    chance: np.ndarray | None = None

    @property
    def propensity(self) -> np.ndarray:
        """The chance that the model to call had, (n_queries,)."""
        return np.ones(len(self.choice)) if self.chance is None else self.chance


def rank_fallbacks(
    first: np.ndarray,
    shadow_prices: np.ndarray,
    quality: np.ndarray,
    cost: np.ndarray,
    available: np.ndarray,
    rule: Rule,
    top_k: int,
) -> Decisions:
    """Rank the models to call in place of `first`, (n_queries,), at the same prices.

    With a batch budget, models that cost no more than the first choice come before the
    others: as long as only these are called, the total is kept.
    """
    if top_k == 1:
        return Decisions(first[:, None], shadow_prices)
    choice = np.full((len(first), top_k), -1)
    choice[:, 0] = first
    rows = np.arange(len(first))
    # A copy, from which the models already named are removed.
    left = np.array(np.broadcast_to(available, quality.shape))
    for place in range(1, top_k):
        # Where no model is left, the choice is -1, and the last column is False anyway.
        left[rows, choice[:, place - 1]] = False
        allowed = rule.find_candidates(quality, cost, left, as_fallback=True)
        if rule.has_batch_budget:
            # A cheaper fallback keeps the total; others follow when none is left.
            held = allowed & (cost <= cost[rows, first][:, None])
            allowed = np.where(held.any(axis=1, keepdims=True), held, allowed)
        choice[:, place] = choose_each(quality, cost, shadow_prices, allowed)
    return Decisions(choice, shadow_prices)


def names_of_choices(models: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Names of models, and ``None`` for -1."""
    return np.array([*models, None], dtype=object)[choice]


def name_decisions(
    models: np.ndarray, decisions: Decisions, top_k: int | None
) -> np.ndarray:
    """Names of the models to call, (n_queries,) or with `top_k` (n_queries, top_k)."""
    names = names_of_choices(models, decisions.choice)
    return names[:, 0] if top_k is None else names

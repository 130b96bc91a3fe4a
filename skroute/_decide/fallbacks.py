"""What to call where a model fails: the same rule, with those before it crossed out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from skroute._decide.price_path import choose_each
from skroute._table.numbers import check_integer

__all__ = ["Decisions", "check_top_k", "named", "ranked"]


class Decisions(NamedTuple):
    """What was decided for the rows of one call, and at which price.

    Attributes
    ----------
    choice : ndarray of int of shape (n_queries, top_k)
        The model that is called, then its alternatives; -1 where no model is left.
    price : ndarray of shape (n_queries,)
        The price of money at which each query was decided.
    """

    choice: np.ndarray
    price: np.ndarray


def ranked(
    first: np.ndarray,
    prices: np.ndarray,
    estimates: tuple[np.ndarray, np.ndarray],
    mask: np.ndarray,
    in_play: Callable[[np.ndarray], np.ndarray],
    *,
    top_k: int,
    keeps_total: bool,
) -> Decisions:
    """Rank the alternatives to the first choices.

    Parameters
    ----------
    first : ndarray of int of shape (n_queries,)
        The decisions.
    prices : ndarray of shape (n_queries,)
        The price of money at which each query was decided.
    estimates : tuple of two ndarray of shape (n_queries, n_models)
        Expected quality and cost.
    mask : ndarray of bool, broadcastable to (n_queries, n_models)
        Models that may be called.
    in_play : callable
        Leaves, of a mask, the models that the rule allows; none where none fits.
    top_k : int
        Number of models per query, the first included.
    keeps_total : bool
        Whether the models that are no dearer than the first come before the others.

    Returns
    -------
    Decisions
        First choices and alternatives.
    """
    if top_k == 1:
        return Decisions(first[:, None], prices)
    quality, cost = estimates
    choice = np.full((len(first), top_k), -1)
    choice[:, 0] = first
    rows = np.arange(len(first))
    left = np.array(np.broadcast_to(mask, quality.shape))
    for place in range(1, top_k):
        # A query that has run out of models has none to cross out: its -1 does no harm.
        left[rows, choice[:, place - 1]] = False
        allowed = in_play(left)
        if keeps_total:
            held = allowed & (cost <= cost[rows, first][:, None])
            allowed = np.where(held.any(axis=1, keepdims=True), held, allowed)
        choice[:, place] = choose_each(quality, cost, prices, allowed)
    return Decisions(choice, prices)


def check_top_k(top_k: Any, n_models: int) -> int:
    """Check a number of models per query; ``None`` is one."""
    if top_k is None:
        return 1
    if check_integer(top_k, "top_k", low=1) > n_models:
        raise ValueError(
            f"top_k must be at most the number of models, {n_models}; got {top_k!r}."
        )
    return int(top_k)


def named(models: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Names of models, and ``None`` for -1."""
    return np.array([*models, None], dtype=object)[choice]

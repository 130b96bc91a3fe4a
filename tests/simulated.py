"""Tables of a cascade, simulated: estimates, outcomes, checks and answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Bunch


def simulate_table(
    n_queries: int = 160,
    n_models: int = 3,
    random_state: int = 0,
    accuracy: float = 0.8,
) -> Bunch:
    """Simulate models of rising skill and cost, which fail together on hard queries.

    `checks` tell right from wrong answers with some accuracy, wrong `answers` agree by
    chance, `known` are the tables that `fit` and `replay` take beside Z and y.
    """
    rng = np.random.RandomState(random_state)
    skill, hard = np.linspace(0.4, 0.9, n_models), rng.random_sample((n_queries, 1))
    chance = np.clip(skill + 0.5 - hard, 0.03, 0.97)
    y = (rng.random_sample(chance.shape) < chance) * 1.0
    costs = 2.0 ** np.linspace(0, 3, n_models) * rng.uniform(0.8, 1.2, chance.shape)
    expected = np.clip(chance + rng.normal(0, 0.1, chance.shape), 0, 1)
    is_told = rng.random_sample(chance.shape) < accuracy
    wrong = np.array(list("bcd"), dtype=object)[rng.randint(3, size=chance.shape)]
    return Bunch(
        Z=np.hstack([expected, 2.0 ** np.linspace(0, 3, n_models) + 0 * costs]),
        y=y,
        costs=costs,
        checks=np.where(is_told, y, 1 - y),
        answers=np.where(y == 1, "a", wrong).astype(object),
    )


def walk_by_hand(
    decider: Any, Z: np.ndarray, known: dict[str, np.ndarray], **limits: Any
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Ask `next` call by call, and tell it what a table of `known` knows of each.

    Returns names (n, n_calls), ``None`` after the last call of a query, and what was
    known of the calls.
    """
    models, rows = decider.models_.tolist(), np.arange(len(Z))
    calls = np.empty((len(Z), 0), dtype=object)
    said = {name: np.empty((len(Z), 0), table.dtype) for name, table in known.items()}
    while True:
        chosen = decider.next(Z, calls, **said, **limits)
        made = np.array([name is not None for name in chosen], dtype=bool)
        if not made.any():
            return calls, said
        calls = np.column_stack([calls, chosen])
        place = np.array([models.index(name) if name else 0 for name in chosen])
        for name, table in known.items():
            blank = np.nan if table.dtype == np.float64 else None
            told = np.where(made, table[rows, place], blank).astype(table.dtype)
            said[name] = np.column_stack([said[name], told])


def add_up(decider: Any, calls: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Sum a table (n, M) over the calls (n, n_calls) of each query."""
    models = decider.models_.tolist()
    was_called = np.array([[model in row for model in models] for row in calls])
    return np.where(was_called.reshape(table.shape), table, 0.0).sum(axis=1)

"""Why a cascade goes on or stops: a row of numbers for every query."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._cascade.fitted import State, Unit
from skroute._decide.explain import as_frame
from skroute._decide.fallbacks import names_of_choices
from skroute._decide.utility import value_money


def tabulate_calls(
    models: np.ndarray, state: State, unit: Unit, price: float, Z: Any = None
) -> Any:
    """Tabulate the best answers beside the best of the calls that are left."""
    rows = np.arange(len(state.chosen))
    candidate = np.where(state.chosen >= 0, state.chosen, state.worth.argmax(axis=1))
    worth = state.worth[rows, candidate] * unit.extent
    # A first call is worth its quality, a later one what it adds.
    worth = worth + np.where(state.best < 0, unit.worst, 0.0)
    is_left = (worth > -np.inf) | (state.chosen >= 0)
    cost = np.where(is_left, state.money[rows, candidate], np.nan)
    charge = value_money(cost, np.full(len(rows), price))
    worth = np.where(is_left, worth, np.nan)
    # Where only money counts, no gain is looked at.
    with np.errstate(invalid="ignore"):
        gain = np.where(np.isinf(charge), np.nan, worth + charge)
    return as_frame(
        {
            "answer": names_of_choices(models, state.best),
            "expected_quality": unit.restore(state.value),
            "next": names_of_choices(models, state.chosen),
            "candidate": names_of_choices(models, np.where(is_left, candidate, -1)),
            "gain": gain,
            "cost": cost,
            "charge": charge,
            "worth": worth,
        },
        Z,
    )

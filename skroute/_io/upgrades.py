"""Upgrades: states of objects in files of older formats, as they are today.

`_UPGRADES[format][tag]` turns the attributes of a class, as files of that format hold
them, into those of the next format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skroute._io.registry import find_class

__all__ = ["upgrade"]

State = dict[str, Any]
_RULE = ("budget", "scope", "min_quality", "price", "tolerance", "on_infeasible")


def upgrade(tag: str, state: State, written: int) -> State:
    """Bring the attributes of an object from the format of its file to today's."""
    for older in range(written, max(_UPGRADES) + 1):
        change = _UPGRADES.get(older, {}).get(tag)
        if change is not None:
            state = change(state)
    return state


def _name_what_was_settled(state: State) -> State:
    """A decider of format 1 does not say for which parameters it was settled."""
    if "models_" not in state:
        return state
    state = dict(state)
    state.pop("price_")
    return {
        "_pace": None,
        **state,
        "_target": state.pop("quality_target_"),
        "_best_single": float("nan"),
        "_rule": tuple(state[name] for name in _RULE),
    }


def _gather_what_was_settled(state: State) -> State:
    """A decider of format 2 holds the parts of what is one `Settled` since."""
    if "models_" not in state:
        return state
    state = dict(state)
    settled: Any = find_class("Settled")
    rule: Any = find_class("Rule")
    return {
        "_settled": settled(
            rule(*state.pop("_rule")),
            state.pop("_price"),
            state.pop("_target"),
            state.pop("price_path_"),
            state.pop("_best_single"),
        ),
        **state,
    }


_UPGRADES: dict[int, dict[str, Callable[[State], State]]] = {
    1: {"BudgetDecider": _name_what_was_settled},
    2: {"BudgetDecider": _gather_what_was_settled},
}

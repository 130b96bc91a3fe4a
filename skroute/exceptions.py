"""Errors and warnings that are skroute's own."""

from __future__ import annotations

import inspect
import pickle

__all__ = [
    "IgnoredDeciderWarning",
    "InfeasibleBudgetError",
    "NoCostWarning",
    "UnsafePickleError",
    "VersionWarning",
]


class IgnoredDeciderWarning(UserWarning):
    """A metric judges a router at every budget, so that its decider changes nothing."""


class InfeasibleBudgetError(ValueError):
    """No decision satisfies the budget, the quality target or the limit asked for.

    Parameters
    ----------
    message : str
        What was asked for, and the nearest that can be had.
    smallest_budget : float or None, default=None
        The smallest feasible budget, in the unit of the costs; ``None`` where a
        quality target failed.
    largest_quality : float or None, default=None
        The largest quality that can be promised; ``None`` where a budget failed.
    smallest_limit : float or None, default=None
        The smallest feasible limit of an extra cost; ``None`` where none failed.
    possible_calls : int or None, default=None
        Calls that the capacities of the models allow; ``None`` where they are enough.
    """

    def __init__(
        self,
        message: str,
        *,
        smallest_budget: float | None = None,
        largest_quality: float | None = None,
        smallest_limit: float | None = None,
        possible_calls: int | None = None,
    ) -> None:
        super().__init__(message)
        self.smallest_budget = smallest_budget
        self.largest_quality = largest_quality
        self.smallest_limit = smallest_limit
        self.possible_calls = possible_calls

    def __reduce__(self) -> tuple:
        """Keep the attributes when the error crosses a process boundary."""
        return type(self), self.args, vars(self)


class NoCostWarning(UserWarning):
    """A router was fitted without costs, or on costs of a model that are all 0."""


class UnsafePickleError(pickle.UnpicklingError, ValueError):
    """A table is a pickle other than the published file, so it was not opened."""


class VersionWarning(UserWarning):
    """A router was saved or pickled by another version than the one that loads it."""


def find_caller_level() -> int:
    """Level of the caller of this package, for `warnings.warn`."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(
        ("skroute.", "sklearn.", "joblib.")
    ):
        frame, level = frame.f_back, level + 1
    return level

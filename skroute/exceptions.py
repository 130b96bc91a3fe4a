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
    """No decision satisfies the budget or the quality target that was asked for.

    Parameters
    ----------
    message : str
        What was asked for, and the nearest that can be had.
    smallest_budget : float or None, default=None
        The smallest feasible budget, in the unit of the costs; ``None`` where a
        quality target failed.
    largest_quality : float or None, default=None
        The largest quality that can be promised; ``None`` where a budget failed.
    """

    def __init__(
        self,
        message: str,
        *,
        smallest_budget: float | None = None,
        largest_quality: float | None = None,
    ) -> None:
        super().__init__(message)
        self.smallest_budget = smallest_budget
        self.largest_quality = largest_quality

    def __reduce__(self) -> tuple:
        """Keep the attributes when the error crosses a process boundary."""
        state = {
            "smallest_budget": self.smallest_budget,
            "largest_quality": self.largest_quality,
        }
        return type(self), self.args, state


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

"""Where the rows of a table are: in memory here, in partitions of a cluster elsewhere.

A fit is a walk of two kinds of steps: what is computed for every row by itself, and
sums over all rows. Written as such it runs on rows that are in one place and on rows
that are in many, which only send their sums. Columns of a table, and values computed
from all of it, are handles: here the arrays themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import Any

import numpy as np

__all__ = ["IN_MEMORY", "Executor"]


class Executor:
    """Rows in memory, in one part: every handle is the value itself.

    The arguments of a function are handles of columns (of which it is given the rows of
    one part), handles of values, and constants. It must not write to them.
    """

    def map(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Compute a new column, a part of the rows at a time."""
        return function(*arguments)

    def total(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        combine: Callable[[Any, Any], Any] = add,
    ) -> Any:
        """Compute a value for every part of the rows, and combine them."""
        return function(*arguments)

    def apply(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Compute a value from others, once."""
        return function(*arguments)

    def share(self, value: Any) -> Any:
        """Give every part a large constant."""
        return value

    def get(self, value: Any) -> Any:
        """Fetch a value."""
        return value

    def count(self, column: Any) -> int:
        """Count the rows."""
        count: int = len(column)
        return count

    def take(self, column: Any, rows: np.ndarray) -> np.ndarray:
        """Fetch some rows by their numbers, in this order: few, they are gathered."""
        taken: np.ndarray = column[rows]
        return taken

    def threads(self, n_jobs: int | None) -> int | None:
        """Threads for what need not be done one after the other."""
        return n_jobs

    def gather(
        self, column: Any, join: Callable[[list[Any]], Any] = np.concatenate
    ) -> Any:
        """Fetch a column of a few bytes per row, or of few rows: its parts joined."""
        return column

    def numbers(self, column: Any) -> Any:
        """Make the column of the rows' numbers, beside a given one."""
        return np.arange(len(column))

    def split(self, values: np.ndarray, column: Any) -> Any:
        """Make a column of an array of one value per row, beside a given one."""
        return values


IN_MEMORY = Executor()

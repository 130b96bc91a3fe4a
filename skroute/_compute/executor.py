"""The executor of a fit: in memory here, on the partitions of a cluster in `dask`.

A fit has two kinds of steps: columns that are computed row by row, and sums over all
rows. Written with these, it runs on a table in memory and on one in partitions, which
only send their sums. Columns of a table, and values computed from all of it, are passed
on as handles. In memory, a handle is the array itself.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import Any

import numpy as np


class Executor:
    """Computes on a table in memory, in one part: every handle is the value itself.

    The arguments of a function are handles of columns (it gets their rows of one part),
    handles of values, and constants. It must not write to them.
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
        return len(column)

    def take(self, column: Any, rows: np.ndarray) -> Any:
        """Fetch a few rows by their numbers, in this order."""
        return column[rows]

    def count_threads(self, n_jobs: int | None) -> int | None:
        """Number of threads for steps that do not depend on each other."""
        return n_jobs

    def gather(
        self, column: Any, join: Callable[[list[Any]], Any] = np.concatenate
    ) -> Any:
        """Fetch a column of a few bytes per row, or of few rows: its parts joined."""
        return column

    def number_rows(self, column: Any) -> Any:
        """Make the column of the rows' numbers, beside a given one."""
        return np.arange(len(column))

    def split(self, values: np.ndarray, column: Any) -> Any:
        """Make a column of an array of one value per row, beside a given one."""
        return values


IN_MEMORY = Executor()

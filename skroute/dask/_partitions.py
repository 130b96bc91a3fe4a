"""Rows in the partitions of a Dask cluster; only sums over them come to the client.

Every step of a fit is submitted to the cluster as it is written, and waited for where a
value is fetched. Columns stay where they were computed. What a lost worker held is
computed again by the scheduler, from the partitions that the caller gave.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import add
from typing import Any

import numpy as np

from skroute.boosting import PairRanker, RankTable
from skroute.dask._boosting import train_on_cluster
from skroute.rows import Rows
from skroute.threads import single_threaded

__all__ = ["Column", "Partitions"]

# Seconds between looks at a cluster that is waited for, and how long it may be without
# any worker.
_LOOK = 2.0
_PATIENCE = 60.0
# Sums that are added up at once.
_FAN_IN = 8
# Stages that are waited for at once.
_N_WAITING = 4
# Bytes that are sent with one task; Dask warns of 10 MB.
_PIECE = 4_000_000


@dataclass(frozen=True)
class Column:
    """One future for each partition of the table."""

    parts: list[Any]


class Partitions(Rows):
    """Rows in partitions: handles are columns, and futures of values.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    lengths : list of int
        Number of rows of each partition, none of them 0.
    """

    def __init__(self, client: Any, lengths: list[int]) -> None:
        self.client = client
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths

    def map(self, function: Callable[..., Any], *arguments: Any) -> Column:
        """Compute a new column, a partition at a time."""
        places = [i for i, value in enumerate(arguments) if isinstance(value, Column)]
        constants = [None if i in places else v for i, v in enumerate(arguments)]
        return Column(
            self.client.map(
                _on_part,
                *(arguments[i].parts for i in places),
                function=function,
                places=places,
                constants=constants,
                key=_name(function),
                pure=False,
            )
        )

    def total(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        combine: Callable[[Any, Any], Any] = add,
    ) -> Any:
        """Compute a value for every partition, and combine them as a tree."""
        parts = self.map(function, *arguments).parts
        while len(parts) > 1:
            parts = [
                self._submit(_combined, combine, parts[i : i + _FAN_IN])
                for i in range(0, len(parts), _FAN_IN)
            ]
        return parts[0]

    def apply(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Compute a value from others, on one of the workers."""
        return self._submit(_once, function, *arguments)

    def share(self, value: Any) -> Any:
        """Send a constant of any size, in pieces that the scheduler can send again.

        What is scattered has no recipe: it would be lost with the worker that holds it.
        """
        data = pickle.dumps(value)
        pieces = [data[i : i + _PIECE] for i in range(0, len(data), _PIECE)]
        return self._submit(_unpacked, *(self._submit(bytes, p) for p in pieces))

    def get(self, value: Any) -> Any:
        """Fetch a value."""
        return self._fetch([value])[0]

    def count(self, column: Column) -> int:
        """Count the rows."""
        return int(self.ends[-1])

    def take(self, column: Column, rows: np.ndarray) -> np.ndarray:
        """Fetch some rows by their numbers, in this order."""
        which = np.searchsorted(self.ends, rows, side="right")
        places = [np.flatnonzero(which == part) for part in np.unique(which)]
        taken = [
            self._submit(_rows_of, column.parts[which[at[0]]], rows[at] - start)
            for at, start in zip(places, self.starts[np.unique(which)], strict=True)
        ]
        found = np.concatenate(self._fetch(taken))
        return found[np.argsort(np.concatenate(places))]

    def numbers(self, column: Column) -> Column:
        """Make the column of the rows' numbers, beside a given one."""
        starts = [self._submit(int, start) for start in self.starts]
        return self.map(_numbers, column, Column(starts))

    def split(self, values: np.ndarray, column: Column) -> Column:
        """Make a column of an array of one value per row, beside a given one."""
        slim = values
        if values.dtype.kind in "iu":
            slim = values.astype(np.min_scalar_type(values.max()))
        return Column(
            [
                self._submit(np.array, slim[start:end])
                for start, end in zip(self.starts, self.ends, strict=True)
            ]
        )

    def threads(self, n_jobs: int | None) -> int:
        """Threads for what need not be done one after the other: they only wait."""
        return _N_WAITING

    def gather(self, column: Column) -> np.ndarray:
        """Fetch a column of a few bytes per row."""
        return np.concatenate(self._fetch(column.parts))

    def train_rankers(
        self, table: Column, without: list[int], gains: np.ndarray, **settings: Any
    ) -> list[PairRanker]:
        """Train rankers where the queries are, without a fold (or none, -1) each."""
        return [
            train_on_cluster(
                self.client,
                self.map(RankTable.without, table, k).parts,
                gains,
                **settings,
            )
            for k in without
        ]

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.client.submit(function, *arguments, pure=False)

    def as_array(self, column: Column, width: int) -> Any:
        """Make a Dask array of a column of numbers."""
        import dask
        import dask.array as da

        lengths = self.ends - self.starts
        return da.concatenate(
            [
                da.from_delayed(dask.delayed(part), (int(length), width), np.float64)
                for part, length in zip(column.parts, lengths, strict=True)
            ]
        )

    def _fetch(self, futures: list[Any]) -> list[Any]:
        """Results, or what went wrong."""
        from distributed import CancelledError, KilledWorker

        try:
            self._wait(futures)
            results: list[Any] = self.client.gather(futures)
        except KilledWorker as error:
            raise RuntimeError(
                "the fit was given up: workers died again and again on one of its "
                f"tasks ({error}). They may lack memory: make the partitions smaller "
                "or the workers larger, and fit again."
            ) from error
        except CancelledError as error:
            raise RuntimeError(
                "the fit was given up: a lost worker held a part of the table that "
                "cannot be made again, as it was scattered or published, or the fit "
                f"was cancelled ({error}). Give a table that is read or made by tasks, "
                "and fit again."
            ) from error
        return results

    def _wait(self, futures: list[Any]) -> None:
        """Wait for futures, but not without end for a cluster without workers."""
        alone_since = None
        for future in futures:
            while not future.done():
                try:
                    # Not distributed.wait: it wants a current client, and to set one
                    # changes the scheduler of all threads.
                    future.exception(timeout=_LOOK)
                except TimeoutError:
                    if self.client.nthreads():
                        alone_since = None
                        continue
                    alone_since = alone_since or time.monotonic()
                    if time.monotonic() - alone_since > _PATIENCE:
                        raise RuntimeError(
                            "the fit was given up: the cluster lost all its workers, "
                            f"and none came back in {_PATIENCE:.0f} seconds. Start "
                            "workers, or restart the cluster with client.restart(), "
                            "and fit again."
                        ) from None


def _on_part(
    *parts: Any, function: Callable[..., Any], places: list[int], constants: list[Any]
) -> Any:
    """Call a function on a partition: columns in their places among the arguments."""
    arguments = list(constants)
    for place, part in zip(places, parts, strict=True):
        arguments[place] = part
    return _once(function, *arguments)


def _once(function: Callable[..., Any], *arguments: Any) -> Any:
    # One thread of BLAS and of k-means: sums in another order are another fit.
    with single_threaded():
        return function(*arguments)


def _unpacked(*pieces: bytes) -> Any:
    return pickle.loads(b"".join(pieces))


def _combined(combine: Callable[[Any, Any], Any], values: list[Any]) -> Any:
    result = values[0]
    for value in values[1:]:
        result = combine(result, value)
    return result


def _rows_of(part: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return part[rows]


def _numbers(part: np.ndarray, start: int) -> np.ndarray:
    return np.arange(start, start + len(part))


def _name(function: Callable[..., Any]) -> str:
    """What the dashboard calls the tasks."""
    return "skroute-" + getattr(function, "__name__", "step").strip("_")

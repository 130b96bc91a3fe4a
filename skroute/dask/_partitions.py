"""Rows in the partitions of a Dask cluster; only sums over them reach the client.

Every step of a fit is submitted to the cluster as it is written, and waited for where a
value is fetched. Columns stay where they were computed. What a lost worker held is
computed again by the scheduler, from the partitions that the caller gave.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass
from functools import reduce
from operator import add, getitem
from typing import Any
from uuid import uuid4

import numpy as np

from skroute._compute.executor import Executor
from skroute._compute.threads import single_threaded

_logger = logging.getLogger(__name__)

# Seconds between looks at a cluster that is waited for, and how long it may be without
# any worker.
_LOOK = 2.0
_PATIENCE = 45.0
# Sums that are added up at once.
_FAN_IN = 8
# Stages that are waited for at once.
_N_WAITING = 4
# Bytes that are sent with one task; Dask warns of 10 MB.
_PIECE = 4_000_000


@dataclass(frozen=True)
class Column:
    """One future, or a value of a few bytes, for each partition of the table."""

    parts: list[Any]


@dataclass(frozen=True)
class _Refused:
    """An error in the rows of a step, raised where the result is fetched.

    If a task raised it, each worker would log the traceback of the caller's mistake.
    """

    error: Exception


class Partitions(Executor):
    """Rows in partitions: handles are columns, and futures of values on the workers.

    `lengths` holds the number of rows of each partition, none of them 0.
    """

    def __init__(self, client: Any, lengths: list[int]) -> None:
        self.client = client
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths

    def map(self, function: Callable[..., Any], *arguments: Any) -> Column:
        """Compute a new column, a partition at a time."""
        places = [i for i, value in enumerate(arguments) if isinstance(value, Column)]
        parts = self.client.map(
            _call_on_part,
            *(arguments[i].parts for i in places),
            function=function,
            places=places,
            constants=[None if i in places else v for i, v in enumerate(arguments)],
            key=_name_task(function),
            pure=False,
        )
        return Column(parts)

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
                self._submit(_combine, combine, *parts[i : i + _FAN_IN])
                for i in range(0, len(parts), _FAN_IN)
            ]
        return parts[0]

    def apply(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._submit(function, *arguments)

    def share(self, value: Any) -> Any:
        """Send a constant of any size, in pieces that the scheduler can send again.

        Scattered data cannot be made again: it would be lost with its worker.
        """
        data = pickle.dumps(value)
        pieces = [data[i : i + _PIECE] for i in range(0, len(data), _PIECE)]
        return self._submit(_unpack, *(self._submit(bytes, p) for p in pieces))

    def get(self, value: Any) -> Any:
        return fetch(self.client, [value])[0]

    def count(self, column: Column) -> int:
        return int(self.ends[-1])

    def take(self, column: Column, rows: np.ndarray) -> np.ndarray:
        """Fetch some rows by their numbers, in this order."""
        which = np.searchsorted(self.ends, rows, side="right")
        places = [np.flatnonzero(which == part) for part in np.unique(which)]
        taken = [
            self._submit(getitem, column.parts[which[at[0]]], rows[at] - start)
            for at, start in zip(places, self.starts[np.unique(which)], strict=True)
        ]
        found = np.concatenate(fetch(self.client, taken))
        return found[np.argsort(np.concatenate(places))]

    def number_rows(self, column: Column) -> Column:
        return self.map(_number_rows, column, Column(self.starts.tolist()))

    def split(self, values: np.ndarray, column: Column) -> Column:
        slim = values
        if values.dtype.kind in "iu":
            slim = values.astype(np.min_scalar_type(values.max()))
        ends = zip(self.starts, self.ends, strict=True)
        return Column([self._submit(np.array, slim[slice(*part)]) for part in ends])

    def count_threads(self, n_jobs: int | None) -> int:
        """Threads for what need not be done one after the other: they only wait."""
        return _N_WAITING

    def gather(
        self, column: Column, join: Callable[[list[Any]], Any] = np.concatenate
    ) -> Any:
        return join(fetch(self.client, column.parts))

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        key = f"{_name_task(function)}-{uuid4().hex}"
        return self.client.submit(
            _call_unless_refused, function, *arguments, key=key, pure=False
        )

    def as_array(self, column: Column, width: int) -> Any:
        """Make a Dask array of a column of numbers."""
        import dask
        import dask.array as da

        lengths = (self.ends - self.starts).tolist()
        parts = [
            da.from_delayed(dask.delayed(part), (length, width), np.float64)
            for part, length in zip(column.parts, lengths, strict=True)
        ]
        return da.concatenate(parts)


def fetch(client: Any, futures: list[Any]) -> list[Any]:
    """Fetch results; a ``RuntimeError`` if the cluster has lost them or its workers."""
    from distributed import CancelledError, KilledWorker

    try:
        results: list[Any] = _wait_for(client, futures)
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
    for result in results:
        if isinstance(result, _Refused):
            raise result.error
    return results


def _wait_for(client: Any, futures: list[Any]) -> Any:
    # On the client's own loop: `gather` itself has no time limit, and one that is
    # cancelled may take along those of other threads.
    gathering = asyncio.run_coroutine_threadsafe(
        client.gather(futures, asynchronous=True), client.loop.asyncio_loop
    )
    alone_since = None
    while not wait([gathering], _LOOK).done:
        if client.nthreads():
            alone_since = None
            continue
        alone_since = alone_since or time.monotonic()
        if time.monotonic() - alone_since > _PATIENCE:
            gathering.cancel()
            raise RuntimeError(
                "the fit was given up: the cluster was without workers for "
                f"{_PATIENCE:g} seconds. Start workers, or restart the cluster with "
                "client.restart(), and fit again."
            )
    return gathering.result()


def _call_on_part(
    *parts: Any, function: Callable[..., Any], places: list[int], constants: list[Any]
) -> Any:
    """Call a function on a partition: columns in their places among the arguments."""
    arguments = list(constants)
    for place, part in zip(places, parts, strict=True):
        arguments[place] = part
    return _call_unless_refused(function, *arguments)


def _call_unless_refused(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function, unless an argument was refused."""
    for argument in arguments:
        if isinstance(argument, _Refused):
            return argument
    try:
        # One thread of BLAS and of k-means: sums in another order are another fit.
        with single_threaded():
            return function(*arguments)
    except (TypeError, ValueError) as error:
        _logger.debug("%s was refused its rows", _name_task(function), exc_info=True)
        return _Refused(error.with_traceback(None))


def _unpack(*pieces: bytes) -> Any:
    return pickle.loads(b"".join(pieces))


def _combine(combine: Callable[[Any, Any], Any], *values: Any) -> Any:
    return reduce(combine, values)


def _number_rows(part: np.ndarray, start: int) -> np.ndarray:
    return np.arange(start, start + len(part))


def _name_task(function: Callable[..., Any]) -> str:
    """Name the tasks as the dashboard shows them."""
    return "skroute-" + getattr(function, "__name__", "step").strip("_")

"""LambdaRank trained where the queries are, through ``lightgbm.dask``."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
from lightgbm import Booster
from lightgbm.basic import LightGBMError
from lightgbm.dask import DaskLGBMRanker

from skroute.boosting import PairRanker, RankTable

__all__ = ["train_on_cluster"]

_logger = logging.getLogger(__name__)

# Trainings that are begun, where workers are lost on the way.
_ATTEMPTS = 3
# Seconds between looks at the workers, and for the others to notice that one is gone.
_LOOK = 0.5
_GRACE = 30.0
# Seconds in which the threads of a worker meet.
_MEETING = 5.0
# What LightGBM says when it does not reach another worker.
_LINKS = re.compile(r"socket|\bports?\b|connect|linkers", re.IGNORECASE)
# How the keys begin of what is submitted for a training: by us, and by lightgbm.dask.
_BEGUN = ("pairs-", "_shapes-", "dict-", "_train_part-")

_WAITS = (
    "LightGBM still waits for the lost on other workers. Restart the cluster with "
    "client.restart(), and fit again."
)

_lock = threading.Lock()
_meetings: dict[str, threading.Barrier] = {}


class _Ranker(DaskLGBMRanker):
    """Without the parameter of which lightgbm.dask warns that it is ignored."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        params: dict[str, Any] = super().get_params(deep)
        params.pop("n_jobs", None)
        return params


class _LinkLostError(Exception):
    """A worker left the cluster while it trained, or others did not reach it."""


def train_on_cluster(
    client: Any,
    tables: list[Any],
    gains: np.ndarray,
    *,
    n_estimators: int,
    seed: int,
    n_threads: int,
    params: dict[str, Any],
) -> PairRanker:
    """Train on the observed pairs of the queries of every partition.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    tables : list of futures of RankTable
        The queries.
    gains : ndarray of shape (n_labels,)
        Gain of each label.
    n_estimators : int
        Boosting rounds.
    seed : int
        Seed of the column sampling.
    n_threads : int
        Ignored: training takes the threads of the workers.
    params : dict
        Further LightGBM parameters.

    Returns
    -------
    PairRanker
        The trained model.

    Raises
    ------
    RuntimeError
        If workers are lost again and again, or the others wait for one that is.
    """
    ranker = _Ranker(
        client=client,
        n_estimators=n_estimators,
        random_state=seed,
        label_gain=gains.tolist(),
        deterministic=True,
        force_col_wise=True,
        verbosity=-1,
        **params,
    )
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _fit(client, ranker, tables)
        except _LinkLostError as error:
            _unlink(client)
            if attempt == _ATTEMPTS:
                raise RuntimeError(
                    f"the fit was given up: each of {_ATTEMPTS} trainings of the "
                    f"ranker failed ({error}). If workers died, they may lack memory: "
                    "make the partitions smaller or the workers larger. If they did "
                    "not, they cannot reach each other: LightGBM needs open ports "
                    "between them."
                ) from error
            _logger.warning("%s; training again", error)
        else:
            break
    return PairRanker(ranker.booster_.model_to_string())


def _fit(client: Any, ranker: _Ranker, tables: list[Any]) -> None:
    """Train in a thread, and look after the workers meanwhile."""
    workers = set(client.nthreads())
    before = set(client.futures)
    outcome: list[BaseException | None] = []

    def train() -> None:
        try:
            data = _arrays(client, tables)
            with _quiet(), client.as_current():
                ranker.fit(data.pop("data"), data.pop("label"), **data)
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    # A thread that is given up must not keep Python from ending.
    thread = threading.Thread(target=train, name="skroute-lightgbm", daemon=True)
    thread.start()
    lost_at = None
    while thread.is_alive():
        thread.join(_LOOK)
        lost = workers - set(client.nthreads())
        if not lost or not thread.is_alive():
            continue
        lost_at = lost_at or time.monotonic()
        if time.monotonic() - lost_at > _GRACE:
            _cancel(client, before)
            # It notices, and puts back what it changed for its time.
            thread.join(_GRACE)
            raise RuntimeError(
                f"the fit was given up: the workers {_listed(lost)} were lost while "
                f"the ranker was trained, and {_WAITS}"
            )
    error = outcome[0]
    if error is None:
        return
    lost = workers - set(client.nthreads())
    if lost:
        raise _LinkLostError(
            f"the workers {_listed(lost)} were lost while the ranker was trained "
            f"({error})"
        ) from error
    if isinstance(error, LightGBMError) and _LINKS.search(str(error)):
        # The survivors may tell of a lost worker before the scheduler knows.
        raise _LinkLostError(
            f"the workers lost each other while the ranker was trained ({error})"
        ) from error
    raise error


def _unlink(client: Any) -> None:
    """Make the workers forget the links of a training that failed.

    LightGBM frees them only at the end of one that did not, and a later training on the
    same thread would use them, were it alone.
    """
    key = uuid4().hex
    begun = {
        client.submit(_free, key, n, workers=[worker], pure=False): worker
        for worker, n in client.nthreads().items()
        for _ in range(n)
    }
    since = time.monotonic()
    while True:
        workers = set(client.nthreads())
        waiting = [
            f for f, worker in begun.items() if worker in workers and not f.done()
        ]
        if not waiting:
            return
        if time.monotonic() - since > _GRACE:
            client.cancel(list(begun), force=True)
            raise RuntimeError(
                f"the fit was given up: a training of the ranker failed, and {_WAITS}"
            )
        time.sleep(_LOOK / 10)


def _free(key: str, n_threads: int) -> None:
    """Free the links of one thread of a worker: of each, as they meet."""
    with _lock:
        meeting = _meetings.setdefault(key, threading.Barrier(n_threads))
    # Where others use a thread, not all meet, and those that come later do not wait.
    with contextlib.suppress(threading.BrokenBarrierError):
        meeting.wait(_MEETING)
        _meetings.pop(key, None)
    # The links are the thread's, and of no booster.
    Booster.free_network(SimpleNamespace())


def _listed(workers: set[str]) -> str:
    return ", ".join(sorted(workers))


def _arrays(client: Any, tables: list[Any]) -> dict[str, Any]:
    """Dask arrays of the pairs that were run: whole queries in every chunk."""
    import dask
    import dask.array as da

    workers = sorted(client.nthreads())
    # In turns: which worker trains on what does not depend on chance, and all do.
    pairs = [
        client.submit(
            RankTable.pairs,
            table,
            workers=[workers[i % len(workers)]],
            allow_other_workers=True,
            pure=False,
        )
        for i, table in enumerate(tables)
    ]
    shapes = client.gather(client.map(_shapes, pairs, pure=False))
    arrays: dict[str, list[Any]] = {}
    for part, shape in zip(pairs, shapes, strict=True):
        if not shape["label"][0][0]:
            continue
        for name, (size, dtype) in shape.items():
            value = dask.delayed(dict.__getitem__)(part, name)
            arrays.setdefault(name, []).append(
                da.from_delayed(value, shape=size, dtype=dtype)
            )
    return {name: da.concatenate(chunks) for name, chunks in arrays.items()}


def _shapes(pairs: dict[str, np.ndarray]) -> dict[str, tuple[Any, Any]]:
    return {name: (array.shape, array.dtype) for name, array in pairs.items()}


def _cancel(client: Any, before: set[Any]) -> None:
    """Take back what was begun for a training, so that nothing waits for it."""
    from distributed import Future

    begun = set(client.futures) - before
    ours = [key for key in begun if str(key).startswith(_BEGUN)]
    client.cancel([Future(key, client) for key in ours], force=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what this thread prints: lightgbm.dask says that it looks for ports."""
    shown = sys.stdout

    class Others(io.TextIOBase):
        def write(self, text: str) -> int:
            if threading.get_ident() != here:
                return shown.write(text)
            return len(text)

        def flush(self) -> None:
            shown.flush()

    here = threading.get_ident()
    with contextlib.redirect_stdout(Others()):
        yield

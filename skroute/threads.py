"""One thread of BLAS and OpenMP for a while, also where fits run side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits  # scikit-learn depends on it

__all__ = ["single_threaded"]

_lock = threading.Lock()
_inside = 0
_owner: ThreadPoolExecutor | None = None
_limits: threadpool_limits | None = None


@contextmanager
def single_threaded() -> Iterator[None]:
    """Sum in one order: results do not depend on the number of cores.

    OpenMP's limit belongs to a thread, and BLAS's to the process. Of blocks that
    overlap in several threads the first sets the latter, and the last lifts it. Both
    are done by a thread of our own, because threadpoolctl lets one thread at a time
    govern BLAS, and the first to enter need not be the last to leave.
    """
    _enter()
    try:
        with threadpool_limits(1, user_api="openmp"):
            yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _owner, _limits
    with _lock:
        if _inside == 0:
            _owner = ThreadPoolExecutor(1, thread_name_prefix="skroute-blas")
            _limits = _owner.submit(_limit).result()
        _inside += 1


def _leave() -> None:
    global _inside, _owner, _limits
    with _lock:
        _inside -= 1
        if _inside == 0 and _owner is not None and _limits is not None:
            _owner.submit(_limits.__exit__, None, None, None).result()
            _owner.shutdown()
            _owner = _limits = None


def _limit() -> threadpool_limits:
    return threadpool_limits(1, user_api="blas").__enter__()

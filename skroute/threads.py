"""One thread of BLAS and OpenMP for a while, also where fits run side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits  # scikit-learn depends on it

__all__ = ["single_threaded"]

_lock = threading.Lock()
_inside = 0
_limits: threadpool_limits | None = None


@contextmanager
def single_threaded() -> Iterator[None]:
    """Sum in one order: results do not depend on the number of cores.

    The limit belongs to the process. Of blocks that overlap in several threads the
    first sets it, and the last lifts it.
    """
    global _inside, _limits
    with _lock:
        if _inside == 0:
            _limits = threadpool_limits(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _limits is not None:
                _limits.restore_original_limits()
                _limits = None

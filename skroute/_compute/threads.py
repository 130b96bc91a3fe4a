"""Thread helpers: honour `n_jobs` and avoid oversubscription."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs
from threadpoolctl import ThreadpoolController  # of scikit-learn

from skroute._compute.locks import call_in_forked_children, get_lock

_inside = 0
_owner: ThreadPoolExecutor | None = None
_limits: Any = None
# The libraries that were found, and how many modules were loaded then.
_found: tuple[ThreadpoolController, int] | None = None


def run_in_threads(
    function: Callable[[Any], Any], items: Iterable[Any], n_jobs: int | None
) -> list[Any]:
    """Call a function on every item, in threads of joblib; results are in order.

    The function should spend its time in NumPy, SciPy or LightGBM, which let other
    threads run. BLAS has one thread in each of them, and is not limited in a single
    one.
    """
    items = list(items)
    # For a single query, counting the cores would be a tenth of the work.
    if len(items) <= 1 or effective_n_jobs(n_jobs) <= 1:
        return [function(item) for item in items]
    with single_threaded():
        return Parallel(n_jobs=n_jobs, require="sharedmem")(
            delayed(function)(item) for item in items
        )


def count_openmp_threads(n_jobs: int | None) -> int:
    """Threads for a library that makes its own: never more than OpenMP is allowed.

    In a worker of joblib that is the worker's share of the cores. OpenMP's threads wait
    without sleeping, so one thread more than there are cores is many times slower.
    """
    allowed = [
        library["num_threads"]
        for library in _find_libraries().info()
        if library["user_api"] == "openmp"
    ]
    return int(min([effective_n_jobs(n_jobs), *allowed]))


@contextmanager
def single_threaded() -> Iterator[None]:
    """Sum in one order: results do not depend on the number of cores.

    OpenMP's limit belongs to a thread, and BLAS's to the process. Of blocks that
    overlap in several threads the first sets the latter, and the last lifts it. A
    thread of our own does both, because threadpoolctl lets only one thread change the
    limit of BLAS, and the first block to begin need not be the last to end.
    """
    _enter()
    try:
        with _find_libraries().limit(limits=1, user_api="openmp"):
            yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _owner, _limits
    # The count of blocks and the limit change together.
    with get_lock(single_threaded):
        if _inside == 0:
            _owner = ThreadPoolExecutor(1, thread_name_prefix="skroute-blas")
            if _limits is None:
                _limits = _owner.submit(_limit).result()
        _inside += 1


def _leave() -> None:
    global _inside, _owner, _limits
    with get_lock(single_threaded):
        _inside = max(_inside - 1, 0)
        if _inside == 0 and _owner is not None and _limits is not None:
            _owner.submit(_limits.__exit__, None, None, None).result()
            _owner.shutdown()
            _owner = _limits = None


def _forget_parent() -> None:
    """Leave the blocks of a parent's threads, which do not exist in a forked child.

    Their limit of BLAS was inherited; the first block of the child takes it over.
    """
    global _inside, _owner
    _inside, _owner = 0, None


call_in_forked_children(_forget_parent)


def _limit() -> Any:
    return _find_libraries().limit(limits=1, user_api="blas").__enter__()


def _find_libraries() -> ThreadpoolController:
    """Find the libraries that have threads, again if modules were imported since.

    Looking takes longer than a step of a fit on a small part of a table.
    """
    global _found
    n_modules = len(sys.modules)
    if _found is None or _found[1] != n_modules:
        _found = ThreadpoolController(), n_modules
    return _found[0]

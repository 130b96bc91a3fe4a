"""The machine that measured: processors, memory, versions, and what a process uses.

Shared by the benchmarks.
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from joblib import cpu_count

__all__ = ["described", "fresh", "one_core", "peak_memory"]

_PACKAGES = ("numpy", "scipy", "scikit-learn", "lightgbm", "joblib", "torch")
_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def described() -> dict[str, Any]:
    """Describe the machine, as far as it can be told."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": cpu_count(),
        "memory_gib": round(_kib("/proc/meminfo", "MemTotal") / 2**20, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def fresh(
    function: Callable[..., Any], *arguments: Any, threads: int | None = None
) -> Any:
    """Call in a process of its own: its peak memory and its threads are no other's.

    Parameters
    ----------
    function : callable
        Of a module, so that the process finds it.
    *arguments
        Its arguments.
    threads : int, default=None
        Threads that BLAS and OpenMP may use in it; ``None`` is not said to them.
    """
    before = {name: os.environ.pop(name, None) for name in _LIMITS}
    if threads is not None:
        os.environ.update(dict.fromkeys(_LIMITS, str(threads)))
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *arguments).result()
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def one_core() -> None:
    """Keep this process on one processor, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def peak_memory() -> float:
    """Largest memory of this process so far, in MiB."""
    kib = _kib("/proc/self/status", "VmHWM")
    if not kib:
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kib /= 1024 if sys.platform == "darwin" else 1
    return kib / 1024


def _kib(path: str, name: str) -> int:
    return int((_field(path, name) or "0").split()[0])


def _field(path: str, name: str) -> str | None:
    """Value of the first line ``name : value`` of a file, if there is one."""
    file = Path(path)
    if file.exists():
        for line in file.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return None

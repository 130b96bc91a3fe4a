"""Locks of objects, which neither travel with them nor outlive a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

# Reentrant, because collecting garbage may ask for another lock meanwhile.
_lock = threading.RLock()
_locks: WeakValueDictionary[int, Any] = WeakValueDictionary()


def get_lock(owner: Any) -> Any:
    """Give the lock of an object: the same for all threads, while anybody uses it.

    It is no attribute of the object, so copies and pickles need not leave it out. The
    thread that holds it may take it again. A forked child finds all locks open: the
    threads that held them do not exist there, and would never release them.
    """
    with _lock:
        lock = _locks.get(id(owner))
        if lock is None:
            lock = _locks[id(owner)] = threading.RLock()
        return lock


def call_in_forked_children(function: Callable[[], None]) -> None:
    """Call a function first of all in every child process that is forked."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=function)


def _open_all() -> None:
    global _lock, _locks
    _lock, _locks = threading.RLock(), WeakValueDictionary()


call_in_forked_children(_open_all)

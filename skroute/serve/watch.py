"""The router in service: loaded anew when its file is replaced."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from skroute.serve.saved import SavedRouter, load

logger = logging.getLogger("skroute.serve")


class WatchedRouter:
    """What a file holds, or held before it was replaced by something that fails.

    Parameters
    ----------
    file : Path
        The router's file.
    prepare : callable
        Called with what the file holds before that is put into service; returns what
        serves, and raises ``ValueError`` where the service cannot use it.
    count : callable, default=None
        Called with ``"loaded"`` or ``"refused"`` at each reload.
    """

    _stamp: tuple[int, ...] | None

    def __init__(
        self,
        file: Path,
        prepare: Callable[[SavedRouter], SavedRouter],
        count: Callable[[str], None] | None = None,
    ) -> None:
        self._file = file
        self._prepare = prepare
        self._count = count
        self._lock = threading.Lock()
        # Before it is read: a file that is replaced meanwhile is read again.
        self._stamp = self._look() if file.is_file() else None
        self.current = self._load()
        self.loaded_at = datetime.now(UTC)
        self.error: str | None = None

    def reload(self) -> bool:
        """Load the file if it was replaced; tells whether another router serves.

        Requests that come meanwhile are answered by the old router.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return self._reload()
        finally:
            self._lock.release()

    def _reload(self) -> bool:
        try:
            stamp = self._look()
        except OSError as error:
            self._refuse(None, error)
            return False
        if stamp == self._stamp:
            return False
        try:
            self.current = self._load()
        except Exception as error:
            # Whatever is wrong with the file, what serves goes on.
            self._refuse(stamp, error)
            return False
        self._stamp, self.error = stamp, None
        self.loaded_at = datetime.now(UTC)
        logger.info("%s was replaced, and is in service", self._file)
        if self._count is not None:
            self._count("loaded")
        return True

    def _refuse(self, stamp: tuple[int, ...] | None, error: Exception) -> None:
        """Keep the old router, and say once why."""
        reason = str(error)
        if stamp is None and self._stamp is None and self.error == reason:
            return
        self._stamp, self.error = stamp, reason
        logger.error("the router in service stays, because %s", reason)
        if self._count is not None:
            self._count("refused")

    def _load(self) -> SavedRouter:
        return self._prepare(load(self._file))

    def _look(self) -> tuple[int, ...]:
        status = self._file.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size

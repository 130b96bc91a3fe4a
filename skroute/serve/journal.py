"""The log of a service: a JSON line for each call, which `read_table` reads."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

logger = logging.getLogger("skroute.serve")


def name_query() -> str:
    """Make a name that tells queries apart."""
    return uuid4().hex


class Journal:
    """Appends rows to a file; one that cannot be written stops no request.

    The file is opened for each row, so that it can be moved away while it is written.

    Parameters
    ----------
    file : Path or None
        Where rows are appended; None drops them.
    on_failure : callable, default=None
        Called where a row is lost.
    """

    def __init__(
        self, file: Path | None, on_failure: Callable[[], Any] | None = None
    ) -> None:
        self._file = file
        self._on_failure = on_failure
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return self._file is not None

    def check(self) -> None:
        """Raise ``OSError`` unless rows can be appended."""
        if self._file is not None:
            with self._file.open("ab"):
                pass

    def write(self, *rows: Mapping[str, Any]) -> None:
        """Append rows, with the time; what is not known is null."""
        if self._file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = [_write_line({"time": now, **row}) for row in rows]
        try:
            with self._lock, self._file.open("ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            logger.error("a row of the log is lost: %s", error)
            if self._on_failure is not None:
                self._on_failure()


def _write_line(row: Mapping[str, Any]) -> bytes:
    known = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    return f"{json.dumps(known, ensure_ascii=False)}\n".encode("utf-8", "replace")

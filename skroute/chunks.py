"""Rows by the thousand: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["chunks"]

# Rows at once where nobody says otherwise.
_CHUNK = 4096


def chunks(n_rows: int, size: int = _CHUNK) -> Iterator[slice]:
    """Slices that cover the rows."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))

"""Chunks of rows, so that the memory of a step does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["chunks", "sample_evenly"]

# Default number of rows at once.
_CHUNK = 4096


def chunks(n_rows: int, size: int = _CHUNK) -> Iterator[slice]:
    """Slices that cover the rows."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def sample_evenly(n_rows: int, most: int) -> np.ndarray:
    """Positions of at most `most` of the rows, at even distances."""
    return np.linspace(0, n_rows - 1, min(n_rows, most)).round().astype(int)

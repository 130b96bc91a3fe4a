"""Arrays of numbers in numpy's .npy format, without pickles or surprises in size."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import IO

import numpy as np

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# Longest axes of empty arrays: what is computed from one may be as long.
_LONGEST_EMPTY = 1 << 14


def read_npy(file: Path) -> np.ndarray:
    """Read a file of numbers, as :func:`numpy.save` writes it."""
    with file.open("rb") as stream:
        return read_array(stream, os.fstat(stream.fileno()).st_size)


def read_array(stream: IO[bytes], size: int) -> np.ndarray:
    """Read an array from a stream of `size` bytes that holds nothing else.

    A shape is believed, and given room, only where the numbers are there. Anything but
    numbers, and not as many of them as the header says, is a ``ValueError``.
    """
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except OSError:
        raise
    except Exception as error:
        # numpy parses the header as Python, so a crafted one raises any exception.
        raise ValueError(f"it has no header of an array ({error!r})") from None
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"it holds {dtype}, not numbers")
    left, n_numbers = size - stream.tell(), math.prod(shape)
    if min(shape, default=0) < 0 or n_numbers * dtype.itemsize != left:
        raise ValueError(f"it does not hold the numbers of its shape, {shape}")
    if not n_numbers and math.prod(max(n, 1) for n in shape) > _LONGEST_EMPTY:
        raise ValueError("it is empty, but has an axis that is too long")
    numbers = np.empty(n_numbers, dtype)
    if stream.readinto(numbers.view(np.uint8)) != left:  # type: ignore[attr-defined]
        raise ValueError("it ended before its last number")
    return numbers.reshape(shape, order="F" if fortran else "C")

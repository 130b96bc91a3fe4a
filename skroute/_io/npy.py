"""Arrays of numbers from .npy files, without pickles and without surprises in size."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

__all__ = ["read_npy"]

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(file: Path) -> np.ndarray:
    """Read an array of numbers as :func:`numpy.save` writes it.

    Parameters
    ----------
    file : Path
        The file.

    Returns
    -------
    ndarray
        The numbers; they take as much memory as the file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it holds anything else, or not as many numbers as it says.
    """
    with file.open("rb") as stream:
        try:
            shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        except OSError:
            raise
        except Exception as error:
            # A crafted header fails in the ways of Python's parser.
            raise ValueError(f"it has no header of an array ({error!r})") from None
        left = os.fstat(stream.fileno()).st_size - stream.tell()
        if dtype.kind not in "biuf":
            raise ValueError(f"it holds {dtype}, not numbers")
        # A shape is believed, and given room, only where the numbers are there.
        if math.prod(shape) * dtype.itemsize != left:
            raise ValueError(f"it does not hold the numbers of its shape, {shape}")
        numbers = np.fromfile(stream, dtype, math.prod(shape))
    return numbers.reshape(shape, order="F" if fortran else "C")

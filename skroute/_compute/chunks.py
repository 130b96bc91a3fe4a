"""Chunks and samples of rows, and their products with a matrix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Default number of rows at once: memory does not grow with the number of all.
_CHUNK = 4096
# OpenBLAS computes the product of a smaller matrix and a vector in one thread, in every
# version that NumPy 1.26 and later come with.
_IN_ONE_THREAD = 9216


def chunks(n_rows: int, size: int = _CHUNK) -> Iterator[slice]:
    """Slices that cover the rows."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def sample_evenly(n_rows: int, most: int) -> np.ndarray:
    """Positions of at most `most` of the rows, at even distances."""
    return np.linspace(0, n_rows - 1, min(n_rows, most)).round().astype(int)


def multiply(
    queries: np.ndarray, matrix: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Compute ``queries @ matrix.T``, of shape (n_queries, n_outputs).

    BLAS splits a product between its threads once the matrix is large enough. A single
    query is computed by the thread that asks: waking another takes longer than the
    product itself, and far longer where other work has the core.
    """
    n_outputs, width = matrix.shape
    if len(queries) != 1 or matrix.size < _IN_ONE_THREAD:
        return np.matmul(queries, matrix.T, out=out)
    # A stack of single rows: one dot product for each.
    stack = matrix[:, None, :], queries.reshape(width, 1)
    if out is not None:
        out = out.reshape(n_outputs, 1, 1)
    return np.matmul(*stack, out=out).reshape(1, n_outputs)

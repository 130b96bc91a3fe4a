"""Products of queries with a matrix; of one query, by the thread that asks for it.

BLAS splits a product between its threads once the matrix is large enough. For a single
query, waking a thread takes longer than the product itself, and far longer where other
work has the core.
"""

from __future__ import annotations

import numpy as np

__all__ = ["multiply"]

# OpenBLAS computes the product of a smaller matrix and a vector in one thread, in every
# version that NumPy 1.26 and later come with.
_IN_ONE_THREAD = 9216


def multiply(
    queries: np.ndarray, matrix: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Compute ``queries @ matrix.T``.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, width)
        A row for each query.
    matrix : ndarray of shape (n_outputs, width)
        A row for each output; it is fast where these are contiguous.
    out : ndarray of shape (n_queries, n_outputs), default=None
        Where the product goes, if it exists already; contiguous.

    Returns
    -------
    ndarray of shape (n_queries, n_outputs)
        The product.
    """
    n_outputs, width = matrix.shape
    if len(queries) != 1 or matrix.size < _IN_ONE_THREAD:
        return np.matmul(queries, matrix.T, out=out)
    # A stack of single rows: one dot product for each.
    stack = matrix[:, None, :], queries.reshape(width, 1)
    if out is not None:
        out = out.reshape(n_outputs, 1, 1)
    return np.matmul(*stack, out=out).reshape(1, n_outputs)

"""Products of one query with a matrix, computed by the thread that asks for them.

BLAS splits a product between its threads once the matrix is large enough. For a single
query, waking a thread takes longer than the product itself, and far longer where other
work has the core.
"""

from __future__ import annotations

import numpy as np

__all__ = ["multiply_row", "multiply_vector"]

# OpenBLAS computes the product of a smaller matrix and a vector in one thread, in every
# version that NumPy 1.26 and later come with.
_IN_ONE_THREAD = 9216


def multiply_vector(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Compute ``matrix @ vector`` for a matrix whose rows are contiguous.

    Parameters
    ----------
    matrix : ndarray of shape (n_outputs, width)
        A row for each output.
    vector : ndarray of shape (width,)
        The query.

    Returns
    -------
    ndarray of shape (n_outputs,)
        The product.
    """
    if matrix.size < _IN_ONE_THREAD:
        return matrix @ vector
    # A stack of single rows: one dot product for each.
    return (matrix[:, None, :] @ vector[:, None])[:, 0, 0]


def multiply_row(row: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Compute ``row @ matrix``.

    Parameters
    ----------
    row : ndarray of shape (1, width)
        The query.
    matrix : ndarray of shape (width, n_outputs)
        A column for each output; its rows are contiguous.

    Returns
    -------
    ndarray of shape (1, n_outputs)
        The product.
    """
    width, n_outputs = matrix.shape
    at_once = max(1, (_IN_ONE_THREAD - 1) // n_outputs)
    if width <= at_once:
        return row @ matrix
    n_blocks = width // at_once
    whole = n_blocks * at_once
    blocks = matrix[:whole].reshape(n_blocks, at_once, n_outputs)
    product = (row[0, :whole].reshape(n_blocks, 1, at_once) @ blocks).sum(axis=0)
    return product + row[:, whole:] @ matrix[whole:]

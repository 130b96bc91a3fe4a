"""Embeddings beside a table: an array, a file, or a column of the table itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from skroute.arrays import read_npy
from skroute.datasets._bunch import as_path, is_missing
from skroute.datasets._nested import find_values

__all__ = ["read_column", "read_embeddings"]


def read_embeddings(
    embeddings: Any,
    found: Mapping[str, np.ndarray],
    row: np.ndarray,
    n_queries: int,
    source: str,
    *,
    by_row: bool,
) -> np.ndarray | None:
    """Read the embeddings of the queries of a table.

    Parameters
    ----------
    embeddings : str, path-like, array-like of shape (n, n_features), or None
        A column of vectors, a .npy file, or the vectors.
    found : mapping of str to ndarray of shape (n_rows,)
        The columns of the table.
    row : ndarray of shape (n_rows,)
        The query of each row.
    n_queries : int
        Number of queries.
    source : str
        How errors call the table.
    by_row : bool
        Whether an array has a vector for each row; otherwise, for each query.

    Returns
    -------
    ndarray of shape (n_queries, n_features) or None
        Finite vectors, at least float32: of each query the first that it has.

    Raises
    ------
    FileNotFoundError
        If a name is neither that of a column nor of a file.
    ValueError
        If a vector is missing, of another length, or not finite.
    """
    if embeddings is None:
        return None
    if isinstance(embeddings, str):
        cells = find_values(found, embeddings)
        if cells is not None:
            return _check(read_column(embeddings, cells, row, n_queries), n_queries)
    if isinstance(embeddings, str | os.PathLike):
        embeddings = _read_file(embeddings, source)
    if not by_row:
        return _check(embeddings, n_queries)
    first = np.full(n_queries, len(row))
    np.minimum.at(first, row, np.arange(len(row)))
    return _check(embeddings, len(row))[first]


def read_column(
    name: str, cells: np.ndarray, row: np.ndarray, n_queries: int
) -> np.ndarray:
    """Stack the vectors of a column: lists, arrays, or texts of either.

    Parameters
    ----------
    name : str
        How errors call the column.
    cells : ndarray of shape (n_rows,)
        The vectors.
    row : ndarray of shape (n_rows,)
        The query of each row.
    n_queries : int
        Number of queries.

    Returns
    -------
    ndarray of shape (n_queries, n_features)
        The first vector of each query.

    Raises
    ------
    ValueError
        If a query has none, or one is not as long as the first.
    """
    vectors: list[np.ndarray | None] = [None] * n_queries
    for i, (query, cell) in enumerate(zip(row.tolist(), cells.tolist(), strict=True)):
        if vectors[query] is not None or _is_empty(cell):
            continue
        vectors[query] = vector = _read_vector(name, cell, i)
        expected = next(v for v in vectors if v is not None)
        if vector.shape != expected.shape:
            raise ValueError(
                f"column {name!r} must hold vectors of one length; row {i} has "
                f"{len(vector)} numbers where {len(expected)} are expected."
            )
    absent = next((q for q, vector in enumerate(vectors) if vector is None), None)
    if absent is not None:
        raise ValueError(
            f"column {name!r} has no vector for the query of row "
            f"{int((row == absent).argmax())}. Drop the row, or embed it."
        )
    return np.array(vectors)


def _is_empty(cell: Any) -> bool:
    return False if isinstance(cell, np.ndarray) else is_missing(cell)


def _read_vector(name: str, cell: Any, i: int) -> np.ndarray:
    """Read one vector; texts are those of JSON, or of printed arrays."""
    try:
        if isinstance(cell, str):
            cell = [float(v) for v in cell.strip("[] \n").replace(",", " ").split()]
        single = isinstance(cell, np.ndarray) and cell.dtype.itemsize <= 4
        vector = np.asarray(cell, dtype=np.float32 if single else np.float64)
    except (TypeError, ValueError):
        vector = np.empty((0, 0))
    if vector.ndim != 1 or not len(vector):
        raise ValueError(
            f"column {name!r} must hold vectors (lists of numbers, arrays, or JSON of "
            f"them); row {i} holds something else. Long arrays that to_csv wrote have "
            "lost their middle: save them by to_parquet or as JSON."
        )
    return vector


def _read_file(embeddings: str | os.PathLike[str], source: str) -> np.ndarray:
    file = as_path(embeddings, "embeddings")
    if not file.is_file():
        raise FileNotFoundError(
            f"embeddings {str(file)!r} is not a file, nor a column of {source}."
        )
    try:
        return read_npy(file)
    except ValueError as error:
        raise ValueError(
            f"embeddings {file.name!r} is not an array of numbers as numpy.save "
            f"writes it: {error}"
        ) from error


def _check(embeddings: Any, n_queries: int) -> np.ndarray:
    """Check the shape and the numbers of embeddings; at least float32."""
    table = np.asarray(embeddings)
    if table.ndim != 2 or len(table) != n_queries:
        raise ValueError(
            f"embeddings must have one row for each of the {n_queries} queries and two "
            f"axes; got shape {table.shape}."
        )
    if table.dtype.kind not in "biuf":
        raise ValueError(f"embeddings must be numbers; got dtype {table.dtype}.")
    single = table.dtype.kind == "f" and table.dtype.itemsize <= 4
    table = table.astype(np.float32 if single else np.float64, copy=False)
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"embeddings must be finite; row {int(finite.argmin())} is not."
        )
    return table

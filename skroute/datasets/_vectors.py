"""Embeddings beside a table: an array, a file, or a column of the table itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from skroute._io.npy import read_npy
from skroute._table.names import format_names
from skroute.datasets._columns import find_values, is_missing
from skroute.datasets._files import as_path
from skroute.datasets._raw import RawTable

# Vectors of one query that are further apart than this share of their length are not
# one prompt that an encoder embedded twice; see :mod:`skroute._table.duplicates`.
_NEAR = 0.015


def read_embeddings(
    table: RawTable,
    row: np.ndarray,
    *,
    by_row: bool,
    labels: Sequence[Any] | None = None,
) -> np.ndarray | None:
    """Read the embeddings of the queries of a table, at least float32.

    They are an array, a .npy file, or a column of the table. `row` (n_rows,) is the
    query of each row. An array has a vector for each row if `by_row`, otherwise for
    each query; the index of a DataFrame may hold the `labels` of these. Of each query
    the first vector counts. Vectors of one query that differ by more than an encoder's
    noise, and numbers that are not finite, are refused.
    """
    embeddings = table.options.embeddings
    if embeddings is None:
        return None
    queries, first = np.unique(row, return_index=True)
    if isinstance(embeddings, str):
        cells = find_values(table.found, embeddings)
        if cells is not None:
            names = None if by_row else labels
            vectors = _read_column(embeddings, cells, row, len(queries), names)
            return _check_vectors(vectors, len(queries))
    if isinstance(embeddings, str | os.PathLike):
        embeddings = _read_file(embeddings, table.source)
    embeddings = _put_in_order(embeddings, labels)
    if not by_row:
        return _check_vectors(embeddings, len(queries))
    vectors = _check_vectors(embeddings, len(row))
    for i in np.flatnonzero(first[row] != np.arange(len(row))).tolist():
        rows = int(first[row[i]]), i
        _check_agree("embeddings", vectors[rows[0]], vectors[i], rows)
    return vectors[first]


def _read_column(
    name: str,
    cells: np.ndarray,
    row: np.ndarray,
    n_queries: int,
    labels: Sequence[Any] | None,
) -> np.ndarray:
    """Stack the first vectors of each query; `labels` name the queries in errors."""
    # The vector of each query, and the row that it comes from.
    vectors: list[tuple[np.ndarray, int] | None] = [None] * n_queries
    length: int | None = None
    for i, (query, cell) in enumerate(zip(row.tolist(), cells.tolist(), strict=True)):
        if not isinstance(cell, np.ndarray) and is_missing(cell):
            continue
        vector = _read_vector(name, cell, i)
        length = length or len(vector)
        if len(vector) != length:
            raise ValueError(
                f"column {name!r} must hold vectors of one length; row {i} has "
                f"{len(vector)} numbers where {length} are expected."
            )
        earlier = vectors[query]
        if earlier is None:
            vectors[query] = vector, i
        else:
            whose = "one query" if labels is None else f"query {labels[query]!r}"
            rows = earlier[1], i
            _check_agree(f"column {name!r}", earlier[0], vector, rows, whose)
    absent = next((q for q, vector in enumerate(vectors) if vector is None), None)
    if absent is not None:
        raise ValueError(
            f"column {name!r} has no vector for the query of row "
            f"{int((row == absent).argmax())}. Drop the row, or embed it."
        )
    return np.array([vector for vector, _ in filter(None, vectors)])


def _put_in_order(embeddings: Any, labels: Sequence[Any] | None) -> Any:
    """Put the rows of a DataFrame in the order of the labels, where it has them.

    Labels that are numbers, or repeat, name no row: those go by position.
    """
    index: Any = getattr(embeddings, "index", None)
    if labels is None or not hasattr(index, "get_indexer"):
        return embeddings
    if not (_are_names(index.tolist()) and _are_names(labels)):
        return embeddings
    places = index.get_indexer(list(labels))
    absent = [name for name, i in zip(labels, places, strict=True) if i < 0]
    if len(absent) == len(labels):
        return embeddings
    if absent:
        raise ValueError(
            "embeddings has rows by the names of the queries, but none for "
            f"{format_names(absent)}. Add them, or give an array, row by row."
        )
    return embeddings.iloc[places]


def _are_names(labels: Sequence[Any]) -> bool:
    """Tell whether labels are texts that name one row each."""
    return all(isinstance(label, str) for label in labels) and (
        len(set(labels)) == len(labels)
    )


def _check_agree(
    where: str,
    earlier: np.ndarray,
    vector: np.ndarray,
    rows: tuple[int, int],
    whose: str = "one query",
) -> None:
    """Refuse two vectors of one query that are not one, but for noise."""
    apart = float(np.linalg.norm(vector - earlier))
    length = float(max(np.linalg.norm(vector), np.linalg.norm(earlier)))
    if apart > _NEAR * length:
        raise ValueError(
            f"{where} has different vectors for {whose}, in rows {rows[0]} and "
            f"{rows[1]}: they are {apart:.3g} apart and {length:.3g} long. Rows of one "
            "query must agree, or it is more than one query."
        )


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


def _check_vectors(embeddings: Any, n_queries: int) -> np.ndarray:
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

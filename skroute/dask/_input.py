"""Dask collections: checks of the tables that a router is fitted on."""

from __future__ import annotations

import sys
import warnings
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array

from skroute._optional import require
from skroute._table.names import (
    format_names,
    is_mismatch,
    make_default_names,
    model_names,
)
from skroute._table.outcomes import check_outcomes_of
from skroute._table.tables import (
    RoutingTable,
    check_quality,
    check_vectors,
    keep_table,
)
from skroute.dask._partitions import Column, Partitions, fetch
from skroute.exceptions import find_caller_level

_FLOATS = (np.float64, np.float32)
# A fit runs some 70 tasks for each partition, and the scheduler takes about a
# millisecond for each task.
_MANY_PARTITIONS = 2000


def is_collection(value: Any) -> bool:
    """Tell whether a value is a Dask collection; does not import Dask for it."""
    if "dask" not in sys.modules:
        return False
    from dask.base import is_dask_collection

    return bool(is_dask_collection(value))


def find_client(client: Any, user: str) -> Any:
    """Find the client to fit with: the one given, or the current one."""
    distributed = require("distributed", user, "dask")
    if client is None:
        try:
            client = distributed.default_client()
        except ValueError:
            raise ValueError(
                f"{user} needs a cluster, and found no client of one: start one with "
                "distributed.Client(), or give client=..."
            ) from None
    if client.asynchronous:
        raise ValueError(
            f"client={client!r} is asynchronous; {user} waits for results, and needs "
            "a client that was started with asynchronous=False."
        )
    return client


def check_partitioned_table(
    router: BaseEstimator,
    client: Any,
    X: Any,
    y: Any,
    costs: Any = None,
    outcome_weight: Any = None,
) -> tuple[RoutingTable, Partitions]:
    """Check what a router is fitted on, and set the attributes that follow from it.

    Returns handles of the checked columns, and where they are. Raises a ``TypeError``
    if a table is no Dask collection, and a ``ValueError`` if it is not as
    `RankingRouter.fit` wants it, or the tables are not partitioned alike.
    """
    given = {"costs": costs, "outcome_weight": outcome_weight}
    beside = {name: table for name, table in given.items() if table is not None}
    tables = {"X": X, "y": y, **beside}
    for name, table in tables.items():
        _check_collection(table, name)
    for name, table in beside.items():
        if table.shape[1] != y.shape[1]:
            raise ValueError(
                f"{name} must be per query, with a column for each of the "
                f"{y.shape[1]} models of y; got {table.shape[1]} columns."
            )
    columns, rows = _compute_partitions(client, tables)
    n_rows = Column((rows.ends - rows.starts).tolist())
    models = model_names(y)
    if models is None:
        models = make_default_names(y.shape[1])
    labelled = [name for name, table in tables.items() if hasattr(table, "columns")]
    quality = rows.map(
        _check_outcomes,
        columns["y"],
        n_rows,
        _list_announced_columns(y),
        labelled,
        *(columns[name] for name in labelled),
    )
    costs, weights = map(columns.get, given)
    outcomes = check_outcomes_of(router, models, quality, costs, weights, rows)
    # Widths and names of the features are those of every partition.
    head = rows.get(rows.apply(_take_head, columns["X"].parts[0]))
    check_vectors(router, head, reset=True)
    queries = rows.map(
        _check_embeddings, columns["X"], n_rows, _list_announced_columns(X)
    )
    return keep_table(router, models, queries, outcomes), rows


def _compute_partitions(
    client: Any, tables: dict[str, Any]
) -> tuple[dict[str, Column], Partitions]:
    """Compute tables of the same rows in each partition, and leave out empty ones."""
    queries = tables["X"]
    n_parts = len(list_partitions(queries))
    if n_parts > _MANY_PARTITIONS:
        warnings.warn(
            f"X has {n_parts:,} partitions, and a fit runs some 70 tasks for each of "
            "them: the scheduler will take longer than the workers. Use fewer and "
            "larger partitions, of some thousand to a hundred thousand queries.",
            stacklevel=find_caller_level(),
        )
    parts = {name: client.compute(list_partitions(tables[name])) for name in tables}
    lengths = {
        name: [int(size) for size in table.chunks[0]]
        if is_array(table)
        else fetch(client, client.map(len, parts[name], pure=False))
        for name, table in tables.items()
    }
    for name, found in lengths.items():
        if found != lengths["X"]:
            raise ValueError(
                f"{name} and X must have the same rows in each partition; {name} has "
                f"{format_names(found)}, X has {format_names(lengths['X'])}. "
                f"Use {name}.rechunk({{0: X.chunks[0]}}) of arrays, or repartition "
                "alike."
            )
    filled = [i for i, length in enumerate(lengths["X"]) if length]
    if not filled:
        raise ValueError("X has no rows: all its partitions are empty.")
    columns = {
        name: Column([futures[i] for i in filled]) for name, futures in parts.items()
    }
    return columns, Partitions(client, [lengths["X"][i] for i in filled])


def _check_collection(table: Any, name: str) -> None:
    if not is_collection(table) or not hasattr(table, "shape"):
        if name in ("X", "y"):
            way_out = "Tables in memory are fitted by skroute.RankingRouter."
        else:
            way_out = (
                "Prices per model belong in the constructor, tables in memory are "
                "fitted by skroute.RankingRouter."
            )
        raise TypeError(
            f"{name} must be a dask array or DataFrame; got "
            f"{type(table).__module__.split('.')[0]}.{type(table).__name__}. {way_out}"
        )
    if len(table.shape) != 2:
        raise ValueError(
            f"{name} must have two dimensions, a row for each query; got "
            f"{len(table.shape)}."
        )
    check_columns(table, name)
    if is_array(table) and np.isnan(table.shape[0]):
        raise ValueError(
            f"{name} has chunks of unknown sizes; call {name}.compute_chunk_sizes() "
            "first."
        )


def check_columns(table: Any, name: str) -> None:
    if is_array(table) and table.ndim == 2 and table.numblocks[1] > 1:
        raise ValueError(
            f"{name} must have all its columns in one chunk; got {table.numblocks[1]} "
            f"chunks of columns. Use {name}.rechunk({{1: -1}})."
        )


def is_array(table: Any) -> bool:
    return hasattr(table, "chunks")


def list_partitions(table: Any) -> list[Any]:
    """List the partitions, from the first row to the last."""
    parts = table.to_delayed()
    return list(parts.ravel()) if isinstance(parts, np.ndarray) else list(parts)


def _take_head(part: Any) -> Any:
    return part[:1]


def _list_announced_columns(table: Any) -> list[str] | int:
    """Give the columns that a collection announces: their names, or how many."""
    if hasattr(table, "columns"):
        return [str(column) for column in table.columns]
    return int(table.shape[1])


def _check_embeddings(part: Any, n_rows: int, announced: list[str] | int) -> np.ndarray:
    _check_part(part, "X", n_rows, announced)
    return np.asarray(check_array(part, dtype=_FLOATS, order="C", input_name="X"))


def _check_outcomes(
    part: Any, n_rows: int, announced: list[str] | int, names: list[str], *frames: Any
) -> np.ndarray:
    """Check the qualities of a partition, and that all its frames label the rows alike.

    `names` are what the arguments are called that `frames` are partitions of.
    """
    _check_part(part, "y", n_rows, announced)
    labels = zip(names, (frame.index for frame in frames), strict=True)
    for (one, known), (other, found) in combinations(labels, 2):
        if is_mismatch(known, found) or _is_shuffled(known, found):
            raise ValueError(
                f"{other} and {one} must have the same row labels in each partition: "
                f"{one} has {format_names(known, 3)}, {other} has "
                f"{format_names(found, 3)}. Rows are matched by position: put the "
                "frames in one order, or, if they are, give arrays, "
                ".to_dask_array(lengths=True)."
            )
    return check_quality(part)


def _is_shuffled(labels: Any, others: Any) -> bool:
    """Whether labels of a partition look like those of a frame in another order.

    A shuffled frame has only some of the labels in the same partition, so the rule for
    whole tables does not notice. Labels that pandas counts from 0 name no row.
    """
    if labels.equals(others) or not (labels.is_unique and others.is_unique):
        return False
    for index in (labels, others):
        if type(index).__name__ == "RangeIndex" and index[:1].tolist() == [0]:
            return False
    return bool(labels.isin(others).any())


def _check_part(part: Any, name: str, n_rows: int, announced: list[str] | int) -> None:
    """Check that a partition is what its collection says."""
    width = announced if isinstance(announced, int) else len(announced)
    if part.shape != (n_rows, width):
        raise ValueError(
            f"{name} has a partition of shape {part.shape}, where the collection "
            f"announces {(n_rows, width)}: its partitions must all have the same "
            "columns, and its chunks or meta must tell them."
        )
    found = _list_announced_columns(part)
    if not isinstance(announced, int) and found != announced:
        raise ValueError(
            f"{name} has a partition with the columns {format_names(found)}, and the "
            f"collection announces {format_names(announced)}: its partitions "
            "must all have the same columns in one order."
        )

"""Dask collections: checks of the tables that a router is fitted on."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array

from skroute.dask._partitions import Column, Partitions
from skroute.datasets._extras import require
from skroute.names import default_names, listed, model_names
from skroute.outcomes import check_outcomes_of
from skroute.validation import (
    RoutingTable,
    check_quality,
    check_vectors,
    settled_table,
)

__all__ = [
    "check_columns",
    "check_partitioned_table",
    "current_client",
    "is_array",
    "is_collection",
    "partitions",
]

_FLOATS = (np.float64, np.float32)


def is_collection(value: Any) -> bool:
    """Tell whether a value is a Dask collection; does not import Dask for it."""
    if "dask" not in sys.modules:
        return False
    from dask.base import is_dask_collection

    return bool(is_dask_collection(value))


def current_client(client: Any, user: str) -> Any:
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

    Parameters
    ----------
    router : estimator
        The router that is being fitted.
    client : distributed.Client
        The cluster.
    X : dask array or DataFrame of shape (n_queries, n_features)
        Embeddings.
    y, costs, outcome_weight : dask array or DataFrame of shape (n_queries, n_models)
        Tables of the same partitions; the last two can be ``None``.

    Returns
    -------
    table : RoutingTable
        Handles of the checked columns.
    rows : Partitions
        Where they are.

    Raises
    ------
    TypeError
        If a table is no Dask collection.
    ValueError
        If tables are not partitioned alike, or a shape, a name or a value is not as
        `RankingRouter.fit` wants it.
    """
    tables = {"X": X, "y": y, "costs": costs, "outcome_weight": outcome_weight}
    for name, table in tables.items():
        if table is not None or name in ("X", "y"):
            _check_collection(table, name)
    for name in ("costs", "outcome_weight"):
        table = tables[name]
        if table is not None and table.shape[1] != y.shape[1]:
            raise ValueError(
                f"{name} must be per query, with a column for each of the "
                f"{y.shape[1]} models of y; got {table.shape[1]} columns."
            )
    parts, lengths = {}, {}
    for name, table in tables.items():
        if table is not None:
            parts[name] = client.compute(partitions(table))
            lengths[name] = _lengths(client, table, parts[name])
    for name in lengths:
        if lengths[name] != lengths["X"]:
            raise ValueError(
                f"{name} and X must have the same rows in each partition; {name} has "
                f"{listed(lengths[name])}, X has {listed(lengths['X'])}. Use "
                f"{name}.rechunk({{0: X.chunks[0]}}) of arrays, or repartition alike."
            )
    filled = [i for i, length in enumerate(lengths["X"]) if length]
    if not filled:
        raise ValueError("X has no rows: all its partitions are empty.")
    rows = Partitions(client, [lengths["X"][i] for i in filled])
    columns = {
        name: Column([futures[i] for i in filled]) for name, futures in parts.items()
    }
    models = model_names(y)
    if models is None:
        models = default_names(y.shape[1])
    quality = rows.map(check_quality, columns["y"])
    outcomes = check_outcomes_of(
        router,
        models,
        quality,
        columns.get("costs"),
        columns.get("outcome_weight"),
        rows,
    )
    # Widths and names of the features are those of every partition.
    head = rows.get(rows.apply(_head, columns["X"].parts[0]))
    check_vectors(router, head, reset=True)
    queries = rows.map(_check_embeddings, columns["X"])
    return settled_table(router, models, queries, outcomes), rows


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


def partitions(table: Any) -> list[Any]:
    """The partitions, from the first row to the last."""
    parts = table.to_delayed()
    return list(parts.ravel()) if isinstance(parts, np.ndarray) else list(parts)


def _lengths(client: Any, table: Any, parts: list[Any]) -> list[int]:
    if is_array(table):
        return [int(size) for size in table.chunks[0]]
    lengths: list[int] = client.gather(client.map(len, parts, pure=False))
    return lengths


def _head(part: Any) -> Any:
    return part[:1]


def _check_embeddings(part: Any) -> np.ndarray:
    return np.asarray(check_array(part, dtype=_FLOATS, order="C", input_name="X"))

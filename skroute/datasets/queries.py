"""Queries of a table file, which need not have any outcome, for the command line."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skroute._table.names import format_names
from skroute._table.texts import clean_text, is_chat, read_text
from skroute.datasets._columns import is_missing, to_numbers
from skroute.datasets._files import find_format, read_columns
from skroute.datasets._long import find_prompts
from skroute.datasets._raw import RawTable, ReadOptions
from skroute.datasets._read import TABLE_TEXTS, read_table
from skroute.datasets._schemas import COLUMNS, find_first, normalize
from skroute.datasets._vectors import read_embeddings

__all__ = [
    "Queries",
    "find_format",
    "read_known_costs",
    "read_queries",
    "read_vectors",
]


class Queries(NamedTuple):
    """Texts of queries, one a row, and what the file calls them if it names them all.

    `n_calls` are the rows of a file in which several may be calls on one query.
    """

    prompts: list[str]
    names: list[Any] | None = None
    n_calls: int | None = None


def read_queries(path: Path) -> Queries:
    """Read the queries of a table, of any layout that :func:`read_table` reads.

    There is one a row, or one a query where the table has a row for each call.
    """
    raw = RawTable(path, ReadOptions(), TABLE_TEXTS)
    found, n_calls = raw.found, None
    identity = find_first(COLUMNS["id"], found)
    names = None if identity is None else found[identity]
    if _is_long(found):
        n_calls = len(raw.columns[0][1])
        query = find_first(COLUMNS["query"], found)
        table = read_table(path, duplicates="mean")
        is_text = query is None or find_prompts(found, query) == query
        names = None if is_text else table.queries
        found["prompt"] = table.prompts
    name = find_first(COLUMNS["prompt"], found)
    if name is None or found[name] is None:
        raise ValueError(
            f"{path.name} has no column called {', '.join(COLUMNS['prompt'])} with "
            f"texts; it has {raw.has}."
        )
    prompts = found[name].tolist()
    for row, prompt in enumerate(prompts):
        if not isinstance(prompt, str) and not is_chat(prompt):
            raise ValueError(
                f"{path.name} must have a text in column {name!r} of every row; row "
                f"{row} has {reprlib.repr(prompt)}."
            )
    known = [] if names is None else names.tolist()
    called = None
    if known and not any(is_missing(cell) for cell in known):
        called = [clean_text(c) if isinstance(c, str) else c for c in known]
    return Queries([read_text(prompt) for prompt in prompts], called, n_calls)


def read_vectors(path: Path, name: str) -> np.ndarray:
    """Read a column of vectors, or a path into one, for each of `read_queries`."""
    raw = RawTable(path, ReadOptions(embeddings=name), TABLE_TEXTS)
    if _is_long(raw.found):
        data = read_table(path, duplicates="mean", embeddings=name).data
    else:
        row = np.arange(len(next(iter(raw.found.values()), ())))
        data = read_embeddings(raw, row, by_row=True)
    return np.asarray(data)


def read_known_costs(
    path: Path, models: np.ndarray, queries: Queries | None = None
) -> Any:
    """Read costs that are known before the calls, by the names of the models.

    A JSON object holds money per call of each model, and any other file a row for each
    query, with a column per model that is called by its name, or as in tables of
    outcomes, ``<model>|total_cost``, where all other columns of a model are left. Names
    and prompts of the rows have to be those of the `queries`.
    """
    if path.suffix.lower() == ".json":
        given = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(given, dict) and not any(map(np.ndim, given.values())):
            return given
    beside = {name for kind in ("id", "query", "prompt") for name in COLUMNS[kind]}
    columns = read_columns(path)
    suffix = "|total_cost"
    if not any(column.endswith(suffix) for column, _ in columns):
        suffix = ""
    known = {}
    for column, values in columns:
        name = column.removesuffix(suffix)
        if name in set(models) and column.endswith(suffix):
            known[name] = to_numbers(column, values, "Give money per call.")
        elif name not in set(models) and normalize(column) in beside:
            _check_same_rows(path, column, values.tolist(), queries)
        elif name not in set(models):
            raise ValueError(
                f"{path.name} has a column {column!r}, and the router no such model; "
                f"it knows {format_names(models)}."
            )
    if not known:
        raise ValueError(
            f"{path.name} has no column that is called by a model of the router, which "
            f"knows {format_names(models)}."
        )
    unknown = np.full(len(next(iter(known.values()))), np.nan)
    return np.column_stack([known.get(model, unknown) for model in models])


def _check_same_rows(
    path: Path, column: str, cells: list[Any], queries: Queries | None
) -> None:
    """Refuse rows that are of other queries, or in another order."""
    if queries is None:
        return
    is_prompt = normalize(column) in COLUMNS["prompt"]
    asked = queries.prompts if is_prompt else queries.names
    if asked is None or len(asked) != len(cells):
        return
    for row, (cell, query) in enumerate(zip(cells, asked, strict=True)):
        told = read_text(cell) if is_prompt and not is_missing(cell) else cell
        if str(told).strip() != str(query).strip():
            raise ValueError(
                f"{path.name} must have its rows in the order of the queries: row "
                f"{row} is {reprlib.repr(told)} in column {column!r}, and the query "
                f"{reprlib.repr(query)}. Sort it, or leave the column out if it names "
                "something else."
            )


def _is_long(found: Mapping[str, np.ndarray]) -> bool:
    """Tell whether a table has a row for each call, by the names of its columns."""
    return all(find_first(COLUMNS[k], found) for k in ("model", "quality", "query"))

"""Long routing tables: a row for each call of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from sklearn.utils import Bunch

from skroute.datasets._bunch import (
    as_path,
    check_costs,
    columns_found,
    is_missing,
    routing_bunch,
    to_numbers,
)
from skroute.datasets._columns import read_columns
from skroute.datasets._dataframes import Columns, object_array, table_in_memory
from skroute.datasets._layouts import (
    MODEL_COLUMNS,
    PROMPT_COLUMNS,
    TASK_COLUMNS,
    TEXT_COLUMNS,
    first_of,
)

__all__ = ["from_long", "long_bunch"]

_HINT = "Make the column numeric, or name another one."


def from_long(
    table: Any,
    *,
    query: str = "query",
    model: str = "model",
    quality: str = "quality",
    cost: str | None = None,
    prompt: str | None = None,
    task: str | None = None,
    duplicates: Literal["raise", "mean"] = "raise",
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
) -> Bunch:
    """Read a table with a row for each call: query, model, quality and cost.

    This is what logs and evaluations usually look like. Calls of one query are brought
    together in one row; a model that was not called on it has ``NaN`` there.

    Parameters
    ----------
    table : pandas or polars DataFrame, dict of columns, list of records, or path
        The table, or a file that :func:`read_table` reads. The index of a DataFrame is
        ignored.
    query : str, default="query"
        Column that tells queries apart: numbers, texts, categories. In a CSV file all
        are texts.
    model : str, default="model"
        Column of the models' names.
    quality : str, default="quality"
        Column of the qualities, empty where unknown.
    cost : str, default=None
        Column of the money per call, empty where unknown; by default ``cost`` if there
        is such a column.
    prompt : str, default=None
        Column of the queries' texts; by default the first of ``prompt``, ``question``
        and ``query`` that there is and, in the place of `query` itself, holds texts of
        more than one word.
    task : str, default=None
        Column that says what kind of query it is; by default the first of
        ``eval_name``, ``task`` and ``task_name`` that there is.
    duplicates : {"raise", "mean"}, default="raise"
        What to do where a model was called on a query more than once: refuse the
        table, or take the means of the known qualities and of the known costs.
    prices : mapping from model name to price, or path of a JSON file with one, \
            default=None
        Money per call of every model, for a table without costs.
    embeddings : array-like of shape (n_queries, n_features) or path of a .npy file, \
            default=None
        Embeddings of the queries, in the order of `queries` below. float16 becomes
        float32.

    Returns
    -------
    Bunch
        As :func:`read_routerbench` gives it. Rows of `quality`, and `queries`, are in
        the order in which queries first appear; columns, and `models`, are sorted by
        name, so that two tables of one pool have them in the same order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `table` is nothing of the above.
    ValueError
        If a column is missing or holds what it should not, a query or a model has no
        name, a pair occurs twice, or a query has two prompts; names the first row.

    See Also
    --------
    from_wide : For a table with a row for each query.
    read_table : For a file, whichever of these layouts it has.

    Examples
    --------
    >>> from skroute.datasets import from_long
    >>> table = from_long(
    ...     [
    ...         {"query": 7, "model": "small", "quality": 0.0, "cost": 0.001},
    ...         {"query": 7, "model": "large", "quality": 1.0, "cost": 0.030},
    ...         {"query": 3, "model": "small", "quality": 1.0, "cost": 0.002},
    ...     ]
    ... )
    >>> table.models
    array(['large', 'small'], dtype=object)
    >>> table.queries
    array([7, 3], dtype=object)
    >>> table.quality
    array([[ 1.,  0.],
           [nan,  1.]])
    """
    named = (query, model, quality, cost, prompt, task)
    if isinstance(table, str | os.PathLike):
        file = as_path(table, "table")
        text = {*TEXT_COLUMNS, *MODEL_COLUMNS, query, model, prompt or "", task or ""}
        source, columns = file.name, read_columns(file, text)
    else:
        source, columns = type(table).__name__, table_in_memory(table, "table")
    found = dict(columns)
    arguments = ("query", "model", "quality", "cost", "prompt", "task")
    for argument, name in zip(arguments, named, strict=True):
        if name is not None and name not in found:
            raise ValueError(
                f"{argument}={name!r} is no column of {source}; it has "
                f"{columns_found(columns)}."
            )
    return long_bunch(
        columns,
        source,
        query=query,
        model=model,
        quality=quality,
        cost=cost or first_of(("cost",), found),
        prompt=prompt,
        task=task,
        duplicates=duplicates,
        prices=prices,
        embeddings=embeddings,
    )


def long_bunch(
    columns: Columns,
    source: str,
    *,
    query: str,
    model: str,
    quality: str,
    cost: str | None,
    prompt: str | None = None,
    task: str | None = None,
    duplicates: str = "raise",
    prices: Any = None,
    embeddings: Any = None,
) -> Bunch:
    """Turn the columns of a long table into a Bunch; see :func:`from_long`."""
    if duplicates not in ("raise", "mean"):
        raise ValueError(f"duplicates must be 'raise' or 'mean'; got {duplicates!r}.")
    found = dict(columns)
    if len(found[query]) == 0:
        raise ValueError(f"{source} has no rows; a routing table needs calls.")
    row, queries = _coded(query, found[query])
    names = object_array([str(name) for name in _present(model, found[model])])
    models, column = np.unique(names.astype(str), return_inverse=True)
    pair = row * len(models) + column
    if duplicates == "raise":
        _check_pairs(pair, found[query], names)
    shape = (len(queries), len(models))
    values = to_numbers(quality, found[quality], _HINT)
    spent = None
    if cost is not None:
        known = check_costs(cost, to_numbers(cost, found[cost], _HINT))
        spent = _spread(pair, known, shape)
    prompt = prompt or _prompt_column(found, query)
    task = task or first_of(TASK_COLUMNS, found)
    return routing_bunch(
        source=source,
        quality=_spread(pair, values, shape),
        costs=spent,
        cost_column=str(cost),
        models=models.tolist(),
        queries=object_array(queries),
        prompts=_one_each(prompt, found, row, queries) if prompt else None,
        task=_one_each(task, found, row, queries) if task else None,
        prices=prices,
        embeddings=embeddings,
    )


def _present(name: str, values: np.ndarray) -> list[Any]:
    """Check that a column has a value in every row."""
    cells = values.tolist()
    for i, cell in enumerate(cells):
        if is_missing(cell):
            raise ValueError(
                f"column {name!r} is empty in row {i}; every call needs a query and a "
                "model. Drop the row, or fill the column."
            )
    return cells


def _coded(name: str, values: np.ndarray) -> tuple[np.ndarray, list[Any]]:
    """Number the values of a column in the order of their first appearance."""
    first: dict[Any, int] = {}
    try:
        codes = [first.setdefault(v, len(first)) for v in _present(name, values)]
    except TypeError:
        raise ValueError(
            f"column {name!r} must hold numbers or texts that tell queries apart; it "
            "has lists or objects. Turn them into text, or name another column."
        ) from None
    return np.array(codes), list(first)


def _check_pairs(pair: np.ndarray, queries: np.ndarray, models: np.ndarray) -> None:
    _, first = np.unique(pair, return_index=True)
    if len(first) < len(pair):
        again = int(np.setdiff1d(np.arange(len(pair)), first)[0])
        before = int((pair == pair[again]).argmax())
        raise ValueError(
            f"model {models[again]!r} occurs twice on query {queries[again]!r}, in "
            f"rows {before} and {again}; {len(pair) - len(first)} rows repeat a pair "
            "in all. Drop them, or take means by duplicates='mean'."
        )


def _spread(pair: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Put the mean of the known values of each pair into its cell."""
    known = ~np.isnan(values)
    size = shape[0] * shape[1]
    total = np.bincount(pair[known], values[known], minlength=size)
    count = np.bincount(pair[known], minlength=size)
    mean = np.full(size, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.reshape(shape)


def _prompt_column(found: dict[str, np.ndarray], query: str) -> str | None:
    """Find the texts; the names of queries are none unless they have several words."""
    others = [name for name in found if name != query]
    beside = first_of(PROMPT_COLUMNS, others)
    if beside is not None or query not in PROMPT_COLUMNS:
        return beside
    cells = found[query].tolist()
    worded = any(isinstance(c, str) and len(c.split(None, 1)) > 1 for c in cells)
    return query if worded else None


def _one_each(
    name: str, found: dict[str, np.ndarray], row: np.ndarray, queries: list[Any]
) -> np.ndarray:
    """Take the one text that the calls of each query share, empty where none has."""
    texts = np.full(len(queries), "", dtype=object)
    for i, cell in zip(row.tolist(), found[name].tolist(), strict=True):
        if is_missing(cell):
            continue
        if texts[i] not in ("", str(cell)):
            raise ValueError(
                f"query {queries[i]!r} has more than one {name!r}; calls of one query "
                "must agree, or it is more than one query."
            )
        texts[i] = str(cell)
    return texts

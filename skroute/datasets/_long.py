"""Long routing tables: a row for each call of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, Literal

import numpy as np
from sklearn.utils import Bunch

from skroute._table.duplicates import number_equal
from skroute._table.names import format_names
from skroute._table.texts import (
    check_model_names,
    clean_text,
    is_chat,
    read_text,
    write_whole,
)
from skroute.datasets._bunch import (
    average_by_pair,
    describe_columns,
    is_missing,
    make_bunch,
    refuse_negative_costs,
    to_numbers,
)
from skroute.datasets._formats import MAX_BYTES, open_table
from skroute.datasets._in_memory import Columns, is_nested, object_array
from skroute.datasets._nested import take_values
from skroute.datasets._options import ReadOptions
from skroute.datasets._schemas import (
    COST_COLUMNS,
    MODEL_COLUMNS,
    PROMPT_COLUMNS,
    TASK_COLUMNS,
    find_first,
    normalize,
)
from skroute.datasets._tokens import holds_tokens, long_token_costs
from skroute.datasets._vectors import read_embeddings

__all__ = ["LongNames", "find_prompts", "from_long", "make_long_bunch"]

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
    models: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    duplicates: Literal["raise", "mean"] = "raise",
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    token_prices: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
    max_bytes: int = MAX_BYTES,
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
        Column that tells queries apart: numbers, texts, categories, or lists of chat
        messages, of which every message counts. In a CSV file all are texts. Here and
        in the next five, dots lead into objects and lists: ``"scores.accuracy"``,
        ``"response.body.model"``.
    model : str, default="model"
        Column of the models' names.
    quality : str, default="quality"
        Column of the qualities, empty where unknown.
    cost : str, default=None
        Column of the money per call, empty where unknown; by default the first of
        ``cost``, ``total_cost``, ``spend`` and ``response_cost`` that there is.
    prompt : str, default=None
        Column of the queries' texts; by default the first of ``prompt``, ``question``,
        ``query`` and ``messages`` that there is and, in the place of `query` itself,
        holds texts of more than one word. The text of a list of chat messages is the
        last one of the user.
    task : str, default=None
        Column that says what kind of query it is; by default the first of
        ``eval_name``, ``task`` and ``task_name`` that there is.
    models : sequence of str, default=None
        Models to read, as they are called after `rename`; calls of others are left
        out. By default all.
    rename : mapping from str to str, default=None
        As in :func:`read_table`.
    duplicates : {"raise", "mean"}, default="raise"
        What to do where a model was called on a query more than once: refuse the
        table, or take the means of the known qualities and of the known costs.
    prices : mapping from model name to price, or path, default=None
        As in :func:`read_table`.
    token_prices : mapping from model name to (float, float), or path of a JSON file \
            with one, default=None
        Money per input token and per output token, such as ``(2.5e-6, 1e-5)``, or an
        object with ``input_cost_per_token`` and ``output_cost_per_token``, as in
        LiteLLM's price map. Costs are then computed from ``prompt_tokens`` and
        ``completion_tokens`` (``input_tokens`` and ``output_tokens``), which may lie
        in an object ``usage``, and a column of costs is not read.
    embeddings : str, array-like of shape (n_queries, n_features) or path of a .npy \
            file, default=None
        Embeddings of the queries: a column of vectors (lists, arrays, or JSON of
        them), or an array in the order of `queries` below. A DataFrame whose index
        holds the queries as texts, each once, is matched by label. float16 becomes
        float32.
    max_bytes : int, default=2**30
        Largest size of the table, as a file, unpacked, and as a matrix of queries and
        models.

    Returns
    -------
    Bunch
        As :func:`read_routerbench` gives it. Rows of `quality`, and `queries`, are in
        the order in which queries first appear; columns, and `models`, are sorted by
        name, so that two tables of one pool have them in the same order.

    Raises
    ------
    TypeError
        If `table` is nothing of the above.
    ValueError
        If a column is missing or holds what it should not, a query or a model has no
        name, a pair occurs twice, a query has two prompts, or the table would take
        more than `max_bytes`; names the first row.

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
    options = ReadOptions(
        models, rename, duplicates, prices, token_prices, embeddings, max_bytes
    )
    text = (*MODEL_COLUMNS, query, model, prompt, task)
    source, columns = open_table(table, text, max_bytes)
    names = LongNames(query, model, quality, cost, prompt, task)
    return make_long_bunch(columns, source, names, options)


@dataclass(frozen=True)
class LongNames:
    """Columns of a long table, or paths into them; see :func:`from_long`."""

    query: str
    model: str
    quality: str
    cost: str | None = None
    prompt: str | None = None
    task: str | None = None


def make_long_bunch(
    columns: Columns, source: str, names: LongNames, options: ReadOptions
) -> Bunch:
    """Turn the columns of a long table into a Bunch; see :func:`from_long`."""
    found = dict(columns)
    has = describe_columns(columns)
    for field in fields(names):
        name = getattr(names, field.name)
        if name is not None:
            found[name] = take_values(found, name, field.name, source, has)
    if len(found[names.query]) == 0:
        raise ValueError(f"{source} has no rows; a routing table needs calls.")
    called, found, renamed = _select_calls(found, names, options, source)
    is_prompt = normalize(names.query) in PROMPT_COLUMNS
    cells = _check_present(names.query, found[names.query], may_be_blank=is_prompt)
    row, queries = _number_queries(names.query, cells)
    models = sorted(set(renamed))
    where = {name: i for i, name in enumerate(models)}
    column = np.array([where[name] for name in renamed])
    options.check_size(len(queries), len(models), source)
    shape = (len(queries), len(models))
    pair = row * len(models) + column
    n_pairs = len(np.unique(pair))
    if options.duplicates == "raise" and n_pairs < len(pair):
        _refuse_repeats(pair, cells, renamed)
    cost, spent = _read_costs(found, names, called, renamed, options, source)
    prompt = names.prompt or find_prompts(found, names.query)
    task = names.task or find_first(TASK_COLUMNS, found)
    quality = to_numbers(names.quality, found[names.quality], _HINT)
    return make_bunch(
        source=source,
        quality=average_by_pair(pair, quality, shape),
        costs=None if spent is None else average_by_pair(pair, spent, shape),
        cost_column=cost,
        models=models,
        queries=object_array(
            [clean_text(q) if isinstance(q, str) else q for q in queries]
        ),
        prompts=_take_one_each(prompt, found, row, queries) if prompt else None,
        task=_take_one_each(task, found, row, queries) if task else None,
        prices=options.prices,
        data=read_embeddings(
            *(options.embeddings, found, row, len(queries), source),
            by_row=False,
            labels=queries,
        ),
        n_repeats=len(pair) - n_pairs,
        left_out=_list_unused(
            columns,
            {*astuple(names), cost, prompt, task, options.embeddings_column},
            options,
        ),
    )


def _list_unused(
    columns: Columns, used: set[str | None], options: ReadOptions
) -> list[str]:
    """Name the columns that nothing was read from, nor from inside of them."""
    outer = {normalize(name.partition(".")[0]) for name in used if name is not None}
    counts = options.token_prices is not None
    return [
        name
        for name, _ in columns
        if name not in used
        and normalize(name) not in outer
        and not (counts and holds_tokens(name))
    ]


def _select_calls(
    found: dict[str, np.ndarray], names: LongNames, options: ReadOptions, source: str
) -> tuple[list[str], dict[str, np.ndarray], list[str]]:
    """Keep the calls of the models that are read, with their old and new names."""
    called = [
        _write_name(name) for name in _check_present(names.model, found[names.model])
    ]
    there = list(dict.fromkeys(called))
    new = dict(zip(there, options.rename_models(there, source), strict=True))
    check_model_names(new.values(), source)
    options.check_all_there(
        list(new.values()), source, f"the models {format_names(there)}"
    )
    kept = np.array([options.is_read(new[name]) for name in called])
    if not kept.all():
        called = [name for name, keep in zip(called, kept, strict=True) if keep]
        found = {name: values[kept] for name, values in found.items()}
    return called, found, [new[name] for name in called]


def _write_name(cell: Any) -> str:
    """Write a model's name; one that is a whole number without a fraction."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell)


def _read_costs(
    found: dict[str, np.ndarray],
    names: LongNames,
    called: list[str],
    renamed: list[str],
    options: ReadOptions,
    source: str,
) -> tuple[str | None, np.ndarray | None]:
    """Read the money of each call, or compute it from tokens; which column had it."""
    if options.token_prices is not None:
        if names.cost is not None:
            raise ValueError(
                f"token_prices computes costs, but cost={names.cost!r} names a column "
                "of them: give one of them."
            )
        prices = options.token_prices
        return None, long_token_costs(found, called, renamed, prices, source)
    cost = names.cost or find_first(COST_COLUMNS, found)
    if cost is None:
        return None, None
    return cost, refuse_negative_costs(cost, to_numbers(cost, found[cost], _HINT))


def _check_present(
    name: str, values: np.ndarray, *, may_be_blank: bool = False
) -> list[Any]:
    """Check that a column has a value in every row; a prompt may be an empty text."""
    cells = values.tolist()
    for i, cell in enumerate(cells):
        if is_missing(cell) and not (may_be_blank and cell == ""):
            raise ValueError(
                f"column {name!r} is empty in row {i}; every call needs a query and a "
                "model. Drop the row, or fill the column."
            )
    return [write_whole(cell) if is_chat(cell) else cell for cell in cells]


def _number_queries(name: str, cells: list[Any]) -> tuple[np.ndarray, list[Any]]:
    """Number the queries in the order of their first appearance."""
    try:
        return number_equal(cells), list(dict.fromkeys(cells))
    except TypeError:
        raise ValueError(
            f"column {name!r} must hold numbers or texts that tell queries apart; it "
            "has lists or objects. Turn them into text, or name another column."
        ) from None


def _refuse_repeats(pair: np.ndarray, queries: list[Any], models: list[str]) -> None:
    """Name the first pair that occurs twice."""
    _, first = np.unique(pair, return_index=True)
    again = int(np.setdiff1d(np.arange(len(pair)), first)[0])
    before = int((pair == pair[again]).argmax())
    raise ValueError(
        f"model {models[again]!r} occurs twice on query {queries[again]!r}, in rows "
        f"{before} and {again}; {len(pair) - len(first)} rows repeat a pair in all. "
        "Drop them, or take means by duplicates='mean'."
    )


def find_prompts(found: dict[str, np.ndarray], query: str) -> str | None:
    """Find the column of texts; it is `query` only if that has several words."""
    others = [
        name
        for name, cells in found.items()
        if name != query and not (is_nested(cells) and not _has_chats(cells))
    ]
    beside = find_first(PROMPT_COLUMNS, others)
    if beside is not None or not set(query.split(".")) & set(PROMPT_COLUMNS):
        return beside
    cells = found[query].tolist()
    worded = any(isinstance(c, str) and len(c.split(None, 1)) > 1 for c in cells)
    return query if worded or _has_chats(found[query]) else None


def _has_chats(cells: np.ndarray) -> bool:
    return cells.dtype == object and any(is_chat(cell) for cell in cells.tolist())


def _take_one_each(
    name: str, found: dict[str, np.ndarray], row: np.ndarray, queries: list[Any]
) -> np.ndarray:
    """Take the one text that the calls of each query share, empty where none has."""
    texts = np.full(len(queries), "", dtype=object)
    for i, cell in zip(row.tolist(), found[name].tolist(), strict=True):
        if is_missing(cell):
            continue
        text = read_text(cell)
        if texts[i] not in ("", text):
            raise ValueError(
                f"query {queries[i]!r} has more than one {name!r}; calls of one query "
                "must agree, or it is more than one query. If they are wordings of one "
                f"query, keep one of them, or leave the column {name!r} out."
            )
        texts[i] = text
    return texts

"""Reading a table file whose layout is not known before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from sklearn.utils import Bunch

from skroute.datasets._bunch import describe_columns
from skroute.datasets._formats import MAX_BYTES, as_path, read_columns
from skroute.datasets._in_memory import Columns
from skroute.datasets._long import LongNames, make_long_bunch
from skroute.datasets._nested import list_paths
from skroute.datasets._options import ReadOptions
from skroute.datasets._schemas import (
    LONG_QUERY_COLUMNS,
    MODEL_COLUMNS,
    QUALITY_COLUMNS,
    TEXT_COLUMNS,
    find_first,
    suggest,
)
from skroute.datasets._wide import make_wide_bunch

__all__ = ["TABLE_TEXTS", "read_table"]

#: Columns of a file, of any layout, that hold text.
TABLE_TEXTS = (*TEXT_COLUMNS, *MODEL_COLUMNS)


def read_table(
    path: str | os.PathLike[str],
    *,
    query: str | None = None,
    model: str | None = None,
    quality: str | None = None,
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
    """Read a routing table from a file, whichever of the known layouts it has.

    ===================  ======================================================
    layout               columns
    ===================  ======================================================
    long                 ``model`` (or ``model_name``) and ``quality``
                         (``score``, ``performance``) name one call a row, with
                         ``query_id``, ``sample_id``, ``query``, ``question``
                         or ``prompt``, and with ``cost`` (``total_cost``)
    wide, RouterBench    one called as each model, ``<model>|total_cost``
    wide, RouteLLM       ``prompt``, True or False for each model, and answers
                         in ``<model>_response``
    LLMRouter, RouterDC  JSON records of a ``question`` and of ``scores``, an
                         object with the quality of each model
    ===================  ======================================================

    ``prompt``, ``question``, ``query`` or ``messages`` (a chat, of which the last
    message of the user is taken) is the text of the query, ``eval_name``, ``task`` or
    ``task_name`` its kind, ``sample_id``, ``query_id`` or ``id`` its name. Names may be
    written in other ways, such as ``Model Name`` or ``modelName``.

    Parameters
    ----------
    path : str or path-like
        A ``.csv`` or ``.tsv`` (separated by commas, semicolons or tabs), ``.parquet``,
        ``.json`` (a list of records), ``.jsonl`` or ``.ndjson`` (a record a line)
        file; ``.csv``, ``.json`` and ``.jsonl`` may end in ``.gz`` too. Of pickles only
        the published file of RouterBench is read.
    query, model, quality, cost : str, default=None
        Columns of a long table, if they are called otherwise. Here and in the next
        two, dots lead into objects and lists: ``"scores.accuracy"``.
    prompt, task : str, default=None
        Columns of the queries' texts and kinds, if they are called otherwise.
    models : sequence of str, default=None
        Models to read, as they are called after `rename`; see :func:`from_wide`.
    rename : mapping from str to str, default=None
        New names of models. Several that get the same name become one model.
    duplicates : {"raise", "mean"}, default="raise"
        What to do where a model was called on a query more than once, or, with
        ``"mean"`` in a wide table, where rows repeat a prompt; see :func:`from_long`
        and :func:`from_wide`.
    prices : mapping from model name to price, or path of a JSON file with one, \
            default=None
        Money per call of every model, for a table without costs.
    token_prices : mapping from model name to (float, float), or path of a JSON file \
            with one, default=None
        Money per input token and per output token, from which costs are computed; see
        :func:`from_long`.
    embeddings : str, array-like of shape (n_queries, n_features) or path of a .npy \
            file, default=None
        Embeddings of the queries: a column of vectors (lists, arrays, or JSON of
        them), or an array: row by row, of a long table in the order in which queries
        first appear. float16 becomes float32.
    max_bytes : int, default=2**30
        Largest size of the table, unpacked if it is packed. Reading takes some multiple
        of its size in memory.

    Returns
    -------
    Bunch
        As :func:`read_routerbench` gives it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the table, the prices or the embeddings are not as described; names the
        column or the argument, or lists the columns that were found.
    UnsafePickleError
        If it is a pickle other than the published file.
    ImportError
        If pandas is not installed (JSON does without), or pyarrow for parquet.

    See Also
    --------
    from_long, from_wide : For tables in memory, and columns of other names.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skroute.datasets import read_table
    >>> text = '''{"query": "q1", "model": "small", "quality": 0, "cost": 0.001}
    ... {"query": "q1", "model": "large", "quality": 1, "cost": 0.030}
    ... '''
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "calls.jsonl")
    ...     _ = path.write_text(text)
    ...     table = read_table(path)
    >>> table.models, table.costs
    (array(['large', 'small'], dtype=object), array([[0.03 , 0.001]]))
    """
    options = ReadOptions(
        models, rename, duplicates, prices, token_prices, embeddings, max_bytes
    )
    file = as_path(path, "path")
    texts = {name for name in (query, model, prompt, task) if name is not None}
    columns = read_columns(file, {*TABLE_TEXTS, *texts}, max_bytes)
    found = dict(columns)
    is_long = any(name is not None for name in (query, model, quality, cost))
    model = model or find_first(MODEL_COLUMNS, found)
    quality = quality or find_first(QUALITY_COLUMNS, found)
    if not is_long and model is None and quality is None:
        return make_wide_bunch(columns, file.name, options, prompt=prompt, task=task)
    query = query or find_first(LONG_QUERY_COLUMNS, found)
    if model is None or quality is None or query is None:
        _refuse_calls(file.name, columns, model, quality, query)
    names = LongNames(query, model, quality, cost, prompt, task)
    return make_long_bunch(columns, file.name, names, options)


def _refuse_calls(
    source: str,
    columns: Columns,
    model: str | None,
    quality: str | None,
    query: str | None,
) -> NoReturn:
    """Say what a table with a row for each call lacks."""
    wanted = next(
        names
        for names, name in (
            (MODEL_COLUMNS, model),
            (QUALITY_COLUMNS, quality),
            (LONG_QUERY_COLUMNS, query),
        )
        if name is None
    )
    found = dict(columns)
    paths = list_paths(found)
    inside = f", and in these {', '.join(paths[:12])}" if paths else ""
    known = model or quality or query
    raise ValueError(
        f"{source} has a column {known!r}, as tables with a row for each call have, "
        f"but none called {' or '.join(wanted)}; it has {describe_columns(columns)}"
        f"{inside}.{suggest(wanted, [*found, *paths])} Name the columns by query=, "
        "model= and quality= (--query, --model, --quality on the command line)."
    )

"""Reading a table file whose layout is not known before."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sklearn.utils import Bunch

from skroute.checks import check_integer
from skroute.datasets._bunch import as_path, columns_found
from skroute.datasets._columns import MAX_BYTES, read_columns
from skroute.datasets._layouts import (
    COST_COLUMNS,
    LONG_QUERY_COLUMNS,
    MODEL_COLUMNS,
    PROMPT_COLUMNS,
    QUALITY_COLUMNS,
    TEXT_COLUMNS,
    first_of,
)
from skroute.datasets._long import long_bunch
from skroute.datasets._wide import wide_bunch

__all__ = ["read_prompts", "read_table"]


_TEXT = (*TEXT_COLUMNS, *MODEL_COLUMNS)


def read_table(
    path: str | os.PathLike[str],
    *,
    duplicates: Literal["raise", "mean"] = "raise",
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
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

    ``prompt``, ``question`` or ``query`` is the text of the query, ``eval_name``,
    ``task`` or ``task_name`` its kind, ``sample_id``, ``query_id`` or ``id`` its name.

    Parameters
    ----------
    path : str or path-like
        A ``.csv``, ``.parquet``, ``.json`` (a list of records), ``.jsonl`` or
        ``.ndjson`` (a record a line) or ``.pkl`` file; ``.csv``, ``.json`` and
        ``.jsonl`` may end in ``.gz`` too. Pickles are read without running anything
        that they ask for.
    duplicates : {"raise", "mean"}, default="raise"
        For a long table, what to do where a model was called on a query more than
        once; see :func:`from_long`.
    prices : mapping from model name to price, or path of a JSON file with one, \
            default=None
        Money per call of every model, for a table without costs.
    embeddings : array-like of shape (n_queries, n_features) or path of a .npy file, \
            default=None
        Embeddings of the queries: row by row, of a long table in the order in which
        queries first appear. float16 becomes float32.
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
        If a pickle asks for anything that no table needs.
    ImportError
        If pandas is not installed (JSON and pickles do without), or pyarrow for
        parquet.

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
    file = as_path(path, "path")
    columns = read_columns(file, _TEXT, check_integer(max_bytes, "max_bytes", low=1))
    found = dict(columns)
    model, quality = first_of(MODEL_COLUMNS, found), first_of(QUALITY_COLUMNS, found)
    if model is None and quality is None:
        return wide_bunch(columns, file.name, prices=prices, embeddings=embeddings)
    query = first_of(LONG_QUERY_COLUMNS, found)
    if model is None or quality is None or query is None:
        wanted = next(
            " or ".join(names)
            for names, name in (
                (MODEL_COLUMNS, model),
                (QUALITY_COLUMNS, quality),
                (LONG_QUERY_COLUMNS, query),
            )
            if name is None
        )
        raise ValueError(
            f"{file.name} has a column {model or quality!r}, as tables with a row for "
            f"each call have, but none called {wanted}; it has "
            f"{columns_found(columns)}. Rename a column, or name them: "
            "from_long(path, query=..., model=..., quality=...)."
        )
    return long_bunch(
        columns,
        file.name,
        query=query,
        model=model,
        quality=quality,
        cost=first_of(COST_COLUMNS, found),
        duplicates=duplicates,
        prices=prices,
        embeddings=embeddings,
    )


def read_prompts(path: Path) -> list[str]:
    """Read the texts of the queries of a table, which need not have any outcome.

    Parameters
    ----------
    path : Path
        A file that :func:`read_table` reads, of any layout.

    Returns
    -------
    list of str
        One text a row, in a table with a row for each call one a query.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read, or a query has no text.
    """
    columns = read_columns(path, _TEXT)
    found = dict(columns)
    if first_of(MODEL_COLUMNS, found) and first_of(QUALITY_COLUMNS, found):
        found["prompt"] = read_table(path, duplicates="mean").prompts
    name = first_of(PROMPT_COLUMNS, found)
    if name is None or found[name] is None:
        raise ValueError(
            f"{path.name} has no column called {', '.join(PROMPT_COLUMNS)} with texts; "
            f"it has {columns_found(columns)}."
        )
    prompts = found[name].tolist()
    for row, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise ValueError(
                f"{path.name} must have a text in column {name!r} of every row; row "
                f"{row} has {reprlib.repr(prompt)}."
            )
    return prompts

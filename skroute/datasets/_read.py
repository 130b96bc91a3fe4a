"""The readers of routing tables: files and tables in memory, in any known layout."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sklearn.utils import Bunch

from skroute.datasets._columns import MAX_BYTES, list_paths
from skroute.datasets._files import as_path
from skroute.datasets._long import LongNames, read_long
from skroute.datasets._raw import RawTable, ReadOptions
from skroute.datasets._schemas import COLUMNS, TEXT_COLUMNS, find_first, suggest
from skroute.datasets._wide import read_wide

#: Columns of a file, of any layout, that hold text.
TABLE_TEXTS = (*TEXT_COLUMNS, *COLUMNS["model"], *COLUMNS["answer"])


def read_table(
    path: str | os.PathLike[str],
    *,
    query: str | None = None,
    model: str | None = None,
    quality: str | None = None,
    cost: str | None = None,
    prompt: str | None = None,
    task: str | None = None,
    propensity: str | None = None,
    models: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    duplicates: Literal["raise", "mean"] = "raise",
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    token_prices: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
    max_bytes: int = MAX_BYTES,
    as_frame: bool = False,
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
    query, model, quality, cost, prompt, task, propensity : str, default=None
        Columns of a long table (`prompt` and `task` of any), if they are called
        otherwise. Dots lead into objects and lists: ``"scores.accuracy"``.
    models : sequence of str, default=None
        Models to read, as they are called after `rename`; see :func:`from_wide`.
    rename : mapping from str to str, default=None
        New names of models. Several that get the same name become one model.
    duplicates : {"raise", "mean"}, default="raise"
        What to do with several calls of a model on a query; see :func:`from_long` and
        :func:`from_wide`.
    prices : mapping from model name to price, or path of a JSON file with one, \
            default=None
        Money per call of every model, for a table without costs.
    token_prices : mapping from model name to (float, float), or path of a JSON file \
            with one, default=None
        Money per input token and per output token, such as ``(2.5e-6, 1e-5)``, or an
        object with ``input_cost_per_token`` and ``output_cost_per_token``, as in
        LiteLLM's price map. Costs are then computed from tokens; see :func:`from_long`
        and :func:`from_wide` for their columns.
    embeddings : str, array-like of shape (n_queries, n_features) or path of a .npy \
            file, default=None
        Embeddings of the queries: a column of vectors (lists, arrays, or JSON of
        them), or an array: row by row, of a long table in the order in which queries
        first appear. float16 becomes float32.
    max_bytes : int, default=2**30
        Largest size of the table, as a file, unpacked, and in memory. Reading takes
        some multiple of it.
    as_frame : bool, default=False
        Give `quality`, `costs`, `answers` and `checks` as DataFrames with a column for
        each model, so that a router that is fitted on them knows the models' names, and
        prices per model as a Series.

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
        If pandas is not installed (JSON does without, unless `as_frame`), or pyarrow
        for parquet.

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
        models,
        rename,
        duplicates,
        prices,
        token_prices,
        embeddings,
        max_bytes,
        as_frame,
    )
    texts = (*TABLE_TEXTS, query, model, prompt, task)
    table = RawTable(as_path(path, "path"), options, texts)
    named = (query, model, quality, cost, propensity)
    is_long = any(name is not None for name in named)
    # In the order in which an error would ask for them.
    calls = {"model": model, "quality": quality, "query": query}
    for kind, name in calls.items():
        calls[kind] = name or find_first(COLUMNS[kind], table.found)
    if not is_long and calls["model"] is None and calls["quality"] is None:
        return read_wide(table, prompt, task)
    names = {kind: name for kind, name in calls.items() if name is not None}
    if len(names) < len(calls):
        wanted = next(COLUMNS[kind] for kind in calls if kind not in names)
        paths = list_paths(table.found)
        inside = f", and in these {', '.join(paths[:12])}" if paths else ""
        raise ValueError(
            f"{table.source} has a column {next(iter(names.values()), None)!r}, as "
            "tables with a row for each call have, but none called "
            f"{' or '.join(wanted)}; it has {table.has}{inside}."
            f"{suggest(wanted, [*table.found, *paths])} Name the columns by query=, "
            "model= and quality=."
        )
    chosen = LongNames(
        **names, cost=cost, prompt=prompt, task=task, propensity=propensity
    )
    return read_long(table, chosen)


def from_long(
    table: Any,
    *,
    query: str = "query",
    model: str = "model",
    quality: str = "quality",
    cost: str | None = None,
    prompt: str | None = None,
    task: str | None = None,
    propensity: str | None = None,
    models: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    duplicates: Literal["raise", "mean"] = "raise",
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    token_prices: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
    max_bytes: int = MAX_BYTES,
    as_frame: bool = False,
) -> Bunch:
    """Read a table with a row for each call: query, model, quality and cost.

    This is what logs and evaluations usually look like. Calls of one query are brought
    together in one row; a model that was not called on it has ``NaN`` there. What a
    check said of the answer stands in a column ``check`` (of several checks,
    ``check:<name>``), and an answer that can be compared in ``answer``.

    Parameters
    ----------
    table : pandas or polars DataFrame, dict of columns, list of records, or path
        The table, without its index, or a file that :func:`read_table` reads.
    query : str, default="query"
        Column that tells queries apart: numbers, texts, categories, or lists of chat
        messages, of which every message counts. In a CSV file all are texts. Here and
        in the next five, dots lead into objects and lists: ``"scores.accuracy"``.
    model, quality : str
        Columns of the models' names and of the qualities, empty where unknown.
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
    propensity : str, default=None
        Column of the chance that the logging policy gave to the call, above 0 and at
        most 1, such as ``route(..., return_propensity=True)`` returns; by default,
        where each query has one call, the first of ``propensity``, ``chance`` and
        ``probability`` that there is. (A ``chance`` beside a ``runner_up`` is that of
        ``explain``, and is not read.)
    models : sequence of str, default=None
        Models to read, as they are called after `rename`; calls of others are left
        out. By default all.
    rename : mapping from str to str, default=None
        As in :func:`read_table`.
    duplicates : {"raise", "mean"}, default="raise"
        What to do where a model was called on a query more than once: refuse the
        table, or take the means of the known qualities, costs and checks, and the
        answer where they agree.
    prices : mapping or path, default=None
        As in :func:`read_table`.
    token_prices : mapping or path, default=None
        As in :func:`read_table`. Costs are computed from ``prompt_tokens`` and
        ``completion_tokens`` (``input_tokens`` and ``output_tokens``), which may lie
        in an object ``usage``, and a column of costs is not read.
    embeddings : str, array-like of shape (n_queries, n_features) or path, default=None
        As in :func:`read_table`; an array is in the order of `queries` below. A
        DataFrame whose index holds the queries as texts, each once, is matched by
        label.
    max_bytes : int, default=2**30
        As in :func:`read_table`.
    as_frame : bool, default=False
        As in :func:`read_table`.

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
    >>> table.models, table.queries
    (array(['large', 'small'], dtype=object), array([7, 3], dtype=object))
    >>> table.quality
    array([[ 1.,  0.],
           [nan,  1.]])
    """
    options = ReadOptions(
        models,
        rename,
        duplicates,
        prices,
        token_prices,
        embeddings,
        max_bytes,
        as_frame,
    )
    raw = RawTable(table, options, (*COLUMNS["model"], query, model, prompt, task))
    names = LongNames(query, model, quality, cost, prompt, task, propensity)
    return read_long(raw, names)


def from_wide(
    table: Any,
    *,
    models: Sequence[str] | None = None,
    prompt: str | None = None,
    task: str | None = None,
    rename: Mapping[str, str] | None = None,
    duplicates: Literal["raise", "mean"] = "raise",
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    token_prices: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
    max_bytes: int = MAX_BYTES,
    as_frame: bool = False,
) -> Bunch:
    """Read a table with a row for each query and a column for each model.

    Columns are RouterBench's: one of a model's name holds the quality, one called
    ``<model>|total_cost`` (or ``<model>|cost``, ``<model>_cost``) the money that the
    call cost. RouteLLM's tables, without costs and with answers in
    ``<model>_response``, and LLMRouter's records of a ``question`` and ``scores`` by
    model are read too. What a check said of an answer stands in ``<model>|check`` (of
    several checks, ``<model>|check:<name>``), and an answer that can be compared with
    those of other models in ``<model>|answer``; models may lack these columns.

    Parameters
    ----------
    table : pandas or polars DataFrame, dict of columns, list of records, or path
        As in :func:`from_long`.
    models : sequence of str, default=None
        Columns that hold the quality of a model, as they are called after `rename`;
        all others, but for their costs, are then ignored. By default every column
        that is not text, a cost or an answer, nor stands beside a model's as
        ``<model>|<anything>``. Where there are costs, columns of text and columns that
        are called as in logs (tokens, times, ids) are left out too; where there are
        none, the latter and empty columns are refused.
    prompt, task : str, default=None
        As in :func:`from_long`.
    rename : mapping from str to str, default=None
        As in :func:`read_table`.
    duplicates : {"raise", "mean"}, default="raise"
        With ``"mean"``, rows of one prompt (of chats, of the same messages; without
        prompts, of one name of the query) become one, with the means of the known
        qualities, costs and checks, and so do models that `rename` makes one. An
        answer is kept where they agree.
        With ``"raise"`` rows are kept as they are, and such models are refused if both
        were run on a query.
    prices : mapping or path, default=None
        As in :func:`read_table`.
    token_prices : mapping or path, default=None
        As in :func:`read_table`. Costs are computed from columns
        ``<model>|prompt_tokens`` and ``<model>|completion_tokens`` (or
        ``|input_tokens`` and ``|output_tokens``).
    embeddings : str, array-like of shape (n_rows, n_features) or path, default=None
        As in :func:`read_table`. A DataFrame is matched by label where its index holds
        the index of `table`, or the names of its queries, as texts, each once.
    max_bytes : int, default=2**30
        As in :func:`read_table`.
    as_frame : bool, default=False
        As in :func:`read_table`.

    Returns
    -------
    Bunch
        As :func:`read_routerbench` gives it.

    Raises
    ------
    TypeError, ValueError
        As :func:`from_long`.

    Examples
    --------
    >>> from skroute.datasets import from_wide
    >>> table = from_wide(
    ...     {
    ...         "prompt": ["What is 2 + 2?", "Prove it."],
    ...         "small": [True, False],
    ...         "large": [True, None],
    ...     },
    ...     prices={"small": 0.1, "large": 3.0},
    ... )
    >>> table.quality
    array([[ 1.,  1.],
           [ 0., nan]])
    >>> table.costs
    array([0.1, 3. ])
    """
    options = ReadOptions(
        models,
        rename,
        duplicates,
        prices,
        token_prices,
        embeddings,
        max_bytes,
        as_frame,
    )
    return read_wide(RawTable(table, options, (prompt, task)), prompt, task)


def read_routerbench(
    path: str | os.PathLike[str],
    *,
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
    max_bytes: int = MAX_BYTES,
    as_frame: bool = False,
) -> Bunch:
    """Read a routing table in RouterBench's wide format.

    A row is a query. ``sample_id``, ``prompt`` and ``eval_name`` are text and may be
    absent; for each model there is a column of its name with the quality and, unless
    the table has no costs at all, a column ``<model>|total_cost`` with the cost of the
    call in USD [1]_. Checks and answers are read as :func:`from_wide` says. Whole
    responses (``<model>|model_response``), other columns called
    ``<model>|<anything>`` and the published oracle (``oracle_model_to_route_to``) are
    left out, and in a table with costs columns of text; every other column has to be
    a model's.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`read_table` reads.
    prices, embeddings, max_bytes, as_frame : object
        As in :func:`read_table`.

    Returns
    -------
    Bunch
        With the attributes

        data : ndarray of shape (n_queries, n_features) or None
            The embeddings.
        quality : ndarray or DataFrame of shape (n_queries, n_models)
            Qualities, float64; ``NaN`` where a model was not run.
        costs : ndarray of shape (n_queries, n_models) or (n_models,), or None
            Money per call, from the table (``NaN`` where unknown) or from `prices`.
        models : ndarray of shape (n_models,)
            Names of the models, in the order of their quality columns.
        queries : ndarray of shape (n_queries,) or None
            ``sample_id``, what a query is called.
        task : ndarray of shape (n_queries,) or None
            ``eval_name``, the benchmark that a query comes from.
        prompts : ndarray of shape (n_queries,) or None
            The queries' texts. They may repeat: keep equal prompts on one side of a
            split.
        checks : ndarray of shape (n_queries, n_models[, n_checks]) or None
            What the check, or each of several in the order of their columns, said of
            each answer, float64, higher where it is more likely right; ``NaN`` where
            unknown.
        check_names : ndarray of shape (n_checks,)
            What the checks are called: ``tests`` of a column ``check:tests``.
        answers : ndarray of shape (n_queries, n_models) or None
            The answers as texts, equal where models agree; ``None`` where there is
            none.
        called : ndarray of shape (n_queries,) or None
            Names of the models that were called, where the table has a row for each
            call and one call for each query, as logs of a router have.
        propensity : ndarray of shape (n_queries,) or None
            The chances that these calls had, where the log tells them; ``NaN`` where
            a cell is empty, as of a call that followed another that failed.
        n_repeats : int
            Rows that were averaged with an earlier one.
        DESCR : str
            Description of the table.

    Raises
    ------
    ValueError
        As :func:`read_table`, which also documents the other errors.

    References
    ----------
    .. [1] Q. J. Hu et al., "RouterBench: A Benchmark for Multi-LLM Routing System",
       arXiv:2403.12031, 2024.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from skroute.datasets import read_routerbench
    >>> text = '''prompt,small,big,small|total_cost,big|total_cost
    ... What is 2 + 2?,1,1,0.001,0.03
    ... Prove Fermat's last theorem.,0,,0.002,0.09
    ... '''
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "table.csv")
    ...     _ = path.write_text(text)
    ...     table = read_routerbench(path)
    >>> table.quality
    array([[ 1.,  1.],
           [ 0., nan]])
    """
    options = ReadOptions(
        prices=prices, embeddings=embeddings, max_bytes=max_bytes, as_frame=as_frame
    )
    return read_wide(RawTable(as_path(path, "path"), options))

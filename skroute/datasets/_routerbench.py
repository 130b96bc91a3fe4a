"""Reading routing tables in the format that RouterBench is published in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sklearn.utils import Bunch

from skroute.datasets._formats import MAX_BYTES, as_path, read_columns
from skroute.datasets._options import ReadOptions
from skroute.datasets._wide import make_wide_bunch

__all__ = ["read_routerbench"]


def read_routerbench(
    path: str | os.PathLike[str],
    *,
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
    max_bytes: int = MAX_BYTES,
) -> Bunch:
    """Read a routing table in RouterBench's wide format.

    A row is a query. ``sample_id``, ``prompt`` and ``eval_name`` are text and may be
    absent; for each model there is a column of its name with the quality and, unless
    the table has no costs at all, a column ``<model>|total_cost`` with the cost of the
    call in USD [1]_. Answers (``<model>|model_response``), other columns called
    ``<model>|<anything>`` and the published oracle (``oracle_model_to_route_to``) are
    left out, and in a table with costs columns of text; every other column has to be
    a model's.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`read_table` reads.
    prices, embeddings, max_bytes : object
        As in :func:`read_table`.

    Returns
    -------
    Bunch
        With the attributes

        data : ndarray of shape (n_queries, n_features) or None
            The embeddings.
        quality : ndarray of shape (n_queries, n_models)
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
    >>> table.models
    array(['small', 'big'], dtype=object)
    >>> table.quality
    array([[ 1.,  1.],
           [ 0., nan]])
    """
    options = ReadOptions(prices=prices, embeddings=embeddings, max_bytes=max_bytes)
    file = as_path(path, "path")
    return make_wide_bunch(read_columns(file, max_bytes=max_bytes), file.name, options)

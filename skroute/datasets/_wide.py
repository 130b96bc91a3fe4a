"""Wide routing tables: a row for each query, a column for each model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skroute.datasets._bunch import (
    as_path,
    check_costs,
    columns_found,
    routing_bunch,
    to_numbers,
    to_texts,
)
from skroute.datasets._columns import read_columns
from skroute.datasets._dataframes import Columns, table_in_memory
from skroute.datasets._layouts import (
    COST_ENDING,
    ID_COLUMNS,
    PROMPT_COLUMNS,
    TASK_COLUMNS,
    TEXT_COLUMNS,
    first_of,
    is_dropped,
)

__all__ = ["from_wide", "wide_bunch"]

_HINT = (
    f"Only {', '.join(TEXT_COLUMNS)} may hold text: delete the column, make it "
    "numeric, or name those of the models, from_wide(table, models=[...])."
)


def from_wide(
    table: Any,
    *,
    models: Sequence[str] | None = None,
    prompt: str | None = None,
    task: str | None = None,
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
) -> Bunch:
    """Read a table with a row for each query and a column for each model.

    Columns are RouterBench's: one of a model's name holds the quality, one called
    ``<model>|total_cost`` the money that the call cost. RouteLLM's tables, without
    costs and with answers in ``<model>_response``, and LLMRouter's records of a
    ``question`` and ``scores`` by model are read too.

    Parameters
    ----------
    table : pandas or polars DataFrame, dict of columns, list of records, or path
        The table, or a file that :func:`read_table` reads. The index of a DataFrame is
        ignored.
    models : sequence of str, default=None
        Columns that hold the quality of a model; all others, but for their costs, are
        then ignored. By default every column that is not text, a cost or an answer.
    prompt : str, default=None
        Column of the queries' texts; by default the first of ``prompt``, ``question``
        and ``query`` that there is.
    task : str, default=None
        Column that says what kind of query it is; by default the first of
        ``eval_name``, ``task`` and ``task_name`` that there is.
    prices : mapping from model name to price, or path of a JSON file with one, \
            default=None
        Money per call of every model, for a table without cost columns.
    embeddings : array-like of shape (n_queries, n_features) or path of a .npy file, \
            default=None
        Embeddings of the prompts, row by row. float16 becomes float32.

    Returns
    -------
    Bunch
        As :func:`read_routerbench` gives it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `table` is nothing of the above.
    ValueError
        If the table, the prices or the embeddings are not as described; names the
        column or the argument.

    See Also
    --------
    from_long : For a table with a row for each call.
    read_table : For a file, whichever of these layouts it has.

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
    if isinstance(table, str | os.PathLike):
        file = as_path(table, "table")
        text = [*TEXT_COLUMNS, *(name for name in (prompt, task) if name)]
        source, columns = file.name, read_columns(file, text)
    else:
        source, columns = type(table).__name__, table_in_memory(table, "table")
    return wide_bunch(
        columns,
        source,
        models=models,
        prompt=prompt,
        task=task,
        prices=prices,
        embeddings=embeddings,
    )


def wide_bunch(
    columns: Columns,
    source: str,
    *,
    models: Sequence[str] | None = None,
    prompt: str | None = None,
    task: str | None = None,
    prices: Any = None,
    embeddings: Any = None,
) -> Bunch:
    """Turn the columns of a wide table into a Bunch; see :func:`from_wide`."""
    found = dict(columns)
    if not columns or len(columns[0][1]) == 0:
        raise ValueError(f"{source} has no rows; a routing table needs queries.")
    for argument, name in (("prompt", prompt), ("task", task)):
        if name is not None and name not in found:
            raise ValueError(
                f"{argument}={name!r} is no column of {source}; it has "
                f"{columns_found(columns)}."
            )
    prompt = prompt or first_of(PROMPT_COLUMNS, found)
    task = task or first_of(TASK_COLUMNS, found)
    identity = first_of(ID_COLUMNS, found)
    if models is None:
        models = [
            name
            for name in found
            if name not in (*TEXT_COLUMNS, prompt, task)
            and not name.endswith(COST_ENDING)
            and not is_dropped(name, found)
        ]
    else:
        found = _selected(found, models, columns, source, (prompt, task, identity))
    if not models:
        raise ValueError(
            f"{source} has no quality column; each model needs a column of its name. "
            f"It has {columns_found(columns)}."
        )
    quality = {name: to_numbers(name, found[name], _HINT) for name in models}
    measured = {
        name.removesuffix(COST_ENDING): to_numbers(name, values, _HINT)
        for name, values in found.items()
        if name.endswith(COST_ENDING)
    }
    return routing_bunch(
        source=source,
        quality=np.column_stack(list(quality.values())),
        costs=_measured_costs(measured, models) if measured else None,
        cost_column=f"{next(iter(measured), '')}{COST_ENDING}",
        models=models,
        queries=to_texts(found[identity]) if identity else None,
        prompts=to_texts(found[prompt]) if prompt else None,
        task=to_texts(found[task]) if task else None,
        prices=prices,
        embeddings=embeddings,
    )


def _selected(
    found: dict[str, np.ndarray],
    models: Sequence[str],
    columns: Columns,
    source: str,
    others: tuple[str | None, ...],
) -> dict[str, np.ndarray]:
    """Keep the columns of the named models, and those that are not models'."""
    if isinstance(models, str) or len(set(models)) < len(models):
        raise ValueError(
            f"models must be a list of different column names; got {models!r}."
        )
    for name in models:
        if name not in found:
            raise ValueError(
                f"models names {name!r}, which is no column of {source}; it has "
                f"{columns_found(columns)}."
            )
    kept = {*models, *(f"{name}{COST_ENDING}" for name in models), *others}
    return {name: values for name, values in found.items() if name in kept}


def _measured_costs(
    measured: dict[str, np.ndarray], models: Sequence[str]
) -> np.ndarray:
    """Check the cost columns and put them in the order of the models."""
    for name in sorted(set(measured) - set(models)):
        raise ValueError(
            f"column '{name}{COST_ENDING}' is the cost of a model without a quality "
            f"column; add a column {name!r}, or delete this one."
        )
    for name in models:
        if name not in measured:
            raise ValueError(
                f"column {name!r} has no '{name}{COST_ENDING}' beside it, as other "
                "models do. Delete it if it is not a model's quality; if its costs are "
                "unknown, add the column and leave it empty."
            )
        check_costs(f"{name}{COST_ENDING}", measured[name])
    return np.column_stack([measured[name] for name in models])

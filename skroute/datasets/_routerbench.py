"""Reading routing tables in the format that RouterBench is published in."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skroute.datasets._columns import TEXT_COLUMNS, read_columns
from skroute.money import check_prices

__all__ = ["read_routerbench"]

_COST_ENDING = "|total_cost"

_DESCR = """\
Routing table read from {file}
{n_queries} queries, {n_models} models, {n_incomplete} queries without the quality of
every model. Costs: {costs}.
"""


def read_routerbench(
    path: str | os.PathLike[str],
    *,
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
) -> Bunch:
    """Read a routing table in RouterBench's wide format.

    A row is a query. ``sample_id``, ``prompt`` and ``eval_name`` are text and may be
    absent; for each model there is a column of its name with the quality and, unless
    the table has no costs at all, a column ``<model>|total_cost`` with the cost of the
    call in USD [1]_. Answers (``<model>|model_response``) and the published oracle
    (``oracle_model_to_route_to``) are left out; every other column has to be a model's.

    Parameters
    ----------
    path : str or path-like
        A ``.csv``, ``.csv.gz``, ``.parquet``, ``.pkl`` or ``.pickle`` file. Pickles
        are read without running anything that they ask for.
    prices : mapping from model name to price, or path of a JSON file with one, \
            default=None
        Money per call of every model, for a table without cost columns.
    embeddings : array-like of shape (n_queries, n_features) or path of a .npy file, \
            default=None
        Embeddings of the prompts, row by row. float16 becomes float32.

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
        task : ndarray of shape (n_queries,) or None
            ``eval_name``, the benchmark that a query comes from.
        prompts : ndarray of shape (n_queries,) or None
            The queries' texts. They may repeat: keep equal prompts on one side of a
            split.
        DESCR : str
            Description of the table.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the table, the prices or the embeddings are not as described; names the
        column or the argument.
    UnsafePickleError
        If a pickle asks for anything that no table needs.
    ImportError
        If pandas is not installed (pickles do without), or pyarrow for parquet.

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
    file = _as_path(path, "path")
    columns = read_columns(file)
    n_queries = len(columns[0][1]) if columns else 0
    if n_queries == 0:
        raise ValueError(f"{file.name} has no rows; a routing table needs queries.")
    text = {name: values for name, values in columns if name in TEXT_COLUMNS}
    columns = [column for column in columns if column[0] not in TEXT_COLUMNS]
    measured = {
        name.removesuffix(_COST_ENDING): _numbers(name, values)
        for name, values in columns
        if name.endswith(_COST_ENDING)
    }
    qualities = {
        name: _numbers(name, values)
        for name, values in columns
        if not name.endswith(_COST_ENDING)
    }
    if not qualities:
        raise ValueError(
            f"{file.name} has no quality column; each model needs a column of its name."
        )
    models = np.array(list(qualities), dtype=object)
    quality = np.column_stack(list(qualities.values()))
    costs, unit = None, "unknown"
    if measured:
        costs, unit = _measured_costs(measured, models, prices), "USD per call"
    elif prices is not None:
        costs, unit = _listed_costs(prices, models), "one list price per model"
    return Bunch(
        data=None if embeddings is None else _check_embeddings(embeddings, n_queries),
        quality=quality,
        costs=costs,
        models=models,
        task=_texts(text.get("eval_name")),
        prompts=_texts(text.get("prompt")),
        DESCR=_DESCR.format(
            file=file.name,
            n_queries=n_queries,
            n_models=len(models),
            n_incomplete=int(np.isnan(quality).any(axis=1).sum()),
            costs=unit,
        ),
    )


def _as_path(path: Any, name: str) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"{name} must be the path of a file; got {type(path).__name__}."
        )
    return Path(path).expanduser()


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    """Turn a column into float64, ``NaN`` where a value is missing."""
    if values.dtype.kind in "biuf":
        numbers = values.astype(np.float64)
    else:
        numbers = np.full(len(values), np.nan)
        for i, value in enumerate(values.tolist()):
            if value is None:
                continue
            if not isinstance(value, Real):
                raise ValueError(
                    f"column {name!r} must hold a model's numbers; row {i} has "
                    f"{reprlib.repr(value)}. Only {', '.join(TEXT_COLUMNS)} may hold "
                    "text, so delete the column or make it numeric."
                )
            numbers[i] = value
    if np.isinf(numbers).any():
        raise ValueError(
            f"column {name!r} has an infinite value in row "
            f"{int(np.isinf(numbers).argmax())}; leave it empty if it is not known."
        )
    return numbers


def _measured_costs(
    measured: dict[str, np.ndarray], models: np.ndarray, prices: Any
) -> np.ndarray:
    """Check the cost columns and put them in the order of the models."""
    if prices is not None:
        raise ValueError(
            "prices is for tables without costs, but this one has a column such as "
            f"'{next(iter(measured))}{_COST_ENDING}'. Leave prices out, or delete the "
            "cost columns."
        )
    for name in sorted(set(measured) - set(models)):
        raise ValueError(
            f"column '{name}{_COST_ENDING}' is the cost of a model without a quality "
            f"column; add a column {name!r}, or delete this one."
        )
    for name in models:
        if name not in measured:
            raise ValueError(
                f"column {name!r} has no '{name}{_COST_ENDING}' beside it, as other "
                "models do. Delete it if it is not a model's quality; if its costs are "
                "unknown, add the column and leave it empty."
            )
        if (measured[name] < 0).any():
            raise ValueError(
                f"column '{name}{_COST_ENDING}' has a negative cost in row "
                f"{int((measured[name] < 0).argmax())}; costs are money spent."
            )
    return np.column_stack([measured[name] for name in models])


def _listed_costs(prices: Any, models: np.ndarray) -> np.ndarray:
    """Check prices by model, or read them from a JSON file."""
    if isinstance(prices, str | os.PathLike):
        file = _as_path(prices, "prices")
        if not file.is_file():
            raise FileNotFoundError(f"prices {str(file)!r} is not a file.")
        try:
            prices = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"prices {file.name!r} is not JSON: {error}") from error
    if not isinstance(prices, Mapping):
        raise TypeError(
            "prices must map the name of each model to its price, or be the path of a "
            f"JSON file that does; got {type(prices).__name__}."
        )
    for name, price in prices.items():
        if isinstance(price, bool) or not isinstance(price, Real):
            raise ValueError(f"prices[{name!r}] must be a number; got {price!r}.")
    return check_prices(prices, models, "prices")


def _check_embeddings(embeddings: Any, n_queries: int) -> np.ndarray:
    """Check embeddings, or read them from a file; at least float32."""
    if isinstance(embeddings, str | os.PathLike):
        file = _as_path(embeddings, "embeddings")
        if not file.is_file():
            raise FileNotFoundError(f"embeddings {str(file)!r} is not a file.")
        try:
            embeddings = np.load(file, allow_pickle=False)
        except (EOFError, ValueError) as error:
            raise ValueError(
                f"embeddings {file.name!r} is not an array of numbers as numpy.save "
                f"writes it: {error}"
            ) from error
    table = np.asarray(embeddings)
    if table.ndim != 2 or len(table) != n_queries:
        raise ValueError(
            f"embeddings must have one row for each of the {n_queries} queries and two "
            f"axes; got shape {table.shape}."
        )
    if table.dtype.kind not in "biuf":
        raise ValueError(f"embeddings must be numbers; got dtype {table.dtype}.")
    single = table.dtype.kind == "f" and table.dtype.itemsize <= 4
    table = table.astype(np.float32 if single else np.float64, copy=False)
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"embeddings must be finite; row {int(finite.argmin())} is not."
        )
    return table


def _texts(values: np.ndarray | None) -> np.ndarray | None:
    """Make every cell of a text column a string, empty where missing."""
    if values is None:
        return None
    cells = values.tolist()
    texts = ["" if cell is None or cell != cell else str(cell) for cell in cells]
    return np.array(texts, dtype=object)

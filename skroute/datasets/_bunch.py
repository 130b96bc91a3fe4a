"""The Bunch that every reader of a routing table gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.utils import Bunch

from skroute._table.duplicates import count_duplicate_prompts
from skroute._table.names import format_names
from skroute.datasets._columns import object_array
from skroute.datasets._prices import read_prices
from skroute.datasets._raw import RawTable

_DESCR = """\
Routing table read from {source}
{n_queries} queries, {n_models} models, {n_incomplete} queries without the quality of
every model. Costs: {costs}.
{n_zero} calls cost exactly 0.
{n_repeats} rows were averaged with an earlier row of the same call or prompt, and
{n_again} queries repeat the prompt of an earlier query. Columns left out: {left_out}.
"""


def make_bunch(
    table: RawTable,
    models: Sequence[str],
    cell: np.ndarray,
    *,
    quality: np.ndarray,
    costs: np.ndarray | None,
    cost_column: str | None,
    queries: np.ndarray | None,
    prompts: np.ndarray | None,
    task: np.ndarray | None,
    data: np.ndarray | None,
    n_repeats: int,
    left_out: Sequence[str],
) -> Bunch:
    """Put a table together, as `read_routerbench` documents it.

    `cell` is the place of each of the `quality` and `costs` in a table of queries and
    models, counted row by row; means are taken where several share one. `cost_column`
    is one that costs were read from.
    """
    n_cells = (int(cell.max()) // len(models) + 1) * len(models)
    quality = _average(quality, cell, n_cells).reshape(-1, len(models))
    names, prices, unit = object_array(models), table.options.prices, "unknown"
    if costs is not None:
        costs = _average(costs, cell, n_cells).reshape(quality.shape)
        is_counted = table.options.token_prices is not None
        unit = f"per call, {'computed from tokens' if is_counted else 'as measured'}"
        if prices is not None:
            raise ValueError(
                "prices is for tables without costs, but this one has a column such "
                f"as {cost_column!r}. Leave prices out, or delete the cost columns."
            )
    elif prices is not None:
        costs, unit = read_prices(prices, names), "one list price per model"
    return Bunch(
        data=data,
        quality=quality,
        costs=costs,
        models=names,
        queries=queries,
        task=task,
        prompts=prompts,
        DESCR=_DESCR.format(
            source=table.source,
            n_queries=len(quality),
            n_models=len(names),
            n_incomplete=int(np.isnan(quality).any(axis=1).sum()),
            costs=unit,
            n_zero=0 if costs is None else int((costs == 0).sum()),
            n_repeats=n_repeats,
            n_again=count_duplicate_prompts(prompts),
            left_out=format_names(left_out),
        ),
        n_repeats=n_repeats,
    )


def _average(values: np.ndarray, cell: np.ndarray, n_cells: int) -> np.ndarray:
    """Take the mean of the known values of each cell, ``NaN`` where there is none."""
    known = ~np.isnan(values)
    total = np.bincount(cell[known], values[known], minlength=n_cells)
    count = np.bincount(cell[known], minlength=n_cells)
    return np.divide(total, count, out=np.full(n_cells, np.nan), where=count > 0)


def refuse_negative_costs(name: str, costs: np.ndarray) -> np.ndarray:
    """Check that money was spent, not earned."""
    if (costs < 0).any():
        raise ValueError(
            f"column {name!r} has a negative cost in row {int((costs < 0).argmax())}; "
            "costs are money spent."
        )
    return costs

"""The Bunch that every reader of a routing table gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.utils import Bunch

from skroute._optional import require
from skroute._table.duplicates import count_duplicate_prompts
from skroute._table.names import format_names
from skroute.datasets._columns import make_object_array
from skroute.datasets._prices import read_prices
from skroute.datasets._raw import RawTable

#: What an error says of a column of checks that holds something else.
CHECK_HINT = (
    "A check is a number, higher where the answer is more likely right; give the "
    "column another name if it is something else."
)
_DESCR = """\
Routing table read from {source}
{n_queries} queries, {n_models} models, {n_incomplete} queries without the quality of
every model. Costs: {costs}.
{n_zero} calls cost exactly 0. Checks: {checks}. Answers: {answers}.
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
    checks: Mapping[str, np.ndarray],
    answers: np.ndarray | None,
    n_repeats: int,
    left_out: Sequence[str],
    called: np.ndarray | None = None,
    propensity: np.ndarray | None = None,
) -> Bunch:
    """Put a table together, as `read_routerbench` documents it.

    `cell` is the place of each of the `quality`, `costs`, `checks` (by name) and
    `answers` in a table of queries and models, counted row by row; means are taken
    where several share one. `cost_column` is one that costs were read from; `called`
    and `propensity` are those of a log.
    """
    n_cells = (int(cell.max()) // len(models) + 1) * len(models)
    quality = _average(quality, cell, n_cells).reshape(-1, len(models))
    names, prices, unit = make_object_array(models), table.options.prices, "unknown"
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
    said = [_average(c, cell, n_cells).reshape(quality.shape) for c in checks.values()]
    if answers is not None:
        answers = _keep_agreed(answers, cell, n_cells).reshape(quality.shape)
    bunch = Bunch(
        data=data,
        quality=quality,
        costs=costs,
        models=names,
        queries=queries,
        task=task,
        prompts=prompts,
        checks=said[0] if len(said) == 1 else np.stack(said, axis=-1) if said else None,
        check_names=make_object_array(
            [name.partition(":")[2].strip() or name for name in checks]
        ),
        answers=answers,
        called=called,
        propensity=propensity,
        DESCR=_DESCR.format(
            source=table.source,
            n_queries=len(quality),
            n_models=len(names),
            n_incomplete=int(np.isnan(quality).any(axis=1).sum()),
            costs=unit,
            n_zero=0 if costs is None else int((costs == 0).sum()),
            n_repeats=n_repeats,
            n_again=count_duplicate_prompts(prompts),
            checks=format_names(checks),
            answers="none" if answers is None else "one per call",
            left_out=format_names(left_out),
        ),
        n_repeats=n_repeats,
    )
    if table.options.as_frame:
        name_columns(bunch)
    return bunch


def name_columns(bunch: Bunch) -> None:
    """Make DataFrames of what has a column for each model, and a Series of prices."""
    pandas = require("pandas", "as_frame=True")
    models = bunch.models.tolist()
    for key in ("quality", "costs", "answers", "checks"):
        values = bunch[key]
        # Several checks of an answer have no columns of models.
        if values is not None and values.ndim < 3:
            is_table = values.ndim == 2
            bunch[key] = (
                pandas.DataFrame(values, columns=models)
                if is_table
                else pandas.Series(values, index=models)
            )


def _average(values: np.ndarray, cell: np.ndarray, n_cells: int) -> np.ndarray:
    """Take the mean of the known values of each cell, ``NaN`` where there is none."""
    known = ~np.isnan(values)
    total = np.bincount(cell[known], values[known], minlength=n_cells)
    count = np.bincount(cell[known], minlength=n_cells)
    return np.divide(total, count, out=np.full(n_cells, np.nan), where=count > 0)


def _keep_agreed(answers: np.ndarray, cell: np.ndarray, n_cells: int) -> np.ndarray:
    """Keep the one answer of each cell, ``None`` where there is none or several."""
    kept = np.full(n_cells, None, dtype=object)
    several = set()
    for at, answer in zip(cell.ravel().tolist(), answers.ravel().tolist(), strict=True):
        if answer is None:
            continue
        if kept[at] not in (None, answer):
            several.add(at)
        kept[at] = answer
    kept[list(several)] = None
    return kept


def refuse_negative_costs(name: str, costs: np.ndarray) -> np.ndarray:
    """Check that money was spent, not earned."""
    if (costs < 0).any():
        raise ValueError(
            f"column {name!r} has a negative cost in row {int((costs < 0).argmax())}; "
            "costs are money spent."
        )
    return costs

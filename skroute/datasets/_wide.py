"""Wide routing tables: a row for each query, a column for each model."""

from __future__ import annotations

import re
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skroute._table.duplicates import number_equal
from skroute._table.names import format_names
from skroute._table.texts import check_model_names, write_whole
from skroute.datasets._bunch import CHECK_HINT, make_bunch, refuse_negative_costs
from skroute.datasets._columns import (
    is_missing,
    is_nested,
    make_object_array,
    to_answers,
    to_numbers,
    to_texts,
)
from skroute.datasets._prices import TOKEN_ENDINGS, compute_wide_token_costs
from skroute.datasets._raw import RawTable
from skroute.datasets._schemas import (
    ANSWER_ENDING,
    COLUMNS,
    COST_ENDING,
    COST_ENDINGS,
    TEXT_COLUMNS,
    find_first,
    is_dropped,
    is_known_side,
    normalize,
    split_check,
)
from skroute.datasets._vectors import read_embeddings

_HINT = (
    "Delete the column, or name those of the models: models=[...]. If rows are calls, "
    "name the columns of these: query=, model=, quality=."
)
# Files that are published beside a table, with the same columns.
_SIDE_FILE = re.compile(r"_(answers?|latency|checks?)(_m?s)?\.")


def read_wide(
    table: RawTable, prompt: str | None = None, task: str | None = None
) -> Bunch:
    """Turn the columns of a wide table into a Bunch; see `from_wide`."""
    if not table.columns or len(table.columns[0][1]) == 0:
        raise ValueError(f"{table.source} has no rows; a routing table needs queries.")
    table.take(prompt=prompt, task=task)
    found, options = table.found, table.options
    prompt = prompt or find_first(COLUMNS["prompt"], found)
    task = task or find_first(COLUMNS["task"], found)
    identity = find_first(COLUMNS["id"], found)
    if prompt is None and _SIDE_FILE.search(table.source):
        raise ValueError(
            f"{table.source} has no prompts, and its name says that it holds answers, "
            "times or checks of models, not their quality. Read the table that it "
            "belongs to; if it does hold qualities, give the file another name."
        )
    texts = {n for n in found if n in (prompt, task) or normalize(n) in TEXT_COLUMNS}
    priced = _find_costs(table, texts)
    said, answered = _find_checks(table), _find_answers(table)
    beside = {name for check in said.values() for name in check.values()}
    beside |= {*priced.values(), *answered.values()}
    renamed = _find_models(table, priced, texts | beside)
    quality = np.column_stack([to_numbers(n, found[n], _HINT) for n in renamed])
    costs = _read_costs(table, priced, renamed)
    queries = to_texts(found[identity]) if identity else None
    # What tells the queries apart.
    keys = to_texts(found[prompt], write_whole) if prompt else queries
    row = np.arange(len(quality))
    if options.duplicates == "mean" and keys is not None:
        # A row without a prompt counts as a separate query.
        row = number_equal(key or i for i, key in enumerate(keys))
    models = list(dict.fromkeys(renamed.values()))
    column = np.array([models.index(name) for name in renamed.values()])
    if options.duplicates == "raise":
        _check_overlap(quality, column, list(renamed))
    _, first = np.unique(row, return_index=True)
    used = {prompt, task, identity, options.embeddings_column}
    used |= {*renamed, *beside}
    labels = _label_rows(table, queries)
    return make_bunch(
        table,
        models,
        row[:, None] * len(models) + column,
        quality=quality,
        costs=costs,
        cost_column=priced.get(next(iter(renamed))),
        queries=None if queries is None else queries[first],
        prompts=to_texts(found[prompt])[first] if prompt else None,
        task=to_texts(found[task])[first] if task else None,
        data=read_embeddings(table, row, by_row=True, labels=labels),
        checks=_read_checks(table, said, renamed),
        answers=_read_answers(table, answered, renamed),
        n_repeats=len(row) - len(first),
        left_out=[n for n in found if n not in used and not n.endswith(TOKEN_ENDINGS)],
    )


def _find_costs(table: RawTable, texts: set[str]) -> dict[str, str]:
    """Find the column of the costs of each model, by the name of the model.

    The first way of writing them that the table has is that of all. Those with an
    underscore need a column of the model's quality beside them.
    """
    found = table.found
    for ending in COST_ENDINGS:
        priced = {
            name.removesuffix(ending): name
            for name in found
            if name.endswith(ending)
            and normalize(name) not in COLUMNS["cost"]
            and name not in table.named_models
        }
        if ending != COST_ENDING:
            # An underscore may belong to any other name, but a bar is ours: a model
            # without a column is then refused.
            is_ours = ending.startswith("|")
            beside = set(found) - texts
            priced = {
                model: name
                for model, name in priced.items()
                if model in beside or (is_ours and model not in texts)
            }
        if priced:
            return priced
    return {}


def _find_checks(table: RawTable) -> dict[str, dict[str, str]]:
    """Find the columns of each check, by the names of the check and of the model."""
    said: dict[str, dict[str, str]] = {}
    for name in table.found:
        parts = None if name in table.named_models else split_check(name)
        if parts is not None:
            model, check = parts
            said.setdefault(check, {})[model] = name
    return said


def _find_answers(table: RawTable) -> dict[str, str]:
    """Find the column of the answers of each model, by the name of the model."""
    return {
        name.removesuffix(ANSWER_ENDING): name
        for name in table.found
        if name.endswith(ANSWER_ENDING) and name not in table.named_models
    }


def _find_models(
    table: RawTable, priced: dict[str, str], texts: set[str]
) -> dict[str, str]:
    """Find the columns of the models' qualities, with the models' new names."""
    wanted = table.options.wanted
    if wanted:
        costs = set(priced.values())
        names = [n for n in table.found if COST_ENDING not in n and n not in costs]
    else:
        names = _guess_models(table, priced, texts)
    new_names = table.rename_models(names)
    table.check_all_there(new_names, table.has)
    renamed = dict(zip(names, new_names, strict=True))
    if wanted:
        kept = [name for name in names if renamed[name] in wanted]
        kept.sort(key=lambda name: wanted.index(renamed[name]))
        renamed = {name: renamed[name] for name in kept}
    check_model_names(renamed.values(), table.source)
    table.refuse_spaced_twins(list(renamed.values()))
    return renamed


def _guess_models(
    table: RawTable, priced: dict[str, str], texts: set[str]
) -> list[str]:
    """Tell the columns of models from those that only stand beside them."""
    found = table.found
    others = {table.options.embeddings_column, *priced.values(), *texts}
    names = [
        name
        for name, values in found.items()
        if name in priced
        or not (
            name in others
            or name.rpartition("|")[0] in found
            or is_dropped(name, found)
            or is_nested(values)
        )
    ]
    if priced:
        # Cost columns already name the models, so other columns need not be models.
        names = [
            name
            for name in names
            if name in priced
            or (_may_be_quality(found[name]) and not is_known_side(name))
        ]
    else:
        _refuse_side_columns(table, names)
    if not names:
        raise ValueError(
            f"{table.source} has no quality column; each model needs a column of "
            f"its name. It has {table.has}."
        )
    return names


def _refuse_side_columns(table: RawTable, names: list[str]) -> None:
    """Refuse columns that would become models, though logs have others so named."""
    found = table.found
    if {"model_a", "model_b", "winner"} <= set(map(normalize, found)):
        raise ValueError(
            f"{table.source} holds votes between two models (model_a, model_b, "
            "winner), not the quality of each. Read them by skroute.datasets."
            "from_battles; skroute.preferences.win_rates turns them into qualities."
        )
    side = [
        name
        for name in names
        if is_known_side(name) or all(map(is_missing, found[name].tolist()))
    ]
    if side:
        models = [n for n in names if n not in side and _may_be_quality(found[n])]
        raise ValueError(
            f"{table.source} has columns that are no model's quality, by their "
            f"names or as they are empty: {format_names(side)}. Delete them, or "
            f"name those of the models: "
            f"models=[{', '.join([*map(repr, models[:3]), '...'])}]."
        )


def _read_costs(
    table: RawTable, priced: dict[str, str], renamed: dict[str, str]
) -> np.ndarray | None:
    """Read the costs of the models, or compute them from tokens."""
    if table.options.token_prices is not None:
        return compute_wide_token_costs(table, renamed)
    measured = {m: to_numbers(n, table.found[n], _HINT) for m, n in priced.items()}
    if not measured:
        return None
    _refuse_ghosts(table, priced, renamed, "cost")
    for name in renamed:
        if name not in measured:
            raise ValueError(
                f"column {name!r} has no '{name}{COST_ENDING}' beside it, as other "
                "models do. Delete it if it is not a model's quality, or name "
                "those of the models: models=[...]; if its costs are unknown, add "
                "the column and leave it empty."
            )
        refuse_negative_costs(priced[name], measured[name])
    return np.column_stack([measured[name] for name in renamed])


def _read_checks(
    table: RawTable, said: dict[str, dict[str, str]], renamed: dict[str, str]
) -> dict[str, np.ndarray]:
    """Read what each check said, (n_rows, n_columns), ``NaN`` where unknown."""
    checks = {}
    unknown = np.full(len(table.columns[0][1]), np.nan)
    for check, columns in said.items():
        _refuse_ghosts(table, columns, renamed, "check")
        values = {
            model: to_numbers(name, table.found[name], CHECK_HINT)
            for model, name in columns.items()
            if model in renamed
        }
        if values:
            checks[check] = np.column_stack([values.get(n, unknown) for n in renamed])
    return checks


def _read_answers(
    table: RawTable, columns: dict[str, str], renamed: dict[str, str]
) -> np.ndarray | None:
    """Read the answers, (n_rows, n_columns), ``None`` where there is none."""
    _refuse_ghosts(table, columns, renamed, "answer")
    if not set(columns) & set(renamed):
        return None
    none = make_object_array([None] * len(table.columns[0][1]))
    return np.column_stack(
        [
            to_answers(table.found[columns[name]]) if name in columns else none
            for name in renamed
        ]
    )


def _refuse_ghosts(
    table: RawTable, columns: dict[str, str], renamed: dict[str, str], kind: str
) -> None:
    """Refuse columns beside a model that the table lacks, unless models are named."""
    ghost = min(set(columns) - set(renamed), default=None)
    if not table.options.wanted and ghost is not None:
        raise ValueError(
            f"column {columns[ghost]!r} is the {kind} of a model without a quality "
            f"column; add a column {ghost!r}, or delete this one."
        )


def _check_overlap(quality: np.ndarray, column: np.ndarray, names: list[str]) -> None:
    """Refuse models that `rename` makes one, if both were run on a query."""
    for model in range(column.max() + 1):
        merged = np.flatnonzero(column == model)
        twice = (~np.isnan(quality[:, merged])).sum(axis=1) > 1
        if twice.any():
            raise ValueError(
                f"rename makes {format_names(names[i] for i in merged)} one "
                f"model, but row {int(twice.argmax())} has more than one of them. "
                "Take means by duplicates='mean'."
            )


def _label_rows(table: RawTable, queries: np.ndarray | None) -> list[Any] | None:
    """Choose what rows are called: the index of the table, or else its queries."""
    index: Any = getattr(table.options.embeddings, "index", None)
    known = set(index.tolist()) if hasattr(index, "tolist") else set()
    if queries is None or known.intersection(table.labels or ()):
        return table.labels
    return queries.tolist()


def _may_be_quality(values: np.ndarray) -> bool:
    """Tell whether a column holds numbers, some of them at least."""
    if values.dtype != object:
        return True
    known = [cell for cell in values.tolist() if not is_missing(cell)]
    return bool(known) and all(isinstance(c, Real | Decimal | np.bool_) for c in known)

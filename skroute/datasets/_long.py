"""Long routing tables: a row for each call of a model."""

from __future__ import annotations

from typing import Any, NamedTuple

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
from skroute.datasets._bunch import CHECK_HINT, make_bunch, refuse_negative_costs
from skroute.datasets._calls import (
    drop_followers,
    find_propensity,
    list_called,
    read_propensity,
)
from skroute.datasets._columns import (
    is_missing,
    is_nested,
    make_object_array,
    to_answers,
    to_numbers,
)
from skroute.datasets._prices import compute_long_token_costs, holds_tokens
from skroute.datasets._raw import RawTable
from skroute.datasets._schemas import COLUMNS, find_checks, find_first, normalize
from skroute.datasets._vectors import read_embeddings

_HINT = "Make the column numeric, or name another one."


class LongNames(NamedTuple):
    """Columns of a long table, or paths into them; see `from_long`."""

    query: str
    model: str
    quality: str
    cost: str | None = None
    prompt: str | None = None
    task: str | None = None
    propensity: str | None = None


def read_long(table: RawTable, names: LongNames) -> Bunch:
    """Turn the calls of a long table into a Bunch; see `from_long`."""
    table.take(**names._asdict())
    if len(table.found[names.query]) == 0:
        raise ValueError(f"{table.source} has no rows; a routing table needs calls.")
    called, renamed = _select_calls(table, names)
    called = drop_followers(table, names.propensity, names.query, called)
    # Without a model that was only ever called after another.
    there = set(called)
    renamed = {name: new for name, new in renamed.items() if name in there}
    found = table.found
    is_prompt = normalize(names.query) in COLUMNS["prompt"]
    cells = _check_present(names.query, found[names.query], may_be_blank=is_prompt)
    row, queries = _number_queries(names.query, cells)
    models = sorted(set(renamed.values()))
    place = {name: i for i, name in enumerate(models)}
    table.check_size(len(queries), len(models))
    pair = row * len(models) + np.array([place[renamed[n]] for n in called])
    n_pairs = len(np.unique(pair))
    if table.options.duplicates == "raise" and n_pairs < len(pair):
        _refuse_repeats(pair, cells, [renamed[name] for name in called])
    cost, costs = _read_costs(table, names, called, renamed)
    propensity = find_propensity(table, names.propensity, names.model, len(queries))
    prompt = names.prompt or find_prompts(found, names.query)
    task = names.task or find_first(COLUMNS["task"], found)
    quality = to_numbers(names.quality, found[names.quality], _HINT)
    used = {*names, cost, prompt, task, propensity, table.options.embeddings_column}
    said = [name for name in find_checks(found) if name not in used]
    checks = {name: to_numbers(name, found[name], CHECK_HINT) for name in said}
    answer = find_first(COLUMNS["answer"], [name for name in found if name not in used])
    used |= {*said, answer}
    return make_bunch(
        table,
        models,
        pair,
        quality=quality,
        costs=costs,
        cost_column=cost,
        queries=make_object_array(
            [clean_text(q) if isinstance(q, str) else q for q in queries]
        ),
        prompts=_take_one_each(prompt, found, row, queries) if prompt else None,
        task=_take_one_each(task, found, row, queries) if task else None,
        data=read_embeddings(table, row, by_row=False, labels=queries),
        checks=checks,
        answers=None if answer is None else to_answers(found[answer]),
        n_repeats=len(pair) - n_pairs,
        called=list_called([renamed[name] for name in called], len(queries)),
        propensity=None if propensity is None else read_propensity(table, propensity),
        left_out=_list_unused(table, {name for name in used if name is not None}),
    )


def _list_unused(table: RawTable, used: set[str]) -> list[str]:
    """Name the columns that nothing was read from, nor from inside of them."""
    outer = {normalize(name.partition(".")[0]) for name in used}
    counts = table.options.token_prices is not None
    return [
        name
        for name, _ in table.columns
        if name not in used
        and normalize(name) not in outer
        and not (counts and holds_tokens(name))
    ]


def _select_calls(
    table: RawTable, names: LongNames
) -> tuple[list[str], dict[str, str]]:
    """Keep the calls of models that are read: the model of each, and its new name."""
    cells = _check_present(names.model, table.found[names.model])
    # A whole number names a model without a fraction.
    whole = [int(c) if isinstance(c, float) and c.is_integer() else c for c in cells]
    called = [str(cell) for cell in whole]
    there = list(dict.fromkeys(called))
    renamed = dict(zip(there, table.rename_models(there), strict=True))
    check_model_names(renamed.values(), table.source)
    table.refuse_spaced_twins(list(renamed.values()))
    table.check_all_there(list(renamed.values()), f"the models {format_names(there)}")
    if wanted := table.options.wanted:
        renamed = {name: new for name, new in renamed.items() if new in wanted}
        kept = np.array([name in renamed for name in called])
        called = [name for name in called if name in renamed]
        table.found = {name: values[kept] for name, values in table.found.items()}
    return called, renamed


def _read_costs(
    table: RawTable, names: LongNames, called: list[str], renamed: dict[str, str]
) -> tuple[str | None, np.ndarray | None]:
    """Read the money of each call, or compute it from tokens; which column had it."""
    if table.options.token_prices is not None:
        if names.cost is not None:
            raise ValueError(
                f"token_prices computes costs, but cost={names.cost!r} names a column "
                "of them: give one of them."
            )
        return None, compute_long_token_costs(table, renamed, called)
    cost = names.cost or find_first(COLUMNS["cost"], table.found)
    if cost is None:
        return None, None
    costs = to_numbers(cost, table.found[cost], _HINT)
    return cost, refuse_negative_costs(cost, costs)


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
    beside = find_first(COLUMNS["prompt"], others)
    if beside is not None or not set(query.split(".")) & set(COLUMNS["prompt"]):
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

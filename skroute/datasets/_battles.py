"""Votes between two models, as arenas publish them."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skroute._table.duplicates import count_duplicate_prompts
from skroute._table.names import format_names
from skroute._table.texts import (
    check_model_names,
    clean_text,
    is_chat,
    parse_json,
    read_text,
)
from skroute.datasets._columns import (
    MAX_BYTES,
    is_missing,
    make_object_array,
    to_numbers,
    to_texts,
)
from skroute.datasets._raw import RawTable, ReadOptions
from skroute.datasets._schemas import COLUMNS, find_first, normalize, suggest
from skroute.datasets._vectors import read_embeddings

# What arenas write for each outcome, in lower case without spaces and punctuation.
_FIRST = {"modela", "a", "first", "left"}
_SECOND = {"modelb", "b", "second", "right"}
_TIE = {"tie", "tied", "draw", "tiebothbad", "bothbad", "tiebothgood", "bothgood"}
_SCORES = dict.fromkeys(_FIRST, 1.0) | dict.fromkeys(_SECOND, 0.0)
_SCORES |= dict.fromkeys(_TIE, 0.5)
_SPELLINGS = (
    "It is model_a, model_b, tie, tie (bothbad), both_bad, A or B, or the name of one "
    "of the two models."
)
# Columns of outcomes that are 1 in the rows that have them.
_ONE_HOT = {
    "winner_model_a": 1.0,
    "winner_model_b": 0.0,
    "winner_tie": 0.5,
    "winner_tie_bothbad": 0.5,
    "winner_bothbad": 0.5,
    "winner_both_bad": 0.5,
}
# Conversations in which the prompt is, if no column has it alone.
_CHATS = ("conversation_a", "conversation", "conversation_b", "full_conversation")
_DTYPE = [("model_a", object), ("model_b", object), ("score", np.float64)]
_DESCR = """\
Battles read from {source}
{n_battles} battles of {n_models} models, {n_ties:.0%} of them ties; the first model won
{first:.0%} of the others. {n_again} battles repeat the prompt of an earlier one.
"""


def from_battles(
    table: Any,
    *,
    model_a: str | None = None,
    model_b: str | None = None,
    winner: str | None = None,
    prompt: str | None = None,
    models: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    embeddings: Any = None,
    max_bytes: int = MAX_BYTES,
) -> Bunch:
    """Read votes between two models, such as those of an arena.

    A row is a battle: two models answered a prompt, and somebody preferred one of the
    answers, or neither. :func:`skroute.preferences.win_rates` makes qualities of them
    that a router can be fitted on.

    Parameters
    ----------
    table : DataFrame, mapping of columns, list of records, or path of a file
        Columns ``model_a`` and ``model_b``, and the outcome either in ``winner``
        (``model_a``, ``model_b``, ``tie``, ``tie (bothbad)``, ``both_bad``, ``A``,
        ``B``, or the name of the model, in upper or lower case) or in columns
        ``winner_model_a``, ``winner_model_b`` and ``winner_tie`` (also
        ``winner_tie_bothbad``), of which one is 1. Both bad counts as a tie.
    model_a, model_b, winner : str, default=None
        Their columns, if they are called otherwise. Dots lead into objects, as in
        ``"votes.winner"``.
    prompt : str, default=None
        Column of the prompts: texts, chats, or JSON lists of turns. By default
        ``prompt``, ``question``, ``query`` or ``messages``, or the conversation in
        ``conversation_a``. Of several turns the last of the user is taken, which is
        what a router is asked about.
    models : sequence of str, default=None
        Models to read, as they are called after `rename`: only battles between these
        are kept.
    rename : mapping from str to str, default=None
        New names of models. Several that get the same name become one model.
    embeddings : str, array-like of shape (n_rows, n_features) or path of a .npy file, \
            default=None
        Embeddings of the prompts, row by row as `table`, or the name of a column of
        vectors. A DataFrame is matched by label where its index and that of `table`
        hold the same texts.
    max_bytes : int, default=2**30
        Largest size of the table, as a file, unpacked, and in memory.

    Returns
    -------
    Bunch
        With the attributes

        data : ndarray of shape (n_battles, n_features) or None
            The embeddings, a row for each battle.
        battles : structured ndarray of shape (n_battles,)
            Fields ``model_a`` and ``model_b``, the names of the models, and ``score``:
            1 where the first won, 0 where the second did, 0.5 for a tie. Rows are
            selected as of any array, ``battles[rows]``, beside ``data[rows]``.
        models : ndarray of shape (n_models,)
            Names of the models, sorted.
        prompts : ndarray of shape (n_battles,) or None
            Texts of the prompts. They may repeat.
        DESCR : str
            Description of the table.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If the table is not as described; names the column, the row and the value, or
        lists the columns that were found.

    See Also
    --------
    skroute.preferences.win_rates : Turn the battles into qualities.

    Examples
    --------
    >>> from skroute.datasets import from_battles
    >>> votes = from_battles(
    ...     {
    ...         "model_a": ["small", "large", "small"],
    ...         "model_b": ["large", "medium", "medium"],
    ...         "winner": ["model_b", "tie (bothbad)", "model_a"],
    ...         "prompt": ["Prove it.", "Sing.", "What is 2 + 2?"],
    ...     }
    ... )
    >>> votes.battles["score"]
    array([0. , 0.5, 1. ])
    >>> votes.models
    array(['large', 'medium', 'small'], dtype=object)
    """
    options = ReadOptions(models, rename, embeddings=embeddings, max_bytes=max_bytes)
    given = {"model_a": model_a, "model_b": model_b, "winner": winner}
    raw = RawTable(table, options, (*given, *given.values(), *_CHATS, prompt))
    raw.take(**given, prompt=prompt)
    sides = [_find_column(raw, name, given[name]) for name in ("model_a", "model_b")]
    names = [_read_names(name, raw.found[name]) for name in sides]
    if not names[0]:
        raise ValueError(f"{raw.source} has no rows; votes need battles.")
    score = _read_scores(raw, winner, names)
    there = sorted({*names[0], *names[1]})
    renamed = dict(zip(there, raw.rename_models(there), strict=True))
    check_model_names(renamed.values(), raw.source)
    raw.check_all_there(list(renamed.values()), f"the models {format_names(there)}")
    battles = np.empty(len(score), dtype=_DTYPE)
    for side, own in zip(("model_a", "model_b"), names, strict=True):
        battles[side] = make_object_array([renamed[name] for name in own])
    battles["score"] = score
    _refuse_itself(raw, battles)
    data = read_embeddings(raw, np.arange(len(score)), by_row=True, labels=raw.labels)
    prompts = _read_prompts(raw, prompt)
    kept = np.ones(len(score), dtype=bool)
    if options.wanted:
        kept = np.isin(battles["model_a"], options.wanted)
        kept &= np.isin(battles["model_b"], options.wanted)
        if not kept.any():
            raise ValueError(
                f"models={list(options.wanted)} leaves no battle of {raw.source}: none "
                "is between two of them."
            )
    battles = battles[kept]
    prompts = None if prompts is None else prompts[kept]
    decided = battles["score"][battles["score"] != 0.5]
    found = np.unique(np.r_[battles["model_a"], battles["model_b"]].astype(str))
    return Bunch(
        data=None if data is None else data[kept],
        battles=battles,
        models=found.astype(object),
        prompts=prompts,
        DESCR=_DESCR.format(
            source=raw.source,
            n_battles=len(battles),
            n_models=len(found),
            n_ties=1 - len(decided) / len(battles),
            first=decided.mean() if len(decided) else 0.5,
            n_again=count_duplicate_prompts(prompts),
        ),
    )


def _find_column(table: RawTable, name: str, given: str | None) -> str:
    """Find the column of the models on one side."""
    column = given or find_first([name], table.found)
    if column is None:
        raise ValueError(
            f"{table.source} has no column {name!r} with the model of each battle; it "
            f"has {table.has}.{suggest([name], table.found)} If it is called "
            f"otherwise, name it: {name}='...'."
        )
    return column


def _read_names(name: str, values: np.ndarray) -> list[str]:
    """Read the names of the models on one side."""
    cells = values.tolist()
    for row, cell in enumerate(cells):
        if is_missing(cell) or (isinstance(cell, str) and not cell.strip()):
            raise ValueError(
                f"column {name!r} is empty in row {row}; every battle is between two "
                "models. Drop the row, or fill the column."
            )
    # A whole number names a model without a fraction.
    whole = [int(c) if isinstance(c, float) and c.is_integer() else c for c in cells]
    return [str(cell) for cell in whole]


def _refuse_itself(table: RawTable, battles: np.ndarray) -> None:
    """Refuse battles of a model against itself."""
    same = battles["model_a"] == battles["model_b"]
    if same.any():
        at = int(same.argmax())
        raise ValueError(
            f"row {at} of {table.source} is a battle of {battles['model_a'][at]!r} "
            f"against itself, which tells nothing; {int(same.sum())} rows are. Drop "
            "them; or if rename made them one model, keep them apart."
        )


def _read_scores(
    table: RawTable, winner: str | None, names: list[list[str]]
) -> np.ndarray:
    """Read who won: 1 the first, 0 the second, 0.5 neither."""
    column = winner or find_first(["winner"], table.found)
    if column is not None:
        votes = zip(table.found[column].tolist(), *names, strict=True)
        return np.array(
            [_read_vote(column, row, *vote) for row, vote in enumerate(votes)]
        )
    hot = {
        name: _ONE_HOT[n] for name in table.found if (n := normalize(name)) in _ONE_HOT
    }
    if not {1.0, 0.0} <= set(hot.values()):
        raise ValueError(
            f"{table.source} has no column 'winner', nor columns 'winner_model_a' and "
            f"'winner_model_b' (and 'winner_tie'); it has {table.has}."
            f"{suggest(['winner'], table.found)} If it is called otherwise, name it: "
            "winner='...'."
        )
    hint = "It is 1 where this was the outcome, and 0 elsewhere."
    cells = np.column_stack([to_numbers(n, table.found[n], hint) for n in hot])
    wrong = ~np.isin(cells, (0.0, 1.0)).all(axis=1) | (cells.sum(axis=1) != 1)
    if wrong.any():
        row = int(wrong.argmax())
        got = ", ".join(f"{n}={v:g}" for n, v in zip(hot, cells[row], strict=True))
        raise ValueError(
            f"row {row} of {table.source} must be 1 in one of the columns "
            f"{format_names(hot)}, and 0 in the others; got {got}. Drop the row, or "
            "fill it."
        )
    scores: np.ndarray = cells @ np.array(list(hot.values()))
    return scores


def _read_vote(column: str, row: int, cell: Any, first: str, second: str) -> float:
    """Read one outcome: a spelling of it, or the name of one of the two models."""
    name = str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)
    found = set()
    if isinstance(cell, str):
        letters = "".join(filter(str.isalnum, cell.lower()))
        found = {_SCORES[letters]} if letters in _SCORES else set()
    # A model may be called "a", or "tie".
    found |= {score for model, score in ((first, 1.0), (second, 0.0)) if model == name}
    if len(found) == 1:
        return found.pop()
    if is_missing(cell):
        way_out = "is empty: drop the row, or fill it"
    elif found:
        way_out = f"may mean more than one outcome, as a model is called {name}"
    else:
        way_out = "is not an outcome"
    raise ValueError(
        f"column {column!r} must say who won; row {row} has {reprlib.repr(cell)}, "
        f"which {way_out}. {_SPELLINGS}"
    )


def _read_prompts(table: RawTable, prompt: str | None) -> np.ndarray | None:
    """Read the texts of the prompts."""
    name = prompt or find_first(COLUMNS["prompt"], table.found)
    name = name or find_first(_CHATS, table.found)
    if name is None:
        return None
    cells = table.found[name].tolist()
    turns = [parse_json(cell) for cell in cells]
    if all(is_missing(c) or _is_turns(t) for c, t in zip(cells, turns, strict=True)):
        texts = [_take_last(t) if _is_turns(t) else "" for t in turns]
        return make_object_array([clean_text(text) for text in texts])
    if prompt is None and normalize(name) in _CHATS:
        bad = [i for i, t in enumerate(turns) if not (is_missing(t) or is_chat(t))]
        if bad:
            raise ValueError(
                f"column {name!r} must hold conversations, lists of messages with role "
                f"and content; row {bad[0]} has {reprlib.repr(cells[bad[0]])}. Name a "
                "column of prompts: prompt='...'."
            )
    return to_texts(table.found[name], read_text)


def _is_turns(cell: Any) -> bool:
    """Tell whether a cell is a list of turns, texts of which some may be missing."""
    return (
        isinstance(cell, list | tuple | np.ndarray)
        and len(cell) > 0
        and all(turn is None or isinstance(turn, str) for turn in cell)
    )


def _take_last(turns: Sequence[str | None]) -> str:
    return next((turn for turn in reversed(list(turns)) if turn), "")

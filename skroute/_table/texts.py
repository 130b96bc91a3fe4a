"""Texts of strangers: chats, and characters that no text should hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from skroute._table.names import check_printable

# A log that cuts a text inside an emoji leaves half a surrogate pair, which no file can
# encode. Control characters act on a terminal.
_UNWRITABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
#: What files write where there is nothing.
MISSING_WORDS = ("NA", "N/A", "<NA>", "NaN", "nan", "None", "null", "NULL")
_REPLACEMENT = "\ufffd"
# Names longer than this are answers or prompts.
_LONGEST_NAME = 500


def read_text(cell: Any) -> str:
    """Read a text, or the last message of the user in a chat.

    A chat is a list of messages with ``role`` and ``content``, also as JSON or under
    ``messages`` of an object. The text is cleaned (see `clean_text`).
    """
    inside = _find_chat(cell)
    return clean_text(_find_last_of_user(inside) if is_chat(inside) else str(cell))


def write_whole(cell: Any) -> str:
    """Write a text, or all messages of a chat as JSON: these tell conversations apart.

    Many conversations end in the same message, such as "yes, go on".
    """
    inside = _find_chat(cell)
    if is_chat(inside):
        cell = json.dumps(inside, sort_keys=True, ensure_ascii=False, default=str)
    return clean_text(str(cell))


def is_chat(cell: Any) -> bool:
    """Tell whether a cell is a list of messages."""
    return (
        isinstance(cell, Sequence)
        and not isinstance(cell, str)
        and len(cell) > 0
        and all(isinstance(m, Mapping) and {"role", "content"} <= set(m) for m in cell)
    )


def parse_json(cell: Any) -> Any:
    """Read the object or list that a text holds; leave the rest alone."""
    if isinstance(cell, str) and cell[:1] in ("{", "["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def check_model_names(names: Iterable[str], source: str) -> None:
    """Refuse names of models that cannot be shown, and texts that are no names."""
    for name in names:
        if len(name) > _LONGEST_NAME:
            raise ValueError(
                f"{source} has a model whose name has {len(name):,} characters, and "
                f"begins with {name[:20]!r}. Is the column of the models the right one?"
            )
        check_printable([name], f"a model of {source}", "rename it by rename={...}")


def clean_text(text: str) -> str:
    """Replace halves of surrogate pairs and control characters by U+FFFD."""
    if _UNWRITABLE.search(text) is None:
        return text
    # Join halves that belong together into one character.
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _UNWRITABLE.sub(_REPLACEMENT, paired)


def _find_chat(cell: Any) -> Any:
    """Take the chat out of JSON, and from under the ``messages`` of an object."""
    inside = parse_json(cell)
    if isinstance(inside, Mapping) and is_chat(inside.get("messages")):
        return inside["messages"]
    return inside


def _find_last_of_user(messages: Sequence[Mapping[str, Any]]) -> str:
    of_user = [m for m in messages if m["role"] == "user"]
    content = (of_user or messages)[-1]["content"]
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = [p.get("text") for p in content if isinstance(p, Mapping)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    return "" if content is None else str(content)


def is_missing(label: Any) -> bool:
    """Whether a text or a label is none: ``None``, ``NaN``, pandas' ``NA``."""
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas' NA is neither equal nor unequal
        return True


def count_missing_words(answers: np.ndarray) -> int:
    """Count texts that say that there is none, as files write it, in any case."""
    words = {word.lower() for word in MISSING_WORDS}
    return sum(
        isinstance(answer, str) and answer.strip().lower() in words
        for answer in answers.ravel().tolist()
    )

"""The text that a chat is routed by."""

from __future__ import annotations

from typing import Any, NamedTuple

from skroute._table.texts import clean_text

_TEXTS = ("text", "input_text", "output_text")


class Asked(NamedTuple):
    """Text of a chat, and what of it the router does not see."""

    prompt: str
    notes: list[str]


def read_prompt(messages: Any) -> Asked:
    """Read the user's last message, as OpenAI's API has it: a text, parts or nothing.

    Images, sounds and files are left out, with a note. Raises ``ValueError`` where the
    messages are none.
    """
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list of at least one message.")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError("each of the messages must be an object with a role.")
    of_user = [m for m in messages if m["role"] == "user"]
    if not of_user:
        return Asked("", ["no message of the user: routed as an empty prompt"])
    texts, others = _split_content(of_user[-1].get("content"))
    notes = [f"{n} {kind} not seen by the router" for kind, n in others.items()]
    if not any(text.strip() for text in texts):
        notes.append("the user's last message has no text: routed as an empty prompt")
    return Asked(clean_text("\n".join(texts)), notes)


def _split_content(content: Any) -> tuple[list[str], dict[str, int]]:
    """Split content into its texts and a count of its other parts by kind."""
    if content is None or isinstance(content, str):
        return [content or ""], {}
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise ValueError(
            "content must be a text or a list of parts; got a "
            f"{type(content).__name__}."
        )
    texts: list[str] = []
    others: dict[str, int] = {}
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            raise ValueError("each part of content must be an object with a type.")
        if kind in _TEXTS:
            text = part.get("text")
            if not isinstance(text, str):
                raise ValueError(f"a part of type {kind!r} must have a text.")
            texts.append(text)
        else:
            # Only letters: the name comes from a stranger and goes into a header.
            name = "".join(
                c for c in kind[:40] if c.isascii() and (c.isalnum() or c == "_")
            )
            others[name] = others.get(name, 0) + 1
    return texts, others

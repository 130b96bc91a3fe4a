"""Errors of the library in the words of the command: arguments become options."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Arguments that options of another name give.
_OTHER_NAMES = {"token_prices": "token_price"}
# An argument with its value, if it has one: not what a quoted text or a path holds.
_ARGUMENT = re.compile(
    r"""(?<![\w'"\-.=])([a-z_]+)=('[^']*'|"[^"]*"|\[[^\]]*\]|\{[^}]*\})?(?=[\s,.;:)]|$)"""
)
_CALL = re.compile(r"\bread_table\(\.\.\., ([^()]*)\)")


def name_options(text: str, options: Mapping[str, str]) -> str:
    """Write arguments in an error as options of a command, as far as it has them.

    `options` are the options by the names of their parameters.
    """

    def write(found: re.Match[str]) -> str:
        name, value = found.groups()
        option = options.get(_OTHER_NAMES.get(name, name), "")
        if not option.startswith("--"):
            return found[0]
        return option if value is None else f"{option} {_write_value(value)}"

    return _ARGUMENT.sub(write, _CALL.sub(r"\1", text))


def _write_value(value: str) -> str:
    """Write a value of Python as one of a shell: lists as names between commas."""
    if value == "[...]":
        return "A,B"
    if value == "{...}":
        return "OLD=NEW"
    if value[0] == "[":
        names = [name.strip().strip("'") for name in value[1:-1].split(",")]
        return ",".join(names)
    if value[0] == "{":
        return "'" + re.sub(r"'\s*:\s*'", "=", value[1:-1]).strip("'") + "'"
    return value[1:-1]

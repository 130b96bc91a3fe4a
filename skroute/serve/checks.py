"""Checks of answers: a JSON schema that a request states, functions of the operator."""

from __future__ import annotations

import inspect
import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import anyio.to_thread

from skroute._optional import require

logger = logging.getLogger("skroute.serve")

#: 1 or True where an answer passes, 0 or False where it fails, None: no news.
Check = Callable[[Mapping[str, Any], str], Any]

# References that one validation may follow: schemas that refer to themselves in
# several places take exponential time otherwise.
_MOST_REFERENCES = 10_000


def make_schema_check(response_format: Any) -> Check | None:
    """Make the check of a request's ``response_format``; None where it states none.

    Raises ``ValueError`` where the schema is none.
    """
    if response_format is None:
        return None
    if not isinstance(response_format, dict):
        raise ValueError("response_format must be an object with a type.")
    kind = response_format.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return _is_json_object
    if kind != "json_schema":
        raise ValueError(
            "response_format must be of type text, json_object or json_schema; got "
            f"{kind!r}."
        )
    stated = response_format.get("json_schema")
    schema = stated.get("schema") if isinstance(stated, dict) else None
    if not isinstance(schema, dict):
        raise ValueError("response_format.json_schema needs a schema.")
    validate = _make_validator(schema)

    def check(request: Mapping[str, Any], answer: str) -> bool | None:
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError):
            return False
        return validate(found)

    return check


def _is_json_object(request: Mapping[str, Any], answer: str) -> bool:
    try:
        return isinstance(json.loads(answer), dict)
    except (ValueError, RecursionError):
        return False


def _make_validator(schema: dict[str, Any]) -> Callable[[Any], bool | None]:
    """Make a validator of what clients state: it fetches nothing, and ends."""
    require("jsonschema", "response_format", "serve")
    from jsonschema import SchemaError
    from jsonschema.validators import Draft202012Validator, extend
    from referencing import Registry

    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        reason = getattr(error, "message", "it is too deep")
        raise ValueError(f"response_format has no JSON schema: {reason}") from None
    follow = Draft202012Validator.VALIDATORS["$ref"]
    followed = 0

    def count_reference(*arguments: Any) -> Any:
        nonlocal followed
        followed += 1
        if followed > _MOST_REFERENCES:
            raise RecursionError
        return follow(*arguments)

    additional = Draft202012Validator.VALIDATORS["additionalProperties"]

    def check_additional(validator: Any, value: Any, found: Any, within: Any) -> Any:
        patterned = "patternProperties" in within
        return () if patterned else additional(validator, value, found, within)

    # A regular expression of a stranger can take for ever: patterns, and what looks at
    # them, are not checked.
    patterns = ("pattern", "patternProperties", "unevaluatedProperties", "$dynamicRef")
    limited: Any = extend(
        Draft202012Validator,
        {
            **dict.fromkeys(patterns, lambda *_: ()),
            "$ref": count_reference,
            "additionalProperties": check_additional,
        },
    )

    def validate(found: Any) -> bool | None:
        nonlocal followed
        followed = 0
        try:
            # With a registry of nothing, a schema that refers to others fetches none.
            return bool(limited(schema, registry=Registry()).is_valid(found))
        except Exception as error:
            logger.warning(
                "the JSON schema of a request cannot be used: %s", repr(error)
            )
            return None

    return validate


async def run_checks(
    checks: Mapping[str, Check], request: Mapping[str, Any], answer: str, timeout: float
) -> dict[str, float]:
    """Run all checks of an answer; one that breaks or takes too long is no news, NaN.

    A coroutine is awaited; other functions run in a thread.
    """
    return {
        name: await _run_check(name, check, request, answer, timeout)
        for name, check in checks.items()
    }


async def read_label(
    read: Callable[..., Any] | None,
    request: Mapping[str, Any],
    answer: str,
    timeout: float,
) -> str | None:
    """Read what an answer comes down to; None if it is not known."""
    if read is None:
        return None
    try:
        with anyio.fail_after(timeout):
            found = await _ask(read, request, answer)
    except Exception as error:
        logger.warning("an answer cannot be read: %s", repr(error))
        return None
    return None if found is None else str(found)


async def _ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """Await a coroutine; run another function in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    return await anyio.to_thread.run_sync(function, *arguments, abandon_on_cancel=True)


async def _run_check(
    name: str, check: Check, request: Mapping[str, Any], answer: str, timeout: float
) -> float:
    try:
        with anyio.fail_after(timeout):
            said = await _ask(check, request, answer)
        return math.nan if said is None else float(said)
    except Exception as error:
        logger.warning("the check %s failed: %s", name, repr(error))
        return math.nan


def fails(said: Mapping[str, float]) -> bool:
    """Whether a check says that an answer is more likely wrong than right."""
    return any(value < 0.5 for value in said.values())

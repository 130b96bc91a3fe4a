"""Frozen objects that keep what they compute from their fields."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


class SavesFields:
    """Base of dataclasses with cached properties: only the fields are saved.

    What is cached can be computed again, so pickles, copies and files leave it out.
    """

    def __getstate__(self) -> dict[str, Any]:
        own: Any = self
        return {field.name: getattr(own, field.name) for field in fields(own)}

"""Values inside of cells: objects and lists of JSON, by a path with dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skroute._table.texts import parse_json
from skroute.datasets._in_memory import object_array
from skroute.datasets._schemas import normalize, suggest

__all__ = ["find_values", "list_paths", "take_values"]


def find_values(found: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Find a column, or what lies in the cells of one; ``None`` if no row has it.

    The keys of nested objects, and positions in lists, follow the name of the column
    after dots, as in ``usage.prompt_tokens``. Rows that lack it have ``None``.
    """
    if name in found:
        return found[name]
    parts = name.split(".")
    for n_outer in range(len(parts) - 1, 0, -1):
        outer = ".".join(parts[:n_outer])
        column = found.get(outer)
        if column is None:
            column = next((found[n] for n in found if normalize(n) == outer), None)
        if column is None or column.dtype != object:
            continue
        cells = [_follow(cell, parts[n_outer:]) for cell in column.tolist()]
        if any(cell is not None for cell in cells):
            return object_array(cells)
    return None


def take_values(
    found: Mapping[str, np.ndarray], name: str, argument: str, source: str, has: str
) -> np.ndarray:
    """Find the column that an argument names, or say that the table `has` others."""
    values = find_values(found, name)
    if values is None:
        raise ValueError(
            f"{argument}={name!r} is no column of {source}; it has {has}."
            f"{suggest([name], [*found, *list_paths(found)])}"
        )
    return values


def list_paths(found: Mapping[str, np.ndarray], most: int = 50) -> list[str]:
    """Name what lies in the objects of the first row that has any, for errors."""
    paths: list[str] = []
    for name, column in found.items():
        if column.dtype != object or len(paths) >= most:
            continue
        inside = next((c for c in column.tolist() if isinstance(c, Mapping)), {})
        paths.extend(f"{name}.{key}" for key in inside)
    return paths[:most]


def _follow(cell: Any, parts: Sequence[str]) -> Any:
    """Follow keys and positions into a cell; ``None`` where they lead nowhere."""
    for part in parts:
        inside = parse_json(cell)
        if isinstance(inside, Mapping):
            if part in inside:
                cell = inside[part]
                continue
            cell = next((inside[k] for k in inside if normalize(str(k)) == part), None)
        elif isinstance(inside, Sequence | np.ndarray) and not isinstance(inside, str):
            reached = part.isdecimal() and int(part) < len(inside)
            cell = inside[int(part)] if reached else None
        else:
            return None
    return cell

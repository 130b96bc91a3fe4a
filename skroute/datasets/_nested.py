"""Values inside of cells: objects and lists of JSON, by a path with dots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skroute.datasets._dataframes import object_array
from skroute.datasets._layouts import normalize, suggest

__all__ = ["find_values", "list_paths", "parse_json", "take_values"]


def find_values(found: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """Find a column, or what lies in the cells of one.

    Parameters
    ----------
    found : mapping of str to ndarray of shape (n_rows,)
        The columns of a table.
    name : str
        Name of a column, or one with the keys of nested objects after dots, such as
        ``usage.prompt_tokens``, and the positions in lists.

    Returns
    -------
    ndarray of shape (n_rows,) or None
        The values, ``None`` in rows that lack it; ``None`` if no row has it.
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
        cells = [_dig(cell, parts[n_outer:]) for cell in column.tolist()]
        if any(cell is not None for cell in cells):
            return object_array(cells)
    return None


def take_values(
    found: Mapping[str, np.ndarray], name: str, argument: str, source: str, has: str
) -> np.ndarray:
    """Find the column that an argument names, or say which there are.

    Parameters
    ----------
    found : mapping of str to ndarray of shape (n_rows,)
        The columns of a table.
    name : str
        What the argument says.
    argument, source : str
        How errors call the argument and the table.
    has : str
        What the table has, for the error.

    Returns
    -------
    ndarray of shape (n_rows,)
        The values.

    Raises
    ------
    ValueError
        If there is no such column.
    """
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


def parse_json(cell: Any) -> Any:
    """Read the object or list that a text holds; leave the rest alone."""
    if isinstance(cell, str) and cell[:1] in ("{", "["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _dig(cell: Any, parts: Sequence[str]) -> Any:
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

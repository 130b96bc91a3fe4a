"""Names of models and of rows: where they come from, and how tables match by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from numbers import Integral
from typing import Any

import numpy as np


def model_names(table: Any, name: str = "y") -> np.ndarray | None:
    """Column names of a DataFrame as an object array; ``None`` for anything else."""
    columns = getattr(table, "columns", None)
    if columns is None:
        return None
    # A pandas MultiIndex gives tuples.
    levels = [column for column in columns if isinstance(column, tuple)]
    if levels:
        raise ValueError(
            f"{name} has columns of several levels, such as {levels[0]}, as a pivot of "
            f"several values gives them; the models must be one level: take one value, "
            f"{name}[{levels[0][0]!r}], or drop the others, "
            f"{name}.droplevel(0, axis=1)."
        )
    names = np.array([str(column) for column in columns], dtype=object)
    if "Unnamed: 0" in names:
        raise ValueError(
            f"{name} has a column 'Unnamed: 0', which is a row index that was saved "
            "with the table, and no model: read it with index_col=0, or drop it."
        )
    check_unique(names, f"the columns of {name}")
    check_printable(names, f"a column of {name}")
    return names


def as_name(name: Any) -> Any:
    """Turn a whole number that names a model into its name; leave the rest alone."""
    whole = isinstance(name, Integral) and not isinstance(name, bool)
    return str(name) if whole else name


def check_unique(names: np.ndarray, what: str) -> None:
    """Refuse names that stand for more than one model."""
    values, counts = np.unique(names.astype(str), return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"{what} must be unique model names; more than one is called "
            f"{format_names(values[counts > 1])}."
        )


def check_printable(
    names: Any, what: str, way_out: str = "give the model another name"
) -> None:
    """Refuse names with characters that a terminal acts upon, or no file can hold."""
    for name in names:
        if not name.isprintable():
            raise ValueError(
                f"{what} is called {name!a}, with characters that cannot be printed, "
                f"such as a line feed; {way_out}."
            )


def make_default_names(n_models: int) -> np.ndarray:
    """Names of models that came without any: model_0, model_1, ..."""
    return np.array([f"model_{i}" for i in range(n_models)], dtype=object)


def name_estimates(models: np.ndarray) -> np.ndarray:
    """Column names of a router's estimates: qualities first, then costs."""
    names = [f"{kind}__{model}" for kind in ("quality", "cost") for model in models]
    return np.array(names, dtype=object)


def as_mapping(prices: Any, models: Any = None) -> Any:
    """Turn a Series that is indexed by model names into a dict; leave the rest alone.

    The index that pandas numbers by itself holds no names, unless the models of a table
    without column names are numbered alike.
    """
    index = getattr(prices, "index", None)
    if index is None or callable(index) or getattr(prices, "ndim", 0) != 1:
        return prices
    labels = [str(label) for label in index]
    # 0, 1, 2... may still be the names of models that are called by numbers.
    is_range = type(index).__name__ == "RangeIndex"
    is_numbered = is_range and (index.start, index.step) == (0, 1)
    if is_numbered and (models is None or set(labels) != set(models)):
        return prices
    named = dict(zip(labels, prices.tolist(), strict=True))
    if len(named) < len(labels):
        twice = sorted(label for label in named if labels.count(label) > 1)
        raise ValueError(
            f"a Series by model must name each model once; more than one row is called "
            f"{format_names(twice)}."
        )
    return named


def refuse_strangers(names: Any, models: np.ndarray, argument: str) -> None:
    """Raise a ``ValueError`` where an argument names what is no model."""
    known = set(models)
    strangers = [name for name in names if name not in known]
    if strangers:
        raise ValueError(
            f"{argument} names {format_names(strangers)}, which are no models; the "
            f"models are {format_names(models)}."
        )


def check_rows(**tables: Any) -> None:
    """Refuse tables whose row labels contradict each other (see `is_mismatch`).

    Rows are matched by their position: the same labels in another order, as in a table
    that was shuffled, are refused, and so are other names. Tables come by the names of
    their arguments, and an error tells to reorder the later of two. Of a dict, each
    column is looked at.
    """
    labels = {
        name: table.index
        for name, table in _iterate_tables(tables)
        if hasattr(table, "index") and hasattr(table.index, "equals")
    }
    # Every pair, because labels that are numbers agree with anything.
    for (one, known), (other, found) in combinations(labels.items(), 2):
        # Of other lengths the check of shapes says it better.
        if len(known) != len(found) or not is_mismatch(known, found):
            continue
        if found.isin(known).all():
            raise ValueError(
                f"{other} has the row labels of {one} in another order, and rows are "
                f"matched by position: put them in one order, "
                f"{other} = {other}.loc[{one}.index], or, if they are, drop the labels "
                "of both with reset_index(drop=True)."
            )
        raise ValueError(
            f"{other} and {one} must have the same row labels, or none; {one} has "
            f"{format_names(known, 3)}, {other} has {format_names(found, 3)}. Select "
            "the same rows of both, or, if they are, drop the labels of one with "
            "reset_index(drop=True)."
        )


def check_call_rows(**tables: Any) -> None:
    """Refuse row labels that contradict each other in what comes with a call.

    Costs of one value per model have the labels of models, and none of rows.
    """
    if getattr(tables.get("costs"), "ndim", 2) == 1:
        del tables["costs"]
    check_rows(**tables)


def _iterate_tables(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name the tables, and the columns of those that are dicts of columns."""
    for name, table in tables.items():
        if isinstance(table, Mapping):
            yield from ((f"{name}[{key!r}]", column) for key, column in table.items())
        else:
            yield name, table


def is_mismatch(known: Any, found: Any) -> bool:
    """Whether the labels of as many rows say that these do not match by position.

    Labels that repeat (such as the task of each query) do not name a row, nor do
    numbers, which pandas gives by itself, unless they are a permutation.
    """
    if known.equals(found) or not (known.is_unique and found.is_unique):
        return False
    numbers = {"integer", "floating"} & {known.inferred_type, found.inferred_type}
    return not numbers or bool(found.isin(known).all())


def reorder_columns(
    table: np.ndarray, columns: np.ndarray | None, models: np.ndarray | None, name: str
) -> np.ndarray:
    """Put the named columns of a table in the order of the models."""
    if columns is None or models is None:
        return table
    if set(columns) != set(models):
        raise ValueError(
            f"{name} must name the same models as the rest of the table; only one of "
            f"them has {format_names(sorted(set(columns) ^ set(models)))}."
        )
    where = {column: i for i, column in enumerate(columns)}
    # Contiguous, because sums must not depend on the layout.
    return np.ascontiguousarray(table[:, [where[model] for model in models]])


def format_names(names: Any, most: int = 5) -> str:
    """Write the first few names out in an error, safe to show in a terminal."""
    names = [name if name.isprintable() else ascii(name) for name in map(str, names)]
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

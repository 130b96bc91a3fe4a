"""A table that is being read: its columns, its name in errors, and the choices made."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skroute._table.names import format_names
from skroute._table.numbers import check_integer
from skroute.datasets._columns import (
    MAX_BYTES,
    Columns,
    find_values,
    list_paths,
    read_in_memory,
)
from skroute.datasets._files import as_path, read_columns
from skroute.datasets._schemas import TEXT_COLUMNS, suggest

_N_LISTED = 12
# Bytes of an outcome in a table of queries and models.
_BYTES = 8


@dataclass(frozen=True)
class ReadOptions:
    """Choices for tables of both layouts; see :func:`skroute.datasets.read_table`."""

    models: Sequence[str] | None = None
    rename: Mapping[str, str] | None = None
    duplicates: str = "raise"
    prices: Any = None
    token_prices: Any = None
    embeddings: Any = None
    max_bytes: int = MAX_BYTES
    as_frame: bool = False

    def __post_init__(self) -> None:
        if self.duplicates not in ("raise", "mean"):
            raise ValueError(
                f"duplicates must be 'raise' or 'mean'; got {self.duplicates!r}."
            )
        check_integer(self.max_bytes, "max_bytes", low=1)
        if self.models is not None and (
            isinstance(self.models, str)
            or not hasattr(self.models, "__len__")
            or not len(self.models)
            or len(set(map(str, self.models))) < len(self.models)
        ):
            raise ValueError(
                f"models must be a list of different names; got {self.models!r}."
            )
        if self.rename is not None and not isinstance(self.rename, Mapping):
            raise TypeError(
                "rename must map names of models to new ones; got "
                f"{type(self.rename).__name__}."
            )
        if self.prices is not None and self.token_prices is not None:
            raise ValueError(
                "prices are money per call, and token_prices money per token: give one "
                "of them."
            )

    @property
    def embeddings_column(self) -> str | None:
        """Name of the column of vectors, if there may be one."""
        return self.embeddings if isinstance(self.embeddings, str) else None

    @property
    def wanted(self) -> tuple[str, ...]:
        """New names of the models that are to be read; empty where all are."""
        return tuple(map(str, self.models or ()))


class RawTable:
    """A table in memory or in a file; columns that `text` names hold text in a CSV.

    `source` is what errors call it, and `labels` are the index of a DataFrame.
    """

    def __init__(
        self, table: Any, options: ReadOptions, text: Collection[str | None] = ()
    ) -> None:
        self.options = options
        self.labels = table.index.tolist() if hasattr(table, "iloc") else None
        if isinstance(table, str | os.PathLike):
            file = as_path(table, "table")
            names = {*TEXT_COLUMNS, *(name for name in text if name)}
            self.source = file.name
            self.columns = read_columns(file, names, options.max_bytes)
        else:
            self.source = type(table).__name__
            self.columns = read_in_memory(table, options.max_bytes)
        self.found = dict(self.columns)
        self.has = _describe(self.columns)

    @property
    def named_models(self) -> set[str]:
        """Columns that the caller says are models, whatever they are called."""
        return {*self.options.wanted, *map(str, self.options.rename or ())}

    def take(self, **names: str | None) -> None:
        """Find the columns that arguments name, also those that lie inside of cells."""
        for argument, name in names.items():
            if name is None:
                continue
            values = find_values(self.found, name)
            if values is None:
                raise ValueError(
                    f"{argument}={name!r} is no column of {self.source}; it has "
                    f"{self.has}."
                    f"{suggest([name], [*self.found, *list_paths(self.found)])}"
                )
            self.found[name] = values

    def rename_models(self, names: Sequence[str]) -> list[str]:
        """Give the models of the table their new names."""
        rename = self.options.rename or {}
        new = {str(old): str(name) for old, name in rename.items()}
        for old, name in new.items():
            if old not in names:
                raise ValueError(
                    f"rename names {old!r}, which is no model of {self.source}; it has "
                    f"{format_names(names, 12)}.{suggest([old], names)}"
                )
            if not name:
                raise ValueError(f"rename gives {old!r} an empty name.")
        return [new.get(name, name) for name in names]

    def refuse_spaced_twins(self, models: Sequence[str]) -> None:
        """Refuse two models whose names differ by nothing but spaces around them."""
        known: dict[str, str] = {}
        for model in dict.fromkeys(models):
            twin = known.setdefault(model.strip(), model)
            if twin != model:
                raise ValueError(
                    f"{self.source} has models {twin!r} and {model!r}, whose names "
                    "differ in nothing but spaces. Make them one in the file, or by "
                    f"rename={{{max(twin, model, key=len)!r}: {model.strip()!r}}}."
                )

    def check_all_there(self, renamed: Sequence[str], has: str) -> None:
        """Check that the table has every model of `models`."""
        for name in self.options.wanted:
            if name not in renamed:
                raise ValueError(
                    f"models names {name!r}, which is no column of {self.source}, and "
                    f"no model; it has {has}.{suggest([name], renamed)}"
                )

    def check_size(self, n_queries: int, n_models: int) -> None:
        """Refuse a table that would take far more memory than its text."""
        size, most = n_queries * n_models * _BYTES, self.options.max_bytes
        if size > most:
            raise ValueError(
                f"{self.source} has {n_queries:,} queries and {n_models:,} models, a "
                f"table of {size:,} bytes, more than max_bytes={most:,}. Is the column "
                "of the models the right one? If it is, give a larger max_bytes."
            )


def _describe(columns: Columns) -> str:
    """Write out which columns a table has, for an error."""
    kinds = [
        f"{format_names([name])} "
        f"({'numbers' if values.dtype.kind in 'biuf' else 'text'})"
        for name, values in columns[:_N_LISTED]
    ]
    more = len(columns) - len(kinds)
    return ", ".join(kinds) + (f" and {more} more" if more else "") or "none"

"""What every reader of a table can be told beside the names of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skroute._table.names import format_names
from skroute._table.numbers import check_integer
from skroute.datasets._in_memory import MAX_BYTES
from skroute.datasets._schemas import suggest

__all__ = ["ReadOptions"]

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

    def rename_models(self, names: Sequence[str], source: str) -> list[str]:
        """Give the models of a table, named `source` in errors, their new names."""
        new = {str(old): str(name) for old, name in (self.rename or {}).items()}
        for old, name in new.items():
            if old not in names:
                raise ValueError(
                    f"rename names {old!r}, which is no model of {source}; it has "
                    f"{format_names(names, 12)}.{suggest([old], names)}"
                )
            if not name:
                raise ValueError(f"rename gives {old!r} an empty name.")
        return [new.get(name, name) for name in names]

    def is_read(self, name: str) -> bool:
        """Tell whether a model is to be read, by its new name."""
        return self.models is None or name in set(map(str, self.models))

    def check_all_there(self, renamed: Sequence[str], source: str, has: str) -> None:
        """Check that the table has every model of `models`."""
        for name in map(str, self.models or ()):
            if name not in renamed:
                raise ValueError(
                    f"models names {name!r}, which is no column of {source}, and no "
                    f"model; it has {has}.{suggest([name], renamed)}"
                )

    def check_size(self, n_queries: int, n_models: int, source: str) -> None:
        """Refuse a table that would take far more memory than its text."""
        size = n_queries * n_models * _BYTES
        if size > self.max_bytes:
            raise ValueError(
                f"{source} has {n_queries:,} queries and {n_models:,} models, a table "
                f"of {size:,} bytes, more than max_bytes={self.max_bytes:,}. Is the "
                "column of the models the right one? If it is, give a larger max_bytes."
            )

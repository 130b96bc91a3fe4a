"""Checks of prompts, and of tables that hold prompts beside numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_array

from skroute._table.names import format_names
from skroute._table.numbers import (
    LARGEST_FEATURE,
    check_magnitude,
    has_plain_numbers,
)
from skroute._table.texts import clean_text, is_missing

_WANTED = (
    "X must be a list, an array or a Series of texts, one for each query, or a "
    "DataFrame with one column of texts; got "
)


def check_prompts(X: Any) -> list[str]:
    """Give prompts as a list; a table must hold nothing else."""
    if hasattr(X, "columns"):
        if len(X.columns) != 1:
            raise TypeError(
                f"{_WANTED}a {type(X).__name__} of shape {X.shape}. Take the column of "
                "texts out of the table."
            )
        X = X[next(iter(X.columns))]
    elif isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1:
        X = X[:, 0]
    kind = type(X).__name__
    if isinstance(X, str | bytes) or not hasattr(X, "__iter__"):
        raise TypeError(f"{_WANTED}a {kind}. Put a single text into a list.")
    if getattr(X, "ndim", 1) != 1 or isinstance(X, Mapping):
        shape = f" of shape {X.shape}" if hasattr(X, "shape") else ""
        raise TypeError(f"{_WANTED}a {kind}{shape}.")
    texts = list(X)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            way_out = ""
            if np.ndim(text) == 0 and is_missing(text):
                way_out = " Leave the row out, or give an empty text."
            raise TypeError(f"X must hold texts; row {row} is {text!r}.{way_out}")
    # Tokenizers fail on halves of characters, which truncated JSON leaves.
    return [clean_text(text) for text in texts]


class TextTable(NamedTuple):
    """Prompts, the numbers beside them (n_queries, n_features), and where these are."""

    prompts: list[str]
    #: ``None`` where there are prompts only.
    numbers: np.ndarray | None = None
    #: Place of the prompts among the columns.
    column: int = 0


def split_table(X: Any, column: int | None = None) -> TextTable:
    """Split a table into its prompts and its numbers; a list holds prompts only.

    It is quicker where the prompts stand in the place among the columns that is given.
    """
    if not hasattr(X, "columns") or len(X.columns) == 1:
        return TextTable(check_prompts(X))
    if column is not None and hasattr(X, "iloc"):
        table = _split_plain_table(X, column)
        if table is not None:
            return table
    columns = list(X.columns)
    if len(set(columns)) < len(columns):
        raise ValueError("X must have columns of different names.")
    holds = list(map(_is_numeric, X.dtypes))
    numeric = [name for name, numbers in zip(columns, holds, strict=True) if numbers]
    texts = [name for name, numbers in zip(columns, holds, strict=True) if not numbers]
    if len(texts) != 1:
        what = format_names(texts) if texts else "none"
        raise ValueError(
            "X must have one column of texts, and columns of numbers beside it; it has "
            f"{len(texts)} columns that hold no numbers: {what}. Select the columns "
            "that the router is to read, and give each number of an embedding a column "
            "of its own."
        )
    prompts = check_prompts(X[texts[0]])
    numbers = X[numeric]
    plain = numbers.to_numpy()
    numbers = check_array(
        # scikit-learn looks at each column of a DataFrame, which takes long, and
        # makes float64 of the float32 of polars. But it knows holes of pandas.
        numbers if plain.dtype == object else plain,
        dtype=(np.float64, np.float32),
        order="C",
        ensure_min_samples=0,
        input_name="the embedding columns of X",
    )
    check_magnitude(numbers, "X", LARGEST_FEATURE)
    return TextTable(prompts, numbers, columns.index(texts[0]))


def _split_plain_table(X: Any, column: int) -> TextTable | None:
    """Split a pandas DataFrame if its other columns are numbers as they should be.

    Looking at each of some hundred columns takes many times as long as to route.
    """
    # The place of the prompts is that of the fit, and this may be another table.
    if not X.columns.is_unique or column >= len(X.columns):
        return None
    sides = slice(0, column), slice(column + 1, len(X.columns))
    plain = [X.iloc[:, side].to_numpy() for side in sides if side.start < side.stop]
    numbers = np.ascontiguousarray(plain[0] if len(plain) == 1 else np.hstack(plain))
    texts = X[X.columns[column]]
    if not has_plain_numbers(numbers) or _is_numeric(texts.dtype):
        return None
    return TextTable(check_prompts(texts), numbers, column)


def _is_numeric(dtype: Any) -> bool:
    """Whether a column of pandas or polars holds numbers."""
    if hasattr(dtype, "is_numeric"):
        return bool(dtype.is_numeric())
    return getattr(dtype, "kind", "O") in "biuf"

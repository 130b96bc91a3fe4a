"""Checks of single numbers, and of arrays of them."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

# Beyond these, squares of embeddings and sums of outcomes overflow.
LARGEST_FEATURE = 1e100
LARGEST_OUTCOME = 1e300
#: Embeddings keep their precision; anything else becomes float64.
FLOATS = (np.float64, np.float32)


def check_number(value: Any, name: str, *, low: float | None = None) -> float:
    """Check that `value` is a finite real number, at least `low` if that is given."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        way_out = " Give a float." if isinstance(value, str | Decimal) else ""
        raise ValueError(f"{name} must be a number; got {value!r}.{way_out}")
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = np.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite; got {value!r}.")
    if low is not None and number < low:
        raise ValueError(f"{name} must be at least {low:g}; got {value!r}.")
    return number


def check_integer(value: Any, name: str, *, low: int) -> int:
    """Check that `value` is an integer, at least `low`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be an integer; got {value!r}.")
    check_number(value, name, low=low)
    return int(value)


def check_not_negative(values: np.ndarray, name: str) -> None:
    """Refuse values below 0; ``NaN`` passes."""
    if (values < 0).any():
        raise ValueError(
            f"{name} must not be negative; the smallest is {np.nanmin(values):g}."
        )


def read_numbers(values: Any, name: str, *, finite: Any = "allow-nan") -> np.ndarray:
    """Read an array of any shape as float64; unknown, masked too, is ``NaN``.

    Infinity is refused, unless ``finite=False``.
    """
    try:
        return check_array(
            fill_masked(values),
            dtype=np.float64,
            ensure_all_finite=finite,
            ensure_2d=False,
            order="C",  # sums must not depend on the layout
            input_name=name,
        )
    except (TypeError, ValueError) as error:
        # scikit-learn's message already names the argument.
        if re.search(rf"\b{name}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} must hold numbers: {error}") from None


def read_floats(values: Any, name: str) -> np.ndarray:
    """Read numbers as float64, whatever they are; masked ones are ``NaN``."""
    try:
        return np.asarray(fill_masked(values), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers; got {values!r}.") from None


def fill_masked(values: Any) -> Any:
    """Turn masked entries into ``NaN``: they are not known."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    filled: np.ndarray = np.ma.filled(values.astype(np.float64), np.nan)
    return filled


def refuse_masked(values: Any, name: str) -> None:
    """Refuse masked entries where every number has to be known."""
    n_masked = np.ma.count_masked(values) if np.ma.isMaskedArray(values) else 0
    if n_masked:
        raise ValueError(
            f"{name} must be known everywhere; it is a masked array with {n_masked} "
            "masked entries. Fill them in, or leave these rows out."
        )


def check_column(values: Any, n_queries: int, name: str) -> np.ndarray:
    """Check one value per query, ``NaN`` where unknown."""
    if values is None or np.ndim(values) == 0:
        raise ValueError(
            f"{name} must have one value per query, shape ({n_queries},); got "
            f"{values!r}."
        )
    column = read_numbers(values, name)
    if column.shape != (n_queries,):
        raise ValueError(
            f"{name} must have one value per query of X, shape ({n_queries},); got "
            f"{column.shape}."
        )
    return column


def check_sample_weight(sample_weight: Any, n_queries: int) -> np.ndarray:
    """Check how much each query counts: (n_queries,), the largest of them 1.

    ``None`` weighs all alike.
    """
    if sample_weight is None:
        return np.ones(n_queries)
    weight = check_column(sample_weight, n_queries, "sample_weight")
    if np.isnan(weight).any():
        raise ValueError(
            f"sample_weight must be finite; {int(np.isnan(weight).sum())} of "
            f"{n_queries} weights are NaN. Give a query that should not count weight 0."
        )
    check_not_negative(weight, "sample_weight")
    if not weight.any():
        raise ValueError("sample_weight must be above 0 for some query; all are 0.")
    # Scaled, so that sums of very large or small weights are finite.
    return weight / weight.max()


def check_magnitude(table: np.ndarray, name: str, largest: float) -> None:
    """Refuse numbers so large that they overflow, which float32 cannot hold."""
    if table.dtype == np.float64 and (np.abs(table) > largest).any():
        raise ValueError(
            f"{name} must hold numbers of at most {largest:g} in size; got "
            f"{np.nanmax(np.abs(table)):g}. Give it in a larger unit."
        )


def has_plain_numbers(X: Any, n_dimensions: int = 2) -> bool:
    """Tell whether X is a table of floats that needs no further check.

    Those of scikit-learn take as long as routing one query.
    """
    if not (
        type(X) is np.ndarray
        and X.dtype in FLOATS
        and X.flags.c_contiguous
        and X.ndim == n_dimensions
        and X.shape[0] > 0
    ):
        return False
    # A sum of squares within the limit proves that all numbers are finite and small
    # enough; vdot does not warn where it overflows. A table whose sum is not goes
    # through the full check.
    return float(np.vdot(X, X)) <= LARGEST_FEATURE**2

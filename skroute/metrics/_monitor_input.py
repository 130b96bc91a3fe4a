"""Checks of the input of a CollapseMonitor."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np

from skroute._table.costs import check_prices
from skroute._table.names import as_mapping, format_names
from skroute._table.numbers import (
    LARGEST_OUTCOME,
    check_magnitude,
    check_number,
    read_floats,
)


def check_share(value: Any, name: str) -> float:
    number = check_number(value, name, low=0.0)
    if number > 1.0:
        raise ValueError(f"{name} must lie between 0 and 1, or be None; got {value!r}.")
    return number


def check_models(models: Any) -> np.ndarray:
    """Check names of models: an object array of at least two, without repetitions."""
    if isinstance(models, str) or np.ndim(models) != 1:
        raise ValueError(
            f"models must be a list of names, such as router.models_; got {models!r}."
        )
    names = np.array([str(name) for name in models], dtype=object)
    if len(names) < 2:
        raise ValueError(
            f"models must name at least 2 models; got {len(names)}: with one model "
            "nothing can collapse."
        )
    twice = sorted({name for name in names if (names == name).sum() > 1})
    if twice:
        raise ValueError(
            f"models must be unique names; got twice: {format_names(twice)}."
        )
    return names


def check_monitor_prices(costs: Any, models: np.ndarray) -> np.ndarray:
    costs = as_mapping(costs, models)
    if not isinstance(costs, Mapping) and np.shape(costs) != (len(models),):
        raise ValueError(
            f"costs must be one price per model, of shape ({len(models)},), or a dict "
            f"of name to price; got shape {np.shape(costs)}. What each call did cost "
            "goes to update(decisions, costs=...)."
        )
    given = list(costs.values()) if isinstance(costs, Mapping) else costs
    read_floats(given, "costs")
    prices = check_prices(costs, models)
    check_magnitude(prices, "costs", LARGEST_OUTCOME)
    if np.isnan(prices).any():
        raise ValueError(
            "costs has no price for the models "
            f"{format_names(models[np.isnan(prices)])}; give their mean cost per call."
        )
    return prices


def check_decisions(decisions: Any, models: np.ndarray) -> np.ndarray:
    """Turn names or indices of models into indices; -1 where no model was called."""
    # As object, because an array of text would turn NaN into a name.
    kind = None if hasattr(decisions, "dtype") else object
    given = np.asarray(decisions, dtype=kind)
    if given.ndim != 1:
        raise ValueError(
            f"decisions must be names or indices of models, of shape (n_queries,); got "
            f"shape {given.shape}. A single decision is [decision]."
        )
    if given.dtype.kind == "O":
        # `route` gives None with top_k where a query has no more models.
        called = np.array([not _is_missing(value) for value in given], dtype=bool)
        if not called.all():
            choices = np.full(len(given), -1)
            choices[called] = check_decisions(given[called], models)
            return choices
    if given.dtype.kind in "iu" or all(_is_index(value) for value in given):
        if len(given) and not 0 <= given.min() <= given.max() < len(models):
            raise ValueError(
                f"decisions must lie in 0..{len(models) - 1}, one index per model; got "
                f"values from {given.min()} to {given.max()}."
            )
        return given.astype(np.int64)
    index = {name: i for i, name in enumerate(models)}
    unknown = sorted({str(name) for name in given if name not in index})
    if unknown:
        raise ValueError(
            f"decisions must name the models {format_names(models)}, or be their "
            f"integer indices; unknown: {format_names(unknown)}. A new model needs a "
            "new monitor."
        )
    return np.array([index[name] for name in given], dtype=np.int64)


def _is_index(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def check_spent(costs: Any, choices: np.ndarray) -> np.ndarray:
    """Check the cost of each call; float64, ``NaN`` where unknown."""
    paid = read_floats(costs, "costs")
    if paid.shape != choices.shape:
        raise ValueError(
            f"costs must have one value per decision, shape {choices.shape}; got "
            f"{paid.shape}. Leave it out to take the prices of the models."
        )
    bad = np.isinf(paid) | (paid < 0)
    if bad.any():
        raise ValueError(
            f"costs must be finite and not negative; got {format_names(paid[bad])}. "
            "Where a cost is unknown, give NaN."
        )
    check_magnitude(paid, "costs", LARGEST_OUTCOME)
    return paid


def check_outcomes(quality: Any, expected: Any, choices: np.ndarray) -> np.ndarray:
    """Check outcomes and what was expected, (2, n_queries), ``NaN`` where unknown."""
    if quality is None:
        # What was expected alone tells nothing yet.
        return np.full((2, len(choices)), np.nan)
    if expected is None:
        raise ValueError(
            "expected_quality must be given with quality, to compare it with: that of "
            "the decisions, as router.explain(X, ...)['expected_quality'] says."
        )
    tables = {"quality": quality, "expected_quality": expected}
    read = {}
    for name, values in tables.items():
        read[name] = numbers = read_floats(values, name)
        if numbers.shape != choices.shape:
            raise ValueError(
                f"{name} must have one value per decision, shape {choices.shape}; got "
                f"{numbers.shape}."
            )
        if np.isinf(numbers).any():
            raise ValueError(f"{name} must be finite, or NaN where unknown; got inf.")
        check_magnitude(numbers, name, LARGEST_OUTCOME)
    return np.stack([read["quality"], read["expected_quality"]])

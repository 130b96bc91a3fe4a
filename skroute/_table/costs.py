"""Checks of money: prices of models, costs of calls, and what was really spent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Context
from typing import Any

import numpy as np

from skroute._table.names import (
    as_mapping,
    format_names,
    model_names,
    refuse_strangers,
    reorder_columns,
)
from skroute._table.numbers import (
    LARGEST_OUTCOME,
    check_column,
    check_magnitude,
    check_not_negative,
    check_number,
    fill_masked,
    has_plain_numbers,
    read_numbers,
)

# Relative tolerance of budgets: float32 prices and printed numbers are not exact.
_SLACK = 1e-6


def add_slack(budget: Any) -> Any:
    """Give the most that counts as within a budget, or a cap."""
    if type(budget) is float:  # which does not warn where it overflows
        return budget * (1.0 + _SLACK)
    with np.errstate(over="ignore"):
        return budget * (1.0 + _SLACK)


def round_up(money: float) -> float:
    """Round to a number that people read, and that is enough as a budget."""
    nearest = float(f"{money:.6g}")
    if money <= nearest * (1.0 + _SLACK / 10):
        return nearest
    up = Context(prec=6, rounding=ROUND_CEILING)
    return float(up.create_decimal_from_float(float(money)))


def align_costs(costs: Any, shape: tuple[int, int], models: np.ndarray) -> np.ndarray:
    """Check per-query costs of the shape of y, and put them in the order of `models`.

    ``NaN`` is unknown. Columns without names are in the order of `models` already.
    """
    if isinstance(costs, Mapping):
        raise ValueError(
            f"costs must be per query, a table of the shape of y, {tuple(shape)}; got "
            "a dict. Prices per model belong in the constructor: costs=...; of columns "
            "by model make a table: pandas.DataFrame(...)."
        )
    # Before the numbers are read: arrays have no names.
    columns = model_names(costs, "costs")
    table = read_numbers(costs, "costs")
    if table.shape != tuple(shape):
        way_out = "Prices per model belong in the constructor of a router: costs=..."
        named = set() if columns is None else set(columns)
        # If no name is shared, y probably has no names: then this hint would mislead.
        if named & set(models) and named != set(models):
            way_out = (
                f"Not in y: {format_names(sorted(named - set(models)))}; missing from "
                f"costs: {format_names(sorted(set(models) - named))}."
            )
        raise ValueError(
            f"costs must be per query, of the shape of y, {tuple(shape)}; got "
            f"{table.shape}. {way_out}"
        )
    table = reorder_columns(table, columns, models, "costs")
    # NaN is not below 0, and passes.
    negative = (table < 0).any(axis=0)
    if negative.any():
        raise ValueError(
            "costs must not be negative; got negative costs for the models "
            f"{format_names(models[negative])}."
        )
    return table


def check_call_costs(costs: Any, n_queries: int) -> np.ndarray | float:
    """Check the costs of one model: a price, or money per call (n_queries,)."""
    if np.ndim(costs) == 0:
        return check_number(costs, "costs", low=0.0)
    costs = check_column(costs, n_queries, "costs")
    if np.isnan(costs).all():
        raise ValueError("costs has no known cost: all are NaN; give a price.")
    check_not_negative(costs, "costs")
    return costs


def check_prices(prices: Any, models: np.ndarray, name: str = "costs") -> np.ndarray:
    """Check per-model prices, ``NaN`` where unknown, in the order of `models`."""
    prices = as_mapping(prices, models)
    if isinstance(prices, Mapping):
        prices = {str(name): price for name, price in prices.items()}
        unknown = [key for key in prices if key not in set(models)]
        absent = [model for model in models if model not in prices]
        if unknown or absent:
            raise ValueError(
                f"{name} must price exactly the models of y; unknown: "
                f"{format_names(unknown)}; without a price: {format_names(absent)}."
            )
        prices = [prices[model] for model in models]
    try:
        # A masked price is unknown.
        vector = np.asarray(fill_masked(prices), dtype=np.float64)
    except OverflowError:
        raise ValueError(f"{name} must be finite; one is too large a number.") from None
    except (TypeError, ValueError):
        raise _explain_no_price(prices, name) from None
    if vector.shape != (len(models),):
        raise ValueError(
            f"{name} in the constructor must be one price per model, of shape "
            f"({len(models)},); got shape {vector.shape}. Per-query costs go to "
            "fit(X, y, costs=...)."
        )
    bad = np.isinf(vector) | (vector < 0)
    if bad.any():
        raise ValueError(
            f"{name} must be finite and not negative; got {vector[bad].tolist()} for "
            f"the models {format_names(models[bad])}."
        )
    return vector


def check_same_prices(state: Mapping[str, Any]) -> None:
    """Refuse a router, by its attributes, whose prices were set anew since its fit."""
    costs = state.get("costs")
    fitted = state.get("_fitted_costs", costs)
    if costs is not fitted and not _are_same(costs, fitted):
        raise ValueError(
            "costs are not those of the fit, on which rests what was learned: "
            "router.with_prices(...) is the same router at other prices, and "
            "sklearn.base.clone(router).set_params(costs=...) can be fitted at them."
        )


def _are_same(one: Any, other: Any) -> bool:
    """Whether two values of the `costs` parameter are the same prices."""
    try:
        if bool(one == other):
            return True
    except (TypeError, ValueError):  # arrays, which are compared below
        pass
    # By name, so that another order of the names is no change.
    one, other = as_mapping(one), as_mapping(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return False
        one, other = list(one.values()), [other[name] for name in one]
    try:
        one, other = (np.asarray(costs, dtype=np.float64) for costs in (one, other))
    except (TypeError, ValueError, OverflowError):
        return False
    return np.array_equal(one, other, equal_nan=True)


def _explain_no_price(prices: Any, name: str) -> ValueError:
    """Say which of the prices is no number."""
    for price in prices if hasattr(prices, "__iter__") else [prices]:
        try:
            float(price)
        except (TypeError, ValueError):
            break
    return ValueError(
        f"{name} must be one number per model, money per call; got {price!r}. A price "
        "is plain, without a currency and not by kind of token: multiply prices per "
        "token by the tokens of a call first."
    )


def check_spend(
    costs: Any, shape: tuple[int, int], models: np.ndarray | None = None
) -> np.ndarray:
    """Make observed costs, per model or per query, a table in the order of `models`."""
    if costs is None:
        raise ValueError(
            f"costs must be given, of shape ({shape[1]},) or {tuple(shape)}: nothing "
            "is judged without them."
        )
    costs = as_mapping(costs, models)
    if isinstance(costs, Mapping):
        if models is None:
            raise ValueError(
                "costs by model name need a y whose columns name the models; give "
                "them by position instead."
            )
        if any(np.ndim(price) for price in costs.values()):
            raise ValueError(
                f"costs must have shape ({shape[1]},) or {tuple(shape)}, or be a dict "
                "of one price per model; got a dict of columns: make a table of it, "
                "pandas.DataFrame(costs)."
            )
        costs = check_prices(costs, models)
    table = read_numbers(costs, "costs")
    if table.shape not in ((shape[1],), tuple(shape)):
        raise ValueError(
            f"costs must have shape ({shape[1]},) or {tuple(shape)}; got {table.shape}."
        )
    check_not_negative(table, "costs")
    # Prices become a row for each query.
    table = np.broadcast_to(table, shape)
    return reorder_columns(table, model_names(costs, "costs"), models, "costs")


def check_realised(costs: Any, shape: tuple[int, int]) -> np.ndarray:
    """Check what each query of a stream really cost, (n_queries,)."""
    # The checks of scikit-learn take longer than the decision they are for.
    plain = has_plain_numbers(costs, 1) and costs.dtype == np.float64
    spent = costs if plain else read_numbers(costs, "costs")
    if spent.shape != (shape[0],):
        raise ValueError(
            "costs must be what each query really cost, one number per row of Z, of "
            f"shape ({shape[0]},); got {spent.shape}. From a table of one column per "
            "model take the model that was called: costs[np.arange(n), choice]."
        )
    check_not_negative(spent, "costs")
    return spent


def count_zeros(costs: np.ndarray) -> int:
    """Count the calls that cost exactly 0, of models whose other calls cost money.

    Logs write 0 for a cost that was not recorded, and for an answer from a cache.
    """
    free = (costs == 0).sum(axis=0)
    return int(free[(costs > 0).any(axis=0)].sum())


def check_known_costs(
    costs: Any, n_queries: int, models: np.ndarray, name: str = "costs"
) -> np.ndarray | None:
    """Check costs that are known before the calls: (n_queries, n_models), or ``None``.

    They are a table, a price per model, or a dict from names to money. ``NaN``, or a
    name that is missing, is unknown. `name` is that of the argument; what is not money
    is read alike.
    """
    if costs is None or not n_queries:
        return None
    shape = n_queries, len(models)
    unit = "money" if name == "costs" else "numbers"
    expected = (
        f"{name} must be {unit} per call of these queries, of shape {shape} or "
        f"({shape[1]},), or a dict from names of models to {unit}"
    )
    named = as_mapping(costs, models)
    if isinstance(named, Mapping):
        by_name = {str(model): money for model, money in named.items()}
        if any(np.ndim(money) for money in by_name.values()):
            raise ValueError(
                f"{expected}; got a dict of columns: make a table of it, "
                f"pandas.DataFrame({name})."
            )
        columns: Any = np.array(list(by_name), dtype=object)
        table = read_numbers([*by_name.values(), 0.0], name)[:-1]
    else:
        columns, table = model_names(costs, name), read_numbers(costs, name)
        width = shape[1] if columns is None else len(columns)
        if table.shape not in ((width,), (n_queries, width)):
            raise ValueError(f"{expected}; got {table.shape}.")
        if table.ndim == 1 and 1 < n_queries == shape[1]:
            # Nothing tells prices of models from costs of as many queries.
            raise ValueError(
                f"{expected}; got {n_queries} numbers without names for {n_queries} "
                "queries and as many models, which may be either. Name the models in "
                f"a dict, or give a row for each query: numpy.tile({name}, "
                f"({n_queries}, 1))."
            )
    check_not_negative(table, name)
    check_magnitude(table, name, LARGEST_OUTCOME)
    if columns is None:
        return np.array(np.broadcast_to(table, shape))
    refuse_strangers(columns, models, name)
    known = np.full(shape, np.nan)
    place = {model: column for column, model in enumerate(models)}
    known[:, [place[model] for model in columns]] = table
    return known


def replace_known_costs(cost: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Put costs that are known, where they are not ``NaN``, in place of estimates."""
    return cost if known is None else np.where(np.isnan(known), cost, known)


def find_known_models(known: np.ndarray | None) -> np.ndarray | None:
    """Find the models whose costs are known of most queries, (n_models,), or none."""
    if known is None or not len(known):
        return None
    most = np.isfinite(known).mean(axis=0) > 0.5
    return most if most.any() else None


def check_changes(values: Any, models: np.ndarray, name: str) -> np.ndarray:
    """Check a number for some of the models, (n_models,), ``NaN`` where none is given.

    They come as an array of shape (n_models,), or by name.
    """
    named = as_mapping(values, models)
    if isinstance(named, Mapping):
        by_name = {str(model): value for model, value in named.items()}
        refuse_strangers(by_name, models, name)
        values = [by_name.get(model, np.nan) for model in models]
    numbers = np.empty(()) if np.ndim(values) == 0 else read_numbers(values, name)
    if numbers.shape != (len(models),):
        raise ValueError(
            f"{name} must be one number per model, of shape ({len(models)},), or a "
            f"dict from names to numbers; got {numbers.shape}."
        )
    check_not_negative(numbers, name)
    return numbers


def change_prices(prices: Any, models: np.ndarray, changed: np.ndarray) -> Any:
    """Put changed numbers in place of the prices of a constructor, of the same kind."""
    if isinstance(as_mapping(prices, models), Mapping):
        return {str(m): float(p) for m, p in zip(models, changed, strict=True)}
    return changed.copy()

"""Outcomes and costs of a training table: whether they are enough to fit a router."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from skroute._compute.executor import IN_MEMORY, Executor
from skroute._table.averages import divide_sums, sum_known
from skroute._table.costs import align_costs, check_prices
from skroute._table.names import format_names, model_names, reorder_columns
from skroute._table.numbers import LARGEST_OUTCOME, check_magnitude, read_numbers
from skroute.exceptions import NoCostWarning, find_caller_level


class Outcomes(NamedTuple):
    """What is checked of a training table besides the queries.

    `quality`, `costs`, `per_query`, `weight` and `weight_unit` are as in
    `RoutingTable`; `mean_costs`, (n_models,), is the mean money per call.
    """

    quality: Any
    costs: Any
    per_query: bool
    weight: Any
    mean_costs: np.ndarray
    weight_unit: np.ndarray | None = None


def check_outcomes_of(
    router: BaseEstimator,
    models: np.ndarray,
    quality: Any,
    costs: Any = None,
    outcome_weight: Any = None,
    executor: Executor = IN_MEMORY,
) -> Outcomes:
    """Check that outcomes and costs are enough to fit a router.

    They are as in `check_routing_table`, checked by sums over rows: on a cluster
    (`executor`) tables are handles of columns.
    """
    observed = executor.get(
        executor.total(_find_observed, quality, combine=np.logical_or)
    )
    if not observed.all():
        raise ValueError(
            "y has no observed quality for the models "
            f"{format_names(models[~observed])}: their column is all NaN; drop it or "
            "add outcomes."
        )
    weight = unit = None
    if outcome_weight is not None:
        weight, unit = _check_outcome_weight(outcome_weight, quality, models, executor)
        quality = executor.map(_keep_weighed, quality, weight)
    given = getattr(router, "costs", None)
    prices = None if given is None else check_prices(given, models)
    if costs is None:
        if prices is None:
            warnings.warn(
                f"{type(router).__name__} was given no costs: every model is taken to "
                "cost 1. Give prices as costs=... in the constructor or per-query "
                "costs to fit.",
                NoCostWarning,
                stacklevel=find_caller_level(),
            )
            # Equal costs: without a budget, routing is by quality alone.
            prices = np.ones(len(models))
        check_magnitude(prices, "costs", LARGEST_OUTCOME)
        if np.isnan(prices).any():
            raise ValueError(
                "costs has no price for the models "
                f"{format_names(models[np.isnan(prices)])} and no per-query costs were "
                "given to fit."
            )
        # A view, which takes no memory for the repeated prices.
        table = executor.map(_repeat_prices, quality, prices)
        even = _drop_even_weights(weight, executor)
        return Outcomes(quality, table, False, even, prices, unit)
    # Checked in each part: a cluster holds the costs in partitions.
    table = executor.map(
        _check_and_fill_call_costs, costs, quality, weight, prices, models
    )
    known, paid = executor.get(
        executor.total(_find_known_and_paid, table, combine=np.logical_or)
    )
    if not known.all():
        raise ValueError(
            f"costs has no known cost for the models {format_names(models[~known])}: "
            "their column is all NaN; give a price for them in the constructor."
        )
    # A price of 0 says on purpose that a model is free.
    free = ~paid if prices is None else ~paid & (prices != 0)
    if free.any():
        warnings.warn(
            f"costs is 0 in all rows for the models {format_names(models[free])}: 0 "
            "means free. Where a cost is not known, give NaN. A price of 0 for the "
            "model, costs=... in the constructor, says that it is free.",
            NoCostWarning,
            stacklevel=find_caller_level(),
        )
    sums = executor.get(executor.total(sum_known, table, weight))
    even = _drop_even_weights(weight, executor)
    return Outcomes(quality, table, True, even, divide_sums(sums), unit)


def _drop_even_weights(weight: Any, executor: Executor) -> Any:
    """Drop weights if all outcomes that count weigh the same, as they do without."""
    if weight is None:
        return None
    unevenness = executor.total(_measure_unevenness, weight, combine=max)
    return weight if executor.get(unevenness) > 1e-9 else None


def _measure_unevenness(weight: np.ndarray) -> float:
    """Largest distance from 1 of the weights of outcomes that count."""
    return float(np.abs(weight[weight > 0] - 1.0).max(initial=0.0))


def _find_observed(table: np.ndarray) -> np.ndarray:
    return np.isfinite(table).any(axis=0)


def _find_known_and_paid(costs: np.ndarray) -> np.ndarray:
    return np.stack([np.isfinite(costs).any(axis=0), (costs > 0).any(axis=0)])


def _keep_weighed(table: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.where(weight > 0, table, np.nan)


def _repeat_prices(quality: np.ndarray, prices: np.ndarray) -> np.ndarray:
    return np.broadcast_to(prices, quality.shape)


def _check_and_fill_call_costs(
    costs: Any,
    quality: np.ndarray,
    weight: np.ndarray | None,
    prices: np.ndarray | None,
    models: np.ndarray,
) -> np.ndarray:
    """Check the costs of calls, and fill unknown ones with known prices."""
    table = align_costs(costs, quality.shape, models)
    check_magnitude(table, "costs", LARGEST_OUTCOME)
    if weight is not None:
        table = _keep_weighed(table, weight)
    if prices is not None:
        # A known price stands in for a call whose cost was not recorded.
        table = np.where(np.isnan(table), prices, table)
    return table


def _check_outcome_weight(
    weight: Any, quality: Any, models: np.ndarray, executor: Executor
) -> tuple[Any, np.ndarray]:
    """Check weights of outcomes (n_queries, n_models), and scale those of every model.

    They are in any unit, and are not read where the quality is unknown: there they
    become 0. Those of a model then sum to Kish's effective number of outcomes,
    ``sum(w) ** 2 / sum(w ** 2)`` [1]_. Returns them, and what 1 counts then, of shape
    (n_models,).

    References
    ----------
    .. [1] L. Kish, "Survey Sampling", Wiley, 1965.
    """
    table = executor.map(read_weight, weight, quality, models)
    largest = executor.get(executor.total(_find_largest, table, combine=np.maximum))
    if (largest == 0).any():
        raise ValueError(
            "outcome_weight leaves no outcome of the models "
            f"{format_names(models[largest == 0])}: all their weights are 0; drop "
            "their columns or weigh an outcome."
        )
    # Scaling by the largest keeps the squares of extreme weights finite.
    total, squares = executor.get(executor.total(_sum_weights, table, largest))
    each = total / squares
    return executor.map(_scale_to_outcomes, table, largest, each), each / largest


def read_weight(weight: Any, quality: np.ndarray, models: np.ndarray) -> np.ndarray:
    """Read weights in the order of the models; 0 where the quality is unknown."""
    columns = model_names(weight, "outcome_weight")
    table = read_numbers(weight, "outcome_weight", finite=False)
    if table.shape != quality.shape:
        raise ValueError(
            "outcome_weight must have one weight per outcome, the shape of y, "
            f"{quality.shape}; got {table.shape}."
        )
    # As costs, see `align_costs`.
    table = reorder_columns(table, columns, models, "outcome_weight")
    known = np.isfinite(quality)
    bad = known & ~(np.isfinite(table) & (table >= 0))
    if bad.any():
        raise ValueError(
            "outcome_weight must be finite and not negative wherever y is known; got "
            f"{table[bad][0]!r} for the model {models[bad.any(axis=0)][0]}. Give 0 to "
            "leave an outcome out."
        )
    return np.where(known, table, 0.0)


def _find_largest(table: np.ndarray) -> np.ndarray:
    return table.max(axis=0)


def _sum_weights(table: np.ndarray, unit: np.ndarray) -> np.ndarray:
    table = table / unit
    return np.stack([table.sum(axis=0), (table**2).sum(axis=0)])


def _scale_to_outcomes(
    table: np.ndarray, unit: np.ndarray, each: np.ndarray
) -> np.ndarray:
    return (table / unit) * each


def check_complete(quality: np.ndarray, costs: np.ndarray | None = None) -> np.ndarray:
    """Find the queries (n_queries,) on which the outcome of every model is known.

    Only on these can decisions be judged, so there must be one.
    """
    known, outcome = np.isfinite(quality), "quality"
    if costs is not None:
        known, outcome = known & np.isfinite(costs), "quality and cost"
    complete: np.ndarray = known.all(axis=1)
    if not complete.any():
        most, n_models = int(known.sum(axis=1).max()), known.shape[1]
        raise ValueError(
            f"judging decisions needs complete rows: queries on which the {outcome} of "
            f"every model is known, to tell what another decision would have given. At "
            f"most {most} of the {n_models} models are known on any of these "
            f"{len(known)} queries. A log with one answer per query is enough to fit a "
            "router; skroute.evaluation.evaluate_log judges routers on it, and "
            "make_log_scorer scores them in a search. Or run every model on a sample "
            "of queries that the router was not fitted on, and give these as y and "
            "costs."
        )
    return complete

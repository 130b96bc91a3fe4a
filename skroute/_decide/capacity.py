"""Capacities: decisions of one batch of which each model takes only so many.

Without another limit this is a transportation problem, whose linear relaxation has
whole numbers as its solution [1]_. A total budget, or a target, is one more constraint.
The relaxation gives every capacity a price, and what a query loses at these prices by a
model that is not its best bounds what any decisions lose that send it there. So only
the models within reach of the best known decisions are left to an exact search [2]_.

References
----------
.. [1] A. J. Hoffman and J. B. Kruskal, "Integral boundary points of convex polyhedra",
   Linear Inequalities and Related Systems, Princeton, 1956.
.. [2] Q. Huangfu and J. A. J. Hall, "Parallelizing the dual revised simplex method",
   Mathematical Programming Computation 10, 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp, minimize
from scipy.sparse import coo_array, csr_array, vstack
from scipy.sparse.csgraph import maximum_flow
from scipy.special import logsumexp, softmax

from skroute._table.costs import add_slack, round_up
from skroute._table.names import as_mapping, refuse_strangers
from skroute._table.numbers import check_integer, refuse_masked
from skroute.exceptions import InfeasibleBudgetError

# Part of the range of values by which the mean value of decisions under a limit may
# be below the best.
_GAP = 1e-4
# Pairs of query and model that are searched at first.
_FIRST_SEARCHED = 500
# Part of the range of values that money may decide among equals.
_TIE = 1e-6
# Smoothing of the relaxation, in parts of the range of values.
_SMOOTHINGS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_MOST_NODES = 100_000


class Limit(NamedTuple):
    """A limit of the sum of a table (n_queries, n_models) over the decisions."""

    table: np.ndarray
    most: float


def read_capacities(capacity: Any, models: np.ndarray) -> tuple[float, ...] | None:
    """Read the most calls of each model: by name, or (n_models,); infinity is no limit.

    A name that is missing has none.
    """
    if capacity is None:
        return None
    named = as_mapping(capacity, models)
    refuse_masked(capacity, "capacity")
    if isinstance(named, Mapping):
        by_name = {str(name): most for name, most in named.items()}
        refuse_strangers(by_name, models, "capacity")
        values = [by_name.get(model, np.inf) for model in models]
    elif np.shape(capacity) == (len(models),):
        values = list(capacity)
    else:
        raise ValueError(
            f"capacity must be a number of calls for each model, of shape "
            f"({len(models)},), or a dict from names of models to numbers; got shape "
            f"{np.shape(capacity)}."
        )
    return tuple(
        np.inf if _is_endless(most) else float(check_integer(most, "capacity", low=0))
        for most in map(_as_whole, values)
    )


def _is_endless(most: Any) -> bool:
    return isinstance(most, float) and most == np.inf


def _as_whole(most: Any) -> Any:
    """Turn whole numbers of an array of floats into integers."""
    is_whole = isinstance(most, float) and most.is_integer()
    return int(most) if is_whole else most


def solve_capacities(
    quality: np.ndarray,
    cost: np.ndarray,
    allowed: np.ndarray,
    capacity: tuple[float, ...],
    *,
    budget: float | None = None,
    target: float | None = None,
    price: float = 0.0,
    on_infeasible: str = "raise",
) -> tuple[np.ndarray, float]:
    """Best decisions of one batch of which no model gets more than its capacity.

    Estimates are (n_queries, n_models). `budget` is the total money, and `target` the
    mean quality that is reached at the least money; without either, the decisions are
    those of the highest ``quality - price * cost``. Returns the choices, (n_queries,),
    and the shadow price; the value is within 0.01% of the best.

    Raises an ``InfeasibleBudgetError`` if there are too few calls, or none within the
    budget or the target; `on_infeasible` may say to take the cheapest (for a target,
    the best) in the latter case.
    """
    quality = np.asarray(quality, dtype=np.float64)
    cost = np.asarray(cost, dtype=np.float64)
    allowed = np.broadcast_to(allowed, quality.shape)
    n_queries = len(quality)
    most = np.minimum(capacity, n_queries)
    possible = count_possible(allowed, most)
    if possible < n_queries:
        raise InfeasibleBudgetError(
            f"capacity allows {possible} calls, and there are {n_queries} queries: "
            "route fewer at once, or raise it.",
            possible_calls=possible,
        )
    limit = None
    if budget is not None:
        choice, _ = _assign(-cost, allowed, most, None)
        least = float(_take(cost, choice).sum())
        if least > add_slack(budget):
            if on_infeasible == "cheapest":
                return choice, np.inf
            raise InfeasibleBudgetError(
                f"budget={budget:g} for this batch is below what its cheapest models "
                "cost within their capacity; the smallest feasible budget is "
                f"{round_up(least)}.",
                smallest_budget=least,
            )
        # Rounding may put what is feasible a hair above.
        limit = Limit(cost, max(budget, least))
    if target is not None:
        choice, _ = _assign(_break_ties(quality, cost), allowed, most, None)
        largest = float(_take(quality, choice).mean())
        if largest < target - 1e-9 * abs(target):
            if on_infeasible == "cheapest":
                return choice, 0.0
            raise InfeasibleBudgetError(
                f"min_quality={target:g} cannot be promised for this batch; the "
                f"largest expected mean quality within capacity is {largest!r}.",
                largest_quality=largest,
            )
        choice, dual = _assign(
            -cost, allowed, most, Limit(-quality, -min(target, largest) * n_queries)
        )
        return choice, 1 / dual if dual else np.inf
    value = _break_ties(quality if budget is not None else quality - price * cost, cost)
    choice, dual = _assign(value, allowed, most, limit)
    return choice, price if budget is None else dual


def count_possible(allowed: np.ndarray, capacity: np.ndarray) -> int:
    """Count the queries that can be called within capacities, at most."""
    n_queries, n_models = allowed.shape
    if allowed.all():
        return int(min(n_queries, capacity.sum()))
    # From a source, 0, to the queries, the models, and a sink.
    row, model = np.nonzero(allowed)
    sink = 1 + n_queries + n_models
    ends = (
        (np.zeros(n_queries, dtype=int), 1 + np.arange(n_queries), np.ones(n_queries)),
        (1 + row, 1 + n_queries + model, np.ones(len(row))),
        (1 + n_queries + np.arange(n_models), np.full(n_models, sink), capacity),
    )
    start, end, size = (np.concatenate(part) for part in zip(*ends, strict=True))
    graph = coo_array((size.astype(np.int32), (start, end)), shape=(sink + 1, sink + 1))
    return int(maximum_flow(csr_array(graph), 0, sink).flow_value)


def _assign(
    value: np.ndarray, allowed: np.ndarray, capacity: np.ndarray, limit: Limit | None
) -> tuple[np.ndarray, float]:
    """Find the choices of the highest value; also what a unit of the limit is worth."""
    best = np.where(allowed, value, -np.inf).argmax(axis=1)
    if limit is None and (np.bincount(best, minlength=len(capacity)) <= capacity).all():
        return best, 0.0
    unit = float(np.ptp(value[allowed])) or 1.0
    value = (value - value[allowed].min()) / unit
    scale = 1.0
    if limit is not None:
        scale = float(np.abs(limit.table[allowed]).mean()) or 1.0
        limit = Limit(limit.table / scale, limit.most / scale)
    bound, prices, worth = _relax(value, allowed, capacity, limit)
    left = value - prices - (0.0 if limit is None else worth * limit.table)
    left = np.where(allowed, left, -np.inf)
    lost = left.max(axis=1, keepdims=True) - left
    order = np.sort(lost[allowed])
    n_searched = len(value) + _FIRST_SEARCHED
    while True:
        reach = float(order[min(len(order), n_searched) - 1])
        choice = _search(value, allowed & (lost <= reach), capacity, limit)
        gap = np.inf
        if choice is not None:
            gap = bound - float(_take(value, choice).sum())
        # Decisions that go beyond the reach lose more than the gap. With a limit, whole
        # decisions are a little below the bound anyway, and a small gap is enough.
        enough = reach if limit is None else max(reach, _GAP * len(value))
        if choice is not None and (gap <= enough or reach >= order[-1]):
            return choice, worth * unit / scale
        if reach >= order[-1]:
            raise RuntimeError("no decisions were found that are known to exist.")
        n_searched += 3 * (n_searched - len(value))


def _relax(
    value: np.ndarray, allowed: np.ndarray, capacity: np.ndarray, limit: Limit | None
) -> tuple[float, np.ndarray, float]:
    """Bound the value of all decisions; also the prices of calls, and of the limit."""
    n_models = value.shape[1]
    ends = np.append(capacity, 0.0 if limit is None else limit.most)
    table = np.zeros_like(value) if limit is None else limit.table

    def subtract(prices: np.ndarray) -> np.ndarray:
        left = value - prices[:n_models] - prices[n_models] * table
        return np.where(allowed, left, -np.inf)

    def measure(prices: np.ndarray, smoothing: float) -> tuple[float, np.ndarray]:
        left = subtract(prices) / smoothing
        share = softmax(left, axis=1)
        used = np.append(share.sum(axis=0), (share * table).sum())
        total = smoothing * logsumexp(left, axis=1).sum() + prices @ ends
        return float(total) / len(value), (ends - used) / len(value)

    prices = np.zeros(n_models + 1)
    highest = [(0.0, None)] * n_models + [(0.0, 0.0 if limit is None else None)]
    best = np.inf, prices
    for smoothing in _SMOOTHINGS:
        found = minimize(
            measure,
            prices,
            (smoothing,),
            "L-BFGS-B",
            jac=True,
            bounds=highest,
            options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 300},
        )
        prices = found.x
        # Any prices bound the value; of these the lowest bound is kept.
        bound = float(subtract(prices).max(axis=1).sum() + prices @ ends)
        best = min(best, (bound, prices), key=lambda pair: pair[0])
    bound, prices = best
    return bound, prices[:n_models], float(prices[n_models])


def _search(
    value: np.ndarray, allowed: np.ndarray, capacity: np.ndarray, limit: Limit | None
) -> np.ndarray | None:
    """Search for the best choices among some models; None if there are none."""
    choice = allowed.argmax(axis=1)
    is_open = allowed.sum(axis=1) > 1
    closed = np.flatnonzero(~is_open)
    left = capacity - np.bincount(choice[closed], minlength=len(capacity))
    if (left < 0).any():
        return None
    if not is_open.any():
        within = limit is None or _take(limit.table, choice).sum() <= limit.most
        return choice if within else None
    row, model = np.nonzero(allowed[is_open])
    columns = np.arange(len(row))
    ones = np.ones(len(row))
    parts = [
        coo_array((ones, (row, columns))),
        coo_array((ones, (model, columns)), shape=(len(capacity), len(row))),
    ]
    low = np.concatenate([np.ones(is_open.sum()), np.full(len(capacity), -np.inf)])
    high = np.concatenate([np.ones(is_open.sum()), left])
    if limit is not None:
        spent = limit.table[is_open][row, model]
        rest = limit.most - _take(limit.table, choice)[closed].sum()
        parts.append(coo_array(spent[None]))
        low, high = np.append(low, -np.inf), np.append(high, rest)
    found = milp(
        -value[is_open][row, model],
        integrality=np.ones(len(row)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(csr_array(vstack(parts)), low, high),
        # Half of the gap is for what is searched, relative to its own value.
        options={
            "mip_rel_gap": _GAP / 2 * len(value) / max(is_open.sum(), 1),
            "node_limit": _MOST_NODES,
        },
    )
    if found.x is None:
        return None
    shares = np.zeros(allowed[is_open].shape)
    shares[row, model] = found.x
    choice[is_open] = shares.argmax(axis=1)
    return choice


def _break_ties(value: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Let money decide among equals."""
    unit = float(np.ptp(value)) or 1.0
    broken: np.ndarray = value - _TIE * unit * cost / (float(cost.max()) or 1.0)
    return broken


def _take(table: np.ndarray, choice: np.ndarray) -> np.ndarray:
    taken: np.ndarray = table[np.arange(len(choice)), choice]
    return taken

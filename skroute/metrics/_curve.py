"""The quality-cost curve of a router, from which all curve metrics are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from skroute._compute.chunks import sample_evenly
from skroute._decide.hull import choose, climb_hulls
from skroute._table.alignment import align, check_given
from skroute._table.averages import best_on_average
from skroute._table.hindsight import find_floor, mark_good_calls
from skroute._table.names import make_default_names
from skroute.metrics._choices import find_judged

# Qualities this far apart, relatively, are equal.
_ROUNDING = 1e-12
# Points of the sweep over per-query caps, as in ORBIT.
_N_CAPS = 100
# Points kept of the sweep over shadow prices, which has a step per query and model.
_N_PRICES = 1000


@dataclass(frozen=True)
class RoutingCurve:
    """Quality and cost that a router reaches at every budget, on known outcomes.

    Attributes
    ----------
    budget : ndarray of shape (n_points,)
        Increasing: the expected mean spend (``scope="mean"``) or the cap on the
        expected cost of a query (``scope="query"``).
    cost : ndarray of shape (n_points,)
        Money per query that was actually spent.
    quality : ndarray of shape (n_points,)
        Mean quality that was actually reached.
    call_share : ndarray of shape (n_points, n_models)
        Share of the queries that each model was called for.
    collapse : ndarray of shape (n_points,)
        Routing collapse index of the decisions at each point.
    model_quality, model_cost : ndarray of shape (n_models,)
        Means of each model, called for every query.
    floor : tuple of float
        Mean cost and quality of the model that is cheapest for each query.
    ceiling : float
        Mean cost of the model that is most expensive for each query.
    models : ndarray of str of shape (n_models,)
        Names of the models.
    price : ndarray of shape (n_points,)
        The shadow price at which ``router.route(X, price=...)`` decides as at the
        point, from infinity to 0; ``NaN`` with ``scope="query"``.
    scope : {"mean", "query"}
        How the budget was swept.
    n_queries : int
        Queries with complete outcomes (and a weight above 0), on which the curve rests.
    """

    budget: np.ndarray
    cost: np.ndarray
    quality: np.ndarray
    call_share: np.ndarray
    collapse: np.ndarray
    model_quality: np.ndarray
    model_cost: np.ndarray
    floor: tuple[float, float]
    ceiling: float
    models: np.ndarray
    price: np.ndarray
    scope: str
    n_queries: int

    @property
    def strongest(self) -> int:
        """Index of the strongest model: the most expensive one by mean cost."""
        return int(self.model_cost.argmax())

    @property
    def best_single(self) -> int:
        """Index of the best model by mean quality, ties to the cheaper."""
        return best_on_average(self.model_quality, self.model_cost)

    def envelope(self) -> tuple[np.ndarray, np.ndarray]:
        """Pareto envelope of the points and the floor.

        Returns
        -------
        cost, quality : ndarray
            Both increasing: the points that no cheaper point matches in quality.
        """
        cost = np.r_[self.floor[0], self.cost]
        quality = np.r_[self.floor[1], self.quality]
        order = np.lexsort((-quality, cost))
        cost, quality = cost[order], quality[order]
        reached = np.r_[-np.inf, np.maximum.accumulate(quality)[:-1]]
        # The last bit of a sum is no gain.
        kept = quality > reached + _ROUNDING * np.abs(quality).max()
        return cost[kept], quality[kept]

    def mixture(self) -> tuple[np.ndarray, np.ndarray]:
        """Best cost and quality of drawing models at random, ignoring the query.

        Returns
        -------
        cost, quality : ndarray
            Both increasing: corners of the best mixtures of single models, from the
            cheapest model to the best. Mixtures lie on the straight lines between them.
        """
        return concave_hull(self.model_cost, self.model_quality)


def routing_curve(
    y: Any,
    costs: Any,
    quality: Any,
    cost: Any,
    *,
    scope: Literal["mean", "query"] = "mean",
    models: Any = None,
    sample_weight: Any = None,
) -> RoutingCurve:
    """Sweep the budget, and count what the decisions actually give and cost.

    Parameters
    ----------
    y : array-like of shape (n_queries, n_models)
        Observed qualities. Queries with an unknown quality or cost are left out.
        Columns of a DataFrame name the models.
    costs : array-like of shape (n_models,) or (n_queries, n_models)
        Observed costs. Columns with names are matched to those of `y` by name, here and
        in `quality` and `cost`; columns without are in the order of `y`.
    quality, cost : array-like of shape (n_queries, n_models)
        A router's estimates, on which its decisions rest. Names may have the prefix
        that ``router.transform`` gives them.
    scope : {"mean", "query"}, default="mean"
        ``"mean"``: one shadow price, from infinity to 0, exactly; at most 1,000 of
        the points are kept. ``"query"``: a cap on the expected cost of each query, at
        most 100 quantiles of the distinct expected costs; the best model under the
        cap, else the cheapest [1]_.
    models : array-like of str of shape (n_models,), default=None
        Names of the models, where `y` has none.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts: one of weight 2 as two of weight 1, one of weight 0
        not at all.

    Returns
    -------
    RoutingCurve
        The curve.

    Raises
    ------
    ValueError
        If no query has complete outcomes.

    References
    ----------
    .. [1] G. Lai and H.-J. Ye, "When Routing Collapses: On the Degenerate Convergence
       of LLM Routers", arXiv:2602.03478, 2026.

    Examples
    --------
    >>> from skroute.metrics import routing_curve
    >>> y, costs = [[0, 1], [1, 1]], [1.0, 3.0]
    >>> curve = routing_curve(y, costs, y, [costs, costs])
    >>> curve.cost.tolist(), curve.quality.tolist()
    ([1.0, 2.0], [0.5, 1.0])
    """
    if scope not in ("mean", "query"):
        raise ValueError(f"scope must be 'mean' or 'query'; got {scope!r}.")
    check_given(costs=costs, quality=quality, cost=cost)
    y, costs, quality, cost, named = align(
        y,
        costs,
        models=models,
        quality=quality,
        cost=cost,
        sample_weight=sample_weight,
    )
    known, weight = find_judged(y, costs, sample_weight)
    y, costs, quality, cost = y[known], costs[known], quality[known], cost[known]
    mean = partial(np.average, axis=0, weights=weight)
    model_cost = mean(costs)
    floor_cost, floor_quality = find_floor(y, costs)
    good = mark_good_calls(y, int(model_cost.argmax()))
    sweep = _sweep_prices if scope == "mean" else _sweep_caps
    price, budget, share, spent, gained, well = sweep(
        quality, cost, (costs, y, good), weight
    )
    return RoutingCurve(
        budget=budget,
        cost=spent,
        quality=gained,
        call_share=share,
        collapse=1.0 - well,
        model_quality=mean(y),
        model_cost=model_cost,
        floor=(float(mean(floor_cost)), float(mean(floor_quality))),
        ceiling=float(mean(costs.max(axis=1))),
        models=make_default_names(y.shape[1]) if named is None else named,
        price=price,
        scope=scope,
        n_queries=len(y),
    )


def oracle_curve(
    y: Any,
    costs: Any,
    *,
    scope: Literal["mean", "query"] = "mean",
    models: Any = None,
    sample_weight: Any = None,
) -> RoutingCurve:
    """Sweep the budget of decisions in hindsight, which no router can beat.

    Parameters
    ----------
    y, costs, scope, models, sample_weight : array-like
        As in :func:`routing_curve`.

    Returns
    -------
    RoutingCurve
        The curve.

    Examples
    --------
    >>> from skroute.metrics import oracle_curve
    >>> oracle_curve([[0, 1], [1, 1]], [1.0, 3.0]).quality.tolist()
    [0.5, 1.0]
    """
    check_given(costs=costs)
    y, costs, _, _, named = align(y, costs, models=models, sample_weight=sample_weight)
    known, weight = find_judged(y, costs, sample_weight)
    y, costs = y[known], costs[known]
    return routing_curve(
        y, costs, y, costs, scope=scope, models=named, sample_weight=weight
    )


def concave_hull(
    cost: np.ndarray, quality: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the upper concave hull, from the cheapest point to the highest."""
    # The climb of one query whose models are the points.
    climb = climb_hulls(quality[None], cost[None])
    corners = np.r_[climb.start, climb.new]
    return cost[corners], quality[corners]


def _sweep_prices(
    quality: np.ndarray, cost: np.ndarray, tables: Sequence[np.ndarray], weight: Any
) -> tuple[np.ndarray, ...]:
    """Sweep shadow prices: prices, budgets, call shares, and means of the tables.

    All are per point; means are of what the decisions have in each of the tables,
    (n_queries, n_models).
    """
    steps = climb_hulls(quality, cost)
    levels, prices = steps.find_levels()
    kept = sample_evenly(len(levels), _N_PRICES)
    levels, prices = levels[kept], prices[kept]
    total, moved = weight.sum(), weight[steps.row]
    calls = np.empty((len(levels), quality.shape[1]))
    for model in range(quality.shape[1]):
        first = weight[steps.start == model].sum()
        change = moved * (1.0 * (steps.new == model) - (steps.old == model))
        calls[:, model] = first + np.r_[0.0, np.cumsum(change)][levels]
    budget, *means = (
        steps.walk(table * weight[:, None])[levels] / total for table in (cost, *tables)
    )
    return prices, budget, calls / total, *means


def _sweep_caps(
    quality: np.ndarray, cost: np.ndarray, tables: Sequence[np.ndarray], weight: Any
) -> tuple[np.ndarray, ...]:
    """Sweep caps on the expected cost of a query, as `_sweep_prices`; no prices."""
    caps = np.unique(cost)
    if len(caps) > _N_CAPS:
        caps = np.unique(np.quantile(caps, np.linspace(0, 1, _N_CAPS)))
    rows, models = np.arange(len(quality)), np.arange(quality.shape[1])
    mean = partial(np.average, axis=0, weights=weight)
    cheapest = cost == cost.min(axis=1, keepdims=True)
    points = []
    for cap in caps:
        choice = choose(quality, cost, 0.0, (cost <= cap) | cheapest)
        called = choice[:, None] == models
        points.append([mean(called), *(mean(table[rows, choice]) for table in tables)])
    return np.full(len(caps), np.nan), caps, *map(np.array, zip(*points, strict=True))

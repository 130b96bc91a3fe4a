"""Compare routers on one table: their quality and spend on paired splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import count
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from skroute._compute.threads import single_threaded
from skroute._optional import require
from skroute._table.hindsight import mark_good_calls
from skroute._table.names import check_rows
from skroute.base import BaseRouter
from skroute.evaluation.defaults import default_routers
from skroute.evaluation.scores import (
    TARGET,
    describe_splits,
    find_standard_error,
    write_json,
)
from skroute.evaluation.splits import (
    OutcomeTable,
    Split,
    are_embeddings,
    read_seeds,
)
from skroute.metrics import (
    RoutingCurve,
    best_single,
    normalized_auc,
    oracle_choice,
    quality_neutral_cost,
    routing_collapse_index,
    routing_curve,
    strongest_call_share,
)

#: Budgets that are checked, from the cheapest (0) to the most expensive (1) calls.
BUDGET_SHARES = (0.25, 0.5, 0.75)
#: What is measured of every router, in the order of a report.
METRICS = (
    "quality",
    "cost",
    "relative_quality",
    "relative_cost",
    "normalized_auc",
    "quality_neutral_cost",
    "settled_collapse_index",
    "settled_strongest_share",
    "routing_collapse_index",
    "strongest_call_share",
    "fit_seconds",
)
# What is written of each router, by the name of its column.
_WRITTEN = {
    "kept": "relative_quality",
    "paid": "relative_cost",
    "nAUC": "normalized_auc",
}
#: Name of the row that decides with hindsight.
ORACLE = "oracle"


@dataclass(frozen=True)
class RouterResult:
    """Scores of one router on every split.

    Attributes
    ----------
    name : str
        Name of the router.
    scores : dict of str to ndarray of shape (n_splits,)
        One entry for each of `METRICS`; ``NaN`` where undefined, infinity where the
        best single model's quality was never reached (``quality_neutral_cost``).
    spent : ndarray of shape (n_splits, n_budgets)
        Money per query that was actually spent at each of ``Comparison.budgets``.
    curves : tuple of RoutingCurve
        The router's curve on each test part.
    """

    name: str
    scores: dict[str, np.ndarray]
    spent: np.ndarray
    curves: tuple[RoutingCurve, ...]

    def mean(self, metric: str) -> float:
        """Average a metric over the splits.

        Parameters
        ----------
        metric : str
            One of `METRICS`.

        Returns
        -------
        float
            The mean.
        """
        return float(self.scores[metric].mean())

    def standard_error(self, metric: str) -> float:
        """Standard error of the mean of a metric over the splits.

        Splits share queries, so it does not say how the mean varies on other traffic.

        Parameters
        ----------
        metric : str
            One of `METRICS`.

        Returns
        -------
        float
            ``NaN`` for one split or infinite values.
        """
        return find_standard_error(self.scores[metric])


@dataclass(frozen=True)
class Comparison:
    """Routers compared on the same splits of one table; printed, a row for each.

    Notebooks show it as a table.

    Attributes
    ----------
    results : dict of str to RouterResult
        By name, in the order in which the routers were given; the oracle is last.
    budgets : ndarray of shape (n_splits, n_budgets)
        Money per query: `BUDGET_SHARES` of the way from the mean cost of each training
        query's cheapest model to that of its most expensive one.
    models : ndarray of str of shape (n_models,)
        Names of the models.
    seeds, test_size : tuple of int, and float
        Seed of each split, and share of the queries in the test part.
    n_queries, n_incomplete, n_prompts : int
        Rows of the table, rows without every quality and cost (used in training, left
        out of testing), and different prompts, which the other rows repeat.
    """

    results: dict[str, RouterResult]
    budgets: np.ndarray
    models: np.ndarray
    seeds: tuple[int, ...]
    test_size: float
    n_queries: int
    n_incomplete: int
    n_prompts: int

    def __str__(self) -> str:
        """Write a row for each router: what it kept and paid, and its area."""
        title, rows, legend = self._write()
        width, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [
            "  ".join([row[0].ljust(width), *map(str.rjust, row[1:], widths)])
            for row in rows
        ]
        return "\n".join([title, *lines, legend])

    def _repr_html_(self) -> str:
        """Write what is printed as a table."""
        title, (header, *rows), legend = self._write()
        columns = "".join(f'<th scope="col">{cell}</th>' for cell in header)
        lines = "".join(
            f'<tr><th scope="row">{escape(name)}</th>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
            for name, *cells in rows
        )
        return (
            f"<table><caption>{title}</caption>"
            f"<thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table>"
            f"<p>{legend}</p>"
        )

    def _write(self) -> tuple[str, list[tuple[str, ...]], str]:
        """Write a title, the rows of a table, the first its header, and a legend."""
        n_splits = len(self.seeds)
        splits = "1 split" if n_splits == 1 else f"{n_splits} splits"
        rows = [("", *_WRITTEN)]
        for name, result in self.results.items():
            scores = [
                _write_mean(result.mean(metric), result.standard_error(metric))
                for metric in _WRITTEN.values()
            ]
            rows.append((name, *scores))
        title = (
            f"Routers compared on {splits} of {self.n_queries:,} queries, "
            f"{self.test_size:.0%} of them tested (mean ± standard error)"
        )
        legend = (
            "kept, paid: shares of the best single model's quality and cost, by "
            f"decisions settled on training queries to keep {TARGET}; nAUC: mean "
            "quality over all budgets"
        )
        return title, rows, legend

    def to_frame(self) -> Any:
        """Turn the scores into a pandas DataFrame.

        Returns
        -------
        DataFrame
            A row for each router and split, named by "router" and "seed", and a column
            for each of `METRICS`. ``comparison.to_frame().groupby("router").mean()``
            has the means.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = require("pandas", "Comparison.to_frame")
        frames = {
            name: pandas.DataFrame(
                result.scores, index=pandas.Index(self.seeds, name="seed")
            )
            for name, result in self.results.items()
        }
        return pandas.concat(frames, names=["router"])[list(METRICS)]

    def to_dict(self) -> dict[str, Any]:
        """Turn the comparison into lists, numbers and strings, for JSON.

        Returns
        -------
        dict
            Without the curves; ``None`` where a number is undefined or infinite.
        """
        routers: dict[str, Any] = {}
        for name, result in self.results.items():
            routers[name] = {
                metric: describe_splits(result.scores[metric]) for metric in METRICS
            }
            routers[name]["spent"] = write_json(result.spent)
        return {
            "n_queries": self.n_queries,
            "n_incomplete": self.n_incomplete,
            "n_prompts": self.n_prompts,
            "models": self.models.tolist(),
            "seeds": list(self.seeds),
            "test_size": self.test_size,
            "budgets": write_json(self.budgets),
            "routers": routers,
        }


def compare_routers(
    X: Any,
    y: Any,
    costs: Any,
    routers: Mapping[str, BaseRouter] | None = None,
    *,
    models: Any = None,
    encoder: Callable[[Any], Any] | None = None,
    groups: Any = None,
    test_size: float = 0.3,
    seeds: int | Iterable[int] = 5,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Fit routers on the same training parts, and judge them on the same test parts.

    Parameters
    ----------
    X : array-like of shape (n_queries, n_features)
        Embeddings, or anything with one row per query that `encoder` reads; prompts,
        and embeddings beside them, where all routers are a
        :class:`~skroute.text.TextRouter`.
    y : array-like of shape (n_queries, n_models)
        Qualities, ``NaN`` where a model was not run. Rows with an unknown quality or
        cost are used in training and left out of testing.
    costs : array-like of shape (n_models,) or (n_queries, n_models), or dict
        Money per call: one price per model, or what every call cost.
    routers : dict of str to router, default=None
        Routers to compare; they are cloned. Those whose ``costs`` are ``None`` are
        given the prices, where costs are prices. ``None`` takes :func:`default_routers`
        with the first of the seeds.
    models : array-like of str of shape (n_models,), default=None
        Names of the models, where `y` has none.
    encoder : callable, default=None
        Called with the training rows of `X`; returns a fitted transformer that embeds
        the rows of both parts.
    groups : array-like of shape (n_queries,), default=None
        Queries of one group, such as turns of a conversation, stay on one side of a
        split, and in one fold of routers whose `fit` takes groups. So do duplicates,
        except those of large blocks (see
        :meth:`RankingRouter.fit <skroute.RankingRouter.fit>`).
    test_size : float, default=0.3
        Share of the queries (or groups) that is tested on.
    seeds : int or iterable of int, default=5
        Number of splits (seeds 0, 1, ...), or their seeds.
    progress : callable, default=None
        Called with a router's name, the number of fits that are done, and their total.

    Returns
    -------
    Comparison
        The scores of every router, and of the oracle that decides with hindsight.

    Raises
    ------
    ValueError
        If a test part has no complete row.

    Notes
    -----
    What can be had is known beforehand: ``quality`` and ``cost`` are those of
    ``router.route(X, min_quality="100%")``, whose price was settled on the training
    part (``"relative_..."``: as shares of those of the best single model of that part),
    and so are ``settled_collapse_index`` and ``settled_strongest_share``. What follows
    from a whole curve is read off the test part itself: ``quality_neutral_cost`` in
    hindsight, ``routing_collapse_index`` and ``strongest_call_share`` where money is
    no object. The oracle decides by the outcomes, whatever they cost.

    The seeds draw the splits only; set the ``random_state`` of each router yourself.
    Everything runs on one thread, unless a router starts more itself.

    Examples
    --------
    >>> from skroute import DummyRouter
    >>> from skroute.datasets import make_routing
    >>> from skroute.evaluation import compare_routers
    >>> data = make_routing(n_queries=200, random_state=0)
    >>> comparison = compare_routers(
    ...     data.data, data.quality, data.costs, {"static": DummyRouter()}, seeds=2
    ... )
    >>> list(comparison.results)
    ['static', 'oracle']
    >>> comparison.results["static"].mean("relative_cost")
    1.0
    >>> comparison.to_frame().loc[("static", 0), "relative_cost"]
    np.float64(1.0)
    """
    check_rows(X=X, y=y, groups=groups)
    seeds = read_seeds(seeds)
    if routers is None:
        routers = default_routers(random_state=seeds[0])
    encoded = are_embeddings(encoder, routers.values())
    table = OutcomeTable.check(X, y, costs, models, groups, encoded)
    if ORACLE in routers:
        raise ValueError(f"routers must not be called {ORACLE!r}: that row is taken.")
    measured: dict[str, list[_Measured]] = {name: [] for name in (*routers, ORACLE)}
    budgets, fits = [], count()
    for seed in seeds:
        split = Split.draw(table, seed, test_size, encoder)
        budgets.append(_set_budgets(table.spend[split.train]))
        for name, router in routers.items():
            if progress is not None:
                progress(name, next(fits), len(seeds) * len(routers))
            # With one thread, sums do not depend on the number of cores and fit times
            # can be compared; threads that wait for each other would slow down fits.
            with single_threaded():
                measured[name].append(_measure_router(split, budgets[-1], router))
        # The oracle is not asked to keep a budget.
        truth = table.quality[split.test], table.spend[split.test]
        unknown = np.full(len(BUDGET_SHARES), np.nan)
        measured[ORACLE].append(
            _score(split, oracle_choice(*truth), truth, unknown, np.nan)
        )
    return Comparison(
        results={name: _gather(name, parts) for name, parts in measured.items()},
        budgets=np.array(budgets),
        models=table.models,
        seeds=seeds,
        test_size=test_size,
        n_queries=len(table.quality),
        n_incomplete=int((~table.complete).sum()),
        n_prompts=table.duplicates.n_prompts,
    )


class _Measured(NamedTuple):
    """Scores of one router on one split."""

    scores: dict[str, float]
    spent: np.ndarray
    curve: RoutingCurve


def _measure_router(split: Split, budgets: np.ndarray, router: BaseRouter) -> _Measured:
    """Fit a router on the training part and try it on the test part."""
    started = perf_counter()
    router = split.fit(router)
    fit_seconds = perf_counter() - started
    index = {model: i for i, model in enumerate(router.models_)}

    def route(**limit: Any) -> np.ndarray:
        names = router.route(split.X_test, on_infeasible="cheapest", **limit)
        return np.array([index[name] for name in names])

    spent = [
        split.table.spend[split.test, route(budget=budget)].mean() for budget in budgets
    ]
    choice = route(min_quality=TARGET)
    estimates = np.hsplit(router.transform(split.X_test), 2)
    return _score(split, choice, estimates, np.array(spent), fit_seconds)


def _score(
    split: Split, choice: Any, estimates: Any, spent: np.ndarray, fit_seconds: float
) -> _Measured:
    """Score decisions, (n_test,), and estimates of quality and cost, on a test part."""
    y, costs, test = split.table.quality, split.table.spend, split.test
    reference = best_single(y[split.train], costs[split.train])
    quality, cost = y[test, choice].mean(), costs[test, choice].mean()
    curve = routing_curve(y[test], costs[test], *estimates, models=split.table.models)
    good = mark_good_calls(y[test], curve.strongest)[np.arange(len(test)), choice]
    scores = (
        float(quality),
        float(cost),
        _divide(quality, y[test, reference].mean()),
        _divide(cost, costs[test, reference].mean()),
        normalized_auc(curve),
        quality_neutral_cost(curve),
        1.0 - float(good.mean()),
        float((choice == curve.strongest).mean()),
        routing_collapse_index(curve),
        strongest_call_share(curve),
        fit_seconds,
    )
    return _Measured(dict(zip(METRICS, scores, strict=True)), spent, curve)


def _set_budgets(spend: np.ndarray) -> np.ndarray:
    """Set budgets between the mean costs of the cheapest and most expensive calls."""
    spend = spend[np.isfinite(spend).any(axis=1)]
    low, high = np.nanmin(spend, axis=1).mean(), np.nanmax(spend, axis=1).mean()
    return low + np.array(BUDGET_SHARES) * (high - low)


def _gather(name: str, parts: list[_Measured]) -> RouterResult:
    return RouterResult(
        name,
        {key: np.array([part.scores[key] for part in parts]) for key in METRICS},
        np.array([part.spent for part in parts]),
        tuple(part.curve for part in parts),
    )


def _write_mean(mean: float, error: float) -> str:
    """Write a mean with its standard error, if there is one."""
    if np.isnan(mean):
        return "-"
    return f"{mean:.3f}" if np.isnan(error) else f"{mean:.3f} ± {error:.3f}"


def _divide(value: float, reference: float) -> float:
    """Divide by a reference; undefined where that is not positive."""
    return float(value / reference) if reference > 0 else float("nan")

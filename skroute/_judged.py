"""Read estimates of a fitted router, or of a pipeline or search that holds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from skroute._table.alignment import align
from skroute._table.costs import check_spend
from skroute._table.names import (
    check_rows,
    make_default_names,
    model_names,
    reorder_columns,
)
from skroute.decision import BudgetDecider

if TYPE_CHECKING:
    from skroute.metrics import RoutingCurve

__all__ = [
    "Judged",
    "extract_router",
    "find_decider",
    "find_models",
    "judge",
    "judge_cascade",
    "observe",
    "refuse_cascade",
    "replay_cascade",
    "split_cascade",
]


@dataclass(frozen=True)
class Judged:
    """A router's estimates beside what was observed on the same queries.

    Observed are `y` and `costs`, ``NaN`` where unknown; estimated are `quality` and
    `cost`. All are (n_queries, n_models), with columns in the order of `models`.
    """

    y: np.ndarray
    costs: np.ndarray
    quality: np.ndarray
    cost: np.ndarray
    models: np.ndarray

    @property
    def complete(self) -> np.ndarray:
        """Whether every quality and cost of a query is known, (n_queries,)."""
        return np.isfinite(self.y).all(axis=1) & np.isfinite(self.costs).all(axis=1)

    def take(self, rows: np.ndarray) -> Judged:
        """Keep the queries at some indices, or under a mask."""
        y, costs, quality, cost = (
            table[rows] for table in (self.y, self.costs, self.quality, self.cost)
        )
        return Judged(y, costs, quality, cost, self.models)

    def compute_curve(
        self, scope: Literal["mean", "query"] = "mean", sample_weight: Any = None
    ) -> RoutingCurve:
        """Sweep the budget over the estimates, as `routing_curve` does."""
        # Imported late, because the scorer of skroute.metrics imports this module.
        from skroute.metrics import routing_curve

        tables = self.y, self.costs, self.quality, self.cost
        return routing_curve(
            *tables, scope=scope, models=self.models, sample_weight=sample_weight
        )


def judge(estimator: Any, X: Any, y: Any, costs: Any, user: str) -> Judged:
    """Let a router, as in `extract_router`, estimate queries with known outcomes.

    `costs` are (n_models,) or (n_queries, n_models); ``None`` takes the prices that the
    router was fitted on, or raises a ValueError that names the `user` of the costs.
    """
    router = extract_router(estimator)
    y, costs, models = observe(estimator, y, costs, user, X=X)
    quality, cost = np.hsplit(np.asarray(router.transform(X)), 2)
    if quality.shape != y.shape:
        raise ValueError(
            f"X and y must describe the same queries and the router's models: it "
            f"estimates {quality.shape[0]} queries x {quality.shape[1]} models; y has "
            f"shape {y.shape}."
        )
    return Judged(y, costs, quality, cost, models)


def judge_cascade(
    estimator: Any, X: Any, y: Any, costs: Any, checks: Any, answers: Any, user: str
) -> tuple[Judged, Any]:
    """Judge the router before a cascade, and replay the cascade, where all is known.

    Returns the estimates of the queries with every quality and cost, and a
    CascadeReplay of these; checks and answers are (n_queries, n_models[, n_checks]).
    """
    router, decider = split_cascade(estimator)
    if router is None or decider is None:
        raise ValueError(
            f"{user} needs a fitted pipeline, or search, of a router and a "
            "CascadeDecider behind it, such as make_pipeline(RankingRouter(), "
            f"CascadeDecider()); got {estimator!r}."
        )
    judged = judge(router, X, y, costs, user)
    replay = replay_cascade(decider, judged, y, checks, answers)
    return judged.take(judged.complete), replay


def replay_cascade(
    decider: Any, judged: Judged, y: Any, checks: Any, answers: Any
) -> Any:
    """Replay a cascade behind a judged router; `y` names columns that have no names."""
    check_rows(y=y, checks=checks, answers=answers)
    rows = np.flatnonzero(judged.complete)
    if not len(rows):
        raise ValueError(
            "y and costs must be known for every model on some queries; no query has "
            "all of them."
        )
    known = judged.take(rows)
    beside = {
        name: _take_in_order(table, name, y, judged, rows)
        for name, table in (("checks", checks), ("answers", answers))
    }
    estimates = np.hstack([known.quality, known.cost])
    return decider.replay(estimates, known.y, known.costs, **beside)


def _take_in_order(
    table: Any, name: str, y: Any, judged: Judged, rows: np.ndarray
) -> np.ndarray | None:
    """Take rows, with columns, named or in the order of `y`, in that of the models."""
    if table is None:
        return None
    columns = model_names(table, name)
    values = np.asarray(table)
    if values.shape[:2] != judged.y.shape:
        raise ValueError(
            f"{name} must have shape {judged.y.shape}, as y, or checks an axis more "
            f"for each check; got {values.shape}."
        )
    if columns is None:
        columns = model_names(y)
    return reorder_columns(values, columns, judged.models, name)[rows]


def observe(
    estimator: Any, y: Any, costs: Any, user: str | None, X: Any = None
) -> tuple[np.ndarray, Any, np.ndarray]:
    """Check outcomes; return them in the order of a router's models, with the names.

    Costs are as in `judge`, but may stay unknown (``None``) if nothing needs them, that
    is if `user` is ``None``. `X` gives row labels only.
    """
    y, spend, _, _, models = align(y, costs, models=find_models(estimator), X=X)
    if models is None:
        models = make_default_names(y.shape[1])
    if spend is None:
        # A router of a third party may know no prices.
        known = getattr(_find_router(estimator), "_find_known_prices", None)
        prices = None if known is None else known(user)
        if prices is not None or user is not None:
            spend = check_spend(prices, y.shape, models)
    return y, spend, models


def extract_router(estimator: Any) -> Any:
    """Find the router in an estimator, or the pipeline of the steps up to it.

    The estimator is a fitted router, a pipeline that ends in one or in a BudgetDecider
    behind one, a fitted search over any of them, or one of them frozen.
    """
    refuse_cascade(estimator)
    steps = _find_steps(estimator, without_decider=True)
    if not steps or not hasattr(steps[-1], "transform"):
        raise ValueError(
            "estimator must be a fitted router, or a pipeline or a fitted search "
            f"(with refit=True) that holds one; got {estimator!r}."
        )
    check_is_fitted(steps[-1])
    return steps[0] if len(steps) == 1 else make_pipeline(*steps)


def refuse_cascade(estimator: Any) -> None:
    """Refuse an estimator that ends in a cascade: estimates alone do not judge it."""
    last = _find_steps(estimator)[-1:]
    if last and hasattr(last[0], "replay"):
        raise ValueError(
            "estimator ends in a CascadeDecider, whose calls depend on checks of "
            "answers, and these are not known here. Its own score replays them: leave "
            "scoring out of a search, and give costs, checks and answers as metadata. "
            "CascadeDisplay and report take them, too."
        )


def split_cascade(estimator: Any) -> tuple[Any, Any]:
    """Split an estimator into its router and the CascadeDecider behind it.

    An estimator that does not end in a cascade is returned with ``None``, and a cascade
    that has nothing before it with ``None`` for the router.
    """
    steps = _find_steps(estimator)
    if not steps or not hasattr(steps[-1], "replay"):
        return estimator, None
    before = steps[:-1]
    return make_pipeline(*before) if before else None, steps[-1]


def find_models(estimator: Any) -> Any:
    """Return the models' names in the order of the decisions, if they are known."""
    # The router first: a decider that was fitted on plain arrays knows no names.
    return getattr(_find_router(estimator) or estimator, "models_", None)


def find_decider(estimator: Any) -> BudgetDecider | None:
    """Find the decider that ends a pipeline or search, if there is one."""
    last = _find_steps(estimator)[-1:]
    return last[0] if last and isinstance(last[0], BudgetDecider) else None


def _find_router(estimator: Any) -> Any:
    """Find the last step before a decider, or nothing."""
    steps = _find_steps(estimator, without_decider=True)
    return steps[-1] if steps else None


def _find_steps(estimator: Any, *, without_decider: bool = False) -> list[Any]:
    """List the steps of an estimator, those of pipelines and searches within it too."""
    if isinstance(estimator, FrozenEstimator):
        steps = _find_steps(estimator.estimator)
    elif hasattr(estimator, "best_estimator_"):
        steps = _find_steps(estimator.best_estimator_)
    elif isinstance(estimator, Pipeline):
        steps = [step for _, part in estimator.steps for step in _find_steps(part)]
    else:
        # A step that is left out is None or "passthrough".
        steps = [] if estimator is None or isinstance(estimator, str) else [estimator]
    if without_decider and steps and isinstance(steps[-1], BudgetDecider):
        return steps[:-1]
    return steps

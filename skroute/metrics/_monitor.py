"""CollapseMonitor: watch the decisions of a deployed router."""

from __future__ import annotations

import logging
from typing import Any, Self

import numpy as np
from scipy.stats import entropy
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skroute._compute.drafts import snapshot
from skroute._compute.locks import get_lock
from skroute._table.names import check_rows, format_names
from skroute._table.numbers import (
    LARGEST_OUTCOME,
    check_integer,
    check_magnitude,
    check_number,
)
from skroute._table.shifts import (
    LEAST_QUALITY,
    N_RESIDUALS,
    find_shift,
    is_still_off,
    push_residuals,
)
from skroute.metrics._drift import Reference
from skroute.metrics._monitor_input import (
    check_decisions,
    check_models,
    check_monitor_prices,
    check_outcomes,
    check_share,
    check_spent,
)
from skroute.metrics._monitor_summary import (
    MonitorSummary,
    warn_of_changes,
    write_warning,
)

_logger = logging.getLogger("skroute.metrics.monitor")

# A drift with a larger p-value is no alarm, however large its statistic, nor is a drop
# of the quality of fewer standard errors, which is the same chance.
_LEVEL = 0.001
_N_ERRORS = 3.1
# Judged queries without which nothing is said of the quality.
_LEAST_JUDGED = 50
# An alarm ends when its quantity is on the safe side of the limit by this part of it,
# so that a quantity that hovers at the limit warns once.
_MARGIN = 0.05


class CollapseMonitor:
    """Watch a deployed router; warn when it collapses, overspends, drifts or fails.

    Tell it every decision with :meth:`update`. It keeps those of a sliding window, and
    writes one warning to the logger ``"skroute.metrics.monitor"`` when a quantity
    crosses its limit, and the next one only after the quantity recovered by 5% of the
    limit.

    Parameters
    ----------
    models : array-like of str of shape (n_models,)
        Names of at least two models; kept as an attribute.
    costs : array-like of shape (n_models,), or dict of name to price
        Money per call of each model: they tell which model is the strongest (the most
        expensive), and replace costs that :meth:`update` is not given. Kept as an
        attribute of shape (n_models,).
    reference : array-like of shape (n_queries, n_features), default=None
        At least 20 embeddings that the router was trained on; a sample of at most
        4,000 is used. ``None``: drift is not watched.
    window : int, default=5000
        Queries that are remembered.
    max_strongest_share : float or None, default=0.9
        Largest share of calls to the strongest model, as in routing collapse [1]_.
        ``None`` here and below: not watched. Not watched either where all models have
        the same price.
    min_entropy : float or None, default=0.1
        Smallest entropy of the calls, relative to that of calling all models equally
        often [2]_. At 0.1, one of two models gets 99% of the calls. It also detects a
        collapse to a model that is not the strongest.
    budget : float or None, default=None
        Mean money per query that was asked for.
    budget_slack : float, default=0.1
        The mean spend of the window may exceed `budget` by this part of it.
    max_drift : float or None, default=0.15
        Largest Kolmogorov-Smirnov statistic between the embeddings of the window and
        the reference. To be an alarm it must also have a p-value below 0.001.
    max_quality_drop : float or None, default=0.02
        How far the realised quality may fall below the expected one, on average over
        the queries in the window that were judged, in the unit of the quality. To be an
        alarm the drop must also be beyond 3.1 standard errors. ``None``: single models
        are not watched for a change of their quality either (see Notes).
    min_queries : int, default=500
        Warnings start when this many queries were seen, or a smaller window is full.
    check_every : int, default=200
        Limits are checked after this number of queries, also in the middle of a batch,
        so that the size of the batches does not matter.
    random_state : int, RandomState instance or None, default=0
        Draws the sample of `reference`.

    See Also
    --------
    routing_collapse_index : Collapse where outcomes of all models are known.

    Notes
    -----
    Drift is the largest two-sample Kolmogorov-Smirnov statistic
    (:func:`scipy.stats.ks_2samp`) along the first 16 principal components of the
    reference and the distance from their span, with a Bonferroni-corrected p-value;
    [3]_ finds this method among the most reliable. The number of effective models is
    the exponential of the entropy [4]_.

    Which model is not what it was is told by its own outcomes: the last 20, 30, 50 and
    100 that were judged, where their mean differs from what was expected of them by
    more than chance explains, by the test of :meth:`RankingRouter.update
    <skroute.RankingRouter.update>`. A change in either direction is an alarm,
    ``"changed_models"``, until the last outcomes of the model are as expected again.
    Qualities are taken to be in [0, 1], or in a wider range as they are seen.

    Memory does not grow with the traffic. All methods may be called from several
    threads, and a monitor can be pickled in the middle of the stream.

    References
    ----------
    .. [1] G. Lai and H.-J. Ye, "When Routing Collapses: On the Degenerate Convergence
       of LLM Routers", arXiv:2602.03478, 2026.
    .. [2] E. C. Pielou, "The measurement of diversity in different types of biological
       collections", Journal of Theoretical Biology 13, 1966.
    .. [3] S. Rabanser, S. Günnemann and Z. C. Lipton, "Failing Loudly: An Empirical
       Study of Methods for Detecting Dataset Shift", NeurIPS 2019.
    .. [4] M. O. Hill, "Diversity and Evenness: A Unifying Notation and Its
       Consequences", Ecology 54, 1973.

    Examples
    --------
    >>> from skroute.metrics import CollapseMonitor
    >>> monitor = CollapseMonitor(["small", "large"], [1.0, 9.0], budget=4.0)
    >>> print(monitor.update(["small", "small", "small", "large"]).summary())
    4 queries; of the last 4:
      small   75.0%
      large   25.0%
    entropy of the calls: 0.81 of 1, as 1.8 models called equally often (at least 0.1)
    strongest model (large): 25.0% of the calls (at most 0.9)
    spend: 3 per query (at most 4.4), 12 since the start
    drift of the queries: unknown
    quality: unknown
    alarms: none
    """

    def __init__(
        self,
        models: Any,
        costs: Any,
        *,
        reference: Any = None,
        window: int = 5000,
        max_strongest_share: float | None = 0.9,
        min_entropy: float | None = 0.1,
        budget: float | None = None,
        budget_slack: float = 0.1,
        max_drift: float | None = 0.15,
        max_quality_drop: float | None = 0.02,
        min_queries: int = 500,
        check_every: int = 200,
        random_state: Any = 0,
    ) -> None:
        self.models = check_models(models)
        self.costs = check_monitor_prices(costs, self.models)
        self._window = check_integer(window, "window", low=1)
        self._least = min(check_integer(min_queries, "min_queries", low=1), window)
        self._check_every = check_integer(check_every, "check_every", low=1)
        most_expensive = self.costs == self.costs.max()
        self._strongest = most_expensive & (not most_expensive.all())
        self._limits: dict[str, float] = {}
        for quantity, limit, name in (
            ("strongest_share", max_strongest_share, "max_strongest_share"),
            ("entropy", min_entropy, "min_entropy"),
            ("drift", max_drift, "max_drift"),
        ):
            if limit is not None:
                self._limits[quantity] = check_share(limit, name)
        if max_quality_drop is not None:
            name = "max_quality_drop"
            self._limits["quality_drop"] = check_number(max_quality_drop, name, low=0.0)
        slack = check_number(budget_slack, "budget_slack", low=0.0)
        if budget is not None:
            budget = check_number(budget, "budget", low=0.0)
            self._limits["mean_cost"] = most = budget * (1.0 + slack)
            check_magnitude(np.array(most), "budget with its slack", LARGEST_OUTCOME)
        if not self._strongest.any():
            self._limits.pop("strongest_share", None)
        # Fitted steps that turn prompts into vectors; empty where X is embeddings.
        self._embedding: list[Any] = []
        # Fitted steps that predict the cost of a call; empty where prices are used.
        self._steps: list[Any] = []
        self._reference = None
        self._rows = np.empty((0, 0))
        if reference is None:
            self._limits.pop("drift", None)
        else:
            self._reference = Reference(reference, random_state)
            self._rows = np.empty((self._window, self._reference.n_coordinates))
        self._choices = np.empty(self._window, dtype=np.int32)
        self._spent = np.empty(self._window)
        self._drops = np.empty(self._window)
        self._n_judged = 0
        # The last outcomes of each model less what was expected, and the range of both.
        self._residuals = np.full((len(self.models), N_RESIDUALS), np.nan)
        self._quality_range = 0.0, 1.0
        self._changed: dict[str, float] = {}
        self._calls = np.zeros(len(self.models), dtype=np.int64)
        self._total = 0.0
        self._n_queries = 0
        self._n_rows = 0
        self._alarms: tuple[str, ...] = ()

    @classmethod
    def for_router(cls, router: Any, X: Any = None, **options: Any) -> Self:
        """Make a monitor of a fitted router, or of a pipeline with one in it.

        Parameters
        ----------
        router : estimator
            A fitted router, or a :class:`~sklearn.pipeline.Pipeline` with one.
        X : array-like of shape (n_queries, n_features), default=None
            Embeddings that it was trained on: the `reference`. Of a pipeline, what goes
            into its first step; of a :class:`~skroute.text.TextRouter`, prompts, which
            :meth:`update` then takes as well.
        **options : dict
            Other parameters of the constructor.

        Returns
        -------
        CollapseMonitor
            A monitor of the router's models at their mean costs. It keeps a copy of a
            router that was fitted on per-query costs, to predict the cost of a call, or
            that reads prompts, to embed them.

        Examples
        --------
        >>> from sklearn.linear_model import Ridge
        >>> from skroute import PointwiseRouter
        >>> from skroute.datasets import make_routing
        >>> from skroute.metrics import CollapseMonitor
        >>> data = make_routing(n_queries=300, n_models=3, random_state=0)
        >>> router = PointwiseRouter(Ridge(), costs=[1.0, 5.0, 20.0])
        >>> router = router.fit(data.data, data.quality)
        >>> monitor = CollapseMonitor.for_router(router, data.data, budget=5.0)
        >>> names = router.route(data.data, budget=5.0)
        >>> monitor.update(names, X=data.data).summary().alarms
        ()
        """
        steps = [step for _, step in getattr(router, "steps", [("router", router)])]
        for i, step in enumerate(steps):
            if hasattr(step, "models_") and hasattr(step, "costs_"):
                own = [*steps[:i], snapshot(step)]
                embedding = own if hasattr(step, "embed") else []
                reference = X if X is None else _embed(embedding, X)
                monitor = cls(step.models_, step.costs_, reference=reference, **options)
                monitor._embedding = embedding
                if getattr(step, "_per_query_costs", False):
                    monitor._steps = own
                return monitor
        if hasattr(router, "fit"):
            check_is_fitted(router)
        raise ValueError(
            f"router must have models_ and costs_, or be a pipeline with such a step; "
            f"got {type(router).__name__}. Give names and prices to "
            "CollapseMonitor(models, costs) instead."
        )

    def update(
        self,
        decisions: Any,
        *,
        X: Any = None,
        costs: Any = None,
        quality: Any = None,
        expected_quality: Any = None,
    ) -> Self:
        """Record queries that were routed.

        Parameters
        ----------
        decisions : array-like of str or int of shape (n_queries,)
            Names of the models that were called, as ``route`` gives them, or indices,
            as ``predict`` does; in the order of the traffic. ``None`` or ``NaN``, where
            no model was called, is skipped.
        X : array-like of shape (n_queries, n_features), default=None
            Embeddings of the queries; prompts where :meth:`for_router` was given a
            router of prompts. Left out, these queries do not count for drift.
        costs : array-like of shape (n_queries,), default=None
            Money that each call cost, ``NaN`` where unknown. Unknown costs are replaced
            by the prediction of the router of :meth:`for_router` where `X` is given,
            else by the price of the model.
        quality : array-like of shape (n_queries,), default=None
            How good each answer turned out to be, ``NaN`` where nobody judged it.
        expected_quality : array-like of shape (n_queries,), default=None
            What the router expected of these calls, as ``router.explain`` says; needed
            with `quality`.

        Returns
        -------
        self : CollapseMonitor
            The monitor; where a ValueError refuses the input, it is as it was.
        """
        check_rows(
            decisions=decisions,
            X=X,
            costs=costs,
            quality=quality,
            expected_quality=expected_quality,
        )
        choices = check_decisions(decisions, self.models)
        costs = np.full(len(choices), np.nan) if costs is None else costs
        spent = check_spent(costs, choices)
        rows = None if X is None else self._check_rows(X, len(choices))
        if np.isnan(spent).any():
            spent = np.where(np.isnan(spent), self._expect_costs(choices, X), spent)
        outcomes = check_outcomes(quality, expected_quality, choices)
        called = choices >= 0
        choices, spent, outcomes = choices[called], spent[called], outcomes[:, called]
        rows = None if rows is None else rows[called]
        messages: list[tuple[int, str]] = []
        with get_lock(self):
            start = 0
            while start < len(choices):
                left = self._check_every - self._n_queries % self._check_every
                part = slice(start, start + left)
                self._record(
                    choices[part],
                    spent[part],
                    outcomes[:, part],
                    None if rows is None else rows[part],
                )
                if self._n_queries % self._check_every == 0:
                    messages += self._check_limits()
                start += left
        # Outside the lock: a log handler may read the monitor.
        for level, message in messages:
            _logger.log(level, "%s", message)
        return self

    def summary(self) -> MonitorSummary:
        """Summarize what was seen; the drift is computed here and at the checks.

        Returns
        -------
        MonitorSummary
            Numbers, which ``print`` writes out.
        """
        with get_lock(self):
            return self._summarize()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {len(self.models)} models: "
            f"{self._n_queries:,} queries, alarms: {format_names(self._alarms)}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        # Arrays are copied because pickling goes on after the lock is released.
        with get_lock(self):
            return {
                name: value.copy() if isinstance(value, np.ndarray) else value
                for name, value in vars(self).items()
            }

    def _expect_costs(self, choices: np.ndarray, X: Any) -> np.ndarray:
        """Expected cost of calls: predicted where possible, else the price."""
        if X is None or not self._steps:
            return self.costs[choices]
        *before, router = self._steps
        for step in before:
            X = step.transform(X)
        cost: np.ndarray = router.predict_cost(X)[np.arange(len(choices)), choices]
        return cost

    def _check_rows(self, X: Any, n_queries: int) -> np.ndarray | None:
        if self._reference is None and self._steps:
            return None
        if self._reference is None:
            raise ValueError(
                "X was given, but there is nothing to compare it with: give training "
                "embeddings as reference=... in the constructor, or leave X out."
            )
        shape = n_queries, self._reference.n_features
        X = _embed(self._embedding, X)
        X = check_array(X, dtype=np.float64, ensure_min_samples=0, input_name="X")
        if X.shape != shape:
            raise ValueError(
                f"X must have a row per decision and the width of reference, {shape}; "
                f"got {X.shape}."
            )
        return self._reference.project(X)

    def _record(
        self,
        choices: np.ndarray,
        spent: np.ndarray,
        outcomes: np.ndarray,
        rows: np.ndarray | None,
    ) -> None:
        """Record queries that lie between two checks."""
        self._calls += np.bincount(choices, minlength=len(self.models))
        # Added one by one, so that sums do not depend on the size of the batches.
        self._total = float(np.cumsum(np.r_[self._total, spent])[-1])
        _write_to_ring(self._choices, choices, self._n_queries)
        _write_to_ring(self._spent, spent, self._n_queries)
        self._n_queries += len(choices)
        drops = outcomes[1] - outcomes[0]
        known = np.isfinite(drops)
        judged = drops[known]
        _write_to_ring(self._drops, judged, self._n_judged)
        if len(judged):
            own = np.full((len(judged), len(self.models)), np.nan)
            own[np.arange(len(judged)), choices[known]] = -judged
            self._residuals = push_residuals(self._residuals, own)
            low, high = self._quality_range
            seen = outcomes[:, known]
            self._quality_range = (
                min(low, float(seen.min())),
                max(high, float(seen.max())),
            )
        self._n_judged += len(judged)
        if rows is not None:
            _write_to_ring(self._rows, rows, self._n_rows)
            self._n_rows += len(rows)

    def _summarize(self) -> MonitorSummary:
        n_window = min(self._n_queries, self._window)
        n_rows = min(self._n_rows, self._window)
        share, diversity, mean_cost = np.full(len(self.models), np.nan), np.nan, np.nan
        if n_window:
            calls = np.bincount(self._choices[:n_window], minlength=len(share))
            share = calls / n_window
            diversity = float(entropy(share))
            mean_cost = float(self._spent[:n_window].mean())
        strongest = share[self._strongest]
        drift = np.nan, np.nan
        if self._reference is not None and n_rows >= self._least:
            drift = self._reference.measure_drift(self._rows[:n_rows])
        drops = self._drops[: min(self._n_judged, self._window)]
        drop, error = np.nan, np.nan
        if len(drops) >= _LEAST_JUDGED:
            drop = float(drops.mean())
            error = float(drops.std(ddof=1) / np.sqrt(len(drops)))
        return MonitorSummary(
            models=self.models.copy(),
            n_queries=self._n_queries,
            n_window=n_window,
            calls=self._calls.copy(),
            call_share=share,
            # Rounding can lift the entropy of an even split above 1.
            entropy=float(np.minimum(diversity / np.log(len(share)), 1.0)),
            effective_models=float(np.exp(diversity)),
            strongest=tuple(self.models[self._strongest]),
            strongest_share=float(strongest.sum()) if strongest.size else np.nan,
            mean_cost=mean_cost,
            total_cost=self._total,
            drift=drift[0],
            drift_pvalue=drift[1],
            n_judged=len(drops),
            quality_drop=drop,
            quality_drop_error=error,
            changed_models=self._find_changed_models(),
            limits=dict(self._limits),
            alarms=self._alarms,
        )

    def _find_changed_models(self) -> dict[str, float]:
        """Find by how much the quality of each model that has changed has done so."""
        if "quality_drop" not in self._limits:
            return {}
        low, high = self._quality_range
        changed = {}
        for model, own in zip(self.models, self._residuals, strict=True):
            name, noticed = str(model), self._changed.get(str(model))
            shift = (high - low) * find_shift(own / (high - low), LEAST_QUALITY)
            # A shift at the limit of chance warns once.
            if not shift and noticed and is_still_off(own, noticed):
                shift = noticed
            if shift:
                changed[name] = shift
        return changed

    def _check_limits(self) -> list[tuple[int, str]]:
        """Start and end alarms; return levels and texts of what is to be logged."""
        if min(self._n_queries, self._window) < self._least:
            return []
        seen = self._summarize()
        messages, alarms = [], []
        for name, limit in self._limits.items():
            value = getattr(seen, name)
            if name == "entropy":
                beyond = value < limit
                recovered = value >= min(1.0, limit * (1.0 + _MARGIN))
            else:
                beyond = value > limit
                recovered = value <= limit * (1.0 - _MARGIN)
            if name == "drift":
                beyond &= seen.drift_pvalue < _LEVEL
            if name == "quality_drop":
                beyond &= value > _N_ERRORS * seen.quality_drop_error
            if beyond or (name in self._alarms and not recovered):
                alarms.append(name)
                if name not in self._alarms:
                    messages.append((logging.WARNING, write_warning(name, seen)))
            elif name in self._alarms:
                text = f"{name} is {value:.4g} again: the alarm is over."
                messages.append((logging.INFO, text))
        changed = seen.changed_models
        if changed:
            alarms.append("changed_models")
        if set(changed) - set(self._changed):
            messages.append((logging.WARNING, warn_of_changes(changed)))
        if self._changed and not changed:
            text = "all models are as expected again: the alarm is over."
            messages.append((logging.INFO, text))
        # The shift that was noticed first is what a model comes back from.
        self._changed = {
            name: self._changed.get(name, s) for name, s in changed.items()
        }
        self._alarms = tuple(alarms)
        return messages


def _embed(steps: list[Any], X: Any) -> Any:
    """Turn prompts into vectors by the steps that do; without any, X is these."""
    if not steps:
        return X
    *before, router = steps
    for step in before:
        X = step.transform(X)
    return router.embed(X)


def _write_to_ring(ring: np.ndarray, values: np.ndarray, seen: int) -> None:
    """Write values into a ring buffer that has `seen` ones before, over the oldest."""
    where = np.arange(seen, seen + len(values))[-len(ring) :] % len(ring)
    ring[where] = values[-len(ring) :]

"""Summary of what a monitor saw, as numbers and as text."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from skroute._table.names import format_names

# Models that a written summary lists.
_LISTED = 20


@dataclass(frozen=True, eq=False)
class MonitorSummary:
    """Summary of what a :class:`CollapseMonitor` saw; ``print`` it to read it.

    Attributes
    ----------
    models : ndarray of str of shape (n_models,)
        Names of the models.
    n_queries, n_window : int
        Queries since the start and in the window. All but the totals are computed on
        the window; if it is empty, shares and means are ``NaN``.
    calls : ndarray of int of shape (n_models,)
        Calls of each model since the start.
    call_share : ndarray of shape (n_models,)
        Share of the queries that each model was called for.
    entropy : float
        Entropy of the call shares, from 0 (one model gets every call) to 1 (all get
        the same number).
    effective_models : float
        The number of models that have this entropy if they are called equally often.
    strongest, strongest_share : tuple of str, and float
        The most expensive model by price, or several of the same price, and their share
        of the calls; ``NaN`` where all models have the same price.
    mean_cost, total_cost : float
        Money per query, and since the start.
    drift, drift_pvalue : float
        Largest Kolmogorov-Smirnov statistic, from 0 to 1, and its p-value, corrected
        for the number of comparisons; ``NaN`` without a reference, or before
        ``min_queries`` embeddings were seen.
    n_judged : int
        Queries in the window whose quality is known; those of earlier ones count until
        as many others are.
    quality_drop, quality_drop_error : float
        Mean expected quality less the realised one, and its standard error; ``NaN``
        while fewer than 50 queries are judged.
    changed_models : dict of str to float
        Models that are not what they were, and how far the mean of their last outcomes
        is above (below, if negative) what was expected of them.
    limits : dict of str to float
        The limit of each quantity that is watched, by the name it has here.
    alarms : tuple of str
        Quantities beyond their limit at the last check, and not recovered since; with
        ``"changed_models"`` where there were any.
    """

    models: np.ndarray
    n_queries: int
    n_window: int
    calls: np.ndarray
    call_share: np.ndarray
    entropy: float
    effective_models: float
    strongest: tuple[str, ...]
    strongest_share: float
    mean_cost: float
    total_cost: float
    drift: float = float("nan")
    drift_pvalue: float = float("nan")
    n_judged: int = 0
    quality_drop: float = float("nan")
    quality_drop_error: float = float("nan")
    changed_models: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.n_window == 0:
            return "no queries yet"
        order = np.argsort(-self.call_share, kind="stable")
        shown, rest = order[:_LISTED], order[_LISTED:]
        width = max(len(model) for model in self.models[shown])
        lines = [f"{self.n_queries:,} queries; of the last {self.n_window:,}:"]
        lines += [
            f"  {self.models[i]:{width}}  {self.call_share[i]:6.1%}" for i in shown
        ]
        if len(rest):
            lines.append(
                f"  {len(rest)} more models  {self.call_share[rest].sum():.1%}"
            )
        strongest, drift = "none, all have one price", "unknown"
        quality = "unknown"
        if np.isfinite(self.quality_drop):
            side = "below" if self.quality_drop >= 0 else "above"
            quality = (
                f"{abs(self.quality_drop):.3g} {side} what was expected, s.e. "
                f"{self.quality_drop_error:.2g}, of {self.n_judged:,} judged"
            )
            quality += self._write_limit("quality_drop", "at most", " below")
        if np.isfinite(self.strongest_share):
            strongest = f"{self.strongest_share:.1%} of the calls"
            strongest += self._write_limit("strongest_share")
        if np.isfinite(self.drift):
            drift = f"{self.drift:.2f} of 1, p = {self.drift_pvalue:.2g}"
            drift += self._write_limit("drift")
        names = f" ({format_names(self.strongest)})" if self.strongest else ""
        return "\n".join(
            [
                *lines,
                f"entropy of the calls: {self.entropy:.2f} of 1, as "
                f"{self.effective_models:.1f} models called equally often"
                + self._write_limit("entropy", "at least"),
                f"strongest model{names}: {strongest}",
                f"spend: {self.mean_cost:.4g} per query{self._write_limit('mean_cost')}"
                f", {self.total_cost:.4g} since the start",
                f"drift of the queries: {drift}",
                f"quality: {quality}",
                *(
                    f"  {model}: the last answers are {write_change(shift)}"
                    for model, shift in self.changed_models.items()
                ),
                f"alarms: {format_names(self.alarms)}",
            ]
        )

    def _write_limit(self, name: str, word: str = "at most", side: str = "") -> str:
        return f" ({word} {self.limits[name]:.4g}{side})" if name in self.limits else ""


# What is wrong, by how much, and what to do, for each quantity.
_WARNINGS = {
    "strongest_share": (
        "the share of calls to the strongest model ({strongest}) is "
        "{seen.strongest_share:.4g} {last}, above max_strongest_share={limit}. "
        "The router may have collapsed: route with a budget or a price, and look "
        "at routing_collapse_index on recent outcomes."
    ),
    "entropy": (
        "the normalised entropy of the calls is {seen.entropy:.4g} {last}, below "
        "min_entropy={limit}: {most} gets {share:.1%} of them. If other models would "
        "do as well or better, fit the router again on recent outcomes; if one model "
        "is enough, no router is needed."
    ),
    "mean_cost": (
        "the mean spend is {seen.mean_cost:.4g} per query {last}, above the "
        "budget with its slack, {limit}. Queries or prices may have changed: "
        "route with a lower budget, or fit the router again on recent costs."
    ),
    "drift": (
        "the embeddings have drifted from the reference: the Kolmogorov-Smirnov "
        "statistic is {seen.drift:.4g} (p = {seen.drift_pvalue:.2g}) {last} that had "
        "embeddings, above max_drift={limit}. Collect outcomes on recent queries and "
        "fit the router again, and check that the encoder is the same."
    ),
    "quality_drop": (
        "the quality of the {seen.n_judged:,} last answers that were judged is "
        "{seen.quality_drop:.4g} below what the router expected of them (standard "
        "error {seen.quality_drop_error:.2g}), more than max_quality_drop={limit}. A "
        "model or the queries may have changed: compare the models on recent outcomes, "
        "and fit the router again on these."
    ),
}


def write_warning(name: str, seen: MonitorSummary) -> str:
    """Write a warning about the quantity of that name."""
    most = seen.call_share.argmax()
    return _WARNINGS[name].format(
        seen=seen,
        last=f"over the last {seen.n_window:,} queries",
        limit=f"{seen.limits[name]:.4g}",
        strongest=format_names(seen.strongest),
        most=seen.models[most],
        share=seen.call_share[most],
    )


def write_change(shift: float) -> str:
    """Say how far the quality of a model is from what was expected."""
    return f"{abs(shift):.3g} {'above' if shift > 0 else 'below'} what was expected"


def warn_of_changes(changed: dict[str, float]) -> str:
    """Write a warning about the models that are not what they were."""
    listed = "; ".join(f"{model}: {write_change(s)}" for model, s in changed.items())
    return (
        f"models are not what they were, by their last answers ({listed}), which "
        "chance does not explain. Let the router learn on (update), or fit it again on "
        "recent outcomes, and ask what has changed behind the name."
    )

"""Summary of what a monitor saw, as numbers and as text."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from skroute._table.names import format_names

__all__ = ["MonitorSummary", "write_warning"]

# Models that a written summary lists.
_LISTED = 20


@dataclass(frozen=True, eq=False)
class MonitorSummary:
    """Summary of what a :class:`CollapseMonitor` saw; ``print`` it to read it.

    Attributes
    ----------
    models : ndarray of str of shape (n_models,)
        Names of the models.
    n_queries : int
        Queries seen since the start.
    n_window : int
        Queries in the window; all but the totals are computed on it. If it is 0,
        shares and means are ``NaN``.
    calls : ndarray of int of shape (n_models,)
        Calls of each model since the start.
    call_share : ndarray of shape (n_models,)
        Share of the queries that each model was called for.
    entropy : float
        Entropy of the call shares, divided by the logarithm of the number of models: 0
        if one model gets every call, 1 if all get the same number.
    effective_models : float
        Exponential of the entropy: the number of models that have this entropy if they
        are called equally often.
    strongest : tuple of str
        The most expensive model by price, or several of the same price.
    strongest_share : float
        Share of the queries that they were called for; ``NaN`` where all models have
        the same price.
    mean_cost : float
        Money per query.
    total_cost : float
        Money since the start.
    drift : float
        Largest Kolmogorov-Smirnov statistic between the embeddings of the window and
        the reference, from 0 to 1; ``NaN`` without a reference, or before
        ``min_queries`` embeddings were seen.
    drift_pvalue : float
        Its p-value, corrected for the number of comparisons.
    limits : dict of str to float
        The limit of each quantity that is watched, by the name it has here.
    alarms : tuple of str
        Quantities beyond their limit at the last check, and not recovered since.
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
    limits: dict[str, float] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.n_window == 0:
            return "no queries yet"
        order = np.argsort(-self.call_share, kind="stable")
        width = max(len(model) for model in self.models[order[:_LISTED]])
        lines = [
            f"{self.n_queries:,} queries; of the last {self.n_window:,}:",
            *(
                f"  {self.models[i]:{width}}  {self.call_share[i]:6.1%}"
                for i in order[:_LISTED]
            ),
        ]
        if len(order) > _LISTED:
            rest = self.call_share[order[_LISTED:]].sum()
            lines.append(f"  {len(order) - _LISTED} more models  {rest:.1%}")
        lines += [
            f"entropy of the calls: {self.entropy:.2f} of 1, as "
            f"{self.effective_models:.1f} models called equally often"
            + self._limit("entropy", "at least"),
            f"strongest model ({format_names(self.strongest)}): "
            f"{self.strongest_share:.1%} "
            "of the calls" + self._limit("strongest_share", "at most")
            if np.isfinite(self.strongest_share)
            else "strongest model: none, all have one price",
            f"spend: {self.mean_cost:.4g} per query"
            + self._limit("mean_cost", "at most")
            + f", {self.total_cost:.4g} since the start",
            f"drift of the queries: {self.drift:.2f} of 1, p = {self.drift_pvalue:.2g}"
            + self._limit("drift", "at most")
            if np.isfinite(self.drift)
            else "drift of the queries: unknown",
            f"alarms: {format_names(self.alarms)}",
        ]
        return "\n".join(lines)

    def _limit(self, name: str, word: str) -> str:
        return f" ({word} {self.limits[name]:.4g})" if name in self.limits else ""


def write_warning(name: str, seen: MonitorSummary) -> str:
    """Write a warning: what is wrong, by how much, and what to do."""
    last = f"over the last {seen.n_window:,} queries"
    limit = f"{seen.limits[name]:.4g}"
    most = int(seen.call_share.argmax())
    if name == "strongest_share":
        return (
            "the share of calls to the strongest model "
            f"({format_names(seen.strongest)}) is {seen.strongest_share:.4g} {last}, "
            f"above max_strongest_share={limit}. "
            "The router may have collapsed: route with a budget or a price, and look "
            "at routing_collapse_index on recent outcomes."
        )
    if name == "entropy":
        return (
            f"the normalised entropy of the calls is {seen.entropy:.4g} {last}, below "
            f"min_entropy={limit}: {seen.models[most]} gets "
            f"{seen.call_share[most]:.1%} of them. If other models would do as well "
            "or better, fit the router again on recent outcomes; if one model is "
            "enough, no router is needed."
        )
    if name == "mean_cost":
        return (
            f"the mean spend is {seen.mean_cost:.4g} per query {last}, above the "
            f"budget with its slack, {limit}. Queries or prices may have changed: "
            "route with a lower budget, or fit the router again on recent costs."
        )
    return (
        f"the embeddings have drifted from the reference: the Kolmogorov-Smirnov "
        f"statistic is {seen.drift:.4g} (p = {seen.drift_pvalue:.2g}) {last} that had "
        f"embeddings, above max_drift={limit}. Collect outcomes on recent queries and "
        "fit the router again, and check that the encoder is the same."
    )

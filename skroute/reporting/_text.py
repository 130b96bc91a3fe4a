"""Numbers and sentences of a report, written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skroute.metrics import quality_neutral_cost
from skroute.reporting._findings import Findings, Interval

_NOTHING = "\N{EN DASH}"
_DIGITS = 3
# Amounts below this are given per thousand queries.
_SMALL = 0.1


def format_percent(share: float, unknown: str = _NOTHING) -> str:
    """Write a share as a whole percentage, but never as 0% or 100% if it is not."""
    if not np.isfinite(share):
        return unknown
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return f"{np.floor(share * 1000) / 10:g}%"
    return f"{share:.0%}"


def format_number(value: float, digits: int = _DIGITS) -> str:
    """Write a number with significant digits, never with an exponent."""
    if not np.isfinite(value):
        return _NOTHING
    if value == 0:
        return "0"
    decimals = digits - 1 - int(np.floor(np.log10(abs(value))))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def format_signed(value: float) -> str:
    """Write a difference of qualities with its sign."""
    return (
        f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
        if np.isfinite(value)
        else _NOTHING
    )


@dataclass(frozen=True)
class Money:
    """Format of amounts: per how many queries, and in which unit."""

    per: int
    unit: str | None

    @classmethod
    def for_amounts_up_to(cls, largest: float, unit: str | None) -> Money:
        """Choose the number of queries so that amounts are easy to read."""
        return cls(1000 if 0 < largest < _SMALL else 1, unit)

    @property
    def per_text(self) -> str:
        """Write per how many queries amounts are."""
        return "per query" if self.per == 1 else f"per {self.per:,} queries"

    def write_amount(self, cost: float) -> str:
        """Write the mean cost of a query, multiplied by the number of queries."""
        return self.write_cost(cost * self.per)

    def write_cost(self, cost: float) -> str:
        """Write the cost of one query."""
        text = format_number(cost)
        return text if self.unit is None else f"{text} {self.unit}"


def write_headline(findings: Findings) -> tuple[str, str]:
    """Write the main finding, and a sentence that explains it."""
    curve, neutral = findings.curve, findings.neutral.value
    best = str(curve.models[curve.best_single])
    queries = f"{curve.n_queries:,} held-out queries"
    if not findings.reached:
        point = findings.point
        share = _divide(curve.quality[point], curve.model_quality[curve.best_single])
        of_it = "" if share is None else f", {format_percent(share)} of {best}'s"
        cost = _divide(curve.cost[point], curve.model_cost[curve.best_single])
        paid = "" if cost is None else f", for {format_percent(cost)} of its cost"
        return (
            f"The router does not reach the quality of {best}.",
            f"On {queries} the best mean quality that it reaches at any budget is "
            f"{format_number(curve.quality[point])}{of_it}{paid}.",
        )
    paid = format_percent(neutral)
    quality = format_number(curve.model_quality[curve.best_single])
    if neutral < 1:
        return (
            f"At the quality of {best} you would pay {paid} of its price.",
            f"{best} is the best single model. On {queries} the router matches its "
            f"mean quality, {quality}, for {paid} of what calling it every time costs.",
        )
    return (
        f"Routing saves nothing at the quality of {best}.",
        f"{best} is the best single model. On {queries} the router needs {paid} of its "
        f"cost to match its mean quality, {quality}.",
    )


def write_interval(interval: Interval) -> str | None:
    """Write how certain the headline is."""
    if np.isnan(interval.low):
        return None
    if not np.isfinite(interval.low):
        return (
            "Nor does it in 97.5% of the resamples of these queries, so chance does "
            "not explain it."
        )
    low = format_percent(interval.low)
    if not np.isfinite(interval.high):
        return (
            f"95% interval over resampled queries: from {low} of the model's cost to "
            "out of reach. These queries are too few, or the gain is too small, to be "
            "sure."
        )
    high = format_percent(interval.high)
    text = f"95% interval over resampled queries: {low} to {high}."
    if interval.low < 1 <= interval.high:
        text += " It includes 100%: there may be no saving at all."
    return text


def write_kept(findings: Findings) -> str | None:
    """Write what a budget that was set in training leads to."""
    curve, kept = findings.curve, findings.kept
    best = str(curve.models[curve.best_single])
    if findings.out_of_reach:
        return (
            "That budget is known in hindsight only: on its training queries the "
            f"router did not expect to keep the quality of {best} at any budget."
        )
    if kept is None:
        return None
    quality = _divide(kept.quality, curve.model_quality[curve.best_single])
    cost = _divide(kept.cost, curve.model_cost[curve.best_single])
    gave = format_number(kept.quality) if quality is None else f"{quality:.1%} of it"
    paid = "" if cost is None else f" for {format_percent(cost)} of its cost"
    return (
        "That budget is known in hindsight only. Set beforehand, on training queries "
        f"alone, to keep the quality of {best}, the router gave {gave}{paid}."
    )


def write_checked(findings: Findings) -> str:
    """Write what a cascade gave as it was set, and what it gives at one quality."""
    curve, checked = findings.curve, findings.checked
    assert checked is not None
    best = str(curve.models[curve.best_single])
    quality = _divide(checked.quality, curve.model_quality[curve.best_single])
    cost = _divide(checked.cost, curve.model_cost[curve.best_single])
    gave = f"a mean quality of {format_number(checked.quality)}"
    if quality is not None:
        gave = f"{quality:.1%} of the quality of {best}"
    spent = "" if cost is None else f" for {format_percent(cost)} of its cost"
    most = checked.most_calls
    calls = "1 call" if most == 1 else f"{most} calls or fewer"
    as_set = (
        f"As it was set beforehand, the cascade gave {gave}{spent}, with "
        f"{checked.n_calls:.2f} calls per query; 95% of the queries took {calls}."
    )
    paid = quality_neutral_cost(checked.curve)
    alone = format_percent(findings.neutral.value)
    if np.isfinite(paid):
        hindsight = (
            f"In hindsight, the quality of {best} costs {format_percent(paid)} of its "
            "price with checks"
        )
        without = f", and {alone} by routing alone"
        beyond = "; routing alone does not reach it"
    else:
        hindsight = f"In hindsight, no budget reaches the quality of {best} with checks"
        without = f"; routing alone does, for {alone} of its price"
        beyond = ", nor by routing alone"
    return f"{as_set} {hindsight}{without if findings.reached else beyond}."


def _divide(value: float, whole: float) -> float | None:
    """Divide by a whole; None where that is not positive."""
    return float(value / whole) if whole > 0 else None

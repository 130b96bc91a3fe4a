"""Numbers and sentences of a report, written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skroute.reporting._findings import Collapse, Findings, Interval

_NOTHING = "\N{EN DASH}"
_DIGITS = 3
# Amounts below this are given per thousand queries.
_SMALL = 0.1
# Shares of the queries that go to the strongest model in vain, for the verdict.
_SOME, _MANY = 0.2, 0.5


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

    def amount(self, cost: float) -> str:
        """Write the mean cost of a query, multiplied by the number of queries."""
        return self.one(cost * self.per)

    def one(self, cost: float) -> str:
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
        share = _share(curve.quality[point], curve.model_quality[curve.best_single])
        of_it = "" if share is None else f", {format_percent(share)} of {best}'s"
        cost = _share(curve.cost[point], curve.model_cost[curve.best_single])
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
    quality = _share(kept.quality, curve.model_quality[curve.best_single])
    cost = _share(kept.cost, curve.model_cost[curve.best_single])
    gave = format_number(kept.quality) if quality is None else f"{quality:.1%} of it"
    paid = "" if cost is None else f" for {format_percent(cost)} of its cost"
    return (
        "That budget is known in hindsight only. Set beforehand, on training queries "
        f"alone, to keep the quality of {best}, the router gave {gave}{paid}."
    )


def write_verdict(collapse: Collapse, strongest: str) -> tuple[str, str]:
    """Write whether the router collapses, and the evidence."""
    if collapse.in_vain >= _MANY:
        verdict = f"It collapses: with money to spend, {strongest} is called in vain."
    elif collapse.in_vain >= _SOME:
        verdict = f"It leans on {strongest} more than it needs to."
    else:
        verdict = f"No collapse: {strongest} is rarely called in vain."
    shares = collapse.strongest, collapse.needed, collapse.in_vain, collapse.worse
    called, needed, in_vain, worse = map(format_percent, shares)
    return verdict, (
        f"Without a budget, the router sends {called} of the queries to {strongest}, "
        f"the most expensive model, which is the only best one on {needed}. It calls "
        f"it in vain, where another model is as good or better, on {in_vain}; on "
        f"{worse} it calls another model that is not the best."
    )


def write_trust(findings: Findings, money: Money) -> str:
    """Write how far the estimates can be trusted where decisions rely on them."""
    at = findings.at_point
    gap = at.expected_quality - at.quality
    if abs(gap) < 0.005:
        believed = "as it expected"
    else:
        believed = f"{abs(gap):.3f} {'less' if gap > 0 else 'more'}"
    return (
        f"On the calls that it chooses at this report's budget, the router expects a "
        f"mean quality of {format_number(at.expected_quality)} and gets "
        f"{format_number(at.quality)}, {believed}; it expects to pay "
        f"{money.amount(at.expected_cost)} {money.per_text} and pays "
        f"{money.amount(at.cost)}. Over all models the mean gap between expected and "
        f"observed quality is {format_number(findings.calibration_error, 2)}."
    )


def _share(value: float, whole: float) -> float | None:
    """Divide by a whole; None where that is not positive."""
    return float(value / whole) if whole > 0 else None

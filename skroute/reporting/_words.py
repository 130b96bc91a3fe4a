"""Numbers and sentences of a report, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skroute.reporting._findings import Collapse, Findings, Interval

__all__ = [
    "Money",
    "collapse_verdict",
    "headline",
    "interval_text",
    "kept_text",
    "number",
    "percent",
    "signed",
    "trust_text",
]

_NOTHING = "\N{EN DASH}"
_DIGITS = 3
# Amounts below this are easier read of a thousand queries.
_SMALL = 0.1
# Shares of the queries that go to the dearest model in vain.
_SOME, _MANY = 0.2, 0.5


def percent(share: float) -> str:
    """A share as a whole percentage; little is not nothing, most is not all."""
    if not np.isfinite(share):
        return _NOTHING
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return f"{np.floor(share * 1000) / 10:g}%"
    return f"{share:.0%}"


def number(value: float, digits: int = _DIGITS) -> str:
    """A number to so many significant digits, never with an exponent."""
    if not np.isfinite(value):
        return _NOTHING
    if value == 0:
        return "0"
    decimals = digits - 1 - int(np.floor(np.log10(abs(value))))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def signed(value: float) -> str:
    """A difference of qualities with its sign."""
    return (
        f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
        if np.isfinite(value)
        else _NOTHING
    )


@dataclass(frozen=True)
class Money:
    """How amounts are written: for how many queries, and in which unit."""

    per: int
    unit: str | None

    @classmethod
    def for_amounts_up_to(cls, largest: float, unit: str | None) -> Money:
        """Choose so that the amounts are easily read."""
        return cls(1000 if 0 < largest < _SMALL else 1, unit)

    @property
    def per_text(self) -> str:
        """What the amounts are for."""
        return "per query" if self.per == 1 else f"per {self.per:,} queries"

    def amount(self, cost: float) -> str:
        """Write the mean cost of a query, for as many as amounts are given for."""
        return self.one(cost * self.per)

    def one(self, cost: float) -> str:
        """Write the cost of one query."""
        text = number(cost)
        return text if self.unit is None else f"{text} {self.unit}"


def headline(findings: Findings) -> tuple[str, str]:
    """The finding in one sentence, and what it says."""
    curve, neutral = findings.curve, findings.neutral.value
    best = str(curve.models[curve.best_single])
    queries = f"{curve.n_queries:,} held-out queries"
    if not findings.reached:
        point = findings.point
        share = _share(curve.quality[point], curve.model_quality[curve.best_single])
        of_it = "" if share is None else f", {percent(share)} of {best}'s"
        cost = _share(curve.cost[point], curve.model_cost[curve.best_single])
        paid = "" if cost is None else f", for {percent(cost)} of its cost"
        return (
            f"The router does not reach the quality of {best}.",
            f"On {queries} the best mean quality that it reaches at any budget is "
            f"{number(curve.quality[point])}{of_it}{paid}.",
        )
    if neutral < 1:
        return (
            f"At the quality of {best} you would pay {percent(neutral)} of its price.",
            f"{best} is the best single model. On {queries} the router matches its "
            f"mean quality, {number(curve.model_quality[curve.best_single])}, for "
            f"{percent(neutral)} of what calling it every time costs.",
        )
    return (
        f"Routing saves nothing at the quality of {best}.",
        f"{best} is the best single model. On {queries} the router needs "
        f"{percent(neutral)} of its cost to match its mean quality, "
        f"{number(curve.model_quality[curve.best_single])}.",
    )


def interval_text(interval: Interval) -> str | None:
    """How sure the headline is."""
    if np.isnan(interval.low):
        return None
    if not np.isfinite(interval.low):
        return (
            "Nor does it in 97.5% of the resamples of these queries: this is no "
            "accident of the queries drawn."
        )
    low = percent(interval.low)
    if not np.isfinite(interval.high):
        return (
            f"95% interval over resampled queries: from {low} of the model's cost to "
            "out of reach. These queries are too few, or the gain is too small, to be "
            "sure."
        )
    text = f"95% interval over resampled queries: {low} to {percent(interval.high)}."
    if interval.low < 1 <= interval.high:
        text += " It includes 100%: there may be no saving at all."
    return text


def kept_text(findings: Findings) -> str | None:
    """What came of a promise that was made in training."""
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
    gave = number(kept.quality) if quality is None else f"{quality:.1%} of it"
    paid = "" if cost is None else f" for {percent(cost)} of its cost"
    return (
        "That budget is known in hindsight only. Set beforehand, on training queries "
        f"alone, to keep the quality of {best}, the router gave {gave}{paid}."
    )


def collapse_verdict(collapse: Collapse, dearest: str) -> tuple[str, str]:
    """Whether it collapses, and what that is said from."""
    if collapse.in_vain >= _MANY:
        verdict = f"It collapses: with money to spend, {dearest} is called in vain."
    elif collapse.in_vain >= _SOME:
        verdict = f"It leans on {dearest} more than it needs to."
    else:
        verdict = f"No collapse: {dearest} is seldom called in vain."
    return verdict, (
        f"Left without a budget, the router sends {percent(collapse.dearest)} of the "
        f"queries to {dearest}, the dearest model, which is the only best one on "
        f"{percent(collapse.needed)}. It calls it in vain, where another model is as "
        f"good or better, on {percent(collapse.in_vain)}; on "
        f"{percent(collapse.worse)} it calls another model that is not the best."
    )


def trust_text(findings: Findings, money: Money) -> str:
    """Whether estimates can be believed where decisions rest on them."""
    at = findings.at_point
    gap = at.expected_quality - at.quality
    if abs(gap) < 0.005:
        believed = "as it expected"
    else:
        believed = f"{abs(gap):.3f} {'less' if gap > 0 else 'more'}"
    return (
        f"On the calls that it chooses at this report's budget, the router expects a "
        f"mean quality of {number(at.expected_quality)} and gets "
        f"{number(at.quality)}, {believed}; it expects to pay "
        f"{money.amount(at.expected_cost)} {money.per_text} and pays "
        f"{money.amount(at.cost)}. Over all models the mean gap between expected and "
        f"observed quality is {number(findings.calibration_error, 2)}."
    )


def _share(value: float, whole: float) -> float | None:
    """Share of a whole; nothing where that is not positive."""
    return float(value / whole) if whole > 0 else None

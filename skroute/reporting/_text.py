"""Numbers and sentences of a report, written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skroute.metrics import quality_neutral_cost
from skroute.reporting._findings import Findings, Interval, Kept

_NOTHING = "\N{EN DASH}"
_DIGITS = 3
# Amounts that differ by a smaller share are about the same.
_ABOUT = 0.03
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
    """Write the main finding, and a sentence that explains it.

    It is what the rule gave that was settled in training, where there is one.
    """
    curve, promise = findings.curve, findings.promise
    best = str(curve.models[curve.best_single])
    if promise is not None:
        model = str(curve.models[promise.single])
        is_best = f"{model} was the best single model in training"
        if model != best:
            is_best += f"; on these queries {best} is"
        if findings.kept is not None:
            return _write_kept(findings.kept, model, is_best, curve.n_queries)
        return (
            f"The router does not promise the quality of {model}.",
            f"{is_best}. On its training queries the router did not expect to keep "
            "this quality at any budget, and asked for it, it says so.",
        )
    if not findings.reached:
        return (
            f"The router does not reach the quality of {best}.",
            f"{best} is the best single model.",
        )
    if findings.neutral.value < 1:
        paid = format_percent(findings.neutral.value)
        return (
            f"In hindsight, the quality of {best} costs {paid} of its price.",
            f"{best} is the best single model. The router keeps nothing of its "
            "training from which a budget could be settled beforehand.",
        )
    return (
        f"Routing saves nothing at the quality of {best}.",
        f"{best} is the best single model.",
    )


def _write_kept(
    kept: Kept, model: str, is_best: str, n_queries: int
) -> tuple[str, str]:
    at = f"{format_number(kept.at.quality)} in the mean"
    gave, paid = f"a quality of {at}", ""
    if np.isfinite(kept.quality.value):
        gave = f"{kept.quality.value:.1%} of it"
        at = f"{gave}{_write_range(kept.quality, '.1%')}"
    if np.isfinite(kept.cost.value):
        paid = f" for {format_percent(kept.cost.value)} of its price"
        at += f" for {format_percent(kept.cost.value)} of its cost"
        at += _write_range(kept.cost, ".0%")
    return (
        f"Set to keep the quality of {model}, the router gave {gave}{paid}.",
        f"{is_best}. How to route was settled beforehand, on training queries alone, "
        f"and gave {at} on {n_queries:,} held-out queries.",
    )


def _write_range(interval: Interval, spec: str) -> str:
    """Write an interval in brackets, if it is known."""
    if not np.isfinite(interval.low + interval.high):
        return ""
    return f" (95% interval {interval.low:{spec}} to {interval.high:{spec}})"


def write_opening(findings: Findings, money: Money) -> str:
    """Write where the slider starts, and how far that is from the headline.

    It starts at the expected cost of the headline's decisions, or near it, and what
    the point of the curve then really spends may be another amount.
    """
    there = float(findings.curve.cost[findings.point])
    claimed = findings.at_point.cost
    if abs(there - claimed) <= _ABOUT * max(there, claimed):
        return "The slider starts where about as much is spent as in the headline."
    return (
        "The slider starts at the point of the curve that is nearest to the headline "
        f"in expected cost. That point spends {money.write_amount(there)} "
        f"{money.per_text}, and the headline {money.write_amount(claimed)}."
    )


def write_hindsight(findings: Findings) -> str:
    """Write what the best budget would have been, and how certain that is."""
    curve, neutral = findings.curve, findings.neutral
    best = str(curve.models[curve.best_single])
    if not findings.reached:
        point = int(curve.quality.argmax())
        share = _divide(curve.quality[point], curve.model_quality[curve.best_single])
        of_it = "" if share is None else f", {format_percent(share)} of {best}'s"
        cost = _divide(curve.cost[point], curve.model_cost[curve.best_single])
        paid = "" if cost is None else f", for {format_percent(cost)} of its cost"
        text = (
            f"In hindsight no budget reaches the quality of {best}: the best is "
            f"{format_number(curve.quality[point])}{of_it}{paid}."
        )
        if neutral.low == np.inf:
            text += " Nor is it reached in 97.5% of the resamples of these queries."
        return text
    text = (
        f"In hindsight, {format_percent(neutral.value)} of the cost of {best} buys its "
        "quality"
    )
    if np.isnan(neutral.low):
        return f"{text}."
    low = format_percent(neutral.low)
    if not np.isfinite(neutral.high):
        return (
            f"{text} (95% interval from {low} to out of reach: these queries are too "
            "few, or the gain is too small, to be sure)."
        )
    return f"{text} (95% interval {low} to {format_percent(neutral.high)})."


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

"""What a stream of queries costs and gives on average, with intervals at any time.

An interval that is looked at again and again has to hold at all times at once. For
values in [0, 1], each compared with a guess that was made before it, the capital of a
bettor who stakes a share on every value keeps below ``1 / error`` for ever with a
chance of at least ``1 - error``, also where the means of the values change ([1]_, and
[2]_ for empirical Bernstein). The mean that an interval is of is that of the
expectations of all values so far.

References
----------
.. [1] I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by
   betting", Journal of the Royal Statistical Society B 86, 2024, arXiv:2010.09686.
.. [2] S. R. Howard, A. Ramdas, J. McAuliffe and J. Sekhon, "Time-uniform,
   nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49, 2021,
   arXiv:1810.08240.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from skroute._table.numbers import read_numbers

# Shares that bettors stake: a small one proves most of many values, or of values that
# vary little from their guesses a large one.
_STAKES = 0.5 ** np.arange(1, 17)


@dataclass(frozen=True)
class RunningMean:
    """The mean of values between two bounds, in constant memory.

    Never changed: `record` makes a new one. A value beyond a bound counts as the bound.
    """

    low: float
    high: float
    n_values: int = 0
    #: Sum of the values, and of the squares of their distances from the guesses, in a
    #: unit in which the bounds are 0 and 1.
    total: float = 0.0
    spread: float = 0.0
    #: Values beyond the bounds.
    n_outside: int = 0

    def record(self, values: np.ndarray) -> Self:
        """Add values, (n,), in the order of the stream; ``NaN`` is none."""
        low, high = self.low, self.high
        width = (high - low) or 1.0
        n_values, total, spread = self.n_values, self.total, self.spread
        n_outside = self.n_outside
        # Most updates are of one value or of a few, for which arrays take longer.
        for value in values.tolist():
            if value != value:
                continue
            inside = min(max(value, low), high)
            n_outside += inside != value
            inside = (inside - low) / width
            # The guess is the mean of those before, and of a first one in the middle.
            spread += (inside - (total + 0.5) / (n_values + 1)) ** 2
            total += inside
            n_values += 1
        return type(self)(low, high, n_values, total, spread, n_outside)

    @property
    def mean(self) -> float:
        """The mean of the values; ``NaN`` without one."""
        if not self.n_values:
            return float("nan")
        return self.low + (self.high - self.low) * self.total / self.n_values

    def bound(self, confidence: float) -> tuple[float, float]:
        """Bound the mean of what was expected of the values, at all times at once."""
        if not self.n_values:
            return self.low, self.high
        # Both sides, and each stake, have a part of the error.
        doubt = np.log(2 * len(_STAKES) / (1 - confidence))
        growth = -np.log1p(-_STAKES) - _STAKES
        off = float(((doubt + growth * self.spread) / _STAKES).min()) / self.n_values
        share, width = self.total / self.n_values, self.high - self.low
        return (
            self.low + width * max(share - off, 0.0),
            self.low + width * min(share + off, 1.0),
        )


@dataclass(frozen=True)
class StreamMeans:
    """Running means of what a stream cost and, as far as it is known, gave."""

    spend: RunningMean
    quality: RunningMean
    #: Whether the range of qualities was seen in fit; else it is taken to be 0 to 1.
    has_range: bool

    @classmethod
    def begin(
        cls, cost: np.ndarray, costs: np.ndarray | None, y: np.ndarray | None
    ) -> Self:
        """Begin with the bounds that estimated and observed outcomes are within.

        All are (n_queries, n_models), observed ones ``NaN`` where unknown.
        """
        highest = float(cost.max())
        if costs is not None and np.isfinite(costs).any():
            highest = max(highest, float(np.nanmax(costs)))
        quality, has_range = RunningMean(0.0, 1.0), False
        if y is not None and np.isfinite(y).any():
            low, high, has_range = float(np.nanmin(y)), float(np.nanmax(y)), True
            if low < 0 or high > 1:
                quality = RunningMean(low, high)
        return cls(RunningMean(0.0, highest), quality, has_range)

    def record(self, spent: np.ndarray | None, quality: np.ndarray | None) -> Self:
        """Add what queries cost and gave, (n_queries,), ``NaN`` where unknown."""
        money, answers = self.spend, self.quality
        if spent is not None:
            money = money.record(spent)
        if quality is not None:
            outside = (quality < 0) | (quality > 1)
            if outside.any() and not self.has_range:
                raise ValueError(
                    "quality must be in [0, 1], which is assumed of it where fit was "
                    f"given no qualities; got {quality[outside][0]:g}. Give y to fit, "
                    "whose range is then assumed."
                )
            answers = answers.record(quality)
        return type(self)(money, answers, self.has_range)


def read_ratings(quality: Any, n_queries: int) -> np.ndarray:
    """Check how good the answers of a stream were, (n_queries,)."""
    ratings = read_numbers(quality, "quality")
    if ratings.shape != (n_queries,):
        raise ValueError(
            "quality must be how good the answer to each query was, one number per row "
            f"of Z, of shape ({n_queries},); got {ratings.shape}."
        )
    return ratings


@dataclass(frozen=True)
class StreamReport:
    """What a stream has cost and given on average, with intervals.

    Printed, it is a sentence.

    Attributes
    ----------
    confidence : float
        Chance that each interval holds, at all times at once: it may be looked at after
        every query, and acted on.
    n_bills, n_ratings : int
        Queries whose cost, and whose quality, `partial_fit` was told.
    spend, quality : float
        Their means; ``NaN`` where none is known.
    spend_interval, quality_interval : tuple of float
        Lower and upper bound of the mean that was to be expected of these queries, as
        they were decided.
    spend_range, quality_range : tuple of float
        What each cost and quality is assumed to lie in.
    n_above, n_outside : int
        Costs and qualities that did not; they count as the nearest that does.
    """

    confidence: float
    n_bills: int
    spend: float
    spend_interval: tuple[float, float]
    spend_range: tuple[float, float]
    n_above: int
    n_ratings: int
    quality: float
    quality_interval: tuple[float, float]
    quality_range: tuple[float, float]
    n_outside: int

    @classmethod
    def of(cls, means: StreamMeans, confidence: float) -> Self:
        """Report running means."""
        spend, quality = means.spend, means.quality
        return cls(
            confidence=confidence,
            n_bills=spend.n_values,
            spend=spend.mean,
            spend_interval=spend.bound(confidence),
            spend_range=(spend.low, spend.high),
            n_above=spend.n_outside,
            n_ratings=quality.n_values,
            quality=quality.mean,
            quality_interval=quality.bound(confidence),
            quality_range=(quality.low, quality.high),
            n_outside=quality.n_outside,
        )

    def __str__(self) -> str:
        parts = []
        if self.n_bills:
            low, high = self.spend_interval
            text = (
                f"{self.spend:.4g} of money per query ({low:.4g} to {high:.4g}), from "
                f"{self.n_bills:,} bills"
            )
            if self.n_above:
                most = f"{self.spend_range[1]:.4g}"
                text += f", {self.n_above:,} of them above {most} and counted as {most}"
            parts.append(text)
        if self.n_ratings:
            low, high = self.quality_interval
            text = (
                f"a mean quality of {self.quality:.4g} ({low:.4g} to {high:.4g}), from "
                f"{self.n_ratings:,} answers"
            )
            if self.n_outside:
                low, high = self.quality_range
                text += (
                    f", {self.n_outside:,} of them outside {low:g} to {high:g} and "
                    "counted as the nearest of these"
                )
            parts.append(text)
        if not parts:
            return "nothing is known yet of what queries cost or gave"
        return (
            f"{'; '.join(parts)}; with {100 * self.confidence:g}% confidence, whenever "
            "you look"
        )

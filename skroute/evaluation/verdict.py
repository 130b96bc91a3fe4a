"""What `routability` found: whether routing by the query is worth it, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import norm

from skroute._optional import require
from skroute.evaluation.gains import Estimate
from skroute.evaluation.scores import write_json

Verdict = Literal["route", "do not route", "not enough data"]

#: Fewer judged queries do not show that there is nothing to gain: what a router did not
#: learn from so few, it may learn from more.
LEAST_QUERIES = 300
#: A gain has to be too small with so many times as many queries, too.
MORE = 4.0
# Share of the cost below which a saving is not worth the work.
_LITTLE_SAVED = 0.05
# Gains are written in full between these.
_SMALLEST_WRITTEN, _LARGEST_WRITTEN = 1e-6, 1e6
# How far the learning curve is followed, in times the number of queries.
_FARTHEST = 32.0


@dataclass(frozen=True)
class Routability:
    """Whether choosing the model by the query is worth it, and on what evidence.

    Estimates are triples (value, low, high). Each bound holds by itself with the given
    confidence, by Student's t over queries; repeats of a prompt count as one.

    Attributes
    ----------
    verdict : {"route", "do not route", "not enough data"}
        The answer.
    gain : Estimate
        Mean quality that the router adds at equal spend over the best that can be done
        without looking at the query: single models, and random mixtures of them. A mean
        over budgets equally spaced between the least and the most the router can spend.
    gain_over_tasks : Estimate or None
        The same over the best model for each task; ``None`` without tasks.
    saving : Estimate
        Share of the best single model's cost that is saved by decisions meant to keep
        its quality (``route(min_quality=...)``), settled on other queries. ``NaN``
        where that model is free.
    quality_change : Estimate
        Mean quality of these decisions, less that model's.
    shuffled : Estimate or None
        The gain of routers that were fitted, and judged, on the outcomes of other
        queries (of the same task, where tasks are given): what luck does, and the task.
        ``None`` if `quick`.
    random : Estimate
        The gain of a policy that calls every model as often as the router, but for
        random queries.
    luck : float
        Chance that a router does as well as this one where queries tell nothing.
    lead : float
        The gain of an oracle that knows all outcomes. Part of it is luck, too: the best
        of several noisy outcomes.
    worthwhile : float
        Smallest gain that is worth the effort, in quality.
    n_fitted : ndarray of int of shape (n_sizes,)
        Mean number of queries that routers were fitted on, for the learning curve.
    learning_curve : tuple of Estimate
        Gain by that number; the last one is `gain`.
    gain_with_more : Estimate
        The gain with four times as many queries, if the learning curve goes on as
        a constant less a multiple of one over the number of queries.
    more_queries : int or None
        About how many more queries would settle the verdict: 0 if it is settled,
        ``None`` if 32 times as many are not expected to.
    confidence : float
        Confidence of each bound.
    n_queries, n_judged, n_prompts : int
        Queries of the table; those on which every outcome is known, which are judged;
        and different prompts among these.
    """

    verdict: Verdict
    gain: Estimate
    gain_over_tasks: Estimate | None
    saving: Estimate
    quality_change: Estimate
    shuffled: Estimate | None
    random: Estimate
    luck: float
    lead: float
    worthwhile: float
    n_fitted: np.ndarray
    learning_curve: tuple[Estimate, ...]
    gain_with_more: Estimate
    more_queries: int | None
    confidence: float
    n_queries: int
    n_judged: int
    n_prompts: int

    @property
    def sentence(self) -> str:
        """The verdict and its reason, in one sentence."""
        gain = self.gain
        level = f"{self.confidence:.0%} confidence"
        if self.verdict == "route":
            text = (
                "Route: at equal spend, choosing the model by the query adds "
                f"{self._write(gain.value)} to the mean quality of the best choice "
                f"without looking at it (at least {self._write(gain.low)}, with "
                f"{level})"
            )
            over_tasks = self.gain_over_tasks
            if over_tasks is not None and not over_tasks.low > 0:
                text += "; one model for each task may do as well"
            return f"{text}."
        if self.verdict == "do not route" and self.lead <= 0:
            return (
                "Do not route: even an oracle that knows every outcome would add "
                "nothing to the best choice without looking at the query."
            )
        if self.verdict == "do not route":
            return (
                "Do not route: at equal spend, choosing the model by the query adds at "
                f"most {self._write(max(gain.high, 0.0))} to the mean quality (with "
                f"{level}); {self._write(self.worthwhile)} would be worth it."
            )
        text = (
            "Not enough data: at equal spend, choosing the model by the query changes "
            f"the mean quality by between {self._write(gain.low)} and "
            f"{self._write(gain.high)}"
        )
        if self.more_queries is None:
            return f"{text}; many more queries would be needed to decide."
        return f"{text}; about {self.more_queries:,} more queries would decide it."

    def to_frame(self) -> Any:
        """Tabulate the gains, a row for each policy.

        Returns
        -------
        DataFrame
            `gain`, `low` and `high`, by policy: the router, the router over the best
            model for each task, routers of shuffled queries, a random policy of the
            same call shares, and the oracle, without bounds.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        pd = require("pandas", "Routability.to_frame")
        rows = {"router": self.gain}
        if self.gain_over_tasks is not None:
            rows["router, over one model per task"] = self.gain_over_tasks
        if self.shuffled is not None:
            rows["router, queries shuffled"] = self.shuffled
        rows["random, same call shares"] = self.random
        rows["oracle"] = Estimate(self.lead, np.nan, np.nan)
        return pd.DataFrame.from_dict(
            rows, orient="index", columns=["gain", "low", "high"]
        ).rename_axis("policy")

    def to_dict(self) -> dict[str, Any]:
        """Turn the result into lists, numbers and strings, for JSON.

        Returns
        -------
        dict
            The attributes and the sentence; ``None`` where a number is undefined.
        """
        result: dict[str, Any] = {"sentence": self.sentence}
        for name, value in vars(self).items():
            plain = value is None or isinstance(value, str | int)
            result[name] = value if plain else write_json(value)
        return result

    def __str__(self) -> str:
        """Write the verdict, and what it rests on, in a few lines."""
        lines = [self.sentence]
        if np.isfinite(self.saving.value):
            saved, low, high = (f"{share:.0%}" for share in self.saving)
            lines.append(
                "Set to keep the best single model's quality, the cross-validated "
                f"router saves {saved} of its cost ({low} to {high}); quality changes "
                f"by {self._write_all(self.quality_change)}."
            )
            if self.verdict == "route" and self.saving.value < _LITTLE_SAVED:
                lines.append(
                    "That saves little. A lower target may save more: try 98% of that "
                    "quality."
                )
        luck = f"random calls of the same shares add {self._write(self.random.value)}."
        if self.shuffled is not None:
            shuffled = self._write_all(self.shuffled)
            within = "" if self.gain_over_tasks is None else " within their tasks"
            luck = f"with the queries shuffled{within} it adds {shuffled}; {luck}"
        lines.append(f"Luck: {luck}")
        if len(self.learning_curve) > 1:
            steps = zip(self.n_fitted, self.learning_curve, strict=True)
            curve = ", ".join(f"{self._write(e.value)} from {n:,}" for n, e in steps)
            lines.append(
                f"Learning: {curve} queries; {self._write(self.gain_with_more.value)} "
                f"expected from {MORE:g} times as many."
            )
        lines.append(
            f"Judged on {self.n_judged:,} of {self.n_queries:,} queries, by routers "
            "that had not seen them."
        )
        return "\n".join(lines)

    def _write(self, quality: float) -> str:
        """Write a quality with the decimals that the gains need."""
        size = max(self.lead, abs(self.gain.value))
        if not np.isfinite(quality):
            return "unknown"
        # Many zeros before, or behind, the point are hard to read.
        if not _SMALLEST_WRITTEN <= size < _LARGEST_WRITTEN:
            return f"{quality:.3g}"
        return f"{quality:.{max(0, 2 - int(np.floor(np.log10(size))))}f}"

    def _write_all(self, estimate: Estimate) -> str:
        value, low, high = map(self._write, estimate)
        return f"{value} ({low} to {high})"


def follow_curve(n_fitted: np.ndarray, gains: np.ndarray, times: float) -> np.ndarray:
    """Find the weights of gains by size, (n_sizes,), that foresee the gain at a size.

    That is `times` the largest one. Gains are taken to be a constant less a multiple
    of one over the number of queries; where they fell, they are taken to stay.
    """
    last = np.zeros(len(n_fitted))
    last[-1] = 1.0
    rarity = 1.0 / np.asarray(n_fitted, dtype=np.float64)
    centred = rarity - rarity.mean()
    square = (centred**2).sum()
    if len(n_fitted) < 2 or square <= 0 or centred @ gains >= 0:
        return last
    # The change from the largest size on, by the slope of least squares.
    change = (rarity[-1] / times - rarity[-1]) / square
    weights: np.ndarray = last + change * centred
    return weights


def decide(
    gain: Estimate,
    with_more: Estimate,
    luck: float,
    worthwhile: float,
    confidence: float,
    n_units: float,
) -> Verdict:
    """Decide whether routing is worth it, on evidence for either answer."""
    if gain.low > 0 and luck <= 1 - confidence + 1e-12:
        return "route"
    small = gain.high <= worthwhile and with_more.high <= worthwhile
    return "do not route" if small and n_units >= LEAST_QUERIES else "not enough data"


def find_more_queries(
    foresee: Callable[[float], float],
    gain: Estimate,
    with_more: Estimate,
    luck: float,
    worthwhile: float,
    confidence: float,
    n_units: int,
) -> int | None:
    """Find about how many more queries settle the verdict; ``None`` if too many do.

    `foresee` tells the gain at so many times the queries; its bounds, and those of the
    gain with more of them, narrow with the root of their number.
    """
    for times in np.geomspace(1.0, _FARTHEST, 201)[1:]:
        root = float(np.sqrt(times))
        now = _narrow(foresee(times), gain, root)
        later = _narrow(foresee(times * MORE), with_more, root)
        rarer = float(norm.sf(norm.isf(luck) * root))
        if decide(now, later, rarer, worthwhile, confidence, n_units * times) != (
            "not enough data"
        ):
            more = (times - 1) * n_units
            digits = 1 - int(np.floor(np.log10(max(more, 1.0))))
            return max(int(round(more, digits)), 1)
    return None


def _narrow(value: float, estimate: Estimate, root: float) -> Estimate:
    """Put the bounds of an estimate around another value, so many times nearer."""
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    return Estimate(value, value - below / root, value + above / root)

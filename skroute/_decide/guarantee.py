"""Guarantee: what decisions promise, with which confidence, and on what evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Guarantee"]


@dataclass(frozen=True)
class Guarantee:
    """What decisions promise of traffic that is like the queries they were settled on.

    Printed, it is a sentence: ``at least 95% of large's quality, with 95% confidence,
    from 1,240 queries``.

    Attributes
    ----------
    confidence : float
        Chance that the promise is kept, over the draw of the queries it rests on.
    min_quality : float or None
        Mean quality that is promised. With a `share`, that share of the mean quality of
        `baseline` on these queries; what is promised is the share, whatever the
        baseline gives on other queries.
    share : float or None
        Share of the quality of `baseline` that is promised; ``None`` if a number is.
    baseline : str or None
        The model that a `share` refers to: the best single one on these queries.
    budget : float or None
        Mean money per query that is promised not to be exceeded.
    n_queries : int
        Number of independent queries: duplicates of a prompt, and queries of one group,
        count as one.
    mean : float
        Mean quality (for a budget: money) of the decisions on these queries.
    outcome_range : tuple of float
        Lowest and highest quality (for a budget: money) of any call that was seen;
        of qualities that all lie in [0, 1] the lowest may be 0. Beyond it nothing is
        assumed to happen.
    bound : {"betting", "range"}
        ``"betting"``: the mean was tested. ``"range"``: no outcome in `outcome_range`
        can break the promise, so there was nothing to test.
    """

    confidence: float
    min_quality: float | None
    share: float | None
    baseline: Any
    budget: float | None
    n_queries: int
    mean: float
    outcome_range: tuple[float, float]
    bound: str

    def __str__(self) -> str:
        if self.budget is not None:
            promised = f"at most {self.budget:g} of money per query on average"
        elif self.share is not None:
            promised = f"at least {100 * self.share:g}% of {self.baseline}'s quality"
        else:
            promised = f"at least {self.min_quality:g} of mean quality"
        if self.bound == "range" and self.budget is not None:
            return (
                f"{promised}, if no call costs more than {self.outcome_range[1]:g}, "
                f"the most that any of {self.n_queries:,} queries cost"
            )
        if self.bound == "range":
            return f"{promised}, whatever the queries are"
        return (
            f"{promised}, with {100 * self.confidence:g}% confidence, from "
            f"{self.n_queries:,} queries"
        )


def name_baseline(guarantee: Guarantee, models: np.ndarray) -> Guarantee:
    """Put the name of the baseline in place of its index."""
    if guarantee.baseline is None:
        return guarantee
    return replace(guarantee, baseline=str(models[guarantee.baseline]))

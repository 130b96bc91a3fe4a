"""Guarantee: what decisions promise, with which confidence, and on what evidence."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skroute._table.names import format_names
from skroute.exceptions import find_caller_level

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
        of qualities that all lie in [0, 1] the lowest may be 0. Of a cascade, the most
        that all calls and checks of a query can cost if none costs more than the most
        expensive one seen. Beyond it nothing is assumed to happen.
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
                f"{promised}, if no query costs more than {self.outcome_range[1]:g}, "
                f"which none of {self.n_queries:,} queries did"
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


def warn_of_left_out(
    guarantee: Guarantee | None, available: np.ndarray, models: np.ndarray
) -> None:
    """Warn where a mask (1 or n_queries, n_models) leaves out what a promise needs."""
    if guarantee is None or available.all():
        return
    left_out = np.asarray(~available.all(axis=0))
    text = (
        f"available leaves out {format_names(models[left_out])}, and what confidence "
        "promises was tested with every model: of queries for which a model is left "
        "out, nothing is promised."
    )
    if guarantee.baseline is not None and left_out[guarantee.baseline]:
        text += (
            f" {models[guarantee.baseline]} is the model that the target is a share "
            "of, and the one that is called where nothing else is proven to keep it."
        )
    warnings.warn(
        f"{text} Route these queries without a confidence, or fit on the models that "
        "are left.",
        stacklevel=find_caller_level(),
    )

"""What another policy would have given and cost on logged traffic."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from skroute._table.numbers import check_number
from skroute.evaluation.doubly_robust import MOST_WEIGHT, find_effective_size
from skroute.evaluation.log_input import Log
from skroute.exceptions import find_caller_level

__all__ = [
    "PolicyValue",
    "check_confidence",
    "judge_log",
    "policy_value",
    "tells_little",
]

# Queries that the log must be worth, and the share of what the policy does that it must
# cover, for its value to be told without a warning.
_LEAST_EFFECTIVE = 50
_LEAST_COVERED = 0.9
# How much more than their number the queries may stand for, before it is no chance.
_MOST_EXCESS = 0.5


@dataclass(frozen=True)
class PolicyValue:
    """What a policy would have given and cost on logged traffic.

    Attributes
    ----------
    quality, cost : float
        Estimated mean quality and money per query.
    quality_interval, cost_interval : tuple of (float, float)
        Within these, with the `confidence` that was asked for.
    effective_sample_size : float
        Queries that would tell as much if the policy had been followed on all of them;
        with groups, groups of queries.
    covered : float
        Share of the policy's calls that the log tells of; the rest rests on estimates.
    n_queries : int
        Queries of the log.
    confidence : float
        Of the intervals.
    """

    quality: float
    cost: float
    quality_interval: tuple[float, float]
    cost_interval: tuple[float, float]
    effective_sample_size: float
    covered: float
    n_queries: int
    confidence: float

    def __str__(self) -> str:
        (low, high), (least, most) = self.quality_interval, self.cost_interval
        return (
            f"quality {self.quality:.3g} ({low:.3g} to {high:.3g}), cost "
            f"{self.cost:.3g} ({least:.3g} to {most:.3g}) per query, with "
            f"{self.confidence:.0%} confidence, from {self.n_queries:,} logged queries "
            f"that are worth {self.effective_sample_size:,.0f}"
        )


def policy_value(
    choice: Any,
    *,
    called: Any,
    propensity: Any,
    quality: Any,
    cost: Any,
    expected_quality: Any = None,
    expected_cost: Any = None,
    groups: Any = None,
    confidence: float = 0.95,
) -> PolicyValue:
    """Judge a policy on a log in which another one decided, with known chances.

    A log has one outcome per query: that of the model that was called. Where the policy
    would have called the same model, the outcome counts, the more the smaller the
    chance of that call was; elsewhere the estimates of a router stand in for it. The
    errors of the estimates on the calls that match correct the others [1]_ (doubly
    robust).

    An outcome counts at most ten times. Of what that leaves out, and of calls that the
    log never makes, only the estimates tell; the intervals allow for these being off by
    half a standard deviation of each model's errors, in the mean. They are wider, too,
    where few calls decide, and longer on the side of a long tail. Where all outcomes
    are in [0, 1], so are qualities and their intervals.

    Parameters
    ----------
    choice : array-like of shape (n_queries,) or (n_queries, n_models)
        The policy that is judged: names or indices of models, or the chance of each
        model.
    called : array-like of shape (n_queries,)
        Names or indices of the models that were called.
    propensity : array-like of shape (n_queries,)
        The chance that the logging policy had to call that model for that query, above
        0 and at most 1, such as ``route(..., return_propensity=True)`` returns; ``NaN``
        where unknown, as of a call that followed another that failed: it is left out.
    quality, cost : array-like of shape (n_queries,)
        Outcome and money of the call, ``NaN`` where unknown. What is unknown is left
        out, as if it were so by chance.
    expected_quality, expected_cost : array-like of shape (n_queries, n_models), \
            default=None
        Estimates for every model, best by a router that did not learn from these
        queries (cross-fitted, or fitted before). Columns of a DataFrame name the
        models; indices of models are into these columns. ``None``: the mean of each
        model in the log.
    groups : array-like of shape (n_queries,), default=None
        Labels of queries that are not drawn one by one, such as the turns of a
        conversation or repeats of a prompt: intervals count a group as one draw.
    confidence : float, default=0.95
        Of the intervals, in (0, 1).

    Returns
    -------
    PolicyValue
        Values, intervals, and how much the log could tell.

    Raises
    ------
    ValueError
        If every propensity is 1, while the policy differs from the log: a log that was
        never explored tells nothing of other calls. If no outcome is known, or an
        argument is not as described.

    Warns
    -----
    UserWarning
        If the log is worth fewer than 50 queries for this policy, or tells of less than
        90% of its calls; or if the chances are too small to be those of the calls.

    References
    ----------
    .. [1] M. Dudík, J. Langford and L. Li, "Doubly Robust Policy Evaluation and
       Learning", ICML 2011, arXiv:1103.4601.

    Examples
    --------
    >>> import numpy as np
    >>> from skroute.evaluation import policy_value
    >>> rng = np.random.default_rng(0)
    >>> called = rng.integers(0, 2, 1000)  # each model with a chance of a half
    >>> quality = (rng.random(1000) < np.where(called == 1, 0.9, 0.6)).astype(float)
    >>> value = policy_value(
    ...     np.ones(1000, dtype=int),
    ...     called=called,
    ...     propensity=np.full(1000, 0.5),
    ...     quality=quality,
    ...     cost=np.where(called == 1, 3.0, 1.0),
    ... )
    >>> round(value.quality, 2), value.cost
    (0.91, 3.0)
    """
    level = check_confidence(confidence)
    log = Log.check(
        *(choice, called, propensity, quality, cost),
        *(expected_quality, expected_cost, groups),
    )
    value, misfit = judge_log(log, level)
    doubts = [] if misfit is None else [misfit]
    if tells_little(value):
        doubts.append(
            f"the log tells little of this policy: its {value.n_queries:,} queries are "
            f"worth {value.effective_sample_size:,.0f}, and it covers "
            f"{value.covered:.0%} of the policy's calls; the rest is what estimates "
            "say. Log more exploration, or judge a policy that is closer to the one "
            "that was logged."
        )
    for doubt in doubts:
        warnings.warn(doubt, UserWarning, stacklevel=find_caller_level())
    return value


def check_confidence(confidence: Any) -> float:
    """Check the confidence of intervals."""
    level = check_number(confidence, "confidence", low=0.0)
    if not 0.0 < level < 1.0:
        raise ValueError(f"confidence must be in (0, 1); got {confidence!r}.")
    return level


def judge_log(log: Log, level: float) -> tuple[PolicyValue, str | None]:
    """Judge a policy on a log; says also if its chances cannot be right."""
    quality, gained = log.find_mean("quality").estimate(level)
    cost, spent = log.find_mean("cost").estimate(level)
    known = log.quality[np.isfinite(log.quality)]
    if known.min() >= 0 and known.max() <= 1:
        # A mean of few calls, or of estimates, may leave the range of qualities.
        low, high = np.clip(gained, 0.0, 1.0).tolist()
        quality, gained = float(np.clip(quality, 0.0, 1.0)), (low, high)
    if not (log.cost < 0).any():
        spent = max(spent[0], 0.0), spent[1]
    n_queries, mean = len(log.weight), float(log.weight.mean())
    covered = min(float(np.minimum(log.weight, MOST_WEIGHT).mean()), 1.0)
    group = None if log.group is None else np.unique(log.group, return_inverse=True)[1]
    sizes = find_effective_size(log.weight, group), covered, n_queries, level
    value = PolicyValue(quality, cost, gained, spent, *sizes)
    error = float(log.weight.std()) / n_queries**0.5
    if mean - 1.0 <= max(_MOST_EXCESS, 4.0 * error):
        return value, None
    return value, (
        f"propensity does not fit the calls: matching calls stand for {mean:.3g} times "
        "as many queries as there are, and should stand for about as many. The chances "
        "are too small, or are not those of these calls."
    )


def tells_little(value: PolicyValue) -> bool:
    """Whether a log tells so little of a policy that its value needs a warning."""
    thin = value.effective_sample_size < _LEAST_EFFECTIVE
    return thin or value.covered < _LEAST_COVERED

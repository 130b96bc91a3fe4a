"""What another policy would have given and cost on logged traffic."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from skroute._table.alignment import align
from skroute._table.names import (
    check_rows,
    format_names,
    make_default_names,
    model_names,
)
from skroute._table.numbers import check_number, read_floats
from skroute._table.tables import check_choice
from skroute._table.texts import is_missing
from skroute.exceptions import find_caller_level

__all__ = ["PolicyValue", "policy_value"]

# Outcomes count at most so often. What is clipped away widens the interval, and a few
# rare calls do not decide the value: on logs of four tables, explored in a tenth of
# the queries, intervals without it held the truth in as few as 51 of 100.
_MOST_WEIGHT = 10.0
# How far off estimates may be, in the mean, where the log says too little, as a share
# of the standard deviation of their errors.
_MOST_BIAS = 0.5
# Queries that the log must be worth, and the share of what the policy does that it must
# cover, for its value to be told without a warning.
_LEAST_EFFECTIVE = 50
_LEAST_COVERED = 0.9
# How much more than their number the queries may stand for, before it is no chance.
_MOST_EXCESS = 0.5
# Chances whose sum is this far from 1 do not describe a draw.
_SUM_SLACK = 1e-6


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
        Queries that would tell as much if the policy had been followed on all of them.
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
    half a standard deviation of their errors, in the mean.

    Parameters
    ----------
    choice : array-like of shape (n_queries,) or (n_queries, n_models)
        The policy that is judged: names or indices of models, or the chance of each
        model.
    called : array-like of shape (n_queries,)
        Names or indices of the models that were called.
    propensity : array-like of shape (n_queries,)
        The chance that the logging policy had to call that model for that query, above
        0 and at most 1, such as ``route(..., return_propensity=True)`` returns.
    quality, cost : array-like of shape (n_queries,)
        Outcome and money of the call, ``NaN`` where unknown. What is unknown is left
        out, as if it were so by chance.
    expected_quality, expected_cost : array-like of shape (n_queries, n_models), \
            default=None
        Estimates for every model, best by a router that did not learn from these
        queries (cross-fitted, or fitted before). Columns of a DataFrame name the
        models; indices of models are into these columns. ``None``: the mean of each
        model in the log.
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
    level = check_number(confidence, "confidence", low=0.0)
    if not 0.0 < level < 1.0:
        raise ValueError(f"confidence must be in (0, 1); got {confidence!r}.")
    log = _Log.check(
        choice, called, propensity, quality, cost, expected_quality, expected_cost
    )
    normal = float(norm.ppf(0.5 + level / 2))
    gained, spent = (
        log.estimate(outcome, expected, name, normal)
        for outcome, expected, name in (
            (log.quality, log.expected_quality, "quality"),
            (log.cost, log.expected_cost, "cost"),
        )
    )
    covered = min(float(np.minimum(log.weight, _MOST_WEIGHT).mean()), 1.0)
    squares = float((log.weight**2).sum())
    effective = float(log.weight.sum() ** 2 / squares) if squares > 0 else 0.0
    mean = float(log.weight.mean())
    error = float(log.weight.std()) / np.sqrt(len(log.weight))
    if mean - 1.0 > max(_MOST_EXCESS, 4.0 * error):
        warnings.warn(
            f"propensity does not fit the calls: matching calls stand for {mean:.3g} "
            "times as many queries as there are, and should stand for about as many. "
            "The chances are too small, or are not those of these calls.",
            UserWarning,
            stacklevel=find_caller_level(),
        )
    if effective < _LEAST_EFFECTIVE or covered < _LEAST_COVERED:
        warnings.warn(
            f"the log tells little of this policy: its {len(log.weight):,} queries are "
            f"worth {effective:,.0f}, and it covers {covered:.0%} of the policy's "
            "calls; the rest is what estimates say. Log more exploration, or judge a "
            "policy that is closer to the one that was logged.",
            UserWarning,
            stacklevel=find_caller_level(),
        )
    return PolicyValue(
        gained[0],
        spent[0],
        gained[1],
        spent[1],
        effective,
        covered,
        len(log.weight),
        level,
    )


@dataclass(frozen=True)
class _Log:
    """A checked log; tables are (n_queries, n_models), the others (n_queries,)."""

    chance: np.ndarray  # of the policy that is judged, a table
    called: np.ndarray
    weight: np.ndarray  # its chance of the call over that of the log
    inverse: np.ndarray  # one over the chance of the log
    quality: np.ndarray
    cost: np.ndarray
    expected_quality: np.ndarray | None
    expected_cost: np.ndarray | None

    @classmethod
    def check(
        cls,
        choice: Any,
        called: Any,
        propensity: Any,
        quality: Any,
        cost: Any,
        expected_quality: Any,
        expected_cost: Any,
    ) -> _Log:
        """Check all parts of a log, and align the models."""
        check_rows(
            called=called,
            choice=choice,
            propensity=propensity,
            quality=quality,
            cost=cost,
            expected_quality=expected_quality,
            expected_cost=expected_cost,
        )
        n_queries = len(np.asarray(called))
        if not n_queries:
            raise ValueError("called must name at least one call; got none.")
        gained, spent = (
            _read_numbers(values, name, n_queries)
            for name, values in (("quality", quality), ("cost", cost))
        )
        chances = _read_numbers(propensity, "propensity", n_queries)
        bad = ~((chances > 0) & (chances <= 1 + _SUM_SLACK))
        if bad.any():
            raise ValueError(
                "propensity must be above 0 and at most 1, the chance that the call "
                f"had; got {format_names(chances[bad])}, first in row "
                f"{int(bad.argmax())}."
            )
        policy, models, tables = _align_tables(
            choice, called, expected_quality, expected_cost
        )
        shape = n_queries, len(models)
        called = check_choice(called, shape, models, "called")
        if policy is None:
            policy = np.eye(len(models))[check_choice(choice, shape, models)]
        rows = np.arange(n_queries)
        followed = policy[rows, called]
        if (chances >= 1).all() and (followed < 1).any():
            raise ValueError(
                "propensity is 1 for every call, so the log was never explored, and "
                "tells nothing of calls that it did not make: the policy makes others "
                f"for {np.mean(followed < 1):.0%} of the queries. Log with route(..., "
                "explore=0.05, return_propensity=True), and give the chances."
            )
        weight = followed / chances
        return cls(policy, called, weight, 1 / chances, gained, spent, *tables)

    def estimate(
        self,
        outcome: np.ndarray,
        expected: np.ndarray | None,
        name: str,
        normal: float,
    ) -> tuple[float, tuple[float, float]]:
        """Estimate a mean of the policy, and its interval."""
        known = np.flatnonzero(np.isfinite(outcome))
        if len(known) < 2:
            raise ValueError(
                f"{name} must be known for at least two calls; it is for {len(known)}."
            )
        outcome, called, chance = outcome[known], self.called[known], self.chance[known]
        weight = np.minimum(self.weight[known], _MOST_WEIGHT)
        if expected is None:
            means = _average_calls(
                outcome, called, self.inverse[known], chance.shape[1]
            )
            expected = np.broadcast_to(means, chance.shape)
        else:
            expected = expected[known]
        base = (chance * expected).sum(axis=1)
        error = outcome - expected[np.arange(len(known)), called]
        covered = float(weight.mean())
        shift, spread = 0.0, float(error.std())
        influence = base - base.mean()
        if covered > 0:
            shift = float((weight * error).sum() / weight.sum())
            spread = float(
                np.sqrt((weight * (error - shift) ** 2).sum() / weight.sum())
            )
            influence = influence + weight / covered * (error - shift)
        value = float(base.mean()) + shift
        half = normal * float(influence.std(ddof=1)) / np.sqrt(len(known))
        half += _MOST_BIAS * max(1.0 - covered, 0.0) * spread
        return value, (value - half, value + half)


def _read_numbers(values: Any, name: str, n_queries: int) -> np.ndarray:
    """Check one number a query; ``NaN`` where unknown."""
    numbers = read_floats(values, name)
    if numbers.shape != (n_queries,):
        raise ValueError(
            f"{name} must have one value for each of the {n_queries} calls; got shape "
            f"{numbers.shape}."
        )
    if np.isinf(numbers).any():
        raise ValueError(f"{name} must be finite, or NaN where unknown; got inf.")
    return numbers


def _align_tables(
    choice: Any, called: Any, expected_quality: Any, expected_cost: Any
) -> tuple[np.ndarray | None, np.ndarray, tuple[Any, Any]]:
    """Align the policy's chances, if it has any, and estimates; name the models."""
    given = {"expected_quality": expected_quality, "expected_cost": expected_cost}
    n_queries = len(np.asarray(called))
    widths = [np.shape(t)[1] for t in (choice, *given.values()) if np.ndim(t) == 2]
    _refuse_missing(called=called, choice=choice)
    if not widths:
        told = [np.asarray(values) for values in (called, choice)]
        are_indices = {values.dtype.kind in "iu" for values in told}
        if len(are_indices) == 2:
            raise ValueError(
                "called and choice must both be names or both be indices of models; "
                "one holds integers and the other does not. Give names in both, or "
                "expected_quality as a DataFrame whose columns are the models."
            )
        if are_indices == {True}:
            n_models = int(max(values.max() for values in told)) + 1
            return None, make_default_names(n_models), (None, None)
        named = {str(name) for values in told for name in values.tolist()}
        return None, np.array(sorted(named), dtype=object), (None, None)
    for name, table in given.items():
        if table is None:
            continue
        if np.shape(table) != (n_queries, widths[0]):
            raise ValueError(
                f"{name} must have a row for each call and a column for each model, "
                f"({n_queries}, {widths[0]}); got {np.shape(table)}."
            )
    has_chances = np.ndim(choice) == 2
    table = choice if has_chances else np.zeros((n_queries, widths[0]))
    kinds = dict(zip(("quality", "cost"), given.values(), strict=True))
    known = {kind: table for kind, table in kinds.items() if table is not None}
    # The first table with names tells the order of the models.
    names = None if not has_chances else model_names(choice, "choice")
    for kind, estimate in known.items():
        if names is None:
            names = align(np.zeros(estimate.shape), **{kind: estimate}).models
    aligned = align(table, models=names, **known)
    models = make_default_names(widths[0]) if names is None else names
    policy = _check_chances(aligned.y, n_queries) if has_chances else None
    return policy, models, (aligned.quality, aligned.cost)


def _refuse_missing(**choices: Any) -> None:
    """Refuse calls of no model."""
    for name, values in choices.items():
        if np.ndim(values) != 1:
            continue
        missing = [i for i, value in enumerate(values) if is_missing(value)]
        if missing:
            raise ValueError(
                f"{name} must name a model for each query; row {missing[0]} has none, "
                f"and {len(missing)} rows in all. Leave these queries out."
            )


def _check_chances(chances: np.ndarray, n_queries: int) -> np.ndarray:
    """Check the chances that a policy gives to the models of each query."""
    if len(chances) != n_queries:
        raise ValueError(
            f"choice must have a row for each of the {n_queries} calls; got "
            f"{len(chances)}."
        )
    off = np.abs(chances.sum(axis=1) - 1.0)
    if not ((chances >= 0).all() and (off <= _SUM_SLACK).all()):
        raise ValueError(
            "choice as a table must hold the chance of each model, at least 0, that "
            "add up to 1 for each query; they do not, first in row "
            f"{int(((chances < 0).any(axis=1) | ~(off <= _SUM_SLACK)).argmax())}."
        )
    return chances


def _average_calls(
    outcome: np.ndarray, called: np.ndarray, inverse: np.ndarray, n_models: int
) -> np.ndarray:
    """Average the outcomes of each model in the log, or of all if it has no call."""
    total = np.bincount(called, weights=inverse, minlength=n_models)
    gained = np.bincount(called, weights=inverse * outcome, minlength=n_models)
    overall = float((inverse * outcome).sum() / inverse.sum())
    return np.where(total > 0, gained / np.where(total > 0, total, 1.0), overall)

"""A log of one call per query, beside a policy that is judged on it: checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skroute._table.alignment import align
from skroute._table.folds import check_groups
from skroute._table.names import (
    check_rows,
    format_names,
    make_default_names,
    model_names,
)
from skroute._table.numbers import read_floats
from skroute._table.tables import check_choice
from skroute._table.texts import is_missing
from skroute.evaluation.doubly_robust import LoggedMean

#: Why a log without exploration is refused, and what to do.
NEVER_EXPLORED = (
    "propensity is 1 for every call, so the log was never explored, and tells nothing "
    "of calls that it did not make"
)
WAY_OUT = (
    "Log with route(..., explore=0.05, return_propensity=True), and give the chances."
)
# Chances whose sum is this far from 1 do not describe a draw.
_SUM_SLACK = 1e-6


@dataclass(frozen=True)
class Log:
    """A checked log; tables are (n_queries, n_models), the others (n_queries,)."""

    chance: np.ndarray  # of the policy that is judged, a table
    called: np.ndarray
    weight: np.ndarray  # its chance of the call over that of the log
    inverse: np.ndarray  # one over the chance of the log
    quality: np.ndarray
    cost: np.ndarray
    expected_quality: np.ndarray | None
    expected_cost: np.ndarray | None
    group: np.ndarray | None

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
        groups: Any = None,
    ) -> Log:
        """Check all parts of a log, and align the models."""
        check_rows(
            called=called,
            choice=choice,
            propensity=propensity,
            quality=quality,
            cost=cost,
            expected_quality=expected_quality,
            expected_cost=expected_cost,
            groups=groups,
        )
        n_queries = len(np.asarray(called))
        if not n_queries:
            raise ValueError("called must name at least one call; got none.")
        gained, spent = (
            _read_numbers(values, name, n_queries)
            for name, values in (("quality", quality), ("cost", cost))
        )
        chances = check_propensity(propensity, n_queries)
        policy, models, tables = _align_tables(
            choice, called, expected_quality, expected_cost
        )
        shape = n_queries, len(models)
        called = check_choice(called, shape, models, "called")
        if policy is None:
            policy = np.eye(len(models))[check_choice(choice, shape, models)]
        rows = np.arange(n_queries)
        followed = policy[rows, called]
        # What followed another call that failed had no chance that is known.
        known = np.isfinite(chances)
        if (chances[known] >= 1).all() and (followed[known] < 1).any():
            raise ValueError(
                f"{NEVER_EXPLORED}: the policy makes others "
                f"for {np.mean(followed[known] < 1):.0%} of the queries. {WAY_OUT}"
            )
        group = check_groups(groups, n_queries)
        weights = followed / chances, 1 / chances
        parts: Any = (policy, called, *weights, gained, spent, *tables, group)
        kept: Any = [None if part is None else part[known] for part in parts]
        return cls(*kept)

    def find_mean(self, kind: str) -> LoggedMean:
        """Take what is known of the `"quality"` or the `"cost"` of the calls."""
        outcome: np.ndarray = getattr(self, kind)
        known = np.flatnonzero(np.isfinite(outcome))
        if len(known) < 2:
            raise ValueError(
                f"{kind} must be known for at least two calls; it is for {len(known)}."
            )
        outcome, called, chance = outcome[known], self.called[known], self.chance[known]
        expected = getattr(self, f"expected_{kind}")
        if expected is None:
            inverse = self.inverse[known]
            means = average_calls(outcome, called, inverse, chance.shape[1])
            expected = np.broadcast_to(means, chance.shape)
        else:
            expected = expected[known]
        group = None if self.group is None else self.group[known]
        if group is not None:
            group = np.unique(group, return_inverse=True)[1]
        return LoggedMean(chance, called, self.weight[known], outcome, expected, group)


def check_propensity(propensity: Any, n_queries: int) -> np.ndarray:
    """Check the chances (n_queries,) that logged calls had, ``NaN`` where unknown."""
    chances = _read_numbers(propensity, "propensity", n_queries)
    unknown = np.isnan(chances)
    if unknown.all():
        raise ValueError("propensity must be known for some calls; all are NaN.")
    bad = ~(unknown | ((chances > 0) & (chances <= 1 + _SUM_SLACK)))
    if bad.any():
        raise ValueError(
            "propensity must be above 0 and at most 1, the chance that the call "
            f"had; got {format_names(chances[bad])}, first in row "
            f"{int(bad.argmax())}."
        )
    return chances


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


def find_calls(quality: np.ndarray, costs: np.ndarray | None) -> np.ndarray:
    """Find the model (n_queries,) that was called on each query, -1 where none was.

    It is the one whose quality is known, or else the only one whose money is, where
    that is known per call.
    """
    known = np.isfinite(quality)
    n_judged = known.sum(axis=1)
    several = np.flatnonzero(n_judged > 1)
    if len(several):
        raise ValueError(
            "y of a log must be known for one model of each query, the one that was "
            f"called; row {several[0]} has {n_judged[several[0]]}, and {len(several)} "
            "rows have more than one. Where every model was run on many queries, "
            "compare_routers judges routers; where requests repeat a prompt, give each "
            "its own row."
        )
    if not n_judged.any():
        raise ValueError("y must have the quality of some call; all are NaN.")
    if costs is not None:
        known = np.where(n_judged[:, None] == 1, known, np.isfinite(costs))
    called: np.ndarray = np.where(known.sum(axis=1) == 1, known.argmax(axis=1), -1)
    return called


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


def average_calls(
    outcome: np.ndarray, called: np.ndarray, inverse: np.ndarray, n_models: int
) -> np.ndarray:
    """Average the outcomes of each model in the log, or of all if it has no call."""
    total = np.bincount(called, weights=inverse, minlength=n_models)
    gained = np.bincount(called, weights=inverse * outcome, minlength=n_models)
    overall = float((inverse * outcome).sum() / inverse.sum())
    return np.where(total > 0, gained / np.where(total > 0, total, 1.0), overall)

"""Updates: new outcomes join what a router has learned, and what it serves follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from skroute._compute.cached import SavesFields
from skroute._estimate.learning import LearnedCost, LearnedQuality
from skroute._estimate.moments import Batch
from skroute._estimate.ridge import RidgeFit
from skroute._table.shifts import (
    LEAST_QUALITY,
    N_RESIDUALS,
    find_shift,
    push_residuals,
)

__all__ = ["Learned", "NewOutcomes", "Seen", "Shifts"]

# Least shift of its costs that renews a model, as a logarithm.
_LEAST_COST = 0.2


class NewOutcomes(NamedTuple):
    """Outcomes of queries, (n_queries, n_models), in the canonical order and unit.

    ``NaN`` is unknown; costs and weights may be ``None``.
    """

    quality: np.ndarray
    costs: np.ndarray | None
    weight: np.ndarray | None
    expected: np.ndarray  # quality, as estimated before
    # Whether queries are near those of the fit, (n_queries,): elsewhere it is the
    # traffic that has changed, and not a model.
    near: np.ndarray


class Seen(NamedTuple):
    """What the regressions see of queries, and how they are solved, by view."""

    views: Sequence[np.ndarray]
    first: np.ndarray
    weights: np.ndarray  # of the stack, (2, n_views, n_strengths)
    strengths: Sequence[np.ndarray]
    bases: Sequence[np.ndarray | None]


class Shifts(NamedTuple):
    """Models whose estimates an update renewed, (n_models,) each, 0 for the others."""

    quality: np.ndarray  # in the range of all qualities
    cost: np.ndarray  # logarithm of the factor


@dataclass(frozen=True)
class Learned(SavesFields):
    """What a router keeps to learn on, of every model that was fitted or added.

    A model that was fitted stays when it is removed from the pool: how its level is
    shared among the others goes on.
    """

    quality: LearnedQuality
    cost: LearnedCost | None
    # Where the models of the pool, in the canonical order, are among all.
    columns: np.ndarray
    # What a weight of 1 counts, (n_models,).
    weight_unit: np.ndarray
    # The last outcomes less what was expected of them: of qualities and of costs, (2,
    # n_models, 100).
    residuals: np.ndarray

    @classmethod
    def begin(
        cls, quality: LearnedQuality, cost: LearnedCost | None, weight_unit: np.ndarray
    ) -> Learned:
        """Begin with what a fit has learned of its models."""
        n_models = len(weight_unit)
        nothing = np.full((2, n_models, N_RESIDUALS), np.nan)
        return cls(quality, cost, np.arange(n_models), weight_unit, nothing)

    def update(
        self, seen: Seen, new: NewOutcomes, forget_after: float
    ) -> tuple[Learned, Shifts]:
        """Learn new outcomes of the pool; also which models are not what they were."""
        target, expected = self._expand(new.quality), self._expand(new.expected)
        weight = None
        if new.weight is not None:
            weight = np.nan_to_num(self._expand(new.weight)) * self.weight_unit
            target = np.where(weight > 0, target, np.nan)
        near = new.near
        off = target[near] - expected[near]
        residuals = np.stack(
            [push_residuals(self.residuals[0], off), self.residuals[1]]
        )
        costs, learned_cost = None, self.cost
        if learned_cost is not None and new.costs is not None:
            costs = self._expand(new.costs)
            off = learned_cost.measure_residuals(seen.first, costs)[near]
            residuals[1] = push_residuals(residuals[1], off)
        # Of how many outcomes the expectations are.
        known = self.quality.moments[0].masses
        billed = known if learned_cost is None else learned_cost.moments.masses
        shifts = Shifts(
            _find_shifts(residuals[0], LEAST_QUALITY, known),
            _find_shifts(residuals[1], _LEAST_COST, billed),
        )
        # Residuals of before the shift say nothing of what comes after.
        residuals[np.stack(shifts) != 0] = np.nan
        quality = self.quality
        if shifts.quality.any():
            quality = quality.shift(shifts.quality)
        batch = Batch.fade(target, weight, forget_after)
        how = seen.weights, seen.strengths, seen.bases
        quality = quality.add(seen.views, batch, *how)
        if learned_cost is not None and costs is not None:
            if shifts.cost.any():
                learned_cost = learned_cost.scale(np.exp(shifts.cost))
            learned_cost = learned_cost.add(seen.first, costs, weight, forget_after)
        learned = replace(self, quality=quality, cost=learned_cost, residuals=residuals)
        return learned, Shifts(*(shift[self.columns] for shift in shifts))

    def join(
        self,
        seen: Seen,
        quality: np.ndarray,
        common: Sequence[RidgeFit],
        cost: LearnedCost,
    ) -> Learned:
        """Let a model join the pool, as the last one."""
        learned_cost = self.cost
        if learned_cost is not None:
            learned_cost = learned_cost.join(cost)
        nothing = np.full((2, 1, N_RESIDUALS), np.nan)
        return Learned(
            self.quality.join(
                seen.views, quality, common, seen.weights, seen.strengths, seen.bases
            ),
            learned_cost,
            np.append(self.columns, len(self.weight_unit)),
            np.append(self.weight_unit, 1.0),
            np.concatenate([self.residuals, nothing], axis=1),
        )

    def drop(self, position: int) -> Learned:
        """Leave out a model of the pool, given by its place in the canonical order."""
        column = int(self.columns[position])
        columns = np.delete(self.columns, position)
        if column < len(self.quality.sharing):
            return replace(self, columns=columns)
        return Learned(
            self.quality.drop_newcomer(column),
            None if self.cost is None else self.cost.drop(column),
            columns - (columns > column),
            np.delete(self.weight_unit, column),
            np.delete(self.residuals, column, axis=1),
        )

    def rescale_costs(self, factor: np.ndarray) -> Learned:
        """Multiply all costs so far of each model of the pool, (n_models,)."""
        if self.cost is None:
            return self
        every = np.ones(len(self.weight_unit))
        every[self.columns] = factor
        return replace(self, cost=self.cost.scale(every))

    def _expand(self, table: np.ndarray) -> np.ndarray:
        """Put the columns of the pool among those of all models."""
        every = np.full((len(table), len(self.weight_unit)), np.nan)
        every[:, self.columns] = table
        return every


def _find_shifts(
    residuals: np.ndarray, least: float, n_known: np.ndarray
) -> np.ndarray:
    """Find the shift of each model, (n_models,)."""
    return np.array(
        [
            find_shift(own, least, float(known))
            for own, known in zip(residuals, n_known, strict=True)
        ]
    )

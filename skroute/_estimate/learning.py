"""Learning on: what a fitted router keeps of its outcomes, so that others can join.

Everything that a router estimates with is solved from sums over its outcomes, once its
landmarks, the strengths of its regressions and their weights are chosen. With these
sums, new outcomes change the estimates as a refit at the same choices would, at a cost
that does not grow with the past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skroute._compute.cached import SavesFields
from skroute._estimate.moments import Batch, Moments
from skroute._estimate.ridge import ALPHAS, RidgeFit

__all__ = ["LearnedCost", "LearnedQuality", "Newcomer"]


@dataclass(frozen=True)
class Newcomer(SavesFields):
    """What is expected of an added model before its own outcomes count."""

    # What its pool had in common when it joined, by view.
    priors: list[RidgeFit]
    # Of its qualities, less what was expected of any model there: sums of weights, of
    # values, and of their squares.
    apart: np.ndarray

    def expect_level(
        self, seen: Sequence[np.ndarray], weights: np.ndarray
    ) -> np.ndarray:
        """Level (n_queries,) of queries, as the regressions of its pool expect it."""
        level: np.ndarray = sum(
            (Phi @ prior.coef + prior.intercept) @ own
            for Phi, prior, own in zip(seen, self.priors, weights, strict=True)
        )
        return level

    def add(self, apart: np.ndarray, weight: np.ndarray, kept: float) -> Newcomer:
        """Add qualities less the level, of these weights, 0 where unknown."""
        values = np.where(weight > 0, apart, 0.0)
        sums = [weight.sum(), weight @ values, weight @ values**2]
        return replace(self, apart=self.apart * kept + sums)

    def shift(self, by: float) -> Newcomer:
        """Add a constant to all its qualities so far."""
        mass, total, squares = self.apart
        moved = [mass, total + by * mass, squares + 2 * by * total + by**2 * mass]
        return replace(self, apart=np.array(moved))


@dataclass(frozen=True)
class LearnedQuality(SavesFields):
    """The regressions of qualities, of every model that was fitted or added."""

    moments: list[Moments]  # by view
    # Solved at every strength that has a weight, by view: coefficients (n_features,
    # n_models, n_strengths) and intercepts.
    paths: list[RidgeFit]
    # Among the models that were fitted, which come first, (n_fitted, n_fitted).
    sharing: np.ndarray
    newcomers: list[Newcomer]

    @property
    def means(self) -> np.ndarray:
        """Mean quality of every model, (n_models,)."""
        return self.moments[0].means

    def shift(self, by: np.ndarray) -> LearnedQuality:
        """Take all outcomes of each model so far to be higher by a constant."""
        first = len(self.sharing)
        return replace(
            self,
            moments=[some.shift(by) for some in self.moments],
            newcomers=[
                one.shift(float(own))
                for one, own in zip(self.newcomers, by[first:], strict=True)
            ],
        )

    def add(
        self,
        seen: Sequence[np.ndarray],
        batch: Batch,
        weights: np.ndarray,
        strengths: Sequence[np.ndarray],
        bases: Sequence[np.ndarray | None],
    ) -> LearnedQuality:
        """Add outcomes of queries that are `seen`, and solve again what they touch.

        `weights` (2, n_views, n_strengths) are those of the stack; `strengths` and
        `bases` are by view.
        """
        moments = [
            some.add(Phi, batch) for some, Phi in zip(self.moments, seen, strict=True)
        ]
        newcomers = [
            one.add(
                batch.target[:, model] - one.expect_level(seen, weights[0]),
                batch.weight[:, model],
                float(batch.kept[model]),
            )
            for model, one in enumerate(self.newcomers, len(self.sharing))
        ]
        learned = replace(self, moments=moments, newcomers=newcomers)
        return learned._solve(batch.touched, strengths, bases)

    def join(
        self,
        seen: Sequence[np.ndarray],
        quality: np.ndarray,
        common: Sequence[RidgeFit],
        weights: np.ndarray,
        strengths: Sequence[np.ndarray],
        bases: Sequence[np.ndarray | None],
    ) -> LearnedQuality:
        """Let a model join, of these qualities (n_queries,); it comes last."""
        batch = Batch.fade(quality[:, None], None, np.inf)
        start = [Moments.start(Phi.shape[1], 1) for Phi in seen]
        one = Newcomer(list(common), np.zeros(3))
        apart = quality - one.expect_level(seen, weights[0])
        one = one.add(apart, batch.weight[:, 0], 1.0)
        moments = [
            some.join(own.add(Phi, batch))
            for some, own, Phi in zip(self.moments, start, seen, strict=True)
        ]
        paths = [
            path.with_outputs(RidgeFit(prior.coef[:, None], prior.intercept[None]))
            for path, prior in zip(self.paths, common, strict=True)
        ]
        larger = replace(
            self, moments=moments, paths=paths, newcomers=[*self.newcomers, one]
        )
        new = np.arange(len(moments[0])) == len(moments[0]) - 1
        return larger._solve(new, strengths, bases)

    def drop_newcomer(self, model: int) -> LearnedQuality:
        """Leave out a model that was added."""
        newcomers = list(self.newcomers)
        del newcomers[model - len(self.sharing)]
        return replace(
            self,
            moments=[some.drop(model) for some in self.moments],
            paths=[path.without_output(model) for path in self.paths],
            newcomers=newcomers,
        )

    def _solve(
        self,
        touched: np.ndarray,
        strengths: Sequence[np.ndarray],
        bases: Sequence[np.ndarray | None],
    ) -> LearnedQuality:
        """Solve the regressions of some models, where they have two outcomes."""
        touched = touched & (self.moments[0].counts >= 2)
        n_fitted = len(self.sharing)
        fitted = np.flatnonzero(touched[:n_fitted])
        paths = []
        for view, (some, path) in enumerate(zip(self.moments, self.paths, strict=True)):
            coef, intercept = path.coef.copy(), path.intercept.copy()
            how = strengths[view], bases[view]
            coef[:, fitted], intercept[fitted] = some.solve(fitted, *how)
            for model, one in enumerate(self.newcomers, n_fitted):
                if touched[model]:
                    at = slice(model, model + 1)
                    prior = one.priors[view].coef
                    coef[:, at], intercept[at] = some.solve(
                        np.array([model]), *how, prior
                    )
            paths.append(RidgeFit(coef, intercept))
        return replace(self, paths=paths)


@dataclass(frozen=True)
class LearnedCost(SavesFields):
    """The regression of costs, of every model that was fitted or added.

    Targets are what `CostModel` regresses: logarithms, or costs where `unit` is 0.
    """

    moments: Moments
    path: RidgeFit  # of one strength, before the mean of logarithms is corrected
    strengths: np.ndarray  # of each model, (n_models,)
    unit: np.ndarray
    # What stands behind known logarithms, and what was predicted there, (2, n_models).
    levels: np.ndarray
    # Sums of costs, and of their weights, (2, n_models).
    spent: np.ndarray
    # Lowest and highest cost of each model, (2, n_models).
    ends: np.ndarray

    @classmethod
    def of_price(cls, n_features: int, price: float) -> LearnedCost:
        """Make what is known of one model by its price."""
        return cls(
            Moments.start(n_features, 1),
            RidgeFit(np.zeros((n_features, 1, 1)), np.array([[price]])),
            ALPHAS[-1:],
            np.zeros(1),
            np.ones((2, 1)),
            np.zeros((2, 1)),
            np.full((2, 1), price),
        )

    @property
    def prices(self) -> np.ndarray:
        """Mean cost of every model, (n_models,); its estimate where none is known."""
        total, mass = self.spent
        known = mass > 0
        fixed = self.path.intercept[:, 0]
        return np.where(known, total / np.where(known, mass, 1.0), fixed)

    def to_targets(self, costs: np.ndarray) -> np.ndarray:
        """Turn costs (n_queries, n_models) into what is regressed."""
        unit = np.where(self.unit > 0, self.unit, 1.0)
        return np.where(self.unit > 0, np.log1p(costs / unit), costs)

    def measure_residuals(self, first: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """Logarithms of costs over what was expected; NaN where that says nothing."""
        logs = self.path.predict(first)[:, :, 0]
        unit = np.where(self.unit > 0, self.unit, 1.0)
        low, high = self.ends
        expected = np.clip(unit * np.expm1(np.clip(logs, 0.0, 100.0)), low, high)
        tells = (self.unit > 0) & (costs > 0) & (expected > 0)
        ratio = np.divide(costs, expected, out=np.ones_like(expected), where=tells)
        return np.where(tells, np.log(ratio), np.nan)

    def scale(self, factor: np.ndarray) -> LearnedCost:
        """Take all costs of each model so far to be higher by a factor above 0."""
        # What is regressed is a function of costs in this unit, and stays as it is;
        # without a unit it is the costs.
        slope = np.where(self.unit > 0, 1.0, factor)
        path, column = self.path, slope[:, None]
        return replace(
            self,
            moments=self.moments.scale(slope),
            path=RidgeFit(path.coef * column, path.intercept * column),
            unit=self.unit * factor,
            spent=self.spent * np.stack([factor, np.ones_like(factor)]),
            ends=self.ends * factor,
        )

    def add(
        self,
        first: np.ndarray,
        costs: np.ndarray,
        weight: np.ndarray | None,
        forget_after: float,
    ) -> LearnedCost:
        """Add costs (n_queries, n_models) of queries that are seen by the first view.

        ``NaN`` is unknown.
        """
        batch = Batch.fade(self.to_targets(costs), weight, forget_after)
        weight, known = batch.weight, batch.weight > 0
        paid = np.where(known, costs, 0.0)
        spent = np.stack([(weight * paid).sum(0), weight.sum(0)])
        low = np.where(known, costs, np.inf).min(axis=0, initial=np.inf)
        high = np.where(known, costs, -np.inf).max(axis=0, initial=-np.inf)
        learned = replace(
            self,
            moments=self.moments.add(first, batch),
            spent=self.spent * batch.kept + spent,
            ends=np.stack(
                [np.minimum(self.ends[0], low), np.maximum(self.ends[1], high)]
            ),
        )
        learned = learned._solve(batch.touched)
        # What is predicted has to be by the regression that it corrects: of new rows
        # by the one that they changed, and of rows before by what that changed there.
        told = np.where(self.unit > 0, np.exp(np.where(known, batch.target, 0.0)), 1.0)
        expected = learned._predict_levels(first)
        before = np.stack([self.levels[0], self._follow(learned, batch.touched)])
        levels = np.stack([(weight * told).sum(0), (weight * expected).sum(0)])
        return replace(learned, levels=before * batch.kept + levels)

    def join(self, other: LearnedCost) -> LearnedCost:
        """Put the costs of other models behind these."""
        return LearnedCost(
            self.moments.join(other.moments),
            self.path.with_outputs(other.path),
            *(np.append(getattr(self, n), getattr(other, n)) for n in _BY_MODEL),
            *(
                np.concatenate([getattr(self, n), getattr(other, n)], axis=1)
                for n in _PAIRS
            ),
        )

    def drop(self, model: int) -> LearnedCost:
        """Leave a model out."""
        return LearnedCost(
            self.moments.drop(model),
            self.path.without_output(model),
            *(np.delete(getattr(self, name), model) for name in _BY_MODEL),
            *(np.delete(getattr(self, name), model, axis=1) for name in _PAIRS),
        )

    def correct_means(self) -> np.ndarray:
        """Correct for the mean of logarithms being none of costs, (n_models,)."""
        told, expected = self.levels
        return np.where(self.unit > 0, np.log(told / expected), 0.0)

    def _bound_logs(self) -> np.ndarray:
        """Lowest and highest logarithm of each model, (2, n_models)."""
        logs: np.ndarray = np.log1p(self.ends / np.where(self.unit > 0, self.unit, 1.0))
        return logs

    def _predict_levels(self, first: np.ndarray) -> np.ndarray:
        """What is predicted of queries before it is corrected; 1 without a unit."""
        logs = np.clip(self.path.predict(first)[:, :, 0], *self._bound_logs())
        return np.where(self.unit > 0, np.exp(logs), 1.0)

    def _follow(self, solved: LearnedCost, touched: np.ndarray) -> np.ndarray:
        """Sum what is predicted of the rows so far, (n_models,), as `solved` does.

        The rows are gone. Their mean and variance tell by how much the mean of the
        exponentials changed, as if the predictions were normal before and after.
        """
        expected = self.levels[1].copy()
        models = np.flatnonzero(touched & (self.unit > 0) & (self.moments.masses > 0))
        logs = []
        for path in (self.path, solved.path):
            some = path.coef[:, models, 0], path.intercept[models, 0]
            mean, variance = self.moments.describe(models, *some)
            logs.append(mean + variance / 2)
        mass = self.spent[1, models]
        # A mean of what is within these bounds is within them.
        low, high = mass * np.exp(solved._bound_logs()[:, models])
        moved = expected[models] * np.exp(np.clip(logs[1] - logs[0], -100.0, 100.0))
        expected[models] = np.clip(moved, low, high)
        return expected

    def _solve(self, touched: np.ndarray) -> LearnedCost:
        models = np.flatnonzero(touched & (self.moments.counts >= 2))
        coef, intercept = self.path.coef.copy(), self.path.intercept.copy()
        for strength in np.unique(self.strengths[models]):
            some = models[self.strengths[models] == strength]
            found = self.moments.solve(some, np.array([strength]))
            coef[:, some], intercept[some] = found
        return replace(self, path=RidgeFit(coef, intercept))


# Fields of `LearnedCost` of one number, or two, for each model, in their order.
_BY_MODEL = ("strengths", "unit")
_PAIRS = ("levels", "spent", "ends")

"""Expected costs: fixed prices, or a ridge regression on what calls have cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skroute._compute.executor import IN_MEMORY, Executor
from skroute._estimate.learning import LearnedCost
from skroute._estimate.ridge import ALPHAS, RidgeFit, fit_ridges, measure_column_std
from skroute._table.averages import divide_sums, sum_known

__all__ = ["CostModel"]


# Costs are regressed on a logarithmic scale from about this share of a model's mean
# cost on, below on a linear one. They are products of lengths and prices, and a linear
# regression says of many queries that an expensive model costs next to nothing.
_LINEAR_UP_TO = 0.3


@dataclass(frozen=True)
class CostModel:
    """Expected cost of every model, in the canonical order."""

    prices: np.ndarray  # mean money per call, (n_models,)
    fit: RidgeFit | None  # of costs on scaled queries; ``None`` where prices are fixed
    # The range of costs that each model showed.
    low: np.ndarray
    high: np.ndarray
    # `fit` is of log1p(cost / unit), (n_models,); where that is 0 of the cost itself,
    # as of all models in files of before (``None``).
    unit: np.ndarray | None = None

    @classmethod
    def from_prices(cls, prices: np.ndarray) -> CostModel:
        """Make a model of fixed prices."""
        return cls(prices, None, prices, prices)

    @classmethod
    def regress(
        cls,
        X: Any,
        costs: Any,
        prices: np.ndarray,
        fold: Any,
        compute_views: Any,
        weight: Any = None,
        executor: Executor = IN_MEMORY,
        *,
        learns_on: bool = False,
    ) -> tuple[CostModel, Any, LearnedCost | None]:
        """Fit costs (n_queries, n_models), ``NaN`` where unknown; also out of fold.

        Everything is in the canonical order; `compute_views`, `fold`, `weight` and
        `executor` are as in `fit_ridges`. Returns what others join, if it `learns_on`.
        """
        low = executor.get(executor.total(np.fmin.reduce, costs, combine=np.fmin))
        high = executor.get(executor.total(np.fmax.reduce, costs, combine=np.fmax))
        unit = _LINEAR_UP_TO * prices
        unit[unit == 0] = 1.0  # of free models
        logs = executor.map(_to_logs, costs, unit)
        # Columns are scaled, so that one model's high costs do not choose the strength.
        fits, out_of_fold, positions, moments = fit_ridges(
            X,
            logs,
            fold,
            compute_views,
            scale=measure_column_std(logs, executor),
            weight=weight,
            keep_moments=learns_on,
            executor=executor,
        )
        # The mean of logarithms is not the logarithm of the mean.
        bounds = np.log1p(np.stack([low, high]) / unit)
        total = executor.total(_sum_levels, logs, out_of_fold, bounds, weight)
        levels = executor.get(total)
        shift = np.log(divide_sums(levels))
        fit = RidgeFit(fits[0].coef, fits[0].intercept + shift[:, None])
        model = cls(prices, fit, low, high, unit)
        learned = None
        if learns_on:
            learned = LearnedCost(
                moments[0],
                fits[0],
                np.full(len(prices), ALPHAS[positions[0]]),
                unit,
                levels,
                executor.get(executor.total(sum_known, costs, weight)),
                np.stack([low, high]),
            )
        expected = executor.map(_to_costs, out_of_fold, shift, executor.share(model))
        return model, expected, learned

    @classmethod
    def from_learned(cls, learned: LearnedCost, columns: np.ndarray) -> CostModel:
        """Make a model of what was learned of the models in these columns."""
        shift = learned.correct_means()[columns]
        fit = RidgeFit(
            learned.path.coef[:, columns],
            learned.path.intercept[columns] + shift[:, None],
        )
        low, high = learned.ends[:, columns]
        return cls(learned.prices[columns], fit, low, high, learned.unit[columns])

    def predict(self, scaled: np.ndarray) -> np.ndarray:
        """Costs (n_queries, n_models) of scaled queries, within the range seen."""
        if self.fit is None:
            return np.tile(self.prices, (len(scaled), 1))
        # Of the one strength that is kept.
        return self.read_outputs(self.fit.predict(scaled)[:, :, 0])

    def read_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """Turn outputs of the regression into costs within the range seen."""
        cost = outputs
        if self.unit is not None:
            # Far from what was seen it may overflow; the range is where it ends.
            with np.errstate(over="ignore"):
                cost = self.unit * np.expm1(outputs)
            linear = self.unit == 0
            if linear.any():
                cost[:, linear] = outputs[:, linear]
        return np.minimum(np.maximum(cost, self.low), self.high)

    def with_model(
        self,
        scaled: np.ndarray,
        costs: np.ndarray | float,
        price: float,
        fold: np.ndarray,
    ) -> tuple[CostModel, np.ndarray, LearnedCost]:
        """Add a model as the last one; also estimates of these scaled queries.

        `costs` is the price, or what calls have cost (n_queries,), of mean `price`; the
        estimates of the new model are then out of fold. The last of the results is what
        is learned of it alone.
        """
        own = CostModel.from_prices(np.array([price]))
        column = own.predict(scaled)
        learned = LearnedCost.of_price(scaled.shape[1], price)
        if isinstance(costs, np.ndarray):
            own, column, found = CostModel.regress(
                scaled, costs[:, None], own.prices, fold, _as_views, learns_on=True
            )
            assert found is not None
            learned = found
        fit = None
        if self.fit is not None or own.fit is not None:
            # Prices and regressions are joined as regressions: a price has slopes of 0.
            width = scaled.shape[1]
            fit = self._as_regression(width).with_outputs(own._as_regression(width))
        model = CostModel(
            np.append(self.prices, own.prices),
            fit,
            np.append(self.low, own.low),
            np.append(self.high, own.high),
            np.append(self._find_units(), own._find_units()),
        )
        return model, np.hstack([self.predict(scaled), column]), learned

    def rescale(self, factor: np.ndarray) -> CostModel:
        """Multiply the costs of each model, (n_models,) in the canonical order.

        A regression on a logarithmic scale has its unit multiplied, as if it had been
        fitted so, and one on a linear scale its slopes.
        """
        fit, is_linear = self.fit, self._find_units() == 0
        if fit is not None and is_linear.any():
            slope = np.where(is_linear, factor, 1.0)[:, None].astype(fit.coef.dtype)
            fit = RidgeFit(fit.coef * slope, fit.intercept * slope)
        unit = None if self.unit is None else self.unit * factor
        low, high = self.low * factor, self.high * factor
        return CostModel(self.prices * factor, fit, low, high, unit)

    def without_model(self, position: int) -> CostModel:
        """Leave out a model, given by its position in the canonical order."""
        prices, low, high = (
            np.delete(values, position) for values in (self.prices, self.low, self.high)
        )
        fit = None if self.fit is None else self.fit.without_output(position)
        unit = None if self.unit is None else np.delete(self.unit, position)
        return CostModel(prices, fit, low, high, unit)

    def _find_units(self) -> np.ndarray:
        """Give the unit of each model; prices and files of before have none."""
        return np.zeros(len(self.prices)) if self.unit is None else self.unit

    def _as_regression(self, width: int) -> RidgeFit:
        """The regression; prices are one without a slope."""
        if self.fit is not None:
            return self.fit
        return RidgeFit(np.zeros((width, len(self.prices), 1)), self.prices[:, None])


def _to_logs(costs: np.ndarray, unit: np.ndarray) -> np.ndarray:
    return np.log1p(costs / unit)


def _to_costs(
    predictions: list[np.ndarray], shift: np.ndarray, model: CostModel
) -> np.ndarray:
    return model.read_outputs(predictions[0][:, :, 0] + shift)


def _sum_levels(
    logs: np.ndarray,
    predictions: list[np.ndarray],
    bounds: np.ndarray,
    weight: np.ndarray | None,
) -> np.ndarray:
    """Sum what is behind known logarithms, and what is predicted: (2, n_models)."""
    told, _ = sum_known(np.exp(logs), weight)
    found = np.exp(np.clip(predictions[0][:, :, 0], *bounds))
    expected, _ = sum_known(np.where(np.isnan(logs), np.nan, found), weight)
    return np.stack([told, expected])


def _as_views(scaled: np.ndarray) -> list[np.ndarray]:
    return [scaled]

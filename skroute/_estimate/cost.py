"""Expected costs: fixed prices, or a ridge regression on what calls have cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skroute._compute.executor import IN_MEMORY, Executor
from skroute._estimate.ridge import RidgeFit, fit_ridges, measure_column_std

__all__ = ["CostModel"]


@dataclass(frozen=True)
class CostModel:
    """Expected cost of every model, in the canonical order."""

    prices: np.ndarray  # mean money per call, (n_models,)
    fit: RidgeFit | None  # of costs on scaled queries; ``None`` where prices are fixed
    # The range of costs that each model showed.
    low: np.ndarray
    high: np.ndarray

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
    ) -> tuple[CostModel, Any]:
        """Fit costs (n_queries, n_models), ``NaN`` where unknown; also out of fold.

        Everything is in the canonical order; `compute_views`, `fold`, `weight` and
        `executor` are as in `fit_ridges`.
        """
        low = executor.get(executor.total(np.fmin.reduce, costs, combine=np.fmin))
        high = executor.get(executor.total(np.fmax.reduce, costs, combine=np.fmax))
        # Squares of very large or small costs would overflow or vanish; dividing by a
        # power of two changes no digit.
        unit = np.ldexp(1.0, np.frexp(high)[1] - 1)
        divided = executor.map(np.divide, costs, unit)
        # Columns are scaled, so that one model's high costs do not choose the strength.
        fits, out_of_fold, _ = fit_ridges(
            X,
            divided,
            fold,
            compute_views,
            scale=measure_column_std(divided, executor),
            weight=weight,
            executor=executor,
        )
        fit = RidgeFit(fits[0].coef * unit[:, None], fits[0].intercept * unit[:, None])
        model = cls(prices, fit, low, high)
        return model, executor.map(_clip_to_range, out_of_fold, unit, low, high)

    def predict(self, scaled: np.ndarray) -> np.ndarray:
        """Costs (n_queries, n_models) of scaled queries, within the range seen."""
        if self.fit is None:
            return np.tile(self.prices, (len(scaled), 1))
        # Of the one strength that is kept.
        cost = self.fit.predict(scaled)[:, :, 0]
        return np.minimum(np.maximum(cost, self.low), self.high)

    def with_model(
        self,
        scaled: np.ndarray,
        costs: np.ndarray | float,
        price: float,
        fold: np.ndarray,
    ) -> tuple[CostModel, np.ndarray]:
        """Add a model as the last one; also estimates of these scaled queries.

        `costs` is the price, or what calls have cost (n_queries,), of mean `price`; the
        estimates of the new model are then out of fold.
        """
        own = CostModel.from_prices(np.array([price]))
        column = own.predict(scaled)
        if isinstance(costs, np.ndarray):
            own, column = CostModel.regress(
                scaled, costs[:, None], own.prices, fold, _as_views
            )
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
        )
        return model, np.hstack([self.predict(scaled), column])

    def without_model(self, position: int) -> CostModel:
        """Leave out a model, given by its position in the canonical order."""
        prices, low, high = (
            np.delete(values, position) for values in (self.prices, self.low, self.high)
        )
        fit = None if self.fit is None else self.fit.without_output(position)
        return CostModel(prices, fit, low, high)

    def _as_regression(self, width: int) -> RidgeFit:
        """The regression; prices are one without a slope."""
        if self.fit is not None:
            return self.fit
        return RidgeFit(np.zeros((width, len(self.prices), 1)), self.prices[:, None])


def _clip_to_range(
    predictions: list[np.ndarray], unit: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    return np.clip(predictions[0][:, :, 0] * unit, low, high)


def _as_views(scaled: np.ndarray) -> list[np.ndarray]:
    return [scaled]

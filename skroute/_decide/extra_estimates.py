"""What calls take beside money: learned in fit, or given with a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from skroute._compute.chunks import sample_evenly
from skroute._decide.extra_rule import check_extra_names
from skroute._table.costs import check_known_costs
from skroute._table.names import as_mapping, check_rows, format_names

# Strengths among which a regression is chosen, per row and squared column.
_STRENGTHS = np.logspace(-5, 1, 13)
# They are regressed on a logarithmic scale from about this share of the mean on: times
# of answers have long tails.
_LINEAR_UP_TO = 0.3


@dataclass(frozen=True)
class GivenExtras:
    """What a call, or a fit, says of extra costs by name."""

    #: Of each name, (n_queries, n_models) with ``NaN`` where unknown; None if all is.
    tables: dict[str, np.ndarray | None]
    #: Names of which each model has one value for all queries.
    by_model: frozenset[str]

    @classmethod
    def read(
        cls, values: Any, n_queries: int, models: np.ndarray, **beside: Any
    ) -> Self:
        """Check tables, values per model and dicts; rows are those `beside`."""
        tables: dict[str, np.ndarray | None] = {}
        by_model = set()
        if values is None:
            values = {}
        for name, given in check_extra_names(values).items():
            argument = f"extra_costs[{name!r}]"
            named = isinstance(as_mapping(given, models), Mapping)
            if given is not None and (named or np.ndim(given) == 1):
                by_model.add(name)
            elif given is not None:
                check_rows(**beside, **{argument: given})
            # Values of models are known without any query, too.
            n_rows = n_queries or int(name in by_model)
            tables[name] = check_known_costs(given, n_rows, models, argument)
        return cls(tables, frozenset(by_model))

    def take(self, n_kept: int) -> Self:
        """Take what is known of the rows that are kept of the queries."""
        tables = {
            name: table if table is None else table[sample_evenly(len(table), n_kept)]
            for name, table in self.tables.items()
        }
        return replace(self, tables=tables)

    def leave_out(self, calls: np.ndarray) -> Self:
        """Leave out what some calls took, by a mask; values of models stay."""
        tables = {
            name: table
            if table is None or name in self.by_model
            else np.where(calls, np.nan, table)
            for name, table in self.tables.items()
        }
        return replace(self, tables=tables)

    def describe(self) -> Any:
        """Describe what prices depend on: values of models, and which are known."""
        return [
            (name, table[0].tobytes())
            if table is not None and name in self.by_model
            else (
                name,
                None if (known := self.find_models(name)) is None else known.tobytes(),
            )
            for name, table in self.tables.items()
        ]

    def find_models(self, name: str) -> np.ndarray | None:
        """Find the models that are known of most queries, (n_models,), or none."""
        table = self.tables.get(name)
        if table is None or not len(table):
            return None
        most: np.ndarray = np.isfinite(table).mean(axis=0) > 0.5
        return most if most.any() else None


@dataclass(frozen=True)
class ExtraEstimates:
    """Extra costs as they are expected of a query, from its qualities and costs.

    What a query takes of a model follows from what it is like, and the estimates of
    quality and cost say that: each extra cost of each model has a ridge regression on
    them. So they are learned alike for any router, and behind it in a pipeline.
    """

    names: tuple[str, ...]
    #: Centre and spread of the estimates, qualities then costs, (2 * n_models,).
    centre: np.ndarray
    spread: np.ndarray
    #: Of log1p(extra / unit): (n_names, 2 * n_models, n_models), the others without the
    #: middle.
    coef: np.ndarray
    intercept: np.ndarray
    unit: np.ndarray
    #: The range that was seen, (n_names, n_models) each.
    low: np.ndarray
    high: np.ndarray
    #: Of the queries that are kept, (n_names, n_kept, n_models): what was expected
    #: without their own outcome, and what they took, as far as that is known.
    expected: np.ndarray
    taken: np.ndarray

    @classmethod
    def learn(
        cls, Z: np.ndarray, given: GivenExtras, models: np.ndarray, n_kept: int
    ) -> Self:
        """Learn tables on estimates `Z` that are held out; so many are kept."""
        rows = sample_evenly(len(Z), n_kept)
        Z = np.asarray(Z, dtype=np.float64)
        centre, spread = Z.mean(axis=0), Z.std(axis=0)
        spread[spread == 0] = 1.0
        scaled = (Z - centre) / spread
        shape = len(given.tables), Z.shape[1] // 2
        coef = np.zeros((shape[0], Z.shape[1], shape[1]))
        intercept, unit, low, high = (np.zeros(shape) for _ in range(4))
        expected = np.empty((shape[0], len(Z), shape[1]))
        taken = np.empty(expected.shape)
        for k, (name, table) in enumerate(given.tables.items()):
            known = None if table is None else np.isfinite(table)
            if table is None or known is None or not known.any(axis=0).all():
                unknown = models if known is None else models[~known.any(axis=0)]
                raise ValueError(
                    f"extra_costs[{name!r}] says nothing of {format_names(unknown)}: "
                    "give what some calls of every model took."
                )
            taken[k] = table
            for m in range(shape[1]):
                is_known = known[:, m]
                values = table[is_known, m]
                low[k, m], high[k, m] = values.min(), values.max()
                unit[k, m] = _LINEAR_UP_TO * values.mean() or 1.0
                fitted = _regress(scaled, is_known, np.log1p(values / unit[k, m]))
                coef[k, :, m], intercept[k, m], logs = fitted
                # The mean of logarithms is not the logarithm of the mean.
                bounds = np.log1p(np.array([low[k, m], high[k, m]]) / unit[k, m])
                found = np.exp(np.clip(logs[is_known], *bounds))
                shift = np.log((1 + values / unit[k, m]).mean() / found.mean())
                intercept[k, m] += shift
                expected[k, :, m] = unit[k, m] * np.expm1(logs + shift)
        expected = np.clip(expected, low[:, None], high[:, None])
        return cls(
            tuple(given.tables),
            centre,
            spread,
            coef,
            intercept,
            unit,
            low,
            high,
            expected[:, rows],
            taken[:, rows],
        )

    def predict(self, name: str, quality: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Expect an extra cost from estimates, (n_queries, n_models) each."""
        k = self.names.index(name)
        scaled = (np.hstack([quality, cost]) - self.centre) / self.spread
        logs = scaled @ self.coef[k] + self.intercept[k]
        with np.errstate(over="ignore"):
            values = self.unit[k] * np.expm1(logs)
        return np.clip(values, self.low[k], self.high[k])

    def change_costs(self, factor: np.ndarray, prices: np.ndarray | None) -> Self:
        """Expect the same of queries whose costs are multiplied, or these prices."""
        n_models = len(factor)
        centre, spread = self.centre.copy(), self.spread.copy()
        if prices is None:
            centre[n_models:] *= factor
            spread[n_models:] *= np.where(factor > 0, factor, 1.0)
        else:
            new = np.isfinite(prices)
            centre[n_models:][new] = prices[new]
        return replace(self, centre=centre, spread=spread)


def _regress(
    X: np.ndarray, known: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray]:
    """Regress y on the known rows of X, at the strength of the least held-out error.

    Returns slopes, the intercept, and predictions of all rows, those of the known ones
    without their own y.
    """
    rows = X[known]
    middle, mean = rows.mean(axis=0), float(y.mean())
    centred, target = rows - middle, y - mean
    value, vector = np.linalg.eigh(centred.T @ centred)
    value = np.maximum(value, 0.0)
    turned = centred @ vector
    inner = turned.T @ target
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for strength in _STRENGTHS * len(y):
        slopes = inner / (value + strength)
        leverage = 1 / len(y) + (turned**2 / (value + strength)).sum(axis=1)
        left = np.maximum(1 - leverage, 1e-6)
        held_out = y - (target - turned @ slopes) / left
        error = float(((y - held_out) ** 2).sum())
        if best is None or error < best[0]:
            best = error, slopes, held_out
    assert best is not None
    coef = vector @ best[1]
    intercept = mean - float(middle @ coef)
    predicted = X @ coef + intercept
    predicted[known] = mean if len(y) == 1 else best[2]
    return coef, intercept, predicted

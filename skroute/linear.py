"""Ridge regression over a grid of strengths, cross-fitted from one pass over the data.

A fold's Gram matrix is subtracted from the total to train without it, so K folds and
all strengths cost one pass over the rows and K + 1 eigendecompositions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh

from skroute.averages import outcome_mass, weighted_means

__all__ = ["RidgeFit", "chunks", "fit_ridge", "spreads"]

# Features have about unit variance in total, so strengths compare across tables: from
# hardly any to one that flattens a table of thousands of queries.
ALPHAS = np.geomspace(0.1, 3000.0, 16)
_CHUNK = 4096

Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RidgeFit:
    """Coefficients of a ridge regression, of several outputs and strengths.

    Attributes
    ----------
    coef : ndarray of shape (n_features, n_outputs, n_strengths)
        Slopes.
    intercept : ndarray of shape (n_outputs, n_strengths)
        Intercepts.
    """

    coef: np.ndarray
    intercept: np.ndarray

    def predict(self, Phi: np.ndarray) -> np.ndarray:
        """Predict (n_queries, n_outputs, n_strengths)."""
        flat = self.coef.reshape(len(self.coef), -1)
        return (Phi @ flat).reshape(len(Phi), *self.intercept.shape) + self.intercept

    def in_precision(self, dtype: Any) -> RidgeFit:
        """Return the regression in another floating-point type."""
        return RidgeFit(self.coef.astype(dtype), self.intercept.astype(dtype))


class _Sums:
    """What ridge needs to know of some rows: sums, cross products and their count."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        self.n_rows = 0
        self.n = 0.0
        self.x = np.zeros(n_features)
        self.xx = np.zeros((n_features, n_features))
        self.y = np.zeros(n_outputs)
        self.xy = np.zeros((n_features, n_outputs))

    def add(self, Phi: np.ndarray, Y: np.ndarray, weight: np.ndarray | None) -> None:
        self.n_rows += len(Phi)
        weighed = Phi if weight is None else Phi * weight[:, None]
        self.n += len(Phi) if weight is None else weight.sum()
        self.x += weighed.sum(axis=0)
        self.xx += weighed.T @ Phi
        self.y += Y.sum(axis=0) if weight is None else weight @ Y
        self.xy += weighed.T @ Y

    def combined(self, parts: list[_Sums], sign: int) -> _Sums:
        """These rows with (1) or without (-1) those of other sums."""
        result = _Sums(0, 0)
        for name, value in vars(self).items():
            setattr(result, name, value + sign * sum(vars(p)[name] for p in parts))
        return result

    def solve(self, alphas: np.ndarray) -> RidgeFit | None:
        """Ridge with an unpenalised intercept; ``None`` without two rows."""
        if self.n_rows < 2:
            return None
        x, y = self.x / self.n, self.y / self.n
        values, vectors = eigh(self.xx - self.n * np.outer(x, x), check_finite=False)
        target = vectors.T @ (self.xy - self.n * np.outer(x, y))
        shrunk = target[:, :, None] / (
            np.maximum(values, 0.0)[:, None, None] + alphas[None, None, :]
        )
        coef = np.tensordot(vectors, shrunk, 1)
        return RidgeFit(coef, y[:, None] - np.tensordot(x, coef, 1))


def chunks(n_queries: int, size: int = _CHUNK) -> Iterator[slice]:
    """Slices that cover the rows, so that memory does not grow with their number."""
    for start in range(0, n_queries, size):
        yield slice(start, min(start + size, n_queries))


def spreads(Y: np.ndarray) -> np.ndarray:
    """Standard deviation of every column where it is known; 1 where it is constant."""
    # The largest value as a unit keeps the squares of extreme ones finite.
    unit = np.nanmax(Y, axis=0)
    unit[unit == 0] = 1.0
    spread = unit * np.nanstd(Y / unit, axis=0)
    spread[spread == 0] = 1.0
    return spread


def fit_ridge(
    X: np.ndarray,
    Y: np.ndarray,
    fold: np.ndarray,
    feature_map: Map,
    *,
    scale: np.ndarray,
    differences: bool = False,
    around: tuple[int, ...] = (0,),
    weight: np.ndarray | None = None,
    strength: int | None = None,
) -> tuple[RidgeFit, np.ndarray, int]:
    """Choose a strength out of fold, and fit it with and without every fold.

    Parameters
    ----------
    X : ndarray of shape (n_queries, n_features)
        Inputs of `feature_map`.
    Y : ndarray of shape (n_queries, n_outputs)
        Targets; each output is fitted on the rows where it is not ``NaN``.
    fold : ndarray of int of shape (n_queries,)
        Fold of each query.
    feature_map : callable
        Turns rows of X into features.
    scale : ndarray of shape (n_outputs,)
        Unit of each output, by which its errors are weighed.
    differences : bool, default=False
        Judge a strength by its error on the differences between the outputs of a row,
        and not on their common level: decisions compare outputs, and what separates
        them is fainter than what they share, so it wants a smoother fit.
    around : tuple of int, default=(0,)
        Strengths to keep, as steps on the grid from the one with the least error.
    weight : ndarray of shape (n_queries, n_outputs), default=None
        Weight of every target, in sums of squares and in errors; 0 leaves it out.
    strength : int, default=None
        Position of a strength on the grid, in place of the one with the least error.

    Returns
    -------
    fit : RidgeFit
        On all rows, at the kept strengths.
    out_of_fold : ndarray of shape (n_queries, n_outputs, n_kept)
        Predictions of every row by a fit without its fold.
    strength : int
        Position of the strength on the grid.
    """
    n_folds = int(fold.max()) + 1
    if weight is not None:
        Y = np.where(weight > 0, Y, np.nan)
    paths = _fit_paths(X, Y, fold, feature_map, n_folds, weight)
    if strength is None:
        error = np.zeros(len(ALPHAS))
        for part, rows, predicted in _held_out(X, fold, feature_map, paths):
            target = Y[part.start + rows]
            shown = None if weight is None else weight[part.start + rows]
            mass = outcome_mass(target, shown)[:, :, None]
            known = mass > 0
            residual = predicted - target[:, :, None]
            residual = np.where(known, residual / scale[:, None], 0)
            if differences:
                residual = np.where(known, residual - _row_mean(residual, mass), 0)
            error += (mass * residual**2).sum(axis=(0, 1))
        strength = int(error.argmin())
    kept = np.clip(strength + np.array(around), 0, len(ALPHAS) - 1)
    fits = [
        RidgeFit(np.ascontiguousarray(path.coef[:, :, kept]), path.intercept[:, kept])
        for path in paths
    ]
    out_of_fold = np.empty((*Y.shape, len(around)))
    for part, rows, predicted in _held_out(X, fold, feature_map, fits):
        out_of_fold[part.start + rows] = predicted
    return fits[-1], out_of_fold, strength


def _fit_paths(
    X: np.ndarray,
    Y: np.ndarray,
    fold: np.ndarray,
    feature_map: Map,
    n_folds: int,
    weight: np.ndarray | None,
) -> list[RidgeFit]:
    """Fits at all strengths: without each fold, and on all rows as the last."""
    n_features = feature_map(X[:1]).shape[1]
    # Without enough rows an output is expected to be average.
    average = np.repeat(weighted_means(Y, weight)[:, None], len(ALPHAS), axis=1)
    paths = [
        RidgeFit(np.zeros((n_features, *average.shape)), average.copy())
        for _ in range(n_folds + 1)
    ]
    # Outputs that are known on the same rows, at the same weights, share their sums.
    patterns, group = np.unique(outcome_mass(Y, weight), axis=1, return_inverse=True)
    for g, pattern in enumerate(patterns.T):
        known = pattern > 0
        columns = np.flatnonzero(group.ravel() == g)
        sums = [_Sums(n_features, len(columns)) for _ in range(n_folds)]
        for part in chunks(len(X)):
            Phi, target = feature_map(X[part]), Y[part][:, columns]
            for k in range(n_folds):
                rows = known[part] & (fold[part] == k)
                weighed = None if weight is None else pattern[part][rows]
                sums[k].add(Phi[rows], target[rows], weighed)
        total = _Sums(n_features, len(columns)).combined(sums, 1)
        for k, path in enumerate(paths):
            training = total.combined(sums[k : k + 1], -1)
            fit = training.solve(ALPHAS)
            if fit is not None:
                path.coef[:, columns] = fit.coef
                path.intercept[columns] = fit.intercept
    return paths


def _held_out(
    X: np.ndarray, fold: np.ndarray, feature_map: Map, fits: list[RidgeFit]
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Chunk, rows of one fold in it, and their predictions without that fold."""
    for part in chunks(len(X)):
        Phi = feature_map(X[part])
        for k, fit in enumerate(fits[:-1]):
            rows = np.flatnonzero(fold[part] == k)
            yield part, rows, fit.predict(Phi[rows])


def _row_mean(values: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Mean over the outputs of each row that have a mass; 0 where only one has.

    A single output has no difference from others: judged by its distance from itself,
    any strength would do.
    """
    single = (mass > 0).sum(axis=1, keepdims=True) <= 1
    total = np.where(single, 1.0, mass.sum(axis=1, keepdims=True))
    return np.where(single, 0.0, (mass * values).sum(axis=1, keepdims=True) / total)

"""Ridge regression over a grid of strengths, cross-fitted from one pass over the data.

A fold's Gram matrix is subtracted from the total to train without it, and tells the
errors on it, so K folds and all strengths cost one pass over the rows and K + 1
eigendecompositions; the predictions that are kept cost another.
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
# Patterns of known outcomes whose sums are gathered at once.
_PATTERNS = 8

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
        self.yy = np.zeros((n_outputs, n_outputs))

    def add(self, Phi: np.ndarray, Y: np.ndarray, weight: np.ndarray | None) -> None:
        self.n_rows += len(Phi)
        # A product with its own transpose takes half the time.
        weighed = Phi if weight is None else Phi * weight[:, None]
        self.n += len(Phi) if weight is None else weight.sum()
        self.x += weighed.sum(axis=0)
        self.xx += weighed.T @ Phi
        self.y += Y.sum(axis=0) if weight is None else weight @ Y
        self.xy += weighed.T @ Y
        self.yy += Y.T @ (Y if weight is None else Y * weight[:, None])

    def combined(self, parts: list[_Sums], sign: int) -> _Sums:
        """These rows with (1) or without (-1) those of other sums."""
        result = _Sums(0, 0)
        for name, value in vars(self).items():
            setattr(result, name, value + sign * sum(vars(p)[name] for p in parts))
        return result

    def solve(self, basis: np.ndarray | None) -> RidgeFit | None:
        """Ridge with an unpenalised intercept, at all strengths.

        Parameters
        ----------
        basis : ndarray of shape (n_features, n_features) or None
            Map under which the coefficients are penalised.

        Returns
        -------
        RidgeFit or None
            For features that are not mapped; ``None`` without two rows.
        """
        if self.n_rows < 2:
            return None
        x, y = self.x / self.n, self.y / self.n
        xx, xy = self.xx - self.n * np.outer(x, x), self.xy - self.n * np.outer(x, y)
        if basis is not None:
            xx, xy = basis.T @ xx @ basis, basis.T @ xy
        values, vectors = eigh(xx, check_finite=False)
        shrunk = (vectors.T @ xy)[:, :, None] / (
            np.maximum(values, 0.0)[:, None, None] + ALPHAS[None, None, :]
        )
        if basis is not None:
            vectors = basis @ vectors
        coef = np.tensordot(vectors, shrunk, 1)
        return RidgeFit(coef, y[:, None] - np.tensordot(x, coef, 1))

    def error(self, fit: RidgeFit, outputs: np.ndarray) -> np.ndarray:
        """Squared error of a regression on these rows.

        Parameters
        ----------
        fit : RidgeFit
            The regression.
        outputs : ndarray of shape (n_outputs, n_combinations)
            Combinations of the outputs whose errors count.

        Returns
        -------
        ndarray of shape (n_strengths,)
            Sum over rows and combinations.
        """
        coef = np.einsum("fms,mj->sfj", fit.coef, outputs)
        intercept = np.einsum("ms,mj->sj", fit.intercept, outputs)
        y, xy = self.y @ outputs, self.xy @ outputs
        square = np.einsum("mj,mn,nj->", outputs, self.yy, outputs)
        products = np.einsum("sfj,fj->s", coef, xy) + intercept @ y
        shift = np.einsum("sj,sj->s", self.x @ coef, intercept)
        own = np.einsum("sfj,sfj->s", coef, self.xx @ coef)
        own += 2.0 * shift + self.n * (intercept**2).sum(axis=1)
        return square - 2.0 * products + own


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
    basis: np.ndarray | None = None,
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
    basis : ndarray of shape (n_mapped, n_mapped), default=None
        Ridge on ``feature_map(X) @ basis``; the fit that is returned is one on
        ``feature_map(X)``, and no row is multiplied.

    Returns
    -------
    fit : RidgeFit
        On all rows, at the kept strengths.
    out_of_fold : ndarray of shape (n_queries, n_outputs, n_kept)
        Predictions of every row by a fit without its fold.
    strength : int
        Position of the strength on the grid.
    """
    if weight is not None:
        Y = np.where(weight > 0, Y, np.nan)
    differences = differences and Y.shape[1] > 1
    paths, error = _fit_paths(
        X, Y, fold, feature_map, weight, basis, scale, differences
    )
    if strength is None:
        if error is None:
            error = _error_of_rows(X, Y, fold, feature_map, paths, weight, scale)
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
    weight: np.ndarray | None,
    basis: np.ndarray | None,
    scale: np.ndarray,
    differences: bool,
) -> tuple[list[RidgeFit], np.ndarray | None]:
    """Fits at all strengths: without each fold, and on all rows as the last.

    Also their errors out of fold, where sums can tell: the mean of a row that is known
    in part is none of them.
    """
    n_folds, n_outputs = int(fold.max()) + 1, Y.shape[1]
    n_features = feature_map(X[:1]).shape[1]
    # Without enough rows an output is expected to be average.
    average = np.repeat(weighted_means(Y, weight)[:, None], len(ALPHAS), axis=1)
    paths = [
        RidgeFit(np.zeros((n_features, *average.shape)), average.copy())
        for _ in range(n_folds + 1)
    ]
    # Outputs that are known on the same rows, at the same weights, share their sums.
    patterns, group = np.unique(outcome_mass(Y, weight), axis=1, return_inverse=True)
    combined = np.diag(1.0 / scale)
    if differences:
        combined = combined @ (np.eye(n_outputs) - 1.0 / n_outputs)
    told = not differences or patterns.shape[1] == 1
    error = np.zeros(len(ALPHAS))
    for some in chunks(patterns.shape[1], _PATTERNS):
        columns = [
            np.flatnonzero(group.ravel() == g) for g in range(some.start, some.stop)
        ]
        sums = [
            [_Sums(n_features, len(outputs)) for _ in range(n_folds)]
            for outputs in columns
        ]
        for part in chunks(len(X)):
            Phi = feature_map(X[part])
            for g, pattern in enumerate(patterns[part, some].T):
                for k in range(n_folds):
                    rows = np.flatnonzero((pattern > 0) & (fold[part] == k))
                    weighed = None if weight is None else pattern[rows]
                    target = Y[part][rows[:, None], columns[g]]
                    sums[g][k].add(Phi[rows], target, weighed)
        for outputs, of_folds in zip(columns, sums, strict=True):
            total = _Sums(n_features, len(outputs)).combined(of_folds, 1)
            for k, path in enumerate(paths):
                fit = total.combined(of_folds[k : k + 1], -1).solve(basis)
                if fit is not None:
                    path.coef[:, outputs] = fit.coef
                    path.intercept[outputs] = fit.intercept
                if told and k < n_folds:
                    shown = RidgeFit(path.coef[:, outputs], path.intercept[outputs])
                    error += of_folds[k].error(shown, combined[outputs])
    return paths, error if told else None


def _error_of_rows(
    X: np.ndarray,
    Y: np.ndarray,
    fold: np.ndarray,
    feature_map: Map,
    paths: list[RidgeFit],
    weight: np.ndarray | None,
    scale: np.ndarray,
) -> np.ndarray:
    """Error on the differences between the known outputs of each row."""
    error = np.zeros(len(ALPHAS))
    for part, rows, predicted in _held_out(X, fold, feature_map, paths):
        target = Y[part.start + rows]
        shown = None if weight is None else weight[part.start + rows]
        mass = outcome_mass(target, shown)[:, :, None]
        known = mass > 0
        residual = predicted - target[:, :, None]
        residual = np.where(known, residual / scale[:, None], 0)
        residual = np.where(known, residual - _row_mean(residual, mass), 0)
        error += (mass * residual**2).sum(axis=(0, 1))
    return error


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

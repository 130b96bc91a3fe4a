"""Ridge regression over a grid of strengths, cross-fitted from one pass over the data.

A fold's Gram matrix is subtracted from the total to train without it, and tells the
errors on it, so K folds and all strengths cost one pass over the rows and K + 1
eigendecompositions; the predictions that are kept cost another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from scipy.linalg import eigh

from skroute._compute.chunks import chunks
from skroute._compute.executor import IN_MEMORY, Rows
from skroute._compute.products import multiply_row
from skroute._table.averages import means_from_sums, outcome_mass, weighted_sums

__all__ = ["RidgeFit", "fit_costs", "fit_ridge", "spreads"]

# Features have about unit variance in total, so strengths compare across tables: from
# hardly any to one that flattens a table of thousands of queries.
ALPHAS = np.geomspace(0.1, 3000.0, 16)
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
        multiply = multiply_row if len(Phi) == 1 else np.matmul
        product = multiply(Phi, flat)
        return product.reshape(len(Phi), *self.intercept.shape) + self.intercept

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

    def __add__(self, other: _Sums) -> _Sums:
        return self._combined(other, 1)

    def __sub__(self, other: _Sums) -> _Sums:
        return self._combined(other, -1)

    def _combined(self, other: _Sums, sign: int) -> _Sums:
        result = _Sums(0, 0)
        for name, value in vars(self).items():
            setattr(result, name, value + sign * vars(other)[name])
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


def spreads(Y: Any, rows: Rows = IN_MEMORY) -> np.ndarray:
    """Standard deviation of every column where it is known; 1 where it is constant."""
    # The largest value as a unit keeps the squares of extreme ones finite.
    unit = rows.get(rows.total(np.fmax.reduce, Y, combine=np.fmax)).copy()
    unit[unit == 0] = 1.0
    mean = means_from_sums(rows.get(rows.total(_power_sums, Y, unit, 0.0, 1)))
    square = means_from_sums(rows.get(rows.total(_power_sums, Y, unit, mean, 2)))
    spread = unit * np.sqrt(square)
    spread[spread == 0] = 1.0
    return spread


def _power_sums(
    Y: np.ndarray, unit: np.ndarray, centre: np.ndarray | float, power: int
) -> np.ndarray:
    return weighted_sums((Y / unit - centre) ** power)


def fit_ridge(
    X: Any,
    Y: Any,
    fold: Any,
    feature_map: Any,
    *,
    scale: np.ndarray,
    differences: bool = False,
    around: tuple[int, ...] = (0,),
    weight: Any = None,
    strength: int | None = None,
    basis: np.ndarray | None = None,
    rows: Rows = IN_MEMORY,
) -> tuple[RidgeFit, Any, int]:
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
    rows : Rows, default=IN_MEMORY
        Where the rows are. Elsewhere X, Y, `fold` and `weight` are handles of columns,
        and `feature_map` is the handle of a callable; so is the second of the results.

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
        Y = rows.map(_counted, Y, weight)
    differences = differences and len(scale) > 1
    outline = rows.get(rows.total(_Outline.of, Y, fold, weight))
    n_folds, means = outline.n_folds, means_from_sums(outline.sums)
    # Outputs that are known on the same rows, at the same weights, share their sums.
    first = outline.alike.argmax(axis=0)
    groups = [np.flatnonzero(first == g) for g in np.unique(first)]
    combined = np.diag(1.0 / scale)
    if differences:
        combined = combined @ (np.eye(len(scale)) - 1.0 / len(scale))
    solved = []
    for some in chunks(len(groups), _PATTERNS):
        shown = X, Y, fold, weight, feature_map
        sums = rows.total(_fold_sums, *shown, groups[some], n_folds, combine=_added)
        solved.append(rows.apply(_solve, sums, groups[some], means, basis, combined))
        del sums
    paths = rows.apply(_joined, solved)
    if strength is None:
        # The mean of a row that is known in part is no combination of sums.
        if differences and len(groups) > 1:
            errors = rows.total(
                _error_of_rows, X, Y, fold, feature_map, paths, weight, scale
            )
        else:
            errors = rows.apply(_error_of_sums, solved)
        strength = int(rows.get(errors).argmin())
    kept = np.clip(strength + np.array(around), 0, len(ALPHAS) - 1)
    fits = rows.apply(_at_strengths, paths, kept)
    out_of_fold = rows.map(_out_of_fold, X, fold, feature_map, fits)
    return rows.get(rows.apply(itemgetter(-1), fits)), out_of_fold, strength


def fit_costs(
    X: Any,
    costs: Any,
    largest: np.ndarray,
    fold: Any,
    feature_map: Any,
    weight: Any = None,
    rows: Rows = IN_MEMORY,
) -> tuple[RidgeFit, Any]:
    """Fit costs of whatever size by :func:`fit_ridge`, at one strength.

    Parameters
    ----------
    X, fold, feature_map, weight, rows
        As in `fit_ridge`.
    costs : ndarray of shape (n_queries, n_models)
        Money per call; ``NaN`` where unknown.
    largest : ndarray of shape (n_models,)
        The largest cost of each model.

    Returns
    -------
    fit : RidgeFit
        On all rows.
    out_of_fold : ndarray of shape (n_queries, n_models, 1)
        Costs of every row by a fit without its fold.
    """
    # Squares of very large or small costs would be no numbers; dividing by a power of
    # two changes no digit.
    unit = np.ldexp(1.0, np.frexp(largest)[1] - 1)
    scaled = rows.map(np.divide, costs, unit)
    scale = spreads(scaled, rows)
    fit, out_of_fold, _ = fit_ridge(
        X, scaled, fold, feature_map, scale=scale, weight=weight, rows=rows
    )
    unit = unit[:, None]
    fit = RidgeFit(fit.coef * unit, fit.intercept * unit)
    return fit, rows.map(np.multiply, out_of_fold, unit)


@dataclass(frozen=True)
class _Outline:
    """What is known of some rows before they are regressed; adds up over parts.

    The number of folds, the sums of every output over its known rows, and which outputs
    are known on the same rows at the same weights, (n_outputs, n_outputs).
    """

    n_folds: int
    sums: np.ndarray
    alike: np.ndarray

    @classmethod
    def of(cls, Y: np.ndarray, fold: np.ndarray, weight: np.ndarray | None) -> _Outline:
        n_folds = 1 + int(fold.max())
        return cls(n_folds, weighted_sums(Y, weight), _alike(Y, weight))

    def __add__(self, other: _Outline) -> _Outline:
        n_folds = max(self.n_folds, other.n_folds)
        return _Outline(n_folds, self.sums + other.sums, self.alike & other.alike)


@dataclass(frozen=True)
class _Solved:
    """Fits of some outputs: without each fold, and on all rows as the last.

    Also their squared errors out of fold, as far as sums can tell.
    """

    outputs: list[np.ndarray]
    fits: list[list[RidgeFit]]
    error: np.ndarray


def _counted(Y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The targets that have a weight."""
    return np.where(weight > 0, Y, np.nan)


def _alike(Y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Which outputs are known on the same rows at the same weights, (M, M)."""
    _, group = np.unique(outcome_mass(Y, weight), axis=1, return_inverse=True)
    return group.reshape(-1, 1) == group.reshape(1, -1)


def _fold_sums(
    X: np.ndarray,
    Y: np.ndarray,
    fold: np.ndarray,
    weight: np.ndarray | None,
    feature_map: Map,
    groups: list[np.ndarray],
    n_folds: int,
) -> list[list[_Sums]]:
    """Sums over the rows of every fold, for groups of outputs that are known alike."""
    n_features = feature_map(X[:1]).shape[1]
    sums = [
        [_Sums(n_features, len(outputs)) for _ in range(n_folds)] for outputs in groups
    ]
    for part in chunks(len(X)):
        Phi = feature_map(X[part])
        mass = outcome_mass(Y[part], None if weight is None else weight[part])
        for outputs, by_fold in zip(groups, sums, strict=True):
            pattern = mass[:, outputs[0]]
            for k in range(n_folds):
                rows = np.flatnonzero((pattern > 0) & (fold[part] == k))
                weighed = None if weight is None else pattern[rows]
                target = Y[part][rows[:, None], outputs]
                by_fold[k].add(Phi[rows], target, weighed)
    return sums


def _added(some: list[list[_Sums]], others: list[list[_Sums]]) -> list[list[_Sums]]:
    return [
        [mine + theirs for mine, theirs in zip(*by_fold, strict=True)]
        for by_fold in zip(some, others, strict=True)
    ]


def _solve(
    sums: list[list[_Sums]],
    groups: list[np.ndarray],
    means: np.ndarray,
    basis: np.ndarray | None,
    combined: np.ndarray,
) -> _Solved:
    """All fits from the sums of every group of outputs."""
    error = np.zeros(len(ALPHAS))
    fits = []
    for by_fold, outputs in zip(sums, groups, strict=True):
        total = sum(by_fold[1:], by_fold[0])
        # Without enough rows an output is expected to be average.
        average = np.repeat(means[outputs, None], len(ALPHAS), axis=1)
        constant = RidgeFit(np.zeros((len(total.x), *average.shape)), average)
        paths = [(total - held_out).solve(basis) or constant for held_out in by_fold]
        for held_out, path in zip(by_fold, paths, strict=True):
            error += held_out.error(path, combined[outputs])
        fits.append([*paths, total.solve(basis) or constant])
    return _Solved(groups, fits, error)


def _joined(solved: list[_Solved]) -> list[RidgeFit]:
    """Fits of all outputs, in their order."""
    groups = [outputs for some in solved for outputs in some.outputs]
    by_group = [fits for some in solved for fits in some.fits]
    order = np.argsort(np.concatenate(groups))
    return [
        RidgeFit(
            np.concatenate([fit.coef for fit in fits], axis=1)[:, order],
            np.concatenate([fit.intercept for fit in fits])[order],
        )
        for fits in zip(*by_group, strict=True)
    ]


def _error_of_sums(solved: list[_Solved]) -> np.ndarray:
    return np.sum([some.error for some in solved], axis=0)


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


def _at_strengths(paths: list[RidgeFit], kept: np.ndarray) -> list[RidgeFit]:
    return [
        RidgeFit(np.ascontiguousarray(path.coef[:, :, kept]), path.intercept[:, kept])
        for path in paths
    ]


def _out_of_fold(
    X: np.ndarray, fold: np.ndarray, feature_map: Map, fits: list[RidgeFit]
) -> np.ndarray:
    """Predictions of every row by the fit without its fold."""
    predictions = np.empty((len(X), *fits[0].intercept.shape))
    for part, rows, predicted in _held_out(X, fold, feature_map, fits):
        predictions[part.start + rows] = predicted
    return predictions


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

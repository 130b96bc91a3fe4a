"""Ridge regression over a grid of strengths, cross-fitted from one pass over the data.

A fold's Gram matrix is subtracted from the total to train without it, and tells the
errors on it, so K folds and all strengths cost one pass over the rows and K + 1
eigendecompositions; the predictions that are kept cost another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import numpy as np
from scipy.linalg import eigh

from skroute._compute.cached import SavesFields
from skroute._compute.chunks import chunks, multiply
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._compute.threads import run_in_threads
from skroute._estimate.moments import Moments
from skroute._table.averages import divide_sums, sum_known, weigh_outcomes

__all__ = ["ALPHAS", "RidgeFit", "fit_ridge", "fit_ridges", "measure_column_std"]

# The grid of strengths. Features have about unit variance in total, so strengths mean
# the same on every table: the first is almost no penalty, the last flattens a table of
# thousands of queries.
ALPHAS = np.geomspace(0.1, 3000.0, 16)
# Patterns of known outcomes whose sums are gathered at once.
_PATTERNS = 4

ComputeViews = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class RidgeFit(SavesFields):
    """Coefficients of a ridge regression, of several outputs and strengths."""

    coef: np.ndarray  # (n_features, n_outputs, n_strengths)
    intercept: np.ndarray  # (n_outputs, n_strengths)

    def predict(self, Phi: np.ndarray) -> np.ndarray:
        """Predict (n_queries, n_outputs, n_strengths)."""
        product = multiply(Phi, self.rows)
        return product.reshape(len(Phi), *self.intercept.shape) + self.intercept

    @cached_property
    def rows(self) -> np.ndarray:
        """Coefficients (n_outputs * n_strengths, n_features): a row for each output."""
        return np.ascontiguousarray(self.coef.reshape(len(self.coef), -1).T)

    def cast_to(self, dtype: Any) -> RidgeFit:
        """Return the regression in another floating-point type."""
        if self.coef.dtype == dtype:
            return self
        # In the order of `rows`, which are then no copy.
        rows = self.coef.reshape(len(self.coef), -1).T.astype(dtype, order="C")
        return RidgeFit(rows.T.reshape(self.coef.shape), self.intercept.astype(dtype))

    def with_outputs(self, other: RidgeFit) -> RidgeFit:
        """Return a regression that also has the outputs of another."""
        return RidgeFit(
            np.concatenate([self.coef, other.coef], axis=1),
            np.concatenate([self.intercept, other.intercept]),
        )

    def keep_strengths(self, positions: Sequence[int]) -> RidgeFit:
        """Return the regression at some of its strengths."""
        coef = np.ascontiguousarray(self.coef[:, :, positions])
        return RidgeFit(coef, self.intercept[:, positions])

    def take_outputs(self, positions: np.ndarray) -> RidgeFit:
        """Return a regression of some of the outputs, in this order."""
        return RidgeFit(self.coef[:, positions], self.intercept[positions])

    def without_output(self, position: int) -> RidgeFit:
        """Return a regression of the other outputs."""
        return RidgeFit(
            np.delete(self.coef, position, axis=1),
            np.delete(self.intercept, position, axis=0),
        )


class _Sums:
    """Sums and cross products of some rows: all that a ridge needs."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        self.n_rows = 0
        self.n = 0.0
        self.x = np.zeros(n_features)
        self.xx = np.zeros((n_features, n_features))
        self.y = np.zeros(n_outputs)
        self.xy = np.zeros((n_features, n_outputs))
        self.yy = np.zeros((n_outputs, n_outputs))

    def add(self, Phi: np.ndarray, Y: np.ndarray, weight: np.ndarray | None) -> None:
        """Add rows of features, targets and weights."""
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
        return self._combine(other, 1)

    def __sub__(self, other: _Sums) -> _Sums:
        return self._combine(other, -1)

    def _combine(self, other: _Sums, sign: int) -> _Sums:
        result = _Sums(0, 0)
        for name, value in vars(self).items():
            setattr(result, name, value + sign * vars(other)[name])
        return result

    def solve(self, basis: np.ndarray | None) -> RidgeFit | None:
        """Solve a ridge at all strengths; ``None`` if there are fewer than two rows.

        The intercept is not penalised. Coefficients are, under the map `basis`, and are
        returned without it.
        """
        if self.n_rows < 2:
            return None
        x, y = self.x / self.n, self.y / self.n
        xx, xy = self.xx - self.n * np.outer(x, x), self.xy - self.n * np.outer(x, y)
        if basis is not None:
            xx, xy = basis.T @ xx @ basis, basis.T @ xy
        # One eigendecomposition serves all strengths.
        values, vectors = eigh(xx, check_finite=False)
        shrunk = (vectors.T @ xy)[:, :, None] / (
            np.maximum(values, 0.0)[:, None, None] + ALPHAS[None, None, :]
        )
        if basis is not None:
            vectors = basis @ vectors
        coef = np.tensordot(vectors, shrunk, 1)
        return RidgeFit(coef, y[:, None] - np.tensordot(x, coef, 1))

    def measure_error(self, fit: RidgeFit, outputs: np.ndarray) -> np.ndarray:
        """Squared error of a regression on these rows, at each strength.

        Summed over rows and combinations of the outputs (n_outputs, n_combinations).
        """
        coef = np.einsum("fms,mj->sfj", fit.coef, outputs)
        intercept = np.einsum("ms,mj->sj", fit.intercept, outputs)
        y, xy = self.y @ outputs, self.xy @ outputs
        # Sum of squares of targets minus predictions, multiplied out.
        square = np.einsum("mj,mn,nj->", outputs, self.yy, outputs)
        products = np.einsum("sfj,fj->s", coef, xy) + intercept @ y
        shift = np.einsum("sj,sj->s", self.x @ coef, intercept)
        own = np.einsum("sfj,sfj->s", coef, self.xx @ coef)
        own += 2.0 * shift + self.n * (intercept**2).sum(axis=1)
        return square - 2.0 * products + own


def measure_column_std(Y: Any, executor: Executor = IN_MEMORY) -> np.ndarray:
    """Standard deviation of every column where it is known; 1 where it is constant."""
    # The largest value as a unit keeps the squares of extreme ones finite.
    unit = executor.get(executor.total(np.fmax.reduce, Y, combine=np.fmax)).copy()
    unit[unit == 0] = 1.0
    mean = divide_sums(executor.get(executor.total(_sum_powers, Y, unit, 0.0, 1)))
    square = divide_sums(executor.get(executor.total(_sum_powers, Y, unit, mean, 2)))
    spread = unit * np.sqrt(square)
    spread[spread == 0] = 1.0
    return spread


def _sum_powers(
    Y: np.ndarray, unit: np.ndarray, centre: np.ndarray | float, power: int
) -> np.ndarray:
    return sum_known((Y / unit - centre) ** power)


def fit_ridges(
    X: Any,
    Y: Any,
    fold: Any,
    compute_views: Any,
    *,
    scale: np.ndarray,
    bases: Sequence[np.ndarray | None] = (None,),
    differences: bool = False,
    offsets: tuple[int, ...] = (0,),
    weight: Any = None,
    position: int | None = None,
    keep_moments: bool = False,
    n_jobs: int | None = None,
    executor: Executor = IN_MEMORY,
) -> tuple[list[RidgeFit], Any, list[int], list[Moments]]:
    """Fit regressions on several views: choose strengths out of fold, then fit.

    The views of a query are computed once for all regressions, in each of two passes
    over the rows: sums, and predictions.

    Parameters
    ----------
    X, Y, fold, weight
        Inputs of `compute_views`; targets (n_queries, n_outputs), each fitted on the
        rows where it is not ``NaN``; the fold of each query; the weight of every
        target, of which 0 leaves it out.
    compute_views : callable
        Turns rows of X into a list of their features, one table for each regression.
    scale : ndarray of shape (n_outputs,)
        Unit of each output, by which its errors are weighed.
    bases : list of (ndarray of shape (n_mapped, n_mapped) or None)
        For each regression: a ridge on ``features @ basis``, returned as one on the
        features, so that no row is multiplied.
    differences : bool, default=False
        Judge a strength by its error on the differences between the outputs of a row,
        and not on their common level. Decisions compare outputs, and the differences
        are smaller than the level, so they need a smoother fit.
    offsets : tuple of int, default=(0,)
        Strengths to keep, as steps on the grid from the one with the least error, or
        from `position`, if given.
    keep_moments : bool, default=False
        Return the sums over all rows, to which others can be added.
    n_jobs : int or None, default=None
        Threads, each of which works on one regression at a time.
    executor : Executor, default=IN_MEMORY
        Where the rows are. Elsewhere X, Y, `fold`, `weight` and the second of the
        results are handles of columns, `compute_views` the handle of a callable.

    Returns
    -------
    tuple
        A `RidgeFit` on all rows, predictions of every row without its fold, (n_queries,
        n_outputs, n_kept), the position of the best strength, and the moments, if they
        are kept, each in a list over the regressions.
    """
    if weight is not None:
        # A weight of 0 is as an unknown target.
        Y = executor.map(_drop_weightless, Y, weight)
    differences = differences and len(scale) > 1
    outline = executor.get(executor.total(_Outline.from_rows, Y, fold, weight))
    n_folds, means = outline.n_folds, divide_sums(outline.sums)
    # Outputs that are known on the same rows at the same weights share one set of sums.
    first = outline.alike.argmax(axis=0)
    groups = [np.flatnonzero(first == g) for g in np.unique(first)]
    combined = np.diag(1.0 / scale)
    if differences:
        # Subtracts the mean over the outputs.
        combined = combined @ (np.eye(len(scale)) - 1.0 / len(scale))

    data = X, Y, fold, weight, compute_views
    solved: list[list[Any]] = []
    totals: list[list[list[_Sums]]] = []
    for some in chunks(len(groups), _PATTERNS):
        sums = executor.total(
            _sum_by_fold, *data, groups[some], n_folds, n_jobs, combine=_add_sums
        )
        solve = partial(_solve_on, executor, sums, groups[some], means, combined, bases)
        solved.append(
            run_in_threads(solve, range(len(bases)), executor.count_threads(n_jobs))
        )
        if keep_moments:
            totals.append(executor.get(executor.apply(_total_folds, sums)))
        # Frees the sums, which are large, before those of the next outputs are made.
        del sums, solve
    by_view = [list(fits) for fits in zip(*solved, strict=True)]
    paths = [executor.apply(_join_outputs, fits) for fits in by_view]
    if position is not None:
        positions = [position] * len(bases)
    elif differences and len(groups) > 1:
        # Where outputs are known on different rows, the mean of a row that is taken off
        # does not follow from sums: this needs another pass over the rows.
        errors = executor.total(_measure_row_errors, *data, paths, scale)
        positions = executor.get(errors).argmin(axis=1).tolist()
    else:
        positions = [
            int(executor.get(executor.apply(_add_errors, fits)).argmin())
            for fits in by_view
        ]
    # Near an end of the grid, its last strength stands in for those beyond.
    kept_positions = [
        np.clip(best + np.array(offsets), 0, len(ALPHAS) - 1) for best in positions
    ]
    kept = [
        executor.apply(_keep_strengths, path, kept)
        for path, kept in zip(paths, kept_positions, strict=True)
    ]
    out_of_fold = executor.map(_predict_out_of_fold, X, fold, compute_views, kept)
    fits = [executor.get(executor.apply(itemgetter(-1), path)) for path in kept]
    moments = [
        Moments.gather(groups, [total for part in parts for total in part])
        for parts in zip(*totals, strict=True)
    ]
    return fits, out_of_fold, positions, moments


def fit_ridge(
    Phi: np.ndarray,
    Y: np.ndarray,
    fold: np.ndarray,
    *,
    basis: np.ndarray | None = None,
    **settings: Any,
) -> tuple[RidgeFit, np.ndarray, int]:
    """Fit one regression on features in memory, as `fit_ridges` does."""
    fits, out_of_fold, positions, _ = fit_ridges(
        Phi, Y, fold, lambda rows: [rows], bases=[basis], **settings
    )
    return fits[0], out_of_fold[0], positions[0]


@dataclass(frozen=True)
class _Outline:
    """What is known of some rows before they are regressed; adds up over parts.

    The number of folds, the sums of every output over its known rows, and which outputs
    are known on the same rows at the same weights, bool (n_outputs, n_outputs).
    """

    n_folds: int
    sums: np.ndarray
    alike: np.ndarray

    @classmethod
    def from_rows(
        cls, Y: np.ndarray, fold: np.ndarray, weight: np.ndarray | None
    ) -> _Outline:
        n_folds = 1 + int(fold.max())
        return cls(n_folds, sum_known(Y, weight), _find_alike(Y, weight))

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


def _drop_weightless(Y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Targets with a positive weight; NaN elsewhere."""
    return np.where(weight > 0, Y, np.nan)


def _find_alike(Y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Which outputs are known on the same rows at the same weights, (M, M)."""
    mass = weigh_outcomes(Y, weight)
    if weight is None:
        # As many rows are known of both as of each: this is sooner counted than sorted.
        both = mass.T @ mass
        alike: np.ndarray = (both == both.diagonal()) & (
            both == both.diagonal()[:, None]
        )
        return alike
    _, group = np.unique(mass, axis=1, return_inverse=True)
    return group.reshape(-1, 1) == group.reshape(1, -1)


def _sum_by_fold(
    X: np.ndarray,
    Y: np.ndarray,
    fold: np.ndarray,
    weight: np.ndarray | None,
    compute_views: ComputeViews,
    groups: list[np.ndarray],
    n_folds: int,
    n_jobs: int | None,
) -> list[list[list[_Sums]]]:
    """Sums by regression, group of outputs that are known alike, and fold."""
    sums = [
        [
            [_Sums(Phi.shape[1], len(outputs)) for _ in range(n_folds)]
            for outputs in groups
        ]
        for Phi in compute_views(X[:1])
    ]
    for part in chunks(len(X)):
        views = compute_views(X[part])
        mass = weigh_outcomes(Y[part], None if weight is None else weight[part])
        pieces = []
        # All outputs of a group have the same mass, so the first stands for them.
        for g, outputs in enumerate(groups):
            pattern = mass[:, outputs[0]]
            for k in range(n_folds):
                at = np.flatnonzero((pattern > 0) & (fold[part] == k))
                weighed = None if weight is None else pattern[at]
                pieces.append((g, k, at, Y[part][at[:, None], outputs], weighed))

        def add(
            i: int, views: list[np.ndarray] = views, pieces: list[Any] = pieces
        ) -> None:
            for g, k, at, target, weighed in pieces:
                sums[i][g][k].add(views[i][at], target, weighed)

        # Each thread adds to the sums of its own regressions.
        run_in_threads(add, range(len(views)), n_jobs)
    return sums


def _total_folds(sums: list[list[list[_Sums]]]) -> list[list[_Sums]]:
    """Add up the folds, by regression and group of outputs."""
    return [
        [sum(by_fold[1:], by_fold[0]) for by_fold in regression] for regression in sums
    ]


def _add_sums(some: Any, others: Any) -> Any:
    """Add nested lists of sums, item by item."""
    if isinstance(some, _Sums):
        return some + others
    return [_add_sums(mine, theirs) for mine, theirs in zip(some, others, strict=True)]


def _solve_on(
    executor: Executor,
    sums: Any,
    groups: list[np.ndarray],
    means: np.ndarray,
    combined: np.ndarray,
    bases: Sequence[np.ndarray | None],
    regression: int,
) -> Any:
    """Solve one regression where its sums are."""
    return executor.apply(
        _solve, sums, regression, bases[regression], groups, means, combined
    )


def _solve(
    sums: list[list[list[_Sums]]],
    regression: int,
    basis: np.ndarray | None,
    groups: list[np.ndarray],
    means: np.ndarray,
    combined: np.ndarray,
) -> _Solved:
    """All fits of a regression, from the sums of every group of outputs."""
    error = np.zeros(len(ALPHAS))
    fits = []
    for by_fold, outputs in zip(sums[regression], groups, strict=True):
        total = sum(by_fold[1:], by_fold[0])
        # Without enough rows an output is expected to be average.
        average = np.repeat(means[outputs, None], len(ALPHAS), axis=1)
        # Such a fit has slopes of 0.
        constant = RidgeFit(np.zeros((len(total.x), *average.shape)), average)
        paths = [(total - held_out).solve(basis) or constant for held_out in by_fold]
        for held_out, path in zip(by_fold, paths, strict=True):
            error += held_out.measure_error(path, combined[outputs])
        # The fit on all rows comes last.
        fits.append([*paths, total.solve(basis) or constant])
    return _Solved(groups, fits, error)


def _join_outputs(solved: list[_Solved]) -> list[RidgeFit]:
    """Fits of all outputs, in their order."""
    groups = [outputs for some in solved for outputs in some.outputs]
    by_group = [fits for some in solved for fits in some.fits]
    # Groups list their outputs; this undoes it.
    order = np.argsort(np.concatenate(groups))
    return [
        RidgeFit(
            np.concatenate([fit.coef for fit in fits], axis=1)[:, order],
            np.concatenate([fit.intercept for fit in fits])[order],
        )
        for fits in zip(*by_group, strict=True)
    ]


def _add_errors(solved: list[_Solved]) -> np.ndarray:
    return np.sum([some.error for some in solved], axis=0)


def _measure_row_errors(
    X: np.ndarray,
    Y: np.ndarray,
    fold: np.ndarray,
    weight: np.ndarray | None,
    compute_views: ComputeViews,
    paths: list[list[RidgeFit]],
    scale: np.ndarray,
) -> np.ndarray:
    """Error, by regression and strength, on the differences between known outputs."""
    error = np.zeros((len(paths), len(ALPHAS)))
    for i, at, predicted in _predict_held_out(X, fold, compute_views, paths):
        target = Y[at]
        some = None if weight is None else weight[at]
        mass = weigh_outcomes(target, some)[:, :, None]
        known = mass > 0
        residual = predicted - target[:, :, None]
        residual = np.where(known, residual / scale[:, None], 0)
        # The level of a row is taken off: only differences are judged.
        residual = np.where(known, residual - _average_rows(residual, mass), 0)
        error[i] += (mass * residual**2).sum(axis=(0, 1))
    return error


def _keep_strengths(paths: list[RidgeFit], kept: np.ndarray) -> list[RidgeFit]:
    return [
        RidgeFit(np.ascontiguousarray(path.coef[:, :, kept]), path.intercept[:, kept])
        for path in paths
    ]


def _predict_out_of_fold(
    X: np.ndarray,
    fold: np.ndarray,
    compute_views: ComputeViews,
    fits: list[list[RidgeFit]],
) -> list[np.ndarray]:
    """Predictions of every row by the fits without its fold, by regression."""
    predictions = [np.empty((len(X), *path[0].intercept.shape)) for path in fits]
    for i, at, predicted in _predict_held_out(X, fold, compute_views, fits):
        predictions[i][at] = predicted
    return predictions


def _predict_held_out(
    X: np.ndarray,
    fold: np.ndarray,
    compute_views: ComputeViews,
    fits: list[list[RidgeFit]],
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Regression, rows of one fold, and their predictions without that fold."""
    for part in chunks(len(X)):
        for i, (Phi, path) in enumerate(zip(compute_views(X[part]), fits, strict=True)):
            for k, fit in enumerate(path[:-1]):
                at = np.flatnonzero(fold[part] == k)
                yield i, part.start + at, fit.predict(Phi[at])


def _average_rows(values: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Mean over the outputs of each row that have a mass; 0 where only one has.

    The error of a single output, less its own mean, would be zero for every strength.
    """
    single = (mass > 0).sum(axis=1, keepdims=True) <= 1
    total = np.where(single, 1.0, mass.sum(axis=1, keepdims=True))
    return np.where(single, 0.0, (mass * values).sum(axis=1, keepdims=True) / total)

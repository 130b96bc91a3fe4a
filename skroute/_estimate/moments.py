"""Moments: the sums that a ridge regression is solved from, and that new rows join.

A regression needs no rows, only their weighted sums and products. Rows that come later
are added, older ones fade by a factor, and a constant is added to all past targets of
an output without touching a row. Outputs that are known on the same rows, at the same
weights, share one matrix of products, which is most of what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from skroute._compute.cached import SavesFields

__all__ = ["Batch", "Moments"]


@dataclass(frozen=True)
class Batch:
    """New outcomes of one kind, (n_queries, n_models) each."""

    target: np.ndarray  # NaN where unknown
    weight: np.ndarray  # 0 where unknown; older outcomes of a model count less
    square: np.ndarray  # of the weight, as far as it is not for its age
    kept: np.ndarray  # what is kept of the sums of each model, (n_models,)

    @classmethod
    def fade(
        cls, target: np.ndarray, weight: np.ndarray | None, forget_after: float
    ) -> Batch:
        """Weigh outcomes by how many of the same model came later."""
        known = np.isfinite(target)
        if weight is not None:
            known &= weight > 0
        later = known[::-1].cumsum(axis=0)[::-1] - known
        own = known if weight is None else np.where(known, weight, 0.0)
        faded = np.exp(-later / forget_after) * own
        kept = np.exp(-known.sum(axis=0) / forget_after)
        return cls(np.where(known, target, np.nan), faded, faded * own, kept)

    @property
    def touched(self) -> np.ndarray:
        """Models with new outcomes, bool (n_models,)."""
        return np.logical_or.reduce(self.weight > 0, axis=0)


@dataclass(frozen=True)
class Moments(SavesFields):
    """Sums over the rows that the outputs of one regression were known on."""

    group: np.ndarray  # of the outputs that share rows, for each output, (n_outputs,)
    # Of each group: number of rows, which never fades, sum of their weights, and of the
    # squares of these.
    count: np.ndarray
    mass: np.ndarray
    squares: np.ndarray
    x: np.ndarray  # (n_groups, n_features)
    xx: np.ndarray  # upper triangles of the products, (n_groups, n_pairs)
    y: np.ndarray  # (n_outputs,)
    xy: np.ndarray  # (n_outputs, n_features)

    @classmethod
    def gather(cls, groups: list[np.ndarray], sums: list[Any]) -> Moments:
        """Gather the sums of groups of outputs, as a fit made them.

        The weights of a fit are such that their squares sum to what they sum to.
        """
        order = np.argsort(np.concatenate(groups))
        sizes = [len(outputs) for outputs in groups]
        n_features = len(sums[0].x)
        mass = np.array([some.n for some in sums], dtype=np.float64)
        return cls(
            np.repeat(np.arange(len(groups)), sizes)[order],
            np.array([some.n_rows for some in sums], dtype=np.int64),
            mass,
            mass.copy(),
            np.array([some.x for some in sums]),
            np.array([some.xx[_find_triangle(n_features)] for some in sums]),
            np.concatenate([some.y for some in sums])[order],
            np.concatenate([some.xy.T for some in sums])[order],
        )

    @classmethod
    def start(cls, n_features: int, n_outputs: int) -> Moments:
        """Make the moments of no rows."""
        n_pairs = n_features * (n_features + 1) // 2
        return cls(
            np.zeros(n_outputs, dtype=np.intp),
            np.zeros(1, dtype=np.int64),
            np.zeros(1),
            np.zeros(1),
            np.zeros((1, n_features)),
            np.zeros((1, n_pairs)),
            np.zeros(n_outputs),
            np.zeros((n_outputs, n_features)),
        )

    def __len__(self) -> int:
        return len(self.group)

    @property
    def means(self) -> np.ndarray:
        """Mean target of every output; 0 where none was known."""
        mass = self.masses
        return np.divide(self.y, mass, out=np.zeros_like(self.y), where=mass > 0)

    @property
    def masses(self) -> np.ndarray:
        """Sum of the weights of every output, older ones less, (n_outputs,)."""
        return self.mass[self.group]

    @property
    def counts(self) -> np.ndarray:
        """Number of rows on which each output was known."""
        return self.count[self.group]

    def add(self, Phi: np.ndarray, batch: Batch) -> Moments:
        """Add outcomes of queries with these features, (n_queries, n_features)."""
        weight, kept = batch.weight, batch.kept
        # What was one group is several where the outputs were known on other new rows.
        key = np.vstack([self.group, weight])
        _, first, group = np.unique(key, axis=1, return_index=True, return_inverse=True)
        # Outputs of a group have as many new outcomes, and keep as much of the old.
        was, kept_of = self.group[first], kept[first]
        count = self.count[was]
        mass, squares = self.mass[was] * kept_of, self.squares[was] * kept_of
        x, xx = self.x[was] * kept_of[:, None], self.xx[was] * kept_of[:, None]
        triangle = _find_triangle(Phi.shape[1])
        for g, output in enumerate(first):
            rows = np.flatnonzero(weight[:, output])
            if not len(rows):
                continue
            weighed = Phi[rows] * weight[rows, output][:, None]
            count[g] += len(rows)
            mass[g] += weight[rows, output].sum()
            squares[g] += batch.square[rows, output].sum()
            x[g] += weighed.sum(axis=0)
            xx[g] += (weighed.T @ Phi[rows])[triangle]
        target = weight * np.where(weight > 0, batch.target, 0.0)
        y = self.y * kept + target.sum(axis=0)
        xy = self.xy * kept[:, None] + target.T @ Phi
        return Moments(group.reshape(-1), count, mass, squares, x, xx, y, xy)

    def shift(self, by: np.ndarray) -> Moments:
        """Add a constant to all targets so far of each output, (n_outputs,)."""
        y = self.y + by * self.mass[self.group]
        return replace(self, y=y, xy=self.xy + by[:, None] * self.x[self.group])

    def scale(self, factor: np.ndarray) -> Moments:
        """Multiply all targets so far of each output, (n_outputs,)."""
        return replace(self, y=self.y * factor, xy=self.xy * factor[:, None])

    def join(self, other: Moments) -> Moments:
        """Put the outputs of another regression on the same features beside these."""
        group = np.append(self.group, other.group + len(self.count))
        return Moments(
            group,
            *(np.concatenate([getattr(self, n), getattr(other, n)]) for n in _SUMS),
        )

    def drop(self, output: int) -> Moments:
        """Leave an output out, and its group if no other is of it."""
        left = np.delete(self.group, output)
        kept, group = np.unique(left, return_inverse=True)
        return Moments(
            group.reshape(-1),
            *(getattr(self, name)[kept] for name in _BY_GROUP),
            *(np.delete(getattr(self, name), output, axis=0) for name in _BY_OUTPUT),
        )

    def solve(
        self,
        outputs: np.ndarray,
        strengths: np.ndarray,
        basis: np.ndarray | None = None,
        prior: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Solve a ridge for some outputs, each known on two rows at least.

        Coefficients (n_features, n_some, n_strengths) and intercepts (n_some,
        n_strengths), which are not penalised. What is penalised is the distance from
        `prior` (n_features, n_strengths), if given, under the map `basis`.
        """
        n_features = self.x.shape[1]
        coef = np.empty((n_features, len(outputs), len(strengths)))
        for g in np.unique(self.group[outputs]):
            where = np.flatnonzero(self.group[outputs] == g)
            own = outputs[where]
            mass = self.mass[g]
            x = self.x[g] / mass
            xx = _unfold(self.xx[g], n_features) - mass * np.outer(x, x)
            # (n_features, n_own, n_strengths): alike at all strengths, without a prior.
            xy = (self.xy[own] - np.outer(self.y[own], x)).T[:, :, None]
            if prior is not None:
                xy = xy - (xx @ prior)[:, None]
            xy = np.broadcast_to(xy, (*xy.shape[:2], len(strengths)))
            if basis is not None:
                xx = basis.T @ xx @ basis
            # Unevenly weighed rows count as fewer, which the penalty has to know.
            penalties = strengths * self.squares[g] / mass
            for s, penalty in enumerate(penalties):
                target = xy[:, :, s] if basis is None else basis.T @ xy[:, :, s]
                factor = cho_factor(
                    xx + penalty * np.eye(n_features),
                    overwrite_a=True,
                    check_finite=False,
                )
                found = cho_solve(factor, target, check_finite=False)
                coef[:, where, s] = found if basis is None else basis @ found
        if prior is not None:
            coef += prior[:, None]
        group = self.group[outputs]
        x = self.x[group] / self.mass[group][:, None]
        shift = np.einsum("of,fos->os", x, coef)
        return coef, self.means[outputs][:, None] - shift

    def describe(
        self, outputs: np.ndarray, coef: np.ndarray, intercept: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance, (n_some,), of what a regression says of the rows so far.

        Of coefficients (n_features, n_some) and intercepts (n_some,); 0 without rows.
        """
        mean, variance = np.zeros(len(outputs)), np.zeros(len(outputs))
        group = self.group[outputs]
        for g in np.unique(group[self.mass[group] > 0]):
            own = np.flatnonzero(group == g)
            x = self.x[g] / self.mass[g]
            xx = _unfold(self.xx[g], len(x)) / self.mass[g]
            slopes = coef[:, own]
            at = x @ slopes
            mean[own] = at + intercept[own]
            variance[own] = np.einsum("fo,fo->o", slopes, xx @ slopes) - at**2
        return mean, np.maximum(variance, 0.0)


# Fields of `Moments` behind the first, in their order.
_BY_GROUP = ("count", "mass", "squares", "x", "xx")
_BY_OUTPUT = ("y", "xy")
_SUMS = _BY_GROUP + _BY_OUTPUT


@cache
def _find_triangle(n_features: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(n_features)


def _unfold(triangle: np.ndarray, n_features: int) -> np.ndarray:
    """Make a symmetric matrix of its upper triangle."""
    full = np.zeros((n_features, n_features))
    full[_find_triangle(n_features)] = triangle
    return full + np.triu(full, 1).T

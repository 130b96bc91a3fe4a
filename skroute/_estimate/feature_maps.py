"""Views of a query: the scaled embedding, kernels, and profiles of clusters.

Regressions on different views of the same embedding err differently, and together
route better than the best of them. All views are spanned by centres of clusters, so
that nothing stored grows with the number of training queries.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.utils.extmath import randomized_svd

from skroute._compute.cached import SavesFields
from skroute._compute.chunks import chunks, multiply
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._estimate.distance_maps import DistanceMaps
from skroute._estimate.options import OPTIONS, Options
from skroute._estimate.trust import (
    EVERYWHERE,
    find_pull_factors,
    fit_trust_by_distance,
    trust_by_distance,
)
from skroute._table.duplicates import Duplicates

__all__ = ["KeepsBases", "QueryViews", "fit_views"]

# How softly a query belongs to clusters, as a part of their mean squared radius: almost
# only to the nearest one. Softer profiles would be like the kernels.
_SOFTNESS = 0.1
# Queries on which directions and centres are found, at most.
_N_SAMPLED = 8192
# Embeddings up to this width are taken as they are; wider ones are projected on fewer
# leading directions. A query is projected at the speed at which memory is read, and
# what lies beyond these directions has told no model from another.
_MAX_WIDTH = 512
_N_DIRECTIONS = 256
# Directions of wider ones are most of a file, and are rounded to half precision before
# anything is fitted on what they project.
_HALVED_BEYOND = 1024
_EPSILON = float(np.finfo(np.float64).eps)

Pulls = tuple[np.ndarray, ...]


class KeepsBases(SavesFields):
    """Base of views on which regressions are solved again and again."""

    @cached_property
    def in_double(self) -> tuple[Any, list[np.ndarray | None]]:
        """These views in double precision, and their bases."""
        own: Any = self
        views = own.cast_to(np.float64)
        return views, views.compute_bases()


@dataclass(frozen=True)
class QueryViews(KeepsBases):
    """What the regressions see of a query."""

    centre: np.ndarray  # mean of the training queries
    scale: float  # their root mean squared distance from it; infinite if that is 0
    # Leading directions of wide embeddings, (n_features, width). Queries are projected
    # on them in single precision, even if they are kept in half precision.
    basis: np.ndarray | None
    # Landmarks, then the centres of each profile, (n_centres, width): one product gives
    # the distances to all. Its type is the precision of all that is computed then.
    centres: np.ndarray
    sizes: tuple[int, ...]  # number of landmarks, and of centres of each profile
    gammas: tuple[float, ...]  # widths of the kernels on the landmarks
    softness: tuple[float, ...]  # how softly queries belong to clusters of each profile
    # Squared distances from the nearest landmark where trust begins to fall, and ends.
    limits: tuple[float, float] = EVERYWHERE

    @cached_property
    def _squares(self) -> np.ndarray:
        return (self.centres**2).sum(axis=1)

    @cached_property
    def _directions(self) -> np.ndarray:
        """Leading directions as rows, (width, n_features), of single precision."""
        basis: Any = self.basis
        # Older files hold them in single or double precision.
        precision = np.promote_types(basis.dtype, np.float32)
        return basis.T.astype(precision, order="C", copy=False)

    @cached_property
    def maps(self) -> DistanceMaps:
        """What is made of the distances of `measure_distances`."""
        n_landmarks, *profiles = self.sizes
        n_kernels = len(self.gammas)
        return DistanceMaps(
            (*[n_landmarks] * n_kernels, *profiles),
            (*self.gammas, *(1.0 / soft for soft in self.softness)),
            (*[False] * n_kernels, *[True] * len(profiles)),
        )

    @cached_property
    def _repeated(self) -> np.ndarray | None:
        """Centres in the order of `maps`, where landmarks have several kernels."""
        if len(self.gammas) == 1:
            return None
        landmarks, *profiles = self._parts
        parts = [landmarks] * len(self.gammas) + profiles
        return np.concatenate([np.arange(part.start, part.stop) for part in parts])

    @cached_property
    def _parts(self) -> list[slice]:
        """Where the landmarks, and those of each profile, are among the centres."""
        ends = itertools.accumulate(self.sizes, initial=0)
        return [slice(*pair) for pair in itertools.pairwise(ends)]

    @property
    def landmarks(self) -> np.ndarray:
        """Centres that span the kernels, (n_landmarks, width)."""
        return self.centres[self._parts[0]]

    def scale_queries(self, X: np.ndarray) -> np.ndarray:
        """Embeddings centred, and scaled to unit mean squared length."""
        # In double precision, so that nothing is lost far from the origin.
        scaled = X - self.centre
        scaled /= self.scale
        if self.basis is not None:
            scaled = scaled.astype(self._directions.dtype, copy=False)
            scaled = multiply(scaled, self._directions)
        return scaled.astype(self.centres.dtype, copy=False)

    def after_projection(self) -> QueryViews:
        """Return the views of queries that are scaled and projected already."""
        width = self.centres.shape[1]
        return replace(self, centre=np.zeros(width), scale=1.0, basis=None)

    def transform(
        self, scaled: np.ndarray, pulls: Pulls | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Trust (n_queries,) in what is known of scaled queries, and all their views.

        With `pulls`, profiles of training queries are what they would be, had the
        queries not been among the training queries.
        """
        distance = self.measure_distances(scaled)
        trust = self.judge_trust(distance)
        if pulls is not None:
            self._undo_pulls(distance, pulls)
        return trust, [scaled, *self.maps.apply(distance)]

    def measure_distances(self, scaled: np.ndarray) -> np.ndarray:
        """Squared distances of scaled queries from what `maps` has columns for."""
        distance = self._measure_to(scaled, slice(None))
        if self._repeated is None:
            return distance
        return distance.take(self._repeated, axis=1)

    def judge_trust(self, distance: np.ndarray) -> np.ndarray:
        """Trust (n_queries,) by squared distances, those to the landmarks first."""
        nearest = np.minimum.reduce(distance[:, self._parts[0]], axis=1)
        return trust_by_distance(nearest, self.limits)

    def take_first_view(self, scaled: np.ndarray) -> np.ndarray:
        """The view that is the scaled embedding itself, of scaled queries."""
        return scaled

    def compute_first_view(self, X: np.ndarray) -> list[np.ndarray]:
        """The view that is the scaled embedding itself, as a list of one."""
        return [self.scale_queries(X)]

    def measure_to_landmarks(self, X: np.ndarray) -> np.ndarray:
        """Squared distances (n_queries, n_landmarks) of embeddings from landmarks."""
        return self._measure_to(self.scale_queries(X), self._parts[0])

    def compute_bases(self) -> list[np.ndarray | None]:
        """Map of each view under which a ridge is one in the kernel's own space."""
        between = self._measure_to(self.landmarks, self._parts[0])
        kernels = [_invert_root(np.exp(-gamma * between)) for gamma in self.gammas]
        return [None, *kernels, *(None for _ in self.softness)]

    def cast_to(self, dtype: Any) -> QueryViews:
        """Return views that are computed in another floating-point type."""
        basis = self.basis
        if basis is not None and basis.dtype.itemsize > np.dtype(dtype).itemsize:
            basis = basis.astype(dtype)
        centres = self.centres.astype(dtype, copy=False)
        return replace(self, basis=basis, centres=centres)

    def _undo_pulls(self, distance: np.ndarray, pulls: Pulls) -> None:
        """Move the nearest centre of each profile as far as without the query."""
        rows = np.arange(len(distance))
        profiles = self.maps.segments[len(self.gammas) :]
        for part, pull in zip(profiles, pulls, strict=True):
            own = distance[:, part]
            nearest = own.argmin(axis=1)
            own[rows, nearest] *= pull[nearest]

    def _measure_to(self, scaled: np.ndarray, columns: slice) -> np.ndarray:
        """Squared distances to some of the centres."""
        distance = multiply(scaled, self.centres[columns])
        # In place: a chunk of distances is as large as anything here.
        distance *= -2.0
        distance += np.einsum("ij,ij->i", scaled, scaled)[:, None]
        distance += self._squares[columns]
        return np.maximum(distance, 0.0, out=distance)


@dataclass(frozen=True)
class TrainingViews:
    """What the regressions see of training queries, had they not been trained on.

    The callables turn some of the `rows`, a handle of the executor, into a list of
    views: all of them, or the scaled embedding alone.
    """

    rows: Any
    compute: Callable[[np.ndarray], list[np.ndarray]]
    compute_first: Callable[[np.ndarray], list[np.ndarray]]


def fit_views(
    X: Any,
    n_landmarks: int,
    rng: np.random.RandomState,
    duplicates: Duplicates,
    options: Options = OPTIONS,
    executor: Executor = IN_MEMORY,
) -> tuple[QueryViews, TrainingViews, Any]:
    """Learn from unlabelled queries what the regressions see of a query.

    Each prompt counts once. `rng` draws the sample, the landmarks and the profiles.
    Returns the views of any query, those of the training queries, and the trust
    (n_queries,) in them, had they not been trained on.
    """
    counted = np.flatnonzero(duplicates.counted)
    centre, scale, basis, sample, sampled = _fit_scaling(X, rng, counted, executor)
    every = len(sample) == len(counted)
    # Identical queries make one landmark.
    _, different = np.unique(duplicates.first[sampled], return_index=True)
    centres = [_find_landmarks(sample[different], n_landmarks, rng)]
    softness, pulls = [], []
    for n_clusters in options.profiles:
        if n_clusters >= len(centres[0]):
            continue
        found, soft, sizes = _find_profile(sample, n_clusters, rng)
        centres.append(found)
        softness.append(soft)
        # Queries outside of a sample have pulled no centre.
        pulls.append(find_pull_factors(sizes) if every else np.ones(n_clusters))
    views = QueryViews(
        centre,
        scale,
        basis,
        np.concatenate(centres),
        tuple(len(part) for part in centres),
        options.gammas,
        tuple(softness),
    )
    rows, seen = X, views
    if basis is not None:
        # Wide embeddings are projected once, and not in every pass over the rows.
        rows = executor.map(_scale_rows, executor.share(views), X)
        seen = views.after_projection()
    if len(views.landmarks) > 1 and options.trust:
        to_landmarks = executor.share(seen.measure_to_landmarks)
        limits, trust = fit_trust_by_distance(
            to_landmarks, rows, duplicates, every, executor
        )
        views = replace(views, limits=limits)
    else:
        trust = executor.split(np.ones(executor.count(X)), X)
    compute = partial(_compute_training_views, seen, tuple(pulls))
    return views, TrainingViews(rows, compute, seen.compute_first_view), trust


def _scale_rows(views: QueryViews, X: np.ndarray) -> np.ndarray:
    """Scale and project training queries; they are kept in single precision."""
    rows = np.empty((len(X), views.centres.shape[1]), dtype=np.float32)
    for part in chunks(len(X)):
        rows[part] = views.scale_queries(X[part])
    return rows


def _compute_training_views(
    views: QueryViews, pulls: Pulls, X: np.ndarray
) -> list[np.ndarray]:
    return views.transform(views.scale_queries(X), pulls)[1]


def _fit_scaling(
    X: Any, rng: np.random.RandomState, counted: np.ndarray, executor: Executor
) -> tuple[np.ndarray, float, np.ndarray | None, np.ndarray, np.ndarray]:
    """Learn centre, scale and directions; also some scaled queries, and which."""
    n_queries = executor.count(X)
    shown = None
    if len(counted) < n_queries:
        shown = executor.split(np.isin(np.arange(n_queries), counted), X)
    sampled = counted[rng.permutation(len(counted))[:_N_SAMPLED]]
    sample = executor.take(X, sampled)
    # A power of two as a unit keeps the squares of tiny and huge numbers, and changes
    # no digit of others.
    unit = float(np.ldexp(1.0, np.frexp(np.abs(sample).max())[1]))
    centre = executor.get(executor.total(_sum, X, shown)) / len(counted)
    total = executor.get(executor.total(_sum_of_squares, X, centre, unit, shown))
    mean_square = total / len(counted)
    rounding = float(np.sum((_EPSILON * centre / unit) ** 2))
    # Queries that do not differ, or by less than rounding can tell, are one.
    varied = mean_square > rounding
    scale = np.sqrt(mean_square) * unit if varied else np.inf
    if varied:
        # Sums over parts of a table differ in their last digits, and where queries are
        # equally far from two centres, those decide what k-means finds.
        size = np.frexp(scale)[1]
        scale, centre = _round(scale, size), _round(centre, size)
    basis: np.ndarray | None = None
    sample = (sample - centre) / scale
    if sample.shape[1] > _MAX_WIDTH:
        # Principal components, as they are kept: of single precision.
        _, _, directions = randomized_svd(
            sample.astype(np.float32),
            min(_N_DIRECTIONS, len(sample)),
            n_iter=4,
            random_state=rng.randint(2**31 - 1),
        )
        basis = directions.T
        if len(basis) > _HALVED_BEYOND:
            basis = basis.astype(np.float16)
        sample = sample @ basis.astype(np.float32, copy=False)
    return centre, float(scale), basis, sample, sampled


def _sum(X: np.ndarray, shown: np.ndarray | None) -> np.ndarray:
    """Sum of the queries that are shown."""
    where = True if shown is None else shown[:, None]
    total: np.ndarray = X.sum(axis=0, dtype=np.float64, where=where)
    return total


def _sum_of_squares(
    X: np.ndarray, centre: np.ndarray, unit: float, shown: np.ndarray | None
) -> float:
    """Sum of squared distances from the centre of the queries that are shown."""
    total = 0.0
    for part in chunks(len(X)):
        squares = ((X[part] - centre) / unit) ** 2
        total += float(squares.sum() if shown is None else squares[shown[part]].sum())
    return total


def _round(values: Any, size: int) -> Any:
    """Round numbers to single precision, as parts of two to the power of `size`."""
    return np.ldexp(np.rint(np.ldexp(values, 24 - size)), size - 24)


def _find_landmarks(
    sample: np.ndarray, n_landmarks: int, rng: np.random.RandomState
) -> np.ndarray:
    """Find centres of small clusters of the queries.

    Drawing queries instead routes a little worse, and budgets are missed: a training
    query that is its own landmark is estimated unlike any to come.
    """
    # Only fits need it, and it takes a service a tenth of its start.
    from sklearn.cluster import KMeans

    distinct = np.unique(sample, axis=0)
    if len(distinct) <= n_landmarks:
        return distinct
    clusters = KMeans(
        n_landmarks,
        init="random",
        n_init=1,
        max_iter=10,
        random_state=rng.randint(2**31 - 1),
    )
    return clusters.fit(distinct).cluster_centers_


def _find_profile(
    sample: np.ndarray, n_clusters: int, rng: np.random.RandomState
) -> tuple[np.ndarray, float, np.ndarray]:
    """Find centres of clusters, how softly queries belong to them, and their sizes."""
    from sklearn.cluster import KMeans

    clusters = KMeans(
        n_clusters,
        # Of a large sample one start finds centres as good as the best of three.
        n_init=int(np.clip(_N_SAMPLED // len(sample), 1, 3)),
        random_state=rng.randint(2**31 - 1),
    ).fit(sample)
    radius = float(clusters.inertia_ / len(sample))
    sizes = np.bincount(clusters.labels_, minlength=n_clusters)
    return clusters.cluster_centers_, max(_SOFTNESS * radius, _EPSILON), sizes


def _invert_root(kernel: np.ndarray) -> np.ndarray:
    """Map under which a ridge on landmarks is a ridge in the kernel's own space."""
    values, vectors = eigh(kernel)
    return vectors / np.sqrt(np.maximum(values, 1e-6))

"""Views of a query: the scaled embedding, two kernels, and profiles of clusters.

Regressions on different views of the same embedding err differently, and together
route better than the best of them. All views are spanned by centres of clusters, so
that nothing stored grows with the number of training queries.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from skroute._compute.chunks import chunks
from skroute._compute.executor import IN_MEMORY, Rows
from skroute._compute.products import multiply_row, multiply_vector
from skroute._table.duplicates import Duplicates

__all__ = ["QueryViews"]

# Widths of the two kernels, for embeddings scaled to unit mean squared distance from
# their centre: one about as wide as the cloud of queries, one narrower.
_GAMMAS = (1.0, 2.0)
# Clusters of the profiles: from tasks to topics.
_PROFILES = (8, 32, 128)
# How softly a query belongs to clusters, as a part of their mean squared radius: nearly
# all to the next one. Softer profiles are smoother kernels, of which there are two.
_SOFTNESS = 0.1
# Estimates are believed as far from the landmarks as so many of the training queries
# lie, and from the second on not at all.
_KNOWN = (0.9, 0.99)
# But at least to so many times the median (of squared distances): in a cloud of noise
# all queries are about equally far from everything, and the farthest no worse known.
_APART = (1.5, 2.0)
# Queries on which directions and centres are found, at most.
_N_SAMPLED = 8192
# Wider embeddings are projected on so many of their leading directions.
_MAX_WIDTH = 512
_EPSILON = float(np.finfo(np.float64).eps)


class QueryViews:
    """Learns from unlabelled queries what the regressions see of a query.

    Parameters
    ----------
    X : ndarray of shape (n_queries, n_features)
        Embeddings.
    n_landmarks : int
        Centres that span the kernels, at most.
    rng : RandomState
        Draws the sample, the landmarks and the profiles.
    duplicates : Duplicates
        Which queries are of one prompt: each prompt counts once.
    rows : Rows, default=IN_MEMORY
        Where the queries are. Elsewhere X and `trusted` are handles of columns.

    Attributes
    ----------
    landmarks : ndarray of shape (n_landmarks, width)
        Centres of small clusters of scaled queries.
    trusted : ndarray of shape (n_queries,)
        Trust in the training queries, had they not been among these.
    """

    _dtype: Any = np.float64

    def __init__(
        self,
        X: Any,
        n_landmarks: int,
        rng: np.random.RandomState,
        duplicates: Duplicates,
        rows: Rows = IN_MEMORY,
    ) -> None:
        counted = np.flatnonzero(duplicates.counted)
        sample, sampled = self._fit_scaling(X, rng, counted, rows)
        every = len(sample) == len(counted)
        # A block of identical queries is worth one landmark.
        _, different = np.unique(duplicates.first[sampled], return_index=True)
        centres = [_landmarks(sample[different], n_landmarks, rng)]
        # How softly queries belong to the clusters of each profile.
        self._softness: list[float] = []
        self._pulls: list[np.ndarray] = []
        for n_clusters in _PROFILES:
            if n_clusters >= len(centres[0]):
                continue
            found, softness, sizes = _profile(sample, n_clusters, rng)
            centres.append(found)
            self._softness.append(softness)
            # A query pulls the centre of its cluster: without it, it would lie farther
            # off by this factor (J. A. Hartigan, "Clustering Algorithms", 1975).
            pull = _pulls(sizes)
            self._pulls.append(pull if every else np.ones(n_clusters))
        # In one matrix: one product gives the distances to all of them.
        self._centres = np.concatenate(centres)
        self._squares = (self._centres**2).sum(axis=1)
        # Where those of the landmarks and of each profile are.
        ends = np.cumsum([len(part) for part in centres]).tolist()
        self._parts = [slice(*pair) for pair in itertools.pairwise([0, *ends])]
        self._roots = self._maps()
        self.trusted = self._known(X, every, duplicates, rows)

    def __len__(self) -> int:
        return 1 + len(_GAMMAS) + len(self._softness)

    @property
    def landmarks(self) -> np.ndarray:
        """Centres that span the kernels."""
        return self._centres[self._parts[0]]

    def scaled(self, X: np.ndarray) -> np.ndarray:
        """Embeddings centred, and scaled to unit mean squared length."""
        # In double precision, so that nothing is lost far from the origin.
        scaled = ((X - self._centre) / self._scale).astype(self._dtype, copy=False)
        if self._basis is None:
            return scaled
        multiply = multiply_row if len(scaled) == 1 else np.matmul
        return multiply(scaled, self._basis)

    def of(self, scaled: np.ndarray, view: int) -> np.ndarray:
        """Features of training queries to regress on, (n_queries, n_view_features).

        They are what they would be, had the query not been among the training queries.
        """
        if view == 0:
            return scaled
        if view <= len(_GAMMAS):
            distance = self._distances(scaled, self._parts[0])
            return np.exp(-_GAMMAS[view - 1] * distance)
        profile = view - 1 - len(_GAMMAS)
        distance = self._distances(scaled, self._parts[1 + profile])
        rows, own = np.arange(len(distance)), distance.argmin(axis=1)
        distance[rows, own] *= self._pulls[profile][own]
        return _memberships(distance, self._softness[profile])

    def basis(self, view: int) -> np.ndarray | None:
        """Map of a view's features under which a ridge is one in the kernel's space."""
        return self._roots[view - 1] if 0 < view <= len(_GAMMAS) else None

    def forget_maps(self) -> None:
        """Drop what only the training queries need."""
        self._roots, self._pulls, self.trusted = [], [], np.ones(0)

    def with_maps(self) -> QueryViews:
        """Return a copy that has them again, for further regressions."""
        views = copy(self)
        views._roots = self._maps()
        # These are new queries, which pulled no centre.
        views._pulls = [np.ones(part.stop - part.start) for part in self._parts[1:]]
        return views

    def in_precision(self, dtype: Any) -> QueryViews:
        """Return a copy that computes in another floating-point type."""
        views = copy(self)
        for name in ("_basis", "_centres", "_squares"):
            array = getattr(self, name)
            setattr(views, name, None if array is None else array.astype(dtype))
        views._dtype = dtype
        return views

    def _maps(self) -> list[np.ndarray]:
        between = self._distances(self.landmarks, self._parts[0])
        return [_inverse_root(np.exp(-gamma * between)) for gamma in _GAMMAS]

    def all_of(self, scaled: np.ndarray) -> tuple[np.ndarray, Iterator[np.ndarray]]:
        """Trust in what is known of the queries, and all their views."""
        distance = self._distances(scaled, slice(None))
        trust = self._trust_at(distance[:, self._parts[0]].min(axis=1))
        return trust, self._views_at(scaled, distance)

    def for_one(self) -> Callable[[np.ndarray], tuple[np.ndarray, list[np.ndarray]]]:
        """Make a function that is `all_of` for a single query, given as a vector."""
        landmarks = self._parts[0]
        sizes = [part.stop - part.start for part in self._parts[1:]]
        ends = np.cumsum([0, *sizes])
        starts = ends[:-1]
        profiles = [slice(*pair) for pair in itertools.pairwise(ends)]
        profile = np.repeat(np.arange(len(sizes)), sizes)
        softness = np.repeat(self._softness, sizes).astype(self._dtype)

        def seen(z: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
            distance = multiply_vector(self._centres, z)
            distance *= -2.0
            distance += z @ z
            distance += self._squares
            np.maximum(distance, 0.0, out=distance)
            near = distance[landmarks]
            trust = self._trust_at(np.minimum.reduce(near, keepdims=True))
            views = [z, *(np.exp(-gamma * near) for gamma in _GAMMAS)]
            if sizes:
                # All profiles in one go, as `_memberships` does one.
                belongs = distance[landmarks.stop :]
                belongs -= np.minimum.reduceat(belongs, starts)[profile]
                belongs /= -softness
                np.exp(belongs, out=belongs)
                belongs /= np.add.reduceat(belongs, starts)[profile]
                views += [belongs[part] for part in profiles]
            return trust, views

        return seen

    def trust(self, scaled: np.ndarray) -> np.ndarray:
        """How far the estimates of each query are to be believed, (n_queries,).

        Wholly (1) where most training queries lie, by their distance from the next
        landmark. Beyond nearly all of them (0) regressions only extrapolate, and no
        more is known of a model than its mean.
        """
        distance = self._distances(scaled, self._parts[0])
        return self._trust_at(distance.min(axis=1))

    def _trust_at(self, distance: np.ndarray) -> np.ndarray:
        near, far = self._reach
        beyond = (distance - near) / (far - near if far > near else _EPSILON)
        return 1.0 - np.minimum(np.maximum(beyond, 0.0), 1.0)

    def _known(self, X: Any, pulled: bool, duplicates: Duplicates, rows: Rows) -> Any:
        """Learn how far queries are known; returns the trust in the training queries.

        Their distances are what those of queries to come will be: one that `pulled` its
        landmark would lie farther off without it, and one that is a landmark itself is
        judged by the next. Duplicates of a prompt are the prompt itself, and make it no
        better known to other queries; only prompts of a block will be asked again.
        """
        self._reach = np.inf, np.inf
        if len(self.landmarks) < 2:
            return rows.split(np.ones(rows.count(X)), X)
        column = rows.map(QueryViews._nearest, rows.share(copy(self)), X, pulled)
        own, *rest = rows.gather(column).T
        different = duplicates.first == np.arange(len(own))
        if pulled:
            second, nearest = rest[0], rest[1].astype(int)
            size = np.bincount(nearest[different], minlength=nearest.max() + 1)[nearest]
            off = np.where(size > 1, own * _pulls(size), second)
            own = np.where(duplicates.block, own, np.minimum(off, second))
        median, *reach = np.quantile(own[different], (0.5, *_KNOWN))
        near, far = np.maximum(reach, median * np.array(_APART))
        self._reach = float(near), float(far)
        return rows.split(self._trust_at(own), X)

    def _nearest(self, X: np.ndarray, pulled: bool) -> np.ndarray:
        """Distance of the next landmark; if it `pulled`, also of another, and which."""
        found = np.empty((len(X), 3 if pulled else 1))
        for part in chunks(len(X)):
            from_all = self._distances(self.scaled(X[part]), self._parts[0])
            if pulled:
                found[part, 2] = from_all.argmin(axis=1)
                found[part, :2] = np.partition(from_all, 1, axis=1)[:, :2]
            else:
                found[part, 0] = from_all.min(axis=1)
        return found

    def _views_at(
        self, scaled: np.ndarray, distance: np.ndarray
    ) -> Iterator[np.ndarray]:
        yield scaled
        for gamma in _GAMMAS:
            yield np.exp(-gamma * distance[:, self._parts[0]])
        for part, softness in zip(self._parts[1:], self._softness, strict=True):
            yield _memberships(distance[:, part], softness)

    def _distances(self, scaled: np.ndarray, columns: slice) -> np.ndarray:
        """Squared distances to some of the centres."""
        if len(scaled) == 1:
            distance = multiply_vector(self._centres[columns], scaled[0])[None]
        else:
            distance = scaled @ self._centres[columns].T
        # In place: a chunk of distances is as large as anything here.
        distance *= -2.0
        distance += np.einsum("ij,ij->i", scaled, scaled)[:, None]
        distance += self._squares[columns]
        return np.maximum(distance, 0.0, out=distance)

    def _fit_scaling(
        self, X: Any, rng: np.random.RandomState, counted: np.ndarray, rows: Rows
    ) -> tuple[np.ndarray, np.ndarray]:
        """Learn centre and scale; returns some scaled queries, and which they are."""
        n_queries = rows.count(X)
        shown = None
        if len(counted) < n_queries:
            shown = rows.split(np.isin(np.arange(n_queries), counted), X)
        sampled = counted[rng.permutation(len(counted))[:_N_SAMPLED]]
        sample = rows.take(X, sampled)
        # A power of two as a unit keeps the squares of tiny and huge numbers, and
        # changes no digit of others.
        unit = float(np.ldexp(1.0, np.frexp(np.abs(sample).max())[1]))
        self._centre = rows.get(rows.total(_sum, X, shown)) / len(counted)
        total = rows.get(rows.total(_sum_of_squares, X, self._centre, unit, shown))
        mean_square = total / len(counted)
        rounding = float(np.sum((_EPSILON * self._centre / unit) ** 2))
        # Queries that do not differ, or by less than rounding can tell, are one.
        varied = mean_square > rounding
        self._scale = np.sqrt(mean_square) * unit if varied else np.inf
        if varied:
            # Sums over parts of a table differ in their last digits, and where queries
            # are equally far from two centres, those decide what k-means finds.
            size = np.frexp(self._scale)[1]
            self._scale = _rounded(self._scale, size)
            self._centre = _rounded(self._centre, size)
        self._basis: np.ndarray | None = None
        sample = self.scaled(sample)
        if sample.shape[1] > _MAX_WIDTH:
            # The time to solve a regression grows with the cube of the width.
            pca = PCA(
                min(_MAX_WIDTH, len(sample)),
                svd_solver="randomized",
                random_state=rng.randint(2**31 - 1),
            )
            self._basis = np.ascontiguousarray(pca.fit(sample).components_.T)
            sample = sample @ self._basis
        return sample, sampled


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


def _rounded(values: Any, size: int) -> Any:
    """Numbers to single precision, as parts of two to the power of `size`."""
    return np.ldexp(np.rint(np.ldexp(values, 24 - size)), size - 24)


def _landmarks(
    sample: np.ndarray, n_landmarks: int, rng: np.random.RandomState
) -> np.ndarray:
    """Centres of small clusters of the queries.

    Drawing queries instead routes a little worse, and budgets are missed: a training
    query that is its own landmark is estimated unlike any to come.
    """
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


def _profile(
    sample: np.ndarray, n_clusters: int, rng: np.random.RandomState
) -> tuple[np.ndarray, float, np.ndarray]:
    """Centres of clusters, how softly queries belong to them, and their sizes."""
    clusters = KMeans(
        n_clusters,
        # Of a large sample one start finds centres as good as the best of three.
        n_init=int(np.clip(_N_SAMPLED // len(sample), 1, 3)),
        random_state=rng.randint(2**31 - 1),
    ).fit(sample)
    radius = float(clusters.inertia_ / len(sample))
    sizes = np.bincount(clusters.labels_, minlength=n_clusters)
    return clusters.cluster_centers_, max(_SOFTNESS * radius, _EPSILON), sizes


def _pulls(sizes: np.ndarray) -> np.ndarray:
    """By how much farther from its centre a query would lie, had it not pulled it."""
    return (sizes / np.maximum(sizes - 1, 1)) ** 2


def _memberships(distance: np.ndarray, softness: float) -> np.ndarray:
    """How much queries belong to clusters at these distances; overwrites them."""
    distance -= np.minimum.reduce(distance, axis=1, keepdims=True)
    distance /= -softness
    belongs = np.exp(distance, out=distance)
    belongs /= np.add.reduce(belongs, axis=1, keepdims=True)
    return belongs


def _inverse_root(kernel: np.ndarray) -> np.ndarray:
    """Map under which a ridge on landmarks is a ridge in the kernel's own space."""
    values, vectors = eigh(kernel)
    return vectors / np.sqrt(np.maximum(values, 1e-6))

"""Kernels and profiles are what they are defined as, one by one or all at once."""

from __future__ import annotations

import numpy as np
import pytest

from skroute._estimate.distance_maps import DistanceMaps

KERNELS = DistanceMaps((3,), (0.5,), (False,))
PROFILES = DistanceMaps((4, 2), (1.5, 20.0), (True, True))


def make_distances(n_columns: int, dtype: type = np.float64) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 4, size=(7, n_columns)).astype(dtype)


def define(maps: DistanceMaps, distance: np.ndarray) -> list[np.ndarray]:
    """One view after the other, as kernels and soft assignments are written down."""
    views = []
    for part, rate, is_profile in zip(
        maps.segments, maps.rates, maps.is_profile, strict=True
    ):
        view = np.exp(-rate * distance[:, part])
        if is_profile:
            view /= view.sum(axis=1, keepdims=True)
        views.append(view)
    return views


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "maps",
    [
        KERNELS,
        PROFILES,
        KERNELS + PROFILES,
        KERNELS + KERNELS + PROFILES,
        KERNELS + PROFILES + KERNELS + PROFILES,
        PROFILES + KERNELS,
    ],
)
def test_all_at_once_are_as_defined(maps: DistanceMaps, dtype: type) -> None:
    distance = make_distances(sum(maps.sizes), dtype)
    expected = define(maps, distance.astype(np.float64))
    for alone in ([0], slice(None)):
        views = maps.apply(distance[alone].copy())
        assert len(views) == len(maps.sizes)
        for view, wanted in zip(views, expected, strict=True):
            assert view.dtype == dtype
            np.testing.assert_allclose(view, wanted[alone], rtol=1e-5, atol=1e-12)


def test_far_queries_belong_to_the_nearest_cluster() -> None:
    # Of such distances alone, all exponentials vanish.
    views = PROFILES.apply(1e6 + make_distances(6))
    for view in views:
        np.testing.assert_allclose(view.sum(axis=1), 1.0)

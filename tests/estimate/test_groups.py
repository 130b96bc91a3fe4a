"""Groups of regressions: each is weighed by itself, and they are averaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skroute._estimate.stacking import find_weights

MEANS = np.array([0.4, 0.5, 0.6])


def estimates(seed: int, n_regressions: int = 4) -> tuple[list[np.ndarray], np.ndarray]:
    """Regressions of two strengths each, which err apart, and outcomes with holes."""
    rng = np.random.default_rng(seed)
    signal = 0.2 * rng.normal(size=(200, 1, 1)) + 0.2 * rng.normal(size=(200, 3, 1))
    found = [
        MEANS[:, None] + signal + 0.2 * rng.normal(size=(200, 3, 2))
        for _ in range(n_regressions)
    ]
    quality = MEANS + signal[..., 0] + 0.3 * rng.normal(size=(200, 3))
    quality[rng.random(quality.shape) < 0.2] = np.nan
    return found, quality


def combine(found: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    deviation = np.concatenate(found, axis=2) - MEANS[:, None]
    level = deviation.mean(axis=1, keepdims=True)
    return MEANS + level @ weights[0] + (deviation - level) @ weights[1]


@pytest.mark.parametrize("groups", [None, (4,)])
def test_one_group_is_one_stack(groups) -> None:
    found, quality = estimates(0)
    expected = find_weights(found, quality, MEANS)
    np.testing.assert_array_equal(
        find_weights(found, quality, MEANS, groups=groups), expected
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_a_group_that_comes_twice_changes_no_estimate(seed) -> None:
    found, quality = estimates(seed)
    alone = find_weights(found, quality, MEANS)
    twice = find_weights([*found, *found], quality, MEANS, groups=(4, 4))
    assert (twice >= 0).all()
    np.testing.assert_allclose(
        combine([*found, *found], twice), combine(found, alone), atol=1e-9
    )


def test_a_group_of_noise_changes_little() -> None:
    found, quality = estimates(1)
    rng = np.random.default_rng(2)
    noise = [MEANS[:, None] + rng.normal(size=found[0].shape) for _ in range(3)]
    groups = (3, 4)
    weights = find_weights([*noise, *found], quality, MEANS, groups=groups)
    alone = find_weights(found, quality, MEANS)
    # The group of noise leaves the other nearly all that it has alone.
    np.testing.assert_allclose(weights[:, 6:], alone, atol=0.05 * alone.max())
    # The order of the groups is of no matter.
    turned = find_weights([*found, *noise], quality, MEANS, groups=groups[::-1])
    np.testing.assert_allclose(turned[:, :8], weights[:, 6:], atol=1e-9)


def test_groups_that_tell_nothing_leave_the_means() -> None:
    found = [np.tile(MEANS[:, None], (50, 1, 2))] * 2
    quality = np.random.default_rng(0).random((50, 3))
    weights = find_weights(found, quality, MEANS, groups=(1, 1))
    np.testing.assert_array_equal(weights, np.zeros((2, 4)))

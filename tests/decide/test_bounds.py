"""Bounds by betting: valid for any distribution in the range, and not too wide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skroute._decide.bounds import find_last, is_mean_above_zero

VALUES = st.lists(st.floats(-1, 1), min_size=1, max_size=60).map(np.array)


def bet_by_hand(values, low, confidence):
    """The largest capital, value by value."""
    capital, most, squares = 1.0, 0.0, low**2 / 4
    for n, value in enumerate(values):
        mean = squares / (n + 1)
        stake = np.sqrt(2 * np.log(1 / (1 - confidence)) / (len(values) * mean))
        capital *= 1 + min(stake, 0.5 / -low) * value
        most = max(most, capital)
        squares += value**2
    return most


@settings(deadline=None)
@given(VALUES, st.floats(0.5, 0.99))
def test_it_is_the_bet_that_is_described(values, confidence):
    most = bet_by_hand(values, -1.0, confidence)
    if abs(most * (1 - confidence) - 1) > 1e-9:
        proven = is_mean_above_zero(values, -1.0, confidence)
        assert proven == (most >= 1 / (1 - confidence))


@pytest.mark.parametrize("n_values", [511, 512, 513, 1500])
def test_long_samples_are_bet_on_in_parts(n_values):
    values = np.random.default_rng(n_values).uniform(-1, 1, n_values)
    for shift in np.linspace(0, 0.2, 9):
        most = bet_by_hand(values + shift, -1.0, 0.9)
        assert is_mean_above_zero(values + shift, -1.0, 0.9) == (most >= 10)


@settings(deadline=None)
@given(VALUES, st.floats(1e-6, 1e6))
def test_the_unit_does_not_matter(values, unit):
    powers = 2.0 ** np.round(np.log2(unit))
    assert is_mean_above_zero(values, -1.0, 0.9) == is_mean_above_zero(
        values * powers, -powers, 0.9
    )


@settings(deadline=None)
@given(VALUES)
def test_nothing_is_proven_by_values_below_0(values):
    assert not is_mean_above_zero(-np.abs(values), -1.0, 0.5)


@settings(deadline=None)
@given(VALUES)
def test_nothing_needs_proof_where_no_value_can_be_below_0(values):
    assert is_mean_above_zero(values, 0.0, 0.99)


def test_no_values_prove_nothing():
    assert not is_mean_above_zero(np.empty(0), -1.0, 0.5)


#: Distributions of mean 0 (values, chances): even, of paired differences that are
#: mostly 0, and skewed to either side, where a normal bound fails.
NULLS = {
    "even": ([-1.0, 1.0], [0.5, 0.5]),
    "paired": ([-0.95, 0.0, 0.05, 1.0], [0.08, 0.15, 0.72, 0.05 * 0.8]),
    "rare losses": ([-1.0, 0.01], [0.01 / 1.01, 1 / 1.01]),
    "rare gains": ([-0.01, 1.0], [1 / 1.01, 0.01 / 1.01]),
}


@pytest.mark.parametrize("name", NULLS)
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_a_mean_of_0_is_proven_as_rarely_as_promised(name, confidence):
    values, chance = map(np.array, NULLS[name])
    chance = chance / chance.sum()
    values = values - values @ chance
    rng, n_draws, doubt = np.random.default_rng(0), 1000, 1 - confidence
    drawn = rng.choice(values, (n_draws, 300), p=chance)
    proven = sum(is_mean_above_zero(row, values.min(), confidence) for row in drawn)
    assert proven <= n_draws * doubt + 2 * np.sqrt(n_draws * doubt * confidence)


def test_it_proves_nearly_what_a_normal_bound_would():
    rng, proven = np.random.default_rng(0), 0
    for _ in range(200):
        values = rng.choice([-1.0, 0.0, 1.0], 1000, p=[0.05, 0.85, 0.10])
        proven += is_mean_above_zero(values, -1.0, 0.9)
    # The mean is at 4.1 standard errors.
    assert proven >= 190


@settings(deadline=None)
@given(st.floats(0.01, 0.99))
def test_the_last_that_holds_is_found(limit):
    assert find_last(lambda x: x <= limit, 0.0, 1.0) == pytest.approx(limit, abs=1e-5)
    assert find_last(lambda x: x <= limit, 0.0, 1.0) <= limit
    assert find_last(lambda x: x >= limit, 1.0, 0.0) >= limit

"""How much of an oracle's lead is luck."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skroute.datasets import make_routing
from skroute.metrics import oracle_curve, oracle_luck


def draw(n_queries=4000, n_answers=1, seed=0):
    """Answers to prompts whose chances are known."""
    data = make_routing(n_queries, n_models=6, random_state=seed)
    chance = np.repeat(data.expected_quality, n_answers, axis=0)
    y = np.random.default_rng(seed).random(chance.shape) < chance
    luck = y.max(axis=1).mean() - chance.max(axis=1).mean()
    return y.astype(float), np.repeat(np.arange(n_queries), n_answers), chance, luck


@pytest.mark.parametrize("n_answers", [2, 5])
def test_the_luck_lies_between_the_bounds(n_answers):
    y, groups, chance, luck = draw(n_answers=n_answers)
    found = oracle_luck(y, groups=groups)
    assert found.low - 0.01 < luck < found.high + 0.01
    assert found.n_repeated == found.n_queries == len(y)
    # What a router knows of the chances, it can only sharpen.
    knowing = oracle_luck(y, groups=groups, quality=chance)
    assert knowing.high == pytest.approx(luck, abs=0.015)
    assert knowing.high <= found.high


def test_more_answers_tell_more():
    spread = []
    for n_answers in (1, 2, 8):
        y, groups, *_ = draw(n_answers=n_answers)
        found = oracle_luck(y, groups=groups)
        spread.append(found.high - found.low)
    assert spread[0] > spread[1] > spread[2]


def test_one_answer_leaves_the_luck_open():
    y, _, chance, luck = draw()
    found = oracle_luck(y)
    assert (found.low, found.high) == (0.0, found.lead)
    assert found.n_repeated == 0
    lead = oracle_curve(y, np.ones(6)).quality.max() - y.mean(axis=0).max()
    assert found.lead == pytest.approx(lead)
    knowing = oracle_luck(y, quality=chance)
    assert knowing.low == 0.0
    assert luck - 0.015 < knowing.high < found.high
    # Estimates that are worse than the best single model bound nothing.
    assert oracle_luck(y, quality=-chance).high == found.high


def test_answers_without_noise_have_no_luck():
    y, groups, *_ = draw(500, 3)
    y = y[::3].repeat(3, axis=0)
    found = oracle_luck(y, groups=groups)
    assert (found.low, found.high) == (0.0, 0.0)
    assert found.lead > 0.1
    assert "of which between 0 and 0 is luck" in str(found)


def test_queries_with_holes_are_left_out_and_weights_repeat():
    y, groups, chance, _ = draw(300, 2)
    weight = np.random.default_rng(1).integers(0, 3, 600).astype(float)
    holes = y.copy()
    holes[weight == 0, 1] = np.nan
    rest = weight > 0
    found = oracle_luck(holes, groups=groups, quality=chance, sample_weight=weight)
    expected = oracle_luck(
        y[rest], groups=groups[rest], quality=chance[rest], sample_weight=weight[rest]
    )
    assert found == expected


@settings(max_examples=50, deadline=None)
@given(
    arrays(float, (12, 3), elements=st.floats(-5, 5, width=16)),
    arrays(int, 12, elements=st.integers(0, 5)),
)
def test_bounds_are_in_order(y, groups):
    groups = np.r_[0, 1, groups[2:]]
    found = oracle_luck(y, groups=groups, quality=y[::-1])
    assert 0 <= found.low <= found.high <= found.lead
    assert 0 <= found.most_share <= 1


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"groups": [0]}, "groups must hold one label for each query"),
        ({"quality": np.zeros((4, 2))}, "quality must have the shape of y"),
        ({"sample_weight": np.zeros(4)}, "sample_weight must be above 0"),
    ],
)
def test_bad_input_is_named(keywords, message):
    with pytest.raises(ValueError, match=message):
        oracle_luck(np.eye(4)[:, :3], **keywords)

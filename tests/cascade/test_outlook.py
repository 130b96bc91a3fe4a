"""Looking ahead is worth what the best plan is worth, found by trying all of them."""

import numpy as np
import pytest

from skroute._cascade.evidence import to_log_odds
from skroute._cascade.outlook import Outlook


def make_outlook(rng, n_models, share=1.0):
    """Draw what checks may add to right answers, and to wrong ones."""
    step = rng.normal([1.5] * 4 + [-1.5] * 4, 1.0, size=(n_models, 8))
    return Outlook(step, share)


def plan(belief, chance, charge, left, value, n_calls):
    """Worth of the best plan with an answer in hand, by trying all of them."""
    best = value
    for model in left if n_calls else ():
        others = [m for m in left if m != model]
        after = sum(
            p * plan(belief, chance, charge, others, max(value, b), n_calls - 1)
            for b, p in zip(belief[model], chance[model], strict=True)
        )
        best = max(best, after - charge[model])
    return best


def plan_first(outlook, quality, charge, n_calls):
    """Worth of each first call, followed by the best plan."""
    n_models = len(quality)
    belief, chance = outlook.foresee(to_log_odds(quality)[None], np.arange(n_models))
    belief, chance = belief[0], chance[0]
    return [
        sum(
            p
            * plan(
                *(belief, chance, charge),
                *([m for m in range(n_models) if m != model], b, n_calls - 1),
            )
            for b, p in zip(belief[model], chance[model], strict=True)
        )
        - charge[model]
        for model in range(n_models)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_a_first_call_is_worth_the_best_plan_that_may_follow(seed):
    rng = np.random.default_rng(seed)
    outlook = make_outlook(rng, 3)
    quality = rng.uniform(0.2, 0.9, 3)
    charge = rng.choice([0.001, 0.02, 0.1, 0.3], 3)
    allowed = np.ones((1, 3), dtype=bool)
    for n_calls in (2, 3):
        worth = outlook.look_ahead(quality[None], charge[None], allowed, n_calls)[0]
        expected = plan_first(outlook, quality, charge, n_calls)
        # Never less than without looking.
        expected = np.maximum(expected, quality - charge)
        if n_calls == 3:
            np.testing.assert_allclose(worth, expected, atol=1e-9)
        else:
            # Which one may follow depends on what the first has given; here it is one.
            assert (worth <= expected + 1e-9).all()


def test_what_may_not_be_called_does_not_follow():
    rng = np.random.default_rng(0)
    outlook = make_outlook(rng, 3)
    quality, charge = np.array([[0.4, 0.6, 0.9]]), np.array([[0.001, 0.01, 0.05]])
    allowed = np.array([[True, True, False]])
    worth = outlook.look_ahead(quality, charge, allowed, 3)[0]
    two = Outlook(outlook.step[:2])
    expected = plan_first(two, quality[0, :2], charge[0, :2], 2)
    expected = np.maximum(expected, (quality - charge)[0, :2])
    np.testing.assert_allclose(worth[:2], expected, atol=1e-9)
    assert worth[2] == -np.inf


def test_without_a_gain_to_come_a_first_call_is_plain_routing():
    rng = np.random.default_rng(1)
    quality, charge = rng.random((50, 4)), rng.random((50, 4))
    allowed = rng.random((50, 4)) < 0.8
    plain = np.where(allowed, quality - charge, -np.inf)
    blind = Outlook(rng.normal(size=(4, 8)), share=0.0)
    np.testing.assert_array_equal(blind.look_ahead(quality, charge, allowed, 3), plain)


def test_only_what_may_follow_counts():
    rng = np.random.default_rng(2)
    outlook = make_outlook(rng, 3)
    quality, charge = rng.uniform(0.3, 0.9, 3), np.array([0.01, 0.02, 0.05])
    allowed, rows = np.ones((1, 3), dtype=bool), (quality[None], charge[None])
    free = outlook.look_ahead(*rows, allowed, 3)[0]
    for follows in (np.ones((3, 3)), np.eye(3), np.tri(3)):
        worth = outlook.look_ahead(*rows, allowed, 3, follows[None] > 0)[0]
        for model in range(3):
            left = np.flatnonzero((follows[model] > 0) | (np.arange(3) == model))
            some = plan_first(
                Outlook(outlook.step[left]), quality[left], charge[left], len(left)
            )
            expected = some[list(left).index(model)]
            expected = max(expected, quality[model] - charge[model])
            assert worth[model] == pytest.approx(expected, abs=1e-9)
        assert (worth <= free + 1e-12).all()


@pytest.mark.parametrize("seed", range(4))
def test_at_its_reach_a_model_gains_what_it_is_charged(seed):
    rng = np.random.default_rng(seed)
    outlook = make_outlook(rng, 5)
    prior, models = rng.normal(size=(30, 5)), np.tile(np.arange(5), (30, 1))
    charge = rng.uniform(0.001, 0.4, size=(30, 5))
    reach = outlook.find_reach(prior, models, charge)
    for model in range(5):
        at = reach[:, model]
        gain = outlook.gain(at, prior, models)[:, model]
        np.testing.assert_allclose(gain, charge[:, model], atol=1e-9)

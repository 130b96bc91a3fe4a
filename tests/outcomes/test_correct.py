"""Judges that err: means that are right, orders that are kept, labels that stand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skroute import RankingRouter
from skroute.datasets import read_routerbench
from skroute.outcomes import correct

N, MODELS = 600, ["small", "medium", "large"]


def draw(seed=0, n_gold=100, noise=0.2):
    """A biased and noisy judge of three models, and gold on some rows."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(size=(N, 3)) * [0.6, 0.8, 1.0]
    slope, bias = [0.5, 0.4, 0.6], [0.5, 0.1, 0.0]
    judge = bias + slope * truth + rng.normal(0, noise, (N, 3))
    gold = np.full((N, 3), np.nan)
    rows = rng.permutation(N)[:n_gold]
    gold[rows] = truth[rows]
    return truth, judge, gold


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 100),
    order=st.permutations(range(3)),
    scale=st.floats(0.01, 100.0),
    shift=st.floats(-10.0, 10.0),
)
def test_invariants(seed, order, scale, shift):
    _, judge, gold = draw(seed)
    quality, summary = correct(judge, gold, return_summary=True)
    known = np.isfinite(gold)
    # Gold stands, and the order within a model is the judge's.
    np.testing.assert_array_equal(quality[known], gold[known])
    for m in range(3):
        rest = ~known[:, m]
        np.testing.assert_array_equal(
            quality[rest, m].argsort(), judge[rest, m].argsort()
        )
    # The mean is the judge's, corrected by what gold says of it on its rows.
    lead = np.nanmean(gold - summary.slope * judge, axis=0)
    expected = summary.slope * judge.mean(axis=0) + lead
    np.testing.assert_allclose(quality.mean(axis=0), expected)
    np.testing.assert_allclose(summary.mean, expected)
    # Neither the order of the models nor the unit of the judge matters.
    np.testing.assert_allclose(
        correct(judge[:, order], gold[:, order]), quality[:, order]
    )
    np.testing.assert_allclose(correct(judge * scale + shift, gold), quality)
    rows = np.random.default_rng(seed).permutation(N)
    np.testing.assert_allclose(correct(judge[rows], gold[rows]), quality[rows])


def test_means_are_unbiased_and_surer_than_gold_alone():
    away, alone, promised = [], [], []
    for seed in range(200):
        truth, judge, gold = draw(seed, n_gold=60, noise=0.05)
        _, summary = correct(judge, gold, return_summary=True)
        # The mean of all queries of this kind.
        expected = np.array([0.3, 0.4, 0.5])
        away.append(summary.mean - expected)
        alone.append(summary.gold_mean - expected)
        promised.append(summary.error)
        assert (summary.error < summary.gold_error).all()
        assert (np.abs(truth.mean(axis=0) - judge.mean(axis=0)) > 0.1).any()
    spread = np.std(away, axis=0)
    assert (np.abs(np.mean(away, axis=0)) < 3 * spread / np.sqrt(200)).all()
    assert (spread < 0.8 * np.std(alone, axis=0)).all()
    np.testing.assert_allclose(np.mean(promised, axis=0), spread, rtol=0.2)


def test_a_judge_that_knows_nothing_does_not_hurt():
    truth, _, gold = draw(0)
    judge = np.random.default_rng(9).uniform(size=truth.shape)
    quality, summary = correct(judge, gold, return_summary=True)
    assert (np.abs(summary.slope) < 0.2).all()
    np.testing.assert_allclose(
        quality.mean(axis=0), np.nanmean(gold, axis=0), atol=0.02
    )
    # A judge that says always the same.
    quality = correct(np.full_like(truth, 0.7), gold)
    np.testing.assert_allclose(quality.mean(axis=0), np.nanmean(gold, axis=0))


def test_a_judge_that_is_right_is_left_alone():
    truth, _, gold = draw(0)
    np.testing.assert_allclose(correct(truth, gold), truth)
    np.testing.assert_array_equal(correct(truth * 0.5, truth), truth)


def test_slopes_of_models_are_shared_as_far_as_noise_explains():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(N, 8))
    gold = np.where(np.arange(N)[:, None] < 12, truth, np.nan)
    same = 0.5 * truth + rng.normal(0, 0.15, truth.shape)
    _, summary = correct(same, gold, return_summary=True)
    each = [np.polyfit(same[:12, m], truth[:12, m], 1)[0] for m in range(8)]
    assert np.ptp(summary.slope) < 0.5 * np.ptp(each)
    # Slopes that clearly differ are kept.
    apart = truth * np.linspace(0.2, 1.0, 8) + rng.normal(0, 0.005, truth.shape)
    _, summary = correct(apart, gold, return_summary=True)
    np.testing.assert_allclose(summary.slope, 1 / np.linspace(0.2, 1.0, 8), rtol=0.1)


def test_names_kinds_and_holes():
    _, judge, gold = draw(1)
    judge[::7, 1] = np.nan
    quality = correct(judge, gold)
    unknown = np.isnan(judge) & np.isnan(gold)
    np.testing.assert_array_equal(np.isnan(quality), unknown)
    assert unknown.any()
    index = [f"q{i}" for i in range(N)]
    named = pd.DataFrame(judge, columns=MODELS, index=index)
    turned = pd.DataFrame(gold, columns=MODELS, index=index)[MODELS[::-1]]
    found = correct(named, turned)
    pd.testing.assert_frame_equal(
        found, pd.DataFrame(quality, columns=MODELS, index=index)
    )
    polar = correct(pl.DataFrame(judge, schema=MODELS), pl.from_pandas(turned))
    assert polar.columns == MODELS
    np.testing.assert_allclose(polar.to_numpy(), quality)
    assert isinstance(correct(judge, turned), np.ndarray)


def test_the_summary_is_written_out():
    _, judge, gold = draw(2)
    frame = pd.DataFrame(judge, columns=MODELS)
    _, summary = correct(frame, gold, return_summary=True)
    lines = str(summary).splitlines()
    assert [line.split()[0] for line in lines[1:]] == MODELS
    assert f"{summary.mean[0]:.3f} +- {summary.error[0]:.3f}" in lines[1]
    assert summary.n_gold.tolist() == [100, 100, 100]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda j, g: (j, g[:, :2]), r"shape of judge.*\(600, 3\); got \(600, 2\)"),
        (lambda j, g: (j, g * np.nan), r"at least 10 rows .*model_0 \(0\), model_1"),
        (lambda j, g: (j, np.where(np.arange(N)[:, None] < 9, g, np.nan)), r"_0 \(9\)"),
        (lambda j, g: (np.where(j > 0.9, np.inf, j), g), "judge contains infinity"),
        (lambda j, g: (j, None), "gold"),
        (
            lambda j, g: (pd.DataFrame(j, columns=MODELS), pd.DataFrame(g)),
            "gold must name the same models",
        ),
    ],
)
def test_bad_tables_are_named(change, message):
    truth, judge, _ = draw(3)
    with pytest.raises(ValueError, match=message):
        correct(*change(judge, truth))


@pytest.mark.slow
def test_routers_on_corrected_scores_decide_better(shared_data):
    table = read_routerbench(
        shared_data / "paretobandit.csv.gz",
        embeddings=shared_data / "paretobandit_minilm.npy",
    )
    known = np.isfinite(table.quality).all(axis=1)
    X, y = table.data[known], table.quality[known]
    half = len(X) // 2
    rng = np.random.default_rng(0)
    n_models = y.shape[1]
    # It likes the worst model.
    bias = -0.4 * np.argsort(np.argsort(y.mean(axis=0))) / n_models
    judge = bias + 0.5 * y[:half] + rng.normal(0, 0.1, (half, n_models))
    gold = np.full_like(judge, np.nan)
    rows = rng.permutation(half)[:100]
    gold[rows] = y[rows]
    reached = {}
    for name, quality in {"judge": judge, "corrected": correct(judge, gold)}.items():
        router = RankingRouter(np.ones(n_models), n_estimators=0, random_state=0)
        choice = router.fit(X[:half], quality).predict(X[half:])
        reached[name] = y[half:][np.arange(len(choice)), choice].mean()
    assert reached["corrected"] > reached["judge"] + 0.02

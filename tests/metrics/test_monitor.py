"""The monitor of a deployed router: what it counts, and when it warns."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
import threading
from dataclasses import asdict
from itertools import pairwise

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skroute import BudgetDecider, PointwiseRouter
from skroute.datasets import load_digits_pool, make_routing
from skroute.metrics import CollapseMonitor
from skroute.text import TextRouter

quick = settings(max_examples=50, deadline=None)

MODELS = ["small", "medium", "large"]
PRICES = [1.0, 2.0, 10.0]
LOGGER = "skroute.metrics.monitor"
QUICK = {"window": 100, "min_queries": 20, "check_every": 10}


def monitor(**options):
    return CollapseMonitor(MODELS, PRICES, **{**QUICK, **options})


def repeated(**calls):
    return [name for name, times in calls.items() for _ in range(times)]


def warned(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == LOGGER and record.levelno == logging.WARNING
    ]


def same(a, b):
    a, b = asdict(a), asdict(b)
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


# What it counts


def test_numbers_by_hand():
    seen = monitor().update(["small", "small", "large", "medium"]).summary()
    assert seen.n_queries == seen.n_window == 4
    assert seen.calls.tolist() == [2, 1, 1]
    assert seen.call_share.tolist() == [0.5, 0.25, 0.25]
    # 1/2 ln 2 + 2 * 1/4 ln 4 = 3/2 ln 2, of at most ln 3.
    assert seen.entropy == pytest.approx(1.5 * np.log(2) / np.log(3))
    assert seen.effective_models == pytest.approx(2**1.5)
    assert seen.strongest == ("large",)
    assert seen.strongest_share == 0.25
    assert seen.mean_cost == 14 / 4
    assert seen.total_cost == 14
    assert np.isnan(seen.drift)


def test_realised_costs_stand_before_prices():
    seen = monitor().update(["small", "large"], costs=[0.5, 4.0])
    assert seen.summary().total_cost == 4.5
    assert seen.update(["large"]).summary().total_cost == 14.5


def test_the_window_forgets_and_the_totals_do_not():
    seen = monitor(window=3).update(repeated(large=5, small=3)).summary()
    assert seen.call_share.tolist() == [1, 0, 0]
    assert (seen.entropy, seen.effective_models, seen.mean_cost) == (0, 1, 1)
    assert seen.n_window == 3
    assert seen.n_queries == 8
    assert seen.calls.tolist() == [3, 0, 5]
    assert seen.total_cost == 53


def test_names_and_indices_are_the_same():
    by_index = monitor().update(np.array([0, 2, 1], dtype=np.uint8)).summary()
    for names in (
        ["small", "large", "medium"],
        np.array(["small", "large", "medium"]),
        pd.Series(["small", "large", "medium"]),
        np.array([0, 2, 1], dtype=object),
    ):
        same(monitor().update(names).summary(), by_index)


@pytest.mark.parametrize(
    "costs", [dict(zip(MODELS, PRICES, strict=True)), pd.Series(PRICES, MODELS)]
)
def test_prices_by_name(costs):
    turned = CollapseMonitor(MODELS[::-1], costs)
    assert turned.update(["large"]).summary().total_cost == 10


def test_where_no_query_was_seen_nothing_is_known():
    seen = monitor().update([]).summary()
    assert np.isnan(seen.call_share).all()
    assert np.isnan([seen.entropy, seen.mean_cost, seen.strongest_share]).all()
    assert seen.total_cost == 0
    assert str(seen) == "no queries yet"


def test_of_equally_dear_models_all_are_the_strongest():
    seen = CollapseMonitor(MODELS, [1, 5, 5]).update(MODELS).summary()
    assert seen.strongest == ("medium", "large")
    assert seen.strongest_share == pytest.approx(2 / 3)


def test_where_all_cost_the_same_none_is_the_strongest(caplog):
    level = CollapseMonitor(MODELS, [2, 2, 2], min_entropy=None, **QUICK)
    seen = level.update(repeated(large=100)).summary()
    assert seen.strongest == ()
    assert np.isnan(seen.strongest_share)
    assert "all have one price" in str(seen)
    assert not warned(caplog)


@quick
@given(
    choices=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    order=st.permutations(range(4)),
    window=st.integers(1, 40),
)
def test_the_order_of_models_only_orders_the_shares(choices, order, window):
    names, prices = np.array(list("abcd")), np.array([3.0, 1.0, 3.0, 2.0])
    seen = CollapseMonitor(names, prices, window=window).update(names[choices])
    turned = CollapseMonitor(names[order], prices[order], window=window)
    seen, turned = seen.summary(), turned.update(names[choices]).summary()
    np.testing.assert_array_equal(turned.call_share, seen.call_share[order])
    assert set(turned.strongest) == set(seen.strongest)
    for name in ("entropy", "effective_models", "strongest_share", "mean_cost"):
        assert getattr(turned, name) == pytest.approx(getattr(seen, name), abs=1e-12)
    assert seen.call_share.sum() == pytest.approx(1)
    assert 0 <= seen.entropy <= 1
    assert 1 <= seen.effective_models <= 4 + 1e-9
    last = np.array(choices)[-window:]
    np.testing.assert_allclose(
        seen.call_share, np.bincount(last, minlength=4) / len(last)
    )


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    choices=st.lists(st.integers(0, 2), max_size=150),
    cuts=st.lists(st.integers(0, 150), max_size=5),
    window=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_how_the_traffic_is_cut_changes_nothing(choices, cuts, window, seed):
    random = np.random.default_rng(seed)
    costs = random.exponential(size=len(choices))
    X = random.normal(size=(len(choices), 3))
    X[::3] = X[:1]
    options = {"window": window, "min_queries": 5, "check_every": 7}
    reference = np.random.default_rng(9).normal(size=(60, 3))
    whole, parts, single = (
        monitor(reference=reference, budget=1.0, **options) for _ in range(3)
    )
    whole.update(choices, X=X, costs=costs)
    bounds = [0, *sorted(min(cut, len(choices)) for cut in cuts), len(choices)]
    for start, stop in pairwise(bounds):
        rows = slice(start, stop)
        parts.update(choices[rows], X=X[rows], costs=costs[rows])
    for i, choice in enumerate(choices):
        single.update([choice], X=X[i : i + 1], costs=costs[i : i + 1])
    same(parts.summary(), whole.summary())
    same(single.summary(), whole.summary())


# When it warns


def test_a_collapse_warns_once_and_again_only_after_recovery(caplog):
    caplog.set_level(logging.INFO, LOGGER)
    watch = monitor(max_strongest_share=0.8, min_entropy=None)
    watch.update(repeated(small=50, large=50))
    assert not warned(caplog)
    watch.update(repeated(large=300))
    (message,) = warned(caplog)
    assert "strongest model (large)" in message
    assert "max_strongest_share=0.8" in message
    assert watch.summary().alarms == ("strongest_share",)
    # At 0.78 it is below the limit, but not by the margin.
    watch.update(repeated(small=22, large=78))
    watch.update(repeated(large=100))
    assert len(warned(caplog)) == 1
    watch.update(repeated(small=50, large=50))
    assert watch.summary().alarms == ()
    assert caplog.records[-1].levelno == logging.INFO
    watch.update(repeated(large=100))
    assert len(warned(caplog)) == 2


def test_a_collapse_to_the_cheapest_model_is_one_too(caplog):
    watch = monitor().update(repeated(small=300))
    (message,) = warned(caplog)
    assert "min_entropy=0.1" in message
    assert "small gets 100.0%" in message
    watch.update(MODELS * 40).update(repeated(small=100))
    assert len(warned(caplog)) == 2


def test_spend_above_the_budget_and_its_slack(caplog):
    watch = monitor(budget=3.0, budget_slack=0.1)
    # Mean spends of 3.25 and 3.5 on a limit of 3.3.
    watch.update(["small", "small", "small", "large"] * 25)
    assert not warned(caplog)
    watch.update(["medium", "small", "small", "large"] * 25)
    (message,) = warned(caplog)
    assert "3.3" in message
    assert watch.summary().alarms == ("mean_cost",)


def test_without_a_budget_spend_is_counted_and_not_watched(caplog):
    watch = monitor(max_strongest_share=None, min_entropy=None, max_quality_drop=None)
    watch.update(repeated(large=1000), costs=np.full(1000, 1e9))
    assert not warned(caplog)
    assert watch.summary().limits == {}


@pytest.mark.parametrize(
    ("options", "least"),
    [({}, 20), ({"window": 15}, 20), ({"window": 8}, 10), ({"min_queries": 1}, 10)],
)
def test_nothing_is_said_before_there_are_enough_queries(caplog, options, least):
    # Checked at every tenth query.
    watch = monitor(min_entropy=None, **options)
    watch.update(repeated(large=least - 1))
    assert not warned(caplog)
    watch.update(["large"])
    assert len(warned(caplog)) == 1


# What answers turn out to be


def judge(watch, chance, n=100, expected=0.8, seed=0, **options):
    """Tell it of answers that are right with a chance, of which some are judged."""
    rng = np.random.default_rng(seed)
    quality = (rng.random(n) < chance).astype(float)
    quality[rng.random(n) < options.pop("unknown", 0.0)] = np.nan
    given = {"quality": quality, "expected_quality": np.full(n, expected)}
    watch.update(np.resize(MODELS, n), **given, **options)
    return quality


@pytest.mark.parametrize("unknown", [0.0, 0.6])
def test_a_drop_of_the_quality_warns_once_and_ends(caplog, unknown):
    caplog.set_level(logging.INFO, LOGGER)
    watch = monitor(window=500, min_entropy=None)
    judge(watch, 0.8, 1000, unknown=unknown)
    assert not warned(caplog)
    # A drop of no single model that chance could not explain.
    judge(watch, 0.72, 2000, unknown=unknown)
    (message,) = warned(caplog)
    assert "below what the router expected of them" in message
    assert "max_quality_drop=0.02" in message
    assert watch.summary().alarms == ("quality_drop",)
    judge(watch, 0.85, 2000, unknown=unknown)
    assert watch.summary().alarms == ()
    assert "quality_drop is" in caplog.records[-1].getMessage()
    assert len(warned(caplog)) == 1


def judge_each(watch, chances, n, seed=0, scale=1.0, expected=0.8):
    """Tell it of answers of each model that are right with a chance of its own."""
    rng = np.random.default_rng(seed)
    decisions = np.resize(MODELS, n)
    chance = np.array([chances.get(model, expected) for model in decisions])
    quality = scale * (rng.random(n) < chance)
    told = np.full(n, scale * expected)
    watch.update(decisions, quality=quality, expected_quality=told)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_model_that_has_changed_is_named_once(caplog, scale):
    caplog.set_level(logging.INFO, LOGGER)
    watch = monitor(window=500, min_entropy=None, max_quality_drop=0.5 * scale)
    judge_each(watch, {}, 1200, scale=scale)
    assert watch.summary().changed_models == {}
    judge_each(watch, {"medium": 0.2}, 600, scale=scale)
    seen = watch.summary()
    assert set(seen.changed_models) == {"medium"}
    assert seen.changed_models["medium"] == pytest.approx(
        -0.6 * scale, abs=0.15 * scale
    )
    assert seen.alarms == ("changed_models",)
    assert "medium: the last answers are" in str(seen)
    (message,) = warned(caplog)
    assert "medium: " in message
    assert "small" not in message
    judge_each(watch, {}, 600, scale=scale)
    assert watch.summary().alarms == ()
    assert "as expected again" in caplog.records[-1].getMessage()
    assert len(warned(caplog)) == 1


def test_a_second_model_that_changes_warns_again(caplog):
    watch = monitor(window=500, min_entropy=None, max_quality_drop=0.9)
    judge_each(watch, {"small": 0.2}, 600)
    judge_each(watch, {"small": 0.2, "large": 0.1}, 600)
    assert len(warned(caplog)) == 2
    assert set(watch.summary().changed_models) == {"small", "large"}


def test_a_model_that_has_changed_is_found_in_updates_of_any_size():
    seen = []
    for size in (1, 7, 600):
        watch = monitor(window=500, min_entropy=None, max_quality_drop=0.9)
        rng = np.random.default_rng(0)
        quality = (rng.random(600) < np.resize([0.8, 0.2, 0.8], 600)).astype(float)
        for start in range(0, 600, size):
            part = slice(start, start + size)
            told = quality[part]
            watch.update(
                np.resize(MODELS, 600)[part],
                quality=told,
                expected_quality=np.full(len(told), 0.8),
            )
        seen.append(watch.summary().changed_models)
    assert seen[0] == seen[1] == seen[2]
    assert set(seen[0]) == {"medium"}


def test_models_are_not_watched_where_the_quality_is_not(caplog):
    watch = monitor(max_quality_drop=None, min_entropy=None)
    judge_each(watch, {"small": 0.0}, 600)
    assert watch.summary().changed_models == {}
    assert not warned(caplog)


def test_the_quality_is_that_of_the_last_answers_that_were_judged():
    watch = monitor(window=200)
    judge(watch, 0.1, 300)
    late = judge(watch, 0.8, 600, unknown=0.5)
    judge(watch, 0.0, 50, unknown=1.0)
    seen = watch.summary()
    drops = 0.8 - late[np.isfinite(late)][-200:]
    assert seen.n_judged == 200
    assert seen.quality_drop == pytest.approx(drops.mean())
    assert seen.quality_drop_error == pytest.approx(drops.std(ddof=1) / 200**0.5)
    side = "below" if drops.mean() > 0 else "above"
    assert (
        f"quality: {abs(drops.mean()):.3g} {side} what was expected, s.e. "
        f"{seen.quality_drop_error:.2g}, of 200 judged (at most 0.02 below)"
    ) in str(seen)


def test_few_judged_answers_tell_nothing(caplog):
    watch = monitor()
    judge(watch, 0.0, 49)
    assert np.isnan(watch.summary().quality_drop)
    judge(watch, 0.0, 51)
    assert watch.summary().quality_drop == pytest.approx(0.8)
    assert watch.summary().alarms == ("quality_drop", "changed_models")
    assert len([text for text in warned(caplog) if "max_quality_drop" in text]) == 1


def test_chance_is_seldom_an_alarm(caplog):
    """Streams of 2,000 answers as good as expected, checked at every tenth."""
    alarms = 0
    for seed in range(40):
        watch = monitor(window=500, max_quality_drop=0.0)
        judge(watch, 0.8, 2000, seed=seed)
        alarms += bool(warned(caplog))
        caplog.clear()
    assert alarms <= 6


def test_where_no_model_was_called_there_is_no_quality():
    watch = monitor()
    given = {"quality": [1.0, 0.0], "expected_quality": [0.5, 0.5]}
    assert watch.update([None, "small"], **given).summary().n_judged == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quality": [1.0]}, "expected_quality must be given with quality"),
        (
            {"quality": [1.0, 0.0], "expected_quality": [0.5]},
            r"quality must have one value per decision, shape \(1,\); got \(2,\)",
        ),
        (
            {"quality": [1.0], "expected_quality": [np.inf]},
            "expected_quality must be finite, or NaN where unknown",
        ),
        (
            {"quality": ["good"], "expected_quality": [0.5]},
            r"quality must be numbers; got \['good'\]",
        ),
    ],
)
def test_outcomes_that_cannot_be_read_are_refused(given, message):
    watch = monitor().update(["small"])
    before = watch.summary()
    with pytest.raises(ValueError, match=message):
        watch.update(["small"], **given)
    same(before, watch.summary())


def test_two_monitors_know_nothing_of_each_other(caplog):
    monitor().update(repeated(large=100))
    first = len(warned(caplog))
    monitor().update(repeated(large=100))
    assert len(warned(caplog)) == 2 * first > 0


def test_a_handler_may_read_the_monitor():
    watch, read = monitor(), []

    class Reader(logging.Handler):
        def emit(self, record):
            read.append(watch.summary().n_queries)

    logger, handler = logging.getLogger(LOGGER), Reader()
    logger.addHandler(handler)
    try:
        watch.update(repeated(large=100))
    finally:
        logger.removeHandler(handler)
    assert read == [100, 100]


# Drift


@pytest.fixture(scope="module")
def digits():
    return load_digits_pool()


def alternating(n):
    return [MODELS[i % 3] for i in range(n)]


def drift_of(reference, X, **options):
    watch = monitor(
        **{"reference": reference, "window": 2000, "check_every": 100, **options}
    )
    return watch.update(alternating(len(X)), X=X).summary()


def halves(X, seed):
    order = np.random.default_rng(seed).permutation(len(X))
    return X[order[: len(X) // 2]], X[order[len(X) // 2 :]]


@pytest.mark.slow
@pytest.mark.parametrize("n_copies", [1, 4])
@pytest.mark.parametrize("where", ["reference", "traffic"])
def test_duplicate_prompts_are_no_drift(where, n_copies, caplog):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        reference, X = rng.standard_normal((2, 400, 32))
        if where == "reference":
            reference = np.repeat(reference, n_copies, axis=0)
            reference += 1e-3 * rng.standard_normal(reference.shape)
        else:
            X = np.repeat(X[:100], n_copies, axis=0)
        assert drift_of(reference, X).alarms == ()


@pytest.mark.parametrize("seed", range(5))
def test_held_out_digits_are_no_drift(digits, seed, caplog):
    seen = drift_of(*halves(digits.data, seed), random_state=seed)
    assert seen.drift < 0.15
    assert not warned(caplog)


@pytest.mark.parametrize("task", ["digit-0", "digit-3", "digit-8"])
def test_digits_of_one_kind_are_drift(digits, task, caplog):
    reference, _ = halves(digits.data, 0)
    seen = drift_of(reference, digits.data[digits.task == task])
    assert seen.drift > 0.4
    assert seen.drift_pvalue < 1e-6
    assert seen.alarms == ("drift",)
    (message,) = warned(caplog)
    assert "max_drift=0.15" in message


@pytest.fixture(scope="module")
def embeddings(shared_data):
    """Embeddings of three real pools; that of ARC is the same for all its queries."""
    task = pd.read_csv(shared_data / "routerbench3.csv.gz", usecols=["eval_name"])
    bench = np.load(shared_data / "routerbench3_minilm.npy")
    return {
        "pool9": np.load(shared_data / "pool9_minilm.npy"),
        **{
            name: bench[rows]
            for name, rows in task.groupby("eval_name").indices.items()
        },
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["pool9", "mbpp", "arc-challenge", "winogrande"])
def test_held_out_rows_of_a_real_table_are_no_drift(embeddings, name, seed, caplog):
    seen = drift_of(*halves(embeddings[name], seed))
    assert seen.drift < 0.25
    assert not warned(caplog)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pool9", "mbpp", "arc-challenge", "winogrande"])
def test_another_task_of_a_real_table_is_drift(embeddings, name, caplog):
    for other in set(embeddings) - {name}:
        seen = drift_of(embeddings[name], embeddings[other][:300])
        assert seen.alarms == ("drift",), other
        assert seen.drift > 0.5, other
    assert len(warned(caplog)) == 3


@pytest.mark.slow
def test_a_drift_that_ends_re_arms(digits, caplog):
    reference, rest = halves(digits.data, 0)
    watch = monitor(reference=reference, window=500, check_every=50)
    shifted = rest + 0.5
    for X in (rest, shifted, rest, shifted):
        watch.update(alternating(len(X)), X=X)
    assert len(warned(caplog)) == 2


@pytest.mark.slow
def test_repeated_embeddings_are_ties_and_no_drift():
    random = np.random.default_rng(0)
    distinct = random.normal(size=(2000, 40)).astype(np.float32)
    distinct[random.random(2000) < 0.6] = distinct[0]
    seen = drift_of(*halves(distinct, 0))
    assert seen.drift < 0.15
    # An encoder sums in another order, one query at a time.
    noise = random.normal(scale=1e-7, size=distinct.shape)
    assert drift_of(distinct, distinct + noise).drift < 0.15
    # All from the repeated query: the rest is missing.
    assert drift_of(distinct, distinct[[0] * 500]).alarms == ("drift",)


def test_a_reference_of_equal_rows():
    assert drift_of(np.ones((50, 4)), np.ones((100, 4))).drift == 0
    assert drift_of(np.zeros((50, 4)), np.zeros((100, 4))).drift == 0
    assert drift_of(np.ones((50, 4)), np.zeros((100, 4))).drift == 1
    noise = np.random.default_rng(0).normal(scale=1e-7, size=(100, 4))
    assert drift_of(np.ones((50, 4)), np.ones((100, 4)) + noise).drift == 0


def test_drift_away_from_the_components_is_seen():
    random = np.random.default_rng(0)
    X = random.normal(size=(1000, 60)) * np.r_[np.full(16, 10.0), np.full(44, 0.1)]
    new = X[:500].copy()
    new[:, 40:] *= 20
    assert drift_of(X[500:], new).alarms == ("drift",)


@pytest.mark.slow
def test_drift_in_one_coordinate_is_corrected_for_the_others():
    random = np.random.default_rng(0)
    reference, new = random.normal(size=(2, 1000, 30))
    seen = drift_of(reference, new)
    assert seen.drift_pvalue > 0.01


def test_drift_waits_for_embeddings_and_counts_only_them(digits):
    reference, rest = halves(digits.data, 0)
    watch = monitor(reference=reference)
    watch.update(alternating(500))
    assert np.isnan(watch.summary().drift)
    watch.update(alternating(19), X=rest[:19])
    assert np.isnan(watch.summary().drift)
    assert watch.update(["small"], X=rest[19:20]).summary().drift >= 0


def test_embeddings_that_overflow_are_drift(digits):
    reference, _ = halves(digits.data, 0)
    assert drift_of(reference, np.full((100, 64), 1e300)).alarms == ("drift",)


@pytest.mark.slow
def test_the_sample_of_the_reference_is_drawn_by_random_state(digits):
    reference, rest = halves(digits.data, 0)
    one, again, other = (
        drift_of(reference, rest, random_state=seed).drift for seed in (0, 0, 1)
    )
    assert one == again != other


# In service


@pytest.mark.slow
@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_a_pickle_in_mid_stream_goes_on_as_the_original(digits, how, tmp_path, caplog):
    reference, rest = halves(digits.data, 0)
    watch = monitor(reference=reference, budget=3.0)
    watch.update(repeated(large=155), X=rest[:155])
    if how == "pickle":
        copy = pickle.loads(pickle.dumps(watch))
    else:
        joblib.dump(watch, tmp_path / "monitor.joblib")
        copy = joblib.load(tmp_path / "monitor.joblib")
    same(copy.summary(), watch.summary())
    told = []
    for each in (watch, copy):
        caplog.clear()
        for decisions in (alternating(155), repeated(small=200), repeated(large=155)):
            each.update(decisions, X=rest[: len(decisions)] + 1)
        told.append(warned(caplog))
    same(copy.summary(), watch.summary())
    assert told[0] == told[1] != []


def test_threads_lose_no_query():
    watch = monitor()
    threads = [
        threading.Thread(
            target=lambda: [watch.update(MODELS) for _ in range(200)],
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.summary().calls.tolist() == [800, 800, 800]


@pytest.mark.slow
def test_a_summary_reads_well(digits):
    reference, rest = halves(digits.data, 0)
    watch = monitor(reference=reference, budget=1.0)
    text = str(watch.update(repeated(small=20, large=80), X=rest[:100]).summary())
    for part in (
        "100 queries; of the last 100:\n  large    80.0%\n  small    20.0%",
        "strongest model (large): 80.0% of the calls (at most 0.9)",
        "spend: 8.2 per query (at most 1.1), 820 since the start",
        "drift of the queries: 0.",
        "alarms: mean_cost",
    ):
        assert part in text
    assert repr(watch) == (
        "<CollapseMonitor of 3 models: 100 queries, alarms: mean_cost>"
    )


def test_a_summary_of_many_models_is_short():
    many = CollapseMonitor([f"m{i}" for i in range(100)], range(100))
    text = str(many.update(np.arange(100)).summary())
    assert "80 more models  80.0%" in text
    assert len(text.splitlines()) < 30


def test_a_summary_does_not_change_later():
    watch = monitor().update(["small"])
    seen = watch.summary()
    watch.update(["large"])
    assert seen.calls.tolist() == [1, 0, 0]


@pytest.fixture(scope="module")
def router(digits):
    fitted = PointwiseRouter(Ridge())
    return fitted.fit(
        digits.data,
        pd.DataFrame(digits.quality, columns=digits.models),
        costs=digits.costs,
    )


@pytest.mark.slow
def test_for_a_router(digits, router):
    budget = float(router.costs_.max() / 2)
    watch = CollapseMonitor.for_router(router, digits.data, budget=budget)
    names = router.route(digits.data, budget=budget)
    seen = watch.update(names, X=digits.data).summary()
    assert seen.models.tolist() == digits.models.tolist()
    assert seen.strongest == ("svc",)
    called = pd.Index(router.models_).get_indexer(names)
    expected = router.predict_cost(digits.data)[np.arange(len(called)), called]
    assert seen.mean_cost == pytest.approx(expected.mean())
    assert seen.alarms == ()


def test_a_router_that_spends_freely_is_found_out(digits, router, caplog):
    watch = CollapseMonitor.for_router(router, max_strongest_share=0.5)
    watch.update(np.full(1000, router.predict(digits.data).max()))
    assert any("entropy" in message for message in warned(caplog))


@pytest.mark.slow
def test_for_a_pipeline(digits):
    prices = digits.costs.mean(axis=0)
    router = PointwiseRouter(Ridge(), costs=prices)
    pipeline = make_pipeline(PCA(8), router, BudgetDecider(min_quality="95%"))
    with pytest.raises(NotFittedError):
        CollapseMonitor.for_router(pipeline)
    pipeline.fit(digits.data, digits.quality)
    watch = CollapseMonitor.for_router(pipeline, digits.data)
    watch.update(pipeline.predict(digits.data), X=digits.data)
    np.testing.assert_allclose(watch.costs, prices)
    assert watch.summary().drift < 0.15


@pytest.mark.parametrize("other", [Ridge().fit([[0.0]], [0.0]), "router", None])
def test_for_what_is_no_router(other):
    with pytest.raises(ValueError, match="router must have models_ and costs_"):
        CollapseMonitor.for_router(other)


def test_for_a_router_that_is_not_fitted():
    with pytest.raises(NotFittedError):
        CollapseMonitor.for_router(PointwiseRouter(Ridge()))


# What is not known


def test_unknown_costs_are_the_prices_of_the_models():
    watch = monitor().update([0, 1, 2], costs=[7.0, np.nan, np.nan])
    assert watch.summary().total_cost == 7.0 + PRICES[1] + PRICES[2]


@pytest.mark.parametrize("none", [None, np.nan])
def test_queries_without_a_model_are_passed_over(digits, none):
    X = digits.data[:3]
    with_none = monitor(reference=digits.data)
    with_none.update(["small", none, "large"], X=X, costs=[1.0, np.nan, 3.0])
    with_none.update([1, none], costs=[2.0, 5.0]).update([none])
    without = monitor(reference=digits.data)
    without.update(["small", "large"], X=X[::2], costs=[1.0, 3.0])
    without.update([1], costs=[2.0])
    assert str(with_none.summary()) == str(without.summary())
    assert with_none.summary().total_cost == 6.0


@pytest.mark.slow
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_a_router_tells_what_its_queries_cost(in_pipeline):
    data = make_routing(600, n_features=6, n_models=3, random_state=0)
    # Queries that are long cost more, and go to the large model.
    long = 1.0 + 9.0 * (data.data[:, 0] > 0.5)
    costs = np.array([1.0, 2.0, 4.0]) * long[:, None]
    router = PointwiseRouter(KNeighborsRegressor(1), random_state=0)
    if in_pipeline:
        with config_context(enable_metadata_routing=True):
            router = make_pipeline(StandardScaler(), router)
            router.fit(data.data, data.quality, costs=costs)
    else:
        router.fit(data.data, data.quality, costs=costs)
    calls = np.where(long > 5.0, 2, 0)
    spent = costs[np.arange(600), calls].mean()
    sizes = QUICK | {"window": 600}
    watch = CollapseMonitor.for_router(router, data.data, budget=spent, **sizes)
    seen = watch.update(calls, X=data.data).summary()
    assert seen.mean_cost == pytest.approx(spent, rel=0.05)
    assert "mean_cost" not in seen.alarms
    # The means of the models say something else.
    means = costs.mean(axis=0)[calls].mean()
    assert means != pytest.approx(spent, rel=0.2)
    assert watch.update(calls).summary().total_cost / 600 == pytest.approx(
        seen.mean_cost + means
    )
    again = pickle.loads(pickle.dumps(watch)).update(calls, X=data.data)
    assert again.summary().n_queries == 1800
    # Embeddings tell the costs, also where drift is not watched.
    alone = CollapseMonitor.for_router(router, **sizes).update(calls, X=data.data)
    assert alone.summary().mean_cost == seen.mean_cost


# Bad input


@pytest.mark.parametrize(
    ("decisions", "others", "match"),
    [
        (["small", "huge"], {}, "decisions.*small, medium, large.*huge"),
        ([0, 3], {}, r"decisions must lie in 0\.\.2"),
        ([0, -1], {}, r"decisions must lie in 0\.\.2"),
        ([0.0, 1.0], {}, "decisions"),
        ([True, False], {}, "decisions"),
        ([[0, 1]], {}, "decisions.*shape"),
        ("small", {}, "decisions.*A single decision"),
        ([None, "huge"], {}, "decisions.*huge"),
        ([0, 1], {"costs": [1.0]}, "costs must have one value per decision"),
        ([0, 1], {"costs": [[1.0, 2.0]]}, "costs must have one value per decision"),
        ([0, 1], {"costs": [1.0, 1e308]}, r"costs must hold.*1e\+308"),
        ([0, 1], {"costs": [1.0, np.inf]}, "costs must be finite"),
        ([0, 1], {"costs": [1.0, -2.0]}, r"costs.*not negative; got -2\.0"),
        ([0, 1], {"costs": ["a", "b"]}, "costs must be numbers"),
        ([0, 1], {"X": np.zeros((2, 63))}, r"X must have.*\(2, 64\); got \(2, 63\)"),
        ([0, 1], {"X": np.zeros((3, 64))}, r"X must have.*\(2, 64\); got \(3, 64\)"),
        ([], {"X": np.zeros((3, 64))}, r"X must have.*\(0, 64\)"),
        ([0, 1], {"X": np.full((2, 64), np.nan)}, "X contains NaN"),
        ([0], {"X": np.zeros(64)}, "2D array"),
    ],
)
def test_bad_updates_say_why_and_change_nothing(digits, decisions, others, match):
    watch = monitor(reference=digits.data).update([0, 1], X=digits.data[:2])
    before = pickle.dumps(watch)
    with pytest.raises(ValueError, match=match):
        watch.update(decisions, **others)
    assert pickle.dumps(watch) == before


def test_embeddings_without_a_reference_are_refused():
    with pytest.raises(ValueError, match=r"reference=.*leave X out"):
        monitor().update([0], X=[[1.0]])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"models": "small"}, "models must be a list"),
        ({"models": [MODELS]}, "models must be a list"),
        ({"models": ["small"], "costs": [1]}, "at least 2 models"),
        ({"models": ["small", "small", "large"]}, "got twice: small"),
        ({"costs": [1, 2]}, r"costs must be one price per model, of shape \(3,\)"),
        ({"costs": [1, 2, np.nan]}, "no price for the models large"),
        ({"costs": [1, 2, -3]}, "costs must be finite and not negative"),
        ({"costs": ["a", "b", "c"]}, "costs must be numbers"),
        ({"costs": [1, 2, 1e308]}, r"costs must hold.*1e\+308"),
        ({"budget": 1e308}, "budget with its slack must hold"),
        ({"costs": {"small": 1, "huge": 2}}, "unknown: huge"),
        ({"window": 0}, "window"),
        ({"window": 2.5}, "window must be an integer"),
        ({"min_queries": 0}, "^min_queries must"),
        ({"check_every": 0}, "^check_every must"),
        ({"max_strongest_share": 1.5}, "max_strongest_share must lie between"),
        ({"min_entropy": -0.1}, "min_entropy must be at least 0"),
        ({"max_drift": "much"}, "max_drift must be a number"),
        ({"budget": -1}, "budget must be at least 0"),
        ({"budget": 1, "budget_slack": -0.1}, "^budget_slack must"),
        ({"reference": np.zeros((19, 2))}, "at least 20 rows"),
        ({"reference": np.zeros(30)}, "2D array"),
        ({"reference": np.full((30, 2), np.nan)}, "reference contains NaN"),
    ],
)
def test_bad_parameters_say_why(arguments, match):
    arguments = {"models": MODELS, "costs": PRICES, **arguments}
    with pytest.raises(ValueError, match=match):
        CollapseMonitor(**arguments)


# At the edges


def test_the_defaults_are_those_of_the_documentation():
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(CollapseMonitor).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert defaults == {
        "reference": None,
        "window": 5000,
        "max_strongest_share": 0.9,
        "min_entropy": 0.1,
        "budget": None,
        "budget_slack": 0.1,
        "max_drift": 0.15,
        "max_quality_drop": 0.02,
        "min_queries": 500,
        "check_every": 200,
        "random_state": 0,
    }


def test_the_least_that_makes_a_monitor():
    watch = CollapseMonitor(
        ["a", "b"],
        [0, 1],
        reference=np.random.default_rng(0).normal(size=(20, 2)),
        max_strongest_share=1.0,
        check_every=1,
        min_queries=1,
    )
    assert watch.update(["a"], costs=[0.0]).summary().total_cost == 0
    with pytest.raises(ValueError, match=r"not negative; got -1\.0\. Where"):
        watch.update(["a", "b", "b"], costs=[0.0, 0.5, -1.0])


def test_limits_that_cannot_be_broken_are_none():
    watch = CollapseMonitor(MODELS, [1, 1, 1], **QUICK)
    assert watch.summary().limits == {"entropy": 0.1, "quality_drop": 0.02}
    text = str(watch.update(MODELS).summary())
    assert "\nstrongest model: none, all have one price\n" in text
    free = CollapseMonitor(MODELS, [1, 1, 1], max_strongest_share=None, max_drift=None)
    assert free.summary().limits == {"entropy": 0.1, "quality_drop": 0.02}


def test_a_limit_is_not_broken_where_it_is_reached(caplog):
    calls = repeated(small=20, large=80)
    whole = {"check_every": 100, "budget_slack": 0.0}
    entropy = monitor(min_entropy=None).update(calls).summary().entropy
    at = {"max_strongest_share": 0.8, "min_entropy": entropy, **whole}
    monitor(budget=8.2, **at).update(calls)
    assert not warned(caplog)
    beyond = {"max_strongest_share": 0.799, "min_entropy": entropy + 1e-9}
    monitor(budget=8.199, **whole, **beyond).update(calls)
    assert len(warned(caplog)) == 3


@pytest.mark.parametrize(
    ("limit", "back", "over"),
    [
        # Shares of 88% and 89% for one of two models have entropies of 0.53 and 0.50.
        (0.5, repeated(small=88, large=12), True),
        (0.5, repeated(small=89, large=11), False),
        # Where the margin would lie above 1, an even split is enough.
        (0.98, repeated(small=50, large=50), True),
        (0.98, repeated(small=46, large=54), False),
    ],
)
def test_entropy_recovers_by_a_margin(limit, back, over, caplog):
    watch = CollapseMonitor(
        ["small", "large"],
        [1, 9],
        **QUICK,
        min_entropy=limit,
        max_strongest_share=None,
    )
    watch.update(repeated(small=100))
    assert watch.summary().alarms == ("entropy",)
    watch.update(np.random.default_rng(0).permutation(back))
    assert watch.summary().alarms == (() if over else ("entropy",))
    assert len(warned(caplog)) == 1


def test_a_share_recovers_at_its_margin(caplog):
    caplog.set_level(logging.INFO, LOGGER)
    watch = monitor(max_strongest_share=0.8, min_entropy=None)
    watch.update(repeated(large=100)).update(repeated(small=24, large=76))
    assert watch.summary().alarms == ()
    assert caplog.records[-1].getMessage() == (
        "strongest_share is 0.76 again: the alarm is over."
    )


def test_a_certain_but_small_drift_is_no_alarm():
    rng = np.random.default_rng(0)
    options = {"window": 4000, "check_every": 4000}
    watch = monitor(reference=rng.normal(size=(4000, 3)), **options)
    watch.update(MODELS * 1400, X=rng.normal(size=(4200, 3)) + 0.15)
    seen = watch.summary()
    assert seen.drift < 0.15
    assert seen.drift_pvalue < 0.001
    assert "drift" not in seen.alarms


def test_a_p_value_is_at_most_one():
    rows = np.repeat(np.eye(4), 30, axis=0)
    watch = monitor(reference=rows).update(["small"] * 120, X=rows)
    assert watch.summary().drift_pvalue == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-8, 1e8])
def test_drift_does_not_depend_on_the_unit_of_the_embeddings(digits, unit):
    reference, rest = halves(digits.data, 0)
    plain = drift_of(reference, rest).drift
    assert drift_of(unit * reference, unit * rest).drift == pytest.approx(plain)
    assert plain > 0


def test_a_shallow_copy_counts_by_itself():
    watch = monitor().update(["small"])
    twin = copy.copy(watch)
    watch.update(repeated(large=100))
    assert twin.summary().calls.tolist() == [1, 0, 0]
    assert twin.summary().call_share.tolist() == [1, 0, 0]


def test_options_of_a_monitor_for_a_router(digits):
    data = digits.data[:100]
    router = PointwiseRouter(Ridge(), costs=[1.0, 9.0])
    router.fit(data, np.random.default_rng(0).random((100, 2)))
    watch = CollapseMonitor.for_router(router, data, budget=4.0, max_drift=0.5)
    assert watch.summary().limits["mean_cost"] == pytest.approx(4.4)
    assert watch.summary().limits["drift"] == 0.5
    # A decider knows models, and no prices.
    decider = BudgetDecider().fit(router.transform(data))
    with pytest.raises(ValueError, match="got BudgetDecider"):
        CollapseMonitor.for_router(decider)


def test_a_whole_summary():
    watch = CollapseMonitor(["100%s", "b"], [1, 3], budget=4.0)
    watch.update([0, 1, 1, 0])
    assert str(watch.summary()).splitlines() == [
        "4 queries; of the last 4:",
        "  100%s   50.0%",
        "  b       50.0%",
        "entropy of the calls: 1.00 of 1, as 2.0 models called equally often "
        "(at least 0.1)",
        "strongest model (b): 50.0% of the calls (at most 0.9)",
        "spend: 2 per query (at most 4.4), 8 since the start",
        "drift of the queries: unknown",
        "quality: unknown",
        "alarms: none",
    ]
    bare = CollapseMonitor(
        ["a", "b"], [1, 3], max_strongest_share=None, min_entropy=None
    )
    assert "(" not in str(bare.update([0]).summary()).replace("(b)", "")


def test_a_drift_is_written_with_its_limit(digits):
    reference, rest = halves(digits.data, 0)
    watch = monitor(reference=reference).update(["small"] * 100, X=rest[:100])
    seen = watch.summary()
    line = (
        f"drift of the queries: {seen.drift:.2f} of 1, p = {seen.drift_pvalue:.2g} "
        "(at most 0.15)"
    )
    assert line in str(seen).splitlines()


def test_twenty_models_are_all_listed():
    many = CollapseMonitor([f"m{i}" for i in range(20)], range(20))
    text = str(many.update(np.arange(20)).summary())
    assert "more models" not in text
    assert all(f"  m{i} " in text for i in range(20))


def test_every_warning_says_what_to_do(digits, caplog):
    reference, rest = halves(digits.data, 0)
    moved = rest[:100] + 50.0
    watch = monitor(budget=1.0, reference=reference)
    watch.update(repeated(large=100), X=moved)
    advice = {
        "strongest model": "look at routing_collapse_index on recent outcomes.",
        "normalised entropy": "no router is needed.",
        "mean spend": "route with a lower budget, or fit the router again on recent",
        "embeddings have drifted": "check that the encoder is the same.",
    }
    messages = warned(caplog)
    assert len(messages) == len(advice)
    for about, advised in advice.items():
        (message,) = [text for text in messages if about in text]
        assert advised in message
        # Checked every 10 queries, from the least number on.
        assert "over the last 20 queries" in message
        assert message[:4] == "the "


@pytest.mark.parametrize("paid", [[np.nan], [None], np.ma.array([7.0], mask=[True])])
def test_a_cost_that_is_not_known_is_the_price_of_the_model(paid):
    watch = CollapseMonitor(["small", "large"], [1.0, 2.0])
    assert watch.update(["small"], costs=paid).summary().total_cost == 1.0


# Routers of prompts


@pytest.mark.parametrize("per_query", [False, True])
def test_a_router_of_prompts_is_watched_by_its_prompts(per_query):
    prompts = [
        f"Prove lemma {i % 17}" if i % 2 else f"Greet {i % 13}" for i in range(80)
    ]
    easy = np.array([prompt.startswith("Greet") for prompt in prompts], dtype=float)
    y = np.column_stack([easy, np.ones(80)])
    costs = np.outer(1.0 + easy, [1.0, 20.0])
    router = TextRouter(
        PointwiseRouter(Ridge(), costs=None if per_query else [1.0, 20.0])
    ).fit(prompts, y, costs=costs if per_query else None)
    names = router.route(prompts, price=0.01)
    monitor = CollapseMonitor.for_router(router, prompts, **QUICK)
    seen = monitor.update(names, X=prompts).summary()
    # The same as a monitor of the vectors that the router reads.
    vectors = router.embed(prompts)
    plain = CollapseMonitor(router.models_, router.costs_, reference=vectors, **QUICK)
    expected = plain.update(names, X=vectors).summary()
    assert seen.drift == pytest.approx(expected.drift)
    if per_query:
        chosen = [list(router.models_).index(name) for name in names]
        paid = router.predict_cost(prompts)[np.arange(80), chosen]
        assert seen.mean_cost == pytest.approx(paid.mean())
    # Another subject is a drift.
    others = [f"Translate {i} words" for i in range(400)]
    monitor.update(router.route(others, price=0.01), X=others)
    assert "drift" in monitor.summary().alarms
    # A copy works alike.
    again = pickle.loads(pickle.dumps(monitor))
    assert again.update(names, X=prompts).summary().n_queries == 560
    # Without a reference, prompts tell what calls cost.
    bare = CollapseMonitor.for_router(router, **QUICK)
    if per_query:
        bare.update(names, X=prompts)
        assert bare.summary().mean_cost == pytest.approx(seen.mean_cost)

"""The embedded digits pool."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

from skroute.datasets import load_digits_pool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pool():
    return load_digits_pool()


@pytest.mark.slow
def test_shapes_and_types(pool):
    n, n_models = 1597, 9
    assert pool.data.shape == (n, 64)
    assert pool.quality.shape == pool.costs.shape == (n, n_models)
    assert {pool[key].dtype for key in ("data", "quality", "costs")} == {
        np.dtype(np.float64)
    }
    assert len(set(pool.models)) == n_models
    assert pool.task.shape == pool.prompts.shape == (n,)
    assert all(type(name) is str for name in [*pool.models, *pool.task, *pool.prompts])
    assert "1597" in pool.DESCR


@pytest.mark.slow
def test_queries_are_the_digits_that_their_prompts_name(pool):
    digits = load_digits()
    rows = [
        int(prompt.removeprefix("handwritten digit no. ")) for prompt in pool.prompts
    ]
    np.testing.assert_array_equal(pool.data, digits.data[rows] / 16)
    assert pool.task.tolist() == [f"digit-{digit}" for digit in digits.target[rows]]
    assert len(set(rows)) == len(rows)
    assert len(np.unique(pool.task)) == 10


def test_quality_is_right_or_wrong(pool):
    assert set(np.unique(pool.quality)) == {0.0, 1.0}


def test_answers_are_right_where_the_quality_is(pool):
    digit = np.array([task.removeprefix("digit-") for task in pool.task])
    assert ((pool.answers == digit[:, None]) == (pool.quality == 1)).all()
    assert all(type(answer) is str for answer in pool.answers[0])


def test_checks_are_probabilities_where_a_model_gives_some(pool):
    known = np.isfinite(pool.checks)
    assert pool.models[~known.all(axis=0)].tolist() == ["svc"]
    assert not known[:, pool.models == "svc"].any()
    assert (pool.checks[known] >= 0.1).all()
    assert (pool.checks[known] <= 1).all()
    for said, right in zip(pool.checks.T, pool.quality.T, strict=True):
        if np.isfinite(said).all() and np.ptp(said):
            assert said[right == 1].mean() > said[right == 0].mean()


def test_pool_poses_a_routing_problem(pool):
    quality, cost = pool.quality.mean(axis=0), pool.costs.mean(axis=0)
    assert cost.max() / cost.min() > 1e4
    assert quality.argmax() == cost.argmax()
    assert pool.quality.max(axis=1).mean() > quality.max() + 0.02
    # Models at a hundredth of the most expensive one's cost suffice for most queries.
    cheap = cost < cost.max() / 100
    assert pool.quality[:, cheap].max(axis=1).mean() > 0.95
    # Which model is right depends on the digit.
    by_digit = pd.DataFrame(pool.quality, columns=pool.models).groupby(pool.task).mean()
    assert by_digit["stump"].max() > 0.9
    assert by_digit["stump"].min() == 0.0


@pytest.mark.parametrize(
    ("model", "operations"),
    [
        ("stump", 1),
        ("linear", 2 * 64 * 10),
        ("naive-bayes", 4 * 64 * 10),
        ("mlp", 2 * (64 * 16 + 16 * 10) + 16),
        ("knn", 3 * 64 * 200),
    ],
)
def test_constant_costs_follow_the_documented_rule(pool, model, operations):
    column = pool.costs[:, pool.models.tolist().index(model)]
    assert set(column) == {float(operations)}


def test_forest_costs_count_the_comparisons_of_each_query(pool):
    small = pool.costs[:, pool.models.tolist().index("small-forest")]
    comparisons = small - 10 * 10
    assert comparisons.min() >= 10
    assert comparisons.max() <= 10 * 6
    assert len(np.unique(comparisons)) > 5
    forest = pool.costs[:, pool.models.tolist().index("forest")]
    assert (forest > small).all()


def test_tree_costs_are_the_depths_of_the_queries_leaves(pool):
    digits = load_digits()
    asked = {int(prompt.rsplit(" ", 1)[1]) for prompt in pool.prompts}
    trained_on = [i for i in range(len(digits.target)) if i not in asked]
    assert len(trained_on) == 200
    stump = DecisionTreeClassifier(max_depth=1, random_state=0)
    stump.fit(digits.data[trained_on] / 16, digits.target[trained_on])
    right = stump.predict(pool.data) == [int(task[-1]) for task in pool.task]
    column = pool.models.tolist().index("stump")
    np.testing.assert_array_equal(pool.quality[:, column], right)
    tree_costs = pool.costs[:, pool.models.tolist().index("tree")]
    assert set(np.unique(tree_costs)) <= {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
    assert len(np.unique(tree_costs)) > 1


def test_every_call_gives_fresh_copies(pool):
    spoiled = load_digits_pool()
    expected = {key: spoiled[key].copy() for key in spoiled if key != "DESCR"}
    for key in expected:
        spoiled[key][:] = 0 if spoiled[key].dtype.kind == "f" else "spoiled"
    again = load_digits_pool()
    for key, value in expected.items():
        np.testing.assert_array_equal(again[key], value)


def test_frames_hold_the_same_numbers(pool):
    frames = load_digits_pool(as_frame=True)
    assert frames.quality.columns.tolist() == pool.models.tolist()
    assert frames.costs.columns.tolist() == pool.models.tolist()
    assert frames.data.columns[[0, -1]].tolist() == ["pixel_0_0", "pixel_7_7"]
    for key in ("data", "quality", "costs"):
        assert isinstance(frames[key], pd.DataFrame)
        np.testing.assert_array_equal(frames[key].to_numpy(), pool[key])


@pytest.mark.usefixtures("pool")  # made before: scikit-learn may look for pandas too
def test_frames_without_pandas_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"as_frame=True.*scikit-route\[data\]"):
        load_digits_pool(as_frame=True)


@pytest.mark.slow
def test_same_bytes_in_another_process_with_other_threads(pool):
    script = (
        "import hashlib, warnings; warnings.simplefilter('error')\n"
        "from skroute.datasets import load_digits_pool\n"
        "p = load_digits_pool()\n"
        "b = b''.join(p[k].tobytes() for k in ('data', 'quality', 'costs'))\n"
        "print(hashlib.sha256(b).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
        timeout=240,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    content = b"".join(pool[key].tobytes() for key in ("data", "quality", "costs"))
    assert done.stdout.strip() == hashlib.sha256(content).hexdigest()
    assert done.stderr == ""

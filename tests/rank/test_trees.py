"""Models of trees: LightGBM's text is read as numbers, or refused."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

import skroute
from skroute._rank.forest import PairRanker

HERE = Path(__file__).parents[1]
# As LightGBM wrote it: four trees of seven leaves.
MODEL = (HERE / "data" / "ranker_lightgbm_4.txt").read_text("ascii")


def fuzz() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz", HERE / "fuzz" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_numbers_of_a_text_are_read():
    trees = PairRanker.from_text(MODEL)
    assert trees.n_features == 16
    assert trees.n_leaves.tolist() == [7] * 4
    assert trees.threshold[1] == 0.3995658607717591
    assert trees.value[-1] == 0.067165456539789822
    rows = np.random.RandomState(0).normal(size=(50, 16))
    expected = lgb.Booster(model_str=MODEL).predict(rows, num_threads=1)
    np.testing.assert_array_equal(trees.predict(rows[None])[0], expected)


@pytest.mark.parametrize(
    ("pattern", "by"),
    [
        (r"left_child=\d+", "left_child=1000000"),
        (r"(left_child=)\S+ \S+", r"\g<1>0 0"),
        (r"left_child=1", "left_child=\u0661"),
        (r"left_child=1", "left_child=0"),
        (r"right_child=2 -3", "right_child=2 -\u0663"),
        (r"right_child=2 -3", "right_child=2 -9"),
        (r"split_feature=\d+", "split_feature=100000000"),
        (r"split_feature=\d+", "split_feature=16"),
        (r"split_feature=\d+", "split_feature=\u0966"),
        (r"split_feature=\d+", "split_feature=-1"),
        (r"num_leaves=\d+", "num_leaves=2000000000"),
        (r"num_leaves=7", "num_leaves=\u0667"),
        (r"num_leaves=7", "num_leaves=0"),
        (r"threshold=\S+", "threshold=1 1 1"),
        (r"threshold=\S+", "threshold=nan"),
        (r"threshold=\S+", "threshold=1e999"),
        (r"threshold=\S+", f"threshold=1{'0' * 400}"),
        (r"leaf_value=\S+", "leaf_value=inf"),
        (r"leaf_value=\S+", "leaf_value=nan"),
        (r"leaf_value=\S+", "leaf_value=1e307"),
        (r"leaf_value=\S+", "leaf_value=\u0660.5"),
        (r"leaf_value=\S+ ", "leaf_value="),
        (r"num_cat=0", "num_cat=1"),
        (r"decision_type=\d+", "decision_type=1"),
        (r"decision_type=\d+", "decision_type=10"),
        (r"is_linear=0", "is_linear=1"),
        (r"max_feature_idx=\d+", "max_feature_idx=999999"),
        (r"num_tree_per_iteration=1", "num_tree_per_iteration=0"),
        (r"objective=lambdarank", "objective=custom"),
        (r"objective=lambdarank", "objective=lambdarank\naverage_output"),
        (r"end of trees", "end of tree"),
        (r"^tree\n", ""),
    ],
)
def test_crafted_trees_are_refused(pattern, by):
    crafted = re.sub(pattern, by, MODEL, count=1)
    assert crafted != MODEL
    with pytest.raises(ValueError, match=r"tree|line|model"):
        PairRanker.from_text(crafted)


@pytest.mark.parametrize(
    "change",
    [
        {"n_features": 1.0},
        {"n_features": 3},
        {"left": np.array([1, 9, -1])},
        {"left": np.array([1, 0, -1])},
        {"left": np.array([1, -1, -1])},
        {"left": np.array([1, 2])},
        {"right": np.array([-4, -3, -9])},
        {"right": np.array([-4.0, -3, -2])},
        {"feature": np.array([0, 1, -1])},
        {"feature": np.array([[0, 1, 2]])},
        {"threshold": np.array([0.0, np.nan, 0.0])},
        {"value": np.array([0.0, 1.0, 2.0, np.inf])},
        {"value": np.array([0.0, 1.0, 2.0, np.inf], dtype=np.float32)},
        {"left": np.array([1, 2, -1], dtype=np.int8)},
        {"value": np.zeros(5)},
        {"n_leaves": np.array([5])},
        {"n_leaves": np.array([4, 0])},
    ],
)
def test_arrays_that_make_no_trees_are_refused(change):
    trees = {
        "n_features": 4,
        "n_leaves": np.array([4]),
        "feature": np.array([0, 1, 3]),
        "threshold": np.zeros(3),
        "left": np.array([1, 2, -1]),
        "right": np.array([-4, -3, -2]),
        "value": np.arange(4.0),
    }
    assert PairRanker(**trees).predict(np.ones((1, 1, 4))) == [[3.0]]
    with pytest.raises(ValueError, match="its trees"):
        PairRanker(**trees | change)


def test_very_many_trees_are_refused():
    block = "num_leaves=1\nnum_cat=0\nleaf_value=0\n"
    start = MODEL.partition("\n\nTree=")[0]
    text = start + f"\n\nTree=0\n{block}" * 100_001 + "\n\nend of trees\n"
    with pytest.raises(ValueError, match="more than 100,000 trees"):
        PairRanker.from_text(text)
    router = skroute.RankingRouter([1.0] * 5, n_estimators=100_001)
    with pytest.raises(ValueError, match="n_estimators must be at most 100,000"):
        router.fit(np.eye(5), np.eye(5))


_PREDICT = """
import json, sys
import numpy as np
from skroute._rank.forest import PairRanker
counts = [0, 0]
for text in json.load(open(sys.argv[1])):
    try:
        ranker = PairRanker.from_text(text)
    except ValueError:
        counts[0] += 1
        continue
    rows = np.random.RandomState(0).normal(size=(50, ranker.n_features))
    assert np.isfinite(ranker.predict(rows[None])).all()
    counts[1] += 1
print(*counts)
"""


@pytest.mark.hostile
def test_changed_models_are_refused_or_predict(tmp_path):
    """Reading and predicting never crashes, and always ends."""
    trees = fuzz().Trees()
    large = trees.seeds()[-1].decode()
    assert "num_leaves=12" in large
    starts = [text[: text.index("\nfeature_imp")].encode() for text in (MODEL, large)]
    changed = [
        trees.mutate(start, Random(seed)).decode()
        for seed in range(400)
        for start in starts
    ]
    (tmp_path / "texts").write_text(json.dumps([MODEL, large, *changed]))
    root = str(Path(skroute.__file__).parents[1])
    # A crash would end this process too.
    done = subprocess.run(
        [sys.executable, "-c", _PREDICT, tmp_path / "texts"],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    refused, same = map(int, done.stdout.split())
    assert min(refused, same) > 100

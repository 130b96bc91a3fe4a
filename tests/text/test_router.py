"""TextRouter: prompts in, names of models out."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from third_party import MeanRouter

from skroute import (
    BudgetDecider,
    DummyRouter,
    InfeasibleBudgetError,
    PointwiseRouter,
    RankingRouter,
    load,
    save,
)
from skroute.base import BaseRouter
from skroute.metrics import make_routing_scorer
from skroute.text import PromptFeatures, TextRouter

NEW = ["Greet my friend number 7", "Prove lemma 9 on compact groups"]
PRICES = {"small": 1.0, "large": 20.0}
RULE: dict[str, Any] = {"min_quality": "95%"}


def ranking(costs: Any = None, **parameters: Any) -> RankingRouter:
    settings = {"n_estimators": 0, "n_landmarks": 8, "random_state": 0}
    return RankingRouter(costs, **settings | parameters)


def count_vowels(texts: list[str]) -> np.ndarray:
    """An embedding service."""
    assert all(type(text) is str for text in texts)
    return np.array([[text.count(c) for c in "aeiou"] for text in texts], dtype=float)


@pytest.fixture(scope="module")
def fitted(pool) -> TextRouter:
    """On prompts alone."""
    return TextRouter(ranking(PRICES)).fit(pool.prompts, pool.y)


@pytest.fixture(scope="module")
def beside(pool, frame) -> TextRouter:
    """On prompts, embeddings beside them, and a function that embeds."""
    router = TextRouter(ranking(), encoder=count_vowels)
    return router.fit(frame, pool.y, costs=pool.costs)


# What it does


def test_the_hard_prompts_go_to_the_large_model(pool, fitted):
    names = fitted.route(pool.prompts, **RULE)
    assert np.mean((names == "large") == pool.hard) > 0.9
    assert fitted.route(NEW, **RULE).tolist() == ["small", "large"]
    # Without a budget the model that never fails is called.
    assert fitted.models_[fitted.predict(NEW)].tolist() == ["large", "large"]


def test_it_decides_as_the_router_inside_on_the_same_vectors(pool, frame, beside):
    vectors = beside.embed(frame)
    assert vectors.dtype == np.float32
    inside = ranking().set_params(blocks=beside.router_.blocks)
    inside.fit(vectors, pool.y, costs=pool.costs)
    budget = float(pool.costs.mean())
    for name in ("predict", "predict_quality", "predict_cost", "transform"):
        expected = getattr(inside, name)(vectors)
        np.testing.assert_array_equal(getattr(beside, name)(frame), expected)
    np.testing.assert_array_equal(
        beside.decision_function(frame), inside.decision_function(vectors)
    )
    total = {"budget": float(pool.costs.sum() / 2), "scope": "batch"}
    for rule in (RULE, {"budget": budget}, total):
        for top_k in (None, 2):
            np.testing.assert_array_equal(
                beside.route(frame, top_k=top_k, **rule),
                inside.route(vectors, top_k=top_k, **rule),
            )
    pd.testing.assert_frame_equal(
        beside.explain(frame, **RULE),
        inside.explain(vectors, **RULE),
        check_names=False,
    )
    score = beside.score(frame, pool.y, costs=pool.costs)
    assert score == inside.score(vectors, pool.y, costs=pool.costs)
    np.testing.assert_array_equal(
        beside.price_path_.quality, inside.price_path_.quality
    )
    names = beside.get_feature_names_out().tolist()
    assert names == inside.get_feature_names_out().tolist()
    assert beside.costs_.tolist() == inside.costs_.tolist()


def test_parts_are_there_as_asked_for(pool, frame):
    def width(X: Any, **parameters: Any) -> int:
        router = TextRouter(DummyRouter(costs=PRICES), **parameters)
        return router.fit(X, pool.y).embed(X).shape[1]

    words = PromptFeatures(5, random_state=0)
    assert width(pool.prompts, prompt_features=words) == 5 + 14
    assert width(pool.prompts, prompt_features=False, encoder=count_vowels) == 5
    assert width(frame, prompt_features=False) == 6
    assert width(frame, prompt_features=words) == 6 + 5 + 14
    assert width(frame, prompt_features=words, encoder=count_vowels) == 6 + 5 + 5 + 14
    with pytest.raises(ValueError, match="leave nothing of a prompt"):
        width(pool.prompts, prompt_features=False)


def test_an_embedding_alone_reaches_the_router_as_it_is(pool, frame):
    large = frame.assign(**{f"e{i}": 1000.0 * frame[f"e{i}"] for i in range(6)})
    router = TextRouter(ranking(PRICES), prompt_features=False).fit(large, pool.y)
    numbers = large.drop(columns="question").to_numpy()
    np.testing.assert_array_equal(router.embed(large), numbers)
    alone = ranking(PRICES).fit(numbers, pool.y)
    np.testing.assert_array_equal(router.transform(large), alone.transform(numbers))


def test_the_unit_of_an_embedding_does_not_matter(pool, frame):
    numbers = [f"e{i}" for i in range(6)]
    large = frame.assign(**{name: 1024.0 * frame[name] for name in numbers})
    one, other = (
        TextRouter(ranking(PRICES)).fit(X, pool.y).embed(X) for X in (frame, large)
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)
    length = np.sqrt((one[:, :6] ** 2).sum(axis=1).mean())
    assert length == pytest.approx(1, rel=1e-5)


def test_the_default_router_and_its_seed(pool):
    router = TextRouter(ranking(PRICES, random_state=5)).fit(pool.prompts, pool.y)
    assert router.vectors_.features.random_state == 5
    again = TextRouter(ranking(PRICES, random_state=5)).fit(pool.prompts, pool.y)
    assert pickle.dumps(router) == pickle.dumps(again)
    default = TextRouter().fit(pool.prompts[:60], pool.y[:60], costs=pool.costs[:60])
    assert isinstance(default.router_, RankingRouter)


@pytest.mark.parametrize(
    "router",
    [PointwiseRouter(Ridge(), random_state=0), DummyRouter(), MeanRouter()],
    ids=lambda router: type(router).__name__,
)
def test_other_routers_inside(pool, frame, router):
    made = TextRouter(router).fit(frame, pool.y, costs=pool.costs)
    assert set(made.route(frame, **RULE)) <= {"small", "large"}
    assert made.score(frame, pool.y, costs=pool.costs) > 0
    assert not hasattr(made, "add_model")
    with pytest.raises(ValueError, match="outcome_weight cannot be given"):
        made.fit(frame, pool.y, costs=pool.costs, outcome_weight=np.ones(pool.y.shape))


def test_estimates_of_fit_transform_are_held_out(pool):
    router = TextRouter(ranking())
    held_out = router.fit_transform(pool.prompts, pool.y, costs=pool.costs)
    expected = ranking().fit_transform(
        router.embed(pool.prompts), pool.y, costs=pool.costs
    )
    np.testing.assert_array_equal(held_out, expected)
    again = TextRouter(ranking()).fit(pool.prompts, pool.y, costs=pool.costs)
    np.testing.assert_array_equal(
        again.transform(pool.prompts), router.transform(pool.prompts)
    )


def test_weights_and_groups_reach_the_router(pool):
    weight = np.where(np.arange(240)[:, None] < 120, 1.0, 0.0) * np.ones((240, 2))
    groups = np.arange(240) // 8
    made = TextRouter(ranking(PRICES)).fit(
        pool.prompts, pool.y, outcome_weight=weight, groups=groups
    )
    inside = ranking(PRICES).fit(
        made.embed(pool.prompts), pool.y, outcome_weight=weight, groups=groups
    )
    np.testing.assert_array_equal(
        made.transform(pool.prompts), inside.transform(made.embed(pool.prompts))
    )


# What it reads


@pytest.mark.parametrize(
    "wrap",
    [
        np.array,
        pd.Series,
        pl.Series,
        lambda texts: pd.DataFrame({"prompt": texts}),
        lambda texts: pl.DataFrame({"prompt": texts}),
    ],
)
def test_prompts_in_any_container(pool, fitted, wrap):
    made = clone(fitted).fit(wrap(pool.prompts), pool.y)
    expected = fitted.transform(pool.prompts)
    for X in (wrap(pool.prompts), pool.prompts):
        np.testing.assert_array_equal(made.transform(X), expected)
    # A table needs no name where the fit saw none.
    np.testing.assert_array_equal(fitted.transform(wrap(pool.prompts)), expected)
    assert made.n_features_in_ == 1


@pytest.mark.parametrize("library", [pd, pl])
def test_embeddings_beside_prompts(pool, frame, library):
    table = frame if library is pd else pl.from_pandas(frame)
    made = TextRouter(ranking(PRICES)).fit(table, pool.y)
    assert made.feature_names_in_.tolist() == list(frame.columns)
    assert made.n_features_in_ == 7
    assert made.vectors_.prompt_column == 2
    expected = TextRouter(ranking(PRICES)).fit(frame, pool.y).transform(frame)
    np.testing.assert_array_equal(made.transform(table), expected)
    assert made.route(table[:0]).shape == (0,)


def test_other_columns_than_those_of_the_fit_are_refused(pool, frame, beside):
    with pytest.raises(ValueError, match="must be in the same order"):
        beside.route(frame[frame.columns[::-1]])
    with pytest.raises(ValueError, match="Feature names seen at fit time"):
        beside.route(frame.drop(columns="e3"))
    with pytest.raises(ValueError, match="must have the 7 columns"):
        beside.route(frame[["question"]].to_numpy())
    with pytest.raises(ValueError, match=r"must have the 7 columns.*got 1"):
        beside.route(pool.prompts)
    renamed = TextRouter(ranking(PRICES)).fit(frame[["question"]], pool.y)
    with pytest.raises(ValueError, match="feature names"):
        renamed.route(frame[["question"]].rename(columns={"question": "answer"}))
    alone = TextRouter(ranking(PRICES)).fit(pool.prompts, pool.y)
    with pytest.raises(ValueError, match=r"must have the 1 columns.*got 7"):
        alone.route(frame)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda t: t.drop(columns="question"),
            ValueError,
            "0 columns that hold no num",
        ),
        (
            lambda t: t.assign(b="x"),
            ValueError,
            "2 columns that hold no numbers: quest",
        ),
        (
            lambda t: t.assign(e1=np.nan),
            ValueError,
            "embedding columns of X contains Na",
        ),
        (lambda t: t.assign(e1=1e300), ValueError, "at most"),
        (
            lambda t: t.replace({"question": {t["question"][3]: None}}),
            TypeError,
            "row 3",
        ),
        (lambda t: t.iloc[:100], ValueError, "inconsistent numbers of samples"),
    ],
)
def test_bad_tables_leave_a_router_as_it_was(
    pool, frame, beside, change, error, message
):
    before = beside.transform(frame)
    with pytest.raises(error, match=message):
        beside.fit(change(frame), pool.y, costs=pool.costs)
    np.testing.assert_array_equal(beside.transform(frame), before)


def test_rows_in_another_order_are_refused(pool, fitted):
    names = pd.Index([f"q{i}" for i in range(240)])
    prompts = pd.Series(pool.prompts, index=names)
    y = pool.y.set_axis(names)
    with pytest.raises(ValueError, match="row labels of X in another order"):
        clone(fitted).fit(prompts, y.iloc[::-1])
    with pytest.raises(ValueError, match="y has the row labels of X"):
        fitted.add_model("new", y["large"].iloc[::-1], X=prompts, costs=2.0)


@pytest.mark.parametrize("prompts", ["one text", [None], ["a", 3], [float("nan")]])
def test_what_is_no_prompt_is_refused(pool, fitted, prompts):
    for ask in (fitted.route, fitted.predict, fitted.explain, fitted.transform):
        with pytest.raises(TypeError, match="X must"):
            ask(prompts)


def test_empty_prompts_and_no_prompts(pool, fitted):
    assert fitted.route([""]).shape == (1,)
    assert fitted.route([]).shape == (0,)
    assert fitted.transform([]).shape == (0, 4)


def test_repeated_prompts_count_once(pool):
    many = [*pool.prompts, *pool.prompts[:5] * 20]
    y = pd.concat([pool.y, *[pool.y[:5]] * 20], ignore_index=True)
    router = TextRouter(ranking(PRICES)).fit(many, y)
    assert router.route(NEW, **RULE).tolist() == ["small", "large"]


# Encoders


class Sparse(TransformerMixin, BaseEstimator):
    """Gives what no router reads."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return TfidfVectorizer().fit_transform(X)


def test_a_transformer_is_cloned_and_fitted_without_outcomes(pool):
    class NoOutcomes(TfidfVectorizer):
        def fit(self, raw_documents, y=None):
            assert y is None
            return super().fit(raw_documents)

    words = NoOutcomes()
    encoder = make_pipeline(words, TruncatedSVD(4, random_state=0))
    router = TextRouter(ranking(PRICES), encoder=encoder, prompt_features=False)
    router.fit(pool.prompts, pool.y)
    assert not hasattr(words, "vocabulary_")
    assert router.embed(NEW).shape == (2, 4)
    quality = router.predict_quality(NEW)
    assert quality[0, 0] > quality[1, 0]


@pytest.mark.parametrize(
    ("encoder", "error", "message"),
    [
        (3, TypeError, "encoder must be None, the name"),
        (TfidfVectorizer, TypeError, r"give TfidfVectorizer\(\)"),
        (Sparse(), TypeError, "sparse matrix of shape .*TruncatedSVD"),
        (lambda texts: np.ones((3, 2)), ValueError, "gave 3 vectors for 240 prompts"),
        (
            lambda texts: np.full((len(texts), 2), np.nan),
            ValueError,
            "gave contains NaN",
        ),
        (lambda texts: [len(text) for text in texts], ValueError, "Expected 2D array"),
    ],
)
def test_bad_encoders(pool, encoder, error, message):
    with pytest.raises(error, match=message):
        TextRouter(encoder=encoder).fit(pool.prompts, pool.y, costs=pool.costs)


def test_an_encoder_that_changes_its_width(pool):
    widths = iter([3, 4])
    router = TextRouter(
        ranking(PRICES), encoder=lambda texts: np.ones((len(texts), next(widths)))
    ).fit(pool.prompts, pool.y)
    with pytest.raises(
        ValueError, match="gave 4 numbers for each prompt, and 3 in fit"
    ):
        router.route(NEW)


@pytest.mark.parametrize("features", [None, "words", PromptFeatures, 1])
def test_bad_prompt_features(pool, features):
    with pytest.raises(TypeError, match="prompt_features must be True, False"):
        TextRouter(prompt_features=features).fit(pool.prompts, pool.y)


@pytest.mark.parametrize(
    "router", [Ridge(), RankingRouter, BudgetDecider(), make_pipeline(ranking())]
)
def test_bad_routers(pool, router):
    with pytest.raises(TypeError, match="router must be a router of vectors"):
        TextRouter(router).fit(pool.prompts, pool.y)


def test_an_unfitted_router_says_so(pool):
    router = TextRouter(ranking(PRICES))
    for ask in (
        *(router.route, router.predict, router.transform, router.explain, router.embed),
        *(router.predict_quality, router.predict_cost, router.decision_function),
    ):
        with pytest.raises(NotFittedError):
            ask(NEW)
    with pytest.raises(NotFittedError):
        router.add_model("new", [1.0, 0.0], X=NEW)
    with pytest.raises(NotFittedError):
        router.get_feature_names_out()


# An estimator of scikit-learn


def test_parameters_of_the_router_inside():
    router = TextRouter(ranking(PRICES), prompt_features=PromptFeatures(4))
    router.set_params(router__cv=3, prompt_features__max_terms=100)
    assert router.router.cv == 3
    copy = clone(router)
    assert copy.get_params()["router__cv"] == 3
    assert copy.get_params()["prompt_features__max_terms"] == 100
    assert isinstance(router, BaseRouter)


def test_other_prices_need_another_fit(pool, fitted):
    changed = clone(fitted).fit(pool.prompts, pool.y)
    changed.set_params(router__costs={"small": 1.0, "large": 2.0})
    with pytest.raises(ValueError, match="costs are not those of the fit"):
        changed.route(NEW)
    assert changed.fit(pool.prompts, pool.y).costs_.tolist() == [1.0, 2.0]


def test_infeasible_budgets_are_named(fitted):
    with pytest.raises(InfeasibleBudgetError, match="smallest"):
        fitted.route(NEW, budget=0.01)


@pytest.mark.slow
def test_searches_and_metadata(pool, frame, metadata_routing):
    search = GridSearchCV(
        TextRouter(ranking()),
        {
            "router__n_landmarks": [4, 8],
            "prompt_features": [True, False],
        },
        cv=3,
        error_score="raise",
    )
    rows = pool.y.notna().all(axis=1).to_numpy()
    search.fit(frame[rows], pool.y[rows], costs=pool.costs[rows])
    # Its embeddings are noise, and its words tell all.
    assert search.best_params_["prompt_features"] is True
    assert search.best_score_ > 0.75
    scores = cross_validate(
        TextRouter(ranking(), encoder=count_vowels),
        np.array(pool.prompts, dtype=object)[rows],
        pool.y[rows],
        params={"costs": pool.costs[rows]},
        scoring=make_routing_scorer("normalized_auc"),
        cv=3,
        error_score="raise",
    )
    assert np.isfinite(scores["test_score"]).all()


def test_before_a_decider(pool, metadata_routing):
    made = make_pipeline(TextRouter(ranking()), BudgetDecider(**RULE))
    made.fit(pool.prompts, pool.y, costs=pool.costs)
    names = made[0].models_[made.predict(NEW)]
    assert names.tolist() == ["small", "large"]


# A pool that changes


def test_models_come_and_go(pool, fitted):
    before = fitted.transform(NEW)
    larger = fitted.add_model(
        "new", pool.y["large"][:80], X=pool.prompts[:80], costs=2.0
    )
    assert larger.models_.tolist() == ["small", "large", "new"]
    assert larger.costs_.tolist() == [1.0, 20.0, 2.0]
    assert "new" in larger.route(pool.prompts, **RULE)
    smaller = larger.remove_model("new")
    np.testing.assert_array_equal(smaller.transform(NEW), before)
    np.testing.assert_array_equal(fitted.transform(NEW), before)
    assert larger.get_params()["router__costs"] == {**PRICES, "new": 2.0}
    assert fitted.get_params()["router__costs"] == PRICES


def test_other_prices_are_passed_on(pool):
    router = TextRouter(PointwiseRouter(Ridge(), costs=PRICES))
    cheap = router.fit(pool.prompts, pool.y).with_prices({"small": 1.0, "large": 2.0})
    assert cheap.costs_.tolist() == [1.0, 2.0]
    assert router.costs_.tolist() == [1.0, 20.0]
    assert cheap.route(NEW).shape == (2,)


# Files


def test_pickles_and_files_give_the_same_estimates(
    pool, frame, fitted, beside, tmp_path
):
    for router, X in ((fitted, pool.prompts), (beside, frame)):
        expected = router.transform(X)
        copy = pickle.loads(pickle.dumps(router))
        np.testing.assert_array_equal(copy.transform(X), expected)
        save(router, tmp_path / "r.skroute")
        loaded = load(tmp_path / "r.skroute")
        if router is beside:
            with pytest.raises(
                ValueError, match=r"the function count_vowels.*set_para"
            ):
                loaded.route(X)
            with pytest.raises(ValueError, match="the function count_vowels"):
                clone(loaded).fit(X, pool.y, costs=pool.costs)
            loaded.set_params(encoder=count_vowels)
        np.testing.assert_array_equal(loaded.transform(X), expected)
        rule = {"budget": float(router.costs_.mean())}
        np.testing.assert_array_equal(loaded.route(X, **rule), router.route(X, **rule))
        save(loaded, tmp_path / "again.skroute")
        assert (tmp_path / "again.skroute").read_bytes() == (
            tmp_path / "r.skroute"
        ).read_bytes()


def test_a_transformer_is_part_of_the_file(pool, tmp_path):
    encoder = make_pipeline(TfidfVectorizer(), TruncatedSVD(4, random_state=0))
    router = TextRouter(ranking(PRICES), encoder=encoder).fit(pool.prompts, pool.y)
    save(router, tmp_path / "r.skroute")
    np.testing.assert_array_equal(
        load(tmp_path / "r.skroute").transform(NEW), router.transform(NEW)
    )
    unknown = TextRouter(DummyRouter(costs=PRICES), encoder=Dense())
    with pytest.raises(ValueError, match="Dense, which no router file holds"):
        save(unknown.fit(pool.prompts, pool.y), tmp_path / "r.skroute")
    save(TextRouter(), tmp_path / "unfitted.skroute")
    assert load(tmp_path / "unfitted.skroute").router is None


class Dense(TransformerMixin, BaseEstimator):
    """An encoder that no file holds."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return count_vowels(X)


@pytest.mark.slow
def test_a_file_is_at_most_ten_mebibytes(tmp_path):
    """With the whole vocabulary, and embeddings of a sentence encoder."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(6000)])
    prompts = [" ".join(row) for row in words[rng.integers(6000, size=(2000, 60))]]
    table = pd.DataFrame(rng.normal(size=(2000, 384)).astype(np.float32))
    table.columns = [f"e{i}" for i in range(384)]
    table.insert(0, "prompt", prompts)
    y, costs = rng.uniform(size=(2, 2000, 11))
    router = TextRouter(RankingRouter(n_estimators=0, random_state=0))
    router.fit(table, y, costs=costs)
    assert len(router.vectors_.features.vectorizer_.vocabulary_) == 15_000
    save(router, tmp_path / "r.skroute")
    size = (tmp_path / "r.skroute").stat().st_size
    assert 4 * 2**20 < size <= 10 * 2**20


# A sentence encoder by its name


class Model:
    """What sentence-transformers loads."""

    names: ClassVar[list[str]] = []

    def __init__(self, name: str, device: str | None = None) -> None:
        self.names.append(name)

    def encode(self, texts: list[str], **options: Any) -> np.ndarray:
        return count_vowels(texts)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[Model]:
    """A stand-in for sentence-transformers, which downloads."""
    stand_in = ModuleType("sentence_transformers")
    stand_in.SentenceTransformer = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", stand_in)
    monkeypatch.setattr(Model, "names", [])
    return Model


def test_a_named_encoder_is_loaded_once_and_no_part_of_a_file(pool, library, tmp_path):
    router = TextRouter(ranking(PRICES), encoder="some/encoder")
    for _ in range(2):
        router = clone(router).fit(pool.prompts, pool.y)
    assert library.names == ["some/encoder"]
    expected = router.transform(NEW)
    plain = TextRouter(ranking(PRICES), encoder=count_vowels).fit(pool.prompts, pool.y)
    np.testing.assert_allclose(plain.transform(NEW), expected, rtol=1e-5)
    save(router, tmp_path / "r.skroute")
    loaded = load(tmp_path / "r.skroute")
    # Whoever writes a file does not decide which model is downloaded.
    with pytest.raises(ValueError, match="'some/encoder' as its encoder"):
        loaded.route(NEW)
    loaded.set_params(encoder="some/encoder")
    np.testing.assert_array_equal(loaded.transform(NEW), expected)


def test_the_parts_of_a_vector_are_blocks_of_the_router(pool, frame) -> None:
    router = TextRouter(RankingRouter({"small": 1.0, "large": 9.0}, n_estimators=0))
    router.fit(frame, pool.y)
    widths = router.router_.blocks
    assert widths[0] == pool.embeddings.shape[1]
    assert sum(widths) == router.embed(frame[:1]).shape[1]
    # What is given stays what was given: another fit may have other parts.
    assert router.router.blocks is None
    larger = router.add_model("new", pool.y["small"], X=frame, costs=2.0)
    assert larger.router.blocks is None
    assert larger.router_.blocks == widths
    larger.fit(pool.prompts, pool.y.assign(new=1.0))
    assert larger.router_.blocks == (sum(widths) - widths[0],)
    kept = TextRouter(RankingRouter(blocks=(sum(widths),), n_estimators=0))
    kept.fit(frame, pool.y, costs=pool.costs)
    assert kept.router_.blocks == (sum(widths),)


# Tables of one query, or of a few


def test_a_table_is_read_the_same_the_quick_way_and_the_long_one(
    pool, frame, beside
) -> None:
    expected = beside.embed(frame)
    one = np.vstack([beside.embed(frame.iloc[i : i + 1]) for i in range(20)])
    np.testing.assert_array_equal(one, expected[:20])
    # Holes of pandas, or columns of several types, are read column by column.
    for alike in (
        frame.convert_dtypes(),
        frame.astype({"e0": np.float64}),
        pl.from_pandas(frame),
    ):
        np.testing.assert_allclose(beside.embed(alike), expected, rtol=1e-6)
    for place in (0, 6):
        moved = frame.drop(columns="question")
        moved.insert(place, "question", pool.prompts)
        made = TextRouter(ranking(), encoder=count_vowels)
        made.fit(moved, pool.y, costs=pool.costs)
        np.testing.assert_array_equal(made.embed(moved.iloc[:3]), expected[:3])
        with pytest.raises(ValueError, match="same order"):
            made.embed(frame)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"e1": np.nan}, "NaN"),
        ({"e5": np.inf}, "infinity"),
        ({"e1": "1.5"}, "one column of texts"),
        ({"question": 1.0}, "0 columns that hold no numbers"),
        ({"e0": 1e200}, "at most"),
    ],
)
def test_the_quick_way_lets_nothing_wrong_pass(frame, beside, change, words) -> None:
    wrong = frame.iloc[:1].assign(**change)
    with pytest.raises(ValueError, match=words):
        beside.embed(wrong)


def test_columns_without_names_are_told_by_what_they_hold(pool) -> None:
    table = pd.DataFrame(pool.embeddings)
    table[6] = pool.prompts
    router = TextRouter(ranking(PRICES)).fit(table, pool.y)
    expected = router.embed(table.iloc[:5])
    moved = table[[6, *range(6)]]
    np.testing.assert_array_equal(router.embed(moved.iloc[:5]), expected)
    doubled = table.set_axis([0, 0, *range(2, 7)], axis=1)
    with pytest.raises(ValueError, match="different names"):
        router.embed(doubled.iloc[:1])


def test_vectors_of_any_layout_are_taken_from_an_encoder(pool) -> None:
    def embed(texts: list[str]) -> np.ndarray:
        return np.asfortranarray(count_vowels(texts))

    router = TextRouter(ranking(PRICES), encoder=count_vowels)
    router.fit(pool.prompts, pool.y)
    expected = router.transform(NEW)
    router.set_params(encoder=embed).fit(pool.prompts, pool.y)
    np.testing.assert_array_equal(router.transform(NEW), expected)

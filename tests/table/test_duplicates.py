"""Repeated and nearly repeated prompts count as one, wherever a router looks."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.neighbors import KNeighborsRegressor

from skroute import PointwiseRouter, RankingRouter
from skroute._table.duplicates import average_duplicates, find_duplicates
from skroute._table.folds import draw_folds
from skroute.datasets import load_digits_pool, make_routing
from skroute.evaluation import compare_routers
from skroute.evaluation.splits import OutcomeTable

BUDGETS = (0.02, 0.05, 0.2, 0.4)


def copies(
    X: np.ndarray, n_copies: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Shuffled copies of the rows of a table, and which row each is a copy of."""
    rng = np.random.default_rng(seed)
    which = rng.permutation(np.tile(np.arange(len(X)), n_copies))
    return X[which] + noise * rng.standard_normal((len(which), X.shape[1])), which


# Which rows are one prompt.


@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-4])
@pytest.mark.parametrize("n_features", [16, 384, 3072])
def test_copies_with_the_noise_of_an_encoder_are_one_prompt(
    noise: float, n_features: int
) -> None:
    X = np.random.default_rng(1).standard_normal((200, n_features))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    rows, which = copies(X, 3, noise)
    duplicates = find_duplicates(rows.astype(np.float32))
    assert duplicates.n_prompts == 200
    assert (duplicates.count == 3).all()
    same = duplicates.first[:, None] == duplicates.first
    np.testing.assert_array_equal(same, which[:, None] == which)


@pytest.mark.parametrize("n_features", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("n_queries", [20, 300, 5000])
def test_different_queries_stay_apart_also_in_few_dimensions(
    n_features: int, n_queries: int
) -> None:
    X = np.random.default_rng(2).standard_normal((n_queries, n_features))
    assert find_duplicates(X).n_prompts >= 0.98 * n_queries


@pytest.mark.parametrize("unit", [1e-200, 1e-30, 1.0, 1e100])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_the_unit_and_origin_of_embeddings_do_not_matter(
    unit: float, shift: float
) -> None:
    X = np.random.default_rng(3).standard_normal((100, 8))
    X[60:] = X[:40]
    assert find_duplicates((X + shift) * unit).n_prompts == 60


def test_a_stray_row_does_not_make_all_others_one() -> None:
    X = np.random.default_rng(4).standard_normal((300, 8))
    X[0] = 1e8
    assert find_duplicates(X).n_prompts == 300


@pytest.mark.parametrize("kind", ["task", "length", "one-hot", "strays"])
def test_what_varies_more_than_the_embedding_does_not_make_prompts_alike(kind) -> None:
    rng = np.random.default_rng(5)
    X = rng.standard_normal((600, 16))
    task = rng.integers(5, size=600)
    if kind == "task":
        X = np.column_stack([X, 1000.0 * task])
    elif kind == "length":
        X = np.column_stack([X, rng.lognormal(6, 1, size=600)])
    elif kind == "one-hot":
        X = np.hstack([X, 300.0 * np.eye(5)[task]])
    else:
        X[:18] *= 300
    assert find_duplicates(X).n_prompts == 600
    rows, _ = copies(X, 2, 1e-5)
    assert find_duplicates(rows).n_prompts == 600


def test_a_chain_of_near_rows_is_not_one_prompt() -> None:
    line = np.linspace(0.0, 1.0, 3000)[:, None] * np.ones((1, 16))
    duplicates = find_duplicates(line)
    assert duplicates.n_prompts > 20
    spread = np.linalg.norm(line - line.mean(axis=0), axis=1).std()
    for prompt in np.unique(duplicates.first):
        members = line[duplicates.first == prompt]
        assert np.ptp(members[:, 0]) * 4 < spread


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
)
def test_equal_rows_are_always_one_prompt(
    n_rows: int, n_copies: int, n_features: int, seed: int
) -> None:
    X = np.random.default_rng(seed).integers(-3, 4, size=(n_rows, n_features)) * 1.0
    rows, _ = copies(X, n_copies, 0.0, seed)
    duplicates = find_duplicates(rows)
    _, which = np.unique(rows, axis=0, return_inverse=True)
    which = which.ravel()
    expected = np.array([np.flatnonzero(which == w)[0] for w in which])
    np.testing.assert_array_equal(duplicates.first, expected)
    np.testing.assert_array_equal(duplicates.count, np.bincount(which)[which])


@pytest.mark.slow
def test_different_prompts_of_real_tables_stay_apart(shared_data) -> None:
    for name in ("pool9", "mmlu_pro", "niagara", "routerbench3_question"):
        X = np.load(shared_data / f"{name}_minilm.npy").astype(np.float32)
        exact = len(np.unique(X, axis=0))
        assert 0 <= exact - find_duplicates(X).n_prompts <= 0.002 * len(X)


# Averages.


def test_each_prompt_holds_the_averages_of_its_rows_once() -> None:
    X = np.array([[0.0], [1.0], [0.0], [2.0], [0.0]])
    quality = np.array([[1.0, np.nan], [0.5, 1], [0.0, np.nan], [1, 1], [np.nan, 0.2]])
    costs = np.array([[2.0, 9.0], [1, 1], [4.0, np.nan], [1, 1], [6.0, 3.0]])
    weight = np.array([[1.0, 0.0], [1, 1], [3.0, 0.0], [1, 1], [0.0, 1.5]])
    duplicates = find_duplicates(X)
    averages = average_duplicates(quality, costs, None, duplicates)
    np.testing.assert_allclose(averages[0][0], [0.5, 0.2])
    np.testing.assert_allclose(averages[1][0], [4.0, 6.0])
    for table, before in zip(averages[:2], (quality, costs), strict=True):
        assert np.isnan(table[[2, 4]]).all()
        np.testing.assert_array_equal(table[[1, 3]], before[[1, 3]])
    quality, _, weight = average_duplicates(quality, None, weight, duplicates)
    np.testing.assert_allclose(quality[0], [0.25, 0.2])
    np.testing.assert_allclose(weight[0], [4 / 3, 0.5])
    np.testing.assert_array_equal(weight[[2, 4]], 0.0)


# Fits.


def spend_and_auc(
    X: np.ndarray, y: np.ndarray, costs: np.ndarray, test: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, float]:
    X_test, y_test, costs_test = test
    router = RankingRouter(random_state=0).fit(X, y, costs=costs)
    index = {name: i for i, name in enumerate(router.models_)}
    largest = costs.mean(axis=0).max()
    spent = []
    for share in BUDGETS:
        names = router.route(X_test, budget=share * largest)
        chosen = [index[name] for name in names]
        spent.append(costs_test[np.arange(len(chosen)), chosen].mean())
    return np.array(spent), router.score(X_test, y_test, costs=costs_test)


@pytest.mark.slow
@pytest.mark.parametrize(("n_copies", "noise"), [(5, 0.0), (2, 1e-4)])
def test_a_table_of_copies_routes_and_spends_as_the_distinct_one(
    n_copies: int, noise: float
) -> None:
    pool = load_digits_pool()
    order = np.random.default_rng(0).permutation(len(pool.data))
    train, test = order[:400], order[400:]
    held_out = pool.data[test], pool.quality[test], pool.costs[test]
    rows, which = copies(pool.data[train], n_copies, noise)
    # The distinct table holds the first copy of each row, in the same order.
    first = np.sort(np.unique(which, return_index=True)[1])
    which = train[which]
    tables = pool.quality[which], pool.costs[which]
    spent, auc = spend_and_auc(rows, *tables, held_out)
    expected, expected_auc = spend_and_auc(
        rows[first], *(table[first] for table in tables), held_out
    )
    # A small budget is a few calls of 400: one of them is up to a twentieth of it.
    np.testing.assert_allclose(spent, expected, rtol=0.1)
    assert (spent / expected).mean() == pytest.approx(1.0, abs=0.05)
    assert auc == pytest.approx(expected_auc, abs=0.003)


@pytest.mark.slow
def test_more_answers_per_prompt_route_better() -> None:
    data = make_routing(1300, n_models=4, random_state=0)
    rng = np.random.default_rng(0)
    X, truth = data.data[:300], data.expected_quality[:300]
    held_out = data.data[300:], data.quality[300:]
    scores = []
    for k in (1, 3, 9):
        y = (rng.random((k, *truth.shape)) < truth).astype(float)
        costs = np.tile(data.costs[:300], (k, 1))
        answers = RankingRouter(random_state=0).fit(
            np.tile(X, (k, 1)), y.reshape(-1, 4), costs=costs
        )
        averages = RankingRouter(random_state=0).fit(
            X, y.mean(axis=0), costs=data.costs[:300]
        )
        scores.append(answers.score(*held_out, costs=data.costs[300:]))
        expected = averages.score(*held_out, costs=data.costs[300:])
        assert scores[-1] == pytest.approx(expected, abs=1e-3)
    assert scores[0] < min(scores[1:])


@pytest.mark.slow
def test_queries_near_repeated_ones_are_trusted_as_before() -> None:
    data = make_routing(900, n_models=3, random_state=0)
    X, y, costs = data.data[:600], data.quality[:600], data.costs[:600]
    twice = RankingRouter(random_state=0).fit(
        np.repeat(X, 2, axis=0), np.repeat(y, 2, axis=0), costs=np.repeat(costs, 2, 0)
    )
    once = RankingRouter(random_state=0).fit(X, y, costs=costs)
    np.testing.assert_allclose(
        twice.predict_quality(data.data[600:]),
        once.predict_quality(data.data[600:]),
        atol=1e-8,
    )


def test_weights_that_are_all_equal_are_none() -> None:
    data = make_routing(120, n_models=3, random_state=0)
    rng = np.random.default_rng(0)
    X = np.repeat(data.data[:60], 2, axis=0)
    y = np.where(rng.random((120, 3)) < 0.5, np.nan, data.quality)
    known = {"costs": data.costs}
    plain = RankingRouter(random_state=0).fit(X, y, **known)
    weight = np.full(y.shape, 7.0)
    weighed = RankingRouter(random_state=0).fit(X, y, **known, outcome_weight=weight)
    np.testing.assert_array_equal(weighed.predict_quality(X), plain.predict_quality(X))


@pytest.mark.slow
def test_a_new_model_is_learned_from_each_prompt_once() -> None:
    data = make_routing(300, n_models=3, random_state=0)
    router = RankingRouter(random_state=0).fit(
        data.data, data.quality[:, :2], costs=data.costs[:, :2]
    )
    X, y, costs = data.data[:40], data.quality[:40, 2], data.costs[:40, 2]
    rows = np.r_[np.arange(40), np.repeat(np.arange(20), 8)]
    once = router.add_model("new", y, X=X, costs=costs)
    often = router.add_model("new", y[rows], X=X[rows], costs=costs[rows])
    np.testing.assert_allclose(
        often.predict_quality(data.data), once.predict_quality(data.data), atol=1e-9
    )


# Groups.


def test_folds_separate_neither_groups_nor_prompts() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 8))
    X[100:150] = X[:50] + 1e-6 * rng.standard_normal((50, 8))
    groups = rng.integers(80, size=200)
    fold = draw_folds(find_duplicates(X, groups), 5, 0)
    for group in range(80):
        assert len(set(fold[groups == group])) <= 1
    np.testing.assert_array_equal(fold[100:150], fold[:50])
    assert len(set(fold)) == 5


def test_estimates_of_a_group_do_not_see_it() -> None:
    data = make_routing(120, n_models=3, random_state=0)
    groups = np.repeat(np.arange(40), 3)
    turned = data.quality.copy()
    turned[:3] = 1.0 - turned[:3]
    router = PointwiseRouter(Ridge(), random_state=0)

    def moved(labels: np.ndarray | None) -> float:
        before, after = (
            router.fit_transform(data.data, y, costs=data.costs, groups=labels)
            for y in (data.quality, turned)
        )
        return float(np.abs(before - after)[:3].max())

    assert moved(groups) == 0.0
    assert moved(None) > 0.0


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (np.zeros(99), r"of shape \(100,\); got \(99,\)"),
        (np.zeros((100, 1)), r"of shape \(100,\); got \(100, 1\)"),
        (np.r_[np.zeros(99), np.nan], "the label of row 99 is missing"),
        (["a"] * 99 + [None], "the label of row 99 is missing"),
        (["a"] * 100, "at least two groups"),
        (pd.array(["a", pd.NA] * 50), "the label of row 1 is missing"),
        (pd.Series(range(100), index=[f"q{i}" for i in range(100)][::-1]), "order"),
    ],
)
def test_groups_that_are_none_are_refused(groups, words) -> None:
    data = make_routing(100, n_models=2, random_state=0)
    X = pd.DataFrame(data.data, index=[f"q{i}" for i in range(100)])
    for router in (RankingRouter(), PointwiseRouter(Ridge())):
        with pytest.raises(ValueError, match=rf"(?s)groups.*{words}"):
            router.fit(X, data.quality, costs=data.costs, groups=groups)
        assert not hasattr(router, "models_")


def test_groups_are_routed_as_metadata(metadata_routing) -> None:
    data = make_routing(120, n_models=2, random_state=0)
    groups = np.repeat(np.arange(40), 3)
    seen = []

    class Spy(PointwiseRouter):
        def fit(self, X, y, *, costs=None, groups=None):
            seen.append(groups)
            return super().fit(X, y, costs=costs, groups=groups)

    result = cross_validate(
        Spy(Ridge()),
        data.data,
        data.quality,
        cv=GroupKFold(4),
        params={"groups": groups, "costs": data.costs},
        error_score="raise",
    )
    assert np.isfinite(result["test_score"]).all()
    assert len(seen) == 4
    for part in seen:
        assert 40 - len(np.unique(part)) == 10


# What is said of them.


def test_a_fit_logs_how_many_prompts_are_different(caplog) -> None:
    data = make_routing(100, n_models=2, random_state=0)
    tables = [np.vstack([table, table[:30]]) for table in (data.data, data.quality)]
    with caplog.at_level(logging.INFO, logger="skroute"):
        RankingRouter([1.0, 2.0], verbose=1, random_state=0).fit(*tables)
    assert "100 different prompts, 0 queries in large blocks" in caplog.text


def test_a_frame_of_repeats_keeps_its_names() -> None:
    data = make_routing(80, n_models=2, random_state=0)
    X = pd.DataFrame(np.vstack([data.data, data.data]))
    y = pd.DataFrame(np.vstack([data.quality, data.quality]), columns=["a", "b"])
    router = RankingRouter({"a": 1.0, "b": 2.0}, random_state=0).fit(X, y)
    assert router.models_.tolist() == ["a", "b"]


# Comparisons.


def test_compared_routers_are_not_judged_on_repeats_of_what_they_saw() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 16))
    y = (rng.random((150, 3)) < 0.5).astype(float)  # X tells nothing of it
    rows, which = copies(X, 4, 1e-5)
    nearest = {
        "nearest": PointwiseRouter(KNeighborsRegressor(3), random_state=0),
    }
    compared = compare_routers(rows, y[which], [1.0, 2.0, 4.0], nearest, seeds=4)
    assert compared.n_prompts == 150
    # A neighbour that is the query itself would know all of its outcomes.
    assert compared.results["nearest"].mean("quality") < 0.65


def test_compared_routers_are_fitted_with_the_groups() -> None:
    data = make_routing(90, n_models=2, random_state=0)
    groups = np.repeat(np.arange(30), 3)
    seen = []

    class Spy(PointwiseRouter):
        def fit(self, X, y, *, costs=None, groups=None):
            seen.append(groups)
            return super().fit(X, y, costs=costs, groups=groups)

    for labels in (groups, None):
        routers = {"spy": Spy(Ridge(), random_state=0)}
        compare_routers(
            data.data, data.quality, data.costs, routers, groups=labels, seeds=1
        )
    assert len(np.unique(seen[0])) == 21
    assert seen[1] is None


def test_texts_that_are_equal_stay_on_one_side() -> None:
    texts = [f"question {i % 20}" for i in range(60)]
    sides = []

    class Encoder:
        def transform(self, rows):
            sides.append(set(rows))
            return np.array([[float(row.split()[1])] for row in rows])

    def encoder(rows):
        return Encoder()

    y = np.random.default_rng(0).random((60, 2))
    compare_routers(
        texts,
        y,
        [1.0, 2.0],
        {"ridge": PointwiseRouter(Ridge())},
        encoder=encoder,
        seeds=1,
    )
    assert len(sides) == 2
    assert not sides[0] & sides[1]


@pytest.mark.parametrize("kind", ["wide array", "frame", "sparse"])
def test_rows_that_are_yet_to_be_encoded_are_compared_whole(kind) -> None:
    X = np.zeros((60, 1200))
    X[np.arange(60), 500 + np.arange(60) % 30] = 1.0
    rows = {
        "wide array": X,
        "frame": pd.DataFrame(X, index=[f"q{i}" for i in range(60)]),
        "sparse": csr_array(X),
    }[kind]
    numbers = OutcomeTable.check(
        rows, np.ones((60, 2)), [1.0, 2.0], encoded=False
    ).duplicates
    assert numbers.n_prompts == 30

"""What is fast gives the answers of what is plain, and stays small."""

from __future__ import annotations

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, cpu_count, delayed
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

import skroute._table.folds
import skroute.base
import skroute.ranking
from skroute import PointwiseRouter, RankingRouter
from skroute._compute.threads import count_openmp_threads, run_in_threads
from skroute._estimate.options import OPTIONS
from skroute._estimate.ridge import ALPHAS, fit_ridge
from skroute._rank.forest import PairRanker
from skroute._table.folds import draw_folds
from skroute._table.tables import check_queries
from skroute.datasets import make_routing
from skroute.metrics import normalized_auc


def fitted(
    seed: int = 0, n_queries: int = 300, kind: Any = RankingRouter, **settings: Any
) -> tuple[Any, Any]:
    table = {"n_features": 10, "n_models": 4, "missing": 0.0}
    table |= {name: settings.pop(name) for name in tuple(table) if name in settings}
    data = make_routing(n_queries + 200, random_state=seed, **table)
    # Without caution, decisions follow the qualities that are computed here otherwise.
    settings = {"caution": 0.0, "random_state": seed} | settings
    router = kind(**{"n_landmarks": 48, "n_estimators": 30} | settings)
    known = slice(n_queries)
    router.fit(data.data[known], data.quality[known], costs=data.costs[known])
    return router, data.data[n_queries:]


class Ranked(RankingRouter):
    """Follows its ranker, proven or not: on tables as small as here it is not."""

    _options = replace(OPTIONS, doubt=-1e9)


@pytest.mark.slow
@given(
    seed=st.integers(0, 99),
    n_models=st.integers(2, 6),
    n_features=st.integers(2, 30),
    missing=st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=8, deadline=None)
def test_the_fast_path_gives_what_the_plain_one_gives(
    seed: int, n_models: int, n_features: int, missing: float
) -> None:
    table = {"n_models": n_models, "n_features": n_features, "missing": missing}
    router, X = fitted(seed, 700, Ranked, **table)
    router._fitted = replace(router._fitted, rank_weight=0.4)
    quality, cost = reference.estimates(router._fitted, X)
    np.testing.assert_allclose(router.predict_quality(X), quality, atol=1e-9)
    np.testing.assert_allclose(router.predict_cost(X), cost, atol=1e-9)
    price = 0.5 / cost.mean()
    best = router.models_[(quality - price * cost).argmax(axis=1)]
    np.testing.assert_array_equal(router.route(X, price=price), best)


@pytest.mark.slow
@given(
    seed=st.integers(0, 99),
    n_models=st.integers(2, 6),
    n_features=st.integers(2, 30),
    n_queries=st.sampled_from([8, 40, 300]),
    dtype=st.sampled_from([np.float32, np.float64]),
    caution=st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=10, deadline=None)
def test_a_query_alone_is_estimated_as_among_others(
    seed: int,
    n_models: int,
    n_features: int,
    n_queries: int,
    dtype: Any,
    caution: float,
) -> None:
    table = {"n_models": n_models, "n_features": n_features, "caution": caution}
    router, X = fitted(seed, n_queries, **table)
    model, X = router._fitted.quality, X[:40].astype(dtype)
    together, _ = model.predict(X)
    for i in range(len(X)):
        alone, _ = model.predict(X[i : i + 1])
        compared = [(alone.quality, together.quality), (alone.trust, together.trust)]
        if caution:
            compared.append((alone.build_features(), together.build_features()))
        for value, expected in compared:
            assert value.dtype == expected.dtype
            np.testing.assert_allclose(
                value[0], expected[i], atol=1e-4 if dtype is np.float32 else 1e-10
            )


@pytest.mark.slow
def test_single_precision_is_kept_and_routes_alike() -> None:
    router, X = fitted(n_queries=1000, n_features=30)
    single = X.astype(np.float32)
    exact = router.predict_quality(single.astype(np.float64))
    # A threshold of a tree may lie between the roundings of a feature.
    error = np.abs(router.predict_quality(single) - exact).max(axis=1)
    assert np.quantile(error, 0.98) < 1e-5
    pairs, scaled = router._fitted.quality.predict(single)
    assert scaled.dtype == pairs.quality.dtype == np.float32
    budget = float(router.price_path_.cost[[0, -1]].mean())
    same = router.route(single, budget=budget) == router.route(X, budget=budget)
    assert same.mean() > 0.98


@pytest.mark.slow
def test_single_precision_far_from_the_origin() -> None:
    data = make_routing(400, n_features=8, n_models=3, random_state=0)
    X = (data.data + 1e4).astype(np.float32)
    router = RankingRouter(n_landmarks=32, random_state=0)
    router.fit(X[:300], data.quality[:300], costs=data.costs[:300])
    exact = router.predict_quality(X[300:].astype(np.float64))
    error = np.abs(router.predict_quality(X[300:]) - exact).max(axis=1)
    assert np.quantile(error, 0.98) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_at_a_time_in_batches_and_in_threads_is_the_same(
    dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    router, X = fitted()
    X = X.astype(dtype)
    budget = float(router.price_path_.cost[[0, -1]].mean())
    expected = router.route(X, budget=budget)
    alone = [router.route(X[i : i + 1], budget=budget)[0] for i in range(len(X))]
    np.testing.assert_array_equal(alone, expected)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: router.route(X, budget=budget), range(64)))
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)
    # Small chunks, decided by themselves and estimated by threads.
    monkeypatch.setattr(skroute.base, "_DECIDED_AT_ONCE", 50)
    monkeypatch.setattr(skroute.ranking, "_ESTIMATED_AT_ONCE", 7)
    for n_jobs in (None, 2):
        router.set_params(n_jobs=n_jobs)
        np.testing.assert_array_equal(router.route(X, budget=budget), expected)
        np.testing.assert_array_equal(
            router.route(X, budget=budget, top_k=3)[:, 0], expected
        )
    np.testing.assert_array_equal(
        router.predict(X), router.predict_quality(X).argmax(axis=1)
    )


def test_decisions_that_depend_on_each_other_are_not_chunked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router, X = fitted()
    cost = router.predict_cost(X)
    total = float(0.5 * (cost.min(axis=1).sum() + cost.max(axis=1).sum()))
    expected = router.route(X, budget=total, scope="batch")
    monkeypatch.setattr(skroute.base, "_DECIDED_AT_ONCE", 50)
    np.testing.assert_array_equal(
        router.route(X, budget=total, scope="batch"), expected
    )


@pytest.mark.slow
def test_memory_does_not_grow_with_the_queries() -> None:
    router, X = fitted(n_models=6)
    budget = float(router.price_path_.cost[[0, -1]].mean())
    router.route(X, budget=budget)
    needed = []
    for times in (200, 600):
        many = np.tile(X, (times, 1)).astype(np.float32)
        tracemalloc.start()
        names = router.route(many, budget=budget)
        needed.append(tracemalloc.get_traced_memory()[1] - 3 * names.nbytes)
        tracemalloc.stop()
    assert needed[1] < 1.1 * needed[0]


def test_routing_changes_no_pickle() -> None:
    router, X = fitted()
    before = pickle.dumps(router)
    router.route(X.astype(np.float32), price=0.1)
    assert pickle.dumps(router) == before
    after = pickle.loads(before).route(X, price=0.1)
    np.testing.assert_array_equal(after, router.route(X, price=0.1))


@pytest.mark.slow
def test_a_changed_pool_does_not_route_by_the_old_one() -> None:
    router, X = fitted()
    X = X.astype(np.float32)
    router.route(X, price=0.0)
    smaller = router.remove_model("model_0")
    exact = smaller.predict_quality(X.astype(np.float64))
    assert smaller.predict_quality(X).shape == exact.shape
    assert np.median(np.abs(smaller.predict_quality(X) - exact)) < 1e-5


def _wrong(X: np.ndarray, value: float) -> np.ndarray:
    X = X.copy()
    X[3, 2] = value
    return X


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: _wrong(X, np.nan), "NaN"),
        (lambda X: _wrong(X, np.inf), "infinity"),
        (lambda X: _wrong(_wrong(X, np.inf) - 1, -np.inf), "infinity"),
        (lambda X: X[:, :-1], "features"),
        (lambda X: X[0], "1D array"),
        (lambda X: X.astype(str).astype(object) + "x", "could not convert"),
    ],
)
def test_light_checks_let_nothing_wrong_pass(change: Any, message: str) -> None:
    router, X = fitted()
    for dtype in (np.float32, np.float64):
        with pytest.raises(ValueError, match=message):
            router.route(change(X.astype(dtype)), price=0.1)


@pytest.mark.slow
def test_light_checks_let_everything_right_pass() -> None:
    router, X = fitted()
    expected = router.route(X, price=0.1)
    strided = np.repeat(X, 2, axis=0)[::2]
    swapped = X.astype(X.dtype.newbyteorder())
    for alike in (X.tolist(), np.asfortranarray(X), strided, swapped, X.astype(object)):
        np.testing.assert_array_equal(router.route(alike, price=0.1), expected)
    # Its sum overflows, which is no fault of a value, and no warning.
    large = np.full((4, X.shape[1]), 2e38, dtype=np.float32)
    assert check_queries(router, large) is not None


def _ridge_table(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(200, 6))
    Y = X[:, :4] + rng.normal(size=(200, 4))
    return X, Y, draw_folds(X, 4, seed), rng.uniform(0.5, 2.0, size=(200, 1))


@pytest.mark.slow
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("differences", [False, True])
def test_errors_by_sums_choose_what_errors_by_rows_choose(
    differences: bool, weighed: bool
) -> None:
    for seed in range(5):
        X, Y, fold, weight = _ridge_table(seed)
        weight = np.repeat(weight, 4, axis=1) if weighed else None
        scale = np.array([1.0, 2.0, 0.5, 1.0])
        _, _, chosen = fit_ridge(
            X,
            Y,
            fold,
            scale=scale,
            differences=differences,
            weight=weight,
        )
        error = []
        for strength in range(len(ALPHAS)):
            _, held_out, _ = fit_ridge(
                X,
                Y,
                fold,
                scale=scale,
                weight=weight,
                position=strength,
            )
            residual = (held_out[:, :, 0] - Y) / scale
            if differences:
                residual -= residual.mean(axis=1, keepdims=True)
            error.append(((1.0 if weight is None else weight) * residual**2).sum())
        assert chosen == int(np.argmin(error))


def test_a_ridge_in_a_basis_is_one_on_mapped_features() -> None:
    X, Y, fold, _ = _ridge_table(0)
    basis = np.random.RandomState(1).normal(size=(6, 6))
    given_basis = fit_ridge(X, Y, fold, scale=np.ones(4), basis=basis, offsets=(-1, 0))
    mapped = fit_ridge(X @ basis, Y, fold, scale=np.ones(4), offsets=(-1, 0))
    np.testing.assert_allclose(given_basis[1], mapped[1], atol=1e-10)
    np.testing.assert_allclose(
        given_basis[0].predict(X), mapped[0].predict(X @ basis), atol=1e-10
    )


@pytest.mark.slow
def test_rankers_of_longer_tables_see_part_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = make_routing(2500, n_models=4, random_state=0)
    train, test = slice(2000), slice(2000, None)

    def area() -> tuple[float, list[float]]:
        router = RankingRouter(n_landmarks=64, random_state=0)
        router.fit(data.data[train], data.quality[train], costs=data.costs[train])
        estimates = np.hsplit(router.transform(data.data[test]), 2)
        score = normalized_auc(data.quality[test], data.costs[test], *estimates)
        return score, router.ranker_.value.tolist()

    whole, leaves = area()
    monkeypatch.setattr(skroute._rank.ranker, "_MAX_RANKED", 10**9)
    assert area() == (whole, leaves)
    monkeypatch.setattr(skroute._rank.ranker, "_MAX_RANKED", 4000)
    part, other = area()
    assert other != leaves
    assert part > whole - 0.01


@pytest.mark.slow
def test_threads_are_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # joblib gives its workers a share of the cores unless the shell sets a number.
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert count_openmp_threads(None) == 1
    assert count_openmp_threads(1) == 1
    assert count_openmp_threads(-1) <= cpu_count()
    with threadpool_limits(1, user_api="openmp"):
        assert count_openmp_threads(-1) == 1
    # Two workers share the cores; where a router is fitted, there is LightGBM's OpenMP.
    of_a_worker = "__import__('skroute.ranking').ranking.count_openmp_threads(-1)"
    for threads in Parallel(n_jobs=2)(delayed(eval)(of_a_worker) for _ in range(2)):
        assert threads <= max(1, cpu_count() // 2)
    assert run_in_threads(lambda i: i * i, range(5), 2) == [0, 1, 4, 9, 16]
    with pytest.raises(ZeroDivisionError):
        run_in_threads(lambda i: 1 / i, [1, 0], 2)


def test_other_routers_are_decided_in_chunks_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = make_routing(300, n_models=3, random_state=0)
    router = PointwiseRouter(Ridge(), random_state=0)
    router.fit(data.data, data.quality, costs=data.costs)
    expected = router.route(data.data, budget=float(router.price_path_.cost.mean()))
    monkeypatch.setattr(skroute.base, "_DECIDED_AT_ONCE", 64)
    np.testing.assert_array_equal(
        router.route(data.data, budget=float(router.price_path_.cost.mean())), expected
    )


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_trees() -> None:
    n_trees, rng = 10_000, np.random.default_rng(0)
    nodes = np.tile([1, 2, -1, -4], n_trees), np.tile([3, -2, -3, -5], n_trees)
    ranker = PairRanker(
        22,
        np.full(n_trees, 5),
        rng.integers(0, 22, 4 * n_trees),
        rng.normal(size=4 * n_trees),
        *nodes,
        rng.normal(size=5 * n_trees),
    )
    features = rng.normal(size=(200, 10, 22))
    one = ranker.predict(features[:1])
    tracemalloc.start()
    scores = ranker.predict(features)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6
    np.testing.assert_array_equal(scores[:1], one)


@pytest.mark.slow
@given(
    seed=st.integers(0, 99),
    n_leaves=st.integers(2, 12),
    n_rounds=st.integers(1, 12),
    dtype=st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=20, deadline=None)
def test_trees_give_what_lightgbm_gives(
    seed: int, n_leaves: int, n_rounds: int, dtype: Any
) -> None:
    rng = np.random.default_rng(seed)
    # Few values: rows stand on thresholds, and some trees are a single leaf.
    X = rng.integers(-3, 4, size=(700, 5)) / 4
    settings = {"num_leaves": n_leaves, "min_data_in_leaf": 20, "verbosity": -1}
    settings |= {"objective": "lambdarank", "min_gain_to_split": 0.05}
    label = (rng.random(700) < 0.5 + 0.2 * X[:, 0] * X[:, 1]).astype(int)
    data = lgb.Dataset(X, label, group=[10] * 70)
    booster = lgb.train(settings, data, n_rounds)
    rows = (X + rng.choice([0.0, 1e-9, -1e-9], size=X.shape)).astype(dtype)
    expected = booster.predict(rows, num_threads=1)
    features = rows.reshape(70, 10, 5)
    ranker = PairRanker.from_text(booster.model_to_string())
    np.testing.assert_array_equal(ranker.predict(features).ravel(), expected)
    np.testing.assert_array_equal(reference.scores(ranker, rows), expected)

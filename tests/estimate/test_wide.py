"""Wide embeddings and many models: projected, bounded in size, and answered alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import reference

from skroute import RankingRouter, load, save
from skroute._estimate.blending import find_rank_utility
from skroute.datasets import make_routing, read_routerbench

# Wider than what is taken as it is.
WIDE = 1536
MIB = 2**20


def widen(X: np.ndarray, width: int = WIDE, seed: int = 0) -> np.ndarray:
    """Spread embeddings over more columns by a random rotation, with noise in all."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(width, X.shape[1])))[0]
    noise = rng.normal(size=(len(X), width)) * X.std() / np.sqrt(width)
    return (X @ rotation.T + noise).astype(np.float32)


def make_table(
    n_queries: int = 500, n_models: int = 4, width: int = WIDE, **settings: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wide embeddings, qualities and costs."""
    data = make_routing(
        n_queries, n_features=10, n_models=n_models, random_state=0, **settings
    )
    return widen(data.data, width), data.quality, data.costs


def fit(X: Any, y: Any, costs: Any, **settings: Any) -> RankingRouter:
    settings = {"n_landmarks": 32, "n_estimators": 0, "random_state": 0} | settings
    return RankingRouter(**settings).fit(X, y, costs=costs)


@pytest.fixture(scope="module")
def wide() -> tuple[RankingRouter, np.ndarray]:
    """A router of wide embeddings, and queries that it has not seen."""
    X, y, costs = make_table()
    return fit(X[:400], y[:400], costs[:400], n_estimators=20), X[400:]


@pytest.mark.slow
def test_a_wide_query_alone_is_answered_as_among_others(wide: Any) -> None:
    router, X = wide
    for dtype, atol in ((np.float32, 1e-4), (np.float64, 1e-5)):
        queries = X.astype(dtype)
        together = router.transform(queries)
        alone = np.vstack([router.transform(query[None]) for query in queries])
        scale = np.abs(together).max(axis=0)
        np.testing.assert_allclose(alone / scale, together / scale, atol=atol)
    budget = float(np.median(router.price_path_.cost))
    names = router.route(X, budget=budget)
    apart = [router.route(query[None], budget=budget)[0] for query in X]
    assert np.mean(names == np.array(apart)) > 0.98


@pytest.mark.slow
def test_a_wide_router_is_saved_whole(wide: Any, tmp_path: Path) -> None:
    router, X = wide
    save(router, tmp_path / "wide.skroute")
    loaded = load(tmp_path / "wide.skroute")
    np.testing.assert_array_equal(loaded.transform(X), router.transform(X))
    assert loaded.n_features_in_ == WIDE
    price = 0.1 / router.costs_.mean()
    np.testing.assert_array_equal(
        loaded.route(X, price=price, top_k=2), router.route(X, price=price, top_k=2)
    )


@pytest.mark.slow
def test_a_model_joins_and_leaves_a_wide_router(wide: Any) -> None:
    router, X = wide
    y = np.random.default_rng(0).integers(2, size=len(X))
    grown = router.add_model("new", y, X=X, costs=2.0)
    assert np.isfinite(grown.transform(X)).all()
    left = grown.remove_model("new")
    np.testing.assert_array_equal(left.predict_quality(X), router.predict_quality(X))


@pytest.mark.slow
def test_columns_of_wide_embeddings_keep_their_names() -> None:
    X, y, costs = make_table()
    table = pd.DataFrame(X, columns=[f"e{i}" for i in range(WIDE)])
    router = fit(table, y, costs)
    assert router.n_features_in_ == WIDE
    assert router.feature_names_in_.tolist() == table.columns.tolist()
    np.testing.assert_array_equal(
        router.transform(table), fit(X, y, costs).transform(X)
    )
    with pytest.raises(ValueError, match="e0"):
        router.predict(table.drop(columns="e0"))
    with pytest.raises(ValueError, match="in the same order"):
        router.predict(table.iloc[:, ::-1])


@pytest.mark.slow
def test_wide_estimates_are_those_of_their_definition(wide: Any) -> None:
    router, X = wide
    X = X.astype(np.float64)
    quality, cost = reference.estimates(router._fitted.calibrated, X)
    # Projected in single precision.
    np.testing.assert_allclose(router.predict_quality(X), quality, atol=1e-5)
    np.testing.assert_allclose(router.predict_cost(X), cost, rtol=1e-4)
    # Files of earlier releases hold all in double precision, and the digits count.
    older = replace(router._fitted, quality=router._fitted.quality.cast_to(np.float64))
    basis = older.quality.views.basis.astype(np.float64)
    basis += np.random.default_rng(0).normal(size=basis.shape) * 1e-9
    views = replace(older.quality.views, basis=basis)
    older = replace(older, caution=0.0, quality=replace(older.quality, views=views))
    for told, expected in zip(
        older.estimate(X), reference.estimates(older, X), strict=True
    ):
        np.testing.assert_allclose(told, expected, rtol=1e-9, atol=1e-9)
    single = older.estimate(X.astype(np.float32))
    np.testing.assert_allclose(single[0], quality, atol=1e-4)


@pytest.mark.slow
def test_holes_and_repeats_of_wide_embeddings() -> None:
    X, y, costs = make_table(600)
    whole = fit(X[:400], y[:400], costs[:400])
    rows = np.r_[0:400, 0:200]
    known = np.random.default_rng(1).random((600, 4)) < 0.5
    told = (np.where(known, table[rows], np.nan) for table in (y, costs))
    router = fit(X[rows], *told)
    estimates = router.transform(X[rows])
    assert np.isfinite(estimates).all()
    np.testing.assert_allclose(estimates[:200], estimates[400:], atol=1e-5)
    # Half of the outcomes tell much the same.
    both = [r.predict_quality(X[400:]).ravel() for r in (whole, router)]
    assert np.corrcoef(*both)[0, 1] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("n_queries", [3, 40])
def test_fewer_queries_than_directions(n_queries: int) -> None:
    X, y, costs = make_table(n_queries + 20)
    router = fit(X[:n_queries], y[:n_queries], costs[:n_queries], cv=2)
    assert np.isfinite(router.transform(X)).all()


@pytest.mark.slow
def test_wide_embeddings_that_are_all_the_same() -> None:
    _, y, costs = make_table(60)
    X = np.full((60, WIDE), 0.25)
    quality = fit(X, y, costs).predict_quality(X)
    np.testing.assert_allclose(quality, np.tile(y.mean(axis=0), (60, 1)), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "n_models"), [(WIDE, 11), (2 * WIDE, 11), (384, 70)])
def test_files_are_at_most_ten_mib(width: int, n_models: int, tmp_path: Path) -> None:
    n_queries = 1200
    X, y, costs = make_table(n_queries, n_models, width)
    router = fit(X, y, costs, n_landmarks=512)
    save(router, tmp_path / "large.skroute")
    size = (tmp_path / "large.skroute").stat().st_size
    kept = router._training.kept
    if len(kept[0]) == n_queries:
        # A longer table is remembered by more rows, and by no more than these.
        size += (4096 - n_queries) * sum(table[0].nbytes for table in kept)
    # Rankers have a hundred small trees.
    assert size < 9.8 * MIB


@pytest.mark.slow
def test_wide_embeddings_route_as_well_as_what_they_are_made_of(
    shared_data: Path,
) -> None:
    name = shared_data / "zeroeval.csv.gz"
    table = read_routerbench(name, embeddings=shared_data / "zeroeval_minilm.npy")
    known = np.isfinite(table.quality).all(axis=1) & np.isfinite(table.costs).all(
        axis=1
    )
    order = np.random.default_rng(0).permutation(np.flatnonzero(known))
    train, test = order[:900], order[900:]
    told = []
    for X in (table.data, widen(table.data.astype(np.float64))):
        router = fit(X[train], table.quality[train], table.costs[train])
        told.append(router.score(X[test], table.quality[test], costs=table.costs[test]))
    narrow, wide = told
    assert wide > narrow - 0.01


def test_rank_utility_is_that_of_pairs() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((6, 5))
    scores = rng.normal(size=p.shape) * np.array([[0, 1, 5, 50, 1e3, 1e100]]).T
    sure = np.clip(p, 0.02, 0.98)
    differ = sure[:, :, None] * (1 - sure[:, None]) + sure[:, None] * (
        1 - sure[:, :, None]
    )
    with np.errstate(over="ignore"):
        lead = np.tanh((scores[:, :, None] - scores[:, None]) / 2)
    expected = (differ * lead).mean(axis=2)
    close = find_rank_utility(scores, p)
    np.testing.assert_allclose(close[:4], expected[:4], atol=1e-14)
    # Models far behind the best may count as equal to each other.
    best = scores.argmax(axis=1)
    rows = np.arange(len(p))
    assert np.isfinite(close).all()
    np.testing.assert_allclose(close[rows, best], expected[rows, best], atol=1e-14)


@pytest.mark.slow
def test_directions_of_very_wide_embeddings_are_halved(wide: Any) -> None:
    basis = wide[0]._fitted.quality.views.basis
    assert basis.dtype == np.float16
    # They stay at right angles, nearly: what is fitted knows them as they are kept.
    products = basis.T.astype(float) @ basis.astype(float)
    np.testing.assert_allclose(products, np.eye(len(products)), atol=2e-3)
    X, y, costs = make_table(300, width=600)
    assert fit(X, y, costs)._fitted.quality.views.basis.dtype == np.float32

"""Blocks of columns: views of each beside those of all."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from skroute import RankingRouter, load, save

WIDTHS = (40, 3)
PRICES = [1.0, 2.0, 5.0]


def outcomes(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Queries of which three small columns tell all, beside forty that tell nothing."""
    rng = np.random.default_rng(seed)
    noise, telling = rng.normal(size=(n, WIDTHS[0])), rng.normal(size=(n, WIDTHS[1]))
    # No linear function: which of them is the largest.
    Y = (telling == telling.max(axis=1, keepdims=True)).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    return np.hstack([noise, 0.5 * telling]), Y


def fitted(blocks: Any = WIDTHS, n: int = 500, **settings: Any) -> RankingRouter:
    settings = {"n_estimators": 0, "n_landmarks": 64, "random_state": 0} | settings
    X, Y = outcomes(n)
    return RankingRouter(PRICES, blocks=blocks, **settings).fit(X, Y)


@pytest.fixture(scope="module")
def router() -> RankingRouter:
    return fitted()


def error(router: RankingRouter) -> float:
    X, Y = outcomes(500, seed=1)
    return float(np.nanmean((router.predict_quality(X) - Y) ** 2))


def test_a_small_block_is_seen_beside_a_large_one(router) -> None:
    assert error(router) < 0.9 * error(fitted(None))


@pytest.mark.parametrize("blocks", [[43], (43,), np.array([43])])
def test_one_block_is_all_columns(blocks) -> None:
    X, _ = outcomes(20, seed=2)
    np.testing.assert_array_equal(
        fitted(blocks, 120).transform(X), fitted(None, 120).transform(X)
    )


def test_a_router_of_blocks_saves_copies_grows_and_shrinks(router, tmp_path) -> None:
    X, Y = outcomes(200, seed=3)
    save(router, tmp_path / "r.skroute")
    for other in (load(tmp_path / "r.skroute"), pickle.loads(pickle.dumps(router))):
        np.testing.assert_array_equal(other.transform(X), router.transform(X))
        assert tuple(other.blocks) == WIDTHS
    # Half of what the first one is worth: the best estimate of a query stays in range.
    larger = router.add_model("new", Y[:, 0] / 2, X=X, costs=0.5)
    np.testing.assert_allclose(
        larger.predict_quality(X)[:, :3], router.predict_quality(X), atol=1e-9
    )
    known = np.isfinite(Y[:, 0])
    new = larger.predict_quality(X)[known, 3]
    assert np.corrcoef(new, Y[known, 0])[0, 1] > 0.5
    smaller = larger.remove_model("new")
    np.testing.assert_array_equal(smaller.transform(X), router.transform(X))
    assert clone(router).blocks == WIDTHS


def test_single_precision_and_few_queries_change_nothing(router) -> None:
    X, _ = outcomes(50, seed=4)
    many = router.transform(X)
    one = np.vstack([router.transform(x[None]) for x in X])
    np.testing.assert_allclose(one, many, atol=1e-9)
    single = router.transform(X.astype(np.float32))
    np.testing.assert_allclose(single, many, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("per_query", [False, True])
def test_far_in_a_block_is_far_and_odd_in_a_later_one_is_not(per_query) -> None:
    X, Y = outcomes(500)
    rng = np.random.default_rng(0)
    costs = rng.uniform(0.5, 1.5, size=Y.shape) * PRICES if per_query else None
    router = RankingRouter(
        None if per_query else PRICES, n_estimators=0, blocks=WIDTHS, random_state=0
    ).fit(X, Y, costs=costs)
    averages = []
    for column in (0, WIDTHS[0]):
        far = X[:5].copy()
        far[:, column] += 1000.0
        averages += [*router.predict_quality(far)]
    np.testing.assert_allclose(averages, np.tile(averages[0], (10, 1)))
    # Four standard deviations from the mean, as lengths of prompts often are.
    odd = X[:5].copy()
    odd[:, WIDTHS[0]] = 2.0
    assert (router.predict_quality(odd)[:, 0] > averages[0][0] + 0.2).all()


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ((40, 4), "add up to the 43 columns of X; got \\[40, 4\\], which are 44"),
        ((), "add up to the 43 columns"),
        ((43, 0), "a width in blocks"),
        ((20.5, 22.5), "a width in blocks must be an integer"),
        ((True, 42), "a width in blocks must be an integer"),
        ("43", "blocks must be the widths"),
        (43, "blocks must be the widths"),
    ],
)
def test_blocks_are_the_widths_of_all_columns(router, blocks, words) -> None:
    X, Y = outcomes(60)
    before = router.transform(X)
    other = pickle.loads(pickle.dumps(router)).set_params(blocks=blocks)
    with pytest.raises(ValueError, match=words):
        other.fit(X, Y)
    np.testing.assert_array_equal(other.set_params(blocks=WIDTHS).transform(X), before)


@pytest.mark.slow
def test_an_embedding_that_does_not_vary_is_a_block_too(tmp_path) -> None:
    X, Y = outcomes(300)
    X[:, : WIDTHS[0]] = 0.3
    router = RankingRouter(PRICES, blocks=WIDTHS, random_state=0).fit(X, Y)
    quality = router.predict_quality(X)
    assert np.isfinite(quality).all()
    assert np.nanmean((quality - Y) ** 2) < 0.15
    save(router, tmp_path / "r.skroute")
    loaded = load(tmp_path / "r.skroute")
    np.testing.assert_array_equal(loaded.predict_quality(X), quality)


def test_what_only_a_ranker_or_caution_needs_is_kept_for_them_only() -> None:
    X, _ = outcomes(50, seed=5)
    plain, cautious = fitted(None, 400, caution=0.0), fitted(None, 400, caution=1.0)
    kept = [r._fitted.quality.fits[0].intercept.shape[1] for r in (plain, cautious)]
    assert kept == [1, 2]
    # The qualities are the same, added up by one product or not.
    expected = cautious.predict_quality(X)
    np.testing.assert_allclose(plain.predict_quality(X), expected, atol=1e-12)
    one = np.vstack([plain.predict_quality(x[None]) for x in X])
    np.testing.assert_allclose(one, expected, atol=1e-12)


@pytest.mark.parametrize("caution", [0.0, 1.0])
def test_a_router_keeps_the_precision_that_it_was_fitted_in(caution, tmp_path) -> None:
    X, Y = outcomes(300)
    single = X.astype(np.float32)
    settings = {"n_estimators": 0, "n_landmarks": 64, "random_state": 0}
    router = RankingRouter(PRICES, blocks=WIDTHS, caution=caution, **settings)
    double = clone(router).fit(single.astype(np.float64), Y)
    router = router.fit(single, Y)
    assert router._fitted.quality.views.parts[0].centres.dtype == np.float32
    assert double._fitted.quality.views.parts[0].centres.dtype == np.float64
    expected = double.transform(single)
    # Rounded to what single queries are estimated with, so nothing is lost for these.
    np.testing.assert_array_equal(router.transform(single), expected)
    many = router.transform(single.astype(np.float64))
    np.testing.assert_allclose(many, expected, atol=2e-5)
    save(router, tmp_path / "r.skroute")
    np.testing.assert_array_equal(
        load(tmp_path / "r.skroute").transform(single), expected
    )
    larger = router.add_model("new", Y[:, 0] / 2, X=single, costs=0.5)
    assert larger._fitted.quality.fits[0].coef.dtype == np.float32
    np.testing.assert_allclose(
        larger.predict_quality(single)[:, :3], router.predict_quality(single), atol=1e-6
    )
    smaller = larger.remove_model("new")
    np.testing.assert_array_equal(smaller.transform(single), expected)

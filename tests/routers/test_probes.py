"""Probes: queries to call a new model on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from skroute import RankingRouter
from skroute._estimate.probes import choose_probes
from skroute.datasets import make_routing


@pytest.fixture(scope="module")
def data() -> Any:
    return make_routing(600, n_models=5, per_query_costs=False, random_state=0)


@pytest.fixture(scope="module")
def router(data: Any) -> RankingRouter:
    fitted = RankingRouter(
        costs=data.costs[:4], n_estimators=0, n_landmarks=32, random_state=0
    )
    return fitted.fit(data.data, data.quality[:, :4])


def test_probes_are_different_rows_in_order(data: Any, router: RankingRouter) -> None:
    rows = router.probes(X=data.data, y=data.quality[:, :4])
    assert rows.shape == (50,)
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0
    assert rows[-1] < len(data.data)
    np.testing.assert_array_equal(
        router.probes(X=data.data, y=data.quality[:, :4]), rows
    )


def test_outcomes_of_the_pool_are_as_among_all_queries(
    data: Any, router: RankingRouter
) -> None:
    y = data.quality[:, :4]
    rows = router.probes(50, X=data.data, y=y)
    rng = np.random.default_rng(0)
    drawn = [rng.choice(len(y), 50, replace=False) for _ in range(200)]

    def measure(some: np.ndarray) -> float:
        return float(np.abs(y[some].mean(axis=0) - y.mean(axis=0)).sum())

    assert measure(rows) < np.quantile([measure(some) for some in drawn], 0.02)
    # So are how often two models are right together.
    together, some = np.cov(y.T), np.cov(y[rows].T)
    errors = [np.abs(np.cov(y[d].T) - together).sum() for d in drawn]
    assert np.abs(some - together).sum() < np.quantile(errors, 0.1)


def test_the_mean_of_a_new_model_is_estimated_better_than_from_a_draw() -> None:
    rng = np.random.default_rng(0)
    errors, of_draws = [], []
    for seed in range(4):
        # What models have in common is not told by the embeddings.
        data = make_routing(400, n_models=6, random_state=seed)
        common = rng.normal(size=(400, 1))
        y = (common + 0.5 * rng.normal(size=(400, 6)) > 0).astype(float)
        fitted = RankingRouter(n_estimators=0, n_landmarks=16, random_state=0)
        fitted.fit(data.data, y[:, :5], costs=data.costs[:, :5])
        rows = fitted.probes(40, X=data.data, y=y[:, :5])
        new = y[:, 5]
        errors.append((new[rows].mean() - new.mean()) ** 2)
        of_draws.append(new.var() / 40 * (1 - 40 / 400))
    assert np.mean(errors) < 0.5 * np.mean(of_draws)


def test_neither_the_order_of_rows_nor_the_unit_matter(
    data: Any, router: RankingRouter
) -> None:
    y = data.quality[:, :4]
    rng = np.random.default_rng(0)
    # Without ties between rows.
    y = y + 1e-3 * rng.normal(size=y.shape)
    rows = router.probes(20, X=data.data, y=y)
    order = rng.permutation(len(y))
    again = router.probes(20, X=data.data[order], y=100.0 * y[order] - 7.0)
    np.testing.assert_array_equal(np.sort(order[again]), rows)


def test_holes_and_names(data: Any, router: RankingRouter) -> None:
    y = data.quality[:, :4].copy()
    y[np.random.default_rng(0).random(y.shape) < 0.5] = np.nan
    named = pd.DataFrame(y, columns=router.models_)
    rows = router.probes(20, X=data.data, y=y)
    turned = router.probes(20, X=data.data, y=named.iloc[:, ::-1])
    np.testing.assert_array_equal(turned, rows)
    # A model without a column has no outcomes.
    without = router.probes(20, X=data.data, y=named.iloc[:, :3])
    y[:, 3] = np.nan
    np.testing.assert_array_equal(router.probes(20, X=data.data, y=y), without)
    # Where nothing is known, estimates count.
    blank = router.probes(20, X=data.data, y=np.full(y.shape, np.nan))
    assert blank.shape == (20,)
    with pytest.raises(ValueError, match="y has a column 'other'"):
        router.probes(20, X=data.data, y=named.rename(columns={"model_0": "other"}))


def test_all_queries_are_probes_where_there_are_no_more(
    data: Any, router: RankingRouter
) -> None:
    rows = router.probes(30, X=data.data[:30], y=data.quality[:30, :4])
    np.testing.assert_array_equal(rows, np.arange(30))
    with pytest.raises(ValueError, match="n=31 probes cannot be chosen from X with 30"):
        router.probes(31, X=data.data[:30], y=data.quality[:30, :4])


@pytest.mark.parametrize("n", [1, 0, -3, 2.5, "ten", True])
def test_numbers_of_probes_that_are_none(
    n: Any, data: Any, router: RankingRouter
) -> None:
    with pytest.raises(ValueError, match="n must be"):
        router.probes(n, X=data.data, y=data.quality[:, :4])


def test_a_router_that_is_not_fitted(data: Any) -> None:
    with pytest.raises(NotFittedError):
        RankingRouter().probes(10, X=data.data, y=data.quality)


def test_tables_that_tell_nothing() -> None:
    """Equal rows, and columns that are constant, are chosen from all the same."""
    for table in (np.zeros((20, 3)), np.full((20, 1), 1e300)):
        assert len(set(choose_probes([table, table], 8).tolist())) == 8


def test_many_queries_are_compared_with_a_sample() -> None:
    table = np.random.default_rng(0).normal(size=(9000, 2))
    rows = choose_probes([table], 60)
    assert np.abs(table[rows].mean(axis=0) - table.mean(axis=0)).max() < 0.05
    np.testing.assert_allclose(table[rows].var(axis=0), 1.0, atol=0.15)

"""Sharing among models: what is expected of twins is alike, and costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from skroute import RankingRouter
from skroute._estimate import quality as quality_model
from skroute._estimate.sharing import find_sharing
from skroute.datasets import make_routing, read_routerbench


def fit(X: Any, y: Any, **settings: Any) -> RankingRouter:
    settings = {"n_estimators": 0, "n_landmarks": 32, "random_state": 0} | settings
    return RankingRouter(**settings).fit(X, y, costs=np.ones(np.shape(y)))


def families(
    n_queries: int, seed: int = 0, *, size: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Draw queries, and chances of success of three families of like models."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_queries, 6))
    logit = np.repeat(1.5 * X[:, :3], size, axis=1)
    return X, 1.0 / (1.0 + np.exp(-logit))


def share(
    expected: np.ndarray, outcomes: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Find the sharing of one regression at one strength, whose weights are 1."""
    means = np.nanmean(outcomes, axis=0)
    one = [expected[:, :, None]]
    return find_sharing(one, np.ones((2, 1, 1)), outcomes, means, weight, doubt=2.0)


def draw(seed: int, n_queries: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw chances, outcomes, and estimates that are noisy for each model apart."""
    rng = np.random.default_rng(seed)
    _, chance = families(n_queries, seed)
    outcomes = (rng.random(chance.shape) < chance).astype(float)
    return chance, outcomes, chance + 0.3 * rng.normal(size=chance.shape)


@pytest.mark.parametrize("seed", range(3))
def test_models_of_a_family_are_expected_alike(seed: int) -> None:
    _, outcomes, expected = draw(seed)
    sharing = share(expected, outcomes)
    np.testing.assert_allclose(sharing, sharing.T, atol=1e-12)
    fresh, _, estimates = draw(seed + 10)
    means = outcomes.mean(axis=0)
    shared = means + (estimates - means) @ sharing
    assert ((shared - fresh) ** 2).mean() < 0.5 * ((estimates - fresh) ** 2).mean()
    # The level of a query is none of the differences.
    np.testing.assert_allclose(
        (shared - means).mean(axis=1), (estimates - means).mean(axis=1), atol=1e-12
    )


def test_estimates_that_are_right_stay() -> None:
    for seed in range(5):
        chance, outcomes, _ = draw(seed, 2000)
        sharing = share(chance, outcomes)
        apart = (chance - chance.mean(axis=1, keepdims=True)).std()
        change = (chance - outcomes.mean(axis=0)) @ (sharing - np.eye(30))
        assert change.std() < 0.1 * apart


def test_models_without_anything_in_common_share_nothing() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        chance = rng.uniform(0.1, 0.9, size=(300, 8))
        outcomes = (rng.random(chance.shape) < chance).astype(float)
        sharing = share(outcomes.mean(axis=0) + 0.2 * (chance - 0.5), outcomes)
        # All differences may be scaled alike: they were too small.
        differences = sharing - 1.0 / 8
        own = differences.trace() / 7
        found.append(np.abs(differences - own * (np.eye(8) - 1.0 / 8)).max())
    assert np.median(found) < 0.5


def test_two_models_and_one_outcome_a_query_are_left_alone() -> None:
    _, outcomes, expected = draw(0)
    for table, estimates in (
        (outcomes[:, ::15], expected[:, ::15]),
        (np.where(np.eye(30)[np.arange(300) % 30] > 0, outcomes, np.nan), expected),
    ):
        sharing = share(estimates, table)
        np.testing.assert_array_equal(sharing, np.eye(table.shape[1]))


def test_holes_leave_less_to_share_but_harm_nothing() -> None:
    rng = np.random.default_rng(0)
    _, outcomes, expected = draw(0, 600)
    fresh, _, estimates = draw(10)
    errors = []
    for hidden in (0.0, 0.5, 0.9):
        known = np.where(rng.random(outcomes.shape) < hidden, np.nan, outcomes)
        sharing = share(expected, known)
        means = np.nanmean(known, axis=0)
        shared = means + (estimates - means) @ sharing
        errors.append(((shared - fresh) ** 2).mean())
    assert errors[0] < errors[2] < ((estimates - fresh) ** 2).mean()
    # A weight of 0 is as a hole, but for how many outcomes a query is said to have.
    filled, weight = np.nan_to_num(known), np.isfinite(known).astype(float)
    one = [expected[:, :, None]]
    np.testing.assert_allclose(
        find_sharing(one, np.ones((2, 1, 1)), filled, means, weight, doubt=2.0),
        sharing,
        atol=0.02,
    )


# In the router.


@pytest.fixture(scope="module")
def few() -> tuple[np.ndarray, np.ndarray]:
    X, chance = families(300)
    return X, (np.random.default_rng(0).random(chance.shape) < chance).astype(float)


def test_a_router_of_many_models_errs_less(
    few: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = few
    fresh, chance = families(500, seed=1)
    together = fit(X, y).predict_quality(fresh)
    monkeypatch.setattr(
        quality_model, "find_sharing", lambda *args, **kwargs: np.eye(len(args[3]))
    )
    apart = fit(X, y).predict_quality(fresh)
    assert ((together - chance) ** 2).mean() < 0.97 * ((apart - chance) ** 2).mean()


def test_the_order_of_the_models_changes_nothing(
    few: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = few
    turn = np.random.default_rng(1).permutation(30)
    known = np.where(np.random.default_rng(2).random(y.shape) < 0.3, np.nan, y)
    for table in (y, known):
        straight, turned = fit(X, table), fit(X, table[:, turn])
        np.testing.assert_array_equal(
            turned.transform(X)[:, :30], straight.transform(X)[:, turn]
        )


def test_what_is_held_out_is_shared_as_what_is_served(
    few: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = few
    router = RankingRouter(
        n_estimators=0, n_landmarks=32, cv=10, caution=0, random_state=0
    )
    held_out = router.fit_transform(X, y, costs=np.ones(y.shape))[:, :30]
    served = router.predict_quality(X)
    # Nine tenths of the queries are the same.
    assert np.corrcoef(held_out.ravel(), served.ravel())[0, 1] > 0.97


def test_a_model_that_joins_and_leaves_changes_nothing_for_the_others(
    few: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = few
    router = fit(X, y[:, :-1])
    larger = router.add_model("new", y[:, -1], X=X, costs=1.0)
    fresh, chance = families(200, seed=1)
    expected = larger.predict_quality(fresh)
    np.testing.assert_allclose(
        expected[:, :-1], router.predict_quality(fresh), atol=1e-9
    )
    error = ((expected[:, -1] - chance[:, -1]) ** 2).mean()
    assert error < chance[:, -1].var()
    smaller = larger.remove_model("new")
    np.testing.assert_allclose(
        smaller.predict_quality(fresh), router.predict_quality(fresh), atol=1e-12
    )


# On real tables.


@pytest.mark.slow
def test_with_71_models_sharing_pays(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_routerbench(
        shared_data / "bfcl.csv.gz", embeddings=shared_data / "bfcl_minilm.npy"
    )
    train, test = train_test_split(
        np.arange(len(table.data)), train_size=300, random_state=0
    )

    def measure_error() -> float:
        router = RankingRouter(n_estimators=0, caution=0, random_state=0)
        router.fit(table.data[train], table.quality[train], costs=table.costs[train])
        missed = router.predict_quality(table.data[test]) - table.quality[test]
        return float((missed**2).mean())

    together = measure_error()
    monkeypatch.setattr(
        quality_model, "find_sharing", lambda *args, **kwargs: np.eye(len(args[3]))
    )
    assert together < measure_error() - 0.0004


def test_a_made_table_of_few_models_is_as_before() -> None:
    data = make_routing(400, n_models=2, random_state=0)
    router = RankingRouter(n_estimators=0, random_state=0)
    router.fit(data.data, data.quality, costs=data.costs)
    assert np.isfinite(router.transform(data.data)).all()

"""RankingRouter and its parts: regressions, relevance, calibration."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import train_test_split

from skroute import PointwiseRouter, RankingRouter
from skroute._estimate.blending import find_rank_utility, log_odds
from skroute._estimate.feature_maps import fit_views
from skroute._estimate.options import OPTIONS
from skroute._estimate.quality import QualityModel
from skroute._estimate.ridge import ALPHAS, fit_ridge
from skroute._estimate.stacking import find_weights
from skroute._rank.labels import Grades, label_grades, label_pairs
from skroute._rank.ranker import find_rank_weight
from skroute._table.duplicates import find_duplicates
from skroute._table.folds import draw_folds
from skroute.datasets import load_digits_pool, make_routing, read_routerbench
from skroute.metrics import best_single, normalized_auc, quality_neutral_cost


@pytest.fixture(scope="module")
def pool9(shared_data: Any) -> Any:
    return read_routerbench(
        shared_data / "pool9.csv.gz",
        prices=shared_data / "pool9_prices.json",
        embeddings=shared_data / "pool9_minilm.npy",
    )


@pytest.fixture(scope="module")
def routerbench3(shared_data: Any) -> Any:
    return read_routerbench(
        shared_data / "routerbench3.csv.gz",
        embeddings=shared_data / "routerbench3_minilm.npy",
    )


class Split:
    """A table, a router fitted on 70% of it, and the rest."""

    def __init__(self, table: Any, router: Any) -> None:
        self.train, self.test = train_test_split(
            np.arange(len(table.data)), test_size=0.3, random_state=0
        )
        self.X, self.y = table.data[self.test], table.quality[self.test]
        per_query = np.ndim(table.costs) == 2
        self.costs = np.broadcast_to(table.costs, table.quality.shape)[self.test]
        self.router = clone(router)
        if not per_query:
            self.router.set_params(costs=table.costs)
        self.router.fit(
            table.data[self.train],
            table.quality[self.train],
            costs=table.costs[self.train] if per_query else None,
        )
        self.estimates = np.hsplit(self.router.transform(self.X), 2)

    def score(self, metric: Any) -> float:
        return metric(self.y, self.costs, *self.estimates)


@pytest.fixture(scope="module")
def ranked(pool9: Any) -> Iterator[Split]:
    return Split(pool9, RankingRouter(random_state=0))


@pytest.mark.slow
def test_ranking_beats_a_tuned_ridge_on_a_real_pool(pool9: Any, ranked: Split) -> None:
    ridge = Split(pool9, PointwiseRouter(RidgeCV(ALPHAS), random_state=0))
    assert ranked.score(normalized_auc) > ridge.score(normalized_auc)
    assert ranked.score(quality_neutral_cost) < 0.75


@pytest.mark.slow
def test_expected_quality_is_calibrated_on_a_real_pool(ranked: Split) -> None:
    expected, observed = ranked.estimates[0].ravel(), ranked.y.ravel()
    tenth = np.digitize(expected, np.quantile(expected, np.linspace(0.1, 0.9, 9)))
    error = [
        abs(expected[tenth == k].mean() - observed[tenth == k].mean())
        * np.mean(tenth == k)
        for k in range(10)
    ]
    assert sum(error) < 0.04


@pytest.mark.slow
def test_calling_the_best_model_loses_nothing_to_the_best_single(
    pool9: Any, ranked: Split
) -> None:
    single = best_single(pool9.quality[ranked.train])
    chosen = ranked.y[np.arange(len(ranked.y)), ranked.router.predict(ranked.X)]
    assert chosen.mean() > ranked.y[:, single].mean()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("table", ["pool9", "routerbench3"])
def test_a_mean_budget_is_spent_on_queries_to_come(
    table: str, share: float, request: pytest.FixtureRequest
) -> None:
    split = (
        request.getfixturevalue("ranked")
        if table == "pool9"
        else request.getfixturevalue("ranked_routerbench3")
    )
    cheapest, highest = split.router.price_path_.cost[[0, -1]]
    budget = cheapest + share * (highest - cheapest)
    names = split.router.route(split.X, budget=budget)
    choice = np.searchsorted(
        split.router.models_,
        names,
        sorter=np.argsort(split.router.models_),
    )
    choice = np.argsort(split.router.models_)[choice]
    spent = split.costs[np.arange(len(choice)), choice].mean()
    # One split of 900 queries; benchmarks average many, and tell the error.
    assert spent == pytest.approx(budget, rel=0.1)


@pytest.fixture(scope="module")
def ranked_routerbench3(routerbench3: Any) -> Split:
    return Split(routerbench3, RankingRouter(random_state=0))


@pytest.mark.slow
def test_costs_are_told_apart_by_query(ranked_routerbench3: Split) -> None:
    expected, observed = ranked_routerbench3.estimates[1], ranked_routerbench3.costs
    error = ((expected - observed) ** 2).sum(axis=0)
    spread = ((observed - observed.mean(axis=0)) ** 2).sum(axis=0)
    assert (error < 0.7 * spread).all()


@pytest.mark.slow
def test_the_size_does_not_grow_with_the_queries() -> None:
    sizes = []
    for n_queries in (4500, 9000):
        data = make_routing(n_queries, n_models=3, random_state=0)
        router = RankingRouter(n_estimators=5, n_landmarks=32, random_state=0)
        router.fit(data.data, data.quality, costs=data.costs)
        sizes.append(len(pickle.dumps(router)))
    assert sizes[1] < 1.02 * sizes[0]


@pytest.mark.slow
def test_threads_do_not_change_the_fit() -> None:
    data = make_routing(600, n_models=6, random_state=0)
    one, two = (
        RankingRouter(n_jobs=n_jobs, random_state=0).fit(
            data.data, data.quality, costs=data.costs
        )
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.ranker_.value, two.ranker_.value)
    np.testing.assert_array_equal(one.transform(data.data), two.transform(data.data))


def test_the_ranker_can_be_left_out() -> None:
    data = make_routing(200, n_models=3, random_state=0)
    router = RankingRouter(n_estimators=0, random_state=0)
    router.fit(data.data, data.quality, costs=data.costs)
    assert router.ranker_ is None
    assert router.rank_weight_ == 0.0
    assert router.score(data.data, data.quality, costs=data.costs) > 0.5


class Credulous(RankingRouter):
    """Follows any ranker."""

    _options = replace(OPTIONS, doubt=-1e9)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "alike"), [(RankingRouter, 0), (Credulous, 100)])
def test_a_look_decides_whether_a_ranker_is_trained(kind: Any, alike: int) -> None:
    rng = np.random.default_rng(0)
    # Right or wrong by chance: there is no order to learn.
    X, Y = rng.normal(size=(300, 5)), (rng.random((300, 3)) < 0.5).astype(float)
    auto, number = (
        kind([1.0, 2.0, 3.0], n_estimators=n, random_state=0).fit(X, Y)
        for n in ("auto", alike)
    )
    assert (auto.ranker_ is None) == (alike == 0)
    np.testing.assert_array_equal(auto.predict_quality(X), number.predict_quality(X))


@pytest.mark.slow
def test_a_look_is_shorter_than_a_training(monkeypatch: Any) -> None:
    rounds: list[int] = []
    train = lightgbm.train

    def count(params: Any, data: Any, n_rounds: int, **rest: Any) -> Any:
        rounds.append(n_rounds)
        return train(params, data, n_rounds, **rest)

    monkeypatch.setattr(lightgbm, "train", count)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(300, 5)), (rng.random((300, 3)) < 0.5).astype(float)
    trees = []
    for n in ("auto", 100):
        rounds.clear()
        RankingRouter([1.0, 2.0, 3.0], n_estimators=n, random_state=0).fit(X, Y)
        trees.append(sum(rounds))
    assert 0 < trees[0] < trees[1] / 5


def test_too_few_telling_queries_leave_the_ranker_out() -> None:
    data = make_routing(200, n_models=3, random_state=0)
    data.quality[120:] = 1.0
    router = RankingRouter(random_state=0)
    router.fit(data.data, data.quality, costs=data.costs)
    assert router.ranker_ is None


class Estimated(NamedTuple):
    """What the weight of a ranker is judged on, beside its scores."""

    quality: np.ndarray


def test_a_ranker_is_weighed_by_what_it_shows_to_know() -> None:
    trusted = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        chance = rng.uniform(0.2, 0.8, size=(150, 4))
        quality = (rng.random(chance.shape) < chance).astype(float)
        pairs = Estimated(np.full(chance.shape, 0.5))
        noise = rng.permuted(log_odds(chance), axis=0)
        trusted.append(find_rank_weight(pairs, noise, quality, None))
        knows = find_rank_weight(pairs, log_odds(chance), quality, None)
        assert 0.3 < knows <= 1.0
        # Where nothing is changed, or nothing is known, there is nothing to trust.
        assert find_rank_weight(pairs, log_odds(pairs.quality), quality, None) == 0.0
        assert (
            find_rank_weight(pairs, noise, np.full(quality.shape, np.nan), None) == 0.0
        )
    # Two standard errors: some 2 in 100 are believed by chance, and then a little.
    assert np.count_nonzero(trusted) <= 4
    assert max(trusted) < 0.15


@pytest.mark.slow
def test_a_larger_tie_gain_calls_cheaper_models() -> None:
    data = load_digits_pool()
    spends = []
    for tie_gain in (0.0, 0.05):
        router = RankingRouter(tie_gain=tie_gain, n_landmarks=128, random_state=0)
        router.fit(data.data[:800], data.quality[:800], costs=data.costs[:800])
        spends.append(router.costs_[router.predict(data.data[800:])].mean())
    assert spends[1] < 0.9 * spends[0]


@pytest.mark.slow
def test_scores_order_the_models_as_predict_does() -> None:
    data = make_routing(300, n_models=4, random_state=0)
    router = RankingRouter(random_state=0)
    router.fit(data.data, data.quality, costs=data.costs)
    scores = router.decision_function(data.data)
    np.testing.assert_array_equal(scores.argmax(axis=1), router.predict(data.data))
    np.testing.assert_allclose(scores.sum(axis=1), 0.0, atol=1e-9)


def test_verbose_fits_log_their_stages(caplog: pytest.LogCaptureFixture) -> None:
    data = make_routing(50, n_models=2, random_state=0)
    with caplog.at_level(logging.INFO, "skroute"):
        RankingRouter(random_state=0).fit(data.data, data.quality, costs=data.costs)
        assert not caplog.messages
        RankingRouter(random_state=0, verbose=1).fit(
            data.data, data.quality, costs=data.costs
        )
    assert len(caplog.messages) == 4
    assert "ranking models of 2 models on 50 queries" in caplog.messages[2]


@pytest.mark.slow
def test_wide_embeddings_are_projected_and_route_alike() -> None:
    data = make_routing(400, n_features=40, n_models=3, random_state=0)
    turn = np.linalg.qr(np.random.RandomState(0).normal(size=(1500, 40)))[0].T
    narrow, wide = (
        RankingRouter(random_state=0).fit(table, data.quality, costs=data.costs)
        for table in (data.data, data.data @ turn)
    )
    scores = [
        narrow.score(data.data, data.quality, costs=data.costs),
        wide.score(data.data @ turn, data.quality, costs=data.costs),
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.02)


@pytest.mark.slow
def test_the_unit_of_quality_changes_no_decision() -> None:
    data = make_routing(300, n_models=3, random_state=0)
    plain, scaled = (
        RankingRouter(random_state=0).fit(data.data, y, costs=data.costs)
        for y in (data.quality, 2.0**300 * (data.quality - 1.0))
    )
    np.testing.assert_array_equal(plain.predict(data.data), scaled.predict(data.data))
    np.testing.assert_allclose(
        2.0**300 * (plain.predict_quality(data.data) - 1.0),
        scaled.predict_quality(data.data),
    )


# The regressions.


@pytest.mark.slow
def test_ridge_matches_scikit_learn_with_and_without_each_fold() -> None:
    rng = np.random.RandomState(0)
    X, Y = rng.normal(size=(80, 5)), rng.normal(size=(80, 3))
    Y[rng.uniform(size=Y.shape) < 0.3] = np.nan
    fold = np.arange(80) % 4
    fit, out_of_fold, _ = fit_ridge(X, Y, fold, scale=np.ones(3))
    distance = []
    for alpha in ALPHAS:
        expected = np.empty(Y.shape)
        for m in range(3):
            for k in range(4):
                rows = (fold != k) & np.isfinite(Y[:, m])
                model = Ridge(alpha).fit(X[rows], Y[rows, m])
                expected[fold == k, m] = model.predict(X[fold == k])
        distance.append(np.abs(out_of_fold[:, :, 0] - expected).max())
    # The chosen strength is one of the grid, and its fits are scikit-learn's.
    assert min(distance) < 1e-9
    alpha = ALPHAS[int(np.argmin(distance))]
    for m in range(3):
        rows = np.isfinite(Y[:, m])
        model = Ridge(alpha).fit(X[rows], Y[rows, m])
        np.testing.assert_allclose(fit.coef[:, m, 0], model.coef_, atol=1e-9)
        np.testing.assert_allclose(fit.intercept[m, 0], model.intercept_)


def test_noise_is_smoothed_and_signal_is_kept() -> None:
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 4))
    signal, noise = X @ rng.normal(size=(4, 2)), rng.normal(size=(300, 2))
    fold = np.arange(300) % 5

    def slope(Y: np.ndarray) -> float:
        fit, _, _ = fit_ridge(X, Y, fold, scale=np.ones(2))
        return float(np.abs(fit.coef).max())

    assert slope(signal) > 0.5
    assert slope(noise) < 0.1


def test_pair_estimates_of_a_query_do_not_see_its_outcomes() -> None:
    data = make_routing(150, n_models=3, random_state=0)
    fold = draw_folds(data.data, 5, 0)
    turned = data.quality.copy()
    turned[7] = 1.0 - turned[7]
    estimates = []
    for quality in (data.quality, turned):
        _, pairs, *_ = QualityModel.fit(
            data.data,
            quality,
            fold,
            np.random.RandomState(0),
            find_duplicates(data.data),
            n_landmarks=20,
        )
        estimates.append(pairs.select_rows(slice(None)).build_features()[:, :, :9])
    moved = np.abs(estimates[0] - estimates[1]).max(axis=(1, 2))
    np.testing.assert_allclose(moved[fold == fold[7]], 0.0, atol=1e-12)
    assert (moved[fold != fold[7]] > 1e-6).all()


def _weighable(n_known: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regressions, what they explain, and what all of them have in common."""
    rng = np.random.RandomState(0)
    deviation = rng.normal(size=(200, 4, 5))
    deviation[..., 4] = deviation[..., 3]
    target = deviation @ np.array([0.5, 0.0, -0.3, 0.2, 0.2]) + rng.normal(
        size=(200, 4)
    )
    hidden = rng.random_sample((200, 4)).argsort(axis=1) >= n_known
    target[hidden] = np.nan
    return deviation, target, deviation.mean(axis=1, keepdims=True)


def test_regressions_are_weighed_as_non_negative_least_squares_does() -> None:
    deviation, target, common = _weighable(n_known=4)
    aim = target.mean(axis=1, keepdims=True)
    weights = find_weights([deviation], target, np.zeros(4))
    expected = nnls(common[:, 0], aim[:, 0])[0]
    np.testing.assert_allclose(common @ weights[0], common @ expected, atol=1e-8)
    expected = nnls((deviation - common).reshape(-1, 5), (target - aim).ravel())[0]
    np.testing.assert_allclose(deviation @ weights[1], deviation @ expected, atol=1e-8)
    assert (weights >= 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_differences_that_are_rounding_weigh_nothing(seed: int) -> None:
    deviation, target, common = _weighable(n_known=4)
    rng = np.random.RandomState(seed)
    # Twins: they have the level in common, and nothing but rounding tells them apart.
    estimates = common + 1e-16 * rng.normal(size=deviation.shape)
    aim = target.mean(axis=1, keepdims=True) + 1e-16 * rng.normal(size=target.shape)
    on_level, on_differences = find_weights([estimates], aim, np.zeros(4))
    assert (on_differences == 0).all()
    expected = nnls(common[:, 0], aim.mean(axis=1))[0]
    np.testing.assert_allclose(
        common[:, 0] @ on_level, common[:, 0] @ expected, atol=1e-8
    )


def test_one_outcome_per_query_weighs_level_and_differences_together() -> None:
    deviation, target, common = _weighable(n_known=1)
    known = np.isfinite(target)
    parts = np.broadcast_to(common, deviation.shape), deviation - common
    design = np.concatenate([part[known] for part in parts], axis=1)
    expected = nnls(design, target[known])[0]
    weights = find_weights([deviation], target, np.zeros(4)).ravel()
    np.testing.assert_allclose(design @ weights, design @ expected, atol=1e-8)


def test_twins_share_a_fold_and_blocks_are_spread() -> None:
    X = np.random.RandomState(0).normal(size=(300, 3))
    X[1] = X[0]
    X[100:200] = X[100]
    fold = draw_folds(X, 5, 0)
    assert fold[0] == fold[1]
    assert np.bincount(fold[100:200], minlength=5).min() > 5
    assert np.bincount(fold).min() >= 55


def test_blocks_of_a_small_table_are_spread_too() -> None:
    X = np.random.RandomState(0).normal(size=(100, 3))
    X[:40] = X[0]
    X[40:45] = X[40]
    assert find_duplicates(X).block.tolist() == [True] * 40 + [False] * 60
    fold = draw_folds(X, 5, 0)
    assert np.bincount(fold[:40], minlength=5).min() > 2
    assert len(set(fold[40:45])) == 1


# Labels and calibration.


def label(quality: Any, costs: Any, *, tie_gain: float) -> tuple[Any, Any]:
    grades = Grades.from_quality(quality).list_levels()
    labels, gains = label_grades(grades, costs, tie_gain)
    return label_pairs(quality, grades, labels), gains


def test_labels_follow_quality_and_then_cheapness() -> None:
    quality = np.array([[0.0, 1.0, 1.0], [0.5, 0.5, np.nan]])
    labels, gains = label(quality, np.array([1.0, 2.0, 5.0]), tie_gain=0.01)
    gain = gains[labels]
    np.testing.assert_allclose(gain[0], [0.01, 1.005, 1.0])
    np.testing.assert_allclose(gain[1, :2], [0.51, 0.505])
    assert (np.diff(gains) > 0).all()


def test_a_large_tie_gain_keeps_labels_in_the_order_of_gains() -> None:
    quality = np.array([[0.0, 0.25, 1.0]])
    labels, gains = label(quality, np.array([1.0, 2.0, 5.0]), tie_gain=0.5)
    np.testing.assert_allclose(gains[labels], [[0.5, 0.5, 1.0]])
    assert labels[0, 0] == labels[0, 1] < labels[0, 2]


def test_graded_qualities_are_rounded_to_few_labels() -> None:
    quality = np.linspace(-3.0, 5.0, 1000).reshape(-1, 2)
    labels, gains = label(quality, np.ones(2), tie_gain=0.0)
    assert len(gains) == 31
    np.testing.assert_allclose(gains[labels], (quality + 3.0) / 8.0, atol=0.5 / 30)


def test_rounded_grades_span_the_qualities_whatever_they_are() -> None:
    # 32 distinct values are too many; 31 are not, and stay as they are.
    for n_values, spread in ((32, 7.0), (31, 7.0)):
        quality = np.linspace(0.0, 1.0, n_values)[:, None] ** 2 * spread - 2.0
        labels, gains = label(quality, np.ones(1), tie_gain=0.0)
        assert len(gains) == 31
        assert (gains[0], gains[-1]) == (0.0, 1.0)
        exact = (quality + 2.0) / spread
        np.testing.assert_allclose(
            gains[labels], exact, atol=0.51 / 30 if n_values > 31 else 1e-12
        )


def test_gains_of_small_and_of_equal_qualities_are_scaled_to_one() -> None:
    _, gains = label(np.array([[0.1, 0.4]]), np.ones(2), tie_gain=0.0)
    assert gains.tolist() == [0.0, 1.0]
    labels, gains = label(np.ones((2, 2)), np.ones(2), tie_gain=0.0)
    assert gains.tolist() == [0.0]
    assert (labels == 0).all()


def test_the_least_of_three_grades_is_that_of_unknown_outcomes() -> None:
    quality = np.array([[np.nan, 0.0, 1.0, 3.0]])
    labels, gains = label(quality, np.arange(4.0), tie_gain=1.0)
    assert labels[0, 0] >= 0
    plain, _ = label(quality, np.arange(4.0), tie_gain=0.0)
    assert plain[0].tolist() == [0, 0, 1, 2]
    # At a tie gain of 1 the cheapest bad model gains as much as the strongest good one.
    np.testing.assert_allclose(gains[labels][0, 1:], [2 / 3, 1 / 3 + 1 / 3, 1.0])


probabilities = arrays(float, (4, 3), elements=st.floats(0.03, 0.97), fill=st.nothing())


@settings(max_examples=50, deadline=None)
@given(probabilities)
def test_a_ranker_that_learns_nothing_changes_nothing(p: np.ndarray) -> None:
    expected = p - p.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(find_rank_utility(log_odds(p), p), expected, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    probabilities, arrays(float, (4, 3), elements=st.floats(-5, 5), fill=st.nothing())
)
def test_a_higher_score_never_lowers_the_utility(p: np.ndarray, s: np.ndarray) -> None:
    raised = s.copy()
    raised[:, 0] += 1.0
    before, after = find_rank_utility(s, p), find_rank_utility(raised, p)
    assert (after[:, 0] >= before[:, 0]).all()
    np.testing.assert_allclose(after.sum(axis=1), 0.0, atol=1e-9)


# Far from the training queries.


@pytest.mark.slow
def test_far_from_all_training_queries_models_are_what_they_are_on_average() -> None:
    data = make_routing(400, n_features=8, n_models=3, random_state=0)
    router = RankingRouter(random_state=0)
    router.fit(data.data, data.quality, costs=data.costs)
    far = data.data[:5] + 100.0
    means = np.nanmean(data.quality, axis=0)
    np.testing.assert_allclose(router.predict_quality(far), np.tile(means, (5, 1)))
    np.testing.assert_allclose(router.predict_cost(far), np.tile(router.costs_, (5, 1)))
    assert (router.predict(far) == means.argmax()).all()


@pytest.mark.slow
def test_far_from_all_training_queries_a_target_is_reached_by_a_single_model() -> None:
    data = make_routing(600, n_features=8, n_models=4, random_state=0)
    router = RankingRouter(costs=data.costs.mean(axis=0), random_state=0)
    router.fit(data.data, data.quality)
    far = data.data[:50] + 100.0
    means = np.nanmean(data.quality, axis=0)
    order = np.argsort(router.costs_)
    for share in (0.5, 0.8, 0.95, 1.0):
        # The price at which routing reaches it would buy less of queries all alike.
        asked = f"{100 * share:g}%"
        reach = order[means[order] >= share * means.max() - 1e-12]
        called = router.route(far, min_quality=asked)
        assert set(called) <= set(router.models_[reach])
        why = router.explain(far, min_quality=asked)
        assert why["chosen"].tolist() == called.tolist()
        # Near queries are decided at the price of the training, whoever comes along.
        near = router.route(data.data[50:150], min_quality=asked)
        both = np.vstack([data.data[50:150], far])
        assert router.route(both, min_quality=asked).tolist() == [*near, *called]
    # Under this cap routing reaches the target, and no model does so alone.
    cap = float(router.costs_[order[1]]) * 1.01
    best = order[:2][means[order[:2]].argmax()]
    limits = {"budget": cap, "scope": "query", "min_quality": means[best] + 0.03}
    assert set(router.route(far, **limits)) == {router.models_[best]}
    assert len(set(router.route(data.data, **limits))) == 2


@pytest.mark.parametrize("n_landmarks", [32, 512])
def test_queries_like_those_of_the_training_are_trusted(n_landmarks: int) -> None:
    data = make_routing(1500, n_features=8, n_models=3, random_state=0)
    views, _, trusted = fit_views(
        data.data[:500],
        n_landmarks,
        np.random.RandomState(0),
        find_duplicates(data.data[:500]),
    )
    trust, _ = views.transform(views.scale_queries(data.data[500:]))
    # Learned on the training queries, it holds for others: nine in ten are fully
    # trusted, one in a hundred not at all.
    assert 0.8 < (trust == 1.0).mean() < 0.95
    assert (trust == 0.0).mean() < 0.03
    assert abs(trusted.mean() - trust.mean()) < 0.05


def test_in_a_cloud_of_noise_no_query_is_far() -> None:
    data = make_routing(1500, n_features=64, noise=2.0, n_models=3, random_state=0)
    views, _, _ = fit_views(
        data.data[:500],
        512,
        np.random.RandomState(0),
        find_duplicates(data.data[:500]),
    )
    trust, _ = views.transform(views.scale_queries(data.data[500:]))
    assert trust.mean() > 0.98
    far, _ = views.transform(views.scale_queries(3.0 * data.data[500:]))
    assert (far == 0.0).all()


@pytest.mark.slow
def test_out_of_domain_the_best_single_model_is_not_gambled_away() -> None:
    data = load_digits_pool()
    gain, above = [], []
    # Without the fallback the first of them alone loses 0.11, and a target 0.2.
    for task in ("digit-1", "digit-7", "digit-9"):
        held_out = data.task == task
        y = data.quality[~held_out]
        router = RankingRouter(random_state=0)
        router.fit(data.data[~held_out], y, costs=data.costs[~held_out])
        chosen = router.predict(data.data[held_out])
        truth = data.quality[held_out]
        best = truth[:, y.mean(axis=0).argmax()]
        gain.append(truth[np.arange(len(truth)), chosen] - best)
        called = router.route(data.data[held_out], min_quality="95%")
        above.append(truth[called[:, None] == router.models_] - 0.95 * best)
    assert np.concatenate(above).mean() > -0.08
    assert np.concatenate(gain).mean() > -0.015


@pytest.mark.slow
def test_small_blocks_of_equal_queries_promise_less_than_they_saw() -> None:
    promised, got, seen = [], [], []
    block = np.repeat(np.arange(4), 40)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((4, 8))[block]
        chance = rng.uniform(0.3, 0.7, size=(4, 6))[block]
        quality = (rng.random(chance.shape) < chance).astype(float)
        router = RankingRouter(np.arange(1.0, 7.0), n_estimators=0, random_state=0)
        chosen = router.fit(X, quality).predict(X)
        promised.append(router.price_path_.quality[-1])
        got.append(chance[np.arange(160), chosen].mean())
        seen.append(quality[np.arange(160), chosen].mean())
    # In 40 outcomes the luckiest of six models shines.
    assert np.mean(seen) > np.mean(got) + 0.03
    assert np.mean(got) - 0.01 < np.mean(promised) < np.mean(seen) - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("n_estimators", [0, 20])
def test_few_queries_are_estimated_in_double_precision_as_many_are(
    n_estimators: int,
) -> None:
    data = make_routing(1100, n_features=8, n_models=3, random_state=0)
    X = data.data.astype(np.float32)
    router = RankingRouter(n_estimators=n_estimators, random_state=0)
    router.fit(X, data.quality, costs=data.costs)
    many, few = router.transform(X), router.transform(X[:5])
    quality = router.predict_quality(X[:5])
    assert many.dtype == few.dtype == quality.dtype == np.float64
    # Single precision rounds sums in another order.
    np.testing.assert_allclose(few, many[:5], atol=1e-5)

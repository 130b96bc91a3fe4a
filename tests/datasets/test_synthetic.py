"""Synthetic routing tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from sklearn.linear_model import LinearRegression

from skroute.datasets import make_routing

ARRAYS = ("data", "quality", "expected_quality", "costs")


def test_defaults():
    table = make_routing(random_state=0)
    assert table.data.shape == (1000, 32)
    assert table.quality.shape == table.expected_quality.shape == (1000, 5)
    assert table.costs.shape == (1000, 5)
    assert all(table[key].dtype == np.float64 for key in ARRAYS)
    assert set(np.unique(table.quality)) == {0.0, 1.0}
    assert len(set(table.models)) == 5
    assert set(table.task) == {"task-0", "task-1", "task-2", "task-3"}
    assert table.prompts is None
    assert "1000 queries" in table.DESCR


@settings(deadline=None, max_examples=40)
@given(
    n_queries=st.integers(1, 40),
    n_features=st.integers(1, 12),
    n_models=st.integers(1, 6),
    n_tasks=st.integers(1, 5),
    difficulty=st.floats(-50, 50),
    noise=st.floats(0, 10),
    specialization=st.floats(0, 10),
    graded=st.booleans(),
    missing=st.floats(0, 0.99),
    cost_spread=st.floats(1, 1e6),
    per_query_costs=st.booleans(),
    random_state=st.integers(0, 2**32 - 1),
)
def test_any_valid_arguments_give_a_valid_table(
    n_queries, n_features, n_models, random_state, **options
):
    table = make_routing(
        n_queries, n_features, n_models, random_state=random_state, **options
    )
    assert table.data.shape == (n_queries, n_features)
    assert np.isfinite(table.data).all()
    assert table.quality.shape == (n_queries, n_models)
    run = table.quality[~np.isnan(table.quality)]
    assert ((run >= 0) & (run <= 1)).all()
    expected = table.expected_quality
    assert ((expected >= 0) & (expected <= 1)).all()
    shape = (n_queries, n_models) if options["per_query_costs"] else (n_models,)
    assert table.costs.shape == shape
    assert (table.costs > 0).all()
    assert np.isfinite(table.costs).all()


def test_seed_decides_everything():
    one, same, other = (
        make_routing(300, missing=0.1, random_state=seed) for seed in (3, 3, 4)
    )
    for key in ARRAYS:
        assert one[key].tobytes() == same[key].tobytes()
        assert one[key].tobytes() != other[key].tobytes()
    assert one.task.tolist() == same.task.tolist()


def test_random_state_instance_is_advanced():
    rng = np.random.RandomState(0)
    first, second = (
        make_routing(50, random_state=rng),
        make_routing(50, random_state=rng),
    )
    assert first.data.tobytes() != second.data.tobytes()
    assert first.data.tobytes() == make_routing(50, random_state=0).data.tobytes()


@pytest.mark.parametrize("graded", [False, True])
def test_outcomes_have_the_expected_mean(graded):
    table = make_routing(20_000, graded=graded, random_state=1)
    deviation = table.quality - table.expected_quality
    # Five standard errors: outcomes in [0, 1] have a variance of at most 1/4.
    assert np.abs(deviation.mean(axis=0)).max() < 5 * 0.5 / np.sqrt(len(deviation))
    edges = np.linspace(0, 1, 6)
    group = np.digitize(table.expected_quality, edges)
    for i in np.unique(group):
        inside = deviation[group == i]
        assert abs(inside.mean()) < 5 * 0.5 / np.sqrt(len(inside))


def test_graded_outcomes_are_between():
    table = make_routing(500, graded=True, random_state=0)
    between = (table.quality > 0.05) & (table.quality < 0.95)
    assert between.mean() > 0.3


@pytest.mark.parametrize(
    "options", [{"graded": True}, {"missing": 0.5}, {"per_query_costs": False}]
)
def test_options_leave_queries_and_models_as_they_are(options):
    plain = make_routing(200, random_state=5)
    other = make_routing(200, random_state=5, **options)
    assert plain.data.tobytes() == other.data.tobytes()
    assert plain.expected_quality.tobytes() == other.expected_quality.tobytes()


def test_missing_outcomes():
    whole = make_routing(5000, random_state=2)
    table = make_routing(5000, missing=0.3, random_state=2)
    hidden = np.isnan(table.quality)
    assert abs(hidden.mean() - 0.3) < 0.02
    np.testing.assert_array_equal(table.quality[~hidden], whole.quality[~hidden])
    np.testing.assert_array_equal(table.costs, whole.costs)
    # Missing at random: hidden outcomes were as good as the others.
    gap = whole.quality[hidden].mean() - whole.quality[~hidden].mean()
    assert abs(gap) < 0.03


def test_costs_are_price_times_length():
    options = {"n_queries": 20_000, "cost_spread": 50.0, "random_state": 0}
    costs = make_routing(**options).costs
    prices = make_routing(**options, per_query_costs=False).costs
    assert prices.shape == (5,)
    assert (np.diff(prices) > 0).all()
    assert prices[-1] / prices[0] == pytest.approx(50)
    length = costs / prices
    np.testing.assert_allclose(length, length[:, :1].repeat(5, axis=1))
    assert length.mean() == pytest.approx(1, abs=0.02)
    assert length.std() > 0.3


def test_equal_prices():
    costs = make_routing(10, cost_spread=1, per_query_costs=False).costs
    assert len(set(costs)) == 1


def test_harder_queries_are_answered_less_well():
    easy, hard = (make_routing(200, difficulty=b, random_state=0) for b in (0, 1))
    assert (hard.expected_quality < easy.expected_quality).all()


def test_without_specialization_skill_rises_with_price():
    table = make_routing(2000, specialization=0, random_state=0)
    able = table.expected_quality > 0.5
    assert (able[:, 1:] >= able[:, :-1]).all()
    assert able.any(axis=0).all()


def test_specialization_makes_cheaper_models_the_best_somewhere():
    table = make_routing(2000, specialization=1, random_state=0)
    best = table.expected_quality.argmax(axis=1)
    assert len(np.unique(best)) >= 3
    assert len(np.unique(best[table.task == "task-0"])) < len(np.unique(best))


def test_noise_decides_how_much_the_embedding_tells():
    explained, visible = [], []
    for noise in (0.0, 0.5, 5.0):
        table = make_routing(5000, noise=noise, n_tasks=1, random_state=0)
        X, ability = table.data, logit(table.expected_quality)
        explained.append(LinearRegression().fit(X, ability).score(X, ability))
        length = np.log(table.costs[:, 0])
        visible.append(LinearRegression().fit(X, length).score(X, length))
    assert explained[0] > 0.999
    assert explained[0] > explained[1] > 0.6 > explained[2] + 0.3
    assert visible[0] > 0.999 > visible[1] > visible[2]


def test_tasks_form_clusters():
    table = make_routing(2000, random_state=0)
    centres = np.array(
        [table.data[table.task == task].mean(axis=0) for task in np.unique(table.task)]
    )
    assert np.linalg.norm(centres[0] - centres[1]) > 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_queries", 0),
        ("n_features", -1),
        ("n_models", 2.5),
        ("n_models", True),
        ("n_tasks", 0),
        ("difficulty", np.nan),
        ("difficulty", "hard"),
        ("noise", -0.1),
        ("noise", np.inf),
        ("specialization", -1),
        ("missing", 1.0),
        ("missing", -0.1),
        ("cost_spread", 0.5),
    ],
)
def test_wrong_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        make_routing(**{name: value})

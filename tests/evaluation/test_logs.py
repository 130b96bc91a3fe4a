"""A policy judged on a log in which another one decided."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skroute import RankingRouter
from skroute.datasets import make_routing, read_routerbench
from skroute.evaluation import policy_value

MODELS = np.array(["small", "middle", "large"], dtype=object)


def make_log(n=2000, share=0.3, seed=0, truth=None):
    """A policy that calls the best by estimates, or else any; and all that is true."""
    rng = np.random.default_rng(seed)
    data = make_routing(n, n_models=3, random_state=seed) if truth is None else truth
    expected = np.clip(
        data.expected_quality + rng.normal(0, 0.1, data.quality.shape), 0, 1
    )
    usual = expected.argmax(axis=1)
    chances = np.full(expected.shape, share / 3)
    chances[np.arange(n), usual] += 1 - share
    called = (chances.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    rows = np.arange(n)
    log = {
        "called": called,
        "propensity": chances[rows, called],
        "quality": data.quality[rows, called],
        "cost": data.costs[rows, called],
        "expected_quality": expected,
        "expected_cost": np.tile(data.costs.mean(axis=0), (n, 1)),
    }
    return log, usual, data


def test_what_was_logged_is_its_own_mean():
    """A policy that does what the log did, with certainty, gave what the log gave."""
    log, *_ = make_log()
    log["propensity"] = np.ones(2000)
    found = policy_value(log["called"], **log)
    assert found.quality == pytest.approx(log["quality"].mean())
    assert found.cost == pytest.approx(log["cost"].mean())
    half = 1.96 * log["quality"].std(ddof=1) / 2000**0.5
    assert found.quality_interval[1] - found.quality == pytest.approx(half, rel=1e-3)
    assert found.effective_sample_size == pytest.approx(2000)
    assert found.covered == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("estimates", [True, False])
def test_intervals_hold_what_the_policy_gives(estimates):
    held, widths = [], []
    for seed in range(60):
        log, _, data = make_log(600, seed=seed)
        choice = np.where(log["expected_quality"][:, 1] > 0.5, 1, 2)
        rows = np.arange(600)
        if not estimates:
            log.pop("expected_quality"), log.pop("expected_cost")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = policy_value(choice, **log)
        true = data.expected_quality[rows, choice].mean()
        paid = data.costs[rows, choice].mean()
        held.append(
            [
                found.quality_interval[0] <= true <= found.quality_interval[1],
                found.cost_interval[0] <= paid <= found.cost_interval[1],
            ]
        )
        widths.append(found.quality_interval[1] - found.quality_interval[0])
    assert np.mean(held, axis=0).min() >= 0.9
    assert np.mean(widths) < 0.4


def test_names_indices_and_chances_say_the_same():
    log, usual, _ = make_log()
    frames = {
        name: pd.DataFrame(log[name], columns=MODELS)
        for name in ("expected_quality", "expected_cost")
    }
    by_index = policy_value(usual, **log)
    by_name = policy_value(
        MODELS[usual], **{**log, **frames, "called": MODELS[log["called"]]}
    )
    certain = policy_value(np.eye(3)[usual], **log)
    turned = {name: frame[MODELS[::-1]] for name, frame in frames.items()}
    reordered = policy_value(
        pd.DataFrame(np.eye(3)[usual], columns=MODELS)[["middle", "large", "small"]],
        **{**log, **turned, "called": MODELS[log["called"]]},
    )
    for found in (by_name, certain, reordered):
        assert found.quality == pytest.approx(by_index.quality)
        assert found.cost_interval == pytest.approx(by_index.cost_interval)


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(3)), seed=st.integers(0, 5))
def test_the_order_of_queries_and_models_does_not_matter(order, seed):
    log, usual, _ = make_log(300, seed=seed)
    found = policy_value(usual, **log)
    place, rows = np.argsort(order), np.random.default_rng(seed).permutation(300)
    moved = {
        name: values[rows][:, order] if values.ndim == 2 else values[rows]
        for name, values in log.items()
    }
    moved["called"] = place[moved["called"]]
    again = policy_value(place[usual[rows]], **moved)
    assert again.quality == pytest.approx(found.quality)
    assert again.cost_interval == pytest.approx(found.cost_interval)


def test_a_mixture_of_policies_is_worth_their_mean():
    log, usual, _ = make_log()
    one, other = np.eye(3)[usual], np.eye(3)[np.full(2000, 2)]
    # Without clipping and normalising the estimate is linear; here nearly so.
    values = [policy_value(p, **log).quality for p in (one, other, (one + other) / 2)]
    assert values[2] == pytest.approx((values[0] + values[1]) / 2, abs=0.02)


def test_what_is_unknown_is_left_out():
    log, usual, _ = make_log()
    holes = {
        **log,
        "quality": np.where(np.arange(2000) % 3 == 0, np.nan, log["quality"]),
    }
    found, kept = policy_value(usual, **holes), np.arange(2000) % 3 > 0
    rest = policy_value(usual[kept], **{k: v[kept] for k, v in log.items()})
    assert found.quality == pytest.approx(rest.quality)
    assert found.cost == policy_value(usual, **log).cost


def test_a_group_is_one_draw():
    log, usual, _ = make_log(400)
    four = {name: np.concatenate([values] * 4) for name, values in log.items()}
    groups = np.tile(np.arange(400), 4)
    alone = np.diff(policy_value(usual, **log).quality_interval)
    again = np.diff(
        policy_value(np.tile(usual, 4), **four, groups=groups).quality_interval
    )
    np.testing.assert_allclose(again, alone, rtol=0.05)
    blind = np.diff(policy_value(np.tile(usual, 4), **four).quality_interval)
    np.testing.assert_allclose(blind, alone / 2, rtol=0.1)
    with pytest.raises(ValueError, match=r"groups must hold one label .*\(400,\)"):
        policy_value(usual, **log, groups=groups)


def test_a_long_tail_reaches_farther():
    log, usual, _ = make_log(600)
    log["cost"] = np.random.default_rng(0).lognormal(-5, 2, 600)
    log["expected_cost"] = np.full((600, 3), log["cost"].mean())
    found = policy_value(usual, **log)
    low, high = found.cost_interval
    assert 0 <= low < found.cost < high
    assert high - found.cost > 1.2 * (found.cost - low)


@pytest.mark.parametrize("unit", [1e-150, 1.0, 1e150])
def test_the_unit_of_outcomes_does_not_matter(unit):
    log, usual, _ = make_log(400)
    once = policy_value(usual, **log)
    for name in ("quality", "expected_quality"):
        log[name] = log[name] * unit
    found = policy_value(usual, **log)
    scaled = [end / unit for end in found.quality_interval]
    np.testing.assert_allclose(scaled, once.quality_interval, rtol=1e-6)


def test_few_matching_calls_correct_nothing():
    """What so few calls show by chance does not move the estimates."""
    log, usual, _ = make_log(300, share=0.02)
    other = (usual + 1) % 3
    assert (log["called"] == other).sum() < 20
    with pytest.warns(UserWarning, match="tells little of this policy"):
        found = policy_value(other, **log)
    expected = log["expected_quality"][np.arange(300), other].mean()
    assert found.quality == pytest.approx(expected)


def test_a_log_that_was_never_explored_is_refused():
    log, usual, _ = make_log()
    log["propensity"] = np.ones(2000)
    message = "the log was never explored.* for [0-9]+% of the queries.*explore=0.05"
    with pytest.raises(ValueError, match=message):
        policy_value((usual + 1) % 3, **log)


def test_it_warns_where_the_log_cannot_tell():
    """A policy that the log hardly ever follows rests on estimates, and says so."""
    log, usual, data = make_log(share=0.02)
    with pytest.warns(UserWarning, match="tells little of this policy"):
        found = policy_value((usual + 1) % 3, **log)
    assert found.covered < 0.2
    true = data.expected_quality[np.arange(2000), (usual + 1) % 3].mean()
    assert found.quality_interval[0] < true < found.quality_interval[1]
    assert "worth" in str(found)


def test_a_real_log(shared_data):
    """Estimates of a router that was fitted before judge another rule."""
    data = read_routerbench(
        shared_data / "routerbench3.csv.gz",
        embeddings=shared_data / "routerbench3_minilm.npy",
    )
    complete = np.isfinite(data.quality).all(axis=1)
    X, y, costs = data.data[complete], data.quality[complete], data.costs[complete]
    router = RankingRouter(n_estimators=0, random_state=0)
    router.fit(X[:600], y[:600], costs=costs[:600])
    X, y, costs = X[600:], y[600:], costs[600:]
    budget = costs[:, y.mean(axis=0).argmax()].mean() / 2
    names, rng = router.route(X, budget=budget), np.random.default_rng(0)
    rows, usual = np.arange(len(X)), pd.Index(router.models_).get_indexer(names)
    chances = np.full(y.shape, 0.3 / y.shape[1])
    chances[rows, usual] += 0.7
    called = (chances.cumsum(axis=1) > rng.random((len(X), 1))).argmax(axis=1)
    quality, cost = np.hsplit(router.transform(X), 2)
    found = policy_value(
        names,
        called=router.models_[called],
        propensity=chances[rows, called],
        quality=y[rows, called],
        cost=costs[rows, called],
        expected_quality=pd.DataFrame(quality, columns=router.models_),
        expected_cost=pd.DataFrame(cost, columns=router.models_),
    )
    low, high = found.quality_interval
    assert low < y[rows, usual].mean() < high
    low, high = found.cost_interval
    assert low < costs[rows, usual].mean() < high
    plain = 2 * 1.96 * y[rows, usual].std() / len(rows) ** 0.5
    assert np.diff(found.quality_interval)[0] < 1.5 * plain


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"propensity": np.zeros(20)},
            "propensity must be above 0 and at most 1.*row 0",
        ),
        ({"propensity": np.full(20, np.nan)}, "propensity must be known for some"),
        ({"propensity": [0.5]}, r"propensity must have one value for each of the 20"),
        ({"quality": np.full(20, np.nan)}, "quality must be known for at least two"),
        ({"quality": ["good"] * 20}, "quality must be numbers"),
        ({"cost": np.full(20, np.inf)}, "cost must be finite, or NaN"),
        ({"called": np.full(20, 7)}, r"called must lie in 0..2"),
        ({"choice": np.full(20, 5)}, r"choice must lie in 0..2"),
        ({"choice": np.full((20, 3), 0.5)}, "add up to 1 for each query.*row 0"),
        ({"expected_cost": np.ones((20, 2))}, r"expected_cost must have .*\(20, 3\)"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\); got 1.0"),
        ({"called": []}, "called must name at least one call"),
    ],
)
def test_bad_input_is_named(changed, message):
    log, usual, _ = make_log(20)
    with pytest.raises(ValueError, match=message):
        policy_value(**{"choice": usual, **log, **changed})


def test_names_in_one_argument_and_indices_in_the_other_are_refused():
    log, usual, _ = make_log(300)
    log.pop("expected_quality"), log.pop("expected_cost")
    with pytest.raises(ValueError, match="must both be names or both be indices"):
        policy_value(MODELS[usual], **log)


@pytest.mark.parametrize("name", ["called", "choice"])
def test_calls_of_no_model_are_refused(name):
    log, usual, _ = make_log(300)
    given_ = {"choice": MODELS[usual], **log, "called": MODELS[log["called"]]}
    given_.pop("expected_quality"), given_.pop("expected_cost")
    given_[name] = np.where(np.arange(300) == 7, None, given_[name])
    with pytest.raises(ValueError, match=f"{name} must name a model.*row 7 has none"):
        policy_value(**given_)


def test_chances_that_cannot_be_those_of_the_calls_are_told():
    log, usual, _ = make_log()
    log["propensity"] = np.full(2000, 1e-6)
    with pytest.warns(UserWarning, match="propensity does not fit the calls"):
        policy_value(usual, **log)


def test_calls_without_a_chance_are_left_out():
    log, usual, _ = make_log()
    chances = log["propensity"].copy()
    chances[::3] = np.nan
    found = policy_value(usual, **{**log, "propensity": chances})
    kept = np.isfinite(chances)
    rest = {name: values[kept] for name, values in log.items()}
    assert found == policy_value(usual[kept], **rest)
    with pytest.raises(ValueError, match="propensity must be known for some calls"):
        policy_value(usual, **{**log, "propensity": np.full(len(usual), np.nan)})


def test_a_group_counts_as_one_draw_and_qualities_stay_in_their_range() -> None:
    rng = np.random.default_rng(0)
    called = np.repeat(rng.integers(2, size=60), 5)
    log = {
        "called": called,
        "propensity": np.full(300, 0.5),
        "quality": np.ones(300),
        "cost": np.ones(300),
        "expected_quality": np.full((300, 2), 1.4),
        "expected_cost": np.ones((300, 2)),
    }
    choice = np.ones(300, dtype=int)
    alone = policy_value(choice, **log)
    with pytest.warns(UserWarning, match="worth"):
        grouped = policy_value(choice, **log, groups=np.arange(300) // 5)
    assert grouped.effective_sample_size == pytest.approx(
        alone.effective_sample_size / 5
    )
    assert alone.quality <= 1
    assert alone.quality_interval[1] <= 1

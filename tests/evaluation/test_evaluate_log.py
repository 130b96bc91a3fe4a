"""Routers that are learnt from a log, and judged on it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute.datasets import make_routing, read_routerbench
from skroute.evaluation import evaluate_log, make_log_scorer, policy_value
from skroute.text import TextRouter

MODELS = ["small", "middle", "large"]


def make_log(n=600, explored=0.3, seed=0) -> Bunch:
    """A policy that goes by the first embedding, and explores."""
    rng = np.random.default_rng(seed)
    data = make_routing(n, n_models=3, random_state=seed)
    usual = np.digitize(data.data[:, 0], [-0.3, 0.3])
    chances = np.full((n, 3), explored / 3)
    chances[np.arange(n), usual] += 1 - explored
    called = (chances.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    made = np.arange(3) == called[:, None]
    return Bunch(
        X=data.data,
        y=pd.DataFrame(np.where(made, data.quality, np.nan), columns=MODELS),
        costs=np.where(made, data.costs, np.nan),
        propensity=chances[np.arange(n), called],
        called=called,
        usual=usual,
        truth=data,
    )


def ridge() -> dict[str, Any]:
    return {"ridge": PointwiseRouter(Ridge(), random_state=0)}


def evaluate(log, **options):
    options = {"propensity": log.get("propensity"), "routers": ridge(), **options}
    return evaluate_log(log.X, log.y, log.costs, **options)


def judged(found):
    return [[*v.quality_interval, *v.cost_interval] for _, _, v in found.rows]


def test_it_tells_what_the_log_gave_and_what_a_router_would_give():
    log = make_log(1600)
    found = evaluate(log, routers=None)
    gave = np.nanmean(log.y), np.nanmean(log.costs)
    assert (found.logged.quality, found.logged.cost) == pytest.approx(gave)
    true = log.truth.expected_quality
    best = int(true.mean(axis=0).argmax())
    assert found.best_single == MODELS[best]
    low, high = found.best_single_value.quality_interval
    assert low < true[:, best].mean() < high
    values = found.values["RankingRouter"]
    assert list(values) == ["100%", "95%", "the log's spend", "half of it"]
    # Better than what the log did, and the target costs less than the best model.
    assert values["the log's spend"].quality_interval[0] > found.logged.quality
    assert values["95%"].cost < values["100%"].cost < found.best_single_value.cost
    assert not found.propensity_estimated
    assert (found.n_queries, found.n_left_out) == (1600, 0)


def test_constants_are_what_they_are_alone():
    found = evaluate(make_log(), routers={"best": DummyRouter("best_single")})
    assert found.values["best"]["100%"].quality == pytest.approx(
        found.best_single_value.quality, abs=0.03
    )


class Recorder(RankingRouter):
    """Records the weights that it is given."""

    seen: list[np.ndarray]

    def fit(self, X, y, *, costs=None, outcome_weight=None, groups=None):
        Recorder.seen.append(np.asarray(outcome_weight)[np.isfinite(y)])
        return super().fit(
            X, y, costs=costs, outcome_weight=outcome_weight, groups=groups
        )


def test_routers_that_take_weights_are_given_clipped_inverse_chances():
    log, Recorder.seen = make_log(explored=0.1), []
    router = Recorder(n_estimators=0, n_landmarks=8, random_state=0)
    evaluate(log, routers={"router": router}, cv=3)
    right = np.minimum(1 / log.propensity, 10.0)
    assert len(Recorder.seen) == 3
    for weight in Recorder.seen:
        assert set(weight.round(9)) == set(right.round(9))


class Spy:
    """An encoder that leaves out the first column, and remembers it."""

    def __init__(self):
        self.sides = []

    def __call__(self, X):
        self.sides.append([X[:, 0], None])
        return self

    def transform(self, X):
        self.sides[-1][1] = X[:, 0]
        return X[:, 1:]


def test_repeats_and_groups_stay_on_one_side():
    log, spy = make_log(), Spy()
    groups = np.arange(600) // 4
    X = np.column_stack([groups, log.X])
    evaluate(Bunch(**{**log, "X": X}), encoder=spy, groups=groups, cv=4)
    assert len(spy.sides) == 4
    held_out = [test for _, test in spy.sides]
    # After the training part, transform is called with the test part.
    for train, test in spy.sides:
        assert not set(train) & set(test)
    assert sorted(np.concatenate(held_out)) == sorted(groups)


def test_repeats_of_a_query_are_one_draw():
    log = make_log(300)
    four = {
        name: np.concatenate([np.asarray(log[name])] * 4)
        for name in ("X", "costs", "propensity")
    }
    four["y"] = pd.concat([log.y] * 4, ignore_index=True)
    once, again = evaluate(log), evaluate(Bunch(**four))
    widths = [np.diff(found.logged.quality_interval)[0] for found in (once, again)]
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    assert again.n_prompts == 300


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0]])
def test_the_order_of_models_changes_nothing(order):
    log, names = make_log(), [MODELS[i] for i in (0, 1, 2)]
    turned = Bunch(**{**log, "y": log.y[[names[i] for i in order]]})
    turned.costs = log.costs[:, order]
    np.testing.assert_allclose(judged(evaluate(turned)), judged(evaluate(log)))
    unnamed = Bunch(**{**log, "y": log.y.to_numpy()})
    found = evaluate(unnamed, models=MODELS)
    np.testing.assert_allclose(judged(found), judged(evaluate(log)))
    assert found.best_single in MODELS


def test_the_same_seed_gives_the_same_bytes():
    log = make_log()
    one, other = (json.dumps(evaluate(log, routers=None).to_dict()) for _ in range(2))
    assert one == other
    assert (
        json.loads(one)["routers"]["RankingRouter"].keys() == evaluate(log).rules.keys()
    )


def test_unknown_calls_and_outcomes():
    log = make_log()
    y, costs = log.y.copy(), log.costs.copy()
    y.iloc[:30] = np.nan  # judged by nobody: a call, whose cost is known
    y.iloc[30:40], costs[30:40] = np.nan, np.nan  # no call
    costs[40:50] = np.nan  # a call whose cost is unknown
    found = evaluate(Bunch(**{**log, "y": y, "costs": costs}))
    assert (found.n_queries, found.n_left_out) == (590, 10)
    assert found.logged.quality == pytest.approx(np.nanmean(y))
    assert found.logged.cost == pytest.approx(np.nanmean(costs))


def test_prices_per_model_and_rules_of_your_own():
    log = make_log()
    found = evaluate_log(
        log.X,
        log.y,
        {"small": 1.0, "middle": 3.0, "large": 9.0},
        propensity=log.propensity,
        routers=ridge(),
        rules={"cheap": {"budget": 2.0}, "no large": {"available": MODELS[:2]}},
    )
    assert found.values["ridge"]["cheap"].cost < 2.5
    assert found.values["ridge"]["no large"].cost < 3.01
    assert "ridge (no large): quality" in str(found)


# Chances that the log does not have


def test_chances_are_estimated_and_that_is_said():
    log = make_log(2000)
    known, found = evaluate(log), evaluate(log, propensity=None)
    assert found.propensity_estimated
    assert found.to_dict()["propensity_estimated"]
    assert "The log has no chances of its calls: they are estimated" in found.sentence
    assert "a fixed rule, these figures are wrong" in found.doubts[0]
    for rule, value in known.values["ridge"].items():
        other = found.values["ridge"][rule]
        assert other.quality == pytest.approx(value.quality, abs=0.05)


def test_chances_of_prompts_are_estimated_from_their_words():
    rng = np.random.default_rng(0)
    words = np.array(["prove this theorem", "translate the letter", "add two numbers"])
    kind = rng.integers(0, 3, 300)
    prompts = [f"{words[k]} {i}" for i, k in enumerate(kind)]
    called = np.where(rng.random(300) < 0.3, rng.integers(0, 2, 300), kind == 0)
    y = np.full((300, 2), np.nan)
    y[np.arange(300), called] = rng.random(300) < np.where(called == 1, 0.9, kind / 2)
    routers = {"words": TextRouter(PointwiseRouter(Ridge(), random_state=0))}
    found = evaluate_log(prompts, y, [1.0, 9.0], routers=routers, cv=3)
    assert found.propensity_estimated
    assert 0.5 < found.values["words"]["100%"].quality <= 1.0


def test_a_log_that_was_never_explored_is_refused():
    log = make_log()
    # By the first number alone, with few queries near the border.
    kept = np.flatnonzero(np.abs(log.X[:, 0]) > 0.5)
    made = np.stack([log.X[kept, 0] > 0, log.X[kept, 0] < 0], axis=1)
    y = np.where(made, log.truth.quality[kept][:, [0, 2]], np.nan)
    fixed = Bunch(X=log.X[kept], y=y, costs=[1.0, 9.0])
    with pytest.raises(
        ValueError, match=r"propensity is 1 for every call.*explore=0.05"
    ):
        evaluate(fixed, propensity=np.ones(len(kept)))
    # The rule can be foretold from the queries.
    with pytest.raises(ValueError, match=r"as if a fixed rule had made.*explore=0.05"):
        evaluate(fixed, propensity=None)


def test_a_log_of_one_model_is_refused():
    log = make_log()
    y = np.full((600, 2), np.nan)
    y[:, 0] = log.truth.quality[:, 0]
    with pytest.raises(ValueError, match="lacks them of model_1, which"):
        evaluate_log(log.X, y, [1.0, 2.0], routers=ridge())
    with pytest.raises(ValueError, match="the log calls one model only"):
        evaluate_log(log.X, y[:, :1], [1.0], routers=ridge())


def test_it_says_of_what_the_log_tells_little():
    found = evaluate(make_log(300, explored=0.05), rules={"all": {"price": 0.0}})
    assert any("tells little of ridge (all)" in doubt for doubt in found.doubts)
    log = make_log()
    log.propensity = np.full(600, 1e-3)
    assert any("does not fit the calls" in doubt for doubt in evaluate(log).doubts)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"y": np.ones((600, 3))},
            r"one model of each query.*row 0 has 3, and 600 rows",
        ),
        ({"y": np.full((600, 3), np.nan)}, "y must have the quality of some call"),
        ({"propensity": np.full(600, 2.0)}, "propensity must be above 0 and at most 1"),
        ({"propensity": [0.5]}, "propensity"),
        ({"cv": 1}, "cv must be"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\); got 1.0"),
        ({"routers": {}}, "routers must hold at least one router"),
        ({"rules": {"odd": {"budget": -1.0}}}, "budget"),
    ],
)
def test_bad_input_is_named(changed, message):
    log = make_log()
    given = {name: log[name] for name in ("X", "y", "costs", "propensity")}
    options = {"routers": ridge(), **given, **changed}
    with pytest.raises(ValueError, match=message):
        evaluate_log(
            options.pop("X"), options.pop("y"), options.pop("costs"), **options
        )


@pytest.mark.slow
def test_a_real_table_explored(shared_data):
    data = read_routerbench(
        shared_data / "paretobandit.csv.gz",
        embeddings=shared_data / "paretobandit_minilm.npy",
    )
    rng, (n, m) = np.random.default_rng(0), data.quality.shape
    called, rows = rng.integers(0, m, n), np.arange(n)
    y, costs = np.full((n, m), np.nan), np.full((n, m), np.nan)
    y[rows, called] = data.quality[rows, called]
    costs[rows, called] = data.costs[rows, called]
    found = evaluate_log(data.data, y, costs, propensity=np.full(n, 1 / m))
    best = int(found.best_single.removeprefix("model_"))
    low, high = found.best_single_value.quality_interval
    assert low < np.nanmean(data.quality[:, best]) < high
    assert not found.doubts


def test_a_scorer_judges_decisions_by_the_calls_of_a_log() -> None:
    log = make_log(1200)
    train, test = slice(0, 600), slice(600, None)
    router = ridge()["ridge"].fit(log.X[train], log.y[train], costs=log.costs[train])
    value = policy_value(
        router.predict(log.X[test]),
        called=log.called[test],
        propensity=log.propensity[test],
        quality=log.y.to_numpy()[test][np.arange(600), log.called[test]],
        cost=log.costs[test][np.arange(600), log.called[test]],
        expected_quality=router.predict_quality(log.X[test]),
        expected_cost=router.predict_cost(log.X[test]),
    )
    held_out = log.X[test], log.y[test]
    beside = {"costs": log.costs[test], "propensity": log.propensity[test]}
    for price in (0.0, 100.0):
        score = make_log_scorer(price=price)(router, *held_out, **beside)
        assert score == pytest.approx(value.quality - price * value.cost)


def test_a_search_on_a_log_finds_the_better_rule(metadata_routing) -> None:
    log = make_log(800)
    search = GridSearchCV(
        make_pipeline(
            PointwiseRouter(Ridge(), random_state=0).set_fit_request(costs=True),
            BudgetDecider().set_fit_request(costs=False),
        ),
        {"budgetdecider__price": [0.0, 100.0]},
        scoring=make_log_scorer(price=100.0),
        cv=2,
        error_score="raise",
    )
    search.fit(log.X, log.y, costs=log.costs, propensity=log.propensity)
    assert search.best_params_ == {"budgetdecider__price": 100.0}


def test_a_scorer_refuses_what_is_no_log_and_names_the_way_out() -> None:
    log = make_log(100)
    router = ridge()["ridge"].fit(log.X, log.y, costs=log.costs)
    score = make_log_scorer()
    with pytest.raises(ValueError, match="propensity must be given"):
        score(router, log.X, log.y, costs=log.costs)
    several = log.y.mask(log.y.isna().cumsum(axis=1) == 1, 0.5)
    with pytest.raises(ValueError, match="make_routing_scorer"):
        score(router, log.X, several, costs=log.costs, propensity=log.propensity)
    with pytest.raises(ValueError, match="never explored"):
        score(router, log.X, log.y, costs=log.costs, propensity=np.ones(100))
    with pytest.raises(ValueError, match="price"):
        make_log_scorer(price=-1.0)

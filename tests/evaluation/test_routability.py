"""Whether routing is worth it: verdicts, their evidence, and messy tables."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import Ridge

from skroute import DummyRouter, PointwiseRouter, RankingRouter
from skroute.datasets import make_routing, read_routerbench
from skroute.evaluation import routability
from skroute.evaluation.gains import N_RANDOM, Estimate, Gains, estimate_mean
from skroute.evaluation.verdict import decide, find_more_queries, follow_curve
from skroute.exceptions import NoCostWarning
from skroute.text import TextRouter

DATA = make_routing(n_queries=500, n_models=5, random_state=0)
NOTHING = np.random.default_rng(0).normal(size=DATA.data.shape)


def ridge(**options):
    return PointwiseRouter(Ridge(), cv=2, random_state=0, **options)


def ask(X=DATA.data, y=DATA.quality, costs=DATA.costs, **options):
    return routability(X, y, costs, **{"router": ridge(), "quick": True, **options})


def test_queries_that_tell_which_model_is_better_are_worth_routing():
    found = ask(quick=False)
    assert found.verdict == "route"
    assert found.more_queries == 0
    assert 0 < found.gain.low < found.gain.value < found.gain.high < found.lead
    assert found.luck <= 0.05
    assert found.shuffled.low < 0.01
    assert found.random.value < found.gain.value
    assert found.n_fitted.tolist() == [100, 200, 400]
    assert found.learning_curve[-1] == found.gain
    assert found.sentence.startswith("Route: ")


@pytest.mark.parametrize("seed", range(4))
def test_queries_that_tell_nothing_are_not_worth_routing(seed):
    X = np.random.default_rng(seed).normal(size=DATA.data.shape)
    found = ask(X, random_state=seed)
    assert found.verdict != "route"


def test_a_dominating_model_is_not_worth_routing_around():
    y = DATA.quality.copy()
    y[:, 0] = y.max(axis=1)  # the cheapest one
    found = ask(y=y)
    assert found.verdict == "do not route"
    assert found.lead <= found.worthwhile + 1e-12
    assert found.sentence.startswith("Do not route: ")


def test_equal_models_leave_nothing_to_gain():
    found = ask(y=np.ones_like(DATA.quality), costs=np.ones(5))
    assert found.verdict == "do not route"
    assert found.gain == (0.0, 0.0, 0.0)


def test_one_model_leaves_nothing_to_choose():
    found = ask(y=DATA.quality[:, :1], costs=DATA.costs[:, :1])
    assert found.verdict == "do not route"


def test_few_queries_are_not_enough_data():
    found = ask(NOTHING[:60], DATA.quality[:60], DATA.costs[:60], quick=False)
    assert found.verdict == "not enough data"
    assert found.more_queries is None or found.more_queries > 0
    assert found.sentence.startswith("Not enough data: ")


def test_a_router_that_ignores_the_query_gains_nothing():
    found = ask(router=DummyRouter())
    assert found.verdict != "route"
    assert found.gain.value <= 0.01
    assert found.luck > 0.05


def test_tasks_that_say_it_all_leave_the_router_nothing():
    task = np.random.default_rng(0).integers(3, size=900)
    rng = np.random.default_rng(1)
    y = (rng.random((900, 3)) < np.eye(3)[task] * 0.8 + 0.1).astype(float)
    X = np.eye(3)[task] + 0.01 * rng.normal(size=(900, 3))
    names = np.array(["a", "b", None], dtype=object)[task]
    found = ask(X, y, np.ones(3), tasks=names, quick=False)
    assert found.verdict == "route"
    assert found.gain.low > 0.3
    assert found.gain_over_tasks.value < 0.02
    # Shuffled within tasks, queries still tell their task.
    assert found.shuffled.low > 0.3
    assert "one model for each task" in found.sentence
    assert "within their tasks" in str(found)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result_whatever_the_jobs():
    found, again = ask(quick=False), ask(quick=False, n_jobs=2)
    assert json.dumps(found.to_dict()) == json.dumps(again.to_dict())


def test_it_can_be_tabulated_and_written():
    found = ask(quick=False, tasks=DATA.task)
    frame = found.to_frame()
    assert frame.columns.tolist() == ["gain", "low", "high"]
    assert frame.loc["router", "gain"] == found.gain.value
    assert len(frame) == 5
    assert len(ask().to_frame()) == 3
    written = json.loads(json.dumps(found.to_dict()))
    assert written["verdict"] == "route"
    assert written["gain"] == list(found.gain)
    lines = str(found).split("\n")
    assert lines[0] == found.sentence
    assert len(lines) == 5 + ("try 98%" in lines[2])
    assert "the cross-validated router saves" in lines[1]


@pytest.mark.parametrize("verdict", ["route", "not enough data"])
def test_routes_that_save_little_name_a_lower_target(verdict):
    found = replace(ask(), verdict=verdict, saving=Estimate(0.0, -0.1, 0.1))
    assert ("try 98%" in str(found)) == (verdict == "route")
    much = replace(found, saving=Estimate(0.5, 0.4, 0.6))
    assert "try 98%" not in str(much)


def test_units_of_quality_and_money_do_not_matter():
    found = ask()
    other = ask(y=1e6 * DATA.quality - 3e6, costs=1e-7 * DATA.costs)
    assert other.verdict == found.verdict
    np.testing.assert_allclose(other.gain, np.multiply(found.gain, 1e6), rtol=1e-3)
    np.testing.assert_allclose(other.saving, found.saving, atol=1e-6)


def test_the_largest_qualities_do_not_overflow():
    found = ask(y=1e150 * DATA.quality)
    assert found.verdict == "route"
    assert np.isfinite(found.gain).all()


def test_the_order_of_models_does_not_matter():
    names = list("abcde")
    y = pd.DataFrame(DATA.quality, columns=names)
    costs = pd.DataFrame(DATA.costs, columns=names)
    found, other = ask(y=y, costs=costs), ask(y=y[names[::-1]], costs=costs)
    np.testing.assert_allclose(found.gain, other.gain, atol=1e-9)


def test_rows_with_holes_are_trained_on_and_not_judged():
    y = DATA.quality.copy()
    y[::4, 1] = np.nan
    found = ask(y=y, quick=False)
    assert found.n_queries == 500
    assert found.n_judged == 375
    assert np.isfinite(found.gain).all()


def test_logs_of_one_answer_are_refused():
    y = np.full(DATA.quality.shape, np.nan)
    y[np.arange(500), np.arange(500) % 5] = 1.0
    with pytest.raises(ValueError, match="judging decisions needs complete rows"):
        ask(y=y)


def test_too_few_complete_rows_are_refused():
    y = DATA.quality.copy()
    y[2:, 0] = np.where(np.arange(498) < 400, np.nan, np.nan)
    y[5:, 1] = 1.0
    with pytest.raises(ValueError, match="known, in every fold; only 2 of 500"):
        ask(y=y)


def test_folds_without_a_complete_row_judge_nothing():
    y = DATA.quality[:100].copy()
    y[4:, 0] = np.where(np.arange(96) % 2, y[4:, 0], np.nan)
    y[4:, 1] = np.where(np.arange(96) % 2, np.nan, y[4:, 1])
    found = ask(DATA.data[:100], y, DATA.costs[:100])
    assert found.n_judged == 4
    assert found.verdict == "not enough data"


def test_repeated_prompts_are_one_query():
    rows = np.repeat(np.arange(250), 4)
    tables = DATA.data[rows], DATA.quality[rows], DATA.costs[rows]
    found, repeated = (
        ask(*(t[:250] for t in (DATA.data, DATA.quality, DATA.costs))),
        ask(*tables),
    )
    assert repeated.n_prompts == 250
    assert repeated.n_judged == 1000
    width, wide = (e.high - e.low for e in (repeated.gain, found.gain))
    # Four copies of a query do not halve the doubt.
    assert width > 0.75 * wide


def test_groups_are_held_out_together_and_widen_the_bounds():
    groups = np.arange(500) // 20
    found, grouped = ask(), ask(groups=groups)
    assert grouped.verdict in ("route", "not enough data")
    assert grouped.gain != found.gain
    with pytest.raises(ValueError, match="at least two groups"):
        ask(groups=np.zeros(500))


def test_prompts_are_read_by_a_text_router():
    hard = DATA.quality.mean(axis=1) < 0.5
    prompts = np.where(hard, "prove the theorem", "say hello to")
    prompts = [f"{prompt} number {i}" for i, prompt in enumerate(prompts)]
    found = ask(prompts[:200], DATA.quality[:200], DATA.costs[:200],
                router=TextRouter(ridge()))  # fmt: skip
    assert found.n_judged == 200


def test_without_costs_every_model_costs_one():
    with pytest.warns(NoCostWarning, match="routability was given no costs"):
        found = routability(DATA.data, DATA.quality, router=ridge(), quick=True)
    assert found.gain.value > 0
    prices = np.arange(1.0, 6.0)
    priced = routability(
        DATA.data, DATA.quality, router=ridge(costs=prices), quick=True
    )
    assert priced.gain == ask(costs=prices).gain


def test_free_models_save_no_share_of_money():
    found = ask(costs=np.zeros(5))
    assert np.isnan(found.saving).all()
    assert "saves" not in str(found)
    assert found.to_dict()["saving"] == [None, None, None]


def test_progress_is_told():
    seen = []
    ask(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 5) for i in range(1, 6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.0}, r"confidence must be in \[0.5, 1\); got 1.0"),
        ({"worthwhile": -0.1}, "worthwhile must be"),
        ({"cv": 1}, "cv must be"),
        ({"tasks": np.zeros((500, 2))}, "tasks must name one task for each query"),
        ({"tasks": np.zeros(3)}, "500"),
        ({"X": DATA.data[:1].repeat(4, 0), "y": DATA.quality[:4],
          "costs": DATA.costs[:4]}, "at least two different prompts"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ask(**options)


def test_a_random_policy_as_good_as_the_router_is_luck():
    """The router called nothing but the best model, a handful of times excepted."""
    nothing = np.zeros(100)
    parts = Gains(nothing, nothing, None, nothing, nothing, np.zeros(N_RANDOM))
    assert parts.measure_luck() == 1.0


def test_verdicts_need_evidence_for_either_answer():
    above, around, below = (
        Estimate(0.02, 0.01, 0.03),
        Estimate(0.0, -0.01, 0.01),
        Estimate(0.0, -0.001, 0.001),
    )
    assert decide(above, above, 0.01, 0.005, 0.95, 1000) == "route"
    assert decide(above, above, 0.2, 0.005, 0.95, 1000) == "not enough data"
    assert decide(around, around, 0.5, 0.005, 0.95, 1000) == "not enough data"
    assert decide(below, below, 0.5, 0.005, 0.95, 1000) == "do not route"
    assert decide(below, around, 0.5, 0.005, 0.95, 1000) == "not enough data"
    assert decide(below, below, 0.5, 0.005, 0.95, 100) == "not enough data"


def test_more_queries_are_foreseen_by_the_learning_curve():
    sizes = np.array([200.0, 400.0, 800.0])
    gains = 0.02 - 4.0 / sizes
    foreseen = [follow_curve(sizes, gains, times) @ gains for times in (1.0, 4.0)]
    np.testing.assert_allclose(foreseen, [0.015, 0.02 - 4.0 / 3200])
    # Gains that fell stay as they are.
    assert follow_curve(sizes, gains[::-1], 4.0).tolist() == [0.0, 0.0, 1.0]
    now = Estimate(0.015, -0.005, 0.035)
    more = find_more_queries(
        lambda times: float(follow_curve(sizes, gains, times) @ gains),
        *(now, now, 0.001, 0.005, 0.95, 1000),
    )
    assert 200 < more < 1000
    wide = Estimate(0.001, -0.2, 0.2)
    arguments = (wide, wide, 0.5, 0.005, 0.95, 1000)
    assert find_more_queries(lambda _: 0.001, *arguments) is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30), st.integers(1, 5))
def test_copies_of_queries_do_not_narrow_bounds(values, n_copies):
    values, unit = np.array(values), np.arange(len(values))
    once = estimate_mean(values, unit, 0.95)
    copied = estimate_mean(np.repeat(values, n_copies), np.repeat(unit, n_copies), 0.95)
    np.testing.assert_allclose(copied, once, atol=1e-9)
    assert once.low <= once.value <= once.high


@pytest.mark.slow
def test_a_real_table_is_worth_routing_and_not_when_shuffled(shared_data):
    table = read_routerbench(
        shared_data / "routerbench3.csv.gz",
        embeddings=shared_data / "routerbench3_minilm.npy",
    )
    rows = np.random.default_rng(0).permutation(len(table.quality))[:900]
    X, y, costs = table.data[rows], table.quality[rows], table.costs[rows]
    found = routability(X, y, costs, quick=True)
    assert found.verdict == "route"
    nothing = routability(np.roll(X, 7, axis=0), y, costs, quick=True)
    assert nothing.verdict != "route"
    assert nothing.gain.value < found.gain.value


def test_frames_and_few_large_groups_work():
    """The outcomes that are shuffled have row labels, and a quarter has one group."""
    data = make_routing(240, n_models=3, random_state=0)
    frames = pd.DataFrame(data.data), pd.DataFrame(data.quality, columns=list("abc"))
    plain = routability(data.data, data.quality, data.costs, random_state=0)
    found = routability(*frames, data.costs, random_state=0)
    assert found.verdict == plain.verdict
    assert found.shuffled.value == pytest.approx(plain.shuffled.value)
    grouped = routability(
        *frames, data.costs, groups=np.arange(240) // 30, random_state=0
    )
    assert grouped.n_queries == 240


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_qualities_that_are_all_equal_are_told_in_words(value):
    data = make_routing(350, n_models=3, random_state=0)
    found = routability(
        data.data, np.full(data.quality.shape, value), data.costs, quick=True
    )
    assert found.sentence.startswith("Do not route: even an oracle")
    assert "0.000" not in str(found)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_gains_in_any_unit_are_short(scale):
    data = make_routing(350, n_models=3, random_state=0)
    found = routability(data.data, data.quality * scale, data.costs, quick=True)
    assert max(map(len, str(found).split())) < 16


def make_unseeded(nested):
    if nested:
        return PointwiseRouter(BaggingRegressor(Ridge(), n_estimators=3))
    return RankingRouter(n_estimators=3, n_landmarks=8)


@pytest.mark.parametrize("nested", [False, True])
def test_routers_without_a_seed_get_one(nested):
    data = make_routing(200, n_models=3, random_state=0)

    def judge(seed):
        return routability(
            *(data.data, data.quality, data.costs),
            router=make_unseeded(nested),
            quick=True,
            cv=2,
            random_state=seed,
        )

    assert judge(0).to_dict() == judge(0).to_dict()
    assert judge(0).gain != judge(1).gain
    # A router that has one keeps it, and none is changed.
    router = make_unseeded(nested)
    judge(0)
    assert router.get_params()["random_state"] is None

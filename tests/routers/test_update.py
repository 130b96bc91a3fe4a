"""Routers that learn on: as a refit, from sums, and renewed where a model changed."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from skroute import PointwiseRouter, RankingRouter, load, save
from skroute._estimate.moments import Batch, Moments
from skroute._estimate.ridge import ALPHAS, fit_ridges
from skroute._table.shifts import find_shift
from skroute.datasets import make_routing
from skroute.text import TextRouter

N_FITTED = 300


@pytest.fixture(scope="module")
def data() -> Any:
    return make_routing(700, n_features=12, n_models=4, random_state=0)


def make_router(**changes: Any) -> RankingRouter:
    settings = {"n_landmarks": 40, "n_estimators": 0, "forget_after": np.inf}
    return RankingRouter(**{**settings, "random_state": 0, **changes})


def fit(data: Any, rows: slice = slice(N_FITTED), **changes: Any) -> RankingRouter:
    router = make_router(**changes)
    return router.fit(data.data[rows], data.quality[rows], costs=data.costs[rows])


def update(router: RankingRouter, data: Any, rows: slice) -> RankingRouter:
    X, y, costs = data.data[rows], data.quality[rows], data.costs[rows]
    return router.update(X, y, costs=costs)


def hide(y: np.ndarray, kind: str) -> np.ndarray:
    """Leave outcomes out: some of them, or all but one of each query."""
    rng = np.random.default_rng(1)
    hidden = np.zeros(y.shape, dtype=bool)
    if kind == "holes":
        hidden = rng.random(y.shape) < 0.3
    if kind == "log":
        hidden = np.arange(y.shape[1]) != rng.integers(y.shape[1], size=(len(y), 1))
    return np.where(hidden, np.nan, y)


def estimate(router: RankingRouter, X: np.ndarray) -> np.ndarray:
    """Qualities by the regressions, which are not kept in the range that was seen."""
    quality: np.ndarray = router._fitted.quality.predict(X)[0].quality
    return quality


# The same as a refit.


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("kind", ["all", "holes", "log"])
def test_an_update_is_a_refit_at_the_same_landmarks_and_strengths(
    data: Any, kind: str, weighed: bool
) -> None:
    X = data.data
    y = hide(data.quality, kind)
    costs = np.where(np.isnan(y), np.nan, data.costs)
    # All outcomes of the first rows, for the same order of models, and unit.
    y[:100], costs[:100] = data.quality[:100], data.costs[:100]
    weight = np.random.default_rng(2).uniform(0.2, 3.0, y.shape) if weighed else None
    # Landmarks are found without outcomes: unknown ones change nothing in them.
    late = np.arange(len(X)) >= N_FITTED
    later = X[late], y[late], costs[late], None if weight is None else weight[late]
    first = [np.where(late[:, None], np.nan, table) for table in (y, costs)]
    learned = make_router().fit(X, first[0], costs=first[1], outcome_weight=weight)
    learned.update(later[0], later[1], costs=later[2], outcome_weight=later[3])
    refit = make_router().fit(X, y, costs=costs, outcome_weight=weight)
    assert np.array_equal(
        learned._fitted.canonical.place, refit._fitted.canonical.place
    )
    assert learned.costs_ == pytest.approx(refit.costs_, rel=1e-9)
    strengths = refit._fitted.quality.find_strengths()
    _, bases = refit._fitted.quality.views.in_double
    # Profiles of training queries are held out from their own pull on the centres;
    # those of later ones pull none.
    for view in (0, 1):
        ours = learned._fitted.learned.quality.moments[view]
        found = ours.solve(np.arange(4), strengths[view], bases[view])
        expected = refit._fitted.learned.quality.paths[view]
        assert found[0] == pytest.approx(expected.coef, rel=1e-6, abs=1e-7)
        assert found[1] == pytest.approx(expected.intercept, rel=1e-6, abs=1e-7)
    ours = learned._fitted.learned.cost.moments
    strength = refit._fitted.learned.cost.strengths[:1]
    coef, intercept = ours.solve(np.arange(4), strength)
    unit = refit._fitted.cost.unit
    if not weighed and kind == "all":
        assert learned._fitted.cost.unit == pytest.approx(unit, rel=0.2)
    means = refit._fitted.learned.quality.means
    assert learned._fitted.learned.quality.means == pytest.approx(means, rel=1e-9)
    assert np.isfinite(coef).all()
    assert np.isfinite(intercept).all()


@pytest.mark.parametrize("kind", ["all", "log"])
def test_estimates_after_updates_are_close_to_a_refit(data: Any, kind: str) -> None:
    y = hide(data.quality, kind)
    costs = np.where(np.isnan(y), np.nan, data.costs)
    train, test = slice(600), slice(600, None)
    learned = make_router().fit(data.data[:150], y[:150], costs=costs[:150])
    early = learned.predict_quality(data.data[test])
    for start in range(150, 600, 50):
        rows = slice(start, start + 50)
        learned.update(data.data[rows], y[rows], costs=costs[rows])
    refit = make_router().fit(data.data[train], y[train], costs=costs[train])

    def miss(estimates: np.ndarray) -> float:
        return float(((estimates - data.quality[test]) ** 2).mean())

    best = miss(refit.predict_quality(data.data[test]))
    missed = miss(learned.predict_quality(data.data[test]))
    assert missed - best < 0.5 * (miss(early) - best)
    cost = learned.predict_cost(data.data[test])
    assert cost.mean(axis=0) == pytest.approx(
        refit.predict_cost(data.data[test]).mean(axis=0), rel=0.1
    )


@pytest.fixture(scope="module")
def pool_of_three() -> tuple[Any, RankingRouter]:
    data = make_routing(1200, n_features=12, n_models=4, random_state=0)
    X, y, costs = data.data[:300], data.quality[:300, :3], data.costs[:300, :3]
    return data, make_router().fit(X, y, costs=costs)


@pytest.mark.parametrize("step", [600, 40])
@pytest.mark.parametrize(
    ("first", "factor"),
    [("expensive", 1.0), ("cheap", 1.0), ("drawn", 2.0), ("drawn", 0.5)],
)
def test_costs_of_few_outcomes_are_corrected_by_one_update_or_many(
    pool_of_three: Any, first: str, factor: float, step: int
) -> None:
    data, router = pool_of_three
    X, y, costs = data.data, data.quality, data.costs.copy()
    order = np.argsort(costs[:300, 3])
    rows = {"expensive": order[-5:], "cheap": order[:5], "drawn": np.arange(5)}[first]
    larger = router.add_model("model_3", y[rows, 3], X=X[rows], costs=costs[rows, 3])
    costs[:, 3] *= factor
    for start in range(300, 900, step):
        part = slice(start, start + step)
        larger.update(X[part], y[part], costs=costs[part])
    found = larger.predict_cost(X[900:])[:, 3].mean()
    assert found == pytest.approx(costs[900:, 3].mean(), rel=0.1)


@pytest.mark.parametrize("factor", [1.2, 0.82])
def test_costs_that_drift_below_the_alarm_are_learned_by_one_update(
    factor: float,
) -> None:
    data = make_routing(1500, n_features=12, n_models=3, random_state=0)
    X, y, costs = data.data, data.quality, data.costs * factor
    router = make_router().fit(X[:100], y[:100], costs=data.costs[:100])
    router.update(X[100:1100], y[100:1100], costs=costs[100:1100])
    assert router.renewed_ == {}
    found = router.predict_cost(X[1100:]).mean(axis=0)
    assert found == pytest.approx(costs[1100:].mean(axis=0), rel=0.06)


def test_the_correction_of_costs_is_near_that_of_all_rows(data: Any) -> None:
    # What is kept of the sum of predictions is what the rows themselves give.
    router = fit(data, slice(60))
    router.update(data.data[60:660], data.quality[60:660], costs=data.costs[60:660])
    seen, _ = router._fitted._see(data.data[:660], router._options)
    learned = router._fitted.learned.cost
    exact = learned._predict_levels(seen.first).sum(axis=0)
    assert learned.levels[1] == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("forget_after", [30.0, np.inf])
@pytest.mark.parametrize("kind", ["all", "log"])
def test_one_update_or_many_are_the_same(
    data: Any, kind: str, forget_after: float
) -> None:
    y = hide(data.quality, kind)
    rows = slice(N_FITTED, 420)
    once, often = (fit(data, forget_after=forget_after) for _ in range(2))
    once.update(data.data[rows], y[rows], costs=data.costs[rows])
    for start in range(N_FITTED, 420, 17):
        part = slice(start, min(start + 17, 420))
        often.update(data.data[part], y[part], costs=data.costs[part])
    queries = data.data[500:]
    assert once.predict_quality(queries) == pytest.approx(
        often.predict_quality(queries), abs=1e-7
    )
    assert once.predict_cost(queries) == pytest.approx(
        often.predict_cost(queries), rel=0.01
    )


@given(
    n_first=st.integers(3, 30),
    n_later=st.integers(1, 20),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=40)
def test_moments_to_which_rows_are_added_are_those_of_all_rows(
    n_first: int, n_later: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    n = n_first + n_later
    Phi, Y = rng.normal(size=(n, 5)), rng.normal(size=(n, 3))
    Y[rng.random(Y.shape) < share] = np.nan
    Y[:3] = rng.normal(size=(3, 3))
    basis = np.linalg.inv(np.eye(5) + 0.3 * rng.normal(size=(5, 5)))
    how = {"scale": np.ones(3), "position": 6, "keep_moments": True, "bases": [basis]}
    fold = np.arange(n) % 2

    def solve(rows: slice) -> Any:
        return fit_ridges(Phi[rows], Y[rows], fold[rows], lambda x: [x], **how)

    expected = solve(slice(n))[0][0]
    moments = solve(slice(n_first))[3][0]
    moments = moments.add(Phi[n_first:], Batch.fade(Y[n_first:], None, np.inf))
    coef, intercept = moments.solve(np.arange(3), ALPHAS[6:7], basis)
    assert coef == pytest.approx(expected.coef, abs=1e-8)
    assert intercept == pytest.approx(expected.intercept, abs=1e-8)


def test_targets_of_the_past_are_shifted_without_their_rows() -> None:
    rng = np.random.default_rng(0)
    Phi, Y = rng.normal(size=(20, 4)), rng.normal(size=(20, 2))
    by = np.array([0.5, -2.0])
    start = Moments.start(4, 2)
    shifted = start.add(Phi, Batch.fade(Y, None, 5.0)).shift(by)
    again = start.add(Phi, Batch.fade(Y + by, None, 5.0))
    assert shifted.y == pytest.approx(again.y)
    assert shifted.xy == pytest.approx(again.xy)


# What it costs, and what it leaves alone.


def test_nothing_grows_with_what_was_learned(data: Any) -> None:
    router = update(fit(data), data, slice(300, 320))
    size = len(pickle.dumps(router._fitted))
    for start in range(320, 600, 20):
        update(router, data, slice(start, start + 20))
    assert len(pickle.dumps(router._fitted)) == size


def test_a_router_that_does_not_learn_on_is_no_larger(
    data: Any, tmp_path: Path
) -> None:
    plain, learning = fit(data, forget_after=None), fit(data)
    for name, router in (("plain", plain), ("learning", learning)):
        save(router, tmp_path / name)
    assert plain._fitted.learned is None
    assert (tmp_path / "plain").stat().st_size < (tmp_path / "learning").stat().st_size
    queries = data.data[500:]
    assert np.array_equal(plain.transform(queries), learning.transform(queries))
    with pytest.raises(ValueError, match="forget_after"):
        update(plain, data, slice(300, 320))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saved_router_learns_on_as_the_one_that_was_saved(
    data: Any, tmp_path: Path, dtype: Any
) -> None:
    X = data.data.astype(dtype)
    router = make_router(forget_after=500.0)
    router.fit(X[:300], data.quality[:300], costs=data.costs[:300])
    router = router.add_model("new", data.quality[:50, 0], X=X[:50], costs=0.01)
    save(router, tmp_path / "router")
    loaded = load(tmp_path / "router")
    y = np.column_stack([data.quality, data.quality[:, 0]])[300:400]
    for one in (router, loaded):
        one.update(X[300:400], y)
    assert np.array_equal(router.transform(X[500:]), loaded.transform(X[500:]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"y": np.full((20, 3), 0.5)}, "models"),
        ({"y": np.full((20, 4), np.inf)}, "y"),
        ({"X": np.zeros((20, 5))}, "features"),
        ({"X": np.zeros((19, 12))}, "samples"),
        ({"costs": -np.ones((20, 4))}, "costs must not be negative"),
        ({"costs": np.ones(4)}, "costs must be per query"),
        ({"outcome_weight": -np.ones((20, 4))}, "outcome_weight must be finite"),
        ({"y": pd.DataFrame(np.ones((20, 4)), columns=list("abcd"))}, "model_0"),
    ],
)
def test_a_failed_update_leaves_the_router_as_it_was(
    data: Any, wrong: dict[str, Any], message: str
) -> None:
    router = fit(data)
    before = dict(vars(router))
    given = {"X": data.data[:20], "y": data.quality[:20], "costs": data.costs[:20]}
    with pytest.raises(ValueError, match=message):
        router.update(**{**given, **wrong})
    assert vars(router).keys() == before.keys()
    assert all(vars(router)[name] is value for name, value in before.items())


def test_a_failure_late_in_an_update_leaves_the_router_as_it_was(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = fit(data)
    before = dict(vars(router))

    def fail(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(type(router._training), "follow", fail)
    with pytest.raises(MemoryError):
        update(router, data, slice(300, 320))
    assert all(vars(router)[name] is value for name, value in before.items())


def test_updates_of_nothing_change_nothing(data: Any) -> None:
    router = fit(data)
    before = router.transform(data.data)
    update(router, data, slice(0, 0))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        router.update(data.data[:0], data.quality)
    router.update(data.data[:20], np.full((20, 4), np.nan))
    assert np.allclose(router.transform(data.data), before, atol=1e-12)


def test_columns_go_by_name(data: Any) -> None:
    names = [f"m{i}" for i in range(4)]
    turned = names[::-1]
    X = data.data
    y, costs = (pd.DataFrame(t, columns=names) for t in (data.quality, data.costs))
    weight = pd.DataFrame(np.linspace(0.5, 2.0, y.size).reshape(y.shape), columns=names)
    one, other = (
        make_router().fit(X[:300], y[:300], costs=costs[:300]) for _ in range(2)
    )
    rows = slice(300, 360)
    how = {"costs": costs[rows], "outcome_weight": weight[rows]}
    one.update(X[rows], y[rows], **how)
    how = {"costs": costs[turned][rows], "outcome_weight": weight[turned][rows]}
    other.update(X[rows], y[turned][rows], **how)
    assert np.array_equal(one.transform(X), other.transform(X))


def test_costs_are_refused_where_prices_are_fixed(data: Any) -> None:
    router = make_router(costs=[1.0, 2.0, 3.0, 4.0])
    router.fit(data.data[:300], data.quality[:300])
    with pytest.raises(ValueError, match="one price per model"):
        update(router, data, slice(300, 320))
    router.update(data.data[300:320], data.quality[300:320])
    assert router.costs_.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_the_ranker_is_not_trained_on(data: Any) -> None:
    router = fit(data, n_estimators=10, min_child_samples=10)
    ranker, share = router.ranker_, router.rank_weight_
    update(router, data, slice(300, 400))
    assert router.ranker_ is ranker
    assert router.rank_weight_ == share
    assert np.isfinite(router.transform(data.data)).all()


# Decisions follow.


def test_a_budget_is_settled_on_recent_queries(data: Any) -> None:
    router = fit(data)
    dear = data.costs * 3.0
    router.update(data.data[300:500], data.quality[300:500], costs=dear[300:500])
    assert set(router.renewed_) == set(router.models_)
    budget = float(dear.mean())
    names = router.route(data.data[500:], budget=budget)
    columns = [router.models_.tolist().index(name) for name in names]
    spent = dear[np.arange(500, 700), columns].mean()
    assert spent == pytest.approx(budget, rel=0.25)


def test_nothing_is_promised_after_an_update(data: Any) -> None:
    router = update(fit(data), data, slice(300, 400))
    with pytest.raises(ValueError, match="confidence"):
        router.route(data.data, min_quality="90%", confidence=0.9)
    assert len(router.explain(data.data[500:510], min_quality="90%")) == 10


# Models that come, go and change.


def test_an_added_model_learns_on(data: Any) -> None:
    columns, X = [0, 1, 2], data.data
    router = make_router().fit(
        X[:300], data.quality[:300][:, columns], costs=data.costs[:300][:, columns]
    )
    new = {"X": X[:30], "costs": data.costs[:30, 3]}
    late = router.add_model("new", data.quality[:30, 3], **new)
    y, costs = np.full((270, 4), np.nan), np.full((270, 4), np.nan)
    y[:, 3], costs[:, 3] = data.quality[30:300, 3], data.costs[30:300, 3]
    others = estimate(late, X[300:])[:, columns]
    late.update(X[30:300], y, costs=costs)
    new = {"X": X[:300], "costs": data.costs[:300, 3]}
    early = router.add_model("new", data.quality[:300, 3], **new)
    found, expected = (estimate(one, X[300:]) for one in (late, early))
    assert found[:, columns] == pytest.approx(others, abs=1e-9)
    # Its mean is drawn to that of the pool by a noise that was measured in two parts.
    assert found[:, 3] == pytest.approx(expected[:, 3], abs=1e-3)


def test_a_model_that_joins_is_estimated_the_same_by_what_is_learned(data: Any) -> None:
    router = fit(data).add_model(
        "new", data.quality[:60, 1], X=data.data[:60], costs=1.0
    )
    before = router.predict_quality(data.data[300:])
    router.update(data.data[:1], np.full((1, 5), np.nan))
    assert router.predict_quality(data.data[300:]) == pytest.approx(before, abs=1e-8)


def test_a_removed_model_leaves_the_others_learning(data: Any) -> None:
    router = fit(data)
    smaller = router.remove_model("model_1")
    rows, left = slice(300, 400), [0, 2, 3]
    smaller.update(
        data.data[rows], data.quality[rows][:, left], costs=data.costs[rows][:, left]
    )
    assert smaller.models_.tolist() == ["model_0", "model_2", "model_3"]
    added = router.add_model("new", data.quality[:40, 0], X=data.data[:40], costs=1.0)
    again = added.remove_model("new")
    for one in (router, again):
        update(one, data, rows)
    assert np.array_equal(router.transform(data.data), again.transform(data.data))


def test_a_model_that_got_worse_is_noticed_and_renewed(
    data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    router = fit(data)
    worse = data.quality.copy()
    worse[:, 2] -= 0.5
    expected = router.predict_quality(data.data[600:])
    with caplog.at_level(logging.WARNING):
        for start in range(300, 500, 20):
            rows = slice(start, start + 20)
            router.update(data.data[rows], worse[rows], costs=data.costs[rows])
            if router.renewed_:
                break
    assert set(router.renewed_) == {"model_2"}
    assert router.renewed_["model_2"]["quality"] == pytest.approx(-0.5, abs=0.2)
    assert "model_2" in caplog.text
    fall = (router.predict_quality(data.data[600:]) - expected).mean(axis=0)
    assert fall[2] == pytest.approx(-0.5, abs=0.2)
    assert np.abs(np.delete(fall, 2)).max() < 0.1


@pytest.mark.parametrize("n_outcomes", [5, 10])
@pytest.mark.parametrize("lucky", [False, True])
def test_a_model_of_a_few_outcomes_is_not_taken_to_have_changed(
    data: Any, n_outcomes: int, lucky: bool
) -> None:
    """However far its first outcomes are from the others."""
    columns = [0, 1, 2]
    router = make_router().fit(
        data.data[:300], data.quality[:300, columns], costs=data.costs[:300, columns]
    )
    y = np.full((300, 4), np.nan)
    y[:, 3] = np.random.default_rng(0).random(300) < (0.2 if lucky else 0.8)
    costs = np.where(np.isnan(y), np.nan, data.costs[300:600])
    late = router.add_model(
        "new",
        np.full(n_outcomes, float(lucky)),
        X=data.data[:n_outcomes],
        costs=data.costs[:n_outcomes, 3],
    )
    late.update(data.data[300:600], y, costs=costs)
    assert late.renewed_ == {}
    expected = late.predict_quality(data.data[600:])[:, 3].mean()
    assert expected == pytest.approx(np.nanmean(y), abs=0.1)


def test_a_newcomer_that_got_worse_is_noticed(data: Any) -> None:
    columns = [0, 1, 2]
    router = make_router().fit(
        data.data[:300], data.quality[:300, columns], costs=data.costs[:300, columns]
    )
    late = router.add_model(
        "new", data.quality[:150, 3], X=data.data[:150], costs=data.costs[:150, 3]
    )
    y = np.full((150, 4), np.nan)
    y[:, 3] = data.quality[300:450, 3] - 0.7
    late.update(data.data[300:450], y)
    assert set(late.renewed_) == {"new"}


def test_a_price_that_fell_is_noticed(data: Any) -> None:
    router = fit(data)
    costs = data.costs * [1.0, 1.0, 1.0, 0.1]
    for start in range(300, 400, 20):
        rows = slice(start, start + 20)
        router.update(data.data[rows], data.quality[rows], costs=costs[rows])
        if router.renewed_:
            break
    assert set(router.renewed_) == {"model_3"}
    assert router.renewed_["model_3"]["cost_factor"] == pytest.approx(0.1, rel=0.5)
    spent = router.predict_cost(data.data[500:]).mean(axis=0)
    assert spent == pytest.approx(costs[500:].mean(axis=0), rel=0.3)


def test_quiet_outcomes_raise_no_alarm() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for chance in (0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95):
        residuals = (rng.random(20_000) < chance) - chance
        for end in range(100, len(residuals), 10):
            alarms += find_shift(residuals[end - 100 : end], 0.05) != 0
            # Also where nothing came before them, as after a renewal.
            alarms += find_shift(residuals[end - 30 : end], 0.05) != 0
    assert alarms == 0


@pytest.mark.parametrize(("shift", "most"), [(-0.5, 85), (0.4, 85), (0.0, None)])
def test_a_change_of_right_and_wrong_answers_is_noticed(
    shift: float, most: int | None
) -> None:
    rng = np.random.default_rng(0)
    noticed = []
    for _ in range(20):
        before = (rng.random(100) < 0.55) - 0.55
        after = (rng.random(120) < 0.55 + shift) - 0.55
        noticed += [
            n
            for n in range(5, 120, 5)
            if find_shift(np.r_[before, after[:n]][-100:], 0.05)
        ][:1]
    if most is None:
        assert noticed == []
    else:
        assert np.median(noticed) <= most
        assert len(noticed) >= 18


# Prompts.


def test_a_text_router_learns_on() -> None:
    prompts = [f"Prove lemma {i}" if i % 2 else f"Greet {i}" for i in range(300)]
    easy = np.array([prompt.startswith("Greet") for prompt in prompts], dtype=float)
    y = np.column_stack([easy, np.ones(300)])
    router = TextRouter(make_router(costs=[1.0, 20.0])).fit(prompts[:200], y[:200])
    inside = router.router_
    before = inside.predict_quality(router.embed(prompts[:5]))
    router.update(prompts[200:], y[200:])
    assert router.router_ is not inside
    assert np.array_equal(inside.predict_quality(router.embed(prompts[:5])), before)
    assert router.renewed_ == {}
    worse = np.column_stack([easy, np.zeros(300)])
    router.update(prompts[:60], worse[:60])
    assert set(router.renewed_) == {"model_1"}
    unable = TextRouter(PointwiseRouter(Ridge(), costs=[1.0, 20.0]))
    assert not hasattr(unable, "update")


def test_prices_that_change_are_learned_from(data):
    """Costs learned before a change of prices count as multiplied."""
    names = [f"model_{i}" for i in range(4)]
    factor = np.array([0.5, 1.0, 3.0, 1.0])
    scale = dict(zip(names, factor, strict=True))
    before, after = fit(data), fit(data).with_prices(scale=scale)
    rows = slice(N_FITTED, None)
    X, y, costs = data.data[rows], data.quality[rows], data.costs[rows]
    after.update(X, y, costs=costs * factor)
    expected = before.update(X, y, costs=costs).with_prices(scale=scale)
    np.testing.assert_allclose(
        after.predict_cost(X), expected.predict_cost(X), rtol=1e-6
    )
    np.testing.assert_allclose(after.costs_, expected.costs_)


@pytest.mark.parametrize("is_log", [False, True])
def test_updates_of_one_row_settle_budgets_as_one_of_all(data, is_log):
    """A row moves its own estimates most; what is kept of others must not follow."""
    rows, rest = slice(200, 400), slice(400, 700)
    y, costs = data.quality[rows], data.costs[rows]
    if is_log:
        hidden = np.isnan(hide(y, "log"))
        y, costs = np.where(hidden, np.nan, y), np.where(hidden, np.nan, costs)
    one, many = (fit(data, slice(200), forget_after=300) for _ in range(2))
    one.update(data.data[rows], y, costs=costs)
    for i in range(200):
        row = slice(i, i + 1)
        many.update(data.data[rows][row], y[row], costs=costs[row])
    spent = []
    budget = 0.7 * float(data.costs.mean())
    for router in (one, many):
        called = router.route(data.data[rest], budget=budget)
        place = [list(router.models_).index(name) for name in called]
        spent.append(data.costs[rest][np.arange(300), place].mean() / budget)
    assert spent[1] == pytest.approx(spent[0], abs=0.15)
    best = [router.price_path_.quality.max() for router in (one, many)]
    assert best[1] == pytest.approx(best[0], abs=0.05)


def test_outcomes_of_weight_0_are_left_out(data):
    rows = slice(N_FITTED, 400)
    X, y, costs = data.data[rows], data.quality[rows].copy(), data.costs[rows].copy()
    weight = np.ones(y.shape)
    weight[:50] = 0.0
    absurd, dear = y.copy(), costs.copy()
    absurd[:50], dear[:50] = 50.0, 1e6
    found = fit(data).update(X, absurd, costs=dear, outcome_weight=weight)
    y[:50], costs[:50] = np.nan, np.nan
    expected = fit(data).update(X, y, costs=costs)
    X = data.data[400:]
    np.testing.assert_allclose(found.predict_cost(X), expected.predict_cost(X))
    assert found.best_single_ == expected.best_single_
    budget = float(data.costs.mean())
    np.testing.assert_array_equal(
        found.route(X, budget=budget), expected.route(X, budget=budget)
    )


def test_a_day_without_calls_of_a_model_is_learned(data):
    names = [f"model_{i}" for i in range(4)]
    rows, kept = slice(N_FITTED, 400), [2, 0, 3]
    y = data.quality[rows].copy()
    y[:, 1] = np.nan
    expected = fit(data).update(data.data[rows], y)
    part = pd.DataFrame(y[:, kept], columns=[names[i] for i in kept])
    found = fit(data).update(data.data[rows], part)
    X = data.data[400:]
    np.testing.assert_allclose(found.predict_quality(X), expected.predict_quality(X))
    stranger = part.rename(columns={"model_0": "new"})
    with pytest.raises(ValueError, match="y has a column 'new', and the router no"):
        found.update(data.data[rows], stranger)


def test_a_free_model_of_a_router_that_learns_is_refused(data):
    with pytest.raises(ValueError, match="scale must be above 0"):
        fit(data).with_prices(scale={"model_1": 0.0})

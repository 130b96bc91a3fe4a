"""The comparison of routers on paired splits."""

from __future__ import annotations

import json
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupShuffleSplit
from sklearn.preprocessing import FunctionTransformer
from threadpoolctl import threadpool_limits

from skroute import DummyRouter, PointwiseRouter
from skroute.datasets import load_digits_pool, make_routing
from skroute.evaluation import (
    BUDGET_SHARES,
    METRICS,
    Comparison,
    compare_routers,
    default_routers,
    smaller_pool,
)
from skroute.metrics import best_single, oracle_choice
from skroute.text import TextRouter

ROWS = ["RankingRouter", "kNN", "ridge", "best single", "cheapest", "random", "oracle"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Keep small fits from waiting for threads where tests run side by side."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def data():
    return make_routing(n_queries=300, n_models=4, random_state=0)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    pool = load_digits_pool()
    return compare_routers(
        pool.data[:600], pool.quality[:600], pool.costs[:600], seeds=2
    )


def dummies(**params) -> dict:
    return {s: DummyRouter(s, **params) for s in ("best_single", "cheapest")}


def test_a_frame_has_every_score(comparison):
    frame = comparison.to_frame()
    assert frame.index.names == ["router", "seed"]
    assert list(frame.columns) == list(METRICS)
    assert list(frame.index.unique("router")) == ROWS
    for name, result in comparison.results.items():
        for metric in METRICS:
            np.testing.assert_array_equal(
                frame.loc[name, metric], result.scores[metric]
            )


def test_notebooks_show_what_is_printed(data):
    """As a table, in which names are names and no markup."""
    found = compare_routers(
        *(data.data, data.quality, data.costs),
        {"<b>a</b> & co": DummyRouter()},
        seeds=1,
    )
    shown, printed = found._repr_html_(), str(found)
    assert "<b>" not in shown
    assert "&lt;b&gt;a&lt;/b&gt; &amp; co" in shown
    table = [*read_rows(shown)]
    for line in printed.splitlines()[2:-1]:
        name, *cells = re.split(r"\s{2,}", line.strip())
        assert [name, *cells] in table
    assert printed.splitlines()[0] in shown


def read_rows(text: str) -> list[list[str]]:
    """Cells of each row of a table."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    return [
        [unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in rows
    ]


@pytest.mark.slow
def test_rows_and_metrics(comparison):
    assert list(comparison.results) == ROWS
    for result in comparison.results.values():
        assert tuple(result.scores) == METRICS
        assert all(values.shape == (2,) for values in result.scores.values())
        assert result.spent.shape == (2, len(BUDGET_SHARES))
        assert len(result.curves) == 2


@pytest.mark.slow
def test_fixed_rows(comparison):
    results = comparison.results
    assert results["best single"].mean("relative_quality") == 1.0
    assert results["best single"].mean("relative_cost") == 1.0
    assert results["cheapest"].mean("strongest_call_share") == 0.0
    assert results["cheapest"].mean("settled_strongest_share") == 0.0
    oracle = results["oracle"]
    assert oracle.mean("routing_collapse_index") == 0.0
    assert oracle.mean("settled_collapse_index") == 0.0
    assert np.isnan(oracle.spent).all()
    for result in results.values():
        assert result.mean("quality") <= oracle.mean("quality")
        assert result.mean("normalized_auc") <= oracle.mean("normalized_auc") + 1e-12


@pytest.mark.slow
def test_learned_routers_beat_the_random_one(comparison):
    random = comparison.results["random"]
    for name in ("RankingRouter", "kNN", "ridge"):
        result = comparison.results[name]
        assert result.mean("normalized_auc") > random.mean("normalized_auc")


@pytest.mark.slow
def test_budgets_are_kept_roughly(comparison):
    spent = comparison.results["RankingRouter"].spent
    assert (spent <= 1.5 * comparison.budgets).all()
    assert (np.diff(comparison.budgets, axis=1) > 0).all()


def test_numbers_are_those_of_a_plain_loop(data):
    X, y, costs = data.data, data.quality, data.costs
    routers = {"ridge": PointwiseRouter(Ridge(), random_state=0)}
    result = compare_routers(X, y, costs, routers, seeds=[7]).results["ridge"]
    rows = np.arange(300)
    splitter = GroupShuffleSplit(1, test_size=0.3, random_state=7)
    train, test = next(splitter.split(rows, groups=rows))
    router = clone(routers["ridge"]).fit(X[train], y[train], costs=costs[train])
    names = router.route(X[test], min_quality="100%", on_infeasible="cheapest")
    choice = (names[:, None] == router.models_).argmax(axis=1)
    reference = best_single(y[train], costs[train])
    paid = costs[test, choice].mean()
    auc = router.score(X[test], y[test], costs=costs[test])
    assert result.mean("quality") == pytest.approx(y[test, choice].mean())
    assert result.mean("cost") == pytest.approx(paid)
    assert result.mean("relative_cost") == pytest.approx(
        paid / costs[test, reference].mean()
    )
    assert result.mean("normalized_auc") == pytest.approx(auc)
    best = y[test] == y[test].max(axis=1, keepdims=True)
    strongest = costs[test].mean(axis=0).argmax()
    best[:, strongest] &= best.sum(axis=1) == 1
    bad = ~best[np.arange(len(test)), choice]
    assert result.mean("settled_collapse_index") == pytest.approx(bad.mean())
    share = (choice == strongest).mean()
    assert result.mean("settled_strongest_share") == pytest.approx(share)


def test_prices_and_equal_costs_per_query_agree(data):
    prices = data.costs.mean(axis=0)
    table = np.tile(prices, (len(data.data), 1))
    one, two = (
        compare_routers(data.data, data.quality, costs, dummies(), seeds=1)
        for costs in (prices, table)
    )
    np.testing.assert_allclose(one.budgets, two.budgets)
    for name in one.results:
        np.testing.assert_allclose(
            one.results[name].mean("cost"), two.results[name].mean("cost")
        )


def test_prices_by_name(data):
    names = [f"llm-{i}" for i in range(4)]
    y = pd.DataFrame(data.quality, columns=names)
    prices = dict(zip(names, [1.0, 2.0, 3.0, 4.0], strict=True))
    result = compare_routers(data.data, y, prices, dummies(), seeds=1)
    assert result.models.tolist() == names
    assert result.results["cheapest"].mean("cost") == 1.0


def test_a_routers_own_prices_are_kept(data):
    # It believes that the truly most expensive model is the cheapest.
    routers = dummies(costs=[4.0, 3.0, 2.0, 1.0])
    prices = [1.0, 2.0, 3.0, 4.0]
    result = compare_routers(data.data, data.quality, prices, routers, seeds=1)
    assert result.results["cheapest"].mean("cost") == 4.0
    assert routers["cheapest"].get_params()["costs"] == [4.0, 3.0, 2.0, 1.0]


def test_given_routers_are_not_fitted(data):
    routers = dummies()
    compare_routers(data.data, data.quality, data.costs, routers, seeds=1)
    assert not hasattr(routers["cheapest"], "models_")


def test_incomplete_rows_train_but_do_not_test(data):
    quality, costs = data.quality.copy(), data.costs.copy()
    quality[:50, 0] = np.nan
    costs[40:60, 1] = np.nan
    result = compare_routers(data.data, quality, costs, dummies(), seeds=1)
    assert result.n_incomplete == 60
    curve = result.results["cheapest"].curves[0]
    assert curve.n_queries < 90
    assert np.isfinite(result.budgets).all()


def test_no_complete_test_row(data):
    quality = data.quality.copy()
    quality[::2, 0] = np.nan
    quality[1::2, 1] = np.nan
    with pytest.raises(ValueError, match="complete rows"):
        compare_routers(data.data, quality, data.costs, dummies(), seeds=1)


class Recorder(DummyRouter):
    """Keeps the rows that it was fitted on and asked about."""

    trained: tuple = ()
    tested: tuple = ()

    def fit(self, X, y, *, costs=None):
        type(self).trained = tuple(X[:, 0])
        return super().fit(X, y, costs=costs)

    def predict_quality(self, X):
        type(self).tested = tuple(X[:, 0])
        return super().predict_quality(X)


def test_groups_stay_on_one_side(data):
    groups = np.arange(300) // 10
    X = groups[:, None].astype(float)
    compare_routers(
        X, data.quality, data.costs, {"r": Recorder()}, groups=groups, seeds=1
    )
    assert set(Recorder.trained).isdisjoint(Recorder.tested)
    assert len(Recorder.trained) == 210


def test_encoder_sees_training_rows_only(data):
    seen = []

    def encoder(rows):
        seen.append(rows)
        return FunctionTransformer(lambda texts: np.array([[len(t)] for t in texts]))

    prompts = np.array([f"prompt {i}" for i in range(300)], dtype=object)
    compare_routers(
        prompts, data.quality, data.costs, dummies(), encoder=encoder, seeds=2
    )
    assert [len(rows) for rows in seen] == [210, 210]


def test_progress_counts_every_fit(data):
    told = []
    compare_routers(
        data.data,
        data.quality,
        data.costs,
        dummies(),
        seeds=2,
        progress=lambda *step: told.append(step),
    )
    assert [step[1:] for step in told] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert [step[0] for step in told] == ["best_single", "cheapest"] * 2


@pytest.mark.slow
def test_to_dict_is_json(comparison):
    plain = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert list(plain["routers"]) == ROWS
    assert plain["routers"]["oracle"]["fit_seconds"]["mean"] is None
    assert plain["routers"]["cheapest"]["quality_neutral_cost"]["mean"] is None
    assert len(plain["routers"]["kNN"]["quality"]["splits"]) == 2


@pytest.mark.slow
def test_standard_error(comparison):
    result = comparison.results["ridge"]
    values = result.scores["quality"]
    np.testing.assert_allclose(
        result.standard_error("quality"), abs(values[0] - values[1]) / 2
    )
    assert np.isnan(
        comparison.results["cheapest"].standard_error("quality_neutral_cost")
    )


@pytest.mark.parametrize("seeds", [0, []])
def test_no_split(data, seeds):
    with pytest.raises(ValueError, match="seeds"):
        compare_routers(data.data, data.quality, data.costs, dummies(), seeds=seeds)


def test_oracle_is_reserved(data):
    with pytest.raises(ValueError, match="oracle"):
        compare_routers(
            data.data, data.quality, data.costs, {"oracle": DummyRouter()}, seeds=1
        )


def test_costs_are_needed(data):
    with pytest.raises(ValueError, match="costs"):
        compare_routers(data.data, data.quality, None, dummies(), seeds=1)


def test_free_models_leave_ratios_undefined(data):
    result = compare_routers(data.data, data.quality, np.zeros(4), dummies(), seeds=1)
    assert np.isnan(result.results["cheapest"].mean("relative_cost"))


def test_default_routers_take_prices_and_a_seed():
    routers = default_routers([1.0, 2.0], random_state=3)
    assert list(routers) == ROWS[:-1]
    for router in routers.values():
        assert router.get_params()["costs"] == [1.0, 2.0]
        assert router.get_params()["random_state"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kNN", "ridge"])
def test_default_regressors_are_fitted_once_for_all_models(name, data):
    router = default_routers(random_state=0)[name]
    assert isinstance(router, PointwiseRouter)
    router.fit(data.data, data.quality, costs=data.costs)
    assert len(router.estimators_) == 1


@pytest.mark.slow
def test_neighbours_on_a_table_smaller_than_k(data):
    router = default_routers(np.ones(4), random_state=0)["kNN"]
    router.fit(data.data[:20], data.quality[:20])
    assert router.predict(data.data).shape == (300,)


def test_oracle_row_is_oracle_choice(data):
    result = compare_routers(data.data, data.quality, data.costs, dummies(), seeds=[0])
    curve = result.results["oracle"].curves[0]
    # All queries are complete, so the mean over the test part bounds that over all.
    choice = oracle_choice(data.quality, data.costs)
    everywhere = data.quality[np.arange(300), choice].mean()
    assert abs(curve.quality[-1] - everywhere) < 0.1
    assert result.results["oracle"].mean("quality") == pytest.approx(curve.quality[-1])


@pytest.mark.parametrize("per_query", [True, False])
def test_prompts_are_compared_by_routers_that_read_them(data, per_query):
    prompts = [f"Case {i} of {task}" for i, task in enumerate(data.task)]
    X = pd.DataFrame(data.data).add_prefix("e").assign(prompt=prompts)
    costs = data.costs if per_query else data.costs.mean(axis=0)
    ridge = PointwiseRouter(Ridge(), random_state=0)
    routers = {
        "words": TextRouter(ridge),
        "embedding": TextRouter(ridge, prompt_features=False),
    }
    both = compare_routers(X, data.quality, costs, routers, seeds=1)
    alone = compare_routers(data.data, data.quality, costs, {"a": ridge}, seeds=1)
    expected = alone.results["a"].scores["normalized_auc"]
    np.testing.assert_allclose(
        both.results["embedding"].scores["normalized_auc"], expected
    )
    assert both.results["words"].scores["normalized_auc"] != expected
    pool = smaller_pool(X, data.quality, costs, routers["words"], seeds=1)
    assert set(pool.models) <= {f"model_{i}" for i in range(data.quality.shape[1])}
    with pytest.raises(ValueError, match="could not convert"):
        compare_routers(X, data.quality, costs, {"a": ridge}, seeds=1)


def test_default_routers_of_a_text_router_are_given_the_prices(data):
    prompts = [f"Case {i} of {task}" for i, task in enumerate(data.task)]
    prices = data.costs.mean(axis=0)
    routers = {"text": TextRouter(DummyRouter("cheapest"))}
    result = compare_routers(prompts, data.quality, prices, routers, seeds=1)
    assert result.results["text"].mean("cost") == pytest.approx(prices.min())


def test_a_comparison_prints_a_row_for_each_router():
    data = make_routing(150, random_state=0)
    tables = data.data, data.quality, data.costs
    two = compare_routers(*tables, {"static": DummyRouter()}, seeds=2)
    title, header, static, oracle, legend = str(two).split("\n")
    assert title.startswith("Routers compared on 2 splits of 150 queries, 30% of them")
    assert header.split() == ["kept", "paid", "nAUC"]
    assert static.split()[:4] == ["static", "1.000", "±", "0.000"]
    assert oracle.startswith("oracle")
    assert len(static) == len(oracle) == len(header)
    assert "100%" in legend
    one = compare_routers(*tables, {"static": DummyRouter()}, seeds=1)
    assert "±" not in str(one).split("\n")[2]

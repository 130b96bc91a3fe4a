"""A cascade behind a router: metadata, searches, scores and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

import skroute
from skroute import CascadeDecider, PointwiseRouter
from skroute.datasets import make_routing
from skroute.metrics import make_routing_scorer

# Each fits some cascades.
pytestmark = pytest.mark.slow

DATA = make_routing(240, n_features=8, n_models=3, random_state=0)
X, COSTS = DATA.data, DATA.costs
Y = pd.DataFrame(DATA.quality, columns=["small", "medium", "large"])
PASSED = np.random.RandomState(0).random_sample(Y.shape) < 0.8
CHECKS = np.where(PASSED, Y, 1 - Y)
# Letters that are equal where models are right; wrong ones differ by chance.
WRONG = np.random.RandomState(1).randint(1, 4, size=Y.shape)
ANSWERS = np.array(list("ABCD"), dtype=object)[np.where(Y == 1, 0, WRONG)]
TRAIN, TEST = slice(0, 160), slice(160, None)


def make(**parameters: Any) -> Pipeline:
    router = PointwiseRouter(Ridge(), random_state=0)
    return make_pipeline(router, CascadeDecider(random_state=0, **parameters))


def take(rows: slice, **tables: Any) -> dict[str, Any]:
    return {name: table[rows] for name, table in tables.items()}


@pytest.fixture(scope="module")
def routed() -> Pipeline:
    """A pipeline that was fitted as metadata routing has it."""
    with sklearn.config_context(enable_metadata_routing=True):
        given = take(TRAIN, costs=COSTS, checks=CHECKS, answers=ANSWERS)
        return make(min_quality="95%").fit(X[TRAIN], Y[TRAIN], **given)


def decide(pipeline: Pipeline) -> tuple[np.ndarray, ...]:
    """First calls, second calls and answers of new queries."""
    decider = pipeline[-1]
    Z = pipeline[:-1].transform(X[TEST])
    first = decider.next(Z)
    place = np.array([decider.models_.tolist().index(name) for name in first])
    rows = np.arange(len(Z))
    said = CHECKS[TEST][rows, place][:, None], ANSWERS[TEST][rows, place][:, None]
    return first, decider.next(Z, first, *said), decider.answer(Z, first, *said)


def test_metadata_reach_the_decider_with_routing_and_without(routed):
    given = take(TRAIN, checks=CHECKS, answers=ANSWERS, costs=COSTS)
    named = {f"cascadedecider__{name}": table for name, table in given.items()}
    named["pointwiserouter__costs"] = COSTS[TRAIN]
    plain = make(min_quality="95%").fit(X[TRAIN], Y[TRAIN], **named)
    assert plain[-1].price_ == routed[-1].price_
    for mine, theirs in zip(decide(plain), decide(routed), strict=True):
        assert mine.tolist() == theirs.tolist()
    assert plain[-1].models_.tolist() == list(Y.columns)


def test_the_first_call_is_what_the_pipeline_predicts(routed):
    chosen = routed[-1].models_[routed.predict(X[TEST])]
    assert chosen.tolist() == decide(routed)[0].tolist()


def test_the_decider_learns_from_cross_fitted_estimates(routed):
    router = sklearn.base.clone(routed[0])
    Z = router.fit_transform(X[TRAIN], Y[TRAIN], costs=COSTS[TRAIN])
    given = take(TRAIN, costs=COSTS, checks=CHECKS, answers=ANSWERS)
    alone = sklearn.base.clone(routed[-1]).fit(Z, Y[TRAIN], **given)
    assert alone.price_ == routed[-1].price_


def test_a_score_takes_metadata_and_weights(routed, metadata_routing):
    given = take(TEST, costs=COSTS, checks=CHECKS, answers=ANSWERS)
    score = routed.score(X[TEST], Y[TEST], **given)
    Z = routed[:-1].transform(X[TEST])
    replayed = routed[-1].replay(Z, Y[TEST], **given)
    assert score == skroute.metrics.normalized_auc(replayed.curve())
    ones = np.ones(len(Z))
    weighed = routed.score(X[TEST], Y[TEST], **given, sample_weight=3 * ones)
    assert weighed == pytest.approx(score)
    # A query of weight 2 counts as two, and one of weight 0 not at all.
    weight = np.repeat([2.0, 0.0, 1.0], [20, 20, 40])
    rows = np.r_[np.tile(np.arange(20), 2), np.arange(40, 80)]
    few = {name: table[rows] for name, table in given.items()}
    repeated = routed.score(X[TEST][rows], Y[TEST].iloc[rows], **few)
    weighed = routed.score(X[TEST], Y[TEST], **given, sample_weight=weight)
    assert weighed == pytest.approx(repeated)
    assert replayed.curve(weight).n_queries == 60


def test_a_query_that_is_not_replayed_has_no_weight(routed):
    given = take(TEST, costs=COSTS, checks=CHECKS, answers=ANSWERS)
    Z, y = routed[:-1].transform(X[TEST]), Y[TEST].copy()
    weight = np.where(np.arange(len(y)) < 5, 9.0, 1.0)
    y.iloc[:5, 0] = np.nan
    expected = routed[-1].score(Z[5:], y[5:], **take(slice(5, None), **given))
    assert routed[-1].score(Z, y, **given, sample_weight=weight) == expected


@pytest.mark.slow
def test_a_search_replays_held_out_queries(metadata_routing):
    search = GridSearchCV(
        make(), {"cascadedecider__max_calls": [1, 2]}, cv=2, error_score="raise"
    ).fit(X, Y, costs=COSTS, checks=CHECKS)
    alone, both = search.cv_results_["mean_test_score"]
    assert both > alone
    assert search.best_params_ == {"cascadedecider__max_calls": 2}


@pytest.mark.parametrize("metric", ["normalized_auc", "quality_within_budget"])
def test_a_scorer_that_knows_no_checks_refuses_a_cascade(routed, metric):
    budget = {"budget": 1.0} if metric == "quality_within_budget" else {}
    scorer = make_routing_scorer(metric, **budget)
    with pytest.raises(ValueError, match=r"ends in a CascadeDecider, .* Its own score"):
        scorer(routed, X[TEST], Y[TEST], costs=COSTS[TEST])


# Files


def save_and_load(estimator: Any, folder: Path) -> Any:
    skroute.save(estimator, folder / "cascade.skroute")
    loaded = skroute.load(folder / "cascade.skroute")
    skroute.save(loaded, folder / "again.skroute")
    saved = (folder / "cascade.skroute").read_bytes()
    assert (folder / "again.skroute").read_bytes() == saved
    return loaded


def test_a_pipeline_decides_as_it_was_saved(routed, tmp_path):
    loaded = save_and_load(routed, tmp_path)
    for mine, theirs in zip(decide(loaded), decide(routed), strict=True):
        assert mine.tolist() == theirs.tolist()
    loaded[-1].set_params(min_quality="80%")
    assert loaded[-1].price_ > routed[-1].price_


@pytest.mark.parametrize(
    "chances",
    [
        {},
        {"sensitivity": 0.9, "specificity": [0.7, 0.8, 0.9]},
        {"sensitivity": 0.9, "specificity": 0.8, "max_calls": 1},
    ],
)
def test_a_cascade_without_checks_is_saved(chances, routed, tmp_path):
    Z = routed[:-1].transform(X)
    decider = CascadeDecider(min_quality="90%", random_state=0, **chances)
    decider.fit(Z, Y, costs=COSTS)
    loaded = save_and_load(decider, tmp_path)
    mine, theirs = (one.replay(Z, Y, COSTS) for one in (loaded, decider))
    assert mine.calls.tolist() == theirs.calls.tolist()
    assert mine.spend.tolist() == theirs.spend.tolist()


def test_an_unfitted_cascade_is_saved(tmp_path):
    loaded = save_and_load(CascadeDecider(0.5, max_calls=2), tmp_path)
    assert loaded.get_params() == CascadeDecider(0.5, max_calls=2).get_params()


def test_a_path_is_in_the_unit_of_the_qualities(routed):
    Z = routed[:-1].transform(X)
    units = CascadeDecider(random_state=0).fit(Z, Y, costs=COSTS)
    Z_cents = np.hstack([100 * Z[:, :3], Z[:, 3:]])
    cents = CascadeDecider(random_state=0).fit(Z_cents, 100 * Y, costs=COSTS)
    np.testing.assert_allclose(cents.path_.quality, 100 * units.path_.quality)
    np.testing.assert_allclose(cents.path_.price, 100 * units.path_.price)


def test_arrays_beside_outcomes_are_in_the_order_of_their_columns(routed):
    decider, Z = routed[-1], routed[:-1].transform(X[TEST])
    turned = Y.columns[::-1]
    straight = decider.replay(Z, Y[TEST], COSTS[TEST], CHECKS[TEST], ANSWERS[TEST])
    beside = (table[TEST, ::-1] for table in (COSTS, CHECKS, ANSWERS))
    other = decider.replay(Z, Y[turned][TEST], *beside)
    assert other.calls.tolist() == straight.calls.tolist()
    assert other.spend.tolist() == straight.spend.tolist()
    assert straight.mean_calls > 1

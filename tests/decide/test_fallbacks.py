"""Per-request constraints and fallback order: caps and masks per row, and `top_k`."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.linear_model import Ridge

from skroute import BudgetDecider, InfeasibleBudgetError, PointwiseRouter
from skroute._decide.candidates import check_available
from skroute.datasets import make_routing

quick = settings(max_examples=60, deadline=None)

QUALITY = np.array([[0.5, 0.75, 1.0], [1.0, 0.0, 1.0], [0.0, 0.25, 0.25]])
COST = np.array([[1.0, 2.0, 8.0], [1.0, 2.0, 8.0], [1.0, 2.0, 8.0]])
Z = np.hstack([QUALITY, COST])


@st.composite
def tables(draw, max_rows=6, max_models=4):
    """Qualities and costs in quarters, and a mask that leaves every row a model."""
    shape = draw(st.integers(1, max_rows)), draw(st.integers(1, max_models))
    quality = draw(
        arrays(np.int64, shape, elements=st.integers(0, 8), fill=st.nothing())
    )
    cost = draw(arrays(np.int64, shape, elements=st.integers(0, 8), fill=st.nothing()))
    mask = draw(arrays(np.bool_, shape, fill=st.nothing()))
    mask[np.arange(shape[0]), draw(st.integers(0, shape[1] - 1))] = True
    return quality / 4, cost / 4, mask


@st.composite
def rules(draw):
    """Parameters that decide every row on its own, with an array of caps or not."""
    rule = draw(
        st.sampled_from(
            [
                dict(),
                dict(price=0.25),
                dict(tolerance=0.5),
                dict(price=1.0, tolerance=0.25),
                dict(budget=1.0, scope="query"),
                dict(budget="caps", scope="query"),
                dict(budget="caps", scope="query", tolerance=0.25, price=0.25),
            ]
        )
    )
    return {**rule, "on_infeasible": draw(st.sampled_from(["raise", "cheapest"]))}


def with_caps(rule, n_queries, seed=0):
    if not isinstance(rule.get("budget"), str):
        return rule
    caps = np.random.default_rng(seed).integers(0, 9, n_queries) / 4
    return {**rule, "budget": caps}


def positions(decider, names):
    """Indices of names, -1 for None."""
    where = {name: i for i, name in enumerate(decider.models_)} | {None: -1}
    return np.vectorize(where.__getitem__, otypes=[int])(names)


# A cap for each row


def test_every_row_has_its_own_cap():
    decider = BudgetDecider([8.0, 1.0, np.inf], scope="query").fit(Z)
    assert decider.route(Z).tolist() == ["model_2", "model_0", "model_1"]
    assert decider.predict(Z).tolist() == [2, 0, 1]
    capped = decider.set_params(budget=[1.0, 1.0, 1.0])
    assert capped.predict(Z).tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, pl.Series])
def test_caps_come_in_any_container(kind):
    decider = BudgetDecider(kind([8, 1, 2]), scope="query").fit(Z)
    assert decider.predict(Z).tolist() == [2, 0, 1]


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 8))
def test_equal_caps_are_one_cap(table, quarters):
    quality, cost, mask = table
    both = np.hstack([quality, cost])
    one = BudgetDecider(quarters / 4, scope="query", on_infeasible="cheapest")
    each = clone(one).set_params(budget=np.full(len(both), quarters / 4))
    np.testing.assert_array_equal(
        one.fit(both).route(both, mask), each.fit(both).route(both, mask)
    )


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 100))
def test_no_row_exceeds_its_own_cap(table, seed):
    quality, cost, mask = table
    both, rows = np.hstack([quality, cost]), np.arange(len(quality))
    floor = np.where(mask, cost, np.inf).min(axis=1)
    caps = floor + np.random.default_rng(seed).integers(0, 6, len(both)) / 4
    decider = BudgetDecider(caps, scope="query").fit(both)
    ranked = positions(decider, decider.route(both, mask, top_k=quality.shape[1]))
    assert (ranked[:, 0] >= 0).all()
    for place in ranked.T:
        called = place >= 0
        assert (cost[rows, place] <= caps)[called].all()
        assert mask[rows, place][called].all()
    best = np.where(mask & (cost <= caps[:, None]), quality, -1).max(axis=1)
    np.testing.assert_array_equal(quality[rows, ranked[:, 0]], best)


def test_caps_that_cannot_be_met_name_the_rows_and_what_would_be_enough():
    costly = np.hstack([QUALITY, COST * [[1], [4], [2]]])
    decider = BudgetDecider([1.0, 3.0, 1.0], scope="query").fit(costly)
    with pytest.raises(
        InfeasibleBudgetError, match=r"2 queries, 1, 2; .* query 1"
    ) as e:
        decider.predict(costly)
    assert e.value.smallest_budget == 4.0
    enough = np.maximum(decider.budget, e.value.smallest_budget)
    assert decider.set_params(budget=enough).predict(costly).tolist() == [1, 0, 1]
    decider.set_params(budget=[8.0, 3.0, 8.0], on_infeasible="cheapest")
    assert decider.predict(costly).tolist() == [2, 0, 1]


def test_caps_go_together_with_a_price_a_tolerance_and_a_mask():
    decider = BudgetDecider([8.0, 2.0, 2.0], scope="query", price=0.125).fit(Z)
    assert decider.predict(Z).tolist() == [1, 0, 1]
    tolerant = BudgetDecider([8.0, 8.0, 2.0], scope="query", tolerance=0.25).fit(Z)
    assert tolerant.predict(Z).tolist() == [1, 0, 0]
    masked = tolerant.route(Z, available=np.eye(3, dtype=bool)[[0, 2, 1]])
    assert masked.tolist() == ["model_0", "model_2", "model_1"]


def test_caps_are_cloned_copied_and_not_written_to():
    caps = np.array([8.0, 1.0, 2.0])
    decider = BudgetDecider(caps, scope="query")
    assert decider.get_params()["budget"] is caps
    assert clone(decider).budget is not caps
    decider.fit(Z).route(Z, top_k=3)
    assert caps.tolist() == [8, 1, 2]
    assert "budget=array" in repr(decider)
    again = pickle.loads(pickle.dumps(decider))
    assert again.predict(Z).tolist() == decider.predict(Z).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (dict(budget=[1.0, np.nan, 1.0]), r"budget.*nan for the queries 1"),
        (dict(budget=[1.0, -1.0, -2.0]), r"budget.*-1.0 for the queries 1, 2"),
        (dict(budget=[1.0, -np.inf, 2.0]), r"budget.*-inf for the queries 1"),
        (dict(budget=["1", "2", "3"]), r"budget.*numbers.*dtype"),
        (dict(budget=[True, False, True]), r"budget.*numbers.*bool"),
        (dict(budget=[1.0, None, 2.0]), r"budget.*Infinity"),
        (dict(budget=[[1.0], [2.0, 3.0]]), r"budget.*numbers"),
        (dict(budget=np.ones((3, 1))), r"budget.*\(n_queries,\).*\(3, 1\)"),
        (dict(budget=np.array(1.0)), "budget must be a number"),
        (dict(budget={"model_0": 1.0}), "budget must be a number"),
        (dict(budget=[1.0] * 3, scope="mean"), "budget.*array of 3.*scope='query'"),
        (dict(budget=[1.0] * 3, scope="batch"), "budget.*'batch'.*scope='query'"),
        (dict(budget=[1.0] * 3, min_quality=0.5), "budget.*min_quality.*price"),
    ],
)
def test_nonsense_caps_are_refused(params, message):
    decider = BudgetDecider(**{"scope": "query", **params})
    with pytest.raises(ValueError, match=message):
        decider.fit(Z)
    assert not hasattr(decider, "models_")


def test_caps_of_another_number_of_rows_are_refused():
    decider = BudgetDecider([1.0, 2.0], scope="query").fit(Z)
    with pytest.raises(ValueError, match=r"budget.*\(3,\).*\(2,\)"):
        decider.predict(Z)
    assert decider.predict(Z[:2]).tolist() == [0, 0]


@pytest.mark.parametrize("scope", ["mean", "batch"])
def test_caps_set_after_fit_need_the_scope_of_caps(scope):
    decider = BudgetDecider(9.0, scope=scope).fit(Z).set_params(budget=[1.0] * 3)
    with pytest.raises(ValueError, match=r"budget.*array of 3.*scope='query'"):
        decider.route(Z)


# Masks per row


def test_a_large_mask_is_taken_as_it_is():
    mask = np.random.default_rng(0).random((100_000, 20)) < 0.5
    mask[:, 3] = True
    models = np.array([f"model_{i}" for i in range(20)], dtype=object)
    assert check_available(mask, models, len(mask)) is mask


def test_a_dict_of_masks_is_a_mask_by_name():
    # As many queries as models: positions alone could not tell rows from columns.
    mask = np.array([[True, False, False], [True, True, False], [False, False, True]])
    by_name = {f"model_{i}": mask[:, i].tolist() for i in (2, 0, 1)}
    decider = BudgetDecider().fit(Z)
    np.testing.assert_array_equal(decider.route(Z, by_name), decider.route(Z, mask))


# Alternatives


def test_alternatives_come_in_the_order_of_the_rule():
    decider = BudgetDecider(price=0.125).fit(Z)
    # Row 0: 0.375, 0.5, 0; row 1: 0.875, -0.25, 0; row 2: -0.125, 0, -0.75.
    assert decider.route(Z, top_k=3).tolist() == [
        ["model_1", "model_0", "model_2"],
        ["model_0", "model_2", "model_1"],
        ["model_1", "model_0", "model_2"],
    ]
    assert decider.route(Z, top_k=1).shape == (3, 1)
    assert decider.route(Z).shape == (3,)


def test_alternatives_keep_to_the_cap_and_the_mask():
    decider = BudgetDecider([2.0, 8.0, 1.0], scope="query").fit(Z)
    ranked = decider.route(Z, ["model_0", "model_2"], top_k=3)
    assert ranked.dtype == object
    assert ranked.tolist() == [
        ["model_0", None, None],
        ["model_0", "model_2", None],
        ["model_0", None, None],
    ]


def test_on_infeasible_cheapest_falls_back_above_the_cap():
    decider = BudgetDecider(1.0, scope="query", on_infeasible="cheapest").fit(Z)
    assert decider.route(Z, top_k=3).tolist() == [["model_0", "model_1", "model_2"]] * 3


@pytest.mark.slow
@quick
@given(tables(), rules())
def test_an_alternative_is_the_choice_without_those_before_it(table, rule):
    quality, cost, mask = table
    both, rows = np.hstack([quality, cost]), np.arange(len(quality))
    decider = BudgetDecider(**with_caps(rule, len(both))).fit(both)
    n_models = quality.shape[1]
    try:
        ranked = positions(decider, decider.route(both, mask, top_k=n_models))
    except InfeasibleBudgetError:
        with pytest.raises(InfeasibleBudgetError):
            decider.route(both, mask)
        return
    np.testing.assert_array_equal(
        ranked[:, 0], positions(decider, decider.route(both, mask))
    )
    left = mask.copy()
    for place in range(1, n_models):
        left[rows, ranked[:, place - 1]] = False
        for row in np.flatnonzero(ranked[:, place - 1] >= 0):
            one = clone(decider)
            if np.ndim(decider.budget):
                one.set_params(budget=decider.budget[[row]])
            one.fit(both)
            if not left[row].any():
                assert ranked[row, place] == -1
                continue
            try:
                again = one.route(both[[row]], left[[row]])
            except InfeasibleBudgetError:
                assert ranked[row, place] == -1
            else:
                assert positions(one, again)[0] == ranked[row, place]


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 40))
def test_a_mean_budget_falls_back_at_its_price(table, twentieths):
    quality, cost, _ = table
    both, rows = np.hstack([quality, cost]), np.arange(len(quality))
    budget = cost.min(axis=1).mean() + twentieths / 20
    decider = BudgetDecider(budget).fit(both)
    top_k = min(2, quality.shape[1])
    ranked = positions(decider, decider.route(both, top_k=top_k))
    np.testing.assert_array_equal(ranked[:, 0], decider.predict(both))
    if top_k == 2 and decider.settled_.price.low is None:
        rest = np.ones(quality.shape, dtype=bool)
        rest[rows, ranked[:, 0]] = False
        again = decider.route(both, rest)
        np.testing.assert_array_equal(positions(decider, again), ranked[:, 1])


@pytest.mark.slow
@quick
@given(tables(), rules())
def test_no_model_comes_twice_and_none_that_is_masked(table, rule):
    quality, cost, mask = table
    both, rows = np.hstack([quality, cost]), np.arange(len(quality))
    rule = {**with_caps(rule, len(both)), "on_infeasible": "cheapest"}
    decider = BudgetDecider(**rule).fit(both)
    ranked = positions(decider, decider.route(both, mask, top_k=quality.shape[1]))
    for row in rows:
        called = ranked[row][ranked[row] >= 0]
        assert len(set(called)) == len(called)
        assert mask[row, called].all()
        # What is missing is missing at the end.
        assert (ranked[row][len(called) :] == -1).all()
        # Where something is found above a cap, everything available is.
        assert len(called) == mask[row].sum()


@pytest.mark.slow
@quick
@given(st.integers(0, 10_000), st.sampled_from(["mean", "query", "batch"]))
def test_permuted_models_permute_the_alternatives(seed, scope):
    rng = np.random.default_rng(seed)
    quality, cost = rng.random((2, 8, 4))
    turn = rng.permutation(4)
    budget = {"mean": 0.4, "query": rng.random(8), "batch": 3.2}[scope]
    decider = BudgetDecider(budget, scope=scope, on_infeasible="cheapest")
    straight = np.hstack([quality, cost])
    turned = np.hstack([quality[:, turn], cost[:, turn]])
    ranked = clone(decider).fit(straight)
    ranked = positions(ranked, ranked.route(straight, top_k=4))
    other = decider.fit(turned)
    other = positions(other, other.route(turned, top_k=4))
    np.testing.assert_array_equal(np.where(other < 0, -1, turn[other]), ranked)


@pytest.mark.slow
@quick
@given(tables(), st.integers(0, 40))
def test_alternatives_of_a_batch_keep_its_total_while_they_can(table, quarters):
    quality, cost, mask = table
    both, rows = np.hstack([quality, cost]), np.arange(len(quality))
    budget = np.where(mask, cost, np.inf).min(axis=1).sum() + quarters / 4
    decider = BudgetDecider(budget, scope="batch").fit(both)
    ranked = positions(decider, decider.route(both, mask, top_k=quality.shape[1]))
    np.testing.assert_array_equal(
        ranked[:, 0], positions(decider, decider.route(both, mask))
    )
    first = cost[rows, ranked[:, 0]]
    assert first.sum() <= budget
    for row in rows:
        called = ranked[row][ranked[row] >= 0]
        assert sorted(called) == np.flatnonzero(mask[row]).tolist()
        costlier = cost[row, called] > first[row]
        assert (np.diff(costlier.astype(int)) >= 0).all()


def test_an_infeasible_batch_falls_back_from_cheap_to_dear():
    decider = BudgetDecider(1.0, scope="batch", on_infeasible="cheapest").fit(Z)
    assert decider.route(Z, top_k=3).tolist() == [["model_0", "model_1", "model_2"]] * 3


def test_a_batch_target_has_alternatives_at_its_price():
    decider = BudgetDecider(min_quality=0.75, scope="batch").fit(Z)
    ranked = decider.route(Z, top_k=3)
    assert ranked[:, 0].tolist() == decider.route(Z).tolist()
    assert [sorted(row) for row in ranked.tolist()] == [decider.models_.tolist()] * 3


def test_a_split_block_falls_back_at_the_price_of_each_row():
    block = np.tile([0.0, 0.6, 1.0, 1.0, 2.5, 3.0], (60, 1))
    decider = BudgetDecider(2.0).fit(block)
    ranked = decider.route(block, top_k=2)
    assert ranked[:, 0].tolist() == decider.route(block).tolist()
    # The middle model is the next cheaper to one side, the next best to the other.
    assert set(map(tuple, ranked)) == {("model_0", "model_1"), ("model_2", "model_1")}


@pytest.mark.parametrize(
    ("top_k", "message"),
    [
        (0, "top_k must be at least 1; got 0"),
        (-1, "top_k"),
        (4, "top_k must be at most the number of models, 3; got 4"),
        (2.0, "top_k must be an integer"),
        (True, "top_k must be an integer"),
        ("2", "top_k must be an integer"),
    ],
)
def test_nonsense_numbers_of_alternatives_are_refused(top_k, message):
    with pytest.raises(ValueError, match=message):
        BudgetDecider().fit(Z).route(Z, top_k=top_k)


def test_a_router_ranks_as_the_decider_behind_it():
    data = make_routing(240, n_models=3, random_state=0)
    y = pd.DataFrame(data.quality, columns=["small", "medium", "large"])
    router = PointwiseRouter(Ridge(), random_state=0)
    estimates = router.fit_transform(data.data, y, costs=data.costs)
    served = router.transform(data.data)
    budget = float(data.costs.mean())
    caps = np.random.default_rng(0).uniform(0.5, 2, 240) * budget
    for limits in (
        {},
        {"budget": budget},
        {"budget": budget * 240, "scope": "batch"},
        {"budget": caps, "scope": "query", "on_infeasible": "cheapest"},
        {"budget": caps, "scope": "query", "price": 10.0, "on_infeasible": "cheapest"},
        {"min_quality": "95%", "on_infeasible": "cheapest"},
        {"tolerance": 0.1},
    ):
        ranked = router.route(data.data, top_k=3, **limits)
        decider = BudgetDecider(**limits).fit(estimates, y, costs=data.costs)
        np.testing.assert_array_equal(ranked, decider.route(served, top_k=3))
        np.testing.assert_array_equal(ranked[:, 0], router.route(data.data, **limits))


def test_a_dearer_alternative_of_a_batch_comes_after_the_cheaper_ones():
    # At the price that the total implies, the third is worth more than the first.
    row = np.array([[0.0, 1.0, 1.25, 1.0, 2.0, 3.0]])
    ranked = BudgetDecider(2.0, scope="batch").fit(row).route(row, top_k=3)
    assert ranked.tolist() == [["model_1", "model_0", "model_2"]]

"""What is asked of a cascade is kept: on alike queries, near costs, in any unit."""

import numpy as np
import pandas as pd
import pytest

import skroute
from skroute import CascadeDecider
from skroute.exceptions import InfeasibleBudgetError

pytestmark = pytest.mark.slow

N = 300
RNG = np.random.default_rng(0)
#: Queries that a router cannot tell from each other: a cheap model that is right for
#: half of them, a strong one at ten times its price.
COSTS = np.tile([1.0, 10.0], (N, 1))
Y = (RNG.random((N, 2)) < [0.5, 0.9]) * 1.0
Z = np.hstack([np.tile([0.5, 0.9], (N, 1)), COSTS])


def fit(Z=Z, y=Y, costs=COSTS, **parameters):
    given = {name: parameters.pop(name) for name in ("checks",) if name in parameters}
    return CascadeDecider(random_state=0, **parameters).fit(Z, y, costs=costs, **given)


def put_in_unit(scale):
    """Z and y in another unit of quality."""
    return Z * np.repeat([scale, 1.0], 2), Y * scale


@pytest.mark.parametrize("target", [0.5, 0.9])
def test_a_target_is_reached_where_all_queries_are_alike(target):
    assert fit(min_quality=target).replay(Z, Y, COSTS).mean_quality >= target


@pytest.mark.parametrize("budget", [1.5, 6.9])
def test_a_budget_is_kept_where_all_queries_are_alike(budget):
    assert fit(budget=budget).replay(Z, Y, COSTS).mean_spend <= budget


@pytest.mark.parametrize("spread", [0.0, 1e-12, 1e-3])
def test_second_calls_are_bought_where_all_models_cost_the_same(spread):
    costs = 1 + spread * np.random.default_rng(1).normal(size=COSTS.shape)
    made = np.hstack([Z[:, :2], costs])
    replayed = fit(made, costs=costs, budget=1.3).replay(made, Y, costs)
    assert replayed.mean_spend <= 1.3
    assert replayed.mean_quality > Y[:, 1].mean() + 0.02


@pytest.mark.parametrize("scale", [100.0, 0.001])
@pytest.mark.parametrize("asked", [{"min_quality": "100%"}, {"budget": 8.0}])
def test_the_unit_of_quality_changes_no_decision(scale, asked):
    made, y = put_in_unit(scale)
    one = fit(**asked).replay(Z, Y, COSTS)
    other = fit(made, y, **asked).replay(made, y, COSTS)
    np.testing.assert_array_equal(one.calls, other.calls)
    np.testing.assert_allclose(one.quality * scale, other.quality)


def test_the_scale_of_a_check_changes_no_decision():
    checks = Y + RNG.normal(scale=0.4, size=Y.shape)
    called = fit(price=0.02, checks=checks).replay(Z, Y, COSTS, checks).calls
    for scale in (1e-9, 1e9):
        scaled = checks * scale
        other = fit(price=0.02, checks=scaled).replay(Z, Y, COSTS, scaled).calls
        assert (called == other).all(axis=1).mean() > 0.97


def test_a_first_call_counts_on_no_other_that_the_cap_forbids():
    """10.5 buys either model, but not both."""
    caps = {"a number": 10.5, "a row each": np.full(N, 10.5)}
    for cap in caps.values():
        decider = fit(budget=cap, scope="query")
        assert set(decider.predict(Z)) == {1}
        later = fit(price=0.001).set_params(price=None, budget=cap, scope="query")
        assert set(later.predict(Z)) == {1}


def test_a_rule_set_after_a_cap_is_as_one_that_was_fitted():
    later = fit(budget=2.5, scope="query", check_cost=0.1)
    later.set_params(budget=8.0, scope="mean")
    fitted = fit(budget=8.0, check_cost=0.1)
    assert later.price_ == fitted.price_
    assert later.escalates_ == fitted.escalates_


def test_errors_of_caps_number_the_rows_of_the_caller():
    decider = fit(price=0.02).set_params(price=None, scope="query", budget=[12.0, 0.1])
    calls, checks = [["model_0"], [None]], [[0.0], [np.nan]]
    with pytest.raises(InfeasibleBudgetError, match=r"of 1 queries, 1; .* for query 1"):
        decider.next(Z[:2], calls, checks)
    assert decider.answer(Z[:2], calls, checks).tolist() == ["model_0", None]


def test_a_cap_below_every_call_is_refused_in_fit():
    with pytest.raises(InfeasibleBudgetError, match=r"budget=0\.5 is below"):
        fit(budget=0.5, scope="query")
    fit(budget=0.5, scope="query", on_infeasible="cheapest")


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_target_out_of_reach_is_named_in_its_own_unit(scale):
    made, y = put_in_unit(scale)
    with pytest.raises(InfeasibleBudgetError, match="out of reach") as caught:
        fit(made, y, min_quality=1.5 * scale)
    assert 0.9 * scale < caught.value.largest_quality < scale


def test_the_smallest_budget_that_an_error_names_is_enough():
    """Where the cheapest model by its estimates was the dearer one."""
    costs = np.tile([3.0, 1.0], (N, 1))
    made = np.hstack([Z[:, :2], np.tile([1.0, 2.0], (N, 1))])
    with pytest.raises(InfeasibleBudgetError) as caught:
        fit(made, costs=costs, budget=0.5)
    smallest = caught.value.smallest_budget
    replayed = fit(made, costs=costs, budget=smallest).replay(made, Y, costs)
    assert replayed.mean_spend <= smallest


def test_only_money_counts_at_an_enormous_price():
    made, costs = Z * np.repeat([1.0, 1e4], 2), COSTS * 1e4
    decider = fit(made, costs=costs, price=1e306)
    assert decider.next(made[:1]).tolist() == ["model_0"]
    assert decider.replay(made, Y, costs).mean_spend == 1e4


def test_one_call_is_not_checked():
    decider = fit(price=0.02, max_calls=1, check_cost=0.1)
    assert not decider.escalates_
    assert decider.replay(Z, Y, COSTS).n_checks.sum() == 0


def test_chances_of_a_check_are_read_by_name():
    models = ["small", "large"]
    y = pd.DataFrame(Y, columns=models)
    chance = {"small": 0.7, "large": 0.95}
    listed = fit(y=y, price=0.02, sensitivity=[0.7, 0.95], specificity=[0.7, 0.95])
    expected = listed.explain(Z[:1], [["small"]], [[1.0]])["expected_quality"]
    for named in (chance, pd.Series(chance)[::-1]):
        decider = fit(y=y, price=0.02, sensitivity=named, specificity=named)
        told = decider.explain(Z[:1], [["small"]], [[1.0]])["expected_quality"]
        assert told.tolist() == expected.tolist()
    with pytest.raises(ValueError, match="sensitivity must name all models"):
        fit(y=y, price=0.02, sensitivity={"small": 0.7}, specificity=0.7)


def test_a_check_says_only_what_it_can():
    exact, stated = fit(price=0.02), fit(price=0.02, sensitivity=0.9, specificity=0.9)
    for value in (7.5, 0.5, -1.0):
        with pytest.raises(ValueError, match=r"checks must be 1 \(passed\), 0"):
            stated.next(Z[:1], [["model_0"]], [[value]])
    for value in (7.5, -1.0):
        with pytest.raises(ValueError, match="exact check must be the qualities"):
            exact.next(Z[:1], [["model_0"]], [[value]])
    with pytest.raises(ValueError, match="exact check must be the qualities"):
        exact.replay(Z, Y, COSTS, checks=10 * Y)


def test_several_checks_of_no_call_are_none():
    both = np.stack([Y, 1 - Y], axis=2)
    decider = fit(price=0.02, checks=both)
    first = decider.next(Z[:2]).tolist()
    assert decider.next(Z[:2], [[], []], [[], []]).tolist() == first
    blank = decider.next(Z[:1], [["model_0"]], [[np.nan]])
    assert blank == decider.next(Z[:1], [["model_0"]], [[[np.nan, np.nan]]])


def test_checks_of_calls_are_not_taken_by_the_names_of_models():
    decider = fit(price=0.02, checks=Y)
    said = pd.DataFrame([[0.0, 1.0]], columns=["model_1", "model_0"])
    with pytest.raises(ValueError, match="a column per call, in the order of called"):
        decider.next(Z[:1], [["model_0", "model_1"]], said)
    by_call = said.set_axis(["first", "second"], axis=1)
    decider.next(Z[:1], [["model_0", "model_1"]], by_call)


def test_a_first_call_is_explained_in_the_unit_of_quality():
    y = 50 + 50 * RNG.random((N, 2))
    made = np.hstack([np.tile([70.0, 80.0], (N, 1)), COSTS])
    told = fit(made, y, price=1.0, max_calls=1).explain(made[:1])
    assert told["gain"][0] == pytest.approx(80.0)
    assert told["worth"][0] == pytest.approx(70.0)


def test_chances_by_name_are_saved(tmp_path):
    chance = pd.Series({"large": 0.95, "small": 0.7})
    y = pd.DataFrame(Y, columns=["small", "large"])
    decider = fit(y=y, price=0.02, sensitivity=chance, specificity=chance)
    skroute.save(decider, tmp_path / "decider.skroute")
    loaded = skroute.load(tmp_path / "decider.skroute")
    seen = Z[:2], [["small"], ["small"]], [[1.0], [0.0]]
    assert loaded.next(*seen).tolist() == decider.next(*seen).tolist()


@pytest.mark.parametrize(
    ("cheapest", "check_cost"), [(0.0, 0.01), (0.0, 0.3), (0.1, 0.1)]
)
def test_a_check_that_costs_little_is_used(cheapest, check_cost):
    costs = np.tile([cheapest, 10.0], (N, 1))
    made = np.hstack([Z[:, :2], costs])
    passed = RNG.random(Y.shape) < np.where(Y == 1, 0.98, 0.02)
    decider = fit(
        *(made, Y, costs),
        min_quality="100%",
        check_cost=check_cost,
        checks=passed * 1.0,
    )
    replayed = decider.replay(made, Y, costs, passed * 1.0)
    # By hand: the cheap model, and the strong one where its check fails.
    failed = ~passed[:, 0]
    by_hand = cheapest + check_cost + (failed * (10.0 + check_cost)).mean()
    assert decider.escalates_
    assert replayed.mean_spend == pytest.approx(by_hand, rel=0.02)
    assert replayed.mean_quality >= Y[:, 1].mean()


@pytest.mark.parametrize("blank", [0.02, 0.2])
def test_the_check_of_an_empty_answer_counts(blank):
    passed = (RNG.random(Y.shape) < np.where(Y == 1, 0.95, 0.1)) * 1.0
    answers = np.where(Y == 1, "A", RNG.choice(["B", "C"], Y.shape)).astype(object)
    answers[RNG.random(Y.shape) < blank] = None
    decider = CascadeDecider(price=0.03, random_state=0)
    decider.fit(Z, Y, costs=COSTS, checks=passed, answers=answers)
    called = [["model_0"], ["model_0"]]
    found = decider.next(Z[:2], called, [[0.0], [1.0]], [[None], [None]])
    assert found.tolist() == ["model_1", None]


@pytest.mark.parametrize("cheapest", [0.0, 1e-9])
def test_budgets_are_spent_beside_a_free_model(cheapest):
    rng = np.random.default_rng(0)
    q = np.column_stack([rng.beta(2, 2, N), rng.beta(3, 2, N), rng.beta(6, 2, N)])
    y = (rng.random(q.shape) < q) * 1.0
    passed = (rng.random(y.shape) < np.where(y == 1, 0.9, 0.2)) * 1.0
    costs = np.tile([cheapest, 0.002, 0.01], (N, 1))
    made = np.hstack([q.clip(0.03, 0.97), costs])
    decider = fit(made, y, costs, budget=0.002, checks=passed)
    spend = decider.path_.spend[:-1]
    middle = np.sort(spend[(spend > 1e-4) & (spend < 0.004)])
    assert (np.diff(middle) < 0.001).all()
    assert decider.replay(made, y, costs, passed).mean_spend > 0.0015

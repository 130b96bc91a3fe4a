"""Metrics of decisions, and searches over deciders by them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skroute import BudgetDecider, InfeasibleBudgetError, PointwiseRouter
from skroute.datasets import make_routing
from skroute.metrics import (
    make_routing_scorer,
    net_utility,
    quality_within_budget,
    regret,
    settled_cost,
)

DATA = make_routing(240, n_features=6, n_models=3, random_state=0)
X, Y, PRICES = DATA.data, DATA.quality, np.array([1.0, 5.0, 20.0])
ROWS = np.arange(len(Y))


def chain(**limits):
    router = PointwiseRouter(Ridge(), costs=PRICES, random_state=0)
    return make_pipeline(router, BudgetDecider(**limits))


def test_net_utility_is_quality_less_money_at_its_price():
    choice = ROWS % 3
    expected = Y[ROWS, choice].mean() - 0.02 * PRICES[choice].mean()
    found = net_utility(Y, choice, costs=PRICES, price=0.02)
    assert found == pytest.approx(expected)
    free = net_utility(Y, choice, costs=PRICES, price=0)
    assert free == pytest.approx(Y[ROWS, choice].mean())


def test_net_utility_and_regret_differ_by_the_best_there_is():
    best = (Y - 0.02 * PRICES).max(axis=1).mean()
    for choice in (ROWS % 3, ROWS * 0):
        worth = net_utility(Y, choice, costs=PRICES, price=0.02)
        lost = regret(Y, choice, costs=PRICES, price=0.02)
        assert worth + lost == pytest.approx(best)


def test_quality_counts_in_full_up_to_the_budget():
    choice = ROWS % 2
    quality, spent = Y[ROWS, choice].mean(), PRICES[choice].mean()
    for budget in (spent, 2 * spent, 1e9):
        found = quality_within_budget(Y, choice, costs=PRICES, budget=budget)
        assert found == pytest.approx(quality)


def test_overspending_is_cut_back_by_chance_to_the_cheapest_model():
    """The quality that is left is that of a mixture which keeps to the budget."""
    choice = np.full(len(Y), 2)
    budget, quality = 8.0, Y.mean(axis=0)
    share = (budget - 1) / (20 - 1)
    assert share * 20 + (1 - share) * 1 == pytest.approx(budget)
    found = quality_within_budget(Y, choice, costs=PRICES, budget=budget)
    assert found == pytest.approx(share * quality[2] + (1 - share) * quality[0])
    # No step where the budget is just missed, and less for less money.
    budgets = np.linspace(1, 21, 50)
    left = [
        quality_within_budget(Y, choice, costs=PRICES, budget=budget)
        for budget in budgets
    ]
    assert left[0] == pytest.approx(quality[0])
    assert left[-1] == pytest.approx(quality[2])
    assert (np.diff(left) >= 0).all()
    assert np.diff(left).max() < 0.05


def test_overspending_on_worse_models_is_no_gain():
    y = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert quality_within_budget(y, [1, 1], costs=[1.0, 3.0], budget=2.0) == 0.0


def test_a_budget_below_the_cheapest_model_is_refused():
    message = "budget must be at least 1, which the cheapest model costs.*got 0.5"
    with pytest.raises(InfeasibleBudgetError, match=message) as told:
        quality_within_budget(Y, ROWS % 3, costs=PRICES, budget=0.5)
    assert told.value.smallest_budget == 1.0


def test_a_budget_that_was_printed_is_enough():
    y, costs = [[0.25, 1.0]], [1.23456789, 3.0]
    for choice, budget in (([0], 1.234567), ([1], 3.0 - 2e-6), ([1], 1.234567)):
        found = quality_within_budget(y, choice, costs=costs, budget=budget)
        assert found == (1.0 if budget > 2 else 0.25)
    with pytest.raises(InfeasibleBudgetError, match=r"at least 1\.23457, which"):
        quality_within_budget(y, [0], costs=costs, budget=1.2)


def test_decisions_that_reach_the_target_cost_what_they_cost():
    best = Y.mean(axis=0).argmax()
    assert settled_cost(Y, ROWS * 0 + best, costs=PRICES) == 1.0
    choice = np.where(Y[:, 0] >= Y[:, best], 0, best)
    found = settled_cost(Y, choice, costs=PRICES)
    assert found == pytest.approx(PRICES[choice].mean() / PRICES[best])


def test_decisions_that_fall_short_are_topped_up_with_the_best_single_model():
    """The cost is that of a mixture which reaches the target."""
    best, quality = Y.mean(axis=0).argmax(), Y.mean(axis=0)
    targets = np.linspace(quality[0], quality[best], 20)
    costs = [
        settled_cost(Y, ROWS * 0, costs=PRICES, min_quality=float(target))
        for target in targets
    ]
    share = (targets - quality[0]) / (quality[best] - quality[0])
    assert costs == pytest.approx((1 - share) / PRICES[best] + share)
    # Topping up with a cheaper model saves nothing.
    y = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert settled_cost(y, [1, 1], costs=[1.0, 3.0]) == 3.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"min_quality": "101%"}, "min_quality must be at most .*'101%'"),
        ({"min_quality": 2.0}, "min_quality must be at most .* topped up; got 2.0"),
        ({"min_quality": None}, "min_quality must be a number or a share; got None"),
        ({"min_quality": "all"}, "positive percentage such as '95%'; got 'all'"),
        ({"costs": [1.0, 0.0, 9.0]}, "costs must be above 0 .* column 1 is free"),
        ({"costs": None}, "costs must be given"),
    ],
)
def test_a_target_that_cannot_be_topped_up_to_is_refused(changed, message):
    keywords = {"costs": PRICES, **changed}
    with pytest.raises(ValueError, match=message):
        settled_cost(Y, ROWS % 3, **keywords)


@pytest.mark.parametrize(
    ("metric", "keywords"),
    [
        (net_utility, {"price": 0.02}),
        (quality_within_budget, {"budget": 100.0}),
        (quality_within_budget, {"budget": 3.0}),
        (regret, {"price": 0.02}),
        (settled_cost, {}),
        (settled_cost, {"min_quality": 0.6}),
    ],
)
def test_weights_repeat_queries_and_incomplete_ones_are_left_out(metric, keywords):
    weight = np.random.default_rng(0).integers(0, 4, len(Y))
    again = np.repeat(ROWS, weight)
    choice = (ROWS % 5) % 3
    found = metric(Y, choice, costs=PRICES, sample_weight=weight / 7, **keywords)
    expected = metric(Y[again], choice[again], costs=PRICES, **keywords)
    assert found == pytest.approx(expected)
    assert found != pytest.approx(metric(Y, choice, costs=PRICES, **keywords))
    holes = Y.copy()
    holes[:100, 1] = np.nan
    rest = metric(Y[100:], choice[100:], costs=PRICES, **keywords)
    assert metric(holes, choice, costs=PRICES, **keywords) == pytest.approx(rest)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"costs": None}, "costs must be given"),
        ({"price": -1.0}, "price must be at least 0"),
        ({"price": None}, "price must be a number"),
        ({"sample_weight": np.zeros(len(Y))}, "sample_weight must be above 0"),
        ({"sample_weight": [1.0]}, "sample_weight must have one value per query"),
        ({"sample_weight": -np.ones(len(Y))}, "sample_weight must not be negative"),
        ({"sample_weight": Y[:, 0] * np.nan}, "sample_weight must be finite"),
    ],
)
def test_bad_input_of_decisions_is_named(changed, message):
    keywords = {"costs": PRICES, "price": 0.1, **changed}
    with pytest.raises(ValueError, match=message):
        net_utility(Y, ROWS % 3, **keywords)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scorer", "grid", "best"),
    [
        (
            make_routing_scorer("net_utility", price=0.02),
            {"budgetdecider__price": [0.0, 0.02, 1.0]},
            0.02,
        ),
        (
            make_routing_scorer("quality_within_budget", budget=4.0),
            {"budgetdecider__budget": [1.2, 4.0, 15.0]},
            4.0,
        ),
    ],
)
def test_a_search_over_a_decider_is_no_longer_without_effect(scorer, grid, best):
    search = GridSearchCV(chain(), grid, cv=3, scoring=scorer, error_score="raise")
    search.fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == len(scores)
    assert list(search.best_params_.values()) == [best]


def test_a_scorer_of_decisions_judges_what_predict_decides():
    fitted = chain(budget=4.0).fit(X[:160], Y[:160])
    scorer = make_routing_scorer("quality_within_budget", budget=3.0)
    expected = quality_within_budget(
        Y[160:], fitted.predict(X[160:]), costs=PRICES, budget=3.0
    )
    assert scorer(fitted, X[160:], Y[160:]) == expected
    weight = np.arange(80.0)
    weighed = scorer(fitted, X[160:], Y[160:], sample_weight=weight)
    assert weighed == quality_within_budget(
        Y[160:],
        fitted.predict(X[160:]),
        costs=PRICES,
        budget=3.0,
        sample_weight=weight,
    )
    assert weighed != expected


def test_a_search_may_leave_the_decider_out():
    """scikit-learn gives a pipeline that ends in "passthrough" no predict."""
    without = clone(chain()).set_params(budgetdecider="passthrough").fit(X, Y)
    scorer = make_routing_scorer("net_utility", price=0.02)
    assert scorer(without, X, Y) == scorer(without[0], X, Y)
    search = GridSearchCV(
        chain(price=0.02),
        {"budgetdecider": ["passthrough", BudgetDecider(price=0.02)]},
        cv=3,
        scoring=scorer,
        error_score="raise",
    ).fit(X, Y)
    assert isinstance(search.best_params_["budgetdecider"], BudgetDecider)

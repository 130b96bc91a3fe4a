"""What a cascade refuses, and how it says so."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated import simulate_table

from skroute import CascadeDecider, InfeasibleBudgetError

TABLE = simulate_table(30)
Z, Y, COSTS = TABLE.Z, TABLE.y, TABLE.costs
CHECKS, ANSWERS = TABLE.checks, TABLE.answers
NAN = float("nan")


def fit(parameters: dict[str, Any], **tables: Any) -> CascadeDecider:
    given = {"Z": Z, "y": Y, "costs": COSTS, **tables}
    decider = CascadeDecider(**{"max_calls": 1, "random_state": 0, **parameters})
    return decider.fit(given.pop("Z"), given.pop("y"), **given)


# Parameters


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scope": "batch", "budget": 9.0}, "scope must be 'mean' or 'query'.*'batch'"),
        ({"scope": "all"}, "scope must be one of.*'all'"),
        ({"max_calls": 0}, "max_calls must be at least 1; got 0"),
        ({"max_calls": 1.5}, "max_calls must be an integer; got 1.5"),
        ({"max_calls": True}, "max_calls must be an integer; got True"),
        ({"check_cost": -1.0}, "check_cost must be at least 0; got -1"),
        ({"check_cost": NAN}, "check_cost must be finite; got nan"),
        ({"check_cost": [1.0]}, "check_cost must be a number"),
        ({"sensitivity": 0.8}, "belong together.*specificity is None"),
        ({"specificity": 0.8}, "belong together.*sensitivity is None"),
        (
            {"sensitivity": 0.1, "specificity": 0.8},
            r"sensitivity must be at least 1 - specificity.*turned round.*0\.1.*0\.8",
        ),
        ({"sensitivity": 1.1, "specificity": 0.8}, "sensitivity must be a chance"),
        ({"sensitivity": 0.9, "specificity": -0.1}, "specificity must be at least 0"),
        ({"sensitivity": [0.9, 0.8], "specificity": 0.8}, "each of the 3 models"),
        ({"sensitivity": "high", "specificity": 0.8}, "sensitivity must be a number"),
        ({"sensitivity": 0.9, "specificity": NAN}, "specificity must be finite"),
        ({"budget": -1.0}, "budget must be at least 0"),
        ({"budget": [1.0] * 30}, "One cap per query needs scope='query'"),
        ({"budget": 1.0, "price": 1.0}, "budget and price each fix the shadow price"),
        ({"price": 1.0, "min_quality": 0.5}, "min_quality and price each fix"),
        ({"min_quality": "much"}, "min_quality as a string must be a positive"),
        ({"on_infeasible": "stop"}, "on_infeasible must be 'raise' or 'cheapest'"),
        ({"random_state": "x"}, "'x' cannot be used to seed"),
    ],
)
def test_parameters_are_checked_in_fit(parameters, message):
    with pytest.raises(ValueError, match=message):
        fit(parameters)


def test_chances_and_checks_are_not_both_given():
    with pytest.raises(ValueError, match="give either the chances or the checks"):
        fit({"sensitivity": 0.9, "specificity": 0.9}, checks=CHECKS)


@pytest.mark.slow
def test_budgets_and_targets_out_of_reach_say_what_would_do():
    with pytest.raises(InfeasibleBudgetError, match=r"budget=0\.1 is below") as caught:
        fit({"budget": 0.1})
    assert caught.value.smallest_budget == pytest.approx(COSTS[:, 0].mean())
    assert fit({"budget": caught.value.smallest_budget}).price_ > 0
    with pytest.raises(InfeasibleBudgetError, match=r"min_quality=1\.5 .*out of reach"):
        fit({"min_quality": 1.5})
    # A cap is compared with the cost of the call and of its check.
    cap = {"budget": 1.01, "scope": "query", "check_cost": 0.1, "max_calls": 2}
    with pytest.raises(InfeasibleBudgetError, match="cheapest model of 30 queries"):
        fit(cap)
    decider = fit({**cap, "budget": 2.0}).set_params(budget=0.9)
    with pytest.raises(InfeasibleBudgetError, match="cheapest model of 30 queries"):
        decider.predict(Z)
    decider.set_params(budget=2.0)
    assert set(decider.predict(Z)) == {0}


# Tables of fit


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"y": None}, "requires y to be passed.*the quality of every answer"),
        ({"y": Y[:, 0]}, r"of shape \(n_queries, n_models\).*got shape \(30,\)"),
        ({"y": Y[:, :1]}, r"y must have shape \(30, 3\).*got \(30, 1\)"),
        ({"y": Y[:9]}, r"y must have shape \(30, 3\).*got \(9, 3\)"),
        ({"y": ANSWERS}, "y must hold numbers"),
        ({"y": np.where(Y > 0, np.inf, 0)}, "y contains infinity"),
        (
            {"y": np.where(np.arange(3) == np.arange(30)[:, None] % 3, Y, NAN)},
            "for 20 queries at least.*got 0.*ask all models on some queries",
        ),
        (
            {"Z": Z[:19], "y": Y[:19], "costs": COSTS[:19]},
            "for 20 queries at least.*got 19",
        ),
        ({"Z": Z[:, :5]}, "Z must hold the qualities and then the costs.*got 5"),
        ({"Z": -Z}, "Z must hold costs, which are not negative"),
        ({"Z": np.where(Z[0, 0] == Z, NAN, Z)}, "contains NaN"),
        ({"Z": Z[:0], "y": Y[:0], "costs": COSTS[:0]}, "0 sample"),
        ({"costs": COSTS[:, :2]}, r"costs must be per query.*\(30, 3\).*got \(30, 2\)"),
        ({"costs": [1.0, 2.0, 4.0]}, r"costs must be per query.*got \(3,\)"),
        ({"costs": -COSTS}, "costs must not be negative"),
        ({"checks": CHECKS[:, :2]}, r"checks must have shape \(30, 3\).*got \(30, 2\)"),
        ({"checks": CHECKS[:9]}, r"checks must have shape \(30, 3\).*got \(9, 3\)"),
        ({"checks": CHECKS[:, 0]}, r"checks must have shape \(30, 3\).*got \(30,\)"),
        ({"checks": CHECKS[..., None, None]}, r"checks must have.*\(30, 3, 1, 1\)"),
        ({"checks": np.empty((30, 3, 0))}, "one check of each answer at least; got 0"),
        ({"checks": ANSWERS}, "checks must hold numbers"),
        ({"checks": np.where(CHECKS > 0, np.inf, 0)}, "checks contains infinity"),
        ({"checks": [[0.0], [1.0, 0.0]]}, "checks must hold as many numbers"),
        ({"answers": ANSWERS[:, :2]}, r"answers must have shape \(30, 3\)"),
        ({"answers": ANSWERS[:9]}, r"answers must have shape \(30, 3\).*got \(9, 3\)"),
        ({"answers": [[["a"]] * 3] * 30}, r"answers must have.*got \(30, 3, 1\)"),
        (
            {"answers": [[["a"], ["a", "b"], []]] * 30},
            r"such as a list or a dict.*json\.dumps",
        ),
        ({"answers": [[{"a": 1}] * 3] * 30}, r"a list or a dict.*json\.dumps"),
        ({"answers": [[np.arange(2), "a", ""]] * 30}, r"json\.dumps"),
    ],
)
def test_tables_are_checked_in_fit(tables, message):
    with pytest.raises(ValueError, match=message):
        fit({}, **tables)


@pytest.mark.parametrize("name", ["checks", "answers", "costs"])
def test_columns_of_other_models_are_refused(name):
    values = {"checks": CHECKS, "answers": ANSWERS, "costs": COSTS}[name]
    y = pd.DataFrame(Y, columns=["small", "medium", "large"])
    other = pd.DataFrame(values, columns=["small", "medium", "huge"])
    with pytest.raises(ValueError, match=rf"{name} must.*huge"):
        fit({}, y=y, **{name: other})


@pytest.mark.parametrize("name", ["checks", "answers", "y"])
def test_rows_of_other_queries_are_refused(name):
    values = {"checks": CHECKS, "answers": ANSWERS, "y": Y}[name]
    turned = pd.DataFrame(values, index=np.arange(30)[::-1])
    with pytest.raises(ValueError, match=rf"{name}.*(rows|index)"):
        fit({}, Z=pd.DataFrame(Z).add_prefix("x"), **{name: turned})


# What was called


MODELS = ["model_0", "model_1", "model_2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("called", "said", "message"),
    [
        ("model_0", {}, r"called must hold the names.*\(2, n_calls\).*got shape \(\)"),
        ([["model_0"]], {}, r"called must hold.*\(2, n_calls\).*got shape \(1, 1\)"),
        ([["model_0"], []], {}, "None where there were fewer calls.*different lengths"),
        ([["gpt"], [None]], {}, "called names gpt, which.*was fitted on model_0"),
        ([[0], [1]], {}, "called names 0, 1, which the decider does not know"),
        ([[{}], [None]], {}, "called names {}, which the decider does not know"),
        (
            [["model_0", "model_1"], ["model_1", "model_1"]],
            {},
            "called names a model twice for the queries 1",
        ),
        ([[None, "model_0"], [None, None]], {}, "with None after the last one only"),
        (
            [["model_0"], ["model_1"]],
            {"checks": [[0.0, 1.0], [0.0, 1.0]]},
            r"of the shape of called, \(2, 1\).*got \(2, 2\)",
        ),
        (
            [["model_0"], ["model_1"]],
            {"checks": [[[0.0, 1.0]], [[0.0, 1.0]]]},
            "checks must hold 1 for each answer, as in fit; got 2",
        ),
        (
            [["model_0"], [None]],
            {"checks": [[0.0], [1.0]]},
            "checks says something of a model that was not called.*queries 1.*NaN",
        ),
        ([["model_0"], [None]], {"checks": [["pass"], [NAN]]}, "checks must hold num"),
        ([["model_0"], [None]], {"checks": [[np.inf], [NAN]]}, "checks contains inf"),
        (None, {"checks": [[0.0], [1.0]]}, r"of the shape of called, \(2, 0\)"),
    ],
)
def test_calls_and_checks_are_checked(exact, called, said, message):
    for ask in (exact.decider.next, exact.decider.answer, exact.decider.explain):
        with pytest.raises(ValueError, match=message):
            ask(exact.Z[:2], called, **said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (None, "answers must be given, as in fit.*write None"),
        ([["a", "b"], ["a", "b"]], r"of the shape of called, \(2, 1\).*got \(2, 2\)"),
        ([["a"], ["b"]], "answers says something of a model that was not.*write None"),
        ([[["a"]], [None]], r"json\.dumps"),
        ([[{"a": 1}], [None]], r"json\.dumps"),
    ],
)
def test_answers_are_checked(learned, answers, message):
    called, checks = [["model_0"], [None]], [[0.0], [NAN]]
    with pytest.raises(ValueError, match=message):
        learned.decider.next(learned.Z[:2], called, checks, answers)


def test_what_was_not_given_to_fit_means_nothing(exact):
    called = [["model_0"]]
    with pytest.raises(ValueError, match=r"answers were not given to.*leave"):
        exact.decider.next(exact.Z[:1], called, [[0.0]], [["a"]])
    with pytest.raises(ValueError, match="answers were not given to fit"):
        exact.decider.replay(exact.Z, exact.y, exact.costs, None, TABLE.answers)
    alone = fit({}, answers=ANSWERS)
    with pytest.raises(ValueError, match=r"checks were not given to.*Fit"):
        alone.next(Z[:1], called, [[0.0]], [["a"]])


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"available": []}, "available leaves no model"),
        ({"available": ["gpt"]}, "available names unknown models gpt"),
        ({"available": [True, False]}, r"available must have shape \(3,\)"),
        ({"costs": [1.0, 2.0]}, r"costs must be money per call .*got \(2,\)"),
        ({"costs": [1.0, 2.0, -1.0]}, "costs must not be negative"),
        ({"costs": {"gpt": 1.0}}, "costs names gpt"),
    ],
)
def test_limits_are_checked(exact, limits, message):
    with pytest.raises(ValueError, match=message):
        exact.decider.next(exact.Z[:2], **limits)


def test_estimates_are_checked(exact):
    decider = exact.decider
    for bad, message in (
        (exact.Z[:, :4], "has 4 features, but CascadeDecider is expecting 6"),
        (-exact.Z, "Z must hold costs, which are not negative"),
        (exact.Z * NAN, "contains NaN"),
        (np.ma.masked_less(exact.Z, 0.5), "Z must be known everywhere"),
    ):
        for ask in (decider.next, decider.predict, decider.explain):
            with pytest.raises(ValueError, match=message):
                ask(bad)


def test_caps_are_those_of_the_queries(exact):
    decider = pickle.loads(pickle.dumps(exact.decider))
    decider.set_params(price=None, scope="query", budget=np.full(9, 4.0))
    assert decider.next(exact.Z[:9]).shape == (9,)
    message = r"one cap per query, of shape \(4,\); got \(9,\)"
    with pytest.raises(ValueError, match=message):
        decider.next(exact.Z[:4])


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"y": None}, "requires y to be passed"),
        ({"y": TABLE.y[:, :2]}, r"y must have shape \(30, 4\).*got \(30, 2\)"),
        ({"y": np.full((30, 4), NAN)}, "the quality of every model for some queries"),
        ({"costs": np.ones((9, 4))}, r"costs must have shape \(4,\) or \(30, 4\)"),
        ({"checks": None}, "checks must be given, as in fit"),
        ({"checks": np.ones((30, 3))}, r"checks must have shape \(30, 4\)"),
        ({"checks": np.ones((30, 4, 2))}, "checks must hold 1 for each answer"),
        ({"answers": None}, "answers must be given, as in fit"),
        ({"answers": ANSWERS}, r"answers must have shape \(30, 4\); got \(30, 3\)"),
    ],
)
def test_tables_are_checked_in_replay_and_score(learned, tables, message):
    names = ("y", "costs", "checks", "answers")
    given = {name: learned[name][:30] for name in names} | tables
    for ask in (learned.decider.replay, learned.decider.score):
        with pytest.raises(ValueError, match=message):
            ask(learned.Z[:30], given["y"], **{k: given[k] for k in names[1:]})


# After an error


@pytest.mark.parametrize(
    ("parameters", "tables"),
    [
        ({"max_calls": 0}, {}),
        ({"price": None, "budget": 0.01}, {}),
        ({}, {"y": Y[:, :2]}),
        ({}, {"checks": ANSWERS}),
    ],
    ids=str,
)
def test_a_failed_fit_changes_nothing(exact, parameters, tables):
    decider = pickle.loads(pickle.dumps(exact.decider)).set_params(**parameters)
    before = pickle.dumps(decider)
    given = {"y": Y, "costs": COSTS, **tables}
    with pytest.raises(ValueError, match=r"max_calls|budget|y must|checks must"):
        decider.fit(Z, given.pop("y"), **given)
    assert pickle.dumps(decider) == before
    decider.set_params(**exact.decider.get_params())
    assert decider.next(exact.Z).tolist() == exact.decider.next(exact.Z).tolist()

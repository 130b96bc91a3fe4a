"""Tables that come together are aligned, by names or by order, or refused.

One table of uses walks everything public that takes two tables. Each of its tables is
then given with other columns first, with other rows first, without names, and masked:
the result is the same, or an error, and never silently another one.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import astuple
from functools import cache
from importlib import import_module
from inspect import signature
from typing import Any
from unittest.mock import patch

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline

import skroute
from skroute import (
    BudgetDecider,
    CascadeDecider,
    DummyRouter,
    PointwiseRouter,
    RankingRouter,
    evaluation,
    metrics,
    plotting,
)
from skroute.datasets import make_routing
from skroute.metrics import CollapseMonitor, RoutingCurve, make_routing_scorer
from skroute.outcomes import correct
from skroute.preferences import win_rates
from skroute.text import TextRouter

mpl.use("agg")

MODELS = ["small", "medium", "large"]
N = 120
ROWS = pd.Index([f"q{i}" for i in range(N)])
rng = np.random.default_rng(0)
X = make_routing(N, n_features=6, n_models=3, random_state=3).data
# Models that every one of the tables tells apart.
QUALITY = rng.uniform(size=(N, 3)) * [0.6, 0.8, 1.0]
SPENT = rng.uniform(0.5, 1.5, (N, 3)) * [1.0, 3.0, 9.0]
ESTIMATES = np.hstack([QUALITY + rng.normal(0, 0.3, (N, 3)), SPENT * 1.1])


def frame(values: Any, columns: Any = MODELS) -> pd.DataFrame:
    return pd.DataFrame(np.asarray(values), index=ROWS, columns=list(columns))


def column(values: Any) -> pd.Series:
    return pd.Series(list(values), index=ROWS)


Z = frame(ESTIMATES, [f"{kind}__{m}" for kind in ("quality", "cost") for m in MODELS])
TABLES: dict[str, Any] = {
    "X": frame(X, [f"f{i}" for i in range(6)]),
    "y": frame(QUALITY),
    "costs": frame(SPENT),
    "outcome_weight": frame(rng.uniform(0.2, 2.0, (N, 3))),
    "quality": Z.iloc[:, :3],
    "cost": Z.iloc[:, 3:],
    "Z": Z,
    "checks": frame(QUALITY + rng.normal(0, 0.2, (N, 3))),
    "answers": frame(rng.choice(list("ABC"), (N, 3))),
    "available": frame(rng.uniform(size=(N, 3)) < [0.9, 0.6, 1.0])
    | [False, False, True],
    "choice": column(MODELS[i % 3] for i in range(N)),
    "paid": column(rng.uniform(size=N)),
    "caps": column(rng.uniform(2.0, 20.0, size=N)),
    "sample_weight": column(rng.uniform(size=N)),
    "outcomes": column(rng.uniform(size=N)),
    "groups": column(np.arange(N) // 2),
    "task": column(f"t{i % 7}" for i in range(N)),
    "prompts": column(f"prompt {i}" for i in range(N)),
    "battles": pd.DataFrame(
        {
            "model_a": [MODELS[i % 3] for i in range(N)],
            "model_b": [MODELS[(i + 1 + i // 3 % 2) % 3] for i in range(N)],
            "score": (X[:, 0] > 0) * 0.5 + (X[:, 1] > 0) * 0.5,
        },
        index=ROWS,
    ),
    "logged": frame(np.where(np.arange(N)[:, None] % 3 == range(3), QUALITY, np.nan)),
    "judge": frame(QUALITY * 0.5 + rng.normal(0.2, 0.1, (N, 3))),
    "gold": frame(np.where(np.arange(N)[:, None] % 3 == 0, QUALITY, np.nan)),
}


@cache
def router() -> RankingRouter:
    made = RankingRouter(n_estimators=0, n_landmarks=8, random_state=0)
    return made.fit(TABLES["X"], TABLES["y"], costs=TABLES["costs"])


def learning() -> RankingRouter:
    """A router to update; each use changes its own."""
    made = RankingRouter(
        n_estimators=0, n_landmarks=8, forget_after=50.0, random_state=0
    )
    return made.fit(TABLES["X"], TABLES["y"], costs=TABLES["costs"])


def learning_text() -> TextRouter:
    inside = RankingRouter(
        n_estimators=0, n_landmarks=8, forget_after=50.0, random_state=0
    )
    return TextRouter(inside).fit(TABLES["prompts"], TABLES["y"], costs=TABLES["costs"])


def updated(router: Any, X: Any = None, prompts: Any = None, **tables: Any) -> Any:
    router.update(X if prompts is None else prompts, **tables)
    given = TABLES["X"] if prompts is None else TABLES["prompts"]
    return as_mapping(router.transform(given)[0][:3], router.models_)


@cache
def text_router() -> TextRouter:
    made = TextRouter(PointwiseRouter(Ridge(), random_state=0))
    return made.fit(TABLES["prompts"], TABLES["y"], costs=TABLES["costs"])


@cache
def decider() -> BudgetDecider:
    return BudgetDecider(budget=float(SPENT.mean())).fit(Z)


def make_cascade() -> CascadeDecider:
    return CascadeDecider(price=0.05, max_calls=2, random_state=0)


@cache
def cascade() -> CascadeDecider:
    return make_cascade().fit(**{name: TABLES[name] for name in CASCADE.split()})


@cache
def cascading() -> Pipeline:
    """A router, and a cascade behind it."""
    made = make_pipeline(PointwiseRouter(Ridge(), random_state=0), make_cascade())
    costs, checks, answers = (TABLES[name] for name in CASCADE.split()[2:])
    return made.fit(
        TABLES["X"],
        TABLES["y"],
        pointwiserouter__costs=costs,
        cascadedecider__costs=costs,
        cascadedecider__checks=checks,
        cascadedecider__answers=answers,
    )


def replayed(**tables: Any) -> Any:
    found = cascade().replay(**tables)
    return [found.calls, found.answer, found.spend, found.quality]


def drawn_for_cascade(**tables: Any) -> Any:
    display = plotting.CascadeDisplay.from_estimator(cascading(), **tables)
    mpl.pyplot.close(display.figure_)
    return points(display.curve)


# What is compared: names and numbers, in an order that no table gives.


def as_mapping(table: Any, models: Any) -> dict[str, Any]:
    return {str(m): np.asarray(table)[..., i] for i, m in enumerate(models)}


def points(curve: RoutingCurve) -> list[Any]:
    return [
        as_mapping(curve.call_share, curve.models),
        as_mapping([curve.model_quality, curve.model_cost], curve.models),
        [curve.budget, curve.cost, curve.quality, curve.collapse],
        [*curve.floor, curve.ceiling],
    ]


def estimates(fitted: Any, features: Any) -> list[Any]:
    half = np.hsplit(fitted.transform(features), 2)
    return [as_mapping(table, fitted.models_) for table in half]


def made_by(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Estimates of a router for the same queries, whatever it was fitted on."""
    return lambda **tables: estimates(fit(**tables), TABLES["X"])


def compared(X: Any, y: Any, costs: Any, groups: Any = None) -> list[Any]:
    routers = {"ridge": PointwiseRouter(Ridge(), random_state=0)}
    found = evaluation.compare_routers(X, y, costs, routers, groups=groups, seeds=1)
    return [
        {k: v for k, v in result.scores.items() if k != "fit_seconds"}
        | {"spent": result.spent}
        for result in found.results.values()
    ]


def pooled(X: Any, y: Any, costs: Any, groups: Any = None) -> list[Any]:
    ridge = PointwiseRouter(Ridge(), random_state=0)
    found = evaluation.smaller_pool(X, y, costs, ridge, groups=groups, seeds=1)
    return [list(found.models), found.gain]


def worth_it(X: Any, y: Any, costs: Any, groups: Any = None) -> list[Any]:
    ridge = PointwiseRouter(Ridge(), random_state=0)
    options: dict[str, Any] = {"router": ridge, "groups": groups, "cv": 2}
    found = evaluation.routability(X, y, costs, quick=True, **options)
    return [found.verdict, *found.gain, *found.saving, found.lead]


def watched(X: Any, choice: Any, paid: Any) -> Any:
    monitor = CollapseMonitor(MODELS, [1.0, 3.0, 9.0], reference=TABLES["X"])
    judged = {"quality": paid, "expected_quality": paid * 0.5}
    found = monitor.update(choice, X=X, costs=paid, **judged).summary()
    counted = found.total_cost, found.quality_drop
    return [as_mapping(found.calls, found.models), *counted]


def valued(choice: Any, outcomes: Any, paid: Any, quality: Any, cost: Any) -> Any:
    """A log in which each model had the same chance; a short one, as it says."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the log tells little of this policy")
        found = evaluation.policy_value(
            choice,
            called=TABLES["choice"][::-1].set_axis(ROWS),
            propensity=np.full(N, 1 / 3),
            quality=outcomes,
            cost=paid,
            expected_quality=quality,
            expected_cost=cost,
        )
    return [*found.quality_interval, *found.cost_interval]


def evaluated(X: Any, logged: Any, costs: Any) -> Any:
    """A log in which each model had the same chance."""
    found = evaluation.evaluate_log(
        X,
        logged,
        costs,
        propensity=np.full(N, 1 / 3),
        routers={"ridge": PointwiseRouter(Ridge(), random_state=0)},
        cv=2,
    )
    return [[*v.quality_interval, *v.cost_interval] for _, _, v in found.rows]


def reported(**tables: Any) -> Any:
    """Findings of a report, without the page that is slow to draw."""
    with patch("skroute.reporting._page.render", return_value="") as render:
        skroute.report(router(), n_bootstrap=0, **tables)
    found = render.call_args.args[0]
    return [
        points(found.curve),
        points(found.oracle),
        [vars(example) for example in found.saved],
        [vars(task)["gain"] for task in found.tasks],
    ]


def drawn(kind: str, **tables: Any) -> Any:
    display = getattr(plotting, kind).from_predictions(**tables)
    return shown(display)


def drawn_for_router(kind: str, **tables: Any) -> Any:
    return shown(getattr(plotting, kind).from_estimator(router(), **tables))


def preferred(**tables: Any) -> Any:
    with warnings.catch_warnings():
        # So few votes do not show what they depend on.
        warnings.simplefilter("ignore", UserWarning)
        found = win_rates(**tables, random_state=0)
    return found.reset_index(drop=True).to_dict("list")


def corrected(**tables: Any) -> Any:
    found, summary = correct(**tables, return_summary=True)
    return [
        as_mapping(found, summary.models),
        as_mapping([summary.mean, summary.error], summary.models),
    ]


def shown(display: Any) -> Any:
    mpl.pyplot.close(display.figure_)
    if hasattr(display, "curve"):
        return points(display.curve), points(display.oracle)
    return [np.sort(display.predicted), np.sort(display.true)]


def scored(metric: str, **options: Any) -> Callable[..., float]:
    scorer = make_routing_scorer(metric, **options)
    return lambda X, y, **given: scorer(router(), X, y, **given)


def named(index: Any, y: Any) -> list[str]:
    return [str(pd.DataFrame(y).columns[i]) for i in np.atleast_1d(index)]


CURVES = {
    name: getattr(metrics, name)
    for name in metrics.__all__
    if {"quality", "scope", "sample_weight"}
    <= set(signature(getattr(metrics, name)).parameters)
    and not name.endswith("_curve")
}
TWO = {"apgr", "call_performance_threshold"}


def of_two(metric: Callable[..., float]) -> Callable[..., float]:
    """A metric of two models, given three."""

    def call(y: Any, costs: Any, quality: Any, cost: Any) -> float:
        def two(table: Any) -> Any:
            kept = [c for c in table.columns if not str(c).endswith("medium")]
            return table[kept]

        return metric(*map(two, (y, costs, quality, cost)))

    return call


CASCADE = "Z y costs checks answers"
#: Displays of one router's estimates.
DISPLAYS = [
    name for name in plotting.__all__ if name not in ("CascadeDisplay", "PoolDisplay")
]
USES: dict[str, tuple[Callable[..., Any], str]] = {
    "PointwiseRouter.fit": (
        made_by(lambda **t: PointwiseRouter(Ridge(), random_state=0).fit(**t)),
        "X y costs",
    ),
    "DummyRouter.fit": (made_by(lambda **t: DummyRouter().fit(**t)), "X y costs"),
    "RankingRouter.fit": (
        made_by(
            lambda **t: RankingRouter(
                n_estimators=3, n_landmarks=8, random_state=0
            ).fit(**t)
        ),
        "X y costs outcome_weight",
    ),
    "RankingRouter.score": (
        lambda **t: router().score(**t),
        "X y costs sample_weight",
    ),
    "RankingRouter.route": (
        lambda X, available, caps, costs: list(
            router().route(
                X,
                available=available,
                budget=caps,
                scope="query",
                on_infeasible="cheapest",
                costs=costs,
            )
        ),
        "X available caps costs",
    ),
    "RankingRouter.route with extra_costs": (
        lambda X, costs, checks: list(
            router().route(
                X,
                costs=costs,
                on_infeasible="cheapest",
                extra_costs={"s": (checks.abs(), {"query": 0.5})},
            )
        ),
        "X costs checks",
    ),
    "BudgetDecider with extra_costs": (
        lambda Z, y, costs: list(
            BudgetDecider(8.0, extra_costs={"s": {"mean": 8.0}})
            .fit(Z, y, extra_costs={"s": costs})
            .route(Z)
        ),
        "Z y costs",
    ),
    "RankingRouter.explain": (
        lambda **t: router().explain(**t).reset_index(drop=True).to_dict("list"),
        "X available costs",
    ),
    "RankingRouter.update": (
        lambda **tables: updated(learning(), **tables),
        "X y costs outcome_weight",
    ),
    "TextRouter.update": (
        lambda **tables: updated(learning_text(), **tables),
        "prompts y costs outcome_weight",
    ),
    "RankingRouter.probes": (
        lambda X, y: dict(enumerate(router().probes(10, X=X, y=y))),
        "X y",
    ),
    "TextRouter.probes": (
        lambda prompts, y: dict(enumerate(learning_text().probes(10, X=prompts, y=y))),
        "prompts y",
    ),
    "RankingRouter.add_model": (
        made_by(
            lambda X, outcomes, paid: router().add_model(
                "new", outcomes, X=X, costs=paid
            )
        ),
        "X outcomes paid",
    ),
    "TextRouter.fit": (
        lambda prompts, y, costs, groups: estimates(
            TextRouter(PointwiseRouter(Ridge(), random_state=0)).fit(
                prompts, y, costs=costs, groups=groups
            ),
            TABLES["prompts"],
        ),
        "prompts y costs groups",
    ),
    "TextRouter.route": (
        lambda prompts, available, caps, costs: list(
            text_router().route(
                prompts,
                available=available,
                budget=caps,
                scope="query",
                on_infeasible="cheapest",
                costs=costs,
            )
        ),
        "prompts available caps costs",
    ),
    "TextRouter.explain": (
        lambda prompts, available, costs: (
            text_router()
            .explain(prompts, available=available, costs=costs)
            .reset_index(drop=True)
            .to_dict("list")
        ),
        "prompts available costs",
    ),
    "TextRouter.score": (
        lambda prompts, y, costs: text_router().score(prompts, y, costs=costs),
        "prompts y costs",
    ),
    "BudgetDecider.fit": (
        lambda Z, y, costs: [
            (fitted := BudgetDecider(min_quality="97%").fit(Z, y, costs=costs)).price_,
            fitted.price_path_.cost,
            fitted.price_path_.quality,
            list(fitted.route(TABLES["Z"])),
        ],
        "Z y costs",
    ),
    "BudgetDecider.fit with confidence": (
        lambda Z, y, costs, groups: [
            promised := BudgetDecider(min_quality=0.2, confidence=0.8).fit(
                Z, y, costs=costs, groups=groups
            ),
            promised.price_,
            promised.guarantee_.mean,
            promised.guarantee_.n_queries,
            list(promised.route(TABLES["Z"])),
        ][1:],
        "Z y costs groups",
    ),
    "BudgetDecider.fit without y": (
        lambda Z, costs: BudgetDecider(budget=4.0).fit(Z, costs=costs).price_,
        "Z costs",
    ),
    "BudgetDecider.partial_fit": (
        lambda Z, paid, costs: (
            (
                BudgetDecider(budget=4.0).partial_fit(Z, costs=paid, known_costs=costs)
            ).price_
        ),
        "Z paid costs",
    ),
    "BudgetDecider.partial_fit with quality": (
        lambda Z, outcomes: str(
            BudgetDecider(budget=4.0).partial_fit(Z, quality=outcomes).stream_report()
        ),
        "Z outcomes",
    ),
    "BudgetDecider.route": (
        lambda Z, available, costs: list(decider().route(Z, available, costs=costs)),
        "Z available costs",
    ),
    "BudgetDecider.predict": (
        lambda Z, costs: named(decider().predict(Z, costs), TABLES["y"]),
        "Z costs",
    ),
    "BudgetDecider(array)": (
        lambda Z, caps: list(
            BudgetDecider(caps, scope="query").fit(TABLES["Z"]).route(Z)
        ),
        "Z caps",
    ),
    "CascadeDecider.fit": (
        lambda **t: list(make_cascade().fit(**t).next(TABLES["Z"])),
        CASCADE,
    ),
    "CascadeDecider.replay": (replayed, CASCADE),
    "CascadeDecider.next": (
        lambda Z, available: list(cascade().next(Z, available=available)),
        "Z available",
    ),
    "CascadeDisplay.from_estimator": (
        drawn_for_cascade,
        "X y costs checks answers",
    ),
    "CollapseMonitor": (watched, "X choice paid"),
    "compare_routers": (compared, "X y costs groups"),
    "smaller_pool": (pooled, "X y costs groups"),
    "routability": (worth_it, "X y costs groups"),
    "report": (reported, "X y costs task prompts"),
    "win_rates": (preferred, "X battles groups"),
    "correct": (corrected, "judge gold"),
    "routing_curve": (
        lambda **t: points(metrics.routing_curve(**t)),
        "y costs quality cost sample_weight",
    ),
    "routing_curve[query]": (
        lambda **t: points(metrics.routing_curve(**t, scope="query")),
        "y costs quality cost",
    ),
    "oracle_curve": (lambda **t: points(metrics.oracle_curve(**t)), "y costs"),
    "oracle_luck": (
        lambda **t: astuple(metrics.oracle_luck(**t)),
        "y quality sample_weight",
    ),
    "best_single": (
        lambda y, costs: named(metrics.best_single(y, costs), y),
        "y costs",
    ),
    "oracle_choice": (
        lambda y, costs: named(metrics.oracle_choice(y, costs), y),
        "y costs",
    ),
    "regret": (
        lambda **t: metrics.regret(**t, price=0.05),
        "y choice costs sample_weight",
    ),
    "net_utility": (
        lambda **t: metrics.net_utility(**t, price=0.05),
        "y choice costs sample_weight",
    ),
    "quality_within_budget": (
        lambda **t: metrics.quality_within_budget(**t, budget=3.0),
        "y choice costs sample_weight",
    ),
    "settled_cost": (
        lambda **t: metrics.settled_cost(**t, min_quality="95%"),
        "y choice costs sample_weight",
    ),
    "evaluate_log": (evaluated, "X logged costs"),
    "make_log_scorer": (
        lambda X, logged, costs: evaluation.make_log_scorer(price=0.05)(
            router(), X, logged, costs=costs, propensity=np.full(N, 1 / 3)
        ),
        "X logged costs",
    ),
    "policy_value": (valued, "choice outcomes paid quality cost"),
    "make_routing_scorer": (
        scored("normalized_auc"),
        "X y costs sample_weight",
    ),
    "make_routing_scorer[regret]": (scored("regret", price=0.05), "X y costs"),
    **{
        name: (of_two(metric) if name in TWO else metric, "y costs quality cost")
        for name, metric in CURVES.items()
    },
    **{
        f"{name}.from_predictions": (
            lambda name=name, **t: drawn(name, **t),
            "y quality" if name == "MarginDisplay" else "y costs quality cost",
        )
        for name in DISPLAYS
    },
    **{
        f"{name}.from_estimator": (
            lambda name=name, **t: drawn_for_router(name, **t),
            "X y" if name == "MarginDisplay" else "X y costs",
        )
        for name in DISPLAYS
    },
}
# Public things that no two tables are given to, at once or one after the other.
ONE_TABLE = {
    "skroute": {
        *("InfeasibleBudgetError", "NoCostWarning", "__version__", "load", "save"),
    },
    "skroute.metrics": {"MonitorSummary", "OracleLuck", "RoutingCurve", "top2_margin"},
    "skroute.evaluation": {
        *("BUDGET_SHARES", "Comparison", "METRICS", "ORACLE", "RouterResult"),
        *("default_routers", "LogEvaluation", "PolicyValue", "SmallerPool"),
        *("Routability", "default_routers", "SmallerPool"),
    },
    "skroute.outcomes": {"CorrectionSummary"},
    "skroute.plotting": {"PoolDisplay"},
    "skroute.preferences": set(),
    "skroute.text": {"PromptFeatures", "SentenceEncoder"},
}
# Uses that fit routers on the table, on splits of it.
COMPARED = (
    *("CollapseMonitor", "compare_routers", "evaluate_log", "smaller_pool"),
    "routability",
)
OF_MODELS = {
    *("y", "costs", "outcome_weight", "quality", "cost", "available"),
    *("checks", "answers", "judge", "gold", "logged"),
}
FOLLOW_Y = OF_MODELS - {"available"}


def tables_of(use: str) -> dict[str, Any]:
    return {name: TABLES[name] for name in USES[use][1].split()}


def cases(kinds: set[str] | None = None) -> list[Any]:
    return [
        pytest.param(use, name, id=f"{use}-{name}")
        for use in USES
        for name in tables_of(use)
        if kinds is None or name in kinds
    ]


@cache
def expected(use: str) -> Any:
    return USES[use][0](**tables_of(use))


def alike(found: Any, right: Any) -> None:
    """Check that results are the same, but for rounding."""
    if isinstance(right, dict):
        assert found.keys() == right.keys()
        for key in right:
            alike(found[key], right[key])
    elif isinstance(right, str) or right is None:
        assert found == right
    elif isinstance(right, list | tuple):
        assert len(found) == len(right)
        for one, other in zip(found, right, strict=True):
            alike(one, other)
    elif np.asarray(right).dtype.kind in "OU":
        assert np.asarray(found).tolist() == np.asarray(right).tolist()
    else:
        np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-9)


def test_the_walk_leaves_nothing_public_out() -> None:
    for module, others in ONE_TABLE.items():
        for name in import_module(module).__all__:
            used = any(re.fullmatch(rf"{name}([.\[( ].*)?", use) for use in USES)
            assert used != (name in others), f"{name} of {module}"


@pytest.mark.slow
@pytest.mark.parametrize(("use", "name"), cases(OF_MODELS | {"Z"}))
@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0]], ids=["reversed", "turned"])
def test_columns_in_another_order_change_nothing(use, name, order) -> None:
    table = TABLES[name]
    turned = table[[table.columns[i] for i in [*order, *range(3, table.shape[1])]]]
    alike(USES[use][0](**{**tables_of(use), name: turned}), expected(use))


@pytest.mark.slow
@pytest.mark.parametrize(
    "use", [use for use in USES if "y" in tables_of(use) and use not in TWO]
)
def test_tables_without_names_are_in_the_order_of_y(use) -> None:
    order = [2, 0, 1]
    tables = {
        name: table.iloc[:, order] if name in FOLLOW_Y else table
        for name, table in tables_of(use).items()
    }
    for name in tables.keys() & (FOLLOW_Y - {"y"}):
        tables[name] = tables[name].to_numpy()
    alike(USES[use][0](**tables), expected(use))


@pytest.mark.parametrize(("use", "name"), cases())
def test_rows_in_another_order_are_refused(use, name) -> None:
    turned = TABLES[name].iloc[::-1]
    with pytest.raises(
        ValueError, match=r"row labels of .* in another order"
    ) as caught:
        USES[use][0](**{**tables_of(use), name: turned})
    assert "reset_index(drop=True)" in str(caught.value)


def test_a_dict_of_columns_is_a_table() -> None:
    X, available = TABLES["X"], TABLES["available"]
    columns = {model: available[model] for model in available}
    called = router().route(X, available=available)
    np.testing.assert_array_equal(router().route(X, available=columns), called)
    turned = columns[MODELS[1]].iloc[::-1]
    with pytest.raises(ValueError, match=r"available\['.*'\] has the row labels of X"):
        router().route(X, available={**columns, MODELS[1]: turned})


@pytest.mark.parametrize("name", ["choice", "sample_weight"])
def test_what_is_beside_y_is_told_to_follow_it(name) -> None:
    given = {"choice": [0] * N, "sample_weight": np.ones(N)}
    given[name] = pd.Series(given[name], index=TABLES["y"].index).iloc[::-1]
    advice = re.escape(f"{name} = {name}.loc[y.index]")
    with pytest.raises(ValueError, match=advice):
        metrics.regret(TABLES["y"], **given)


@pytest.mark.parametrize(("use", "name"), cases())
def test_rows_of_other_names_are_refused(use, name) -> None:
    other = TABLES[name].set_axis([f"r{i}" for i in range(N)], axis=0)
    with pytest.raises(ValueError, match="must have the same row labels, or none"):
        USES[use][0](**{**tables_of(use), name: other})


@pytest.mark.slow
@pytest.mark.parametrize(("use", "name"), cases())
def test_tables_without_row_names_go_with_any(use, name) -> None:
    plain = TABLES[name].reset_index(drop=True)
    alike(USES[use][0](**{**tables_of(use), name: plain}), expected(use))


@pytest.mark.slow
@pytest.mark.parametrize(("use", "name"), cases({"y", "costs", "outcome_weight"}))
def test_masked_outcomes_are_unknown(use, name) -> None:
    def with_hole(known: np.ndarray) -> tuple[Any, Any]:
        hole = np.zeros(known.shape, dtype=bool)
        hole[5, 1] = True
        return np.ma.array(known, mask=hole), np.where(hole, np.nan, known)

    if use in TWO:
        pytest.skip("takes a table of names apart")
    results = []
    for table in with_hole(TABLES[name].to_numpy()):
        tables = {**tables_of(use), name: table}
        if name == "y":
            tables = {
                k: v.to_numpy() if k in FOLLOW_Y and k != "y" else v
                for k, v in tables.items()
            }
        try:
            results.append(USES[use][0](**tables))
        except ValueError as error:
            results.append(str(error))
    alike(results[0], results[1])


@pytest.mark.parametrize(
    ("use", "name"), cases({"X", "Z", "quality", "cost", "available", "caps"})
)
def test_masked_entries_are_refused_where_all_must_be_known(use, name) -> None:
    if use in TWO or use in COMPARED:
        pytest.skip("checked where the rows are used")
    masked = np.ma.array(TABLES[name].to_numpy(), mask=False)
    masked[(5, 1)[: masked.ndim]] = np.ma.masked
    words = f"^({name}|budget) must be known everywhere.* 1 masked"
    with pytest.raises(ValueError, match=words):
        USES[use][0](**{**tables_of(use), name: masked})

"""A service keeps what calls really cost to its budget."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from third_party import MeanRouter

import skroute
from skroute import BudgetDecider, RankingRouter
from skroute.datasets import make_routing

pytest.importorskip("fastapi", reason="pip install '.[serve]'")
pytest.importorskip("prometheus_client", reason="pip install '.[serve]'")

from fastapi.testclient import TestClient

from skroute.serve import Settings, create_app

TABLE = make_routing(900, n_features=6, n_models=3, random_state=0)
NAMES = ["small", "medium", "large"]
Y = pd.DataFrame(TABLE.quality, columns=NAMES)
TRAIN = slice(0, 300)
LIVE = TABLE.data[300:].tolist()
BUDGET = 0.5 * float(TABLE.costs.mean(axis=0).max())


@pytest.fixture(scope="module")
def router() -> Any:
    router = RankingRouter(n_estimators=0, random_state=0)
    return router.fit(TABLE.data[TRAIN], Y[TRAIN], costs=TABLE.costs[TRAIN])


@pytest.fixture
def file(router, tmp_path) -> Path:
    file = tmp_path / "r.skroute"
    skroute.save(router, file)
    return file


def serve(file: Path, **options: Any) -> TestClient:
    options = {"rule": {"budget": BUDGET}, "pace": True, **options}
    return TestClient(create_app(Settings(file, **options)))


def route(api: TestClient, rows: list[Any], **more: Any) -> tuple[list[str], list[str]]:
    answer = api.post("/route", json={"embeddings": rows, **more})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return [row[0] for row in found["models"]], found.get("queries")


def tell(api: TestClient, *outcomes: Any) -> Any:
    return api.post("/outcome", json={"outcomes": list(outcomes)})


def meter(api: TestClient, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", api.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def spend(api: TestClient, factor: float, start: int, size: int = 20) -> list[float]:
    """Route, pay `factor` times what calls cost in the table, and tell of it."""
    paid: list[float] = []
    for i in range(start, start + 200, size):
        models, queries = route(api, LIVE[i : i + size])
        places = [NAMES.index(model) for model in models]
        costs = factor * TABLE.costs[300 + i : 300 + i + size][range(size), places]
        told = [
            {"query": query, "cost": cost}
            for query, cost in zip(queries, costs.tolist(), strict=True)
        ]
        assert tell(api, *told).json() == {"counted": size, "not_counted": []}
        paid.extend(costs)
    return paid


def test_a_service_paces_as_its_decider_would(file, router):
    from skroute.base import make_decider

    api, decider = serve(file), make_decider(router, {"budget": BUDGET})
    for i in range(0, 60, 20):
        rows = LIVE[i : i + 20]
        models, queries = route(api, rows)
        Z = router.transform(rows)
        assert models == list(decider.route(Z))
        for row, query in enumerate(queries):
            tell(api, {"query": query, "cost": 3.0 * BUDGET})
            called = models[row : row + 1]
            decider.partial_fit(Z[[row]], costs=[3.0 * BUDGET], called=called)
        assert meter(api, "skroute_shadow_price") == decider.price_
    assert meter(api, "skroute_budget") == BUDGET
    assert meter(api, "skroute_paced_queries_total") == 60
    assert meter(api, "skroute_paced_cost_total") == pytest.approx(180 * BUDGET)


def test_a_decider_of_a_router_begins_where_the_router_decides(router):
    from skroute.base import make_decider

    decider = make_decider(router, {"budget": BUDGET})
    Z = router.transform(LIVE)
    assert (decider.route(Z) == router.route(LIVE, budget=BUDGET)).mean() > 0.99


def test_prices_that_rise_are_paid_by_the_budget(file):
    api = serve(file)
    spend(api, 2.0, 0)
    spend(api, 2.0, 200)
    paced = np.mean(spend(api, 2.0, 400))
    fixed, _ = route(serve(file, pace=False), LIVE[400:600])
    rows = np.arange(700, 900), [NAMES.index(model) for model in fixed]
    assert 2.0 * TABLE.costs[rows].mean() > 1.5 * BUDGET
    assert paced < 1.2 * BUDGET


def test_another_router_goes_on_with_the_account(file, router, tmp_path):
    api = serve(file)
    begun = meter(api, "skroute_shadow_price")
    spend(api, 3.0, 0)
    moved = meter(api, "skroute_shadow_price")
    assert moved > begun
    # The same router again, as if it had been fitted anew.
    skroute.save(router, tmp_path / "new")
    os.replace(tmp_path / "new", file)
    _, open_before = route(api, LIVE[:1])
    assert api.app.state.service.watched.reload()
    assert meter(api, "skroute_shadow_price") > begun
    told = tell(api, {"query": open_before[0], "cost": BUDGET})
    assert told.json()["counted"] == 1
    assert meter(api, "skroute_paced_queries_total") == 201


def test_what_is_told_is_counted_once_and_checked(file):
    api = serve(file)
    _, queries = route(api, LIVE[:2])
    bad = tell(api, {"query": queries[1]}, {"query": queries[0], "model": "none"})
    assert bad.status_code == 400
    assert "small, medium, large" in bad.json()["error"]["message"]
    assert tell(api, {"query": queries[0], "cost": -1}).status_code == 400
    assert meter(api, "skroute_paced_queries_total") == 0
    # An unknown cost counts as the expected one.
    again = {"query": queries[0], "model": "large"}
    assert tell(api, again, {"query": "x"}).json() == {
        "counted": 1,
        "not_counted": ["x"],
    }
    assert meter(api, "skroute_paced_cost_total") > 0
    assert tell(api, again).json()["not_counted"] == [queries[0]]


def test_a_request_with_a_rule_of_its_own_is_left_out(file):
    api = serve(file)
    _, queries = route(api, LIVE[:3], price=0.0)
    assert queries is None
    assert route(api, LIVE[:3])[1] is not None


def test_without_pacing_there_is_nothing_to_tell(file):
    api = serve(file, pace=False)
    assert tell(api, {"query": "x"}).status_code == 404
    assert "skroute_budget" not in api.get("/metrics").text


def test_a_decider_of_the_file_is_paced(router, tmp_path):
    Z = router.transform(TABLE.data[TRAIN])
    decider = BudgetDecider(BUDGET).fit(Z, Y[TRAIN])
    skroute.save(make_pipeline(router, decider), tmp_path / "r.skroute")
    api = serve(tmp_path / "r.skroute", rule={})
    assert meter(api, "skroute_shadow_price") == decider.price_
    spend(api, 3.0, 0)
    assert meter(api, "skroute_shadow_price") > decider.price_


def test_draws_are_paced_too(file):
    api = serve(file, rule={"budget": BUDGET, "explore": 0.5})
    spend(api, 1.0, 0)
    models, _ = route(api, [LIVE[0]] * 200)
    assert len(set(models)) > 1


def test_bills_in_another_unit_are_remarked(file, caplog):
    with caplog.at_level(logging.WARNING, "skroute.serve"):
        spend(serve(file), 1e-6, 0)
    assert caplog.text.count("in the unit of the bills") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": {}}, "no mean budget"),
        ({"rule": {"min_quality": "95%"}}, "no mean budget"),
        ({"rule": {"budget": BUDGET, "scope": "query"}}, "no mean budget"),
        ({"rule": {"budget": BUDGET, "confidence": 0.9}}, "confidence"),
        ({"shadow": "large"}, "nothing to pace"),
    ],
)
def test_what_cannot_be_paced_is_refused_at_the_start(file, options, message):
    with pytest.raises(ValueError, match=message):
        serve(file, **options)


def test_a_decider_of_other_names_is_refused(router, tmp_path):
    Z = router.transform(TABLE.data[TRAIN])
    unnamed = make_pipeline(router, BudgetDecider(BUDGET).fit(Z))
    skroute.save(unnamed, tmp_path / "r.skroute")
    with pytest.raises(ValueError, match=r"model_0.*small"):
        serve(tmp_path / "r.skroute", rule={})


def test_a_router_that_keeps_no_training_queries_needs_a_decider(tmp_path):
    foreign = MeanRouter().fit(TABLE.data, Y, costs=TABLE.costs)
    joblib.dump(foreign, tmp_path / "r.joblib")
    with pytest.raises(ValueError, match="BudgetDecider behind it"):
        serve(tmp_path / "r.joblib")

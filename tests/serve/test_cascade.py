"""A cascade in service: checks of answers decide on the next call, by its price."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from provider import COST, PRICES, STREAM_MARKS
from sklearn.pipeline import Pipeline, make_pipeline

import skroute
from skroute import CascadeDecider, PointwiseRouter
from skroute.datasets import make_routing, read_table
from skroute.text import TextRouter

pytest.importorskip("litellm", reason="pip install '.[serve]'")
pytest.importorskip("prometheus_client", reason="pip install '.[serve]'")
pytest.importorskip("fastapi", reason="pip install '.[serve]'")

from fastapi.testclient import TestClient
from serving import SCHEMA, Running
from sklearn.linear_model import Ridge

from skroute.serve import Settings, create_app
from skroute.serve.plans import Call, CascadePlan
from skroute.serve.saved import load

pytestmark = STREAM_MARKS

NAMES = list(PRICES)
N = 200
PROMPT = "prove theorem 5 6"


def fit(labels: bool = False, n_checks: int = 1, **options: Any) -> Pipeline:
    """Fit a cascade on prompts of one kind, with checks that are nearly right."""
    rng = np.random.default_rng(0)
    prompts = [f"prove theorem {rng.integers(50)} {i}" for i in range(N)]
    y = (rng.random((N, 3)) < [0.6, 0.7, 0.95]).astype(float)
    wrong = rng.random((N, 3)) < 0.02
    checks = np.where(wrong, 1 - y, y)
    if n_checks > 1:
        checks = np.stack([checks] * n_checks, axis=-1)
    told: dict[str, Any] = {"checks": checks}
    if labels:
        told = {"answers": np.where(y > 0, "right", "wrong").astype(object)}
    # Of 2 units of money on the large model's scale, in quality.
    options = options or {"min_quality": "100%"}
    pipeline = make_pipeline(
        TextRouter(PointwiseRouter(Ridge(), random_state=0)),
        CascadeDecider(random_state=0, **options),
    )
    frame = pd.DataFrame(y, columns=NAMES)
    costs = np.tile(list(COST.values()), (N, 1))
    with sklearn.config_context(enable_metadata_routing=True):
        return pipeline.fit(prompts, frame, costs=costs, **told)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("cascade") / "r.skroute"
    skroute.save(fit(), file)
    return file


@pytest.fixture
def run(file, provider, tmp_path) -> Iterator[Any]:
    open_clients = []

    def start(**options: Any) -> Running:
        options = {"rule": {}, "sections": {"checks": ["schema"]}, **options}
        running = Running(options.pop("file", file), provider, tmp_path, **options)
        running.client.__enter__()
        open_clients.append(running.client)
        return running

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)
    open_clients.clear()


def ask(service: Running, **more: Any) -> Any:
    return service.ask(PROMPT, response_format=SCHEMA, **more)


def test_an_answer_that_passes_is_returned_at_once(run, provider, file):
    service = run()
    provider.replies = dict.fromkeys(PRICES, '{"sum": 7}')
    first = load(file).cascade.next(estimate(file))[0]
    answer = ask(service)
    assert answer.headers["x-skroute-model"] == first == "small"
    assert service.called == ["small"]


def estimate(file: Path) -> np.ndarray:
    saved = load(file)
    return saved.router.transform(saved.before.embed([PROMPT]))


def test_another_call_is_made_where_the_cascade_says_so(run, provider, file):
    service, Z, cascade = run(), estimate(file), load(file).cascade
    provider.replies = dict.fromkeys(PRICES, "no JSON")
    expected, said = [], []
    model = cascade.next(Z)[0]
    while model is not None:
        expected.append(model)
        said.append(0.0)
        model = cascade.next(Z, [expected], [said])[0]
    assert len(expected) > 1
    answer = ask(service)
    assert service.called == expected
    best = cascade.answer(Z, [expected], [said])[0]
    assert answer.headers["x-skroute-model"] == best
    assert answer.headers["x-skroute-check"] == "failed"
    assert [row["returned"] for row in service.rows] == [m == best for m in expected]


def test_a_call_that_is_not_worth_its_price_is_not_made(run, provider):
    service = run()
    provider.replies = dict.fromkeys(PRICES, "no JSON")
    assert ask(service, model="skroute:price=1e9").status_code == 200
    assert service.called == ["small"]
    assert "tolerance" in ask(service, model="skroute:tolerance=0.1").text
    # The rule of the service is that of the file, but for what the command says.
    service = run(rule={"price": 1e9})
    provider.asked.clear()
    assert ask(service).status_code == 200
    assert service.called == ["small"]


def test_a_model_that_fails_is_passed_over(run, provider, file):
    service = run()
    provider.down.add("small")
    left = load(file).cascade.next(estimate(file), available=["medium", "large"])[0]
    provider.replies = dict.fromkeys(PRICES, '{"sum": 7}')
    assert ask(service).headers["x-skroute-model"] == left
    assert service.called == ["small", left]
    assert service.rows[-1]["propensity"] is None
    provider.down |= set(PRICES)
    assert ask(service).status_code == 503


def test_a_schema_that_the_cascade_does_not_know_voids_an_answer(
    run, provider, monkeypatch
):
    module = ModuleType("checks_of_operator")
    module.passes = lambda request, answer: True
    monkeypatch.setitem(sys.modules, "checks_of_operator", module)
    service = run(sections={"checks": ["checks_of_operator:passes"]})
    provider.replies = {"small": "no JSON", "medium": '{"sum": 7}', "large": "{}"}
    answer = ask(service)
    assert service.called[0] == "small"
    assert len(service.called) > 1
    assert answer.headers["x-skroute-model"] == "medium"


def test_streams_are_checked(run, provider):
    service = run()
    provider.replies = dict.fromkeys(PRICES, "no JSON")
    answer = ask(service, stream=True)
    assert answer.text.rstrip().endswith("[DONE]")
    assert len(service.called) > 1


def test_the_log_is_read_by_its_first_calls(run, provider):
    service = run()
    right = dict.fromkeys(PRICES, '{"sum": 7}')
    provider.replies = {**right, "small": "no JSON"}
    for _ in range(3):
        ask(service)
    provider.replies = right
    for _ in range(2):
        ask(service)
    rows = service.rows
    assert len(rows) == 8
    table = pd.DataFrame(rows)
    # Somebody rates all answers.
    table["quality"] = table["check:schema"]
    table.to_json(service.log, orient="records", lines=True)
    with pytest.warns(UserWarning, match="3 calls .* followed another"):
        read = read_table(service.log)
    assert list(read.propensity) == [1.0] * 5
    assert list(read.checks[:, list(read.models).index("small")]) == [0, 0, 0, 1, 1]


def test_decisions_without_calls_are_the_first_ones(file):
    api = TestClient(create_app(Settings(file)))
    cascade, Z = load(file).cascade, estimate(file)
    body = {"prompts": [PROMPT, PROMPT], "top_k": 3}
    models = api.post("/route", json=body).json()["models"]
    assert models[0] == models[1]
    assert models[0][0] == cascade.next(Z)[0]
    assert models[0][1] == cascade.next(Z, available=models[0][1:])[0]
    assert sorted(models[0]) == sorted(NAMES)
    del body["top_k"]
    told = api.post("/explain", json=body).json()["queries"]
    assert told[0]["next"] == models[0][0]
    costs = [{"small": 1.0}, {}]
    known = api.post("/route", json={**body, "costs": costs}).json()["models"]
    assert known[0] != known[1] == models[1][:1]


def test_answers_are_compared_by_what_they_come_down_to(
    run, provider, monkeypatch, tmp_path
):
    module = ModuleType("answers_of_operator")
    module.read = lambda request, answer: answer.split()[-1]
    monkeypatch.setitem(sys.modules, "answers_of_operator", module)
    agreeing = tmp_path / "labels.skroute"
    skroute.save(fit(labels=True), agreeing)
    with pytest.raises(ValueError, match="answer: module:function"):
        run(file=agreeing, sections={})
    service = run(file=agreeing, sections={"answer": "answers_of_operator:read"})
    provider.replies = {"small": "it is 7", "medium": "so 7", "large": "maybe 8"}
    cascade, Z = load(agreeing).cascade, estimate(agreeing)
    answer = service.ask(PROMPT)
    labels = [provider.replies[model].split()[-1] for model in service.called]
    assert cascade.next(Z, [service.called], None, [labels])[0] is None
    best = cascade.answer(Z, [service.called], None, [labels])[0]
    assert answer.headers["x-skroute-model"] == best


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sections": {}}, "reads 1 checks.*lists 0"),
        ({"sections": {"checks": ["schema", "json:loads"]}}, "reads 1 checks.*lists 2"),
        ({"sections": {"checks": ["schema", "schema"]}}, "'schema' twice"),
        ({"rule": {"explore": 0.1}}, "does not explore"),
        ({"pace": True}, "does not pace"),
        ({"rule": {"tolerance": 0.1}}, "takes no tolerance"),
        ({"rule": {"confidence": 0.9}}, "takes no confidence"),
    ],
)
def test_what_a_cascade_cannot_do_is_refused_at_the_start(run, options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_a_check_that_says_what_cannot_be_stops_the_cascade(caplog):
    """An exact check gives the quality itself, and 7 is none that was seen."""
    table = make_routing(120, n_models=3, random_state=0)
    y = (table.quality > np.median(table.quality)).astype(float)
    Z = np.hstack([y.mean(axis=0) + np.zeros(y.shape), table.costs])
    frame = pd.DataFrame(y, columns=NAMES)
    cascade = CascadeDecider(price=1.0, random_state=0).fit(Z, frame, costs=table.costs)
    quality = dict(zip(NAMES, Z[0, :3], strict=True))
    cost = dict(zip(NAMES, Z[0, 3:], strict=True))
    plan = CascadePlan(cascade, quality, cost, ["tests"])
    answers = [Call("small", said={"tests": 7.0}), Call("large", said={"tests": 7.0})]
    assert plan.choose(answers, []) is None
    assert plan.take(answers).model == max(("small", "large"), key=quality.get)
    assert "stops" in caplog.text

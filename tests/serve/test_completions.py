"""Chats are answered by the models that the router chooses, and by others in need."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from provider import COST, PRICES, STREAM_MARKS, describe_models

import skroute
from skroute import RankingRouter
from skroute.datasets import read_table
from skroute.text import TextRouter

pytest.importorskip("litellm", reason="pip install '.[serve]'")
pytest.importorskip("prometheus_client", reason="pip install '.[serve]'")
pytest.importorskip("fastapi", reason="pip install '.[serve]'")

from serving import SCHEMA, Running

pytestmark = STREAM_MARKS

EASY, HARD = "add numbers 3 4", "prove theorem 5 6"


@pytest.fixture(scope="module")
def router_file(tmp_path_factory) -> Path:
    """A router of easy prompts, which the small model answers, and hard ones."""
    rng = np.random.default_rng(0)
    prompts = [
        f"{'prove theorem' if i % 2 else 'add numbers'} {rng.integers(50)} {i}"
        for i in range(240)
    ]
    skill = np.where(np.arange(240)[:, None] % 2, [0.1, 0.4, 0.95], [0.97, 0.85, 0.97])
    y = pd.DataFrame((rng.random((240, 3)) < skill).astype(float), columns=list(PRICES))
    costs = np.tile(list(COST.values()), (240, 1))
    router = TextRouter(RankingRouter(n_estimators=0, random_state=0))
    file = tmp_path_factory.mktemp("router") / "r.skroute"
    skroute.save(router.fit(prompts, y, costs=costs), file)
    return file


@pytest.fixture
def run(router_file, provider, tmp_path) -> Iterator[Any]:
    open_clients = []

    def start(**options: Any) -> Running:
        running = Running(router_file, provider, tmp_path, **options)
        # One event loop for all requests, as in a server.
        running.client.__enter__()
        open_clients.append(running.client)
        return running

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)
    # What hangs on them is collected while its warnings are ignored.
    open_clients.clear()


def test_the_chosen_model_answers_and_headers_say_why(run):
    service = run()
    for prompt, model in ((EASY, "small"), (HARD, "large")):
        answer = service.ask(prompt, temperature=0.5)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == model
        said = answer.json()["choices"][0]["message"]["content"]
        assert said == f"{model} says hello"
        assert answer.headers["x-skroute-model"] == model
        assert answer.headers["x-skroute-calls"] == f"{model} ok"
        assert answer.headers["x-skroute-reason"].startswith(f"{model}: expected")
        assert float(answer.headers["x-skroute-expected-cost"]) == pytest.approx(
            COST[model]
        )
        assert float(answer.headers["x-skroute-cost"]) == pytest.approx(COST[model])
    assert service.called == ["small", "large"]
    assert service.provider.bodies[0]["temperature"] == 0.5
    metrics = service.client.get("/metrics").text
    assert 'skroute_calls_total{model="large",outcome="ok"} 1.0' in metrics
    assert f'skroute_cost_total{{model="large"}} {COST["large"]}' in metrics


def test_a_service_answers_before_litellm_was_imported(run, monkeypatch):
    from skroute.serve import calls

    go_on, take = threading.Event(), calls.require

    def wait(*arguments: Any) -> Any:
        assert go_on.wait(60)
        return take(*arguments)

    monkeypatch.setattr(calls, "require", wait)
    service = run()
    assert service.client.get("/health").json()["status"] == "starting"
    assert service.client.get("/v1/models").status_code == 200
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(service.ask)
        assert service.client.get("/health").json()["status"] == "starting"
        go_on.set()
        # What came early was not refused.
        assert early.result(60).status_code == 200
    assert service.client.get("/health").json()["status"] == "ok"


def test_a_gateway_that_litellm_cannot_make_is_told_of(run, provider):
    service = run(sections={"router_settings": {"timeout_in_weeks": 1}})
    answer = service.ask()
    assert answer.status_code == 503, answer.text
    assert service.client.get("/health").json()["status"] == "failed"
    assert service.called == []


def test_the_model_of_a_request_says_the_rule(run):
    service = run()
    for model, expected in [
        ("skroute:price=0", "large"),
        ("skroute:95%", "large"),
        (f"skroute:budget={COST['small'] * 1.01},scope=query", "small"),
        ("medium", "medium"),
    ]:
        assert service.ask(HARD, model).json()["model"] == expected
    unknown = service.ask(model="gpt-9")
    assert unknown.status_code == 404
    assert "skroute, small, medium, large" in unknown.json()["error"]["message"]
    for model in ("skroute:", "skroute:cheap", "skroute:budget=x", "skroute:top_k=2"):
        assert service.ask(model=model).status_code == 400
    below = service.ask(model="skroute:budget=1e-30")
    assert below.status_code == 400
    assert "budget" in below.json()["error"]["message"]


def test_models_are_listed(run):
    listed = run().client.get("/v1/models").json()
    assert [m["id"] for m in listed["data"]] == ["skroute", *PRICES]


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_fails_is_replaced_in_the_deciders_order(run, provider, stream):
    service = run()
    provider.down = {"large"}
    answer = service.ask(HARD, stream=stream)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-skroute-model"] == "medium"
    calls = "large InternalServerError, medium ok"
    assert (
        answer.headers["x-skroute-calls"].replace(
            "ServiceUnavailableError", "InternalServerError"
        )
        == calls
    )
    [row] = service.rows
    assert (row["model"], row["decided"], row["failed"]) == (
        "medium",
        "large",
        ["large"],
    )
    assert row["returned"]
    provider.down = set(PRICES)
    failed = service.ask(HARD, stream=stream)
    assert failed.status_code >= 500
    assert "no model answered" in failed.json()["error"]["message"]
    assert service.rows[-1]["error"]
    assert not service.rows[-1]["returned"]


def test_no_more_models_are_called_than_allowed(run, provider):
    service = run(max_calls=2)
    provider.down = set(PRICES)
    assert service.ask(HARD).status_code >= 500
    assert len(service.called) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_hangs_is_replaced(run, provider, stream):
    # Long enough for a busy machine to answer what does not hang.
    service = run(timeout=5.0)
    provider.waiting = {"small"}
    answer = service.ask(EASY, stream=stream)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-skroute-model"] != "small"
    assert "imeout" in answer.headers["x-skroute-calls"]


# Checks


def test_an_answer_that_breaks_its_schema_is_escalated(run, provider):
    service = run()
    provider.replies = {
        "small": "no JSON",
        "medium": '{"sum": 7}',
        "large": '{"sum": 7}',
    }
    answer = service.ask(EASY, response_format=SCHEMA)
    assert answer.status_code == 200, answer.text
    assert service.called[0] == "small"
    assert len(service.called) == 2
    assert answer.json()["choices"][0]["message"]["content"] == '{"sum": 7}'
    assert answer.headers["x-skroute-check"] == "passed"
    assert answer.headers["x-skroute-calls"].startswith("small failed_check, ")
    first, second = service.rows
    bill = float(answer.headers["x-skroute-cost"])
    assert bill == pytest.approx(first["cost"] + second["cost"])
    assert first["query"] == second["query"]
    assert (first["check:schema"], second["check:schema"]) == (0.0, 1.0)
    assert (first["returned"], second["returned"]) == (False, True)
    # What was called is what `read_table` reads, once qualities are known.
    text = "".join(
        json.dumps({**r, "quality": r["check:schema"]}) + "\n" for r in service.rows
    )
    service.log.write_text(text)
    with pytest.warns(UserWarning, match="1 calls .* followed another"):
        table = read_table(service.log)
    assert list(table.check_names) == ["schema"]
    assert list(table.models) == ["small"]
    assert np.nansum(table.costs) == pytest.approx(first["cost"])


def test_where_no_answer_passes_that_of_the_best_model_is_returned(run, provider):
    service = run()
    provider.replies = dict.fromkeys(PRICES, "no JSON")
    answer = service.ask(EASY, response_format=SCHEMA)
    assert answer.status_code == 200
    assert answer.headers["x-skroute-check"] == "failed"
    assert service.called[0] == "small"
    assert sorted(service.called) == sorted(PRICES)
    best = max(service.rows, key=lambda row: row["expected_quality"])
    assert [row for row in service.rows if row["returned"]] == [best]
    assert answer.headers["x-skroute-model"] == best["model"]


def is_polite(request: Any, answer: str) -> bool | None:
    assert request["messages"]
    return None if "?" in answer else "hello" in answer


def breaks(request: Any, answer: str) -> bool:
    raise RuntimeError("out of order")


def test_a_function_of_the_operator_checks_answers(run, provider, monkeypatch):
    import sys
    from types import ModuleType

    module = ModuleType("checks_of_operator")
    module.is_polite, module.breaks = is_polite, breaks
    monkeypatch.setitem(sys.modules, "checks_of_operator", module)
    names = [f"checks_of_operator:{name}" for name in ("is_polite", "breaks")]
    service = run(sections={"checks": names})
    provider.replies = {"small": "go away"}
    answer = service.ask(EASY)
    assert service.called[0] == "small"
    assert answer.headers["x-skroute-model"] in ("medium", "large")
    assert service.rows[0]["check:is_polite"] == 0.0
    # A check that breaks is no news.
    assert service.rows[0]["check:breaks"] is None
    provider.replies = {"small": "really?"}
    assert service.ask(EASY).headers["x-skroute-model"] == "small"


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_that_is_checked_begins_when_its_answer_passed(run, provider, usage):
    service = run()
    provider.replies = {"small": "no JSON", "medium": '{"sum": 7}'}
    options = {"stream_options": {"include_usage": True}} if usage else {}
    answer = service.ask(EASY, response_format=SCHEMA, stream=True, **options)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "when its answer was checked" in answer.headers["x-skroute-note"]
    *lines, end = [line for line in answer.text.splitlines() if line]
    assert end == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    said = "".join(delta.get("content", "") for delta in deltas)
    assert said in ('{"sum": 7}', "large says hello")
    assert deltas[0]["role"] == "assistant"
    assert service.called[0] == "small"
    assert len(service.called) > 1
    assert not any(body.get("stream") for body in provider.bodies)
    assert ("usage" in chunks[-1]) == usage
    assert [row["returned"] for row in service.rows][-1]


# Streams


def read_events(answer: Any) -> list[Any]:
    lines = [line for line in answer.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line.removeprefix("data: ") for line in lines]


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream_is_handed_on_and_counted(run, usage):
    service = run()
    more = {"stream_options": {"include_usage": True}} if usage else {}
    answer = service.ask(HARD, stream=True, **more)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, end = read_events(answer)
    assert end == "[DONE]"
    chunks = [json.loads(event) for event in events]
    said = "".join(
        c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]
    )
    assert said.strip() == "large says hello"
    assert {chunk["model"] for chunk in chunks} == {"large"}
    assert any("usage" in chunk for chunk in chunks) == usage
    [row] = service.rows
    assert row["cost"] == pytest.approx(COST["large"])


def test_a_stream_that_breaks_off_says_so(run, provider):
    service = run()
    provider.breaks = {"large"}
    *_, last = read_events(service.ask(HARD, stream=True))
    assert "large broke off" in json.loads(last)["error"]["message"]
    assert service.provider.asked[-1][1] == "large"
    assert len(service.rows) == 1


# Content


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (EASY, None),
        ([{"type": "text", "text": EASY}], None),
        (
            [
                {"type": "text", "text": EASY},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
            ],
            "1 image_url not seen by the router",
        ),
        ("", "no text"),
    ],
)
def test_content_comes_in_any_form(run, content, note):
    service = run()
    answer = service.ask(content)
    assert answer.status_code == 200, answer.text
    assert (note or "") in answer.headers.get("x-skroute-note", "")
    assert (note is None) == ("x-skroute-note" not in answer.headers)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "an object"),
        ({"model": "skroute"}, "messages must be"),
        ({"model": "skroute", "messages": []}, "messages must be"),
        ({"model": 1, "messages": []}, "an object with a model"),
        ({"model": "skroute", "messages": ["hello"]}, "role"),
        ({"model": "skroute", "messages": [{"role": "user", "content": 7}]}, "content"),
        (
            {"model": "skroute", "messages": [{"role": "user", "content": "hi"}]}
            | {"api_base": "http://example.org"},
            "'api_base' is no parameter",
        ),
        (
            {"model": "skroute", "messages": [{"role": "user", "content": "hi"}]}
            | {"response_format": {"type": "json_schema", "json_schema": {}}},
            "needs a schema",
        ),
    ],
)
def test_bad_requests_call_nothing(run, body, message):
    service = run()
    answer = service.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert service.called == []


# Shadow, and costs that are not known


def test_a_shadow_sends_everything_to_one_model(run, provider):
    service = run(shadow="large")
    answer = service.ask(EASY)
    assert service.called == ["large"]
    assert answer.headers["x-skroute-decided"] == "small"
    [row] = service.rows
    assert (row["model"], row["decided"], row["cost"]) == (
        "large",
        "small",
        pytest.approx(COST["large"]),
    )
    # It is as if there was no router: nothing falls back.
    provider.down = {"large"}
    assert service.ask(EASY).status_code >= 500
    assert service.called == ["large", "large"]


def test_a_decision_that_fails_leaves_a_fixed_model_alone(run):
    rule = {"budget": 1e-30, "scope": "query"}
    service = run(rule=rule, shadow="medium")
    assert service.ask(EASY).headers["x-skroute-model"] == "medium"
    service = run(rule=rule)
    assert service.ask(EASY).status_code == 400
    assert service.ask(EASY, "large").headers["x-skroute-model"] == "large"


@pytest.mark.parametrize("stream", [False, True])
def test_bills_of_chats_move_the_price(run, provider, stream):
    # Escalations are part of a query's bill.
    budget = 2 * COST["small"]
    service = run(rule={"budget": budget}, pace=True)
    before = service.meter("skroute_shadow_price")
    provider.down.add("small")
    for _ in range(3):
        assert service.ask(stream=stream).status_code == 200
    assert service.meter("skroute_paced_queries_total") == 3
    paid = service.meter("skroute_paced_cost_total")
    cost = {name: COST[name] for name in service.called}
    assert paid == pytest.approx(3 * cost[service.called[-1]])
    assert service.meter("skroute_shadow_price") > before
    # Neither a model's own name nor a rule of one's own counts.
    for model in ("large", "skroute:price=0"):
        service.ask(model=model)
    assert service.meter("skroute_paced_queries_total") == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_the_client_chose_is_no_decision(run, stream):
    service = run()
    service.ask(EASY, "medium", stream=stream)
    assert service.rows[0]["propensity"] is None
    assert "skroute_decisions_total{" not in service.client.get("/metrics").text
    service.ask(EASY, stream=stream)
    assert service.rows[1]["propensity"] == 1.0
    assert service.meter('skroute_decisions_total{model="small"}') == 1


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_logged_so_that_costs_can_be_computed(run, stream):
    service = run()
    for prompt in (EASY, HARD):
        service.ask(prompt, stream=stream)
    rows = [{**row, "quality": 1.0, "cost": None} for row in service.rows]
    service.log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    prices = {name: (p, 2 * p) for name, p in PRICES.items() if name != "medium"}
    table = read_table(service.log, token_prices=prices)
    found = dict(zip(table.models, np.nanmax(table.costs, axis=0), strict=True))
    assert found == pytest.approx({name: COST[name] for name in prices})


def test_an_unknown_cost_is_not_a_free_call(run, provider):
    models = describe_models(provider)
    for how in models.values():
        del how["input_cost_per_token"], how["output_cost_per_token"]
    free = {"input_cost_per_token": 0, "output_cost_per_token": 0}
    models["large"] |= free
    for name, how in models.items():
        # LiteLLM remembers prices by names and ids, of all gateways of a process.
        how["model"] = f"openai/unpriced-{name}"
    listed = [
        {"model_name": name, "litellm_params": how, "model_info": {"id": f"x{name}"}}
        for name, how in models.items()
    ]
    sections = {"model_list": listed}
    service = run(sections=sections)
    for prompt in (EASY, HARD):
        assert service.ask(prompt).status_code == 200
    assert [row["cost"] for row in service.rows] == [None, 0.0]


def test_a_model_that_is_not_named_is_missed_at_the_start(
    router_file, provider, tmp_path
):
    models = describe_models(provider)
    del models["medium"]
    with pytest.raises(ValueError, match="how 'medium' is called"):
        Running(router_file, provider, tmp_path, sections={"models": models})

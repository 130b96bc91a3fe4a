"""The examples that put a router into a stack do what they say, on this machine."""

from __future__ import annotations

import gc
import importlib.util
import json
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from time import sleep
from types import ModuleType
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import skroute
from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute.datasets import make_routing, read_table
from skroute.text import TextRouter

pytestmark = [
    # LiteLLM is imported.
    pytest.mark.slow,
    # LiteLLM's own types, while its router makes a deployment.
    pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict class"),
    # The same, while it reads the chunks of a stream.
    pytest.mark.filterwarnings("ignore:Accessing the 'model_.*' attribute"),
    # What it leaves open, see below.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PRICES = {"small": 1e-6, "medium": 1e-5, "large": 1e-4}
PROMPT_TOKENS, ANSWER_TOKENS = 10, 20
USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": ANSWER_TOKENS,
    "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
}
# A token of an answer costs twice that of a prompt.
COST = {name: p * (PROMPT_TOKENS + 2 * ANSWER_TOKENS) for name, p in PRICES.items()}


def example(name: str, *needed: str) -> ModuleType:
    """Import an example as a module."""
    # Not imported here: an example says first what LiteLLM may fetch.
    absent = [module for module in needed if importlib.util.find_spec(module) is None]
    if absent:
        pytest.skip(f"no {', '.join(absent)}: pip install '.[examples]'")
    if not EXAMPLES.is_dir():
        pytest.skip("the examples are not beside the tests")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where pydantic looks annotations up
    spec.loader.exec_module(module)
    return module


# LiteLLM


@pytest.fixture(autouse=True)
def no_rubbish_for_others() -> Iterator[None]:
    """Collect the connections and event loops that LiteLLM keeps, and never closes.

    Otherwise they are collected in some later test, where their warning is an error.
    """
    yield
    if "litellm" in sys.modules:
        sys.modules["litellm"].in_memory_llm_clients_cache.flush_cache()
    gc.collect()


class Provider(BaseHTTPRequestHandler):
    """The part of OpenAI's API that chat completions need."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = asked["model"]
        self.server.asked.append((self.path, model, asked["messages"][-1]["content"]))
        if asked.get("stream") and model not in self.server.down:
            self.stream(asked)
            return
        if model in self.server.down:
            status, body = 503, {"error": {"message": "overloaded", "type": "server"}}
        else:
            reply = self.server.replies.get(model, f"{model} says hello")
            content = reply(asked) if callable(reply) else reply
            message = {"role": "assistant", "content": content}
            status, body = (
                200,
                {
                    "id": "call",
                    "object": "chat.completion",
                    "created": 0,
                    "model": model,
                    "choices": [
                        {"index": 0, "message": message, "finish_reason": "stop"}
                    ],
                    "usage": USAGE,
                },
            )
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, asked: dict[str, Any]) -> None:
        chunk = {"id": "call", "object": "chat.completion.chunk", "created": 0}
        chunk |= {"model": asked["model"]}
        words = [{"content": f"{word} "} for word in (asked["model"], "says", "hello")]
        choices: list[list[dict[str, Any]]] = [
            [{"index": 0, "delta": word, "finish_reason": None}] for word in words
        ]
        choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        lines = [chunk | {"choices": choice} for choice in choices]
        if (asked.get("stream_options") or {}).get("include_usage"):
            lines.append(chunk | {"choices": [], "usage": USAGE})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for line in [*map(json.dumps, lines), "[DONE]"]:
            self.wfile.write(f"data: {line}\n\n".encode())
        self.close_connection = True


@pytest.fixture
def provider() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        server.asked, server.down, server.replies = [], set(), {}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def litellm_example() -> ModuleType:
    return example("litellm_router", "litellm")


def how(provider: ThreadingHTTPServer) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "model": f"openai/{name}",
            "api_base": f"http://127.0.0.1:{provider.server_port}/v1",
            "api_key": "none",
            "input_cost_per_token": price,
            "output_cost_per_token": 2 * price,
        }
        for name, price in PRICES.items()
    }


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> Path:
    """Past calls: easy prompts, which the small model answers, and hard ones."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(200):
        hard = i % 2
        prompt = f"{'prove theorem' if hard else 'add numbers'} {rng.integers(50)} {i}"
        for model, skill in zip(PRICES, (0.1, 0.4, 0.95), strict=True):
            lines.append(
                {
                    "query": prompt,
                    "model": model,
                    "quality": float(rng.random() < (skill if hard else 0.97)),
                    "cost": COST[model],
                }
            )
    file = tmp_path_factory.mktemp("calls") / "calls.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.fixture
def client(litellm_example, provider, calls) -> Any:
    pipeline = litellm_example.fit(calls, budget=0.5 * COST["large"])
    gateway = litellm_example.gateway(how(provider))
    logged: list[dict[str, Any]] = []
    client = litellm_example.RoutedClient(pipeline, gateway, log=logged.append)
    client.logged = logged
    return client


def ask(client: Any, prompt: str) -> Any:
    system = {"role": "system", "content": "Be brief."}
    return client.complete([system, {"role": "user", "content": prompt}])


def test_the_chosen_model_receives_the_call(client, provider):
    for prompt in ("add numbers 3 7", "prove theorem 4 9"):
        estimates = client.pipeline[:-1].transform([prompt])
        chosen = client.pipeline[-1].route(estimates)[0]
        response = ask(client, prompt)
        assert provider.asked[-1] == ("/v1/chat/completions", chosen, prompt)
        assert response.choices[0].message.content == f"{chosen} says hello"
    assert [model for _, model, _ in provider.asked] == ["small", "large"]


def test_a_failing_model_falls_back_to_the_second_choice(client, provider):
    prompt = "prove theorem 4 9"
    order = client.choose(client.pipeline[:-1].transform([prompt]))
    assert len(set(order)) == 3
    provider.down = {order[0]}
    assert ask(client, prompt).choices[0].message.content == f"{order[1]} says hello"
    provider.down = set(order[:2])
    assert ask(client, prompt).choices[0].message.content == f"{order[2]} says hello"
    asked = [model for _, model, _ in provider.asked]
    assert asked == [*order[:2], *order]
    assert [call["model"] for call in client.logged] == order[1:]


def test_nothing_is_spent_or_logged_where_every_model_fails(client, provider):
    before = joblib.hash(client.pipeline[-1])
    provider.down = set(PRICES)
    with pytest.raises(Exception, match="overloaded"):
        ask(client, "add numbers 3 7")
    assert len(provider.asked) == 3
    assert client.logged == []
    assert joblib.hash(client.pipeline[-1]) == before


def test_spend_is_logged_and_moves_the_price(client, provider, tmp_path):
    before = client.pipeline[-1].price_
    for i in range(12):
        ask(client, f"prove theorem {i}")
    # Hard prompts only: the expensive model is called until the budget asks for less.
    assert client.pipeline[-1].price_ > before
    spent = [call["cost"] for call in client.logged]
    assert spent == pytest.approx([COST[call["model"]] for call in client.logged])
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, client.logged)))
    table = read_table(log)
    assert table.prompts.tolist() == [f"prove theorem {i}" for i in range(12)]
    assert np.nansum(table.costs) == pytest.approx(sum(spent))


def test_explored_calls_are_logged_with_their_chances(client, provider):
    client.explore = 0.9
    for i in range(12):
        ask(client, f"add numbers {i} 7")
    assert len({call["model"] for call in client.logged}) > 1
    assert all(0 < call["propensity"] < 1 for call in client.logged)
    client.explore = 0.0
    ask(client, "add numbers 1 7")
    assert client.logged[-1]["propensity"] == 1
    # A call in place of one that failed had no chance that is known.
    provider.down = {client.logged[-1]["model"]}
    ask(client, "add numbers 1 7")
    assert client.logged[-1]["propensity"] is None


def unpriced(provider: ThreadingHTTPServer) -> dict[str, dict[str, Any]]:
    """Models whose prices LiteLLM does not know: it reports their calls as free."""
    import litellm

    # It remembers the prices of earlier gateways of this process.
    for name in PRICES:
        litellm.model_cost.pop(name, None)
        litellm.model_cost.pop(f"openai/{name}", None)
    return {
        name: {key: value for key, value in how_to.items() if "cost" not in key}
        for name, how_to in how(provider).items()
    }


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_cost_is_not_a_free_call(litellm_example, provider, client, stream):
    """0 drew the price of money down, until all went to the large model."""
    client.gateway = litellm_example.gateway(unpriced(provider))
    user = {"role": "user", "content": ""}
    for i in range(200):
        user["content"] = f"{'prove theorem' if i % 2 else 'add numbers'} {i}"
        answer = client.complete([user], stream=stream)
        for _ in answer if stream else ():
            pass
    spent = sum(COST[model] for _, model, _ in provider.asked)
    assert 0.7 < spent / (200 * client.pipeline[-1].budget) < 1.15
    assert [call["cost"] for call in client.logged] == [None] * 200


def test_a_stream_counts_what_it_cost_at_its_end(client, provider):
    order = client.choose(client.pipeline[:-1].transform(["prove theorem 4 9"]))
    provider.down = {order[0]}
    before = deepcopy(client.pipeline[-1])
    user = {"role": "user", "content": "prove theorem 4 9"}
    chunks = client.complete([user], stream=True)
    words = [next(chunks).choices[0].delta.content]
    assert client.logged == []
    assert client.pipeline[-1].price_ == before.price_
    words += [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(words).strip() == f"{order[1]} says hello"
    (call,) = client.logged
    assert call["model"] == order[1]
    assert call["cost"] == pytest.approx(COST[order[1]])
    estimates = client.pipeline[:-1].transform(["prove theorem 4 9"])
    before.partial_fit(estimates, costs=[call["cost"]])
    assert client.pipeline[-1].price_ == before.price_


def test_a_stream_that_is_left_early_counts_what_came(client, provider):
    user = {"role": "user", "content": "add numbers 3 7"}
    chunks = client.complete([user], stream=True)
    next(chunks)
    chunks.close()
    (call,) = client.logged
    assert 0 < call["cost"] < COST[call["model"]]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        (
            [{"role": "user", "content": [{"type": "text", "text": "add"}, IMAGE]}],
            "add",
        ),
        ([{"role": "user", "content": [IMAGE]}], ""),
        ([{"role": "user", "content": None}], ""),
        ([{"role": "user", "content": ""}], ""),
        ([{"role": "user"}, {"role": "assistant", "content": "hello"}], ""),
        ([{"role": "system", "content": "Be brief."}], ""),
    ],
)
def test_whatever_messages_hold_is_answered_and_logged(
    client, provider, tmp_path, messages, prompt
):
    estimates = client.pipeline[:-1].transform([prompt])
    chosen = client.pipeline[-1].route(estimates)[0]
    response = client.gateway.completion(chosen, [{"role": "user", "content": "x"}])
    client.gateway.completion = lambda *_, **__: response
    assert client.complete(messages) is response
    ask(client, "prove theorem 4 9")
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, client.logged)))
    assert read_table(log).prompts.tolist() == [prompt, "prove theorem 4 9"]


def test_a_free_call_counts_as_free(litellm_example, provider, client):
    free = how(provider)
    free["small"] |= {"input_cost_per_token": 0, "output_cost_per_token": 0}
    client.gateway = litellm_example.gateway(free)
    expected = deepcopy(client.pipeline[-1])
    ask(client, "add numbers 3 7")
    assert [(c["model"], c["cost"]) for c in client.logged] == [("small", 0)]
    expected.partial_fit(
        client.pipeline[:-1].transform(["add numbers 3 7"]), costs=[0.0]
    )
    assert joblib.hash(client.pipeline[-1]) == joblib.hash(expected)


def test_a_model_that_the_gateway_lacks_is_named(litellm_example, provider, client):
    known = how(provider)
    del known["medium"]
    with pytest.raises(ValueError, match="medium"):
        litellm_example.RoutedClient(client.pipeline, litellm_example.gateway(known))


def test_the_script_answers_its_input(
    litellm_example, provider, calls, tmp_path, monkeypatch, capsys
):
    models, log = tmp_path / "models.json", tmp_path / "log.jsonl"
    models.write_text(json.dumps(how(provider)))
    monkeypatch.setattr("sys.stdin", StringIO("add numbers 1 2\n\nadd numbers 2 2\n"))
    litellm_example.main(
        [str(calls), str(models), "--budget", str(COST["large"]), "--log", str(log)]
    )
    answers = capsys.readouterr().out.splitlines()
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert answers == [f"{call['model']} says hello" for call in logged]
    prompts = [call["prompt"] for call in logged]
    assert prompts == ["add numbers 1 2", "add numbers 2 2"]


# LiteLLM, with checks of answers

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="limits of processes are those of Linux"
)
RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
WRONG = "```python\ndef add(a, b):\n    return a\n```"
TESTS = "assert add(1, 2) == 3"


@pytest.fixture(scope="module")
def checked_example(litellm_example) -> ModuleType:
    """The example, which imports the other one."""
    return example("litellm_cascade", "litellm", "jsonschema")


@pytest.fixture(scope="module")
def checked_calls(tmp_path_factory) -> Path:
    """Past calls: tests that tell right answers, and a judge who mostly does."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(150):
        hard = i % 2
        prompt = f"{'prove theorem' if hard else 'add numbers'} {rng.integers(50)} {i}"
        for model, skill in zip(PRICES, (0.1, 0.4, 0.95), strict=True):
            right = float(rng.random() < (skill if hard else 0.8))
            seen = right if rng.random() < 0.8 else 1 - right
            lines.append(
                {
                    "query": f"call {i}",
                    "prompt": prompt,
                    "model": model,
                    "quality": right,
                    "cost": COST[model],
                    "check:tests": right if i % 3 else None,
                    "check:judge": round(0.2 + 0.6 * seen, 1),
                }
            )
    file = tmp_path_factory.mktemp("checked") / "calls.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


@pytest.fixture(scope="module")
def cascade(checked_example, checked_calls) -> tuple[Any, list[str]]:
    return checked_example.fit(checked_calls, budget=2 * COST["large"])


@pytest.fixture
def checked(checked_example, cascade, provider) -> Any:
    """A client whose judge is a model of the same provider."""
    gateway = checked_example.gateway(
        how(provider) | {"judge": how(provider)["small"] | {"model": "openai/judge"}}
    )
    pipeline, names = cascade
    assert names == ["tests", "judge"]
    provider.replies = {"judge": "5"}
    logged: list[dict[str, Any]] = []
    checks = {
        "tests": checked_example.UnitTests(),
        "judge": checked_example.Judge(gateway, "judge"),
    }
    client = checked_example.CheckedClient(pipeline, gateway, checks, log=logged.append)
    client.logged = logged
    return client


def request_of(module: ModuleType, prompt: str, **what: Any) -> Any:
    return module.Request([{"role": "user", "content": prompt}], **what)


def content_of(response: Any) -> str:
    return response.choices[0].message.content


@linux
def test_an_answer_that_fails_its_tests_is_followed_by_another_call(
    checked_example, checked, provider
):
    request = request_of(checked_example, "add numbers 200", tests=TESTS)
    encode, decider = checked.pipeline[:-1], checked.pipeline[-1]
    first = decider.next(encode.transform([request.prompt]))[0]
    provider.replies |= dict.fromkeys(PRICES, RIGHT) | {first: WRONG}
    provider.replies["judge"] = lambda asked: "28"["a + b" in str(asked["messages"])]
    assert content_of(checked.complete(request)) == RIGHT
    asked = [model for _, model, _ in provider.asked if model != "judge"]
    assert asked[0] == first
    assert len(asked) > 1
    assert [call["model"] for call in checked.logged] == asked
    said = [float(model != first) for model in asked]
    assert [call["check:tests"] for call in checked.logged] == said
    returned = [call for call in checked.logged if call.get("returned")]
    assert [call["check:tests"] for call in returned] == [1]
    spent = [call["cost"] for call in checked.logged]
    assert spent == pytest.approx([COST[model] for model in asked])
    # The judge is asked of each answer, at the price of the small model.
    assert sum(model == "judge" for _, model, _ in provider.asked) == len(asked)
    judged = [call["check_cost"] for call in checked.logged]
    assert judged == pytest.approx([COST["small"]] * len(asked))
    grades = [0.8 if right else 0.2 for right in said]
    assert [call["check:judge"] for call in checked.logged] == grades


@linux
def test_an_answer_that_passes_is_returned(checked_example, checked, provider):
    provider.replies |= dict.fromkeys(PRICES, RIGHT) | {"judge": "9"}
    request = request_of(checked_example, "add numbers 200", tests=TESTS)
    assert content_of(checked.complete(request)) == RIGHT
    for call in checked.logged:
        assert call["check:tests"] == 1
        assert call["check:judge"] == 0.9
        assert call["error"] is None
    assert sum(call.get("returned", False) for call in checked.logged) == 1


def test_a_model_that_fails_is_not_called_again(checked_example, checked, provider):
    request = request_of(checked_example, "add numbers 200")
    checked.complete(request)
    first = checked.logged[0]["model"]
    checked.logged.clear()
    provider.asked.clear()
    provider.down = {first}
    answer = content_of(checked.complete(request))
    failed, *others = checked.logged
    assert (failed["model"], failed["cost"]) == (first, None)
    assert failed["error"] == "ServiceUnavailableError"
    assert answer in {f"{call['model']} says hello" for call in others}
    assert [model for _, model, _ in provider.asked].count(first) == 1


def test_where_every_model_fails_the_error_is_raised_and_logged(
    checked_example, checked, provider
):
    provider.down = set(PRICES)
    with pytest.raises(Exception, match="overloaded"):
        checked.complete(request_of(checked_example, "add numbers 200"))
    assert {call["model"] for call in checked.logged} == set(PRICES)
    assert not any(call["cost"] or call.get("returned") for call in checked.logged)


@linux
def test_a_check_that_takes_too_long_is_no_news(
    checked_example, checked, provider, caplog
):
    sleeper = "import time\ntime.sleep(60)"
    provider.replies |= dict.fromkeys(PRICES, sleeper)
    provider.replies["judge"] = lambda asked: sleep(2) or "9"
    checked.checks = {
        "tests": checked_example.UnitTests(patience=0.5),
        "judge": checked_example.Judge(checked.gateway, "judge", patience=0.2),
    }
    request = request_of(checked_example, "add numbers 200", tests=TESTS)
    assert content_of(checked.complete(request)) == sleeper
    for call in checked.logged:
        assert call["check:tests"] is None
        assert call["check:judge"] is None
        assert call["check_cost"] == 0
    assert "the check 'tests' failed: TimeoutExpired" in caplog.text
    assert "the check 'judge' failed: litellm.Timeout" in caplog.text


def test_the_log_of_a_cascade_is_a_table_of_calls(
    checked_example, checked, provider, tmp_path
):
    provider.down = {"medium"}
    for i in range(4):
        checked.complete(request_of(checked_example, f"add numbers {i}"))
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, checked.logged)))
    table = read_table(log)
    assert table.prompts.tolist() == [f"add numbers {i}" for i in range(4)]
    assert table.check_names.tolist() == ["tests", "judge"]
    spent = sum(call["cost"] or 0 for call in checked.logged)
    assert np.nansum(table.costs) == pytest.approx(spent)
    assert np.isnan(table.checks[..., 0]).all()
    assert np.nanmax(table.checks[..., 1]) == 0.5


def test_a_stream_cannot_be_checked(checked_example, checked):
    with pytest.raises(ValueError, match="cannot be streamed"):
        checked.complete(request_of(checked_example, "add"), stream=True)


@linux
@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        (RIGHT, True),
        (f"First {WRONG}, no: {RIGHT}", True),
        ("def add(a, b): return a + b", True),
        (WRONG, False),
        ("def add(a, b", False),
        ("", False),
        # What leaves before the tests has not passed them.
        ("import sys; sys.exit(0)", False),
        ("import os; os._exit(0)", False),
        # More time, memory and disk than an answer may take.
        ("while True: pass", False),
        (f"more = bytearray(1 << 30)\n{RIGHT[10:-3]}", False),
        (f"open('big', 'wb').write(bytes(1 << 22))\n{RIGHT[10:-3]}", False),
    ],
)
def test_unit_tests_of_an_answer_have_limits(checked_example, answer, passes):
    check = checked_example.UnitTests(seconds=1, mebibytes=256)
    request = request_of(checked_example, "add", tests=TESTS)
    assert check(request, answer) == (float(passes), 0.0)


@linux
def test_an_answer_sees_no_keys(checked_example, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    tests = "import os\nassert 'OPENAI_API_KEY' not in os.environ"
    request = request_of(checked_example, "add", tests=tests)
    assert checked_example.UnitTests()(request, "").value == 1


SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"age": 3}', 1.0),
        ('Here it is:\n```json\n{"age": 3}\n```\nDone.', 1.0),
        ('{"age": "3"}', 0.0),
        ("{}", 0.0),
        ("three", 0.0),
    ],
)
def test_a_schema_is_a_check(checked_example, answer, said):
    request = request_of(checked_example, "age?", schema=SCHEMA)
    assert checked_example.validate(request, answer) == (said, 0.0)


def test_a_schema_fetches_no_other(checked_example, provider):
    url = f"http://127.0.0.1:{provider.server_port}/schema"
    request = request_of(checked_example, "age?", schema={"$ref": url})
    with pytest.raises(Exception, match="schema"):
        checked_example.validate(request, "{}")
    assert provider.asked == []


def test_a_request_without_tests_or_schema_says_nothing(checked_example):
    request = request_of(checked_example, "age?")
    for check in (checked_example.validate, checked_example.UnitTests()):
        assert np.isnan(check(request, RIGHT).value)


@pytest.mark.parametrize(
    ("reply", "grade"),
    [("8", 0.8), ("Grade: 10.", 1.0), ("0", 0.0), ("no idea", None), ("7 or 8", None)],
)
def test_a_judge_gives_a_grade_and_takes_money(
    checked_example, checked, provider, reply, grade
):
    provider.replies["judge"] = reply
    request = request_of(checked_example, "add numbers 200")
    said = checked.checks["judge"](request, RIGHT)
    assert said.cost == pytest.approx(COST["small"])
    assert np.isnan(said.value) if grade is None else said.value == grade
    assert RIGHT in provider.asked[-1][2]
    assert "add numbers 200" in provider.asked[-1][2]


@linux
def test_the_checking_script_answers_its_input(
    checked_example, provider, checked_calls, tmp_path, monkeypatch, capsys
):
    provider.replies = dict.fromkeys(PRICES, RIGHT) | {"judge": "9"}
    models, log = tmp_path / "models.json", tmp_path / "log.jsonl"
    judge = how(provider)["small"] | {"model": "openai/judge"}
    models.write_text(json.dumps(how(provider) | {"judge": judge}))
    request = json.dumps({"prompt": "add numbers 1", "tests": TESTS})
    monkeypatch.setattr("sys.stdin", StringIO(f"{request}\n\n{request}\n"))
    files = [str(checked_calls), str(models)]
    options = ["--budget", str(COST["large"]), "--log", str(log)]
    checked_example.main([*files, *options, "--judge", "judge"])
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers == [RIGHT, RIGHT]
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert {call["check:tests"] for call in logged} == {1.0}
    with pytest.raises(SystemExit):
        checked_example.main([*files, *options])
    assert "checks that are not made here: ['judge']" in capsys.readouterr().err


# FastAPI


@pytest.fixture(scope="module")
def serve() -> ModuleType:
    return example("serve_fastapi", "fastapi", "uvicorn", "httpx")


TABLE = make_routing(120, n_features=8, n_models=3, random_state=0)
NAMES = list(PRICES)


@pytest.fixture(scope="module")
def router() -> Any:
    y = pd.DataFrame(TABLE.quality, columns=NAMES)
    router = RankingRouter(n_estimators=20, random_state=0)
    return router.fit(TABLE.data, y, costs=TABLE.costs)


@pytest.fixture(scope="module")
def api(serve, router, tmp_path_factory) -> Any:
    from fastapi.testclient import TestClient

    file = tmp_path_factory.mktemp("served") / "router.skroute"
    skroute.save(router, file)
    return TestClient(serve.create_app(file), raise_server_exceptions=False)


def test_health(api):
    answer = api.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "models": NAMES, "reads": "embeddings"}


@pytest.mark.parametrize(
    "how_to",
    [
        {},
        {"budget": float(TABLE.costs.mean()), "top_k": 2},
        {"budget": float(TABLE.costs.sum()), "scope": "batch"},
        {"min_quality": "90%"},
        {"price": 0.1, "available": ["small", "large"], "top_k": 3},
        {"tolerance": 0.2},
        {"budget": 1e-12, "scope": "query", "on_infeasible": "cheapest"},
    ],
)
def test_answers_are_those_of_the_router(api, router, how_to):
    answer = api.post("/route", json={"embeddings": TABLE.data.tolist(), **how_to})
    assert answer.status_code == 200
    expected = router.route(TABLE.data, **{"top_k": 1, **how_to})
    assert answer.json()["models"] == [
        [name for name in row if name is not None] for row in expected
    ]


def test_known_costs_are_part_of_a_request(api, router):
    body = {"embeddings": TABLE.data[:2].tolist(), "price": 0.1}
    costs = [{"large": 0.0, "small": 1e9}, {}]
    answer = api.post("/route", json={**body, "costs": costs})
    assert answer.status_code == 200, answer.text
    table = pd.DataFrame(costs)
    expected = router.route(TABLE.data[:2], price=0.1, costs=table).tolist()
    assert [names[0] for names in answer.json()["models"]] == expected
    answer = api.post("/route", json={**body, "costs": [{}, {}]})
    assert answer.status_code == 200, answer.text


ROW = TABLE.data[0].tolist()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "this router reads embeddings"),
        ({"prompts": ["a"]}, "this router reads embeddings"),
        ({"prompts": ["a"], "embeddings": [ROW]}, "and no others"),
        ({"embeddings": []}, "at least 1 item"),
        ({"embeddings": [ROW] * 1001}, "at most 1000 items"),
        ({"embeddings": [ROW[:-1]]}, "7 features"),
        ({"embeddings": [ROW, ROW[:-1]]}, "the same length"),
        ({"embeddings": [["a"]]}, "body.embeddings.0.0: .*number"),
        ({"embeddings": [ROW], "budget": 1e-12}, "smallest feasible budget"),
        ({"embeddings": [ROW], "budget": -1}, "budget"),
        ({"embeddings": [ROW], "scope": "day"}, "body.scope"),
        ({"embeddings": [ROW], "available": ["huge"]}, "huge"),
        ({"embeddings": [ROW], "costs": [{"huge": 1.0}]}, "costs names huge"),
        ({"embeddings": [ROW], "costs": [{"large": 1.0}] * 2}, r"got \(2, 1\)"),
        ({"embeddings": [ROW], "top_k": 0}, "body.top_k"),
        ({"embeddings": [ROW], "top_k": 9}, "top_k must be"),
        ({"embeddings": [ROW], "bugdet": 1}, "body.bugdet: .*not permitted"),
    ],
)
def test_bad_requests_are_answered_with_400(api, body, message):
    answer = api.post("/route", json=body)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert re.search(message, answer.json()["error"])


@pytest.mark.parametrize("content", [b"", b"{", b'{"embeddings": [[NaN]]}', b"[]"])
def test_what_is_no_json_is_answered_with_400(api, content):
    headers = {"content-type": "application/json"}
    answer = api.post("/route", content=content, headers=headers)
    assert answer.status_code == 400, answer.text


def test_a_router_of_prompts(serve, tmp_path):
    from fastapi.testclient import TestClient

    prompts = [f"{'add' if i % 2 else 'prove'} {i % 7}x {i % 5}y" for i in range(120)]
    pipeline = make_pipeline(
        TfidfVectorizer(), TruncatedSVD(4, random_state=0), PointwiseRouter(Ridge())
    )
    pipeline.set_params(pointwiserouter__costs=TABLE.costs.mean(axis=0))
    pipeline.fit(prompts, pd.DataFrame(TABLE.quality, columns=NAMES))
    joblib.dump(pipeline, tmp_path / "p.joblib")
    api = TestClient(serve.create_app(tmp_path / "p.joblib"))
    answer = api.post("/route", json={"prompts": prompts[:9]})
    expected = pipeline[-1].models_[pipeline.predict(prompts[:9])]
    assert answer.json()["models"] == [[name] for name in expected]
    refused = api.post("/route", json={"embeddings": [ROW]})
    assert refused.status_code == 400
    assert "this router reads prompts" in refused.json()["error"]


@pytest.mark.parametrize("beside", [False, True])
def test_a_text_router(serve, tmp_path, beside):
    from fastapi.testclient import TestClient

    prompts = [f"{'add' if i % 2 else 'prove'} {i % 7}x {i % 5}y" for i in range(120)]
    X: Any = prompts
    if beside:
        X = pd.DataFrame(TABLE.data, columns=[f"e{i}" for i in range(8)])
        X.insert(3, "question", prompts)
    router = TextRouter(PointwiseRouter(Ridge(), costs=TABLE.costs.mean(axis=0)))
    router.fit(X, pd.DataFrame(TABLE.quality, columns=NAMES))
    skroute.save(router, tmp_path / "r.skroute")
    api = TestClient(serve.create_app(tmp_path / "r.skroute"))
    given: dict[str, Any] = {"prompts": prompts[:9]}
    if beside:
        given["embeddings"] = TABLE.data[:9].tolist()
    answer = api.post("/route", json={**given, "min_quality": "95%"})
    expected = router.route(X[:9], min_quality="95%")
    assert answer.json()["models"] == [[name] for name in expected]
    refused = api.post("/route", json={"embeddings": [ROW]})
    assert refused.status_code == 400
    assert api.get("/health").json()["reads"] in refused.json()["error"]
    if beside:
        few = api.post("/route", json={"prompts": prompts[:2], "embeddings": [ROW]})
        assert "numbers for each prompt" in few.json()["error"]


@pytest.fixture(scope="module")
def deciding() -> Any:
    """A pipeline from embeddings to decisions, as the guide says to keep it."""
    pipeline = make_pipeline(
        PCA(4, random_state=0),
        PointwiseRouter(Ridge(), random_state=0),
        BudgetDecider(float(np.median(TABLE.costs)), on_infeasible="cheapest"),
    )
    with sklearn.config_context(enable_metadata_routing=True):
        y = pd.DataFrame(TABLE.quality, columns=NAMES)
        return pipeline.fit(TABLE.data, y, costs=TABLE.costs)


def test_a_pipeline_decides_as_it_was_saved(serve, deciding, tmp_path):
    from fastapi.testclient import TestClient

    joblib.dump(deciding, tmp_path / "p.joblib")
    api = TestClient(serve.create_app(tmp_path / "p.joblib"))
    assert api.get("/health").json()["reads"] == "embeddings"

    def asked(**how_to: Any) -> list[str]:
        body = {"embeddings": TABLE.data.tolist(), **how_to}
        answer = api.post("/route", json=body)
        assert answer.status_code == 200, answer.text
        return [row[0] for row in answer.json()["models"]]

    expected = deciding[-1].models_[deciding.predict(TABLE.data)]
    assert asked() == expected.tolist()
    vectors, router = deciding[0].transform(TABLE.data), deciding[1]
    rule = deciding[-1].get_params()
    for given, means in [
        ({"min_quality": "95%"}, {"min_quality": "95%"}),
        ({"tolerance": 0.3}, rule | {"tolerance": 0.3}),
        ({"scope": "query"}, rule | {"scope": "query"}),
    ]:
        assert asked(**given) == router.route(vectors, **means).tolist()


def test_a_file_that_is_replaced_is_loaded_anew(serve, router, tmp_path, caplog):
    from fastapi.testclient import TestClient

    file, y = tmp_path / "r.skroute", pd.DataFrame(TABLE.quality, columns=NAMES)
    skroute.save(router, file)
    api = TestClient(serve.create_app(file))
    assert api.get("/health").json()["models"] == NAMES
    fewer = DummyRouter().fit(TABLE.data, y[NAMES[:2]], costs=TABLE.costs[:, :2])
    skroute.save(fewer, file)
    assert api.get("/health").json()["models"] == NAMES[:2]
    # What cannot be loaded leaves the router in service, and says so.
    file.write_bytes(b"half a file")
    assert api.get("/health").json()["models"] == NAMES[:2]
    assert "cannot be loaded" in caplog.text
    file.unlink()
    assert api.get("/health").json()["models"] == NAMES[:2]
    skroute.save(router, file)
    body = {"embeddings": [ROW], "available": ["large"]}
    assert api.post("/route", json=body).json() == {"models": [["large"]]}


def test_what_is_no_router_is_not_served(serve, tmp_path):
    joblib.dump([1, 2], tmp_path / "list.joblib")
    with pytest.raises(TypeError, match="holds a list, not a router"):
        serve.create_app(tmp_path / "list.joblib")


def test_requests_at_once_over_a_socket(serve, router, tmp_path):
    import httpx
    import uvicorn

    joblib.dump(router, tmp_path / "r.joblib")
    app = serve.create_app(tmp_path / "r.joblib")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/route"

        def asked(row: np.ndarray) -> str:
            body = {"embeddings": [row.tolist()], "price": 0.1}
            return http.post(url, json=body).raise_for_status().json()["models"][0][0]

        with httpx.Client() as http, ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(asked, TABLE.data[:64]))
    finally:
        server.should_exit = True
        thread.join()
    assert answers == router.route(TABLE.data[:64], price=0.1).tolist()

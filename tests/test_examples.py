"""The examples that put a router into a stack do what they say, on this machine."""

from __future__ import annotations

import importlib.util
import json
import sys
from copy import deepcopy
from io import StringIO
from pathlib import Path
from time import sleep
from types import ModuleType
from typing import Any

import joblib
import numpy as np
import pytest
from provider import COST, PRICES, STREAM_MARKS, Server, describe_models

from skroute.datasets import read_table

pytestmark = STREAM_MARKS

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name: str, *needed: str) -> ModuleType:
    """Import an example as a module."""
    # Not imported here: an example says first what LiteLLM may fetch.
    absent = [module for module in needed if importlib.util.find_spec(module) is None]
    if absent:
        pytest.skip(f"no {', '.join(absent)}: pip install '.[serve]'")
    if not EXAMPLES.is_dir():
        pytest.skip("the examples are not beside the tests")
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where pydantic looks annotations up
    spec.loader.exec_module(module)
    return module


# LiteLLM


@pytest.fixture(scope="module")
def litellm_example() -> ModuleType:
    return example("litellm_router", "litellm")


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
    gateway = litellm_example.gateway(describe_models(provider))
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


def unpriced(provider: Server) -> dict[str, dict[str, Any]]:
    """Models whose prices LiteLLM does not know: it reports their calls as free."""
    import litellm

    # It remembers the prices of earlier gateways of this process.
    for name in PRICES:
        litellm.model_cost.pop(name, None)
        litellm.model_cost.pop(f"openai/{name}", None)
    return {
        name: {key: value for key, value in how_to.items() if "cost" not in key}
        for name, how_to in describe_models(provider).items()
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
    before.partial_fit(estimates, costs=[call["cost"]], called=[call["model"]])
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
    free = describe_models(provider)
    free["small"] |= {"input_cost_per_token": 0, "output_cost_per_token": 0}
    client.gateway = litellm_example.gateway(free)
    expected = deepcopy(client.pipeline[-1])
    ask(client, "add numbers 3 7")
    assert [(c["model"], c["cost"]) for c in client.logged] == [("small", 0)]
    Z = client.pipeline[:-1].transform(["add numbers 3 7"])
    expected.partial_fit(Z, costs=[0.0], called=["small"])
    found = client.pipeline[-1]
    assert found.price_ == expected.price_
    assert joblib.hash(found._pace) == joblib.hash(expected._pace)


def test_a_model_that_the_gateway_lacks_is_named(litellm_example, provider, client):
    known = describe_models(provider)
    del known["medium"]
    with pytest.raises(ValueError, match="medium"):
        litellm_example.RoutedClient(client.pipeline, litellm_example.gateway(known))


def test_the_script_answers_its_input(
    litellm_example, provider, calls, tmp_path, monkeypatch, capsys
):
    models, log = tmp_path / "models.json", tmp_path / "log.jsonl"
    models.write_text(json.dumps(describe_models(provider)))
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
    models = describe_models(provider)
    gateway = checked_example.gateway(
        models | {"judge": models["small"] | {"model": "openai/judge"}}
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
    judge = describe_models(provider)["small"] | {"model": "openai/judge"}
    models.write_text(json.dumps(describe_models(provider) | {"judge": judge}))
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

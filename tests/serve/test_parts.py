"""The parts of a service: prompts, checks, files of models."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("anyio", reason="pip install '.[serve]'")
pytest.importorskip("jsonschema", reason="pip install '.[serve]'")

import anyio

from skroute.serve.calls import _find_unpriced
from skroute.serve.checks import fails, make_schema_check, run_checks
from skroute.serve.decisions import parse_model
from skroute.serve.journal import Journal
from skroute.serve.prompts import read_prompt
from skroute.serve.settings import read_models


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("messages", "prompt", "n_notes"),
    [
        ([user("hello")], "hello", 0),
        (
            [user("first"), {"role": "assistant", "content": "a"}, user("last")],
            "last",
            0,
        ),
        (
            [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
            "a\nb",
            0,
        ),
        ([user({"type": "input_text", "text": "a"})], "a", 0),
        ([user(["a", {"type": "input_audio", "input_audio": {}}])], "a", 1),
        ([user("half \ud800 a pair")], "half \ufffd a pair", 0),
        ([user(None)], "", 1),
        ([user([])], "", 1),
        ([{"role": "system", "content": "Be brief."}], "", 1),
    ],
)
def test_prompts_are_read_in_any_form(messages, prompt, n_notes):
    asked = read_prompt(messages)
    assert asked.prompt == prompt
    assert len(asked.notes) == n_notes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "x"]),
            inner | st.sampled_from(["user", "text", "image_url"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_comes_is_read_or_refused(messages):
    try:
        asked = read_prompt(messages)
    except ValueError:
        return
    asked.prompt.encode()
    assert all(note.isascii() for note in asked.notes)


@given(st.text(max_size=30))
def test_a_model_is_a_rule_or_a_name_or_refused(text):
    assert parse_model(f"x{text}") is None
    try:
        rule = parse_model(f"skroute:{text}")
    except ValueError:
        return
    assert rule


def check(schema: Any, answer: str) -> Any:
    stated = {"type": "json_schema", "json_schema": {"schema": schema}}
    made = make_schema_check(stated)
    assert made is not None
    return made({}, answer)


@pytest.mark.parametrize(
    ("schema", "answer", "said"),
    [
        ({"type": "integer"}, "7", True),
        ({"type": "integer"}, '"7"', False),
        ({"type": "integer"}, "seven", False),
        ({"type": "array"}, "[" * 100_000, False),
        # It is not fetched, and so says nothing.
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "7", None),
        # A pattern that takes for ever is not looked at.
        ({"pattern": "^(a+)+$"}, json.dumps("a" * 60 + "!"), True),
        (
            {
                "patternProperties": {"^(a+)+$": {}},
                "additionalProperties": False,
                "unevaluatedProperties": False,
            },
            json.dumps({"a" * 60 + "!": 1}),
            True,
        ),
        # Nor does a schema that refers to itself twice, again and again, end by itself.
        (
            {
                "$ref": "#/$defs/s0",
                "$defs": {
                    f"s{i}": {"allOf": [{"$ref": f"#/$defs/s{i + 1}"}] * 2}
                    for i in range(40)
                }
                | {"s40": {}},
            },
            "7",
            None,
        ),
    ],
)
def test_a_schema_says_what_it_can(schema, answer, said):
    assert check(schema, answer) is said


@pytest.mark.parametrize(
    "stated",
    [
        "json",
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {"type": "no type"}}},
    ],
)
def test_what_is_no_schema_is_refused(stated):
    with pytest.raises(ValueError, match="response_format"):
        make_schema_check(stated)


def test_formats_without_a_schema():
    assert make_schema_check(None) is None
    assert make_schema_check({"type": "text"}) is None
    is_object = make_schema_check({"type": "json_object"})
    assert is_object is not None
    assert [is_object({}, text) for text in ('{"a": 1}', "[1]", "a")] == [
        True,
        False,
        False,
    ]


def test_checks_are_run_and_awaited_and_given_up():
    async def waits(request: Any, answer: str) -> bool:
        await anyio.sleep_forever()
        return True

    async def agrees(request: Any, answer: str) -> bool:
        return answer == "yes"

    checks = {"waits": waits, "agrees": agrees, "score": lambda r, a: 0.2}
    said = anyio.run(run_checks, checks, {}, "yes", 0.05)
    assert math.isnan(said.pop("waits"))
    assert said == {"agrees": 1.0, "score": 0.2}
    assert fails(said)
    assert not fails({"a": math.nan, "b": 1.0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "must be a mapping"),
        ("models: [", "is not YAML"),
        ("models: {a: {model: x/y}}\nmodel_list: []", "needs one of"),
        ("checks: []", "needs one of"),
        ("models: {}", "names no model"),
        ("models: {a: gpt-5}", "does not say how 'a' is called"),
        ("models: {a: {model: x/y}}\nmodel: 1", "unknown section 'model'"),
        ("models: {a: {model: x/y}}\nchecks: [f]", "must be module:function"),
        ("models: {a: {model: x/y}}\nchecks: ['math:nothing']", "cannot be imported"),
        ("models: {a: {model: x/y}}\nchecks: ['math:pi']", "is no function"),
        ("models: {a: {model: x/y}}\nchecks: ['math:sin', 'cmath:sin']", "'sin' twice"),
        ("models: {a: {model: x/y}}\nanswer: 7", "must be module:function"),
        ("models: {a: {model: x/y}}\nembedding: x/y", "embeds prompts, such as"),
        ("model_list: [{litellm_params: {model: x/y}}]", "no model_name"),
        ("models: {a: !!python/object/apply:os.getpid []}", "is not YAML"),
    ],
)
def test_a_file_of_models_that_is_wrong_is_refused(tmp_path, text, message):
    pytest.importorskip("yaml")
    (tmp_path / "models.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_models(tmp_path / "models.yaml")


def test_the_journal_writes_what_json_has(tmp_path):
    file = tmp_path / "log.jsonl"
    Journal(file).write({"cost": math.nan, "prompt": "half \ud800"}, {"cost": 1.0})
    first, second = map(json.loads, file.read_text().splitlines())
    assert first["cost"] is None
    assert second["cost"] == 1.0
    Journal(None).write({"cost": 1.0})


def test_models_without_a_price_are_found():
    def read(name: str) -> dict[str, float]:
        if name == "openai/listed":
            return {"input_cost_per_token": 1e-6}
        raise ValueError("this model is not mapped yet")

    deployments = [
        {"model_name": "listed", "litellm_params": {"model": "openai/listed"}},
        {"model_name": "own", "litellm_params": {"model": "openai/own"}},
        {
            "model_name": "told",
            "litellm_params": {"model": "openai/own", "input_cost_per_token": 0},
        },
    ]
    known = SimpleNamespace(get_model_info=read)
    assert _find_unpriced(known, deployments) == ["own"]

"""Chats of a router of embeddings: a model embeds them, or they carry one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from provider import COST, LITELLM_MARKS, PRICES

import skroute
from skroute import PointwiseRouter
from skroute.text import TextRouter

pytest.importorskip("litellm", reason="pip install '.[serve]'")
pytest.importorskip("prometheus_client", reason="pip install '.[serve]'")
pytest.importorskip("fastapi", reason="pip install '.[serve]'")

from serving import EASY, Running
from sklearn.linear_model import Ridge

pytestmark = LITELLM_MARKS

NAMES = list(PRICES)
HARD = "prove theorem 5 6"
EMBEDDING = {"model": "openai/encoder", "api_key": "none"}


def embed(text: str) -> list[float]:
    return [1.0, 0.0, 0.1] if "add" in text else [0.0, 1.0, 0.1]


def fit(beside: bool) -> Any:
    """Fit on embeddings, or on prompts and embeddings: easy ones go to the small."""
    rng = np.random.default_rng(0)
    prompts = [f"{'prove' if i % 2 else 'add'} {i}" for i in range(120)]
    vectors = np.array([embed(p) for p in prompts]) + rng.normal(0, 0.01, (120, 3))
    y = np.where(np.arange(120)[:, None] % 2, [0.1, 0.4, 1.0], [1.0, 0.5, 1.0])
    y = pd.DataFrame(y, columns=NAMES)
    costs = np.tile(list(COST.values()), (120, 1))
    router = PointwiseRouter(Ridge(), random_state=0)
    if not beside:
        return router.fit(vectors, y, costs=costs)
    X = pd.DataFrame(vectors, columns=["a", "b", "c"]).assign(prompt=prompts)
    return TextRouter(router).fit(X, y, costs=costs)


@pytest.fixture(scope="module", params=[False, True])
def file(request, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("vectors") / "r.skroute"
    skroute.save(fit(request.param), file)
    return file


@pytest.fixture
def run(file, provider, tmp_path) -> Iterator[Any]:
    open_clients = []
    provider.embed = embed

    def start(named: bool = True, **options: Any) -> Running:
        base = f"http://127.0.0.1:{provider.server_port}/v1"
        sections = {"embedding": {**EMBEDDING, "api_base": base}} if named else {}
        running = Running(file, provider, tmp_path, sections=sections, **options)
        running.client.__enter__()
        open_clients.append(running.client)
        return running

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)
    open_clients.clear()


def test_a_model_embeds_chats(run, provider):
    service = run()
    assert service.ask(EASY).headers["x-skroute-model"] == "small"
    assert service.ask(HARD).headers["x-skroute-model"] == "large"
    assert provider.embedded == [[EASY], [HARD]]


def test_prompts_of_decisions_are_embedded_in_one_call(run, provider):
    service = run()
    body = {"prompts": [EASY, HARD, EASY]}
    answer = service.client.post("/route", json=body)
    assert [m for [m] in answer.json()["models"]] == ["small", "large", "small"]
    assert provider.embedded == [body["prompts"]]
    told = service.client.post("/explain", json=body).json()["queries"]
    assert [row["chosen"] for row in told] == ["small", "large", "small"]


def test_a_chat_may_carry_its_embedding(run, provider):
    service = run(named=False)
    for text in (EASY, HARD):
        model = "small" if text == EASY else "large"
        answer = service.ask(text, embedding=embed(text))
        assert answer.headers["x-skroute-model"] == model
    assert provider.embedded == []
    assert all("embedding" not in body for body in provider.bodies)
    answer = service.ask(EASY)
    assert answer.status_code == 400
    assert "under embedding in models.yaml" in answer.json()["error"]["message"]
    for wrong in ("text", [], [1.0, "x", 0.0], [1.0, 2.0], [1.0, True, 0.0]):
        assert service.ask(EASY, embedding=wrong).status_code == 400


def test_an_embedding_model_that_fails_is_told_of(run, provider):
    service = run()
    provider.down.add("encoder")
    answer = service.ask(EASY)
    assert answer.status_code == 503
    assert "the embedding model failed" in answer.json()["error"]["message"]
    assert service.called == []
    # A model that is asked for by name needs no decision.
    assert service.ask(EASY, model="large").status_code == 200


def test_a_secret_of_the_embedding_model_is_read_from_the_environment(monkeypatch):
    from skroute.serve.calls import _resolve_secrets

    monkeypatch.setenv("SECRET_OF_TEST", "s")
    how = {"model": "m", "api_key": "os.environ/SECRET_OF_TEST", "dimensions": 3}
    assert _resolve_secrets(how) == {"model": "m", "api_key": "s", "dimensions": 3}

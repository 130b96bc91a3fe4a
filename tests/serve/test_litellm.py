"""Inside of LiteLLM the model ``skroute`` is what the router chooses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from provider import COST, LITELLM_MARKS, PRICES, describe_models
from sklearn.pipeline import make_pipeline

import skroute
from skroute import CascadeDecider, DummyRouter, RankingRouter
from skroute.text import TextRouter

pytestmark = LITELLM_MARKS

EASY, HARD = "add numbers 3 4", "prove theorem 5 6"
pytest.importorskip("litellm", reason="pip install '.[litellm]'")


@pytest.fixture(scope="module")
def router_file(tmp_path_factory) -> Path:
    """A router of easy prompts, which the small model answers, and hard ones."""
    rng = np.random.default_rng(0)
    hard = np.arange(240)[:, None] % 2 == 1
    prompts = [
        f"{'prove theorem' if is_hard else 'add numbers'} {rng.integers(50)} {i}"
        for i, is_hard in enumerate(hard[:, 0])
    ]
    skill = np.where(hard, [0.1, 0.4, 0.95], [0.97, 0.85, 0.97])
    y = pd.DataFrame((rng.random((240, 3)) < skill).astype(float), columns=list(PRICES))
    costs = np.tile(list(COST.values()), (240, 1))
    router = TextRouter(RankingRouter(n_estimators=0, random_state=0))
    file = tmp_path_factory.mktemp("router") / "r.skroute"
    skroute.save(router.fit(prompts, y, costs=costs), file)
    return file


def deploy(provider: Any) -> list[dict[str, Any]]:
    return [
        {"model_name": name, "litellm_params": how}
        for name, how in describe_models(provider).items()
    ]


@pytest.fixture
def gateway(router_file, provider) -> Any:
    import litellm

    from skroute.integrations.litellm import RoutingStrategy

    strategy = RoutingStrategy(router_file, deploy(provider), price=20.0)
    gateway = litellm.Router(
        deploy(provider),
        num_retries=0,
        disable_cooldowns=True,
        default_fallbacks=strategy.fallbacks,
    )
    gateway.register_plugin(strategy)
    return gateway


def chat(prompt: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}]


def test_the_router_of_litellm_calls_what_is_chosen(gateway, provider):
    async def ask() -> list[str]:
        asked = [("skroute", EASY), ("skroute", HARD), ("medium", HARD)]
        asked.append(("skroute:price=0", [{"type": "text", "text": HARD}]))
        return [
            (await gateway.acompletion(model, chat(prompt))).model
            for model, prompt in asked
        ]

    assert asyncio.run(ask()) == ["small", "large", "medium", "large"]
    assert gateway.completion("skroute", chat(EASY)).model == "small"


def test_a_call_that_fails_goes_to_the_next_choice(gateway, provider):
    provider.down = {"large"}
    # The rule of the request counts for its fallbacks, too.
    assert gateway.completion("skroute:price=0", chat(HARD)).model == "medium"
    assert [model for _, model, _ in provider.asked] == ["large", "medium"]
    provider.asked.clear()
    stream = gateway.completion("skroute", chat(HARD), stream=True)
    text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert text.strip() == "medium says hello"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("skroute:bogus", "is not understood: write skroute"),
        ("skroute:budget=abc", "is not understood: write skroute"),
        ("skroute:budget=1e-30", "budget"),
        ("skroute:95", "skroute:95%"),
        ("gpt-4", "no deployment of 'gpt-4'"),
    ],
)
def test_what_cannot_be_decided_fails_in_spite_of_fallbacks(
    gateway, provider, model, message
):
    with pytest.raises(ValueError, match=message):
        gateway.completion(model, chat(EASY))
    with pytest.raises(ValueError, match=message):
        asyncio.run(gateway.acompletion(model, chat(EASY)))
    assert provider.asked == []


def test_a_model_that_is_asked_for_by_its_name_is_not_replaced(gateway, provider):
    import litellm

    provider.down = {"medium"}
    with pytest.raises(litellm.ServiceUnavailableError, match="overloaded"):
        gateway.completion("medium", chat(EASY))
    assert {model for _, model, _ in provider.asked} == {"medium"}


def test_several_deployments_of_a_model_take_turns(router_file, provider):
    from skroute.integrations.litellm import RoutingStrategy

    twice = deploy(provider) + deploy(provider)
    strategy = RoutingStrategy(router_file, twice)
    found = [strategy.get_available_deployment("small", chat(EASY)) for _ in range(4)]
    assert found[0] is found[2]
    assert found[1] is found[3]
    assert found[0] is not found[1]
    with pytest.raises(ValueError, match="no deployment of 'tiny'"):
        strategy.get_available_deployment("tiny", chat(EASY))


def test_what_cannot_route_chats_is_refused(router_file, provider, tmp_path):
    from skroute.integrations.litellm import ProxyHandler, RoutingStrategy

    with pytest.raises(ValueError, match=r"\['medium'\] are missing"):
        RoutingStrategy(
            router_file, [d for d in deploy(provider) if d["model_name"] != "medium"]
        )
    of_vectors = DummyRouter(costs=[1.0, 2.0]).fit(np.eye(2), np.eye(2))
    skroute.save(of_vectors, tmp_path / "r.skroute")
    with pytest.raises(ValueError, match="reads embeddings, and chats have none"):
        ProxyHandler(tmp_path / "r.skroute")
    cascade = make_pipeline(skroute.load(router_file), CascadeDecider(price=1.0))
    joblib.dump(cascade, tmp_path / "c.joblib")
    with pytest.raises(ValueError, match="holds a cascade"):
        ProxyHandler(tmp_path / "c.joblib")


def test_the_proxy_gets_a_model_and_its_fallbacks(router_file, provider):
    import litellm
    from litellm.integrations.custom_logger import CustomLogger

    from skroute.integrations.litellm import ProxyHandler

    handler = ProxyHandler(router_file, price=20.0)
    # By this the proxy knows a callback.
    assert isinstance(handler, CustomLogger)

    def hook(data: dict[str, Any], kind: str = "acompletion") -> Any:
        return asyncio.run(handler.async_pre_call_hook(None, None, data, kind))

    data = hook({"model": "skroute", "messages": chat(HARD)})
    assert data["model"] == "large"
    assert len(data["fallbacks"]) == 2
    assert data["metadata"]["skroute"]["expected_cost"] == pytest.approx(COST["large"])
    provider.down = {"large"}
    del data["metadata"]
    gateway = litellm.Router(deploy(provider), num_retries=0, disable_cooldowns=True)
    assert gateway.completion(**data).model == data["fallbacks"][0]
    for other in ({"model": "medium", "messages": chat(EASY)}, {"model": None}):
        assert hook(dict(other)) == other
    asked = {"model": "skroute", "input": "text"}
    assert hook(dict(asked), "aembedding") == asked

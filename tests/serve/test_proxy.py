"""LiteLLM's own proxy, in a process of its own, with skroute's callback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pandas as pd
import pytest
from provider import COST, PRICES, describe_models, provide
from sklearn.linear_model import Ridge

import skroute
from skroute import PointwiseRouter
from skroute.text import TextRouter

pytest.importorskip("litellm", reason="pip install '.[litellm]'")
httpx = pytest.importorskip("httpx")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EASY, HARD = "add numbers 3 4", "prove theorem 5 6"
KEY = "sk-of-a-test-f3b0c44298fc1c149afbf4c8996fb924"
PATIENCE = 180.0


def save_router(file: Path) -> None:
    """Save a router of easy prompts, which the small model answers, and hard ones."""
    prompts = [f"{'prove theorem' if i % 2 else 'add numbers'} {i}" for i in range(120)]
    y = np.where(np.arange(120)[:, None] % 2, [0.1, 0.4, 1.0], [1.0, 0.8, 1.0])
    frame = pd.DataFrame(y, columns=list(PRICES))
    costs = np.tile(list(COST.values()), (120, 1))
    router = TextRouter(PointwiseRouter(Ridge(), random_state=0))
    skroute.save(router.fit(prompts, frame, costs=costs), file)


def start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = shutil.which("litellm", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("there is no command litellm beside this Python")
    address = ["--host", "127.0.0.1", "--port", str(port)]
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(
            [command, "--config", "litellm_proxy.yaml", *address],
            cwd=folder,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "LITELLM_MASTER_KEY": KEY,
                "PYTHONPATH": os.pathsep.join(paths),
                "SKROUTE_ROUTER": "router.skroute",
            },
        )


def wait_for(process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
    """Wait until the proxy answers; skip where it lacks a part of its extra."""
    end = monotonic() + PATIENCE
    while True:
        if process.poll() is not None:
            said = (folder / "said.txt").read_text()
            last = said.strip().splitlines()[-1] if said.strip() else ""
            if "Missing dependency" in last or "ModuleNotFoundError" in last:
                pytest.skip(f"LiteLLM's proxy cannot start: {last}")
            raise AssertionError(said)
        try:
            if httpx.get(f"{address}/health/liveliness", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        assert monotonic() < end, "the proxy does not start"
        sleep(0.2)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("proxy")
    save_router(folder / "router.skroute")
    shutil.copy(ROOT / "examples/serve/routing.py", folder)
    with socket.socket() as free, provide() as provider:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        models = [
            {"model_name": name, "litellm_params": how}
            for name, how in describe_models(provider).items()
        ]
        settings = {"callbacks": "routing.handler", "num_retries": 0}
        config = {"model_list": models, "litellm_settings": settings}
        (folder / "litellm_proxy.yaml").write_text(json.dumps(config))  # JSON is YAML
        free.close()
        process = start(folder, port)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(process, address, folder)
            yield Proxy(address, provider)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


class Proxy:
    def __init__(self, address: str, provider: Any) -> None:
        self.address, self.provider = address, provider

    def ask(self, content: Any, model: str = "skroute:price=20", **more: Any) -> Any:
        messages = [{"role": "user", "content": content}]
        return httpx.post(
            f"{self.address}/v1/chat/completions",
            json={"model": model, "messages": messages, **more},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
        )

    @property
    def called(self) -> list[str]:
        return [model for _, model, _ in self.provider.asked]


@pytest.fixture
def service(proxy) -> Iterator[Proxy]:
    proxy.provider.asked.clear()
    yield proxy
    proxy.provider.down.clear()


def test_the_router_chooses_the_model(service):
    for content in (EASY, [{"type": "text", "text": HARD}]):
        answer = service.ask(content)
        assert answer.status_code == 200, answer.text
    assert service.called == ["small", "large"]


def test_other_models_are_called_by_their_names(service):
    assert service.ask(EASY, model="medium").status_code == 200
    assert service.called == ["medium"]


def test_a_model_that_fails_is_replaced(service):
    service.provider.down.add("small")
    answer = service.ask(EASY)
    assert answer.status_code == 200, answer.text
    assert service.called[0] == "small"
    assert service.called[-1] in ("medium", "large")


def test_streams_come_from_the_chosen_model(service):
    answer = service.ask(EASY, stream=True)
    assert answer.status_code == 200
    assert answer.text.rstrip().endswith("data: [DONE]")
    assert service.called == ["small"]


@pytest.mark.parametrize("model", ["skroute:nonsense", "skroute:price=x", "nobody"])
def test_what_cannot_be_routed_is_refused_as_the_clients_fault(service, model):
    answer = service.ask(EASY, model=model)
    assert 400 <= answer.status_code < 500, answer.text
    assert "error" in answer.json()
    assert service.called == []
    if ":" in model:
        assert "is not understood: write skroute" in answer.text

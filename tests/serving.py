"""A service of chats, with its provider and its log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from provider import Server, describe_models

from skroute.serve import Settings, create_app

EASY = "add numbers 3 4"
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "sum",
        "schema": {"type": "object", "required": ["sum"]},
    },
}


class Running:
    """A service, its provider and its log."""

    def __init__(self, file: Path, provider: Server, folder: Path, **options: Any):
        sections = options.pop("sections", {})
        if "model_list" not in sections:
            sections = {"models": describe_models(provider), **sections}
        models = folder / "models.yaml"
        models.write_text(json.dumps(sections))  # JSON is YAML
        self.log = folder / "log.jsonl"
        rule = options.pop("rule", {"price": 20.0})
        options = {"log": self.log, **options}
        self.provider = provider
        self.app = create_app(Settings(file, rule, models, **options))
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def ask(self, content: Any = EASY, model: str = "skroute", **more: Any) -> Any:
        messages = [{"role": "user", "content": content}]
        body = {"model": model, "messages": messages, **more}
        return self.client.post("/v1/chat/completions", json=body)

    def meter(self, name: str) -> float:
        text = self.client.get("/metrics").text
        return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])

    @property
    def called(self) -> list[str]:
        return [model for _, model, _ in self.provider.asked]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

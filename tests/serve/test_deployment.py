"""The files of examples/serve fit the service, as far as can be told without Docker."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="pip install '.[serve]'")
pytest.importorskip("prometheus_client", reason="pip install '.[serve]'")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "serve"

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the examples are not beside the tests"
)


def read_yaml(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def read_instructions() -> dict[str, list[str]]:
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest.strip())
    return found


def test_the_image_is_made_of_what_there_is():
    instructions = read_instructions()
    for copied in instructions["COPY"]:
        *sources, target = shlex.split(copied)
        assert all((ROOT / source).exists() for source in sources), copied
        assert target.startswith("/src")
    extras = re.findall(r"/src\[(\w+)\]", " ".join(instructions["RUN"]))
    project = (ROOT / "pyproject.toml").read_text()
    assert extras
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras)
    assert instructions["USER"] == ["skroute"]


def test_the_image_starts_the_command_as_it_is():
    import typer

    from skroute.cli import app

    instructions = read_instructions()
    entry, given = (json.loads(instructions[k][0]) for k in ("ENTRYPOINT", "CMD"))
    assert entry == ["skroute", "serve"]
    command = typer.main.get_command(app).commands["serve"]
    context = command.make_context("serve", list(given))
    assert context.params["host"] == "0.0.0.0"
    assert str(context.params["router"]) == "/config/router.skroute"
    health = instructions["HEALTHCHECK"][0].partition("CMD ")[2]
    _, _, code = json.loads(health)
    ast.parse(code)
    assert f":{context.params['port']}/health" in code
    assert instructions["EXPOSE"] == [str(context.params["port"])]


def test_compose_mounts_what_there_is():
    compose = read_yaml("compose.yaml")
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = source in compose["volumes"]
            assert known or (FOLDER / source).exists(), (name, volume)
        assert set(service.get("depends_on", [])) < set(compose["services"])
        # Nothing listens to the network without being told.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    build = compose["services"]["skroute"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).resolve() == (
        FOLDER / "Dockerfile"
    )
    [job] = read_yaml("prometheus.yaml")["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["skroute:8000"]


def test_the_dashboard_asks_for_what_the_service_counts():
    from skroute.serve.meters import Meters

    meters = Meters()
    meters.count_decisions(["small"], 0.001)
    meters.count_call("small", "ok", 0.1, float("nan"), 0.5)
    meters.count_call("small", "ok", 0.1, 0.5, 0.5)
    meters.count_refused(400)
    meters.count_reload("loaded")
    counted = set(re.findall(r"^(skroute_\w+)", meters.write()[0].decode(), re.M))
    dashboard = json.loads((FOLDER / "grafana" / "dashboard.json").read_text())
    asked: set[str] = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            asked |= set(re.findall(r"skroute_\w+", target["expr"]))
            assert target["expr"].count("(") == target["expr"].count(")")
        assert panel["datasource"]["uid"] == "prometheus"
    assert asked <= counted
    # What is counted is shown.
    shown = {re.sub("_(total|bucket)$", "", name) for name in asked}
    named = {re.sub("_(total|bucket|count|sum|created)$", "", name) for name in counted}
    assert named == shown
    assert read_yaml("grafana/datasource.yaml")["datasources"][0]["uid"] == "prometheus"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_models_are_read():
    from skroute.serve.settings import read_models

    models = read_models(FOLDER / "config" / "models.yaml")
    assert models.names == ["small", "large", "local"]
    # A configuration of LiteLLM's proxy says as much.
    assert read_models(FOLDER / "litellm_proxy.yaml").names == ["small", "large"]


def test_the_proxy_finds_its_callback():
    callback = read_yaml("litellm_proxy.yaml")["litellm_settings"]["callbacks"]
    module, name = callback.split(".")
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    names = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert names == [name]

"""``skroute inspect`` says what a router's file holds, to people and to programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

import skroute
from skroute import BudgetDecider, CascadeDecider, PointwiseRouter, RankingRouter
from skroute.cli import app
from skroute.datasets import make_routing
from skroute.text import TextRouter

DATA = make_routing(120, n_features=6, n_models=3, random_state=0)
MODELS = ["small", "[red]middle", "large"]
Y = pd.DataFrame(DATA.quality, columns=MODELS)
PROMPTS = [f"{'add' if i % 2 else 'prove'} {i % 7}x {i % 5}y" for i in range(120)]


def look(file: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["inspect", str(file), *arguments])


def described(file: Path) -> dict[str, Any]:
    result = look(file, "--json", "-")
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(
        result.stdout, parse_constant=lambda text: pytest.fail(text)
    )
    return found


def test_a_router_of_prompts(tmp_path):
    router = TextRouter(RankingRouter(n_estimators=0, random_state=0))
    file = tmp_path / "r.skroute"
    skroute.save(router.fit(PROMPTS, Y, costs=DATA.costs), file)
    found = described(file)
    assert found["steps"] == ["TextRouter", "RankingRouter"]
    assert found["reads"] == "prompts"
    assert found["bytes"] == file.stat().st_size
    assert not found["runs_code"]
    assert isinstance(found["format"], int)
    assert found["skroute"] == skroute.__version__
    assert [m["name"] for m in found["models"]] == MODELS
    costs = [m["mean_cost"] for m in found["models"]]
    np.testing.assert_allclose(costs, router.costs_)
    assert found["training"]["queries_kept"] == 120
    assert found["training"]["best_single"] == router.best_single_
    assert found["rule"] is None
    text = look(file).stdout
    for part in (*MODELS, "TextRouter > RankingRouter", "no code in it", "120 queries"):
        assert part in text


def test_a_pipeline_shows_its_rule(tmp_path):
    budget = float(DATA.costs.mean())
    pipeline = make_pipeline(
        PointwiseRouter(Ridge(), random_state=0), BudgetDecider(budget)
    )
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline.fit(DATA.data, Y, costs=DATA.costs)
    file = tmp_path / "p.skroute"
    skroute.save(pipeline, file)
    found = described(file)
    assert found["reads"] == "embeddings"
    assert found["rule"]["budget"] == budget
    assert found["rule"]["shadow_price"] == pipeline[-1].price_
    assert f"budget={budget}" in look(file).stdout
    joblib.dump(pipeline, tmp_path / "p.joblib")
    assert described(tmp_path / "p.joblib")["runs_code"]
    assert "can run code" in look(tmp_path / "p.joblib").stdout


def test_a_cascade_is_described(tmp_path):
    pipeline = make_pipeline(
        PointwiseRouter(Ridge(), random_state=0),
        CascadeDecider(float(DATA.costs.mean()), sensitivity=0.9, specificity=0.9),
    )
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline.fit(DATA.data, Y, costs=DATA.costs)
    skroute.save(pipeline, tmp_path / "c.skroute")
    found = described(tmp_path / "c.skroute")
    assert found["steps"] == ["PointwiseRouter", "CascadeDecider"]
    assert found["rule"]["sensitivity"] == 0.9
    assert look(tmp_path / "c.skroute").exit_code == 0


@pytest.mark.parametrize("fitted", [False, True])
def test_what_remembers_nothing_is_described(tmp_path, fitted):
    decider: Any = BudgetDecider(0.5)
    if fitted:
        decider.fit(np.hstack([DATA.quality, DATA.costs]))
    skroute.save(decider, tmp_path / "d.skroute")
    found = described(tmp_path / "d.skroute")
    assert "models" not in found
    assert found["rule"]["budget"] == 0.5
    assert look(tmp_path / "d.skroute").exit_code == 0


def test_every_kept_file_is_described():
    folder = Path(__file__).parents[1] / "data" / "routers"
    files = sorted(folder.rglob("*.skroute"))
    assert files
    for file in files:
        assert described(file)["format"] == int(file.parent.name.split("_")[1])


def test_what_is_no_router_is_refused_in_a_line(tmp_path):
    (tmp_path / "no.skroute").write_text("hello")
    for file in (tmp_path / "no.skroute", tmp_path / "none.skroute"):
        result = look(file)
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1


def test_json_goes_to_a_file_beside_the_text(tmp_path):
    skroute.save(BudgetDecider(0.5), tmp_path / "d.skroute")
    result = look(tmp_path / "d.skroute", "--json", str(tmp_path / "d.json"))
    assert "BudgetDecider" in result.stdout
    assert json.loads((tmp_path / "d.json").read_text())["rule"]["budget"] == 0.5


def test_the_unit_of_costs_is_named(tmp_path):
    router = RankingRouter(n_estimators=0, random_state=0)
    skroute.save(router.fit(DATA.data, Y, costs=DATA.costs), tmp_path / "r.skroute")
    text = look(tmp_path / "r.skroute", "--unit", "EUR").stdout
    assert "Mean cost per call, EUR" in text

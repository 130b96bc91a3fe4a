"""What `evaluate` and `report` say of checks and answers that a table holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from skroute import PointwiseRouter
from skroute.cli import app, console
from skroute.datasets import make_routing, read_table
from skroute.evaluation.cascades import (
    CascadeComparison,
    compare_cascade,
    fit_cascade,
)
from skroute.evaluation.splits import OutcomeTable, Split

MODELS = ["small", "middle", "large"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Keep small fits from waiting for threads where tests run side by side."""
    with threadpool_limits(limits=1):
        yield


def succeed(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.stderr
    return done


def write_table(folder: Path, n_queries: int = 200, *beside: str) -> Path:
    """Write a table whose check is right for most answers; right answers are equal."""
    data = make_routing(n_queries, n_models=3, random_state=0)
    rng = np.random.default_rng(0)
    right = rng.random(data.quality.shape) < 0.9
    said = {
        "check": np.where(right, data.quality, 1 - data.quality),
        "answer": np.where(data.quality == 1, 0, rng.integers(1, 9, right.shape)),
    }
    table = pd.DataFrame({"prompt": [f"query {i}" for i in range(n_queries)]})
    for i, model in enumerate(MODELS):
        table[model] = data.quality[:, i]
        table[f"{model}|total_cost"] = data.costs[:, i]
        for kind in beside:
            table[f"{model}|{kind}"] = said[kind][:, i]
    file = folder / "table.csv"
    table.to_csv(file, index=False)
    np.save(folder / "e.npy", data.data)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("beside", [("check",), ("answer",), ("check", "answer")])
def test_checks_and_answers_of_a_table_are_replayed(tmp_path, beside):
    file, out = write_table(tmp_path, 200, *beside), tmp_path / "o.json"
    stdout = succeed(
        *("evaluate", file, "--embeddings", tmp_path / "e.npy"),
        *("--seeds", 1, "--json", out),
    ).stdout
    assert max(map(len, stdout.splitlines())) <= 80
    block = stdout.split("What checking answers adds to RankingRouter (1 split)")[1]
    rows = {name: block.split(f"\n{name} ")[1].splitlines()[0] for name in ROWS}
    told = json.loads(out.read_text())["with_checks"]
    for name, row in rows.items():
        assert f"{told[name]['quality']['mean']:.3f}" in row
        assert f"{told[name]['calls']['mean']:.2f}" in row
    assert told["most_calls"] <= told["max_calls"] == 3
    assert told["best single"]["relative_cost"]["mean"] == 1
    assert told["with checks"]["calls"]["mean"] >= 1
    assert told["pays"] is None
    assert "Whether checking pays, one split does not tell" in " ".join(block.split())
    # The router alone is the one that is compared with others.
    compared = json.loads(out.read_text())["routers"]["RankingRouter"]
    area = compared["normalized_auc"]["splits"]
    assert told["routing alone"]["normalized_auc"]["splits"] == pytest.approx(area)


ROWS = ("best single", "routing alone", "with checks")


@pytest.mark.slow
def test_tables_without_either_are_compared_as_before(tmp_path):
    file, out = write_table(tmp_path, 120), tmp_path / "o.json"
    stdout = succeed("evaluate", file, "--seeds", 1, "--json", out).stdout
    assert "checking" not in stdout
    assert json.loads(out.read_text())["with_checks"] is None


@pytest.mark.slow
def test_too_few_queries_to_learn_from_are_noted(tmp_path):
    file = write_table(tmp_path, 60, "check")
    done = succeed("evaluate", file, "--embeddings", tmp_path / "e.npy", "--seeds", 1)
    assert "checks and answers are left out" in " ".join(done.stderr.split())
    assert "What checking" not in done.stdout


@pytest.mark.slow
def test_a_good_check_is_worth_its_calls(tmp_path):
    data = read_table(write_table(tmp_path, 300, "check"))
    X = np.load(tmp_path / "e.npy")
    tables = data.quality, data.costs, data.checks
    found = compare_cascade(X, *tables, None, seeds=range(2))
    assert (found.gain > 0).all()
    checked, routed = found.scores["with checks"], found.scores["routing alone"]
    assert (checked["normalized_auc"] - routed["normalized_auc"] == found.gain).all()
    assert (checked["cost"] < found.scores["best single"]["cost"]).all()


@pytest.mark.slow
def test_queries_that_are_tested_are_not_learned_from(tmp_path):
    data = read_table(write_table(tmp_path, 120, "check", "answer"))
    router = PointwiseRouter(Ridge(), random_state=0)
    X, prices = np.load(tmp_path / "e.npy"), []
    split = Split.draw(OutcomeTable.check(X, data.quality, data.costs), 0, 0.3)
    for spoil in (False, True):
        tables = [t.copy() for t in (data.quality, data.costs, data.checks)]
        for table in tables if spoil else ():
            table[split.test] = table[split.test][::-1, ::-1]
        y, costs, checks = tables
        drawn = Split.draw(OutcomeTable.check(X, y, costs), 0, 0.3)
        _, decider = fit_cascade(drawn, router, checks, data.answers, 0)
        prices.append(decider.price_)
    assert prices[0] == prices[1]


@pytest.mark.slow
@pytest.mark.parametrize("beside", [("check", "answer"), ()])
def test_a_report_has_a_part_about_checks(tmp_path, beside):
    file, out = write_table(tmp_path, 200, *beside), tmp_path / "r.html"
    data = "--embeddings", tmp_path / "e.npy"
    succeed("report", file, *data, "--no-peers", "--out", out)
    html = out.read_text()
    assert ("calls per query; 95% of the queries took" in html) == bool(beside)
    assert ('aria-label="Mean quality against mean cost, with checks."' in html) == (
        bool(beside)
    )
    assert "model_" not in html


def compare(gain: list[float]) -> CascadeComparison:
    area = np.array(gain) + 0.5, np.full(len(gain), 0.5)
    names = "with checks", "routing alone"
    scores = {n: {"normalized_auc": a} for n, a in zip(names, area, strict=True)}
    return CascadeComparison(scores, most_calls=2, max_calls=3)


@pytest.mark.parametrize(
    ("gain", "pays", "text"),
    [
        ([0.03, 0.02, 0.04], True, "Checking pays: mean quality over all budgets"),
        ([-0.03, -0.02, -0.04], False, "Checking does not pay here: mean quality"),
        ([0.03, -0.02], None, "Whether checking pays, these splits do not tell"),
        ([0.03, 0.02], None, "0.025 ±.005 higher with checks than without"),
        ([0.03], None, "Whether checking pays, one split does not tell"),
        ([-0.03], None, "0.030 lower with checks than without"),
        ([0.0, 0.0], False, "Checking does not pay here"),
    ],
)
def test_what_is_said_of_a_gain(gain, pays, text):
    assert compare(gain).pays is pays
    assert text in console.write_verdict(compare(gain))

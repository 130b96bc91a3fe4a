"""Commands on a log: one call per query, with the chance that it had or without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from skroute.cli import app
from skroute.datasets import make_routing

MODELS = np.array(["small", "middle", "large <7B>"], dtype=object)


@pytest.fixture(autouse=True)
def one_thread():
    """Keep small fits from waiting for threads where tests run side by side."""
    with threadpool_limits(limits=1):
        yield


def write_log(folder: Path, *, chances: bool = True, wide: bool = False) -> list[str]:
    """Write a log of a policy that explores; returns the arguments that read it."""
    data, rng = make_routing(400, n_models=3, random_state=0), np.random.default_rng(0)
    usual, rows = (data.data[:, 0] > 0).astype(int) * 2, np.arange(400)
    share = np.full((400, 3), 0.1)
    share[rows, usual] += 0.7
    called = (share.cumsum(axis=1) > rng.random((400, 1))).argmax(axis=1)
    np.save(folder / "e.npy", data.data)
    made = rows, called
    log = {
        "query_id": rows,
        "model": MODELS[called],
        "quality": data.quality[made],
        "cost": data.costs[made],
        "propensity": share[made],
    }
    table = pd.DataFrame(log)
    if wide:
        table = pd.DataFrame(index=rows)
        for i, name in enumerate(MODELS):
            table[name] = np.where(called == i, data.quality[:, i], np.nan)
            table[f"{name}|total_cost"] = np.where(
                called == i, data.costs[:, i], np.nan
            )
    elif not chances:
        table = table.drop(columns="propensity")
    table.to_csv(folder / "log.csv", index=False)
    return [str(folder / "log.csv"), "--embeddings", str(folder / "e.npy")]


def run(*arguments: object):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_evaluate_judges_a_log(tmp_path):
    arguments = [*write_log(tmp_path), "--unit", "EUR"]
    result = run("evaluate", *arguments, "--json", tmp_path / "o.json")
    said = " ".join(result.stdout.split())
    assert (
        "a log of 400 queries with one call each, of 3 models, and their chan" in said
    )
    assert "What would have been on the log (95% intervals; cost in EUR)" in said
    assert "the log itself" in said
    assert "RankingRouter 95%" in said
    found = json.loads((tmp_path / "o.json").read_text())["log"]
    assert found["models"] == sorted(MODELS)
    assert not found["propensity_estimated"]
    value = found["routers"]["RankingRouter"]["95%"]
    assert value["quality_interval"][0] < value["quality"]
    assert found["best_single"]["model"] in MODELS


@pytest.mark.parametrize("wide", [False, True])
def test_evaluate_says_that_chances_are_estimated(tmp_path, wide):
    result = run("evaluate", *write_log(tmp_path, chances=False, wide=wide))
    assert "no chances of the calls" in " ".join(result.stdout.split())
    assert "note: The log has no chances of its calls: they are est" in result.stderr


def test_the_column_of_chances_is_an_option(tmp_path):
    arguments = write_log(tmp_path)
    table = pd.read_csv(tmp_path / "log.csv").rename(columns={"propensity": "p"})
    table.to_csv(tmp_path / "log.csv", index=False)
    result = run("evaluate", *arguments, "--propensity", "p", "--json", "-")
    assert not json.loads(result.stdout)["log"]["propensity_estimated"]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("evaluate", ["--seeds", 3, "--check-cost", 0.1]),
        ("evaluate", ["--test-size", 0.5]),
        ("report", ["--check-cost", 0.0]),
    ],
)
def test_options_that_a_log_has_no_use_for_are_refused(tmp_path, command, options):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    given = [command, *write_log(tmp_path), *map(str, options)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2
    assert " and ".join(options[::2]) in result.stderr
    assert "cannot be used with a log" in result.stderr


def test_a_log_that_was_never_explored_is_refused(tmp_path):
    arguments = write_log(tmp_path)
    table = pd.read_csv(tmp_path / "log.csv").assign(propensity=1.0)
    table.to_csv(tmp_path / "log.csv", index=False)
    for command in ("evaluate", "report"):
        result = CliRunner().invoke(app, [command, *arguments])
        assert result.exit_code == 2
        assert "propensity is 1 for every call" in result.stderr


def test_a_report_on_a_log(tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    out = tmp_path / "r.html"
    told = tmp_path / "r.json"
    given = ["--out", out, "--title", "A & B", "--json", told]
    run("report", *write_log(tmp_path, chances=False), *given)
    assert json.loads(told.read_text())["log"]["propensity_estimated"]
    html = out.read_text(encoding="utf-8")
    assert "<h1>A &amp; B</h1>" in html
    assert "large &lt;7B&gt;" in html
    assert "<7B>" not in html
    assert "What weakens this" in html
    assert html.count("<tr>") == 1 + 2 + 4
    assert "<script" not in html

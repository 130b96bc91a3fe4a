"""The options of the command that say how a table is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import skroute
from skroute import RankingRouter
from skroute.cli import app
from skroute.cli import options as read_options
from skroute.datasets import make_routing

QUICK = ("--param", "n_estimators=5")


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def read(monkeypatch):
    """What the command fits from, where fitting is left out."""

    def read(table: Path, *options: Any) -> Any:
        tables = []
        taken = read_options.Table.read

        def look(self: read_options.Table) -> Any:
            tables.append(taken(self))
            raise ValueError("that is enough")

        with monkeypatch.context() as patch:
            patch.setattr(read_options.Table, "read", look)
            done = run("fit", table, "--out", table.parent / "r.skroute", *options)
        assert done.exit_code == 2
        if not tables:
            return done.output
        return tables[0], done.output

    return read


@pytest.fixture
def log(tmp_path) -> Path:
    """A log of calls whose columns nobody would guess."""
    lines = [
        {
            "ticket": i // 2,
            "input": f"question number {i // 2}",
            "llm": ["gpt-4o-0513", "mini"][i % 2],
            "scores": {"accuracy": i % 2, "style": 0.5},
            "usage": {"prompt_tokens": 100, "completion_tokens": 10},
            "vector": [float(i // 2), 1.0],
        }
        for i in range(6)
    ]
    file = tmp_path / "log.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


NAMED = (
    *("--query", "ticket", "--model", "llm", "--quality", "scores.accuracy"),
    *("--prompt", "input"),
)
PRICED = ("--token-price", "gpt-4o=1e-6,4e-6", "--token-price", "mini=1e-7,4e-7")


def test_columns_names_and_prices_are_options(log, read):
    table, _ = read(log, *NAMED, *PRICED, "--rename", "gpt-4o-0513=gpt-4o")
    assert table.models.tolist() == ["gpt-4o", "mini"]
    assert table.quality.tolist() == [[0, 1]] * 3
    np.testing.assert_allclose(table.costs, [[140e-6, 14e-6]] * 3)
    assert table.prompts[0] == "question number 0"
    table, _ = read(log, *NAMED, *PRICED, "--models", "mini", "--embeddings", "vector")
    assert table.models.tolist() == ["mini"]
    assert table.data.tolist() == [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]


def test_a_column_of_money_is_an_option(tmp_path, read):
    file = tmp_path / "t.csv"
    file.write_text("query,model,score,usd\nan a,x,1,0.5\nan a,y,0,0.25\n")
    table, _ = read(file, "--cost", "usd")
    assert table.costs.tolist() == [[0.5, 0.25]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "name the columns of these: --query, --model, --quality"),
        ((*NAMED, "--token-price", "mini"), "--token-price must be"),
        ((*NAMED, "--token-price", "mini=1"), "two prices per token"),
        ((*NAMED, "--rename", "mini"), "--rename must be NAME=VALUE"),
        ((*NAMED, "--models", "mega"), "models names 'mega'"),
        (NAMED, "--token-price MODEL=IN,OUT"),
        (
            (*NAMED, *PRICED, "--models", "mini", "--embeddings", "vectr"),
            "nor a column of log.jsonl",
        ),
    ],
)
def test_wrong_options_are_named(log, read, options, message):
    output = read(log, *options)
    assert message in " ".join(output.split())


def test_group_prompts_are_noted_and_averaged(tmp_path, read):
    file = tmp_path / "t.csv"
    rows = ["x,1,0.5", "y,0,0.5", "x,0,0.25"]
    file.write_text("\n".join(["prompt,m,m|total_cost", *rows]))
    table, output = read(file)
    assert len(table.quality) == 3
    assert "1 of 3 queries repeat a prompt" in output
    table, output = read(file, "--duplicates", "mean")
    assert table.quality.tolist() == [[0.5], [0.0]]
    assert "1 rows were averaged" in output


def test_costs_of_zero_are_noted_where_others_are_not(tmp_path, read):
    file = tmp_path / "t.csv"
    for cost, noted in (("0.5", True), ("0", False)):
        file.write_text(f"prompt,m,m|total_cost\nx,1,0\ny,0,{cost}\n")
        _, output = read(file)
        noticed = "1 calls of models whose other calls cost money cost 0" in output
        assert noticed is noted


def test_words_for_no_answer_are_noted(tmp_path, read):
    file = tmp_path / "t.csv"
    for answer, noted in (("n/a", True), ("", False), ("4", False)):
        head = "prompt,m,m|answer,m|total_cost"
        file.write_text(f"{head}\nx,1,{answer},0.5\ny,0,A,0.5\n")
        _, output = read(file)
        noticed = "1 answers are a word such as N/A" in " ".join(output.split())
        assert noticed is noted


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "evaluate", "report"])
def test_every_command_that_reads_a_table_has_its_options(tmp_path, command):
    data = make_routing(80, n_features=4, n_models=2, random_state=0)
    file = tmp_path / "t.jsonl"
    rows = zip(data.data.tolist(), data.quality.tolist(), strict=True)
    file.write_text(
        "\n".join(
            json.dumps({"input": f"query {i}", "v": x, "cheap": q[0], "best": q[1]})
            for i, (x, q) in enumerate(rows)
        )
    )
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"small": 1.0, "best": 2.0}))
    options: dict[str, tuple[Any, ...]] = {
        "fit": ("--out", tmp_path / "r.skroute", *QUICK),
        "evaluate": ("--seeds", 1),
        "report": ("--out", tmp_path / "r.html", "--no-peers"),
    }
    done = run(
        *(command, file, "--embeddings", "v", "--rename", "cheap=small"),
        *("--models", "small,best", "--prices", prices, "--prompt", "input"),
        *options[command],
    )
    assert done.exit_code == 0, done.output
    if command == "fit":
        router = skroute.load(tmp_path / "r.skroute")
        assert router.models_.tolist() == ["small", "best"]
        # The prompt, and the numbers beside it.
        assert router.n_features_in_ == 1 + 4


@pytest.mark.slow
def test_a_column_of_vectors_is_routed(tmp_path):
    data = make_routing(80, n_features=4, n_models=2, random_state=0)
    router = RankingRouter(n_estimators=5, random_state=0)
    skroute.save(router.fit(data.data, data.quality, costs=data.costs), tmp_path / "r")
    long = [
        {"query": f"query {i}", "v": x, "model": m, "quality": 1}
        for i, x in enumerate(data.data.tolist())
        for m in ("a", "b")
    ]
    wide = [{"prompt": call["query"], "v": call["v"]} for call in long[::2]]
    np.save(tmp_path / "e.npy", data.data)
    for name, records in {"long": long, "wide": wide}.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_text("\n".join(map(json.dumps, records)))
        routed, expected, wrong = (
            run("route", tmp_path / "r", file, "--price", 0.1, "--embeddings", e)
            for e in ("v", tmp_path / "e.npy", "w")
        )
        assert routed.exit_code == 0, routed.output
        assert routed.stdout == expected.stdout
        assert f"nor a column of {name}.jsonl" in " ".join(wrong.output.split())

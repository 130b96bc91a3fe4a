"""What commands say of a table or a router that a reader may not expect."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from skroute.cli import app
from skroute.cli.wording import name_options

QUICK = ("--param", "n_estimators=5")
RULES = [(), ("--min-quality", "0"), ("--budget", "1"), ("--price", "1")]


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def fail(*arguments: Any) -> str:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def half_blank(tmp_path_factory) -> Path:
    """A table of 60 queries, half of them without a prompt."""
    rows = range(60)
    table = pd.DataFrame(
        {
            "prompt": ["" if i % 2 else f"add {i} and {i * i}" for i in rows],
            "small": [float(i % 3 > 0) for i in rows],
            "large": [float(i % 7 > 0) for i in rows],
            "small|cost": 0.001,
            "large|cost": 0.2,
        }
    )
    file = tmp_path_factory.mktemp("notes") / "t.csv"
    table.to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def fitted(half_blank) -> tuple[Path, str, str]:
    """A router of that table, and what `skroute fit` said on stdout and on stderr."""
    out = half_blank.parent / "r.skroute"
    done = run("fit", half_blank, "--out", out, *QUICK)
    assert done.exit_code == 0, done.output
    return out, done.stdout, done.stderr


def test_empty_prompts_are_noted(fitted):
    _, _, remarks = fitted
    assert "30 of 60 prompts are empty" in remarks


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_other_commands_note_empty_prompts_before_they_work(
    command, half_blank, monkeypatch
):
    def stop(*_: Any, **__: Any) -> None:
        raise ValueError("that is enough")

    module = {"evaluate": "app", "report": "report"}[command]
    monkeypatch.setattr(sys.modules[f"skroute.cli.{module}"], "is_log", stop)
    assert "30 of 60 prompts are empty" in fail(command, half_blank)


def test_fit_says_that_a_rule_is_needed(fitted):
    _, said, _ = fitted
    assert "No rule is saved" in said
    assert "--min-quality 95%" in said


@pytest.mark.parametrize("rule", RULES)
def test_route_notes_that_no_rule_was_given(rule, fitted, tmp_path):
    asked = tmp_path / "q.txt"
    asked.write_text("add 3 and 4\n")
    done = run("route", fitted[0], asked, *rule)
    assert done.exit_code == 0, done.output
    assert ("no rule was given, so cost does not count" in done.stderr) == (not rule)


@pytest.mark.parametrize("command", ["evaluate", "report", "fit"])
def test_a_log_without_ratings_is_to_be_rated_first(command, tmp_path):
    rows = [
        {"query": f"q{i}", "prompt": f"add {i}", "model": m, "cost": 0.1}
        for i, m in enumerate("abab")
    ]
    file = tmp_path / "calls.jsonl"
    file.write_text("".join(f"{json.dumps({**r, 'quality': None})}\n" for r in rows))
    error = fail(command, file, "--out", tmp_path / "o") if command == "fit" else ""
    error = error or fail(command, file)
    assert "its column 'quality' is empty" in error
    assert "Rate the answers first" in error


def test_a_table_without_prompts_names_both_ways_out(half_blank, tmp_path):
    file = tmp_path / "t.csv"
    table = pd.read_csv(half_blank).rename(columns={"prompt": "question text"})
    table.to_csv(file, index=False)
    error = fail("fit", file, "--out", tmp_path / "r.skroute")
    assert "--prompt" in error
    assert "--embeddings" in error


def test_help_tells_what_duplicates_do_in_wide_tables():
    said = run("fit", "--help").output
    words = " ".join(said.replace("│", " ").split())
    assert "stay separate queries" in words


OPTIONS = {
    name: f"--{name.replace('_', '-')}"
    for name in ("models", "on_infeasible", "duplicates", "rename", "token_price")
}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("name them: models=[...].", "name them: --models A,B."),
        ("models=['a', 'b', ...].", "--models a,b,...."),
        ("set on_infeasible='cheapest'.", "set --on-infeasible cheapest."),
        ("by rename={' m ': 'm'}.", "by --rename ' m =m'."),
        ("or read_table(..., models=[...]), or", "or --models A,B, or"),
        ("token_prices= or", "--token-price or"),
        ("got 'models=1' here", "got 'models=1' here"),
        ("cost='usd' is none", "cost='usd' is none"),
    ],
)
def test_arguments_in_errors_become_options(said, shown):
    assert name_options(said, OPTIONS) == shown

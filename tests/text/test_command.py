"""The command fits and asks a router that reads prompts, and embeddings beside them."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from typer.testing import CliRunner

import skroute
from skroute import BudgetDecider, RankingRouter
from skroute.cli.app import app
from skroute.serve.saved import load
from skroute.text import TextRouter

QUICK = ("--param", "n_estimators=0", "--param", "n_landmarks=8")


def run(*arguments: Any, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)), input=stdin)


def succeed(*arguments: Any) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refuse(*arguments: Any) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.fixture(scope="module")
def folder(pool, tmp_path_factory) -> Path:
    """A table with prompts, embeddings of them, and routers of both and of prompts."""
    folder = tmp_path_factory.mktemp("text")
    table = pool.y.copy()
    table.insert(0, "prompt", pool.prompts)
    for i, model in enumerate(pool.y):
        table[f"{model}|total_cost"] = pool.costs[:, i]
    table.to_csv(folder / "table.csv", index=False)
    table.assign(prompt="").to_csv(folder / "empty.csv", index=False)
    np.save(folder / "e.npy", pool.embeddings)
    beside = ("--embeddings", folder / "e.npy")
    said = succeed(
        "fit", folder / "table.csv", *beside, "--out", folder / "both.skroute", *QUICK
    )
    assert "reads prompts and 6 numbers each" in said
    said = succeed(
        "fit", folder / "table.csv", "--out", folder / "text.skroute", *QUICK
    )
    assert "reads prompts. Saved" in said
    return folder


def test_both_are_used(pool, folder):
    router = skroute.load(folder / "both.skroute")
    assert isinstance(router, TextRouter)
    X = pd.DataFrame(pool.embeddings, columns=[f"embedding_{i}" for i in range(6)])
    X.insert(0, "prompt", pool.prompts)
    lines = succeed(
        *("route", folder / "both.skroute", folder / "table.csv"),
        *("--embeddings", folder / "e.npy", "--min-quality", "95%"),
        *("--format", "jsonl", "--explain"),
    )
    rows = [json.loads(line) for line in lines.splitlines()]
    expected = router.route(X, min_quality="95%")
    assert [row["model"] for row in rows] == expected.tolist()
    assert [row["prompt"] for row in rows] == pool.prompts
    assert "margin" in rows[0]


def test_prompts_alone(pool, folder, tmp_path):
    (tmp_path / "q.txt").write_text(
        "Greet my friend number 7\nProve lemma 9 on groups\n"
    )
    routed = succeed(
        *("route", folder / "text.skroute", tmp_path / "q.txt"),
        *("--min-quality", "95%"),
    )
    assert [line.split(",")[2] for line in routed.splitlines()[1:]] == [
        "small",
        "large",
    ]


def test_what_a_router_does_not_read_is_refused(folder):
    both, text = folder / "both.skroute", folder / "text.skroute"
    e, table = ("--embeddings", folder / "e.npy"), folder / "table.csv"
    assert "give also QUERIES" in refuse("route", both, *e)
    assert "fitted on embeddings" in refuse("route", both, table)
    assert "leave --embeddings out" in refuse("route", text, table, *e)
    assert "reads prompts: give QUERIES" in refuse("route", text)
    np.save(folder / "narrow.npy", np.zeros((240, 5)))
    narrow = refuse("route", both, table, "--embeddings", folder / "narrow.npy")
    assert "embeddings of 6 numbers; got --embeddings of 5" in narrow
    np.save(folder / "flat.npy", np.zeros(240))
    flat = refuse("route", both, table, "--embeddings", folder / "flat.npy")
    assert "the shape is (240,)" in flat


def test_a_table_of_empty_prompts_is_one_of_embeddings(folder, tmp_path):
    out = tmp_path / "r.skroute"
    beside = ("--embeddings", folder / "e.npy")
    succeed("fit", folder / "empty.csv", *beside, "--out", out, *QUICK)
    assert isinstance(skroute.load(out), RankingRouter)
    assert succeed("route", out, *beside)


def test_files_with_names_of_their_own_and_deciders(pool, frame, folder, tmp_path):
    ranking = RankingRouter(n_estimators=0, n_landmarks=8, random_state=0)
    router = TextRouter(ranking).fit(frame, pool.y, costs=pool.costs)
    skroute.save(router, tmp_path / "own.skroute")
    routed = succeed(
        *("route", tmp_path / "own.skroute", folder / "table.csv"),
        *("--embeddings", folder / "e.npy", "--min-quality", "95%"),
    )
    names = pd.read_csv(StringIO(routed))["model"].tolist()
    assert names == router.route(frame, min_quality="95%").tolist()
    decider = BudgetDecider(min_quality="95%").fit(router.transform(frame))
    skroute.save(
        Pipeline([("text", router), ("decide", decider)]), tmp_path / "p.skroute"
    )
    saved = load(tmp_path / "p.skroute")
    assert saved.before.n_features_in_ == 7
    assert succeed(
        *("route", tmp_path / "p.skroute", folder / "table.csv"),
        *("--embeddings", folder / "e.npy"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("beside", [False, True])
def test_evaluate_and_report_read_what_fit_reads(folder, tmp_path, beside):
    given = ("--embeddings", folder / "e.npy") if beside else ()
    words = "surface of prompts beside them" if beside else "No embeddings given"
    said = succeed("evaluate", folder / "table.csv", *given, "--seeds", 1)
    assert words in " ".join(said.split())
    out = tmp_path / "r.html"
    succeed("report", folder / "table.csv", *given, "--no-peers", "--out", out)
    assert out.stat().st_size > 1000

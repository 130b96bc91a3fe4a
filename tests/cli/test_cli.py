"""The command line: what it prints, writes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from io import StringIO
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import typer
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

import skroute
from skroute import BudgetDecider, RankingRouter
from skroute import __main__ as entry
from skroute.cli import app
from skroute.cli.console import output
from skroute.cli.options import note_duplicates
from skroute.datasets import load_digits_pool, make_routing

ROWS = ["RankingRouter", "kNN", "ridge", "best single", "cheapest", "random", "oracle"]
MODELS = ["small", "middle", "large [7B]"]


def run(*arguments: object, stdin: str | None = None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def succeed(*arguments: object, stdin: str | None = None) -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refuse(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def write_table(folder: Path, *, costs: bool = True, n_queries: int = 160) -> Path:
    data = make_routing(n_queries=n_queries, n_models=3, random_state=0)
    topics = ["add the numbers", "write a poem", "translate this text", "sort a list"]
    table = pd.DataFrame(data.quality, columns=MODELS)
    table.insert(0, "prompt", [f"{topics[i % 4]} no {i}" for i in range(n_queries)])
    if costs:
        for i, model in enumerate(MODELS):
            table[f"{model}|total_cost"] = data.costs[:, i]
    file = folder / "table.csv"
    table.to_csv(file, index=False)
    table.drop(columns="prompt").to_csv(folder / "vectors.csv", index=False)
    np.save(folder / "e.npy", data.data)
    return file


class Boom:
    """A pickle that leaves a trace where it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Keep small fits from waiting for threads where tests run side by side."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """A folder with a table and two routers: on embeddings and on prompts."""
    folder = tmp_path_factory.mktemp("fitted")
    table = write_table(folder)
    vectors = ("--embeddings", folder / "e.npy")
    succeed("fit", folder / "vectors.csv", *vectors, "--out", folder / "v.skroute")
    succeed("fit", table, "--out", folder / "t.skroute", "--param", "n_estimators=5")
    return folder


def test_version():
    assert succeed("--version") == f"skroute {skroute.__version__}\n"


def test_help_without_a_command():
    assert "evaluate" in run().output


def test_every_help_has_an_example_and_says_how_programs_read():
    commands = typer.main.get_command(app).commands
    assert len(commands) == 7
    for name in commands:
        help_ = " ".join(succeed(name, "--help").split())
        assert f"Example: skroute {name}" in help_
        # A service answers over HTTP.
        assert ("--json" in help_) == (name != "serve")


def test_route_help_warns_of_pickles():
    help_ = " ".join(succeed("route", "--help").replace("│", " ").split())
    assert "files that you trust" in help_


@pytest.mark.slow
def test_pickles_are_written_and_read_where_the_name_says_so(fitted, tmp_path):
    data, out = ("--embeddings", fitted / "e.npy"), tmp_path / "r.joblib"
    succeed("fit", fitted / "vectors.csv", *data, "--out", out)
    assert isinstance(joblib.load(out), RankingRouter)
    assert succeed("route", out, *data) == succeed("route", fitted / "v.skroute", *data)


@pytest.mark.slow
def test_a_pickle_by_another_name_is_not_run(fitted, tmp_path):
    for name in ("r.skroute", "r"):
        joblib.dump(Boom(tmp_path / "ran"), tmp_path / name)
        assert "trust where it comes from" in refuse("route", tmp_path / name, "-")
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_demo_in_a_process_of_its_own(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "skroute", "demo", "--seeds", "1"],
        cwd=tmp_path,
        capture_output=True,
        timeout=240,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = done.stdout.split("Routers compared")[1]
    assert all(f"\n{name} " in table for name in ROWS)
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert [file.name for file in tmp_path.iterdir()] == ["router.skroute"]
    router = skroute.load(tmp_path / "router.skroute")
    pool = load_digits_pool()
    assert set(router.route(pool.data[:20], min_quality="90%")) <= set(pool.models)


@pytest.mark.slow
def test_evaluate_with_embeddings(tmp_path):
    table, out = write_table(tmp_path), tmp_path / "o.json"
    stdout = succeed(
        *("evaluate", table, "--embeddings", tmp_path / "e.npy"),
        *("--seeds", 2, "--seed", 3, "--test-size", 0.4, "--json", out),
    )
    assert "160 queries, 3 models. 0 queries lack" in stdout
    assert "asked" in stdout
    assert all(f"\n{name} " in stdout for name in ROWS)
    assert "TF-IDF" not in stdout
    numbers = json.loads(out.read_text())
    assert numbers["seeds"] == [3, 4]
    assert numbers["test_size"] == 0.4
    assert numbers["models"] == MODELS
    worth = numbers["routability"]
    assert worth["n_judged"] == 160
    # The verdict comes before anything that needs to be read with care.
    said = " ".join(stdout.split())
    assert said.index(worth["sentence"]) < said.index("asked")


@pytest.mark.slow
def test_evaluate_on_prompts_with_prices(tmp_path):
    table, prices = write_table(tmp_path, costs=False), tmp_path / "prices.json"
    prices.write_text(json.dumps(dict(zip(MODELS, [0.1, 1.0, 5.0], strict=True))))
    stdout = succeed("evaluate", table, "--prices", prices, "--seeds", 1)
    assert "TF-IDF" in stdout
    assert "list prices" in stdout


@pytest.mark.slow
def test_evaluate_notes_repeated_embeddings(tmp_path):
    table = write_table(tmp_path)
    X = np.load(tmp_path / "e.npy")
    X[:60] = X[0]
    np.save(tmp_path / "e.npy", X)
    result = run("evaluate", table, "--embeddings", tmp_path / "e.npy", "--seeds", 1)
    assert result.exit_code == 0
    assert "60 of 160 queries share their embedding" in " ".join(result.stderr.split())


def test_blocks_of_small_tables_are_not_told_to_count_as_one(capsys):
    X = np.random.default_rng(0).normal(size=(200, 8))
    X[:40] = X[0]
    X[50] = X[60]
    note_duplicates(X)
    told = " ".join(capsys.readouterr().err.split())
    assert "1 of 200 queries have the embedding of an earlier one" in told
    assert "40 of 200 queries share their embedding with at least 39 others" in told


@pytest.mark.slow
def test_evaluate_a_real_table(shared_data, tmp_path):
    frame = pd.read_csv(shared_data / "routerbench3.csv.gz", nrows=400)
    X = np.load(shared_data / "routerbench3_minilm.npy")[:400]
    frame.to_csv(tmp_path / "part.csv", index=False)
    np.save(tmp_path / "part.npy", X)
    stdout = succeed(
        *("evaluate", tmp_path / "part.csv", "--embeddings", tmp_path / "part.npy"),
        *("--seeds", 1),
    )
    assert "400 queries, 11 models" in stdout
    assert all(f"\n{name} " in stdout for name in ROWS)


@pytest.mark.slow
def test_wide_terminals_show_more(tmp_path, monkeypatch):
    table = write_table(tmp_path)
    monkeypatch.setattr(output, "width", 120)
    stdout = succeed("evaluate", table, "--seeds", 1)
    assert "Cost" in stdout
    assert "Fit s" in stdout


@pytest.mark.slow
def test_fit_and_route_embeddings(fitted, tmp_path):
    out = tmp_path / "routed.csv"
    stdout = succeed(
        *("route", fitted / "v.skroute", "--embeddings", fitted / "e.npy"),
        *("--min-quality", "95%", "--out", out),
    )
    assert stdout == ""
    routed = pd.read_csv(out)
    assert routed.columns.tolist() == [
        *("query", "model", "expected_quality", "expected_cost")
    ]
    router = skroute.load(fitted / "v.skroute")
    expected = router.route(np.load(fitted / "e.npy"), min_quality="95%")
    assert routed["model"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.txt", "add the numbers no 3\nwrite a poem\r\n"),
        (
            "q.jsonl",
            '{"prompt": "add the numbers no 3"}\n{"prompt": "write a poem"}\n',
        ),
        ("q.csv", "id,prompt\n1,add the numbers no 3\n2,write a poem\n"),
        ("-", "add the numbers no 3\nwrite a poem\n"),
    ],
)
def test_route_prompts(fitted, tmp_path, name, text):
    source: object = name
    if name != "-":
        source = tmp_path / name
        (tmp_path / name).write_bytes(text.encode())
    stdout = succeed(
        *("route", fitted / "t.skroute", source, "--available", "small, large [7B]"),
        stdin=text if name == "-" else None,
    )
    (tmp_path / "r.csv").write_text(stdout)
    routed = pd.read_csv(tmp_path / "r.csv")
    assert routed["prompt"].tolist() == ["add the numbers no 3", "write a poem"]
    assert set(routed["model"]) <= {"small", "large [7B]"}


def test_route_within_a_batch_budget(fitted):
    router = skroute.load(fitted / "v.skroute")
    X = np.load(fitted / "e.npy")
    budget = 1.5 * router.predict_cost(X).min(axis=1).sum()
    stdout = succeed(
        *("route", fitted / "v.skroute", "--embeddings", fitted / "e.npy"),
        *("--budget", budget, "--scope", "batch"),
    )
    costs = [float(line.rsplit(",", 1)[1]) for line in stdout.splitlines()[1:]]
    assert sum(costs) <= budget * (1 + 1e-5)


def test_route_names_fallbacks_and_reasons(fitted, tmp_path):
    out = tmp_path / "routed.csv"
    router, X = skroute.load(fitted / "v.skroute"), np.load(fitted / "e.npy")
    cap = float(router.predict_cost(X).max(axis=1).min())
    succeed(
        *("route", fitted / "v.skroute", "--embeddings", fitted / "e.npy"),
        *("--budget", cap, "--scope", "query"),
        *("--top-k", 2, "--explain", "--out", out),
    )
    routed = pd.read_csv(out)
    assert routed.columns.tolist() == [
        *("query", "model", "fallback_1", "expected_quality", "expected_cost"),
        *("runner_up", "runner_up_quality", "runner_up_cost", "margin"),
        *("margin_error", "chance", "price", "saved"),
    ]
    ranked = router.route(X, budget=cap, scope="query", top_k=2)
    assert routed["model"].tolist() == ranked[:, 0].tolist()
    assert routed["fallback_1"].fillna("").tolist() == [
        name or "" for name in ranked[:, 1]
    ]
    assert routed["runner_up"].equals(routed["fallback_1"])
    many = refuse(
        *("route", fitted / "v.skroute", "--embeddings", fitted / "e.npy"),
        *("--top-k", 99),
    )
    assert "top_k must be at most" in many


def test_an_infeasible_budget_names_the_smallest(fitted):
    error = refuse(
        *("route", fitted / "v.skroute", "--embeddings", fitted / "e.npy"),
        *("--budget", 1e-9),
    )
    assert "smallest feasible budget" in error


def write_long(folder: Path, name: str) -> Path:
    """The same table with a row for each call, without the queries' names."""
    wide = pd.read_csv(write_table(folder))
    calls = [
        {
            "query": row["prompt"],
            "model": model,
            "quality": row[model],
            "cost": row[f"{model}|total_cost"],
        }
        for row in wide.to_dict("records")
        for model in MODELS
    ]
    file = folder / name
    frame = pd.DataFrame(calls)
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    else:
        frame.to_json(file, orient="records", lines=file.suffix == ".jsonl")
    return file


@pytest.mark.slow
@pytest.mark.parametrize("name", ["calls.jsonl", "calls.json", "calls.parquet"])
def test_tables_of_calls(fitted, tmp_path, name):
    file, out = write_long(tmp_path, name), tmp_path / "long.skroute"
    succeed("fit", file, "--out", out, "--param", "n_estimators=5")
    routed = pd.read_csv(StringIO(succeed("route", out, file, "--price", 0.1)))
    expected = succeed("route", fitted / "t.skroute", file, "--price", 0.1)
    pd.testing.assert_frame_equal(routed, pd.read_csv(StringIO(expected)))
    assert len(routed) == 160


@pytest.mark.slow
def test_a_table_of_calls_is_compared_like_a_wide_one(tmp_path):
    # With the columns in the same order, all numbers are the same.
    file, wide = write_long(tmp_path, "calls.parquet"), tmp_path / "wide.csv"
    table = pd.read_csv(tmp_path / "table.csv")
    order = [f"{m}{end}" for end in ("", "|total_cost") for m in sorted(MODELS)]
    table[["prompt", *order]].to_csv(wide, index=False)
    numbers = []
    for name in (file, wide):
        out = tmp_path / "o.json"
        e = ("--embeddings", tmp_path / "e.npy", "--seeds", 1, "--json", out)
        assert "160 queries, 3 models. 0 queries" in succeed("evaluate", name, *e)
        numbers.append(json.loads(out.read_text()))
    for router in (r for n in numbers for r in n["routers"].values()):
        del router["fit_seconds"]
    assert numbers[0] == numbers[1]


@pytest.mark.slow
def test_repeated_calls_are_averaged_on_demand(tmp_path):
    file, out = write_long(tmp_path, "calls.jsonl"), tmp_path / "r.skroute"
    with file.open("a") as lines:
        lines.write(file.read_text().splitlines()[0] + "\n")
    assert "--duplicates mean" in refuse("fit", file, "--out", out)
    assert not out.exists()
    quick = ("--param", "n_estimators=5")
    succeed("fit", file, "--out", out, "--duplicates", "mean", *quick)
    assert out.exists()


@pytest.mark.slow
def test_llmrouters_and_routellms_files(tmp_path):
    wide = pd.read_csv(write_table(tmp_path, costs=False))
    prices, out = tmp_path / "prices.json", tmp_path / "r.skroute"
    prices.write_text(json.dumps(dict(zip(MODELS, [0.1, 1.0, 5.0], strict=True))))
    records = [
        {"question": row.pop("prompt"), "scores": row}
        for row in wide.to_dict("records")
    ]
    (tmp_path / "train.json").write_text(json.dumps(records))
    answers = {f"{model}_response": "yes" for model in MODELS}
    wide.astype(dict.fromkeys(MODELS, bool)).assign(**answers).to_csv(
        tmp_path / "responses.csv", index=False
    )
    for name in ("train.json", "responses.csv"):
        table = tmp_path / name
        quick = ("--prices", prices, "--param", "n_estimators=5")
        succeed("fit", table, "--out", out, *quick)
        routed = pd.read_csv(StringIO(succeed("route", out, table, "--price", 0.01)))
        assert len(routed) == 160
        assert set(routed["model"]) <= set(MODELS)


def test_a_table_of_unknown_layout_lists_its_columns(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("prompt,model,answer\na,small,yes\n")
    error = refuse("evaluate", table)
    assert "none called quality" in error
    assert "prompt (text), model (text), answer (text)" in error


def test_prices_are_named_where_costs_are_missing(tmp_path):
    assert "--prices" in refuse("evaluate", write_table(tmp_path, costs=False))


def test_wrong_files(fitted, tmp_path):
    (tmp_path / "junk.joblib").write_bytes(b"junk")
    joblib.dump([1, 2], tmp_path / "list.joblib")
    (tmp_path / "q.jsonl").write_text('{"text": "no prompt"}\n')
    (tmp_path / "bad.jsonl").write_text("no json\n")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000 + "\n")
    (tmp_path / "empty.csv").write_text("prompt\n")
    text = fitted / "t.skroute"
    assert "absent.csv" in refuse("evaluate", tmp_path / "absent.csv")
    assert "cannot be loaded" in refuse("route", tmp_path / "junk.joblib", "-")
    assert "holds a list" in refuse("route", tmp_path / "list.joblib", "-")
    assert "is not a file" in refuse("route", tmp_path / "absent.skroute", "-")
    assert "called prompt" in refuse("route", text, tmp_path / "q.jsonl")
    assert "holds no prompt" in refuse("route", text, tmp_path / "empty.csv")
    (tmp_path / "null.jsonl").write_text('{"prompt": "a"}\n{"prompt": null}\n')
    assert "row 1 has None" in refuse("route", text, tmp_path / "null.jsonl")
    assert "not a JSON record" in refuse("route", text, tmp_path / "bad.jsonl")
    assert "not a JSON record" in refuse("route", text, tmp_path / "deep.jsonl")


@pytest.mark.slow
def test_wrong_arguments(fitted, tmp_path):
    text, vectors, e = fitted / "t.skroute", fitted / "v.skroute", fitted / "e.npy"
    (tmp_path / "q.txt").write_text("one\n")
    q = tmp_path / "q.txt"
    assert "leave --embeddings out" in refuse("route", text, q, "--embeddings", e)
    assert "give QUERIES" in refuse("route", text)
    assert "--embeddings" in refuse("route", vectors, q)
    assert "1 prompts" in refuse("route", vectors, q, "--embeddings", e)
    assert "--min-quality" in refuse("route", text, q, "--min-quality", "good")
    assert "unknown models" in refuse("route", text, q, "--available", "gpt-9")
    fit = ("fit", fitted / "table.csv", "--out")
    assert "NAME=VALUE" in refuse(*fit, tmp_path / "r.skroute", "--param", "seed")
    assert "depth" in refuse(*fit, tmp_path / "r.skroute", "--param", "depth=3")
    assert "does not exist" in refuse(*fit, tmp_path / "no" / "r.skroute")
    assert "is a folder" in refuse(*fit, tmp_path)
    assert not (tmp_path / "r.skroute").exists()


@pytest.mark.slow
def test_a_table_without_prompts_needs_embeddings(tmp_path):
    file = write_table(tmp_path)
    pd.read_csv(file).drop(columns="prompt").to_csv(file, index=False)
    assert "--embeddings" in refuse("evaluate", file)
    succeed("fit", file, "--embeddings", tmp_path / "e.npy", "--out", tmp_path / "r")


def test_debug_shows_the_traceback(tmp_path):
    result = run("--debug", "evaluate", tmp_path / "absent.csv")
    assert isinstance(result.exception, FileNotFoundError)


@pytest.mark.slow
def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    out = tmp_path / "r.skroute"
    out.write_text("old")

    def full_disk(file, content):
        file.write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    table = write_table(tmp_path)
    assert "no space" in refuse("fit", table, "--out", out, "--param", "n_estimators=0")
    assert out.read_text() == "old"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("missing", ["typer", "rich", "pandas"])
def test_missing_extras(missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as exit_:
        entry.main()
    assert exit_.value.code == 1
    error = capsys.readouterr().err
    assert missing in error
    assert "pip install 'scikit-route[cli]'" in error
    assert error.count("\n") == 1


def test_warnings_are_notes_of_one_line(monkeypatch, capsys):
    def warn(**_: object) -> None:
        warnings.warn("two\nlines", stacklevel=2)

    monkeypatch.setattr("skroute.cli.app", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        entry.main()
    assert capsys.readouterr().err == "note: two lines\n"


def test_entry_point(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["skroute", "--version"])
    with pytest.raises(SystemExit) as exit_:
        entry.main()
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"skroute {skroute.__version__}\n"


def test_route_takes_pipelines_on_embeddings(tmp_path):
    data = make_routing(80, n_models=3, random_state=0)
    pipeline = make_pipeline(
        PCA(4), RankingRouter(n_estimators=5, random_state=0), BudgetDecider()
    )
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline.fit(data.data, data.quality, costs=data.costs)
    joblib.dump(pipeline, tmp_path / "pipeline.joblib")
    np.save(tmp_path / "e.npy", data.data)
    stdout = succeed(
        *("route", tmp_path / "pipeline.joblib", "--embeddings", tmp_path / "e.npy")
    )
    named = pipeline[-1].models_[pipeline.predict(data.data)]
    assert [line.split(",")[1] for line in stdout.splitlines()[1:]] == named.tolist()


@pytest.mark.parametrize("content", ["archive", "text"])
def test_embeddings_of_another_format_are_refused(fitted, tmp_path, content):
    file = tmp_path / "e.npy"
    if content == "archive":
        with file.open("wb") as stream:
            np.savez(stream, a=np.ones(3))
    else:
        file.write_text("1,2,3")
    stderr = refuse("route", fitted / "v.skroute", "--embeddings", file)
    assert "numpy.save" in stderr


@pytest.mark.slow
def test_results_go_to_stdout_where_the_name_is_a_hyphen(tmp_path, monkeypatch):
    table, e = write_table(tmp_path), tmp_path / "e.npy"
    monkeypatch.chdir(tmp_path)
    done = run("evaluate", table, "--embeddings", e, "--seeds", 1, "--json", "-")
    assert json.loads(done.stdout)["models"] == MODELS
    assert "160 queries, 3 models" in done.stderr
    assert all(f"\n{name} " in done.stderr for name in ROWS)
    quick = ("--embeddings", e, "--param", "n_estimators=5", "--out")
    done = run("fit", table, *quick, "-")
    assert "Fitted on 160 queries" in done.stderr
    told = json.loads(succeed("fit", table, *quick, "r.skroute", "--json", "-"))
    assert told == {
        "router": "r.skroute",
        "queries": 160,
        "models": MODELS,
        "reads": told["reads"],
        "weighed_by_chances": False,
    }
    assert "--out and --json" in refuse("fit", table, *quick, "-", "--json", "-")
    assert "no checks" in refuse(
        "evaluate", table, "--embeddings", e, "--seeds", 1, "--check-cost", 1
    )
    assert done.stdout_bytes == (tmp_path / "r.skroute").read_bytes()
    done = run("report", table, "--embeddings", e, "--no-peers", "--out", "-")
    assert done.stdout.startswith("<!doctype html>")
    assert "judged on 48 others" in done.stderr
    given = ("--embeddings", e, "--no-peers", "--out", "r.html", "--json", "-")
    told = json.loads(succeed("report", table, *given))
    assert (told["report"], told["judged_on"]) == ("r.html", 48)
    assert told["routability"] != {}
    assert "give --out a file" in refuse("demo", "--out", "-")
    assert not (tmp_path / "-").exists()

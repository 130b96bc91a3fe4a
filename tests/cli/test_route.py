"""``skroute route``: decides as what was saved, and writes a row for each query."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import typer
from click.testing import Result
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from typer.testing import CliRunner

import skroute
from skroute import BudgetDecider, CascadeDecider, PointwiseRouter
from skroute.cli import app
from skroute.datasets import make_routing
from skroute.datasets.queries import Queries, read_known_costs

DATA = make_routing(160, n_features=6, n_models=3, random_state=0)
MODELS = ["=cmd|'/c calc'!A1", "middle", "large"]
Y = pd.DataFrame(DATA.quality, columns=MODELS)
BUDGET = 0.4 * float(DATA.costs.mean(axis=0).max())
LONG = "prove that " + "every even number is a sum of primes " * 9
PROMPTS = [f"{'add' if i % 2 else 'prove'} {i % 7}x {i % 5}y" for i in range(160)]


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["route", *map(str, arguments)], input=stdin)


def routed(*arguments: object, stdin: str | None = None) -> pd.DataFrame:
    result = run(*arguments, "--format", "jsonl", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return pd.DataFrame([json.loads(line) for line in result.stdout.splitlines()])


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def saved(folder: Path, decider: Any) -> tuple[Pipeline, list[object]]:
    """A pipeline that decides, and the arguments that route its training queries."""
    pipeline = make_pipeline(PointwiseRouter(Ridge(), random_state=0), decider)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline.fit(DATA.data, Y, costs=DATA.costs)
    joblib.dump(pipeline, folder / "p.joblib")
    np.save(folder / "e.npy", DATA.data)
    return pipeline, [folder / "p.joblib", "--embeddings", folder / "e.npy"]


@pytest.fixture(scope="module")
def of_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A router that reads prompts, as `skroute fit` saves it."""
    pipeline = make_pipeline(
        TfidfVectorizer(),
        TruncatedSVD(4, random_state=0),
        PointwiseRouter(Ridge(), costs=DATA.costs.mean(axis=0), random_state=0),
    )
    file = tmp_path_factory.mktemp("prompts") / "r.joblib"
    joblib.dump(pipeline.fit(PROMPTS, Y), file)
    return file


# One object, one behaviour.

RULES: list[dict[str, Any]] = [
    {"budget": BUDGET},
    {"min_quality": "90%"},
    {"price": 1.0, "tolerance": 0.05},
    {"budget": BUDGET, "scope": "query", "on_infeasible": "cheapest"},
    {"budget": BUDGET * 160, "scope": "batch"},
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_saved_decider_decides(rule: dict[str, Any], tmp_path: Path) -> None:
    pipeline, arguments = saved(tmp_path, BudgetDecider(**rule))
    plain = pipeline[0].predict(DATA.data)
    expected = pipeline.predict(DATA.data)
    assert (plain != expected).any()
    table = routed(*arguments)
    assert table["model"].tolist() == pipeline[-1].models_[expected].tolist()


@pytest.mark.slow
def test_a_saved_decider_decides_at_the_price_that_it_has_reached(
    tmp_path: Path,
) -> None:
    pipeline, arguments = saved(tmp_path, BudgetDecider(BUDGET))
    before = routed(*arguments)["model"]
    estimates = pipeline[:-1].transform(DATA.data)
    pipeline[-1].partial_fit(estimates, costs=np.full(160, 1.05 * BUDGET))
    joblib.dump(pipeline, tmp_path / "p.joblib")
    after = routed(*arguments, "--top-k", 2, "--explain", "--available", "middle,large")
    ranked = pipeline[-1].route(estimates, ["middle", "large"], top_k=2)
    assert after["model"].tolist() == ranked[:, 0].tolist()
    assert after["fallback_1"].tolist() == ranked[:, 1].tolist()
    assert after["runner_up"].tolist() == ranked[:, 1].tolist()
    assert after["price"].tolist() == pytest.approx([pipeline[-1].price_] * 160)
    assert (before != routed(*arguments)["model"]).any()


@pytest.mark.slow
def test_options_override_the_saved_rule(tmp_path: Path) -> None:
    rule = {"budget": BUDGET, "scope": "query", "on_infeasible": "cheapest"}
    pipeline, arguments = saved(tmp_path, BudgetDecider(**rule))
    router = pipeline[0]
    for options, means in [
        (["--min-quality", "95%"], {"min_quality": "95%"}),
        (["--price", 2.0], {"price": 2.0}),
        (["--budget", 2 * BUDGET], {"budget": 2 * BUDGET}),
        (["--tolerance", 0.1], {**rule, "tolerance": 0.1}),
        (["--scope", "mean"], {**rule, "scope": "mean"}),
        (
            ["--budget", 1e-9, "--scope", "batch", "--on-infeasible", "cheapest"],
            {"budget": 1e-9, "scope": "batch", "on_infeasible": "cheapest"},
        ),
    ]:
        expected = router.route(DATA.data, **means)
        assert routed(*arguments, *options)["model"].tolist() == expected.tolist()
    why = routed(*arguments, "--price", 2.0, "--explain")
    told = router.explain(DATA.data, price=2.0)
    assert why["margin"].tolist() == pytest.approx(told["margin"].tolist())
    assert "feasible" in refused(
        *arguments, "--budget", 1e-9, "--on-infeasible", "raise"
    )


@pytest.mark.slow
def test_a_confidence_is_a_promise_that_is_told(tmp_path: Path) -> None:
    decider = BudgetDecider(min_quality="70%", confidence=0.9)
    pipeline, arguments = saved(tmp_path, decider)
    promised = str(pipeline[-1].guarantee_)
    assert "with 90% confidence" in promised or "whatever" in promised
    assert f"promised: {promised}." in run(*arguments).stderr.replace("\n", " ")
    # A rule of the call takes the place of the saved one, and of its confidence.
    assert "promised" not in run(*arguments, "--min-quality", "70%").stderr
    router, asked = pipeline[0], {"min_quality": "60%", "confidence": 0.8}
    names = routed(*arguments, "--min-quality", "60%", "--confidence", 0.8)["model"]
    assert names.tolist() == router.route(DATA.data, **asked).tolist()
    nothing = ["--budget", 1e-9, "--confidence", 0.9]
    assert "cannot be promised" in refused(*arguments, *nothing)
    told = run(*arguments, *nothing, "--on-infeasible", "cheapest").stderr
    assert "promised: nothing" in told
    assert "confidence" in refused(*arguments, "--price", 1.0, "--confidence", 0.9)


# Row for row.


@pytest.mark.parametrize("kind", ["txt", "jsonl", "stdin"])
def test_a_row_for_each_line_uncut(kind: str, of_prompts: Path, tmp_path: Path) -> None:
    prompts = ["", "add 3x", LONG, "", "   ", 'say "hi", twice', ""]
    source, stdin = tmp_path / f"q.{kind}", None
    text = "".join(f"{prompt}\n" for prompt in prompts)
    if kind == "jsonl":
        text = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    if kind == "stdin":
        source, stdin = Path("-"), text
    else:
        source.write_text(text)
    table = routed(of_prompts, source, stdin=stdin)
    assert table["query"].tolist() == list(range(7))
    assert table["prompt"].tolist() == prompts
    result = run(of_prompts, source, stdin=stdin)
    assert "4 of 7 prompts are empty" in result.stderr
    again = pd.read_csv(StringIO(result.stdout), keep_default_na=False)
    assert again["prompt"].tolist() == prompts


def test_rows_are_called_as_the_file_calls_them(
    of_prompts: Path, tmp_path: Path
) -> None:
    file = tmp_path / "q.jsonl"
    rows = [{"query_id": q, "prompt": p} for q, p in (("q7", "add 3x"), ("q3", "add"))]
    calls = [{**row, "model": m, "quality": 1} for m in ("a", "b") for row in rows]
    for records in (rows, calls):
        file.write_text("\n".join(map(json.dumps, records)))
        result = run(of_prompts, file)
        table = pd.read_csv(StringIO(result.stdout))
        assert table["query"].tolist() == ["q7", "q3"]
        assert table["prompt"].tolist() == ["add 3x", "add"]
        collapsed = "4 rows are calls on 2 queries" in result.stderr
        assert collapsed is (records is calls)
    # Where the text itself tells queries apart, they have no names.
    texts = [{"query": "add 3x", "model": m, "quality": 1} for m in ("a", "b")]
    file.write_text("\n".join(map(json.dumps, texts)))
    assert routed(of_prompts, file)["query"].tolist() == [0]


def test_a_file_without_any_text_is_refused(of_prompts: Path, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("\n  \n")
    assert "holds no prompt" in refused(of_prompts, tmp_path / "q.txt")


@pytest.mark.slow
def test_files_are_those_of_stdout(of_prompts: Path, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("add 3x\nprüfe 4y\n", "utf-8")
    ask = of_prompts, tmp_path / "q.txt"
    for name, form in [("r.csv", "csv"), ("r.jsonl", "jsonl"), ("r.txt", "csv")]:
        assert run(*ask, "--out", tmp_path / name).stdout == ""
        written = (tmp_path / name).read_text("utf-8")
        assert written == run(*ask, "--format", form).stdout
        assert written == run(*ask, "--format", form, "--out", "-").stdout
        assert "prüfe 4y" in written
    assert not Path("-").exists()


def test_what_a_spreadsheet_would_run_is_text_in_csv_alone(
    of_prompts: Path, tmp_path: Path
) -> None:
    prompts = ["=1+1", "@SUM(A1)", "+3", "-3", "\t=2", "plain", "a = b"]
    lines = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    (tmp_path / "q.jsonl").write_text(lines)
    ask = of_prompts, tmp_path / "q.jsonl", "--available", MODELS[0]
    table = pd.read_csv(StringIO(run(*ask).stdout))
    assert table["prompt"].tolist() == [f"'{p}" for p in prompts[:5]] + prompts[5:]
    assert set(table["model"]) == {f"'{MODELS[0]}"}
    exact = routed(*ask)
    assert exact["prompt"].tolist() == prompts
    assert set(exact["model"]) == {MODELS[0]}


def test_no_value_is_null(tmp_path: Path) -> None:
    _, arguments = saved(tmp_path, BudgetDecider())
    ask = *arguments, "--available", "large", "--explain", "--format", "jsonl"
    for line in run(*ask).stdout.splitlines():
        row = json.loads(line, parse_constant=pytest.fail)
        assert row["runner_up"] is None
        assert row["margin"] is None


# What may have been meant.


def test_a_budget_that_limits_nothing_is_remarked(tmp_path: Path) -> None:
    pipeline, arguments = saved(tmp_path, BudgetDecider())
    cost = pipeline[0].predict_cost(DATA.data)
    for scope, most in [
        ("mean", cost.max()),
        ("query", cost.max()),
        ("batch", cost.max(axis=1).sum()),
    ]:
        ask = *arguments, "--scope", scope, "--budget"
        above, below = run(*ask, 1.01 * most), run(*ask, 0.99 * most)
        assert "limits nothing" in above.stderr
        assert below.stderr == ""
        assert above.exit_code == below.exit_code == 0


def test_a_percentage_without_its_sign_is_hinted_at(tmp_path: Path) -> None:
    _, arguments = saved(tmp_path, BudgetDecider())
    assert "--min-quality 95%" in refused(*arguments, "--min-quality", 95)
    assert "--min-quality" not in refused(*arguments, "--min-quality", 1000)


def test_rows_come_as_json_lines(tmp_path: Path) -> None:
    _, arguments = saved(tmp_path, BudgetDecider(price=0.1))
    done = run(*arguments, "--json", "-")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert pd.DataFrame(rows).equals(routed(*arguments))
    both = ["--json", tmp_path / "r.jsonl", "--out", tmp_path / "r.csv"]
    assert run(*arguments, *both).stdout == ""
    assert (tmp_path / "r.jsonl").read_text() == done.stdout
    assert (tmp_path / "r.csv").read_text() == run(*arguments).stdout
    assert "--format" in refused(*arguments, "--json", "-", "--format", "csv")


def test_a_cascade_is_not_routed_as_if_it_had_no_checks(tmp_path: Path) -> None:
    _, arguments = saved(tmp_path, CascadeDecider(price=0.1, random_state=0))
    assert "skroute serve" in refused(*arguments)


# It starts at once.


@pytest.mark.slow
def test_nothing_heavy_is_imported_to_answer_at_once() -> None:
    commands = [name for name in typer.main.get_command(app).commands]
    lines = [["--version"], ["--help"], *([name, "--help"] for name in commands)]
    code = (
        "import sys; from skroute.__main__ import main\n"
        "heavy = {'dask', 'fastapi', 'joblib', 'lightgbm', 'litellm', 'matplotlib',"
        " 'numpy', 'pandas', 'scipy', 'sklearn', 'uvicorn'}\n"
        f"for line in {lines}:\n"
        "    sys.argv = ['skroute', *line]\n"
        "    try: main()\n"
        "    except SystemExit as end: code = end.code\n"
        "    print(sorted(heavy & set(sys.modules)), code, file=sys.stderr)"
    )
    done = run_code(code)
    assert done.stderr.splitlines() == ["[] 0"] * len(lines)
    assert done.stdout.count("Usage: skroute") == len(lines) - 1


@pytest.mark.slow
def test_a_service_starts_without_what_only_fits_and_calls_need() -> None:
    pytest.importorskip("fastapi", reason="pip install '.[serve]'")
    code = (
        "import sys; import skroute.serve.run, skroute.persistence\n"
        "late = {'dask', 'lightgbm', 'litellm', 'matplotlib', 'sklearn.cluster'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    assert run_code(code).stdout.strip() == "[]"


def run_code(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=240,
        check=True,
    )


def test_the_package_names_what_it_imports_late() -> None:
    assert set(skroute.__all__) <= set(dir(skroute))
    for name in skroute.__all__:
        assert getattr(skroute, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Router'"):
        _ = skroute.Router  # type: ignore[attr-defined]


# Costs that are known before the calls.


def test_known_costs_come_from_a_table_or_an_object(tmp_path: Path) -> None:
    pipeline, given = saved(tmp_path, BudgetDecider(budget=BUDGET))
    paid = pd.DataFrame(DATA.costs * 3.0, columns=MODELS)[MODELS[::-1]]
    paid.insert(0, "query_id", range(len(paid)))
    paid.iloc[::2, 1] = np.nan
    paid.to_csv(tmp_path / "costs.csv", index=False)
    Z = pipeline[0].transform(DATA.data)
    known = paid[MODELS].to_numpy()
    for options, rule in (([], {}), (["--price", 200], {"price": 200.0})):
        table = routed(*given, *options, "--costs", tmp_path / "costs.csv", "--explain")
        if rule:
            expected = pipeline[0].route(DATA.data, costs=known, **rule)
        else:
            expected = pipeline[1].route(Z, costs=known)
        assert table["model"].tolist() == expected.tolist()
        rows, chosen = range(160), pd.Index(MODELS).get_indexer(expected)
        told = np.where(np.isnan(known), np.hsplit(Z, 2)[1], known)[rows, chosen]
        np.testing.assert_allclose(table["expected_cost"], told)
        assert (table["margin"].to_numpy() >= -1e-9).mean() > 0.9
    (tmp_path / "costs.json").write_text('{"middle": 1e9}')
    table = routed(*given, "--costs", tmp_path / "costs.json")
    assert "middle" not in set(table["model"])
    assert set(routed(*given)["model"]) > {"middle"}


def test_known_costs_are_those_of_the_queries(tmp_path: Path) -> None:
    """Of a table of outcomes the money counts; rows in another order are refused."""
    _, given = saved(tmp_path, BudgetDecider(budget=BUDGET))
    money = pd.DataFrame(DATA.costs * 3.0, columns=MODELS)
    money.to_csv(tmp_path / "money.csv", index=False)
    expected = routed(*given, "--costs", tmp_path / "money.csv")
    outcomes = pd.DataFrame(DATA.quality, columns=MODELS)
    for tables in ([money.add_suffix("|total_cost"), outcomes], [outcomes]):
        table = pd.concat(tables, axis=1)
        table.to_csv(tmp_path / "costs.csv", index=False)
        found = routed(*given, "--costs", tmp_path / "costs.csv")
        assert (found["model"] == expected["model"]).all() == (len(tables) == 2)
    prompts = [f"prompt {i}" for i in range(160)]
    asked = Queries(prompts, list(range(160)))
    money.insert(0, "prompt", prompts)
    money.to_csv(tmp_path / "money.csv", index=False)
    models = np.array(MODELS, dtype=object)
    told = read_known_costs(tmp_path / "money.csv", models, asked)
    np.testing.assert_allclose(told, DATA.costs * 3.0)
    money.iloc[::-1].to_csv(tmp_path / "money.csv", index=False)
    with pytest.raises(ValueError, match=r"row 0 is 'prompt 159' .* 'prompt 0'"):
        read_known_costs(tmp_path / "money.csv", models, asked)


def test_known_costs_of_other_models_are_refused(tmp_path: Path) -> None:
    _, given = saved(tmp_path, BudgetDecider(budget=BUDGET))
    costs = tmp_path / "costs.csv"
    pd.DataFrame({"huge": [1.0] * 160}).to_csv(costs, index=False)
    assert "a column 'huge', and the router no such model" in refused(
        *given, "--costs", costs
    )
    pd.DataFrame({"prompt": ["a"] * 160}).to_csv(costs, index=False)
    assert "no column that is called by a model" in refused(*given, "--costs", costs)
    pd.DataFrame({"large": [1.0] * 159}).to_csv(costs, index=False)
    assert "got (159, 3)" in refused(*given, "--costs", costs)
    pd.DataFrame({"large": ["dear"] * 160}).to_csv(costs, index=False)
    assert "must hold a model's numbers" in refused(*given, "--costs", costs)


def test_draws_tell_their_chances(tmp_path: Path) -> None:
    pipeline, given = saved(tmp_path, BudgetDecider(budget=BUDGET))
    Z = pipeline[0].transform(DATA.data)
    asked = {"explore": 0.4, "random_state": 3, "return_propensity": True}
    for options, decide in (
        ([], lambda: pipeline[1].route(Z, **asked)),
        (["--price", 200], lambda: pipeline[0].route(DATA.data, price=200, **asked)),
    ):
        table = routed(*given, *options, "--explore", 0.4, "--seed", 3)
        names, chances = decide()
        assert table["model"].tolist() == names.tolist()
        np.testing.assert_allclose(table["propensity"], chances)
        assert "propensity" not in routed(*given, *options)
    assert "--explore draws some calls" in refused(
        *given, "--explore", 0.1, "--explain"
    )
    assert run(*given, "--explore", 2).exit_code == 2

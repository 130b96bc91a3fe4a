"""Checks and answers beside the qualities of a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skroute.datasets import from_long, from_wide, read_routerbench, read_table

NAN = np.nan
WIDE: dict[str, list[Any]] = {
    "prompt": ["one two", "three four", "one two"],
    "small": [0, 1, 1],
    "small|total_cost": [0.1, 0.2, 0.3],
    "small|check": [0.25, None, 0.75],
    "small|answer": ["18", None, "18"],
    "large": [1, 1, 0],
    "large|total_cost": [1.0, 2.0, 3.0],
    "large|check": [-1.5, 1, None],
    "large|answer": ["18", "no number", " "],
}
CALLS = [
    {"query": 7, "model": "small", "quality": 0, "check": 0.5, "answer": "B"},
    {"query": 7, "model": "large", "quality": 1, "check": None, "answer": "A"},
    {"query": 3, "model": "small", "quality": 1, "check": 1, "answer": ""},
]
CONTAINERS = {
    "columns": dict,
    "pandas": pd.DataFrame,
    "polars": lambda columns: pl.DataFrame(columns, strict=False),
    "records": lambda columns: pd.DataFrame(columns).to_dict("records"),
}


def write_csv(columns: dict[str, list[Any]], folder: Path) -> Path:
    file = folder / "table.csv"
    pd.DataFrame(columns).to_csv(file, index=False)
    return file


@pytest.mark.parametrize("container", CONTAINERS)
def test_wide_tables_in_memory(container):
    table = from_wide(CONTAINERS[container](WIDE))
    assert table.models.tolist() == ["small", "large"]
    np.testing.assert_array_equal(table.checks, [[0.25, -1.5], [NAN, 1], [0.75, NAN]])
    assert table.answers.tolist() == [["18", "18"], [None, "no number"], ["18", None]]
    assert "Checks: check. Answers: one per call." in table.DESCR


def test_numbers_and_texts_agree_in_a_file(tmp_path):
    """pandas would read a column of numbers as 18.0, and one beside words as "18"."""
    for table in (
        read_table(write_csv(WIDE, tmp_path)),
        from_wide(pd.read_csv(tmp_path / "table.csv")),
    ):
        assert table.answers[0].tolist() == ["18", "18"]
        assert table.answers[1].tolist() == [None, "no number"]


def test_answers_of_any_kind_are_texts():
    same = [{"b": 1, "a": [2]}, True, 3.0, np.int64(4), 0.5]
    other = [{"a": [2], "b": 1}, True, 3, 4, 0.5]
    columns = {"prompt": list("abcde"), "x": [1] * 5, "y": [1] * 5}
    table = from_wide({**columns, "x|answer": same, "y|answer": other})
    assert table.answers[:, 0].tolist() == table.answers[:, 1].tolist()
    assert table.answers[1:, 0].tolist() == ["True", "3", "4", "0.5"]


def test_several_checks_have_an_axis_of_their_own():
    table = from_wide(
        {
            **WIDE,
            "large|check:judge": [3, 2, 1],
            "small|check:passed": [True, False, True],
        }
    )
    assert table.checks.shape == (3, 2, 3)
    assert table.checks[0].tolist()[1][:2] == [-1.5, 3]
    assert np.isnan(table.checks[:, 0, 1]).all()
    assert table.checks[:, 0, 2].tolist() == [1, 0, 1]
    assert table.check_names.tolist() == ["check", "judge", "passed"]
    assert "Checks: check, check:judge, check:passed." in table.DESCR


def test_models_without_a_column_are_unknown():
    columns = {n: c for n, c in WIDE.items() if n not in ("small|check",)}
    table = from_wide(columns)
    assert np.isnan(table.checks[:, 0]).all()
    del columns["large|check"], columns["large|answer"]
    table = from_wide(columns)
    assert table.checks is None
    assert table.answers[:, 1].tolist() == [None] * 3


def test_rows_and_models_stay_together():
    table = from_wide(WIDE, models=["LARGE", "small"], rename={"large": "LARGE"})
    np.testing.assert_array_equal(table.checks[:2], [[-1.5, 0.25], [1, NAN]])
    assert table.answers[1].tolist() == ["no number", None]
    table = from_wide(WIDE, models=["large"])
    assert table.checks.shape == (3, 1)
    assert table.answers.tolist() == [["18"], ["no number"], [None]]


def test_repeats_are_averaged_and_answers_kept_where_they_agree():
    table = from_wide(WIDE, duplicates="mean")
    np.testing.assert_array_equal(table.checks, [[0.5, -1.5], [NAN, 1]])
    assert table.answers.tolist() == [["18", "18"], [None, "no number"]]
    differ = {**WIDE, "small|answer": ["18", None, "19"]}
    assert from_wide(differ, duplicates="mean").answers[0].tolist() == [None, "18"]
    one = from_wide(WIDE, rename={"small": "m", "large": "m"}, duplicates="mean")
    np.testing.assert_allclose(one.checks[:, 0], [-1 / 6, 1])
    assert one.answers.tolist() == [["18"], ["no number"]]


@pytest.mark.parametrize("kind", ["check", "check:judge", "answer"])
@pytest.mark.parametrize("costs", [True, False])
def test_columns_of_a_model_that_is_not_there_are_refused(kind, costs):
    columns = {n: c for n, c in WIDE.items() if costs or not n.endswith("_cost")}
    columns[f"larg|{kind}"] = [1, 2, 3]
    with pytest.raises(ValueError, match=rf"'larg\|{kind}' is the .* add a column"):
        from_wide(columns)
    table = from_wide(columns, models=["small", "large"])
    assert table.checks.shape == (3, 2)


def test_a_column_that_is_named_is_a_model():
    columns = {"prompt": ["a"], "m": [1], "m|check": [0]}
    assert from_wide(columns).models.tolist() == ["m"]
    named = from_wide(columns, models=["m", "m|check"])
    assert named.models.tolist() == ["m", "m|check"]
    assert named.checks is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "passed",
            r"'small\|check' must hold .* row 0 has 'passed'\. A check is a num",
        ),
        (np.inf, r"'small\|check' has an infinite value in row 0"),
    ],
)
def test_checks_that_are_no_numbers_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        from_wide({**WIDE, "small|check": [value, 1.0, 0.0]})


@pytest.mark.parametrize("container", ["records", "pandas", "csv", "jsonl"])
def test_long_tables(container, tmp_path):
    if container == "records":
        table = from_long(CALLS)
    elif container == "pandas":
        table = from_long(pd.DataFrame(CALLS))
    elif container == "csv":
        table = read_table(write_csv(pd.DataFrame(CALLS).to_dict("list"), tmp_path))
    else:
        file = tmp_path / "calls.jsonl"
        file.write_text("\n".join(map(json.dumps, CALLS)))
        table = read_table(file)
    assert table.models.tolist() == ["large", "small"]
    np.testing.assert_array_equal(table.checks, [[NAN, 0.5], [NAN, 1]])
    assert table.answers.tolist() == [["A", "B"], [None, None]]
    assert "left out: none" in table.DESCR


def test_long_tables_with_several_checks_and_repeats():
    again = {**CALLS[0], "check": 1.5, "answer": "C"}
    calls = [{**call, "check:judge": 2} for call in (*CALLS, again)]
    table = from_long(calls, models=["small"], duplicates="mean")
    assert table.checks.tolist() == [[[1.0, 2.0]], [[1.0, 2.0]]]
    assert table.answers.tolist() == [[None], [None]]


def test_tables_without_either_say_so():
    table = from_wide({"prompt": ["a"], "m": [1.0]})
    assert table.checks is None
    assert table.answers is None
    assert "Checks: none. Answers: none." in table.DESCR


@pytest.mark.parametrize("name", ["niagara", "confidence"])
def test_real_tables(shared_data, name):
    file = shared_data / f"{name}.csv.gz"
    raw = pd.read_csv(file, dtype={"sample_id": str})
    table = read_routerbench(file)
    checks = raw[[f"{model}|check" for model in table.models]].to_numpy()
    np.testing.assert_array_equal(table.checks, checks)
    answers = raw[[f"{model}|answer" for model in table.models]]
    known = answers.notna().to_numpy()
    np.testing.assert_array_equal(table.answers != None, known)  # noqa: E711
    kept = {*range(0, len(raw), 7)}
    shuffled = raw.iloc[sorted(kept, key=lambda row: -row)]
    turned = from_wide(shuffled, models=table.models[::-1].tolist())
    rows = np.array(sorted(kept, reverse=True))
    np.testing.assert_array_equal(turned.checks, table.checks[rows, ::-1])
    agree = table.answers[rows, :1] == table.answers[rows]
    np.testing.assert_array_equal(
        turned.answers[:, -1:] == turned.answers, agree[:, ::-1]
    )

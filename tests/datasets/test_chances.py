"""Logs of a router: one call for each query, and the chance that it had."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skroute.datasets import from_long, from_wide, read_table

LOG = {
    "id": [7, 8, 9],
    "prompt": ["What is 2 + 2?", "Prove it.", "What is 2 + 2?"],
    "model": ["small", "large", "large"],
    "quality": [1.0, None, 1.0],
    "cost": [0.1, 3.0, 3.0],
    "propensity": [0.95, 0.05, 1.0],
}


def write(folder, kind):
    frame = pd.DataFrame(LOG)
    file = folder / f"log.{kind}"
    if kind == "csv":
        frame.to_csv(file, index=False)
    else:
        lines = (json.dumps(row) for row in frame.to_dict("records"))
        file.write_text("\n".join(lines).replace("NaN", "null"), encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", ["csv", "jsonl", "dict", "pandas", "polars"])
def test_a_log_says_what_was_called_and_how_likely(tmp_path, kind):
    if kind in ("csv", "jsonl"):
        table = read_table(write(tmp_path, kind), query="id")
    else:
        made = {"dict": dict, "pandas": pd.DataFrame, "polars": pl.DataFrame}[kind]
        table = from_long(made(LOG), query="id")
    assert table.called.tolist() == ["small", "large", "large"]
    assert table.propensity.tolist() == [0.95, 0.05, 1.0]
    # The second call was not judged, and is one all the same.
    assert np.isnan(table.quality[1]).all()
    assert table.costs[1].tolist()[0] == 3.0
    assert "propensity" not in table.DESCR.rpartition("left out")[2]


@pytest.mark.parametrize("name", ["chance", "probability", "Propensity"])
def test_other_names_of_the_chance(name):
    log = {name if key == "propensity" else key: LOG[key] for key in LOG}
    assert from_long(log, query="id").propensity.tolist() == [0.95, 0.05, 1.0]


def test_a_column_may_be_named_and_lie_inside():
    log = {**LOG, "propensity": [{"p": 0.5}] * 3}
    table = from_long(log, query="id", propensity="propensity.p", rename={"small": "s"})
    assert table.propensity.tolist() == [0.5] * 3
    assert table.called.tolist() == ["s", "large", "large"]


def test_a_log_without_chances():
    log = {key: LOG[key] for key in LOG if key != "propensity"}
    for given in (log, {**log, "chance": [None] * 3}):
        table = from_long(given, query="id")
        assert table.propensity is None
        assert table.called.tolist() == LOG["model"]


def test_the_chance_of_explain_is_another_one():
    log = {**LOG, "chance": [0.0, None, 0.3], "runner_up": ["large"] * 3}
    assert from_long(log, query="id").propensity.tolist() == LOG["propensity"]
    log.pop("propensity")
    assert from_long(log, query="id").propensity is None


def test_a_table_with_several_calls_of_a_query_is_no_log():
    # By the prompt there are two queries, one with two calls.
    with pytest.warns(UserWarning, match=r"are left: .* 3 calls on 2 queries"):
        table = from_long(LOG, query="prompt")
    assert table.called is None
    assert table.propensity is None
    message = r"propensity='propensity'.* 3 calls on 2 queries\. Name by query="
    with pytest.raises(ValueError, match=message):
        from_long(LOG, query="prompt", propensity="propensity")
    one = from_long({**LOG, "model": ["small"] * 3}, query="id")
    assert one.called is None
    wide = from_wide({"prompt": ["a", "b"], "x": [1, None], "y": [None, 1]})
    assert wide.called is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, "holds 0 in row 1"),
        (1.5, "holds 1.5 in row 1"),
        (-0.1, "holds -0.1 in row 1"),
    ],
)
def test_a_chance_that_is_none_is_named(value, message):
    log = {**LOG, "propensity": [0.5, value, 0.5]}
    with pytest.raises(
        ValueError, match=f"'propensity' must hold the chance.*{message}"
    ):
        from_long(log, query="id")
    with pytest.raises(ValueError, match="write numbers without quotes"):
        from_long({**LOG, "propensity": ["0.5"] * 3}, query="id")


def test_models_that_are_not_read_leave_the_log():
    table = from_long(LOG, query="id", models=["large"])
    assert len(table.quality) == 2
    assert table.called is None
    three = {key: [*LOG[key], LOG[key][0]] for key in LOG}
    three |= {"id": [7, 8, 9, 10], "model": ["a", "b", "c", "a"]}
    table = from_long(three, query="id", models=["a", "b"])
    assert table.called.tolist() == ["a", "b", "a"]
    assert table.propensity.tolist() == [0.95, 0.05, 0.95]


def test_a_wide_table_with_a_chance_is_asked_which_columns_are_models():
    wide = {"prompt": ["a", "b"], "x": [1, 0], "y": [0, 1], "propensity": [0.5, 0.5]}
    with pytest.raises(ValueError, match=r"no model's quality.*propensity"):
        from_wide(wide)


def test_a_call_that_followed_another_has_no_chance() -> None:
    """Its cell is empty; the other calls are judged."""
    calls = [
        {"query": i, "model": "ab"[i % 2], "quality": 1.0, "propensity": 0.5}
        for i in range(6)
    ]
    calls[3]["propensity"] = None
    table = from_long(calls)
    assert np.isnan(table.propensity[3])
    assert (np.delete(table.propensity, 3) == 0.5).all()


def test_calls_that_followed_another_of_their_query_are_left_out() -> None:
    rows = [
        {"query": "a", "model": "small", "quality": 0.0, "cost": 1, "propensity": 0.5},
        {"query": "a", "model": "large", "quality": 1.0, "cost": 9, "propensity": None},
        {"query": "b", "model": "small", "quality": 1.0, "cost": 1, "propensity": 1.0},
        # The first call failed, which has no row, and then an answer its check.
        {"query": "c", "model": "middle", "quality": 0.0, "cost": 3},
        {"query": "c", "model": "large", "quality": 1.0, "cost": 9},
        {"query": "d", "model": "large", "quality": 1.0, "cost": 9, "propensity": 0.1},
    ]
    with pytest.warns(UserWarning, match="2 calls .* followed another"):
        read = from_long(rows)
    assert read.propensity.tolist()[:2] == [0.5, 1.0]
    assert np.isnan(read.propensity[2])
    assert read.called.tolist() == ["small", "small", "middle", "large"]
    assert np.isfinite(read.quality).sum(axis=1).tolist() == [1, 1, 1, 1]
    # Two chances of a query are no log of decisions.
    rows[1]["propensity"] = 0.5
    with pytest.warns(UserWarning, match="are left"):
        assert from_long(rows).propensity is None

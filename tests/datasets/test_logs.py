"""Tables as logs leave them: other names, tokens, vectors, votes, damage, bombs."""

from __future__ import annotations

import json
import re
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skroute._table.costs import count_zeros
from skroute.datasets import from_long, from_wide, read_routerbench, read_table
from skroute.datasets.queries import read_queries

CALLS = [
    {"query": "a", "model": "gpt-4o-2024-05-13", "quality": 1.0, "cost": 0.2},
    {"query": "a", "model": "mini", "quality": 0.0, "cost": 0.1},
    {"query": "b", "model": "gpt-4o", "quality": 0.5, "cost": 0.4},
]
SNAPSHOT = {"gpt-4o-2024-05-13": "gpt-4o"}


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def write_lines(folder: Path, records: list[Any], name: str = "t.jsonl") -> Path:
    return write(folder, name, "\n".join(map(json.dumps, records)))


# Which columns and names are models


@pytest.mark.parametrize("score", ["accuracy", "f1"])
def test_scores_by_metric_are_no_models(tmp_path, score):
    records = [
        {"query": "q", "model": m, "scores": {"accuracy": a, "f1": a / 2}}
        for m, a in (("x", 1.0), ("y", 0.5))
    ]
    file = write_lines(tmp_path, records)
    with pytest.raises(
        ValueError, match=r"none called quality .*scores\.accuracy, scores\.f1"
    ):
        read_table(file)
    with pytest.raises(ValueError, match=r"quality='quality' is no column of list"):
        from_long(records)
    for table in (
        read_table(file, quality=f"scores.{score}"),
        from_long(records, quality=f"scores.{score}"),
        from_long(pd.DataFrame(records), quality=f"scores.{score}"),
        from_long(pl.DataFrame(records), quality=f"scores.{score}"),
    ):
        assert table.models.tolist() == ["x", "y"]
        expected = np.array([[1.0, 0.5]]) * (1 if score == "accuracy" else 0.5)
        np.testing.assert_array_equal(table.quality, expected)


def test_scores_by_metric_of_unnamed_models_are_refused(tmp_path):
    records = [{"question": "q", "scores": {"accuracy": 1.0, "f1": 0.5}}]
    for read, table in (
        (from_wide, records),
        (read_table, write_lines(tmp_path, records)),
    ):
        with pytest.raises(ValueError, match=r"no model's quality.*accuracy, f1"):
            read(table)
    calls = [{"query": 1, "model": "m", "score": {"f1": 0.5}}]
    with pytest.raises(ValueError, match=r"in these objects, such as 'score\.f1'"):
        from_long(calls, quality="score")


@pytest.mark.parametrize(
    "column",
    [
        *("tokens", "prompt_tokens", "total_tokens", "timestamp", "created_at"),
        *("Timestamp", "startTime", "request_id", "user id", "latency_ms", "cost"),
        *("winner_model_a", "winner_tie", "split", "accuracy", "small|latency_s"),
        *("ts", "temperature", "week", "turns", "rating", "score"),
    ],
)
def test_what_logs_hold_beside_models_is_refused(column):
    frame = pd.DataFrame({"prompt": ["x", "y"], "small": [0, 1], "large": [1, 1]})
    beside = frame.assign(**{column: [3, 4]})
    for table in (beside, pl.from_pandas(beside), beside.to_dict("list")):
        if column.startswith("small|"):
            assert from_wide(table).models.tolist() == ["small", "large"]
            continue
        expected = rf"no model's quality.*{re.escape(column)}.*models=\['small', 'l"
        with pytest.raises(ValueError, match=expected):
            from_wide(table)
        read = from_wide(table, models=["small", "large"])
        np.testing.assert_array_equal(read.quality, frame[["small", "large"]])


def test_votes_between_models_are_no_qualities():
    votes = {"prompt": ["x"], "model_a": ["m"], "model_b": ["n"], "winner": ["tie"]}
    with pytest.raises(ValueError, match="votes between two models"):
        from_wide(votes)


def test_a_pivot_of_several_levels_is_refused():
    frame = pd.DataFrame(CALLS)
    wide = frame.pivot(index="query", columns="model", values=["quality", "cost"])
    with pytest.raises(ValueError, match=r"levels, such as \('quality', 'gpt-4o'\)"):
        from_wide(wide)
    assert from_wide(wide["quality"]).models.tolist() == list(wide["quality"].columns)


def test_empty_columns_are_no_models(tmp_path):
    file = write(tmp_path, "t.csv", "prompt,small,comment\nx,1,\ny,0,\n")
    with pytest.raises(
        ValueError, match=r"empty: comment\..*models=\['small', \.\.\.\]"
    ):
        read_table(file)
    assert read_table(file, models=["small"]).quality.tolist() == [[1], [0]]


def test_names_of_models_that_sound_like_logs_are_read():
    names = ["gpt-4-turbo", "time-llm", "tokenizer-7b", "o1", "model_a", "grok-index-x"]
    table = from_wide({"prompt": ["x"], **{name: [1.0] for name in names}})
    assert table.models.tolist() == names


def test_columns_beside_models_and_costs_are_left_out():
    table = from_wide(
        {
            "prompt": ["x"],
            "caption": ["a cat"],
            "latency_ms": [3.0],
            "small": [1.0],
            "small|total_cost": [0.1],
            "small|tokprob": [0.9],
            "small|reason": ["B"],
        }
    )
    assert table.models.tolist() == ["small"]
    expected = "left out: caption, latency_ms, small|tokprob, small|reason."
    assert expected in table.DESCR


SIZES = {
    "routerbench3": (3164, 11),
    "mistral7": (20600, 7),
    "pool9": (3108, 9),
    "bfcl": (1700, 71),
    "livecodebench": (880, 29),
    "llmdrift": (1500, 4),
    "mmlu_pro": (6000, 31),
    "paretobandit": (1779, 4),
    "zeroeval": (2139, 29),
    "mathvista21": (1000, 21),
    "niagara": (2753, 9),
    "confidence": (2353, 11),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_real_tables_have_the_models_that_they_document(shared_data, name):
    file = shared_data / f"{name}.csv.gz"
    header = pd.read_csv(file, nrows=0).columns
    priced = header[header.str.endswith("|total_cost")]
    for read in (read_table, read_routerbench):
        table = read(file)
        assert table.quality.shape == SIZES[name]
        assert not any("|" in model for model in table.models)
        if len(priced):
            costed = {column.removesuffix("|total_cost") for column in priced}
            assert set(table.models) == costed


@pytest.mark.parametrize(
    "name", ["mmlu_pro_answers", "zeroeval_answers", "llmdrift_latency_s"]
)
def test_files_beside_real_tables_are_refused(shared_data, name):
    with pytest.raises(ValueError, match="not their quality"):
        read_table(shared_data / f"{name}.csv.gz")


def test_models_choose_calls_and_columns(tmp_path):
    table = from_long(CALLS, models=["mini"])
    assert table.models.tolist() == ["mini"]
    assert table.queries.tolist() == ["a"]
    file = write_lines(tmp_path, CALLS)
    assert read_table(file, models=["gpt-4o"]).quality.tolist() == [[0.5]]
    with pytest.raises(ValueError, match=r"'gpt4o', .*Did you mean 'gpt-4o'\?"):
        from_long(CALLS, models=["gpt4o"])
    for models in ("mini", [], ["mini", "mini"], 5):
        with pytest.raises(ValueError, match="list of different names"):
            from_long(CALLS, models=models)


def test_one_model_of_many_names_becomes_one(tmp_path):
    for table in (
        from_long(CALLS, rename=SNAPSHOT),
        read_table(write_lines(tmp_path, CALLS), rename=SNAPSHOT),
    ):
        assert table.models.tolist() == ["gpt-4o", "mini"]
        np.testing.assert_array_equal(table.quality, [[1.0, 0.0], [0.5, np.nan]])
    twice = [*CALLS, {**CALLS[0], "model": "gpt-4o", "quality": 0.0}]
    with pytest.raises(ValueError, match="'gpt-4o' occurs twice on query 'a'"):
        from_long(twice, rename=SNAPSHOT)
    table = from_long(twice, rename=SNAPSHOT, duplicates="mean")
    assert table.quality[0].tolist() == [0.5, 0.0]
    assert table.n_repeats == 1
    with pytest.raises(ValueError, match=r"rename names 'gpt4', .*it has gpt-4o"):
        from_long(CALLS, rename={"gpt4": "x"})
    with pytest.raises(TypeError, match="rename must map"):
        from_long(CALLS, rename=["mini"])


def test_columns_of_one_model_become_one():
    wide = {
        "prompt": ["x", "y"],
        "old": [1.0, None],
        "new": [None, 0.5],
        "mini": [0.0, 1.0],
        "old|total_cost": [2.0, None],
        "new|total_cost": [None, 4.0],
        "mini|total_cost": [0.1, 0.1],
    }
    for options in ({}, {"models": ["large", "mini"]}):
        table = from_wide(wide, rename={"old": "large", "new": "large"}, **options)
        assert table.models.tolist() == ["large", "mini"]
        assert table.quality.tolist() == [[1.0, 0.0], [0.5, 1.0]]
        assert table.costs.tolist() == [[2.0, 0.1], [4.0, 0.1]]
    wide["new"] = [0.0, 0.5]
    with pytest.raises(ValueError, match=r"makes old, new one model, but row 0"):
        from_wide(wide, rename={"old": "new"})
    table = from_wide(wide, rename={"old": "new"}, duplicates="mean")
    assert table.quality[0].tolist() == [0.5, 0.0]


@pytest.mark.parametrize("kind", [int, np.int64, float])
def test_numbers_name_models(kind):
    # A column of whole numbers with a hole, once, is one of floats in pandas.
    calls = {"query": [1, 1], "model": [kind(10), kind(2)], "quality": [1, 0]}
    table = from_long(pd.DataFrame(calls), prices={10: 3, 2: 1})
    assert table.models.tolist() == ["10", "2"]
    assert table.costs.tolist() == [3.0, 1.0]
    table = from_long(pd.DataFrame(calls), models=[10], rename={2: "two"})
    assert table.models.tolist() == ["10"]


# Embeddings


def test_labelled_embeddings_are_matched_by_label():
    E = pd.DataFrame([[0.0, 1.0], [1.0, 0.0]], index=["b", "a"])
    long = [{"query": q, "model": "m", "quality": 1} for q in "ab"]
    wide = pd.DataFrame({"m": [0, 1]}, index=["a", "b"])
    named = [{"query_id": q, "prompt": "x", "m": 1} for q in "ab"]
    for read, table in ((from_long, long), (from_wide, wide), (from_wide, named)):
        assert read(table, embeddings=E).data.tolist() == [[1, 0], [0, 1]]
        with pytest.raises(ValueError, match="none for b"):
            read(table, embeddings=E.loc[["a"]])
        # Numbers, labels that repeat and labels of something else name no row.
        for index in ([1, 0], ["a", "a"], ["x", "y"]):
            by_place = read(table, embeddings=E.set_axis(index))
            assert by_place.data.tolist() == E.to_numpy().tolist()
        assert read(table, embeddings=pl.from_pandas(E)).data.tolist() == [
            [0, 1],
            [1, 0],
        ]


@pytest.mark.parametrize("noise", [1e-4, 0.5])
def test_vectors_of_one_query_must_agree(noise):
    calls = [
        {"query": "a", "model": m, "quality": 1, "v": v}
        for m, v in (("x", [1.0, 0.0]), ("y", [1.0, noise]))
    ]
    rows = [{"prompt": "a", "m": 1, "v": call["v"]} for call in calls]
    array = np.array([call["v"] for call in calls])
    for read, table, embeddings in (
        (from_long, calls, "v"),
        (from_wide, rows, "v"),
        (from_wide, rows, array),
    ):
        if noise < 0.01:
            data = read(table, embeddings=embeddings, duplicates="mean").data
            assert data.tolist() == [[1.0, 0.0]]
            continue
        of = "query 'a'" if read is from_long else "one query"
        with pytest.raises(
            ValueError, match=f"for {of}, in rows 0 and 1: .* 0.5 apart"
        ):
            read(table, embeddings=embeddings, duplicates="mean")


# Costs


def test_calls_that_cost_nothing_are_counted():
    calls = [
        {"query": q, "model": m, "quality": 1, "cost": c}
        for q, m, c in (("a", "x", 0.0), ("b", "x", 0.2), ("a", "y", 0), ("b", "y", 0))
    ]
    table = from_long(calls)
    assert "3 calls cost exactly 0." in table.DESCR
    assert count_zeros(table.costs) == 1


@pytest.mark.parametrize("ending", ["|cost", "_cost", "_total_cost"])
def test_costs_beside_models_are_read_however_they_end(ending):
    wide = {"prompt": ["x"], "s": [0], "l": [1], f"s{ending}": [1], f"l{ending}": [2]}
    table = from_wide({**wide, "turns": [3], "total_cost": [3], "prompt_cost": [1]})
    assert table.models.tolist() == ["s", "l"]
    assert table.costs.tolist() == [[1, 2]]
    assert "left out: turns, total_cost, prompt_cost." in table.DESCR
    both = from_wide({**wide, "s|total_cost": [5], "l|total_cost": [6]})
    assert both.costs.tolist() == [[5, 6]]
    models = ["s", f"s{ending}"]
    chosen = from_wide({name: [1] for name in models}, models=models)
    assert chosen.models.tolist() == models
    assert chosen.costs is None


def test_costs_from_tokens_and_unused_columns_are_described():
    calls = [
        {"query": "a", "model": "m", "quality": 1, "cost": 9, "turn": 1}
        | {"usage": {"prompt_tokens": 3, "completion_tokens": 2}, "meta": {"s": 1}}
    ]
    table = from_long(calls, quality="meta.s", token_prices={"m": (1e-6, 1e-6)})
    assert "Costs: per call, computed from tokens." in table.DESCR
    assert "Columns left out: quality, cost, turn." in table.DESCR
    assert "left out: turn, usage, meta." in from_long(calls).DESCR


def test_an_inferred_decimal_comma_is_told(tmp_path):
    file = write(tmp_path, "t.csv", "query;model;quality;cost\na b;x;0,5;1.0\n")
    with pytest.raises(
        ValueError, match=r"'cost' .*'1\.0'.* 0,5 .*decimal sign of all"
    ):
        read_table(file)


def test_an_empty_text_is_an_unknown_number(tmp_path):
    calls = [
        {"query": "a", "model": m, "quality": q, "cost": 1}
        for m, q in (("x", ""), ("y", 1))
    ]
    csv = write(tmp_path, "t.csv", "query,model,quality,cost\na,x,,1\na,y,1,1\n")
    for table in (read_table(write_lines(tmp_path, calls)), read_table(csv)):
        np.testing.assert_array_equal(table.quality, [[np.nan, 1]])


# Repeated prompts


def test_rows_of_one_prompt_are_averaged_on_demand(tmp_path):
    text = "prompt,a,b,a|total_cost,b|total_cost\nx,1,0,1,3\ny,0,1,1,1\nx,0,,2,5\n"
    file = write(tmp_path, "t.csv", text)
    vectors = np.eye(3)[[0, 1, 0]]
    kept = read_table(file, embeddings=vectors)
    assert len(kept.quality) == 3
    assert "1 queries repeat the prompt" in kept.DESCR
    for table in (
        read_table(file, duplicates="mean", embeddings=vectors),
        from_wide(file, duplicates="mean", embeddings=vectors),
    ):
        assert table.prompts.tolist() == ["x", "y"]
        assert table.quality.tolist() == [[0.5, 0.0], [0.0, 1.0]]
        assert table.costs.tolist() == [[1.5, 4.0], [1.0, 1.0]]
        np.testing.assert_array_equal(table.data, vectors[:2])
        assert table.n_repeats == 1
        assert "1 rows were averaged" in table.DESCR


def test_rows_without_a_prompt_stay_queries_of_their_own(tmp_path):
    file = write(tmp_path, "t.csv", "prompt,a\n,1\n,0\n")
    assert len(read_table(file, duplicates="mean").quality) == 2


def test_a_prompt_logged_at_other_costs_is_one_query_by_its_prompt():
    log = [
        {"id": i, "prompt": "Add 2 and 2.", "model": "m", "quality": q, "cost": c}
        for i, (q, c) in enumerate([(1, 0.1), (0, 0.3)])
    ]
    assert from_long(log, query="id").quality.tolist() == [[1], [0]]
    table = from_long(log, query="prompt", duplicates="mean")
    assert table.quality.tolist() == [[0.5]]
    assert table.costs.tolist() == [[0.2]]
    assert table.prompts.tolist() == ["Add 2 and 2."]


# Money of tokens

PRICES = {"x": (1e-6, 4e-6), "y": (2e-6, 8e-6)}
TOKENS = [("x", 100, 10), ("y", 200, 20)]
COSTS = [100e-6 + 40e-6, 400e-6 + 160e-6]
SHAPES: dict[str, Any] = {
    "OpenAI": lambda i, o: {"prompt_tokens": i, "completion_tokens": o},
    "Anthropic": lambda i, o: {"input_tokens": i, "output_tokens": o},
    "camel": lambda i, o: {"promptTokens": i, "completionTokens": o},
    "usage": lambda i, o: {"usage": {"prompt_tokens": i, "completion_tokens": o}},
    "batch": lambda i, o: {
        "response": {"body": {"usage": {"prompt_tokens": i, "completion_tokens": o}}}
    },
    "promptfoo": lambda i, o: {
        "response": {"tokenUsage": {"prompt": i, "completion": o}}
    },
    "Langfuse": lambda i, o: {"usage_details": {"input": i, "output": o}},
    "JSON text": lambda i, o: {"usage": json.dumps({"input": i, "output": o})},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_become_money(tmp_path, shape):
    calls = [
        {"query": 1, "model": m, "quality": 1, **SHAPES[shape](i, o)}
        for m, i, o in TOKENS
    ]
    priced = write(tmp_path, "prices.json", json.dumps(PRICES))
    for prices in (PRICES, priced, {**PRICES, "other": (1, 1)}):
        table = from_long(calls, token_prices=prices)
        np.testing.assert_allclose(table.costs, [COSTS], rtol=1e-12)
    table = read_table(write_lines(tmp_path, calls), token_prices=PRICES)
    np.testing.assert_allclose(table.costs, [COSTS], rtol=1e-12)


@pytest.mark.parametrize("ends", [("prompt", "completion"), ("input", "output")])
def test_tokens_of_wide_tables_become_money(ends):
    counts = {
        f"{m}|{end}_tokens": [n]
        for m, *pair in TOKENS
        for end, n in zip(ends, pair, strict=True)
    }
    wide = {"prompt": ["q"], "x": [1], "y": [0], **counts}
    table = from_wide(wide, token_prices=PRICES)
    assert table.models.tolist() == ["x", "y"]
    np.testing.assert_allclose(table.costs, [COSTS], rtol=1e-12)
    del wide[f"y|{ends[0]}_tokens"]
    with pytest.raises(ValueError, match=r"no columns 'y\|prompt_tokens'"):
        from_wide(wide, token_prices=PRICES)


def test_tokens_go_before_logged_costs_and_by_old_names():
    calls = [
        {"query": "q", "model": m, "quality": 1, "cost": 0, **SHAPES["OpenAI"](i, o)}
        for m, i, o in TOKENS
    ]
    calls[1]["prompt_tokens"] = None
    table = from_long(calls, token_prices=PRICES, rename={"x": "z"})
    assert table.models.tolist() == ["y", "z"]
    np.testing.assert_allclose(table.costs, [[np.nan, COSTS[0]]], rtol=1e-12)
    with pytest.raises(ValueError, match="but cost='cost' names a column"):
        from_long(calls, token_prices=PRICES, cost="cost")
    with pytest.raises(ValueError, match="give one of them"):
        from_long(calls, token_prices=PRICES, prices={"x": 1, "y": 1})


def test_litellms_price_map_is_read():
    entry = {
        "max_tokens": 4096,
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 4e-6,
        "mode": "chat",
    }
    call = {"query": 1, "model": "x", "quality": 1, **SHAPES["OpenAI"](100, 10)}
    table = from_long([call], token_prices={"x": entry, "dall-e": {"mode": "image"}})
    np.testing.assert_allclose(table.costs, [[COSTS[0]]], rtol=1e-12)
    with pytest.raises(ValueError, match=r"prices\['x'\].*go to token_prices"):
        from_long([call], prices={"x": entry})


@pytest.mark.parametrize(
    ("prices", "error", "message"),
    [
        ({"y": (1e-6, 1e-6)}, ValueError, "without a price: x"),
        ({"x": (2.5, 10.0)}, ValueError, r"10 for one token.*divide it by 1e6"),
        ({"x": 1e-6}, ValueError, r"token_prices\['x'\] must be two prices"),
        ({"x": (1e-6,)}, ValueError, "must be two prices"),
        ({"x": {"input_cost_per_token": 1e-6}}, ValueError, "must be two prices"),
        ({"x": (1e-6, -1e-6)}, ValueError, r"token_prices\['x'\] must be at least 0"),
        ({"x": (1e-6, "$1")}, ValueError, r"token_prices\['x'\] must be a number"),
        ([1e-6, 1e-6], TypeError, "token_prices must map"),
        ("absent.json", FileNotFoundError, "token_prices 'absent.json'"),
    ],
)
def test_wrong_token_prices_are_named(prices, error, message):
    call = {"query": 1, "model": "x", "quality": 1, **SHAPES["OpenAI"](100, 10)}
    with pytest.raises(error, match=message):
        from_long([call], token_prices=prices)


def test_missing_and_wrong_counts_are_named():
    call = {"query": 1, "model": "x", "quality": 1}
    with pytest.raises(ValueError, match="list has no columns prompt_tokens and"):
        from_long([call], token_prices=PRICES)
    with pytest.raises(ValueError, match="'prompt_tokens' has a negative count"):
        from_long([{**call, **SHAPES["OpenAI"](-1, 1)}], token_prices=PRICES)


def test_decimals_are_numbers():
    table = from_long(
        [{"query": 1, "model": "x", "quality": Decimal("0.5"), "cost": Decimal(2)}]
    )
    assert (table.quality, table.costs) == ([[0.5]], [[2.0]])


# Vectors

VECTORS = [[1.0, 2.0], [3.0, 4.5]]
CELLS: dict[str, Any] = {
    "lists": lambda v: v,
    "arrays": np.array,
    "float32": lambda v: np.array(v, dtype=np.float32),
    "JSON": json.dumps,
    "printed": lambda v: str(np.array(v)),
}


@pytest.mark.parametrize("cell", CELLS)
def test_a_column_of_vectors_is_read(cell):
    vectors = [CELLS[cell](v) for v in VECTORS]
    wide = {"prompt": ["x", "y"], "small": [1, 0], "vector": vectors}
    long = {
        "query": ["b", "a", "b"],
        "model": ["m", "m", "n"],
        "quality": [1, 0, 1],
        "vector": [*vectors, None],
    }
    for table in (
        from_wide(wide, embeddings="vector"),
        from_wide({**wide, "small|total_cost": [1, 1]}, embeddings="vector"),
        from_long(long, embeddings="vector"),
    ):
        assert table.data.dtype == (np.float32 if cell == "float32" else np.float64)
        np.testing.assert_array_equal(table.data, VECTORS)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "json"])
def test_a_column_of_vectors_is_read_from_files(tmp_path, ending):
    frame = pd.DataFrame({"prompt": ["x", "y"], "small": [1, 0], "e": VECTORS})
    file = tmp_path / f"t.{ending}"
    if ending == "csv":
        frame.to_csv(file, index=False)
    elif ending == "parquet":
        frame.to_parquet(file)
    else:
        frame.to_json(file, orient="records", lines=ending == "jsonl")
    table = read_table(file, embeddings="e")
    assert table.models.tolist() == ["small"]
    np.testing.assert_array_equal(table.data, VECTORS)
    with pytest.raises(FileNotFoundError, match="'f' is not a file, nor a column of t"):
        read_table(file, models=["small"], embeddings="f")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[1.0, 2.0], None], "no vector for the query of row 1"),
        ([[1.0, 2.0], [1.0]], "row 1 has 1 numbers where 2 are expected"),
        ([[1.0, 2.0], "none"], "'e' must hold vectors .*row 1 holds something else"),
        ([[1.0, 2.0], "[1. ... 2.]"], "row 1 .*lost their middle"),
        ([[[1.0]], [[2.0]]], "'e' must hold vectors .*row 0"),
        ([[1.0, 2.0], [1.0, np.nan]], "embeddings must be finite; row 1"),
    ],
)
def test_wrong_vectors_are_named(cells, message):
    with pytest.raises(ValueError, match=message):
        from_wide({"prompt": ["x", "y"], "m": [1, 0], "e": cells}, embeddings="e")


def test_a_column_of_vectors_that_nobody_named_says_how_to_read_it(tmp_path):
    file = write(tmp_path, "t.csv", 'prompt,m,e\nx,1,"[1, 2]"\n')
    with pytest.raises(ValueError, match="read them by embeddings='e'"):
        read_table(file)


# Spelling


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz"])
@pytest.mark.parametrize("part", [",", ";", "\t"])
def test_fields_parted_in_any_way(tmp_path, name, part):
    text = 'Prompt|small|large\n"a, b; c"|1|0.5\nd|0|1\n'.replace("|", part)
    file = write(tmp_path, name.removesuffix(".gz"), text)
    if name.endswith(".gz"):
        pd.read_csv(file, sep=part).to_csv(tmp_path / name, index=False, sep=part)
        file = tmp_path / name
    table = read_table(file)
    assert table.models.tolist() == ["small", "large"]
    assert table.quality.tolist() == [[1, 0.5], [0, 1]]
    assert table.prompts.tolist() == ["a, b; c", "d"]
    assert read_queries(file).prompts == ["a, b; c", "d"]


def test_fractions_with_a_comma(tmp_path):
    file = write(tmp_path, "t.csv", "prompt;small;large\nx, y;0,5;1\nz;1;0,25\n")
    table = read_table(file)
    assert table.quality.tolist() == [[0.5, 1], [1, 0.25]]
    assert table.prompts.tolist() == ["x, y", "z"]


@pytest.mark.parametrize(
    "header", ["Query,Model,Score,Cost", "query,modelName,Quality,Total Cost"]
)
def test_headers_are_found_however_they_are_written(tmp_path, header):
    file = write(tmp_path, "t.csv", f"{header}\n007,x,1,0.5\n008,x,0,0.5\n")
    table = read_table(file)
    assert table.models.tolist() == ["x"]
    assert table.queries.tolist() == ["007", "008"]
    assert table.costs.tolist() == [[0.5], [0.5]]


def test_a_name_that_is_almost_right_is_suggested(tmp_path):
    frame = pd.DataFrame(CALLS).rename(columns={"query": "Query", "cost": "costs"})
    with pytest.raises(ValueError, match=r"query='query' .*Did you mean 'Query'\?"):
        from_long(frame)
    with pytest.raises(ValueError, match=r"cost='cost' .*Did you mean 'costs'\?"):
        from_long(frame, query="Query", cost="cost")
    file = write(tmp_path, "t.csv", "query,model,qualty\na,x,1\n")
    with pytest.raises(ValueError, match=r"Did you mean 'qualty'\? .*quality="):
        read_table(file)


# Texts


def test_chats_are_read_by_the_last_message_of_the_user(tmp_path):
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": "Add 2 and 2."}]},
    ]
    calls = [
        {"request_id": i, "model": "m", "quality": 1, "messages": messages}
        for i, messages in enumerate([chat, json.dumps(chat), {"messages": chat}])
    ]
    table = from_long(calls, query="request_id")
    assert table.prompts.tolist() == ["Add 2 and 2."] * 3
    table = from_long(calls[:1] * 2, query="messages", duplicates="mean")
    assert table.prompts.tolist() == ["Add 2 and 2."]
    assert read_queries(write_lines(tmp_path, calls[:1])).prompts == ["Add 2 and 2."]


@pytest.mark.parametrize("write", [list, json.dumps])
def test_conversations_that_end_alike_are_different_queries(write):
    chats = [
        [{"role": "user", "content": text}, {"role": "user", "content": "Yes, go on."}]
        for text in ("Tell me a joke.", "Prove it.", "Prove it.")
    ]
    cells = [write(chat) for chat in chats]
    calls = [{"query": c, "model": "m", "quality": i} for i, c in enumerate(cells)]
    rows = [{"prompt": c, "m": i} for i, c in enumerate(cells)]
    for table in (
        from_long(calls, duplicates="mean"),
        from_wide(rows, duplicates="mean"),
    ):
        np.testing.assert_array_equal(table.quality, [[0.0], [1.5]])
    assert from_wide(rows).prompts.tolist() == ["Yes, go on."] * 3
    table = from_long(calls[:2], query="query")
    assert len(set(table.queries)) == 2
    assert from_long([{**c, "m": 1} for c in calls[:2]]).quality.shape == (2, 1)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("caf\u00e9 \U0001f600\t\n", "caf\u00e9 \U0001f600\t\n"),
        ("cut \ud83d", "cut \ufffd"),
        ("two halves \ud83d\ude00", "two halves \U0001f600"),
        ("bell \x07 and \x1b[31m", "bell \ufffd and \ufffd[31m"),
    ],
)
def test_texts_that_no_file_can_hold_are_cleaned(tmp_path, text, clean):
    records = [
        {"query": "q1", "prompt": text, "task": text, "model": "m", "quality": 1}
    ]
    file = write_lines(tmp_path, records)
    wide = from_wide([{"prompt": text, "task": text, "m": 1}])
    for table in (from_long(records), read_table(file), wide):
        assert table.prompts.tolist() == [clean]
        assert table.task.tolist() == [clean]
        assert table.queries is None or table.queries.tolist() == ["q1"]
        table.prompts[0].encode()
    assert read_queries(file).prompts == [clean]


@pytest.mark.parametrize("name", ["gpt\x1b[31m", "a\nb", "cut \ud83d", "a\u202eb"])
def test_names_that_cannot_be_shown_are_refused(name):
    expected = rf"a model of .* is called {re.escape(ascii(name))}.*rename="
    calls = [{"query": 1, "model": name, "quality": 1}]
    with pytest.raises(ValueError, match=expected) as caught:
        from_long(calls)
    assert str(caught.value).isprintable()
    with pytest.raises(ValueError, match=expected):
        from_wide([{"prompt": "x", name: 1}])
    assert from_long(calls, rename={name: "m"}).models.tolist() == ["m"]
    for wrong in ({"rename": {"x": "y"}}, {"models": ["x"]}, {"cost": "x"}):
        with pytest.raises(ValueError, match="'x'") as caught:
            from_long([{**calls[0], name: 1}], **{"rename": {name: "m"}, **wrong})
        assert str(caught.value).isprintable()


def test_an_empty_prompt_is_a_prompt(tmp_path):
    calls = [{"query": q, "model": "m", "quality": 1} for q in ("Add 2 and 2.", "")]
    table = read_table(write_lines(tmp_path, calls))
    assert table.prompts.tolist() == ["Add 2 and 2.", ""]
    with pytest.raises(ValueError, match="'query_id' is empty in row 1"):
        from_long([{**c, "query_id": c["query"]} for c in calls], query="query_id")


def test_prompts_are_uncut_and_in_the_order_of_the_file(tmp_path):
    prompts = ["b " * 5000, "a\r\nb", " c "]
    wide = write_lines(tmp_path, [{"prompt": p, "m": 1} for p in prompts])
    assert read_table(wide).prompts.tolist() == prompts
    assert read_queries(wide).prompts == prompts
    calls = [{"query": p, "model": "m", "quality": 1} for p in prompts]
    assert read_queries(write_lines(tmp_path, calls)).prompts == prompts


# Bombs


def traced(call: Any) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


BOMBS = {
    "models": [{"query": i, "model": f"m{i}", "quality": 1} for i in range(3000)],
    "columns": [{f"m{i}": 1} for i in range(3000)],
    "scores": [{"question": "x", "scores": {f"m{i}": 1}} for i in range(3000)],
}


@pytest.mark.parametrize("name", BOMBS)
def test_tables_that_unfold_are_refused_before_memory_is_taken(tmp_path, name):
    file = write_lines(tmp_path, BOMBS[name])
    limit = 20_000_000  # the table would take 72 MB

    def read() -> None:
        with pytest.raises(ValueError, match="more than max_bytes=20,000,000"):
            read_table(file, max_bytes=limit)

    assert traced(read) < limit / 2
    if name == "models":
        with pytest.raises(ValueError, match="3,000 queries and 3,000 models"):
            from_long(BOMBS[name], max_bytes=limit)
    else:
        with pytest.raises(ValueError, match="share their names"):
            from_wide(BOMBS[name], max_bytes=limit)


def test_a_text_in_the_place_of_a_name_is_refused_before_memory_is_taken():
    names = ["m" * 100_000, *["n"] * 1999]
    calls = {"query": list(range(2000)), "model": names, "quality": [1] * 2000}

    def read() -> None:
        with pytest.raises(ValueError, match=r"100,000 characters.*the right one\?"):
            from_long(calls)

    # As numpy's texts of one length, the names would take 800 MB.
    assert traced(read) < 5_000_000
    with pytest.raises(ValueError, match="100,000 characters"):
        from_wide({"prompt": ["x"], names[0]: [1]})

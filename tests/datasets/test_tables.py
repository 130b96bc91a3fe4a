"""Tables as people have them: long and wide, in memory and in files."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skroute import BudgetDecider, PointwiseRouter
from skroute.datasets import (
    from_long,
    from_wide,
    make_routing,
    read_routerbench,
    read_table,
)

CALLS = [
    {"query": "b", "model": "small", "quality": 0.0, "cost": 0.1, "prompt": "Add 2"},
    {"query": "a", "model": "large", "quality": 1.0, "cost": 2.0, "prompt": "007"},
    {"query": "b", "model": "large", "quality": 0.5, "cost": None, "prompt": None},
    {"query": "c", "model": "small", "quality": None, "cost": 0.2, "prompt": "NA"},
]
ENDINGS = [
    *(".csv", ".csv.gz", ".parquet", ".json", ".json.gz"),
    *(".jsonl", ".jsonl.gz", ".ndjson"),
]


def write(frame: pd.DataFrame, path: Path) -> Path:
    """Save a frame in the format of the path's ending."""
    if ".json" in path.name or ".ndjson" in path.name:
        lines = ".json" not in path.suffixes or ".jsonl" in path.suffixes
        text = frame.to_json(orient="records", lines=lines)
        data = text.encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    elif ".csv" in path.name:
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def assert_is_calls(table: Any) -> None:
    assert table.models.tolist() == ["large", "small"]
    assert table.queries.tolist() == ["b", "a", "c"]
    nan = np.nan
    np.testing.assert_array_equal(table.quality, [[0.5, 0], [1, nan], [nan, nan]])
    np.testing.assert_array_equal(table.costs, [[nan, 0.1], [2, nan], [nan, 0.2]])
    assert table.prompts.tolist() == ["Add 2", "007", "NA"]
    assert table.task is None
    assert table.data is None


# Long tables


@pytest.fixture(scope="module")
def routerbench(shared_data) -> Any:
    return read_routerbench(shared_data / "routerbench3.csv.gz")


@pytest.fixture(scope="module")
def calls(routerbench) -> pd.DataFrame:
    """RouterBench's real table with a row for each call."""
    n_queries, n_models = routerbench.quality.shape
    return pd.DataFrame(
        {
            "sample_id": np.repeat(routerbench.queries, n_models),
            "prompt": np.repeat(routerbench.prompts, n_models),
            "model": np.tile(routerbench.models, n_queries),
            "quality": routerbench.quality.ravel(),
            "cost": routerbench.costs.ravel(),
            "eval_name": np.repeat(routerbench.task, n_models),
        }
    )


CONTAINERS = {
    "pandas": lambda frame: frame,
    "categories": lambda frame: frame.astype({"sample_id": "category"}).astype(
        {"model": "category"}
    ),
    "nullable": lambda frame: frame.convert_dtypes(),
    "arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "polars": pl.from_pandas,
    "polars categories": lambda frame: pl.from_pandas(frame).with_columns(
        pl.col("model").cast(pl.Categorical), pl.col("quality").cast(pl.Decimal(9, 4))
    ),
    "columns": lambda frame: {name: frame[name].tolist() for name in frame},
    "records": lambda frame: frame.to_dict("records"),
    "own index": lambda frame: frame.set_index(np.arange(len(frame))[::-1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("container", CONTAINERS)
def test_routerbench_as_calls(routerbench, calls, container):
    table = from_long(CONTAINERS[container](calls), query="sample_id")
    order = np.argsort(routerbench.models)
    assert table.models.tolist() == routerbench.models[order].tolist()
    np.testing.assert_array_equal(table.quality, routerbench.quality[:, order])
    np.testing.assert_array_equal(table.costs, routerbench.costs[:, order])
    for name in ("queries", "prompts", "task"):
        assert table[name].tolist() == routerbench[name].tolist()


@pytest.mark.parametrize("ending", ENDINGS)
def test_calls_in_every_format(tmp_path, ending):
    path = write(pd.DataFrame(CALLS), tmp_path / f"calls{ending}")
    assert_is_calls(from_long(path))
    assert_is_calls(from_long(str(path)))
    assert_is_calls(read_table(path))
    assert path.name in read_table(path).DESCR


def test_calls_in_memory():
    assert_is_calls(from_long(CALLS))
    assert_is_calls(from_long(pd.DataFrame(CALLS)))
    assert_is_calls(from_long(pl.DataFrame(CALLS)))


outcomes = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["a", "b", "c"]),
        st.one_of(st.none(), st.floats(-5, 5)),
    ),
    min_size=1,
    unique_by=lambda call: call[:2],
)


@pytest.mark.slow
@given(outcomes, st.randoms(use_true_random=False))
def test_the_order_of_calls_only_orders_the_queries(drawn, random):
    shuffled = random.sample(drawn, len(drawn))
    for rows in (drawn, shuffled):
        frame = pd.DataFrame(rows, columns=["query", "model", "quality"])
        table = from_long(frame)
        assert table.queries.tolist() == list(dict.fromkeys(row[0] for row in rows))
        assert table.models.tolist() == sorted({row[1] for row in rows})
        where = {query: i for i, query in enumerate(table.queries)}
        expected = np.full(table.quality.shape, np.nan)
        for query, model, quality in rows:
            column = table.models.tolist().index(model)
            expected[where[query], column] = np.nan if quality is None else quality
        np.testing.assert_array_equal(table.quality, expected)
        assert table.costs is None


@pytest.mark.parametrize(
    "container",
    [
        *(pd.DataFrame, pl.DataFrame, dict),
        lambda columns: pd.DataFrame(columns).astype("Int64"),
        lambda columns: pd.DataFrame(columns).astype("int64[pyarrow]"),
    ],
)
def test_numbers_name_queries_and_models(container):
    # As floats, the two long numbers would be one.
    long = 2**53
    columns = {"query": [long, long + 1, long], "model": [2, 2, 1], "quality": [1] * 3}
    table = from_long(container(columns))
    assert table.queries.tolist() == [long, long + 1]
    assert table.models.tolist() == ["1", "2"]
    np.testing.assert_array_equal(table.quality, [[1, 1], [np.nan, 1]])


def test_repeated_calls_are_refused_or_averaged():
    more = [
        *CALLS,
        {"query": "b", "model": "small", "quality": 1.0, "cost": 0.4},
        {"query": "b", "model": "small", "quality": None, "cost": None},
    ]
    expected = r"'small' occurs twice on query 'b', in rows 0 and 4; 2 rows repeat"
    with pytest.raises(ValueError, match=expected):
        from_long(more)
    table = from_long(more, duplicates="mean")
    np.testing.assert_array_equal(table.quality[0], [0.5, 0.5])
    np.testing.assert_array_equal(table.costs[0], [np.nan, 0.25])
    with pytest.raises(ValueError, match="duplicates must be 'raise' or 'mean'"):
        from_long(more, duplicates="last")


def test_columns_of_other_names():
    frame = pd.DataFrame(CALLS).rename(
        columns={"query": "ticket", "model": "llm", "quality": "stars", "cost": "usd"}
    )
    frame["kind"] = "support"
    table = from_long(
        frame, query="ticket", model="llm", quality="stars", cost="usd", task="kind"
    )
    assert table.task.tolist() == ["support"] * 3
    table.task = None
    assert_is_calls(table)


def test_the_query_is_its_own_prompt_where_it_is_a_text():
    frame = pd.DataFrame(CALLS).drop(columns="prompt")
    assert from_long(frame).prompts is None
    assert from_long(frame, prompt="query").prompts.tolist() == ["b", "a", "c"]
    frame["query"] = "What is " + frame["query"]
    assert from_long(frame).prompts.tolist() == ["What is b", "What is a", "What is c"]


def test_embeddings_and_prices_of_calls():
    frame = pd.DataFrame(CALLS)[["query", "model", "quality"]]
    vectors = pd.DataFrame(np.eye(3), index=["a", "b", "c"])
    queries = from_long(frame).queries
    table = from_long(
        frame,
        embeddings=vectors.loc[queries].to_numpy(),
        prices={"small": 1, "large": 3},
    )
    np.testing.assert_array_equal(table.data, np.eye(3)[[1, 0, 2]])
    assert table.costs.tolist() == [3.0, 1.0]
    with pytest.raises(ValueError, match=r"prices is for tables without.*'cost'"):
        from_long(CALLS, prices={"small": 1, "large": 3})
    with pytest.raises(ValueError, match="one row for each of the 3 queries"):
        from_long(frame, embeddings=np.eye(4))


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            {},
            {"query": "id"},
            r"query='id' is no column of DataFrame; it has query \(t",
        ),
        ({}, {"cost": "usd"}, "cost='usd' is no column"),
        ({"query": ["a", None, "b", "c"]}, {}, "column 'query' is empty in row 1"),
        ({"model": ["a", "b", "", "c"]}, {}, "column 'model' is empty in row 2"),
        ({"query": [["a"]] * 4}, {}, "column 'query' must hold numbers or texts"),
        ({"quality": ["good"] * 4}, {}, "column 'quality' must hold .* row 0 .*'good'"),
        (
            {"quality": [1, np.inf, 1, 1]},
            {},
            "'quality' has an infinite value in row 1",
        ),
        ({"cost": [1, 1, 1, -1]}, {}, "column 'cost' has a negative cost in row 3"),
        (
            {"prompt": ["x", "y", "z", "z"]},
            {},
            "query 'b' has more than one 'prompt'",
        ),
    ],
)
def test_wrong_calls_are_named(change, arguments, message):
    with pytest.raises(ValueError, match=message):
        from_long(pd.DataFrame(CALLS).assign(**change), **arguments)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (3, TypeError, "table must be a pandas or polars DataFrame .*got int"),
        (pl.LazyFrame(CALLS), TypeError, "collect a LazyFrame first"),
        ([CALLS], ValueError, "record 0 is a list"),
        ({"query": [1], "model": ["a", "b"]}, ValueError, "'model' of table has shape"),
        (pd.DataFrame(CALLS)[:0], ValueError, "DataFrame has no rows"),
        (
            pd.DataFrame([[1, 2]], columns=["query", "query"]),
            ValueError,
            "'query' occurs more than once",
        ),
    ],
)
@pytest.mark.parametrize("reader", [from_long, from_wide])
def test_what_is_no_table_is_refused(reader, table, error, message):
    with pytest.raises(error, match=message):
        reader(table)


# Wide tables


def wide_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "prompt": ["Add 2", "007", "NA"],
            "small": [1.0, 0.0, np.nan],
            "large": [1.0, 1.0, 0.5],
            "small|total_cost": [0.1, 0.2, np.nan],
            "large|total_cost": [2.0, 3.0, 4.0],
        }
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_wide_tables_in_every_format(tmp_path, ending):
    frame = wide_frame()
    path = write(frame, tmp_path / f"wide{ending}")
    for table in (from_wide(path), read_table(path), from_wide(frame)):
        assert table.models.tolist() == ["small", "large"]
        np.testing.assert_array_equal(table.quality, frame[["small", "large"]])
        np.testing.assert_array_equal(table.costs, frame.iloc[:, 3:])
        assert table.prompts.tolist() == ["Add 2", "007", "NA"]
        assert table.queries is None


def test_wide_polars_with_unrelated_columns():
    frame = pl.from_pandas(wide_frame()).with_columns(
        pl.lit("x").alias("notes"), pl.lit(3).alias("tokens")
    )
    # Costs tell which columns are models'.
    assert from_wide(frame).models.tolist() == ["small", "large"]
    with pytest.raises(ValueError, match=r"'stars' has no .*models=\[\.\.\.\]"):
        from_wide(frame.with_columns(pl.lit(3).alias("stars")))
    table = from_wide(frame, models=["large", "small"], task="notes")
    assert table.models.tolist() == ["large", "small"]
    assert table.costs[0].tolist() == [2.0, 0.1]
    assert table.task.tolist() == ["x"] * 3
    table = from_wide(frame, models=["large"])
    assert table.costs.shape == (3, 1)
    with pytest.raises(ValueError, match=r"models names 'huge', .* it has prompt \(te"):
        from_wide(frame, models=["huge"])
    with pytest.raises(ValueError, match="list of different names; got 'large'"):
        from_wide(frame, models="large")
    with pytest.raises(ValueError, match="prompt='text' is no column"):
        from_wide(frame, prompt="text")


@pytest.mark.slow
def test_llmrouters_records(shared_data, tmp_path):
    pool = read_routerbench(shared_data / "pool9.csv.gz")
    rng = np.random.default_rng(0)
    # Their records name the models in an order of their own, and not always all.
    records = [
        {
            "question": prompt,
            "scores": {
                pool.models[i]: quality[i]
                for i in rng.permutation(len(quality))
                if not np.isnan(quality[i])
            },
            "cluster_id": 3,
        }
        for prompt, quality in zip(pool.prompts, pool.quality, strict=True)
    ]
    del records[5]["scores"]["codegemma-7b"]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(records))
    prices = shared_data / "pool9_prices.json"
    order = np.argsort(pool.models)
    expected = pool.quality.copy()
    expected[5, pool.models.tolist().index("codegemma-7b")] = np.nan
    for table in (read_table(path, prices=prices), from_wide(records, prices=prices)):
        assert table.models.tolist() == pool.models[order].tolist()
        np.testing.assert_array_equal(table.quality, expected[:, order])
        assert table.prompts.tolist() == pool.prompts.tolist()
        listed = json.loads(prices.read_text())
        assert table.costs.tolist() == [listed[name] for name in table.models]
    records[7].pop("scores")
    with pytest.raises(ValueError, match="record 7 has no object 'scores'"):
        from_wide(records)


def test_routellms_answers(tmp_path):
    path = tmp_path / "gsm8k_responses.csv"
    path.write_text(
        "prompt,mixtral,gpt-4,mixtral_response,gpt-4_response\n"
        '"How many, in total?",True,False,"18 ""eggs""",NA\n'
        "How much?,False,True,,3\n"
    )
    table = read_table(path)
    assert table.models.tolist() == ["mixtral", "gpt-4"]
    assert table.quality.tolist() == [[1, 0], [0, 1]]
    assert table.costs is None
    assert table.prompts.tolist() == ["How many, in total?", "How much?"]


def test_llmrouters_log_of_calls(tmp_path):
    path = tmp_path / "routing.jsonl"
    calls = [
        {"task_name": "t", "query": f"Say {q}", "model_name": m, "performance": 0.5}
        for q in range(3)
        for m in ("x", "y")
    ]
    path.write_text("\n".join(map(json.dumps, calls)) + "\n")
    table = read_table(path)
    assert table.models.tolist() == ["x", "y"]
    assert table.prompts.tolist() == ["Say 0", "Say 1", "Say 2"]
    assert table.task.tolist() == ["t"] * 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "query,model\na,b\n", r"'model'.*none called quality or score"),
        ("t.csv", "prompt,score\na,1\n", r"'score'.*none called model or .*score \(nu"),
        ("t.csv", "model,score\na,1\n", "none called query_id or"),
        ("t.csv", "prompt\na\n", r"no quality column.*It has prompt \(text\)"),
        ("t.json", '{"a": 1}', "cannot read t.json: it holds a dict; .*orient"),
        ("t.json", "[1]", "record 0 is a int"),
        ("t.json", "[", "cannot read t.json"),
        ("t.jsonl", '{"a": 1}\n\n{', "line 3 is not a JSON record"),
        ("t.jsonl.gz", "{}", "cannot read t.jsonl.gz"),
        ("t.jsonl", "", "t.jsonl has no rows"),
    ],
)
def test_files_that_are_no_table(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_json_and_records_need_no_pandas(tmp_path, monkeypatch):
    path = write(pd.DataFrame(CALLS), tmp_path / "calls.json")
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert_is_calls(read_table(path))
    assert_is_calls(from_long(CALLS))
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    with pytest.raises(
        ImportError, match=r"CSV file needs pandas.*scikit-route\[data\]"
    ):
        read_table(path)


def test_nested_beyond_reason(tmp_path):
    path = tmp_path / "t.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"cannot read t\.json"):
        read_table(path)


# What comes out


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_estimates_and_decisions_in_the_users_container(container):
    table = make_routing(120, n_models=3, random_state=0)
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[container]
    names = ["small", "medium", "large"]
    y = frame(dict(zip(names, table.quality.T, strict=True)))
    router = PointwiseRouter(Ridge()).set_output(transform=container)
    estimates = router.fit_transform(table.data, y, costs=table.costs)
    assert isinstance(estimates, frame)
    assert list(estimates.columns)[:2] == ["quality__small", "quality__medium"]
    decider = BudgetDecider(price=0.0).set_output(transform=container)
    decisions = decider.fit_transform(estimates)
    assert isinstance(decisions, frame)
    assert list(decisions.columns) == names
    np.testing.assert_array_equal(
        decisions.to_numpy().argmax(axis=1), decider.predict(estimates)
    )


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_a_pipeline_of_frames(container, metadata_routing):
    table = make_routing(120, n_models=3, random_state=0)
    steps = PCA(4, random_state=0), PointwiseRouter(Ridge()), BudgetDecider(price=0.1)
    steps[1].set_fit_request(costs=True)
    plain = make_pipeline(*map(clone, steps))
    framed = make_pipeline(*steps).set_output(transform=container)
    for pipeline in (plain, framed):
        pipeline.fit(table.data, table.quality, costs=table.costs)
    np.testing.assert_array_equal(framed.predict(table.data), plain.predict(table.data))
    assert type(framed.transform(table.data)).__module__.startswith(container)


@pytest.mark.parametrize("read", [from_wide, from_long, read_table])
def test_frames_name_the_models(read, tmp_path) -> None:
    wide = {"prompt": ["a b", "c d"], "small": [0, 1], "large": [1, None]}
    long = [
        {"query": "a b", "model": "small", "quality": 0, "cost": 1.0},
        {"query": "a b", "model": "large", "quality": 1, "cost": 9.0},
        {"query": "c d", "model": "small", "quality": 1, "cost": 2.0},
    ]
    table, options = (long, {}) if read is not from_wide else (wide, {})
    if read is from_wide:
        options = {"prices": {"small": 1.0, "large": 9.0}}
    if read is read_table:
        path = tmp_path / "calls.jsonl"
        path.write_text("\n".join(map(json.dumps, long)))
        table = path
    plain = read(table, **options)
    named = read(table, as_frame=True, **options)
    assert named.quality.columns.tolist() == plain.models.tolist()
    np.testing.assert_array_equal(named.quality, plain.quality)
    np.testing.assert_array_equal(named.costs, plain.costs)
    labels = named.costs.index if plain.costs.ndim == 1 else named.costs.columns
    assert labels.tolist() == plain.models.tolist()

"""Votes as arenas, competitions and spreadsheets write them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skroute.datasets import from_battles, from_wide
from skroute.preferences import win_rates

VOTES = {
    "model_a": ["small", "large", "small", "medium"],
    "model_b": ["large", "medium", "medium", "large"],
    "winner": ["model_b", "tie", "model_a", "tie (bothbad)"],
    "prompt": ["Prove it.", "Sing.", "What is 2 + 2?", "Sing."],
}
SCORES = [0.0, 0.5, 1.0, 0.5]


def test_battles_of_every_kind_of_table(tmp_path):
    records = pd.DataFrame(VOTES).to_dict("records")
    files = [tmp_path / name for name in ("t.csv", "t.jsonl", "t.parquet")]
    pd.DataFrame(VOTES).to_csv(files[0], index=False)
    files[1].write_text("\n".join(map(json.dumps, records)))
    pd.DataFrame(VOTES).to_parquet(files[2])
    for table in (VOTES, pd.DataFrame(VOTES), pl.DataFrame(VOTES), records, *files):
        votes = from_battles(table)
        assert votes.battles["score"].tolist() == SCORES
        assert votes.battles["model_a"].tolist() == VOTES["model_a"]
        assert votes.battles["model_b"].tolist() == VOTES["model_b"]
        assert votes.models.tolist() == ["large", "medium", "small"]
        assert votes.prompts.tolist() == VOTES["prompt"]
        assert votes.data is None
        assert "4 battles of 3 models, 50% of them ties" in votes.DESCR


@pytest.mark.parametrize(
    ("spelled", "score"),
    [
        *((name, 1.0) for name in ("model_a", "A", "a", " Model A ", "modelA", "x")),
        *((name, 0.0) for name in ("model_b", "B", "b", "MODEL_B", "Y-1")),
        *((name, 0.5) for name in ("tie", "Tie", "tie (bothbad)", "both_bad")),
        *((name, 0.5) for name in ("bothbad", "both bad", "draw", "tie (both good)")),
    ],
)
def test_outcomes_are_spelled_in_many_ways(spelled, score):
    table = {"model_a": ["x"], "model_b": ["Y-1"], "winner": [spelled]}
    assert from_battles(table).battles["score"].tolist() == [score]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (None, r"row 1 has None, which is empty"),
        (float("nan"), r"row 1 has nan, which is empty"),
        ("", r"row 1 has '', which is empty"),
        ("z", r"row 1 has 'z', which is not an outcome"),
        ("medium", r"row 1 has 'medium', which is not an outcome"),
        (0.5, r"row 1 has 0.5, which is not an outcome"),
        (["a"], r"row 1 has \['a'\], which is not an outcome"),
    ],
)
def test_what_is_no_outcome_is_named(cell, message):
    votes = {
        "model_a": ["small", "small"],
        "model_b": ["large", "large"],
        "winner": ["tie", cell],
    }
    with pytest.raises(ValueError, match=message):
        from_battles(votes)


def test_a_model_that_is_called_like_an_outcome():
    votes = {"model_a": ["b", "b"], "model_b": ["a", "c"], "winner": ["model_a", "b"]}
    with pytest.raises(ValueError, match=r"row 1 has 'b'.*more than one outcome"):
        from_battles(votes)
    votes = {"model_a": ["a"], "model_b": ["b"], "winner": ["a"]}
    assert from_battles(votes).battles["score"].tolist() == [1.0]


def test_outcomes_in_columns_of_their_own():
    votes = {
        "id": [1, 2, 3, 4],
        "model_a": ["x", "x", "y", "y"],
        "model_b": ["y", "z", "z", "x"],
        "winner_model_a": [1, 0, 0, 0],
        "winner_model_b": [0, 1, 0, 0],
        "winner_tie": [0, 0, 1, 0],
        "winner_tie_bothbad": [False, False, False, True],
    }
    assert from_battles(votes).battles["score"].tolist() == [1.0, 0.0, 0.5, 0.5]
    frame = pd.DataFrame(votes).drop(columns="winner_tie_bothbad")
    with pytest.raises(ValueError, match=r"row 3 of DataFrame must be 1 in one.*=0"):
        from_battles(frame)
    frame = frame.assign(winner_tie=[1, 0, 1, 1])
    with pytest.raises(ValueError, match=r"row 0 .*winner_model_a=1, .*winner_tie=1"):
        from_battles(frame)


def test_prompts_of_turns_and_of_conversations():
    turns = [
        '["Hello", "What is 2 + 2?"]',
        '["Sing.", null]',
        '["cut \\ud83d"]',
        '["a"]',
    ]
    votes = from_battles({**VOTES, "prompt": turns})
    assert votes.prompts.tolist() == ["What is 2 + 2?", "Sing.", "cut \ufffd", "a"]
    # One that is no list of turns: all are texts.
    votes = from_battles({**VOTES, "prompt": [*turns[:3], "[1, 2] is what?"]})
    assert votes.prompts[0] == turns[0]

    def chat(text):
        return [
            {"role": "user", "content": text},
            {"role": "assistant", "content": "Yes."},
        ]

    chats = {k: v for k, v in VOTES.items() if k != "prompt"}
    chats["conversation_a"] = [chat(p) for p in VOTES["prompt"]]
    assert from_battles(chats).prompts.tolist() == VOTES["prompt"]
    chats["conversation_a"] = [json.dumps(c) for c in chats["conversation_a"]]
    assert from_battles(chats).prompts.tolist() == VOTES["prompt"]
    chats["conversation_a"][2] = "[{'role': 'user' ..."
    with pytest.raises(ValueError, match=r"'conversation_a' must hold conv.*row 2"):
        from_battles(chats)


def test_names_of_columns_and_of_models(tmp_path):
    table = {
        "left": [1, 2, 1],
        "right": [2, 3, 3],
        "votes": [{"who": "a"}, {"who": "tie"}, {"who": "3"}],
    }
    named = {"model_a": "left", "model_b": "right", "winner": "votes.who"}
    votes = from_battles(table, **named, rename={"1": "one"})
    assert votes.models.tolist() == ["2", "3", "one"]
    assert votes.battles["score"].tolist() == [1.0, 0.5, 0.0]
    with pytest.raises(ValueError, match=r"no column 'model_a'.*model_a='...'"):
        from_battles(table)
    with pytest.raises(ValueError, match="no column 'winner', nor"):
        from_battles(table, model_a="left", model_b="right")
    with pytest.raises(ValueError, match=r"row 0 .* against itself.*1 rows are"):
        from_battles(table, **named, rename={"1": "2"})
    with pytest.raises(ValueError, match="column 'model_b' is empty in row 1"):
        from_battles({**VOTES, "model_b": ["large", None, "medium", "large"]})
    with pytest.raises(ValueError, match="has no rows"):
        from_battles({"model_a": [], "model_b": [], "winner": []})


def test_some_of_the_models():
    vectors = np.arange(8.0).reshape(4, 2)
    votes = from_battles(VOTES, models=["large", "medium"], embeddings=vectors)
    assert votes.models.tolist() == ["large", "medium"]
    assert votes.prompts.tolist() == ["Sing.", "Sing."]
    np.testing.assert_array_equal(votes.data, vectors[[1, 3]])
    with pytest.raises(ValueError, match="models names 'huge'"):
        from_battles(VOTES, models=["large", "huge"])
    with pytest.raises(ValueError, match="leaves no battle"):
        from_battles(VOTES, models=["large"])


def test_embeddings_go_with_the_rows():
    vectors = pd.DataFrame(np.arange(8.0).reshape(4, 2), index=list("abcd"))
    frame = pd.DataFrame(VOTES, index=list("dcba"))
    votes = from_battles(frame, embeddings=vectors)
    np.testing.assert_array_equal(votes.data, vectors.to_numpy()[::-1])
    votes = from_battles({**VOTES, "vector": vectors.to_numpy().tolist()})
    assert votes.data is None
    votes = from_battles(
        {**VOTES, "vector": vectors.to_numpy().tolist()}, embeddings="vector"
    )
    np.testing.assert_array_equal(votes.data, vectors)
    with pytest.raises(ValueError, match="one row for each of the 4"):
        from_battles(VOTES, embeddings=vectors.to_numpy()[:3])


def test_readers_of_qualities_say_where_votes_are_read():
    with pytest.raises(ValueError, match=r"from_battles; skroute\.preferences\.win"):
        from_wide(VOTES)


def test_what_is_read_is_what_win_rates_take():
    rng = np.random.default_rng(0)
    n = 240
    X = rng.normal(size=(n, 3))
    names = np.array(["x", "y", "z"])
    first = rng.integers(3, size=n)
    second = (first + rng.integers(1, 3, size=n)) % 3
    votes = from_battles(
        {
            "model_a": names[first],
            "model_b": names[second],
            "winner": np.where((first < second) == (X[:, 0] > 0), "A", "B"),
        },
        embeddings=X,
    )
    rates = win_rates(votes.data, votes.battles, random_state=0)
    assert list(rates.columns) == votes.models.tolist()
    assert (rates.to_numpy().argmax(axis=1) == np.where(X[:, 0] > 0, 0, 2)).mean() > 0.9

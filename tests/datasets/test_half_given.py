"""Tables that give half of what a model needs, or a model under two names."""

from __future__ import annotations

import pytest

from skroute.datasets import from_long, from_wide, read_table

WIDE = {
    "prompt": ["add 1", "add 2"],
    "small": [1.0, 0.0],
    "small|cost": [0.1, 0.1],
    "nano|cost": [0.01, 0.01],
}


def test_a_cost_of_a_model_without_a_column_is_refused():
    with pytest.raises(ValueError, match=r"'nano\|cost'.*add a column 'nano'"):
        from_wide(WIDE)
    table = from_wide(WIDE, models=["small"])
    assert table.models.tolist() == ["small"]
    assert from_wide({**WIDE, "nano": [0, 1]}).models.tolist() == ["small", "nano"]


def test_a_cost_with_an_underscore_may_be_of_anything():
    table = from_wide(
        {"prompt": ["a", "b"], "m": [1, 0], "m_cost": [1, 1], "setup_cost": [5, 5]}
    )
    assert table.models.tolist() == ["m"]


@pytest.mark.parametrize("twin", [" small", "small ", " small "])
def test_models_that_differ_only_in_spaces_are_refused(twin):
    calls = [
        {"query": query, "model": model, "quality": 1.0}
        for query, model in enumerate(["small", twin, "large"])
    ]
    with pytest.raises(ValueError, match="differ in nothing but spaces"):
        from_long(calls)
    renamed = from_long(calls, rename={twin: "small"})
    assert renamed.models.tolist() == ["large", "small"]
    wide = {"prompt": ["add 1"], "small": [1.0], twin: [0.0]}
    with pytest.raises(ValueError, match="differ in nothing but spaces"):
        from_wide(wide)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_file_in_utf16_is_named_with_the_way_out(ending, tmp_path):
    file = tmp_path / f"t.{ending}"
    file.write_text("prompt,m\nadd,1\n", encoding="utf-16")
    with pytest.raises(ValueError, match=rf"t\.{ending}: it is no text in UTF-8.*Save"):
        read_table(file)

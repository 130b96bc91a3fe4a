"""What the columns of published and of everyday routing tables are called."""

from __future__ import annotations

from collections.abc import Collection

__all__ = [
    "COST_COLUMNS",
    "COST_ENDING",
    "ID_COLUMNS",
    "LONG_QUERY_COLUMNS",
    "MODEL_COLUMNS",
    "PROMPT_COLUMNS",
    "QUALITY_COLUMNS",
    "TASK_COLUMNS",
    "TEXT_COLUMNS",
    "first_of",
    "is_dropped",
]

PROMPT_COLUMNS = ("prompt", "question", "query")
TASK_COLUMNS = ("eval_name", "task", "task_name")
ID_COLUMNS = ("sample_id", "query_id", "id")
#: Columns that hold text in a wide table; every other one is a model's.
TEXT_COLUMNS = PROMPT_COLUMNS + TASK_COLUMNS + ID_COLUMNS
#: End of the name of a wide table's cost columns.
COST_ENDING = "|total_cost"

# A long table has a row for each call. There, `id` often numbers the calls, so it is
# not taken for the query.
LONG_QUERY_COLUMNS = ("query_id", "sample_id", "query", "question", "prompt")
MODEL_COLUMNS = ("model", "model_name")
QUALITY_COLUMNS = ("quality", "score", "performance")
COST_COLUMNS = ("cost", "total_cost")

# How pandas calls the first column of a CSV file that DataFrame.to_csv wrote with its
# index, which has no name.
ROW_INDEX = "Unnamed: 0"
_DROPPED = ("oracle_model_to_route_to", ROW_INDEX)
_ANSWER_ENDINGS = ("|model_response", "_response")


def first_of(candidates: Collection[str], names: Collection[str]) -> str | None:
    """Find the first candidate that is among the names, ``None`` where none is."""
    return next((name for name in candidates if name in names), None)


def is_dropped(name: str, names: Collection[str]) -> bool:
    """Tell whether a column is left out: answers, the published oracle, row numbers.

    Parameters
    ----------
    name : str
        Name of the column.
    names : collection of str
        Names of all columns; an answer stands beside a column of its model.

    Returns
    -------
    bool
        Whether nothing reads it.
    """
    if name in _DROPPED or name.endswith(_ANSWER_ENDINGS[0]):
        return True
    model = name.removesuffix(_ANSWER_ENDINGS[1])
    return model != name and model in names

"""What the columns of published and of everyday routing tables are called."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

#: What a column of each kind may be called, the name that counts first at the front.
COLUMNS = {
    "prompt": ("prompt", "question", "query", "messages"),
    "task": ("eval_name", "task", "task_name"),
    "id": ("sample_id", "query_id", "id"),
    # In a long table `id` often numbers the calls, so it is not taken for the query.
    "query": ("query_id", "sample_id", "query", "question", "prompt", "messages"),
    "model": ("model", "model_name"),
    "quality": ("quality", "score", "performance"),
    "cost": ("cost", "total_cost", "spend", "response_cost"),
    "check": ("check",),
    "answer": ("answer",),
    "propensity": ("propensity", "chance", "probability"),
}
#: Columns that hold text in a wide table; every other one is a model's.
TEXT_COLUMNS = COLUMNS["prompt"] + COLUMNS["task"] + COLUMNS["id"]
#: End of the name of a wide table's cost columns.
COST_ENDING = "|total_cost"
#: Other ends under which the cost of a model stands beside its quality.
COST_ENDINGS = (COST_ENDING, "|cost", "_total_cost", "_cost")
#: End of the name of a wide table's columns of answers that are compared.
ANSWER_ENDING = "|answer"
# Columns of what a check said, of a wide and of a long table; several have names.
_WIDE_CHECK = re.compile(r"(.+)\|(check(?::[^|]+)?)")
_LONG_CHECK = re.compile(r"check(?::.+)?")

#: Name that pandas gives the unnamed index column of a CSV file.
ROW_INDEX = "Unnamed: 0"
_DROPPED = ("oracle_model_to_route_to", ROW_INDEX)
_ANSWER_ENDINGS = ("|model_response", "_response")

# Normalized names of columns that are no models in logs and votes: identifiers, token
# counts, times, money, votes, settings, metrics.
_SIDE = re.compile(
    r"(.*_)?(id|uuid|hash|index|idx)"
    r"|(.*_)?tokens?(_(in|out|count))?"
    r"|(.*_)?(time|timestamp|tstamp|date|datetime)(_(s|ms|utc))?"
    r"|(created|updated|started|ended|completed)(_(at|on))?"
    r"|(.*_)?(latency|duration|elapsed|ttft)(_(s|ms|sec|seconds))?"
    r"|(.*_)?(cost|price|spend|usd)"
    r"|winner(_.*)?"
    r"|propensity"
    r"|ts|week|turns|temperature|top_p|rating|score"
    r"|row|split|fold|seed|turn|label|length|difficulty|cluster|language"
    r"|acc|acc_norm|accuracy|correctness|exact_match|f1|f1_score|bleu|rouge(_.*)?"
)


def normalize(name: str) -> str:
    """Write a name in lower case with underscores: ``modelName``, ``Model Name``."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[ \-]+", "_", parted).lower()


def find_first(candidates: Collection[str], names: Collection[str]) -> str | None:
    """Find the name of the first candidate that is there, ``None`` where none is.

    ``Model Name`` and ``modelName`` are found too where a candidate is ``model_name``;
    a name that is spelled as the candidate goes before these.
    """
    spelled = next((name for name in candidates if name in names), None)
    if spelled is not None:
        return spelled
    written = {normalize(name): name for name in reversed(list(names))}
    return next((written[name] for name in candidates if name in written), None)


def suggest(wanted: Iterable[str], names: Collection[str]) -> str:
    """Ask, in an error, whether a name like the wanted ones was meant.

    The question begins with a space; where no name is alike, it is empty.
    """
    written = {normalize(name): name for name in names}
    for name in wanted:
        close = difflib.get_close_matches(normalize(name), written, n=1)
        if close:
            return f" Did you mean {written[close[0]]!r}?"
    return ""


def is_dropped(name: str, names: Collection[str]) -> bool:
    """Tell whether nothing reads a column, one of `names`.

    These are the published oracle, row numbers, and answers, which stand beside a
    column of their model.
    """
    if name in _DROPPED or name.endswith(_ANSWER_ENDINGS[0]):
        return True
    model = name.removesuffix(_ANSWER_ENDINGS[1])
    return model != name and model in names


def split_check(name: str) -> tuple[str, str] | None:
    """Split a wide table's column of checks into its model and the check's name."""
    found = _WIDE_CHECK.fullmatch(name)
    return None if found is None else (found[1], found[2])


def find_checks(names: Iterable[str]) -> list[str]:
    """Find a long table's columns of checks."""
    return [name for name in names if _LONG_CHECK.fullmatch(normalize(name))]


def is_known_side(name: str) -> bool:
    """Tell whether logs give this name to columns other than a model's quality."""
    return _SIDE.fullmatch(normalize(name.rpartition("|")[2])) is not None

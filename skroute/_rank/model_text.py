"""Read a ranking model in LightGBM's text format, into plain arrays of numbers.

Models come in this text from LightGBM after training, and from files of formats 1 and
2. LightGBM does not check it: a child outside of its tree ends the process. Here only
its numbers are read, and `PairRanker` checks that they make trees.
"""

from __future__ import annotations

import re
from array import array

import numpy as np

__all__ = ["MOST_TREES", "read_model"]

#: More would take minutes to read.
MOST_TREES = 100_000
# Lines of a tree that are read: the field they become, and integers or floats.
_LINES = {
    "split_feature": ("feature", "i"),
    "threshold": ("threshold", "d"),
    "left_child": ("left", "i"),
    "right_child": ("right", "i"),
    "leaf_value": ("value", "d"),
}
_HEADER = {"num_class": "1", "num_tree_per_iteration": "1"}
_OBJECTIVES = {"lambdarank", "cross_entropy", "regression"}
_NEXT = "\n\nTree="
_END = "\n\nend of trees\n"
# Comparisons with a number; 2 is where a missing value would go, and there is none.
_PLAIN = {"0", "2"}
_LONGEST = 40  # characters of a number


def read_model(text: str) -> dict[str, np.ndarray | int]:
    """Read the numbers of a ranking model: the attributes of a `PairRanker`.

    Raises
    ------
    ValueError
        If it is not a ranker of plain numeric trees.
    """
    if not text.isascii() or not text.startswith("tree\n"):
        raise ValueError("it is not a model in LightGBM's text format")
    end = text.find(_END)
    if end < 0:
        raise ValueError("its trees have no end")
    if text.count(_NEXT, 0, end) > MOST_TREES:
        raise ValueError(f"it has more than {MOST_TREES:,} trees")
    start = text.find(_NEXT, 0, end)
    start = end if start < 0 else start
    header = _read_fields(text[len("tree\n") : start].rstrip("\n"))
    last = header.get("max_feature_idx", "")
    if (
        not _HEADER.items() <= header.items()
        or header.get("objective") not in _OBJECTIVES
        or "average_output" in header
        or not re.fullmatch(r"\d{1,4}", last)
    ):
        raise ValueError("the lines before its trees are not a ranker's")
    n_leaves = array("q")
    found = {name: array(code) for name, code in _LINES.values()}
    while start < end:
        stop = text.find(_NEXT, start + 1, end)
        stop = end if stop < 0 else stop
        lines = text[start + len(_NEXT) : stop].partition("\n")[2]
        try:
            n_leaves.append(_add_tree(_read_fields(lines.rstrip("\n")), found))
        except ValueError as error:
            raise ValueError(f"its tree {len(n_leaves)}: {error}") from None
        start = stop
    arrays = {
        name: np.frombuffer(numbers, numbers.typecode)
        for name, numbers in {"n_leaves": n_leaves, **found}.items()
    }
    return {"n_features": int(last) + 1, **arrays}


def _read_fields(lines: str) -> dict[str, str]:
    """Lines ``name=value``; of a line without a value its name."""
    return dict(line.partition("=")[::2] for line in lines.split("\n"))


def _add_tree(fields: dict[str, str], found: dict[str, array]) -> int:
    """Add the numbers of one tree to those before it; returns its number of leaves."""
    leaves = fields.get("num_leaves", "")
    if not re.fullmatch(r"[1-9]\d{0,5}", leaves):
        raise ValueError("its line 'num_leaves' is not a number of leaves")
    n_leaves = int(leaves)
    plain = fields.get("num_cat") == fields.get("is_linear", "0") == "0"
    if not plain or not _are_plain(fields.pop("decision_type", ""), n_leaves - 1):
        raise ValueError("it is not a plain tree of numeric splits")
    for line, (name, _) in _LINES.items():
        size = n_leaves - (name != "value")
        if not _extend(found[name], fields.pop(line, ""), size):
            raise ValueError(f"its line {line!r} does not hold {size} plain numbers")
    return n_leaves


def _are_plain(line: str, size: int) -> bool:
    """Whether all splits compare with a number."""
    kinds = line.split()
    return len(kinds) == size and set(kinds) <= _PLAIN


def _extend(found: array, line: str, size: int) -> bool:
    """Add the numbers of a line; returns whether there are `size` of them."""
    # Words take far more memory than their line: none outlives this call.
    words = line.split()
    if len(words) != size or max(map(len, words), default=0) > _LONGEST:
        return False
    try:
        found.extend(map(float if found.typecode == "d" else int, words))
    except (ValueError, OverflowError):
        return False
    return True

"""LightGBM's model text, checked before LightGBM reads it.

LightGBM trusts the text of a model: a child that points outside of its tree ends the
process, and one that points back keeps it busy for ever. So a text from a file has to
be a forest of plain numeric trees: the lines that LightGBM writes, as many numbers as
there are nodes, features that exist, and every node the child of exactly one other.
"""

from __future__ import annotations

import re

import numpy as np

__all__ = ["check_model_text"]

# Names of a tree's lines, and how many numbers each has less the number of leaves.
_PER_NODE = {
    **dict.fromkeys(("leaf_value", "leaf_weight", "leaf_count"), 0),
    **dict.fromkeys(
        ("split_feature", "split_gain", "threshold", "decision_type", "left_child"), -1
    ),
    **dict.fromkeys(
        ("right_child", "internal_value", "internal_weight", "internal_count"), -1
    ),
}
_HEADER = {
    "version": r"v\d{1,3}",
    "num_class": "1",
    "num_tree_per_iteration": "1",
    "label_index": r"\d{1,9}",
    "max_feature_idx": r"\d{1,6}",
    "objective": r"lambdarank",
    "feature_names": r"[\w ]*",
    "feature_infos": r"[\w\[\]:.+\- ]*",
    "tree_sizes": r"[\d ]*",
}
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|inf|nan)"
_NUMBERS = re.compile(rf"{_NUMBER}(?: {_NUMBER})*", re.IGNORECASE)
_INTEGERS = re.compile(r"-?\d{1,9}(?: -?\d{1,9})*")
_END = "end of trees\n"
# After the trees: what LightGBM keeps but does not predict with.
_APPENDIX = re.compile(
    r"\nfeature_importances:\n(?:\w{1,40}=\d{1,12}\n)*"
    r"\nparameters:\n(?:\[\w{1,60}: (?:[a-z_]*|[-+.\de]+(?:,[-+.\de]+)*)\]\n)*"
    r"\nend of parameters\n"
    r"(?:\npandas_categorical:(?:null|\[\])\n?)?"
)
_MOST_LEAVES = 100_000


def check_model_text(text: str) -> None:
    """Check that LightGBM can read a ranking model, and predict with it, safely.

    Parameters
    ----------
    text : str
        The model in LightGBM's text format.

    Raises
    ------
    ValueError
        If it is anything else than a forest of numeric trees.
    """
    trees, end, appendix = text.partition(_END)
    header, *blocks = trees.split("\n\nTree=")
    if not end or not text.startswith("tree\n"):
        raise ValueError("it is not a model in LightGBM's text format")
    if not _APPENDIX.fullmatch(appendix):
        raise ValueError("the parameters behind its trees are not as LightGBM's are")
    fields = _fields(header.removeprefix("tree\n"))
    for name, pattern in _HEADER.items():
        if not re.fullmatch(pattern, fields.pop(name, "")):
            raise ValueError(f"its line {name!r} is missing, or not a ranker's")
    if fields:
        raise ValueError(f"it has a line {next(iter(fields))[:40]!r} before its trees")
    n_features = int(re.search(r"max_feature_idx=(\d+)", header)[1]) + 1  # type: ignore[index]
    for name in ("feature_names", "feature_infos"):
        listed = re.search(rf"^{name}=(.*)$", header, re.MULTILINE)
        if len((listed[1] if listed else "").split()) != n_features:
            raise ValueError(f"its line {name!r} does not have {n_features} entries")
    _check_sizes(header, trees)
    for number, block in enumerate(blocks):
        first, _, rest = block.partition("\n")
        if first != str(number):
            raise ValueError(f"a tree is called {first[:40]!r}, not {number}")
        try:
            _check_tree(_fields(rest), n_features)
        except ValueError as error:
            raise ValueError(f"its tree {number}: {error}") from None


def _fields(lines: str) -> dict[str, str]:
    """Lines ``name=value``, each once."""
    fields: dict[str, str] = {}
    for line in filter(None, lines.split("\n")):
        name, equals, value = line.partition("=")
        if not equals or name in fields:
            raise ValueError(f"it has a line {line[:40]!r} that does not belong there")
        fields[name] = value
    return fields


def _check_sizes(header: str, trees: str) -> None:
    """Check the lengths by which LightGBM finds the trees."""
    listed = re.search(r"^tree_sizes=(.*)$", header, re.MULTILINE)
    sizes = [int(size) for size in (listed[1] if listed else "").split()]
    starts = [match.start() + 2 for match in re.finditer(r"\n\nTree=", trees)]
    ends = [*starts[1:], len(trees)]
    if sizes != [end - start for start, end in zip(starts, ends, strict=True)]:
        raise ValueError("its line 'tree_sizes' does not fit its trees")


def _check_tree(fields: dict[str, str], n_features: int) -> None:
    """Check one tree: sizes, features, and that it is a tree."""
    leaves = fields.pop("num_leaves", "")
    n_leaves = int(leaves) if re.fullmatch(r"\d{1,6}", leaves) else 0
    if not 1 <= n_leaves <= _MOST_LEAVES:
        raise ValueError("it has no, or too many, leaves")
    if fields.pop("num_cat", "") != "0" or fields.pop("is_linear", "0") != "0":
        raise ValueError("it is not a plain tree of numeric splits")
    shrinkage = fields.pop("shrinkage", "1")
    if not re.fullmatch(_NUMBER, shrinkage):
        raise ValueError("its shrinkage is not a number")
    if n_leaves == 1:
        # A constant; LightGBM leaves out what a single leaf does not need.
        fields = {name: value for name, value in fields.items() if value}
        if not set(fields) <= set(_PER_NODE) or not _sized(fields, n_leaves):
            raise ValueError("it is a single leaf with more than a value")
        return
    if set(fields) != set(_PER_NODE) or not _sized(fields, n_leaves):
        raise ValueError("it does not have the lines, or the numbers, of its nodes")
    feature = _integers(fields["split_feature"])
    if feature.min() < 0 or feature.max() >= n_features:
        raise ValueError(f"it splits on a feature outside of its {n_features}")
    if not set(_integers(fields["decision_type"])) <= {0, 2, 4, 6, 8, 10}:
        raise ValueError("it splits otherwise than by a number")
    _check_links(
        _integers(fields["left_child"]), _integers(fields["right_child"]), n_leaves
    )


def _sized(fields: dict[str, str], n_leaves: int) -> bool:
    """Whether every line has the numbers that it should have."""
    return all(
        _NUMBERS.fullmatch(value)
        and value.count(" ") + 1 == max(n_leaves + _PER_NODE[name], 1)
        for name, value in fields.items()
    )


def _integers(line: str) -> np.ndarray:
    if not _INTEGERS.fullmatch(line):
        raise ValueError("it has something else where a node or a feature belongs")
    return np.array(line.split(" "), dtype=np.int64)


def _check_links(left: np.ndarray, right: np.ndarray, n_leaves: int) -> None:
    """Every node but the root is a child once, and all hang on the root.

    A leaf i is written as ``~i``. A child comes after its parent, as LightGBM numbers
    the nodes while it grows them, so there is no way back.
    """
    children = np.concatenate([left, right])
    inner, leaf = children[children >= 0], ~children[children < 0]
    each_once = np.array_equal(np.sort(inner), np.arange(1, len(left)))
    if not each_once or not np.array_equal(np.sort(leaf), np.arange(n_leaves)):
        raise ValueError("its nodes are not each the child of one other")
    parent = np.tile(np.arange(len(left)), 2)
    if (children[children >= 0] <= parent[children >= 0]).any():
        raise ValueError("a node of it comes before its parent")

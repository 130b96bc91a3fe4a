"""Trees as arrays of numbers, from LightGBM's model text and back to it.

LightGBM trusts the text of a model: a child that points outside of its tree ends the
process, and one that points back keeps it busy for ever. So the text of a file is read
here, once, and only its numbers are kept; whatever predicts is made from these.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["MOST_TREES", "Trees", "read_trees", "write_trees"]

_HEADER = {
    "version": r"v\d{1,3}",
    "num_class": r"1",
    "num_tree_per_iteration": r"1",
    "label_index": r"\d{1,9}",
    "max_feature_idx": r"\d{1,4}",
    "objective": r"lambdarank",
    "feature_names": r"[\w ]*",
    "feature_infos": r"[\w\[\]:.+\- ]*",
    "tree_sizes": r"[\d ]*",
}
# Lines of a tree that are read, and what they become: integers or floats.
_LINES = {
    "split_feature": "i",
    "threshold": "d",
    "left_child": "i",
    "right_child": "i",
    "leaf_value": "d",
}
_FIELDS = ("feature", "threshold", "left", "right", "value")
# Lines that LightGBM keeps for other uses than prediction.
_OTHERS = {"split_gain", "leaf_weight", "leaf_count", "shrinkage"} | {
    f"internal_{kept}" for kept in ("value", "weight", "count")
}
# Possessive, so that a match takes one look at each character.
_FLOAT = r"-?+\d{1,40}+(?:\.\d{1,40}+)?+(?:e[+-]?+\d{1,3}+)?+"
_FLOATS = re.compile(rf"{_FLOAT}(?: {_FLOAT})*+", re.ASCII)
_INTEGERS = re.compile(r"-?+\d{1,9}+(?: -?+\d{1,9}+)*+", re.ASCII)
_NEXT = "\n\nTree="
_END = "\n\nend of trees\n"
#: More would take minutes to read.
MOST_TREES = 100_000
_MOST_LEAVES = 131_072  # LightGBM's own limit
# What LightGBM writes in place of infinity, and what leaves add up to is finite.
_LARGEST = 1e300
# Comparisons with a number; 2 is where a missing value would go, and there is none.
_PLAIN = re.compile(r"[02](?: [02])*+")


@dataclass(frozen=True)
class Trees:
    """A sum of trees: a query goes left where its feature is at most the threshold.

    Nodes and leaves stand one tree after the other, in the order of LightGBM.

    Attributes
    ----------
    n_features : int
        Number of features.
    n_leaves : ndarray of int of shape (n_trees,)
        Leaves of each tree; it has one node less, and node 0 is its root.
    feature : ndarray of int of shape (n_nodes,)
        Feature of each node.
    threshold : ndarray of shape (n_nodes,)
        What the feature is compared with.
    left, right : ndarray of int of shape (n_nodes,)
        Children of each node: a later node of its tree, or leaf i of it as ``~i``.
    value : ndarray of shape (sum of n_leaves,)
        Values of the leaves.
    """

    n_features: int
    n_leaves: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray

    def parts(self) -> Iterator[tuple[slice, slice]]:
        """Where the nodes and the leaves of each tree are."""
        leaf = 0
        for number, n_leaves in enumerate(self.n_leaves.tolist()):
            node = leaf - number
            yield slice(node, node + n_leaves - 1), slice(leaf, leaf + n_leaves)
            leaf += n_leaves


def read_trees(text: str) -> Trees:
    """Read a ranking model.

    Parameters
    ----------
    text : str
        The model in LightGBM's text format.

    Returns
    -------
    Trees
        Its numbers.

    Raises
    ------
    ValueError
        If the text is anything but a forest of plain numeric trees, whose numbers are
        finite, whose features exist, and in which every node but the root is the child
        of exactly one earlier node.
    """
    # Python reads digits of any script as numbers; nothing else here should.
    if not text.isascii() or not text.startswith("tree\n"):
        raise ValueError("it is not a model in LightGBM's text format")
    end = text.find(_END)
    if end < 0:
        raise ValueError("its trees have no end")
    start = text.find(_NEXT, 0, end)
    start = end if start < 0 else start
    if text.count(_NEXT, 0, end) > MOST_TREES:
        raise ValueError(f"it has more than {MOST_TREES:,} trees")
    n_features = _n_features(text[len("tree\n") : start].rstrip("\n"))
    leaves, numbers = array("q"), {name: array(code) for name, code in _LINES.items()}
    while start < end:
        stop = text.find(_NEXT, start + 1, end)
        stop = end if stop < 0 else stop
        first, _, lines = text[start + len(_NEXT) : stop].partition("\n")
        try:
            if first != str(len(leaves)):
                raise ValueError(f"it is called {first[:40]!r}")
            leaves.append(_add_tree(_fields(lines.removesuffix("\n")), numbers))
        except ValueError as error:
            raise ValueError(f"its tree {len(leaves)}: {error}") from None
        start = stop
    arrays = [np.frombuffer(line, line.typecode) for line in numbers.values()]
    trees = Trees(n_features, np.frombuffer(leaves, np.int64), *arrays)
    _check(trees)
    return trees


def write_trees(trees: Trees) -> str:
    """Write a ranking model in LightGBM's text format, from its numbers alone.

    Parameters
    ----------
    trees : Trees
        The numbers.

    Returns
    -------
    str
        Text that LightGBM and `read_trees` read.
    """
    blocks = [
        _block(number, trees, *parts) for number, parts in enumerate(trees.parts())
    ]
    names = " ".join(f"Column_{i}" for i in range(trees.n_features))
    infos = " ".join(["none"] * trees.n_features)
    header = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
        f"max_feature_idx={trees.n_features - 1}\nobjective=lambdarank\n"
        f"feature_names={names}\nfeature_infos={infos}\n"
        f"tree_sizes={' '.join(str(len(block)) for block in blocks)}\n\n"
    )
    return header + "".join(blocks) + "end of trees\n"


def _block(number: int, trees: Trees, nodes: slice, leaves: slice) -> str:
    n_nodes = nodes.stop - nodes.start
    lines = [f"Tree={number}", f"num_leaves={n_nodes + 1}", "num_cat=0"]
    for name, field in zip(_LINES, _FIELDS, strict=True):
        values = getattr(trees, field)[leaves if field == "value" else nodes]
        lines.append(f"{name}={' '.join(map(repr, values.tolist()))}")
    lines += [f"decision_type={' '.join(['2'] * n_nodes)}", "is_linear=0"]
    return "\n".join([*lines, "shrinkage=1", "\n\n"])


def _n_features(header: str) -> int:
    """Number of features, of lines before the trees that are those of a ranker."""
    fields = _fields(header)
    if fields.keys() != _HEADER.keys():
        raise ValueError("the lines before its trees are not a ranker's")
    for name, pattern in _HEADER.items():
        if not re.fullmatch(pattern, fields[name], re.ASCII):
            raise ValueError(f"its line {name!r} is not a ranker's")
    n_features = int(fields["max_feature_idx"]) + 1
    for name in ("feature_names", "feature_infos"):
        if fields[name].count(" ") + 1 != n_features:
            raise ValueError(f"its line {name!r} does not have {n_features} entries")
    return n_features


def _fields(lines: str) -> dict[str, str]:
    """Lines ``name=value``, each once."""
    fields: dict[str, str] = {}
    for line in lines.split("\n"):
        name, equals, value = line.partition("=")
        if not equals or name in fields:
            raise ValueError(f"it has a line {line[:40]!r} that does not belong there")
        fields[name] = value
    return fields


def _add_tree(fields: dict[str, str], numbers: dict[str, array]) -> int:
    """Add the numbers of one tree to those before it; returns its number of leaves."""
    leaves = fields.pop("num_leaves", "")
    n_leaves = int(leaves) if re.fullmatch(r"[1-9]\d{0,5}", leaves) else 0
    if not 1 <= n_leaves <= _MOST_LEAVES:
        raise ValueError("it has no, or too many, leaves")
    kinds = fields.pop("decision_type", "")
    plain = fields.pop("num_cat", "") == fields.pop("is_linear", "0") == "0"
    if not plain or not _has(_PLAIN, kinds, n_leaves - 1):
        raise ValueError("it is not a plain tree of numeric splits")
    if not set(fields) <= {*_LINES, *_OTHERS}:
        raise ValueError("it has lines that are not LightGBM's")
    for name, found in numbers.items():
        line = fields.get(name, "")
        size = n_leaves - (name != "leaf_value")
        pattern, kind = (_FLOATS, float) if found.typecode == "d" else (_INTEGERS, int)
        if not _has(pattern, line, size):
            raise ValueError(f"its line {name!r} does not hold {size} plain numbers")
        found.extend(map(kind, line.split(" ") if size else ()))
    return n_leaves


def _has(pattern: re.Pattern[str], line: str, size: int) -> bool:
    """Whether a line holds so many numbers of a pattern."""
    if size == 0:
        return not line
    return line.count(" ") + 1 == size and pattern.fullmatch(line) is not None


def _check(trees: Trees) -> None:
    """Check that the numbers are finite, the features exist and the trees are trees.

    Every node but the root is a child once, and so is every leaf. A child comes after
    its parent, as LightGBM numbers the nodes while it grows them: so there is no way
    back, and no tree has a part of one before it. As each needs all its children for
    its own nodes and leaves, none has a part of one behind it either.
    """
    for numbers in (trees.threshold, trees.value):
        if not (np.abs(numbers) <= _LARGEST).all():
            raise ValueError(f"its trees have a number above {_LARGEST:g} in size")
    if trees.feature.size and not (
        trees.feature.min() >= 0 and trees.feature.max() < trees.n_features
    ):
        raise ValueError(
            f"its trees split on a feature outside of its {trees.n_features}"
        )
    n_nodes = trees.n_leaves - 1
    tree = np.repeat(np.arange(len(n_nodes)), n_nodes)
    first_node = (np.cumsum(n_nodes) - n_nodes)[tree]
    first_leaf = (np.cumsum(trees.n_leaves) - trees.n_leaves)[tree]
    nodes, leaves = [], []
    for child in (trees.left, trees.right):
        inner = child >= 0
        nodes.append(child[inner] + first_node[inner])
        leaves.append(~child[~inner] + first_leaf[~inner])
        if (nodes[-1] <= np.flatnonzero(inner)).any():
            raise ValueError("its trees have a node that comes before its parent")
    hanging = np.delete(np.arange(len(tree)), np.unique(first_node))
    # The leaf of a tree without nodes is no child.
    reached = np.flatnonzero(np.repeat(n_nodes > 0, trees.n_leaves))
    for found, expected in ((nodes, hanging), (leaves, reached)):
        if not np.array_equal(np.sort(np.concatenate(found)), expected):
            raise ValueError("a node or leaf of its trees is not the child of one node")

"""The ranker: a sum of trees as plain arrays, checked and evaluated in NumPy.

Estimates are the same to the last bit as LightGBM's, whose overhead per call would
dominate a request of one query.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from skroute._compute.cached import SavesFields
from skroute._compute.chunks import chunks
from skroute._rank.model_text import MOST_TREES, read_model

__all__ = ["PairRanker"]

_MOST_LEAVES = 131_072  # LightGBM's own limit
# Limit that keeps sums of leaves finite; LightGBM writes it in place of infinity.
_LARGEST = 1e300
# Most leaves of a tree that fit the bits of a byte.
_N_BITS = 8
# For each byte of crossed-out leaves, the first that is left; the last always is.
_FIRST_LEFT = np.array(
    [(~code & (code + 1)).bit_length() - 1 for code in range(1 << _N_BITS - 1)]
)
# Pairs times trees at once: few enough for the cache, and enough that threads seldom
# wait for the interpreter's lock. It bounds the memory whatever the number of trees.
_AT_ONCE = 100 * 1024


@dataclass(frozen=True, eq=False)
class PairRanker(SavesFields):
    """A trained LambdaRank model: from features of pairs to corrections of scores.

    A pair goes left where its feature is at most the threshold. Nodes and leaves stand
    one tree after the other.

    Raises a ``ValueError`` if the arrays are anything but trees of finite numbers,
    whose features exist, and in which every node but the root is the child of exactly
    one earlier node.
    """

    n_features: int
    n_leaves: np.ndarray  # of each tree; it has one node less, and node 0 is its root
    feature: np.ndarray  # of each node
    threshold: np.ndarray  # what the feature is compared with
    # Children of each node: a later node of its tree, or leaf i of it as ``~i``.
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray  # of the leaves, (sum of n_leaves,)

    def __post_init__(self) -> None:
        _check_arrays(self)
        _check_trees(self)

    @classmethod
    def from_text(cls, text: str) -> PairRanker:
        """Read a model in LightGBM's text format."""
        return cls(**read_model(text))  # type: ignore[arg-type]

    @classmethod
    def without_trees(cls, n_features: int) -> PairRanker:
        """Make a ranker that corrects nothing."""
        whole, number = np.zeros(0, dtype=np.int64), np.zeros(0)
        return cls(n_features, whole, whole, number, whole, whole, number)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Corrections (n_queries, n_models) of the scores from which training started.

        `features` are those of pairs, (n_queries, n_models, n_features).
        """
        n_queries, n_models, n_features = features.shape
        if n_features != self.n_features:
            raise ValueError(
                f"the ranker knows {self.n_features} features of a pair; got "
                f"{n_features}."
            )
        pairs = features.reshape(n_queries * n_models, n_features)
        total = np.empty(len(pairs))
        at_once = max(1, _AT_ONCE // max(1, len(self.n_leaves)))
        for part in chunks(len(pairs), at_once):
            columns = np.ascontiguousarray(pairs[part].T)
            # Added up in the order of the trees.
            np.add.reduce(
                self._evaluator.reach_leaves(columns), axis=0, out=total[part]
            )
        return total.reshape(n_queries, n_models)

    @cached_property
    def _evaluator(self) -> _Bits | _Walk:
        small = self.n_leaves.max(initial=0) <= _N_BITS
        return _Bits(self) if small else _Walk(self)

    def iterate_trees(self) -> Iterator[tuple[slice, slice]]:
        """Where the nodes and the leaves of each tree are."""
        leaf = 0
        for number, n_leaves in enumerate(self.n_leaves.tolist()):
            node = leaf - number
            yield slice(node, node + n_leaves - 1), slice(leaf, leaf + n_leaves)
            leaf += n_leaves

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class _Bits:
    """Trees of at most 8 leaves: all nodes are compared at once, and no path followed.

    Every leaf of a tree is a bit, from left to right. A node whose condition fails
    crosses out the leaves on its left; the first leaf that is not crossed out is the
    one reached [1]_. One query takes a third of the time of `_Walk`.

    References
    ----------
    .. [1] C. Lucchese et al., "QuickScorer: a fast algorithm to rank documents with
       additive ensembles of regression trees", SIGIR 2015.
    """

    def __init__(self, trees: PairRanker) -> None:
        n_trees = len(trees.n_leaves)
        shape = _N_BITS - 1, n_trees
        self._feature = np.zeros(shape, dtype=np.intp)
        threshold = np.full((*shape, 1), np.inf)
        self._crossed = np.zeros((*shape, 1), dtype=np.uint8)
        value = np.zeros((n_trees, _N_BITS))
        left, right = trees.left.tolist(), trees.right.tolist()
        for number, (nodes, leaves) in enumerate(trees.iterate_trees()):
            order, crossed = _order_leaves(left[nodes], right[nodes])
            n_nodes = len(crossed)
            self._feature[:n_nodes, number] = trees.feature[nodes]
            threshold[:n_nodes, number, 0] = trees.threshold[nodes]
            self._crossed[:n_nodes, number, 0] = crossed
            value[number, : n_nodes + 1] = trees.value[leaves][order]
        # By the leaves that are crossed out: the value of the first that is left.
        self._value = value.take(_FIRST_LEFT, axis=1)
        self._start = np.arange(n_trees)[:, None] * len(_FIRST_LEFT)
        # No number of single precision lies between a threshold and what it is rounded
        # down to: comparisons with either come out the same.
        with np.errstate(over="ignore"):
            below = threshold.astype(np.float32)
        above = below > threshold
        below[above] = np.nextafter(below[above], np.float32(-np.inf))
        self._thresholds = {"d": threshold, "f": below}

    def reach_leaves(self, columns: np.ndarray) -> np.ndarray:
        """Values (n_trees, n_pairs) of the leaves reached by (n_features, n_pairs)."""
        seen = columns.take(self._feature, axis=0)
        crossed = (seen > self._thresholds[columns.dtype.char]).view(np.uint8)
        crossed *= self._crossed
        return self._value.take(np.bitwise_or.reduce(crossed, axis=0) + self._start)


class _Walk:
    """Trees of any size: pairs walk down all of them, one level at a time."""

    def __init__(self, trees: PairRanker) -> None:
        # Leaves follow the nodes, and lead to themselves.
        nodes, tree = len(trees.feature), _number_trees(trees)
        self._n_nodes, self._value = nodes, trees.value
        leaves = nodes + np.arange(len(trees.value))
        first_leaf = np.cumsum(trees.n_leaves) - trees.n_leaves
        first_node = first_leaf - np.arange(len(first_leaf))

        def number_children(child: np.ndarray) -> np.ndarray:
            # From numbers within a tree to places among all nodes, then all leaves.
            inner = child + first_node[tree]
            return np.where(child >= 0, inner, nodes + ~child + first_leaf[tree])

        self._left = np.append(number_children(trees.left), leaves)
        self._right = np.append(number_children(trees.right), leaves)
        self._feature = np.append(trees.feature, np.zeros_like(leaves))
        self._threshold = np.append(trees.threshold, np.zeros(len(leaves)))
        roots = np.where(trees.n_leaves > 1, first_node, nodes + first_leaf)
        self._roots = roots[:, None]

    def reach_leaves(self, columns: np.ndarray) -> np.ndarray:
        """Values (n_trees, n_pairs) of the leaves reached by (n_features, n_pairs)."""
        pair = np.arange(columns.shape[1])
        at = np.repeat(self._roots, len(pair), axis=1)
        while (at < self._n_nodes).any():
            goes_left = columns[self._feature[at], pair] <= self._threshold[at]
            at = np.where(goes_left, self._left[at], self._right[at])
        return self._value[at - self._n_nodes]


def _order_leaves(left: list[int], right: list[int]) -> tuple[list[int], list[int]]:
    """Leaves of a tree from left to right, and the bits of those on each node's left.

    A leaf i is written as ``~i``. A child comes after its parent.
    """
    order: list[int] = []
    waiting = [0] if left else [~0]
    while waiting:
        node = waiting.pop()
        if node < 0:
            order.append(~node)
        else:
            waiting += [right[node], left[node]]
    bit = {~leaf: 1 << place for place, leaf in enumerate(order)}
    for node in range(len(left) - 1, -1, -1):
        bit[node] = bit[left[node]] | bit[right[node]]
    return order, [bit[child] for child in left]


def _number_trees(trees: PairRanker) -> np.ndarray:
    return np.repeat(np.arange(len(trees.n_leaves)), trees.n_leaves - 1)


def _check_arrays(trees: PairRanker) -> None:
    """Check types, sizes and ranges: the arrays may come from a file."""
    arrays = {field.name: getattr(trees, field.name) for field in fields(trees)}
    if type(arrays.pop("n_features")) is not int:
        raise ValueError("its trees have no number of features")
    for name, numbers in arrays.items():
        # Sums of narrower numbers would overflow.
        types = ["f8"] if name in ("threshold", "value") else ["i4", "i8"]
        if not (
            isinstance(numbers, np.ndarray)
            and numbers.ndim == 1
            and numbers.dtype.newbyteorder("=") in types
        ):
            raise ValueError(f"the {name} of its trees is not a list of numbers")
    n_leaves = trees.n_leaves
    if len(n_leaves) > MOST_TREES:
        raise ValueError(f"it has more than {MOST_TREES:,} trees")
    if not ((n_leaves >= 1) & (n_leaves <= _MOST_LEAVES)).all():
        raise ValueError("its trees have no, or too many, leaves")
    n_nodes = int(n_leaves.sum()) - len(n_leaves)
    sizes = {len(arrays[name]) for name in ("feature", "threshold", "left", "right")}
    if len(trees.value) != n_leaves.sum() or sizes != {n_nodes}:
        raise ValueError("its trees do not have one node less than leaves")
    for numbers in (trees.threshold, trees.value):
        if not (np.abs(numbers) <= _LARGEST).all():
            raise ValueError(f"its trees have a number above {_LARGEST:g} in size")
    if n_nodes and not (
        trees.feature.min() >= 0 and trees.feature.max() < trees.n_features
    ):
        raise ValueError(
            f"its trees split on a feature outside of its {trees.n_features}"
        )


def _check_trees(trees: PairRanker) -> None:
    """Check that every node but a root, and every leaf, is the child of one node.

    A child comes after its parent, as LightGBM numbers the nodes while it grows them:
    so there is no way back, and no tree has a part of one before it. As each needs all
    its children for its own nodes and leaves, none has a part of one behind it either.
    """
    tree = _number_trees(trees)
    n_nodes = trees.n_leaves - 1
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

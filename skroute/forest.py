"""Small trees, evaluated for all pairs at once, to the last bit as LightGBM does.

Every leaf of a tree is a bit, from left to right. A node whose condition fails
crosses out the leaves on its left; the first leaf that is not crossed out is the one
reached. So no path is followed: all nodes of all trees are compared, and their bits
joined.

References
----------
C. Lucchese, F. M. Nardini, S. Orlando, R. Perego, N. Tonellotto and R. Venturini,
"QuickScorer: a fast algorithm to rank documents with additive ensembles of regression
trees", SIGIR 2015.
"""

from __future__ import annotations

import numpy as np

from skroute.chunks import chunks

__all__ = ["SmallForest"]

_MOST_LEAVES = 8
# The first leaf that is left, of leaves that are crossed out: never the last of them.
_FIRST_LEFT = np.array(
    [(~code & (code + 1)).bit_length() - 1 for code in range(1 << _MOST_LEAVES - 1)]
)
# Pairs at once: few enough for the cache, and so many that threads seldom take turns.
_AT_ONCE = 1024


class SmallForest:
    """A sum of trees of at most 8 leaves.

    Parameters
    ----------
    trees : list of dict of str to str
        Lines of each tree in LightGBM's text.
    """

    def __init__(self, trees: list[dict[str, str]]) -> None:
        shape = _MOST_LEAVES - 1, len(trees)
        self._feature = np.zeros(shape, dtype=np.intp)
        self._threshold = np.full((*shape, 1), np.inf)
        self._crossed = np.zeros((*shape, 1), dtype=np.uint8)
        self._value = np.zeros((len(trees), _MOST_LEAVES))
        for number, tree in enumerate(trees):
            self._place(number, tree)
        self._first = np.arange(len(trees))[:, None] * _MOST_LEAVES
        # No number of single precision lies between a threshold and what it is rounded
        # down to: comparisons with either come out the same.
        with np.errstate(over="ignore"):
            below = self._threshold.astype(np.float32)
        above = below > self._threshold
        below[above] = np.nextafter(below[above], np.float32(-np.inf))
        self._thresholds = {"d": self._threshold, "f": below}

    @classmethod
    def of(cls, text: str) -> SmallForest | None:
        """Read a model in LightGBM's text format; ``None`` if it is another kind."""
        _, *blocks = text.partition("end of trees")[0].split("\n\nTree=")
        trees = [
            dict(line.split("=", 1) for line in block.split("\n") if "=" in line)
            for block in blocks
        ]
        return cls(trees) if trees and all(map(_is_small, trees)) else None

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Sum the leaves that rows reach.

        Parameters
        ----------
        rows : ndarray of shape (n_rows, n_features)
            Finite features, float32 or float64.

        Returns
        -------
        ndarray of shape (n_rows,)
            The sums, added up in the order of the trees.
        """
        total = np.empty(len(rows))
        threshold = self._thresholds[rows.dtype.char]
        for part in chunks(len(rows), _AT_ONCE):
            columns = np.ascontiguousarray(rows[part].T)
            seen = columns.take(self._feature, axis=0)
            crossed = (seen > threshold).view(np.uint8)
            crossed *= self._crossed
            leaf = _FIRST_LEFT.take(np.bitwise_or.reduce(crossed, axis=0))
            leaf += self._first
            np.add.reduce(self._value.take(leaf), axis=0, out=total[part])
        return total

    def _place(self, number: int, tree: dict[str, str]) -> None:
        value = np.array(tree["leaf_value"].split(), dtype=np.float64)
        n_nodes = len(value) - 1
        order = [0]
        if n_nodes:
            left, right = (
                [int(child) for child in tree[name].split()]
                for name in ("left_child", "right_child")
            )
            order, crossed = _from_left(left, right)
            self._feature[:n_nodes, number] = tree["split_feature"].split()
            self._threshold[:n_nodes, number, 0] = tree["threshold"].split()
            self._crossed[:n_nodes, number, 0] = crossed
        self._value[number, : len(order)] = value[order]


def _is_small(tree: dict[str, str]) -> bool:
    """Whether all splits are plain comparisons, and few."""
    n_leaves = int(tree["num_leaves"])
    # Bits 0 and 2 to 3 stand for categories, and for what counts as missing.
    plain = {int(kind) & 0b1101 for kind in tree.get("decision_type", "").split()}
    return n_leaves <= _MOST_LEAVES and (n_leaves == 1 or plain == {0})


def _from_left(left: list[int], right: list[int]) -> tuple[list[int], list[int]]:
    """Leaves of a tree from left to right, and the bits of those on each node's left.

    A leaf i is written as ``~i``. A child comes after its parent.
    """
    order: list[int] = []
    waiting = [0]
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

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

from skroute._compute.chunks import chunks
from skroute._rank.trees import Trees, read_trees

__all__ = ["SmallForest"]

_MOST_LEAVES = 8
# The first leaf that is left, of leaves that are crossed out: never the last of them.
_FIRST_LEFT = np.array(
    [(~code & (code + 1)).bit_length() - 1 for code in range(1 << _MOST_LEAVES - 1)]
)
# Pairs times trees at once: few enough for the cache, and so many that threads seldom
# take turns. Memory does not grow with the number of trees beyond that of the trees.
_AT_ONCE = 100 * 1024


class SmallForest:
    """A sum of trees of at most 8 leaves.

    Parameters
    ----------
    trees : Trees
        The trees.
    """

    def __init__(self, trees: Trees) -> None:
        n_trees = len(trees.n_leaves)
        shape = _MOST_LEAVES - 1, n_trees
        self._feature = np.zeros(shape, dtype=np.intp)
        self._threshold = np.full((*shape, 1), np.inf)
        self._crossed = np.zeros((*shape, 1), dtype=np.uint8)
        self._value = np.zeros((n_trees, _MOST_LEAVES))
        left, right = trees.left.tolist(), trees.right.tolist()
        for number, (nodes, leaves) in enumerate(trees.parts()):
            order, crossed = _from_left(left[nodes], right[nodes])
            n_nodes = len(crossed)
            self._feature[:n_nodes, number] = trees.feature[nodes]
            self._threshold[:n_nodes, number, 0] = trees.threshold[nodes]
            self._crossed[:n_nodes, number, 0] = crossed
            self._value[number, : n_nodes + 1] = trees.value[leaves][order]
        self._first = np.arange(n_trees)[:, None] * _MOST_LEAVES
        # No number of single precision lies between a threshold and what it is rounded
        # down to: comparisons with either come out the same.
        with np.errstate(over="ignore"):
            below = self._threshold.astype(np.float32)
        above = below > self._threshold
        below[above] = np.nextafter(below[above], np.float32(-np.inf))
        self._thresholds = {"d": self._threshold, "f": below}

    @classmethod
    def of(cls, text: str) -> SmallForest | None:
        """Make one of a model's text; ``None`` if some trees are larger."""
        trees = read_trees(text)
        small = trees.n_leaves.max(initial=0) <= _MOST_LEAVES
        return cls(trees) if small else None

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
        for part in chunks(len(rows), max(1, _AT_ONCE // max(1, len(self._first)))):
            columns = np.ascontiguousarray(rows[part].T)
            seen = columns.take(self._feature, axis=0)
            crossed = (seen > threshold).view(np.uint8)
            crossed *= self._crossed
            leaf = _FIRST_LEFT.take(np.bitwise_or.reduce(crossed, axis=0))
            leaf += self._first
            np.add.reduce(self._value.take(leaf), axis=0, out=total[part])
        return total


def _from_left(left: list[int], right: list[int]) -> tuple[list[int], list[int]]:
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

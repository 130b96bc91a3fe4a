"""The embedded default: handwritten digits routed to classifiers of different size."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import Bunch

from skroute._compute.threads import single_threaded
from skroute._optional import require
from skroute.datasets._bunch import name_columns

_SEED = 0
_N_TRAIN = 200
_N_CLASSES = 10
_SIDE = 8

_DESCR = """\
Digits pool
-----------
Queries: {n_queries} of scikit-learn's bundled handwritten digits (8 x 8 pixels in
[0, 1]). Models: {n_models} scikit-learn classifiers, trained on the other {n_train}
digits. Quality: 1 if the model reads the digit right, else 0. Cost: arithmetic
operations per prediction, counted from the fitted model. Answers: the digit that the
model reads. Checks: the probability that it gives its answer. Task: the digit shown.
"""


def load_digits_pool(*, as_frame: bool = False) -> Bunch:
    """Load a small, real routing table: digits as queries, classifiers as models.

    Nine classifiers, from a decision stump to a support vector machine, are trained on
    200 of scikit-learn's bundled digits; the other digits are the queries. The table is
    computed once in a process, in about a second, and every call returns a fresh copy.

    Parameters
    ----------
    as_frame : bool, default=False
        Give `data`, `quality`, `costs`, `answers` and `checks` as pandas
        DataFrames; all but the first have the models' names as columns.

    Returns
    -------
    Bunch
        With the attributes

        data : ndarray or DataFrame of shape (1597, 64)
            Pixels in [0, 1], float64.
        quality : ndarray or DataFrame of shape (1597, 9)
            1.0 where the model reads the digit right, else 0.0.
        costs : ndarray or DataFrame of shape (1597, 9)
            Arithmetic operations of that prediction (see Notes).
        answers : ndarray or DataFrame of shape (1597, 9)
            The digit that the model reads, such as ``"3"``.
        checks : ndarray or DataFrame of shape (1597, 9)
            Probability that the model gives its answer; ``NaN`` for the support vector
            machine, which gives none, and 1 for the nearest neighbour, always.
        models : ndarray of shape (9,)
            Names of the models.
        task : ndarray of shape (1597,)
            The digit that is shown, such as ``"digit-3"``.
        prompts : ndarray of shape (1597,)
            Which digit it is, such as ``"handwritten digit no. 1203"``; the number is
            its row in :func:`sklearn.datasets.load_digits`.
        DESCR : str
            Description of the table.

    Raises
    ------
    ImportError
        If `as_frame` and pandas is not installed.

    Notes
    -----
    Costs are counted, not timed, so they are the same on every machine. An addition,
    subtraction, multiplication, comparison or exponential is one operation; choosing
    the best class at the end is left out. With d = 64 pixels and K = 10 classes:

    ============  ===========================================================
    model         operations per prediction
    ============  ===========================================================
    stump, tree   comparisons on the query's path from the root to its leaf
    small-forest  comparisons on the paths of its 10 trees, and K additions of
                  class shares per tree
    linear        2 d K, a multiplication and an addition per weight
    naive-bayes   4 d K: subtract the mean, square, scale, add
    mlp           2 per weight, 1 per hidden unit
    forest        as small-forest, with 100 trees
    knn           3 d per stored digit: subtract, square, add
    svc           3 d + 2 per support vector for the kernel, and 2 for each of
                  the K - 1 pairs of classes that the vector serves
    ============  ===========================================================

    The support vector machine is also trained on copies of its digits shifted by one
    pixel, which makes it the best and by far the most expensive model.

    Examples
    --------
    >>> from skroute.datasets import load_digits_pool
    >>> pool = load_digits_pool()
    >>> pool.quality.shape
    (1597, 9)
    >>> pool.models[pool.quality.mean(axis=0).argmax()]
    'svc'
    """
    pool = deepcopy(_fit_pool())
    if as_frame:
        pandas = require("pandas", "load_digits_pool(as_frame=True)")
        names = [f"pixel_{i}_{j}" for i in range(_SIDE) for j in range(_SIDE)]
        pool.data = pandas.DataFrame(pool.data, columns=names)
        name_columns(pool)
    return pool


@lru_cache(maxsize=1)
def _fit_pool() -> Bunch:
    """Train the models, once in a process, and let them read the digits."""
    digits = load_digits()
    pixels, shown = digits.data / 16.0, digits.target
    everything = np.arange(len(shown))
    train, rows = train_test_split(
        everything, train_size=_N_TRAIN, stratify=shown, random_state=_SEED
    )
    rows = np.sort(rows)
    X, y, queries = pixels[train], shown[train], pixels[rows]
    answers, checks, costs = [], [], []
    pool = _make_pool()
    # Threads change the last bits of sums, which could change an answer.
    with single_threaded():
        for name, model in pool.items():
            model.fit(*(_add_shifts(X, y) if name == "svc" else (X, y)))
            answers.append(model.predict(queries))
            sure = name != "svc"
            chances = model.predict_proba(queries).max(axis=1) if sure else np.nan
            checks.append(np.broadcast_to(chances, len(rows)))
            costs.append(np.broadcast_to(_count_operations(model, queries), len(rows)))
    table = np.column_stack(answers)
    return Bunch(
        data=queries,
        quality=(table == shown[rows, None]).astype(np.float64),
        costs=np.column_stack(costs).astype(np.float64),
        answers=table.astype(str).astype(object),
        checks=np.column_stack(checks).astype(np.float64),
        models=np.array(list(pool), dtype=object),
        task=np.array([f"digit-{digit}" for digit in shown[rows]], dtype=object),
        prompts=np.array([f"handwritten digit no. {i}" for i in rows], dtype=object),
        DESCR=_DESCR.format(n_queries=len(rows), n_models=len(pool), n_train=_N_TRAIN),
    )


def _make_pool() -> dict:
    """Give the models by name, roughly by cost."""
    return {
        "stump": DecisionTreeClassifier(max_depth=1, random_state=_SEED),
        "tree": DecisionTreeClassifier(max_depth=6, random_state=_SEED),
        "small-forest": RandomForestClassifier(10, max_depth=6, random_state=_SEED),
        "linear": LogisticRegression(max_iter=2000),
        "forest": RandomForestClassifier(100, random_state=_SEED),
        "mlp": MLPClassifier(
            (16,), solver="lbfgs", alpha=1.0, max_iter=5000, random_state=_SEED
        ),
        "naive-bayes": GaussianNB(var_smoothing=1e-2),
        "knn": KNeighborsClassifier(1, algorithm="brute"),
        "svc": SVC(C=10.0),
    }


def _add_shifts(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add copies of the digits shifted by one pixel to each of the four sides."""
    images = X.reshape(-1, _SIDE, _SIDE)
    shifts = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    shifted = np.concatenate([np.roll(images, shift, (1, 2)) for shift in shifts])
    return shifted.reshape(len(shifted), -1), np.tile(y, len(shifts))


def _count_operations(model: object, queries: np.ndarray) -> np.ndarray | int:
    """Count a fitted model's operations: per query where they vary, else one number."""
    d = queries.shape[1]
    match model:
        case DecisionTreeClassifier():
            return _count_nodes(model.decision_path(queries)) - 1
        case RandomForestClassifier():
            visited = _count_nodes(model.decision_path(queries)[0])
            return visited - len(model) + len(model) * _N_CLASSES
        case LogisticRegression():
            return 2 * model.coef_.size
        case GaussianNB():
            return 4 * model.theta_.size
        case MLPClassifier():
            hidden = sum(len(bias) for bias in model.intercepts_[:-1])
            return 2 * sum(weights.size for weights in model.coefs_) + hidden
        case KNeighborsClassifier():
            return 3 * d * model.n_samples_fit_
        case SVC():
            return len(model.support_) * (3 * d + 2 + 2 * (_N_CLASSES - 1))
        case _:
            raise TypeError(f"no counting rule for {type(model).__name__}")


def _count_nodes(path: object) -> np.ndarray:
    """Sum a sparse indicator of visited nodes per query."""
    return np.asarray(path.sum(axis=1), dtype=np.int64).ravel()  # type: ignore[attr-defined]

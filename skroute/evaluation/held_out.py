"""Fit routers on all folds but one, and judge them on that one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing

from skroute._compute.threads import single_threaded
from skroute.base import BaseRouter
from skroute.evaluation.gains import Gains, Parity, measure_gains
from skroute.evaluation.splits import OutcomeTable, Split

#: Shares of the training queries from which the learning curve is drawn.
SIZES = (0.25, 0.5)
# Smaller parts of a table teach a router nothing.
_LEAST_FITTED = 30


class Fold(NamedTuple):
    """What was measured on the queries of one fold."""

    test: np.ndarray
    gains: Gains
    parity: Parity
    shuffled: Gains | None
    #: By share of the training queries: how many these are, and the gains.
    smaller: dict[float, tuple[int, Gains]]
    n_fitted: int


def measure_fold(
    table: OutcomeTable,
    held_out: np.ndarray,
    router: BaseRouter,
    encoder: Callable[[Any], Any] | None,
    task: np.ndarray | None,
    unit: np.ndarray,
    seed: int,
    quick: bool,
) -> Fold:
    """Fit routers on all rows but those held out, and judge them on these."""
    rng = np.random.RandomState(seed)
    train = np.flatnonzero(~held_out)
    test = np.flatnonzero(held_out & table.complete)
    X_train, X_test = (_safe_indexing(table.X, rows) for rows in (train, test))
    if encoder is not None:
        fitted = encoder(X_train)
        X_train, X_test = fitted.transform(X_train), fitted.transform(X_test)
    split = Split(table, train, test, X_train, X_test)

    def measure(
        rows: np.ndarray,
        outcomes: tuple[np.ndarray, np.ndarray],
        rng: np.random.RandomState | None = None,
    ) -> tuple[BaseRouter, Gains]:
        """Fit on some of the training queries, with the outcomes of some rows."""
        some = _safe_indexing(X_train, rows)
        fitted, estimates = table.fit_transform(router, some, outcomes[0], train[rows])
        beside = outcomes, task, unit, rng
        return fitted, measure_gains(split, fitted, estimates, *beside)

    every = np.arange(len(train))
    shuffled, smaller = None, {}
    with single_threaded():
        fitted, gains = measure(every, (train, test), rng)
        parity = Parity.measure(split, fitted)
        if not quick:
            moved = _shuffle(train, task, rng), _shuffle(test, task, rng)
            _, shuffled = measure(every, moved)
            # Smaller parts lie within larger ones; units stay together.
            units = np.unique(unit[train])
            units = units[rng.permutation(len(units))]
            for share in SIZES:
                some = units[: int(share * len(units))]
                rows = np.flatnonzero(np.isin(unit[train], some))
                if _can_fit(table, train[rows]):
                    _, gained = measure(rows, (train[rows], test))
                    smaller[share] = len(rows), gained
    return Fold(test, gains, parity, shuffled, smaller, len(train))


def _shuffle(
    rows: np.ndarray, task: np.ndarray | None, rng: np.random.RandomState
) -> np.ndarray:
    """Shuffle rows, within their tasks."""
    if task is None:
        return rng.permutation(rows)
    shuffled = rows.copy()
    for name in np.unique(task[rows]):
        places = np.flatnonzero(task[rows] == name)
        shuffled[places] = rows[rng.permutation(places)]
    return shuffled


def _can_fit(table: OutcomeTable, rows: np.ndarray) -> bool:
    """Whether rows are enough to fit a router: some with every outcome, two groups."""
    if table.groups is not None and len(np.unique(table.groups[rows])) < 2:
        return False
    return bool(len(rows) >= _LEAST_FITTED and table.complete[rows].sum() >= 2)

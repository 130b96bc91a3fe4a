"""The chances of logged calls, estimated where the log does not tell them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skroute.evaluation.splits import Split

# Directions of the embeddings that calls may depend on, and strengths of the penalty.
_N_DIRECTIONS = 64
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Share of each chance that is the frequency of its model: nothing is impossible.
_FLOOR = 0.01
# Calls that can be foretold this often were made by a fixed rule.
_FIXED_RULE = 0.97


def estimate_chances(
    splits: list[Split],
    called: np.ndarray,
    embed: Callable[[Any], Any] | None,
    random_state: int,
) -> np.ndarray:
    """Estimate the chance of each logged call, by multinomial regression.

    Each query is estimated from the others (`splits` hold out each once), and the
    strength of the penalty is the best of these. `called`, (n_queries,), is an index of
    a model, and below 0 where nothing was called; the chance is ``NaN`` there.
    """
    known = called >= 0
    models, counts = np.unique(called[known], return_counts=True)
    if len(models) < 2:
        raise ValueError(
            "propensity must be given where the log calls one model only: there are "
            "no chances to estimate, and it tells nothing of other models. "
            "Log with route(..., explore=0.05, return_propensity=True)."
        )
    place = {model: i for i, model in enumerate(models)}
    label = np.array([place.get(model, -1) for model in called])
    usual = counts / counts.sum()
    tables = [np.tile(usual, (len(called), 1)) for _ in _STRENGTHS]
    for split in splits:
        X_train, X_test = split.X_train, split.X_test
        if embed is not None:
            fitted = embed(X_train)
            X_train, X_test = fitted.transform(X_train), fitted.transform(X_test)
        X_train, X_test = (
            np.asarray(part, dtype=np.float64) for part in (X_train, X_test)
        )
        learnt = label[split.train]
        if len(np.unique(learnt)) < 2:
            continue
        n_directions = min(_N_DIRECTIONS, *X_train.shape)
        before = make_pipeline(
            PCA(n_directions, svd_solver="full", random_state=random_state),
            StandardScaler(),
        ).fit(X_train)
        X_train, X_test = before.transform(X_train), before.transform(X_test)
        for table, strength in zip(tables, _STRENGTHS, strict=True):
            model = LogisticRegression(C=strength, max_iter=1000)
            with warnings.catch_warnings():
                # One that has not converged is judged by its loss like the others.
                warnings.simplefilter("ignore", ConvergenceWarning)
                found = model.fit(X_train, learnt).predict_proba(X_test)
            table[split.test] = _FLOOR * usual
            table[split.test[:, None], model.classes_] += (1 - _FLOOR) * found
    best = min(tables, key=lambda table: log_loss(label[known], table[known]))
    foretold = float((best[known].argmax(axis=1) == label[known]).mean())
    if foretold > _FIXED_RULE:
        raise ValueError(
            f"propensity is not given, and {foretold:.1%} of the calls can be foretold "
            "from the queries, as if a fixed rule had made them: such a log was never "
            "explored, and tells nothing of calls that it did not make. Log with "
            "route(..., explore=0.05, return_propensity=True), and give the chances."
        )
    chances = np.full(len(called), np.nan)
    chances[known] = best[known, label[known]]
    return chances

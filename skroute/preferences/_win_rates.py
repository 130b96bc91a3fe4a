"""Win rates: votes between pairs of models as a dense table of qualities."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skroute._compute.threads import single_threaded
from skroute._table.duplicates import find_duplicates
from skroute._table.folds import check_groups, draw_folds
from skroute._table.names import check_rows, format_names
from skroute._table.numbers import check_integer
from skroute._table.tables import check_vectors
from skroute.exceptions import find_caller_level
from skroute.preferences._battles import Battles, read_battles
from skroute.preferences._bradley_terry import (
    Strengths,
    expect_wins,
    fit_strengths,
    measure_loss,
)

# Penalties of the weights among which held-out battles choose, from the strongest: the
# first one takes the queries to be all alike.
_PENALTIES = (np.inf, 1e4, 3e3, 1e3, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
# Penalties without a better loss after which no weaker one is tried.
_PATIENCE = 2
# Leading directions of the embeddings that are kept.
_N_DIRECTIONS = 64
# A model with fewer battles has a win rate with a standard error above 0.1.
_FEW_BATTLES = 25
# Queries differ clearly if the loss improves by more than this many standard errors.
_CLEARLY = 1.0


def win_rates(
    X: Any,
    battles: Any,
    *,
    cv: int = 5,
    groups: Any = None,
    random_state: Any = None,
) -> Any:
    """Turn votes between pairs of models into a quality of every model for every query.

    Quality is the expected win rate: the mean chance to be preferred to another model
    of the pool on this query, ties counting as half a win. Any router can be fitted on
    it. A table of wins and losses with holes cannot replace it: who wins depends on the
    opponent, and where models only meet their equals, every one wins half of the time.

    Chances come from a contextual Bradley-Terry model [1]_: a logistic regression on
    the difference of the strengths of two models, each of which is linear in the
    embedding of the query. What the position on the screen adds is estimated and left
    out. Each query is estimated without its own battles, and those of its duplicates.

    Parameters
    ----------
    X : array-like of shape (n_queries, n_features)
        Embeddings of the queries. Those without a battle are estimated too.
    battles : DataFrame, mapping of columns or structured array
        ``model_a`` and ``model_b`` name the models of a battle, and ``score`` is 1 if
        the first was preferred, 0 if the second was, and 0.5 for a tie, also if both
        were bad; ``NaN`` is left out. Row by row as `X`, or with a column ``query``:
        the position of the row of `X` as an integer, or its label in the index of a
        DataFrame. :func:`skroute.datasets.from_battles` reads it.
    cv : int, default=5
        Number of folds for cross-fitting, at least 2.
    groups : array-like of shape (n_queries,), default=None
        Labels of queries that are held out together, such as the user who asked.
    random_state : int, RandomState instance or None, default=None
        Draws the folds.

    Returns
    -------
    DataFrame or ndarray of shape (n_queries, n_models)
        Expected win rates, between 0 and 1; those of a query have the mean 0.5. The
        columns are the models, sorted by name; an ndarray where pandas is not
        installed. The index is that of `X`, if it has one.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or some models never met, not even through
        others: how they compare is then not known.

    Warns
    -----
    UserWarning
        If models have so few battles that their win rates are guesses, or if the votes
        do not show clearly that the better model depends on the query: a router fitted
        on the win rates may then do no better than the best single model.

    See Also
    --------
    skroute.datasets.from_battles : Read votes.

    References
    ----------
    .. [1] R. A. Bradley and M. E. Terry, "Rank Analysis of Incomplete Block Designs: I.
       The Method of Paired Comparisons", Biometrika 39, 1952.

    Examples
    --------
    >>> import numpy as np
    >>> from skroute.preferences import win_rates
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> battles = {
    ...     "model_a": ["poet"] * 300,
    ...     "model_b": ["coder"] * 300,
    ...     "score": (X[:, 0] > 0).astype(float),
    ... }
    >>> rates = np.asarray(win_rates(X, battles, random_state=0))
    >>> bool((rates[X[:, 0] > 0.5, 1] > 0.5).all())  # columns: coder, poet
    True
    """
    n_folds = check_integer(cv, "cv", low=2)
    check_rows(X=X, groups=groups)
    vectors = check_vectors(BaseEstimator(), X, reset=True)
    found = read_battles(battles, X, len(vectors))
    duplicates = find_duplicates(vectors, check_groups(groups, len(vectors)))
    fold = draw_folds(duplicates, n_folds, random_state)
    if fold.max() == 0:
        raise ValueError(
            "X must have at least 2 different queries, each is estimated without its "
            f"own battles; all {len(vectors)} rows are of one prompt, or of one group."
        )
    _warn_of_few_battles(found)
    with single_threaded():
        strength = _cross_fit(_reduce(vectors), found, fold)
        rates = expect_wins(strength)
    return _name_table(rates, found.models, X)


def _reduce(X: np.ndarray) -> np.ndarray:
    """Project embeddings on their leading directions, with a mean square of 1 in all.

    Directions keep their variances, so that a penalty presses on the small ones most.
    """
    centred = X.astype(np.float64)
    centred -= centred.mean(axis=0)
    if centred.shape[1] > _N_DIRECTIONS:
        # Ascending eigenvalues.
        _, directions = np.linalg.eigh(centred.T @ centred)
        centred = centred @ directions[:, : -_N_DIRECTIONS - 1 : -1]
    spread = np.sqrt((centred**2).mean())
    return centred / spread if spread > 0 else centred


def _cross_fit(features: np.ndarray, battles: Battles, fold: np.ndarray) -> np.ndarray:
    """Estimate strengths (n_queries, n_models) out of fold, at the best penalty."""
    battle_fold = fold[battles.row]
    held_out = [battle_fold == f for f in range(int(fold.max()) + 1)]
    training = [battles.select(~rows) for rows in held_out]
    losses: list[np.ndarray] = []
    fitted: list[list[Strengths]] = []
    for penalty in _PENALTIES:
        loss, made = np.empty(len(battle_fold)), []
        for f, rows in enumerate(held_out):
            last = fitted[-1][f] if fitted else None
            found = fit_strengths(features, training[f], penalty, last)
            loss[rows] = measure_loss(found, features, battles.select(rows))
            made.append(found)
        fitted.append(made)
        losses.append(loss)
        best = int(np.argmin([loss.mean() for loss in losses]))
        # Weaker ones take longest, and loss is convex but for noise.
        if len(losses) > best + _PATIENCE:
            break
    _warn_if_all_alike(losses[0] - losses[best])
    best = _find_simplest(losses, best)
    strength = np.empty((len(features), len(battles.models)))
    for f, found in enumerate(fitted[best]):
        strength[fold == f] = found.predict(features[fold == f])
    return strength


def _find_simplest(losses: list[np.ndarray], best: int) -> int:
    """Find the strongest penalty that is as good as the best within a standard error.

    Strengths that depend on the query more than votes clearly show are luck, which a
    router, to whom win rates have no noise, would believe.
    """
    for place in range(best):
        lost = losses[place] - losses[best]
        if lost.mean() <= lost.std() / np.sqrt(len(lost)):
            return place
    return best


def _warn_if_all_alike(gain: np.ndarray) -> None:
    """Warn if losses do not clearly fall where the query is known, by `gain`."""
    if gain.mean() > _CLEARLY * gain.std() / np.sqrt(len(gain)):
        return
    warnings.warn(
        f"the {len(gain)} battles do not show clearly that the better model depends on "
        "the query: win rates are nearly the same for all queries, and a router fitted "
        "on them may do no better than the best single model. Add battles, or check "
        "that the rows of X are those of the battles.",
        UserWarning,
        stacklevel=find_caller_level(),
    )


def _warn_of_few_battles(battles: Battles) -> None:
    count = battles.count_by_model()
    few = np.flatnonzero(count < _FEW_BATTLES)
    if len(few):
        listed = [f"{battles.models[m]} ({count[m]})" for m in few]
        warnings.warn(
            f"battles has fewer than {_FEW_BATTLES} battles of {len(few)} of the "
            f"{len(count)} models: {format_names(listed)}. Their win rates are drawn "
            "to those of the average model; add battles, or leave these models out.",
            UserWarning,
            stacklevel=find_caller_level(),
        )


def _name_table(rates: np.ndarray, models: np.ndarray, X: Any) -> Any:
    """Name the columns, and the rows if X does, where pandas is installed."""
    try:
        import pandas as pd
    except ImportError:
        return rates
    index = X.index if hasattr(X, "iloc") else None
    return pd.DataFrame(rates, columns=list(models), index=index)

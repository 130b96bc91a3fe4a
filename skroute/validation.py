"""Checks of tables: queries, qualities, weights of outcomes, estimates.

Everything that enters the package is checked once, and named in the error if it is
wrong; money is checked in ``skroute.money``, single numbers in ``skroute.checks``.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from skroute.averages import weighted_means
from skroute.checks import check_column
from skroute.exceptions import NoCostWarning
from skroute.money import check_costs, check_prices
from skroute.names import by_name, default_names, listed, model_names

__all__ = [
    "RoutingTable",
    "all_or_nothing",
    "check_choice",
    "check_estimates",
    "check_input_features",
    "check_outcome_weight",
    "check_outcomes",
    "check_quality",
    "check_queries",
    "check_routing_table",
]

# Embeddings keep their precision; anything else becomes float64.
_FLOATS = (np.float64, np.float32)


class RoutingTable(NamedTuple):
    """A checked training table.

    Attributes
    ----------
    X : ndarray of shape (n_queries, n_features)
        Embeddings, float32 or float64.
    quality : ndarray of shape (n_queries, n_models)
        Qualities, float64; ``NaN`` where a model was not run.
    costs : ndarray of shape (n_queries, n_models)
        Money per call, float64; ``NaN`` where unknown.
    per_query : bool
        Whether the costs were given per query, or are one price per model.
    weight : ndarray of shape (n_queries, n_models) or None
        Weight of every outcome; positive where the quality is known, 0 elsewhere.
    """

    X: np.ndarray
    quality: np.ndarray
    costs: np.ndarray
    per_query: bool
    weight: np.ndarray | None = None


def _outside() -> int:
    """Level of the caller of this package, for `warnings.warn`."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(
        ("skroute.", "sklearn.")
    ):
        frame, level = frame.f_back, level + 1
    return level


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Leave `estimator` as it was if the block fails or is interrupted.

    Parameters
    ----------
    estimator : estimator
        The estimator that the block fits.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def check_routing_table(
    router: BaseEstimator,
    X: Any,
    y: Any,
    costs: Any = None,
    outcome_weight: Any = None,
) -> RoutingTable:
    """Check what a router is fitted on, and set the attributes that follow from it.

    Sets ``n_features_in_``, ``feature_names_in_`` (where `X` has column names),
    ``models_`` and ``costs_`` on `router`.

    Parameters
    ----------
    router : estimator
        The router that is being fitted; its ``costs`` parameter holds the per-model
        prices, if any.
    X : array-like of shape (n_queries, n_features)
        Embeddings of the queries.
    y : array-like of shape (n_queries, n_models)
        Quality of every model on every query, ``NaN`` where it was not run. Columns
        of a pandas or polars DataFrame name the models.
    costs : array-like of shape (n_queries, n_models), default=None
        Money per call, ``NaN`` where unknown.
    outcome_weight : array-like of shape (n_queries, n_models), default=None
        Weight of every outcome; 0 leaves it out, with its cost.

    Returns
    -------
    RoutingTable
        The checked arrays.

    Raises
    ------
    ValueError
        If a shape, a name or a value is not as described.
    """
    with all_or_nothing(router):
        return _check_routing_table(router, X, y, costs, outcome_weight)


def _check_routing_table(
    router: BaseEstimator, X: Any, y: Any, costs: Any, outcome_weight: Any
) -> RoutingTable:
    models = model_names(y)
    quality = check_quality(y)
    if models is None:
        models = default_names(quality.shape[1])
    observed = np.isfinite(quality).any(axis=0)
    if not observed.all():
        raise ValueError(
            f"y has no observed quality for the models {listed(models[~observed])}: "
            "their column is all NaN; drop it or add outcomes."
        )
    weight = None
    if outcome_weight is not None:
        weight = check_outcome_weight(outcome_weight, quality, models)
        quality = np.where(weight > 0, quality, np.nan)
    given = getattr(router, "costs", None)
    prices = None if given is None else check_prices(given, models)
    if costs is None:
        if prices is None:
            warnings.warn(
                f"{type(router).__name__} was given no costs: every model is taken to "
                "cost 1. Give prices as costs=... in the constructor or per-query "
                "costs to fit.",
                NoCostWarning,
                stacklevel=_outside(),
            )
            prices = np.ones(len(models))
        if np.isnan(prices).any():
            raise ValueError(
                f"costs has no price for the models {listed(models[np.isnan(prices)])}"
                " and no per-query costs were given to fit."
            )
        mean_costs = prices
        table = np.broadcast_to(prices, quality.shape)
    else:
        table = check_costs(costs, quality.shape, models)
        if weight is not None:
            table = np.where(weight > 0, table, np.nan)
        if prices is not None:
            # A known price stands in for a call whose cost was not recorded.
            table = np.where(np.isnan(table), prices, table)
        unknown = np.isnan(table).all(axis=0)
        if unknown.any():
            raise ValueError(
                f"costs has no known cost for the models {listed(models[unknown])}: "
                "their column is all NaN; give a price for them in the constructor."
            )
        mean_costs = weighted_means(table, weight)
    X = _check_vectors(router, X, reset=True)
    check_consistent_length(X, quality)
    router.models_ = models
    router.costs_ = np.array(mean_costs)
    router._per_query_costs = costs is not None
    # What an earlier fit knew of its training queries holds no more.
    vars(router).pop("_training", None)
    return RoutingTable(X, quality, table, costs is not None, weight)


def check_queries(router: BaseEstimator, X: Any) -> np.ndarray:
    """Check embeddings given to a fitted router.

    Parameters
    ----------
    router : estimator
        A fitted router.
    X : array-like of shape (n_queries, n_features)
        Embeddings.

    Returns
    -------
    ndarray of shape (n_queries, n_features)
        The embeddings, float32 or float64.

    Raises
    ------
    NotFittedError
        If the router is not fitted.
    ValueError
        If the width, the shape or a value is wrong.
    """
    if _is_plain(router, X):
        return X
    check_is_fitted(router)
    return _check_vectors(router, X, reset=False)


def _check_vectors(router: BaseEstimator, X: Any, *, reset: bool) -> np.ndarray:
    """Check embeddings as scikit-learn does, and say which step texts are lacking."""
    try:
        return validate_data(router, X, dtype=_FLOATS, reset=reset)
    except (TypeError, ValueError):
        if issparse(X):
            raise TypeError(
                f"X is a sparse matrix of shape {X.shape}, but a router needs dense "
                "vectors: put TruncatedSVD before it, "
                "make_pipeline(TfidfVectorizer(), TruncatedSVD(256), router)."
            ) from None
        if _is_text(X):
            raise ValueError(
                "X holds texts, but a router needs their vectors: put an encoder "
                "before it, make_pipeline(skroute.text.SentenceEncoder(), router) or "
                "make_pipeline(TfidfVectorizer(), TruncatedSVD(256), router)."
            ) from None
        raise


def _is_text(X: Any) -> bool:
    """Tell texts in a list, an array or a Series; a DataFrame is none."""
    if isinstance(X, str):
        return True
    if not hasattr(X, "__iter__") or getattr(X, "ndim", 1) != 1:
        return False
    return any(isinstance(text, str) for text in X)


def _is_plain(router: BaseEstimator, X: Any) -> bool:
    """Whether there is nothing about X that scikit-learn's checks would find.

    They look for everything that X could be, which takes as long as to route a query.
    """
    known = vars(router)
    if not (
        type(X) is np.ndarray
        and X.dtype in _FLOATS
        and X.ndim == 2
        and X.shape[0] > 0
        and X.shape[1] == known.get("n_features_in_")
        # It would be missing the names.
        and "feature_names_in_" not in known
        and "models_" in known
    ):
        return False
    # A sum that overflows is looked at again.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()))


def check_quality(
    y: Any, name: str = "y", *, models: np.ndarray | None = None
) -> np.ndarray:
    """Check a quality table.

    Parameters
    ----------
    y : array-like of shape (n_queries, n_models)
        Qualities, ``NaN`` where unknown. A vector is the column of a single model.
    name : str, default="y"
        How errors call the argument.
    models : ndarray of shape (n_models,), default=None
        Names of the models; a DataFrame's columns are put in this order.

    Returns
    -------
    ndarray of shape (n_queries, n_models)
        The qualities, float64.
    """
    if y is None:
        raise ValueError(
            f"this estimator requires {name} to be passed, but the target {name} is "
            "None; give qualities of shape (n_queries, n_models)."
        )
    if np.isscalar(y):
        raise ValueError(
            f"{name} must have shape (n_queries, n_models); got a scalar, {y!r}."
        )
    table = check_array(
        y,
        dtype=np.float64,
        ensure_all_finite="allow-nan",
        ensure_2d=False,
        order="C",  # sums must not depend on the layout
        input_name=name,
    )
    table = table.reshape(len(table), -1)
    return by_name(table, model_names(y, name), models, name)


def check_outcomes(y: Any, n_queries: int, name: str = "y") -> np.ndarray:
    """Check qualities of one model.

    Parameters
    ----------
    y : array-like of shape (n_queries,)
        Qualities, ``NaN`` where unknown.
    n_queries : int
        Number of queries.
    name : str, default="y"
        How errors call the argument.

    Returns
    -------
    ndarray of shape (n_queries,)
        The qualities, float64.
    """
    y = check_column(y, n_queries, name)
    if np.isfinite(y).sum() < 2:
        raise ValueError(
            f"{name} must have at least 2 outcomes that are not NaN, to tell what the "
            f"model is worth; got {int(np.isfinite(y).sum())}."
        )
    return y


def check_outcome_weight(
    weight: Any,
    quality: np.ndarray,
    models: np.ndarray,
    name: str = "outcome_weight",
) -> np.ndarray:
    """Check weights of outcomes, and bring those of every model to its outcomes.

    Parameters
    ----------
    weight : array-like of shape (n_queries, n_models)
        Weights, in any unit; not read where the quality is unknown.
    quality : ndarray of shape (n_queries, n_models)
        Qualities, ``NaN`` where unknown.
    models : ndarray of shape (n_models,)
        Names of the models; a DataFrame's columns are put in this order.
    name : str, default="outcome_weight"
        How errors call the argument.

    Returns
    -------
    ndarray of shape (n_queries, n_models)
        Weights that sum, for every model, to as many equally weighed outcomes as would
        tell its mean as well [1]_; 0 where the quality is unknown.

    Raises
    ------
    ValueError
        If the shape, a column name or a value is wrong, or a model is left without any
        outcome.

    References
    ----------
    .. [1] L. Kish, "Survey Sampling", Wiley, 1965.
    """
    columns = model_names(weight, name)
    table = check_array(
        weight,
        dtype=np.float64,
        ensure_all_finite=False,
        ensure_2d=False,
        order="C",  # sums must not depend on the layout
        input_name=name,
    )
    if table.shape != quality.shape:
        raise ValueError(
            f"{name} must have one weight per outcome, the shape of y, "
            f"{quality.shape}; got {table.shape}."
        )
    table = by_name(table, columns, models, name)
    known = np.isfinite(quality)
    bad = known & ~(np.isfinite(table) & (table >= 0))
    if bad.any():
        raise ValueError(
            f"{name} must be finite and not negative wherever y is known; got "
            f"{table[bad][0]!r} for the model {models[bad.any(axis=0)][0]}. Give 0 to "
            "leave an outcome out."
        )
    table = np.where(known, table, 0.0)
    largest = table.max(axis=0)
    if (largest == 0).any():
        raise ValueError(
            f"{name} leaves no outcome of the models {listed(models[largest == 0])}: "
            "all their weights are 0; drop their columns or weigh an outcome."
        )
    # The largest as a unit keeps the squares of extreme weights finite.
    table = table / largest
    return table * (table.sum(axis=0) / (table**2).sum(axis=0))


def check_estimates(quality: Any, cost: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check estimated qualities and costs of shape (n_queries, n_models)."""
    quality = check_array(quality, dtype=_FLOATS, input_name="quality")
    cost = check_array(cost, dtype=_FLOATS, input_name="cost")
    if quality.shape != cost.shape:
        raise ValueError(
            "quality and cost must have the same shape (n_queries, n_models); got "
            f"{quality.shape} and {cost.shape}."
        )
    if (cost < 0).any():
        raise ValueError(
            f"cost must not be negative; its smallest value is {cost.min():g}."
        )
    return quality, cost


def check_input_features(input_features: Any, n_features: int) -> None:
    """Check names that scikit-learn hands to `get_feature_names_out`; only counted."""
    if input_features is not None and len(input_features) != n_features:
        raise ValueError(
            f"input_features should have length equal to {n_features}; got "
            f"{len(input_features)}."
        )


def check_choice(choice: Any, shape: tuple[int, int]) -> np.ndarray:
    """Check decisions: (n_queries,) int, each the index of a model."""
    choice = np.asarray(choice)
    if choice.shape != (shape[0],) or choice.dtype.kind not in "iu":
        raise ValueError(
            f"choice must be integer model indices of shape ({shape[0]},); got shape "
            f"{choice.shape} and dtype {choice.dtype}."
        )
    if len(choice) and (choice.min() < 0 or choice.max() >= shape[1]):
        raise ValueError(
            f"choice must lie in 0..{shape[1] - 1}; got values from {choice.min()} to "
            f"{choice.max()}."
        )
    return choice

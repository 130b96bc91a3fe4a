"""Checks of tables: queries, qualities, weights of outcomes, estimates.

Everything that enters the package is checked once, and named in the error if wrong.
"""

from __future__ import annotations

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

from skroute._compute.drafts import open_draft
from skroute._table.duplicates import Duplicates
from skroute._table.names import (
    check_rows,
    format_names,
    make_default_names,
    model_names,
)
from skroute._table.numbers import (
    FLOATS,
    LARGEST_FEATURE,
    LARGEST_OUTCOME,
    check_column,
    check_magnitude,
    has_plain_numbers,
    read_numbers,
    refuse_masked,
)
from skroute._table.outcomes import Outcomes, check_outcomes_of


class RoutingTable(NamedTuple):
    """A checked training table.

    Attributes
    ----------
    X : ndarray of shape (n_queries, n_features)
        Embeddings, float32 or float64.
    quality, costs : ndarray of shape (n_queries, n_models)
        Qualities and money per call, float64; ``NaN`` where unknown.
    per_query : bool
        Whether the costs were given per query, or are one price per model.
    weight : ndarray of shape (n_queries, n_models) or None
        Weight of every outcome; positive where the quality is known, 0 elsewhere.
    weight_unit : ndarray of shape (n_models,) or None
        What an `outcome_weight` of 1 counts in `weight`.
    duplicates : Duplicates or None
        Which rows are of one prompt or group; set by `CrossFittedRouter`.
    """

    X: np.ndarray
    quality: np.ndarray
    costs: np.ndarray
    per_query: bool
    weight: np.ndarray | None = None
    duplicates: Duplicates | None = None
    weight_unit: np.ndarray | None = None


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
    X, y, costs, outcome_weight : array-like
        As in `RankingRouter.fit`.

    Returns
    -------
    RoutingTable
        The checked arrays.

    Raises
    ------
    ValueError
        If a shape, a name or a value is not as described.
    """
    # An error leaves the draft unused, and the router as it was.
    with open_draft(router) as draft:
        check_rows(X=X, y=y, costs=costs, outcome_weight=outcome_weight)
        models = model_names(y)
        quality = check_quality(y)
        check_magnitude(quality, "y", LARGEST_OUTCOME)
        # Names come from y; costs with names are then matched to them.
        if models is None:
            models = make_default_names(quality.shape[1])
        outcomes = check_outcomes_of(draft, models, quality, costs, outcome_weight)
        X = check_vectors(draft, X, reset=True)
        check_consistent_length(X, quality)
        return keep_table(draft, models, X, outcomes)


def keep_table(
    router: Any, models: np.ndarray, X: Any, outcomes: Outcomes
) -> RoutingTable:
    """Set names and costs of the models on a router, and return its checked table."""
    # Training queries of an earlier fit no longer describe this router.
    vars(router).pop("_training", None)
    vars(router).update(
        models_=models,
        costs_=np.array(outcomes.mean_costs),
        _per_query_costs=outcomes.per_query,
        # Kept to notice prices that are set later: those need another fit.
        _fitted_costs=getattr(router, "costs", None),
    )
    return RoutingTable(
        X,
        outcomes.quality,
        outcomes.costs,
        outcomes.per_query,
        outcomes.weight,
        weight_unit=outcomes.weight_unit,
    )


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
    return check_vectors(router, X, reset=False)


def check_vectors(router: BaseEstimator, X: Any, *, reset: bool) -> np.ndarray:
    """Check embeddings as scikit-learn does, and say which step texts are lacking.

    A fitted router (``reset=False``) also takes no queries at all.
    """
    refuse_masked(X, "X")
    try:
        X = validate_data(
            router,
            X,
            dtype=FLOATS,
            order="C",  # sums must not depend on the layout
            ensure_min_samples=int(reset),
            reset=reset,
        )
    except (TypeError, ValueError):
        if issparse(X):
            raise TypeError(
                f"X is a sparse matrix of shape {X.shape}, but a router needs dense "
                "vectors: put TruncatedSVD before it, "
                "make_pipeline(TfidfVectorizer(), TruncatedSVD(256), router)."
            ) from None
        if is_text(X):
            raise ValueError(
                "X holds texts, but a router needs their vectors: take "
                "skroute.text.TextRouter(router), which reads prompts, or put an "
                "encoder before it, make_pipeline(skroute.text.SentenceEncoder(), "
                "router)."
            ) from None
        raise
    check_magnitude(X, "X", LARGEST_FEATURE)
    return X


def is_text(X: Any) -> bool:
    """Tell whether X is texts in a list, an array or a Series, not a DataFrame."""
    if isinstance(X, str):
        return True
    if not hasattr(X, "__iter__") or getattr(X, "ndim", 1) != 1:
        return False
    return any(isinstance(text, str) for text in X)


def _is_plain(router: BaseEstimator, X: Any) -> bool:
    """Tell whether X would pass scikit-learn's checks unchanged."""
    known = vars(router)
    return (
        has_plain_numbers(X)
        and X.shape[1] == known.get("n_features_in_")
        # scikit-learn warns if only the fit had feature names.
        and "feature_names_in_" not in known
        and "models_" in known
    )


def check_quality(y: Any, name: str = "y") -> np.ndarray:
    """Check qualities (n_queries, n_models), ``NaN`` where unknown.

    A vector is the column of a single model.
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
    table = read_numbers(y, name)
    # Columns whose names cannot be those of models are refused.
    model_names(y, name)
    return table.reshape(len(table), -1)


def check_outcomes(y: Any, n_queries: int) -> np.ndarray:
    """Check qualities of one model (n_queries,), ``NaN`` where unknown."""
    y = check_column(y, n_queries, "y")
    if np.isfinite(y).sum() < 2:
        raise ValueError(
            "y must have at least 2 outcomes that are not NaN, to tell what the "
            f"model is worth; got {int(np.isfinite(y).sum())}."
        )
    return y


def check_estimates(quality: Any, cost: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check estimated qualities and costs of shape (n_queries, n_models)."""
    quality = check_estimate(quality, "quality")
    cost = check_estimate(cost, "cost")
    if quality.shape != cost.shape:
        raise ValueError(
            "quality and cost must have the same shape (n_queries, n_models); got "
            f"{quality.shape} and {cost.shape}."
        )
    return quality, cost


def check_estimate(table: Any, name: str) -> np.ndarray:
    """Check estimates of one kind, "quality" or "cost", of any number of queries."""
    refuse_masked(table, name)
    table = check_array(
        table,
        dtype=FLOATS,
        order="C",
        ensure_2d=False,
        ensure_min_samples=0,
        input_name=name,
    )
    if table.ndim != 2:
        raise ValueError(
            f"{name} must have shape (n_queries, n_models); got {table.shape}."
        )
    if name == "cost" and (table < 0).any():
        raise ValueError(
            f"cost must not be negative; its smallest value is {table.min():g}."
        )
    return table


def check_input_features(input_features: Any, n_features: int) -> None:
    """Check names that scikit-learn hands to `get_feature_names_out`; only counted."""
    if input_features is not None and len(input_features) != n_features:
        raise ValueError(
            f"input_features should have length equal to {n_features}; got "
            f"{len(input_features)}."
        )


def check_choice(
    choice: Any,
    shape: tuple[int, int],
    models: np.ndarray | None = None,
    name: str = "choice",
) -> np.ndarray:
    """Turn decisions, indices of models or their names, into checked indices.

    They are (n_queries,), into the columns of a table of this shape named by `models`.
    """
    refuse_masked(choice, name)
    choice = np.asarray(choice)
    if choice.dtype.kind in "OU" and choice.ndim == 1:
        models = make_default_names(shape[1]) if models is None else models
        index = {model: i for i, model in enumerate(models)}
        unknown = [model for model in choice if str(model) not in index]
        if unknown:
            raise ValueError(
                f"{name} must name the models {format_names(models)}, or be their "
                f"indices; got {format_names(unknown)}."
            )
        choice = np.array([index[str(model)] for model in choice], dtype=np.intp)
    if choice.shape != (shape[0],) or choice.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be model names or integer model indices of shape "
            f"({shape[0]},); got shape {choice.shape} and dtype {choice.dtype}."
        )
    if len(choice) and (choice.min() < 0 or choice.max() >= shape[1]):
        raise ValueError(
            f"{name} must lie in 0..{shape[1] - 1}; got values from {choice.min()} to "
            f"{choice.max()}."
        )
    return choice

"""TextRouter: a router whose queries are prompts."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skroute._compute.drafts import open_draft, snapshot
from skroute._decide.explore import draw_uniform
from skroute._decide.extra_estimates import GivenExtras
from skroute._decide.fallbacks import Decisions
from skroute._decide.rule import Rule
from skroute._table.costs import check_same_prices
from skroute._table.names import check_call_rows, check_rows
from skroute.base import BaseRouter
from skroute.ranking import RankingRouter
from skroute.text.vectors import TextVectors, name_missing

__all__ = ["TextRouter"]


def _router_has(name: str) -> Callable[[Any], bool]:
    def check(text_router: TextRouter) -> bool:
        router = vars(text_router).get("router_") or text_router.router
        return hasattr(RankingRouter if router is None else router, name)

    return check


class TextRouter(BaseRouter):
    """Route prompts: text in, names of models out.

    Prompts become vectors, and a router of vectors learns from these. A vector has up
    to three parts: an embedding that comes with the prompt, in columns beside it; one
    that `encoder` makes; and the words and the surface of the prompt. On most tables
    the router learns a little more of these beside an embedding than of it alone.

    `X` is a list, an array or a Series of prompts in all methods; or a DataFrame with
    one column of prompts and, where embeddings come from elsewhere, one column for each
    of their numbers. Missing prompts are refused.

    Parameters
    ----------
    router : router, default=None
        Learns from the vectors; a clone of it is fitted. ``None`` is a
        :class:`~skroute.RankingRouter`. Prices per model are given to it,
        ``RankingRouter(costs=...)``.
    encoder : str, transformer or callable, default=None
        What embeds prompts: the name or the folder of a model of sentence-transformers
        (``pip install 'scikit-route[text]'``); a transformer, which is cloned and
        fitted on the prompts alone, without outcomes; or a function that takes a list
        of texts and returns an array of shape (n_queries, n_features), such as a call
        of an embedding service. A function does its own batches, retries and caching.
        ``None`` embeds nothing.
    prompt_features : bool or transformer, default=True
        Whether to add the words and the surface of prompts, or what describes them:
        ``True`` is :class:`PromptFeatures` with the `random_state` of `router`.

    Attributes
    ----------
    router_ : router
        The fitted router of vectors.
    vectors_ : TextVectors
        What makes them: its `encoder` and `features` are the fitted ones, and
        `prompt_column` is the place of the prompts among the columns of `X`.
    models_ : ndarray of str of shape (n_models,)
        Names of the models.
    costs_ : ndarray of shape (n_models,)
        Mean money per call of each model.
    n_features_in_ : int
        Columns of `X`: 1 for prompts alone.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the columns, where `X` was a DataFrame.

    See Also
    --------
    PromptFeatures : The words and the surface.
    SentenceEncoder : An encoder with a batch size and a device.
    BudgetDecider : Decisions under a budget, as a step behind this one.

    Notes
    -----
    Parts that come together are scaled: embeddings to a mean length of 1 in training,
    beside words of length 0.7 and a surface of 0.5. An embedding alone (without
    `encoder`, and with ``prompt_features=False``) reaches the router as it is.

    :func:`skroute.save` keeps what was learnt. An encoder that is a function, a name or
    a `SentenceEncoder` is no part of the file: give it again after :func:`skroute.load`
    by ``set_params(encoder=...)``.

    Examples
    --------
    >>> import pandas as pd
    >>> from skroute import RankingRouter
    >>> from skroute.text import TextRouter
    >>> prompts = [f"Prove lemma {i}" if i % 2 else f"Greet {i}" for i in range(200)]
    >>> is_easy = [prompt.startswith("Greet") for prompt in prompts]
    >>> y = pd.DataFrame({"small": is_easy, "large": True}, dtype=float)
    >>> router = TextRouter(RankingRouter({"small": 1, "large": 20}, random_state=0))
    >>> router = router.fit(prompts, y)
    >>> router.route(["Prove lemma 7", "Greet 8"], min_quality="95%").tolist()
    ['large', 'small']
    """

    __metadata_request__fit = {  # noqa: RUF012 (scikit-learn's protocol)
        "costs": True,
        "groups": True,
        "outcome_weight": True,
        "extra_costs": True,
    }

    def __init__(
        self,
        router: BaseRouter | None = None,
        *,
        encoder: Any = None,
        prompt_features: Any = True,
    ) -> None:
        self.router = router
        self.encoder = encoder
        self.prompt_features = prompt_features

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        outcome_weight: Any = None,
        groups: Any = None,
        extra_costs: Any = None,
    ) -> Self:
        """Fit what makes vectors on the prompts, and the router on a table of outcomes.

        Parameters
        ----------
        X : array-like of str, or DataFrame
            Prompts, and the embeddings beside them, if any.
        y : array-like of shape (n_queries, n_models)
            Quality of every model on every query, as in `RankingRouter.fit`.
        costs, outcome_weight, groups : array-like, default=None
            As in the `fit` of `router`.
        extra_costs : dict, default=None
            As in the `fit` of `router`.

        Returns
        -------
        self : TextRouter
            The fitted router.

        Raises
        ------
        ImportError
            If `encoder` is a name, and sentence-transformers is not installed.
        TypeError
            If a prompt is no text, or a parameter is nothing that is described.
        ValueError
            If a shape, a name or a value is not as described; the router is then left
            as it was.
        """
        self._fit("fit", X, y, costs, outcome_weight, groups, extra_costs)
        return self

    def fit_transform(
        self,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        outcome_weight: Any = None,
        groups: Any = None,
        extra_costs: Any = None,
    ) -> np.ndarray:
        """Fit, and estimate the training queries by cross-fitting.

        The vectors of all prompts are made by what was fitted on all of them, without
        their outcomes; these are held out as the `router` does.

        Parameters
        ----------
        X, y, costs, outcome_weight, groups, extra_costs
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_queries, 2 * n_models)
            Cross-fitted qualities, then costs.
        """
        beside = outcome_weight, groups, extra_costs
        return self._fit("fit_transform", X, y, costs, *beside)

    def embed(self, X: Any) -> np.ndarray:
        """Give the vectors that the router reads, for another router or estimator.

        Parameters
        ----------
        X : array-like of str, or DataFrame
            Prompts.

        Returns
        -------
        ndarray of shape (n_queries, n_vector_features)
            The embedding that came along, that of the encoder, words and surface.

        Raises
        ------
        NotFittedError
            If the router is not fitted.
        TypeError
            If a prompt is no text.
        ValueError
            If the columns are not those of the fit, or the encoder gives other vectors.
        """
        check_is_fitted(self)
        self._check_columns(X, reset=False)
        return self.vectors_.transform(X, self.encoder)

    def decision_function(self, X: Any) -> np.ndarray:
        """Rank scores of the router.

        Parameters
        ----------
        X : array-like of str, or DataFrame
            Prompts.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            Scores; their order within a row is the ranking.
        """
        vectors = self.embed(X)
        return self.router_.decision_function(vectors)

    def predict_quality(self, X: Any) -> np.ndarray:
        """Expected quality of every model.

        Parameters
        ----------
        X : array-like of str, or DataFrame
            Prompts.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            In the unit of `y`.
        """
        vectors = self.embed(X)
        return self.router_.predict_quality(vectors)

    def predict_cost(self, X: Any) -> np.ndarray:
        """Expected cost of every model.

        Parameters
        ----------
        X : array-like of str, or DataFrame
            Prompts.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            In the unit of `costs`.
        """
        vectors = self.embed(X)
        return self.router_.predict_cost(vectors)

    @property
    def price_path_(self) -> Any:
        """Mean spend and quality of the training queries at every shadow price."""
        check_is_fitted(self)
        return self.router_.price_path_

    @property
    def best_single_(self) -> str:
        """Name of the model of the highest mean quality in training."""
        check_is_fitted(self)
        return self.router_.best_single_

    @available_if(_router_has("update"))
    def update(
        self, X: Any, y: Any, *, costs: Any = None, outcome_weight: Any = None
    ) -> Self:
        """Learn from more outcomes, such as those of the calls since the last update.

        What makes vectors of prompts stays as it was fitted.

        Parameters
        ----------
        X : array-like of str, or DataFrame
            Prompts.
        y, costs, outcome_weight : array-like of shape (n_queries, n_models)
            As in `RankingRouter.update`.

        Returns
        -------
        self : TextRouter
            The router, which knows more. Errors are those of `RankingRouter.update`,
            and leave it as it was.
        """
        check_is_fitted(self)
        check_rows(X=X, y=y, costs=costs, outcome_weight=outcome_weight)
        with open_draft(self) as draft:
            vectors, router = draft.embed(X), snapshot(draft.router_)
            router.update(vectors, y, costs=costs, outcome_weight=outcome_weight)
            draft._set_router(router)
        return self

    @property
    def renewed_(self) -> dict[str, dict[str, float]]:
        """Models that the last update renewed, as in `RankingRouter`."""
        check_is_fitted(self)
        renewed: dict[str, dict[str, float]] = self.router_.renewed_
        return renewed

    @available_if(_router_has("probes"))
    def probes(self, n: int = 50, *, X: Any, y: Any) -> np.ndarray:
        """Choose the queries to call a new model on, before it is added.

        Parameters
        ----------
        n : int, default=50
            Number of queries to choose.
        X : array-like of str, or DataFrame
            Prompts of the queries to choose from.
        y : array-like of shape (n_queries, n_models)
            As in `RankingRouter.probes`.

        Returns
        -------
        ndarray of int of shape (n,)
            Rows of `X`. Errors are those of `RankingRouter.probes`.
        """
        made = self._snapshot()
        check_rows(X=X, y=y)
        rows: np.ndarray = made.router_.probes(n, X=made.embed(X), y=y)
        return rows

    @available_if(_router_has("add_model"))
    def add_model(self, name: str, y: Any, *, X: Any, costs: Any = None) -> Self:
        """Return a router of a larger pool; this one stays as it is.

        Parameters
        ----------
        name : str
            Name of the model, none of ``models_``.
        y : array-like of shape (n_queries,)
            Quality of the model on every query.
        X : array-like of str, or DataFrame
            Prompts of the queries.
        costs : float or array-like of shape (n_queries,), default=None
            As in `RankingRouter.add_model`.

        Returns
        -------
        TextRouter
            A fitted router. Errors are those of `RankingRouter.add_model`.
        """
        made = self._snapshot()
        check_rows(X=X, y=y, costs=costs)
        vectors = made.embed(X)
        return made._adopt(made.router_.add_model(name, y, X=vectors, costs=costs))

    @available_if(_router_has("remove_model"))
    def remove_model(self, name: str) -> Self:
        """Return a router of a smaller pool; this one stays as it is.

        Parameters
        ----------
        name : str
            One of ``models_``.

        Returns
        -------
        TextRouter
            A fitted router. Errors are those of `RankingRouter.remove_model`.
        """
        check_is_fitted(self)
        made = self._snapshot()
        return made._adopt(made.router_.remove_model(name))

    @available_if(_router_has("with_prices"))
    def with_prices(self, *args: Any, **kwargs: Any) -> Self:
        """Return the same router at other prices; this one stays as it is.

        Parameters
        ----------
        *args, **kwargs : object
            As in `with_prices` of the router inside, if it has any.

        Returns
        -------
        TextRouter
            A fitted router.
        """
        check_is_fitted(self)
        made = self._snapshot()
        return made._adopt(made.router_.with_prices(*args, **kwargs))

    def _fit(
        self,
        method: str,
        X: Any,
        y: Any,
        costs: Any,
        outcome_weight: Any,
        groups: Any,
        extra_costs: Any,
    ) -> Any:
        """Fit the parts, and the router by its `method`; returns what that returns."""
        router = _prepare_router(self.router)
        beside = {"costs": costs, "outcome_weight": outcome_weight, "groups": groups}
        check_rows(X=X, y=y, **beside)
        for name, table in (extra_costs or {}).items():
            check_rows(X=X, **{f"extra_costs[{name!r}]": table})
        beside["extra_costs"] = extra_costs
        fit = getattr(router, method)
        known = {name: table for name, table in beside.items() if table is not None}
        unknown = known.keys() - signature(fit).parameters.keys()
        if unknown:
            raise ValueError(
                f"{min(unknown)} cannot be given: {type(router).__name__}.{method} "
                "takes none."
            )
        self._check_columns(X, reset=True)
        self.vectors_, vectors = TextVectors.fit(
            X,
            self.encoder,
            self.prompt_features,
            getattr(router, "random_state", None),
        )
        # The parts are blocks of columns, unless the router was given others.
        if "blocks" in router.get_params() and router.blocks is None:
            router.set_params(blocks=self.vectors_.find_blocks(vectors.shape[1]))
        result = fit(vectors, y, **known)
        self._set_router(router)
        return result

    def _check_columns(self, X: Any, *, reset: bool) -> None:
        """Keep the names and the number of columns, or hold `X` to those of the fit."""
        framed = hasattr(X, "columns")
        if reset:
            self.n_features_in_ = 1
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        width = len(X.columns) if framed else 1
        if framed and not reset and self._has_columns(X):
            return
        # Prompts alone need no name: a list will do for the one column of a table, and
        # the other way round.
        if framed and (reset or hasattr(self, "feature_names_in_")):
            validate_data(self, X, reset=reset, skip_check_array=True)
        elif width != self.n_features_in_:
            raise ValueError(
                f"X must have the {self.n_features_in_} columns that this router was "
                f"fitted on, {self.n_features_in_ - 1} of them numbers beside the "
                f"prompts; got {width}."
            )

    def _has_columns(self, X: Any) -> bool:
        """Whether a table has just the columns of the fit, by their names.

        scikit-learn looks at each name by itself, which takes longer than to route.
        """
        known = getattr(self, "feature_names_in_", None)
        return known is not None and np.array_equal(X.columns, known)

    def _adopt(self, router: BaseRouter) -> Self:
        """Route with another router of the same vectors; changes a copy."""
        if self.router is not None:
            # Its parameters name the prices of another pool. The blocks are of this
            # fit, and another may have others.
            given = {"blocks": getattr(self.router, "blocks", None)}
            has_blocks = "blocks" in router.get_params()
            self.router = clone(router).set_params(**given if has_blocks else {})
        self._set_router(router)
        return self

    def _set_router(self, router: Any) -> None:
        self.router_ = router
        self.models_, self.costs_ = router.models_, router.costs_
        self._per_query_costs = getattr(router, "_per_query_costs", False)

    def _snapshot(self) -> Self:
        made = snapshot(self)
        fitted = vars(made).get("router_")
        if fitted is not None and made.router is not None:
            prices = {"costs": getattr(made.router, "costs", None)}
            fitted_prices = {"_fitted_costs": getattr(fitted, "costs", None)}
            check_same_prices(prices | fitted_prices)
        return made

    # What follows from estimates is decided by the router inside, which also knows its
    # training queries.

    def _choose(
        self,
        X: Any,
        rule: Rule,
        available: Any,
        top_k: Any,
        costs: Any = None,
        random_state: Any = None,
        uniform: np.ndarray | None = None,
        extra_costs: Any = None,
    ) -> Decisions:
        # The vectors have no row labels.
        check_call_rows(X=X, available=available, budget=rule.budget, costs=costs)
        vectors = self.embed(X)
        # Their rows are checked against the prompts here.
        GivenExtras.read(extra_costs, len(vectors), self.models_, X=X)
        if rule.explore:
            # By the prompts: vectors depend on the rounding of an encoder.
            uniform = draw_uniform(X, len(vectors), random_state)
        choose = self.router_._choose
        asked = available, top_k, costs, random_state, uniform, extra_costs
        return choose(vectors, rule, *asked)

    def _estimate(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        vectors = self.embed(X)
        return self.router_._estimate(vectors)

    def _settle_for_call(self, *args: Any, **kwargs: Any) -> Any:
        return self.router_._settle_for_call(*args, **kwargs)

    def _find_trade_off(self, *args: Any, **kwargs: Any) -> Any:
        return self.router_._find_trade_off(*args, **kwargs)

    def _for_file(self) -> Self:
        """Give what a file holds: encoders that it cannot hold are named."""
        made = snapshot(self)
        made.encoder = name_missing(self.encoder)
        if hasattr(made, "vectors_"):
            made.vectors_ = made.vectors_.without_encoder()
        return made

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags


def _prepare_router(router: Any) -> Any:
    """Make a copy to fit of what is given as `router`."""
    if router is None:
        return RankingRouter()
    if not isinstance(router, BaseRouter):
        raise TypeError(
            "router must be a router of vectors, such as RankingRouter(), or None; got "
            f"{router!r}. A BudgetDecider goes behind, "
            "make_pipeline(TextRouter(), BudgetDecider(...))."
        )
    return clone(router)

"""BaseRouter: all that follows once quality and cost can be estimated."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from skroute._compute.chunks import chunks
from skroute._compute.drafts import FitsOnDraft, snapshot
from skroute._decide.candidates import check_available
from skroute._decide.capacity import read_capacities
from skroute._decide.certainty import judge_margins, judge_nothing
from skroute._decide.engine import Averages, Settled
from skroute._decide.explain import tabulate_reasons
from skroute._decide.explore import draw_uniform
from skroute._decide.extra import SettledExtras
from skroute._decide.extra_estimates import GivenExtras
from skroute._decide.extra_rule import split_extra_costs
from skroute._decide.fallbacks import Decisions, name_decisions
from skroute._decide.guarantee import Guarantee, name_baseline, warn_of_left_out
from skroute._decide.price_path import ShadowPrice
from skroute._decide.rule import Rule, check_top_k
from skroute._decide.trade_off import TrainingTradeOff
from skroute._doc_link import LinksToDocs
from skroute._io.versions import VersionStamped
from skroute._table.alignment import align
from skroute._table.costs import (
    align_costs,
    check_known_costs,
    check_same_prices,
    find_known_models,
    replace_known_costs,
)
from skroute._table.duplicates import find_duplicates
from skroute._table.folds import check_groups, draw_folds
from skroute._table.names import check_call_rows, check_rows, name_estimates
from skroute._table.tables import (
    check_estimates,
    check_input_features,
    check_quality,
    check_queries,
)
from skroute.decision import BudgetDecider
from skroute.exceptions import NoCostWarning
from skroute.metrics import normalized_auc

__all__ = ["BaseRouter"]

# Queries that are estimated and decided at once; bounds the memory of a long call.
_DECIDED_AT_ONCE = 16384
# Rows of a call that can stand in for the traffic if no training estimates are kept.
_LEAST_ROWS_FOR_PRICE = 100


class BaseRouter(
    FitsOnDraft, VersionStamped, LinksToDocs, TransformerMixin, BaseEstimator
):
    """Base of all routers, also of those that others write.

    A subclass gives four methods: ``fit(X, y, *, costs=None)``, ``decision_function``,
    ``predict_quality`` and ``predict_cost``. Its `fit` calls
    :func:`skroute.validation.check_routing_table`, which sets the attributes below.
    Everything else follows: `predict`, `route`, `transform`, the cross-fitted
    `fit_transform`, `score`, names of columns, metadata routing.

    Attributes
    ----------
    models_ : ndarray of str of shape (n_models,)
        Names of the models, in the order of the columns of `y`.
    costs_ : ndarray of shape (n_models,)
        Mean money per call of each model, as given or observed in `fit`.
    n_features_in_ : int
        Width of the embeddings.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the features, where `X` had string column names.

    Examples
    --------
    A router that estimates every query by the means of the models:

    >>> import numpy as np
    >>> from skroute.base import BaseRouter
    >>> from skroute.validation import check_queries, check_routing_table
    >>> class MeanRouter(BaseRouter):
    ...     def __init__(self, costs=None):
    ...         self.costs = costs
    ...
    ...     def fit(self, X, y, *, costs=None):
    ...         table = check_routing_table(self, X, y, costs)
    ...         self.means_ = np.nanmean(table.quality, axis=0)
    ...         return self
    ...
    ...     def decision_function(self, X):
    ...         return self.predict_quality(X)
    ...
    ...     def predict_quality(self, X):
    ...         return np.tile(self.means_, (len(check_queries(self, X)), 1))
    ...
    ...     def predict_cost(self, X):
    ...         return np.tile(self.costs_, (len(check_queries(self, X)), 1))
    >>> X = np.arange(8.0).reshape(4, 2)
    >>> y = np.array([[0, 1], [1, 1], [0, 1], [0, 0]])
    >>> MeanRouter(costs=[1.0, 5.0]).fit(X, y).route(X[:2])
    array(['model_1', 'model_1'], dtype=object)
    """

    __metadata_request__fit = {"costs": True}  # noqa: RUF012 (scikit-learn's protocol)
    __metadata_request__score = {"costs": True, "sample_weight": True}  # noqa: RUF012

    def predict(self, X: Any) -> np.ndarray:
        """Model to call for each query without a budget.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.

        Returns
        -------
        ndarray of int of shape (n_queries,)
            Index into ``models_`` of the model of the highest expected quality, ties to
            the cheaper: ``y[range(n), pred]`` is what the decisions give. Where
            cross-fitting shows that one model beats routing, it is called for all.
        """
        return self._choose(X, Rule(), None, None).choice[:, 0]

    def route(
        self,
        X: Any,
        *,
        budget: float | Any | None = None,
        scope: Literal["mean", "query", "batch"] = "mean",
        min_quality: float | str | None = None,
        price: float | None = None,
        tolerance: float = 0.0,
        available: Any = None,
        on_infeasible: Literal["raise", "cheapest"] = "raise",
        confidence: float | None = None,
        top_k: int | None = None,
        costs: Any = None,
        explore: float = 0.0,
        random_state: Any = None,
        return_propensity: bool = False,
        extra_costs: Any = None,
        capacity: Any = None,
    ) -> Any:
        """Name of the model to call for each query, and of those to fall back on.

        Decides as a :class:`~skroute.BudgetDecider` behind this router would. A mean
        budget and a `min_quality` are turned into a shadow price on the cross-fitted
        estimates of the training queries.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.
        budget, scope, min_quality, price, tolerance
            As in :class:`~skroute.BudgetDecider`; an array of caps holds one for each
            row of `X`.
        available : array-like of bool or list of str, default=None
            Models that may be called, as in :meth:`BudgetDecider.route`.
        on_infeasible : {"raise", "cheapest"}, default="raise"
            As in :class:`~skroute.BudgetDecider`.
        confidence : float or None, default=None
            Between 0 and 1: `min_quality` or the mean `budget` is then a promise, as in
            :class:`~skroute.BudgetDecider`, tested on the cross-fitted estimates of the
            training queries. `guarantee` says what is promised.
        top_k : int or None, default=None
            Number of models to name per query, as in :meth:`BudgetDecider.route`.
        costs : array-like or dict, default=None
            Money per call of these very queries that is known before the call, as in
            :meth:`BudgetDecider.route`: it takes the place of the router's estimates.
            A mean budget and a `min_quality` are settled on training queries decided
            by what their calls cost, of the models of which most rows are known here.
        explore : float, default=0.0
            Share of the queries whose model is drawn, better ones more often, among
            those that the arguments leave, so that a log tells of models that are not
            chosen; see Notes.
        random_state : int, RandomState instance or None, default=None
            Draws the models with `explore`. An int draws for each query by its own
            content: the same whatever else is in the call, for a query that comes
            again, too. An instance draws anew, in the order of the rows.
        return_propensity : bool, default=False
            Whether to return the chances of the calls, too, for a log.
        extra_costs : dict, default=None
            What calls take beside money, and what is asked of it: by name, a pair such
            as ``{"latency_s": (values, {"mean": 2.0})}``. The values are as `costs`:
            known of these requests, (n_queries, n_models), or a number for each model,
            (n_models,) or by name; ``NaN``, and ``None`` in place of all: what `fit`
            learned of its `extra_costs`. What is asked is ``{"weight": w}``: a unit is
            worth this much money; ``{"mean": limit}``: of the average over the traffic;
            ``{"query": limit}``: of each query; or several of these. See Notes.
        capacity : array-like of shape (n_models,) or dict, default=None
            Most calls of each model in this batch, with ``scope="batch"``, as in
            :class:`~skroute.BudgetDecider`.

        Returns
        -------
        names : ndarray of str of shape (n_queries,) or (n_queries, top_k)
            Names of models; with `top_k`, ``None`` where a query has no more models
            that are available, or under its cap.
        propensity : ndarray of shape (n_queries,)
            The chance that the model to call had, 1 without `explore`. Only if
            ``return_propensity=True``.

        Raises
        ------
        InfeasibleBudgetError
            If the budget or the target cannot be met, or not be promised; names the
            nearest that can.
        NotFittedError
            If the router is not fitted.
        ValueError
            If an argument is not as described, or there are too few known outcomes to
            test a `confidence` on.

        Warns
        -----
        UserWarning
            If `available` leaves models out beside a `confidence`, which was tested
            with all of them.

        Notes
        -----
        A decider sees estimates only. A router also knows which queries are far from
        all training queries: for these, a `RankingRouter` meets a `min_quality` by the
        cheapest model whose mean quality reaches it, and splits those of a call between
        two models to spend a mean budget (a single such query goes to the model with
        the larger share). With a `confidence`, they get the best single model for a
        target, and are decided at the price of all others for a budget, so that what
        was promised holds for them too. A `DummyRouter` follows its strategy even where
        one model does better.

        Without cross-fitted estimates from training (a router of a third party that was
        fitted by `fit` alone, and not by `fit_transform`), the price is found on the
        rows of this call, 100 at least; fewer are refused.

        With ``explore=e`` a model is called with a chance of ``1 - e``, if it is what
        would be called without, plus ``e`` times its weight among the candidates:
        ``1 / (unit + gap)``, where ``gap`` is how much less than the best one it is
        worth in ``quality - price * cost``, and ``unit`` the mean gap of training
        queries (inverse-gap weights [1]_). Caps, masks and `tolerance` bind draws, too.
        A mean budget and a `min_quality` are kept with what draws cost and lose, as it
        is on the training queries. A batch budget and a `confidence` are refused.

        A weight of an extra cost steers: models are compared by ``cost + weight *
        extra`` in place of their cost, while a budget counts money alone. The limit of
        a mean has a shadow price of its own, the lowest at which decisions on the
        training queries keep it beside a budget, a price or a target. They are decided
        by what is expected of them, and judged by what their calls took. So it needs
        `extra_costs` in `fit`, or one value for each model. With extra costs, `explore`
        and `confidence` are refused, and far queries are decided as all others.

        References
        ----------
        .. [1] D. Foster and A. Rakhlin, "Beyond UCB: Optimal and efficient contextual
           bandits with regression oracles", ICML, 2020, arXiv:2002.04926.
        """
        values, asked = split_extra_costs(extra_costs)
        rule = Rule(
            *(budget, scope, min_quality, price, tolerance, on_infeasible, confidence),
            explore,
            asked or None,
            self._read_capacities(capacity),
        )
        decisions = self._choose(
            X, rule, available, top_k, costs, random_state, extra_costs=values
        )
        names = name_decisions(self.models_, decisions, top_k)
        return (names, decisions.propensity) if return_propensity else names

    def explain(
        self,
        X: Any,
        *,
        budget: float | Any | None = None,
        scope: Literal["mean", "query", "batch"] = "mean",
        min_quality: float | str | None = None,
        price: float | None = None,
        tolerance: float = 0.0,
        available: Any = None,
        on_infeasible: Literal["raise", "cheapest"] = "raise",
        confidence: float | None = None,
        costs: Any = None,
        extra_costs: Any = None,
        capacity: Any = None,
    ) -> Any:
        """Say why each query is sent where `route` sends it: one row per query.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.
        budget, scope, min_quality, price, tolerance, available, on_infeasible, \
confidence, costs, extra_costs, capacity
            As in `route`.

        Returns
        -------
        DataFrame or Bunch
            A row for each query, under the row names of `X` if it is a pandas
            DataFrame; without pandas, a Bunch of arrays, among them `query`, the
            numbers of the rows. The columns:

            - `chosen`, `runner_up`: names, as `route` gives them with ``top_k=2``.
            - `expected_quality`, `expected_cost`, `runner_up_quality`,
              `runner_up_cost`: their estimates, or costs that are known. The qualities
              are corrected by what estimates of the models called at this price were
              wrong by, on average over the training queries, less what may be chance:
              the largest of several estimates is often too large.
            - `margin`: by how much the choice wins, in quality: the difference of
              ``quality - price * cost``. It can be below 0 where more than the price
              decides: one model is called for all queries because it does better than
              routing; a `tolerance`; a `capacity`; a batch budget, whose rest buys one
              more improvement, and whose runner-up costs no more than the choice if it
              can; or no model fits a cap and the cheapest is taken.
            - `margin_error`: how well such margins are known: the standard error of the
              mean of what the 100 training decisions of the nearest margins turned out
              to win by.
            - `chance`: how often the choice is right: the share of these training
              decisions that turned out to be at least as good as their runners-up, the
              price counted. Both are of cross-fitted estimates, and ``NaN`` where fewer
              than 50 outcomes are known, or the margin is below 0.
            - `price`: the shadow price at which the query was decided, in quality per
              unit of money.
            - `saved`: expected money that is saved against sending the query to the
              best single model in training (without cross-fitted estimates from
              training, see `route`: the best by the estimates of this call), whether
              it is available or not; below 0 where more is spent.

            - `expected_<name>`, `runner_up_<name>`, of each of the `extra_costs`, which
              the margin counts at their shadow prices. The qualities are then not
              corrected, and `margin_error` and `chance` not known.

            Where no other model is available, or under the cap, `runner_up` is ``None``
            and its numbers and the `margin` are ``NaN``.

        Raises
        ------
        InfeasibleBudgetError, NotFittedError, ValueError
            As `route` does.
        """
        values, asked = split_extra_costs(extra_costs)
        rule = Rule(
            *(budget, scope, min_quality, price, tolerance, on_infeasible, confidence),
            extra_costs=asked or None,
            capacity=self._read_capacities(capacity),
        )
        rule.check()
        check_call_rows(X=X, available=available, budget=budget, costs=costs)
        quality, cost = self._estimate(X)
        known = check_known_costs(costs, len(quality), self.models_)
        given = GivenExtras.read(values, len(quality), self.models_, X=X)
        settled = self._settle_for_call(rule, quality, cost, known, given)
        return _explain(self, X, (quality, cost), settled, available, known)

    def guarantee(
        self,
        *,
        budget: float | None = None,
        scope: Literal["mean", "query"] = "mean",
        min_quality: float | str | None = None,
        tolerance: float = 0.0,
        confidence: float = 0.95,
    ) -> Guarantee:
        """Say what `route` promises with these arguments, and on what evidence.

        Parameters
        ----------
        budget, scope, min_quality, tolerance, confidence
            As in `route`; a target or a mean budget is needed.

        Returns
        -------
        Guarantee
            A sentence if printed.

        Raises
        ------
        InfeasibleBudgetError, NotFittedError, ValueError
            As `route` does.

        Examples
        --------
        >>> from skroute import RankingRouter
        >>> from skroute.datasets import make_routing
        >>> data = make_routing(n_queries=800, n_models=3, random_state=0)
        >>> router = RankingRouter(random_state=0)
        >>> router = router.fit(data.data, data.quality, costs=data.costs)
        >>> print(router.guarantee(min_quality="95%"))
        at least 95% of model_1's quality, with 95% confidence, from 800 queries
        """
        check_is_fitted(self)
        rule = Rule(budget, scope, min_quality, None, tolerance, "raise", confidence)
        if confidence is None:
            raise ValueError(
                "confidence must be between 0 and 1, such as 0.95; got None."
            )
        nothing = np.empty((0, len(self.models_)))
        guarantee = self._settle_for_call(rule.check(), nothing, nothing).guarantee
        assert guarantee is not None
        return name_baseline(guarantee, self.models_)

    def transform(self, X: Any) -> np.ndarray:
        """Estimate quality and cost of every model on every query.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_queries, 2 * n_models)
            Expected qualities, as decisions use them, then expected costs.
        """
        return np.hstack(self._estimate(X))

    def fit_transform(
        self, X: Any, y: Any, *, costs: Any = None, groups: Any = None
    ) -> np.ndarray:
        """Fit, and estimate the training queries by cross-fitting.

        As in :class:`sklearn.preprocessing.TargetEncoder`, this is not
        ``fit(X, y).transform(X)``: every query is estimated by a router that did not
        see its outcomes, so a decider behind it is not tuned on known answers.

        Parameters
        ----------
        X, y, costs, groups
            As in `RankingRouter.fit`.

        Returns
        -------
        ndarray of shape (n_queries, 2 * n_models)
            Cross-fitted qualities, then costs.
        """
        self.fit(X, y, costs=costs)
        quality = check_quality(y)
        estimates = np.empty((len(quality), 2 * len(self.models_)))
        check_rows(X=X, y=y, costs=costs, groups=groups)
        groups = check_groups(groups, len(quality))
        duplicates = find_duplicates(check_queries(self, X), groups)
        fold = draw_folds(duplicates, n_folds=5, random_state=0)
        # Each fold is estimated by a clone that is fitted on the others.
        for k in range(fold.max() + 1):
            train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            known = {} if costs is None else {"costs": _safe_indexing(costs, train)}
            # Without groups: a router of a third party need not know any.
            rest = clone(self)
            with warnings.catch_warnings():
                # The fit on all queries has warned already.
                warnings.filterwarnings("ignore", category=NoCostWarning)
                rest.fit(_safe_indexing(X, train), _safe_indexing(y, train), **known)
            estimates[test] = np.hstack(rest._estimate(_safe_indexing(X, test)))
        if costs is not None:
            costs = align_costs(costs, quality.shape, self.models_)
        held_out_quality, held_out_cost = np.hsplit(estimates, 2)
        self._training = TrainingTradeOff.from_estimates(
            *(held_out_quality, held_out_cost, quality, costs),
            unit=duplicates.number_units(),
        )
        return estimates

    def score(
        self, X: Any, y: Any, *, costs: Any = None, sample_weight: Any = None
    ) -> float:
        """Normalised area under the quality-cost curve; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.
        y : array-like of shape (n_queries, n_models)
            Observed qualities. Queries with an unknown quality or cost are left out.
            Columns without names are in the order of `models_`.
        costs : array-like of shape (n_queries, n_models), default=None
            Observed costs. May be left out only if the router was fitted on per-model
            prices (or without costs): these then count.
        sample_weight : array-like of shape (n_queries,), default=None
            How much each query counts: one of weight 2 as two of weight 1.

        Returns
        -------
        float
            :func:`skroute.metrics.normalized_auc` of the router's estimates.

        Raises
        ------
        ValueError
            If costs are needed and not given, or no query has every outcome: a log of
            one answer per query can be learned from, but not judged by.
        """
        estimates = self._estimate(X)
        beside = {"X": X, "sample_weight": sample_weight}
        quality, spend, *_ = align(
            y, costs, models=self.models_, per_query=True, **beside
        )
        # Prices that the router was fitted on hold for any query.
        if spend is None:
            spend = self._find_known_prices()
        return normalized_auc(quality, spend, *estimates, sample_weight=sample_weight)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : None or array-like of str, default=None
            Ignored beyond its length; present for scikit-learn.

        Returns
        -------
        ndarray of str of shape (2 * n_models,)
            ``quality__<model>``, then ``cost__<model>``.
        """
        check_is_fitted(self)
        check_input_features(input_features, self.n_features_in_)
        return name_estimates(self.models_)

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : object
            Parameters by name.

        Returns
        -------
        self : router
            This router.

        Raises
        ------
        ValueError
            If a parameter is none of the router's, or `costs` would no longer be the
            prices that a fitted router was fitted at: `with_prices` makes one at
            others.
        """
        # Before anything is set.
        if "costs" in params and "models_" in vars(self):
            check_same_prices({**vars(self), "costs": params["costs"]})
        return super().set_params(**params)

    def __sklearn_tags__(self) -> Any:
        # Neither a classifier nor a regressor: y is a table of qualities, and with
        # single_output the common checks would feed it a vector.
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _snapshot(self) -> Self:
        router = snapshot(self)
        check_same_prices(vars(router))
        return router

    def _estimate(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Quality and cost, checked; to override where both share work."""
        quality, cost = check_estimates(self.predict_quality(X), self.predict_cost(X))
        if quality.shape[1] != len(self.models_):
            raise ValueError(
                f"predict_quality must give one column per model, {len(self.models_)}; "
                f"got {quality.shape[1]}."
            )
        return quality, cost

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
        """Decide every query and its fallbacks, and draw by `uniform` if it explores.

        These are numbers in [0, 1), (n_queries,); by default those of the queries. Of
        `extra_costs`, by name, it gets the values; what is asked of them is in `rule`.
        """
        check_call_rows(X=X, available=available, budget=rule.budget, costs=costs)
        rule.check()
        trade_off = getattr(self, "_training", None)
        # A long array is estimated and decided in parts, if the rule lets queries be
        # decided apart. Other tables may have row names, or be slow to slice.
        plain = isinstance(X, np.ndarray) and X.ndim == 2 and available is None
        plain = plain and not rule.extras
        if trade_off is not None and plain and len(X) > _DECIDED_AT_ONCE:
            known = check_known_costs(costs, len(X), self.models_)
            settled = self._settle(rule, trade_off, known)
            if settled.can_decide_in_parts:
                n_places = check_top_k(top_k, len(self.models_))
                parts = (
                    self._estimate(X[part]) for part in chunks(len(X), _DECIDED_AT_ONCE)
                )
                choice = settled.decide_in_parts(parts, n_places, known)
                return Decisions(choice, np.full(len(choice), settled.price.high))
        quality, cost = self._estimate(X)
        known = check_known_costs(costs, len(quality), self.models_)
        given = GivenExtras.read(extra_costs, len(quality), self.models_, X=X)
        settled = self._settle_for_call(rule, quality, cost, known, given)
        n_places = check_top_k(top_k, len(self.models_))
        mask = check_available(available, self.models_, len(quality))
        warn_of_left_out(settled.guarantee, mask, self.models_)
        if rule.explore and uniform is None:
            uniform = draw_uniform(X, len(quality), random_state)
        return settled.decide(quality, cost, mask, n_places, known, uniform)

    def _read_capacities(self, capacity: Any) -> tuple[float, ...] | None:
        if capacity is None:
            return None
        check_is_fitted(self)
        return read_capacities(capacity, self.models_)

    def _settle(
        self, rule: Rule, trade_off: TrainingTradeOff, known: np.ndarray | None = None
    ) -> Settled:
        return trade_off.settle(
            rule,
            may_call_single=self._may_call_single_model,
            averages=self._find_averages(),
            known=find_known_models(known),
        )

    def _settle_for_call(
        self,
        rule: Rule,
        quality: np.ndarray,
        cost: np.ndarray,
        known: np.ndarray | None = None,
        given: GivenExtras | None = None,
    ) -> Settled:
        """Find the price of a rule on the training queries, or those of this call."""
        is_kept = hasattr(self, "_training")
        if rule.confidence is not None and not is_kept:
            # An error that says so, whatever the number of rows.
            return self._settle(rule, self._find_trade_off(quality[:1], cost[:1]))
        on_average = rule.is_met_on_average or any(
            limit.mean is not None for limit in rule.extras
        )
        if on_average and not is_kept and 0 < len(quality) < _LEAST_ROWS_FOR_PRICE:
            raise ValueError(
                "a mean budget, a mean limit or min_quality cannot be settled on "
                f"{len(quality)} rows: it would bind these rows, and not an average "
                f"over traffic. This {type(self).__name__} keeps no cross-fitted "
                "estimates of its training queries. Fit it with fit_transform, derive "
                "it from CrossFittedRouter, give a price=..., or scope='batch'. "
                f"{_LEAST_ROWS_FOR_PRICE} rows are enough."
            )
        if not (is_kept or len(quality)):
            # No queries: there is nothing to find a price on, and nothing to decide.
            rule = Rule()
        # On the rows of the call, what is known of them counts.
        paid = replace_known_costs(cost, known)
        if rule.extras:
            return self._find_trade_off(quality, paid).settle_extras(
                rule,
                may_call_single=self._may_call_single_model,
                known=find_known_models(known),
                given=given,
                is_call=not is_kept,
            )
        return self._settle(rule, self._find_trade_off(quality, paid), known)

    def _find_trade_off(
        self, quality: np.ndarray, cost: np.ndarray
    ) -> TrainingTradeOff:
        """Return the trade-off of the training queries, or else that of a call."""
        if hasattr(self, "_training"):
            return self._training
        if not len(quality):
            quality = cost = np.zeros((1, len(self.models_)))
        return TrainingTradeOff.from_estimates(quality, cost)

    @property
    def _may_call_single_model(self) -> bool:
        """Whether one model answers all where cross-fitting shows that it is better."""
        return True

    def _find_averages(self) -> Averages | None:
        """Estimates of queries far from all training queries, if a router has any."""
        return None

    def _find_known_prices(self, user: str | None = "score") -> np.ndarray | None:
        """Per-model prices that hold for any query, or an error of their user."""
        check_is_fitted(self)
        if getattr(self, "_per_query_costs", False):
            if user is None:
                return None
            raise ValueError(
                f"{user} needs costs: this router was fitted on per-query costs, so "
                "give those of these queries as costs=.... In cross-validation they "
                "are metadata, params={'costs': costs}, with "
                "sklearn.set_config(enable_metadata_routing=True); for a tool that "
                "takes none, such as permutation_importance, give them to "
                "scoring=make_routing_scorer(costs=costs)."
            )
        return self.costs_


def explain_settled(
    router: BaseRouter,
    X: Any,
    settled: Settled,
    available: Any = None,
    costs: Any = None,
) -> Any:
    """Explain the decisions of a rule that a decider behind the router has settled."""
    router = router._snapshot()
    check_call_rows(X=X, available=available, costs=costs)
    estimates = router._estimate(X)
    known = check_known_costs(costs, len(estimates[0]), router.models_)
    return _explain(router, X, estimates, settled, available, known)


def make_decider(router: BaseRouter, rule: dict[str, Any]) -> BudgetDecider:
    """Make a decider that is fitted on what a router keeps of its training queries.

    `rule` has parameters of the decider.
    """
    router = router._snapshot()
    check_is_fitted(router)
    trade_off = getattr(router, "_training", None)
    if trade_off is None:
        raise ValueError(
            f"this {type(router).__name__} keeps no cross-fitted estimates of its "
            "training queries, on which a decider could be fitted: save it with a "
            "BudgetDecider behind it, in a Pipeline."
        )
    quality, cost, outcomes, paid = trade_off.kept
    decider = BudgetDecider(**rule)
    decider.fit(np.hstack([quality, cost]), outcomes, costs=paid)
    decider.models_ = router.models_
    return decider


def _explain(
    router: BaseRouter,
    X: Any,
    estimates: tuple[np.ndarray, np.ndarray],
    settled: Settled,
    available: Any,
    known: np.ndarray | None,
) -> Any:
    """Tabulate the decisions of a settled rule with their reasons."""
    models, (quality, cost) = router.models_, estimates
    mask = check_available(available, models, len(quality))
    warn_of_left_out(settled.guarantee, mask, models)
    decisions = settled.decide(quality, cost, mask, min(2, len(models)), known)
    trade_off = router._find_trade_off(quality, cost)
    if isinstance(settled, SettledExtras):
        extra = settled.expect(quality, cost)
        cost = replace_known_costs(cost, known)
        value = settled.value(quality, cost, extra, decisions.shadow_price)
        named = dict(zip((r.name for r in settled.rule.extras), extra, strict=True))
        single = trade_off.best_single
        return tabulate_reasons(
            *(models, quality, cost, decisions, single, judge_nothing, X, value, named)
        )
    quality = trade_off.correct_optimism(quality, settled, decisions)
    cost = replace_known_costs(cost, known)
    price = np.median(decisions.shadow_price) if len(quality) else np.inf
    at = ShadowPrice(float(price), single=settled.price.single)
    judge = partial(judge_margins, price=at, trade_off=trade_off)
    single = trade_off.best_single
    return tabulate_reasons(models, quality, cost, decisions, single, judge, X)


def describe_training(router: BaseRouter) -> dict[str, Any]:
    """Describe what a router remembers of its training, empty where it is nothing."""
    training: TrainingTradeOff | None = getattr(router, "_training", None)
    if training is None:
        return {}
    unit = training.unit
    return {
        "queries_kept": len(training.kept[0]),
        "independent_queries": None if unit is None else len(np.unique(unit)),
        "best_single": str(router.models_[training.best_single]),
        "best_single_quality": float(training.best_single_quality),
        "quality_range": [float(bound) for bound in training.quality_range],
    }

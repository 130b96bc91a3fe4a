"""BudgetDecider: from estimated qualities and costs to the model that is called."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skroute._decide.candidates import check_available
from skroute._decide.fallbacks import Decisions, check_top_k, named, ranked
from skroute._decide.far import find_single, price_within
from skroute._decide.inputs import (
    infer_model_names,
    observed_beside,
    read_estimates,
    split_estimates,
)
from skroute._decide.knapsack import solve_batch
from skroute._decide.pacing import Pace, counted_bills, warn_of_too_little
from skroute._decide.price_path import Price, PricePath, choose_each, row_prices
from skroute._decide.settle import SettlesRule
from skroute._io.versions import VersionStamped
from skroute._table.averages import doubly_robust
from skroute._table.costs import check_realised
from skroute._table.names import check_rows
from skroute._table.tables import check_input_features
from skroute.exceptions import InfeasibleBudgetError

__all__ = ["BudgetDecider"]


class BudgetDecider(SettlesRule, VersionStamped, TransformerMixin, BaseEstimator):
    """Decide which model each query is sent to, under a budget or a quality target.

    A transformer from a router's estimates (the output of ``router.transform``) to
    one-hot decisions, and the last step of a ``Pipeline`` that starts with a router.
    With no parameter set it takes the model of the highest expected quality, ties to
    the cheaper one.

    Parameters
    ----------
    budget : float, array-like of shape (n_queries,) or None, default=None
        Money, in the unit of the costs; what it limits is said by `scope`. An array,
        with ``scope="query"`` only, holds a cap for each row of the next call, in their
        order; infinity is no cap. A cost that is a millionth above it counts as equal,
        because prices in single precision and printed numbers are not exact.
    scope : {"mean", "query", "batch"}, default="mean"
        ``"mean"``: average money per query over the traffic. `fit` finds the price of
        money at which the training queries spend it; every query is then decided on its
        own. ``"query"``: hard cap, no query is sent to a model whose expected cost is
        above `budget`. ``"batch"``: total expected money over the rows of one call,
        solved for that batch and never exceeded.
    min_quality : float, str or None, default=None
        The cheapest decisions whose expected mean quality reaches this. A string such
        as ``"95%"`` is a share of the mean quality of the best single model in
        `fit`. Not together with a mean or batch budget, nor with an array of caps
        (which says nothing of the rows of `fit`), nor with `price`. Solved on the
        rows of `fit`, or with ``scope="batch"`` on the rows of each call.
    price : float or None, default=None
        The price of money itself: ``argmax quality - price * cost``. Not together with
        a mean or batch budget.
    tolerance : float, default=0.0
        Among the models within this much expected quality of the best one, none dearer
        than the cheapest is called. 0 keeps every model in play.
    on_infeasible : {"raise", "cheapest"}, default="raise"
        What to do when nothing fits the budget: raise
        :class:`~skroute.exceptions.InfeasibleBudgetError`, or send the queries
        concerned to their cheapest model. A `min_quality` that cannot be reached then
        takes the best models there are.

    Attributes
    ----------
    price_ : float
        The price of money in force, also after parameters were set; 0 where money only
        matters through a cap.
    price_path_ : PricePath
        Mean spend and quality of the rows of `fit` at every price; after `partial_fit`
        those of recent queries, by their estimates.
    quality_target_ : float or None
        `min_quality` as a number.
    models_ : ndarray of str of shape (n_models,)
        Names of the models.
    n_features_in_ : int
        ``2 * n_models``.
    feature_names_in_ : ndarray of str of shape (2 * n_models,)
        Names of the columns of the estimates, where they had names; those that a
        router's ``transform`` gives them may come in any order, and are in its own.

    Notes
    -----
    A mask of available models does not move `price_`: an outage changes what can be
    called, not what a unit of quality is worth.

    Parameters that are set after `fit` hold from the next call on: their price is found
    on the rows of `fit`. Only where they change the models in play (`tolerance`, or a
    cap beside `min_quality`) a decision raises a ``ValueError`` until the next `fit`.

    Every query is decided on its own, with one exception: where many training queries
    share one embedding, no price spends a mean budget, and the queries of a call on
    which two neighbouring prices disagree are split between them. Queries that come
    one at a time all go with the larger share; `partial_fit` after each splits them
    over time, and keeps to the budget while the traffic drifts.

    Examples
    --------
    >>> import numpy as np
    >>> from skroute import BudgetDecider
    >>> quality = np.array([[0.9, 0.95], [0.2, 0.9], [0.5, 0.6]])
    >>> cost = np.array([[1.0, 10.0], [1.0, 10.0], [1.0, 10.0]])
    >>> decider = BudgetDecider(budget=4.0).fit(np.hstack([quality, cost]))
    >>> decider.predict(np.hstack([quality, cost]))
    array([0, 1, 0])
    """

    __metadata_request__fit = {"costs": True}  # noqa: RUF012 (scikit-learn's protocol)
    __metadata_request__partial_fit = {"costs": True}  # noqa: RUF012

    def __init__(
        self,
        budget: float | Any | None = None,
        *,
        scope: Literal["mean", "query", "batch"] = "mean",
        min_quality: float | str | None = None,
        price: float | None = None,
        tolerance: float = 0.0,
        on_infeasible: Literal["raise", "cheapest"] = "raise",
    ) -> None:
        self.budget = budget
        self.scope = scope
        self.min_quality = min_quality
        self.price = price
        self.tolerance = tolerance
        self.on_infeasible = on_infeasible

    def fit(self, Z: Any, y: Any = None, *, costs: Any = None) -> BudgetDecider:
        """Find the price of money on training traffic.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Expected qualities, then expected costs: preferably cross-fitted ones, as
            ``router.fit_transform`` gives them in a pipeline.
        y : array-like of shape (n_queries, n_models), default=None
            Qualities that were observed. Where known they count in place of the
            estimates when a price is judged; the decisions rest on `Z` alone. A 1-D
            target, as scikit-learn's generic tools pass it, says nothing about models
            and is ignored.
        costs : array-like of shape (n_queries, n_models), default=None
            Costs that were observed, used likewise.

        Returns
        -------
        self : BudgetDecider
            The fitted decider.

        Raises
        ------
        InfeasibleBudgetError
            If the budget or the quality target cannot be met on `Z`.
        ValueError
            If a parameter or an argument is not as described.
        """
        self._check_parameters()
        quality, cost = self._split(read_estimates(self, Z, reset=True))
        columns = getattr(self, "feature_names_in_", None)
        models = infer_model_names(columns, y, costs, quality.shape[1])
        y, costs = observed_beside(Z, y, costs, quality.shape, models)
        allowed = None
        if self._needs_path():
            every = np.ones((1, len(models)), dtype=bool)
            allowed = self._allowed(quality, cost, every)
        path = PricePath.from_estimates(
            quality, cost, allowed=allowed, true_quality=y, true_cost=costs
        )
        alone = quality if y is None else doubly_robust(y, quality)
        means = alone.mean(axis=0)
        if y is not None:
            # Estimates alone do not make a model the best one.
            unknown = np.isnan(y).all(axis=0)
            means[unknown] = -np.inf
            path = path.without_singles(unknown)
        return self._settle(models, path, float(means.max()))

    def partial_fit(self, Z: Any, y: Any = None, *, costs: Any = None) -> BudgetDecider:
        """Move the price so that a running stream keeps to its mean budget.

        To be called after queries were decided, with what they cost; the next ones are
        decided at the new price. As the first call it fits on the estimates it is
        given. A budget that is changed in between holds from the next call on.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates of the queries that were just decided, in their order; one query
            or thousands.
        y : None
            Ignored; present for scikit-learn.
        costs : array-like of shape (n_queries,), default=None
            Money that each query really cost, whichever model answered it; ``NaN``
            where unknown, 0 where the call was free. Where it is not given or unknown,
            the expected cost of the decision counts.

        Returns
        -------
        self : BudgetDecider
            The decider, with `price_` moved.

        Raises
        ------
        ValueError
            If there is no mean budget to keep to, an argument is not as described, or
            `tolerance` changed in the stream; the decider is then left as it was. A
            budget below the cheapest models is no error here: they are called until it
            is enough again.

        Notes
        -----
        The step rule is dual ascent on the account of overspending: what was spent
        above the budget is asked back over the next 250 queries (or as many as there
        are in `Z`, if more). The price at which they spend that is read off the
        estimates of the last 500 queries (up to 2,000, if `Z` has as many), corrected
        by the ratio of realised to expected cost, an average that fades over 500
        queries (two updates, if more). See [1]_ and [2]_ for such pacing of budgets.

        A shift is seen only after it is paid for: where it multiplies the spend by
        ``1 + s``, updates every n queries overspend by ``n * s`` queries' budgets
        before the first of them sees it. Update every 100 queries or more often.

        Once there are enough recent queries, the trade-off is that of their estimates
        alone: a single model that did better by the outcomes of `fit` is not known any
        more.

        Money that even the best models do not take is not saved up, and overspending
        that even the cheapest models cause is not held against later queries. A bill
        counts as 250 budgets at most, with a warning. A warning also says when the
        cheapest models have become too expensive for the budget: the price is then
        infinite, until lower bills or a larger budget bring it back.

        References
        ----------
        .. [1] S. R. Balseiro and Y. Gur, "Learning in repeated auctions with budgets:
           regret minimization and equilibrium", Management Science 65(9), 2019.
        .. [2] S. Agrawal and N. R. Devanur, "Fast algorithms for online stochastic
           convex programming", SODA, 2015.
        """
        self._check_parameters()
        if self.budget is None or self.scope != "mean":
            raise ValueError(
                "partial_fit keeps a stream to a mean budget, and needs budget=... "
                f"with scope='mean'; got budget={self.budget!r}, "
                f"scope={self.scope!r}. Other decisions need no update."
            )
        budget = float(self.budget)
        fitted = hasattr(self, "models_")
        running = self._pace if fitted else None
        known = running is not None and running.is_too_little(self._rule[0])
        if fitted:
            pace = running or Pace.begin(self.price_path_, len(self.models_), budget)
            self._pace = pace
            self._settle_again()
        check_rows(Z=Z, costs=costs)
        quality, cost = self._split(read_estimates(self, Z, reset=not fitted))
        spent = None if costs is None else check_realised(costs, quality.shape)
        if not fitted:
            columns = getattr(self, "feature_names_in_", None)
            self.models_ = infer_model_names(columns, None, None, quality.shape[1])
            self._target, self._best_single = None, np.nan
            self._price = Price(0.0)
            pace = Pace.begin(None, quality.shape[1], budget)
        choice = self._decide(quality, cost, None).choice[:, 0]
        expected = cost[np.arange(len(choice)), choice]
        pace = pace.after(
            quality,
            cost,
            spent=counted_bills(spent, expected, budget),
            expected=expected,
            budget=budget,
            allowed=self._allowed,
        )
        self._pace, self.price_path_ = pace, pace.path
        self._price = pace.price(budget)
        self._rule = self._asked()
        if pace.is_too_little(budget) and not known:
            warn_of_too_little(pace, budget)
        return self

    @property
    def price_(self) -> float:
        """The price of money in force, at the parameters as they are now."""
        check_is_fitted(self)
        return self._snapshot()._price.high

    @property
    def quality_target_(self) -> float | None:
        """`min_quality` as a number."""
        check_is_fitted(self)
        return self._snapshot()._target

    def transform(self, Z: Any) -> np.ndarray:
        """Decide every query; one-hot.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            1.0 in the column of the model that is called.
        """
        choice = self.predict(Z)
        decisions = np.zeros((len(choice), len(self.models_)))
        decisions[np.arange(len(choice)), choice] = 1.0
        return decisions

    def predict(self, Z: Any) -> np.ndarray:
        """Decide every query.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates.

        Returns
        -------
        ndarray of int of shape (n_queries,)
            Index into ``models_``.
        """
        return self._decide(*self._check_estimates(Z), None).choice[:, 0]

    def route(
        self, Z: Any, available: Any = None, top_k: int | None = None
    ) -> np.ndarray:
        """Decide every query by name, among the models that may be called.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates.
        available : array-like of bool or list of str, default=None
            Models that may be called: (n_models,) or (n_queries, n_models), or names,
            or a list of names for each query.
            ``None`` allows all.
        top_k : int or None, default=None
            Number of models to name per query, at most ``n_models``: the one to call,
            then those to fall back on in this order. ``None`` names one, in 1-D.

        Returns
        -------
        ndarray of str of shape (n_queries,) or (n_queries, top_k)
            Name of the model for each query. With `top_k`, ``None`` fills the places
            of a query for which fewer models are available, or under its cap.

        Raises
        ------
        InfeasibleBudgetError
            If no available model fits a query cap or a batch budget.
        ValueError
            If `available` is of the wrong shape, names an unknown model or leaves a
            query without any; if `top_k` is not between 1 and ``n_models``; if there
            are more or fewer caps than rows.

        Notes
        -----
        The next alternative is what the same rule takes where those before it cannot be
        called: at the same price of money, under the same cap, with the same tolerance.
        A batch budget is solved for the first column. Alternatives then come in the
        order of the price that the total implies, but those no dearer than the model
        that was chosen come before all that are dearer: as long as only such are called
        in its place (and a failed call costs nothing), the total is kept. Once a dearer
        one is called it can be exceeded.
        """
        check_rows(Z=Z, available=available)
        quality, cost = self._check_estimates(Z)
        return self._route(quality, cost, available, top_k)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of `transform`: the models.

        Parameters
        ----------
        input_features : None or array-like of str, default=None
            Ignored beyond its length; present for scikit-learn.

        Returns
        -------
        ndarray of str of shape (n_models,)
            The model names.
        """
        check_is_fitted(self)
        check_input_features(input_features, self.n_features_in_)
        return self.models_.copy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _route(
        self, quality: np.ndarray, cost: np.ndarray, available: Any, top_k: Any
    ) -> np.ndarray:
        """Names of the models that are called, and of their alternatives."""
        n_places = check_top_k(top_k, len(self.models_))
        names = named(
            self.models_, self._decide(quality, cost, available, n_places).choice
        )
        return names[:, 0] if top_k is None else names

    def _decide(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        available: Any,
        top_k: int = 1,
        averages: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Decisions:
        """Decide every query, and its alternatives.

        `averages` are the estimates of queries far from all training queries.
        """
        budget: Any = self.budget
        mask = check_available(available, self.models_, len(quality))
        if len(quality) == 0:
            return Decisions(np.empty((0, top_k), dtype=np.intp), np.empty(0))
        allowed = self._allowed(quality, cost, mask)
        keeps_total = self.scope == "batch" and budget is not None
        price, choice = self._price, None
        try:
            if keeps_total:
                choice, implied = solve_batch(quality, cost, allowed, float(budget))
                price = Price(implied)
            elif self.scope == "batch" and self._target is not None:
                path = PricePath.from_estimates(quality, cost, allowed=allowed)
                price = path.price_for_quality(self._target)
        except InfeasibleBudgetError:
            if self.on_infeasible == "raise":
                raise
            price = Price(np.inf if keeps_total else 0.0)
        prices = row_prices(quality, cost, price, allowed)
        followed = None
        if price.single is not None:
            followed = np.full(len(quality), price.single)
        elif averages is not None:
            prices, followed = self._decide_far(
                prices, (quality, cost), allowed, averages
            )
        if choice is None:
            choice = choose_each(quality, cost, prices, allowed)
        if followed is not None:
            every = np.broadcast_to(allowed, quality.shape)
            may_be = (followed >= 0) & every[np.arange(len(quality)), followed]
            choice = np.where(may_be, followed, choice)
        return ranked(
            choice,
            prices,
            (quality, cost),
            mask,
            lambda left: self._allowed(quality, cost, left, again=True),
            top_k=top_k,
            keeps_total=keeps_total,
        )

    def _decide_far(
        self,
        prices: np.ndarray,
        estimates: tuple[np.ndarray, np.ndarray],
        allowed: np.ndarray,
        averages: tuple[np.ndarray, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Prices of money, and models to follow (-1: none), of queries of averages."""
        capped = self.budget is None or self.scope != "mean"
        if self.scope == "batch" or (self._target is None and capped):
            return prices, None
        far = np.flatnonzero((estimates[0] == averages[0]).all(axis=1))
        if not len(far):
            return prices, None
        if self._target is not None:
            every = np.ones((1, len(averages[0])), dtype=bool)
            means = averages[0][None], averages[1][None]
            may_be = self._allowed(*means, every)[0]
            followed = np.full(len(prices), -1)
            followed[far] = find_single(averages, may_be, self._target)
            return prices, followed
        budget: Any = self.budget
        may_be = np.broadcast_to(allowed, estimates[0].shape)[far]
        quality, cost = (table[far] for table in estimates)
        prices = prices.copy()
        prices[far] = price_within(
            averages, self._allowed, float(budget), quality, cost, may_be
        )
        return prices, None

    def _check_estimates(self, Z: Any) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self)
        check_rows(Z=Z, budget=self.budget)
        return self._split(read_estimates(self, Z, reset=False, least=0))

    def _split(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # A method, because scikit-learn's common checks feed tables of any width.
        return split_estimates(Z)

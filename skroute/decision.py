"""BudgetDecider: from estimated qualities and costs to the model that is called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from skroute._compute.chunks import sample_evenly
from skroute._compute.drafts import FitsOnDraft, snapshot
from skroute._decide.candidates import check_available
from skroute._decide.capacity import read_capacities
from skroute._decide.engine import Settled, settle
from skroute._decide.explore import draw_uniform
from skroute._decide.extra import SettledExtras
from skroute._decide.extra_estimates import GivenExtras
from skroute._decide.fallbacks import name_decisions
from skroute._decide.guarantee import Guarantee, name_baseline, warn_of_left_out
from skroute._decide.inputs import (
    check_observed,
    infer_model_names,
    read_estimates,
    split_estimates,
)
from skroute._decide.known import KnownQueries
from skroute._decide.pacing import Pace, count_bills, warn_of_too_little
from skroute._decide.price_path import PricePath, ShadowPrice
from skroute._decide.rule import Rule, check_top_k
from skroute._decide.stream import StreamMeans, StreamReport, read_ratings
from skroute._decide.trade_off import TrainingTradeOff
from skroute._doc_link import LinksToDocs
from skroute._io.versions import VersionStamped
from skroute._table.averages import best_on_average, doubly_robust
from skroute._table.costs import (
    check_known_costs,
    check_realised,
    find_known_models,
    replace_known_costs,
)
from skroute._table.folds import check_groups
from skroute._table.names import check_call_rows, check_rows, format_names
from skroute._table.numbers import check_number
from skroute._table.tables import check_choice, check_input_features

__all__ = ["BudgetDecider", "Guarantee", "StreamReport"]

# Rows of `fit` that are kept, to find the price of decisions by known costs.
_MOST_KEPT = 1024
# Rows of `fit` that are kept where there are extra costs.
_MOST_LIMITED = 4096
# Rows of `fit` on which a confidence is tested.
_MOST_TESTED = 16384


class BudgetDecider(
    FitsOnDraft, VersionStamped, LinksToDocs, TransformerMixin, BaseEstimator
):
    """Decide which model each query is sent to, under a budget or a quality target.

    A transformer from a router's estimates (``router.transform``) to one-hot decisions,
    and the last step of a ``Pipeline`` that starts with a router. With no parameter set
    it takes the model of the highest expected quality, ties to the cheaper one.

    Parameters
    ----------
    budget : float, array-like of shape (n_queries,) or None, default=None
        Money, in the unit of the costs; `scope` says what it limits. An array, with
        ``scope="query"`` only, holds a cap for each row of the next call; infinity is
        no cap. A cost up to a millionth above the budget counts as equal.
    scope : {"mean", "query", "batch"}, default="mean"
        ``"mean"``: average money per query over the traffic; `fit` finds the shadow
        price at which the training queries spend it. ``"query"``: hard cap, no query is
        sent to a model whose expected cost is above `budget`. ``"batch"``: total
        expected money over the rows of one call, solved for that batch.
    min_quality : float, str or None, default=None
        The cheapest decisions whose expected mean quality reaches this. A string such
        as ``"95%"`` is a share of the mean quality of the best single model in
        `fit`. Not together with a mean or batch budget, nor with an array of caps
        (which says nothing of the rows of `fit`), nor with `price`. Solved on the
        rows of `fit`, or with ``scope="batch"`` on the rows of each call.
    price : float or None, default=None
        The shadow price itself, in quality per unit of money: calls the model of
        ``argmax quality - price * cost``. Not together with a mean or batch budget.
    tolerance : float, default=0.0
        Quality slack: no model is called that costs more than the cheapest of those
        whose expected quality is within `tolerance` of the best. 0 leaves no model out.
    on_infeasible : {"raise", "cheapest"}, default="raise"
        When nothing fits the budget, raise
        :class:`~skroute.exceptions.InfeasibleBudgetError`, or send these queries to
        their cheapest model (for a `min_quality` out of reach: to their best).
    confidence : float or None, default=None
        Between 0 and 1: `min_quality` or the mean `budget` is then a promise. With this
        probability over the rows of `fit`, fresh traffic of the same kind reaches the
        target, or keeps to the budget, on average; see Notes. ``None`` takes the price
        at which the rows of `fit` do, which fresh traffic misses in about half of all
        fits.
    extra_costs : dict or None, default=None
        What is asked of what calls take beside money, by name, such as
        ``{"latency_s": {"mean": 2.0}}``: ``{"weight": w}``, a unit is worth this much
        money; ``{"mean": limit}``, of the average over the traffic; ``{"query":
        limit}``, no query is sent to a model that is expected to take more; or several
        of these. What calls take is given to `fit`, or to each call.
    capacity : array-like of shape (n_models,) or dict, default=None
        With ``scope="batch"``: the most calls of each model among the rows of one call,
        whole numbers by position or by name; infinity, or a name that is missing, is no
        limit. With or without a total `budget`, `min_quality` or `price`.

    Attributes
    ----------
    guarantee_ : Guarantee or None
        What is promised, and on what evidence; ``None`` without a `confidence`, where
        `on_infeasible` took effect, and once `partial_fit` moved the price.
    price_ : float
        The shadow price in force, also after parameters were set; 0 where money only
        matters through a cap.
    second_prices_ : dict of str to float
        Quality that a unit of each of the `extra_costs` is worth, at these prices.
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
        Names of the columns of the estimates, if they had any, as a router orders them.

    Notes
    -----
    A mask of available models does not move `price_`: an outage changes what can be
    called, not what a unit of quality is worth.

    Parameters that you set after `fit` hold from the next call on: their price is found
    on the rows of `fit`. Where they change the candidate models (`tolerance`, or a cap
    beside `min_quality`), decisions raise a ``ValueError`` until the next `fit`.

    With a `confidence` the price is not solved for but tested: from the safest
    decisions (the best models for a target, the cheapest for a budget) to the riskiest,
    at fixed prices, up to the first at which the outcomes of `fit` do not prove that
    the mean is kept [1]_. Each test is a bound that holds for any distribution in a
    known range, and for any number of rows [2]_; the range is that of the outcomes
    seen, from 0 on for qualities in [0, 1], and of costs from 0 to the highest seen of
    the models called. A cost above it can break a promise. A target in percent
    is compared with the best single model on the same rows, and this model is called
    for all queries where nothing cheaper is proven.

    The promise is exact where the estimates in `Z` are of a router that never saw these
    rows. On cross-fitted estimates, as a pipeline gives them, it also assumes that the
    router fitted on all rows decides no worse than those fitted on parts of them. Rows
    that are not independent need `groups`. Where outcomes are missing, each model must
    be known on a tenth of the rows, and missing by chance: their estimates are
    corrected by what is known (doubly robust), which widens the range. More than 16,384
    rows are sampled.

    With `extra_costs` decisions take the model of ``argmax quality - price * (cost +
    weight * extra) - second_price * extra``. A budget counts money alone, whatever the
    weights, and a `min_quality` is reached at the least money and weighed extra costs.
    The limit of a mean has the lowest second price at which the rows of `fit` keep it,
    beside the budget, the price or the target; these are decided by what is expected of
    them, and count by what their calls took. At most 4,096 rows are looked at. One
    model is called for all queries only where its own mean is within the limit, and
    never where there is a weight. A limited mean out of reach raises, or with
    ``on_infeasible="cheapest"`` takes the decisions that take least. A `confidence`,
    `partial_fit`, and a limited mean beside a `tolerance` or ``scope="batch"`` are
    refused.

    With a `capacity` the decisions of the batch are those of the highest total quality;
    with a budget or a target as well, the mean is within a ten-thousandth of the range
    of qualities (or costs) of the best. Fallbacks may be models that are full.

    Every query is decided on its own. Exceptions: ``scope="batch"``; and where many
    training queries share one embedding, so that no single price spends a mean budget.
    The queries of a call on which two neighbouring prices disagree are then split
    between them, and a single such query is decided at the price with the larger share;
    `partial_fit` after each call splits them over time, and keeps to the budget while
    the traffic drifts. With a `confidence` nothing is split.

    References
    ----------
    .. [1] A. N. Angelopoulos et al., "Learn then test: calibrating predictive
       algorithms to achieve risk control", Annals of Applied Statistics 19, 2025,
       arXiv:2110.01052.
    .. [2] I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables
       by betting", Journal of the Royal Statistical Society B 86, 2024,
       arXiv:2010.09686.

    Examples
    --------
    >>> import numpy as np
    >>> from skroute import BudgetDecider
    >>> quality = np.array([[0.9, 0.95], [0.2, 0.9], [0.5, 0.6]])
    >>> cost = np.array([[1.0, 10.0], [1.0, 10.0], [1.0, 10.0]])
    >>> decider = BudgetDecider(budget=4.0).fit(np.hstack([quality, cost]))
    >>> decider.predict(np.hstack([quality, cost]))
    array([0, 1, 0])

    A promise, on rows that the router never saw:

    >>> from skroute import RankingRouter
    >>> from skroute.datasets import make_routing
    >>> data = make_routing(n_queries=1200, n_models=3, random_state=0)
    >>> X, y, costs = data.data, data.quality, data.costs
    >>> router = RankingRouter(random_state=0)
    >>> router = router.fit(X[:400], y[:400], costs=costs[:400])
    >>> decider = BudgetDecider(min_quality="95%", confidence=0.9)
    >>> Z = router.transform(X[400:])
    >>> print(decider.fit(Z, y[400:], costs=costs[400:]).guarantee_)
    at least 95% of model_2's quality, with 90% confidence, from 800 queries
    """

    __metadata_request__fit = {  # noqa: RUF012 (scikit-learn's protocol)
        "costs": True,
        "groups": True,
        "extra_costs": True,
    }
    __metadata_request__partial_fit = {  # noqa: RUF012
        "costs": True,
        "known_costs": True,
        "called": True,
        "quality": True,
    }
    __metadata_request__predict = {"costs": True, "extra_costs": True}  # noqa: RUF012
    # Those of `fit`, which a pipeline passes on, are what calls of the past have cost.
    __metadata_request__transform = {  # noqa: RUF012
        "costs": UNUSED,
        "extra_costs": UNUSED,
    }
    models_: np.ndarray
    # What `fit` learned, and the account of a running stream; each replaced as a whole.
    _settled: Settled
    _pace: Pace | None
    _means: StreamMeans | None
    # A sample of the rows of `fit`; files of before have none.
    _trade_off: TrainingTradeOff | None = None
    # Files of before have no such parameters.
    extra_costs: Any = None
    capacity: Any = None

    def __init__(
        self,
        budget: float | Any | None = None,
        *,
        scope: Literal["mean", "query", "batch"] = "mean",
        min_quality: float | str | None = None,
        price: float | None = None,
        tolerance: float = 0.0,
        on_infeasible: Literal["raise", "cheapest"] = "raise",
        confidence: float | None = None,
        extra_costs: Any = None,
        capacity: Any = None,
    ) -> None:
        self.budget = budget
        self.scope = scope
        self.min_quality = min_quality
        self.price = price
        self.tolerance = tolerance
        self.on_infeasible = on_infeasible
        self.confidence = confidence
        self.extra_costs = extra_costs
        self.capacity = capacity

    def fit(
        self,
        Z: Any,
        y: Any = None,
        *,
        costs: Any = None,
        groups: Any = None,
        extra_costs: Any = None,
    ) -> BudgetDecider:
        """Find the shadow price on training traffic.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Expected qualities, then expected costs: preferably cross-fitted ones, as
            ``router.fit_transform`` gives them in a pipeline.
        y, costs : array-like of shape (n_queries, n_models), default=None
            Observed qualities and costs. Where known, they count in place of the
            estimates in the mean spend and quality at a price; decisions use `Z` alone.
            A 1-D `y`, as scikit-learn's generic tools pass it, is ignored. With a
            `confidence` they are what is tested: `y` is needed for a target, and
            `costs` for a budget, unless all rows of `Z` have the same costs, which are
            then prices.
        groups : array-like of shape (n_queries,), default=None
            Labels of rows that are not independent, such as repeats of a prompt or the
            turns of a conversation. A `confidence` counts each group once.
        extra_costs : dict, default=None
            What these calls took beside money, by name: of shape (n_queries, n_models),
            ``NaN`` where unknown, or a number for each model, (n_models,) or by name.
            It is regressed on `Z`, so that it is expected of other queries too.

        Returns
        -------
        self : BudgetDecider
            The fitted decider.

        Raises
        ------
        InfeasibleBudgetError
            If the budget or the quality target cannot be met on `Z`.
        ValueError
            If a parameter or an argument is not as described, or too few outcomes are
            known for a `confidence`.
        """
        rule = Rule.read_from(self).check()
        quality, cost = self._split(read_estimates(self, Z, reset=True))
        models = infer_model_names(self, quality.shape[1], y, costs)
        check_rows(Z=Z, groups=groups)
        given = GivenExtras.read(extra_costs, len(quality), models, Z=Z, y=y)
        unit = check_groups(groups, len(quality))
        y, costs = check_observed(Z, y, costs, quality.shape, models)
        allowed = None
        if rule.is_met_on_average:
            allowed = rule.find_candidates(quality, cost)
        path = PricePath.from_estimates(quality, cost, y, costs, allowed=allowed)
        means = (quality if y is None else doubly_robust(y, quality)).mean(axis=0)
        if y is not None:
            # Estimates alone do not make a model the best one.
            unknown = np.isnan(y).all(axis=0)
            means[unknown] = -np.inf
            path = path.without_singles(unknown)
        rule = _name_capacities(rule, models)
        known = None
        if rule.confidence is not None:
            best = best_on_average(means, cost.mean(axis=0))
            known = _take_tested(rule, (quality, cost), y, costs, unit, best)
        rows = sample_evenly(
            len(quality), _MOST_LIMITED if given.tables else _MOST_KEPT
        )
        kept = (
            quality,
            cost,
            quality if y is None else y,
            cost if costs is None else costs,
        )
        best_quality = float(means.max())
        self.models_ = models
        self._trade_off = replace(
            TrainingTradeOff.from_estimates(
                *(np.ascontiguousarray(table[rows]) for table in kept)
            ),
            path=path,
            best_single_quality=best_quality,
        ).learn_extra(np.hstack([quality, cost])[rows], given.take(len(rows)), models)
        if rule.extras:
            self._settled = self._trade_off.settle_extras(rule)
        else:
            self._settled = settle(rule, path, best_quality, known=known)
        # A new fit ends a running stream.
        self._pace = None
        self._means = StreamMeans.begin(cost, costs, y)
        return self

    def partial_fit(
        self,
        Z: Any,
        y: Any = None,
        *,
        costs: Any = None,
        known_costs: Any = None,
        called: Any = None,
        quality: Any = None,
    ) -> BudgetDecider:
        """Move the price so that a running stream keeps to its mean budget.

        Call it after queries were decided, with what they cost; the next ones are
        decided at the new price. A first call fits on the estimates it is given. A
        budget that you change in between holds from the next call on.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates of the queries that were just decided, in their order.
        y : None
            Ignored; present for scikit-learn.
        costs : array-like of shape (n_queries,), default=None
            Money that each query really cost, whichever model answered it. Where it is
            ``NaN`` or not given, the expected cost of the decision counts.
        known_costs : array-like or dict, default=None
            What `route` was given as `costs` for these queries.
        called : array-like of shape (n_queries,), default=None
            Names or indices of the models that were called, where some were drawn or
            followed another that failed; by default those of the decisions.
        quality : array-like of shape (n_queries,), default=None
            How good each answer was, as far as that is known; ``NaN`` elsewhere. It
            moves no price; `stream_report` tells its mean.

        Returns
        -------
        self : BudgetDecider
            The decider, with `price_` moved.

        Raises
        ------
        ValueError
            If there is no mean budget to keep to, an argument is not as described, or
            `tolerance` changed in the stream; the decider is then left as it was.

        Warns
        -----
        UserWarning
            If the budget is below what the cheapest models cost, which are called until
            it is enough again; if a bill is above 250 budgets, and counts as these.

        Notes
        -----
        The step rule is dual ascent on the account of overspending [1]_ [2]_: what was
        spent above the budget is asked back over the next 250 queries (or as many as
        there are in `Z`, if more). The price at which they spend that is read off the
        estimates of the last 500 queries (up to 2,000, if `Z` has as many). Expected
        costs are corrected by the ratio of realised to expected cost of each model, an
        average that fades over 50 of its calls (those of an update, if more), and over
        500 queries in which it is not called. Until there are 500 queries, the price is
        read off those of `fit`, and one ratio for all models corrects it.

        A shift is seen only after it is paid for: where it multiplies the spend by
        ``1 + s``, updates every n queries overspend by ``n * s`` queries' budgets
        before the first of them sees it. Update every 100 queries or more often.

        Money that even the best models do not take is not saved up, and overspending
        that even the cheapest models cause is not held against later queries.

        References
        ----------
        .. [1] S. R. Balseiro and Y. Gur, "Learning in repeated auctions with budgets:
           regret minimization and equilibrium", Management Science 65(9), 2019.
        .. [2] S. Agrawal and N. R. Devanur, "Fast algorithms for online stochastic
           convex programming", SODA, 2015.
        """
        rule, fitted = Rule.read_from(self), hasattr(self, "models_")
        # The rule in force was checked when it was settled.
        changed = not (fitted and rule.is_same(self._settled.rule))
        if changed:
            rule.check()
        if not rule.has_mean_budget:
            raise ValueError(
                "partial_fit keeps a stream to a mean budget, and needs budget=... "
                f"with scope='mean'; got budget={self.budget!r}, "
                f"scope={self.scope!r}. Other decisions need no update."
            )
        if rule.extras:
            raise ValueError(
                "partial_fit keeps a stream to a mean budget, and does not know "
                "extra_costs: fit again on recent queries, or set extra_costs=None."
            )
        budget = float(rule.budget)
        running = self._pace if fitted else None
        was_low = running is not None and running.is_too_little(
            self._settled.rule.budget
        )
        if fitted:
            # The first update of a fitted decider starts on the path of fit.
            pace = running or Pace.begin(self.price_path_, len(self.models_))
            self._pace = pace
            if changed:
                self._settled = self._settle_changes()
        check_rows(Z=Z, costs=costs, called=called, quality=quality)
        if known_costs is not None:
            check_call_rows(Z=Z, costs=known_costs)
        answered = quality
        quality, cost = self._split(read_estimates(self, Z, reset=not fitted))
        if answered is not None:
            answered = read_ratings(answered, len(quality))
        spent = None if costs is None else check_realised(costs, quality.shape)
        models = self.models_ if fitted else infer_model_names(self, quality.shape[1])
        known = check_known_costs(known_costs, len(quality), models)
        if not fitted:
            self.models_ = models
            pace = Pace.begin(None, quality.shape[1])
            # Nothing is known of the traffic yet: the first queries get the best
            # models.
            self._settled = Settled(rule, ShadowPrice(0.0), None, pace.path, np.nan)
        if called is not None:
            choice = check_choice(called, quality.shape, self.models_, "called")
        else:
            settled = self._settled
            if fitted and running is None and known is not None:
                # What `route` decided by, before there was a stream.
                self._pace = None
                settled = self.settle_with(known)
                self._pace = pace
            choice = settled.decide(quality, cost, known=known).choice[:, 0]
        cost = replace_known_costs(cost, known)
        expected = cost[np.arange(len(choice)), choice]
        means = self._means if fitted else None
        means = means or StreamMeans.begin(cost, spent, None)
        self._means = means.record(spent, answered)
        bills = count_bills(spent, expected, budget)
        self._pace = pace = pace.record(quality, cost, choice, bills, rule)
        self._settled = replace(
            self._settled,
            price=pace.find_shadow_price(budget),
            path=pace.path,
            cost_factor=pace.cost_factor,
            # What was promised was so of another price.
            guarantee=None,
        )
        if pace.is_too_little(budget) and not was_low:
            warn_of_too_little(pace, budget)
        return self

    def continue_stream(self, other: BudgetDecider) -> BudgetDecider:
        """Go on with the stream of another decider, after the router was fitted again.

        Parameters
        ----------
        other : BudgetDecider
            The decider of the stream so far. Money that it overspent is paid back by
            this one; its price, recent queries and ratios of realised to expected cost
            are left behind, as this decider was fitted on newer estimates.

        Returns
        -------
        self : BudgetDecider
            The decider, with `price_` moved if there was a stream.

        Raises
        ------
        ValueError
            If there is no mean budget to keep to.
        """
        check_is_fitted(self)
        check_is_fitted(other)
        rule = Rule.read_from(self).check()
        if not rule.has_mean_budget:
            raise ValueError(
                "continue_stream needs budget=... with scope='mean'; got "
                f"budget={self.budget!r}, scope={self.scope!r}."
            )
        if other._pace is None:
            return self
        begun = Pace.begin(self.price_path_, len(self.models_))
        self._pace = pace = replace(begun, account=other._pace.account)
        settled = self._settle_changes()
        price = pace.find_shadow_price(float(rule.budget))
        self._settled = replace(settled, price=price, guarantee=None)
        return self

    def stream_report(self, confidence: float = 0.95) -> StreamReport:
        """Tell what the stream of `partial_fit` costs and gives, with intervals.

        Parameters
        ----------
        confidence : float, default=0.95
            Chance that an interval holds, between 0 and 1.

        Returns
        -------
        StreamReport
            A sentence if printed.

        Notes
        -----
        The intervals hold at all times at once, for any number of queries, and while
        prices move and traffic drifts: they are of the mean that was to be expected of
        the queries so far, each as it was decided [1]_. Only queries count of which the
        cost, or the quality, was given; those without should be so by chance. Costs are
        assumed to lie between 0 and the largest of `fit` (of the first update, if there
        was no `fit`), and qualities between the lowest and the highest of `fit`, or 0
        and 1 if they did, or if it saw none. What is above counts as that bound, and
        is reported; the interval is then of the mean of costs that are cut so.

        References
        ----------
        .. [1] I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random
           variables by betting", Journal of the Royal Statistical Society B 86, 2024,
           arXiv:2010.09686.

        Examples
        --------
        >>> import numpy as np
        >>> from skroute import BudgetDecider
        >>> rng = np.random.default_rng(0)
        >>> Z = np.hstack([rng.uniform(size=(500, 2)), np.tile([1.0, 5.0], (500, 1))])
        >>> decider = BudgetDecider(budget=3.0).fit(Z)
        >>> paid = np.array([1.0, 5.0])[decider.predict(Z)]
        >>> print(decider.partial_fit(Z, costs=paid).stream_report())
        2.752 of money per query (2.373 to 3.131), from 500 bills; with 95% confidence,
        whenever you look
        """
        check_is_fitted(self)
        confidence = check_number(confidence, "confidence")
        if not 0 < confidence < 1:
            raise ValueError(
                f"confidence must be between 0 and 1, such as 0.95; got {confidence!r}."
            )
        if self._means is None:
            raise ValueError(
                "stream_report has no stream to report: an older version saved this "
                "decider. Call partial_fit, or fit it again."
            )
        return StreamReport.of(self._means, confidence)

    @property
    def settled_(self) -> Settled:
        """The rule of the parameters as they are now, and the price that meets it."""
        check_is_fitted(self)
        return self._snapshot()._settled

    def settle_with(
        self,
        known: np.ndarray | None,
        explore: float = 0.0,
        given: GivenExtras | None = None,
    ) -> Settled:
        """Find the price at which the decisions of a call keep what is asked.

        Parameters
        ----------
        known : ndarray of shape (n_queries, n_models) or None
            Costs of the call that are known, ``NaN`` where they are not.
        explore : float, default=0.0
            Share of the queries whose model is drawn.
        given : GivenExtras or None, default=None
            What the call says of extra costs.

        Returns
        -------
        Settled
            What decides the call; `settled_` where nothing is known nor drawn.
        """
        settled, models = self.settled_, find_known_models(known)
        rule = replace(settled.rule, explore=explore).check()
        if given is not None:
            self._check_asked(given)
        if rule.extras:
            assert self._trade_off is not None
            return self._trade_off.settle_extras(rule, known=models, given=given)
        if self._pace is not None:
            # The price is that of the bills, whatever they are for.
            recent = self._pace.quality, self._pace.cost
            unit = settled.measure_gap_unit(*recent) if explore else None
            return replace(settled, rule=rule, gap_unit=unit)
        # What was promised was tested by the estimates, and a given price stays.
        follows = rule.is_met_on_average and settled.guarantee is None
        if not explore and (models is None or not follows):
            return settled
        if self._trade_off is None:
            if explore and follows:
                raise ValueError(
                    f"explore={explore!r} needs rows of fit, on which the price is "
                    "found that pays for draws, and a decider that an older version "
                    "saved has none: fit it again."
                )
            return replace(settled, rule=rule)
        return self._trade_off.settle(rule, known=models)

    @property
    def price_(self) -> float:
        """The shadow price in force, at the parameters as they are now."""
        return self.settled_.price.high

    @property
    def second_prices_(self) -> dict[str, float]:
        """What a unit of each extra cost is worth, in quality."""
        settled = self.settled_
        return settled.second_prices if isinstance(settled, SettledExtras) else {}

    @property
    def guarantee_(self) -> Guarantee | None:
        """What is promised, and on what evidence."""
        guarantee = self.settled_.guarantee
        return guarantee and name_baseline(guarantee, self.models_)

    @property
    def quality_target_(self) -> float | None:
        """`min_quality` as a number."""
        return self.settled_.target

    @property
    def price_path_(self) -> PricePath:
        """Mean spend and quality at every shadow price."""
        check_is_fitted(self)
        return self._settled.path

    def transform(
        self, Z: Any, costs: Any = None, extra_costs: Any = None
    ) -> np.ndarray:
        """Decide every query; one-hot.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates.
        costs, extra_costs : array-like or dict, default=None
            What is known before the calls, as in `route`.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            1.0 in the column of the model that is called.
        """
        choice = self.predict(Z, costs, extra_costs)
        return np.eye(len(self.models_))[choice]

    def predict(self, Z: Any, costs: Any = None, extra_costs: Any = None) -> np.ndarray:
        """Decide every query.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates.
        costs, extra_costs : array-like or dict, default=None
            What is known before the calls, as in `route`.

        Returns
        -------
        ndarray of int of shape (n_queries,)
            Index into ``models_``.
        """
        check_call_rows(Z=Z, costs=costs)
        quality, cost = self._check_estimates(Z)
        known = check_known_costs(costs, len(quality), self.models_)
        given = GivenExtras.read(extra_costs, len(quality), self.models_, Z=Z)
        settled = self.settle_with(known, given=given)
        return settled.decide(quality, cost, known=known).choice[:, 0]

    def route(
        self,
        Z: Any,
        available: Any = None,
        top_k: int | None = None,
        *,
        costs: Any = None,
        explore: float = 0.0,
        random_state: Any = None,
        return_propensity: bool = False,
        extra_costs: Any = None,
    ) -> Any:
        """Decide every query by name, among the models that may be called.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates.
        available : array-like of bool or list of str, default=None
            Models that may be called: (n_models,) or (n_queries, n_models), or names,
            or a list of names for each query. ``None`` allows all.
        top_k : int or None, default=None
            Number of models to name per query, at most ``n_models``: the one to call,
            then those to fall back on in this order. ``None`` names one, in 1-D.
        costs : array-like or dict, default=None
            Money per call of these very queries that is known before the call: tokens
            counted, a cached prefix, a price of today. Of shape (n_queries, n_models)
            or (n_models,), or from names of models to money. ``NaN``, a name or a
            column that is missing: the estimate in `Z`.
        explore, random_state, return_propensity
            As in `RankingRouter.route`, by the rows of `Z`. After `partial_fit` the
            budget is kept by the bills of the calls, those that were drawn among them.
        extra_costs : dict, default=None
            What these very calls take beside money, by name, as `costs`; ``NaN``, or
            what is not given: as `fit` learned. What is asked of it is the parameter.
            A number for each model holds for the traffic, too: a limited mean is
            settled on rows of `fit` at these numbers.

        Returns
        -------
        names : ndarray of str of shape (n_queries,) or (n_queries, top_k)
            Name of the model for each query. With `top_k`, ``None`` fills the places
            of a query for which fewer models are available, or under its cap.
        propensity : ndarray of shape (n_queries,)
            The chance that the model to call had. Only if ``return_propensity=True``.

        Raises
        ------
        InfeasibleBudgetError
            If no available model fits a query cap or a batch budget.
        ValueError
            If an argument is not as described, `available` leaves a query without any
            model, or there are more or fewer caps than rows.

        Warns
        -----
        UserWarning
            If `available` leaves models out beside a `confidence`, which was tested
            with all of them.

        Notes
        -----
        A fallback is what the same rule takes once the models before it are left out:
        at the same shadow price, under the same cap, with the same tolerance. A batch
        budget is solved for the first column. Fallbacks that cost no more than the
        model that was chosen then come before all others: as long as only such are
        called in its place (and a failed call costs nothing), the total is kept.

        Known costs take the place of the estimates in the trade-off, under caps, in a
        batch budget and among equals. Decisions by known costs spend and gain otherwise
        at one price, so the price of a mean budget or a `min_quality` is found again on
        up to 1,024 rows of `fit`, decided by their `costs`, for the models that are
        known in most rows of the call. That holds for costs such as those of `fit` are;
        `partial_fit` keeps to a budget where they are not. A `price_` that it moved is
        not found again.

        Where one model is called for all queries, it is left for another where the
        change of costs is worth more than its lead. With a `confidence`, known costs
        change a choice only on the safe side: for a target to a model of at least the
        same expected quality, for a budget to one that costs no more.
        """
        check_call_rows(Z=Z, available=available, costs=costs)
        quality, cost = self._check_estimates(Z)
        n_places = check_top_k(top_k, len(self.models_))
        mask = check_available(available, self.models_, len(quality))
        warn_of_left_out(self._settled.guarantee, mask, self.models_)
        known = check_known_costs(costs, len(quality), self.models_)
        given = GivenExtras.read(extra_costs, len(quality), self.models_, Z=Z)
        settled, uniform = self.settle_with(known, explore, given), None
        if explore:
            uniform = draw_uniform(np.hstack([quality, cost]), len(cost), random_state)
        decisions = settled.decide(quality, cost, mask, n_places, known, uniform)
        names = name_decisions(self.models_, decisions, top_k)
        return (names, decisions.propensity) if return_propensity else names

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

    def _snapshot(self) -> Self:
        state = snapshot(self)
        if "_settled" in vars(state):
            state._settled = state._settle_changes()
        return state

    def _settle_changes(self) -> Settled:
        """Find the price again if parameters were set since it was found."""
        rule = _name_capacities(Rule.read_from(self), self.models_)
        if rule.is_same(self._settled.rule):
            return self._settled
        if rule.check().extras or self._settled.rule.extras:
            if self._trade_off is None:
                raise ValueError(
                    "extra_costs need rows of fit, and a decider that an older version "
                    "saved has none: fit it again."
                )
            if rule.extras:
                return self._trade_off.settle_extras(rule)
            return self._trade_off.settle(rule)
        if self._pace is None or not rule.has_mean_budget:
            return self._settled.settle_again(rule)
        # A running stream keeps its account, and needs only another price.
        rule.check().check_same_candidates(self._settled.rule)
        price = self._pace.find_shadow_price(float(rule.budget))
        return replace(
            self._settled, rule=rule, price=price, target=None, guarantee=None
        )

    def _check_asked(self, given: GivenExtras) -> None:
        """Refuse extra costs of a call of which nothing is asked."""
        asked = self.extra_costs or {}
        strangers = [name for name in given.tables if name not in asked]
        if strangers:
            raise ValueError(
                f"extra_costs of the call has {format_names(strangers)}, of which the "
                f"parameter extra_costs asks nothing; it has {format_names(asked)}."
            )

    def _check_estimates(self, Z: Any) -> tuple[np.ndarray, np.ndarray]:
        """Check estimates to decide on, and split them into quality and cost."""
        check_is_fitted(self)
        check_rows(Z=Z, budget=self.budget)
        return self._split(read_estimates(self, Z, reset=False, least=0))

    def _split(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # A method, because scikit-learn's common checks feed tables of any width.
        return split_estimates(Z)


def _name_capacities(rule: Rule, models: np.ndarray) -> Rule:
    """Read the capacities of a rule, which may be by name."""
    return replace(rule, capacity=read_capacities(rule.capacity, models))


def _take_tested(
    rule: Rule,
    estimates: tuple[np.ndarray, np.ndarray],
    y: np.ndarray | None,
    costs: np.ndarray | None,
    unit: np.ndarray | None,
    best_single: int,
) -> KnownQueries:
    """Take the rows of `fit` on which a confidence is tested."""
    quality, cost = estimates
    if rule.min_quality is not None and y is None:
        raise ValueError(
            f"y must be given with confidence={rule.confidence!r}: min_quality is "
            "tested on observed qualities, of shape (n_queries, n_models)."
        )
    if rule.has_mean_budget and costs is None and np.ptp(cost, axis=0).any():
        raise ValueError(
            f"costs must be given with confidence={rule.confidence!r}: a budget is "
            "tested on what calls really cost, and the costs in Z differ by query, so "
            "they are estimates and no prices."
        )
    rows = sample_evenly(len(quality), _MOST_TESTED)
    unit = np.arange(len(quality)) if unit is None else unit
    return KnownQueries.from_outcomes(
        quality[rows],
        cost[rows],
        (quality if y is None else y)[rows],
        (cost if costs is None else costs)[rows],
        unit[rows],
        best_single,
    )

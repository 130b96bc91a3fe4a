"""CascadeDecider: call a model, check its answer, and escalate while that pays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skroute._cascade.checks import Check, ExactCheck, StatedCheck
from skroute._cascade.evidence import Evidence, Outcomes
from skroute._cascade.fitted import (
    LEAST_COMPLETE,
    FittedCascade,
    State,
    Unit,
    fit_cascade,
    simulate_checks,
)
from skroute._cascade.inputs import (
    TrainingTable,
    check_passed,
    number_answers,
    order_models,
    place_answers,
    place_checks,
    read_called,
    read_checks,
    read_outcomes,
    read_rates,
)
from skroute._cascade.path import CascadePath, Place
from skroute._cascade.policy import Terms
from skroute._cascade.reasons import tabulate_calls
from skroute._cascade.replay import CascadeReplay, ReplayedTable
from skroute._compute.drafts import FitsOnDraft, snapshot
from skroute._decide.candidates import check_available, check_caps, is_per_query
from skroute._decide.fallbacks import names_of_choices
from skroute._decide.guarantee import Guarantee, name_baseline, warn_of_left_out
from skroute._decide.inputs import (
    check_observed,
    infer_model_names,
    read_estimates,
    split_estimates,
)
from skroute._decide.rule import Rule
from skroute._doc_link import LinksToDocs
from skroute._io.versions import VersionStamped
from skroute._table.alignment import align
from skroute._table.costs import check_known_costs, replace_known_costs
from skroute._table.duplicates import find_duplicates
from skroute._table.folds import check_groups, draw_folds
from skroute._table.names import as_mapping, check_rows, model_names
from skroute._table.numbers import (
    check_integer,
    check_number,
    check_sample_weight,
)
from skroute.metrics import normalized_auc

__all__ = ["CascadeDecider", "CascadeReplay"]

_N_FOLDS = 3


class CascadeDecider(FitsOnDraft, VersionStamped, LinksToDocs, BaseEstimator):
    """Call a model, check its answer, and call another while that is worth its price.

    Routing and cascading are one decision here, in one currency. A model is called; its
    answer is checked; another is called while the gain in quality that is expected from
    it exceeds the shadow price of its cost. A cheap model goes first where a check
    tells when it has failed. How far a check is to be believed is learned from a table,
    and whether to use it at all.

    Parameters
    ----------
    budget : float, array-like of shape (n_queries,) or None, default=None
        Money for all calls and checks of a query, in the unit of the costs; `scope`
        says what it limits.
    scope : {"mean", "query"}, default="mean"
        ``"mean"``: average money per query over the traffic, found by replaying the
        queries of `fit`. ``"query"``: hard cap on the expected cost of all calls and
        checks of each query; `budget` may then hold a cap for each row.
    min_quality : float, str or None, default=None
        The cheapest cascade whose mean quality reaches this. A string such as ``"95%"``
        is a share of the mean quality of the best single model in `fit`.
    price : float or None, default=None
        The shadow price itself, in quality per unit of money.
    max_calls : int, default=3
        Most models that are called for a query.
    check_cost : float, default=0.0
        Money per check. Every answer is checked, but where `escalates_` is false.
    sensitivity, specificity : float, array-like (n_models,) or dict, default=None
        Chance that the check passes a right answer, and that it fails a wrong one, one
        for all models, one for each, or by their names, where `fit` is given no checks;
        their values are then 1 (passed) or 0. Without
        them, and without `checks` and `answers`, the check is exact: it gives the
        quality of the answer itself, such as 1 where tests pass, else 0.
    on_infeasible : {"raise", "cheapest"}, default="raise"
        When nothing fits the budget, raise
        :class:`~skroute.exceptions.InfeasibleBudgetError`, or call the cheapest model
        (for a `min_quality` out of reach: use the best cascade).
    confidence : float or None, default=None
        Between 0 and 1: `min_quality` or the mean `budget` is then a promise. With this
        probability over the queries of `fit`, fresh traffic of the same kind reaches
        the target, or keeps to the budget, on average; see Notes. To be set before
        `fit`, which then keeps what any confidence is tested on.
    random_state : int, RandomState instance or None, default=None
        Draws the folds, and what is simulated in `fit`. Pass an int for the same
        cascade in every fit.

    Attributes
    ----------
    guarantee_ : Guarantee or None
        What is promised, and on what evidence; ``None`` without a `confidence`, and
        where `on_infeasible` took effect.
    price_ : float
        The shadow price in force, in quality per unit of money.
    escalates_ : bool
        Whether answers are checked and may be followed by another call. False where
        replay showed that one call without a check is better at this price.
    n_checks_ : int
        Number of checks of an answer that `next` reads.
    reads_answers_ : bool
        Whether `next` compares answers.
    path_ : CascadePath
        Arrays `price`, `spend`, `quality` and `n_calls`: means per query of the
        replayed queries, at prices that fall from infinity to 0; `escalates` says
        where answers are checked. The last entry is the best single model.
    quality_target_ : float or None
        `min_quality` as a number.
    models_ : ndarray of str of shape (n_models,)
        Names of the models.
    n_features_in_ : int
        ``2 * n_models``.
    feature_names_in_ : ndarray of str of shape (2 * n_models,)
        Names of the columns of the estimates, if they had any.

    See Also
    --------
    BudgetDecider : Decides before the call only.

    Notes
    -----
    Learning takes `fit` through three steps, each trained on what the one before said
    of queries that it had not seen: how far the check of an answer is to be believed;
    what other answers to the same query add to that, by comparison; and what one more
    call gained in the table. None of them takes models to fail independently.
    Of the models that are worth their calls the one of the highest reservation value
    goes first [1]_. Policies are then compared by replaying queries that they have not
    seen, and the path is replayed likewise; what more than four calls show is taken
    from what four do.

    Parameters that you set after `fit` hold from the next call on, but for `max_calls`,
    `check_cost`, `sensitivity` and `specificity`, which rest on the replay.

    With a `confidence` the price is not read off the path but tested, as in
    :class:`BudgetDecider`: from the safest price to the cheapest, at fixed prices, up
    to the first at which the replayed queries (at most 4,000) do not prove that the
    mean is kept. The best single model is called for all queries where nothing cheaper
    is proven to keep a share of its quality. A promise of a budget assumes that no call
    costs more than the most expensive one of `fit`. Each query is replayed by policies
    that were learned without it; that those learned on all queries decide no worse is
    assumed. Whether answers are checked at all was decided on the same queries. The
    promise is of calls by the estimates in `Z`: where `available` leaves models out, or
    costs are known beforehand, it need not hold.

    References
    ----------
    .. [1] M. L. Weitzman, "Optimal search for the best alternative", Econometrica 47,
       1979.

    Examples
    --------
    A cheap model that is right for half of the queries, a strong one, and tests that
    tell a right answer:

    >>> import numpy as np
    >>> from skroute import CascadeDecider
    >>> rng = np.random.default_rng(0)
    >>> y = np.column_stack([rng.random(400) < 0.5, rng.random(400) < 0.9]) * 1.0
    >>> costs = np.tile([1.0, 10.0], (400, 1))
    >>> Z = np.hstack([np.tile([0.5, 0.9], (400, 1)), costs])
    >>> decider = CascadeDecider(min_quality="100%", random_state=0)
    >>> decider.fit(Z, y, costs=costs).next(Z[:1])
    array(['model_0'], dtype=object)

    Its answer failed the tests, so the strong model is called; or it passed:

    >>> decider.next(Z[:2], [["model_0"], ["model_0"]], [[0.0], [1.0]])
    array(['model_1', None], dtype=object)
    """

    __metadata_request__fit = {  # noqa: RUF012 (scikit-learn's protocol)
        "costs": True,
        "checks": True,
        "answers": True,
        "groups": True,
    }
    __metadata_request__score = {  # noqa: RUF012
        "costs": True,
        "checks": True,
        "answers": True,
        "sample_weight": True,
    }
    models_: np.ndarray
    # Columns of the caller's tables in the order in which models are looked at.
    _order: np.ndarray
    _fitted: FittedCascade
    _settled: tuple[Rule, Place, float | None, Guarantee | None]
    _replayed: dict[str, Any]

    def __init__(
        self,
        budget: float | Any | None = None,
        *,
        scope: Literal["mean", "query"] = "mean",
        min_quality: float | str | None = None,
        price: float | None = None,
        max_calls: int = 3,
        check_cost: float = 0.0,
        sensitivity: Any = None,
        specificity: Any = None,
        on_infeasible: Literal["raise", "cheapest"] = "raise",
        confidence: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.budget = budget
        self.scope = scope
        self.min_quality = min_quality
        self.price = price
        self.max_calls = max_calls
        self.check_cost = check_cost
        self.sensitivity = sensitivity
        self.specificity = specificity
        self.on_infeasible = on_infeasible
        self.confidence = confidence
        self.random_state = random_state

    def fit(
        self,
        Z: Any,
        y: Any,
        *,
        costs: Any = None,
        checks: Any = None,
        answers: Any = None,
        groups: Any = None,
    ) -> CascadeDecider:
        """Learn what checks are worth, and find the price on training traffic.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Expected qualities, then expected costs: cross-fitted ones, as
            ``router.fit_transform`` gives them in a pipeline.
        y : array-like of shape (n_queries, n_models)
            Observed qualities; ``NaN`` where unknown.
        costs : array-like of shape (n_queries, n_models), default=None
            Observed costs. Where unknown or not given, the estimates count.
        checks : array-like of shape (n_queries, n_models[, n_checks]), default=None
            What the check, or each of several, said of each answer: any number, higher
            where the answer is more likely right; ``NaN`` where unknown.
        answers : array-like of shape (n_queries, n_models), default=None
            What each model answered: labels or strings that are equal where models
            agree; ``None``, ``NaN`` or a blank string is no answer. Agreement with the
            answers of models that were called before is then a check, too.
        groups : array-like of shape (n_queries,), default=None
            Labels of queries that are not independent, such as the turns of a
            conversation: they are held out together, and a `confidence` counts each
            group once.

        Returns
        -------
        self : CascadeDecider
            The fitted decider.

        Raises
        ------
        InfeasibleBudgetError
            If the budget or the quality target cannot be met on these queries, or not
            be promised.
        ValueError
            If a parameter or an argument is not as described, or fewer than 20 queries
            have every outcome.
        """
        rule = self._check_parameters()
        models, table, rates = self._read_training(Z, y, costs, checks, answers)
        check_rows(Z=Z, groups=groups)
        group = check_groups(groups, len(table.y))
        # Cheapest first, so that the order of the columns changes no decision.
        order = order_models(table.costs, -table.y, -table.quality, table.cost)
        table = table.reorder(order)
        terms = Terms(0.0, int(self.max_calls), float(self.check_cost))
        if rule.has_cap and not is_per_query(rule.budget):
            limit = float(rule.budget)
            capped = replace(terms, cap=limit, on_infeasible=rule.on_infeasible)
            capped.check_cap(table.cost, np.ones(table.cost.shape, dtype=bool))
            # A target is met under the cap; nothing else on the path depends on it.
            if rule.min_quality is not None:
                terms = replace(terms, cap=limit)
        check: Check | None = None
        if rates is not None:
            check = StatedCheck(*(rate[order] for rate in rates))
        elif table.checks is None and table.answers is None:
            check = ExactCheck()
        rng = check_random_state(self.random_state)
        unit = Unit.of(table.y)
        scaled = unit.scale(table.y)
        checks = table.checks
        if check is not None:
            checks = simulate_checks(check, scaled, rng)
        evidence = Evidence(
            unit.scale(table.quality).clip(0, 1), table.cost, checks, table.answers
        )
        # Whatever the unit of money is, and however different the models' costs are.
        most = np.abs(table.cost).max(axis=0)
        money = table.cost / np.where(most > 0, most, 1.0)
        alike = find_duplicates(np.hstack([evidence.quality, money]), group)
        fold = draw_folds(alike, _N_FOLDS, rng)
        known = Outcomes(evidence, scaled, table.costs, fold)
        seed = int(rng.randint(2**31 - 1))
        units = None if rule.confidence is None else alike.number_units()
        fitted = fit_cascade(known, terms, unit, check, seed, units)
        self.models_ = models
        self._order = order
        self._fitted = fitted
        self._replayed = self._list_replayed()
        self._settled = rule, *fitted.settle(rule)
        return self

    def next(
        self,
        Z: Any,
        called: Any = None,
        checks: Any = None,
        answers: Any = None,
        *,
        available: Any = None,
        costs: Any = None,
    ) -> np.ndarray:
        """Name the model to call next for each query; ``None`` is to stop.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates.
        called : array-like of str of shape (n_queries, n_calls), default=None
            Names of the models called so far, in the order of their calls, with
            ``None`` after the last one. Not given: none was.
        checks : array-like of shape (n_queries, n_calls[, n_checks]), default=None
            What was said of the answers of these calls, as in `fit`; ``NaN`` where
            unknown. Not given: nothing is known of them.
        answers : array-like of shape (n_queries, n_calls), default=None
            The answers of these calls, as in `fit`.
        available : array-like of bool or list of str, default=None
            Models that may be called, as in :meth:`BudgetDecider.route`.
        costs : array-like or dict, default=None
            Money per call that is known of these very queries, as in
            :meth:`BudgetDecider.route`.

        Returns
        -------
        ndarray of str of shape (n_queries,)
            The model to call next, or ``None``.

        Raises
        ------
        InfeasibleBudgetError
            If no available model fits the cap of a query that had no call yet.
        ValueError
            If an argument is not as described.
        """
        chosen = self._choose(Z, called, checks, answers, available, costs).chosen
        return names_of_choices(self.models_[self._order], chosen)

    def answer(
        self, Z: Any, called: Any, checks: Any = None, answers: Any = None
    ) -> np.ndarray:
        """Name the model whose answer is to be returned.

        Parameters
        ----------
        Z, called, checks, answers : array-like
            As in :meth:`next`.

        Returns
        -------
        ndarray of str of shape (n_queries,)
            One of the called models; ``None`` where none was called.
        """
        evidence, was_called, _ = self._read_calls(Z, called, checks, answers)
        best = self._fitted.find_best(evidence, was_called)
        return names_of_choices(self.models_[self._order], best)

    def predict(self, Z: Any) -> np.ndarray:
        """Choose the first call of every query.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates.

        Returns
        -------
        ndarray of int of shape (n_queries,)
            Index into ``models_``.
        """
        state = self._choose(Z)
        chosen: np.ndarray = self._order[state.chosen]
        return chosen

    def replay(
        self,
        Z: Any,
        y: Any,
        costs: Any = None,
        checks: Any = None,
        answers: Any = None,
        *,
        available: Any = None,
    ) -> CascadeReplay:
        """Replay queries whose outcomes are known, at the price in force.

        Parameters
        ----------
        Z : array-like of shape (n_queries, 2 * n_models)
            Estimates.
        y, costs, checks, answers : array-like
            As in `fit`; costs may also be a price per model. Without `checks`, where
            they were not given to `fit` either, what the check says is drawn from its
            chances. Queries with an unknown quality are left out.
        available : array-like of bool or list of str, default=None
            Models that may be called, as in :meth:`BudgetDecider.route`.

        Returns
        -------
        CascadeReplay
            Calls, spend and quality of each query.
        """
        check_is_fitted(self)
        check_rows(Z=Z, y=y, checks=checks, answers=answers, available=available)
        quality, cost = self._check_estimates(Z)
        read_outcomes(y)
        if np.shape(y) != quality.shape:
            raise ValueError(
                f"y must have shape {quality.shape}, one quality per query and model "
                f"of Z; got {np.shape(y)}."
            )
        known = align(y, costs, models=self.models_)
        spent = cost if known.costs is None else known.costs
        spent = np.where(np.isfinite(spent), spent, cost)
        rows = np.flatnonzero(np.isfinite(known.y).all(axis=1))
        if not len(rows):
            raise ValueError(
                "y must hold the quality of every model for some queries, on which a "
                "cascade is replayed; got none."
            )
        fitted, order = self._fitted, self._order
        evidence = self._read_evidence(
            known.y, quality, cost, checks, answers, model_names(y)
        )
        mask = check_available(available, self.models_, len(quality))
        mask = np.broadcast_to(mask, quality.shape)
        terms = self._find_terms(len(quality))
        terms.check_cap(cost, mask)
        table = ReplayedTable(
            fitted,
            evidence.take(rows),
            fitted.unit.scale(known.y[rows].take(order, axis=1)),
            spent[rows].take(order, axis=1),
            mask[rows].take(order, axis=1),
            self.models_,
            order,
        )
        return table.name(terms.take(rows), rows)

    def score(
        self,
        Z: Any,
        y: Any,
        *,
        costs: Any = None,
        checks: Any = None,
        answers: Any = None,
        sample_weight: Any = None,
    ) -> float:
        """Normalised area under the curve of quality against cost; higher is better.

        Parameters
        ----------
        Z, y, costs, checks, answers : array-like
            As in :meth:`replay`.
        sample_weight : array-like of shape (n_queries,), default=None
            How much each query counts.

        Returns
        -------
        float
            :func:`skroute.metrics.normalized_auc` of the replay.
        """
        check_rows(Z=Z, sample_weight=sample_weight)
        replayed = self.replay(Z, y, costs, checks, answers)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, len(Z))[replayed.rows]
        return normalized_auc(replayed.curve(sample_weight))

    def explain(
        self,
        Z: Any,
        called: Any = None,
        checks: Any = None,
        answers: Any = None,
        *,
        available: Any = None,
        costs: Any = None,
    ) -> Any:
        """Tell why a query goes on to another model, or stops.

        Parameters
        ----------
        Z, called, checks, answers, available, costs : array-like
            As in :meth:`next`.

        Returns
        -------
        DataFrame or Bunch of columns
            A row per query: `answer`, the model whose answer would be returned;
            `expected_quality` of it; `next`, the model to call, or ``None``;
            `candidate`, that one, or the best of the others where none is worth its
            call; its `gain` in quality, its `cost` with the check, that
            cost in quality, `charge`, and `worth`, the difference. For the first
            call, `gain` is the worth of the call before its charge.
        """
        state = self._choose(Z, called, checks, answers, available, costs)
        names, unit = self.models_[self._order], self._fitted.unit
        return tabulate_calls(names, state, unit, self.price_, Z)

    @property
    def price_(self) -> float:
        """The shadow price in force, at the parameters as they are now."""
        check_is_fitted(self)
        return self._snapshot()._settled[1].price * self._fitted.unit.extent

    @property
    def escalates_(self) -> bool:
        """Whether answers are checked, and may be followed by another call."""
        check_is_fitted(self)
        return self._snapshot()._settled[1].escalates

    @property
    def n_checks_(self) -> int:
        """Number of checks of an answer that `next` reads; 0 if it reads answers only.

        It is 1 where `fit` was given no checks and no answers.
        """
        check_is_fitted(self)
        return self._fitted.n_checks

    @property
    def reads_answers_(self) -> bool:
        """Whether `next` compares answers, which `fit` was given."""
        check_is_fitted(self)
        return self._fitted.has_answers

    @property
    def guarantee_(self) -> Guarantee | None:
        """What is promised, and on what evidence."""
        check_is_fitted(self)
        guarantee = self._snapshot()._settled[3]
        return guarantee and name_baseline(guarantee, self.models_[self._order])

    @property
    def quality_target_(self) -> float | None:
        """`min_quality` as a number."""
        check_is_fitted(self)
        return self._snapshot()._settled[2]

    @property
    def path_(self) -> CascadePath:
        """Mean spend, quality and number of calls at every price."""
        check_is_fitted(self)
        path, unit = self._fitted.path, self._fitted.unit
        price, quality = path.price * unit.extent, unit.restore(path.quality)
        best_single = int(self._order[path.best_single])
        return replace(path, price=price, quality=quality, best_single=best_single)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags

    def _read_training(
        self, Z: Any, y: Any, costs: Any, checks: Any, answers: Any
    ) -> tuple[np.ndarray, TrainingTable, tuple[np.ndarray, np.ndarray] | None]:
        """Check what fit is given: the models, the tables, the chances of a check."""
        quality, cost = self._split(read_estimates(self, Z, reset=True))
        read_outcomes(y)
        shape = quality.shape
        models = infer_model_names(self, shape[1], y, costs)
        check_rows(Z=Z, y=y, costs=costs, checks=checks, answers=answers)
        # Arrays beside a y with names are in its order.
        columns = model_names(y)
        y, costs = check_observed(Z, y, costs, shape, models)
        costs = cost if costs is None else np.where(np.isfinite(costs), costs, cost)
        complete = int(np.isfinite(y).all(axis=1).sum())
        if complete < LEAST_COMPLETE:
            raise ValueError(
                f"y must hold the quality of every model for {LEAST_COMPLETE} queries "
                f"at least, on which a cascade is replayed; got {complete} such of "
                f"n_samples={len(y)}. A log of one answer per query cannot tell what "
                "a second call would have given: ask all models on some queries."
            )
        checks = read_checks(checks, shape, models, columns=columns)
        answers = number_answers(answers, shape, models, columns)
        rates = read_rates(self.sensitivity, self.specificity, models)
        if checks is not None and rates is not None:
            raise ValueError(
                "sensitivity and specificity say what is learned from checks: give "
                "either the chances or the checks, not both."
            )
        return models, TrainingTable(quality, cost, y, costs, checks, answers), rates

    def _snapshot(self) -> Self:
        state = snapshot(self)
        if "_settled" in vars(state):
            state._settle_changes()
        return state

    def _settle_changes(self) -> None:
        """Find the price again if parameters were set since it was found."""
        if self._list_replayed() != self._replayed:
            changed = [
                name
                for name, value in self._list_replayed().items()
                if value != self._replayed[name]
            ]
            raise ValueError(
                f"{' and '.join(changed)} changed since fit, and what was learned "
                "rests on the replay with it: fit the decider again."
            )
        rule = self._read_rule()
        if not rule.is_same(self._settled[0]):
            rule = self._check_parameters()
            rule.check_same_candidates(self._settled[0])
            self._settled = rule, *self._fitted.settle(rule)

    def _list_replayed(self) -> dict[str, Any]:
        """List the parameters on which the replay in `fit` rests."""
        rates = {"sensitivity": self.sensitivity, "specificity": self.specificity}
        by_name = {name: as_mapping(rate, self.models_) for name, rate in rates.items()}
        return {
            "max_calls": self.max_calls,
            "check_cost": self.check_cost,
            **{
                name: np.asarray(rate).tolist() if np.ndim(rate) else rate
                for name, rate in by_name.items()
            },
        }

    def _check_parameters(self) -> Rule:
        """Check the parameters; returns what is asked as a rule."""
        if self.scope == "batch":
            raise ValueError(
                "scope must be 'mean' or 'query': what a batch spends depends on "
                "answers that are not there yet; got 'batch'."
            )
        check_integer(self.max_calls, "max_calls", low=1)
        check_number(self.check_cost, "check_cost", low=0.0)
        return self._read_rule().check()

    def _read_rule(self) -> Rule:
        """Read the rule from the parameters."""
        return Rule(
            budget=self.budget,
            scope=self.scope,
            min_quality=self.min_quality,
            price=self.price,
            on_infeasible=self.on_infeasible,
            confidence=self.confidence,
        )

    def _find_terms(self, n_queries: int) -> Terms:
        """Find the terms of the parameters in force."""
        rule, place, *_ = self._settled
        cap: Any = np.inf
        if rule.has_cap and is_per_query(rule.budget):
            cap = check_caps(rule.budget, n_queries)[:, 0]
        elif rule.has_cap:
            cap = float(rule.budget)
        return Terms(
            place.price,
            int(self.max_calls),
            float(self.check_cost),
            cap,
            rule.on_infeasible,
            place.escalates,
            place.single,
        )

    def _check_estimates(self, Z: Any) -> tuple[np.ndarray, np.ndarray]:
        """Check estimates to decide on, and split them into quality and cost."""
        check_is_fitted(self)
        return self._split(read_estimates(self, Z, reset=False, least=0))

    def _split(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # A method, because scikit-learn's common checks feed tables of any width.
        return split_estimates(Z)

    def _choose(
        self,
        Z: Any,
        called: Any = None,
        checks: Any = None,
        answers: Any = None,
        available: Any = None,
        costs: Any = None,
    ) -> State:
        """Choose the next calls, and find the best answers."""
        evidence, was_called, allowed = self._read_calls(
            Z, called, checks, answers, available, costs
        )
        warn_of_left_out(
            self._settled[3], allowed | was_called, self.models_[self._order]
        )
        terms = self._find_terms(len(was_called))
        terms.check_cap(evidence.cost, allowed, was_called)
        return self._fitted.choose(terms, evidence, was_called, allowed)

    def _read_calls(
        self,
        Z: Any,
        called: Any,
        checks: Any,
        answers: Any,
        available: Any = None,
        costs: Any = None,
    ) -> tuple[Evidence, np.ndarray, np.ndarray]:
        """Read what is known; which models (n, M) were called, and which may be."""
        check_is_fitted(self)
        # Of costs and available only tables have rows; by model they have none.
        beside = {"costs": costs, "available": available}
        beside = {k: v for k, v in beside.items() if getattr(v, "ndim", 0) == 2}
        check_rows(Z=Z, called=called, checks=checks, answers=answers, **beside)
        quality, cost = self._check_estimates(Z)
        n_queries, n_models = quality.shape
        order = self._order
        calls = read_called(called, self.models_[order], n_queries)
        mask = np.zeros((n_queries, n_models + 1), dtype=bool)
        np.put_along_axis(mask, calls, True, axis=1)
        was_called = mask[:, :n_models]
        known = check_known_costs(costs, n_queries, self.models_)
        cost = replace_known_costs(cost, known).take(order, axis=1)
        allowed = np.broadcast_to(
            check_available(available, self.models_, n_queries), quality.shape
        ).take(order, axis=1)
        fitted = self._fitted
        self._refuse_unlearned(
            checks, answers if len(calls.T) else None, len(calls.T) > 0
        )
        said = numbers = None
        if fitted.n_checks:
            said = place_checks(checks, calls, self.models_, fitted.n_checks)
            self._check_said(said)
        if fitted.has_answers:
            numbers = place_answers(answers, calls, self.models_)
        evidence = fitted.evidence(quality.take(order, axis=1), cost, said, numbers)
        return evidence, was_called, allowed

    def _refuse_unlearned(self, checks: Any, answers: Any, were_called: bool) -> None:
        """Refuse checks or answers that mean nothing to the decider, or are missing."""
        fitted = self._fitted
        if checks is not None and not fitted.n_checks:
            raise ValueError(
                "checks were not given to fit, which learned from answers only: what "
                "they mean is not known. Fit the decider with checks."
            )
        if answers is not None and not fitted.has_answers:
            raise ValueError(
                "answers were not given to fit, so what agreement is worth is not "
                "known: fit the decider with answers, or leave them out here."
            )
        if answers is None and fitted.has_answers and were_called:
            raise ValueError(
                "answers must be given, as in fit: they are compared with each other. "
                "Where a call gave none, write None."
            )

    def _check_said(self, checks: np.ndarray | None) -> None:
        """Refuse values that the check of the decider cannot give."""
        check = self._fitted.policy.check
        if checks is not None and isinstance(check, StatedCheck):
            check_passed(checks)
        if checks is not None and isinstance(check, ExactCheck):
            self._fitted.unit.check(checks)

    def _read_evidence(
        self,
        y: np.ndarray,
        quality: np.ndarray,
        cost: np.ndarray,
        checks: Any,
        answers: Any,
        columns: np.ndarray | None,
    ) -> Evidence:
        """Read what is known of queries to replay, with outcomes (n, M).

        `columns` names the columns of checks and answers that have no names.
        """
        fitted, order, shape = self._fitted, self._order, quality.shape
        self._refuse_unlearned(checks, answers, were_called=True)
        n_checks = fitted.n_checks or None
        said = read_checks(checks, shape, self.models_, n_checks, columns)
        self._check_said(said)
        if said is not None:
            said = said.take(order, axis=1)
        elif fitted.n_checks:
            rng = check_random_state(self.random_state)
            check = fitted.policy.check
            said = simulate_checks(check, fitted.unit.scale(y.take(order, axis=1)), rng)
            if said is None:
                raise ValueError(
                    "checks must be given, as in fit: what they would have said "
                    "cannot be known."
                )
            if isinstance(check, ExactCheck):
                said = fitted.unit.restore(said)
        numbers = number_answers(answers, shape, self.models_, columns)
        if numbers is not None:
            numbers = numbers.take(order, axis=1)
        quality, cost = quality.take(order, axis=1), cost.take(order, axis=1)
        return fitted.evidence(quality, cost, said, numbers)

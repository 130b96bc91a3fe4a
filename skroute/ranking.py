"""RankingRouter: LambdaRank over pair features, calibrated to expected quality."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skroute._compute.chunks import chunks, sample_evenly
from skroute._compute.executor import IN_MEMORY, Executor
from skroute._compute.threads import (
    count_openmp_threads,
    run_in_threads,
    single_threaded,
)
from skroute._decide.caution import choose_caution
from skroute._decide.trade_off import TrainingTradeOff
from skroute._estimate.canonical import Canonical, take_columns
from skroute._estimate.cost import CostModel
from skroute._estimate.fitted import FittedRouter, compose_out_of_fold
from skroute._estimate.options import OPTIONS, Options
from skroute._estimate.probes import choose_probes
from skroute._estimate.quality import QualityModel
from skroute._estimate.updating import Learned
from skroute._rank.forest import PairRanker
from skroute._rank.model_text import MOST_TREES
from skroute._rank.ranker import fit_ranker
from skroute._table.alignment import align_outcomes
from skroute._table.averages import doubly_robust
from skroute._table.costs import check_call_costs
from skroute._table.duplicates import Duplicates, average_duplicates
from skroute._table.folds import draw_folds
from skroute._table.names import (
    as_mapping,
    as_name,
    check_printable,
    check_rows,
    format_names,
)
from skroute._table.numbers import check_integer, check_number
from skroute._table.tables import RoutingTable, check_outcomes, check_queries
from skroute.crossfit import CrossFittedRouter

__all__ = ["RankingRouter"]

_logger = logging.getLogger(__name__)

# Queries that are estimated at once: their intermediate tables fit the cache.
_ESTIMATED_AT_ONCE = 1024
# Queries on which decisions of different caution are compared.
_MOST_COMPARED = 16384
# From this `tie_gain` on, quality is given up for lower costs.
_GIVES_UP_QUALITY = 0.01


class RankingRouter(CrossFittedRouter):
    """Learn to rank the models for a query, and what the ranks are worth.

    Regressions (linear, kernel and cluster profiles) estimate the quality of every
    model by cross-fitting; LightGBM's ``lambdarank`` [1]_ corrects their order from
    features of each (query, model) pair, a query being a group and a model a row. The
    corrected order is turned back into expected quality by the chance that two models
    differ, and its share is set by out-of-fold error, so that :meth:`predict_quality`
    is calibrated and its differences can be priced against cost. Training on the
    comparison and not on scores is what keeps a router from collapsing [2]_.

    Parameters
    ----------
    costs : array-like of shape (n_models,) or dict, default=None
        Prices per model, by position or by name. Also fill in for unknown per-query
        costs.
    n_estimators : int or "auto", default="auto"
        Boosting rounds of the ranker. It corrects estimates that are already good, and
        on most tables of outcomes it changes nothing: ``"auto"`` first trains a small
        ranker on some of the queries, and a ranker of 100 rounds only where that one
        improved the order of the models out of fold. A number trains it on any table;
        0 leaves it out.
    learning_rate : float, default=0.05
        Shrinkage of each round; with 100 rounds, enough to converge.
    num_leaves : int, default=7
        Leaves per tree: few, because outcomes are noisy and features are already
        estimates.
    min_child_samples : int, default=100
        Pairs in a leaf, at least: the mean of fewer right-or-wrong outcomes is noise.
    colsample_bytree : float, default=0.6
        Share of the features that each tree may use; the estimates among them are
        alike, and trees that see all of them lean on one.
    tie_gain : float, default=0.0
        Gain of the cheapest model over the most expensive where two are equally good,
        on a scale where the best quality gains 1 over the worst. 0 leaves the order of
        ties to the decision, which measured best. A dial towards cheap models without a
        budget; from 0.01 on it costs quality, and a single model that is better does
        not replace the router's choice.
    caution : float or "auto", default="auto"
        How many standard deviations over the regressions are taken off the expected
        quality of a model before a query is decided: the best of many estimates is
        often one that is too large, and regressions that disagree about how much better
        a model is than the best single one show which. ``"auto"`` takes one of 0, 0.25,
        0.5, 1 and 2, by the out-of-fold utility of the decisions, and 0 unless the gain
        exceeds two standard errors, or with fewer than 100 queries.
    n_landmarks : int, default=512
        Centres of clusters that span the kernel regressions. The fitted size grows with
        it, and not with the number of queries; twice as many gained nothing measurable.
    blocks : sequence of int, default=None
        Widths of the blocks that the columns of `X` come in, such as ``(384, 768)`` for
        the embeddings of a question and of its image side by side. The regressions then
        see each block by itself, too, and their weights choose. The first block tells
        how far a query is from the training data. A :class:`~skroute.text.TextRouter`
        sets it. ``None`` takes all columns as one embedding.
    forget_after : float, default=None
        Whether, and for how long, the router learns on by :meth:`update`: the number of
        outcomes of a model after which an older one of the same model counts 1/e.
        Infinity never forgets. ``None`` keeps nothing to learn on: the router is
        smaller then, and `update` raises.
    cv : int, default=5
        Folds of the cross-fitting.
    n_jobs : int or None, default=None
        Threads of the fit, and of estimates of more than a thousand queries; ``None``
        is 1 unless in a :func:`joblib.parallel_config` context, -1 is all cores. The
        fit does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Draws the folds, the landmarks and the columns of the trees.
    verbose : int, default=0
        Above 0, the stages of `fit` are logged at level INFO.

    Attributes
    ----------
    models_ : ndarray of str of shape (n_models,)
        Names of the models.
    costs_ : ndarray of shape (n_models,)
        Mean money per call of each model.
    ranker_ : PairRanker or None
        The LambdaRank model; ``None`` where fewer than 100 queries tell the models
        apart, or where it has not shown to help.
    rank_weight_ : float
        Share of the ranker in the differences between models; the remaining weight goes
        to the regressions. Set to the out-of-fold optimum minus two standard errors, so
        an unproven ranker gets 0.
    caution_ : float
        The caution of the decisions, and of what `transform` gives a decider behind
        the router: `caution`, or what ``"auto"`` chose.
    price_path_ : PricePath
        Mean spend and quality of the cross-fitted decisions at every shadow price.
    best_single_ : str
        Name of the model of the highest mean quality in training, ties to the cheaper:
        that of which ``min_quality="95%"`` is a share.
    renewed_ : dict
        Of the last :meth:`update`: names of the models that were not what they had
        been, and by how much their quality has shifted and by what factor their costs.
    n_features_in_ : int
        Width of the embeddings.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the features, where `X` had string column names.

    See Also
    --------
    PointwiseRouter : Any regressor as a router.
    BudgetDecider : Decisions under a budget, as a pipeline step.

    References
    ----------
    .. [1] C. J. C. Burges, "From RankNet to LambdaRank to LambdaMART: An Overview",
       Microsoft Research MSR-TR-2010-82, 2010.
    .. [2] G. Lai and H.-J. Ye, "When Routing Collapses: On the Degenerate Convergence
       of LLM Routers", arXiv:2602.03478, 2026.

    Examples
    --------
    >>> from skroute import RankingRouter
    >>> from skroute.datasets import make_routing
    >>> data = make_routing(n_queries=300, n_models=3, random_state=0)
    >>> router = RankingRouter(random_state=0)
    >>> router = router.fit(data.data, data.quality, costs=data.costs)
    >>> router.route(data.data[:2], min_quality="95%").shape
    (2,)
    """

    #: Changed by benchmarks only.
    _options: ClassVar[Options] = OPTIONS
    _fitted: FittedRouter
    # Names and trade-off of the fitted pool, kept once a model was added or removed.
    _first_pool: tuple[np.ndarray, TrainingTradeOff] | None = None

    __metadata_request__fit = {  # noqa: RUF012 (scikit-learn's protocol)
        "costs": True,
        "groups": True,
        "outcome_weight": True,
        "extra_costs": True,
    }

    def __init__(
        self,
        costs: Any = None,
        *,
        n_estimators: int | Literal["auto"] = "auto",
        learning_rate: float = 0.05,
        num_leaves: int = 7,
        min_child_samples: int = 100,
        colsample_bytree: float = 0.6,
        tie_gain: float = 0.0,
        caution: float | Literal["auto"] = "auto",
        n_landmarks: int = 512,
        blocks: Any = None,
        forget_after: float | None = None,
        cv: int = 5,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.costs = costs
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.min_child_samples = min_child_samples
        self.colsample_bytree = colsample_bytree
        self.tie_gain = tie_gain
        self.caution = caution
        self.n_landmarks = n_landmarks
        self.blocks = blocks
        self.forget_after = forget_after
        self.cv = cv
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

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
        """Fit the router on a table of outcomes.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings, float32 or float64.
        y : array-like of shape (n_queries, n_models)
            Quality of every model on every query, higher is better; ``NaN`` where a
            model was not run. Columns of a DataFrame name the models.
        costs : array-like of shape (n_queries, n_models), default=None
            Money per call, ``NaN`` where unknown. Prices per model are given in the
            constructor instead.
        outcome_weight : array-like of shape (n_queries, n_models), default=None
            Weight of every outcome, in any unit per model: 0 leaves the outcome and
            its cost out. Not read where `y` is ``NaN``. Where an earlier policy chose
            which models ran, one over the probability of its choice makes up for what
            it preferred [1]_; very large weights are noise, and are best clipped by
            the caller [2]_.
        groups : array-like of shape (n_queries,), default=None
            Labels of queries that are never separated by cross-fitting, such as
            paraphrases, or the turns of a conversation; as in
            :class:`sklearn.model_selection.GroupKFold`. Duplicate prompts are found
            without them.
        extra_costs : dict, default=None
            What calls took beside money, such as ``{"latency_s": table}``, a table of
            shape (n_queries, n_models) with ``NaN`` where unknown, so that `route` can
            weigh or limit it. It is regressed on the cross-fitted estimates of quality
            and cost. With an `outcome_weight`, only calls of a known outcome and of a
            weight above 0 count. A router of another pool, or after `update`, does not
            know it.

        Returns
        -------
        self : RankingRouter
            The fitted router.

        Raises
        ------
        ValueError
            If a shape, a name or a value is not as described; the router is then left
            as it was.

        Notes
        -----
        Equal and nearly equal embeddings (within 2% of their spread) are one prompt:
        it is held out as a whole, and counts once, by the averages of its outcomes.
        The exception are blocks: at least 50 rows of one embedding (a tenth of a table
        of fewer than 500, and at least 10) are different prompts that an encoder
        truncates, and each row counts by itself.

        The weights count in the regressions, their strengths and means, and in the
        share of the ranker. The ranker itself compares the known outcomes of a query
        without weights. The weights of a model are scaled to its effective number of
        outcomes (the number of equally weighed ones that give its mean as precisely),
        so a model of few outcomes, or of unevenly weighed ones, is smoothed more.

        References
        ----------
        .. [1] D. G. Horvitz and D. J. Thompson, "A generalization of sampling without
           replacement from a finite universe", Journal of the American Statistical
           Association 47, 1952.
        .. [2] A. Swaminathan and T. Joachims, "Counterfactual risk minimization:
           learning from logged bandit feedback", ICML, 2015.
        """
        self._fit(X, y, costs, outcome_weight, groups, extra_costs)
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

        As in `CrossFittedRouter.fit_transform`: every query is estimated by a model
        that did not see its outcomes, except in blocks.

        Parameters
        ----------
        X, y, costs, outcome_weight, groups, extra_costs
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_queries, 2 * n_models)
            Cross-fitted qualities, then costs.
        """
        return self._fit(X, y, costs, outcome_weight, groups, extra_costs)

    def update(
        self, X: Any, y: Any, *, costs: Any = None, outcome_weight: Any = None
    ) -> Self:
        """Learn from more outcomes, such as those of the calls since the last update.

        The regressions of qualities and of costs are solved again as if they had been
        fitted on all outcomes at once, without any of the old ones: only sums over them
        are kept, and an update takes as long after a million queries as after the
        first. A model whose last outcomes are far from what was expected of it is not
        what it was, and its estimates are renewed at once.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings of queries, by the same encoder.
        y : array-like of shape (n_queries, n_models)
            Quality of the models on these queries, ``NaN`` where a model was not run:
            in a log, one outcome per query. Columns with names are those of
            ``models_``, in any order.
        costs : array-like of shape (n_queries, n_models), default=None
            Money per call, ``NaN`` where unknown; only where `fit` was given such
            costs.
        outcome_weight : array-like of shape (n_queries, n_models), default=None
            Weight of every outcome, in the unit of those that `fit` was given. Without
            any there, an outcome of `fit` weighs 1 on average.

        Returns
        -------
        self : RankingRouter
            The router, which knows more.

        Raises
        ------
        NotFittedError
            If the router is not fitted.
        ValueError
            If it was fitted with ``forget_after=None``, or if a shape, a name or a
            value is not as described; the router is then left as it was.

        Notes
        -----
        What stays as it was fitted: the landmarks and how near to them a query has to
        be, the strengths of the regressions, their weights, `caution_`, and the ranker,
        which is not trained on. It goes on correcting the order of the new estimates,
        with the share it had. Fit again where the traffic has moved to other topics.
        Each row counts by itself: a prompt that comes again counts again.

        Budgets and targets are settled anew, on the last 4,096 queries (with more than
        16 models on fewer), at what was expected of them before their outcomes were
        learned. Nothing can be promised by `confidence` until the next `fit`.

        The alarm compares the last 20, 30, 50 and 100 outcomes of a model, on queries
        near those of `fit`, with what was expected of them. Where a mean is farther
        away than chance explains (Bernstein's bound [2]_, at one in ten million), and
        by more than 5% of the range of qualities (or, for costs, 20%), all its earlier
        outcomes count as if they had been that much higher or lower: what they say of
        the differences between queries still holds. A warning is logged, and `renewed_`
        says by how much.

        The sums take 8 bytes for every two features of a view. For embeddings of 384
        features and 512 landmarks that is 2 MB for all models that were run on the same
        queries, and as much again for each model that was not: for a log of 70 models,
        150 MB.

        References
        ----------
        .. [1] A. H. Sayed, "Fundamentals of Adaptive Filtering", Wiley, 2003: recursive
           least squares with exponential forgetting.
        .. [2] G. Bennett, "Probability inequalities for the sum of independent random
           variables", Journal of the American Statistical Association 57, 1962.

        Examples
        --------
        >>> from skroute import RankingRouter
        >>> from skroute.datasets import make_routing
        >>> data = make_routing(n_queries=600, n_models=3, random_state=0)
        >>> X, y, costs = data.data, data.quality, data.costs
        >>> router = RankingRouter(forget_after=5000, random_state=0)
        >>> router = router.fit(X[:300], y[:300], costs=costs[:300])
        >>> router = router.update(X[300:], y[300:], costs=costs[300:])
        >>> router.renewed_
        {}
        """
        check_is_fitted(self)
        self._check_parameters()
        if self._fitted.learned is None or self.forget_after is None:
            raise ValueError(
                "update needs what fit keeps with forget_after=...: this router keeps "
                "nothing to learn on. Fit it with a number of outcomes after which old "
                "ones fade, such as forget_after=5000, or with numpy.inf to never "
                "forget."
            )
        if costs is not None and self._fitted.learned.cost is None:
            raise ValueError(
                "costs cannot be learned: this router was fitted on one price per "
                "model. Leave them out, or fit it on costs per query."
            )
        queries = check_queries(self, X)
        if not len(queries):
            check_consistent_length(queries, y, costs, outcome_weight)
            self.renewed_: dict[str, dict[str, float]] = {}
            return self
        tables = align_outcomes(y, costs, outcome_weight, models=self.models_, X=X)
        X = queries
        check_consistent_length(X, tables[0])
        before = self._estimate_in_parts(self._fitted, X)
        with single_threaded():
            self._fitted, shifts = self._fitted.update(
                X, *tables, self.forget_after, self._options
            )
        moved = shifts.quality, np.exp(shifts.cost)
        self._training = self._training.follow(before, moved, *tables[:2])
        # What is known of the fitted pool is older than this.
        self._first_pool = None
        place = self._fitted.canonical.place
        if tables[1] is not None:
            self.costs_ = self._fitted.cost.prices[place]
        self.renewed_ = {}
        for model in np.flatnonzero(np.stack(shifts).any(axis=0)):
            quality, cost = float(shifts.quality[model]), float(shifts.cost[model])
            shift = {"quality": quality, "cost_factor": float(np.exp(cost))}
            self.renewed_[str(self.models_[model])] = shift
        if self.renewed_:
            _logger.warning("models are not what they were: %s", self.renewed_)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Rank scores: how much better than the average model each is expected to be.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            Scores; their order within a row is the ranking that `predict` follows, but
            where one model does better than routing.
        """
        quality, _ = self._estimate(X)
        return quality - quality.mean(axis=1, keepdims=True)

    def predict_quality(self, X: Any) -> np.ndarray:
        """Calibrated expected quality of every model.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            In the unit of `y`, comparable across models and queries, and within the
            range that `y` showed in training. Decisions, and `transform`, discount them
            by `caution_`.
        """
        X = check_queries(self, X)
        return self._estimate_in_parts(self._fitted.calibrated, X)[0]

    def predict_cost(self, X: Any) -> np.ndarray:
        """Expected cost of every model.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_queries, n_models)
            In the unit of `costs`: the price, or a ridge regression on per-query costs
            kept within the range that each model showed in training.
        """
        return self._estimate(X)[1]

    @property
    def ranker_(self) -> PairRanker | None:
        """The LambdaRank model that corrects the order of the estimates."""
        ranker: Any = self._fitted.ranker
        return ranker

    @property
    def rank_weight_(self) -> float:
        """Share of the ranker in the differences between models."""
        return self._fitted.rank_weight

    @property
    def caution_(self) -> float:
        """Standard deviations over the regressions that decisions take off."""
        return self._fitted.caution

    def probes(self, n: int = 50, *, X: Any, y: Any) -> np.ndarray:
        """Choose the queries to call a new model on, before it is added.

        The queries of a random sample are by chance easier or harder than the others.
        These are chosen so that the outcomes of the models of the pool, and what is
        expected of them, are spread among them as among all queries [1]_, [2]_. The
        mean of the new model's outcomes then estimates its mean on all queries, and
        `add_model` needs no weights. On ten real tables, fifty probes were worth fifty
        to a hundred queries that were drawn.

        Parameters
        ----------
        n : int, default=50
            Number of queries to choose, at least 2.
        X : array-like of shape (n_queries, n_features)
            Embeddings of the queries to choose from, at least `n`: those the router was
            fitted on, or others. They have to be given, because the router keeps no
            queries.
        y : array-like of shape (n_queries, n_models)
            Quality of the models of the pool on these queries; estimates stand in where
            it is ``NaN``. Columns with names are those of ``models_``, in any order.

        Returns
        -------
        ndarray of int of shape (n,)
            Rows of `X`, ascending. Nothing is drawn: equal arguments give equal rows.

        Raises
        ------
        NotFittedError
            If the router is not fitted.
        ValueError
            If there are fewer queries than `n`, or if a shape, a name or a value is not
            as described.

        References
        ----------
        .. [1] Y. Chen, M. Welling and A. Smola, "Super-samples from kernel herding",
           UAI, 2010.
        .. [2] F. M. Polo et al., "tinyBenchmarks: evaluating LLMs with fewer examples",
           ICML, 2024.

        Examples
        --------
        >>> import numpy as np
        >>> from skroute import RankingRouter
        >>> from skroute.datasets import make_routing
        >>> data = make_routing(300, n_models=3, per_query_costs=False, random_state=0)
        >>> X, y = data.data, data.quality
        >>> router = RankingRouter(costs=data.costs[:2], random_state=0)
        >>> router = router.fit(X, y[:, :2])
        >>> rows = router.probes(20, X=X, y=y[:, :2])
        >>> outcomes = np.full(len(X), np.nan)
        >>> outcomes[rows] = y[rows, 2]  # call the new model on these
        >>> larger = router.add_model("new", outcomes, X=X, costs=0.5)
        """
        check_is_fitted(self)
        n = check_integer(n, "n", low=2)
        queries = check_queries(self, X)
        if len(queries) < n:
            raise ValueError(
                f"n={n} probes cannot be chosen from X with {len(queries)} queries; "
                "give more queries, or a smaller n."
            )
        known, _, _ = align_outcomes(y, None, None, models=self.models_, X=X)
        check_consistent_length(queries, known)
        expected = self._estimate_in_parts(self._fitted.calibrated, queries)[0]
        return choose_probes([expected, np.where(np.isnan(known), expected, known)], n)

    def add_model(self, name: str, y: Any, *, X: Any, costs: Any = None) -> Self:
        """Return a router of a larger pool; this one stays as it is.

        The model gets the regressions of this router, at their strengths; nothing is
        fitted again for the others. With few outcomes its estimates are close to the
        average of the pool [1]_, and they move away from it with every outcome. Fifty
        outcomes place it roughly; with a thousand, a refit on the whole table gains
        little.

        Parameters
        ----------
        name : str
            Name of the model, none of ``models_``.
        y : array-like of shape (n_queries,)
            Quality of the model on every query, in the unit of the other models'
            qualities; ``NaN`` where it was not run. Two outcomes at least; `probes`
            chooses queries to run it on.
        X : array-like of shape (n_queries, n_features)
            Embeddings of the queries, by the same encoder. Those the router was fitted
            on, or others. Also give queries with a ``NaN`` outcome, so that
            budgets are met (see Notes).
        costs : float or array-like of shape (n_queries,), default=None
            Price of a call, or what every call cost, ``NaN`` where unknown. ``None``
            only where the router was fitted without costs: every model then costs 1.

        Returns
        -------
        RankingRouter
            A fitted router; the new model is the last of its ``models_``. Where this
            router was given prices in the constructor, the new one has one more.

        Raises
        ------
        NotFittedError
            If the router is not fitted.
        ValueError
            If the name is taken, or a shape or a value is not as described.

        Notes
        -----
        The new router finds the prices of mean budgets and quality targets on the
        queries `X`, because it keeps no embeddings of the training queries. Give many,
        with or without an outcome of the new model: a mean over few queries is rough.
        With the 2,000 training queries of a real table, spends were within 1% to 4% of
        the budget. The ranker, its share and the weights of the regressions stay as
        they are: refit when much of the pool has changed.

        References
        ----------
        .. [1] B. Efron and C. Morris, "Data analysis using Stein's estimator and its
           generalizations", Journal of the American Statistical Association 70, 1975.

        Examples
        --------
        >>> from skroute import RankingRouter
        >>> from skroute.datasets import make_routing
        >>> data = make_routing(300, n_models=3, per_query_costs=False, random_state=0)
        >>> router = RankingRouter(costs=data.costs[:2], random_state=0)
        >>> router = router.fit(data.data, data.quality[:, :2])
        >>> y = data.quality[:100, 2]
        >>> larger = router.add_model("new", y, X=data.data[:100], costs=0.5)
        >>> larger.models_.tolist()
        ['model_0', 'model_1', 'new']
        >>> router.models_.tolist()
        ['model_0', 'model_1']
        """
        check_is_fitted(self)
        self._check_parameters()
        check_rows(X=X, y=y, costs=costs)
        name = as_name(name)
        if not isinstance(name, str) or not name:
            raise ValueError(f"name must be the name of a model; got {name!r}.")
        check_printable([name], "the new model")
        if name in self.models_:
            raise ValueError(
                f"name={name!r} is a model of this router already; remove it first, "
                "or give another name."
            )
        X = check_queries(self, X)
        y = check_outcomes(y, len(X))
        costs = self._check_new_costs(costs, len(X))
        with single_threaded():
            fitted, parts = self._fitted.with_model(X, y, costs, self.cv)
        estimates, (expected, _) = (
            router.compose(*parts) for router in (fitted, fitted.calibrated)
        )
        # What the model costs on average, however it was given.
        price = float(np.nanmean(costs))
        router = self._copy_with_pool(
            np.append(self.models_, name),
            np.append(self.costs_, price),
            fitted,
            _add_price(as_mapping(self.costs, self.models_), name, price),
        )
        router._per_query_costs = fitted.cost.fit is not None
        # The outcomes of the other models on these queries are not known. What is
        # expected of them counts as it is: decisions are cautious, their value is not.
        outcomes = np.full(expected.shape, np.nan)
        outcomes[:, -1] = y
        router._training = TrainingTradeOff.from_estimates(
            *estimates, doubly_robust(outcomes, expected)
        )
        if router._first_pool and name in router._first_pool[0]:
            # Another model under a name that was removed: the old outcomes are not its.
            router._first_pool = self.models_, self._training
        return router

    def remove_model(self, name: str) -> Self:
        """Return a router of a smaller pool; this one stays as it is.

        Quality and cost of the remaining models are estimated as before, but for the
        ranker's part, which compares a model to the average of the pool. Removing what
        was added gives back the decisions that were fitted.

        Parameters
        ----------
        name : str
            One of ``models_``.

        Returns
        -------
        RankingRouter
            A fitted router without that model. Where this router was given prices in
            the constructor, the new one has one less.

        Raises
        ------
        NotFittedError
            If the router is not fitted.
        ValueError
            If there is no such model, or no other.
        """
        check_is_fitted(self)
        name = as_name(name)
        if name not in self.models_:
            raise ValueError(
                f"name={name!r} is no model of this router; it knows "
                f"{format_names(self.models_)}."
            )
        if len(self.models_) == 1:
            raise ValueError(
                f"name={name!r} is the only model of this router; add another first."
            )
        gone = int(np.flatnonzero(self.models_ == name)[0])
        router = self._copy_with_pool(
            np.delete(self.models_, gone),
            np.delete(self.costs_, gone),
            self._fitted.without_model(gone),
            _drop_price(as_mapping(self.costs, self.models_), gone, name),
        )
        models, training = self.models_, self._training
        # Back within the fitted pool: its own trade-off is better than that of a few
        # queries.
        if self._first_pool and set(router.models_) <= set(self._first_pool[0]):
            models, training = self._first_pool
        if models.tolist() != router.models_.tolist():
            # The trade-off among fewer models is drawn again, on the queries that are
            # kept.
            left = [int(np.flatnonzero(models == m)[0]) for m in router.models_]
            training = training.take_models(left)
        router._training = training
        return router

    def _copy_with_pool(
        self, models: np.ndarray, costs: np.ndarray, fitted: FittedRouter, prices: Any
    ) -> Self:
        """Copy the router with another pool; `prices` are those of the constructor."""
        return self._copy_at(
            prices,
            models_=models,
            costs_=costs,
            _fitted=fitted,
            _first_pool=self._first_pool or (self.models_, self._training),
        )

    def _change_costs(self, factor: np.ndarray, prices: np.ndarray | None) -> None:
        learned = self._fitted.learned
        if learned is not None and learned.cost is not None and (factor == 0).any():
            raise ValueError(
                "scale must be above 0 for a router that learns on (forget_after): "
                "from costs of 0 it could not learn later ones. Give a small number, "
                "or fit it again."
            )
        if prices is None:
            self._fitted = self._fitted.rescale_costs(factor)
        else:
            self._fitted = self._fitted.with_prices(prices)
        if self._first_pool is None:
            return
        # The pool that was fitted may have models that were removed; they stay.
        models, training = self._first_pool
        place = {model: i for i, model in enumerate(self.models_)}
        of_pool = np.array([place.get(model, -1) for model in models])
        factor = np.append(factor, 1.0)[of_pool]
        if prices is not None:
            prices = np.append(prices, np.nan)[of_pool]
        self._first_pool = models, training.change_costs(factor, prices)

    def _check_new_costs(self, costs: Any, n_queries: int) -> np.ndarray | float:
        """Check the price, or the costs per query, of a model that is added."""
        if costs is not None:
            return check_call_costs(costs, n_queries)
        if self.costs is not None or self._per_query_costs:
            raise ValueError(
                "costs must be given for a new model, a price or one cost per "
                "query: this router was fitted on costs."
            )
        return 1.0

    def _estimate(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Estimate quality and cost together: both need the views of a query."""
        X = check_queries(self, X)
        return self._estimate_in_parts(self._fitted, X)

    def _estimate_in_parts(
        self, fitted: FittedRouter, X: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Estimate many queries a part at a time, in threads."""
        if len(X) <= _ESTIMATED_AT_ONCE:
            return fitted.estimate(X)
        quality = np.empty((len(X), len(self.models_)))
        cost = np.empty(quality.shape)

        def estimate(part: slice) -> None:
            quality[part], cost[part] = fitted.estimate(X[part])

        run_in_threads(estimate, chunks(len(X), _ESTIMATED_AT_ONCE), self.n_jobs)
        return quality, cost

    @property
    def _may_call_single_model(self) -> bool:
        # A larger gain gives up quality for money on purpose.
        return check_number(self.tie_gain, "tie_gain", low=0.0) < _GIVES_UP_QUALITY

    def _find_averages(self) -> tuple[np.ndarray, np.ndarray]:
        """Estimates of queries far from all training queries: means of the models."""
        return self._fitted.averages

    def _fit_table(self, table: RoutingTable, executor: Executor = IN_MEMORY) -> Any:
        self._check_parameters()
        self._check_blocks()
        n_threads = count_openmp_threads(self.n_jobs)
        # One thread of BLAS and of k-means: sums in another order are another fit. Only
        # LightGBM's result does not depend on its threads.
        with single_threaded():
            return self._fit_stages(table, n_threads, executor)

    def _fit_stages(
        self, table: RoutingTable, n_threads: int, executor: Executor
    ) -> Any:
        """Fit qualities, ranker and costs, and set `self._fitted` to what they make.

        Returns out-of-fold estimates (n_queries, 2 * n_models), qualities first, in the
        caller's order and unit.
        """
        rng = check_random_state(self.random_state)
        options = self._options
        n_queries = executor.count(table.X)
        duplicates = table.duplicates
        assert duplicates is not None
        self._log(
            f"{duplicates.n_prompts} different prompts, {duplicates.block.sum()} "
            "queries in large blocks, among the outcomes",
            n_queries,
        )
        table = _merge_duplicates(table, duplicates, executor)

        # `quality`, `prices` and `weight` are in the canonical order of models, and
        # qualities in [0, 1]; `table` stays in the caller's.
        canonical = Canonical.fit(table.quality, self.costs_, executor)
        order = canonical.order
        quality = executor.map(canonical.to_canonical, table.quality)
        prices, weight = self.costs_[order], table.weight
        if weight is not None:
            weight = executor.map(take_columns, weight, order)
        # The folds are kept as an array, for the ranker, which is trained in this
        # process, and as a column of the executor, which may lie on a cluster.
        fold_array = draw_folds(duplicates, self.cv, rng)
        fold = executor.split(fold_array, table.X)
        # Drawn before the regressions draw from `rng`, so that other landmarks do not
        # change the seed of the trees.
        seed = int(rng.randint(2**31 - 1))

        self._log("estimating qualities", n_queries)
        learns_on = self.forget_after is not None
        quality_model, held_out, seen, learned_quality = QualityModel.fit(
            table.X,
            quality,
            fold,
            rng,
            duplicates,
            n_landmarks=self.n_landmarks,
            blocks=self._check_blocks(),
            weight=weight,
            learns_on=learns_on,
            n_jobs=self.n_jobs,
            options=options,
            executor=executor,
        )

        self._log("ranking models", n_queries)
        held_out_scores, ranker, rank_weight = fit_ranker(
            held_out,
            quality,
            prices,
            fold_array,
            fold,
            weight,
            tie_gain=self.tie_gain,
            n_estimators=None if self.n_estimators == "auto" else self.n_estimators,
            seed=seed,
            n_threads=n_threads,
            params={
                "learning_rate": self.learning_rate,
                "num_leaves": self.num_leaves,
                "min_child_samples": self.min_child_samples,
                "colsample_bytree": self.colsample_bytree,
            },
            n_jobs=self.n_jobs,
            options=options,
            executor=executor,
        )

        self._log("estimating costs", n_queries)
        cost_model, held_out_cost = CostModel.from_prices(prices), None
        learned_cost = None
        if table.per_query:
            cost_model, held_out_cost, learned_cost = CostModel.regress(
                seen.rows,
                executor.map(take_columns, table.costs, order),
                prices,
                fold,
                executor.share(seen.compute_first),
                weight,
                executor,
                learns_on=learns_on,
            )
        learned = None
        if learned_quality is not None:
            unit = np.ones(len(order))
            if table.weight_unit is not None:
                unit = table.weight_unit[order]
            learned = Learned.begin(learned_quality, learned_cost, unit)

        # This is a new pool: nothing was added to it, or removed.
        self._first_pool = None
        fitted = FittedRouter(
            canonical, quality_model, cost_model, ranker, rank_weight, learned=learned
        )
        parts = held_out, held_out_scores, held_out_cost
        caution = self.caution
        if caution == "auto":
            caution = _choose_caution(fitted, parts, table, executor)
        if ranker is None:
            # Most of what the regressions give is for a ranker, or for caution.
            quality_model = quality_model.without_features(opinions=caution > 0)
        # Queries come in the precision of the training queries.
        precision = executor.take(table.X, np.arange(1)).dtype
        self._fitted = replace(
            fitted, quality=quality_model.cast_to(precision), caution=float(caution)
        )
        return executor.map(compose_out_of_fold, executor.share(self._fitted), *parts)

    def _check_parameters(self) -> None:
        """Raise a ``ValueError`` unless the parameters are as documented."""
        for name, low in (
            ("num_leaves", 2),
            ("min_child_samples", 1),
            ("n_landmarks", 1),
            ("cv", 2),
            ("verbose", 0),
        ):
            check_integer(getattr(self, name), name, low=low)
        if isinstance(self.n_estimators, str) and self.n_estimators != "auto":
            raise ValueError(
                f'n_estimators must be a number or "auto"; got {self.n_estimators!r}.'
            )
        if self.n_estimators != "auto":
            check_integer(self.n_estimators, "n_estimators", low=0)
            if self.n_estimators > MOST_TREES:
                raise ValueError(
                    f"n_estimators must be at most {MOST_TREES:,}, more than any file "
                    f"holds; got {self.n_estimators!r}."
                )
        check_number(self.tie_gain, "tie_gain", low=0.0)
        if isinstance(self.caution, str) and self.caution != "auto":
            raise ValueError(
                f'caution must be a number or "auto"; got {self.caution!r}.'
            )
        if self.caution != "auto":
            check_number(self.caution, "caution", low=0.0)
        if self.forget_after is not None and self.forget_after != np.inf:
            check_number(self.forget_after, "forget_after", low=1.0)
        for name in ("learning_rate", "colsample_bytree"):
            value = check_number(getattr(self, name), name)
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1]; got {value!r}.")

    def _check_blocks(self) -> tuple[int, ...]:
        """Check the widths of the blocks, which are those of all columns; or none."""
        if self.blocks is None:
            return ()
        if not np.iterable(self.blocks) or isinstance(self.blocks, str | bytes):
            raise ValueError(
                "blocks must be the widths of the blocks of columns, such as "
                f"(384, 768); got {self.blocks!r}."
            )
        widths = tuple(
            check_integer(width, "a width in blocks", low=1) for width in self.blocks
        )
        if sum(widths) != self.n_features_in_:
            raise ValueError(
                f"blocks must add up to the {self.n_features_in_} columns of X; got "
                f"{list(widths)}, which are {sum(widths)}."
            )
        # One block is all columns.
        return widths if len(widths) > 1 else ()

    def _log(self, stage: str, n_queries: int) -> None:
        if self.verbose:
            _logger.info(
                "%s: %s of %d models on %d queries",
                type(self).__name__,
                stage,
                len(self.models_),
                n_queries,
            )


def _choose_caution(
    fitted: FittedRouter,
    held_out: tuple[Any, ...],
    table: RoutingTable,
    executor: Executor,
) -> float:
    """Choose the caution of a router on its estimates of training queries."""
    shared = executor.share(fitted)
    estimates = executor.map(compose_out_of_fold, shared, *held_out)
    doubt = executor.map(FittedRouter.measure_doubt, shared, held_out[0])
    rows = sample_evenly(executor.count(table.X), _MOST_COMPARED)

    def take(column: Any) -> Any:
        return None if column is None else executor.take(column, rows)

    expected, cost = np.hsplit(take(estimates), 2)
    known = take(table.quality), take(table.costs), take(table.weight)
    return choose_caution(expected, cost, take(doubt), *known)


def _merge_duplicates(
    table: RoutingTable, duplicates: Duplicates, executor: Executor
) -> RoutingTable:
    """Let the regressions and the ranker see each prompt once, by its averages.

    The first row of each prompt gets its averages; its other rows stay, with ``NaN``
    outcomes.
    """
    costs = table.costs if table.per_query else None
    quality, costs, weight = average_duplicates(
        table.quality, costs, table.weight, duplicates, executor
    )
    if costs is None:
        costs = table.costs
    return table._replace(quality=quality, costs=costs, weight=weight)


def _add_price(prices: Any, name: str, price: float) -> Any:
    """Prices of the constructor, with one more."""
    if prices is None:
        return None
    if isinstance(prices, Mapping):
        return {**prices, name: price}
    return np.append(np.asarray(prices, dtype=np.float64), price)


def _drop_price(prices: Any, position: int, name: str) -> Any:
    """Prices of the constructor, with one less."""
    if prices is None:
        return None
    if isinstance(prices, Mapping):
        return {key: price for key, price in prices.items() if str(key) != name}
    return np.delete(np.asarray(prices, dtype=np.float64), position)

"""RankingRouter: LambdaRank over pair features, calibrated to expected quality."""

from __future__ import annotations

import logging
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from skroute._compute.chunks import chunks
from skroute._compute.executor import IN_MEMORY, Rows
from skroute._compute.threads import in_threads, openmp_threads, single_threaded
from skroute._estimate.quality import PairEstimates, PairFeatures
from skroute._estimate.ridge import RidgeFit, fit_costs
from skroute._pool import ChangeablePool
from skroute._rank import stages
from skroute._rank.calibration import log_odds
from skroute._rank.ranker import fit_ranker, rank_weight
from skroute._rank.trees import MOST_TREES
from skroute._table.duplicates import Duplicates, average_duplicates, find_duplicates
from skroute._table.folds import draw_folds
from skroute._table.numbers import check_integer, check_number
from skroute._table.tables import RoutingTable, check_queries

__all__ = ["RankingRouter"]

_logger = logging.getLogger(__name__)

# Queries that are estimated at once: what is made of them stays near the processor.
_SERVED = 1024
# From this `tie_gain` on quality is given up for money.
_GIVES_UP_QUALITY = 0.01


class RankingRouter(ChangeablePool):
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
    n_estimators : int, default=100
        Boosting rounds. The ranker corrects estimates that are already good, and more
        rounds only followed noise on the tables measured. 0 leaves the ranker out.
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
    tie_gain : float, default=0.001
        Gain of the cheapest model over the dearest where two are equally good, on a
        scale where the best quality gains 1 over the worst: just enough to order them.
        A dial towards cheap models without a budget; from 0.01 on it costs quality,
        and a single model that is better does not replace the router's choice.
    n_landmarks : int, default=512
        Centres of clusters that span the kernel regressions. The fitted size grows with
        it, and not with the number of queries; twice as many gained nothing measurable.
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
        apart.
    rank_weight_ : float
        Share of the ranker in the differences between models; the rest is the
        regressions'. It is the one of the least out-of-fold error less two standard
        errors, so that a ranker that has not shown to help is not followed.
    price_path_ : PricePath
        Mean spend and quality of the cross-fitted decisions at every price of money.
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

    __metadata_request__fit = {  # noqa: RUF012 (scikit-learn's protocol)
        "costs": True,
        "groups": True,
        "outcome_weight": True,
    }

    def __init__(
        self,
        costs: Any = None,
        *,
        n_estimators: int = 100,
        learning_rate: float = 0.05,
        num_leaves: int = 7,
        min_child_samples: int = 100,
        colsample_bytree: float = 0.6,
        tie_gain: float = 0.001,
        n_landmarks: int = 512,
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
        self.n_landmarks = n_landmarks
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
        Only where at least 50 rows are of one embedding (in tables of fewer than 500 a
        tenth, and at least 10), each counts by itself: such blocks are of different
        prompts that an encoder truncates.

        The weights count in the regressions, their strengths and means, and in the
        share of the ranker; the ranker compares outcomes that are known on one query,
        each pair alike. The weights of a model are brought to the number of equally
        weighed outcomes that would tell its mean as well, so that a model of few and
        uneven outcomes is smoothed more.

        References
        ----------
        .. [1] D. G. Horvitz and D. J. Thompson, "A generalization of sampling without
           replacement from a finite universe", Journal of the American Statistical
           Association 47, 1952.
        .. [2] A. Swaminathan and T. Joachims, "Counterfactual risk minimization:
           learning from logged bandit feedback", ICML, 2015.
        """
        self._fit(X, y, costs, outcome_weight, groups)
        return self

    def fit_transform(
        self,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        outcome_weight: Any = None,
        groups: Any = None,
    ) -> np.ndarray:
        """Fit, and estimate the training queries by cross-fitting.

        This is not ``fit(X, y).transform(X)``: every query is estimated by a model that
        did not see its outcomes, so that a :class:`~skroute.BudgetDecider` behind the
        router is tuned on honest numbers. Only queries of a block, of which very many
        share one embedding, are estimated as they will be served.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Embeddings.
        y : array-like of shape (n_queries, n_models)
            Qualities, ``NaN`` where a model was not run.
        costs : array-like of shape (n_queries, n_models), default=None
            Money per call.
        outcome_weight : array-like of shape (n_queries, n_models), default=None
            Weight of every outcome, as in :meth:`fit`.
        groups : array-like of shape (n_queries,), default=None
            Labels of queries that are never separated, as in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_queries, 2 * n_models)
            Cross-fitted qualities, then costs.
        """
        return self._fit(X, y, costs, outcome_weight, groups)

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
        quality = self.predict_quality(X)
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
            range that `y` showed in training.
        """
        return self._estimates(X)[0]

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
        X = check_queries(self, X)
        cost = np.empty((len(X), len(self.models_)))
        for part in chunks(len(X), _SERVED):
            trust = self._pairs.trust(X[part])
            cost[part] = self._cost(X[part], trust)
        return cost

    def _estimates(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        X = check_queries(self, X)
        quality = np.empty((len(X), len(self.models_)))
        cost = np.empty(quality.shape)

        def estimate(part: slice) -> None:
            pairs = self._pairs.transform(X[part])
            quality[part] = self._expected(pairs)
            cost[part] = self._cost(X[part], pairs.trust)

        in_threads(estimate, chunks(len(X), _SERVED), self.n_jobs)
        return quality, cost

    @property
    def _yields_to_single(self) -> bool:
        # A larger gain gives up quality for money on purpose.
        return bool(self.tie_gain < _GIVES_UP_QUALITY)

    def _averages(self) -> tuple[np.ndarray, np.ndarray]:
        """Estimates of queries far from all training queries: means of the models."""
        quality = self._worst + self._range * self._pairs.means_
        return quality[self._place], self.costs_

    def _expected(self, pairs: PairEstimates) -> np.ndarray:
        """Expected quality, in the unit of `y` and the order of `models_`."""
        quality = pairs.quality
        if self.ranker_ is not None and self.rank_weight_ > 0.0:
            scores = log_odds(quality)
            scores += self.ranker_.predict(pairs.features)
            quality = stages.blend(quality, scores, self.rank_weight_)
        unit = self._worst, self._range
        return stages.scaled_back(
            quality, pairs.trust, self._pairs.means_, unit, self._place, self._seen
        )

    def _cost(self, X: np.ndarray, trust: np.ndarray) -> np.ndarray:
        """Expected cost, in the order of `models_`."""
        if self._cost_fit is None:
            return np.tile(self.costs_, (len(X), 1))
        cost = self._cost_fit.predict(self._pairs.scaled(X))[:, self._place, 0]
        low, high = self._cost_range
        within = np.minimum(np.maximum(cost, low), high)
        return stages.drawn_to(self.costs_, within, trust)

    def _fit_table(self, table: RoutingTable, rows: Rows = IN_MEMORY) -> Any:
        self._check_parameters()
        n_threads = openmp_threads(self.n_jobs)
        # One thread of BLAS and of k-means: sums in another order are another fit.
        with single_threaded():
            return self._fit_stages(table, n_threads, rows)

    def _fit_stages(self, table: RoutingTable, n_threads: int, rows: Rows) -> Any:
        self._fitted = None
        rng = check_random_state(self.random_state)
        n_queries = rows.count(table.X)
        duplicates = table.duplicates or find_duplicates(table.X, rows=rows)
        self._log(
            f"{duplicates.n_prompts} different prompts, {duplicates.block.sum()} "
            "queries in large blocks, among the outcomes",
            n_queries,
        )
        table = _counted_once(table, duplicates, rows)
        # Everything is learned with the models in an order of their own, so that the
        # order of the columns of y changes no decision.
        numbers = rows.numbers(table.quality)
        sums = rows.get(rows.total(stages.profile, table.quality, numbers))
        order = stages.own_order(sums, self.costs_)
        self._place = np.argsort(order)
        # The worst quality observed is 0 and the best 1, whatever the unit.
        ends = rows.get(rows.total(stages.ends, table.quality, combine=np.fmax))
        self._worst = -float(ends[0])
        self._range = float(ends[1]) - self._worst or 1.0
        unit = self._worst, self._range
        quality = rows.map(stages.in_own_scale, table.quality, order, unit)
        weight = table.weight
        if weight is not None:
            weight = rows.map(stages.in_order, weight, order)
        folds = draw_folds(duplicates, self.cv, rng)
        fold = rows.split(folds, table.X)
        seed = int(rng.randint(2**31 - 1))

        self._log("estimating qualities", n_queries)
        self._pairs = PairFeatures(self.n_landmarks)
        pairs = self._pairs.fit_transform(
            table.X, quality, fold, rng, weight, self.n_jobs, rows, duplicates
        )
        self._log("ranking models", n_queries)
        scores, self.ranker_ = fit_ranker(
            pairs,
            quality,
            self.costs_[order],
            folds,
            fold,
            tie_gain=self.tie_gain,
            n_estimators=self.n_estimators,
            seed=seed,
            n_threads=n_threads,
            n_jobs=self.n_jobs,
            params={
                "learning_rate": self.learning_rate,
                "num_leaves": self.num_leaves,
                "min_child_samples": self.min_child_samples,
                "colsample_bytree": self.colsample_bytree,
            },
            rows=rows,
        )
        self.rank_weight_ = 0.0
        if self.ranker_ is not None:
            self.rank_weight_ = rank_weight(pairs, scores, quality, weight, rows)
        self._log("estimating costs", n_queries)
        expense = self._fit_costs(table, weight, fold, order, rows)
        return rows.map(
            stages.estimates_of,
            pairs,
            scores,
            expense,
            self.rank_weight_,
            self._pairs.means_,
            unit,
            self._place,
            self.costs_,
        )

    def _fit_costs(
        self,
        table: RoutingTable,
        weight: Any,
        fold: Any,
        order: np.ndarray,
        rows: Rows,
    ) -> Any:
        """Fit the costs; returns out-of-fold estimates in the order of `models_`."""
        self._cost_fit: RidgeFit | None = None
        if not table.per_query:
            return rows.map(stages.at_prices, table.X, self.costs_)
        costs = rows.map(stages.in_order, table.costs, order)
        self._cost_range = (
            rows.get(rows.total(np.fmin.reduce, table.costs, combine=np.fmin)),
            rows.get(rows.total(np.fmax.reduce, table.costs, combine=np.fmax)),
        )
        self._cost_fit, expense = fit_costs(
            table.X,
            costs,
            self._cost_range[1][order],
            fold,
            rows.share(self._pairs.scaled),
            weight,
            rows,
        )
        return rows.map(stages.clipped, expense, self._place, *self._cost_range)

    def _check_parameters(self) -> None:
        for name, low in (
            ("n_estimators", 0),
            ("num_leaves", 2),
            ("min_child_samples", 1),
            ("n_landmarks", 1),
            ("cv", 2),
            ("verbose", 0),
        ):
            check_integer(getattr(self, name), name, low=low)
        if self.n_estimators > MOST_TREES:
            raise ValueError(
                f"n_estimators must be at most {MOST_TREES:,}, more than any file "
                f"holds; got {self.n_estimators!r}."
            )
        check_number(self.tie_gain, "tie_gain", low=0.0)
        for name in ("learning_rate", "colsample_bytree"):
            value = check_number(getattr(self, name), name)
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be in (0, 1]; got {value!r}.")

    def _log(self, stage: str, n_queries: int) -> None:
        if self.verbose:
            _logger.info(
                "%s: %s of %d models on %d queries",
                type(self).__name__,
                stage,
                len(self.models_),
                n_queries,
            )


def _counted_once(
    table: RoutingTable, duplicates: Duplicates, rows: Rows
) -> RoutingTable:
    """Let the regressions and the ranker see each prompt once, by its averages."""
    costs = table.costs if table.per_query else None
    quality, costs, weight = average_duplicates(
        table.quality, costs, table.weight, duplicates, rows
    )
    if costs is None:
        costs = table.costs
    return table._replace(quality=quality, costs=costs, weight=weight)

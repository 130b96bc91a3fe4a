"""A scorer for searches on a log, which has one outcome per query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.metadata_routing import MetadataRequest

from skroute._judged import extract_router, judge
from skroute._table.numbers import check_number
from skroute.evaluation.log_input import Log
from skroute.evaluation.logs import judge_log

__all__ = ["LogScorer", "make_log_scorer"]


def make_log_scorer(*, price: float = 0.0) -> LogScorer:
    """Make a scorer of routers, or of pipelines with a decider, on a log.

    In a log only the outcome of the model that was called is known. The scorer judges
    what ``predict`` decides by :func:`policy_value`, with the estimates of the router
    that is scored in the place of unknown outcomes. A search or a cross-validation
    scores queries that the router did not learn from, as these estimates should be.

    Parameters
    ----------
    price : float, default=0.0
        Quality per unit of money: the score is the mean quality minus `price` times the
        mean cost.

    Returns
    -------
    LogScorer
        A callable ``scorer(estimator, X, y, *, propensity, costs=None)``. `y` and
        `costs` are (n_queries, n_models), ``NaN`` but for the model that was called;
        `propensity` is the chance that this call had, ``NaN`` where unknown. In
        searches these are metadata, ``params={"costs": ..., "propensity": ...}`` with
        ``sklearn.set_config(enable_metadata_routing=True)``.

    Raises
    ------
    ValueError
        When it scores: if `propensity` is missing, if a query has several outcomes, or
        as :func:`policy_value` raises.

    See Also
    --------
    skroute.metrics.make_routing_scorer : Scorers where every outcome is known.
    evaluate_log : Compare routers on a log, with intervals.

    Notes
    -----
    Scores of few queries are noisy, because only the calls that the log and the router
    have in common tell of it: use few folds (``cv=2``), and candidates that differ in
    more than a digit.

    Examples
    --------
    >>> import numpy as np
    >>> from skroute import RankingRouter
    >>> from skroute.datasets import make_routing
    >>> from skroute.evaluation import make_log_scorer
    >>> data = make_routing(n_queries=600, n_models=3, random_state=0)
    >>> called = np.random.default_rng(0).integers(3, size=(600, 1))
    >>> y = np.where(called == np.arange(3), data.quality, np.nan)
    >>> router = RankingRouter(data.costs.mean(axis=0), random_state=0)
    >>> router = router.fit(data.data[:300], y[:300])
    >>> score = make_log_scorer()
    >>> value = score(router, data.data[300:], y[300:], propensity=np.full(300, 1 / 3))
    >>> rows = np.arange(300, 600)
    >>> true = data.quality[rows, router.predict(data.data[300:])].mean()
    >>> bool(abs(value - true) < 0.05)
    True
    """
    return LogScorer(check_number(price, "price", low=0.0))


@dataclass(repr=False, eq=False)
class LogScorer:
    """Result of :func:`make_log_scorer`, which documents it."""

    price: float

    def __call__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        propensity: Any = None,
        costs: Any = None,
    ) -> float:
        """Score a fitted router, or a pipeline of one, on calls it did not learn."""
        if propensity is None:
            raise ValueError(
                "propensity must be given: the chances of the logged calls. In a "
                "search, give them as metadata, params={'propensity': ...}, with "
                "sklearn.set_config(enable_metadata_routing=True). Where the log "
                "has none, evaluate_log estimates them."
            )
        judged = judge(estimator, X, y, costs, "make_log_scorer")
        known = np.isfinite(judged.y)
        several = int((known.sum(axis=1) > 1).sum())
        if several:
            raise ValueError(
                f"y must have the outcome of one call per query; {several} of "
                f"{len(known)} queries have more. Where every model was run, use "
                "skroute.metrics.make_routing_scorer."
            )
        router = (
            estimator if hasattr(estimator, "predict") else extract_router(estimator)
        )
        rows, called = np.arange(len(known)), known.argmax(axis=1)
        log = Log.check(
            *(router.predict(X), called, propensity),
            *(judged.y[rows, called], judged.costs[rows, called]),
            *(judged.quality, judged.cost),
        )
        value, _ = judge_log(log, 0.95)
        return value.quality - self.price * value.cost

    def get_metadata_routing(self) -> MetadataRequest:
        """Request `costs` and `propensity` along with the queries to score."""
        request = MetadataRequest(owner=self.__class__.__name__)
        request.score.add_request(param="costs", alias=True)
        request.score.add_request(param="propensity", alias=True)
        return request

    def __repr__(self) -> str:
        return f"make_log_scorer(price={self.price:g})"

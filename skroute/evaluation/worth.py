"""Whether routing is worth it on a table: cross-fitted gains and a verdict."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils import check_random_state

from skroute._table.folds import draw_folds
from skroute._table.names import check_rows
from skroute._table.numbers import check_integer, check_number
from skroute._table.outcomes import check_complete
from skroute._table.texts import is_missing
from skroute.base import BaseRouter
from skroute.evaluation.gains import (
    Estimate,
    Gains,
    Parity,
    estimate_mean,
    estimate_saving,
)
from skroute.evaluation.held_out import SIZES, Fold, measure_fold
from skroute.evaluation.splits import OutcomeTable, are_embeddings
from skroute.evaluation.verdict import (
    MORE,
    Routability,
    decide,
    find_more_queries,
    follow_curve,
)
from skroute.exceptions import NoCostWarning, find_caller_level
from skroute.ranking import RankingRouter
from skroute.text import TextRouter

__all__ = ["routability"]

# Landmarks of the default router: more gain nothing here, and take longer to fit.
_N_LANDMARKS = 64


def routability(
    X: Any,
    y: Any,
    costs: Any = None,
    *,
    router: BaseRouter | None = None,
    tasks: Any = None,
    models: Any = None,
    encoder: Callable[[Any], Any] | None = None,
    groups: Any = None,
    confidence: float = 0.95,
    worthwhile: float = 0.03,
    cv: int = 5,
    quick: bool = False,
    n_jobs: int | None = None,
    random_state: Any = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Routability:
    """Tell whether choosing the model by the query is worth it, before it is built.

    Routers are fitted by cross-validation and judged on queries that they never saw,
    against the best that can be done without looking at the query: the best single
    model, or a random mixture of models, at the same spend. The answer is ``"route"``,
    ``"do not route"`` or ``"not enough data"``, and both of the first two need
    evidence.

    Parameters
    ----------
    X : array-like of shape (n_queries, n_features)
        Embeddings, or what `encoder` or a :class:`~skroute.text.TextRouter` reads.
    y : array-like of shape (n_queries, n_models)
        Qualities, ``NaN`` where a model was not run. Queries with an unknown quality
        or cost are used in training, and not judged.
    costs : array-like of shape (n_models,) or (n_queries, n_models), or dict
        Money per call: one price per model, or what every call cost. ``None`` takes the
        prices of `router`; without any, every model costs 1, with a warning.
    router : BaseRouter, default=None
        The router, which is cloned. Where its `random_state`, or that of an estimator
        in it, is ``None``, a seed is drawn from the `random_state` of this call.
        ``None``: a :class:`~skroute.RankingRouter` without the ranker and with fewer
        landmarks, which is faster and here as good.
    tasks : array-like of shape (n_queries,), default=None
        What kind of query each is. The router is then also compared with the best model
        for each task.
    models : array-like of str of shape (n_models,), default=None
        Names of the models, if `y` has none.
    encoder, groups : object
        As in :func:`compare_routers`.
    confidence : float, default=0.95
        Confidence of each bound, and of the verdict.
    worthwhile : float, default=0.03
        Smallest gain that is worth the effort, as a share of the gain of an oracle that
        knows all outcomes.
    cv : int, default=5
        Folds; routers are fitted on the other ones.
    quick : bool, default=False
        Leave out shuffled queries and the learning curve, which take two thirds of the
        time. ``"do not route"`` then says nothing of what more queries would change.
    n_jobs : int or None, default=None
        Folds that are fitted at once; ``None`` is 1 unless in a
        :func:`joblib.parallel_config` context. The result does not depend on it.
    random_state : int, RandomState instance or None, default=0
        Draws the folds, the shuffled queries and the random policies.
    progress : callable, default=None
        Called with the number of folds that are done, and their total.

    Returns
    -------
    Routability
        The verdict, and what it rests on.

    Raises
    ------
    ValueError
        If an argument is not as described, or too few queries have every outcome.

    Notes
    -----
    The statistic is fixed beforehand: utility, that is quality less price times cost,
    of the router's decisions, less that of the model with the best mean utility on the
    training queries; in the mean over 16 prices, at which the router spends equally
    spaced budgets on its training queries. ``"route"`` needs a lower bound of that gain
    above 0, by Student's t over the queries, and a result that random policies with the
    router's call shares reach too rarely. The second is needed where the first alone is
    wrong: where few decisions differ from the best single model's, and where queries
    tell nothing, because folds then share their luck [1]_. ``"do not route"`` needs an
    upper bound below what is worthwhile, with these queries and, by the learning curve,
    with four times as many, and 300 judged queries.

    References
    ----------
    .. [1] P. Bayle, A. Bayle, L. Janson and L. Mackey, "Cross-validation Confidence
       Intervals for Test Error", NeurIPS, 2020: intervals hold where the variance does
       not vanish and the algorithm is stable.

    Examples
    --------
    >>> from skroute.datasets import make_routing
    >>> from skroute.evaluation import routability
    >>> data = make_routing(n_queries=600, random_state=0)
    >>> found = routability(data.data, data.quality, data.costs)
    >>> found.verdict
    'route'
    >>> bool(found.gain.low > 0), found.more_queries
    (True, 0)
    """
    check_rows(X=X, y=y, groups=groups, tasks=tasks)
    confidence = check_number(confidence, "confidence")
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must be in [0.5, 1); got {confidence!r}.")
    worthwhile = check_number(worthwhile, "worthwhile", low=0.0)
    cv = check_integer(cv, "cv", low=2)
    rng = check_random_state(random_state)
    encoded = are_embeddings(encoder, () if router is None else (router,))
    if costs is None:
        costs = _find_prices(router, np.shape(y))
    table = OutcomeTable.check(X, y, costs, models, groups, encoded)
    if router is None:
        router = RankingRouter(
            n_estimators=0,
            n_landmarks=_N_LANDMARKS,
            random_state=int(rng.randint(2**31 - 1)),
        )
    router = _set_seeds(router, rng)
    unit = table.duplicates.number_units()
    fold = draw_folds(table.duplicates, cv, rng)
    _check_folds(table, fold)
    task = None if tasks is None else _number_tasks(tasks, len(unit))
    seeds = rng.randint(2**31 - 1, size=fold.max() + 1)
    # In a fold without a complete query there is nothing to judge.
    folds = [k for k in range(len(seeds)) if (table.complete & (fold == k)).any()]
    work = (
        delayed(measure_fold)(
            table, fold == k, router, encoder, task, unit, seeds[k], quick
        )
        for k in folds
    )
    parts = []
    for part in Parallel(n_jobs=n_jobs, return_as="generator")(work):
        parts.append(part)
        if progress is not None:
            progress(len(parts), len(folds))
    return _summarize(table, parts, unit, confidence, worthwhile)


def _summarize(
    table: OutcomeTable,
    parts: list[Fold],
    unit: np.ndarray,
    confidence: float,
    worthwhile: float,
) -> Routability:
    """Put the folds together, and decide."""
    test = np.concatenate([part.test for part in parts])
    units, scale = unit[test], float(np.nanmax(np.abs(table.quality))) or 1.0
    gains = Gains.join([part.gains for part in parts])
    moved = [part.shuffled for part in parts if part.shuffled is not None]
    shuffled = Gains.join(moved) if moved else None
    parity = Parity(
        *map(np.concatenate, zip(*(part.parity for part in parts), strict=True))
    )

    def estimate(better: np.ndarray, worse: np.ndarray) -> Estimate:
        # Squares of the largest qualities would overflow.
        found = estimate_mean((better - worse) / scale, units, confidence)
        return Estimate(*(value * scale for value in found))

    # A size counts if routers could be fitted on it in every fold.
    shares = [s for s in SIZES if all(s in part.smaller for part in parts)]
    n_fitted = [np.mean([part.smaller[s][0] for part in parts]) for s in shares]
    n_fitted.append(np.mean([part.n_fitted for part in parts]))
    by_size = [Gains.join([part.smaller[s][1] for part in parts]) for s in shares]
    by_size.append(gains)
    curve = tuple(estimate(part.routed, part.single) for part in by_size)
    sizes = np.array(n_fitted), np.array([point.value for point in curve])
    weights = follow_curve(*sizes, MORE)
    foreseen = sum(
        w * (g.routed - g.single) for w, g in zip(weights, by_size, strict=True)
    )
    with_more = estimate(foreseen, np.zeros(len(test)))
    gain, luck = curve[-1], gains.measure_luck()
    lead = float((gains.oracle - gains.single).mean())
    least, n_units = worthwhile * max(lead, 0.0), len(np.unique(units))
    evidence = gain, with_more, luck, least, confidence, n_units
    verdict = decide(*evidence)
    more: int | None = 0
    if verdict == "not enough data":
        more = find_more_queries(
            lambda times: float(follow_curve(*sizes, times) @ sizes[1]), *evidence
        )
    return Routability(
        verdict=verdict,
        gain=gain,
        gain_over_tasks=(
            None if gains.by_task is None else estimate(gains.routed, gains.by_task)
        ),
        saving=estimate_saving(parity.spend, parity.single_spend, units, confidence),
        quality_change=estimate(parity.quality, parity.single_quality),
        shuffled=(
            None if shuffled is None else estimate(shuffled.routed, shuffled.single)
        ),
        random=estimate(gains.mixed, gains.single),
        luck=luck,
        lead=lead,
        worthwhile=least,
        n_fitted=np.round(n_fitted).astype(int),
        learning_curve=curve,
        gain_with_more=with_more,
        more_queries=more,
        confidence=confidence,
        n_queries=len(unit),
        n_judged=len(test),
        n_prompts=len(np.unique(table.duplicates.first[test])),
    )


def _find_prices(router: Any, shape: tuple[int, ...]) -> Any:
    """Find the prices of a router; without any, every model costs 1."""
    inner = router.router if isinstance(router, TextRouter) else router
    prices = None if inner is None else inner.get_params().get("costs")
    if prices is not None:
        return prices
    warnings.warn(
        "routability was given no costs: every model is taken to cost 1. Give prices, "
        "or what every call cost, as costs=....",
        NoCostWarning,
        stacklevel=find_caller_level(),
    )
    return np.ones(shape[1:])


def _set_seeds(router: BaseRouter, rng: np.random.RandomState) -> BaseRouter:
    """Clone a router with a seed wherever it has none: the verdict would vary."""
    router = clone(router)
    if isinstance(router, TextRouter) and router.router is None:
        router.set_params(router=RankingRouter())
    params = router.get_params()
    unset = [
        name
        for name in sorted(params)
        if name.split("__")[-1] == "random_state" and params[name] is None
    ]
    return router.set_params(**{name: int(rng.randint(2**31 - 1)) for name in unset})


def _number_tasks(tasks: Any, n_queries: int) -> np.ndarray:
    """Number the tasks (n_queries,); queries without a task share one."""
    names = np.asarray(tasks, dtype=object)
    if names.shape != (n_queries,):
        raise ValueError(
            f"tasks must name one task for each query, of shape ({n_queries},); got "
            f"{names.shape}."
        )
    # A missing label is no text, not even an empty one.
    labels = [(is_missing(name), str(name)) for name in names]
    order = {label: i for i, label in enumerate(sorted(set(labels)))}
    return np.array([order[label] for label in labels])


def _check_folds(table: OutcomeTable, fold: np.ndarray) -> None:
    """Refuse a table of which some folds leave nothing to compare models on."""
    check_complete(table.quality, table.spend)
    if fold.max() < 1:
        raise ValueError(
            "routability needs at least two different prompts, or groups, to hold out "
            f"one from the other; all {len(fold)} queries are one."
        )
    for k in range(fold.max() + 1):
        if np.count_nonzero(table.complete & (fold != k)) < 2:
            raise ValueError(
                "routability needs queries on which every model's quality and cost is "
                f"known, in every fold; only {int(table.complete.sum())} of "
                f"{len(fold)} queries are complete. Run every model on more of them, "
                "or lower cv."
            )

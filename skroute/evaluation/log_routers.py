"""Learn routers from a log, and judge them on the calls that they did not see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state

from skroute._compute.threads import single_threaded
from skroute._table.folds import draw_folds
from skroute._table.names import check_rows, format_names
from skroute._table.numbers import check_integer
from skroute.base import BaseRouter
from skroute.evaluation.chances import estimate_chances
from skroute.evaluation.defaults import fit_encoder
from skroute.evaluation.doubly_robust import weigh_calls
from skroute.evaluation.log_input import (
    NEVER_EXPLORED,
    WAY_OUT,
    check_propensity,
    find_calls,
)
from skroute.evaluation.log_judge import Decided, HeldOutCalls, list_doubts
from skroute.evaluation.log_verdict import LogEvaluation
from skroute.evaluation.logs import check_confidence
from skroute.evaluation.scores import TARGET
from skroute.evaluation.splits import OutcomeTable, Split, are_embeddings
from skroute.ranking import RankingRouter

__all__ = ["evaluate_log"]

# Landmarks of the default router: more gain nothing here, and take longer to fit.
_N_LANDMARKS = 64
# Calls of the mean model that each model counts for, when the best single one is named.
_PRIOR_CALLS = 10.0


def evaluate_log(
    X: Any,
    y: Any,
    costs: Any,
    *,
    propensity: Any = None,
    routers: Mapping[str, BaseRouter] | None = None,
    rules: Mapping[str, Mapping[str, Any]] | None = None,
    models: Any = None,
    encoder: Callable[[Any], Any] | None = None,
    groups: Any = None,
    cv: int = 5,
    confidence: float = 0.95,
    random_state: Any = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> LogEvaluation:
    """Learn routers from a log of one call per query, and judge them on that log.

    Routers are fitted on all folds of the queries but one, and decide on that one, in
    turn. :func:`policy_value` then says what their decisions would have given and
    cost, and beside them what the log itself gave, and what the best single model
    would have given.

    Parameters
    ----------
    X : array-like of shape (n_queries, n_features)
        Embeddings, or what `encoder` or a :class:`~skroute.text.TextRouter` reads.
    y : array-like of shape (n_queries, n_models)
        Quality of the model that was called on each query, ``NaN`` elsewhere.
    costs : array-like of shape (n_models,) or (n_queries, n_models), or dict
        Money per call: one price per model, or what the calls cost, ``NaN`` elsewhere.
    propensity : array-like of shape (n_queries,), default=None
        The chance that the logging policy had to make the call, above 0 and at most 1;
        ``NaN`` of a call that followed another that failed, which is not judged.
        ``None``: it is estimated from the queries, and the result says so. Estimates
        are wrong where calls were made for reasons that the queries do not show.
    routers : dict of str to router, default=None
        Routers to judge; they are cloned. Those whose `fit` takes ``outcome_weight``
        are given one over the chance of each call, at most 10. The estimates of the
        first stand in for calls that the log did not make. ``None``: a
        :class:`~skroute.RankingRouter` with fewer landmarks, which is faster and here
        as good.
    rules : dict of str to dict, default=None
        Arguments of ``route`` by which routers decide, such as
        ``{"cheap": {"budget": 0.001}}``. ``None``: 100% and 95% of the quality of the
        best single model, and the money per query that the log spent, and half of it.
    models : array-like of str of shape (n_models,), default=None
        Names of the models, if `y` has none.
    encoder, groups : object
        As in :func:`compare_routers`. Groups, and repeats of a query, also count as one
        draw in the intervals.
    cv : int, default=5
        Folds.
    confidence : float, default=0.95
        Of the intervals, in (0, 1).
    random_state : int, RandomState instance or None, default=0
        Draws the folds, and seeds the default routers.
    progress : callable, default=None
        Called with a router's name, the number of fits that are done, and their total.

    Returns
    -------
    LogEvaluation
        The values of all routers under all rules, with intervals, and what weakens
        them.

    Raises
    ------
    ValueError
        If more than one model is known on a query; if every propensity is 1, or the
        calls can be foretold from the queries, because such a log was never explored;
        if a model was called too rarely to be learnt in every fold; or if an argument
        is not as described.

    See Also
    --------
    policy_value : Judge decisions of your own on a log.
    compare_routers : Compare routers where every model was run on every query.

    Notes
    -----
    Intervals take the decisions as given: they do not say how routers would vary if
    they learnt from another log.

    Examples
    --------
    >>> import numpy as np
    >>> from skroute.datasets import make_routing
    >>> from skroute.evaluation import evaluate_log
    >>> data = make_routing(n_queries=900, n_models=3, random_state=0)
    >>> rng = np.random.default_rng(0)
    >>> called = rng.integers(0, 3, 900)  # each model with a chance of a third
    >>> log = np.full((900, 3), np.nan)
    >>> log[np.arange(900), called] = data.quality[np.arange(900), called]
    >>> found = evaluate_log(
    ...     data.data, log, data.costs, propensity=np.full(900, 1 / 3)
    ... )
    >>> found.best_single
    'model_2'
    >>> value = found.values["RankingRouter"]["100%"]
    >>> bool(value.quality > found.logged.quality)
    True
    """
    check_rows(X=X, y=y, propensity=propensity, groups=groups)
    level = check_confidence(confidence)
    cv = check_integer(cv, "cv", low=2)
    rng = check_random_state(random_state)
    if routers is None:
        # No query has two outcomes that a ranker could compare.
        seed = int(rng.randint(2**31 - 1))
        options = {"n_estimators": 0, "n_landmarks": _N_LANDMARKS, "random_state": seed}
        routers = {"RankingRouter": RankingRouter(**options)}
    if not routers:
        raise ValueError("routers must hold at least one router; got none.")
    encoded = are_embeddings(encoder, routers.values())
    table = OutcomeTable.check(X, y, costs, models, groups, encoded)
    called = find_calls(table.quality, table.spend if table.costs.ndim == 2 else None)
    chances = None
    if propensity is not None:
        chances = check_propensity(propensity, len(called))
        called = np.where(np.isfinite(chances), called, -1)
    logged = np.flatnonzero(called >= 0)
    if chances is not None and (chances[logged] >= 1).all():
        raise ValueError(f"{NEVER_EXPLORED}. {WAY_OUT}")
    fold = draw_folds(table.duplicates, cv, rng)
    splits = list(_split(table, fold, logged, encoder))
    _check_calls(table, splits)
    estimated = chances is None
    if chances is None:
        seed = int(rng.randint(2**31 - 1))
        embed = None if encoded or encoder else partial(fit_encoder, seed=seed)
        with single_threaded():
            chances = estimate_chances(splits, called, embed, seed)
    inverse = weigh_calls(np.where(called >= 0, chances, np.nan))
    if rules is None:
        rules = _make_rules(table.spend[logged, called[logged]])
    decided = _decide(table, splits, routers, rules, (called, inverse), progress)
    judged = HeldOutCalls(table, called, chances, decided, logged, level)
    values = {
        name: {rule: judged.judge(choice) for rule, choice in by_rule.items()}
        for name, by_rule in decided.choice.items()
    }
    single = judged.judge(decided.single)
    doubts = list_doubts(values, single, judged.misfit, estimated, len(logged))
    return LogEvaluation(
        values=values,
        logged=judged.judge_log_itself(),
        best_single=str(table.models[_find_best(table, called, inverse, logged)]),
        best_single_value=single,
        propensity_estimated=estimated,
        rules={name: dict(rule) for name, rule in rules.items()},
        doubts=tuple(doubts),
        models=table.models,
        n_queries=len(logged),
        n_left_out=len(called) - len(logged),
        n_prompts=table.duplicates.n_prompts,
        confidence=level,
    )


def _split(
    table: OutcomeTable,
    fold: np.ndarray,
    logged: np.ndarray,
    encoder: Callable[[Any], Any] | None,
) -> Iterator[Split]:
    """Hold out each fold of the logged queries from the others."""
    for k in range(fold.max() + 1):
        train, test = logged[fold[logged] != k], logged[fold[logged] == k]
        if not len(test):
            continue
        X_train, X_test = (_safe_indexing(table.X, rows) for rows in (train, test))
        if encoder is not None and len(train):
            fitted = encoder(X_train)
            X_train, X_test = fitted.transform(X_train), fitted.transform(X_test)
        yield Split(table, train, test, X_train, X_test)


def _check_calls(table: OutcomeTable, splits: list[Split]) -> None:
    """Refuse models that cannot be learnt in some fold."""
    if len(splits) < 2:
        raise ValueError(
            "a log must have at least two different queries, or groups, to hold out "
            f"one from the other; all {len(table.quality)} queries are one."
        )
    judged = np.isfinite(table.quality)
    least = np.min([judged[split.train].sum(axis=0) for split in splits], axis=0)
    rare = table.models[least < 1]
    if len(rare):
        raise ValueError(
            "a log must have calls of each model with a known quality in all but any "
            f"one of its folds; it lacks them of {format_names(rare)}, which have "
            f"{judged.sum(axis=0)[least < 1].tolist()} in all. Leave these models and "
            "their calls out, read_table(..., models=[...]), or log more."
        )


def _make_rules(paid: np.ndarray) -> dict[str, dict[str, Any]]:
    """Make rules: two targets, what the log spent per query, and half of that."""
    spent = float(paid[np.isfinite(paid)].mean()) if np.isfinite(paid).any() else 0.0
    rules: dict[str, dict[str, Any]] = {
        target: {"min_quality": target} for target in (TARGET, "95%")
    }
    if spent > 0:
        rules["the log's spend"] = {"budget": spent}
        rules["half of it"] = {"budget": spent / 2}
    return rules


def _decide(
    table: OutcomeTable,
    splits: list[Split],
    routers: Mapping[str, BaseRouter],
    rules: Mapping[str, Mapping[str, Any]],
    calls: tuple[np.ndarray, np.ndarray],
    progress: Callable[[str, int, int], None] | None,
) -> Decided:
    """Let routers that were fitted on the other folds decide on each.

    `calls` are the models that were called, and one over the chances of these calls.
    """
    n_queries, shape = len(table.quality), table.quality.shape
    called, inverse = calls
    weight = np.broadcast_to(inverse[:, None], shape)
    choice = {
        name: {rule: np.zeros(n_queries, dtype=np.intp) for rule in rules}
        for name in routers
    }
    single = np.zeros(n_queries, dtype=np.intp)
    quality, cost, done = np.zeros(shape), np.zeros(shape), count()
    for split in splits:
        single[split.test] = _find_best(table, called, inverse, split.train)
        for position, (name, router) in enumerate(routers.items()):
            if progress is not None:
                progress(name, next(done), len(splits) * len(routers))
            with single_threaded():
                fitted = table.fit(router, split.X_train, split.train, weight)
            # In the order of the columns of y, which may have no names.
            place = {model: i for i, model in enumerate(fitted.models_)}
            if position == 0:
                quality[split.test] = fitted.predict_quality(split.X_test)
                cost[split.test] = fitted.predict_cost(split.X_test)
            for rule, limits in rules.items():
                given = {"on_infeasible": "cheapest", **limits}
                names = fitted.route(split.X_test, **given)
                choice[name][rule][split.test] = [place[model] for model in names]
    return Decided(choice, single, quality, cost)


def _find_best(
    table: OutcomeTable, called: np.ndarray, inverse: np.ndarray, rows: np.ndarray
) -> int:
    """Find the model of the highest mean quality, drawn to the mean of all models.

    A model of three lucky calls is not the best one.
    """
    gained = table.quality[rows, called[rows]]
    rows, gained = rows[np.isfinite(gained)], gained[np.isfinite(gained)]
    weight, n_models = inverse[rows], len(table.models)
    total, squares, value = (
        np.bincount(called[rows], values, n_models)
        for values in (weight, weight**2, weight * gained)
    )
    n_calls = np.divide(total**2, squares, out=np.zeros(n_models), where=squares > 0)
    usual = float(value.sum() / total.sum())
    mean = np.divide(value, total, out=np.full(n_models, usual), where=total > 0)
    return int(
        ((n_calls * mean + _PRIOR_CALLS * usual) / (n_calls + _PRIOR_CALLS)).argmax()
    )

"""The public function ``skroute.report``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from skroute._io.atomic import check_writable
from skroute._judged import extract_router, judge, replay_cascade, split_cascade
from skroute._optional import require
from skroute._table.names import check_rows
from skroute._table.numbers import check_integer
from skroute._table.texts import clean_text
from skroute.exceptions import InfeasibleBudgetError
from skroute.reporting._findings import Promise, compute_findings
from skroute.reporting._provenance import describe
from skroute.reporting._result import Report

if TYPE_CHECKING:
    from skroute.evaluation import Routability

_USER = "skroute.report"


def report(
    router: Any,
    X: Any,
    y: Any,
    *,
    costs: Any = None,
    task: Any = None,
    prompts: Any = None,
    checks: Any = None,
    answers: Any = None,
    peers: Mapping[str, Any] | None = None,
    worth: Routability | None = None,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
    unit: str | None = None,
    show_prompts: bool = False,
    n_bootstrap: int = 200,
    random_state: Any = 0,
) -> Report:
    """Write a report on a fitted router: one HTML file that needs no network.

    It says what the router saves, shows its curves and call shares with a slider for
    the budget, and tells whether it collapses, whether its estimates can be trusted,
    and on which queries it saved or lost. It gives the call for the budget that is
    chosen, the figures as CSV, and where it comes from: version, date, parameters, and
    a fingerprint of the outcomes.

    Parameters
    ----------
    router : estimator
        A fitted router, or a pipeline or search that holds one, also with a
        :class:`CascadeDecider` behind it.
    X : array-like of shape (n_queries, n_features)
        Queries that the router was not fitted on, as it takes them.
    y : array-like of shape (n_queries, n_models)
        Their observed qualities. Queries with an unknown quality or cost are left out,
        and counted in the report.
    costs : array-like of shape (n_models,) or (n_queries, n_models), default=None
        Their observed costs. May be left out if the router was fitted on prices.
    task : array-like of shape (n_queries,), default=None
        What kind of query each is, for a table by task.
    prompts : array-like of str of shape (n_queries,), default=None
        Texts of the queries: all of equal texts are drawn together when the
        uncertainty is estimated. They are shown with `show_prompts` only.
    checks, answers : array-like, default=None
        What was said of each answer, and the answers, as in
        :meth:`CascadeDecider.replay`. With either, a cascade behind the router is
        replayed, drawn, and compared with the router alone.
    peers : dict of str to estimator, default=None
        Other fitted routers to compare with, by name.
    worth : Routability, default=None
        What :func:`skroute.evaluation.routability` found on the table: the report then
        begins with its verdict.
    path : str or path-like, default=None
        File to write, completely or not at all; ``None`` writes none.
    title, unit : str, default=None
        Heading of the report, and unit of the costs, such as ``"USD"``.
    show_prompts : bool, default=False
        Whether the report quotes the `prompts` of some queries, which may be private.
    n_bootstrap : int, default=200
        Resamples of the queries behind the interval of the headline; 0 gives none.
    random_state : int, RandomState instance or None, default=0
        Draws the resamples.

    Returns
    -------
    Report
        The page: a notebook shows it, ``save(path)`` writes it, ``html`` is its text.

    Raises
    ------
    ImportError
        If jinja2 or matplotlib is not installed.
    ValueError
        If an argument is not as described; nothing is written then.

    Examples
    --------
    >>> import skroute
    >>> from skroute.datasets import make_routing
    >>> data = make_routing(n_queries=300, random_state=0)
    >>> router = skroute.RankingRouter(random_state=0)
    >>> _ = router.fit(data.data[:200], data.quality[:200], costs=data.costs[:200])
    >>> report = skroute.report(
    ...     router, data.data[200:], data.quality[200:], costs=data.costs[200:]
    ... )
    >>> report.title
    'Routing 5 models'
    >>> report.html[:15]
    '<!doctype html>'
    """
    for module in ("jinja2", "matplotlib"):
        require(module, _USER, "report")
    if path is not None:
        check_writable(Path(path))
    from skroute.reporting._page import render  # it needs the optional libraries

    check_rows(X=X, y=y, task=task, prompts=prompts)
    router, decider = _split_checked(router, checks, answers)
    judged = judge(router, X, y, costs, _USER)
    replay = None
    if checks is not None or answers is not None:
        replay = replay_cascade(decider, judged, y, checks, answers)
    if worth is not None and not hasattr(worth, "sentence"):
        raise ValueError(
            "worth must be what skroute.evaluation.routability returned, or None; got "
            f"a {type(worth).__name__}."
        )
    n_queries = len(judged.y)
    tasks = _check_texts(task, n_queries, "task")
    texts = _check_texts(prompts, n_queries, "prompts")
    title = clean_text(title or f"Routing {len(judged.models)} models")
    n_bootstrap = check_integer(n_bootstrap, "n_bootstrap", low=0)
    rivals = {}
    for name, peer in (peers or {}).items():
        label = clean_text(str(name))
        rivals[label] = judge(peer, X, y, costs, _USER)
        if list(rivals[label].models) != list(judged.models):
            raise ValueError(
                f"peers must route among the models of the router; {label!r} has "
                f"{list(rivals[label].models)}, the router {list(judged.models)}."
            )
    given, router = router, extract_router(router)
    before, last = None, router
    if isinstance(router, Pipeline):
        before, last = router[:-1], router[-1]
    embedded = X if before is None else before.transform(X)
    promise = _decide_as_promised(last, embedded)
    findings = compute_findings(
        judged,
        rivals,
        tasks=tasks,
        prompts=texts,
        promise=promise,
        replay=replay,
        n_bootstrap=n_bootstrap,
        random_state=random_state,
    )
    html = render(
        findings,
        about=describe(
            last, judged, n_bootstrap=n_bootstrap, random_state=random_state
        ),
        title=title,
        unit=unit,
        worth=None if worth is None else worth.sentence,
        least=_find_least_budget(last, embedded),
        inside=last is not given,
        show_prompts=show_prompts,
    )
    written = Report(title, html)
    if path is not None:
        written.save(path)
    return written


def _split_checked(router: Any, checks: Any, answers: Any) -> tuple[Any, Any]:
    """Split a router from a cascade behind it, which checks and answers need."""
    before, decider = split_cascade(router)
    if before is None:
        raise ValueError(
            "router must be a fitted router, or a pipeline of one and a "
            f"CascadeDecider; got a {type(decider).__name__} without a router."
        )
    if decider is None and (checks is not None or answers is not None):
        raise ValueError(
            "checks and answers are what a cascade is replayed on: give a fitted "
            "pipeline of the router and a CascadeDecider, or leave them out; got a "
            f"{type(router).__name__} without one."
        )
    return before, decider


def _check_texts(values: Any, n_queries: int, name: str) -> np.ndarray | None:
    """Return one clean text for each query, empty where it is missing."""
    if values is None:
        return None
    values = np.asarray(values, dtype=object)
    if values.shape != (n_queries,):
        raise ValueError(
            f"{name} must hold one text per row of y, shape ({n_queries},); got shape "
            f"{values.shape}."
        )
    missing = [value is None or value != value for value in values]
    pairs = zip(values, missing, strict=True)
    texts = ["" if gone else clean_text(str(value)) for value, gone in pairs]
    return np.array(texts, dtype=object)


def _decide_as_promised(router: Any, X: Any) -> Promise | None:
    """Decide for the best single model's quality, by what was settled in training."""
    if getattr(router, "price_path_", None) is None:
        return None
    models = router.models_.tolist()
    single = models.index(router.best_single_)
    try:
        names = router.route(X, min_quality="100%")
    except InfeasibleBudgetError:
        return Promise(single, None)
    return Promise(single, np.array([models.index(name) for name in names]))


def _find_least_budget(router: Any, X: Any) -> float:
    """Find the smallest mean budget that a router accepts, by asking for nothing."""
    if getattr(router, "price_path_", None) is None:
        return 0.0
    try:
        router.route(_safe_indexing(X, [0]), budget=0.0)
    except InfeasibleBudgetError as error:
        return error.smallest_budget or 0.0
    return 0.0

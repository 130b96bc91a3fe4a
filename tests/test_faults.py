"""Faults: interrupted fits, fits side by side, numbers and tables out of proportion."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.utils.validation import _is_fitted
from threadpoolctl import threadpool_info

from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute._estimate.blending import find_rank_utility
from skroute._estimate.options import OPTIONS
from skroute.datasets import make_routing

DATA = make_routing(180, n_features=6, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
RANKING = RankingRouter(
    n_estimators=2, n_landmarks=12, min_child_samples=10, random_state=0
)
ROUTERS = [RANKING, PointwiseRouter(Ridge(), random_state=0), DummyRouter()]
NAMES = ["RankingRouter", "PointwiseRouter", "DummyRouter"]


class Interrupt:
    """Presses Ctrl-C in the n-th call of a function of this package.

    Parameters
    ----------
    moment : int
        Which call; the calls are only counted where it is never reached.
    """

    def __init__(self, moment: int = sys.maxsize) -> None:
        self.moment, self.calls = moment, 0

    def __enter__(self) -> Interrupt:
        sys.setprofile(self._called)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _called(self, frame: Any, event: str, argument: Any) -> None:
        name = frame.f_globals.get("__name__", "")
        # What puts things back as they were is not interrupted a second time.
        if event != "call" or not name.startswith("skroute.") or "threads" in name:
            return
        self.calls += 1
        if self.calls == self.moment:
            sys.setprofile(None)
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("router", ROUTERS, ids=NAMES)
def test_an_interrupted_fit_changes_nothing(router):
    used = clone(router).fit(X, Y, costs=C)
    before = pickle.dumps(used)
    threads = [pool["num_threads"] for pool in threadpool_info()]
    counted = clone(router)
    with Interrupt() as counter:
        counted.fit(X[::-1], Y[::-1], costs=C[::-1])
    for moment in np.unique(np.linspace(1, counter.calls, 15).astype(int)):
        fresh = clone(router)
        for estimator in (fresh, used):
            with pytest.raises(KeyboardInterrupt), Interrupt(int(moment)):
                estimator.fit(X[::-1], Y[::-1], costs=C[::-1])
        assert not _is_fitted(fresh)
        assert vars(fresh).keys() == fresh.get_params(deep=False).keys()
        assert pickle.dumps(used) == before
    assert [pool["num_threads"] for pool in threadpool_info()] == threads


@pytest.mark.parametrize("update", ["fit", "partial_fit"])
def test_an_interrupted_decider_is_as_it_was(update):
    Z = np.hstack([Y, C])
    used = BudgetDecider(budget=float(C.mean())).fit(Z)
    before = pickle.dumps(used)
    counted = clone(used).fit(Z)
    with Interrupt() as counter:
        getattr(counted, update)(Z[::-1])
    for moment in np.unique(np.linspace(1, counter.calls, 10).astype(int)):
        with pytest.raises(KeyboardInterrupt), Interrupt(int(moment)):
            getattr(used, update)(Z[::-1])
        assert pickle.dumps(used) == before


class Ranked(RankingRouter):
    """Follows its ranker, proven or not."""

    _options = replace(OPTIONS, doubt=-1e9)


@pytest.mark.slow
def test_different_fits_side_by_side_are_those_in_turn():
    """LightGBM keeps the gains of labels in one global table while it trains."""
    graded = make_routing(180, n_features=6, n_models=3, graded=True, random_state=1)
    tables = [(X, Y, C), (graded.data, graded.quality, graded.costs)] * 3
    routers = [
        clone(Ranked(**RANKING.get_params())).set_params(n_estimators=10, tie_gain=gain)
        for gain in (0.0, 0.001, 0.5, 0.1, 0.3, 0.01)
    ]

    def fit(number: int) -> RankingRouter:
        queries, quality, costs = tables[number]
        router = clone(routers[number]).fit(queries, quality, costs=costs)
        assert router.ranker_ is not None
        return router

    in_turn = [fit(number) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        side_by_side = list(pool.map(fit, range(6)))
    # While a fit elsewhere holds BLAS to one thread, estimates are rounded otherwise:
    # they are compared once all fits are over.
    for number, pair in enumerate(zip(in_turn, side_by_side, strict=True)):
        alone, together = (router.transform(tables[number][0]) for router in pair)
        np.testing.assert_array_equal(together, alone)


def use(router: Any, queries: np.ndarray, costs: np.ndarray) -> None:
    """Route in every way; all that is estimated is a number."""
    assert np.isfinite(router.transform(queries)).all()
    mean = float(costs.mean())
    models = set(router.models_)
    for limits in (
        {},
        {"budget": mean},
        {"budget": mean, "scope": "query"},
        {"budget": mean * len(queries), "scope": "batch"},
        {"min_quality": 0.0},
        {"price": 1.0},
    ):
        names = router.route(queries, on_infeasible="cheapest", **limits)
        assert set(names) <= models
    router.explain(queries, price=1.0)


NUMBERS = {
    "enormous costs": (X, Y, C / C.max() * 1e300),
    "minute costs": (X, Y, C * 1e-300),
    "denormal costs": (X, Y, np.where(C > 0, 5e-324, 0.0)),
    "costs of all sizes": (X, Y, C * np.array([1e-300, 1.0, 1e300]) / C.max()),
    "enormous qualities": (X, (Y - 0.5) * 1e300, C),
    "denormal qualities": (X, Y * 5e-324, C),
    "half precision": (X.astype(np.float16), Y.astype(np.float16), C),
    "whole numbers": ((X * 10).astype(int), Y.astype(int), np.ceil(C).astype(int)),
    "large embeddings": (X * 1e99 / np.abs(X).max(), Y, C),
    "minute embeddings": (X * 1e-300, Y, C),
    "denormal embeddings": (X * 5e-324, Y, C),
    "one query": (X[:1], Y[:1], C[:1]),
    "two queries": (X[:2], Y[:2], C[:2]),
    "one model": (X, Y[:, :1], C[:, :1]),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("router", ROUTERS, ids=NAMES)
def test_numbers_out_of_the_ordinary_are_routed(router, name):
    queries, quality, costs = NUMBERS[name]
    fitted = clone(router).fit(queries, quality, costs=costs)
    use(fitted, queries, costs)
    use(fitted, queries[:1], costs)


@pytest.mark.parametrize("router", ROUTERS, ids=NAMES)
@pytest.mark.parametrize(
    ("argument", "table"),
    [
        ("X", (X * 1e101, Y, C)),
        ("y", (X, Y * 1e301, C)),
        ("costs", (X, Y, C * 1e301 / C.max())),
    ],
)
def test_numbers_that_cannot_be_computed_with_are_refused(router, argument, table):
    queries, quality, costs = table
    with pytest.raises(ValueError, match=f"^{argument} must hold numbers of at most"):
        clone(router).fit(queries, quality, costs=costs)


@pytest.mark.parametrize("router", ROUTERS, ids=NAMES)
def test_queries_that_cannot_be_computed_with_are_refused(router):
    fitted = clone(router).fit(X, Y, costs=C)
    with pytest.raises(ValueError, match=r"X must hold.*at most 1e\+100.*1e\+200"):
        fitted.route(np.full((1, 6), 1e200))


@pytest.mark.slow
@pytest.mark.parametrize("router", ROUTERS[1:], ids=NAMES[1:])
def test_ten_thousand_models(router):
    draw = np.random.RandomState(0)
    quality = (draw.uniform(size=(30, 10_000)) < 0.5).astype(float)
    prices = draw.uniform(0.1, 1.0, size=10_000)
    fitted = clone(router).set_params(costs=prices).fit(X[:30], quality)
    use(fitted, X[:2], prices)
    assert fitted.route(X[:1], top_k=3).shape == (1, 3)


def test_pairs_of_very_many_models_are_compared_in_parts():
    draw = np.random.RandomState(0)
    p, scores = draw.uniform(size=(2, 1500)), draw.normal(size=(2, 1500))
    utility = find_rank_utility(scores, p)
    few = [3, 700, 1499]
    inner = np.clip(p, 0.02, 0.98)
    mine, other = inner[:, few, None], inner[:, None, :]
    lead = scores[:, few, None] - scores[:, None, :]
    expected = (mine + other - 2 * mine * other) * np.tanh(lead / 2)
    np.testing.assert_allclose(utility[:, few], expected.mean(axis=2), atol=1e-12)
    np.testing.assert_allclose(utility.sum(axis=1), 0.0, atol=1e-8)

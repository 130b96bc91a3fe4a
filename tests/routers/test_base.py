"""What a third party gets from the base, and routers inside scikit-learn's tools."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_info

import skroute
from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute.base import BaseRouter
from skroute.datasets import make_routing
from skroute.exceptions import IgnoredDeciderWarning
from skroute.metrics import make_routing_scorer, normalized_auc, routing_curve
from skroute.validation import check_queries, check_routing_table

DATA = make_routing(240, n_models=3, random_state=0)
X, Y, C = DATA.data, DATA.quality, DATA.costs
FRAME = pd.DataFrame(Y, columns=["small", "medium", "large"])


class LinearRouter(BaseRouter):
    """A router of a third party: the four methods, and nothing else."""

    def __init__(self, costs: Any = None) -> None:
        self.costs = costs

    def fit(self, X: Any, y: Any, *, costs: Any = None) -> LinearRouter:
        table = check_routing_table(self, X, y, costs)
        self.model_ = Ridge().fit(table.X, table.quality)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        return self.predict_quality(X)

    def predict_quality(self, X: Any) -> np.ndarray:
        return self.model_.predict(check_queries(self, X))

    def predict_cost(self, X: Any) -> np.ndarray:
        return np.tile(self.costs_, (len(check_queries(self, X)), 1))


def test_four_methods_make_a_router() -> None:
    router = LinearRouter().fit(X, FRAME, costs=C)
    assert router.models_.tolist() == ["small", "medium", "large"]
    np.testing.assert_array_equal(
        router.predict(X), router.predict_quality(X).argmax(axis=1)
    )
    assert router.transform(X).shape == (240, 6)
    assert router.get_feature_names_out()[-1] == "cost__large"
    curve = routing_curve(Y, C, router.predict_quality(X), router.predict_cost(X))
    assert router.score(X, FRAME, costs=C) == normalized_auc(curve)


def test_a_third_party_router_spends_its_budget() -> None:
    budget = float(C.mean())
    router = LinearRouter().fit(X, FRAME, costs=C)
    for scope, limit in (("mean", budget), ("batch", 240 * budget)):
        names = router.route(X, budget=limit, scope=scope)
        spent = router.costs_[[router.models_.tolist().index(name) for name in names]]
        total = spent.mean() if scope == "mean" else spent.sum()
        assert 0.9 * limit <= total <= limit * (1 + 1e-12)


@pytest.mark.parametrize("rows", [1, 99])
@pytest.mark.parametrize("rule", [dict(budget=float(C.mean())), dict(min_quality=0.1)])
def test_few_rows_of_a_third_party_are_no_traffic(rows: int, rule: Any) -> None:
    router = LinearRouter().fit(X, FRAME, costs=C)
    for ask in (router.route, router.explain):
        with pytest.raises(ValueError, match=rf"{rows} rows.*fit_transform.*price="):
            ask(X[:rows], **rule)
    # The ways out.
    assert len(router.route(X[:100], **rule)) == 100
    assert len(router.route(X[:rows], price=1.0)) == rows
    assert len(router.route(X[:rows], budget=rows * C.max(), scope="batch")) == rows
    router.fit_transform(X, FRAME, costs=C)
    assert router.route(X[:1], **rule)[0] == router.route(X, **rule)[0]


def test_a_third_party_router_is_cross_fitted_by_clones() -> None:
    router = LinearRouter()
    estimates = router.fit_transform(X, FRAME, costs=C)
    in_sample = router.transform(X)

    def error(guess: np.ndarray) -> float:
        return float(((guess[:, :3] - Y) ** 2).mean())

    assert error(estimates) > error(in_sample)
    decider = BudgetDecider(budget=float(C.mean())).fit(estimates, FRAME, costs=C)
    np.testing.assert_array_equal(
        router.route(X, budget=float(C.mean())), decider.route(in_sample)
    )


def test_estimates_come_as_dataframes_where_asked() -> None:
    router = LinearRouter().set_output(transform="pandas").fit(X, FRAME, costs=C)
    estimates = router.transform(X)
    assert estimates.columns.tolist() == router.get_feature_names_out().tolist()
    decider = BudgetDecider().fit(estimates)
    assert decider.models_.tolist() == ["small", "medium", "large"]


def test_repeated_twins_of_a_block_are_split_by_a_mean_budget() -> None:
    blocks = np.repeat([[0.0], [1.0]], 120, axis=0)
    quality = np.repeat([[0.2, 0.9], [0.5, 0.6]], 120, axis=0)
    router = PointwiseRouter(Ridge(1e-6), costs=[1.0, 3.0], random_state=0)
    router.fit(blocks, quality)
    for budget in (1.5, 2.0, 2.5):
        spent = np.where(router.route(blocks, budget=budget) == "model_1", 3.0, 1.0)
        assert spent.mean() == pytest.approx(budget, rel=0.02)


@pytest.mark.slow
def test_a_cap_or_a_tolerance_is_known_when_a_price_is_found() -> None:
    router = RankingRouter(n_estimators=10, random_state=0)
    estimates = router.fit_transform(X, Y, costs=C)
    served = router.transform(X)
    cap = float(np.quantile(estimates[:, 3:], 0.6))
    for settings in (
        {"min_quality": 0.5, "tolerance": 0.1, "on_infeasible": "cheapest"},
        {"budget": float(C.mean()), "tolerance": 0.1},
        {
            "budget": cap,
            "scope": "query",
            "min_quality": 0.5,
            "on_infeasible": "cheapest",
        },
    ):
        decider = BudgetDecider(**settings).fit(estimates, Y, costs=C)
        np.testing.assert_array_equal(
            router.route(X, **settings), decider.route(served)
        )


# Inside scikit-learn's tools.


@pytest.mark.slow
@pytest.mark.usefixtures("metadata_routing")
def test_a_pipeline_of_three_takes_costs_as_metadata() -> None:
    budget = float(C.mean())
    pipeline = Pipeline(
        [
            ("pca", PCA(8, random_state=0)),
            ("router", RankingRouter(n_estimators=10, random_state=0)),
            ("decider", BudgetDecider(budget=budget)),
        ]
    )
    pipeline.fit(X, FRAME, costs=C)
    choice = pipeline.predict(X)
    assert pipeline.transform(X).sum(axis=1).tolist() == [1.0] * 240
    assert pipeline[-1].models_.tolist() == ["small", "medium", "large"]
    assert C[np.arange(240), choice].mean() < 1.25 * budget


@pytest.mark.slow
@pytest.mark.usefixtures("metadata_routing")
def test_grid_search_tunes_a_pipeline_with_costs() -> None:
    pipeline = make_pipeline(
        PCA(random_state=0),
        RankingRouter(n_estimators=5, random_state=0),
        BudgetDecider(),
    )
    search = GridSearchCV(
        pipeline,
        {"pca__n_components": [2, 8], "budgetdecider__tolerance": [0.0, 0.05]},
        scoring={
            "nauc": make_routing_scorer("normalized_auc"),
            "collapse": make_routing_scorer("routing_collapse_index"),
            "regret": make_routing_scorer("regret"),
        },
        refit="nauc",
        cv=3,
        error_score="raise",
    )
    with pytest.warns(IgnoredDeciderWarning, match="net_utility"):
        search.fit(X, FRAME, costs=C)
    results = search.cv_results_
    assert np.isfinite(results["mean_test_nauc"]).all()
    assert (results["mean_test_collapse"] <= 0).all()
    assert (results["mean_test_regret"] <= 0).all()
    assert search.best_score_ == results["mean_test_nauc"].max()
    assert search.predict(X).shape == (240,)


@pytest.mark.slow
@pytest.mark.usefixtures("metadata_routing")
@pytest.mark.parametrize(
    "router", [RankingRouter(n_estimators=5, random_state=0), DummyRouter()], ids=repr
)
def test_cross_validate_scores_routers_with_costs(router: Any) -> None:
    scores = cross_validate(
        router,
        X,
        Y,
        params={"costs": C},
        scoring=make_routing_scorer("normalized_auc"),
        cv=3,
        error_score="raise",
    )["test_score"]
    own = cross_validate(router, X, Y, params={"costs": C}, cv=3, error_score="raise")
    np.testing.assert_array_equal(scores, own["test_score"])
    # Without costs the router's own prices count, as in its score.
    keywords = {"cv": 3, "error_score": "raise"}
    router = clone(router).set_params(costs=[1.0, 2.0, 3.0])
    priced = cross_validate(
        router, X, Y, scoring=make_routing_scorer("normalized_auc"), **keywords
    )
    own = cross_validate(router, X, Y, **keywords)
    np.testing.assert_array_equal(priced["test_score"], own["test_score"])


def test_prices_need_no_metadata() -> None:
    router = PointwiseRouter(Ridge(), costs=[1.0, 2.0, 3.0])
    scores = cross_validate(router, X, Y, cv=3, error_score="raise")["test_score"]
    assert ((scores > 0) & (scores < 1)).all()


def test_a_public_name_is_importable_from_the_top() -> None:
    for name in skroute.__all__:
        assert getattr(skroute, name) is not None
    assert sklearn.base.is_regressor(RankingRouter()) is False


@pytest.mark.slow
def test_the_core_works_without_any_extra(
    run_strictly: Callable[[str], str],
) -> None:
    printed = run_strictly(
        """
        import sys

        class NoExtras:
            def find_spec(self, name, path=None, target=None):
                if name in {"pandas", "polars", "pooch", "pyarrow", "typer", "rich"}:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, NoExtras())
        import skroute.metrics
        from skroute import RankingRouter
        from skroute.datasets import make_routing
        data = make_routing(100, n_models=3, random_state=0)
        router = RankingRouter(random_state=0)
        router.fit(data.data, data.quality, costs=data.costs)
        print(*router.route(data.data[:3], min_quality="90%"))
        """
    )
    assert len(printed.split()) == 3


def test_prices_go_by_name_where_they_have_names() -> None:
    prices = {"large": 9.0, "small": 1.0, "medium": 3.0}
    by_dict = PointwiseRouter(Ridge(), costs=prices).fit(X, FRAME)
    by_series = PointwiseRouter(Ridge(), costs=pd.Series(prices)).fit(X, FRAME)
    assert by_dict.costs_.tolist() == by_series.costs_.tolist() == [1.0, 3.0, 9.0]
    estimates = np.hsplit(by_dict.transform(X), 2)
    scores = [
        normalized_auc(FRAME, costs, *estimates)
        for costs in (prices, pd.Series(prices), by_dict.costs_)
    ]
    assert scores[0] == scores[1] == scores[2]
    with pytest.raises(ValueError, match="by position instead"):
        normalized_auc(Y, prices, *estimates)


def test_a_mask_with_names_goes_by_name() -> None:
    router = DummyRouter(costs=[1.0, 2.0, 3.0]).fit(X, FRAME)
    mask = pd.DataFrame(
        {"large": [False] * 240, "small": [True] * 240, "medium": [False] * 240}
    )
    assert set(router.route(X, available=mask)) == {"small"}


@pytest.mark.parametrize(
    "available",
    [
        {"small"},
        {"large": False, "small": True, "medium": False},
        pd.Series({"large": False, "small": True, "medium": False}),
    ],
    ids=["set", "dict", "series"],
)
def test_available_models_go_by_name(available: Any) -> None:
    router = DummyRouter(costs=[1.0, 2.0, 3.0]).fit(X, FRAME)
    assert set(router.route(X, available=available)) == {"small"}


def test_models_may_have_numbers_for_names() -> None:
    frame = pd.DataFrame(Y, columns=[10, 20, 30])
    router = DummyRouter(costs={10: 1.0, 20: 2.0, 30: 3.0}).fit(X, frame)
    assert router.models_.tolist() == ["10", "20", "30"]
    assert set(router.route(X, available=["20"])) == {"20"}


class BrokenRouter(LinearRouter):
    """A third party's mistake: no estimate for the first model."""

    def predict_quality(self, X: Any) -> np.ndarray:
        quality = super().predict_quality(X)
        quality[:, 0] = np.nan
        return quality


def test_estimates_of_third_parties_are_checked() -> None:
    router = BrokenRouter().fit(X, FRAME, costs=C)
    with pytest.raises(ValueError, match="quality contains NaN"):
        router.route(X, available=["medium", "large"])


def test_a_refit_forgets_earlier_budgets() -> None:
    router = LinearRouter()
    router.fit_transform(X, FRAME, costs=C)
    router.fit(X, FRAME, costs=1e6 * C)
    with pytest.raises(skroute.InfeasibleBudgetError):
        router.route(X, budget=float(C.mean()))


def test_the_warning_of_no_costs_comes_once_and_from_the_caller() -> None:
    for router in (LinearRouter(), PointwiseRouter(Ridge())):
        with pytest.warns(skroute.NoCostWarning) as told:
            router.fit_transform(X, Y)
        assert [Path(warning.filename).name for warning in told] == ["test_base.py"]


@pytest.mark.slow
def test_overlapping_fits_give_the_cores_back() -> None:
    before = [pool["num_threads"] for pool in threadpool_info()]
    routers = [RankingRouter(n_estimators=5, random_state=0) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        fitted = list(pool.map(lambda router: router.fit(X, Y, costs=C), routers))
    assert [pool["num_threads"] for pool in threadpool_info()] == before
    alone = RankingRouter(n_estimators=5, random_state=0).fit(X, Y, costs=C)
    for router in fitted:
        np.testing.assert_array_equal(router.transform(X), alone.transform(X))


@pytest.mark.slow
def test_scores_do_not_depend_on_the_output_container() -> None:
    router = RankingRouter(n_estimators=5, random_state=0).fit(X, FRAME, costs=C)
    score = router.score(X, FRAME, costs=C)
    for container in ("pandas", "polars"):
        wrapped = router.set_output(transform=container)
        assert wrapped.score(X, FRAME, costs=C) == score


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [RankingRouter(n_estimators=5, random_state=0), PointwiseRouter(Ridge())],
    ids=["ranking", "pointwise"],
)
@pytest.mark.parametrize("ends", [(0.0, 1.0), (-3.0, 0.5)])
def test_shown_qualities_stay_within_what_was_seen(made, ends) -> None:
    # Lines through outcomes at two levels leave them at both ends.
    X = np.random.default_rng(0).normal(size=(200, 4))
    y = np.where(X[:, :3] > 0, *ends[::-1])
    router = clone(made).set_params(costs=[1.0, 2.0, 4.0])
    honest = np.hsplit(router.fit_transform(X, y), 2)[0]
    for shown in (
        honest,
        *(router.predict_quality(queries) for queries in (X, 0.9 * X, -X)),
        router.explain(X)[["expected_quality", "runner_up_quality"]].to_numpy(),
    ):
        assert shown.min() >= ends[0] - 1e-12
        assert shown.max() <= ends[1] + 1e-12


@pytest.mark.slow
def test_a_new_model_widens_what_was_seen() -> None:
    X = np.random.default_rng(0).normal(size=(400, 4))
    y = (X[:, :3] > 0).astype(float)
    router = RankingRouter(costs=[1.0, 2.0, 4.0], n_estimators=0, random_state=0)
    larger = router.fit(X, y).add_model("better", 1.5 * y[:, 0], X=X, costs=9.0)
    shown = larger.predict_quality(X)
    assert 1.1 < shown[:, -1].max() <= 1.5 + 1e-12
    assert shown.min() >= -1e-12

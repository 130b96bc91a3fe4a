"""scikit-learn's estimator checks and our own, by the same runner."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.utils import Bunch
from sklearn.utils.estimator_checks import parametrize_with_checks

from skroute import BudgetDecider, DummyRouter, PointwiseRouter, RankingRouter
from skroute.datasets import make_routing

# Few rounds keep the checks short; nothing else differs from the defaults.
ROUTERS = [
    RankingRouter(n_estimators=20, random_state=0),
    PointwiseRouter(Ridge(), random_state=0),
    PointwiseRouter(KNeighborsRegressor(3), random_state=0),
    DummyRouter(),
    DummyRouter("cheapest"),
    DummyRouter("random", random_state=0),
]


class AnyWidthDecider(BudgetDecider):
    """A decider of any table: the common checks feed any width and sign."""

    def _split(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return Z, Z**2


_CROSS_FITTED = (
    "fit_transform is cross-fitted by contract, as in TargetEncoder: it is not "
    "fit().transform()"
)
_EVEN_WIDTH = (
    "Z holds qualities and then costs: an odd width or a negative cost is an error, "
    "and this check feeds one; AnyWidthDecider passes it on the same code"
)
_NO_BUDGET = (
    "partial_fit keeps a stream to a mean budget: without one it is an error; "
    "AnyWidthDecider(budget=1.0) passes it on the same code"
)


def expected_failures(estimator: BaseEstimator) -> dict[str, str]:
    """Checks of scikit-learn that cannot hold, each with its reason."""
    if type(estimator) is BudgetDecider:
        return {
            check: _EVEN_WIDTH
            for check in (
                "check_dict_unchanged",
                "check_dont_overwrite_parameters",
                "check_estimators_dtypes",
                "check_estimators_fit_returns_self",
                "check_estimators_nan_inf",
                "check_estimators_overwrite_params",
                "check_estimators_pickle",
                "check_f_contiguous_array_estimator",
                "check_fit2d_predict1d",
                "check_fit_score_takes_y",
                "check_methods_sample_order_invariance",
                "check_methods_subset_invariance",
                "check_n_features_in_after_fitting",
                "check_pipeline_consistency",
                "check_positive_only_tag_during_fit",
                "check_readonly_memmap_input",
                "check_transformer_data_not_an_array",
                "check_transformer_general",
            )
        }
    if isinstance(estimator, BudgetDecider) and estimator.budget is None:
        return {
            "check_fit_score_takes_y": _NO_BUDGET,
            "check_n_features_in_after_fitting": _NO_BUDGET,
        }
    if isinstance(estimator, PointwiseRouter | RankingRouter) and not isinstance(
        getattr(estimator, "estimator", None), KNeighborsRegressor
    ):
        return {
            "check_transformer_data_not_an_array": _CROSS_FITTED,
            "check_transformer_general": _CROSS_FITTED,
        }
    return {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skroute.exceptions.NoCostWarning")
@parametrize_with_checks(
    [
        *ROUTERS,
        BudgetDecider(),
        AnyWidthDecider(),
        AnyWidthDecider(budget=1.0, on_infeasible="cheapest"),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(estimator)


def _table(**changes: Any) -> Bunch:
    settings: dict[str, Any] = {"n_queries": 120, "n_models": 4, "random_state": 0}
    return make_routing(**{**settings, **changes})


def _fit(router: BaseEstimator, data: Bunch) -> Any:
    return clone(router).fit(data.data, data.quality, costs=data.costs)


def _same_estimates(one: Any, other: Any, X: np.ndarray) -> None:
    np.testing.assert_array_equal(one.transform(X), other.transform(X))
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


def check_missing_outcomes_are_left_out(router: BaseEstimator) -> None:
    data = _table(missing=0.3)
    fitted = _fit(router, data)
    assert np.isfinite(fitted.transform(data.data)).all()
    assert fitted.predict(data.data).shape == (120,)


def check_queries_without_outcomes_are_estimated(router: BaseEstimator) -> None:
    data = _table()
    data.quality[::4] = np.nan
    fitted = clone(router)
    estimates = fitted.fit_transform(data.data, data.quality, costs=data.costs)
    assert estimates.shape == (120, 8)
    assert np.isfinite(estimates).all()


def check_equal_models_are_resolved_to_the_cheapest(router: BaseEstimator) -> None:
    data = _table()
    if getattr(router, "strategy", None) == "random":
        pytest.skip("random calls do not follow the quality")
    prices = [5.0, 1.0, 7.0, 3.0]
    fitted = clone(router).set_params(costs=prices)
    fitted.fit(data.data, np.ones_like(data.quality))
    assert (fitted.predict(data.data) == 1).all()


def check_permuted_models_permute_the_answer(router: BaseEstimator) -> None:
    data = _table()
    if getattr(router, "strategy", None) == "random":
        pytest.skip("draws belong to positions")
    turn = np.array([2, 0, 3, 1])
    fitted = _fit(router, data)
    turned = clone(router)
    turned.fit(data.data, data.quality[:, turn], costs=data.costs[:, turn])
    both = np.r_[turn, 4 + turn]
    np.testing.assert_allclose(
        turned.transform(data.data), fitted.transform(data.data)[:, both], rtol=1e-6
    )
    np.testing.assert_array_equal(
        turn[turned.predict(data.data)], fitted.predict(data.data)
    )


def check_dataframes_name_the_models(router: BaseEstimator) -> None:
    data = _table()
    names = ["small", "medium", "large", "huge"]
    plain = _fit(router, data)
    for frame in (pd.DataFrame, pl.DataFrame):
        y = frame(dict(zip(names, data.quality.T, strict=True)))
        # Costs in another order of columns are matched by name.
        costs = frame(
            dict(zip(names[::-1], data.costs[:, ::-1].T, strict=True)),
        )
        fitted = clone(router).fit(data.data, y, costs=costs)
        assert fitted.models_.tolist() == names
        assert fitted.get_feature_names_out()[[0, 4]].tolist() == [
            "quality__small",
            "cost__small",
        ]
        np.testing.assert_array_equal(
            fitted.transform(data.data), plain.transform(data.data)
        )
        assert set(fitted.route(data.data)) <= set(names)


def check_single_and_double_precision_agree(router: BaseEstimator) -> None:
    data = _table()
    double = _fit(router, data)
    data.data = data.data.astype(np.float32)
    single = _fit(router, data)
    np.testing.assert_allclose(
        single.transform(data.data), double.transform(data.data), rtol=0.02, atol=0.02
    )
    assert np.mean(single.predict(data.data) == double.predict(data.data)) > 0.95


def check_copies_answer_alike(router: BaseEstimator) -> None:
    data = _table()
    fitted = _fit(router, data)
    file = io.BytesIO()
    joblib.dump(fitted, file)
    file.seek(0)
    for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(file)):
        _same_estimates(copy, fitted, data.data)
        assert copy.route(data.data, budget=float(data.costs.mean())).tolist() == (
            fitted.route(data.data, budget=float(data.costs.mean())).tolist()
        )


def check_same_seed_same_bytes(router: BaseEstimator) -> None:
    data = _table()
    # The first pickle of an object notes which strings it shares with others.
    one, two = (
        pickle.dumps(pickle.loads(pickle.dumps(_fit(router, data)))) for _ in range(2)
    )
    assert one == two


def check_refit_forgets(router: BaseEstimator) -> None:
    data, other = _table(), _table(n_models=3, random_state=1)
    again = _fit(router, other).fit(data.data, data.quality, costs=data.costs)
    _same_estimates(again, _fit(router, data), data.data)


def check_failed_refit_leaves_the_router_as_it_was(router: BaseEstimator) -> None:
    data = _table()
    fitted = _fit(router, data)
    before = pickle.dumps(fitted)
    with pytest.raises(ValueError, match="costs must not be negative"):
        fitted.fit(data.data[:, :5], data.quality[:, :2], costs=-data.costs[:, :2])
    assert pickle.dumps(fitted) == before


def check_training_estimates_do_not_know_their_outcome(router: BaseEstimator) -> None:
    data = _table()
    noise = np.random.RandomState(0).randint(2, size=data.quality.shape).astype(float)
    estimates = clone(router).fit_transform(data.data, noise, costs=data.costs)

    def centred(values: np.ndarray) -> np.ndarray:
        return (values - values.mean(axis=0)).ravel()

    guess, truth = centred(estimates[:, :4]), centred(noise)
    # Nothing can be learned from noise but the noise itself; 0.15 is three s.d.
    assert guess @ truth <= 0.15 * np.linalg.norm(guess) * np.linalg.norm(truth)


def check_route_is_a_decider_behind_the_router(router: BaseEstimator) -> None:
    if isinstance(router, DummyRouter) and router.strategy != "best_single":
        pytest.skip("it follows its strategy also where one model is better")
    data = _table()
    fitted = clone(router)
    estimates = fitted.fit_transform(data.data, data.quality, costs=data.costs)
    served = fitted.transform(data.data)
    budget = float(np.quantile(data.costs.mean(axis=0), 0.6))
    for settings in (
        {},
        {"budget": budget},
        {"budget": budget, "scope": "query", "on_infeasible": "cheapest"},
        {"budget": 120 * budget, "scope": "batch"},
        {"min_quality": "90%", "on_infeasible": "cheapest"},
        {"price": 0.1},
        {"tolerance": 0.05},
    ):
        decider = BudgetDecider(**settings)
        decider.fit(estimates, data.quality, costs=data.costs)
        np.testing.assert_array_equal(
            fitted.route(data.data, **settings), decider.route(served)
        )


OWN_CHECKS = [
    check_missing_outcomes_are_left_out,
    check_queries_without_outcomes_are_estimated,
    check_equal_models_are_resolved_to_the_cheapest,
    check_permuted_models_permute_the_answer,
    check_dataframes_name_the_models,
    check_single_and_double_precision_agree,
    check_copies_answer_alike,
    check_same_seed_same_bytes,
    check_refit_forgets,
    check_failed_refit_leaves_the_router_as_it_was,
    check_training_estimates_do_not_know_their_outcome,
    check_route_is_a_decider_behind_the_router,
]


@pytest.mark.slow
@pytest.mark.parametrize("check", OWN_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("router", ROUTERS, ids=repr)
def test_own_checks(
    router: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(router)

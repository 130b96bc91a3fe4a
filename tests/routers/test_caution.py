"""Caution: decisions discount what the regressions disagree about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

import skroute
from skroute import BudgetDecider, RankingRouter
from skroute._decide.caution import choose_caution
from skroute._decide.price_path import PricePath
from skroute.datasets import make_routing, read_routerbench
from skroute.metrics import normalized_auc

DATA = make_routing(500, n_models=5, random_state=0)
X, Y, C = DATA.data[:300], DATA.quality[:300], DATA.costs[:300]
FRESH = DATA.data[300:]
KEPT = Path(__file__).parents[1] / "data" / "routers"


def fit(caution: Any = "auto", y: Any = Y, **settings: Any) -> RankingRouter:
    settings = {"n_estimators": 0, "n_landmarks": 32, "random_state": 0} | settings
    return RankingRouter(caution=caution, **settings).fit(X, y, costs=C)


@pytest.fixture(scope="module")
def plain() -> RankingRouter:
    return fit(0)


@pytest.fixture(scope="module")
def careful() -> RankingRouter:
    return fit(1.5)


def split(router: Any, queries: Any = FRESH) -> tuple[np.ndarray, np.ndarray]:
    quality, cost = np.hsplit(router.transform(queries), 2)
    return quality, cost


# What it changes, and what it leaves.


def test_without_caution_decisions_follow_the_calibrated_qualities(
    plain: RankingRouter,
) -> None:
    assert plain.caution_ == 0
    quality, cost = split(plain)
    assert quality.tobytes() == plain.predict_quality(FRESH).tobytes()
    assert cost.tobytes() == plain.predict_cost(FRESH).tobytes()


def test_calibrated_qualities_and_costs_do_not_depend_on_it(
    plain: RankingRouter, careful: RankingRouter
) -> None:
    for router in (careful, fit("auto"), fit(0.25)):
        for name in ("predict_quality", "predict_cost"):
            found, expected = (getattr(one, name)(FRESH) for one in (router, plain))
            # Without caution all regressions are added up by one product.
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_number_of_standard_deviations_is_taken_off(
    plain: RankingRouter, careful: RankingRouter
) -> None:
    assert careful.caution_ == 1.5
    fits = careful._fitted.quality
    outputs = [
        (view @ fit.rows.T).reshape(len(view), *fit.intercept.shape) + fit.intercept
        for fit, view in zip(
            fits.fits,
            fits.views.transform(fits.views.scale_queries(FRESH))[1],
            strict=True,
        )
    ]
    # Each regression at its best strength, the only one that caution needs.
    assert {output.shape[2] for output in outputs} == {2}
    best = fits.means.argmax()
    leads = [output[:, :, 0] - output[:, [best], 0] for output in outputs]
    spread = np.std(leads, axis=0)
    pairs, _ = fits.predict(FRESH)
    near = pairs.trust == 1
    assert near.any()
    expected = 1.5 * spread[:, plain._fitted.canonical.place]
    np.testing.assert_allclose(
        (split(plain)[0] - split(careful)[0])[near], expected[near], atol=1e-12
    )


def test_single_precision_is_as_cautious(careful: RankingRouter) -> None:
    np.testing.assert_allclose(
        careful.transform(FRESH.astype(np.float32)), careful.transform(FRESH), atol=1e-4
    )


def test_means_far_from_the_training_queries_are_not_discounted(
    plain: RankingRouter, careful: RankingRouter
) -> None:
    far = 50.0 * FRESH[:4]
    np.testing.assert_array_equal(careful.transform(far), plain.transform(far))
    why = careful.explain(far, price=0.01)
    chosen = [careful.models_.tolist().index(name) for name in why["chosen"]]
    np.testing.assert_allclose(
        why["expected_quality"], careful.predict_quality(far)[np.arange(4), chosen]
    )


# Every decision is made with it.


def test_every_decision_is_made_with_it(careful: RankingRouter) -> None:
    quality, cost = split(careful)
    price = 0.3 / cost.mean()
    best = careful.models_[(quality - price * cost).argmax(axis=1)]
    followed = careful.predict_quality(FRESH)
    assert (best != careful.models_[(followed - price * cost).argmax(axis=1)]).any()
    np.testing.assert_array_equal(careful.route(FRESH, price=price), best)
    np.testing.assert_array_equal(careful.explain(FRESH, price=price)["chosen"], best)
    ranked = careful.route(FRESH, price=price, top_k=5)
    order = np.argsort(price * cost - quality, axis=1)
    np.testing.assert_array_equal(ranked, careful.models_[order])
    scores = careful.decision_function(FRESH)
    np.testing.assert_array_equal(scores.argmax(axis=1), quality.argmax(axis=1))
    expected = normalized_auc(DATA.quality[300:], DATA.costs[300:], quality, cost)
    found = careful.score(FRESH, DATA.quality[300:], costs=DATA.costs[300:])
    assert found == expected


def test_budgets_and_targets_are_settled_with_it(careful: RankingRouter) -> None:
    held_out = clone(careful).fit_transform(X, Y, costs=C)
    path = PricePath.from_estimates(*np.hsplit(held_out, 2), Y, C)
    for name in ("price", "cost", "quality"):
        np.testing.assert_allclose(
            getattr(careful.price_path_, name), getattr(path, name)
        )


@pytest.mark.usefixtures("metadata_routing")
@pytest.mark.parametrize("rule", [{"min_quality": "95%"}, {"budget": float(C.mean())}])
def test_a_decider_behind_the_router_decides_as_it_does(
    careful: RankingRouter, rule: dict[str, Any]
) -> None:
    pipeline = make_pipeline(clone(careful), BudgetDecider(**rule))
    pipeline.fit(X, Y, costs=C)
    np.testing.assert_array_equal(
        careful.models_[pipeline.predict(FRESH)], careful.route(FRESH, **rule)
    )


@pytest.mark.parametrize("rule", [{}, {"price": 0.05}, {"min_quality": "90%"}])
def test_what_is_explained_is_right_on_average(
    careful: RankingRouter, rule: dict[str, Any]
) -> None:
    why = careful.explain(FRESH, **rule)
    rows = np.arange(len(FRESH))
    chosen = [careful.models_.tolist().index(name) for name in why["chosen"]]
    discounted = split(careful)[0][rows, chosen].mean()
    calibrated = careful.predict_quality(FRESH)[rows, chosen].mean()
    promised = why["expected_quality"].mean()
    assert discounted < calibrated - 0.01
    # What estimates were wrong by in training is a mean over 300 queries.
    assert abs(promised - calibrated) < 0.03
    # What is added to a call and to its runner-up decides nothing.
    margin = why["expected_quality"] - why["runner_up_quality"]
    margin -= why["price"] * (why["expected_cost"] - why["runner_up_cost"])
    np.testing.assert_allclose(why["margin"], margin, atol=1e-12)


# Pools that change, files.


def test_a_model_that_joins_is_discounted_too(careful: RankingRouter) -> None:
    outcomes = np.where(np.arange(300) < 80, Y[:, 0], np.nan)
    larger = careful.add_model("new", outcomes, X=X, costs=0.5)
    assert larger.caution_ == 1.5
    doubt = larger.predict_quality(FRESH) - split(larger)[0]
    assert (doubt[:, -1] >= 0).all()
    assert doubt[:, -1].max() > 0
    np.testing.assert_allclose(
        doubt[:, :5], careful.predict_quality(FRESH) - split(careful)[0], atol=1e-9
    )
    # Decisions are cautious; what a model is worth by itself is not discounted.
    path = larger.price_path_
    np.testing.assert_allclose(
        path.single_quality[:5], larger.predict_quality(X)[:, :5].mean(axis=0)
    )
    smaller = larger.remove_model("model_1")
    assert smaller.caution_ == 1.5
    np.testing.assert_allclose(
        smaller.predict_quality(FRESH) - split(smaller)[0],
        np.delete(doubt, 1, axis=1),
        atol=1e-12,
    )


def test_a_saved_router_is_as_cautious(careful: RankingRouter, tmp_path: Path) -> None:
    skroute.save(careful, tmp_path / "r")
    loaded = skroute.load(tmp_path / "r")
    assert loaded.caution_ == loaded.caution == 1.5
    assert loaded.transform(FRESH).tobytes() == careful.transform(FRESH).tobytes()


@pytest.mark.parametrize("name", ["ranking", "ranking_grown"])
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.filterwarnings("ignore::skroute.exceptions.VersionWarning")
def test_files_of_before_have_no_caution(name: str, number: int) -> None:
    file = KEPT / f"format_{number}" / f"{name}.skroute"
    if not file.exists():
        pytest.skip(f"format {number} has no {name}")
    router = skroute.load(file)
    assert router.caution_ == router.caution == 0
    assert clone(router).get_params()["caution"] == 0


# How it is chosen.


def utility(
    quality: np.ndarray, cost: np.ndarray, truth: np.ndarray, price: float
) -> float:
    choice = (quality - price * cost).argmax(axis=1)
    rows = np.arange(len(quality))
    return float((truth - price * cost)[rows, choice].mean())


def doubtful(seed: int, informed: bool) -> tuple[np.ndarray, ...]:
    """Estimates of 30 alike models, some of which are noise, known or not."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((800, 30)) < 0.5).astype(float)
    doubt = rng.choice([0.01, 0.2], size=truth.shape)
    error = doubt if informed else rng.permuted(doubt, axis=1)
    signal = 0.1 * (truth - 0.5) * (error < 0.1)
    quality = 0.5 + signal + rng.normal(size=truth.shape) * error
    cost = np.tile(np.linspace(1.0, 3.0, 30), (800, 1))
    return quality, cost, doubt, truth


@pytest.mark.parametrize("seed", range(3))
def test_doubt_that_tells_of_errors_is_followed(seed: int) -> None:
    quality, cost, doubt, truth = doubtful(seed, informed=True)
    chosen = choose_caution(quality, cost, doubt, truth, cost)
    assert chosen in (0.25, 0.5, 1.0, 2.0)
    fresh_quality, _, fresh_doubt, fresh = doubtful(seed + 100, informed=True)
    careful = fresh_quality - chosen * fresh_doubt
    assert utility(careful, cost, fresh, 0.01) > utility(
        fresh_quality, cost, fresh, 0.01
    )


def test_doubt_that_tells_nothing_is_seldom_followed() -> None:
    found = []
    for seed in range(20):
        quality, cost, doubt, truth = doubtful(seed, informed=False)
        found.append(choose_caution(quality, cost, doubt, truth, cost))
    assert np.count_nonzero(found) <= 3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([2.0**-300, 1.0, 2.0**300]))
def test_what_is_chosen_was_not_worse(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((120, 4))
    quality = truth + 0.5 * rng.normal(size=(120, 4))
    # With equal costs there is one price, and decisions are by quality alone.
    cost, doubt = np.ones((120, 4)), rng.random((120, 4))
    tables = quality * unit, cost, doubt * unit, truth * unit, cost
    chosen = choose_caution(*tables)
    assert choose_caution(*(table[:99] for table in tables)) == 0
    careful = utility(quality - chosen * doubt, cost, truth, 0.0)
    assert careful >= utility(quality, cost, truth, 0.0)


def test_repeats_and_unknown_outcomes_count_for_nothing() -> None:
    quality, cost, doubt, truth = doubtful(0, informed=True)
    expected = choose_caution(quality, cost, doubt, truth, cost)
    repeated = [np.vstack([table, table]) for table in (quality, cost, doubt)]
    unknown = np.vstack([truth, np.full(truth.shape, np.nan)])
    assert choose_caution(*repeated, unknown, np.vstack([cost, cost])) == expected
    holes = np.where(np.random.default_rng(0).random(truth.shape) < 0.5, truth, np.nan)
    paid = np.where(np.isnan(holes), np.nan, cost)
    weight = np.ones(truth.shape)
    assert choose_caution(quality, cost, doubt, holes, paid, weight) >= 0


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_models_in_another_order_get_the_same_caution(share: float) -> None:
    known = np.random.default_rng(0).random(Y.shape) >= share
    y = np.where(known, Y, np.nan)
    turn = np.array([3, 0, 4, 1, 2])
    for caution in ("auto", 1.0):
        straight = fit(caution, y)
        turned = clone(straight).fit(X, y[:, turn], costs=C[:, turn])
        assert turned.caution_ == straight.caution_
        np.testing.assert_array_equal(
            turned.predict_quality(FRESH), straight.predict_quality(FRESH)[:, turn]
        )
        np.testing.assert_array_equal(split(turned)[0], split(straight)[0][:, turn])
        assert np.isfinite(turned.transform(FRESH)).all()


@pytest.mark.parametrize(
    "caution", [-0.5, "automatic", None, True, float("nan"), float("inf"), [1.0]]
)
def test_other_values_are_refused(caution: Any) -> None:
    with pytest.raises(ValueError, match=r"caution must be .*; got"):
        fit(caution)


# On a real table.


@pytest.mark.slow
def test_with_71_models_caution_pays(shared_data: Path) -> None:
    table = read_routerbench(
        shared_data / "bfcl.csv.gz", embeddings=shared_data / "bfcl_minilm.npy"
    )
    train, test = train_test_split(
        np.arange(len(table.data)), test_size=0.3, random_state=0
    )
    router = RankingRouter(n_estimators=0, random_state=0)
    router.fit(table.data[train], table.quality[train], costs=table.costs[train])
    assert router.caution_ > 0
    y, costs = table.quality[test], table.costs[test]
    cost = router.predict_cost(table.data[test])
    careful, _ = split(router, table.data[test])
    calibrated = router.predict_quality(table.data[test])
    gain = normalized_auc(y, costs, careful, cost) - normalized_auc(
        y, costs, calibrated, cost
    )
    assert gain > 0.004
    # The largest of 71 estimates is too large, but not what is said of a call.
    rows, largest = np.arange(len(test)), calibrated.argmax(axis=1)
    assert (calibrated - y)[rows, largest].mean() > 0.03
    why = router.explain(table.data[test], price=0.0)
    worth = y[rows, careful.argmax(axis=1)].mean()
    assert abs(why["expected_quality"].mean() - worth) < 0.04

"""The displays: what they draw, and that they draw it as they did."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.style import context as style_context
from matplotlib.testing.compare import compare_images
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skroute import BudgetDecider, CascadeDecider, DummyRouter, PointwiseRouter
from skroute.datasets import make_routing
from skroute.metrics import (
    oracle_choice,
    oracle_curve,
    oracle_luck,
    quality_neutral_cost,
    routing_curve,
    top2_margin,
)
from skroute.plotting import (
    CallShareDisplay,
    CascadeDisplay,
    MarginDisplay,
    PoolDisplay,
    RoutingCurveDisplay,
)
from skroute.plotting.style import BAD, MUTED

BASELINE = Path(__file__).parents[1] / "baseline"
# Root mean square over pixels of 0 to 255. matplotlib 3.8 and 3.11 draw the same to the
# pixel; without the smallest artist, the rings of the single models, it is 2.3.
TOLERANCE = 1.5


def table(n_models: int = 4, n_queries: int = 300):
    """Outcomes, and estimates that know half of them."""
    data = make_routing(n_queries, n_models=n_models, random_state=0)
    noise = np.random.default_rng(0).random(data.quality.shape)
    return data.quality, data.costs, (data.quality + noise) / 2, data.costs


@pytest.fixture
def ax():
    """Axes outside pyplot, whose figures would stay."""
    return Figure(figsize=(5, 3.6), dpi=80, layout="constrained").subplots()


@pytest.fixture(scope="module")
def fitted():
    data = make_routing(300, n_models=4, random_state=0)
    router = PointwiseRouter(Ridge(), random_state=0)
    router.fit(data.data[:200], data.quality[:200], costs=data.costs[:200])
    return router, data.data[200:], data.quality[200:], data.costs[200:]


def test_curves_are_those_of_the_metrics(fitted, ax):
    router, X, y, costs = fitted
    peer = DummyRouter("cheapest").fit(X, y, costs=costs)
    display = RoutingCurveDisplay.from_estimator(
        router, X, y, costs=costs, peers={"cheapest": peer}, ax=ax, color="red"
    )
    curve = routing_curve(y, costs, *np.hsplit(router.transform(X), 2))
    np.testing.assert_array_equal(display.line_.get_xdata(), curve.cost)
    np.testing.assert_array_equal(display.line_.get_ydata(), curve.quality)
    assert display.line_.get_color() == "red"
    oracle = oracle_curve(y, costs)
    np.testing.assert_array_equal(display.oracle_line_.get_ydata(), oracle.quality)
    assert list(display.peer_lines_) == ["cheapest"]
    best = curve.best_single
    np.testing.assert_array_equal(
        display.best_single_.get_offsets(),
        [[curve.model_cost[best], curve.model_quality[best]]],
    )
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    luck = oracle_luck(y, quality=np.hsplit(router.transform(X), 2)[0])
    assert 0 < luck.high < luck.lead
    assert texts == [
        *("PointwiseRouter", "cheapest", f"best single: model_{best}"),
        *("single models", "random mixture"),
        f"oracle (hindsight, up to {luck.high / luck.lead:.0%} luck)",
    ]


def legend_of(ax) -> list[tuple[str, tuple]]:
    """Labels and colours of the legend's lines."""
    legend = ax.get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    return list(zip(texts, map(color_of, legend.legend_handles), strict=True))


def color_of(handle) -> tuple:
    color = handle.get_color() if hasattr(handle, "get_color") else handle.get_label()
    return to_rgba(color) if hasattr(handle, "get_color") else color


def test_displays_on_one_axes_are_told_apart(fitted, ax):
    """The second router had the first one's colour, and took it out of the legend."""
    router, X, y, costs = fitted
    other = DummyRouter("random", random_state=0).fit(X, y, costs=costs)
    cheap = DummyRouter("cheapest").fit(X, y, costs=costs)
    ax.plot([0.0, 1e-4], [0.4, 0.5], label="mine")
    displays = [
        RoutingCurveDisplay.from_estimator(shown, X, y, costs=costs, name=name, ax=ax)
        for shown, name in ((router, "a"), (other, "b"))
    ]
    displays.append(
        RoutingCurveDisplay.from_estimator(
            *(router, X, y), costs=costs, ax=ax, peers={"p": cheap}, name="a", lw=1
        )
    )
    best = f"best single: model_{displays[0].curve.best_single}"
    labels, colors = zip(*legend_of(ax), strict=True)
    assert labels == (
        *("a", "b", "a (2)", "p"),
        *(best, "single models", "random mixture", labels[7], "mine"),
    )
    assert labels[7].startswith("oracle (hindsight, up to ")
    assert len(set(colors[:4])) == 4
    lines = [display.line_ for display in displays]
    assert [to_rgba(line.get_color()) for line in lines] == list(colors[:3])
    assert lines[2].get_linewidth() == 1


def test_margins_on_one_axes_are_told_apart(fitted, ax):
    router, X, y, _ = fitted
    for name in ("a", "b"):
        MarginDisplay.from_estimator(router, X, y, name=name, ax=ax)
    labels, colors = zip(*legend_of(ax), strict=True)
    assert labels == ("true", "predicted by a", "predicted by b")
    assert len(set(colors)) == 3
    MarginDisplay.from_estimator(router, X, y, name="a", ax=ax)
    assert legend_of(ax)[-1][0] == "predicted by a (2)"


def test_pools_on_one_axes_are_told_apart(ax):
    kept = [[0.5, 1.0], [0.4, 0.9]]
    first = PoolDisplay(["a", "b"], kept).plot(ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1: + a", "2: + b"]
    second = PoolDisplay(["a", "b"], kept, name="pool").plot(ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1: + a", "2: + b"]
    assert first.line_.get_color() != second.line_.get_color()
    assert [label for label, _ in legend_of(ax)] == ["pool", "pool (2)"]
    # No name of the one stands below the pools of the other.
    PoolDisplay(["b", "c", "a"], [[0.2, 0.4, 1.0]], name="c").plot(ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3"]


def test_call_shares_take_the_place_of_those_before(fitted, ax):
    """Areas hide each other, and names of the hidden ones were left on top."""
    router, X, y, costs = fitted
    other = DummyRouter().fit(X, y, costs=costs)
    ax.text(0, 0.5, "mine")
    CallShareDisplay.from_estimator(other, X, y, costs=costs, ax=ax)
    display = CallShareDisplay.from_estimator(router, X, y, costs=costs, ax=ax)
    alone = CallShareDisplay.from_estimator(
        router, X, y, costs=costs, ax=Figure(figsize=(5, 3.6), dpi=80).subplots()
    )
    assert list(ax.collections) == display.areas_
    assert list(ax.patches) == display.oracle_bars_
    assert len(ax.texts) == len(alone.ax_.texts) + 1


@pytest.mark.parametrize(
    "display", [RoutingCurveDisplay, CallShareDisplay, MarginDisplay]
)
def test_displays_are_called_alike(fitted, ax, display):
    router, X, y, costs = fitted
    shown = display.from_estimator(router, X, y, costs=costs, name="r", ax=ax, lw=3)
    drawn = {
        RoutingCurveDisplay: "line_",
        CallShareDisplay: "areas_",
        MarginDisplay: "predicted_line_",
    }
    assert np.ravel(getattr(shown, drawn[display]))[0].get_linewidth() == 3


def test_mixtures_are_on_or_above_every_model(ax):
    curve = routing_curve(*table(9))
    cost, quality = curve.mixture()
    assert (np.diff(cost) > 0).all()
    assert (np.diff(quality) > 0).all()
    assert (np.diff(np.diff(quality) / np.diff(cost)) < 0).all()
    reached = np.interp(curve.model_cost, cost, quality)
    assert (curve.model_quality <= reached + 1e-12).all()
    display = RoutingCurveDisplay(curve).plot(ax)
    np.testing.assert_array_equal(display.mixture_line_.get_xdata(), cost)
    assert display.oracle_line_ is None


def test_predictions_and_estimators_draw_the_same(fitted):
    router, X, y, costs = fitted
    estimates = np.hsplit(router.transform(X), 2)
    for display in (RoutingCurveDisplay, CallShareDisplay):
        axes = Figure().subplots(1, 2)
        one = display.from_estimator(router, X, y, costs=costs, ax=axes[0])
        other = display.from_predictions(y, costs, *estimates, ax=axes[1])
        np.testing.assert_array_equal(one.curve.quality, other.curve.quality)
        np.testing.assert_array_equal(one.oracle.quality, other.oracle.quality)
    one = MarginDisplay.from_estimator(router, X, y, ax=axes[0])
    other = MarginDisplay.from_predictions(y, estimates[0], ax=axes[1])
    np.testing.assert_array_equal(one.predicted, other.predicted)
    np.testing.assert_array_equal(one.true, other.true)


def test_pipelines_and_named_columns(fitted, metadata_routing):
    _, X, y, costs = fitted
    y = pd.DataFrame(y, columns=["d", "c", "b", "a"])
    costs = pd.DataFrame(costs, columns=y.columns)
    pipeline = make_pipeline(
        StandardScaler(), PointwiseRouter(Ridge()), BudgetDecider(min_quality="90%")
    ).fit(X, y, costs=costs)
    shown = {"costs": costs[["a", "b", "c", "d"]], "ax": Figure().subplots()}
    turned = CallShareDisplay.from_estimator(
        pipeline, X, y[["a", "b", "c", "d"]], **shown
    )
    straight = CallShareDisplay.from_estimator(pipeline, X, y, **shown)
    assert straight.curve.models.tolist() == ["d", "c", "b", "a"]
    np.testing.assert_array_equal(turned.curve.call_share, straight.curve.call_share)
    np.testing.assert_array_equal(turned.oracle.quality, straight.oracle.quality)


def test_prices_of_the_router_count_where_there_are_no_costs(fitted, ax):
    router, X, y, _ = fitted
    with pytest.raises(ValueError, match="RoutingCurveDisplay needs costs"):
        RoutingCurveDisplay.from_estimator(router, X, y)
    priced = PointwiseRouter(Ridge(), costs=[1.0, 2.0, 3.0, 4.0]).fit(X, y)
    display = RoutingCurveDisplay.from_estimator(priced, X, y, ax=ax)
    np.testing.assert_allclose(display.curve.model_cost, [1, 2, 3, 4])


def test_the_curve_can_be_replayed_by_its_prices(fitted):
    router, X, y, costs = fitted
    curve = routing_curve(y, costs, *np.hsplit(router.transform(X), 2))
    for point in range(1, len(curve.price), 7):  # the first price is infinite
        names = router.route(X, price=curve.price[point])
        chosen = pd.Index(router.models_).get_indexer(names)
        rows = np.arange(len(y))
        assert y[rows, chosen].mean() == pytest.approx(curve.quality[point])
        assert costs[rows, chosen].mean() == pytest.approx(curve.cost[point])
    assert curve.price[0] == np.inf
    capped = routing_curve(y, costs, *np.hsplit(router.transform(X), 2), scope="query")
    assert np.isnan(capped.price).all()


def test_bands_fill_the_axes_from_the_cheapest_to_the_most_expensive(ax):
    y, costs, quality, cost = table(4)
    display = CallShareDisplay.from_predictions(y, costs, quality, cost, ax=ax)
    assert len(display.areas_) == 4
    tops = np.array(
        [area.get_paths()[0].vertices[:, 1].max() for area in display.areas_]
    )
    assert tops[-1] == pytest.approx(1.0)
    names = [text.get_text() for text in display.legend_.get_texts()]
    expensive_first = np.argsort(-costs.mean(axis=0))
    assert names == [f"model_{model}" for model in expensive_first]
    assert to_rgba(BAD) == tuple(display.areas_[-1].get_facecolor()[0])
    calls = np.bincount(oracle_choice(y, costs), minlength=4) / len(y)
    heights = [bar.get_height() for bar in display.oracle_bars_]
    np.testing.assert_allclose(heights, calls[expensive_first[::-1]])


@pytest.mark.slow
def test_models_that_are_hardly_called_share_a_band(ax):
    y, costs, quality, cost = table(20)
    quality = quality.copy()
    quality[:, [3, 5, 19]] = -1.0
    y[:, [3, 5, 19]] = 0.0
    display = CallShareDisplay.from_predictions(y, costs, quality, cost, ax=ax)
    names = [text.get_text() for text in display.legend_.get_texts()]
    others = names[-1]
    assert others == "8 others"
    assert len(names) == 13
    assert "model_3" not in names
    # The strongest model has its own band, even if it is never called.
    assert names[0] == f"model_{display.curve.strongest}"
    assert to_rgba(MUTED) == tuple(display.areas_[0].get_facecolor()[0])


def test_the_models_that_are_called_most_have_a_band_of_71(ax):
    """Ten are called most where money is no object, the cheapest where it is short."""
    n_models = 71
    calls = np.r_[np.arange(n_models), np.repeat(np.arange(20, 30), 30)]
    y = np.eye(n_models)[calls]
    costs = np.linspace(1.0, 2.0, n_models)
    cost = np.tile(costs, (len(y), 1))
    display = CallShareDisplay.from_predictions(y, costs, y, cost, ax=ax)
    names = [text.get_text() for text in display.legend_.get_texts()]
    own = [f"model_{model}" for model in (70, *range(29, 19, -1), 0)]
    assert names == [*own, "59 others, < 1% each"]
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in display.areas_]
    assert tops[-1] == pytest.approx(1.0)
    # As many others that are called more have no share of each in their name.
    y = np.eye(n_models)
    display = CallShareDisplay.from_predictions(
        y, costs, y, np.tile(costs, (len(y), 1)), ax=ax
    )
    names = [text.get_text() for text in display.legend_.get_texts()]
    assert len(names) == 13
    assert names[-1] == "59 others"


@pytest.mark.parametrize("dear", [99.0, 101.0])
def test_costs_far_apart_are_drawn_on_one_kind_of_axis(dear, ax):
    """Every picture of one router has the same scale."""
    y, costs = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), [1.0, dear]
    estimates = y, np.tile(costs, (3, 1))
    scale = "log" if dear > 100 else "linear"
    lines = RoutingCurveDisplay.from_predictions(y, costs, *estimates, ax=ax)
    assert lines.ax_.get_xscale() == scale
    twin = Figure(figsize=(5, 3.6), dpi=80, layout="constrained")
    one, two = twin.subplots(ncols=2)
    curve = lines.curve
    cascade = CascadeDisplay.from_curves(curve, routing=curve, ax=one)
    assert cascade.ax_.get_xscale() == scale
    shares = CallShareDisplay.from_predictions(y, costs, *estimates, ax=two)
    assert two.get_xscale() == scale
    # The column of the oracle stands right of the bands, and is as wide on any scale.
    places = two.transData.transform(
        [(shares.curve.budget[0], 0), (shares.curve.ceiling, 0)]
    )[:, 0]
    bar = shares.oracle_bars_[0]
    column = two.transData.transform(
        [(bar.get_x(), 0), (bar.get_x() + bar.get_width(), 0)]
    )[:, 0]
    reach = places[1] - places[0]
    assert (column[0] - places[1]) / reach == pytest.approx(0.03)
    assert (column[1] - column[0]) / reach == pytest.approx(0.06)
    assert shares.legend_ is not None
    # Nothing is free on a logarithmic scale.
    free = RoutingCurveDisplay.from_predictions(
        y, [0.0, dear], y, np.tile([0.0, dear], (3, 1)), ax=Figure().subplots()
    )
    assert free.ax_.get_xscale() == "linear"


@pytest.mark.parametrize("prices", [[0.0, 0.0], [2.0, 2.0], [1.0, 2.0]])
@pytest.mark.parametrize("scope", ["mean", "query"])
def test_routers_that_always_decide_the_same(prices, scope, ax):
    y = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    estimates = np.tile([0.2, 0.1], (3, 1)), np.tile(prices, (3, 1))
    display = CallShareDisplay.from_predictions(
        y, prices, *estimates, scope=scope, models=["a", "b"], ax=ax
    )
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    assert low < high
    assert len(display.curve.budget) <= 2
    other = Figure().subplots()
    lines = RoutingCurveDisplay.from_predictions(y, prices, *estimates, ax=other)
    if scope == "mean":
        assert lines.line_.get_marker() == "o"
    other.figure.canvas.draw()


def test_margins(ax):
    y, _, quality, _ = table(4)
    y[:50, 1:] = np.nan
    display = MarginDisplay.from_predictions(y, quality, name="mine", ax=ax)
    np.testing.assert_array_equal(display.predicted, top2_margin(quality))
    true = display.true[50:]
    assert np.isnan(display.true[:50]).all()
    at, share = display.true_line_.get_data()
    assert share[np.searchsorted(at, 0.5) - 1] == pytest.approx(np.mean(true <= 0.5))
    assert "predicted by mine" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_wrong_margins():
    y, _, quality, _ = table(4)
    with pytest.raises(ValueError, match=r"shape of y, \(300, 4\); got \(300, 3\)"):
        MarginDisplay.from_predictions(y, quality[:, :3])
    with pytest.raises(ValueError, match="two models"):
        MarginDisplay.from_predictions(y[:, :1], quality[:, :1])
    y[:, 1:] = np.nan
    with pytest.raises(ValueError, match="true must hold a known margin"):
        MarginDisplay.from_predictions(y, quality)


def test_estimates_of_other_queries_are_refused(fitted):
    router, X, y, costs = fitted
    with pytest.raises(ValueError, match="same queries"):
        CallShareDisplay.from_estimator(router, X[:50], y, costs=costs)


def test_a_figure_is_made_where_no_axes_are_given():
    import matplotlib.pyplot as pyplot

    before = pyplot.get_fignums()
    display = MarginDisplay([0.1, 0.2], [0.0, 1.0]).plot(color="black")
    assert display.predicted_line_.get_color() == "black"
    assert len(pyplot.get_fignums()) == len(before) + 1
    pyplot.close(display.figure_)


@pytest.fixture(scope="module")
def checked():
    """A cascade of three named models and what it did not see, with exact checks."""
    data = make_routing(240, n_models=3, random_state=0)
    y = pd.DataFrame(data.quality, columns=["small", "middle", "large"])
    router = PointwiseRouter(Ridge(), random_state=0)
    Z = router.fit_transform(data.data[:150], y[:150], costs=data.costs[:150])
    decider = CascadeDecider(min_quality="100%", random_state=0)
    decider.fit(Z, y[:150], costs=data.costs[:150], checks=y[:150])
    return make_pipeline(router, decider), data.data[150:], y[150:], data.costs[150:]


@pytest.mark.slow
def test_a_cascade_is_drawn_beside_routing_and_models(checked, ax):
    pipeline, X, y, costs = checked
    display = CascadeDisplay.from_estimator(
        pipeline, X, y, costs=costs, checks=y, name="tests", ax=ax, lw=3
    )
    router, decider = pipeline
    Z = router.transform(X)
    curve = decider.replay(Z, y, costs, checks=y).curve()
    np.testing.assert_array_equal(display.line_.get_xdata(), curve.cost)
    np.testing.assert_array_equal(display.line_.get_ydata(), curve.quality)
    assert display.line_.get_linewidth() == 3
    routing = routing_curve(y, costs, *np.hsplit(Z, 2))
    np.testing.assert_array_equal(display.routing_line_.get_xdata(), routing.cost)
    assert display.line_.get_ydata().max() > display.routing_line_.get_ydata().max()
    labels, colors = zip(*legend_of(ax), strict=True)
    best = f"best single: {curve.models[curve.best_single]}"
    assert labels == ("tests", "routing alone", best, "single models")
    assert colors[0] != colors[1]


@pytest.mark.slow
def test_a_cascade_is_replayed_where_everything_is_known(checked, ax):
    """Columns in another order, and queries without an outcome, change nothing else."""
    pipeline, X, y, costs = checked
    y, costs = y.copy(), costs.copy()
    y.iloc[::7, 1], costs[::5, 2] = np.nan, np.nan
    kept = y.notna().all(axis=1).to_numpy() & np.isfinite(costs).all(axis=1)
    checks = y.to_numpy()
    shown = {"costs": costs, "checks": checks, "ax": ax}
    gaps = CascadeDisplay.from_estimator(pipeline, X, y, **shown)
    shown |= {"costs": costs[kept], "checks": checks[kept]}
    whole = CascadeDisplay.from_estimator(pipeline, X[kept], y[kept], **shown)
    names = ["large", "small", "middle"]
    shown |= {"costs": costs[kept][:, [2, 0, 1]], "checks": checks[kept][:, [2, 0, 1]]}
    turned = CascadeDisplay.from_estimator(pipeline, X[kept], y[kept][names], **shown)
    for other in (whole, turned):
        np.testing.assert_allclose(other.curve.cost, gaps.curve.cost)
        np.testing.assert_allclose(other.routing.cost, gaps.routing.cost)
        assert other.curve.models.tolist() == ["small", "middle", "large"]


def test_cascades_on_one_axes_are_told_apart(ax):
    curve = routing_curve(*table())
    for name in ("a", "b", "_c$"):
        CascadeDisplay.from_curves(curve, name=name, ax=ax)
    best = f"best single: model_{curve.best_single}"
    labels, colors = zip(*legend_of(ax), strict=True)
    assert labels == ("a", "b", r" _c\$", best, "single models")
    assert len(set(colors[:3])) == 3
    assert CascadeDisplay(curve).plot(ax).routing_line_ is None


def test_what_no_cascade_can_be_drawn_of(fitted, checked, ax):
    router, X, y, costs = fitted
    with pytest.raises(ValueError, match="CascadeDisplay needs a fitted pipeline"):
        CascadeDisplay.from_estimator(router, X, y, costs=costs, checks=y)
    pipeline, X, y, costs = checked
    with pytest.raises(ValueError, match="CascadeDisplay needs a fitted pipeline"):
        CascadeDisplay.from_estimator(pipeline[-1], X, y, costs=costs, checks=y)
    with pytest.raises(ValueError, match="checks must be given, as in fit"):
        CascadeDisplay.from_estimator(pipeline, X, y, costs=costs)
    with pytest.raises(ValueError, match="checks must have shape"):
        CascadeDisplay.from_estimator(
            pipeline, X, y, costs=costs, checks=y.to_numpy()[:, :2]
        )
    with pytest.raises(ValueError, match="no query has all of them"):
        CascadeDisplay.from_estimator(pipeline, X, y * np.nan, costs=costs, checks=y)


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("kind", ["cascade", "curve", "share", "margin"])
def test_no_label_is_clipped(style, kind):
    long = "provider/a-model-with-a-long-name-instruct_$20"
    models, name = [long, "b", "c", "d"], f"router/{long}"
    y, costs, quality, cost = table()
    with style_context(style):
        figure = Figure(figsize=(5, 3), layout="constrained")
        ax = figure.subplots()
        curve = routing_curve(y, costs, quality, cost, models=models)
        if kind == "cascade":
            CascadeDisplay.from_curves(curve, routing=curve, ax=ax)
        elif kind == "margin":
            MarginDisplay.from_predictions(y, quality, name=name, ax=ax)
        else:
            kinds = {"curve": RoutingCurveDisplay, "share": CallShareDisplay}
            kinds[kind](curve).plot(ax, **({"name": name} if kind == "curve" else {}))
        figure.draw_without_rendering()
        page = figure.bbox.padded(0.5)
        texts = [*ax.get_legend().get_texts(), ax.xaxis.label, ax.yaxis.label]
        low, high = ax.get_xlim()
        texts += [t for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high]
        for text in (*texts, *ax.texts):
            box = text.get_window_extent()
            corners = (box.x0, box.y0), (box.x1, box.y1)
            assert all(page.contains(*at) for at in corners), text.get_text()


@pytest.mark.slow
def test_matplotlib_and_jinja2_are_only_imported_by_those_who_need_them():
    code = (
        # Older LightGBM imports matplotlib itself, where it is.
        "import sys, lightgbm; before = set(sys.modules); "
        "import skroute, skroute.metrics, skroute.plotting, skroute.evaluation; "
        "print(sorted({'matplotlib', 'jinja2'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "display",
    [
        RoutingCurveDisplay(routing_curve(*table())),
        CascadeDisplay(routing_curve(*table())),
        CallShareDisplay(routing_curve(*table())),
        MarginDisplay([0.1], [0.1]),
    ],
)
def test_the_extra_is_named_where_matplotlib_is_missing(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"needs matplotlib.*scikit-route\[plot\]"):
        display.plot()


def test_names_are_drawn_as_they_are(ax):
    y, costs, quality, cost = table(3)
    models = ["$x$ and \\frac$", "_hidden", "<script>"]
    shown = {"models": models, "name": "_$router$"}
    estimates = (y, costs, quality, cost)
    shares = CallShareDisplay.from_predictions(*estimates, ax=ax, **shown)
    ax.figure.canvas.draw()
    assert len(shares.legend_.get_texts()) == 3
    other = Figure().subplots()
    lines = RoutingCurveDisplay.from_predictions(*estimates, ax=other, **shown)
    other.figure.canvas.draw()
    labels = [text.get_text() for text in other.get_legend().get_texts()]
    assert labels[0].strip() == r"_\$router\$"
    assert lines.line_.get_label() in labels


def draw(name: str, ax) -> None:
    """Draw one of the pictures that are compared."""
    y, costs, quality, cost = table(20 if name.endswith("20") else 4)
    if name.startswith("curve"):
        blind = np.tile(y.mean(axis=0), (len(y), 1)), cost
        peers = {"mean": blind, "half": ((quality + y.mean(axis=0)) / 2, cost)}
        RoutingCurveDisplay.from_predictions(
            y, costs, quality, cost, peers=peers, name="router", ax=ax
        )
    elif name == "cascade":
        routing = routing_curve(y, costs, quality, cost)
        gained = routing.quality + 0.3 * (1 - routing.quality)
        curve = replace(routing, quality=gained)
        CascadeDisplay.from_curves(curve, routing=routing, ax=ax)
    elif name.startswith("share"):
        CallShareDisplay.from_predictions(y, costs, quality, cost, ax=ax)
    else:
        MarginDisplay.from_predictions(y, quality, ax=ax)


def save(name: str, file: Path, without: int | None = None) -> None:
    """Save a picture without its letters, which move with every release of FreeType.

    What they say is tested above; `without` leaves out the artist of that number.
    """
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        figure = Figure(figsize=(4, 3), dpi=80)
        ax = figure.add_axes((0.02, 0.02, 0.96, 0.96))
        draw(name, ax)
        ax.get_legend().remove()
        for text in list(ax.texts):
            text.remove()
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="", title="")
        if without is not None:
            [*ax.lines, *ax.collections, *ax.patches][without].remove()
        figure.savefig(file, metadata={"Software": None})


PICTURES = ["curve", "curve_20", "cascade", "share", "share_20", "margin"]


@pytest.mark.slow
@pytest.mark.parametrize("n_models", [4, 20])
def test_labels_are_within_their_bands(n_models):
    """No letter lies across an edge, and names that begin alike are told apart."""
    names = [f"provider/some-model-{i:02}-instruct" for i in range(n_models)]
    ax = Figure(figsize=(6, 4)).subplots()
    y, costs, quality, cost = table(n_models)
    display = CallShareDisplay.from_predictions(
        y, costs, quality, cost, models=names, ax=ax
    )
    labels = [text for text in ax.texts if text.get_text() != "oracle"]
    assert len(labels) >= (2 if n_models == 4 else 1)
    assert len({text.get_text() for text in labels}) == len(labels)
    ax.figure.draw_without_rendering()
    for text in labels:
        area = next(
            area for area in display.areas_ if area.get_label() == text.get_text()
        )
        box = text.get_window_extent().transformed(ax.transData.inverted())
        inside = area.get_paths()[0].contains_points(
            [(x, y) for x in np.linspace(box.x0, box.x1, 20) for y in (box.y0, box.y1)]
        )
        assert inside.all(), text.get_text()


@pytest.mark.pictures
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_they_were(name, tmp_path):
    expected, drawn = BASELINE / f"{name}.png", tmp_path / f"{name}.png"
    save(name, drawn)
    assert compare_images(str(expected), str(drawn), TOLERANCE) is None


@pytest.mark.pictures
@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(("curve", i) for i in range(7)),
        *(("cascade", i) for i in range(4)),
        *(("share", 2), ("margin", 0), ("margin", 1)),
    ],
)
def test_the_comparison_sees_a_missing_artist(name, number, tmp_path):
    expected, drawn = BASELINE / f"{name}.png", tmp_path / f"{name}.png"
    save(name, drawn, without=number)
    assert compare_images(str(expected), str(drawn), TOLERANCE) is not None


def test_the_quality_neutral_point_is_on_the_line(fitted, ax):
    router, X, y, costs = fitted
    display = RoutingCurveDisplay.from_estimator(router, X, y, costs=costs, ax=ax)
    curve = display.curve
    neutral = quality_neutral_cost(curve) * curve.model_cost[curve.best_single]
    assert np.isclose(display.line_.get_xdata(), neutral).any()

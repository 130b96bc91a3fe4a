"""Display of the models that a router calls as the budget grows."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from skroute._judged import judge
from skroute.metrics import RoutingCurve, oracle_curve, routing_curve
from skroute.plotting.style import (
    MUTED,
    are_far_apart,
    escape_label,
    is_marked,
    make_axes,
    make_model_colors,
    order_by_cost,
    override_style,
    set_unique_ids,
    wrap_label,
)

# Models that are called less often than this at every budget share one band.
_RARE = 0.01
# Most models with a band of their own.
_MOST = 12
# Height of a line and width of a letter, as parts of the font size. Bands with less
# room are named in the legend only.
_LINE, _LETTER = 1.2, 0.65
# Gap before the oracle's column, and its width, as parts of the range of budgets.
_GAP, _COLUMN = 0.03, 0.06
# Group id of what a display draws, so that a later display can remove it.
_GID = "skroute-call-shares"
_EDGE = {"edgecolor": "white", "linewidth": 0.4, "gid": _GID}
_XLABELS = {
    "mean": "Budget: expected mean cost per query",
    "query": "Budget: cap on the expected cost of a query",
}


@dataclass(repr=False, eq=False)
class CallShareDisplay:
    """Share of the queries that each model is called for, against the budget.

    Use :meth:`from_estimator` or :meth:`from_predictions`. Models are stacked from the
    cheapest (pale) to the strongest (orange): a router that collapses fills with
    orange, as in Lai and Ye, arXiv:2602.03478. The column on the right shows decisions
    in hindsight without a budget, ties to the cheaper model.

    Parameters
    ----------
    curve : RoutingCurve
        The router's curve.
    oracle : RoutingCurve, default=None
        Curve of :func:`~skroute.metrics.oracle_curve`; ``None`` leaves the column out.
    name : str, default=None
        Name of the router, the title of the axes; ``None`` gives none.

    Attributes
    ----------
    areas_ : list of matplotlib PolyCollection
        A band for each entry of the legend, from the cheapest model up.
    oracle_bars_ : list of matplotlib Rectangle
        The parts of the oracle's column, in the same order.
    legend_ : matplotlib Legend
        The legend, in the order of the bands.
    ax_, figure_ : matplotlib Axes and Figure
        What the bands are drawn on.

    Notes
    -----
    At most twelve models have a band: the strongest one, and those that are called most
    at some budget or by the oracle. The others share one grey band, and so do several
    models that are called for less than 1% of the queries at every budget. Budgets are
    drawn on a logarithmic scale where those of :class:`RoutingCurveDisplay` are.

    Examples
    --------
    >>> from skroute import RankingRouter
    >>> from skroute.datasets import make_routing
    >>> from skroute.plotting import CallShareDisplay
    >>> data = make_routing(n_queries=300, random_state=0)
    >>> router = RankingRouter(random_state=0)
    >>> _ = router.fit(data.data[:200], data.quality[:200], costs=data.costs[:200])
    >>> display = CallShareDisplay.from_estimator(
    ...     router, data.data[200:], data.quality[200:], costs=data.costs[200:]
    ... )
    >>> display.ax_.get_ylabel()
    'Share of queries'
    """

    curve: RoutingCurve
    _: KW_ONLY
    oracle: RoutingCurve | None = None
    name: str | None = None

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> CallShareDisplay:
        """Draw the bands.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, in place of an earlier display's bands; ``None`` makes a
            figure.
        name : str, default=None
            Title of the axes; ``None``: that of the constructor.
        **kwargs : dict
            For matplotlib's ``stackplot``.

        Returns
        -------
        CallShareDisplay
            The display, with its artists.
        """
        self.ax_ = ax = make_axes(ax, type(self).__name__)
        self.figure_ = ax.figure
        from matplotlib.collections import PolyCollection
        from matplotlib.ticker import PercentFormatter

        for artist in (*ax.collections, *ax.patches, *ax.texts):
            if is_marked(artist, _GID):
                artist.remove()
        oracle = None if self.oracle is None else self.oracle.call_share[-1]
        budget, share = _extend_to_ceiling(self.curve)
        bands = _stack_shares(self.curve, share, oracle)
        labels, colors = [b.label for b in bands], [b.color for b in bands]
        # A hairline between neighbours of nearly the same shade.
        style = {"colors": colors, "labels": labels, **_EDGE}
        self.areas_ = ax.stackplot(
            budget,
            [band.share for band in bands],
            **override_style(style, kwargs, PolyCollection),
        )
        # Places on the axis, which may be those of the logarithms.
        far = are_far_apart(self.curve, self.oracle)
        ax.set_xscale("log" if far else "linear")
        to_place, to_budget = (np.log, np.exp) if far else (np.asarray, np.asarray)
        place = to_place(budget)
        for band in bands:
            _write_in(ax, band, place, to_budget)
        low, right = place[[0, -1]]
        self.oracle_bars_ = []
        if oracle is not None:
            left = right + _GAP * (right - low)
            right = left + _COLUMN * (right - low)
            begin, end = to_budget([left, right])
            heights = np.array([band.oracle for band in bands])
            self.oracle_bars_ = list(
                ax.bar(
                    begin,
                    heights,
                    end - begin,
                    np.r_[0.0, np.cumsum(heights)[:-1]],
                    align="edge",
                    color=colors,
                    **_EDGE,
                )
            )
            style = {"ha": "right", "va": "bottom", "fontsize": "small", "gid": _GID}
            ax.text(end, 1.01, "oracle", **style)
        ax.set(
            xlim=to_budget([low, right]),
            ylim=(0.0, 1.0),
            xlabel=_XLABELS[self.curve.scope],
            ylabel="Share of queries",
        )
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        title = name or self.name
        if title is not None:
            ax.set_title(escape_label(title))
        self.legend_ = ax.legend(
            self.areas_[::-1],
            [wrap_label(label) for label in labels[::-1]],
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0.0,
            frameon=False,
            fontsize="small",
            title="most expensive first",
            title_fontsize="small",
            alignment="left",
        )
        set_unique_ids(ax, _GID)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        scope: Literal["mean", "query"] = "mean",
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CallShareDisplay:
        """Draw the call shares of a fitted router on queries that it did not see.

        Parameters
        ----------
        estimator, X, y, costs, scope, name, ax : object
            As in :meth:`RoutingCurveDisplay.from_estimator`; the name is the title.
        **kwargs : dict
            For :meth:`plot`.

        Returns
        -------
        CallShareDisplay
            The display, drawn.
        """
        judged = judge(estimator, X, y, costs, cls.__name__)
        display = cls(
            judged.compute_curve(scope),
            oracle=oracle_curve(judged.y, judged.costs, scope=scope),
            name=name or type(estimator).__name__,
        )
        return display.plot(ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        costs: Any,
        quality: Any,
        cost: Any,
        *,
        scope: Literal["mean", "query"] = "mean",
        models: Any = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CallShareDisplay:
        """Draw the call shares that estimates of quality and cost lead to.

        Parameters
        ----------
        y, costs, quality, cost, scope, models : array-like
            As in :func:`~skroute.metrics.routing_curve`.
        name, ax : object
            As in :meth:`plot`.
        **kwargs : dict
            For :meth:`plot`.

        Returns
        -------
        CallShareDisplay
            The display, drawn.
        """
        shared: dict[str, Any] = {"scope": scope, "models": models}
        display = cls(
            routing_curve(y, costs, quality, cost, **shared),
            oracle=oracle_curve(y, costs, **shared),
            name=name,
        )
        return display.plot(ax, **kwargs)


@dataclass(frozen=True)
class _Band:
    """One model of the stack, or several that are rarely called.

    `share` is its share of the queries at each budget, `bottom` that of the bands
    below, both (n_points,); `oracle` is its share in the oracle's decisions.
    """

    label: str
    color: Any
    share: np.ndarray
    bottom: np.ndarray
    oracle: float


def _extend_to_ceiling(curve: RoutingCurve) -> tuple[np.ndarray, np.ndarray]:
    """Return budgets and call shares, with the last share kept up to the ceiling.

    There are at least two different budgets.
    """
    last = curve.budget[-1]
    end = max(last, curve.ceiling)
    if end <= curve.budget[0]:  # every call costs the same
        end = last * 1.1 if last > 0 else 1.0
    if end == last:
        return curve.budget, curve.call_share
    share = np.vstack([curve.call_share, curve.call_share[-1]])
    return np.r_[curve.budget, end], share


def _stack_shares(
    curve: RoutingCurve, share: np.ndarray, oracle: np.ndarray | None
) -> list[_Band]:
    """Stack the call shares, (n_points, n_models), cheapest model at the bottom.

    Models that are rarely called, also by the `oracle`, and all but those that are
    called most, share the first band.
    """
    if oracle is None:
        oracle = np.zeros(len(curve.models))
    order, colors = order_by_cost(curve), make_model_colors(curve)
    most = np.maximum(share.max(axis=0), oracle)[order]
    most[-1] = np.inf  # The picture is about the strongest model: it has its own band.
    rank = np.argsort(np.argsort(-most, kind="stable"))
    rest = (most < _RARE) | (rank >= _MOST)
    groups = [order[rest]] if rest.sum() > 1 else []
    alone = order[~rest] if groups else order
    others = f"{rest.sum()} others"
    if (most[rest] < _RARE).all():
        others += ", < 1% each"
    groups += [np.array([model]) for model in alone]
    bands, bottom = [], np.zeros(len(share))
    for group in groups:
        several = len(group) > 1
        bands.append(
            _Band(
                others if several else escape_label(curve.models[group[0]]),
                MUTED if several else tuple(colors[group[0]]),
                share[:, group].sum(axis=1),
                bottom,
                float(oracle[group].sum()),
            )
        )
        bottom = bottom + bands[-1].share
    return bands


def _write_in(ax: Any, band: _Band, place: np.ndarray, to_budget: Any) -> None:
    """Write a band's label into it where there is most room, if there is enough.

    `place`, (n_points,), are places on the axis, which `to_budget` turns into budgets.
    A name that does not fit is left to the legend: a cut one may be taken for another.
    """
    at = np.linspace(place[0], place[-1], 201)
    bottom = np.interp(at, place, band.bottom)
    top = bottom + np.interp(at, place, band.share)
    line, letter = _measure_letters(ax)
    width = int(len(band.label) * letter * (len(at) - 1)) + 1
    if width > len(at):
        return
    # The highest box of that width between the edges of the band.
    floor = sliding_window_view(bottom, width).max(axis=1)
    room = sliding_window_view(top, width).min(axis=1) - floor
    start = int(room.argmax())
    if room[start] < line:
        return
    ax.text(
        float(to_budget(at[[start, start + width - 1]].mean())),
        floor[start] + room[start] / 2,
        band.label,
        ha="center",
        va="center",
        fontsize="small",
        color="black",
        clip_on=True,
        gid=_GID,
    )


def _measure_letters(ax: Any) -> tuple[float, float]:
    """Measure the height of a line and the width of a letter, as parts of the axes."""
    from matplotlib.font_manager import FontProperties

    size = FontProperties(size="small").get_size_in_points() * ax.figure.dpi / 72
    box = ax.get_window_extent()
    return _LINE * size / box.height, _LETTER * size / box.width

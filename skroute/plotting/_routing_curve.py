"""Display of quality against cost: a router, its competitors and the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from skroute._judged import judge
from skroute.metrics import (
    OracleLuck,
    RoutingCurve,
    oracle_curve,
    oracle_luck,
    routing_curve,
)
from skroute.plotting.style import (
    MUTED,
    ROUTER,
    draw_legend,
    draw_models,
    find_routers,
    iterate_styles,
    make_axes,
    name_router,
    override_style,
    spread_costs,
)

_ORACLE = "oracle (hindsight"


@dataclass(repr=False, eq=False)
class RoutingCurveDisplay:
    """Mean quality against mean cost, at every budget.

    Use :meth:`from_estimator` or :meth:`from_predictions`. Beside the router it shows
    the single models, the best single model, random mixtures of models, the oracle that
    decides in hindsight, and other routers. Costs that differ by more than a factor of
    100 are drawn on a logarithmic scale.

    Parameters
    ----------
    curve : RoutingCurve
        The router's curve.
    oracle : RoutingCurve, default=None
        Curve of :func:`~skroute.metrics.oracle_curve`; ``None`` leaves it out.
    luck : OracleLuck, default=None
        From :func:`~skroute.metrics.oracle_luck`: how much of the oracle's lead over
        the best single model may be luck, which the legend says; ``None`` leaves it
        out.
    peers : dict of str to RoutingCurve, default=None
        Curves of other routers on the same queries, by name.
    name : str, default=None
        Name of the router in the legend; ``None`` calls it "router". A name that is
        taken on the axes is numbered.

    Attributes
    ----------
    line_, oracle_line_, mixture_line_ : matplotlib Line2D
        The router, the oracle (or None), and models drawn at random.
    peer_lines_ : dict of str to matplotlib Line2D
        Other routers.
    models_, best_single_ : matplotlib PathCollection
        Single models, and the best of them.
    ax_, figure_ : matplotlib Axes and Figure
        What the curves are drawn on.

    Examples
    --------
    >>> from skroute import RankingRouter
    >>> from skroute.datasets import make_routing
    >>> from skroute.plotting import RoutingCurveDisplay
    >>> data = make_routing(n_queries=300, random_state=0)
    >>> router = RankingRouter(random_state=0)
    >>> _ = router.fit(data.data[:200], data.quality[:200], costs=data.costs[:200])
    >>> display = RoutingCurveDisplay.from_estimator(
    ...     router, data.data[200:], data.quality[200:], costs=data.costs[200:]
    ... )
    >>> display.ax_.get_ylabel()
    'Mean quality'
    """

    curve: RoutingCurve
    _: KW_ONLY
    oracle: RoutingCurve | None = None
    luck: OracleLuck | None = None
    peers: Mapping[str, RoutingCurve] | None = None
    name: str | None = None

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> RoutingCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name of the router in the legend; ``None``: that of the constructor.
        **kwargs : dict
            For matplotlib's ``plot``, to draw the router's line.

        Returns
        -------
        RoutingCurveDisplay
            The display, with its artists.
        """
        self.ax_ = ax = make_axes(ax, type(self).__name__)
        self.figure_ = ax.figure
        from matplotlib.lines import Line2D

        curve = self.curve
        # Other displays may have drawn on these axes before.
        routers, (others, labels) = find_routers(ax), ax.get_legend_handles_labels()
        styles = iterate_styles(ax)
        self.oracle_line_ = None
        if self.oracle is not None:
            style = {"color": MUTED, "linestyle": "--", "linewidth": 1.2}
            (self.oracle_line_,) = ax.plot(
                self.oracle.cost,
                self.oracle.quality,
                label=_name_oracle(self.luck, labels),
                **style,
            )
        (self.mixture_line_,) = ax.plot(
            *curve.mixture(),
            color=MUTED,
            linestyle=":",
            linewidth=1.4,
            label="random mixture",
        )
        # A router that decides the same at any budget is a single point, not a line.
        marker = "o" if len(curve.cost) == 1 else ""
        own = {**next(styles), "linewidth": 2.2, "marker": marker, "zorder": 3}
        own |= {"label": name_router(ax, name or self.name or "router"), "gid": ROUTER}
        (self.line_,) = ax.plot(
            curve.cost, curve.quality, **override_style(own, kwargs, Line2D)
        )
        self.peer_lines_ = {}
        for peer, other in (self.peers or {}).items():
            (self.peer_lines_[peer],) = ax.plot(
                other.cost,
                other.quality,
                label=name_router(ax, peer),
                linewidth=1.3,
                gid=ROUTER,
                **next(styles),
            )
        self.models_, self.best_single_ = draw_models(ax, curve)
        spread_costs(ax, curve, self.oracle, *(self.peers or {}).values())
        ax.set(xlabel="Mean cost per query", ylabel="Mean quality")
        handles = [
            *routers,
            self.line_,
            *self.peer_lines_.values(),
            self.best_single_,
            self.models_,
            self.mixture_line_,
            self.oracle_line_,
            *(other for other in others if other not in routers),
        ]
        draw_legend(ax, handles, "best")
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
        peers: Mapping[str, Any] | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> RoutingCurveDisplay:
        """Draw the curves of fitted routers on queries that they did not see.

        Parameters
        ----------
        estimator : estimator
            A fitted router, or a pipeline or search that holds one.
        X : array-like of shape (n_queries, n_features)
            What the estimator takes.
        y : array-like of shape (n_queries, n_models)
            Observed qualities. Queries with an unknown quality or cost are left out.
        costs : array-like of shape (n_models,) or (n_queries, n_models), default=None
            Observed costs. May be left out if the router was fitted on prices.
        scope : {"mean", "query"}, default="mean"
            How the budget is swept, see :func:`~skroute.metrics.routing_curve`.
        peers : dict of str to estimator, default=None
            Other fitted routers, by name.
        name : str, default=None
            Name of the router; ``None``: that of its class.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        **kwargs : dict
            For :meth:`plot`.

        Returns
        -------
        RoutingCurveDisplay
            The display, drawn.
        """
        judged = judge(estimator, X, y, costs, cls.__name__)
        display = cls(
            judged.compute_curve(scope),
            oracle=oracle_curve(judged.y, judged.costs, scope=scope),
            luck=oracle_luck(judged.y, quality=judged.quality),
            peers={
                peer: judge(other, X, y, costs, cls.__name__).compute_curve(scope)
                for peer, other in (peers or {}).items()
            },
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
        peers: Mapping[str, tuple[Any, Any]] | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> RoutingCurveDisplay:
        """Draw the curves of estimates of quality and cost.

        Parameters
        ----------
        y, costs, quality, cost, scope, models : array-like
            As in :func:`~skroute.metrics.routing_curve`.
        peers : dict of str to tuple of array-like, default=None
            Estimates ``(quality, cost)`` of other routers, by name.
        name, ax : object
            As in :meth:`plot`.
        **kwargs : dict
            For :meth:`plot`.

        Returns
        -------
        RoutingCurveDisplay
            The display, drawn.
        """
        shared: dict[str, Any] = {"scope": scope, "models": models}
        display = cls(
            routing_curve(y, costs, quality, cost, **shared),
            oracle=oracle_curve(y, costs, **shared),
            luck=oracle_luck(y, quality=quality),
            peers={
                peer: routing_curve(y, costs, *estimates, **shared)
                for peer, estimates in (peers or {}).items()
            },
            name=name,
        )
        return display.plot(ax, **kwargs)


def _name_oracle(luck: OracleLuck | None, drawn: list[str]) -> str:
    """Name the oracle in a legend, with what of its lead may be luck.

    An oracle that is drawn already, for another router, keeps its name.
    """
    for label in drawn:
        if label.startswith(_ORACLE):
            return label
    if luck is None or luck.lead == 0:
        return f"{_ORACLE})"
    return f"{_ORACLE}, up to {luck.most_share:.0%} luck)"

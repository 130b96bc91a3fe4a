"""Display of quality against cost: a cascade, routing alone and single models."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from skroute._judged import judge_cascade
from skroute.metrics import RoutingCurve
from skroute.plotting.style import (
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


@dataclass(repr=False, eq=False)
class CascadeDisplay:
    """Mean quality against the mean cost of all calls and checks, at every price.

    Use :meth:`from_estimator` or :meth:`from_curves`. Beside the cascade it shows the
    router alone, which calls one model for each query, the single models, and the best
    of them.

    Parameters
    ----------
    curve : RoutingCurve
        The cascade's curve, of :meth:`CascadeReplay.curve
        <skroute.cascade.CascadeReplay.curve>`.
    routing : RoutingCurve, default=None
        Curve of the router alone on the same queries; ``None`` leaves it out.
    name : str, default=None
        Name of the cascade in the legend; ``None`` calls it "cascade".

    Attributes
    ----------
    line_, routing_line_ : matplotlib Line2D
        The cascade, and the router alone (or None).
    models_, best_single_ : matplotlib PathCollection
        Single models, and the best of them.
    ax_, figure_ : matplotlib Axes and Figure
        What the curves are drawn on.

    Examples
    --------
    Tests tell right answers from wrong ones, so the checks are the outcomes themselves:

    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from skroute import CascadeDecider, PointwiseRouter
    >>> from skroute.datasets import make_routing
    >>> from skroute.plotting import CascadeDisplay
    >>> data = make_routing(n_queries=200, n_models=3, random_state=0)
    >>> X, y, costs = data.data, data.quality, data.costs
    >>> router = PointwiseRouter(Ridge(), random_state=0)
    >>> Z = router.fit_transform(X[:120], y[:120], costs=costs[:120])
    >>> cascade = CascadeDecider(random_state=0).fit(Z, y[:120], costs=costs[:120])
    >>> display = CascadeDisplay.from_estimator(
    ...     make_pipeline(router, cascade), X[120:], y[120:], costs=costs[120:]
    ... )
    >>> display.ax_.get_xlabel()
    'Mean cost per query, of all calls and checks'
    """

    curve: RoutingCurve
    _: KW_ONLY
    routing: RoutingCurve | None = None
    name: str | None = None

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> CascadeDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name of the cascade in the legend; ``None``: that of the constructor.
        **kwargs : dict
            For matplotlib's ``plot``, to draw the cascade's line.

        Returns
        -------
        CascadeDisplay
            The display, with its artists.
        """
        self.ax_ = ax = make_axes(ax, type(self).__name__)
        self.figure_ = ax.figure
        from matplotlib.lines import Line2D

        # Other displays may have drawn on these axes before.
        routers, (others, _) = find_routers(ax), ax.get_legend_handles_labels()
        styles = iterate_styles(ax)
        own = {**next(styles), "linewidth": 2.2, "zorder": 3, "gid": ROUTER}
        own |= {"label": name_router(ax, name or self.name or "cascade")}
        (self.line_,) = ax.plot(
            self.curve.cost, self.curve.quality, **override_style(own, kwargs, Line2D)
        )
        self.routing_line_ = None
        if self.routing is not None:
            (self.routing_line_,) = ax.plot(
                self.routing.cost,
                self.routing.quality,
                label=name_router(ax, "routing alone"),
                linewidth=1.3,
                gid=ROUTER,
                # A router that decides the same at any price is a single point.
                marker="o" if len(self.routing.cost) == 1 else "",
                **next(styles),
            )
        self.models_, self.best_single_ = draw_models(ax, self.curve)
        spread_costs(ax, self.curve, self.routing)
        ax.set(
            xlabel="Mean cost per query, of all calls and checks",
            ylabel="Mean quality",
        )
        handles = [
            *routers,
            self.line_,
            self.routing_line_,
            self.best_single_,
            self.models_,
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
        checks: Any = None,
        answers: Any = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CascadeDisplay:
        """Replay a fitted cascade on queries that it did not see, and draw its curve.

        Parameters
        ----------
        estimator : estimator
            A fitted pipeline, or search, of a router and a
            :class:`~skroute.CascadeDecider` behind it.
        X : array-like of shape (n_queries, n_features)
            What the estimator takes.
        y : array-like of shape (n_queries, n_models)
            Observed qualities. Queries with an unknown quality or cost are left out.
        costs : array-like of shape (n_models,) or (n_queries, n_models), default=None
            Observed costs. May be left out if the router was fitted on prices.
        checks, answers : array-like, default=None
            As in :meth:`CascadeDecider.replay <skroute.CascadeDecider.replay>`.
        name : str, default=None
            Name of the cascade in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        **kwargs : dict
            For :meth:`plot`.

        Returns
        -------
        CascadeDisplay
            The display, drawn.
        """
        judged, replay = judge_cascade(
            estimator, X, y, costs, checks, answers, cls.__name__
        )
        return cls.from_curves(
            replay.curve(), routing=judged.compute_curve(), name=name, ax=ax, **kwargs
        )

    @classmethod
    def from_curves(
        cls,
        curve: RoutingCurve,
        *,
        routing: RoutingCurve | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CascadeDisplay:
        """Draw curves that are there already.

        Parameters
        ----------
        curve, routing : RoutingCurve
            As in the constructor.
        name, ax : object
            As in :meth:`plot`.
        **kwargs : dict
            For :meth:`plot`.

        Returns
        -------
        CascadeDisplay
            The display, drawn.
        """
        return cls(curve, routing=routing, name=name).plot(ax, **kwargs)

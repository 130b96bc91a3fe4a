"""Display of the margins by which the best model of a query beats the second."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from skroute._judged import extract_router, find_models
from skroute._table.alignment import align, check_given
from skroute.metrics import top2_margin
from skroute.plotting.style import (
    BAD,
    ROUTER,
    draw_legend,
    iterate_styles,
    make_axes,
    name_router,
    override_style,
)


@dataclass(repr=False, eq=False)
class MarginDisplay:
    """Margins between the two best models of every query, predicted and true.

    Use :meth:`from_estimator` or :meth:`from_predictions`. The lines show for which
    share of the queries the two best models differ by at most a margin. Where margins
    are small, small errors flip decisions: a predicted line far left of the true one
    belongs to a router that barely distinguishes models.

    Parameters
    ----------
    predicted : array-like of shape (n_queries,)
        Margins of the expected qualities; ``NaN`` is left out.
    true : array-like of shape (n_queries,)
        Margins of the observed qualities; ``NaN`` is left out.
    name : str, default=None
        Name of the router in the legend; ``None`` gives none.

    Attributes
    ----------
    predicted_line_, true_line_ : matplotlib Line2D
        The two lines.
    ax_, figure_ : matplotlib Axes and Figure
        What the lines are drawn on.

    Examples
    --------
    >>> from skroute.plotting import MarginDisplay
    >>> y, quality = [[0, 1], [1, 1]], [[0.2, 0.9], [0.8, 0.9]]
    >>> display = MarginDisplay.from_predictions(y, quality)
    >>> display.true.tolist()
    [1.0, 0.0]
    """

    predicted: Any
    true: Any
    _: KW_ONLY
    name: str | None = None

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> MarginDisplay:
        """Draw the lines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name of the router in the legend; ``None``: that of the constructor.
        **kwargs : dict
            For matplotlib's ``ecdf``, to draw the predicted line.

        Returns
        -------
        MarginDisplay
            The display, with its artists.

        Raises
        ------
        ValueError
            If no margin is known.
        """
        predicted = _check_margins(self.predicted, "predicted")
        true = _check_margins(self.true, "true")
        self.ax_ = ax = make_axes(ax, type(self).__name__)
        self.figure_ = ax.figure
        from matplotlib.lines import Line2D
        from matplotlib.ticker import PercentFormatter

        name = name or self.name
        label = "predicted" if name is None else f"predicted by {name}"
        self.true_line_ = ax.ecdf(
            true, label="true", color=BAD, linestyle="--", linewidth=1.8
        )
        style = {"linewidth": 2.2, "gid": ROUTER, "label": name_router(ax, label)}
        style |= next(iterate_styles(ax))
        self.predicted_line_ = ax.ecdf(
            predicted, **override_style(style, kwargs, Line2D)
        )
        ax.set(
            xlabel="Quality of the best model less that of the second",
            ylabel="Share of queries with at most that",
            ylim=(0.0, 1.02),
        )
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        draw_legend(ax, ax.get_legend_handles_labels()[0], "lower right")
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        costs: Any = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> MarginDisplay:
        """Draw the margins of a fitted router on queries that it did not see.

        Parameters
        ----------
        estimator, X : object
            As in :meth:`RoutingCurveDisplay.from_estimator`.
        y : array-like of shape (n_queries, n_models)
            Observed qualities, at least two known ones in some row.
        costs : None
            Ignored; present so that all displays are called alike.
        name, ax : object
            As in :meth:`RoutingCurveDisplay.from_estimator`.
        **kwargs : dict
            For :meth:`plot`.

        Returns
        -------
        MarginDisplay
            The display, drawn.
        """
        router = extract_router(estimator)
        y, *_ = align(y, models=find_models(router), X=X)
        quality, _ = np.hsplit(np.asarray(router.transform(X)), 2)
        name = name or type(estimator).__name__
        return cls.from_predictions(y, quality, name=name, ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        quality: Any,
        *,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> MarginDisplay:
        """Draw the margins of observed and expected qualities.

        Parameters
        ----------
        y : array-like of shape (n_queries, n_models)
            Observed qualities, at least two known ones in some row.
        quality : array-like of shape (n_queries, n_models)
            A router's estimates.
        name, ax : object
            As in :meth:`plot`.
        **kwargs : dict
            For :meth:`plot`.

        Returns
        -------
        MarginDisplay
            The display, drawn.
        """
        check_given(quality=quality)
        y, _, quality, *_ = align(y, quality=quality)
        display = cls(top2_margin(quality), top2_margin(y), name=name)
        return display.plot(ax, **kwargs)


def _check_margins(margin: Any, name: str) -> np.ndarray:
    margin = np.asarray(margin, dtype=np.float64)
    margin = margin[np.isfinite(margin)]
    if margin.size == 0:
        raise ValueError(
            f"{name} must hold a known margin: no query has two known qualities."
        )
    return margin

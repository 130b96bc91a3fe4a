"""Display of how much of what routing gains a smaller pool of models keeps."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from skroute.plotting.style import (
    ROUTER,
    draw_legend,
    escape_label,
    find_routers,
    iterate_styles,
    make_axes,
    name_router,
    override_style,
)


@dataclass(repr=False, eq=False)
class PoolDisplay:
    """Share of the gain of all models that fewer of them keep.

    Use :meth:`from_pool`. The points are means over the splits, the bars one standard
    error to each side; every model stands below the pool that it completes. Where two
    pools on one axes are completed by different models, their sizes stand there.

    Parameters
    ----------
    models : array-like of str of shape (n_sizes,)
        The models in the order in which they are added.
    kept : array-like of shape (n_splits, n_sizes)
        Share of the gain that is kept on each split.
    name : str, default=None
        Name in the legend; ``None`` gives none.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The means.
    bars_ : matplotlib LineCollection or None
        The standard errors; None for one split.
    ax_, figure_ : matplotlib Axes and Figure
        What they are drawn on.

    Examples
    --------
    >>> from skroute.plotting import PoolDisplay
    >>> display = PoolDisplay(["small", "large"], [[0.0, 1.0], [0.0, 1.0]]).plot()
    >>> display.line_.get_ydata().tolist()
    [0.0, 1.0]
    """

    models: Any
    kept: Any
    _: KW_ONLY
    name: str | None = None

    def plot(
        self, ax: Any = None, *, name: str | None = None, **kwargs: Any
    ) -> PoolDisplay:
        """Draw the shares.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name in the legend; ``None``: that of the constructor.
        **kwargs : dict
            For matplotlib's ``plot``, to draw the line.

        Returns
        -------
        PoolDisplay
            The display, with its artists.

        Raises
        ------
        ValueError
            If `kept` does not have a column for each of `models`.
        """
        models, kept = list(map(str, self.models)), np.atleast_2d(self.kept)
        if kept.ndim != 2 or kept.shape[1] != len(models):
            raise ValueError(
                f"kept must have a column for each of the {len(models)} models; got "
                f"shape {kept.shape}."
            )
        self.ax_ = ax = make_axes(ax, type(self).__name__)
        self.figure_ = ax.figure
        from matplotlib.lines import Line2D
        from matplotlib.ticker import PercentFormatter

        at, mean = np.arange(1, len(models) + 1), kept.mean(axis=0)
        name = name or self.name
        others = find_routers(ax)
        before = [label.get_text() for label in ax.get_xticklabels()] if others else []
        style = {"linewidth": 2.2, "gid": ROUTER, **next(iterate_styles(ax))}
        style |= {"marker": "o", "label": name_router(ax, name or "pool")}
        (self.line_,) = ax.plot(at, mean, **override_style(style, kwargs, Line2D))
        self.bars_ = None
        if len(kept) > 1:
            error = kept.std(axis=0, ddof=1) / len(kept) ** 0.5
            self.bars_ = ax.vlines(
                at, mean - error, mean + error, color=self.line_.get_color()
            )
        ax.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
        labels = [f"{k}: + {escape_label(model)}" for k, model in enumerate(models, 1)]
        if others and before != labels:  # no model stands for both pools
            longest = max(len(labels), len(before))
            ax.set_xticks(range(1, longest + 1), range(1, longest + 1), rotation=0)
        else:
            ax.set_xticks(at, labels, rotation=40, ha="right", rotation_mode="anchor")
        ax.set(xlabel="Models in the pool", ylabel="Share of the gain that is kept")
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if name is not None or others:
            draw_legend(ax, [*others, self.line_], "lower right")
        return self

    @classmethod
    def from_pool(
        cls, pool: Any, *, name: str | None = None, ax: Any = None, **kwargs: Any
    ) -> PoolDisplay:
        """Draw the pools that :func:`~skroute.evaluation.smaller_pool` found.

        Parameters
        ----------
        pool : SmallerPool
            The pools.
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        **kwargs : dict
            For :meth:`plot`.

        Returns
        -------
        PoolDisplay
            The display, drawn.
        """
        return cls(pool.models, pool.kept, name=name).plot(ax, **kwargs)

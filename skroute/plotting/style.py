"""Colours, line styles and axes that displays and reports share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np

from skroute._optional import require
from skroute.metrics import RoutingCurve

# Okabe and Ito's colours can be distinguished with any colour vision; line styles
# differ as well, for print. The grey has a contrast of 3 on white and on black.
GOOD = "#0072B2"
BAD = "#D55E00"
MUTED = "#808080"
_ROUTERS: tuple[dict[str, Any], ...] = (
    {"color": GOOD},
    {"color": "#009E73", "linestyle": (0, (6, 1.5))},
    {"color": "#CC79A7", "linestyle": (0, (4, 1.5, 1, 1.5))},
    {"color": "#E69F00", "linestyle": (0, (2, 1))},
    {"color": "#56B4E9", "linestyle": (0, (6, 1, 1, 1, 1, 1))},
)
_PALE, _DARK = 0.22, 0.95
#: Group id of the lines of routers, to find them on axes that several displays share.
ROUTER = "skroute-router"


def make_axes(ax: Any, user: str) -> Any:
    """Return the axes, or make some; the error without matplotlib names the `user`."""
    require("matplotlib", user, "plot")
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(layout="constrained")
    return ax


def find_routers(ax: Any) -> list[Any]:
    """Find the lines of routers that displays have drawn on some axes, in order."""
    return [line for line in ax.lines if is_marked(line, ROUTER)]


def is_marked(artist: Any, mark: str) -> bool:
    """Whether an artist was drawn with a mark as its group id."""
    return str(artist.get_gid() or "").startswith(mark)


def set_unique_ids(ax: Any, mark: str) -> None:
    """Give marked artists unique group ids, because an SVG uses them as element ids."""
    marked = (artist for artist in ax.get_children() if is_marked(artist, mark))
    for number, artist in enumerate(marked):
        artist.set_gid(f"{mark}-{number}")


def iterate_styles(ax: Any) -> Iterator[dict[str, Any]]:
    """Iterate over the line styles of the next routers on some axes, without end."""
    return islice(cycle(_ROUTERS), len(find_routers(ax)), None)


def override_style(
    style: dict[str, Any], given: dict[str, Any], kind: Any
) -> dict[str, Any]:
    """Replace properties of a style by a user's, who may write ``lw``."""
    from matplotlib.cbook import normalize_kwargs

    return {**style, **normalize_kwargs(given, kind)}


def draw_models(ax: Any, curve: RoutingCurve) -> tuple[Any, Any]:
    """Draw all single models, and the best of them."""
    best = curve.best_single
    models = ax.scatter(
        curve.model_cost,
        curve.model_quality,
        s=18,
        facecolors="none",
        edgecolors=MUTED,
        zorder=2,
        label="single models",
    )
    best_single = ax.scatter(
        curve.model_cost[best],
        curve.model_quality[best],
        s=110,
        marker="*",
        color=BAD,
        zorder=4,
        label=f"best single: {escape_label(curve.models[best])}",
    )
    return models, best_single


def draw_legend(ax: Any, handles: Iterable[Any], place: str) -> None:
    """Draw a legend of all routers, and of one artist for each other label."""
    kept, labels = [], set()
    for handle in handles:
        if handle is None:
            continue
        if is_marked(handle, ROUTER) or handle.get_label() not in labels:
            kept.append(handle)
        labels.add(handle.get_label())
    ax.legend(handles=kept, loc=place, fontsize="small", framealpha=0.8)
    set_unique_ids(ax, ROUTER)


def make_model_colors(curve: RoutingCurve) -> np.ndarray:
    """Return RGBA colours, (n_models, 4): blues, paler for cheap models, and an accent.

    The accent is for the strongest model.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    order = order_by_cost(curve)
    shades = np.linspace(_PALE, _DARK, max(len(order) - 1, 1))[: len(order) - 1]
    colors = np.empty((len(order), 4))
    colors[order] = [*colormaps["Blues"](shades), to_rgba(BAD)]
    return colors


def order_by_cost(curve: RoutingCurve) -> np.ndarray:
    """Order the models by mean cost; ``curve.strongest`` is last in any case."""
    strongest = np.arange(len(curve.models)) == curve.strongest
    return np.lexsort((strongest, curve.model_cost))


def escape_label(name: Any) -> str:
    """Escape a name so that matplotlib draws it as it is.

    Dollars would start a formula, and a leading underscore would hide a label.
    """
    text = str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text

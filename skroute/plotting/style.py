"""Colours, line styles and axes that displays and reports share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, cycle, islice
from textwrap import wrap
from typing import Any

import numpy as np

from skroute._optional import require
from skroute.metrics import RoutingCurve

# Okabe and Ito's colours can be distinguished with any colour vision; line styles
# differ as well, for print. The grey has a contrast of 3 on white and on black.
GOOD = "#0072B2"
BAD = "#D55E00"
MUTED = "#808080"
#: Line styles of routers, in the order in which they are drawn.
ROUTERS: tuple[dict[str, Any], ...] = (
    {"color": GOOD},
    {"color": "#009E73", "linestyle": (0, (6, 1.5))},
    {"color": "#CC79A7", "linestyle": (0, (4, 1.5, 1, 1.5))},
    {"color": "#E69F00", "linestyle": (0, (2, 1))},
    {"color": "#56B4E9", "linestyle": (0, (6, 1, 1, 1, 1, 1))},
)
# Black letters have a contrast of at least 5 on all of them, also on the accent.
_PALE, _DARK = 0.15, 0.65
# Costs whose ratio is larger are drawn on a logarithmic scale: on a linear one, all but
# the most expensive calls would be one point.
_FAR_APART = 100.0
# Letters of a line of a legend.
_N_LETTERS = 34
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
    return islice(cycle(ROUTERS), len(find_routers(ax)), None)


def override_style(
    style: dict[str, Any], given: dict[str, Any], kind: Any
) -> dict[str, Any]:
    """Replace properties of a style by a user's, who may write ``lw``."""
    from matplotlib.cbook import normalize_kwargs

    return {**style, **normalize_kwargs(given, kind)}


def name_router(ax: Any, name: Any) -> str:
    """Make a label that no other router on some axes has."""
    taken = {line.get_label() for line in find_routers(ax)}
    label = escape_label(name)
    numbered = (f"{label} ({number})" for number in count(2))
    return label if label not in taken else next(n for n in numbered if n not in taken)


def are_far_apart(curve: RoutingCurve, *others: RoutingCurve | None) -> bool:
    """Whether the costs of a picture need a logarithmic scale."""
    drawn = [curve.budget, curve.model_cost]
    drawn += [other.cost for other in (curve, *others) if other is not None]
    least = min(float(costs.min()) for costs in drawn)
    return least > 0 and float(curve.model_cost.max()) > _FAR_APART * least


def spread_costs(ax: Any, curve: RoutingCurve, *others: RoutingCurve | None) -> None:
    """Draw costs on a logarithmic scale where they are far apart.

    Axes that have one, by an earlier display or by their owner, keep it.
    """
    if are_far_apart(curve, *others):
        ax.set_xscale("log")


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
    names = [wrap_label(handle.get_label()) for handle in kept]
    ax.legend(kept, names, loc=place, fontsize="small", framealpha=0.8)
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


def wrap_label(label: str, most: int = _N_LETTERS) -> str:
    """Write an escaped label on several lines, where it is too long for one."""
    if len(label) <= most:
        return label
    lines = wrap(label.replace(r"\$", "$"), most)
    return "\n".join(escape_label(line) for line in lines)

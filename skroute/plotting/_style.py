"""Colours, line styles and axes that the displays share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np

from skroute._optional import require

__all__ = [
    "BAD",
    "GOOD",
    "MUTED",
    "ROUTER",
    "axes_for",
    "find_routers",
    "is_marked",
    "list_once",
    "literal",
    "number_marks",
    "override",
    "router_styles",
    "shades",
]

# Okabe and Ito's colours are told apart with any colour vision; styles of line differ
# as well, for print. Grey keeps a contrast of 3 on white and on black.
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
#: Group id of the lines of routers, by which they are known on axes that several share.
ROUTER = "skroute-router"


def axes_for(ax: Any, user: str) -> Any:
    """Take the axes, or make some; says how to install matplotlib.

    Parameters
    ----------
    ax : matplotlib Axes or None
        Axes to draw on.
    user : str
        What draws, as the error calls it.

    Returns
    -------
    matplotlib Axes
        The axes.
    """
    require("matplotlib", user, "plot")
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(layout="constrained")
    return ax


def find_routers(ax: Any) -> list[Any]:
    """Find the lines of routers that displays have drawn on some axes.

    Parameters
    ----------
    ax : matplotlib Axes
        The axes.

    Returns
    -------
    list of matplotlib Line2D
        The lines, in the order in which they were drawn.
    """
    return [line for line in ax.lines if is_marked(line, ROUTER)]


def is_marked(artist: Any, mark: str) -> bool:
    """Tell whether an artist was drawn with a mark as its group id."""
    return str(artist.get_gid() or "").startswith(mark)


def number_marks(ax: Any, mark: str) -> None:
    """Give marked artists group ids of their own: in an SVG they are element ids."""
    marked = (artist for artist in ax.get_children() if is_marked(artist, mark))
    for number, artist in enumerate(marked):
        artist.set_gid(f"{mark}-{number}")


def router_styles(ax: Any) -> Iterator[dict[str, Any]]:
    """Colours and line styles of the next routers on some axes, each unlike the last.

    Parameters
    ----------
    ax : matplotlib Axes
        The axes, maybe with routers on them.

    Returns
    -------
    iterator of dict
        Properties of a line, without end.
    """
    return islice(cycle(_ROUTERS), len(find_routers(ax)), None)


def override(style: dict[str, Any], given: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Let properties that a user gives, by any name, replace those of a style.

    Parameters
    ----------
    style : dict
        The properties that are drawn otherwise.
    given : dict
        Properties of the user; ``lw`` is ``linewidth``.
    kind : type
        Class of the artist.

    Returns
    -------
    dict
        The properties.
    """
    from matplotlib.cbook import normalize_kwargs

    return {**style, **normalize_kwargs(given, kind)}


def list_once(handles: Iterable[Any]) -> list[Any]:
    """List artists for a legend: routers, and one for each label of all else.

    Parameters
    ----------
    handles : iterable of matplotlib artists
        What has a label; ``None`` is left out.

    Returns
    -------
    list of matplotlib artists
        The artists, in their order.
    """
    kept, labels = [], set()
    for handle in handles:
        if handle is None or (
            not is_marked(handle, ROUTER) and handle.get_label() in labels
        ):
            continue
        labels.add(handle.get_label())
        kept.append(handle)
    return kept


def shades(n: int) -> np.ndarray:
    """Colours of models from the cheapest to the dearest: blues, then an accent.

    Parameters
    ----------
    n : int
        Number of models.

    Returns
    -------
    ndarray of shape (n, 4)
        RGBA.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    blues = colormaps["Blues"](np.linspace(_PALE, _DARK, max(n - 1, 1)))[: n - 1]
    return np.vstack([blues, [to_rgba(BAD)]])


def literal(name: Any) -> str:
    """Write a name so that matplotlib draws it as it is.

    Parameters
    ----------
    name : object
        A name from a table.

    Returns
    -------
    str
        A label: dollars start no formula, and a leading underscore hides nothing.
    """
    text = str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text

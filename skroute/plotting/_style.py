"""Colours, line styles and axes that the displays share."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute.datasets._extras import require

__all__ = ["BAD", "GOOD", "MUTED", "PEERS", "axes_for", "literal", "shades"]

# Okabe and Ito's colours are told apart with any colour vision; styles of line differ
# as well, for print. Grey keeps a contrast of 3 on white and on black.
GOOD = "#0072B2"
BAD = "#D55E00"
MUTED = "#808080"
PEERS: tuple[dict[str, Any], ...] = (
    {"color": "#009E73", "linestyle": (0, (6, 1.5))},
    {"color": "#CC79A7", "linestyle": (0, (4, 1.5, 1, 1.5))},
    {"color": "#E69F00", "linestyle": (0, (2, 1))},
    {"color": "#56B4E9", "linestyle": (0, (6, 1, 1, 1, 1, 1))},
)
_PALE, _DARK = 0.22, 0.95


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

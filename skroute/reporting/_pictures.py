"""Pictures of a report: the displays as SVG that follows the colours of the page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from skroute.plotting import (
    CallShareDisplay,
    CascadeDisplay,
    MarginDisplay,
    RoutingCurveDisplay,
)
from skroute.plotting.style import (
    BAD,
    GOOD,
    MUTED,
    ROUTERS,
    escape_label,
    make_model_colors,
    wrap_label,
)
from skroute.reporting._findings import Findings
from skroute.reporting._text import Money

# Small, so that letters can be read on a phone, where a picture is not enlarged.
_SIZE = (3.7, 3.5)
# Placeholders of the page's colours of text and background, in light and dark mode.
_INK, _GROUND = "#010203", "#fdfcfb"
# Colours of lines, for which the page has one of its own in either mode.
_LINES = {
    _INK: "var(--ink)",
    _GROUND: "var(--ground)",
    BAD.lower(): "var(--strong)",
    MUTED: "var(--muted)",
    **{
        style["color"].lower(): f"var(--line-{number})"
        for number, style in enumerate(ROUTERS)
    },
}
# Letters of a label of a legend in two columns, and in one.
_SHORT, _LONG = 24, 48
# Letters of a unit on an axis.
_UNIT = 12
_COLOR = re.compile(r"#[0-9a-f]{6}")
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": _GROUND,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 9,
    "legend.edgecolor": MUTED,
    "legend.facecolor": _GROUND,
    "svg.fonttype": "none",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


@dataclass(frozen=True)
class Picture:
    """An ``<svg>`` element, whose last child is an empty ``<g class="marker">``.

    In its coordinates, `x` and `y`, (n_stops,), are the marked points of the curve, and
    `top` and `bottom` the ends of the axes.
    """

    svg: Markup
    x: np.ndarray
    y: np.ndarray
    top: float
    bottom: float


def draw_pictures(
    findings: Findings, name: str, money: Money, stops: list[int]
) -> dict[str, Picture]:
    """Draw "curve", "shares", "margins" (of several models) and "calibration".

    Where checks are known, "checked" is drawn too.
    The `stops` are the points of the curve that are marked in "curve" and "shares".
    """
    curve, judged = findings.curve, findings.judged
    best = escape_label(curve.models[curve.best_single])
    pictures = {}
    with _set_page_style():
        ax = _make_axes()
        RoutingCurveDisplay(
            curve,
            oracle=findings.oracle,
            luck=findings.luck,
            peers=findings.peers,
            name=name,
        ).plot(ax)
        _move_legend_below(ax, {f"best single: {best}": "best single"})
        _write_money(ax, "Mean cost", money)
        pictures["curve"] = _render_svg(
            ax,
            "curve",
            "Mean quality against mean cost.",
            curve.cost[stops],
            curve.quality[stops],
        )
        if findings.checked is not None:
            ax = _make_axes()
            CascadeDisplay.from_curves(
                findings.checked.curve, routing=curve, name="with checks", ax=ax
            )
            _move_legend_below(ax, {f"best single: {best}": "best single"})
            _write_money(ax, "Mean cost", money)
            pictures["checked"] = _render_svg(
                ax, "checked", "Mean quality against mean cost, with checks."
            )
        ax = _make_axes()
        thinned = replace(
            curve, budget=curve.budget[stops], call_share=curve.call_share[stops]
        )
        display = CallShareDisplay(thinned, oracle=findings.oracle).plot(
            ax, edgecolor=_GROUND
        )
        display.legend_.remove()  # the list beside the slider names the models
        _write_money(ax, "Budget", money)
        pictures["shares"] = _render_svg(
            ax,
            "shares",
            "Share of the queries that each model is called for, against the budget.",
            curve.budget[stops],
            np.zeros(len(stops)),
        )
        if len(judged.models) > 1:
            ax = _make_axes()
            MarginDisplay.from_predictions(judged.y, judged.quality, ax=ax)
            pictures["margins"] = _render_svg(
                ax, "margins", "Margins of the best model over the second best."
            )
        ax = _make_axes()
        _draw_calibration(ax, findings)
        pictures["calibration"] = _render_svg(
            ax, "calibration", "Observed quality against expected quality."
        )
    return pictures


def list_colors(findings: Findings) -> list[str]:
    """List the colours of the models in the picture of call shares, for CSS."""
    from matplotlib.colors import to_hex

    return [to_hex(color) for color in make_model_colors(findings.curve)]


@contextmanager
def _set_page_style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # Letters that matplotlib's font lacks are drawn by the browser.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _make_axes() -> Any:
    # Not through pyplot, which keeps figures and may open windows.
    from matplotlib.figure import Figure

    return Figure(figsize=_SIZE, layout="constrained").subplots()


def _move_legend_below(ax: Any, shorter: dict[str, str]) -> None:
    """Move the legend below the axes, with some labels shortened."""
    legend = ax.get_legend()
    labels = [handle.get_label() for handle in legend.legend_handles]
    labels = [shorter.get(label, label) for label in labels]
    in_two = sum(len(label) > _SHORT for label in labels) <= 1
    legend.remove()
    ax.figure.legend(
        legend.legend_handles,
        [wrap_label(label, _SHORT if in_two else _LONG) for label in labels],
        loc="outside lower center",
        ncols=2 if in_two else 1,
        frameon=False,
    )


def _write_money(ax: Any, label: str, money: Money) -> None:
    unit = money.unit or ""  # a long one would be cut; the page says it elsewhere
    unit = f" ({escape_label(unit)})" if 0 < len(unit) <= _UNIT else ""
    ax.set_xlabel(f"{label} {money.per_text}{unit}")
    if ax.get_xscale() == "linear":
        ax.locator_params(axis="x", nbins=5)
    else:
        ax.xaxis.set_minor_formatter(lambda *_: "")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value * money.per:,.6g}")


def _draw_calibration(ax: Any, findings: Findings) -> None:
    expected = [part.expected for part in findings.bins]
    observed = [part.observed for part in findings.bins]
    ends = min(*expected, *observed), max(*expected, *observed)
    ax.plot(ends, ends, color=MUTED, linestyle=":", label="as expected")
    ax.plot(expected, observed, color=GOOD, marker="o", linewidth=1.2, label="observed")
    ax.set(xlabel="Expected quality", ylabel="Observed mean quality")
    ax.legend(loc="upper left", fontsize="small", framealpha=0.8)


def _render_svg(ax: Any, name: str, label: str, x: Any = (), y: Any = ()) -> Picture:
    """Turn axes into SVG, and locate points on it."""
    import matplotlib

    figure, stream = ax.figure, io.StringIO()
    # The same picture has the same ids; those of different ones differ on the page.
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    text = re.sub(
        r'(?<=style=")[^"]*(?=")',
        lambda style: _COLOR.sub(lambda c: _LINES.get(c[0], c[0]), style[0]),
        text,
    )
    text = text.replace("</svg>", '<g class="marker"></g></svg>')
    height = figure.get_figheight() * 72
    scale = 72 / figure.dpi
    places = ax.transData.transform(np.column_stack([x, y]).reshape(-1, 2)) * scale
    box = ax.get_window_extent()
    return Picture(
        svg=Markup(text),
        x=places[:, 0],
        y=height - places[:, 1],
        top=height - box.y1 * scale,
        bottom=height - box.y0 * scale,
    )

"""Render the numbers of a report as a page."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np

from skroute.metrics import (
    RoutingCurve,
    normalized_auc,
    peak_quality,
    quality_neutral_cost,
    routing_collapse_index,
    strongest_call_share,
)
from skroute.reporting._findings import Findings
from skroute.reporting._pictures import Picture, draw_pictures, list_colors
from skroute.reporting._provenance import Provenance
from skroute.reporting._tables import MOST_POINTS, write_tables
from skroute.reporting._templates import load_templates
from skroute.reporting._text import (
    Money,
    format_number,
    format_percent,
    format_signed,
    write_checked,
    write_headline,
    write_hindsight,
    write_opening,
)

# Models whose calls are shown, at any budget those that are called most.
_N_BARS = 12
_N_LETTERS = 280
_ORACLE = "oracle (hindsight)"


def render(
    findings: Findings,
    *,
    about: Provenance,
    title: str,
    unit: str | None,
    worth: str | None = None,
    least: float = 0.0,
    inside: bool = False,
    show_prompts: bool = False,
) -> str:
    """Render the page as HTML, for a router and costs in some unit.

    It begins with whether routing is worth it, a sentence, if that is known. `least` is
    the smallest budget that the router accepts; `inside`: it is a step of a pipeline.
    """
    name = about.router
    curve = findings.curve
    money = Money.for_amounts_up_to(curve.ceiling, unit)
    stops = _choose_stops(curve, findings.point)
    pictures = draw_pictures(findings, name, money, stops)
    environment = load_templates()
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters |= {
        "percent": format_percent,
        "number": format_number,
        "signed": format_signed,
        "shorten": _shorten,
    }
    script = environment.get_template("slider.js").render()
    best, strongest = (
        str(curve.models[model]) for model in (curve.best_single, curve.strongest)
    )
    claim, meaning = write_headline(findings)
    readouts = _write_readouts(findings, stops, money, least)
    curves = _name_curves(findings, name)
    models, start = _list_models(findings, money), stops.index(findings.point)
    html = environment.get_template("report.html").render(
        findings=findings,
        curve=curve,
        luck=findings.luck,
        name=name,
        about=about,
        inside=inside,
        show_prompts=show_prompts,
        title=title,
        best=best,
        strongest=strongest,
        money=money,
        worth=worth,
        claim=claim,
        meaning=meaning,
        opens=write_opening(findings, money),
        hindsight=write_hindsight(findings),
        checked=None if findings.checked is None else write_checked(findings),
        pictures=pictures,
        routers=_list_routers(curves),
        tables=write_tables(findings, curves, stops),
        bars=_list_bars(models, curve.call_share[findings.point]),
        models=sorted(models, key=lambda model: -model["calls"]),
        start=start,
        stops=readouts,
        slider={
            "per": money.per_text,
            "readouts": readouts,
            "models": [[m["index"], m["name"], m["color"]] for m in models],
            **_collect_places(curve, stops, pictures),
        },
        script=script,
        script_hash=_hash_script(script),
    )
    return html + "\n"


def _choose_stops(curve: RoutingCurve, point: int) -> list[int]:
    """Choose the points of the curve that the slider can be moved to."""
    n_points = len(curve.budget)
    spread = np.linspace(0, n_points - 1, min(n_points, MOST_POINTS))
    return sorted({*spread.round().astype(int).tolist(), point})


def _write_readouts(
    findings: Findings, stops: list[int], money: Money, least: float
) -> list[dict[str, str]]:
    """Write the texts of each stop of the slider."""
    curve = findings.curve
    reference_cost = curve.model_cost[curve.best_single]
    reference_quality = curve.model_quality[curve.best_single]
    readouts = []
    for i in stops:
        cost, quality = curve.cost[i], curve.quality[i]
        cost_share = quality_share = ""
        if reference_cost > 0:
            cost_share = format_percent(cost / reference_cost)
        if reference_quality > 0:
            quality_share = f"{quality / reference_quality:.1%}"
        readouts.append(
            {
                "budget": money.write_amount(curve.budget[i]),
                "cost": money.write_amount(cost),
                "cost_share": cost_share,
                "quality": f"{quality:.3f}",
                "quality_share": quality_share,
                "call": _write_call(curve.budget[i], least),
            }
        )
    return readouts


def _write_call(budget: float, least: float) -> str:
    """Write the call that spends a budget; one below the `least` asks for less."""
    more = ', on_infeasible="cheapest"' if budget < least else ""
    return f"router.route(X, budget={budget:.4g}{more})"


def _collect_places(
    curve: RoutingCurve, stops: list[int], pictures: dict[str, Picture]
) -> dict[str, Any]:
    """Collect the call shares at each stop, and its places in the pictures."""
    at, shares = pictures["curve"], pictures["shares"]
    return {
        "shares": np.round(curve.call_share[stops] * 100, 1).tolist(),
        "curve": np.column_stack([at.x, at.y]).round(2).tolist(),
        "line": {
            "x": shares.x.round(2).tolist(),
            "top": round(shares.top, 2),
            "bottom": round(shares.bottom, 2),
        },
    }


def _list_models(findings: Findings, money: Money) -> list[dict[str, Any]]:
    """List the models, most expensive first, with calls as in the headline."""
    curve, colors = findings.curve, list_colors(findings)
    order = np.argsort(-curve.model_cost, kind="stable")
    return [
        {
            "index": int(i),
            "name": str(curve.models[i]),
            "color": colors[i],
            "calls": float(findings.calls[i]),
            "quality": float(curve.model_quality[i]),
            "cost": money.write_amount(curve.model_cost[i]),
        }
        for i in order
    ]


def _list_bars(models: list[dict[str, Any]], shares: np.ndarray) -> list[Any]:
    """List the models that are called most, and what the others are called together."""
    bars = [
        {**model, "share": round(float(shares[model["index"]]) * 100, 1)}
        for model in sorted(models, key=lambda model: -shares[model["index"]])
    ]
    if len(bars) <= _N_BARS + 1:
        return bars
    rest = max(100 - sum(bar["share"] for bar in bars[:_N_BARS]), 0.0)
    others = {
        "index": -1,
        "name": f"{len(bars) - _N_BARS} others",
        "share": round(rest, 1),
        "color": "var(--muted)",
    }
    return [*bars[:_N_BARS], others]


def _name_curves(findings: Findings, name: str) -> dict[str, RoutingCurve]:
    """Name the curves of all routers, and of the oracle."""
    curves = {name: findings.curve}
    curves |= {
        peer if peer != name else f"{peer} (peer)": curve
        for peer, curve in findings.peers.items()
    }
    return {**curves, _ORACLE: findings.oracle}


def _list_routers(curves: dict[str, RoutingCurve]) -> dict[str, list[str]]:
    """Make a row of metrics for every router, in the order of the table's columns."""
    return {
        label: [
            format_percent(quality_neutral_cost(curve), "not reached"),
            f"{normalized_auc(curve):.3f}",
            f"{peak_quality(curve):.3f}",
            f"{routing_collapse_index(curve):.2f}",
            format_percent(strongest_call_share(curve)),
        ]
        for label, curve in curves.items()
    }


def _shorten(prompt: str | None) -> str:
    """Write a prompt on one line, and cut what is too long."""
    text = " ".join((prompt or "").split())
    if len(text) > _N_LETTERS:
        text = text[: _N_LETTERS - 1].rstrip() + "…"
    return text


def _hash_script(script: str) -> str:
    """Hash the only script that the page's security policy allows."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"

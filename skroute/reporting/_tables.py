"""The numbers behind the pictures of a report, as CSV that its page carries."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from skroute.metrics import RoutingCurve, top2_margin
from skroute.reporting._findings import Findings

# Most rows of a curve; also the largest number of positions of the slider.
MOST_POINTS = 161


def write_tables(
    findings: Findings, curves: Mapping[str, RoutingCurve], stops: list[int]
) -> dict[str, str]:
    """Write a table for each picture, as the address of a link that downloads it.

    `curves` are by name of the router, and the `stops` are points of the first.
    """
    curve, judged = findings.curve, findings.judged
    if findings.checked is not None:
        curves = {**curves, "with checks": findings.checked.curve}
    tables: dict[str, tuple[list[str], Iterable[Any]]] = {
        "curves": (
            ["router", "budget", "cost", "quality"],
            (
                (name, *point)
                for name, other in curves.items()
                for point in zip(
                    *(_thin(c) for c in (other.budget, other.cost, other.quality)),
                    strict=True,
                )
            ),
        ),
        "calls": (
            ["budget", *map(str, curve.models)],
            zip(curve.budget[stops], *curve.call_share[stops].T, strict=True),
        ),
        "models": (
            ["model", "mean_quality", "mean_cost", "calls"],
            zip(
                map(str, curve.models),
                *(curve.model_quality, curve.model_cost, findings.calls),
                strict=True,
            ),
        ),
        "calibration": (["expected", "observed", "calls"], findings.bins),
    }
    if len(curve.models) > 1:
        share = np.linspace(0.0, 1.0, MOST_POINTS)
        margins = top2_margin(judged.quality), top2_margin(judged.y)
        tables["margins"] = (
            ["share_of_queries", "predicted_margin", "true_margin"],
            zip(share, *(np.nanquantile(m, share) for m in margins), strict=True),
        )
    return {name: _address(*table) for name, table in tables.items()}


def _thin(values: np.ndarray) -> np.ndarray:
    which = np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS))
    return values[which.round().astype(int)]


def _address(header: list[str], rows: Iterable[Any]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(header)
    for row in rows:
        writer.writerow(
            [cell if isinstance(cell, str) else f"{cell:.6g}" for cell in row]
        )
    encoded = base64.b64encode(stream.getvalue().encode()).decode()
    return f"data:text/csv;charset=utf-8;base64,{encoded}"

"""A page about routers that were learnt from a log, and judged on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skroute.reporting._templates import load_templates
from skroute.reporting._text import Money, format_number, format_percent

if TYPE_CHECKING:
    from skroute.evaluation import LogEvaluation


def render_log(
    found: LogEvaluation, *, title: str | None = None, unit: str | None = None
) -> str:
    """Render the page as HTML, with costs in some unit."""
    money = Money.for_amounts_up_to(max(v.cost for _, _, v in found.rows), unit)
    rows = []
    for name, rule, value in found.rows:
        quality, cost = (
            [write(end) for end in (middle, *interval)]
            for write, middle, interval in (
                (format_number, value.quality, value.quality_interval),
                (money.write_amount, value.cost, value.cost_interval),
            )
        )
        worth = f"{value.effective_sample_size:,.0f}"
        rows.append((name, rule, quality, cost, worth, format_percent(value.covered)))
    html = (
        load_templates()
        .get_template("log.html")
        .render(
            found=found,
            rows=rows,
            money=money,
            title=title or f"Routing {len(found.models)} models, by a log",
        )
    )
    return html + "\n"

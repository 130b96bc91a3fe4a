"""Where results go: records as JSON here, reports as Markdown pages of the docs.

Shared by the benchmarks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "save"]

#: Folder of the records.
RESULTS = Path(__file__).parent / "results"
_PAGES = Path(__file__).parents[1] / "docs" / "results"


def save(out: Path, records: Any, report: Iterable[str]) -> Path:
    """Write records and their report; returns the path of the report.

    Parameters
    ----------
    out : Path
        Where to write, without an extension. What goes to `RESULTS` has its report
        among the docs, anything else has it beside the records.
    records : list of dict, or dict
        What was measured; a list has a line for each record.
    report : iterable of str
        Lines of Markdown.
    """
    text = json.dumps(records, indent=1)
    if isinstance(records, list):
        text = "[\n" + ",\n".join(map(json.dumps, records)) + "\n]"
    page = (_PAGES if out.parent == RESULTS else out.parent) / f"{out.name}.md"
    for folder in (out.parent, page.parent):
        folder.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(text + "\n")
    page.write_text("\n".join(report) + "\n")
    return page

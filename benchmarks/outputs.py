"""Where results go: records as compressed JSON here, reports among the docs.

Shared by the benchmarks.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "load", "save"]

#: Folder of the records.
RESULTS = Path(__file__).resolve().parent / "results"
_PAGES = Path(__file__).parents[1] / "docs" / "results"
# Records larger than this are compressed.
_LARGE = 1 << 20


def save(
    out: Path,
    records: Any,
    report: Iterable[str],
    table: Iterable[Sequence[str]] = (),
) -> Path:
    """Write records and their report; returns the path of the report.

    Parameters
    ----------
    out : Path
        Where to write, without an extension. What goes to `RESULTS` has its report
        among the docs, anything else has it beside the records.
    records : list of dict, or dict
        What was measured; a list has a line for each record. Records of more than
        1 MiB are compressed.
    report : iterable of str
        Lines of Markdown.
    table : iterable of sequence of str
        Rows of a CSV beside the report, the header first; none if empty.
    """
    text = json.dumps(records, indent=1)
    if isinstance(records, list):
        text = "[\n" + ",\n".join(map(json.dumps, records)) + "\n]"
    page = (
        _PAGES if out.parent.resolve() == RESULTS else out.parent
    ) / f"{out.name}.md"
    for folder in (out.parent, page.parent):
        folder.mkdir(parents=True, exist_ok=True)
    content, plain, packed = f"{text}\n".encode(), *_files(out)
    if len(content) > _LARGE:
        # Without a time of writing, equal records are equal files.
        packed.write_bytes(gzip.compress(content, mtime=0))
        plain.unlink(missing_ok=True)
    else:
        plain.write_bytes(content)
        packed.unlink(missing_ok=True)
    page.write_text("\n".join(report) + "\n")
    rows = list(table)
    if rows:
        with page.with_suffix(".csv").open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)
    return page


def load(out: Path) -> Any:
    """Read records that `save` wrote to `out`; None where there are none."""
    plain, packed = _files(out)
    if packed.exists():
        return json.loads(gzip.decompress(packed.read_bytes()))
    return json.loads(plain.read_bytes()) if plain.exists() else None


def _files(out: Path) -> tuple[Path, Path]:
    return out.with_suffix(".json"), out.with_suffix(".json.gz")

"""A directive that quotes a table of docs/results, so that figures are never copied.

In a page::

    ```{result-table} quality.csv
    :section: pool9, 70/30
    :columns: router; nAUC; QNC
    :rows: RankingRouter; kNN; ridge
    ```

A section, column or row that is no longer there stops the build.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sized
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# Sections of a page of results that are open.
_OPEN = 2
RESULTS = Path(__file__).resolve().parents[1] / "results"


def read_table(page: Path, section: str | None = None) -> list[dict[str, str]]:
    """Rows of the first Markdown table of a page or a section of it, or of a CSV.

    Parameters
    ----------
    page : Path
        The page, or a CSV with the columns "table" and "protocol".
    section : str, default=None
        A heading of level 2, or how it begins; ``None`` takes the whole page. In a CSV,
        "table, protocol" takes the place of a heading.

    Returns
    -------
    list of dict of str to str
        Cells by column.

    Raises
    ------
    ValueError
        If the section is not there, or has no table.
    """
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".csv":
        table = list(csv.DictReader(text.splitlines()))
        section = section or ""
        sections: dict[str, list[dict[str, str]]] = {}
        for row in table:
            key = f"{row.pop('table')}, {row.pop('protocol')}"
            if key.startswith(section):
                sections.setdefault(key, []).append(row)
        _check_section(page, sections, section)
        return next(iter(sections.values()))
    lines = text.splitlines()
    if section is not None:
        starts = [i for i, line in enumerate(lines) if line.startswith(f"## {section}")]
        _check_section(page, starts, section)
        lines = lines[starts[0] + 1 :]
        ends = [i for i, line in enumerate(lines) if line.startswith("## ")]
        lines = lines[: ends[0]] if ends else lines
    first = next((i for i, line in enumerate(lines) if line.startswith("|")), None)
    if first is None:
        raise ValueError(f"{page.name} has no table in section '{section}'.")
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    header, _, *body = rows
    return [dict(zip(header, row, strict=True)) for row in body]


def _check_section(page: Path, found: Sized, section: str) -> None:
    if len(found) != 1:
        raise ValueError(
            f"{page.name} must have one section '{section}'; it has {len(found)}."
        )


def choose(
    table: list[dict[str, str]], columns: list[str], rows: list[str]
) -> list[list[str]]:
    """Take some columns, and the rows of which the first of them is named.

    Parameters
    ----------
    table : list of dict of str to str
        What `read_table` gives.
    columns : list of str
        Columns, in the order wanted; all where empty.
    rows : list of str
        First cells of the rows wanted; all where empty.

    Returns
    -------
    list of list of str
        The header, then the rows in the order of the table.

    Raises
    ------
    ValueError
        If a column or a row is not there.
    """
    columns = columns or list(table[0])
    missing = set(columns) - set(table[0])
    if missing:
        raise ValueError(f"there is no column {sorted(missing)}.")
    missing = set(rows) - {row[columns[0]] for row in table}
    if missing:
        raise ValueError(f"there is no row {sorted(missing)}.")
    body = [[row[name] for name in columns] for row in table]
    return [columns, *(row for row in body if not rows or row[0] in rows)]


def _names(argument: str) -> list[str]:
    return [name.strip() for name in argument.split(";")]


class ResultTable(SphinxDirective):
    """Quote a table of a page of results."""

    required_arguments = 1
    option_spec = {  # noqa: RUF012 (docutils' protocol)
        "section": directives.unchanged_required,
        "columns": _names,
        "rows": _names,
    }

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        page = RESULTS / self.arguments[0]
        self.env.note_dependency(str(page))
        try:
            cells = choose(
                read_table(page, self.options.get("section")),
                self.options.get("columns", []),
                self.options.get("rows", []),
            )
        except (OSError, ValueError) as error:
            raise self.error(f"result-table: {error}") from error
        return [_table(cells)]


def _table(cells: list[list[str]]) -> nodes.table:
    header, *body = cells
    group = nodes.tgroup("", cols=len(header))
    group += [nodes.colspec(colwidth=1) for _ in header]
    group += nodes.thead("", _row(header))
    group += nodes.tbody("", *map(_row, body))
    return nodes.table("", group, classes=["result-table", "colwidths-auto"])


def _row(cells: list[str]) -> nodes.row:
    return nodes.row(
        "", *(nodes.entry("", nodes.paragraph(text=cell)) for cell in cells)
    )


def _mark_wide(app: Sphinx, doctree: nodes.document) -> None:
    """Let the style sheet know the tables of the pages of results."""
    name = app.env.docname
    if name.startswith("results/") and name != "results/index":
        for table in doctree.findall(nodes.table):
            table["classes"].append("wide-table")


def read_headlines(index: str) -> dict[str, str]:
    """What was found, by the name of the page, as the first page of results tells it.

    Parameters
    ----------
    index : str
        The text of that page.

    Returns
    -------
    dict of str to str
        A sentence or two for each page.
    """
    return dict(
        re.findall(r"^\| \[[^]]+\]\((\w+)\.md\) \| (.+) \|$", index, re.MULTILINE)
    )


def fold(text: str) -> str:
    """Fold sections of a page: all but the first two, and those about losses.

    Parameters
    ----------
    text : str
        Markdown with headings of level 2.

    Returns
    -------
    str
        The same, with long pages about as long as a screen.
    """
    start, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    pages = [start]
    for number, section in enumerate(sections):
        title, _, body = section.partition("\n")
        if number < _OPEN or re.search(r"\b(loses?|fails?)\b", title):
            pages.append(f"## {section}")
        else:
            pages.append(f"::::{{dropdown}} {title}\n{body.strip()}\n::::\n\n")
    return "".join(pages)


def _lead(app: Sphinx, docname: str, source: list[str]) -> None:
    """Begin a page of results with what was found, and fold what is for few readers."""
    folder, _, name = docname.rpartition("/")
    if folder != "results" or name == "index":
        return
    index = RESULTS / "index.md"
    app.env.note_dependency(str(index), docname=docname)
    headline = read_headlines(index.read_text(encoding="utf-8")).get(name)
    title, _, rest = source[0].partition("\n")
    lead = "" if headline is None else f"\n**{headline}**\n"
    source[0] = f"{title}\n{lead}{fold(rest)}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive, the mark, and the headlines."""
    app.connect("source-read", _lead)
    app.add_directive("result-table", ResultTable)
    app.connect("doctree-read", _mark_wide)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

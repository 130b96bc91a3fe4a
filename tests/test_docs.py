"""The documentation names all that is public, and quotes results as measured."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import re
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.version import Version
from sklearn.base import BaseEstimator

import skroute
from skroute import _doc_link
from skroute.base import BaseRouter

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# Columns of the results of cascades that the README quotes.
COST, QUALITY = "settled: cost / best single's", "settled: quality - best single's"
# What it quotes of routers.
SETTLED = "settled for 100%: cost (quality)"
ROUTERS = "RankingRouter", "TextRouter", "kNN", "ridge", "EquiRouter"

if not (DOCS / "api" / "index.rst").exists():
    pytest.skip("the documentation is not beside the tests", allow_module_level=True)

PUBLIC = (
    "skroute",
    "skroute.base",
    "skroute.cascade",
    "skroute.crossfit",
    "skroute.dask",
    "skroute.datasets",
    "skroute.decision",
    "skroute.evaluation",
    "skroute.exceptions",
    "skroute.metrics",
    "skroute.outcomes",
    "skroute.plotting",
    "skroute.preferences",
    "skroute.reporting",
    "skroute.serve",
    "skroute.text",
    "skroute.validation",
)


def referenced() -> dict[str, Any]:
    """Every object that the reference lists, by its full name."""
    found, module = {}, ""
    for line in (DOCS / "api" / "index.rst").read_text().splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        name = re.fullmatch(r"   ([\w.]+)", line) or re.match(
            r"\.\. autodata:: (\w+)", line
        )
        if name:
            *inner, last = name[1].split(".")
            place = importlib.import_module(".".join([module, *inner]))
            found[".".join([place.__name__, last])] = getattr(place, last)
    return found


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module):
    listed = list(referenced().values())
    names = importlib.import_module(module).__all__
    absent = [
        name
        for name in names
        if name != "__version__"
        and not any(
            getattr(importlib.import_module(module), name) is item for item in listed
        )
    ]
    assert not absent, f"add {absent} to docs/api/index.rst"


def test_estimators_link_to_their_pages_of_the_reference(monkeypatch):
    """scikit-learn's HTML names the page, where the project's metadata name a site."""
    estimators = [
        (name, place)
        for name, place in referenced().items()
        if isinstance(place, type) and issubclass(place, BaseEstimator)
    ]
    assert len(estimators) >= 9
    monkeypatch.setattr(_doc_link, "_find_site", lambda: "https://docs.example")
    for name, place in estimators:
        link = place.__new__(place)._get_doc_link()
        assert link == f"https://docs.example/api/generated/{name}.html"
    shown = skroute.RankingRouter()._repr_html_()
    assert "https://docs.example/api/generated/skroute.RankingRouter.html" in shown
    # Other packages have pages of their own.
    assert type("Mine", (BaseRouter,), {"__module__": "mine"})()._get_doc_link() == ""


@pytest.mark.parametrize(
    ("urls", "link"),
    [
        (["Source, https://a.b", "Documentation, https://c.d/e/"], "https://c.d/e"),
        (["Source, https://a.b"], None),
        (None, None),
    ],
)
def test_the_site_is_the_one_of_the_metadata(urls, link, monkeypatch):
    told = Message()
    for url in urls or []:
        told["Project-URL"] = url
    monkeypatch.setattr(_doc_link, "metadata", lambda name: told)
    assert _doc_link._find_site.__wrapped__() == link
    monkeypatch.setattr(_doc_link, "_find_site", lambda: link)
    found = skroute.text.PromptFeatures()._get_doc_link()
    page = "/api/generated/skroute.text.PromptFeatures.html"
    assert found == ("" if link is None else link + page)


def test_the_reference_lists_public_names_only():
    for name in referenced():
        module, _, last = name.rpartition(".")
        assert module in PUBLIC
        assert last in importlib.import_module(module).__all__


@pytest.fixture(scope="module")
def quoted() -> ModuleType:
    """The directive that quotes tables."""
    file = DOCS / "_ext" / "result_table.py"
    spec = importlib.util.spec_from_file_location("result_table", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FIGURE = re.compile(r"\d+(?:\.\d+)?")
QUOTE = re.compile(r"```\{result-table\} (\S+)\n((?::\w+: .*\n)*)```")


def test_quoted_tables_are_there(quoted):
    n_quotes = 0
    for page in DOCS.rglob("*.md"):
        for name, options in QUOTE.findall(page.read_text(encoding="utf-8")):
            given = dict(re.findall(r":(\w+): (.*)", options))
            table = quoted.read_table(DOCS / "results" / name, given.get("section"))
            columns = [c.strip() for c in given.get("columns", "").split(";") if c]
            rows = [r.strip() for r in given.get("rows", "").split(";") if r]
            cells = quoted.choose(table, columns, rows)
            assert len(cells) > 1
            n_quotes += 1
    assert n_quotes >= 5


def test_what_is_no_longer_there_cannot_be_quoted(quoted, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n## one, 70/30\n\n| a | b |\n|---|---|\n| x | 1 |\n| y | 2 |\n\n"
        "## two\n\ntext\n"
    )
    table = quoted.read_table(page, "one")
    assert table == [{"a": "x", "b": "1"}, {"a": "y", "b": "2"}]
    assert quoted.choose(table, ["a", "b"], ["y"]) == [["a", "b"], ["y", "2"]]
    for section, message in (("three", "one section"), ("two", "no table")):
        with pytest.raises(ValueError, match=message):
            quoted.read_table(page, section)
    for columns, rows in ((["a", "c"], []), (["a"], ["z"])):
        with pytest.raises(ValueError, match="there is no"):
            quoted.choose(table, columns, rows)


def test_headlines_of_results_quote_their_pages(quoted):
    """Each page of results has one, and every figure in it is one of the page's."""
    folder = DOCS / "results"
    headlines = quoted.read_headlines((folder / "index.md").read_text("utf-8"))
    assert sorted(headlines) == sorted(
        page.stem for page in folder.glob("*.md") if page.stem != "index"
    )
    for name, headline in headlines.items():
        page = (folder / f"{name}.md").read_text("utf-8")
        told, known = (
            {float(figure) for figure in FIGURE.findall(text.replace(",", ""))}
            for text in (headline, page)
        )
        assert told <= known, name


def test_long_pages_of_results_are_folded(quoted):
    text = "intro\n\n## a\n\n1\n\n## b\n\n2\n\n## c\n\n3\n\n## Where it loses\n\n4\n"
    folded = quoted.fold(text)
    assert re.findall(r"^## (.*)$", folded, re.MULTILINE) == [
        "a",
        "b",
        "Where it loses",
    ]
    assert "::::{dropdown} c\n3\n::::\n" in folded
    assert quoted.fold("no sections\n") == "no sections\n"


def test_figures_of_the_readme_are_those_of_the_results(quoted):
    """Each row of its table: what was settled for 100% by ours and by others."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*<!-- (\w+) --> \| (.*) \|$", readme, re.MULTILINE)
    assert len(rows) >= 5
    for name, cells in rows:
        table = quoted.read_table(DOCS / "results" / "quality.csv", f"{name}, 70/30")
        settled = {row["router"]: row[SETTLED] for row in table}
        assert cells.split(" | ") == [settled.get(name) or "-" for name in ROUTERS]
    means = quoted.read_table(DOCS / "results" / "quality.md", "Settled beforehand")[-1]
    cost, quality = means["RankingRouter"].split()
    assert f"paid {cost} of that model's cost" in readme
    assert f"for {float(quality.strip('()+-')):.3f} less quality" in readme
    for peer, text in (("kNN", "neighbours paid"), ("ridge", "ridge regression")):
        assert f"{text} {means[peer].split()[0]}" in readme


def test_cascades_of_the_readme_are_those_of_the_results():
    """Each row: routing, a fixed cascade and ours at 80%, ours with an exact check."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*<!-- cascade (\w+) --> \| (.*) \|$", readme, re.MULTILINE)
    assert len(rows) >= 3
    with (DOCS / "results" / "cascade.csv").open(encoding="utf-8") as file:
        found = {
            (row["table"], row["check"], row["policy"]): (
                f"{float(row[COST]):.2f} ({float(row[QUALITY]):+.3f})"
            )
            for row in csv.DictReader(file)
            if row[COST]
        }
    for name, cells in rows:
        assert cells.split(" | ") == [
            found[name, "80%", "routing"],
            found[name, "80%", "fixed cascade"],
            found[name, "80%", "CascadeDecider"],
            found[name, "exact", "CascadeDecider"],
        ]


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert cited["type"] == "software"
    assert cited["license"] == "BSD-3-Clause"
    assert all(cited[key] for key in ("message", "title", "authors", "references"))
    assert cited["version"] == skroute.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (.+)$", changelog, re.MULTILINE)[1]
    if Version(skroute.__version__).is_prerelease:
        assert newest == "Unreleased"
        assert "date-released" not in cited
    else:
        released = cited["date-released"].isoformat()
        assert newest == f"{skroute.__version__} ({released})"


def test_every_promise_of_security_names_tests_that_there_are():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promises = re.findall(r"^\| (.*) \| (.*) \|$", text, re.MULTILINE)[1:]
    assert len(promises) > 10
    tests = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    for promise, tried in promises:
        names = re.findall(r"`(test_\w+)`", tried)
        assert names, promise
        for name in names:
            assert f"def {name}(" in tests, (promise, name)


def test_links_to_files_of_the_repository_lead_somewhere():
    pages = [ROOT / "README.md", *DOCS.glob("*.md"), *(DOCS / "guide").glob("*.md")]
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" in target or "auto_examples" in target:
                continue
            file = page.parent / target
            assert file.exists() or file.with_suffix(".md").exists(), (
                f"{page}: {target}"
            )

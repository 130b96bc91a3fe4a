"""The check of built pages sees what it is there for."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("selenium")
SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "check_pages.py"
if not SCRIPT.exists():
    pytest.skip("the documentation is not beside the tests", allow_module_level=True)

pytestmark = pytest.mark.browser

HEAD = (
    "<!doctype html><html lang=en><head><meta charset=utf-8><title>t</title>"
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<style>body {{ margin: 0 }} pre, .box {{ overflow-x: auto }}"
    " table {{ width: 2000px }} .hint {{ background: linear-gradient(red, blue) }}"
    "</style></head><body><main class=bd-article-container><h1>t</h1>{}</main></body>"
)
TABLE = "<table><tr><th>name<td>value</table>"
HIDING = "<table><tr><th>name<td style='background: #eee'>value</table>"


@pytest.fixture(scope="module")
def checks():
    spec = importlib.util.spec_from_file_location("check_pages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser(checks):
    if not shutil.which("chromedriver") and not os.environ.get(
        "SKROUTE_REQUIRE_BROWSER"
    ):
        pytest.skip("no chromedriver on the PATH (Debian: chromium-driver)")
    started = checks.start_browser()
    yield started
    started.quit()


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ("<pre>short</pre>", []),
        (f"<pre>{'x' * 400}</pre>", ["1280 px: code is cut"]),
        (f"<div class=box tabindex=0>{TABLE}</div>", ["a table is cut without a hint"]),
        (f"<div class='box hint' tabindex=0>{TABLE}</div>", []),
        (
            f"<div class='box hint' tabindex=0>{HIDING}</div>",
            ["a table is cut without a hint"],
        ),
        (f"<div style='overflow: hidden'>{TABLE}</div>", ["a table is cut without"]),
        (TABLE, ["the page scrolls sideways"]),
        ("<img src='data:,'>", ["an image without a text"]),
        ("<figure><img src='data:,' alt=''></figure>", ["an image without a text"]),
        ("<img src='data:,' alt='A curve.'>", []),
        ("<svg role=img aria-hidden=true></svg>", []),
        ("<svg role=img><path d='M0 0h9'/></svg>", ["an image without a text"]),
        ("<p style='width: 2000px'>wide</p>", ["the page scrolls sideways"]),
    ],
)
def test_what_cannot_be_seen_is_found(checks, browser, tmp_path, body, faults):
    page = tmp_path / "page.html"
    page.write_text(HEAD.format(body), "utf-8")
    found = {": ".join(f[:2]) for f in checks.look_at(browser, page, None, False)}
    assert bool(found) == bool(faults), found
    for fault in faults:
        assert any(fault in text for text in found), found


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<p>Read me.</p>", None),
        ("<p style='color: #aaa'>Read me.</p>", "color-contrast"),
        ("<button></button>", "button-name"),
        ("<img src='data:,'>", "image-alt"),
    ],
)
def test_what_axe_finds_is_told(checks, browser, tmp_path, body, fault):
    pytest.importorskip("axe_playwright_python", reason="axe-core is in the extra docs")
    page = tmp_path / "page.html"
    page.write_text(HEAD.format(body), "utf-8")
    for whole in (True, False):
        found = checks.look_at(browser, page, checks.read_axe(), whole)
        rules = {rule for _, rule, _ in found if rule.startswith("axe")}
        assert rules == ({f"axe: {fault}"} if fault else set())


def test_pages_of_each_kind_are_read_whole(checks, tmp_path):
    (tmp_path / "api").mkdir()
    for name, size in (("index", 10), ("b", 90), ("api/c", 10), ("api/d", 20)):
        (tmp_path / f"{name}.html").write_text("x" * size)
    (tmp_path / "search.html").write_text("x")
    pages = checks.list_pages(tmp_path)
    assert [page.stem for page in pages] == ["c", "d", "b", "index"]
    kinds = {page.stem for page in checks.find_kinds(pages)}
    assert kinds == {"b", "d", "index"}

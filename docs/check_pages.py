"""Open every built page in Chromium, and list what readers could not see or use.

``make pages`` runs it on what ``make docs`` built. Each page is opened as a desktop and
as a phone sees it, light and dark. It fails on code that is cut, tables that are cut
without a way to scroll, images without a text, a body that scrolls sideways, and on
serious faults that axe-core finds: contrast, labels, names, structure. With ``--quick``
axe-core reads one page of each kind.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

BUILT = Path(__file__).parent / "_build" / "html"
#: Widths in pixels, of a desktop and of a phone.
WIDTHS = 1280, 390
SCHEMES = "light", "dark"
# Pages with nothing of their own: redirects and indices that Sphinx makes.
LEFT_OUT = "genindex.html", "py-modindex.html", "search.html"
# What cannot be seen. The classes of the theme's own scroll hints are in skroute.css.
LOOK = """
const seen = (node) => node.checkVisibility() && node.getClientRects().length > 0;
const name = (node) => node.outerHTML.replace(/\\s+/g, " ").slice(0, 90);
const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);
const found = [];
const wide = innerWidth >= 1000;
const page = document.documentElement;
if (page.scrollWidth > page.clientWidth)
  found.push(["the page scrolls sideways", `${page.scrollWidth} px`]);
for (const pre of all("pre")) {
  const cut = pre.scrollWidth - pre.clientWidth;
  if (cut > 0 && wide)
    found.push(["code is cut", `${cut} px of ${pre.textContent.slice(0, 60)}`]);
}
for (const table of all("table")) {
  const box = [...function* () {
    for (let at = table.parentElement; at; at = at.parentElement) yield at;
  }()].find((at) => getComputedStyle(at).overflowX !== "visible");
  const right = table.getBoundingClientRect().right;
  // Without a box, the page scrolls.
  if (!box || right <= box.getBoundingClientRect().right + 1) continue;
  const style = getComputedStyle(box);
  const scrolls = ["auto", "scroll"].includes(style.overflowX);
  // A shadow at the side where the table goes on; axe sees whether keys reach it.
  // It is seen where no cell, but for names that stay in view, hides it.
  const clear = (node) =>
    getComputedStyle(node).backgroundColor === "rgba(0, 0, 0, 0)";
  const hinted = style.backgroundImage.includes("gradient")
    && [table, ...table.querySelectorAll("tr, td, th")]
      .every((node) => clear(node) || node.matches(":first-child:is(td, th)"));
  if (!scrolls || !hinted)
    found.push(["a table is cut without a hint", name(table)]);
}
for (const image of all("img, svg[role=img]:not([aria-hidden=true])")) {
  const text = image.getAttribute("alt") ?? image.getAttribute("aria-label");
  if (text === null || (text === "" && image.closest("figure, .sphx-glr-single-img")))
    found.push(["an image without a text", name(image)]);
}
return found;
"""
# What is read of a page, and the rules: all, or some that depend on colours and widths.
AXE = """
const [place, rules, done] = arguments;
const values = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
const theirs = [[".sk-top-container"]];  // scikit-learn's drawings of estimators
axe.run({include: [[place ?? "html"]], exclude: theirs}, {
  resultTypes: ["violations"],
  preload: false,
  runOnly: rules ?? values,
}).then((result) => done(result.violations
  .filter((fault) => ["serious", "critical"].includes(fault.impact))
  .map((fault) => [`axe: ${fault.id}`,
    `${fault.help}: ${fault.nodes.length} times, as in `
    + fault.nodes[0].html.replace(/\\s+/g, " ").slice(0, 120)])));
"""


# Colours that fade in would be read half way.
STILL = """
const style = document.createElement("style");
style.textContent = "* { transition: none !important; animation: none !important }";
document.head.append(style);
"""
# What the theme puts around a page is the same on all pages of a kind: read once.
ARTICLE = ".bd-article-container"


def start_browser() -> Any:
    """Start Chromium of the system without a screen."""
    from selenium import webdriver

    names = "chromium", "chromium-browser", "google-chrome"
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        sys.exit("chromium and chromedriver must be on the PATH.")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        f"--user-data-dir={tempfile.mkdtemp()}",
    ):
        options.add_argument(argument)
    service = webdriver.ChromeService(executable_path=driver)
    return webdriver.Chrome(options=options, service=service)


def read_axe() -> str:
    """Read axe-core, of the package that carries it."""
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        sys.exit("axe-core is missing: pip install 'scikit-route[docs]'")
    return (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")


def list_pages(folder: Path) -> list[Path]:
    """List the pages of a built documentation."""
    pages = [page for page in folder.rglob("*.html") if "_static" not in page.parts]
    return sorted(page for page in pages if page.name not in LEFT_OUT)


def view_as(browser: Any, width: int, scheme: str) -> None:
    """Let pages be seen at a width, light or dark."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {
            "width": width,
            "height": 900,
            "deviceScaleFactor": 1,
            "mobile": width < 500,  # no scroll bar takes part of the width
        },
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )


def look_at(browser: Any, page: Path, axe: str | None, whole: bool) -> Iterator[Any]:
    """Open a page and tell what is wrong; `axe` reads all of it, or its text."""
    place = None if whole else ARTICLE
    for width in WIDTHS:
        view_as(browser, width, SCHEMES[0])
        if width == WIDTHS[0] or axe is not None:  # scripts see the width they start at
            browser.get(page.as_uri())
        for fault in browser.execute_script(LOOK):
            yield [f"{width} px", *fault]
        if axe is None:
            continue
        browser.execute_script(STILL + axe)
        # Names and structure are the same at any width.
        rules = None if width == WIDTHS[0] or whole else ["scrollable-region-focusable"]
        for scheme in SCHEMES:
            view_as(browser, width, scheme)
            for fault in browser.execute_async_script(AXE, place, rules):
                yield [f"{width} px, {scheme}", *fault]
            if width != WIDTHS[0] and not whole:
                break
            rules = ["color-contrast"]


def find_kinds(pages: list[Path]) -> set[Path]:
    """Find a page of every kind: the longest one of each folder, and the first page."""
    kinds: dict[Path, Path] = {}
    for page in pages:
        longest = kinds.get(page.parent)
        if longest is None or page.stat().st_size > longest.stat().st_size:
            kinds[page.parent] = page
    return {*kinds.values(), *(page for page in pages if page.name == "index.html")}


def main() -> None:
    """Check the pages, and exit with 1 if there are faults."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, help="pages; all if none")
    parser.add_argument("--built", type=Path, default=BUILT, help="folder of HTML")
    parser.add_argument("--quick", action="store_true", help="axe-core on some pages")
    parser.add_argument("--json", type=Path, help="file to write the faults to")
    options = parser.parse_args()
    pages = [page.resolve() for page in options.pages] or list_pages(options.built)
    if not pages:
        sys.exit(f"there are no pages in {options.built}: make docs")
    axe, kinds = read_axe(), find_kinds(pages)
    browser, started, faults = start_browser(), perf_counter(), []
    try:
        for page in pages:
            read = axe if page in kinds or not options.quick else None
            for fault in look_at(browser, page, read, page in kinds):
                words = " ".join(": ".join([page.name, *fault]).split())
                faults.append(words)
                print(words, flush=True)
    finally:
        browser.quit()
    if options.json is not None:
        options.json.write_text(json.dumps(faults, indent=1), "utf-8")
    took = perf_counter() - started
    print(f"{len(pages)} pages in {took:.0f} s, {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

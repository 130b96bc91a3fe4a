"""The report as people see and touch it, in a real browser without a screen."""

from __future__ import annotations

import os
import shutil
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

import skroute
from skroute import DummyRouter, PointwiseRouter
from skroute.datasets import make_routing
from skroute.metrics import routing_curve
from skroute.reporting import Report

webdriver = pytest.importorskip("selenium.webdriver")
wait = pytest.importorskip("selenium.webdriver.support.wait")

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>window.ran = 1</script><img src=x onerror='window.ran=1'>"
N_MODELS = 20
LINKED = "curves", "calls", "models", "margins", "calibration"
# Set where a missing browser is a fault of the machine and no reason to skip.
REQUIRED = "SKROUTE_REQUIRE_BROWSER"
# Ratio of the luminance of letters to that of the ground behind them, as WCAG has it.
CONTRAST = """
const values = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map(
  (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const color = values(getComputedStyle(at).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
const seen = [...document.querySelectorAll("p, dt, dd, th, td, summary, h1, h2, h3,"
  + " label, output, figcaption, .name, .share, a, code, button, li, #curve svg text")];
return Math.min(...seen.map((node) => {
  const style = getComputedStyle(node);
  const ink = values(node instanceof SVGElement ? style.fill : style.color);
  const pair = [light(ink), light(ground(node))].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}));
"""


@pytest.fixture(scope="module")
def outcome():
    """A page of a pool of 20 models, hostile prompts, and the curve behind it."""
    data = make_routing(400, n_models=N_MODELS, random_state=0)
    y = pd.DataFrame(data.quality, columns=[f"llm-{i:02}" for i in range(N_MODELS)])
    router = PointwiseRouter(Ridge(), random_state=0)
    router.fit(data.data[:200], y[:200], costs=data.costs[:200])
    X, y, costs = data.data[200:], y[200:], data.costs[200:]
    report = skroute.report(
        router,
        X,
        y,
        costs=costs,
        task=np.resize(["code", HOSTILE, "a_very_long_task_name_" * 6], 200),
        prompts=[f"{HOSTILE} {i} {'unbroken' * 40}" for i in range(200)],
        show_prompts=True,
        peers={"cheapest": DummyRouter("cheapest").fit(X, y, costs=costs)},
        n_bootstrap=20,
        unit="USD",
    )
    return report.html, routing_curve(y, costs, *np.hsplit(router.transform(X), 2))


@pytest.fixture(scope="module")
def fitted_report(outcome):
    return Report('Hostile "> title', outcome[0])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium of the system; the test installs nothing."""
    names = "chromium", "chromium-browser", "google-chrome"
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        reason = "no chromium and chromedriver on the PATH (Debian: chromium-driver)"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{reason}, and {REQUIRED} is set")
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    started = webdriver.Chrome(options=options, service=service)
    yield started
    started.quit()


@pytest.fixture
def page(browser, outcome, tmp_path):
    """The page, opened anew at the width of a desktop."""
    file = Path(tmp_path, "report.html")
    file.write_text(outcome[0], "utf-8")

    def opened(width: int = 1280, scheme: str = "light"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": 800,
                "deviceScaleFactor": 1,
                "mobile": width < 500,  # no scroll bar takes part of the width
            },
        )
        browser.get(file.as_uri())
        return browser

    yield opened
    # Nothing went wrong, whatever the test did: also no policy was violated.
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.ran") is None


def texts(browser) -> dict[str, str]:
    """What is said of the budget that the slider stands at."""
    return {
        name: browser.find_element("id", f"now-{name}").text
        for name in ("budget", "cost", "cost_share", "quality", "quality_share", "call")
    }


def bars(browser) -> list[tuple[str, float, int]]:
    """Names, widths and models of the bars, from the top."""
    return [
        tuple(bar)
        for bar in browser.execute_script(
            "return [...document.querySelectorAll('[data-bar]')].map((bar) => "
            "[bar.querySelector('.name').textContent,"
            " parseFloat(bar.querySelector('.fill').style.width),"
            " Number(bar.dataset.bar)])"
        )
    ]


def check_bars(browser, curve, at: int) -> None:
    """Twelve models that are called most come first, then all others together."""
    names, widths, models = zip(*bars(browser), strict=True)
    assert names[-1] == f"{N_MODELS - 12} others"
    assert list(widths[:-1]) == sorted(widths[:-1], reverse=True)
    share = curve.call_share[at] * 100
    shown = list(models[:-1])
    np.testing.assert_allclose(widths[:-1], share[shown], atol=0.051)
    assert names[:-1] == tuple(f"llm-{model:02}" for model in shown)
    rest = np.delete(share, shown)
    assert widths[-1] == pytest.approx(rest.sum(), abs=0.7)
    assert rest.max() <= min(widths[:-1]) + 0.051


def marked(browser) -> list[float]:
    """Places of the marks on the two pictures."""
    return browser.execute_script(
        "const dot = document.querySelector('#curve .marker circle');"
        "const line = document.querySelector('#shares .marker line');"
        "return [dot.cx.baseVal.value, dot.cy.baseVal.value, line.x1.baseVal.value]"
    )


def test_the_slider_changes_cost_quality_and_shares(page, outcome):
    browser, curve = page(), outcome[1]
    slider = browser.find_element("id", "budget")
    opened = texts(browser), bars(browser), marked(browser)
    assert max(width for _, width, _ in opened[1][:-1]) == opened[1][0][1]
    slider.send_keys("\ue010")  # the End key
    last = texts(browser), bars(browser), marked(browser)
    assert all(last[0][key] != opened[0][key] for key in last[0])
    assert last[0]["quality"] == f"{curve.quality[-1]:.3f}"
    check_bars(browser, curve, -1)
    assert last[2][0] > opened[2][0]
    assert last[2][2] > opened[2][2]
    slider.send_keys("\ue011")  # Home
    first = texts(browser), bars(browser), marked(browser)
    assert first[0]["quality"] == f"{curve.quality[0]:.3f}"
    check_bars(browser, curve, 0)
    assert first[2][0] < opened[2][0]
    slider.send_keys("\ue014")  # the right arrow: one step
    assert slider.get_attribute("value") == "1"
    said = slider.get_attribute("aria-valuetext")
    assert texts(browser)["quality"] in said
    assert "USD" in said


def test_the_slider_follows_the_mouse(page):
    browser = page()
    slider = browser.find_element("id", "budget")
    before = texts(browser)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    chain = webdriver.ActionChains(browser)
    chain.move_to_element_with_offset(slider, -200, 0).click().perform()
    assert texts(browser)["budget"] != before["budget"]


def test_marks_are_on_the_curve(page):
    browser = page()
    for key in ("\ue011", "\ue010"):
        browser.find_element("id", "budget").send_keys(key)
        apart = browser.execute_script(
            # The router's line is the thickest one of the picture.
            "const dot = document.querySelector('#curve .marker circle');"
            "const lines = [...document.querySelectorAll('#curve svg path')]"
            "  .filter((p) => parseFloat(p.style.strokeWidth) === 2.2);"
            "const line = lines.sort((a, b) => b.getTotalLength()"
            "  - a.getTotalLength())[0];"
            "const [x, y] = [dot.cx.baseVal.value, dot.cy.baseVal.value];"
            "const steps = [...Array(2001).keys()].map((i) =>"
            "  line.getPointAtLength(line.getTotalLength() * i / 2000));"
            "return Math.min(...steps.map((p) => Math.hypot(p.x - x, p.y - y)))"
        )
        assert apart < 1.0


def test_it_opens_at_the_headline(page):
    browser = page()
    claim = browser.find_element("css selector", ".claim").text
    assert claim.startswith("Set to keep the quality of")
    assert texts(browser)["cost_share"].endswith("%")


def test_prompts_are_shown_and_not_run(page):
    browser = page()
    text = browser.find_element("tag name", "body").text
    assert HOSTILE in text
    assert browser.execute_script("return document.images.length") == 0
    assert browser.execute_script("return document.scripts.length") == 2
    loaded = "return performance.getEntriesByType('resource').length"
    assert browser.execute_script(loaded) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_can_read_it(page, scheme):
    browser = page(375, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 375
    # Whatever is wider scrolls within a frame of its own, which keys can reach.
    wide = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter((node) =>"
        " node.getBoundingClientRect().right > 375.5 && !node.closest('.scroll'))"
        ".map((node) => node.outerHTML.slice(0, 80))"
    )
    assert wide == []
    frames = browser.find_elements("css selector", ".scroll")
    assert frames
    assert all(frame.get_attribute("tabindex") == "0" for frame in frames)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('main p, main td, main th, main dt,"
        " main .name')].map((node) => parseFloat(getComputedStyle(node).fontSize))"
    )
    assert min(sizes) >= 13
    letters = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map((svg) => {"
        " const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;"
        " return Math.min(...[...svg.querySelectorAll('text')].map((text) =>"
        "  scale * parseFloat(getComputedStyle(text).fontSize))) })"
    )
    assert min(letters) >= 8.5
    slider = browser.find_element("id", "budget")
    assert slider.size["height"] >= 44  # a thumb's width


def test_the_call_of_a_budget_can_be_copied(page, outcome):
    browser, curve = page(), outcome[1]
    browser.execute_script("document.getElementById('copied').focus()")
    browser.find_element("id", "budget").send_keys("\ue010")
    call = browser.find_element("id", "now-call").text
    assert call == f"router.route(X, budget={curve.budget[-1]:.4g})"
    browser.find_element("id", "copy").click()
    said = wait.WebDriverWait(browser, 5).until(
        lambda b: b.find_element("id", "copied").text
    )
    assert said in ("Copied.", "Selected: copy it with your keyboard.")
    # What was said of one call does not stay beside another.
    browser.find_element("id", "budget").send_keys("\ue011")
    assert browser.find_element("id", "copied").text == ""
    assert browser.find_element("id", "now-call").text != call


@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_stays_in_view_beside_what_it_changes(page, width):
    browser = page(width)
    for selector in ("#shares", "[data-bar]"):
        seen = browser.execute_script(
            "document.querySelector(arguments[0]).scrollIntoView({block: 'center'});"
            "return [document.getElementById('budget'),"
            " document.querySelector(arguments[0])].map((node) => {"
            "  const box = node.getBoundingClientRect();"
            "  return box.top >= 0 && box.top < innerHeight})",
            selector,
        )
        assert seen == [True, True]
    # It leaves most of a phone's screen to the rest.
    height = browser.find_element("class name", "control").size["height"]
    assert height < 0.35 * 800


def test_contents_lead_to_their_sections(page):
    browser = page()
    for link in browser.find_elements("css selector", ".toc a"):
        link.click()
        heading = browser.execute_script(
            "const node = document.querySelector(location.hash);"
            "return [node.tagName, node.textContent]"
        )
        assert heading == ["H2", link.text]


@pytest.mark.parametrize("width", [1280, 390])
def test_no_letter_of_a_picture_is_cut(page, width):
    cut = page(width).execute_script(
        "return [...document.querySelectorAll('svg text')].filter((text) => {"
        " const box = text.getBoundingClientRect();"
        " const frame = text.ownerSVGElement.getBoundingClientRect();"
        " return box.left < frame.left - 1 || box.right > frame.right + 1"
        "  || box.bottom > frame.bottom + 1 || box.top < frame.top - 1"
        "}).map((text) => text.textContent)"
    )
    assert cut == []


def test_figures_can_be_downloaded(page, outcome):
    browser, curve = page(), outcome[1]
    links = browser.find_elements("css selector", "a[download]")
    names = {link.get_attribute("download") for link in links}
    assert names == {f"{n}.csv" for n in LINKED}
    texts = {
        link.get_attribute("download"): browser.execute_script(
            "return atob(arguments[0].href.split(',')[1])", link
        )
        for link in links
    }
    calls = pd.read_csv(StringIO(texts["calls.csv"]), index_col="budget")
    assert list(calls) == list(curve.models)
    np.testing.assert_allclose(calls.iloc[-1], curve.call_share[-1], atol=1e-5)
    curves = pd.read_csv(StringIO(texts["curves.csv"]))
    own = curves[curves.router == "PointwiseRouter"]
    np.testing.assert_allclose(own.quality.iloc[-1], curve.quality[-1], rtol=1e-5)
    assert set(curves.router) == {"PointwiseRouter", "cheapest", "oracle (hindsight)"}
    assert len(pd.read_csv(StringIO(texts["models.csv"]))) == N_MODELS


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_stand_out_from_their_ground(page, scheme):
    """Curves, marks and axes, as WCAG asks of letters."""
    browser = page(1280, scheme)
    colors = browser.execute_script(
        "return [...document.querySelectorAll('#curve svg path, #curve svg use')]"
        ".map((node) => getComputedStyle(node).stroke)"
        ".filter((color) => color.startsWith('rgb('))"
    )
    ground = browser.execute_script(
        "return getComputedStyle(document.querySelector('.panel')).backgroundColor"
    )
    assert len(set(colors)) >= 4
    assert min(contrast(color, ground) for color in colors if color != ground) >= 4.5


def contrast(*colors: str) -> float:
    low, high = sorted(map(luminance, colors))
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    parts = np.array([int(part) for part in color.strip("rgb()").split(",")]) / 255
    parts = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(parts @ [0.2126, 0.7152, 0.0722])


def test_a_notebook_shows_it_in_a_frame(browser, fitted_report, tmp_path):
    file = tmp_path / "notebook.html"
    shown = fitted_report._repr_html_()
    file.write_text(f"<!doctype html><title>n</title><body>{shown}", "utf-8")
    browser.get(file.as_uri())
    browser.switch_to.frame(0)
    try:
        slider = browser.find_element("id", "budget")
        before = texts(browser)
        slider.send_keys("\ue011")
        assert texts(browser)["budget"] != before["budget"]
    finally:
        browser.switch_to.default_content()
    # What a page holds cannot leave its frame.
    assert browser.execute_script("return document.scripts.length") == 0
    assert browser.execute_script("return window.ran") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_from_their_ground(page, scheme):
    browser = page(1280, scheme)
    browser.execute_script(
        "document.querySelectorAll('details').forEach(d => d.open = 1)"
    )
    assert browser.execute_script(CONTRAST) >= 4.5
    ground = browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor"
    )
    dark = max(int(part) for part in ground.strip("rgb()").split(",")) < 64
    assert dark == (scheme == "dark")

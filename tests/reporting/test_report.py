"""The report: its numbers, what it refuses, and what it never runs."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

import skroute
from skroute import BudgetDecider, CascadeDecider, DummyRouter, PointwiseRouter
from skroute._judged import Judged, judge
from skroute.cli import app
from skroute.datasets import make_routing, read_routerbench
from skroute.exceptions import InfeasibleBudgetError
from skroute.metrics import (
    normalized_auc,
    quality_neutral_cost,
    routing_collapse_index,
    routing_curve,
    strongest_call_share,
)
from skroute.reporting import Report
from skroute.reporting._findings import Checked, Promise, compute_findings
from skroute.reporting._provenance import fingerprint_table
from skroute.reporting._text import (
    Money,
    format_number,
    format_percent,
    write_checked,
    write_headline,
    write_opening,
)

HOSTILE = "</script><script>window.ran = 1</script><img src=x onerror='window.ran=1'>"


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, html: str | Report) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = 0
        self.feed(str(html))
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._hidden:
            self.text += f" {data}"

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def pool(n_models: int = 4, n_queries: int = 300, **options):
    """A fitted router, and what it did not see."""
    data = make_routing(n_queries, n_models=n_models, random_state=0)
    half = n_queries // 2
    names = options.get("names") or [f"llm-{i}" for i in range(n_models)]
    y = pd.DataFrame(data.quality, columns=names)
    prices = options.get("prices")
    router = PointwiseRouter(Ridge(), costs=prices, random_state=0)
    known = {} if prices is not None else {"costs": data.costs[:half]}
    router.fit(data.data[:half], y[:half], **known)
    costs = None if prices is not None else data.costs[half:]
    return router, data.data[half:], y[half:], costs


@pytest.fixture(scope="module")
def fitted():
    return pool()


@pytest.fixture(scope="module")
def written(fitted):
    """One report with all its parts, and its page."""
    router, X, y, costs = fitted
    report = skroute.report(
        router,
        X,
        y,
        costs=costs,
        task=np.resize(["a", "b", "c"], len(y)),
        peers={"cheap": DummyRouter("cheapest").fit(X, y, costs=costs)},
        n_bootstrap=20,
    )
    return report, Page(report)


def findings_of(judged: Judged, **options):
    given_ = {"tasks": None, "prompts": None, "promise": None, "n_bootstrap": 0}
    return compute_findings(judged, {}, **{**given_, "random_state": 0, **options})


@pytest.mark.slow
def test_the_numbers_are_those_of_the_metrics(fitted, written):
    router, X, y, costs = fitted
    text = written[1].text
    curve = routing_curve(y, costs, *np.hsplit(router.transform(X), 2))
    best = curve.models[curve.best_single]
    neutral = format_percent(quality_neutral_cost(curve))
    assert f"In hindsight, {neutral} of the cost of {best} buys its quality" in text
    assert f"{normalized_auc(curve):.3f}" in text
    assert f"{routing_collapse_index(curve):.2f}" in text
    assert "150 held-out queries" in text
    prices = costs.mean(axis=0)
    flat = np.eye(4)[np.full(len(y), prices.argmin())]
    cheap = routing_curve(y, costs, flat, np.tile(prices, (len(y), 1)))
    table = text.split("Calls to the strongest")[1]
    assert f"cheap not reached {normalized_auc(cheap):.3f}" in table


@pytest.mark.slow
def test_real_tables_with_prices_tasks_and_repeated_prompts(shared_data):
    data = read_routerbench(
        shared_data / "pool9.csv.gz",
        prices=shared_data / "pool9_prices.json",
        embeddings=shared_data / "pool9_minilm.npy",
    )
    y = pd.DataFrame(data.quality, columns=data.models)
    router = PointwiseRouter(Ridge(), costs=data.costs, random_state=0)
    router.fit(data.data[:2000], y[:2000])
    told = {} if data.task is None else {"task": data.task[2000:]}
    html = skroute.report(
        router, data.data[2000:], y[2000:], prompts=data.prompts[2000:], **told
    )
    text = Page(html).text
    assert "1,108 held-out queries" in text
    assert f"Set to keep the quality of {router.best_single_}" in text
    assert text.count("(95% interval") == 3
    assert all(model in text for model in data.models)
    assert len(html.html) < 1_000_000


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    n_models=st.integers(1, 5),
    levels=st.sampled_from([2, 3, 50]),
    prices=st.booleans(),
    shift=st.sampled_from([0.0, -3.0, 10.0]),
    seed=st.integers(0, 10_000),
)
def test_findings_agree_with_the_curve(n_models, levels, prices, shift, seed):
    random = np.random.default_rng(seed)
    shape = (30, n_models)
    y = random.integers(levels, size=shape) / (levels - 1) + shift
    costs = np.tile(random.integers(0, 3, n_models) / 2, (30, 1))
    if not prices:
        costs = random.random(shape)
    models = np.array([f"m{i}" for i in range(n_models)], dtype=object)
    estimates = (y + random.normal(size=shape)).round(1), costs
    found = findings_of(Judged(y, costs, *estimates, models))
    curve, at = found.curve, found.at_point
    # Decisions at the operating point are those that the curve was drawn from.
    assert at.quality == pytest.approx(curve.quality[found.point])
    assert at.cost == pytest.approx(curve.cost[found.point])
    assert at.expected_cost == pytest.approx(curve.budget[found.point])
    collapse = found.collapse
    assert collapse.in_vain + collapse.worse == pytest.approx(
        curve.collapse[found.point]
    )
    most = found.collapse_at_most
    assert most.in_vain + most.worse == pytest.approx(curve.collapse[-1])
    for calls in (collapse, most):
        assert calls.strongest >= calls.in_vain
    assert most.strongest == pytest.approx(strongest_call_share(curve))
    assert sum(part.n_calls for part in found.bins) == y.size
    total = sum(part.n_calls * part.observed for part in found.bins)
    assert total / y.size == pytest.approx(y.mean())
    if found.reached:
        target = curve.model_quality[curve.best_single]
        floor = found.neutral.value * curve.model_cost[curve.best_single]
        # The floor of the envelope may be no decision of the router.
        reached = curve.quality[found.point] >= target - 1e-9
        assert reached or floor == pytest.approx(curve.floor[0])
    for example in found.saved:
        assert example.quality >= example.best_quality
        assert example.cost < example.best_cost
    for example in found.lost:
        assert example.quality < example.best_quality
    assert found.saved_share + found.lost_share <= 1 + 1e-12


@pytest.fixture(scope="module")
def cascade():
    """A pipeline that ends in a cascade with exact checks, and what it did not see."""
    data = make_routing(300, n_models=4, random_state=0)
    y = pd.DataFrame(data.quality, columns=[f"llm-{i}" for i in range(4)])
    router = PointwiseRouter(Ridge(), random_state=0)
    Z = router.fit_transform(data.data[:150], y[:150], costs=data.costs[:150])
    decider = CascadeDecider(min_quality="100%", random_state=0)
    decider.fit(Z, y[:150], costs=data.costs[:150], checks=y[:150])
    return make_pipeline(router, decider), data.data[150:], y[150:], data.costs[150:]


@pytest.mark.slow
def test_what_checks_add_is_told_and_drawn(cascade):
    pipeline, X, y, costs = cascade
    known = y.copy()
    known.iloc[::9, 0] = np.nan
    page = Page(
        skroute.report(pipeline, X, known, costs=costs, checks=known, n_bootstrap=0)
    )
    kept = known.notna().all(axis=1).to_numpy()
    Z = pipeline[:-1].transform(X[kept])
    replay = pipeline[-1].replay(Z, y[kept], costs[kept], checks=y[kept])
    curve = replay.curve()
    best, cost = curve.models[curve.best_single], curve.model_cost[curve.best_single]
    assert best.startswith("llm-")
    text = page.text.split("With checks")[2].split("Against others")[0]
    paid = format_percent(replay.mean_spend / cost)
    assert f"of the quality of {best} for {paid} of its cost" in text
    assert f"with {replay.mean_calls:.2f} calls per query" in text
    neutral = format_percent(quality_neutral_cost(curve))
    assert f"the quality of {best} costs {neutral} of its price with checks" in text
    assert page.count("svg") == 5
    labels = [a["aria-label"] for tag, a in page.tags if tag == "svg"]
    assert "Mean quality against mean cost, with checks." in labels


@pytest.mark.slow
def test_nothing_is_said_of_checks_that_are_not_known(cascade):
    """Without them a cascade is reported on as its router alone."""
    pipeline, X, y, costs = cascade
    told = str(skroute.report(pipeline, X, y, costs=costs, n_bootstrap=0))
    assert "With checks" not in told
    alone = str(skroute.report(pipeline[0], X, y, costs=costs, n_bootstrap=0))
    inside = re.search(r"\. In it <code>router</code> is the fitted [^.]*", told)[0]
    assert told.replace(inside, "") == alone


def test_checks_that_no_cascade_reads_are_refused(cascade):
    pipeline, X, y, costs = cascade
    with pytest.raises(ValueError, match="checks and answers are what a cascade is"):
        skroute.report(pipeline[0], X, y, costs=costs, checks=y)
    with pytest.raises(ValueError, match="got a CascadeDecider without a router"):
        skroute.report(pipeline[-1], X, y, costs=costs, checks=y)
    with pytest.raises(ValueError, match="answers were not given to fit"):
        skroute.report(pipeline, X, y, costs=costs, checks=y, answers=y)
    with pytest.raises(ValueError, match="checks must have shape"):
        skroute.report(pipeline, X, y, costs=costs, checks=y.iloc[:, :2].to_numpy())
    with pytest.raises(ValueError, match=r"checks must have shape \(150, 4\), as y"):
        skroute.report(pipeline, X, y, costs=costs, checks=y[:20])


@pytest.mark.parametrize(
    ("routed", "checked", "text"),
    [
        (True, True, "with checks, and 50% by routing alone."),
        (False, True, "with checks; routing alone does not reach it."),
        (True, False, "with checks; routing alone does, for 50% of its price."),
        (False, False, "with checks, nor by routing alone."),
    ],
)
def test_what_is_said_of_a_cascade(routed, checked, text):
    """Two models of cost 1 and 2, of which the second is always right."""
    y, costs = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[1.0, 2.0]] * 2)
    knows, errs = y, np.array([[1.0, 0.0], [1.0, 0.0]])
    names = np.array(["a", "b"], dtype=object)
    # Here a query that the router sends to the first model is free.
    free = np.where(y[:, :1] == 1, [[0.0, 2.0]], costs)
    found = findings_of(Judged(y, free, knows if routed else errs, free, names))
    curve = routing_curve(y, free, knows if checked else errs, free)
    found = replace(found, checked=Checked(curve, 1.0, 1.5, 1.25, 2))
    said = write_checked(found)
    assert said.endswith(text)
    assert "the cascade gave 100.0% of the quality of b for 75% of its cost" in said
    assert "with 1.25 calls per query; 95% of the queries took 2 calls" in said


@pytest.mark.slow
def test_nothing_that_a_table_holds_is_run():
    names = ["<b>small</b>", HOSTILE, "{{ 7 * 7 }}", "$x$"]
    router, X, y, costs = pool(names=names)
    n = len(y)
    html = skroute.report(
        router,
        X,
        y,
        costs=costs,
        prompts=[f"{HOSTILE} {i}" for i in range(n)],
        task=[HOSTILE, "<!--"] * (n // 2),
        peers={HOSTILE: DummyRouter().fit(X, y, costs=costs)},
        show_prompts=True,
        title=HOSTILE,
        unit=HOSTILE,
        n_bootstrap=0,
    )
    page = Page(html)
    assert page.count("script") == 2
    assert page.count("img") == page.count("b") == 0
    assert "onerror" not in {key for _, attributes in page.tags for key in attributes}
    assert HOSTILE in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "<!--" not in html.html.replace("<!-- ", "")
    policies = [a["content"] for t, a in page.tags if "http-equiv" in a]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]


@pytest.mark.slow
def test_the_page_asks_nothing_of_the_network(written):
    page = written[1]
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert "src" not in attributes
        for key in ("href", "xlink:href"):
            data = tag == "a" and "download" in attributes
            start = "data:text/csv;" if data else "#"
            assert str(attributes.get(key, start)).startswith(start)


@pytest.mark.slow
def test_ids_and_tables_are_in_order(written):
    page = written[1]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    known = set(ids)
    for tag, attributes in page.tags:
        assert tag != "th" or attributes["scope"] in ("row", "col")
        for key in ("aria-labelledby", "for"):
            assert attributes.get(key) is None or attributes[key] in known
        link = attributes.get("xlink:href")
        assert link is None or link[1:] in known
        if tag == "svg":
            assert attributes["aria-label"]


@pytest.mark.slow
@pytest.mark.parametrize("n_models", [1, 2, 20])
def test_pools_of_any_size(n_models):
    router, X, y, costs = pool(n_models)
    page = Page(skroute.report(router, X, y, costs=costs, n_bootstrap=10))
    bars = [a["data-bar"] for _, a in page.tags if "data-bar" in a]
    assert len(set(bars)) == len(bars) == min(n_models, 13)
    assert ("8 others" in page.text) == (n_models == 20)
    assert page.count("svg") == (4 if n_models > 1 else 3)


@pytest.mark.slow
def test_without_tasks_prompts_and_costs():
    router, X, y, _ = pool(prices=[0.0, 1.0, 2.0, 5.0])
    page = Page(skroute.report(router, X, y, n_bootstrap=0))
    assert "By task" not in page.text
    assert "Query " in page.text
    assert "left out" not in page.text


@pytest.mark.slow
def test_incomplete_queries_are_left_out_and_counted(fitted):
    router, X, y, costs = fitted
    holes = y.copy()
    holes.iloc[:7, 1] = np.nan
    task = np.array(["early"] * 7 + ["late"] * (len(y) - 7), dtype=object)
    page = Page(skroute.report(router, X, holes, costs=costs, task=task, n_bootstrap=0))
    assert "7 more are left out" in page.text
    assert "early" not in page.text
    found = findings_of(judge(router, X, holes, costs, "test"))
    rest = findings_of(judge(router, X[7:], y[7:], costs[7:], "test"))
    assert found.at_point == rest.at_point
    assert found.collapse == rest.collapse
    assert [e.row - 7 for e in found.lost] == [e.row for e in rest.lost]


@pytest.mark.slow
def test_a_table_by_task(fitted):
    router, X, y, costs = fitted
    task = np.array(["odd", "even"], dtype=object)[np.arange(len(y)) % 2]
    task[:2] = None, np.nan
    judged = judge(router, X, y, costs, "test")
    found = findings_of(
        judged, tasks=np.array([t if t == t and t else "" for t in task])
    )
    assert [row.name for row in found.tasks] == ["even", "odd", "(no task)"]
    assert sum(row.n_queries for row in found.tasks) == len(y)
    weights = np.array([row.n_queries for row in found.tasks])
    means = np.array([row.quality for row in found.tasks])
    assert means @ weights / len(y) == pytest.approx(found.at_point.quality)
    assert (
        "(no task)" in Page(skroute.report(router, X, y, costs=costs, task=task)).text
    )
    many = findings_of(judged, tasks=np.arange(len(y)).astype(str))
    assert many.tasks[-1].name == f"{len(y) - 40} smaller tasks"
    assert np.isnan(many.tasks[0].error)


@pytest.mark.slow
def test_what_is_said_where_routing_does_not_pay(fitted):
    _, X, y, costs = fitted
    few = {"costs": costs, "n_bootstrap": 20}
    cheapest = DummyRouter("cheapest").fit(X, y, costs=costs)
    text = Page(skroute.report(cheapest, X, y, **few)).text
    assert "The router does not promise the quality of" in text
    assert "In hindsight no budget reaches the quality of" in text
    assert "Nor is it reached in 97.5% of the resamples" in text
    single = DummyRouter("best_single").fit(X, y, costs=costs)
    text = Page(skroute.report(single, X, y, **few)).text
    assert "the router gave 100.0% of it for 100% of its price" in text


@pytest.mark.slow
def test_intervals_draw_equal_prompts_together(fitted):
    router, X, y, costs = fitted
    judged = judge(router, X, y, costs, "test")
    alone = findings_of(judged, n_bootstrap=100).neutral
    assert alone.low <= alone.value <= alone.high
    # Ten copies of every query tell no more than one.
    rows = np.repeat(np.arange(len(y)), 10)
    copies, prompts = judged.take(rows), np.array([f"p{i}" for i in rows], dtype=object)
    grouped = findings_of(copies, n_bootstrap=100, prompts=prompts).neutral
    apart = findings_of(copies, n_bootstrap=100).neutral
    assert grouped.value == pytest.approx(alone.value)
    assert apart.high - apart.low < 0.6 * (grouped.high - grouped.low)
    assert np.isnan(findings_of(judged).neutral.low)


def test_the_headline_is_what_was_settled_in_training(fitted, written):
    router, X, y, costs = fitted
    names = router.route(X, min_quality="100%")
    chosen = pd.Index(router.models_).get_indexer(names)
    rows, single = np.arange(len(y)), list(router.models_).index(router.best_single_)
    gave = y.to_numpy()[rows, chosen].mean() / y.to_numpy()[:, single].mean()
    paid = costs[rows, chosen].mean() / costs[:, single].mean()
    assert (
        f"Set to keep the quality of {router.best_single_}, the router gave "
        f"{gave:.1%} of it for {format_percent(paid)} of its price." in written[1].text
    )


def test_intervals_of_what_was_settled_hold_equal_prompts_together(fitted):
    router, X, y, costs = fitted
    judged = judge(router, X, y, costs, "test")
    choice = pd.Index(router.models_).get_indexer(router.route(X, min_quality="100%"))
    promise = Promise(list(router.models_).index(router.best_single_), choice)

    def resample(rows, promise, **options):
        some = promise._replace(choice=promise.choice[rows])
        found = findings_of(judged.take(rows), promise=some, n_bootstrap=300, **options)
        return found.kept

    every = np.arange(len(y))
    once, rows = resample(every, promise), np.repeat(every, 10)
    found = findings_of(judged, promise=promise)
    assert found.at_point == once.at
    apart = np.abs(found.curve.budget - once.at.expected_cost)
    assert apart[found.point] == apart.min()
    prompts = np.array([f"p{i}" for i in rows], dtype=object)
    grouped = resample(rows, promise, prompts=prompts)
    apart = resample(rows, promise)
    for ours, together, alone in zip(once[1:], grouped[1:], apart[1:], strict=True):
        assert ours.low < ours.value < ours.high
        assert together.value == pytest.approx(ours.value)
        assert alone.high - alone.low < 0.6 * (together.high - together.low)


def test_shares_of_nothing_are_not_told(fitted):
    """Qualities below 0 and free models have no shares."""
    router, X, y, costs = fitted
    judged = judge(router, X, y - 2.0, costs * 0.0, "test")
    promise = Promise(0, np.zeros(len(y), dtype=int))
    found = findings_of(judged, promise=promise, n_bootstrap=5)
    claim, meaning = write_headline(found)
    assert claim.endswith(
        f"gave a quality of {format_number(found.kept.at.quality)} in the mean."
    )
    assert "%" not in claim + meaning


def test_promises_that_training_does_not_make(fitted):
    router, X, y, costs = fitted
    judged = judge(router, X, y, costs, "test")
    found = findings_of(judged, promise=Promise(1, None))
    assert found.kept is None
    claim, meaning = write_headline(found)
    assert claim == f"The router does not promise the quality of {judged.models[1]}."
    assert "did not expect to keep this quality at any budget" in meaning
    claim, _ = write_headline(findings_of(judged))
    assert claim.startswith("In hindsight, the quality of")


def test_the_slider_says_how_far_from_the_headline_it_starts(fitted):
    router, X, y, costs = fitted
    found = findings_of(judge(router, X, y, costs, "test"))
    spent = float(found.curve.cost[found.point])
    near = replace(found, at_point=found.at_point._replace(cost=spent * 1.01))
    assert "about as much is spent" in write_opening(near, Money(1, "EUR"))
    far = replace(found, at_point=found.at_point._replace(cost=spent * 1.4))
    said = write_opening(far, Money(1, "EUR"))
    assert "about as much" not in said
    assert f"spends {format_number(spent)} EUR per query" in said
    assert f"the headline {format_number(spent * 1.4)} EUR" in said


@pytest.mark.slow
def test_pipelines(fitted, metadata_routing):
    _, X, y, costs = fitted
    pipeline = make_pipeline(
        StandardScaler(), PointwiseRouter(Ridge()), BudgetDecider(min_quality="90%")
    ).fit(X, y, costs=costs)
    text = Page(skroute.report(pipeline, X, y, costs=costs, n_bootstrap=0)).text
    assert "PointwiseRouter among 4 models" in text
    assert "Set to keep the quality of" in text


@pytest.mark.slow
def test_the_same_call_writes_the_same_bytes(fitted, tmp_path):
    router, X, y, costs = fitted
    before = dict(matplotlib.rcParams)
    given_ = {"costs": costs, "n_bootstrap": 20}
    one = skroute.report(router, X, y, path=tmp_path / "r.html", **given_)
    assert skroute.report(router, X, y, **given_) == one
    assert (tmp_path / "r.html").read_text("utf-8") == one.html == str(one)
    one.save(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == one.html.encode()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        one.save(tmp_path / "no" / "r.html")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_a_file_is_written_completely_or_not_at_all(fitted, tmp_path, monkeypatch):
    router, X, y, costs = fitted
    file = tmp_path / "r.html"
    file.write_text("old")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        skroute.report(router, X, y, costs=costs, path=tmp_path / "no" / "r.html")

    def full_disk(self, text, encoding):
        self.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="no space"):
        skroute.report(router, X, y, costs=costs, path=file, n_bootstrap=0)
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"prompts": ["one"]}, r"prompts must hold one text per row of y.*\(1,\)"),
        ({"task": [["a"]] * 150}, r"task must hold one text per row"),
        ({"costs": None}, "skroute.report needs costs"),
        ({"n_bootstrap": -1}, "n_bootstrap must be at least 0"),
        ({"n_bootstrap": 2.5}, "n_bootstrap must be an integer"),
    ],
)
def test_wrong_arguments(fitted, tmp_path, given_, message):
    router, X, y, costs = fitted
    file = tmp_path / "r.html"
    with pytest.raises(ValueError, match=message):
        skroute.report(router, X, y, **{"costs": costs, "path": file, **given_})
    assert not file.exists()


def test_peers_must_know_the_same_models(fitted):
    router, X, y, costs = fitted
    peer = DummyRouter().fit(X, y.to_numpy(), costs=costs)
    with pytest.raises(ValueError, match="peers must route among the models"):
        skroute.report(router, X, y.to_numpy(), costs=costs, peers={"d": peer})


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_the_extra_is_named(fitted, missing, monkeypatch):
    router, X, y, costs = fitted
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}.*scikit-route\[report\]"):
        skroute.report(router, X, y, costs=costs)


def test_where_a_report_comes_from_is_told(fitted, written, monkeypatch):
    router, X, y, costs = fitted
    judged = judge(router, X, y, costs, "test")
    about = written[1].text.split("About this report")[-1]
    assert f"by skroute {skroute.__version__} on" in about
    assert fingerprint_table(judged) in about
    assert "n_bootstrap 20 random_state 0" in about
    for name, value in router.get_params(deep=False).items():
        assert f"{name} {value!r}" in about
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    told = skroute.report(router, X, y, costs=costs, n_bootstrap=0)
    assert "on 1970-01-02 (UTC)" in Page(told).text


def test_fingerprints_are_of_what_was_judged(fitted):
    router, X, y, costs = fitted
    judged = judge(router, X, y, costs, "test")
    known = fingerprint_table(judged)
    holes = judged.y.copy()
    holes[0, 0] = np.nan
    other = [
        replace(judged, y=holes),
        replace(judged, costs=judged.costs * 2),
        replace(judged, models=np.array(["a", "b", "c", "d"], dtype=object)),
        judged.take(np.arange(len(y))[::-1]),
    ]
    assert len({known, *map(fingerprint_table, other)}) == 5
    # Neither the layout of a table nor the router's estimates are a part of it.
    turned = replace(
        judged, y=np.asfortranarray(judged.y) - 0.0, quality=judged.quality + 1
    )
    assert fingerprint_table(turned) == known


def test_the_call_of_a_budget_can_be_made(fitted):
    """Also of a budget below what can be kept."""
    router, X, y, costs = fitted
    told = skroute.report(router, X, y, costs=costs, n_bootstrap=0)
    calls = json.loads(re.search(r'id="data">(.*?)</script>', str(told), re.DOTALL)[1])[
        "readouts"
    ]
    for readout in (calls[0], calls[len(calls) // 2], calls[-1]):
        names = eval(readout["call"], {"router": router, "X": X})
        assert len(names) == len(X)
    cheap = read_budget(calls[0]["call"])
    with pytest.raises(InfeasibleBudgetError) as error:
        router.route(X, budget=0.0)
    assert ("on_infeasible" in calls[0]["call"]) == (
        cheap < error.value.smallest_budget
    )


def read_budget(call: str) -> float:
    """Read the budget of a call."""
    return float(re.search(r"budget=([\d.e-]+)", call)[1])


def test_prompts_are_shown_on_demand_only(fitted):
    router, X, y, costs = fitted
    prompts = [f"private {i}" for i in range(len(y))]
    given_ = {"costs": costs, "prompts": prompts, "n_bootstrap": 5}
    assert "private" not in str(skroute.report(router, X, y, **given_))
    assert "private" in str(skroute.report(router, X, y, show_prompts=True, **given_))


def test_what_a_report_says_of_itself(written):
    report = written[0]
    assert report.title == "Routing 4 models"
    assert repr(report).startswith("Report('Routing 4 models', ")
    frame = Page(report._repr_html_())
    assert [tag for tag, _ in frame.tags] == ["iframe"]
    attributes = frame.tags[0][1]
    assert attributes["srcdoc"] == report.html
    assert attributes["sandbox"] == "allow-scripts allow-downloads"


def test_numbers_are_written_plainly():
    assert [format_percent(x) for x in (0.0, 0.001, 0.434, 0.9961, 1.0, np.inf)] == [
        *("0%", "<1%", "43%", "99.6%", "100%", "\N{EN DASH}")
    ]
    assert [format_number(x) for x in (0, 0.000123456, 0.9996, 12.345, 123456.7)] == [
        *("0", "0.000123", "1.000", "12.3", "123,000")
    ]
    money = Money.for_amounts_up_to(0.005, "USD")
    assert (money.write_amount(0.005), money.per_text) == (
        "5.00 USD",
        "per 1,000 queries",
    )
    assert money.write_cost(0.005) == "0.00500 USD"
    assert Money.for_amounts_up_to(0.0, None).write_amount(0.0) == "0"


def write_table(folder: Path) -> Path:
    data = make_routing(400, n_models=3, random_state=0)
    table = pd.DataFrame(data.quality, columns=["small", "middle", "large"])
    prompts = [f"{task}: secret question no {i}" for i, task in enumerate(data.task)]
    table.insert(0, "prompt", prompts)
    table.insert(0, "eval_name", data.task)
    for i, model in enumerate(["small", "middle", "large"]):
        table[f"{model}|total_cost"] = data.costs[:, i]
    table.to_csv(folder / "table.csv", index=False)
    np.save(folder / "e.npy", data.data)
    return folder / "table.csv"


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_command(tmp_path):
    file, out = write_table(tmp_path), tmp_path / "out.html"
    base = ("report", file, "--embeddings", tmp_path / "e.npy", "--out", out)
    done = run(*base, "--test-size", 0.3, "--title", "My pool")
    assert done.exit_code == 0, done.stderr
    assert "Fitted on 280 queries, judged on 120 others." in done.stdout
    page = Page(out.read_text("utf-8"))
    # Whether it is worth it comes first.
    said = re.search("(Route|Do not route|Not enough data): at equal", done.stdout)
    assert page.text.index(said[0]) < page.text.index("held-out queries")
    assert "My pool" in page.text
    assert "120 held-out queries" in page.text
    # Prompts may be private.
    assert "secret question" not in out.read_text("utf-8")
    assert "Costs are in USD." in page.text
    assert "By task" in page.text
    assert all(peer in page.text for peer in ("RankingRouter", "kNN", "ridge"))
    done = run(*base, "--prompts", "--no-peers", "--unit", "cents")
    assert done.exit_code == 0, done.stderr
    page = Page(out.read_text("utf-8"))
    assert "secret question" in page.text
    assert "Costs are in cents." in page.text
    assert "kNN" not in page.text


@pytest.mark.slow
def test_the_command_reads_prompts_and_names_the_extra(tmp_path, monkeypatch):
    file, out = write_table(tmp_path), tmp_path / "out.html"
    done = run("report", file, "--out", out, "--no-peers")
    assert done.exit_code == 0, done.stderr
    assert "TF-IDF" in done.stdout
    assert out.exists()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = run("report", file, "--out", tmp_path / "other.html")
    assert done.exit_code == 2
    assert "scikit-route[report]" in done.stderr
    assert not (tmp_path / "other.html").exists()

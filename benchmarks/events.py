"""Measure what a stream loses when a model changes behind its name, or a new one joins.

A router is fitted on half of the paretobandit table; the other half is the stream,
twice, in a random order: 1,780 requests under a mean budget, one outcome each. After
600 requests a model's quality falls by 0.3 or its price to a tenth, in silence, or a
model joins. The router learns by `update` and `BudgetDecider.partial_fit`. The refit
beside it is fitted on the training half as if it had always been so, and only paced.
ParetoBandit runs on the same streams where ``--peer`` names the Python that has it.
``--updates`` also measures 100,000 queries in updates of 1,000::

    python benchmarks/events.py --data FOLDER [--peer VENV/bin/python] [--updates]
"""

from __future__ import annotations

import argparse
import logging
import pickle
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from intervals import interval
from joblib import Parallel, delayed
from outputs import RESULTS, save
from sklearn.decomposition import PCA
from sklearn.utils import Bunch
from tables import tables

from skroute import BudgetDecider, RankingRouter
from skroute.datasets import make_routing

BUDGET = 6.7e-4
AT = 600  # requests before the event
N_FORCED = 20  # calls of a model that joins
EVERY = 20  # requests of an update
N_FITTED = 890
FLASH, MISTRAL = "google/gemini-2.5-flash", "mistralai/mistral-large-2512"
EVENTS = {
    "quiet": "nothing happens",
    "flash worse": "quality of gemini-2.5-flash falls by 0.3",
    "mistral worse": "quality of mistral-large falls by 0.3",
    "flash cheaper": "price of gemini-2.5-flash falls to a tenth",
    "flash joins": "gemini-2.5-flash joins, after 20 forced calls",
}
#: Requests after the event on which is judged, first and last.
JUDGED = {
    "quiet": (0, 1180),
    "flash worse": (200, 400),
    "mistral worse": (200, 400),
    "flash cheaper": (100, 300),
    "flash joins": (60, 260),
}


@dataclass(frozen=True)
class Stream:
    """Requests, what each model would give and cost, and what was known before."""

    event: str
    models: list[str]
    X: np.ndarray
    quality: np.ndarray
    costs: np.ndarray
    fitted: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def joins(self) -> bool:
        """Whether a model joins on the way."""
        return self.event == "flash joins"


def make_stream(table: Bunch, event: str, seed: int) -> tuple[Stream, Stream]:
    """Make a stream, and one that was always as it is after the event."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(table.data))
    train, rest = rows[:N_FITTED], rows[N_FITTED:]
    rest = np.concatenate([rng.permutation(rest), rng.permutation(rest)])
    models = list(table.models)
    flash, mistral = models.index(FLASH), models.index(MISTRAL)

    def change(quality: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        quality, costs = quality.copy(), costs.copy()
        if event == "flash worse":
            quality[:, flash] = np.maximum(quality[:, flash] - 0.3, 0.0)
        if event == "mistral worse":
            quality[:, mistral] = np.maximum(quality[:, mistral] - 0.3, 0.0)
        if event == "flash cheaper":
            costs[:, flash] *= 0.1
        return quality, costs

    quality, costs = table.quality[rest], table.costs[rest]
    later = change(quality, costs)
    quality = np.concatenate([quality[:AT], later[0][AT:]])
    costs = np.concatenate([costs[:AT], later[1][AT:]])
    # As many directions as ParetoBandit takes.
    pca = PCA(25, random_state=0).fit(table.data[train])
    X = pca.transform(table.data).astype(np.float32)
    fitted = X[train], table.quality[train], table.costs[train]
    stream = Stream(event, models, X[rest], quality, costs, fitted)
    always = replace(stream, fitted=(fitted[0], *change(*fitted[1:])))
    return stream, always


@dataclass
class Routed:
    """What a stream got: models called, times, and models that were renewed."""

    choice: np.ndarray
    pace_us: float
    route_us: float
    update_ms: float
    renewed: dict[int, Any]


def route(stream: Stream, *, learns: bool) -> Routed:
    """Send a stream through a router and a decider, one request at a time."""
    X, y, costs = stream.fitted
    known = np.arange(len(stream.models))
    if learns and stream.joins:
        known = np.delete(known, stream.models.index(FLASH))
    router = RankingRouter(
        n_landmarks=128, forget_after=1000.0 if learns else None, random_state=0
    )
    estimates = router.fit_transform(X, y[:, known], costs=costs[:, known])
    decider = BudgetDecider(BUDGET).fit(estimates, y[:, known], costs=costs[:, known])
    choice = np.empty(len(stream.X), dtype=int)
    paces, routes, updates, renewed = [], [], [], {}
    start = 0
    for i in range(len(stream.X)):
        x = stream.X[i : i + 1]
        if learns and stream.joins and AT <= i < AT + N_FORCED:
            choice[i] = stream.models.index(FLASH)
            continue
        if learns and stream.joins and i == AT + N_FORCED:
            router, known = join(router, stream, known, i)
            start, decider = i, BudgetDecider(BUDGET)
            # What the pool can do for this money is told by the recent requests.
            decider.fit(router.transform(stream.X[:i]))
        began = time.perf_counter()
        Z = router.transform(x)
        called = int(decider.predict(Z)[0])
        routes.append(time.perf_counter() - began)
        choice[i] = known[called]
        paid = stream.costs[i : i + 1, choice[i]]
        began = time.perf_counter()
        decider.partial_fit(Z, costs=paid)
        paces.append(time.perf_counter() - began)
        if learns and (i + 1) % EVERY == 0:
            seen = slice(start, i + 1)
            start = i + 1
            mask = choice[seen, None] == known
            began = time.perf_counter()
            router.update(
                stream.X[seen],
                np.where(mask, stream.quality[seen][:, known], np.nan),
                costs=np.where(mask, stream.costs[seen][:, known], np.nan),
            )
            updates.append(time.perf_counter() - began)
            if router.renewed_:
                renewed[i + 1] = router.renewed_
    times = float(np.median(paces) * 1e6), float(np.median(routes) * 1e6)
    update_ms = float(np.median(updates) * 1e3) if updates else np.nan
    return Routed(choice, *times, update_ms, renewed)


def join(
    router: RankingRouter, stream: Stream, known: np.ndarray, now: int
) -> tuple[RankingRouter, np.ndarray]:
    """Add the model that joins, from its forced calls."""
    flash = stream.models.index(FLASH)
    forced = slice(AT, now)
    outcomes = np.full(now, np.nan)
    outcomes[forced] = stream.quality[forced, flash]
    costs = np.full(now, np.nan)
    costs[forced] = stream.costs[forced, flash]
    router = router.add_model(FLASH, outcomes, X=stream.X[:now], costs=costs)
    return router, np.append(known, flash)


def run_peer(python: str, stream: Stream, seed: int) -> np.ndarray:
    """Run ParetoBandit on a stream, in its own environment."""
    X, y, costs = stream.fitted
    # It takes them to be of equal spread.
    scale = 1.0 / X.std(axis=0)
    here = Path(__file__).with_name("events_peer.py")
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "in.npz"), Path(folder, "out.npy")
        joined = stream.models.index(FLASH) if stream.joins else -1
        np.savez(
            given,
            train=X * scale,
            train_quality=y,
            prices=costs.mean(axis=0),
            X=stream.X * scale,
            quality=stream.quality,
            costs=stream.costs,
            numbers=np.array([BUDGET, AT, N_FORCED, joined, seed], dtype=float),
        )
        subprocess.run([python, here, given, made], check=True)
        choice: np.ndarray = np.load(made)
    return choice


def judge(stream: Stream, choice: np.ndarray) -> dict[str, float]:
    """Quality and spend where the event is judged, and the worst window of spend."""
    at = np.arange(len(choice))
    quality, spent = stream.quality[at, choice], stream.costs[at, choice]
    first, last = (AT + n for n in JUDGED[stream.event])
    if stream.event == "quiet":
        first = 0
    windows = np.convolve(spent, np.ones(200) / 200, mode="valid")
    # Forced calls are not the router's.
    flash = stream.models.index(FLASH)
    return {
        "quality": float(quality[first:last].mean()),
        "spend": float(spent[first:last].mean() / BUDGET),
        "worst": float(windows.max() / BUDGET),
        "total": float(spent.mean() / BUDGET),
        "later": float(spent[AT + N_FORCED :].mean() / BUDGET),
        "flash": float((choice[first:last] == flash).mean()),
    }


def measure(table: Bunch, event: str, seed: int, peer: str | None) -> dict[str, Any]:
    """Measure one stream."""
    # Alarms are counted, not printed.
    logging.getLogger("skroute").setLevel(logging.ERROR)
    stream, always = make_stream(table, event, seed)
    ours = route(stream, learns=True)
    record: dict[str, Any] = {
        "event": event,
        "seed": seed,
        "skroute": judge(stream, ours.choice),
        "pace_us": ours.pace_us,
        "route_us": ours.route_us,
        "update_ms": ours.update_ms,
        "renewed": {str(i): list(names) for i, names in ours.renewed.items()},
    }
    record["refit"] = judge(stream, route(always, learns=False).choice)
    if peer:
        record["peer"] = judge(stream, run_peer(peer, stream, seed))
    print(record, flush=True)
    return record


def report(records: list[dict[str, Any]]) -> list[str]:
    """Lines of the page."""
    lines = [
        "# When something changes",
        "",
        "One request at a time on the other half of paretobandit, twice (1,780 "
        f"requests, mean budget {BUDGET:g} USD); after {AT} requests something "
        "changes, and nobody says so. Mean quality and spend (in budgets) of the "
        "requests named, with 95% intervals over the streams; the worst window of 200 "
        "requests over all of them, wherever it is. *Refit*: fitted as if it had "
        "always been so, and paced. "
        "All read the same 25 principal components. skroute: "
        "`RankingRouter(n_landmarks=128, forget_after=1000)`, `update` every "
        f"{EVERY} requests, `partial_fit` at each. ParetoBandit 0.1.1: priors from the "
        "same training half, its pacer told of real bills, `cost_penalty=0` (with its "
        "default it leaves a third of the budget unspent).",
        "",
        "| event | streams | requests after it | | quality | spend | worst 200 | flash "
        "called |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for event, says in EVENTS.items():
        some = [r for r in records if r["event"] == event]
        if not some:
            continue
        first, last = JUDGED[event]
        where = "all" if event == "quiet" else f"{first} to {last}"
        for who, name in (
            ("skroute", "skroute"),
            ("refit", "refit"),
            ("peer", "ParetoBandit"),
        ):
            known = [r[who] for r in some if who in r]
            if not known:
                continue
            count = len(known)
            values = {k: np.array([r[k] for r in known]) for k in known[0]}
            low, high = interval(values["quality"])
            spend = interval(values["spend"])
            lines.append(
                f"| {says} | {count} | {where} | {name} "
                f"| {values['quality'].mean():.3f} "
                f"({low:.3f} to {high:.3f}) | {values['spend'].mean():.2f} "
                f"({spend[0]:.2f} to {spend[1]:.2f}) | {values['worst'].max():.2f} | "
                f"{values['flash'].mean():.0%} |"
            )
            says = where = ""
    quiet = [r for r in records if r["event"] == "quiet"]
    early = [
        i for r in records for i in map(int, r["renewed"]) if i <= AT or r in quiet
    ]
    caught = {
        event: sorted(
            min((int(i) - AT for i in r["renewed"] if int(i) > AT), default=-1)
            for r in records
            if r["event"] == event
        )
        for event in ("flash worse", "mistral worse", "flash cheaper")
    }
    times = [np.median([r[k] for r in records]) for k in ("route_us", "pace_us")]
    update_ms = np.median([r["update_ms"] for r in records])
    lines += [
        "",
        f"- False alarms: {len(early)}, in {len(quiet)} quiet streams and before the "
        "event in all others.",
        *(
            f"- {EVENTS[event]}: noticed after {format_delays(delays)} requests."
            for event, delays in caught.items()
            if delays
        ),
        f"- Median times, with other streams at work on the same machine: "
        f"{times[0]:.0f} us to estimate and decide a request, {times[1]:.0f} us "
        f"for `partial_fit`, {update_ms:.0f} ms for an update of {EVERY} requests.",
        "",
        *list_losses(records),
    ]
    return lines


def list_losses(records: list[dict[str, Any]]) -> list[str]:
    """Say where skroute does worse than it should."""

    def collect(event: str, who: str, what: str) -> np.ndarray:
        some = [r for r in records if r["event"] == event and who in r]
        return np.array([r[who][what] for r in some] or [np.nan])

    ours, theirs = (collect("quiet", who, "worst") for who in ("skroute", "peer"))
    called, refit = (
        collect("flash joins", who, "flash").mean() for who in ("skroute", "refit")
    )
    spent, later = (
        collect("flash joins", "skroute", what).mean() for what in ("spend", "later")
    )
    return [
        f"Where it loses: in {(ours > 1.2).sum()} of {len(ours)} quiet streams some "
        f"window of 200 requests costs more than 1.2 budgets, up to {ours.max():.2f} "
        f"(ParetoBandit {theirs.max():.2f}): a single call of the most expensive model "
        f"is 22 budgets. A model that joins is called for {called:.0%} of the "
        f"requests, where a refit calls it for {refit:.0%}; {spent:.2f} of the budget "
        f"is spent there, and {later:.2f} on all requests after it. "
        "Each prompt comes twice in a stream, so what was learned of it the first time "
        "helps the second.",
    ]


def format_delays(delays: list[int]) -> str:
    """Say when a change was noticed, seed by seed; never is -1."""
    found = [str(d) for d in delays if d >= 0]
    never = len(delays) - len(found)
    text = ", ".join(found) or "no"
    return f"{text} (never in {never} streams)" if never else text


def measure_updates(n_queries: int = 100_000, size: int = 1000) -> list[str]:
    """Time and size of updates, a log of one outcome per query."""
    data = make_routing(n_queries, n_features=64, n_models=6, random_state=0)
    rng = np.random.default_rng(0)
    ran = np.arange(6) == rng.integers(6, size=(n_queries, 1))
    y, costs = (np.where(ran, t, np.nan) for t in (data.quality, data.costs))
    router = RankingRouter(forget_after=np.inf, n_landmarks=256, random_state=0)
    router.fit(data.data[:size], y[:size], costs=costs[:size])
    seconds, sizes = [], []
    for start in range(size, n_queries, size):
        rows = slice(start, start + size)
        began = time.perf_counter()
        router.update(data.data[rows], y[rows], costs=costs[rows])
        seconds.append(time.perf_counter() - began)
        sizes.append(len(pickle.dumps(router)) / 2**20)
    tenth = len(seconds) // 10
    lines = [
        "",
        f"{n_queries:,} queries of a log of 6 models (64 features, 256 landmarks) in "
        f"updates of {size:,}:",
        "",
        "| updates | median seconds | router, MiB |",
        "|---|---|---|",
    ]
    for name, part in (
        (f"2 to {tenth + 1}", slice(1, tenth + 1)),
        (f"last {tenth}", slice(-tenth, None)),
    ):
        took, size_now = np.median(seconds[part]), np.median(sizes[part])
        lines.append(f"| {name} | {took:.2f} | {size_now:.1f} |")
    return lines


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", help="Python that has paretobandit")
    parser.add_argument("--events", nargs="*", default=list(EVENTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quiet", type=int, default=20, help="quiet streams")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--updates", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "events")
    options = parser.parse_args()
    ((_, table),) = tables(options.data, ["paretobandit"])
    streams = [
        (event, seed)
        for event in options.events
        for seed in range(options.quiet if event == "quiet" else options.seeds)
    ]
    records = Parallel(options.jobs)(
        delayed(measure)(table, *stream, options.peer) for stream in streams
    )
    lines = report(records)
    if options.updates:
        lines += measure_updates()
    print(save(options.out, records, lines))


if __name__ == "__main__":
    main()

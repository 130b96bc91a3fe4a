"""Measure how often intervals of `policy_value` hold what a policy gives and costs.

A router is fitted on 30% of a table of all outcomes, and the other rows are what is
drawn from: each simulated log is a sample of them with replacement, on which a logging
policy calls one model per query, with known chances. Policies are then judged on the
log, and what they give is known exactly, as the mean over all rows that are drawn from.
Writes a page and the numbers::

    python benchmarks/logs.py --data FOLDER --logs 500
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from outputs import RESULTS, save
from scipy.special import softmax
from scipy.stats import norm
from sklearn.utils import Bunch
from tables import tables

from skroute import RankingRouter
from skroute.evaluation import policy_value

TABLES = ("pool9", "routerbench3", "paretobandit", "mmlu_pro")
SHARE_TRAINING = 0.3
# Queries of a log.
N_QUERIES = 1000
SHARES = (0.05, 0.1, 0.2)
LOGGERS = {
    "router, uniform": "the router set to 95%; a share of the queries to any model",
    "router, inverse gap": "the same; that share goes to better models more often",
    "softmax": "models of a higher expected quality more often; a share to any model",
    "escalation": "expensive models for queries that are hard, which the router does "
    "not see; a share to any model",
}
# What the router of the first two loggers is set to.
LOGGED = "95%"
# Worth of a log in queries, as a share of their number.
WORTH = (0.0, 0.05, 0.15, 0.4, 0.7, 1.0)


def prepare(table: Bunch) -> Bunch:
    """Fit the router, and let it and the constants decide all other queries."""
    spend = np.broadcast_to(table.costs, table.quality.shape)
    complete = np.isfinite(table.quality).all(axis=1) & np.isfinite(spend).all(axis=1)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(complete))
    n_training = int(SHARE_TRAINING * len(rows))
    train, rest = rows[:n_training], rows[n_training:]
    y, X = table.quality[train], table.data[rest]
    router = RankingRouter(n_estimators=0, random_state=0)
    router.fit(table.data[train], y, costs=spend[train])
    place = {name: i for i, name in enumerate(router.models_)}
    best = int(y.mean(axis=0).argmax())
    half = {"budget": float(spend[train, best].mean() / 2)}
    rules = {t: {"min_quality": t} for t in ("90%", "95%", "100%")}
    policies = {
        name: np.array(
            [place[m] for m in router.route(X, on_infeasible="cheapest", **rule)]
        )
        for name, rule in {**rules, "half of its money": half}.items()
    }
    policies["best single model"] = np.full(len(rest), best)
    return Bunch(
        quality=table.quality[rest],
        cost=spend[rest],
        expected_quality=router.predict_quality(X),
        expected_cost=router.predict_cost(X),
        policies=policies,
    )


def find_chances(pool: Bunch, logger: str, share: float) -> np.ndarray:
    """Find the chance of each model on each query of a table."""
    n_queries, n_models = pool.quality.shape
    usual = np.eye(n_models)[pool.policies[LOGGED]]
    evenly = np.full((n_queries, n_models), 1 / n_models)
    expected = pool.expected_quality
    if logger == "router, uniform":
        return (1 - share) * usual + share * evenly
    if logger == "router, inverse gap":
        gap = expected.max(axis=1, keepdims=True) - expected
        weight = 1 / (n_models + 20 * gap)
        weight /= weight.sum(axis=1, keepdims=True)
        return (1 - share) * usual + share * weight
    if logger == "softmax":
        return (1 - share) * softmax(10 * expected, axis=1) + share * evenly
    rung = pool.cost.mean(axis=0).argsort().argsort() / (n_models - 1)
    hard = 1 - pool.quality.mean(axis=1, keepdims=True)
    return (1 - share) * softmax(-8 * (rung - hard) ** 2, axis=1) + share * evenly


def judge(pool: Bunch, chances: np.ndarray, seed: int) -> Iterator[dict[str, Any]]:
    """Draw a log, and judge every policy on it."""
    rng = np.random.default_rng(seed)
    n_rows, n_models = pool.quality.shape
    rows = rng.integers(n_rows, size=N_QUERIES)
    drawn = chances[rows].cumsum(axis=1) < rng.random((N_QUERIES, 1))
    called = np.minimum(drawn.sum(axis=1), n_models - 1)
    log = {
        "called": called,
        "propensity": chances[rows, called],
        "quality": pool.quality[rows, called],
        "cost": pool.cost[rows, called],
        "expected_quality": pool.expected_quality[rows],
        "expected_cost": pool.expected_cost[rows],
    }
    normal = norm.ppf(0.975)
    for name, choice in pool.policies.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = policy_value(choice[rows], **log)
        found: dict[str, Any] = {
            "policy": name,
            "worth": value.effective_sample_size / N_QUERIES,
            "warned": bool(caught),
        }
        for kind in ("quality", "cost"):
            outcome = pool[kind][np.arange(n_rows), choice]
            low, high = getattr(value, f"{kind}_interval")
            true, slack = outcome.mean(), 1e-9 * np.abs(outcome).max()
            found[kind] = bool(low - slack <= true <= high + slack)
            plain = 2 * normal * outcome.std() / N_QUERIES**0.5
            found[f"{kind}_width"] = (high - low) / plain if plain > slack else None
            # The usual interval, had the policy itself been followed on these queries.
            followed = outcome[rows]
            half = normal * followed.std(ddof=1) / N_QUERIES**0.5
            found[f"{kind}_followed"] = bool(
                abs(followed.mean() - true) <= half + slack
            )
        yield found


def measure(folder: Path | None, names: list[str], n_logs: int) -> list[dict[str, Any]]:
    """Measure on so many logs of each table, each kind of log in turn."""
    records = []
    for name, table in tables(folder, names):
        pool = prepare(table)
        kinds = list(product(LOGGERS, SHARES))
        chances = {kind: find_chances(pool, *kind) for kind in kinds}
        for seed in range(n_logs):
            logger, share = kind = kinds[seed % len(kinds)]
            about = {"table": name, "logger": logger, "share": share, "log": seed}
            records += [about | found for found in judge(pool, chances[kind], seed)]
        print(f"{name}: {n_logs} logs", flush=True)
    return records


def write(records: list[dict[str, Any]]) -> Iterator[str]:
    """Write the page."""
    data = pd.DataFrame(records)
    n_logs = data.groupby("table")["log"].nunique().max()
    yield "# Judging a policy on a log"
    yield ""
    yield (
        "How often 95% intervals of {func}`~skroute.evaluation.policy_value` hold what "
        f"a policy gives and costs: {n_logs:,} simulated logs of {N_QUERIES:,} queries "
        f"on each of {data['table'].nunique()} tables, explored in 5, 10 or 20% of the "
        "queries, with five policies judged on each: a router, which is not fitted on "
        "these queries, set to 90, 95 and 100% of the best single model's quality and "
        "to half of its money, and the best single model. Width: the median, as a "
        "multiple of that of the usual interval had the policy itself been followed on "
        "as many queries; followed: how often that one holds the truth. In brackets: "
        "95% intervals over logs. Widths are within 1.5 times only where the log is "
        "worth most of its queries, that is for policies close to the logged one; no "
        "estimator makes more of calls that were not made."
    )
    yield ""
    yield from (f"- {name}: {what}." for name, what in LOGGERS.items())
    yield ""
    yield from _tabulate("tables", data, data["table"])
    shares = pd.cut(data["worth"], WORTH, include_lowest=True)
    labels = {
        part: f"{part.left if part.left > 0 else 0:.0%} to {part.right:.0%}"
        for part in shares.cat.categories
    }
    yield from _tabulate("the log is worth", data, shares.map(labels))
    yield from _tabulate("loggers", data, data["logger"])
    cells = data.groupby(["table", "logger", "policy"])
    found = cells[["quality", "cost"]].mean()
    bad = found[(found < 0.9).any(axis=1)].sort_values("quality")
    warned = cells["warned"].mean()
    yield "## Where it fails"
    yield ""
    yield (
        f"Of {len(found)} combinations of a table, a logger and a policy, {len(bad)} "
        "hold less than 90% of the time, of quality or of cost:"
    )
    yield ""
    yield "| table | logger | policy | quality | cost | warned |"
    yield "|---|---|---|---|---|---|"
    for key, row in bad.iterrows():
        told = f"{row['quality']:.0%} | {row['cost']:.0%} | {warned[key]:.0%}"
        yield f"| {' | '.join(key)} | {told} |"
    yield ""
    yield (
        "Escalation goes by what the router does not see, so a cheap model's logged "
        "calls are on easy queries, and its estimates are too high on hard ones; these "
        "policies are warned of. Costs fail where a cheap policy makes a few calls "
        "that cost many times the mean, and the log has few of these."
    )


def _tabulate(title: str, data: pd.DataFrame, by: pd.Series) -> Iterator[str]:
    """Write a row for each part of the records, and one for all."""
    kinds = ("quality", "cost")
    names = [
        f"{kind}{what}" for kind in kinds for what in ("", ": width", ": followed")
    ]
    yield f"| {title} | judged | warned | {' | '.join(names)} |"
    yield f"|{'---|' * (3 + len(names))}"
    parts = [(str(k), part) for k, part in data.groupby(by, observed=True)]
    if by.name == "table":
        quiet = data[~data["warned"]]
        parts += [("all", data), ("all without a warning", quiet)]
    for name, part in parts:
        cells = [f"{len(part):,}", f"{part['warned'].mean():.0%}"]
        for kind in kinds:
            cells += [
                _write_share(part, kind),
                f"{part[f'{kind}_width'].astype(float).median():.2f}",
                f"{part[f'{kind}_followed'].mean():.1%}",
            ]
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def _write_share(part: pd.DataFrame, kind: str) -> str:
    """Write how often intervals hold; policies of one log are one draw."""
    logs = part.groupby(["table", "log"])[kind].agg(["sum", "count"])
    share = logs["sum"].sum() / logs["count"].sum()
    off = logs["sum"] - share * logs["count"]
    error = np.sqrt((off**2).sum()) / logs["count"].sum()
    low, high = max(share - 1.96 * error, 0), min(share + 1.96 * error, 1)
    return f"{share:.1%} [{low:.1%}, {high:.1%}]"


def main() -> None:
    """Measure, and write the page and the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--logs", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULTS / "logs")
    given = parser.parse_args()
    records = measure(given.data, given.tables, given.logs)
    print(save(given.out, records, write(records)))


if __name__ == "__main__":
    main()

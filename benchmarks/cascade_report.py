"""The page of ``cascade.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from intervals import interval

__all__ = [
    "FIXED",
    "IDENTITY",
    "ORACLE",
    "OURS",
    "ROUTING",
    "TEXTBOOK",
    "report",
    "rows",
]

ROUTING, FIXED, TEXTBOOK = "routing", "fixed cascade", "independent"
OURS, ORACLE = "CascadeDecider", "oracle"
POLICIES = (ROUTING, FIXED, TEXTBOOK, OURS, ORACLE)
IDENTITY = ("table", "check", "seed")
# QNC that is as good as nothing, so that ratios can be averaged.
_LEAST = 1e-4
# Seeds from which an interval says something.
_LEAST_SEEDS = 3
# What a mean budget may be off by; and what is as good as all of it.
_WITHIN, _NEARLY = 0.03, 0.005

Record = dict[str, Any]


class Figures:
    """Records of the seeds of one table and check."""

    def __init__(self, records: list[Record]) -> None:
        self.records = sorted(records, key=lambda record: record["seed"])
        self.table, self.check = records[0]["table"], records[0]["check"]

    def values(self, policy: str, measure: str) -> np.ndarray:
        """Values of a measure by seed; none where it was not measured."""
        found = [r["policies"][policy] for r in self.records]
        return np.array([f[measure] for f in found if measure in f], dtype=float)

    def mean(self, policy: str, measure: str) -> Any:
        """Mean over the seeds."""
        return self.values(policy, measure).mean(axis=0)

    def log_ratio(self, policy: str) -> np.ndarray:
        """Logarithm of our QNC over another's, by seed."""
        ours, other = (
            np.log(np.maximum(self.values(p, "qnc"), _LEAST)) for p in (OURS, policy)
        )
        return ours - other

    def gain(self, policy: str) -> np.ndarray:
        """Our utility less another's, by seed."""
        return self.values(policy, "under_ours")

    def spent(self) -> list[tuple[float, bool]]:
        """Money spent of each budget, mean over seeds, and whether all of it was to be.

        A decider spends less where more money buys nothing, by its replay.
        """
        spent, promised = self.mean(OURS, "spent"), self.mean(OURS, "promised")
        binds = np.abs(promised - 1) < _NEARLY
        return list(zip(spent.tolist(), binds.tolist(), strict=True))


def _group(records: list[Record]) -> list[Figures]:
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record["table"], record["check"]), []).append(record)
    return [Figures(some) for some in found.values()]


def _signed(values: np.ndarray) -> str:
    low, high = interval(values)
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def _ratio(logs: np.ndarray) -> str:
    low, high = np.exp(interval(logs))
    return f"{np.exp(logs.mean()):.2f} [{low:.2f}, {high:.2f}]"


def _spending(figures: Figures) -> str:
    # In brackets: budgets of which not all was to be spent.
    return " / ".join(
        f"{share:.0%}" if binds else f"({share:.0%})"
        for share, binds in figures.spent()
    )


def _calls(pair: np.ndarray) -> str:
    return f"{pair[0]:.2f} / {pair[1]:.1f}"


#: Columns of the CSV, but for the names of the table, the check and the policy.
COLUMNS: dict[str, Callable[[Figures, str], str]] = {
    "QNC": lambda f, p: f"{f.mean(p, 'qnc'):.4f}",
    "QNC, ours / this": lambda f, p: "" if p == OURS else _ratio(f.log_ratio(p)),
    "reached": lambda f, p: f"{f.mean(p, 'reached'):.0%}",
    "nAUC": lambda f, p: f"{f.mean(p, 'nauc'):.4f}",
    "peak over best single": lambda f, p: f"{f.mean(p, 'peak'):+.4f}",
    "utility over routing": lambda f, p: (
        "" if p == ROUTING else _signed(f.values(p, "over_routing"))
    ),
    "s.e. of one seed": lambda f, p: (
        "" if p == ROUTING else f"{f.mean(p, 'over_routing_error'):.4f}"
    ),
    "utility, ours - this": lambda f, p: "" if p == OURS else _signed(f.gain(p)),
    "settled: cost / best single's": lambda f, p: _if_measured(
        f, p, "settled_cost", lambda mean: f"{mean:.3f}"
    ),
    "settled: quality - best single's": lambda f, p: _if_measured(
        f, p, "settled_quality", lambda mean: f"{mean:+.4f}"
    ),
    "settled: calls, mean / 95%": lambda f, p: _if_measured(
        f, p, "settled_calls", _calls
    ),
    "calls at each budget, mean / 95%": lambda f, p: _if_measured(
        f, p, "budget_calls", lambda mean: "; ".join(map(_calls, mean))
    ),
    "spent / budget": lambda f, p: _if_measured(
        f, p, "spent", lambda mean: " / ".join(f"{share:.1%}" for share in mean)
    ),
    "meant to spend / budget": lambda f, p: _if_measured(
        f, p, "promised", lambda mean: " / ".join(f"{share:.1%}" for share in mean)
    ),
    "fit s": lambda f, p: _if_measured(f, p, "fit_seconds", lambda mean: f"{mean:.1f}"),
    "seeds": lambda f, p: str(len(f.records)),
}


def _if_measured(
    figures: Figures, policy: str, measure: str, form: Callable[[Any], str]
) -> str:
    if not len(figures.values(policy, measure)):
        return ""
    return form(figures.mean(policy, measure))


def rows(records: list[Record]) -> Iterator[tuple[str, ...]]:
    """Rows of the CSV, the header first."""
    yield "table", "check", "policy", *COLUMNS
    for figures in _group(records):
        for policy in POLICIES:
            cells = (cell(figures, policy) for cell in COLUMNS.values())
            yield figures.table, figures.check, policy, *cells


def report(records: list[Record], real: set[str]) -> Iterator[str]:
    """Lines of the Markdown report; `real` are the names of the real checks."""
    measured = _group(records)
    yield "# Check, then escalate\n"
    yield (
        "What a check of the answers is worth to CascadeDecider, beside other policies "
        "on the same cross-fitted estimates of a RankingRouter and the same test rows; "
        f"at most {records[0]['max_calls']} calls of a query. All columns are in "
        "[cascade.csv](cascade.csv). In brackets: 95% bootstrap over seeds, whose "
        "splits share queries.\n"
    )
    yield (
        "- *routing*: one call, at the same prices. *fixed cascade*: one, two or three "
        "models from cheap to expensive with thresholds on how likely the answer is "
        "right, all tuned on training rows for each price. *independent*: the rule of "
        "CascadeDecider with models that fail independently; of answers it sees only "
        "that there is none. *oracle*: one call that knows every outcome.\n"
        "- QNC: money for all calls at the quality of the best single model, over what "
        "that model costs; 1 where it is not reached. Ratios are geometric means.\n"
        "- Utility: quality less price times spend, a mean over 20 prices.\n"
        '- Settled: by `min_quality="100%"` on training rows, beside the best single '
        "model; calls are the mean and the 95th percentile.\n"
        "- Spent: of mean budgets of 20%, 40% and 60% of the best single model's cost; "
        "in brackets where replay in training did not mean to spend all of it, as more "
        "money buys nothing.\n"
        "- Percentages name simulated checks that are right in so many of the calls: "
        "stated to the decider, or learned from checks in the table. *90% for half*: "
        "right in 90% for the cheap half of the models, a coin for the others. "
        "*wrong together*: wrong on the same queries for all models. "
        "*useless*: a coin.\n"
    )
    yield from _summarise(measured, real)
    yield from _tell_losses(measured)
    yield from _tell_budgets(measured)
    for table in dict.fromkeys(figures.table for figures in measured):
        yield f"## {table}\n"
        yield (
            "| check | QNC routing | fixed cascade | independent | CascadeDecider "
            "| oracle | ours / fixed cascade | utility over routing | over fixed "
            "cascade | over independent | nAUC: routing, ours | settled: cost, quality "
            "| calls | spent | fit s |"
        )
        yield "|" + "---|" * 15
        for figures in measured:
            if figures.table == table:
                yield "| " + " | ".join(_cells(figures)) + " |"
        yield ""


def _cells(figures: Figures) -> list[str]:
    return [
        figures.check,
        *(f"{figures.mean(policy, 'qnc'):.3f}" for policy in POLICIES),
        _ratio(figures.log_ratio(FIXED)),
        *(_signed(figures.gain(policy)) for policy in (ROUTING, FIXED, TEXTBOOK)),
        f"{figures.mean(ROUTING, 'nauc'):.4f}, {figures.mean(OURS, 'nauc'):.4f}",
        f"{figures.mean(OURS, 'settled_cost'):.3f}, "
        f"{figures.mean(OURS, 'settled_quality'):+.4f}",
        _calls(figures.mean(OURS, "settled_calls")),
        _spending(figures),
        f"{figures.mean(OURS, 'fit_seconds'):.1f}",
    ]


def _summarise(measured: list[Figures], real: set[str]) -> Iterator[str]:
    """Means over the tables that have a check."""
    yield "## In short\n"
    yield (
        "| check | tables | QNC, ours / fixed cascade | ours / routing "
        "| ours / independent | utility over routing | over fixed cascade "
        "| over independent |"
    )
    yield "|" + "---|" * 8
    helpful = [f for f in measured if f.check != "useless"]
    groups = {
        "all simulated, but useless": [f for f in helpful if f.check not in real],
        "all real": [f for f in helpful if f.check in real],
    }
    for figures in measured:
        groups.setdefault(figures.check, []).append(figures)
    for name, some in groups.items():
        if not some:
            continue
        seeds = min(len(figures.records) for figures in some)

        def over_tables(
            values: Callable[[Figures, str], np.ndarray],
            policy: str,
            some: list[Figures] = some,
            seeds: int = seeds,
        ) -> np.ndarray:
            return np.mean([values(f, policy)[:seeds] for f in some], axis=0)

        cells = [
            name,
            str(len({figures.table for figures in some})),
            *(
                _ratio(over_tables(Figures.log_ratio, policy))
                for policy in (FIXED, ROUTING, TEXTBOOK)
            ),
            *(
                _signed(over_tables(Figures.gain, policy))
                for policy in (ROUTING, FIXED, TEXTBOOK)
            ),
        ]
        yield "| " + " | ".join(cells) + " |"
    yield ""


def _tell_losses(measured: list[Figures]) -> Iterator[str]:
    """Name the tables and checks where another policy is better."""
    seeds = min(len(figures.records) for figures in measured)
    if seeds < _LEAST_SEEDS:
        return
    yield "## Where CascadeDecider loses\n"
    yield (
        "Another policy has a higher utility, or a lower QNC, and the interval of the "
        "difference leaves out zero; below the list, where the mean alone is behind.\n"
    )
    sure, close = [], []
    for figures in measured:
        for policy in (ROUTING, FIXED, TEXTBOOK):
            gain, logs = figures.gain(policy), figures.log_ratio(policy)
            what = f"{figures.table}, {figures.check}, to {policy}"
            if interval(gain)[1] < 0:
                sure.append(f"- {what}: utility {_signed(gain)}")
            elif gain.mean() < 0:
                close.append(f"{what} ({gain.mean():+.4f})")
            if interval(logs)[0] > 0:
                sure.append(f"- {what}: QNC {_ratio(logs)} times as high")
    yield from sure or ["Nowhere by that measure."]
    yield ""
    if close:
        yield f"Utility behind, within the interval: {'; '.join(close)}.\n"


def _tell_budgets(measured: list[Figures]) -> Iterator[str]:
    """Count the budgets that were held."""
    pairs = [
        (share, of_routing)
        for figures in measured
        for (share, binds), of_routing in zip(
            figures.spent(), figures.mean(ROUTING, "spent"), strict=True
        )
        if binds
    ]
    if not pairs:
        return
    yield "## Budgets\n"
    yield (
        f"{len(pairs)} mean budgets (of a table, a check and a share) that were to be "
        "spent, in the mean over seeds; routing has the same budgets and rows, so that "
        "it shows what comes of the rows that are drawn.\n"
    )
    yield "| policy | within 3% | above by more | below by more | mean | range |"
    yield "|---|---|---|---|---|---|"
    for policy, spent in zip((OURS, ROUTING), np.transpose(pairs), strict=True):
        yield (
            f"| {policy} | {(np.abs(spent - 1) <= _WITHIN).sum()} "
            f"| {(spent > 1 + _WITHIN).sum()} | {(spent < 1 - _WITHIN).sum()} "
            f"| {spent.mean():.1%} | {spent.min():.1%} to {spent.max():.1%} |"
        )
    yield ""

"""The page of ``quality.py``, and the CSV of all columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from peers import WORDED
from tables import REAL

__all__ = [
    "OURS",
    "POLICIES",
    "SHOWN_PROTOCOL",
    "STATIC",
    "TEXT",
    "Record",
    "group",
    "report",
    "rows",
]

OURS, TEXT, STATIC = "RankingRouter", "TextRouter", "best single"
POLICIES = {"price": "mean", "cap": "query"}
#: The protocol that is on the page; the others are in the CSV.
SHOWN_PROTOCOL = "70/30"
EQUI = "EquiRouter"
_N_RESAMPLES = 10_000
# QNC that is as good as nothing, so that ratios can be averaged.
_LEAST = 1e-4

Record = dict[str, Any]
Key = tuple[str, str]


class Figures:
    """Scores of the routers on one (table, protocol), over paired seeds."""

    def __init__(self, records: Iterable[Record]) -> None:
        parts: dict[str, dict[int, list[Record]]] = {}
        for record in records:
            by_seed = parts.setdefault(record["router"], {})
            by_seed.setdefault(record["seed"], []).append(record)
        self.seeds = {
            router: {seed: _mean(some) for seed, some in sorted(by_seed.items())}
            for router, by_seed in parts.items()
        }

    def routers(self) -> list[str]:
        """Routers by rising QNC, ours first."""
        ours = [name for name in (OURS, TEXT) if name in self.seeds]
        rest = self.seeds.keys() - {*ours}
        return ours + sorted(rest, key=lambda r: (self.values(r, "qnc").mean(), r))

    def peers(self, ours: str) -> list[str]:
        """Peers that have the same inputs as a router of ours."""
        worded = ours == TEXT
        others = self.seeds.keys() - {OURS, TEXT, STATIC}
        return sorted(name for name in others if (name in WORDED) == worded)

    def strongest(self, ours: str, metric: str) -> str:
        """Find the peer of the same inputs that has the best mean."""
        sign = -1 if metric == "nauc" else 1
        return min(
            self.peers(ours), key=lambda name: sign * self.values(name, metric).mean()
        )

    def policy(self, router: str, metric: str) -> str:
        """Ours is priced, as by default; a peer's policy is its best."""
        if router in (OURS, TEXT):
            return "price"
        metric, sign = ("nauc", -1) if metric == "nauc" else ("qnc", 1)
        return min(POLICIES, key=lambda p: sign * self.values(router, metric, p).mean())

    def values(
        self, router: str, metric: str, policy: str | None = None, seeds: Any = None
    ) -> np.ndarray:
        """One value a seed (or one row, where a metric has several numbers)."""
        seeds = self.seeds[router] if seeds is None else seeds
        records = [self.seeds[router][seed] for seed in seeds]
        if metric in records[0]:
            return np.array([record[metric] for record in records])
        policy = policy or self.policy(router, metric)
        return np.array([record["policies"][policy][metric] for record in records])

    def settled(self, router: str, target: str) -> np.ndarray:
        """What was settled for a target cost and gave, (n_seeds, 2), where measured."""
        records = self.seeds.get(router, {}).values()
        return np.array(
            [
                (record["settled_cost"][target], record["settled_gain"][target])
                for record in records
                if "settled_cost" in record
            ]
        )

    def draw(self, ours: str, router: str, metric: str) -> np.ndarray:
        """Ours less a peer's nAUC, or the logarithm of the ratio of QNCs.

        The first value is that of all seeds, the others are of resampled ones.
        """
        both = [seed for seed in self.seeds[ours] if seed in self.seeds[router]]
        # The policy is chosen on all of the peer's seeds.
        policy = self.policy(router, metric)
        mine = self.values(ours, metric, seeds=both)
        other = self.values(router, metric, policy, seeds=both)
        drawn = np.random.default_rng(0).integers(
            len(mine), size=(_N_RESAMPLES, len(mine))
        )
        picked = np.vstack([np.arange(len(mine)), drawn])
        a, b = mine[picked].mean(axis=1), other[picked].mean(axis=1)
        if metric == "nauc":
            return a - b
        return np.log(np.maximum(a, _LEAST)) - np.log(np.maximum(b, _LEAST))


def _mean(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        # What was not measured of all parts has no mean.
        shared = [key for key in values[0] if all(key in value for value in values)]
        return {key: _mean([value[key] for value in values]) for key in shared}
    if isinstance(values[0], str):
        return values[0]
    return np.mean(values, axis=0)


def group(records: Iterable[Record]) -> dict[Key, Figures]:
    """Group records by table and protocol."""
    found: dict[Key, list[Record]] = {}
    for record in records:
        found.setdefault((record["table"], record["protocol"]), []).append(record)
    return {key: Figures(some) for key, some in found.items()}


def _interval(drawn: np.ndarray) -> tuple[float, float, float]:
    """Give the value, and its 95% interval."""
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return float(drawn[0]), float(low), float(high)


def _ratio(drawn: np.ndarray) -> str:
    value, low, high = np.exp(_interval(drawn))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _signed(drawn: np.ndarray) -> str:
    value, low, high = _interval(drawn)
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def _settled(found: np.ndarray) -> str:
    """Write a mean cost, and a mean gain with its standard error over the seeds."""
    if not len(found):
        return ""
    cost, gain = found.mean(axis=0)
    error = ""
    if len(found) > 1:
        error = f" ± {found[:, 1].std(ddof=1) / np.sqrt(len(found)):.3f}"
    # Without a minus before what rounds to 0.
    return f"{cost:.2f} ({np.round(gain, 3) + 0.0:+.3f}{error})"


#: Columns of the CSV, in the order of `_row`.
COLUMNS = (
    "table",
    "protocol",
    "router",
    "QNC policy",
    "nAUC",
    "nAUC, ours - peer",
    "QNC",
    "QNC, ours / peer",
    "reached",
    "peak",
    "RCI parity / top",
    "strongest parity / top",
    "quality at 25/50/75%",
    "calibration",
    "spent",
    "gain (s.e.)",
    "95% of training (s.e.)",
    "95% on the same rows (s.e.)",
    "settled for 100%: cost (quality)",
    "settled for 95%: cost (quality)",
    "fit s (final)",
    "predict s",
    "seeds",
)
#: Targets that are settled on the training rows.
TARGETS = ("100%", "95%")


def rows(measured: dict[Key, Figures]) -> list[tuple[str, ...]]:
    """List the rows of the CSV, the header first."""
    return [
        COLUMNS,
        *(
            (*key, *_row(figures, router))
            for key, figures in measured.items()
            for router in figures.routers()
        ),
    ]


def _row(figures: Figures, router: str) -> list[str]:
    def mean(metric: str) -> Any:
        return figures.values(router, metric).mean(axis=0)

    def target(metric: str) -> str:
        # Of peers that were fitted before it was measured there is none.
        if not all(metric in record for record in figures.seeds[router].values()):
            return ""
        return f"{mean(metric):+.4f} ({mean(metric + '_error'):.4f})"

    ours = TEXT if router in WORDED else OURS
    compared = router not in (OURS, TEXT) and ours in figures.seeds
    return [
        router,
        figures.policy(router, "qnc"),
        f"{mean('nauc'):.4f}",
        _signed(figures.draw(ours, router, "nauc")) if compared else "",
        f"{mean('qnc'):.4f}",
        _ratio(figures.draw(ours, router, "qnc")) if compared else "",
        f"{mean('reached'):.0%}",
        f"{mean('peak'):.4f}",
        f"{mean('rci_parity'):.3f} / {mean('rci'):.3f}",
        f"{mean('strongest_parity'):.1%} / {mean('strongest'):.1%}",
        " / ".join(f"{value:.3f}" for value in mean("quality_at")),
        f"{mean('calibration_error'):.4f}",
        " / ".join(f"{value:.0%}" for value in mean("spent")),
        f"{mean('gain'):+.4f} ({mean('gain_error'):.4f})",
        target("target"),
        target("target_here"),
        *(_settled(figures.settled(router, share)) for share in TARGETS),
        f"{mean('fit_seconds'):.1f} ({mean('final_fit_seconds'):.1f})",
        f"{mean('predict_seconds'):.2f}",
        str(len(figures.seeds[router])),
    ]


def report(measured: dict[Key, Figures]) -> Iterator[str]:
    """Lines of the page: a summary, a line a table, and where ours lose."""
    shown = {
        table: figures
        for (table, protocol), figures in measured.items()
        if protocol == SHOWN_PROTOCOL and OURS in figures.seeds
    }
    yield "# Routing quality: skroute's routers against tuned peers\n"
    yield (
        "Splits 70/30, at most 6,000 queries of a table, MiniLM embeddings. "
        "*RankingRouter*, at its defaults, and the peers learn from the embeddings "
        "alone; *TextRouter*, *kNN, words* and *ridge, words* from the words and the "
        "surface of the prompts too. Peers are tuned for each table, and the better of "
        "two ways to spend is taken; the strongest is the best on the same test rows. "
        "QNC is the money at which the best single model's quality is reached, as a "
        "share of its cost, found in hindsight, and 1 where it is not reached. In "
        "brackets: 95% bootstrap over seeds, whose splits share queries. More columns, "
        "all peers and other protocols (fewer queries, hidden outcomes, tasks left "
        "out) are in [quality.csv](quality.csv).\n"
    )
    yield from _list_settled(shown)
    yield from _summarise({t: f for t, f in shown.items() if t in REAL})
    yield from _list_tables(shown)
    yield from _list_losses(shown)


def _summarise(real: dict[str, Figures]) -> Iterator[str]:
    """Ours against each kind of peer, over the real tables."""
    yield "## In short\n"
    yield f"Over {len(real)} real tables; ratios are geometric means.\n"
    yield (
        "| ours | against | QNC, ours / theirs | nAUC, ours - theirs | nAUC above "
        "| below by more than noise |"
    )
    yield "|---|---|---|---|---|---|"
    asked = {
        OURS: (None, "kNN", "ridge", EQUI),
        TEXT: (None, *WORDED, OURS),
    }
    for ours, others in asked.items():
        for other in others:
            pairs = [
                (figures, other)
                for figures in real.values()
                if ours in figures.seeds and (other or figures.peers(ours))
                if other is None or other in figures.seeds
            ]
            if not pairs:
                continue
            ratios, areas = (
                np.array([f.draw(ours, o or f.strongest(ours, m), m) for f, o in pairs])
                for m in ("qnc", "nauc")
            )
            below = sum(_interval(area)[2] < 0 for area in areas)
            yield (
                f"| {ours} | {other or 'the strongest on each table'} "
                f"| {_ratio(ratios.mean(axis=0))} | {_signed(areas.mean(axis=0))} "
                f"| {(areas[:, 0] > 0).sum()} of {len(areas)} | {below} |"
            )
    yield ""


def _list_settled(shown: dict[str, Figures]) -> Iterator[str]:
    """One line a table: what a rule cost and gave that was settled beforehand."""
    yield "## Settled beforehand\n"
    yield (
        '`route(X, min_quality="100%")`, whose price was settled on the training '
        "queries, on the others: cost as a share of that of the model that was best in "
        "training, and in brackets the quality less that model's, with its standard "
        "error over the seeds. The target is an estimate, which is missed about as "
        "often as it is exceeded. Last line: means over the real tables, of the cost "
        "the geometric one.\n"
    )
    routers = (OURS, TEXT, "kNN", "ridge", "kernel ridge", EQUI)
    yield "| table | " + " | ".join(routers) + " |"
    yield "|" + "---|" * (len(routers) + 1)
    for table, figures in shown.items():
        cells = [_settled(figures.settled(router, TARGETS[0])) for router in routers]
        yield "| " + " | ".join([table, *cells]) + " |"
    cells = []
    for router in routers:
        found = [f.settled(router, TARGETS[0]) for t, f in shown.items() if t in REAL]
        if not all(map(len, found)):
            cells.append("")
            continue
        cost, gain = np.array([some.mean(axis=0) for some in found]).T
        cells.append(
            f"{np.exp(np.log(cost).mean()):.2f} ({np.round(gain.mean(), 3) + 0.0:+.3f})"
        )
    yield "| " + " | ".join(["all real ones", *cells]) + " |"
    yield ""


def _list_tables(shown: dict[str, Figures]) -> Iterator[str]:
    """One line a table: QNC, and how far nAUC is above the strongest peer's."""
    yield "## By table\n"
    yield (
        f"| table | models | training queries | QNC: strongest peer | {OURS} "
        f"| strongest with words | {TEXT} | nAUC, {OURS} - strongest "
        f"| {TEXT} - strongest with words |"
    )
    yield "|" + "---|" * 9
    for table, figures in shown.items():
        size = next(iter(figures.seeds[OURS].values()))
        costs, areas = [], []
        for ours in (OURS, TEXT):
            if ours not in figures.seeds or not figures.peers(ours):
                costs += ["", ""]
                areas += [""]
                continue
            by_cost = figures.strongest(ours, "qnc")
            by_area = figures.strongest(ours, "nauc")
            peer, mine = (figures.values(r, "qnc").mean() for r in (by_cost, ours))
            costs += [f"{peer:.3f} ({by_cost})", f"{mine:.3f}"]
            areas += [f"{_signed(figures.draw(ours, by_area, 'nauc'))} ({by_area})"]
        cells = [
            table,
            f"{size['n_models']:.0f}" if "n_models" in size else "",
            f"{size['n_train']:,.0f}",
            *costs,
            *areas,
        ]
        yield "| " + " | ".join(cells) + " |"
    yield ""


def _list_losses(shown: dict[str, Figures]) -> Iterator[str]:
    """Where a peer of the same inputs is better by more than noise."""
    yield "## Where ours lose\n"
    yield "A peer is better, and the interval of the difference leaves out zero.\n"
    found = False
    for table, figures in shown.items():
        for ours in (OURS, TEXT):
            for peer in figures.peers(ours) if ours in figures.seeds else ():
                area, cost = (figures.draw(ours, peer, m) for m in ("nauc", "qnc"))
                lost = [f"nAUC {_signed(area)}"] * (_interval(area)[2] < 0)
                lost += [f"QNC {_ratio(cost)} times as high"] * (_interval(cost)[1] > 0)
                if lost:
                    found = True
                    yield f"- {table}, {ours} to {peer}: {'; '.join(lost)}"
    if not found:
        yield "Nowhere."
    yield ""

"""Tables to measure on, and protocols that split them. Shared by the benchmarks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils import Bunch, _safe_indexing

from skroute.datasets import load_digits_pool, make_routing, read_routerbench

__all__ = [
    "BUNDLED",
    "PROTOCOLS",
    "REAL",
    "Split",
    "Training",
    "join_prompts",
    "splits",
    "tables",
    "training_part",
]

#: Tables that are read from a folder.
REAL = (
    "pool9",
    "routerbench3",
    "routerbench3-question",
    "mistral7",
    "bfcl",
    "confidence",
    "livecodebench",
    "llmdrift",
    "mathvista21",
    "mmlu_pro",
    "niagara",
    "paretobandit",
    "zeroeval",
)
# The same queries, embedded by the end of the prompt, where the question is.
_QUESTION = "-question"
#: Tables that ship with the package, or are made.
BUNDLED: dict[str, Callable[[], Bunch]] = {
    "digits": load_digits_pool,
    "synthetic": lambda: make_routing(3000, n_models=6, random_state=0),
    "synthetic-noisy": lambda: make_routing(
        3000, n_models=6, noise=2.0, specialization=0.3, random_state=1
    ),
    "synthetic-graded": lambda: make_routing(
        3000,
        n_models=10,
        graded=True,
        specialization=2.0,
        per_query_costs=False,
        random_state=2,
    ),
}
PROTOCOLS = (
    "70/30",
    "20/80",
    "learning curve",
    "out of domain",
    "hidden 50%",
    "hidden 80%",
)

_CURVE = (100, 300, 1000, 3000)
# More tasks than this are subjects of an exam, not domains.
_MAX_DOMAINS = 12
# Queries of mistral7 that are kept, so that slow peers end.
_LIMIT = 6000


def tables(
    folder: Path | None,
    names: Iterable[str] | None = None,
    *,
    limit: int | None = _LIMIT,
) -> Iterator[tuple[str, Bunch]]:
    """Yield the tables that can be had, as ``read_routerbench`` gives them.

    Parameters
    ----------
    folder : Path or None
        Holds ``<name>.csv.gz``, ``<name>_minilm.npy`` and, for tables without costs,
        ``<name>_prices.json``; for ``<name>-question``, which is the same table,
        ``<name>_question_minilm.npy``. ``None`` leaves the real tables out.
    names : iterable of str, default=None
        Tables to yield; ``None`` is all.
    limit : int or None, default=6000
        Queries of a real table that are kept, drawn once and for all.
    """
    for name in (*REAL, *BUNDLED) if names is None else names:
        if name in BUNDLED:
            yield name, BUNDLED[name]()
            continue
        if name not in REAL:
            raise ValueError(f"{name!r} is none of {(*REAL, *BUNDLED)}.")
        file = f"{name.removesuffix(_QUESTION)}.csv.gz"
        if folder is not None and (folder / file).exists():
            yield name, _sample(_read(folder, name), limit)
        else:
            print(f"{name}: left out, there is no {file} in {folder}")


def _read(folder: Path, name: str) -> Bunch:
    part = _QUESTION.replace("-", "_") if name.endswith(_QUESTION) else ""
    name = name.removesuffix(_QUESTION)
    file = folder / f"{name}_prices.json"
    prices = json.loads(file.read_text()) if file.exists() else None
    table = read_routerbench(
        folder / f"{name}.csv.gz",
        prices=prices,
        embeddings=folder / f"{name}{part}_minilm.npy",
    )
    if table.costs is None:
        # mistral7 lists no prices: billions of parameters, which are nearly equal.
        table.costs = np.array(
            [
                8.0 if "llama-3" in m.lower() or "llama3" in m else 7.0
                for m in table.models
            ]
        )
    return table


def _sample(table: Bunch, limit: int | None) -> Bunch:
    n_queries = len(table.quality)
    if limit is None or n_queries <= limit:
        return table
    rows = np.sort(np.random.default_rng(0).choice(n_queries, limit, replace=False))
    for key, value in table.items():
        if isinstance(value, np.ndarray) and len(value) == n_queries:
            table[key] = value[rows]
    return table


@dataclass(frozen=True)
class Split:
    """What is trained on, and what is tested.

    Attributes
    ----------
    protocol : str
        Heading under which the scores are reported.
    part : str
        Held-out domain, if any; parts of one protocol and seed are averaged.
    seed : int
        Seed of the split, and of the routers.
    train, test : ndarray of int
        Rows; those tested have every outcome and cost.
    hidden : float
        Share of the training outcomes that is not shown.
    """

    protocol: str
    part: str
    seed: int
    train: np.ndarray
    test: np.ndarray
    hidden: float = 0.0


@dataclass(frozen=True)
class Training:
    """What a router is fitted on; one of `prices` and `costs` is ``None``."""

    X: Any
    y: np.ndarray
    prices: np.ndarray | None
    costs: np.ndarray | None


def splits(table: Bunch, protocol: str, seed: int) -> Iterator[Split]:
    """Draw the splits of one protocol and seed."""
    if protocol in ("70/30", "20/80"):
        yield _drawn(table, seed, protocol, int(protocol[:2]) / 100)
    elif protocol.startswith("hidden"):
        hidden = int(protocol.removeprefix("hidden ").rstrip("%")) / 100
        yield _drawn(table, seed, protocol, 0.7, hidden)
    elif protocol == "learning curve":
        whole = _drawn(table, seed, protocol, 0.7)
        order = np.random.default_rng(seed).permutation(whole.train)
        # It ends with all training queries: that is 70/30.
        for size in (n for n in _CURVE if n < len(order)):
            heading = f"{protocol}, {size} queries"
            yield Split(heading, "", seed, order[:size], whole.test)
    elif protocol == "out of domain":
        yield from _domains(table, seed, protocol)
    else:
        raise ValueError(f"{protocol!r} is none of {PROTOCOLS}.")


def training_part(table: Bunch, split: Split) -> Training:
    """Cut out the training rows, and hide what the protocol hides."""
    y = table.quality[split.train].copy()
    shown = np.random.default_rng(split.seed).random(y.shape) >= split.hidden
    y[~shown] = np.nan
    X = _safe_indexing(table.data, split.train)
    if np.ndim(table.costs) == 1:
        return Training(X, y, table.costs, None)
    # What was not run was not paid for.
    costs = np.where(shown, table.costs[split.train], np.nan)
    return Training(X, y, None, costs)


def join_prompts(table: Bunch) -> pd.DataFrame:
    """Put the prompts beside the embeddings."""
    columns = [f"embedding_{i}" for i in range(table.data.shape[1])]
    queries = pd.DataFrame(table.data, columns=columns)
    queries.insert(0, "prompt", table.prompts.astype(str))
    return queries


def _drawn(
    table: Bunch, seed: int, protocol: str, share: float, hidden: float = 0.0
) -> Split:
    """Split at random; repeats of a prompt stay on one side."""
    rows = np.arange(len(table.quality))
    groups = rows
    if table.prompts is not None:
        groups = np.unique(table.prompts.astype(str), return_inverse=True)[1]
    splitter = GroupShuffleSplit(1, train_size=share, random_state=seed)
    train, test = next(splitter.split(rows, groups=groups))
    return Split(protocol, "", seed, train, _complete(table, test), hidden)


def _domains(table: Bunch, seed: int, protocol: str) -> Iterator[Split]:
    """Leave out each task in turn; a seed draws 80% of the other rows."""
    if table.task is None:
        return
    # The training and the test questions of one exam are one domain.
    task = np.array([re.sub("[-_](train|test)$", "", str(t)) for t in table.task])
    names = np.unique(task)
    if not 2 <= len(names) <= _MAX_DOMAINS:
        return
    for name in names:
        rest = np.flatnonzero(task != name)
        train = np.random.default_rng(seed).permutation(rest)[: int(0.8 * len(rest))]
        test = _complete(table, np.flatnonzero(task == name))
        yield Split(protocol, str(name), seed, train, test)


def _complete(table: Bunch, rows: np.ndarray) -> np.ndarray:
    known = np.isfinite(table.quality).all(axis=1)
    if np.ndim(table.costs) == 2:
        known &= np.isfinite(table.costs).all(axis=1)
    return rows[known[rows]]

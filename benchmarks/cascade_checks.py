"""What can be seen of the answers of a table: simulated checks, and real ones.

Used by ``cascade.py``. Real checks are columns of the tables: ``<model>|check`` (what a
model says of its own answer), ``<model>|tokprob`` (the probability of its tokens), and
``<model>|answer``, or ``<name>_answers.csv.gz`` beside the table.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

__all__ = ["REAL_CHECKS", "SIMULATED", "Checked", "list_checks", "look"]


@dataclass(frozen=True)
class Checked:
    """Checks and answers of n queries and M models.

    Attributes
    ----------
    checks : ndarray of shape (n, M[, k]) or None
        What was said of the answers; ``NaN`` where unknown.
    answers : ndarray of object of shape (n, M) or None
        The answers; ``None`` where there is none.
    rate : float or None
        How often the check is right, where the decider is told so; else it has to
        learn that from `checks`.
    is_exact : bool
        Whether `checks` are the qualities themselves, and the decider takes them so.
    known : ndarray of bool of shape (n,)
        Queries of which all this is known.
    """

    known: np.ndarray
    checks: np.ndarray | None = None
    answers: np.ndarray | None = None
    rate: float | None = None
    is_exact: bool = False

    @property
    def is_learned(self) -> bool:
        """Whether the decider learns from a table what the check is worth."""
        return self.rate is None and not self.is_exact

    def take(self, rows: np.ndarray) -> Checked:
        """Give what is seen of some of the queries."""
        checks, answers = (
            None if part is None else part[rows] for part in (self.checks, self.answers)
        )
        return Checked(self.known[rows], checks, answers, self.rate, self.is_exact)


# Simulated checks


def _pass(
    table: Bunch, rate: Any, rng: np.random.Generator, *, together: bool = False
) -> np.ndarray:
    """Draw whether answers pass a check that is right with a chance.

    An answer of a graded quality is right that often.
    """
    quality = table.quality
    right = rng.random(quality.shape) < quality
    shape = (len(quality), 1) if together else quality.shape
    passed = right == (rng.random(shape) < rate)
    return np.where(np.isfinite(quality), passed, np.nan)


def _state(rate: float) -> Callable[..., dict[str, Any]]:
    return lambda table, rng: {"checks": _pass(table, rate, rng), "rate": rate}


def _learn(rate: float, **how: Any) -> Callable[..., dict[str, Any]]:
    return lambda table, rng: {"checks": _pass(table, rate, rng, **how)}


def _help_half(table: Bunch, rng: np.random.Generator) -> dict[str, Any]:
    """Check the cheap half of the models well, and the others by a coin."""
    cost = np.broadcast_to(table.costs, table.quality.shape)
    place = np.nanmean(cost, axis=0).argsort(kind="stable").argsort(kind="stable")
    rate = np.where(place < len(place) / 2, 0.9, 0.5)
    return {"checks": _pass(table, rate, rng)}


SIMULATED: dict[str, Callable[..., dict[str, Any]]] = {
    "exact": lambda table, rng: {"checks": table.quality, "is_exact": True},
    "90%": _state(0.9),
    "80%": _state(0.8),
    "70%": _state(0.7),
    "80%, learned": _learn(0.8),
    "80%, wrong together": _learn(0.8, together=True),
    "90% for half": _help_half,
    "useless": _learn(0.5),
}

# Real checks

_ANSWERS, _STATED, _TOKENS = "answer", "check", "tokprob"
#: Real checks by name: the columns that are read. Several columns of numbers are
#: several checks of one answer.
REAL_CHECKS = {
    "agreement": (_ANSWERS,),
    "self-confidence": (_STATED,),
    "token probability": (_TOKENS,),
    "self-confidence, tokens": (_STATED, _TOKENS),
    "self-confidence, agreement": (_STATED, _ANSWERS),
    "self-confidence, tokens, agreement": (_STATED, _TOKENS, _ANSWERS),
}
# The columns that a table has.
_COLUMNS = {
    "confidence": {_STATED, _TOKENS, _ANSWERS},
    "digits": {_STATED, _ANSWERS},
    "mmlu_pro": {_ANSWERS},
    "niagara": {_STATED, _ANSWERS},
    "zeroeval": {_ANSWERS},
}
#: Checks that are drawn on some tables only.
_DRAWN_ON = {"80%, wrong together": {"niagara"}}


def list_checks(name: str) -> list[str]:
    """List the checks of a table by name."""
    columns = _COLUMNS.get(name, set())
    return [
        *(check for check in SIMULATED if name in _DRAWN_ON.get(check, {name})),
        *(check for check, read in REAL_CHECKS.items() if columns.issuperset(read)),
    ]


def look(folder: Path, name: str, table: Bunch, check: str, seed: int) -> Checked:
    """See what a check says of all answers of a table."""
    known = np.ones(len(table.quality), dtype=bool)
    if check in SIMULATED:
        seen = SIMULATED[check](table, np.random.default_rng([seed, 1000]))
        return Checked(known, **seen)
    said, answers = [], None
    for kind in REAL_CHECKS[check]:
        if kind == _STATED:
            said.append(table.checks)
        elif kind == _TOKENS:
            said.append(_read_numbers(folder / f"{name}.csv.gz", table.models, kind))
        else:
            answers, known = _read_answers(folder, name, table)
    return Checked(known, np.stack(said, axis=2) if said else None, answers)


def _read_columns(file: Path) -> dict[str, list[str]]:
    """Read the texts of a file by column."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def _read_numbers(file: Path, models: np.ndarray, kind: str) -> np.ndarray:
    """Read numbers of a kind (n, M), ``NaN`` where a model has none."""
    columns = _read_columns(file)
    n_queries = len(next(iter(columns.values())))
    found = np.full((n_queries, len(models)), np.nan)
    for place, model in enumerate(models):
        texts = columns.get(f"{model}|{kind}")
        if texts is not None:
            found[:, place] = [float(text) if text else np.nan for text in texts]
    return found


def _read_answers(
    folder: Path, name: str, table: Bunch
) -> tuple[np.ndarray, np.ndarray]:
    """Read the answers (n, M), and of which queries (n,) they are known."""
    if table.answers is not None:
        return table.answers, np.ones(len(table.answers), dtype=bool)
    file = folder / f"{name}_answers.csv.gz"
    columns = _read_columns(file)
    texts = np.array([columns[model] for model in table.models], dtype=object).T
    is_unknown = texts == "?"
    is_none = is_unknown | (texts == "")
    if name == "mmlu_pro":
        # A letter in lower case was drawn at random, where the model gave no answer.
        is_none |= ~np.isin(texts.astype(str), list("ABCDEFGHIJ"))
    return np.where(is_none, None, texts), ~is_unknown.all(axis=1)

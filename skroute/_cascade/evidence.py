"""What is known of queries: estimates before a call, checks and answers after it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit

#: Probabilities are kept this far from 0 and 1, where estimates are never that sure.
MARGIN = 0.02
#: Log-odds of an answer that a check has settled.
SURE = 20.0
#: Log-odds of an empty answer.
NONE = -4.0


def to_log_odds(probability: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """Log-odds of probabilities, which are kept away from 0 and 1."""
    inside = np.clip(probability, margin, 1 - margin)
    return np.log(inside / (1 - inside))


def to_probability(log_odds: np.ndarray) -> np.ndarray:
    """Probabilities of log-odds."""
    probability: np.ndarray = expit(log_odds)
    return probability


@dataclass(frozen=True)
class Evidence:
    """Estimates, checks and answers of n queries and M models.

    Which of the models were called is said beside it, by a mask: checks and answers of
    the others may be there (in training), and are then not looked at.
    """

    #: Expected quality, in a unit in which the worst is 0 and the best 1, and cost.
    quality: np.ndarray
    cost: np.ndarray
    #: What each of k checks said, (n, M, k); NaN where nothing is known.
    checks: np.ndarray | None = None
    #: Numbers (n, M) that are equal where answers are; -1 where there is none.
    answers: np.ndarray | None = None

    def take(self, rows: np.ndarray | slice) -> Evidence:
        """Give the evidence of some of the queries."""
        return Evidence(
            self.quality[rows],
            self.cost[rows],
            None if self.checks is None else self.checks[rows],
            None if self.answers is None else self.answers[rows],
        )

    @cached_property
    def prior(self) -> np.ndarray:
        """Log-odds of the expected quality, (n, M)."""
        return to_log_odds(self.quality)

    @cached_property
    def is_checked(self) -> np.ndarray:
        """Whether any check of an answer is known, (n, M)."""
        if self.checks is None:
            return np.zeros(self.quality.shape, dtype=bool)
        known: np.ndarray = np.isfinite(self.checks).any(axis=2)
        return known

    @cached_property
    def is_empty(self) -> np.ndarray:
        """Whether a model gave no answer, (n, M)."""
        if self.answers is None:
            return np.zeros(self.quality.shape, dtype=bool)
        return self.answers < 0


@dataclass(frozen=True)
class Outcomes:
    """Queries of which it is known what each model gave, and cost.

    Qualities are in the unit of the evidence, ``NaN`` where unknown.
    """

    evidence: Evidence
    quality: np.ndarray  # (n, M)
    cost: np.ndarray  # (n, M)
    fold: np.ndarray  # (n,) numbers from 0

    def take(self, rows: np.ndarray) -> Outcomes:
        """Give the outcomes of some of the queries."""
        tables = self.quality[rows], self.cost[rows], self.fold[rows]
        return Outcomes(self.evidence.take(rows), *tables)

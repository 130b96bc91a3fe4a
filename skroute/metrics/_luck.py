"""How much of an oracle's lead is the luck of picking the largest outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skroute._table.alignment import align
from skroute._table.averages import best_on_average
from skroute._table.folds import check_groups
from skroute.metrics._choices import find_judged

__all__ = ["OracleLuck", "oracle_luck"]


@dataclass(frozen=True)
class OracleLuck:
    """How far ahead of the best single model an oracle is, and how much of it is luck.

    Attributes
    ----------
    lead : float
        Mean quality of the best outcome of each query, less that of the best single
        model.
    low, high : float
        Between these the luck lies, in the unit of the quality; at least 0, at most the
        lead.
    n_queries : int
        Queries with complete outcomes, on which this rests.
    n_repeated : int
        Those of them whose group has other answers; the bounds are as wide as can be
        for all others.
    """

    lead: float
    low: float
    high: float
    n_queries: int
    n_repeated: int

    @property
    def most_share(self) -> float:
        """The largest share of the lead that may be luck; 0 without a lead."""
        return self.high / self.lead if self.lead > 0 else 0.0

    def __str__(self) -> str:
        return (
            f"The oracle leads the best single model by {self.lead:.3g}, of which "
            f"between {self.low:.3g} and {self.high:.3g} is luck."
        )


def oracle_luck(
    y: Any, *, groups: Any = None, quality: Any = None, sample_weight: Any = None
) -> OracleLuck:
    """Bound how much of the oracle's lead is luck.

    An answer is right by chance too. An oracle picks the largest of the outcomes of a
    query, which is larger than that of the model which is best for it on average: a
    lead that no router can have. What could be known beforehand lies between two
    bounds, in expectation:

    - at least what decisions give that did not see the outcomes they are judged by:
      those of estimates of a router (`quality`), of other answers to the same prompt
      (`groups`), or the best single model for all;
    - at most the largest mean of all answers to the same prompt, if there are several.

    With one answer per prompt nobody can tell noise from what the prompt would have
    told, so the luck may be as low as 0.

    Parameters
    ----------
    y : array-like of shape (n_queries, n_models)
        Observed qualities. Queries with an unknown quality are left out.
    groups : array-like of shape (n_queries,), default=None
        Rows of a group are answers to the same prompt, each drawn anew. Rows that were
        only logged twice are not: their luck is the same.
    quality : array-like of shape (n_queries, n_models), default=None
        A router's estimates, which did not see the outcomes.
    sample_weight : array-like of shape (n_queries,), default=None
        How much each query counts.

    Returns
    -------
    OracleLuck
        The lead, and the bounds.

    Raises
    ------
    ValueError
        If no query has complete outcomes, or an argument is not as described.

    Examples
    --------
    Coins that are thrown twice: what leads is luck, as the other throw shows.

    >>> import numpy as np
    >>> from skroute.metrics import oracle_luck
    >>> y = np.random.default_rng(0).integers(0, 2, (2000, 3))
    >>> luck = oracle_luck(y, groups=np.arange(2000) // 2)
    >>> round(luck.lead, 2), round(luck.low, 2), round(luck.high, 2)
    (0.37, 0.09, 0.37)
    """
    y, _, quality, _, _ = align(y, quality=quality, sample_weight=sample_weight)
    known, weight = find_judged(y, None, sample_weight)
    checked = check_groups(groups, len(y))
    unit = np.arange(len(y)) if checked is None else checked
    y, unit = y[known], np.unique(unit[known], return_inverse=True)[1]
    rows = np.arange(len(y))
    means = np.average(y, axis=0, weights=weight)
    single = best_on_average(means, np.zeros(len(means)))
    # Sums over the other answers to the same prompt, and how many there are.
    sums = np.zeros((unit.max() + 1, y.shape[1]))
    np.add.at(sums, unit, y)
    count = np.bincount(unit)[unit]
    repeated = count > 1
    choice = np.full(len(y), single)
    if quality is not None:
        estimated = quality[known].argmax(axis=1)
        if np.average((y[rows, estimated] - y[:, single]), weights=weight) > 0:
            choice = estimated
    told = choice.copy()
    others = sums[unit] - y
    told[repeated] = others[repeated].argmax(axis=1)
    best = y.max(axis=1)
    # The better of the two: an answer seen once may tell less than a router.
    least = max(
        float(np.average(y[rows, decided], weights=weight))
        for decided in (choice, told)
    )
    most = np.where(repeated, (sums[unit] / count[:, None]).max(axis=1), best)
    average = float(np.average(best, weights=weight))
    lead = max(average - float(means[single]), 0.0)
    high = min(max(average - least, 0.0), lead)
    low = min(max(average - float(np.average(most, weights=weight)), 0.0), high)
    return OracleLuck(lead, low, high, len(y), int(repeated.sum()))

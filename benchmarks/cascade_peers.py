"""Cascades that CascadeDecider is measured against. Used by ``cascade.py``.

A fixed cascade, and the rule of the textbook, which takes models to fail independently.
Both have the decider's own calibrated checks, so that what is compared is the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from cascade_checks import Checked
from sklearn.linear_model import LogisticRegression

from skroute._cascade.beliefs import own_logits
from skroute._cascade.checks import Check, ExactCheck, StatedCheck
from skroute._cascade.evidence import Evidence, Outcomes
from skroute._cascade.inputs import number_answers, read_checks
from skroute._cascade.path import Replay
from skroute._cascade.policy import CascadePolicy, Terms, walk
from skroute._cascade.training import CascadeTraining
from skroute._table.folds import draw_folds

__all__ = ["FixedCascade", "Played", "Seen", "Textbook", "gather"]

_N_FOLDS = 3
# Thresholds that are tried, of the first of two models, and of either of three.
_N_TWO, _N_THREE = 40, 12
# Models of which chains of three are made.
_N_SHORT = 12
# Takes the place of an infinite price.
_LARGE = 1e12


@dataclass(frozen=True)
class Played:
    """What a policy did with n queries: each has the shape (n,)."""

    spend: np.ndarray
    quality: np.ndarray
    n_calls: np.ndarray


@dataclass(frozen=True)
class Seen:
    """Queries with their outcomes, and all that can be seen of their answers."""

    evidence: Evidence
    quality: np.ndarray  # (n, M); NaN where unknown
    cost: np.ndarray  # (n, M)

    def take(self, rows: np.ndarray) -> Seen:
        """Give some of the queries."""
        return Seen(self.evidence.take(rows), self.quality[rows], self.cost[rows])

    @property
    def is_complete(self) -> np.ndarray:
        """Whether every outcome is known, (n,)."""
        known: np.ndarray = np.isfinite(self.quality).all(axis=1)
        return known


def gather(
    Z: np.ndarray, quality: np.ndarray, cost: np.ndarray, checked: Checked
) -> Seen:
    """Put together estimates (n, 2 * M), outcomes (n, M) and checks of queries."""
    expected, expected_cost = np.hsplit(Z, 2)
    models = np.arange(quality.shape[1]).astype(str)
    evidence = Evidence(
        expected.clip(0, 1),
        expected_cost,
        read_checks(checked.checks, quality.shape, models),
        number_answers(checked.answers, quality.shape, models),
    )
    return Seen(evidence, quality, np.where(np.isfinite(cost), cost, expected_cost))


class Textbook:
    """One rule for routing and cascading, as if models failed independently.

    The log-odds of each answer come from its own check, so that agreement says nothing.
    """

    def __init__(self, seen: Seen, checked: Checked, max_calls: int, seed: int) -> None:
        n_models = seen.quality.shape[1]
        check: Check | None = None
        if checked.is_exact:
            check = ExactCheck()
        elif checked.rate is not None:
            rate = np.full(n_models, checked.rate)
            check = StatedCheck(rate, rate)
        estimates = np.hstack([seen.evidence.quality, seen.evidence.cost])
        fold = draw_folds(estimates, _N_FOLDS, np.random.RandomState(seed))
        # With one call, nothing is learned but the checks.
        known = Outcomes(seen.evidence, seen.quality, seen.cost, fold)
        training = CascadeTraining(known, np.ones(1), 1, seed, check)
        self.policy: CascadePolicy = training.fit()[0][-1]
        self.max_calls = max_calls
        #: Log-odds (n, M) of the training answers, by checks learned without them.
        self.held_out: np.ndarray = training.logits

    def logits(self, evidence: Evidence) -> np.ndarray:
        """Log-odds (n, M) of answers by their own checks."""
        return own_logits(self.policy.check, evidence)

    def play(self, seen: Seen, price: float) -> Played:
        """Play queries at a price."""
        terms = Terms(price, self.max_calls)
        made = walk(self.policy, terms, seen.evidence)
        replay = Replay.of(made, terms, seen.quality, seen.cost)
        return Played(replay.spend, replay.quality, made.n_calls)


@dataclass(frozen=True)
class Chains:
    """Chains of as many models, with a threshold for each but the last.

    Attributes
    ----------
    models : ndarray of int of shape (n_chains, length)
        In the order of their calls.
    thresholds : ndarray of shape (n_chains, length - 1)
        An answer is returned from this score on.
    quality, cost : ndarray of shape (n_chains,)
        Means over the training queries.
    """

    models: np.ndarray
    thresholds: np.ndarray
    quality: np.ndarray
    cost: np.ndarray

    def best(self, price: float) -> int:
        """Find the best chain at a price."""
        return int((self.quality - min(price, _LARGE) * self.cost).argmax())


class FixedCascade:
    """The same one to three models in the same order for every query (FrugalGPT).

    From cheap to expensive: the next one is called where the score of the last answer
    is below a threshold. The score is the log-odds that it is right, by the estimate
    for this very query and its check; where answers are known, a logistic regression
    on that, on the log-odds of the answer before it, and on whether both agree. Chains
    and thresholds are those of the highest utility on the training queries.
    """

    def __init__(self, seen: Seen, logits: np.ndarray, prices: np.ndarray) -> None:
        rows = np.flatnonzero(seen.is_complete)
        seen, logits = seen.take(rows), logits[rows]
        self._regressions: dict[tuple[int, int], LogisticRegression] = {}
        self.chains = [_make_singles(seen), _make_pairs(seen, logits)]
        short = self._shortlist(seen, prices)
        self.chains.append(self._make_triples(seen, logits, short))

    def settle(self, price: float) -> tuple[np.ndarray, np.ndarray]:
        """Find the models and thresholds of the highest utility at a price."""
        found = []
        for chains in self.chains:
            if len(chains.models):
                at = chains.best(price)
                worth = chains.quality[at] - min(price, _LARGE) * chains.cost[at]
                found.append((worth, chains.models[at], chains.thresholds[at]))
        return max(found, key=lambda chain: chain[0])[1:]

    def settle_for_quality(self, target: float) -> tuple[np.ndarray, np.ndarray]:
        """Find the cheapest models and thresholds that reach a mean quality."""
        found = []
        for chains in self.chains:
            reached = np.flatnonzero(chains.quality >= target - 1e-12)
            if len(reached):
                at = reached[chains.cost[reached].argmin()]
                found.append(
                    (-chains.cost[at], chains.models[at], chains.thresholds[at])
                )
        return max(found, key=lambda chain: chain[0])[1:]

    def play(
        self,
        seen: Seen,
        logits: np.ndarray,
        chain: tuple[np.ndarray, np.ndarray],
    ) -> Played:
        """Play queries by a chain."""
        n_queries = len(logits)
        spend, n_calls = np.zeros(n_queries), np.zeros(n_queries, dtype=int)
        quality, rows, last = np.empty(n_queries), np.arange(n_queries), None
        for place, model in enumerate(chain[0]):
            spend[rows] += seen.cost[rows, model]
            n_calls[rows] += 1
            quality[rows] = seen.quality[rows, model]
            if place < len(chain[1]):
                score = self._score(seen.evidence, logits, last, model)
                rows, last = rows[score[rows] < chain[1][place]], model
        return Played(spend, quality, n_calls)

    def _fit_pair(
        self, seen: Seen, logits: np.ndarray, before: int, model: int
    ) -> None:
        """Learn how to score the answers of a model after those of another."""
        right = seen.quality[:, model] > 0.5
        pair = before, model
        if seen.evidence.answers is None or pair in self._regressions:
            return
        if right.any() and not right.all():
            terms = _relate(seen.evidence, logits, before, model)
            self._regressions[pair] = LogisticRegression().fit(terms, right)

    def _score(
        self, evidence: Evidence, logits: np.ndarray, before: int | None, model: int
    ) -> np.ndarray:
        """Score the answers of a model, (n,), after those of another."""
        score: np.ndarray = logits[:, model]
        if before is not None and (before, model) in self._regressions:
            terms = _relate(evidence, logits, before, model)
            score = self._regressions[before, model].decision_function(terms)
        return score

    def _shortlist(self, seen: Seen, prices: np.ndarray) -> np.ndarray:
        """List the models that routing and chains of one and two call most."""
        count = np.zeros(seen.quality.shape[1])
        for price in np.minimum(prices, _LARGE):
            worth = seen.evidence.quality - price * seen.evidence.cost
            count += np.bincount(worth.argmax(axis=1), minlength=len(count)) / len(
                worth
            )
            for chains in self.chains:
                if len(chains.models):
                    count[chains.models[chains.best(price)]] += 1
        return np.argsort(-count, kind="stable")[:_N_SHORT]

    def _make_triples(
        self, seen: Seen, logits: np.ndarray, models: np.ndarray
    ) -> Chains:
        """Make all chains of three of some models, and measure them."""
        order = models[np.argsort(seen.cost[:, models].mean(axis=0), kind="stable")]
        found = [
            self._measure_triple(seen, logits, triple)
            for triple in combinations(order, 3)
        ]
        if not found:
            return _no_chains(3)
        triples, thresholds, quality, cost = map(
            np.concatenate, zip(*found, strict=True)
        )
        return Chains(triples, thresholds, quality, cost)

    def _measure_triple(
        self, seen: Seen, logits: np.ndarray, triple: tuple[int, int, int]
    ) -> tuple[np.ndarray, ...]:
        """Measure a chain of three at all pairs of thresholds."""
        one, two, three = triple
        self._fit_pair(seen, logits, one, two)
        n_queries = len(logits)
        cuts, stays = [], []
        for before, model in ((None, one), (one, two)):
            score = self._score(seen.evidence, logits, before, model)
            # The first answer may be there only for the second to agree with.
            cut = np.r_[_find_cuts(score, _N_THREE), np.inf]
            cuts.append(cut)
            stays.append((score >= cut[:, None]).astype(float))
        first, second = stays
        goes = 1 - first
        quality = (
            first @ seen.quality[:, one, None]
            + goes
            @ (second * seen.quality[:, two] + (1 - second) * seen.quality[:, three]).T
        )
        cost = (
            seen.cost[:, one].sum()
            + goes @ (seen.cost[:, two] + (1 - second) * seen.cost[:, three]).T
        )
        thresholds = np.stack(np.meshgrid(*cuts, indexing="ij"), axis=-1).reshape(-1, 2)
        models = np.tile(np.array(triple), (len(thresholds), 1))
        means = quality.ravel() / n_queries, cost.ravel() / n_queries
        return models, thresholds, *means


def _relate(
    evidence: Evidence, logits: np.ndarray, before: int, model: int
) -> np.ndarray:
    """Describe answers by those of the model before, (n, 3)."""
    assert evidence.answers is not None
    answers = evidence.answers[:, [before, model]]
    agree = (answers[:, 0] == answers[:, 1]) & (answers >= 0).all(axis=1)
    return np.column_stack([logits[:, model], logits[:, before], agree])


def _find_cuts(score: np.ndarray, n_cuts: int) -> np.ndarray:
    """Find thresholds at quantiles of scores (n,), of which no two are equal."""
    return np.unique(np.quantile(score, np.linspace(0, 1, n_cuts), method="lower"))


def _no_chains(length: int) -> Chains:
    blank = np.zeros(0)
    return Chains(
        np.zeros((0, length), dtype=int), np.zeros((0, length - 1)), blank, blank
    )


def _make_singles(seen: Seen) -> Chains:
    n_models = seen.quality.shape[1]
    return Chains(
        np.arange(n_models)[:, None],
        np.zeros((n_models, 0)),
        seen.quality.mean(axis=0),
        seen.cost.mean(axis=0),
    )


def _make_pairs(seen: Seen, logits: np.ndarray) -> Chains:
    """Make all chains of two, and measure them at all thresholds."""
    n_queries, n_models = logits.shape
    mean_cost = seen.cost.mean(axis=0)
    models, thresholds, means = [], [], []
    for first in range(n_models):
        others = np.flatnonzero(mean_cost > mean_cost[first])
        cuts = _find_cuts(logits[:, first], _N_TWO)[1:]
        stays = (logits[:, first] >= cuts[:, None]).astype(float)
        goes = 1 - stays
        quality = (stays @ seen.quality[:, [first]]) + goes @ seen.quality[:, others]
        cost = seen.cost[:, first].sum() + goes @ seen.cost[:, others]
        pair = np.column_stack([np.full(len(others), first), others])
        models.append(np.tile(pair, (len(cuts), 1)))
        thresholds.append(np.repeat(cuts, len(others))[:, None])
        means.append(np.stack([quality.ravel(), cost.ravel()]) / n_queries)
    quality, cost = np.concatenate(means, axis=1)
    if not len(quality):
        return _no_chains(2)
    return Chains(np.concatenate(models), np.concatenate(thresholds), quality, cost)

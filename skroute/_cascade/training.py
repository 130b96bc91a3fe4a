"""Fit the parts of a cascade on a table, each held out where the next learns from it.

Which models are called together, and after which others, is drawn from what a router
would do at many prices, with some noise: so the parts see the situations that they are
to judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from skroute._cascade.beliefs import (
    AnswerBelief,
    Belief,
    accuracy_log_odds,
    describe_answers,
    find_pairs,
    own_logits,
)
from skroute._cascade.checks import Check, LearnedCheck
from skroute._cascade.evidence import Evidence
from skroute._cascade.gains import (
    LearnedGain,
    Outlook,
    describe_calls,
    describe_others,
    find_rescues,
    train_gains,
    train_others,
)
from skroute._cascade.policy import CascadePolicy

_N_PRICES = 16
# Rows of simulated situations, as far as the table is smaller.
_MOST_BELIEFS, _MOST_GAINS = 6000, 4000
_MOST_OTHERS = 60_000
# Noise by which simulated calls differ from a router's.
_NOISE_OF_BELIEFS, _NOISE_OF_OTHERS, _NOISE_OF_GAINS = 0.05, 0.1, 0.15
#: Calls after which situations are simulated.
_DEEPEST = 4


@dataclass
class CascadeTraining:
    """Fits policies: one without each fold, and one on all rows.

    `quality` (n, M), in the unit of the evidence, is ``NaN`` where unknown; `fold` is
    (n,), numbers from 0. A `check` that is None is learned where there are checks.
    """

    evidence: Evidence
    quality: np.ndarray
    fold: np.ndarray
    prices: np.ndarray
    max_calls: int
    seed: int
    check: Check | None = None

    def __post_init__(self) -> None:
        self.rng = np.random.RandomState(self.seed)
        self.depth = min(self.max_calls, self.quality.shape[1], _DEEPEST)
        # Row sets without each fold, then all rows.
        self.without = [*np.unique(self.fold), -1]

    def fit(self) -> tuple[list[CascadePolicy], list[CascadePolicy]]:
        """Fit policies that take models as independent, and ones that learn of all."""
        evidence, quality = self.evidence, self.quality
        accuracy = accuracy_log_odds(quality)
        checks = [self._fit_check(fold) for fold in self.without]
        # What each row's answers are worth by a check that was learned without it.
        self.logits = np.empty(quality.shape)
        for check, fold in zip(checks[:-1], self.without[:-1], strict=True):
            rows = np.flatnonzero(self.fold == fold)
            self.logits[rows] = own_logits(check, evidence.take(rows))
        outlook = Outlook.fit(evidence, self.logits, quality)
        alone = AnswerBelief(accuracy)
        independent = [CascadePolicy(check, alone, outlook) for check in checks]
        if self.depth < 2:
            return independent, independent
        beliefs = self._fit_beliefs(accuracy)
        gains = self._fit_gains(accuracy, beliefs, outlook)
        learned = [
            CascadePolicy(check, belief, replace(outlook, share=self.share), gain)
            for check, belief, gain in zip(checks, beliefs, gains, strict=True)
        ]
        return independent, learned

    def _fit_check(self, fold: int) -> Check | None:
        if self.check is not None or self.evidence.checks is None:
            return self.check
        rows = np.flatnonzero(self.fold != fold)
        return LearnedCheck.fit(self.evidence.take(rows), self.quality[rows], self.seed)

    def _simulate(self, most: int, noise: float) -> tuple[np.ndarray, list[np.ndarray]]:
        """Draw situations: rows, and which models were called after 1, 2, ... calls."""
        n_rows, n_models = self.quality.shape
        rows = np.tile(np.arange(n_rows), max(2, most // n_rows))
        called, drawn = np.zeros((len(rows), n_models), dtype=bool), []
        at = np.arange(len(rows))
        for _ in range(self.depth):
            worth = self._rate(rows, noise)
            worth[called] = -np.inf
            called = called.copy()
            called[at, worth.argmax(axis=1)] = True
            drawn.append(called)
        return rows, drawn

    def _rate(self, rows: np.ndarray, noise: float) -> np.ndarray:
        """Rate models as a router does at random prices, with some noise."""
        price = self.prices[self.rng.randint(len(self.prices), size=len(rows))]
        quality, cost = self.evidence.quality[rows], self.evidence.cost[rows]
        return (
            quality - price[:, None] * cost + self.rng.gumbel(size=cost.shape) * noise
        )

    def _judge(
        self, beliefs: list[AnswerBelief], rows: np.ndarray, called: np.ndarray
    ) -> Belief:
        """Judge situations by what was learned without their folds."""
        found: dict[int, Belief] = {}
        places = []
        for number, fold in enumerate(self.without[:-1]):
            at = np.flatnonzero(self.fold[rows] == fold)
            part = rows[at]
            found[number] = beliefs[number].judge(
                self.evidence.take(part), self.logits[part], called[at]
            )
            places.append(at)
        order = np.argsort(np.concatenate(places))
        return Belief(
            *(
                np.concatenate([getattr(b, field.name) for b in found.values()])[order]
                for field in fields(Belief)
            )
        )

    def _fit_beliefs(self, accuracy: np.ndarray) -> list[AnswerBelief]:
        rows, situations = self._simulate(_MOST_BELIEFS, _NOISE_OF_BELIEFS)
        features, quality, folds = [], [], []
        for called in situations:
            described = describe_answers(
                self.evidence.take(rows), self.logits[rows], called
            )
            used = called & np.isfinite(self.quality[rows])
            features.append(described[used])
            quality.append(self.quality[rows][used])
            folds.append(self.fold[rows][used.nonzero()[0]])
        x, y, fold = map(np.concatenate, (features, quality, folds))
        beliefs = [
            AnswerBelief.fit_trees(accuracy, x[fold != f], y[fold != f], self.seed)
            for f in self.without
        ]
        pairs = [*self._compare(beliefs, rows, situations[1:])]
        better, worse, fold = map(np.concatenate, zip(*pairs, strict=True))
        return [
            belief.fit_comparison(better[fold != f], worse[fold != f])
            for belief, f in zip(beliefs, self.without, strict=True)
        ]

    def _compare(
        self,
        beliefs: list[AnswerBelief],
        rows: np.ndarray,
        situations: list[np.ndarray],
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield terms of better and worse answers, and their folds."""
        for called in situations:
            belief = self._judge(beliefs, rows, called)
            terms = beliefs[0].compare(
                self.evidence.take(rows), belief.features, belief.logits
            )
            at, better, worse = find_pairs(self.quality[rows], called, self.rng)
            yield terms[at, better], terms[at, worse], self.fold[rows][at]

    def _fit_gains(
        self, accuracy: np.ndarray, beliefs: list[AnswerBelief], outlook: Outlook
    ) -> list[LearnedGain]:
        rescue = find_rescues(self.quality)
        rows, situations = self._simulate(_MOST_BELIEFS, _NOISE_OF_OTHERS)
        features, quality, folds = [], [], []
        share = min(1.0, _MOST_OTHERS / (len(situations) * rows.size * len(accuracy)))
        for called in situations:
            belief = self._judge(beliefs, rows, called)
            described = describe_others(
                accuracy, self.evidence.take(rows), called, belief
            )
            used = ~called & np.isfinite(self.quality[rows])
            used &= self.rng.random_sample(used.shape) < share
            features.append(described[used])
            quality.append(self.quality[rows][used])
            folds.append(self.fold[rows][used.nonzero()[0]])
        x, y, fold = map(np.concatenate, (features, quality, folds))
        others = [
            train_others(x[fold != f], y[fold != f], self.seed) for f in self.without
        ]
        blank = [LearnedGain(accuracy, rescue, other, other) for other in others]
        found = zip(
            *self._realise(accuracy, rescue, blank, beliefs, outlook), strict=True
        )
        x, y, hint, fold = map(np.concatenate, found)
        self.share = float(np.clip((y @ hint) / max(hint @ hint, 1e-12), 0, 1))
        gains = [
            replace(draft, gains=train_gains(x[fold != f], y[fold != f], self.seed))
            for draft, f in zip(blank, self.without, strict=True)
        ]
        kept = self._find_share(beliefs, gains, outlook)
        return [replace(gain, share=kept) for gain in gains]

    def _find_share(
        self, beliefs: list[AnswerBelief], gains: list[LearnedGain], outlook: Outlook
    ) -> float:
        """Find how much of the gains that look largest is really gained.

        The largest of several estimates is often one that is too large.
        """
        rows, situations = self._simulate(_MOST_GAINS, _NOISE_OF_BELIEFS)
        quality, at = self.quality[rows], np.arange(len(rows))
        promised, realised = [], []
        for called in situations[:-1]:
            belief = self._judge(beliefs, rows, called)
            gain = np.empty(called.shape)
            for number, f in enumerate(self.without[:-1]):
                part = np.flatnonzero(self.fold[rows] == f)
                gain[part] = gains[number].gain(
                    *(self.evidence.take(rows[part]), called[part]),
                    *(_take(belief, part), outlook),
                )
            price = self.prices[self.rng.randint(len(self.prices), size=len(rows))]
            worth = gain - price[:, None] * self.evidence.cost[rows]
            worth[called] = -np.inf
            model = worth.argmax(axis=1)
            after = called.copy()
            after[at, model] = True
            best = self._judge(beliefs, rows, after).best
            gained = quality[at, best] - quality[at, belief.best]
            used = np.isfinite(gained) & (worth[at, model] > 0)
            promised.append(gain[at, model][used])
            realised.append(gained[used])
        p, r = map(np.concatenate, (promised, realised))
        return float(np.clip((p @ r) / max(p @ p, 1e-12), 0, 1))

    def _realise(
        self,
        accuracy: np.ndarray,
        rescue: np.ndarray,
        drafts: list[LearnedGain],
        beliefs: list[AnswerBelief],
        outlook: Outlook,
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield features of simulated next calls, and what they gained.

        Beside them, what they would gain if models failed independently, and folds.
        """
        rows, situations = self._simulate(_MOST_GAINS, _NOISE_OF_GAINS)
        quality, at = self.quality[rows], np.arange(len(rows))
        for called in situations[:-1]:
            belief = self._judge(beliefs, rows, called)
            moved = np.empty(called.shape)
            for number, f in enumerate(self.without[:-1]):
                part = np.flatnonzero(self.fold[rows] == f)
                moved[part] = drafts[number].estimates(
                    self.evidence.take(rows[part]), called[part], _take(belief, part)
                )
            hint = outlook.gain(belief.value, moved)
            alone = outlook.gain(belief.value, self.evidence.prior[rows])
            features = describe_calls(
                accuracy, rescue, self.evidence.take(rows), called, belief, hint
            )
            worth = self._rate(rows, _NOISE_OF_GAINS)
            worth[called] = -np.inf
            for model in np.argsort(-worth, axis=1)[:, :2].T:
                after = called.copy()
                after[at, model] = True
                best = self._judge(beliefs, rows, after).best
                gained = quality[at, best] - quality[at, belief.best]
                kept = np.isfinite(gained) & ~called[at, model]
                yield (
                    *(features[at, model][kept], gained[kept]),
                    *(alone[at, model][kept], self.fold[rows][kept]),
                )


def _take(belief: Belief, rows: np.ndarray) -> Belief:
    return Belief(*(getattr(belief, field.name)[rows] for field in fields(Belief)))

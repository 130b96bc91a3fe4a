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
    Situation,
    accuracy_log_odds,
    describe_answers,
    find_pairs,
    own_logits,
)
from skroute._cascade.checks import Check, ExactCheck, LearnedCheck
from skroute._cascade.evidence import Outcomes
from skroute._cascade.gains import (
    LearnedGain,
    describe_calls,
    describe_others,
    find_rescues,
    train_gains,
    train_others,
)
from skroute._cascade.outlook import Outlook
from skroute._cascade.policy import CascadePolicy
from skroute._compute.chunks import sample_evenly

# Rows to simulate; larger tables are sampled, and each sampled row is used twice.
_MOST_BELIEFS, _MOST_GAINS = 6000, 4000
_MOST_REPEATS = 10
# Models that are looked at of those not called.
_MOST_OTHERS = 4
# Noise by which simulated calls differ from a router's.
_NOISE_OF_BELIEFS, _NOISE_OF_OTHERS, _NOISE_OF_GAINS = 0.05, 0.1, 0.15
#: Calls after which situations are simulated.
_DEEPEST = 4


@dataclass
class CascadeTraining:
    """Fits policies: one without each fold, and one on all rows.

    A `check` that is None is learned where there are checks.
    """

    known: Outcomes
    prices: np.ndarray
    max_calls: int
    seed: int
    check: Check | None = None

    def __post_init__(self) -> None:
        self.evidence, self.quality = self.known.evidence, self.known.quality
        self.fold = self.known.fold
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
        gains, outlook = self._fit_gains(accuracy, beliefs, outlook)
        learned = [
            CascadePolicy(check, belief, outlook, gain)
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
        some = sample_evenly(n_rows, most)
        rows = np.tile(some, min(max(2, most // n_rows), _MOST_REPEATS))
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
    ) -> Situation:
        """Judge situations by what was learned without their folds."""
        evidence = self.evidence.take(rows)
        found = [
            beliefs[number].judge(
                evidence.take(part), self.logits[rows[part]], called[part]
            )
            for number, part in self._parts(rows)
        ]
        order = self._order(rows)
        joined = (
            np.concatenate([getattr(belief, field.name) for belief in found])[order]
            for field in fields(Belief)
        )
        return Situation(evidence, called, Belief(*joined))

    def _fit_beliefs(self, accuracy: np.ndarray) -> list[AnswerBelief]:
        if isinstance(self.check, ExactCheck):  # nothing to add to what is known
            return [AnswerBelief(accuracy)] * len(self.without)
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
            situation = self._judge(beliefs, rows, called)
            belief = situation.belief
            terms = beliefs[0].compare(
                situation.evidence, belief.features, belief.logits
            )
            at, better, worse = find_pairs(self.quality[rows], called, self.rng)
            yield terms[at, better], terms[at, worse], self.fold[rows][at]

    def _fit_gains(
        self, accuracy: np.ndarray, beliefs: list[AnswerBelief], outlook: Outlook
    ) -> tuple[list[LearnedGain], Outlook]:
        """Learn what a next call gains; returns also an outlook that knows it."""
        found = zip(*self._observe_others(accuracy, beliefs), strict=True)
        x, y, fold = map(np.concatenate, found)
        drafts = []
        for without in self.without:
            other = train_others(x[fold != without], y[fold != without], self.seed)
            rescue = find_rescues(self.quality[self.fold != without])
            drafts.append(LearnedGain(accuracy, rescue, other, other))
        found = zip(*self._observe_gains(drafts, beliefs, outlook), strict=True)
        x, y, alone, fold = map(np.concatenate, found)
        gains = [
            replace(draft, gains=train_gains(x[fold != f], y[fold != f], self.seed))
            for draft, f in zip(drafts, self.without, strict=True)
        ]
        policies = [
            CascadePolicy(None, belief, outlook, gain)
            for belief, gain in zip(beliefs, gains, strict=True)
        ]
        found = zip(*self._observe_best(policies, beliefs), strict=True)
        share = _find_share(*map(np.concatenate, found))
        outlook = replace(outlook, share=_find_share(alone, y))
        return [replace(gain, share=share) for gain in gains], outlook

    def _observe_others(
        self, accuracy: np.ndarray, beliefs: list[AnswerBelief]
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield features of models that were not called, their quality and folds."""
        rows, situations = self._simulate(_MOST_BELIEFS, _NOISE_OF_OTHERS)
        n_others = min(_MOST_OTHERS, self.quality.shape[1] - 1)
        for called in situations[: self.quality.shape[1] - 1]:
            drawn = np.where(called, 2.0, self.rng.random_sample(called.shape))
            models = np.argsort(drawn, axis=1)[:, :n_others]
            at = np.arange(len(rows))[:, None]
            situation = self._judge(beliefs, rows, called)
            features = describe_others(accuracy, situation, models)
            quality = self.quality[rows[:, None], models]
            used = np.isfinite(quality) & ~called[at, models]
            fold = np.broadcast_to(self.fold[rows][:, None], models.shape)
            yield features[used], quality[used], fold[used]

    def _observe_gains(
        self,
        drafts: list[LearnedGain],
        beliefs: list[AnswerBelief],
        outlook: Outlook,
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield features of simulated next calls, and what they gained.

        Beside them, what they would gain if models failed independently, and folds.
        """
        rows, situations = self._simulate(_MOST_GAINS, _NOISE_OF_GAINS)
        at = np.arange(len(rows))[:, None]
        for called in situations[:-1]:
            situation = self._judge(beliefs, rows, called)
            worth = self._rate(rows, _NOISE_OF_GAINS)
            worth[called] = -np.inf
            models = np.argsort(-worth, axis=1)[:, :2]
            value = situation.belief.value
            described = []
            for number, part in self._parts(rows):
                draft, its_models = drafts[number], models[part]
                stands = situation.take(part)
                moved = draft.estimates(stands, its_models)
                hint = outlook.gain(value[part], moved, its_models)
                described.append(
                    describe_calls(
                        draft.accuracy, draft.rescue, stands, its_models, hint
                    )
                )
            features = np.concatenate(described)[self._order(rows)]
            prior = situation.evidence.prior[at, models]
            alone = outlook.gain(value, prior, models)
            for place, model in enumerate(models.T):
                gained = self._realise(beliefs, rows, situation, model)
                used = np.isfinite(gained)
                yield (
                    *(features[used, place], gained[used]),
                    *(alone[used, place], self.fold[rows][used]),
                )

    def _observe_best(
        self, policies: list[CascadePolicy], beliefs: list[AnswerBelief]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield promised and realised gains of the calls that would be made.

        The largest of several estimates is often one that is too large.
        """
        rows, situations = self._simulate(_MOST_GAINS, _NOISE_OF_BELIEFS)
        at = np.arange(len(rows))
        for called in situations[:-1]:
            situation = self._judge(beliefs, rows, called)
            price = self.prices[self.rng.randint(len(self.prices), size=len(rows))]
            charge = price[:, None] * self.evidence.cost[rows]
            worth, model = np.empty(called.shape), np.empty(len(rows), dtype=np.intp)
            for number, part in self._parts(rows):
                rating = policies[number].rate_next(
                    situation.take(part), charge[part], ~called[part], is_last=False
                )
                worth[part], model[part] = rating.worth, rating.choose()
            gained = self._realise(beliefs, rows, situation, model)
            used = np.isfinite(gained) & (model >= 0)
            promised = worth[at, model] + charge[at, model]
            yield promised[used], gained[used]

    def _realise(
        self,
        beliefs: list[AnswerBelief],
        rows: np.ndarray,
        situation: Situation,
        model: np.ndarray,
    ) -> np.ndarray:
        """Find what calling a model (n,) really gained; NaN if unknown or called."""
        at = np.arange(len(rows))
        called = situation.called[at, model]
        # The same number of calls for all: a model that was called is called again.
        other = np.where(called, (~situation.called).argmax(axis=1), model)
        after = situation.called.copy()
        after[at, other] = True
        best = self._judge(beliefs, rows, after).belief.best
        quality = self.quality[rows]
        gained = quality[at, best] - quality[at, situation.belief.best]
        return np.where(called, np.nan, gained)

    def _order(self, rows: np.ndarray) -> np.ndarray:
        """Find the order that undoes going through the rows by folds."""
        return np.argsort(np.concatenate([part for _, part in self._parts(rows)]))

    def _parts(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Number the folds, and find where their rows are."""
        for number, fold in enumerate(self.without[:-1]):
            yield number, np.flatnonzero(self.fold[rows] == fold)


def _find_share(promised: np.ndarray, realised: np.ndarray) -> float:
    """Find by which share gains were realised, by least squares; from 0 to 1."""
    total = promised @ promised
    return float(np.clip(promised @ realised / total, 0, 1)) if total > 0 else 1.0

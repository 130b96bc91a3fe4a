"""What to think of an answer once others were called too.

An answer is right more likely where others gave the same, and less where its own check
is good but those of other models are bad on this query. How much that says is learned
from the table: errors agree, too. Which of the answers is the best is then decided by
comparing them, as a score of each is not made for that.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from skroute._cascade.checks import Check
from skroute._cascade.evidence import NONE, Evidence, to_log_odds, to_probability
from skroute._cascade.logistic import fit_logistic
from skroute._rank.forest import PairRanker
from skroute._rank.lambdarank import train_trees
from skroute._table.averages import average_known

#: In the place of a log-odds where there is none.
NOBODY = -9.0
_N_ROUNDS = 60
# Difference of two qualities that is worth comparing.
_LEAST_DIFFERENCE = 0.3


@dataclass(frozen=True)
class Belief:
    """What is thought of the called models of some queries."""

    logits: np.ndarray  # (n, M) log-odds of the answers
    best: np.ndarray  # (n,) model whose answer would be returned
    value: np.ndarray  # (n,) expected quality of that answer
    lead: np.ndarray  # (n,) by how much the best answer beats the next, in log-odds
    features: np.ndarray  # (n, M, n_features) what others say of each answer

    @property
    def of_best(self) -> np.ndarray:
        """Features (n, n_features) of the answers that would be returned."""
        return self.features[np.arange(len(self.best)), self.best]


@dataclass(frozen=True)
class Situation:
    """Where some queries stand after the same number of calls."""

    evidence: Evidence
    called: np.ndarray  # (n, M)
    belief: Belief

    def take(self, rows: np.ndarray) -> Situation:
        """Give the situation of some of the queries."""
        parts = (getattr(self.belief, field.name)[rows] for field in fields(Belief))
        return Situation(self.evidence.take(rows), self.called[rows], Belief(*parts))


#: Columns of `describe_answers`.
LOGIT, SUPPORT, N_AGREE, SUM_AGREE, DISSENT, N_DISSENT, SUM_DISSENT = range(7)
N_CALLED, SURPRISE, PRIOR, MEAN_PRIOR, EMPTY = range(7, 12)


def describe_answers(
    evidence: Evidence, logits: np.ndarray, called: np.ndarray
) -> np.ndarray:
    """Describe each called answer by what the others say, (n, M, n_features).

    `logits` (n, M) are those of each answer by its own check. All queries have had the
    same number of calls. Features of models that were not called are 0.
    """
    n_queries, n_calls = len(called), int(called[0].sum()) if len(called) else 0
    rows = np.arange(n_queries)[:, None]
    models = np.nonzero(called)[1].reshape(n_queries, n_calls)
    own, prior = logits[rows, models], evidence.prior[rows, models]
    is_empty = evidence.is_empty[rows, models]
    same = np.eye(n_calls, dtype=bool)[None]
    if evidence.answers is not None:
        # An empty answer is equal to no other.
        answers = np.where(is_empty, -1 - models, evidence.answers[rows, models])
        same = answers[:, :, None] == answers[:, None, :]
    same = np.broadcast_to(same, (n_queries, n_calls, n_calls))
    theirs = own[:, None, :]
    n_agree = same.sum(axis=2)
    sum_agree = (same * theirs).sum(axis=2)

    def most(among: np.ndarray, values: np.ndarray, otherwise: float) -> np.ndarray:
        highest: np.ndarray = np.where(among, values, otherwise).max(
            axis=2, initial=otherwise
        )
        return highest

    surprise = (own - prior).mean(axis=1, keepdims=True) if n_calls else own
    columns = [
        own,
        most(same, theirs, NOBODY),
        n_agree,
        sum_agree,
        most(~same, theirs, NOBODY),
        most(~same, n_agree[:, None, :], 0.0),
        most(~same, sum_agree[:, None, :], NOBODY),
        n_calls,
        surprise,
        prior,
        evidence.prior.mean(axis=1, keepdims=True),
        is_empty,
    ]
    features = np.zeros((*called.shape, len(columns)))
    for place, column in enumerate(columns):
        features[rows, models, place] = column
    return features


_RISES, _FALLS = 1, -1
_MONOTONE = [_RISES, _RISES, _RISES, _RISES, _FALLS, _FALLS, _FALLS]


@dataclass(frozen=True)
class AnswerBelief:
    """Log-odds of the called answers, and the comparison of them."""

    accuracy: np.ndarray  # (M,) log-odds of the mean quality
    trees: PairRanker | None = None  # what others say; None: each check by itself
    weights: np.ndarray | None = None  # of the comparison; None: the largest log-odds

    def judge(
        self, evidence: Evidence, logits: np.ndarray, called: np.ndarray
    ) -> Belief:
        """Judge the answers of the models that were called."""
        features = describe_answers(evidence, logits, called)
        if self.trees is not None:
            logits = logits.copy()
            logits[called] += self.trees.predict(features[called][None])[0]
        score = logits
        if self.weights is not None:
            score = self.compare(evidence, features, logits) @ self.weights
        score = np.where(called, score, -np.inf)
        rows, best = np.arange(len(score)), score.argmax(axis=1)
        others = score.copy()
        others[rows, best] = -np.inf
        with np.errstate(invalid="ignore"):
            lead = score[rows, best] - others.max(axis=1)
        value = to_probability(logits[rows, best])
        return Belief(logits, best, value, lead, features)

    def compare(
        self, evidence: Evidence, features: np.ndarray, logits: np.ndarray
    ) -> np.ndarray:
        """Terms (n, M, n_terms) by which answers are compared."""
        own, prior = features[..., LOGIT], evidence.prior
        accuracy = np.broadcast_to(self.accuracy, prior.shape)
        return np.stack(
            [logits, own, prior, accuracy, features[..., N_AGREE], evidence.is_empty], 2
        )

    @classmethod
    def fit_trees(
        cls,
        accuracy: np.ndarray,
        features: np.ndarray,
        quality: np.ndarray,
        seed: int,
    ) -> AnswerBelief:
        """Learn what others say of an answer, from called answers (n_rows, .)."""
        trees = train_trees(
            features,
            quality,
            start=features[:, LOGIT],
            objective="cross_entropy",
            monotone=_MONOTONE,
            n_estimators=_N_ROUNDS,
            min_in_leaf=100,
            seed=seed,
        )
        return cls(accuracy, trees)

    def fit_comparison(
        self,
        better: np.ndarray,
        worse: np.ndarray,
    ) -> AnswerBelief:
        """Learn to compare: terms (n_pairs, n_terms) of a better and a worse answer.

        The weights are shrunk to those that pick the answer of the highest log-odds.
        """
        if not len(better):
            return self
        difference = better - worse
        scale = difference.std(axis=0) + 1e-6
        prior = np.zeros(difference.shape[1])
        prior[0] = scale[0]
        ones = np.ones(len(difference))
        weights = fit_logistic(difference / scale, ones, 0 * ones, prior, 20.0)
        return AnswerBelief(self.accuracy, self.trees, weights / scale)


def find_pairs(
    quality: np.ndarray, called: np.ndarray, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find a better and a worse called answer of each query, ties at random.

    Returns rows, and the two models of each.
    """
    known = called & np.isfinite(quality)
    noise = rng.random_sample(quality.shape) * 0.1
    better = np.where(known, quality + noise, -np.inf).argmax(axis=1)
    worse = np.where(known, quality + noise, np.inf).argmin(axis=1)
    rows = np.arange(len(quality))
    with np.errstate(invalid="ignore"):
        gap = quality[rows, better] - quality[rows, worse]
    kept = gap > _LEAST_DIFFERENCE
    return rows[kept], better[kept], worse[kept]


def own_logits(check: Check | None, evidence: Evidence) -> np.ndarray:
    """Log-odds of each answer by its own check, (n, M)."""
    logits = evidence.prior if check is None else check.logits(evidence)
    # Where the check of an empty answer is known, it says more than the emptiness.
    return np.where(evidence.is_empty & ~evidence.is_checked, NONE, logits)


def accuracy_log_odds(quality: np.ndarray) -> np.ndarray:
    """Log-odds (M,) of each model's mean known quality."""
    return to_log_odds(average_known(quality, empty=0.5))

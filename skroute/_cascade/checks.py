"""How far the check of an answer is to be believed: from a check to log-odds.

`ExactCheck` is right always, `StatedCheck` as often as it is said to be, and of a
`LearnedCheck` the table tells. Each turns the check of an answer, and what was expected
of it before, into log-odds that the answer is right. What other models said is no
matter here (see `beliefs`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skroute._cascade.evidence import SURE, Evidence, to_log_odds
from skroute._cascade.logistic import fit_logistic
from skroute._compute.chunks import sample_evenly
from skroute._rank.forest import PairRanker
from skroute._rank.lambdarank import train_trees
from skroute._table.averages import average_known

# Directions of the estimates by which the mean and the spread of a check may differ.
_N_DIRECTIONS = 3
# Least checks of a model from which its mean and spread are learned.
_LEAST_CHECKS = 30
# Rows by which a regression is worth as much as what it is shrunk to.
_PULL = 20.0
_LARGEST_SCORE = 3.0
_BOUNDLESS = 1e30
_LARGEST_LOGIT = 6.0
_MOST_LOGIT = 4.1  # with the trees
_MOST_ROWS = 30_000
_N_ROUNDS = 60


@dataclass(frozen=True)
class ExactCheck:
    """A check that gives the quality itself, in the unit of the evidence."""

    def logits(self, evidence: Evidence) -> np.ndarray:
        """Log-odds (n, M) that the answers are right, from their own checks."""
        assert evidence.checks is not None
        quality = evidence.checks[:, :, 0]
        margin = 1 / (1 + np.exp(SURE))
        return np.where(
            np.isfinite(quality), to_log_odds(quality, margin), evidence.prior
        )


@dataclass(frozen=True)
class StatedCheck:
    """A check that passes right answers, and fails wrong ones, with given chances."""

    sensitivity: np.ndarray  # (M,) chance that a right answer passes
    specificity: np.ndarray  # (M,) chance that a wrong answer fails

    def logits(self, evidence: Evidence) -> np.ndarray:
        """Log-odds (n, M) that the answers are right, from their own checks."""
        assert evidence.checks is not None
        passed = evidence.checks[:, :, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            if_passed = np.log(self.sensitivity) - np.log1p(-self.specificity)
            if_failed = np.log1p(-self.sensitivity) - np.log(self.specificity)
        # A check that can only pass, or only fail, says nothing by doing so: 0 / 0.
        if_passed, if_failed = (
            np.clip(np.nan_to_num(ratio, nan=0.0), -SURE, SURE)
            for ratio in (if_passed, if_failed)
        )
        news = np.where(passed > 0.5, if_passed, if_failed)
        return evidence.prior + np.where(np.isfinite(passed), news, 0.0)


@dataclass(frozen=True)
class UsualChecks:
    """What checks usually say of a model's answers to a kind of query.

    The kind of a query is told by the estimates of all models. A model that is sure of
    its answers to easy tasks is not that sure of hard ones.
    """

    centre: np.ndarray  # (M,) mean log-odds of the estimates
    directions: np.ndarray  # (M, p) to the kind of query
    mean: np.ndarray  # (M, k, 1 + p): the usual check by the kind of query
    spread: np.ndarray  # (M, k, 1 + p): its variance
    variance: np.ndarray  # (M, k): overall
    lowest: np.ndarray  # (M, k): of all checks
    highest: np.ndarray

    @classmethod
    def fit(cls, prior: np.ndarray, checks: np.ndarray) -> UsualChecks:
        """Learn from log-odds (n, M) and checks (n, M, k), NaN where unknown."""
        n_models, n_checks = checks.shape[1:]
        centre = prior.mean(axis=0)
        _, size, directions = np.linalg.svd(prior - centre, full_matrices=False)
        size = np.maximum(size[:_N_DIRECTIONS] / len(prior) ** 0.5, 1e-6)
        directions = directions[:_N_DIRECTIONS].T / size
        kind = _add_constant((prior - centre) @ directions)
        mean = np.zeros((n_models, n_checks, kind.shape[1]))
        spread, variance = np.zeros_like(mean), np.ones((n_models, n_checks))
        lowest, highest = np.zeros_like(variance), np.zeros_like(variance)
        # The constant is not shrunk.
        penalty = np.diag([1e-9] + [10.0] * (kind.shape[1] - 1))
        for model, check in np.ndindex(n_models, n_checks):
            known = np.isfinite(checks[:, :, check])
            if known[:, model].sum() >= _LEAST_CHECKS:
                known[:, np.arange(n_models) != model] = False
            # Else what is usual of all models counts for this one.
            x, said = kind[known.nonzero()[0]], checks[:, :, check][known]
            if len(said) < _LEAST_CHECKS:
                # Nothing is usual, so nothing is news.
                variance[model, check] = _BOUNDLESS
                lowest[model, check], highest[model, check] = -_BOUNDLESS, _BOUNDLESS
                continue
            gram = x.T @ x + penalty
            mean[model, check] = np.linalg.solve(gram, x.T @ said)
            squared = (said - x @ mean[model, check]) ** 2
            spread[model, check] = np.linalg.solve(gram, x.T @ squared)
            variance[model, check] = squared.mean()
            lowest[model, check], highest[model, check] = said.min(), said.max()
        return cls(centre, directions, mean, spread, variance, lowest, highest)

    def compare(
        self, prior: np.ndarray, checks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compare checks with what is usual.

        Returns the kinds of the queries, (n, p); the checks (n, M, k), unknown ones as
        is usual; and these in standard deviations from what is usual.
        """
        kind = (prior - self.centre) @ self.directions
        x = _add_constant(kind)
        usual = np.einsum("np,mkp->nmk", x, self.mean)
        usual = usual.clip(self.lowest, self.highest)
        spread = np.einsum("np,mkp->nmk", x, self.spread)
        spread = np.maximum(spread, 0.1 * self.variance)
        spread[spread <= 0] = 1.0  # a check that always says the same
        said = np.where(np.isfinite(checks), checks, usual)
        score = (said - usual) / np.sqrt(spread)
        return kind, said, score.clip(-_LARGEST_SCORE, _LARGEST_SCORE)

    def find_extremes(self, checks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find answers (n, M) of which all known checks are the highest, or lowest."""
        unknown = ~np.isfinite(checks)
        high = (unknown | (checks >= self.highest)).all(axis=2)
        low = (unknown | (checks <= self.lowest)).all(axis=2)
        return high, low


@dataclass(frozen=True)
class LearnedCheck:
    """Checks whose meaning was learned: any numbers, of which higher is better.

    A logistic regression for each model, shrunk to one for all models, turns what is
    unusual of a check into log-odds; small trees over all models correct these.
    """

    usual: UsualChecks
    weights: np.ndarray  # (M, n_terms) of the regressions
    accuracy: np.ndarray  # (M,) mean quality
    trees: PairRanker

    @classmethod
    def fit(cls, evidence: Evidence, quality: np.ndarray, seed: int) -> LearnedCheck:
        """Learn from outcomes (n, M), NaN where unknown; every model may be checked."""
        assert evidence.checks is not None
        prior = evidence.prior
        usual = UsualChecks.fit(prior, evidence.checks)
        compared = usual.compare(prior, evidence.checks)
        terms = _make_terms(prior, compared[2])
        used = evidence.is_checked & np.isfinite(quality)
        nothing = np.zeros(terms.shape[2])
        shared = fit_logistic(terms[used], quality[used], prior[used], nothing, 1.0)
        weights = np.array(
            [
                fit_logistic(
                    *(terms[rows, model], quality[rows, model], prior[rows, model]),
                    *(shared, _PULL),
                )
                for model, rows in enumerate(used.T)
            ]
        )
        accuracy = average_known(quality, empty=0.5)
        logits = _regress(evidence, terms, weights)
        features = _stack_features(prior, compared, logits, accuracy, weights)
        rows = np.flatnonzero(used)
        rows = rows[sample_evenly(len(rows), _MOST_ROWS)]
        # Better checks never make an answer worse.
        trees = train_trees(
            features.reshape(-1, features.shape[2])[rows],
            quality.ravel()[rows],
            start=logits.ravel()[rows],
            objective="cross_entropy",
            monotone=[1, 0] + [1] * (2 * evidence.checks.shape[2]),
            n_estimators=_N_ROUNDS,
            min_in_leaf=100,
            seed=seed,
        )
        return cls(usual, weights, accuracy, trees)

    def logits(self, evidence: Evidence) -> np.ndarray:
        """Log-odds (n, M) that the answers are right, from their own checks."""
        assert evidence.checks is not None
        prior, known = evidence.prior, evidence.is_checked
        if not known.any():
            return prior
        compared = self.usual.compare(prior, evidence.checks)
        terms = _make_terms(prior, compared[2])
        logits = _regress(evidence, terms, self.weights)
        features = _stack_features(prior, compared, logits, self.accuracy, self.weights)
        logits[known] += self.trees.predict(features[known][None])[0]
        logits = logits.clip(-_MOST_LOGIT, _MOST_LOGIT)
        # The highest check that there is, such as a pass, is never bad news, and the
        # lowest never good.
        high, low = self.usual.find_extremes(evidence.checks)
        logits = np.where(high, np.maximum(logits, prior), logits)
        logits = np.where(low, np.minimum(logits, prior), logits)
        return np.where(known, logits, prior)


Check = ExactCheck | StatedCheck | LearnedCheck


def _add_constant(columns: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(columns)), columns])


def _make_terms(prior: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Terms (n, M, n_terms) of the regressions: low checks may say more."""
    one = np.ones((*score.shape[:2], 1))
    low = np.minimum(score + 0.5, 0.0)
    return np.concatenate([one, score, low, prior[..., None] * score], axis=2)


def _regress(evidence: Evidence, terms: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log-odds (n, M) by the regressions alone."""
    news = np.einsum("nmf,mf->nm", terms, weights)
    logits = (evidence.prior + news).clip(-_LARGEST_LOGIT, _LARGEST_LOGIT)
    return np.where(evidence.is_checked, logits, evidence.prior)


def _stack_features(
    prior: np.ndarray,
    compared: tuple[np.ndarray, np.ndarray, np.ndarray],
    logits: np.ndarray,
    accuracy: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Features (n, M, n_features) of the trees."""
    kind, said, score = compared
    n_checks, n_kinds = said.shape[2], kind.shape[1]
    features = np.empty((*prior.shape, 5 + 2 * n_checks + n_kinds))
    features[..., 0], features[..., 1] = logits, prior
    features[..., 2 : 2 + n_checks] = score
    features[..., 2 + n_checks : 2 + 2 * n_checks] = said
    rest = features[..., 2 + 2 * n_checks :]
    rest[..., 0] = prior.mean(axis=1)[:, None]
    rest[..., 1], rest[..., 2] = accuracy, weights[:, 1]
    rest[..., 3:] = kind[:, None, :]
    return features

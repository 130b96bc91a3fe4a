"""What an answer that is not there yet may be worth, as if models failed independently.

The textbook's half of the rule. Nothing is learned here but what checks tend to say of
right and of wrong answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skroute._cascade.evidence import Evidence, to_log_odds, to_probability

# Log-odds that a check may add, given a right answer, and as many given a wrong one:
# quantiles, all as likely as each other.
_N_STEPS = 4
_FEW = 20
# Models that are looked at as a first call, and later calls that may follow it.
_MOST_FIRST, _MOST_LATER = 16, 8
_AT_ONCE = 1000


@dataclass(frozen=True)
class Outlook:
    """What checks of answers that are not there yet may say."""

    #: Log-odds that a check may add, (M, 8): four to right answers, four to wrong ones.
    step: np.ndarray
    #: What later calls gain, as a part of what they would if models failed
    #: independently of each other.
    share: float = 1.0

    @classmethod
    def fit(
        cls, evidence: Evidence, logits: np.ndarray, quality: np.ndarray
    ) -> Outlook:
        """Learn from log-odds (n, M) of answers whose quality is known or ``NaN``."""
        added = logits - evidence.prior
        known = np.isfinite(quality)
        sides = (quality > 0.5) & known, (quality <= 0.5) & known
        at = (np.arange(_N_STEPS) + 0.5) / _N_STEPS
        step = np.zeros((quality.shape[1], 2 * _N_STEPS))
        for side, rows in enumerate(sides):
            part = slice(side * _N_STEPS, (side + 1) * _N_STEPS)
            for model in range(quality.shape[1]):
                own = rows[:, model]
                few = own.sum() < _FEW
                seen = added[rows] if few else added[own, model]
                if len(seen):
                    step[model, part] = np.quantile(seen, at)
        return cls(step)

    def foresee(
        self, prior: np.ndarray, models: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Beliefs (n, k, 8) that may come of log-odds (n, k), and their chances."""
        right = to_probability(prior)[..., None]
        chance = np.repeat(np.concatenate([right, 1 - right], -1), _N_STEPS, -1)
        return to_probability(prior[..., None] + self.step[models]), chance / _N_STEPS

    def gain(
        self, value: np.ndarray, prior: np.ndarray, models: np.ndarray
    ) -> np.ndarray:
        """Expected gain (n, k) of models (n, k) over an answer worth `value`, (n,).

        `prior` (n, k) are their log-odds.
        """
        belief, chance = self.foresee(prior, models)
        best = np.maximum(belief, value[:, None, None])
        gained: np.ndarray = (best * chance).sum(axis=2) - value[:, None]
        return gained

    def find_reach(
        self, prior: np.ndarray, models: np.ndarray, charge: np.ndarray
    ) -> np.ndarray:
        """Value (n, k) of an answer at which models (n, k) are not worth a call.

        Where several calls may follow each other, the next one is best made where this
        is highest: a cheap model goes before a good one that can still be called later
        (the reservation value of Weitzman, "Optimal search for the best alternative",
        Econometrica 47, 1979).
        """
        belief, chance = self.foresee(prior, models)
        order = np.argsort(-belief, axis=2)
        belief = np.take_along_axis(belief, order, axis=2)
        chance = np.take_along_axis(chance, order, axis=2)
        # The value v at which E[max(belief - v, 0)] is the charge.
        mass, total = chance.cumsum(axis=2), (chance * belief).cumsum(axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = (total - charge[..., None]) / mass
        reach: np.ndarray = np.where(mass > 0, values, -np.inf).max(axis=2)
        return reach

    def look_ahead(
        self,
        quality: np.ndarray,
        charge: np.ndarray,
        allowed: np.ndarray,
        n_calls: int,
        may_follow: np.ndarray | None = None,
    ) -> np.ndarray:
        """Worth (n, M) of a first call, where others may follow, `n_calls` in all.

        `charge` (n, M) is the cost of a call in units of quality. `may_follow` (n, M,
        M) says of each first call which others may follow it; by default all may.
        """
        worth = np.where(allowed, quality - charge, -np.inf)
        if self.share <= 0:
            return worth
        models = find_largest(worth, _MOST_FIRST)
        n_calls = min(n_calls, models.shape[1], _MOST_LATER)
        for start in range(0, len(worth), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            looked = models[part]
            rows = np.arange(len(looked))[:, None]
            its_charge = charge[part][rows, looked]
            may = allowed[part][rows, looked]
            prior = to_log_odds(quality[part][rows, looked])
            belief, chance = self.foresee(prior, looked)
            reach = self.find_reach(prior, looked, its_charge / self.share)
            reach = np.where(may, reach, -np.inf)
            if may_follow is None:
                later = _expect_later(belief, chance, reach, n_calls)
            else:
                later = np.empty(belief.shape)
                for first in range(looked.shape[1]):
                    follows = may_follow[part][rows, looked[:, first, None], looked]
                    follows[:, first] = True
                    some = np.where(follows, reach, -np.inf)
                    after = _expect_later(belief, chance, some, n_calls)
                    later[:, first] = after[:, first]
            value = (chance * (belief + self.share * later)).sum(axis=2) - its_charge
            value = np.maximum(value, worth[part][rows, looked])
            worth[part][rows, looked] = np.where(may, value, -np.inf)
        return worth


def _expect_later(
    belief: np.ndarray, chance: np.ndarray, reach: np.ndarray, n_calls: int
) -> np.ndarray:
    """Expect what calls after a first one gain beyond their charges, (n, k, 8).

    The first calls one of k models and turns out as each of `belief`; up to
    `n_calls` - 1 others follow, from the one of the highest reach on. What they come to
    is the mean of the largest min(belief, reach) among them, or the first answer.
    """
    rows = np.arange(len(reach))[:, None]
    best = np.argsort(-reach, axis=1, kind="stable")[:, :n_calls]
    capped = np.minimum(belief[rows, best], reach[rows, best][..., None]).clip(0)
    ends = np.zeros((len(reach), 1)), np.ones((len(reach), 1))
    points = np.hstack([ends[0], capped.reshape(len(reach), -1), ends[1]])
    points.sort(axis=1)
    below = capped[:, :, None, :] <= points[:, None, :, None]
    below_each = (below * chance[rows, best][:, :, None, :]).sum(axis=3)
    # Of the best, one is left out: the first call itself, or else the last of them.
    left_out = np.full(reach.shape, n_calls - 1)
    np.put_along_axis(left_out, best, np.arange(n_calls)[None], axis=1)
    gain = np.zeros(below_each.shape)
    for out in range(n_calls):
        below_all = np.delete(below_each, out, axis=1).prod(axis=1)
        area = (1 - below_all[:, :-1]) * np.diff(points, axis=1)
        gain[:, out, :-1] = area[:, ::-1].cumsum(axis=1)[:, ::-1]
    # All queries in one interpolation, each in an interval of its own.
    shift = 2.0 * np.arange(len(reach) * n_calls).reshape(len(reach), n_calls)
    at = belief + np.take_along_axis(shift, left_out, axis=1)[..., None]
    knots = points[:, None, :] + shift[..., None]
    later: np.ndarray = np.interp(at, knots.ravel(), gain.ravel())
    return later


def find_largest(values: np.ndarray, most: int) -> np.ndarray:
    """Find the columns (n, most) of the largest values of each row."""
    if values.shape[1] <= most:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(-values, most - 1, axis=1)[:, :most]

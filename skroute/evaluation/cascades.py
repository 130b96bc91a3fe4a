"""What checking answers, and calling again, adds to routing: on paired splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t
from sklearn.utils import _safe_indexing

from skroute.base import BaseRouter
from skroute.cascade import CascadeDecider
from skroute.evaluation.defaults import default_routers
from skroute.evaluation.scores import TARGET, describe_splits, find_standard_error
from skroute.evaluation.splits import OutcomeTable, Split
from skroute.metrics import best_single, normalized_auc, routing_curve

#: What is compared, and what is measured of each.
SINGLE, ROUTING, CHECKED = "best single", "routing alone", "with checks"
MEASURES = ("quality", "cost", "relative_cost", "normalized_auc", "calls")
_ROUTER = "RankingRouter"
# Chance that a gain of nothing is taken for one, or for a loss.
_DOUBT = 0.05


@dataclass(frozen=True)
class CascadeComparison:
    """A cascade, its router alone, and the best single model, on the same test parts.

    `scores` are by name and by measure, (n_splits,) each; ``NaN`` where undefined. With
    checks, 95% of the test queries took `most_calls` calls or fewer.
    """

    scores: dict[str, dict[str, np.ndarray]]
    most_calls: int
    max_calls: int

    @property
    def gain(self) -> np.ndarray:
        """Mean quality over all budgets with checks, less that without, (n_splits,)."""
        with_checks, without = (self.scores[n]["normalized_auc"] for n in _COMPARED)
        return with_checks - without

    @property
    def pays(self) -> bool | None:
        """Whether checking is better than routing alone; ``None``: not sure."""
        gain, n_splits = self.gain.mean(), len(self.gain)
        # Student's t, because splits are few; NaN for one split.
        doubt = find_standard_error(self.gain) * t.ppf(1 - _DOUBT / 2, n_splits - 1)
        if gain > doubt:
            return True
        return False if gain < -doubt or gain == 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Turn the comparison into lists, numbers and strings, for JSON."""
        return {
            "min_quality": TARGET,
            "max_calls": self.max_calls,
            "most_calls": self.most_calls,
            "pays": self.pays,
            "gain": describe_splits(self.gain),
            **{
                name: {measure: describe_splits(v) for measure, v in measures.items()}
                for name, measures in self.scores.items()
            },
        }


_COMPARED = (CHECKED, ROUTING)


def fit_cascade(
    split: Split,
    router: BaseRouter,
    checks: Any,
    answers: Any,
    random_state: Any,
    check_cost: float = 0.0,
) -> tuple[BaseRouter, CascadeDecider]:
    """Fit a router on the training part, and a cascade on its cross-fitted estimates.

    `checks` (n_queries, n_models[, n_checks]) and `answers` (n_queries, n_models) are
    those of the whole table, and `check_cost` is money per check. The cascade is to
    match the best single model.
    """
    table, train = split.table, split.train
    fitted, estimates = split.fit_transform(router)
    decider = CascadeDecider(
        min_quality=TARGET, check_cost=check_cost, random_state=random_state
    )
    decider.fit(
        np.asarray(estimates),
        _safe_indexing(table.y, train),  # with the models' names
        costs=table.spend[train],
        checks=_take(checks, train),
        answers=_take(answers, train),
    )
    return fitted, decider


def compare_cascade(
    X: Any,
    y: Any,
    costs: Any,
    checks: Any,
    answers: Any,
    *,
    check_cost: float = 0.0,
    encoder: Callable[[Any], Any] | None = None,
    groups: Any = None,
    test_size: float = 0.3,
    seeds: Iterable[int] = range(5),
    progress: Callable[[str, int, int], None] | None = None,
) -> CascadeComparison:
    """Compare a cascade with its router alone, on the splits of `compare_routers`.

    Arguments are those of `compare_routers` and of `fit_cascade`.
    """
    table = OutcomeTable.check(X, y, costs, groups=groups, encoded=encoder is None)
    seeds = tuple(seeds)
    router = default_routers(random_state=seeds[0])[_ROUTER]
    scores, n_calls = [], []
    for done, seed in enumerate(seeds):
        if progress is not None:
            progress("split", done, len(seeds))
        split = Split.draw(table, seed, test_size, encoder)
        fitted, decider = fit_cascade(
            split, router, checks, answers, seeds[0], check_cost
        )
        measured, calls = _measure(split, fitted, decider, checks, answers)
        scores.append(measured)
        n_calls.append(calls)
    return CascadeComparison(
        scores={
            name: {
                measure: np.array([measured[name][measure] for measured in scores])
                for measure in MEASURES
            }
            for name in (SINGLE, ROUTING, CHECKED)
        },
        most_calls=int(
            np.percentile(np.concatenate(n_calls), 95, method="inverted_cdf")
        ),
        max_calls=decider.max_calls,
    )


def _measure(
    split: Split,
    router: BaseRouter,
    decider: CascadeDecider,
    checks: Any,
    answers: Any,
) -> tuple[dict[str, dict[str, float]], np.ndarray]:
    """Measure what each gives and costs on the test part; the cascade's calls, too."""
    table, test = split.table, split.test
    y, spend, rows = table.quality[test], table.spend[test], np.arange(len(test))
    estimates = np.asarray(router.transform(split.X_test))
    replay = decider.replay(
        *(estimates, y, spend, _take(checks, test), _take(answers, test))
    )
    names = router.route(split.X_test, min_quality=TARGET, on_infeasible="cheapest")
    index = {model: i for i, model in enumerate(router.models_)}
    routed = np.array([index[name] for name in names])
    single = best_single(table.quality[split.train], table.spend[split.train])
    reference = spend[:, single].mean()

    def describe(
        quality: np.ndarray, cost: np.ndarray, curve: Any = None, calls: float = 1.0
    ) -> dict[str, float]:
        paid = float(cost.mean())
        area = np.nan if curve is None else normalized_auc(curve)
        share = paid / reference if reference > 0 else np.nan
        values = float(quality.mean()), paid, share, area, calls
        return dict(zip(MEASURES, values, strict=True))

    routing = routing_curve(y, spend, *np.hsplit(estimates, 2))
    return {
        SINGLE: describe(y[:, single], spend[:, single]),
        ROUTING: describe(y[rows, routed], spend[rows, routed], routing),
        CHECKED: describe(
            *(replay.quality, replay.spend, replay.curve(), replay.mean_calls)
        ),
    }, replay.n_calls


def _take(table: Any, rows: np.ndarray) -> Any:
    return None if table is None else table[rows]

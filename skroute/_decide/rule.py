"""The rule of a decision: a budget, a quality target or a price, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from skroute._decide.candidates import (
    apply_tolerance,
    check_caps,
    is_per_query,
    under_cap,
)
from skroute._decide.extra_rule import (
    ExtraRule,
    check_extra_rules,
    copy_extra_rules,
    read_extra_rules,
)
from skroute._table.numbers import check_integer, check_number

_SCOPES = ("mean", "query", "batch")


@dataclass(frozen=True)
class Rule:
    """The parameters of `BudgetDecider`, as one value that `engine` finds a price for.

    A field that is added later needs a default, so that files without it still load.
    """

    budget: Any = None
    scope: Any = "mean"
    min_quality: Any = None
    price: Any = None
    tolerance: Any = 0.0
    on_infeasible: Any = "raise"
    confidence: Any = None
    #: Share of the queries whose model is drawn; that of a call, and no parameter.
    explore: Any = 0.0
    #: What is asked of extra costs, by name.
    extra_costs: Any = None
    #: Calls of each model in a batch, at most.
    capacity: Any = None

    def __post_init__(self) -> None:
        # A price is kept for the rule, and the caller may change the dict in place.
        object.__setattr__(self, "extra_costs", copy_extra_rules(self.extra_costs))

    @classmethod
    def read_from(cls, estimator: Any) -> Self:
        """Read the rule from the parameters of an estimator."""
        return cls(**{name: getattr(estimator, name) for name in _PARAMETERS})

    def check(self) -> Self:
        """Raise a ``ValueError`` unless the rule is as `BudgetDecider` documents it."""
        if self.scope not in _SCOPES:
            raise ValueError(f"scope must be one of {_SCOPES}; got {self.scope!r}.")
        if self.on_infeasible not in ("raise", "cheapest"):
            raise ValueError(
                "on_infeasible must be 'raise' or 'cheapest'; got "
                f"{self.on_infeasible!r}."
            )
        if self.budget is not None:
            self._check_budget()
        if self.price is not None:
            check_number(self.price, "price", low=0.0)
        check_number(self.tolerance, "tolerance", low=0.0)
        if isinstance(self.min_quality, str):
            _parse_percentage(self.min_quality)
        elif self.min_quality is not None:
            check_number(self.min_quality, "min_quality")
        fixed = {
            # A cap leaves the price free.
            "budget": self.budget is not None and self.scope != "query",
            "min_quality": self.min_quality is not None,
            "price": self.price is not None,
        }
        if sum(fixed.values()) > 1:
            given = " and ".join(name for name, is_given in fixed.items() if is_given)
            raise ValueError(
                f"{given} each fix the shadow price: give one of them "
                f"(scope={self.scope!r}), or a budget with scope='query' as a cap."
            )
        if self.confidence is not None:
            self._check_confidence()
        if self.explore:
            self._check_explore()
        else:
            check_number(self.explore, "explore", low=0.0)
        if self.capacity is not None and self.scope != "batch":
            raise ValueError(
                "capacity limits the calls of one batch, and needs scope='batch'; got "
                f"scope={self.scope!r}."
            )
        if self.extra_costs is not None:
            check_extra_rules(self.extras, self)
        return self

    def _check_explore(self) -> None:
        """Check a share of queries, and that what is asked can be kept with it."""
        if check_number(self.explore, "explore", low=0.0) > 1:
            raise ValueError(
                f"explore must be a share of the queries, in [0, 1]; got "
                f"{self.explore!r}."
            )
        for name, given, why in (
            ("confidence", self.confidence is not None, "what is promised was tested"),
            ("scope='batch'", self.scope == "batch", "a total is solved for"),
        ):
            if given:
                raise ValueError(
                    f"explore={self.explore!r} and {name} cannot be given together: "
                    f"{why} without draws. A mean budget, caps and min_quality are "
                    "kept with them."
                )

    def _check_confidence(self) -> None:
        """Check a confidence: between 0 and 1, with an average that it promises."""
        check_number(self.confidence, "confidence")
        if not 0 < self.confidence < 1:
            raise ValueError(
                "confidence must be between 0 and 1, such as 0.95; got "
                f"{self.confidence!r}."
            )
        if not self.is_met_on_average:
            raise ValueError(
                f"confidence={self.confidence!r} promises an average, and there is "
                "none: give min_quality, or a budget with scope='mean'. A cap and a "
                "batch budget bind expected costs, whatever the confidence."
            )

    def _check_budget(self) -> None:
        """Check a budget: a number, or a cap for each query."""
        if not is_per_query(self.budget):
            check_number(self.budget, "budget", low=0.0)
            return
        if self.scope != "query":
            raise ValueError(
                f"budget must be a number with scope={self.scope!r}; got an array of "
                f"{len(self.budget)}. One cap per query needs scope='query'."
            )
        if self.min_quality is not None:
            raise ValueError(
                "budget as an array and min_quality cannot be settled together: the "
                "target is met on training queries, of which the caps say nothing. "
                "Give a price, or one budget for all queries."
            )
        check_caps(self.budget)

    @property
    def has_mean_budget(self) -> bool:
        """Whether an average over the traffic is limited."""
        return self.budget is not None and self.scope == "mean"

    @property
    def has_batch_budget(self) -> bool:
        """Whether the total of one call is limited."""
        return self.budget is not None and self.scope == "batch"

    @property
    def has_cap(self) -> bool:
        """Whether the cost of each query is limited."""
        return self.budget is not None and self.scope == "query"

    @property
    def is_met_on_average(self) -> bool:
        """Whether it holds on average; its price is then found on training queries."""
        if self.min_quality is not None:
            return bool(self.scope != "batch")
        return self.has_mean_budget

    @property
    def extras(self) -> tuple[ExtraRule, ...]:
        """What is asked of extra costs, without those of weight 0."""
        return read_extra_rules(self.extra_costs)

    @property
    def share(self) -> float | None:
        """`min_quality` as a share of the best single model's; None if it is none."""
        if not isinstance(self.min_quality, str):
            return None
        return _parse_percentage(self.min_quality)

    @property
    def restricts_candidates(self) -> bool:
        """Whether a cap or a tolerance leaves some models out."""
        return self.has_cap or self.tolerance > 0

    def find_candidates(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        available: np.ndarray | None = None,
        *,
        as_fallback: bool = False,
    ) -> np.ndarray:
        """Find the candidates: available, under the cap, within the tolerance.

        `available` is a mask of models, (1 or n_queries, n_models); all by default. As
        fallbacks, a query may have no candidate left.
        """
        if available is None:
            available = np.ones((1, quality.shape[1]), dtype=bool)
        if self.has_cap:
            # A fallback above the cap is worse than none, unless cheapest is asked.
            may_be_none = as_fallback and self.on_infeasible == "raise"
            on_stuck = "leave" if may_be_none else self.on_infeasible
            available = under_cap(cost, available, self.budget, on_stuck)
        if self.tolerance > 0:
            available = apply_tolerance(quality, cost, available, self.tolerance)
        return available

    def quality_target(self, best_single: float) -> float | None:
        """`min_quality` as a number, given the best single model's mean quality."""
        if not isinstance(self.min_quality, str):
            return None if self.min_quality is None else float(self.min_quality)
        share = (
            f"min_quality={self.min_quality!r} is a share of the best single model's "
            "mean quality, which is"
        )
        if np.isnan(best_single):
            raise ValueError(
                f"{share} known only after fit: call fit, or give min_quality as a "
                "number."
            )
        if best_single <= 0:
            raise ValueError(
                f"{share} {best_single:g}: a share needs a positive one. Give "
                "min_quality as a number."
            )
        return _parse_percentage(self.min_quality) * best_single

    def is_same(self, other: Rule) -> bool:
        """Whether both are equal; two different arrays of caps never are."""
        ours, others = (
            [getattr(rule, name) for name in _NAMES] for rule in (self, other)
        )
        try:
            # Lists compare by identity first, so the same array is the same cap.
            return bool(ours == others)
        except (TypeError, ValueError):  # an array, or something that is no parameter
            return False

    def check_same_candidates(self, settled: Rule) -> None:
        """Raise if a settled rule found its price among other candidates than ours."""
        before, after = settled._describe_candidates(), self._describe_candidates()
        if self.is_met_on_average and before != after:
            raise ValueError(
                "the models in play changed since fit: the price of budget or "
                f"min_quality has to be found among those that {after} leaves, and fit "
                f"looked at those that {before} leaves. Fit the decider again."
            )

    def _describe_candidates(self) -> str:
        """Describe the models among which a price is found on training queries."""
        if not self.is_met_on_average:
            return "tolerance=0"
        described = f"tolerance={self.tolerance:g}"
        if not self.has_cap:
            return described
        cap = f"a cap of {self.budget!r} and on_infeasible={self.on_infeasible!r}"
        return f"{described} with {cap}"


_NAMES = tuple(field.name for field in fields(Rule))
# Parameters of an estimator; the rest is of a call.
_PARAMETERS = tuple(name for name in _NAMES if name != "explore")


def check_top_k(top_k: Any, n_models: int) -> int:
    """Check a number of models per query; ``None`` is one."""
    if top_k is None:
        return 1
    if check_integer(top_k, "top_k", low=1) > n_models:
        raise ValueError(
            f"top_k must be at most the number of models, {n_models}; got {top_k!r}."
        )
    return int(top_k)


def _parse_percentage(text: str) -> float:
    """Read ``"95%"`` as 0.95."""
    try:
        if not text.endswith("%"):
            raise ValueError(text)
        share = float(text[:-1]) / 100
    except ValueError:
        share = np.nan
    if not (np.isfinite(share) and share > 0):
        raise ValueError(
            "min_quality as a string must be a positive percentage such as '95%'; got "
            f"{text!r}."
        )
    return share

"""Decisions of a saved router, as ``skroute route`` writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from skroute._table.costs import check_known_costs, replace_known_costs
from skroute.base import explain_settled
from skroute.cli.options import note_empty
from skroute.decision import Guarantee
from skroute.exceptions import InfeasibleBudgetError
from skroute.serve.saved import SavedRouter, merge_rule

_REASONS = [
    "runner_up",
    "runner_up_quality",
    "runner_up_cost",
    "margin",
    "margin_error",
    "chance",
    "price",
    "saved",
]
# By each of these, the cost of a model counts.
_RULES = {"budget", "min_quality", "price", "tolerance"}
# A spreadsheet runs a cell that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def decide(
    saved: SavedRouter,
    X: Any,
    given: dict[str, Any],
    available: list[str] | None = None,
    top_k: int = 1,
    explain: bool = False,
    costs: Any = None,
    explore: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Decide queries; a row for each with what its model is expected to do.

    The decider behind the router decides, unless options are `given`, by the names of
    ``BaseRouter.route``. `costs` are known before the calls, as that takes them. With
    `explore`, a column tells the chance of each call.
    """
    if saved.cascade is not None:
        raise ValueError(
            "this file holds a cascade, which decides again after each answer: serve "
            "it (skroute serve), or ask its CascadeDecider.next in Python."
        )
    if explore and explain:
        raise ValueError(
            "--explain tells of decisions, and --explore draws some calls: leave one "
            "of them out."
        )
    router, decider = saved.router, saved.decider
    decide: Any
    quality, cost = np.hsplit(np.asarray(router.transform(X), dtype=np.float64), 2)
    if decider is not None and not given:
        Z = np.hstack([quality, cost])
        decide, rule = partial(decider.route, Z), {}
    else:
        rule = merge_rule(saved, given)
        decide = partial(router.route, X)
    names, propensity = decide(
        available=available,
        top_k=top_k,
        costs=costs,
        explore=explore,
        random_state=seed,
        return_propensity=True,
        **rule,
    )
    known = check_known_costs(costs, len(cost), router.models_)
    cost = replace_known_costs(cost, known)
    rows = np.arange(len(names))
    chosen = rows, pd.Index(router.models_).get_indexer(names[:, 0])
    routed = pd.DataFrame(
        {
            "query": rows,
            "model": names[:, 0],
            **{f"fallback_{k}": names[:, k] for k in range(1, top_k)},
            "expected_quality": quality[chosen],
            "expected_cost": cost[chosen],
        }
    )
    if explore:
        routed["propensity"] = propensity
    if not explain:
        return routed
    if decider is not None and not given:
        settled = decider.settle_with(known)
        why = explain_settled(router, X, settled, available, costs)
    else:
        why = router.explain(X, available=available, costs=costs, **rule)
    return routed.assign(**{name: why[name].to_numpy() for name in _REASONS})


def find_remarks(
    saved: SavedRouter,
    X: Any,
    given: dict[str, Any],
    prompts: list[str] | None,
    costs: Any = None,
) -> Iterator[str]:
    """Yield what may be a mistake: prompts without text, no rule, a large budget."""
    remark = note_empty(prompts)
    if remark:
        yield remark
    rule = merge_rule(saved, given)
    if saved.decider is None and not _RULES & set(rule):
        yield (
            "no rule was given, so cost does not count: each query goes to the model "
            "of the highest expected quality. Give --min-quality (such as 95%), "
            "--budget or --price."
        )
    if rule.get("confidence") is not None:
        promised = _find_guarantee(saved, given, rule)
        yield f"promised: {promised or 'nothing, on_infeasible took effect'}."
    budget = rule.get("budget")
    if budget is None or np.ndim(budget):
        return
    cost = saved.router.predict_cost(X)
    known = check_known_costs(costs, len(cost), saved.router.models_)
    cost = replace_known_costs(cost, known)
    if rule.get("scope") == "batch":
        most, what = cost.max(axis=1).sum(), "calls of all these queries"
    else:
        most, what = cost.max(), "call of any of these queries"
    if budget > most:
        yield (
            f"the budget of {budget:g} limits nothing: the most expensive {what} "
            f"would cost {most:.4g}. "
            "Is it in the unit of the costs that the router was fitted on?"
        )


def _find_guarantee(
    saved: SavedRouter, given: dict[str, Any], rule: dict[str, Any]
) -> Guarantee | None:
    """Find what was promised; None where nothing could be."""
    if saved.decider is not None and not given:
        guarantee: Guarantee | None = saved.decider.guarantee_
        return guarantee
    names = ("budget", "scope", "min_quality", "tolerance", "confidence")
    try:
        return saved.router.guarantee(**{k: rule[k] for k in names if k in rule})
    except InfeasibleBudgetError:
        return None


def explain_refusal(
    error: InfeasibleBudgetError, min_quality: float | str | None
) -> str:
    """Say why a rule cannot be kept, and where a percentage may have been meant."""
    if isinstance(min_quality, float) and 1.0 < min_quality <= 100.0:
        return (
            f"{error} If you mean a share of the best single model's quality, write "
            f"--min-quality {min_quality:g}%."
        )
    return str(error)


def to_csv(routed: pd.DataFrame) -> str:
    """Write a table as CSV that is safe to open in a spreadsheet.

    Texts that a spreadsheet would run as a formula begin with an apostrophe.
    """
    texts = routed.select_dtypes(exclude="number")
    inert = {name: texts[name].map(_make_inert) for name in texts}
    return routed.assign(**inert).to_csv(index=False, float_format="%.6g")


def to_jsonl(routed: pd.DataFrame) -> str:
    """Write a table as a JSON object per row; ``null`` where there is no value."""
    lines = []
    for row in routed.to_dict("records"):
        known = {name: None if _is_unknown(row[name]) else row[name] for name in row}
        lines.append(f"{json.dumps(known, ensure_ascii=False)}\n")
    return "".join(lines)


def _make_inert(value: Any) -> Any:
    dangerous = isinstance(value, str) and value.startswith(_FORMULA)
    return f"'{value}" if dangerous else value


def _is_unknown(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)

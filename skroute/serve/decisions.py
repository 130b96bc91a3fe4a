"""Which model a request goes to: its rule, the decision, and the reason in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from skroute._table.costs import check_known_costs, replace_known_costs
from skroute.base import explain_settled
from skroute.cascade import CascadeDecider
from skroute.exceptions import InfeasibleBudgetError
from skroute.serve.cascades import change_rule, order_models
from skroute.serve.saved import SavedRouter, merge_rule, override_rule

#: What clients call the router.
ROUTER = "skroute"
_NUMBERS = ("budget", "price", "tolerance", "confidence")


class Decision(NamedTuple):
    """Models of one query: which to call, which next, and what is expected of them."""

    #: The model to call, then those to fall back on.
    order: list[str]
    #: The chance with which the first was chosen.
    propensity: float
    #: Estimates by model.
    quality: dict[str, float]
    cost: dict[str, float]
    #: What decides on further calls, if the router's file holds a cascade.
    cascade: CascadeDecider | None = None

    @property
    def reason(self) -> str:
        """Why the first model: its estimates beside those of the second."""
        said = [
            f"{name}: expected quality {self.quality[name]:.3g} at cost "
            f"{self.cost[name]:.3g}"
            for name in self.order[:2]
        ]
        return "; next ".join(said)


def parse_model(asked: str) -> dict[str, Any] | None:
    """Read the rule in a request's model: ``skroute:95%``, ``skroute:budget=0.002``.

    Several parts are separated by commas. None where a model is asked for by name.
    """
    name, colon, text = asked.partition(":")
    if name != ROUTER:
        return None
    rule: dict[str, Any] = {}
    for part in text.split(",") if colon else ():
        key, equals, value = part.strip().partition("=")
        if not equals:
            key, value = "min_quality", key
        if key in rule:
            raise ValueError(f"model {asked!r} gives {key} twice.")
        rule[key] = _parse_value(asked, key.strip(), value.strip())
    return rule


def _parse_value(asked: str, key: str, value: str) -> Any:
    if key == "min_quality" and value.endswith("%"):
        return value
    if key == "scope" and value in ("mean", "query"):
        return value
    if key == "on_infeasible" and value in ("raise", "cheapest"):
        return value
    if key in ("min_quality", *_NUMBERS):
        try:
            return float(value)
        except ValueError:
            pass
    raise ValueError(
        f"model {asked!r} is not understood: write {ROUTER}, {ROUTER}:95%, or "
        f"{ROUTER}:NAME=VALUE with budget, min_quality, price, tolerance, confidence, "
        "scope=mean or query, on_infeasible=raise or cheapest."
    )


def find_rule(
    saved: SavedRouter, base: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Find the rule of a request; None where the decider of the file decides.

    `base` is the rule of the service, `asked` that of the request. Where only `explore`
    is said, the decider decides and draws.
    """
    if saved.cascade is not None:
        return override_rule(dict(base), dict(asked))
    if saved.decider is not None and not asked and set(base) <= {"explore"}:
        return dict(base) or None
    rule = override_rule(merge_rule(saved, dict(base)), dict(asked))
    # A total and a confidence hold for calls that are not drawn.
    if asked.get("scope") == "batch" or asked.get("confidence") is not None:
        rule.pop("explore", None)
    return rule


def name_models(
    saved: SavedRouter,
    X: Any,
    rule: dict[str, Any] | None,
    available: list[str] | None = None,
    top_k: int = 1,
    costs: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Decide queries: names (n, top_k), and the chance of each first choice (n,)."""
    try:
        return _name_models(saved, X, rule, available, top_k, costs)
    except InfeasibleBudgetError as error:
        raise _suggest_share(error, rule) from None


def _suggest_share(
    error: InfeasibleBudgetError, rule: Mapping[str, Any] | None
) -> InfeasibleBudgetError:
    """Say where a share may have been meant, as the command does."""
    target = (rule or {}).get("min_quality")
    if not isinstance(target, int | float) or not 1.0 < target <= 100.0:
        return error
    return InfeasibleBudgetError(
        f"{error} If you mean a share of the best single model's quality, write "
        f'min_quality="{target:g}%", or {ROUTER}:{target:g}% as the model of a '
        "request.",
        **vars(error),
    )


def _name_models(
    saved: SavedRouter,
    X: Any,
    rule: dict[str, Any] | None,
    available: list[str] | None,
    top_k: int,
    costs: Any,
) -> tuple[np.ndarray, np.ndarray]:
    if saved.cascade is not None:
        cascade = change_rule(saved.cascade, rule or {})
        Z = saved.router.transform(X)
        names = order_models(cascade, Z, available, top_k, costs)
        return names, np.ones(len(names))
    asked: dict[str, Any] = {"available": available, "top_k": top_k, "costs": costs}
    asked |= rule or {}
    if asked.get("explore"):
        # Equal prompts are drawn anew each time.
        asked["random_state"] = np.random.RandomState()
    drawn: tuple[np.ndarray, np.ndarray]
    if saved.decider is not None and leaves_to_decider(rule):
        Z = saved.router.transform(X)
        drawn = saved.decider.route(Z, return_propensity=True, **asked)
    else:
        drawn = saved.router.route(X, return_propensity=True, **asked)
    return drawn


def leaves_to_decider(rule: Mapping[str, Any] | None) -> bool:
    """Whether a rule says nothing, so that the decider of a file decides."""
    return set(rule or ()) <= {"explore"}


def decide(
    saved: SavedRouter,
    X: Any,
    rule: dict[str, Any] | None,
    available: list[str] | None = None,
    top_k: int = 1,
    costs: Any = None,
) -> list[Decision]:
    """Decide queries, with estimates of every model, or costs that are known."""
    names, chances = name_models(saved, X, rule, available, top_k, costs)
    models = [str(name) for name in saved.router.models_]
    quality, cost = np.hsplit(np.asarray(saved.router.transform(X), dtype=float), 2)
    cascade = saved.cascade and change_rule(saved.cascade, rule or {})
    known = check_known_costs(costs, len(cost), saved.router.models_)
    cost = replace_known_costs(cost, known)
    return [
        Decision(
            [str(name) for name in row if name is not None],
            float(chance),
            dict(zip(models, quality[i].tolist(), strict=True)),
            dict(zip(models, cost[i].tolist(), strict=True)),
            cascade,
        )
        for i, (row, chance) in enumerate(zip(names, chances, strict=True))
    ]


def explain(
    saved: SavedRouter,
    X: Any,
    rule: dict[str, Any] | None,
    available: list[str] | None = None,
    costs: Any = None,
) -> list[dict[str, Any]]:
    """Explain decisions as ``BaseRouter.explain`` does, an object for each query."""
    if saved.cascade is not None:
        cascade = change_rule(saved.cascade, rule or {})
        Z = saved.router.transform(X)
        why = cascade.explain(Z, available=available, costs=costs)
    elif saved.decider is not None and leaves_to_decider(rule):
        known = check_known_costs(costs, len(X), saved.router.models_)
        settled = saved.decider.settle_with(known)
        why = explain_settled(saved.router, X, settled, available, costs)
    else:
        # What is explained is what is called where nothing is drawn.
        asked = {name: v for name, v in (rule or {}).items() if name != "explore"}
        why = saved.router.explain(X, available=available, costs=costs, **asked)
    columns = {name: np.asarray(why[name]).tolist() for name in why if name != "query"}
    return [
        {name: _to_json(value) for name, value in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]


def check_rule(saved: SavedRouter, base: Mapping[str, Any]) -> None:
    """Raise if a router cannot keep the rule of the service."""
    rule = find_rule(saved, base, {})
    # A query that the router has never seen: what holds on average is settled all the
    # same, and a cap depends on the query.
    if rule is None or rule.get("scope") != "query":
        n_features = getattr(saved.router, "n_features_in_", None)
        if n_features is not None:
            name_models(saved, np.zeros((1, n_features)), rule)


def _to_json(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    return None if isinstance(value, float) and not np.isfinite(value) else value

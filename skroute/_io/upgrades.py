"""Upgrades: states of objects in files of older formats, as they are today.

`_UPGRADES[format][tag]` turns the attributes of a class, as files of that format hold
them, into those of the next format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skroute._io.registry import find_class

State = dict[str, Any]
_RULE = ("budget", "scope", "min_quality", "price", "tolerance", "on_infeasible")


def name_current_class(tag: str, written: int) -> str:
    """Tag of a class that a file of an older format calls otherwise."""
    for older in range(written, max(_UPGRADES) + 1):
        tag = _RENAMED.get(older, {}).get(tag, tag)
    return tag


def upgrade(tag: str, state: State, written: int) -> State:
    """Bring the attributes of an object from the format of its file to today's."""
    for older in range(written, max(_UPGRADES) + 1):
        change = _UPGRADES.get(older, {}).get(tag)
        if change is not None:
            state = change(state)
    return state


def _name_what_was_settled(state: State) -> State:
    """A decider of format 1 does not say for which parameters it was settled."""
    if "models_" not in state:
        return state
    # The price is a property since.
    state = {name: value for name, value in state.items() if name != "price_"}
    return {
        "_pace": None,
        **state,
        "_target": state.pop("quality_target_"),
        "_best_single": float("nan"),
        "_rule": tuple(state[name] for name in _RULE),
    }


def _gather_what_was_settled(state: State) -> State:
    """A decider of format 2 holds the parts of what is one `Settled` since."""
    if "models_" not in state:
        return state
    state = dict(state)
    return {
        "_settled": find_class("Settled")(
            find_class("Rule")(*state.pop("_rule")),
            state.pop("_price"),
            state.pop("_target"),
            state.pop("price_path_"),
            state.pop("_best_single"),
        ),
        **state,
    }


def _name_views(state: State) -> State:
    """Views of format 2 hold slices of their centres, and what only training needs."""
    return {
        "centre": state["_centre"],
        "scale": float(state["_scale"]),
        "basis": state["_basis"],
        "centres": state["_centres"],
        "sizes": tuple(part.stop - part.start for part in state["_parts"]),
        "gammas": (1.0, 2.0),
        "softness": tuple(state["_softness"]),
        "limits": tuple(state["_reach"]),
    }


def _name_quality(state: State) -> State:
    """A quality model of format 2 also holds how many landmarks it was asked for."""
    return {
        "views": state["views_"],
        "means": state["means_"],
        "fits": state["fits_"],
        "weights": state["_weights"],
        "common": state["_common"],
        "strengths": list(state["_strengths"]),
    }


def _read_trees(state: State) -> State:
    """A ranker of format 2 is a model in LightGBM's text format."""
    if set(state) != {"text"} or not isinstance(state["text"], str):
        raise ValueError("its model must be text")
    trees: State = find_class("PairRanker").from_text(state["text"]).__getstate__()
    return trees


def _gather_what_was_fitted(state: State) -> State:
    """A router of format 2 holds the parts of what is one `FittedRouter` since."""
    if "_pairs" not in state:
        return state
    state = dict(state)
    place, costs = state.pop("_place"), state["costs_"]
    # Costs were in the caller's order, and are in the canonical one since.
    order = np.argsort(place)
    unit = state.pop("_worst"), state.pop("_range"), state.pop("_seen", (0.0, 1.0))
    regression = state.pop("_cost_fit")
    low, high = state.pop("_cost_range", (costs, costs))
    # Prices have no range.
    if regression is None:
        low = high = costs
    weight, ranker = state.pop("rank_weight_"), state.pop("ranker_")
    state["_first_pool"] = state.pop("_fitted", None)
    state["_fitted"] = find_class("FittedRouter")(
        find_class("Canonical")(place, *unit),
        state.pop("_pairs"),
        find_class("CostModel")(costs[order], regression, low[order], high[order]),
        # A ranker that is not followed is no longer kept.
        ranker if weight > 0 else None,
        weight,
    )
    return state


def _decide_without_caution(state: State) -> State:
    """A router of format 3 follows its estimates as they are."""
    return {**state, "caution": 0.0}


def _take_all_columns(state: State) -> State:
    """A router of format 4 takes all columns as one embedding."""
    return {**state, "blocks": None}


def _regress_costs_themselves(state: State) -> State:
    """A router of format 5 regressed costs on a linear scale."""
    return {**state, "unit": None}


def _promise_nothing(state: State) -> State:
    """A decider of format 5 knows no confidence."""
    return {**state, "confidence": None}


def _learn_nothing_more(state: State) -> State:
    """A router of format 6 keeps nothing to learn on."""
    return {**state, "forget_after": None}


def _settle_without_promise(state: State) -> State:
    """A cascade of format 6 knows no confidence."""
    if "_settled" in state:
        state = {**state, "_settled": (*state["_settled"], None)}
    return {**state, "confidence": None}


def _keep_no_replays(state: State) -> State:
    """A cascade of format 6 keeps nothing that a confidence could be tested on."""
    return {**state, "tested": None}


def _begin_no_stream(state: State) -> State:
    """A decider of format 6 tells nothing of what its stream cost and gave."""
    return {**state, "_means": None} if "models_" in state else state


def _divide_bills_by_model(state: State) -> State:
    """A stream of format 6 has one ratio of realised to expected cost."""
    state = dict(state)
    spent, expected = float(state.pop("spent")), float(state.pop("expected"))
    ratio = np.full(state["quality"].shape[1], spent / expected if expected else 1.0)
    # Each model has been called often enough to count.
    bills = np.stack([ratio, np.ones(len(ratio)), np.full(len(ratio), 100.0)])
    return {**state, "bills": bills * [[expected], [expected], [1.0]], "ratio": ratio}


def _trust_expected_costs(state: State) -> State:
    """Decisions of format 6 correct no expected costs."""
    return {**state, "cost_factor": None}


#: Classes under other names since a format, `{format: {old tag: tag}}`.
_RENAMED = {2: {"PairFeatures": "QualityModel"}}
_UPGRADES: dict[int, dict[str, Callable[[State], State]]] = {
    1: {"BudgetDecider": _name_what_was_settled},
    2: {
        "BudgetDecider": _gather_what_was_settled,
        "PairRanker": _read_trees,
        "QualityModel": _name_quality,
        "QueryViews": _name_views,
        "RankingRouter": _gather_what_was_fitted,
    },
    3: dict.fromkeys(("FittedRouter", "RankingRouter"), _decide_without_caution),
    4: {"RankingRouter": _take_all_columns},
    5: {
        "BudgetDecider": _promise_nothing,
        "CostModel": _regress_costs_themselves,
    },
    6: {
        "BudgetDecider": _begin_no_stream,
        "CascadeDecider": _settle_without_promise,
        "FittedCascade": _keep_no_replays,
        "Pace": _divide_bills_by_model,
        "RankingRouter": _learn_nothing_more,
        "Settled": _trust_expected_costs,
    },
}

"""What a rule of decision may say, and the quality it asks for."""

from __future__ import annotations

from typing import Any

import numpy as np

from skroute._decide.candidates import check_caps, is_per_query
from skroute._table.numbers import check_number

__all__ = [
    "check_rule",
    "check_same_path",
    "is_same_rule",
    "needs_path",
    "quality_target",
]

_SCOPES = ("mean", "query", "batch")


def check_rule(
    budget: Any,
    scope: Any,
    min_quality: Any,
    price: Any,
    tolerance: Any,
    on_infeasible: Any,
) -> None:
    """Check the parameters of a :class:`~skroute.BudgetDecider`.

    Raises
    ------
    ValueError
        If one is not as described there, or two of them fix the price of money.
    """
    if scope not in _SCOPES:
        raise ValueError(f"scope must be one of {_SCOPES}; got {scope!r}.")
    if on_infeasible not in ("raise", "cheapest"):
        raise ValueError(
            f"on_infeasible must be 'raise' or 'cheapest'; got {on_infeasible!r}."
        )
    if budget is not None:
        _check_budget(budget, scope, min_quality)
    if price is not None:
        check_number(price, "price", low=0.0)
    check_number(tolerance, "tolerance", low=0.0)
    if isinstance(min_quality, str):
        _percentage(min_quality)
    elif min_quality is not None:
        check_number(min_quality, "min_quality")
    fixed = [
        name
        for name, set_ in (
            ("budget", budget is not None and scope != "query"),
            ("min_quality", min_quality is not None),
            ("price", price is not None),
        )
        if set_
    ]
    if len(fixed) > 1:
        raise ValueError(
            f"{' and '.join(fixed)} each fix the price of money: give one of them "
            f"(scope={scope!r}), or a budget with scope='query' as a cap."
        )


def _check_budget(budget: Any, scope: str, min_quality: Any) -> None:
    """Check a budget: a number, or a cap for each query."""
    if not is_per_query(budget):
        check_number(budget, "budget", low=0.0)
        return
    if scope != "query":
        raise ValueError(
            f"budget must be a number with scope={scope!r}; got an array of "
            f"{len(budget)}. One cap per query needs scope='query'."
        )
    if min_quality is not None:
        raise ValueError(
            "budget as an array and min_quality cannot be settled together: the "
            "target is met on training queries, of which the caps say nothing. "
            "Give a price, or one budget for all queries."
        )
    check_caps(budget)


def is_same_rule(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Tell whether two rules ask the same; of two arrays of caps it is not known."""
    try:
        return bool(one == other)
    except (TypeError, ValueError):  # an array, or something that is no parameter
        return False


def needs_path(budget: Any, scope: Any, min_quality: Any, *others: Any) -> bool:
    """Whether a rule's price is to be found on training traffic."""
    if min_quality is not None:
        return scope != "batch"
    return budget is not None and scope == "mean"


def check_same_path(settled: tuple[Any, ...], asked: tuple[Any, ...]) -> None:
    """Check that a price can be found on the path that was drawn for another rule.

    Parameters
    ----------
    settled, asked : tuple
        Parameters of the decider, in the order of `check_rule`: as they were when the
        path was drawn, and as they are.

    Raises
    ------
    ValueError
        If other models are in play, and so the path is another.
    """
    before, after = _models_in_play(*settled), _models_in_play(*asked)
    if needs_path(*asked) and before != after:
        raise ValueError(
            "the models in play changed since fit: the price of budget or min_quality "
            f"has to be found among those that {after} leaves, and fit looked at those "
            f"that {before} leaves. Fit the decider again."
        )


def _models_in_play(
    budget: Any,
    scope: Any,
    min_quality: Any,
    price: Any,
    tolerance: float,
    on_infeasible: str,
) -> str:
    """Say among which models a rule's path is drawn."""
    if not needs_path(budget, scope, min_quality):
        return "tolerance=0"
    cap = ""
    if scope == "query" and budget is not None:
        cap = f" with a cap of {budget!r} and on_infeasible={on_infeasible!r}"
    return f"tolerance={tolerance:g}{cap}"


def quality_target(min_quality: float | str | None, best_single: float) -> float | None:
    """Quality that is asked for, as a number.

    Parameters
    ----------
    min_quality : float, str or None
        A quality, or a share of `best_single` such as ``"95%"``.
    best_single : float
        Mean quality of the best single model.

    Returns
    -------
    float or None
        The target, if there is one.

    Raises
    ------
    ValueError
        If it is a share of something that is not known or not positive.
    """
    if not isinstance(min_quality, str):
        return None if min_quality is None else float(min_quality)
    if np.isnan(best_single):
        raise ValueError(
            f"min_quality={min_quality!r} is a share of the best single model's mean "
            "quality, which is known only after fit: call fit, or give min_quality "
            "as a number."
        )
    if best_single <= 0:
        raise ValueError(
            f"min_quality={min_quality!r} is a share of the best single model's mean "
            f"quality, which is {best_single:g}: a share needs a positive one. Give "
            "min_quality as a number."
        )
    return _percentage(min_quality) * best_single


def _percentage(text: str) -> float:
    """``"95%"`` as 0.95."""
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

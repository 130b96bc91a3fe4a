"""What is asked of a second price, such as latency: a weight, a mean, or a cap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from skroute._decide.candidates import is_per_query
from skroute._table.names import format_names
from skroute._table.numbers import check_number

_WAYS = ("weight", "mean", "query")
_EXPECTED = (
    "a dict that says what is meant: {'weight': money per unit}, {'mean': limit of the "
    "mean over the traffic}, {'query': limit of each query}, or several of these"
)
# Columns of `explain` have these names already.
_TAKEN = ("cost", "quality")


class ExtraRule(NamedTuple):
    """What is asked of one extra cost."""

    name: str
    #: Money per unit, 0 where it has none.
    weight: float
    #: Limit of the mean over the traffic, and of each query; None where there is none.
    mean: float | None
    query: float | None


def read_extra_rules(asked: Any) -> tuple[ExtraRule, ...]:
    """Read what is asked of extra costs by name; those of weight 0 are left out."""
    if asked is None:
        return ()
    rules = []
    for name, ways in check_extra_names(asked).items():
        if not isinstance(ways, Mapping) or not ways:
            raise ValueError(
                f"extra_costs[{name!r}] must have {_EXPECTED}; got {ways!r}."
            )
        unknown = [way for way in ways if way not in _WAYS]
        if unknown:
            raise ValueError(
                f"extra_costs[{name!r}] asks for {format_names(unknown)}; it must be "
                f"{_EXPECTED}."
            )
        for way, number in ways.items():
            check_number(number, f"extra_costs[{name!r}]: {way}", low=0.0)
        rule = ExtraRule(
            name,
            float(ways.get("weight", 0.0)),
            None if "mean" not in ways else float(ways["mean"]),
            None if "query" not in ways else float(ways["query"]),
        )
        if rule.weight or rule.mean is not None or rule.query is not None:
            rules.append(rule)
    limited = [rule.name for rule in rules if rule.mean is not None]
    if len(limited) > 1:
        raise ValueError(
            f"extra_costs may limit the mean of one, and {format_names(limited)} have "
            "such a limit: limit each query of the others, or give them a weight."
        )
    return tuple(rules)


def copy_extra_rules(asked: Any) -> Any:
    """Copy what is asked of extra costs, as far as it is a dict of dicts."""
    if not isinstance(asked, Mapping):
        return asked
    return {
        name: dict(ways) if isinstance(ways, Mapping) else ways
        for name, ways in asked.items()
    }


def check_extra_rules(rules: tuple[ExtraRule, ...], asked: Any) -> None:
    """Refuse what cannot be kept together with extra costs; `asked` is a `Rule`."""
    if not rules:
        return
    weighed = [rule.name for rule in rules if rule.weight]
    limited = [rule.name for rule in rules if rule.mean is not None]
    for is_given, name, why in (
        (asked.explore, f"explore={asked.explore!r}", "draws are not limited by them"),
        (
            asked.confidence is not None,
            f"confidence={asked.confidence!r}",
            "a promise is tested on money and quality alone",
        ),
        (
            limited and asked.tolerance,
            f"tolerance={asked.tolerance!r}",
            f"the limit of mean {format_names(limited)} decides among these models",
        ),
        (
            limited and asked.scope == "batch",
            "scope='batch'",
            f"mean {format_names(limited)} is limited over the traffic",
        ),
        (
            limited and asked.has_cap and is_per_query(asked.budget),
            "budget as an array",
            f"mean {format_names(limited)} is limited on training queries, of which "
            "the caps say nothing",
        ),
        (
            weighed and asked.has_batch_budget,
            "a batch budget",
            f"a total of money leaves {format_names(weighed)} no weight",
        ),
        (
            asked.capacity is not None,
            "capacity",
            "a batch is solved for money and quality alone",
        ),
    ):
        if is_given:
            raise ValueError(f"extra_costs and {name} cannot be given together: {why}.")
    # Where money does not count, nor does what is worth money.
    counts_money = (
        asked.is_met_on_average
        or asked.price is not None
        or asked.min_quality is not None
        or asked.tolerance > 0
    )
    if weighed and not counts_money:
        raise ValueError(
            f"extra_costs gives {format_names(weighed)} a weight in money, and money "
            "does not count here: give a mean budget, min_quality, a price or a "
            "tolerance, or a limit in place of the weight."
        )


def split_extra_costs(extra_costs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split pairs of (values, what is asked) by name; returns values, and asked."""
    if extra_costs is None:
        return {}, {}
    values, asked = {}, {}
    for name, pair in check_extra_names(extra_costs).items():
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise ValueError(
                f"extra_costs[{name!r}] must be a pair of what calls take, None for "
                f"what was learned in fit, and {_EXPECTED}; got {pair!r}."
            )
        values[name], asked[name] = pair
    return values, asked


def check_extra_names(extra_costs: Any) -> Mapping[str, Any]:
    """Refuse what is no dict by name."""
    if not isinstance(extra_costs, Mapping):
        raise ValueError(
            "extra_costs must be a dict by name, such as {'latency_s': ...}; got "
            f"{type(extra_costs).__name__}."
        )
    for name in extra_costs:
        if not isinstance(name, str) or not name or name in _TAKEN:
            raise ValueError(
                f"extra_costs must have names such as 'latency_s'; got {name!r}."
            )
    return extra_costs

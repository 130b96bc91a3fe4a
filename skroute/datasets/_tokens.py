"""Money per call from tokens and their prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skroute._table.names import format_names
from skroute._table.numbers import check_number
from skroute.datasets._bunch import read_json_mapping, to_numbers
from skroute.datasets._nested import find_values
from skroute.datasets._schemas import find_first, normalize

__all__ = ["TOKEN_ENDINGS", "holds_tokens", "long_token_costs", "wide_token_costs"]

_PAIRS = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))
#: Ends of the names of a wide table's token columns.
TOKEN_ENDINGS = tuple(f"|{name}" for pair in _PAIRS for name in pair)
# Objects in which API responses and trace exports keep token counts.
_OBJECTS = (
    "usage",
    "token_usage",
    "usage_details",
    "response.usage",
    "response.token_usage",
    "response.body.usage",
)
_INSIDE = (*_PAIRS, ("prompt", "completion"), ("input", "output"))
_KEYS = ("input_cost_per_token", "output_cost_per_token")
# A higher price per token is probably a price per million tokens.
_MAX_PRICE = 0.1
_HINT = "Token counts are numbers."


def long_token_costs(
    found: Mapping[str, np.ndarray],
    names: Sequence[str],
    renamed: Sequence[str],
    token_prices: Any,
    source: str,
) -> np.ndarray:
    """Compute the money of each call of a long table, ``NaN`` without its counts.

    `names` and `renamed` are the model of each call, as the table calls it and as it is
    called from now on; `token_prices`, as users give them, may use either name.
    """
    counts = _find_counts(found)
    if counts is None:
        pairs = " and ".join(_PAIRS[0]), " and ".join(_PAIRS[1])
        raise ValueError(
            f"token_prices needs counts of tokens, but {source} has no columns "
            f"{pairs[0]}, nor {pairs[1]}, nor an object 'usage' with them. Rename "
            "those that hold the counts."
        )
    prices = _find_prices(token_prices, dict(zip(names, renamed, strict=True)))
    rates = np.array([prices[name] for name in names])
    return (np.column_stack(counts) * rates).sum(axis=1)


def holds_tokens(name: str) -> bool:
    """Tell whether counts of tokens may be read from a column of a long table."""
    outer = {path.partition(".")[0] for path in _OBJECTS}
    return normalize(name) in outer.union(*_PAIRS)


def wide_token_costs(
    found: Mapping[str, np.ndarray],
    names: Sequence[str],
    renamed: Sequence[str],
    token_prices: Any,
    source: str,
) -> np.ndarray:
    """Compute the money of each call of a wide table, (n_queries, n_models).

    As `long_token_costs`, from columns such as ``<model>|prompt_tokens``.
    """
    prices = _find_prices(token_prices, dict(zip(names, renamed, strict=True)))
    costs = []
    for name in names:
        pairs = [tuple(f"{name}|{part}" for part in pair) for pair in _PAIRS]
        pair = next((p for p in pairs if set(p) <= set(found)), None)
        if pair is None:
            raise ValueError(
                f"token_prices needs counts of tokens, but {source} has no columns "
                f"{pairs[0][0]!r} and {pairs[0][1]!r} (or input_tokens, "
                "output_tokens). Add them, or give prices= per call."
            )
        counts = [_read_counts(part, found[part]) for part in pair]
        costs.append((np.column_stack(counts) * prices[name]).sum(axis=1))
    return np.column_stack(costs)


def _find_counts(found: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """Find the counts of the input and of the output of each call."""
    inside = [(f"{o}.{i}", f"{o}.{j}") for o in _OBJECTS for i, j in _INSIDE]
    for paths in (*_PAIRS, *inside):
        columns = [find_values(found, find_first((p,), found) or p) for p in paths]
        if all(column is not None for column in columns):
            return [
                _read_counts(path, column)
                for path, column in zip(paths, columns, strict=True)
                if column is not None
            ]
    return None


def _read_counts(name: str, values: np.ndarray) -> np.ndarray:
    counts = to_numbers(name, values, _HINT)
    if (counts < 0).any():
        raise ValueError(
            f"column {name!r} has a negative count of tokens in row "
            f"{int((counts < 0).argmax())}."
        )
    return counts


def _find_prices(
    token_prices: Any, renamed: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """Look up the two prices of every model; other models may be priced too."""
    given = read_json_mapping(token_prices, "token_prices")
    prices = {str(name): entry for name, entry in given.items()}
    absent = [n for n, new in renamed.items() if n not in prices and new not in prices]
    if absent:
        unused = sorted(set(prices) - {*renamed, *renamed.values()})
        raise ValueError(
            f"token_prices must price every model of the table; without a price: "
            f"{format_names(absent)}; priced, but not in the table: "
            f"{format_names(unused)}. Add them, as (per input token, per output "
            "token), or leave the models out: models=[...]."
        )
    return {
        name: _check_price_pair(name, prices[name] if name in prices else prices[new])
        for name, new in renamed.items()
    }


def _check_price_pair(name: str, entry: Any) -> tuple[float, float]:
    """Check the prices of one model, a pair or an entry of LiteLLM's price map."""
    if isinstance(entry, Mapping) and set(_KEYS) <= set(entry):
        entry = [entry[key] for key in _KEYS]
    if isinstance(entry, str | Mapping) or not hasattr(entry, "__len__"):
        entry = ()
    if len(entry) != 2:
        raise ValueError(
            f"token_prices[{name!r}] must be two prices, (per input token, per output "
            f"token), or an object with {_KEYS[0]} and {_KEYS[1]}."
        )
    pair = [check_number(v, f"token_prices[{name!r}]", low=0.0) for v in entry]
    if max(pair) > _MAX_PRICE:
        raise ValueError(
            f"token_prices[{name!r}] is {max(pair):g} for one token. If that is the "
            "price of a million tokens, divide it by 1e6."
        )
    return pair[0], pair[1]

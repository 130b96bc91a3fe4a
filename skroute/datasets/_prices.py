"""Money per call: from list prices, or from tokens and what these cost."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from skroute._table.costs import check_prices
from skroute._table.names import format_names
from skroute._table.numbers import check_number
from skroute.datasets._columns import find_values, to_numbers
from skroute.datasets._files import as_path
from skroute.datasets._raw import RawTable
from skroute.datasets._schemas import find_first, normalize

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


def read_prices(prices: Any, models: np.ndarray) -> np.ndarray:
    """Check prices by model, or read them from a JSON file."""
    prices = _read_mapping(prices, "prices")
    for name, price in prices.items():
        if isinstance(price, Mapping):
            raise ValueError(
                f"prices[{name!r}] must be money per call; got an object. Prices per "
                "token go to token_prices."
            )
        if isinstance(price, bool) or not isinstance(price, Real):
            raise ValueError(f"prices[{name!r}] must be a number; got {price!r}.")
    return check_prices(prices, models, "prices")


def compute_long_token_costs(
    table: RawTable, renamed: Mapping[str, str], called: Sequence[str]
) -> np.ndarray:
    """Compute the money of each call of a long table, ``NaN`` without its counts.

    `renamed` are the new names of models, and `called` is the model of each call.
    """
    inside = [(f"{o}.{i}", f"{o}.{j}") for o in _OBJECTS for i, j in _INSIDE]
    for paths in (*_PAIRS, *inside):
        cells = [
            find_values(table.found, find_first((path,), table.found) or path)
            for path in paths
        ]
        if all(values is not None for values in cells):
            break
    else:
        pairs = " and ".join(_PAIRS[0]), " and ".join(_PAIRS[1])
        raise ValueError(
            f"token_prices needs counts of tokens, but {table.source} has no columns "
            f"{pairs[0]}, nor {pairs[1]}, nor an object 'usage' with them. Rename "
            "those that hold the counts."
        )
    counts = _read_counts(paths, cells)
    prices = _find_prices(table.options.token_prices, renamed)
    return (counts * np.array([prices[name] for name in called])).sum(axis=1)


def holds_tokens(name: str) -> bool:
    """Tell whether counts of tokens may be read from a column of a long table."""
    outer = {path.partition(".")[0] for path in _OBJECTS}
    return normalize(name) in outer.union(*_PAIRS)


def compute_wide_token_costs(table: RawTable, renamed: Mapping[str, str]) -> np.ndarray:
    """Compute the money of each call of a wide table, (n_queries, n_models).

    As `compute_long_token_costs`, from columns such as ``<model>|prompt_tokens``.
    """
    found = table.found
    prices = _find_prices(table.options.token_prices, renamed)
    costs = []
    for name in renamed:
        pairs = [[f"{name}|{part}" for part in pair] for pair in _PAIRS]
        pair = next((p for p in pairs if set(p) <= set(found)), None)
        if pair is None:
            raise ValueError(
                f"token_prices needs counts of tokens, but {table.source} has no "
                f"columns {pairs[0][0]!r} and {pairs[0][1]!r} (or input_tokens, "
                "output_tokens). Add them, or give prices= per call."
            )
        counts = _read_counts(pair, [found[part] for part in pair])
        costs.append((counts * prices[name]).sum(axis=1))
    return np.column_stack(costs)


def _read_counts(names: Sequence[str], cells: Sequence[Any]) -> np.ndarray:
    """Read the tokens of the input and of the output of each call, (n_calls, 2)."""
    columns = []
    for name, values in zip(names, cells, strict=True):
        counts = to_numbers(name, values, "Token counts are numbers.")
        if (counts < 0).any():
            raise ValueError(
                f"column {name!r} has a negative count of tokens in row "
                f"{int((counts < 0).argmax())}."
            )
        columns.append(counts)
    return np.column_stack(columns)


def _find_prices(
    token_prices: Any, renamed: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """Look up the two prices of every model, by its old name or by its new one."""
    given = _read_mapping(token_prices, "token_prices")
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


def _read_mapping(given: Any, name: str) -> Mapping[Any, Any]:
    """Check that an argument is a mapping, or read it from a JSON file."""
    if isinstance(given, str | os.PathLike):
        file = as_path(given, name)
        if not file.is_file():
            raise FileNotFoundError(f"{name} {str(file)!r} is not a file.")
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} {file.name!r} is not JSON: {error}") from error
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{name} must map the name of each model to its price, or be the path of a "
            f"JSON file that does; got {type(given).__name__}."
        )
    return given

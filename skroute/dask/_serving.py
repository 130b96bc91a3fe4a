"""Answers for Dask collections: lazily, a partition at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from skroute._decide.candidates import check_available, check_caps, is_per_query
from skroute.dask._input import check_columns, is_array, is_collection, partitions
from skroute.ranking import RankingRouter

__all__ = ["answer_lazily", "map_queries", "route_queries"]


def answer_lazily(router: RankingRouter, method: str, X: Any, **shape: Any) -> Any:
    """Call a method of a router on every partition; `shape` as of `map_queries`."""
    return map_queries(_call_part, (router, method), X, **shape)


def route_queries(
    router: RankingRouter,
    X: Any,
    rule: dict[str, Any],
    n_places: int | None,
) -> Any:
    """Route every partition by a rule that a router was found to be able to keep.

    `rule` holds the arguments of its `route`; what of `budget` and `available` is of
    one value per query goes with the queries. Returns a dask array of names, of shape
    (n_queries,), or (n_queries, n_places).
    """
    rule = dict(rule)
    each: dict[str, Any] = {}
    budget, available = rule["budget"], rule["available"]
    if is_collection(budget):
        each["budget"] = rule.pop("budget")
    elif is_per_query(budget):
        each["budget"] = check_caps(rule.pop("budget"))[:, 0]
    if is_collection(available):
        each["available"] = rule.pop("available")
    elif available is not None:
        mask = check_available(available, router.models_, _n_rows(X, available))
        rule["available"] = mask[0]
        if len(mask) > 1:
            each["available"] = mask
            del rule["available"]
    return map_queries(
        _route_part,
        (router, rule, list(each)),
        X,
        *each.values(),
        width=n_places,
        dtype=object,
    )


def map_queries(
    function: Callable[..., np.ndarray],
    constant: Any,
    X: Any,
    *split: Any,
    width: int | None,
    dtype: Any,
) -> Any:
    """Compute rows of an array from queries, a partition at a time, when needed.

    The function is called with `constant` (anything large), the queries of a partition,
    and the rows of each of `split` that belong to it. The result is a dask array in the
    partitions of `X`, of `width` columns; ``None`` makes it a vector.
    """
    import dask
    import dask.array as da

    check_columns(X, "X")
    queries = partitions(X)
    sizes = _sizes(X, len(queries))
    extra = [list(_split(value, sizes)) for value in split]
    shared = dask.delayed(constant, traverse=False)
    call = dask.delayed(_call_unless_empty, pure=False)
    tail = () if width is None else (width,)
    return da.concatenate(
        [
            da.from_delayed(
                call(function, tail, dtype, shared, *arguments),
                (size, *tail),
                dtype=dtype,
            )
            for size, *arguments in zip(sizes, queries, *extra, strict=True)
        ]
    )


def _n_rows(table: Any, beside: Any) -> int:
    """Count the rows of a collection; if they are unknown, those of another table."""
    known = is_array(table) and not np.isnan(table.shape[0])
    return int(table.shape[0]) if known else len(beside)


def _sizes(table: Any, n_parts: int) -> list[float]:
    """List the rows of every partition, as far as known without computing."""
    return list(table.chunks[0]) if is_array(table) else [np.nan] * n_parts


def _split(value: Any, sizes: list[float]) -> Iterator[Any]:
    """Split an argument into the rows of each partition of the queries."""
    if is_collection(value):
        parts = partitions(value)
        if len(parts) != len(sizes):
            raise ValueError(
                f"a collection of one value per query must have the {len(sizes)} "
                f"partitions of X; got {len(parts)}."
            )
        yield from parts
    elif np.isnan(sizes).any():
        raise ValueError(
            f"an array of one value per query needs to know the rows of each partition "
            f"of X, which has {len(sizes)} of unknown sizes; got {len(value)} values. "
            "Give a dask array in the partitions of X."
        )
    elif sum(sizes) != len(value):
        raise ValueError(
            f"an array of one value per query must have the {sum(sizes):g} rows of X; "
            f"got {len(value)}."
        )
    else:
        yield from np.split(value, np.cumsum(sizes[:-1]).astype(int))


def _call_unless_empty(
    function: Callable[..., np.ndarray],
    tail: tuple[int, ...],
    dtype: Any,
    constant: Any,
    X: Any,
    *arguments: Any,
) -> np.ndarray:
    """Call a function that needs one query at least."""
    if len(X) == 0:
        return np.empty((0, *tail), dtype=dtype)
    return function(constant, X, *arguments)


def _call_part(constant: tuple[RankingRouter, str], X: Any) -> np.ndarray:
    router, method = constant
    result: np.ndarray = getattr(router, method)(X)
    return result


def _route_part(
    constant: tuple[RankingRouter, dict[str, Any], list[str]], X: Any, *each: Any
) -> np.ndarray:
    router, rule, names = constant
    return router.route(X, **rule, **dict(zip(names, each, strict=True)))

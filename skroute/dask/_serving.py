"""Answers for Dask collections: lazily, a partition at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from skroute._decide.candidates import check_available, check_caps, is_per_query
from skroute._table.costs import check_known_costs
from skroute.dask._input import check_columns, is_array, is_collection, list_partitions
from skroute.ranking import RankingRouter


def route_lazily(
    router: RankingRouter, X: Any, rule: dict[str, Any], n_places: int | None
) -> Any:
    """Route every partition by a rule that a router was found to be able to keep.

    `rule` holds the arguments of its `route`; rows of `budget`, `available` and `costs`
    go with the queries. Returns a dask array of names, (n_queries,) or (n_queries,
    n_places).
    """
    rule, each = dict(rule), {}
    budget, available, costs = rule["budget"], rule["available"], rule["costs"]
    if is_collection(budget):
        each["budget"] = rule.pop("budget")
    elif is_per_query(budget):
        each["budget"] = check_caps(rule.pop("budget"))[:, 0]
    if is_collection(available):
        each["available"] = rule.pop("available")
    elif available is not None:
        n_queries = _count_queries(X, len(available))
        mask = check_available(available, router.models_, n_queries)
        rule["available"] = mask[0]
        if len(mask) > 1:
            each["available"] = mask
            del rule["available"]
    if is_collection(costs):
        each["costs"] = rule.pop("costs")
    elif costs is not None:
        by_model = isinstance(costs, Mapping) or np.ndim(costs) == 1
        n_queries = 1 if by_model else _count_queries(X, len(costs))
        known = check_known_costs(costs, n_queries, router.models_)
        assert known is not None
        if by_model:
            # By name: a partition may have as many queries as there are models.
            rule["costs"] = dict(zip(router.models_, known[0], strict=True))
        else:
            each["costs"] = known
            del rule["costs"]
    return call_lazily(router, "route", X, n_places, object, rule, each)


def _count_queries(X: Any, default: int) -> int:
    """Count the queries of a collection, or take another number if it has not."""
    known = is_array(X) and not np.isnan(X.shape[0])
    return int(X.shape[0]) if known else default


def call_lazily(
    router: RankingRouter,
    method: str,
    X: Any,
    width: int | None,
    dtype: Any,
    constant: dict[str, Any] | None = None,
    each: dict[str, Any] | None = None,
) -> Any:
    """Call a method of a router on every partition of the queries, when needed.

    Its keyword arguments are `constant`, and of `each` the rows of the partition. The
    result is a dask array in the partitions of `X`, of `width` columns; ``None`` makes
    it a vector.
    """
    import dask
    import dask.array as da

    check_columns(X, "X")
    queries = list_partitions(X)
    # Data frames do not know the rows of their partitions.
    sizes = list(X.chunks[0]) if is_array(X) else [np.nan] * len(queries)
    each = each or {}
    split = [list(_split(value, sizes)) for value in each.values()]
    # The router is sent once, and not with every partition.
    shared = dask.delayed((router, constant or {}), traverse=False)
    call = dask.delayed(_call_unless_empty, pure=False)
    tail = () if width is None else (width,)
    parts = []
    for size, *rows in zip(sizes, queries, *split, strict=True):
        part = call(shared, method, tail, dtype, list(each), *rows)
        parts.append(da.from_delayed(part, (size, *tail), dtype=dtype))
    return da.concatenate(parts)


def _split(value: Any, sizes: list[float]) -> Iterator[Any]:
    """Split an argument into the rows of each partition of the queries."""
    if is_collection(value):
        parts = list_partitions(value)
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
    shared: tuple[RankingRouter, dict[str, Any]],
    method: str,
    tail: tuple[int, ...],
    dtype: Any,
    names: list[str],
    X: Any,
    *each: Any,
) -> np.ndarray:
    """Call a method, which needs one query at least."""
    if len(X) == 0:
        return np.empty((0, *tail), dtype=dtype)
    router, constant = shared
    given = constant | dict(zip(names, each, strict=True))
    result: np.ndarray = getattr(router, method)(X, **given)
    return result

"""What a cluster is given to fit: tables that do not match, and errors that say so."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from skroute import NoCostWarning, save
from skroute.dask import DaskRankingRouter
from skroute.dask import _input as reading
from skroute.datasets import make_routing

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
delayed = pytest.importorskip("dask").delayed

pytestmark = pytest.mark.cluster

SMALL: dict[str, Any] = {
    "n_landmarks": 16,
    "cv": 2,
    "n_estimators": 5,
    "random_state": 0,
}


def _in_chunks(table: Any, size: int = 20) -> Any:
    return da.from_array(np.asarray(table), chunks=(size, -1))


@pytest.fixture(scope="module")
def router(client: Any) -> DaskRankingRouter:
    data = make_routing(60, n_models=3, random_state=1)
    tables = map(_in_chunks, (data.data, data.quality))
    return DaskRankingRouter(data.costs[0], **SMALL, client=client).fit(*tables)


def test_errors_name_the_way_out(router: DaskRankingRouter) -> None:
    data = make_routing(60, n_models=3, random_state=0)
    X, y = _in_chunks(data.data, 20), _in_chunks(data.quality, 20)
    before = vars(router).copy()

    def refused(error: type[Exception], match: str, *args: Any, **kwargs: Any) -> None:
        with pytest.raises(error, match=match):
            router.fit(*args, **kwargs)
        assert vars(router) == before

    refused(TypeError, r"X must be a dask .* skroute.RankingRouter", data.data, y)
    refused(TypeError, "y must be a dask", X, data.quality)
    refused(TypeError, "belong in the constructor", X, y, costs=[1.0, 2.0, 3.0])
    refused(ValueError, r"X.compute_chunk_sizes\(\)", X[X[:, 0] > 0], y)
    refused(ValueError, r"X.rechunk\({1: -1}\)", X.rechunk({1: 2}), y)
    refused(ValueError, r"y.rechunk\({0: X.chunks\[0\]}\)", X, y.rechunk({0: 30}))
    refused(ValueError, "with a column for each of the 3 models", X, y, costs=X)
    refused(ValueError, "all NaN; drop it", X, da.where(np.arange(3) > 0, y, np.nan))
    refused(ValueError, "X contains NaN", da.where(X > 1, np.nan, X), y, costs=y)
    refused(ValueError, "negative", X, y, costs=y - 1.0)
    refused(ValueError, "two dimensions", X, y[:, 0])
    with pytest.raises(ValueError, match="found no client"):
        DaskRankingRouter().fit(X, y)


def _frames(data: Any, **changed: Any) -> list[Any]:
    """Frames of embeddings, outcomes and costs, some of them in other partitions."""
    frames = {"X": data.data, "y": data.quality, "costs": data.costs}
    frames = {name: pd.DataFrame(table) for name, table in frames.items()} | changed
    return [
        frame if hasattr(frame, "dask") else dd.from_pandas(frame, npartitions=2)
        for frame in frames.values()
    ]


def test_frames_whose_rows_do_not_match_are_refused(client: Any) -> None:
    data = make_routing(60, n_models=3, random_state=0)
    router = DaskRankingRouter(**SMALL, client=client)
    y, costs = pd.DataFrame(data.quality), pd.DataFrame(data.costs)
    shuffled = dd.from_pandas(y.sample(frac=1.0, random_state=0), 2, sort=False)
    moved = y.set_axis(y.index + 5)
    named = [y.set_axis([f"{kind} {i}" for i in range(60)]) for kind in ("q", "query")]
    for name, changed in {
        "y and X": {"y": shuffled},
        "costs and y": {"y": named[0], "costs": named[1]},
    }.items():
        X, y, costs = _frames(data, **changed)
        with pytest.raises(ValueError, match=f"{name} must have the same row labels"):
            router.fit(X, y, costs=costs)
    X, y, costs = _frames(data, y=moved)
    with client.as_current():
        X = X.to_dask_array(lengths=True)
    with pytest.raises(ValueError, match=r"costs and y .*to_dask_array"):
        router.fit(X, y, costs=costs)
    # Labels that pandas gives by itself to every part that is read name no row.
    X, y, costs = _frames(data)
    y = y.map_partitions(pd.DataFrame.reset_index, drop=True)
    router.fit(X, y, costs=costs)


def test_partitions_that_are_not_as_announced_are_refused(client: Any) -> None:
    data = make_routing(60, n_models=3, random_state=0)
    router = DaskRankingRouter(**SMALL, client=client)

    def announced(table: np.ndarray) -> Any:
        """An array of which the last column is missing in the second half."""
        half = da.from_array(table[:30], chunks=(30, -1))
        rest = delayed(table[30:, :-1])
        return da.concatenate([half, da.from_delayed(rest, half.shape, table.dtype)])

    X, y, costs = (
        _in_chunks(table, 30) for table in (data.data, data.quality, data.costs)
    )
    shape = r"a partition of shape \(30, 2\), where the collection announces \(30, 3\)"
    for tables, match in [
        ((X, announced(data.quality), costs), f"y has {shape}"),
        ((announced(data.data), y, costs), "X has a partition of shape"),
        ((X, y, announced(data.costs)), r"costs .*\(30, 3\).*got.*\(30, 2\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            router.fit(*tables[:2], costs=tables[2])


def test_refused_values_are_told_to_the_caller_alone(client: Any) -> None:
    data = make_routing(60, n_models=3, random_state=0)
    data.quality[31] = np.inf
    with pytest.raises(ValueError, match="y contains infinity"):
        DaskRankingRouter(**SMALL, client=client).fit(
            _in_chunks(data.data, 20), _in_chunks(data.quality, 20)
        )
    logs = client.get_worker_logs()
    assert len(logs) == 2
    assert "y contains infinity" not in str(logs)


def test_very_many_partitions_are_warned_of(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_routing(60, n_models=2, random_state=0)
    tables = _in_chunks(data.data, 20), _in_chunks(data.quality, 20)
    router = DaskRankingRouter(data.costs[0], **SMALL, client=client)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        router.fit(*tables)
    monkeypatch.setattr(reading, "_MANY_PARTITIONS", 2)
    with pytest.warns(UserWarning, match="X has 3 partitions.*Use fewer") as caught:
        router.fit(*tables)
    assert caught[0].filename == __file__


def test_a_saved_router_is_the_local_one(
    router: DaskRankingRouter, tmp_path: Any
) -> None:
    with pytest.raises(ValueError, match=r"skroute.save\(router.to_local\(\), path\)"):
        save(router, tmp_path / "router.skroute")
    save(router.to_local(), tmp_path / "router.skroute")


def test_no_costs_are_said_once(client: Any) -> None:
    data = make_routing(60, n_models=2, random_state=0)
    router = DaskRankingRouter(**{**SMALL, "n_estimators": 0}, client=client)
    with pytest.warns(NoCostWarning, match="DaskRankingRouter was given no costs"):
        router.fit(_in_chunks(data.data, 40), _in_chunks(data.quality, 40))


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'scikit-route\[dask\]'"):
        DaskRankingRouter().fit(None, None)

"""Workers that are lost during a fit: a result, or a clear error, and no hanging."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skroute import RankingRouter
from skroute.dask import DaskRankingRouter
from skroute.dask import _partitions as partitions
from skroute.dask._partitions import Partitions
from skroute.datasets import make_routing

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SMALL: dict[str, Any] = {
    "n_landmarks": 16,
    "cv": 2,
    "n_estimators": 5,
    "random_state": 0,
}


@contextmanager
def _cluster(folder: Path, n_workers: int, processes: bool) -> Iterator[Any]:
    """A cluster that a test may destroy."""
    with (
        # A cluster that does not count on lost workers to come back closes them, but
        # on a busy machine they take a while.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"}),
        distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=processes,
            dashboard_address=":0",
            local_directory=str(folder),
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        if n_workers:
            client.wait_for_workers(n_workers, timeout=60)
        yield client


def _in_chunks(table: np.ndarray) -> Any:
    return da.from_array(table, chunks=(150, -1))


def _at_sum(monkeypatch: pytest.MonkeyPatch, n: int, event: Any) -> list[Any]:
    """Have something happen in the midst of a fit, at the n-th sum over partitions."""
    total, calls = Partitions.total, []

    def total_and_event(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == n:
            event()
        return total(*args, **kwargs)

    monkeypatch.setattr(Partitions, "total", total_and_event)
    return calls


@pytest.fixture(scope="module")
def data() -> Any:
    return make_routing(450, n_models=3, random_state=1)


def test_what_a_killed_worker_held_is_computed_again(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _cluster(tmp_path, 2, processes=True) as client:
        victim, _ = client.run(os.getpid).values()
        calls = _at_sum(monkeypatch, 15, lambda: os.kill(victim, signal.SIGKILL))
        router = DaskRankingRouter(**SMALL, client=client)
        router.fit(
            *map(_in_chunks, (data.data, data.quality)), costs=_in_chunks(data.costs)
        )
    assert len(calls) > 15
    local = RankingRouter(**SMALL).fit(data.data, data.quality, costs=data.costs)
    np.testing.assert_allclose(
        router.transform(data.data), local.transform(data.data), rtol=1e-8, atol=1e-8
    )


def test_what_cannot_be_made_again_is_told(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _cluster(tmp_path, 2, processes=True) as client:
        (lost, victim), *_ = client.run(os.getpid).items()
        parts = client.scatter([data.data[:150], data.data[150:]], workers=[lost])
        X = da.concatenate(
            [
                da.from_delayed(part, (n, data.data.shape[1]), float)
                for part, n in zip(parts, (150, 300), strict=True)
            ]
        )
        y, costs = (
            _in_chunks(table).rechunk({0: X.chunks[0]})
            for table in (data.quality, data.costs)
        )
        router = DaskRankingRouter(**SMALL, client=client)
        _at_sum(monkeypatch, 8, lambda: os.kill(victim, signal.SIGKILL))
        with pytest.raises(RuntimeError, match="scattered or published"):
            router.fit(X, y, costs=costs)
        assert not hasattr(router, "models_")


def test_a_fit_without_workers_is_given_up_alone(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_LOOK", 0.1)
    monkeypatch.setattr(partitions, "_PATIENCE", 0.5)
    with _cluster(tmp_path, 0, processes=False) as client:
        router = DaskRankingRouter(data.costs[0], **SMALL, client=client)
        users = client.submit(pow, 2, 5)
        with pytest.raises(RuntimeError, match=r"without workers for 0\.5 seconds"):
            router.fit(*map(_in_chunks, (data.data, data.quality)))
        assert not hasattr(router, "models_")
        # What the user has on the cluster is none of the fit's business.
        client.cluster.scale(1)
        assert users.result(timeout=60) == 32

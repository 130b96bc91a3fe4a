"""The ranking router on a cluster: the local fit, in partitions."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skroute import InfeasibleBudgetError, NoCostWarning, RankingRouter
from skroute.dask import DaskRankingRouter
from skroute.dask import _boosting as boosting
from skroute.dask._partitions import Partitions
from skroute.datasets import make_routing, read_routerbench

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            local_directory=str(tmp_path_factory.mktemp("workers")),
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _in_chunks(table: Any, size: int = 250) -> Any:
    return da.from_array(np.asarray(table), chunks=(size, -1))


SMALL: dict[str, Any] = {
    "n_landmarks": 16,
    "cv": 2,
    "n_estimators": 5,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def table() -> Any:
    """A table with holes, weights, and a block of queries of one embedding."""
    data = make_routing(480, n_models=4, random_state=0)
    rng = np.random.RandomState(0)
    data.quality[rng.random_sample(data.quality.shape) < 0.2] = np.nan
    data.weight = rng.random_sample(data.quality.shape) + 0.1
    data.data[100:180] = data.data[100]
    data.data[7] = data.data[401]
    return data


@pytest.fixture(scope="module")
def routers(client: Any) -> tuple[DaskRankingRouter, RankingRouter, Any]:
    data = make_routing(450, n_models=3, random_state=1)
    router = DaskRankingRouter(**SMALL, client=client)
    router.fit(
        _in_chunks(data.data), _in_chunks(data.quality), costs=_in_chunks(data.costs)
    )
    return router, router.to_local(), data


# The fit.


def test_all_but_the_ranker_is_the_local_fit(client: Any, table: Any) -> None:
    params = {**SMALL, "n_estimators": 0}
    local = RankingRouter(**params)
    expected = local.fit_transform(
        table.data, table.quality, costs=table.costs, outcome_weight=table.weight
    )
    router = DaskRankingRouter(**params, client=client)
    estimates = router.fit_transform(
        _in_chunks(table.data),
        _in_chunks(table.quality),
        costs=_in_chunks(table.costs),
        outcome_weight=_in_chunks(table.weight),
    )
    estimates = client.compute(estimates).result()
    np.testing.assert_allclose(estimates, expected, atol=1e-7)
    np.testing.assert_allclose(
        router.transform(table.data), local.transform(table.data), atol=1e-7
    )
    for name in ("price", "cost", "quality", "block"):
        np.testing.assert_allclose(
            getattr(router.price_path_, name), getattr(local.price_path_, name)
        )
    assert router._training.best_single == local._training.best_single


@pytest.mark.parametrize("name", ["pool9", "routerbench3", "mistral7"])
def test_real_tables_route_as_after_a_local_fit(
    name: str, client: Any, shared_data: Any
) -> None:
    prices = shared_data / "pool9_prices.json" if name == "pool9" else None
    table = read_routerbench(
        shared_data / f"{name}.csv.gz",
        prices=prices,
        embeddings=shared_data / f"{name}_minilm.npy",
    )
    rows = np.random.RandomState(0).permutation(len(table.data))
    train, test = rows[:1000], rows[1000:4000]
    costs = table.costs
    if costs is None:
        costs = np.linspace(7.0, 8.0, table.quality.shape[1])
    fixed = np.ndim(costs) == 1
    params = {**SMALL, "costs": costs if fixed else None, "n_landmarks": 48}
    local = RankingRouter(**params).fit(
        table.data[train], table.quality[train], costs=None if fixed else costs[train]
    )
    router = DaskRankingRouter(**params, client=client).fit(
        _in_chunks(table.data[train], 500),
        _in_chunks(table.quality[train], 500),
        costs=None if fixed else _in_chunks(costs[train], 500),
    )
    truth = table.quality[test], None if fixed else costs[test]
    X = table.data[test]
    assert router.to_local().score(X, truth[0], costs=truth[1]) == pytest.approx(
        local.score(X, truth[0], costs=truth[1]), abs=0.003
    )


def test_the_same_seed_and_partitions_give_the_same_router(
    client: Any, routers: tuple[Any, Any, Any]
) -> None:
    router, _, data = routers
    again = clone(router).fit(
        _in_chunks(data.data), _in_chunks(data.quality), costs=_in_chunks(data.costs)
    )
    _assert_same_regressions(again, router, data.data)
    X = data.data[:9]
    np.testing.assert_array_equal(again.predict_cost(X), router.predict_cost(X))
    # Which worker trains on which partition is the scheduler's choice.
    np.testing.assert_allclose(
        again.predict_quality(X), router.predict_quality(X), atol=0.05
    )


def _assert_same_regressions(router: Any, other: Any, X: np.ndarray) -> None:
    np.testing.assert_array_equal(
        router._pairs.transform(X).quality, other._pairs.transform(X).quality
    )


def test_nothing_but_sums_comes_to_the_client(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skroute.views._N_SAMPLED", 200)
    monkeypatch.setattr("skroute.training._N_KEPT", 100)
    monkeypatch.setattr("skroute.training._N_WALKED", 100)
    fetch, sizes = Partitions._fetch, []

    def counted(self: Partitions, futures: list[Any]) -> list[Any]:
        results = fetch(self, futures)
        sizes[-1] += len(pickle.dumps(results))
        return results

    monkeypatch.setattr(Partitions, "_fetch", counted)
    for n_queries in (1000, 2000):
        sizes.append(0)
        data = make_routing(n_queries, n_models=3, random_state=0)
        router = DaskRankingRouter(
            data.costs[0], client=client, n_estimators=0, n_landmarks=16, cv=2
        )
        router.fit(_in_chunks(data.data, 500), _in_chunks(data.quality, 500))
    # Of each query a hash, a distance and a yes or no: a row of the table is 280 bytes.
    assert sizes[1] - sizes[0] < 1000 * 20


def test_data_frames_name_models_and_features(client: Any) -> None:
    data = make_routing(240, n_features=5, n_models=3, random_state=0)
    X = pd.DataFrame(data.data, columns=[f"x{i}" for i in range(5)])
    y = pd.DataFrame(data.quality, columns=["small", "middle", "large"])
    costs = pd.DataFrame(data.costs, columns=y.columns)[["large", "small", "middle"]]
    frames = [dd.from_pandas(frame, npartitions=2) for frame in (X, y, costs)]
    costs[["small", "middle", "large"]] = costs[["large", "small", "middle"]]
    router = DaskRankingRouter(**{**SMALL, "n_estimators": 0})
    with client.as_current():
        router.fit(frames[0], frames[1], costs=frames[2])
    assert router.models_.tolist() == ["small", "middle", "large"]
    assert router.feature_names_in_.tolist() == X.columns.tolist()
    local = RankingRouter(**{**SMALL, "n_estimators": 0})
    local.fit(X, y, costs=frames[2].compute())
    np.testing.assert_allclose(router.transform(X), local.transform(X), atol=1e-7)
    np.testing.assert_array_equal(
        router.route(frames[0], min_quality="95%").compute(),
        router.route(X, min_quality="95%"),
    )


# What comes out.


def test_the_local_router_serves_without_dask(
    routers: tuple[Any, Any, Any], tmp_path: Any
) -> None:
    _, local, data = routers
    assert type(local) is RankingRouter
    assert not hasattr(local, "client")
    (tmp_path / "router.pickle").write_bytes(pickle.dumps(local))
    np.save(tmp_path / "queries.npy", data.data[:5])
    code = (
        "import sys\n"
        "sys.modules['dask'] = sys.modules['distributed'] = None  # not installed\n"
        "import pickle, numpy as np\n"
        "router = pickle.load(open('router.pickle', 'rb'))\n"
        "print(*router.route(np.load('queries.npy'), min_quality='90%'))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=240,
    )
    expected = local.route(data.data[:5], min_quality="90%")
    assert shown.stdout.decode().split() == expected.tolist()


def test_the_client_is_shared_and_not_pickled(
    client: Any, routers: tuple[Any, Any, Any]
) -> None:
    router, _, data = routers
    assert clone(router).client is client
    restored = pickle.loads(pickle.dumps(router))
    assert restored.client is None
    assert router.client is client
    np.testing.assert_array_equal(
        restored.predict(data.data), router.predict(data.data)
    )


@pytest.mark.parametrize(
    "method", ["transform", "predict", "predict_quality", "predict_cost", "route"]
)
def test_collections_are_answered_lazily(
    method: str, routers: tuple[Any, Any, Any]
) -> None:
    router, local, data = routers
    X = da.from_array(data.data[:60], chunks=(25, -1))
    lazy, expected = getattr(router, method)(X), getattr(local, method)(data.data[:60])
    assert isinstance(lazy, da.Array)
    assert lazy.shape == expected.shape
    assert lazy.dtype == expected.dtype
    assert lazy.chunks[0] == X.chunks[0]
    answer = lazy.compute(scheduler="sync")
    if expected.dtype == float:
        np.testing.assert_allclose(answer, expected, rtol=1e-9)
    else:
        np.testing.assert_array_equal(answer, expected)
    eager = getattr(router, method)(data.data[:60])
    assert isinstance(eager, np.ndarray)
    np.testing.assert_array_equal(eager, expected)


def test_requests_keep_their_caps_and_masks(routers: tuple[Any, Any, Any]) -> None:
    router, local, data = routers
    X = da.from_array(data.data[:60], chunks=(25, -1))
    rng = np.random.RandomState(0)
    caps = rng.uniform(*np.quantile(local.predict_cost(data.data[:60]), [0.4, 0.9]), 60)
    available = rng.random_sample((60, 3)) < 0.7
    available[:, 0] = True
    rule = {"scope": "query", "on_infeasible": "cheapest", "top_k": 2}
    # In the same parts: two models are equally good but for rounding, which depends on
    # how many queries are estimated at once.
    expected = np.concatenate(
        [
            local.route(
                data.data[rows], budget=caps[rows], available=available[rows], **rule
            )
            for rows in (slice(0, 25), slice(25, 50), slice(50, 60))
        ]
    )
    for budget, mask in [
        (caps, available),
        (
            da.from_array(caps, chunks=(25,)),
            da.from_array(available, chunks=(25, -1)),
        ),
    ]:
        lazy = router.route(X, budget=budget, available=mask, **rule)
        assert (lazy.compute(scheduler="sync") == expected).all()


@pytest.mark.parametrize(
    "available",
    [
        ["model_0", "model_2"],
        np.array([False, True, True]),
        {"model_0": False, "model_1": True, "model_2": True},
    ],
    ids=["names", "mask", "dict"],
)
def test_models_that_are_left_out_are_so_in_every_partition(
    available: Any, routers: tuple[Any, Any, Any]
) -> None:
    router, local, data = routers
    queries = data.data[:60]
    expected = local.route(queries, available=available)
    frame = dd.from_pandas(pd.DataFrame(queries), npartitions=3)
    for X in (da.from_array(queries, chunks=(25, -1)), frame.to_dask_array()):
        names = router.route(X, available=available).compute(scheduler="sync")
        assert (names == expected).all()
    caps = local.predict_cost(queries).max(axis=1)
    with pytest.raises(ValueError, match="3 of unknown sizes; got 60 values"):
        router.route(frame.to_dask_array(), budget=caps, scope="query")


def test_budgets_are_settled_when_asked_for(routers: tuple[Any, Any, Any]) -> None:
    router, _, data = routers
    X = _in_chunks(data.data)
    with pytest.raises(InfeasibleBudgetError):
        router.route(X, budget=0.0)
    with pytest.raises(ValueError, match="scope='batch' is solved over all rows"):
        router.route(X, budget=9.0, scope="batch")
    with pytest.raises(ValueError, match="one value per query must have the 450 rows"):
        router.route(X, budget=np.ones(7), scope="query")
    with pytest.raises(ValueError, match="unknown models nobody"):
        router.route(X, available=["nobody"])
    with pytest.raises(ValueError, match="must have the 32 features"):
        router.predict(X[:, :3].rechunk({1: -1}))
    with pytest.raises(NotFittedError):
        DaskRankingRouter().predict(X)


def test_what_is_not_lazy_wants_arrays(routers: tuple[Any, Any, Any]) -> None:
    router, local, data = routers
    with pytest.raises(TypeError, match="arrays in memory"):
        router.score(_in_chunks(data.data), data.quality, costs=data.costs)
    assert router.score(data.data, data.quality, costs=data.costs) == local.score(
        data.data, data.quality, costs=data.costs
    )


# Bad input.


def test_errors_name_the_way_out(client: Any, routers: tuple[Any, Any, Any]) -> None:
    data = make_routing(60, n_models=3, random_state=0)
    X, y = _in_chunks(data.data, 20), _in_chunks(data.quality, 20)
    router, *_ = routers
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


def test_no_costs_are_said_once(client: Any) -> None:
    data = make_routing(60, n_models=2, random_state=0)
    router = DaskRankingRouter(**{**SMALL, "n_estimators": 0}, client=client)
    with pytest.warns(NoCostWarning, match="DaskRankingRouter was given no costs"):
        router.fit(_in_chunks(data.data, 40), _in_chunks(data.quality, 40))


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'scikit-route\[dask\]'"):
        DaskRankingRouter().fit(None, None)


# Workers that die; last, because they are not the same afterwards.


def _pids(client: Any) -> list[int]:
    return list(client.run(os.getpid).values())


def test_sums_that_a_killed_worker_held_are_computed_again(
    client: Any, routers: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    router, _, data = routers
    victim = _pids(client)[0]
    total, calls = Partitions.total, []

    def total_and_kill(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 15:
            os.kill(victim, signal.SIGKILL)
        return total(*args, **kwargs)

    monkeypatch.setattr(Partitions, "total", total_and_kill)
    again = clone(router).set_params(n_estimators=0)
    again.fit(
        _in_chunks(data.data), _in_chunks(data.quality), costs=_in_chunks(data.costs)
    )
    assert len(calls) > 15
    assert victim not in _pids(client)
    _assert_same_regressions(again, router, data.data)


def _trains(dask_worker: Any) -> bool:
    tasks = dask_worker.state.executing
    return any(str(task.key).startswith("_train_part") for task in tasks)


def _wait_for_two_workers(client: Any) -> None:
    """Wait until an earlier test's dead are replaced, or do it for their nannies."""
    try:
        client.wait_for_workers(2, timeout=30)
    except TimeoutError:
        client.restart()
        client.wait_for_workers(2, timeout=60)


def test_a_worker_killed_while_it_trains_fails_no_fit_silently(
    client: Any, routers: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    router, _, data = routers
    _wait_for_two_workers(client)
    victim, given_up = _pids(client)[0], threading.Event()

    def kill() -> None:
        while not all(client.run(_trains).values()):
            if given_up.wait(0.05):
                return
        # Time to link up: before, LightGBM waits for the dead, and the fit is given up.
        time.sleep(0.3)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    again = clone(router).set_params(n_estimators=500)
    monkeypatch.setattr(boosting, "_GRACE", 10.0)
    try:
        again.fit(
            _in_chunks(data.data),
            _in_chunks(data.quality),
            costs=_in_chunks(data.costs),
        )
    except RuntimeError as error:
        assert "client.restart()" in str(error)  # noqa: PT017
        assert not hasattr(again, "models_")
        client.restart()
    else:
        _assert_same_regressions(again, router, data.data)
        assert again.ranker_.text.count("Tree=") == 500
    finally:
        given_up.set()
    killer.join(10.0)
    assert victim not in _pids(client)


def test_a_training_that_hangs_is_given_up(
    client: Any, routers: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    router, _, data = routers
    _wait_for_two_workers(client)
    victim, other = _pids(client)
    before = vars(router).copy()
    fit = boosting._Ranker.fit

    def fit_without_workers(self: Any, *args: Any, **kwargs: Any) -> Any:
        os.kill(other, signal.SIGSTOP)
        os.kill(victim, signal.SIGKILL)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(boosting._Ranker, "fit", fit_without_workers)
    monkeypatch.setattr(boosting, "_GRACE", 1.0)
    try:
        with pytest.raises(RuntimeError, match=r"lost .* client.restart\(\)"):
            router.fit(
                _in_chunks(data.data),
                _in_chunks(data.quality),
                costs=_in_chunks(data.costs),
            )
    finally:
        os.kill(other, signal.SIGCONT)
    assert vars(router) == before

"""The ranking router on a cluster: the local fit, in partitions."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skroute import InfeasibleBudgetError, RankingRouter
from skroute._estimate.options import OPTIONS
from skroute.dask import DaskRankingRouter
from skroute.dask import _partitions as partitions
from skroute.datasets import make_routing, read_routerbench

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

pytestmark = pytest.mark.cluster

# Estimates that are sums over partitions differ by rounding, and by how BLAS adds up.
CLOSE: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-8}


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


def _assert_fits_alike(
    client: Any,
    params: dict[str, Any],
    data: tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None],
    size: int,
    close: dict[str, Any] = CLOSE,
) -> tuple[DaskRankingRouter, RankingRouter]:
    """Fit on a cluster and in memory; estimates must be the same but for rounding."""
    X, y, costs, weight = data
    local = RankingRouter(**params)
    expected = local.fit_transform(X, y, costs=costs, outcome_weight=weight)
    router = DaskRankingRouter(**params, client=client)
    X, y, costs, weight = (None if t is None else _in_chunks(t, size) for t in data)
    estimates = router.fit_transform(X, y, costs=costs, outcome_weight=weight)
    estimates = client.compute(estimates).result(timeout=60)
    np.testing.assert_allclose(estimates, expected, **close)
    np.testing.assert_allclose(
        router.transform(data[0]), local.transform(data[0]), **close
    )
    return router, local


def test_the_fit_is_the_local_fit(
    client: Any, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Follow the ranker, proven or not: it is to be the local one, too.
    monkeypatch.setattr(RankingRouter, "_options", replace(OPTIONS, doubt=-1e9))
    data = table.data, table.quality, table.costs, table.weight
    router, local = _assert_fits_alike(client, SMALL, data, 250)
    assert router.ranker_ is not None
    assert router.rank_weight_ == pytest.approx(local.rank_weight_, rel=1e-8)
    for name in ("price", "cost", "quality", "block"):
        np.testing.assert_allclose(
            getattr(router.price_path_, name), getattr(local.price_path_, name)
        )
    assert router._training.best_single == local._training.best_single


def test_blocks_are_those_of_the_local_fit(client: Any, table: Any) -> None:
    width = table.data.shape[1]
    params = {**SMALL, "n_estimators": 0, "blocks": (width - 3, 3)}
    data = table.data, table.quality, table.costs, table.weight
    _assert_fits_alike(client, params, data, 250)


def test_repeats_and_groups_are_those_of_the_local_fit(client: Any) -> None:
    data = make_routing(330, n_features=8, n_models=3, random_state=2)
    rng = np.random.RandomState(0)
    # A prompt up to three times, equal or with the noise of an encoder.
    rows = np.concatenate([np.arange(330), rng.choice(330, 80), rng.choice(330, 40)])
    X = data.data[rows]
    X[330:410] += rng.normal(scale=1e-6, size=(80, 8))
    tables = X, data.quality[rows], data.costs[rows]
    groups = np.array([f"conversation {i}" for i in rng.randint(60, size=len(rows))])
    local = RankingRouter(**SMALL)
    expected = local.fit_transform(*tables[:2], costs=tables[2], groups=groups)
    apart = RankingRouter(**SMALL).fit_transform(*tables[:2], costs=tables[2])
    assert np.abs(expected - apart).max() > 0.01
    chunks = [_in_chunks(table, 200) for table in tables]
    series = dd.from_pandas(pd.Series(groups), npartitions=3)
    for given in (groups, series, da.from_array(groups, chunks=100)):
        router = DaskRankingRouter(**SMALL, client=client)
        estimates = router.fit_transform(*chunks[:2], costs=chunks[2], groups=given)
        estimates = client.compute(estimates).result(timeout=60)
        np.testing.assert_allclose(estimates, expected, **CLOSE)
    with pytest.raises(ValueError, match=r"groups .*shape \(450,\)"):
        router.fit(*chunks[:2], costs=chunks[2], groups=series.partitions[:2])


def test_queries_on_a_grid_have_the_clusters_of_the_local_fit(client: Any) -> None:
    data = make_routing(300, n_features=4, n_models=3, random_state=0)
    # Many lie as far from one centre as from another: the last digit would decide.
    data.data = np.round(data.data / np.abs(data.data).max() * 6) / 10
    tables = data.data, data.quality, data.costs, None
    _assert_fits_alike(client, {**SMALL, "n_landmarks": 40}, tables, 70)


def test_wide_embeddings_are_projected_as_in_memory(client: Any) -> None:
    data = make_routing(300, n_features=8, n_models=3, random_state=0)
    rng = np.random.RandomState(0)
    X = data.data @ rng.normal(size=(8, 600)) + rng.normal(size=(300, 600))
    tables = X.astype(np.float32), data.quality, data.costs, None
    # Projections are of single precision.
    close = {"rtol": 1e-3, "atol": 1e-4}
    router, local = _assert_fits_alike(client, SMALL, tables, 70, close)
    directions = (r._fitted.quality.views.basis for r in (router, local))
    np.testing.assert_array_equal(*directions)


@pytest.mark.parametrize("name", ["pool9", "routerbench3"])
def test_real_tables_are_fitted_as_in_memory(
    name: str, client: Any, shared_data: Any
) -> None:
    prices = shared_data / "pool9_prices.json" if name == "pool9" else None
    table = read_routerbench(
        shared_data / f"{name}.csv.gz",
        embeddings=shared_data / f"{name}_minilm.npy",
        prices=prices,
    )
    rng = np.random.RandomState(0)
    rows = np.sort(rng.permutation(len(table.data))[:400])
    # Single precision is compared in double: its own rounding is larger.
    X, y = table.data[rows].astype(np.float64), table.quality[rows].astype(np.float64)
    costs = np.broadcast_to(table.costs, table.quality.shape)[rows]
    costs = costs * rng.lognormal(size=costs.shape)
    # A pattern of holes is a regression of its own: few of them keep this fast.
    y[rng.random_sample(len(y)) < 0.1, 0] = np.nan
    y[rng.random_sample(len(y)) < 0.1, 2:5] = np.nan
    costs[rng.random_sample(len(y)) < 0.1, 1:3] = np.nan
    params = {**SMALL, "n_estimators": 50}
    router, local = _assert_fits_alike(client, params, (X, y, costs, None), 150)
    assert (router.ranker_ is None) == (local.ranker_ is None)
    assert router.rank_weight_ == pytest.approx(local.rank_weight_, rel=1e-8)


def test_the_same_seed_gives_the_same_router_in_other_partitions(
    client: Any, routers: tuple[Any, Any, Any]
) -> None:
    router, _, data = routers
    again = clone(router).fit(
        _in_chunks(data.data, 70),
        _in_chunks(data.quality, 70),
        costs=_in_chunks(data.costs, 70),
    )
    X = data.data[:9]
    np.testing.assert_allclose(again.transform(X), router.transform(X), **CLOSE)


def test_nothing_but_sums_comes_to_the_client(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, sizes = partitions.fetch, []

    def counted(client: Any, futures: list[Any]) -> list[Any]:
        results = fetch(client, futures)
        sizes[-1] += len(pickle.dumps(results))
        return results

    monkeypatch.setattr(partitions, "fetch", counted)
    # Both tables are longer than any sample of rows that a fit draws.
    for n_queries in (17_000, 20_000):
        sizes.append(0)
        data = make_routing(n_queries, n_models=3, random_state=0)
        router = DaskRankingRouter(
            data.costs[0], client=client, n_estimators=0, n_landmarks=16, cv=2
        )
        router.fit(_in_chunks(data.data, 5000), _in_chunks(data.quality, 5000))
    # Of each query eight numbers, a distance and a yes or no: a row of the table is 280
    # bytes.
    assert sizes[1] - sizes[0] < 3000 * 80


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
    np.testing.assert_allclose(router.transform(X), local.transform(X), **CLOSE)
    np.testing.assert_array_equal(
        router.route(frames[0], min_quality="95%").compute(),
        router.route(X, min_quality="95%"),
    )
    asked = {"min_quality": "90%", "confidence": 0.9}
    np.testing.assert_array_equal(
        router.route(frames[0], **asked).compute(), router.route(X, **asked)
    )
    # What is promised rests on the queries that the local router promises on.
    ours, theirs = router.guarantee(**asked), local.guarantee(**asked)
    assert str(ours) == str(theirs)


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
        np.testing.assert_allclose(answer, expected, **CLOSE)
    else:
        np.testing.assert_array_equal(answer, expected)
    eager = getattr(router, method)(data.data[:60])
    assert isinstance(eager, np.ndarray)
    if expected.dtype == float:
        np.testing.assert_allclose(eager, expected, **CLOSE)
    else:
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


def test_known_costs_go_with_their_queries(routers: tuple[Any, Any, Any]) -> None:
    router, local, data = routers
    queries = data.data[:60]
    rng = np.random.RandomState(0)
    known = local.predict_cost(queries) * rng.lognormal(0, 1, (60, 3))
    known[::3] = np.nan
    names = pd.Index(local.models_)
    price = {"price": 0.5 / known[1].mean()}
    expected = local.route(queries, costs=known, **price)
    X = da.from_array(queries, chunks=(25, -1))
    frame = pd.DataFrame(known, columns=names)
    for costs in (known, frame[names[::-1]], da.from_array(known, chunks=(25, -1))):
        found = router.route(X, costs=costs, **price).compute(scheduler="sync")
        assert (found == expected).all()
    # Partitions of as many queries as there are models.
    by_model = local.predict_cost(queries).mean(axis=0)[::-1]
    expected = local.route(queries, costs=by_model, **price)
    X = da.from_array(queries, chunks=(3, -1))
    for costs in (by_model, dict(zip(names, by_model, strict=True))):
        found = router.route(X, costs=costs, **price).compute(scheduler="sync")
        assert (found == expected).all()
    with pytest.raises(ValueError, match="costs names huge"):
        router.route(X, costs={"huge": 1.0})


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
    assert router.score(data.data, data.quality, costs=data.costs) == pytest.approx(
        local.score(data.data, data.quality, costs=data.costs)
    )

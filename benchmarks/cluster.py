"""Measure the router that a cluster fits against the one that is fitted in memory.

Paired 70/30 splits; both routers have their defaults and the same seed. The cluster is
two processes of this machine, so that its times say what the distribution costs, and
not what more machines would save::

    OMP_NUM_THREADS=1 python benchmarks/cluster.py --data FOLDER --seeds 5

It fails if the mean nAUC of a table differs by more than 1e-6.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from intervals import interval
from machine import described
from outputs import RESULTS, save
from sklearn.utils import Bunch
from tables import Training, splits, tables, training_part

from skroute import RankingRouter
from skroute.dask import DaskRankingRouter

MOST = 1e-6
N_PARTITIONS = 8
TABLES = ("pool9", "routerbench3", "mistral7", "digits")


class CountingClient(Client):
    """Adds up the size of all that is fetched from the cluster."""

    n_bytes = 0

    def gather(self, futures: Any, *args: Any, **kwargs: Any) -> Any:
        """Fetch results, and count them: a fit waits for them by itself."""
        return self._counted(super().gather(futures, *args, **kwargs))

    async def _counted(self, gathering: Any) -> Any:
        results = await gathering
        self.n_bytes += len(pickle.dumps(results))
        return results


def fitted(router: Any, part: Training, n_chunks: int | None) -> tuple[Any, float]:
    """Fit on arrays, or on chunks of them; returns the router and the seconds."""

    def given(table: np.ndarray) -> Any:
        if n_chunks is None:
            return table
        return da.from_array(table, chunks=(-(-len(table) // n_chunks), -1))

    costs = None if part.costs is None else given(part.costs)
    started = perf_counter()
    router.set_params(costs=part.prices).fit(given(part.X), given(part.y), costs=costs)
    return router, perf_counter() - started


def measured(client: CountingClient, table: Bunch, seed: int) -> dict[str, Any]:
    """Fit both routers on one split."""
    split = next(splits(table, "70/30", seed))
    part = training_part(table, split)
    X, y = table.data[split.test], table.quality[split.test]
    costs = None if part.costs is None else table.costs[split.test]
    before = client.n_bytes
    cluster, cluster_seconds = fitted(
        DaskRankingRouter(random_state=seed, client=client), part, N_PARTITIONS
    )
    fetched = client.n_bytes - before
    local, local_seconds = fitted(RankingRouter(random_state=seed), part, None)
    arrays = (array for array in (part.X, part.y, part.costs) if array is not None)
    return {
        "seed": seed,
        "train_queries": len(part.X),
        "nauc": {
            "cluster": cluster.to_local().score(X, y, costs=costs),
            "memory": local.score(X, y, costs=costs),
        },
        "alike": float(np.mean(cluster.predict(X) == local.predict(X))),
        "seconds": {"cluster": cluster_seconds, "memory": local_seconds},
        "fetched_bytes": fetched,
        "table_bytes": sum(array.nbytes for array in arrays),
    }


def differences(records: list[dict[str, Any]]) -> np.ndarray:
    """By how much the nAUC of the cluster's router is higher, for each split."""
    return np.array([r["nauc"]["cluster"] - r["nauc"]["memory"] for r in records])


def report(results: dict[str, Any]) -> Iterator[str]:
    """Lines of the report."""
    yield "# Fitted by a cluster"
    yield ""
    yield (
        "`DaskRankingRouter` on two processes of one machine, each table in "
        f"{N_PARTITIONS} partitions, against `RankingRouter` in memory on one thread: "
        "paired 70/30 splits, default settings, the same seeds. The "
        "interval of the difference is a 95% bootstrap interval over the splits. "
        "Alike: test queries that both send to the same model where money is no "
        "object. Fetched: all that came from the workers to the client during a fit, "
        "beside the training table."
    )
    yield ""
    yield (
        "| table | splits | training queries | nAUC in memory | cluster minus memory "
        "| largest | alike | fit s, memory | fit s, cluster | fetched MB | table MB |"
    )
    yield "|" + 11 * "---|"
    for name, records in results["tables"].items():
        difference = differences(records)
        low, high = interval(difference)

        def mean(key: str, of: str, records: list[Any] = records) -> float:
            return float(np.mean([record[key][of] for record in records]))

        def megabytes(key: str, records: list[Any] = records) -> float:
            return float(np.mean([record[key] for record in records])) / 1e6

        yield (
            f"| {name} | {len(records)} | {records[0]['train_queries']:,} | "
            f"{mean('nauc', 'memory'):.4f} | "
            f"{difference.mean():+.4f} [{low:+.4f}, {high:+.4f}] | "
            f"{np.abs(difference).max():.4f} | "
            f"{np.mean([record['alike'] for record in records]):.1%} | "
            f"{mean('seconds', 'memory'):.1f} | {mean('seconds', 'cluster'):.1f} | "
            f"{megabytes('fetched_bytes'):.1f} | {megabytes('table_bytes'):.1f} |"
        )
    yield ""
    yield (
        "What is fetched is mostly a sample of at most 8,192 queries, which is all of "
        "the smaller tables, and at most 131,072 pairs for the ranker: beyond them, a "
        "fit fetches a few bytes of a query. The "
        "processes share the machine with the client, and a fit of a small table is "
        "some hundred tasks that wait for each other; times are of a machine that did "
        "other work beside."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "cluster")
    arguments = parser.parse_args()
    names = ("digits",) if arguments.data is None else TABLES
    results: dict[str, Any] = {"machine": described(), "tables": {}}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            local_directory=folder,
        ) as cluster,
        CountingClient(cluster, set_as_default=False) as client,
    ):
        for name, table in tables(arguments.data, names, limit=None):
            records = results["tables"][name] = []
            for seed in range(arguments.seeds):
                records.append(measured(client, table, seed))
                print(name, records[-1], flush=True)
            page = save(arguments.out, results, report(results))
            print(page, flush=True)
    means = [differences(records).mean() for records in results["tables"].values()]
    sys.exit(bool(np.abs(means).max() > MOST))


if __name__ == "__main__":
    main()

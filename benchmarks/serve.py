"""Load-test examples/serve_fastapi.py on the loopback of one machine.

A router is fitted, saved and served by one process; threads of this one ask it as fast
as it answers, with queries that the router has not seen. Server and clients share the
machine's cores. Writes a table in Markdown and the numbers as JSON::

    python benchmarks/serve.py --data FOLDER
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from outputs import RESULTS, save
from sklearn.utils import Bunch
from tables import splits, tables, training_part

from skroute import RankingRouter

SERVER = Path(__file__).parents[1] / "examples" / "serve_fastapi.py"
#: Clients at once, and queries in each of their requests.
LOADS = ((1, 1), (4, 1), (16, 1), (1, 64), (4, 64))
WARM_UP = 1.0
N_BODIES = 200


def fitted(table: Bunch) -> tuple[RankingRouter, np.ndarray]:
    """Fit a router, and give the queries that it has not seen."""
    split = next(splits(table, "70/30", 0))
    train = training_part(table, split)
    router = RankingRouter(train.prices, random_state=0)
    y = pd.DataFrame(train.y, columns=table.models)
    return router.fit(train.X, y, costs=train.costs), table.data[split.test]


@contextmanager
def served(router: RankingRouter) -> Iterator[int]:
    """Serve a router in a process of its own; gives the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "router.joblib")
        joblib.dump(router, file)
        command = [sys.executable, str(SERVER), str(file), "--port", str(port)]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait_for(server, port)
            yield port
        finally:
            server.terminate()
            server.wait()


def wait_for(server: subprocess.Popen, port: int) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with code {server.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not start within a minute")


def bodies(X: np.ndarray, n_queries: int, price: float) -> list[bytes]:
    """Draw requests of some queries each, as bytes."""
    rng = np.random.default_rng(0)
    return [
        json.dumps(
            {
                "embeddings": X[rng.integers(len(X), size=n_queries)].tolist(),
                "price": price,
                "top_k": 2,
            }
        ).encode()
        for _ in range(N_BODIES)
    ]


def load(port: int, clients: int, requests: list[bytes], seconds: float) -> list[float]:
    """Ask from some threads at once for a while; gives the seconds of each answer."""
    begin = time.perf_counter() + WARM_UP
    taken: list[list[float]] = [[] for _ in range(clients)]
    failed: list[str] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        headers = {"Content-Type": "application/json"}
        for body in cycle(requests[number:] + requests[:number]):
            start = time.perf_counter()
            if start > begin + seconds:
                break
            connection.request("POST", "/route", body, headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                failed.append(answer.decode())
                break
            if start > begin:
                taken[number].append(time.perf_counter() - start)
        connection.close()

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"a request failed: {failed[0]}")
    return [each for part in taken for each in part]


def in_process(router: RankingRouter, X: np.ndarray, price: float) -> list[float]:
    """Route single queries without a server, for comparison."""
    taken = []
    for row in X[:N_BODIES]:
        start = time.perf_counter()
        router.route(row[None], price=price, top_k=2)
        taken.append(time.perf_counter() - start)
    return taken


def record(taken: list[float], clients: int, batch: int, seconds: float) -> dict:
    p50, p99 = np.percentile(taken, [50, 99]).tolist()
    return {
        "clients": clients,
        "queries": batch,
        "requests": len(taken),
        "requests_per_second": len(taken) / seconds,
        "p50_ms": 1000 * p50,
        "p99_ms": 1000 * p99,
    }


def lines(records: list[dict[str, Any]]) -> Iterator[str]:
    for r in records:
        rate = r["requests_per_second"]
        who = f"{r['clients']}" if r["clients"] else "no server"
        yield (
            f"| {r['table']} | {who} | {r['queries']} | {rate:,.0f} "
            f"| {rate * r['queries']:,.0f} | {r['p50_ms']:.1f} | {r['p99_ms']:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real tables")
    parser.add_argument("--tables", nargs="+", default=["pool9", "routerbench3"])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each load")
    parser.add_argument("--out", type=Path, default=RESULTS / "serve")
    arguments = parser.parse_args()
    records, busy = [], os.getloadavg()[0]
    names = arguments.tables if arguments.data else ["digits"]
    for name, table in tables(arguments.data, names):
        router, X = fitted(table)
        # A price in the middle: a unit of quality for the cost of the strongest model.
        price = 1.0 / float(np.nanmax(router.costs_))
        taken = in_process(router, X, price)
        records.append({"table": name, **record(taken, 0, 1, sum(taken))})
        print(records[-1], flush=True)
        with served(router) as port:
            for clients, batch in LOADS:
                requests = bodies(X, batch, price)
                taken = load(port, clients, requests, arguments.seconds)
                result = record(taken, clients, batch, arguments.seconds)
                records.append({"table": name, **result})
                print(records[-1], flush=True)
    text = [
        "# Serving over HTTP",
        "",
        "`examples/serve_fastapi.py`, one uvicorn process, on the loopback of a "
        f"machine with {os.cpu_count()} cores ({platform.machine()}), which clients "
        "and server share "
        f"(OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}; load "
        f"average of other work at the start: {busy:.1f}). Each load lasts "
        f"{arguments.seconds:g} s after a second of warming up; clients ask without a "
        "pause, over connections that stay open. RankingRouter on embeddings that it "
        "has not seen, with a price and one fallback. No server: the same router "
        "called one query after the other in this process.",
        "",
        "| table | clients | queries a request | requests/s | queries/s | p50 ms "
        "| p99 ms |",
        "|---|---|---|---|---|---|---|",
        *lines(records),
    ]
    save(arguments.out, records, text)


if __name__ == "__main__":
    main()

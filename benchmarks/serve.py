"""Load-test `skroute serve` on the loopback of one machine.

A router is fitted, saved and served by one process; threads of this one ask it as fast
as it answers, with queries that the router has not seen, and compare each answer with
that of the router itself. In the last load the router's file is replaced again and
again. Server and clients share the machine's cores. Writes a table in Markdown and the
numbers as JSON::

    python benchmarks/serve.py --data FOLDER
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
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
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from outputs import RESULTS, save
from sklearn.utils import Bunch
from tables import splits, tables, training_part

import skroute
from skroute import RankingRouter

#: Clients at once, and queries in each of their requests.
LOADS = ((1, 1), (4, 1), (16, 1), (1, 64), (4, 64))
#: Seconds between two replacements of the router's file, in the last load.
REPLACED_EVERY = 1.5
WARM_UP = 1.0
N_BODIES = 200


def fitted(table: Bunch) -> tuple[RankingRouter, np.ndarray]:
    """Fit a router, and give the queries that it has not seen."""
    split = next(splits(table, "70/30", 0))
    train = training_part(table, split)
    router = RankingRouter(train.prices, random_state=0)
    y = pd.DataFrame(train.y, columns=table.models)
    return router.fit(train.X, y, costs=train.costs), table.data[split.test]


class Server(NamedTuple):
    """A server in a process of its own."""

    port: int
    process: int
    file: Path
    started_in: float

    def memory(self) -> float:
        """Resident mebibytes; NaN where the system does not say."""
        status = Path(f"/proc/{self.process}/status")
        if not status.exists():
            return float("nan")
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
        return int(found[1]) / 1024 if found else float("nan")

    def count(self, metric: str) -> float:
        """Read a counter."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        found = re.search(rf"^{re.escape(metric)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextmanager
def served(router: RankingRouter) -> Iterator[Server]:
    """Serve a router in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "router.skroute")
        skroute.save(router, file)
        command = [sys.executable, "-m", "skroute", "serve", str(file)]
        begin = time.perf_counter()
        server = subprocess.Popen(
            [*command, "--port", str(port)], stderr=subprocess.DEVNULL
        )
        try:
            wait_for(server, port)
            yield Server(port, server.pid, file, time.perf_counter() - begin)
        finally:
            server.terminate()
            if server.wait(60) != 0:
                raise RuntimeError("the server did not end as it should")


@contextmanager
def replacing(router: RankingRouter, file: Path) -> Iterator[None]:
    """Replace a router's file again and again."""
    done = threading.Event()

    def replace() -> None:
        while not done.wait(REPLACED_EVERY):
            skroute.save(router, file)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def wait_for(server: subprocess.Popen, port: int) -> None:
    for _ in range(3000):
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with code {server.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the server did not start within a minute")


Request = tuple[bytes, list[list[str]]]


def bodies(
    router: RankingRouter, X: np.ndarray, n_queries: int, price: float
) -> list[Request]:
    """Draw requests of some queries each, as bytes, with the right answers."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(N_BODIES):
        asked = X[rng.integers(len(X), size=n_queries)]
        body = {"embeddings": asked.tolist(), "price": price, "top_k": 2}
        right = router.route(np.array(body["embeddings"]), price=price, top_k=2)
        made.append((json.dumps(body).encode(), right.tolist()))
    return made


def load(
    port: int, clients: int, requests: list[Request], seconds: float
) -> list[float]:
    """Ask from some threads at once for a while; gives the seconds of each answer."""
    begin = time.perf_counter() + WARM_UP
    taken: list[list[float]] = [[] for _ in range(clients)]
    failed: list[str] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        headers = {"Content-Type": "application/json"}
        for body, right in cycle(requests[number:] + requests[:number]):
            start = time.perf_counter()
            if start > begin + seconds:
                break
            connection.request("POST", "/route", body, headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                failed.append(answer.decode())
                break
            if json.loads(answer)["models"] != right:
                failed.append("an answer is not that of the router")
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
        who += ", replaced" if "reloads" in r else ""
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
    records, notes, busy = [], [], os.getloadavg()[0]
    names = arguments.tables if arguments.data else ["digits"]
    for name, table in tables(arguments.data, names):
        router, X = fitted(table)
        # A price in the middle: a unit of quality for the cost of the strongest model.
        price = 1.0 / float(np.nanmax(router.costs_))
        taken = in_process(router, X, price)
        records.append({"table": name, **record(taken, 0, 1, sum(taken))})
        print(records[-1], flush=True)
        with served(router) as server:
            begin = server.memory()
            for clients, batch in LOADS:
                requests = bodies(router, X, batch, price)
                taken = load(server.port, clients, requests, arguments.seconds)
                result = record(taken, clients, batch, arguments.seconds)
                records.append({"table": name, **result, "MiB": server.memory()})
                print(records[-1], flush=True)
            requests = bodies(router, X, 1, price)
            with replacing(router, server.file):
                taken = load(server.port, 4, requests, arguments.seconds)
            loaded = server.count('skroute_reloads_total{result="loaded"}')
            result = record(taken, 4, 1, arguments.seconds)
            more = {"MiB": server.memory(), "reloads": loaded}
            records.append({"table": name, **result, **more})
            print(records[-1], flush=True)
            notes.append(
                f"{name}: answers {server.started_in:.1f} s after its start; "
                f"{begin:.0f} MiB then, {server.memory():.0f} MiB at the end, after "
                f"{loaded:.0f} reloads."
            )
    text = [
        "# Serving over HTTP",
        "",
        "`skroute serve`, one process, on the loopback of a "
        f"machine with {os.cpu_count()} cores ({platform.machine()}), which clients "
        "and server share "
        f"(OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}; load "
        f"average of other work at the start: {busy:.1f}). Each load lasts "
        f"{arguments.seconds:g} s after a second of warming up; clients ask without a "
        "pause, over connections that stay open. RankingRouter on embeddings that it "
        "has not seen, with a price and one fallback; every answer is compared with "
        "that of the router. No server: the same router called one query after the "
        "other in this process. Replaced: the router's file is replaced every "
        f"{REPLACED_EVERY:g} s.",
        "",
        "| table | clients | queries a request | requests/s | queries/s | p50 ms "
        "| p99 ms |",
        "|---|---|---|---|---|---|---|",
        *lines(records),
        "",
        *(f"- {note}" for note in notes),
    ]
    save(arguments.out, records, text)


if __name__ == "__main__":
    main()

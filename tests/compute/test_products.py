"""A single query is computed by the thread that asks, and as a product is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import skroute
from skroute._compute.chunks import multiply

SHAPES = [(1, 1), (3, 40), (1535, 512), (9300, 7), (5, 20_000), (424, 384)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_are_those_of_numpy(shape: tuple[int, int], dtype: type) -> None:
    draw = np.random.default_rng(0)
    matrix = draw.normal(size=shape).astype(dtype)
    tolerance = {"rtol": 0, "atol": 1e-3 if dtype is np.float32 else 1e-9}
    for n_queries in (1, 3):
        queries = draw.normal(size=(n_queries, shape[1])).astype(dtype)
        product = multiply(queries, matrix)
        assert product.dtype == dtype
        np.testing.assert_allclose(product, queries @ matrix.T, **tolerance)
        out = np.empty((n_queries, shape[0]), dtype)
        multiply(queries, matrix, out)
        np.testing.assert_array_equal(out, product)


# Switches of all threads but the main one: a thread that sleeps makes none.
_SWITCHES = """
import os, sys, time
from pathlib import Path
import numpy as np
from skroute import RankingRouter
from skroute.datasets import make_routing

data = make_routing(700, n_features=1536, n_models=4, random_state=0)
router = RankingRouter(n_estimators=5, random_state=0)
router.fit(data.data, data.quality, costs=data.costs)

def switches():
    total = 0
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) != os.getpid():
            status = (task / "status").read_text().splitlines()
            total += sum(int(l.split()[1]) for l in status if "ctxt_switches" in l)
    return total

for dtype in (np.float32, np.float64):
    queries = data.data[:40].astype(dtype)
    router.route(queries[:1], min_quality="90%")
    time.sleep(0.5)  # threads that computed before go to sleep
    before = switches()
    for i in range(40):
        router.route(queries[i : i + 1], min_quality="90%")
    print(switches() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_single_query_wakes_no_threads() -> None:
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    if (os.cpu_count() or 1) < 2 or not blas:
        pytest.skip("BLAS has one thread here")
    done = subprocess.run(
        [sys.executable, "-c", _SWITCHES],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env={
            **{k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")},
            "OPENBLAS_NUM_THREADS": "2",
            "PYTHONPATH": str(Path(skroute.__file__).parents[1]),
        },
    )
    assert [int(n) for n in done.stdout.split()] == [0, 0]

"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sklearn

import skroute


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real routing tables; they are never part of the package."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKROUTE_SHARED_DATA", default))
    if not (folder / "routerbench3.csv.gz").exists():
        pytest.skip(f"no real routing tables in {folder}; set SKROUTE_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def run_strictly() -> Callable[[str], str]:
    """Run code in a new process, with warnings as errors; returns what it prints."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(skroute.__file__).parents[1])},
            timeout=240,
            check=True,
        )
        return done.stdout

    return run


@pytest.fixture
def metadata_routing() -> Iterator[None]:
    """Switch scikit-learn's metadata routing on for one test."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Client of two workers of Dask; a test that kills one starts its own."""
    distributed = pytest.importorskip("distributed")
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


@pytest.fixture
def provider() -> Iterator[Any]:
    """A provider of the models small, medium and large, on the loopback."""
    from provider import provide

    with provide() as server:
        yield server


@pytest.fixture
def no_rubbish_for_others() -> Iterator[None]:
    """Collect the connections and event loops that LiteLLM keeps, and never closes.

    Otherwise they are collected in some later test, where their warning is an error.
    """
    yield
    if "litellm" in sys.modules:
        sys.modules["litellm"].in_memory_llm_clients_cache.flush_cache()
    gc.collect()

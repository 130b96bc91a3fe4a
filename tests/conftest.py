"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sklearn


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real routing tables; they are never part of the package."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKROUTE_SHARED_DATA", default))
    if not (folder / "routerbench3.csv.gz").exists():
        pytest.skip(f"no real routing tables in {folder}; set SKROUTE_SHARED_DATA")
    return folder


@pytest.fixture
def metadata_routing() -> Iterator[None]:
    """Switch scikit-learn's metadata routing on for one test."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield

"""The published file of RouterBench, the only pickle that is read.

A pickle is a program, and a list of names that it may call does not make it safe:
numpy and pandas trust the arguments they are restored with. So the content is pinned by
its SHA-256 before pandas opens it, and every other pickle is refused unopened.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skroute._optional import require
from skroute.exceptions import UnsafePickleError


@dataclass(frozen=True)
class RemoteFile:
    """A published file: name in the cache, URL at a fixed revision, hash and size.

    A failed download is tried `retries` times again. `timeout` is in seconds, for the
    connection and for the next bytes; `patience` is for one download in all, however
    slowly bytes keep coming.
    """

    name: str
    url: str
    sha256: str
    size: int
    retries: int = 2
    timeout: tuple[float, float] = (10.0, 60.0)
    patience: float = 3600.0


ROUTERBENCH = RemoteFile(
    name="routerbench_0shot.pkl",
    url=(
        "https://huggingface.co/datasets/withmartian/routerbench/resolve/"
        "784021482c3f320c6619ed4b3bb3b41a21424fcb/routerbench_0shot.pkl"
    ),
    sha256="ba4f77f19517610a707c374e99322d7750c30fc4ae7ff5527888595a1e65d36d",
    size=99_567_659,
)


def read_pinned_pickle(path: Path) -> Any:
    """Read the DataFrame of the published pickle, and refuse every other pickle."""
    pandas = require("pandas", "reading a pickle")
    # What is hashed is what is read, even if the file is replaced meanwhile.
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != ROUTERBENCH.sha256:
        raise UnsafePickleError(
            f"{path.name} was not read: a pickle can run any code, and this one is not "
            "the published RouterBench file (its SHA-256 differs). If you trust where "
            f"it comes from, convert it: pandas.read_pickle({path.name!r})"
            f".to_parquet({path.stem + '.parquet'!r}), and read that file."
        )
    return pandas.read_pickle(io.BytesIO(content))

"""Downloading the published RouterBench table."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from sklearn.utils import Bunch

from skroute._optional import require
from skroute.datasets._routerbench import read_routerbench

__all__ = ["fetch_routerbench"]

_HOME_VARIABLE = "SKROUTE_DATA"
_CHUNK = 1 << 16
_MOST_REDIRECTS = 5


@dataclass(frozen=True)
class _RemoteFile:
    """A published file, pinned.

    Attributes
    ----------
    name : str
        Name of the file in the cache.
    url : str
        Where it is downloaded from, at a fixed revision.
    sha256 : str
        Hash of its content, in hexadecimal.
    size : int
        Its size in bytes.
    retries : int
        How often a failed download is tried again.
    timeout : tuple of float
        Seconds to wait for the connection, and for the next bytes.
    patience : float
        Seconds that one download may take in all, however slowly bytes keep coming.
    """

    name: str
    url: str
    sha256: str
    size: int
    retries: int = 2
    timeout: tuple[float, float] = (10.0, 60.0)
    patience: float = 3600.0


ROUTERBENCH = _RemoteFile(
    name="routerbench_0shot.pkl",
    url=(
        "https://huggingface.co/datasets/withmartian/routerbench/resolve/"
        "784021482c3f320c6619ed4b3bb3b41a21424fcb/routerbench_0shot.pkl"
    ),
    sha256="ba4f77f19517610a707c374e99322d7750c30fc4ae7ff5527888595a1e65d36d",
    size=99_567_659,
)


def fetch_routerbench(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
) -> Bunch:
    """Load RouterBench, downloading it the first time (100 MB).

    RouterBench [1]_ holds the answers of 11 LLMs to some 36,000 queries, zero-shot,
    with their quality and cost. The download is pinned to one revision and its SHA-256
    is checked, and the pickle that it comes as is read without running anything that
    it asks for.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the cache. By default the environment variable ``SKROUTE_DATA``, else
        the user's cache folder.
    download_if_missing : bool, default=True
        Whether to download a file that is not in the cache.

    Returns
    -------
    Bunch
        As :func:`read_routerbench` gives it: `quality` and `costs` (USD per call) of
        shape (n_queries, 11), `models`, `task`, `prompts` and `DESCR`; `data` is
        ``None``, as no embeddings are published.

    Raises
    ------
    FileNotFoundError
        If the file is not in the cache and `download_if_missing` is false.
    OSError
        If the download fails, or is not the file that it should be.
    ImportError
        If pooch is not installed.

    References
    ----------
    .. [1] Q. J. Hu et al., "RouterBench: A Benchmark for Multi-LLM Routing System",
       arXiv:2403.12031, 2024.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skroute.datasets import fetch_routerbench
    >>> with TemporaryDirectory() as folder:
    ...     fetch_routerbench(data_home=folder, download_if_missing=False)
    Traceback (most recent call last):
    ...
    FileNotFoundError: ...routerbench_0shot.pkl is not there...
    """
    pooch = require("pooch", "fetch_routerbench")
    home = data_home or os.environ.get(_HOME_VARIABLE) or pooch.os_cache("skroute")
    path = Path(home).expanduser() / ROUTERBENCH.name
    if not download_if_missing:
        _check_cached(pooch, path, ROUTERBENCH)
        return read_routerbench(path)
    cache = pooch.create(
        path=path.parent,
        base_url="",
        registry={ROUTERBENCH.name: f"sha256:{ROUTERBENCH.sha256}"},
        urls={ROUTERBENCH.name: ROUTERBENCH.url},
        retry_if_failed=ROUTERBENCH.retries,
    )
    try:
        cache.fetch(ROUTERBENCH.name, downloader=_Downloader(ROUTERBENCH))
    except (OSError, ValueError) as error:
        raise OSError(
            f"could not download {ROUTERBENCH.url}: {str(error).rstrip('.')}. Nothing "
            f"of it was kept. Try again later, or place the file at {path} by other "
            f"means (SHA-256 {ROUTERBENCH.sha256})."
        ) from error
    return read_routerbench(path)


def _check_cached(pooch: Any, path: Path, remote: _RemoteFile) -> None:
    """Check that the file is in the cache, and is the right one."""
    way_out = "call fetch_routerbench() with download_if_missing=True, or point"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; {way_out} data_home or {_HOME_VARIABLE} to the "
            "folder that has it."
        )
    if pooch.file_hash(str(path), alg="sha256") != remote.sha256:
        raise OSError(
            f"{path} is not the published file (its SHA-256 differs); {way_out} "
            f"data_home or {_HOME_VARIABLE} elsewhere."
        )


class _Downloader:
    """Stream a file to disk, and stop once it is larger than it should be.

    Parameters
    ----------
    remote : _RemoteFile
        The file that is expected.
    """

    def __init__(self, remote: _RemoteFile) -> None:
        self.remote = remote

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download `url` to `output_file`, as pooch asks its downloaders to."""
        import requests  # pooch needs it too

        size, received = self.remote.size, 0
        until = time.monotonic() + self.remote.patience
        with self._opened(requests, url) as response, open(output_file, "wb") as file:
            response.raise_for_status()
            for chunk in _chunks(requests, response.raw):
                received += len(chunk)
                if received > size:
                    # An OSError, unlike a ValueError, is not tried again.
                    raise OSError(f"the file is larger than the expected {size} bytes")
                if time.monotonic() > until:
                    raise OSError(
                        f"{received} of {size} bytes came in {self.remote.patience:g} "
                        "seconds, which is too slow"
                    )
                file.write(chunk)
        if received < size:
            raise ValueError(f"the file ended at {received} of {size} bytes")

    def _opened(self, requests: Any, url: str) -> Any:
        """Open a URL, and follow redirects, to other hosts too, but not to plain HTTP.

        The host of the published file hands downloads on to others. Nothing is told to
        them, and what they send is checked against the pinned hash.
        """
        schemes = {"https", urlsplit(url).scheme}
        for _ in range(_MOST_REDIRECTS + 1):
            response = requests.get(
                url,
                stream=True,
                timeout=self.remote.timeout,
                allow_redirects=False,
                # As it is: the size that is expected is that of the file.
                headers={"Accept-Encoding": "identity"},
            )
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(url, response.headers["location"])
            if urlsplit(url).scheme not in schemes:
                raise OSError(f"it was redirected to {url}, which is not encrypted")
        raise OSError(f"it was redirected more than {_MOST_REDIRECTS} times")


def _chunks(requests: Any, raw: Any) -> Iterator[bytes]:
    """Bytes as they come: a slow server is not waited for until a chunk is full."""
    from urllib3.exceptions import HTTPError  # requests needs it

    read = getattr(raw, "read1", raw.read)  # urllib3 has it since 2.1
    try:
        while chunk := read(_CHUNK):
            yield chunk
    except HTTPError as error:
        raise requests.ConnectionError(str(error)) from error

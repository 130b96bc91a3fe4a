"""Downloading the published RouterBench table."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from sklearn.utils import Bunch

from skroute._optional import require
from skroute.datasets import _published
from skroute.datasets._published import RemoteFile
from skroute.datasets._read import read_routerbench

_HOME_VARIABLE = "SKROUTE_DATA"
_CHUNK = 1 << 16
_MOST_REDIRECTS = 5


def fetch_routerbench(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    as_frame: bool = False,
) -> Bunch:
    """Load RouterBench, downloading it the first time (100 MB).

    RouterBench [1]_ holds the answers of 11 LLMs to some 36,000 queries, zero-shot,
    with their quality and cost. The download is pinned to one revision, and the pickle
    that it comes as is opened only if it has the SHA-256 that is known of it.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of the cache. By default the environment variable ``SKROUTE_DATA``, else
        the user's cache folder.
    download_if_missing : bool, default=True
        Whether to download a file that is not in the cache.
    as_frame : bool, default=False
        As in :func:`read_table`.

    Returns
    -------
    Bunch
        As :func:`read_routerbench` gives it, with costs in USD per call; `data` is
        ``None``, as no embeddings are published.

    Raises
    ------
    FileNotFoundError
        If the file is not in the cache and `download_if_missing` is false.
    OSError
        If the download fails, or is not the file that it should be.
    ImportError
        If pooch or pandas is not installed.

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
    remote = _published.ROUTERBENCH
    home = data_home or os.environ.get(_HOME_VARIABLE) or pooch.os_cache("skroute")
    path = Path(home).expanduser() / remote.name
    if not download_if_missing:
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
        return read_routerbench(path, as_frame=as_frame)
    cache = pooch.create(
        path=path.parent,
        base_url="",
        registry={remote.name: f"sha256:{remote.sha256}"},
        urls={remote.name: remote.url},
        retry_if_failed=remote.retries,
    )
    try:
        cache.fetch(remote.name, downloader=partial(_download, remote))
    except (OSError, ValueError) as error:
        raise OSError(
            f"could not download {remote.url}: {str(error).rstrip('.')}. Nothing of it "
            f"was kept. Try again later, or place the file at {path} by other means "
            f"(SHA-256 {remote.sha256})."
        ) from error
    return read_routerbench(path, as_frame=as_frame)


def _download(remote: RemoteFile, url: str, output_file: str, pooch: Any) -> None:
    """Stream a file to disk, and stop once it is larger than it should be."""
    import requests  # pooch needs it too

    received, until = 0, time.monotonic() + remote.patience
    with _open(requests, remote, url) as response, open(output_file, "wb") as file:
        response.raise_for_status()
        for chunk in _iterate(requests, response.raw):
            received += len(chunk)
            if received > remote.size:
                # An OSError, unlike a ValueError, is not tried again.
                raise OSError(
                    f"the file is larger than the expected {remote.size} bytes"
                )
            if time.monotonic() > until:
                raise OSError(
                    f"{received} of {remote.size} bytes came in {remote.patience:g} "
                    "seconds, which is too slow"
                )
            file.write(chunk)
    if received < remote.size:
        raise ValueError(f"the file ended at {received} of {remote.size} bytes")


def _open(requests: Any, remote: RemoteFile, url: str) -> Any:
    """Open a URL, and follow redirects, to other hosts too, but not to plain HTTP.

    The host of the published file hands downloads on to others. Nothing is told to
    them, and what they send is checked against the pinned hash.
    """
    schemes = {"https", urlsplit(url).scheme}
    for _ in range(_MOST_REDIRECTS + 1):
        response = requests.get(
            url,
            stream=True,
            timeout=remote.timeout,
            allow_redirects=False,
            # Uncompressed, because the expected size is that of the file.
            headers={"Accept-Encoding": "identity"},
        )
        if not response.is_redirect:
            return response
        response.close()
        url = urljoin(url, response.headers["location"])
        if urlsplit(url).scheme not in schemes:
            raise OSError(f"it was redirected to {url}, which is not encrypted")
    raise OSError(f"it was redirected more than {_MOST_REDIRECTS} times")


def _iterate(requests: Any, raw: Any) -> Iterator[bytes]:
    """Give bytes as they come, without waiting until a chunk is full."""
    from urllib3.exceptions import HTTPError  # requests needs it

    read = getattr(raw, "read1", raw.read)  # urllib3 has it since 2.1
    try:
        while chunk := read(_CHUNK):
            yield chunk
    except HTTPError as error:
        raise requests.ConnectionError(str(error)) from error

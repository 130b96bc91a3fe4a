"""Versions: what wrote a file, and whether it can be read."""

from __future__ import annotations

import re
import warnings
from importlib.metadata import version
from typing import Any

from skroute._version import __version__
from skroute.exceptions import VersionWarning

_STAMP = "_skroute_version"
# What a fitted router is computed with.
_LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "scipy")


def list_libraries() -> dict[str, str]:
    """Versions of the libraries that routers are computed with."""
    return {name: version(name) for name in _LIBRARIES}


def parse_release(text: str) -> tuple[int, ...]:
    """Numbers of a version, for comparison: ``"1.10.0.dev0"`` as (1, 10, 0)."""
    match = re.match(r"\d{1,9}(\.\d{1,9}){0,9}", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


class VersionStamped:
    """Writes this package's version into pickles, and warns of another's.

    A pickle holds private attributes as they were. Under another version they may mean
    something else, without any error.
    """

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()
        return {**(state or {}), _STAMP: __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle; warns if another version wrote it."""
        state = dict(state)
        written = state.pop(_STAMP, "an unknown version")
        if written != __version__:
            warnings.warn(
                f"this {type(self).__name__} was pickled by skroute {written} and is "
                f"loaded by {__version__}: it may route otherwise, or fail. Fit it "
                "again, or keep routers in files of skroute.save.",
                VersionWarning,
                stacklevel=2,
            )
        parent = super()
        if hasattr(parent, "__setstate__"):
            parent.__setstate__(state)
        else:
            vars(self).update(state)

"""Optional dependencies, imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]


def require(module: str, user: str, extra: str = "data") -> Any:
    """Import an optional dependency, or say how to install what `user` needs.

    `extra` is the extra of this package that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # it is there, but lacks something itself
            raise
        raise ImportError(
            f"{user} needs {module}: pip install 'scikit-route[{extra}]'"
        ) from error

"""Optional dependencies, imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["check_installed", "require"]


def require(module: str, user: str, extra: str = "data") -> Any:
    """Import an optional dependency, or say how to install what `user` needs.

    `extra` is the extra of this package that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # it is there, but lacks something itself
            raise
        raise _miss(module, user, extra) from error


def check_installed(module: str, user: str, extra: str = "data") -> None:
    """Raise as `require` does, but import nothing: the module is needed later."""
    if find_spec(module) is None:
        raise _miss(module, user, extra)


def _miss(module: str, user: str, extra: str) -> ImportError:
    return ImportError(f"{user} needs {module}: pip install 'scikit-route[{extra}]'")

"""Optional dependencies, imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]


def require(module: str, user: str, extra: str = "data") -> Any:
    """Import an optional dependency.

    Parameters
    ----------
    module : str
        Name of the module, which is also its name on the package index.
    user : str
        What needs it, as the error calls it.
    extra : str, default="data"
        The extra of this package that installs it.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If it is not installed; says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:  # it is there, but lacks something itself
            raise
        raise ImportError(
            f"{user} needs {module}: pip install 'scikit-route[{extra}]'"
        ) from error

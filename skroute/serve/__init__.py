"""Serving: a router behind HTTP, which decides, calls models, checks and logs.

Needs ``pip install 'scikit-route[serve]'``. The command is ``skroute serve``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skroute._optional import require

__all__ = ["Settings", "create_app"]

if TYPE_CHECKING:
    from skroute.serve.app import create_app
    from skroute.serve.settings import Settings


def __getattr__(name: str) -> Any:
    # The command reads routers by this package without a web framework.
    if name == "create_app":
        for module in ("fastapi", "prometheus_client"):
            require(module, "skroute.serve", "serve")
        from skroute.serve.app import create_app

        return create_app
    if name == "Settings":
        from skroute.serve.settings import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

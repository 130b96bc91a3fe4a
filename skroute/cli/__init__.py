"""The ``skroute`` command."""

from skroute.cli.app import app

__all__ = ["app"]

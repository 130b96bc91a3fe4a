"""The templates of the pages."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from skroute._version import __version__
from skroute.reporting._provenance import today


def load_templates() -> Environment:
    """Load the templates; what is put into them is escaped, and has to be there."""
    environment = Environment(
        loader=PackageLoader("skroute.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals |= {"version": __version__, "today": today()}
    return environment

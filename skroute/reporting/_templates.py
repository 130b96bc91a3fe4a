"""The templates of the pages."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def load_templates() -> Environment:
    """Load the templates; what is put into them is escaped, and has to be there."""
    return Environment(
        loader=PackageLoader("skroute.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )

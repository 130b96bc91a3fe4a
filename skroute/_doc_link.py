"""Links from estimators to their pages of the documentation, in notebooks."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from itertools import takewhile
from typing import Any

__all__ = ["LinksToDocs"]

_DISTRIBUTION = "scikit-route"


class LinksToDocs:
    """Gives scikit-learn the address of an estimator's page, for its HTML.

    The site is the distribution's project URL "Documentation"; without one, and for
    classes of other packages, there is no link.
    """

    _doc_link_module = "skroute"

    @property
    def _doc_link_template(self) -> str:
        site = _find_site()
        return "" if site is None else f"{site}/api/generated/{{page}}.html"

    def _doc_link_url_param_generator(self) -> dict[str, Any]:
        """Name the page: the reference lists a class where users import it from."""
        root, *inner = type(self).__module__.split(".")
        name = type(self).__name__
        if getattr(sys.modules[root], name, None) is type(self):
            return {"page": f"{root}.{name}"}
        public = takewhile(lambda part: not part.startswith("_"), inner)
        return {"page": ".".join([root, *public, name])}


@cache
def _find_site() -> str | None:
    try:
        urls = metadata(_DISTRIBUTION).get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    for url in urls:
        label, _, address = url.partition(",")
        if label.strip().lower() == "documentation":
            return address.strip().rstrip("/")
    return None

"""What ``skroute.report`` returns."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

from skroute._io.atomic import replace_file

# Of a frame in a notebook: enough for the headline and the slider.
_HEIGHT = "46rem"


@dataclass(frozen=True, repr=False)
class Report:
    """A report of :func:`skroute.report`: notebooks show it, `save` writes it.

    Attributes
    ----------
    title : str
        Heading of the page.
    html : str
        The page, one document that needs no network; also ``str(report)``.
    """

    title: str
    html: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file, completely or not at all.

        Parameters
        ----------
        path : str or path-like
            File to write.

        Raises
        ------
        OSError
            If it cannot be written; a file that was there before is kept then.
        """
        with replace_file(Path(path)) as beside:
            beside.write_text(self.html, "utf-8")

    def __str__(self) -> str:
        return self.html

    def __repr__(self) -> str:
        size = len(self.html.encode()) / 1000
        return f"Report({self.title!r}, {size:.0f} kB; write it by .save(path))"

    def _repr_html_(self) -> str:
        """Show the page in a frame, apart from the notebook's styles and scripts."""
        page, title = escape(self.html), escape(self.title)
        return (
            f'<iframe title="{title}" srcdoc="{page}" '
            'sandbox="allow-scripts allow-downloads" '
            f'style="width: 100%; height: {_HEIGHT}; border: 0"></iframe>'
        )

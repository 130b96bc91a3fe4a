"""Entry point of the ``skroute`` command and of ``python -m skroute``."""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say how to install what it needs."""
    missing = [name for name in ("typer", "rich", "pandas") if find_spec(name) is None]
    if missing:
        print(
            f"skroute's command line needs {', '.join(missing)}: "
            "pip install 'scikit-route[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    from skroute.cli import app, console
    from skroute.exceptions import NoCostWarning

    def note(message: Warning | str, *_: object, **__: object) -> None:
        console.note(" ".join(str(message).split()))

    # A person reads them, for whom a line of our code says nothing.
    warnings.showwarning = note

    # Commands fit many routers on one table.
    warnings.filterwarnings("once", category=NoCostWarning)
    app(prog_name="skroute")


if __name__ == "__main__":
    main()

"""save and load: routers in files that run nothing when they are read."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any, TypeGuard

from sklearn.pipeline import Pipeline

from skroute._io.archive import CheckedArchive, pack
from skroute._io.atomic import check_writable, replace_file
from skroute._io.objects import Decoder, Encoder
from skroute._io.versions import list_libraries, parse_release
from skroute._table.numbers import check_integer
from skroute._version import __version__
from skroute.base import BaseRouter
from skroute.cascade import CascadeDecider
from skroute.decision import BudgetDecider
from skroute.exceptions import VersionWarning

__all__ = ["FORMAT", "MAX_BYTES", "load", "save"]

#: Raised whenever earlier releases could not read a file (see tests/data/README.md).
FORMAT = 7
#: Default limit of the size of a file.
MAX_BYTES = 1 << 30

_HOLDS = (BaseRouter, BudgetDecider, CascadeDecider, Pipeline)


def save(router: Any, path: str | os.PathLike[str]) -> None:
    """Save a router in a file that can be loaded without running anything in it.

    The file replaces an old one in a single step, once it is complete and on the disk:
    a process that is killed leaves either. The same router gives the same bytes.

    Parameters
    ----------
    router : router, BudgetDecider, CascadeDecider or Pipeline
        What to save, fitted or not: a router of this package, a decider, or a
        :class:`~sklearn.pipeline.Pipeline` of them and of estimators in Notes.
    path : str or path-like
        The file; ``.skroute`` is the usual ending.

    Raises
    ------
    OSError
        If the file cannot be written; an old one is then left as it was.
    TypeError
        If `router` is nothing that is saved this way.
    ValueError
        If no such file holds a part of it, which is named; joblib saves it.

    Notes
    -----
    Beside this package's own, the file holds estimators of scikit-learn that are only
    numbers and text: ``Pipeline``, ``StandardScaler``, ``PCA``,
    ``Normalizer``, ``TruncatedSVD``, ``TfidfVectorizer`` (on words, by its own rule),
    ``Ridge``, ``RidgeCV``, ``LinearRegression``, and ``KNeighborsRegressor`` fitted
    with ``algorithm="brute"`` (or on more than 15 features).

    A :class:`~skroute.text.TextRouter` is saved without an encoder that is a function
    or of sentence-transformers: give it again after loading,
    ``set_params(encoder=...)``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import skroute
    >>> router = skroute.DummyRouter(costs=[1.0, 30.0])
    >>> router = router.fit([[0.0], [1.0]], [[0.0, 1.0], [1.0, 1.0]])
    >>> with TemporaryDirectory() as folder:
    ...     skroute.save(router, Path(folder, "router.skroute"))
    ...     loaded = skroute.load(Path(folder, "router.skroute"))
    >>> loaded.route([[0.5]])
    array(['model_1'], dtype=object)
    """
    if not isinstance(router, _HOLDS):
        raise TypeError(
            "router must be a router, a decider or a Pipeline of them; got a "
            f"{type(router).__name__}. Of a search, save its best_estimator_."
        )
    file = Path(path)
    check_writable(file)
    encoder = Encoder()
    main = {
        "format": FORMAT,
        "skroute": __version__,
        "libraries": list_libraries(),
        "router": encoder.encode(router, "the router"),
    }
    try:
        content = pack(main, encoder.arrays, encoder.texts, MAX_BYTES)
    except ValueError as error:
        raise ValueError(f"the router cannot be saved: {error}.") from None
    with replace_file(file) as beside:
        beside.write_bytes(content)


def load(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> Any:
    """Load what :func:`save` has saved.

    Nothing in the file is run: it is checked as a whole first, and made of a fixed list
    of classes. It is not checked for sense: whoever can write it decides where queries
    go.

    Parameters
    ----------
    path : str or path-like
        The file.
    max_bytes : int, default=2**30
        Largest file that is read. Loading takes at most some 20 times the memory of
        the file, and at most some 8 times this.

    Returns
    -------
    router, BudgetDecider, CascadeDecider or Pipeline
        As saved: under the same libraries, the same estimates to the last digit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, altered, something else, larger than `max_bytes`, or in a
        format that is newer than this version.

    Warns
    -----
    VersionWarning
        If it was saved by a newer version of this package, or a newer major version of
        LightGBM, numpy, scikit-learn or scipy.
    InconsistentVersionWarning
        scikit-learn's, if it holds an estimator of another version of it.
    """
    max_bytes = check_integer(max_bytes, "max_bytes", low=1)
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{str(file)!r} is not a file.")
    try:
        archive = CheckedArchive(file, max_bytes)
        main = archive.main
        written = _check_versions(main)
        decoder = Decoder(
            archive.read_array, archive.read_text, archive.room, main["format"]
        )
        router = decoder.decode(main["router"])
        if not isinstance(router, _HOLDS):
            raise ValueError("it holds no router")
    # These are no fault of the file, or the caller made warnings errors.
    except (OSError, MemoryError, Warning):
        raise
    except Exception as error:
        # A crafted file may hold anything where a name or a number is expected.
        reason = str(error) if type(error) is ValueError else repr(error)
        raise ValueError(
            f"{str(file)!r} cannot be loaded: {reason.rstrip('.')}. It should be a "
            "file that skroute.save wrote; a pickle is loaded by joblib.load, if you "
            "trust where it comes from."
        ) from error
    newer = _list_newer(main, written)
    if newer:
        warnings.warn(
            f"{str(file)!r} was saved by {', '.join(newer)}, newer than what is "
            "installed here; it may route otherwise than there.",
            VersionWarning,
            stacklevel=2,
        )
    return router


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a file says of itself, after its digest was checked.

    Parameters
    ----------
    path : str or path-like
        A file that :func:`save` wrote.

    Returns
    -------
    dict
        ``"format"``, the number of its format; ``"skroute"``, the version that wrote
        it; and ``"libraries"``, versions by name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or something else.
    """
    main = CheckedArchive(Path(path), MAX_BYTES).main
    written = _check_versions(main)
    saved = main.get("libraries")
    libraries = {
        name: saved[name]
        for name in list_libraries()
        if isinstance(saved, dict) and _is_version(saved.get(name))
    }
    return {"format": main["format"], "skroute": written, "libraries": libraries}


def _check_versions(main: dict[str, Any]) -> str:
    """Check the format; returns the version that wrote the file."""
    number, written = main.get("format"), main.get("skroute")
    if type(number) is not int or not _is_version(written) or number < 1:
        raise ValueError("it does not say its format")
    if number > FORMAT:
        raise ValueError(
            f"its format, {number}, is newer than {FORMAT}, the newest that skroute "
            f"{__version__} knows; it was saved by skroute {written}, so "
            "install that or a later one"
        )
    return written


def _list_newer(main: dict[str, Any], written: str) -> list[str]:
    """What wrote the file and is newer than here; of libraries, by major version."""
    found = []
    if parse_release(written) > parse_release(__version__):
        found.append(f"skroute {written}")
    saved = main.get("libraries")
    for name, here in list_libraries().items():
        there = saved.get(name) if isinstance(saved, dict) else None
        if _is_version(there) and parse_release(there)[:1] > parse_release(here)[:1]:
            found.append(f"{name} {there}")
    return found


def _is_version(text: Any) -> TypeGuard[str]:
    """Whether it can be shown in a message: it may come from anyone."""
    return isinstance(text, str) and bool(re.fullmatch(r"[\w.+!-]{1,40}", text))

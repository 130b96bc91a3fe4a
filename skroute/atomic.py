"""Writing a file completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_folder", "replacing"]


def check_folder(file: Path) -> None:
    """Fail before the work, not after it.

    Parameters
    ----------
    file : Path
        Where something is to be written.

    Raises
    ------
    OSError
        If its folder does not exist, or it is anything but a plain file.
    """
    if not file.absolute().parent.is_dir():
        raise FileNotFoundError(f"the folder of {str(file)!r} does not exist.")
    if file.is_dir():
        raise IsADirectoryError(f"{str(file)!r} is a folder; give the path of a file.")
    if file.exists() and not file.is_file():
        raise OSError(f"{str(file)!r} is a device or a pipe; give the path of a file.")


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Write beside the file, then put it in its place: never half of one.

    What was written is on the disk before it takes the place of the old file, so a
    process that is killed, or a machine that loses power, leaves the one or the other.
    A hidden file may then stay behind; nothing reads it.

    Parameters
    ----------
    file : Path
        The file to write. A link is followed, and the permissions of a file that is
        already there are kept.

    Yields
    ------
    Path
        Where to write. It does not exist yet.

    Raises
    ------
    OSError
        If the file cannot be written; an old one is then left as it was.
    """
    check_folder(file)
    file = Path(os.path.realpath(file))
    beside = file.with_name(f".{file.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield beside
        _flush(beside)
        if file.exists():
            shutil.copymode(file, beside)
        os.replace(beside, file)
    finally:
        beside.unlink(missing_ok=True)
    # Not all systems let a folder be opened.
    with contextlib.suppress(OSError):
        _flush(file.parent)


def _flush(path: Path) -> None:
    """Wait until what was written is on the disk."""
    # Windows flushes only what is open for writing, and no folders.
    mode = os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Writing a file completely or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Seconds without a change after which a temporary file was left by a killed process.
_STALE = 600.0


def check_writable(file: Path) -> None:
    """Fail before the work, not after it, where a file cannot be written.

    Its folder must exist, and it must be a plain file, if it is there. Nothing is left.
    """
    if not file.absolute().parent.is_dir():
        raise FileNotFoundError(f"the folder of {str(file)!r} does not exist.")
    if file.is_dir():
        raise IsADirectoryError(f"{str(file)!r} is a folder; give the path of a file.")
    if file.exists() and not file.is_file():
        raise OSError(f"{str(file)!r} is a device or a pipe; give the path of a file.")
    beside = _name_beside(Path(os.path.realpath(file)))
    # Only trying reveals permissions, quotas and read-only disks.
    with _name_given_file(file, beside):
        try:
            beside.touch(exist_ok=False)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def replace_file(file: Path) -> Iterator[Path]:
    """Write beside the file, then put it in its place: never half of one.

    What was written is on the disk before it takes the place of the old file, so a
    process that is killed, or a machine that loses power, leaves either of them.
    A hidden file may then stay behind; nothing reads it, and the next writer of the
    same file removes it once it is ten minutes old. A link is followed, and the
    permissions of a file that is already there are kept. The path that is yielded does
    not exist yet.
    """
    check_writable(file)
    given, file = file, Path(os.path.realpath(file))
    _remove_stale(file)
    beside = _name_beside(file)
    with _name_given_file(given, beside):
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


def _name_beside(file: Path) -> Path:
    """Name a hidden file in the same folder, which no other process uses."""
    return file.with_name(f".{file.name}.{secrets.token_hex(6)}.tmp")


@contextmanager
def _name_given_file(file: Path, beside: Path) -> Iterator[None]:
    """Let errors name the file that the caller knows, not the hidden one."""
    try:
        yield
    except OSError as error:
        if error.filename not in (str(beside), beside):
            raise
        raise type(error)(error.errno, error.strerror, str(file)) from error


def _remove_stale(file: Path) -> None:
    """Remove the temporary files that killed writers of this file left behind."""
    pattern = f".{glob.escape(file.name)}.{'[0-9a-f]' * 12}.tmp"
    for left in file.parent.glob(pattern):
        # Another writer may remove it first, or its owner may not let us.
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


def _flush(path: Path) -> None:
    """Wait until what was written is on the disk."""
    # Windows flushes only what is open for writing, and no folders.
    mode = os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

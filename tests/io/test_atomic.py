"""Files are written completely or not at all, and failures come before the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import skroute
import skroute._io.atomic
from skroute._io.atomic import check_writable, replace_file
from skroute.cli import app

# Not even root can make a file there.
UNWRITABLE = Path("/proc/r.skroute")
linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
posix = pytest.mark.skipif(os.name == "nt", reason="kills by a signal")

_KILLED = """
import os, signal, sys
from pathlib import Path
from atomic import replace_file
with replace_file(Path(sys.argv[1])) as beside:
    beside.write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_writer(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, file],
        check=False,
        timeout=240,
        # The module by itself: to import the whole package takes a second.
        env={**os.environ, "PYTHONPATH": str(Path(skroute._io.atomic.__file__).parent)},
    )
    assert done.returncode == -signal.SIGKILL


def age(folder: Path, seconds: float) -> None:
    for file in folder.iterdir():
        os.utime(file, (time.time() - seconds,) * 2)


@posix
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    file, other = tmp_path / "r[1].skroute", tmp_path / "r1.skroute"
    for _ in range(3):
        kill_a_writer(file)
    kill_a_writer(other)
    (tmp_path / f".{file.name}.tmp").touch()
    assert len(os.listdir(tmp_path)) == 5
    age(tmp_path, seconds=3600)
    kill_a_writer(file)
    with replace_file(file) as beside:
        beside.write_text("new")
    names = sorted(os.listdir(tmp_path))
    # What is left: the old one of another file, a file that is none of ours, the new
    # file, and what may still be written by another process.
    assert len(names) == 4
    assert sum(name.startswith(f".{file.name}.") for name in names) == 2
    assert sum(name.startswith(f".{other.name}.") for name in names) == 1
    assert file.read_text() == "new"


@linux
def test_a_place_that_cannot_be_written_is_named_before_the_work(tmp_path):
    with pytest.raises(OSError, match=r"'/proc/r\.skroute'$"):
        check_writable(UNWRITABLE)
    absent = str(tmp_path / "absent.csv")
    for arguments in (
        ["fit", absent, "--out"],
        ["report", absent, "--out"],
        ["evaluate", absent, "--json"],
        ["route", absent, "--out"],
    ):
        result = CliRunner().invoke(app, [*arguments, str(UNWRITABLE)])
        assert result.exit_code == 2
        assert "/proc/r.skroute" in result.stderr
    with pytest.raises(OSError, match=r"'/proc/r\.skroute'$"):
        skroute.report(None, None, None, path=UNWRITABLE)


def test_looking_leaves_nothing(tmp_path):
    check_writable(tmp_path / "r")
    assert not os.listdir(tmp_path)


def fail_to_write(file: Path) -> None:
    with replace_file(file) as beside:
        beside.mkdir()
        try:
            beside.write_text("")
        finally:
            beside.rmdir()


def test_an_error_while_writing_names_the_file(tmp_path):
    with pytest.raises(IsADirectoryError, match=r"r\.csv'$"):
        fail_to_write(tmp_path / "r.csv")
    assert not os.listdir(tmp_path)

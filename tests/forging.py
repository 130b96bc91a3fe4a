"""Router files that were changed, with the digest that anyone can compute."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skroute


def signed(content: bytes) -> bytes:
    """A file with the digest that it needs, as anyone can compute it."""
    return content[:-64] + hashlib.sha256(content[:-71]).hexdigest().encode()


def forged(
    content: bytes,
    change: Callable[[dict[str, bytes]], Any] = lambda members: None,
    deflated: str = "",
) -> bytes:
    """A file whose members were changed, with a right digest."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member, 8 if name == deflated else 0)
        archive.comment = b"sha256:" + b"0" * 64
    return signed(made.getvalue())


def forged_main(content: bytes, change: Callable[[Any], Any]) -> bytes:
    """A file whose JSON was changed, in place or by returning another."""

    def changed(members: dict[str, bytes]) -> None:
        main = json.loads(members["router.json"])
        main = change(main) or main
        members["router.json"] = json.dumps(main, separators=(",", ":")).encode()

    return forged(content, changed)


def load(folder: Path, content: bytes, **options: Any) -> Any:
    file = folder / "r.skroute"
    file.write_bytes(content)
    return skroute.load(file, **options)


def refused(folder: Path, content: bytes, message: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load(folder, content, **options)
    assert str(folder / "r.skroute") in str(caught.value)

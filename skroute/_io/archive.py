"""The file of a router: a zip archive that ends in a digest of all bytes before it.

Its members are ``router.json``, ``arrays/<n>.npy`` and ``texts/<n>.txt``, all stored as
they are: arrays and texts unfold into no more than the file's own size. What its JSON
becomes is counted before it is read. So the size of the file bounds the memory it
takes. The zip comment is the SHA-256 of every byte before it. It shows damage, but not
who wrote the file: anyone can compute it.

This module checks the file as a whole; `registry.check_object_state` then checks each
object before it is made.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from skroute._io.npy import read_array

_MAGIC = b"PK\x03\x04"
_DIGEST = b"sha256:"
_N_DIGEST = len(_DIGEST) + 64
_MAIN = "router.json"
# JSON becomes Python objects of up to some 30 times its size.
_JSON_SHARE = 32
# Bytes of the Python objects that each of these marks in JSON makes.
_MARKS = {b"[": 72, b"{": 240, b",": 40, b":": 60}
# Limit of the memory of objects, as a multiple of the file size, plus a constant.
_ROOM = 16
_SPARE = 1 << 20
# The end record of a zip archive, and the signature before it in very large ones.
_END = struct.Struct("<4s4H2LH")
_ZIP64 = b"PK\x06\x07"
_MOST_MEMBERS = 65_000
# Bytes of the list of members, which takes some 20 times as much as Python objects.
_LARGEST_LIST = 8 << 20


def pack(
    main: dict[str, Any], arrays: list[np.ndarray], texts: list[str], max_bytes: int
) -> bytes:
    """Put the parts of a router together; the same parts give the same bytes.

    `main` goes into ``router.json``. Refuses what `CheckedArchive` would not read again
    at the same `max_bytes`.
    """
    if 1 + len(arrays) + len(texts) > _MOST_MEMBERS:
        raise ValueError(f"it has more than {_MOST_MEMBERS:,} parts")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        encoded = json.dumps(main, allow_nan=False, separators=(",", ":")).encode()
        _check_main_size(len(encoded), max_bytes)
        archive.writestr(_make_member(_MAIN), encoded)
        for number, array in enumerate(arrays):
            written = io.BytesIO()
            np.lib.format.write_array(written, array, (1, 0), allow_pickle=False)
            archive.writestr(_make_member(f"arrays/{number}.npy"), written.getbuffer())
        for number, text in enumerate(texts):
            member = _make_member(f"texts/{number}.txt")
            archive.writestr(member, text.encode("utf-8", "surrogatepass"))
        archive.comment = _DIGEST + b"0" * 64
    content = packed.getbuffer()
    if len(content) > max_bytes:
        raise ValueError(f"it has {len(content):,} bytes; max_bytes is {max_bytes:,}")
    _check_value_count(encoded, len(content))
    # The digest covers all bytes before the comment that holds it.
    content[-64:] = hashlib.sha256(content[:-_N_DIGEST]).hexdigest().encode()
    return bytes(content)


def _make_member(name: str) -> zipfile.ZipInfo:
    # A fixed date, so that the same router gives the same bytes.
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


def _check_main_size(size: int, max_bytes: int) -> None:
    """Refuse a ``router.json`` that is too large a part of the largest file."""
    if size > max_bytes // _JSON_SHARE:
        raise ValueError(
            f"its names and numbers take {size:,} bytes, more than max_bytes / "
            f"{_JSON_SHARE} = {max_bytes // _JSON_SHARE:,}"
        )


def _check_value_count(encoded: bytes, file_size: int) -> int:
    """Refuse JSON whose values would take more memory than there is room for.

    Returns the bytes that the objects of the file may take.
    """
    room = _ROOM * file_size + _SPARE
    if sum(encoded.count(mark) * size for mark, size in _MARKS.items()) > room:
        raise ValueError("its JSON has too many values for the size of the file")
    return room


def _refuse(constant: str) -> float:
    raise ValueError(f"its JSON has the number {constant}")


def _check_end_record(content: bytes) -> None:
    """Check the record of the archive's end, which says how much there is to list."""
    start = len(content) - _N_DIGEST - _END.size
    if start < 0:
        raise ValueError("it was cut off")
    signature, *_, listed, _, comment = _END.unpack_from(content, start)
    large = content[max(start - 20, 0) : start].startswith(_ZIP64)
    if signature != b"PK\x05\x06" or comment != _N_DIGEST or large:
        raise ValueError("it is an archive of another kind")
    if listed > _LARGEST_LIST:
        raise ValueError("it has too many members")


def _check_digest(file: Path, max_bytes: int) -> bytes:
    """Read the file, if its size is allowed and its digest is that of its bytes."""
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > max_bytes:
            raise ValueError(
                f"it has {size:,} bytes, more than max_bytes={max_bytes:,}"
            )
        content = stream.read(size)
    if not content.startswith(_MAGIC):
        raise ValueError("it is something else, or it lost its beginning")
    digest = content[-_N_DIGEST:]
    if not digest.startswith(_DIGEST):
        raise ValueError("it was cut off, or it was never a router's file")
    actual = hashlib.sha256(memoryview(content)[:-_N_DIGEST]).hexdigest()
    if digest != _DIGEST + actual.encode():
        raise ValueError("it was altered since it was saved: its digest differs")
    return content


def _check_members(content: bytes) -> zipfile.ZipFile:
    """Open the archive after checks of what it says of its members."""
    _check_end_record(content)
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except Exception as error:
        # zipfile trusts the fields, so a crafted one raises any exception.
        raise ValueError(f"it is no readable archive ({error})") from None
    members = archive.infolist()
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it has two members of one name")
    # Overlapping members would unfold into more than the file.
    if sum(member.file_size for member in members) > len(content):
        raise ValueError("its members are together larger than the file")
    return archive


class CheckedArchive:
    """A saved file, checked as a whole when it is opened; gives its parts one by one.

    `main` is what ``router.json`` holds, and `room` the bytes that its objects may
    take. What is not a whole, unaltered file of a router is a ``ValueError``.
    """

    def __init__(self, file: Path, max_bytes: int) -> None:
        content = _check_digest(file, max_bytes)
        self._zip = _check_members(content)
        self._members = {member.filename: member for member in self._zip.infolist()}
        _check_main_size(self._find_size(_MAIN), max_bytes)
        encoded = self._read_content(_MAIN)
        self.room = _check_value_count(encoded, len(content))
        self.main = json.loads(encoded.decode("ascii"), parse_constant=_refuse)
        if not isinstance(self.main, dict):
            raise ValueError("its JSON is no object")

    def read_array(self, number: int) -> np.ndarray:
        """Read one of the arrays; its shape is checked before it is given room."""
        name = f"arrays/{number}.npy"
        content = self._read_content(name)
        try:
            return read_array(io.BytesIO(content), len(content))
        except ValueError as error:
            raise ValueError(f"its member {name} is no array: {error}") from None

    def read_text(self, number: int) -> str:
        """Read one of the long texts."""
        content = self._read_content(f"texts/{number}.txt")
        return content.decode("utf-8", "surrogatepass")

    def _find_size(self, name: str) -> int:
        if name not in self._members:
            raise ValueError(f"it has no member {name}")
        return self._members[name].file_size

    def _read_content(self, name: str) -> bytes:
        """Read a member, which must be stored as it is and as long as it says."""
        size = self._find_size(name)
        member = self._members[name]
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != size:
            raise ValueError(f"its member {name} is compressed; nothing in it should")
        with self._zip.open(member) as stream:
            # One byte more would show that it is longer than it says.
            content = stream.read(size + 1)
        if len(content) != size:
            raise ValueError(f"its member {name} is not as long as it says")
        return content

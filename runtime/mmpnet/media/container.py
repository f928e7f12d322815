"""Whether a video file ends where its container says: MP4 and MOV, Matroska and WebM, AVI."""

import os
from pathlib import Path
from typing import BinaryIO

_EBML_START = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"sidx", b"styp", b"uuid"})
"""Boxes at the top level of ISO 14496-12 and QuickTime files; anything else ends the walk."""
_LEAST_BOX = 8


def missing_bytes(path: Path) -> int | None:
    """How many bytes the container states beyond the end of the file; 0 if it is whole, None if it does not state it.

    A recorder that was stopped hard leaves no such statement, so its files are not taken for truncated ones.

    Raises: OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(12)
        file.seek(0)
        if start[4:8] in _BOXES:
            stated: int | None = _boxes_end(file, size)
        elif start.startswith(_EBML_START):
            stated = _segment_end(file)
        elif start.startswith(b"RIFF"):
            stated = _riff_end(file, size)
        else:
            stated = None
    return None if stated is None else max(stated - size, 0)


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last box ends; a box of size 0 extends to the end of the file."""
    at = 0
    while at + _LEAST_BOX <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if header[4:8] not in _BOXES or length < _LEAST_BOX:
            break
        at += length
    return at


def _segment_end(file: BinaryIO) -> int | None:
    """Where the segment ends, the only element after the header (RFC 8794, RFC 9559); None if its size is unknown."""
    header_id, header_size = file.read(4), _ebml_size(file)
    assert header_id == _EBML_START
    file.seek(header_size or 0, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return None
    segment_size = _ebml_size(file)
    return None if segment_size is None else file.tell() + segment_size


def _ebml_size(file: BinaryIO) -> int | None:
    """A variable-length size; None if all its bits are 1, which means unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    bits = int.from_bytes(first + file.read(length - 1), "big") & ((1 << 7 * length) - 1)
    return None if bits == (1 << 7 * length) - 1 else bits


def _riff_end(file: BinaryIO, size: int) -> int | None:
    """Where the last RIFF chunk ends: a large AVI has several. None if the first one states no size."""
    at = 0
    while at + _LEAST_BOX <= size:
        file.seek(at)
        header = file.read(_LEAST_BOX)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or not length:
            break
        at += _LEAST_BOX + length + length % 2
    return at or None

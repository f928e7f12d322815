"""Read the size that an image file states in its header: JPEG, PNG, BMP, WebP or TIFF."""

import re
import struct
from typing import BinaryIO, TypeAlias

Stated: TypeAlias = tuple[tuple[int, int], bool] | None
"""(height, width) in px as stored, and whether the image may be rotated by EXIF, which for formats other than JPEG and
PNG is always assumed; None if the header does not state it."""

JPEG_START, _PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LONGEST_HEADER = 64
"""Bytes of a BMP or WebP that contain its size."""
_TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_TIFF_WIDTH, _TIFF_LENGTH, _TIFF_SHORT = 256, 257, 3
_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9
_ORIENTATION = re.compile(rb"\x12\x01.{6}(?!\x01\0)|\x01\x12.{6}(?!\0\x01)", re.DOTALL)
"""An EXIF orientation entry (tag 0x0112, any type and count, either byte order) other than 1, which means upright."""


def stated_size(file: BinaryIO) -> Stated:
    """Read the header of an open image file."""
    start = file.read(len(_PNG_START))
    if start == _PNG_START:
        content = file.read()
        return _sides(content[12:16], content[8:12], turned=b"eXIf" in content)
    if start.startswith(JPEG_START):
        file.seek(len(JPEG_START))
        return _jpeg_size(file)
    content = start + file.read(_LONGEST_HEADER)
    try:
        return _bmp_size(content) or _webp_size(content) or _tiff_size(content, file)
    except struct.error:
        return None


def _jpeg_size(file: BinaryIO) -> Stated:
    """Walk a JPEG's segments (ISO 10918-1, annex B) up to its scan: EXIF may also be behind the frame header."""
    turned, sides = False, (b"", b"")
    while True:
        marker = file.read(2)
        while marker == b"\xff\xff":  # fill byte
            marker = marker[:1] + file.read(1)
        length = int.from_bytes(file.read(2), "big")
        if marker[:1] != b"\xff" or len(marker) < 2 or length < 2 or marker[1] in (_START_OF_SCAN, _END_OF_IMAGE):
            return _sides(*sides, turned=turned)
        segment = file.read(length - 2)
        if marker[1] in _START_OF_FRAME:
            sides = segment[1:3], segment[3:5]
        turned = turned or (marker[1] == _APP1 and _ORIENTATION.search(segment) is not None)


def _bmp_size(content: bytes) -> Stated:
    if not content.startswith(b"BM"):
        return None
    width, height = struct.unpack_from("<ii", content, 18)
    return _plausible(abs(height), abs(width))


def _webp_size(content: bytes) -> Stated:
    """The canvas of the extended format, else that of its lossy or lossless frame (RFC 9649)."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return None
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    elif kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", content, 21)
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    else:
        return None
    return _plausible(height, width)


def _tiff_size(content: bytes, file: BinaryIO) -> Stated:
    """ImageWidth and ImageLength of the first directory."""
    order = _TIFF_ORDERS.get(content[:4])
    if order is None:
        return None
    file.seek(struct.unpack_from(f"{order}I", content, 4)[0])
    (count,) = struct.unpack(f"{order}H", file.read(2))
    entries = file.read(12 * count)
    sides = {}
    for at in range(0, 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", entries, at)
        sides[tag] = struct.unpack_from(order + ("H" if kind == _TIFF_SHORT else "I"), entries, at + 8)[0]
    return _plausible(sides.get(_TIFF_LENGTH, 0), sides.get(_TIFF_WIDTH, 0))


def _plausible(height: int, width: int) -> Stated:
    return ((height, width), True) if min(height, width) > 0 else None


def _sides(height: bytes, width: bytes, *, turned: bool) -> Stated:
    size_hw = int.from_bytes(height, "big"), int.from_bytes(width, "big")
    return (size_hw, turned) if min(size_hw) > 0 else None

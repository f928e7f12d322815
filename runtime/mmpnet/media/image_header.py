"""Read the size that a JPEG or PNG states in its header."""

import re
from typing import BinaryIO, TypeAlias

Stated: TypeAlias = tuple[tuple[int, int], bool] | None
"""(height, width) in px as stored, and whether EXIF rotates the image; None if the header does not state it."""

_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9
_ORIENTATION = re.compile(rb"\x12\x01..\x01\0\0\0(?!\x01\0)|\x01\x12..\0\0\0\x01(?!\0\x01)", re.DOTALL)
"""An EXIF orientation entry (tag 0x0112, one value, either byte order) other than 1, which means upright."""


def stated_size(file: BinaryIO) -> Stated:
    """Read the header of an open image file."""
    start = file.read(len(_PNG_START))
    if start == _PNG_START:
        content = file.read()
        return _sides(content[12:16], content[8:12], turned=b"eXIf" in content)
    if start.startswith(_JPEG_START):
        file.seek(len(_JPEG_START))
        return _jpeg_size(file)
    return None


def _jpeg_size(file: BinaryIO) -> Stated:
    """Walk a JPEG's segments (ISO 10918-1, annex B) up to its frame header."""
    turned = False
    while True:
        marker = file.read(2)
        while marker == b"\xff\xff":  # fill byte
            marker = marker[:1] + file.read(1)
        length = int.from_bytes(file.read(2), "big")
        if marker[:1] != b"\xff" or len(marker) < 2 or length < 2 or marker[1] in (_START_OF_SCAN, _END_OF_IMAGE):
            return None
        segment = file.read(length - 2)
        if marker[1] in _START_OF_FRAME:
            return _sides(segment[1:3], segment[3:5], turned=turned)
        turned = turned or (marker[1] == _APP1 and _ORIENTATION.search(segment) is not None)


def _sides(height: bytes, width: bytes, *, turned: bool) -> Stated:
    size_hw = int.from_bytes(height, "big"), int.from_bytes(width, "big")
    return (size_hw, turned) if min(size_hw) > 0 else None

"""Read the size of an image from its first bytes, for label formats that do not state it."""

import re
from pathlib import Path
from typing import BinaryIO

from mmpnet.contract.errors import MmpnetError, SourceError
from mmpnet.media.images import read_image

_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9
_ORIENTATION = re.compile(rb"\x12\x01..\x01\0\0\0(?!\x01\0)|\x01\x12..\0\0\0\x01(?!\0\x01)", re.DOTALL)
"""An EXIF orientation entry (tag 0x0112, one value, either byte order) that is not 1, upright."""


def image_size_hw(path: Path, *, error: type[MmpnetError] = SourceError) -> tuple[int, int]:
    """(height, width) in px of what `read_image` gives; the whole image is decoded only where the header leaves
    doubt: turned ones, and formats other than JPEG and PNG.

    Raises: `error` if the file is missing or not an image.
    """
    try:
        with path.open("rb") as file:
            size_hw = _stated_hw(file)
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror}); expected an image file") from reason
    if size_hw is None:
        height, width = read_image(path, error=error).shape[:2]
        return height, width
    return size_hw


def _stated_hw(file: BinaryIO) -> tuple[int, int] | None:
    start = file.read(len(_PNG_START))
    if start == _PNG_START:
        content = file.read()
        turned = b"eXIf" in content
        return None if turned else _sides(content[12:16], content[8:12])
    if start.startswith(_JPEG_START):
        file.seek(len(_JPEG_START))
        return _jpeg_hw(file)
    return None


def _jpeg_hw(file: BinaryIO) -> tuple[int, int] | None:
    """Walk a JPEG's segments (ISO 10918-1, annex B) up to its frame header."""
    while True:
        marker = file.read(2)
        while marker == b"\xff\xff":  # fill byte
            marker = marker[:1] + file.read(1)
        length = int.from_bytes(file.read(2), "big")
        if marker[:1] != b"\xff" or len(marker) < 2 or length < 2 or marker[1] in (_START_OF_SCAN, _END_OF_IMAGE):
            return None
        segment = file.read(length - 2)
        if marker[1] in _START_OF_FRAME:
            return _sides(segment[1:3], segment[3:5])
        if marker[1] == _APP1 and _ORIENTATION.search(segment):
            return None


def _sides(height: bytes, width: bytes) -> tuple[int, int] | None:
    size_hw = int.from_bytes(height, "big"), int.from_bytes(width, "big")
    return size_hw if min(size_hw) > 0 else None

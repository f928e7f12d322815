"""How many images a file contains: pages of a TIFF, frames of an animated PNG or WebP."""

import struct

_PNG_START = b"\x89PNG\r\n\x1a\n"
_TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_MOST_PAGES = 10_000
"""The directories of a damaged TIFF may form a circle."""


def image_count(content: bytes) -> int:
    """Number of images in the content of an image file; 1 if the format has only one, or does not state it."""
    if content.startswith(_PNG_START):
        return _png_frames(content)
    if content[:4] == b"RIFF" and content[8:16] == b"WEBPVP8X":
        return max(content.count(b"ANMF"), 1)
    if content[:4] in _TIFF_ORDERS:
        return _tiff_pages(content, _TIFF_ORDERS[content[:4]])
    return 1


def _png_frames(content: bytes) -> int:
    """The number in the animation control chunk, which comes before the image data."""
    at = content.find(b"acTL", 0, max(content.find(b"IDAT"), 0))
    return max(int.from_bytes(content[at + 4 : at + 8], "big"), 1) if at >= 0 else 1


def _tiff_pages(content: bytes, order: str) -> int:
    count, at = 0, 4
    try:
        while count < _MOST_PAGES:
            (directory,) = struct.unpack_from(f"{order}I", content, at)
            if not directory:
                break
            (entries,) = struct.unpack_from(f"{order}H", content, directory)
            count, at = count + 1, directory + 2 + 12 * entries
    except struct.error:
        pass
    return max(count, 1)

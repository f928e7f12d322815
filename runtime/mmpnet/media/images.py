"""Read and write image files; a damaged file raises an error."""

import io
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import MmpnetError, OutputError, SourceError
from mmpnet.media.image_header import stated_size
from mmpnet.media.sixteen_bits import to_8_bits
from mmpnet.system.files import atomic_write, require_regular

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
IMAGE_SUFFIXES = JPEG_SUFFIXES | frozenset({".png", ".bmp", ".webp", ".tif", ".tiff"})

MOST_PIXELS = 1 << 27
"""A file of a few hundred kB can decode to gigabytes; this limit allows 400 MB."""

_JPEG_START = b"\xff\xd8\xff"
_JPEG_MARKER_IN_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


def read_image(path: Path, *, error: type[MmpnetError] = SourceError) -> UInt8Array:
    """Pixels (H, W, 3) BGR uint8, rotated upright according to EXIF; of several pages or frames, the first.

    16 bits become 8, and a narrow range of values, as in thermal images, is stretched.

    Raises: `error` if the file is missing, not an image, or truncated (OpenCV would fill the rest with gray).
    """
    return decode_image(read_content(path, error=error), path, error=error)


def decode_image(content: bytes, path: Path, *, error: type[MmpnetError] = SourceError) -> UInt8Array:
    """Pixels (H, W, 3) BGR uint8 of the content of an image file, as `read_image` gives them; path: for messages.

    Raises: `error` if it is not an image, or truncated.
    """
    pixels = _decoded(content, path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, error)
    if pixels.dtype == np.uint16:
        return to_8_bits(pixels)
    if pixels.dtype != np.uint8:
        raise error(f"{path}: its values are {pixels.dtype}; expected an image of 8 or 16 bits per channel")
    return np.asarray(pixels, np.uint8)


def read_mask(path: Path, *, error: type[MmpnetError] = SourceError) -> NDArray[np.int64]:
    """Instance number of each pixel (H, W), 0 = background: the gray value, or the color of a color image as a number.

    Raises: `error` as `read_image` does, and if the image does not have one or three channels of 8 bits.
    """
    values = _decoded(read_content(path, error=error), path, cv2.IMREAD_UNCHANGED, error)
    if values.dtype != np.uint8 or (values.ndim == 3 and values.shape[2] != 3):
        raise error(f"{path}: is {values.dtype} of shape {values.shape}; expected a gray or color mask of 8 bits")
    if values.ndim == 2:
        return values.astype(np.int64)
    numbers: NDArray[np.int64] = values.astype(np.int64) @ np.array([1, 1 << 8, 1 << 16])
    return numbers


def read_content(path: Path, *, error: type[MmpnetError] = SourceError) -> bytes:
    """The bytes of an image file. Raises: `error` if it is missing or cannot be read."""
    try:
        require_regular(path)
        return path.read_bytes()
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror}); expected an image file") from reason


def _decoded(content: bytes, path: Path, flags: int, error: type[MmpnetError]) -> NDArray[Any]:
    if is_truncated(content):
        raise error(f"{path}: the image is cut short after {len(content)} bytes; copy or download it again")
    stated = stated_size(io.BytesIO(content))
    if stated is not None and stated[0][0] * stated[0][1] > MOST_PIXELS:
        raise error(
            f"{path}: the image has {stated[0][1]}x{stated[0][0]} px, expected at most {MOST_PIXELS >> 20} million "
            "pixels; make it smaller"
        )
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except cv2.error as reason:  # for example, more pixels than OpenCV allows
        raise error(f"{path}: OpenCV cannot decode the image ({' '.join(str(reason).split())[:160]})") from reason
    if pixels is None:
        raise error(f"{path}: is not an image that OpenCV can read ({len(content)} bytes); expected JPEG, PNG, ...")
    return pixels


def write_image(path: Path, frame_bgr: UInt8Array) -> None:
    """Write an image to a temporary file, read it back, then rename it.

    Raises: OutputError if OpenCV does not know the suffix, the folder is missing, or the file cannot be read back.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        known = " ".join(sorted(IMAGE_SUFFIXES))
        raise OutputError(f"{path}: unknown image suffix {path.suffix or '(none)'}; expected one of {known}")
    suffix = path.suffix.lower()
    encoded, content = cv2.imencode(".jpg" if suffix in JPEG_SUFFIXES else suffix, frame_bgr)
    if not encoded:
        raise OutputError(f"{path}: OpenCV cannot encode {path.suffix}; choose .jpg or .png")
    with atomic_write(path) as partial:
        partial.write_bytes(content.tobytes())
        read_image(partial, error=OutputError)


def is_image(name: Path | str) -> bool:
    """Whether the suffix of a file name is that of an image."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def is_truncated(content: bytes) -> bool:
    """Whether a JPEG or PNG ends before its end marker; other formats give False, as their decoder finds out."""
    if content.startswith(_PNG_START):
        return _PNG_END not in content[-64:] and _PNG_END not in content
    if content.startswith(_JPEG_START):
        return not _jpeg_ends(content)
    return False


def _jpeg_ends(content: bytes) -> bool:
    """Walk a JPEG's segments (ISO 10918-1, annex B) up to its end-of-image marker."""
    position = 2
    while position + 2 <= len(content):
        if content[position] != 0xFF:
            return True  # not a well-formed JPEG: the decoder decides whether it is readable
        marker = content[position + 1]
        if marker == 0xD9:
            return True
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if position + 4 > len(content):
            return False
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if marker == 0xDA:
            found = _JPEG_MARKER_IN_SCAN.search(content, position)
            if found is None:
                return False
            position = found.end() - 2
    return False

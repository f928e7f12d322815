"""Read the size of an image from its header, for label formats that do not state it."""

import io
from pathlib import Path

from mmpnet.contract.errors import MmpnetError, SourceError
from mmpnet.media.image_header import JPEG_START, stated_size
from mmpnet.media.images import read_image
from mmpnet.system.files import require_regular


def is_turned(content: bytes) -> bool:
    """Whether EXIF turns or mirrors a JPEG: `decode_image` gives it upright, some tools label it as it is stored."""
    stated = stated_size(io.BytesIO(content)) if content.startswith(JPEG_START) else None
    return stated is not None and stated[1]


def image_size_hw(path: Path, *, error: type[MmpnetError] = SourceError) -> tuple[int, int]:
    """Size (height, width) in px of the image that `read_image` returns.

    The header is enough for upright JPEG and PNG files; all other images are decoded.

    Raises: `error` if the file is missing or not an image.
    """
    try:
        require_regular(path)
        with path.open("rb") as file:
            stated = stated_size(file)
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror}); expected an image file") from reason
    if stated is None or stated[1]:
        height, width = read_image(path, error=error).shape[:2]
        return height, width
    return stated[0]

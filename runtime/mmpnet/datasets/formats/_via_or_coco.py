"""Tell projects of VGG Image Annotator from COCO JSON by their content, because both tools let people choose names."""

import mmap
from pathlib import Path

from mmpnet.system.files import is_file

_PROJECT = (b'"_via_settings"', b'"_via_img_metadata"')
_REGIONS = (b'"regions"', b'"filename"')
_VERSION_3 = (b'"vid_list"', b'"fid"')
_COCO = b'"categories"'


def is_via(path: Path) -> bool:
    """Whether a JSON file holds annotations of VGG Image Annotator; an empty one is told by its name, `via_*.json`."""
    if not is_file(path) or path.suffix.lower() != ".json":
        return False
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_COCO) >= 0:
                return False
            if any(content.find(key) >= 0 for key in _PROJECT) or _has_all(content, _REGIONS):
                return True
            if _has_all(content, _VERSION_3):
                return True
    except (OSError, ValueError):  # mmap refuses an empty file
        pass
    return path.name.startswith("via_")


def _has_all(content: mmap.mmap, keys: tuple[bytes, ...]) -> bool:
    return all(content.find(key) >= 0 for key in keys)

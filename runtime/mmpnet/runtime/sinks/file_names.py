"""Names and folders of the files that sinks write."""

import re
from pathlib import Path

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.sources.frame import Frame
from mmpnet.system.files import beginning

LONGEST_PART, LONGEST_STEM = 80, 120
"""Bytes of a text and of a source's own name in a file's name: names have 255 at most."""


def named_after(frame: Frame) -> str:
    """A file's stem for what comes from this frame's source."""
    if frame.kind == "camera":
        return in_file_name(frame.source) or "camera"
    return beginning(Path(frame.source).stem, LONGEST_STEM)


def in_file_name(text: str) -> str:
    """What a text gives to a file's name: letters, digits, `_`, `.` and `-`; empty where nothing is left."""
    plain = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    return beginning(plain, LONGEST_PART)


def make_folder(folder: Path, *, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{option}: {folder} is not a folder ({error.strerror})") from error

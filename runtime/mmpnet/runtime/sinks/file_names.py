"""Names and folders of the files that sinks write."""

import re
from pathlib import Path

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.sources.frame import Frame
from mmpnet.system.files import beginning

LONGEST_PART, LONGEST_STEM = 80, 120
"""Most bytes of a text, and of a source's name, in a file name; file systems allow 255 bytes in total."""


def named_after(frame: Frame) -> str:
    """Stem of the names of files with results of this frame's source."""
    if frame.kind == "camera":
        return in_file_name(frame.source) or "camera"
    return beginning(Path(frame.source).stem, LONGEST_STEM)


def in_file_name(text: str) -> str:
    """A text reduced to letters, digits, `_`, `.` and `-` for a file name; empty if nothing is left."""
    plain = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    return beginning(plain, LONGEST_PART)


def make_folder(folder: Path, *, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{option}: {folder} cannot be made ({error.strerror}); choose another folder") from error

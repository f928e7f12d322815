"""Names and folders of the files that sinks write."""

import re
from pathlib import Path

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.sources.frame import Frame


def named_after(frame: Frame) -> str:
    """A file's stem for what comes from this frame's source."""
    if frame.kind == "camera":
        return re.sub(r"[^\w.-]+", "-", frame.source).strip("-.") or "camera"
    return Path(frame.source).stem


def make_folder(folder: Path, *, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{option}: {folder} is not a folder ({error.strerror})") from error

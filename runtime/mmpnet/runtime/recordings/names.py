"""Names of recordings: FOLDER/CAMERA/YYYY-MM-DD/CAMERA-YYYY-MM-DDTHH-MM-SS+HHMM.mp4.

The time is the local one with its distance from UTC, so that names are unique when clocks are set back in autumn.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

CLIP_SUFFIX, CROP_SUFFIX = ".mp4", ".jpg"
_TIME = "%Y-%m-%dT%H-%M-%S%z"
_NAME = re.compile(r".+-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d[+-]\d{4})(?:-[\w.-]+)?\.(?:mp4|jpg)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded file, when it began, and its size in bytes."""

    path: Path
    began: datetime
    size_bytes: int

    @property
    def is_clip(self) -> bool:
        return self.path.suffix == CLIP_SUFFIX


def recording_path(folder: Path, camera: str, began: datetime, *, suffix: str, what: str = "") -> Path:
    """The path for a recording of a camera, whose name is one that fits into a file name; `what` tells several apart.

    An existing file is never the answer.
    """
    local = began.astimezone()
    stem = f"{camera}-{local.strftime(_TIME)}{f'-{what}' if what else ''}"
    place = folder / camera / local.strftime("%Y-%m-%d")
    path, number = place / f"{stem}{suffix}", 1
    while path.exists():
        number += 1
        path = place / f"{stem}-{number}{suffix}"
    return path


def began_at(path: Path) -> datetime | None:
    """When a recording began, by its name; None for files that are not recordings."""
    matched = _NAME.fullmatch(path.name)
    if matched is None:
        return None
    try:
        return datetime.strptime(matched[1], _TIME)
    except ValueError:
        return None


def recordings_in(folder: Path) -> Iterator[Recording]:
    """All recordings in a folder; files of others are left out."""
    for path in folder.glob("*/*/*"):
        began = began_at(path) if _DAY.fullmatch(path.parent.name) else None
        if began is not None:
            try:
                size_bytes = path.stat().st_size
            except OSError:  # just deleted
                continue
            yield Recording(path, began, size_bytes)


def clip_at(folder: Path, camera: str, moment: datetime) -> Path | None:
    """The clip of a camera that shows a moment: the last that began before it, if it was written until then."""
    best: tuple[datetime, Path] | None = None
    for day in {moment.astimezone().date() - timedelta(days=back) for back in (0, 1)}:
        for path in (folder / camera / f"{day:%Y-%m-%d}").glob(f"*{CLIP_SUFFIX}"):
            began = began_at(path)
            if began is not None and began <= moment + timedelta(seconds=1) and (best is None or began > best[0]):
                best = began, path
    if best is None:
        return None
    try:
        written_until_s = best[1].stat().st_mtime
    except OSError:
        return None
    return best[1] if written_until_s + 1 >= moment.timestamp() else None

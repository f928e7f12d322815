"""Find the videos and images of an archive, and what their names say: the camera and the time of the start."""

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from mmpnet.contract.errors import SourceError, first_line
from mmpnet.contract.text import as_bytes, well_formed
from mmpnet.media.images import IMAGE_SUFFIXES, is_image
from mmpnet.runtime.sources.files import VIDEO_SUFFIXES
from mmpnet.system.addresses import check_no_secret, is_address, list_address
from mmpnet.system.files import is_folder, is_hidden

_TIME = re.compile(
    r"(?<!\d)(20\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])[-_.T ]?"
    r"([01]\d|2[0-3])[-_.:h]?([0-5]\d)(?:[-_.:m]?([0-5]\d))?"
)
"""A date and a time of day in a name, such as 2026-11-29_07-30-00 or 20261129T0730."""


class Recording(msgspec.Struct, frozen=True):
    """A video or an image: its path or address, what tells whether it has changed, and what its name says."""

    path: str
    size: int
    changed_ns: int
    camera: str
    started: datetime | None
    """Time of the first frame by the clock of the recorder, without a time zone; None if the name does not tell it."""

    @property
    def is_image(self) -> bool:
        """Whether it is one image."""
        return is_image(self.path)

    @property
    def is_address(self) -> bool:
        """Whether it is reached by an address, such as s3://bucket/door/video.mp4, and not as a file."""
        return is_address(self.path)

    @property
    def source(self) -> str:
        """Its name in the results."""
        return well_formed(self.path)

    @property
    def key(self) -> str:
        """A short name for its files, unique in the archive: the stem of its name and a hash of its path."""
        # Readers of Parquet folders pass over files whose names start with a dot or an underscore.
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(self.source).stem).lstrip("._-")[:80]
        return f"{stem or 'file'}-{hashlib.sha256(as_bytes(self.path)).hexdigest()[:10]}"


def find_recordings(patterns: Sequence[str], *, camera_pattern: str | None = None) -> list[Recording]:
    """All videos and images of files, folders, glob patterns and addresses, each once, in order of path.

    camera_pattern: a regular expression whose group is the name of the camera in a path; without it, the camera is the
    name of the folder that the file is in.

    Raises: SourceError if a pattern finds nothing, MissingExtraError if an address needs another package.
    """
    name_of = re.compile(camera_pattern) if camera_pattern else None
    found: dict[str, Recording] = {}
    for pattern in patterns:
        check_no_secret(pattern, error=SourceError)
        listed = list_address(pattern, error=SourceError) if is_address(pattern) else _files(pattern)
        before = len(found)
        for path, size, changed_ns in listed:
            if Path(path).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                found[path] = Recording(path, size, changed_ns, _camera(path, name_of), start_in_name(path))
        if len(found) == before and not any(True for path, *_ in listed if path in found):
            raise SourceError(f"{pattern}: has no video or image; expected .mp4, .mkv, .jpg, ... (** finds subfolders)")
    return [found[path] for path in sorted(found)]


def start_in_name(path: str) -> datetime | None:
    """The date and time in the name of a file, or in its folder and name; None if there is none."""
    parts = Path(path).with_suffix("").parts
    for text in (parts[-1], "_".join(parts[-2:])):
        stated = _TIME.search(text)
        if stated is not None:
            try:
                return datetime(*(int(one or 0) for one in stated.groups()))  # type: ignore[arg-type]
            except ValueError:  # the 31st of a month that has 30 days
                continue
    return None


def _camera(path: str, name_of: "re.Pattern[str] | None") -> str:
    if name_of is None:
        return well_formed(Path(path).absolute().parent.name) or "camera"
    found = name_of.search(path)
    if found is None:
        raise SourceError(
            f"{path}: --camera-pattern {name_of.pattern} finds no camera in this path; change the expression"
        )
    return well_formed(found[1] if name_of.groups else found[0])


def _files(pattern: str) -> list[tuple[str, int, int]]:
    if is_folder(Path(pattern)):
        below = ((path, path.relative_to(pattern).parts) for path in Path(pattern).rglob("*"))
        names: Iterable[str] = (str(path) for path, parts in below if not any(map(is_hidden, parts)))
    elif glob.has_magic(pattern) and not Path(pattern).is_file():
        names = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
    else:
        names = [pattern]
    found = []
    for name in names:
        try:
            facts = Path(name).stat()
        except (OSError, ValueError) as error:
            if name == pattern:
                raise SourceError(f"{pattern}: no such file, folder or pattern ({first_line(error)})") from error
            continue  # it was removed in the meantime, or is a link to nowhere
        if os.path.isfile(name):  # noqa: PTH113 - Path.is_file raises for invalid names
            found.append((name, facts.st_size, facts.st_mtime_ns))
    return found

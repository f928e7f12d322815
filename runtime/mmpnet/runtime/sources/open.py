"""Open a source: image and video files, folders, cameras, streams."""

import glob
import re
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmpnet.contract.errors import SourceError
from mmpnet.contract.text import counted, well_formed
from mmpnet.media.images import IMAGE_SUFFIXES
from mmpnet.runtime.sources.files import VIDEO_SUFFIXES, FileSource
from mmpnet.runtime.sources.frame import Source
from mmpnet.runtime.sources.live import LiveSource, camera_source, stream_source
from mmpnet.runtime.sources.options import DEFAULT_LIVE_OPTIONS, LiveOptions
from mmpnet.runtime.sources.redact import without_password
from mmpnet.system.files import is_file, is_folder, is_hidden

MOST_SUFFIXES = 6
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # two letters or more, as a drive has one
_STREAM = re.compile(r"(rtsps?|rtmps?|https?|udp|tcp|rtp|srt)://.+", re.IGNORECASE)


def open_source(
    text: str | int,
    *,
    name: str | None = None,
    stride: int = 1,
    loop: bool = False,
    live: LiveOptions = DEFAULT_LIVE_OPTIONS,
) -> Source:
    """Open a camera index or device, a stream's address, an image, a video, a folder of them, or a glob pattern.

    Files come in order of name, repeated if `loop`; only every `stride`-th frame is used. `name`: for messages and
    results, instead of the address or path.

    Raises: SourceError if there is nothing with frames. Cameras and streams are opened when their first frame is
    requested.
    """
    source = _opened(str(text).strip(), stride=stride, loop=loop, live=live)
    return source if name is None else replace(source, name=well_formed(name))


def _opened(text: str, *, stride: int, loop: bool, live: LiveOptions) -> FileSource | LiveSource:
    if text.isdecimal() and len(text) < 4:
        return camera_source(int(text), live, stride=stride)
    if _is_device(text):
        return camera_source(text, live, stride=stride)
    if _STREAM.fullmatch(text):
        return stream_source(text, live, stride=stride)
    if _ADDRESS.match(text):
        raise SourceError(
            f"{without_password(text)}: unknown kind of address; expected rtsp://, http://, https://, rtmp://, "
            "udp://, tcp://, rtp:// or srt://"
        )
    return _open_files(text, stride=stride, loop=loop)


def _open_files(text: str, *, stride: int, loop: bool) -> FileSource:
    path = Path(text)
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    if is_file(path):
        if path.suffix.lower() not in known:
            raise SourceError(
                f"{text}: {path.suffix or 'no suffix'} is not an image or video; expected .jpg, .png, .mp4, ..."
            )
        return FileSource((path,), many_files=False, name=well_formed(text), stride=stride, loop=loop)
    if text and is_folder(path):
        candidates = sorted(found for found in path.iterdir() if not is_hidden(found.name))
        where = f"{path}: the folder"
    elif glob.has_magic(text):
        found = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob refuses absolute patterns
        candidates, where = sorted(Path(name) for name in found), f"{text}: the pattern"
    else:
        raise SourceError(
            f"{text or '(empty)'}: no such file or folder; expected an image, a video, a folder, a glob pattern, "
            "a camera (0, /dev/video0) or a stream (rtsp://..., http://...)"
        )
    paths = tuple(found for found in candidates if is_file(found) and found.suffix.lower() in known)
    if not paths:
        raise SourceError(
            f"{where} has {counted(len(candidates), 'entry')}, but no image or video{_by_suffix(candidates)}; "
            "expected .jpg, .png, .mp4, ..."
        )
    left_out = [found for found in candidates if is_file(found) and found.suffix.lower() not in known]
    told = f"{where}: {len(paths)} of {len(candidates)} entries are images or videos; not used{_by_suffix(left_out)}"
    return FileSource(
        paths,
        many_files=True,
        name=well_formed(text),
        stride=stride,
        loop=loop,
        left_out=well_formed(told) if left_out else "",
    )


def _by_suffix(files: Sequence[Path]) -> str:
    """Number of these files by suffix, most frequent first, after a colon; empty if there are none."""
    counts = Counter(file.suffix.lower() or "no suffix" for file in files if is_file(file))
    listed = [f"{suffix} ({count})" for suffix, count in counts.most_common(MOST_SUFFIXES)]
    return f": {', '.join(listed)}{', ...' if len(counts) > MOST_SUFFIXES else ''}" if listed else ""


def _is_device(text: str) -> bool:
    try:
        return stat.S_ISCHR(Path(text).stat().st_mode)
    except (OSError, ValueError):
        # A missing device is reported when it is opened; /dev/shm is an ordinary folder.
        return text.startswith("/dev/") and not text.startswith("/dev/shm/")

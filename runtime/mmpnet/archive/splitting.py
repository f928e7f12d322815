"""Split long videos at key frames, without decoding them.

OpenCV reads the packets, as it also decodes the frames: both have the same positions to the last bit, which another
library need not have. A video whose packets look unusual in any way is not split.
"""

from itertools import pairwise
from pathlib import Path

import cv2

from mmpnet.archive.recordings import Recording
from mmpnet.archive.tasks import VideoPart
from mmpnet.contract.errors import SourceError
from mmpnet.runtime.sources.video_capture import openable_path, stated_fps

_RAW_PACKETS = [cv2.CAP_PROP_FORMAT, -1]


def stated_length_s(path: Path) -> float | None:
    """Length of a video in seconds as its header states it, which is an estimate; None if it states none."""
    try:
        capture = cv2.VideoCapture(openable_path(path))
    except SourceError:
        return None
    try:
        count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0.0
        return count / stated_fps(capture) if 0 < count < 1e9 else None
    finally:
        capture.release()


def split_video(video: Recording, part_s: float) -> tuple[VideoPart, ...]:
    """Parts of `part_s` seconds or longer, each from a key frame on; none if the video must be read as a whole."""
    positions_ms, keys_ms = _packets(Path(video.path))
    ordered = sorted(positions_ms)
    increasing = all(after > before for before, after in pairwise(ordered))
    if not increasing or not keys_ms or ordered[0] != keys_ms[0]:
        return ()
    starts = [keys_ms[0]]
    for key_ms in sorted(keys_ms):
        # The last part may be up to twice as long, so that no part is tiny.
        if key_ms - starts[-1] >= part_s * 1e3 and ordered[-1] - key_ms >= part_s * 1e3 / 2:
            starts.append(key_ms)
    if len(starts) == 1:
        return ()
    numbers = {position_ms: number for number, position_ms in enumerate(ordered)}
    firsts = [*(numbers[start_ms] for start_ms in starts), len(ordered)]
    return tuple(
        VideoPart(
            video=video,
            number=number,
            first_frame=firsts[number],
            frames=firsts[number + 1] - firsts[number],
            start_ms=start_ms,
            end_ms=starts[number + 1] if number + 1 < len(starts) else None,
        )
        for number, start_ms in enumerate(starts)
    )


def _packets(path: Path) -> tuple[list[float], list[float]]:
    """Positions in ms of all packets of the video, and of its key frames; both empty if they cannot be read."""
    positions_ms: list[float] = []
    keys_ms: list[float] = []
    capture = cv2.VideoCapture(openable_path(path), cv2.CAP_FFMPEG, _RAW_PACKETS)
    try:
        while capture.isOpened() and capture.grab():
            positions_ms.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)))
            if capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME):
                keys_ms.append(positions_ms[-1])
    finally:
        capture.release()
    return positions_ms, keys_ms

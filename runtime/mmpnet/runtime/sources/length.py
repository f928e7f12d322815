"""How many frames a source has, as far as its files state it."""

from collections.abc import Sequence
from pathlib import Path

import cv2

from mmpnet.contract.text import is_well_formed
from mmpnet.media.images import is_image

MOST_VIDEOS = 32
"""Each video must be opened to learn its length; more of them would delay the start of a run."""


def stated_frames(paths: Sequence[Path], *, stride: int = 1) -> int | None:
    """Number of frames that a run gets from these files; None if a file does not state it, or there are none.

    Containers only estimate their number of frames, so use it for a progress bar, not for a decision.
    """
    videos = [path for path in paths if not is_image(path)]
    if not paths or len(videos) > MOST_VIDEOS:
        return None
    total = len(paths) - len(videos)
    for path in videos:
        count = _stated(path)
        if count is None:
            return None
        total += -(-count // stride)
    return total


def _stated(path: Path) -> int | None:
    if not is_well_formed(str(path)):
        return None
    capture = cv2.VideoCapture(str(path.absolute()))
    try:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0.0
    finally:
        capture.release()
    return int(count) if 0 < count < 1e9 else None

"""Self-test of OpenCV's video decoder with a short interlaced video, which some versions decode wrongly.

OpenCV 4.13, 4.14 and 5.0 report success for interlaced frames that they did not convert. The image is then whatever
was in memory: nothing, the frame before, or a frame of another video.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files

import cv2

CLIP = "interlaced.mkv"
"""Four interlaced frames of 48x32 px, each of one gray value; written by tests/adversity/odd_videos.py."""
CLIP_GRAYS = (60, 120, 180, 240)
_WITHIN = 12


@cache
def decoder_fault() -> str | None:
    """What OpenCV does wrong with interlaced video, and what to do; None if it decodes it correctly."""
    grays: list[float] = []
    with as_file(files("mmpnet.media") / CLIP) as clip:
        capture = cv2.VideoCapture(str(clip.absolute()))
        while len(grays) <= len(CLIP_GRAYS):
            delivered, frame = capture.read()
            if not delivered:
                break
            grays.append(float(frame.mean()))
        capture.release()
    if are_grays_of_clip(grays):
        return None
    return (
        f"OpenCV {cv2.__version__} does not decode interlaced video; "
        "version 4.12 does: pip install 'opencv-python<4.13', or opencv-python-headless"
    )


def are_grays_of_clip(means: Sequence[float]) -> bool:
    """Whether the mean gray values of decoded frames are those of the clip."""
    return len(means) == len(CLIP_GRAYS) and all(
        abs(found - expected) <= _WITHIN for found, expected in zip(means, CLIP_GRAYS, strict=True)
    )

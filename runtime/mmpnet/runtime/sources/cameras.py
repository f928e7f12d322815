"""List the cameras of this machine with their stated and measured frame rates."""

import os
import re
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import msgspec

LOOK_S = 1.5
"""How long each camera is measured, in seconds."""
_INDICES_ELSEWHERE = range(4)
_DEVICES = Path("/dev")
_NO_RIGHT = "no permission to use it; add this user to its group (video)"
_BUSY = "cannot be opened; another program may use it, or it is not a capture device"


class CameraReport(msgspec.Struct, frozen=True, kw_only=True):
    """One camera: its stated mode, its measured rate, and the time to its first frame after opening.

    `fault` gives the reason if nothing could be measured.
    """

    index: int
    name: str
    width: int = 0
    height: int = 0
    stated_fps: float = 0.0
    measured_fps: float | None = None
    first_frame_ms: float | None = None
    fault: str | None = None


def probe_cameras(look_s: float = LOOK_S) -> list[CameraReport]:
    """Open every camera in turn and measure it."""
    return [_probe(index, name, look_s) for index, name in present_cameras()]


def present_cameras() -> list[tuple[int, str]]:
    """OpenCV index and name of each possible camera device; the first few indices on systems other than Linux."""
    if not sys.platform.startswith("linux"):
        return [(index, f"camera {index}") for index in _INDICES_ELSEWHERE]
    numbered = [(re.fullmatch(r"video(\d+)", device.name), device) for device in _DEVICES.glob("video*")]
    return sorted((int(match[1]), str(device)) for match, device in numbered if match)


def _probe(index: int, name: str, look_s: float) -> CameraReport:
    if Path(name).exists() and not os.access(name, os.R_OK | os.W_OK):
        return CameraReport(index=index, name=name, fault=_NO_RIGHT)
    asked = time.perf_counter()
    capture = cv2.VideoCapture(index)
    try:
        if not capture.isOpened():
            return CameraReport(index=index, name=name, fault=_BUSY)
        arrived: list[float] = []
        while not arrived or arrived[-1] - asked < look_s:
            delivered, _ = capture.read()
            if not delivered:
                break
            arrived.append(time.perf_counter())
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        stated_fps = capture.get(cv2.CAP_PROP_FPS)
    finally:
        capture.release()
    if not arrived:
        return CameraReport(index=index, name=name, fault="opens, but gives no frame")
    gaps = [later - earlier for earlier, later in pairwise(arrived)]
    return CameraReport(
        index=index,
        name=name,
        width=int(width),
        height=int(height),
        stated_fps=stated_fps,
        measured_fps=round(1 / max(statistics.median(gaps), 1e-6), 1) if gaps else None,
        first_frame_ms=round((arrived[0] - asked) * 1e3, 1),
    )


def why_no_camera(device: int | str) -> str:
    """Advice for a camera that cannot be opened."""
    if not sys.platform.startswith("linux"):
        return "check that it is connected and that this program may use it"
    path = Path(f"/dev/video{device}") if isinstance(device, int) else Path(device)
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return _NO_RIGHT
    present = [name for _, name in present_cameras()]
    if not present:
        return "this machine has no /dev/video* device; connect a camera, or give --source FILE"
    return f"found {', '.join(present)}; check the index, other programs that use it, and your permissions"

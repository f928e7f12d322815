"""Options of a live source, and the capture mode to request from a camera."""

import re
from dataclasses import dataclass

STALE_AFTER_S = 5.0
FIRST_FRAME_S = 30.0


@dataclass(frozen=True, slots=True)
class CameraMode:
    """The mode to request from a camera; None keeps the camera's value. fourcc is the pixel format, such as MJPG."""

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    fourcc: str | None = None

    def __post_init__(self) -> None:
        if self.fourcc is not None and not re.fullmatch(r"[ -~]{4}", self.fourcc):
            raise ValueError(f"fourcc is {self.fourcc!r}; expected four characters, such as MJPG or YUYV")


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How to treat a camera or stream.

    `reconnect` False: a failing source is an error. True: it is reopened again and again, after 0.5 s, then after twice
    as long each time, up to 30 s. None: the same, but only after its first frame, as an earlier failure may be a typo.

    A stream that sends nothing for `stale_after_s`, and for at least 5 s, is lost. Its first frame may take
    `first_frame_s`, as decoding starts at a key frame, and some cameras send one every 20 s.
    """

    mode: CameraMode = CameraMode()
    reconnect: bool | None = None
    stale_after_s: float = STALE_AFTER_S
    first_frame_s: float = FIRST_FRAME_S


DEFAULT_LIVE_OPTIONS = LiveOptions()

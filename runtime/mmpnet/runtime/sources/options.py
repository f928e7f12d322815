"""Options of a live source, and the capture mode that a camera is asked for."""

import re
from dataclasses import dataclass

STALE_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class CameraMode:
    """What to ask a camera for; None leaves a value to the camera. fourcc is its pixel format, such as MJPG."""

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

    `reconnect` False: a source that fails is an error. True: it is opened again and again, waiting 0.5 s, then twice as
    long each time up to 30 s. None: so too, but only once it has given a frame, as the first failure may be a typo.
    """

    mode: CameraMode = CameraMode()
    reconnect: bool | None = None
    stale_after_s: float = STALE_AFTER_S


DEFAULT_LIVE_OPTIONS = LiveOptions()

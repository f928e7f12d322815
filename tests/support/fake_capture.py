"""A replacement for a camera."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mmpnet.contract.arrays import UInt8Array


@dataclass
class FakeCapture:
    """Replaces cv2.VideoCapture: gives these frames, one every `period_s`, and then none.

    `frames` may be a function from the number of the grab to its frame. A frame that is None cannot be decoded. `modes`
    maps requested values to those that the camera sets.
    """

    frames: Sequence[UInt8Array | None] | Callable[[int], UInt8Array | None]
    opened: bool = True
    period_s: float = 0.0
    modes: dict[int, float] = field(default_factory=dict)
    asked: list[tuple[int, float]] = field(default_factory=list)
    grabs: int = 0
    retrieved: int = 0
    released: bool = False
    _now: UInt8Array | None = None

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.opened

    def set(self, prop: int, value: float) -> bool:
        self.asked.append((prop, value))
        self.modes.setdefault(prop, value)
        return True

    def get(self, prop: int) -> float:
        return self.modes.get(prop, 0.0)

    def grab(self) -> bool:
        time.sleep(self.period_s)
        if callable(self.frames):
            self._now = self.frames(self.grabs)
        elif self.grabs < len(self.frames):
            self._now = self.frames[self.grabs]
        else:
            return False
        self.grabs += 1
        return True

    def retrieve(self) -> tuple[bool, UInt8Array | None]:
        self.retrieved += 1
        return self._now is not None, self._now

    def release(self) -> None:
        self.released = True

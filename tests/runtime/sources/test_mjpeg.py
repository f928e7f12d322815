"""The newest image of an MJPEG stream is decoded, however long decoding takes, and no queue forms."""

import threading
import time

import cv2
import numpy as np
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.runtime.sources.live import LiveSource
from mmpnet.runtime.sources.mjpeg import MjpegCapture
from mmpnet.runtime.sources.options import LiveOptions


class Jpegs:
    """Replaces cv2.VideoCapture with CAP_PROP_FORMAT -1: JPEG i, of brightness i % 256, comes at i * `period_s`."""

    def __init__(self, count: int = 250, *, period_s: float = 0.005, damaged: frozenset[int] = frozenset()) -> None:
        self.count, self.period_s, self.damaged = count, period_s, damaged
        self.grabbed, self.released = 0, False
        self.began_s = time.perf_counter()

    def came_s(self, number: int) -> float:
        return self.began_s + number * self.period_s

    def get(self, prop: int) -> float:
        return {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_WIDTH: 32.0}.get(prop, -1.0)

    def grab(self) -> bool:
        assert not self.released
        if self.grabbed == self.count:
            return False
        time.sleep(max(self.came_s(self.grabbed) - time.perf_counter(), 0.0))
        self.grabbed += 1
        return True

    def retrieve(self) -> tuple[bool, UInt8Array]:
        content = cv2.imencode(".jpg", np.full((16, 32, 3), (self.grabbed - 1) % 256, np.uint8))[1]
        end = len(content) // 2 if self.grabbed - 1 in self.damaged else None
        return True, np.asarray(content, np.uint8).reshape(1, -1)[:, :end]

    def release(self) -> None:
        self.released = True


def number_of(pixels_bgr: UInt8Array) -> int:
    return round(float(pixels_bgr.mean()))


def test_a_slow_decoder_gets_fresh_images_and_says_how_many_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 images per second, 30 ms each: in a queue, the 20th would be half a second old."""
    imdecode = cv2.imdecode
    jpegs = Jpegs(10**6)
    decoding: list[tuple[int, float]] = []

    def slow(content: UInt8Array, flags: int) -> object:
        decoding.append((jpegs.grabbed, time.perf_counter()))
        time.sleep(0.03)
        return imdecode(content, flags)

    monkeypatch.setattr(cv2, "imdecode", slow)
    frames = LiveSource("x", lambda: MjpegCapture(jpegs), LiveOptions()).frames(threading.Event(), lambda _: None)
    asked, taken = [], []
    for _ in range(20):
        asked.append(jpegs.grabbed)
        taken.append(next(frames))
    grabbed_by_then = jpegs.grabbed
    frames.close()  # type: ignore[attr-defined]
    for grabbed_before, frame, (grabbed, decoding_s) in zip(asked, taken, decoding, strict=True):
        # The newest image at the time of the request, except for one in transit, or a newer one.
        oldest = grabbed_before - 2
        number = oldest + (number_of(frame.pixels_bgr) - oldest) % 256
        assert number < grabbed
        assert jpegs.came_s(number) <= frame.captured_s <= decoding_s
    # Two may not be counted yet: one in transit, and one that waits for the next request.
    assert decoding[-1][0] - 2 <= sum(frame.skipped for frame in taken) + len(taken) <= grabbed_by_then
    assert jpegs.released


def test_a_quick_decoder_gets_every_image_until_the_end() -> None:
    requested = threading.Semaphore(0)

    class Awaited(Jpegs):
        def grab(self) -> bool:
            # However slow the machine is, the decoder is quicker than a stream that waits for it.
            return (self.grabbed == self.count or requested.acquire(timeout=60)) and super().grab()

    capture = MjpegCapture(Awaited(12, damaged=frozenset({5})))
    seen = []
    requested.release()
    while capture.grab():
        delivered, pixels = capture.retrieve()
        seen.append(number_of(pixels) if delivered and pixels is not None else None)
        requested.release()
    assert seen == [0, 1, 2, 3, 4, None, *range(6, 12)], "a damaged one is said, and not shown in gray"
    assert capture.skipped() == 0
    assert not capture.grab()


def test_it_says_what_the_capture_stated() -> None:
    jpegs = Jpegs()
    capture = MjpegCapture(jpegs)
    assert capture.isOpened()
    assert (capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_WIDTH)) == (25.0, 32.0)
    capture.grab()
    came_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
    assert jpegs.began_s <= came_s <= time.perf_counter()
    capture.release()

"""MJPEG streams of the newest annotated frame of each source."""

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2

from mmpnet.contract.arrays import UInt8Array
from mmpnet.media.drawing import draw_warning
from mmpnet.runtime.pipeline.results import Result
from mmpnet.runtime.web.notifier import LINGER_S, TICK_S, Notifier

JPEG_QUALITY = 80
BOUNDARY = "frame"


@dataclass(slots=True, eq=False)
class MjpegFrame:
    """An annotated frame (H, W, 3) with its number and, once it is requested, its JPEG."""

    frame_bgr: UInt8Array
    number: int
    captured_s: float
    jpeg: asyncio.Future[bytes] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Its HTTP headers: its number, and the time since its capture."""
        age_ms = (time.perf_counter() - self.captured_s) * 1e3
        return {"X-Image-Number": str(self.number), "X-Frame-Age-Ms": f"{age_ms:.0f}"}


class MjpegFeed:
    """The images; `put` and `warn` are called by the run's thread, the coroutines by the server's.

    An image is copied only while a client watches its source, and encoded once for all clients. The stored image always
    belongs to the source's latest result; if that has none, there is none.
    """

    def __init__(self) -> None:
        self.notifier = Notifier()
        self.closed = False
        self._lock = threading.Lock()
        self._newest: dict[int, MjpegFrame | None] = {}
        self._wanted_until_s: dict[int, float] = {}
        self._numbers = itertools.count()
        self._encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jpeg")

    @property
    def wanted(self) -> bool:
        """Whether a client watches any source."""
        with self._lock:
            return max(self._wanted_until_s.values(), default=0.0) > time.perf_counter()

    def put(self, result: Result, annotated_bgr: UInt8Array | None) -> None:
        """Take a result's annotated frame, which may be overwritten afterwards."""
        frame = result.frame
        with self._lock:
            wanted = self._wanted_until_s.get(frame.stream, 0.0) > time.perf_counter()
        image = None
        if annotated_bgr is not None and wanted:
            image = MjpegFrame(annotated_bgr.copy(), next(self._numbers), frame.captured_s)
        self._replace(frame.stream, image)

    def warn(self, stream: int, text: str) -> None:
        """Draw a warning onto a source's image: clients keep showing it, so it must be marked as outdated."""
        with self._lock:
            last = self._newest.get(stream)
        if last is not None:
            frame_bgr = last.frame_bgr.copy()
            draw_warning(frame_bgr, text)
            self._replace(stream, MjpegFrame(frame_bgr, next(self._numbers), last.captured_s))

    def look(self, stream: int) -> MjpegFrame | None:
        """The newest image, if there is one; also requests further images."""
        with self._lock:
            self._wanted_until_s[stream] = time.perf_counter() + LINGER_S
            return self._newest.get(stream)

    async def other_than(self, seen: int | None, stream: int, timeout_s: float) -> MjpegFrame | None:
        """The newest image as soon as its number is not `seen`; None if there is none within `timeout_s`."""
        until_s = time.perf_counter() + timeout_s
        while not self.closed:
            image, now_s = self.look(stream), time.perf_counter()
            if image is not None and image.number != seen:
                return image
            if now_s >= until_s:
                break
            await self.notifier.wait(min(until_s - now_s, TICK_S))
        return None

    async def jpeg(self, image: MjpegFrame) -> bytes:
        """The image as JPEG, encoded outside the server's and the run's threads."""
        if image.jpeg is None:
            image.jpeg = asyncio.get_running_loop().run_in_executor(self._encoder, _encode, image.frame_bgr)
        return await asyncio.shield(image.jpeg)  # a client that disconnects must not cancel it for others

    async def parts(self, stream: int) -> AsyncIterator[bytes]:
        """The images of one source as parts of a multipart body, while the client reads."""
        seen = None
        yield f"--{BOUNDARY}\r\n".encode()
        while not self.closed:
            # The server waits here until the client has taken the last image; only then the next image is chosen.
            yield b""
            image = await self.other_than(seen, stream, TICK_S)
            if image is not None:
                seen = image.number
                jpeg = await self.jpeg(image)
                head = {"Content-Type": "image/jpeg", "Content-Length": str(len(jpeg)), **image.headers}
                lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                # Browsers show a part when its boundary arrives, so it is sent at once, not with the next part.
                yield b"%s\r\n%s\r\n--%s\r\n" % (lines.encode(), jpeg, BOUNDARY.encode())

    def _replace(self, stream: int, image: MjpegFrame | None) -> None:
        with self._lock:
            self._newest[stream] = image
        if image is not None:
            self.notifier.notify()

    def end(self) -> None:
        """End all coroutines."""
        self.closed = True
        self.notifier.notify()

    def close(self) -> None:
        """Free resources, after all coroutines have ended."""
        self._encoder.shutdown(cancel_futures=True)


def _encode(frame_bgr: UInt8Array) -> bytes:
    encoded, jpeg = cv2.imencode(".jpg", frame_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert encoded, "OpenCV writes JPEG"
    return jpeg.tobytes()

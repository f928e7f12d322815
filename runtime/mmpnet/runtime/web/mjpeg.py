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
    """An annotated frame (H, W, 3) with a number of its own and, once somebody asked for it, its JPEG."""

    frame_bgr: UInt8Array
    number: int
    captured_s: float
    jpeg: asyncio.Future[bytes] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What HTTP says about it: its number, and the time since it was captured."""
        age_ms = (time.perf_counter() - self.captured_s) * 1e3
        return {"X-Image-Number": str(self.number), "X-Frame-Age-Ms": f"{age_ms:.0f}"}


class MjpegFeed:
    """The images; `put` and `warn` belong to the run's thread, the coroutines to the server's.

    An image is copied only while somebody looks at its source, and encoded once, however many look. The one that is
    kept is always of the source's latest result: there is none rather than an older one.
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
        """Whether anybody looks at any source."""
        with self._lock:
            return max(self._wanted_until_s.values(), default=0.0) > time.perf_counter()

    def put(self, result: Result, annotated_bgr: UInt8Array | None) -> None:
        """Take a result's annotated frame, which may be painted over afterwards."""
        frame = result.frame
        with self._lock:
            wanted = self._wanted_until_s.get(frame.stream, 0.0) > time.perf_counter()
        image = None
        if annotated_bgr is not None and wanted:
            image = MjpegFrame(annotated_bgr.copy(), next(self._numbers), frame.captured_s)
        self._replace(frame.stream, image)

    def warn(self, stream: int, text: str) -> None:
        """Paint a warning over a source's image: it stays on screens, and must not look like the present."""
        with self._lock:
            last = self._newest.get(stream)
        if last is not None:
            frame_bgr = last.frame_bgr.copy()
            draw_warning(frame_bgr, text)
            self._replace(stream, MjpegFrame(frame_bgr, next(self._numbers), last.captured_s))

    def look(self, stream: int) -> MjpegFrame | None:
        """The newest image, if there is one; ask for the next ones to be drawn."""
        with self._lock:
            self._wanted_until_s[stream] = time.perf_counter() + LINGER_S
            return self._newest.get(stream)

    async def other_than(self, seen: int | None, stream: int, timeout_s: float) -> MjpegFrame | None:
        """The newest image as soon as it is not number `seen`, or None where none is drawn for so long."""
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
        """The image as JPEG, encoded beside the server's and the run's threads."""
        if image.jpeg is None:
            image.jpeg = asyncio.get_running_loop().run_in_executor(self._encoder, _encode, image.frame_bgr)
        return await asyncio.shield(image.jpeg)  # a client that goes away must not take it from the others

    async def parts(self, stream: int) -> AsyncIterator[bytes]:
        """One source's images as the parts of a multipart body, for as long as it is read."""
        seen = None
        yield f"--{BOUNDARY}\r\n".encode()
        while not self.closed:
            # The server holds this until the client has taken the last image: the next is chosen then, not before.
            yield b""
            image = await self.other_than(seen, stream, TICK_S)
            if image is not None:
                seen = image.number
                jpeg = await self.jpeg(image)
                head = {"Content-Type": "image/jpeg", "Content-Length": str(len(jpeg)), **image.headers}
                lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                # Browsers show a part once they see its end, so that the boundary comes at once, not with the next.
                yield b"%s\r\n%s\r\n--%s\r\n" % (lines.encode(), jpeg, BOUNDARY.encode())

    def _replace(self, stream: int, image: MjpegFrame | None) -> None:
        with self._lock:
            self._newest[stream] = image
        if image is not None:
            self.notifier.notify()

    def end(self) -> None:
        """Let every coroutine end."""
        self.closed = True
        self.notifier.notify()

    def close(self) -> None:
        """Once no coroutine is left."""
        self._encoder.shutdown(cancel_futures=True)


def _encode(frame_bgr: UInt8Array) -> bytes:
    encoded, jpeg = cv2.imencode(".jpg", frame_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert encoded, "OpenCV writes JPEG"
    return jpeg.tobytes()

"""A real RTSP server: GStreamer's, from Debian's packages, with frames that show when they were made."""

import functools
import os
import subprocess
import threading
from pathlib import Path
from types import TracebackType

import pytest

from mmpnet.contract.arrays import UInt8Array
from support.ports import free_port
from support.rtsp_server_process import BIT_PX, CLOCK_BITS

PYTHON = "/usr/bin/python3"
"""The system's Python, for which Debian packages GStreamer's bindings."""
PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-ugly gstreamer1.0-plugins-bad"
)
_NEEDED = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
    "Gst.init(None); assert all(map(Gst.ElementFactory.find, ('x264enc', 'jpegenc', 'rtph264pay', 'appsrc')))"
)


@functools.cache
def _is_installed() -> bool:
    return Path(PYTHON).exists() and not subprocess.run([PYTHON, "-c", _NEEDED], capture_output=True).returncode


def require_rtsp_server() -> None:
    """Skip the test where GStreamer's server is not installed; in CI, where it must be, fail."""
    if not _is_installed():
        advice = f"apt-get install {PACKAGES}"
        pytest.fail(f"CI must run this test: {advice}") if os.environ.get("CI") else pytest.skip(advice)


def clock_of(pixels_bgr: UInt8Array) -> float:
    """The time.perf_counter() at which a frame of the server was made; on Linux, all processes have the same."""
    rows = pixels_bgr[pixels_bgr.shape[0] // 3 : 2 * pixels_bgr.shape[0] // 3]
    means = [float(rows[:, bit * BIT_PX + 2 : (bit + 1) * BIT_PX - 2].mean()) for bit in range(CLOCK_BITS)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 120) / 1e6


class RtspCamera:
    """A server in a process of its own that can be stopped and started again at the same port.

    `options` are those of `rtsp_server_process`.
    """

    def __init__(self, *options: object) -> None:
        require_rtsp_server()
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "RtspCamera":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def address(self, path: str = "live", login: str = "") -> str:
        return f"rtsp://{login}{'@' if login else ''}127.0.0.1:{self.port}/{path}"

    def start(self) -> None:
        command = [PYTHON, Path(__file__).with_name("rtsp_server_process.py"), "--port", self.port, *self._options]
        self._process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        too_long = threading.Timer(60, self._process.kill)
        too_long.start()
        assert self._process.stdout is not None
        told = self._process.stdout.readline().strip()
        too_long.cancel()
        assert told == str(self.port), f"the server listens at {told!r}"

    def stop(self) -> None:
        """Kill it, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

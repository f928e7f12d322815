"""The system's shared libraries that OpenCV's wheel with windows needs; run as a script, prints those that are missing.

The Makefile runs this file before anything is installed: it imports nothing but Python's own library.
"""

import ctypes
import sys

WINDOW_LIBRARIES = (
    "libxcb.so.1",
    "libGL.so.1",
    "libglib-2.0.so.0",
    "libgthread-2.0.so.0",
    "libX11.so.6",
    "libXext.so.6",
    "libSM.so.6",
    "libICE.so.6",
)
"""As opencv-python 5.0.0 links them on Linux; opencv-python-headless needs none of them."""


def missing_window_libraries() -> list[str]:
    """Those that this machine cannot load; none elsewhere than on Linux, where the wheel brings its own."""
    return [name for name in WINDOW_LIBRARIES if not _loads(name)] if sys.platform.startswith("linux") else []


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.stdout.write(" ".join(missing_window_libraries()) + "\n")

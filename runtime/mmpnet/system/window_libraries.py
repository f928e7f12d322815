"""The system's shared libraries that OpenCV with windows needs; as a script, prints those that are missing.

The Makefile runs this file before anything is installed, so it imports only the standard library.
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
"""Those that opencv-python 5.0.0 links on Linux; opencv-python-headless needs none of them."""


def missing_window_libraries() -> list[str]:
    """Libraries that this machine cannot load; empty on systems other than Linux, where the wheel brings its own."""
    return [name for name in WINDOW_LIBRARIES if not _loads(name)] if sys.platform.startswith("linux") else []


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.stdout.write(" ".join(missing_window_libraries()) + "\n")

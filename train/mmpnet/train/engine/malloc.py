"""Settings of the C allocator that make CPU steps faster."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt, as in its malloc.h."""
_NEVER = -1
_GROWTH_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Keep freed memory for the next step instead of returning it to the system; returns False where glibc is not used.

    Every feature map of a step has tens of megabytes, which glibc requests from the system and returns each time. The
    system clears each page again, which takes longer than many layers (benchmarks/allocator.py). With this setting the
    process keeps as much memory as it has ever used.
    """
    # On Windows the process itself cannot be opened as a library.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:
        return False
    return all(mallopt(*setting) for setting in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _GROWTH_BYTES)))

"""Settings of the C allocator that make CPU steps faster."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt, as in its malloc.h."""
_NEVER = -1
_GROWTH_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Have freed memory kept for the next step, instead of returned to the system; False where glibc is not used.

    Every map of a step is tens of megabytes, which glibc takes from the system and gives back each time; the system
    clears every page of it anew, which costs more than many a layer (benchmarks/allocator.py). The process then holds
    on to its largest use.
    """
    # Windows has no library of the process itself to look in.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is None:
        return False
    return all(mallopt(*setting) for setting in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _GROWTH_BYTES)))

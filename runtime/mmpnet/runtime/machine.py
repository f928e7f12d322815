"""What numbers were measured on."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

_INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX int8",
    "asimd": "NEON",
    "neon": "NEON",
    "asimddp": "NEON dot product",
    "i8mm": "NEON int8 matrix product",
}
"""Those that decide how fast a network runs, by their names in /proc/cpuinfo."""
_CPU_INFO = Path("/proc/cpuinfo")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cpu_name() -> str:
    """The processor's model name, as far as the system tells it."""
    return next(_fields("model name"), platform.processor() or platform.machine())


def instruction_sets() -> tuple[str, ...]:
    """The processor's, as far as they matter here; empty where the system does not tell."""
    flags = set(next(_fields("flags", "Features"), "").split())
    return tuple(dict.fromkeys(name for flag, name in _INSTRUCTION_SETS.items() if flag in flags))


def usable_cores() -> float:
    """How many cores this process may keep busy: its affinity and its container's quota are in it."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
    quota, _, period = (_CPU_QUOTA.read_text() if _CPU_QUOTA.exists() else "max").strip().partition(" ")
    return cores if quota == "max" or not period else min(cores, int(quota) / int(period))


def _fields(*names: str) -> Iterator[str]:
    """The values of these fields of /proc/cpuinfo."""
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return (value.strip() for name, value in pairs if name.strip() in names)

"""Facts about this machine: processor, cores, memory, load."""

import os
import platform
import sys
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
_SYSFS = Path("/sys")
_STATUS = Path("/proc/self/status")
_CPU_SENSORS = ("cpu", "x86_pkg", "coretemp", "k10temp", "soc")
"""In the names of the sensors that sit in a processor."""


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


def frequency_governor() -> str | None:
    """Who decides how fast the processor's clock runs, such as `performance`; None where the system does not tell."""
    return _read(_SYSFS / "devices/system/cpu/cpu0/cpufreq/scaling_governor") or None


def load_average() -> float | None:
    """How many programs were ready to run, over the last minute; None where the system does not tell."""
    average = getattr(os, "getloadavg", None)
    return None if average is None else float(average()[0])


def temperature_c() -> float | None:
    """The hottest of the processor's sensors, in degrees Celsius; None where the system shows none."""
    zones = [(zone / "type", zone / "temp") for zone in _SYSFS.glob("class/thermal/thermal_zone*")]
    chips = [(sensor.with_name("name"), sensor) for sensor in _SYSFS.glob("class/hwmon/hwmon*/temp*_input")]
    inside = (value for name, value in zones + chips if any(part in _read(name).lower() for part in _CPU_SENSORS))
    return max((int(text) / 1000 for value in inside if (text := _read(value)).isdecimal()), default=None)


def throttle_count() -> int | None:
    """How often the cores have been slowed down for their heat since the start; None where the system does not tell."""
    counts = [_read(path) for path in _SYSFS.glob("devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")]
    return sum(map(int, filter(str.isdecimal, counts))) if counts else None


def peak_memory_mb() -> float | None:
    """The most memory that this process has held, in MB; None where the system does not tell."""
    if sys.platform == "darwin":  # on Linux this number begins with the peak of the process that started this one
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return _own_memory_mb("VmHWM")


def resident_memory_mb() -> float | None:
    """The memory that this process holds now, in MB; None where the system does not tell."""
    return _own_memory_mb("VmRSS")


def _own_memory_mb(field: str) -> float | None:
    for line in _read(_STATUS).splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _read(path: Path) -> str:
    """What a file of the system says; empty where it is absent or silent."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _fields(*names: str) -> Iterator[str]:
    """The values of these fields of /proc/cpuinfo."""
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return (value.strip() for name, value in pairs if name.strip() in names)

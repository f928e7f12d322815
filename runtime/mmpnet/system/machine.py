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
"""Names in /proc/cpuinfo of the instruction sets that determine how fast a network runs."""
_ARM_CORES = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}
"""Part numbers of Arm's own cores in /proc/cpuinfo, which has no model name on Arm."""
_ARM = "0x41"
_BOARD = Path("/proc/device-tree/model")
_CPU_INFO = Path("/proc/cpuinfo")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_SYSFS = Path("/sys")
_STATUS = Path("/proc/self/status")
_CPU_SENSORS = ("cpu", "x86_pkg", "coretemp", "k10temp", "soc")
"""Parts of the names of temperature sensors that measure a processor."""


def cpu_name() -> str:
    """The processor's model name, or on Arm the board and its cores, or the architecture if nothing is reported."""
    arm = ", ".join(part for part in (_board(), _arm_cores()) if part)
    return next(_fields("model name"), arm or platform.processor() or platform.machine())


def _board() -> str:
    """The name of a single-board computer, such as `Raspberry Pi 4 Model B Rev 1.4`; empty if there is none."""
    return _read(_BOARD).rstrip("\0")


def _arm_cores() -> str:
    """The kinds of Arm cores and how many there are of each; empty on other processors."""
    cores = zip(_fields("CPU implementer"), _fields("CPU part"), strict=False)
    names = [_ARM_CORES.get(part, f"Arm part {part}") for maker, part in cores if maker == _ARM]
    return " + ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))


def instruction_sets() -> tuple[str, ...]:
    """The processor's instruction sets that matter here; empty if the system does not report them."""
    flags = set(next(_fields("flags", "Features"), "").split())
    return tuple(dict.fromkeys(name for flag, name in _INSTRUCTION_SETS.items() if flag in flags))


def usable_cores() -> float:
    """How many cores this process may use, according to its affinity and its container's CPU quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity is not None else os.cpu_count() or 1)
    quota, _, period = (_CPU_QUOTA.read_text() if _CPU_QUOTA.exists() else "max").strip().partition(" ")
    return cores if quota == "max" or not period else min(cores, int(quota) / int(period))


def whole_cores() -> int:
    """usable_cores, rounded down, and at least 1: how many threads or processes fit."""
    return max(int(usable_cores()), 1)


def frequency_governor() -> str | None:
    """The policy that sets the processor's clock, such as `performance`; None if the system does not report it."""
    return _read(_SYSFS / "devices/system/cpu/cpu0/cpufreq/scaling_governor") or None


def load_average() -> float | None:
    """Mean number of runnable programs over the last minute; None if the system does not report it."""
    average = getattr(os, "getloadavg", None)
    return None if average is None else float(average()[0])


def temperature_c() -> float | None:
    """The hottest processor sensor, in degrees Celsius; None if there is none."""
    zones = [(zone / "type", zone / "temp") for zone in _SYSFS.glob("class/thermal/thermal_zone*")]
    chips = [(sensor.with_name("name"), sensor) for sensor in _SYSFS.glob("class/hwmon/hwmon*/temp*_input")]
    inside = (value for name, value in zones + chips if any(part in _read(name).lower() for part in _CPU_SENSORS))
    return max((int(text) / 1000 for value in inside if (text := _read(value)).isdecimal()), default=None)


def throttle_count() -> int | None:
    """How often heat slowed the cores down since the system started; None if the system does not report it."""
    counts = [_read(path) for path in _SYSFS.glob("devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")]
    return sum(map(int, filter(str.isdecimal, counts))) if counts else None


def peak_memory_mb() -> float | None:
    """Peak memory of this process, in MB; None if the system does not report it."""
    if sys.platform == "darwin":  # on Linux ru_maxrss starts with the peak of the parent process
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return _own_memory_mb("VmHWM")


def resident_memory_mb() -> float | None:
    """Current memory of this process, in MB; None if the system does not report it."""
    return _own_memory_mb("VmRSS")


def _own_memory_mb(field: str) -> float | None:
    for line in _read(_STATUS).splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _read(path: Path) -> str:
    """Content of a system file; empty if the file is absent or unreadable."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _fields(*names: str) -> Iterator[str]:
    """Values of these fields of /proc/cpuinfo."""
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return (value.strip() for name, value in pairs if name.strip() in names)

"""Select and check the device; a requested device that does not work is an error."""

import re

import torch

from mmpnet.contract.errors import DeviceError
from mmpnet.system.machine import whole_cores


def resolve_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is the first CUDA device, or the CPU if there is none.

    Raises: DeviceError if the device is not supported or absent.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise DeviceError(f"device {name!r} is not supported; expected auto, cpu, cuda or cuda:N")
    # The index is checked here, because torch keeps it in one byte: cuda:256 would be cuda:0.
    index, count = int(match[1] or 0), torch.cuda.device_count()
    if index >= count:
        raise DeviceError(
            f"device {name} was asked for, torch {torch.__version__} sees {count} CUDA devices; "
            "use --device cpu, or install a driver and a CUDA build of torch"
        )
    return torch.device("cuda", index)


def limit_threads() -> None:
    """Give torch no more threads than this process may use cores: it follows the affinity, but no container's limit."""
    torch.set_num_threads(min(torch.get_num_threads(), whole_cores()))


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes bfloat16 in hardware, so that autocast pays."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch has no public function for this, and older versions do not have every private one.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(check()) for check in checks if check is not None)

"""How many workers a cluster takes, which of them have a GPU, and the execution provider of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmpnet.contract.errors import DeviceError
from mmpnet.contract.text import counted
from mmpnet.runtime.inference.providers import Provider

GPU_PROVIDERS: tuple[Provider, ...] = ("cuda", "tensorrt")


@dataclass(frozen=True, slots=True)
class Placement:
    """workers: number of processes. notes: lines for people about machines and GPUs that are not used."""

    workers: int
    notes: tuple[str, ...] = ()


def worker_provider(requested: Provider, *, gpus: float) -> Provider:
    """The provider that all workers use; gpus: the share of a GPU that each of them takes.

    It depends on the options alone. With `auto`, a worker would use a GPU that another worker counts on, and rows of
    two providers would be mixed.

    Raises: DeviceError if the options contradict one another.
    """
    if gpus > 1 and gpus != int(gpus):
        raise DeviceError(f"--gpus {gpus:g}: a worker takes a part of one GPU, or a whole number; give 1 or less")
    if gpus == 0:
        if requested in GPU_PROVIDERS:
            raise DeviceError(
                f"--provider {requested} needs --gpus, the share of a GPU for each worker; --gpus 0.25 lets four of "
                "them use one"
            )
        return "cpu" if requested == "auto" else requested
    if requested == "auto":
        return "cuda"
    if requested not in GPU_PROVIDERS:
        raise DeviceError(f"--gpus {gpus:g}: --provider {requested} uses no GPU; leave one of the two out")
    return requested


def place_workers(
    machines: Iterable[Mapping[str, Any]], *, workers: int, threads: int, gpus: float, at: str
) -> Placement:
    """Where workers fit; machines: what Ray says of its nodes. workers: most of them, 0 for as many as fit.

    Raises: DeviceError if no worker fits, for which Ray would wait forever.
    """
    resources = [one["Resources"] for one in machines if one["Alive"]]
    fit = [_fitting(one, threads=threads, gpus=gpus) for one in resources]
    if not any(fit):
        if gpus and not any(one.get("GPU", 0) for one in resources):
            raise DeviceError(f"--gpus {gpus:g}: Ray finds no GPU {at}; leave --gpus out to use processors")
        raise DeviceError(
            f"Ray finds no machine {at} with {counted(threads, 'core')} and {gpus:g} GPUs for a worker; lower "
            "--threads or --gpus"
        )
    notes = []
    unused = sum(one.get("GPU", 0) for one in resources)
    if gpus == 0 and unused:
        notes.append(f"note: Ray has {counted(int(unused), 'GPU')}, which no worker uses; --gpus gives each a share")
    idle = sum(1 for one, count in zip(resources, fit, strict=True) if not count and one.get("CPU", 0) >= threads)
    if gpus and idle:
        notes.append(f"note: {counted(idle, 'machine')} without a GPU: no worker")
    return Placement(min(workers or sum(fit), sum(fit)), tuple(notes))


def _fitting(resources: Mapping[str, float], *, threads: int, gpus: float) -> int:
    """Number of workers that fit on one machine."""
    by_cores = int(resources.get("CPU", 0)) // threads
    if gpus == 0:
        return by_cores
    count = int(resources.get("GPU", 0))
    # Ray gives a part of a GPU only from one GPU.
    by_gpus = count * int(1 / gpus + 1e-9) if gpus <= 1 else count // int(gpus)
    return min(by_cores, by_gpus)

"""A detector that says it uses CUDA, in a worker to which Ray gave a share of a GPU. Workers import it by its name."""

import os
from pathlib import Path
from typing import Any

from mmpnet.contract.errors import DeviceError
from mmpnet.runtime.inference.detector import Detector


def pretended_cuda(path: Path, *, provider: str, **options: Any) -> Detector:
    """A detector on the processor that says it uses CUDA. Raises: DeviceError if Ray gave this worker no GPU."""
    from mmpnet.system.ray_runtime import ray

    given = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    if provider != "cuda" or given != ["0"] or os.environ.get("CUDA_VISIBLE_DEVICES") != "0":
        raise DeviceError(f"provider {provider}, GPUs {given}, {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    detector = Detector(path, provider="cpu", **options)
    detector.provider = "cuda"
    return detector

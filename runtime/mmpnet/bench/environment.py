"""The machine, the library versions and the model file of a benchmark."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from mmpnet.bench.profile.layer_costs import read_layers
from mmpnet.contract.errors import ContractError
from mmpnet.runtime.inference.model_file import read_model_file
from mmpnet.system.machine import (
    cpu_name,
    frequency_governor,
    instruction_sets,
    load_average,
    temperature_c,
    throttle_count,
    usable_cores,
)
from mmpnet.system.onnx_runtime import onnxruntime


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The processor, and how many of its cores this process may use; reports of equal machines are comparable."""

    cpu: str
    instruction_sets: tuple[str, ...]
    usable_cores: float

    def __str__(self) -> str:
        instructions = ", ".join(self.instruction_sets) or "instruction sets unknown"
        return f"{self.cpu}, {instructions}, usable cores {self.usable_cores:g}"


class LibraryVersions(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of the packages that a detection uses."""

    mmpnet: str
    onnxruntime: str
    opencv: str
    numpy: str
    python: str


class MachineConditions(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the machine, None if the system does not report it; throttle_count is since the system started."""

    load_average: float | None
    temperature_c: float | None
    throttle_count: int | None
    governor: str | None


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A model file; parameters and multiply-adds are None if its layers cannot be counted."""

    file: str
    sha256: str
    size_bytes: int
    input_shape: tuple[int | str | None, ...]
    parameters: int | None
    multiply_adds: int | None


def machine_facts() -> MachineFacts:
    """Facts about this machine."""
    return MachineFacts(cpu=cpu_name(), instruction_sets=instruction_sets(), usable_cores=usable_cores())


def installed_versions() -> LibraryVersions:
    """The installed versions."""
    return LibraryVersions(
        mmpnet=version("mmpnet"),
        onnxruntime=onnxruntime.__version__,
        opencv=cv2.__version__,
        numpy=np.__version__,
        python=platform.python_version(),
    )


def current_conditions() -> MachineConditions:
    """The current state of this machine."""
    load = load_average()
    return MachineConditions(
        load_average=None if load is None else round(load, 2),
        temperature_c=temperature_c(),
        throttle_count=throttle_count(),
        governor=frequency_governor(),
    )


def model_facts(path: Path) -> ModelFacts:
    """Facts about a model file. Raises: ContractError if it is missing or not a model."""
    file = read_model_file(path)
    try:
        layers = read_layers(path)
    except ContractError:
        layers = None
    return ModelFacts(
        file=path.name,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        input_shape=file.inputs[0].shape,
        parameters=None if layers is None else sum(layer.parameters for layer in layers),
        multiply_adds=None if layers is None else sum(layer.multiply_adds for layer in layers),
    )


def machine_document(packages: Sequence[str] = ()) -> dict[str, Any]:
    """The machine, its load and the versions as one flat JSON object; `packages` names further installed packages."""
    further = {name: version(name) for name in packages}
    load = {"load_1min": current_conditions().load_average}
    return {**msgspec.to_builtins(machine_facts()), **load, **msgspec.to_builtins(installed_versions()), **further}

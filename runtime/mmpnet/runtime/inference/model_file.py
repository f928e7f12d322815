"""Read the inputs, outputs and metadata of a model file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mmpnet.contract.errors import ContractError
from mmpnet.contract.metadata import METADATA_KEY, ModelMetadata, metadata_from_properties
from mmpnet.contract.text import counted
from mmpnet.runtime.inference.session import open_session, read_properties
from mmpnet.system.files import file_sha256


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output. Free dimensions are names, or None if they have no name."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        sides = "x".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {sides} {self.type.removeprefix('tensor(').removesuffix(')')}"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One ONNX file; `metadata` is None if mmp-export did not write it, `properties` are all metadata keys."""

    path: Path
    size_bytes: int
    sha256: str
    producer: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    properties: dict[str, str]
    metadata: ModelMetadata | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "producer": self.producer,
            "inputs": msgspec.to_builtins(self.inputs),
            "outputs": msgspec.to_builtins(self.outputs),
            "properties": {key: value for key, value in self.properties.items() if key != METADATA_KEY},
            "metadata": msgspec.to_builtins(self.metadata),
        }


def read_model_file(path: Path) -> ModelFile:
    """Open a file on the CPU and read its description.

    Raises: ContractError if the file is missing, not a model, or its mmpnet metadata is damaged or of another schema.
    """
    session = open_session(path, provider="cpu")
    about = session.get_modelmeta()
    properties = read_properties(session, source=str(path))
    ours = METADATA_KEY in properties
    try:
        sha256 = file_sha256(path)
        size_bytes = path.stat().st_size
    except OSError as error:
        raise ContractError(f"{path}: cannot be read ({error.strerror}); expected an ONNX file") from error
    return ModelFile(
        path=path,
        size_bytes=size_bytes,
        sha256=sha256,
        producer=about.producer_name,
        inputs=tuple(Port(port.name, port.type, tuple(port.shape)) for port in session.get_inputs()),
        outputs=tuple(Port(port.name, port.type, tuple(port.shape)) for port in session.get_outputs()),
        properties=properties,
        metadata=metadata_from_properties(properties, source=str(path)) if ours else None,
    )


def summary_rows(file: ModelFile, metadata: ModelMetadata) -> Iterator[tuple[str, str]]:
    """What a user asks about a file first, as (name, value) lines; `rows` has everything."""
    described, licenses, needed = metadata.input, metadata.licences, metadata.minimum_runtime
    height_px, width_px = described.size_hw
    kept = f"conf {metadata.default_conf:g}, iou {metadata.default_iou:g}, max-det {metadata.default_max_det}"
    size = f"{file.size_bytes / 1e6:.1f} MB, {metadata.precision}"
    yield "file", f"{file.path.name}, {size}, ONNX Runtime {needed.onnxruntime} or newer"
    yield "finds", f"{', '.join(metadata.class_names[1:])}; by default {kept}"
    pixels = f"{described.dtype} {described.channel_order}"
    yield "input", f"{height_px}x{width_px} px (height x width), letterboxed, {pixels}"
    yield "outputs", ", ".join(map(str, file.outputs))
    yield "accuracy", _accuracy(metadata)
    learned = counted(metadata.training.train_images, "image")
    yield "licenses", f"code {licenses.code}; weights {licenses.weights}; data ({learned}) {licenses.data}"
    yield "sha256", file.sha256


def _accuracy(metadata: ModelMetadata) -> str:
    """The accuracy that the file states, measured by itself or by its checkpoint."""
    stated, proof = metadata.evaluation, metadata.proof
    measured = proof.accuracy if proof is not None else None
    if metadata.quantization is not None:
        measured = metadata.quantization.accuracy
    if measured is not None:
        file = measured.file
        return f"AP50 {file.AP50:.3f}, AP {file.AP:.3f} on {counted(measured.n_images, 'image')} of {measured.dataset}"
    if stated is None or stated.AP50 is None or stated.AP is None:
        return "not stated"
    images = f"{counted(stated.n_images, 'image')} of {stated.dataset}"
    return f"AP50 {stated.AP50:.3f}, AP {stated.AP:.3f} on {images}, before the export"


def rows(file: ModelFile) -> Iterator[tuple[str, str]]:
    """The description as (name, value) lines; metadata has dotted names."""
    yield "file", f"{file.path.name}, {file.size_bytes / 1e6:.1f} MB"
    yield "sha256", file.sha256
    yield "written by", file.producer or "not stated"
    for port in file.inputs:
        yield "input", str(port)
    for port in file.outputs:
        yield "output", str(port)
    if file.metadata is not None:
        yield from _flat("", msgspec.to_builtins(file.metadata))
        return
    yield from file.properties.items()


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, item)
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _flat(f"{prefix}[{index}]", item)
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(map(_text, value))
    else:
        yield prefix, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

"""What a shape of the network costs: exported with random weights, quantized, and timed beside the others."""

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.script import progress_named
from harness.shapes.candidates import ShapeCandidate
from mmpnet.bench.interleaved import take_turns, timed_ms
from mmpnet.bench.profile.layer_costs import read_layers
from mmpnet.export.onnx_runtime_tools import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)
from mmpnet.runtime.inference.session import open_session
from mmpnet.train.model import MmpNet


class NoiseReader(CalibrationDataReader):  # type: ignore[misc]
    """A few random images: the calibrated ranges hardly change the time."""

    def __init__(self, side_px: int) -> None:
        random = np.random.default_rng(0)
        self._batches = iter([random.standard_normal((1, 3, side_px, side_px)).astype(np.float32) for _ in range(4)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


@dataclass(frozen=True, slots=True)
class ExportedShape:
    """A candidate in both precisions, one thread each: its sessions, its input, its counts."""

    name: str
    multiply_adds: int
    parameters: int
    images: NDArray[np.float32]
    fp32: Any
    int8: Any


def export_shape(candidate: ShapeCandidate, folder: Path) -> ExportedShape:
    """Export and quantize a candidate; the files lie in `folder` and may be overwritten afterwards."""
    network, side_px = candidate.build(), candidate.side_px
    fp32, prepared, int8 = (folder / f"{name}.onnx" for name in ("fp32", "prepared", "int8"))
    _write_fp32(network, side_px, fp32)
    quant_pre_process(fp32, prepared)
    quantize_static(
        prepared,
        int8,
        NoiseReader(side_px),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return ExportedShape(
        name=candidate.name,
        multiply_adds=sum(layer.multiply_adds for layer in read_layers(fp32)),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        images=np.zeros((1, 3, side_px, side_px), np.float32),
        fp32=open_session(fp32, provider="cpu", threads=1),
        int8=open_session(int8, provider="cpu", threads=1),
    )


def time_shapes(shapes: Sequence[ExportedShape], rounds: int) -> list[dict[str, str | int | float]]:
    """Median ms of every shape in fp32 and in int8, all in turns; each session runs once before each timed run."""
    turns = [
        timed_ms(partial(session.run, None, {"images": shape.images}))
        for shape in shapes
        for session in (shape.fp32, shape.int8)
    ]
    times_ms = take_turns(turns, rounds=rounds, progress=progress_named("timing"))
    medians = [round(statistics.median(samples), 3) for samples in times_ms]
    return [
        {
            "name": shape.name,
            "multiply_adds": shape.multiply_adds,
            "parameters": shape.parameters,
            "fp32_ms": fp32_ms,
            "int8_ms": int8_ms,
        }
        for shape, fp32_ms, int8_ms in zip(shapes, medians[::2], medians[1::2], strict=True)
    ]


def _write_fp32(network: MmpNet, side_px: int, path: Path) -> None:
    """The network alone, with batch norms that do not multiply by zero."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            assert module.running_mean is not None
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_(0, 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 3, side_px, side_px)
        torch.onnx.export(network.eval(), (example,), path, input_names=["images"], opset_version=13, dynamo=False)

"""Learning from a detector's feature maps: the student's map is made to correlate with them.

The loss is that of PKD (Cao et al. 2022): the mean squared difference of standardized channels, which is one minus
their Pearson correlation. Only patterns are compared, so that teacher and student may be of different kinds.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mmpnet.contract.errors import MmpnetError, TrainingError, first_line
from mmpnet.evaluation.peers.detector import EXPECTED_SHAPES, family_of
from mmpnet.evaluation.peers.family import STRIDES, Family, signature_of
from mmpnet.runtime.inference.session import open_session
from mmpnet.system.files import file_sha256
from mmpnet.system.onnx_runtime import onnxruntime

_EPSILON = 1e-5


class FeatureTeacher:
    """The maps of a detector that its head reads, of strides 8, 16 and 32, as one map of the finest stride.

    channels: those of all maps together. sha256: hash of the file. threads: those of ONNX Runtime; 0 for its default.

    Raises: TrainingError if the file is of no known family, does not take images of this size, or has no such maps.
    """

    def __init__(self, path: Path, input_hw: tuple[int, int], *, threads: int = 0) -> None:
        self._input_hw = input_hw
        self._family = _family_for(path, input_hw)
        graph = onnx.load(str(path))
        self._input_name = graph.graph.input[0].name
        maps = _maps_of_head(graph, self._input_name, input_hw)
        if len(maps) < len(STRIDES):
            raise TrainingError(
                f"feature teacher {path}: has no maps of stride {', '.join(map(str, STRIDES))} that two convolutions "
                "read, one for classes and one for boxes; give a detector with such a head, as YOLOX and RTMDet have"
            )
        self._session = _session(_cut(graph, list(maps)), threads)
        self.sha256 = file_sha256(path)
        self.channels = sum(maps.values())

    def __call__(self, images_bgr: Tensor) -> Tensor:
        """Letterboxed uint8 BGR (B, H, W, 3) -> (B, channels, H / 8, W / 8) float32; coarser maps are repeated."""
        found = [self._run(image) for image in images_bgr.cpu().numpy()]
        maps = [torch.from_numpy(np.concatenate(one)) for one in zip(*found, strict=True)]
        return torch.cat([functional.interpolate(one, size=maps[0].shape[-2:]) for one in maps], dim=1)

    def _run(self, image_bgr: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        maps: list[NDArray[np.float32]] = self._session.run(
            None, {self._input_name: self._family.pixels(image_bgr, self._input_hw)}
        )
        return maps


class FeatureLoss(nn.Module):
    """Compares a map of the student with that of a teacher, through a 1x1 convolution that is learned too.

    student_channels, teacher_channels: channels of the two maps.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.adapter = nn.Conv2d(student_channels, teacher_channels, kernel_size=1)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss, a scalar in [0, 2]: 0 for maps that correlate fully, 1 for maps that do not.

        student: (B, student_channels, rows, cols). teacher: (B, teacher_channels, rows, cols) or a finer map, which is
        averaged.
        """
        target = functional.adaptive_avg_pool2d(teacher, (student.shape[-2], student.shape[-1]))
        difference = _standardized(self.adapter(student.float())) - _standardized(target)
        loss: Tensor = difference.square().mean() / 2
        return loss


def _standardized(maps: Tensor) -> Tensor:
    """(B, channels, rows, cols) -> (channels, B * rows * cols); each channel has mean 0 and deviation 1."""
    flat = maps.transpose(0, 1).flatten(1)
    return (flat - flat.mean(dim=1, keepdim=True)) / (flat.std(dim=1, correction=0, keepdim=True) + _EPSILON)


def _family_for(path: Path, input_hw: tuple[int, int]) -> Family:
    try:
        session = open_session(path, provider="cpu")
    except MmpnetError as error:
        raise TrainingError(f"feature teacher {error}") from error
    signature = signature_of(session)
    family = None if signature is None else family_of(signature)
    if signature is None or family is None:
        raise TrainingError(f"feature teacher {path}: is of no known family; expected {EXPECTED_SHAPES}")
    height, width = input_hw
    if signature.input_hw not in (None, input_hw):
        own_height, own_width = signature.input_hw
        raise TrainingError(
            f"feature teacher {path}: takes images of {own_height}x{own_width} px, but the run has {height}x{width}; "
            f"give --imgsz {own_height}x{own_width}, or a file that takes images of any size"
        )
    if signature.input_hw is None and any(side % family.stride for side in input_hw):
        raise TrainingError(
            f"feature teacher {path}: takes multiples of {family.stride} px, but the run has {height}x{width}; "
            "change --imgsz"
        )
    return family


def _maps_of_head(model: onnx.ModelProto, input_name: str, input_hw: tuple[int, int]) -> dict[str, int]:
    """Return the names and channels of the maps that the head reads, finest first.

    Of each stride it is the last tensor in the graph's order that two or more convolutions read: one for the classes
    and one for the boxes.
    """
    readers: dict[str, int] = defaultdict(int)
    for node in model.graph.node:
        if node.op_type == "Conv":
            readers[node.input[0]] += 1
    shared = [name for node in model.graph.node for name in node.output if readers[name] > 1]
    if not shared:
        return {}
    shapes = _shapes(model, shared, input_name, input_hw)
    found: dict[int, tuple[str, int]] = {}
    for name, shape in zip(shared, shapes, strict=True):
        for stride in STRIDES:
            if len(shape) == 4 and shape[2:] == (input_hw[0] // stride, input_hw[1] // stride):
                found[stride] = (name, shape[1])
    return dict(found[stride] for stride in STRIDES if stride in found)


def _shapes(
    model: onnx.ModelProto, names: Sequence[str], input_name: str, input_hw: tuple[int, int]
) -> list[tuple[int, ...]]:
    zeros = np.zeros((1, 3, *input_hw), np.float32)
    maps = _session(_cut(model, names), threads=0).run(None, {input_name: zeros})
    return [tuple(one.shape) for one in maps]


def _cut(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Return the graph with these tensors as its only outputs; ONNX Runtime leaves out what they do not need."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.output[:]
    cut.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in outputs)
    return cut


def _session(model: onnx.ModelProto, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise TrainingError(f"feature teacher: ONNX Runtime cannot read its maps ({first_line(error)})") from error

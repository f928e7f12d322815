"""Other people's detectors behind the interface of ours: a frame in, its people out. For comparison only.

Each decoder is told by the shapes of a file's inputs and outputs. Score threshold, NMS and number of boxes are the
evaluation's, the same for everybody; a family that needs no NMS gets none.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.boxes import clip, nms
from mmpnet.contract.detections import Detections, Thresholds
from mmpnet.contract.errors import MmpnetError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.files import is_file

PERSON = 1
"""The class id that every contestant's people get."""
CLASS_NAMES = ("background", "person")
STRIDES = (8, 16, 32)
Decode: TypeAlias = Callable[[Sequence[NDArray[Any]], tuple[int, int], float], tuple[FloatArray, FloatArray]]
"""Outputs, the frame's (height, width), least score -> boxes (K, 4) in px of the frame, person scores (K,).

Only what reaches the score is decoded, as whoever cares for speed would do it.
"""
NANODET_MEAN_BGR = np.array([103.53, 116.28, 123.675], np.float32)
NANODET_STD_BGR = np.array([57.375, 57.12, 58.395], np.float32)
YOLO_PAD_VALUE = 114
PRECISIONS = {"float32": "fp32", "float16": "fp16", "int8": "int8"}


@dataclass(frozen=True, slots=True)
class Family:
    """How the networks of one kind are fed, (frame (H, W, 3), input (height, width)) -> (1, 3, H, W), and read."""

    name: str
    pixels: Callable[[UInt8Array, tuple[int, int]], FloatArray]
    decode: Decode
    needs_nms: bool = True


@dataclass(slots=True)
class Contestant:
    """A model ready to be run: its file, its family, its input, and the function from frame to Detections.

    `infer_ms` is the network's part of the latest call.
    """

    path: Path
    family: str
    precision: str
    input_hw: tuple[int, int]
    detect: Callable[[UInt8Array], tuple[Detections, float]]
    infer_ms: float = 0.0

    @property
    def name(self) -> str:
        return self.path.stem

    def __call__(self, frame_bgr: UInt8Array) -> Detections:
        """The people in one frame (H, W, 3)."""
        found, self.infer_ms = self.detect(frame_bgr)
        return found


def open_contestant(path: Path, *, threads: int, thresholds: Thresholds) -> Contestant:
    """A model of a known family: ours, or YOLOX, NanoDet or Ultralytics' YOLO with COCO's 80 classes.

    Raises: MmpnetError if the file is of none of them.
    """
    if not is_file(path):
        raise MmpnetError(f"{path}: no such file; expected a contestant's ONNX file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Contestants take turns: one's threads, waiting, would take another's cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise MmpnetError(f"{path}: ONNX Runtime cannot open it ({' '.join(str(error).split())[:160]})") from error
    if "mmpnet" in session.get_modelmeta().custom_metadata_map:
        return _ours(path, threads, thresholds)
    (described, *others), shapes = session.get_inputs(), [tuple(output.shape) for output in session.get_outputs()]
    input_hw = tuple(described.shape[2:])
    is_picture = (
        described.shape[:2] == [1, 3] and len(input_hw) == 2 and all(isinstance(side, int) for side in input_hw)
    )
    family = family_of(input_hw, shapes) if is_picture and described.type == "tensor(float)" and not others else None
    if family is None:
        raise MmpnetError(
            f"{path}: input {described.shape} {described.type}, outputs {shapes}; expected a file of mmp-export, or "
            "(1, 3, H, W) float and YOLOX's (1, cells, 85), NanoDet's six, or YOLO's (1, boxes, 6) or (1, 84, cells)"
        )
    return _peer(path, family, session, input_hw, thresholds)


def family_of(input_hw: tuple[int, int], shapes: Sequence[tuple[Any, ...]]) -> Family | None:
    """The family whose outputs have these shapes at this input; None for none."""
    cells = [(input_hw[0] // stride) * (input_hw[1] // stride) for stride in STRIDES]
    if shapes == [(1, sum(cells), 85)]:
        return Family("YOLOX", yolox_pixels, yolox_decoder(input_hw))
    if shapes == [*((count, 80) for count in cells), *((count, 32) for count in cells)]:
        return Family("NanoDet", nanodet_pixels, nanodet_decoder(input_hw))
    if shapes == [(1, 84, sum(cells))]:
        return Family("YOLO", yolo_pixels, yolo_decoder(input_hw))
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][::2] == (1, 6):
        return Family("YOLO, end to end", yolo_pixels, yolo_end_to_end_decoder(input_hw), needs_nms=False)
    return None


def file_sha256(path: Path) -> str:
    """Of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ours(path: Path, threads: int, thresholds: Thresholds) -> Contestant:
    detector = Detector(path, provider="cpu", threads=threads, thresholds=thresholds, spin=False)
    people = detector.class_names.index("person")

    def detect(frame_bgr: UInt8Array) -> tuple[Detections, float]:
        found, times = detector.timed(frame_bgr)
        kept = found.class_id == people
        ids = np.full(int(kept.sum()), PERSON, np.int64)
        return Detections(found.xyxy[kept], found.score[kept], ids), times.infer_ms

    metadata = detector.metadata
    return Contestant(path, "mmpnet", PRECISIONS[metadata.precision], metadata.input.size_hw, detect)


def _peer(path: Path, family: Family, session: Any, input_hw: tuple[int, int], thresholds: Thresholds) -> Contestant:
    input_name = session.get_inputs()[0].name
    # Whatever wrote the file, the names of its operators stand in it as they are: onnx is not needed to find one.
    precision = "int8" if b"DequantizeLinear" in path.read_bytes() else "fp32"

    def detect(frame_bgr: UInt8Array) -> tuple[Detections, float]:
        frame_hw = frame_bgr.shape[0], frame_bgr.shape[1]
        pixels = family.pixels(frame_bgr, input_hw)
        began = time.perf_counter()
        outputs = session.run(None, {input_name: pixels})
        infer_ms = (time.perf_counter() - began) * 1e3
        boxes, scores = family.decode(outputs, frame_hw, thresholds.conf)
        boxes, scores = clip(boxes.astype(np.float32), frame_hw), scores.astype(np.float32)
        kept = nms(boxes, scores, thresholds.iou) if family.needs_nms else np.argsort(-scores, kind="stable")
        kept = kept[: thresholds.max_det]
        return Detections(boxes[kept], scores[kept], np.full(len(kept), PERSON, np.int64)), infer_ms

    return Contestant(path, family.name, precision, input_hw, detect)


def yolox_pixels(frame_bgr: UInt8Array, input_hw: tuple[int, int]) -> FloatArray:
    """(1, 3, H, W) BGR 0..255, letterboxed to the top left corner, padded with 114."""
    scale = _yolox_scale(frame_bgr.shape[:2], input_hw)
    size_wh = max(int(frame_bgr.shape[1] * scale), 1), max(int(frame_bgr.shape[0] * scale), 1)
    canvas = np.full((*input_hw, 3), 114, np.uint8)
    canvas[: size_wh[1], : size_wh[0]] = cv2.resize(frame_bgr, size_wh)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)


def yolox_decoder(input_hw: tuple[int, int]) -> Decode:
    """YOLOX (Ge et al. 2021): per cell a centre, log sizes, objectness and 80 class scores, person first."""
    cells, strides = _cells(input_hw)

    def decode(
        outputs: Sequence[NDArray[Any]], frame_hw: tuple[int, int], conf: float
    ) -> tuple[FloatArray, FloatArray]:
        scores = outputs[0][0, :, 4] * outputs[0][0, :, 5]
        likely = np.flatnonzero(scores >= conf)
        output = outputs[0][0, likely, :4]  # (K, 4)
        center = (output[:, :2] + cells[likely]) * strides[likely]
        half_wh = np.exp(np.minimum(output[:, 2:], 20)) * strides[likely] / 2
        boxes = np.concatenate([center - half_wh, center + half_wh], axis=1) / _yolox_scale(frame_hw, input_hw)
        return boxes, scores[likely]

    return decode


def nanodet_pixels(frame_bgr: UInt8Array, input_hw: tuple[int, int]) -> FloatArray:
    """(1, 3, H, W) BGR, stretched, with the mean and deviation of its training."""
    stretched = cv2.resize(frame_bgr, (input_hw[1], input_hw[0]))
    pixels = np.ascontiguousarray(stretched.transpose(2, 0, 1)[None], np.float32)
    pixels -= NANODET_MEAN_BGR[:, None, None]
    pixels *= (1 / NANODET_STD_BGR)[:, None, None]
    return pixels


def nanodet_decoder(input_hw: tuple[int, int]) -> Decode:
    """NanoDet-m: per cell 80 class scores and, for each side, a distribution over 0 .. 7 strides (Li et al. 2020)."""
    cells, strides = _cells(input_hw)
    center = (cells + 0.5) * strides
    bins = np.arange(8, dtype=np.float32)

    def decode(
        outputs: Sequence[NDArray[Any]], frame_hw: tuple[int, int], conf: float
    ) -> tuple[FloatArray, FloatArray]:
        scores = np.concatenate([output[:, 0] for output in outputs[:3]])
        likely = np.flatnonzero(scores >= conf)
        logits = np.concatenate(outputs[3:])[likely].reshape(-1, 4, 8)
        weights = np.exp(logits - logits.max(axis=2, keepdims=True))
        sides = (weights * bins).sum(axis=2) / weights.sum(axis=2) * strides[likely]  # (K, 4): left, top, right, bottom
        boxes = np.concatenate([center[likely] - sides[:, :2], center[likely] + sides[:, 2:]], axis=1)
        stretch = np.array([frame_hw[1] / input_hw[1], frame_hw[0] / input_hw[0]] * 2, np.float32)
        return boxes * stretch, scores[likely]

    return decode


def yolo_pixels(frame_bgr: UInt8Array, input_hw: tuple[int, int]) -> FloatArray:
    """(1, 3, H, W) RGB 0..1, letterboxed to the centre, padded with 114."""
    boxed, _ = Letterbox(input_hw, YOLO_PAD_VALUE).apply(frame_bgr)
    pixels = np.ascontiguousarray(boxed[..., ::-1].transpose(2, 0, 1)[None], np.float32)
    pixels *= np.float32(1 / 255)
    return pixels


def yolo_decoder(input_hw: tuple[int, int]) -> Decode:
    """YOLOv8, YOLO11, YOLO26 before NMS: (1, 4 + 80, cells), a box's centre and sides in px, class scores."""
    letterbox = Letterbox(input_hw, YOLO_PAD_VALUE)

    def decode(
        outputs: Sequence[NDArray[Any]], frame_hw: tuple[int, int], conf: float
    ) -> tuple[FloatArray, FloatArray]:
        scores = outputs[0][0, 4]
        likely = np.flatnonzero(scores >= conf)
        output = outputs[0][0, :4][:, likely].T  # (K, 4)
        center, half_wh = output[:, :2], output[:, 2:] / 2
        boxes = np.concatenate([center - half_wh, center + half_wh], axis=1)
        return letterbox.fit(frame_hw).to_frame(boxes), scores[likely]

    return decode


def yolo_end_to_end_decoder(input_hw: tuple[int, int]) -> Decode:
    """YOLO26, YOLOv10: (1, boxes, 6), xyxy in px of the input, score and class of boxes that need no NMS."""
    letterbox = Letterbox(input_hw, YOLO_PAD_VALUE)

    def decode(
        outputs: Sequence[NDArray[Any]], frame_hw: tuple[int, int], conf: float
    ) -> tuple[FloatArray, FloatArray]:
        rows = outputs[0][0]
        rows = rows[(rows[:, 5] == 0) & (rows[:, 4] >= conf)]  # (K, 6)
        return letterbox.fit(frame_hw).to_frame(rows[:, :4]), rows[:, 4]

    return decode


def _yolox_scale(frame_hw: Sequence[int], input_hw: tuple[int, int]) -> float:
    return min(input_hw[0] / frame_hw[0], input_hw[1] / frame_hw[1])


def _cells(input_hw: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Column and row (cells, 2) and stride (cells, 1) of every cell, strides 8, 16, 32 one after another."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, cols = np.mgrid[: input_hw[0] // stride, : input_hw[1] // stride]
        cells.append(np.stack([cols, rows], axis=-1).reshape(-1, 2))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)

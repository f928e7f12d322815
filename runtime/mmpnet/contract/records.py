"""Parts of the metadata: training, evaluation, comparison with torch, self-test, licenses."""

from typing import Literal

import msgspec


class StrictStruct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unknown keys are refused: a file from a newer schema must not be half understood."""


class TrainingRecord(StrictStruct, frozen=True):
    """Where the weights come from."""

    train_name: str
    train_sha256: str
    train_images: int
    epochs: int
    seed: int
    git_commit: str | None
    mmpnet_version: str


class EvaluationRecord(StrictStruct, frozen=True):
    """How accurate the weights were when the checkpoint was written."""

    protocol: str
    dataset: str
    dataset_sha256: str
    n_images: int
    AP: float | None
    AP50: float | None


class Accuracy(StrictStruct, frozen=True):
    """COCO's two main numbers."""

    AP: float
    AP50: float


class AccuracyRecord(StrictStruct, frozen=True):
    """The same images through this file and through what it was made from: torch, or the float32 file."""

    protocol: str
    dataset: str
    dataset_sha256: str
    n_images: int
    reference: Accuracy
    file: Accuracy


class DetectionsRecord(StrictStruct, frozen=True):
    """What this very file finds, beside what the checkpoint in torch finds, after NMS.

    Of n_detections of the checkpoint and of the file together, n_unmatched have no partner of their class at IoU 0.5
    and are surely above the threshold; the others' largest differences are given, boxes in px of the input.
    """

    n_detections: int
    n_unmatched: int
    max_score_difference: float
    max_box_difference_px: float


class ProofRecord(StrictStruct, frozen=True):
    """How far this file and the checkpoint in torch are apart, and with what that was measured.

    The first differences are the largest over n_images images between torch and the graph as it was exported in
    float32, before anything was rounded or quantized: of the grid's raw numbers, and of the candidates' scores and
    boxes. after_nms is about the file as it was written; null where it takes a fixed batch of several images, and in
    files of earlier versions. accuracy is null where the file was exported without --verify; int8's reference is the
    float32 file.
    """

    n_images: int
    max_grid_difference: float
    max_score_difference: float
    max_box_difference_px: float
    torch_version: str
    onnxruntime_version: str
    onnx_version: str
    git_commit: str | None
    command: str
    accuracy: AccuracyRecord | None = None
    after_nms: DetectionsRecord | None = None


class ExpectedDetection(StrictStruct, frozen=True):
    """One detection of the self-test's frame: xyxy in frame px."""

    xyxy: tuple[float, float, float, float]
    score: float
    class_id: int


class SelfTestRecord(StrictStruct, frozen=True):
    """A frame that a seed makes, and what the file must find in it on every device, within the tolerances."""

    seed: int
    frame_hw: tuple[int, int]
    conf: float
    expected: tuple[ExpectedDetection, ...]
    max_score_difference: float
    min_iou: float


class LatencyRecord(StrictStruct, frozen=True):
    """Medians of one inference in turns with the other file, in ms, and on what."""

    int8_ms: float
    float_ms: float
    threads: int
    cpu: str


class QuantizationRecord(StrictStruct, frozen=True):
    """How int8 was tried: what it cost in accuracy (reference: the float32 file) and gave in speed. kept says whether
    this file is the int8 one, verdict why."""

    kept: bool
    verdict: str
    activations: Literal["uint8", "int8"]
    weights: Literal["int8"]
    per_channel: bool
    calibrator: str
    dataset: str
    dataset_sha256: str
    n_images: int
    float_layers: tuple[str, ...]
    accuracy: AccuracyRecord
    latency: LatencyRecord


class Licenses(StrictStruct, frozen=True):
    """Terms of the parts; `data` is whatever the exporter was told."""

    code: str
    weights: str
    data: str


class MinimumRuntime(StrictStruct, frozen=True):
    """What a runtime must understand to open the file; onnxruntime is the oldest release that does."""

    opset: int
    ir_version: int
    onnxruntime: str

"""Records inside the metadata: training, evaluation, comparison with torch, self-test, licenses."""

from typing import Literal

import msgspec


class StrictStruct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Refuses unknown keys, so that a file of a newer schema is not misread."""


class TrainingRecord(StrictStruct, frozen=True):
    """The training run that made the weights."""

    train_name: str
    train_sha256: str
    train_images: int
    epochs: int
    seed: int
    git_commit: str | None
    mmpnet_version: str


class EvaluationRecord(StrictStruct, frozen=True):
    """The accuracy of the weights when the checkpoint was written."""

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
    """Accuracy on the same images of this file and of its reference: torch, or the float32 file for int8."""

    protocol: str
    dataset: str
    dataset_sha256: str
    n_images: int
    reference: Accuracy
    file: Accuracy


class DetectionsRecord(StrictStruct, frozen=True):
    """Detections after NMS of this file, compared with those of the checkpoint in torch.

    n_detections counts those of both together. n_unmatched of them have no match of their class at IoU 0.5 and are
    clearly above the threshold. The differences are the largest among matched detections, boxes in px of the input.
    """

    n_detections: int
    n_unmatched: int
    max_score_difference: float
    max_box_difference_px: float


class ProofRecord(StrictStruct, frozen=True):
    """Measured differences between this file and the checkpoint in torch, and the versions used to measure them.

    The first three differences are the largest over n_images images between torch and the float32 graph, before any
    rounding or quantization: of the raw grid values, of the candidates' scores and of their boxes. after_nms describes
    the file as written; it is null for files with a fixed batch of several images and for files of earlier versions.
    accuracy is null if the file was exported without --verify; its reference is torch, for int8 the float32 file.
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
    """One expected detection in the self-test's frame: xyxy in frame px."""

    xyxy: tuple[float, float, float, float]
    score: float
    class_id: int


class SelfTestRecord(StrictStruct, frozen=True):
    """A frame generated from a seed, and the detections that the file must find in it, within the tolerances."""

    seed: int
    frame_hw: tuple[int, int]
    conf: float
    expected: tuple[ExpectedDetection, ...]
    max_score_difference: float
    min_iou: float


class LatencyRecord(StrictStruct, frozen=True):
    """Medians in ms of one inference, int8 and float file measured alternately, and the machine."""

    int8_ms: float
    float_ms: float
    threads: int
    cpu: str


class QuantizationRecord(StrictStruct, frozen=True):
    """How int8 was tested: its accuracy (reference: the float32 file) and its speed. kept says whether this file is
    the int8 one, verdict gives the reason.

    allowed_loss is the part of float32's AP that int8 was allowed to lose, null if it was kept in any case. ap_interval
    is the 95 % interval of the difference in AP, int8 minus float32; null with too few images.
    """

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
    allowed_loss: float | None = 0.01
    ap_interval: tuple[float, float] | None = None


class ComparedAccuracy(StrictStruct, frozen=True):
    """Accuracy of an old and a new model on the same images, and the 95 % interval of the difference in AP, new minus
    old, by the paired bootstrap; null with too few images."""

    dataset: str
    dataset_sha256: str
    n_images: int
    n_boxes: int
    old: Accuracy
    new: Accuracy
    ap_interval: tuple[float, float] | None


class AdaptationRecord(StrictStruct, frozen=True):
    """Whether this file, adapted to one camera, is better than the model that it replaces.

    judges: the models that drew the labels of the camera's held-out images; empty if people did. general is null if no
    general images were given.
    """

    better: bool
    verdict: str
    judges: tuple[str, ...]
    old_model: str
    old_sha256: str
    camera: ComparedAccuracy
    general: ComparedAccuracy | None


class Licenses(StrictStruct, frozen=True):
    """License terms of the parts; mmp-export's options set those of the weights and of the data."""

    code: str
    weights: str
    data: str


class MinimumRuntime(StrictStruct, frozen=True):
    """The versions that a runtime needs to open the file; onnxruntime is the oldest release that can."""

    opset: int
    ir_version: int
    onnxruntime: str

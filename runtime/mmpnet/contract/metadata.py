"""What a model file says of itself: one JSON value under one key of the ONNX metadata, read strictly."""

from typing import Annotated, Literal

import msgspec

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.boxes import CENTER_VARIANCE, SIZE_VARIANCE
from mmpnet.contract.detections import Thresholds
from mmpnet.contract.errors import ContractError
from mmpnet.contract.preprocess import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB, Letterbox

METADATA_KEY = "mmpnet"
SCHEMA_VERSION: Literal[1] = 1

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unknown keys are refused: a file from a newer schema must not be half understood."""


class InputDescription(_Strict, frozen=True):
    """The one input: letterboxed pixels. The graph normalises them itself, with mean and std of values in [0, 1]."""

    name: str
    size_hw: tuple[PositiveInt, PositiveInt]
    batch: PositiveInt | Literal["dynamic"]
    pad_value: Annotated[int, msgspec.Meta(ge=0, le=255)]
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    channel_order: Literal["BGR"] = "BGR"
    resize: Literal["letterbox-centred"] = "letterbox-centred"
    interpolation: Literal["linear"] = "linear"
    mean_rgb: tuple[float, float, float] = IMAGENET_MEAN_RGB
    std_rgb: tuple[float, float, float] = IMAGENET_STD_RGB


class AnchorDescription(_Strict, frozen=True):
    """The AnchorSpec with its fingerprint, the order of the flat index and the variances of the offsets."""

    sizes_px: tuple[float, ...]
    aspect_ratios: tuple[float, ...]
    stride: int
    fingerprint: str
    order: Literal["size, ratio, row, col"] = "size, ratio, row, col"
    center_variance: float = CENTER_VARIANCE
    size_variance: float = SIZE_VARIANCE

    @classmethod
    def of(cls, anchors: AnchorSpec) -> "AnchorDescription":
        return cls(
            sizes_px=anchors.sizes_px,
            aspect_ratios=anchors.aspect_ratios,
            stride=anchors.stride,
            fingerprint=anchors.fingerprint(),
        )

    def spec(self) -> AnchorSpec:
        """Raises: ValueError if the numbers are not anchors, or not those of the fingerprint."""
        anchors = AnchorSpec(sizes_px=self.sizes_px, aspect_ratios=self.aspect_ratios, stride=self.stride)
        if anchors.fingerprint() != self.fingerprint:
            raise ValueError(f"anchor fingerprint is {anchors.fingerprint()}, the file says {self.fingerprint}")
        return anchors


class OutputDescription(_Strict, frozen=True):
    """One output by meaning; `boxes` are xyxy in px of the letterboxed input, rows stand best score first."""

    name: str
    meaning: Literal["boxes", "scores", "class_ids"]
    shape: tuple[int | str, ...]
    dtype: Literal["float32", "int64"]
    box_format: Literal["xyxy"] | None = None
    unit: Literal["input px"] | None = None


class TrainingRecord(_Strict, frozen=True):
    """Where the weights come from."""

    train_name: str
    train_sha256: str
    train_images: int
    epochs: int
    seed: int
    git_commit: str | None
    mmpnet_version: str


class EvaluationRecord(_Strict, frozen=True):
    """How accurate the weights were when the checkpoint was written."""

    protocol: str
    dataset: str
    dataset_sha256: str
    n_images: int
    AP: float | None
    AP50: float | None


class ParityRecord(_Strict, frozen=True):
    """Largest differences between torch and ONNX Runtime, over the pictures compared after writing."""

    n_images: int
    max_score_difference: float
    max_box_difference_px: float
    torch_version: str
    onnxruntime_version: str


class Licences(_Strict, frozen=True):
    """Terms of the parts; `data` is whatever the exporter was told."""

    code: str
    weights: str
    data: str


class MinimumRuntime(_Strict, frozen=True):
    """What a runtime must understand to open the file."""

    opset: int
    ir_version: int


class ModelMetadata(_Strict, frozen=True):
    """Everything a caller needs to use the model, and to know where it comes from.

    nms is null: the graph gives candidates, the caller applies `defaults` with mmpnet.contract.boxes.nms.
    """

    producer_version: str
    checkpoint_sha256: str
    input: InputDescription
    anchors: AnchorDescription
    outputs: tuple[OutputDescription, ...]
    class_names: tuple[str, ...]
    default_conf: float
    default_iou: float
    default_max_det: int
    training: TrainingRecord
    licences: Licences
    minimum_runtime: MinimumRuntime
    evaluation: EvaluationRecord | None = None
    parity: ParityRecord | None = None
    nms: None = None
    self_test: None = None
    producer: Literal["mmpnet"] = "mmpnet"
    task: Literal["detect"] = "detect"
    schema_version: Literal[1] = SCHEMA_VERSION

    @property
    def letterbox(self) -> Letterbox:
        return Letterbox(input_hw=self.input.size_hw, pad_value=self.input.pad_value)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(conf=self.default_conf, iou=self.default_iou, max_det=self.default_max_det)

    def output_name(self, meaning: Literal["boxes", "scores", "class_ids"]) -> str:
        """Name of the output with this meaning; metadata_from_json has checked that there is exactly one."""
        return next(output.name for output in self.outputs if output.meaning == meaning)


def metadata_to_properties(metadata: ModelMetadata) -> dict[str, str]:
    """ONNX metadata: our JSON, and the keys that third-party viewers of detectors read."""
    names = dict(enumerate(metadata.class_names))  # by the ids that the graph gives; 0 is background
    return {
        METADATA_KEY: msgspec.json.encode(metadata).decode(),
        "names": str(names),
        "imgsz": str(list(metadata.input.size_hw)),
        "stride": str(metadata.anchors.stride),
        "task": metadata.task,
        "batch": str(metadata.input.batch),
    }


def metadata_from_properties(properties: dict[str, str], *, source: str) -> ModelMetadata:
    """Read and check the metadata of an ONNX file.

    Raises: ContractError if our key is missing, the schema is another, or a value does not fit it.
    """
    text = properties.get(METADATA_KEY)
    if text is None:
        raise ContractError(f"{source}: has no '{METADATA_KEY}' metadata; expected a file that mmp-export wrote")
    _check_schema(text, source)
    try:
        metadata = msgspec.json.decode(text, type=ModelMetadata)
        _check_consistent(metadata)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ContractError(
            f"{source}: metadata does not fit: {_one_line(error)}; export it again with mmp-export"
        ) from error
    return metadata


class _SchemaOnly(msgspec.Struct, frozen=True):
    schema_version: int


def _check_schema(text: str, source: str) -> None:
    try:
        found = msgspec.json.decode(text, type=_SchemaOnly).schema_version
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ContractError(
            f"{source}: metadata is not ours ({_one_line(error)}); export it again with mmp-export"
        ) from error
    if found != SCHEMA_VERSION:
        raise ContractError(
            f"{source}: metadata schema {found}, this version reads {SCHEMA_VERSION}; "
            "update mmpnet, or export the model again with mmp-export"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _check_consistent(metadata: ModelMetadata) -> None:
    meanings = sorted(output.meaning for output in metadata.outputs)
    if meanings != ["boxes", "class_ids", "scores"]:
        raise ValueError(f"outputs must be boxes, scores and class_ids, found {', '.join(meanings)}")
    if len(metadata.class_names) < 2:
        raise ValueError(f"class_names must be background and at least one class, found {metadata.class_names}")
    metadata.anchors.spec().grid_hw(metadata.input.size_hw)
    Thresholds(conf=metadata.default_conf, iou=metadata.default_iou, max_det=metadata.default_max_det)

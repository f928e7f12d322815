"""The metadata of a model file: one JSON value under one key of the ONNX file, read strictly."""

from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.boxes import CENTER_VARIANCE, SIZE_VARIANCE
from mmpnet.contract.detections import Thresholds
from mmpnet.contract.errors import ContractError
from mmpnet.contract.heads import HEADS, Head, HeadSpec, Meaning
from mmpnet.contract.letterbox import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB, Letterbox
from mmpnet.contract.records import (
    EvaluationRecord,
    Licenses,
    MinimumRuntime,
    ProofRecord,
    QuantizationRecord,
    SelfTestRecord,
    StrictStruct,
    TrainingRecord,
)

METADATA_KEY = "mmpnet"
SCHEMA_VERSION: Literal[3] = 3

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
InputKind: TypeAlias = Literal["uint8-nhwc", "float-nchw"]
"""Letterboxed pixels as they are, BGR; or the classic tensor, RGB in [0, 1]."""
Precision: TypeAlias = Literal["float32", "float16", "int8"]


class InputDescription(StrictStruct, frozen=True):
    """The one input: letterboxed pixels. The graph normalizes them itself, with mean and std of values in [0, 1]."""

    name: str
    size_hw: tuple[PositiveInt, PositiveInt]
    batch: PositiveInt | Literal["dynamic"]
    pad_value: Annotated[int, msgspec.Meta(ge=0, le=255)]
    dtype: Literal["uint8", "float32"] = "uint8"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    channel_order: Literal["BGR", "RGB"] = "BGR"
    max_value: Literal[255, 1] = msgspec.field(default=255, name="white")
    resize: Literal["letterbox-centred"] = "letterbox-centred"
    interpolation: Literal["linear"] = "linear"
    mean_rgb: tuple[float, float, float] = IMAGENET_MEAN_RGB
    std_rgb: tuple[float, float, float] = IMAGENET_STD_RGB

    @classmethod
    def of(
        cls, kind: InputKind, *, name: str, size_hw: tuple[int, int], batch: int | Literal["dynamic"], pad_value: int
    ) -> "InputDescription":
        if kind == "uint8-nhwc":
            return cls(name=name, size_hw=size_hw, batch=batch, pad_value=pad_value)
        return cls(
            name=name,
            size_hw=size_hw,
            batch=batch,
            pad_value=pad_value,
            dtype="float32",
            layout="NCHW",
            channel_order="RGB",
            max_value=1,
        )

    @property
    def kind(self) -> InputKind:
        return "uint8-nhwc" if self.dtype == "uint8" else "float-nchw"

    @property
    def type(self) -> str:
        """ONNX Runtime's word for the tensor."""
        return "tensor(uint8)" if self.dtype == "uint8" else "tensor(float)"

    @property
    def shape(self) -> tuple[int | str, ...]:
        batch = "batch" if self.batch == "dynamic" else self.batch
        return (batch, *self.size_hw, 3) if self.layout == "NHWC" else (batch, 3, *self.size_hw)


class AnchorDescription(StrictStruct, frozen=True):
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


class OutputDescription(StrictStruct, frozen=True):
    """One output by meaning; `boxes` are xyxy in px of the letterboxed input, rows stand best score first.

    `grid` is (B, C, sizes, ratios, rows, cols): logits, then offsets. `detections` are (B, rows, 6): xyxy, score, class
    id; rows from `num_dets` (B,) on are zeros.
    """

    name: str
    meaning: Meaning
    shape: tuple[int | str, ...]
    dtype: Literal["float32", "int64"]
    box_format: Literal["xyxy"] | None = None
    unit: Literal["input px"] | None = None


class NmsDescription(StrictStruct, frozen=True):
    """NMS inside the graph, class by class; overridable thresholds may be fed to the inputs of these names."""

    conf: str
    iou: str
    max_det: str
    overridable: bool


class ModelMetadata(StrictStruct, frozen=True):
    """Everything a caller needs to use the model, and to know where it comes from.

    nms is null where the graph gives a grid or candidates: the caller applies the defaults with
    mmpnet.contract.boxes.nms.
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
    licences: Licenses
    minimum_runtime: MinimumRuntime
    head: Head = "boxes"
    precision: Precision = "float32"
    evaluation: EvaluationRecord | None = None
    proof: ProofRecord | None = None
    nms: NmsDescription | None = None
    self_test: SelfTestRecord | None = None
    quantization: QuantizationRecord | None = None
    producer: Literal["mmpnet"] = "mmpnet"
    task: Literal["detect"] = "detect"
    schema_version: Literal[3] = SCHEMA_VERSION

    @property
    def letterbox(self) -> Letterbox:
        return Letterbox(input_hw=self.input.size_hw, pad_value=self.input.pad_value)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(conf=self.default_conf, iou=self.default_iou, max_det=self.default_max_det)

    @property
    def head_spec(self) -> HeadSpec:
        """The outputs of the file's head, and what its graph computes itself."""
        return HEADS[self.head]

    @property
    def frozen(self) -> bool:
        """Whether NMS is in the graph with thresholds that nobody can override."""
        return self.nms is not None and not self.nms.overridable

    def output_name(self, meaning: Meaning) -> str:
        """Name of the output with this meaning; reading has checked that there is exactly one of each of the head's."""
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
    if len(text) > MOST_METADATA:
        raise ContractError(f"{source}: its metadata have {len(text)} characters, at most {MOST_METADATA} are read")
    _check_schema(text, source)
    try:
        metadata = msgspec.json.decode(text, type=ModelMetadata)
        _check_consistent(metadata)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ContractError(
            f"{source}: metadata does not fit: {_one_line(error)}; export it again with mmp-export"
        ) from error
    return metadata


MOST_METADATA, MOST_SIDE_PX = 1_000_000, 8_192
"""What is read of a stranger's file: more is no model of ours, and would only cost time and memory."""
_LEAST_IOU, _MOST_DIFFERENCE = 0.5, 0.1
"""A self-test with wider tolerances would pass anything; those of int8 are 0.8 and 0.05."""


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
    described = metadata.input
    if described != InputDescription.of(
        described.kind,
        name=described.name,
        size_hw=described.size_hw,
        batch=described.batch,
        pad_value=described.pad_value,
    ):
        raise ValueError(
            f"input {described.dtype} {described.layout} {described.channel_order} up to {described.max_value} with "
            f"mean {described.mean_rgb} and std {described.std_rgb} is none of {', '.join(get_args(InputKind))}"
        )
    meanings = sorted(output.meaning for output in metadata.outputs)
    expected = metadata.head_spec.outputs
    if meanings != sorted(expected):
        raise ValueError(f"outputs of head {metadata.head} must be {', '.join(expected)}, found {', '.join(meanings)}")
    if (metadata.nms is not None) != metadata.head_spec.suppresses:
        raise ValueError(f"head {metadata.head} {'lacks' if metadata.nms is None else 'has no use for'} an nms entry")
    kept = metadata.quantization is not None and metadata.quantization.kept
    if kept != (metadata.precision == "int8"):
        raise ValueError(f"precision {metadata.precision} and quantization do not go together")
    if len(metadata.class_names) < 2:
        raise ValueError(f"class_names must be background and at least one class, found {metadata.class_names}")
    if not all(metadata.class_names) or len(set(metadata.class_names)) != len(metadata.class_names):
        raise ValueError(f"class_names must have a name each, and no name twice, found {metadata.class_names}")
    if max(metadata.input.size_hw) > MOST_SIDE_PX:
        raise ValueError(f"input of {metadata.input.size_hw} px; {MOST_SIDE_PX} a side are taken at most")
    _check_self_test(metadata)
    metadata.anchors.spec().grid_hw(metadata.input.size_hw)
    Thresholds(conf=metadata.default_conf, iou=metadata.default_iou, max_det=metadata.default_max_det)


def _check_self_test(metadata: ModelMetadata) -> None:
    record = metadata.self_test
    if record is None:
        return
    if not all(0 < side <= MOST_SIDE_PX for side in record.frame_hw):
        raise ValueError(f"self-test on a frame of {record.frame_hw} px; 1 to {MOST_SIDE_PX} a side are taken")
    if not 0 <= record.conf <= 1 or record.seed < 0:
        raise ValueError(
            f"self-test from score {record.conf:g} with seed {record.seed}; expected 0 to 1, and 0 or more"
        )
    if not (0 <= record.max_score_difference <= _MOST_DIFFERENCE and _LEAST_IOU <= record.min_iou <= 1):
        raise ValueError(
            f"self-test within {record.max_score_difference:g} and IoU {record.min_iou:g}; expected at most "
            f"{_MOST_DIFFERENCE:g} and at least {_LEAST_IOU:g}"
        )
    if not all(1 <= one.class_id < len(metadata.class_names) for one in record.expected):
        raise ValueError("self-test expects a class that class_names does not have")

"""The metadata of a model file: a JSON value under one key of the ONNX file, with unknown fields refused."""

from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.boxes import CENTER_VARIANCE, SIZE_VARIANCE
from mmpnet.contract.errors import ContractError
from mmpnet.contract.heads import HEADS, Head, HeadSpec, Meaning
from mmpnet.contract.input_kinds import InputKind
from mmpnet.contract.letterbox import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB, Letterbox
from mmpnet.contract.records import (
    AdaptationRecord,
    EvaluationRecord,
    Licenses,
    MinimumRuntime,
    ProofRecord,
    QuantizationRecord,
    SelfTestRecord,
    StrictStruct,
    TrainingRecord,
)
from mmpnet.contract.text import well_formed_values
from mmpnet.contract.thresholds import Thresholds

METADATA_KEY = "mmpnet"
SCHEMA_VERSION: Literal[3] = 3

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Precision: TypeAlias = Literal["float32", "float16", "int8"]


class InputDescription(StrictStruct, frozen=True):
    """The one input, letterboxed pixels. The graph normalizes them with mean and std of values in [0, 1]."""

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
        """ONNX Runtime's name for the tensor type."""
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
        """The anchors. Raises: ValueError if the numbers are no valid anchors, do not match the fingerprint, or come
        with variances that the codec of the offsets does not have."""
        if (self.center_variance, self.size_variance) != (CENTER_VARIANCE, SIZE_VARIANCE):
            raise ValueError(
                f"offsets have the variances {self.center_variance:g} and {self.size_variance:g}, expected "
                f"{CENTER_VARIANCE:g} and {SIZE_VARIANCE:g}"
            )
        anchors = AnchorSpec(sizes_px=self.sizes_px, aspect_ratios=self.aspect_ratios, stride=self.stride)
        if anchors.fingerprint() != self.fingerprint:
            raise ValueError(f"anchors have fingerprint {anchors.fingerprint()}, the file states {self.fingerprint}")
        return anchors


class OutputDescription(StrictStruct, frozen=True):
    """One output and its content. `boxes` are xyxy in px of the letterboxed input; rows are best score first.

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
    """NMS inside the graph, per class; overridable thresholds are graph inputs with these names."""

    conf: str
    iou: str
    max_det: str
    overridable: bool


class ModelMetadata(StrictStruct, frozen=True):
    """Everything that a caller needs to use the model and to know its origin.

    nms is null if the graph gives a grid or candidates; the caller then applies the defaults with
    mmpnet.contract.boxes.nms and vote_boxes. vote_score_power: the power of the scores in the votes; 1 in files from
    before there was a choice.
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
    vote_score_power: PositiveInt = 1
    self_test: SelfTestRecord | None = None
    quantization: QuantizationRecord | None = None
    adaptation: AdaptationRecord | None = None
    producer: Literal["mmpnet"] = "mmpnet"
    task: Literal["detect"] = "detect"
    schema_version: Literal[3] = SCHEMA_VERSION

    @property
    def network(self) -> str:
        """What files of the same weights and input size have in common, in every precision."""
        height, width = self.input.size_hw
        return f"{self.checkpoint_sha256} {height}x{width}"

    @property
    def letterbox(self) -> Letterbox:
        return Letterbox(input_hw=self.input.size_hw, pad_value=self.input.pad_value)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(conf=self.default_conf, iou=self.default_iou, max_det=self.default_max_det)

    @property
    def head_spec(self) -> HeadSpec:
        """The outputs of the file's head, and the steps that its graph computes."""
        return HEADS[self.head]

    @property
    def frozen(self) -> bool:
        """Whether NMS is in the graph with fixed thresholds that a caller cannot override."""
        return self.nms is not None and not self.nms.overridable

    def output_name(self, meaning: Meaning) -> str:
        """Name of the output with this content; reading has checked that each output of the head occurs once."""
        return next(output.name for output in self.outputs if output.meaning == meaning)


def metadata_to_properties(metadata: ModelMetadata) -> dict[str, str]:
    """ONNX metadata: the JSON value, and the keys that third-party model viewers read."""
    names = dict(enumerate(metadata.class_names))  # by the class ids of the graph; 0 is background
    return {
        METADATA_KEY: msgspec.json.encode(well_formed_values(msgspec.to_builtins(metadata))).decode(),
        "names": str(names),
        "imgsz": str(list(metadata.input.size_hw)),
        "stride": str(metadata.anchors.stride),
        "task": metadata.task,
        "batch": str(metadata.input.batch),
    }


def metadata_from_properties(properties: dict[str, str], *, source: str) -> ModelMetadata:
    """Read and check the metadata of an ONNX file.

    Raises: ContractError if the key is missing, the schema differs, or a value is invalid.
    """
    text = properties.get(METADATA_KEY)
    if text is None:
        raise ContractError(f"{source}: has no '{METADATA_KEY}' metadata; expected a file that mmp-export wrote")
    if len(text) > MOST_METADATA:
        raise ContractError(
            f"{source}: its metadata has {len(text)} characters, expected at most {MOST_METADATA}; use a file that "
            "mmp-export wrote"
        )
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
"""Limits for untrusted files: no model of ours exceeds them, and larger values would only cost time and memory."""
MOST_MESSAGE = 500
_LEAST_IOU, _MOST_DIFFERENCE = 0.5, 0.1
"""Bounds of the self-test's tolerances: wider ones would accept any result; int8 uses IoU 0.8 and difference 0.05."""


class _SchemaOnly(msgspec.Struct, frozen=True):
    schema_version: int


def _check_schema(text: str, source: str) -> None:
    try:
        found = msgspec.json.decode(text, type=_SchemaOnly).schema_version
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ContractError(
            f"{source}: metadata is not valid ({_one_line(error)}); export it again with mmp-export"
        ) from error
    if found != SCHEMA_VERSION:
        raise ContractError(
            f"{source}: metadata has schema {found}, this version reads {SCHEMA_VERSION}; "
            "update mmpnet, or export the model again with mmp-export"
        )


def _one_line(error: Exception) -> str:
    """The message; some quote values of the file, which may be long."""
    text = " ".join(str(error).split())
    return text if len(text) <= MOST_MESSAGE else f"{text[:MOST_MESSAGE]}..."


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
        raise ValueError(f"head {metadata.head} {'lacks' if metadata.nms is None else 'must not have'} an nms entry")
    kept = metadata.quantization is not None and metadata.quantization.kept
    if kept != (metadata.precision == "int8"):
        raise ValueError(
            f"precision is {metadata.precision}, but the quantization record "
            f"{'describes this file as int8' if kept else 'does not describe this file as int8'}"
        )
    if len(metadata.class_names) < 2:
        raise ValueError(f"class_names must be background and at least one class, found {metadata.class_names}")
    if not all(metadata.class_names) or len(set(metadata.class_names)) != len(metadata.class_names):
        raise ValueError(f"class_names must be non-empty and all different, found {metadata.class_names}")
    if max(metadata.input.size_hw) > MOST_SIDE_PX:
        raise ValueError(f"input is {metadata.input.size_hw} px, expected at most {MOST_SIDE_PX} px per side")
    _check_self_test(metadata)
    metadata.anchors.spec().grid_hw(metadata.input.size_hw)
    Thresholds(conf=metadata.default_conf, iou=metadata.default_iou, max_det=metadata.default_max_det)


def _check_self_test(metadata: ModelMetadata) -> None:
    record = metadata.self_test
    if record is None:
        return
    if not all(0 < side <= MOST_SIDE_PX for side in record.frame_hw):
        raise ValueError(f"self-test frame is {record.frame_hw} px, expected 1 to {MOST_SIDE_PX} px per side")
    if not 0 <= record.conf <= 1 or record.seed < 0:
        raise ValueError(
            f"self-test has score threshold {record.conf:g} and seed {record.seed}; expected 0 to 1, and 0 or more"
        )
    if not (0 <= record.max_score_difference <= _MOST_DIFFERENCE and _LEAST_IOU <= record.min_iou <= 1):
        raise ValueError(
            f"self-test tolerates a score difference of {record.max_score_difference:g} and IoU {record.min_iou:g}; "
            f"expected at most {_MOST_DIFFERENCE:g} and at least {_LEAST_IOU:g}"
        )
    if not all(1 <= one.class_id < len(metadata.class_names) for one in record.expected):
        raise ValueError("self-test expects a class that is not in class_names")

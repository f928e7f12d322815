"""Metadata are read back unchanged, and every invalid file is refused in one line."""

import ast
import json
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.errors import ContractError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.metadata import (
    METADATA_KEY,
    AnchorDescription,
    InputDescription,
    ModelMetadata,
    OutputDescription,
    metadata_from_properties,
    metadata_to_properties,
)
from mmpnet.contract.records import (
    Accuracy,
    AccuracyRecord,
    EvaluationRecord,
    ExpectedDetection,
    LatencyRecord,
    Licenses,
    MinimumRuntime,
    ProofRecord,
    QuantizationRecord,
    SelfTestRecord,
    TrainingRecord,
)
from mmpnet.contract.thresholds import Thresholds

ANCHORS = AnchorSpec(sizes_px=(16.0, 40.0), aspect_ratios=(1.0, 2.5), stride=8)
METADATA = ModelMetadata(
    producer_version="0.1.0",
    checkpoint_sha256="ab" * 32,
    input=InputDescription(name="images", size_hw=(64, 96), batch=1, pad_value=114),
    anchors=AnchorDescription.of(ANCHORS),
    outputs=(
        OutputDescription("xyxy", "boxes", (1, "candidates", 4), "float32", "xyxy", "input px"),
        OutputDescription("score", "scores", (1, "candidates"), "float32"),
        OutputDescription("label", "class_ids", (1, "candidates"), "int64"),
    ),
    class_names=("background", "person", 'driver\'s "mate"', "Fußgänger"),
    default_conf=0.35,
    default_iou=0.45,
    default_max_det=30,
    training=TrainingRecord("train.json", "cd" * 32, 16, 2, 3, None, "0.1.0"),
    licences=Licenses(code="Apache-2.0", weights="unknown", data="unknown"),
    minimum_runtime=MinimumRuntime(opset=13, ir_version=8, onnxruntime="1.10"),
)
ACCURACY = AccuracyRecord("COCO", "val.json", "ef" * 32, 6, Accuracy(0.32, 0.64), Accuracy(0.32, 0.63))
Edit = Callable[[dict[str, Any]], object]


def edited(edit: Edit) -> dict[str, str]:
    """The properties of METADATA after a change of its JSON."""
    properties = metadata_to_properties(METADATA)
    fields = json.loads(properties[METADATA_KEY])
    edit(fields)
    return properties | {METADATA_KEY: json.dumps(fields)}


def refusal(properties: dict[str, str]) -> str:
    """The message of the ContractError; it is one line and names its source."""
    with pytest.raises(ContractError) as caught:
        metadata_from_properties(properties, source="street.onnx")
    message = str(caught.value)
    assert message.startswith("street.onnx: ")
    assert len(message.splitlines()) == 1, message
    return message


@pytest.mark.parametrize("batch", [1, 8, "dynamic"])
@pytest.mark.parametrize("with_records", [False, True])
def test_metadata_come_back_as_they_were_written(batch: int | Literal["dynamic"], with_records: bool) -> None:
    metadata = msgspec.structs.replace(METADATA, input=msgspec.structs.replace(METADATA.input, batch=batch))
    if with_records:
        metadata = msgspec.structs.replace(
            metadata,
            evaluation=EvaluationRecord("COCO", "val.json", "ef" * 32, 6, 0.123456789, None),
            proof=ProofRecord(4, 2e-6, 1.5e-7, 3e-5, "2.4.0", "1.18.0", "1.16.0", None, "mmp-export a.pth", ACCURACY),
            self_test=SelfTestRecord(3, (64, 96), 0.2, (ExpectedDetection((1, 2, 3, 4.5), 0.4, 1),), 0.01, 0.95),
            precision="int8",
            quantization=QuantizationRecord(
                kept=True,
                verdict="faster and as accurate",
                activations="uint8",
                weights="int8",
                per_channel=True,
                calibrator="minmax",
                dataset="train.json",
                dataset_sha256="cd" * 32,
                n_images=9,
                float_layers=("/predict",),
                accuracy=ACCURACY,
                latency=LatencyRecord(4.5, 9.5, 1, "some CPU"),
            ),
        )
    properties = metadata_to_properties(metadata)
    assert all(isinstance(value, str) for value in properties.values())
    assert metadata_from_properties(properties, source="street.onnx") == metadata


def test_metadata_need_only_their_own_key() -> None:
    properties = {METADATA_KEY: metadata_to_properties(METADATA)[METADATA_KEY]}
    assert metadata_from_properties(properties, source="street.onnx") == METADATA


def test_anchors_given_as_whole_numbers_come_back() -> None:
    whole = AnchorSpec(sizes_px=(16, 40), aspect_ratios=(1, 2), stride=8)
    metadata = msgspec.structs.replace(METADATA, anchors=AnchorDescription.of(whole))
    read = metadata_from_properties(metadata_to_properties(metadata), source="street.onnx")
    assert read.anchors.spec() == whole


def test_a_name_of_a_file_that_is_no_utf8_becomes_readable() -> None:
    training = msgspec.structs.replace(METADATA.training, train_name="s\udcfcd/train.json")
    properties = metadata_to_properties(msgspec.structs.replace(METADATA, training=training))
    read = metadata_from_properties(properties, source="m.onnx")
    assert read.training.train_name == "s?d/train.json"


def test_keys_of_third_party_viewers_are_readable() -> None:
    properties = metadata_to_properties(METADATA)
    assert set(properties) == {METADATA_KEY, "names", "imgsz", "stride", "task", "batch"}
    # The keys are the graph's class ids, so that names[class_id] is correct for all readers.
    names = {0: "background", 1: "person", 2: 'driver\'s "mate"', 3: "Fußgänger"}
    assert ast.literal_eval(properties["names"]) == names
    assert ast.literal_eval(properties["imgsz"]) == [64, 96]
    assert int(properties["stride"]) == 8
    assert int(properties["batch"]) == 1
    assert properties["task"] == "detect"


def test_what_a_caller_needs_is_read_from_the_metadata() -> None:
    assert METADATA.letterbox == Letterbox(input_hw=(64, 96), pad_value=114)
    assert METADATA.thresholds == Thresholds(conf=0.35, iou=0.45, max_det=30)
    assert METADATA.anchors.spec() == ANCHORS
    assert METADATA.output_name("boxes") == "xyxy"
    assert METADATA.output_name("scores") == "score"
    assert METADATA.output_name("class_ids") == "label"


def test_a_file_without_our_key_is_refused() -> None:
    properties = metadata_to_properties(METADATA)
    del properties[METADATA_KEY]
    assert "has no 'mmpnet' metadata" in refusal(properties)
    assert "has no 'mmpnet' metadata" in refusal({})


@pytest.mark.parametrize(
    "text",
    ["", " ", "yes", "{'schema_version': 1}", '{"schema_version": 1', "[]", "[1]", "null", "1", '"text"', "{}"],
)
def test_text_that_is_not_our_json_is_refused(text: str) -> None:
    assert "metadata is not valid" in refusal({METADATA_KEY: text})


@pytest.mark.parametrize("text", ["\ud800", '{"schema_version": 3, "x": ' + "[" * 20_000], ids=["surrogate", "nested"])
def test_text_that_the_json_reader_chokes_on_is_refused_too(text: str) -> None:
    assert "metadata" in refusal({METADATA_KEY: text})


@pytest.mark.parametrize("version", [0, 1, 2, 99, -1])
def test_another_schema_is_refused_even_where_its_fields_are_unknown(version: int) -> None:
    message = refusal(edited(lambda fields: fields.update(schema_version=version, invented_later=[1])))
    assert f"metadata has schema {version}, this version reads 3" in message


@pytest.mark.parametrize("version", ["1", None, 1.5, True])
def test_a_schema_version_that_is_not_a_whole_number_is_refused(version: object) -> None:
    assert "schema_version" in refusal(edited(lambda fields: fields.update(schema_version=version)))


@pytest.mark.parametrize(
    ("expected", "edit"),
    [
        ("unknown field `color`", lambda fields: fields.update(color="red")),
        ("$.input", lambda fields: fields["input"].update(color="red")),
        ("$.anchors", lambda fields: fields["anchors"].update(offset_px=0.5)),
        ("$.outputs[1]", lambda fields: fields["outputs"][1].update(color="red")),
        ("$.training", lambda fields: fields["training"].update(color="red")),
    ],
)
def test_an_unknown_key_is_refused_at_every_level(expected: str, edit: Edit) -> None:
    message = refusal(edited(edit))
    assert "unknown field" in message
    assert expected in message


@pytest.mark.parametrize(
    ("section", "field"),
    [
        (None, "class_names"),
        (None, "anchors"),
        (None, "default_conf"),
        (None, "schema_version"),
        ("input", "size_hw"),
        ("input", "pad_value"),
        ("anchors", "fingerprint"),
        ("anchors", "stride"),
        ("training", "train_sha256"),
        ("minimum_runtime", "opset"),
    ],
)
def test_a_missing_field_is_refused(section: str | None, field: str) -> None:
    def remove(fields: dict[str, Any]) -> None:
        del (fields[section] if section else fields)[field]

    assert f"missing required field `{field}`" in refusal(edited(remove))


@pytest.mark.parametrize(
    ("path", "edit"),
    [
        ("$.default_conf", lambda fields: fields.update(default_conf="0.4")),
        ("$.default_max_det", lambda fields: fields.update(default_max_det=1.5)),
        ("$.class_names[1]", lambda fields: fields.update(class_names=["background", 1])),
        ("$.nms", lambda fields: fields.update(nms={})),
        ("$.task", lambda fields: fields.update(task="segment")),
        ("$.producer", lambda fields: fields.update(producer="other")),
        ("$.input", lambda fields: fields.update(input=None)),
        ("$.input.size_hw", lambda fields: fields["input"].update(size_hw=[64])),
        ("$.input.size_hw[0]", lambda fields: fields["input"].update(size_hw=[0, 64])),
        ("$.input.size_hw[1]", lambda fields: fields["input"].update(size_hw=[64, 64.5])),
        ("$.input.batch", lambda fields: fields["input"].update(batch=0)),
        ("$.input.batch", lambda fields: fields["input"].update(batch="any")),
        ("$.input.pad_value", lambda fields: fields["input"].update(pad_value=256)),
        ("$.input.dtype", lambda fields: fields["input"].update(dtype="float64")),
        ("$.input.layout", lambda fields: fields["input"].update(layout="CHWN")),
        ("$.input.channel_order", lambda fields: fields["input"].update(channel_order="GRB")),
        ("$.head", lambda fields: fields.update(head="mask")),
        ("$.anchors.stride", lambda fields: fields["anchors"].update(stride=8.5)),
        ("$.anchors.order", lambda fields: fields["anchors"].update(order="ratio, size, row, col")),
        ("$.outputs[0].box_format", lambda fields: fields["outputs"][0].update(box_format="xywh")),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_path(path: str, edit: Edit) -> None:
    assert f"`{path}`" in refusal(edited(edit))


@pytest.mark.parametrize(
    "change",
    [
        {"sizes_px": [16.0, 40.5]},
        {"sizes_px": [40.0, 16.0]},
        {"aspect_ratios": [1.0]},
        {"stride": 16},
        {"fingerprint": "000000000000"},
    ],
)
def test_tampered_anchors_are_refused(change: dict[str, object]) -> None:
    assert "anchors have fingerprint" in refusal(edited(lambda fields: fields["anchors"].update(change)))


@pytest.mark.parametrize("change", [{"center_variance": 0.2}, {"size_variance": 1.0}])
def test_variances_of_another_codec_are_refused(change: dict[str, object]) -> None:
    assert "offsets have the variances" in refusal(edited(lambda fields: fields["anchors"].update(change)))


@pytest.mark.parametrize("change", [{"sizes_px": []}, {"aspect_ratios": [-1.0]}, {"stride": 0}, {"sizes_px": [8, 8]}])
def test_numbers_that_are_not_anchors_are_refused(change: dict[str, object]) -> None:
    assert f"{next(iter(change))} must" in refusal(edited(lambda fields: fields["anchors"].update(change)))


@pytest.mark.parametrize("size_hw", [(65, 96), (64, 100), (4, 96)])
def test_an_input_size_off_the_stride_is_refused(size_hw: tuple[int, int]) -> None:
    message = refusal(edited(lambda fields: fields["input"].update(size_hw=list(size_hw))))
    assert f"{size_hw[0]}x{size_hw[1]} must be positive multiples of the stride 8" in message


@pytest.mark.parametrize(
    "edit",
    [
        lambda fields: fields["outputs"].pop(),
        lambda fields: fields["outputs"].append(fields["outputs"][0]),
        lambda fields: fields["outputs"][2].update(meaning="scores"),
        lambda fields: fields.update(outputs=[]),
    ],
    ids=["one missing", "one twice", "one twice instead of another", "none"],
)
def test_outputs_other_than_boxes_scores_and_class_ids_are_refused(edit: Edit) -> None:
    assert "outputs of head boxes must be boxes, scores, class_ids" in refusal(edited(edit))


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float32"},
        {"layout": "NCHW"},
        {"channel_order": "RGB"},
        {"white": 1},
        {"dtype": "float32", "layout": "NCHW", "white": 1},
        {"mean_rgb": [0.5, 0.5, 0.5]},
        {"std_rgb": [1.0, 1.0, 1.0]},
    ],
)
def test_an_input_that_no_export_has_is_refused(change: dict[str, object]) -> None:
    assert "is none of uint8-nhwc, float-nchw" in refusal(edited(lambda fields: fields["input"].update(change)))


def test_both_kinds_of_input_are_read() -> None:
    for kind, shape in (("uint8-nhwc", ("batch", 64, 96, 3)), ("float-nchw", ("batch", 3, 64, 96))):
        described = InputDescription.of(kind, name="x", size_hw=(64, 96), batch="dynamic", pad_value=114)  # type: ignore[arg-type]
        metadata = msgspec.structs.replace(METADATA, input=described)
        read = metadata_from_properties(metadata_to_properties(metadata), source="street.onnx")
        assert read.input.kind == kind
        assert read.input.shape == shape


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("lacks an nms entry", {"head": "nms", "outputs": []}),
        ("must not have an nms entry", {"nms": {"conf": "a", "iou": "b", "max_det": "c", "overridable": True}}),
        ("the quantization record", {"precision": "int8"}),
    ],
)
def test_parts_that_contradict_each_other_are_refused(message: str, change: dict[str, object]) -> None:
    if change.get("head") == "nms":
        outputs = [
            OutputDescription("d", "detections", (1, 9, 6), "float32"),
            OutputDescription("n", "num_dets", (1,), "int64"),
        ]
        change = {**change, "outputs": msgspec.to_builtins(outputs)}
    assert message in refusal(edited(lambda fields: fields.update(change)))


def test_outputs_may_stand_in_any_order() -> None:
    read = metadata_from_properties(edited(lambda fields: fields["outputs"].reverse()), source="street.onnx")
    assert read.outputs == METADATA.outputs[::-1]
    assert read.output_name("boxes") == "xyxy"


@pytest.mark.parametrize("class_names", [[], ["background"]])
def test_fewer_than_two_class_names_are_refused(class_names: list[str]) -> None:
    message = refusal(edited(lambda fields: fields.update(class_names=class_names)))
    assert "class_names must be background and at least one class" in message


@pytest.mark.parametrize("change", [{"default_conf": 1.5}, {"default_iou": -0.1}, {"default_max_det": 0}])
def test_default_thresholds_out_of_range_are_refused(change: dict[str, object]) -> None:
    assert "must be" in refusal(edited(lambda fields: fields.update(change)))


@pytest.mark.parametrize(
    "edit",
    [
        lambda fields: fields.update({"color\nred": 1}),
        lambda fields: fields["anchors"].update(fingerprint="000\nall is well"),
        lambda fields: fields.update(class_names=["back\nground"]),
    ],
    ids=["key", "fingerprint", "class name"],
)
def test_line_breaks_in_a_file_do_not_break_the_message(edit: Edit) -> None:
    assert "metadata does not fit" in refusal(edited(edit))

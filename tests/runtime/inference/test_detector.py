"""A model file detects according to its metadata, or is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import ContractError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.thresholds import Thresholds
from mmpnet.runtime.inference.decode import check_candidates, check_classes
from mmpnet.runtime.inference.detector import Detector
from support.frames import make_noise
from support.onnx_files import save_unsealed

Edit = Callable[[dict[str, Any]], object]

SIZES_HW = [(64, 64), (97, 33), (7, 301), (241, 323), (1, 1), (3, 2)]


def reference_iou(a: list[float], b: list[float]) -> float:
    """IoU of two boxes, one value at a time."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def reference_detect(
    path: Path, frame_bgr: UInt8Array, thresholds: Thresholds, *, score_power: int = 3
) -> list[tuple[list[float], float, int]]:
    """The reference: a new session and buffer, NMS and voting in loops, and the mapping to the frame written out:
    (xyxy, score, class)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    pixels, transform = Letterbox(input_hw=(64, 64), pad_value=114).apply(frame_bgr)
    boxes, scores, class_ids = session.run(["boxes", "scores", "class_ids"], {"images": pixels[None]})
    kept: list[int] = []
    for row in sorted(range(len(scores[0])), key=lambda row: -scores[0][row]):
        rivals = [k for k in kept if class_ids[0][k] == class_ids[0][row]]
        overlaps = [reference_iou(boxes[0][k].tolist(), boxes[0][row].tolist()) for k in rivals]
        if scores[0][row] >= thresholds.conf and all(iou <= thresholds.iou for iou in overlaps):
            kept.append(row)
    found = []
    for row in kept[: thresholds.max_det]:
        sides = ((transform.frame_hw[1], transform.resized_hw[1]), (transform.frame_hw[0], transform.resized_hw[0]))
        own = boxes[0][row].tolist()
        votes = [
            float(score) ** score_power
            * max(reference_iou(own, box.tolist()) - 0.5, 0.0) ** 2
            * (class_id == class_ids[0][row])
            for box, score, class_id in zip(boxes[0], scores[0], class_ids[0], strict=True)
        ]
        xyxy = []
        for axis in range(4):
            value = sum(vote * float(box[axis]) for vote, box in zip(votes, boxes[0], strict=True)) / sum(votes)
            frame_side, resized_side = sides[axis % 2]
            moved = (value - transform.top_left_xy[axis % 2]) * frame_side / resized_side
            xyxy.append(min(max(moved, 0.0), float(frame_side)))
        found.append((xyxy, float(scores[0][row]), int(class_ids[0][row])))
    return found


def edited(model: Path, out: Path, edit: Edit) -> Path:
    """A copy of a model file whose metadata `edit` has changed."""
    proto = onnx.load(str(model))
    for entry in proto.metadata_props:
        if entry.key == "mmpnet":
            metadata = json.loads(entry.value)
            edit(metadata)
            entry.value = json.dumps(metadata)
    save_unsealed(proto, str(out))
    return out


def assert_same(a: Detections, b: Detections) -> None:
    np.testing.assert_array_equal(a.xyxy, b.xyxy)
    np.testing.assert_array_equal(a.score, b.score)
    np.testing.assert_array_equal(a.class_id, b.class_id)


def assert_as_expected(found: Detections, expected: list[tuple[list[float], float, int]]) -> None:
    assert len(found) == len(expected)
    # An input of 64 px for a frame of 301 px magnifies float32's rounding.
    np.testing.assert_allclose(found.xyxy, [xyxy for xyxy, _, _ in expected], atol=1e-3)
    np.testing.assert_allclose(found.score, [score for _, score, _ in expected], atol=1e-6)
    assert found.class_id.tolist() == [class_id for _, _, class_id in expected]
    assert len(found) > 0


def test_one_detector_serves_frames_of_any_size_as_a_fresh_session_would(tiny_onnx: Path, detector: Detector) -> None:
    for seed, size_hw in enumerate(SIZES_HW):
        frame = make_noise(seed, size_hw)
        assert_as_expected(detector(frame), reference_detect(tiny_onnx, frame, detector.thresholds))


def test_a_file_from_before_the_power_of_the_scores_was_stated_gives_what_it_always_gave(
    tiny_onnx: Path, tmp_path: Path
) -> None:
    older = Detector(
        edited(tiny_onnx, tmp_path / "older.onnx", lambda fields: fields.pop("vote_score_power")),
        provider="cpu",
        threads=1,
    )
    frame = make_noise(0, SIZES_HW[0])
    assert_as_expected(older(frame), reference_detect(tiny_onnx, frame, older.thresholds, score_power=1))


def test_the_same_frame_gives_the_same_result_and_results_are_the_callers_own(detector: Detector) -> None:
    frame = make_noise(0, (50, 70))
    before = frame.copy()
    first = detector(frame)
    kept = Detections(first.xyxy.copy(), first.score.copy(), first.class_id.copy())
    detector(make_noise(1, (70, 50)))
    assert_same(first, kept)
    assert_same(detector(frame), kept)
    np.testing.assert_array_equal(frame, before)


def test_thresholds_default_to_those_of_the_file(tiny_onnx: Path) -> None:
    assert Detector(tiny_onnx, provider="cpu", threads=1).thresholds == Thresholds(conf=0.3, iou=0.5, max_det=50)


def test_a_higher_score_threshold_keeps_the_best_of_a_lower_one(tiny_onnx: Path) -> None:
    frame = make_noise(2, (64, 80))
    low = Detector(tiny_onnx, provider="cpu", threads=1, thresholds=Thresholds(conf=0.0, iou=0.5, max_det=1000))
    everything = low(frame)
    conf = float(np.median(everything.score))
    high = Detector(tiny_onnx, provider="cpu", threads=1, thresholds=Thresholds(conf=conf, iou=0.5, max_det=1000))
    count = int((everything.score >= conf).sum())
    assert 0 < count < len(everything)
    expected = Detections(everything.xyxy[:count], everything.score[:count], everything.class_id[:count])
    assert_same(high(frame), expected)


def test_a_frame_with_nothing_above_the_threshold_is_empty(tiny_onnx: Path) -> None:
    strict = Detector(tiny_onnx, provider="cpu", threads=1, thresholds=Thresholds(conf=1.0))
    found = strict(make_noise(3, (64, 80)))
    assert (found.xyxy.shape, found.score.shape, found.class_id.shape) == ((0, 4), (0,), (0,))


def test_other_thresholds_need_no_other_session_and_change_no_detector(tiny_onnx: Path) -> None:
    frame = make_noise(4, (64, 80))
    every = Detector(tiny_onnx, provider="cpu", threads=1, thresholds=Thresholds(conf=0.0, iou=0.5, max_det=1000))
    many = every(frame)
    few = every.with_thresholds(Thresholds(conf=0.0, iou=0.5, max_det=3))
    np.testing.assert_array_equal(few(frame).xyxy, many.xyxy[:3])
    strict = few.with_thresholds(Thresholds(conf=0.0, iou=0.1, max_det=1000))
    assert 3 < len(strict(frame)) < len(many), "a lower NMS threshold leaves fewer boxes"
    assert len(every(frame)) == len(many)
    assert (every.thresholds.max_det, few.thresholds.max_det, strict.thresholds.iou) == (1000, 3, 0.1)
    with pytest.raises(AttributeError):
        every.thresholds = few.thresholds  # type: ignore[misc]


def test_detectors_of_one_session_are_closed_together(tiny_onnx: Path) -> None:
    detector = Detector(tiny_onnx, provider="cpu", threads=1)
    with detector.with_thresholds(Thresholds(conf=0.9)):
        pass
    with pytest.raises(ContractError, match="has been closed"):
        detector(make_noise(0, (64, 64)))


def test_every_stage_is_timed_and_warming_up_changes_nothing(tiny_onnx: Path) -> None:
    fresh = Detector(tiny_onnx, provider="cpu", threads=1)
    fresh.warm_up()
    found, times = fresh.timed(make_noise(5, (64, 80)))
    assert min(times.preprocess_ms, times.infer_ms, times.postprocess_ms) > 0
    assert_same(found, Detector(tiny_onnx, provider="cpu", threads=1)(make_noise(5, (64, 80))))


@pytest.mark.parametrize("shape", [(64, 80), (64, 80, 1), (64, 80, 4)])
def test_a_frame_that_is_not_bgr_is_the_callers_mistake(detector: Detector, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        detector(np.zeros(shape, np.uint8))


def test_a_file_without_our_metadata_is_a_contract_error(tmp_path: Path, tiny_onnx: Path) -> None:
    proto = onnx.load(str(tiny_onnx))
    kept = [entry for entry in proto.metadata_props if entry.key != "mmpnet"]
    assert len(kept) < len(proto.metadata_props)
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    path = tmp_path / "bare.onnx"
    save_unsealed(proto, str(path))
    with pytest.raises(ContractError, match=r"has no 'mmpnet' metadata.*mmp-export") as caught:
        Detector(path, provider="cpu")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda m: m["input"].update(size_hw=[64, 128]), r"images is \[1, 64, 64, 3\].*\[1, 64, 128, 3\]"),
        (lambda m: m["input"].update(size_hw=[128, 128]), r"images is \[1, 64, 64, 3\].*\[1, 128, 128, 3\]"),
        (lambda m: m["input"].update(name="pixels"), "inputs are images .*pixels"),
        (lambda m: m["input"].update(batch=2), r"images is \[1, 64, 64, 3\].*\[2, 64, 64, 3\]"),
        (lambda m: m["outputs"][0].update(name="rectangles"), "rectangles is absent in the graph"),
        (lambda m: m["anchors"].update(stride=16), "anchors have fingerprint"),
        (lambda m: m.update(schema_version=4), "schema 4"),
    ],
)
def test_metadata_that_disagrees_with_the_graph_is_a_contract_error(
    tmp_path: Path, tiny_onnx: Path, edit: Edit, fault: str
) -> None:
    path = edited(tiny_onnx, tmp_path / "edited.onnx", edit)
    with pytest.raises(ContractError, match=fault) as caught:
        Detector(path, provider="cpu")
    assert str(path) in str(caught.value)


def test_metadata_with_the_outputs_swapped_is_a_contract_error(tmp_path: Path, tiny_onnx: Path) -> None:
    def swap(metadata: dict[str, Any]) -> None:
        boxes, scores = metadata["outputs"][:2]
        boxes["name"], scores["name"] = scores["name"], boxes["name"]

    with pytest.raises(ContractError):
        Detector(edited(tiny_onnx, tmp_path / "swapped.onnx", swap), provider="cpu")


def test_a_graph_of_another_batch_than_its_metadata_is_a_contract_error(tmp_path: Path, tiny_onnx: Path) -> None:
    proto = onnx.load(str(tiny_onnx))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    save_unsealed(proto, str(tmp_path / "two.onnx"))
    with pytest.raises(ContractError):
        Detector(tmp_path / "two.onnx", provider="cpu")


def test_the_unchanged_file_passes_the_same_editing(tmp_path: Path, tiny_onnx: Path) -> None:
    path = edited(tiny_onnx, tmp_path / "same.onnx", lambda metadata: metadata)
    assert Detector(path, provider="cpu", threads=1).class_names == ("background", "person")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("frame_hw", [400_000, 400_000], "self-test frame is"),
        ("frame_hw", [-1, 64], "self-test frame is"),
        ("conf", 7.0, "self-test has score threshold 7"),
        ("max_score_difference", 1e9, "self-test tolerates a score difference of 1e\\+09"),
        ("min_iou", -1.0, "and IoU -1"),
    ],
)
def test_a_self_test_that_no_export_writes_is_one_line(
    field: str, value: object, message: str, tiny_onnx: Path, tmp_path: Path
) -> None:
    def edit(metadata: dict[str, Any]) -> None:
        metadata["self_test"][field] = value

    path = edited(tiny_onnx, tmp_path / "edited.onnx", edit)
    with pytest.raises(ContractError, match=message):
        Detector(path, provider="cpu", threads=1)


@pytest.mark.parametrize("class_id", [-1, 0, 2])
def test_a_class_without_a_name_is_one_line(class_id: int) -> None:
    found = Detections(np.ones((1, 4), np.float32), np.array([0.5], np.float32), np.array([class_id]))
    with pytest.raises(ContractError, match=r"a\.onnx: gives class ids without a name"):
        check_classes(found, class_count=2, source="a.onnx")


def test_numbers_that_are_not_boxes_are_one_line(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector(tiny_onnx, provider="cpu", threads=1)
    broken = [np.full((1, 2, 4), np.nan, np.float32), np.ones((1, 2), np.float32), np.ones((1, 2), np.int64)]
    monkeypatch.setattr(detector, "_run", lambda _feed: broken)
    with pytest.raises(
        ContractError, match=r"tiny\.onnx: gives invalid detections \(boxes and scores must be finite numbers\)"
    ):
        detector(np.full((64, 64, 3), 90, np.uint8))


def test_more_candidates_than_nms_has_memory_for_are_one_line() -> None:
    with pytest.raises(ContractError, match=r"gives 200000 boxes per image, expected 10000 at most"):
        check_candidates([np.zeros((1, 200_000, 4), np.float32)], source="a.onnx")


def test_metadata_of_megabytes_are_not_read(tiny_onnx: Path, tmp_path: Path) -> None:
    path = edited(tiny_onnx, tmp_path / "large.onnx", lambda metadata: metadata.update(producer="x" * 1_500_000))
    with pytest.raises(ContractError, match=r"characters, expected at most 1000000"):
        Detector(path, provider="cpu", threads=1)

"""Third-party detectors: files are recognized by their shapes, and outputs are decoded as computed by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmpnet.contract.arrays import FloatArray
from mmpnet.contract.errors import ContractError
from mmpnet.contract.thresholds import Thresholds
from mmpnet.evaluation.peers.coco_classes import COCO_CLASSES
from mmpnet.evaluation.peers.detector import FAMILIES, PeerDetector, family_of
from mmpnet.evaluation.peers.family import Family, Resize, Signature, grid_cells

FRAME_HW = (720, 1280)
"""In a centered letterbox of 320 x 320 its scale is 1/4, and it starts 70 px from the top."""
HALF = Resize((32, 128), (64, 64))
"""Letterboxed at half size."""
CELLS = 8 * 8 + 4 * 4 + 2 * 2
THRESHOLDS = Thresholds(conf=0.25, iou=0.5, max_det=10)
NANODET_SHAPES = ((64, 80), (16, 80), (4, 80), (64, 32), (16, 32), (4, 32))


@dataclass(frozen=True)
class Value:
    """An input or output in ONNX Runtime's format."""

    name: str
    shape: list[Any]
    type: str = "tensor(float)"


class Session:
    """Gives the same outputs for every input, and records the latest input."""

    def __init__(self, input_shape: list[Any], outputs: Sequence[NDArray[Any]], shapes: Sequence[list[Any]]) -> None:
        self.input_shape, self.outputs, self.shapes = input_shape, outputs, shapes
        self.fed: dict[str, FloatArray] = {}

    def get_inputs(self) -> list[Value]:
        return [Value("input", self.input_shape)]

    def get_outputs(self) -> list[Value]:
        return [Value(f"output{n}", shape) for n, shape in enumerate(self.shapes)]

    def run(self, _: None, fed: dict[str, FloatArray]) -> Sequence[NDArray[Any]]:
        self.fed = fed
        return self.outputs


def rtmdet_session(rows: Sequence[Sequence[float]], labels: Sequence[int]) -> Session:
    boxes = np.array(rows, np.float32).reshape(1, -1, 5)
    shapes: list[list[Any]] = [["batch", "num_dets", "Reshapedets_dim_2"], ["batch", "num_dets"]]
    return Session(["batch", 3, "height", "width"], [boxes, np.array([labels], np.int64)], shapes)


def yolox_output(rows: dict[int, Sequence[float]]) -> FloatArray:
    output = np.zeros((1, CELLS, 85), np.float32)
    for cell, values in rows.items():
        output[0, cell, : len(values)] = values
    return output


def yolox_session(rows: dict[int, Sequence[float]]) -> Session:
    return Session([1, 3, 64, 64], [yolox_output(rows)], [[1, CELLS, 85]])


def family(signature: Signature) -> Family:
    found = family_of(signature)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("YOLOX", Signature((64, 64), ((1, CELLS, 85),))),
        ("YOLOX", Signature((64, 64), (("batch", CELLS, 85),))),
        ("NanoDet", Signature((64, 64), NANODET_SHAPES)),
        ("RTMDet", Signature(None, (("batch", "num_dets", "dim"), ("batch", "num_dets")))),
        ("RTMDet", Signature((320, 320), ((1, 100, 5), (1, 100)))),
        ("YOLO", Signature((64, 64), ((1, 84, CELLS),))),
        ("YOLO, end to end", Signature((64, 64), ((1, 300, 6),))),
    ],
)
def test_a_file_is_of_one_family_at_most(name: str, signature: Signature) -> None:
    assert [one.name for one in FAMILIES if one.fits(signature)] == [name]


@pytest.mark.parametrize(
    "signature",
    [
        Signature((64, 64), ((1, CELLS, 86),)),
        Signature((48, 64), ((1, CELLS, 85),)),
        Signature(None, ((1, CELLS, 85),)),
        Signature((64, 64), NANODET_SHAPES[:5]),
        Signature((64, 64), ((1, 3, 64, 64),)),
        Signature(None, (("batch", "n", 6), ("batch", "n"))),
        Signature((64, 64), ()),
    ],
)
def test_other_shapes_are_of_no_family(signature: Signature) -> None:
    assert family_of(signature) is None


def test_there_are_80_distinct_coco_classes_and_person_is_first() -> None:
    assert len(set(COCO_CLASSES)) == len(COCO_CLASSES) == 80
    assert COCO_CLASSES[0] == "person"
    assert (COCO_CLASSES[15], COCO_CLASSES[16], COCO_CLASSES[79]) == ("cat", "dog", "toothbrush")


def test_grid_cells_stand_map_after_map_row_after_row() -> None:
    cells, strides = grid_cells((64, 96))
    expected = [(col, row, s) for s in (8, 16, 32) for row in range(64 // s) for col in range(96 // s)]
    np.testing.assert_array_equal(np.concatenate([cells, strides], axis=1), expected)


def test_yolox_by_hand() -> None:
    cell = 64 + 1 * 4 + 2  # row 1, column 2 of stride 16
    output = yolox_output({cell: [0.25, 0.5, np.log(1.5), np.log(2.0), 0.9, 0.8], 0: [0.5, 0.5, 0, 0, 0.5, 0.2]})
    boxes, scores = family(Signature((64, 64), ((1, CELLS, 85),))).decode([output], HALF, 0.25, 0)
    center, half = np.array([2.25, 1.5]) * 16, np.array([1.5, 2.0]) * 16 / 2
    np.testing.assert_allclose(boxes, [np.concatenate([center - half, center + half]) * 2], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.72], rtol=1e-5)


def test_nanodet_by_hand() -> None:
    outputs = [np.zeros(shape, np.float32) for shape in NANODET_SHAPES]
    outputs[1][1 * 4 + 2, 0] = 0.9  # row 1, column 2 of stride 16
    outputs[0][5, 16] = 0.9  # a dog
    sides = outputs[4][1 * 4 + 2].reshape(4, 8)
    for side, distance in zip(sides, (1, 0, 2, 1), strict=True):
        side[distance] = 50  # as good as certain
    sides[3, [1, 2]] = 50  # halfway
    boxes, scores = family(Signature((64, 64), NANODET_SHAPES)).decode(outputs, HALF, 0.25, 0)
    center_x, center_y = 2.5 * 16, 1.5 * 16
    in_input = [center_x - 16, center_y, center_x + 32, center_y + 1.5 * 16]
    np.testing.assert_allclose(boxes, [np.array(in_input) * (2, 0.5, 2, 0.5)], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.9])


def test_yolo_end_to_end_by_hand() -> None:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, :4] = [[80, 90, 160, 170, 0.9, 0], [0, 70, 10, 75, 0.8, 2], [0, 0, 40, 80, 0.3, 0], [1, 80, 2, 90, 0.2, 0]]
    resize = Resize(FRAME_HW, (320, 320))
    decode = family(Signature((320, 320), ((1, 300, 6),))).decode
    boxes, scores = decode([rows], resize, 0.25, 0)
    np.testing.assert_allclose(boxes, [[320, 80, 640, 400], [0, 0, 160, 40]], atol=1e-3)
    np.testing.assert_allclose(scores, [0.9, 0.3])
    assert decode([rows], resize, 0.25, 2)[1].tolist() == pytest.approx([0.8])


def test_yolo_before_nms_by_hand() -> None:
    output = np.zeros((1, 84, 2100), np.float32)
    output[0, :6, 7] = [120, 130, 80, 80, 0.9, 0.1]
    output[0, :6, 8] = [120, 130, 80, 80, 0.1, 0.9]  # another class
    found = family(Signature((320, 320), ((1, 84, 2100),)))
    boxes, scores = found.decode([output], Resize(FRAME_HW, (320, 320)), 0.25, 0)
    np.testing.assert_allclose(boxes, [[320, 80, 640, 400]], atol=1e-3)
    np.testing.assert_allclose(scores, [0.9])
    assert found.needs_nms


def test_yolo_is_fed_rgb_between_gray_bars() -> None:
    frame = np.zeros((*FRAME_HW, 3), np.uint8)
    frame[..., 0] = 255  # blue
    pixels = family(Signature((320, 320), ((1, 300, 6),))).pixels(frame, (320, 320))
    assert pixels.shape == (1, 3, 320, 320)
    np.testing.assert_allclose(pixels[0, :, 160, 160], [0, 0, 1])
    np.testing.assert_allclose(pixels[0, :, [69, 250], 5], 114 / 255, rtol=1e-6)


def test_rtmdet_is_fed_standardized_bgr_in_the_top_left_corner_and_its_boxes_come_back() -> None:
    session = rtmdet_session([[8, 16, 24, 32, 0.9], [0, 0, 9, 9, 0.8], [1, 1, 5, 5, 0.1]], [0, 1, 0])
    detector = PeerDetector(session, name="rtm.onnx", wanted=["person"], thresholds=THRESHOLDS, input_hw=(64, 64))
    found = detector(np.full((32, 128, 3), (255, 0, 0), np.uint8))
    np.testing.assert_allclose(found.xyxy, [[16, 32, 48, 32]], err_msg="scaled by two, clipped to 32 px of height")
    np.testing.assert_allclose(found.score, [0.9])
    pixels = session.fed["input"]
    assert pixels.shape == (1, 3, 64, 64)
    mean, std = np.array([103.53, 116.28, 123.675]), np.array([57.375, 57.12, 58.395])
    np.testing.assert_allclose(pixels[0, :, 15, 63], (np.array([255, 0, 0]) - mean) / std, rtol=1e-5)
    np.testing.assert_allclose(pixels[0, :, 16, 0], (114 - mean) / std, rtol=1e-4)


def test_boxes_that_overlap_stay_where_the_network_has_its_own_nms_and_stand_best_first() -> None:
    session = rtmdet_session([[0, 0, 20, 20, 0.6], [0, 0, 20, 19, 0.7]], [0, 0])
    detector = PeerDetector(session, name="rtm.onnx", wanted=["person"], thresholds=THRESHOLDS, input_hw=(64, 64))
    np.testing.assert_allclose(detector(np.zeros((64, 64, 3), np.uint8)).score, [0.7, 0.6])


def test_nms_is_within_a_class_and_classes_get_the_numbers_of_the_caller() -> None:
    same_place = [0.5, 0.5, np.log(2), np.log(2), 1.0]
    person, dog = np.zeros(80), np.zeros(80)
    person[0], dog[16] = 0.9, 0.8
    rows: dict[int, Sequence[float]] = {
        9: [*same_place, *person],
        10: [-0.5, *same_place[1:], *(person * 0.9)],
        11: [-1.5, *same_place[1:], *dog],
    }
    session = yolox_session(rows)
    detector = PeerDetector(session, name="y.onnx", wanted=["dog", "cart", "person"], thresholds=THRESHOLDS)
    assert detector.class_names == ("background", "dog", "person"), "a cart is no class of COCO"
    found = detector(np.zeros((64, 64, 3), np.uint8))
    np.testing.assert_allclose(found.score, [0.9, 0.8], rtol=1e-6)
    assert found.class_id.tolist() == [2, 1]
    np.testing.assert_allclose(found.xyxy[0], found.xyxy[1])


@pytest.mark.parametrize("shape", [[4, 3, 64, 64], [1, 1, 64, 64], [1, 3, 64, "width"], [1, 3, 64]])
def test_inputs_that_no_frame_fits_are_refused(shape: list[Any]) -> None:
    session = Session(shape, [], [[1, CELLS, 85]])
    with pytest.raises(ContractError, match=r"other\.onnx: inputs input \[.*; expected a file of mmp-export, or"):
        PeerDetector(session, name="other.onnx", wanted=["person"], thresholds=THRESHOLDS)


def test_a_network_without_the_wanted_classes_says_what_it_knows() -> None:
    with pytest.raises(ContractError, match=r"r\.onnx: is a RTMDet network, which knows person, but none of: dog, cat"):
        PeerDetector(rtmdet_session([], []), name="r.onnx", wanted=["dog", "cat"], thresholds=THRESHOLDS)
    with pytest.raises(ContractError, match="which knows 80 classes of COCO, but none of: cart"):
        PeerDetector(yolox_session({}), name="y.onnx", wanted=["cart"], thresholds=THRESHOLDS)


def test_input_sizes_that_the_network_does_not_take_are_refused() -> None:
    def opened(session: Session, input_hw: tuple[int, int] | None) -> PeerDetector:
        return PeerDetector(session, name="x.onnx", wanted=["person"], thresholds=THRESHOLDS, input_hw=input_hw)

    with pytest.raises(ContractError, match="its input is fixed to 64x64 px; leave the size out"):
        opened(yolox_session({}), (96, 96))
    with pytest.raises(ContractError, match="100x96 px; expected multiples of 32"):
        opened(rtmdet_session([], []), (100, 96))
    fixed, free = opened(yolox_session({}), (64, 64)), opened(rtmdet_session([], []), None)
    assert (fixed.input_hw, fixed.has_free_input) == ((64, 64), False)
    assert (free.input_hw, free.has_free_input) == ((320, 320), True)


def test_outputs_that_are_not_the_familys_are_one_line_with_the_name() -> None:
    decoded = PeerDetector(
        yolox_session({3: [30, 20, 24, 48, 0.9, 0.8]}), name="decoded.onnx", wanted=["person"], thresholds=THRESHOLDS
    )
    with pytest.raises(ContractError, match=r"decoded\.onnx gives boxes that are already decoded; export it without"):
        decoded(np.zeros((64, 64, 3), np.uint8))
    session = rtmdet_session([], [])
    session.outputs = [np.zeros((1, 2, 6), np.float32), np.zeros((1, 2), np.int64)]
    six = PeerDetector(session, name="six.onnx", wanted=["person"], thresholds=THRESHOLDS)
    with pytest.raises(ContractError, match=r"six\.onnx gives boxes of shape \(2, 6\); expected \(N, 5\)"):
        six(np.zeros((64, 64, 3), np.uint8))

"""Labels from a detector that is already trained: an ONNX teacher looks at the training pictures once.

What it finds beside the boxes that people drew becomes a box whose label is only as sure as the teacher's score: the
student should then say that score, not certainty (soft labels after Hinton et al. 2015, drawn once, not per view).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import onnxruntime

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.boxes import clip, nms
from mmpnet.contract.detections import Detections, Thresholds
from mmpnet.contract.errors import MmpnetError, TrainingError
from mmpnet.contract.letterbox import PAD_VALUE
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.files import is_file

LEAST_SCORE = 0.01
NMS_IOU = 0.5
MAX_TEACHER_BOXES = 100
LARGEST_LOG_SIZE = 10.0
"""A box of 22,000 strides: only sizes in pixels, which need no decoding any more, are above it."""

Detect: TypeAlias = Callable[[UInt8Array], Detections]


def open_teacher(path: Path, class_names: Sequence[str]) -> Detect:
    """A teacher as a function from frame to Detections, with the student's class ids.

    Takes files of mmp-export (classes by name), and YOLOX exports of COCO classes (for a student of people).

    Raises: TrainingError if the file is neither, or knows none of the classes.
    """
    if not is_file(path):
        raise TrainingError(f"{path}: no such teacher file; --teacher takes a detector as ONNX")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise TrainingError(f"{path}: ONNX Runtime cannot open the teacher ({_one_line(error)})") from error
    if "mmpnet" in session.get_modelmeta().custom_metadata_map:
        return _mmpnet_teacher(path, class_names)
    teacher = YoloxTeacher.of(session, path.name)
    if teacher is None:
        inputs, outputs = (
            ", ".join(f"{one.name} {one.shape}" for one in some)
            for some in (session.get_inputs(), session.get_outputs())
        )
        raise TrainingError(
            f"{path}: is not a detector that can teach (inputs: {inputs}; outputs: {outputs}); expected a file of "
            "mmp-export, or a YOLOX export with one input (1, 3, H, W) and one output (1, cells, 85)"
        )
    if "person" not in class_names:
        raise TrainingError(f"{path}: teaches COCO's class person, which is not among {list(class_names[1:])}")
    teacher.class_id = class_names.index("person")
    return teacher


def _mmpnet_teacher(path: Path, class_names: Sequence[str]) -> Detect:
    try:
        detector = Detector(
            path, thresholds=Thresholds(conf=LEAST_SCORE, iou=NMS_IOU, max_det=MAX_TEACHER_BOXES), provider="cpu"
        )
    except MmpnetError as error:
        raise TrainingError(f"teacher {error}") from error
    to_student = np.array([class_names.index(n) if n in class_names else 0 for n in detector.class_names])
    if not to_student[1:].any():
        raise TrainingError(
            f"{path}: teaches {list(detector.class_names[1:])}, none of which is among {list(class_names[1:])}"
        )

    def detect(frame_bgr: UInt8Array) -> Detections:
        found = detector(frame_bgr)
        class_id = to_student[found.class_id]
        known = class_id > 0
        return Detections(xyxy=found.xyxy[known], score=found.score[known], class_id=class_id[known])

    return detect


class YoloxTeacher:
    """YOLOX (Ge et al. 2021) as exported with undecoded outputs: BGR 0..255, letterboxed to the top left corner; per
    cell of strides 8, 16 and 32 a centre, log sizes, objectness and COCO's 80 class scores, person first."""

    STRIDES = (8, 16, 32)

    def __init__(self, session: onnxruntime.InferenceSession, input_hw: tuple[int, int], name: str) -> None:
        self._session = session
        self._name = name
        self._input_name = session.get_inputs()[0].name
        self._input_hw = input_hw
        self.class_id = 1
        cells, strides = [], []
        for stride in self.STRIDES:
            rows, cols = np.mgrid[: input_hw[0] // stride, : input_hw[1] // stride]
            cells.append(np.stack([cols, rows], axis=-1).reshape(-1, 2))
            strides.append(np.full((rows.size, 1), stride))
        self._cells = np.concatenate(cells).astype(np.float32)
        self._strides = np.concatenate(strides).astype(np.float32)

    @classmethod
    def of(cls, session: onnxruntime.InferenceSession, name: str) -> "YoloxTeacher | None":
        """The teacher, where inputs and outputs have YOLOX's shapes."""
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            return None
        batch, channels, height, width = inputs[0].shape
        if (isinstance(batch, int) and batch != 1) or channels != 3:
            return None
        if not all(isinstance(side, int) and side % max(cls.STRIDES) == 0 for side in (height, width)):
            return None
        cells = sum((height // stride) * (width // stride) for stride in cls.STRIDES)
        return cls(session, (height, width), name) if list(outputs[0].shape)[1:] == [cells, 85] else None

    def __call__(self, frame_bgr: UInt8Array) -> Detections:
        height, width = frame_bgr.shape[:2]
        scale = min(self._input_hw[0] / height, self._input_hw[1] / width)
        resized = cv2.resize(frame_bgr, (max(int(width * scale), 1), max(int(height * scale), 1)))
        canvas = np.full((*self._input_hw, 3), PAD_VALUE, np.uint8)
        canvas[: resized.shape[0], : resized.shape[1]] = resized
        pixels = canvas.transpose(2, 0, 1)[None].astype(np.float32)
        output = self._session.run(None, {self._input_name: pixels})[0][0]  # (cells, 85)
        if output[:, 2:4].max() > LARGEST_LOG_SIZE:
            raise TrainingError(
                f"the teacher {self._name} gives boxes that are decoded already; export it without decoding "
                "(YOLOX: leave --decode_in_inference out)"
            )
        score = output[:, 4] * output[:, 5]
        likely = np.flatnonzero(score > LEAST_SCORE)
        center = (output[likely, :2] + self._cells[likely]) * self._strides[likely]
        half_wh = np.exp(output[likely, 2:4]) * self._strides[likely] / 2
        boxes = np.concatenate([center - half_wh, center + half_wh], axis=1) / scale
        boxes, score = clip(boxes.astype(np.float32), (height, width)), score[likely].astype(np.float32)
        kept = nms(boxes, score, NMS_IOU)[:MAX_TEACHER_BOXES]
        return Detections(boxes[kept], score[kept], np.full(len(kept), self.class_id, np.int64))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]

"""Compare the outputs of the ONNX graph with those of the network, and keep the largest differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.errors import ExportError
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.metadata import InputKind
from mmpnet.export.graph import CANDIDATE_NAMES, GRID_NAME, INPUT_NAME
from mmpnet.system.onnx_runtime import onnxruntime
from mmpnet.train.network.inference_net import CandidateNet

MAX_GRID_DIFFERENCE = 1e-2
"""Of raw logits and offsets, which span about 20."""
MAX_SCORE_DIFFERENCE = 1e-4
MAX_BOX_DIFFERENCE_PX = 0.05


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest differences between torch and ONNX Runtime over n_images letterboxed pictures."""

    n_images: int
    max_grid_difference: float
    max_score_difference: float
    max_box_difference_px: float

    def check(self) -> None:
        """Raises: ExportError if a difference is above its tolerance."""
        within = (
            self.max_grid_difference <= MAX_GRID_DIFFERENCE
            and self.max_score_difference <= MAX_SCORE_DIFFERENCE
            and self.max_box_difference_px <= MAX_BOX_DIFFERENCE_PX
        )
        if not within:  # also where a difference is NaN
            raise ExportError(
                f"torch and ONNX Runtime differ by {self.max_grid_difference:.2g} in the grid, "
                f"{self.max_score_difference:.2g} in score and {self.max_box_difference_px:.2g} px in boxes, tolerated "
                f"are {MAX_GRID_DIFFERENCE:g}, {MAX_SCORE_DIFFERENCE:g} and {MAX_BOX_DIFFERENCE_PX:g}; the file was "
                "not kept. Try another --opset or version of torch"
            )


def compare(
    candidates: CandidateNet,
    model_bytes: bytes,
    pictures: Sequence[UInt8Array],
    *,
    batch: int,
    kind: InputKind = "uint8-nhwc",
) -> Parity:
    """Run letterboxed pictures (H, W, 3) through torch and the full graph in ONNX Runtime, `batch` at a time, on CPU.

    Every candidate's box is compared, not only those that NMS keeps.

    Raises: ExportError if ONNX Runtime cannot load the model.
    """
    session = open_graph(model_bytes)
    # Candidates of nearly equal score may swap ranks, so torch gives twice as many to find each one's partner in.
    wide = CandidateNet(candidates.network, candidates.anchors, candidates.input_hw, top_k=2 * candidates.top_k).eval()
    differences: list[tuple[float, float, float]] = []
    for start in range(0, len(pictures), batch):
        chunk = list(pictures[start : start + batch])
        images = np.stack(chunk + [chunk[-1]] * (batch - len(chunk)))
        with torch.inference_mode():
            raw = wide.network(wide.normalize(torch.from_numpy(images)))
            expected = [tensor.numpy() for tensor in wide.select(raw)]
        grid, *found = session.run([GRID_NAME, *CANDIDATE_NAMES], {INPUT_NAME: as_input(images, kind)})
        for row in range(len(chunk)):
            score, box = _largest_differences([o[row] for o in found], [o[row] for o in expected])
            differences.append((float(np.abs(grid[row] - raw[row].numpy()).max()), score, box))
    return Parity(len(pictures), *(float(worst) for worst in np.max(np.array(differences), axis=0)))


def as_input(images_bgr: UInt8Array, kind: InputKind) -> NDArray[Any]:
    """Letterboxed pictures (B, H, W, 3) as a graph with this kind of input takes them."""
    if kind == "uint8-nhwc":
        return images_bgr
    return np.ascontiguousarray(images_bgr[..., ::-1].transpose(0, 3, 1, 2)).astype(np.float32) / 255


def synthetic_pictures(letterbox: Letterbox, *, count: int, seed: int = 0) -> list[UInt8Array]:
    """Seeded frames of odd sizes, letterboxed: gradients, shapes and noise, so that every channel is busy."""
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        height, width = (int(side) for side in random.integers(200, 701, size=2))
        ramp = np.linspace(0, 255, width)[None, :, None] * random.random(3) + np.zeros((height, 1, 1))
        frame: UInt8Array = ramp.astype(np.uint8)
        for _ in range(12):
            x, y = int(random.integers(width)), int(random.integers(height))
            axes = tuple(int(a) for a in random.integers(5, 120, size=2))
            color = tuple(int(c) for c in random.integers(256, size=3))
            cv2.ellipse(frame, (x, y), axes, float(random.integers(180)), 0, 360, color, -1)
        noisy = cv2.add(frame, random.integers(0, 40, frame.shape, dtype=np.uint8))
        pictures.append(letterbox.apply(np.asarray(noisy, np.uint8))[0])
    return pictures


def _largest_differences(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Of one picture's boxes, scores and class ids: in score rank by rank, and in px to the torch box that each box is.

    A torch box can only be it with the same class and a score within tolerance; without one the distance is infinite.
    """
    boxes, scores, class_ids = found
    torch_boxes, torch_scores, torch_ids = expected
    score_difference = np.abs(scores - torch_scores[: len(scores)]).max()
    partner = (np.abs(scores[:, None] - torch_scores) <= MAX_SCORE_DIFFERENCE) & (class_ids[:, None] == torch_ids)
    distance = np.where(partner, np.abs(boxes[:, None] - torch_boxes[None]).max(axis=2), np.inf)  # (K, 2K)
    return float(score_difference), float(distance.min(axis=1).max())


def open_graph(model_bytes: bytes) -> Any:
    """A session on the CPU.

    Raises: ExportError if ONNX Runtime cannot load the graph.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the exported graph: {reason}; try another --opset"
        ) from error

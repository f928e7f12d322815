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
from mmpnet.contract.input_kinds import InputKind
from mmpnet.contract.letterbox import Letterbox
from mmpnet.export.graph import CANDIDATE_NAMES, GRID_NAME, INPUT_NAME
from mmpnet.system.onnx_runtime import onnxruntime
from mmpnet.train.network.inference_net import CandidateNet

MAX_GRID_DIFFERENCE = 1e-2
"""Of raw logits and offsets, which have a range of about 20."""
MAX_SCORE_DIFFERENCE = 1e-4
MAX_BOX_DIFFERENCE_PX = 0.05


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest differences between torch and ONNX Runtime over n_images letterboxed images."""

    n_images: int
    max_grid_difference: float
    max_score_difference: float
    max_box_difference_px: float

    def check(self) -> None:
        """Raises: ExportError if a difference is above its tolerance, or NaN."""
        within = (
            self.max_grid_difference <= MAX_GRID_DIFFERENCE
            and self.max_score_difference <= MAX_SCORE_DIFFERENCE
            and self.max_box_difference_px <= MAX_BOX_DIFFERENCE_PX
        )
        if not within:  # also where a difference is NaN
            raise ExportError(
                f"torch and ONNX Runtime differ by {self.max_grid_difference:.2g} in the grid, "
                f"{self.max_score_difference:.2g} in score and {self.max_box_difference_px:.2g} px in boxes; at "
                f"most {MAX_GRID_DIFFERENCE:g}, {MAX_SCORE_DIFFERENCE:g} and {MAX_BOX_DIFFERENCE_PX:g} px are "
                "tolerated; the file was not kept. Try another --opset or version of torch"
            )


def compare(
    candidates: CandidateNet,
    model_bytes: bytes,
    letterboxed: Sequence[UInt8Array],
    *,
    batch: int,
    kind: InputKind = "uint8-nhwc",
) -> Parity:
    """Compare torch and the full graph in ONNX Runtime, both on the CPU.

    The boxes of all candidates are compared, not only those that NMS keeps.

    model_bytes: the serialized graph of export_graph.
    letterboxed: images (H, W, 3), uint8 BGR, of the size of the network's input.
    batch: images per run.

    Raises: ExportError if ONNX Runtime cannot load the model.
    """
    session = open_graph(model_bytes)
    # Candidates with nearly equal scores may swap ranks, so torch returns twice as many, to find each one's partner.
    wide = CandidateNet(candidates.network, candidates.anchors, candidates.input_hw, top_k=2 * candidates.top_k).eval()
    differences: list[tuple[float, float, float]] = []
    for start in range(0, len(letterboxed), batch):
        chunk = list(letterboxed[start : start + batch])
        images = np.stack(chunk + [chunk[-1]] * (batch - len(chunk)))
        with torch.inference_mode():
            raw = wide.network(wide.normalize(torch.from_numpy(images)))
            expected = [tensor.numpy() for tensor in wide.select(raw)]
        grid, *found = session.run([GRID_NAME, *CANDIDATE_NAMES], {INPUT_NAME: as_input(images, kind)})
        for row in range(len(chunk)):
            score, box = _largest_differences([o[row] for o in found], [o[row] for o in expected])
            differences.append((float(np.abs(grid[row] - raw[row].numpy()).max()), score, box))
    return Parity(len(letterboxed), *(float(worst) for worst in np.max(np.array(differences), axis=0)))


def as_input(images_bgr: UInt8Array, kind: InputKind) -> NDArray[Any]:
    """Convert letterboxed images (B, H, W, 3), uint8 BGR, to the input of a graph with this kind of input."""
    if kind == "uint8-nhwc":
        return images_bgr
    return np.ascontiguousarray(images_bgr[..., ::-1].transpose(0, 3, 1, 2)).astype(np.float32) / 255


def synthetic_images(letterbox: Letterbox, *, count: int, seed: int = 0) -> list[UInt8Array]:
    """Draw random frames of several sizes, and letterbox them; gradients, ellipses and noise activate every channel."""
    random = np.random.default_rng(seed)
    images = []
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
        images.append(letterbox.apply(np.asarray(noisy, np.uint8))[0])
    return images


def _largest_differences(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """The largest differences in score, by rank, and in px, between one image's boxes and their partners.

    found, expected: boxes (K, 4), scores (K,) and class ids (K,); torch gives 2K. A box's partner has its class, and
    its score within the tolerance; without a partner the distance is infinite.
    """
    boxes, scores, class_ids = found
    torch_boxes, torch_scores, torch_ids = expected
    score_difference = np.abs(scores - torch_scores[: len(scores)]).max()
    partner = (np.abs(scores[:, None] - torch_scores) <= MAX_SCORE_DIFFERENCE) & (class_ids[:, None] == torch_ids)
    distance = np.where(partner, np.abs(boxes[:, None] - torch_boxes[None]).max(axis=2), np.inf)  # (K, 2K)
    return float(score_difference), float(distance.min(axis=1).max())


def open_graph(model_bytes: bytes) -> Any:
    """Open a session on the CPU.

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

"""Draw the figures of docs/learn from the code that they explain, on docs/images/astronaut.jpg."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.arrays import FloatArray, IntArray, UInt8Array
from mmpnet.contract.boxes import decode_offsets, nms
from mmpnet.media.images import read_image
from mmpnet.runtime.inference.detector import Detector
from mmpnet.runtime.inference.embedded import model_path
from mmpnet.train.assignment import assign_adaptively, assign_by_iou
from mmpnet.train.mining import get_random_sampling_mask, hard_negatives
from mmpnet.train.model import MmpNet
from mmpnet.train.network.head_rows import HeadMeaning
from mmpnet.train.network.onnx_weights import architecture_of
from mmpnet.train.network.weights import load_weights

DOCS = Path(__file__).parents[1]
FIGURES = DOCS / "images" / "learn"
PERSON_XYXY = np.array([[8.0, 8.0, 225.0, 318.0]], np.float32)
"""The person in px of the 320x320 input, drawn by hand."""
NEG_RATIO = 3.0
LEAST_SCORE = 0.3


@dataclass(frozen=True)
class Scene:
    """The letterboxed image, the anchors of the default model, and what its network says of each of them."""

    input_bgr: UInt8Array
    anchors: AnchorSpec
    anchors_xyxy: FloatArray
    scores: FloatArray
    boxes_xyxy: FloatArray

    @property
    def grid_shape(self) -> tuple[int, int, int, int]:
        return self.anchors.grid_shape((self.input_bgr.shape[0], self.input_bgr.shape[1]))


def read_scene() -> Scene:
    """Run the network of the default model on the image, in torch, so that every anchor has its score."""
    metadata = Detector(None, provider="cpu", threads=1).metadata
    input_bgr, _ = metadata.letterbox.apply(read_image(DOCS / "images" / "astronaut.jpg"))
    spec = AnchorSpec(metadata.anchors.sizes_px, metadata.anchors.aspect_ratios, metadata.anchors.stride)
    rgb = torch.from_numpy(cv2.cvtColor(input_bgr, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (metadata.input.mean_rgb, metadata.input.std_rgb))
    images = (rgb - mean) / std
    network = MmpNet(spec.num_sizes, spec.num_aspect_ratios, architecture=architecture_of(model_path()))
    load_weights(network, "default", head=HeadMeaning(metadata.class_names, spec), images=[images])
    with torch.inference_mode():
        output = network.eval()(images)[0]  # (C + 4, S, R, rows, cols)
    scores = torch.softmax(output[:2], dim=0)[1].flatten().numpy()
    anchors_xyxy = spec.boxes_xyxy(metadata.input.size_hw)
    offsets = output[2:].flatten(1).T.numpy()
    return Scene(input_bgr, spec, anchors_xyxy, scores, decode_offsets(offsets, anchors_xyxy))


def anchors_of_one_cell(scene: Scene) -> Figure:
    """All sizes and ratios at the cell in the middle of the face."""
    figure, panels = _panels(1, scene)
    _, _, rows, cols = scene.grid_shape
    row, col = 10, 20
    grid = scene.anchors_xyxy.reshape(*scene.grid_shape, 4)
    for size, of_size in enumerate(grid[:, :, row, col]):
        for box in of_size:
            _draw_box(panels[0], box, color=f"C{size}")
    panels[0].set_title(f"{grid.shape[0] * grid.shape[1]} anchors of one of the {rows}x{cols} cells")
    panels[0].set_xlim(-40, 360)
    panels[0].set_ylim(330, -120)
    return figure


def label_grids(scene: Scene) -> Figure:
    """The anchors that learn the person by two rules: a fixed IoU of 0.5, and the adaptive one."""
    figure, panels = _panels(2, scene)
    by_iou = assign_by_iou(PERSON_XYXY, scene.anchors_xyxy)
    adaptive = assign_adaptively(
        PERSON_XYXY, scene.anchors_xyxy, grid_shape=scene.grid_shape, stride=scene.anchors.stride
    )
    for axes, matched, title in ((panels[0], by_iou, "IoU of 0.5"), (panels[1], adaptive, "adaptive")):
        learning = np.flatnonzero(matched >= 0)
        _draw_box(axes, PERSON_XYXY[0], color="white")
        _draw_cells(axes, scene, learning, color="C2")
        axes.set_title(f"{title}: {len(learning)} of {len(matched)} anchors learn the person")
    return figure


def negatives(scene: Scene) -> Figure:
    """Negatives at random, and those with the highest loss."""
    figure, panels = _panels(2, scene)
    matched = assign_by_iou(PERSON_XYXY, scene.anchors_xyxy)
    labels = torch.from_numpy((matched >= 0).astype(np.int64))[None]
    loss = torch.from_numpy(-np.log1p(-np.minimum(scene.scores, 0.9999)))[None]
    random = get_random_sampling_mask(labels, NEG_RATIO, generator=torch.Generator().manual_seed(0))
    hard = hard_negatives(loss, labels, NEG_RATIO)
    for axes, mask, title in ((panels[0], random, "random"), (panels[1], hard, "hard")):
        picked = np.flatnonzero((mask[0].numpy() > 0) & (matched < 0))
        _draw_cells(axes, scene, picked, color="C3")
        axes.set_title(f"{len(picked)} {title} negatives, mean loss {loss[0, picked].mean():.3f}")
    return figure


def before_and_after_nms(scene: Scene) -> Figure:
    """All boxes above a score, and those that NMS keeps."""
    figure, panels = _panels(2, scene)
    likely = np.flatnonzero(scene.scores > LEAST_SCORE)
    boxes, scores = scene.boxes_xyxy[likely], scene.scores[likely]
    kept = nms(boxes, scores, 0.5)
    for axes, chosen, title in ((panels[0], np.arange(len(likely)), "before"), (panels[1], kept, "after")):
        for index in chosen:
            _draw_box(axes, boxes[index], color="C1")
        axes.set_title(f"{title} NMS: {len(chosen)} boxes with a score above {LEAST_SCORE}")
    return figure


def _panels(count: int, scene: Scene) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(5 * count, 5.2), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, count, squeeze=False)[0]
    for axes in panels:
        axes.imshow(cv2.cvtColor(scene.input_bgr, cv2.COLOR_BGR2RGB))
        axes.set_axis_off()
    return figure, panels


def _draw_box(axes: Axes, xyxy: FloatArray, *, color: str) -> None:
    left, top, right, bottom = map(float, xyxy)
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=color, linewidth=1.5))


def _draw_cells(axes: Axes, scene: Scene, anchors: IntArray, *, color: str) -> None:
    """The cells of these anchors, darker where more of them are."""
    stride = scene.anchors.stride
    _, _, rows, cols = np.unravel_index(anchors, scene.grid_shape)
    counts = np.zeros(scene.grid_shape[2:], np.int64)
    np.add.at(counts, (rows, cols), 1)
    for row, col in np.argwhere(counts):
        share = 0.35 + 0.6 * counts[row, col] / counts.max()
        axes.add_patch(Rectangle((col * stride, row * stride), stride, stride, color=color, alpha=share))
    for line in range(0, scene.input_bgr.shape[0], stride):
        axes.axhline(line, color="white", linewidth=0.2, alpha=0.5)
        axes.axvline(line, color="white", linewidth=0.2, alpha=0.5)


DRAWN = {
    "anchors.jpg": anchors_of_one_cell,
    "label-grid.jpg": label_grids,
    "negatives.jpg": negatives,
    "nms.jpg": before_and_after_nms,
}


def main(folder: Path = FIGURES) -> None:
    """Draw all figures into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = read_scene()
    for name, draw in DRAWN.items():
        draw(scene).savefig(folder / name, dpi=90, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()

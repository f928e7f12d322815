"""The exercise's network and images: 224 px, a 28x28 label grid, class logits only, all images kept in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmpnet.console.progress import progress_bar
from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.boxes import nms
from mmpnet.contract.detections import Detections
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.thresholds import Thresholds
from mmpnet.datasets.types import LabeledImage
from mmpnet.evaluation.evaluate import QUASI_IOU_CONF, Detect
from mmpnet.train.assignment import assign_by_iou
from mmpnet.train.engine.device import has_fast_bfloat16
from mmpnet.train.loading.sampling import generator
from mmpnet.train.model import MmpNet
from mmpnet.train.network.inference_net import InputNormalization

INPUT_HW = (224, 224)
ANCHORS = AnchorSpec(sizes_px=(16.0, 32.0, 64.0, 128.0, 192.0), aspect_ratios=(0.8, 1.7, 3.2), stride=8)
MAX_BOXES = 1000
"""Number of the best anchors of an image that reach NMS, whose time grows with the square of it."""


@dataclass(frozen=True, slots=True)
class ImagesInMemory:
    """Letterboxed images_bgr (N, H, W, 3) uint8 and their label grids (N, S, R, rows, cols) int8, in memory."""

    images_bgr: Tensor
    labels: Tensor

    def batches(self, *, batch: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch in seeded order, each image mirrored half of the time.

        A last batch that would be incomplete is left out.
        """
        count = len(self.images_bgr)
        random = generator(seed, epoch)
        order = torch.from_numpy(random.permutation(count))
        mirrored = torch.from_numpy(random.random(count) < 0.5)
        for start in range(0, max(count - batch, 0) + 1, batch):
            picked = order[start : start + batch]
            yield mirror(self.images_bgr[picked], self.labels[picked], mirrored[picked])

    def batches_per_epoch(self, batch: int) -> int:
        return max(len(self.images_bgr) // batch, 1)


def mirror(images_bgr: Tensor, labels: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Return images and grids with the marked ones (B,) flipped left to right: the anchors are symmetric, so is the
    grid."""
    images = torch.where(mirrored.view(-1, 1, 1, 1), images_bgr.flip(2), images_bgr)
    grids = torch.where(mirrored.view(-1, 1, 1, 1, 1), labels.flip(-1), labels)
    return images, grids


def load_images(images: Sequence[LabeledImage]) -> ImagesInMemory:
    """Decode, letterbox and label all images once, by IoU.

    Raises: DatasetError for an image that cannot be read.
    """
    letterbox = Letterbox(input_hw=INPUT_HW)
    anchors_xyxy = ANCHORS.boxes_xyxy(INPUT_HW)
    images_bgr = np.empty((len(images), *INPUT_HW, 3), np.uint8)
    labels = np.zeros((len(images), len(anchors_xyxy)), np.int8)
    for row, image in enumerate(progress_bar(images, "reading")):
        _, transform = letterbox.apply(image.read(), out=images_bgr[row])
        solid = ~image.crowd
        matched = assign_by_iou(transform.to_input(image.boxes_xyxy[solid]), anchors_xyxy)
        positive = matched >= 0
        labels[row, positive] = image.class_ids[solid][matched[positive]]
    grids = labels.reshape(len(images), *ANCHORS.grid_shape(INPUT_HW))
    return ImagesInMemory(images_bgr=torch.from_numpy(images_bgr), labels=torch.from_numpy(grids))


class AutocastNet(nn.Module):
    """A network whose forward pass runs in bfloat16 if the device computes it in hardware; logits are float32."""

    def __init__(self, network: MmpNet, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.num_classes = network.num_classes
        self._device_type = device.type
        self._autocast = has_fast_bfloat16(device)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(self._device_type, dtype=torch.bfloat16, enabled=self._autocast):
            output: Tensor = self.network(images.contiguous(memory_format=torch.channels_last))
        return output.float()


def anchor_detector(network: MmpNet, device: torch.device) -> Detect:
    """Return as boxes the anchors with a foreground score of 0.5 or more, after NMS without box voting."""
    letterbox = Letterbox(input_hw=INPUT_HW)
    anchors_xyxy = ANCHORS.boxes_xyxy(INPUT_HW)
    normalize = InputNormalization().to(device)
    thresholds = Thresholds(conf=QUASI_IOU_CONF)
    network.eval()

    def detect(frame_bgr: UInt8Array) -> Detections:
        pixels, transform = letterbox.apply(frame_bgr)
        with torch.inference_mode():
            logits = network(normalize(torch.from_numpy(pixels)[None].to(device))).float().flatten(2)[0]  # (C, A)
            best, best_ids = logits.softmax(dim=0)[1:].max(dim=0)  # (A,)
            picked = best.topk(min(MAX_BOXES, len(best))).indices
            scores, class_ids = (values[picked].cpu().numpy() for values in (best, best_ids + 1))
        boxes_xyxy = anchors_xyxy[picked.cpu().numpy()]
        confident = np.flatnonzero(scores >= thresholds.conf)
        kept = confident[nms(boxes_xyxy[confident], scores[confident], thresholds.iou, class_ids=class_ids[confident])]
        return Detections(transform.to_frame(boxes_xyxy[kept]), scores[kept], class_ids[kept])

    return detect

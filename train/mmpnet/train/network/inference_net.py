"""The network with normalization and decoding, as evaluation and export use it."""

import torch
from torch import Tensor, nn

from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.letterbox import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from mmpnet.train.box_coder import decode_offsets
from mmpnet.train.model import MmpNet

TOP_K = 400
"""Candidates of an image that leave the network. This costs a little in crowds: with 1,000 the shipped model has AR100
0.499 instead of 0.481, and 0.001 more AP, on its validation set."""


class InputNormalization(nn.Module):
    """Letterboxed uint8 BGR (B, H, W, 3) -> normalized float RGB (B, 3, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        std = torch.tensor(IMAGENET_STD_RGB).view(3, 1, 1)
        mean = torch.tensor(IMAGENET_MEAN_RGB).view(3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", mean / std, persistent=False)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, images_bgr: Tensor) -> Tensor:
        rgb = images_bgr.permute(0, 3, 1, 2).flip(1)  # (B, 3, H, W)
        return rgb.to(self.scale.dtype) * self.scale - self.shift


class CandidateNet(nn.Module):
    """MmpNet between normalization and box decoding.

    Letterboxed uint8 BGR (B, H, W, 3) -> boxes (B, K, 4) xyxy in input px, scores (B, K) in [0, 1] best first, and
    class ids (B, K); K = min(top_k, anchors). Only the K best anchors are decoded.

    Raises: ValueError if the input size does not fit the stride or the network has no box regression.
    """

    def __init__(
        self,
        network: MmpNet,
        anchors: AnchorSpec,
        input_hw: tuple[int, int],
        *,
        top_k: int = TOP_K,
        normalize: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not network.box_regression:
            raise ValueError("a network trained without box regression gives no boxes")
        self.normalize = InputNormalization() if normalize is None else normalize
        self.network = network
        self.anchors = anchors
        self.input_hw = input_hw
        boxes = torch.from_numpy(anchors.boxes_xyxy(input_hw))  # (A, 4)
        self.register_buffer("anchors_xyxy", boxes, persistent=False)
        self.anchors_xyxy: Tensor
        self.top_k = min(top_k, len(boxes))

    def forward(self, images_bgr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.select(self.network(self.normalize(images_bgr)))

    def select(self, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output of the network (B, C, S, R, rows, cols) -> the best boxes, their scores and class ids."""
        output = grid.float().flatten(2)  # (B, C, A)
        scores, picked, class_ids = self._best(output[:, : self.network.num_classes])
        rows = picked[:, None, :].expand(-1, 4, -1)  # (B, 4, K)
        offsets = output[:, self.network.num_classes :].gather(2, rows).transpose(1, 2)
        boxes = decode_offsets(offsets, self.anchors_xyxy[picked])
        return boxes, scores, class_ids

    def _best(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores, anchor indices and class ids of the K best anchors (B, K), from logits (B, num_classes, A)."""
        if self.network.num_classes == 2:
            # The softmax of two logits is the sigmoid of their difference: only K of them need an exponential.
            margin, picked = (logits[:, 1:] - logits[:, :1]).flatten(1).topk(self.top_k, dim=1)
            return margin.sigmoid(), picked, torch.ones_like(picked)
        best, class_ids = logits.softmax(dim=1)[:, 1:].max(dim=1)  # (B, A)
        scores, picked = best.topk(self.top_k, dim=1)
        return scores, picked, class_ids.gather(1, picked) + 1

"""Boxes in torch: encode and decode offsets relative to anchors, IoU of pairs."""

import torch
from torch import Tensor

from mmpnet.contract.boxes import CENTER_VARIANCE, MAX_LOG_RATIO, SIZE_VARIANCE


def decode_offsets(offsets: Tensor, anchors_xyxy: Tensor) -> Tensor:
    """Differentiable `mmpnet.contract.boxes.decode_offsets`, (..., 4) -> (..., 4); a test compares the two."""
    anchor_wh = anchors_xyxy[..., 2:] - anchors_xyxy[..., :2]
    anchor_center = (anchors_xyxy[..., 2:] + anchors_xyxy[..., :2]) / 2
    center = anchor_center + offsets[..., :2] * CENTER_VARIANCE * anchor_wh
    half_wh = anchor_wh * (offsets[..., 2:] * SIZE_VARIANCE).clamp(max=MAX_LOG_RATIO).exp() / 2
    return torch.cat([center - half_wh, center + half_wh], dim=-1)


def encode_offsets(boxes_xyxy: Tensor, anchors_xyxy: Tensor) -> Tensor:
    """`mmpnet.contract.boxes.encode_offsets` in torch, (P, 4) -> (P, 4); a test compares the two."""
    anchor_wh, wh = anchors_xyxy[:, 2:] - anchors_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    moved = (boxes_xyxy[:, 2:] + boxes_xyxy[:, :2] - anchors_xyxy[:, 2:] - anchors_xyxy[:, :2]) / 2
    return torch.cat([moved / (CENTER_VARIANCE * anchor_wh), (wh / anchor_wh).log() / SIZE_VARIANCE], dim=1)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of each box in a (P, 4) with the box of the same index in b (P, 4), xyxy -> (P,)."""
    overlap = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    areas = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1)
    return overlap / (areas - overlap).clamp(min=1e-6)

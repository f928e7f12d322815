"""Geometry of boxes: areas, IoU, offsets to anchors, NMS and box voting.

All boxes are float32 xyxy, half-open, in pixels of the image named beside them. The offsets are those of SSD (Liu et
al. 2016, section 2.2) with its usual variances.
"""

import numpy as np

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray

EPSILON_PX2 = np.float32(1e-9)
CENTER_VARIANCE = 0.1
SIZE_VARIANCE = 0.2
VOTE_FROM_IOU = np.float32(0.5)
VOTE_SCORE_POWER = 3
"""Of several boxes of an object the one with the best score fits best in most cases (docs/adr/0015)."""
LEAST_VOTE = np.float32(1e-12)
MAX_LOG_RATIO = 4.0
"""Limits decoded sides to e^4 = 55 times the anchor's, so that an extreme network output cannot overflow."""


def area(boxes_xyxy: FloatArray) -> FloatArray:
    """Area in px^2 of each box, (..., 4) -> (...); 0 for boxes whose right or bottom edge precedes the opposite one."""
    width = np.maximum(boxes_xyxy[..., 2] - boxes_xyxy[..., 0], 0)
    height = np.maximum(boxes_xyxy[..., 3] - boxes_xyxy[..., 1], 0)
    product: FloatArray = width * height
    return product


def pairwise_overlap(a: FloatArray, b: FloatArray) -> FloatArray:
    """Area in px^2 of the intersection of every box in a (N, 4) with every box in b (M, 4), xyxy -> (N, M)."""
    left = np.maximum(a[:, None, 0], b[:, 0])
    top = np.maximum(a[:, None, 1], b[:, 1])
    right = np.minimum(a[:, None, 2], b[:, 2])
    bottom = np.minimum(a[:, None, 3], b[:, 3])
    overlap: FloatArray = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    return overlap


def pairwise_iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """IoU of every box in a (N, 4) with every box in b (M, 4), xyxy -> (N, M); 0 where both are empty."""
    overlap = pairwise_overlap(a, b)  # (N, M)
    union = area(a)[:, None] + area(b) - overlap
    iou: FloatArray = np.minimum(overlap / np.maximum(union, EPSILON_PX2), 1)
    return iou


def encode_offsets(boxes_xyxy: FloatArray, anchors_xyxy: FloatArray) -> FloatArray:
    """Offsets (dx, dy, log dw, log dh) from each anchor to its box, divided by their variances, (N, 4) -> (N, 4).

    Raises: ValueError if a box or an anchor has no area.
    """
    box_wh, anchor_wh = _sides(boxes_xyxy), _sides(anchors_xyxy)
    if not (box_wh > 0).all() or not (anchor_wh > 0).all():
        raise ValueError("boxes and anchors must have an area; clean the boxes before encoding")
    shift = (centers(boxes_xyxy) - centers(anchors_xyxy)) / anchor_wh / CENTER_VARIANCE
    scale = np.log(box_wh / anchor_wh) / SIZE_VARIANCE
    return np.concatenate([shift, scale], axis=-1).astype(np.float32)


def decode_offsets(offsets: FloatArray, anchors_xyxy: FloatArray) -> FloatArray:
    """Inverse of encode_offsets: (N, 4) offsets on (N, 4) anchors -> (N, 4) xyxy."""
    anchor_wh = _sides(anchors_xyxy)
    center = centers(anchors_xyxy) + offsets[..., :2] * CENTER_VARIANCE * anchor_wh
    half_wh = anchor_wh * np.exp(np.minimum(offsets[..., 2:] * SIZE_VARIANCE, MAX_LOG_RATIO)) / 2
    return np.concatenate([center - half_wh, center + half_wh], axis=-1).astype(np.float32)


def clip(boxes_xyxy: FloatArray, image_hw: tuple[int, int]) -> FloatArray:
    """Clip boxes (N, 4) to an image of (height, width) px."""
    height, width = image_hw
    limit = np.array([width, height, width, height], np.float32)
    return np.clip(boxes_xyxy, np.float32(0), limit)


def nms(
    boxes_xyxy: FloatArray,
    scores: FloatArray,
    iou_threshold: float,
    *,
    class_ids: IntArray | None = None,
) -> IntArray:
    """Greedy non-maximum suppression: indices of the kept boxes, best first; of equal scores the lower index is first.

    A box is suppressed if a better kept box overlaps it by more than the threshold. If class_ids (N,) are given, only a
    box of the same class can suppress it.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = boxes_xyxy[order]
    # The threshold is compared in float64, as torchvision does: float32(0.3) is above 0.3.
    iou = pairwise_iou(ranked, ranked).astype(np.float64)
    rivals: BoolArray = iou > iou_threshold
    if class_ids is not None:
        ranked_ids = class_ids[order]
        rivals &= ranked_ids[:, None] == ranked_ids
    kept: BoolArray = np.ones(len(order), np.bool_)
    for rank in range(len(order)):
        if kept[rank]:
            kept[rank + 1 :] &= ~rivals[rank, rank + 1 :]
    return order[kept].astype(np.int64)


def vote_boxes(
    kept_xyxy: FloatArray,
    boxes_xyxy: FloatArray,
    scores: FloatArray,
    *,
    kept_ids: IntArray,
    class_ids: IntArray,
    score_power: int = VOTE_SCORE_POWER,
) -> FloatArray:
    """Move each box that NMS kept (N, 4) to the weighted mean of all overlapping boxes (K, 4) of its class, including
    itself: box voting (Gidaris and Komodakis 2015, section 4).

    A vote weighs score^score_power * (IoU - 0.5)^2 above IoU 0.5 and 0 below, so a box that crosses IoU 0.5 does not
    cause a jump.
    """
    over = np.maximum(pairwise_iou(kept_xyxy, boxes_xyxy) - VOTE_FROM_IOU, 0)  # (N, K)
    weights = over * over * scores**score_power * (kept_ids[:, None] == class_ids)
    # Each box votes for itself with LEAST_VOTE, which decides if it has no other vote: no area, or score 0.
    moved: FloatArray = (weights @ boxes_xyxy + LEAST_VOTE * kept_xyxy) / (
        weights.sum(axis=1, keepdims=True) + LEAST_VOTE
    )
    return moved


def _sides(boxes_xyxy: FloatArray) -> FloatArray:
    sides: FloatArray = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    return sides


def centers(boxes_xyxy: FloatArray) -> FloatArray:
    """Center (x, y) of each box, (..., 4) -> (..., 2)."""
    middle: FloatArray = (boxes_xyxy[..., :2] + boxes_xyxy[..., 2:]) * np.float32(0.5)
    return middle

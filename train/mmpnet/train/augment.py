"""Training pictures: SSD's augmentations from torchvision, then the same letterbox as everywhere else."""

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from mmpnet.contract.arrays import FloatArray, IntArray, UInt8Array
from mmpnet.contract.preprocess import Letterbox

MIN_SIDE_PX = 2.0
"""Boxes that cropping and shrinking leave thinner than this, in input px, teach nothing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A letterboxed picture (H, W, 3) uint8 BGR with its boxes (N, 4) in input px and class ids (N,)."""

    image_bgr: UInt8Array
    boxes_xyxy: FloatArray
    class_ids: IntArray


def _shrunk(frame_bgr: UInt8Array, boxes_xyxy: FloatArray, longest_px: int) -> tuple[UInt8Array, FloatArray]:
    """A frame no longer than this, so that zooming out of a camera's photo does not fill the memory."""
    height, width = frame_bgr.shape[:2]
    if max(height, width) <= longest_px:
        return frame_bgr, boxes_xyxy
    scale = longest_px / max(height, width)
    small_wh = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(frame_bgr, small_wh, interpolation=cv2.INTER_AREA)
    ratio = np.array([small_wh[0] / width, small_wh[1] / height] * 2, np.float32)
    return np.asarray(small, np.uint8), boxes_xyxy * ratio


def ssd_augmentation(pad_value: int) -> v2.Transform:
    """Zoom-out, IoU crop and flip after SSD (Liu et al. 2016, sections 2.2 and 3.6), zooming out a little less and less
    often; the fill is the letterbox's."""
    fill = {tv_tensors.Image: [float(pad_value)] * 3, "others": 0.0}
    return v2.Compose(
        [
            v2.RandomZoomOut(fill=fill, side_range=(1.0, 3.0), p=0.4),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(p=0.5),
            v2.ClampBoundingBoxes(),
            v2.SanitizeBoundingBoxes(min_size=1.0),
        ]
    )


def photometric_augmentation() -> v2.Transform:
    """Brightness, contrast, saturation and hue; grey now and then, for cameras at night."""
    return v2.Compose([v2.RandomPhotometricDistort(p=0.5), v2.RandomGrayscale(p=0.05)])


def augment(frame_bgr: UInt8Array, boxes_xyxy: FloatArray, class_ids: IntArray, letterbox: Letterbox) -> Sample:
    """One random view of a frame with boxes (N, 4) in its px; draws from torch's global generator."""
    frame_bgr, boxes_xyxy = _shrunk(frame_bgr, boxes_xyxy, 2 * max(letterbox.input_hw))
    image = tv_tensors.Image(torch.from_numpy(frame_bgr).permute(2, 0, 1).flip(0))  # RGB, for hue and grey
    boxes = tv_tensors.BoundingBoxes(
        torch.from_numpy(boxes_xyxy),
        format=tv_tensors.BoundingBoxFormat.XYXY,
        canvas_size=frame_bgr.shape[:2],
    )
    geometric = ssd_augmentation(letterbox.pad_value)
    view = geometric({"image": image, "boxes": boxes, "labels": torch.from_numpy(class_ids)})
    pixels_rgb = np.ascontiguousarray(cast(Tensor, view["image"]).permute(1, 2, 0).numpy())
    letterboxed, placement = letterbox.apply(pixels_rgb)
    # Colours change after the resize, where there are fewest pixels to change.
    distorted = photometric_augmentation()(torch.from_numpy(letterboxed).permute(2, 0, 1))
    boxes_input = placement.to_input(view["boxes"].numpy().astype(np.float32).reshape(-1, 4))
    large = (boxes_input[:, 2:] - boxes_input[:, :2] >= MIN_SIDE_PX).all(axis=1)
    return Sample(
        image_bgr=np.ascontiguousarray(distorted.flip(0).permute(1, 2, 0).numpy()),
        boxes_xyxy=boxes_input[large],
        class_ids=view["labels"].numpy()[large],
    )

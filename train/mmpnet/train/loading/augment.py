"""Random views of labeled images: windows and mosaics, resized once, flipped, with changed colors.

Zooming out, cropping, letterboxing and mosaics all resize a window of a frame into a region of the canvas, so each
pixel is interpolated once, by cv2. This takes about 1 ms of a core; the transforms of torchvision took 8.9 ms
(docs/adr/0007), which matters on a computer where two cores load and train.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator

from mmpnet.contract.arrays import BoolArray, FloatArray, IntArray, UInt8Array
from mmpnet.contract.boxes import area, clip
from mmpnet.contract.letterbox import INTERPOLATION, Letterbox, LetterboxTransform
from mmpnet.train.choices import AugmentationName

MIN_SIDE_PX = 2.0
"""Boxes that are thinner than this in input px after cropping and shrinking are ignored."""
MIN_VISIBLE = 0.25
"""Share of a box that must lie inside the window to be learned; what a window shows of the others is ignored, because
an arm at the edge is no background. All are cut at the edge."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Pixels (H, W, 3) uint8 BGR with boxes (N, 4) in their px, class ids (N,), label confidences (N,), and which boxes
    are ignored (N,): crowds, uncertain boxes and remains of boxes, which are neither learned nor background."""

    image_bgr: UInt8Array
    boxes_xyxy: FloatArray
    class_ids: IntArray
    scores: FloatArray
    ignored: BoolArray

    @property
    def learned_xyxy(self) -> FloatArray:
        """The boxes that are learned (M, 4)."""
        learned: FloatArray = self.boxes_xyxy[~self.ignored]
        return learned


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How strongly images are changed; each share is a probability.

    zoom_out and crop exclude each other; 1 - zoom_out - crop keeps the whole image. Scales refer to the sides of the
    image.
    """

    flip: float = 0.5
    zoom_out: float = 0.25
    largest_zoom_out: float = 2.5
    crop: float = 0.5
    smallest_crop: float = 0.35
    stretch: float = 0.2
    color: float = 0.6
    gray: float = 0.05


AUGMENTATIONS: dict[AugmentationName, Augmentation] = {
    "full": Augmentation(),
    # This is for images whose mirror image means something else, such as digits.
    "light": Augmentation(flip=0, zoom_out=0.2, largest_zoom_out=1.5, crop=0.3, smallest_crop=0.7, stretch=0.1),
    "none": Augmentation(flip=0, zoom_out=0, crop=0, stretch=0, color=0, gray=0),
}


def augment(sample: Sample, letterbox: Letterbox, how: Augmentation, random: Generator) -> Sample:
    """Return one image, randomly changed and letterboxed."""
    frame_hw = _size(sample.image_bgr)
    window = random_window(frame_hw, sample.learned_xyxy, how, random)
    stretch = float(np.exp(random.uniform(-how.stretch, how.stretch)))
    # Letterboxing a window that is a little wider or narrower than it is stretches what is in it.
    transform = letterbox.fit((window[3] - window[1], max(round((window[2] - window[0]) * stretch), 1)))
    canvas = np.full((*letterbox.input_hw, 3), letterbox.pad_value, np.uint8)
    return _finished(canvas, [_painted(canvas, sample, window, _region(transform))], how, random)


def mosaic(samples: Sequence[Sample], letterbox: Letterbox, how: Augmentation, random: Generator) -> Sample:
    """n x n images that tile the canvas, divided at random places (Bochkovskiy et al. 2020 have n = 2).

    The more images there are, the smaller are the people in them. A detector of distant people needs many of those.
    """
    height, width = letterbox.input_hw
    side = math.isqrt(len(samples))
    rows, columns = (_cuts(length, side, random) for length in (height, width))
    canvas = np.full((height, width, 3), letterbox.pad_value, np.uint8)
    regions = [(left, top, right, bottom) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]
    painted = []
    for sample, region in zip(samples, regions, strict=True):
        window = _filling_window(_size(sample.image_bgr), sample.learned_xyxy, region, random)
        painted.append(_painted(canvas, sample, window, region))
    return _finished(canvas, painted, how, random)


def _cuts(length_px: int, parts: int, random: Generator) -> list[int]:
    """Return where a side is divided into parts: 0, the cuts in between, each moved by up to 0.4 of a part,
    length_px."""
    inner = (np.arange(1, parts) + random.uniform(-0.4, 0.4, parts - 1)) * length_px / parts
    # Neighbors that both move towards each other still leave a fifth of a part between them.
    return [0, *(round(float(cut)) for cut in inner), length_px]


def random_window(
    frame_hw: tuple[int, int], boxes_xyxy: FloatArray, how: Augmentation, random: Generator
) -> tuple[int, int, int, int]:
    """Return a window of a frame, xyxy in whole frame px: the frame, a crop, or a larger window around the frame."""
    height, width = frame_hw
    choice = random.random()
    if choice < how.zoom_out:
        zoom = random.uniform(1, how.largest_zoom_out)
        window_hw = round(height * zoom), round(width * zoom)
        top, left = (round(random.uniform(side - window, 0)) for side, window in zip(frame_hw, window_hw, strict=True))
        return left, top, left + window_hw[1], top + window_hw[0]
    if choice >= how.zoom_out + how.crop:
        return 0, 0, width, height
    scale = random.uniform(how.smallest_crop, 1)
    shape = float(np.exp(random.uniform(-0.3, 0.3)))
    window_hw = min(max(round(height * scale / shape), 1), height), min(max(round(width * scale * shape), 1), width)
    return _around_a_box(frame_hw, window_hw, boxes_xyxy, random)


def _filling_window(
    frame_hw: tuple[int, int], boxes_xyxy: FloatArray, region: tuple[int, int, int, int], random: Generator
) -> tuple[int, int, int, int]:
    """Return a window inside the frame with about the aspect ratio of the region, so that no padding is needed."""
    height, width = frame_hw
    shape = (region[2] - region[0]) / max(region[3] - region[1], 1) * float(np.exp(random.uniform(-0.15, 0.15)))
    largest = min(width / shape, float(height))
    side = largest * random.uniform(0.6, 1)
    window_hw = min(max(round(side), 1), height), min(max(round(side * shape), 1), width)
    return _around_a_box(frame_hw, window_hw, boxes_xyxy, random)


def _around_a_box(
    frame_hw: tuple[int, int], window_hw: tuple[int, int], boxes_xyxy: FloatArray, random: Generator
) -> tuple[int, int, int, int]:
    """Return a window inside the frame; if there are boxes, in 3 of 4 cases one that contains the center of a box."""
    spare = frame_hw[0] - window_hw[0], frame_hw[1] - window_hw[1]
    low, high = [0, 0], list(spare)
    if len(boxes_xyxy) and random.random() < 0.75:
        box = boxes_xyxy[random.integers(len(boxes_xyxy))]
        for axis, center in enumerate(((box[1] + box[3]) / 2, (box[0] + box[2]) / 2)):
            low[axis] = min(max(int(center) - window_hw[axis] + 1, 0), spare[axis])
            high[axis] = max(min(int(center), spare[axis]), low[axis])
    top, left = (int(random.integers(a, b, endpoint=True)) for a, b in zip(low, high, strict=True))
    return left, top, left + window_hw[1], top + window_hw[0]


def _painted(
    canvas: UInt8Array, sample: Sample, window: tuple[int, int, int, int], region: tuple[int, int, int, int]
) -> Sample:
    """Resize the window of an image into the region of the canvas; returns the canvas with the boxes of the window."""
    frame_h, frame_w = _size(sample.image_bgr)
    scale_x = (region[2] - region[0]) / (window[2] - window[0])
    scale_y = (region[3] - region[1]) / (window[3] - window[1])
    left, top, right, bottom = max(window[0], 0), max(window[1], 0), min(window[2], frame_w), min(window[3], frame_h)
    inside = (
        region[0] + round((left - window[0]) * scale_x),
        region[1] + round((top - window[1]) * scale_y),
        region[0] + round((right - window[0]) * scale_x),
        region[1] + round((bottom - window[1]) * scale_y),
    )
    target = canvas[inside[1] : inside[3], inside[0] : inside[2]]
    if target.size:
        part = sample.image_bgr[top:bottom, left:right]
        target[:] = cv2.resize(part, (target.shape[1], target.shape[0]), interpolation=INTERPOLATION)
    # This is the scale of the painted part, because its corners were rounded to whole pixels.
    scale = np.array([(inside[2] - inside[0]) / (right - left), (inside[3] - inside[1]) / (bottom - top)] * 2)
    moved = (sample.boxes_xyxy - (left, top, left, top)) * scale + (inside[0], inside[1], inside[0], inside[1])
    cut = moved.clip((inside[0], inside[1]) * 2, (inside[2], inside[3]) * 2).astype(np.float32)
    sides = cut[:, 2:] - cut[:, :2]
    enough = (sides >= MIN_SIDE_PX).all(1) & (area(cut) >= MIN_VISIBLE * area(moved.astype(np.float32)))
    shown = (sides > 0).all(1)
    ignored = sample.ignored | ~enough
    return Sample(canvas, cut[shown], sample.class_ids[shown], sample.scores[shown], ignored[shown])


def _finished(canvas: UInt8Array, painted: Sequence[Sample], how: Augmentation, random: Generator) -> Sample:
    """Flip the canvas and change its colors, each with its probability."""
    boxes = clip(np.concatenate([part.boxes_xyxy for part in painted]), _size(canvas))
    if random.random() < how.flip:
        canvas = np.ascontiguousarray(canvas[:, ::-1])
        width = canvas.shape[1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    if random.random() < how.color:
        canvas = change_colors(canvas, random)
    if random.random() < how.gray:
        canvas = cv2.cvtColor(cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    return Sample(
        image_bgr=canvas,
        boxes_xyxy=boxes,
        class_ids=np.concatenate([part.class_ids for part in painted]),
        scores=np.concatenate([part.scores for part in painted]),
        ignored=np.concatenate([part.ignored for part in painted]),
    )


def change_colors(image_bgr: UInt8Array, random: Generator) -> UInt8Array:
    """Change hue, saturation, contrast, brightness and gamma a little, by three look-up tables in HSV."""
    levels = np.arange(256, dtype=np.float32)
    hue = (levels + random.uniform(-9, 9)) % 180
    saturation = levels * random.uniform(0.5, 1.5)
    value = 255 * (levels / 255) ** np.exp(random.uniform(-0.3, 0.3))
    value = (value - 128) * random.uniform(0.7, 1.3) + 128 + random.uniform(-24, 24)
    table = np.stack([hue, saturation, value], axis=1).clip(0, 255).astype(np.uint8)[None]  # (1, 256, 3)
    hsv = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2HSV)
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2BGR), np.uint8)


def _region(transform: LetterboxTransform) -> tuple[int, int, int, int]:
    left, top = transform.top_left_xy
    return left, top, left + transform.resized_hw[1], top + transform.resized_hw[0]


def _size(image: UInt8Array) -> tuple[int, int]:
    return image.shape[0], image.shape[1]

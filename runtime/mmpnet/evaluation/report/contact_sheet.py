"""Images of mistakes: crops with the labeled and the detected boxes, single or on one contact sheet."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmpnet.contract.arrays import FloatArray, UInt8Array
from mmpnet.contract.detections import Detections
from mmpnet.contract.text import well_formed
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.error_analysis import Kind, Mistake, Mistakes
from mmpnet.evaluation.evaluate import Evaluation
from mmpnet.media.drawing import draw_box, draw_label
from mmpnet.media.images import write_image
from mmpnet.media.plates import Color

LABELED_BGR: Color = (240, 190, 70)
DETECTED_BGR: Color = (40, 150, 255)
"""Sky blue and orange, which color-blind people can also distinguish."""
TILE_HW = (240, 320)
LABEL_UNIT = 1.0
CONTEXT = 2.0
"""Sides of a crop, as multiples of the box's sides."""
MIN_CROP_PX = 64
KINDS: tuple[tuple[Kind, str], ...] = (
    ("false positive", "False positives, highest score first"),
    ("miss", "Misses, largest box first"),
)
SHEET_COLUMNS = 4
SHEET_MISTAKES = 12
"""Most mistakes of each kind on a sheet."""
_PAGE_BGR, _INK_BGR, _FAINT_BGR = (255, 255, 255), (40, 40, 40), (110, 110, 110)
_CAPTION_PX, _HEADER_PX, _GAP_PX = 44, 40, 12
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def captions(mistake: Mistake, image: LabeledImage) -> tuple[str, str]:
    """Two short lines: the mistake and its place."""
    if mistake.kind == "false positive":
        first = f"{mistake.score:.2f} {mistake.reason}, best IoU {mistake.best_iou:.2f}"
    elif mistake.score is None:
        first = f"missed: {mistake.reason}"
    else:
        first = f"missed: {mistake.reason}, best IoU {mistake.best_iou:.2f} at {mistake.score:.2f}"
    width, height = (mistake.xyxy[2:] - mistake.xyxy[:2]).round().astype(int).tolist()
    return first, f"{width}x{height} px in {image.path.name}"


def mistake_tile(mistake: Mistake, dataset: Dataset, evaluation: Evaluation, *, conf: float) -> UInt8Array:
    """The mistake and its surroundings, TILE_HW (H, W, 3): its own box in bold lines, other boxes in thin lines.

    Raises: DatasetError if the image is no longer readable.
    """
    image, detections = dataset.images[mistake.index], evaluation.found[mistake.index]
    tile, scale, origin_xy = _crop(image.read(), mistake.xyxy)
    shift = np.tile(origin_xy, 2).astype(np.float32)
    measured = np.isin(image.class_ids, [one.class_id for one in evaluation.classes])
    for xyxy in image.boxes_xyxy[measured]:
        draw_box(tile, (xyxy - shift) * scale, bgr=LABELED_BGR, thickness=1)
    for xyxy in detections.xyxy[detections.score >= conf]:
        draw_box(tile, (xyxy - shift) * scale, bgr=DETECTED_BGR, thickness=1)
    bgr = DETECTED_BGR if mistake.kind == "false positive" else LABELED_BGR
    draw_box(tile, (mistake.xyxy - shift) * scale, bgr=bgr, thickness=3)
    return tile


def comparison(
    image: LabeledImage, detections: Detections, class_ids: Sequence[int], *, conf: float, side_px: int
) -> UInt8Array:
    """An image with its labeled boxes and the detections from score conf on; its longer side is at most side_px.

    Raises: DatasetError if the image is no longer readable.
    """
    frame_bgr = image.read()
    scale = min(side_px / max(frame_bgr.shape[:2]), 1.0)
    size = [max(round(side * scale), 1) for side in frame_bgr.shape[1::-1]]
    frame_bgr = np.asarray(cv2.resize(frame_bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    for xyxy in image.boxes_xyxy[np.isin(image.class_ids, class_ids)]:
        draw_box(frame_bgr, xyxy * scale, bgr=LABELED_BGR, thickness=2)
    for xyxy, score in zip(detections.xyxy, detections.score.tolist(), strict=True):
        if score >= conf:
            draw_box(frame_bgr, xyxy * scale, bgr=DETECTED_BGR, thickness=2)
            draw_label(frame_bgr, f"{score:.2f}", xyxy * scale, bgr=DETECTED_BGR, unit=LABEL_UNIT)
    return frame_bgr


def contact_sheet(mistakes: Mistakes, dataset: Dataset, evaluation: Evaluation) -> UInt8Array:
    """The worst false positives above the worst misses, at most SHEET_MISTAKES each, on one white page (H, W, 3).

    Raises: DatasetError if an image is no longer readable.
    """
    width = SHEET_COLUMNS * (TILE_HW[1] + _GAP_PX) + _GAP_PX
    rows = [_header(width, mistakes)]
    for kind, title in KINDS:
        shown = mistakes.worst(kind, SHEET_MISTAKES)
        rows.append(
            _heading(width, f"{title}: {len(shown)} of {len(mistakes.of(kind))}" if shown else f"{title}: none")
        )
        for start in range(0, len(shown), SHEET_COLUMNS):
            tiles = [
                _captioned(
                    mistake_tile(mistake, dataset, evaluation, conf=mistakes.conf),
                    captions(mistake, dataset.images[mistake.index]),
                )
                for mistake in shown[start : start + SHEET_COLUMNS]
            ]
            rows.append(_row(width, tiles))
    return np.concatenate(rows)


def write_sheet(path: Path, mistakes: Mistakes, dataset: Dataset, evaluation: Evaluation) -> None:
    """Write the contact sheet as an image.

    Raises: OutputError if it cannot be written, DatasetError if an image is no longer readable.
    """
    write_image(path, contact_sheet(mistakes, dataset, evaluation))


def _crop(frame_bgr: UInt8Array, xyxy: FloatArray) -> tuple[UInt8Array, float, FloatArray]:
    """The box and its surroundings as a tile (H, W, 3); tile px per image px; the tile's corner (2,) in image px.

    The tile shows nothing outside the image if the image is large enough to fill it.
    """
    tile_wh, image_wh = np.array(TILE_HW[::-1]), np.array(frame_bgr.shape[1::-1])
    around_wh = np.maximum((xyxy[2:] - xyxy[:2]) * CONTEXT, MIN_CROP_PX)
    scale = max(float((tile_wh / around_wh).min()), float((tile_wh / image_wh).min()))
    window_wh = np.minimum(np.ceil(tile_wh / scale), image_wh).astype(int)
    corner = np.clip(np.round((xyxy[:2] + xyxy[2:] - window_wh) / 2), 0, image_wh - window_wh).astype(int)
    cut = frame_bgr[corner[1] : corner[1] + window_wh[1], corner[0] : corner[0] + window_wh[0]]
    size = np.clip(np.round(window_wh * scale), 1, tile_wh).astype(int).tolist()
    cut = np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8)
    margin = (tile_wh - size) // 2
    tile = np.full((*TILE_HW, 3), _FAINT_BGR, np.uint8)
    tile[margin[1] : margin[1] + size[1], margin[0] : margin[0] + size[0]] = cut
    return tile, scale, (corner - margin / scale).astype(np.float32)


def _captioned(tile: UInt8Array, lines: tuple[str, str]) -> UInt8Array:
    plate = _blank(_CAPTION_PX, tile.shape[1])
    for line, baseline, bgr in zip(lines, (16, 34), (_INK_BGR, _FAINT_BGR), strict=True):
        _write(plate, line, (1, baseline), bgr=bgr, scale=0.43)
    return np.concatenate([tile, plate])


def _row(width: int, tiles: list[UInt8Array]) -> UInt8Array:
    row = _blank(TILE_HW[0] + _CAPTION_PX + _GAP_PX, width)
    for column, tile in enumerate(tiles):
        x = _GAP_PX + column * (TILE_HW[1] + _GAP_PX)
        row[: len(tile), x : x + TILE_HW[1]] = tile
    return row


def _header(width: int, mistakes: Mistakes) -> UInt8Array:
    header = _blank(_HEADER_PX, width)
    found = len(mistakes.false_positives), len(mistakes.misses)
    text = f"From score {mistakes.conf:.3f}: {mistakes.hits} correct, {found[0]} false positives, {found[1]} missed"
    _write(header, text, (_GAP_PX, 27), bgr=_INK_BGR, scale=0.6)
    for x, bgr, name in ((width - 300, LABELED_BGR, "labeled"), (width - 160, DETECTED_BGR, "detected")):
        cv2.rectangle(header, (x, 12), (x + 22, 28), bgr, 3)
        _write(header, name, (x + 32, 27), bgr=_INK_BGR, scale=0.6)
    return header


def _heading(width: int, text: str) -> UInt8Array:
    heading = _blank(_HEADER_PX, width)
    _write(heading, text, (_GAP_PX, 26), bgr=_INK_BGR, scale=0.55)
    return heading


def _blank(height: int, width: int) -> UInt8Array:
    return np.full((height, width, 3), _PAGE_BGR, np.uint8)


def _write(page: UInt8Array, text: str, at_xy: tuple[int, int], *, bgr: Color, scale: float) -> None:
    """Write one line, cut at the edge of the page; OpenCV's font has only ASCII."""
    text = text.encode("ascii", "replace").decode()
    text = well_formed(text)
    while cv2.getTextSize(text, _FONT, scale, 1)[0][0] > page.shape[1] - at_xy[0] and len(text) > 3:
        text = f"{text[:-3]}.."
    cv2.putText(page, text, at_xy, _FONT, scale, bgr, 1, cv2.LINE_AA)

"""report.html: one file that shows a model's accuracy, its mistakes and its training; it loads nothing else.

Imports jinja2 and matplotlib, so import it after `optional_packages.require_report_packages`.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import markupsafe
import numpy as np

from mmpnet.contract.arrays import UInt8Array
from mmpnet.contract.text import counted
from mmpnet.evaluation.bootstrap import LEVEL
from mmpnet.evaluation.curves import mean_confidence_curve, precision_recall
from mmpnet.evaluation.error_analysis import PER_IMAGE, Mistakes, find_mistakes
from mmpnet.evaluation.evaluate import MATCH_IOU, Evaluation
from mmpnet.evaluation.matching import Ranking, match_coco, rankings
from mmpnet.evaluation.report.contact_sheet import (
    DETECTED_BGR,
    KINDS,
    LABELED_BGR,
    SHEET_MISTAKES,
    captions,
    comparison,
    mistake_tile,
)
from mmpnet.evaluation.report.inputs import Facts, History, Measured, Subject
from mmpnet.evaluation.report.plots import confidence_plot, epoch_plot, precision_recall_plot, size_plot
from mmpnet.evaluation.result_tables import part_table, shown_interval, verdicts
from mmpnet.evaluation.results import ModelResult, PartResult
from mmpnet.reporting.html import render, write_page

SAMPLES = 8
SAMPLE_SEED = 0
SAMPLE_SIDE_PX = 480
JPEG_QUALITY = 80
STRICT_IOU = 0.75
SMALL_PX2, LARGE_PX2 = 32**2, 96**2
"""COCO's area bounds of small, medium and large."""


@dataclass(frozen=True, slots=True)
class _Plot:
    svg: markupsafe.Markup
    caption: str


@dataclass(frozen=True, slots=True)
class _Inset:
    jpeg: str
    width: int
    height: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _MistakesOfKind:
    title: str
    count: int
    reasons: tuple[tuple[str, int], ...]
    images: tuple[_Inset, ...]


def write_report(
    path: Path,
    subject: Subject,
    *,
    measured: Measured | None,
    history: History | None,
    results: Sequence[ModelResult] = (),
) -> None:
    """Write the page atomically; without a validation set it contains only the losses.

    results: optional; those of the model in `measured` first, then those of the models to compare it with.

    Raises: OutputError if the file cannot be written, DatasetError if an image is no longer readable.
    """
    write_page(path, render_report(subject, measured=measured, history=history, results=results))


def render_report(
    subject: Subject,
    *,
    measured: Measured | None,
    history: History | None,
    results: Sequence[ModelResult] = (),
) -> str:
    """The page as HTML.

    Raises: DatasetError if an image is no longer readable.
    """
    mistakes = None
    if measured is not None:
        mistakes = find_mistakes(measured.dataset, measured.evaluation, conf=measured.evaluation.best_f1_conf)
    return render(
        "report.html.j2",
        title=subject.title if measured is None else f"{subject.title} on {measured.dataset.name}",
        summary=_summary(measured),
        facts=(*subject.facts, *_measurement(measured)),
        settings=subject.settings,
        numbers=[] if measured is None else _numbers(measured.evaluation, results[0].whole if results else None),
        parts=part_table(results) if results and (len(results) > 1 or len(results[0].parts) > 1) else None,
        verdicts=[
            f"{one.part.name}: {sentence}"
            for one in (results[0].parts if results else ())
            for sentence in verdicts(results, one.part)
        ],
        level=f"{LEVEL:.0%}" if results and results[0].whole.samples is not None else "",
        classes=[] if measured is None else _class_rows(measured),
        training_plots=[] if history is None else _training_plots(history),
        accuracy_plots=[] if measured is None else _accuracy_plots(measured),
        samples=[] if measured is None else _samples(measured),
        mistakes=[] if measured is None or mistakes is None else _mistakes(measured, mistakes),
        hits=0 if mistakes is None else mistakes.hits,
        conf="" if mistakes is None else f"{mistakes.conf:.3f}",
        seed=SAMPLE_SEED,
        per_image=PER_IMAGE,
        labeled=_hex(LABELED_BGR),
        detected=_hex(DETECTED_BGR),
    )


def _summary(measured: Measured | None) -> str:
    if measured is None:
        return "There was no validation set, so only the losses of this model are known."
    evaluation, dataset = measured.evaluation, measured.dataset
    return (
        f"AP {evaluation.ap():.3f} and AP50 {evaluation.ap('AP50'):.3f} on {dataset.name}: "
        f"{counted(evaluation.n_images, 'image')}, {counted(evaluation.n_boxes, 'box')}."
    )


def _measurement(measured: Measured | None) -> Facts:
    if measured is None:
        return ()
    dataset = measured.dataset
    return (("measured on", f"{dataset.name}, sha256 {dataset.sha256}"), ("protocol", measured.protocol))


def _numbers(evaluation: Evaluation, result: PartResult | None) -> list[tuple[str, str, str]]:
    """Name, value and interval of each number; the interval is empty if it was not resampled."""
    around = {name: "" if result is None else shown_interval(result.interval(name)) for name in evaluation.coco}
    return [
        *((name, _three_digits(value), around[name]) for name, value in evaluation.coco.items()),
        ("VOC07 AP50", _three_digits(evaluation.voc07_ap50), ""),
        ("VOC AP50", _three_digits(evaluation.voc_ap50), ""),
        ("quasi IoU", f"{evaluation.quasi_iou:.3f}", ""),
        ("best F1", f"{evaluation.best_f1:.3f}", ""),
        ("at score threshold", f"{evaluation.best_f1_conf:.3f}", ""),
    ]


def _class_rows(measured: Measured) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for one, ranking in zip(measured.evaluation.classes, _ranked(measured, MATCH_IOU), strict=True):
        f1, conf = mean_confidence_curve([ranking]).best()
        precisions = (_three_digits(one.voc07_ap50), _three_digits(one.voc_ap50))
        rows.append((one.name, str(one.n_boxes), *precisions, f"{f1:.3f}", f"{conf:.3f}"))
    return rows


def _training_plots(history: History) -> list[_Plot]:
    plots = [
        _Plot(markupsafe.Markup(epoch_plot(history.losses, "loss")), "Mean loss of each epoch, on training images.")
    ]
    if any(np.isfinite(line.y).any() for line in history.accuracies):
        caption = "Accuracy on the validation set, at the epochs that were validated."
        plots.append(_Plot(markupsafe.Markup(epoch_plot(history.accuracies, "accuracy")), caption))
    return plots


def _accuracy_plots(measured: Measured) -> list[_Plot]:
    at50, at75 = ([one for one in _ranked(measured, iou) if one.n_boxes] for iou in (MATCH_IOU, STRICT_IOU))
    if not at50:
        return []
    evaluation = measured.evaluation
    precision = precision_recall_plot([precision_recall(one) for one in at50], [precision_recall(one) for one in at75])
    several = f", mean of {len(at50)} classes" if len(at50) > 1 else ""
    best = f"Best F1 {evaluation.best_f1:.3f}, at score threshold {evaluation.best_f1_conf:.3f} (dotted){several}."
    sizes = tuple(zip(("small", "medium", "large"), ("APs", "APm", "APl"), _boxes_by_size(measured), strict=True))
    by_size = size_plot([(name, evaluation.coco[key], count) for name, key, count in sizes])
    return [
        _Plot(markupsafe.Markup(precision), f"Precision over recall at all score thresholds{several}."),
        _Plot(markupsafe.Markup(confidence_plot(mean_confidence_curve(at50))), best),
        _Plot(markupsafe.Markup(by_size), "AP by object size: small is below 32x32 px of area, large above 96x96 px."),
    ]


def _ranked(measured: Measured, iou_threshold: float) -> list[Ranking]:
    images, found = measured.dataset.images, measured.evaluation.found
    matches = [match_coco(one, image, iou_threshold) for one, image in zip(found, images, strict=True)]
    return list(rankings(matches, images, [one.class_id for one in measured.evaluation.classes]).values())


def _boxes_by_size(measured: Measured) -> tuple[int, int, int]:
    class_ids = [one.class_id for one in measured.evaluation.classes]
    areas = np.concatenate(
        [one.areas_px2[~one.crowd & np.isin(one.class_ids, class_ids)] for one in measured.dataset.images]
    )
    small, large = int((areas <= SMALL_PX2).sum()), int((areas > LARGE_PX2).sum())
    return small, len(areas) - small - large, large


def _samples(measured: Measured) -> list[_Inset]:
    images, evaluation = measured.dataset.images, measured.evaluation
    class_ids = [one.class_id for one in evaluation.classes]
    drawn = np.random.default_rng(SAMPLE_SEED).permutation(len(images))[:SAMPLES]
    insets = []
    for index in sorted(drawn.tolist()):
        image = images[index]
        found = evaluation.found[index]
        frame_bgr = comparison(image, found, class_ids, conf=evaluation.best_f1_conf, side_px=SAMPLE_SIDE_PX)
        insets.append(_inset(frame_bgr, (image.path.name,)))
    return insets


def _mistakes(measured: Measured, mistakes: Mistakes) -> list[_MistakesOfKind]:
    sections = []
    for kind, title in KINDS:
        insets = [
            _inset(
                mistake_tile(mistake, measured.dataset, measured.evaluation, conf=mistakes.conf),
                captions(mistake, measured.dataset.images[mistake.index]),
            )
            for mistake in mistakes.worst(kind, SHEET_MISTAKES)
        ]
        reasons = tuple(mistakes.reasons(kind).items())
        sections.append(_MistakesOfKind(title, len(mistakes.of(kind)), reasons, tuple(insets)))
    return sections


def _inset(frame_bgr: UInt8Array, lines: tuple[str, ...]) -> _Inset:
    encoded, content = cv2.imencode(".jpg", frame_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert encoded, "OpenCV writes JPEG"
    return _Inset(base64.b64encode(content.tobytes()).decode(), frame_bgr.shape[1], frame_bgr.shape[0], lines)


def _three_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _hex(bgr: tuple[int, int, int]) -> str:
    return "#{2:02x}{1:02x}{0:02x}".format(*bgr)

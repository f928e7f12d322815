"""Whether the new model is better than the old one: on the held-out times of the camera, and not worse elsewhere."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmpnet.contract.errors import TrainingError
from mmpnet.contract.records import Accuracy, AdaptationRecord, ComparedAccuracy
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.bootstrap import Bootstrap, Difference, difference
from mmpnet.evaluation.evaluate import detect_all, require_measurable
from mmpnet.evaluation.protocol import EVALUATION_THRESHOLDS
from mmpnet.evaluation.results import PartResult, measure_parts, parts_of
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.files import file_sha256
from mmpnet.system.progress import Progress

GENERAL_LOSS = 0.02
"""Largest loss of AP on general images that is accepted."""


def prove(
    old: Path,
    new: Path,
    held_out: Path,
    general: Path | None,
    *,
    judges: Sequence[str],
    general_loss: float = GENERAL_LOSS,
    progress: Progress,
) -> AdaptationRecord:
    """Measure both models on the same images, and decide.

    judges: names of the teachers that drew the held-out labels; empty if people did.

    Raises: DatasetError if something cannot be measured.
    """
    camera = _compared(old, new, held_out, progress)
    elsewhere = None if general is None else _compared(old, new, general, progress)
    better, verdict = _verdict(camera, elsewhere, judges, general_loss)
    return AdaptationRecord(
        better=better,
        verdict=verdict,
        judges=tuple(judges),
        old_model=old.name,
        old_sha256=file_sha256(old),
        camera=camera,
        general=elsewhere,
    )


def _compared(old: Path, new: Path, data: Path, progress: Progress) -> ComparedAccuracy:
    dataset = load_dataset([data], "val", undivided=True)
    theirs, ours = (_measured(path, dataset, who, progress) for path, who in ((old, "the old"), (new, "the new")))
    found: Difference | None = None
    if ours.samples is not None and theirs.samples is not None:
        found = difference("AP", ours.evaluation.coco, theirs.evaluation.coco, ours.samples, theirs.samples)
    accuracies = [Accuracy(one.evaluation.ap("AP"), one.evaluation.ap("AP50")) for one in (theirs, ours)]
    return ComparedAccuracy(
        dataset=dataset.name,
        dataset_sha256=dataset.sha256,
        n_images=len(dataset.images),
        n_boxes=ours.evaluation.n_boxes,
        old=accuracies[0],
        new=accuracies[1],
        ap_interval=None if found is None else (found.interval.low, found.interval.high),
    )


def _measured(path: Path, dataset: Dataset, who: str, progress: Progress) -> PartResult:
    detector = Detector(path, thresholds=EVALUATION_THRESHOLDS, provider="cpu")

    def shown(images: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
        return iter(progress(images, f"{who} model on {dataset.name}"))

    with detector:
        to_category = require_measurable(dataset, detector.class_names)
        found = detect_all(detector, dataset, to_category, progress=shown)
    parts = parts_of([dataset], by_source=False)
    return measure_parts(dataset, found, sorted(to_category.values()), parts, Bootstrap())[0]


def _verdict(
    camera: ComparedAccuracy, general: ComparedAccuracy | None, judges: Sequence[str], general_loss: float
) -> tuple[bool, str]:
    by = f"against labels of {', '.join(judges)}, not of people" if judges else "against labels of people"
    gain = camera.new.AP - camera.old.AP
    if camera.ap_interval is None:
        raise TrainingError(f"{camera.dataset}: too few images with people to compare two models; collect more")
    low, high = camera.ap_interval
    around = f"AP {gain:+.3f} (95 % interval {low:+.3f} to {high:+.3f}) {by}"
    if not low > 0:
        return False, f"not proven better on held-out times of this camera: {around}"
    if general is None:
        return True, f"better on held-out times of this camera: {around}; general images were not measured"
    loss = general.old.AP - general.new.AP
    if loss > general_loss:
        return False, f"better on this camera ({around}), but worse on general images: AP {-loss:+.3f}"
    return True, f"better on held-out times of this camera: {around}; on general images AP {-loss:+.3f}"

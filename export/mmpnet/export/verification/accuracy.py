"""Compare the accuracy of checkpoint and file on the same labeled images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmpnet.contract.errors import ExportError
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.records import Accuracy, AccuracyRecord
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.evaluate import Detect, Evaluation, evaluate
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS
from mmpnet.export.verification.file_parity import Reference
from mmpnet.runtime.inference.detector import Detector
from mmpnet.system.progress import Progress, no_progress

MAX_AP_DIFFERENCE = 1e-3


def compare_accuracy(
    reference: Reference,
    path: Path,
    metadata: ModelMetadata,
    dataset: Dataset,
    *,
    progress: Progress = no_progress,
) -> AccuracyRecord:
    """Measure AP and AP50 of the checkpoint and of the file.

    The thresholds are those of every evaluation, or those of the file if they are frozen into it.

    Raises: ExportError if the accuracies differ; DatasetError if nothing can be measured on the data.
    """
    thresholds = metadata.thresholds if metadata.frozen else EVALUATION_THRESHOLDS
    from_torch = reference.detector(metadata.input.size_hw, thresholds)
    from_file = Detector(path, thresholds=thresholds, provider="cpu")
    expected = measured(from_torch, dataset, metadata.class_names, "torch", progress)
    found = measured(from_file, dataset, metadata.class_names, "the file", progress)
    for name in ("AP", "AP50"):
        if not abs(expected.ap(name) - found.ap(name)) <= MAX_AP_DIFFERENCE:
            raise ExportError(
                f"on {dataset.name} torch has {name} {expected.ap(name):.4f} and the file {found.ap(name):.4f}; at "
                f"most {MAX_AP_DIFFERENCE:g} is tolerated; the file was not kept. Try "
                "another --opset or version of torch"
            )
    return AccuracyRecord(
        protocol=f"COCO at the frozen thresholds {thresholds}" if metadata.frozen else EVALUATION_PROTOCOL,
        dataset=dataset.name,
        dataset_sha256=dataset.sha256,
        n_images=len(dataset.images),
        reference=Accuracy(expected.ap("AP"), expected.ap("AP50")),
        file=Accuracy(found.ap("AP"), found.ap("AP50")),
    )


def measured(
    detect: Detect, dataset: Dataset, class_names: Sequence[str], who: str, progress: Progress = no_progress
) -> Evaluation:
    """Evaluate a detector; `progress` receives the images, and a description with `who`."""

    def of_images(images: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
        return iter(progress(images, f"accuracy of {who}"))

    return evaluate(detect, dataset, class_names, progress=of_images)

"""Compare the accuracy of checkpoint and file on the same labeled images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import track

from mmpnet.console.command import console
from mmpnet.contract.errors import ExportError
from mmpnet.contract.metadata import ModelMetadata
from mmpnet.contract.records import Accuracy, AccuracyRecord
from mmpnet.datasets.types import Dataset, LabeledImage
from mmpnet.evaluation.evaluate import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS, Detect, Evaluation, evaluate
from mmpnet.export.verification.file_parity import Reference
from mmpnet.runtime.inference.detector import Detector

MAX_AP_DIFFERENCE = 1e-3


def compare_accuracy(reference: Reference, path: Path, metadata: ModelMetadata, dataset: Dataset) -> AccuracyRecord:
    """AP and AP50 of both, at evaluation's thresholds, or at the file's own where they are frozen into it.

    Raises: ExportError if they differ, or if the data has nothing to measure against.
    """
    thresholds = metadata.thresholds if metadata.frozen else EVALUATION_THRESHOLDS
    from_torch = reference.detector(metadata.input.size_hw, thresholds)
    from_file = Detector(path, thresholds=thresholds, provider="cpu")
    expected = measured(from_torch, dataset, metadata.class_names, "torch")
    found = measured(from_file, dataset, metadata.class_names, "the file")
    for name in ("AP", "AP50"):
        if not abs(expected.ap(name) - found.ap(name)) <= MAX_AP_DIFFERENCE:
            raise ExportError(
                f"on {dataset.name} torch has {name} {expected.ap(name):.4f}, the file {found.ap(name):.4f}; tolerated "
                f"is {MAX_AP_DIFFERENCE:g}; the file was not kept. Try another --opset or version of torch"
            )
    return AccuracyRecord(
        protocol=f"COCO at the frozen thresholds {thresholds}" if metadata.frozen else EVALUATION_PROTOCOL,
        dataset=dataset.name,
        dataset_sha256=dataset.sha256,
        n_images=len(dataset.images),
        reference=Accuracy(expected.ap("AP"), expected.ap("AP50")),
        file=Accuracy(found.ap("AP"), found.ap("AP50")),
    )


def measured(detect: Detect, dataset: Dataset, class_names: Sequence[str], who: str) -> Evaluation:
    """An evaluation with a progress bar."""

    def watched(pictures: Sequence[LabeledImage]) -> Iterator[LabeledImage]:
        return iter(track(pictures, description=f"accuracy of {who}", console=console(), transient=True))

    return evaluate(detect, dataset, class_names, progress=watched)

"""Accuracy of one or several models on every given dataset and source, and differences between the models."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mmpnet.contract.detections import Detections
from mmpnet.contract.errors import DatasetError
from mmpnet.contract.text import well_formed
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.bootstrap import LEVEL, Bootstrap, Difference, Interval, Samples, difference, interval, resampled
from mmpnet.evaluation.coco import COCO_NUMBERS
from mmpnet.evaluation.evaluate import Evaluation, measure


@dataclass(frozen=True, slots=True)
class Part:
    """Images that are reported together: a dataset, one source in it, or everything (both None); `rows` are their
    indices in the mix of all datasets."""

    data: str | None
    source: str | None
    rows: tuple[int, ...]

    @property
    def name(self) -> str:
        whole = self.data or "all datasets"
        return whole if self.source is None else f"{whole}, source {self.source}"


@dataclass(frozen=True, slots=True)
class PartResult:
    """One model on one part; samples are those of the bootstrap, None without one or with too few images."""

    part: Part
    evaluation: Evaluation
    samples: Samples | None

    def interval(self, name: str) -> Interval | None:
        """Interval of one of COCO's numbers; None if it is undefined or was not resampled."""
        if self.samples is None or self.evaluation.coco[name] is None:
            return None
        return interval(self.samples[name])


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model on every part; the part with everything comes first."""

    name: str
    protocol: str
    parts: tuple[PartResult, ...]

    @property
    def whole(self) -> PartResult:
        return self.parts[0]


def parts_of(datasets: Sequence[Dataset], *, by_source: bool) -> tuple[Part, ...]:
    """Everything, then each dataset if there are several, each followed by its sources if by_source is set.

    Raises: DatasetError if by_source is set and no image has a source.
    """
    names = [one.name for one in datasets]
    if len(set(names)) < len(names):
        names = [well_formed(str(one.path)) for one in datasets]
    if by_source and not any(image.source for one in datasets for image in one.images):
        raise DatasetError(f"{', '.join(names)}: no image has a `source` in its entry; leave --by-source out")
    parts: list[Part] = []
    start = 0
    for name, dataset in zip(names, datasets, strict=True):
        rows = range(start, start := start + len(dataset.images))
        parts.append(Part(name, None, tuple(rows)))
        if by_source:
            source_of = {row: image.source for row, image in zip(rows, dataset.images, strict=True)}
            for source in sorted({one for one in source_of.values() if one is not None}):
                parts.append(Part(name, source, tuple(row for row in rows if source_of[row] == source)))
    return tuple(parts) if len(datasets) == 1 else (Part(None, None, tuple(range(start))), *parts)


def measure_parts(
    dataset: Dataset,
    found: tuple[Detections, ...],
    categories: list[int],
    parts: Sequence[Part],
    bootstrap: Bootstrap | None,
) -> tuple[PartResult, ...]:
    """Accuracy of a model's detections on each part of the mix of all datasets."""
    results = []
    for part in parts:
        images = replace(dataset, images=tuple(dataset.images[row] for row in part.rows))
        evaluation = measure(images, tuple(found[row] for row in part.rows), categories)
        samples = None if bootstrap is None else resampled(evaluation.matches, bootstrap)
        results.append(PartResult(part, evaluation, samples))
    return tuple(results)


@dataclass(frozen=True, slots=True)
class PartDifference:
    """One model minus the first one on a part, for each of COCO's numbers; None if it is undefined."""

    part: Part
    model: str
    baseline: str
    numbers: dict[str, Difference | None]


def differences(results: Sequence[ModelResult]) -> tuple[PartDifference, ...]:
    """Every further model minus the first, for each part; empty for one model or without resamples."""
    found = []
    baseline, *others = results
    for other in others:
        for ours, theirs in zip(other.parts, baseline.parts, strict=True):
            if ours.samples is None or theirs.samples is None:
                continue
            numbers = {
                name: difference(name, ours.evaluation.coco, theirs.evaluation.coco, ours.samples, theirs.samples)
                for name in COCO_NUMBERS
            }
            found.append(PartDifference(ours.part, other.name, baseline.name, numbers))
    return tuple(found)


def document(results: Sequence[ModelResult], bootstrap: Bootstrap | None) -> dict[str, Any]:
    """The content of --json. For one model: its numbers on everything, their intervals, and `parts` if there are
    several. For several models: the same for each in `models`, and `differences` from the first."""
    drawn = None if bootstrap is None else {**asdict(bootstrap), "level": LEVEL}
    if len(results) == 1:
        return {**_model(results[0]), "bootstrap": drawn}
    models = [{"model": one.name, "protocol": one.protocol, **_model(one)} for one in results]
    return {"bootstrap": drawn, "models": models, "differences": [_difference(one) for one in differences(results)]}


def _model(result: ModelResult) -> dict[str, Any]:
    parts = [
        {"data": one.part.data, "source": one.part.source, **_numbers(one)}
        for one in (result.parts if len(result.parts) > 1 else ())
    ]
    return {**_numbers(result.whole), **({"parts": parts} if parts else {})}


def _numbers(result: PartResult) -> dict[str, Any]:
    numbers: dict[str, Any] = result.evaluation.as_dict()
    classes = result.evaluation.classes
    if len(classes) > 1:
        numbers["classes"] = [
            {"name": one.name, "n_boxes": one.n_boxes, "voc_AP50": one.voc_ap50, "voc07_AP50": one.voc07_ap50}
            for one in classes
        ]
    return {**numbers, "intervals": {name: _pair(result.interval(name)) for name in COCO_NUMBERS}}


def _difference(one: PartDifference) -> dict[str, Any]:
    numbers = {
        name: None
        if found is None
        else {"difference": found.value, "interval": _pair(found.interval), "differs": found.is_significant}
        for name, found in one.numbers.items()
    }
    return {"data": one.part.data, "source": one.part.source, "model": one.model, "baseline": one.baseline, **numbers}


def _pair(found: Interval | None) -> list[float] | None:
    return None if found is None else [found.low, found.high]

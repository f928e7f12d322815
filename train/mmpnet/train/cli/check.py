"""mmp-train --check: check the data completely, without training."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import typer

from mmpnet.cli.dataset_tables import check_dataset, print_statistics
from mmpnet.console.command import console, results
from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.letterbox import Letterbox
from mmpnet.contract.text import counted, well_formed_values
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.statistics import DatasetStatistics, shared_images
from mmpnet.system.files import is_file
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.cli.run_display import coverage_table
from mmpnet.train.distillation.pseudo_labels import unlabeled_images
from mmpnet.train.distillation.uncertain import settle_uncertain
from mmpnet.train.run.anchor_fit import Coverage, coverage, input_boxes, suited_anchors

LEAST_ADVISED_BOXES, LEAST_UNFIT = 10, 0.1
"""From so many boxes of a size, and so large a share of them without an anchor, there is advice."""


def check(config: TrainConfig, unlabelled: Sequence[str], *, as_json: bool) -> bool:
    """Check the files of training and validation data, the folders of unlabeled images, and how well anchors cover the
    boxes; return whether there is no fault.

    With `anchors: auto` these are the anchors that are fitted to the boxes. Without a teacher, data without boxes is a
    fault.

    Raises: DatasetError for faults that leave nothing to check, TrainingError for too few boxes to suggest anchors,
    typer.BadParameter for a missing file of a teacher.
    """
    for teacher in config.distillation.teachers:
        if not is_file(Path(teacher)):
            raise typer.BadParameter(f"--teacher {teacher}: no such file")
    for folder in unlabelled:
        console().print(f"{folder}: {counted(len(unlabeled_images(Path(folder))), 'image')} without labels")
    shown = console() if as_json else results()
    scans = _scans(config)
    for found in scans.values():
        print_statistics(shown, found)
    anchors, rows = _anchors_on_boxes(config)
    shown.print(coverage_table(rows))
    for line in advice(rows, config):
        shown.print(line)
    copies = shared_images(scans["train"], scans["val"]) if "val" in scans else ()
    for copy in copies:
        shown.print(f"warning: {copy}")
    if as_json:
        document = {name: found.as_dict() for name, found in scans.items()}
        covered = {"anchor_spec": asdict(anchors), "anchors": [asdict(row) for row in rows]}
        sys.stdout.write(
            json.dumps(well_formed_values({**document, **covered, "shared_pictures": list(copies)})) + "\n"
        )
    return all(found.ok for found in scans.values())


def advice(rows: Sequence[Coverage], config: TrainConfig) -> list[str]:
    """What to try where boxes fit no anchor, in words; rows: coverage by object size, all sizes last."""
    lines = []
    height, width = config.model.input_hw
    for row in rows[:-1]:
        unfit = 1 - row.best_possible_recall
        if row.boxes < LEAST_ADVISED_BOXES or unfit < LEAST_UNFIT:
            continue
        tries = [f"--imgsz {_larger(height, width)}"] if row.name == "small" else []
        tries += ["--anchors auto"] if config.model.anchors != "auto" else []
        tried = f": try {' or '.join(tries)}" if tries else ""
        lines.append(f"advice: {unfit:.0%} of {row.name} boxes fit no anchor{tried}")
    return lines


def _larger(height: int, width: int) -> str:
    """The next larger input size, about a third more, in steps of 32 px."""
    larger = [round(side * 1.3 / 32) * 32 for side in (height, width)]
    return str(larger[0]) if larger[0] == larger[1] else f"{larger[0]}x{larger[1]}"


def _scans(config: TrainConfig) -> dict[str, DatasetStatistics]:
    """Return the statistics of the training data and of the validation data, if any, with a fault for data without
    boxes."""
    data, input_hw = config.data, config.model.input_hw
    found = check_dataset(paths_of(data.train), "train", data.classes, input_hw=input_hw)
    scans = {"train": _with_boxes(found, "to learn from") if not config.distillation.teachers else found}
    if data.val:
        found = check_dataset(
            paths_of(data.val), "val", data.classes, input_hw=input_hw, allow_absent=True, undivided=True
        )
        scans["val"] = _with_boxes(found, "to measure against")
    return scans


def _anchors_on_boxes(config: TrainConfig) -> tuple[AnchorSpec, tuple[Coverage, ...]]:
    """Return the anchors that training would have, and how well they cover the boxes."""
    input_hw = config.model.input_hw
    # Entries with faults, which are reported above, are left out here.
    train = load_dataset(paths_of(config.data.train), "train", config.data.classes, faults=Faults(collect=True))
    options = config.distillation
    images = settle_uncertain(train.images, uncertain=options.uncertain, sure_score=options.sure_score)
    boxes = input_boxes(images, Letterbox(input_hw))
    anchors = config.anchors
    if config.model.anchors == "auto":
        anchors = suited_anchors(anchors, boxes, input_hw, console().print)
    return anchors, coverage(boxes, anchors, input_hw)


def paths_of(texts: Sequence[str]) -> list[Path]:
    """The texts of options as paths."""
    return [Path(text) for text in texts]


def _with_boxes(found: DatasetStatistics, purpose: str) -> DatasetStatistics:
    """Return the statistics, with a fault if no image has a box."""
    if any(found.boxes_per_class.values()):
        return found
    return replace(found, faults=(*found.faults, f"{found.name}: has no boxes {purpose}"))

"""mmp-train --check: everything that can be said about the data before a single step is trained."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from mmpnet.cli.dataset_tables import check_dataset, print_statistics
from mmpnet.console.command import console
from mmpnet.contract.anchors import AnchorSpec
from mmpnet.contract.letterbox import Letterbox
from mmpnet.datasets.faults import Faults
from mmpnet.datasets.load import load_dataset
from mmpnet.datasets.statistics import DatasetStatistics, shared_images
from mmpnet.train.run.anchor_fit import coverage, coverage_table, input_boxes, suited_anchors


def check(
    data: Sequence[Path],
    val: Sequence[Path],
    classes: Sequence[str],
    anchors: AnchorSpec,
    input_hw: tuple[int, int],
    *,
    suggest: bool,
    needs_boxes: bool,
    as_json: bool,
) -> bool:
    """Scan training and validation data, every file of them, and the anchors on them, with `suggest` those that suit
    the boxes; whether there is no fault. Without a teacher, training `needs_boxes`.

    Raises: DatasetError for faults that leave nothing to look at, TrainingError for boxes too few to suggest anchors,
    ValueError if input size and stride do not fit.
    """
    found = check_dataset(data, "train", classes, input_hw=input_hw)
    scans: dict[str, DatasetStatistics] = {"train": _with_boxes(found, "to learn from") if needs_boxes else found}
    if val:
        found = check_dataset(val, "val", classes, input_hw=input_hw, allow_absent=True, undivided=True)
        scans["val"] = _with_boxes(found, "to measure against")
    for found in scans.values():
        print_statistics(console(), found)
    # What the scan has just listed is left out here.
    train = load_dataset(data, "train", classes, faults=Faults(collect=True))
    boxes = input_boxes(train.images, Letterbox(input_hw))
    anchors = suited_anchors(anchors, boxes, input_hw, console()) if suggest else anchors
    rows = coverage(boxes, anchors, input_hw)
    console().print(coverage_table("anchors on these boxes", rows))
    copies = shared_images(scans["train"], scans["val"]) if val else ()
    for copy in copies:
        console().print(f"warning: {copy}")
    if as_json:
        document = {name: found.as_dict() for name, found in scans.items()}
        covered = {"anchor_spec": asdict(anchors), "anchors": [asdict(row) for row in rows]}
        sys.stdout.write(json.dumps({**document, **covered, "shared_pictures": list(copies)}) + "\n")
    return all(found.ok for found in scans.values())


def _with_boxes(found: DatasetStatistics, purpose: str) -> DatasetStatistics:
    """The scan, with a fault where no picture has a box."""
    if any(found.boxes_per_class.values()):
        return found
    return replace(found, faults=(*found.faults, f"{found.name}: has no boxes {purpose}"))

"""Short training runs that differ from the default recipe in one setting each, and their results."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.training.short_runs import epoch_rows, rounded, train_to_end
from mmpnet.train.choices import Assignment

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")


@dataclass(frozen=True, slots=True)
class AblationSetting:
    """One change against the default recipe, as flags of mmp-train, and in words."""

    name: str
    what: str
    flags: tuple[str, ...] = ()
    teacher: bool = True
    pseudo: bool = True


ASSIGNMENTS: dict[Assignment, str] = {
    "adaptive": "adaptive assignment, by the size of the box",
    "atss": "adaptive assignment as ATSS has it",
    "iou": "assignment by IoU 0.5",
}
SETTINGS = (
    AblationSetting("default", "{assignment}, quality focal loss, GIoU, teacher, teacher-labeled images, mosaic"),
    AblationSetting("seed", "another seed", ("--seed", "1")),
    AblationSetting("focal", "focal loss", ("--negatives", "focal")),
    AblationSetting("hard", "3:1 hard negative mining", ("--negatives", "hard")),
    AblationSetting("random", "3:1 random negatives", ("--negatives", "random")),
    *(AblationSetting(name, what, ("--assignment", name)) for name, what in ASSIGNMENTS.items()),
    AblationSetting(
        "iou-hard", "the exercise's: assignment by IoU, hard mining", ("--assignment", "iou", "--negatives", "hard")
    ),
    AblationSetting("ciou", "complete IoU box loss", ("--box-loss", "ciou")),
    AblationSetting("smooth-l1", "smooth L1 box loss", ("--box-loss", "smooth-l1")),
    AblationSetting("no-mosaic", "no mosaics", ("--mosaic", "0")),
    AblationSetting("multi-scale", "input sizes vary by 25 %", ("--multi-scale", "0.25")),
    AblationSetting("no-teacher", "no teacher on the labeled images", teacher=False),
    AblationSetting("no-pseudo", "no teacher-labeled images", pseudo=False),
    AblationSetting("labels-only", "neither teacher nor teacher-labeled images", teacher=False, pseudo=False),
    AblationSetting("auto-anchors", "anchors suggested by the data", ("--anchors", "auto")),
    AblationSetting("no-average", "weights as they are, not averaged", ("--ema-decay", "0")),
    AblationSetting("freeze-norms", "batch-norm statistics of the backbone kept", ("--freeze-norms",)),
)


@dataclass(frozen=True, slots=True)
class AblationRecipe:
    """What all runs have in common; results of another recipe are not comparable."""

    epochs: int
    imgsz: int
    freeze: int
    assignment: Assignment

    def flags(self) -> list[str]:
        """As flags of mmp-train, which evaluates after the last epoch only."""
        sizes = ["--epochs", str(self.epochs), "--imgsz", str(self.imgsz), "--freeze", str(self.freeze)]
        # Mosaics in every epoch, also in runs of two.
        always = ["--eval-every", str(self.epochs), "--workers", "1", "--mosaic-until", "1"]
        return [*sizes, *always, "--assignment", self.assignment]

    def needs_run(self, setting: AblationSetting) -> bool:
        """The recipe's own assignment is no change."""
        return setting.name != self.assignment


@dataclass(frozen=True, slots=True)
class AblationInputs:
    """What the runs learn from, and the folder of the runs."""

    data: Path
    pseudo: Path
    teacher: Path
    weights: Path
    project: Path

    def flags(self, setting: AblationSetting) -> list[str]:
        """The sources of one run as flags of mmp-train."""
        flags = ["--data", str(self.data), *(["--data", str(self.pseudo)] if setting.pseudo else [])]
        # The teacher's answers to the same images do not change, so the first run's are used again.
        remembered = self.project / "default" / "teacher.json"
        teacher = remembered if setting.pseudo and remembered.exists() else self.teacher
        taught = ["--teacher", str(teacher)] if setting.teacher else []
        return [*flags, *taught, "--weights", str(self.weights), "--project", str(self.project)]


def run_settings(
    inputs: AblationInputs, recipe: AblationRecipe, only: Sequence[str], report: Callable[[str], None]
) -> None:
    """Start every run, resume it, or leave it where it is complete; `only` names settings, all if it is empty.

    Raises: TrainingError if a run fails.
    """
    for setting in SETTINGS:
        if recipe.needs_run(setting) and (not only or setting.name in only):
            report(f"{setting.name}: {setting.what}")
            flags = [*inputs.flags(setting), *recipe.flags(), *setting.flags]
            train_to_end(inputs.project / setting.name, flags, recipe.epochs)


def collect(project: Path, recipe: AblationRecipe, before: dict[str, Any]) -> dict[str, Any]:
    """The document of all results: of complete runs, and of `before`, an earlier document of the same recipe."""
    rows = {setting.name: _result(project / setting.name, recipe.epochs) for setting in SETTINGS}
    measured = {name: row for name, row in rows.items() if row is not None}
    note = {"note": before["note"]} if "note" in before else {}
    return {**_as_dict(recipe), **note, "settings": {**before.get("settings", {}), **measured}}


def measured_before(results: Path, recipe: AblationRecipe) -> dict[str, Any]:
    """The document that an earlier call wrote with the same recipe, or {}.

    Its runs may be deleted while its numbers still hold, as does the note that somebody added.
    """
    before: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    return before if all(before.get(name) == value for name, value in _as_dict(recipe).items()) else {}


def _as_dict(recipe: AblationRecipe) -> dict[str, int | str]:
    return {"epochs": recipe.epochs, "imgsz": recipe.imgsz, "freeze": recipe.freeze, "assignment": recipe.assignment}


def _result(folder: Path, epochs: int) -> dict[str, float] | None:
    """The last epoch's accuracy; None for a run that is not complete."""
    rows = epoch_rows(folder)
    return None if len(rows) < epochs else rounded(rows[-1], NUMBERS)

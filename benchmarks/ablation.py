"""What each part of the training recipe is worth: the same short run again and again, one setting changed at a time.

Every run is an mmp-train in PROJECT/NAME; a finished one is not repeated and an interrupted one is gone on with, so
that the command can be stopped and given again; numbers in the results file that were made with the same epochs, size
and freeze are kept where their run is gone. Writes the results as JSON and, from it, the table in docs/ABLATION.md.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.errors import TrainingError
from mmpnet.system.files import replacing
from mmpnet.train.artifacts.config import RECIPE
from mmpnet.train.loading.loader import Assignment

RESULTS = Path(__file__).parent / "results" / "ablation.json"
PAGE = Path(__file__).parents[1] / "docs" / "ABLATION.md"
app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Setting:
    """One change against the default recipe, as flags of mmp-train, in words."""

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
    Setting("default", "{assignment}, quality focal loss, GIoU, teacher, teacher-labelled pictures, mosaic"),
    Setting("seed", "another seed", ("--seed", "1")),
    Setting("focal", "focal loss", ("--negatives", "focal")),
    Setting("hard", "3:1 hard negative mining", ("--negatives", "hard")),
    Setting("random", "3:1 random negatives", ("--negatives", "random")),
    *(Setting(name, what, ("--assignment", name)) for name, what in ASSIGNMENTS.items()),
    Setting(
        "iou-hard", "the exercise's: assignment by IoU, hard mining", ("--assignment", "iou", "--negatives", "hard")
    ),
    Setting("ciou", "complete IoU box loss", ("--box-loss", "ciou")),
    Setting("smooth-l1", "smooth L1 box loss", ("--box-loss", "smooth-l1")),
    Setting("no-mosaic", "no mosaics", ("--mosaic", "0")),
    Setting("multi-scale", "input sizes vary by 25 %", ("--multi-scale", "0.25")),
    Setting("no-teacher", "no teacher on the labelled pictures", teacher=False),
    Setting("no-pseudo", "no teacher-labelled pictures", pseudo=False),
    Setting("labels-only", "neither teacher nor teacher-labelled pictures", teacher=False, pseudo=False),
    Setting("auto-anchors", "anchors suggested by the data", ("--anchors", "auto")),
    Setting("no-average", "weights as they are, not averaged", ("--ema-decay", "0")),
    Setting("freeze-norms", "batch-norm statistics of the backbone kept", ("--freeze-norms",)),
)


@app.command()
def ablation(
    data: Annotated[Path, typer.Option(help="Labelled pictures with a val split.")],
    pseudo: Annotated[Path, typer.Option(help="Pictures that a detector labelled.")],
    teacher: Annotated[Path, typer.Option(help="ONNX teacher.")],
    weights: Annotated[Path, typer.Option(help="mobilenet_v2 state dict.")],
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    imgsz: Annotated[int, typer.Option(min=32)] = 224,
    freeze: Annotated[int, typer.Option(min=0)] = 4,
    assignment: Annotated[Assignment, typer.Option(help="Of the first row.")] = RECIPE.assignment,
    project: Annotated[Path, typer.Option(help="Where the runs lie.")] = Path("runs/ablation"),
    only: Annotated[list[str] | None, typer.Option(help="This setting; may be repeated.")] = None,
    results: Annotated[Path, typer.Option()] = RESULTS,
    page: Annotated[Path, typer.Option()] = PAGE,
) -> None:
    """Train every setting for a few epochs and write the table."""
    with exit_on_error():
        unknown = set(only or ()) - {setting.name for setting in SETTINGS}
        if unknown:
            raise typer.BadParameter(f"--only {sorted(unknown)[0]}: known are {' '.join(s.name for s in SETTINGS)}")
        common = ["--weights", str(weights), "--epochs", str(epochs), "--imgsz", str(imgsz), "--freeze", str(freeze)]
        common += ["--eval-every", str(epochs), "--workers", "1", "--project", str(project)]
        common += ["--assignment", assignment]
        for setting in SETTINGS:
            # The first row's assignment is no change.
            if (only and setting.name not in only) or setting.name == assignment:
                continue
            sources = ["--data", str(data), *(["--data", str(pseudo)] if setting.pseudo else [])]
            # The teacher says the same of the same pictures: it is asked once.
            remembered = project / "default" / "teacher.json"
            taught = remembered if setting.pseudo and remembered.exists() else teacher
            asked = [*sources, *(["--teacher", str(taught)] if setting.teacher else []), *common, *setting.flags]
            console().print(f"{setting.name}: {setting.what}")
            _train(project / setting.name, asked)
        rows = {s.name: _result(project / s.name, epochs) for s in SETTINGS}
        measured = {name: row for name, row in rows.items() if row is not None}
        recipe = {"epochs": epochs, "imgsz": imgsz, "freeze": freeze, "assignment": assignment}
        before = _measured_before(results, recipe)
        note = {"note": before["note"]} if "note" in before else {}
        facts = {**recipe, **note, "settings": {**before.get("settings", {}), **measured}}
        with replacing(results) as partial:
            partial.write_text(json.dumps(facts, indent=2) + "\n")
        with replacing(page) as partial:
            partial.write_text(page_text(facts))


def _train(folder: Path, flags: Sequence[str]) -> None:
    """Start, go on with, or leave a run as it is.

    Raises: TrainingError if it ends badly.
    """
    command = [sys.executable, "-c", "from mmpnet.train.cli.entry import train; train()"]
    if (folder / "last.pth").exists():
        if _epochs_done(folder) >= int(flags[flags.index("--epochs") + 1]):
            return
        flags = ["--resume", str(folder)]
    else:
        flags = [*flags, "--name", folder.name]
    code = subprocess.run([*command, *flags], check=False).returncode
    if code:
        raise TrainingError(f"{folder.name}: mmp-train ended with exit code {code}; give the same command again")


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "results.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _epochs_done(folder: Path) -> int:
    return len(_rows(folder))


def _result(folder: Path, epochs: int) -> dict[str, float] | None:
    """The last epoch's accuracy; None for a run that has not come that far."""
    rows = _rows(folder)
    if len(rows) < epochs:
        return None
    return {name: round(float(rows[-1][name] or 0), 4) for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")}


def _measured_before(results: Path, recipe: dict[str, int | Assignment]) -> dict[str, Any]:
    """The results that an earlier call wrote with the same recipe, or {}: its runs may be gone, its numbers hold, and
    so does what somebody noted beside them."""
    before: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    return before if all(before.get(name) == value for name, value in recipe.items()) else {}


def page_text(facts: dict) -> str:  # type: ignore[type-arg]
    """docs/ABLATION.md, made from the results."""
    rows, base = facts["settings"], facts["settings"].get("default")
    epochs, imgsz, freeze, assignment = (facts[name] for name in ("epochs", "imgsz", "freeze", "assignment"))
    is_default = assignment == RECIPE.assignment
    lines = [
        "# What each part of the recipe is worth",
        "",
        "    python benchmarks/ablation.py --data DATA --pseudo PSEUDO --teacher TEACHER.onnx --weights WEIGHTS.pth "
        f"--epochs {epochs} --imgsz {imgsz} --freeze {freeze}" + ("" if is_default else f" --assignment {assignment}"),
        "",
        f"Short runs of {epochs} epochs at {imgsz} px with {freeze} frozen backbone blocks, measured on the val "
        "split after the last epoch. One setting changes at a time; fewer pictures also mean fewer steps.",
        "",
        "| setting | AP | AP50 | AP75 | APs | AP against the first row |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for setting in SETTINGS:
        row = rows.get(setting.name)
        if row is None:
            continue
        against = "" if base is None or setting.name == "default" else f"{row['AP'] - base['AP']:+.3f}"
        numbers = " | ".join(f"{row[name]:.3f}" for name in ("AP", "AP50", "AP75", "APs"))
        lines.append(f"| {_in_words(setting, assignment)} | {numbers} | {against} |")
    note = [facts["note"], ""] if "note" in facts else []
    return "\n".join([*lines, "", *note, *_verdict(rows, assignment), ""])


def _in_words(setting: Setting, assignment: Assignment) -> str:
    return setting.what.format(assignment=ASSIGNMENTS[assignment])


def _verdict(rows: dict[str, dict[str, float]], assignment: Assignment) -> list[str]:
    """Why the default is what it is, as far as these numbers go."""
    base = rows.get("default")
    if base is None:
        return []
    chance = abs(rows["seed"]["AP"] - base["AP"]) if "seed" in rows else 0.0
    changed = [setting for setting in SETTINGS if setting.name in rows and setting.name not in ("default", "seed")]
    better = [one.what for one in changed if rows[one.name]["AP"] > base["AP"] + chance]
    level = [one.what for one in changed if abs(rows[one.name]["AP"] - base["AP"]) <= chance]
    missing = [setting.what for setting in SETTINGS if setting.name not in (*rows, assignment)]
    known = f"Another seed moves AP by {chance:.3f}" if "seed" in rows else "How much is chance was not measured"
    first = (
        "is the default" if assignment == RECIPE.assignment else f"is the default but for `--assignment {assignment}`"
    )
    lines = [f"The first row {first}. {known}."]
    lines.append(
        f"Better than that: {'; '.join(better)}." if better else "Nothing that was measured is better than that."
    )
    if level:
        lines.append(f"No difference shown: {'; '.join(level)}. Short runs hardly tell what long ones gain from them.")
    if missing:
        lines.append(f"Not measured yet: {'; '.join(missing)}.")
    return [" ".join(lines)]


if __name__ == "__main__":
    app()

"""docs/ABLATION.md, written from the results of the ablation."""

import textwrap
from typing import Any

from harness.training.ablation import ASSIGNMENTS, SETTINGS
from mmpnet.train.artifacts.config import RECIPE
from mmpnet.train.choices import Assignment

Rows = dict[str, dict[str, float]]
SHOWN = ("AP", "AP50", "AP75", "APs")


def page_text(document: dict[str, Any]) -> str:
    """The whole page in markdown, from the document that `collect` returns."""
    assignment: Assignment = document["assignment"]
    rows: Rows = document["settings"]
    epochs, imgsz, freeze = (document[name] for name in ("epochs", "imgsz", "freeze"))
    own_assignment = "" if assignment == RECIPE.loss.assignment else f" --assignment {assignment}"
    lines = [
        "# The effect of each part of the recipe",
        "",
        "    python benchmarks/ablation.py --data DATA --pseudo PSEUDO --teacher TEACHER.onnx --weights WEIGHTS.pth "
        f"--epochs {epochs} --imgsz {imgsz} --freeze {freeze}{own_assignment}",
        "",
        _wrapped(
            f"Short runs of {epochs} epochs at {imgsz} px with {freeze} frozen backbone blocks, measured on the val "
            "split after the last epoch. One setting changes at a time; fewer images also mean fewer steps."
        ),
        "",
        _wrapped(
            "The val split has the sources of the training images. [Measurements]"
            "(MEASUREMENTS.md#on-sources-that-nobody-learned-from) has such runs that are measured on other sources."
        ),
        "",
        "| setting | AP | AP50 | AP75 | APs | AP against the first row |",
        "| --- | --- | --- | --- | --- | --- |",
        *_table_rows(rows, assignment),
        "",
    ]
    note = [_wrapped(document["note"]), ""] if "note" in document else []
    return "\n".join([*lines, *note, *_verdict(rows, assignment), ""])


def _table_rows(rows: Rows, assignment: Assignment) -> list[str]:
    base = rows.get("default")
    lines = []
    for setting in SETTINGS:
        row = rows.get(setting.name)
        if row is None:
            continue
        against = "" if base is None or setting.name == "default" else f"{row['AP'] - base['AP']:+.3f}"
        numbers = " | ".join(f"{row[name]:.3f}" for name in SHOWN)
        lines.append(f"| {setting.what.format(assignment=ASSIGNMENTS[assignment])} | {numbers} | {against} |")
    return lines


def _verdict(rows: Rows, assignment: Assignment) -> list[str]:
    """The reasons for the default, as far as these numbers go."""
    base = rows.get("default")
    if base is None:
        return []
    chance = abs(rows["seed"]["AP"] - base["AP"]) if "seed" in rows else 0.0
    changed = [setting for setting in SETTINGS if setting.name in rows and setting.name not in ("default", "seed")]
    better = [one.what for one in changed if rows[one.name]["AP"] > base["AP"] + chance]
    level = [one.what for one in changed if abs(rows[one.name]["AP"] - base["AP"]) <= chance]
    missing = [setting.what for setting in SETTINGS if setting.name not in (*rows, assignment)]
    known = f"Another seed moves AP by {chance:.3f}" if "seed" in rows else "How much is chance was not measured"
    is_default = assignment == RECIPE.loss.assignment
    first = "is the default" if is_default else f"is the default but for `--assignment {assignment}`"
    sentences = [
        f"The first row {first}. {known}.",
        f"Better than that: {'; '.join(better)}." if better else "Nothing that was measured is better than that.",
    ]
    if level:
        sentences.append(f"No difference shown: {'; '.join(level)}. Short runs say little about the gain in long ones.")
    if missing:
        sentences.append(f"Not measured yet: {'; '.join(missing)}.")
    return [_wrapped(" ".join(sentences))]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)

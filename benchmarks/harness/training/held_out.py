"""Short training runs on all but some sources, which measure them: what a choice brings on images from elsewhere."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.training.coco_entries import coco_entries, write_entries
from harness.training.copy_paste import with_pasted_people
from harness.training.short_runs import epoch_rows, rounded, train_to_end
from mmpnet.contract.errors import DatasetError, TrainingError
from mmpnet.system.claims import Claim
from mmpnet.train.engine.run_writer import LAST

UNSTATED_TERMS = (
    *("har", "sports100", "ebike_helmet", "selfie_clothes", "humanseg", "child_cctv", "tud_street", "clinic_cctv"),
)
"""Sources that state no terms, or not for all of their images; the model card names them."""
_FEWER_ANIMALS = ("--group-weight", "voc2012_animals=0.5", "--group-weight", "imagenet-sample=0.5")
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True, slots=True)
class HeldOutSetting:
    """One change against the first setting: flags of mmp-train, sources that it does not learn from, whether it learns
    the maps of a feature teacher, and whether people of other images are pasted into those to learn from."""

    name: str
    what: str
    flags: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    feature_teacher: bool = False
    copy_paste: bool = False


SETTINGS = (
    HeldOutSetting("base", "soft uncertain boxes, 4 frozen blocks, mosaics of 2x2 to 4x4"),
    HeldOutSetting("seed", "another seed", ("--seed", "1")),
    HeldOutSetting("ignore", "uncertain boxes ignored", ("--uncertain", "ignore")),
    HeldOutSetting("stated-terms", "without the sources of unstated terms", without=UNSTATED_TERMS),
    HeldOutSetting("freeze-2", "2 frozen blocks", ("--freeze", "2")),
    HeldOutSetting("freeze-0", "no frozen block", ("--freeze", "0")),
    HeldOutSetting("mosaic-2", "mosaics of 2x2 only", ("--mosaic-grid", "2")),
    HeldOutSetting("no-mosaic", "no mosaics", ("--mosaic", "0")),
    HeldOutSetting("multi-scale", "input sizes vary by 25 %", ("--multi-scale", "0.25")),
    HeldOutSetting("one-layer", "towers of one layer", ("--tower-depth", "1")),
    HeldOutSetting("no-average", "weights as they are, not averaged", ("--ema-decay", "0")),
    HeldOutSetting("double-rates", "twice the learning rates", ("--lr", "0.003", "--backbone-lr", "0.0008")),
    HeldOutSetting("atss", "adaptive assignment as ATSS has it", ("--assignment", "atss")),
    HeldOutSetting("half-rates", "half the learning rates", ("--lr", "0.00075", "--backbone-lr", "0.0002")),
    HeldOutSetting("fewer-animals", "half as many animals and other background images", _FEWER_ANIMALS),
    HeldOutSetting("copy-paste", "people of other images pasted into half of the images", copy_paste=True),
    HeldOutSetting("feature-teacher", "feature maps of a teacher learned too", feature_teacher=True),
)


@dataclass(frozen=True, slots=True)
class HeldOutRecipe:
    """What all runs have in common; results of another recipe are not comparable."""

    hold_out: tuple[str, ...]
    per_source: int
    epochs: int
    imgsz: int

    def flags(self) -> list[str]:
        """As flags of mmp-train, which evaluates after the last epoch only."""
        sizes = ["--epochs", str(self.epochs), "--imgsz", str(self.imgsz), "--eval-every", str(self.epochs)]
        return [*sizes, "--separate-towers", "--mosaic-until", "1", "--workers", "1"]

    def defaults(self, setting: HeldOutSetting) -> list[str]:
        """The flags that the setting does not give itself."""
        given = {"--freeze": ["4"], "--mosaic-grid": ["2", "3", "4"], "--tower-depth": ["2"]}
        return [
            part for flag, values in given.items() if flag not in setting.flags for v in values for part in (flag, v)
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "hold_out": list(self.hold_out),
            "per_source": self.per_source,
            "epochs": self.epochs,
            "imgsz": self.imgsz,
        }


def write_sets(
    data: Sequence[Path],
    folder: Path,
    recipe: HeldOutRecipe,
    *,
    without: Sequence[str] = (),
    copy_paste: bool = False,
) -> tuple[Path, Path]:
    """Write the images to learn from, at most `per_source` of each source, and the held-out ones that people labeled,
    as COCO JSON; returns the two paths.

    data: COCO JSON files whose images have a `source`. without: further sources that are not learned from.
    copy_paste: people of other images are pasted into half of those to learn from, which are written anew.

    Raises: DatasetError if a held-out source has no image.
    """
    learned: dict[str, list[dict[str, Any]]] = defaultdict(list)
    measured: list[dict[str, Any]] = []
    for path in data:
        for entry in coco_entries(path):
            source = entry["image"]["source"]
            if source not in recipe.hold_out:
                learned[source].append(entry)
            elif not any("score" in box for box in entry["boxes"]):
                measured.append(entry)
    found = {entry["image"]["source"] for entry in measured}
    for source in recipe.hold_out:
        if source not in found:
            raise DatasetError(
                f"--hold-out {source}: no image of {len(data)} files is of it; there are {sorted(learned)}"
            )
    drawn = random.Random(0)
    chosen = [
        entry
        for source in sorted(learned)
        if source not in without
        for entry in drawn.sample(learned[source], min(recipe.per_source, len(learned[source])))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    if copy_paste:
        chosen = with_pasted_people(chosen, folder / "images")
    return write_entries(folder / "learned.json", chosen), write_entries(folder / "held_out.json", measured)


@dataclass(frozen=True, slots=True)
class HeldOutInputs:
    """What the runs learn from, and the folder of the runs. Without a feature teacher, its setting is left out."""

    data: Sequence[Path]
    weights: str
    project: Path
    feature_teacher: Path | None = None


@contextmanager
def claimed_folder(inputs: HeldOutInputs, recipe: HeldOutRecipe) -> Iterator[None]:
    """Hold the folder of the runs, and note the recipe in it.

    Raises: TrainingError if it has runs of another recipe, OutputError if another process runs the script there.
    """
    path = inputs.project / "recipe.json"
    recipe_and_data = {**recipe.as_dict(), "weights": inputs.weights, "data": [str(one) for one in inputs.data]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with Claim(path):
        if path.exists() and json.loads(path.read_text()) != recipe_and_data:
            raise TrainingError(f"{inputs.project}: has runs with other options or data; give another --project")
        path.write_text(json.dumps(recipe_and_data, indent=2) + "\n")
        yield


def run_setting(setting: HeldOutSetting, recipe: HeldOutRecipe, inputs: HeldOutInputs) -> None:
    """Start a run, resume it, or leave it where it is complete. Raises: TrainingError if it fails."""
    folder, sets = inputs.project / setting.name, inputs.project / "sets" / setting.name
    flags: list[str] = []
    if not (folder / LAST).exists():
        learned, held_out = write_sets(
            inputs.data, sets, recipe, without=setting.without, copy_paste=setting.copy_paste
        )
        flags = ["--data", str(learned), "--val", str(held_out), "--weights", inputs.weights]
        flags += ["--project", str(inputs.project), *recipe.flags(), *recipe.defaults(setting), *setting.flags]
        flags += ["--feature-teacher", str(inputs.feature_teacher)] if setting.feature_teacher else []
    train_to_end(folder, flags, recipe.epochs)


def results(project: Path, recipe: HeldOutRecipe) -> dict[str, Any]:
    """Return the recipe, and for each complete run its accuracy on the held-out sources after the last epoch."""
    rows = {setting.name: epoch_rows(project / setting.name) for setting in SETTINGS}
    complete = {name: rounded(row[-1], NUMBERS) for name, row in rows.items() if len(row) >= recipe.epochs}
    return {**recipe.as_dict(), "settings": complete}


def table(document: dict[str, Any]) -> Iterable[str]:
    """Yield the results as lines of a markdown table; the last column is the difference to the first row."""
    rows = document["settings"]
    yield "| setting | AP | AP50 | APs | APm | APl | AP against the first row |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for setting in SETTINGS:
        row = rows.get(setting.name)
        if row is not None:
            against = "" if setting.name == "base" or "base" not in rows else f"{row['AP'] - rows['base']['AP']:+.3f}"
            numbers = " | ".join(f"{row[name]:.3f}" for name in ("AP", "AP50", "APs", "APm", "APl"))
            yield f"| {setting.what} | {numbers} | {against} |"

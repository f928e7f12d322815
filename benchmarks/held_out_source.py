"""What choices of the training recipe bring on sources that nobody learned from: short runs, one change at a time.

The images of --hold-out measure, all others are learned from, at most --per-source of each source, so that no source
decides alone. Every run is an mmp-train in PROJECT/NAME. A complete run is not repeated and an interrupted one is
resumed. Prints the table as markdown, or the results as JSON.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.script import Json, exit_on_error, script_app, show, write_json
from harness.training.held_out import (
    SETTINGS,
    HeldOutInputs,
    HeldOutRecipe,
    claimed_folder,
    results,
    run_setting,
    table,
)
from mmpnet.bench.environment import machine_document

app = script_app()


@app.command()
def held_out_source(
    data: Annotated[list[Path], typer.Option(help="COCO JSON whose images have a source; may be repeated.")],
    hold_out: Annotated[list[str], typer.Option(help="Source that measures; may be repeated.")],
    weights: Annotated[str, typer.Option(help="As --weights of mmp-train.")],
    feature_teacher: Annotated[Path | None, typer.Option(help="ONNX detector for the setting with its maps.")] = None,
    per_source: Annotated[int, typer.Option(min=1, help="Most images of one source to learn from.")] = 300,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each run.")] = 2,
    imgsz: Annotated[int, typer.Option(min=32, help="Input side in px.")] = 224,
    project: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/held-out"),
    only: Annotated[list[str] | None, typer.Option(help="Run this setting; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Train every setting for a few epochs, and compare them on the held-out sources."""
    with exit_on_error():
        names = [setting.name for setting in SETTINGS]
        for name in only or ():
            if name not in names:
                raise typer.BadParameter(f"--only {name}: known are {' '.join(names)}")
        recipe = HeldOutRecipe(tuple(hold_out), per_source, epochs, imgsz)
        inputs = HeldOutInputs(data, weights, project, feature_teacher)
        with claimed_folder(inputs, recipe):
            for setting in SETTINGS:
                if (not only or setting.name in only) and (feature_teacher or not setting.feature_teacher):
                    show(f"{setting.name}: {setting.what}")
                    run_setting(setting, recipe, inputs)
        document = results(project, recipe)
        if as_json:
            write_json({**document, "machine": machine_document(("torch",))})
        else:
            sys.stdout.write("\n".join(table(document)) + "\n")


if __name__ == "__main__":
    app()

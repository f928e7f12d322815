"""What each part of the training recipe is worth: the same short run again and again, one setting changed at a time.

Every run is an mmp-train in PROJECT/NAME. A complete run is not repeated and an interrupted one is resumed, so that the
command can be stopped and given again; numbers in the results file that were measured with the same epochs, size,
frozen blocks and assignment are kept where their run was deleted. Writes the results as JSON and, from them, the table
in docs/ABLATION.md.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.script import exit_on_error, script_app, show
from harness.training.ablation import (
    SETTINGS,
    AblationInputs,
    AblationRecipe,
    collect,
    measured_before,
    run_settings,
)
from harness.training.ablation_page import page_text
from mmpnet.system.files import atomic_write
from mmpnet.train.artifacts.config import RECIPE
from mmpnet.train.choices import Assignment

RESULTS = Path(__file__).parent / "results" / "ablation.json"
PAGE = Path(__file__).parents[1] / "docs" / "ABLATION.md"

app = script_app()


@app.command()
def ablation(
    data: Annotated[Path, typer.Option(help="Labeled images with a val split.")],
    pseudo: Annotated[Path, typer.Option(help="Images that a detector labeled.")],
    teacher: Annotated[Path, typer.Option(help="ONNX teacher.")],
    weights: Annotated[Path, typer.Option(help="mobilenet_v2 state dict.")],
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each run.")] = 10,
    imgsz: Annotated[int, typer.Option(min=32, help="Input side in px.")] = 224,
    freeze: Annotated[int, typer.Option(min=0, help="Frozen backbone blocks.")] = 4,
    assignment: Annotated[Assignment, typer.Option(help="Assignment of the first row.")] = RECIPE.loss.assignment,
    project: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/ablation"),
    only: Annotated[list[str] | None, typer.Option(help="Run this setting; may be repeated.")] = None,
    results: Annotated[Path, typer.Option(help="JSON file of the results.")] = RESULTS,
    page: Annotated[Path, typer.Option(help="Markdown file of the table.")] = PAGE,
) -> None:
    """Train every setting for a few epochs and write the table."""
    with exit_on_error():
        unknown = set(only or ()) - {setting.name for setting in SETTINGS}
        if unknown:
            raise typer.BadParameter(f"--only {sorted(unknown)[0]}: known are {' '.join(s.name for s in SETTINGS)}")
        recipe = AblationRecipe(epochs, imgsz, freeze, assignment)
        inputs = AblationInputs(data, pseudo, teacher, weights, project)
        run_settings(inputs, recipe, only or (), show)
        document = collect(project, recipe, measured_before(results, recipe))
        with atomic_write(results) as partial:
            partial.write_text(json.dumps(document, indent=2) + "\n")
        with atomic_write(page) as partial:
            partial.write_text(page_text(document))


if __name__ == "__main__":
    app()

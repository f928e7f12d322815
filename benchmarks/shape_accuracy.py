"""What shapes of the network learn in a short run: the same recipe, images and seed for each of a few candidates.

Every candidate starts from ImageNet weights. A narrower front is pruned from them, then trained for a while to give the
wide front's outputs, so that it may stay frozen as the wide one does; its remaining error is the squared difference of
the last outputs over their variance. Needs mmpnet[train].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from harness.script import Json, exit_on_error, script_app, show, write_json
from harness.shapes.accuracy import ShortTraining
from harness.shapes.candidates import candidates_by_name
from mmpnet.datasets.load import load_dataset

app = script_app()


@app.command()
def shape_accuracy(
    data: Annotated[list[Path], typer.Option(help="Labeled images; the first with a val split.")],
    weights: Annotated[Path, typer.Option(help="mobilenet_v2 state dict.")],
    shape: Annotated[list[str], typer.Option(help="Name of a candidate; may be repeated.")],
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each run.")] = 5,
    front_steps: Annotated[int, typer.Option(min=1, help="Steps that fit a narrower front.")] = 450,
    as_json: Json = False,
) -> None:
    """Train some candidates of shapes.py for a few epochs with their first five blocks frozen."""
    with exit_on_error():
        try:
            candidates = candidates_by_name(shape)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        train, val = load_dataset(data, "train"), load_dataset(data[:1], "val")
        training = ShortTraining(train, val, str(weights), epochs, front_steps)
        results = []
        for name, candidate in candidates.items():
            results.append(training.measure(candidate))
            show(f"{name}: AP {results[-1]['AP']:.3f}")  # further hours may follow, and be interrupted
        show(_table(results))
        if as_json:
            write_json({"epochs": epochs, "data": train.name, "shapes": results})


def _table(results: Sequence[dict[str, Any]]) -> Table:
    table = Table("shape", "AP", "AP50", "front's error")
    for row in results:
        left = "-" if row["front_error"] is None else f"{row['front_error']:.3f}"
        table.add_row(str(row["name"]), f"{row['AP']:.3f}", f"{row['AP50']:.3f}", left)
    return table


if __name__ == "__main__":
    app()

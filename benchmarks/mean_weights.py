"""Average the weights of several checkpoints, and compare the accuracy of the mean with that of each.

Runs that start from the same weights end around one flat optimum, and its middle may be better than any of them
(Wortsman et al. 2022). A checkpoint that is given twice counts twice. Everything but the weights comes from the first
checkpoint; the evaluation that the new checkpoint holds is the one measured here.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from harness.accuracy import HEADINGS
from harness.script import Json, exit_on_error, script_app, show, write_json
from harness.training.averaging import averaged, checkpoint_accuracy
from mmpnet.datasets.load import load_dataset
from mmpnet.evaluation.protocol import EVALUATION_PROTOCOL
from mmpnet.train.artifacts.checkpoint import load_checkpoint, save_checkpoint

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "best_f1", "best_f1_conf")

app = script_app()


@app.command()
def mean_weights(
    checkpoint: Annotated[list[Path], typer.Argument(help="best.pth or last.pth files of one shape of network.")],
    data: Annotated[list[Path], typer.Option(help="Labeled images with a val split. May be repeated.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the mean here.")],
    as_json: Json = False,
) -> None:
    """Average checkpoints and measure the mean."""
    with exit_on_error():
        dataset = load_dataset(data, "val")
        opened = [load_checkpoint(path) for path in checkpoint]
        mean = averaged(checkpoint, opened)
        table = Table("", *(HEADINGS.get(name, name) for name in NUMBERS), box=None, padding=(0, 1, 0, 0))
        found = {}
        for path, one in {**dict(zip(map(str, checkpoint), opened, strict=True)), str(output): mean}.items():
            found[path] = checkpoint_accuracy(one, dataset, path)
            table.add_row(path, *(f"{found[path][name] or 0:.4f}" for name in NUMBERS))
        show(table)
        provenance = msgspec.structs.replace(
            mean.provenance,
            val_name=dataset.name,
            val_sha256=dataset.sha256,
            val_images=len(dataset.images),
            evaluation=found[str(output)],
        )
        save_checkpoint(output, dataclasses.replace(mean, provenance=provenance))
        if as_json:
            write_json({"protocol": EVALUATION_PROTOCOL, "data": dataset.name, "checkpoints": found})


if __name__ == "__main__":
    app()

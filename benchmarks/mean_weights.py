"""The mean of several checkpoints' weights (Wortsman et al. 2022), beside what each of them has alone.

Runs that begin at the same weights end around one flat optimum, and its middle may be better than any of them. A
checkpoint that is given twice counts twice. Everything but the weights is the first checkpoint's; the evaluation that
the new one holds is what is measured here. Prints a table on stderr and, with --json, one JSON document on stdout.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import torch
import typer
from accuracy import SHOWN
from rich.progress import track
from rich.table import Table
from torch import Tensor

from mmpnet.console.command import HELP_NAMES, console, exit_on_error
from mmpnet.contract.errors import CheckpointError
from mmpnet.datasets.load import read_data
from mmpnet.datasets.types import Dataset
from mmpnet.evaluation.evaluate import EVALUATION_PROTOCOL, EVALUATION_THRESHOLDS, evaluate
from mmpnet.train.artifacts.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mmpnet.train.network.torch_detector import torch_detector

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "best_f1", "best_f1_conf")

app = typer.Typer(add_completion=False, context_settings=HELP_NAMES, pretty_exceptions_enable=False)


@app.command()
def mean_weights(
    checkpoint: Annotated[list[Path], typer.Argument(help="best.pth or last.pth of one shape of network.")],
    data: Annotated[list[Path], typer.Option(help="Labelled pictures with a val split. May be repeated.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the mean goes.")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Average checkpoints, and say what that brings."""
    with exit_on_error():
        dataset = read_data(data, "val")
        opened = [load_checkpoint(path) for path in checkpoint]
        mean = averaged(checkpoint, opened)
        table = Table("", *(SHOWN.get(name, name) for name in NUMBERS), box=None, padding=(0, 1, 0, 0))
        found = {}
        for path, one in {**dict(zip(map(str, checkpoint), opened, strict=True)), str(output): mean}.items():
            found[path] = measured(one, dataset, path)
            table.add_row(path, *(f"{found[path][name] or 0:.4f}" for name in NUMBERS))
        console().print(table)
        provenance = msgspec.structs.replace(
            mean.provenance,
            val_name=dataset.name,
            val_sha256=dataset.sha256,
            val_images=len(dataset.images),
            evaluation=found[str(output)],
        )
        save_checkpoint(output, dataclasses.replace(mean, provenance=provenance))
        if as_json:
            document = {"protocol": EVALUATION_PROTOCOL, "data": dataset.name, "checkpoints": found}
            sys.stdout.write(json.dumps(document, indent=2) + "\n")


def averaged(paths: Sequence[Path], checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The first checkpoint with the mean of all weights; counters are the first's.

    Raises: CheckpointError if they are not of one shape.
    """
    first = checkpoints[0]
    for path, other in zip(paths, checkpoints, strict=True):
        if other.model != first.model:
            raise CheckpointError(f"{path}: is another network than {paths[0]}; only weights of one shape have a mean")
    ema: dict[str, Tensor] = {
        name: torch.stack([one.ema[name] for one in checkpoints]).mean(dim=0) if value.is_floating_point() else value
        for name, value in first.ema.items()
    }
    return dataclasses.replace(first, ema=ema, progress=None)


def measured(checkpoint: Checkpoint, dataset: Dataset, name: str) -> dict[str, float | int | None]:
    """What mmp-val says of the weights."""
    detect = torch_detector(
        checkpoint.network(), checkpoint.model, thresholds=EVALUATION_THRESHOLDS, device=torch.device("cpu")
    )
    watched = evaluate(
        detect,
        dataset,
        checkpoint.model.class_names,
        progress=lambda pictures: iter(track(pictures, description=name, console=console())),
    )
    return watched.as_dict()


if __name__ == "__main__":
    app()

"""Images per second of training: the step alone, and with --data the loader alone and both together.

The step is mmp-train's, on batches that are in memory already. With --data these are real batches, and the loader reads
its images from the decoded cache and from their files. All kinds take turns, so that other load on the machine affects
them alike; the share of the step's speed that is kept beside the loader is reported for each round. Needs
mmpnet[train].
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from harness.figures import check_figure
from harness.script import FigureFile, Json, exit_on_error, script_app, show, write_json
from harness.training.measure import device_facts, loader_speeds, resolve_devices, step_speeds
from harness.training.speeds import LoaderSpeed, StepSpeed
from harness.training.step import exhaustion_as_training_error, step_config
from harness.training.tables import speeds_table, verdict
from harness.training.turns import TurnPlan
from mmpnet.bench.environment import machine_document
from mmpnet.datasets.open import open_dataset
from mmpnet.train.artifacts.config import TrainConfig
from mmpnet.train.choices import default_workers

FREEZES = (0, 2, 4, 7)

app = script_app()


@app.command()
def training(
    data: Annotated[Path | None, typer.Option(help="Labeled images, as for mmp-train; measures the loader too.")] = (
        None
    ),
    device: Annotated[
        list[str] | None, typer.Option(help="auto, cpu, cuda or cuda:N; may be repeated. Default: auto.")
    ] = None,
    freeze: Annotated[
        list[int] | None,
        typer.Option(help="Frozen backbone blocks. Default: 0; without --data 0 2 4 7, and it may be repeated."),
    ] = None,
    batch: Annotated[int, typer.Option(min=2, help="Images per batch.")] = 32,
    side_px: Annotated[int, typer.Option("--imgsz", min=32, help="Input side in px.")] = 320,
    workers: Annotated[int | None, typer.Option(min=0, help="Loader processes; default: as mmp-train.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each kind.")] = 6,
    seconds: Annotated[float, typer.Option(min=0, help="Length of each turn, after its warm-up.")] = 8.0,
    figure: FigureFile = None,
    as_json: Json = False,
) -> None:
    """Measure the step alone; with --data also the loader alone and both together."""
    with exit_on_error(), exhaustion_as_training_error():
        check_figure(figure)
        blocks = tuple(dict.fromkeys(freeze or (FREEZES if data is None else FREEZES[:1])))
        if data is not None and len(blocks) > 1:
            raise typer.BadParameter("--data goes with one --freeze; give one, or leave out --data")
        devices = resolve_devices(device or ["auto"])
        configs = [[_config(where, batch, side_px, count) for count in blocks] for where in devices]
        plan = TurnPlan(rounds, seconds, default_workers() if workers is None else workers)
        dataset = None if data is None else open_dataset(data, "train")
        rows: list[StepSpeed] | list[LoaderSpeed]
        if dataset is None:
            rows = [row for of_device in configs for row in step_speeds(of_device, plan)]
        else:
            rows = [row for (config,) in configs for row in loader_speeds(config, dataset, plan)]
        show(speeds_table(rows), *(verdict(row) for row in rows if isinstance(row, LoaderSpeed)))
        if figure is not None:
            from harness.training.speeds_figure import draw_speeds

            draw_speeds(figure, rows)
        if as_json:
            write_json(
                {
                    "machine": machine_document(),
                    "torch": str(torch.__version__),
                    "devices": [device_facts(where) for where in devices],
                    "batch": batch,
                    "imgsz": side_px,
                    "freeze": blocks,
                    **asdict(plan),
                    "data": None if dataset is None else dataset.name,
                    "rows": [asdict(row) for row in rows],
                }
            )


def _config(device: torch.device, batch: int, side_px: int, freeze: int) -> TrainConfig:
    try:
        return step_config(device, batch=batch, side_px=side_px, freeze=freeze)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


if __name__ == "__main__":
    app()

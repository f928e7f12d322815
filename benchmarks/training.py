"""Images per second of training: the step alone, and with --data the loader alone and both together.

The step is mmp-train's, on batches that are in memory already. With --data these are real batches, and the loader reads
its images from the decoded cache and from their files. All kinds take turns, so that other load on the machine affects
them alike; the share of the step's speed that is kept beside the loader is reported for each round. Needs
mmpnet[train].
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from harness.figures import check_figure
from harness.script import FigureFile, Json, exit_on_error, script_app, show, write_json
from harness.training.measure import device_facts, loader_speeds, resolve_devices, step_speeds
from harness.training.speeds import LoaderSpeed, StepSpeed
from harness.training.step import StepWay, exhaustion_as_training_error, step_config
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
    compiled: Annotated[
        bool, typer.Option("--compile", help="Without --data: time each step also by torch.compile.")
    ] = False,
    no_amp: Annotated[
        bool, typer.Option("--no-amp", help="Without --data: time each step also in float32, on devices with bfloat16.")
    ] = False,
    channels_first: Annotated[
        bool, typer.Option("--channels-first", help="Without --data: time each step also with planes of channels.")
    ] = False,
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
        if data is not None and (compiled or no_amp or channels_first):
            raise typer.BadParameter("--compile, --no-amp and --channels-first do not go with --data; leave --data out")
        devices = resolve_devices(device or ["auto"])
        ways = [
            _ways(where, batch, side_px, blocks, compiled=compiled, no_amp=no_amp, channels_first=channels_first)
            for where in devices
        ]
        plan = TurnPlan(rounds, seconds, default_workers() if workers is None else workers)
        dataset = None if data is None else open_dataset(data, "train")
        rows: list[StepSpeed] | list[LoaderSpeed]
        if dataset is None:
            rows = [row for of_device in ways for row in step_speeds(of_device, plan)]
        else:
            rows = [row for (way,) in ways for row in loader_speeds(way.config, dataset, plan)]
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


def _ways(
    device: torch.device,
    batch: int,
    side_px: int,
    blocks: Sequence[int],
    *,
    compiled: bool,
    no_amp: bool,
    channels_first: bool,
) -> list[StepWay]:
    """The usual step for each number of frozen blocks, and after it those that differ in one thing."""
    ways = []
    for freeze in blocks:
        usual = _config(device, batch, side_px, freeze=freeze)
        ways.append(StepWay(usual))
        if compiled:
            ways.append(StepWay(_config(device, batch, side_px, freeze=freeze, compiled=True)))
        if no_amp:
            ways.append(StepWay(_config(device, batch, side_px, freeze=freeze, amp=False)))
        if channels_first:
            ways.append(StepWay(usual, channels_last=False))
    return ways


def _config(device: torch.device, batch: int, side_px: int, **settings: Any) -> TrainConfig:
    try:
        return step_config(device, batch=batch, side_px=side_px, **settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


if __name__ == "__main__":
    app()
